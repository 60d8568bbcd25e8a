//! What changed between two states of a device, and back: every change says what was before, so any earlier state can be had.
//!
//! Covered are `created`, `merged` and `split`, `lifecycle`, `owner`, `place`, `tags`, `mac`, `ip`, `vlan`, `hostnames` and the
//! value of every attribute. Not covered, and in a state of the past as they are now: the time of the first frame, `transient`,
//! `routed` and `roles`. Lists are joined by commas; a comma or a backslash within an item has a backslash before it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    net::IpAddr,
    ops::Bound,
};

use redb::{ReadTransaction, ReadableTable};

use super::{
    Inventory, InventoryError,
    load::change_at,
    row::{CHANGES, DEVICES, TIMELINE, decode, decode_change, of_change, of_moment},
    store::guarded,
};
use crate::{
    device::{Attribute, Change, Device, DeviceId, Known, Lifecycle},
    flow::{Mac, UnixNanos},
};

/// Most pieces of evidence that a change names.
const EVIDENCE_MAX: usize = 16;
/// Who changes what is observed.
const ENGINE: &str = "engine";

/// What a change says before or after.
type Text = Option<Box<str>>;

/// Changes from `before` to `after`, always in one order. `evidence` gives what the change of that name rests on; 16 are kept.
pub fn diff(before: &Device, after: &Device, at: UnixNanos, by: &str, evidence: impl Fn(&str) -> Vec<u64>) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut say = |what: &str, before: Text, after_text: Text, confidence: Option<f32>| {
        let mut evidence = evidence(what);
        evidence.truncate(EVIDENCE_MAX);
        let device_id = after.device_id;
        changes.push(Change { device_id, at, what: what.into(), before, after: after_text, confidence, evidence, by: by.into() });
    };
    let number = |device: &Device| device.merged_into.map(text);
    match after.merged_into {
        same if same == before.merged_into => {}
        Some(_) => say("merged", number(before), number(after), None),
        None => say("split", number(before), None, None),
    }
    for ((what, old), (_, new)) in sides(before).into_iter().zip(sides(after)).filter(|(old, new)| old != new) {
        let confidence = Attribute::named(what).and_then(|attribute| after.known(attribute)).map(|known| known.confidence);
        say(what, old, new, confidence);
    }
    changes
}

/// The changes that a new device begins with: that it was created, and all that is known of it.
pub fn created(device: &Device, at: UnixNanos, by: &str, evidence: impl Fn(&str) -> Vec<u64>) -> Vec<Change> {
    let empty = Device { device_id: device.device_id, ..Device::default() };
    let mut changes = diff(&empty, device, at, by, &evidence);
    let mut rests_on = evidence("created");
    rests_on.truncate(EVIDENCE_MAX);
    let (device_id, after) = (device.device_id, Some(text(device.device_id)));
    let first = Change {
        device_id,
        at,
        what: "created".into(),
        before: None,
        after,
        confidence: None,
        evidence: rests_on,
        by: by.into(),
    };
    changes.insert(0, first);
    changes
}

/// Makes `device` what it was before `change`. False: before it, there was no such device.
pub fn undo(device: &mut Device, change: &Change) -> bool {
    let before = change.before.as_deref();
    match &*change.what {
        "created" => return false,
        "merged" | "split" => device.merged_into = before.and_then(|text| text.parse().ok()),
        "lifecycle" => device.lifecycle = before.and_then(Lifecycle::named).unwrap_or_default(),
        "owner" => device.owner = before.map(Into::into),
        "place" => device.place = before.map(Into::into),
        "tags" => device.tags = items(before),
        "mac" => device.macs = items(before).iter().filter_map(|item| mac(item)).collect(),
        "ip" => device.ips = items(before).iter().filter_map(|item| item.parse::<IpAddr>().ok()).collect(),
        "vlan" => device.vlan = before.and_then(|text| text.parse().ok()),
        "hostnames" => device.hostnames = items(before),
        other => {
            if let Some(attribute) = Attribute::named(other) {
                undo_attribute(device, attribute, change);
            }
        }
    }
    true
}

/// How sure the earlier value was is not in the change; [`Inventory::as_of`] takes it from the change before.
fn undo_attribute(device: &mut Device, attribute: Attribute, change: &Change) {
    match &change.before {
        Some(value) => device.attributes.insert(attribute, Known { value: value.clone(), ..Known::default() }),
        None => device.attributes.remove(&attribute),
    };
}

