//! Replay stage by stage on the capture workload: packets per second, CPU per packet and per thread, memory, bytes per row.
//!
//! `cargo bench -p auscult-benches --bench pipeline -- [--json] [--rounds N] [--packets N] [--without-tenfold]`
//!
//! Each stage runs with all before it, in a process of its own, rounds interleaved; the last one is the engine's whole replay.

use std::{
    collections::BTreeMap,
    hint::black_box,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use auscult::{
    batch::Message,
    biflow::{BiflowSettings, Epoch, Merge, Table},
    capture::{
        native::{DropSamples, NativeMeter},
        outlets::{Gone, Outlets},
        replay::{Replay, link},
    },
    config::Config,
    flow::ObservationPoint,
    lake::{LakeSettings, Writer},
    pipeline::{self, ReplayRequest},
    progress::Progress,
    shutdown::Shutdown,
};
use auscult_ebpf::{frame::Slice, parse, record::Delta, settings::Settings};
use crossbeam::channel::{self, Receiver, Sender};
use serde_json::{Value, json};
use workload::{
    capture::{self, Workload},
    measure::{self, Ended, by_column, cpu_seconds, median},
};

/// Every stage with all before it.
const STAGES: [&str; 6] = ["read", "parse", "meter", "biflow", "lake", "replay"];
/// The argument that makes this process run one stage.
const STAGE: &str = "--stage";
/// Deltas of one message.
const BATCH: usize = 256;
/// Messages on their way between two threads.
const QUEUE: usize = 64;

struct Options {
    json: bool,
    rounds: usize,
    packets: u64,
    tenfold: bool,
}

/// One run of a stage.
struct Run {
    ended: Ended,
    figures: Value,
}

/// What a stage counted and how much CPU its threads took.
#[derive(Default)]
struct Counted {
    packets: u64,
    deltas: u64,
    rows: u64,
    bytes: u64,
    cpu: BTreeMap<&'static str, f64>,
}

fn main() -> Result<()> {
    if capture::made_on_request()? {
        return Ok(());
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, stage, file, directory] = words.as_slice()
        && flag == STAGE
    {
        return child(stage, Path::new(file), Path::new(directory));
    }
    let options = options(words)?;
    let workload = capture::workload(options.packets)?;
    let mut runs: Vec<Vec<Run>> = STAGES.iter().map(|_| Vec::new()).collect();
    let mut columns = BTreeMap::new();
    for round in 0..options.rounds {
        for (stage, runs) in STAGES.iter().zip(&mut runs) {
            eprintln!("round {} of {}: {stage}", round + 1, options.rounds);
            let keep = (*stage == "replay").then_some(&mut columns);
            runs.push(one(stage, &workload.path, keep)?);
        }
    }
    let tenfold = if options.tenfold { Some(tenfold(&options)?) } else { None };
    report(&options, &workload, &runs, &columns, tenfold.as_ref());
    Ok(())
}

fn options(words: Vec<String>) -> Result<Options> {
    let mut options = Options { json: false, rounds: 5, packets: capture::PACKETS, tenfold: true };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "--json" => options.json = true,
            "--rounds" => options.rounds = value()?.parse::<usize>()?.max(1),
            "--packets" => options.packets = value()?.parse()?,
            "--without-tenfold" => options.tenfold = false,
            _ => {}
        }
    }
    Ok(options)
}

/// Runs a stage in a process of its own; `columns` gets the bytes of its flow rows by column.
fn one(stage: &str, file: &Path, columns: Option<&mut BTreeMap<String, i64>>) -> Result<Run> {
    let directory = tempfile::tempdir_in(capture::target()?)?;
    let mut command = Command::new(std::env::current_exe()?);
    let ended = measure::run(command.args([STAGE, stage]).arg(file).arg(directory.path()))?;
    ensure!(ended.success, "stage {stage}: {}", ended.errors.trim());
    let figures = serde_json::from_str(&ended.output).with_context(|| format!("stage {stage} printed {}", ended.output))?;
    let flows = directory.path().join("lake/flows");
    if let Some(columns) = columns
        && flows.exists()
    {
        columns.clear();
        by_column(&flows, columns)?;
    }
    Ok(Run { ended, figures })
}

