//! Rows into Parquet files and back: `DIR/lake/<table>/site=<site>/date=YYYY-MM-DD/hour=HH/<id>.parquet`, UTC.
//!
//! Laws: a visible `.parquet` is whole (temporary name, fsync, rename, fsync of the directory). The same batches give the same
//! files, octet for octet, and a file's id comes from its rows, so that a second replay of a capture into one directory adds
//! nothing. One engine writes a directory at a time ([`lock`]). Rows that cannot be written are returned as counts, never dropped
//! in silence. Time is that of the rows; no clock is read here.

mod bound;
mod chunk;
pub mod column;
pub mod coverage_table;
mod encode;
pub mod flow_table;
pub mod journal;
mod layout;
pub mod lock;
pub mod part;
mod presence;
pub mod read;
mod read_json;
pub mod recover;
mod row;
pub mod schema;
#[cfg(test)]
mod tests;
pub mod writer;

use std::{fmt, path::PathBuf};

pub use self::{
    bound::memory_bound,
    read::{Query, TableName, sum_packets},
    schema::dictionary,
    writer::{Totals, Writer},
};

/// Bounds and choices of the writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LakeSettings {
    /// Most rows of one file.
    pub rotate_rows: usize,
    /// Longest span of record time one file is kept open for.
    pub rotate_secs: u32,
    /// zstd level. A capture of 84 000 flows, bytes per row: 95.4 at level 1, 94.4 at 2, 92.1 at 3.
    pub zstd_level: i32,
    /// Most rows of one row group; so many rows wait in memory, per open file.
    pub row_group_rows: usize,
    /// Most rows of one page.
    pub page_rows: usize,
}

impl Default for LakeSettings {
    fn default() -> Self {
        Self { rotate_rows: 262_144, rotate_secs: 300, zstd_level: 1, row_group_rows: 131_072, page_rows: 32_768 }
    }
}

/// What can go wrong with the files.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// Another engine has the directory.
    #[error("data directory {} is in use by {owner}; stop that engine or choose another directory with --data", .directory.display())]
    Locked {
        /// The data directory.
        directory: PathBuf,
        /// `process N` when the lock says so.
        owner: String,
    },
    /// The site is not one path component of plain characters.
    #[error(
        "site `{0}` is not a name of 1 to 64 letters, digits, `-`, `_` or `.` that begins with a letter or digit; change it in the configuration"
    )]
    Site(String),
    /// The file system refused.
    #[error("cannot {action} {}: {source}; check that the directory exists, is writable and has free space", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file's content is not what it should be.
    #[error("cannot read {}: {}; move the file out of the lake", .path.display(), one_line(.source))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: parquet::errors::ParquetError,
    },
    /// Rows could not be written; what was visible before is untouched.
    #[error("{rows} rows ({packets} packets) could not be written to {}: {source}; free space or check the disk", .path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Rows that were not written.
        rows: u64,
        /// Packets in them (zero for tables other than flows).
        packets: u64,
        /// Their frame octets.
        octets: u64,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl LakeError {
    /// For `map_err`: an I/O error with what and where.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// Text that a file has a part in, in one line.
fn one_line(text: impl fmt::Display) -> String {
    text.to_string().chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

/// A site names a directory of the Hive layout.
pub(crate) fn check_site(site: &str) -> Result<(), LakeError> {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    let begins = site.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    if begins && site.len() <= 64 && site.bytes().all(plain) { Ok(()) } else { Err(LakeError::Site(site.to_owned())) }
}
