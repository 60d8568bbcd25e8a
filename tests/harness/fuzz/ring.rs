//! Octets to records in the memory of a ring, through its reader and the sorter: whole records come in order and once, a broken
//! frame loses no more than what stood behind it, and the ledger holds what was lent, record by record.

use std::{
    collections::VecDeque,
    fs::File,
    os::{fd::AsFd, unix::fs::FileExt},
    sync::{Arc, Mutex},
};

use auscult::{
    batch::{Message, RingMark},
    capture::{
        live::{
            ring::{Drained, RingMemory, RingReader},
            sort::Sorter,
        },
        native::SampleSink,
        outlets::Outlets,
    },
    ledger::{Count, LedgerAtMark, UserLost},
};
use auscult_ebpf::{
    hash,
    record::{ABI, Delta, Header, Kind, Mark, SampleHead, TunnelPath, octets_of, read_record},
    sample::Class,
};
use crossbeam::channel::{Receiver, never, unbounded};

use super::Octets;

/// Steps of one input.
const STEPS_MAX: usize = 300;
/// Records lent at once.
const LENT_MOST: usize = 32;
/// Octets of the ring, and of its pages where they are of the usual size.
const RING: u64 = 4096;
const BUSY: u32 = 1 << 31;
const DISCARD: u32 = 1 << 30;
const HEADER: u64 = 8;
/// Where positions begin: at zero, shortly before the ring's end, where they have gone round, where they wrap.
const STARTS: [u64; 4] = [0, RING - 16, 5 * RING - 408, u64::MAX - 1023];

/// The first octet says where positions begin and how many shards there are; each step has an octet that says what it is.
pub fn ring_records(octets: &[u8]) {
    let mut from = Octets(octets);
    let how = from.u8();
    let paper = Paper::new(STARTS[usize::from(how & 3)]);
    let memory = RingMemory::map(paper.file.as_fd(), RING as u32).expect("a file can be mapped");
    let mut bench = Bench::new(paper, &memory, usize::from(how >> 2 & 3) + 1);
    for _ in 0..STEPS_MAX {
        if from.is_empty() || bench.lost_track {
            break;
        }
        let step = from.u8();
        match step & 7 {
            0..=4 => bench.write(step, &mut from),
            5 => bench.finish_busy(),
            6 if step >> 3 == 31 => bench.damage(from.u32()),
            _ => bench.drain((usize::from(step >> 3) + 1).min(LENT_MOST)),
        }
    }
    bench.end();
}

/// A file with the layout of a ring: a page with the consumer's position, one with the producer's, the records twice.
struct Paper {
    file: File,
    producer: u64,
}

impl Paper {
    fn new(start: u64) -> Self {
        let file = tempfile::tempfile().expect("a temporary file");
        file.set_len(2 * RING + 2 * RING).expect("room for a ring");
        let paper = Self { file, producer: start };
        paper.put(0, &start.to_le_bytes());
        paper.put(RING, &start.to_le_bytes());
        paper
    }

    fn put(&self, at: u64, octets: &[u8]) {
        if octets.is_empty() {
            return;
        }
        self.file.write_all_at(octets, at).expect("writable");
    }

    /// Writes octets from a position on, in both views.
    fn record(&self, position: u64, octets: &[u8]) {
        let offset = position % RING;
        let (before, behind) = octets.split_at(octets.len().min((RING - offset) as usize));
        for view in [2 * RING, 3 * RING] {
            self.put(view + offset, before);
            self.put(view, behind);
        }
    }

    fn consumer(&self) -> u64 {
        let mut octets = [0; 8];
        self.file.read_exact_at(&mut octets, 0).expect("readable");
        u64::from_le_bytes(octets)
    }