impl Inventory {
    /// The devices as they were at `at`, after all changes of that moment, in the order of their numbers; merged ones among them.
    ///
    /// # Errors
    /// The file is damaged or the disk refuses.
    pub fn as_of(&self, at: UnixNanos) -> Result<Vec<Device>, InventoryError> {
        let snapshot = self.snapshot()?;
        guarded(&self.path, || {
            let mut devices = BTreeMap::new();
            for row in snapshot.open_table(DEVICES)?.iter()? {
                let device: Device = decode(row?.1.value(), "devices")?;
                devices.insert(device.device_id, device);
            }
            let mut touched: BTreeMap<DeviceId, BTreeSet<Attribute>> = BTreeMap::new();
            let (timeline, changes) = (snapshot.open_table(TIMELINE)?, snapshot.open_table(CHANGES)?);
            let after = of_moment(at, u64::MAX, DeviceId(u64::MAX));
            for moment in timeline.range::<&[u8]>((Bound::Excluded(&after[..]), Bound::Unbounded))?.rev() {
                let change = change_at(&changes, moment?.0.value())?;
                let Some(device) = devices.get_mut(&change.device_id) else { continue };
                if !undo(device, &change) {
                    devices.remove(&change.device_id);
                } else if let Some(attribute) = Attribute::named(&change.what) {
                    touched.entry(change.device_id).or_default().insert(attribute);
                }
            }
            for (device_id, attributes) in touched {
                if let Some(device) = devices.get_mut(&device_id) {
                    restore_confidence(&snapshot, device, attributes, at)?;
                }
            }
            let then = |device: Device| Device { last_seen: device.last_seen.min(at), ..device };
            Ok(devices.into_values().map(then).collect())
        })
    }
}

/// The newest change until `at` says how sure each value was, and whether it was set by hand.
fn restore_confidence(
    snapshot: &ReadTransaction,
    device: &mut Device,
    mut attributes: BTreeSet<Attribute>,
    at: UnixNanos,
) -> Result<(), redb::Error> {
    let changes = snapshot.open_table(CHANGES)?;
    let (first, last) = (of_change(device.device_id, i64::MIN, 0), of_change(device.device_id, at, u64::MAX));
    let mut rows = changes.range(&first[..]..=&last[..])?.rev();
    while !attributes.is_empty() {
        let Some(row) = rows.next() else { break };
        let change = decode_change(row?.1.value())?;
        let Some(attribute) = Attribute::named(&change.what).filter(|attribute| attributes.remove(attribute)) else { continue };
        if let Some(known) = device.attributes.get_mut(&attribute) {
            known.confidence = change.confidence.unwrap_or_default();
            known.set_by_hand = &*change.by != ENGINE;
        }
    }
    Ok(())
}

/// Everything of a device that changes cover, `created`, `merged` and `split` apart, by name and always in one order.
fn sides(device: &Device) -> Vec<(&'static str, Text)> {
    let mut sides = vec![
        ("lifecycle", Some(device.lifecycle.name().into())),
        ("owner", device.owner.clone()),
        ("place", device.place.clone()),
        ("tags", list(&device.tags)),
        ("mac", list(&device.macs)),
        ("ip", list(&device.ips)),
        ("vlan", device.vlan.map(text)),
        ("hostnames", list(&device.hostnames)),
    ];
    sides.extend(Attribute::ALL.iter().map(|attribute| (attribute.name(), device.value(*attribute).map(Into::into))));
    sides
}

fn text(value: impl Display) -> Box<str> {
    value.to_string().into()
}

/// Items joined by commas; nothing where there are none.
pub(super) fn list<T: Display>(items: &[T]) -> Text {
    let escaped = |item: &T| item.to_string().replace('\\', "\\\\").replace(',', "\\,");
    if items.is_empty() { None } else { Some(items.iter().map(escaped).collect::<Vec<_>>().join(",").into()) }
}

/// The items of such a list.
pub(super) fn items(list: Option<&str>) -> Vec<Box<str>> {
    let Some(list) = list else { return Vec::new() };
    let (mut items, mut item, mut chars) = (Vec::new(), String::new(), list.chars());
    while let Some(char) = chars.next() {
        match char {
            '\\' => item.extend(chars.next()),
            ',' => items.push(std::mem::take(&mut item).into()),
            other => item.push(other),
        }
    }
    items.push(item.into());
    items
}

/// A MAC as it is written: six pairs of digits between colons or hyphens (IEEE 802).
pub(super) fn mac(text: &str) -> Option<Mac> {
    let mut octets = [0; 6];
    let mut pairs = text.split([':', '-']);
    for octet in &mut octets {
        let pair = pairs.next().filter(|pair| pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        *octet = u8::from_str_radix(pair, 16).ok()?;
    }
    pairs.next().is_none().then_some(Mac(octets))
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
