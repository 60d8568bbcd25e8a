//! Messages made by hand → what is said of both ends, split, cut and out of order; no patient in it.

use super::super::trace::{Masked, Talk};
use crate::observation::Field;

const SECRET: &str = "Zq9Secret";

fn frame(segments: &[&str]) -> Vec<u8> {
    format!("\x0b{}\r\x1c\r", segments.join("\r")).into_bytes()
}

const OBX: &str =
    "OBX|2|NM|150456^MDC_PULS_OXIM^MDC||97|%|||||F|||20260105||||PUMP-7^^0123456789ABCDEF^EUI-64~(01)00844588003288(21)A1^^^";

fn result() -> Vec<u8> {
    frame(&[
        "MSH|^~\\&|MONITOR^0123456789ABCDE0^EUI-64|ICU^1.2.3^ISO|^9.8.7^ISO|NORTH|2026||ORU^R01^ORU_R01|C1|P|2.6^DEU\
         |||||||||PCD_01^IHE PCD^1.3.6^ISO",
        "SFT|Aurora GmbH^L|7.1|Gateway|B1||20250101",
        &format!("PID|1||{SECRET}^^^X^MR||{SECRET}^{SECRET}||19000101|U"),
        &format!("PV1|1|I|{SECRET}^^301|||||||||||||||{SECRET}"),
        &format!("NK1|1|{SECRET}"),
        &format!("OBX|1|FT|1^x||{SECRET}|{SECRET}|||||F"),
        &format!("OBX|1|ST|1^x||{SECRET}|{SECRET} | {SECRET}|||||F||||||{SECRET}"),
        OBX,
        &format!("PRT|1|AD||EQUIP^x^y|{SECRET}^{SECRET}|||||SN-77^MAKER|||||| +H123PUMP7/$$3 "),
        &format!("PRT|1|{SECRET}||x||||||{SECRET}"),
    ])
}

fn answer(code: &str, control: &str) -> Vec<u8> {
    frame(&["MSH|^~\\&|ENGINE|NORTH|MONITOR|ICU|20260105||ACK^R01|A1|P|2.6", &format!("MSA|{code}|{control}|{SECRET}")])
}

fn expected() -> Vec<String> {
    let lines = "1 hl7.application MONITOR
1 hl7.facility ICU
0 hl7.application 9.8.7
0 hl7.facility NORTH
1 hl7.version 2.6
1 hl7.profile PCD_01
1 hl7.message ORU_R01
1 hl7.software_vendor Aurora GmbH
1 hl7.software_version 7.1
1 hl7.software_product Gateway
1 hl7.eui64 0123456789ABCDEF
1 hl7.equipment PUMP-7
1 hl7.udi (01)00844588003288(21)A1
1 hl7.equipment SN-77
1 hl7.udi +H123PUMP7/$$3
0 hl7.application ENGINE
0 hl7.version 2.6
0 link.serves hl7
1 link.uses hl7
0 hl7.accepted ORU_R01";
    lines.lines().map(str::to_owned).collect()
}

#[test]
fn headers_and_equipment_are_said_however_messages_are_split() {
    let (result, answer) = (result(), answer("AA", "C1"));
    for piece in 1..result.len().min(1400) {
        let mut talk = Talk::tcp();
        talk.says_in(1, &result, piece).says_in(0, &answer, piece);
        assert_eq!(talk.said_once(), expected(), "pieces of {piece}");
    }
}

#[test]
fn segments_may_come_twice_and_in_another_order() {
    let result = result();
    for split in 1..result.len() {
        let (first, rest) = result.split_at(split);
        let mut talk = Talk::tcp();
        talk.says(1, &result).says_at(1, split, rest).says_at(1, 0, first).says_in(1, &result, 100).says(0, &answer("AA", "C1"));
        assert_eq!(talk.said_once(), expected(), "split at {split}");
    }
}

#[test]
fn what_ends_early_says_less_and_nothing_wrong() {
    let (result, expected) = (result(), expected());
    for end in 0..result.len() {
        let mut talk = Talk::tcp();
        talk.says(1, &result[..end]);
        assert!(talk.said().iter().all(|said| expected.contains(said)), "{end}: {:?}", talk.said());
    }
}

#[test]
fn each_message_counts_and_is_accepted_by_its_control_id() {
    let message = |kind: &str, control: &str| frame(&[&format!("MSH|^~\\&|A|B|C|D|2026||{kind}|{control}|P|2.3"), "PID|1"]);
    let mut talk = Talk::tcp();
    talk.says(1, &[message("ADT^A01", "1"), message("ADT^A01", "2"), message("ADT^A08", "3")].concat());
    talk.says(0, &answer("AA", "1")).says(0, &answer("AE", "2")).says(0, &answer("CA", "3")).says(0, &answer("AA", "9"));
    assert_eq!(talk.of_field(1, Field::Hl7Message), ["ADT_A01", "ADT_A01", "ADT_A08"]);
    assert_eq!(talk.of_field(0, Field::Hl7Accepted), ["ADT_A01", "ADT_A08"]);
    assert_eq!(talk.of_field(0, Field::Serves), ["hl7"]);
    assert!(talk.of_field(1, Field::Serves).is_empty());
}

