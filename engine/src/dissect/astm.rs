//! ASTM E1394 (CLSI LIS2) records, in frames of E1381 (LIS1) or bare → what an analyser's header record says of it.
//!
//! A frame is believed when its check sum is right; records go on over frames. Of a header record (H) the sender's name,
//! version and serial number are read (H-5): its other fields hold a password (H-4) and addresses. All other records are
//! passed octet by octet.

use zeroize::{Zeroize, Zeroizing};

use super::{Conversation, Lead, Opening, Say, Step, Who};
use crate::observation::{Field, Protocol};

const STX: u8 = 2;
const ETX: u8 = 3;
const EOT: u8 = 4;
const ENQ: u8 = 5;
const ACK: u8 = 6;
const ETB: u8 = 0x17;

/// Longest frame: 240 octets of text by the standard, more of many analysers.
const FRAME_MAX: usize = 8 << 10;
/// Octets that are kept of the sender's field.
const SENDER_MAX: usize = 256;
/// Number of the sender's field.
const SENDER: u8 = 5;
/// Enquiries in front of a first frame.
const ENQUIRIES_MAX: usize = 8;

/// Recognises a header record at the start of a frame, or by itself.
pub fn open(lead: &Lead<'_>) -> Opening {
    let start = lead.octets.iter().take(ENQUIRIES_MAX).take_while(|octet| **octet == ENQ).count();
    let Some(rest) = lead.octets.get(start..) else { return Opening::No };
    let (begins, framed) = match rest {
        [] => (None, true),
        [STX, rest @ ..] => (begins_framed(rest), true),
        _ if start > 0 => (Some(false), true),
        _ => (begins_bare(rest), false),
    };
    match begins {
        Some(true) => Opening::Yes(Box::new(Astm::new(framed))),
        Some(false) => Opening::No,
        None => lead.more(),
    }
}

/// Frame number, then a header record with its four delimiters (E1394 §6.6): one between fields, and three others, each
/// different.
fn begins_framed(octets: &[u8]) -> Option<bool> {
    let (number, rest) = octets.split_first()?;
    let [kind, delimiters @ .., behind] = rest.first_chunk::<6>()?;
    let [field, others @ ..] = delimiters;
    let are_delimiters = delimiters.iter().all(u8::is_ascii_punctuation) && others.iter().all(|other| other != field);
    Some(matches!(number, b'0'..=b'7') && *kind == b'H' && are_delimiters && (behind == field || *behind == b'\r'))
}

/// Without a frame, only the delimiters that the standard recommends are believed.
fn begins_bare(octets: &[u8]) -> Option<bool> {
    let start = b"H|\\^&|";
    if octets.iter().zip(start).any(|(octet, expect)| octet != expect) {
        return Some(false);
    }
    (octets.len() >= start.len()).then_some(true)
}

/// Where in a record a direction is.
#[derive(Clone, Copy, Default)]
enum At {
    #[default]
    Record,
    /// Behind the `H`.
    Header,
    /// In that field of a header record.
    Field(u8),
    /// In what nobody wants.
    Rest,
}

/// Records of one direction.
#[derive(Default)]
struct Records {
    at: At,
    field: u8,
    component: u8,
    /// Delimiters that are still to be read.
    delimiters: u8,
    /// Number of the newest frame: one that comes again was not acknowledged in time.
    frame: Option<u8>,
    sender: Zeroizing<Vec<u8>>,
}

impl Records {
    fn feed(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) {
        for octet in octets {
            if matches!(octet, b'\r' | b'\n') {
                self.end(from, say);
                continue;
            }
            self.at = match self.at {
                At::Record if *octet == b'H' => At::Header,
                At::Record | At::Rest => At::Rest,
                At::Header => {
                    self.field = *octet;
                    self.component = 0;
                    self.delimiters = 3;
                    At::Field(2)
                }
                At::Field(2) if self.delimiters > 0 => {
                    self.delimiters -= 1;
                    // Repetition, component, escape.
                    if self.delimiters == 1 {
                        self.component = *octet;
                    }
                    At::Field(2)
                }
                At::Field(SENDER) if *octet == self.field => {
                    self.end(from, say);
                    At::Rest
                }
                At::Field(SENDER) => {
                    if self.sender.len() < SENDER_MAX {
                        let room = SENDER_MAX - self.sender.len();
                        self.sender.reserve_exact(room);
                        self.sender.push(*octet);
                    }
                    At::Field(SENDER)
                }
                At::Field(number) => At::Field(if *octet == self.field { number + 1 } else { number }),
            };
        }
    }

