//! DICOM upper layer (PS3.8 §9.3): the PDUs of both directions, on any port → associations, messages, stored objects.
//!
//! PDUs are read as they come, in pieces of any size: of each only lengths are remembered, so that nothing waits for the end
//! of an image. Behind a gap a direction goes on when the lengths say where it is: within a value that is passed, at the next
//! presentation-data-value, or at the next PDU.

mod associate;
mod command;
mod dataset;

use self::{
    associate::{ACCEPT, Association, FIXED, REQUEST, USER},
    command::Messages,
};
use super::{Conversation, Lead, Opening, Say, Step, Who, reader::Reader};
use crate::observation::{Field, Protocol};

const REJECT: u8 = 3;
const DATA: u8 = 4;
const ABORT: u8 = 7;

/// Type, reserved octet, length.
const PDU_HEAD: usize = 6;
/// Longest PDU that is believed: peers agree on a maximum, and 0 means none.
const PDU_MAX: u32 = 1 << 30;
/// Item of an association that is waited for; a longer one is left out.
const ITEM_MAX: usize = 4 << 10;
/// Length, context, control octet.
const VALUE_HEAD: u32 = 6;

/// Recognises an association by its first PDU.
pub fn open(lead: &Lead<'_>) -> Opening {
    match associate::opens(lead) {
        Ok(requestor) => {
            Opening::Yes(Box::new(Dicom { association: Association::new(requestor), ways: [Way::default(), Way::default()] }))
        }
        Err(opening) => opening,
    }
}

#[derive(Clone, Copy, Default)]
enum At {
    /// The head of a PDU.
    #[default]
    Head,
    /// The fixed part of an association PDU of that type.
    Fixed(u8),
    /// The items of one.
    Items(u8),
    /// Result, source and reason of a rejection.
    Rejection,
    /// The head of a presentation-data-value.
    ValueHead,
    /// So many octets of a presentation-data-value; whether it is the last of its set.
    Value(u32, bool),
    /// Octets that nobody wants, then that.
    Skip(u32, Behind),
}

#[derive(Clone, Copy)]
enum Behind {
    Items(u8),
    Pdu,
}

/// One direction.
#[derive(Default)]
struct Way {
    at: At,
    /// Octets of the PDU that are not read yet.
    left: u32,
    messages: Messages,
}

struct Dicom {
    association: Association,
    ways: [Way; 2],
}

impl Conversation for Dicom {
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        let mut reader = Reader::new(octets);
        while !reader.is_empty() {
            match self.step(from, &mut reader, say) {
                Some(true) => {}
                Some(false) => return Step::Enough,
                None => break,
            }
        }
        Step::Read(octets.len() - reader.len())
    }

    fn gap(&mut self, from: usize, octets: u32) -> bool {
        let Some(way) = self.ways.get_mut(from) else { return false };
        if matches!(way.at, At::Head) || octets > way.left {
            return false;
        }
        way.gap(octets);
        true
    }
}

impl Dicom {
    /// Reads one thing: whether to go on, or `None` if more must come first.
    fn step(&mut self, from: usize, reader: &mut Reader<'_>, say: &mut Say<'_>) -> Option<bool> {
        let Self { association, ways } = self;
        let way = ways.get_mut(from)?;
        let before = reader.len();
        match way.at {
            At::Head => return way.head(from, association, reader, say),
            At::Fixed(kind) => {
                association.read_fixed(kind, reader.take(FIXED)?, say);
                if kind == ACCEPT {
                    say.serves(association.acceptor(), Protocol::Dicom);
                }
                way.at = At::Items(kind);
            }
            At::Items(kind) => way.item(kind, association, reader, say)?,
            At::Rejection => {
                let [_, _, _, reason] = reader.array()?;
                if from == association.acceptor() {
                    say.number(Who::End(association.requestor), Field::DicomRejected, reason.into());
                }
            }
            At::ValueHead => way.value_head(association, reader)?,
            At::Value(left, is_last) => {
                let octets = reader.take_up_to(left as usize);
                way.messages.feed(from, from == association.requestor, octets, say);
                way.value_read(left - octets.len() as u32, is_last);
            }
            At::Skip(left, behind) => {
                let skipped = reader.take_up_to(left as usize).len() as u32;
                way.skipped(left - skipped, behind);
            }
        }
        way.count((before - reader.len()) as u32);
        Some(true)
    }
}

