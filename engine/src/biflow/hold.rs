//! Deltas of several rings wait here until all rings are past their tick, and come out in order of time.

use std::collections::BTreeMap;

use auscult_ebpf::record::Delta;

use super::{bound::grown, tick_of};
use crate::batch::Ring;

/// Waiting deltas by tick.
#[derive(Default)]
pub(super) struct Hold {
    ticks: BTreeMap<u64, Vec<(Ring, Delta)>>,
    length: usize,
}

impl Hold {
    /// Most memory of that many deltas, of which all may be of one tick, bytes.
    pub(super) const fn bound(deltas: usize) -> usize {
        grown(deltas) * size_of::<(Ring, Delta)>() + deltas * 2 * size_of::<u32>()
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn push(&mut self, ring: Ring, delta: &Delta) {
        self.ticks.entry(tick_of(delta.base)).or_default().push((ring, *delta));
        self.length += 1;
    }

    /// The deltas of the oldest tick if that is before `limit`, by first packet, then ring, then arrival in the ring.
    pub(super) fn pop_before(&mut self, limit: u64) -> Option<Vec<(Ring, Delta)>> {
        let entry = self.ticks.first_entry().filter(|entry| *entry.key() < limit)?;
        let deltas = entry.remove();
        self.length -= deltas.len();
        Some(deltas)
    }

    /// The order in which to merge one tick's deltas.
    pub(super) fn order(deltas: &[(Ring, Delta)]) -> Vec<u32> {
        let mut order: Vec<u32> = (0..deltas.len() as u32).collect();
        order.sort_by_key(|i| {
            let (ring, delta) = &deltas[*i as usize];
            (delta.base, *ring)
        });
        order
    }

    /// Memory, bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.ticks.values().map(|deltas| deltas.capacity() * size_of::<(Ring, Delta)>()).sum()
    }
}
