//! SQL Server (MS-TDS sections 2.2.3.1, 2.2.6.5): the version of a pre-login answer out; logins and statements stay
//! unread (PRIVACY-2).

use super::{Conversation, Lead, Opening, Say, Step, Who, reader::Reader};
use crate::observation::{Field, Protocol};

const PRELOGIN: u8 = 0x12;
const ANSWER: u8 = 0x04;
/// Status: the packet ends its message.
const LAST: u8 = 1;
/// Token of the version, which comes first, and of the list's end.
const VERSION: u8 = 0;
/// Longest pre-login message, octets.
const MESSAGE_MAX: u16 = 1024;

/// Kind of the packet and its content, if it is of pre-login; `Err`: more must come first.
fn prelogin(octets: &[u8]) -> Result<Option<(u8, &[u8])>, ()> {
    let Some(first) = octets.first() else { return Err(()) };
    if !matches!(*first, PRELOGIN | ANSWER) {
        return Ok(None);
    }
    let mut reader = Reader::new(octets);
    let [kind, status, high, low, _, _, _, window] = reader.array().ok_or(())?;
    let length = u16::from_be_bytes([high, low]);
    if status != LAST || window != 0 || !(20..=MESSAGE_MAX).contains(&length) {
        return Ok(None);
    }
    let content = reader.take(usize::from(length) - 8).ok_or(())?;
    Ok((version(content).is_some()).then_some((kind, content)))
}

/// The version that a pre-login message begins with.
fn version(content: &[u8]) -> Option<[u8; 6]> {
    let mut reader = Reader::new(content);
    let (token, offset, length) = (reader.u8()?, reader.u16()?, reader.u16()?);
    // The list has entries of five octets, and an end.
    if token != VERSION || length != 6 || offset % 5 != 1 || offset < 6 {
        return None;
    }
    content.get(offset.into()..)?.first_chunk().copied()
}

/// Whether an opening is a pre-login message.
pub fn open(lead: &Lead<'_>) -> Opening {
    match prelogin(lead.octets) {
        Ok(Some(_)) => Opening::Yes(Box::new(Sql)),
        Ok(None) => Opening::No,
        Err(()) => lead.more(),
    }
}

struct Sql;

impl Conversation for Sql {
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        let Ok(prelogin) = prelogin(octets) else { return Step::Read(0) };
        if let Some((ANSWER, content)) = prelogin
            && let Some([major, minor, high, low, ..]) = version(content)
        {
            say.serves(from, Protocol::Sql);
            let version = format!("{major}.{minor}.{}", u16::from_be_bytes([high, low]));
            say.text(Who::End(from), Field::SqlVersion, version.as_bytes());
        }
        Step::Enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::talk::{expect, talk};

    const ASK: &[u8] = b"\x12\x01\x00\x1a\0\0\0\0\x00\x00\x0b\x00\x06\x01\x00\x11\x00\x01\xff\x09\0\0\0\0\0\0";
    const TELL: &[u8] = b"\x04\x01\x00\x1a\0\0\x01\0\x00\x00\x0b\x00\x06\x01\x00\x11\x00\x01\xff\x0f\0\x07\xd0\0\0\0";

    #[test]
    fn the_answer_gives_the_version() {
        let said = talk([50000, 14330], &[(0, ASK), (1, TELL), (0, b"\x10MUSTERMANN")]);
        expect(&said, &[(1, Field::SqlVersion, "15.0.2000"), (1, Field::Serves, "sql"), (0, Field::Uses, "sql")]);
    }

    #[test]
    fn other_packets_are_not_read() {
        for at in [0, 1, 7, 8, 10, 12] {
            let mut octets = ASK.to_vec();
            octets[at] ^= 0x02;
            expect(&talk([50000, 1433], &[(0, &octets)]), &[]);
            assert!(!matches!(prelogin(&octets), Ok(Some(_))), "octet {at}");
        }
    }
}
