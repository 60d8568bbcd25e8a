//! Frames on live interfaces to batches of deltas, Marks and ledgers.
//!
//! The frames themselves stay in the kernel: a tap program meters them into a flow cache per CPU, whose deltas come through one
//! ring per interface and CPU. Here the object is loaded and attached ([`attach`](Hook), best hook first), rings are drained by a
//! few threads, and one thread sweeps every cache in turn and has a Mark written behind each pass. The interfaces are made taps
//! for that long: promiscuous, without offloads that join frames, and silent when dedicated.
//!
//! Stopping keeps the books closed: detach, sweep everything out, write a last Mark per CPU, read every ring to that Mark, tell
//! every shard. Nothing here reads a packet's octets except samples, which are lent to a [`SampleSink`] and never copied.
//!
//! With pins ([`Pins`]), programs and maps outlive an engine that is killed: they go on metering, and the next engine takes them over
//! and drains what the rings hold. Maps that its settings do not fit are read out first ([`close()`]). An interface that goes and comes
//! back is attached again ([`Live::tend`]); its maps stay.
//!
//! Not done: CPUs that come online after the start have no ring (their packets count as lost, [`Lost::NoRing`]).
//!
//! [`Lost::NoRing`]: auscult_ebpf::discard::Lost::NoRing

mod attach;
mod close;
mod drain;
mod error;
mod host;
mod link;
mod netdev;
mod object;
mod offload;
mod pin;
pub mod ring;
mod settings;
pub mod sort;
mod sweep;
mod tap;
mod tapped;

use std::{
    io,
    sync::{Arc, Mutex, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

use auscult_ebpf::{
    limit::{COPY_BUCKETS, COPY_WAYS, DIGEST_OCTETS_MAX},
    record::{CpuMemory, Set},
    settings::Settings,
};
use crossbeam::channel::{Sender, bounded};

pub use self::{
    attach::{Hook, HookChoice, Refused},
    close::{Closed, close, counters},
    drain::{LEND_MOST, PAUSE_LEAST, RingReport},
    error::LiveError,
    netdev::NicCounters,
    object::OBJECT,
    pin::Pins,
    settings::LiveSettings,
    sweep::SweepReport,
    tap::TapSettings,
};
use self::{
    drain::RingShared,
    pin::TapPins,
    ring::RingMemory,
    sort::Sorter,
    sweep::{Objects, Sweeper, held},
    tap::Tap,
    tapped::Tapped,
};
use crate::{
    batch::Ring,
    capture::{native::SampleSink, outlets::Outlets},
    ledger::Ledger,
};

/// XDP action of a dedicated tap: the stack never sees the mirror.
const DROP: u32 = 1;
/// XDP action of a shared port.
const PASS: u32 = 2;
/// Octets around an MTU's worth: link header, three VLAN tags, frame check sequence.
const FRAME_OVERHEAD: u32 = 14 + 12 + 4;
/// One tap while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapState {
    /// Interface name.
    pub name: String,
    /// Hook in use.
    pub hook: Hook,
    /// Hooks that were tried before.
    pub refused: Vec<Refused>,
    /// Offloads that were switched off for the time of the capture.
    pub switched_off: Vec<String>,
    /// What could not be had, one line each.
    pub warnings: Vec<String>,
    /// An engine before this one had attached it: no frame went by between the two.
    pub adopted: bool,
    /// Why its program does not outlive this process, where that was asked for.
    pub unpinned: Option<String>,
    /// The interface is gone.
    pub gone: bool,
    /// The interface's own counters since the start; `None` when it is gone. A dedicated tap has transmitted nothing.
    pub counters: Option<NicCounters>,
}

/// What a capture has to say at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveReport {
    /// Per ring, in ring order.
    pub rings: Vec<RingReport>,
    /// Per tap, in observation-point order.
    pub taps: Vec<TapState>,
    /// Of the sweeps.
    pub sweep: SweepReport,
    /// Threads that died, by name. Empty unless there is a fault in the engine.
    pub dead_threads: Vec<String>,
}

