//! BACnet/IP (ASHRAE 135 annex J): who a building controller says it is, in I-Am, I-Have and answers about its device object.
//!
//! Devices behind a router of the other kinds of network have no address of their own here: what they say is about nobody,
//! because the router is not they. Values of points (present-value and the like) are stepped over.

mod tag;

use std::net::{IpAddr, Ipv4Addr};

use super::{Packet, Say, Who, reader::Reader};
use crate::observation::{Field, Protocol};

use tag::Tag;

/// Object type of devices (clause 21).
const DEVICE: u32 = 8;
/// Instance that stands for every device.
const ANY: u32 = 0x3f_ffff;
/// Tags of an answer that are read.
const TAGS_MAX: usize = 512;
/// UDP ports that a network of this kind uses: the low octet varies.
const PORT_HIGH: u8 = 0xba;

/// Reads a datagram.
pub fn read(packet: &Packet<'_>, say: &mut Say<'_>) -> bool {
    link(packet, say).is_some()
}

/// BACnet virtual link control.
fn link(packet: &Packet<'_>, say: &mut Say<'_>) -> Option<()> {
    let mut reader = Reader::new(packet.payload);
    let [0x81, function @ 0..=0x0b] = reader.array()? else { return None };
    let length = usize::from(reader.u16()?);
    if length < 4 || (packet.whole && length != packet.payload.len()) || length < packet.payload.len() {
        return None;
    }
    let mut who = Some(Who::Sender);
    match function {
        // Forwarded-NPDU names whom it comes from.
        0x04 => {
            let from: [u8; 4] = reader.array()?;
            reader.u16()?;
            who = Some(Who::Ip(IpAddr::V4(Ipv4Addr::from(from))));
        }
        0x09..=0x0b => {}
        _ => return Some(()),
    }
    network(&mut reader, &mut who)?.then(|| application(&mut reader, who, say));
    Some(())
}

/// The network layer (clause 6): whether an APDU follows. A source address behind a router replaces `who`.
fn network(reader: &mut Reader<'_>, who: &mut Option<Who>) -> Option<bool> {
    let [1, control] = reader.array()? else { return None };
    if control & 0x20 != 0 {
        reader.u16()?;
        let octets = reader.u8()?;
        reader.skip(octets.into())?;
    }
    if control & 0x08 != 0 {
        reader.u16()?;
        let octets = reader.u8()?;
        *who = match *reader.take(octets.into())? {
            // Of another network of this kind: address and port.
            [a, b, c, d, PORT_HIGH, 0xc0..=0xcf] => Some(Who::Ip(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))),
            _ => None,
        };
    }
    if control & 0x20 != 0 {
        reader.u8()?;
    }
    Some(control & 0x80 == 0)
}

/// The application layer (clause 20.1). Nothing is left to decide when it ends early.
fn application(reader: &mut Reader<'_>, who: Option<Who>, say: &mut Say<'_>) -> Option<()> {
    let kind = reader.u8()?;
    match kind >> 4 {
        1 => {
            let service = reader.u8()?;
            match service {
                0 => i_am(reader, who?, say)?,
                1 => i_have(reader, who?, say)?,
                _ => {}
            }
        }
        2..=7 => {
            // Abort and segment acknowledgement may come of a client: their lowest bit says of whom.
            if kind >> 4 <= 3 || kind >> 4 == 5 || (kind >> 4 != 6 && kind & 1 != 0) {
                say.serves(say.sender(), Protocol::Bacnet);
            }
            if kind >> 4 == 3 {
                answer(kind, reader, who?, say)?;
            }
        }
        _ => {}
    }
    Some(())
}

fn device(value: &[u8]) -> Option<u32> {
    let object = u32::from_be_bytes(value.try_into().ok()?);
    (object >> 22 == DEVICE).then_some(object & ANY)
}

fn instance(number: u32, who: Who, say: &mut Say<'_>) {
    if number != ANY {
        say.number(who, Field::BacnetInstance, number.into());
    }
}

/// I-Am-Request (clause 16.10): device, longest APDU, segmentation, vendor.
fn i_am(reader: &mut Reader<'_>, who: Who, say: &mut Say<'_>) -> Option<()> {
    let number = device(tag::application(reader, tag::OBJECT)?)?;
    tag::application(reader, tag::UNSIGNED)?;
    tag::application(reader, tag::ENUMERATED)?;
    let vendor = tag::unsigned(tag::application(reader, tag::UNSIGNED)?)?;
    say.word(who, Field::Serves, Protocol::Bacnet.name());
    instance(number, who, say);
    say.number(who, Field::BacnetVendorId, vendor.into());
    Some(())
}

