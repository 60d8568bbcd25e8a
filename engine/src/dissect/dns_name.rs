//! Messages of the form of DNS (RFC 1035 §4), which mDNS and LLMNR share.
//!
//! The walk is lenient: a record whose name or data is broken loses only itself, as long as its length can be read. Compression
//! is followed backwards only and a bounded number of times.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::reader::Reader;

pub const TYPE_A: u16 = 1;
pub const TYPE_PTR: u16 = 12;
pub const TYPE_TXT: u16 = 16;
pub const TYPE_AAAA: u16 = 28;
pub const TYPE_SRV: u16 = 33;
pub const TYPE_ANY: u16 = 255;
const CLASS_IN: u16 = 1;
/// Top bit of a class: unicast answers are welcome, or the record replaces others (RFC 6762 §5.4, §10.2).
const CLASS_FLAG: u16 = 0x8000;
const FLAG_ANSWER: u16 = 0x8000;
/// Octets of a name as text: 255 on the wire have a length before the first label and the root's (RFC 1035 §2.3.4).
const NAME_MAX: usize = 253;
const POINTERS_MAX: usize = 16;
const QUESTIONS_MAX: usize = 64;
const RECORDS_MAX: usize = 256;

/// A name as text: labels joined by dots, without the root's.
pub struct Name {
    octets: [u8; NAME_MAX],
    len: usize,
    /// Where the label after the first begins.
    second: usize,
}

impl Name {
    /// The text.
    pub fn text(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }

    /// The first label, which may hold dots of its own.
    pub fn first(&self) -> &[u8] {
        self.octets.get(..self.second.saturating_sub(1)).unwrap_or_default()
    }

    /// What follows the first label.
    pub fn rest(&self) -> &[u8] {
        self.octets.get(self.second..self.len).unwrap_or_default()
    }

    /// The text without `suffix`, in any case.
    pub fn without(&self, suffix: &str) -> Option<&[u8]> {
        let text = self.text();
        let (head, tail) = text.split_at_checked(text.len().checked_sub(suffix.len())?)?;
        tail.eq_ignore_ascii_case(suffix.as_bytes()).then_some(head)
    }

    /// The address that a name of the reverse tree stands for (RFC 1035 §3.5, RFC 3596 §2.5).
    pub fn reversed_address(&self) -> Option<IpAddr> {
        if let Some(labels) = self.without(".in-addr.arpa") {
            let mut octets = [0; 4];
            let mut labels = labels.split(|octet| *octet == b'.');
            for place in octets.iter_mut().rev() {
                *place = std::str::from_utf8(labels.next()?).ok()?.parse().ok()?;
            }
            return labels.next().is_none().then(|| Ipv4Addr::from(octets).into());
        }
        let digits = self.without(".ip6.arpa").filter(|digits| digits.len() == 63)?;
        let mut bits = 0u128;
        for (place, digit) in digits.iter().step_by(2).enumerate() {
            bits |= u128::from(char::from(*digit).to_digit(16)?) << (4 * place);
        }
        Some(Ipv6Addr::from(bits).into())
    }
}

/// A question.
pub struct Question {
    pub name: Name,
    pub kind: u16,
}

/// A resource record. Its data may hold names that point into the message.
pub struct Record {
    pub name: Name,
    pub kind: u16,
    pub seconds: u32,
    /// Where its data is in the message.
    data: (usize, usize),
}

/// A section of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Answer,
    Authority,
    Additional,
}

/// A message.
pub struct Message<'a> {
    octets: &'a [u8],
    /// Flags and codes.
    pub flags: u16,
    pub questions: Vec<Question>,
    pub records: Vec<(Section, Record)>,
    /// Every record that was announced was there, and nothing behind them.
    pub exact: bool,
}

