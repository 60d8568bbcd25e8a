//! The sweep program: run with `BPF_PROG_TEST_RUN` from a thread pinned to the CPU. Bottom halves are disabled meanwhile, so
//! the tap of that CPU waits, and a run must be short.

use core::ffi::c_void;

use auscult_ebpf::{
    limit::{SETS_MAX, SWEEP_SETS_MAX},
    meter::{self, Sets as _, Sink as _},
    record::{ABI, Header, Kind, SWEEP_FLUSH, SWEEP_MARK, SweepArguments},
    settings::FLAG_TIME_IN_METADATA,
};
use aya_ebpf::{
    helpers::{bpf_ktime_get_ns, generated::bpf_loop},
    macros::xdp,
    programs::XdpContext,
};

use crate::map::{self, CpuRing, CpuSets};

/// Sets per call of the loop helper: one call a set is six times slower, an unrolled walk of all is too large to verify.
const BLOCK: u32 = 16;

/// What the loop bodies share.
struct Walk {
    first: u32,
    flush: u32,
    at: u64,
    packets: u64,
    octets: u64,
}

/// Return codes of the sweep program.
const DONE: u32 = 0;
const BAD_ARGUMENTS: u32 = 1;
const NO_ROOM: u32 = 2;

#[xdp]
pub fn sweep(context: XdpContext) -> u32 {
    let (start, end) = (context.data(), context.data_end());
    if start + size_of::<SweepArguments>() > end {
        return BAD_ARGUMENTS;
    }
    // SAFETY: the frame is long enough, which was just checked.
    let arguments = unsafe { (start as *const SweepArguments).read_unaligned() };
    let told = map::settings().has(FLAG_TIME_IN_METADATA);
    // SAFETY: no arguments.
    let at = if told { arguments.at } else { unsafe { bpf_ktime_get_ns() } };
    let mut walk = Walk { first: arguments.first, flush: arguments.flags & SWEEP_FLUSH, at, packets: 0, octets: 0 };
    let count = arguments.count;
    if count != 0 && count <= SWEEP_SETS_MAX {
        each(count.div_ceil(BLOCK), sweep_block, &mut walk);
    }
    if arguments.flags & SWEEP_MARK == 0 {
        return DONE;
    }
    walk.first = 0;
    let sets = map::settings().sets_mask.wrapping_add(1);
    if sets <= SETS_MAX {
        each(sets.div_ceil(BLOCK), sum_block, &mut walk);
    }
    mark(&walk)
}

type Body = unsafe extern "C" fn(u32, *mut Walk) -> i64;

#[inline(always)]
fn each(blocks: u32, body: Body, walk: &mut Walk) {
    // SAFETY: the body is a static function of the loop helper's signature; the context outlives the call.
    unsafe { bpf_loop(blocks, body as *const () as *mut c_void, core::ptr::from_mut(walk).cast(), 0) };
}

/// Sweeps one block of sets.
#[inline(never)]
unsafe extern "C" fn sweep_block(block: u32, walk: *mut Walk) -> i64 {
    // SAFETY: the pointer is `each`'s.
    let (first, flush, at) = unsafe { ((*walk).first, (*walk).flush, (*walk).at) };
    let Some((core, _)) = map::core() else { return 1 };
    let mut ring = CpuRing;
    let mut sets = CpuSets;
    for i in 0..BLOCK {
        let Some([one, two]) = sets.set(first + block * BLOCK + i) else { return 1 };
        meter::sweep_slot(one, at, flush != 0, &mut core.counters, &mut ring);
        meter::sweep_slot(two, at, flush != 0, &mut core.counters, &mut ring);
    }
    0
}

/// Sums the residents of one block of sets.
#[inline(never)]
unsafe extern "C" fn sum_block(block: u32, walk: *mut Walk) -> i64 {
    let (mut packets, mut octets) = (0, 0);
    let mut sets = CpuSets;
    for i in 0..BLOCK {
        let Some([one, two]) = sets.set(block * BLOCK + i) else { break };
        let (one, two) = (meter::resident(one), meter::resident(two));
        packets += one.0 + two.0;
        octets += one.1 + two.1;
    }
    // SAFETY: the pointer is `each`'s.
    unsafe {
        (*walk).packets += packets;
        (*walk).octets += octets;
    }
    0
}

/// Appends the Mark.
#[inline(always)]
fn mark(walk: &Walk) -> u32 {
    let Some((core, _)) = map::core() else { return BAD_ARGUMENTS };
    let header = Header { kind: Kind::Mark as u8, abi: ABI, cpu: CpuRing.cpu(), packets: [0, 0] };
    match CpuRing.mark(header, walk.at, &core.counters, [walk.packets, walk.octets]) {
        Ok(()) => DONE,
        Err(_) => NO_ROOM,
    }
}
