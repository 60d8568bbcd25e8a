//! Configuration: one TOML file and the flags that override it become a [`Config`] whose every value was checked and has its
//! unit in its type.
//!
//! Keys, rules and defaults are one table, [`key::KEYS`]. An unknown key, a wrong type, a value out of range or values that
//! contradict each other are all found at once, each with its line; nothing is taken over from a file with a fault.

mod choice;
pub mod key;
mod raw;
mod source;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use auscult_ebpf::sample::Class;
use toml::Value;

pub use self::choice::{Clock, Duplicates, Hook, LogFormat, LogLevel};
use self::{
    choice::DispositionChoice,
    key::{KEYS, Key},
    raw::{Raw, RawSamples},
    source::{Source, one_line},
};
use crate::limit::{CONFIG_OCTETS_MAX, SHARDS_MAX};

/// The validated configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Observation domain; `[a-z0-9_-]{1,64}`.
    pub site: Arc<str>,
    /// Tap interfaces, each once.
    pub interfaces: Vec<Arc<str>>,
    /// Lake and state; see [`Config::data_directory`] for the commands that need it.
    pub data_directory: Option<PathBuf>,
    /// Metrics and health; `None` is off.
    pub listen: Option<SocketAddr>,
    /// Flow table.
    pub biflow: Biflow,
    /// Kernel side.
    pub meter: Meter,
    /// Sampler.
    pub samples: Samples,
    /// Parquet files.
    pub lake: Lake,
    /// Log lines.
    pub log: Log,
    /// A device of the evaluation whose own rules do not count. Not in the file: evaluations alone set it.
    pub left_out: Option<Box<str>>,
}

/// Flow table settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Biflow {
    /// No packet for this long ends a flow.
    pub idle_timeout: Duration,
    /// A flow this long open is cut into a segment. Not below `idle_timeout`.
    pub active_timeout: Duration,
    /// Open flows over all shards.
    pub max_flows: usize,
    /// Threads with a table, from one to [`SHARDS_MAX`].
    pub shards: usize,
}

/// What becomes of a metered frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It ends in the program; only on dedicated interfaces.
    Drop,
    /// The network stack gets it.
    Pass,
}

/// Kernel-side settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meter {
    /// Source of packet times.
    pub clock: Clock,
    /// Sets of the flow cache per CPU, a power of two.
    pub sets: u32,
    /// The outermost VLAN is part of the flow key.
    pub vlan_in_key: bool,
    /// What becomes of packets that were mirrored twice.
    pub duplicates: Duplicates,
    /// How much later the same packet is a second copy.
    pub duplicate_window: Duration,
    /// What becomes of a metered frame.
    pub disposition: Disposition,
    /// Where the program attaches.
    pub hook: Hook,
    /// Ring buffer per CPU, a power of two and a multiple of the page size.
    pub ring_bytes: u32,
    /// Time between Marks.
    pub mark_interval: Duration,
}

/// Sampler settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Samples {
    /// Whether samples are taken at all.
    pub enabled: bool,
    /// Octets that a class may use per tick and CPU, indexed by [`Class`].
    pub share_octets_per_tick: [u64; Class::CELLS],
}

/// Parquet settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lake {
    /// Rows at which a file is closed.
    pub rotate_rows: usize,
    /// Age of its oldest row at which a file is closed.
    pub rotate_after: Duration,
    /// Zstandard level.
    pub zstd_level: i32,
}

/// Log settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// Least severe level written.
    pub level: LogLevel,
    /// Form of a line.
    pub format: LogFormat,
}

/// What flags said. `None`: the file or the default decides.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--site`
    pub site: Option<String>,
    /// `--interface`
    pub interfaces: Option<Vec<String>>,
    /// `--data`
    pub data_directory: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<String>,
    /// `--shards`
    pub shards: Option<String>,
    /// `--log`
    pub log_level: Option<String>,
    /// `--log-format`
    pub log_format: Option<String>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file; `None` for a flag.
    pub file: Option<PathBuf>,
    /// The line in it, from one.
    pub line: Option<usize>,
    /// Key, what was expected, what was found.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{}:{line}: {}", file.display(), self.what),
            (Some(file), None) => write!(f, "{}: {}", file.display(), self.what),
            _ => f.write_str(&self.what),
        }
    }
}