impl Way {
    /// The head of a PDU. Whether it can be one.
    fn head(&mut self, from: usize, association: &mut Association, reader: &mut Reader<'_>, say: &mut Say<'_>) -> Option<bool> {
        let mut head = reader.part(PDU_HEAD)?;
        let (kind, _, length) = (head.u8()?, head.u8()?, head.u32()?);
        let side = if kind == REQUEST { association.requestor } else { association.acceptor() };
        self.at = match kind {
            REQUEST | ACCEPT if side == from && length as usize >= FIXED => At::Fixed(kind),
            REJECT if length == 4 => At::Rejection,
            DATA => {
                if from == association.requestor {
                    association.is_accepted(say);
                }
                association.settle();
                At::ValueHead
            }
            // Release, its answer, abort.
            5..=ABORT if length == 4 => At::Skip(length, Behind::Pdu),
            _ => return Some(false),
        };
        self.left = length;
        self.count(0);
        Some(length <= PDU_MAX)
    }

    /// One item of an association.
    fn item(&mut self, kind: u8, association: &mut Association, reader: &mut Reader<'_>, say: &mut Say<'_>) -> Option<()> {
        if self.left < 4 {
            self.at = At::Skip(self.left, Behind::Pdu);
            return Some(());
        }
        let mut item = *reader;
        let (item_kind, _, length) = (item.u8()?, item.u8()?, item.u16()?);
        if item_kind == USER {
            return reader.skip(4);
        }
        if usize::from(length) > ITEM_MAX || u32::from(length) + 4 > self.left {
            self.at = At::Skip(u32::from(length).min(self.left.saturating_sub(4)), Behind::Items(kind));
            return reader.skip(4);
        }
        let body = item.take(length.into())?;
        association.read_item(kind, item_kind, body, say);
        *reader = item;
        Some(())
    }

    fn value_head(&mut self, association: &Association, reader: &mut Reader<'_>) -> Option<()> {
        if self.left < VALUE_HEAD {
            self.at = At::Skip(self.left, Behind::Pdu);
            return Some(());
        }
        let mut head = reader.part(VALUE_HEAD as usize)?;
        let (length, context, control) = (head.u32()?, head.u8()?, head.u8()?);
        let in_pdu = self.left.saturating_sub(VALUE_HEAD);
        match length.checked_sub(2).filter(|length| *length <= in_pdu && context & 1 == 1) {
            Some(length) => {
                self.messages.begin(control & 1 == 1, association.syntax(context));
                self.value_read(length, control & 2 == 2);
            }
            None => {
                self.messages.lose();
                self.at = At::Skip(in_pdu, Behind::Pdu);
            }
        }
        Some(())
    }

    /// Of a presentation-data-value so many octets are left.
    fn value_read(&mut self, left: u32, is_last: bool) {
        self.at = if left > 0 {
            At::Value(left, is_last)
        } else {
            if is_last {
                self.messages.end();
            }
            At::ValueHead
        };
    }

    fn skipped(&mut self, left: u32, behind: Behind) {
        self.at = match (left, behind) {
            (0, Behind::Items(kind)) => At::Items(kind),
            (0, Behind::Pdu) => At::Head,
            _ => At::Skip(left, behind),
        };
    }

    /// So many octets of the PDU are read, or lost.
    fn count(&mut self, octets: u32) {
        self.left = self.left.saturating_sub(octets);
        if self.left == 0 {
            self.at = At::Head;
        }
    }

    /// So many octets of the PDU, not more than are left of it, are lost.
    fn gap(&mut self, octets: u32) {
        match self.at {
            At::Value(left, is_last) if octets <= left => {
                self.messages.gap(octets);
                self.value_read(left - octets, is_last);
            }
            At::Skip(left, behind) if octets <= left => self.skipped(left - octets, behind),
            _ => {
                self.messages.lose();
                self.at = At::Skip(self.left - octets, Behind::Pdu);
            }
        }
        self.count(octets);
    }
}

/// Tests of whole conversations.
#[cfg(test)]
#[path = "dicom_tests.rs"]
mod tests;
