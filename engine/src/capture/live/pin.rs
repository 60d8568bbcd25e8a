//! What outlives the engine: links and maps under `<bpffs>/auscult/<site>/<abi>/<books>/<interface>:<attachment>:<namespace>/`.
//!
//! A killed engine leaves its programs metering into pinned maps; the next one finds them by the name of the books that both keep
//! ([`crate::account`]), and goes on where the other stopped. A lock on the directory of the books says that an engine lives. Maps
//! that all interfaces of an engine share stand in that directory itself ([`SHARED`]). What nobody can go on with is removed and
//! said: pins of another layout, and of interfaces that are gone.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use auscult_ebpf::record::{ABI, Counters, CpuMemory};
use aya::maps::{Map, MapData, PerCpuArray};

use super::link;

/// Maps of each interface that are pinned, besides its rings.
pub(super) const MAPS: [&str; 3] = ["RINGS", "SETS", "CORE"];
/// Maps that all interfaces of one engine share.
pub(super) const SHARED: [&str; 1] = ["RECENT"];
const ROOT: &str = "auscult";
const USUAL: &str = "/sys/fs/bpf";
/// `BPF_FS_MAGIC` of `linux/magic.h`.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
/// Begins the name of a pinned link; the hook follows.
const LINK: &str = "link:";

/// The directory of one engine's books, locked.
#[derive(Debug)]
pub struct Pins {
    directory: PathBuf,
    namespace: u64,
    _lock: File,
}

/// The directory of one attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TapPins {
    books: PathBuf,
    directory: PathBuf,
    /// It is of an interface of this network namespace.
    pub(super) native: bool,
}

impl Pins {
    /// The pins of the books `id`. The BPF file system is found, or mounted at its usual place.
    ///
    /// # Errors
    /// Why nothing can be pinned, in words.
    pub fn open(site: &str, id: &str) -> Result<Self, String> {
        let root = file_system()?;
        let directory = root.join(ROOT).join(site).join(ABI.to_string()).join(id);
        loop {
            let made = fs::create_dir_all(&directory).and_then(|()| File::open(&directory));
            let lock = made.map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(format!("another engine has {}", directory.display())),
                Err(TryLockError::Error(error)) => return Err(format!("cannot lock {}: {error}", directory.display())),
            }
            // Another engine may have taken the empty directory for a dead one's before it was locked.
            let is_there = fs::metadata(&directory).and_then(|there| Ok(there.ino() == lock.metadata()?.ino()));
            if is_there.unwrap_or(false) {
                return Ok(Self { directory, namespace: namespace(), _lock: lock });
            }
        }
    }

    /// The directory of an attachment, which need not exist.
    pub(super) fn tap(&self, name: &str, attachment: u32) -> TapPins {
        let begin = format!("{}:{attachment}:", plain(name));
        let own = format!("{begin}{}", self.namespace);
        let foreign = names(&self.directory).into_iter().find(|name| name.starts_with(&begin) && *name != own);
        let native = foreign.is_none();
        TapPins { books: self.directory.clone(), directory: self.directory.join(foreign.unwrap_or(own)), native }
    }

    /// Removes every attachment of these books but `kept`, by name and number; a line for each.
    pub fn remove_others(&self, kept: &[(&str, u32)]) -> Vec<String> {
        let kept: Vec<TapPins> = kept.iter().map(|(name, attachment)| self.tap(name, *attachment)).collect();
        let mut said = Vec::new();
        for name in names(&self.directory) {
            let directory = self.directory.join(&name);
            if directory.is_dir() && !kept.iter().any(|pins| pins.directory == directory) {
                said.push(format!("pins of a closed attachment are removed: {}", directory.display()));
                remove_tree(&directory);
            }
        }
        said
    }

    /// Removes what no engine can go on with: pins of another layout, and of interfaces that are gone. A line for each.
    pub fn remove_stale(&self) -> Vec<String> {
        let mut said = Vec::new();
        let Some(site) = self.directory.parent().and_then(Path::parent) else { return said };
        for abi in names(site) {
            for id in names(&site.join(&abi)) {
                let books = site.join(&abi).join(&id);
                // Held until it is decided, or an engine that starts now would lose its pins.
                let lock = File::open(&books).ok();
                if books == self.directory || lock.as_ref().is_some_and(is_locked) {
                    continue;
                }
                if abi != ABI.to_string() {
                    said.push(format!("pins of another version are removed: {}; what their rings held is lost", books.display()));
                    remove_tree(&books);
                } else if names(&books).iter().all(|name| SHARED.contains(&name.as_str()) || is_dead(&books.join(name))) {
                    said.push(format!("pins of interfaces that are gone are removed: {}", books.display()));
                    remove_tree(&books);
                }
            }
            // Only when nothing is left in it.
            let _ = fs::remove_dir(site.join(&abi));
        }
        said
    }

    /// Removes everything of these books: nothing is attached or kept any more.
    pub fn remove(self) {
        remove_tree(&self.directory);
        for parent in self.directory.ancestors().skip(1).take(3) {
            // Ends at the first that others still use.
            if fs::remove_dir(parent).is_err() {
                break;
            }
        }
    }
}

