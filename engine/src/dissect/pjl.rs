//! Raw printing: PJL (behind the universal exit `ESC %-12345X`) and ZPL label jobs, by content.
//!
//! The client's octets tell no more than that it prints: what it prints is wiped unread. Answers of the printer give its model,
//! serial number and firmware.

use super::{
    Conversation, Lead, Opening, Say, Step, Who,
    reader::{self, Reader},
};
use crate::observation::{Field, Protocol};

const EXIT: &[u8] = b"\x1b%-12345X";
const PJL: &[u8] = b"@PJL";
const RAW: u16 = 9100;
/// A longer line of an answer is no value.
const LINE_MAX: usize = 1024;
/// What label jobs begin with: format start, control and format prefix changes, host queries.
const LABEL: &[&[u8]] = &[b"^XA", b"CT~~CD,", b"~HI", b"~HS", b"~HQ", b"~SD", b"~JA"];

/// Whether an opening is a job in PJL, or an answer of such a printer.
pub fn open(lead: &Lead<'_>) -> Opening {
    let octets = lead.octets.strip_prefix(EXIT).unwrap_or(lead.octets).trim_ascii_start();
    if octets.starts_with(PJL) {
        // Only clients send the exit first; both begin lines with @PJL.
        let is_client = octets.len() < lead.octets.len() || lead.ports.get(lead.from & 1) != Some(&RAW);
        let server = if is_client { 1 - lead.from } else { lead.from };
        return Opening::Yes(Box::new(Pjl { server, awaits: None }));
    }
    if PJL.starts_with(octets) || EXIT.starts_with(lead.octets) { lead.more() } else { Opening::No }
}

struct Pjl {
    server: usize,
    /// What the next line is the answer to.
    awaits: Option<Field>,
}

impl Conversation for Pjl {
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        if from != self.server {
            say.serves(self.server, Protocol::Pjl);
            return Step::Enough;
        }
        let Some(end) = octets.iter().position(|octet| matches!(octet, b'\n' | 0x0c)) else {
            return if octets.len() > LINE_MAX { Step::Enough } else { Step::Read(0) };
        };
        let line = octets.get(..end).unwrap_or_default().trim_ascii();
        self.line(line, say);
        Step::Read(end + 1)
    }
}

impl Pjl {
    fn line(&mut self, line: &[u8], say: &mut Say<'_>) {
        if let Some(command) = line.strip_prefix(PJL) {
            let mut words = command.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            self.awaits = match (words.next(), words.next(), words.next()) {
                (Some(b"INFO"), Some(b"ID"), None) => Some(Field::PjlId),
                (Some(b"INQUIRE" | b"DINQUIRE"), Some(b"SERIALNUMBER"), None) => Some(Field::PjlSerial),
                _ => None,
            };
            return;
        }
        let (field, value) = match self.awaits {
            Some(field) if !line.is_empty() => (field, line),
            _ => match serial(line) {
                Some(value) => (Field::PjlSerial, value),
                None => return,
            },
        };
        self.awaits = None;
        let value = value.strip_prefix(b"\"").unwrap_or(value);
        let value = Reader::new(value).until(b'"').unwrap_or(value);
        if value != b"?" {
            say.text(Who::End(self.server), field, value);
        }
    }
}

/// The value of a line of INFO CONFIG, VARIABLES or PRODINFO that gives the serial number.
fn serial(line: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(line);
    let name = reader.until(b'=')?.trim_ascii();
    let is_serial = name.eq_ignore_ascii_case(b"SERIALNUMBER") || name.eq_ignore_ascii_case(b"SERIAL NUMBER");
    // Behind a value its access and kind may follow in brackets.
    is_serial.then(|| reader.rest().split(|octet| *octet == b'[').next().unwrap_or_default().trim_ascii())
}

/// Whether an opening is a job in ZPL, or the answer of a label printer to `~HI`.
pub fn open_label(lead: &Lead<'_>) -> Opening {
    let octets = lead.octets.trim_ascii_start();
    if LABEL.iter().any(|start| octets.starts_with(start)) {
        return Opening::Yes(Box::new(Label { server: 1 - lead.from }));
    }
    if lead.is_on(&[RAW]) && octets.first() == Some(&0x02) {
        if identity(octets).is_some() {
            return Opening::Yes(Box::new(Label { server: lead.from }));
        }
        return if octets.contains(&0x03) { Opening::No } else { lead.more() };
    }
    if LABEL.iter().any(|start| start.starts_with(octets)) { lead.more() } else { Opening::No }
}

