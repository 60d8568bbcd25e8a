//! OBX-18, PRT-10 and PRT-16 (HL7 v2 §7.4.2, §7.4.4; IHE DEV) → identifiers of the equipment that made a result.
//!
//! Fields are counted, and none is held but the one that is wanted. A separator that stands unescaped in a text would shift a
//! person's words into the place of an identifier: of OBX the value types of free text are passed, and so is any whose status
//! (OBX-11) is not one letter; of PRT any whose action (PRT-2) is not two.

use super::header::Header;
use crate::{
    dissect::{Say, Who},
    observation::Field,
};

/// Identifiers in one field.
const REPETITIONS_MAX: usize = 8;
/// Free text, and what is encapsulated or points to it.
const TEXTS: [&[u8]; 4] = [b"TX", b"FT", b"ED", b"RP"];
const EUI64: &[u8] = b"EUI-64";
const EUI64_DIGITS: usize = 16;

/// Fields of one OBX or PRT segment.
#[derive(Clone, Copy)]
pub struct Fields {
    /// Delimiters of the message.
    pub header: Header,
    is_participation: bool,
    number: u8,
    /// The field at hand is longer than what is waited for: it is not read.
    pub is_cut: bool,
}

impl Fields {
    /// In front of the first field.
    pub const fn new(is_participation: bool, header: Header) -> Self {
        Self { header, is_participation, number: 1, is_cut: false }
    }

    /// The field at hand must be seen as a whole.
    pub const fn is_wanted(&self) -> bool {
        !self.is_cut
            && if self.is_participation { matches!(self.number, 2 | 10 | 16) } else { matches!(self.number, 2 | 11 | 18) }
    }

    /// The field at hand ends with those octets. Whether the segment is worth going on with.
    pub fn take(&mut self, from: usize, field: &[u8], say: &mut Say<'_>) -> bool {
        let is_fit = match (self.is_participation, self.number) {
            (false, 2) => !self.is_cut && !TEXTS.contains(&field),
            (false, 11) => !self.is_cut && matches!(field, [b'A'..=b'Z']),
            (true, 2) => !self.is_cut && matches!(field, [b'A'..=b'Z', b'A'..=b'Z']),
            (false, 18) | (true, 10 | 16) if !self.is_cut => {
                self.say_identifiers(from, field, say);
                true
            }
            _ => true,
        };
        let last = if self.is_participation { 16 } else { 18 };
        self.number += 1;
        self.is_cut = false;
        is_fit && self.number <= last
    }

    fn say_identifiers(&self, from: usize, field: &[u8], say: &mut Say<'_>) {
        let who = Who::End(from);
        for identifier in self.header.repetitions(field).take(REPETITIONS_MAX) {
            let [id, namespace, universal, kind] =
                [1, 2, 3, 4].map(|number| self.header.component(identifier, number).trim_ascii());
            let is_eui64 = kind.eq_ignore_ascii_case(EUI64) || namespace.eq_ignore_ascii_case(EUI64);
            let eui64 = [universal, id].into_iter().find(|text| is_eui64 && is_eui64_text(text));
            if let Some(eui64) = eui64 {
                say.text(who, Field::Hl7Eui64, eui64);
            }
            let udi = [id, universal].into_iter().find(|text| is_udi(text));
            if let Some(udi) = udi {
                say.text(who, Field::Hl7Udi, udi);
            }
            if eui64 == Some(id) || udi == Some(id) {
                continue;
            }
            // What PRT-16 holds is a UDI, or the part of one that stands for the product.
            let is_udi_field = self.is_participation && self.number == 16;
            say.text(who, if is_udi_field { Field::Hl7Udi } else { Field::Hl7Equipment }, id);
        }
    }
}

/// Sixteen hexadecimal digits, with or without separators.
fn is_eui64_text(text: &[u8]) -> bool {
    let is_formed = text.iter().all(|octet| octet.is_ascii_hexdigit() || matches!(octet, b'-' | b':'));
    is_formed && text.iter().filter(|octet| octet.is_ascii_hexdigit()).count() == EUI64_DIGITS
}

/// The forms of the agencies that issue UDIs: GS1, HIBCC, ICCBBA.
fn is_udi(text: &[u8]) -> bool {
    let is_gs1 = text.strip_prefix(b"(01)").is_some_and(|rest| rest.len() >= 14 && rest.iter().take(14).all(u8::is_ascii_digit));
    let is_other = matches!(text, [b'+' | b'=', next, ..] if next.is_ascii_alphanumeric() || *next == b'/') && text.len() >= 8;
    is_gs1 || is_other
}