impl<'a> Message<'a> {
    /// Reads a message. `None`: it cannot be one, or not even its questions are whole.
    pub fn read(octets: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(octets);
        let [_id, flags, questions, answers, authorities, additionals] = {
            let mut words = [0; 6];
            for word in &mut words {
                *word = reader.u16()?;
            }
            words
        };
        let mut message = Self { octets, flags, questions: Vec::new(), records: Vec::new(), exact: false };
        let counts = [(Section::Answer, answers), (Section::Authority, authorities), (Section::Additional, additionals)];
        let records = counts.iter().map(|(_, count)| usize::from(*count)).sum::<usize>();
        if usize::from(questions) > QUESTIONS_MAX || records > RECORDS_MAX || usize::from(questions) + records == 0 {
            return None;
        }
        for _ in 0..questions {
            let at = octets.len() - reader.len();
            skip_name(&mut reader)?;
            let (kind, class) = (reader.u16()?, reader.u16()?);
            let is_known_class = matches!(class & !CLASS_FLAG, CLASS_IN | 3 | 255);
            if !is_known_class || kind == 0 {
                return None;
            }
            message.questions.push(Question { name: message.name(at)?, kind });
        }
        message.exact = message.take_records(&mut reader, counts).is_some() && reader.is_empty();
        Some(message)
    }

    fn take_records(&mut self, reader: &mut Reader<'a>, counts: [(Section, u16); 3]) -> Option<()> {
        for (section, count) in counts {
            for _ in 0..count {
                let at = self.octets.len() - reader.len();
                skip_name(reader)?;
                let (kind, class, seconds) = (reader.u16()?, reader.u16()?, reader.u32()?);
                let octets = usize::from(reader.u16()?);
                let data = (self.octets.len() - reader.len(), octets);
                reader.skip(octets)?;
                if class & !CLASS_FLAG == CLASS_IN
                    && let Some(name) = self.name(at)
                {
                    self.records.push((section, Record { name, kind, seconds, data }));
                }
            }
        }
        Some(())
    }

    /// It is an answer, and not a question.
    pub const fn is_answer(&self) -> bool {
        self.flags & FLAG_ANSWER != 0
    }

    /// The operation code.
    pub const fn operation(&self) -> u16 {
        self.flags >> 11 & 15
    }

    /// A record's data.
    pub fn data(&self, record: &Record) -> &'a [u8] {
        let (at, octets) = record.data;
        self.octets.get(at..at + octets).unwrap_or_default()
    }

    /// The address of an A or AAAA record.
    pub fn address(&self, record: &Record) -> Option<IpAddr> {
        let data = self.data(record);
        match record.kind {
            TYPE_A => <[u8; 4]>::try_from(data).ok().map(|octets| Ipv4Addr::from(octets).into()),
            TYPE_AAAA => <[u8; 16]>::try_from(data).ok().map(|octets| Ipv6Addr::from(octets).into()),
            _ => None,
        }
    }

    /// The name that the data of a record of type PTR or SRV holds.
    pub fn target(&self, record: &Record) -> Option<Name> {
        match record.kind {
            TYPE_PTR => self.name(record.data.0),
            // Priority, weight and port come first (RFC 2782).
            TYPE_SRV if record.data.1 > 6 => self.name(record.data.0 + 6),
            _ => None,
        }
    }

    /// The name that begins at `at`.
    fn name(&self, at: usize) -> Option<Name> {
        let mut name = Name { octets: [0; NAME_MAX], len: 0, second: 0 };
        let (mut reader, mut limit) = (Reader::new(self.octets.get(at..)?), at);
        let mut pointers = 0;
        loop {
            let octets = usize::from(reader.u8()?);
            match octets {
                0 => break,
                1..=63 => {
                    let label = reader.take(octets)?;
                    let start = if name.len == 0 { 0 } else { name.len + 1 };
                    name.octets.get_mut(start..start + octets)?.copy_from_slice(label);
                    if start > 0 {
                        *name.octets.get_mut(start - 1)? = b'.';
                        name.second = if name.second == 0 { start } else { name.second };
                    }
                    name.len = start + octets;
                }
                0xc0.. => {
                    let to = (octets & 0x3f) << 8 | usize::from(reader.u8()?);
                    pointers += 1;
                    // Only what came before can be pointed to, so that a walk ends.
                    if to >= limit || pointers > POINTERS_MAX {
                        return None;
                    }
                    limit = to;
                    reader = Reader::new(self.octets.get(to..)?);
                }
                _ => return None,
            }
        }
        if name.second == 0 {
            name.second = name.len + 1;
        }
        Some(name)
    }
}

