//! What a format reader finds: where the next frame lies in the window, and the interfaces it belongs to.

use std::{collections::HashMap, ops::Range, sync::Arc};

use super::{fault::Fault, limit::INTERFACES_MAX};
use crate::flow::ObservationPoint;

/// The next frame of a file: its header, and the place of its octets in the file's window.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) at: u64,
    pub(super) octets: Range<usize>,
    pub(super) wire_octets: u32,
    pub(super) link_type: u32,
    pub(super) interface: u32,
}

/// The interfaces of one file, by (index in its section, link type, name): a file of several sections that describe the same
/// interface again has one observation point for it.
pub(super) type Known = HashMap<(u32, u32, Option<Arc<str>>), u32>;

/// Where a format reader announces interfaces.
pub(super) struct Points<'a> {
    /// All files' interfaces.
    pub(super) all: &'a mut Vec<ObservationPoint>,
    /// This file's.
    pub(super) known: &'a mut Known,
}

impl Points<'_> {
    /// The global index of a file's interface; `None` when there are too many.
    pub(super) fn add(&mut self, local: u32, name: Option<Arc<str>>, link_type: u32) -> Option<u32> {
        let key = (local, link_type, name.clone());
        if let Some(&index) = self.known.get(&key) {
            return Some(index);
        }
        if self.all.len() >= INTERFACES_MAX {
            return None;
        }
        let index = u32::try_from(self.all.len()).ok()?;
        self.all.push(ObservationPoint { name: name.unwrap_or_else(|| format!("if{local}").into()) });
        self.known.insert(key, index);
        Some(index)
    }

    /// The fault of one interface too many, described at `offset`.
    pub(super) fn too_many(offset: u64) -> Fault {
        Fault::Damaged(offset, format!("more than {INTERFACES_MAX} interfaces are described"))
    }
}
