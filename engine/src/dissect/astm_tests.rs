//! ASTM transmissions made by hand → what is said of the analyser, however they are split.

use super::super::trace::Talk;
use crate::observation::Field;

const SECRET: &str = "Zq9Secret";

fn frame(number: u8, text: &str, end: char) -> Vec<u8> {
    let body = format!("{}{text}{end}", number % 8);
    let sum = body.bytes().fold(0u8, u8::wrapping_add);
    format!("\x02{body}{sum:02X}\r\n").into_bytes()
}

fn transmission(header: &str) -> Vec<u8> {
    let texts = [
        format!("{header}\r"),
        format!("P|1||{SECRET}||{SECRET}\r"),
        format!("C|1|{SECRET}|H|\\^&|||{SECRET}\r"),
        "L|1|N\r".into(),
    ];
    let frames = texts.iter().enumerate().flat_map(|(n, text)| frame(n as u8 + 1, text, '\x03'));
    [5].into_iter().chain(frames).chain([4]).collect()
}

const HEADER: &str = "H|\\^&||Zq9Secret|HEMA5^2.4.0\\1.1^SN-9^x|Street 1||555||LIS||P|1|20260105";
const EXPECTED: [&str; 5] =
    ["1 astm.sender HEMA5", "1 astm.version 2.4.0", "1 astm.serial SN-9", "0 link.serves astm", "1 link.uses astm"];

#[test]
fn the_header_is_said_however_it_is_split() {
    let transmission = transmission(HEADER);
    for piece in 1..transmission.len() {
        let mut talk = Talk::tcp();
        talk.says_in(1, &transmission, piece).says(0, &[6, 6]);
        assert_eq!(talk.said_once(), EXPECTED, "pieces of {piece}");
    }
}

#[test]
fn a_record_goes_on_over_frames() {
    for split in 6..HEADER.len() {
        let (first, rest) = HEADER.split_at(split);
        let octets = [frame(1, first, '\x17'), frame(2, &format!("{rest}\r"), '\x03')].concat();
        let mut talk = Talk::tcp();
        talk.says_in(1, &octets, 9);
        assert_eq!(talk.said_once(), EXPECTED[..3], "split at {split}");
    }
}

#[test]
fn a_frame_that_comes_again_is_read_once() {
    let (first, rest) = HEADER.split_at(24);
    let damaged = frame(1, first, '\x17').iter().map(|octet| if *octet == b'M' { b'N' } else { *octet }).collect::<Vec<u8>>();
    let again = frame(1, first, '\x17');
    let octets = [&[5], &frame(1, first, '\x17')[..], &damaged, &again, &frame(2, &format!("{rest}\r"), '\x03'), &[4]].concat();
    let mut talk = Talk::tcp();
    talk.says_in(1, &octets, 50);
    assert_eq!(talk.said_once(), EXPECTED[..3]);
}

#[test]
fn what_ends_early_or_is_damaged_says_nothing_wrong() {
    let whole = transmission(HEADER);
    for place in 0..whole.len() {
        let mut talk = Talk::tcp();
        talk.says(1, &whole[..place]);
        assert!(talk.said().iter().all(|said| EXPECTED.contains(&said.as_str())), "{:?}", talk.said());
        for octet in [0, b'|', b'\r', 2, 3, 0xff] {
            let mut other = whole.clone();
            other[place] = octet;
            let mut talk = Talk::tcp();
            talk.says(1, &other);
            assert!(talk.said().iter().all(|said| EXPECTED.contains(&said.as_str())), "{octet} at {place}: {:?}", talk.said());
        }
    }
}

#[test]
fn bare_records_are_read_and_behind_a_gap_the_next_header_is() {
    let bare = format!("{HEADER}\rP|1||{SECRET}\rL|1|N\r");
    let mut talk = Talk::tcp();
    talk.says_in(1, bare.as_bytes(), 11);
    assert_eq!(talk.said_once(), EXPECTED[..3]);

    let mut talk = Talk::tcp();
    let whole = transmission("H|\\^&|||OTHER^1");
    talk.says(1, &whole).says_cut(1, &whole, 9).says(1, &transmission(HEADER));
    assert_eq!(talk.of_field(1, Field::AstmSender), ["OTHER", "HEMA5"]);
    assert!(talk.is_free_of(SECRET));
}

#[test]
fn other_openings_are_not_astm() {
    for other in [
        &b"\x05\x06H|\\^&|||A^1\r"[..],
        b"\x028H|\\^&|||A^1\r\x03",
        b"\x021P|\\^&|||A^1\r\x03",
        b"H|\\^x|||A^1\r",
        b"\x021H||||||A^1\r\x03",
    ] {
        let mut talk = Talk::tcp();
        talk.says(1, other);
        assert_eq!(talk.said(), Vec::<String>::new());
    }
    assert_eq!(super::text_of(b"1A\r\x0392"), None);
}
