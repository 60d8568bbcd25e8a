//! What one message leaves a table to do, in pieces that finish no more rows than an epoch may have.

use auscult_ebpf::record::Delta;

use super::hold::Hold;
use crate::{
    batch::Ring,
    flow::{Flow, FlowEndReason, UnixNanos},
};

/// First the waiting deltas, then what follows from them.
pub(super) struct Turn {
    /// Deltas of ticks before this one are merged.
    pub(super) limit: u64,
    pub(super) then: Then,
    /// One tick's deltas, their order, and how many of them are merged.
    deltas: Vec<(Ring, Delta)>,
    order: Vec<u32>,
    merged: usize,
}

/// What follows.
pub(super) enum Then {
    /// Nothing, as soon as few enough deltas wait.
    Hurry,
    /// The watermark has advanced: flows that are settled end.
    Advance { watermark: u64, settled: u64 },
    /// All flows end; `step`: because the capture's clock was set back.
    EndEra { step: bool },
    /// More rows than one epoch may have.
    Leave(Leaving),
}

impl Turn {
    pub(super) fn new(limit: u64, then: Then) -> Self {
        Self { limit, then, deltas: Vec::new(), order: Vec::new(), merged: 0 }
    }

    /// Takes the deltas of one tick.
    pub(super) fn take(&mut self, deltas: Vec<(Ring, Delta)>) {
        self.order = Hold::order(&deltas);
        self.deltas = deltas;
        self.merged = 0;
    }

    /// Deltas of the tick that are not merged.
    pub(super) fn left(&self) -> usize {
        self.order.len() - self.merged
    }

    /// The next of them in order, at most that many.
    pub(super) fn next_deltas(&self, most: usize) -> impl Iterator<Item = (Ring, &Delta)> {
        self.order[self.merged..].iter().take(most).map(|&place| {
            let (ring, delta) = &self.deltas[place as usize];
            (*ring, delta)
        })
    }

    /// As many deltas are merged.
    pub(super) fn done(&mut self, deltas: usize) {
        self.merged += deltas;
        if self.merged >= self.order.len() {
            (self.deltas, self.order, self.merged) = (Vec::new(), Vec::new(), 0);
        }
    }

    /// Memory, bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        let leaving = if let Then::Leave(leaving) = &self.then { leaving.memory_bytes() } else { 0 };
        self.deltas.capacity() * size_of::<(Ring, Delta)>() + self.order.capacity() * 4 + leaving
    }
}

/// End of a row, flow id, segment.
type Key = (UnixNanos, u64, u32);

/// A row that waits: what it is ordered by, and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    end: UnixNanos,
    flow_id: u64,
    segment: u32,
    /// Index of its entry, or [`FINISHED`].
    place: u32,
}

impl Row {
    const fn new((end, flow_id, segment): Key, place: u32) -> Self {
        Self { end, flow_id, segment, place }
    }
}
/// This place is that of a row that is finished, not of an entry.
const FINISHED: u32 = 1 << 31;
/// Most entries, so that their places are told from those of finished rows.
pub(super) const PLACES_MAX: u32 = FINISHED - 1;

/// Most memory of one flow that leaves with so many others that they are put in order first, bytes.
pub(super) const LEAVING_BYTES: usize = size_of::<Row>();

/// Rows of one epoch that wait to be given part by part.
pub(super) struct Leaving {
    /// Why flows end that have not ended by themselves.
    pub(super) reason: FlowEndReason,
    pub(super) watermark: u64,
    /// What is settled then, observation clock.
    pub(super) settled: u64,
    /// The era ends with them, because the clock was set back or not.
    pub(super) ends_era: Option<bool>,
    /// What is left, last first.
    left: Vec<Row>,
    finished: Vec<Flow>,
}

impl Leaving {
    /// Flows that end because of an advance of the watermark.
    pub(super) fn idle(watermark: u64, settled: u64) -> Self {
        let reason = FlowEndReason::IdleTimeout;
        Self { reason, watermark, settled, ends_era: None, left: Vec::new(), finished: Vec::new() }
    }

    /// Flows that end with their era.
    pub(super) fn forced(settled: u64, step: bool) -> Self {
        let (reason, ends_era) = (FlowEndReason::ForcedEnd, Some(step));
        Self { reason, watermark: u64::MAX, settled, ends_era, left: Vec::new(), finished: Vec::new() }
    }

    /// Takes keys and indexes of entries, and rows that were finished before.
    pub(super) fn fill(&mut self, entries: impl ExactSizeIterator<Item = (Key, u32)>, finished: Vec<Flow>) {
        self.left.reserve_exact(entries.len() + finished.len());
        self.left.extend(entries.map(|(key, index)| Row::new(key, index)));
        self.left.extend((FINISHED..).zip(&finished).map(|(place, row)| Row::new(row.sort_key(), place)));
        self.left.sort_unstable_by(|a, b| b.cmp(a));
        self.finished = finished;
    }

    /// The next row, or the index of its entry.
    pub(super) fn pop(&mut self) -> Option<Result<Flow, u32>> {
        let place = self.left.pop()?.place;
        Some(if place & FINISHED == 0 { Err(place) } else { Ok(self.finished[(place & !FINISHED) as usize].clone()) })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    fn memory_bytes(&self) -> usize {
        self.left.capacity() * size_of::<Row>() + self.finished.capacity() * size_of::<Flow>()
    }
}
