//! Deltas in, flow records out: the merge of everything the meters saw of one biflow (RFC 5103).
//!
//! One [`Table`] per shard thread takes the deltas of its shard and the Marks of all rings and gives one [`Epoch`] of finished
//! rows whenever the watermark (the oldest newest Mark) advances; [`Merge`] joins the shards' epochs to batches that do not
//! depend on the number of shards. Nothing here reads a clock or starts a thread.
//!
//! # What holds
//! * **Any split gives the same row.** Evictions, sweeps and ticks cut a flow into deltas anywhere; the merge rules of
//!   `side.rs`, `sequence.rs` and `entry.rs` undo every cut, or flag what they cannot undo (`split`, `sequence_exact`).
//! * **Order between rings does not matter.** With more than one ring, deltas wait (`hold.rs`) until the watermark has passed
//!   their tick and are merged in order of time. A single ring is in order by itself.
//! * **Boundaries are in the record times alone**: idle timeout, active timeout (by tick), end of a TCP connection. When the
//!   row is *written* depends on the watermark, what it says does not.
//! * **Everything is bounded**: flows by `max_flows`, waiting deltas by `HELD_MAX`, finished rows by `EPOCH_ROWS`, fragment links by a
//!   fixed table. What a message leaves to do is done in pieces: [`Table::more`].
//!
//! # What is deliberately not done
//! * Intervals do not reach over the border of two segments of a long flow; first packets are those of the first segment.
//! * A connection that is reopened within the tick in which the other direction, seen by another ring, still belongs to the old
//!   one: that delta cannot be cut, and counts for the connection in which it begins.
//! * A delta that arrives after its flow was written (which takes a meter that breaks its promise) is a flow of its own.

mod bound;
mod community_id;
mod compact;
mod entry;
mod export;
mod fragment;
mod hold;
mod identity;
mod merge;
mod place;
mod ring;
mod sequence;
mod side;
mod sidedness;
mod slab;
mod table;
mod tunnel;
mod turn;
mod wheel;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use auscult_ebpf::limit::TICK_SHIFT;

pub use self::{bound::MemoryBound, community_id::community_id_text, merge::Merge, table::Table};
use crate::flow::{Flow, FlowEndReason, UnixNanos};

/// Ticks by which the table trails the watermark: a slot may stay resident for its own tick and for one sweep pass of at most
/// two ticks after it.
pub const SETTLE_TICKS: u64 = 2;
/// Ticks that a closed TCP connection waits for late segments. A meter starts a fresh run after as many ticks without a packet, so
/// that no run reaches over the end of a flow.
pub const LINGER_TICKS: u64 = auscult_ebpf::limit::RUN_IDLE_TICKS;
/// Shortest idle timeout, ns: longer than the linger time and than any delta.
pub const IDLE_TIMEOUT_MIN_NANOS: u64 = 5_000_000_000;
/// Longest active timeout, ns (27 hours, more than the configuration allows): times within a segment are kept in 48 bits.
pub const ACTIVE_TIMEOUT_MAX_NANOS: u64 = 100_000_000_000_000;
/// Most deltas that wait for the watermark, per shard (100 MiB). Above it the oldest tick is merged early.
pub const HELD_MAX: usize = 1 << 18;

const _: () = assert!(LINGER_TICKS << TICK_SHIFT < IDLE_TIMEOUT_MIN_NANOS);
const _: () = assert!(SETTLE_TICKS < LINGER_TICKS);
const _: () = assert!(ACTIVE_TIMEOUT_MAX_NANOS + (1 << TICK_SHIFT) < 1 << 47);

/// The tick a time lies in.
const fn tick_of(at: u64) -> u64 {
    at >> TICK_SHIFT
}

/// What a [`Table`] is told once.
#[derive(Clone, Debug)]
pub struct BiflowSettings {
    /// A flow ends when it has had no packet for longer than this (at least [`IDLE_TIMEOUT_MIN_NANOS`], which replaces less).
    pub idle_timeout_nanos: u64,
    /// A flow that lasts longer is written in segments of this length, rounded up to ticks (at most [`ACTIVE_TIMEOUT_MAX_NANOS`]).
    pub active_timeout_nanos: u64,
    /// Most flows at a time. When there is one more, the one longest without packets is written (`lack_of_resources`).
    pub max_flows: u32,
    /// Rings that will send Marks, numbered from zero. The watermark stands still until each has sent one or is closed.
    pub rings: u16,
    /// Site name; part of the flow id.
    pub site: Arc<str>,
    /// Seed of the table's hash, so that nobody can choose addresses that collide. Has no influence on rows.
    pub seed: u64,
}

/// How an epoch's rows stand to those of other shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// All rows of the epoch that are not in parts before.
    #[default]
    Last,
    /// The epoch has more rows than [`EPOCH_ROWS`](crate::limit::EPOCH_ROWS): these, in order of
    /// [`Flow::sort_key`](crate::flow::Flow::sort_key), come before those of its next part.
    Next,
    /// Rows that cannot wait for the epoch to end, because several rings finished too many.
    Early,
}

/// Rows of one shard that one advance of the watermark, or one span of deltas before it, completed. A shard gives one per advance and
/// span, also when it has no rows.
#[derive(Clone, Debug, Default)]
pub struct Epoch {
    /// The rows; in no particular order unless `part` says so.
    pub rows: Vec<Flow>,
    /// Which of them.
    pub part: Part,
    /// Counts the steps of the capture clock; times of two eras cannot be compared.
    pub era: u32,
    /// The watermark, observation clock; `u64::MAX` for the last epoch of an era.
    pub watermark: u64,
    /// Counts the spans since that watermark; zero for the epoch of the advance itself.
    pub span: u32,
    /// Unix time up to which the table is settled.
    pub settled: UnixNanos,
}

/// What a table has done and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Flows in the table.
    pub live: u64,
    /// Deltas merged.
    pub deltas: u64,
    /// Packets in them.
    pub packets: u64,
    /// Flows written before their time because the table was full.
    pub evicted: u64,
    /// Rows written, by end reason in the order of [`FlowEndReason::ALL`].
    pub exported: [u64; FlowEndReason::ALL.len()],
    /// Deltas that wait for the watermark.
    pub held: u64,
    /// Deltas merged before the watermark had passed them, because too many waited.
    pub hurried: u64,
    /// Memory of table, timers, waiting deltas and finished rows, bytes.
    pub memory_bytes: u64,
}
