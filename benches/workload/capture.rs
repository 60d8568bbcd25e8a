//! The capture that replay and its peers are measured on: the corpus laid over itself again and again, as pcap.
//!
//! # The rule
//! All captures of the corpus but the malformed ones, Ethernet only. Of each capture the first [`FRAMES_OF_CAPTURE`] frames; of a
//! flood (frames per flow key below [`FLOOD_FRAMES_OF_KEY`]) the first [`FRAMES_OF_FLOOD`], so that floods are a part of the mix
//! and not all of it. Gaps longer than [`GAP_MAX`] are cut to it, and a capture that then
//! lasts longer than [`CAPTURE_MAX`] is played faster. Every capture starts at a seeded random time of its copy's turn; turns
//! follow each other, so that frames come at [`PACKETS_PER_SECOND`] whatever the size. Each copy moves all addresses
//! (`shift.rs`). The file is µs, little-endian, kept in the build folder under a name of size and seed.
//!
//! Without a corpus the frames are those of the generated scene. Beside it there is a capture of many small flows ([`crate::hospital`]).

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use auscult::{
    capture::replay::Replay,
    scene::{SCENE_START_UNIX_NANOS, Scene, SceneSize},
};
use auscult_ebpf::{
    frame::Slice,
    parse::{self, Start},
};
use serde_json::{Value, json};

use crate::{Dice, hospital::Hospital, shift::shift};

/// Frames of one capture in one copy.
pub const FRAMES_OF_CAPTURE: usize = 10_000;
/// Frames of one flood in one copy.
pub const FRAMES_OF_FLOOD: usize = 500;
/// A capture of more frames than those and with fewer per flow key is a flood.
pub const FLOOD_FRAMES_OF_KEY: usize = 3;
/// Longest pause within a capture, µs.
pub const GAP_MAX: u64 = 1_000_000;
/// Longest capture, µs.
pub const CAPTURE_MAX: u64 = 120_000_000;
/// Mean rate.
pub const PACKETS_PER_SECOND: u64 = 2000;
/// Packets unless asked otherwise.
pub const PACKETS: u64 = 1_200_000;
/// Changes when the rule does.
const RULE: u32 = 2;
const SEED: u64 = 11;
/// The argument that makes a bench make the file and do nothing else.
const MAKE: &str = "--make-workload";

/// The file and what is in it.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Where it is.
    pub path: PathBuf,
    /// Packets.
    pub packets: u64,
    /// All figures, for reports.
    pub figures: Value,
}

/// A frame of a capture; times from the capture's start.
struct ClipFrame {
    at: u64,
    wire_octets: u32,
    offset: u32,
    length: u32,
}

#[derive(Default)]
struct Clip {
    frames: Vec<ClipFrame>,
    octets: Vec<u8>,
}

/// Counts what it writes.
struct Sheet {
    out: BufWriter<File>,
    packets: u64,
    octets: u64,
    with_payload: u64,
    keys: HashSet<[u64; 5]>,
    first: Option<u64>,
    last: u64,
}

/// The build folder this bench runs from.
pub fn target() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.ancestors().nth(3).context("the bench is not in a build folder")?.to_owned())
}

/// Makes the file when the arguments ask for it. A bench calls this first and ends when it says true.
///
/// # Errors
/// When the file cannot be made.
pub fn made_on_request() -> Result<bool> {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() != Some(MAKE) {
        return Ok(false);
    }
    let source = words.next().context("of what?")?;
    let packets = words.next().context("how many packets?")?.parse()?;
    let path = PathBuf::from(words.next().context("where to?")?);
    make(&source, packets, &path)?;
    Ok(true)
}

/// What the frames of a capture are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The corpus, or without one the scene.
    Corpus,
    /// Many small flows.
    Hospital,
}

/// The workload of that many packets, of the corpus if there is one.
///
/// # Errors
/// When the file cannot be made.
pub fn workload(packets: u64) -> Result<Workload> {
    workload_of(Source::Corpus, packets)
}

