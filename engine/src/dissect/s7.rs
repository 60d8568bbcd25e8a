//! S7 communication over ISO on TCP (RFC 1006, ISO 8073): who serves it, and the order number, name, serial number and firmware
//! that a controller gives in its system status lists 0x11 and 0x1C. Memory that is read or written is stepped over.
//!
//! The carrier is that of RDP and MMS, too: a conversation is S7 only once a data unit begins with 0x32.

use super::{Conversation, Lead, Opening, Say, Step, Who, reader::Reader};
use crate::observation::{Field, Protocol};

/// Longest packet of the carrier that is waited for.
const PACKET_MAX: usize = 8 << 10;
/// Items of a list that are read.
const ITEMS_MAX: usize = 32;

/// A unit of ISO 8073 in a packet of RFC 1006.
enum Unit<'a> {
    /// It sets the connection up or ends it.
    Control,
    /// It carries data; whole or the last part.
    Data(&'a [u8], bool),
}

/// The first packet and its length. `Ok(None)` while it has not come, `Err` when it is none.
fn packet(octets: &[u8]) -> Result<Option<(Unit<'_>, usize)>, ()> {
    if !octets.iter().zip([3, 0]).all(|(octet, start)| *octet == start) {
        return Err(());
    }
    let Some([_, _, high, low]) = octets.first_chunk::<4>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if !(7..=PACKET_MAX).contains(&length) {
        return Err(());
    }
    let Some(mut reader) = octets.get(4..length).map(Reader::new) else { return Ok(None) };
    let head_octets = reader.u8().ok_or(())?;
    let mut head = reader.part(head_octets.into()).ok_or(())?;
    let unit = match head.u8().ok_or(())? & 0xf0 {
        0xf0 => Unit::Data(reader.rest(), head.u8().ok_or(())? & 0x80 != 0),
        0xe0 | 0xd0 | 0x80 => Unit::Control,
        _ => return Err(()),
    };
    Ok(Some((unit, length)))
}

/// Whether an opening is S7.
pub fn open(lead: &Lead<'_>) -> Opening {
    let mut octets = lead.octets;
    // A request to connect, then data.
    for _ in 0..2 {
        match packet(octets) {
            Ok(Some((Unit::Control, length))) => octets = octets.get(length..).unwrap_or_default(),
            Ok(Some((Unit::Data(data, _), _))) => return opening(data, lead),
            Ok(None) => return lead.more(),
            Err(()) => return Opening::No,
        }
    }
    Opening::No
}

fn opening(data: &[u8], lead: &Lead<'_>) -> Opening {
    let Some(Pdu { kind, .. }) = Pdu::read(data) else { return Opening::No };
    let server = match kind {
        REQUEST => 1 - lead.from,
        ACK | ACK_DATA => lead.from,
        _ => lead.likely_server(),
    };
    Opening::Yes(Box::new(S7 { server }))
}

const REQUEST: u8 = 1;
const ACK: u8 = 2;
const ACK_DATA: u8 = 3;
const USER_DATA: u8 = 7;

/// A unit of S7.
struct Pdu<'a> {
    kind: u8,
    parameters: Reader<'a>,
    data: Reader<'a>,
}

impl<'a> Pdu<'a> {
    fn read(octets: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(octets);
        let [0x32, kind @ (REQUEST | ACK | ACK_DATA | USER_DATA)] = reader.array()? else { return None };
        reader.skip(4)?;
        let (parameter_octets, data_octets) = (reader.u16()?, reader.u16()?);
        if matches!(kind, ACK | ACK_DATA) {
            reader.skip(2)?;
        }
        let parameters = reader.part(parameter_octets.into())?;
        let data = reader.part(data_octets.into())?;
        Some(Self { kind, parameters, data })
    }
}

struct S7 {
    server: usize,
}

impl Conversation for S7 {
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        if from != self.server {
            return Step::Enough;
        }
        match packet(octets) {
            Ok(None) => Step::Read(0),
            Ok(Some((unit, length))) => {
                if let Unit::Data(data, true) = unit
                    && let Some(pdu) = Pdu::read(data)
                {
                    say.serves(from, Protocol::S7);
                    if pdu.kind == USER_DATA {
                        status_list(pdu, from, say);
                    }
                }
                Step::Read(length)
            }
            Err(()) => Step::Enough,
        }
    }

    fn gap(&mut self, _from: usize, _octets: u32) -> bool {
        // A segment begins with a packet: what does not, ends the conversation.
        true
    }
}

