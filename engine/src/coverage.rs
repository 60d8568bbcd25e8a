//! The coverage record: what one observation point saw, kept and lost in one minute, and of how many flows it saw one direction only,
//! so that every later question ("was the tap whole then?") has an answer.

use std::sync::Arc;

use auscult_ebpf::record::Counters;

use crate::{
    flow::UnixNanos,
    ledger::{Count, Ledger, UserLost},
    sidedness::SideCounts,
};

/// Nanoseconds of a minute, the span of one row.
pub const MINUTE_NANOS: i64 = 60_000_000_000;

/// What the counts of a row are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The whole observation point.
    Port,
    /// One VLAN of it (outermost tag of a flow's first packet; `None`: untagged). The rows of all VLANs add up to those of the port.
    Vlan(Option<u16>),
}

impl Scope {
    /// Name in the lake.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Vlan(_) => "vlan",
        }
    }
}

/// One minute of one observation point, or of one VLAN of it. Everything is an increment within the minute, but `resident`, which
/// is the state at its end. Several rows of one minute, point and scope add up: the ledger's is written when the minute is over,
/// those of sidedness when no flow can end in it any more.
#[derive(Clone, Debug, PartialEq)]
pub struct CoverageRow {
    /// Start of the minute.
    pub minute: UnixNanos,
    /// Name of the observation point.
    pub observation_point: Arc<str>,
    /// What the counts are of.
    pub scope: Scope,
    /// The ledger's part; `None` in rows of sidedness.
    pub ledger: Option<LedgerMinute>,
    /// Sidedness of the flows (and segments) whose last packet lies in the minute; `None` in rows of the ledger.
    pub sides: Option<SideCounts>,
}

/// What one observation point kept and lost in one minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerMinute {
    /// Increments, and what is resident at the end.
    pub ledger: Ledger,
    /// Packets and octets by which the ledger came out of balance in the minute; zero, or the law is broken.
    pub imbalance: (i64, i64),
    /// Packets that the interface or its driver dropped before the meter; `None` when it does not say (and in replay).
    pub nic_dropped: Option<u64>,
    /// Packets that the interface sent; `None` when it does not say (and in replay).
    pub tx_packets: Option<u64>,
}

/// Start of the minute that a time lies in.
pub const fn minute_of(at: UnixNanos) -> UnixNanos {
    at - at.rem_euclid(MINUTE_NANOS)
}

impl CoverageRow {
    /// The row of a minute that began with the ledger at `before` and ended with it at `after`. `minute` may be any time in it.
    pub fn between(minute: UnixNanos, observation_point: Arc<str>, before: &Ledger, after: &Ledger) -> Self {
        let (was, is) = (before.imbalance(), after.imbalance());
        let ledger = LedgerMinute {
            ledger: increment(before, after),
            imbalance: (is.0.saturating_sub(was.0), is.1.saturating_sub(was.1)),
            nic_dropped: None,
            tx_packets: None,
        };
        Self { minute: minute_of(minute), observation_point, scope: Scope::Port, ledger: Some(ledger), sides: None }
    }

    /// The sidedness of one scope in one minute.
    pub const fn of_sides(minute: UnixNanos, observation_point: Arc<str>, scope: Scope, sides: SideCounts) -> Self {
        Self { minute: minute_of(minute), observation_point, scope, ledger: None, sides: Some(sides) }
    }

    /// Adds what this row says to a ledger of the rows before it: what has been told of the point so far. Its residents are those
    /// that make its imbalance the one that was told.
    pub fn tell(&self, told: &mut Ledger) {
        let residents = |seen: Count, rest: Count, imbalance: (i64, i64)| Count {
            packets: seen.packets.saturating_sub(rest.packets).saturating_add_signed(imbalance.0.saturating_neg()),
            octets: seen.octets.saturating_sub(rest.octets).saturating_add_signed(imbalance.1.saturating_neg()),
        };
        let Some(kept) = &self.ledger else { return };
        let before = told.imbalance();
        told.add(&Ledger { resident: Count::default(), ..kept.ledger });
        let imbalance = (before.0.saturating_add(kept.imbalance.0), before.1.saturating_add(kept.imbalance.1));
        told.resident = Count::default();
        told.resident = residents(told.handed_over(), told.metered, imbalance);
    }
}

