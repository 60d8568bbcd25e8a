//! Wires the stages. SEAM: the types are what the command line needs; the function bodies are placeholders to be replaced.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    config::Config,
    flow::{Address, UnixNanos},
    progress::Progress,
    shutdown::Shutdown,
    summary::Summary,
};

/// Why work ended before it was done.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// SEAM: to be removed when the stages are joined.
    #[error("{0} is not joined to the command line yet")]
    NotJoined(&'static str),
    /// A stage failed; its message says what, where and what to do.
    #[error(transparent)]
    Stage(#[from] Box<dyn std::error::Error + Send + Sync>),
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name in JSON and in the table's head.
    pub name: &'static str,
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

/// Meters captures.
pub fn replay(config: &Config, _request: &ReplayRequest, _shutdown: &Shutdown, _progress: &Arc<Progress>) -> Outcome {
    Outcome { summary: Summary::of_nothing(&config.site), error: Some(PipelineError::NotJoined("replay")) }
}

/// Meters the configuration's interfaces until the token is set.
pub fn run(config: &Config, _data: &Path, _shutdown: &Shutdown, _progress: &Arc<Progress>) -> Outcome {
    Outcome { summary: Summary::of_nothing(&config.site), error: Some(PipelineError::NotJoined("run")) }
}

/// Replays the generated scene.
pub fn demo(config: &Config, _request: &DemoRequest, _shutdown: &Shutdown, _progress: &Arc<Progress>) -> Outcome {
    Outcome { summary: Summary::of_nothing(&config.site), error: Some(PipelineError::NotJoined("demo")) }
}

/// Flow rows.
///
/// # Errors
/// When the lake cannot be read.
pub fn flows(_selection: &Selection) -> Result<Listing, PipelineError> {
    Err(PipelineError::NotJoined("flows"))
}

/// Coverage rows.
///
/// # Errors
/// When the lake cannot be read.
pub fn coverage(_selection: &Selection) -> Result<Listing, PipelineError> {
    Err(PipelineError::NotJoined("coverage"))
}

/// The data dictionary, as Markdown.
///
/// # Errors
/// SEAM: only until it is joined.
pub fn dictionary() -> Result<String, PipelineError> {
    Err(PipelineError::NotJoined("dictionary"))
}
