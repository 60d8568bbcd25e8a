//! The lake through other engines: pyarrow, Polars and DuckDB read every value of every column as it was written, and find with
//! the help of bounds what a look at all values finds (`reference/readers.py`). The pages are the engine's own work.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use auscult::{
    batch::Message,
    biflow::{BiflowSettings, Merge, Table},
    capture::{
        native::{DropSamples, NativeMeter},
        outlets::{Batches, Outlets},
        replay::Replay,
    },
    config::Config,
    flow::ObservationPoint,
    lake::{LakeSettings, Totals, Writer},
};
use auscult_ebpf::settings::Settings;
use crossbeam::channel::{never, unbounded};
use harness::replay::{Replayed, manifest, spread};
use serde_json::Value;

/// Captures per set of the corpus.
const PER_SET: usize = 3;
/// Longest of them, in packets.
const PACKETS_MAX: u64 = 20_000;
/// Rows of a page and of a row group: so few that larger files have several row groups of several pages, the last ones not full.
const PAGE_ROWS: usize = 97;
const ROW_GROUP_ROWS: usize = 1000;

/// The interpreter that has the readers.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("AUSCULT_PYTHON").map(PathBuf::from);
    if python.is_none() {
        harness::skip("AUSCULT_PYTHON names no interpreter with pyarrow, polars and duckdb; run `cargo xtask test`");
    }
    python
}

fn captures(corpus: &Path) -> Result<Vec<PathBuf>> {
    let captures: Vec<_> = manifest(corpus)?.into_iter().filter(|capture| (1..=PACKETS_MAX).contains(&capture.packets)).collect();
    Ok(spread(&captures, PER_SET).into_iter().map(|capture| capture.path.clone()).collect())
}

/// What the readers say of a lake; nothing may differ.
fn compared(python: &Path, data: &Path) -> Result<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("reference/readers.py");
    let ended = Command::new(python).arg(script).arg(data.join("lake")).output()?;
    ensure!(ended.status.success(), "the readers failed: {}", String::from_utf8_lossy(&ended.stderr));
    let said: Value = serde_json::from_slice(&ended.stdout)?;
    println!("{said}");
    ensure!(said["differences"] == Value::Array(Vec::new()), "{said}");
    Ok(said)
}

#[test]
fn other_engines_read_what_was_written() -> Result<()> {
    let (Some(corpus), Some(python)) = (harness::corpus(), python()) else { return Ok(()) };
    let replayed = Replayed::of(&captures(&corpus)?, &Config { listen: None, ..Config::default() })?;
    let said = compared(&python, replayed.data.path())?;
    assert!(said["rows"].as_u64() > Some(300) && said["queries"].as_u64() > Some(200), "{said}");
    Ok(())
}

/// Writes the flows of captures with pages and row groups that small.
fn with_small_pages(inputs: &[PathBuf], data: &Path) -> Result<Totals> {
    let settings = LakeSettings { page_rows: PAGE_ROWS, row_group_rows: ROW_GROUP_ROWS, ..LakeSettings::default() };
    let mut writer = Writer::open(data, "small", &settings, "test")?;
    for input in inputs {
        let (shard, messages) = unbounded();
        let (ledger, _ledgers) = unbounded();
        let outlets = Outlets { shards: vec![shard], ledger, recycled: never(), batch_deltas: 64 };
        let mut meter = NativeMeter::new(Settings::plain(), Batches::new(0, outlets), Box::new(DropSamples));
        let mut replay = Replay::open(std::slice::from_ref(input))?;
        // What is behind a fault is not of interest here.
        while let Ok(Some(frame)) = replay.next_frame() {
            meter.frame(&frame).ok().context("the meter's channel is closed")?;
        }
        meter.finish().ok().context("the meter's channel is closed")?;
        write(&mut writer, messages.try_iter(), replay.interfaces())?;
    }
    let (totals, outcome) = writer.close();
    outcome?;
    Ok(totals)
}

fn write(writer: &mut Writer, messages: impl Iterator<Item = Message>, points: &[ObservationPoint]) -> Result<()> {
    let mut merge = Merge::new(1);
    let mut table = Table::new(BiflowSettings {
        idle_timeout_nanos: 0,
        active_timeout_nanos: 10_000_000_000,
        max_flows: 1 << 16,
        rings: 1,
        site: Arc::from("small"),
        seed: 1,
    });
    for message in messages {
        table.message(&message).into_iter().for_each(|epoch| merge.push(0, epoch));
        while let Some(batch) = merge.next_batch() {
            writer.flows(&batch, points)?;
        }
    }
    Ok(())
}

#[test]
fn other_engines_read_many_small_pages() -> Result<()> {
    let (Some(corpus), Some(python)) = (harness::corpus(), python()) else { return Ok(()) };
    let mut inputs = captures(&corpus)?;
    // Captures of one attack have many flows close together: files of many pages.
    let floods = manifest(&corpus)?.into_iter().filter(|capture| capture.set == "attacks");
    let mut floods: Vec<_> = floods.map(|capture| (capture.packets, capture.path)).collect();
    floods.sort();
    inputs.extend(floods.pop().map(|(_, path)| path));
    let data = tempfile::tempdir()?;
    let totals = with_small_pages(&inputs, data.path())?;
    let said = compared(&python, data.path())?;
    assert_eq!(said["rows"].as_u64(), Some(totals.rows));
    assert!(said["row_groups"].as_u64() > said["files"].as_u64() && totals.rows > 2 * ROW_GROUP_ROWS as u64, "{said}");
    Ok(())
}
