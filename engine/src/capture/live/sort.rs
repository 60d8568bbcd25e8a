//! Records of one ring to batches per shard, and to the ledger's own count of what arrived.

use auscult_ebpf::{
    hash,
    record::{ABI, Delta, Header, Kind, Mark, SampleHead, read_record},
    sample::Class,
};
use crossbeam::channel::{Receiver, Sender};

use crate::{
    batch::{Message, Ring, RingMark},
    ledger::{Count, Ledger, LedgerAtMark, UserLost},
};

/// Takes samples where they lie in the ring.
pub trait SampleSink: Send {
    /// One sample. `payload` is ring memory: copy what is kept, and zero the copy after use.
    fn take(&mut self, ring: Ring, head: &SampleHead, payload: &[u8]);
}

/// Leaves every sample where it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct DropSamples;

impl SampleSink for DropSamples {
    fn take(&mut self, _ring: Ring, _head: &SampleHead, _payload: &[u8]) {}
}

/// Where records go. All channels are bounded; a full one holds up the drain, and the kernel counts what then finds no room.
#[derive(Clone, Debug)]
pub struct Outlets {
    /// One per shard.
    pub shards: Vec<Sender<Message>>,
    /// The ledger of every ring at every Mark.
    pub ledger: Sender<LedgerAtMark>,
    /// Emptied batches that come back to be filled again ([`crossbeam::channel::never`] if none do).
    pub recycled: Receiver<Vec<Delta>>,
    /// Deltas per batch.
    pub batch_deltas: usize,
}

/// The receiving side of a channel is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// Everything known of one ring.
pub(super) struct Sorter {
    ring: Ring,
    outlets: Outlets,
    sink: Box<dyn SampleSink>,
    batches: Vec<Vec<Delta>>,
    metered: Count,
    bad: Count,
    samples: [u64; Class::CELLS],
    marks: u64,
    last: Option<LedgerAtMark>,
}

impl Sorter {
    pub(super) fn new(ring: Ring, outlets: Outlets, sink: Box<dyn SampleSink>) -> Self {
        let batches = outlets.shards.iter().map(|_| Vec::new()).collect();
        Self {
            ring,
            outlets,
            sink,
            batches,
            metered: Count::default(),
            bad: Count::default(),
            samples: [0; Class::CELLS],
            marks: 0,
            last: None,
        }
    }

    /// Marks met so far.
    pub(super) fn marks(&self) -> u64 {
        self.marks
    }

    /// Samples met so far, by class.
    pub(super) fn samples(&self) -> [u64; Class::CELLS] {
        self.samples
    }

    /// The ledger at the newest Mark.
    pub(super) fn last(&self) -> Option<LedgerAtMark> {
        self.last
    }

    /// Sorts one record; `utc_offset` is that of the next Mark.
    pub(super) fn take(&mut self, record: &[u8], utc_offset: i64) -> Result<(), Gone> {
        let kind = match read_record::<Header>(record) {
            Some(header) if header.abi == ABI => header.kind,
            _ => 0,
        };
        if kind == Kind::Delta as u8
            && let Some(delta) = read_record::<Delta>(record)
        {
            return self.take_delta(delta);
        }
        if kind == Kind::Mark as u8
            && let Some(mark) = read_record::<Mark>(record)
        {
            return self.take_mark(&mark, utc_offset);
        }
        if kind == Kind::Sample as u8
            && let Some(head) = read_record::<SampleHead>(record)
            && let Some(payload) = record.get(size_of::<SampleHead>()..).and_then(|rest| rest.get(..usize::from(head.length)))
        {
            let class = usize::from(head.header.packets[1]).min(Class::CELLS - 1);
            self.samples[class] += 1;
            self.sink.take(self.ring, &head, payload);
            return Ok(());
        }
        self.bad(record.len());
        Ok(())
    }

    /// Counts a record that cannot be read. What it stood for cannot be known: it counts as one packet of its own size, and the
    /// ledger's imbalance shows the rest.
    pub(super) fn bad(&mut self, octets: usize) {
        self.bad.add(Count { packets: 1, octets: octets as u64 });
    }

    fn take_delta(&mut self, delta: Delta) -> Result<(), Gone> {
        // LEDGER: counted here, before the kernel may reuse the record, and independently of the kernel's counters.
        self.metered.add(Count {
            packets: delta.header.packets.iter().copied().map(u64::from).sum(),
            octets: delta.volume.iter().map(|volume| u64::from(volume.layer2_octets)).sum(),
        });
        let shard = hash::shard(&delta.key) as usize % self.batches.len();
        let batch = &mut self.batches[shard];
        if batch.capacity() == 0 {
            *batch = self.outlets.recycled.try_recv().unwrap_or_default();
            batch.clear();
            batch.reserve(self.outlets.batch_deltas);
        }
        batch.push(delta);
        if batch.len() >= self.outlets.batch_deltas { self.send(shard) } else { Ok(()) }
    }

    fn take_mark(&mut self, mark: &Mark, utc_offset: i64) -> Result<(), Gone> {
        for shard in 0..self.batches.len() {
            self.send(shard)?;
        }
        let mut ledger = Ledger::at_mark(mark, self.metered);
        ledger.user_lost[UserLost::BadRecord as usize] = self.bad;
        let mark = RingMark { ring: self.ring, at: mark.at, utc_offset };
        let at_mark = LedgerAtMark { mark, ledger };
        (self.marks, self.last) = (self.marks + 1, Some(at_mark));
        self.outlets.ledger.send(at_mark).map_err(|_| Gone)?;
        self.send_to_all(&Message::Mark(mark))
    }

    /// Says to every shard that this ring has ended. What no Mark has closed goes first.
    pub(super) fn close(&mut self) -> Result<(), Gone> {
        for shard in 0..self.batches.len() {
            self.send(shard)?;
        }
        self.send_to_all(&Message::Close { ring: self.ring })
    }

    fn send(&mut self, shard: usize) -> Result<(), Gone> {
        if self.batches[shard].is_empty() {
            return Ok(());
        }
        let deltas = std::mem::take(&mut self.batches[shard]);
        self.outlets.shards[shard].send(Message::Deltas { ring: self.ring, deltas }).map_err(|_| Gone)
    }

    fn send_to_all(&self, message: &Message) -> Result<(), Gone> {
        self.outlets.shards.iter().try_for_each(|shard| shard.send(message.clone()).map_err(|_| Gone))
    }
}

#[cfg(test)]
#[path = "sort_tests.rs"]
mod tests;
