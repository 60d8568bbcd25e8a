//! Ledger and totals become the summary that `replay` and `run` print: JSON for programs, text for operators.
//!
//! The summary keeps the ledger's law: `packets_seen = packets_metered + packets_duplicate + Σ discarded + Σ lost + resident +
//! imbalance.packets`. What was lost in userspace was counted as metered before; here it stands under `lost` and no longer under
//! `packets_metered`, which is thereby the number of packets in the flow rows on disk.

mod sided;
mod text;

use auscult_ebpf::{
    discard::{Discard, Lost},
    sample::Class,
};
use serde::{Serialize, Serializer, ser::SerializeMap};

pub use self::sided::{Sided, SidedScope};
use crate::{
    flow::FlowEndReason,
    ledger::{Count, Ledger, UserLost},
    limit::INPUT_ERRORS_KEPT,
};

/// Counts by name, in a fixed order, zeros included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named(pub Vec<(&'static str, u64)>);

impl Named {
    /// Sum of the counts.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// The count of a name.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.iter().find_map(|(known, count)| (*known == name).then_some(*count))
    }
}

impl Serialize for Named {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, count) in &self.0 {
            map.serialize_entry(name, count)?;
        }
        map.end()
    }
}

/// What the ledger could not explain: zero, or a record vanished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imbalance {
    /// Packets.
    pub packets: i64,
    /// Octets on the wire.
    pub octets: i64,
}

/// An input that could not be read to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InputError {
    /// The input, as it was given.
    pub input: String,
    /// Where and why reading ended.
    pub error: String,
}

/// What the ledger does not know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Observation domain.
    pub site: String,
    /// Flow rows by end reason, indexed as [`FlowEndReason::ALL`].
    pub flows_by_end_reason: [u64; FlowEndReason::ALL.len()],
    /// Flows by sidedness.
    pub sided: Sided,
    /// Marks at which ledgers were closed.
    pub marks: u64,
    /// Those at which one did not close.
    pub unbalanced_marks: u64,
    /// Deltas merged before those of all rings were there.
    pub hurried_deltas: u64,
    /// Devices known at the end.
    pub devices: u64,
    /// Alerts raised.
    pub alerts: u64,
    /// Incidents opened.
    pub incidents: u64,
    /// Parquet files made visible.
    pub files_written: u64,
    /// Their bytes.
    pub bytes_written: u64,
    /// From the first frame asked for to the last file closed.
    pub elapsed_seconds: f64,
    /// Largest resident memory.
    pub peak_memory_bytes: Option<u64>,
    /// Most memory by configuration.
    pub memory_bound: MemoryBound,
    /// Inputs that could not be read to their end.
    pub input_errors: Vec<InputError>,
}

/// The most memory that an engine holds by its configuration, bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryBound {
    /// By part; those of the kernel are there whether they are mapped or not.
    pub parts: Named,
    /// What the resident memory of the process never exceeds. The kernel counts a ring's records twice there, because they are mapped
    /// twice, and caches not at all.
    pub resident_bytes: u64,
}

/// The summary. Field names are part of the contract.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Observation domain.
    pub site: String,
    /// Frames that reached the meter.
    pub packets_seen: u64,
    /// Packets in flow rows.
    pub packets_metered: u64,
    /// Octets on the wire of all frames seen, link headers included.
    pub layer2_octets: u64,
    /// The part of `layer2_octets` that is in flow rows.
    pub octets_metered: u64,
    /// Frames left out as second copies.
    pub packets_duplicate: u64,
    /// Frames refused, by reason.
    pub discarded: Named,
    /// Packets that could not be kept, by place.
    pub lost: Named,
    /// Packets still in flow caches when counting ended.
    pub resident: u64,
    /// Zero, or the ledger does not close.
    pub imbalance: Imbalance,
    /// Marks: times at which a ring's ledger was closed.
    pub marks: u64,
    /// Those at which it did not close: zero, or a record vanished.
    pub unbalanced_marks: u64,
    /// Flow rows.
    pub flows: u64,
    /// Flow rows by end reason.
    pub flows_by_end_reason: Named,
    /// Of how many flows the tap saw one direction only.
    pub sidedness: Sided,
    /// Deltas merged before those of all rings were there, because too many waited: a flow that came over several rings may then be
    /// flagged as split.
    pub hurried_deltas: u64,
    /// Devices known at the end.
    pub devices: u64,
    /// Alerts raised.
    pub alerts: u64,
    /// Incidents opened.
    pub incidents: u64,
    /// Payload samples taken, by class.
    pub samples: Named,
    /// Payload samples left out (share used up, or no room), by class.
    pub samples_shed: Named,
    /// Frames recognised as second copies, whether they were left out (`packets_duplicate`) or not.
    pub duplicates_recognised: u64,
    /// The part of `packets_seen` that they are.
    pub duplicate_ratio: f64,
    /// Metered packets that were encapsulated.
    pub tunnelled_packets: u64,
    /// Frames captured shorter than they were on the wire.
    pub truncated_frames: u64,
    /// Frames that an offload merged of several; counted as one packet each.
    pub super_frames: u64,
    /// Parquet files made visible.
    pub files_written: u64,
    /// Their bytes.
    pub bytes_written: u64,
    /// How long it took.
    pub elapsed_seconds: f64,
    /// `packets_seen` by `elapsed_seconds`; zero when nothing was measured.
    pub packets_per_second: f64,
    /// Largest resident memory; null when unknown.
    pub peak_memory_bytes: Option<u64>,
    /// Live: the longest time that a packet is in memory only, which is the most that a crash can lose.
    pub flush_interval_seconds: Option<u64>,
    /// What it cannot exceed by configuration; zero when nothing was started.
    pub memory_bound_bytes: u64,
    /// The most memory of each part, kernel included, bytes.
    pub memory_bound_parts: Named,
    /// Inputs that could not be read to their end; the first few.
    pub input_errors: Vec<InputError>,
    /// All of them.
    pub input_error_count: u64,
}