    /// A record ends, or all of it that is wanted.
    fn end(&mut self, from: usize, say: &mut Say<'_>) {
        if matches!(self.at, At::Field(SENDER)) && self.sender.len() < SENDER_MAX {
            let mut components = self.sender.split(|octet| *octet == self.component);
            for field in [Field::AstmSender, Field::AstmVersion, Field::AstmSerial] {
                // Versions of several parts stand behind each other.
                let component = components.next().unwrap_or_default();
                let first = component.split(|octet| *octet == b'\\').next().unwrap_or_default();
                say.text(Who::End(from), field, first);
            }
        }
        self.forget(At::Record);
    }

    /// What is held of a record goes.
    fn forget(&mut self, at: At) {
        self.sender.zeroize();
        self.at = at;
    }
}

struct Astm {
    framed: bool,
    ways: [Records; 2],
    /// The end that sent a frame.
    sender: Option<usize>,
    served: bool,
}

impl Astm {
    fn new(framed: bool) -> Self {
        Self { framed, ways: [Records::default(), Records::default()], sender: None, served: false }
    }
}

impl Conversation for Astm {
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        let Some(records) = self.ways.get_mut(from) else { return Step::Enough };
        if !self.framed {
            records.feed(from, octets, say);
            return Step::Read(octets.len());
        }
        match octets {
            [STX, rest @ ..] => match frame_octets(rest) {
                Some(frame) => {
                    let Some((frame, _)) = rest.split_at_checked(frame) else { return Step::Enough };
                    let number = frame.first().copied();
                    if let Some(text) = text_of(frame).filter(|_| number != records.frame) {
                        self.sender.get_or_insert(from);
                        records.frame = number;
                        records.feed(from, text, say);
                        if frame.iter().rev().nth(2) == Some(&ETX) {
                            records.end(from, say);
                        }
                    }
                    Step::Read(1 + frame.len())
                }
                None if octets.len() >= FRAME_MAX => Step::Enough,
                None => Step::Read(0),
            },
            [ACK, ..] => {
                if self.sender == Some(1 - (from & 1)) && !self.served {
                    self.served = true;
                    say.serves(from, Protocol::Astm);
                }
                Step::Read(1)
            }
            [EOT | ENQ, ..] => {
                records.forget(At::Record);
                records.frame = None;
                Step::Read(1)
            }
            // Between frames: CR LF, refusals; behind a gap also the rest of a frame.
            _ => {
                Step::Read(octets.iter().position(|octet| matches!(*octet, STX | ACK | EOT | ENQ)).unwrap_or(octets.len()).max(1))
            }
        }
    }

    fn gap(&mut self, from: usize, _octets: u32) -> bool {
        if let Some(records) = self.ways.get_mut(from) {
            records.forget(At::Rest);
        }
        // A frame that begins later has a check sum; bare records go on at the next line.
        true
    }
}

/// Octets of a frame up to its check sum, if that has come.
fn frame_octets(octets: &[u8]) -> Option<usize> {
    let end = octets.iter().position(|octet| matches!(*octet, ETX | ETB))?;
    (octets.len() >= end + 3).then_some(end + 3)
}

/// The text of a frame, if its number is one and its check sum is right (E1381 §6.3.3): the sum of all from the number to ETX
/// or ETB.
fn text_of(frame: &[u8]) -> Option<&[u8]> {
    let (summed, sum) = frame.split_last_chunk::<2>()?;
    let sum = u8::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    let [b'0'..=b'7', text @ .., _] = summed else { return None };
    (summed.iter().fold(0u8, |sum, octet| sum.wrapping_add(*octet)) == sum).then_some(text)
}

/// Tests of whole conversations.
#[cfg(test)]
#[path = "astm_tests.rs"]
mod tests;
