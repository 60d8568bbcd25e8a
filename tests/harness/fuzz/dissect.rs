//! Octets to samples of conversations, through all dissectors: what leaves is in its field's grammar, is not more than there was to read,
//! and is the same for the same samples.

use std::{
    collections::BTreeMap,
    hash::RandomState,
    sync::{Arc, Mutex},
};

use auscult::{
    capture::{
        native::{NativeMeter, SampleSink},
        outlets::{Batches, Outlets},
        replay::RawFrame,
    },
    dissect::Dissector,
    observation::{Grammar, Observation, Value},
    scene::{SCENE_START_UNIX_NANOS, Scene, SceneSize},
};
use auscult_ebpf::{
    limit::SAMPLE_LARGE,
    record::{DELTA_HAS_MACS, FORM_ETHERNET, FORM_IPV4, FORM_IPV6, FlowKey, Link, SampleHead},
    settings::{FLAG_SAMPLES, Settings},
};
use crossbeam::channel::{never, unbounded};

use super::{Octets, seed::Seed};

/// Samples of one input.
const SAMPLES_MAX: usize = 200;
/// Observations that one sample may give: every one of a name's, a list's or a table's entries is one, and they are bounded.
const SAID_MAX: usize = 1200;
/// Ports that mean something to a dissector, and one that means nothing.
const PORTS: [u16; 32] = [
    9999, 21, 22, 23, 25, 53, 67, 80, 88, 102, 104, 123, 137, 161, 389, 443, 445, 502, 514, 547, 554, 1433, 1883, 1900, 2575,
    3389, 3702, 5060, 5353, 9100, 24_105, 47_808,
];
/// Ethertypes: ARP, LLDP, 802.3.
const ETHERTYPES: [u16; 4] = [0x0806, 0x88cc, 0, 0x888e];
/// ICMPv6 types that neighbours send.
const MESSAGES: [u16; 4] = [133, 134, 135, 136];

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// One conversation, by the octet that says what it is.
fn key(kind: u8, port: u8) -> FlowKey {
    let port = usize::from(port);
    let mut key = FlowKey::default();
    key.address[0][..6].copy_from_slice(&[10, 4, 0, 1, 2, 3]);
    key.address[1][..6].copy_from_slice(&[10, 4, 0, 9, 2, 4]);
    match kind & 3 {
        0 | 1 => {
            (key.form, key.protocol) = (FORM_IPV4, if kind & 3 == 0 { TCP } else { UDP });
            key.port = [PORTS[port % PORTS.len()], 40_000];
        }
        2 => {
            (key.form, key.protocol) = (FORM_IPV6, ICMPV6);
            key.address =
                [[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]];
            key.port = [MESSAGES[port % MESSAGES.len()], 0];
        }
        _ => {
            key.form = FORM_ETHERNET;
            key.scope = ETHERTYPES[port % ETHERTYPES.len()];
        }
    }
    key
}

/// Each sample: what it is of, port, flags (direction, cut, how far the sequence number leaps), length, payload.
pub fn dissect(octets: &[u8]) {
    let samples = samples(octets);
    let said = hear(&samples);
    let again = hear(&samples);
    let plain = |observation: &Observation| (observation.field, matches!(observation.value, Value::Hash(_)));
    assert!(said.iter().map(plain).eq(again.iter().map(plain)), "the same samples say the same");
    for Observation { field, value, .. } in &said {
        match value {
            Value::Text(text) => {
                assert_eq!(field.grammar().check(text.as_bytes()), Some(&**text), "{} is in its grammar", field.name());
            }
            Value::Word(word) => assert!(field.grammar() == Grammar::Word && !word.is_empty(), "{}", field.name()),
            Value::Number(_) => assert_eq!(field.grammar(), Grammar::Number, "{}", field.name()),
            Value::Ip(_) | Value::Mac(_) => assert_eq!(field.grammar(), Grammar::Address, "{}", field.name()),
            Value::Hash(_) => assert_eq!(field.grammar(), Grammar::Hash, "{}", field.name()),
        }
    }
}

type Sample = (SampleHead, Vec<u8>);