/// What was added from `before` to `after`; the residents of `after`.
fn increment(before: &Ledger, after: &Ledger) -> Ledger {
    let mut user_lost = [Count::default(); UserLost::ALL.len()];
    for (place, gained) in user_lost.iter_mut().enumerate() {
        *gained = after.user_lost[place].less(before.user_lost[place]);
    }
    Ledger {
        counters: counters_less(&after.counters, &before.counters),
        metered: after.metered.less(before.metered),
        earlier: Count::default(),
        resident: after.resident,
        user_lost,
    }
}

fn cells_less<const N: usize>(after: [u64; N], before: [u64; N]) -> [u64; N] {
    std::array::from_fn(|cell| after[cell].saturating_sub(before[cell]))
}

/// Differences of all counters. The fields are listed so that a new one cannot be forgotten.
fn counters_less(after: &Counters, before: &Counters) -> Counters {
    Counters {
        seen_packets: after.seen_packets.saturating_sub(before.seen_packets),
        seen_octets: after.seen_octets.saturating_sub(before.seen_octets),
        duplicate_packets: after.duplicate_packets.saturating_sub(before.duplicate_packets),
        duplicate_octets: after.duplicate_octets.saturating_sub(before.duplicate_octets),
        discarded_packets: cells_less(after.discarded_packets, before.discarded_packets),
        discarded_octets: cells_less(after.discarded_octets, before.discarded_octets),
        lost_packets: cells_less(after.lost_packets, before.lost_packets),
        lost_octets: cells_less(after.lost_octets, before.lost_octets),
        deltas: after.deltas.saturating_sub(before.deltas),
        samples: cells_less(after.samples, before.samples),
        samples_shed: cells_less(after.samples_shed, before.samples_shed),
        samples_lost: cells_less(after.samples_lost, before.samples_lost),
        super_frames: after.super_frames.saturating_sub(before.super_frames),
        truncated_frames: after.truncated_frames.saturating_sub(before.truncated_frames),
        copies_packets: after.copies_packets.saturating_sub(before.copies_packets),
        copies_octets: after.copies_octets.saturating_sub(before.copies_octets),
        tunnelled_packets: after.tunnelled_packets.saturating_sub(before.tunnelled_packets),
        tunnel_paths: after.tunnel_paths.saturating_sub(before.tunnel_paths),
        tunnel_paths_lost: after.tunnel_paths_lost.saturating_sub(before.tunnel_paths_lost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_the_difference_of_two_ledgers() {
        let mut before = Ledger::default();
        before.counters.seen_packets = 10;
        before.metered.packets = 7;
        before.resident.packets = 3;
        let mut after = before;
        after.counters.seen_packets = 25;
        after.counters.lost_packets[0] = 2;
        after.metered.packets = 18;
        after.resident.packets = 4;
        let row = CoverageRow::between(3 * MINUTE_NANOS + 17, "tap0".into(), &before, &after);
        assert_eq!(row.minute, 3 * MINUTE_NANOS);
        let row = row.ledger.expect("a row of the ledger");
        assert_eq!(row.ledger.counters.seen_packets, 15);
        assert_eq!(row.ledger.metered.packets, 11);
        assert_eq!(row.ledger.resident.packets, 4);
        assert_eq!(row.ledger.counters.lost_packets[0], 2);
        assert_eq!(row.imbalance, (1, 0), "25 seen, 18 + 2 + 4 accounted for");
    }

    #[test]
    fn rows_add_up_to_the_ledger_that_the_next_one_begins_with() {
        let mut first = Ledger::default();
        first.counters.seen_packets = 10;
        first.metered.packets = 7;
        first.resident.packets = 3;
        let mut second = first;
        second.counters.seen_packets = 25;
        second.counters.lost_packets[0] = 2;
        second.metered.packets = 18;
        second.resident.packets = 4;
        let mut told = Ledger::default();
        let rows = [
            CoverageRow::between(0, "tap0".into(), &Ledger::default(), &first),
            CoverageRow::between(MINUTE_NANOS, "tap0".into(), &first, &second),
        ];
        rows.iter().for_each(|row| row.tell(&mut told));
        assert_eq!(told, second, "also the packet that is out of balance");
        let mut told = Ledger::default();
        rows[1].tell(&mut told);
        assert_eq!(told.imbalance(), (1, 0), "a row before it was lost");
        let gap = CoverageRow::between(2 * MINUTE_NANOS, "tap0".into(), &told, &second);
        let gap = gap.ledger.expect("a row of the ledger");
        assert_eq!((gap.ledger.counters.seen_packets, gap.imbalance), (10, (0, 0)), "the next row makes up for it");
    }
}
