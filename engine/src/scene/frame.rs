//! Frame builder: headers and payloads → Ethernet frames with right lengths and checksums, and the check of both.
//!
//! Layers are built from the inside out: a transport segment ([`udp`], [`tcp`], [`icmp`], [`icmpv6`]) becomes one or more IP
//! packets ([`packets`], which fragments), each of which becomes a frame ([`ethernet`], which tags and pads). Used by the scene, the
//! test harness and the benches. Nothing here knows time or devices.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Ethertype of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// Ethertype of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// Ethertype of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Ethertype of LLDP.
pub const ETHERTYPE_LLDP: u16 = 0x88cc;
/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of IGMP.
pub const IGMP: u8 = 2;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// Protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;
/// Shortest Ethernet frame without its check sequence; shorter ones are padded with zeros.
pub const FRAME_OCTETS_MIN: usize = 60;
/// TCP control bits.
pub mod control {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 2;
    /// Reset.
    pub const RST: u8 = 4;
    /// Push.
    pub const PSH: u8 = 8;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 16;
}

/// One VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Tag protocol identifier: 0x8100 (802.1Q) or 0x88a8 (802.1ad).
    pub protocol: u16,
    /// Priority, drop-eligible bit and VLAN identifier.
    pub control: u16,
}

impl Tag {
    /// An 802.1Q tag.
    pub const fn customer(vlan_id: u16) -> Self {
        Self { protocol: 0x8100, control: vlan_id }
    }
    /// An 802.1ad service tag.
    pub const fn service(vlan_id: u16) -> Self {
        Self { protocol: 0x88a8, control: vlan_id }
    }
}

/// Link-layer header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Target MAC.
    pub target: [u8; 6],
    /// Source MAC.
    pub source: [u8; 6],
    /// VLAN tags, outermost first.
    pub tags: Vec<Tag>,
}

impl Link {
    fn open(&self, capacity: usize) -> Vec<u8> {
        let mut frame = Vec::with_capacity(capacity.max(FRAME_OCTETS_MIN) + 22);
        frame.extend(self.target);
        frame.extend(self.source);
        for tag in &self.tags {
            frame.extend(tag.protocol.to_be_bytes());
            frame.extend(tag.control.to_be_bytes());
        }
        frame
    }
}

fn pad(mut frame: Vec<u8>) -> Vec<u8> {
    if frame.len() < FRAME_OCTETS_MIN {
        frame.resize(FRAME_OCTETS_MIN, 0);
    }
    frame
}

/// An Ethernet II frame, tagged and padded.
pub fn ethernet(link: &Link, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = link.open(payload.len());
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    pad(frame)
}

/// An 802.3 frame (length field, then LLC), tagged and padded. `payload` starts with the LLC header.
pub fn ieee_802_3(link: &Link, payload: &[u8]) -> Vec<u8> {
    ethernet(link, payload.len() as u16, payload)
}

/// An ARP packet for IPv4 over Ethernet (RFC 826): operation 1 asks, 2 answers.
pub fn arp(operation: u16, sender: ([u8; 6], Ipv4Addr), target: ([u8; 6], Ipv4Addr)) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4];
    packet.extend(operation.to_be_bytes());
    for (mac, ip) in [sender, target] {
        packet.extend(mac);
        packet.extend(ip.octets());
    }
    packet
}

/// Source and target address of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pair {
    /// IPv4 source and target.
    V4(Ipv4Addr, Ipv4Addr),
    /// IPv6 source and target.
    V6(Ipv6Addr, Ipv6Addr),
}

impl Pair {
    /// The pair of two addresses of one family; `None` for a mixture.
    pub const fn new(source: IpAddr, target: IpAddr) -> Option<Self> {
        match (source, target) {
            (IpAddr::V4(source), IpAddr::V4(target)) => Some(Self::V4(source, target)),
            (IpAddr::V6(source), IpAddr::V6(target)) => Some(Self::V6(source, target)),
            _ => None,
        }
    }
    /// Ethertype of packets between the two.
    pub const fn ethertype(self) -> u16 {
        match self {
            Self::V4(..) => ETHERTYPE_IPV4,
            Self::V6(..) => ETHERTYPE_IPV6,
        }
    }
    /// Sum of the pseudo header (RFC 9293 §3.1, RFC 8200 §8.1), not folded.
    fn pseudo(self, protocol: u8, octets: usize) -> u64 {
        let sum = match self {
            Self::V4(a, b) => add(&a.octets()) + add(&b.octets()),
            Self::V6(a, b) => add(&a.octets()) + add(&b.octets()),
        };
        sum + u64::from(protocol) + octets as u64
    }
}

