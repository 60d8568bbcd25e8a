//! Files back into rows, for the commands that list flows and coverage, and the sums that the ledger is checked against.
//!
//! A file is read twice: first only the columns that decide which rows are wanted, then all columns of those rows. Row groups whose
//! statistics rule them out are not read at all.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::{self, File},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{Int64Type, TimestampNanosecondType, UInt16Type},
};
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection, RowSelector},
    },
    errors::ParquetError,
    file::{metadata::RowGroupMetaData, statistics::Statistics},
};
use serde_json::{Map, Value};

use super::{LakeError, read_json::row_of, recover::looks_whole};
use crate::flow::UnixNanos;

/// A row by column name, as in the files, and `site`. Times are RFC 3339 UTC.
pub type JsonRow = Map<String, Value>;

/// Which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableName {
    /// Flow records.
    Flows,
    /// What was seen, kept and lost.
    Coverage,
}

impl TableName {
    /// Its directory.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::Coverage => "coverage",
        }
    }

    /// First and last time of a row.
    const fn times(self) -> [&'static str; 2] {
        match self {
            Self::Flows => ["flow_start", "flow_end"],
            Self::Coverage => ["minute", "minute"],
        }
    }
}

/// Names of a table's columns, in file order.
pub fn columns(table: TableName) -> Vec<String> {
    match table {
        TableName::Flows => super::flow_table::table().columns.iter().map(|column| column.name.clone()).collect(),
        TableName::Coverage => super::coverage_table::table().columns.iter().map(|column| column.name.clone()).collect(),
    }
}

/// Which rows. Conditions on addresses and ports hold for flows only.
#[derive(Clone, Debug)]
pub struct Query {
    /// The table.
    pub table: TableName,
    /// One site; all when `None`.
    pub site: Option<String>,
    /// Rows that end at this time or later.
    pub since: Option<UnixNanos>,
    /// Rows that begin at this time or earlier.
    pub until: Option<UnixNanos>,
    /// Initiator or responder has this address (text as in the files: canonical).
    pub address: Option<String>,
    /// Initiator or responder has this port.
    pub port: Option<u16>,
    /// So many of the newest rows; all when `None`.
    pub limit: Option<usize>,
}

impl Query {
    /// All rows of a table.
    pub const fn all(table: TableName) -> Self {
        Self { table, site: None, since: None, until: None, address: None, port: None, limit: None }
    }

    fn key_columns(&self) -> Vec<&'static str> {
        let mut columns = self.table.times().to_vec();
        if self.table == TableName::Flows && self.address.is_some() {
            columns.extend(["initiator_address", "responder_address"]);
        }
        if self.table == TableName::Flows && self.port.is_some() {
            columns.extend(["initiator_port", "responder_port"]);
        }
        columns
    }
}

/// One file of a table.
struct LakeFile {
    site: String,
    /// `date=…/hour=…`, which sorts by time.
    hour: String,
    path: PathBuf,
}

/// Whole files of a table, oldest hour first.
fn files(directory: &Path, table: TableName, site: Option<&str>) -> Result<Vec<LakeFile>, LakeError> {
    let root = directory.join("lake").join(table.name());
    let mut found = Vec::new();
    let mut waiting = vec![root.clone()];
    while let Some(directory) = waiting.pop() {
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && directory == root => break,
            entries => entries.map_err(LakeError::io("list", &directory))?,
        };
        for entry in entries {
            let path = entry.map_err(LakeError::io("list", &directory))?.path();
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            let inner: Vec<String> = path
                .strip_prefix(&root)
                .map(|inner| inner.iter().map(|part| part.to_string_lossy().into_owned()).collect())
                .unwrap_or_default();
            let [of_site, date, hour, _] = inner.as_slice() else { continue };
            let of_site = of_site.strip_prefix("site=").unwrap_or_default().to_owned();
            let wanted = site.is_none_or(|site| site == of_site);
            if wanted && name.ends_with(b".parquet") && !name.starts_with(b".") && looks_whole(&path).unwrap_or(false) {
                found.push(LakeFile { site: of_site, hour: format!("{date}/{hour}"), path });
            }
        }
    }
    found.sort_by(|a, b| (&a.hour, &a.site, &a.path).cmp(&(&b.hour, &b.site, &b.path)));
    Ok(found)
}

type Builder = ParquetRecordBatchReaderBuilder<File>;

