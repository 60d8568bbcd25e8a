//! The books: ledgers of all rings in, metrics, coverage rows and the sum out.
//!
//! A coverage row is the difference of an observation point's ledgers between the Marks around a minute. A Mark closes the span
//! before it, so it belongs to the minute that its last nanosecond lies in.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};

use super::{Watched, points_now, resume::Inheritance};
use crate::{
    account::settle,
    coverage::{CoverageRow, MINUTE_NANOS},
    ledger::{Ledger, LedgerAtMark, UserLost},
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
    attachment: u32,
    minute: Option<i64>,
    before: Ledger,
    dropped: u64,
    transmitted: u64,
}

/// The state of the books when everything has ended.
#[derive(Default)]
pub struct Closed {
    ledgers: Vec<Ledger>,
    inheritance: Inheritance,
    /// Marks met.
    pub marks: u64,
    /// Marks at which a ring's ledger did not close.
    pub unbalanced: u64,
}

impl Closed {
    /// Summed over all taps, with what was lost by the end of earlier engines and could not be written.
    pub fn ledger(&self) -> Ledger {
        total(&settled(self.ledgers.clone(), &self.inheritance))
    }
}

/// The ledgers of all taps with what is lost in userspace.
fn settled(mut ledgers: Vec<Ledger>, inheritance: &Inheritance) -> Vec<Ledger> {
    let Some(standing) = &inheritance.standing else { return ledgers };
    for (ledger, lost) in ledgers.iter_mut().zip(standing.written_off()) {
        ledger.user_lost[UserLost::Write as usize].add(lost);
    }
    settle(&mut ledgers, &inheritance.kept);
    ledgers
}

fn total(ledgers: &[Ledger]) -> Ledger {
    let mut sum = Ledger::default();
    ledgers.iter().for_each(|ledger| sum.add(ledger));
    sum
}

/// The keeper.
pub struct Books {
    latest: Vec<Option<Ledger>>,
    rings_per_point: usize,
    points: Vec<Point>,
    inheritance: Inheritance,
    marks: u64,
    unbalanced: u64,
    watched: Watched,
    to: Sender<Vec<CoverageRow>>,
}

impl Books {
    /// Books for that many rings, of which `rings_per_point` belong to each observation point.
    pub fn new(
        rings: u16,
        rings_per_point: u16,
        inheritance: Inheritance,
        watched: Watched,
        to: Sender<Vec<CoverageRow>>,
    ) -> Self {
        let rings_per_point = usize::from(rings_per_point.max(1));
        let mut points: Vec<Point> = (0..usize::from(rings).div_ceil(rings_per_point)).map(|_| Point::default()).collect();
        points.resize_with(points.len() + inheritance.departed.len(), Point::default);
        for (point, told) in points.iter_mut().zip(&inheritance.told) {
            point.before = *told;
        }
        Self { latest: vec![None; rings.into()], rings_per_point, points, inheritance, marks: 0, unbalanced: 0, watched, to }
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
        Closed { ledgers: self.ledgers(), inheritance: self.inheritance, marks: self.marks, unbalanced: self.unbalanced }
    }

    fn take(&mut self, at_mark: &LedgerAtMark) {
        let ring = usize::from(at_mark.mark.ring);
        if ring >= self.latest.len() {
            return;
        }
        let unix = i64::try_from(at_mark.mark.at).unwrap_or(i64::MAX).saturating_add(at_mark.mark.utc_offset);
        let minute = (unix - 1).div_euclid(MINUTE_NANOS);
        let point = ring / self.rings_per_point;
        if std::mem::replace(&mut self.points[point].attachment, at_mark.attachment) != at_mark.attachment {
            // What the rings of the one before had is in the ledger that the new one begins with.
            let first = point * self.rings_per_point;
            let end = (first + self.rings_per_point).min(self.latest.len());
            self.latest[first..end].fill(None);
        }
        // A minute of which a ring has not told anything yet is part of the next one: increments begin where earlier rows ended.
        if self.points[point].minute.is_some_and(|open| open != minute) && self.heard(point) {
            self.end_minute(point);
        }
        self.points[point].minute = Some(minute);
        self.latest[ring] = Some(at_mark.ledger);
        for departed in &mut self.points[self.latest.len().div_ceil(self.rings_per_point)..] {
            departed.minute.get_or_insert(minute);
        }
        if let Some(standing) = &self.inheritance.standing
            && self.heard(point)
        {
            standing.stand(point, &self.raw(point));
        }
        self.marks += 1;
        // LEDGER-3: at each Mark, not only in the sum at the end.
        let unbalanced = u64::from(at_mark.ledger.imbalance() != (0, 0));
        self.unbalanced += unbalanced;
        if let Some(telemetry) = &self.watched.telemetry {
            telemetry.record_mark(&at_mark.mark);
            telemetry.add(Metric::CaptureUnbalancedMarks, &[], unbalanced);
        }
    }

    fn tell(&self) {
        if let Some(telemetry) = &self.watched.telemetry {
            telemetry.record_ledger(&total(&settled(self.ledgers(), &self.inheritance)));
        }
    }

    /// Whether every ring of an observation point has had a Mark.
    fn heard(&self, point: usize) -> bool {
        self.rings_of(point).iter().all(Option::is_some)
    }

    fn rings_of(&self, point: usize) -> &[Option<Ledger>] {
        let first = (point * self.rings_per_point).min(self.latest.len());
        &self.latest[first..(first + self.rings_per_point).min(self.latest.len())]
    }

    /// The ledger of a point as its rings tell it.
    fn raw(&self, point: usize) -> Ledger {
        let departed = point.checked_sub(self.latest.len().div_ceil(self.rings_per_point));
        if let Some((_, ledger)) = departed.and_then(|departed| self.inheritance.departed.get(departed)) {
            return *ledger;
        }
        let mut sum = Ledger::default();
        self.rings_of(point).iter().flatten().for_each(|ledger| sum.add(ledger));
        sum
    }

    fn ledgers(&self) -> Vec<Ledger> {
        (0..self.points.len()).map(|point| self.raw(point)).collect()
    }

    fn name(&self, number: usize) -> Arc<str> {
        let departed = number.checked_sub(self.latest.len().div_ceil(self.rings_per_point));
        if let Some((name, _)) = departed.and_then(|departed| self.inheritance.departed.get(departed)) {
            return name.clone();
        }
        let names = points_now(&self.watched.points);
        // In replay one meter serves all interfaces of the files.
        let name = if self.watched.counters.is_empty() { None } else { names.get(number).map(|point| point.name.clone()) };
        name.unwrap_or_else(|| "replay".into())
    }

    fn end_minute(&mut self, number: usize) {
        let after = settled(self.ledgers(), &self.inheritance)[number];
        let name = self.name(number);
        let point = &mut self.points[number];
        let Some(minute) = point.minute.take() else { return };
        let mut row = CoverageRow::between(minute * MINUTE_NANOS, name, &point.before, &after);
        if let (Some(counters), Some(ledger)) = (self.watched.counters.get(number), &mut row.ledger) {
            ledger.nic_dropped = since(known(&counters.dropped), &mut point.dropped);
            ledger.tx_packets = since(known(&counters.transmitted), &mut point.transmitted);
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