/// Fields of an IP header that are not computed.
#[derive(Clone, Copy, Debug)]
pub struct Ip {
    /// Addresses.
    pub pair: Pair,
    /// Protocol of the segment.
    pub protocol: u8,
    /// TTL or hop limit.
    pub hops: u8,
    /// Traffic class: DSCP and ECN.
    pub class: u8,
    /// Identification (IPv4 always, IPv6 in fragments).
    pub id: u32,
    /// The IPv4 don't-fragment bit.
    pub dont_fragment: bool,
    /// Adds the router-alert option (RFC 2113, RFC 2711).
    pub router_alert: bool,
}

impl Ip {
    /// A header with hop limit 64 and nothing special.
    pub const fn new(pair: Pair, protocol: u8) -> Self {
        Self { pair, protocol, hops: 64, class: 0, id: 0, dont_fragment: false, router_alert: false }
    }
}

/// IP packets that carry `segment`: one, or as many fragments as an `mtu` (octets of an IP packet) asks for.
pub fn packets(ip: &Ip, segment: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    match ip.pair {
        Pair::V4(source, target) => packets_v4(ip, source, target, segment, mtu),
        Pair::V6(source, target) => packets_v6(ip, source, target, segment, mtu),
    }
}

fn packets_v4(ip: &Ip, source: Ipv4Addr, target: Ipv4Addr, segment: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    let header_octets = if ip.router_alert { 24 } else { 20 };
    let room = (mtu.saturating_sub(header_octets) & !7).max(8);
    let pieces = if segment.len() + header_octets <= mtu { segment.len().max(1) } else { room };
    let mut out = Vec::new();
    let mut offset = 0;
    loop {
        let end = (offset + pieces).min(segment.len());
        let more = end < segment.len();
        let mut packet = Vec::with_capacity(header_octets + end - offset);
        packet.extend([0x40 | (header_octets / 4) as u8, ip.class]);
        packet.extend(((header_octets + end - offset) as u16).to_be_bytes());
        packet.extend((ip.id as u16).to_be_bytes());
        let flags = (offset / 8) as u16 | if more { 0x2000 } else { 0 } | if ip.dont_fragment { 0x4000 } else { 0 };
        packet.extend(flags.to_be_bytes());
        packet.extend([ip.hops, ip.protocol, 0, 0]);
        packet.extend(source.octets());
        packet.extend(target.octets());
        if ip.router_alert {
            packet.extend([0x94, 4, 0, 0]);
        }
        let sum = fold(add(&packet));
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(&segment[offset..end]);
        out.push(packet);
        offset = end;
        if !more {
            return out;
        }
    }
}

fn packets_v6(ip: &Ip, source: Ipv6Addr, target: Ipv6Addr, segment: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    let hop_by_hop: &[u8] = if ip.router_alert { &[ip.protocol, 0, 5, 2, 0, 0, 1, 0] } else { &[] };
    let whole = 40 + hop_by_hop.len() + segment.len() <= mtu;
    let room = (mtu.saturating_sub(48 + hop_by_hop.len()) & !7).max(8);
    let mut out = Vec::new();
    let mut offset = 0;
    loop {
        let end = if whole { segment.len() } else { (offset + room).min(segment.len()) };
        let more = end < segment.len();
        let fragment_octets = if whole { 0 } else { 8 };
        let payload_octets = hop_by_hop.len() + fragment_octets + end - offset;
        let mut packet = Vec::with_capacity(40 + payload_octets);
        packet.extend([0x60 | ip.class >> 4, ip.class << 4, 0, 0]);
        packet.extend((payload_octets as u16).to_be_bytes());
        let after = if whole { ip.protocol } else { 44 };
        packet.extend([if ip.router_alert { 0 } else { after }, ip.hops]);
        packet.extend(source.octets());
        packet.extend(target.octets());
        if ip.router_alert {
            packet.push(after);
            packet.extend(&hop_by_hop[1..]);
        }
        if !whole {
            packet.extend([ip.protocol, 0]);
            packet.extend((offset as u16 & !7 | u16::from(more)).to_be_bytes());
            packet.extend(ip.id.to_be_bytes());
        }
        packet.extend(&segment[offset..end]);
        out.push(packet);
        offset = end;
        if !more {
            return out;
        }
    }
}

