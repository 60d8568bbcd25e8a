//! Network layer: IPv4 (RFC 791) and IPv6 with its extension headers (RFC 8200).

use super::{
    Layer, Packet,
    field::{be16, be32, le32, le64},
    transport,
    tunnel::Carried,
};
use crate::{
    discard::ParseStop,
    frame::Frame,
    limit::EXTENSION_HEADERS_MAX,
    record::{FORM_FRAGMENT, FORM_IPV4, FORM_IPV6, FRAGMENT_FIRST, FRAGMENT_LATER},
};

pub const ETHERTYPE_IPV4: u16 = 0x0800;
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

const IPV6_OCTETS: u32 = 40;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

/// Source and target address words, and what the transport layer is told.
pub struct Inner {
    /// Source address, as in the key.
    pub source: [u64; 2],
    /// Target address.
    pub target: [u64; 2],
    /// Where the transport header is.
    pub offset: u32,
    /// Octets of transport header and payload, by the network header.
    pub octets: u32,
    /// VLAN that is part of the key, or zero.
    pub scope: u16,
}

/// Parses IPv4 and what it carries; `None`, with the packet as it was but for the
/// reason, when not even the fixed header is whole.
#[inline(always)]
pub fn ipv4<F: Frame>(frame: &F, layer: &Layer, scope: u16, packet: &mut Packet) -> Option<Carried> {
    let offset = layer.offset;
    let room = layer.end.saturating_sub(offset);
    let header = if room < 20 { None } else { frame.read::<20>(offset) };
    let Some(header) = header else {
        packet.stopped(ParseStop::NetworkTruncated);
        return None;
    };
    let header_octets = u32::from(header[0] & 15) * 4;
    if header[0] >> 4 != 4 || header_octets < 20 {
        packet.stopped(ParseStop::NetworkMalformed);
        return None;
    }
    let mut total = u32::from(be16::<2, _>(&header));
    let mut octets = total.wrapping_sub(header_octets);
    let mut stop = ParseStop::Complete;
    if total < header_octets || total > room {
        // Zero is what segmentation offload leaves there.
        if total != 0 && total < header_octets || room < header_octets {
            stop = ParseStop::NetworkMalformed;
        }
        total = room;
        octets = room.saturating_sub(header_octets);
    }
    packet.octets = total;
    packet.class = header[1];
    packet.ttl = header[8];
    packet.protocol = header[9];
    packet.form = FORM_IPV4;
    let inner = Inner {
        source: [le32::<12, _>(&header).into(), 0],
        target: [le32::<16, _>(&header).into(), 0],
        offset: frame.blur(offset + header_octets),
        octets,
        scope,
    };
    packet.identification = be16::<4, _>(&header).into();
    let fragment = be16::<6, _>(&header);
    if fragment & 0x3fff != 0 {
        packet.sequence = (fragment & 0x1fff).into();
        packet.fragments = if fragment & 0x1fff == 0 { FRAGMENT_FIRST } else { FRAGMENT_LATER };
    }
    Some(carried(frame, packet, &inner, stop))
}

/// What the network header carries: a transport header, a later fragment, or something that is not whole.
#[inline(always)]
fn carried<F: Frame>(frame: &F, packet: &mut Packet, inner: &Inner, stop: ParseStop) -> Carried {
    if stop != ParseStop::Complete {
        transport::without_ports(packet, inner, stop)
    } else if packet.fragments & FRAGMENT_LATER != 0 {
        packet.form |= FORM_FRAGMENT;
        transport::keyed(packet, inner, 0, 0);
        transport::payload(packet, inner.offset, inner.octets);
        Carried::Payload
    } else {
        transport::transport(frame, inner, packet)
    }
}

/// Parses IPv6, its extension headers and what they carry; as [`ipv4`].
#[inline(always)]
pub fn ipv6<F: Frame>(frame: &F, layer: &Layer, scope: u16, packet: &mut Packet) -> Option<Carried> {
    let offset = layer.offset;
    let room = layer.end.saturating_sub(offset);
    let header = if room < IPV6_OCTETS { None } else { frame.read::<40>(offset) };
    let Some(header) = header else {
        packet.stopped(ParseStop::NetworkTruncated);
        return None;
    };
    if header[0] >> 4 != 6 {
        packet.stopped(ParseStop::NetworkMalformed);
        return None;
    }
    packet.identification = 0;
    let length = u32::from(be16::<4, _>(&header));
    let total = length + IPV6_OCTETS;
    packet.octets = if length == 0 || total > room { room } else { total };
    packet.class = header[0] << 4 | header[1] >> 4;
    packet.ttl = header[7];
    packet.form = FORM_IPV6;
    let mut inner = Inner {
        source: [le64::<8, _>(&header), le64::<16, _>(&header)],
        target: [le64::<24, _>(&header), le64::<32, _>(&header)],
        offset: frame.blur(offset + IPV6_OCTETS),
        octets: packet.octets.wrapping_sub(IPV6_OCTETS),
        scope,
    };
    packet.protocol = header[6];
    let stop = if is_extension(header[6]) { extensions(frame, &mut inner, packet) } else { ParseStop::Complete };
    Some(carried(frame, packet, &inner, stop))
}

#[inline(always)]
const fn is_extension(protocol: u8) -> bool {
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION | MOBILITY | HOST_IDENTITY | SHIM6)
}

/// Walks the extension headers; leaves the transport protocol in `packet` and its place in `inner`.
#[inline(always)]
fn extensions<F: Frame>(frame: &F, inner: &mut Inner, packet: &mut Packet) -> ParseStop {
    let mut protocol = packet.protocol;
    let (mut offset, mut left) = (inner.offset, inner.octets);
    for _ in 0..EXTENSION_HEADERS_MAX {
        if !is_extension(protocol) || packet.fragments & FRAGMENT_LATER != 0 {
            break;
        }
        let Some(header) = frame.read::<8>(offset) else {
            packet.protocol = protocol;
            return ParseStop::ExtensionHeaderTruncated;
        };
        let octets = match protocol {
            FRAGMENT => {
                let fragment = be16::<2, _>(&header);
                if fragment & 0xfff9 != 0 {
                    packet.identification = be32::<4, _>(&header);
                    packet.sequence = (fragment >> 3).into();
                    packet.fragments = if fragment & 0xfff8 == 0 { FRAGMENT_FIRST } else { FRAGMENT_LATER };
                }
                8
            }
            AUTHENTICATION => (u32::from(header[1]) + 2) * 4,
            _ => (u32::from(header[1]) + 1) * 8,
        };
        protocol = header[0];
        if octets > left {
            packet.protocol = protocol;
            return ParseStop::NetworkMalformed;
        }
        offset = frame.blur(offset + octets);
        left -= octets;
    }
    packet.protocol = protocol;
    inner.offset = offset;
    inner.octets = left;
    if is_extension(protocol) && packet.fragments & FRAGMENT_LATER == 0 {
        return ParseStop::ExtensionHeadersTooMany;
    }
    ParseStop::Complete
}
