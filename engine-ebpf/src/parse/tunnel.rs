//! Encapsulations: MPLS (RFC 3032), PPPoE (RFC 2516), GRE (RFC 2784, 2890), ERSPAN I to III (draft-foschiano-erspan-03), VXLAN
//! (RFC 7348), GENEVE (RFC 8926), Teredo (RFC 4380), IP in IP (RFC 2003, 2473, 4213).
//!
//! What is behind one is a packet or frame of its own, and the row is of the innermost. An encapsulation that is of another
//! version or carries something else than IP and Ethernet is not opened: it is a flow of its own, complete.

use super::{
    Layer, Packet,
    field::{be16, be32},
    network::{ETHERTYPE_IPV4, ETHERTYPE_IPV6},
};
use crate::{
    discard::ParseStop,
    frame::Frame,
    limit::MPLS_LABELS_MAX,
    record::{FORM_IPV4, Tunnel},
};

/// Transparent Ethernet bridging: a frame follows.
pub const ETHERTYPE_ETHERNET: u16 = 0x6558;
const ETHERTYPE_MPLS: u16 = 0x8847;
const ETHERTYPE_MPLS_UPSTREAM: u16 = 0x8848;
const ETHERTYPE_PPPOE: u16 = 0x8864;
const ETHERTYPE_ERSPAN_1_2: u16 = 0x88be;
const ETHERTYPE_ERSPAN_3: u16 = 0x22eb;

const PROTOCOL_IPV4: u8 = 4;
const PROTOCOL_IPV6: u8 = 41;
const PROTOCOL_GRE: u8 = 47;

/// Whether a shim stands between link and network header.
#[inline(always)]
pub const fn is_shim(ethertype: u16) -> bool {
    matches!(ethertype, ETHERTYPE_MPLS | ETHERTYPE_MPLS_UPSTREAM | ETHERTYPE_PPPOE)
}

/// What a network or transport header says that it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Carried {
    /// Nothing that is opened.
    Payload,
    /// An IPv4 packet.
    Ipv4,
    /// An IPv6 packet.
    Ipv6,
    /// A GRE header.
    Gre,
    /// A VXLAN header.
    Vxlan,
    /// A VXLAN header, if it looks like one: the port is one that others use, too.
    VxlanLikely,
    /// A GENEVE header.
    Geneve,
    /// An IPv6 packet in Teredo, if it looks like one.
    Teredo,
}

/// By IP protocol.
#[inline(always)]
pub const fn by_protocol(protocol: u8) -> Carried {
    match protocol {
        PROTOCOL_IPV4 => Carried::Ipv4,
        PROTOCOL_IPV6 => Carried::Ipv6,
        PROTOCOL_GRE => Carried::Gre,
        _ => Carried::Payload,
    }
}

/// By UDP ports. 8472 is what Linux had for VXLAN before 4789 was assigned. What comes from a well-known port is the answer to a client
/// that has the other one by chance.
#[inline(always)]
pub const fn by_port(source: u16, target: u16) -> Carried {
    match (source, target) {
        (..=1023, _) => Carried::Payload,
        (_, 4789) => Carried::Vxlan,
        (_, 8472) => Carried::VxlanLikely,
        (_, 6081) => Carried::Geneve,
        (3544, _) | (_, 3544) => Carried::Teredo,
        _ => Carried::Payload,
    }
}

/// What is behind an encapsulation.
#[derive(Clone, Copy)]
pub struct Inside {
    /// [`Tunnel`] as number; zero: nothing is to be opened.
    pub kind: u8,
    /// `id` is one.
    pub has_id: bool,
    /// Identifier: network, session, key or label.
    pub id: u32,
    /// What follows: IPv4, IPv6, [`ETHERTYPE_ETHERNET`] or MPLS.
    pub layer: Layer,
}

impl Inside {
    /// Nothing is to be opened.
    pub const NOTHING: Self = Self { kind: 0, has_id: false, id: 0, layer: Layer { ethertype: 0, offset: 0, end: 0 } };

    #[inline(always)]
    const fn of(kind: Tunnel, ethertype: u16, offset: u32, end: u32) -> Self {
        Self { kind: kind as u8, has_id: false, id: 0, layer: Layer { ethertype, offset, end } }
    }

    #[inline(always)]
    const fn with_id(self, id: u32) -> Self {
        Self { has_id: true, id, ..self }
    }
}

/// Whether a header of which not all is read, and which ends at `offset`, is there to its last octet.
#[inline(always)]
fn is_whole<F: Frame>(frame: &F, offset: u32, end: u32) -> bool {
    offset <= end && frame.read::<1>(offset - 1).is_some()
}

#[inline(always)]
fn truncated(packet: &mut Packet) -> Inside {
    packet.stopped(ParseStop::TunnelTruncated);
    Inside::NOTHING
}

