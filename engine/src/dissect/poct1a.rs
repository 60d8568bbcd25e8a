//! POCT1-A device messages (CLSI POCT01-A2, appendix A) over TCP → what a point-of-care device says of itself when it says hello.
//!
//! Messages are XML documents whose values stand in an attribute `V`. Tags are read one by one where they lie; only those of
//! the DEV object in a hello (HEL.R01) are looked into, and all text between tags is passed. The end that acknowledges a
//! hello is the server.

use zeroize::Zeroizing;

use super::{Conversation, Lead, Opening, Say, Step, Who, reader::find};
use crate::observation::{Field, Protocol};

/// A tag that is longer is passed.
const TAG_MAX: usize = 1 << 10;
/// Elements of DEV that are said.
const FIELDS: &[(&[u8], Field)] = &[
    (b"DEV.vendor_id", Field::PoctVendor),
    (b"DEV.model_id", Field::PoctModel),
    (b"DEV.serial_id", Field::PoctSerial),
    (b"DEV.sw_version", Field::PoctSoftware),
    (b"DEV.device_id", Field::PoctDeviceId),
    (b"DEV.device_name", Field::PoctDeviceName),
    (b"DEV.manufacturer_name", Field::PoctManufacturer),
];
/// Messages of POCT1-A by the three letters in front of `.R01`.
const MESSAGES: [&[u8; 3]; 14] =
    [b"HEL", b"ACK", b"DST", b"OBS", b"EVS", b"DTV", b"REQ", b"END", b"ESC", b"EOT", b"KPA", b"OPL", b"PTL", b"CFG"];

/// Recognises a document whose root is a message, with its header object.
pub fn open(lead: &Lead<'_>) -> Opening {
    let octets = lead.octets.trim_ascii_start();
    let octets = octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(octets);
    match octets.first() {
        Some(b'<') => {}
        Some(_) => return Opening::No,
        None => return lead.more(),
    }
    let mut rest = octets;
    while let Some(start) = rest.iter().position(|octet| *octet == b'<') {
        rest = rest.get(start + 1..).unwrap_or_default();
        match rest.first() {
            // Declaration, document type, comment.
            Some(b'?' | b'!') => {}
            Some(_) if rest.len() < 7 => return lead.more(),
            Some(_) if message_of(rest).is_none() => return Opening::No,
            Some(_) if find(rest, b"<HDR").is_some() => return Opening::Yes(Box::new(Poct::default())),
            _ => return lead.more(),
        }
    }
    lead.more()
}

/// The message whose root element a tag begins.
fn message_of(tag: &[u8]) -> Option<&[u8; 3]> {
    let (name, rest) = tag.split_first_chunk::<3>()?;
    let [b'.', b'R', b'0', b'1'..=b'9', ..] = rest else { return None };
    MESSAGES.contains(&name).then_some(name)
}

#[derive(Clone, Copy, Default)]
enum At {
    /// Outside of tags.
    #[default]
    Text,
    /// In a tag that is passed.
    Rest,
    /// In a comment or a section of character data, up to that.
    Passage(&'static [u8]),
}

#[derive(Default)]
struct Way {
    at: At,
    in_hello: bool,
}

#[derive(Default)]
struct Poct {
    ways: [Way; 2],
    /// The end that said hello.
    device: Option<usize>,
}

impl Conversation for Poct {
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        let mut rest = octets;
        while !rest.is_empty() {
            let Some(read) = self.step(from & 1, rest, say) else { break };
            let Some(behind) = rest.get(read..) else { break };
            rest = behind;
        }
        Step::Read(octets.len() - rest.len())
    }

    fn gap(&mut self, from: usize, _octets: u32) -> bool {
        // What follows may be the inside of a tag: it is passed up to its end, and no hello goes on behind a gap.
        let [low, high] = &mut self.ways;
        *if from == 0 { low } else { high } = Way { at: At::Rest, in_hello: false };
        true
    }
}

