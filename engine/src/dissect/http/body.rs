//! Bodies that say what a server is: descriptions of UPnP devices and FHIR capability statements; octets in, observations out.
//!
//! A body stays where the assembler holds it, or for the time of one call in a buffer that is zeroed, when it comes in chunks.
//! Only bodies that begin as one of these documents are searched, and only their listed elements leave (PRIVACY-2).

use zeroize::Zeroizing;

use crate::{
    dissect::{Say, Who, reader::find},
    observation::Field,
};

/// Octets of a body that are looked at.
pub const BODY_MAX: usize = 4 << 10;

/// Reads the beginning of a body that the end of that number sent: again from its start whenever more of it is there, so
/// that what a sample's budget cuts off is read as far as it came. A reader says again what it said; the assembler's
/// owner leaves repetitions out.
pub type ReadBody = fn(&[u8], usize, &mut Say<'_>);

/// Readers by media type (RFC 9110 section 8.3.1), which may have parameters.
const READERS: &[(&[u8], ReadBody)] = &[
    (b"text/xml", description),
    (b"application/xml", description),
    (b"application/fhir+json", capability),
    (b"application/json+fhir", capability),
    (b"application/json", capability),
];

/// The reader of bodies of a media type.
pub fn body_reader(content_type: &[u8]) -> Option<ReadBody> {
    let media_type = content_type.split(|octet| matches!(octet, b';' | b' ')).next()?;
    READERS.iter().find(|(name, _)| name.eq_ignore_ascii_case(media_type)).map(|(_, reader)| *reader)
}

/// The namespace of a device description (UPnP Device Architecture 2.0 section 2.3).
const DEVICE_NAMESPACE: &[u8] = b"urn:schemas-upnp-org:device-1-0";

/// Elements of the first device of a description.
const ELEMENTS: &[(&str, Field)] = &[
    ("manufacturer", Field::SsdpManufacturer),
    ("modelName", Field::SsdpModel),
    ("modelNumber", Field::SsdpModelNumber),
    ("serialNumber", Field::SsdpSerial),
    ("deviceType", Field::SsdpDeviceType),
    ("friendlyName", Field::SsdpFriendlyName),
];

fn description(body: &[u8], from: usize, say: &mut Say<'_>) {
    let Some(root) = find(body, b"<root").map(|at| &body[at..]) else { return };
    let Some(tag_end) = root.iter().position(|octet| *octet == b'>') else { return };
    if find(&root[..tag_end], DEVICE_NAMESPACE).is_none() {
        return;
    }
    let Some(device) = find(root, b"<device>").and_then(|at| root.get(at + 8..)) else { return };
    // The lists hold other devices.
    let ends = [&b"<deviceList"[..], b"</device>"];
    let end = ends.iter().filter_map(|end| find(device, end)).min().unwrap_or(device.len());
    for (name, field) in ELEMENTS {
        if let Some(text) = element(&device[..end], name) {
            say.text(Who::End(from), *field, text);
        }
    }
}

/// The text of the first element of that name, if it is there to its end and has no other in it.
fn element<'a>(xml: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut rest = xml;
    loop {
        let at = rest.iter().position(|octet| *octet == b'<')?;
        rest = rest.get(at + 1..)?;
        if let Some(text) = rest.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b">")) {
            let end = text.iter().position(|octet| *octet == b'<')?;
            let closes = text.get(end + 1..)?.strip_prefix(b"/")?.strip_prefix(name.as_bytes())?.starts_with(b">");
            return closes.then(|| &text[..end]);
        }
    }
}

/// FHIR R4 section 5.1: the resource type comes first in what servers write, and in any case before it is needed.
fn capability(body: &[u8], from: usize, say: &mut Say<'_>) {
    let is_capability =
        string(body, b"\"resourceType\"").is_some_and(|value| matches!(value, b"CapabilityStatement" | b"Conformance"));
    if !is_capability {
        return;
    }
    let Some(software) = find(body, b"\"software\"").and_then(|at| body.get(at + 10..)) else { return };
    let Some(end) = software.iter().position(|octet| *octet == b'}') else { return };
    let software = &software[..end];
    let Some(name) = string(software, b"\"name\"") else { return };
    let mut text = Zeroizing::new(Vec::with_capacity(software.len() + 1));
    text.extend_from_slice(name);
    if let Some(version) = string(software, b"\"version\"") {
        text.push(b' ');
        text.extend_from_slice(version);
    }
    say.text(Who::End(from), Field::HttpFhir, &text);
}

/// The string behind a key. One with an escape is left alone.
fn string<'a>(json: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let rest = json
        .get(find(json, key)? + key.len()..)?
        .trim_ascii_start()
        .strip_prefix(b":")?
        .trim_ascii_start()
        .strip_prefix(b"\"")?;
    let end = rest.iter().position(|octet| matches!(octet, b'"' | b'\\'))?;
    (rest.get(end) == Some(&b'"')).then(|| &rest[..end])
}

/// The octets of a chunked body (RFC 9112 section 7.1) as far as they are there and wanted, and whether it has ended.
pub fn unchunk(raw: &[u8]) -> (Zeroizing<Vec<u8>>, bool) {
    let mut body = Zeroizing::new(Vec::with_capacity(raw.len().min(BODY_MAX)));
    let mut rest = raw;
    while body.len() < BODY_MAX {
        let Some(end) = rest.iter().position(|octet| *octet == b'\n') else { return (body, false) };
        let Some(size) = chunk_size(&rest[..end]) else { return (body, true) };
        if size == 0 {
            return (body, true);
        }
        let chunk = &rest[end + 1..];
        let there = usize::try_from(size).unwrap_or(usize::MAX).min(chunk.len());
        let room = BODY_MAX - body.len();
        body.extend_from_slice(&chunk[..there.min(room)]);
        // The line end behind a chunk.
        let Some(next) = chunk.get(there + 2..) else { return (body, false) };
        rest = next;
    }
    (body, true)
}

/// The size that begins a chunk's line.
pub fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|octet| *octet == b';').next()?.trim_ascii();
    if digits.is_empty() || digits.len() > 12 {
        return None;
    }
    digits.iter().try_fold(0, |size: u64, digit| Some(size << 4 | u64::from(char::from(*digit).to_digit(16)?)))
}
