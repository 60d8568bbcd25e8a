//! The file: made, opened, looked at, and never deleted.
//!
//! A new file is made under another name and renamed when its schema is on disk, so that `inventory.redb` is never half made.
//! Opening for writing checks every page's checksum. redb may panic on pages that were altered outside it: whatever it does to
//! a file happens within [`guarded`], which makes a panic the error [`InventoryError::Damaged`] (the panic's own message may
//! still be printed).

use std::{
    fs::{self, File},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use redb::{Builder, ConcurrencyMode, Database, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, TableError};

use super::{
    InventoryError, one_line,
    row::{META, META_SCHEMA, SCHEMA, TABLES},
};

/// Name in the data directory.
pub(super) const NAME: &str = "inventory.redb";
/// Name while it is made.
pub(super) const UNFINISHED: &str = "inventory.redb.unfinished";
/// Pages that are kept in memory.
const CACHE_BYTES: usize = 32 << 20;

/// The inventory of a data directory.
pub struct Inventory {
    pub(super) path: PathBuf,
    pub(super) base: Base,
}

/// How the file is held.
pub(super) enum Base {
    /// For writing; nobody else writes.
    Write(Database),
    /// For reading, beside whoever writes.
    Read(ReadOnlyDatabase),
    /// A write failed, and redb wants the file to be opened again.
    Closed,
}

impl std::fmt::Debug for Inventory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inventory").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Inventory {
    /// Opens the inventory of `directory` for writing, and makes an empty one if there is none.
    ///
    /// # Errors
    /// Another process writes it; it is damaged, foreign or newer; the file system refuses.
    pub fn open(directory: &Path) -> Result<Self, InventoryError> {
        let path = directory.join(NAME);
        match fs::symlink_metadata(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                drop(create(directory)?);
                publish(directory)?;
            }
            Err(error) => return Err(InventoryError::io("open", &path)(error)),
        }
        // Whatever is newer or foreign is not even put in order.
        match Self::as_it_is(&path) {
            Ok(_) | Err(InventoryError::Interrupted(_)) => {}
            Err(error) => return Err(error),
        }
        let base = Base::Write(open_for_writing(&path)?);
        Self { path, base }.checked()
    }

    fn as_it_is(path: &Path) -> Result<Self, InventoryError> {
        look(path)?;
        let base = guarded(path, || Ok(builder().open_read_only(path)?))?;
        Self { path: path.to_owned(), base: Base::Read(base) }.checked()
    }

    /// Opens the inventory of `directory` for reading: what was last committed, whether or not an engine writes it at the same
    /// time. A file that a killed engine left is put in order first, which needs leave to write it.
    ///
    /// # Errors
    /// There is none; it is damaged, foreign or newer; the file system refuses.
    pub fn read(directory: &Path) -> Result<Self, InventoryError> {
        let path = directory.join(NAME);
        if fs::symlink_metadata(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Err(InventoryError::Absent(path));
        }
        match Self::as_it_is(&path) {
            Err(InventoryError::Interrupted(_)) => {
                drop(open_for_writing(&path)?);
                Self::as_it_is(&path)
            }
            opened => opened,
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was last committed, as it stays while others write.
    pub(super) fn snapshot(&self) -> Result<ReadTransaction, InventoryError> {
        guarded(&self.path, || match &self.base {
            Base::Write(base) => Ok(base.begin_read()?),
            Base::Read(base) => Ok(base.begin_read()?),
            Base::Closed => Err(redb::Error::PreviousIo),
        })
    }

    /// The file for writing; opened again if a write has failed.
    pub(super) fn writable(&mut self) -> Result<&Database, InventoryError> {
        if matches!(self.base, Base::Closed) {
            self.base = Base::Write(open_for_writing(&self.path)?);
        }
        match &self.base {
            Base::Write(base) => Ok(base),
            Base::Read(_) | Base::Closed => Err(InventoryError::ReadOnly(self.path.clone())),
        }
    }

    /// With a schema that this program knows.
    pub(super) fn checked(self) -> Result<Self, InventoryError> {
        let snapshot = self.snapshot()?;
        let found = guarded(&self.path, || schema(&snapshot))?;
        match found {
            Some(SCHEMA) => Ok(self),
            Some(found) if found > SCHEMA => Err(InventoryError::Newer { path: self.path.clone(), found }),
            _ => {
                let why = "a database without the schema of an inventory".into();
                Err(InventoryError::Foreign { path: self.path.clone(), why })
            }
        }
    }
}

/// The schema that a file says it has, if all tables of an inventory are there.
fn schema(snapshot: &ReadTransaction) -> Result<Option<u32>, redb::Error> {
    let meta = match snapshot.open_table(META) {
        Err(TableError::TableDoesNotExist(_) | TableError::TableTypeMismatch { .. } | TableError::TableIsMultimap(_)) => {
            return Ok(None);
        }
        meta => meta?,
    };
    let Some(row) = meta.get(META_SCHEMA)? else { return Ok(None) };
    let Ok(octets) = row.value().try_into() else { return Ok(None) };
    let found = u32::from_le_bytes(octets);
    for table in TABLES.iter().filter(|_| found == SCHEMA) {
        snapshot.open_table(*table)?;
    }
    Ok(Some(found))
}

/// An empty inventory under the name of an unfinished one, open.
pub(super) fn create(directory: &Path) -> Result<Database, InventoryError> {
    let path = directory.join(UNFINISHED);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(InventoryError::io("remove", &path)(error)),
        Ok(()) | Err(_) => {}
    }
    File::create_new(&path).map_err(InventoryError::io("create", &path))?;
    guarded(&path, || {
        let base = builder().create(&path)?;
        let transaction = base.begin_write()?;
        for table in TABLES {
            transaction.open_table(table)?;
        }
        transaction.open_table(META)?.insert(META_SCHEMA, &SCHEMA.to_le_bytes()[..])?;
        transaction.commit()?;
        Ok(base)
    })
}

