//! Philips IntelliVue data export over UDP (Data Export Interface Programming Guide) → what a patient monitor says of itself.
//!
//! Read are the associations of clients, and two events: a monitor's connect indication, and the creation of its medical
//! device system (MDS). Of their attribute lists only model, production specification and bed label are looked into; results,
//! alarms and what is known of the patient come in other messages, which are recognised and passed.

use zeroize::Zeroizing;

use super::{Packet, Say, Who, reader::Reader};
use crate::observation::{Field, Protocol};

/// Connect indications go to the first, all else to and from the second.
const PORTS: [u16; 2] = [24005, 24105];
const PROTOCOL_VERSION: u32 = 0x0000_0100;
const SESSION: u16 = 0xe100;

const INVOKE: u16 = 1;
const RESULT: u16 = 2;
const ERROR: u16 = 3;
const LINKED_RESULT: u16 = 5;
const EVENT_REPORT: u16 = 0;
const CONFIRMED_EVENT_REPORT: u16 = 1;

const MDS: u16 = 33;
const MDS_SINGLE_BED: u16 = 35;
const MDS_CREATED: u16 = 0x0d06;
const CONNECT_INDICATION: u16 = 0x0d17;

const MODEL: u16 = 0x0928;
const PRODUCTION: u16 = 0x092d;
const BED: u16 = 0x091e;
const SERIAL_NUMBER: u16 = 1;
const SOFTWARE_REVISION: u16 = 4;
/// The component that is the product as a whole.
const PRODUCT: u16 = 0x0008;

const CONNECT: u8 = 0x0d;
const ACCEPTED: u8 = 0x0e;
/// What follows the length of either (fixed session data).
const SESSION_DATA: [u8; 14] = [0x05, 0x08, 0x13, 0x01, 0x00, 0x16, 0x01, 0x02, 0x80, 0x00, 0x14, 0x02, 0x00, 0x02];

/// Attributes of a list, and entries of a specification.
const ENTRIES_MAX: u16 = 128;
/// Octets of a bed label, in UTF-16.
const LABEL_MAX: usize = 64;

/// Reads a datagram.
pub fn read(packet: &Packet<'_>, say: &mut Say<'_>) -> bool {
    packet.is_on(&PORTS)
        && (read_association(packet, say) || read_indication(packet.payload, say) || read_data(packet.payload, say).is_some())
}

/// An association request, or its acceptance by a monitor.
fn read_association(packet: &Packet<'_>, say: &mut Say<'_>) -> bool {
    let mut reader = Reader::new(packet.payload);
    let Some(kind @ (CONNECT | ACCEPTED)) = reader.u8() else { return false };
    // Lengths from 255 on have two octets more.
    let length = match reader.u8() {
        Some(0xff) => reader.u16(),
        length => length.map(u16::from),
    };
    let is_whole = length.is_some_and(|length| usize::from(length) == reader.len() || !packet.whole);
    if !is_whole || reader.array() != Some(SESSION_DATA) {
        return false;
    }
    if kind == ACCEPTED {
        say.serves(say.sender(), Protocol::Intellivue);
    }
    true
}

/// A monitor tells that it is there.
fn read_indication(payload: &[u8], say: &mut Say<'_>) -> bool {
    let mut reader = Reader::new(payload);
    if reader.u32() != Some(PROTOCOL_VERSION) {
        return false;
    }
    match event(&mut reader) {
        Some((MDS_SINGLE_BED | MDS, CONNECT_INDICATION)) => read_attributes(&mut reader, say).is_some(),
        _ => false,
    }
}

/// A message within an association.
fn read_data(payload: &[u8], say: &mut Say<'_>) -> Option<()> {
    let mut reader = Reader::new(payload);
    if reader.u16()? != SESSION {
        return None;
    }
    reader.skip(2)?;
    let mut operation = reader;
    let (kind, length) = (operation.u16()?, operation.u16()?);
    if !matches!(kind, INVOKE | RESULT | ERROR | LINKED_RESULT) || usize::from(length) < operation.len() {
        return None;
    }
    if let Some((MDS, MDS_CREATED)) = event(&mut reader) {
        // Class, context, handle of the object.
        reader.skip(6)?;
        read_attributes(&mut reader, say)?;
    }
    Some(())
}