/// The whole replay, once on the workload and once on ten times as much, in turns.
fn tenfold(options: &Options) -> Result<Value> {
    let (one_fold, ten_fold) = (capture::workload(options.packets)?, capture::workload(options.packets * 10)?);
    let (mut short, mut long) = (Vec::new(), Vec::new());
    for round in 0..options.rounds.min(3) {
        eprintln!("round {}: ten times the packets", round + 1);
        short.push(one("replay", &one_fold.path, None)?);
        long.push(one("replay", &ten_fold.path, None)?);
    }
    let seconds = |runs: &[Run]| median(runs.iter().map(|run| run.ended.seconds));
    let peak = |runs: &[Run]| median(runs.iter().map(|run| run.ended.peak_bytes as f64));
    Ok(json!({
        "packets": [one_fold.packets, ten_fold.packets], "seconds": [seconds(&short), seconds(&long)],
        "time_ratio": seconds(&long) / seconds(&short), "peak_bytes": [peak(&short), peak(&long)],
    }))
}

#[expect(clippy::disallowed_methods, reason = "a bench times what it runs")]
fn child(stage: &str, file: &Path, directory: &Path) -> Result<()> {
    let begin = Instant::now();
    let mut counted = match stage {
        "read" => frames(file, |_, octets, _| {
            black_box(octets);
        }),
        "parse" => frames(file, |link, octets, wire| {
            if let Ok(start) = link::start(link, octets) {
                let mut packet = parse::Packet::default();
                let _ = parse::parse(&Slice::new(octets, wire), start, false, &mut packet);
                black_box(&packet);
            }
        }),
        "replay" => replay(file, directory),
        _ => staged(stage, file, directory),
    }?;
    if stage != "replay" && stage != "meter" && counted.cpu.is_empty() {
        counted.cpu.insert("capture", cpu_seconds());
    }
    let figures = json!({
        "packets": counted.packets, "deltas": counted.deltas, "rows": counted.rows, "bytes": counted.bytes,
        "cpu_seconds": counted.cpu, "seconds": begin.elapsed().as_secs_f64(),
    });
    println!("{figures}");
    Ok(())
}

fn frames(file: &Path, mut each: impl FnMut(u32, &[u8], u32)) -> Result<Counted> {
    let mut replay = Replay::open(&[file.to_owned()])?;
    let mut counted = Counted::default();
    while let Some(frame) = replay.next_frame()? {
        counted.packets += 1;
        each(frame.link_type, frame.octets, frame.wire_octets);
    }
    Ok(counted)
}

/// One thread per stage, joined as the engine joins them, with one shard.
fn staged(stage: &str, file: &Path, directory: &Path) -> Result<Counted> {
    let (messages, from_meter) = channel::bounded(QUEUE);
    let (empty, recycled) = channel::bounded(QUEUE);
    let (ledger, ledgers) = channel::unbounded();
    let (epochs, from_table) = channel::bounded(QUEUE);
    let outlets = Outlets { shards: vec![messages], ledger, recycled, batch_deltas: BATCH };
    let (has_table, has_lake) = (stage != "meter", stage == "lake");
    let table = thread::spawn(move || {
        let (deltas, cpu) = if has_table { biflows(&from_meter, &empty, &epochs) } else { drain(&from_meter, &empty) };
        drop(epochs);
        (deltas, cpu)
    });
    let directory = directory.to_owned();
    let lake = thread::spawn(move || rows(&from_table, has_lake.then_some(directory)));
    let mut counted = meter(file, outlets)?;
    drop(ledgers);
    let (deltas, table_cpu) = table.join().ok().context("the biflow thread panicked")?;
    let written = lake.join().ok().context("the lake thread panicked")??;
    counted.deltas = deltas;
    (counted.rows, counted.bytes) = (written.rows, written.bytes);
    if has_table {
        counted.cpu.insert("biflow", table_cpu);
    }
    if has_lake {
        counted.cpu.extend(written.cpu);
    }
    Ok(counted)
}

