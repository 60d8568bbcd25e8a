//! HL7 v2 (chapter 2) over MLLP, on any port → applications, facilities, message types, equipment.
//!
//! MSH and SFT are read; of OBX and PRT the equipment's identifiers alone; of MSA whether a message was taken. All other
//! segments, and all other fields of those, are passed where they lie: nothing is copied but what leaves. A message may be of
//! any length.

use std::hash::{BuildHasher, RandomState};

use super::{Conversation, Lead, Opening, Say, Step, Who};
use crate::observation::{Field, Grammar, Protocol};

mod equipment;
mod header;

use self::{equipment::Fields, header::Header};

const START: u8 = 0x0b;
const END: u8 = 0x1c;
/// A segment that is read as a whole; a longer one is passed.
const SEGMENT_MAX: usize = 4 << 10;
/// Messages of an end that wait for their acknowledgement.
const PENDING_MAX: usize = 8;

/// Recognises a message by its header segment, in MLLP's frame or bare.
pub fn open(lead: &Lead<'_>) -> Opening {
    let (segment, framed) = match lead.octets.strip_prefix(&[START]) {
        Some(segment) => (segment, true),
        None => (lead.octets, false),
    };
    match header::begins(segment, framed) {
        Some(true) => Opening::Yes(Box::new(Hl7::new(framed))),
        Some(false) => Opening::No,
        None => lead.more(),
    }
}

/// What is being read.
#[derive(Clone, Copy)]
enum At {
    /// Between messages: until a frame starts.
    Between,
    /// The start of a segment.
    Segment,
    /// Fields of OBX or PRT.
    Fields(Fields),
    /// The rest of a segment that nobody wants.
    Rest,
}

/// One direction.
struct Way {
    at: At,
    /// Delimiters of the message.
    header: Option<Header>,
    /// Control ids, hashed, and types of messages that wait for an acknowledgement, oldest first.
    pending: Vec<(u64, Box<str>)>,
}

struct Hl7 {
    framed: bool,
    ways: [Way; 2],
    /// The end that took the first message.
    receiver: Option<usize>,
    salt: RandomState,
}

impl Conversation for Hl7 {
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        let from = from & 1;
        let mut rest = octets;
        while !rest.is_empty() {
            let Some(read) = self.step(from, rest, say) else { break };
            let Some(behind) = rest.get(read..) else { break };
            rest = behind;
        }
        Step::Read(octets.len() - rest.len())
    }

    fn gap(&mut self, from: usize, _octets: u32) -> bool {
        // Without frames nothing tells a segment's start from a text's.
        let [low, high] = &mut self.ways;
        let way = if from == 0 { low } else { high };
        way.at = At::Between;
        way.header = None;
        self.framed
    }
}

impl Hl7 {
    fn new(framed: bool) -> Self {
        let at = if framed { At::Between } else { At::Segment };
        let way = || Way { at, header: None, pending: Vec::new() };
        Self { framed, ways: [way(), way()], receiver: None, salt: RandomState::new() }
    }

