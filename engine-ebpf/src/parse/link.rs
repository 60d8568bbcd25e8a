//! Link layer: Ethernet II and 802.3 headers, VLAN tags (IEEE 802.1Q, 802.1ad), and flows of frames that are not IP.

use super::{LINK_SOURCE, LINK_TARGET, Layer, Packet, field::be16};
use crate::{
    discard::{Discard, ParseStop},
    frame::Frame,
    limit::VLAN_TAGS_MAX,
    record::FORM_ETHERNET,
};

/// Octets of an Ethernet header without tags.
pub const ETHERNET_OCTETS: u32 = 14;
/// Below this the type field is an 802.3 length (IEEE 802.3 §3.2.6).
const ETHERTYPE_MIN: u16 = 0x0600;

#[inline(always)]
const fn is_vlan(ethertype: u16) -> bool {
    matches!(ethertype, 0x8100 | 0x88a8 | 0x9100)
}

/// Reads the Ethernet header at `at`: the type field and the offset of what follows. `None` when it is not whole.
#[inline(always)]
pub fn ethernet<F: Frame>(frame: &F, at: u32, packet: &mut Packet) -> Option<(u16, u32)> {
    let header = frame.read::<14>(at)?;
    packet.link = LINK_TARGET | LINK_SOURCE;
    packet.source_mac = at as u16 + 6;
    Some((be16::<12, _>(&header), at + ETHERNET_OCTETS))
}

/// Reads VLAN tags from `ethertype` at `offset` on, behind one that the NIC may have taken out: the ethertype and offset of what
/// follows them. The packet has no tags yet.
#[inline(always)]
pub fn tags<F: Frame>(frame: &F, offloaded: Option<u16>, mut ethertype: u16, mut offset: u32, packet: &mut Packet) -> (u16, u32) {
    let mut count = 0;
    if let Some(tag) = offloaded {
        packet.tags[0] = tag;
        packet.tag_count = 1;
        count = 1;
    }
    if is_vlan(ethertype) {
        for _ in 0..VLAN_TAGS_MAX {
            if !is_vlan(ethertype) || count >= VLAN_TAGS_MAX {
                break;
            }
            let Some(tag) = frame.read::<4>(offset) else {
                packet.stopped(ParseStop::VlanTruncated);
                break;
            };
            // Not indexed by `count`: the verifier would walk on once for every value it can have.
            let control = be16::<0, _>(&tag);
            if count == 0 {
                packet.tags[0] = control;
            } else if count == 1 {
                packet.tags[1] = control;
            }
            count += 1;
            ethertype = be16::<2, _>(&tag);
            offset += 4;
        }
        if is_vlan(ethertype) && packet.stop == 0 {
            packet.stopped(ParseStop::VlanTagsTooMany);
        }
        packet.tag_count = count as u8;
    }
    (ethertype, frame.blur(offset))
}

/// Makes the frame a flow of MACs and ethertype: it is not IP, or its network header is not whole.
#[inline(always)]
pub fn as_link_flow<F: Frame>(frame: &F, layer: &Layer, packet: &mut Packet) -> Result<(), Discard> {
    let Layer { ethertype, offset, end } = *layer;
    if packet.link & LINK_SOURCE == 0 {
        return Err(if packet.stop == 0 { Discard::NotIp } else { Discard::FrameTooShort });
    }
    let at = u32::from(packet.source_mac);
    let source = mac(frame, at).ok_or(Discard::FrameTooShort)?;
    let target = if packet.link & LINK_TARGET == 0 { 0 } else { mac(frame, at - 6).ok_or(Discard::FrameTooShort)? };
    let (mut scope, mut ports) = (ethertype, 0);
    let mut header = offset;
    if ethertype < ETHERTYPE_MIN && packet.stop == 0 {
        scope = 0;
        if let Some(llc) = frame.read::<8>(offset) {
            ports = u64::from(be16::<0, _>(&llc));
            header = offset + 3;
            if ports == 0xaaaa {
                ports |= u64::from(be16::<6, _>(&llc)) << 16;
                header = offset + 8;
            }
        }
    }
    let back = source > target;
    let (low, high) = if back { (target, source) } else { (source, target) };
    packet.direction = back as u32;
    packet.protocol = 0;
    packet.ttl = 0;
    packet.class = 0;
    packet.identification = 0;
    packet.form = FORM_ETHERNET;
    packet.key = [low, 0, high, 0, ports | u64::from(FORM_ETHERNET) << 40 | u64::from(scope) << 48];
    packet.octets = end.saturating_sub(offset);
    packet.payload_offset = header;
    packet.payload_octets = end.saturating_sub(header);
    Ok(())
}

#[inline(always)]
fn mac<F: Frame>(frame: &F, offset: u32) -> Option<u64> {
    let octets = frame.read::<6>(offset)?;
    Some(u64::from_le_bytes([octets[0], octets[1], octets[2], octets[3], octets[4], octets[5], 0, 0]))
}
