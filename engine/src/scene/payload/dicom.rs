//! DICOM upper-layer PDUs (PS3.8 §9.3), DIMSE commands (PS3.7 §9.3, annex E) and a tiny synthetic image (PS3.3, Explicit VR LE).
//! No attribute of the patient group carries a value.

use super::Put;

const VERIFICATION: &str = "1.2.840.10008.1.1";
const WORKLIST: &str = "1.2.840.10008.5.1.4.31";
const EXPLICIT_LITTLE: &str = "1.2.840.10008.1.2.1";
const IMPLICIT_LITTLE: &str = "1.2.840.10008.1.2";
const CONTEXT_NAME: &str = "1.2.840.10008.3.1.1.1";
const IMPLEMENTATION_UID: &str = "2.25.329800735698586629295641978511506172918";

/// Largest P-DATA PDU both sides agree to.
const PDU_OCTETS_MAX: usize = 16_384;
const NO_DATA_SET: u16 = 0x0101;

/// What a machine calls itself.
#[derive(Clone, Copy)]
pub(in super::super) struct Modality {
    pub(in super::super) sop_class: &'static str,
    pub(in super::super) code: &'static str,
    pub(in super::super) manufacturer: &'static str,
    pub(in super::super) model: &'static str,
}

fn pdu(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, 0];
    out.u32(body.len() as u32).all(body);
    out
}

fn item(kind: u8, body: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = vec![kind, 0];
    out.u16(body.as_ref().len() as u16).all(body);
    out
}

fn title(name: &str) -> [u8; 16] {
    let mut out = [b' '; 16];
    out.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    out
}

