//! The store: epochs of all shards in, merged batches into the lake, coverage rows beside them.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use crossbeam::channel::{Receiver, RecvError, Select, never};

use super::{
    PipelineError, Watched, count,
    keeper::{KeeperOutlet, ToKeeper},
    points_now,
    sides::SideBooks,
};
use crate::{
    biflow::{Epoch, Merge, Statistics},
    coverage::CoverageRow,
    flow::{FlowBatch, FlowEndReason, ObservationPoint, UnixNanos},
    identify::FlowName,
    lake::{LakeError, Totals, Writer},
    ledger::Count,
    limit::ROWS_WAITING_MAX,
    serve::health::Condition,
    sidedness::{Sidedness, TRANSPORTS},
    summary::Sided,
    telemetry::{Telemetry, metric::Metric},
};

const PATIENCE: Duration = Duration::from_secs(1);

/// An epoch of one shard, or a part of one, on its way to the store.
pub struct FromShard {
    /// Its rows.
    pub epoch: Epoch,
    /// Its table.
    pub statistics: Statistics,
    /// Ends its claim to the way's room when it is dropped.
    pub permit: Permit,
}

/// Rows of one shard on their way to the store: at most [`ROWS_WAITING_MAX`], because epochs may be long or short.
#[derive(Clone, Default)]
pub struct RowsWaiting(Arc<(Mutex<usize>, Condvar)>);

/// So many rows are on their way.
pub struct Permit {
    rows: usize,
    waiting: RowsWaiting,
}

impl RowsWaiting {
    /// Waits until that many rows have room; says once in a while that it still does.
    pub fn wait_for(&self, rows: usize, still: impl Fn()) -> Permit {
        let (waiting, given_back) = &*self.0;
        let mut held = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while *held > 0 && *held + rows > ROWS_WAITING_MAX {
            held = given_back.wait_timeout(held, PATIENCE).unwrap_or_else(PoisonError::into_inner).0;
            still();
        }
        *held += rows;
        Permit { rows, waiting: self.clone() }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let (waiting, given_back) = &*self.waiting.0;
        *waiting.lock().unwrap_or_else(PoisonError::into_inner) -= self.rows;
        given_back.notify_one();
    }
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
    /// Deltas merged early.
    pub hurried: u64,
    /// The first error.
    pub error: Option<PipelineError>,
}

/// The writer and what it is fed from.
pub struct Store {
    writer: Writer,
    merge: Merge,
    statistics: Vec<Option<Statistics>>,
    sides: SideBooks,
    /// Record time of the newest batch.
    now: UnixNanos,
    points: Vec<ObservationPoint>,
    watched: Watched,
    stored: Stored,
    /// Files there were when one could not be written.
    failed_at: Option<u64>,
    /// To the keeper of the inventory.
    to_keeper: KeeperOutlet,
}

impl Store {
    /// A store for that many shards, whose flows end when they were idle for so long.
    pub fn new(writer: Writer, shards: usize, idle_nanos: i64, watched: Watched, to_keeper: KeeperOutlet) -> Self {
        let statistics = (0..shards).map(|_| None).collect();
        let (merge, sides) = (Merge::new(shards), SideBooks::new(idle_nanos));
        let now = UnixNanos::MIN;
        Self {
            writer,
            merge,
            statistics,
            sides,
            now,
            points: Vec::new(),
            watched,
            stored: Stored::default(),
            failed_at: None,
            to_keeper,
        }
    }

    /// Runs until every sender is gone, then closes the lake. Epochs are taken of those shards alone that the next batch waits for: what
    /// the others have ready waits on their way, whose room is bounded.
    pub fn run(mut self, mut shards: Vec<Receiver<FromShard>>, mut coverage: Receiver<Vec<CoverageRow>>) -> Stored {
        let beat = self.watched.health.watch("store");
        let (mut open, mut coverage_open) = (shards.len(), true);
        while open > 0 || coverage_open {
            beat.tick();
            if let Some(telemetry) = &self.watched.telemetry {
                let waiting = [("biflow_merge", shards.iter().map(Receiver::len).sum()), ("coverage_lake", coverage.len())];
                waiting.iter().for_each(|(edge, depth)| telemetry.set(Metric::ProcessChannelDepth, &[edge], *depth as i64));
            }
            let mut select = Select::new();
            select.recv(&coverage);
            let lacking: Vec<usize> = (0..shards.len()).filter(|&shard| self.merge.lacks(shard)).collect();
            for &shard in &lacking {
                select.recv(&shards[shard]);
            }
            let Ok(ready) = select.select_timeout(PATIENCE) else { continue };
            match ready.index().checked_sub(1).map(|nth| lacking[nth]) {
                None => match ready.recv(&coverage) {
                    Ok(rows) => {
                        let written = self.writer.coverage(&rows);
                        self.check(written);
                    }
                    Err(RecvError) => (coverage, coverage_open) = (never(), false),
                },
                Some(shard) => match ready.recv(&shards[shard]) {
                    Ok(FromShard { epoch, statistics, permit }) => {
                        drop(permit);
                        self.epoch(shard, epoch, statistics);
                    }
                    Err(RecvError) => {
                        shards[shard] = never();
                        open -= 1;
                        self.merge.end(shard);
                        self.flow_on();
                    }
                },
            }
        }
        let Self { mut writer, sides, now, points, watched, mut stored, statistics, .. } = self;
        let (rows, sided) = sides.finish(&points);
        stored.sided = sided;
        note(&mut stored, &watched, writer.sides(&rows, now));
        stored.hurried = statistics.iter().flatten().map(|table| table.hurried).sum();
        let (totals, closed) = writer.close();
        stored.totals = totals;
        note(&mut stored, &watched, closed);
        if let Some(telemetry) = &watched.telemetry {
            tell_totals(telemetry, &stored.totals);
        }
        stored
    }

    fn epoch(&mut self, shard: usize, epoch: Epoch, statistics: Statistics) {
        self.statistics[shard] = Some(statistics);
        self.merge.push(shard, epoch);
        self.flow_on();
        self.tell();
    }

    /// Stores every batch that is complete.
    fn flow_on(&mut self) {
        while let Some(batch) = self.merge.next_batch() {
            self.flows(&batch);
        }
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
        self.now = batch.watermark();
        self.to_keeper.send(ToKeeper::Flows(batch.rows().map(FlowName::from).collect()));
        let minutes = self.sides.take(batch, &self.points);
        let written = self.writer.sides(&minutes, self.now);
        self.check(written);
    }

    fn check(&mut self, written: Result<(), LakeError>) {
        let totals = self.writer.totals();
        // Files of rows: coverage may find room where they do not.
        let files = totals.files - totals.coverage[0];
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
        telemetry.follow(Metric::BiflowHurriedDeltas, &[], known().map(|s| s.hurried).sum());
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
    let [files, bytes] = totals.coverage;
    telemetry.follow(Metric::LakeFilesWritten, &["flows"], totals.files - files);
    telemetry.follow(Metric::LakeFilesWritten, &["coverage"], files);
    telemetry.follow(Metric::LakeBytesWritten, &["flows"], totals.bytes - bytes);
    telemetry.follow(Metric::LakeBytesWritten, &["coverage"], bytes);
}
