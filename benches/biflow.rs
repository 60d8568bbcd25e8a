//! What the biflow table costs: nanoseconds per delta merged and per row written, medians over rounds.
//!
//! `cargo bench -p auscult-benches --bench biflow [-- --json]`
#![expect(clippy::disallowed_methods, reason = "a bench measures time")]

use std::{hint::black_box, sync::Arc, time::Instant};

use auscult::{
    batch::RingMark,
    biflow::{BiflowSettings, Table},
    flow::Flow,
};
use auscult_ebpf::record::{
    ABI, DELTA_CONTINUES, DELTA_HAS_MACS, Delta, FORM_IPV4, FlowKey, Kind, SEEN_ACK, SEEN_LOW, SEEN_SEQUENCE,
};

/// Live flows.
const FLOWS: u32 = 100_000;
/// Deltas that one message carries.
const BATCH: usize = 256;
/// Deltas merged in a round.
const DELTAS: usize = 400_000;
/// Rounds; the median counts.
const ROUNDS: usize = 9;
/// Start of record time, ns.
const START: u64 = 1_000_000_000_000;
/// One tick, ns.
const TICK: u64 = 1 << 29;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let a = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((b >> 32) * u64::from(sides)) >> 32) as u32
    }
}

/// A delta of ten TCP packets in both directions, as an eviction makes it.
fn delta(flow: u32, at: u64, nth: u32, continues: bool) -> Delta {
    let mut key = FlowKey { port: [443, 1024 + (flow % 60_000) as u16], protocol: 6, form: FORM_IPV4, ..FlowKey::default() };
    key.address[0][..4].copy_from_slice(&[10, 0, 0, (flow % 200) as u8]);
    key.address[1][..4].copy_from_slice(&(0x0a01_0000 + flow / 7).to_be_bytes());
    let mut delta = Delta { key, base: at, ..Delta::default() };
    delta.header.kind = Kind::Delta as u8;
    delta.header.abi = ABI;
    delta.header.packets = [6, 4];
    delta.flags = DELTA_HAS_MACS | if continues { DELTA_CONTINUES } else { 0 };
    delta.first_count = 8;
    delta.first_sent = if continues { 8 } else { 0 };
    for i in 0..8 {
        (delta.first_at[i], delta.first_size[i]) = (i as u32 * 1000, 900);
    }
    delta.first_direction = 0b1010_1010;
    for d in 0..2 {
        let volume = &mut delta.side[d].volume;
        (volume.octets, volume.layer2_octets, volume.payload_octets) = (5000, 5084, 4700);
        (volume.octets_squared, volume.interval_squared) = (4_000_000, 90_000_000_000);
        (volume.first, volume.last, volume.interval_min, volume.interval_max) = (d as u32, 900_000, 100, 500_000);
        (volume.size_min, volume.size_max) = (40, 1500);
        volume.histogram = [2, 0, 0, 1, 0, 0, 1, 0];
        let stack = &mut delta.side[d].stack;
        stack.seen = SEEN_ACK | SEEN_LOW | SEEN_SEQUENCE;
        stack.sequence_low = nth * 5000;
        stack.sequence_next = (nth + 1) * 5000;
        (stack.control_bits, stack.ttl_min, stack.ttl_max) = (0x18, 60, 64);
    }
    delta
}