/// I-Have-Request (clause 16.9): device, object, the object's name.
fn i_have(reader: &mut Reader<'_>, who: Who, say: &mut Say<'_>) -> Option<()> {
    let number = device(tag::application(reader, tag::OBJECT)?)?;
    let object = device(tag::application(reader, tag::OBJECT)?);
    let name = tag::application(reader, tag::TEXT)?;
    say.word(who, Field::Serves, Protocol::Bacnet.name());
    instance(number, who, say);
    if object == Some(number) {
        text(name, Field::BacnetObjectName, who, say);
    }
    Some(())
}

/// Complex acknowledgements: ReadProperty (clause 15.5) and ReadPropertyMultiple (15.7). Of a segmented one the first segment is
/// read.
fn answer(kind: u8, reader: &mut Reader<'_>, who: Who, say: &mut Say<'_>) -> Option<()> {
    reader.u8()?;
    if kind & 8 != 0 {
        let [0, _] = reader.array()? else { return None };
    }
    match reader.u8()? {
        12 => {
            let number = device(tag::context(reader, 0)?)?;
            let property = tag::unsigned(tag::context(reader, 1)?)?;
            let index = tag::context(reader, 2);
            if index.is_none() && tag::next(reader)? == Tag::Opening(3) {
                instance(number, who, say);
                value(property, tag::next(reader)?, who, say);
            }
        }
        14 => several(reader, who, say)?,
        _ => {}
    }
    Some(())
}

/// Results of several properties of several objects.
fn several(reader: &mut Reader<'_>, who: Who, say: &mut Say<'_>) -> Option<()> {
    let mut tags = 0;
    while let Some(object) = tag::context(reader, 0) {
        let number = device(object);
        if let Some(number) = number {
            instance(number, who, say);
        }
        let mut property = None;
        let mut depth = 0_u32;
        loop {
            tags += 1;
            if tags > TAGS_MAX {
                return None;
            }
            match tag::next(reader)? {
                Tag::Opening(_) => depth += 1,
                Tag::Closing(_) if depth <= 1 => break,
                Tag::Closing(_) => depth -= 1,
                Tag::Context(2, of) if depth == 1 => property = tag::unsigned(of),
                // An element of an array is not the whole.
                Tag::Context(3, _) if depth == 1 => property = None,
                found if depth == 2 => {
                    if let Some(property) = property.take().filter(|_| number.is_some()) {
                        value(property, found, who, say);
                    }
                }
                _ => {}
            }
        }
    }
    Some(())
}

/// A property of the device object (clause 21, BACnetPropertyIdentifier).
fn value(property: u32, found: Tag<'_>, who: Who, say: &mut Say<'_>) {
    let field = match (property, found) {
        (120, Tag::Application(tag::UNSIGNED, octets)) => {
            if let Some(vendor) = tag::unsigned(octets) {
                say.number(who, Field::BacnetVendorId, vendor.into());
            }
            return;
        }
        (77, _) => Field::BacnetObjectName,
        (121, _) => Field::BacnetVendorName,
        (70, _) => Field::BacnetModel,
        (44, _) => Field::BacnetFirmware,
        (12, _) => Field::BacnetSoftware,
        (372, _) => Field::BacnetSerial,
        (58, _) => Field::BacnetLocation,
        (28, _) => Field::BacnetDescription,
        _ => return,
    };
    if let Tag::Application(tag::TEXT, octets) = found {
        text(octets, field, who, say);
    }
}

/// A character string: its character set, then the text.
fn text(octets: &[u8], field: Field, who: Who, say: &mut Say<'_>) {
    let Some((set, text)) = octets.split_first() else { return };
    let say_it = |text: &[u8], say: &mut Say<'_>| match field {
        Field::BacnetSerial => say.text(who, field, text),
        _ => say.label(who, field, text),
    };
    match set {
        // UTF-8 and ISO 8859-1.
        0 | 5 => say_it(text, say),
        // UCS-2: what is beyond ASCII ends it.
        4 => {
            let letters = text.chunks_exact(2).map_while(|pair| if let [0, letter] = pair { Some(*letter) } else { None });
            say_it(&letters.take(field.grammar().octets_max()).collect::<Vec<u8>>(), say)
        }
        _ => false,
    };
}

#[cfg(test)]
mod tests;
