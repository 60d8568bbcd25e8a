//! Batches of rows into files: filed by hour, cut by rows and record time, named after their content.
//!
//! LAKE-2: the cut depends on the rows and watermarks alone, so the same batches give the same files.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use parquet::{errors::ParquetError, file::properties::WriterProperties};
use sha1::{Digest, Sha1};

use super::{
    LakeError, LakeSettings, check_site,
    column::Waiting,
    coverage_table,
    encode::{Arrangement, Scratch},
    flow_table,
    journal::{self, Journal, Opening, Tally},
    lock::DirectoryLock,
    part::Part,
    recover::{Recovered, recover},
    row::Row,
    schema::{SCHEMA_VERSION, SharedSchema, Table},
};
use crate::{
    coverage::{CoverageRow, MINUTE_NANOS},
    flow::{Flow, FlowBatch, ObservationPoint, UnixNanos},
    ledger::Count,
};

const HOUR_NANOS: i64 = 3_600_000_000_000;
/// Hours of one table that are open at a time: the running one and the one before; a capture may jump about a little more.
const OPEN_HOURS_MAX: usize = 4;

/// Most rows of a row group of coverage.
pub(super) const COVERAGE_GROUP_ROWS: usize = 1 << 14;

/// What a writer has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Flow rows that are in visible files.
    pub rows: u64,
    /// Their packets, both directions.
    pub packets: u64,
    /// Their frame octets, both directions.
    pub octets: u64,
    /// Coverage rows that are in visible files.
    pub coverage_rows: u64,
    /// Files made, of all tables.
    pub files: u64,
    /// Size of the files made.
    pub bytes: u64,
    /// Files that were there already, with the same rows.
    pub files_present: u64,
    /// Of `files` and `bytes`, those of coverage.
    pub coverage: [u64; 2],
}

/// Rows of one hour that are not visible yet.
struct Open {
    /// Filing time of the first row.
    since: UnixNanos,
    /// Record time of the push that brought it. Rows of flows that end by idling are older than that.
    opened: UnixNanos,
    waiting: Waiting,
    rows: usize,
    count: Count,
    identity: Sha1,
    tally: Tally,
    part: Option<Part>,
}

/// Rows that were lost in one call, with the first reason.
struct Failure {
    path: PathBuf,
    rows: u64,
    count: Count,
    source: Box<dyn std::error::Error + Send + Sync>,
}

fn note_failure(failure: &mut Option<Failure>, path: PathBuf, open: &Open, source: ParquetError) {
    let known = failure.get_or_insert_with(|| Failure { path, rows: 0, count: Count::default(), source: plain(source) });
    known.rows += open.rows as u64;
    known.count.add(open.count);
}

/// The I/O error inside, which says what the operator can act upon.
fn plain(error: ParquetError) -> Box<dyn std::error::Error + Send + Sync> {
    match error {
        ParquetError::External(inner) => inner,
        other => Box::new(other),
    }
}

impl From<Failure> for LakeError {
    fn from(failure: Failure) -> Self {
        let Failure { path, rows, count, source } = failure;
        Self::Write { path, rows, packets: count.packets, octets: count.octets, source }
    }
}

/// Writer of one table.
struct Sheet<R: 'static> {
    table: &'static Table<R>,
    arrangement: Arrangement,
    directory: PathBuf,
    schema: SharedSchema,
    properties: Arc<WriterProperties>,
    /// Begins every file id.
    prefix: Sha1,
    settings: LakeSettings,
    open: BTreeMap<i64, Open>,
    /// Rows that wait in all open hours together: at most one row group.
    waiting: usize,
    /// Record time of the newest push.
    now: Option<UnixNanos>,
    /// Memory of an hour that was closed.
    spare: Option<Waiting>,
    scratch: Vec<Scratch>,
    written: Totals,
    /// Ids of this writer's files.
    ids: HashSet<String>,
    journal: Option<SharedJournal>,
}

/// The books, which the pipeline changes when taps come and go.
pub type SharedJournal = Arc<Mutex<Journal>>;

/// Ids remembered, so that equal files of one run do not become one. Years of a live engine's files.
pub(super) const IDS_KEPT: usize = 1 << 16;

impl<R: Row> Sheet<R> {
    fn new(table: &'static Table<R>, lake: &Path, site: &str, settings: &LakeSettings, source: &str) -> Self {
        let schema = Arc::new(table.arrow_schema());
        let properties = Arc::new(table.properties(&schema, site, source));
        let mut prefix = Sha1::new();
        for part in [table.name, site, SCHEMA_VERSION, source] {
            prefix.update((part.len() as u64).to_le_bytes());
            prefix.update(part.as_bytes());
        }
        Self {
            table,
            arrangement: table.arrangement(),
            directory: lake.join(table.name).join(format!("site={site}")),
            schema,
            properties,
            prefix,
            settings: settings.clone(),
            open: BTreeMap::new(),
            waiting: 0,
            now: None,
            spare: None,
            scratch: Vec::new(),
            written: Totals::default(),
            ids: HashSet::new(),
            journal: None,
        }
    }