/// The answer to a request for a system status list.
fn status_list(mut pdu: Pdu<'_>, from: usize, say: &mut Say<'_>) -> Option<()> {
    // Head 00 01 12, length, answer, group 4 (of the CPU) of answers, function 1, sequence.
    let [0, 1, 0x12, _, 0x12, 0x84, 1, _] = pdu.parameters.array()? else { return None };
    let [0xff, 0x09] = pdu.data.array()? else { return None };
    pdu.data.skip(2)?;
    let (list, _index) = (pdu.data.u16()?, pdu.data.u16()?);
    let (item_octets, items) = (pdu.data.u16()?, pdu.data.u16()?);
    for _ in 0..usize::from(items).min(ITEMS_MAX) {
        let mut item = pdu.data.part(item_octets.into())?;
        match list & 0xff {
            0x11 => module(&mut item, from, say)?,
            0x1c => component(&mut item, from, say)?,
            _ => return None,
        }
    }
    Some(())
}

/// Module identification: index, order number, type, two words of version.
fn module(item: &mut Reader<'_>, from: usize, say: &mut Say<'_>) -> Option<()> {
    let index = item.u16()?;
    let order_number = item.take(20)?;
    item.skip(2)?;
    let [letter, major, minor, patch] = item.array()?;
    match index {
        1 => say.text(Who::End(from), Field::S7Module, order_number),
        // Firmware: the letter V and three numbers.
        7 if letter == b'V' => say.text(Who::End(from), Field::S7Version, format!("{major}.{minor}.{patch}").as_bytes()),
        _ => false,
    };
    Some(())
}

/// Component identification: index and 32 octets of text.
fn component(item: &mut Reader<'_>, from: usize, say: &mut Say<'_>) -> Option<()> {
    let index = item.u16()?;
    let text = item.take(item.len().min(32))?;
    let field = match index {
        1 => Field::S7Name,
        5 => Field::S7Serial,
        7 => Field::S7ModuleType,
        _ => return Some(()),
    };
    let text = Reader::new(text).until(0).unwrap_or(text);
    say.text(Who::End(from), field, text);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{super::probe, *};

    fn data(pdu: &[u8]) -> Vec<u8> {
        [&[3, 0, 0, pdu.len() as u8 + 7, 2, 0xf0, 0x80], pdu].concat()
    }

    fn list(id: u8, item_octets: u8, items: &[Vec<u8>]) -> Vec<u8> {
        let content = [&[0, id, 0, 0, 0, item_octets, 0, items.len() as u8][..], &items.concat()].concat();
        let parameters = [0, 1, 0x12, 8, 0x12, 0x84, 1, 1, 0, 0, 0, 0];
        let head = [0x32, 7, 0, 0, 0, 1, 0, 12, 0, content.len() as u8 + 4];
        data(&[&head[..], &parameters, &[0xff, 9, 0, content.len() as u8], &content].concat())
    }

    fn component(index: u8, text: &str) -> Vec<u8> {
        let mut item = vec![0; 34];
        item[1] = index;
        item[2..2 + text.len()].copy_from_slice(text.as_bytes());
        item
    }

    const CONNECT: [u8; 11] = [3, 0, 0, 11, 6, 0xe0, 0, 0, 0, 1, 0];
    const SETUP: [u8; 12] = [0x32, 1, 0, 0, 0, 1, 0, 2, 0, 0, 0xf0, 0];

    #[test]
    fn a_controller_gives_its_module_and_serial_number() {
        let asks = [&CONNECT[..], &data(&SETUP)].concat();
        let module = |index: u8, version: [u8; 4]| [&[0, index][..], b"6AB7 315-2CD14      ", &[0, 0], &version].concat();
        let answers = [
            list(0x11, 28, &[module(1, [0; 4]), module(7, *b"V\x03\x02\x06")]),
            list(0x1c, 34, &[component(1, "CELL-4"), component(3, "Dr Doe"), component(5, "S C-77"), component(7, "CPU 3")]),
        ];
        let serves = [(1, Field::Serves, "s7"), (0, Field::Uses, "s7")];
        let module = [(1, Field::S7Module, "6AB7 315-2CD14"), (1, Field::S7Version, "3.2.6")];
        let component = [(1, Field::S7Name, "CELL-4"), (1, Field::S7Serial, "S C-77"), (1, Field::S7ModuleType, "CPU 3")];
        let expect = [&serves[..], &module, &serves, &component].concat();
        let mut confirm = CONNECT;
        confirm[5] = 0xd0;
        let turns = [(0, &asks[..]), (1, &confirm), (1, &answers[0]), (1, &answers[1])];
        probe::holds_when_cut(open, [40000, 102], &turns, &expect);
    }

    #[test]
    fn other_users_of_the_carrier_are_not_s7() {
        let mms = [&CONNECT[..], &data(&[0x0d, 0x01])].concat();
        let remote_desktop = [3, 0, 0, 19, 14, 0xe0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 3, 0, 0, 0];
        for other in [&mms[..], &remote_desktop, b"\x03\x00\x00\x05abcd", b"GET / HTTP", &[3, 0, 0, 7, 9, 0xf0, 0x80]] {
            assert!(probe::stream(open, [40000, 102], &[(0, other)], 3).is_none(), "{other:?}");
        }
    }
}
