//! Network namespaces that exist as long as a value, and entering them.

use std::{
    fs::{self, File},
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use super::{LabError, command::run};

const DIRECTORY: &str = "/run/netns";
const PREFIX: &str = "auscult-lab-";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A named network namespace; removed with everything in it when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes `auscult-lab-<pid>-<n>`, in which IPv6 is off on every interface to come.
    pub(super) fn make() -> Result<Self, LabError> {
        let name = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        run("ip", &format!("netns add {name}"))?;
        let namespace = Self { name };
        namespace.run(|| {
            for scope in ["all", "default"] {
                // A kernel without IPv6 has no such file, and nothing to turn off.
                let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1");
            }
        })?;
        Ok(namespace)
    }

    /// Its name, as `ip -n` takes it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it, as `nsenter --net=` takes it.
    pub fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }

    /// Moves the calling thread into the namespace, for good.
    ///
    /// # Errors
    /// The namespace is gone, or the process may not.
    pub fn enter(&self) -> Result<(), LabError> {
        enter(&self.path())
    }

    /// Runs something inside, on a thread of its own.
    ///
    /// # Errors
    /// As [`Self::enter`].
    ///
    /// # Panics
    /// When `inside` panics.
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        let work = || self.enter().map(|()| inside());
        thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the sweep of a later process.
        let _ = run("ip", &format!("netns del {}", self.name));
    }
}

/// Moves the calling thread into the namespace of a file.
pub(super) fn enter(path: &Path) -> Result<(), LabError> {
    let system = |source| LabError::System { what: "enter a network namespace", source };
    let file = File::open(path).map_err(system)?;
    // SAFETY: the descriptor is open for the length of the call; no memory is passed.
    match unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(system(io::Error::last_os_error())),
    }
}

/// Removes the namespaces that processes left behind which are no more. Returns how many.
///
/// # Errors
/// A leftover cannot be removed.
pub fn sweep() -> Result<usize, LabError> {
    let Ok(entries) = fs::read_dir(DIRECTORY) else { return Ok(0) };
    let mut removed = 0;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if owner(&name).is_some_and(|process| !Path::new("/proc").join(process.to_string()).exists()) {
            match run("ip", &format!("netns del {name}")) {
                // Another process may sweep too.
                Err(_) if !entry.path().exists() => {}
                result => {
                    result?;
                    removed += 1;
                }
            }
        }
    }
    Ok(removed)
}

/// The process that made a namespace of that name.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn owner_of_names() {
        assert_eq!(owner("auscult-lab-417-0"), Some(417));
        assert_eq!(owner("auscult-lab-x-0"), None);
        assert_eq!(owner("auscult-lab-417"), None);
        assert_eq!(owner("other-417-0"), None);
    }
}