impl LiveReport {
    /// The ledger over all rings at their last Marks.
    pub fn ledger(&self) -> Ledger {
        let mut sum = Ledger::default();
        for at_mark in self.rings.iter().filter_map(|ring| ring.last) {
            sum.add(&at_mark.ledger);
        }
        sum
    }

    /// Whether every ring was read to its end.
    pub fn complete(&self) -> bool {
        self.dead_threads.is_empty() && self.rings.iter().all(|ring| ring.complete)
    }
}

/// Makes the sink for the samples of one ring.
pub type SinkOf<'a> = &'a mut dyn FnMut(Ring) -> Box<dyn SampleSink>;

/// What a capture goes on from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin<'a> {
    /// Where programs and maps outlive the engine, if anywhere.
    pub pins: Option<&'a Pins>,
    /// By tap; missing ones are new.
    pub carried: &'a [Carried],
    /// Unix nanoseconds minus observation time, asked for at each Mark; `None`: the host's clocks.
    pub utc_offset: Option<UtcOffset>,
}

/// What ties Marks to UTC.
pub type UtcOffset = fn() -> i64;

/// What the books say of a tap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Number of the attachment.
    pub attachment: u32,
    /// What its ledger begins with.
    pub before: Ledger,
}

impl Origin<'_> {
    fn carried(&self, tap: usize) -> Carried {
        self.carried.get(tap).copied().unwrap_or_default()
    }

    fn utc_offset(&self) -> UtcOffset {
        self.utc_offset.unwrap_or(host::utc_offset)
    }

    fn tap(&self, tap: usize, name: &str) -> Option<TapPins> {
        self.pins.map(|pins| pins.tap(name, self.carried(tap).attachment))
    }
}

/// A running capture. Dropping it detaches and lets its threads end on their own; [`Live::stop`] closes the books.
#[derive(Debug)]
pub struct Live {
    // Declared in the order in which they must go: programs first, the interfaces' settings last.
    taps: Vec<Tapped>,
    stop: Option<Sender<()>>,
    sweeper: Option<Thread<SweepReport>>,
    drains: Vec<Thread<Vec<RingReport>>>,
    shared: Vec<Arc<RingShared>>,
    objects: Objects,
    warnings: Vec<String>,
}

#[derive(Debug)]
struct Thread<T> {
    name: String,
    handle: JoinHandle<T>,
}

impl Live {
    /// Starts a capture. `object` is [`OBJECT`], unless it is another build of it. Ring `t * c + i` is that of tap `t` and of the
    /// `i`-th of `c` online CPUs. With pins in `origin`, what is pinned there is taken over; it must fit the settings ([`close()`]).
    pub fn start(
        settings: &LiveSettings,
        object: &[u8],
        outlets: &Outlets,
        sinks: SinkOf<'_>,
        origin: Origin<'_>,
    ) -> Result<Self, LiveError> {
        settings.check()?;
        host::check_kernel()?;
        host::check_privileges()?;
        let cpus = host::online_cpus()?;
        let taps: Vec<Tap> = settings.taps.iter().map(Tap::open).collect::<Result<_, _>>()?;
        let (mut objects, mut rings, mut sorters) = (Vec::new(), Vec::new(), Vec::new());
        for (point, tap) in taps.iter().enumerate() {
            let meter = meter_of(settings, point, tap.mtu());
            let pins = origin.tap(point, tap.name());
            let loaded = object::load(object, tap.name(), &meter, &cpus, settings.ring_bytes, pins.as_ref())?;
            let shared = share(point, &cpus, &cpus, loaded.rings, origin.utc_offset())?;
            sorters.extend(sorters_of(&shared, point, &origin.carried(point), loaded.adopted, outlets, sinks));
            rings.push(shared);
            objects.push(Mutex::new(loaded.ebpf));
        }
        let objects: Objects = objects.into();
        probe(&objects, &cpus)?;
        let mut tapped = Vec::new();
        for (point, ((tap, settings), object)) in taps.into_iter().zip(&settings.taps).zip(objects.iter()).enumerate() {
            let pins = origin.tap(point, tap.name());
            let attached = attach::attach(&mut held(object), &tap, settings.hook, pins.as_ref())?;
            let (hook, counted) = (attached.hook, NicCounters::default());
            let settings = settings.clone();
            tapped.push(Tapped {
                attached: Some(attached),
                hook,
                tap,
                settings,
                pins,
                refused: None,
                counted_before: counted,
                counted,
            });
        }
        let mut live = Self::over(tapped, &rings, objects);
        live.start_drains(settings.drain_threads, cpus.len(), sorters)?;
        let interval = Duration::from_millis(u64::from(settings.mark_millis));
        let sweeper =
            Sweeper::new(Arc::clone(&live.objects), &rings, settings.meter.sets_mask + 1, interval, origin.utc_offset());
        live.start_sweeper(sweeper)?;
        Ok(live)
    }

