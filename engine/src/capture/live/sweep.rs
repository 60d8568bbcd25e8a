//! Time to records: one thread visits every CPU in turn, walks its cache so that no micro-flow stays longer than a second, and
//! ends each pass with a Mark.
//!
//! The sweep program runs in the thread's own context with bottom halves off, so on its CPU it cannot meet the tap program
//! half-way. After the tap is detached, a run on a CPU therefore also proves that no tap program runs there any more.
#![expect(clippy::disallowed_methods, reason = "the clock paces sweeps and bounds waits; what is recorded has the kernel's time")]

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use auscult_ebpf::{
    limit::{RING_RESERVE_PART, SWEEP_SETS_MAX},
    record::{Delta, Mark, SWEEP_FLUSH, SWEEP_MARK, Set, SweepArguments, octets_of},
};
use aya::{
    Ebpf,
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use crossbeam::channel::{Receiver, RecvTimeoutError};

use super::{UtcOffset, drain::RingShared, error::LiveError, host, object};

/// The sweep could not write its Mark for lack of room.
const NO_ROOM: u32 = 2;
/// Sets per run: bounds the time that the tap waits for the sweep.
const SETS_PER_RUN: u32 = 256;
/// Octets of a test packet: more than any driver's least.
const PACKET_OCTETS: usize = 64;
/// How long a pass waits for a full ring.
const PATIENCE: Duration = Duration::from_millis(20);
/// How long the last pass of a ring waits for a full ring.
const LAST_PATIENCE: Duration = Duration::from_secs(30);
const ROOM_PAUSE: Duration = Duration::from_micros(300);

/// One CPU's cache of one interface.
#[derive(Debug)]
struct Target {
    object: usize,
    shared: Arc<RingShared>,
    marks: u64,
}

/// What the sweeps have to say at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Passes over one CPU's cache.
    pub passes: u64,
    /// Passes cut short because the ring had no room. What was not swept stayed in the cache, where it is counted.
    pub cut: u64,
    /// Passes that could not leave a Mark in time.
    pub unmarked: u64,
    /// Passes that failed: the CPU is offline, or the kernel refused the run.
    pub failed: u64,
}

/// The objects of all taps, which the sweeps share with whoever attaches their programs.
pub(super) type Objects = Arc<[Mutex<Ebpf>]>;

/// All that there is to sweep.
#[derive(Debug)]
pub(super) struct Sweeper {
    objects: Objects,
    targets: Vec<Target>,
    sets: u32,
    interval: Duration,
    utc_offset: UtcOffset,
    report: SweepReport,
}

impl Sweeper {
    /// `rings[i]` are the rings of `objects[i]`.
    pub(super) fn new(
        objects: Objects,
        rings: &[Vec<Arc<RingShared>>],
        sets: u32,
        interval: Duration,
        utc_offset: UtcOffset,
    ) -> Self {
        let target = |object: usize| move |shared: &Arc<RingShared>| Target { object, shared: Arc::clone(shared), marks: 0 };
        let targets = rings.iter().enumerate().flat_map(|(object, rings)| rings.iter().map(target(object))).collect();
        Self { objects, targets, sets, interval, utc_offset, report: SweepReport::default() }
    }

    /// Sweeps until told to stop or the other end is gone; then sweeps everything out. The body of the sweep thread.
    pub(super) fn run(mut self, stop: &Receiver<()>) -> SweepReport {
        let mut next = Instant::now() + self.interval;
        while stop.recv_deadline(next) == Err(RecvTimeoutError::Timeout) {
            for index in 0..self.targets.len() {
                self.pass(index, 0, PATIENCE);
            }
            next = (next + self.interval).max(Instant::now());
        }
        for index in 0..self.targets.len() {
            self.pass(index, SWEEP_FLUSH, LAST_PATIENCE);
            let Target { shared, marks, .. } = &self.targets[index];
            shared.final_mark.store(*marks, Ordering::Release);
        }
        self.report
    }

    fn pass(&mut self, index: usize, flags: u32, patience: Duration) {
        self.report.passes += 1;
        let target = &self.targets[index];
        let (mut cut, mut marked) = (false, false);
        let result = self.sweep(target, flags, patience, &mut cut).and_then(|()| self.mark(target, patience, &mut marked));
        self.report.cut += u64::from(cut);
        self.report.failed += u64::from(result.is_err());
        self.report.unmarked += u64::from(result.is_ok() && !marked);
        self.targets[index].marks += u64::from(marked);
    }

    /// Walks all sets, a bounded number per run and only while the ring has room for all of them.
    fn sweep(&self, target: &Target, flags: u32, patience: Duration, cut: &mut bool) -> Result<(), String> {
        let shared = &target.shared;
        host::pin_to(shared.cpu).map_err(|error| error.to_string())?;
        let per_run = sets_per_run(shared.memory.size());
        let until = Instant::now() + patience;
        for first in (0..self.sets).step_by(per_run as usize) {
            let count = per_run.min(self.sets - first);
            if !wait_for_room(shared, u64::from(count) * SET_OCTETS + shared.memory.size() / RESERVE_PART, until) {
                *cut = true;
                return Ok(());
            }
            run(&held(&self.objects[target.object]), first, count, flags)?;
        }
        Ok(())
    }

