//! What `capinfos` says of captures: frames, octets, times, faults.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

/// Files per run of `capinfos`.
pub const BATCH: usize = 200;
/// Encapsulations of which Wireshark counts a header as its own and not as octets of the frame.
const SIZE_DIFFERS: [&str; 4] = ["atm-pdus", "per-packet", "erf", "unknown"];
/// Records by which Wireshark guesses a header layout.
pub const RECORDS_GUESSED_BY: u64 = 3;

/// What a reader found in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Frames.
    pub frames: u64,
    /// Sum of octets on the wire; this and the times are `None` where they are not compared.
    pub octets: Option<u64>,
    /// Earliest and latest time.
    pub times: Option<(String, String)>,
    /// Reading ended with an error.
    pub fault: bool,
}

/// What `capinfos` did with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It read frames, all or up to a fault.
    Read(Found),
    /// It knows the format, and refuses the version or link type.
    Refused,
    /// It knows no such format.
    NotCapture,
}

/// Adds all files under a folder, in no particular order.
///
/// # Errors
/// When a folder cannot be read.
pub fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() { walk(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

/// Runs `capinfos` over some files, at most [`BATCH`] at a time.
///
/// # Errors
/// When it cannot run, or prints what is not understood.
pub fn capinfos(files: &[PathBuf]) -> Result<BTreeMap<PathBuf, Verdict>> {
    let output = Command::new("capinfos")
        .args(["-M", "-T", "-r", "-E", "-c", "-d", "-a", "-e", "-S"])
        .args(files)
        .output()
        .context("cannot run capinfos; install Wireshark's command-line tools (wireshark-common)")?;
    let mut verdicts = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let fields: Vec<_> = line.split('\t').collect();
        let [file, encapsulation, frames, octets, start, end] = fields[..] else { continue };
        let whole = !SIZE_DIFFERS.contains(&encapsulation);
        let times = (printed(start) && printed(end)).then(|| (start.to_owned(), end.to_owned()));
        let octets = if whole { Some(octets.parse()?) } else { None };
        verdicts.insert(file.into(), Verdict::Read(Found { frames: frames.parse()?, octets, times, fault: false }));
    }
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        complaint(line, &mut verdicts)?;
    }
    Ok(verdicts)
}

/// Whether `capinfos` printed a time: there is none in a file with frames that have none, and a fraction of more than a second
/// shows as too many decimals (microseconds have six, finer clocks nine).
fn printed(time: &str) -> bool {
    let decimals = time.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    time.starts_with(|first: char| first.is_ascii_digit()) && matches!(decimals, 0..=6 | 9)
}

/// Takes in one line of complaint.
fn complaint(line: &str, verdicts: &mut BTreeMap<PathBuf, Verdict>) -> Result<()> {
    if let Some(rest) = line.strip_prefix("capinfos: An error occurred after reading ") {
        let (frames, rest) = rest.split_once(' ').context("a count")?;
        let file = rest.split('"').nth(1).context("a quoted name")?;
        let frames = frames.parse()?;
        verdicts.insert(file.into(), Verdict::Read(Found { frames, octets: None, times: None, fault: true }));
    } else if let Some(rest) = line.strip_prefix("capinfos: The file \"") {
        let file = rest.split('"').next().context("a quoted name")?;
        let verdict = if rest.contains("isn't a capture file") { Verdict::NotCapture } else { Verdict::Refused };
        // After "an error occurred" this line says more of the same.
        verdicts.entry(file.into()).or_insert(verdict);
    }
    Ok(())
}