/// Opens what the packet's payload was said to be.
#[inline(always)]
pub fn open<F: Frame>(frame: &F, carried: Carried, packet: &mut Packet) -> Inside {
    let at = packet.payload_offset;
    let end = at + packet.payload_octets;
    let over_ipv4 = packet.form == FORM_IPV4;
    match carried {
        Carried::Payload => Inside::NOTHING,
        Carried::Ipv4 => Inside::of(if over_ipv4 { Tunnel::Ipv4InIpv4 } else { Tunnel::Ipv4InIpv6 }, ETHERTYPE_IPV4, at, end),
        Carried::Ipv6 => Inside::of(if over_ipv4 { Tunnel::Ipv6InIpv4 } else { Tunnel::Ipv6InIpv6 }, ETHERTYPE_IPV6, at, end),
        Carried::Gre => gre(frame, at, end, packet),
        Carried::Teredo if over_ipv4 => teredo(frame, at, end),
        Carried::Teredo => Inside::NOTHING,
        Carried::Vxlan | Carried::VxlanLikely | Carried::Geneve => {
            let header = if end - at < 8 { None } else { frame.read::<8>(at) };
            let Some(header) = header else { return truncated(packet) };
            if carried as u8 == Carried::Geneve as u8 {
                geneve(frame, &header, at, end, packet)
            } else {
                vxlan(&header, carried as u8 == Carried::VxlanLikely as u8, at, end)
            }
        }
    }
}

#[inline(always)]
fn vxlan(header: &[u8; 8], strict: bool, at: u32, end: u32) -> Inside {
    const NETWORK_VALID: u8 = 8;
    let exact = header[0] == NETWORK_VALID && be32::<0, _>(header) & 0x00ff_ffff == 0 && header[7] == 0;
    if header[0] & NETWORK_VALID == 0 || strict && !exact {
        return Inside::NOTHING;
    }
    Inside::of(Tunnel::Vxlan, ETHERTYPE_ETHERNET, at + 8, end).with_id(be32::<4, _>(header) >> 8)
}

#[inline(always)]
fn geneve<F: Frame>(frame: &F, header: &[u8; 8], at: u32, end: u32, packet: &mut Packet) -> Inside {
    const CONTROL: u8 = 0x80;
    let ethertype = be16::<2, _>(header);
    if header[0] >> 6 != 0 || header[1] & CONTROL != 0 || !is_opened(ethertype) {
        return Inside::NOTHING;
    }
    let offset = at + 8 + u32::from(header[0] & 0x3f) * 4;
    if !is_whole(frame, offset, end) {
        return truncated(packet);
    }
    Inside::of(Tunnel::Geneve, ethertype, offset, end).with_id(be32::<4, _>(header) >> 8)
}

#[inline(always)]
const fn is_opened(ethertype: u16) -> bool {
    matches!(ethertype, ETHERTYPE_IPV4 | ETHERTYPE_IPV6 | ETHERTYPE_ETHERNET)
}

#[inline(always)]
fn gre<F: Frame>(frame: &F, at: u32, end: u32, packet: &mut Packet) -> Inside {
    const CHECKSUM: u16 = 0x8000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const ROUTING_OR_VERSION: u16 = 0x4007;
    let Some(header) = frame.read::<4>(at) else { return truncated(packet) };
    let (flags, ethertype) = (be16::<0, _>(&header), be16::<2, _>(&header));
    if flags & ROUTING_OR_VERSION != 0 {
        return Inside::NOTHING;
    }
    let known = is_opened(ethertype) || ethertype == ETHERTYPE_MPLS || ethertype == ETHERTYPE_MPLS_UPSTREAM;
    let mirror = ethertype == ETHERTYPE_ERSPAN_1_2 || ethertype == ETHERTYPE_ERSPAN_3;
    if !known && !mirror {
        return Inside::NOTHING;
    }
    let key_at = at + 4 + if flags & CHECKSUM != 0 { 4 } else { 0 };
    let mut offset = key_at;
    let mut key = None;
    if flags & KEY != 0 {
        key = frame.read::<4>(key_at);
        if key.is_none() {
            return truncated(packet);
        }
        offset += 4;
    }
    if flags & SEQUENCE != 0 {
        offset += 4;
    }
    if !is_whole(frame, offset, end) {
        return truncated(packet);
    }
    let offset = frame.blur(offset);
    if mirror {
        return erspan(frame, ethertype, flags & SEQUENCE != 0, offset, end, packet);
    }
    let inside = Inside::of(Tunnel::Gre, ethertype, offset, end);
    match key {
        Some(key) => inside.with_id(u32::from_be_bytes(key)),
        None => inside,
    }
}

