//! A-ASSOCIATE (PS3.8 §9.3.2 to 9.3.4) → AE titles, SOP classes, transfer syntaxes and implementations of both ends.
//!
//! The requestor proposes SOP classes under presentation context numbers, the acceptor answers with the numbers alone. Either
//! PDU may be read first. The title that was called is said of the acceptor once it has accepted: whoever rejects may bear
//! another one.

use super::dataset::Syntax;
use crate::{
    dissect::{Opening, Say, Who, reader::Reader, stream::Lead},
    observation::Field,
};

/// A-ASSOCIATE-RQ.
pub const REQUEST: u8 = 1;
/// A-ASSOCIATE-AC.
pub const ACCEPT: u8 = 2;
/// Version, titles and reserved octets in front of the items.
pub const FIXED: usize = 68;
/// Item that holds the others of the user.
pub const USER: u8 = 0x50;

const APPLICATION_CONTEXT: u8 = 0x10;
const PROPOSED: u8 = 0x20;
const ANSWERED: u8 = 0x21;
const ABSTRACT_SYNTAX: u8 = 0x30;
const TRANSFER_SYNTAX: u8 = 0x40;
const IMPLEMENTATION_UID: u8 = 0x52;
const IMPLEMENTATION_VERSION: u8 = 0x55;

/// The DICOM application context (PS3.7 annex A.2.1).
const CONTEXT_NAME: &[u8] = b"1.2.840.10008.3.1.1.1";
/// 128 contexts with many transfer syntaxes, and user items, take less.
const OCTETS_MAX: usize = 1 << 18;
/// Numbers of contexts are odd octets.
const CONTEXTS_MAX: usize = 128;
/// Octets of all abstract syntaxes that are held until they are answered.
const NAMES_MAX: usize = 4 << 10;

/// Whether an opening is an association's, and which end asked for it.
pub fn opens(lead: &Lead<'_>) -> Result<usize, Opening> {
    match is_association(lead.octets) {
        Some(true) => Ok(if lead.octets.first() == Some(&REQUEST) { lead.from } else { 1 - lead.from }),
        Some(false) => Err(Opening::No),
        None => Err(lead.more()),
    }
}

/// `None`: as far as it goes.
fn is_association(octets: &[u8]) -> Option<bool> {
    let mut reader = Reader::new(octets);
    if !matches!(reader.u8()?, REQUEST | ACCEPT) || reader.u8()? != 0 {
        return Some(false);
    }
    if !(FIXED + 4..=OCTETS_MAX).contains(&(reader.u32()? as usize)) {
        return Some(false);
    }
    if reader.u16()? & 1 == 0 || reader.u16()? != 0 {
        return Some(false);
    }
    let titles = reader.take_up_to(32);
    if !titles.iter().all(|octet| matches!(octet, 0 | 0x20..0x7f)) {
        return Some(false);
    }
    reader.skip(32)?;
    if reader.u8()? != APPLICATION_CONTEXT || reader.u8()? != 0 {
        return Some(false);
    }
    let length = usize::from(reader.u16()?);
    let is_name = (CONTEXT_NAME.len()..=64).contains(&length);
    Some(is_name && reader.take(CONTEXT_NAME.len())? == CONTEXT_NAME)
}

/// What an association was asked for with, and what was answered.
pub struct Association {
    /// The end that asked.
    pub requestor: usize,
    called: Option<[u8; 16]>,
    request_read: bool,
    accepted: bool,
    /// Context number, and where in `names` its abstract syntax is.
    proposed: Vec<(u8, u16, u8)>,
    names: String,
    taken: Vec<(u8, Syntax)>,
}

impl Association {
    /// Asked for by that end.
    pub const fn new(requestor: usize) -> Self {
        Self {
            requestor,
            called: None,
            request_read: false,
            accepted: false,
            proposed: Vec::new(),
            names: String::new(),
            taken: Vec::new(),
        }
    }

    /// The end that was asked.
    pub const fn acceptor(&self) -> usize {
        1 - (self.requestor & 1)
    }