/// No configuration came of it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {error}: check the path given with --config", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is no configuration.
    #[error("{} has {octets} octets, a configuration has at most {CONFIG_OCTETS_MAX}: is it the right file?", .file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// Its size.
        octets: u64,
    },
    /// Keys or values are wrong; at least one problem.
    #[error("{}", first_of(.0))]
    Invalid(Vec<Problem>),
    /// A command needs what is not set.
    #[error("no {what}: give {flag}, or set {key} in the file given with --config")]
    Missing {
        /// In words.
        what: &'static str,
        /// The flag.
        flag: &'static str,
        /// The key.
        key: &'static str,
    },
}

fn first_of(problems: &[Problem]) -> String {
    match problems {
        [] => "the configuration is not valid".to_owned(),
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first} (and {} more: `auscult check` lists them)", rest.len()),
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The table.
    Default,
    /// This line of the file.
    Line(usize),
    /// This flag.
    Flag(&'static str),
}

/// One key's value in effect.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The key.
    pub key: &'static Key,
    /// TOML text of the value; empty when unset.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// A configuration with the origin of every value.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The validated configuration.
    pub config: Config,
    /// Every key, in the order of the reference.
    pub settings: Vec<Setting>,
}

/// Reads the file, if there is one, and lets the flags override it.
///
/// # Errors
/// When the file cannot be read or anything in it or in the flags is not valid; then nothing of it counts.
pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Loaded, ConfigError> {
    let Some(file) = file else { return parse(PathBuf::new(), "", overrides) };
    let read = |error| ConfigError::Read { file: file.to_owned(), error };
    let octets = std::fs::metadata(file).map_err(read)?.len();
    if octets > CONFIG_OCTETS_MAX {
        return Err(ConfigError::TooLarge { file: file.to_owned(), octets });
    }
    parse(file.to_owned(), &std::fs::read_to_string(file).map_err(read)?, overrides)
}

/// [`load`] of a text; `file` is its name in messages.
///
/// # Errors
/// As [`load`].
pub fn parse(file: PathBuf, text: &str, overrides: &Overrides) -> Result<Loaded, ConfigError> {
    let mut source = Source::parse(file, text);
    if !source.problems.is_empty() {
        return Err(ConfigError::Invalid(source.problems));
    }
    let mut raw: Raw = match toml::from_str(text) {
        Ok(raw) => raw,
        Err(error) => {
            source.problem(error.span().unwrap_or_default(), one_line(error.message()));
            return Err(ConfigError::Invalid(source.problems));
        }
    };
    let flags = override_raw(&mut raw, overrides);
    let values = flatten(&raw);
    let origin = |name: &'static str| match flags.get(name) {
        Some(flag) => Origin::Flag(flag),
        None => source.lines.get(name).map_or(Origin::Default, |line| Origin::Line(*line)),
    };
    let mut problems = Vec::new();
    for key in KEYS {
        let Some(value) = values.get(key.name) else { continue };
        if !key.rule.accepts(value) {
            problems.push(problem(&source.file, key.name, &origin(key.name), &format!("{value}: expected {}", key.rule.words())));
        }
    }
    if problems.is_empty() {
        let contradictions = contradictions(&raw).into_iter();
        problems = contradictions.map(|(name, what)| problem(&source.file, name, &origin(name), &what)).collect();
    }
    if !problems.is_empty() {
        problems.sort_by_key(|problem| problem.line);
        return Err(ConfigError::Invalid(problems));
    }
    let value = |name| values.get(name).map(Value::to_string).unwrap_or_default();
    let settings = KEYS.iter().map(|key| Setting { key, value: value(key.name), origin: origin(key.name) }).collect();
    Ok(Loaded { config: Config::from_checked(&raw), settings })
}