impl Summary {
    /// The summary of a ledger (summed over all rings) and totals.
    pub fn new(ledger: &Ledger, totals: Totals) -> Self {
        let user_lost = ledger.user_lost.iter().fold(Count::default(), |mut sum, count| {
            sum.add(*count);
            sum
        });
        let counters = &ledger.counters;
        let (packets, octets) = ledger.imbalance();
        let per_class = |count: &dyn Fn(usize) -> u64| {
            Named(
                Class::ALL
                    .iter()
                    .filter(|class| **class != Class::None)
                    .map(|class| (class.name(), count(*class as usize)))
                    .collect(),
            )
        };
        let kernel_lost = Lost::ALL.iter().map(|place| (place.name(), ledger.lost_by(*place).packets));
        let lost_later = UserLost::ALL.iter().map(|place| (place.name(), ledger.user_lost[*place as usize].packets));
        let reasons = FlowEndReason::ALL.iter().zip(totals.flows_by_end_reason);
        let seconds = totals.elapsed_seconds;
        let mut input_errors = totals.input_errors;
        let input_error_count = input_errors.len() as u64;
        input_errors.truncate(INPUT_ERRORS_KEPT);
        Self {
            site: totals.site,
            packets_seen: counters.seen_packets,
            packets_metered: ledger.metered.packets.saturating_sub(user_lost.packets),
            layer2_octets: counters.seen_octets,
            octets_metered: ledger.metered.octets.saturating_sub(user_lost.octets),
            packets_duplicate: counters.duplicate_packets,
            discarded: Named(Discard::ALL.iter().map(|reason| (reason.name(), ledger.discarded_by(*reason).packets)).collect()),
            lost: Named(kernel_lost.chain(lost_later).collect()),
            resident: ledger.resident.packets,
            imbalance: Imbalance { packets, octets },
            marks: totals.marks,
            unbalanced_marks: totals.unbalanced_marks,
            flows: totals.flows_by_end_reason.iter().sum(),
            flows_by_end_reason: Named(reasons.map(|(reason, count)| (reason.name(), count)).collect()),
            sidedness: totals.sided,
            hurried_deltas: totals.hurried_deltas,
            devices: totals.devices,
            alerts: totals.alerts,
            incidents: totals.incidents,
            samples: per_class(&|i| counters.samples[i]),
            samples_shed: per_class(&|i| counters.samples_shed[i] + counters.samples_lost[i]),
            duplicates_recognised: counters.copies_packets,
            duplicate_ratio: counters.copies_packets as f64 / counters.seen_packets.max(1) as f64,
            tunnelled_packets: counters.tunnelled_packets,
            truncated_frames: counters.truncated_frames,
            super_frames: counters.super_frames,
            files_written: totals.files_written,
            bytes_written: totals.bytes_written,
            elapsed_seconds: seconds,
            packets_per_second: if seconds > 0.0 { counters.seen_packets as f64 / seconds } else { 0.0 },
            peak_memory_bytes: totals.peak_memory_bytes,
            flush_interval_seconds: None,
            memory_bound_bytes: totals.memory_bound.resident_bytes,
            memory_bound_parts: totals.memory_bound.parts,
            input_errors,
            input_error_count,
        }
    }

    /// The summary of work that never began.
    pub fn of_nothing(site: &str) -> Self {
        Self::new(&Ledger::default(), Totals { site: site.to_owned(), ..Totals::default() })
    }

    /// Whether every packet seen is accounted for.
    pub fn balanced(&self) -> bool {
        self.imbalance == Imbalance::default()
    }
}
