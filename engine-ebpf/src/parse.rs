//! One frame in, one [`Packet`] out: key, direction, lengths and the few header fields that are metered.
//!
//! The same code runs in the kernel and natively. It never fails on an IP or Ethernet frame: what is too deep, truncated or
//! malformed is metered at the deepest whole layer and [`Packet::stop`] says why. Only a frame without any key is discarded.
//! Encapsulations are opened, a bounded number of them: the packet is the innermost, and says what is around it.
//! Checksums are not verified (offload leaves them unfilled on mirrored traffic).
//!
//! For the verifier: offsets go through [`Frame::blur`] after each layer so that program paths merge, headers are read with
//! one bound check each, and loops have constant bounds.

mod again;
mod field;
mod link;
mod network;
mod transport;
mod tunnel;

use core::mem::offset_of;

use crate::{
    discard::{Discard, ParseStop},
    frame::Frame,
    limit::{TUNNELS_MAX, VLAN_IDS_KEPT},
    record::FlowKey,
};
use tunnel::{Carried, Inside};

/// Where parsing starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At an Ethernet header at offset 0.
    Ethernet,
    /// At a network header of a link without Ethernet header (raw IP, null/loopback, Linux cooked capture).
    Network {
        /// Ethertype of what is at `offset`; zero when unknown.
        ethertype: u16,
        /// Offset of the network header.
        offset: u32,
        /// Offset of the sender's MAC, if the link header has one.
        source_mac: Option<u8>,
    },
}

/// `Packet::link` bit: the target MAC stands right before the source MAC.
pub const LINK_TARGET: u8 = 1;
/// `Packet::link` bit: the source MAC is at `source_mac`.
pub const LINK_SOURCE: u8 = 2;

/// What one frame contributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Packet {
    /// The [`FlowKey`] as words.
    pub key: [u64; 5],
    /// Frame octets on the wire.
    pub layer2_octets: u32,
    /// IP total length, or what follows the link header of other frames.
    pub octets: u32,
    /// Transport payload octets.
    pub payload_octets: u32,
    /// Where the transport payload starts.
    pub payload_offset: u32,
    /// 0: from the key's low address to the high one, 1: back.
    pub direction: u32,
    /// Interface the packet came in by; set by whoever called the parser.
    pub observation_point: u32,
    /// TCP sequence number; offset of a later fragment.
    pub sequence: u32,
    /// IPv4 identification, or that of an IPv6 fragment; else zero.
    pub identification: u32,
    /// Offset of a whole TCP header; zero for anything else.
    pub transport_offset: u16,
    /// TCP window.
    pub window: u16,
    /// Outermost VLAN tags.
    pub tags: [u16; VLAN_IDS_KEPT],
    /// Number of VLAN tags read.
    pub tag_count: u8,
    /// TCP control bits; `ICMP_REQUEST` or `ICMP_REPLY` of paired ICMP types; zero for other protocols.
    pub control_bits: u8,
    /// IP protocol; zero for other frames.
    pub protocol: u8,
    /// `FORM_*` of the key.
    pub form: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Traffic class.
    pub class: u8,
    /// [`ParseStop`] as number.
    pub stop: u8,
    /// `FRAGMENT_*` of the record.
    pub fragments: u8,
    /// `LINK_*`: which MACs the frame, or the innermost frame in it, has.
    pub link: u8,
    /// The next frame may be one more of the conversation, to be compared with `wire_addresses` and `wire_ports`.
    pub repeatable: u8,
    /// `hash` is that of the key.
    pub hashed: u8,
    /// Number of encapsulations that were opened.
    pub tunnels: u8,
    /// Offset of the source MAC.
    pub source_mac: u16,
    /// [`crate::record::Tunnel`] of each encapsulation, four bits each, outermost lowest.
    pub tunnel_kinds: u8,
    /// Encapsulations that have an identifier, a bit each.
    pub tunnel_has_id: u8,
    /// Source and destination IPv4 address as in the frame.
    pub wire_addresses: u64,
    /// Keyed hash of the key; set by the meter.
    pub hash: u64,
    /// Source and destination port as in the frame.
    pub wire_ports: u32,
    /// One more than the offset of the IP header that each encapsulation is in; zero: it is in none.
    pub tunnel_network: [u16; TUNNELS_MAX],
    /// Identifier of each encapsulation.
    pub tunnel_id: [u32; TUNNELS_MAX],
}