fn problem(file: &Path, name: &str, origin: &Origin, what: &str) -> Problem {
    match origin {
        Origin::Flag(flag) => Problem { file: None, line: None, what: format!("{flag} {what}") },
        Origin::Line(line) => Problem { file: Some(file.to_owned()), line: Some(*line), what: format!("{name} = {what}") },
        Origin::Default => {
            let file = (!file.as_os_str().is_empty()).then(|| file.to_owned());
            Problem { file, line: None, what: format!("{name} = {what}") }
        }
    }
}

/// Puts the flags' values in and says which keys they set.
fn override_raw(raw: &mut Raw, overrides: &Overrides) -> BTreeMap<&'static str, &'static str> {
    let mut set = Vec::new();
    let mut text = |into: &mut String, from: &Option<String>, name| {
        if let Some(from) = from {
            from.clone_into(into);
            set.push(name);
        }
    };
    text(&mut raw.site, &overrides.site, "site");
    text(&mut raw.listen, &overrides.listen, "listen");
    text(&mut raw.log.level, &overrides.log_level, "log.level");
    text(&mut raw.log.format, &overrides.log_format, "log.format");
    if let Some(shards) = &overrides.shards {
        raw.biflow.shards = shards.parse().map_or_else(|_| Value::String(shards.clone()), Value::Integer);
        set.push("biflow.shards");
    }
    if let Some(interfaces) = &overrides.interfaces {
        raw.interfaces.clone_from(interfaces);
        set.push("interfaces");
    }
    if let Some(directory) = &overrides.data_directory {
        raw.data_directory = Some(directory.to_string_lossy().into_owned());
        set.push("data_directory");
    }
    set.into_iter().filter_map(|name| Some((name, Key::find(name)?.flag?))).collect()
}

/// Dotted names and values of everything that is set.
fn flatten(raw: &Raw) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    let Ok(Value::Table(table)) = Value::try_from(raw) else { return flat };
    for (name, value) in table {
        match value {
            Value::Table(section) => flat.extend(section.into_iter().map(|(key, value)| (format!("{name}.{key}"), value))),
            value => drop(flat.insert(name, value)),
        }
    }
    flat
}

/// Values that are possible each for itself, but not together.
fn contradictions(raw: &Raw) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let biflow = &raw.biflow;
    if biflow.active_timeout_secs < biflow.idle_timeout_secs {
        let what = format!(
            "{}: expected at least biflow.idle_timeout_secs, which is {}",
            biflow.active_timeout_secs, biflow.idle_timeout_secs
        );
        found.push(("biflow.active_timeout_secs", what));
    }
    if raw.meter.disposition == DispositionChoice::Drop.name() && !raw.meter.dedicated {
        let what = "\"drop\": the host would no longer hear its own traffic on a shared interface: set meter.dedicated = true if it is \
                    a tap port only, or use \"auto\"";
        found.push(("meter.disposition", what.to_owned()));
    }
    let samples: i64 = shares(&raw.samples).into_iter().sum();
    if raw.samples.enabled && samples > raw.meter.ring_bytes / 2 {
        let what = format!(
            "{}: expected at least twice the sum of the sample shares, which is {samples}, so that samples cannot crowd out flow counts",
            raw.meter.ring_bytes
        );
        found.push(("meter.ring_bytes", what));
    }
    found
}

/// Shares in the order of [`Class`].
fn shares(raw: &RawSamples) -> [i64; Class::CELLS] {
    let mut shares = [0; Class::CELLS];
    for class in Class::ALL {
        shares[class as usize] = match class {
            Class::None => 0,
            Class::Link => raw.link_octets_per_tick,
            Class::Address => raw.address_octets_per_tick,
            Class::Name => raw.name_octets_per_tick,
            Class::Announce => raw.announce_octets_per_tick,
            Class::Clinical => raw.clinical_octets_per_tick,
            Class::Stream => raw.stream_octets_per_tick,
            Class::Datagram => raw.datagram_octets_per_tick,
        };
    }
    shares
}