    fn span(&self) -> u64 {
        u64::from(self.settings.rotate_secs) * 1_000_000_000
    }

    /// Appends rows; `now` is record time.
    fn push(&mut self, rows: &[&R], now: UnixNanos, points: &[ObservationPoint], failure: &mut Option<Failure>) {
        let span = self.span();
        // LAKE-2: rows of one time are cut alike, in however many pieces they come.
        if self.now.replace(now) != Some(now) {
            let old = self.open.iter().filter(|(_, open)| now.abs_diff(open.opened) >= span);
            for hour in old.map(|(&hour, _)| hour).collect::<Vec<_>>() {
                self.finish(hour, failure);
            }
        }
        let mut rest = rows;
        while let Some(first) = rest.first() {
            let hour = first.filed_at().div_euclid(HOUR_NANOS);
            let (since, room) = self.room(hour, first.filed_at(), failure);
            let belongs =
                |row: &R| row.filed_at().div_euclid(HOUR_NANOS) == hour && row.filed_at().saturating_sub(since) < span as i64;
            let run = rest.iter().take(room).take_while(|row| belongs(row)).count();
            let (run_rows, behind) = rest.split_at(run);
            if run == 0 {
                self.finish(hour, failure);
                continue;
            }
            self.take(hour, run_rows, points, failure);
            rest = behind;
        }
    }

    /// Opens an hour when it is not open; since when it is, and how many rows may be added at once.
    fn room(&mut self, hour: i64, at: UnixNanos, failure: &mut Option<Failure>) -> (UnixNanos, usize) {
        if !self.open.contains_key(&hour) && self.open.len() >= OPEN_HOURS_MAX {
            let oldest = self.open.iter().min_by_key(|(_, open)| open.since).map(|(&hour, _)| hour);
            oldest.into_iter().for_each(|hour| self.finish(hour, failure));
        }
        if self.waiting >= self.settings.row_group_rows {
            self.make_room(failure);
        }
        let open = self.open.entry(hour).or_insert_with(|| Open {
            since: at,
            opened: self.now.map_or(at, |now| now.max(at)),
            waiting: self.spare.take().unwrap_or_else(|| self.table.no_rows()),
            rows: 0,
            count: Count::default(),
            identity: self.prefix.clone(),
            tally: Tally::default(),
            part: None,
        });
        let room = (self.settings.row_group_rows - self.waiting).min(self.settings.rotate_rows - open.rows);
        (open.since, room)
    }

    /// Writes the rows of the hour that has most.
    fn make_room(&mut self, failure: &mut Option<Failure>) {
        let longest = self.open.iter().max_by_key(|(_, open)| open.waiting.rows).map(|(&hour, _)| hour);
        if let Some(hour) = longest
            && let Err(source) = self.append(hour)
        {
            self.give_up(hour, source, failure);
        }
    }

    fn take(&mut self, hour: i64, rows: &[&R], points: &[ObservationPoint], failure: &mut Option<Failure>) {
        let Some(open) = self.open.get_mut(&hour) else { return };
        self.table.fill(rows, points, &mut open.waiting);
        for row in rows {
            let mut words = [0; 48];
            for (octets, word) in words.chunks_exact_mut(8).zip(row.identity()) {
                octets.copy_from_slice(&word.to_le_bytes());
            }
            open.identity.update(words);
            open.count.add(row.count());
            if self.journal.is_some() {
                row.tally(&mut open.tally);
            }
        }
        open.rows += rows.len();
        self.waiting += rows.len();
        if open.rows >= self.settings.rotate_rows {
            self.finish(hour, failure);
        } else if open.waiting.rows >= self.settings.row_group_rows
            && let Err(source) = self.append(hour)
        {
            self.give_up(hour, source, failure);
        }
    }