    /// Leaves a Mark, as soon as the ring has room for it.
    fn mark(&self, target: &Target, patience: Duration, marked: &mut bool) -> Result<(), String> {
        let shared = &target.shared;
        let until = Instant::now() + patience;
        shared.utc_offset.store((self.utc_offset)(), Ordering::Release);
        while wait_for_room(shared, size_of::<Mark>() as u64 + 8, until) {
            if run(&held(&self.objects[target.object]), 0, 0, SWEEP_MARK)? != NO_ROOM {
                *marked = true;
                return Ok(());
            }
        }
        Ok(())
    }
}

/// What deltas leave of a ring.
const RESERVE_PART: u64 = RING_RESERVE_PART as u64;
/// Sets that the sweep program takes at a time; a run is a multiple of it.
const BLOCK: u32 = 16;
/// Least ring that has room for a block twice.
pub(super) const RING_BYTES_LEAST: u32 = 32 << 10;
const _: () = assert!(RING_BYTES_LEAST as u64 / 2 >= BLOCK as u64 * SET_OCTETS);
const _: () = assert!(SETS_PER_RUN <= SWEEP_SETS_MAX && SETS_PER_RUN.is_multiple_of(BLOCK));
/// Ring octets that one set can need.
const SET_OCTETS: u64 = (size_of::<Set>() + size_of::<Set>() / size_of::<Delta>() * 8) as u64;

/// Sets per run that need at most half a ring of `ring_octets`.
fn sets_per_run(ring_octets: u64) -> u32 {
    let sets = u32::try_from(ring_octets / 2 / SET_OCTETS).unwrap_or(SETS_PER_RUN).min(SETS_PER_RUN);
    (sets / BLOCK * BLOCK).max(BLOCK)
}

/// Waits until the ring has `octets` of room; `false` when it has not by `until`, or nobody drains it any more.
fn wait_for_room(shared: &RingShared, octets: u64, until: Instant) -> bool {
    while shared.memory.free() < octets {
        if shared.done.load(Ordering::Acquire) || Instant::now() >= until {
            return false;
        }
        std::thread::sleep(ROOM_PAUSE);
    }
    true
}

/// An object, for one use.
pub(super) fn held(object: &Mutex<Ebpf>) -> MutexGuard<'_, Ebpf> {
    object.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One run of the sweep program on the CPU of this thread.
fn run(ebpf: &Ebpf, first: u32, count: u32, flags: u32) -> Result<u32, String> {
    let sweep: &Xdp =
        ebpf.program("sweep").and_then(|program| program.try_into().ok()).ok_or("the object has no XDP program sweep")?;
    let packet = packet(first, count, flags);
    let options = TestRunOptions { data_in: Some(&packet), repeat: 1, ..TestRunOptions::default() };
    match sweep.test_run(options) {
        Ok(result) => Ok(result.return_value),
        Err(error) => Err(object::one_line(&error)),
    }
}

fn packet(first: u32, count: u32, flags: u32) -> [u8; PACKET_OCTETS] {
    let mut packet = [0; PACKET_OCTETS];
    let arguments = SweepArguments { first, count, flags, ..SweepArguments::default() };
    packet[..size_of::<SweepArguments>()].copy_from_slice(octets_of(&arguments));
    packet
}

/// Makes sure that every CPU can be swept before anything is attached. Pins the calling thread: call it on one of its own.
pub(super) fn probe(ebpf: &Ebpf, cpus: &[u32]) -> Result<(), LiveError> {
    for &cpu in cpus {
        let pinned = host::pin_to(cpu).map_err(|error: io::Error| error.to_string());
        pinned.and_then(|()| run(ebpf, 0, 0, 0)).map_err(|reason| LiveError::Sweep { cpu, reason })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_needs_at_most_half_a_ring() {
        assert_eq!(SET_OCTETS, 2 * (424 + 8));
        assert_eq!(sets_per_run(4 << 20), 256);
        assert_eq!(sets_per_run(64 << 10), 32, "37 would fit");
        assert_eq!(sets_per_run(RING_BYTES_LEAST.into()), 16);
    }

    #[test]
    fn arguments_stand_at_the_front_of_the_packet() {
        let packet = packet(1, 0x0102_0304, SWEEP_MARK);
        assert_eq!(packet[..4], 1_u32.to_ne_bytes());
        assert_eq!(packet[4..8], 0x0102_0304_u32.to_ne_bytes());
        assert_eq!(packet[8..12], 2_u32.to_ne_bytes());
        assert_eq!(packet[12..], [0; 52]);
    }
}
