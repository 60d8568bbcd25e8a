//! Modbus/TCP (Modbus Messaging on TCP/IP 1.0b, Application Protocol 1.1b3): device identification and server ids. Registers and
//! coils are stepped over.

use super::{Conversation, Lead, Opening, Say, Step, Who, reader::Reader};
use crate::observation::{Field, Protocol};

const PORT: u16 = 502;
/// Unit identifier and PDU together.
const LENGTHS: std::ops::RangeInclusive<u16> = 2..=254;
/// Octets before the unit identifier.
const HEAD: usize = 6;

/// Whether an opening is Modbus/TCP: on its port any frame, elsewhere a request of exact length.
pub fn open(lead: &Lead<'_>) -> Opening {
    let mut reader = Reader::new(lead.octets);
    let begins = [0x00_u8, 0x00];
    if !lead.octets.get(2..).unwrap_or_default().iter().zip(begins).all(|(octet, zero)| *octet == zero) {
        return Opening::No;
    }
    let (Some(_), Some(0), Some(length), Some(_), Some(function)) =
        (reader.u16(), reader.u16(), reader.u16(), reader.u8(), reader.u8())
    else {
        return lead.more();
    };
    let exact = match function {
        1..=6 => length == 6,
        0x2b => length == 5 && reader.rest().starts_with(&[0x0e]),
        0x11 => length == 2,
        _ => false,
    };
    let on_port = lead.ports.iter().position(|port| *port == PORT);
    let is_one = lead.octets.len() == HEAD + usize::from(length);
    // A scan goes through all functions, public or not.
    let is_frame = LENGTHS.contains(&length) && (is_function(function) || is_one);
    match on_port {
        Some(server) if is_frame => Opening::Yes(Box::new(Modbus { server })),
        None if exact && is_one => Opening::Yes(Box::new(Modbus { server: 1 - lead.from })),
        None if exact && lead.octets.len() < HEAD + usize::from(length) => lead.more(),
        _ => Opening::No,
    }
}

/// Public function codes and their exceptions; those of makers are 65 to 72, 90 and 100 to 110.
const fn is_function(function: u8) -> bool {
    matches!(function & 0x7f, 1..=8 | 11 | 12 | 15..=17 | 20..=24 | 43 | 65..=72 | 90 | 100..=110)
}

struct Modbus {
    server: usize,
}

impl Conversation for Modbus {
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        let mut reader = Reader::new(octets);
        let (Some(_), Some(protocol), Some(length)) = (reader.u16(), reader.u16(), reader.u16()) else { return Step::Read(0) };
        if protocol != 0 || !LENGTHS.contains(&length) {
            return Step::Enough;
        }
        let Some(mut frame) = reader.part(length.into()) else { return Step::Read(0) };
        let (Some(_unit), Some(function)) = (frame.u8(), frame.u8()) else { return Step::Enough };
        if from == self.server {
            say.serves(from, Protocol::Modbus);
            match function {
                0x2b => identification(&mut frame, from, say),
                0x11 => server_id(&mut frame, from, say),
                _ => None,
            };
        }
        Step::Read(HEAD + usize::from(length))
    }

    fn gap(&mut self, _from: usize, _octets: u32) -> bool {
        // A segment begins with a frame: what does not, ends the conversation.
        true
    }
}

/// Read device identification (function 43, MEI type 14): objects of number, length and value.
fn identification(frame: &mut Reader<'_>, from: usize, say: &mut Say<'_>) -> Option<()> {
    let [0x0e, _code, _conformity, _more, _next, objects] = frame.array()? else { return None };
    for _ in 0..objects {
        let [number, octets] = frame.array()?;
        let value = frame.take(octets.into())?;
        let field = match number {
            0 => Field::ModbusVendor,
            1 => Field::ModbusProductCode,
            2 => Field::ModbusRevision,
            4 => Field::ModbusProductName,
            5 => Field::ModbusModel,
            6 => Field::ModbusApplication,
            _ => continue,
        };
        say.text(Who::End(from), field, value);
    }
    Some(())
}

/// Report server id (function 17): its form is the maker's; a longer run of printable octets in it is a product name.
fn server_id(frame: &mut Reader<'_>, from: usize, say: &mut Say<'_>) -> Option<()> {
    let octets = frame.u8()?;
    let id = frame.take(octets.into())?;
    let run = id.split(|octet| !(0x20..0x7f).contains(octet)).max_by_key(|run| run.len())?;
    let is_name = run.len() >= NAME_MIN && run.iter().any(u8::is_ascii_alphabetic);
    if is_name {
        say.text(Who::End(from), Field::ModbusProductName, run);
    }
    Some(())
}

/// Shorter printable runs come by chance.
const NAME_MIN: usize = 4;

#[cfg(test)]
mod tests {
    use super::{super::probe, *};

    fn frame(pdu: &[u8]) -> Vec<u8> {
        [&[0, 1, 0, 0, 0, pdu.len() as u8 + 1, 1], pdu].concat()
    }

    #[test]
    fn a_server_identifies_itself() {
        let asks = [frame(&[0x2b, 0x0e, 1, 0]), frame(&[0x11])].concat();
        let answer = [&[0x2b, 0x0e, 1, 1, 0, 0, 3, 0, 3][..], b"Ace", &[1, 4], b"AC-9", &[2, 3], b"1.2"].concat();
        let answers = [frame(&answer), frame(b"\x11\x08\x09\xffAC-9 x"), frame(&[0x83, 2])].concat();
        let serves = [(1, Field::Serves, "modbus"), (0, Field::Uses, "modbus")];
        let said = [(1, Field::ModbusVendor, "Ace"), (1, Field::ModbusProductCode, "AC-9"), (1, Field::ModbusRevision, "1.2")];
        let name = [(1, Field::ModbusProductName, "AC-9 x")];
        let expect = [&serves[..], &said, &serves, &name, &serves].concat();
        probe::holds_when_cut(open, [40000, PORT], &[(0, &asks), (1, &answers)], &expect);
    }

    #[test]
    fn elsewhere_a_request_must_be_exact() {
        let (ask, answer) = (frame(&[3, 0, 0, 0, 1]), frame(&[3, 2, 0, 7]));
        probe::holds_when_cut(
            open,
            [40000, 1502],
            &[(0, &ask), (1, &answer)],
            &[(1, Field::Serves, "modbus"), (0, Field::Uses, "modbus")],
        );
        assert!(probe::stream(open, [40000, 1502], &[(0, &[&ask[..], b"x"].concat())], 64).is_none());
    }

    #[test]
    fn other_octets_are_not_modbus() {
        for other in [&b"GET / HTTP"[..], &[0, 1, 0, 0, 0, 1, 1, 3], &[0, 1, 0, 0, 1, 0, 1, 3], &[0, 1, 0, 0, 0, 6, 1, 0x7f]] {
            assert!(probe::stream(open, [40000, PORT], &[(0, other)], 3).is_none(), "{other:?}");
        }
    }
}