    /// Writes the waiting rows of an hour as a row group.
    fn append(&mut self, hour: i64) -> Result<(), ParquetError> {
        let directory = self.directory_of(hour);
        let Some(open) = self.open.get_mut(&hour) else { return Ok(()) };
        let part = match &mut open.part {
            Some(part) => part,
            none => {
                let name = format!("{}-{hour}", self.table.name);
                none.insert(Part::create(directory, &name, &self.schema, Arc::clone(&self.properties))?)
            }
        };
        part.append(&open.waiting, &self.arrangement, &self.settings, &mut self.scratch)?;
        self.waiting -= open.waiting.rows;
        open.waiting.clear();
        if self.open.len() > 1
            && let Some(open) = self.open.get_mut(&hour)
        {
            // Each hour would keep the memory of a whole row group.
            open.waiting = self.table.no_rows();
        }
        Ok(())
    }

    /// Makes the rows of an hour visible.
    fn finish(&mut self, hour: i64, failure: &mut Option<Failure>) {
        if self.open.get(&hour).is_some_and(|open| open.waiting.rows > 0)
            && let Err(source) = self.append(hour)
        {
            return self.give_up(hour, source, failure);
        }
        let Some(mut open) = self.open.remove(&hour) else { return };
        let Some(part) = open.part.take() else { return };
        let id = self.new_id(&open.identity);
        let finished = match &self.journal {
            None => part.finish(&id, &mut |_| Ok(())),
            Some(journal) => {
                let mut journal = held(journal);
                let finished = part.finish(&id, &mut |path| journal.intend(path, &open.tally));
                journal.resolve(finished.as_ref().is_ok_and(|finished| !finished.existed));
                finished
            }
        };
        match finished {
            Ok(finished) => {
                self.written.rows += open.rows as u64;
                self.written.packets += open.count.packets;
                self.written.octets += open.count.octets;
                if finished.existed {
                    self.written.files_present += 1;
                } else {
                    self.written.files += 1;
                    self.written.bytes += finished.bytes;
                }
                self.spare = Some(open.waiting);
            }
            Err(source) => self.lose(hour, &open, source, failure),
        }
    }

    /// A file's id: digest of its rows, and of how often this writer had such rows before. (A capture whose clock was set back can
    /// have the same packets at the same times again; that file is another one, in every replay.)
    fn new_id(&mut self, identity: &Sha1) -> String {
        if self.ids.len() >= IDS_KEPT {
            self.ids.clear();
        }
        let mut identity = identity.clone();
        loop {
            let digest = identity.clone().finalize();
            let id: String = digest[..16].iter().map(|octet| format!("{octet:02x}")).collect();
            if self.ids.insert(id.clone()) {
                return id;
            }
            identity.update(digest);
        }
    }

    /// Counts the rows of an hour as lost.
    fn give_up(&mut self, hour: i64, source: ParquetError, failure: &mut Option<Failure>) {
        let Some(mut open) = self.open.remove(&hour) else { return };
        self.waiting -= open.waiting.rows;
        self.lose(hour, &open, source, failure);
        if let Some(part) = open.part.take() {
            part.discard();
        }
    }

    fn lose(&self, hour: i64, open: &Open, source: ParquetError, failure: &mut Option<Failure>) {
        if let Some(journal) = &self.journal {
            held(journal).lose(&open.tally);
        }
        note_failure(failure, self.directory_of(hour), open, source);
    }

    fn finish_all(&mut self, failure: &mut Option<Failure>) {
        while let Some((&hour, _)) = self.open.first_key_value() {
            self.finish(hour, failure);
        }
    }

    fn directory_of(&self, hour: i64) -> PathBuf {
        let time = jiff::Timestamp::from_second(hour.saturating_mul(3600)).unwrap_or_default();
        let time = time.to_zoned(jiff::tz::TimeZone::UTC);
        self.directory.join(format!("date={}", time.strftime("%Y-%m-%d"))).join(format!("hour={:02}", time.hour()))
    }
}

/// The lake's writer. It holds the data directory's lock.
pub struct Writer {
    flows: Sheet<Flow>,
    coverage: Sheet<CoverageRow>,
    /// Rows of sidedness come by another way than those of the ledger, so the order of the two is not the same in every replay.
    sides: Sheet<CoverageRow>,
    recovered: Recovered,
    data: PathBuf,
    journal: Option<SharedJournal>,
    _lock: DirectoryLock,
}

fn held(journal: &SharedJournal) -> MutexGuard<'_, Journal> {
    journal.lock().unwrap_or_else(PoisonError::into_inner)
}

const _: fn() = || {
    fn send<T: Send>() {}
    send::<Writer>();
};

