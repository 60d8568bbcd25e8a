//! Cisco Discovery Protocol: what a neighbour says of itself. The sampler leaves out LLC and SNAP, whose service access points
//! and protocol identifier are the ports of the key.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Packet, Say, Who, reader::Reader};
use crate::observation::Field;

const SNAP: u16 = 0xaaaa;
const PROTOCOL: u16 = 0x2000;
const DEVICE_ID: u16 = 1;
const ADDRESSES: u16 = 2;
const PORT_ID: u16 = 3;
const CAPABILITIES: u16 = 4;
const SOFTWARE: u16 = 5;
const PLATFORM: u16 = 6;
const MANAGEMENT_ADDRESSES: u16 = 0x16;
/// Elements of a frame that are looked at.
const ELEMENTS_MAX: usize = 64;
/// Addresses of a list that are looked at.
const ADDRESSES_MAX: u32 = 16;
const NAMED_CAPABILITIES: [(u32, &str); 9] = [
    (0x001, "router"),
    (0x002, "bridge"),
    (0x004, "source_route_bridge"),
    (0x008, "switch"),
    (0x010, "host"),
    (0x020, "igmp"),
    (0x040, "repeater"),
    (0x080, "phone"),
    (0x100, "remotely_managed"),
];
/// Protocol of an address: NLPID of IPv4, and SNAP with the ethertype of IPv6 in 802.2 form.
const IPV4: (u8, &[u8]) = (1, &[0xcc]);
const IPV6: (u8, &[u8]) = (2, &[0xaa, 0xaa, 0x03, 0, 0, 0, 0x86, 0xdd]);

/// Reads a frame, from behind SNAP.
pub fn read(packet: &Packet<'_>, say: &mut Say<'_>) -> bool {
    if packet.ethertype != 0 || (packet.source_port, packet.target_port) != (SNAP, PROTOCOL) {
        return false;
    }
    let mut reader = Reader::new(packet.payload);
    // Version, time to live, checksum.
    let (Some(1 | 2), Some(())) = (reader.u8(), reader.skip(3)) else { return false };
    let Some(first) = element(&mut reader) else { return false };
    let mut next = Some(first);
    for _ in 0..ELEMENTS_MAX {
        let Some((kind, value)) = next else { break };
        // An element that is not as it should be says nothing; the others still do.
        let _ = take(kind, value, say);
        next = element(&mut reader);
    }
    true
}

/// The next element: type and value. Its length counts the four octets before the value, too.
fn element<'a>(reader: &mut Reader<'a>) -> Option<(u16, &'a [u8])> {
    let (kind, octets) = (reader.u16()?, usize::from(reader.u16()?));
    Some((kind, reader.take(octets.checked_sub(4)?)?))
}

fn take(kind: u16, value: &[u8], say: &mut Say<'_>) -> Option<()> {
    match kind {
        DEVICE_ID => {
            say.text(Who::Sender, Field::CdpDeviceId, value);
        }
        PORT_ID => {
            say.text(Who::Sender, Field::CdpPort, value);
        }
        PLATFORM => {
            say.text(Who::Sender, Field::CdpPlatform, value);
        }
        SOFTWARE => {
            say.label(Who::Sender, Field::CdpSoftware, value);
        }
        CAPABILITIES => {
            let bits = Reader::new(value).u32()?;
            for (bit, word) in NAMED_CAPABILITIES {
                if bits & bit != 0 {
                    say.word(Who::Sender, Field::CdpCapability, word);
                }
            }
        }
        ADDRESSES | MANAGEMENT_ADDRESSES => {
            let mut reader = Reader::new(value);
            for _ in 0..reader.u32()?.min(ADDRESSES_MAX) {
                if let Some(ip) = address(&mut reader)? {
                    say.address(Who::Sender, Field::CdpAddress, ip);
                }
            }
        }
        _ => {}
    }
    Some(())
}

/// The next address of a list; inside `None`: it is of another protocol.
fn address(reader: &mut Reader<'_>) -> Option<Option<IpAddr>> {
    let (kind, octets) = (reader.u8()?, usize::from(reader.u8()?));
    let protocol = reader.take(octets)?;
    let octets = usize::from(reader.u16()?);
    let address = reader.take(octets)?;
    Some(match (kind, protocol) {
        IPV4 => <[u8; 4]>::try_from(address).ok().map(|octets| Ipv4Addr::from(octets).into()),
        IPV6 => <[u8; 16]>::try_from(address).ok().map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::trial::Trial;

    const FRAME: Trial = Trial { ips: None, ports: [SNAP, PROTOCOL], ethertype: 0 };

    fn cdp(elements: &[(u16, &[u8])]) -> Vec<u8> {
        let mut octets = vec![2, 180, 0, 0];
        for (kind, value) in elements {
            octets.extend(kind.to_be_bytes());
            octets.extend((value.len() as u16 + 4).to_be_bytes());
            octets.extend(*value);
        }
        octets
    }

    #[test]
    fn a_switch_says_what_it_is() {
        let octets = cdp(&[
            (DEVICE_ID, b"switch-1.example"),
            (ADDRESSES, &[0, 0, 0, 1, 1, 1, 0xcc, 0, 4, 10, 0, 0, 1]),
            (PORT_ID, b"FastEthernet0/1"),
            (CAPABILITIES, &[0, 0, 0, 0x28]),
            (SOFTWARE, b"Software, Version 12.1\nCopyright"),
            (PLATFORM, b"cisco WS-C2950-12"),
            (9, b"group"),
        ]);
        let expect = [
            "device_id switch-1.example",
            "address 10.0.0.1",
            "port FastEthernet0/1",
            "capability switch",
            "capability igmp",
            "software Software, Version 12.1",
            "platform cisco WS-C2950-12",
        ]
        .map(|line| format!("02:00:00:00:00:01 - cdp.{line}"));
        FRAME.says(read, &octets, &expect.each_ref().map(String::as_str));
    }

    #[test]
    fn addresses_of_both_families_are_read_and_others_passed_by() {
        let mut list = vec![0, 0, 0, 3, 1, 1, 0x81, 0, 2, 1, 2, 2, 8];
        list.extend(IPV6.1);
        list.extend([0, 16]);
        list.extend(Ipv6Addr::LOCALHOST.octets());
        list.extend([1, 1, 0xcc, 0, 4, 10, 0, 0, 9]);
        let expect = ["02:00:00:00:00:01 - cdp.address ::1", "02:00:00:00:00:01 - cdp.address 10.0.0.9"];
        FRAME.says(read, &cdp(&[(MANAGEMENT_ADDRESSES, &list)]), &expect);
    }

    #[test]
    fn other_frames_are_refused() {
        FRAME.refuses(read, &[9, 180, 0, 0, 0, 1, 0, 5, b'a']);
        FRAME.refuses(read, &[2, 180, 0, 0, 0, 1, 0, 3]);
        Trial { ports: [SNAP, 0x2004], ..FRAME }.refuses(read, &cdp(&[(DEVICE_ID, b"a")]));
    }
}
