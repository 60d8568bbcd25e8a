//! What tests of dissectors share: packets out of octets, and what was said as text.

use std::{hash::RandomState, net::IpAddr};

use auscult_ebpf::record::{FORM_IPV4, SampleHead};

use super::{Conversation, Lead, OpenStream, Opening, Packet, ReadPacket, Say, Step};
use crate::observation::{Field, Observation};

/// In the place of an end: somebody else.
const OTHER: usize = 9;

/// The end (0: 10.0.0.1, 1: 10.0.0.2) that is spoken of, the field and what it says.
pub type Said = (usize, Field, String);

fn head(from: usize, ports: [u16; 2]) -> SampleHead {
    let mut head = SampleHead::default();
    head.key.form = FORM_IPV4;
    head.key.port = ports;
    for end in 0..2 {
        head.key.address[end][..4].copy_from_slice(&[10, 0, 0, end as u8 + 1]);
    }
    head.header.packets[0] = from as u32 as _;
    head
}

fn said(observations: Vec<Observation>) -> Vec<Said> {
    let end = |ip| [[10, 0, 0, 1], [10, 0, 0, 2]].iter().position(|end| ip == Some(IpAddr::from(*end))).unwrap_or(OTHER);
    observations.into_iter().map(|o| (end(o.subject.ip), o.field, o.value.to_string())).collect()
}

/// Reads a datagram from the end `from`; what was said, if it was known.
pub fn datagram(read: ReadPacket, from: usize, ports: [u16; 2], payload: &[u8], whole: bool) -> Option<Vec<Said>> {
    let (salt, mut out) = (RandomState::new(), Vec::new());
    let mut say = Say::new(&head(from, ports), &salt, &mut out);
    let packet = Packet { payload, whole, source_port: ports[from], target_port: ports[1 - from], ethertype: 0 };
    read(&packet, &mut say).then(|| said(out))
}

/// Reads what the ends say in turn, at most `step` octets at a time; what was said, if it was known.
pub fn stream(open: OpenStream, ports: [u16; 2], turns: &[(usize, &[u8])], step: usize) -> Option<Vec<Said>> {
    let (salt, mut out) = (RandomState::new(), Vec::new());
    let mut ways = [(Vec::new(), false), (Vec::new(), false)];
    let mut known: Option<Box<dyn Conversation>> = None;
    for (from, octets) in turns.iter().flat_map(|(from, octets)| octets.chunks(step).map(|chunk| (*from, chunk))) {
        ways[from].0.extend_from_slice(octets);
        let mut say = Say::new(&head(from, ports), &salt, &mut out);
        for end in [from, 1 - from] {
            let lead = Lead { octets: &ways[end].0, from: end, ports, last: ways[end].0.len() >= 512 };
            if known.is_none()
                && !lead.octets.is_empty()
                && let Opening::Yes(conversation) = open(&lead)
            {
                known = Some(conversation);
            }
        }
        let Some(conversation) = &mut known else { continue };
        for end in [1 - from, from] {
            let (held, enough) = &mut ways[end];
            while !held.is_empty() && !*enough {
                match conversation.read(end, held, &mut say) {
                    Step::Read(0) => break,
                    Step::Read(octets) => drop(held.drain(..octets.min(held.len()))),
                    Step::Enough => *enough = true,
                }
            }
        }
    }
    known.map(|_| said(out))
}

/// A function that speaks about the end `from`; what it said.
pub fn spoken(from: usize, speak: impl FnOnce(&mut Say<'_>)) -> Vec<Said> {
    let (salt, mut out) = (RandomState::new(), Vec::new());
    speak(&mut Say::new(&head(from, [40000, 631]), &salt, &mut out));
    said(out)
}

/// A stream says the same however it is cut, and nothing else when it ends early.
pub fn holds_when_cut(open: OpenStream, ports: [u16; 2], turns: &[(usize, &[u8])], expect: &[(usize, Field, &str)]) {
    let expect: Vec<Said> = expect.iter().map(|(end, field, text)| (*end, *field, (*text).to_owned())).collect();
    for step in [usize::MAX, 1, 2, 3, 7, 64] {
        let said = stream(open, ports, turns, step).unwrap_or_default();
        assert_eq!(said, expect, "steps of {step}");
    }
    for (turn, (from, octets)) in turns.iter().enumerate() {
        for length in 0..octets.len() {
            let mut short = turns[..turn].to_vec();
            short.push((*from, &octets[..length]));
            let said = stream(open, ports, &short, usize::MAX).unwrap_or_default();
            assert!(said.iter().all(|one| expect.contains(one)), "{said:?} of turn {turn} cut at {length}");
        }
        for octets in bent(octets) {
            let mut other = turns.to_vec();
            other[turn] = (*from, &octets);
            assert!(stream(open, ports, &other, usize::MAX).unwrap_or_default().len() < SAID_MAX);
        }
    }
}

/// Variants of `octets`: every octet in turn replaced by values at the edges of what it may be.
fn bent(octets: &[u8]) -> impl Iterator<Item = Vec<u8>> + use<'_> {
    let places = (0..octets.len()).flat_map(|place| [0, 1, 0x7f, 0x80, 0xfe, 0xff].map(|octet| (place, octet)));
    places.map(|(place, octet)| {
        let mut bent = octets.to_vec();
        bent[place] = octet;
        bent
    })
}

/// More observations than that do not come of the messages of tests, however they are bent.
const SAID_MAX: usize = 64;

/// A datagram says this, and nothing else when it ends early.
pub fn says(read: ReadPacket, from: usize, ports: [u16; 2], payload: &[u8], expect: &[(usize, Field, &str)]) {
    let expect: Vec<Said> = expect.iter().map(|(end, field, text)| (*end, *field, (*text).to_owned())).collect();
    assert_eq!(datagram(read, from, ports, payload, true), Some(expect.clone()));
    for length in 0..payload.len() {
        for whole in [true, false] {
            let said = datagram(read, from, ports, &payload[..length], whole).unwrap_or_default();
            assert!(said.iter().all(|one| expect.contains(one)), "{said:?} when cut at {length}");
        }
    }
    for octets in bent(payload) {
        for whole in [true, false] {
            assert!(datagram(read, from, ports, &octets, whole).unwrap_or_default().len() < SAID_MAX);
        }
    }
}
