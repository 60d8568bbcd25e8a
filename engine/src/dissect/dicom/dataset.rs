//! Data elements (PS3.5 §7) → the few values that are wanted, whatever the fragments they come in.
//!
//! The elements pass one by one: of each the tag and the length are read, and a value that is not wanted is counted off and
//! never copied. Sequences are passed by their length, or with a bounded depth up to their delimiters; nothing in them is
//! wanted but the UDI of the device. Command sets (PS3.7 §6.3.1) are elements in implicit VR little endian, too.

use zeroize::Zeroize;

use crate::dissect::reader::Reader;

/// Group and number of an element.
pub type Tag = u32;

/// Manufacturer's unique device identifier, by itself or in an item of [`UDI_SEQUENCE`].
pub const UDI: Tag = 0x0018_1009;
const UDI_SEQUENCE: Tag = 0x0018_100a;
const ITEM: Tag = 0xfffe_e000;
const ITEM_END: Tag = 0xfffe_e00d;
const SEQUENCE_END: Tag = 0xfffe_e0dd;
const UNDEFINED: u32 = u32::MAX;

/// Sequences and items of undefined length within each other.
const DEPTH_MAX: u8 = 32;
/// Octets that are kept of a wanted value: several texts of 64.
const KEPT_MAX: usize = 256;
/// Tag, VR, two reserved octets and a long length.
const HEAD_MAX: usize = 12;

/// Value representations with a length of two octets (PS3.5 table 7.1-2).
const SHORT: [[u8; 2]; 21] = [
    *b"AE", *b"AS", *b"AT", *b"CS", *b"DA", *b"DS", *b"DT", *b"FD", *b"FL", *b"IS", *b"LO", *b"LT", *b"PN", *b"SH", *b"SL",
    *b"SS", *b"ST", *b"TM", *b"UI", *b"UL", *b"US",
];
/// Value representations with a length of four octets (PS3.5 table 7.1-1).
const LONG: [[u8; 2]; 13] =
    [*b"OB", *b"OD", *b"OF", *b"OL", *b"OV", *b"OW", *b"SQ", *b"SV", *b"UC", *b"UN", *b"UR", *b"UT", *b"UV"];

/// How data elements are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// Implicit VR little endian.
    Implicit,
    /// Explicit VR little endian, also of compressed images.
    Explicit,
    /// Explicit VR big endian (retired).
    Big,
    /// Not to be read: deflated, or a maker's own.
    Opaque,
    /// The acceptance was not seen: the first element tells.
    Unseen,
}