/// Gives an unfinished inventory its name, durably.
pub(super) fn publish(directory: &Path) -> Result<(), InventoryError> {
    let path = directory.join(NAME);
    fs::rename(directory.join(UNFINISHED), &path).map_err(InventoryError::io("create", &path))?;
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(InventoryError::io("write", directory))
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    // Of the modes, this one lets listings read while the engine writes.
    builder.set_concurrency_mode(ConcurrencyMode::SingleWriter).set_cache_size(CACHE_BYTES);
    builder
}

fn open_for_writing(path: &Path) -> Result<Database, InventoryError> {
    look(path)?;
    guarded(path, || Ok(builder().set_check_integrity_on_open(true).open(path)?))
}

/// Refuses what is no file of redb before redb looks at it: it would make a database of an empty file.
fn look(path: &Path) -> Result<(), InventoryError> {
    const MAGIC: &[u8; 9] = b"redb\x1A\x0A\xA9\x0D\x0A";
    let foreign = |why: &str| InventoryError::Foreign { path: path.to_owned(), why: why.into() };
    let about = fs::metadata(path).map_err(InventoryError::io("open", path))?;
    if !about.is_file() {
        return Err(foreign("not a file"));
    }
    let mut head = [0; MAGIC.len()];
    let mut file = File::open(path).map_err(InventoryError::io("open", path))?;
    match io::Read::read_exact(&mut file, &mut head) {
        Ok(()) if head == *MAGIC => Ok(()),
        Ok(()) => Err(foreign("it does not begin as one")),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(InventoryError::Damaged { path: path.to_owned(), why: "it ends within its first octets".into() })
        }
        Err(error) => Err(InventoryError::io("read", path)(error)),
    }
}

/// Does something to the file, and makes an error of whatever goes wrong, a panic of redb among it.
pub(super) fn guarded<T>(path: &Path, body: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, InventoryError> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(outcome) => outcome.map_err(|error| translate(path, error)),
        Err(_) => Err(InventoryError::Damaged { path: path.to_owned(), why: "its pages contradict each other".into() }),
    }
}

fn translate(path: &Path, error: redb::Error) -> InventoryError {
    let path = path.to_owned();
    match error {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => InventoryError::InUse(path),
        // redb says so of a file that does not begin as one of its own, or that ends too early.
        redb::Error::RepairAborted => InventoryError::Interrupted(path),
        redb::Error::Io(source) if matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
            InventoryError::Damaged { path, why: one_line(source) }
        }
        redb::Error::Io(source) => InventoryError::Io { action: "use", path, source },
        redb::Error::Unsupported => {
            let source = io::Error::new(io::ErrorKind::Unsupported, "the file system has no locks for parts of files");
            InventoryError::Io { action: "lock", path, source }
        }
        redb::Error::UpgradeRequired(version) => {
            InventoryError::Foreign { path, why: format!("a database of the old format {version}").into() }
        }
        redb::Error::PreviousIo => InventoryError::Write { path, why: "an earlier write failed".into() },
        other => InventoryError::Damaged { path, why: one_line(other) },
    }
}
