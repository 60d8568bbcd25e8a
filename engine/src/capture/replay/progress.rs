//! How far a replay has come: stored octets read.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Stored octets read of all files. Of compressed files the compressed ones count.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    pub(super) read: Arc<AtomicU64>,
    pub(super) total: Option<u64>,
}

impl Progress {
    /// Octets read. Reading is ahead of the frames by up to a window, and by some buffers where files are compressed.
    pub fn octets_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Octets that there are; `None` when some of them come from a pipe.
    pub fn octets_total(&self) -> Option<u64> {
        self.total
    }
}
