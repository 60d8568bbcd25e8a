//! Records of one ring to batches, samples and the ledger.
//!
//! Public for the fuzz target `ring_records`.

use auscult_ebpf::{
    record::{ABI, Delta, Header, Kind, Mark, SampleHead, TunnelPath, read_record},
    sample::Class,
};

use crate::{
    batch::Ring,
    capture::{
        native::SampleSink,
        outlets::{Batches, Gone, Outlets},
    },
    ledger::{Count, LedgerAtMark},
};

/// Everything known of one ring.
pub struct Sorter {
    batches: Batches,
    sink: Box<dyn SampleSink>,
    bad: Count,
    samples: [u64; Class::CELLS],
    marks: u64,
}

impl Sorter {
    /// Nothing was met yet.
    pub fn new(ring: Ring, outlets: Outlets, sink: Box<dyn SampleSink>) -> Self {
        let batches = Batches::new(ring, outlets);
        Self { batches, sink, bad: Count::default(), samples: [0; Class::CELLS], marks: 0 }
    }

    /// Marks met so far.
    pub fn marks(&self) -> u64 {
        self.marks
    }

    /// Samples met so far, by class.
    pub fn samples(&self) -> [u64; Class::CELLS] {
        self.samples
    }

    /// The ledger at the newest Mark.
    pub fn last(&self) -> Option<LedgerAtMark> {
        self.batches.last()
    }

    /// Sorts one record; `utc_offset` is that of the next Mark.
    pub fn take(&mut self, record: &[u8], utc_offset: i64) -> Result<(), Gone> {
        let kind = match read_record::<Header>(record) {
            Some(header) if header.abi == ABI => header.kind,
            _ => 0,
        };
        if kind == Kind::Delta as u8
            && let Some(delta) = read_record::<Delta>(record)
        {
            return self.batches.push(&delta);
        }
        if kind == Kind::Mark as u8
            && let Some(mark) = read_record::<Mark>(record)
        {
            self.marks += 1;
            return self.batches.mark(&mark, utc_offset, self.bad);
        }
        if kind == Kind::TunnelPath as u8
            && let Some(path) = read_record::<TunnelPath>(record)
        {
            return self.batches.path(&path);
        }
        if kind == Kind::Sample as u8
            && let Some(head) = read_record::<SampleHead>(record)
            && let Some(payload) = record.get(size_of::<SampleHead>()..).and_then(|rest| rest.get(..usize::from(head.length)))
        {
            let class = usize::from(head.header.packets[1]).min(Class::CELLS - 1);
            self.samples[class] += 1;
            // PRIVACY-1: the payload is lent where it lies in the ring; nothing here copies it.
            self.sink.take(&head, payload);
            return Ok(());
        }
        self.bad(record.len());
        Ok(())
    }

    /// LEDGER-4: counts a record that cannot be read. What it stood for cannot be known: it counts as one packet of its own size, and the
    /// ledger's imbalance shows the rest.
    pub fn bad(&mut self, octets: usize) {
        self.bad.add(Count { packets: 1, octets: octets as u64 });
    }

    /// Says to every shard that this ring has ended.
    pub fn close(&mut self) -> Result<(), Gone> {
        self.batches.close()
    }
}

#[cfg(test)]
#[path = "sort_tests.rs"]
mod tests;