fn meter(file: &Path, outlets: Outlets) -> Result<Counted> {
    let mut replay = Replay::open(&[file.to_owned()])?;
    let batches = auscult::capture::outlets::Batches::new(0, outlets);
    let mut meter = NativeMeter::new(Settings::plain(), batches, Box::new(DropSamples));
    let gone = |_: Gone| anyhow::anyhow!("a later stage ended early");
    let mut counted = Counted::default();
    while let Some(frame) = replay.next_frame()? {
        counted.packets += 1;
        meter.frame(&frame).map_err(gone)?;
    }
    meter.finish().map_err(gone)?;
    counted.cpu.insert("capture", cpu_seconds());
    Ok(counted)
}

fn drain(from: &Receiver<Message>, empty: &Sender<Vec<Delta>>) -> (u64, f64) {
    let mut count = 0;
    for message in from {
        if let Message::Deltas { deltas, .. } = message {
            count += deltas.len() as u64;
            let _ = empty.try_send(deltas);
        }
    }
    (count, cpu_seconds())
}

fn biflows(from: &Receiver<Message>, empty: &Sender<Vec<Delta>>, epochs: &Sender<Epoch>) -> (u64, f64) {
    let biflow = Config::default().biflow;
    let mut table = Table::new(BiflowSettings {
        idle_timeout_nanos: biflow.idle_timeout.as_nanos() as u64,
        active_timeout_nanos: biflow.active_timeout.as_nanos() as u64,
        max_flows: biflow.max_flows as u32,
        rings: 1,
        site: Arc::from("bench"),
        seed: 1,
    });
    let mut count = 0;
    for message in from {
        let mut epoch = table.message(&message);
        if let Message::Deltas { deltas, .. } = message {
            count += deltas.len() as u64;
            let _ = empty.try_send(deltas);
        }
        while let Some(part) = epoch {
            let _ = epochs.send(part);
            epoch = table.more();
        }
    }
    (count, cpu_seconds())
}

/// Rows of all epochs, written when there is a directory.
fn rows(from: &Receiver<Epoch>, directory: Option<PathBuf>) -> Result<Counted> {
    let points = [ObservationPoint { name: Arc::from("if0") }];
    let mut counted = Counted::default();
    let mut merge = Merge::new(1);
    let mut writer = match directory {
        Some(directory) => Some(Writer::open(&directory, "bench", &LakeSettings::default(), "bench")?),
        None => None,
    };
    for epoch in from {
        merge.push(0, epoch);
        while let Some(batch) = merge.next_batch() {
            counted.rows += batch.len() as u64;
            match &mut writer {
                Some(writer) => writer.flows(&batch, &points)?,
                None => drop(black_box(batch)),
            }
        }
    }
    if let Some(writer) = writer {
        let (totals, outcome) = writer.close();
        outcome?;
        counted.bytes = totals.bytes;
    }
    counted.cpu.insert("lake", cpu_seconds());
    Ok(counted)
}

/// The engine's own replay.
fn replay(file: &Path, directory: &Path) -> Result<Counted> {
    let request = ReplayRequest { inputs: vec![file.to_owned()], data: directory.to_owned(), speed: None, listen: None };
    let outcome = pipeline::replay(&Config::default(), &request, &Shutdown::new(), &Arc::new(Progress::new()));
    if let Some(error) = outcome.error {
        return Err(error.into());
    }
    let summary = serde_json::to_value(&outcome.summary)?;
    let number = |name: &str| summary[name].as_u64().unwrap_or_default();
    ensure!(summary["imbalance"]["packets"] == 0, "the ledger does not close: {summary}");
    Ok(Counted { packets: number("packets_seen"), rows: number("flows"), bytes: number("bytes_written"), ..Counted::default() })
}

