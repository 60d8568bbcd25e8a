//! Frames to deltas and ledgers, from a live interface.

pub mod live;
