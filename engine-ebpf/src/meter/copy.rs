//! Copies: the same packet mirrored twice.
//!
//! A SPAN port sees a packet where it enters the switch and where it leaves it, in two VLANs, before and behind a router (TTL less
//! one, other MACs), on another tap port, bare and in a tunnel. What such copies have in common is what the hosts wrote: addresses,
//! ports, IPv4 identification, length, TCP sequence, options and payload. They are digested; checksum fields are not, because
//! offload leaves them unfilled. A table of recent digests is shared by all CPUs and interfaces. A retransmission has another
//! identification, or comes after the window.
//!
//! A bucket is a short queue: a new digest is exchanged into its first place, what was there into the second, and so on to the first
//! that is too old. Each step is one atomic exchange, so of two copies that come at once on two CPUs one finds the other.

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
    /// Puts a value into a cell, and gives what was there. The cell is below [`COPY_BUCKETS`] × [`COPY_WAYS`].
    fn exchange(&mut self, cell: usize, value: u64) -> u64;
}

/// Bits of a cell that are time.
const TIME_BITS: u32 = 20;
const TIME: u64 = (1 << TIME_BITS) - 1;
/// Upper bits of the tag that the number of the round of times goes into.
const ROUND_BITS: u32 = 24;
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

/// Whether the digest was there within the window. It is there from now on, with the time of the first of its copies.
#[inline(always)]
fn is_copy<R: Recent>(digest: u64, at: u64, window: u32, recent: &mut R) -> bool {
    let now = at >> COPY_UNIT_SHIFT & TIME;
    // Times come again after 137 s, tags of the same octets then do not.
    let tag = (digest ^ at >> (COPY_UNIT_SHIFT + TIME_BITS) << (u64::BITS - ROUND_BITS)) & !TIME;
    let bucket = (digest as usize & (COPY_BUCKETS - 1)) * COPY_WAYS;
    let mut value = tag | now;
    let mut way = 0;
    while way < COPY_WAYS {
        let old = recent.exchange(bucket + way, value);
        let age = (now + AHEAD).wrapping_sub(old) & TIME;
        if age > u64::from(window) + AHEAD {
            break;
        }
        if old & !TIME == tag {
            // All go back to where they were: times in a bucket must stay in order.
            let mut back = old;
            while way > 0 {
                back = recent.exchange(bucket + way, back);
                way -= 1;
            }
            recent.exchange(bucket, back);
            return true;
        }
        value = old;
        way += 1;
    }
    false
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
