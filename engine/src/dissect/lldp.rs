//! LLDP (IEEE 802.1AB §8) and LLDP-MED (ANSI/TIA-1057 §10.2): what a neighbour says of itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Packet, Say, Who, reader::Reader};
use crate::{flow::Mac, observation::Field};

const ETHERTYPE: u16 = 0x88cc;
const END: u8 = 0;
const CHASSIS: u8 = 1;
const PORT: u8 = 2;
const PORT_DESCRIPTION: u8 = 4;
const SYSTEM_NAME: u8 = 5;
const SYSTEM_DESCRIPTION: u8 = 6;
const CAPABILITIES: u8 = 7;
const MANAGEMENT_ADDRESS: u8 = 8;
const ORGANISATION: u8 = 127;
/// Organisation of LLDP-MED.
const TIA: [u8; 3] = [0x00, 0x12, 0xbb];
/// A frame has room for no more that say something.
const ELEMENTS_MAX: usize = 256;
/// Bits of the enabled capabilities (§8.5.8.1).
const NAMED_CAPABILITIES: [(u16, &str); 7] = [
    (1 << 1, "repeater"),
    (1 << 2, "bridge"),
    (1 << 3, "access_point"),
    (1 << 4, "router"),
    (1 << 5, "telephone"),
    (1 << 6, "docsis"),
    (1 << 7, "station"),
];

/// Reads a frame.
pub fn read(packet: &Packet<'_>, say: &mut Say<'_>) -> bool {
    if packet.ethertype != ETHERTYPE {
        return false;
    }
    let mut reader = Reader::new(packet.payload);
    // The first element must be the chassis, the second the port (§8.2).
    let Some((CHASSIS, chassis)) = element(&mut reader) else { return false };
    let Some((PORT, port)) = element(&mut reader) else { return false };
    identifier(chassis, Field::LldpChassis, CHASSIS, say);
    identifier(port, Field::LldpPort, PORT, say);
    for _ in 0..ELEMENTS_MAX {
        match element(&mut reader) {
            None | Some((END, _)) => break,
            Some((kind, value)) => {
                // An element that is not as it should be says nothing; the others still do.
                let _ = take(kind, value, say);
            }
        }
    }
    true
}

/// The next element: type and value.
fn element<'a>(reader: &mut Reader<'a>) -> Option<(u8, &'a [u8])> {
    let head = reader.u16()?;
    Some(((head >> 9) as u8, reader.take(usize::from(head & 0x1ff))?))
}

fn take(kind: u8, value: &[u8], say: &mut Say<'_>) -> Option<()> {
    let mut reader = Reader::new(value);
    match kind {
        PORT_DESCRIPTION => {
            say.label(Who::Sender, Field::LldpPort, value);
        }
        SYSTEM_NAME => {
            say.text(Who::Sender, Field::LldpSystemName, value);
        }
        SYSTEM_DESCRIPTION => {
            say.label(Who::Sender, Field::LldpSystemDescription, value);
        }
        CAPABILITIES => {
            let (_system, enabled) = (reader.u16()?, reader.u16()?);
            for (bit, word) in NAMED_CAPABILITIES {
                if enabled & bit != 0 {
                    say.word(Who::Sender, Field::LldpCapability, word);
                }
            }
        }
        MANAGEMENT_ADDRESS => {
            let octets = usize::from(reader.u8()?);
            if let Some(ip) = address(reader.take(octets)?) {
                say.address(Who::Sender, Field::LldpAddress, ip);
            }
        }
        ORGANISATION if reader.array()? == TIA => {
            let field = match reader.u8()? {
                5 => Field::LldpHardware,
                6 => Field::LldpFirmware,
                7 => Field::LldpSoftware,
                8 => Field::LldpSerial,
                9 => Field::LldpManufacturer,
                10 => Field::LldpModel,
                11 => Field::LldpAsset,
                _ => return None,
            };
            say.text(Who::Sender, field, reader.rest());
        }
        _ => {}
    }
    Some(())
}

