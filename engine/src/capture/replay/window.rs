//! Bytes in: a sliding window over any [`Read`], from which frames are lent without a copy.
//!
//! Octets move only when the window is exhausted, and then only the unfinished record at its end. The window grows only when
//! a record does not fit *and* its octets have really arrived, so a false length in a damaged file costs no memory.

use std::{
    io::{self, ErrorKind, Read},
    ops::Range,
};

use super::fault::Fault;

/// Octets of a window at the start: large enough that a system call is rare, small enough to stay in a second-level cache.
pub(super) const WINDOW_OCTETS: usize = 256 << 10;
/// The same for one of many files that are merged.
pub(super) const WINDOW_OCTETS_MERGED: usize = 64 << 10;

/// The window.
pub(super) struct Window {
    input: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Offset in the input of `buffer[0]`.
    base: u64,
    /// The input has said that nothing follows.
    ended: bool,
}

impl Window {
    pub(super) fn new(input: Box<dyn Read + Send>, octets: usize) -> Self {
        Self { input, buffer: vec![0; octets.max(64)], start: 0, end: 0, base: 0, ended: false }
    }

    /// Makes `octets` octets available; `false` when the input ends before.
    #[inline(always)]
    pub(super) fn want(&mut self, octets: usize) -> Result<bool, Fault> {
        if self.end - self.start >= octets { Ok(true) } else { self.refill(octets) }
    }

    #[cold]
    fn refill(&mut self, octets: usize) -> Result<bool, Fault> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.base += self.start as u64;
        self.end -= self.start;
        self.start = 0;
        while self.end < octets && !self.ended {
            if self.end == self.buffer.len() {
                let grown = (self.buffer.len() * 2).min(octets.max(self.buffer.len() + 1));
                self.buffer.resize(grown, 0);
            }
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ended = true;
                    return Err(Fault::Read(self.base + self.end as u64, error));
                }
            }
        }
        Ok(self.end >= octets)
    }

    /// What is available now.
    #[inline(always)]
    pub(super) fn ready(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Passes over `octets` octets that are available and says where in the window they are.
    #[inline(always)]
    pub(super) fn pass(&mut self, octets: usize) -> Range<usize> {
        let start = self.start;
        self.start = (start + octets).min(self.end);
        start..self.start
    }

    /// Passes over `octets` octets that need not be available; `false` when the input ends before.
    pub(super) fn skip(&mut self, mut octets: u64) -> Result<bool, Fault> {
        loop {
            let here = (self.end - self.start).min(usize::try_from(octets).unwrap_or(usize::MAX));
            self.start += here;
            octets -= here as u64;
            if octets == 0 {
                return Ok(true);
            }
            if !self.refill(1)? {
                return Ok(false);
            }
        }
    }

    /// Octets lent by [`Window::pass`]; valid until the next `want` or `skip`.
    #[inline(always)]
    pub(super) fn lent(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    /// Offset in the input of the next octet.
    #[inline(always)]
    pub(super) fn offset(&self) -> u64 {
        self.base + self.start as u64
    }
}

/// Two octets at `at`, zero beyond the end.
#[inline(always)]
pub(super) fn u16_at(octets: &[u8], at: usize, big: bool) -> u16 {
    let field = octets.get(at..).and_then(<[u8]>::first_chunk::<2>).copied().unwrap_or_default();
    if big { u16::from_be_bytes(field) } else { u16::from_le_bytes(field) }
}

/// Four octets at `at`, zero beyond the end.
#[inline(always)]
pub(super) fn u32_at(octets: &[u8], at: usize, big: bool) -> u32 {
    let field = octets.get(at..).and_then(<[u8]>::first_chunk::<4>).copied().unwrap_or_default();
    if big { u32::from_be_bytes(field) } else { u32::from_le_bytes(field) }
}

/// A reader that gives `first` and then the rest of `second`.
pub(super) fn rejoin(first: Vec<u8>, second: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
    if first.is_empty() { second } else { Box::new(io::Cursor::new(first).chain(second)) }
}