/// A UDP datagram.
pub fn udp(pair: Pair, ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let octets = 8 + payload.len();
    let mut segment = Vec::with_capacity(octets);
    segment.extend(ports[0].to_be_bytes());
    segment.extend(ports[1].to_be_bytes());
    segment.extend((octets as u16).to_be_bytes());
    segment.extend([0, 0]);
    segment.extend(payload);
    let sum = match fold(pair.pseudo(UDP, octets) + add(&segment)) {
        0 => 0xffff,
        sum => sum,
    };
    segment[6..8].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// TCP header fields that are not computed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp<'a> {
    /// Source and target port.
    pub ports: [u16; 2],
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Control bits, see [`control`].
    pub control_bits: u8,
    /// Window, unscaled.
    pub window: u16,
    /// Encoded options; padded with end-of-list octets to a multiple of four.
    pub options: &'a [u8],
}

/// A TCP segment.
pub fn tcp(pair: Pair, header: &Tcp<'_>, payload: &[u8]) -> Vec<u8> {
    let options_octets = header.options.len().next_multiple_of(4);
    let mut segment = Vec::with_capacity(20 + options_octets + payload.len());
    segment.extend(header.ports[0].to_be_bytes());
    segment.extend(header.ports[1].to_be_bytes());
    segment.extend(header.sequence.to_be_bytes());
    segment.extend(header.acknowledgement.to_be_bytes());
    segment.extend([(((20 + options_octets) / 4) << 4) as u8, header.control_bits]);
    segment.extend(header.window.to_be_bytes());
    segment.extend([0; 4]);
    segment.extend(header.options);
    segment.resize(20 + options_octets, 0);
    segment.extend(payload);
    let sum = fold(pair.pseudo(TCP, segment.len()) + add(&segment));
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// An ICMP or IGMP message: type, code, the four octets after the checksum, and what follows.
pub fn icmp(kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut segment = vec![kind, code, 0, 0];
    segment.extend(rest);
    segment.extend(payload);
    let sum = fold(add(&segment));
    segment[2..4].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// An ICMPv6 message (RFC 4443): as [`icmp`], with the pseudo header of `source` and `target` in the checksum.
pub fn icmpv6(source: Ipv6Addr, target: Ipv6Addr, kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut segment = vec![kind, code, 0, 0];
    segment.extend(rest);
    segment.extend(payload);
    let sum = fold(Pair::V6(source, target).pseudo(ICMPV6, segment.len()) + add(&segment));
    segment[2..4].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// Sum of big-endian 16-bit words, an odd last octet padded with zero.
fn add(octets: &[u8]) -> u64 {
    let mut words = octets.chunks_exact(2);
    let sum: u64 = words.by_ref().map(|word| u64::from(word[0]) << 8 | u64::from(word[1])).sum();
    sum + words.remainder().first().map_or(0, |last| u64::from(*last) << 8)
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// The Internet checksum (RFC 1071) of some octets.
pub fn checksum(octets: &[u8]) -> u16 {
    fold(add(octets))
}

/// Which way a frame goes between its two ends: 0 when its source address (IP, else MAC) is the lower, else 1.
/// Feeds the two taps of a laboratory one direction each.
pub fn direction(frame: &[u8]) -> usize {
    let field = |at: usize, octets: usize| frame.get(at..at + octets).unwrap_or_default();
    let mut at = 12;
    while matches!(field(at, 2), [0x81, 0x00] | [0x88, 0xa8]) {
        at += 4;
    }
    let (source, target) = match field(at, 2) {
        [0x08, 0x00] => (field(at + 14, 4), field(at + 18, 4)),
        [0x86, 0xdd] => (field(at + 10, 16), field(at + 26, 16)),
        _ => (field(6, 6), field(0, 6)),
    };
    usize::from(source > target)
}

/// Lengths and checksums of a frame are right, as far as it carries IP: header, and transport if the packet is no fragment.
/// Frames of other ethertypes pass; a frame cut short does not.
pub fn is_sound(frame: &[u8]) -> bool {
    sound(frame).unwrap_or(false)
}

fn sound(frame: &[u8]) -> Option<bool> {
    let mut at = 12;
    let word = |at: usize| Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    while matches!(word(at)?, 0x8100 | 0x88a8) {
        at += 4;
    }
    let (ethertype, at) = (word(at)?, at + 2);
    match ethertype {
        ETHERTYPE_IPV4 => {
            let header_octets = usize::from(frame.get(at)? & 15) * 4;
            let total = usize::from(word(at + 2)?);
            let packet = frame.get(at..at + total)?;
            let header = packet.get(..header_octets)?;
            let addresses: [[u8; 4]; 2] = [header.get(12..16)?.try_into().ok()?, header.get(16..20)?.try_into().ok()?];
            let pair = Pair::V4(addresses[0].into(), addresses[1].into());
            let fragment = word(at + 6)? & 0x3fff != 0;
            Some(checksum(header) == 0 && (fragment || transport_is_sound(pair, header[9], &packet[header_octets..])))
        }
        ETHERTYPE_IPV6 => {
            let total = 40 + usize::from(word(at + 4)?);
            let packet = frame.get(at..at + total)?;
            let source: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            let target: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            let (mut next, mut start) = (packet[6], 40);
            if next == 0 {
                (next, start) = (packet[40], 40 + 8 * (1 + usize::from(packet[41])));
            }
            Some(next == 44 || transport_is_sound(Pair::V6(source.into(), target.into()), next, packet.get(start..)?))
        }
        length if length < 0x600 => Some(frame.len() >= at + usize::from(length)),
        _ => Some(true),
    }
}

fn transport_is_sound(pair: Pair, protocol: u8, segment: &[u8]) -> bool {
    match protocol {
        UDP => segment.len() >= 8 && segment[4..6] == (segment.len() as u16).to_be_bytes() && pseudo_sum(pair, UDP, segment) == 0,
        TCP | ICMPV6 => pseudo_sum(pair, protocol, segment) == 0,
        ICMP | IGMP => checksum(segment) == 0,
        _ => true,
    }
}

fn pseudo_sum(pair: Pair, protocol: u8, segment: &[u8]) -> u16 {
    fold(pair.pseudo(protocol, segment.len()) + add(segment))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn link() -> Link {
        Link { target: [2; 6], source: [4; 6], tags: vec![Tag::service(300), Tag::customer(20)] }
    }

    #[test]
    fn known_checksum_of_rfc_1071() {
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn udp_frame_octet_by_octet() {
        let segment = udp(Pair::V4(A, B), [1, 2], b"hi!");
        let packet = packets(&Ip::new(Pair::V4(A, B), UDP), &segment, 1500).remove(0);
        let frame = ethernet(&link(), ETHERTYPE_IPV4, &packet);
        assert_eq!(frame.len(), FRAME_OCTETS_MIN);
        assert_eq!(frame[12..22], [0x88, 0xa8, 0x01, 0x2c, 0x81, 0, 0, 20, 8, 0]);
        assert_eq!(frame[22..32], [0x45, 0, 0, 31, 0, 0, 0, 0, 64, 17]);
        assert_eq!(frame[42..50], [0, 1, 0, 2, 0, 11, 0x62, 0x69]);
        assert!(is_sound(&frame));
        assert_eq!(direction(&frame), 0);
        let back = packets(&Ip::new(Pair::V4(B, A), UDP), &segment, 1500).remove(0);
        assert_eq!(direction(&ethernet(&link(), ETHERTYPE_IPV4, &back)), 1);
        let mut broken = frame;
        broken[51] ^= 1;
        assert!(!is_sound(&broken));
    }

    #[test]
    fn fragments_join_to_the_segment() {
        let payload: Vec<u8> = (0..4000).map(|n| n as u8).collect();
        let pair = Pair::V4(A, B);
        let segment = udp(pair, [9, 9], &payload);
        let pieces = packets(&Ip { id: 7, ..Ip::new(pair, UDP) }, &segment, 1500);
        assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [1500, 1500, 1068]);
        assert_eq!(pieces.iter().map(|p| u16::from_be_bytes([p[6], p[7]])).collect::<Vec<_>>(), [0x2000, 0x2000 | 185, 370]);
        assert_eq!(pieces.iter().flat_map(|p| p[20..].to_vec()).collect::<Vec<_>>(), segment);
        let pair = Pair::V6(A.to_ipv6_mapped(), B.to_ipv6_mapped());
        let segment = udp(pair, [9, 9], &payload);
        let pieces = packets(&Ip { id: 7, ..Ip::new(pair, UDP) }, &segment, 1500);
        assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [1496, 1496, 1160]);
        assert_eq!(pieces[1][40..48], [17, 0, 1448u16.to_be_bytes()[0], 1448u16.to_be_bytes()[1] | 1, 0, 0, 0, 7]);
        assert_eq!(pieces.iter().flat_map(|p| p[48..].to_vec()).collect::<Vec<_>>(), segment);
    }
}