fn samples(octets: &[u8]) -> Vec<Sample> {
    let mut from = Octets(octets);
    let mut sequences: BTreeMap<(FlowKey, usize), u32> = BTreeMap::new();
    let mut samples = Vec::new();
    while !from.is_empty() && samples.len() < SAMPLES_MAX {
        let (kind, port, flags) = (from.u8(), from.u8(), from.u8());
        let key = key(kind, port);
        let length = usize::from(from.u16()).min(SAMPLE_LARGE);
        let payload = from.take(length).to_vec();
        let way = usize::from(flags & 1);
        let mut head = SampleHead {
            key,
            at: 1_000_000_000 + samples.len() as u64 * 7_000_000,
            ttl: 64,
            flags: DELTA_HAS_MACS,
            ..SampleHead::default()
        };
        head.header.packets[0] = way as u16;
        head.link = Link { source: [0, 1, 2, 3, 4, way as u8], target: [0, 1, 2, 3, 4, 1 - way as u8], tags: [0, 0] };
        head.length = payload.len() as u16;
        head.payload_octets = head.length + if flags & 2 != 0 { 300 } else { 0 };
        let sequence = sequences.entry((key, way)).or_insert(77);
        let leap = [0, 1, 1500, 70_000][usize::from(flags >> 2 & 3)];
        head.sequence = if flags & 16 != 0 { sequence.wrapping_sub(leap) } else { sequence.wrapping_add(leap) };
        if leap == 0 {
            *sequence = sequence.wrapping_add(head.payload_octets.into());
        }
        samples.push((head, payload));
    }
    samples
}

fn hear(samples: &[Sample]) -> Vec<Observation> {
    let mut dissector = Dissector::new(RandomState::new());
    let mut said = Vec::new();
    for (head, payload) in samples {
        let before = said.len();
        dissector.take(head, payload, &mut said);
        assert!(said.len() - before <= SAID_MAX, "{} observations of one sample", said.len() - before);
    }
    said
}

/// Keeps samples of each conversation as an input.
struct Keep(Arc<Mutex<BTreeMap<FlowKey, Vec<u8>>>>);

impl SampleSink for Keep {
    fn take(&mut self, head: &SampleHead, payload: &[u8]) {
        let mut kept = self.0.lock().expect("nobody panicked with it");
        let input = kept.entry(head.key).or_default();
        if input.len() + payload.len() < 3000 {
            let port = |port: &u16| PORTS.iter().position(|known| known == port);
            let (kind, port) = match (head.key.form, head.key.protocol) {
                (FORM_ETHERNET, _) => (3, ETHERTYPES.iter().position(|known| *known == head.key.scope)),
                (_, TCP) => (0, head.key.port.iter().find_map(port)),
                (_, UDP) => (1, head.key.port.iter().find_map(port)),
                _ => (2, MESSAGES.iter().position(|known| head.key.port.contains(known))),
            };
            let way = head.header.packets[0] as u8 & 1;
            input.extend([kind, port.unwrap_or(0) as u8, way]);
            input.extend((payload.len() as u16).to_le_bytes());
            input.extend(payload);
        }
    }
}

/// Conversations of the scene, one of each sort and size.
pub fn seeds() -> Vec<Seed> {
    let kept = Arc::new(Mutex::new(BTreeMap::new()));
    let (to, from) = unbounded();
    let (ledger, ledgers) = unbounded();
    let outlets = Outlets { shards: vec![to], ledger, recycled: never(), batch_deltas: 64 };
    let settings = Settings { flags: FLAG_SAMPLES, ..Settings::plain() };
    let mut meter = NativeMeter::new(settings, Batches::new(0, outlets), Box::new(Keep(kept.clone())));
    for frame in Scene::new(11, SceneSize::default()).frames() {
        let at = SCENE_START_UNIX_NANOS + frame.at_nanos;
        let raw = RawFrame { at, octets: &frame.octets, wire_octets: frame.octets.len() as u32, link_type: 1, interface: 0 };
        meter.frame(&raw).expect("somebody receives");
        while from.try_recv().is_ok() {}
        while ledgers.try_recv().is_ok() {}
    }
    let kept = kept.lock().expect("nobody panicked with it");
    let mut sorts = BTreeMap::new();
    for (key, input) in kept.iter().filter(|(_, input)| !input.is_empty()) {
        let sort = (key.protocol, key.form, key.scope, input.get(1).copied(), input.len() / 400);
        sorts.entry(sort).or_insert_with(|| input.clone());
    }
    sorts.into_values().enumerate().map(|(n, input)| (format!("scene{n:03}"), input)).collect()
}
