//! Ledger states and counts become metrics that Prometheus scrapes.
//!
//! Names live in [`metric::Metric`]. Every series exists from the start, at 0, because every label has a closed set of values:
//! nothing that a packet says can create one, and the number of series has a hard cap. Counters follow snapshots that only
//! grow; a snapshot that is behind what was published changes nothing.

pub mod log;
pub mod metric;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use auscult_ebpf::{
    discard::{Discard, Lost},
    sample::Class,
};
use prometheus::{
    Encoder, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder, process_collector::ProcessCollector,
};

use self::metric::{Kind, Metric, OUTCOMES, PROCESS};
use crate::{
    batch::RingMark,
    ledger::{Ledger, UserLost},
    limit::{INTERFACES_MAX, SERIES_MAX},
};

/// The registry could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// More interfaces than the series have room for.
    #[error("{0} interfaces, at most {INTERFACES_MAX} can be metered by one engine: start another engine for the rest")]
    Interfaces(usize),
    /// A defect of the metric table.
    #[error("metric table: {0}: please report this")]
    Table(#[from] prometheus::Error),
    /// A defect of the metric table.
    #[error("{0} metric series, at most {SERIES_MAX} are allowed: please report this")]
    Series(usize),
}

#[derive(Clone, Debug)]
enum Series {
    Counter(IntCounter),
    Gauge(IntGauge),
}

/// All metrics of one engine. Share it by `Arc`.
#[derive(Debug)]
pub struct Telemetry {
    registry: Registry,
    series: HashMap<(Metric, Vec<String>), Series>,
    /// Held while counters follow a snapshot, so that two threads cannot both add the same difference.
    following: Mutex<()>,
    refused: AtomicU64,
}

impl Telemetry {
    /// Every series at 0. `interfaces` are the tap interfaces of the configuration; none in replay.
    ///
    /// # Errors
    /// When there are too many interfaces.
    pub fn new<S: AsRef<str>>(interfaces: &[S]) -> Result<Self, TelemetryError> {
        if interfaces.len() > INTERFACES_MAX {
            return Err(TelemetryError::Interfaces(interfaces.len()));
        }
        let interfaces: Vec<String> = interfaces.iter().map(|name| name.as_ref().to_owned()).collect();
        let registry = Registry::new();
        let mut series = HashMap::new();
        for metric in Metric::ALL {
            register(&registry, *metric, &interfaces, &mut series)?;
        }
        if series.len() + PROCESS.len() > SERIES_MAX {
            return Err(TelemetryError::Series(series.len() + PROCESS.len()));
        }
        let process = ProcessCollector::new(i32::try_from(std::process::id()).unwrap_or(0), "auscult");
        registry.register(Box::new(process))?;
        let telemetry = Self { registry, series, following: Mutex::new(()), refused: AtomicU64::new(0) };
        telemetry.set(Metric::ProcessBuildInfo, &[env!("CARGO_PKG_VERSION")], 1);
        Ok(telemetry)
    }

