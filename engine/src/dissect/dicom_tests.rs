//! Associations made by hand → what is said of both ends, split, cut and out of order; no patient in it.

use super::super::trace::{Masked, Talk};
use crate::observation::Field;

const SECRET: &str = "Zq9Secret";
const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const IMPLICIT: &str = "1.2.840.10008.1.2";
const CT: &str = "1.2.840.10008.5.1.4.1.1.2";

fn pdu(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 0], &(body.len() as u32).to_be_bytes()[..], body].concat()
}

fn item(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 0], &(body.len() as u16).to_be_bytes()[..], body].concat()
}

/// An association PDU; contexts are number, result, abstract syntax (empty: none), transfer syntax.
fn associate(kind: u8, contexts: &[(u8, u8, &str, &str)], version: &str) -> Vec<u8> {
    let mut body = b"\0\x01\0\0PACS            CT-ROOM-4       ".to_vec();
    body.extend([0; 32]);
    body.extend(item(0x10, b"1.2.840.10008.3.1.1.1"));
    for (id, result, name, transfer) in contexts {
        let mut context = vec![*id, 0, *result, 0];
        if kind == 1 {
            context.extend(item(0x30, name.as_bytes()));
        }
        context.extend(item(0x40, transfer.as_bytes()));
        body.extend(item(if kind == 1 { 0x20 } else { 0x21 }, &context));
    }
    let mut user = item(0x51, &[0, 0, 0x40, 0]);
    user.extend(item(0x52, format!("1.2.3.{}", version.len()).as_bytes()));
    user.extend(item(0x58, SECRET.as_bytes()));
    user.extend(item(0x55, version.as_bytes()));
    body.extend(item(0x50, &user));
    pdu(kind, &body)
}

fn request() -> Vec<u8> {
    associate(
        1,
        &[(1, 0, "1.2.840.10008.1.1", IMPLICIT), (3, 0, CT, EXPLICIT), (5, 0, "1.2.840.10008.5.1.4.31", IMPLICIT)],
        "MAKER_1",
    )
}

fn acceptance() -> Vec<u8> {
    associate(2, &[(1, 0, "", IMPLICIT), (3, 0, "", EXPLICIT), (5, 3, "", IMPLICIT)], "ARCHIVE_22")
}

fn even(text: &str) -> Vec<u8> {
    let mut out = text.as_bytes().to_vec();
    out.resize(out.len().next_multiple_of(2), b' ');
    out
}

fn implicit(tag: u32, value: &[u8]) -> Vec<u8> {
    let (group, number) = ((tag >> 16) as u16, tag as u16);
    [&group.to_le_bytes(), &number.to_le_bytes(), &(value.len() as u32).to_le_bytes()[..], value].concat()
}

fn explicit(tag: u32, kind: &[u8; 2], value: &[u8]) -> Vec<u8> {
    let (group, number) = ((tag >> 16) as u16, tag as u16);
    [&group.to_le_bytes(), &number.to_le_bytes(), &kind[..], &(value.len() as u16).to_le_bytes(), value].concat()
}

fn command(field: u16, has_data_set: bool, status: Option<u16>, instance: &str) -> Vec<u8> {
    let data_set: u16 = if has_data_set { 0 } else { 0x0101 };
    let mut body = implicit(0x0002, &even(CT));
    body.extend(implicit(0x0100, &field.to_le_bytes()));
    body.extend(implicit(0x0110, &[1, 0]));
    body.extend(implicit(0x0800, &data_set.to_le_bytes()));
    body.extend(status.map(|status| implicit(0x0900, &status.to_le_bytes())).unwrap_or_default());
    body.extend(implicit(0x1000, &even(instance)));
    [implicit(0, &(body.len() as u32).to_le_bytes()), body].concat()
}

/// Fragments of so many octets, each in a PDU of its own.
fn transfer(context: u8, is_command: bool, octets: &[u8], piece: usize) -> Vec<u8> {
    let count = octets.chunks(piece).count();
    let fragment = |(n, piece): (usize, &[u8])| {
        let control = u8::from(is_command) | if n + 1 == count { 2 } else { 0 };
        pdu(4, &[&(piece.len() as u32 + 2).to_be_bytes()[..], &[context, control], piece].concat())
    };
    octets.chunks(piece).enumerate().flat_map(fragment).collect()
}