fn open(path: &Path) -> Result<Builder, LakeError> {
    let file = File::open(path).map_err(LakeError::io("open", path))?;
    contained(path, || Builder::try_new(file))
}

/// The record batches of a file. Nothing can be read behind an error.
fn batches(builder: Builder, path: &Path) -> Result<impl Iterator<Item = Result<RecordBatch, LakeError>>, LakeError> {
    let mut reader = contained(path, || builder.build())?;
    Ok(std::iter::from_fn(move || contained(path, || reader.next().transpose()).transpose()))
}

/// What the format's library does with a file: some damage makes it panic instead of giving an error, which is one all the same.
fn contained<T, E: Into<ParquetError>>(path: &Path, work: impl FnOnce() -> Result<T, E>) -> Result<T, LakeError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(unreadable(path)),
        Err(_) => Err(unreadable(path)(ParquetError::General("its pages contradict each other".into()))),
    }
}

fn unreadable<E: Into<ParquetError>>(path: &Path) -> impl Fn(E) -> LakeError {
    move |source| LakeError::Unreadable { path: path.to_owned(), source: source.into() }
}

/// The newest rows first, as many as the query wants.
pub fn rows(directory: &Path, query: &Query) -> Result<Vec<JsonRow>, LakeError> {
    let limit = query.limit.unwrap_or(usize::MAX);
    let files = files(directory, query.table, query.site.as_deref())?;
    let mut newest: BinaryHeap<Reverse<(UnixNanos, usize, usize)>> = BinaryHeap::new();
    let mut hour = None;
    for (number, file) in files.iter().enumerate().rev() {
        // Rows are filed by the hour of their end: no older hour holds a newer row.
        if newest.len() >= limit && hour.as_ref() != Some(&file.hour) {
            break;
        }
        hour = Some(file.hour.clone());
        select(&file.path, query, |row, end| {
            newest.push(Reverse((end, number, row)));
            if newest.len() > limit {
                newest.pop();
            }
        })?;
    }
    let mut chosen: Vec<_> = newest.into_iter().map(|Reverse(key)| key).collect();
    chosen.sort_unstable_by_key(|&(_, file, row)| (file, row));
    let mut out = Vec::with_capacity(chosen.len());
    for of_file in chosen.chunk_by(|a, b| a.1 == b.1) {
        let file = &files[of_file[0].1];
        let places: Vec<usize> = of_file.iter().map(|&(.., row)| row).collect();
        let mut ends = of_file.iter().map(|&(end, ..)| end);
        fetch(file, &places, |row| out.push((ends.next().unwrap_or_default(), row)))?;
    }
    out.sort_by_key(|(end, _)| Reverse(*end));
    Ok(out.into_iter().map(|(_, row)| row).collect())
}

/// All rows that the query wants, oldest hour first, in file order, one file in memory at a time. `limit` is not looked at.
pub fn scan(directory: &Path, query: &Query, mut each: impl FnMut(JsonRow)) -> Result<(), LakeError> {
    for file in files(directory, query.table, query.site.as_deref())? {
        let mut places = Vec::new();
        select(&file.path, query, |row, _| places.push(row))?;
        fetch(&file, &places, &mut each)?;
    }
    Ok(())
}

/// Calls `wanted` with place and last time of every row that the query wants.
fn select(path: &Path, query: &Query, mut wanted: impl FnMut(usize, UnixNanos)) -> Result<(), LakeError> {
    let builder = open(path)?;
    let metadata = builder.metadata().clone();
    let columns = query.key_columns();
    let mut base = 0;
    for (number, group) in metadata.row_groups().iter().enumerate() {
        let rows = usize::try_from(group.num_rows()).unwrap_or(0);
        if may_match(group, query) {
            let builder = open(path)?;
            let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
            let mut place = base;
            for batch in batches(builder.with_row_groups(vec![number]).with_projection(mask), path)? {
                let batch = batch?;
                matching(&batch, query, |row, end| wanted(place + row, end));
                place += batch.num_rows();
            }
        }
        base = usize::saturating_add(base, rows);
    }
    Ok(())
}

