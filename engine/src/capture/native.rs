//! The kernel's meter, run natively: frames of capture files in, batches of deltas and Marks out.
//!
//! Parser, flow cache and sampler are the very code that the kernel runs. Time is the capture's: a sweep and a Mark come with
//! the first frame of every tick. Time never runs backwards for the meter: a frame stamped earlier than its predecessor is
//! metered at the predecessor's time, and one stamped more than [`STEP_NANOS`] earlier is a clock step, which closes all flows.

use auscult_ebpf::{
    discard::{Discard, Lost},
    frame::{Frame, Slice},
    limit::{COPY_BUCKETS, COPY_WAYS, SAMPLE_LARGE, TICK_SHIFT},
    meter::{self, FlowCache, Recent, Sets, Sink, group},
    parse::{self, Packet, Start},
    record::{ABI, Core, Delta, Header, Kind, Mark, SampleHead, Set, TunnelPath},
    settings::{FLAG_VLAN_IN_KEY, Settings},
};

use super::{
    outlets::{Batches, Gone},
    replay::{RawFrame, link},
};
use crate::ledger::{Count, LedgerAtMark};

const LINKTYPE_ETHERNET: u32 = 1;

/// Frames stamped up to this much before their predecessor are late; beyond it, the capture's clock was set back.
pub const STEP_NANOS: u64 = 5_000_000_000;

/// Takes samples as the meter takes them.
pub trait SampleSink: Send {
    /// Whether anything is done with samples. If not, they are counted and no octet is copied.
    fn wants(&self) -> bool {
        true
    }

    /// One sample. The payload is lent: copy what is kept, and zero the copy after use.
    fn take(&mut self, head: &SampleHead, payload: &[u8]);

    /// Every sample from before `at` has been taken. `utc_offset`: Unix nanoseconds minus observation time.
    fn mark(&mut self, _at: u64, _utc_offset: i64) {}

    /// The clock was set back: what comes now may be earlier than what came.
    fn clock_step(&mut self) {}

    /// There are no more samples.
    fn close(&mut self) {}
}

/// Lets every sample go.
#[derive(Clone, Copy, Debug, Default)]
pub struct DropSamples;

impl SampleSink for DropSamples {
    fn wants(&self) -> bool {
        false
    }

    fn take(&mut self, _head: &SampleHead, _payload: &[u8]) {}
}

/// The flow cache in memory, with a bit per set that may hold packets.
struct MemorySets {
    sets: Box<[Set]>,
    touched: Box<[u64]>,
}

impl MemorySets {
    fn new(count: usize) -> Self {
        let sets = vec![Set::default(); count].into_boxed_slice();
        Self { sets, touched: vec![0; count.div_ceil(64)].into_boxed_slice() }
    }
}

impl Sets for &mut MemorySets {
    #[inline(always)]
    fn set(&mut self, index: u32) -> Option<&mut Set> {
        let index = index as usize;
        *self.touched.get_mut(index / 64)? |= 1 << (index % 64);
        self.sets.get_mut(index)
    }
}

/// The table of recent packets in memory; empty when no copies are looked for.
struct MemoryRecent(Box<[u64]>);

impl MemoryRecent {
    fn new(settings: &Settings) -> Self {
        let cells = if settings.copy_units == 0 { 0 } else { COPY_BUCKETS * COPY_WAYS };
        Self(vec![0; cells].into_boxed_slice())
    }
}

impl Recent for MemoryRecent {
    #[inline(always)]
    fn cells(&mut self, first: usize) -> [u64; COPY_WAYS] {
        self.0.get(first..).and_then(<[u64]>::first_chunk).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn exchange(&mut self, cell: usize, value: u64) -> u64 {
        self.0.get_mut(cell).map_or(0, |cell| std::mem::replace(cell, value))
    }
}

/// Records of the native meter go straight into batches.
struct MemorySink {
    batches: Batches,
    samples: Box<dyn SampleSink>,
    wanted: bool,
    scratch: Box<[u8; SAMPLE_LARGE]>,
    gone: bool,
}

impl Sink for MemorySink {
    #[inline(always)]
    fn cpu(&self) -> u16 {
        0
    }

    #[inline(always)]
    fn delta(&mut self, delta: &Delta) -> Result<(), Lost> {
        self.gone |= self.batches.push(delta).is_err();
        Ok(())
    }

    fn path(&mut self, path: &TunnelPath) -> Result<(), Lost> {
        self.batches.path(path);
        Ok(())
    }

    fn sample<F: Frame, const N: usize>(&mut self, head: &SampleHead, frame: &F, offset: u32) -> Result<(), Lost> {
        let length = usize::from(head.length).min(N).min(SAMPLE_LARGE);
        if !self.wanted {
            let there = frame.captured_octets().checked_sub(offset).is_some_and(|rest| length <= rest as usize);
            return if there { Ok(()) } else { Err(Lost::RingFull) };
        }
        // SAFETY: initialised octets are valid as maybe-uninitialised ones, and `copy` only writes initialised ones.
        let into = unsafe { &mut *std::ptr::from_mut(&mut *self.scratch).cast() };
        if !frame.copy::<SAMPLE_LARGE>(offset, length as u32, into) {
            return Err(Lost::RingFull);
        }
        // PRIVACY-1: lent, then zeroed.
        self.samples.take(head, &self.scratch[..length]);
        self.scratch[..length].fill(0);
        Ok(())
    }
}

/// Memory of a meter with that many sets, bytes.
pub fn memory_bound(sets: u32) -> u64 {
    u64::from(sets) * size_of::<Set>() as u64
        + u64::from(sets).div_ceil(8)
        + (COPY_BUCKETS * COPY_WAYS * size_of::<u64>() + size_of::<NativeMeter>()) as u64
}

/// The meter of a replay.
pub struct NativeMeter {
    settings: Settings,
    sets: MemorySets,
    recent: MemoryRecent,
    core: Box<Core>,
    packet: Packet,
    sink: MemorySink,
    last_at: u64,
    tick: Option<u64>,
    late_frames: u64,
    clock_steps: u64,
}

impl NativeMeter {
    /// A meter with an empty cache whose records go to `batches` and `samples`.
    pub fn new(settings: Settings, batches: Batches, samples: Box<dyn SampleSink>) -> Self {
        let sets = settings.sets_mask as usize + 1;
        Self {
            settings,
            sets: MemorySets::new(sets),
            recent: MemoryRecent::new(&settings),
            core: Box::default(),
            packet: Packet::default(),
            sink: MemorySink { batches, wanted: samples.wants(), samples, scratch: Box::new([0; SAMPLE_LARGE]), gone: false },
            last_at: 0,
            tick: None,
            late_frames: 0,
            clock_steps: 0,
        }
    }