/// The workload of that many packets. Another process makes it when it is missing, so that this one stays small: the peak
/// memory of a child counts that of its parent at the time of the fork.
///
/// # Errors
/// When the file cannot be made.
pub fn workload_of(source: Source, packets: u64) -> Result<Workload> {
    let source = name(source);
    let directory = target()?.join("workload");
    fs::create_dir_all(&directory)?;
    let path = directory.join(format!("{source}-{RULE}-{SEED}-{packets}.pcap"));
    let notes = path.with_extension("json");
    if !notes.exists() {
        eprintln!("making {} packets of workload from the {source}", packets);
        let status = Command::new(std::env::current_exe()?).args([MAKE, source, &packets.to_string()]).arg(&path).status()?;
        ensure!(status.success(), "the workload could not be made");
    }
    let figures: Value = serde_json::from_slice(&fs::read(&notes)?)?;
    Ok(Workload { path, packets, figures })
}

fn name(source: Source) -> &'static str {
    match source {
        Source::Hospital => "hospital",
        Source::Corpus if corpus().is_some() => "corpus",
        Source::Corpus => "scene",
    }
}

fn corpus() -> Option<PathBuf> {
    std::env::var_os("AUSCULT_CORPUS").filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn make(source: &str, packets: u64, path: &Path) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut sheet = Sheet {
        out: BufWriter::with_capacity(1 << 20, file),
        packets: 0,
        octets: 0,
        with_payload: 0,
        keys: HashSet::new(),
        first: None,
        last: 0,
    };
    sheet.out.write_all(&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0])?;
    let (captures, copies) = match corpus() {
        _ if source == name(Source::Hospital) => {
            talk(packets, &mut sheet)?;
            (0, 1)
        }
        Some(corpus) => {
            let clips = clips(&corpus)?;
            ensure!(!clips.is_empty(), "no capture with Ethernet frames below {}", corpus.display());
            let copies = lay(&clips, packets, &mut sheet)?;
            (clips.len(), copies)
        }
        None => {
            play(packets, &mut sheet)?;
            (0, 1)
        }
    };
    sheet.out.flush()?;
    let span = (sheet.last - sheet.first.unwrap_or(0)) as f64 / 1e6;
    let figures = json!({
        "source": source, "captures": captures, "copies": copies, "packets": sheet.packets, "octets": sheet.octets,
        "file_bytes": fs::metadata(path)?.len(), "payload_share": sheet.with_payload as f64 / sheet.packets as f64,
        "flow_keys": sheet.keys.len(), "span_seconds": span,
    });
    fs::write(path.with_extension("json"), format!("{figures:#}\n"))?;
    Ok(())
}

/// The captures of the corpus, in the order of their paths.
fn clips(corpus: &Path) -> Result<Vec<Clip>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(corpus)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("malformed") {
            files(&path, &mut paths)?;
        }
    }
    paths.sort();
    let mut clips = Vec::new();
    for path in paths {
        let Ok(mut replay) = Replay::open(std::slice::from_ref(&path)) else { continue };
        let mut clip = Clip::default();
        let mut before = None;
        let mut keys = HashSet::new();
        // A fault ends a capture after its last whole frame.
        while let Ok(Some(frame)) = replay.next_frame() {
            if frame.link_type != 1 || frame.octets.len() < 14 || frame.wire_octets > 1 << 18 {
                continue;
            }
            let at = frame.at / 1000;
            let gap = before.map_or(0, |before| at.saturating_sub(before)).min(GAP_MAX);
            before = Some(at);
            let at = clip.frames.last().map_or(0, |last| last.at) + gap;
            let (offset, length) = (clip.octets.len() as u32, frame.octets.len() as u32);
            let mut packet = parse::Packet::default();
            if parse::parse(&Slice::new(frame.octets, frame.wire_octets), Start::Ethernet, false, &mut packet).is_ok() {
                keys.insert(packet.key);
            }
            clip.octets.extend_from_slice(frame.octets);
            clip.frames.push(ClipFrame { at, wire_octets: frame.wire_octets, offset, length });
            if clip.frames.len() == FRAMES_OF_CAPTURE {
                break;
            }
        }
        if clip.frames.len() < keys.len() * FLOOD_FRAMES_OF_KEY {
            clip.frames.truncate(FRAMES_OF_FLOOD);
        }
        let Some(length) = clip.frames.last().map(|last| last.at) else { continue };
        if length > CAPTURE_MAX {
            clip.frames.iter_mut().for_each(|frame| frame.at = (frame.at as f64 * CAPTURE_MAX as f64 / length as f64) as u64);
        }
        clips.push(clip);
    }
    Ok(clips)
}

