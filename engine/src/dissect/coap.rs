//! CoAP over UDP (RFC 7252): who serves it. Paths, queries and payloads are stepped over.

use super::{Packet, Say, reader::Reader};
use crate::observation::Protocol;

const PORT: u16 = 5683;

/// Reads a datagram on the port of CoAP.
pub fn read(packet: &Packet<'_>, say: &mut Say<'_>) -> bool {
    if !packet.is_on(&[PORT]) {
        return false;
    }
    let Some(code) = message(packet) else { return false };
    // Classes 2, 4 and 5 are answers (section 12.1).
    if matches!(code >> 5, 2 | 4 | 5) {
        say.serves(say.sender(), Protocol::Coap);
    }
    true
}

/// The code of a message whose token and options are well-formed (section 3).
fn message(packet: &Packet<'_>) -> Option<u8> {
    let mut reader = Reader::new(packet.payload);
    let first = reader.u8()?;
    let code = reader.u8()?;
    reader.u16()?;
    let token_octets = usize::from(first & 15);
    if first >> 6 != 1 || token_octets > 8 || !matches!(code >> 5, 0 | 2 | 4 | 5) {
        return None;
    }
    reader.skip(token_octets)?;
    // An empty message is its four octets.
    if code == 0 {
        return (token_octets == 0 && reader.is_empty()).then_some(code);
    }
    while let Some(octet) = reader.u8() {
        if octet == 0xff {
            return (!reader.is_empty() || !packet.whole).then_some(code);
        }
        extended(octet >> 4, &mut reader)?;
        let octets = extended(octet & 15, &mut reader)?;
        if reader.skip(octets).is_none() {
            return (!packet.whole).then_some(code);
        }
    }
    Some(code)
}

/// A delta or length of an option (section 3.1).
fn extended(nibble: u8, reader: &mut Reader<'_>) -> Option<usize> {
    match nibble {
        13 => reader.u8().map(|octet| 13 + usize::from(octet)),
        14 => reader.u16().map(|octets| 269 + usize::from(octets)),
        15 => None,
        _ => Some(nibble.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::probe, *};
    use crate::observation::Field;

    #[test]
    fn an_answer_tells_the_server() {
        let answer = [0x61, 0x45, 0, 1, 9, 0xc0, 0xff, b'x'];
        let expect = [(1, Field::Serves, "coap"), (0, Field::Uses, "coap")];
        probe::says(read, 1, [40000, PORT], &answer, &expect);
        probe::says(read, 0, [40000, PORT], &[0x40, 1, 0, 1, 0xb1, b'a'], &[]);
        assert!(probe::datagram(read, 1, [40000, 50000], &answer, true).is_none());
        for other in [&[0x49, 1, 0, 1][..], &[0x40, 0, 0, 1, 0], &[0x40, 0xe0, 0, 1], &[0x40, 1, 0, 1, 0xf0], b"\x16\xfe\xfd"] {
            assert!(probe::datagram(read, 0, [40000, PORT], other, true).is_none(), "{other:?}");
        }
    }
}