const _: () = assert!(size_of::<Packet>() == 128 && TUNNELS_MAX == 2);

impl Packet {
    /// The flow key.
    pub fn flow_key(&self) -> FlowKey {
        FlowKey::from_words(self.key)
    }

    /// The packet is TCP with a whole header.
    #[inline(always)]
    pub fn is_tcp(&self) -> bool {
        self.transport_offset != 0
    }

    #[inline(always)]
    fn stopped(&mut self, why: ParseStop) {
        self.stop = why as u8;
    }
}

/// Parses a frame into `packet`. With `vlan_in_key`, IP flows of different outermost VLANs have different keys.
///
/// `packet` is what the call before left there, or new. It is written in place, field by field, because the kernel side keeps
/// it in a map: values that wait in registers for the end of parsing would only be spilled.
///
/// # Errors
/// [`Discard`] when nothing in the frame can be a key.
#[inline(always)]
pub fn parse<F: Frame>(frame: &F, start: Start, vlan_in_key: bool, packet: &mut Packet) -> Result<(), Discard> {
    if start == Start::Ethernet && again::again(frame, packet) {
        return Ok(());
    }
    clear(packet);
    let end = frame.wire_octets();
    packet.layer2_octets = end;
    let (ethertype, offset) = match start {
        Start::Ethernet => link::ethernet(frame, 0, packet).ok_or(Discard::FrameTooShort)?,
        Start::Network { ethertype, offset, source_mac } => {
            packet.link = if source_mac.is_some() { LINK_SOURCE } else { 0 };
            packet.source_mac = source_mac.unwrap_or_default().into();
            (ethertype, offset)
        }
    };
    let (ethertype, offset) = link::tags(frame, frame.offloaded_tag(), ethertype, offset, packet);
    layers(frame, Layer { ethertype, offset, end }, vlan_in_key, packet)
}

/// Where a layer begins and ends, and what it is.
#[derive(Clone, Copy)]
pub(crate) struct Layer {
    /// Its ethertype.
    pub ethertype: u16,
    /// Where its header is.
    pub offset: u32,
    /// Where it ends, by the headers around it.
    pub end: u32,
}

impl Layer {
    /// The same layer, but no longer known to the verifier, so that program paths merge.
    #[inline(always)]
    fn blurred<F: Frame>(&self, frame: &F) -> Self {
        Self { ethertype: frame.blur(self.ethertype.into()) as u16, offset: frame.blur(self.offset), end: frame.blur(self.end) }
    }
}

/// Parses what a link header carries, and opens what that carries in turn.
#[inline(always)]
fn layers<F: Frame>(frame: &F, mut layer: Layer, vlan_in_key: bool, packet: &mut Packet) -> Result<(), Discard> {
    // What the packet is when there is no network header: the innermost link header, and the encapsulations around it.
    let mut link = layer;
    let mut link_depth = 0;
    // The packet has a key: that of the last network header.
    let mut keyed = false;
    let mut depth = 0;
    while depth <= TUNNELS_MAX as u32 {
        let inside = if tunnel::is_shim(layer.ethertype) {
            tunnel::shim(frame, &layer, packet)
        } else {
            let Some(inside) = network(frame, &layer, vlan_in_key, packet) else { break };
            keyed = true;
            packet.tunnels = depth as u8;
            inside
        };
        if inside.kind == 0 {
            break;
        }
        if depth == TUNNELS_MAX as u32 {
            packet.stopped(ParseStop::TunnelsTooDeep);
            break;
        }
        // A link without header has its first packet at 0.
        let network = if tunnel::is_shim(layer.ethertype) { 0 } else { layer.offset as u16 + 1 };
        remember(packet, depth, &inside, network);
        depth += 1;
        layer = inside.layer.blurred(frame);
        if layer.ethertype == tunnel::ETHERTYPE_ETHERNET {
            if !inner_link(frame, &mut layer, packet) {
                break;
            }
            (link, link_depth, keyed) = (layer, depth, false);
        }
        link = link.blurred(frame);
        link_depth = frame.blur(link_depth);
        keyed = frame.blur(keyed.into()) != 0;
    }
    if keyed {
        return Ok(());
    }
    packet.tunnels = link_depth as u8;
    link::as_link_flow(frame, &link, packet)
}

