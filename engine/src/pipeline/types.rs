//! What the command line asks of the pipeline, and what it gets.

use std::{net::SocketAddr, path::PathBuf};

use crate::{
    flow::{Address, UnixNanos},
    summary::Summary,
};

/// Why work ended before it was done.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// A stage failed; its message says what, where and what to do.
    #[error(transparent)]
    Stage(#[from] Box<dyn std::error::Error + Send + Sync>),
    /// A thread could not be started.
    #[error("cannot start thread {name}: {source}; raise the limit of processes")]
    Thread {
        /// Its name.
        name: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A thread panicked.
    #[error("thread {0} died: what it held is lost and the ledger says how much; report this with the log")]
    Died(String),
    /// An interface was gone at the end.
    #[error("interface {0} is gone: nothing was metered there any more; bring it back, or leave it out of `interfaces`")]
    Gone(String),
    /// Inputs could not be read to their end.
    #[error("{first}{}", more(*.others))]
    Inputs {
        /// The first error.
        first: String,
        /// How many more there are.
        others: usize,
    },
    /// No device has that number, address or name.
    #[error("no device is called {0:?}; `auscult devices` lists them by number, MAC, address and host name")]
    NoSuchDevice(String),
    /// More than one has it.
    #[error("{name:?} is what several devices are called: {ids}; give one of these numbers")]
    SeveralDevices {
        /// The name.
        name: String,
        /// Their numbers.
        ids: String,
    },
    /// Frames of the demo's scene did not reach the tap.
    #[error("{sent} frames were sent into the lab but {seen} reached the tap; see the ledger above and run the demo again")]
    Missing {
        /// Frames sent.
        sent: u64,
        /// Frames seen.
        seen: u64,
    },
}

fn more(others: usize) -> String {
    if others == 0 { String::new() } else { format!(" (and {others} more inputs: see `input_errors` of --json)") }
}

impl PipelineError {
    /// A stage's error.
    pub fn stage(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Stage(Box::new(error))
    }
}

/// What was done, and what kept it from being all.
#[derive(Debug)]
pub struct Outcome {
    /// What was done; printed in every case.
    pub summary: Summary,
    /// `None`: the work was done.
    pub error: Option<PipelineError>,
}

/// What `replay` is asked for beside the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayRequest {
    /// Captures; `-` is standard input.
    pub inputs: Vec<PathBuf>,
    /// Data directory.
    pub data: PathBuf,
    /// Capture time that passes per second; `None` is as fast as possible.
    pub speed: Option<f64>,
    /// Where to serve metrics, when asked to.
    pub listen: Option<SocketAddr>,
}

/// What `demo` is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoRequest {
    /// Seed of the scene.
    pub seed: u64,
    /// Directory to leave the lake in; `None` removes it.
    pub keep: Option<PathBuf>,
}

/// Which rows a listing command shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Data directory.
    pub data: PathBuf,
    /// Rows at most, newest first.
    pub limit: usize,
    /// Either end has this address.
    pub address: Option<Address>,
    /// Either end has this port.
    pub port: Option<u16>,
    /// Rows that end at or after this.
    pub since: Option<UnixNanos>,
    /// Rows that start before this.
    pub until: Option<UnixNanos>,
}

/// A column of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name in JSON and in the table's head.
    pub name: String,
    /// Shown in the table, too, and not only in JSON.
    pub in_table: bool,
}

/// Rows that a listing command prints. Times are RFC 3339 text; unknown values are null.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// Columns.
    pub columns: Vec<Column>,
    /// Rows; as many values as columns.
    pub rows: Vec<Vec<serde_json::Value>>,
    /// More rows matched than the limit let through.
    pub more: bool,
}
