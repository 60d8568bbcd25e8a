//! One more segment of the conversation that was parsed last: key, direction and hash stand, only what changes is read.
//!
//! Packets come in trains, and most trains are TCP over IPv4 without tags and options, so that is what is looked for. The result
//! is what a whole parse would give.

use super::{
    LINK_SOURCE, LINK_TARGET, Packet,
    field::{be16, be32, le32, le64},
    network::Inner,
    transport::TCP,
};
use crate::{frame::Frame, record::FORM_IPV4};

/// Ethernet, IPv4 and TCP headers, the first two without tags and options.
const HEADERS: usize = 14 + 20 + 20;
const TCP_OFFSET: u16 = 34;
/// Ethertype, IP version and header length.
const IPV4_PLAIN: u32 = 0x0800_4500;

/// Notes what the next frame is compared with, when the packet is of the kind.
#[inline(always)]
pub fn remember(packet: &mut Packet, inner: &Inner, ports: u32) {
    let plain = packet.form == FORM_IPV4 && packet.stop | packet.fragments | packet.tag_count == 0;
    packet.wire_addresses = inner.source[0] | inner.target[0] << 32;
    packet.wire_ports = ports;
    packet.repeatable = (plain && packet.transport_offset == TCP_OFFSET && packet.link == LINK_TARGET | LINK_SOURCE) as u8;
}

/// Parses the frame as one more of the packet's conversation and direction; false, with the packet as it was, when it is not.
#[inline(always)]
pub fn again<F: Frame>(frame: &F, packet: &mut Packet) -> bool {
    if packet.repeatable == 0 || frame.offloaded_tag().is_some() {
        return false;
    }
    let Some(header) = frame.read_near::<HEADERS>(0) else { return false };
    if le64::<26, _>(&header) != packet.wire_addresses || le32::<34, _>(&header) != packet.wire_ports {
        return false;
    }
    if be32::<12, _>(&header) & 0xffff_ff00 != IPV4_PLAIN || be16::<20, _>(&header) & 0x3fff != 0 || header[23] != TCP {
        return false;
    }
    let header_octets = u32::from(header[46] >> 4) * 4;
    let total = u32::from(be16::<16, _>(&header));
    let wire = frame.wire_octets();
    if header_octets < 20 || total < 20 + header_octets || total > wire - 14 {
        return false;
    }
    packet.layer2_octets = wire;
    packet.octets = total;
    packet.payload_octets = total - 20 - header_octets;
    packet.payload_offset = u32::from(TCP_OFFSET) + header_octets;
    packet.sequence = be32::<38, _>(&header);
    packet.identification = be16::<18, _>(&header).into();
    packet.window = be16::<48, _>(&header);
    packet.control_bits = header[47];
    packet.ttl = header[22];
    packet.class = header[15];
    true
}
