//! The command line: arguments become a validated configuration and a request, an outcome becomes output and an exit code.
//!
//! stdout carries the result only; log lines, progress and the one line that says what went wrong go to stderr. Exit codes:
//! 0 the work was done, 1 it was not, 2 the command line was not understood, 130 stopped before its end by a signal.

pub mod args;
mod devices;
mod listing;
#[cfg(test)]
mod tests;
mod watch;

use std::{
    error::Error,
    ffi::OsString,
    io::{self, Write},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use clap::Parser;

use self::{
    args::{
        CheckArgs, Cli, Command, DemoArgs, DeviceCommand, FlowsArgs, InventoryCommand, ListArgs, LogArgs, ReplayArgs, RunArgs,
    },
    watch::Watch,
};
use crate::{
    config::{self, Config, ConfigError, Loaded, Origin, Overrides},
    pipeline::{self, DemoRequest, Listing, Outcome, PipelineError, ReplayRequest, Selection},
    progress::Progress,
    shutdown::Shutdown,
    summary::Summary,
    telemetry::{log, metric::metrics_table},
};

/// The work was done.
pub const DONE: u8 = 0;
/// It was not.
pub const FAILED: u8 = 1;
/// The command line was not understood.
pub const USAGE: u8 = 2;
/// A signal came before the end of a replay.
pub const INTERRUPTED: u8 = 130;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration is not valid, or lacks what the command needs.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The stages failed.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// Signals cannot be received.
    #[error("cannot receive signals: {0}: check the process limits")]
    Signals(io::Error),
    /// stdout cannot be written to.
    #[error("cannot write the result: {0}: check where standard output goes")]
    Output(#[from] io::Error),
    /// A signal stopped a replay; what was read is written.
    #[error(
        "stopped by a signal before the end of the input: what was read is written; replay it again for the rest, rows are not doubled"
    )]
    Interrupted,
    /// A table has errors, or rows that no device answers to.
    #[error("{0}")]
    Import(String),
    /// The ledger does not close.
    #[error(
        "the ledger does not close: {packets} packets and {octets} octets are unaccounted for: keep the input and report this"
    )]
    Imbalance {
        /// Packets.
        packets: i64,
        /// Octets on the wire.
        octets: i64,
    },
}

impl CliError {
    fn code(&self) -> u8 {
        if matches!(self, Self::Interrupted) { INTERRUPTED } else { FAILED }
    }
}

/// Runs the process's command line.
pub fn main() -> ExitCode {
    ExitCode::from(execute(std::env::args_os(), &mut io::BufWriter::new(io::stdout()), &mut io::stderr()))
}

/// Runs a command line and returns its exit code.
pub fn execute<A: Into<OsString> + Clone>(args: impl IntoIterator<Item = A>, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            complain(err, "no command was given (`auscult --help` lists them)");
            return USAGE;
        }
        Err(error) if error.use_stderr() => {
            complain(err, &usage_line(&error.to_string()));
            return USAGE;
        }
        Err(help) => return finish(write!(out, "{help}").map_err(CliError::from), err),
    };
    let done = dispatch(&cli, out).and_then(|()| Ok(out.flush()?));
    finish(done, err)
}

fn finish(done: Result<(), CliError>, err: &mut dyn Write) -> u8 {
    match done {
        Ok(()) => DONE,
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => DONE,
        Err(error) => {
            complain(err, &chain(&error));
            error.code()
        }
    }
}

/// One line on stderr; when that is gone, nobody is left to be told.
fn complain(err: &mut dyn Write, what: &str) {
    let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
    drop(writeln!(err, "auscult: {what}"));
}

/// An error and its causes, each said once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// clap's message as one line: what was wrong and its tips, without the usage.
fn usage_line(text: &str) -> String {
    let end = text.find("\nUsage:").or_else(|| text.find("\nFor more information")).unwrap_or(text.len());
    let lines: Vec<&str> = text[..end].lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let what = lines.join("; ").replace(":; ", ": ");
    format!("{} (`auscult --help` explains)", what.trim_start_matches("error: "))
}

fn dispatch(cli: &Cli, out: &mut dyn Write) -> Result<(), CliError> {
    match &cli.command {
        Command::Run(args) => run(args, &cli.log, out),
        Command::Replay(args) => replay(args, &cli.log, out),
        Command::Demo(args) => demo(args, &cli.log, out),
        Command::Flows(args) => flows(args, &cli.log, out),
        Command::Coverage(args) => coverage(args, &cli.log, out),
        Command::Devices(args) => devices::devices(args, &cli.log, out),
        Command::Why(args) => devices::why(args, &cli.log, out),
        Command::Device(DeviceCommand::Set(args)) => devices::set(args, &cli.log, out),
        Command::Device(DeviceCommand::Import(args)) => devices::import(args, &cli.log, out),
        Command::Inventory(InventoryCommand::Backup(args)) => devices::backup(args, &cli.log, out),
        Command::Inventory(InventoryCommand::Restore(args)) => devices::restore(args, &cli.log, out),
        Command::Check(args) => check(args, out),
        Command::Dictionary => Ok(out.write_all(pipeline::dictionary()?.as_bytes())?),
        Command::MetricsTable => Ok(out.write_all(metrics_table().as_bytes())?),
        Command::ConfigTable => Ok(out.write_all(config::key::config_table().as_bytes())?),
    }
}

/// Loads the configuration and starts logging by it.
fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Config, ConfigError> {
    let Loaded { config, .. } = config::load(file, overrides)?;
    // A second start in one process keeps the first one's settings.
    drop(log::start(config.log));
    Ok(config)
}

