//! One file that holds the inventory as it was at one moment, and the way back.
//!
//! The file: 8 octets `AUSCINV1`, the schema (`u32`, little-endian), a zstd frame (RFC 8878) with its own checksum, and the
//! FNV-1a hash of everything before it (`u64`, little-endian). In the frame, each row is the number of its table (`u8`), the
//! lengths of key and value (`u32`, little-endian) and both; table 255 ends the rows, and the number of rows follows (`u64`).
//! Hashes find damage, not malice.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    ops::Bound,
    path::Path,
};

use redb::ReadTransaction;

use super::{
    Inventory, InventoryError, one_line,
    row::{SCHEMA, TABLES, Table},
    store::{Base, NAME, UNFINISHED, create, guarded, publish},
};

const MAGIC: [u8; 8] = *b"AUSCINV1";
const HEAD_OCTETS: u64 = 12;
const HASH_OCTETS: u64 = 8;
/// Table number of the end.
const END: u8 = u8::MAX;
/// Longest key and value that are believed.
const KEY_OCTETS_MAX: u32 = 64;
const VALUE_OCTETS_MAX: u32 = 16 << 20;
/// Rows that are in memory at a time, octets.
const BLOCK_OCTETS: usize = 4 << 20;
/// Level of compression.
const LEVEL: i32 = 3;

type Row = (Vec<u8>, Vec<u8>);

impl Inventory {
    /// Writes all that was last committed to the new file `to`, and says how many rows that is. Others may write meanwhile.
    ///
    /// # Errors
    /// There is a file of that name, the disk refuses, or the inventory is damaged.
    pub fn backup(&self, to: &Path) -> Result<u64, InventoryError> {
        if fs::symlink_metadata(to).is_ok() {
            return Err(InventoryError::Exists(to.to_owned()));
        }
        let mut name = to.as_os_str().to_owned();
        name.push(".unfinished");
        let unfinished = Path::new(&name);
        let file = File::create(unfinished).map_err(InventoryError::io("create", unfinished))?;
        let written = self.write_backup(unfinished, file).and_then(|rows| {
            fs::rename(unfinished, to).map_err(InventoryError::io("create", to))?;
            let directory = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let synced = File::open(directory).and_then(|directory| directory.sync_all());
            synced.map_err(InventoryError::io("write", directory)).map(|()| rows)
        });
        if written.is_err() {
            // What went wrong is told already.
            let _ = fs::remove_file(unfinished);
        }
        written
    }

    fn write_backup(&self, path: &Path, file: File) -> Result<u64, InventoryError> {
        let io = || InventoryError::io("write", path);
        let snapshot = self.snapshot()?;
        let mut to = Hashed::new(BufWriter::new(file));
        to.write_all(&MAGIC).and_then(|()| to.write_all(&SCHEMA.to_le_bytes())).map_err(io())?;
        let mut encoder = zstd::Encoder::new(to, LEVEL).map_err(io())?;
        encoder.include_checksum(true).map_err(io())?;
        let mut rows = 0_u64;
        for (number, table) in (0_u8..).zip(TABLES) {
            let mut after = None;
            loop {
                let block = guarded(&self.path, || read_block(&snapshot, table, after.as_deref()))?;
                for row in &block {
                    write_row(&mut encoder, number, row).map_err(io())?;
                }
                rows += block.len() as u64;
                let Some((last, _)) = block.into_iter().last() else { break };
                after = Some(last);
            }
        }
        encoder.write_all(&[END]).and_then(|()| encoder.write_all(&rows.to_le_bytes())).map_err(io())?;
        let mut to = encoder.finish().map_err(io())?;
        let hash = to.hash.to_le_bytes();
        to.write_all(&hash).map_err(io())?;
        let file = to.inner.into_inner().map_err(|error| io()(error.into_error()))?;
        file.sync_all().map_err(io())?;
        Ok(rows)
    }
}

/// Makes the inventory of `directory` from the backup `from`, and says how many rows that is. It appears whole or not at all.
///
/// # Errors
/// The directory has devices already; the backup is damaged, foreign or newer; the disk refuses.
pub fn restore(from: &Path, directory: &Path) -> Result<u64, InventoryError> {
    let path = directory.join(NAME);
    if fs::symlink_metadata(&path).is_ok() {
        let devices = Inventory::open(directory)?.count()?;
        if devices > 0 {
            return Err(InventoryError::NotEmpty { path, devices });
        }
    }
    let mut rows = open_backup(from)?;
    let base = create(directory)?;
    let unfinished = directory.join(UNFINISHED);
    let mut inventory = Inventory { path: unfinished.clone(), base: Base::Write(base) };
    let count = fill(&mut inventory, &mut rows, from).and_then(|count| {
        // Whatever cannot be read back must not take the name of an inventory.
        inventory.checked()?.load(|_| {}).map(|_| count)
    });
    match count {
        Ok(count) => publish(directory).map(|()| count),
        Err(error) => {
            // What went wrong is told already.
            let _ = fs::remove_file(&unfinished);
            Err(error)
        }
    }
}

