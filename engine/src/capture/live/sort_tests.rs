//! Records in, messages and ledger out.

use std::sync::{Arc, Mutex};

use auscult_ebpf::{
    hash,
    record::{Counters, FlowKey, octets_of},
};
use crossbeam::channel::{Receiver, bounded, never};

use super::*;
use crate::{
    batch::{Message, RingMark},
    capture::native::DropSamples,
    ledger::UserLost,
};

struct Fixture {
    sorter: Sorter,
    shards: Vec<Receiver<Message>>,
    ledger: Receiver<LedgerAtMark>,
}

fn fixture(shards: usize, batch_deltas: usize, recycled: Receiver<Vec<Delta>>, sink: Box<dyn SampleSink>) -> Fixture {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..shards).map(|_| bounded(100)).unzip();
    let (ledger_sender, ledger) = bounded(100);
    let outlets = Outlets { shards: senders, ledger: ledger_sender, recycled, batch_deltas };
    Fixture { sorter: Sorter::new(7, outlets, sink), shards: receivers, ledger }
}

/// Takes a record, and hands it on as when it has been given back.
fn take(sorter: &mut Sorter, record: &[u8], utc_offset: i64) -> Result<(), Gone> {
    let before = sorter.marks();
    let more = sorter.take(record);
    sorter.hand_on(utc_offset, true)?;
    assert_eq!(more, sorter.marks() == before, "a Mark is the last record that is lent");
    Ok(())
}

fn delta(host: u8, packets: [u16; 2], octets: [u32; 2]) -> Delta {
    let mut delta = Delta {
        header: Header { kind: Kind::Delta as u8, abi: ABI, cpu: 0, packets },
        key: FlowKey { protocol: 6, ..FlowKey::default() },
        ..Delta::default()
    };
    delta.key.address[0][3] = host;
    delta.side[0].volume.layer2_octets = octets[0];
    delta.side[1].volume.layer2_octets = octets[1];
    delta
}

fn mark(at: u64, seen_packets: u64, resident_packets: u64) -> Mark {
    Mark {
        header: Header { kind: Kind::Mark as u8, abi: ABI, cpu: 0, packets: [0; 2] },
        at,
        counters: Counters { seen_packets, ..Counters::default() },
        resident_packets,
        resident_octets: 0,
    }
}

fn deltas_of(message: Message) -> Vec<Delta> {
    match message {
        Message::Deltas { ring: 7, deltas } => deltas,
        other => panic!("expected deltas of ring 7, not {other:?}"),
    }
}

#[test]
fn deltas_reach_their_shard_in_order_before_the_mark() {
    let Fixture { mut sorter, shards, ledger } = fixture(3, 512, never(), Box::new(DropSamples));
    let sent: Vec<Delta> = (0..50).map(|host| delta(host, [2, 1], [200, 60])).collect();
    for delta in &sent {
        take(&mut sorter, octets_of(delta), 0).expect("receivers live");
    }
    assert!(shards.iter().all(Receiver::is_empty), "no batch is full and no Mark has come");
    take(&mut sorter, octets_of(&mark(99, 155, 5)), -3).expect("receivers live");
    for (index, shard) in shards.iter().enumerate() {
        let expect: Vec<Delta> = sent.iter().filter(|delta| hash::shard(&delta.key) as usize % 3 == index).copied().collect();
        if !expect.is_empty() {
            assert_eq!(deltas_of(shard.try_recv().expect("a batch")), expect);
        }
        let Ok(Message::Mark(met)) = shard.try_recv() else { panic!("shard {index} gets the Mark") };
        assert_eq!(met, RingMark { ring: 7, at: 99, utc_offset: -3 });
        assert!(shard.is_empty());
    }
    let at_mark = ledger.try_recv().expect("the ledger");
    assert_eq!(at_mark.ledger.metered, Count { packets: 150, octets: 50 * 260 });
    assert_eq!(at_mark.ledger.imbalance().0, 0, "155 seen, 150 metered, 5 resident");
    assert_eq!(sorter.last(), Some(at_mark));
    assert_eq!(sorter.marks(), 1);
}