    /// Frames that were metered at their predecessor's time.
    pub fn late_frames(&self) -> u64 {
        self.late_frames
    }

    /// Times that the capture's clock was set back.
    pub fn clock_steps(&self) -> u64 {
        self.clock_steps
    }

    /// Meters a frame, or counts one that no parser can start on.
    #[inline(always)]
    pub fn frame(&mut self, raw: &RawFrame<'_>) -> Result<(), Gone> {
        let at = self.advance(raw.at)?;
        let frame = &Slice::new(raw.octets, raw.wire_octets);
        meter::seen(frame, &self.settings, &mut self.core.counters);
        match self.parse(raw, frame) {
            Ok(()) => {
                self.packet.observation_point = raw.interface;
                self.meter(frame, raw.at, at);
            }
            Err(reason) => meter::discarded(frame, reason, &mut self.core.counters),
        }
        if self.sink.gone { Err(Gone) } else { Ok(()) }
    }

    #[inline(always)]
    fn parse(&mut self, raw: &RawFrame<'_>, frame: &Slice<'_>) -> Result<(), Discard> {
        // Nearly all frames are, and need no look at their link header first.
        let start = if raw.link_type == LINKTYPE_ETHERNET { Start::Ethernet } else { link::start(raw.link_type, raw.octets)? };
        parse::parse(frame, start, self.settings.has(FLAG_VLAN_IN_KEY), &mut self.packet)
    }

    #[inline(always)]
    fn meter(&mut self, frame: &Slice<'_>, captured_at: u64, at: u64) {
        let Self { settings, sets, recent, core, sink, packet, .. } = self;
        // Late frames are metered at the time of the newest, but how far apart two are is what the capture says.
        if meter::left_out(frame, packet, captured_at, settings, core, recent) {
            return;
        }
        let mut slots = FlowCache { sets, mask: settings.sets_mask };
        meter::meter::<{ group::ALL }, _, _, _>(frame, packet, at, settings, &mut slots, core, sink);
    }

    /// Observation time of the next frame; a new tick is marked first.
    #[inline(always)]
    fn advance(&mut self, at: u64) -> Result<u64, Gone> {
        let at = if at < self.last_at { self.set_back(at)? } else { at };
        self.last_at = at;
        let tick = meter::tick(at);
        if self.tick != Some(tick) {
            self.close_tick()?;
            self.tick = Some(tick);
        }
        Ok(at)
    }

    /// A tick's Mark bears the end of that tick, not the time of the frame that came next.
    #[inline(never)]
    fn close_tick(&mut self) -> Result<(), Gone> {
        let Some(tick) = self.tick else { return Ok(()) };
        self.mark((tick + 1) << TICK_SHIFT, false)
    }

    #[cold]
    fn set_back(&mut self, at: u64) -> Result<u64, Gone> {
        if self.last_at - at <= STEP_NANOS {
            self.late_frames += 1;
            return Ok(self.last_at);
        }
        self.clock_steps += 1;
        self.mark(self.last_at, true)?;
        self.sink.samples.clock_step();
        self.sink.batches.clock_step()?;
        self.tick = None;
        Ok(at)
    }

    /// Sweeps, sums the residents and sends a Mark.
    #[inline(never)]
    fn mark(&mut self, at: u64, flush: bool) -> Result<(), Gone> {
        let mut mark =
            Mark { header: Header { kind: Kind::Mark as u8, abi: ABI, cpu: 0, packets: [0, 0] }, at, ..Mark::default() };
        for (word, touched) in self.sets.touched.iter_mut().enumerate() {
            let mut bits = std::mem::take(touched);
            while bits != 0 {
                let bit = bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let Some(set) = self.sets.sets.get_mut(word * 64 + bit) else { continue };
                for slot in set {
                    meter::sweep_slot(slot, at, flush, &mut self.core.counters, &mut self.sink);
                    let (packets, octets) = meter::resident(slot);
                    mark.resident_packets += packets;
                    mark.resident_octets += octets;
                    *touched |= u64::from(slot.dirty()) << bit;
                }
            }
        }
        mark.counters = self.core.counters;
        self.sink.samples.mark(at, 0);
        self.sink.batches.mark(&mark, 0, Count::default())?;
        if self.sink.gone { Err(Gone) } else { Ok(()) }
    }

    /// Hands over everything, marks, and says that the ring has ended. Returns the last ledger.
    pub fn finish(mut self) -> Result<Option<LedgerAtMark>, Gone> {
        self.mark(self.last_at, true)?;
        self.sink.samples.close();
        self.sink.batches.close()?;
        Ok(self.sink.batches.last())
    }
}
