//! What the inventory says, for the commands that ask it: listings, reasons, settings by hand, tables in and out.

use std::{collections::BTreeMap, net::IpAddr, path::Path};

use serde_json::{Value, json};

use super::{Column, Listing, PipelineError};
use crate::{
    device::{Attribute, Change, Device, DeviceId, Evidence},
    flow::{Mac, UnixNanos},
    inventory::{self, Inventory, InventoryError, Setting},
    time,
};

/// Columns shown in a table of devices.
const SHOWN: [&str; 11] =
    ["device_id", "category", "manufacturer", "model", "hostname", "ip", "mac", "vlan", "role", "sure", "last_seen"];
/// Changes that `why` shows, the newest.
const CHANGES_SHOWN: usize = 50;

/// Which devices are asked for.
#[derive(Clone, Debug, Default)]
pub struct DeviceSelection {
    /// Conditions that all must hold.
    pub conditions: Vec<Condition>,
    /// As they were then.
    pub as_of: Option<UnixNanos>,
    /// At most so many.
    pub limit: usize,
}

/// A condition: a column, how it is compared, with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    column: String,
    test: Test,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Equals,
    Differs,
    Contains,
}

impl std::str::FromStr for Condition {
    type Err = String;

    /// `column=value`, `column!=value` or `column~part`.
    fn from_str(text: &str) -> Result<Self, String> {
        let forms = [("!=", Test::Differs), ("=", Test::Equals), ("~", Test::Contains)];
        let found =
            forms.iter().filter_map(|(sign, test)| text.find(sign).map(|at| (at, *sign, *test))).min_by_key(|(at, ..)| *at);
        let Some((at, sign, test)) = found else {
            return Err(format!("{text:?} is no condition: write column=value, column!=value or column~part"));
        };
        let column = text[..at].trim().to_owned();
        if !columns().contains(&column.as_str()) {
            return Err(format!("no column is called {column:?}; there are {}", columns().join(", ")));
        }
        Ok(Self { column, test, value: text[at + sign.len()..].trim().to_lowercase() })
    }
}

impl Condition {
    fn holds(&self, row: &BTreeMap<&'static str, Value>) -> bool {
        let texts: Vec<String> = match row.get(self.column.as_str()) {
            Some(Value::Array(items)) => items.iter().map(plain).collect(),
            Some(value) => vec![plain(value)],
            None => vec![String::new()],
        };
        let mut texts = texts.iter().map(|text| text.to_lowercase());
        match self.test {
            Test::Equals => texts.any(|text| text == self.value),
            Test::Differs => !texts.any(|text| text == self.value),
            Test::Contains => texts.any(|text| text.contains(&self.value)),
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_owned)
}

/// Names of all columns.
fn columns() -> Vec<&'static str> {
    row(&Device::default(), 0).into_keys().collect()
}

/// One device as its columns.
fn row(device: &Device, evidence: u64) -> BTreeMap<&'static str, Value> {
    let text = |attribute: Attribute| json!(device.value(attribute));
    let texts = |items: &[Box<str>]| json!(items);
    let category = device.category();
    let confidence: BTreeMap<&str, f64> =
        device.attributes.iter().map(|(attribute, known)| (attribute.name(), round(known.confidence))).collect();
    let role =
        device.value(Attribute::Role).map(str::to_owned).or_else(|| (!device.roles.is_empty()).then(|| device.roles.join(",")));
    let time = |at: UnixNanos| Value::from(time::format(at));
    BTreeMap::from([
        ("device_id", json!(device.device_id.to_string())),
        ("mac", json!(device.macs.first().map(Mac::to_string))),
        ("macs", json!(device.macs.iter().map(Mac::to_string).collect::<Vec<_>>())),
        ("ip", json!(device.ips.first().map(IpAddr::to_string))),
        ("ips", json!(device.ips.iter().map(IpAddr::to_string).collect::<Vec<_>>())),
        ("hostname", text(Attribute::Hostname)),
        ("hostnames", texts(&device.hostnames)),
        ("category", json!(category.name())),
        ("sure", json!(device.known(Attribute::Category).map(|known| round(known.confidence)))),
        ("manufacturer", text(Attribute::Manufacturer)),
        ("model", text(Attribute::Model)),
        ("serial", text(Attribute::Serial)),
        ("software_version", text(Attribute::SoftwareVersion)),
        ("os", text(Attribute::Os)),
        ("udi", text(Attribute::Udi)),
        ("ae_title", text(Attribute::AeTitle)),
        ("location", json!(device.place.as_deref().or(device.value(Attribute::Location)))),
        ("vlan", json!(device.vlan)),
        ("role", json!(role)),
        ("life_sustaining", json!(category.is_life_sustaining())),
        ("handles_patient_data", json!(category.handles_patient_data())),
        ("transient", json!(device.transient)),
        ("routed", json!(device.routed)),
        ("lifecycle", json!(device.lifecycle.name())),
        ("owner", json!(device.owner)),
        ("tags", texts(&device.tags)),
        ("set_by_hand", json!(by_hand(device))),
        ("first_seen", time(device.first_seen)),
        ("last_seen", time(device.last_seen)),
        ("confidence", json!(confidence)),
        ("evidence_count", json!(evidence)),
    ])
}

