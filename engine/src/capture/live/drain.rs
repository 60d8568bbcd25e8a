//! Rings to messages: a few named threads poll all rings, so that the kernel never has to wake anybody.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    ring::{RingMemory, RingReader},
    sort::Sorter,
};
use crate::{
    batch::Ring,
    capture::outlets::Gone,
    ledger::{Count, LedgerAtMark},
};
use auscult_ebpf::sample::Class;

/// Records given back to the kernel at once: some 50 KiB, little beside any ring.
pub const LEND_MOST: usize = 128;
/// Shortest pause of an idle drain.
pub const PAUSE_LEAST: Duration = Duration::from_micros(500);
/// Longest pause: at a million deltas a second a ring of 4 MiB then fills by half.
const PAUSE_MOST: Duration = Duration::from_millis(5);

/// What the threads that share one ring tell each other.
#[derive(Debug)]
pub(super) struct RingShared {
    pub(super) ring: Ring,
    pub(super) cpu: u32,
    pub(super) memory: RingMemory,
    /// Up to here an engine before this one has had its records written.
    inherited: u64,
    /// Offset measured before the newest Mark was asked for.
    pub(super) utc_offset: AtomicI64,
    /// Marks after which nothing comes; `u64::MAX` until known.
    pub(super) final_mark: AtomicU64,
    /// The drain has stopped.
    pub(super) done: AtomicBool,
}

impl RingShared {
    /// `utc_offset` holds for what an earlier engine left in the ring: that comes before the first Mark that is asked for.
    pub(super) fn new(ring: Ring, cpu: u32, memory: RingMemory, utc_offset: i64) -> Self {
        Self {
            ring,
            cpu,
            inherited: memory.end(),
            memory,
            utc_offset: AtomicI64::new(utc_offset),
            final_mark: AtomicU64::new(u64::MAX),
            done: AtomicBool::new(false),
        }
    }
}

/// What a drain has to say of a ring at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingReport {
    /// The ring.
    pub ring: Ring,
    /// Its CPU.
    pub cpu: u32,
    /// The ledger at its last Mark; `None` when none came.
    pub last: Option<LedgerAtMark>,
    /// What this engine has received of it.
    pub received: Count,
    /// Marks met.
    pub marks: u64,
    /// Samples met, by class.
    pub samples: [u64; Class::CELLS],
    /// Whether the ring was read to its end and every shard was told.
    pub complete: bool,
}

struct Draining<'a> {
    shared: &'a RingShared,
    reader: RingReader<'a>,
    sorter: Sorter,
    complete: bool,
}

/// Drains `rings` until each has ended. The body of a drain thread.
pub(super) fn run(rings: Vec<(Arc<RingShared>, Sorter)>) -> Vec<RingReport> {
    let (shared, sorters): (Vec<_>, Vec<_>) = rings.into_iter().unzip();
    let mut draining: Vec<Draining<'_>> = shared
        .iter()
        .zip(sorters)
        .map(|(shared, sorter)| Draining { shared, reader: RingReader::new(&shared.memory), sorter, complete: false })
        .collect();
    let mut pause = PAUSE_LEAST;
    loop {
        let mut fill = Fill::Low;
        let mut live = false;
        for ring in draining.iter_mut().filter(|ring| !ring.shared.done.load(Ordering::Relaxed)) {
            fill = fill.max(Fill::of(ring.shared.memory.used(), ring.shared.memory.size()));
            ring.pass();
            live = true;
        }
        if !live {
            return draining.iter().map(Draining::report).collect();
        }
        match next_pause(pause, fill) {
            Some(next) => {
                std::thread::sleep(next);
                pause = next;
            }
            None => pause = PAUSE_LEAST,
        }
    }
}

impl Draining<'_> {
    /// Reads what is there now, at most one ring's worth, so that a busy ring does not starve the others.
    fn pass(&mut self) {
        // Before the ring is looked at: what is final now cannot be followed by more.
        let final_mark = self.shared.final_mark.load(Ordering::Acquire);
        let turns = self.shared.memory.size() / (LEND_MOST as u64 * 8) + 1;
        for _ in 0..turns {
            match self.lend() {
                Err(Gone) => return self.shared.done.store(true, Ordering::Release),
                Ok(0) => break,
                Ok(_) => {}
            }
        }
        if self.sorter.marks() >= final_mark && self.reader.is_empty() {
            self.complete = self.sorter.close().is_ok();
            self.shared.done.store(true, Ordering::Release);
        }
    }

    fn lend(&mut self) -> Result<usize, Gone> {
        let Self { shared, reader, sorter, .. } = self;
        let drained = reader.drain_while(LEND_MOST, |record| sorter.take(record));
        for _ in 0..drained.broken {
            sorter.bad(0);
        }
        // LEDGER-5: only now. What has been handed on is in the ring no more, so no later engine can take it again.
        sorter.hand_on(shared.utc_offset.load(Ordering::Acquire), reader.is_behind(shared.inherited))?;
        Ok(drained.records)
    }

    fn report(&self) -> RingReport {
        RingReport {
            ring: self.shared.ring,
            cpu: self.shared.cpu,
            last: self.sorter.last(),
            received: self.sorter.received(),
            marks: self.sorter.marks(),
            samples: self.sorter.samples(),
            complete: self.complete,
        }
    }
}

/// How full a ring was when its turn came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fill {
    Low,
    Fair,
    High,
}

impl Fill {
    fn of(used: u64, size: u64) -> Self {
        match used {
            _ if used > size / 4 => Self::High,
            _ if used > size / 32 => Self::Fair,
            _ => Self::Low,
        }
    }
}

/// How long to pause before the next pass: none while a ring fills fast, longer and longer while nothing comes.
fn next_pause(last: Duration, fill: Fill) -> Option<Duration> {
    match fill {
        Fill::High => None,
        Fill::Fair => Some((last / 2).max(PAUSE_LEAST)),
        Fill::Low => Some((last * 2).min(PAUSE_MOST)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_follow_the_fill() {
        assert_eq!(next_pause(PAUSE_LEAST, Fill::Low), Some(PAUSE_LEAST * 2));
        assert_eq!(next_pause(PAUSE_MOST, Fill::Low), Some(PAUSE_MOST));
        assert_eq!(next_pause(PAUSE_MOST, Fill::Fair), Some(PAUSE_MOST / 2));
        assert_eq!(next_pause(PAUSE_LEAST, Fill::Fair), Some(PAUSE_LEAST));
        assert_eq!(next_pause(PAUSE_MOST, Fill::High), None);
        assert_eq!([Fill::of(32, 1024), Fill::of(33, 1024), Fill::of(257, 1024)], [Fill::Low, Fill::Fair, Fill::High]);
    }
}
