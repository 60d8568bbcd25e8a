//! Frames → an engine at the taps of a laboratory → a lake; and the same frames, with the times at which they were sent, → a capture file
//! → the same engine's replay → another lake.
//!
//! Frames are played no faster than the taps hear them, from one CPU, so none is lost on the way and all keep their order. The capture
//! file has the monotonic clock's times, which are those that the kernel gives the frames, late by what the way takes: ticks of live
//! capture and of replay are the same, but for frames that cross a border between two on their way.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use auscult::{
    config::{Config, Disposition},
    lab::{BATCH_FRAMES, Lab, Pace, Player},
    lake::{self, read::JsonRow},
    pipeline::{self, Outcome, ReplayRequest},
    progress::Progress,
    scene::SceneFrame,
    shutdown::Shutdown,
    time,
};

use crate::replay::every_packet;

/// Frames on the way at most. The queue of a link holds 256.
const WINDOW: usize = 2 * BATCH_FRAMES;
/// How long a window may take to arrive before the rest of the play is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between two looks at the taps.
const LOOK: Duration = Duration::from_millis(20);
/// Looks without a new frame after which nothing is on the way any more.
const QUIET_LOOKS: u32 = 10;

/// The configuration of these suites: no flow ends by a timeout, however slow the machine; two shards; no metrics served; copies are
/// metered.
pub fn config() -> Config {
    let mut config = Config { listen: None, ..every_packet() };
    config.biflow.shards = 2;
    config.biflow.idle_timeout = Duration::from_secs(1800);
    config.biflow.active_timeout = Duration::from_secs(3600);
    config.meter.disposition = Disposition::Drop;
    config
}

/// Frames that all taps of a laboratory have received.
///
/// # Errors
/// The laboratory is gone.
pub fn received(lab: &Lab) -> Result<u64> {
    let taps = lab.taps().iter();
    Ok(taps.map(|tap| Ok(lab.tap_traffic(tap)?.received)).sum::<Result<u64, auscult::lab::LabError>>()?)
}

/// The frames of a play, each of which waits until the taps have heard those a window before it.
struct Windowed {
    frames: Arc<[SceneFrame]>,
    lab: Arc<Lab>,
    sent_at: Arc<Mutex<Vec<u64>>>,
    next: usize,
}

impl Iterator for Windowed {
    type Item = SceneFrame;

    fn next(&mut self) -> Option<SceneFrame> {
        let frame = self.frames.get(self.next)?.clone();
        if self.next.is_multiple_of(WINDOW) {
            let deadline = time::monotonic() + PATIENCE.as_nanos() as u64;
            while received(&self.lab).ok()? < self.next as u64 {
                if time::monotonic() > deadline {
                    return None;
                }
                thread::yield_now();
            }
        }
        self.next += 1;
        let mut sent_at = self.sent_at.lock().unwrap_or_else(PoisonError::into_inner);
        let after = sent_at.last().map_or(0, |last| last + 1);
        sent_at.push(time::monotonic().max(after));
        Some(frame)
    }
}

/// Plays all frames past an engine at the taps, into a lake in `data`. Gives what came of it, and the frames with the times at which they
/// were sent. Everything that holds for every live run is checked here.
///
/// # Errors
/// The laboratory, the engine or the lake fails, or frames got lost on the way to the tap.
///
/// # Panics
/// When the ledger, the lake and the interfaces do not agree, or a tap has transmitted.
pub fn meter(lab: &Arc<Lab>, config: &Config, data: &Path, frames: &Arc<[SceneFrame]>) -> Result<Vec<SceneFrame>> {
    let sent_at = Arc::new(Mutex::new(Vec::new()));
    let play = Windowed { frames: Arc::clone(frames), lab: Arc::clone(lab), sent_at: Arc::clone(&sent_at), next: 0 };
    let mut play = Some(play);
    let mut player = None;
    let mut looks = 0;
    let outcome = run(lab, config, data, || {
        if let Some(play) = play.take() {
            player = Some(Player::start(lab, play, Pace::Unpaced, u64::MAX, Some(0)));
        }
        if matches!(&player, Some(Ok(player)) if !player.is_finished()) {
            thread::sleep(LOOK);
            return false;
        }
        looks += 1;
        thread::sleep(LOOK);
        received(lab).is_ok_and(|received| received >= frames.len() as u64) || looks > QUIET_LOOKS
    })?;
    let played = player.context("the engine never came up")??.join()?;
    ensure!(played.frames == frames.len() as u64, "played {} of {} frames: the tap fell behind", played.frames, frames.len());
    assert_eq!(outcome.summary.packets_seen, played.frames);
    assert_eq!(outcome.summary.lost.total(), 0, "{:?}", outcome.summary.lost);
    let sent_at = sent_at.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(frames.iter().zip(&*sent_at).map(|(frame, at)| SceneFrame { at_nanos: *at, ..frame.clone() }).collect())
}

