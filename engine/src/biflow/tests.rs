//! The stage as a whole: packets cut to deltas at random, against rows computed from the packets.

mod meter;
mod model;
mod scene;

use std::sync::Arc;

use auscult_ebpf::{
    hash::shard,
    record::{Delta, FORM_FRAGMENT, FORM_IPV4, FRAGMENT_FIRST, FRAGMENT_LATER},
};
use proptest::prelude::*;

use self::{
    meter::Record,
    model::{ACTIVE, IDLE, OFFSET, SITE},
    scene::{Dice, SECOND, Spread},
};
use super::{BiflowSettings, Epoch, Merge, Table};
use crate::{
    batch::RingMark,
    flow::{Direction, Flow, FlowBatch, FlowEndReason},
    limit::EPOCH_ROWS,
};

fn settings(rings: u16, seed: u64, max_flows: u32) -> BiflowSettings {
    let (idle_timeout_nanos, active_timeout_nanos) = (IDLE, ACTIVE);
    BiflowSettings { idle_timeout_nanos, active_timeout_nanos, max_flows, rings, site: Arc::from(SITE), seed }
}

fn mark(ring: usize, at: u64) -> RingMark {
    RingMark { ring: ring as u16, at, utc_offset: OFFSET }
}

/// Feeds the rings to shards; each shard sees the rings interleaved in its own way.
fn batches(rings: &[Vec<Record>], shards: usize, seed: u64) -> Vec<FlowBatch> {
    let mut merge = Merge::new(shards);
    for number in 0..shards {
        let mut dice = Dice((seed + number as u64) | 1 << 61);
        let mut table = Table::new(settings(rings.len() as u16, dice.roll(1 << 31), 1 << 20));
        let mut left: Vec<_> = rings.iter().map(|ring| ring.iter()).collect();
        let mut open = rings.len();
        let mut push = |epoch: Option<Epoch>| {
            if let Some(epoch) = epoch {
                merge.push(number, epoch);
            }
        };
        while open > 0 {
            let ring = dice.roll(rings.len() as u64) as usize;
            for _ in 0..=dice.roll(20) {
                match left[ring].next() {
                    Some(Record::Delta(delta)) if shard(&delta.key) as usize % shards == number => {
                        table.deltas(ring as u16, std::slice::from_ref(delta));
                    }
                    Some(Record::Delta(_)) => {}
                    Some(Record::Mark(at)) => push(table.mark(mark(ring, *at))),
                    None => {
                        if table.rings_open(ring) {
                            push(table.close(ring as u16));
                            open -= 1;
                        }
                        break;
                    }
                }
            }
        }
        assert_eq!(table.statistics().live, 0);
    }
    let mut batches = Vec::new();
    while let Some(batch) = merge.next_batch() {
        batches.push(batch);
    }
    assert_eq!(merge.waiting(), 0);
    batches
}

fn rows(batches: &[FlowBatch]) -> Vec<Flow> {
    let mut rows: Vec<Flow> = batches.iter().flat_map(|batch| batch.rows().cloned()).collect();
    rows.sort_by_key(|row| (row.end, row.flow_id, row.segment));
    rows
}

fn close(a: f64, b: f64, scale: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(scale)
}

/// Row by row equal; what is flagged is a lower bound (counts) or absent (intervals). Gives how many sides were flagged.
fn check(actual: &[Flow], expected: &[Flow]) -> [usize; 2] {
    let mut flagged = [0; 2];
    let ids = |rows: &[Flow]| rows.iter().map(|row| (row.end, row.flow_id, row.segment, row.end_reason)).collect::<Vec<_>>();
    assert_eq!(ids(actual), ids(expected));
    for (actual, expected) in actual.iter().zip(expected) {
        let mut actual = actual.clone();
        for d in Direction::BOTH {
            let (side, truth) = (&mut actual.side[d], &expected.side[d]);
            let (std, mean) = (truth.size_std, truth.size_mean);
            assert!(close(side.size_std, std, 1e-3 * mean) && close(side.size_mean, mean, 0.0), "{side:?} {truth:?}");
            (side.size_std, side.size_mean) = (truth.size_std, truth.size_mean);
            if std::mem::take(&mut side.split) {
                assert_eq!(side.intervals, None);
                flagged[0] += 1;
                side.intervals = truth.intervals;
            }
            if let (Some(intervals), Some(truth)) = (&mut side.intervals, &truth.intervals) {
                assert!(close(intervals.mean, truth.mean, 0.0) && close(intervals.std, truth.std, 1e-3 * truth.mean));
                (intervals.mean, intervals.std) = (truth.mean, truth.std);
            }
            if let (Some(tcp), Some(truth)) = (&mut side.tcp, &truth.tcp)
                && !std::mem::replace(&mut tcp.sequence_exact, true)
            {
                assert!(tcp.retransmissions <= truth.retransmissions, "{} > {}", tcp.retransmissions, truth.retransmissions);
                assert!(tcp.out_of_order <= truth.out_of_order, "{} > {}", tcp.out_of_order, truth.out_of_order);
                flagged[1] += 1;
                (tcp.retransmissions, tcp.out_of_order) = (truth.retransmissions, truth.out_of_order);
            }
        }
        if &actual != expected {
            let [actual, expected] = [&actual, expected].map(|row| format!("{row:#?}"));
            let differences = actual.lines().zip(expected.lines()).enumerate().filter(|(_, (a, b))| a != b);
            panic!("{:?}", differences.collect::<Vec<_>>());
        }
    }
    flagged
}