fn by_hand(device: &Device) -> Vec<&'static str> {
    device.attributes.iter().filter(|(_, known)| known.set_by_hand).map(|(attribute, _)| attribute.name()).collect()
}

fn round(confidence: f32) -> f64 {
    (f64::from(confidence) * 1000.0).round() / 1000.0
}

/// Devices, the newest first.
///
/// # Errors
/// There is no inventory, or it cannot be read.
pub fn devices(data: &Path, selection: &DeviceSelection) -> Result<Listing, PipelineError> {
    let inventory = Inventory::read(data).map_err(PipelineError::stage)?;
    let mut found = Vec::new();
    match selection.as_of {
        Some(at) => found.extend(inventory.as_of(at).map_err(PipelineError::stage)?.into_iter().map(|device| (device, 0))),
        None => {
            let each = |stored: inventory::Stored| found.push((stored.device, stored.evidence.len() as u64));
            inventory.load(each).map_err(PipelineError::stage)?;
        }
    }
    found.retain(|(device, _)| device.merged_into.is_none());
    found.sort_by_key(|(device, _)| (std::cmp::Reverse(device.last_seen), device.device_id));
    let rows = found.iter().map(|(device, evidence)| row(device, *evidence));
    let mut rows: Vec<_> = rows.filter(|row| selection.conditions.iter().all(|condition| condition.holds(row))).collect();
    let more = rows.len() > selection.limit;
    rows.truncate(selection.limit);
    let names = columns();
    let mut order: Vec<&'static str> = SHOWN.to_vec();
    order.extend(names.into_iter().filter(|name| !SHOWN.contains(name)));
    let columns = order.iter().map(|name| Column { in_table: SHOWN.contains(name), name: (*name).to_owned() }).collect();
    let rows = rows.into_iter().map(|mut row| order.iter().map(|name| row.remove(name).unwrap_or_default()).collect()).collect();
    Ok(Listing { columns, rows, more })
}

/// Everything that is known of one device, and why.
#[derive(Clone, Debug)]
pub struct Reasons {
    /// The device.
    pub device: Device,
    /// All evidence.
    pub evidence: Vec<Evidence>,
    /// The newest changes.
    pub changes: Vec<Change>,
}

/// Finds a device by number, MAC, IP address or host name.
fn find(inventory: &Inventory, name: &str) -> Result<DeviceId, PipelineError> {
    if let Ok(id) = name.parse::<DeviceId>() {
        return Ok(id);
    }
    let wanted = name.to_lowercase();
    let is_it = |device: &Device| {
        device.macs.iter().any(|mac| mac.to_string() == wanted.replace('-', ":"))
            || device.ips.iter().any(|ip| ip.to_string() == wanted)
            || device.hostnames.iter().any(|host| host.to_lowercase() == wanted)
            || device.value(Attribute::Hostname).is_some_and(|host| host.to_lowercase() == wanted)
    };
    let devices = inventory.devices().map_err(PipelineError::stage)?;
    let mut found: Vec<&Device> = devices.iter().filter(|device| device.merged_into.is_none() && is_it(device)).collect();
    found.sort_by_key(|device| std::cmp::Reverse(device.last_seen));
    match found.as_slice() {
        [device] => Ok(device.device_id),
        [] => Err(PipelineError::NoSuchDevice(name.to_owned())),
        several => {
            let ids: Vec<String> = several.iter().map(|device| device.device_id.to_string()).collect();
            Err(PipelineError::SeveralDevices { name: name.to_owned(), ids: ids.join(", ") })
        }
    }
}

/// Why the inventory says what it says of a device.
///
/// # Errors
/// There is no such device, or the inventory cannot be read.
pub fn why(data: &Path, name: &str) -> Result<Reasons, PipelineError> {
    let inventory = Inventory::read(data).map_err(PipelineError::stage)?;
    let id = find(&inventory, name)?;
    let stored =
        inventory.device(id).map_err(PipelineError::stage)?.ok_or_else(|| PipelineError::NoSuchDevice(name.to_owned()))?;
    let changes = inventory.changes_of(id, CHANGES_SHOWN).map_err(PipelineError::stage)?;
    Ok(Reasons { device: stored.device, evidence: stored.evidence, changes })
}

