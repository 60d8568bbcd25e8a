//! Other programs, run from the root of the work space: what is run is shown, and a failure says what failed.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// A command that starts in the root of the work space, with our own tools first on its `PATH`.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace::root());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(workspace::tools().join("bin")).chain(std::env::split_paths(&path));
    if let Ok(path) = std::env::join_paths(folders) {
        command.env("PATH", path);
    }
    command
}

/// Cargo as the contributor called it, without what the calling cargo set for this very process.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments);
    strip_cargo_environment(&mut cargo);
    cargo
}

/// Removes what cargo sets for the process it runs: it would make a nested cargo build everything anew.
pub fn strip_cargo_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "CARGO_PRIMARY_PACKAGE" {
            command.env_remove(&name);
        }
    }
}

/// Runs it with our own input and outputs.
pub fn status(command: &mut Command) -> Result<ExitStatus> {
    eprintln!("+ {}", show(command));
    command.status().with_context(|| format!("cannot start {}", show(command)))
}

/// Runs it with our own input and outputs; anything but success is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    ensure!(status.success(), "{} ended with {status}", show(command));
    Ok(())
}

/// Runs it and gives what it printed, trimmed; what it said on standard error becomes the error.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {}", show(command)))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} ended with {}: {}", show(command), output.status, errors.trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs it with our own input and standard error, and gives what it printed.
pub fn printed(command: &mut Command) -> Result<String> {
    eprintln!("+ {}", show(command));
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start {}", show(command)))?;
    ensure!(output.status.success(), "{} ended with {}", show(command), output.status);
    String::from_utf8(output.stdout).with_context(|| format!("{} did not print text", show(command)))
}

/// Runs it, shows both outputs as they come, and gives how it ended and the lines that `keep` wants.
pub fn run_keeping(command: &mut Command, keep: fn(&str) -> bool) -> Result<(ExitStatus, Vec<String>)> {
    eprintln!("+ {}", show(command));
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", show(command)))?;
    let errors = child.stderr.take().context("no standard error")?;
    let outputs = child.stdout.take().context("no standard output")?;
    let reader = std::thread::spawn(move || copy_lines(BufReader::new(errors), keep, |line| eprintln!("{line}")));
    let mut kept = copy_lines(BufReader::new(outputs), keep, |line| println!("{line}"));
    kept.extend(reader.join().unwrap_or_default());
    let status = child.wait().with_context(|| format!("cannot wait for {}", show(command)))?;
    Ok((status, kept))
}

fn copy_lines(mut from: impl BufRead, keep: fn(&str) -> bool, show: fn(&str)) -> Vec<String> {
    let mut kept = Vec::new();
    let mut bytes = Vec::new();
    while matches!(from.read_until(b'\n', &mut bytes), Ok(length) if length > 0) {
        let line = String::from_utf8_lossy(&bytes);
        let line = line.trim_end_matches(['\n', '\r']);
        show(line);
        if keep(line) {
            kept.push(line.to_owned());
        }
        bytes.clear();
    }
    kept
}

/// The command as one would type it: cargo by its name, paths from the root of the work space.
pub fn show(command: &Command) -> String {
    let root = workspace::root();
    let shorten = |text: &OsStr| {
        let short = Path::new(text).strip_prefix(&root).map_or_else(|_| text.to_string_lossy(), |path| path.to_string_lossy());
        if short.contains(' ') { format!("'{short}'") } else { short.into_owned() }
    };
    let is_own_cargo = std::env::var_os("CARGO").is_some_and(|cargo| cargo == command.get_program());
    let program = if is_own_cargo { OsStr::new("cargo") } else { command.get_program() };
    std::iter::once(program).chain(command.get_args()).map(shorten).collect::<Vec<_>>().join(" ")
}