/// Leaves out a name where it stands, wherever it points to.
fn skip_name(reader: &mut Reader<'_>) -> Option<()> {
    for _ in 0..NAME_MAX {
        match reader.u8()? {
            0 => return Some(()),
            octets @ 1..=63 => reader.skip(octets.into())?,
            0xc0.. => return reader.skip(1),
            _ => return None,
        }
    }
    None
}

/// Messages made by hand, for the tests of those who read them.
#[cfg(test)]
pub mod made {
    /// A name without compression.
    pub fn name(text: &str) -> Vec<u8> {
        let mut octets: Vec<u8> = text
            .split('.')
            .filter(|label| !label.is_empty())
            .flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat())
            .collect();
        octets.push(0);
        octets
    }

    /// A question of class IN.
    pub fn question(text: &str, kind: u16) -> Vec<u8> {
        [&name(text)[..], &kind.to_be_bytes(), &[0, 1]].concat()
    }

    /// A record of class IN.
    pub fn record(text: &str, kind: u16, data: &[u8]) -> Vec<u8> {
        [&name(text)[..], &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 120], &(data.len() as u16).to_be_bytes(), data].concat()
    }

    /// A message of that many entries per section.
    pub fn message(flags: u16, counts: [u8; 4], entries: &[Vec<u8>]) -> Vec<u8> {
        let [a, b, c, d] = counts;
        [&[0, 7], &flags.to_be_bytes()[..], &[0, a, 0, b, 0, c, 0, d], &entries.concat()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::{made::*, *};

    #[test]
    fn names_are_followed_backwards_and_no_further() {
        let mut octets = message(0x8000, [1, 2, 0, 0], &[question("host.example", TYPE_A)]);
        // Points to the question's name; then to itself.
        octets.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 1]);
        let looped = octets.len() as u8;
        octets.extend([0xc0, looped, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 2]);
        let message = Message::read(&octets).expect("a message");
        assert!(message.exact && message.is_answer());
        let [(Section::Answer, record)] = &message.records[..] else { panic!("one record is whole") };
        assert_eq!(record.name.text(), b"host.example");
        assert_eq!((record.name.first(), record.name.rest()), (&b"host"[..], &b"example"[..]));
        assert_eq!(message.address(record), Some(Ipv4Addr::new(10, 0, 0, 1).into()));
        for end in 0..octets.len() {
            assert!(Message::read(&octets[..end]).is_none_or(|part| !part.exact && part.records.len() <= 1), "{end}");
        }
    }

    #[test]
    fn names_of_the_reverse_tree_are_addresses() {
        let address = |text: &str| {
            let octets = message(0, [1, 0, 0, 0], &[question(text, TYPE_PTR)]);
            Message::read(&octets)
                .and_then(|message| message.questions.first().and_then(|question| question.name.reversed_address()))
        };
        assert_eq!(address("4.3.2.10.in-addr.arpa"), Some(Ipv4Addr::new(10, 2, 3, 4).into()));
        assert_eq!(address("3.2.10.in-addr.arpa"), None);
        let zeros = "0.".repeat(27);
        assert_eq!(address(&format!("f.{zeros}0.8.e.f.ip6.arpa")), "fe80::f".parse().ok());
        assert_eq!(address("host.example"), None);
    }

    #[test]
    fn what_cannot_be_a_message_is_refused() {
        assert!(Message::read(&message(0, [0, 0, 0, 0], &[])).is_none());
        assert!(Message::read(&message(0, [1, 0, 0, 0], &[question("a", 0)])).is_none());
        assert!(Message::read(&message(0, [65, 0, 0, 0], &[question("a", 1)])).is_none());
        let long = ["x".repeat(63), "x".repeat(63), "x".repeat(63), "x".repeat(63)].join(".");
        assert!(Message::read(&message(0, [1, 0, 0, 0], &[question(&long, 1)])).is_none());
    }
}
