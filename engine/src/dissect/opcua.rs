//! OPC UA over TCP (IEC 62541-6, clause 7.1): who serves it. Nothing behind the message heads is read.

use super::{Conversation, Lead, Opening, Say, Step, reader::Reader};
use crate::observation::Protocol;

/// Longest message by whose head a conversation is recognised.
const MESSAGE_MAX: u32 = 1 << 24;
const KINDS: [&[u8]; 7] = [b"HEL", b"ACK", b"ERR", b"RHE", b"OPN", b"MSG", b"CLO"];

/// Whether an opening is OPC UA: a message head.
pub fn open(lead: &Lead<'_>) -> Opening {
    match head(lead.octets) {
        Some(Some(kind)) => {
            let server = match kind {
                b"ACK" | b"ERR" => lead.from,
                b"HEL" => 1 - lead.from,
                _ => lead.likely_server(),
            };
            Opening::Yes(Box::new(OpcUa { server }))
        }
        Some(None) => lead.more(),
        None => Opening::No,
    }
}

/// The kind of a message head: three letters, `F` or `C` or `A`, length. `Some(None)` while more must come.
fn head(octets: &[u8]) -> Option<Option<&[u8]>> {
    if !KINDS.iter().any(|kind| kind.iter().zip(octets).all(|(letter, octet)| letter == octet)) {
        return None;
    }
    let mut reader = Reader::new(octets);
    let (Some(kind), Some(chunk), Some(length)) = (reader.take(3), reader.u8(), reader.u32_le()) else { return Some(None) };
    let is_head = matches!(chunk, b'F' | b'C' | b'A') && (8..=MESSAGE_MAX).contains(&length);
    is_head.then_some(Some(kind))
}

struct OpcUa {
    server: usize,
}

impl Conversation for OpcUa {
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        match head(octets) {
            Some(None) => Step::Read(0),
            Some(Some(_)) if from == self.server => {
                say.serves(from, Protocol::OpcUa);
                Step::Enough
            }
            _ => Step::Enough,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::probe, *};
    use crate::observation::Field;

    #[test]
    fn whoever_acknowledges_serves() {
        let turns = [(0, &b"HELF\x20\0\0\0opc.tcp://x"[..]), (1, &b"ACKF\x1c\0\0\0"[..])];
        let expect = [(1, Field::Serves, "opcua"), (0, Field::Uses, "opcua")];
        probe::holds_when_cut(open, [40000, 4840], &turns, &expect);
        for other in [&b"HELO mail\r\n"[..], b"MSGX\x20\0\0\0", b"ACKF\x01\0\0\0", b"HTTP"] {
            assert!(probe::stream(open, [40000, 4840], &[(0, other)], 1).is_none(), "{other:?}");
        }
    }
}
