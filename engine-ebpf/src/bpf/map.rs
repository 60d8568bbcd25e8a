//! The maps of the kernel object. Userspace sizes `SETS` and fills `RINGS` before it attaches.

use core::arch::asm;

use auscult_ebpf::{
    discard::Lost,
    frame::Frame,
    limit::{
        BULK_SAMPLES_PART, COPY_BUCKETS, COPY_WAYS, CPUS_MAX, DIGEST_BLOCK, DIGEST_OCTETS_MAX, RING_RESERVE_PART, SETS_DEFAULT,
    },
    meter::{Recent, Sets, Sink},
    parse::Packet,
    record::{Core, Counters, CpuMemory, Delta, Header, Mark, Sample, SampleHead, Set, TunnelPath},
    settings::{FLAG_CLOCK_PER_POLL, Settings},
};
use aya_ebpf::{
    bindings::BPF_RB_AVAIL_DATA,
    btf_maps::{ArrayOfMaps, RingBuf},
    helpers::{
        bpf_get_smp_processor_id, bpf_ktime_get_ns,
        generated::{bpf_jiffies64, bpf_ringbuf_query},
    },
    macros::{btf_map, map},
    maps::{Array, PerCpuArray},
};

type Ring = RingBuf<Delta, 4096>;

/// One ring per CPU, so that reservations never contend.
#[btf_map]
static RINGS: ArrayOfMaps<Ring, { CPUS_MAX as usize }> = ArrayOfMaps::new();

/// The flow cache, one element per set.
#[map]
static SETS: PerCpuArray<Set> = PerCpuArray::with_max_entries(SETS_DEFAULT, 0);

/// What each CPU keeps besides its slots. One element, because each further map costs a look-up per packet.
#[map]
static CORE: PerCpuArray<CpuMemory> = PerCpuArray::with_max_entries(1, 0);

/// Digests of recent packets, of all CPUs and, where the loader says so, of all interfaces.
#[map]
static RECENT: Array<[u64; COPY_BUCKETS * COPY_WAYS]> = Array::with_max_entries(1, 0);

/// Where a payload that is not in one piece is put together to be digested.
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// A payload from [`SCRATCH_FROM`] on: reads that end with it may begin before it.
pub type Scratch = [u8; SCRATCH_OCTETS];
/// See [`Scratch`].
pub const SCRATCH_FROM: u32 = 64;
/// Room for any read that begins at a number of eleven bits.
pub const SCRATCH_OCTETS: usize = 2048 + DIGEST_BLOCK as usize;

const _: () = assert!(SCRATCH_FROM + DIGEST_OCTETS_MAX <= 2048);

/// Set at load time; read-only from then on.
#[unsafe(no_mangle)]
static SETTINGS: Settings = Settings::plain();

/// No wake-ups: consumers poll.
const NO_WAKEUP: u64 = 1;

/// The settings as the loader left them, not as they were compiled.
#[inline(always)]
pub fn settings() -> &'static Settings {
    core::hint::black_box(&SETTINGS)
}

/// This CPU's counters and shares, and its place for the packet.
#[inline(always)]
pub fn core() -> Option<(&'static mut Core, &'static mut Packet)> {
    // SAFETY: the element lives as long as the program, is this CPU's own, and each program borrows it once; the tap and the
    // sweep of one CPU exclude each other because both run with bottom halves disabled.
    let memory = unsafe { &mut *CORE.get_ptr_mut(0)? };
    Some((&mut memory.core, &mut memory.packet))
}

/// This CPU's scratch.
#[inline(always)]
pub fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: as in `core`.
    Some(unsafe { &mut *SCRATCH.get_ptr_mut(0)? })
}

/// The table of recent packets.
pub struct RecentCells;

impl Recent for RecentCells {
    #[inline(always)]
    fn cells(&mut self, first: usize) -> [u64; COPY_WAYS] {
        let Some(cells) = RECENT.get_ptr_mut(0) else { return [0; COPY_WAYS] };
        let first = first & (COPY_BUCKETS - 1) * COPY_WAYS;
        // SAFETY: the cells lie in the map's one element, which lives as long as the program; words are read whole, whoever writes.
        unsafe {
            let bucket = (*cells).as_mut_ptr().add(first);
            let mut values = [0; COPY_WAYS];
            let mut way = 0;
            while way < COPY_WAYS {
                values[way] = bucket.add(way).read_volatile();
                way += 1;
            }
            values
        }
    }

    #[inline(always)]
    fn exchange(&mut self, cell: usize, value: u64) -> u64 {
        let Some(cells) = RECENT.get_ptr_mut(0) else { return 0 };
        let cell = cell & (COPY_BUCKETS * COPY_WAYS - 1);
        let mut value = value;
        // SAFETY: the cell lies in the map's one element, which lives as long as the program; it is written by this
        // instruction alone. (The target says that it has no atomics, and `core` therefore has none to offer.)
        unsafe { asm!("{0} = xchg_64({1} + 0, {0})", inout(reg) value, in(reg) (*cells).as_mut_ptr().add(cell)) };
        value
    }
}

