//! How far the engine has come, as counters that any thread raises and the command line draws.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counters for a person who watches. Never the source of a result.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes of all inputs; zero when unknown (standard input, live).
    pub bytes_total: AtomicU64,
    /// Bytes read of them (compressed inputs: bytes of the file).
    pub bytes_read: AtomicU64,
    /// Packets seen.
    pub packets: AtomicU64,
    /// Flow rows written.
    pub flows: AtomicU64,
    /// Packets lost, all places.
    pub lost: AtomicU64,
    finished: AtomicBool,
}

impl Progress {
    /// Nothing done yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds to one of the counters.
    pub fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }

    /// Whoever draws may stop.
    pub fn finish(&self) {
        self.finished.store(true, Ordering::Release);
    }

    /// Whether [`Self::finish`] was called.
    pub fn finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }
}