fn table(max_flows: u32) -> Table {
    Table::new(BiflowSettings {
        idle_timeout_nanos: 60_000_000_000,
        active_timeout_nanos: 1_800_000_000_000,
        max_flows,
        rings: 1,
        site: Arc::from("bench"),
        seed: 1,
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Deltas of random live flows, a message at a time; each message is made before the clock starts.
fn merge_cost(flows: u32) -> (f64, u64) {
    let mut table = table(1 << 20);
    let mut dice = Dice(7);
    let mut nth = vec![0u32; flows as usize];
    for flow in 0..flows {
        table.deltas(0, &[delta(flow, START, 0, false)]);
    }
    let mut at = START;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        at += TICK;
        let mut spent = 0;
        for message in 0..DELTAS / BATCH {
            let deltas: Vec<Delta> = (0..BATCH)
                .map(|i| {
                    let flow = dice.roll(flows);
                    nth[flow as usize] += 1;
                    delta(flow, at + (message * BATCH + i) as u64 * 1000, nth[flow as usize], dice.roll(2) == 0)
                })
                .collect();
            let start = Instant::now();
            table.deltas(0, black_box(&deltas));
            spent += start.elapsed().as_nanos();
        }
        rounds.push(spent as f64 / DELTAS as f64);
    }
    (median(rounds), table.statistics().memory_bytes / u64::from(flows))
}

/// New flows only, each with one delta: what opening costs.
fn open_cost() -> f64 {
    let mut rounds = Vec::new();
    for round in 0..ROUNDS as u64 {
        let mut table = table(1 << 20);
        let mut spent = 0;
        for message in 0..FLOWS as usize / BATCH {
            let deltas: Vec<Delta> = (0..BATCH).map(|i| delta((message * BATCH + i) as u32, START + round, 0, false)).collect();
            let start = Instant::now();
            table.deltas(0, black_box(&deltas));
            spent += start.elapsed().as_nanos();
        }
        rounds.push(spent as f64 / f64::from(FLOWS));
    }
    median(rounds)
}

/// Flows that end by idle timeout, five thousand at each Mark.
fn row_cost() -> f64 {
    const MARKS: u64 = 20;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let mut table = table(1 << 20);
        for flow in 0..FLOWS {
            table.deltas(0, &[delta(flow, START + u64::from(flow) % MARKS * TICK, 0, false)]);
        }
        let (mut rows, mut spent) = (0, 0);
        for nth in 0..200 {
            let start = Instant::now();
            let epoch = table.mark(RingMark { ring: 0, at: START + nth * TICK, utc_offset: 5 });
            spent += start.elapsed().as_nanos();
            rows += epoch.into_iter().chain(std::iter::from_fn(|| table.more())).map(|epoch| epoch.rows.len()).sum::<usize>();
        }
        assert_eq!(rows, FLOWS as usize, "every flow is written");
        rounds.push(spent as f64 / f64::from(FLOWS));
    }
    median(rounds)
}

/// A full table: every delta opens a flow and evicts another.
fn flood_cost() -> f64 {
    let mut table = table(FLOWS);
    for flow in 0..FLOWS {
        table.deltas(0, &[delta(flow, START, 0, false)]);
    }
    let mut rounds = Vec::new();
    let mut flow = FLOWS;
    let mut at = START;
    for _ in 0..ROUNDS {
        let mut spent = 0;
        for _ in 0..FLOWS as usize / BATCH {
            let deltas: Vec<Delta> = (0..BATCH).map(|i| delta(flow + i as u32, at, 0, false)).collect();
            flow += BATCH as u32;
            let start = Instant::now();
            table.deltas(0, black_box(&deltas));
            spent += start.elapsed().as_nanos();
        }
        at += 3 * TICK;
        black_box(table.mark(RingMark { ring: 0, at, utc_offset: 5 }));
        rounds.push(spent as f64 / f64::from(FLOWS));
    }
    median(rounds)
}

fn main() {
    let json = std::env::args().any(|argument| argument == "--json");
    let (merge, memory) = merge_cost(FLOWS);
    let (merge_hot, _) = merge_cost(1000);
    let figures = [
        ("delta_100k_flows_ns", merge),
        ("delta_1k_flows_ns", merge_hot),
        ("delta_opens_flow_ns", open_cost()),
        ("delta_evicts_flow_ns", flood_cost()),
        ("row_ns", row_cost()),
        ("memory_per_flow_bytes", memory as f64),
        ("row_bytes", size_of::<Flow>() as f64),
    ];
    if json {
        let fields: Vec<String> = figures.iter().map(|(name, value)| format!("\"{name}\": {value:.1}")).collect();
        println!("{{{}}}", fields.join(", "));
    } else {
        for (name, value) in figures {
            println!("{name:24} {value:10.1}");
        }
    }
}
