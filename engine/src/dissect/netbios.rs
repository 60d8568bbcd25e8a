//! NetBIOS over UDP (RFC 1002 §4): names that are registered, defended or answered, what the last octet of a name says, and the
//! source of datagrams.
//!
//! A name with suffix 0x03 may be a person's (the messenger service registers users, too): it is never said.

use std::net::{IpAddr, Ipv4Addr};

use super::{Packet, Say, Who, reader::Reader};
use crate::{
    flow::Mac,
    observation::{Field, Protocol},
};

const TYPE_NB: u16 = 0x20;
const TYPE_NBSTAT: u16 = 0x21;
const CLASS_IN: u16 = 1;
const OPERATION_QUERY: u16 = 0;
const OPERATION_REGISTER: u16 = 5;
const OPERATION_WAIT: u16 = 7;
const OPERATION_REFRESH: [u16; 2] = [8, 9];
const OPERATION_REGISTER_MANY: u16 = 15;
/// Of the flags of a name: it is a group's.
const FLAG_GROUP: u16 = 0x8000;
/// Octets of a name on the wire without its scope: a length and two letters per octet.
const ENCODED: u8 = 32;
/// Entries of an answer that are looked at.
const ENTRIES_MAX: usize = 64;
/// Labels of a scope.
const SCOPE_LABELS_MAX: usize = 32;

/// Kinds of datagrams that carry names (§4.4.1).
const DIRECT_UNIQUE: u8 = 0x10;
const BROADCAST: u8 = 0x12;

/// A name of 15 octets and its suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    text: [u8; 15],
    suffix: u8,
}

/// Reads a datagram. Names have a form of their own, so that no port is needed.
pub fn read(packet: &Packet<'_>, say: &mut Say<'_>) -> bool {
    name_service(packet.payload, say).is_some() || datagram(packet.payload, say).is_some()
}

fn name_service(octets: &[u8], say: &mut Say<'_>) -> Option<()> {
    let mut reader = Reader::new(octets);
    let (_id, flags) = (reader.u16()?, reader.u16()?);
    let counts = [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
    let (is_answer, operation) = (flags & 0x8000 != 0, flags >> 11 & 15);
    let is_known = matches!(operation, OPERATION_QUERY | OPERATION_REGISTER..=OPERATION_WAIT | OPERATION_REGISTER_MANY)
        || OPERATION_REFRESH.contains(&operation);
    if !is_known {
        return None;
    }
    let name = name(&mut reader)?;
    let (kind, class) = (reader.u16()?, reader.u16()?);
    if !matches!(kind, TYPE_NB | TYPE_NBSTAT) || class != CLASS_IN {
        return None;
    }
    if !is_answer {
        // What is registered follows as an additional record, whose name points back (§4.2.2).
        let registers =
            operation == OPERATION_REGISTER || operation == OPERATION_REGISTER_MANY || OPERATION_REFRESH.contains(&operation);
        if registers && counts[0] == 1 && counts[3] == 1 && reader.skip(2 + 2 + 2 + 4 + 2).is_some() {
            claimed(&mut reader, &name, say);
        }
        return Some(());
    }
    let mut data = answer_data(&mut reader, counts)?;
    let is_positive = flags & 15 == 0;
    if operation == OPERATION_QUERY && is_positive {
        say.serves(say.sender(), Protocol::Netbios);
        if kind == TYPE_NBSTAT {
            status(&mut data, say);
        } else {
            for _ in 0..ENTRIES_MAX {
                if claimed(&mut data, &name, say).is_none() {
                    break;
                }
            }
        }
    }
    Some(())
}

/// Time to live, length, data of an answer.
fn answer_data<'a>(reader: &mut Reader<'a>, counts: [u16; 4]) -> Option<Reader<'a>> {
    let [questions, answers, ..] = counts;
    (questions == 0 && answers <= 1).then_some(())?;
    reader.skip(4)?;
    let octets = usize::from(reader.u16()?);
    Some(Reader::new(reader.take_up_to(octets)))
}

/// Flags and an address: the name is that address's.
fn claimed(reader: &mut Reader<'_>, name: &Name, say: &mut Say<'_>) -> Option<()> {
    let (flags, ip) = (reader.u16()?, IpAddr::V4(Ipv4Addr::from(reader.array::<4>()?)));
    let who = if say.ip(say.sender()) == Some(ip) { Who::Sender } else { Who::Ip(ip) };
    say_name(who, name, flags & FLAG_GROUP != 0, say);
    Some(())
}