/// Observation time, unless one reading serves a whole NAPI poll. First of all that a program does: the clock waits for every
/// instruction before it.
#[inline(always)]
pub fn exact_now(settings: &Settings) -> u64 {
    if settings.has(FLAG_CLOCK_PER_POLL) {
        return 0;
    }
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// Observation time, given what [`exact_now`] said.
#[inline(always)]
pub fn now(exact: u64, settings: &Settings, core: &mut Core) -> u64 {
    if !settings.has(FLAG_CLOCK_PER_POLL) {
        return exact;
    }
    // Who ends polls may be dead: then a reading serves a jiffy.
    // SAFETY: no arguments.
    let jiffy = unsafe { bpf_jiffies64() } as u32;
    if core.poll_at == 0 || core.poll_jiffy != jiffy {
        core.poll_jiffy = jiffy;
        // SAFETY: no arguments.
        core.poll_at = unsafe { bpf_ktime_get_ns() };
    }
    core.poll_at
}

/// The sets of this CPU.
pub struct CpuSets;

impl Sets for CpuSets {
    #[inline(always)]
    fn set(&mut self, index: u32) -> Option<&mut Set> {
        // SAFETY: as in `core`.
        SETS.get_ptr_mut(index).map(|set| unsafe { &mut *set })
    }
}

/// The ring of this CPU.
pub struct CpuRing;

/// Number of this CPU.
#[inline(always)]
fn cpu() -> u32 {
    // SAFETY: no arguments.
    unsafe { bpf_get_smp_processor_id() }
}

/// Octets of a ring that are used.
#[inline(always)]
fn used(ring: &Ring) -> u64 {
    // SAFETY: the pointer is that of a ring, which lives as long as the program.
    unsafe { bpf_ringbuf_query(core::ptr::from_ref(ring).cast_mut().cast(), BPF_RB_AVAIL_DATA.into()) }
}

/// A flag that the kernel does not know, when the rest of a ring is reserved, else none: a branch would double the paths that the
/// verifier follows.
#[inline(always)]
fn refused(ring: &Ring) -> u64 {
    let octets = settings().ring_octets;
    u64::from(octets - octets / RING_RESERVE_PART).wrapping_sub(used(ring)) >> 63
}

impl CpuRing {
    /// Appends a Mark, written in place: it is too large for the stack.
    #[inline(always)]
    pub fn mark(&mut self, header: Header, at: u64, counters: &Counters, resident: [u64; 2]) -> Result<(), Lost> {
        let ring = RINGS.get(cpu()).ok_or(Lost::NoRing)?;
        let mut entry = ring.reserve_untyped::<Mark>(0).ok_or(Lost::RingFull)?;
        let mark = entry.as_mut_ptr();
        // SAFETY: `mark` has room for a `Mark`; all its fields are written.
        unsafe {
            (&raw mut (*mark).header).write(header);
            (&raw mut (*mark).at).write(at);
            (&raw mut (*mark).counters).copy_from_nonoverlapping(counters, 1);
            (&raw mut (*mark).resident_packets).write(resident[0]);
            (&raw mut (*mark).resident_octets).write(resident[1]);
        }
        entry.submit(NO_WAKEUP);
        Ok(())
    }
}

impl Sink for CpuRing {
    #[inline(always)]
    fn cpu(&self) -> u16 {
        cpu() as u16
    }

    #[inline(always)]
    fn delta(&mut self, delta: &Delta) -> Result<(), Lost> {
        let ring = RINGS.get(cpu()).ok_or(Lost::NoRing)?;
        let mut entry = ring.reserve_untyped::<Delta>(refused(ring)).ok_or(Lost::RingFull)?;
        // SAFETY: the entry has room for a `Delta`, and the slot is not in the ring.
        unsafe { entry.as_mut_ptr().copy_from_nonoverlapping(delta, 1) };
        entry.submit(NO_WAKEUP);
        Ok(())
    }

    #[inline(always)]
    fn path(&mut self, path: &TunnelPath) -> Result<(), Lost> {
        let ring = RINGS.get(cpu()).ok_or(Lost::NoRing)?;
        let mut entry = ring.reserve_untyped::<TunnelPath>(refused(ring)).ok_or(Lost::RingFull)?;
        // SAFETY: the entry has room for a `TunnelPath`, and the path is not in the ring.
        unsafe { entry.as_mut_ptr().copy_from_nonoverlapping(path, 1) };
        entry.submit(NO_WAKEUP);
        Ok(())
    }

    #[inline(always)]
    fn has_bulk_room(&self) -> bool {
        RINGS.get(cpu()).is_some_and(|ring| used(ring) <= u64::from(settings().ring_octets / BULK_SAMPLES_PART))
    }

    #[inline(always)]
    fn sample<F: Frame, const N: usize>(&mut self, head: &SampleHead, frame: &F, offset: u32) -> Result<(), Lost> {
        let ring = RINGS.get(cpu()).ok_or(Lost::NoRing)?;
        let mut entry = ring.reserve_untyped::<Sample<N>>(0).ok_or(Lost::RingFull)?;
        let record = entry.as_mut_ptr();
        // SAFETY: `record` has room for a `Sample<N>`; only its two fields are written, in place.
        let payload = unsafe {
            (&raw mut (*record).head).write(*head);
            &mut *(&raw mut (*record).payload).cast::<[core::mem::MaybeUninit<u8>; N]>()
        };
        if frame.copy::<N>(offset, u32::from(head.length), payload) {
            entry.submit(NO_WAKEUP);
            return Ok(());
        }
        entry.discard(NO_WAKEUP);
        Err(Lost::RingFull)
    }
}
