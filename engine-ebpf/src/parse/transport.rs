//! Transport layer: TCP (RFC 9293), UDP (RFC 768), UDP-Lite, SCTP and DCCP ports, ICMP (RFC 792) and ICMPv6 (RFC 4443) types.

use super::{
    Packet, again,
    field::{be16, be32, le32},
    network::Inner,
    tunnel::{self, Carried},
};
use crate::{
    discard::ParseStop,
    frame::Frame,
    record::{FORM_IPV4, FORM_PORTLESS, ICMP_REPLY, ICMP_REQUEST},
};

/// IP protocol number of TCP.
pub const TCP: u8 = 6;
const ICMP: u8 = 1;
const UDP: u8 = 17;
const DCCP: u8 = 33;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;

/// Parses the transport header and completes key, direction and payload. Says what the payload may be.
#[inline(always)]
pub fn transport<F: Frame>(frame: &F, inner: &Inner, packet: &mut Packet) -> Carried {
    match packet.protocol {
        TCP => tcp(frame, inner, packet),
        UDP | UDP_LITE => udp(frame, inner, packet),
        SCTP | DCCP => ports_only(frame, inner, packet),
        ICMP if packet.form == FORM_IPV4 => icmp(frame, inner, packet),
        ICMPV6 if packet.form != FORM_IPV4 => icmp(frame, inner, packet),
        _ => {
            keyed(packet, inner, 0, 0);
            payload(packet, inner.offset, inner.octets);
            tunnel::by_protocol(packet.protocol)
        }
    }
}

#[inline(always)]
fn tcp<F: Frame>(frame: &F, inner: &Inner, packet: &mut Packet) -> Carried {
    let Some(header) = frame.read::<20>(inner.offset) else {
        return without_ports(packet, inner, ParseStop::TransportTruncated);
    };
    let header_octets = u32::from(header[12] >> 4) * 4;
    if header_octets < 20 || header_octets > inner.octets {
        return without_ports(packet, inner, ParseStop::TransportMalformed);
    }
    packet.sequence = be32::<4, _>(&header);
    packet.control_bits = header[13];
    packet.window = be16::<14, _>(&header);
    packet.transport_offset = inner.offset as u16;
    again::remember(packet, inner, le32::<0, _>(&header));
    keyed(packet, inner, be16::<0, _>(&header), be16::<2, _>(&header));
    payload(packet, inner.offset + header_octets, inner.octets - header_octets);
    Carried::Payload
}

#[inline(always)]
fn udp<F: Frame>(frame: &F, inner: &Inner, packet: &mut Packet) -> Carried {
    let Some(header) = frame.read::<8>(inner.offset) else {
        return without_ports(packet, inner, ParseStop::TransportTruncated);
    };
    // UDP-Lite has its checksum coverage here (RFC 3828 §3.1), a jumbogram has zero (RFC 2675 §4).
    let length = u32::from(be16::<4, _>(&header));
    let whole = packet.protocol == UDP_LITE || length == 0;
    if inner.octets < 8 || (!whole && length < 8) {
        return without_ports(packet, inner, ParseStop::TransportMalformed);
    }
    let (source_port, target_port) = (be16::<0, _>(&header), be16::<2, _>(&header));
    keyed(packet, inner, source_port, target_port);
    let octets = if whole || length > inner.octets { inner.octets } else { length };
    payload(packet, inner.offset + 8, octets - 8);
    if packet.protocol == UDP { tunnel::by_port(source_port, target_port) } else { Carried::Payload }
}

#[inline(always)]
fn ports_only<F: Frame>(frame: &F, inner: &Inner, packet: &mut Packet) -> Carried {
    let Some(header) = frame.read::<12>(inner.offset) else {
        return without_ports(packet, inner, ParseStop::TransportTruncated);
    };
    if inner.octets < 12 {
        return without_ports(packet, inner, ParseStop::TransportMalformed);
    }
    keyed(packet, inner, be16::<0, _>(&header), be16::<2, _>(&header));
    payload(packet, inner.offset + 12, inner.octets - 12);
    Carried::Payload
}

