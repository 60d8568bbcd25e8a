//! Octets as a file of the lake, or as changes to a whole one: never a panic, every fault in one line that names the file, nothing deleted,
//! and what several ways of reading say agrees.

use std::{fs, path::PathBuf, sync::OnceLock};

use auscult::{
    biflow::{BiflowSettings, Table},
    capture::{
        native::{DropSamples, NativeMeter},
        outlets::{Batches, Outlets},
        replay::RawFrame,
    },
    coverage::CoverageRow,
    flow::{FlowBatch, ObservationPoint},
    lake::{
        LakeError, LakeSettings, Query, TableName, Writer,
        read::{JsonRow, rows, scan},
        recover::recover,
        sum_packets,
    },
    ledger::Ledger,
    scene::SCENE_START_UNIX_NANOS,
};
use auscult_ebpf::settings::Settings;
use serde_json::Value;
use tempfile::TempDir;

use super::{Octets, in_memory, seed};

/// Changes of one input.
const CHANGES_MAX: usize = 64;

/// The first octet: whose table the file is of, and whether the rest is the file or changes to one that the product wrote: place (three
/// octets; from the end, where the footer is, when the first is odd) and value.
pub fn lake_files(octets: &[u8]) {
    let mut from = Octets(octets);
    let how = from.u8();
    let table = if how & 1 == 0 { TableName::Flows } else { TableName::Coverage };
    if how & 2 == 0 {
        return Lake::with(table, from.0).read(None);
    }
    let whole = written(table);
    let mut file = whole.octets.clone();
    for _ in 0..CHANGES_MAX {
        if from.is_empty() {
            break;
        }
        let [a, b, c, value] = from.array();
        let place = (usize::from(a >> 1) << 16 | usize::from(b) << 8 | usize::from(c)) % file.len();
        let place = if a & 1 == 0 { place } else { file.len() - 1 - place };
        file[place] = value;
    }
    let unchanged = file == whole.octets;
    Lake::with(table, &file).read(unchanged.then_some(whole));
}

/// A file as the product writes it, and the rows that were read back from it when it was new.
pub struct Written {
    /// The file.
    pub octets: Vec<u8>,
    rows: Vec<JsonRow>,
}

/// The file of a table that the changes are made to: of the scene's frames, in several row groups.
pub fn written(table: TableName) -> &'static Written {
    static FLOWS: OnceLock<Written> = OnceLock::new();
    static COVERAGE: OnceLock<Written> = OnceLock::new();
    let cell = if table == TableName::Flows { &FLOWS } else { &COVERAGE };
    cell.get_or_init(|| write(table))
}

fn write(table: TableName) -> Written {
    let (batch, ledger) = metered();
    let directory = TempDir::new().expect("a temporary directory");
    let settings = LakeSettings { row_group_rows: 16, page_rows: 4, ..LakeSettings::default() };
    let mut writer = Writer::open(directory.path(), "fuzz", &settings, "fuzz").expect("an empty lake");
    match table {
        TableName::Flows => {
            let points = [ObservationPoint { name: "if0".into() }];
            writer.flows(&batch, &points).expect("rows");
        }
        TableName::Coverage => {
            let row = CoverageRow::between(SCENE_START_UNIX_NANOS as i64, "if0".into(), &Ledger::default(), &ledger);
            writer.coverage(&vec![row; 3]).expect("rows");
        }
    }
    writer.close().1.expect("a whole file");
    let mut read = Vec::new();
    scan(directory.path(), &Query::all(table), |row| read.push(row)).expect("readable");
    assert!(read.len() >= 3);
    let mut waiting = vec![directory.path().join("lake")];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(path).expect("readable").map(|entry| entry.expect("readable").path()));
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            return Written { octets: fs::read(path).expect("readable"), rows: read };
        }
    }
    panic!("no file was written")
}