#[inline(always)]
fn erspan<F: Frame>(frame: &F, ethertype: u16, sequence: bool, at: u32, end: u32, packet: &mut Packet) -> Inside {
    const SESSION: u16 = 0x3ff;
    if ethertype == ETHERTYPE_ERSPAN_1_2 && !sequence {
        return Inside::of(Tunnel::Erspan1, ETHERTYPE_ETHERNET, at, end);
    }
    let Some(header) = frame.read::<8>(at) else { return truncated(packet) };
    let version = header[0] >> 4;
    let session = u32::from(be16::<2, _>(&header) & SESSION);
    if ethertype == ETHERTYPE_ERSPAN_1_2 {
        if version != 1 {
            return Inside::NOTHING;
        }
        if at + 8 > end {
            return truncated(packet);
        }
        return Inside::of(Tunnel::Erspan2, ETHERTYPE_ETHERNET, at + 8, end).with_id(session);
    }
    if version != 2 {
        return Inside::NOTHING;
    }
    let Some(header) = frame.read::<2>(at + 10) else { return truncated(packet) };
    let word = be16::<0, _>(&header);
    let offset = at + 12 + if word & 1 != 0 { 8 } else { 0 };
    if offset > end {
        return truncated(packet);
    }
    let ethertype = match word >> 10 & 31 {
        0 => ETHERTYPE_ETHERNET,
        2 => match frame.read::<1>(offset) {
            Some([version]) if version >> 4 == 4 => ETHERTYPE_IPV4,
            Some([version]) if version >> 4 == 6 => ETHERTYPE_IPV6,
            Some(_) => return Inside::NOTHING,
            None => return truncated(packet),
        },
        _ => return Inside::NOTHING,
    };
    Inside::of(Tunnel::Erspan3, ethertype, offset, end).with_id(session)
}

/// Only an IPv6 packet that is as long as the datagram: Teredo's port is no proof.
#[inline(always)]
fn teredo<F: Frame>(frame: &F, at: u32, end: u32) -> Inside {
    let mut offset = at;
    let Some(lead) = frame.read::<2>(at) else { return Inside::NOTHING };
    if be16::<0, _>(&lead) == 0 {
        // Origin indication.
        offset += 8;
    }
    let offset = frame.blur(offset);
    let Some(header) = frame.read::<8>(offset) else { return Inside::NOTHING };
    if header[0] >> 4 != 6 || offset + 40 + u32::from(be16::<4, _>(&header)) != end {
        return Inside::NOTHING;
    }
    Inside::of(Tunnel::Teredo, ETHERTYPE_IPV6, offset, end)
}

/// Opens MPLS or PPPoE.
#[inline(always)]
pub fn shim<F: Frame>(frame: &F, layer: &Layer, packet: &mut Packet) -> Inside {
    let Layer { ethertype, offset, end } = *layer;
    if ethertype == ETHERTYPE_PPPOE { pppoe(frame, offset, end, packet) } else { mpls(frame, offset, end, packet) }
}

#[inline(always)]
fn pppoe<F: Frame>(frame: &F, at: u32, end: u32, packet: &mut Packet) -> Inside {
    const VERSION_1_TYPE_1_SESSION: u16 = 0x1100;
    let Some(header) = frame.read::<8>(at) else { return truncated(packet) };
    if be16::<0, _>(&header) != VERSION_1_TYPE_1_SESSION {
        return Inside::NOTHING;
    }
    let ethertype = match be16::<6, _>(&header) {
        0x0021 => ETHERTYPE_IPV4,
        0x0057 => ETHERTYPE_IPV6,
        _ => return Inside::NOTHING,
    };
    let whole = at + 6 + u32::from(be16::<4, _>(&header));
    let end = if whole < end { whole } else { end };
    if at + 8 > end {
        return truncated(packet);
    }
    Inside::of(Tunnel::Pppoe, ethertype, at + 8, end).with_id(be16::<2, _>(&header).into())
}

#[inline(always)]
fn mpls<F: Frame>(frame: &F, at: u32, end: u32, packet: &mut Packet) -> Inside {
    const BOTTOM: u32 = 0x100;
    let mut entry = 0;
    let mut offset = at;
    for _ in 0..MPLS_LABELS_MAX {
        let Some(octets) = frame.read::<4>(offset) else { return truncated(packet) };
        entry = u32::from_be_bytes(octets);
        offset += 4;
        if entry & BOTTOM != 0 {
            break;
        }
    }
    if entry & BOTTOM == 0 {
        packet.stopped(ParseStop::MplsLabelsTooMany);
        return Inside::NOTHING;
    }
    let offset = frame.blur(offset);
    let lead = if offset < end { frame.read::<1>(offset) } else { None };
    let Some([lead]) = lead else { return truncated(packet) };
    let (ethertype, skipped) = match lead >> 4 {
        4 => (ETHERTYPE_IPV4, 0),
        6 => (ETHERTYPE_IPV6, 0),
        0 if is_frame(frame, offset) && !is_frame(frame, offset + 4) => (ETHERTYPE_ETHERNET, 0),
        // The control word of a pseudowire (RFC 4385 §3).
        0 => (ETHERTYPE_ETHERNET, 4),
        _ if is_frame(frame, offset) => (ETHERTYPE_ETHERNET, 0),
        _ => return Inside::NOTHING,
    };
    Inside::of(Tunnel::Mpls, ethertype, offset + skipped, end).with_id(entry >> 12)
}

/// A pseudowire without control word carries a frame, and nothing says so: a common ethertype where one would stand.
#[inline(always)]
fn is_frame<F: Frame>(frame: &F, offset: u32) -> bool {
    let Some(octets) = frame.read::<2>(offset + 12) else { return false };
    matches!(be16::<0, _>(&octets), 0x0800 | 0x86dd | 0x0806 | 0x8100 | 0x88a8)
}
