//! Several files in time order: a stable merge by the time of each file's next frame.
//!
//! Within a file the order stays as it is. Of equal times the file that was named first goes first. A file is looked into once
//! to learn its first time, closed, and opened again when the merge has come to that time: of a day of rotated files one or
//! two are open at once. Pipes stay open.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
};

use super::{
    RawFrame,
    fault::ReplayError,
    head::Head,
    reader::Reader,
    source::{self, Opened, Unpack},
    window::WINDOW_OCTETS_MERGED,
};
use crate::flow::ObservationPoint;

/// One of the files.
enum Stream {
    /// Looked into and closed.
    Closed(PathBuf, Arc<str>),
    /// The reader and the head of the frame that is its next.
    Open(Box<Reader>, Head),
    /// Read to its end, or to a fault.
    Over,
}

/// The merge.
pub(super) struct Merge {
    streams: Vec<Stream>,
    /// Time of the next frame and index of the file.
    queue: BinaryHeap<Reverse<(u64, usize)>>,
    /// Whose frame was lent last.
    lent: Option<usize>,
    /// Faults that were met before any frame was asked for.
    early: VecDeque<ReplayError>,
    read: Arc<AtomicU64>,
}

impl Merge {
    /// No files yet; stored octets are counted in `read`.
    pub(super) fn new(read: Arc<AtomicU64>) -> Self {
        Self { streams: Vec::new(), queue: BinaryHeap::new(), lent: None, early: VecDeque::new(), read }
    }

    /// Adds a file after looking into it. A fault inside comes when the file's turn comes.
    pub(super) fn add(&mut self, path: &Path, name: Arc<str>, opened: Opened, all: &mut Vec<ObservationPoint>) {
        let stream = if opened.octets.is_some() { self.look(path, name, opened) } else { self.keep(name, opened, all) };
        self.streams.push(stream);
    }

    /// Learns a file's first time. A fault here is met again, and reported, when the file is opened for good.
    fn look(&mut self, path: &Path, name: Arc<str>, opened: Opened) -> Stream {
        let count = Arc::default();
        let mut reader = Reader::new(Arc::clone(&name), opened.input, count, WINDOW_OCTETS_MERGED, Unpack::Inline);
        let at = match reader.advance(&mut Vec::new()) {
            Ok(Some(head)) => head.at,
            Ok(None) | Err(_) => 0,
        };
        self.queue.push(Reverse((at, self.streams.len())));
        Stream::Closed(path.into(), name)
    }

    /// Keeps a pipe, which cannot be opened twice.
    fn keep(&mut self, name: Arc<str>, opened: Opened, all: &mut Vec<ObservationPoint>) -> Stream {
        let count = Arc::clone(&self.read);
        let mut reader = Box::new(Reader::new(name, opened.input, count, WINDOW_OCTETS_MERGED, Unpack::Beside));
        match reader.advance(all) {
            Ok(Some(head)) => {
                self.queue.push(Reverse((head.at, self.streams.len())));
                Stream::Open(reader, head)
            }
            Ok(None) => Stream::Over,
            Err(error) => {
                self.early.push_back(error);
                Stream::Over
            }
        }
    }

    /// The next frame of all files. An error ends its file only.
    pub(super) fn next_frame(&mut self, all: &mut Vec<ObservationPoint>) -> Result<Option<RawFrame<'_>>, ReplayError> {
        if let Some(error) = self.early.pop_front() {
            return Err(error);
        }
        if let Some(index) = self.lent.take() {
            self.advance(index, all)?;
        }
        loop {
            let Some(Reverse((_, index))) = self.queue.pop() else { return Ok(None) };
            if matches!(self.streams[index], Stream::Open(..)) {
                self.lent = Some(index);
                break;
            }
            self.open(index, all)?;
        }
        let Some(Stream::Open(reader, head)) = self.lent.and_then(|index| self.streams.get(index)) else { return Ok(None) };
        Ok(Some(reader.lend(head.clone())))
    }

    /// Moves an open file to its next frame.
    fn advance(&mut self, index: usize, all: &mut Vec<ObservationPoint>) -> Result<(), ReplayError> {
        let Stream::Open(reader, head) = &mut self.streams[index] else { return Ok(()) };
        match reader.advance(all) {
            Ok(Some(next)) => {
                self.queue.push(Reverse((next.at, index)));
                *head = next;
                Ok(())
            }
            Ok(None) => {
                self.streams[index] = Stream::Over;
                Ok(())
            }
            Err(error) => {
                self.streams[index] = Stream::Over;
                Err(error)
            }
        }
    }

    /// Opens a file whose time has come.
    fn open(&mut self, index: usize, all: &mut Vec<ObservationPoint>) -> Result<(), ReplayError> {
        let Stream::Closed(path, name) = std::mem::replace(&mut self.streams[index], Stream::Over) else { return Ok(()) };
        let opened = source::open(&path, &name)?;
        let count = Arc::clone(&self.read);
        let mut reader = Box::new(Reader::new(name, opened.input, count, WINDOW_OCTETS_MERGED, Unpack::Beside));
        if let Some(head) = reader.advance(all)? {
            self.queue.push(Reverse((head.at, index)));
            self.streams[index] = Stream::Open(reader, head);
        }
        Ok(())
    }
}
