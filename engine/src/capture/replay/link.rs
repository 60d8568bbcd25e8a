//! Where a frame's headers start: LINKTYPE numbers into an Ethernet frame or a network packet.
//!
//! Links of which nothing keyable is known are discarded with [`Discard::LinkType`]: IEEE 802.11 in all its wrappings, PPP,
//! Frame Relay and the like.

use auscult_ebpf::{discard::Discard, parse::Start};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Values below are lengths or Linux's private protocol numbers, not Ethertypes (IEEE 802.3 §3.2.6).
const ETHERTYPE_MIN: u16 = 0x0600;
/// Linux's protocol number of a frame that goes on with an LLC header (`ETH_P_802_2`).
const PROTOCOL_LLC: u16 = 4;
/// LLC header of SNAP with the Ethernet organisation code: an Ethertype follows.
const SNAP_ETHERNET: [u8; 6] = [0xaa, 0xaa, 0x03, 0, 0, 0];

/// Where the headers of a frame on that link start.
#[inline]
pub fn start(link_type: u32, octets: &[u8]) -> Result<Start, Discard> {
    match link_type {
        1 => Ok(Start::Ethernet),
        // BSD loopback: the address family in the writer's byte order, or (LOOP) in network order.
        0 | 108 => loopback(octets),
        // Raw IP under its LINKTYPE number and under the DLT numbers that some systems write instead.
        12 | 14 | 101 => raw(octets),
        228 => Ok(network(ETHERTYPE_IPV4, 0)),
        229 => Ok(network(ETHERTYPE_IPV6, 0)),
        113 => cooked(octets),
        276 => cooked_v2(octets),
        _ => Err(Discard::LinkType),
    }
}

fn network(ethertype: u16, offset: u32) -> Start {
    Start::Network { ethertype, offset, source_mac: None }
}

fn raw(octets: &[u8]) -> Result<Start, Discard> {
    match octets.first().ok_or(Discard::FrameTooShort)? >> 4 {
        4 => Ok(network(ETHERTYPE_IPV4, 0)),
        6 => Ok(network(ETHERTYPE_IPV6, 0)),
        _ => Err(Discard::NotIp),
    }
}

fn loopback(octets: &[u8]) -> Result<Start, Discard> {
    let field = *octets.first_chunk::<4>().ok_or(Discard::FrameTooShort)?;
    // Families are small: of the two byte orders the smaller number is meant.
    match u32::from_le_bytes(field).min(u32::from_be_bytes(field)) {
        2 => Ok(network(ETHERTYPE_IPV4, 4)),
        // AF_INET6 of Linux, of NetBSD and OpenBSD, of FreeBSD, and of macOS.
        10 | 24 | 28 | 30 => Ok(network(ETHERTYPE_IPV6, 4)),
        // Old libpcap on Linux has zeros and an Ethertype here; others put Cisco HDLC here, which ends in an Ethertype too.
        _ => match u16::from_be_bytes([field[2], field[3]]) {
            ethertype @ ETHERTYPE_MIN.. => Ok(network(ethertype, 4)),
            _ => Err(Discard::NotIp),
        },
    }
}

/// Linux cooked: packet type, ARPHRD type, address length, address (8), protocol.
fn cooked(octets: &[u8]) -> Result<Start, Discard> {
    let header = octets.first_chunk::<16>().ok_or(Discard::FrameTooShort)?;
    let [_, _, h0, h1, l0, l1, .., p0, p1] = *header;
    let (hardware, length, protocol) = (u16::from_be_bytes([h0, h1]), u16::from_be_bytes([l0, l1]), u16::from_be_bytes([p0, p1]));
    named(octets, 16, hardware, protocol, (length == 6).then_some(6))
}

/// Linux cooked version 2: protocol, reserved, interface index, ARPHRD type, packet type, address length, address (8).
fn cooked_v2(octets: &[u8]) -> Result<Start, Discard> {
    let header = octets.first_chunk::<20>().ok_or(Discard::FrameTooShort)?;
    let [p0, p1, _, _, _, _, _, _, h0, h1, _, length, ..] = *header;
    let (hardware, protocol) = (u16::from_be_bytes([h0, h1]), u16::from_be_bytes([p0, p1]));
    named(octets, 20, hardware, protocol, (length == 6).then_some(12))
}

