//! Samples on their way from capture to the dissectors: copied into batches, sent at every Mark, zeroed after use (PRIVACY-1).
//!
//! Live, a full way sheds samples and counts them: the drain of the rings must not wait. Replay waits.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use auscult_ebpf::record::SampleHead;
use crossbeam::channel::{Receiver, Sender};
use zeroize::Zeroize;

use crate::{
    batch::Ring,
    capture::native::SampleSink,
    limit::{SAMPLE_BATCH_OCTETS, SAMPLE_BATCH_SAMPLES},
};

/// Samples of one ring in ring order.
#[derive(Default)]
pub struct SampleBatch {
    heads: Vec<SampleHead>,
    octets: Vec<u8>,
}

impl SampleBatch {
    fn push(&mut self, head: &SampleHead, payload: &[u8]) {
        self.heads.push(*head);
        self.octets.extend_from_slice(payload);
    }

    fn has_room(&self, payload: &[u8]) -> bool {
        self.heads.len() < SAMPLE_BATCH_SAMPLES && self.octets.len() + payload.len() <= SAMPLE_BATCH_OCTETS
    }

    /// Each sample and its payload.
    pub fn samples(&self) -> impl Iterator<Item = (&SampleHead, &[u8])> {
        let mut rest = self.octets.as_slice();
        self.heads.iter().map(move |head| {
            let (payload, behind) = rest.split_at(usize::from(head.length).min(rest.len()));
            rest = behind;
            (head, payload)
        })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Zeroes what was copied.
    pub fn wipe(&mut self) {
        self.heads.clear();
        self.octets.zeroize();
    }
}

impl Drop for SampleBatch {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// From one ring to the dissectors.
pub enum FromRing {
    /// Samples.
    Samples(SampleBatch),
    /// Every sample of that ring from before `at` has been sent.
    Mark {
        /// The ring.
        ring: Ring,
        /// Observation time; `u64::MAX`: the ring has ended.
        at: u64,
        /// Unix nanoseconds minus observation time.
        utc_offset: i64,
    },
    /// The clock was set back.
    ClockStep,
}

/// The sending end of one ring.
pub struct SampleOutlet {
    ring: Ring,
    open: SampleBatch,
    to: Sender<FromRing>,
    recycled: Receiver<SampleBatch>,
    /// A full way is waited for.
    waits: bool,
    shed: Arc<AtomicU64>,
    utc_offset: i64,
}

impl SampleOutlet {
    /// For that ring. `shed` counts samples that found the way full.
    pub fn new(ring: Ring, to: Sender<FromRing>, recycled: Receiver<SampleBatch>, waits: bool, shed: Arc<AtomicU64>) -> Self {
        Self { ring, open: SampleBatch::default(), to, recycled, waits, shed, utc_offset: 0 }
    }

    fn send(&mut self) {
        if self.open.heads.is_empty() {
            return;
        }
        // Room is reserved once, so that what is copied never moves.
        let mut next = self.recycled.try_recv().unwrap_or_default();
        next.octets.reserve_exact(SAMPLE_BATCH_OCTETS);
        let batch = FromRing::Samples(mem::replace(&mut self.open, next));
        self.hand_over(batch);
    }

    fn hand_over(&self, message: FromRing) {
        if self.waits {
            // A receiver that is gone has said why.
            drop(self.to.send(message));
        } else if let Err(refused) = self.to.try_send(message)
            && let FromRing::Samples(batch) = refused.into_inner()
        {
            self.shed.fetch_add(batch.len() as u64, Ordering::Relaxed);
        }
    }
}

impl SampleSink for SampleOutlet {
    fn take(&mut self, head: &SampleHead, payload: &[u8]) {
        if !self.open.has_room(payload) {
            self.send();
        }
        if self.open.octets.capacity() == 0 {
            self.open.octets.reserve_exact(SAMPLE_BATCH_OCTETS);
        }
        self.open.push(head, payload);
    }

    fn mark(&mut self, at: u64, utc_offset: i64) {
        self.utc_offset = utc_offset;
        self.send();
        self.hand_over(FromRing::Mark { ring: self.ring, at, utc_offset });
    }

    fn clock_step(&mut self) {
        self.send();
        self.hand_over(FromRing::ClockStep);
    }

    fn close(&mut self) {
        self.mark(u64::MAX, self.utc_offset);
    }
}
