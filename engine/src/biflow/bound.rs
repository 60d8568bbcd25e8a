//! The most memory that tables hold, from their settings.

use super::{
    BiflowSettings, HELD_MAX, fragment::FragmentLinks, hold::Hold, place::Place, slab::Slab, tunnel::TunnelPaths,
    turn::LEAVING_BYTES, wheel::Wheel,
};
use crate::{
    flow::Flow,
    limit::{BATCH_DELTAS, EPOCH_ROWS},
};

/// The most memory of one shard's table, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBound {
    /// Flows, their index and timers, fragment links, tunnel paths.
    pub flows: u64,
    /// Deltas that wait for the watermark.
    pub held: u64,
    /// Finished rows that the table still has.
    pub rows: u64,
}

impl MemoryBound {
    /// Of a table with these settings.
    pub const fn new(settings: &BiflowSettings) -> Self {
        let flows = settings.max_flows as usize;
        // Indexes of flows that are due.
        let leaving = flows * LEAVING_BYTES + grown(flows) * size_of::<u32>();
        let held = if settings.rings > 1 { Hold::bound(HELD_MAX + BATCH_DELTAS) } else { 0 };
        Self {
            flows: (Slab::bound(flows)
                + Place::index_bound(flows)
                + Wheel::bound(flows)
                + FragmentLinks::BOUND
                + TunnelPaths::BOUND
                + leaving) as u64,
            held: held as u64,
            // Those of the part that is given, and those that were finished before the flows that leave.
            rows: (2 * EPOCH_ROWS * Flow::BYTES_MAX) as u64,
        }
    }
}

/// Items that a vector of `items` has touched memory for when it has grown by doubling: what it had before is given back late.
pub(super) const fn grown(items: usize) -> usize {
    items + items / 2
}
