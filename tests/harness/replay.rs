//! A capture through the whole engine, in this process: what came of it, and the lake it left.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use auscult::{
    config::{Config, Duplicates},
    lake::{
        Query, TableName,
        read::{JsonRow, scan},
    },
    pipeline::{self, Outcome, ReplayRequest},
    progress::Progress,
    shutdown::Shutdown,
};
use tempfile::TempDir;

/// One replay.
#[derive(Debug)]
pub struct Replayed {
    /// What the engine says.
    pub outcome: Outcome,
    /// Its data directory.
    pub data: TempDir,
}

impl Replayed {
    /// Replays captures into a new directory.
    ///
    /// # Errors
    /// When there is no room for the directory.
    pub fn of(inputs: &[PathBuf], config: &Config) -> Result<Self> {
        let data = TempDir::new().context("cannot make a data directory")?;
        let request = ReplayRequest { inputs: inputs.to_vec(), data: data.path().to_owned(), speed: None, listen: None };
        let outcome = pipeline::replay(config, &request, &Shutdown::new(), &Arc::new(Progress::new()));
        Ok(Self { outcome, data })
    }

    /// The flow rows, read back from Parquet.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn rows(&self) -> Result<Vec<JsonRow>> {
        let mut rows = Vec::new();
        scan(self.data.path(), &Query::all(TableName::Flows), |row| rows.push(row))?;
        Ok(rows)
    }
}

/// The usual settings, but copies are metered: what a peer counts that knows none, so can we.
pub fn every_packet() -> Config {
    let mut config = Config::default();
    config.meter.duplicates = Duplicates::Count;
    config
}

/// The manifest's line of a capture.
#[derive(Clone, Debug)]
pub struct Capture {
    /// The file.
    pub path: PathBuf,
    /// First part of its path.
    pub set: String,
    /// Packets, as the manifest counts them.
    pub packets: u64,
}

/// The captures of a corpus by its `manifest.tsv`, sorted by path.
///
/// # Errors
/// When the manifest cannot be read or has no such columns.
pub fn manifest(corpus: &Path) -> Result<Vec<Capture>> {
    let path = corpus.join("manifest.tsv");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut lines = text.lines();
    let names: Vec<_> = lines.next().unwrap_or_default().split('\t').collect();
    let place = |name: &str| names.iter().position(|known| *known == name).with_context(|| format!("no column {name}"));
    let (path, set, packets) = (place("path")?, place("set")?, place("packets")?);
    let mut captures = Vec::new();
    for line in lines {
        let fields: Vec<_> = line.split('\t').collect();
        let field = |place: usize| fields.get(place).copied().unwrap_or_default();
        let packets = field(packets).parse().unwrap_or(0);
        captures.push(Capture { path: corpus.join(field(path)), set: field(set).to_owned(), packets });
    }
    captures.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(captures)
}

/// Of every set `per_set` captures (all of a smaller set), evenly spread over the set's captures in the order given.
pub fn spread(captures: &[Capture], per_set: usize) -> Vec<&Capture> {
    let sets: std::collections::BTreeSet<&str> = captures.iter().map(|capture| capture.set.as_str()).collect();
    let mut chosen = Vec::new();
    for set in sets {
        let of_set: Vec<_> = captures.iter().filter(|capture| capture.set == set).collect();
        let count = per_set.min(of_set.len());
        chosen.extend((0..count).map(|i| of_set[i * of_set.len() / count]));
    }
    chosen
}

/// Does `work` for every item on two threads; the results in the items' order.
pub fn on_two_threads<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let mut done: Vec<(usize, R)> = std::thread::scope(|scope| {
        let worker = || {
            let mut done = Vec::new();
            loop {
                let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let Some(item) = items.get(i) else { return done };
                done.push((i, work(item)));
            }
        };
        let threads = [scope.spawn(worker), scope.spawn(worker)];
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, result)| result).collect()
}
