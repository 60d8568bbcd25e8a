//! SMB 1 to 3 (MS-SMB, MS-SMB2) and the NTLM messages in them (MS-NLMP): dialects, systems and names of machines out.
//!
//! Negotiation and session setup alone are read; names of users, their domains, shares and files stay unread (PRIVACY-2).

mod ntlm;
mod session;

use super::{Conversation, Lead, Opening, Say, Step, Who, reader::Reader};
use crate::observation::{Field, Protocol};

/// Longest message that is read, octets; a ticket may make a session setup longer, and tells nothing.
const MESSAGE_MAX: usize = 8 << 10;
/// Messages of one end, after which nothing more is to be learnt.
const MESSAGES_MAX: u8 = 16;
const NETBIOS_PORT: u16 = 139;
const SESSION_REQUEST: u8 = 0x81;
const SMB1: &[u8] = b"\xffSMB";
const SMB2: &[u8] = b"\xfeSMB";

/// Whether an opening is a message of SMB, or the session request before it (RFC 1002 section 4.3).
pub fn open(lead: &Lead<'_>) -> Opening {
    match lead.octets {
        [0, 0, _, _, b @ ..] if b.len() >= 4 && (b.starts_with(SMB1) || b.starts_with(SMB2)) => {
            Opening::Yes(Box::new(Smb::default()))
        }
        [0, 0, _, _, b @ ..] if SMB1.starts_with(b) || SMB2.starts_with(b) => lead.more(),
        [0] | [0, 0] | [0, 0, _] => lead.more(),
        [SESSION_REQUEST, 0, 0, 68..=74, ..] if lead.is_on(&[NETBIOS_PORT]) => Opening::Yes(Box::new(Smb::default())),
        [SESSION_REQUEST] | [SESSION_REQUEST, 0] | [SESSION_REQUEST, 0, 0] if lead.is_on(&[NETBIOS_PORT]) => lead.more(),
        _ => Opening::No,
    }
}

#[derive(Default)]
struct Way {
    /// Octets of a message that are left out.
    skip: usize,
    messages: u8,
}

#[derive(Default)]
struct Smb {
    ways: [Way; 2],
    /// Where among the dialects of an SMB1 negotiation the ones are that are known.
    offered: Vec<Option<&'static str>>,
}

impl Conversation for Smb {
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        let way = &mut self.ways[from & 1];
        if way.skip > 0 {
            let read = way.skip.min(octets.len());
            way.skip -= read;
            return Step::Read(read);
        }
        let mut reader = Reader::new(octets);
        let (Some(kind), Some(length)) = (reader.u8(), reader.u24()) else { return Step::Read(0) };
        let length = length as usize;
        if way.messages >= MESSAGES_MAX {
            return Step::Enough;
        }
        if kind != 0 || length > MESSAGE_MAX {
            way.messages += 1;
            way.skip = length;
            return Step::Read(4);
        }
        let Some(message) = reader.take(length) else { return Step::Read(0) };
        way.messages += 1;
        let goes_on = match message.split_at_checked(4) {
            Some((SMB1, _)) => self.message1(from, message, say),
            Some((SMB2, _)) => message2(from, message, say),
            // Encrypted or compressed.
            _ => Some(false),
        };
        if goes_on.unwrap_or(true) { Step::Read(4 + length) } else { Step::Enough }
    }

    fn gap(&mut self, from: usize, octets: u32) -> bool {
        let skip = &mut self.ways[from & 1].skip;
        let is_within = octets as usize <= *skip;
        *skip = skip.saturating_sub(octets as usize);
        is_within
    }
}

impl Smb {
    /// Whether more of that end is to be learnt.
    fn message1(&mut self, from: usize, message: &[u8], say: &mut Say<'_>) -> Option<bool> {
        const NEGOTIATE: u8 = 0x72;
        const SESSION_SETUP: u8 = 0x73;
        let head = message.first_chunk::<32>()?;
        let is_answer = head[9] & 0x80 != 0;
        if is_answer {
            say.serves(from, Protocol::Smb);
        }
        match head[4] {
            NEGOTIATE if is_answer => {
                let mut reader = Reader::new(message.get(33..)?);
                let dialect = self.offered.get(usize::from(reader.u16_le()?)).copied().flatten();
                if let Some(dialect) = dialect {
                    say.word(Who::End(from), Field::SmbDialect, dialect);
                }
            }
            NEGOTIATE => {
                let names = message.get(35..)?.split(|octet| *octet == 0);
                self.offered = names.filter_map(|name| name.strip_prefix(b"\x02")).take(32).map(dialect1).collect();
                if let Some(newest) = self.offered.iter().flatten().max() {
                    say.word(Who::End(from), Field::SmbDialect, newest);
                }
            }
            SESSION_SETUP => {
                ntlm::tell(message, from, say);
                session::tell(message, is_answer, from, say);
            }
            _ => return Some(false),
        }
        Some(true)
    }
}

/// Dialects of MS-SMB section 2.2.4.5 that are told apart. One that says `SMB 2.???` is asked again in SMB2.
fn dialect1(name: &[u8]) -> Option<&'static str> {
    match name {
        b"NT LM 0.12" => Some("1.0"),
        b"SMB 2.002" => Some("2.0.2"),
        _ => None,
    }
}

/// Dialect numbers of MS-SMB2 section 2.2.4.
const fn dialect2(number: u16) -> Option<&'static str> {
    match number {
        0x0202 => Some("2.0.2"),
        0x0210 => Some("2.1"),
        0x0300 => Some("3.0"),
        0x0302 => Some("3.0.2"),
        0x0311 => Some("3.1.1"),
        _ => None,
    }
}

fn message2(from: usize, message: &[u8], say: &mut Say<'_>) -> Option<bool> {
    const NEGOTIATE: u16 = 0;
    const SESSION_SETUP: u16 = 1;
    let mut head = Reader::new(message);
    head.skip(12)?;
    let command = head.u16_le()?;
    head.skip(2)?;
    let is_answer = head.u32_le()? & 1 != 0;
    if is_answer {
        say.serves(from, Protocol::Smb);
    }
    let mut body = Reader::new(message.get(64..)?);
    match command {
        NEGOTIATE if is_answer => {
            body.skip(4)?;
            if let Some(dialect) = dialect2(body.u16_le()?) {
                say.word(Who::End(from), Field::SmbDialect, dialect);
            }
        }
        NEGOTIATE => {
            body.skip(2)?;
            let count = body.u16_le()?;
            body.skip(32)?;
            let newest = (0..count.min(64)).map_while(|_| body.u16_le()).max();
            if let Some(dialect) = newest.and_then(dialect2) {
                say.word(Who::End(from), Field::SmbDialect, dialect);
            }
        }
        SESSION_SETUP => ntlm::tell(message, from, say),
        _ => return Some(false),
    }
    Some(true)
}

#[cfg(test)]
#[path = "smb_tests.rs"]
mod tests;
