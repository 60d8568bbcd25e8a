//! MSH and SFT (HL7 v2 §2.14.9, §2.14.12) → who speaks to whom, in which version, with which software.

use super::is_token;
use crate::{
    dissect::{Say, Who},
    observation::Field,
};

/// MSH-10, counted as in the standard.
pub const CONTROL_ID: usize = 10;
const SENDER: [(usize, Field); 2] = [(3, Field::Hl7Application), (4, Field::Hl7Facility)];
const RECEIVER: [(usize, Field); 2] = [(5, Field::Hl7Application), (6, Field::Hl7Facility)];
const KIND: usize = 9;
const VERSION: usize = 12;
const PROFILE: usize = 21;
/// Profiles that a message says it follows.
const PROFILES_MAX: usize = 4;
/// Longest message type with its event.
const KIND_MAX: usize = 16;

/// Delimiters of a message (MSH-1, MSH-2).
#[derive(Clone, Copy)]
pub struct Header {
    /// Between fields.
    pub field: u8,
    /// Between components.
    pub component: u8,
    /// Between repetitions.
    pub repetition: u8,
    /// It is an acknowledgement.
    pub is_answer: bool,
}

/// Whether a message's header begins here: `MSH`, a separator, and other delimiters up to the next one. `None`: as far as it
/// goes.
pub fn begins(octets: &[u8], framed: bool) -> Option<bool> {
    let name = b"MSH";
    if octets.iter().zip(name).any(|(octet, expect)| octet != expect) {
        return Some(false);
    }
    let behind = octets.get(name.len()..)?;
    let (separator, delimiters) = behind.split_first()?;
    if !separator.is_ascii_punctuation() || !framed && *separator != b'|' {
        return Some(false);
    }
    // Component, repetition, escape, sub-component, and truncation from version 2.7 on; old senders may leave some out.
    let count = delimiters.iter().take_while(|octet| octet.is_ascii_punctuation() && *octet != separator).count();
    let is_bare = framed || delimiters.iter().zip(b"^~\\&").all(|(octet, expect)| octet == expect);
    match delimiters.get(count) {
        _ if count > 5 || !is_bare => Some(false),
        Some(end) => Some(end == separator && count >= if framed { 2 } else { 4 }),
        None => None,
    }
}

impl Header {
    /// By a whole header segment.
    pub fn read(segment: &[u8]) -> Option<Self> {
        begins(segment, true).filter(|begins| *begins)?;
        let [_, _, _, field, component, repetition, ..] = segment else { return None };
        let header = Self { field: *field, component: *component, repetition: *repetition, is_answer: false };
        let is_answer = header.component(header.nth(segment, KIND), 1) == b"ACK";
        Some(Self { is_answer, ..header })
    }

    /// A field of a segment, counted as the standard does; empty if it is not there.
    pub fn nth<'a>(&self, segment: &'a [u8], number: usize) -> &'a [u8] {
        // MSH-1 is the separator itself.
        let index = if segment.starts_with(b"MSH") { number.saturating_sub(1) } else { number };
        segment.split(|octet| *octet == self.field).nth(index).unwrap_or_default()
    }

    /// A component of a field, from 1 on; empty if it is not there.
    pub fn component<'a>(&self, field: &'a [u8], number: usize) -> &'a [u8] {
        field.split(|octet| *octet == self.component).nth(number.saturating_sub(1)).unwrap_or_default()
    }

    /// Repetitions of a field.
    pub fn repetitions<'a>(&self, field: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let repetition = self.repetition;
        field.split(move |octet| *octet == repetition)
    }

    /// Message type and event, as `ORU_R01`.
    pub fn kind(&self, segment: &[u8]) -> Option<Box<str>> {
        let field = self.nth(segment, KIND);
        let (kind, event) = (self.component(field, 1), self.component(field, 2));
        if !is_token(kind) || kind.len() + event.len() > KIND_MAX {
            return None;
        }
        let kind = std::str::from_utf8(kind).ok()?;
        match std::str::from_utf8(event).ok().filter(|event| is_token(event.as_bytes())) {
            Some(event) => Some(format!("{kind}_{event}").into()),
            None => Some(kind.into()),
        }
    }

    /// Says what the header segment says of both ends.
    pub fn say(&self, from: usize, segment: &[u8], say: &mut Say<'_>) {
        for (who, fields) in [(from, SENDER), (1 - from, RECEIVER)] {
            for (number, field) in fields {
                say.text(Who::End(who), field, self.name(self.nth(segment, number)));
            }
        }
        say.text(Who::End(from), Field::Hl7Version, self.component(self.nth(segment, VERSION), 1));
        for profile in self.repetitions(self.nth(segment, PROFILE)).take(PROFILES_MAX) {
            say.text(Who::End(from), Field::Hl7Profile, self.name(profile));
        }
    }

    /// Of a hierarchic designator or entity identifier the first component, or else the universal id (HD-2, EI-3).
    fn name<'a>(&self, field: &'a [u8]) -> &'a [u8] {
        let components = [1, 2, 3].map(|number| self.component(field, number).trim_ascii());
        components.into_iter().find(|component| !component.is_empty()).unwrap_or_default()
    }

    /// Says what a software segment says: vendor (an organisation's name), version, product.
    pub fn read_software(&self, from: usize, segment: &[u8], say: &mut Say<'_>) {
        say.text(Who::End(from), Field::Hl7SoftwareVendor, self.component(self.nth(segment, 1), 1));
        say.text(Who::End(from), Field::Hl7SoftwareVersion, self.nth(segment, 2));
        say.text(Who::End(from), Field::Hl7SoftwareProduct, self.nth(segment, 3));
    }
}