    /// Nothing runs yet.
    fn over(taps: Vec<Tapped>, rings: &[Vec<Arc<RingShared>>], objects: Objects) -> Self {
        let shared = rings.iter().flatten().map(Arc::clone).collect();
        Self { taps, stop: None, sweeper: None, drains: Vec::new(), shared, objects, warnings: host::warnings() }
    }

    /// Looks after the taps: one whose interface is gone waits for another of its name. A line for each change. To be called in the
    /// network namespace of the interfaces.
    pub fn tend(&mut self) -> Vec<String> {
        let objects = Arc::clone(&self.objects);
        self.taps.iter_mut().zip(objects.iter()).filter_map(|(tapped, object)| tapped.tend(object)).collect()
    }

    /// What an operator should know about this host, one line each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The taps as they are now.
    pub fn taps(&self) -> Vec<TapState> {
        let state = |tapped: &Tapped| TapState {
            name: tapped.tap.name().to_owned(),
            hook: tapped.hook,
            refused: tapped.attached.as_ref().map_or_else(Vec::new, |attached| attached.refused.clone()),
            switched_off: tapped.tap.switched_off().to_vec(),
            warnings: tapped.tap.warnings().to_vec(),
            adopted: tapped.attached.as_ref().is_some_and(|attached| attached.adopted),
            unpinned: tapped.attached.as_ref().and_then(|attached| attached.unpinned.clone()),
            gone: tapped.attached.is_none(),
            counters: tapped.counters(),
        };
        self.taps.iter().map(state).collect()
    }

    /// Octets waiting in each ring, and the ring's size, in ring order.
    pub fn ring_fill(&self) -> Vec<(u64, u64)> {
        self.shared.iter().map(|shared| (shared.memory.used(), shared.memory.size())).collect()
    }

    /// Whether all rings are still drained. When not, a receiver is gone or a thread died: stop.
    pub fn is_draining(&self) -> bool {
        self.shared.iter().all(|shared| !shared.done.load(Ordering::Acquire))
            && !self.drains.iter().any(|drain| drain.handle.is_finished())
    }

    /// Detaches, sweeps out what is resident, reads every ring to its last Mark, tells every shard, and restores the
    /// interfaces. The receivers of the outlets must go on receiving meanwhile.
    pub fn stop(mut self) -> LiveReport {
        let taps = self.taps();
        self.taps.iter_mut().for_each(|tapped| tapped.attached = None);
        self.stop = None;
        let mut dead_threads = Vec::new();
        let mut sweep = SweepReport::default();
        if let Some(thread) = self.sweeper.take() {
            match thread.handle.join() {
                Ok(report) => sweep = report,
                Err(_) => dead_threads.push(thread.name),
            }
        }
        self.let_drains_end();
        let mut rings = Vec::new();
        for thread in std::mem::take(&mut self.drains) {
            match thread.handle.join() {
                Ok(reports) => rings.extend(reports),
                Err(_) => dead_threads.push(thread.name),
            }
        }
        rings.sort_by_key(|report: &RingReport| report.ring);
        LiveReport { rings, taps, sweep, dead_threads }
    }