fn image() -> Vec<u8> {
    let text = |tag, kind, value: &str| explicit(tag, kind, &even(value));
    let nested = implicit(0xfffe_e000, &[text(0x0008_0070, b"LO", "Nested"), text(0x0008_1090, b"LO", "Other")].concat());
    let sequence = [vec![8, 0, 0x41, 0x11], b"SQ\0\0\xff\xff\xff\xff".to_vec()].concat();
    let udi = explicit(0x0018_1009, b"UT", &[]);
    let udi_text = even("(01)00844588003288(21)A1");
    let udi = [&udi[..6], &[0, 0], &(udi_text.len() as u32).to_le_bytes(), &udi_text].concat();
    let udi_item = implicit(0xfffe_e000, &[udi, text(0x0050_0020, b"LO", "Descr")].concat());
    [
        text(0x0008_0018, b"UI", "1.2.3.4"),
        text(0x0008_0060, b"CS", "CT"),
        text(0x0008_0070, b"LO", "Northlight"),
        text(0x0008_0090, b"PN", SECRET),
        text(0x0008_1010, b"SH", "CT-4"),
        text(0x0008_1040, b"LO", "Radiology"),
        text(0x0008_1090, b"LO", "Aurora 64"),
        sequence,
        nested,
        vec![0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0],
        text(0x0010_0010, b"PN", SECRET),
        text(0x0010_0020, b"LO", SECRET),
        text(0x0010_4000, b"LT", &SECRET.repeat(200)),
        text(0x0018_1000, b"LO", "SN-1"),
        text(0x0018_1002, b"UI", "1.2.9"),
        [&[0x18, 0, 0x0a, 0x10], &b"SQ\0\0"[..], &(udi_item.len() as u32).to_le_bytes(), &udi_item].concat(),
        text(0x0018_1020, b"LO", "4.2\\x"),
        text(0x0020_000d, b"UI", "1.2.3"),
        text(0x0020_0010, b"SH", SECRET),
        explicit(0x7fe0_0010, b"OW", &[])[..6].iter().copied().chain([0, 0, 0, 4, 0, 0]).chain([7; 1024]).collect(),
    ]
    .concat()
}

/// What end 1 sends to end 0: everything up to an image.
fn storing(piece: usize) -> Vec<u8> {
    [transfer(3, true, &command(1, true, None, "1.2.3.4"), piece), transfer(3, false, &image(), piece)].concat()
}

fn expected() -> Vec<String> {
    let lines = "1 dicom.ae_title CT-ROOM-4
1 dicom.sop_class 1.2.840.10008.1.1
1 dicom.sop_class 1.2.840.10008.5.1.4.1.1.2
1 dicom.sop_class 1.2.840.10008.5.1.4.31
1 dicom.implementation_uid 1.2.3.7
1 dicom.implementation_version MAKER_1
0 dicom.ae_title PACS
0 link.serves dicom
1 link.uses dicom
0 dicom.transfer_syntax 1.2.840.10008.1.2
0 dicom.sop_accepted 1.2.840.10008.1.1
0 dicom.transfer_syntax 1.2.840.10008.1.2.1
0 dicom.sop_accepted 1.2.840.10008.5.1.4.1.1.2
0 dicom.implementation_uid 1.2.3.10
0 dicom.implementation_version ARCHIVE_22
1 dicom.command c_store
1 dicom.instance #
1 dicom.modality CT
1 dicom.manufacturer Northlight
1 dicom.station_name CT-4
1 dicom.department Radiology
1 dicom.model Aurora 64
1 dicom.serial SN-1
1 dicom.device_uid 1.2.9
1 dicom.udi (01)00844588003288(21)A1
1 dicom.software 4.2
1 dicom.study #
0 dicom.served c_store";
    lines.lines().map(str::to_owned).collect()
}