/// The names of a node status, and the MAC that ends them (§4.2.18).
fn status(reader: &mut Reader<'_>, say: &mut Say<'_>) -> Option<()> {
    let count = usize::from(reader.u8()?);
    let mut names = reader.part((15 + 1 + 2) * count)?;
    let unit = Mac(reader.array()?);
    let who = match say.ip(say.sender()) {
        Some(ip) if unit.0 != [0; 6] && unit.0[0] & 1 == 0 => Who::Both(unit, ip),
        _ => Who::Sender,
    };
    for _ in 0..count {
        let name = Name { text: names.array()?, suffix: names.u8()? };
        say_name(who, &name, names.u16()? & FLAG_GROUP != 0, say);
    }
    Some(())
}

fn datagram(octets: &[u8], say: &mut Say<'_>) -> Option<()> {
    let mut reader = Reader::new(octets);
    let (kind, flags) = (reader.u8()?, reader.u8()?);
    let (_id, ip, _port) = (reader.u16()?, IpAddr::V4(Ipv4Addr::from(reader.array::<4>()?)), reader.u16()?);
    let (length, _offset) = (reader.u16()?, reader.u16()?);
    if !(DIRECT_UNIQUE..=BROADCAST).contains(&kind) || flags & 0xf0 != 0 || usize::from(length) < 2 * usize::from(ENCODED) {
        return None;
    }
    let (source, target) = (name(&mut reader)?, name(&mut reader)?);
    let who = if say.ip(say.sender()) == Some(ip) { Who::Sender } else { Who::Ip(ip) };
    say_name(who, &source, false, say);
    // Elections and announcements go to the group that the sender is in.
    if matches!(target.suffix, 0x1d | 0x1e) {
        say_group(who, &target, say);
    }
    Some(())
}

/// A name in first-level encoding with its scope (RFC 1001 §14.1): two letters per octet.
fn name(reader: &mut Reader<'_>) -> Option<Name> {
    (reader.u8()? == ENCODED).then_some(())?;
    let encoded: [u8; 32] = reader.array()?;
    let mut octets = [0; 16];
    for (octet, letters) in octets.iter_mut().zip(encoded.as_chunks::<2>().0) {
        let [high, low] = letters.map(|letter| letter.wrapping_sub(b'A'));
        *octet = (high < 16 && low < 16).then_some(high << 4 | low)?;
    }
    for _ in 0..SCOPE_LABELS_MAX {
        match reader.u8()? {
            0 => {
                let [text @ .., suffix] = octets;
                return Some(Name { text, suffix });
            }
            octets @ 1..=63 => reader.skip(octets.into())?,
            _ => return None,
        }
    }
    None
}

fn say_name(who: Who, name: &Name, is_group: bool, say: &mut Say<'_>) {
    match (name.suffix, is_group) {
        (0x00 | 0x1e, true) => say_group(who, name, say),
        (0x1c, true) => {
            say_group(who, name, say);
            say.word(who, Field::NetbiosService, "domain_controllers");
        }
        (suffix @ (0x00 | 0x20), false) => {
            let service = if suffix == 0x20 { "file_server" } else { "workstation" };
            let is_said = say.text(who, Field::NetbiosName, &name.text);
            is_said.then(|| say.word(who, Field::NetbiosService, service));
        }
        (0x1b, false) => {
            say_group(who, name, say);
            say.word(who, Field::NetbiosService, "domain_master_browser");
        }
        (0x1d, false) => say_group(who, name, say),
        _ => {}
    }
}