impl Syntax {
    /// By the UID of a transfer syntax (PS3.5 annex A).
    pub fn of(uid: &[u8]) -> Self {
        match uid {
            b"1.2.840.10008.1.2" => Self::Implicit,
            b"1.2.840.10008.1.2.2" => Self::Big,
            b"1.2.840.10008.1.2.1.99" | b"1.2.840.10008.1.2.4.95" | b"1.2.840.10008.1.2.4.205" => Self::Opaque,
            _ if uid.starts_with(b"1.2.840.10008.1.2.") => Self::Explicit,
            _ => Self::Opaque,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum At {
    /// Tag and length.
    Head,
    /// So many octets of a value that is not wanted.
    Skip(u32),
    /// So many octets of a wanted value.
    Keep(Tag, u32),
    /// Behind all that is wanted, or off the elements' bounds.
    Done,
}

/// A set of data elements that comes in fragments.
pub struct Elements {
    syntax: Syntax,
    wanted: &'static [Tag],
    at: At,
    head: [u8; HEAD_MAX],
    head_octets: usize,
    kept: Vec<u8>,
    /// Octets read so far.
    passed: u64,
    /// Newest tag outside of sequences: they ascend.
    last: Option<Tag>,
    depth: u8,
    /// Depth of a sequence of unknown VR, in which all is implicit (PS3.5 §6.2.2).
    implicit_from: Option<u8>,
    /// Where the UDI sequence that is being read ends; [`u64::MAX`] when its delimiter says so.
    udi_to: Option<u64>,
}

impl Elements {
    /// A set of which those tags are wanted, in ascending order.
    pub const fn new(syntax: Syntax, wanted: &'static [Tag]) -> Self {
        Self {
            syntax,
            wanted,
            at: if matches!(syntax, Syntax::Opaque) { At::Done } else { At::Head },
            head: [0; HEAD_MAX],
            head_octets: 0,
            kept: Vec::new(),
            passed: 0,
            last: None,
            depth: 0,
            implicit_from: None,
            udi_to: None,
        }
    }

    /// A set that nobody wants.
    pub const fn unwanted() -> Self {
        Self::new(Syntax::Opaque, &[])
    }

    /// Reads a fragment; calls `each` for every wanted value that it completes, with at most [`KEPT_MAX`] octets of it.
    pub fn feed(&mut self, octets: &[u8], each: &mut dyn FnMut(Tag, &[u8])) {
        let mut reader = Reader::new(octets);
        while !reader.is_empty() {
            let before = reader.len();
            match self.at {
                At::Head => {
                    self.read_head(&mut reader);
                    self.passed += (before - reader.len()) as u64;
                    if self.head_octets == self.head_needs() {
                        self.at = self.element();
                        self.head.zeroize();
                        self.head_octets = 0;
                    }
                }
                At::Skip(left) => {
                    let taken = reader.take_up_to(left as usize).len() as u32;
                    self.passed += u64::from(taken);
                    self.at = if taken == left { At::Head } else { At::Skip(left - taken) };
                }
                At::Keep(tag, left) => {
                    let taken = reader.take_up_to(left as usize);
                    let room = KEPT_MAX.saturating_sub(self.kept.len());
                    self.kept.reserve_exact(KEPT_MAX.saturating_sub(self.kept.len()));
                    self.kept.extend_from_slice(taken.get(..room).unwrap_or(taken));
                    self.passed += taken.len() as u64;
                    let left = left - taken.len() as u32;
                    self.at = At::Keep(tag, left);
                    if left == 0 {
                        each(tag, &self.kept);
                        self.kept.zeroize();
                        self.at = At::Head;
                    }
                }
                At::Done => return,
            }
        }
    }

    /// So many octets of the set are lost: a value that is passed anyway bears it.
    pub fn gap(&mut self, octets: u32) {
        self.passed += u64::from(octets);
        self.kept.zeroize();
        self.at = match self.at {
            At::Skip(left) | At::Keep(_, left) if octets < left => At::Skip(left - octets),
            At::Skip(left) | At::Keep(_, left) if octets == left => At::Head,
            _ => At::Done,
        };
    }

    fn read_head(&mut self, reader: &mut Reader<'_>) {
        // Twice at most: the first eight octets tell whether four more belong to it.
        for _ in 0..2 {
            let needs = self.head_needs();
            let missing = needs.saturating_sub(self.head_octets);
            let taken = reader.take_up_to(missing);
            if let Some(room) = self.head.get_mut(self.head_octets..self.head_octets + taken.len()) {
                room.copy_from_slice(taken);
                self.head_octets += taken.len();
            }
        }
    }

    fn head_needs(&self) -> usize {
        if self.head_octets < 8 {
            return 8;
        }
        let [_, _, _, _, a, b, ..] = self.head;
        let is_item = self.tag() >> 16 == ITEM >> 16;
        if !is_item && self.reads_as() != Syntax::Implicit && LONG.contains(&[a, b]) { HEAD_MAX } else { 8 }
    }

    /// The syntax at this depth.
    fn reads_as(&self) -> Syntax {
        let [_, _, _, _, a, b, ..] = self.head;
        match self.syntax {
            _ if self.implicit_from.is_some() => Syntax::Implicit,
            Syntax::Unseen if SHORT.contains(&[a, b]) || LONG.contains(&[a, b]) => Syntax::Explicit,
            Syntax::Unseen => Syntax::Implicit,
            syntax => syntax,
        }
    }

    fn tag(&self) -> Tag {
        let [a, b, c, d, ..] = self.head;
        match self.syntax {
            Syntax::Big => u32::from_be_bytes([a, b, c, d]),
            _ => u32::from_be_bytes([b, a, d, c]),
        }
    }

    /// Length of the value, if the head is one of an element; whether it has an unknown VR.
    fn length(&self, tag: Tag) -> Option<(u32, bool)> {
        let [_, _, _, _, a, b, c, d, rest @ ..] = self.head;
        let four = |octets| if self.syntax == Syntax::Big { u32::from_be_bytes(octets) } else { u32::from_le_bytes(octets) };
        let two = |octets| if self.syntax == Syntax::Big { u16::from_be_bytes(octets) } else { u16::from_le_bytes(octets) };
        if tag >> 16 == ITEM >> 16 || self.reads_as() == Syntax::Implicit {
            return Some((four([a, b, c, d]), false));
        }
        if SHORT.contains(&[a, b]) {
            return Some((two([c, d]).into(), false));
        }
        LONG.contains(&[a, b]).then(|| (four(rest), [a, b] == *b"UN"))
    }

    /// What follows the head that is complete now.
    fn element(&mut self) -> At {
        let tag = self.tag();
        let Some((length, is_unknown)) = self.length(tag) else { return At::Done };
        if self.syntax == Syntax::Unseen {
            self.syntax = self.reads_as();
        }
        if self.depth == 0 && self.udi_to.is_some_and(|to| self.passed > to) {
            self.udi_to = None;
        }
        match tag {
            ITEM | ITEM_END | SEQUENCE_END => return self.delimiter(tag, length),
            _ => {}
        }
        if self.depth == 0 && self.udi_to.is_none() {
            let is_behind = self.wanted.last().is_none_or(|last| tag > *last);
            let is_in_order = match self.last {
                Some(last) => tag > last,
                None => self.wanted.first().is_some_and(|first| tag >> 16 <= first >> 16),
            };
            if is_behind || !is_in_order {
                return At::Done;
            }
            self.last = Some(tag);
        }
        let begins_udi = tag == UDI_SEQUENCE && self.depth == 0 && self.udi_to.is_none() && self.wanted.contains(&UDI);
        if length == UNDEFINED {
            if begins_udi {
                self.udi_to = Some(u64::MAX);
            }
            if is_unknown && self.implicit_from.is_none() {
                self.implicit_from = Some(self.depth);
            }
            return self.deeper();
        }
        if begins_udi {
            self.udi_to = Some(self.passed + u64::from(length));
            return At::Head;
        }
        let is_wanted = match self.udi_to {
            Some(_) => tag == UDI,
            None => self.depth == 0 && self.wanted.contains(&tag),
        };
        match length {
            0 => At::Head,
            _ if is_wanted => At::Keep(tag, length),
            _ => At::Skip(length),
        }
    }

    fn delimiter(&mut self, tag: Tag, length: u32) -> At {
        if tag == ITEM {
            return match length {
                UNDEFINED if self.depth > 0 || self.udi_to.is_some() => self.deeper(),
                0 => At::Head,
                _ if self.udi_to.is_some() => At::Head,
                _ if self.depth > 0 => At::Skip(length),
                _ => At::Done,
            };
        }
        let Some(depth) = self.depth.checked_sub(1) else { return At::Done };
        self.depth = depth;
        if self.implicit_from == Some(depth) {
            self.implicit_from = None;
        }
        if depth == 0 && self.udi_to == Some(u64::MAX) {
            self.udi_to = None;
        }
        At::Head
    }

    fn deeper(&mut self) -> At {
        self.depth += 1;
        if self.depth > DEPTH_MAX { At::Done } else { At::Head }
    }
}

impl Drop for Elements {
    fn drop(&mut self) {
        self.head.zeroize();
        self.kept.zeroize();
    }
}

/// Tests of the elements.
#[cfg(test)]
#[path = "dataset_tests.rs"]
mod tests;