#[test]
fn all_is_said_of_the_right_end_however_it_is_split() {
    let answer = transfer(3, true, &command(0x8001, false, Some(0), "1.2.3.4"), 200);
    for piece in [1, 2, 3, 7, 64, 1400] {
        for fragment in [1, 5, 100, 16_384] {
            let mut talk = Talk::tcp();
            talk.says_in(1, &request(), piece).says_in(0, &acceptance(), piece);
            talk.says_in(1, &storing(fragment), piece).says_in(0, &answer, piece);
            talk.says_in(1, &pdu(5, &[0; 4]), piece).says_in(0, &pdu(6, &[0; 4]), piece);
            assert_eq!(talk.said_once(), expected(), "pieces of {piece}, fragments of {fragment}");
        }
    }
}

#[test]
fn segments_may_come_twice_and_in_another_order() {
    let storing = storing(100);
    for split in 1..storing.len().min(1400) {
        let (first, rest) = storing.split_at(split);
        let mut talk = Talk::tcp();
        talk.says(1, &request()).says(0, &acceptance());
        talk.says_at(1, split, &rest[..rest.len().min(1400)]).says_at(1, 0, first).says(1, first).says(1, rest);
        assert!(talk.is_free_of(SECRET));
        assert_eq!(talk.said_once().len(), expected().len() - 1, "split at {split}");
    }
}

#[test]
fn what_ends_early_says_less_and_nothing_wrong() {
    let whole = [request(), storing(1000)].concat();
    let expected = expected();
    for end in 0..whole.len() {
        let mut talk = Talk::tcp();
        talk.says(1, &whole[..end]);
        assert!(talk.said().iter().all(|said| expected.contains(said)), "{end}: {:?}", talk.said());
    }
}

#[test]
fn the_acceptance_may_be_read_first() {
    let mut talk = Talk::tcp();
    talk.says(0, &acceptance()).says(1, &request()).says(1, &storing(100));
    assert_eq!(talk.of_field(0, Field::DicomSopAccepted), ["1.2.840.10008.1.1", CT]);
    assert_eq!(talk.of_field(0, Field::DicomAeTitle), ["PACS"]);
    assert_eq!(talk.of_field(1, Field::DicomAeTitle), ["CT-ROOM-4"]);
    assert_eq!(talk.of_field(1, Field::DicomModel), ["Aurora 64"]);
}

#[test]
fn without_the_acceptance_elements_tell_how_they_are_written() {
    let mut talk = Talk::tcp();
    talk.says(1, &request()).says(1, &storing(100));
    assert_eq!(talk.of_field(1, Field::DicomSerial), ["SN-1"]);
    assert_eq!(talk.of_field(0, Field::DicomAeTitle), ["PACS"]);
    assert!(talk.of_field(0, Field::Serves).is_empty());
}

#[test]
fn who_is_rejected_learns_no_title() {
    let mut talk = Talk::tcp();
    talk.says(1, &request()).says(0, &pdu(3, &[0, 1, 1, 7]));
    assert_eq!(talk.of_field(1, Field::DicomRejected), ["7"]);
    assert!(talk.of_field(0, Field::DicomAeTitle).is_empty() && talk.of_field(0, Field::Serves).is_empty());
}

#[test]
fn an_archive_that_hands_objects_out_is_not_their_maker() {
    let mut talk = Talk::tcp();
    talk.says(1, &request()).says(0, &acceptance());
    talk.says(1, &transfer(3, true, &command(0x10, true, None, ""), 100)).says(0, &storing(500));
    assert_eq!(talk.of_field(1, Field::DicomCommand), ["c_get"]);
    assert_eq!(talk.of_field(0, Field::DicomCommand), ["c_store"]);
    assert_eq!(talk.of_field(0, Field::DicomStudy), ["#"]);
    assert!(talk.of_field(0, Field::DicomModel).is_empty() && talk.is_free_of("Aurora"));
}

