//! Every capture of the corpus, read here and by `capinfos`: same frame count, same octets on the wire, same first and last
//! time; and where `capinfos` stops with an error, the same number of frames and then an error.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use auscult::capture::replay::{Replay, ReplayError};

/// Files per run of `capinfos`.
const BATCH: usize = 200;
/// Encapsulations of which Wireshark counts a header as its own and not as octets of the frame.
const SIZE_DIFFERS: [&str; 4] = ["atm-pdus", "per-packet", "erf", "unknown"];

/// What a reader found in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    frames: u64,
    /// Sum of octets on the wire, and earliest and latest time as `capinfos` prints them; `None` where they are not compared.
    octets: Option<u64>,
    times: Option<(String, String)>,
    /// Reading ended with an error.
    fault: bool,
}

/// What `capinfos` did with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// It read frames, all or up to a fault.
    Read(Found),
    /// It knows the format, and refuses the version or link type.
    Refused,
    /// It knows no such format.
    NotCapture,
}

#[test]
fn frames_are_those_that_capinfos_counts() -> Result<()> {
    let Some(corpus) = std::env::var_os("AUSCULT_CORPUS") else {
        println!("skipped: AUSCULT_CORPUS is not set");
        return Ok(());
    };
    let mut files = Vec::new();
    walk(Path::new(&corpus), &mut files)?;
    files.sort();
    ensure!(!files.is_empty(), "no files under AUSCULT_CORPUS");
    let (mut disagreements, mut frames) = (Vec::new(), 0);
    let (mut read, mut cut, mut refused, mut foreign) = (0, 0, 0, 0);
    for batch in files.chunks(BATCH) {
        let verdicts = capinfos(batch)?;
        for file in batch {
            let verdict = verdicts.get(file).with_context(|| format!("capinfos says nothing of {}", file.display()))?;
            let (ours, error) = ours(file)?;
            frames += ours.frames;
            let agrees = match verdict {
                Verdict::Read(theirs) => {
                    if theirs.fault {
                        cut += 1
                    } else {
                        read += 1
                    }
                    same(theirs, &ours)
                }
                // Frames of links that Wireshark does not know are still frames.
                Verdict::Refused => {
                    refused += 1;
                    true
                }
                Verdict::NotCapture => {
                    foreign += 1;
                    matches!(error, Some(ReplayError::NotCapture { .. }))
                }
            };
            if !agrees {
                disagreements.push(format!("{}: capinfos {verdict:?}, here {ours:?} {error:?}", file.display()));
            }
        }
    }
    println!(
        "{} files, {frames} frames: {read} read whole, {cut} up to a fault, {refused} refused by capinfos, {foreign} no captures; \
         {} disagree",
        files.len(),
        disagreements.len()
    );
    ensure!(disagreements.is_empty(), "{}", disagreements.join("\n"));
    Ok(())
}

/// Compares what `capinfos` said, where it said something.
fn same(theirs: &Found, ours: &Found) -> bool {
    theirs.frames == ours.frames
        && theirs.fault == ours.fault
        && (theirs.octets.is_none() || theirs.octets == ours.octets)
        && (theirs.times.is_none() || theirs.times == ours.times)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() { walk(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

fn ours(file: &Path) -> Result<(Found, Option<ReplayError>)> {
    let mut replay = Replay::open(&[file.into()])?;
    let (mut frames, mut octets, mut earliest, mut latest, mut error) = (0, 0, u64::MAX, 0, None);
    let mut interfaces = 0;
    loop {
        match replay.next_frame() {
            Ok(Some(frame)) => {
                ensure!(frame.wire_octets as usize >= frame.octets.len(), "{}: captured more than there was", file.display());
                interfaces = interfaces.max(frame.interface as usize + 1);
                frames += 1;
                octets += u64::from(frame.wire_octets);
                earliest = earliest.min(frame.at);
                latest = latest.max(frame.at);
            }
            Ok(None) => break,
            Err(fault) => error = Some(fault),
        }
    }
    ensure!(interfaces <= replay.interfaces().len(), "{}: a frame of an interface unheard of", file.display());
    let times = (frames > 0).then(|| (stamp(earliest), stamp(latest)));
    Ok((Found { frames, octets: Some(octets), times, fault: error.is_some() }, error))
}

/// Seconds with nine decimals.
fn stamp(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

/// Runs `capinfos` over some files.
fn capinfos(files: &[PathBuf]) -> Result<BTreeMap<PathBuf, Verdict>> {
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
        let times = (start != "n/a").then(|| (padded(start), padded(end)));
        let octets = if whole { Some(octets.parse()?) } else { None };
        verdicts.insert(file.into(), Verdict::Read(Found { frames: frames.parse()?, octets, times, fault: false }));
    }
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        complaint(line, &mut verdicts)?;
    }
    Ok(verdicts)
}

/// Decimals filled up to nine.
fn padded(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, fraction)) => format!("{seconds}.{fraction:0<9}"),
        None => format!("{time}.000000000"),
    }
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
