//! What people say of a device, kept apart from what is observed, and put over it.
//!
//! A value by hand is sure, marked [`Known::set_by_hand`], and stays whatever is observed; what the engine makes of its
//! evidence goes on beside it ([`Overrides::observe`]) and stands among the conflicts. Taking a value back restores what is
//! observed by then.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Batch, Inventory, InventoryError,
    history::{diff, list},
};
use crate::{
    device::{Attribute, Category, Change, Device, DeviceId, Known, Lifecycle},
    flow::UnixNanos,
};

/// Longest text by hand, octets.
pub const TEXT_OCTETS_MAX: usize = 128;
/// Most tags of a device.
pub const TAGS_MAX: usize = 32;

/// Something that a person says of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Value of an attribute; `None` takes back what was set.
    Attribute(Attribute, Option<Box<str>>),
    /// The next state of its life. There is no taking back: a state follows another as [`Lifecycle::may_become`] allows.
    Lifecycle(Lifecycle),
    /// Who answers for it; `None` takes it back.
    Owner(Option<Box<str>>),
    /// Where it is; `None` takes it back.
    Place(Option<Box<str>>),
    /// All its tags; none takes them back.
    Tags(Vec<Box<str>>),
}

/// Who said something, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByHand {
    /// What; tags are joined by commas.
    pub value: Box<str>,
    /// Who.
    pub by: Box<str>,
    /// When.
    pub at: UnixNanos,
}

/// An attribute that was set by hand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HandSet {
    /// What was said.
    pub by_hand: ByHand,
    /// What is observed: what the attribute goes back to.
    pub observed: Option<Known>,
}

/// All that was set by hand of one device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overrides {
    /// By attribute.
    pub attributes: BTreeMap<Attribute, HandSet>,
    /// The state that was chosen last.
    pub lifecycle: Option<ByHand>,
    /// Who answers for it.
    pub owner: Option<ByHand>,
    /// Where it is.
    pub place: Option<ByHand>,
    /// Its tags.
    pub tags: Option<ByHand>,
}

impl Overrides {
    /// Nothing was set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Sets or takes back something, here and in `device`, and says what changed. After an error nothing has.
    ///
    /// # Errors
    /// The value is not one that can be kept, the state may not follow, or the device is a part of another.
    pub fn set(
        &mut self,
        device: &mut Device,
        setting: &Setting,
        by: &str,
        at: UnixNanos,
    ) -> Result<Vec<Change>, InventoryError> {
        let device_id = device.device_id;
        if let Some(into) = device.merged_into {
            return Err(InventoryError::Merged { device_id, into });
        }
        let by = checked("user", by)?;
        let say = |value: Box<str>| ByHand { value, by: by.clone(), at };
        let before = device.clone();
        match setting {
            Setting::Attribute(attribute, Some(value)) => {
                let value = checked_value(*attribute, value)?;
                self.set_attribute(device, *attribute, say(value));
            }
            Setting::Attribute(attribute, None) => {
                if let Some(HandSet { observed, .. }) = self.attributes.remove(attribute) {
                    put(device, *attribute, observed);
                }
            }
            Setting::Lifecycle(next) if *next != device.lifecycle => {
                may_become(device_id, device.lifecycle, *next)?;
                device.lifecycle = *next;
                self.lifecycle = Some(say(next.name().into()));
            }
            Setting::Lifecycle(_) => {}
            Setting::Owner(owner) => {
                device.owner = owner.as_deref().map(|owner| checked("owner", owner)).transpose()?;
                keep(&mut self.owner, device.owner.clone().map(say));
            }
            Setting::Place(place) => {
                device.place = place.as_deref().map(|place| checked("place", place)).transpose()?;
                keep(&mut self.place, device.place.clone().map(say));
            }
            Setting::Tags(tags) => {
                device.tags = checked_tags(tags)?;
                keep(&mut self.tags, list(&device.tags).map(say));
            }
        }
        Ok(diff(&before, device, at, &by, |_| Vec::new()))
    }

    fn set_attribute(&mut self, device: &mut Device, attribute: Attribute, by_hand: ByHand) {
        let set = match self.attributes.remove(&attribute) {
            Some(set) if set.by_hand.value == by_hand.value => set,
            Some(set) => HandSet { by_hand, ..set },
            None => HandSet { by_hand, observed: device.attributes.get(&attribute).cloned() },
        };
        device.attributes.insert(attribute, set.known());
        self.attributes.insert(attribute, set);
    }

    /// What the engine makes of its evidence for an attribute: of a value by hand it changes the conflicts alone.
    pub fn observe(&mut self, device: &mut Device, attribute: Attribute, observed: Option<Known>) {
        match self.attributes.get_mut(&attribute) {
            Some(set) => {
                set.observed = observed;
                device.attributes.insert(attribute, set.known());
            }
            None => put(device, attribute, observed),
        }
    }

