//! Data export made by hand → what is said of the monitor.

use super::super::trace::Talk;

fn label(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

fn list(parts: &[Vec<u8>]) -> Vec<u8> {
    let body = parts.concat();
    [&(parts.len() as u16).to_be_bytes()[..], &(body.len() as u16).to_be_bytes(), &body].concat()
}

fn attribute(number: u16, value: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes()[..], &(value.len() as u16).to_be_bytes(), value].concat()
}

fn attributes() -> Vec<u8> {
    let entry =
        |kind: u16, component: u16, text: &str| [&kind.to_be_bytes()[..], &component.to_be_bytes(), &label(text)].concat();
    let specification =
        list(&[entry(4, 0x58, "A.00.1"), entry(1, 8, "DE123456\0\0"), entry(2, 8, "M8004-1"), entry(4, 8, "G.01.80 ")]);
    let bed: Vec<u8> = "ICU-4\0".encode_utf16().flat_map(u16::to_be_bytes).collect();
    list(&[
        attribute(0x0986, &[0, 1, 0x11, 0x4d]),
        attribute(0x0928, &[label("Philips\0"), label("M8004A\0\0")].concat()),
        attribute(0x092d, &specification),
        attribute(0x091e, &[&(bed.len() as u16).to_be_bytes()[..], &bed].concat()),
        attribute(0x0957, b"Zq9Secret "),
    ])
}

/// An event report of that class and kind, and what belongs to it.
fn event(command: u16, class: u16, kind: u16, body: &[u8]) -> Vec<u8> {
    let words = |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let report = [words(&[class, 0, 0, 0, 1, kind, body.len() as u16]), body.to_vec()].concat();
    let operation = [words(&[1, command, report.len() as u16]), report].concat();
    [words(&[1, operation.len() as u16]), operation].concat()
}

fn created() -> Vec<u8> {
    [&[0xe1, 0, 0, 2][..], &event(1, 33, 0x0d06, &[&[0, 33, 0, 0, 0, 0][..], &attributes()].concat())].concat()
}

const EXPECTED: [&str; 4] = [
    "1 intellivue.model Philips M8004A",
    "1 intellivue.serial DE123456",
    "1 intellivue.software G.01.80",
    "1 intellivue.bed ICU-4",
];

#[test]
fn a_monitor_says_what_it_is() {
    let indication = [&[0, 0, 1, 0][..], &event(0, 35, 0x0d17, &attributes())].concat();
    for (ports, payload) in [([24105, 40_000], created()), ([24005, 24105], indication)] {
        let mut talk = Talk::udp(ports);
        talk.says(1, &payload);
        assert_eq!(talk.said(), EXPECTED);
        let mut talk = Talk::udp([5000, 40_000]);
        talk.says(1, &payload);
        assert!(talk.said().is_empty());
    }
}

#[test]
fn what_is_cut_or_damaged_says_nothing_of_a_patient() {
    let created = created();
    for place in 0..created.len() {
        let mut talk = Talk::udp([24105, 40_000]);
        talk.says_cut(1, &created, place);
        assert!(talk.said().iter().all(|said| EXPECTED.contains(&said.as_str())), "{place}: {:?}", talk.said());
        for octet in [0, 0xff] {
            let mut other = created.clone();
            other[place] = octet;
            let mut talk = Talk::udp([24105, 40_000]);
            talk.says(1, &other);
            assert!(talk.is_free_of("Zq9Secret"), "{place}");
        }
    }
}

#[test]
fn whoever_accepts_an_association_serves() {
    let association = |kind: u8| {
        let session = [0x05, 0x08, 0x13, 0x01, 0x00, 0x16, 0x01, 0x02, 0x80, 0x00, 0x14, 0x02, 0x00, 0x02];
        [&[kind, 20][..], &session, &[0xc1, 1, 2, 3, 4, 5]].concat()
    };
    let mut talk = Talk::udp([24105, 40_000]);
    talk.says(1, &association(0x0d));
    assert!(talk.said().is_empty());
    talk.says(0, &association(0x0e));
    assert_eq!(talk.said(), ["0 link.serves intellivue", "1 link.uses intellivue"]);
}
