//! One device in memory: what the inventory holds of it, and its evidence.

use std::collections::BTreeMap;

use super::rules::Facts;
use crate::{
    device::{Device, Evidence},
    flow::UnixNanos,
    observation::Field,
};

/// Pieces of evidence that are kept of a device.
pub const EVIDENCE_MAX: usize = 192;
/// Of one field: the names that a workstation asks for have no end.
const PER_FIELD_MAX: usize = 24;

/// A device and its evidence.
#[derive(Default)]
pub struct Entry {
    /// As it is observed.
    pub device: Device,
    /// `last_seen` as it was told last.
    pub told_seen: UnixNanos,
    /// By field and value.
    pub evidence: BTreeMap<(Field, Box<str>), Evidence>,
    /// Evidence that changed since it was told.
    pub changed: Vec<(Field, Box<str>)>,
}

impl Entry {
    /// Whether a new piece of evidence of this field finds a place.
    pub fn has_room(&self, field: Field) -> bool {
        let of_field = || self.evidence.range((field, Box::default())..).take_while(|((its, _), _)| *its == field).count();
        self.evidence.len() < EVIDENCE_MAX && of_field() < PER_FIELD_MAX
    }

    /// Marks evidence as changed.
    pub fn touch(&mut self, field: Field, value: &str) {
        if !self.changed.iter().any(|(its, there)| *its == field && **there == *value) {
            self.changed.push((field, value.into()));
        }
    }
}

impl Facts for Entry {
    fn any(&self, field: Field, test: &mut dyn FnMut(&str) -> bool) -> bool {
        let of_field = self.evidence.range((field, Box::default())..).take_while(|((its, _), _)| *its == field);
        of_field.map(|((_, value), _)| value).any(|value| test(value))
    }
}
