//! IPP (RFC 8010, 8011): what a printer answers of itself. The octets are bodies of HTTP; the reader of HTTP calls [`body`].
//!
//! Groups of jobs, documents and users are stepped over: job names and user names are not even looked at.

use super::{Say, Who, reader::Reader};
use crate::observation::{Field, Protocol};

/// Attributes of a message that are read.
const ATTRIBUTES_MAX: usize = 512;
const END: u8 = 0x03;
const PRINTER: u8 = 0x04;

/// Attributes that say something, and what. Of two for one field the first in the message counts.
const NAMES: &[(&[u8], Field)] = &[
    (b"printer-make-and-model", Field::IppMakeAndModel),
    (b"printer-device-id", Field::IppDeviceId),
    (b"printer-firmware-string-version", Field::IppFirmware),
    (b"printer-name", Field::IppName),
    (b"printer-info", Field::IppName),
    (b"printer-location", Field::IppLocation),
];

/// Reads the body of an HTTP answer, as far as it came; `from` is the end (0: low, 1: high) that sent it. Requests say nothing.
pub fn body(octets: &[u8], from: usize, say: &mut Say<'_>) {
    let mut reader = Reader::new(octets);
    let (Some([1 | 2, 0..=2]), Some(status), Some(_)) = (reader.array::<2>(), reader.u16(), reader.u32()) else { return };
    // RFC 8011 appendix B: successful, or an error of client or server. The numbers of requests with printer attributes are
    // others.
    if !matches!(status, 0..=7 | 0x0400..=0x05ff) {
        return;
    }
    let found = printer(&mut reader);
    if found.is_some() || matches!(status, 0 | 1 | 0x0400..) {
        say.serves(from, Protocol::Ipp);
    }
    for ((_, field), value) in NAMES.iter().zip(found.unwrap_or_default()) {
        if let Some(value) = value {
            say.label(Who::End(from), *field, value);
        }
    }
}

/// Values of [`NAMES`] in the group of printer attributes; `None` without one. A server that lists several printers is none of
/// them.
fn printer<'a>(reader: &mut Reader<'a>) -> Option<[Option<&'a [u8]>; NAMES.len()]> {
    let mut found = None;
    let mut is_printer = false;
    for _ in 0..ATTRIBUTES_MAX {
        let Some(tag) = reader.u8() else { break };
        if tag <= 0x0f {
            if tag == END {
                break;
            }
            is_printer = tag == PRINTER;
            if is_printer && found.is_some() {
                return Some([None; NAMES.len()]);
            }
            if is_printer {
                found = Some([None; NAMES.len()]);
            }
            continue;
        }
        let Some((name, value)) = attribute(reader) else { break };
        let Some(found) = found.as_mut().filter(|_| is_printer) else { continue };
        for (slot, _) in found.iter_mut().zip(NAMES).filter(|(slot, (known, _))| slot.is_none() && *known == name) {
            *slot = text(tag, value);
        }
    }
    found
}

/// Name and value behind a value tag. Further values of a set have no name (RFC 8010 section 3.1.5).
fn attribute<'a>(reader: &mut Reader<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let name_octets = reader.u16()?;
    let name = reader.take(name_octets.into())?;
    let value_octets = reader.u16()?;
    Some((name, reader.take(value_octets.into())?))
}

/// The text of a value with that tag.
fn text(tag: u8, value: &[u8]) -> Option<&[u8]> {
    match tag {
        // Octet string, text and name without language.
        0x30 | 0x41 | 0x42 => Some(value),
        0x35 | 0x36 => {
            let mut reader = Reader::new(value);
            let language = reader.u16()?;
            reader.skip(language.into())?;
            let octets = reader.u16()?;
            reader.take(octets.into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::probe, *};

    fn attribute(tag: u8, name: &str, value: &[u8]) -> Vec<u8> {
        let length = |octets: usize| (octets as u16).to_be_bytes();
        [&[tag][..], &length(name.len()), name.as_bytes(), &length(value.len()), value].concat()
    }

    fn printer_group(name: &str) -> Vec<u8> {
        [
            vec![PRINTER],
            attribute(0x42, "printer-name", name.as_bytes()),
            attribute(0x35, "printer-make-and-model", b"\0\x02en\0\x09Label 200"),
            attribute(0x41, "printer-firmware-string-version", b"1.2"),
            attribute(0x41, "", b"3.4"),
        ]
        .concat()
    }

    fn message(code: u16, groups: &[Vec<u8>]) -> Vec<u8> {
        let head =
            [&[2, 0][..], &code.to_be_bytes(), &[0, 0, 0, 1, 1], &attribute(0x47, "attributes-charset", b"utf-8")].concat();
        [head, groups.concat(), vec![END]].concat()
    }

    fn job() -> Vec<u8> {
        [vec![2], attribute(0x42, "job-name", b"Report of J. Doe"), attribute(0x42, "printer-name", b"J. Doe")].concat()
    }

    #[test]
    fn a_printer_describes_itself() {
        let octets = message(0, &[job(), printer_group("lab-2")]);
        let expect = [
            (1, Field::Serves, "ipp"),
            (0, Field::Uses, "ipp"),
            (1, Field::IppMakeAndModel, "Label 200"),
            (1, Field::IppFirmware, "1.2"),
            (1, Field::IppName, "lab-2"),
        ]
        .map(|(end, field, text)| (end, field, text.to_owned()));
        assert_eq!(probe::spoken(1, |say| body(&octets, 1, say)), expect);
        for length in 0..octets.len() {
            let said = probe::spoken(1, |say| body(&octets[..length], 1, say));
            assert!(said.iter().all(|one| expect.contains(one)), "{said:?} when cut at {length}");
        }
    }

    #[test]
    fn requests_and_lists_of_printers_say_nothing_of_a_printer() {
        let count = |octets: &[u8]| probe::spoken(1, |say| body(octets, 1, say)).len();
        assert_eq!(count(&message(0x000b, &[])), 0);
        assert_eq!(count(&message(0x0013, &[printer_group("a")])), 0);
        assert_eq!(count(&message(2, &[job()])), 0);
        assert_eq!(count(&message(0, &[printer_group("a"), printer_group("b")])), 2);
        assert_eq!(count(b"<html>"), 0);
    }
}
