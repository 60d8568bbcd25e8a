//! For tests: conversations of two ends as the sampler gives them, whole, split, out of order, repeated, or with gaps.

use std::hash::RandomState;

use auscult_ebpf::record::{DELTA_HAS_MACS, FORM_IPV4, FlowKey, SampleHead};

use super::Dissector;
use crate::observation::{Field, Observation, Value};

/// What is told of a conversation between end 0 (10.0.0.1) and end 1 (10.0.0.2).
pub struct Talk {
    dissector: Dissector,
    head: SampleHead,
    next: [u32; 2],
    out: Vec<Observation>,
}

impl Talk {
    /// Over TCP, neither port is known.
    pub fn tcp() -> Self {
        Self::of(6, [40_000, 41_000])
    }

    /// Over UDP.
    pub fn udp(ports: [u16; 2]) -> Self {
        Self::of(17, ports)
    }

    fn of(protocol: u8, port: [u16; 2]) -> Self {
        let address = [1, 2].map(|last| {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&[10, 0, 0, last]);
            octets
        });
        let key = FlowKey { address, port, protocol, form: FORM_IPV4, scope: 0 };
        let head = SampleHead { key, at: 1_000_000_000, flags: DELTA_HAS_MACS, ttl: 64, ..SampleHead::default() };
        Self { dissector: Dissector::new(RandomState::new()), head, next: [1000, 2_000_000_000], out: Vec::new() }
    }

    /// That end sends octets, in pieces of at most so many.
    pub fn says_in(&mut self, from: usize, octets: &[u8], piece: usize) -> &mut Self {
        for piece in octets.chunks(piece) {
            self.sends(from, self.next[from], piece);
            self.next[from] = self.next[from].wrapping_add(piece.len() as u32);
        }
        self
    }

    /// That end sends octets.
    pub fn says(&mut self, from: usize, octets: &[u8]) -> &mut Self {
        self.says_in(from, octets, 1400)
    }

    /// That end sends octets that come later by so many than what it sent so far.
    pub fn says_at(&mut self, from: usize, ahead: usize, octets: &[u8]) -> &mut Self {
        self.sends(from, self.next[from].wrapping_add(ahead as u32), octets);
        self
    }

    /// That end goes on behind so many octets.
    pub fn passes(&mut self, from: usize, octets: usize) -> &mut Self {
        self.next[from] = self.next[from].wrapping_add(octets as u32);
        self
    }

    /// That end sends octets of which the sample holds the first so many.
    pub fn says_cut(&mut self, from: usize, octets: &[u8], held: usize) -> &mut Self {
        self.sample(from, self.next[from], &octets[..held], octets.len());
        self.passes(from, octets.len())
    }

    fn sends(&mut self, from: usize, sequence: u32, octets: &[u8]) {
        self.sample(from, sequence, octets, octets.len());
    }

    fn sample(&mut self, from: usize, sequence: u32, octets: &[u8], on_wire: usize) {
        let mut head = self.head;
        head.at += 1;
        self.head.at = head.at;
        head.header.packets = [from as u16, 0];
        head.link.source = [2, 0, 0, 0, 0, from as u8 + 1];
        head.link.target = [2, 0, 0, 0, 0, 2 - from as u8];
        head.sequence = if head.key.protocol == 6 { sequence } else { 0 };
        (head.length, head.payload_octets) = (octets.len() as u16, on_wire as u16);
        self.dissector.take(&head, octets, &mut self.out);
    }

    /// Everything that was said, as `end field value`; hashes are not told.
    pub fn said(&self) -> Vec<String> {
        let end = |observation: &Observation| observation.subject.ip.map_or(9, |ip| u8::from(ip.to_string().ends_with('2')));
        let value = |value: &Value| if matches!(value, Value::Hash(_)) { "#".into() } else { value.to_string() };
        self.out.iter().map(|said| format!("{} {} {}", end(said), said.field.name(), value(&said.value))).collect()
    }

    /// The same, each once: how much of what is repeated is left out depends on a secret.
    pub fn said_once(&self) -> Vec<String> {
        let mut once = Vec::new();
        for said in self.said() {
            if !once.contains(&said) {
                once.push(said);
            }
        }
        once
    }

    /// Every conversation is forgotten.
    pub fn forgets(&mut self) {
        self.dissector.streams.clear();
    }

    /// What an end said in a field.
    pub fn of_field(&self, from: usize, field: Field) -> Vec<String> {
        let start = format!("{from} {} ", field.name());
        self.said().iter().filter_map(|said| said.strip_prefix(&start).map(str::to_owned)).collect()
    }

    /// Nothing that was said holds that text.
    pub fn is_free_of(&self, text: &str) -> bool {
        self.said().iter().all(|said| !said.contains(text))
    }
}

/// A text of 24 octets that is in memory in no readable form.
pub struct Masked(Vec<u8>);

impl Masked {
    /// Another one for each name.
    pub fn new(name: &str) -> Self {
        Self((0..24).map(|n| name.bytes().fold(0xa5 ^ n, |sum: u8, octet| sum.rotate_left(3) ^ octet) & 0x1f | 0x80).collect())
    }

    /// It, readable.
    pub fn plain(&self) -> impl Iterator<Item = u8> {
        self.0.iter().map(|octet| octet ^ 0xc0)
    }

    /// How often this process holds most of it where it may write.
    pub fn copies_in_memory(&self) -> usize {
        use std::io::{Read, Seek, SeekFrom};
        let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
        let mut memory = std::fs::File::open("/proc/self/mem").expect("memory");
        let mut copies = 0;
        for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
            let (from, rest) = line.split_once('-').expect("a range");
            let to = rest.split(' ').next().expect("its end");
            let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).expect("an address"));
            let mut octets = vec![0; (to - from) as usize];
            if memory.seek(SeekFrom::Start(from)).is_ok() && memory.read_exact(&mut octets).is_ok() {
                let is_copy = |window: &&[u8]| window.iter().zip(&self.0).all(|(octet, masked)| octet ^ 0xc0 == *masked);
                copies += octets.windows(12).filter(is_copy).count();
            }
            octets.fill(0);
            std::hint::black_box(&octets);
        }
        copies
    }
}