#[test]
fn messages_longer_than_any_budget_are_passed() {
    let long = frame(&["MSH|^~\\&|A|B|C|D|2026||MDM^T02|1|P|2.3", &format!("OBX|1|ED|x||{}", SECRET.repeat(20_000)), OBX]);
    let mut talk = Talk::tcp();
    talk.says(1, &long).says(1, &result());
    assert_eq!(talk.of_field(1, Field::Hl7Message), ["MDM_T02", "ORU_R01"]);
    assert_eq!(talk.of_field(1, Field::Hl7Udi).len(), 2);
    assert!(talk.is_free_of(SECRET));
}

#[test]
fn behind_a_gap_the_next_frame_is_read() {
    let result = result();
    for held in [1, 50, 300, 500] {
        let mut talk = Talk::tcp();
        talk.says(1, &result).says_cut(1, &result, held).says(1, &result[500..]).says(1, &result);
        assert_eq!(talk.of_field(1, Field::Hl7Message).len(), if held < 300 { 2 } else { 3 }, "{held}");
        assert!(talk.is_free_of(SECRET));
    }
}

#[test]
fn bare_messages_are_known_by_the_recommended_delimiters() {
    let bare = |text: &str| {
        let mut talk = Talk::tcp();
        talk.says_in(1, text.as_bytes(), 5);
        talk.of_field(1, Field::Hl7Application)
    };
    assert_eq!(bare("MSH|^~\\&|APP|FAC|C|D|2026||ADT^A01|1|P|2.3\rPID|1\r"), ["APP"]);
    assert!(bare("MSH|^~\\x|APP|FAC|C|D|2026||ADT^A01|1|P|2.3\r").is_empty());
    assert!(bare("MSHX^~\\&|APP|FAC|C|D|2026||ADT^A01|1|P|2.3\r").is_empty());
}

#[test]
fn other_delimiters_and_line_ends_are_read() {
    let mut talk = Talk::tcp();
    talk.says(1, b"\x0bMSH#*~\\&#APP*x#FAC#C#D#2026##ADT*A01#1#P#2.3\nPID#1#|||\nOBX#1#NM#x##1######F#######EQ 5*y\x1c\r");
    assert_eq!(talk.of_field(1, Field::Hl7Application), ["APP"]);
    assert_eq!(talk.of_field(1, Field::Hl7Message), ["ADT_A01"]);
    assert_eq!(talk.of_field(1, Field::Hl7Equipment), ["EQ 5"]);
}

#[test]
fn free_text_and_what_a_stray_separator_shifts_is_no_equipment() {
    for segment in
        ["OBX|1|FT|x||a|||||F||||||||Zq9Secret", "OBX|1|ST|x||a|b|c|d||||F|||||||Zq9Secret", "PRT|1|a|AD||||||||Zq9Secret"]
    {
        let mut talk = Talk::tcp();
        talk.says(1, &frame(&["MSH|^~\\&|A|B|C|D|2026||ORU^R01|1|P|2.3", segment, OBX]));
        assert_eq!(talk.of_field(1, Field::Hl7Equipment), ["PUMP-7"], "{segment}");
    }
}

#[test]
fn no_copy_of_a_patient_stays_in_memory() {
    let marker = Masked::new("hl7");
    let mut talk = Talk::tcp();
    let mut first = frame(&["MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.3", "PID|1||", "OBX|1|ST|x||"]);
    first.truncate(first.len() - 3);
    for from in [0, 1] {
        // A vector that grows would leave a copy of its own.
        let mut message = Vec::with_capacity(1000);
        message.extend_from_slice(&first);
        message.extend(marker.plain());
        message.extend(b"|||||F|||||||EQ\rPID|");
        message.extend(marker.plain());
        message.extend(b"|\r\x1c\r");
        let half = message.len() / 2;
        talk.says_in(from, &message, 7)
            .says_at(from, half, &message[half..])
            .says_at(from, 0, &message[..half])
            .says_in(from, &message, 40);
        talk.says_at(from, 90, &message).says_cut(from, &message, 50).says(from, &message);
        assert!(marker.copies_in_memory() > 0);
        message.fill(0);
        assert!(std::hint::black_box(&message).iter().all(|octet| *octet == 0));
    }
    assert!(talk.of_field(1, Field::Hl7Message).len() > 2);
    talk.forgets();
    assert_eq!(marker.copies_in_memory(), 0);
}

#[test]
fn hostile_octets_do_no_harm() {
    let result = result();
    for place in 0..result.len() {
        for octet in [0, b'|', b'\r', 0x0b, 0x1c, 0xff] {
            let mut other = result.clone();
            other[place] = octet;
            let mut talk = Talk::tcp();
            talk.says(1, &other);
            assert!(talk.is_free_of(SECRET), "{octet:#x} at {place}: {:?}", talk.said());
        }
    }
}
