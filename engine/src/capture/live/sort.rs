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
    ledger::{Count, Ledger, LedgerAtMark},
};

/// Everything known of one ring.
pub struct Sorter {
    batches: Batches,
    sink: Box<dyn SampleSink>,
    bad: Count,
    samples: [u64; Class::CELLS],
    mark: Option<Mark>,
    marks: u64,
    /// More comes in this ring's place when it has ended.
    goes_on: bool,
    /// Observation point of records that may carry another number.
    point: Option<u32>,
}

impl Sorter {
    /// Nothing was met yet.
    pub fn new(ring: Ring, outlets: Outlets, sink: Box<dyn SampleSink>) -> Self {
        let batches = Batches::new(ring, outlets);
        Self {
            batches,
            sink,
            bad: Count::default(),
            samples: [0; Class::CELLS],
            mark: None,
            marks: 0,
            goes_on: false,
            point: None,
        }
    }

    /// The ring is of that attachment, and its ledger begins with `before`. `adopted` is the observation point of a ring that an engine before this one has read:
    /// there, it may have had another number.
    pub(super) fn inherit(&mut self, attachment: u32, before: &Ledger, adopted: Option<u32>) {
        self.batches.inherit(attachment, before, adopted.is_some());
        self.point = adopted;
    }

    /// The shards are not told when the ring ends.
    pub(super) fn go_on(&mut self) {
        self.goes_on = true;
    }

    /// Marks of this engine met so far.
    pub fn marks(&self) -> u64 {
        self.marks
    }

    /// Samples met so far, by class.
    pub fn samples(&self) -> [u64; Class::CELLS] {
        self.samples
    }

    /// What this engine has received of the ring.
    pub fn received(&self) -> Count {
        self.batches.received()
    }

    /// The ledger at the newest Mark.
    pub fn last(&self) -> Option<LedgerAtMark> {
        self.batches.last()
    }

    /// Sorts one record; false behind a Mark, which closes what was taken.
    pub fn take(&mut self, record: &[u8]) -> bool {
        let kind = match read_record::<Header>(record) {
            Some(header) if header.abi == ABI => header.kind,
            _ => 0,
        };
        if kind == Kind::Delta as u8
            && let Some(mut delta) = read_record::<Delta>(record)
        {
            delta.observation_points = self.point.map_or(delta.observation_points, |point| [point; 2]);
            self.batches.keep(&delta);
            return true;
        }
        if kind == Kind::Mark as u8
            && let Some(mark) = read_record::<Mark>(record)
        {
            self.mark = Some(mark);
            return false;
        }
        if kind == Kind::TunnelPath as u8
            && let Some(path) = read_record::<TunnelPath>(record)
        {
            self.batches.path(&path);
            return true;
        }
        if kind == Kind::Sample as u8
            && let Some(mut head) = read_record::<SampleHead>(record)
            && let Some(payload) = record.get(size_of::<SampleHead>()..).and_then(|rest| rest.get(..usize::from(head.length)))
        {
            let class = usize::from(head.header.packets[1]).min(Class::CELLS - 1);
            self.samples[class] += 1;
            head.observation_point = self.point.unwrap_or(head.observation_point);
            // PRIVACY-1: the payload is lent where it lies in the ring; nothing here copies it.
            self.sink.take(&head, payload);
            return true;
        }
        self.bad(record.len());
        true
    }

    /// Hands on what was taken, when the ring no longer has it: full batches, and the Mark, with `utc_offset`. `own`: it is of this
    /// engine's sweeps.
    pub fn hand_on(&mut self, utc_offset: i64, own: bool) -> Result<(), Gone> {
        self.batches.send_full()?;
        let Some(mark) = self.mark.take() else { return Ok(()) };
        self.marks += u64::from(own);
        self.sink.mark(mark.at, utc_offset);
        self.batches.mark(&mark, utc_offset, self.bad)
    }

    /// LEDGER-4: counts a record that cannot be read. What it stood for cannot be known: it counts as one packet of its own size, and the
    /// ledger's imbalance shows the rest.
    pub fn bad(&mut self, octets: usize) {
        self.bad.add(Count { packets: 1, octets: octets as u64 });
    }

    /// Says to every shard that this ring has ended.
    pub fn close(&mut self) -> Result<(), Gone> {
        if self.goes_on {
            return self.batches.send_rest();
        }
        self.sink.close();
        self.batches.close()
    }
}

#[cfg(test)]
#[path = "sort_tests.rs"]
mod tests;
