//! A seed and a frame → the frame inside of up to four random encapsulations.

use auscult::scene::frame::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Link, Tag};

use crate::{
    golden::Kind,
    random::Random,
    tunnel::{ETHERTYPE_MPLS, Inside, Layer, Shim, link_turned},
};

/// Encapsulations at most: more than are opened.
const LAYERS_MAX: usize = 4;
/// Numbers of tunnels: few, so that each has many packets.
const NUMBERS: u64 = 4;
/// Longest frame to put into tunnels: the outer packet's length has room.
const OCTETS_MAX: usize = 9_100;

/// Puts a frame, or the packet in it, into encapsulations behind `link`.
pub fn around(r: &mut Random, link: &Link, mut innermost: Vec<u8>) -> Vec<u8> {
    innermost.truncate(OCTETS_MAX);
    let mut inside = Inside::Frame(innermost);
    let way = r.index(2);
    for _ in 0..1 + r.index(LAYERS_MAX) {
        if r.once_in(2) {
            inside = packet_of(inside);
        }
        let kind = loop {
            let kind = r.of(&Kind::ALL);
            if can_carry(kind, &inside) {
                break kind;
            }
            inside = packet_of(inside);
        };
        let outer = r.of(kind.outers());
        let (level, number) = (r.below(2) as u8, r.below(NUMBERS) as u16);
        let layer = any(r, kind.layer(outer, level, number));
        inside = layer.wrap(&inside, way);
    }
    match inside {
        Inside::Packet(ethertype, octets) => frame::ethernet(&link_turned(link, way), ethertype, &octets),
        Inside::Frame(octets) => octets,
    }
}

const fn is_ip(ethertype: u16) -> bool {
    matches!(ethertype, ETHERTYPE_IPV4 | ETHERTYPE_IPV6)
}

/// Whether a kind's header has a way to say that this is inside, true or not.
const fn can_carry(kind: Kind, inside: &Inside) -> bool {
    match (kind, inside) {
        (Kind::Ip, Inside::Packet(ethertype, _)) => is_ip(*ethertype),
        (Kind::Ip, Inside::Frame(_)) => false,
        (kind, Inside::Packet(ethertype, _)) => kind.carries_frames() || is_ip(*ethertype) || *ethertype == ETHERTYPE_MPLS,
        (kind, Inside::Frame(_)) => kind.carries_frames(),
    }
}

/// The packet behind a link header without tags.
fn packet_of(inside: Inside) -> Inside {
    match inside {
        Inside::Frame(mut octets) if octets.len() >= 14 => {
            let ethertype = u16::from_be_bytes([octets[12], octets[13]]);
            octets.drain(..14);
            Inside::Packet(ethertype, octets)
        }
        other => other,
    }
}

/// A layer with its variable parts varied.
fn any(r: &mut Random, mut layer: Layer) -> Layer {
    if let Shim::Mpls { labels, .. } = &mut layer.shim {
        *labels = (0..1 + r.below(10)).map(|_| r.draw() as u32 >> 12).collect();
    }
    if let Shim::Gre { checksum, key, sequence } = &mut layer.shim {
        (*checksum, *sequence) = (r.once_in(3), r.once_in(2));
        *key = r.once_in(2).then(|| r.below(NUMBERS) as u32);
    }
    if let Shim::Geneve { options, .. } = &mut layer.shim {
        *options = 4 * r.index(64);
    }
    if let Some(link) = &mut layer.link {
        let tags = if r.once_in(3) { r.index(5) } else { 0 };
        link.tags =
            (0..tags).map(|_| Tag { protocol: r.of(&[0x8100, 0x88a8, 0x9100]), control: (r.draw() as u16) & 0xf003 }).collect();
    }
    if r.once_in(12) {
        layer.mtu = 68 + r.index(500);
    }
    layer
}