/// A cooked frame by its ARPHRD type and protocol field.
fn named(octets: &[u8], offset: u32, hardware: u16, protocol: u16, source_mac: Option<u8>) -> Result<Start, Discard> {
    // ARPHRD: Frame Relay access device, IEEE 802.11 (plain, Prism, radiotap), netlink. Their protocol field is none.
    if matches!(hardware, 770 | 801..=803 | 824) {
        return Err(Discard::LinkType);
    }
    if protocol == PROTOCOL_LLC
        && let Some([snap @ .., e0, e1]) = octets.get(offset as usize..).and_then(<[u8]>::first_chunk::<8>)
        && *snap == SNAP_ETHERNET
    {
        let ethertype = u16::from_be_bytes([*e0, *e1]);
        return Ok(Start::Network { ethertype, offset: offset + 8, source_mac });
    }
    let ethertype = if protocol < ETHERTYPE_MIN { 0 } else { protocol };
    Ok(Start::Network { ethertype, offset, source_mac })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

    #[track_caller]
    fn check(link_type: u32, octets: &[u8], expect: Result<Start, Discard>) {
        assert_eq!(start(link_type, octets), expect, "link type {link_type}");
    }

    fn sll(hardware: u16, length: u16, protocol: u16, rest: &[u8]) -> Vec<u8> {
        let (h, l, p) = (hardware.to_be_bytes(), length.to_be_bytes(), protocol.to_be_bytes());
        [&[0, 0], &h[..], &l, &MAC, &[0, 0], &p, rest].concat()
    }

    fn sll2(hardware: u16, length: u8, protocol: u16, rest: &[u8]) -> Vec<u8> {
        let (h, p) = (hardware.to_be_bytes(), protocol.to_be_bytes());
        [&p[..], &[0, 0, 0, 0, 0, 3], &h, &[4, length], &MAC, &[0, 0], rest].concat()
    }

    fn at(ethertype: u16, offset: u32, source_mac: Option<u8>) -> Result<Start, Discard> {
        Ok(Start::Network { ethertype, offset, source_mac })
    }

    #[test]
    fn links_with_ethernet_or_ip() {
        check(1, &[], Ok(Start::Ethernet));
        for link_type in [12, 14, 101] {
            check(link_type, &[0x45], at(0x0800, 0, None));
            check(link_type, &[0x60], at(0x86dd, 0, None));
            check(link_type, &[0x00], Err(Discard::NotIp));
            check(link_type, &[], Err(Discard::FrameTooShort));
        }
        check(228, &[0x45], at(0x0800, 0, None));
        check(229, &[0x60], at(0x86dd, 0, None));
        for link_type in [0, 108] {
            check(link_type, &[2, 0, 0, 0], at(0x0800, 4, None));
            check(link_type, &[0, 0, 0, 2], at(0x0800, 4, None));
            for family in [10, 24, 28, 30] {
                check(link_type, &[family, 0, 0, 0], at(0x86dd, 4, None));
                check(link_type, &[0, 0, 0, family], at(0x86dd, 4, None));
            }
            check(link_type, &[0, 0, 8, 0], at(0x0800, 4, None));
            check(link_type, &[0x0f, 0, 0x86, 0xdd], at(0x86dd, 4, None));
            check(link_type, &[0, 0, 0, 7], Err(Discard::NotIp));
            check(link_type, &[2, 0, 0], Err(Discard::FrameTooShort));
        }
        for link_type in [9, 105, 127, 195, u32::MAX] {
            check(link_type, &[0; 64], Err(Discard::LinkType));
        }
    }

    #[test]
    fn cooked_links() {
        check(113, &sll(1, 6, 0x0800, &[]), at(0x0800, 16, Some(6)));
        check(113, &sll(1, 6, 0x8100, &[0, 5, 8, 0]), at(0x8100, 16, Some(6)));
        check(113, &sll(512, 0, 0x86dd, &[]), at(0x86dd, 16, None));
        check(113, &sll(1, 6, 4, &[0xaa, 0xaa, 3, 0, 0, 0, 8, 6]), at(0x0806, 24, Some(6)));
        check(113, &sll(1, 6, 4, &[0x42, 0x42, 3, 0, 0, 0, 0, 0]), at(0, 16, Some(6)));
        check(113, &sll(1, 6, 4, &[0xaa, 0xaa, 3]), at(0, 16, Some(6)));
        check(113, &sll(1, 6, 0x88, &[]), at(0, 16, Some(6)));
        check(113, &sll(824, 0, 0, &[]), Err(Discard::LinkType));
        check(113, &sll(803, 0, 0, &[]), Err(Discard::LinkType));
        check(113, &sll(1, 6, 0x0800, &[])[..15], Err(Discard::FrameTooShort));
        check(276, &sll2(1, 6, 0x0800, &[]), at(0x0800, 20, Some(12)));
        check(276, &sll2(65534, 0, 0x86dd, &[]), at(0x86dd, 20, None));
        check(276, &sll2(1, 6, 4, &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]), at(0x0800, 28, Some(12)));
        check(276, &sll2(824, 0, 0x0800, &[]), Err(Discard::LinkType));
        check(276, &sll2(1, 6, 0x0800, &[])[..19], Err(Discard::FrameTooShort));
    }
}
