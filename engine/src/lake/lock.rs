//! One engine per data directory: an advisory lock on `DIR/lock`, which ends with the process however that ends.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Write},
    path::Path,
};

use super::LakeError;

/// Holds the directory until dropped.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Takes the directory, or says which process has it.
    pub fn take(directory: &Path) -> Result<Self, LakeError> {
        let path = directory.join("lock");
        // Held by a descriptor for reading: one for writing would keep the file system from becoming read-only.
        let writable = || OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        drop(writable().map_err(LakeError::io("open", &path))?);
        let mut file = File::open(&path).map_err(LakeError::io("open", &path))?;
        let mut taken = file.try_lock();
        if matches!(&taken, Err(TryLockError::Error(error)) if error.raw_os_error() == Some(libc::EBADF)) {
            // NFS locks exclusively what is open for writing only.
            file = OpenOptions::new().read(true).write(true).open(&path).map_err(LakeError::io("open", &path))?;
            taken = file.try_lock();
        }
        match taken {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file.read_to_string(&mut text);
                let owner = match text.trim().parse::<u32>() {
                    Ok(pid) => format!("process {pid}"),
                    Err(_) => "another process".to_owned(),
                };
                return Err(LakeError::Locked { directory: directory.to_owned(), owner });
            }
            Err(TryLockError::Error(error)) => return Err(LakeError::io("lock", &path)(error)),
        }
        let note = || {
            let mut file = writable()?;
            file.set_len(0)?;
            writeln!(file, "{}", std::process::id())
        };
        // A full disk must not keep an engine from starting: the lock holds without the note.
        let _ = note();
        Ok(Self { _file: file })
    }
}
