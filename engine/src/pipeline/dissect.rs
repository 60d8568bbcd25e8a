//! The dissect stage: samples of all rings in, observations out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};

use super::{
    Watched,
    keeper::ToKeeper,
    samples::{FromRing, SampleBatch},
};
use crate::{dissect::Dissector, telemetry::metric::Metric};

const PATIENCE: Duration = Duration::from_secs(1);

/// The stage and its edges.
pub struct Dissect {
    /// All parsers.
    pub dissector: Dissector,
    /// From capture.
    pub from: Receiver<FromRing>,
    /// Emptied and zeroed batches, back to capture.
    pub give_back: Sender<SampleBatch>,
    /// To the keeper of the inventory.
    pub to: Sender<ToKeeper>,
    /// Samples that found the way full.
    pub shed: Arc<AtomicU64>,
}

impl Dissect {
    /// Runs until every ring has ended.
    pub fn run(mut self, watched: &Watched) {
        let beat = watched.health.watch("dissect");
        loop {
            beat.tick();
            let message = match self.from.recv_timeout(PATIENCE) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let sent = match message {
                FromRing::Samples(batch) => self.samples(batch),
                FromRing::Mark { ring, at, utc_offset } => {
                    self.tell(watched);
                    self.to.send(ToKeeper::Sampled { ring, at, utc_offset }).is_ok()
                }
                FromRing::ClockStep => {
                    self.dissector.clock_step();
                    self.to.send(ToKeeper::ClockStep).is_ok()
                }
            };
            if !sent {
                return;
            }
        }
        self.tell(watched);
    }

    fn samples(&mut self, mut batch: SampleBatch) -> bool {
        let mut observations = Vec::new();
        for (head, payload) in batch.samples() {
            self.dissector.take(head, payload, &mut observations);
        }
        // PRIVACY-1: before anybody else has it.
        batch.wipe();
        drop(self.give_back.try_send(batch));
        observations.is_empty() || self.to.send(ToKeeper::Observations(observations)).is_ok()
    }

    fn tell(&self, watched: &Watched) {
        let Some(telemetry) = &watched.telemetry else { return };
        for (protocol, samples) in self.dissector.recognised().filter(|(_, samples)| *samples > 0) {
            telemetry.follow(Metric::DissectSamples, &[protocol.name()], samples);
        }
        telemetry.follow(Metric::DissectSamples, &["unknown"], self.dissector.unknown());
        telemetry.follow(Metric::DissectSamplesShed, &[], self.shed.load(Ordering::Relaxed));
        telemetry.set(Metric::ProcessChannelDepth, &["capture_dissect"], self.from.len() as i64);
        let streams = self.dissector.streams();
        for (outcome, count) in [("followed", streams.opened), ("refused", streams.refused), ("gap", streams.gaps)] {
            telemetry.follow(Metric::DissectStreams, &[outcome], count);
        }
    }
}