/// The abstract syntaxes of an association: context 1 verification, 3 storage, 5 worklist.
fn contexts(sop_class: &str) -> [(u8, &str, &'static str); 3] {
    [(1, VERIFICATION, IMPLICIT_LITTLE), (3, sop_class, EXPLICIT_LITTLE), (5, WORKLIST, IMPLICIT_LITTLE)]
}

fn associate(kind: u8, called: &str, calling: &str, middle: &[u8], version: &str) -> Vec<u8> {
    let mut body = vec![0, 1, 0, 0];
    body.all(title(called)).all(title(calling)).all([0; 32]).all(item(0x10, CONTEXT_NAME)).all(middle);
    let mut user = item(0x51, (PDU_OCTETS_MAX as u32).to_be_bytes());
    user.all(item(0x52, IMPLEMENTATION_UID)).all(item(0x55, version));
    body.all(item(0x50, user));
    pdu(kind, &body)
}

/// A-ASSOCIATE-RQ.
pub(in super::super) fn request(called: &str, calling: &str, sop_class: &str, version: &str) -> Vec<u8> {
    let middle: Vec<u8> = contexts(sop_class)
        .iter()
        .flat_map(|(id, syntax, transfer)| item(0x20, [&[*id, 0, 0, 0][..], &item(0x30, syntax), &item(0x40, transfer)].concat()))
        .collect();
    associate(1, called, calling, &middle, version)
}

/// A-ASSOCIATE-AC that takes every context.
pub(in super::super) fn accept(called: &str, calling: &str, version: &str) -> Vec<u8> {
    let middle: Vec<u8> = contexts("")
        .iter()
        .flat_map(|(id, _, transfer)| item(0x21, [&[*id, 0, 0, 0][..], &item(0x40, transfer)].concat()))
        .collect();
    associate(2, called, calling, &middle, version)
}

/// A-ASSOCIATE-RJ: called AE title not recognised.
pub(in super::super) fn reject() -> Vec<u8> {
    pdu(3, &[0, 1, 1, 7])
}

/// A-RELEASE-RQ.
pub(in super::super) fn release() -> Vec<u8> {
    pdu(5, &[0; 4])
}

/// A-RELEASE-RP.
pub(in super::super) fn released() -> Vec<u8> {
    pdu(6, &[0; 4])
}

/// P-DATA-TF PDUs that carry a command or data set.
fn transfer(context: u8, is_command: bool, octets: &[u8]) -> Vec<u8> {
    let chunks: Vec<&[u8]> = octets.chunks(PDU_OCTETS_MAX - 12).collect();
    let mut out = Vec::new();
    for (n, chunk) in chunks.iter().enumerate() {
        let flags = u8::from(is_command) | if n + 1 == chunks.len() { 2 } else { 0 };
        let mut value = Vec::new();
        value.u32(chunk.len() as u32 + 2).all([context, flags]).all(chunk);
        out.extend(pdu(4, &value));
    }
    out
}

fn implicit(group: u16, number: u16, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(group.to_le_bytes());
    out.extend(number.to_le_bytes());
    out.extend((value.len() as u32).to_le_bytes());
    out.extend(value);
    out
}

fn even(text: &str, with: u8) -> Vec<u8> {
    let mut out = text.as_bytes().to_vec();
    if out.len() % 2 == 1 {
        out.push(with);
    }
    out
}

/// A DIMSE command set with its group length.
fn command(sop_class: &str, kind: u16, message: u16, data_set: u16, more: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let answers = kind & 0x8000 != 0;
    let mut elements = vec![
        (0x0002, even(sop_class, 0)),
        (0x0100, kind.to_le_bytes().to_vec()),
        (if answers { 0x0120 } else { 0x0110 }, message.to_le_bytes().to_vec()),
        (0x0800, data_set.to_le_bytes().to_vec()),
    ];
    elements.extend(more.iter().cloned());
    elements.sort_by_key(|element| element.0);
    let body: Vec<u8> = elements.iter().flat_map(|(number, value)| implicit(0, *number, value)).collect();
    [implicit(0, 0, &(body.len() as u32).to_le_bytes()), body].concat()
}

fn status(code: u16) -> (u16, Vec<u8>) {
    (0x0900, code.to_le_bytes().to_vec())
}

/// C-ECHO request and response.
pub(in super::super) fn echo(message: u16) -> [Vec<u8>; 2] {
    let ask = command(VERIFICATION, 0x0030, message, NO_DATA_SET, &[]);
    let answer = command(VERIFICATION, 0x8030, message, NO_DATA_SET, &[status(0)]);
    [transfer(1, true, &ask), transfer(1, true, &answer)]
}

/// C-STORE request with its data set, and response.
pub(in super::super) fn store(modality: &Modality, message: u16, instance: &str, data_set: &[u8]) -> [Vec<u8>; 2] {
    let uid = (0x1000, even(instance, 0));
    let ask = command(modality.sop_class, 0x0001, message, 0, &[(0x0700, vec![0, 0]), uid.clone()]);
    let answer = command(modality.sop_class, 0x8001, message, NO_DATA_SET, &[status(0), uid]);
    [[transfer(3, true, &ask), transfer(3, false, data_set)].concat(), transfer(3, true, &answer)]
}

/// C-FIND of the modality worklist that finds nothing: request, response.
pub(in super::super) fn worklist(modality: &Modality, station: &str, message: u16) -> [Vec<u8>; 2] {
    let step = [implicit(8, 0x60, &even(modality.code, b' ')), implicit(0x40, 1, &even(station, b' '))].concat();
    let sequence = implicit(0x40, 0x100, &implicit(0xfffe, 0xe000, &step));
    let query = [implicit(8, 0x50, &[]), implicit(0x10, 0x10, &[]), sequence].concat();
    let ask = command(WORKLIST, 0x0020, message, 0, &[(0x0700, vec![0, 0])]);
    let answer = command(WORKLIST, 0x8020, message, NO_DATA_SET, &[status(0)]);
    [[transfer(5, true, &ask), transfer(5, false, &query)].concat(), transfer(5, true, &answer)]
}

fn explicit(group: u16, number: u16, kind: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(group.to_le_bytes());
    out.extend(number.to_le_bytes());
    out.extend(kind.as_bytes());
    if kind == "OW" {
        out.extend([0, 0]);
        out.extend((value.len() as u32).to_le_bytes());
    } else {
        out.extend((value.len() as u16).to_le_bytes());
    }
    out.extend(value);
    out
}

/// A square 16-bit image of a phantom, without a patient.
pub(in super::super) fn image(
    modality: &Modality,
    station: &str,
    uids: [&str; 3],
    number: u16,
    side: u16,
    pixels: &[u8],
) -> Vec<u8> {
    let [study, series, instance] = uids;
    let text = |group, element, kind: &str, value: &str| {
        explicit(group, element, kind, &even(value, if kind == "UI" { 0 } else { b' ' }))
    };
    let short = |group, element, value: u16| explicit(group, element, "US", &value.to_le_bytes());
    [
        text(8, 0x08, "CS", "ORIGINAL\\PRIMARY"),
        text(8, 0x16, "UI", modality.sop_class),
        text(8, 0x18, "UI", instance),
        text(8, 0x20, "DA", "20260105"),
        text(8, 0x30, "TM", "080000"),
        text(8, 0x50, "SH", ""),
        text(8, 0x60, "CS", modality.code),
        text(8, 0x70, "LO", modality.manufacturer),
        text(8, 0x90, "PN", ""),
        text(8, 0x1010, "SH", station),
        text(8, 0x1090, "LO", modality.model),
        text(0x10, 0x10, "PN", ""),
        text(0x10, 0x20, "LO", ""),
        text(0x10, 0x30, "DA", ""),
        text(0x10, 0x40, "CS", ""),
        text(0x18, 0x1000, "LO", "SN-48213"),
        text(0x18, 0x1020, "LO", "5.2.1"),
        text(0x20, 0x0d, "UI", study),
        text(0x20, 0x0e, "UI", series),
        text(0x20, 0x10, "SH", "1"),
        text(0x20, 0x11, "IS", "1"),
        text(0x20, 0x13, "IS", &number.to_string()),
        short(0x28, 0x02, 1),
        text(0x28, 0x04, "CS", "MONOCHROME2"),
        short(0x28, 0x10, side),
        short(0x28, 0x11, side),
        short(0x28, 0x100, 16),
        short(0x28, 0x101, 12),
        short(0x28, 0x102, 11),
        short(0x28, 0x103, 0),
        explicit(0x7fe0, 0x10, "OW", pixels),
    ]
    .concat()
}