fn run(args: &RunArgs, log: &LogArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let overrides = args.common.overrides(args.interface.as_ref(), log);
    let work = || -> Result<Outcome, CliError> {
        let config = load(args.common.config.as_deref(), &overrides)?;
        config.interfaces()?;
        let data = config.data_directory()?;
        let shutdown = Shutdown::on_signals().map_err(CliError::Signals)?;
        let progress = Arc::new(Progress::new());
        let _watch = Watch::start(&progress);
        Ok(pipeline::run(&config, data, &shutdown, &progress))
    };
    conclude(work(), args.common.json, overrides.site.as_deref(), out)
}

fn replay(args: &ReplayArgs, log: &LogArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let overrides = args.common.overrides(None, log);
    let mut stopped = false;
    let mut work = || -> Result<Outcome, CliError> {
        let config = load(args.common.config.as_deref(), &overrides)?;
        let request = replay_request(args, &config)?;
        let shutdown = Shutdown::on_signals().map_err(CliError::Signals)?;
        let progress = Arc::new(Progress::new());
        let _watch = Watch::start(&progress);
        let outcome = pipeline::replay(&config, &request, &shutdown, &progress);
        stopped = shutdown.requested();
        Ok(outcome)
    };
    let outcome = work();
    conclude(outcome, args.common.json, overrides.site.as_deref(), out)?;
    if stopped { Err(CliError::Interrupted) } else { Ok(()) }
}

fn replay_request(args: &ReplayArgs, config: &Config) -> Result<ReplayRequest, ConfigError> {
    Ok(ReplayRequest {
        inputs: args.inputs.clone(),
        data: config.data_directory()?.to_owned(),
        speed: args.speed,
        listen: args.common.listen.as_ref().and(config.listen),
    })
}

fn demo(args: &DemoArgs, log: &LogArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let work = || -> Result<Outcome, CliError> {
        let config = load(None, &log_overrides(log))?;
        let request = DemoRequest { seed: args.seed, keep: args.keep.clone() };
        let shutdown = Shutdown::on_signals().map_err(CliError::Signals)?;
        let progress = Arc::new(Progress::new());
        let _watch = Watch::start(&progress);
        Ok(pipeline::demo(&config, &request, &shutdown, &progress))
    };
    conclude(work(), args.json, None, out)
}

/// Prints the summary of what was done, also when that was nothing, and says what kept it from being all.
fn conclude(outcome: Result<Outcome, CliError>, json: bool, site: Option<&str>, out: &mut dyn Write) -> Result<(), CliError> {
    let (summary, error) = match outcome {
        Ok(Outcome { summary, error }) => (summary, error.map(CliError::from)),
        Err(error) => (Summary::of_nothing(site.unwrap_or("default")), Some(error)),
    };
    let written = write_summary(&summary, json, out);
    if let Some(error) = error {
        return Err(error);
    }
    written?;
    match (summary.imbalance.packets, summary.imbalance.octets) {
        (0, 0) => Ok(()),
        (packets, octets) => Err(CliError::Imbalance { packets, octets }),
    }
}

fn write_summary(summary: &Summary, json: bool, out: &mut dyn Write) -> io::Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, summary)?;
        writeln!(out)?;
    } else {
        write!(out, "{summary}")?;
    }
    out.flush()
}

fn log_overrides(log: &LogArgs) -> Overrides {
    Overrides { log_level: log.log.clone(), log_format: log.log_format.clone(), ..Overrides::default() }
}

fn flows(args: &FlowsArgs, log: &LogArgs, out: &mut dyn Write) -> Result<(), CliError> {
    load(None, &log_overrides(log))?;
    let selection = Selection { address: args.address, port: args.port, ..selection(&args.list) };
    list(&pipeline::flows(&selection)?, &args.list, out)
}

fn coverage(args: &ListArgs, log: &LogArgs, out: &mut dyn Write) -> Result<(), CliError> {
    load(None, &log_overrides(log))?;
    list(&pipeline::coverage(&selection(args))?, args, out)
}

fn selection(args: &ListArgs) -> Selection {
    let ListArgs { data, limit, since, until, json: _ } = args;
    Selection { data: data.clone(), limit: *limit, address: None, port: None, since: *since, until: *until }
}

fn list(listing: &Listing, args: &ListArgs, out: &mut dyn Write) -> Result<(), CliError> {
    if args.json {
        return Ok(listing::write_json(listing, out)?);
    }
    listing::write_table(listing, out)?;
    if listing.more {
        writeln!(out, "… and more: --limit N shows them, --since, --until and (for flows) --address, --port narrow the list")?;
    }
    Ok(())
}

fn check(args: &CheckArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let loaded = match config::load(Some(&args.file), &Overrides::default()) {
        Ok(loaded) => loaded,
        Err(ConfigError::Invalid(problems)) => {
            for problem in &problems {
                writeln!(out, "{problem}")?;
            }
            return Err(ConfigError::Invalid(problems).into());
        }
        Err(error) => return Err(error.into()),
    };
    writeln!(out, "{}: valid", args.file.display())?;
    for setting in &loaded.settings {
        let value = if setting.value.is_empty() { "(unset)" } else { &setting.value };
        let origin = match setting.origin {
            Origin::Default => "default".to_owned(),
            Origin::Line(line) => format!("line {line}"),
            Origin::Flag(flag) => flag.to_owned(),
        };
        writeln!(out, "  {:<34} {value:<20} {origin}", setting.key.name)?;
    }
    writeln!(out, "{}", pipeline::memory_of_run(&loaded.config)?)?;
    Ok(())
}
