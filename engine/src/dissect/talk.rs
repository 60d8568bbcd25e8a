//! Test support: conversations played through the assembler, whole, cut at every octet, and ended at every octet.

use std::{collections::BTreeSet, hash::RandomState};

use auscult_ebpf::record::{FORM_IPV4, FlowKey, SampleHead};

use super::{Dissector, TCP};
use crate::observation::{Field, Observation};

/// What an end says: the low end (0) is 10.0.0.1, the high one (1) is 10.0.0.2.
pub type Turn<'a> = (usize, &'a [u8]);

/// Field and value of every observation, with the end it is about.
pub type Said = BTreeSet<(usize, Field, String)>;

/// What is made of the turns, each in segments of at most `segment` octets, when only the first `limit` octets of all come.
pub fn play(ports: [u16; 2], turns: &[Turn<'_>], segment: usize, limit: usize) -> Said {
    let mut dissector = Dissector::new(RandomState::new());
    let mut out = Vec::new();
    let mut key = FlowKey { port: ports, protocol: TCP, form: FORM_IPV4, ..FlowKey::default() };
    key.address[0][..4].copy_from_slice(&[10, 0, 0, 1]);
    key.address[1][..4].copy_from_slice(&[10, 0, 0, 2]);
    let mut sequences = [1000u32, 5000];
    let mut left = limit;
    for (at, (end, octets)) in turns.iter().enumerate() {
        for part in octets[..octets.len().min(left)].chunks(segment) {
            let mut head = SampleHead { key, at: at as u64 + 1, sequence: sequences[*end], ttl: 64, ..SampleHead::default() };
            head.header.packets[0] = *end as u16;
            head.length = part.len() as u16;
            head.payload_octets = part.len() as u16;
            dissector.take(&head, part, &mut out);
            sequences[*end] += part.len() as u32;
        }
        left = left.saturating_sub(octets.len());
    }
    out.iter().map(said).collect()
}

/// What is made of the turns. It is the same in segments of any size; of a part of them nothing is made that is not made of all.
pub fn talk(ports: [u16; 2], turns: &[Turn<'_>]) -> Said {
    let whole = play(ports, turns, 1400, usize::MAX);
    for segment in [1, 2, 3, 7, 64, 500] {
        assert_eq!(play(ports, turns, segment, usize::MAX), whole, "segments of {segment}");
    }
    let octets: usize = turns.iter().map(|(_, octets)| octets.len()).sum();
    for limit in (0..octets).step_by(1 + octets / 2000) {
        let part = play(ports, turns, 1400, limit);
        assert!(part.is_subset(&whole), "the first {limit} octets: {part:?} of {whole:?}");
    }
    whole
}

/// Whether `said` is just those.
pub fn expect(said: &Said, expect: &[(usize, Field, &str)]) {
    let expect: Said = expect.iter().map(|(end, field, value)| (*end, *field, (*value).to_owned())).collect();
    assert_eq!(*said, expect);
}

/// None of `secrets` is anywhere in `said`.
pub fn hides(said: &Said, secrets: &[&str]) {
    for (_, field, value) in said {
        for secret in secrets {
            assert!(!value.to_ascii_lowercase().contains(&secret.to_ascii_lowercase()), "{secret} in {}", field.name());
        }
    }
}

fn said(observation: &Observation) -> (usize, Field, String) {
    let end = match observation.subject.ip.map(|ip| ip.to_string()).as_deref() {
        Some("10.0.0.1") => 0,
        Some("10.0.0.2") => 1,
        _ => panic!("about nobody: {observation:?}"),
    };
    (end, observation.field, observation.value.to_string())
}
