//! Replay: capture files into frames, in time order over all files, lent from the read buffer.
//!
//! Formats are known by their first octets, never by name: pcap, pcapng and snoop, each also inside gzip (any number
//! of members) or zstd. `-` is standard input. Frames come as they were captured; what their octets mean is the link type's
//! matter ([`link::start`]) and the parser's. A fault in a file is an error after every whole frame before it.

mod fault;
mod head;
pub mod limit;
pub mod link;
mod merge;
mod pace;
mod pcap;
mod pcapng;
mod progress;
mod reader;
mod snoop;
mod source;
mod stamp;
#[cfg(test)]
mod tests;
mod window;

use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
};

pub use fault::ReplayError;
pub use pace::Pace;
pub use progress::Progress;

use self::{
    limit::{BLOCK_OCTETS_MAX, UNPACKED_BUFFERS, UNPACKED_OCTETS},
    merge::Merge,
    reader::Reader,
    source::Unpack,
    window::{WINDOW_OCTETS, WINDOW_OCTETS_MERGED},
};
use crate::flow::ObservationPoint;

/// One frame, lent until the next is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFrame<'a> {
    /// Time, nanoseconds since 1970; never more than a signed count holds. Zero for times before.
    pub at: u64,
    /// What was captured, from the link header on.
    pub octets: &'a [u8],
    /// Octets on the wire; at least as many as were captured, at most [`limit::WIRE_OCTETS_MAX`].
    pub wire_octets: u32,
    /// LINKTYPE number of the interface.
    pub link_type: u32,
    /// Index into [`Replay::interfaces`].
    pub interface: u32,
}

/// One file, or several.
enum Mode {
    One(Box<Reader>),
    Many(Merge),
}

/// Capture files being read.
pub struct Replay {
    mode: Mode,
    interfaces: Vec<ObservationPoint>,
    progress: Progress,
}

/// Window and state of an unpacker at most, bytes: zstd's frames ask for windows of up to 8 MiB unless made with `--long`.
const UNPACKER_BYTES: u64 = 9 << 20;

/// The most memory of reading `paths`, bytes, should all be open at once: a window each (one of them with a record of the longest kind),
/// and for each that is packed, by its name, what unpacks it.
pub fn memory_bound(paths: &[PathBuf]) -> u64 {
    let window = if paths.len() > 1 { WINDOW_OCTETS_MERGED } else { WINDOW_OCTETS } as u64;
    let packed = |path: &&PathBuf| path.extension().is_some_and(|kind| kind == "gz" || kind == "zst");
    let unpacking = UNPACKER_BYTES + (UNPACKED_BUFFERS * UNPACKED_OCTETS) as u64;
    paths.len() as u64 * window + paths.iter().filter(packed).count() as u64 * unpacking + u64::from(BLOCK_OCTETS_MAX)
}

impl Replay {
    /// Opens files; `-` is standard input. Every path must open; what is wrong inside a file is said by
    /// [`Replay::next_frame`].
    pub fn open(paths: &[PathBuf]) -> Result<Self, ReplayError> {
        if paths.iter().filter(|path| path.as_os_str() == "-").count() > 1 {
            return Err(ReplayError::StdinTwice);
        }
        let mut interfaces = Vec::new();
        let read: Arc<AtomicU64> = Arc::default();
        if let [path] = paths {
            let name = name(path);
            let opened = source::open(path, &name)?;
            let total = opened.octets;
            let reader = Reader::new(name, opened.input, Arc::clone(&read), WINDOW_OCTETS, Unpack::Beside);
            let mode = Mode::One(Box::new(reader));
            return Ok(Self { mode, interfaces, progress: Progress { read, total } });
        }
        let mut total = Some(0u64);
        let mut merge = Merge::new(Arc::clone(&read));
        for path in paths {
            let name = name(path);
            let opened = source::open(path, &name)?;
            total = total.zip(opened.octets).map(|(sum, octets)| sum.saturating_add(octets));
            merge.add(path, name, opened, &mut interfaces);
        }
        Ok(Self { mode: Mode::Many(merge), interfaces, progress: Progress { read, total } })
    }

    /// Reads one capture from any reader; `name` stands for the file in errors.
    pub fn from_reader(name: &str, input: impl Read + Send + 'static) -> Self {
        let progress = Progress::default();
        let count = Arc::clone(&progress.read);
        let reader = Reader::new(name.into(), Box::new(input), count, WINDOW_OCTETS, Unpack::Beside);
        Self { mode: Mode::One(Box::new(reader)), interfaces: Vec::new(), progress }
    }

    /// The next frame; `None` when all files are at their end.
    ///
    /// An error ends the file that it names, after that file's last whole frame. The next call goes on with the other files,
    /// or says `None`.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<RawFrame<'_>>, ReplayError> {
        match &mut self.mode {
            Mode::One(reader) => match reader.advance(&mut self.interfaces)? {
                Some(head) => Ok(Some(reader.lend(head))),
                None => Ok(None),
            },
            Mode::Many(merge) => merge.next_frame(&mut self.interfaces),
        }
    }

    /// The interfaces met so far, over all files. Indices stay; the list grows with [`Replay::next_frame`].
    pub fn interfaces(&self) -> &[ObservationPoint] {
        &self.interfaces
    }

    /// How far reading has come; the value stays current while frames are read.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").field("interfaces", &self.interfaces).field("progress", &self.progress).finish_non_exhaustive()
    }
}

/// A path as errors show it.
fn name(path: &Path) -> Arc<str> {
    if path.as_os_str() == "-" { "standard input".into() } else { path.to_string_lossy().as_ref().into() }
}