    /// Appends a record as the kernel does; its position, unless there is no room.
    fn append(&mut self, record: &[u8], bits: u32) -> Option<u64> {
        let whole = (HEADER + record.len() as u64).next_multiple_of(8);
        if self.producer.wrapping_sub(self.consumer()) + whole > RING {
            return None;
        }
        let start = self.producer;
        let mut octets = u64::from(record.len() as u32 | bits).to_le_bytes().to_vec();
        octets.extend(record);
        octets.resize(whole as usize, 0);
        self.record(start, &octets);
        self.producer = start.wrapping_add(whole);
        self.put(RING, &self.producer.to_le_bytes());
        Some(start)
    }

    fn header(&self, position: u64, header: u32) {
        self.record(position, &u64::from(header).to_le_bytes());
    }
}

/// A record that was written and not read yet.
struct Waiting {
    position: u64,
    octets: Vec<u8>,
    bits: u32,
}

/// What the sorter lends of samples.
#[derive(Clone, Default)]
struct Lent(Arc<Mutex<Payloads>>);

/// Samples with the payload that was lent.
type Payloads = Vec<(SampleHead, Vec<u8>)>;

impl SampleSink for Lent {
    fn take(&mut self, head: &SampleHead, payload: &[u8]) {
        self.0.lock().expect("one thread").push((*head, payload.to_vec()));
    }
}

struct Bench<'a> {
    paper: Paper,
    reader: RingReader<'a>,
    sorter: Sorter,
    shards: Vec<Receiver<Message>>,
    ledgers: Receiver<LedgerAtMark>,
    lent: Lent,
    waiting: VecDeque<Waiting>,
    /// A damaged header has a length that could be one: what is lent from there on is not what was written.
    damaged: bool,
    lost_track: bool,
    expect: Expect,
}

/// What must have come of the records that were lent.
#[derive(Default)]
struct Expect {
    deltas: Vec<Vec<Delta>>,
    marks: Vec<u64>,
    paths: Vec<TunnelPath>,
    paths_due: usize,
    samples: [u64; Class::CELLS],
    payloads: Payloads,
    metered: Count,
    bad: Count,
}

impl<'a> Bench<'a> {
    fn new(paper: Paper, memory: &'a RingMemory, shards: usize) -> Self {
        let (senders, shards): (Vec<_>, Vec<_>) = (0..shards).map(|_| unbounded()).unzip();
        let (ledger, ledgers) = unbounded();
        let expect = Expect { deltas: vec![Vec::new(); shards.len()], ..Expect::default() };
        let lent = Lent::default();
        let outlets = Outlets { shards: senders, ledger, recycled: never(), batch_deltas: 3 };
        let sorter = Sorter::new(5, outlets, Box::new(lent.clone()));
        let reader = RingReader::new(memory);
        let waiting = VecDeque::new();
        Self { paper, reader, sorter, shards, ledgers, lent, waiting, damaged: false, lost_track: false, expect }
    }

    /// Bits 3 and 4 of the step: discarded, busy; 5 to 7: which kind, whole, cut or changed.
    fn write(&mut self, step: u8, from: &mut Octets<'_>) {
        let mut octets = match step & 7 {
            0 => delta(from),
            1 => mark(from),
            2 => sample(from),
            3 => path(from),
            _ => {
                let length = from.u8();
                from.take(length.into()).to_vec()
            }
        };
        match step >> 5 {
            6 => octets.truncate(from.u16().into()),
            7 => {
                let at = usize::from(from.u16()) % octets.len().max(1);
                let value = from.u8();
                octets.get_mut(at).into_iter().for_each(|octet| *octet = value);
            }
            _ => {}
        }
        let bits = if step & 8 != 0 { DISCARD } else { 0 } | if step & 16 != 0 { BUSY } else { 0 };
        if let Some(position) = self.paper.append(&octets, bits) {
            self.waiting.push_back(Waiting { position, octets, bits });
        }
    }

    fn finish_busy(&mut self) {
        if let Some(record) = self.waiting.iter_mut().find(|record| record.bits & BUSY != 0) {
            record.bits &= !BUSY;
            self.paper.header(record.position, record.octets.len() as u32 | record.bits);
        }
    }