/// One scene through one table.
fn run(seed: u64, spread: Spread, unordered: bool, evictions: u64) -> [usize; 2] {
    let scene = scene::scene(seed, spread, unordered);
    let rest = Dice(seed | 1 << 60).roll(12) * SECOND;
    let end = scene.packets.last().map_or(0, |packet| packet.at) + rest;
    let rings = meter::rings(&scene, spread, seed, evictions, rest);
    check(&rows(&batches(&rings, 1, seed)), &model::rows(&scene, end))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Nothing is evicted: ticks, sweeps and reopened connections are the only cuts. No interval is lost.
    #[test]
    fn one_ring_without_evictions(seed: u64) {
        prop_assert_eq!(run(seed, Spread::One, true, 0)[0], 0);
    }

    #[test]
    fn one_ring_with_evictions(seed: u64, evictions in 1..20u64) {
        prop_assert_eq!(run(seed, Spread::One, true, evictions)[0], 0);
    }

    /// Each direction over its own ring: all intervals are exact.
    #[test]
    fn a_ring_for_each_direction(seed: u64, evictions in 0..20u64) {
        prop_assert_eq!(run(seed, Spread::ByDirection, true, evictions)[0], 0);
    }

    /// Packets of one direction over several rings: what is not flagged is exact.
    #[test]
    fn a_ring_for_each_packet(seed: u64, evictions in 0..20u64) {
        run(seed, Spread::ByPacket, true, evictions);
    }

    /// One ring: the same batches, row for row, whatever the number of shards and the seed of the table's hash.
    #[test]
    fn batches_do_not_depend_on_shards(seed: u64) {
        let scene = scene::scene(seed, Spread::One, true);
        let rings = meter::rings(&scene, Spread::One, seed, 5, SECOND);
        let content = |shards| -> Vec<(i64, Vec<Flow>)> {
            batches(&rings, shards, seed + shards as u64)
                .into_iter()
                .map(|batch| (batch.watermark(), batch.rows().cloned().collect::<Vec<_>>()))
                .collect()
        };
        let one = content(1);
        prop_assert_eq!(&one, &content(2));
        prop_assert_eq!(&one, &content(4));
    }

    /// Several rings: the same rows, in whatever order the shards see the rings.
    #[test]
    fn rows_do_not_depend_on_the_order_of_rings(seed: u64) {
        let scene = scene::scene(seed, Spread::ByPacket, true);
        let rings = meter::rings(&scene, Spread::ByPacket, seed, 5, SECOND);
        let one = rows(&batches(&rings, 1, seed));
        prop_assert_eq!(&one, &rows(&batches(&rings, 1, seed + 1)));
        prop_assert_eq!(&one, &rows(&batches(&rings, 4, seed + 2)));
    }

    /// A full table loses nothing and never holds more than it may.
    #[test]
    fn a_bounded_table_conserves_packets(seed: u64, max_flows in 1..6u32) {
        let mut dice = Dice(seed | 1);
        let mut table = Table::new(settings(1, seed, max_flows));
        let (mut at, mut fed, mut written, mut reasons) = (SECOND, 0, Vec::new(), 0);
        for _ in 0..200 {
            at += dice.roll(SECOND / 4);
            table.deltas(0, &[delta(dice.roll(12) as usize, at)]);
            fed += 1;
            prop_assert!(table.statistics().live <= u64::from(max_flows));
            if dice.one_in(10) {
                written.extend(table.mark(mark(0, at)).into_iter().flat_map(|epoch| epoch.rows));
            }
        }
        written.extend(table.close(0).into_iter().flat_map(|epoch| epoch.rows));
        prop_assert_eq!(written.iter().map(|row| row.side[Direction::Forward].packets).sum::<u64>(), fed);
        for row in &written {
            reasons += u64::from(row.end_reason == FlowEndReason::LackOfResources);
        }
        prop_assert_eq!(reasons, table.statistics().evicted);
        prop_assert_eq!(table.statistics().exported.iter().sum::<u64>(), written.len() as u64);
    }
}