#[inline(always)]
fn icmp<F: Frame>(frame: &F, inner: &Inner, packet: &mut Packet) -> Carried {
    let Some(header) = frame.read::<4>(inner.offset) else {
        return without_ports(packet, inner, ParseStop::TransportTruncated);
    };
    let pair = if packet.form == FORM_IPV4 { pair_v4(header[0]) } else { pair_v6(header[0]) };
    let (first, second) = if pair == 0 { (header[0], header[1]) } else { ((pair >> 8) as u8, pair as u8) };
    if pair != 0 {
        packet.control_bits = if header[0] == first { ICMP_REQUEST } else { ICMP_REPLY };
    }
    keyed(packet, inner, 0, 0);
    packet.key[4] |= u64::from(first) | u64::from(second) << 16;
    payload(packet, inner.offset + 4, inner.octets.saturating_sub(4));
    Carried::Payload
}

/// `request << 8 | reply` of the pair that an ICMP type belongs to (RFC 792, 950, 1256); zero: the type is one-way.
#[inline(always)]
const fn pair_v4(kind: u8) -> u16 {
    match kind {
        0 | 8 => 8 << 8,
        9 | 10 => 10 << 8 | 9,
        13 | 14 => 13 << 8 | 14,
        15 | 16 => 15 << 8 | 16,
        17 | 18 => 17 << 8 | 18,
        _ => 0,
    }
}

/// The same for ICMPv6 (RFC 4443, 2710, 4861, 4620, 6275).
#[inline(always)]
const fn pair_v6(kind: u8) -> u16 {
    match kind {
        128 | 129 => 128 << 8 | 129,
        130 | 131 => 130 << 8 | 131,
        133 | 134 => 133 << 8 | 134,
        135 | 136 => 135 << 8 | 136,
        139 | 140 => 139 << 8 | 140,
        144 | 145 => 144 << 8 | 145,
        _ => 0,
    }
}

/// The transport header is not whole: the flow is of addresses and protocol.
#[inline(always)]
pub fn without_ports(packet: &mut Packet, inner: &Inner, why: ParseStop) -> Carried {
    packet.stopped(why);
    packet.form |= FORM_PORTLESS;
    keyed(packet, inner, 0, 0);
    payload(packet, inner.offset, inner.octets);
    Carried::Payload
}

/// Sets the payload's place and length.
#[inline(always)]
pub fn payload(packet: &mut Packet, offset: u32, octets: u32) {
    packet.payload_offset = offset;
    packet.payload_octets = octets;
}

/// Makes the canonical key of the addresses and ports and sets the direction.
#[inline(always)]
pub fn keyed(packet: &mut Packet, inner: &Inner, source_port: u16, target_port: u16) {
    let (source, target) = (inner.source, inner.target);
    let back = if source[0] != target[0] {
        source[0] > target[0]
    } else if source[1] != target[1] {
        source[1] > target[1]
    } else {
        source_port > target_port
    };
    // Without branches: which side of a conversation sends next cannot be predicted.
    let mask = u64::from(back).wrapping_neg();
    let swap = [(source[0] ^ target[0]) & mask, (source[1] ^ target[1]) & mask];
    let (source_port, target_port) = (u64::from(source_port), u64::from(target_port));
    let swap_ports = (source_port ^ target_port) & mask;
    let ports = source_port ^ swap_ports | (target_port ^ swap_ports) << 16;
    let rest = u64::from(packet.protocol) << 32 | u64::from(packet.form) << 40 | u64::from(inner.scope) << 48;
    packet.direction = back as u32;
    packet.key = [source[0] ^ swap[0], source[1] ^ swap[1], target[0] ^ swap[0], target[1] ^ swap[1], rest | ports];
}