    fn damage(&mut self, header: u32) {
        if let Some(record) = self.waiting.front() {
            self.paper.header(record.position, header & !BUSY);
            self.damaged = true;
        }
    }

    fn drain(&mut self, most: usize) {
        let before = self.paper.consumer();
        let left = self.paper.producer.wrapping_sub(before);
        let Self { reader, sorter, .. } = self;
        let mut records = Vec::new();
        let drained = reader.drain_while(most, |record| {
            records.push(record.to_vec());
            sorter.take(record)
        });
        (0..drained.broken).for_each(|_| sorter.bad(0));
        assert_eq!(sorter.hand_on(7, true), Ok(()));
        let moved = self.paper.consumer().wrapping_sub(before);
        assert!(moved <= left && moved.is_multiple_of(8), "{moved} of {left}");
        assert!(drained.records == records.len() && records.len() <= most, "{drained:?}");
        let held: u64 = records.iter().map(|record| (HEADER + record.len() as u64).next_multiple_of(8)).sum();
        assert!(held <= moved, "{held} octets of records lent, {moved} given back");
        let marks = self.expect.marks.len();
        for record in &records {
            assert_eq!(self.expect.marks.len(), marks, "something was lent behind a Mark");
            self.expect.take(record);
        }
        let marked = self.expect.marks.len() > marks;
        if self.damaged {
            assert!(drained.broken == 0 || moved == left, "{drained:?}");
            self.expect.bad.add(Count { packets: drained.broken as u64, octets: 0 });
            if drained.broken == 0 {
                self.lost_track = true;
            }
            // Everything behind the damage is given up at once, and what comes then is read again.
            self.waiting.clear();
            self.damaged = false;
            return;
        }
        self.compare(&records, drained, if marked { records.len() } else { most });
    }

    /// What was lent is what stood in front, up to a busy record.
    fn compare(&mut self, records: &[Vec<u8>], drained: Drained, most: usize) {
        assert_eq!(drained.broken, 0);
        let mut lent = records.iter();
        while let Some(record) = self.waiting.front() {
            if record.bits & BUSY != 0 || record.bits & DISCARD == 0 && lent.len() == 0 {
                break;
            }
            if record.bits & DISCARD == 0 {
                assert_eq!(lent.next(), Some(&record.octets));
            } else if records.len() == most && lent.len() == 0 {
                break;
            }
            self.waiting.pop_front();
        }
        assert_eq!(lent.len(), 0, "more was lent than stood there");
        let next = self.waiting.front();
        assert_eq!(self.paper.consumer(), next.map_or(self.paper.producer, |record| record.position));
        assert!(records.len() == most || next.is_none_or(|record| record.bits & BUSY != 0), "a ready record was left");
    }