impl Config {
    /// The data directory of a command that cannot do without.
    ///
    /// # Errors
    /// When neither flag nor file names one.
    pub fn data_directory(&self) -> Result<&Path, ConfigError> {
        let missing = ConfigError::Missing { what: "data directory", flag: "--data DIR", key: "data_directory" };
        self.data_directory.as_deref().ok_or(missing)
    }

    /// The tap interfaces of a command that cannot do without: at least one.
    ///
    /// # Errors
    /// When neither flag nor file names one.
    pub fn interfaces(&self) -> Result<&[Arc<str>], ConfigError> {
        let missing = ConfigError::Missing { what: "tap interface", flag: "--interface IF", key: "interfaces" };
        if self.interfaces.is_empty() { Err(missing) } else { Ok(&self.interfaces) }
    }

    /// The conversion: every value has kept its rule, so the fallbacks below are never taken.
    fn from_checked(raw: &Raw) -> Self {
        let seconds = |n: i64| Duration::from_secs(n.unsigned_abs());
        let drop = match DispositionChoice::from_name(&raw.meter.disposition) {
            Some(DispositionChoice::Auto) => raw.meter.dedicated,
            choice => choice == Some(DispositionChoice::Drop),
        };
        Self {
            site: raw.site.as_str().into(),
            interfaces: raw.interfaces.iter().map(|name| name.as_str().into()).collect(),
            data_directory: raw.data_directory.as_ref().map(PathBuf::from),
            listen: raw.listen.parse().ok(),
            biflow: Biflow {
                idle_timeout: seconds(raw.biflow.idle_timeout_secs),
                active_timeout: seconds(raw.biflow.active_timeout_secs),
                max_flows: usize::try_from(raw.biflow.max_flows).unwrap_or(usize::MAX),
                shards: raw
                    .biflow
                    .shards
                    .as_integer()
                    .and_then(|n| usize::try_from(n).ok())
                    .unwrap_or_else(shards_of_this_machine),
            },
            meter: Meter {
                clock: Clock::from_name(&raw.meter.clock).unwrap_or(Clock::Exact),
                sets: u32::try_from(raw.meter.sets).unwrap_or(auscult_ebpf::limit::SETS_DEFAULT),
                vlan_in_key: raw.meter.vlan_in_key,
                duplicates: Duplicates::from_name(&raw.meter.duplicates).unwrap_or(Duplicates::Remove),
                duplicate_window: Duration::from_millis(raw.meter.duplicate_window_millis.unsigned_abs()),
                disposition: if drop { Disposition::Drop } else { Disposition::Pass },
                hook: Hook::from_name(&raw.meter.hook).unwrap_or(Hook::Auto),
                ring_bytes: u32::try_from(raw.meter.ring_bytes).unwrap_or(1 << 24),
                mark_interval: Duration::from_millis(raw.meter.mark_millis.unsigned_abs()),
            },
            samples: Samples { enabled: raw.samples.enabled, share_octets_per_tick: shares(&raw.samples).map(i64::unsigned_abs) },
            lake: Lake {
                rotate_rows: usize::try_from(raw.lake.rotate_rows).unwrap_or(usize::MAX),
                rotate_after: seconds(raw.lake.rotate_secs),
                zstd_level: i32::try_from(raw.lake.zstd_level).unwrap_or(1),
            },
            log: Log {
                level: LogLevel::from_name(&raw.log.level).unwrap_or(LogLevel::Info),
                format: LogFormat::from_name(&raw.log.format).unwrap_or(LogFormat::Text),
            },
            left_out: None,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::from_checked(&Raw::default())
    }
}

/// `shards = "auto"`: one CPU is left to capture and writing.
fn shards_of_this_machine() -> usize {
    std::thread::available_parallelism().map_or(1, |cpus| cpus.get().saturating_sub(1)).clamp(1, SHARDS_MAX)
}
