//! The store: epochs of all shards in, merged batches into the lake, coverage rows beside them.

use std::{sync::atomic::Ordering, time::Duration};

use crossbeam::channel::{Receiver, RecvTimeoutError};

use super::{PipelineError, Watched, count, points_now, sides::SideBooks};
use crate::{
    biflow::{Epoch, Merge, Statistics},
    coverage::CoverageRow,
    flow::{FlowBatch, FlowEndReason, ObservationPoint},
    lake::{LakeError, Totals, Writer},
    ledger::Count,
    serve::health::Condition,
    sidedness::{Sidedness, TRANSPORTS},
    summary::Sided,
    telemetry::{Telemetry, metric::Metric},
};

const PATIENCE: Duration = Duration::from_secs(1);

/// To the store.
pub enum ToStore {
    /// An epoch of one shard.
    Epoch {
        /// The shard.
        shard: usize,
        /// Its rows.
        epoch: Epoch,
        /// Its table.
        statistics: Statistics,
    },
    /// Minutes that have ended.
    Coverage(Vec<CoverageRow>),
}

/// What was stored.
#[derive(Default)]
pub struct Stored {
    /// Of the lake.
    pub totals: Totals,
    /// Flow rows by end reason.
    pub by_reason: [u64; FlowEndReason::ALL.len()],
    /// Flows by sidedness.
    pub sided: Sided,
    /// Packets in rows that could not be written.
    pub lost: Count,
    /// The first error.
    pub error: Option<PipelineError>,
}

/// The writer and what it is fed from.
pub struct Store {
    writer: Writer,
    merge: Merge,
    statistics: Vec<Option<Statistics>>,
    sides: SideBooks,
    points: Vec<ObservationPoint>,
    watched: Watched,
    stored: Stored,
    /// Files there were when one could not be written.
    failed_at: Option<u64>,
}

impl Store {
    /// A store for that many shards, whose flows end when they were idle for so long.
    pub fn new(writer: Writer, shards: usize, idle_nanos: i64, watched: Watched) -> Self {
        let statistics = (0..shards).map(|_| None).collect();
        let (merge, sides) = (Merge::new(shards), SideBooks::new(idle_nanos));
        Self { writer, merge, statistics, sides, points: Vec::new(), watched, stored: Stored::default(), failed_at: None }
    }

    /// Runs until every sender is gone, then closes the lake.
    pub fn run(mut self, from: &Receiver<ToStore>) -> Stored {
        let beat = self.watched.health.watch("store");
        loop {
            beat.tick();
            match from.recv_timeout(PATIENCE) {
                Ok(ToStore::Epoch { shard, epoch, statistics }) => {
                    self.statistics[shard] = Some(statistics);
                    self.merge.push(shard, epoch);
                    while let Some(batch) = self.merge.next_batch() {
                        self.flows(&batch);
                    }
                    self.tell();
                }
                Ok(ToStore::Coverage(rows)) => {
                    let written = self.writer.coverage(&rows);
                    self.check(written);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let Self { mut writer, sides, points, watched, mut stored, .. } = self;
        let (rows, sided) = sides.finish(&points);
        stored.sided = sided;
        note(&mut stored, &watched, writer.coverage(&rows));
        let (totals, closed) = writer.close();
        stored.totals = totals;
        note(&mut stored, &watched, closed);
        if let Some(telemetry) = &watched.telemetry {
            tell_totals(telemetry, &stored.totals);
        }
        stored
    }

    fn flows(&mut self, batch: &FlowBatch) {
        for row in batch.rows() {
            self.stored.by_reason[row.end_reason as usize - 1] += 1;
        }
        self.watched.progress.flows.fetch_add(batch.len() as u64, Ordering::Relaxed);
        let known = self.watched.points.read().map_or(0, |points| points.len());
        if known != self.points.len() {
            self.points = points_now(&self.watched.points);
        }
        let written = self.writer.flows(batch, &self.points);
        self.check(written);
        let minutes = self.sides.take(batch, &self.points);
        let written = self.writer.coverage(&minutes);
        self.check(written);
    }

    fn check(&mut self, written: Result<(), LakeError>) {
        let files = self.writer.totals().files;
        if written.is_err() {
            self.failed_at = Some(files);
        } else if self.failed_at.is_some_and(|then| files > then) {
            self.failed_at = None;
            tracing::warn!("files can be written again; what could not be is counted as lost");
            self.watched.health.holds(Condition::Lake);
        }
        note(&mut self.stored, &self.watched, written);
    }

    fn tell(&self) {
        let Some(telemetry) = &self.watched.telemetry else { return };
        let known = || self.statistics.iter().flatten();
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        telemetry.set(Metric::BiflowLiveFlows, &[], signed(known().map(|s| s.live).sum()));
        telemetry.set(Metric::BiflowTableBytes, &[], signed(known().map(|s| s.memory_bytes).sum()));
        telemetry.follow(Metric::BiflowDeltas, &[], known().map(|s| s.deltas).sum());
        for (position, reason) in FlowEndReason::ALL.iter().enumerate() {
            let exported = known().map(|s| s.exported[position]).sum();
            telemetry.follow(Metric::BiflowFlowsExported, &[reason.name()], exported);
        }
        tell_totals(telemetry, &self.writer.totals());
        self.tell_sides(telemetry);
    }

    /// By tap; in replay no interface has series.
    fn tell_sides(&self, telemetry: &Telemetry) {
        if self.watched.counters.is_empty() {
            return;
        }
        for (point, sides) in self.sides.by_point() {
            let Some(point) = point.and_then(|point| self.points.get(point as usize)) else { continue };
            for (transport, part) in TRANSPORTS.into_iter().zip(sides.parts()) {
                for kind in Sidedness::ALL {
                    let ((flows, packets), labels) = (part.of(kind), [&*point.name, transport, kind.name()]);
                    telemetry.follow(Metric::BiflowSidedFlows, &labels, flows);
                    telemetry.follow(Metric::BiflowSidedPackets, &labels, packets);
                }
            }
        }
    }
}

/// A row that cannot be written is counted, with its packets; the first error is kept.
fn note(stored: &mut Stored, watched: &Watched, written: Result<(), LakeError>) {
    let Err(error) = written else { return };
    if let LakeError::Write { packets, octets, .. } = &error {
        stored.lost.add(count(*packets, *octets));
        watched.progress.lost.fetch_add(*packets, Ordering::Relaxed);
    }
    tracing::error!("{error}");
    watched.health.fails(Condition::Lake, error.to_string());
    if let Some(telemetry) = &watched.telemetry {
        telemetry.add(Metric::LakeWriteErrors, &[], 1);
    }
    stored.error.get_or_insert_with(|| PipelineError::stage(error));
}

fn tell_totals(telemetry: &Telemetry, totals: &Totals) {
    telemetry.follow(Metric::LakeRowsWritten, &["flows"], totals.rows);
    telemetry.follow(Metric::LakeRowsWritten, &["coverage"], totals.coverage_rows);
    telemetry.follow(Metric::LakeFilesWritten, &["flows"], totals.files);
    telemetry.follow(Metric::LakeBytesWritten, &["flows"], totals.bytes);
}
