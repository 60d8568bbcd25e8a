//! Data sets made by hand → the device attributes among them, and nothing else.

use super::*;

const WANTED: &[Tag] = &[0x0008_0070, UDI, 0x0018_1020, 0x0020_000d];

fn read(syntax: Syntax, octets: &[u8], piece: usize) -> Vec<(Tag, Vec<u8>)> {
    let mut elements = Elements::new(syntax, WANTED);
    let mut out = Vec::new();
    for piece in octets.chunks(piece) {
        elements.feed(piece, &mut |tag, value| out.push((tag, value.to_vec())));
        assert!(elements.kept.len() <= KEPT_MAX && !elements.kept.windows(4).any(|window| window == b"MARK"));
    }
    out
}

fn implicit(tag: Tag, length: u32, value: &[u8]) -> Vec<u8> {
    let [a, b, c, d] = tag.to_be_bytes();
    [&[b, a, d, c], &length.to_le_bytes()[..], value].concat()
}

fn whole(tag: Tag, value: &[u8]) -> Vec<u8> {
    implicit(tag, value.len() as u32, value)
}

const END: [u8; 8] = [0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0];
const ITEM_OVER: [u8; 8] = [0xfe, 0xff, 0x0d, 0xe0, 0, 0, 0, 0];

#[test]
fn sequences_are_passed_whatever_their_form() {
    let inner = [whole(0x0008_0070, b"INNER "), implicit(0x0008_1140, UNDEFINED, &[]), END.to_vec()].concat();
    let undefined = [
        implicit(0x0008_0082, UNDEFINED, &[]),
        implicit(ITEM, UNDEFINED, &inner),
        ITEM_OVER.to_vec(),
        whole(ITEM, b"MARKMARK"),
        END.to_vec(),
    ]
    .concat();
    let set = [
        whole(0x0008_0060, b"CT"),
        whole(0x0008_0070, b"Maker "),
        undefined,
        whole(0x0008_1140, &whole(ITEM, b"MARKMARK")),
        whole(0x0010_0010, b"MARKMARK"),
        implicit(0x0018_100a, UNDEFINED, &[]),
        implicit(ITEM, UNDEFINED, &whole(UDI, b"(01)1234")),
        ITEM_OVER.to_vec(),
        END.to_vec(),
        whole(0x0018_1020, b"4.2\\MM"),
        whole(0x0020_000d, b"1.2.3\0"),
    ]
    .concat();
    let expected: Vec<(Tag, Vec<u8>)> =
        [(0x0008_0070, &b"Maker "[..]), (UDI, b"(01)1234"), (0x0018_1020, b"4.2\\MM"), (0x0020_000d, b"1.2.3\0")]
            .map(|(tag, value)| (tag, value.to_vec()))
            .to_vec();
    for piece in 1..set.len() {
        assert_eq!(read(Syntax::Implicit, &set, piece), expected, "pieces of {piece}");
        assert_eq!(read(Syntax::Unseen, &set, piece), expected, "pieces of {piece}");
    }
    assert!(read(Syntax::Opaque, &set, 9).is_empty());
    assert!(read(Syntax::Big, &set, 9).is_empty());
    assert!(read(Syntax::Explicit, &set, 9).is_empty());
}

#[test]
fn big_endian_is_read() {
    let set = [
        &b"\0\x08\0\x60CS\0\x02CT\0\x08\0\x70LO\0\x04Make\0\x08\x11\x40SQ\0\0\0\0\0\x08\xff\xfe\xe0\0\0\0\0\0"[..],
        b"\0\x20\0\x0dUI\0\x041.2\0",
    ]
    .concat();
    for piece in 1..set.len() {
        assert_eq!(read(Syntax::Big, &set, piece), [(0x0008_0070, b"Make".to_vec()), (0x0020_000d, b"1.2\0".to_vec())]);
    }
}

#[test]
fn in_a_sequence_of_unknown_vr_all_is_implicit() {
    let set = [
        &b"\x08\0\x70\0LO\x04\0Make\x09\0\x10\0UN\0\0\xff\xff\xff\xff"[..],
        &whole(ITEM, b"MARKMARK"),
        &implicit(ITEM, UNDEFINED, &whole(0x0009_1001, b"MARKMARK")),
        &ITEM_OVER,
        &END,
        b"\x20\0\x0d\0UI\x04\x001.2\0",
    ]
    .concat();
    for piece in 1..set.len() {
        assert_eq!(read(Syntax::Explicit, &set, piece), [(0x0008_0070, b"Make".to_vec()), (0x0020_000d, b"1.2\0".to_vec())]);
    }
}

#[test]
fn what_is_out_of_order_or_too_deep_ends_the_set() {
    let backwards = [whole(0x0010_0010, b"MARK"), whole(0x0008_0070, b"Maker ")].concat();
    assert!(read(Syntax::Implicit, &backwards, 5).is_empty());
    let deep = [implicit(0x0008_0082, UNDEFINED, &[]).repeat(DEPTH_MAX as usize + 1), whole(0x0008_0070, b"Maker ")].concat();
    assert!(read(Syntax::Implicit, &deep, 5).is_empty());
    assert!(read(Syntax::Implicit, &[END.to_vec(), whole(0x0008_0070, b"Maker ")].concat(), 5).is_empty());
}

#[test]
fn a_long_value_is_kept_in_part_and_a_gap_costs_what_it_hits() {
    let long = whole(0x0008_0070, &[b'x'; 5000]);
    assert_eq!(read(Syntax::Implicit, &long, 77), [(0x0008_0070, vec![b'x'; KEPT_MAX])]);

    let set = [whole(0x0008_0060, b"CTCTCTCT"), whole(0x0008_0070, b"Maker "), whole(0x0020_000d, b"1.2.3\0")].concat();
    for from in 0..set.len() {
        for octets in 1..set.len() - from {
            let mut elements = Elements::new(Syntax::Implicit, WANTED);
            let mut out = Vec::new();
            elements.feed(&set[..from], &mut |tag, value| out.push((tag, value.to_vec())));
            elements.gap(octets as u32);
            elements.feed(&set[from + octets..], &mut |tag, value| out.push((tag, value.to_vec())));
            let expected = [(0x0008_0070, b"Maker ".to_vec()), (0x0020_000d, b"1.2.3\0".to_vec())];
            assert!(out.iter().all(|said| expected.contains(said)), "{octets} lost at {from}: {out:?}");
            let is_in_value = from >= 8 && from + octets <= 16;
            assert!(!is_in_value || out == expected, "{octets} lost at {from}: {out:?}");
        }
    }
}