/// Says a chassis or port identifier (§8.5.2, §8.5.3): a subtype, then a MAC, an address or text.
fn identifier(value: &[u8], field: Field, kind: u8, say: &mut Say<'_>) {
    let Some((&subtype, identifier)) = value.split_first() else { return };
    // The subtypes of a port are those of a chassis, less one up to the address.
    let subtype = if kind == PORT && matches!(subtype, 3 | 4) { subtype + 1 } else { subtype };
    match subtype {
        4 => {
            if let Ok(mac) = identifier.try_into() {
                say.text(Who::Sender, field, Mac(mac).to_string().as_bytes());
            }
        }
        5 if address(identifier).is_some() => {
            let text = address(identifier).map(|ip| ip.to_string()).unwrap_or_default();
            say.text(Who::Sender, field, text.as_bytes());
        }
        _ => {
            say.text(Who::Sender, field, identifier);
        }
    }
}

/// An IANA address family number and an address of it.
fn address(octets: &[u8]) -> Option<IpAddr> {
    match *octets {
        [1, a, b, c, d] => Some(Ipv4Addr::new(a, b, c, d).into()),
        [2, ref octets @ ..] => <[u8; 16]>::try_from(octets).ok().map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::trial::Trial;

    const FRAME: Trial = Trial::frame(ETHERTYPE);

    fn lldp(elements: &[(u8, &[u8])]) -> Vec<u8> {
        let head = |kind: u8, value: &[u8]| (u16::from(kind) << 9 | value.len() as u16).to_be_bytes();
        elements.iter().flat_map(|(kind, value)| [&head(*kind, value)[..], *value].concat()).collect()
    }

    #[test]
    fn every_element_of_a_telephone_is_read() {
        let octets = lldp(&[
            (CHASSIS, &[5, 1, 10, 0, 0, 7]),
            (PORT, &[3, 2, 0, 0, 0, 0, 7]),
            (3, &[0, 120]),
            (PORT_DESCRIPTION, b"SW PORT"),
            (SYSTEM_NAME, b"phone-7"),
            (SYSTEM_DESCRIPTION, b"Phone 9, version 1\nbuilt today"),
            (CAPABILITIES, &[0, 0x24, 0, 0x24]),
            (MANAGEMENT_ADDRESS, &[5, 1, 10, 0, 0, 7, 2, 0, 0, 0, 1, 0]),
            (ORGANISATION, b"\0\x12\xbb\x05rev 2"),
            (ORGANISATION, b"\0\x12\xbb\x08S123"),
            (ORGANISATION, b"\0\x12\xbb\x09Maker"),
            (ORGANISATION, b"\0\x12\xbb\x0aModel 9"),
            (ORGANISATION, b"\0\x12\xbb\x02\x01\x40\x65\xae"),
            (ORGANISATION, b"\0\x80\xc2\x01\0\x01"),
            (END, b""),
            (SYSTEM_NAME, b"padding"),
        ]);
        let expect = [
            "chassis 10.0.0.7",
            "port 02:00:00:00:00:07",
            "port SW PORT",
            "system_name phone-7",
            "system_description Phone 9, version 1",
            "capability bridge",
            "capability telephone",
            "address 10.0.0.7",
            "hardware rev 2",
            "serial S123",
            "manufacturer Maker",
            "model Model 9",
        ]
        .map(|line| format!("02:00:00:00:00:01 - lldp.{line}"));
        FRAME.says(read, &octets, &expect.each_ref().map(String::as_str));
    }

    #[test]
    fn a_broken_element_loses_only_itself() {
        let octets = lldp(&[(CHASSIS, &[4, 2, 0]), (PORT, &[5, b'1']), (CAPABILITIES, &[0]), (SYSTEM_NAME, b"a")]);
        FRAME.says(read, &octets, &["02:00:00:00:00:01 - lldp.port 1", "02:00:00:00:00:01 - lldp.system_name a"]);
    }

    #[test]
    fn what_does_not_begin_with_a_chassis_is_refused() {
        FRAME.refuses(read, &lldp(&[(PORT, &[5, b'1']), (CHASSIS, &[7, b'1'])]));
        Trial::frame(0x88cd).refuses(read, &lldp(&[(CHASSIS, &[7, b'1']), (PORT, &[5, b'1'])]));
    }
}