fn say_group(who: Who, name: &Name, say: &mut Say<'_>) {
    say.text(who, Field::NetbiosGroup, &name.text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::trial::Trial;

    const NAMES: Trial = Trial::datagram(40000, 40001);

    fn padded(text: &str, suffix: u8) -> [u8; 16] {
        let mut octets = [b' '; 16];
        octets[..text.len()].copy_from_slice(text.as_bytes());
        octets[15] = suffix;
        octets
    }

    fn encoded(text: &str, suffix: u8) -> Vec<u8> {
        let letters = padded(text, suffix).into_iter().flat_map(|octet| [octet >> 4, octet & 15].map(|half| half + b'A'));
        [ENCODED].into_iter().chain(letters).chain([0]).collect()
    }

    fn service(flags: u16, counts: [u8; 4], name: &[u8], kind: u16, rest: &[u8]) -> Vec<u8> {
        let [a, b, c, d] = counts;
        [&[0, 1], &flags.to_be_bytes()[..], &[0, a, 0, b, 0, c, 0, d], name, &kind.to_be_bytes(), &[0, 1], rest].concat()
    }

    #[test]
    fn a_registration_tells_its_senders_name_or_group() {
        let rest = |flags: u8| [0xc0, 12, 0, 0x20, 0, 1, 0, 0, 0, 0, 0, 6, flags, 0, 10, 0, 0, 1];
        let octets = service(0x2910, [1, 0, 0, 1], &encoded("WARD-PC", 0x20), TYPE_NB, &rest(0));
        let sender = "02:00:00:00:00:01 10.0.0.1";
        let expect = [format!("{sender} netbios.name WARD-PC"), format!("{sender} netbios.service file_server")];
        NAMES.says(read, &octets, &expect.each_ref().map(String::as_str));
        let octets = service(0x2910, [1, 0, 0, 1], &encoded("CLINIC", 0), TYPE_NB, &rest(0x80));
        NAMES.says(read, &octets, &[&format!("{sender} netbios.group CLINIC")]);
        let octets = service(0x2910, [1, 0, 0, 1], &encoded("JDOE", 3), TYPE_NB, &rest(0));
        NAMES.says(read, &octets, &[]);
    }

    #[test]
    fn an_answer_is_about_the_address_it_gives() {
        let octets = service(0x8500, [0, 1, 0, 0], &encoded("PACS", 0), TYPE_NB, &[0, 0, 0, 9, 0, 6, 0, 0, 10, 0, 0, 9]);
        let expect = [
            "02:00:00:00:00:01 10.0.0.1 link.serves netbios",
            "02:00:00:00:00:02 10.0.0.2 link.uses netbios",
            "- 10.0.0.9 netbios.name PACS",
            "- 10.0.0.9 netbios.service workstation",
        ];
        NAMES.says(read, &octets, &expect);
    }

    #[test]
    fn a_node_status_tells_all_names_and_the_mac() {
        let mut rest = vec![0, 0, 0, 0, 0, 65, 2];
        rest.extend(padded("PACS", 0));
        rest.extend([4, 0]);
        rest.extend(padded("CLINIC", 0));
        rest.extend([0x84, 0]);
        rest.extend([2, 0, 0, 0, 0, 0x77, 0, 0]);
        let octets = service(0x8400, [0, 1, 0, 0], &encoded("*", 0), TYPE_NBSTAT, &rest);
        let expect = [
            "02:00:00:00:00:01 10.0.0.1 link.serves netbios",
            "02:00:00:00:00:02 10.0.0.2 link.uses netbios",
            "02:00:00:00:00:77 10.0.0.1 netbios.name PACS",
            "02:00:00:00:00:77 10.0.0.1 netbios.service workstation",
            "02:00:00:00:00:77 10.0.0.1 netbios.group CLINIC",
        ];
        NAMES.says(read, &octets, &expect);
    }

    #[test]
    fn a_datagram_tells_its_source() {
        let mut octets = vec![0x11, 0x0a, 0, 1, 10, 0, 0, 1, 0, 138, 0, 100, 0, 0];
        octets.extend(encoded("WARD-PC", 0x20));
        octets.extend(encoded("CLINIC", 0x1d));
        let expect = [
            "02:00:00:00:00:01 10.0.0.1 netbios.name WARD-PC",
            "02:00:00:00:00:01 10.0.0.1 netbios.service file_server",
            "02:00:00:00:00:01 10.0.0.1 netbios.group CLINIC",
        ];
        NAMES.says(read, &octets, &expect);
    }

    #[test]
    fn other_messages_are_refused() {
        let mut name = encoded("A", 0);
        name[5] = b'a';
        NAMES.refuses(read, &service(0x2910, [1, 0, 0, 1], &name, TYPE_NB, &[]));
        NAMES.refuses(read, &service(0x2910, [1, 0, 0, 1], &encoded("A", 0), 1, &[]));
        NAMES.refuses(read, &service(0x0800, [1, 0, 0, 1], &encoded("A", 0), TYPE_NB, &[]));
    }
}
