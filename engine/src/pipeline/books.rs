//! The books: ledgers of all rings in, metrics, coverage rows and the sum out.
//!
//! A coverage row is the difference of an observation point's ledgers between the Marks around a minute. A Mark closes the span
//! before it, so it belongs to the minute that its last nanosecond lies in.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};

use super::{Watched, points_now};
use crate::{
    coverage::{CoverageRow, MINUTE_NANOS},
    ledger::{Ledger, LedgerAtMark},
    telemetry::metric::Metric,
};

const PATIENCE: Duration = Duration::from_secs(1);
const UNKNOWN: u64 = u64::MAX;

/// What an interface says of itself, kept by whoever can ask it.
pub struct PointCounters {
    /// Frames dropped before the meter.
    pub dropped: AtomicU64,
    /// Frames transmitted.
    pub transmitted: AtomicU64,
}

impl Default for PointCounters {
    fn default() -> Self {
        Self { dropped: AtomicU64::new(UNKNOWN), transmitted: AtomicU64::new(UNKNOWN) }
    }
}

fn known(counter: &AtomicU64) -> Option<u64> {
    Some(counter.load(Ordering::Relaxed)).filter(|value| *value != UNKNOWN)
}

/// One observation point's minute.
#[derive(Default)]
struct Point {
    minute: Option<i64>,
    before: Ledger,
    dropped: u64,
    transmitted: u64,
}

/// The state of the books when everything has ended.
#[derive(Default)]
pub struct Closed {
    /// Summed over all rings.
    pub ledger: Ledger,
    /// Marks met.
    pub marks: u64,
    /// Marks at which a ring's ledger did not close.
    pub unbalanced: u64,
}

/// The keeper.
pub struct Books {
    latest: Vec<Ledger>,
    rings_per_point: usize,
    points: Vec<Point>,
    marks: u64,
    unbalanced: u64,
    watched: Watched,
    to: Sender<Vec<CoverageRow>>,
}

impl Books {
    /// Books for that many rings, of which `rings_per_point` belong to each observation point.
    pub fn new(rings: u16, rings_per_point: u16, watched: Watched, to: Sender<Vec<CoverageRow>>) -> Self {
        let rings_per_point = usize::from(rings_per_point.max(1));
        let points = (0..usize::from(rings).div_ceil(rings_per_point)).map(|_| Point::default()).collect();
        Self { latest: vec![Ledger::default(); rings.into()], rings_per_point, points, marks: 0, unbalanced: 0, watched, to }
    }

    /// Runs until capture has ended.
    pub fn run(mut self, from: &Receiver<LedgerAtMark>) -> Closed {
        let beat = self.watched.health.watch("books");
        loop {
            beat.tick();
            match from.recv_timeout(PATIENCE) {
                Ok(at_mark) => {
                    self.take(&at_mark);
                    // Whoever looks at the metrics sees the newest of many Marks.
                    if from.is_empty() {
                        self.tell();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.tell();
        for point in 0..self.points.len() {
            self.end_minute(point);
        }
        Closed { ledger: self.sum(0..self.latest.len()), marks: self.marks, unbalanced: self.unbalanced }
    }

    fn take(&mut self, at_mark: &LedgerAtMark) {
        let ring = usize::from(at_mark.mark.ring);
        if ring >= self.latest.len() {
            return;
        }
        let unix = i64::try_from(at_mark.mark.at).unwrap_or(i64::MAX).saturating_add(at_mark.mark.utc_offset);
        let minute = (unix - 1).div_euclid(MINUTE_NANOS);
        let point = ring / self.rings_per_point;
        if self.points[point].minute.is_some_and(|open| open != minute) {
            self.end_minute(point);
        }
        self.points[point].minute = Some(minute);
        self.latest[ring] = at_mark.ledger;
        self.marks += 1;
        // LEDGER-3: at each Mark, not only in the sum at the end.
        let unbalanced = u64::from(at_mark.ledger.imbalance() != (0, 0));
        self.unbalanced += unbalanced;
        if let Some(telemetry) = &self.watched.telemetry {
            telemetry.record_mark(&at_mark.mark);
            telemetry.add(Metric::CaptureMarks, &[], 1);
            telemetry.add(Metric::CaptureUnbalancedMarks, &[], unbalanced);
        }
    }

    fn tell(&self) {
        if let Some(telemetry) = &self.watched.telemetry {
            telemetry.record_ledger(&self.sum(0..self.latest.len()));
        }
    }

    fn sum(&self, rings: std::ops::Range<usize>) -> Ledger {
        let mut sum = Ledger::default();
        for ledger in &self.latest[rings] {
            sum.add(ledger);
        }
        sum
    }

    fn end_minute(&mut self, number: usize) {
        let first = number * self.rings_per_point;
        let after = self.sum(first..(first + self.rings_per_point).min(self.latest.len()));
        let point = &mut self.points[number];
        let Some(minute) = point.minute.take() else { return };
        let names = points_now(&self.watched.points);
        // In replay one meter serves all interfaces of the files.
        let name = if self.watched.counters.is_empty() { None } else { names.get(number).map(|point| point.name.clone()) };
        let name = name.unwrap_or_else(|| "replay".into());
        let mut row = CoverageRow::between(minute * MINUTE_NANOS, name, &point.before, &after);
        if let Some(counters) = self.watched.counters.get(number) {
            row.nic_dropped = since(known(&counters.dropped), &mut point.dropped);
            row.tx_packets = since(known(&counters.transmitted), &mut point.transmitted);
        }
        point.before = after;
        // The store outlives the books.
        drop(self.to.send(vec![row]));
    }
}

fn since(now: Option<u64>, before: &mut u64) -> Option<u64> {
    let now = now?;
    let gained = now.saturating_sub(*before);
    *before = now;
    Some(gained)
}