/// One UDP packet of flow `flow`.
fn delta(flow: usize, at: u64) -> Delta {
    let mut delta = Delta { key: scene::key(flow, 1), base: at, ..Delta::default() };
    delta.header.packets = [1, 0];
    delta.side[0].volume.octets = 100;
    delta.first_count = 1;
    delta
}

#[test]
fn in_order_single_run_connections_are_exact() {
    let mut flagged = 0;
    let mut compared = 0;
    for seed in 0..300 {
        flagged += run(seed, Spread::One, false, 0)[1];
        compared += 1;
    }
    // Only a SYN in the middle of a connection restarts a meter's tracker.
    assert!(flagged * 2 < compared, "{flagged} of {compared}");
}

#[test]
fn the_longest_silent_flow_is_evicted() {
    let mut table = Table::new(settings(1, 1, 3));
    for (flow, second) in [(0, 1), (1, 2), (2, 3), (0, 4), (3, 5), (4, 5)] {
        table.deltas(0, &[delta(flow, second * SECOND)]);
    }
    let rows = table.mark(mark(0, 5 * SECOND)).map(|epoch| epoch.rows).unwrap_or_default();
    let evicted: Vec<_> = rows.iter().map(|row| (row.start, row.end_reason)).collect();
    // Written before the first Mark, so in observation time.
    assert_eq!(evicted, [2, 3].map(|second| (second * SECOND as i64, FlowEndReason::LackOfResources)));
}

fn reasons(epoch: &Epoch) -> Vec<(u64, FlowEndReason)> {
    epoch.rows.iter().map(|row| (row.side[Direction::Forward].packets, row.end_reason)).collect()
}

#[test]
fn the_watermark_is_the_oldest_mark_of_the_open_rings() {
    let mut table = Table::new(settings(3, 1, 100));
    table.deltas(1, &[delta(0, SECOND)]);
    assert!(table.mark(mark(0, 50 * SECOND)).is_none());
    assert!(table.mark(mark(1, 4 * SECOND)).is_none());
    assert!(table.mark(mark(9, 4 * SECOND)).is_none(), "no such ring");
    let first = table.mark(mark(2, 60 * SECOND)).expect("all rings have marked");
    assert_eq!((first.watermark, first.rows.len()), (4 * SECOND, 0));
    assert!(table.mark(mark(2, 61 * SECOND)).is_none(), "ring 1 holds it");
    let second = table.close(1).expect("ring 1 holds it no longer");
    assert_eq!((second.watermark, reasons(&second)), (50 * SECOND, vec![(1, FlowEndReason::IdleTimeout)]));
    assert!(table.mark(mark(1, 70 * SECOND)).is_none(), "closed");
    assert!(table.close(0).is_some_and(|epoch| epoch.watermark == 61 * SECOND));
    assert!(table.close(2).is_some_and(|epoch| epoch.watermark == u64::MAX));
    assert!(table.close(2).is_none());
}

#[test]
fn a_clock_step_ends_all_flows_and_time_begins_anew() {
    let mut table = Table::new(settings(1, 1, 100));
    table.deltas(0, &[delta(0, 1000 * SECOND), delta(0, 1001 * SECOND)]);
    assert!(table.mark(mark(0, 1001 * SECOND)).is_some());
    let step = table.clock_step().expect("the last epoch of its era");
    assert_eq!((step.era, step.watermark, reasons(&step)), (0, u64::MAX, vec![(2, FlowEndReason::ForcedEnd)]));
    table.deltas(0, &[delta(0, SECOND)]);
    let next = table.mark(mark(0, 20 * SECOND)).expect("an earlier time is new in another era");
    assert_eq!((next.era, reasons(&next)), (1, vec![(1, FlowEndReason::IdleTimeout)]));
    assert_eq!(table.statistics().exported, [1, 0, 0, 1, 0]);
}

