//! The program as a process of its own, to be killed at any time; and what it said until then.
#![expect(clippy::disallowed_methods, reason = "a deadline bounds how long a test waits for the program")]

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use auscult::lab::Namespace;
use serde_json::Value;

/// How long the program may take for what it does at once, on a machine with other things to do.
pub const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);

/// The program: `AUSCULT_BIN`, else the one next to the test's own folder (`cargo build` puts it there); without one, skips the
/// calling test and gives `None`.
///
/// # Panics
/// As [`crate::skip`].
pub fn program() -> Option<PathBuf> {
    let named = std::env::var_os("AUSCULT_BIN").map(PathBuf::from);
    let beside = || Some(std::env::current_exe().ok()?.parent()?.parent()?.join("auscult"));
    let program = named.or_else(beside).filter(|program| program.is_file());
    if program.is_none() {
        crate::skip("the program is not built (`cargo build -p auscult`, or set AUSCULT_BIN)");
    }
    program
}

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Engine {
    child: Child,
    out: PathBuf,
    log: PathBuf,
}

/// What a program left that ended by itself.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Exit code.
    pub code: Option<i32>,
    /// The summary that it printed.
    pub summary: Value,
    /// What it said beside.
    pub log: String,
}

impl Engine {
    /// Starts a command line (the first argument is the program), with its output in `folder`, in a network namespace if asked to.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(inside: Option<&Namespace>, folder: &Path, line: &[&OsStr]) -> Result<Self> {
        let (out, log) = (folder.join("engine.out"), folder.join("engine.log"));
        let mut command = match inside {
            Some(namespace) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", namespace.path().display())).args(line);
                command
            }
            None => {
                let (program, arguments) = line.split_first().context("an empty command line")?;
                let mut command = Command::new(program);
                command.args(arguments);
                command
            }
        };
        let child =
            command.stdout(File::create(&out)?).stderr(File::create(&log)?).spawn().context("the program does not start")?;
        Ok(Self { child, out, log })
    }

    /// Everything it has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it says something.
    ///
    /// # Errors
    /// It ends before, or takes too long.
    pub fn wait_for(&mut self, text: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.log().contains(text) {
            let ended = self.child.try_wait()?;
            ensure!(ended.is_none() && Instant::now() < deadline, "waited for {text:?}, but {ended:?}: {}", self.log());
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Whether it has ended by itself.
    ///
    /// # Errors
    /// The system does not say.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Ends it as `kill -9` does. False when it had ended by itself.
    ///
    /// # Errors
    /// The system refuses.
    pub fn kill(mut self) -> Result<bool> {
        let ended = self.has_ended()?;
        self.child.kill()?;
        self.child.wait()?;
        Ok(!ended)
    }

    /// Asks it to stop and waits for its end.
    ///
    /// # Errors
    /// It does not end, or prints no summary.
    pub fn stop(self) -> Result<Ended> {
        let process = i32::try_from(self.child.id())?;
        // SAFETY: the process is a child that has not been waited for.
        ensure!(unsafe { libc::kill(process, libc::SIGINT) } == 0, "cannot signal the program");
        self.end()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// As [`Self::stop`].
    pub fn end(mut self) -> Result<Ended> {
        let deadline = Instant::now() + PATIENCE;
        let status: ExitStatus = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(Instant::now() < deadline, "the program does not end: {}", self.log());
            thread::sleep(LOOK);
        };
        let log = self.log();
        let summary = serde_json::from_str(&fs::read_to_string(&self.out)?).with_context(|| format!("no summary: {log}"))?;
        Ok(Ended { code: status.code(), summary, log })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Has been waited for, or is of no use any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// A number of the summary, by path.
    pub fn number(&self, path: &[&str]) -> u64 {
        path.iter().fold(&self.summary, |value, name| &value[*name]).as_u64().unwrap_or_default()
    }

    /// The sum of a map of the summary.
    pub fn total(&self, name: &str) -> u64 {
        self.summary[name].as_object().map_or(0, |map| map.values().filter_map(Value::as_u64).sum())
    }
}
