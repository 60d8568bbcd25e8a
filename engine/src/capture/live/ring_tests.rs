//! The reader against a ring in plain memory, written as the kernel writes it.

use super::*;

/// A ring of 64 words whose second half repeats the first.
struct Fake {
    positions: Box<[AtomicU64; 2]>,
    records: Box<[AtomicU64]>,
    size: u64,
}

impl Fake {
    fn new(size: u64, start: u64) -> Self {
        let words = usize::try_from(2 * size / 8).expect("small");
        Self {
            positions: Box::new([AtomicU64::new(start), AtomicU64::new(start)]),
            records: (0..words).map(|_| AtomicU64::new(0)).collect(),
            size,
        }
    }

    fn memory(&self) -> RingMemory {
        let pointer = |atomic: &AtomicU64| NonNull::from(atomic);
        RingMemory {
            consumer: pointer(&self.positions[0]),
            producer: pointer(&self.positions[1]),
            records: NonNull::from(&*self.records).cast(),
            size: self.size,
            mappings: [None, None],
        }
    }

    fn word(&self, position: u64, value: u64) {
        let word = usize::try_from(position % self.size / 8).expect("small");
        self.records[word].store(value, Ordering::Release);
        self.records[word + self.records.len() / 2].store(value, Ordering::Release);
    }

    /// Appends a record as the kernel does; `bits` go into its header.
    fn write(&self, octets: &[u8], bits: u32) -> u64 {
        let start = self.positions[1].load(Ordering::Acquire);
        self.word(start, u64::from(u32::try_from(octets.len()).expect("small") | bits));
        for (index, chunk) in octets.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(start + 8 + 8 * index as u64, u64::from_ne_bytes(word));
        }
        self.positions[1].store(start + (8 + octets.len() as u64).next_multiple_of(8), Ordering::Release);
        start
    }

    fn consumer(&self) -> u64 {
        self.positions[0].load(Ordering::Acquire)
    }
}

fn drain(reader: &mut RingReader<'_>, most: usize) -> (Vec<Vec<u8>>, Drained) {
    let mut records = Vec::new();
    let drained = reader.drain(most, |record| records.push(record.to_vec()));
    (records, drained)
}

#[test]
fn records_come_in_order_and_are_given_back_at_once() {
    let fake = Fake::new(256, 0);
    let memory = fake.memory();
    let mut reader = RingReader::new(&memory);
    assert!(reader.is_empty());
    fake.write(b"one", 0);
    fake.write(b"twelve octet", 0);
    assert_eq!(memory.used(), 16 + 24);
    assert_eq!(memory.free(), 256 - 40);
    let mut seen_consumer = Vec::new();
    let drained = reader.drain(10, |_| seen_consumer.push(fake.consumer()));
    assert_eq!(drained, Drained { records: 2, broken: 0 });
    assert_eq!(seen_consumer, [0, 0], "nothing is given back while records are lent");
    assert_eq!(fake.consumer(), 40);
    assert!(reader.is_empty());
}

#[test]
fn a_record_across_the_end_is_whole() {
    // 23 words from the start leave 9 words before the end; the second record wraps.
    let fake = Fake::new(256, 184);
    let memory = fake.memory();
    let mut reader = RingReader::new(&memory);
    let long: Vec<u8> = (0..100).collect();
    fake.write(b"x", 0);
    fake.write(&long, 0);
    fake.write(b"y", 0);
    let (records, _) = drain(&mut reader, 10);
    assert_eq!(records, [b"x".to_vec(), long, b"y".to_vec()]);
    assert_eq!(fake.consumer(), 184 + 16 + 112 + 16);
}

#[test]
fn many_laps() {
    let fake = Fake::new(256, u64::MAX - 7);
    let memory = fake.memory();
    let mut reader = RingReader::new(&memory);
    for lap in 0..1000_u64 {
        let record = lap.to_ne_bytes().repeat(1 + (lap % 5) as usize);
        fake.positions[1].store(reader.position, Ordering::Release);
        let start = reader.position;
        fake.word(start, record.len() as u64);
        for (index, word) in record.chunks(8).enumerate() {
            fake.word(start.wrapping_add(8 + 8 * index as u64), u64::from_ne_bytes(word.try_into().expect("eight")));
        }
        fake.positions[1].store(start.wrapping_add(8 + record.len() as u64), Ordering::Release);
        assert_eq!(drain(&mut reader, 9).0, [record]);
    }
}

#[test]
fn a_busy_record_holds_up_what_follows() {
    let fake = Fake::new(256, 0);
    let memory = fake.memory();
    let mut reader = RingReader::new(&memory);
    fake.write(b"a", 0);
    let busy = fake.write(b"b", BUSY);
    fake.write(b"c", 0);
    assert_eq!(drain(&mut reader, 10).0, [b"a"]);
    assert_eq!(fake.consumer(), busy);
    assert_eq!(drain(&mut reader, 10), (vec![], Drained::default()));
    assert!(!reader.is_empty());
    fake.word(busy, 1);
    assert_eq!(drain(&mut reader, 10).0, [b"b", b"c"]);
}

#[test]
fn discarded_records_are_passed_over() {
    let fake = Fake::new(256, 0);
    let memory = fake.memory();
    let mut reader = RingReader::new(&memory);
    fake.write(b"gone", DISCARD);
    assert_eq!(drain(&mut reader, 10).0, Vec::<Vec<u8>>::new());
    assert_eq!(fake.consumer(), 16);
    fake.write(b"a", 0);
    fake.write(b"gone", DISCARD);
    fake.write(b"b", 0);
    assert_eq!(drain(&mut reader, 10).0, [b"a", b"b"]);
}

#[test]
fn a_batch_is_bounded_and_the_rest_stays() {
    let fake = Fake::new(256, 0);
    let memory = fake.memory();
    let mut reader = RingReader::new(&memory);
    for octet in 0..5 {
        fake.write(&[octet], 0);
    }
    assert_eq!(drain(&mut reader, 2).0, [[0], [1]]);
    assert_eq!(fake.consumer(), 32);
    let mut successor = RingReader::new(&memory);
    assert_eq!(drain(&mut successor, 10).0, [[2], [3], [4]]);
}

#[test]
fn impossible_framing_is_reported_and_left_behind() {
    let fake = Fake::new(256, 0);
    let memory = fake.memory();
    let mut reader = RingReader::new(&memory);
    fake.write(b"a", 0);
    let start = fake.write(b"b", 0);
    fake.word(start, 0x2000_0000);
    let (records, drained) = drain(&mut reader, 10);
    assert_eq!(records, [b"a"]);
    assert_eq!(drained, Drained { records: 1, broken: 1 });
    assert_eq!(fake.consumer(), 32);
    fake.write(b"c", 0);
    assert_eq!(drain(&mut reader, 10).0, [b"c"]);
}