impl Poct {
    /// Reads one thing: of how many octets, or `None` if more must come first.
    fn step(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Option<usize> {
        let way = self.ways.get_mut(from)?;
        match way.at {
            At::Text => {
                let start = octets.iter().position(|octet| *octet == b'<').unwrap_or(octets.len());
                if start > 0 {
                    return Some(start);
                }
                self.tag(from, octets, say)
            }
            At::Rest => match octets.iter().position(|octet| *octet == b'>') {
                Some(end) => {
                    way.at = At::Text;
                    Some(end + 1)
                }
                None => Some(octets.len()),
            },
            At::Passage(end) => match find(octets, end) {
                Some(at) => {
                    way.at = At::Text;
                    Some(at + end.len())
                }
                None => Some(octets.len().saturating_sub(end.len() - 1)).filter(|read| *read > 0),
            },
        }
    }

    fn tag(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Option<usize> {
        let way = self.ways.get_mut(from)?;
        for (start, end) in [(&b"<!--"[..], &b"-->"[..]), (b"<![CDATA[", b"]]>")] {
            if octets.starts_with(start) {
                way.at = At::Passage(end);
                return Some(start.len());
            }
            if start.starts_with(octets) {
                return None;
            }
        }
        let Some(end) = end_of(octets) else {
            if octets.len() < TAG_MAX {
                return None;
            }
            way.at = At::Rest;
            return Some(octets.len());
        };
        let tag = octets.get(1..end)?;
        if let Some(message) = message_of(tag) {
            way.in_hello = message == b"HEL";
            if way.in_hello {
                self.device.get_or_insert(from);
            }
            if message == b"ACK" && self.device == Some(1 - from) {
                say.serves(from, Protocol::Poct);
            }
        } else if tag.strip_prefix(b"/").is_some_and(|tag| message_of(tag).is_some()) {
            way.in_hello = false;
        } else if way.in_hello {
            let name_octets = tag.iter().position(|octet| octet.is_ascii_whitespace() || *octet == b'/').unwrap_or(tag.len());
            let (name, attributes) = tag.split_at(name_octets);
            if let Some((_, field)) = FIELDS.iter().find(|(wanted, _)| *wanted == name)
                && let Some(value) = value_of(attributes)
            {
                say.text(Who::End(from), *field, &plain(value));
            }
        }
        Some(end + 1)
    }
}

/// Where a tag ends: quoted values may hold what looks like an end.
fn end_of(octets: &[u8]) -> Option<usize> {
    let mut quote = None;
    octets.iter().take(TAG_MAX).position(|octet| {
        match quote {
            Some(open) if open == *octet => quote = None,
            None if matches!(octet, b'"' | b'\'') => quote = Some(*octet),
            _ => {}
        }
        quote.is_none() && *octet == b'>'
    })
}

/// Value of the attribute `V`.
fn value_of(attributes: &[u8]) -> Option<&[u8]> {
    let at = attributes.windows(2).position(|pair| pair[0].is_ascii_whitespace() && pair[1] == b'V')?;
    let rest = attributes.get(at + 2..)?.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let (quote, rest) = rest.split_first().filter(|(quote, _)| matches!(quote, b'"' | b'\''))?;
    let end = rest.iter().position(|octet| octet == quote)?;
    rest.get(..end)
}

/// The value with its predefined entities (XML 1.0 §4.6) written out.
fn plain(value: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(value.len()));
    let mut rest = value;
    while let Some((octet, behind)) = rest.split_first() {
        let entities: [(&[u8], u8); 5] =
            [(b"&amp;", b'&'), (b"&lt;", b'<'), (b"&gt;", b'>'), (b"&quot;", b'"'), (b"&apos;", b'\'')];
        let entity = entities.into_iter().find(|(entity, _)| rest.starts_with(entity));
        out.push(entity.map_or(*octet, |(_, character)| character));
        rest = entity.map_or(behind, |(entity, _)| rest.get(entity.len()..).unwrap_or_default());
    }
    out
}

/// Tests of whole conversations.
#[cfg(test)]
#[path = "poct1a_tests.rs"]
mod tests;
