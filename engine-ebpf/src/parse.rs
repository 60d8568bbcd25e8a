//! One frame in, one [`Packet`] out: key, direction, lengths and the few header fields that are metered.
//!
//! The same code runs in the kernel and natively. It never fails on an IP or Ethernet frame: what is too deep, truncated or
//! malformed is metered at the deepest whole layer and [`Packet::stop`] says why. Only a frame without any key is discarded.
//! Checksums are not verified (offload leaves them unfilled on mirrored traffic).
//!
//! For the verifier: offsets go through [`Frame::blur`] after each layer so that program paths merge, headers are read with
//! one bound check each, and loops have constant bounds.

mod again;
mod field;
mod link;
mod network;
mod transport;

use core::mem::offset_of;

use crate::{
    discard::{Discard, ParseStop},
    frame::Frame,
    limit::VLAN_IDS_KEPT,
    record::FlowKey,
};

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

/// `Packet::link` bit: the target MAC is at `target_mac`.
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
    /// TCP sequence number.
    pub sequence: u32,
    /// IP identification of a fragment.
    pub fragment: u32,
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
    /// `LINK_*`: which MACs the frame has. The target's is at offset 0.
    pub link: u8,
    /// Offset of the source MAC.
    pub source_mac: u8,
    /// The next frame may be one more of the conversation, to be compared with `wire_addresses` and `wire_ports`.
    pub repeatable: u8,
    /// `hash` is that of the key.
    pub hashed: u8,
    /// Source and destination port as in the frame.
    pub wire_ports: u32,
    /// Source and destination IPv4 address as in the frame.
    pub wire_addresses: u64,
    /// Keyed hash of the key; set by the meter.
    pub hash: u64,
}

const _: () = assert!(size_of::<Packet>() == 112);

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
    packet.layer2_octets = frame.wire_octets();
    let (ethertype, offset) = match start {
        Start::Ethernet => link::ethernet(frame, packet)?,
        Start::Network { ethertype, offset, source_mac } => {
            packet.link = if source_mac.is_some() { LINK_SOURCE } else { 0 };
            packet.source_mac = source_mac.unwrap_or_default();
            (ethertype, offset)
        }
    };
    let (ethertype, offset) = link::tags(frame, ethertype, offset, packet);
    let scope = if vlan_in_key && packet.tag_count > 0 { packet.tags[0] & 0x0fff } else { 0 };
    let parsed = match ethertype {
        network::ETHERTYPE_IPV4 => network::ipv4(frame, offset, scope, packet),
        network::ETHERTYPE_IPV6 => network::ipv6(frame, offset, scope, packet),
        _ => false,
    };
    if parsed { Ok(()) } else { link::as_link_flow(frame, ethertype, offset, packet) }
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
