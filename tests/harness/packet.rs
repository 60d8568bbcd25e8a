//! An Ethernet frame → where its headers stand. Independent of the engine's parser, for tests that choose, change or count frames.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Protocol numbers.
pub const TCP: u8 = 6;
/// See [`TCP`].
pub const UDP: u8 = 17;
/// TCP control bits.
pub const FIN: u8 = 1;
/// See [`FIN`].
pub const SYN: u8 = 2;
/// See [`FIN`].
pub const RST: u8 = 4;
/// See [`FIN`].
pub const ACK: u8 = 16;

/// Ethertypes of VLAN tags.
const TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// The headers of an unfragmented IP packet, or of the first fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Outermost VLAN identifier.
    pub vlan: Option<u16>,
    /// VLAN tags.
    pub tags: usize,
    /// Offset of the IP header.
    pub ip: usize,
    /// It is IPv6.
    pub is_v6: bool,
    /// Offset behind the IP packet by its header: padding follows, or the capture has less.
    pub end: usize,
    /// Transport protocol.
    pub protocol: u8,
    /// Offset of the transport header.
    pub transport: usize,
    /// Source and target.
    pub ends: [(IpAddr, u16); 2],
    /// Control bits, when it is TCP.
    pub control_bits: u8,
    /// Offset of the transport payload.
    pub payload: usize,
}

/// Whether a VLAN tag stands at an offset.
pub fn is_tag(frame: &[u8], at: usize) -> bool {
    frame.get(at..at + 4).is_some_and(|tag| TAGS.contains(&u16::from_be_bytes([tag[0], tag[1]])))
}

/// Whether the frame has a VLAN tag.
pub fn is_tagged(frame: &[u8]) -> bool {
    is_tag(frame, 12)
}

/// Offset of the IP header, and whether it is IPv6; `None` without one.
pub fn network(frame: &[u8]) -> Option<(usize, bool)> {
    let mut at = 12;
    while is_tag(frame, at) {
        at += 4;
    }
    let version = *frame.get(at + 2)? >> 4;
    match (u16::from_be_bytes([frame[at], frame[at + 1]]), version) {
        (IPV4, 4) if frame.len() >= at + 22 => Some((at + 2, false)),
        (IPV6, 6) if frame.len() >= at + 42 => Some((at + 2, true)),
        _ => None,
    }
}

/// Whether the frame is, or may be, an encapsulation: what copies have in common is then behind it.
pub fn is_tunnel(frame: &[u8]) -> bool {
    const PORTS: [u16; 4] = [3544, 4789, 6081, 8472];
    const PROTOCOLS: [u8; 3] = [4, 41, 47];
    const ETHERTYPES: [u16; 3] = [0x8847, 0x8848, 0x8864];
    let Some((ip, is_v6)) = network(frame) else {
        let mut at = 12;
        while is_tag(frame, at) {
            at += 4;
        }
        return frame.get(at..at + 2).is_some_and(|kind| ETHERTYPES.contains(&u16::from_be_bytes([kind[0], kind[1]])));
    };
    let ports = headers(frame).filter(|found| found.protocol == UDP).map(|found| found.ends.map(|(_, port)| port));
    let protocol = frame[if is_v6 { ip + 6 } else { ip + 9 }];
    PROTOCOLS.contains(&protocol) || ports.is_some_and(|ports| ports.iter().any(|port| PORTS.contains(port)))
}

/// The headers of TCP and UDP packets without IPv6 extension headers; `None` for all else.
pub fn headers(frame: &[u8]) -> Option<Headers> {
    let word = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    let (mut at, mut vlan, mut tags) = (12, None, 0);
    while TAGS.contains(&word(at)?) {
        vlan = vlan.or(Some(word(at + 2)? & 0x0fff));
        (at, tags) = (at + 4, tags + 1);
    }
    let (ip, is_v6) = (at + 2, word(at)? == IPV6);
    let (addresses, protocol, transport, length) = if is_v6 {
        let address = |at: usize| Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(frame.get(at..at + 16)?).ok()?)));
        ([address(ip + 8)?, address(ip + 24)?], *frame.get(ip + 6)?, ip + 40, 40 + usize::from(word(ip + 4)?))
    } else if word(at)? == IPV4 && word(ip + 6)? & 0x1fff == 0 {
        let address = |at: usize| Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(frame.get(at..at + 4)?).ok()?)));
        let header = usize::from(*frame.get(ip)? & 15) * 4;
        ([address(ip + 12)?, address(ip + 16)?], *frame.get(ip + 9)?, ip + header, usize::from(word(ip + 2)?))
    } else {
        return None;
    };
    let (control_bits, payload) = match protocol {
        TCP => (*frame.get(transport + 13)?, transport + usize::from(*frame.get(transport + 12)? >> 4) * 4),
        UDP => (0, transport + 8),
        _ => return None,
    };
    let end = ip + length;
    let ends = [(addresses[0], word(transport)?), (addresses[1], word(transport + 2)?)];
    Some(Headers { vlan, tags, ip, is_v6, end, protocol, transport, ends, control_bits, payload })
}

impl Headers {
    /// Both ends, the lower first, and whether the packet goes from the lower to the higher.
    pub fn pair(&self) -> ([(IpAddr, u16); 2], bool) {
        let [source, target] = self.ends;
        if source <= target { ([source, target], true) } else { ([target, source], false) }
    }

    /// The segment acknowledges what its sender was sent; an RST may be sent by those that answer for others.
    pub const fn acknowledges(&self) -> bool {
        self.protocol == TCP && self.control_bits & ACK != 0 && self.control_bits & RST == 0
    }
}

/// Puts a VLAN tag in front of all others.
pub fn push_tag(frame: &mut Vec<u8>, vlan: u16) {
    let [high, low] = vlan.to_be_bytes();
    frame.splice(12..12, [0x81, 0, high, low]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_behind_a_tag() {
        let mut frame = vec![2; 12];
        frame.extend([8, 0, 0x45, 0, 0, 41, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0, 104, 0xc0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 0, 9, 0, 0, 0, 0, 7, 0, 0]);
        push_tag(&mut frame, 20);
        let found = headers(&frame).expect("TCP");
        assert_eq!((found.vlan, found.tags, found.ip, found.transport, found.payload, found.end), (Some(20), 1, 18, 38, 58, 59));
        assert_eq!(
            found.ends,
            [("10.0.0.1".parse().expect("an address"), 104), ("10.0.0.2".parse().expect("an address"), 49152)]
        );
        assert!(found.acknowledges() && found.pair().1);
        assert_eq!(headers(&frame[..50]), None);
        assert_eq!(headers(&frame[..56]), Some(found), "its payload is not needed");
    }
}
