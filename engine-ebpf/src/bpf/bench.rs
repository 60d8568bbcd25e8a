//! Programs that only benches load: an empty one, the meter over its flow cache with many flows made of one frame, the same
//! meter over `BPF_MAP_TYPE_LRU_HASH` (the reference), and the meter without one feature group at a time.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(missing_docs, reason = "the entry-point macros write undocumented functions of their own")]

#[expect(dead_code, reason = "benches use the XDP frame alone")]
mod frame;
#[expect(dead_code, reason = "benches do not sweep with marks of their own")]
mod map;
mod object;
mod tap;

use auscult_ebpf::{
    meter::{FlowCache, Found, Slots, group},
    parse::Packet,
    record::{Core, Delta},
};
use aya_ebpf::{
    bindings::xdp_action,
    macros::{map, xdp},
    maps::LruHashMap,
    programs::XdpContext,
};
use frame::XdpFrame;
use map::CpuSets;

/// The reference: the same slot as the value of one hash map that all CPUs share.
#[map]
static FLOWS: LruHashMap<[u64; 5], Delta> = LruHashMap::with_max_entries(1 << 21, 0);

struct Reference;

static UNUSED: Delta = unused();

const fn unused() -> Delta {
    // SAFETY: all-zero is a value of `Delta`.
    unsafe { core::mem::zeroed() }
}

impl Slots for Reference {
    #[inline(always)]
    fn find(&mut self, _hash: u64, key: &[u64; 5]) -> Option<Found<'_>> {
        if let Some(slot) = FLOWS.get_ptr_mut(key) {
            // SAFETY: the entry lives until the program returns; that other CPUs add to it at the same time is the reference's fault.
            return Some(Found { slot: unsafe { &mut *slot }, hit: true });
        }
        FLOWS.insert(key, &UNUSED, 0).ok()?;
        // SAFETY: as above.
        FLOWS.get_ptr_mut(key).map(|slot| Found { slot: unsafe { &mut *slot }, hit: false })
    }
}

/// Makes the packet another one than the packet before, and one of 2^n flows, at random: n is the frame's traffic class, and the
/// number of the packet stirred by two multiplications is the flow. The same for every program.
#[inline(always)]
fn spread(packet: &mut Packet, core: &Core) {
    packet.identification = core.counters.seen_packets as u32;
    if packet.class == 0 {
        return;
    }
    // The key is another one now, and the next frame's again.
    (packet.repeatable, packet.hashed) = (0, 0);
    let mut draw = core.counters.seen_packets.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    draw = (draw ^ draw >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    packet.key[0] = packet.key[0].wrapping_add(draw >> 40 & ((1 << (packet.class & 31)) - 1));
}

#[inline(always)]
fn run<const GROUPS: u32, S: Slots>(context: &XdpContext, slots: S) -> u32 {
    let settings = map::settings();
    let exact = map::exact_now(settings);
    if let Some((core, packet)) = map::core() {
        let frame = XdpFrame::<false>::new(context, core);
        let at = map::now(exact, settings, core);
        tap::meter_frame::<GROUPS, _, _>(&frame, at, settings, core, packet, slots, spread);
    }
    xdp_action::XDP_PASS
}

#[inline(always)]
fn cached<const GROUPS: u32>(context: &XdpContext) -> u32 {
    run::<GROUPS, _>(context, FlowCache { sets: CpuSets, mask: map::settings().sets_mask })
}

#[xdp]
pub fn bench_empty(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Counts and drops: what a live-frames generator can be measured against.
#[xdp]
pub fn bench_count(_: XdpContext) -> u32 {
    if let Some((core, _)) = map::core() {
        core.counters.seen_packets += 1;
    }
    xdp_action::XDP_DROP
}

#[xdp]
#[inline(always)]
pub fn bench_cache(context: XdpContext) -> u32 {
    cached::<{ group::ALL }>(&context)
}

#[xdp]
#[inline(always)]
pub fn bench_reference(context: XdpContext) -> u32 {
    run::<{ group::ALL }, _>(&context, Reference)
}

#[xdp]
#[inline(always)]
pub fn without_sizes(context: XdpContext) -> u32 {
    cached::<{ group::ALL & !group::SIZES }>(&context)
}

#[xdp]
#[inline(always)]
pub fn without_intervals(context: XdpContext) -> u32 {
    cached::<{ group::ALL & !group::INTERVALS }>(&context)
}

#[xdp]
#[inline(always)]
pub fn without_first_packets(context: XdpContext) -> u32 {
    cached::<{ group::ALL & !group::FIRST_PACKETS }>(&context)
}

#[xdp]
#[inline(always)]
pub fn without_network(context: XdpContext) -> u32 {
    cached::<{ group::ALL & !group::NETWORK }>(&context)
}

#[xdp]
#[inline(always)]
pub fn without_tcp(context: XdpContext) -> u32 {
    cached::<{ group::ALL & !group::TCP }>(&context)
}

#[xdp]
#[inline(always)]
pub fn without_link(context: XdpContext) -> u32 {
    cached::<{ group::ALL & !group::LINK }>(&context)
}

#[xdp]
#[inline(always)]
pub fn without_samples(context: XdpContext) -> u32 {
    cached::<{ group::ALL & !group::SAMPLES }>(&context)
}
