//! Capture: frames in, batches of deltas, Marks and ledgers out. Live they come from the kernel's rings, in replay from the same
//! meter run natively.

pub mod live;
pub mod native;
pub mod outlets;
pub mod replay;