fn fill(inventory: &mut Inventory, rows: &mut impl Read, from: &Path) -> Result<u64, InventoryError> {
    let unreadable = |error: io::Error| InventoryError::Backup { path: from.to_owned(), why: one_line(error) };
    let (mut count, mut open) = (0_u64, true);
    while open {
        let (mut block, mut octets) = (Vec::new(), 0);
        while open && octets < BLOCK_OCTETS {
            match read_row(rows).map_err(unreadable)? {
                Some((table, (key, value))) => {
                    octets += key.len() + value.len();
                    block.push((table, key, value));
                }
                None => open = false,
            }
        }
        count += block.len() as u64;
        inventory.transact(|transaction| {
            for (table, key, value) in &block {
                transaction.open_table(*table)?.insert(&key[..], &value[..])?;
            }
            Ok(())
        })?;
    }
    let mut said = [0; 8];
    rows.read_exact(&mut said).map_err(unreadable)?;
    if u64::from_le_bytes(said) != count {
        return Err(unreadable(malformed("rows are missing")));
    }
    Ok(count)
}

/// The rows of a backup whose hash is right.
fn open_backup(from: &Path) -> Result<impl Read + use<>, InventoryError> {
    let io = || InventoryError::io("read", from);
    let wrong = |why: &str| InventoryError::Backup { path: from.to_owned(), why: why.into() };
    let mut file = File::open(from).map_err(InventoryError::io("open", from))?;
    let length = file.metadata().map_err(io())?.len();
    let Some(hashed) = length.checked_sub(HASH_OCTETS).filter(|hashed| *hashed > HEAD_OCTETS) else {
        return Err(wrong("it is too short"));
    };
    let mut head = [0; HEAD_OCTETS as usize];
    file.read_exact(&mut head).map_err(io())?;
    let [a, b, c, d, e, f, g, h, schema @ ..] = head;
    if [a, b, c, d, e, f, g, h] != MAGIC {
        return Err(wrong("it is no backup of an inventory"));
    }
    file.seek(SeekFrom::Start(0)).map_err(io())?;
    let mut through = Hashed::new(io::sink());
    io::copy(&mut BufReader::new(&file).take(hashed), &mut through).map_err(io())?;
    let mut said = [0; HASH_OCTETS as usize];
    file.seek(SeekFrom::Start(hashed)).and_then(|_| file.read_exact(&mut said)).map_err(io())?;
    if u64::from_le_bytes(said) != through.hash {
        return Err(wrong("it is damaged (its hash is another)"));
    }
    match u32::from_le_bytes(schema) {
        SCHEMA => {}
        found if found > SCHEMA => return Err(InventoryError::Newer { path: from.to_owned(), found }),
        _ => return Err(wrong("its schema is unknown")),
    }
    file.seek(SeekFrom::Start(HEAD_OCTETS)).map_err(io())?;
    zstd::Decoder::new(file.take(hashed - HEAD_OCTETS)).map_err(io())
}

fn read_block(snapshot: &ReadTransaction, table: Table, after: Option<&[u8]>) -> Result<Vec<Row>, redb::Error> {
    let table = snapshot.open_table(table)?;
    let first = after.map_or(Bound::Unbounded, Bound::Excluded);
    let (mut block, mut octets) = (Vec::new(), 0);
    for row in table.range::<&[u8]>((first, Bound::Unbounded))? {
        let (key, value) = row?;
        octets += key.value().len() + value.value().len();
        block.push((key.value().to_vec(), value.value().to_vec()));
        if octets >= BLOCK_OCTETS {
            break;
        }
    }
    Ok(block)
}

fn write_row(to: &mut impl Write, table: u8, (key, value): &Row) -> io::Result<()> {
    let length = |part: &[u8]| u32::try_from(part.len()).map(u32::to_le_bytes).map_err(|_| malformed("a row is too long"));
    to.write_all(&[table])?;
    to.write_all(&length(key)?)?;
    to.write_all(&length(value)?)?;
    to.write_all(key)?;
    to.write_all(value)
}

/// The next row and its table; `None` at the end of rows.
fn read_row(from: &mut impl Read) -> io::Result<Option<(Table, Row)>> {
    let mut number = [0];
    from.read_exact(&mut number)?;
    let [number] = number;
    if number == END {
        return Ok(None);
    }
    let table = *TABLES.get(usize::from(number)).ok_or_else(|| malformed("a row is of an unknown table"))?;
    let (mut key_octets, mut value_octets) = ([0; 4], [0; 4]);
    from.read_exact(&mut key_octets)?;
    from.read_exact(&mut value_octets)?;
    let part = |from: &mut dyn Read, octets: [u8; 4], most: u32| {
        let octets = u32::from_le_bytes(octets);
        if octets > most {
            return Err(malformed("a row is too long"));
        }
        let mut part = vec![0; octets as usize];
        from.read_exact(&mut part).map(|()| part)
    };
    let key = part(from, key_octets, KEY_OCTETS_MAX)?;
    let value = part(from, value_octets, VALUE_OCTETS_MAX)?;
    Ok(Some((table, (key, value))))
}

fn malformed(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Passes octets on and hashes them (FNV-1a, 64 bits): each octet's step can be undone, so one that differs always shows.
struct Hashed<W> {
    inner: W,
    hash: u64,
}

impl<W> Hashed<W> {
    fn new(inner: W) -> Self {
        Self { inner, hash: 0xcbf2_9ce4_8422_2325 }
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(octets)?;
        for octet in octets.get(..written).unwrap_or_default() {
            self.hash = (self.hash ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
#[path = "backup_tests.rs"]
mod tests;
