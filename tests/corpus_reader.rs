//! Every capture of the corpus, read here and by `capinfos`: same frame count, same octets on the wire, same first and last
//! time; and where `capinfos` stops with an error, the same number of frames and then an error.
//!
//! General rules of what may differ:
//! * In the set `malformed` only counts and errors are compared: its fields are out of range (a fraction of more than a second,
//!   more captured than there was), and `capinfos` prints such numbers after they overflowed.
//! * Wireshark guesses between header layouts by the first three records of a pcap; this reader does not. A file that is
//!   damaged within them may be damaged elsewhere for `capinfos`.
//! * Frames of links that Wireshark does not know are read here, and refused there.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use auscult::capture::replay::{Replay, ReplayError};
use harness::capinfos::{BATCH, Found, RECORDS_GUESSED_BY, Verdict, capinfos, walk};

/// The set with fields out of range.
const SET_MALFORMED: &str = "malformed";

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
                    same(theirs, &ours, error.as_ref(), file.components().any(|part| part.as_os_str() == SET_MALFORMED))
                }
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

/// Compares what `capinfos` said, where it said something that can be compared.
fn same(theirs: &Found, ours: &Found, error: Option<&ReplayError>, counts_only: bool) -> bool {
    if theirs.fault || ours.fault {
        let early = theirs.frames.min(ours.frames) < RECORDS_GUESSED_BY;
        let guessed = early && matches!(error, Some(ReplayError::Damaged { .. }));
        return theirs.fault && ours.fault && (guessed || theirs.frames == ours.frames);
    }
    let times = match (&theirs.times, &ours.times) {
        (Some(theirs), Some(ours)) => ours.0.starts_with(&theirs.0) && ours.1.starts_with(&theirs.1),
        _ => theirs.times.is_none(),
    };
    theirs.frames == ours.frames && (counts_only || times && (theirs.octets.is_none() || theirs.octets == ours.octets))
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
