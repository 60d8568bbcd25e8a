//! The coverage record: what one observation point saw, kept and lost in one minute, so that every later question ("was the tap
//! whole then?") has an answer.

use std::sync::Arc;

use auscult_ebpf::record::Counters;

use crate::{
    flow::UnixNanos,
    ledger::{Count, Ledger, UserLost},
};

/// Nanoseconds of a minute, the span of one row.
pub const MINUTE_NANOS: i64 = 60_000_000_000;

/// One minute of one observation point. Everything is an increment within the minute, but `ledger.resident`, which is the state
/// at its end. Several rows of one minute and point (an engine that was restarted within it) add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoverageRow {
    /// Start of the minute.
    pub minute: UnixNanos,
    /// Name of the observation point.
    pub observation_point: Arc<str>,
    /// Increments, and what is resident at the end.
    pub ledger: Ledger,
    /// Packets and octets by which the ledger came out of balance in the minute; zero, or the law is broken.
    pub imbalance: (i64, i64),
    /// Packets that the interface or its driver dropped before the meter; `None` when it does not say (and in replay).
    pub nic_dropped: Option<u64>,
    /// Packets that the interface sent; `None` when it does not say (and in replay).
    pub tx_packets: Option<u64>,
}

impl CoverageRow {
    /// The row of a minute that began with the ledger at `before` and ended with it at `after`. `minute` may be any time in it.
    pub fn between(minute: UnixNanos, observation_point: Arc<str>, before: &Ledger, after: &Ledger) -> Self {
        let (was, is) = (before.imbalance(), after.imbalance());
        Self {
            minute: minute - minute.rem_euclid(MINUTE_NANOS),
            observation_point,
            ledger: increment(before, after),
            imbalance: (is.0.saturating_sub(was.0), is.1.saturating_sub(was.1)),
            nic_dropped: None,
            tx_packets: None,
        }
    }
}

/// What was added from `before` to `after`; the residents of `after`.
fn increment(before: &Ledger, after: &Ledger) -> Ledger {
    let mut user_lost = [Count::default(); UserLost::ALL.len()];
    for (place, gained) in user_lost.iter_mut().enumerate() {
        *gained = less(after.user_lost[place], before.user_lost[place]);
    }
    Ledger {
        counters: counters_less(&after.counters, &before.counters),
        metered: less(after.metered, before.metered),
        resident: after.resident,
        user_lost,
    }
}

fn less(after: Count, before: Count) -> Count {
    Count { packets: after.packets.saturating_sub(before.packets), octets: after.octets.saturating_sub(before.octets) }
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
        assert_eq!(row.ledger.counters.seen_packets, 15);
        assert_eq!(row.ledger.metered.packets, 11);
        assert_eq!(row.ledger.resident.packets, 4);
        assert_eq!(row.ledger.counters.lost_packets[0], 2);
        assert_eq!(row.imbalance, (1, 0), "25 seen, 18 + 2 + 4 accounted for");
    }
}