    /// Puts all that was set by hand over a device that was made of its evidence alone.
    pub fn apply(&mut self, device: &mut Device) {
        for (attribute, set) in &mut self.attributes {
            match device.attributes.get(attribute) {
                Some(known) if known.set_by_hand => {}
                observed => set.observed = observed.cloned(),
            }
            device.attributes.insert(*attribute, set.known());
        }
        let value = |by_hand: &Option<ByHand>| by_hand.as_ref().map(|by_hand| by_hand.value.clone());
        device.owner = value(&self.owner);
        device.place = value(&self.place);
        device.tags = super::history::items(value(&self.tags).as_deref());
        if let Some(state) = value(&self.lifecycle).and_then(|name| Lifecycle::named(&name)) {
            device.lifecycle = state;
        }
    }
}

impl HandSet {
    /// As the device holds it.
    fn known(&self) -> Known {
        let value = self.by_hand.value.clone();
        let observed = self.observed.iter().map(|known| (known.value.clone(), known.confidence));
        let others = self.observed.iter().flat_map(|known| known.conflicts.iter().cloned());
        let conflicts = observed.chain(others).filter(|(other, _)| *other != value).collect();
        Known { value, confidence: 1.0, set_by_hand: true, conflicts }
    }
}

impl Inventory {
    /// Sets or takes back things of one device, all or none, durably; says what changed.
    ///
    /// While an engine runs, it must do this itself ([`Overrides::set`] and [`Batch::overrides`]): its next batch replaces the
    /// device.
    ///
    /// # Errors
    /// As [`Overrides::set`] and [`Inventory::write`], or there is no such device.
    pub fn set(
        &mut self,
        device_id: DeviceId,
        settings: &[Setting],
        by: &str,
        at: UnixNanos,
    ) -> Result<Vec<Change>, InventoryError> {
        let stored = self.device(device_id)?.ok_or(InventoryError::NoDevice(device_id))?;
        let (mut device, mut overrides) = (stored.device, stored.overrides);
        let mut changes = Vec::new();
        for setting in settings {
            changes.extend(overrides.set(&mut device, setting, by, at)?);
        }
        let (devices, overrides) = ([device], [(device_id, overrides)]);
        self.write(&Batch { devices: &devices, overrides: &overrides, changes: &changes, ..Batch::default() })?;
        Ok(changes)
    }
}

/// Whether a device may go from one state to the next.
///
/// # Errors
/// It may not; the message names the states that may follow.
pub fn may_become(device_id: DeviceId, from: Lifecycle, to: Lifecycle) -> Result<(), InventoryError> {
    if from.may_become(to) { Ok(()) } else { Err(InventoryError::Lifecycle { device_id, from, to }) }
}

fn put(device: &mut Device, attribute: Attribute, known: Option<Known>) {
    match known {
        Some(known) => device.attributes.insert(attribute, known),
        None => device.attributes.remove(&attribute),
    };
}

/// Who first said the same, keeps the word.
fn keep(slot: &mut Option<ByHand>, said: Option<ByHand>) {
    if slot.as_ref().map(|kept| &kept.value) != said.as_ref().map(|said| &said.value) {
        *slot = said;
    }
}

/// Text by hand: 1 to 128 octets, printable, without blanks around it.
fn checked(what: &'static str, value: &str) -> Result<Box<str>, InventoryError> {
    // Characters that are not seen, or turn the direction of what follows, would make a listing say something else.
    const HIDDEN: [std::ops::RangeInclusive<char>; 4] =
        ['\u{200b}'..='\u{200f}', '\u{2028}'..='\u{202e}', '\u{2060}'..='\u{206f}', '\u{feff}'..='\u{feff}'];
    let is_hidden = |char: char| char.is_control() || HIDDEN.iter().any(|range| range.contains(&char));
    let trimmed = value.trim();
    let why = if trimmed.is_empty() {
        "is empty; give a value, or take back the one that is set"
    } else if trimmed.len() > TEXT_OCTETS_MAX {
        "is too long; give at most 128 octets"
    } else if trimmed.chars().any(is_hidden) {
        "has characters that cannot be seen; give printable ones"
    } else {
        return Ok(trimmed.into());
    };
    Err(refuse(what, value, why))
}

fn checked_value(attribute: Attribute, value: &str) -> Result<Box<str>, InventoryError> {
    let value = checked(attribute.name(), value)?;
    if attribute == Attribute::Category && Category::named(&value).is_none() {
        return Err(refuse("category", &value, "is not in the taxonomy; choose one of its names, as `infusion_pump`"));
    }
    Ok(value)
}

fn checked_tags(tags: &[Box<str>]) -> Result<Vec<Box<str>>, InventoryError> {
    let mut kept: Vec<Box<str>> = Vec::new();
    for tag in tags {
        let tag = checked("tag", tag)?;
        if tag.contains([',', ';']) {
            return Err(refuse("tag", &tag, "has a comma or semicolon, which stand between tags; give it without"));
        }
        if !kept.contains(&tag) {
            kept.push(tag);
        }
    }
    if kept.len() > TAGS_MAX {
        return Err(refuse("tags", &kept.len().to_string(), "are too many; give at most 32"));
    }
    Ok(kept)
}

fn refuse(what: &'static str, value: &str, why: &'static str) -> InventoryError {
    let value = value.chars().take(40).map(|char| if char.is_control() { ' ' } else { char }).collect();
    InventoryError::Value { what, value, why }
}

#[cfg(test)]
#[path = "by_hand_tests.rs"]
mod tests;
