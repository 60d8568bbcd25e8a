//! LDAP over TCP (RFC 4511 section 4.1.1): that one end answers the other out; entries and credentials stay unread (PRIVACY-2).

use super::{Conversation, Lead, Opening, Say, Step, asn1, reader::Reader};
use crate::observation::Protocol;

const PORTS: &[u16] = &[389, 3268];
/// Octets within which the head of a message is.
const HEAD_MAX: usize = 20;
const BIND_REQUEST: u8 = 0x60;
const SEARCH_REQUEST: u8 = 0x63;
const EXTENDED_REQUEST: u8 = 0x77;
/// Bind, search result entry, done, reference, modify, add, delete, compare, extended.
const RESPONSES: [u8; 9] = [0x61, 0x64, 0x65, 0x73, 0x67, 0x69, 0x6b, 0x6f, 0x78];

/// What a message asks or answers (tag of its operation), and whether its content is that operation's beyond doubt.
fn operation(octets: &[u8]) -> Option<(u8, bool)> {
    let mut reader = Reader::new(octets);
    asn1::expect(&mut reader, asn1::SEQUENCE).filter(|length| *length >= 7)?;
    asn1::number(&mut reader)?;
    let (tag, length) = asn1::head(&mut reader)?;
    let is_certain = match tag {
        BIND_REQUEST => length >= 7 && matches!(asn1::number(&mut reader), Some(2 | 3)),
        SEARCH_REQUEST => length >= 16 && asn1::expect(&mut reader, 0x04).is_some(),
        EXTENDED_REQUEST => asn1::expect(&mut reader, 0x80).is_some() && reader.rest().starts_with(b"1.3."),
        tag if RESPONSES.contains(&tag) => false,
        _ => return None,
    };
    Some((tag, is_certain))
}

/// Whether an opening is a message.
pub fn open(lead: &Lead<'_>) -> Opening {
    match operation(lead.octets) {
        Some((tag, is_certain)) if is_certain || (lead.is_on(PORTS) && RESPONSES.contains(&tag)) => Opening::Yes(Box::new(Ldap)),
        _ if lead.octets.first() == Some(&asn1::SEQUENCE) && lead.octets.len() < HEAD_MAX => lead.more(),
        _ => Opening::No,
    }
}

struct Ldap;

impl Conversation for Ldap {
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        match operation(octets) {
            Some((tag, _)) if RESPONSES.contains(&tag) => say.serves(from, Protocol::Ldap),
            None if octets.len() < HEAD_MAX => return Step::Read(0),
            _ => {}
        }
        Step::Enough
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        dissect::talk::{expect, talk},
        observation::Field,
    };

    const BIND: &[u8] = b"\x30\x84\x00\x00\x00\x1a\x02\x01\x01\x60\x15\x02\x01\x03\x04\x06cn=MUS\x80\x08MUSTERMA";
    const BOUND: &[u8] = b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00";

    #[test]
    fn who_answers_serves() {
        expect(&talk([50000, 9389], &[(0, BIND), (1, BOUND)]), &[(1, Field::Serves, "ldap"), (0, Field::Uses, "ldap")]);
        expect(&talk([389, 50000], &[(0, BOUND), (1, BIND)]), &[(0, Field::Serves, "ldap"), (1, Field::Uses, "ldap")]);
    }

    #[test]
    fn other_sequences_are_not_ldap() {
        let snmp = b"\x30\x26\x02\x01\x01\x04\x06public\xa0\x19\x02\x01\x01\x02\x01\x00\x02\x01\x00\x30\x0e\x30\x0c";
        expect(&talk([50000, 389], &[(0, snmp), (1, snmp)]), &[]);
        expect(&talk([50000, 9389], &[(1, BOUND)]), &[]);
    }
}