#[test]
fn data_sets_of_other_messages_are_passed() {
    for field in [0x0020, 0x8020, 0x0120, 0x0140] {
        let mut talk = Talk::tcp();
        talk.says(1, &request()).says(0, &acceptance());
        talk.says(1, &transfer(3, true, &command(field, true, Some(0xff00), "1.2"), 100))
            .says(1, &transfer(3, false, &image(), 300));
        talk.says(1, &transfer(1, true, &command(0x30, false, None, ""), 100));
        assert!(talk.is_free_of("Aurora") && talk.is_free_of(SECRET) && talk.of_field(1, Field::DicomStudy).is_empty());
        assert_eq!(talk.of_field(1, Field::DicomCommand).last().map(String::as_str), Some("c_echo"));
    }
}

#[test]
fn gaps_are_passed_as_far_as_lengths_tell() {
    let mut talk = Talk::tcp();
    talk.says(1, &request()).says(0, &acceptance());
    let storing = [transfer(3, true, &command(1, true, None, "1.2.3.4"), 500), transfer(3, false, &image(), 1 << 14)].concat();
    // The comments on the patient are cut out of a segment; the serial number stands behind them.
    let at = storing.windows(18).position(|window| window == SECRET.repeat(2).as_bytes()).expect("the comments");
    talk.says(1, &storing[..at]).says_cut(1, &storing[at..at + 1000], 10).says(1, &storing[at + 1000..]);
    assert_eq!(talk.of_field(1, Field::DicomSerial), ["SN-1"]);
    // An echo behind the image is read, too.
    talk.says(1, &transfer(1, true, &command(0x30, false, None, ""), 100));
    assert_eq!(talk.of_field(1, Field::DicomCommand), ["c_store", "c_echo"]);
    assert!(talk.is_free_of(SECRET));
}

#[test]
fn behind_a_lost_end_of_a_pdu_nothing_is_said() {
    for lost in [700, 5000, 1 << 20] {
        let mut talk = Talk::tcp();
        talk.says(1, &request()).says(0, &acceptance());
        let storing = storing(500);
        talk.says_cut(1, &storing[..1000], 300).passes(1, lost).says(1, &storing).says(1, &storing);
        let expected = expected();
        assert!(talk.said().iter().all(|said| expected.contains(said)), "{:?}", talk.said());
    }
}

#[test]
fn no_copy_of_a_patient_stays_in_memory() {
    let marker = Masked::new("dicom");
    for piece in [1, 9, 300] {
        let mut talk = Talk::tcp();
        talk.says(1, &request()).says(0, &acceptance());
        let mut storing = transfer(3, true, &command(1, true, None, "1.2.3.4"), 100);
        let place = [0x10u8, 0, 0x20, 0, b'L', b'O', 24, 0];
        let model = explicit(0x0008_1090, b"LO", b"Aurora");
        let length = (model.len() + place.len() + 24 + 2) as u32;
        storing.extend([&[4, 0], &(length + 4).to_be_bytes()[..], &length.to_be_bytes(), &[3, 0], &model, &place].concat());
        storing.reserve_exact(24);
        storing.extend(marker.plain());
        let half = storing.len() - 20;
        talk.says_at(1, half, &storing[half..]).says_in(1, &storing, piece).says_at(1, 40, &storing).says_cut(1, &storing, 60);
        storing.fill(0);
        assert!(std::hint::black_box(&storing).iter().all(|octet| *octet == 0));
        assert_eq!(talk.of_field(1, Field::DicomModel), ["Aurora"]);
        talk.forgets();
    }
    assert_eq!(marker.copies_in_memory(), 0);
}

#[test]
fn other_openings_are_not_dicom() {
    let request = request();
    for place in [0, 1, 7, 8, 10, 75, 78, 85] {
        let mut other = request.clone();
        other[place] ^= 0x81;
        let mut talk = Talk::tcp();
        talk.says(1, &other);
        assert_eq!(talk.said(), Vec::<String>::new(), "octet {place}");
    }
}

#[test]
fn hostile_lengths_do_no_harm() {
    let whole = [request(), storing(300)].concat();
    for place in 80..whole.len() {
        for octet in [0, 0xff] {
            let mut other = whole.clone();
            other[place] = octet;
            let mut talk = Talk::tcp();
            talk.says(0, &acceptance()).says(1, &other);
            assert!(talk.is_free_of(SECRET), "octet {place}: {:?}", talk.said());
        }
    }
}