impl TapPins {
    /// Makes the directory.
    pub(super) fn make(&self) -> io::Result<()> {
        fs::create_dir_all(&self.directory)
    }

    /// Where a map of this interface is pinned, or one that all interfaces share.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        if SHARED.contains(&name) { self.books.join(name) } else { self.directory.join(name) }
    }

    /// Where the ring of a CPU is pinned.
    pub(super) fn ring(&self, cpu: u32) -> PathBuf {
        self.directory.join(format!("RING{cpu}"))
    }

    /// CPUs that have a ring, in order.
    pub(super) fn cpus(&self) -> Vec<u32> {
        let names = names(&self.directory).into_iter();
        let mut cpus: Vec<u32> = names.filter_map(|name| name.strip_prefix("RING")?.parse().ok()).collect();
        cpus.sort_unstable();
        cpus
    }

    /// Where the link at a hook is pinned.
    pub(super) fn link(&self, hook: &str) -> PathBuf {
        self.directory.join(format!("{LINK}{hook}"))
    }

    /// Every pinned link, with the name of its hook.
    pub(super) fn links(&self) -> Vec<(String, PathBuf)> {
        let names = names(&self.directory).into_iter();
        names.filter_map(|name| Some((name.strip_prefix(LINK)?.to_owned(), self.directory.join(&name)))).collect()
    }

    /// Whether all maps of an attachment are there.
    pub(super) fn whole(&self) -> bool {
        MAPS.iter().all(|map| self.map(map).exists()) && !self.cpus().is_empty()
    }

    /// Entries of a map, and octets of a ring.
    pub(super) fn entries(&self, path: &Path) -> Option<u32> {
        MapData::from_pin(path).ok()?.info().ok().map(|info| info.max_entries())
    }

    /// The counters of all CPUs, as the kernel has them now.
    pub(super) fn counters(&self) -> Option<Vec<Counters>> {
        #[derive(Clone, Copy)]
        #[repr(transparent)]
        struct Cpu(CpuMemory);
        // SAFETY: `CpuMemory` is `Plain`: integers without padding.
        unsafe impl aya::Pod for Cpu {}
        let map = Map::PerCpuArray(MapData::from_pin(self.map("CORE")).ok()?);
        let core: PerCpuArray<MapData, Cpu> = PerCpuArray::try_from(map).ok()?;
        Some(core.get(&0, 0).ok()?.iter().map(|cpu| cpu.0.core.counters).collect())
    }

    /// Removes what an engine left that was killed before all of it was there.
    pub(super) fn remove(&self) {
        remove_tree(&self.directory);
    }

    /// Detaches: removes every link.
    pub(super) fn detach(&self) {
        for (_, path) in self.links() {
            // An interface that is gone has detached it.
            let _ = link::open(&path).and_then(|link| link::detach(link.as_fd()));
            let _ = fs::remove_file(path);
        }
    }
}

