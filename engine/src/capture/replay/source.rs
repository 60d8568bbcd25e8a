//! A path to octets: opening, standard input, and unpacking of gzip and zstd on a thread of its own.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crossbeam::channel::{Receiver, Sender, bounded};

use super::{
    fault::ReplayError,
    limit::{UNPACKED_BUFFERS, UNPACKED_OCTETS},
    window::rejoin,
};

/// How packed contents are unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unpack {
    /// On a thread of its own, so that it overlaps with metering.
    Beside,
    /// By the reader, for a look at the start.
    Inline,
}

/// A capture's octets as stored, and how many there are (`None`: a pipe).
pub(super) struct Opened {
    pub(super) input: Box<dyn Read + Send>,
    pub(super) octets: Option<u64>,
}

/// Opens a path; `-` is standard input.
pub(super) fn open(path: &Path, name: &Arc<str>) -> Result<Opened, ReplayError> {
    if path.as_os_str() == "-" {
        return Ok(Opened { input: Box::new(io::stdin()), octets: None });
    }
    let fail = |source: io::Error| match source.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => ReplayError::Missing { file: Arc::clone(name) },
        ErrorKind::IsADirectory => ReplayError::Directory { file: Arc::clone(name) },
        _ => ReplayError::Open { file: Arc::clone(name), source },
    };
    let file = File::open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    if metadata.is_dir() {
        return Err(ReplayError::Directory { file: Arc::clone(name) });
    }
    let octets = metadata.is_file().then_some(metadata.len());
    Ok(Opened { input: Box::new(file), octets })
}

/// Counts what is read of the stored file.
pub(super) struct Counted {
    pub(super) input: Box<dyn Read + Send>,
    pub(super) count: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// The capture's own octets: unpacked when the first ones are those of gzip or zstd.
pub(super) fn unpacked(mut input: Box<dyn Read + Send>, unpack: Unpack) -> io::Result<Box<dyn Read + Send>> {
    let mut first = [0; 4];
    let mut held = 0;
    while held < first.len() {
        match input.read(&mut first[held..]) {
            Ok(0) => break,
            Ok(count) => held += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let input = rejoin(first[..held].to_vec(), input);
    let packed: Box<dyn Read + Send> = match first {
        [0x1f, 0x8b, ..] if held >= 2 => Box::new(flate2::read::MultiGzDecoder::new(input)),
        // A zstd frame, or a skippable one before it.
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Box::new(zstd::stream::read::Decoder::new(input)?),
        _ => return Ok(input),
    };
    match unpack {
        Unpack::Inline => Ok(packed),
        Unpack::Beside => beside(packed),
    }
}

/// Moves a reader to a thread that stays a bounded number of buffers ahead. The thread ends at the end of its input, at an
/// error, or at the next buffer after its reader is gone.
fn beside(mut packed: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    let (full, filled) = bounded::<io::Result<Vec<u8>>>(UNPACKED_BUFFERS);
    let (empty, emptied) = bounded::<Vec<u8>>(UNPACKED_BUFFERS + 2);
    thread::Builder::new().name("unpack".into()).spawn(move || {
        loop {
            let mut buffer = emptied.try_recv().unwrap_or_default();
            buffer.resize(UNPACKED_OCTETS, 0);
            let (count, error) = fill(&mut packed, &mut buffer);
            buffer.truncate(count);
            // With nothing before it an error goes alone: an empty buffer is the end.
            if (count > 0 || error.is_none()) && full.send(Ok(buffer)).is_err() {
                return;
            }
            if let Some(error) = error {
                // A reader that is gone needs no error.
                let _ = full.send(Err(error));
                return;
            }
            if count == 0 {
                return;
            }
        }
    })?;
    Ok(Box::new(Beside { filled, empty, buffer: Vec::new(), at: 0, ended: false }))
}

/// Fills a buffer; less than full means the end, or the error that is returned with what came before it.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut count = 0;
    while count < buffer.len() {
        match input.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (count, Some(error)),
        }
    }
    (count, None)
}

/// The near end of [`beside`].
struct Beside {
    filled: Receiver<io::Result<Vec<u8>>>,
    empty: Sender<Vec<u8>>,
    buffer: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Read for Beside {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.buffer.len() && !self.ended {
            let next = self.filled.recv().map_err(|_| io::Error::other("the unpacking thread broke off"))?;
            let spent = std::mem::replace(&mut self.buffer, next?);
            self.at = 0;
            self.ended = self.buffer.is_empty();
            // Keeping a spent buffer is a saving, not a duty.
            let _ = self.empty.try_send(spent);
        }
        let count = into.len().min(self.buffer.len() - self.at);
        into[..count].copy_from_slice(&self.buffer[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