    /// Reads one thing: of how many octets, or `None` if more must come first.
    fn step(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Option<usize> {
        let way = self.ways.get_mut(from)?;
        match way.at {
            At::Between => {
                let Some(start) = octets.iter().position(|octet| *octet == START) else { return Some(octets.len()) };
                if start > 0 {
                    return Some(start);
                }
                if header::begins(octets.get(1..)?, true)? {
                    way.at = At::Segment;
                }
                Some(1)
            }
            At::Segment => self.segment(from, octets, say),
            At::Fields(mut fields) => {
                let (end, is_last) = match octets.iter().position(|octet| is_end(*octet) || *octet == fields.header.field) {
                    Some(end) => (end, octets.get(end).is_some_and(|octet| is_end(*octet))),
                    None if fields.is_wanted() && octets.len() < SEGMENT_MAX => return None,
                    None => {
                        fields.is_cut = true;
                        way.at = At::Fields(fields);
                        return Some(octets.len());
                    }
                };
                if !fields.take(from, octets.get(..end)?, say) {
                    way.at = At::Rest;
                    return Some(end);
                }
                way.at = if is_last { At::Rest } else { At::Fields(fields) };
                Some(if is_last { end } else { end + 1 })
            }
            At::Rest => {
                let Some(end) = octets.iter().position(|octet| is_end(*octet)) else { return Some(octets.len()) };
                way.at = At::Segment;
                Some(end)
            }
        }
    }

    /// The start of a segment; a short one as a whole.
    fn segment(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Option<usize> {
        let way = self.ways.get_mut(from)?;
        match octets.first()? {
            b'\r' | b'\n' => return Some(1),
            &END => {
                way.at = if self.framed { At::Between } else { At::Segment };
                return Some(1);
            }
            // The end of the message before was lost, or never sent.
            &START if self.framed => {
                way.at = At::Between;
                return Some(0);
            }
            _ => {}
        }
        // No segment is shorter than its name, but a message may end behind anything.
        let name = octets.get(..4).or_else(|| octets.iter().any(|octet| is_end(*octet)).then_some(octets))?;
        let is_header = header::begins(octets, self.framed);
        let separator = way.header.map(|header| header.field);
        let (kind, behind) = name.split_at_checked(3).unwrap_or((name, &[]));
        let is_segment = separator.is_some() && behind.first().copied() == separator;
        match (kind, way.header) {
            (b"MSH", _) if is_header.is_none_or(|is_header| is_header) => {}
            (b"SFT" | b"MSA", Some(_)) if is_segment => {}
            (b"OBX" | b"PRT", Some(header)) if is_segment && !header.is_answer => {
                way.at = At::Fields(Fields::new(kind == b"PRT", header));
                return Some(4);
            }
            _ => {
                way.at = At::Rest;
                return Some(0);
            }
        }
        let Some(end) = octets.iter().position(|octet| is_end(*octet)) else {
            if octets.len() < SEGMENT_MAX {
                return None;
            }
            way.at = At::Rest;
            return Some(octets.len());
        };
        let segment = octets.get(..end)?;
        match kind {
            b"MSH" => self.begin(from, segment, say),
            b"MSA" => self.acknowledge(from, segment, say),
            _ => way.header.iter().for_each(|header| header.read_software(from, segment, say)),
        }
        Some(end)
    }

    /// A message begins.
    fn begin(&mut self, from: usize, segment: &[u8], say: &mut Say<'_>) {
        let Some(way) = self.ways.get_mut(from) else { return };
        way.header = Header::read(segment);
        let Some(header) = way.header else { return };
        header.say(from, segment, say);
        if header.is_answer {
            return;
        }
        self.receiver.get_or_insert(1 - from);
        let Some(kind) = header.kind(segment) else { return };
        say.text(Who::End(from), Field::Hl7Message, kind.as_bytes());
        if way.pending.len() >= PENDING_MAX {
            way.pending.remove(0);
        }
        way.pending.push((self.salt.hash_one(header.nth(segment, header::CONTROL_ID)), kind));
    }

    /// An end acknowledges a message of the other one (MSA-1, MSA-2).
    fn acknowledge(&mut self, from: usize, segment: &[u8], say: &mut Say<'_>) {
        let Some(header) = self.ways.get(from).and_then(|way| way.header) else { return };
        let code = header.nth(segment, 1);
        if !matches!(code, b"AA" | b"AE" | b"AR" | b"CA" | b"CE" | b"CR") {
            return;
        }
        let control_id = self.salt.hash_one(header.nth(segment, 2));
        let Some(other) = self.ways.get_mut(1 - from) else { return };
        let Some(place) = other.pending.iter().position(|(pending, _)| *pending == control_id) else { return };
        if self.receiver == Some(from) {
            say.serves(from, Protocol::Hl7);
        }
        if matches!(code, b"AA" | b"CA")
            && let Some((_, kind)) = other.pending.get(place)
        {
            say.text(Who::End(from), Field::Hl7Accepted, kind.as_bytes());
        }
        // A commit is followed by the application's own acknowledgement, which says no more.
        other.pending.remove(place);
    }
}

/// The end of a segment. Some senders write LF, or leave out the last CR.
const fn is_end(octet: u8) -> bool {
    matches!(octet, b'\r' | b'\n' | END)
}

/// Whether a text can leave as a field: for what is composed of it.
fn is_token(octets: &[u8]) -> bool {
    Grammar::Token.check(octets).is_some()
}

/// Tests of whole conversations.
#[cfg(test)]
#[path = "hl7_tests.rs"]
mod tests;
