//! The books of a data directory, on disk: `DIR/books.json`, replaced as a whole, and durable before a file of rows becomes visible.
//!
//! A file's name appears in one step, so before it does, the books say which file that will be and what is in it. Whoever finds the
//! books later looks whether the file is there. Between two files they are written every [`KEEP_NANOS`] of record time: that much of
//! the ledger is unknown when the kernel's counters go, too.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use auscult_ebpf::record::ABI;

use super::{LakeError, one_line, part::TEMPORARY};
use crate::{
    account::{Account, Pending, Standing, Told},
    coverage::CoverageRow,
    flow::{Flow, UnixNanos},
    ledger::Count,
};

const NAME: &str = "books.json";
/// Longest time between two writes of the books.
const KEEP_NANOS: u64 = 10_000_000_000;

/// The books and where they are kept.
#[derive(Debug)]
pub struct Journal {
    data: PathBuf,
    account: Account,
    standing: Arc<Standing>,
    /// What the account said was lost on writing when this engine began.
    written_off: Vec<Count>,
    kept_at: Option<UnixNanos>,
    unsaved: Option<LakeError>,
}

/// How the books were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// There were none: the last engine closed them, or this is the first.
    New,
    /// An engine left them open: it was killed.
    Resumed,
    /// They are of no use; why. What that engine lost is not known.
    Unusable(String),
}

/// What the open rows of a file are, by tap.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    rows: Vec<Count>,
    told: Vec<(Arc<str>, CoverageRow)>,
}

impl Tally {
    /// Adds a flow row: each direction counts for the tap that the row names.
    pub(super) fn flow(&mut self, row: &Flow) {
        for side in row.side.0.iter().filter(|side| side.packets > 0) {
            let tap = side.observation_point.unwrap_or(0) as usize;
            if self.rows.len() <= tap {
                self.rows.resize(tap + 1, Count::default());
            }
            self.rows[tap].add(Count { packets: side.packets, octets: side.layer2_octets });
        }
    }

    /// Adds a coverage row.
    pub(super) fn coverage(&mut self, row: &CoverageRow) {
        self.told.push((row.observation_point.clone(), row.clone()));
    }
}