/// Reads the link header of a frame in a frame, whose addresses and tags are the packet's from then on; false when it is not whole.
#[inline(always)]
fn inner_link<F: Frame>(frame: &F, layer: &mut Layer, packet: &mut Packet) -> bool {
    let room = layer.end.saturating_sub(layer.offset);
    let header = if room < link::ETHERNET_OCTETS { None } else { link::ethernet(frame, layer.offset, packet) };
    let Some((ethertype, offset)) = header else {
        packet.stopped(ParseStop::TunnelTruncated);
        return false;
    };
    packet.tag_count = 0;
    packet.tags = [0; VLAN_IDS_KEPT];
    (layer.ethertype, layer.offset) = link::tags(frame, None, ethertype, offset, packet);
    true
}

/// Parses a network header and what it carries; `None` when there is none or it is not whole.
#[inline(always)]
fn network<F: Frame>(frame: &F, layer: &Layer, vlan_in_key: bool, packet: &mut Packet) -> Option<Inside> {
    let scope = if vlan_in_key && packet.tag_count > 0 { packet.tags[0] & 0x0fff } else { 0 };
    let carried = match layer.ethertype {
        network::ETHERTYPE_IPV4 => network::ipv4(frame, layer, scope, packet)?,
        network::ETHERTYPE_IPV6 => network::ipv6(frame, layer, scope, packet)?,
        _ => return None,
    };
    if carried as u8 == Carried::Payload as u8 {
        return Some(Inside::NOTHING);
    }
    let inside = tunnel::open(frame, carried, packet);
    if inside.kind != 0 && packet.fragments != 0 {
        packet.stopped(ParseStop::TunnelFragmented);
        return Some(Inside::NOTHING);
    }
    Some(inside)
}

/// Notes an encapsulation. Not indexed by `depth`: the verifier would walk on once for every value it can have.
#[inline(always)]
fn remember(packet: &mut Packet, depth: u32, inside: &Inside, network: u16) {
    let has_id = u8::from(inside.has_id);
    if depth == 0 {
        packet.tunnel_kinds = inside.kind;
        packet.tunnel_has_id = has_id;
        packet.tunnel_network[0] = network;
        packet.tunnel_id[0] = inside.id;
    } else {
        packet.tunnel_kinds |= inside.kind << 4;
        packet.tunnel_has_id |= has_id << 1;
        packet.tunnel_network[1] = network;
        packet.tunnel_id[1] = inside.id;
    }
}

/// Zeroes what not every frame sets. Volatile, because a `memset` is a call in BPF.
#[inline(always)]
fn clear(packet: &mut Packet) {
    const FIRST: usize = offset_of!(Packet, sequence) / 8;
    const { assert!(offset_of!(Packet, sequence) % 8 == 0 && offset_of!(Packet, wire_addresses) == 8 * (FIRST + 4)) };
    let words = core::ptr::from_mut(packet).cast::<u64>();
    let mut i = FIRST;
    while i < FIRST + 4 {
        // SAFETY: the packet is 8-aligned and borrowed mutably, and all-zero is a value of every field.
        unsafe { words.add(i).write_volatile(0) };
        i += 1;
    }
}
