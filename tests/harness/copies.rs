//! Frames → the same frames, each followed by a second copy as mirrors make them; and frames without the copies they already have.
//!
//! What a copy is, is defined here a second time: two frames within a window are one packet when they carry the same octets from the network
//! header on, but for what a router changes (TTL or hop limit, header checksum), behind whatever MACs and VLAN tags.

use std::collections::HashMap;

use auscult::scene::{
    SceneFrame,
    frame::{self, Ip, Link, Pair},
};

use crate::{packet, random::Random};

/// Copies come at most this much later.
pub const SKEW_NANOS: u64 = 2_000_000;
/// Copies that a capture already has are looked for in this window, which no copy made here can bridge to the next equal packet.
pub const WINDOW_NANOS: u64 = 10_000_000;
/// UDP port of VXLAN (RFC 7348).
const VXLAN: u16 = 4789;
/// Network ends of the tunnel.
const TUNNEL: [[u8; 4]; 2] = [[192, 0, 2, 1], [192, 0, 2, 2]];

/// How a copy differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Copy {
    /// Not at all.
    Same,
    /// It has one VLAN tag more.
    TagAdded,
    /// Its outermost VLAN identifier is another one; frames without tag get one.
    TagChanged,
    /// It has one VLAN tag less; frames without tag get one.
    TagRemoved,
    /// It was seen behind a router: TTL − 1, other MACs.
    Routed,
    /// It came in by another port.
    OtherPort,
    /// One of the two is in a VXLAN, either one first.
    Tunnelled,
}

impl Copy {
    /// All.
    pub const ALL: [Self; 7] =
        [Self::Same, Self::TagAdded, Self::TagChanged, Self::TagRemoved, Self::Routed, Self::OtherPort, Self::Tunnelled];

    /// The copy of a frame, at the same time.
    pub fn of(self, original: &SceneFrame, random: &mut Random) -> SceneFrame {
        let mut copy = original.clone();
        let octets = &mut copy.octets;
        match self {
            Self::Same => {}
            Self::TagAdded => packet::push_tag(octets, 7),
            Self::TagChanged if packet::is_tagged(octets) => octets[15] ^= 0x55,
            Self::TagRemoved if packet::is_tagged(octets) => drop(octets.drain(12..16)),
            Self::TagChanged | Self::TagRemoved => packet::push_tag(octets, 7),
            Self::Routed => route(octets),
            Self::OtherPort => copy.port = 1 - copy.port.min(1),
            Self::Tunnelled => *octets = tunnelled(octets, random.draw() as u16),
        }
        copy
    }
}

/// TTL − 1, the header checksum that goes with it, other MACs. What is not IP is not routed and stays as it is.
fn route(octets: &mut [u8]) {
    let Some((ip, is_v6)) = packet::network(octets) else { return };
    let hops = if is_v6 { ip + 7 } else { ip + 8 };
    if octets.get(hops).is_none_or(|hops| *hops < 2) {
        return;
    }
    octets[hops] -= 1;
    if !is_v6 {
        let end = ip + usize::from(octets[ip] & 15) * 4;
        octets[ip + 10..ip + 12].fill(0);
        let sum = octets.get(ip..end).map_or(0, frame::checksum);
        octets[ip + 10..ip + 12].copy_from_slice(&sum.to_be_bytes());
    }
    octets[..6].copy_from_slice(&[2, 0, 0, 9, 0, 1]);
    octets[6..12].copy_from_slice(&[2, 0, 0, 9, 0, 2]);
}

/// The frame in a VXLAN.
fn tunnelled(octets: &[u8], port: u16) -> Vec<u8> {
    let pair = Pair::V4(TUNNEL[0].into(), TUNNEL[1].into());
    let payload = [&[8, 0, 0, 0, 0, 0, 42, 0], octets].concat();
    let link = Link { target: [2, 0, 0, 8, 0, 1], source: [2, 0, 0, 8, 0, 2], tags: Vec::new() };
    let datagram = frame::udp(pair, [port | 0xc000, VXLAN], &payload);
    let ip = Ip { id: u32::from(port), ..Ip::new(pair, frame::UDP) };
    let packet = frame::packets(&ip, &datagram, usize::from(u16::MAX)).swap_remove(0);
    frame::ethernet(&link, frame::ETHERTYPE_IPV4, &packet)
}

