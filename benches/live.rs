//! The live path as a whole: frames made in the kernel (live frames of `BPF_PROG_TEST_RUN`), redirected into a veth link, at whose other
//! end a program that only counts, or an engine with everything on, takes them: `cargo xtask bench live [--json]`; needs root.
//!
//! Generator and program share one CPU, so the bare counting program says what the generator makes at most. The engine drains,
//! merges and writes Parquet on the other CPUs meanwhile. All take turns within each round; the median over rounds is reported.

use std::{sync::Arc, thread, time::Duration};

use anyhow::{Result, ensure};
use auscult::{
    config::{Config, Disposition},
    lab::{Flood, Lab, MTU},
    pipeline,
    progress::Progress,
    scene::frame::{self, Ip, Link, Pair},
    shutdown::Shutdown,
};
use auscult_ebpf::settings::Settings;
use serde_json::json;
use workload::kernel::{Kernel, NoStats, pin};

static OBJECT: &[u8] = aya::include_bytes_aligned!("../engine-ebpf/object/auscult-bench.bpf.o");

const ROUNDS: usize = 5;
const FRAMES: u32 = 2_000_000;
/// Frames before the clock starts.
const WARM: u32 = 200_000;
/// Time for an engine to come up.
const UP_WITHIN: Duration = Duration::from_secs(30);
/// Flows of the engine's turns; the flow cache has room for 4,096.
const FLOWS: [u32; 3] = [1, 1024, 65_536];

/// What one turn came to.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    /// Million frames a second at the tap.
    mpps: f64,
    /// Share of them in Parquet rows.
    stored: f64,
}

fn main() -> Result<()> {
    let as_json = std::env::args().any(|argument| argument == "--json");
    let _stats = NoStats::new();
    let (mut counting, mut engine) = (Vec::new(), [const { Vec::new() }; FLOWS.len()]);
    for _ in 0..ROUNDS {
        counting.push(count()?);
        for (flows, turns) in FLOWS.iter().zip(&mut engine) {
            turns.push(meter(*flows)?);
        }
    }
    let bare = median(&counting);
    let engine: Vec<(u32, Turn)> = FLOWS.into_iter().zip(engine.iter().map(|turns| median(turns))).collect();
    if as_json {
        let turns = engine.iter().map(|(flows, turn)| {
            json!({"flows": flows, "mpps": turn.mpps, "ratio_to_counting": turn.mpps / bare.mpps, "stored": turn.stored})
        });
        println!("{}", json!({"counting_mpps": bare.mpps, "engine": turns.collect::<Vec<_>>()}));
        return Ok(());
    }
    println!("at the tap         Mpps  of counting  stored");
    println!("counting only     {:>5.2}", bare.mpps);
    for (flows, turn) in engine {
        println!("engine, {flows:>5} fl. {:>5.2}  {:>11.2}  {:>5.1} %", turn.mpps, turn.mpps / bare.mpps, turn.stored * 100.0);
    }
    Ok(())
}

fn median(turns: &[Turn]) -> Turn {
    let mut turns = turns.to_vec();
    turns.sort_by(|a, b| a.mpps.total_cmp(&b.mpps));
    turns.get(turns.len() / 2).copied().unwrap_or_default()
}

/// A small UDP datagram.
fn datagram() -> Vec<u8> {
    let pair = Pair::V4([10, 1, 0, 1].into(), [10, 2, 0, 2].into());
    let link = Link { target: [2, 0, 0, 0, 0, 2], source: [2, 0, 0, 0, 0, 1], tags: Vec::new() };
    let segment = frame::udp(pair, [1, 4000], &[7; 18]);
    let packet = frame::packets(&Ip::new(pair, frame::UDP), &segment, 1500).remove(0);
    frame::ethernet(&link, frame::ETHERTYPE_IPV4, &packet)
}

/// Floods a tap from CPU 0 and says how many million frames a second it received.
fn flooded(lab: &Lab, flood: &Flood<'_>) -> Result<f64> {
    let received = || -> Result<u64> { Ok(lab.tap_traffic("tap0")?.received) };
    flood.play(WARM)?;
    let before = received()?;
    let seconds = flood.play(FRAMES)?.as_secs_f64();
    let arrived = received()? - before;
    ensure!(arrived > u64::from(FRAMES) / 2, "only {arrived} of {FRAMES} frames reached the tap");
    Ok(arrived as f64 / seconds / 1e6)
}

/// The bare counting program.
fn count() -> Result<Turn> {
    let lab = Lab::pair(MTU)?;
    let flood = Flood::new(&lab, 0, &datagram(), 1)?;
    let mut kernel = Kernel::load(OBJECT, Settings::plain())?;
    kernel.load_program("bench_count")?;
    lab.tap().run(|| kernel.attach("bench_count", "tap0"))??;
    let mpps = on_first_cpu(|| flooded(&lab, &flood))?;
    Ok(Turn { mpps, stored: 0.0 })
}

/// An engine with everything on.
fn meter(flows: u32) -> Result<Turn> {
    let lab = Lab::pair(MTU)?;
    let flood = Flood::new(&lab, 0, &datagram(), flows)?;
    let folder = tempfile::tempdir()?;
    let mut config = Config { listen: None, ..Config::default() };
    config.interfaces = vec![Arc::from("tap0")];
    config.meter.disposition = Disposition::Drop;
    let go = Shutdown::new();
    thread::scope(|scope| {
        let player = scope.spawn(|| {
            ensure!(go.wait(UP_WITHIN), "the engine never came up");
            on_first_cpu(|| flooded(&lab, &flood))
        });
        let progress = Arc::new(Progress::new());
        let outcome = pipeline::run_inside(&config, folder.path(), lab.tap(), &progress, || {
            go.request();
            thread::sleep(Duration::from_millis(20));
            player.is_finished()
        });
        let mpps = player.join().map_err(|_| anyhow::anyhow!("the flood died"))??;
        if let Some(error) = outcome.error {
            return Err(error.into());
        }
        let summary = outcome.summary;
        ensure!(summary.balanced(), "the ledger does not close: {summary:?}");
        Ok(Turn { mpps, stored: summary.packets_metered as f64 / summary.packets_seen as f64 })
    })
}

/// Runs something on a thread of its own, pinned to the first CPU.
fn on_first_cpu<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let pinned = || {
        pin(0);
        work()
    };
    thread::scope(|scope| scope.spawn(pinned).join()).map_err(|_| anyhow::anyhow!("a thread died"))?
}
