//! Copies: the same packet mirrored twice.
//!
//! A SPAN port sees a packet where it enters the switch and where it leaves it, in two VLANs, before and behind a router (TTL less
//! one, other MACs), on another tap port, bare and in a tunnel. What such copies have in common is what the hosts wrote: addresses,
//! ports, IPv4 identification, length, TCP sequence, options and payload. They are digested; checksum fields are not, because
//! offload leaves them unfilled. A table of recent digests is shared by all CPUs and interfaces. A retransmission has another
//! identification, or comes after the window.
//!
//! Of the places that a digest can be in, a new one takes that of the oldest, by one atomic exchange: of two copies that come at once on
//! two CPUs, both take the same place, and the later one finds the other there.

use super::hashed;
use crate::{
    frame::Frame,
    hash,
    limit::{COPY_BUCKETS, COPY_UNIT_SHIFT, COPY_WAYS, DIGEST_OCTETS_MAX},
    parse::Packet,
    record::{Core, FORM_ETHERNET},
    settings::{FLAG_COPIES_METERED, Settings},
};

/// The shared table of recent packets. A cell is the digest's upper bits and a time.
pub trait Recent {
    /// What is in the [`COPY_WAYS`] cells from `first` on, which is a multiple of that.
    fn cells(&mut self, first: usize) -> [u64; COPY_WAYS];

    /// Puts a value into a cell, and gives what was there. The cell is below [`COPY_BUCKETS`] × [`COPY_WAYS`].
    fn exchange(&mut self, cell: usize, value: u64) -> u64;
}

/// Bits of a cell that are time.
const TIME_BITS: u32 = 20;
const TIME: u64 = (1 << TIME_BITS) - 1;
/// Upper bits of the tag that the number of the round of times goes into.
const ROUND_BITS: u32 = 24;
const WAY_BITS: u32 = COPY_WAYS.trailing_zeros();
/// By how many units another CPU's clock reading may be ahead.
const AHEAD: u64 = 4;
const ACK_TO_WINDOW: u32 = 8;

/// Recognises a packet that was seen before, counts it, and says whether it is to be left out.
#[inline(always)]
pub fn left_out<F: Frame, R: Recent>(
    frame: &F,
    packet: &mut Packet,
    at: u64,
    settings: &Settings,
    core: &mut Core,
    recent: &mut R,
) -> bool {
    if settings.copy_units == 0 || !is_copy(digest(frame, packet, settings), at, settings.copy_units, recent) {
        return false;
    }
    let octets = u64::from(packet.layer2_octets);
    core.counters.copies_packets += 1;
    core.counters.copies_octets += octets;
    if settings.has(FLAG_COPIES_METERED) {
        return false;
    }
    core.counters.duplicate_packets += 1;
    core.counters.duplicate_octets += octets;
    true
}

/// Whether the digest was there within the window. It is there from now on, with the time of the first of its copies. Without branches
/// for each place: the verifier would follow them through all that comes after.
#[inline(always)]
fn is_copy<R: Recent>(digest: u64, at: u64, window: u32, recent: &mut R) -> bool {
    let now = at >> COPY_UNIT_SHIFT & TIME;
    // Times come again after 137 s, tags of the same octets then do not.
    let tag = (digest ^ at >> (COPY_UNIT_SHIFT + TIME_BITS) << (u64::BITS - ROUND_BITS)) & !TIME;
    let first = (digest as usize & (COPY_BUCKETS - 1)) * COPY_WAYS;
    let young = u64::from(window) + AHEAD;
    // One bit: the tag is there, and young.
    let found = |cell: u64, age: u64| {
        let other = (cell ^ tag) >> TIME_BITS | young.wrapping_sub(age) >> 63;
        other.wrapping_sub(1) >> 63
    };
    let age = |cell: u64| (now + AHEAD).wrapping_sub(cell) & TIME;
    let cells = recent.cells(first);
    let (mut is_there, mut oldest) = (0, 0u64);
    let mut way = 0;
    while way < COPY_WAYS {
        let age = age(cells[way]);
        is_there |= found(cells[way], age);
        // The greater of two numbers, by arithmetic that the compiler may not see through.
        let aged = age << WAY_BITS | way as u64;
        let behind = core::hint::black_box(oldest.wrapping_sub(aged)).cast_signed();
        oldest = oldest.wrapping_sub((behind & behind >> 63).cast_unsigned());
        way += 1;
    }
    if is_there != 0 {
        return true;
    }
    let before = recent.exchange(first + (oldest as usize & (COPY_WAYS - 1)), tag | now);
    found(before, age(before)) != 0
}

/// Digest of what copies have in common.
#[inline(always)]
fn digest<F: Frame>(frame: &F, packet: &mut Packet, settings: &Settings) -> u64 {
    hashed(packet, settings);
    let place = u64::from(packet.sequence) << 32 | u64::from(packet.direction) << 8 | u64::from(packet.control_bits);
    let (mut from, mut octets) = (packet.payload_offset, packet.payload_octets);
    let mut whole = packet.octets;
    let mut state = 0;
    if packet.is_tcp() {
        let header = u32::from(packet.transport_offset);
        if let Some(fields) = frame.read::<8>(header + ACK_TO_WINDOW) {
            state = u64::from_le_bytes(fields).wrapping_mul(settings.hash_keys[1] | 1);
        }
        octets += from - (header + 20);
        from = header + 20;
    } else if packet.form == FORM_ETHERNET && packet.key[4] >> 48 == ETHERTYPE_ARP && octets > ARP_OCTETS {
        // A tag more or less changes how much a short frame is padded.
        (whole, octets) = (ARP_OCTETS, ARP_OCTETS);
    }
    let lengths = u64::from(whole) << 32 | u64::from(packet.identification);
    state = hash::stir(hash::stir(packet.hash ^ lengths.wrapping_mul(settings.hash_keys[0] | 1)) ^ place ^ state);
    let octets = if octets < DIGEST_OCTETS_MAX { octets } else { DIGEST_OCTETS_MAX };
    hash::stir(frame.digest(from, octets, &settings.hash_keys) ^ state)
}

const ETHERTYPE_ARP: u64 = 0x0806;
/// Octets of ARP for IPv4; what is behind them is padding.
const ARP_OCTETS: u32 = 28;