fn files(directory: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { files(&path, paths)? } else { paths.push(path) }
    }
    Ok(())
}

/// Writes copy after copy until there are `packets`; how many copies it took.
fn lay(clips: &[Clip], packets: u64, sheet: &mut Sheet) -> Result<u16> {
    let start = SCENE_START_UNIX_NANOS / 1000;
    let frames: u64 = clips.iter().map(|clip| clip.frames.len() as u64).sum();
    let turn = frames * 1_000_000 / PACKETS_PER_SECOND;
    let mut dice = Dice::new(SEED);
    let mut waiting: Vec<(u64, u16, u32, u32)> = Vec::new();
    let mut octets = Vec::new();
    for copy in 0.. {
        let begin = start + u64::from(copy) * turn;
        for (clip_index, clip) in clips.iter().enumerate() {
            let at = begin + dice.below(turn);
            let frames = clip.frames.iter().enumerate();
            waiting.extend(frames.map(|(nth, frame)| (at + frame.at, copy, clip_index as u32, nth as u32)));
        }
        waiting.sort_unstable();
        let complete = waiting.partition_point(|&(at, ..)| at < begin + turn);
        for (at, copy, clip, nth) in waiting.drain(..complete) {
            let clip = &clips[clip as usize];
            let frame = &clip.frames[nth as usize];
            octets.clear();
            octets.extend_from_slice(&clip.octets[frame.offset as usize..][..frame.length as usize]);
            shift(&mut octets, copy);
            sheet.frame(at, frame.wire_octets, &octets)?;
            if sheet.packets == packets {
                return Ok(copy + 1);
            }
        }
    }
    Ok(0)
}

/// Writes frames of the scene.
fn play(packets: u64, sheet: &mut Sheet) -> Result<()> {
    // The scene has some 370 frames a second at load 1; a third more than is needed.
    let load = PACKETS_PER_SECOND.div_ceil(370) as u16;
    let seconds = (packets * 4).div_ceil(PACKETS_PER_SECOND * 3) as u32 + 60;
    for frame in Scene::new(SEED, SceneSize { seconds, load, jumbo: false }).frames().take(packets as usize) {
        let at = (SCENE_START_UNIX_NANOS + frame.at_nanos) / 1000;
        sheet.frame(at, frame.octets.len() as u32, &frame.octets)?;
    }
    ensure!(sheet.packets == packets, "the scene has only {} frames", sheet.packets);
    Ok(())
}

/// Writes frames of many small flows.
fn talk(packets: u64, sheet: &mut Sheet) -> Result<()> {
    let mut hospital = Hospital::new(SEED);
    for _ in 0..packets {
        let (at, octets) = hospital.frame();
        sheet.frame(SCENE_START_UNIX_NANOS / 1000 + at, octets.len() as u32, &octets)?;
    }
    Ok(())
}

impl Sheet {
    fn frame(&mut self, at: u64, wire_octets: u32, octets: &[u8]) -> Result<()> {
        for word in [(at / 1_000_000) as u32, (at % 1_000_000) as u32, octets.len() as u32, wire_octets] {
            self.out.write_all(&word.to_le_bytes())?;
        }
        self.out.write_all(octets)?;
        self.packets += 1;
        self.octets += u64::from(wire_octets);
        self.first.get_or_insert(at);
        self.last = at;
        let mut packet = parse::Packet::default();
        if parse::parse(&Slice::new(octets, wire_octets), Start::Ethernet, false, &mut packet).is_ok() {
            self.keys.insert(packet.key);
            self.with_payload += u64::from(packet.payload_octets > 0 && octets.len() > packet.payload_offset as usize);
        }
        Ok(())
    }
}