struct Label {
    server: usize,
}

impl Conversation for Label {
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        if from != self.server {
            say.serves(self.server, Protocol::Zpl);
            return Step::Enough;
        }
        let Some(end) = octets.iter().take(LINE_MAX).position(|octet| *octet == 0x03) else {
            return if octets.len() > LINE_MAX { Step::Enough } else { Step::Read(0) };
        };
        let answer = octets.get(..=end).unwrap_or_default();
        if let Some([model, version]) = identity(answer.trim_ascii_start()) {
            say.text(Who::End(from), Field::ZplModel, model);
            say.text(Who::End(from), Field::ZplVersion, version);
        }
        Step::Read(end + 1)
    }
}

/// Model and version of an answer to `~HI`: STX, model, `V` and version, dots per millimetre, memory, ETX.
fn identity(octets: &[u8]) -> Option<[&[u8]; 2]> {
    let line = octets.strip_prefix(&[0x02])?;
    let line = line.get(..reader::find(line, &[0x03])?)?;
    let mut parts = line.split(|octet| *octet == b',');
    let (model, version) = (parts.next()?, parts.next()?);
    let is_identity =
        model.iter().any(u8::is_ascii_alphabetic) && version.first().is_some_and(|octet| octet.eq_ignore_ascii_case(&b'v'));
    is_identity.then_some([model, version])
}

#[cfg(test)]
mod tests {
    use super::{super::probe, *};

    const JOB: &[u8] = b"\x1b%-12345X@PJL INFO ID\r\n@PJL JOB NAME=\"Doe, Jane\"\r\n@PJL ENTER LANGUAGE=PCL\r\nDoe, Jane\x0c";

    #[test]
    fn a_printer_answers_and_its_jobs_stay_inside() {
        let answer = b"@PJL INFO ID\r\n\"LaserPrint 42\"\r\n\x0c@PJL USTATUS JOB\r\nNAME=\"Doe\"\r\n\x0c\
            @PJL INQUIRE SERIALNUMBER\r\n\"CN123\"\r\n\x0c@PJL INFO VARIABLES\r\nSERIALNUMBER=\"CN124\" [1 READONLY]\r\n\x0c";
        let expect = [
            (0, Field::Serves, "pjl"),
            (1, Field::Uses, "pjl"),
            (0, Field::PjlId, "LaserPrint 42"),
            (0, Field::PjlSerial, "CN123"),
            (0, Field::PjlSerial, "CN124"),
        ];
        probe::holds_when_cut(open, [RAW, 40000], &[(1, JOB), (0, answer)], &expect);
        assert_eq!(probe::stream(open, [RAW, 40000], &[(0, answer)], 9).map(|said| said.len()), Some(3));
        assert_eq!(probe::stream(open, [40000, 50000], &[(0, b"@PJL INFO ID\r\n")], 4).map(|said| said.len()), Some(2));
    }

    #[test]
    fn labels_are_known_by_how_they_begin() {
        let expect = [
            (0, Field::Serves, "zpl"),
            (1, Field::Uses, "zpl"),
            (0, Field::ZplModel, "LP4-200dpi"),
            (0, Field::ZplVersion, "V75.1"),
        ];
        let answer = b"\x02030,0,0\x03\r\n\x02LP4-200dpi,V75.1,8,8176KB\x03\r\n";
        probe::holds_when_cut(open_label, [RAW, 40000], &[(1, b"^XA^FDDoe, Jane^FS^XZ"), (0, answer)], &expect);
    }

    #[test]
    fn other_octets_are_no_job() {
        for other in [&b"@PJX"[..], b"\x1bE", b"^XB", b"\x02030,0\x03", b"%!PS"] {
            assert!(probe::stream(open, [RAW, 40000], &[(1, other)], 1).is_none(), "{other:?}");
            assert!(probe::stream(open_label, [RAW, 40000], &[(1, other)], 1).is_none(), "{other:?}");
        }
    }
}