#[test]
fn a_full_batch_leaves_at_once_and_emptied_ones_are_used_again() {
    let (give_back, recycled) = bounded(4);
    let Fixture { mut sorter, shards, .. } = fixture(1, 4, recycled, Box::new(DropSamples));
    let mut used = Vec::with_capacity(1000);
    used.push(delta(9, [1, 0], [1, 0]));
    let place = used.as_ptr();
    give_back.send(used).expect("room");
    for host in 0..5 {
        take(&mut sorter, octets_of(&delta(host, [1, 0], [64, 0])), 0).expect("receivers live");
    }
    let batch = deltas_of(shards[0].try_recv().expect("the full batch"));
    assert_eq!(batch.iter().map(|delta| delta.key.address[0][3]).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(batch.as_ptr(), place, "the emptied batch was filled again");
    assert!(shards[0].is_empty());
    sorter.close().expect("receivers live");
    assert_eq!(deltas_of(shards[0].try_recv().expect("the rest")).len(), 1);
    assert!(matches!(shards[0].try_recv(), Ok(Message::Close { ring: 7 })));
}

#[test]
fn foreign_records_are_counted_and_passed_over() {
    let Fixture { mut sorter, shards: _shards, ledger } = fixture(1, 4, never(), Box::new(DropSamples));
    let mut foreign = delta(1, [9, 9], [9, 9]);
    foreign.header.abi = ABI + 1;
    take(&mut sorter, octets_of(&foreign), 0).expect("not an error");
    foreign.header = Header { kind: 77, abi: ABI, ..foreign.header };
    take(&mut sorter, octets_of(&foreign), 0).expect("not an error");
    take(&mut sorter, &octets_of(&delta(1, [9, 9], [9, 9]))[..100], 0).expect("not an error");
    take(&mut sorter, &[1, ABI], 0).expect("not an error");
    take(&mut sorter, octets_of(&mark(1, 0, 0)), 0).expect("receivers live");
    let ledger = ledger.try_recv().expect("the ledger").ledger;
    let whole = 2 * size_of::<Delta>() as u64;
    assert_eq!(ledger.user_lost[UserLost::BadRecord as usize], Count { packets: 4, octets: whole + 102 });
    assert_eq!(ledger.metered, Count::default());
}

#[derive(Clone, Default)]
struct Keep(Arc<Mutex<Vec<Vec<u8>>>>);

impl SampleSink for Keep {
    fn take(&mut self, head: &SampleHead, payload: &[u8]) {
        assert_eq!(usize::from(head.length), payload.len());
        self.0.lock().expect("one thread").push(payload.to_vec());
    }
}

#[test]
fn samples_are_lent_without_their_tail_and_counted_by_class() {
    let kept = Keep::default();
    let Fixture { mut sorter, .. } = fixture(1, 4, never(), Box::new(kept.clone()));
    let mut head = SampleHead {
        header: Header { kind: Kind::Sample as u8, abi: ABI, cpu: 0, packets: [1, Class::Name as u16] },
        length: 3,
        ..SampleHead::default()
    };
    let mut record = [octets_of(&head), b"abc-secret"].concat();
    take(&mut sorter, &record, 0).expect("not an error");
    head.length = 11;
    record[..size_of::<SampleHead>()].copy_from_slice(octets_of(&head));
    take(&mut sorter, &record, 0).expect("not an error");
    assert_eq!(*kept.0.lock().expect("one thread"), [b"abc"]);
    assert_eq!(sorter.samples()[Class::Name as usize], 1, "a length beyond the record is a bad record");
}

#[test]
fn a_receiver_that_is_gone_is_told() {
    let Fixture { mut sorter, shards, .. } = fixture(1, 1, never(), Box::new(DropSamples));
    drop(shards);
    assert_eq!(take(&mut sorter, octets_of(&delta(1, [1, 0], [1, 0])), 0), Err(Gone));
}

#[test]
fn what_an_earlier_engine_took_is_what_the_ring_has_had_and_was_not_received() {
    let Fixture { mut sorter, shards: _shards, ledger } = fixture(1, 4, never(), Box::new(DropSamples));
    let before = Ledger { metered: Count { packets: 1000, octets: 9000 }, ..Ledger::default() };
    sorter.inherit(0, &before, Some(3));
    take(&mut sorter, octets_of(&delta(1, [2, 1], [200, 60])), 0).expect("receivers live");
    take(&mut sorter, octets_of(&mark(1, 50, 5)), 0).expect("receivers live");
    let first = ledger.try_recv().expect("the ledger").ledger;
    assert_eq!((first.metered.packets, first.earlier.packets), (1045, 42), "50 seen, 5 resident, 3 received");
    assert_eq!(first.imbalance().0, -1000, "the ledger of before has no counters here");
    take(&mut sorter, octets_of(&delta(1, [1, 0], [60, 0])), 0).expect("receivers live");
    take(&mut sorter, octets_of(&mark(2, 52, 5)), 0).expect("receivers live");
    let second = ledger.try_recv().expect("the ledger").ledger;
    assert_eq!((second.metered.packets, second.earlier.packets), (1046, 42), "fixed by the first Mark");
    assert_eq!(second.imbalance().0, -999, "a record that vanishes later still shows");
}
