//! A disk of its own for a lake: a loop-mounted ext4 that can lose its power, fill up, or become read-only.

use std::{
    fs::{self, File},
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

/// `EXT4_IOC_SHUTDOWN` of `fs/ext4/ext4.h`, the same number as XFS's `XFS_IOC_GOINGDOWN`.
const SHUTDOWN: libc::c_ulong = 0x8004_587d;
/// Nothing is flushed, not even the journal.
const NO_FLUSH: u32 = 2;
const TRIES: usize = 400;
const PAUSE: Duration = Duration::from_millis(25);

/// Mounted until dropped.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    mount: PathBuf,
}

impl Disk {
    /// An empty file system of some MiB, image and mount point in `folder`.
    ///
    /// # Errors
    /// No privileges, no loop devices, or no `mkfs.ext4`.
    pub fn make(folder: &Path, mebibytes: u64) -> Result<Self> {
        let disk = Self { image: folder.join("disk.img"), mount: folder.join("disk") };
        File::create(&disk.image)?.set_len(mebibytes << 20)?;
        fs::create_dir_all(&disk.mount)?;
        let options = "lazy_itable_init=0,lazy_journal_init=0";
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-E", options]).arg(&disk.image))?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    fn mount(&self) -> Result<()> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.mount))
    }

    /// The power fails: what was not synced is gone. The disk takes nothing any more until [`Self::restore`].
    ///
    /// # Errors
    /// The file system knows no such thing.
    pub fn cut(&self) -> Result<()> {
        let root = File::open(&self.mount)?;
        let mut how = NO_FLUSH;
        // SAFETY: the argument is the 32-bit number that this request reads.
        let result = unsafe { libc::ioctl(root.as_raw_fd(), SHUTDOWN, &raw mut how) };
        ensure!(result == 0, "cannot shut the file system down: {}", io::Error::last_os_error());
        Ok(())
    }

    /// The power is back: the journal is replayed. Nobody may use the disk meanwhile.
    ///
    /// # Errors
    /// Somebody does, or the file system cannot be mounted.
    pub fn restore(&self) -> Result<()> {
        self.unmount()?;
        self.mount()
    }

    fn unmount(&self) -> Result<()> {
        persist(|| run(Command::new("umount").arg(&self.mount)))
    }

    /// Makes it read-only or writable. That takes a moment in which nobody has a file open for writing.
    ///
    /// # Errors
    /// There is none.
    pub fn remount(&self, how: &str) -> Result<()> {
        persist(|| run(Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.mount)))
    }

    /// Takes all the room that is left; gives the file that has it.
    ///
    /// # Errors
    /// Nothing can be written at all.
    pub fn fill(&self) -> Result<PathBuf> {
        let path = self.mount.join("filler");
        let mut file = File::create(&path)?;
        for octets in [1 << 20, 1 << 12, 1] {
            while io::Write::write(&mut file, &vec![0; octets]).is_ok_and(|written| written > 0) {}
        }
        Ok(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.unmount();
    }
}

/// Tries again while somebody is in the way.
fn persist(mut what: impl FnMut() -> Result<()>) -> Result<()> {
    let mut tries = 0;
    loop {
        match what() {
            Err(_) if tries < TRIES => tries += 1,
            result => return result,
        }
        thread::sleep(PAUSE);
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