#[test]
fn too_many_waiting_deltas_are_merged_early() {
    let mut table = Table::new(settings(2, 1, 100));
    let deltas: Vec<Delta> = (0..1000).map(|nth| delta(0, SECOND + nth)).collect();
    for _ in 0..=super::HELD_MAX / deltas.len() {
        table.deltas(0, &deltas);
    }
    let statistics = table.statistics();
    assert_eq!(statistics.hurried, statistics.deltas);
    assert!(statistics.hurried > 0 && statistics.held <= super::HELD_MAX as u64);
    assert!(table.close(0).is_none());
    let rows = table.close(1).map(|epoch| reasons(&epoch)).unwrap_or_default();
    assert_eq!(rows.iter().map(|row| row.0).sum::<u64>(), (super::HELD_MAX as u64 / 1000 + 1) * 1000);
}

/// A later fragment (`later`) or a datagram's first fragment, with that IP identification.
fn fragment(later: bool, identification: u32, at: u64) -> Delta {
    let mut delta = delta(0, at);
    if later {
        (delta.key.form, delta.key.port) = (FORM_IPV4 | FORM_FRAGMENT, [0, 0]);
    }
    delta.side[0].stack.fragments = if later { FRAGMENT_LATER } else { FRAGMENT_FIRST };
    delta.fragment = identification;
    delta
}

#[test]
fn later_fragments_are_linked_to_the_flow_of_the_first() {
    for (order, linked) in [([(false, 7), (true, 7)], true), ([(true, 7), (false, 7)], true), ([(false, 7), (true, 8)], false)] {
        let mut table = Table::new(settings(1, 1, 100));
        for (nth, (later, identification)) in order.into_iter().enumerate() {
            table.deltas(0, &[fragment(later, identification, SECOND + nth as u64)]);
        }
        let rows = table.close(0).map(|epoch| epoch.rows).unwrap_or_default();
        let first = rows.iter().find(|row| !row.is_fragment).expect("the flow with ports");
        let later = rows.iter().find(|row| row.is_fragment).expect("the flow of fragments");
        assert_eq!(later.fragment_of, linked.then_some(first.flow_id));
        assert_eq!((later.endpoint[Direction::Forward].port, first.fragment_of), (None, None));
        assert_eq!(shard(&fragment(false, 7, 0).key), shard(&fragment(true, 7, 0).key));
    }
}

#[test]
fn shards_share_the_flows_out() {
    let mut counts = [0u32; 4];
    for flow in 0..4000 {
        counts[shard(&scene::key(flow, 4)) as usize % 4] += 1;
    }
    assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
}

/// Rows of twelve thousand flows, most of which end at one Mark, from tables that hand them over in parts.
fn in_parts(shards: usize, seed: u64) -> Vec<(i64, u64, u32)> {
    let mut merge = Merge::new(shards);
    let mut tables: Vec<Table> = (0..shards).map(|_| Table::new(settings(1, seed, 1 << 20))).collect();
    let mut push = |tables: &mut [Table], turn: &dyn Fn(&mut Table) -> Option<Epoch>| {
        for (number, table) in tables.iter_mut().enumerate() {
            let mut epoch = turn(table);
            while let Some(part) = epoch {
                assert!(part.rows.len() <= EPOCH_ROWS && part.part != super::Part::Early);
                merge.push(number, part);
                epoch = table.more();
            }
        }
    };
    for nth in 0..12_000_u32 {
        let mut delta = delta(0, SECOND + u64::from(nth % 977) * 1000);
        delta.key.address[1][..4].copy_from_slice(&(0x0a00_0000 + nth).to_be_bytes());
        let number = shard(&delta.key) as usize % shards;
        assert!(tables[number].deltas(0, &[delta]).is_none());
        if nth as usize % EPOCH_ROWS == EPOCH_ROWS - 1 {
            push(&mut tables, &Table::end_span);
        }
    }
    // A few go on, and end with the ring.
    for nth in 0..100_u32 {
        let mut delta = delta(0, 2 * SECOND);
        delta.key.address[1][..4].copy_from_slice(&(0x0b00_0000 + nth).to_be_bytes());
        let number = shard(&delta.key) as usize % shards;
        tables[number].deltas(0, &[delta]);
    }
    push(&mut tables, &|table| table.mark(mark(0, SECOND + IDLE + 2 * SECOND)));
    push(&mut tables, &|table| table.close(0));
    let mut rows = Vec::new();
    while let Some(batch) = merge.next_batch() {
        rows.extend(batch.rows().map(Flow::sort_key));
    }
    assert_eq!((merge.waiting(), rows.len()), (0, 12_100));
    rows
}

#[test]
fn parts_come_in_the_order_that_one_shard_gives() {
    let one = in_parts(1, 1);
    assert!(one.windows(2).filter(|rows| rows[0] > rows[1]).count() <= 4, "in order within an epoch");
    for shards in [2, 3, 7] {
        assert!(in_parts(shards, 2) == one, "{shards} shards");
    }
}