/// Where other books than those of `own` have pinned what meters the interface `index` of this thread's network namespace.
pub(super) fn metered_by(index: u32, own: Option<&TapPins>) -> Option<PathBuf> {
    let root = mounted()?.join(ROOT);
    let mut directories = vec![root];
    // Site, layout, books, attachment.
    for _ in 0..4 {
        directories =
            directories.iter().flat_map(|directory| names(directory).into_iter().map(|name| directory.join(name))).collect();
    }
    let namespace = format!(":{}", namespace());
    directories.into_iter().find(|tap| {
        let is_own = own.is_some_and(|own| tap.starts_with(&own.books));
        !is_own && tap.to_string_lossy().ends_with(&namespace) && interfaces(tap).any(|at| at == index)
    })
}

/// Whether nothing meters into an attachment's maps any more.
fn is_dead(tap: &Path) -> bool {
    interfaces(tap).next().is_none()
}

/// Interfaces that an attachment's links are at.
fn interfaces(tap: &Path) -> impl Iterator<Item = u32> {
    let links = names(tap).into_iter().filter(|name| name.starts_with(LINK));
    links.filter_map(move |name| link::interface(link::open(&tap.join(name)).ok()?.as_fd()).ok()?)
}

/// Whether another has a directory's lock; if not, this process has it now.
fn is_locked(directory: &File) -> bool {
    matches!(directory.try_lock(), Err(TryLockError::WouldBlock))
}

/// Dots are reserved in a BPF file system; colons are in no interface's name.
fn plain(name: &str) -> String {
    name.replace('.', "::")
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Removes links before maps: nothing meters into what is gone. Failures leave pins that the next start finds.
fn remove_tree(directory: &Path) {
    let mut names = names(directory);
    names.sort_by_key(|name| !name.starts_with(LINK));
    for name in names {
        let path = directory.join(name);
        if path.is_dir() {
            remove_tree(&path);
        } else {
            let _ = fs::remove_file(path);
        }
    }
    let _ = fs::remove_dir(directory);
}

/// Number of this thread's network namespace.
fn namespace() -> u64 {
    fs::metadata("/proc/thread-self/ns/net").map_or(0, |about| about.ino())
}

/// The BPF file system of this mount namespace.
fn file_system() -> Result<PathBuf, String> {
    if let Some(found) = mounted() {
        return Ok(found);
    }
    let (kind, at) = (c"bpf", c"/sys/fs/bpf");
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: C strings that live through the call.
    match unsafe { libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), flags, c"mode=0700".as_ptr().cast()) } {
        0 => mounted().ok_or_else(|| format!("{USUAL} is not a BPF file system")),
        _ => Err(format!("no BPF file system is mounted, and none can be at {USUAL}: {}", io::Error::last_os_error())),
    }
}

fn mounted() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    // What was mounted over it hides it.
    let places: Vec<&str> = mounts.lines().filter_map(place).filter(|place| is_bpf(place)).collect();
    places.iter().find(|place| **place == USUAL).or(places.first()).map(PathBuf::from)
}

/// Whether a BPF file system answers at a place.
fn is_bpf(place: &str) -> bool {
    let Ok(place) = std::ffi::CString::new(place) else { return false };
    // SAFETY: all-zero octets are a valid answer.
    let mut answer: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a C string and an answer that live through the call.
    let result = unsafe { libc::statfs(place.as_ptr(), &raw mut answer) };
    result == 0 && answer.f_type as i64 == BPF_FS_MAGIC
}

/// The place of a writable BPF file system in a line of `/proc/self/mounts`.
fn place(line: &str) -> Option<&str> {
    let mut fields = line.split(' ');
    let (place, kind, options) = (fields.nth(1)?, fields.next()?, fields.next()?);
    // A place with a blank is written with an escape, which nobody has for this.
    (kind == "bpf" && options.split(',').any(|option| option == "rw") && !place.contains('\\')).then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writable_bpf_file_systems_are_found() {
        assert_eq!(place("none /sys/fs/bpf bpf rw,nosuid,relatime,mode=700 0 0"), Some("/sys/fs/bpf"));
        assert_eq!(place("none /sys/fs/bpf bpf ro,relatime 0 0"), None);
        assert_eq!(place("bpf /mnt tmpfs rw 0 0"), None);
        assert_eq!(place(""), None);
    }

    #[test]
    fn names_without_dots() {
        assert_eq!(plain("eth0.100"), "eth0::100");
        assert_eq!(plain("tap0"), "tap0");
    }
}
