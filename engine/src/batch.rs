//! What travels from capture to the biflow shards: batches of deltas, and the Marks that close a span of time.

use auscult_ebpf::record::{Delta, TunnelPath};

/// One per-CPU ring of one observation point; replay has one per meter.
pub type Ring = u16;

/// End of a span: everything that ring saw before `at` has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingMark {
    /// The ring.
    pub ring: Ring,
    /// Time of its observation clock, ns.
    pub at: u64,
    /// Unix nanoseconds minus observation clock, measured at this Mark (zero in replay).
    pub utc_offset: i64,
}

/// Capture to biflow.
#[derive(Clone, Debug)]
pub enum Message {
    /// Deltas of one ring in ring order.
    Deltas {
        /// The ring.
        ring: Ring,
        /// The deltas; all belong to the receiving shard.
        deltas: Vec<Delta>,
    },
    /// Encapsulations that later deltas of the ring refer to; every shard gets them.
    TunnelPath(Box<TunnelPath>),
    /// A Mark; every shard gets every Mark. Rows that its watermark completes are written as one epoch.
    Mark(RingMark),
    /// As many deltas were sent without a Mark as may finish [`EPOCH_ROWS`](crate::limit::EPOCH_ROWS) rows; every shard gets every
    /// one. The rows of a single ring that are finished by now are an epoch of their own.
    Span,
    /// The capture's clock stepped back: all flows are closed (`forced_end`) and time starts anew.
    ClockStep,
    /// The ring ends; when all have, all flows are closed (`forced_end`) and the last epoch is written.
    Close {
        /// The ring.
        ring: Ring,
    },
}