    fn start_drains(&mut self, threads: usize, cpus: usize, sorters: Vec<Sorter>) -> Result<(), LiveError> {
        let threads = if threads == 0 { cpus } else { threads }.clamp(1, self.shared.len().max(1));
        let mut shares: Vec<Vec<(Arc<RingShared>, Sorter)>> = (0..threads).map(|_| Vec::new()).collect();
        for (position, (shared, sorter)) in self.shared.iter().zip(sorters).enumerate() {
            shares[position % threads].push((Arc::clone(shared), sorter));
        }
        for (number, share) in shares.into_iter().enumerate() {
            let thread = spawn(format!("drain-{number}"), move || drain::run(share));
            self.drains.push(thread.inspect_err(|_| self.let_drains_end())?);
        }
        Ok(())
    }

    fn start_sweeper(&mut self, sweeper: Sweeper) -> Result<(), LiveError> {
        let (stop, stopped) = bounded(1);
        let thread = spawn("sweep".to_owned(), move || sweeper.run(&stopped));
        self.sweeper = Some(thread.inspect_err(|_| self.let_drains_end())?);
        self.stop = Some(stop);
        Ok(())
    }

    /// Lets every drain end at the end of its ring that has no final Mark yet, because nobody is left to write one.
    fn let_drains_end(&self) {
        for shared in &self.shared {
            let _ = shared.final_mark.compare_exchange(u64::MAX, 0, Ordering::AcqRel, Ordering::Acquire);
        }
    }
}

/// Rings of one tap: one per online CPU.
///
/// # Errors
/// When the host does not say which CPUs are online.
pub fn rings_per_tap() -> Result<u16, LiveError> {
    Ok(u16::try_from(host::online_cpus()?.len()).unwrap_or(u16::MAX))
}

/// The most memory of capturing on that many taps, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBound {
    /// Flow caches and counters of every CPU, in the kernel.
    pub caches: u64,
    /// Rings of every CPU that is online, in the kernel.
    pub rings: u64,
    /// What of this the kernel counts as resident memory of the process: rings, whose records are mapped twice.
    pub mapped: u64,
}

/// See [`MemoryBound`].
///
/// # Errors
/// When the host does not say which CPUs it has.
pub fn memory_bound(taps: usize, sets: u32, ring_bytes: u32) -> Result<MemoryBound, LiveError> {
    let rings = taps as u64 * host::online_cpus()?.len() as u64;
    let possible = aya::util::nr_cpus().map_err(|(what, source)| LiveError::Host { what, source })? as u64;
    const RECENT_BYTES: u64 = (COPY_BUCKETS * COPY_WAYS * size_of::<u64>()) as u64;
    let scratch = u64::from(DIGEST_OCTETS_MAX);
    let per_cpu = u64::from(sets) * size_of::<Set>() as u64 + size_of::<CpuMemory>() as u64 + scratch;
    let (ring, page) = (u64::from(ring_bytes), ring::page_octets() as u64);
    Ok(MemoryBound {
        caches: taps as u64 * (possible * per_cpu + RECENT_BYTES),
        rings: rings * (ring + 2 * page),
        mapped: rings * 2 * (ring + page),
    })
}

fn meter_of(settings: &LiveSettings, point: usize, mtu: u32) -> Settings {
    let mut meter = settings.meter;
    meter.observation_point = point as u32;
    meter.disposition = if settings.taps[point].dedicated { DROP } else { PASS };
    if meter.super_frame_octets == 0 {
        meter.super_frame_octets = mtu.saturating_add(FRAME_OVERHEAD);
    }
    meter
}

/// Numbers the rings of one tap. Rings of `cpus` that are not the `online` ones take the numbers of those.
fn share(
    point: usize,
    cpus: &[u32],
    online: &[u32],
    rings: Vec<RingMemory>,
    utc_offset: UtcOffset,
) -> Result<Vec<Arc<RingShared>>, LiveError> {
    let number = |position: usize| {
        Ring::try_from(point * online.len() + position % online.len().max(1)).map_err(|_| LiveError::Setting {
            setting: "interfaces",
            value: (point + 1).to_string(),
            expected: format!("{} rings at most, one per interface and cpu, are possible", Ring::MAX),
        })
    };
    let rings = rings.into_iter().enumerate().zip(cpus);
    rings.map(|((position, memory), &cpu)| Ok(Arc::new(RingShared::new(number(position)?, cpu, memory, utc_offset())))).collect()
}

