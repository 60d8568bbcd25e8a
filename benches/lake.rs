//! Flow rows into Parquet on one core: rows per second, and octets per row by column, from the files' footers.
//!
//! `cargo bench -p auscult-benches --bench lake -- [--json] [--mix hospital|tcp] [--rows N] [--rate N] [--level N]
//! [--keep DIR]`
#![expect(clippy::disallowed_methods, reason = "a bench measures time")]

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use anyhow::{Context, Result};
use auscult::{
    flow::ObservationPoint,
    lake::{LakeSettings, Totals, Writer},
};
use workload::{
    flow::{Flows, HOSPITAL, TCP},
    measure::{by_column, cpu_seconds},
};

struct Options {
    json: bool,
    tcp: bool,
    rows: usize,
    rate: u32,
    keep: Option<std::path::PathBuf>,
    settings: LakeSettings,
}

#[derive(Clone, Copy, Default)]
struct Spent {
    seconds: f64,
    cpu_seconds: f64,
}

impl Spent {
    fn run<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let (begin, cpu) = (Instant::now(), cpu_seconds());
        let result = work();
        self.seconds += begin.elapsed().as_secs_f64();
        self.cpu_seconds += cpu_seconds() - cpu;
        result
    }
}

fn options() -> Result<Options> {
    let mut options =
        Options { json: false, tcp: false, rows: 1 << 19, rate: 2000, keep: None, settings: LakeSettings::default() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "--json" => options.json = true,
            "--mix" => options.tcp = value()? == "tcp",
            "--rows" => options.rows = value()?.parse()?,
            "--rate" => options.rate = value()?.parse()?,
            "--keep" => options.keep = Some(value()?.into()),
            "--level" => options.settings.zstd_level = value()?.parse()?,
            _ => {}
        }
    }
    Ok(options)
}

fn main() -> Result<()> {
    let options = options()?;
    let mix = if options.tcp { TCP } else { HOSPITAL };
    let temporary = tempfile::tempdir()?;
    let directory = options.keep.as_deref().unwrap_or(temporary.path());
    let mut source = Flows::new(7, mix, options.rate);
    let points = [ObservationPoint { name: Arc::from("tap0") }];
    // About one epoch a second of record time.
    let epoch = options.rate as usize;
    let mut writer = Writer::open(directory, "bench", &options.settings, "bench")?;
    let mut spent = Spent::default();
    for _ in 0..options.rows.div_ceil(epoch) {
        let batch = source.batch(epoch);
        spent.run(|| writer.flows(&batch, &points))?;
    }
    let (totals, outcome) = spent.run(|| writer.close());
    outcome?;

    let mut columns = BTreeMap::new();
    by_column(&directory.join("lake/flows"), &mut columns)?;
    report(&options, mix.name, &totals, spent, &columns);
    Ok(())
}

fn report(options: &Options, mix: &str, totals: &Totals, spent: Spent, columns: &BTreeMap<String, i64>) {
    let rows = totals.rows as f64;
    let Spent { seconds, cpu_seconds } = spent;
    let (rows_per_second, bytes_per_row) = (rows / cpu_seconds, totals.bytes as f64 / rows);
    let per_row: BTreeMap<&String, f64> = columns.iter().map(|(name, bytes)| (name, *bytes as f64 / rows)).collect();
    if options.json {
        let out = serde_json::json!({
            "mix": mix, "rows": totals.rows, "files": totals.files, "seconds": seconds, "cpu_seconds": cpu_seconds,
            "rows_per_cpu_second": rows_per_second,
            "bytes_per_row": bytes_per_row, "bytes_per_row_by_column": per_row,
        });
        println!("{out:#}");
        return;
    }
    println!(
        "{mix}: {} rows in {} files, {seconds:.2} s, {cpu_seconds:.2} s of CPU, {rows_per_second:.0} rows per second of CPU, \
         {bytes_per_row:.1} bytes/row",
        totals.rows, totals.files
    );
    let mut sorted: Vec<_> = per_row.into_iter().collect();
    sorted.sort_by(|a, b| b.1.total_cmp(&a.1));
    for (name, bytes) in sorted {
        println!("{bytes:8.2}  {name}");
    }
}