fn matching(batch: &RecordBatch, query: &Query, mut wanted: impl FnMut(usize, UnixNanos)) {
    let [first, last] = query.table.times().map(|name| time_column(batch, name));
    let (Some(first), Some(last)) = (first, last) else { return };
    let text = |name: &str| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
    let number = |name: &str| batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<UInt16Type>());
    let addresses = [text("initiator_address"), text("responder_address")];
    let ports = [number("initiator_port"), number("responder_port")];
    for row in 0..batch.num_rows() {
        let (first, last) = (first[row], last[row]);
        let in_time = query.since.is_none_or(|since| last >= since) && query.until.is_none_or(|until| first <= until);
        let of_address = addresses[0].is_none()
            || query.address.as_ref().is_none_or(|wanted| {
                addresses.iter().flatten().any(|column| !column.is_null(row) && column.value(row) == wanted)
            });
        let of_port = ports[0].is_none()
            || query
                .port
                .is_none_or(|wanted| ports.iter().flatten().any(|column| !column.is_null(row) && column.value(row) == wanted));
        if in_time && of_address && of_port {
            wanted(row, last);
        }
    }
}

fn time_column<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a [i64]> {
    Some(batch.column_by_name(name)?.as_primitive_opt::<TimestampNanosecondType>()?.values())
}

/// The row group's statistics do not rule it out.
fn may_match(group: &RowGroupMetaData, query: &Query) -> bool {
    let statistics = |name: &str| group.columns().iter().find(|column| column.column_path().parts()[0] == name)?.statistics();
    let bounds = |name: &str| match statistics(name) {
        Some(Statistics::Int64(bounds)) => bounds.min_opt().copied().zip(bounds.max_opt().copied()),
        _ => None,
    };
    let [first, last] = query.table.times();
    let ends_too_early = query.since.zip(bounds(last)).is_some_and(|(since, (_, newest))| newest < since);
    let begins_too_late = query.until.zip(bounds(first)).is_some_and(|(until, (oldest, _))| oldest > until);
    let excludes = |name: &str, address: &str| match statistics(name) {
        Some(bounds) => match (bounds.min_bytes_opt(), bounds.max_bytes_opt()) {
            // Cut-off bounds are still bounds: a lower minimum, a higher maximum.
            (Some(low), Some(high)) => address.as_bytes() < low || address.as_bytes() > high,
            _ => false,
        },
        None => false,
    };
    let other_addresses = query.table == TableName::Flows
        && query
            .address
            .as_ref()
            .is_some_and(|address| ["initiator_address", "responder_address"].iter().all(|name| excludes(name, address)));
    !(ends_too_early || begins_too_late || other_addresses)
}

/// All columns of the rows at `places` (ascending).
fn fetch(file: &LakeFile, places: &[usize], mut each: impl FnMut(JsonRow)) -> Result<(), LakeError> {
    if places.is_empty() {
        return Ok(());
    }
    let mut selectors = Vec::new();
    let mut next = 0;
    for &place in places {
        if place > next {
            selectors.push(RowSelector::skip(place - next));
        }
        selectors.push(RowSelector::select(1));
        next = place + 1;
    }
    let path = &file.path;
    for batch in batches(open(path)?.with_row_selection(RowSelection::from(selectors)), path)? {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            each(row_of(&batch, row, &file.site));
        }
    }
    Ok(())
}

/// What the flow files hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Rows.
    pub rows: u64,
    /// Packets of both directions.
    pub packets: u64,
    /// Frame octets of both directions.
    pub octets: u64,
}

/// Sums over all flow rows, from the values themselves and not from statistics or counters.
pub fn sum_packets(directory: &Path, site: Option<&str>) -> Result<Sums, LakeError> {
    const COLUMNS: [&str; 4] = ["forward_packets", "reverse_packets", "forward_layer2_octets", "reverse_layer2_octets"];
    let mut sums = Sums::default();
    for file in files(directory, TableName::Flows, site)? {
        let path = &file.path;
        let builder = open(path)?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
        for batch in batches(builder.with_projection(mask), path)? {
            let batch = batch?;
            let sum = |name: &str| -> u64 {
                let column = batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<Int64Type>());
                column.map_or(0, |column| column.values().iter().fold(0, |sum, value| sum.saturating_add(value.cast_unsigned())))
            };
            sums.rows += batch.num_rows() as u64;
            let [forward, reverse, forward_octets, reverse_octets] = COLUMNS.map(sum);
            sums.packets = sums.packets.saturating_add(forward).saturating_add(reverse);
            sums.octets = sums.octets.saturating_add(forward_octets).saturating_add(reverse_octets);
        }
    }
    Ok(sums)
}