/// A sorter for each ring of one tap, the first of which begins with what the tap's ledger begins with.
fn sorters_of(
    rings: &[Arc<RingShared>],
    point: usize,
    carried: &Carried,
    adopted: bool,
    outlets: &Outlets,
    sinks: SinkOf<'_>,
) -> Vec<Sorter> {
    let sorter = |(position, shared): (usize, &Arc<RingShared>)| {
        let mut sorter = Sorter::new(shared.ring, outlets.clone(), sinks(shared.ring));
        let before = if position == 0 { carried.before } else { Ledger::default() };
        sorter.inherit(carried.attachment, &before, adopted.then_some(point as u32));
        sorter
    };
    rings.iter().enumerate().map(sorter).collect()
}

/// Sweeps nothing on every CPU, on a thread of its own because that thread is pinned.
fn probe(objects: &Objects, cpus: &[u32]) -> Result<(), LiveError> {
    let Some(first) = objects.first() else { return Ok(()) };
    thread::scope(|scope| {
        let body = || sweep::probe(&held(first), cpus);
        let thread = thread::Builder::new().name("probe".to_owned()).spawn_scoped(scope, body);
        let thread = thread.map_err(|source| LiveError::Thread { name: "probe".to_owned(), source })?;
        thread
            .join()
            .unwrap_or_else(|_| Err(LiveError::Thread { name: "probe".to_owned(), source: io::Error::other("it panicked") }))
    })
}

fn spawn<T: Send + 'static>(name: String, body: impl FnOnce() -> T + Send + 'static) -> Result<Thread<T>, LiveError> {
    match thread::Builder::new().name(name.clone()).spawn(body) {
        Ok(handle) => Ok(Thread { name, handle }),
        Err(source) => Err(LiveError::Thread { name, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(&mut LiveSettings)) -> String {
        let mut settings = LiveSettings::dedicated(&["tap0"], Settings::plain());
        assert!(settings.check().is_ok());
        change(&mut settings);
        settings.check().expect_err("a refusal").to_string()
    }

    #[test]
    fn impossible_settings_are_refused_by_name() {
        assert!(refusal(|settings| settings.ring_bytes = 5000).starts_with("ring_bytes = 5000 cannot work: a power of two"));
        assert!(refusal(|settings| settings.ring_bytes = 4096).starts_with("ring_bytes = 4096 cannot work"));
        assert!(refusal(|settings| settings.mark_millis = 0).starts_with("mark_millis = 0 cannot work: 20 to 900"));
        assert!(refusal(|settings| settings.meter.sets_mask = 2).starts_with("sets = 3 cannot work"));
        assert!(refusal(|settings| settings.meter.sets_mask = u32::MAX).starts_with("sets = 0 cannot work"));
        assert!(refusal(|settings| settings.taps.clear()).starts_with("interfaces = 0 cannot work"));
        let twice = refusal(|settings| settings.taps.push(TapSettings::dedicated("tap0")));
        assert_eq!(twice, "interface tap0 is named twice; name every tap once");
    }

    #[test]
    fn each_tap_has_its_own_meter() {
        let mut settings = LiveSettings::dedicated(&["tap0", "tap1"], Settings::plain());
        settings.taps[1].dedicated = false;
        let first = meter_of(&settings, 0, 1500);
        let second = meter_of(&settings, 1, 9000);
        assert_eq!((first.observation_point, first.disposition, first.super_frame_octets), (0, DROP, 1530));
        assert_eq!((second.observation_point, second.disposition, second.super_frame_octets), (1, PASS, 9030));
        assert_eq!(first.hash_keys, settings.meter.hash_keys);
    }
}

#[cfg(test)]
mod trial_tests;