fn report(options: &Options, workload: &Workload, runs: &[Vec<Run>], columns: &BTreeMap<String, i64>, tenfold: Option<&Value>) {
    let stages: Vec<Value> = STAGES.iter().zip(runs).map(|(stage, runs)| summary(stage, runs)).collect();
    let rows = stages.last().and_then(|stage| stage["rows"].as_f64()).unwrap_or(0.0).max(1.0);
    let mut by_column: Vec<(&String, f64)> = columns.iter().map(|(name, &bytes)| (name, bytes as f64 / rows)).collect();
    by_column.sort_by(|a, b| b.1.total_cmp(&a.1));
    let bytes_per_row = stages.last().map_or(0.0, |stage| stage["bytes"].as_f64().unwrap_or(0.0) / rows);
    if options.json {
        let columns: BTreeMap<_, _> = by_column.iter().map(|(name, bytes)| (name.as_str(), bytes)).collect();
        let out = json!({
            "machine": measure::machine(), "rounds": options.rounds, "workload": workload.figures, "stages": stages,
            "tenfold": tenfold, "bytes_per_row": bytes_per_row, "bytes_per_row_by_column": columns,
        });
        println!("{out:#}");
        return;
    }
    println!("{}\nworkload: {}", measure::machine(), workload.figures);
    println!("stage     packets/s  ns/packet  CPU ns/packet  peak MiB    deltas      rows  CPU s by thread");
    for stage in &stages {
        let number = |name: &str| stage[name].as_f64().unwrap_or(0.0);
        println!(
            "{:8} {:10.0} {:10.0} {:14.0} {:9.0} {:9.0} {:9.0}  {}",
            stage["stage"].as_str().unwrap_or_default(),
            number("packets_per_second"),
            number("nanos_per_packet"),
            number("cpu_nanos_per_packet"),
            number("peak_bytes") / f64::from(1 << 20),
            number("deltas"),
            number("rows"),
            stage["cpu_seconds_by_thread"],
        );
    }
    if let Some(tenfold) = tenfold {
        println!("ten times the packets: {tenfold}");
    }
    println!("{bytes_per_row:.1} bytes per flow row");
    for (name, bytes) in by_column {
        println!("{bytes:8.2}  {name}");
    }
}

/// Medians of one stage.
fn summary(stage: &str, runs: &[Run]) -> Value {
    let middle = |of: fn(&Run) -> f64| median(runs.iter().map(of));
    let packets = runs.last().and_then(|run| run.figures["packets"].as_f64()).unwrap_or(0.0);
    let seconds = middle(|run| run.ended.seconds);
    let cpu = middle(|run| run.ended.user_seconds + run.ended.system_seconds);
    let last = runs.last().map(|run| run.figures.clone()).unwrap_or_default();
    let threads = last["cpu_seconds"].as_object().cloned().unwrap_or_default();
    let threads: BTreeMap<String, f64> = threads
        .keys()
        .map(|name| (name.clone(), median(runs.iter().filter_map(|run| run.figures["cpu_seconds"][name].as_f64()))))
        .collect();
    json!({
        "stage": stage, "packets": last["packets"], "deltas": last["deltas"], "rows": last["rows"], "bytes": last["bytes"],
        "seconds": seconds, "packets_per_second": packets / seconds, "nanos_per_packet": seconds * 1e9 / packets,
        "cpu_nanos_per_packet": cpu * 1e9 / packets, "cpu_seconds_by_thread": threads,
        "peak_bytes": middle(|run| run.ended.peak_bytes as f64),
    })
}
