//! The flow-cache meter: packets in, deltas and samples out.
//!
//! One slot holds one micro-flow. A hit is added in place; a miss hands the resident of the set's staler slot to the ring and
//! takes the slot over. A slot is also handed over when a packet of a later tick arrives (no delta spans two ticks), when a sweep
//! finds it stale, when a count could overflow, and when a pure SYN follows anything but pure SYNs (so that a new connection on
//! old ports starts a delta). Laws upheld here, numbered in `engine/ARCHITECTURE.md`: LEDGER-1 (a slot leaves the cache with its
//! counts or they are counted lost), MERGE-1 (every field has a merge rule).

mod add;
mod cache;
mod copy;
mod path;
mod sweep;

pub use cache::{FlowCache, Found, Sets, Slots};
pub use copy::{Recent, left_out};
pub use sweep::{resident, sweep_slot};

use crate::{
    discard::{Discard, Lost},
    frame::Frame,
    hash,
    limit::{RUN_IDLE_TICKS, TICK_SHIFT},
    parse::Packet,
    record::{Core, Counters, DELTA_FULL, DELTA_ONLY_SYN, DELTA_OPENS, Delta, SampleHead, TunnelPath},
    settings::Settings,
};

/// TCP control bits (RFC 9293 §3.1).
pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

/// Feature groups that [`meter`] can be built without, so that a bench can tell what each costs.
pub mod group {
    /// Size extremes, squares and histogram.
    pub const SIZES: u32 = 1;
    /// Inter-arrival times.
    pub const INTERVALS: u32 = 2;
    /// Sizes, directions and times of the first packets.
    pub const FIRST_PACKETS: u32 = 4;
    /// TTL, traffic class, fragments.
    pub const NETWORK: u32 = 8;
    /// TCP.
    pub const TCP: u32 = 16;
    /// MACs and VLAN tags.
    pub const LINK: u32 = 32;
    /// Samples.
    pub const SAMPLES: u32 = 64;
    /// All of them: what the product runs.
    pub const ALL: u32 = 127;
}

/// Where records go: the CPU's ring, or a buffer natively.
pub trait Sink {
    /// CPU that the records are of.
    fn cpu(&self) -> u16;

    /// Hands a delta over.
    ///
    /// # Errors
    /// The place where it was lost.
    fn delta(&mut self, delta: &Delta) -> Result<(), Lost>;

    /// Whether samples of classes that a flood can have any number of may still be handed over.
    fn has_bulk_room(&self) -> bool {
        true
    }

    /// Hands a sample over: `head`, then `head.length` octets of the frame from `offset`, in a record with room for `N`.
    ///
    /// # Errors
    /// The place where it was lost.
    fn sample<F: Frame, const N: usize>(&mut self, head: &SampleHead, frame: &F, offset: u32) -> Result<(), Lost>;

    /// Hands a tunnel path over.
    ///
    /// # Errors
    /// The place where it was lost.
    fn path(&mut self, path: &TunnelPath) -> Result<(), Lost>;
}

/// Sets the packet's hash. One that was parsed by comparison with the one before has it.
#[inline(always)]
fn hashed(packet: &mut Packet, settings: &Settings) {
    if packet.hashed == 0 {
        packet.hash = hash::keyed(&packet.key, &settings.hash_keys);
        packet.hashed = 1;
    }
}

/// The tick of an observation time.
#[inline(always)]
pub const fn tick(at: u64) -> u64 {
    at >> TICK_SHIFT
}

/// Bin of a packet size in the histogram: borders at 64, 128, 256, 512, 1024, 1344 and 1536 octets (a bin holds its lower border).
#[inline(always)]
pub const fn size_bin(size: u16) -> usize {
    // Four bits for each 64 octets below 1,536; the first word covers sizes below 1,024.
    const LOW: u64 = 0x4444_4444_3333_2210;
    const HIGH: u64 = 0x7777_7777_6665_5555;
    let step = (size >> 6) as u32;
    let bin = if step < 16 {
        LOW >> (step * 4)
    } else if step < 32 {
        HIGH >> ((step - 16) * 4)
    } else {
        7
    };
    (bin & 7) as usize
}