impl Reasons {
    /// As one object.
    pub fn json(&self) -> Value {
        let time = |at: UnixNanos| time::format(at);
        let attributes: BTreeMap<&str, Value> = self
            .device
            .attributes
            .iter()
            .map(|(attribute, known)| {
                let evidence: Vec<String> =
                    self.supporting(*attribute, &known.value).map(|(piece, _)| id(piece.evidence_id)).collect();
                let conflicts: Vec<Value> = known
                    .conflicts
                    .iter()
                    .map(|(value, confidence)| json!({"value": value, "confidence": round(*confidence)}))
                    .collect();
                let value = json!({
                    "value": known.value, "confidence": round(known.confidence), "set_by_hand": known.set_by_hand,
                    "evidence": evidence, "conflicts": conflicts,
                });
                (attribute.name(), value)
            })
            .collect();
        let evidence: Vec<Value> = self
            .evidence
            .iter()
            .map(|piece| {
                json!({
                    "evidence_id": id(piece.evidence_id), "field": piece.field.name(), "value": piece.value,
                    "peer": piece.peer.map(|peer| peer.to_string()), "first_seen": time(piece.first_seen),
                    "last_seen": time(piece.last_seen), "count": piece.count, "flow_id": piece.flow_id,
                    "supports": piece.supports.iter().map(|claim| json!({
                        "rule": claim.rule, "attribute": claim.attribute.name(), "value": claim.value, "weight": round(claim.weight),
                    })).collect::<Vec<_>>(),
                })
            })
            .collect();
        let changes: Vec<Value> = self
            .changes
            .iter()
            .map(|change| {
                json!({
                    "at": time(change.at), "what": change.what, "before": change.before, "after": change.after,
                    "confidence": change.confidence.map(round), "by": change.by,
                    "evidence": change.evidence.iter().map(|number| id(*number)).collect::<Vec<_>>(),
                })
            })
            .collect();
        let device = row(&self.device, self.evidence.len() as u64);
        json!({"device": device, "attributes": attributes, "evidence": evidence, "changes": changes})
    }

    /// Evidence that supports a value, the strongest first, with its weight.
    pub fn supporting(&self, attribute: Attribute, value: &str) -> impl Iterator<Item = (&Evidence, f32)> {
        let mut pieces: Vec<(&Evidence, f32)> = self
            .evidence
            .iter()
            .filter_map(|piece| {
                let claims = piece.supports.iter().filter(|claim| claim.attribute == attribute);
                let weights = claims.filter(|claim| claim.value.eq_ignore_ascii_case(value)).map(|claim| claim.weight);
                weights.max_by(f32::total_cmp).map(|weight| (piece, weight))
            })
            .collect();
        pieces.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.evidence_id.cmp(&b.0.evidence_id)));
        pieces.into_iter()
    }
}

fn id(number: u64) -> String {
    format!("e{number:016x}")
}

/// The inventory for writing; none is made.
fn writable(data: &Path) -> Result<Inventory, PipelineError> {
    Inventory::read(data).and_then(|_| Inventory::open(data)).map_err(PipelineError::stage)
}

/// Changes what is set by hand of a device. What changed.
///
/// # Errors
/// There is no such device, the value does not fit, or an engine runs on the directory.
pub fn set(data: &Path, name: &str, settings: &[Setting], by: &str) -> Result<Vec<Change>, PipelineError> {
    let mut inventory = writable(data)?;
    let id = find(&inventory, name)?;
    inventory.set(id, settings, by, time::unix_now()).map_err(PipelineError::stage)
}

/// Takes a table of what is set by hand. What became of it.
///
/// # Errors
/// The file cannot be read, or an engine runs on the directory.
pub fn import(data: &Path, table: &Path, by: &str, rehearsal: bool) -> Result<inventory::Report, PipelineError> {
    let octets = std::fs::read(table)
        .map_err(|source| PipelineError::stage(InventoryError::Io { action: "read", path: table.to_owned(), source }))?;
    let mut inventory = writable(data)?;
    inventory.import(&octets, by, time::unix_now(), rehearsal).map_err(PipelineError::stage)
}

/// Writes the inventory into one file; its bytes.
///
/// # Errors
/// The file exists, or cannot be written.
pub fn backup(data: &Path, to: &Path) -> Result<u64, PipelineError> {
    Inventory::read(data).and_then(|inventory| inventory.backup(to)).map_err(PipelineError::stage)
}

/// Makes an inventory of a backup; its devices.
///
/// # Errors
/// The directory has one, or the backup is not whole.
pub fn restore(from: &Path, data: &Path) -> Result<u64, PipelineError> {
    inventory::restore(from, data).map_err(PipelineError::stage)
}
