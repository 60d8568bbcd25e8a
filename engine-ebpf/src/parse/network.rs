//! Network layer: IPv4 (RFC 791) and IPv6 with its extension headers (RFC 8200).

use super::{Packet, transport};
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

/// Parses IPv4 and what it carries; false when not even the fixed header is whole.
#[inline(always)]
pub fn ipv4<F: Frame>(frame: &F, offset: u32, scope: u16, packet: &mut Packet) -> bool {
    let Some(header) = frame.read::<20>(offset) else {
        packet.stopped(ParseStop::NetworkTruncated);
        return false;
    };
    let header_octets = u32::from(header[0] & 15) * 4;
    if header[0] >> 4 != 4 || header_octets < 20 {
        packet.stopped(ParseStop::NetworkMalformed);
        return false;
    }
    let room = packet.layer2_octets.saturating_sub(offset);
    let total = u32::from(u16::from_be_bytes([header[2], header[3]]));
    let mut malformed = total != 0 && total < header_octets;
    malformed |= room < header_octets;
    packet.octets = if total == 0 || total > room || malformed { room } else { total };
    packet.class = header[1];
    packet.ttl = header[8];
    packet.protocol = header[9];
    packet.form = FORM_IPV4;
    let inner = Inner {
        source: [u64::from(u32::from_le_bytes([header[12], header[13], header[14], header[15]])), 0],
        target: [u64::from(u32::from_le_bytes([header[16], header[17], header[18], header[19]])), 0],
        offset: frame.blur(offset + header_octets),
        octets: packet.octets.saturating_sub(header_octets),
        scope,
    };
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    if fragment & 0x3fff != 0 {
        packet.fragment = u32::from(u16::from_be_bytes([header[4], header[5]]));
        packet.fragments = if fragment & 0x1fff == 0 { FRAGMENT_FIRST } else { FRAGMENT_LATER };
    }
    if malformed {
        transport::without_ports(packet, &inner, ParseStop::NetworkMalformed);
    } else if fragment & 0x1fff != 0 {
        packet.form |= FORM_FRAGMENT;
        transport::keyed(packet, &inner, 0, 0);
        transport::payload(packet, inner.offset, inner.octets);
    } else {
        transport::transport(frame, &inner, packet);
    }
    true
}

/// Parses IPv6, its extension headers and what they carry; false when not even the fixed header is whole.
#[inline(always)]
pub fn ipv6<F: Frame>(frame: &F, offset: u32, scope: u16, packet: &mut Packet) -> bool {
    let Some(header) = frame.read::<40>(offset) else {
        packet.stopped(ParseStop::NetworkTruncated);
        return false;
    };
    if header[0] >> 4 != 6 {
        packet.stopped(ParseStop::NetworkMalformed);
        return false;
    }
    let room = packet.layer2_octets.saturating_sub(offset);
    let length = u32::from(u16::from_be_bytes([header[4], header[5]]));
    let total = length + IPV6_OCTETS;
    packet.octets = if length == 0 || total > room { room } else { total };
    packet.class = header[0] << 4 | header[1] >> 4;
    packet.ttl = header[7];
    packet.form = FORM_IPV6;
    let word = |at: usize| {
        u64::from_le_bytes([
            header[at],
            header[at + 1],
            header[at + 2],
            header[at + 3],
            header[at + 4],
            header[at + 5],
            header[at + 6],
            header[at + 7],
        ])
    };
    let mut inner = Inner {
        source: [word(8), word(16)],
        target: [word(24), word(32)],
        offset: frame.blur(offset + IPV6_OCTETS),
        octets: packet.octets.saturating_sub(IPV6_OCTETS),
        scope,
    };
    packet.protocol = header[6];
    let stop = if is_extension(header[6]) { extensions(frame, &mut inner, packet) } else { ParseStop::Complete };
    if stop != ParseStop::Complete {
        transport::without_ports(packet, &inner, stop);
    } else if packet.fragments & FRAGMENT_LATER != 0 {
        packet.form |= FORM_FRAGMENT;
        transport::keyed(packet, &inner, 0, 0);
        transport::payload(packet, inner.offset, inner.octets);
    } else {
        transport::transport(frame, &inner, packet);
    }
    true
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
                let fragment = u16::from_be_bytes([header[2], header[3]]);
                if fragment & 0xfff9 != 0 {
                    packet.fragment = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
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