/// An event report: class of the object that sends it, and the event's type.
fn event(reader: &mut Reader<'_>) -> Option<(u16, u16)> {
    let (operation, length) = (reader.u16()?, reader.u16()?);
    if operation != INVOKE || usize::from(length) < reader.len() {
        return None;
    }
    reader.skip(2)?;
    let (command, length) = (reader.u16()?, reader.u16()?);
    if !matches!(command, EVENT_REPORT | CONFIRMED_EVENT_REPORT) || usize::from(length) < reader.len() {
        return None;
    }
    let class = reader.u16()?;
    // Context and handle, time.
    reader.skip(8)?;
    let kind = reader.u16()?;
    let length = reader.u16()?;
    (usize::from(length) >= reader.len()).then_some((class, kind))
}

/// An attribute list: count, octets, then identifier, length and value of each.
fn read_attributes(reader: &mut Reader<'_>, say: &mut Say<'_>) -> Option<()> {
    let (count, octets) = (reader.u16()?, reader.u16()?);
    if count > ENTRIES_MAX || usize::from(octets) < reader.len() {
        return None;
    }
    for _ in 0..count {
        let (attribute, length) = (reader.u16()?, reader.u16()?);
        let Some(mut value) = reader.part(length.into()) else { break };
        match attribute {
            MODEL => read_model(&mut value, say),
            PRODUCTION => read_production(&mut value, say),
            BED => read_bed(&mut value, say),
            _ => Some(()),
        };
    }
    Some(())
}

/// Two labels: maker and model number.
fn read_model(reader: &mut Reader<'_>, say: &mut Say<'_>) -> Option<()> {
    let maker = label(reader)?;
    let number = label(reader)?;
    let mut model = Zeroizing::new(Vec::with_capacity(maker.len() + 1 + number.len()));
    model.extend_from_slice(trimmed(maker));
    model.push(b' ');
    model.extend_from_slice(trimmed(number));
    say.text(Who::Sender, Field::IntellivueModel, &model);
    Some(())
}

/// Entries of type, component and label.
fn read_production(reader: &mut Reader<'_>, say: &mut Say<'_>) -> Option<()> {
    let (count, _) = (reader.u16()?, reader.u16()?);
    let mut serial = None;
    let mut software = None;
    for _ in 0..count.min(ENTRIES_MAX) {
        let Some((kind, component)) = reader.u16().zip(reader.u16()) else { break };
        let Some(text) = label(reader) else { break };
        // What is of the product as a whole comes before what is of its parts.
        let place = match kind {
            SERIAL_NUMBER => &mut serial,
            SOFTWARE_REVISION => &mut software,
            _ => continue,
        };
        if place.is_none() || component == PRODUCT {
            *place = Some(text);
        }
    }
    for (field, text) in [(Field::IntellivueSerial, serial), (Field::IntellivueSoftware, software)] {
        if let Some(text) = text {
            say.text(Who::Sender, field, text);
        }
    }
    Some(())
}

/// Octets and UTF-16 text.
fn read_bed(reader: &mut Reader<'_>, say: &mut Say<'_>) -> Option<()> {
    let octets = reader.u16()?;
    let mut text = reader.part(octets.into())?;
    let mut plain = Zeroizing::new(Vec::with_capacity(LABEL_MAX));
    while let Some(unit) = text.u16().filter(|unit| *unit != 0) {
        if plain.len() >= LABEL_MAX {
            return None;
        }
        plain.push(u8::try_from(unit).ok()?);
    }
    say.text(Who::Sender, Field::IntellivueBed, &plain);
    Some(())
}

/// A length and so many octets.
fn label<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let length = reader.u16()?;
    reader.take(length.into())
}

/// Up to the first zero, without blanks.
fn trimmed(label: &[u8]) -> &[u8] {
    label.split(|octet| *octet == 0).next().unwrap_or_default().trim_ascii()
}

/// Tests of whole datagrams.
#[cfg(test)]
#[path = "intellivue_tests.rs"]
mod tests;