    fn find(&self, metric: Metric, labels: &[&str]) -> Option<&Series> {
        let found = self.series.get(&(metric, labels.iter().map(|value| (*value).to_owned()).collect()));
        if found.is_none() {
            tracing::error!(metric = metric.name(), ?labels, "no such metric series: please report this");
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        found
    }

    /// A counter to keep, for threads that count often. `None` when there is no such series.
    pub fn counter(&self, metric: Metric, labels: &[&str]) -> Option<IntCounter> {
        match self.find(metric, labels)? {
            Series::Counter(counter) => Some(counter.clone()),
            Series::Gauge(_) => None,
        }
    }

    /// A gauge to keep, for threads that set it often. `None` when there is no such series.
    pub fn gauge(&self, metric: Metric, labels: &[&str]) -> Option<IntGauge> {
        match self.find(metric, labels)? {
            Series::Gauge(gauge) => Some(gauge.clone()),
            Series::Counter(_) => None,
        }
    }

    /// Adds to a counter.
    pub fn add(&self, metric: Metric, labels: &[&str], more: u64) {
        if let Some(Series::Counter(counter)) = self.find(metric, labels) {
            counter.inc_by(more);
        }
    }

    /// Sets a gauge.
    pub fn set(&self, metric: Metric, labels: &[&str], value: i64) {
        if let Some(Series::Gauge(gauge)) = self.find(metric, labels) {
            gauge.set(value);
        }
    }

    /// Lets a counter follow a count that only grows. A smaller count changes nothing.
    pub fn follow(&self, metric: Metric, labels: &[&str], count: u64) {
        let _held = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Series::Counter(counter)) = self.find(metric, labels) {
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }

    /// Publishes the ledger summed over all rings.
    pub fn record_ledger(&self, ledger: &Ledger) {
        let (counters, seen) = (&ledger.counters, ledger.seen());
        self.follow(Metric::CaptureSeenPackets, &[], seen.packets);
        self.follow(Metric::CaptureSeenOctets, &[], seen.octets);
        self.follow(Metric::CaptureMeteredPackets, &[], ledger.metered.packets);
        self.follow(Metric::CaptureMeteredOctets, &[], ledger.metered.octets);
        self.follow(Metric::CaptureDuplicatePackets, &[], counters.duplicate_packets);
        self.follow(Metric::CaptureDuplicateOctets, &[], counters.duplicate_octets);
        for reason in Discard::ALL {
            let count = ledger.discarded_by(reason);
            self.follow(Metric::CaptureDiscardedPackets, &[reason.name()], count.packets);
            self.follow(Metric::CaptureDiscardedOctets, &[reason.name()], count.octets);
        }
        let kernel = Lost::ALL.iter().map(|place| (place.name(), ledger.lost_by(*place)));
        let user = UserLost::ALL.iter().map(|place| (place.name(), ledger.user_lost[*place as usize]));
        for (place, count) in kernel.chain(user) {
            self.follow(Metric::CaptureLostPackets, &[place], count.packets);
            self.follow(Metric::CaptureLostOctets, &[place], count.octets);
        }
        for class in Class::ALL.into_iter().filter(|class| *class != Class::None) {
            let i = class as usize;
            for (outcome, count) in OUTCOMES.iter().zip([counters.samples[i], counters.samples_shed[i], counters.samples_lost[i]])
            {
                self.follow(Metric::CaptureSamples, &[class.name(), outcome], count);
            }
        }
        self.follow(Metric::CaptureDeltas, &[], counters.deltas);
        self.follow(Metric::CaptureRecognisedDuplicatePackets, &[], counters.copies_packets);
        self.follow(Metric::CaptureTunnelledPackets, &[], counters.tunnelled_packets);
        self.follow(Metric::CaptureTunnelPathsLost, &[], counters.tunnel_paths_lost);
        self.follow(Metric::CaptureSuperFrames, &[], counters.super_frames);
        self.follow(Metric::CaptureTruncatedFrames, &[], counters.truncated_frames);
        self.set(Metric::CaptureResidentPackets, &[], i64::try_from(ledger.resident.packets).unwrap_or(i64::MAX));
        let (packets, octets) = ledger.imbalance();
        self.set(Metric::CaptureLedgerImbalancePackets, &[], packets);
        self.set(Metric::CaptureLedgerImbalanceOctets, &[], octets);
    }

    /// Counts a Mark and publishes its time.
    pub fn record_mark(&self, mark: &RingMark) {
        self.add(Metric::CaptureMarks, &[], 1);
        let utc = i64::try_from(mark.at).unwrap_or(i64::MAX).saturating_add(mark.utc_offset);
        self.set(Metric::CaptureLastMark, &[], utc.div_euclid(1_000_000_000));
    }

    /// The text exposition, format 0.0.4.
    pub fn text(&self) -> String {
        if let Some(bytes) = peak_memory_bytes() {
            self.set(Metric::ProcessPeakMemory, &[], i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        self.follow(Metric::ProcessLogSuppressed, &[], log::suppressed());
        let mut text = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            Ok(()) => String::from_utf8(text).unwrap_or_default(),
            Err(error) => {
                tracing::error!(%error, "metrics could not be written out");
                String::new()
            }
        }
    }

    /// Series of the engine, without those of the process collector.
    pub fn series(&self) -> usize {
        self.series.len()
    }

    /// Uses of a series that does not exist: a defect, counted instead of creating one.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// Registers a metric with every combination of its labels' values.
fn register(
    registry: &Registry,
    metric: Metric,
    interfaces: &[String],
    series: &mut HashMap<(Metric, Vec<String>), Series>,
) -> Result<(), TelemetryError> {
    let mut combinations: Vec<Vec<String>> = vec![Vec::new()];
    for label in metric.labels() {
        let values = label.values(interfaces);
        combinations = combinations
            .iter()
            .flat_map(|start| values.iter().map(|value| start.iter().chain([value]).cloned().collect()))
            .collect();
    }
    let names: Vec<&str> = metric.labels().iter().map(|label| label.name()).collect();
    let options = Opts::new(metric.name(), metric.help());
    match metric.kind() {
        Kind::Counter => {
            let family = IntCounterVec::new(options, &names)?;
            registry.register(Box::new(family.clone()))?;
            for values in combinations {
                let counter = family.get_metric_with_label_values(&values)?;
                series.insert((metric, values), Series::Counter(counter));
            }
        }
        Kind::Gauge => {
            let family = IntGaugeVec::new(options, &names)?;
            registry.register(Box::new(family.clone()))?;
            for values in combinations {
                let gauge = family.get_metric_with_label_values(&values)?;
                series.insert((metric, values), Series::Gauge(gauge));
            }
        }
    }
    Ok(())
}

/// Largest resident memory of this process so far.
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}