    /// The fixed part of a PDU.
    pub fn read_fixed(&mut self, kind: u8, octets: &[u8], say: &mut Say<'_>) {
        let mut reader = Reader::new(octets);
        let titles = reader.skip(4).and_then(|()| Some((reader.array::<16>()?, reader.array::<16>()?)));
        let Some((called, calling)) = titles else { return };
        if kind == REQUEST {
            self.request_read = true;
            self.called = Some(called);
            say.text(Who::End(self.requestor), Field::DicomAeTitle, &calling);
        } else {
            // The titles of an acceptance repeat the request's, and are not to be tested.
            self.called = self.called.or(Some(called));
            if !self.request_read {
                say.text(Who::End(self.requestor), Field::DicomAeTitle, &calling);
            }
            self.is_accepted(say);
        }
        if self.accepted {
            self.say_called(say);
        }
    }

    /// There was an acceptance, or something that only follows one.
    pub fn is_accepted(&mut self, say: &mut Say<'_>) {
        if !self.accepted {
            self.accepted = true;
            self.say_called(say);
        }
    }

    fn say_called(&mut self, say: &mut Say<'_>) {
        if let Some(called) = self.called.take() {
            say.text(Who::End(self.acceptor()), Field::DicomAeTitle, &called);
        }
    }

    /// One item of a PDU, or of its user item; whether it said something.
    pub fn read_item(&mut self, kind: u8, item: u8, body: &[u8], say: &mut Say<'_>) -> bool {
        let who = Who::End(if kind == REQUEST { self.requestor } else { self.acceptor() });
        match (kind, item) {
            (REQUEST, PROPOSED) => self.read_proposed(body, say).is_some(),
            (ACCEPT, ANSWERED) => self.read_answered(body, say).is_some(),
            (_, IMPLEMENTATION_UID) => say.text(who, Field::DicomImplementationUid, body),
            (_, IMPLEMENTATION_VERSION) => say.text(who, Field::DicomImplementationVersion, body),
            _ => false,
        }
    }

    fn read_proposed(&mut self, body: &[u8], say: &mut Say<'_>) -> Option<()> {
        let mut reader = Reader::new(body);
        let context = reader.u8()?;
        reader.skip(3)?;
        let name = sub_item(&mut reader, ABSTRACT_SYNTAX)?;
        if !say.text(Who::End(self.requestor), Field::DicomSopClass, name) {
            return None;
        }
        if self.taken.iter().any(|(taken, _)| *taken == context) {
            say.text(Who::End(self.acceptor()), Field::DicomSopAccepted, name);
        }
        let name = Field::DicomSopClass.grammar().check(name)?;
        if self.proposed.len() < CONTEXTS_MAX && self.names.len() + name.len() <= NAMES_MAX {
            self.proposed.push((context, self.names.len() as u16, name.len() as u8));
            self.names.push_str(name);
        }
        Some(())
    }

    fn read_answered(&mut self, body: &[u8], say: &mut Say<'_>) -> Option<()> {
        let mut reader = Reader::new(body);
        let context = reader.u8()?;
        reader.skip(1)?;
        let is_taken = reader.u8()? == 0;
        reader.skip(1)?;
        if !is_taken || self.taken.len() >= CONTEXTS_MAX {
            return None;
        }
        let transfer = sub_item(&mut reader, TRANSFER_SYNTAX)?;
        let who = Who::End(self.acceptor());
        say.text(who, Field::DicomTransferSyntax, transfer);
        self.taken.push((context, Syntax::of(transfer.trim_ascii_end().strip_suffix(&[0]).unwrap_or(transfer))));
        let (_, from, octets) = self.proposed.iter().find(|(proposed, ..)| *proposed == context)?;
        let name = self.names.get(usize::from(*from)..usize::from(*from) + usize::from(*octets))?;
        say.text(who, Field::DicomSopAccepted, name.as_bytes());
        Some(())
    }

    /// How the data sets of a context are written.
    pub fn syntax(&self, context: u8) -> Syntax {
        match self.taken.iter().find(|(taken, _)| *taken == context) {
            Some((_, syntax)) => *syntax,
            None if self.taken.is_empty() => Syntax::Unseen,
            None => Syntax::Opaque,
        }
    }

    /// Messages have begun: what was proposed is not held any longer.
    pub fn settle(&mut self) {
        self.proposed = Vec::new();
        self.names = String::new();
    }
}

/// The value of the first sub-item of that type.
fn sub_item<'a>(reader: &mut Reader<'a>, kind: u8) -> Option<&'a [u8]> {
    loop {
        let found = reader.u8()?;
        reader.skip(1)?;
        let length = reader.u16()?;
        let value = reader.take(length.into())?;
        if found == kind {
            return Some(value);
        }
    }
}
