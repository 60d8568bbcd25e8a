//! Kerberos over UDP and TCP (RFC 4120 sections 5.4, 5.9, 7.2): that one end answers the other out; principals stay
//! unread (PRIVACY-2).

use super::{Conversation, Lead, Opening, Packet, Say, Step, asn1, reader::Reader};
use crate::observation::Protocol;

/// Octets within which the head of a message is, the length of TCP counted.
const HEAD_MAX: usize = 32;
/// Longest message over TCP, octets: the length's first octet is zero, as no text's is.
const MESSAGE_MAX: u32 = 1 << 20;
const VERSION: u32 = 5;
/// Requests and replies for tickets, and errors: application tag (RFC 4120 section 5.10), and whether a server says it.
const MESSAGES: [(u8, bool); 5] = [(10, false), (11, true), (12, false), (13, true), (30, true)];
/// Class and form of an application tag.
const APPLICATION: u8 = 0x60;
const CONTEXT: u8 = 0xa0;

/// Whether octets begin with a message; if so, whether a server says it.
fn message(octets: &[u8]) -> Option<bool> {
    let mut reader = Reader::new(octets);
    let (tag, _) = asn1::head(&mut reader)?;
    let (kind, is_answer) = *MESSAGES.iter().find(|(kind, _)| APPLICATION | kind == tag)?;
    asn1::expect(&mut reader, asn1::SEQUENCE)?;
    // Version and type begin with element 1 in requests, with element 0 in all others.
    let first = CONTEXT | u8::from(!is_answer);
    asn1::expect(&mut reader, first)?;
    let version = asn1::number(&mut reader)?;
    asn1::expect(&mut reader, first + 1)?;
    (version == VERSION && asn1::number(&mut reader)? == u32::from(kind)).then_some(is_answer)
}

/// Reads a datagram.
pub fn read(packet: &Packet<'_>, say: &mut Say<'_>) -> bool {
    let Some(is_answer) = message(packet.payload) else { return false };
    if is_answer {
        say.serves(say.sender(), Protocol::Kerberos);
    }
    true
}

/// The message behind its length; `None`: there is no such length.
fn behind_length(octets: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(octets);
    reader.u32().filter(|length| (16..MESSAGE_MAX).contains(length))?;
    Some(reader.rest())
}

/// Whether an opening is a message.
pub fn open(lead: &Lead<'_>) -> Opening {
    match behind_length(lead.octets) {
        Some(octets) if message(octets).is_some() => Opening::Yes(Box::new(Kerberos)),
        Some([]) => lead.more(),
        Some([first, ..]) if first & !0x1f == APPLICATION && lead.octets.len() < HEAD_MAX => lead.more(),
        None if lead.octets.len() < 4 && lead.octets.first().is_none_or(|octet| *octet == 0) => lead.more(),
        _ => Opening::No,
    }
}

struct Kerberos;

impl Conversation for Kerberos {
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        match behind_length(octets).and_then(message) {
            Some(true) => say.serves(from, Protocol::Kerberos),
            None if octets.len() < HEAD_MAX => return Step::Read(0),
            _ => {}
        }
        Step::Enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dissect::talk::{expect, talk},
        observation::Field,
    };

    const REQUEST: &[u8] = b"\x6a\x1c\x30\x1a\xa1\x03\x02\x01\x05\xa2\x03\x02\x01\x0a\xa4\x0eMUSTERMANNxxxx";
    const ERROR: &[u8] = b"\x7e\x1c\x30\x1a\xa0\x03\x02\x01\x05\xa1\x03\x02\x01\x1e\xa4\x0eMUSTERMANNxxxx";

    fn tcp(message: &[u8]) -> Vec<u8> {
        [&(message.len() as u32).to_be_bytes()[..], message].concat()
    }

    #[test]
    fn who_answers_serves() {
        let said = talk([50000, 4088], &[(0, &tcp(REQUEST)), (1, &tcp(ERROR))]);
        expect(&said, &[(1, Field::Serves, "kerberos"), (0, Field::Uses, "kerberos")]);
        expect(&talk([50000, 88], &[(0, &tcp(REQUEST))]), &[]);
    }

    #[test]
    fn version_and_type_must_fit_the_tag() {
        assert_eq!((message(REQUEST), message(ERROR)), (Some(false), Some(true)));
        for at in [0, 2, 4, 6, 8, 9, 11, 13] {
            let mut octets = ERROR.to_vec();
            octets[at] ^= 0x04;
            assert_eq!(message(&octets), None, "octet {at}");
        }
        for length in 0..14 {
            assert_eq!(message(&ERROR[..length]), None);
        }
    }
}