/// Every frame and its copy, of the kinds in turn, up to [`SKEW_NANOS`] later, by time.
pub fn doubled(frames: &[SceneFrame], kinds: &[Copy], seed: u64) -> Vec<SceneFrame> {
    let mut random = Random::new(seed);
    let mut all = Vec::with_capacity(2 * frames.len());
    for (place, original) in frames.iter().enumerate() {
        let kind = kinds[place % kinds.len()];
        let mut pair = [original.clone(), kind.of(original, &mut random)];
        if kind == Copy::Tunnelled && random.once_in(2) {
            pair.swap(0, 1);
        }
        pair[1].at_nanos += random.below(SKEW_NANOS + 1);
        all.extend(pair);
    }
    all.sort_by_key(|frame| frame.at_nanos);
    all
}

/// What two copies of a packet have in common.
fn content(octets: &[u8]) -> Vec<u8> {
    let Some((ip, is_v6)) = packet::network(octets) else {
        let mut at = 12;
        while packet::is_tag(octets, at) {
            at += 4;
        }
        // Ends of the link tell packets apart where no network addresses do.
        return [&octets[..12.min(octets.len())], octets.get(at..).unwrap_or_default()].concat();
    };
    let length = |at: usize| octets.get(at..at + 2).map_or(0, |word| usize::from(u16::from_be_bytes([word[0], word[1]])));
    let octets_of_packet = if is_v6 { 40 + length(ip + 4) } else { length(ip + 2) };
    let end = (ip + octets_of_packet).clamp(ip, octets.len());
    let mut content = octets[ip..end].to_vec();
    let changed: &[usize] = if is_v6 { &[7] } else { &[8, 10, 11] };
    changed.iter().filter_map(|at| content.get_mut(*at).map(|octet| *octet = 0)).for_each(drop);
    content
}

/// Whether each frame, which are in order of time, is a copy of one at most `window` before it.
pub fn is_copy(frames: &[SceneFrame], window: u64) -> Vec<bool> {
    let mut known = HashMap::<Vec<u8>, u64>::new();
    let mut copy = |frame: &SceneFrame| {
        let before = known.insert(content(&frame.octets), frame.at_nanos);
        before.is_some_and(|before| frame.at_nanos.saturating_sub(before) <= window)
    };
    frames.iter().map(&mut copy).collect()
}

/// The frames without copies of any within `window` before them.
pub fn single(frames: &[SceneFrame], window: u64) -> Vec<SceneFrame> {
    let copies = is_copy(frames, window);
    frames.iter().zip(copies).filter(|(_, is_copy)| !is_copy).map(|(frame, _)| frame.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(tags: Vec<frame::Tag>) -> SceneFrame {
        let pair = Pair::V4([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let link = Link { target: [2; 6], source: [4; 6], tags };
        let packet = &frame::packets(&Ip::new(pair, frame::UDP), &frame::udp(pair, [1, 2], &[7; 40]), 1500)[0];
        SceneFrame { at_nanos: 1_000_000, octets: frame::ethernet(&link, frame::ETHERTYPE_IPV4, packet), port: 0 }
    }

    #[test]
    fn copies_are_copies_and_sound() {
        for original in [datagram(Vec::new()), datagram(vec![frame::Tag::customer(20)])] {
            for kind in Copy::ALL {
                let mut copy = kind.of(&original, &mut Random::new(1));
                assert!(frame::is_sound(&copy.octets), "{kind:?}");
                if kind == Copy::Tunnelled {
                    copy.octets.drain(..50);
                }
                copy.at_nanos += SKEW_NANOS;
                let differs = kind != Copy::Same && kind != Copy::Tunnelled;
                assert_eq!((copy.octets.clone(), copy.port) != (original.octets.clone(), original.port), differs, "{kind:?}");
                assert_eq!(is_copy(&[original.clone(), copy.clone()], SKEW_NANOS), [false, true], "{kind:?}");
                assert_eq!(single(&[original.clone(), copy], SKEW_NANOS - 1).len(), 2, "{kind:?}: too late for one");
            }
        }
    }

    #[test]
    fn other_octets_are_another_packet() {
        let original = datagram(Vec::new());
        for at in [18, 20, 27, 40, 81] {
            let mut other = original.clone();
            other.octets[at] ^= 1;
            assert_eq!(is_copy(&[original.clone(), other], SKEW_NANOS), [false, false], "octet {at}");
        }
    }

    #[test]
    fn doubled_frames_are_twice_as_many_and_in_order() {
        let frames: Vec<_> = (0..100).map(|n| SceneFrame { at_nanos: n * 300_000, ..datagram(Vec::new()) }).collect();
        let all = doubled(&frames, &Copy::ALL, 3);
        assert_eq!(all.len(), 200);
        assert!(all.is_sorted_by_key(|frame| frame.at_nanos));
    }
}