/// Meters one parsed packet, with the feature groups `GROUPS`, at observation time `at`, which must not run backwards.
#[inline(always)]
pub fn meter<const GROUPS: u32, F: Frame, S: Slots, K: Sink>(
    frame: &F,
    packet: &mut Packet,
    at: u64,
    settings: &Settings,
    slots: &mut S,
    core: &mut Core,
    sink: &mut K,
) {
    hashed(packet, settings);
    let Some(Found { slot, hit }) = slots.find(packet.hash, &packet.key) else {
        core.counters.lost_packets[Lost::NoSlot as usize] += 1;
        core.counters.lost_octets[Lost::NoSlot as usize] += u64::from(packet.layer2_octets);
        return;
    };
    let opens = packet.control_bits & (SYN | ACK | FIN | RST) == SYN && packet.is_tcp();
    let way = (packet.direction & 1) as usize;
    // Most packets are one more of the delta that the slot holds.
    if !hit || opens || tick(at ^ slot.base) != 0 || slot.flags & (DELTA_FULL | DELTA_ONLY_SYN) != 0 || !slot.dirty() {
        prepare(packet, hit, opens, at, slot, core, sink);
    }
    add::packet::<GROUPS, F>(frame, packet, way, at, slot);
    if packet.tunnels != 0 {
        core.counters.tunnelled_packets += 1;
        if slot.header.packets[way] == 1 {
            path::path(frame, packet, at, settings, slot, core, sink);
        }
    }
    if GROUPS & group::SAMPLES != 0 && slot.sample_left[way] != 0 && packet.payload_octets != 0 {
        add::sample(frame, packet, at, settings, slot, core, sink);
    }
}

/// Hands the slot's delta over where it has to end, and starts one for the packet unless one goes on.
#[inline(always)]
fn prepare<K: Sink>(packet: &Packet, hit: bool, opens: bool, at: u64, slot: &mut Delta, core: &mut Core, sink: &mut K) {
    let reopens = opens && slot.flags & DELTA_ONLY_SYN == 0;
    let ticks = tick(at).wrapping_sub(tick(slot.base));
    let mut fresh = !hit || reopens || ticks >= RUN_IDLE_TICKS;
    if slot.dirty() && (fresh || ticks != 0 || slot.flags & DELTA_FULL != 0) {
        fresh |= hand_over(slot, &mut core.counters, sink).is_err();
        slot.header.packets = [0, 0];
    }
    if fresh {
        add::claim(slot, packet, at, sink.cpu());
    } else if !slot.dirty() {
        add::restart(slot, at);
    }
    if !opens {
        slot.flags &= !DELTA_ONLY_SYN;
    } else if !slot.dirty() {
        slot.flags |= DELTA_OPENS;
    }
}

/// Counts a frame that reached the meter. Everything is counted here before anything else happens to it.
#[inline(always)]
pub fn seen<F: Frame>(frame: &F, settings: &Settings, counters: &mut Counters) {
    let octets = frame.wire_octets();
    counters.seen_packets += 1;
    counters.seen_octets += u64::from(octets);
    let is_long = settings.super_frame_octets != 0 && octets > settings.super_frame_octets;
    if is_long || frame.is_merged() {
        counters.super_frames += 1;
    }
    if frame.captured_octets() < octets {
        counters.truncated_frames += 1;
    }
}

/// Counts a frame that has no key.
#[inline(always)]
pub fn discarded<F: Frame>(frame: &F, reason: Discard, counters: &mut Counters) {
    let reason = reason as usize & (Discard::CELLS - 1);
    counters.discarded_packets[reason] += 1;
    counters.discarded_octets[reason] += u64::from(frame.wire_octets());
}

/// LEDGER-1: the slot leaves with its counts, or they are counted lost.
#[inline(always)]
pub(crate) fn hand_over<K: Sink>(slot: &Delta, counters: &mut Counters, sink: &mut K) -> Result<(), Lost> {
    match sink.delta(slot) {
        Ok(()) => {
            counters.deltas += 1;
            Ok(())
        }
        Err(place) => {
            let (packets, octets) = resident(slot);
            let place = place as usize & (Lost::CELLS - 1);
            counters.lost_packets[place] += packets;
            counters.lost_octets[place] += octets;
            Err(Lost::RingFull)
        }
    }
}