    fn end(mut self) {
        let last = octets_of(&Mark { header: header(Kind::Mark), at: 99, ..Mark::default() }).to_vec();
        assert!(!self.sorter.take(&last));
        assert_eq!(self.sorter.hand_on(7, true), Ok(()));
        self.expect.take(&last);
        assert_eq!(self.sorter.close(), Ok(()));
        let at_mark = self.ledgers.try_iter().last().expect("the last ledger");
        assert_eq!(Some(at_mark), self.sorter.last());
        // LEDGER-2 and LEDGER-4: what was lent is metered or counted as unreadable.
        assert_eq!(at_mark.ledger.metered, self.expect.metered);
        assert_eq!(at_mark.ledger.user_lost[UserLost::BadRecord as usize], self.expect.bad);
        assert_eq!((self.sorter.marks(), self.sorter.samples()), (self.expect.marks.len() as u64, self.expect.samples));
        assert_eq!(*self.lent.0.lock().expect("one thread"), self.expect.payloads);
        for (shard, expect) in self.shards.iter().zip(&self.expect.deltas) {
            let (mut deltas, mut marks, mut paths, mut closed) = (Vec::new(), Vec::new(), Vec::new(), 0);
            for message in shard.try_iter() {
                match message {
                    Message::Deltas { ring, deltas: batch } => {
                        assert!(ring == 5 && !batch.is_empty() && batch.len() <= 2 + LENT_MOST);
                        deltas.extend(batch);
                    }
                    Message::Mark(RingMark { ring, at, utc_offset }) => {
                        assert_eq!((ring, utc_offset), (5, 7));
                        marks.push(at);
                    }
                    Message::TunnelPath(path) => paths.push(*path),
                    Message::Span => {}
                    Message::Close { ring: 5 } => closed += 1,
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!((&deltas, &marks, closed), (expect, &self.expect.marks, 1));
            // Those that no delta can refer to may stay behind.
            assert!(self.expect.paths.starts_with(&paths) && paths.len() >= self.expect.paths_due);
        }
    }
}

impl Expect {
    fn take(&mut self, record: &[u8]) {
        let kind = record.get(..size_of::<Header>()).filter(|header| header[1] == ABI).map_or(0, |header| header[0]);
        match kind {
            1 if record.len() >= size_of::<Delta>() => {
                let delta: Delta = read_record(record).expect("long enough");
                let [low, high] = delta.header.packets;
                let octets = delta.side.iter().map(|side| u64::from(side.volume.layer2_octets)).sum();
                self.metered.add(Count { packets: u64::from(low) + u64::from(high), octets });
                self.paths_due = self.paths.len();
                let shard = hash::shard(&delta.key) as usize % self.deltas.len();
                self.deltas[shard].push(delta);
            }
            2 if record.len() >= size_of::<Mark>() => {
                self.marks.push(read_record::<Mark>(record).expect("long enough").at);
            }
            4 if record.len() >= size_of::<TunnelPath>() => {
                self.paths.push(read_record(record).expect("long enough"));
            }
            3 if sample_of(record).is_some() => {
                let (head, payload) = sample_of(record).expect("it is one");
                self.samples[usize::from(head.header.packets[1]).min(Class::CELLS - 1)] += 1;
                self.payloads.push((head, payload));
            }
            _ => self.bad.add(Count { packets: 1, octets: record.len() as u64 }),
        }
    }
}

/// A sample's head and as much payload as it says; `None` when the record is shorter.
fn sample_of(record: &[u8]) -> Option<(SampleHead, Vec<u8>)> {
    let head: SampleHead = read_record(record)?;
    let payload = record.get(size_of::<SampleHead>()..size_of::<SampleHead>() + usize::from(head.length))?;
    Some((head, payload.to_vec()))
}

fn header(kind: Kind) -> Header {
    Header { kind: kind as u8, abi: ABI, cpu: 3, packets: [0; 2] }
}

fn delta(from: &mut Octets<'_>) -> Vec<u8> {
    let mut delta = Delta { header: Header { packets: [from.u16(), from.u16()], ..header(Kind::Delta) }, ..Delta::default() };
    delta.key.address[0][0] = from.u8();
    delta.side[0].volume.layer2_octets = from.u32();
    delta.side[1].volume.layer2_octets = from.u32();
    octets_of(&delta).to_vec()
}

fn mark(from: &mut Octets<'_>) -> Vec<u8> {
    octets_of(&Mark { header: header(Kind::Mark), at: from.u32().into(), ..Mark::default() }).to_vec()
}

fn path(from: &mut Octets<'_>) -> Vec<u8> {
    octets_of(&TunnelPath { header: header(Kind::TunnelPath), reference: from.u16().into(), ..TunnelPath::default() }).to_vec()
}

fn sample(from: &mut Octets<'_>) -> Vec<u8> {
    let (class, length) = (from.u8(), from.u8());
    let head = SampleHead {
        header: Header { packets: [0, class.into()], ..header(Kind::Sample) },
        length: length.into(),
        ..SampleHead::default()
    };
    let tail = usize::from(from.u8());
    [octets_of(&head), from.take(length.into()), &vec![0xaa; tail]].concat()
}