impl Journal {
    /// Opens the books of the data directory `data`, which is locked, for `taps`. Books that cannot be used are put aside. `new` are
    /// the name and hash keys of new ones.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn open(
        data: &Path,
        site: &str,
        taps: &[impl AsRef<str>],
        new: (String, [u64; 5]),
    ) -> Result<(Self, Opening), LakeError> {
        let path = data.join(NAME);
        let (found, opening) = match fs::read(&path) {
            Ok(octets) => match usable(&octets, site) {
                Ok(account) => (Some(account), Opening::Resumed),
                Err(why) => {
                    let aside = data.join(format!("{NAME}.unusable"));
                    fs::rename(&path, &aside).map_err(LakeError::io("put aside", &path))?;
                    (None, Opening::Unusable(format!("{} {why}; it is {} now", path.display(), aside.display())))
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => (None, Opening::New),
            Err(error) => return Err(LakeError::io("read", &path)(error)),
        };
        let mut account = found.unwrap_or_else(|| Account::open(site, new.0, new.1));
        let visible = account.pending.as_ref().is_some_and(|pending| data.join(&pending.path).exists());
        account.resolve(visible);
        account.arrange(taps);
        let written_off = account.taps.iter().map(|tap| tap.write).collect();
        let standing = Arc::new(Standing::new(account.taps.len()));
        let mut journal = Self { data: data.to_owned(), account, standing, written_off, kept_at: None, unsaved: None };
        // A full disk must not keep an engine from starting. What is on disk is still right, only older.
        journal.unsaved = journal.save().err();
        Ok((journal, opening))
    }

    /// Why the books could not be written when they were opened. They are written again later.
    pub fn unsaved(&self) -> Option<&LakeError> {
        self.unsaved.as_ref()
    }

    /// The books as they are.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// What books and lake tell each other.
    pub fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    /// Changes the books, durably.
    ///
    /// # Errors
    /// The file system refuses; the books on disk are those of before.
    pub fn change(&mut self, change: impl FnOnce(&mut Account)) -> Result<(), LakeError> {
        change(&mut self.account);
        self.save()
    }

    /// Closes the books: everything in them is accounted for, and the next engine begins new ones.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn close(&self) -> Result<(), LakeError> {
        let path = self.data.join(NAME);
        fs::remove_file(&path).map_err(LakeError::io("remove", &path))?;
        File::open(&self.data).and_then(|directory| directory.sync_all()).map_err(LakeError::io("sync", &self.data))
    }

    /// LEDGER-5: says, durably, that the file `path` with these rows is about to become visible.
    pub(super) fn intend(&mut self, path: &Path, tally: &Tally) -> io::Result<()> {
        let path = path.strip_prefix(&self.data).unwrap_or(path);
        let taps = &self.account.taps;
        let mut rows = tally.rows.clone();
        rows.resize(taps.len(), Count::default());
        let mut told: Vec<Told> = Vec::new();
        if !tally.told.is_empty() {
            told.extend(taps.iter().map(|tap| Told(tap.told)));
            for (name, row) in &tally.told {
                if let Some(at) = taps.iter().position(|tap| *tap.name == **name) {
                    row.tell(&mut told[at].0);
                }
            }
        }
        self.account.pending = Some(Pending { path: path.to_string_lossy().into_owned(), rows, told });
        self.refresh();
        self.write()
    }

    /// What became of the file that was intended last.
    pub(super) fn resolve(&mut self, visible: bool) {
        self.account.resolve(visible);
    }

    /// Counts rows that could not be written.
    pub(super) fn lose(&mut self, tally: &Tally) {
        for (tap, count) in tally.rows.iter().enumerate() {
            self.standing.lose(tap, *count);
        }
    }

    /// Writes the books when it is time to; `now` is record time.
    pub(super) fn keep(&mut self, now: UnixNanos) -> Result<(), LakeError> {
        if self.kept_at.is_some_and(|at| now.abs_diff(at) < KEEP_NANOS) {
            return Ok(());
        }
        self.kept_at = Some(now);
        self.save()
    }

    fn save(&mut self) -> Result<(), LakeError> {
        self.refresh();
        self.write().map_err(LakeError::io("write", self.data.join(NAME)))
    }

    /// Takes over what the ledgers stand at.
    fn refresh(&mut self) {
        for (tap, newest) in self.account.taps.iter_mut().zip(self.standing.ledgers()) {
            if let Some(newest) = newest {
                tap.ledger = newest;
            }
        }
        let before = self.written_off.iter();
        for ((tap, lost), before) in self.account.taps.iter_mut().zip(self.standing.written_off()).zip(before) {
            tap.write = *before;
            tap.write.add(lost);
        }
    }

    /// Temporary name, fsync, rename, fsync of the directory: as a file of rows.
    fn write(&self) -> io::Result<()> {
        let temporary = self.data.join(format!("{TEMPORARY}{NAME}"));
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(&self.account)?)?;
        file.sync_all()?;
        fs::rename(&temporary, self.data.join(NAME))?;
        File::open(&self.data)?.sync_all()
    }
}

/// The account of that text, if an engine of this version and site can go on with it.
fn usable(octets: &[u8], site: &str) -> Result<Account, String> {
    let account: Account = serde_json::from_slice(octets).map_err(|error| format!("cannot be read ({})", one_line(error)))?;
    if account.abi != ABI {
        return Err(format!("is of another version ({} instead of {ABI})", account.abi));
    }
    if account.site != site {
        return Err(format!("is of site {}", one_line(account.site)));
    }
    Ok(account)
}

/// Removes a version of the books that was never finished; its octets.
pub(super) fn remove_unfinished(data: &Path) -> Option<u64> {
    let temporary = data.join(format!("{TEMPORARY}{NAME}"));
    let octets = fs::metadata(&temporary).ok()?.len();
    fs::remove_file(temporary).ok().map(|()| octets)
}