/// Rows and ledger of the scene's sorts of frames.
fn metered() -> (FlowBatch, Ledger) {
    let (shard, messages) = crossbeam::channel::unbounded();
    let (ledger, _ledgers) = crossbeam::channel::unbounded();
    let outlets = Outlets { shards: vec![shard], ledger, recycled: crossbeam::channel::never(), batch_deltas: 8 };
    let mut native = NativeMeter::new(Settings::plain(), Batches::new(0, outlets), Box::new(DropSamples));
    for frame in seed::sorts() {
        let (octets, wire_octets) = (&frame.octets[..], frame.octets.len() as u32);
        let at = SCENE_START_UNIX_NANOS + frame.at_nanos % 1_000_000_000;
        assert_eq!(native.frame(&RawFrame { at, octets, wire_octets, link_type: 1, interface: 0 }), Ok(()));
    }
    let last = native.finish().ok().flatten().expect("a last ledger");
    let mut table = Table::new(BiflowSettings {
        idle_timeout_nanos: 120_000_000_000,
        active_timeout_nanos: 1_800_000_000_000,
        max_flows: 100,
        rings: 1,
        site: "fuzz".into(),
        seed: 1,
    });
    let epochs: Vec<_> = messages.try_iter().filter_map(|message| table.message(&message)).collect();
    (FlowBatch::new(epochs.into_iter().flat_map(|epoch| epoch.rows).collect(), SCENE_START_UNIX_NANOS as i64), last.ledger)
}

/// A data directory with one file.
struct Lake {
    table: TableName,
    directory: PathBuf,
    file: PathBuf,
    octets: Vec<u8>,
}

impl Lake {
    /// The directory is made once: an input only writes its file anew.
    fn with(table: TableName, octets: &[u8]) -> Self {
        thread_local! { static ROOT: TempDir = in_memory(); }
        let directory = ROOT.with(|root| root.path().join(table.name()));
        let hour = directory.join("lake").join(table.name()).join("site=fuzz/date=2026-01-05/hour=08");
        fs::create_dir_all(&hour).expect("a directory");
        let file = hour.join("the-file.parquet");
        fs::write(&file, octets).expect("writable");
        Self { table, directory, file, octets: octets.to_vec() }
    }

    fn read(&self, whole: Option<&Written>) {
        let found = recover(&self.directory).expect("a directory that can be listed");
        assert_eq!((found.files + found.foreign_count, found.removed), (1, 0));
        assert_eq!(fs::read(&self.file).expect("still there"), self.octets);
        let mut scanned = Vec::new();
        let all = self.said(scan(&self.directory, &self.query(), |row| scanned.push(row)));
        let listed = self.said(rows(&self.directory, &self.query()));
        assert_eq!(all.is_some(), listed.is_some(), "one way reads the file and the other does not");
        if let Some(whole) = whole {
            assert!(all.is_some() && found.files == 1, "an unchanged file is whole");
            assert_eq!(scanned, whole.rows);
        }
        if let Some(listed) = &listed {
            assert!(found.files == 1 || listed.is_empty(), "rows of a file that is not one");
            self.compare(&scanned, listed);
        }
        if self.table == TableName::Flows {
            let sums = self.said(sum_packets(&self.directory, None));
            if let (Some(_), Some(sums)) = (&all, sums) {
                assert_eq!(sums.rows, scanned.len() as u64);
            }
        }
    }

    /// The list has the rows of the scan, newest first; a shorter list has the newest; a condition leaves rows out and adds none.
    fn compare(&self, scanned: &[JsonRow], listed: &[JsonRow]) {
        assert_eq!(scanned.len(), listed.len());
        assert!(listed.iter().all(|row| scanned.contains(row)), "a row that is not in the file");
        let limit = Some(2);
        let newest = self.said(rows(&self.directory, &Query { limit, ..self.query() }));
        assert_eq!(newest.expect("the whole list was read").len(), listed.len().min(2));
        if self.table == TableName::Coverage {
            return;
        }
        let address = listed.iter().find_map(|row| row.get("responder_address").and_then(Value::as_str)).map(str::to_owned);
        let some = self.said(rows(&self.directory, &Query { address, port: Some(53), ..self.query() }));
        assert!(some.unwrap_or_default().iter().all(|row| listed.contains(row)), "a row that the whole list does not have");
    }

    fn query(&self) -> Query {
        Query::all(self.table)
    }

    /// What was read; a fault must say which file it is in, in one line.
    fn said<T>(&self, result: Result<T, LakeError>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        assert!(matches!(&error, LakeError::Unreadable { path, .. } if path == &self.file), "{error}");
        let text = error.to_string();
        assert!(text.contains("the-file.parquet") && text.lines().count() == 1, "{text}");
        None
    }
}

/// Where the footer of a Parquet file begins.
pub fn footer(file: &[u8]) -> usize {
    let length = file.len();
    let octets = file.get(length.saturating_sub(8)..).and_then(|tail| tail.first_chunk::<4>());
    length.saturating_sub(8 + octets.map_or(0, |octets| u32::from_le_bytes(*octets) as usize))
}
