//! What an earlier engine may have left: temporary files are removed and counted, files that are not ours or not whole are
//! reported and left alone.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::{LakeError, part::TEMPORARY};

/// Foreign files that are named in a report; more are only counted.
const FOREIGN_NAMED_MAX: usize = 16;

/// What was found at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Unfinished files removed.
    pub removed: u64,
    /// Their octets.
    pub removed_bytes: u64,
    /// Files that are no whole Parquet files, by path, at most 16.
    pub foreign: Vec<PathBuf>,
    /// Number of such files.
    pub foreign_count: u64,
    /// Whole files.
    pub files: u64,
}

/// Cleans the lake under `root`. Nothing visible is deleted.
pub fn recover(root: &Path) -> Result<Recovered, LakeError> {
    let mut found = Recovered::default();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).map_err(LakeError::io("list", &directory))? {
            let entry = entry.map_err(LakeError::io("list", &directory))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(LakeError::io("look at", &path))?;
            let name = entry.file_name();
            if kind.is_dir() {
                directories.push(path);
            } else if name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
                found.removed_bytes += entry.metadata().map_or(0, |about| about.len());
                fs::remove_file(&path).map_err(LakeError::io("remove", &path))?;
                found.removed += 1;
            } else if path.extension().is_some_and(|extension| extension == "parquet") && looks_whole(&path).unwrap_or(false) {
                found.files += 1;
            } else {
                found.foreign_count += 1;
                if found.foreign.len() < FOREIGN_NAMED_MAX {
                    found.foreign.push(path);
                }
            }
        }
    }
    found.foreign.sort();
    Ok(found)
}

/// A Parquet file begins with its magic and ends with the footer's length and the magic. Reading every footer would make the start
/// slow in a lake of a year.
pub fn looks_whole(path: &Path) -> std::io::Result<bool> {
    const MAGIC: [u8; 4] = *b"PAR1";
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let (mut head, mut tail) = ([0; 4], [0; 8]);
    if length < (head.len() + tail.len()) as u64 {
        return Ok(false);
    }
    file.read_exact(&mut head)?;
    file.seek(SeekFrom::End(-8))?;
    file.read_exact(&mut tail)?;
    let [a, b, c, d, magic @ ..] = tail;
    Ok(head == MAGIC && magic == MAGIC && u64::from(u32::from_le_bytes([a, b, c, d])) <= length - 12)
}
