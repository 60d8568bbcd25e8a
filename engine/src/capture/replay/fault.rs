//! What can go wrong with a capture file: each error names the file, the place in it and what to do next.

use std::{io, sync::Arc};

use thiserror::Error;

/// A fault of one capture file. Every whole frame before it has been returned.
///
/// Offsets count octets of the capture format: of the file itself, or of its contents when the file is compressed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// Nothing at that path.
    #[error("{file}: no such file; check the path")]
    Missing {
        /// The path as given.
        file: Arc<str>,
    },
    /// The path is a directory.
    #[error("{file} is a directory; name the capture files in it, for example {file}/*.pcap")]
    Directory {
        /// The path as given.
        file: Arc<str>,
    },
    /// The file exists and cannot be opened.
    #[error("cannot open {file}: {source}; check that this user may read it")]
    Open {
        /// The path as given.
        file: Arc<str>,
        /// The system's reason.
        source: io::Error,
    },
    /// Standard input was named more than once.
    #[error("standard input (-) can be read only once; name it once")]
    StdinTwice,
    /// Reading stopped: a device error, or damaged gzip or zstd contents.
    #[error("cannot read {file} beyond octet {offset}: {source}; copy the file again, frames up to there were read")]
    Read {
        /// The path as given.
        file: Arc<str>,
        /// Octets of the capture that could be read.
        offset: u64,
        /// The reason.
        source: io::Error,
    },
    /// The first octets are those of no known format.
    #[error(
        "{file} is not a capture file ({found}); known are pcap, pcapng and snoop, also compressed with gzip or zstd; \
         what another tool can read, `editcap -F pcapng` converts"
    )]
    NotCapture {
        /// The path as given.
        file: Arc<str>,
        /// What it starts with.
        found: String,
    },
    /// A known format in a version that is not.
    #[error("{file}, octet {offset}: {what} is not supported; convert the file with `editcap -F pcapng`")]
    Unsupported {
        /// The path as given.
        file: Arc<str>,
        /// Where that is written.
        offset: u64,
        /// What was met.
        what: String,
    },
    /// The file ends within a record.
    #[error(
        "{file} is cut short: it ends within the {what} at octet {offset}; frames before it were read, copy the file again \
         if the rest is needed"
    )]
    Truncated {
        /// The path as given.
        file: Arc<str>,
        /// Where the incomplete record starts.
        offset: u64,
        /// What is incomplete.
        what: &'static str,
    },
    /// A record contradicts itself.
    #[error(
        "{file} is damaged at octet {offset}: {what}; frames before it were read, capture or copy the file again if the rest \
         is needed"
    )]
    Damaged {
        /// The path as given.
        file: Arc<str>,
        /// Where the damaged record starts.
        offset: u64,
        /// What contradicts what.
        what: String,
    },
}

impl ReplayError {
    /// The input, as it was given.
    pub fn input(&self) -> String {
        match self {
            Self::StdinTwice => "-".to_owned(),
            Self::Missing { file }
            | Self::Directory { file }
            | Self::Open { file, .. }
            | Self::Read { file, .. }
            | Self::NotCapture { file, .. }
            | Self::Unsupported { file, .. }
            | Self::Truncated { file, .. }
            | Self::Damaged { file, .. } => file.to_string(),
        }
    }
}

/// A fault within a file whose name the caller knows.
#[derive(Debug)]
pub(super) enum Fault {
    /// The bytes stopped coming.
    Read(u64, io::Error),
    /// See [`ReplayError::NotCapture`].
    NotCapture(String),
    /// See [`ReplayError::Unsupported`].
    Unsupported(u64, String),
    /// See [`ReplayError::Truncated`].
    Truncated(u64, &'static str),
    /// See [`ReplayError::Damaged`].
    Damaged(u64, String),
}

impl Fault {
    /// The fault with its file.
    pub(super) fn of(self, file: &Arc<str>) -> ReplayError {
        let file = Arc::clone(file);
        match self {
            Self::Read(offset, source) => ReplayError::Read { file, offset, source },
            Self::NotCapture(found) => ReplayError::NotCapture { file, found },
            Self::Unsupported(offset, what) => ReplayError::Unsupported { file, offset, what },
            Self::Truncated(offset, what) => ReplayError::Truncated { file, offset, what },
            Self::Damaged(offset, what) => ReplayError::Damaged { file, offset, what },
        }
    }
}