/// Runs an engine at the taps until `stop` says so, and checks what holds for every live run: the interfaces' counters, the ledger,
/// coverage and the lake agree to the packet, and no tap has transmitted.
///
/// # Errors
/// The engine or the lake fails.
///
/// # Panics
/// When they do not agree.
pub fn run(lab: &Lab, config: &Config, data: &Path, stop: impl FnMut() -> bool) -> Result<Outcome> {
    let before = received(lab)?;
    let mut config = config.clone();
    config.interfaces = lab.taps().iter().map(|name| Arc::from(name.as_str())).collect();
    let mut outcome = pipeline::run_inside(&config, data, lab.tap(), &Arc::new(Progress::new()), stop);
    if let Some(error) = outcome.error.take() {
        return Err(error.into());
    }
    let arrived = received(lab)? - before;
    for tap in lab.taps() {
        assert_eq!(lab.tap_traffic(tap)?.transmitted, 0, "{tap} has transmitted");
    }
    let summary = &outcome.summary;
    assert_eq!(summary.packets_seen, arrived, "the meter's count and the interfaces'");
    closes(&outcome, data)?;
    let (mut seen, mut transmitted) = (0, 0);
    lake::read::scan(data, &lake::Query::all(lake::TableName::Coverage), |row| {
        if row["seen_packets"].is_null() {
            assert!(!row["tcp_two_sided_flows"].is_null(), "neither ledger nor sidedness: {row:?}");
            return;
        }
        seen += number(&row, "seen_packets");
        assert!(!row["tx_packets"].is_null(), "{row:?}");
        transmitted += number(&row, "tx_packets");
    })?;
    assert_eq!((seen, transmitted), (summary.packets_seen, 0), "coverage");
    Ok(outcome)
}

/// Checks the law: what was seen is in the lake's rows, read back from the files, or in a named bucket.
///
/// # Errors
/// The lake cannot be read.
///
/// # Panics
/// When the law does not hold.
pub fn closes(outcome: &Outcome, data: &Path) -> Result<()> {
    let summary = &outcome.summary;
    let sums = lake::read::sum_packets(data, None)?;
    assert!(summary.balanced(), "{:?}", summary.imbalance);
    assert_eq!((sums.packets, sums.octets), (summary.packets_metered, summary.octets_metered), "lake and ledger");
    assert_eq!(sums.rows, summary.flows);
    let named = summary.packets_duplicate + summary.discarded.total() + summary.lost.total() + summary.resident;
    assert_eq!(summary.packets_seen, sums.packets + named, "seen = lake + named buckets: {summary:?}");
    assert_eq!(summary.resident, 0, "nothing stays in the caches");
    Ok(())
}

fn number(row: &JsonRow, column: &str) -> u64 {
    row[column].as_u64().unwrap_or(0)
}

/// Replays captures into a lake in `data` and checks the law.
///
/// # Errors
/// An input, the engine or the lake fails.
///
/// # Panics
/// When the law does not hold.
pub fn replay(config: &Config, inputs: &[std::path::PathBuf], data: &Path, speed: Option<f64>) -> Result<Outcome> {
    let request = ReplayRequest { inputs: inputs.to_vec(), data: data.to_owned(), speed, listen: None };
    let mut outcome = pipeline::replay(config, &request, &Shutdown::new(), &Arc::new(Progress::new()));
    match outcome.error.take() {
        Some(error) => Err(error.into()),
        None => Ok(outcome),
    }
}

/// All flow rows of a lake.
///
/// # Errors
/// The lake cannot be read.
pub fn rows(data: &Path) -> Result<Vec<JsonRow>> {
    let mut rows = Vec::new();
    lake::read::scan(data, &lake::Query::all(lake::TableName::Flows), |row| rows.push(row))?;
    Ok(rows)
}

/// Writes frames as pcapng with nanosecond times, an interface for each tap; `point` says which one a frame is for.
///
/// # Errors
/// The file cannot be written.
pub fn write_pcapng(path: &Path, points: &[String], frames: &[SceneFrame], point: impl Fn(&SceneFrame) -> usize) -> Result<()> {
    let mut to = BufWriter::new(File::create(path).with_context(|| path.display().to_string())?);
    block(&mut to, 0x0a0d_0d0a, &[&0x1a2b_3c4d_u32.to_le_bytes(), &[1, 0, 0, 0], &u64::MAX.to_le_bytes()])?;
    for name in points {
        let mut options = vec![2, 0];
        options.extend((name.len() as u16).to_le_bytes());
        options.extend(name.as_bytes());
        options.resize(options.len().next_multiple_of(4), 0);
        // if_tsresol = 10^-9, then the end of options.
        options.extend([9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
        block(&mut to, 1, &[&[1, 0, 0, 0, 0, 0, 0, 0], &options])?;
    }
    for frame in frames {
        let length = (frame.octets.len() as u32).to_le_bytes();
        let [high, low] = [(frame.at_nanos >> 32) as u32, frame.at_nanos as u32].map(u32::to_le_bytes);
        let padding = vec![0; frame.octets.len().next_multiple_of(4) - frame.octets.len()];
        let interface = (point(frame) as u32).to_le_bytes();
        block(&mut to, 6, &[&interface, &high, &low, &length, &length, &frame.octets, &padding])?;
    }
    Ok(to.flush()?)
}

fn block(to: &mut impl Write, kind: u32, parts: &[&[u8]]) -> std::io::Result<()> {
    let length = (12 + parts.iter().map(|part| part.len()).sum::<usize>() as u32).to_le_bytes();
    to.write_all(&kind.to_le_bytes())?;
    to.write_all(&length)?;
    for part in parts {
        to.write_all(part)?;
    }
    to.write_all(&length)
}

/// Whether a column's value depends on when packets came. That it is null or not does not.
pub fn is_timed(column: &str) -> bool {
    column.ends_with("_nanos") || matches!(column, "flow_start" | "flow_end" | "flow_id" | "fragment_of")
}