impl Writer {
    /// Takes the data directory `directory` (made when its parent exists), cleans up behind an earlier engine and is ready to write rows
    /// of `site`. `source` is part of every file's id: rows of another source are other rows.
    pub fn open(directory: &Path, site: &str, settings: &LakeSettings, source: &str) -> Result<Self, LakeError> {
        check_site(site)?;
        let lake = directory.join("lake");
        for path in [directory, &lake] {
            match fs::create_dir(path) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(LakeError::io("create", path)(error));
                }
                _ => {}
            }
        }
        let lock = DirectoryLock::take(directory)?;
        let settings = LakeSettings {
            rotate_rows: settings.rotate_rows.max(1),
            rotate_secs: settings.rotate_secs.max(1),
            row_group_rows: settings.row_group_rows.max(1),
            page_rows: settings.page_rows.max(1),
            ..settings.clone()
        };
        let mut recovered = recover(&lake)?;
        if let Some(octets) = journal::remove_unfinished(directory) {
            recovered.removed += 1;
            recovered.removed_bytes += octets;
        }
        let of_coverage = LakeSettings { row_group_rows: settings.row_group_rows.min(COVERAGE_GROUP_ROWS), ..settings.clone() };
        Ok(Self {
            recovered,
            flows: Sheet::new(flow_table::table(), &lake, site, &settings, source),
            coverage: Sheet::new(coverage_table::table(), &lake, site, &of_coverage, source),
            data: directory.to_owned(),
            journal: None,
            sides: Sheet::new(coverage_table::table(), &lake, site, &of_coverage, source),
            _lock: lock,
        })
    }

    /// Keeps the books of `taps` from here on: see [`Journal::open`].
    ///
    /// # Errors
    /// The file system refuses.
    pub fn keep_books(
        &mut self,
        site: &str,
        taps: &[impl AsRef<str>],
        new: (String, [u64; 5]),
    ) -> Result<(SharedJournal, Opening), LakeError> {
        // What is metered comes once: rows that are alike in two engines are two, and neither was there already.
        for prefix in [&mut self.flows.prefix, &mut self.coverage.prefix, &mut self.sides.prefix] {
            prefix.update(new.0.as_bytes());
        }
        let (journal, opening) = Journal::open(&self.data, site, taps, new)?;
        let journal = Arc::new(Mutex::new(journal));
        for kept in [&mut self.journal, &mut self.flows.journal, &mut self.coverage.journal] {
            *kept = Some(Arc::clone(&journal));
        }
        Ok((journal, opening))
    }

    /// What the start found.
    pub fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// Writes the rows of an epoch. [`LakeError::Write`] counts the rows that could not be; the writer goes on with the others.
    pub fn flows(&mut self, batch: &FlowBatch, points: &[ObservationPoint]) -> Result<(), LakeError> {
        let mut failure = None;
        let rows: Vec<&Flow> = batch.rows().collect();
        self.flows.push(&rows, batch.watermark(), points, &mut failure);
        match (failure, &self.journal) {
            (Some(failure), _) => Err(failure.into()),
            (None, Some(journal)) => held(journal).keep(batch.watermark()),
            (None, None) => Ok(()),
        }
    }

    /// Writes coverage rows of ledgers.
    pub fn coverage(&mut self, rows: &[CoverageRow]) -> Result<(), LakeError> {
        let Some(newest) = rows.iter().map(|row| row.minute).max() else { return Ok(()) };
        Self::push(&mut self.coverage, rows, newest.saturating_add(MINUTE_NANOS))
    }

    /// Writes coverage rows of sidedness, if there are any; `now` is record time, and files end by it.
    pub fn sides(&mut self, rows: &[CoverageRow], now: UnixNanos) -> Result<(), LakeError> {
        Self::push(&mut self.sides, rows, now)
    }

    fn push(sheet: &mut Sheet<CoverageRow>, rows: &[CoverageRow], now: UnixNanos) -> Result<(), LakeError> {
        let mut failure = None;
        sheet.push(&rows.iter().collect::<Vec<_>>(), now, &[], &mut failure);
        failure.map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// What is visible so far.
    pub fn totals(&self) -> Totals {
        let (flows, coverage, sides) = (self.flows.written, self.coverage.written, self.sides.written);
        Totals {
            coverage_rows: coverage.rows + sides.rows,
            files: flows.files + coverage.files + sides.files,
            bytes: flows.bytes + coverage.bytes + sides.bytes,
            files_present: flows.files_present + coverage.files_present + sides.files_present,
            coverage: [coverage.files + sides.files, coverage.bytes + sides.bytes],
            ..flows
        }
    }

    /// Makes everything visible and releases the directory. The totals hold even when the last rows could not be written.
    pub fn close(mut self) -> (Totals, Result<(), LakeError>) {
        let mut failure = None;
        self.flows.finish_all(&mut failure);
        self.coverage.finish_all(&mut failure);
        self.sides.finish_all(&mut failure);
        (self.totals(), failure.map_or(Ok(()), |failure| Err(failure.into())))
    }
}
