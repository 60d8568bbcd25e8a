//! The same Ethernet frames through the kernel's programs by test runs and through the native meter: the same records in the same
//! order, octet for octet, after every frame.
//!
//! Frames: all of the corpus whose link is Ethernet and that have a whole Ethernet header (one captured short is metered at what
//! was captured), and a million generated ones. Left out are only frames that the kernel makes no test frames of, by the rule at
//! [`KernelTap::frame`]; they are counted. Of a sample the head and the payload are compared; what the ring holds behind it is undefined.

use std::{
    collections::VecDeque,
    fmt::{Debug, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use auscult::capture::replay::Replay;
use auscult_ebpf::{
    discard::ParseStop,
    frame::Slice,
    limit::{DELTA_OCTETS_MAX, DELTA_PACKETS_MAX, SWEEP_SETS_MAX, TUNNELS_MAX},
    meter,
    parse::{self, Packet, Start},
    record::{
        DELTA_CONTINUES, Delta, FRAGMENT_LATER, FlowKey, Kind, Mark, SWEEP_FLUSH, SWEEP_MARK, SampleHead, SweepArguments, Tunnel,
        TunnelPath, read_record,
    },
    sample::Class,
    settings::{FLAG_COPIES_METERED, FLAG_SAMPLES, FLAG_TIME_IN_METADATA, FLAG_VLAN_IN_KEY, Settings},
};
use harness::{
    kernel::{self, Hook, KernelTap, Ran},
    random::Random,
    reference::NativeTap,
    traffic::Traffic,
};

/// Generated frames per program.
const GENERATED: u64 = 1_000_000;
/// LINKTYPE of Ethernet.
const ETHERNET: u32 = 1;
/// Octets of an Ethernet header: the shortest frame that the kernel makes a test frame of.
const HEADER_OCTETS: usize = 14;
/// Frames that are kept to be shown beside a difference.
const HISTORY: usize = 8192;
/// Of those, how many are shown at most.
const SHOWN: usize = 24;
/// Longest step of time between two frames of a capture: more says nothing more about ticks.
const STEP_MAX: u64 = 1 << 42;

/// Least octets of the linear part of frames with fragments.
const LINEAR_OCTETS_LEAST: usize = 14;

/// What was compared.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    frames: u64,
    refused: u64,
    short: u64,
    records: u64,
    marks: u64,
}

/// What the metered frames reached: a comparison of what never happened would prove nothing.
#[derive(Clone, Debug, Default)]
struct Reached {
    stops: [u64; ParseStop::ALL.len()],
    retransmissions: u64,
    out_of_order: u64,
    later_fragments: u64,
    /// Deltas that a full count closed.
    full: u64,
    /// Deltas that a full octet sum closed.
    full_octets: u64,
    continued: u64,
    samples: [u64; Class::CELLS],
    shed: u64,
    /// Frames that are compared with the one before instead of parsed.
    compared: u64,
    /// Frames recognised as copies.
    copies: u64,
    /// Packets that were encapsulated.
    tunnelled: u64,
    /// Encapsulations, outer and inner, of each kind.
    tunnels: [[u64; Tunnel::ALL.len()]; TUNNELS_MAX],
}

impl Reached {
    fn take(&mut self, record: &[u8]) {
        if let Some(delta) = read_record::<Delta>(record).filter(|delta| delta.header.kind == Kind::Delta as u8) {
            if let Some(stop) = self.stops.get_mut(usize::from(delta.stop)) {
                *stop += 1;
            }
            for stack in delta.side.map(|side| side.stack) {
                self.retransmissions += u64::from(stack.retransmissions);
                self.out_of_order += u64::from(stack.out_of_order);
                self.later_fragments += u64::from(stack.fragments & FRAGMENT_LATER != 0);
            }
            let [forward, back] = delta.header.packets;
            self.full += u64::from((forward | back) >= DELTA_PACKETS_MAX);
            let [forward, back] = delta.side.map(|side| side.volume.layer2_octets);
            self.full_octets += u64::from((forward | back) >= DELTA_OCTETS_MAX);
            self.continued += u64::from(delta.flags & DELTA_CONTINUES != 0);
        }
        if let Some(path) = read_record::<TunnelPath>(record).filter(|path| path.header.kind == Kind::TunnelPath as u8) {
            for (layer, counts) in path.layers.iter().zip(&mut self.tunnels) {
                if let Some(count) = usize::from(layer.kind).checked_sub(1).and_then(|kind| counts.get_mut(kind)) {
                    *count += 1;
                }
            }
        }
        if let Some(mark) = read_record::<Mark>(record).filter(|mark| mark.header.kind == Kind::Mark as u8) {
            self.samples = mark.counters.samples;
            self.shed = mark.counters.samples_shed.iter().sum();
            (self.copies, self.tunnelled) = (mark.counters.copies_packets, mark.counters.tunnelled_packets);
        }
    }

    fn everything(&self) -> bool {
        let counts = [
            self.retransmissions,
            self.out_of_order,
            self.later_fragments,
            self.full,
            self.continued,
            self.compared,
            self.copies,
            self.tunnelled,
        ];
        // Class 0 gives no samples.
        counts.iter().chain(&self.stops).chain(&self.samples[1..]).chain(self.tunnels.as_flattened()).all(|count| *count > 0)
    }
}

/// Both meters, in step.
struct Pair {
    kernel: KernelTap,
    native: NativeTap,
    /// As the kernel keeps it from frame to frame.
    packet: Packet,
    settings: Settings,
    random: Random,
    history: VecDeque<(u64, Vec<u8>)>,
    tally: Tally,
    reached: Reached,
    at: u64,
    /// Ticks between two whole sweeps: a large cache is swept less often.
    ticks_per_sweep: u64,
    swept: u64,
    /// Half of the frames longer than this have fragments behind it or behind some later octet.
    least_linear: Option<usize>,
}

impl Pair {
    fn new(hook: Hook, settings: Settings, cpu: usize) -> Result<Self> {
        let kernel = KernelTap::load(&kernel::object()?, settings, hook, cpu)?;
        let native = NativeTap::new(settings, cpu);
        let random = Random::new(u64::from(settings.sets_mask));
        let ticks_per_sweep = u64::from(settings.sets_mask / SWEEP_SETS_MAX + 1);
        let (history, tally, reached) = (VecDeque::with_capacity(HISTORY), Tally::default(), Reached::default());
        let least_linear = (hook == Hook::XdpFrags).then_some(LINEAR_OCTETS_LEAST);
        let packet = Packet::default();
        Ok(Self {
            kernel,
            native,
            packet,
            settings,
            random,
            history,
            tally,
            reached,
            at: 0,
            ticks_per_sweep,
            swept: 0,
            least_linear,
        })
    }

    /// Whether the parser finds the frame to be one more of the conversation before it: then its hash still holds.
    fn is_compared(&mut self, octets: &[u8]) -> bool {
        self.packet.hashed = 1;
        let frame = Slice::new(octets, octets.len() as u32);
        let parsed = parse::parse(&frame, Start::Ethernet, self.settings.has(FLAG_VLAN_IN_KEY), &mut self.packet);
        parsed.is_ok() && self.packet.hashed == 1
    }

    /// One frame through both; the first of a tick after a sweep.
    fn frame(&mut self, at: u64, octets: &[u8]) -> Result<()> {
        let tick = meter::tick(at);
        if tick / self.ticks_per_sweep != self.swept {
            self.swept = tick / self.ticks_per_sweep;
            self.sweep_all(at, 0)?;
        }
        self.at = at;
        if self.random.once_in(20_000) {
            // Anything that userspace may ask for, sound or not.
            let first = self.random.below(u64::from(self.settings.sets_mask) + 40) as u32;
            let flags = self.random.of(&[0, SWEEP_FLUSH, SWEEP_MARK, SWEEP_FLUSH | SWEEP_MARK]);
            let count = self.random.below(u64::from(SWEEP_SETS_MAX) + 20) as u32;
            self.sweep(&SweepArguments { first, count, flags, at, ..SweepArguments::default() })?;
        }
        if let Some(least) = self.least_linear {
            let split = octets.len() > least && self.random.once_in(2);
            self.kernel.set_linear(split.then(|| least + self.random.index(octets.len() - least)));
        }
        match self.kernel.frame(at, octets)? {
            Ran::Refused if octets.len() < HEADER_OCTETS => self.tally.short += 1,
            Ran::Refused => self.tally.refused += 1,
            Ran::Returned(_) => {
                self.native.frame(at, octets);
                self.reached.compared += u64::from(self.is_compared(octets));
                if self.history.len() == HISTORY {
                    self.history.pop_front();
                }
                self.history.push_back((at, octets.to_vec()));
                self.tally.frames += 1;
                self.compare()?;
            }
        }
        Ok(())
    }

    /// Sweeps every set of both and compares the Marks.
    fn sweep_all(&mut self, at: u64, flags: u32) -> Result<()> {
        let sets = self.settings.sets_mask + 1;
        for first in (0..sets).step_by(SWEEP_SETS_MAX as usize) {
            let count = SWEEP_SETS_MAX.min(sets - first);
            self.sweep(&SweepArguments { first, count, flags, at, ..SweepArguments::default() })?;
        }
        self.sweep(&SweepArguments { flags: SWEEP_MARK, at, ..SweepArguments::default() })
    }

    fn sweep(&mut self, arguments: &SweepArguments) -> Result<()> {
        let returned = self.kernel.sweep(arguments)?;
        ensure!(returned == 0, "the sweep program returned {returned} for {arguments:?}");
        self.tally.marks += u64::from(arguments.flags & SWEEP_MARK != 0);
        self.native.sweep(arguments);
        self.compare()
    }

    /// The records since the last comparison.
    fn compare(&mut self) -> Result<()> {
        let Self { kernel, native, history, tally, reached, settings, .. } = self;
        let mut expected = native.records();
        kernel.drain(|record| {
            let meant = expected.next();
            let compared = cut(record);
            if meant != Some(compared) {
                anyhow::bail!("{}", difference(compared, meant, history, settings));
            }
            tally.records += 1;
            reached.take(record);
            Ok(())
        })?;
        if let Some(missing) = expected.next() {
            anyhow::bail!("{}", difference(&[], Some(missing), history, settings));
        }
        drop(expected);
        native.forget();
        Ok(())
    }
}

/// A record without the undefined octets behind a sample's payload.
fn cut(record: &[u8]) -> &[u8] {
    if record.first() != Some(&(Kind::Sample as u8)) {
        return record;
    }
    let length = read_record::<SampleHead>(record).map_or(0, |head| size_of::<SampleHead>() + usize::from(head.length));
    record.get(..length).unwrap_or(record)
}

/// Everything that helps to find out why two records differ.
fn difference(kernel: &[u8], native: Option<&[u8]>, history: &VecDeque<(u64, Vec<u8>)>, settings: &Settings) -> String {
    let native = native.unwrap_or_default();
    let mut text = format!("records differ\nkernel:\n{}\nnative:\n{}\n", show(kernel), show(native));
    let (left, right) = (show(kernel), show(native));
    for (left, right) in left.lines().zip(right.lines()).filter(|(left, right)| left != right) {
        let _ = writeln!(text, "  kernel {} | native {}", left.trim(), right.trim());
    }
    if let Some((at, frame)) = history.back() {
        let _ = writeln!(text, "last frame, at {at}, {} octets: {}", frame.len(), hex(frame));
    }
    let keys: Vec<_> = [kernel, native].iter().filter_map(|record| key_of(record)).collect();
    let of_flow = history.iter().rev().filter(|(_, frame)| {
        let slice = auscult_ebpf::frame::Slice::new(frame, frame.len() as u32);
        let mut packet = Packet::default();
        let parsed = parse::parse(&slice, Start::Ethernet, settings.has(FLAG_VLAN_IN_KEY), &mut packet);
        parsed.is_ok() && keys.contains(&packet.flow_key())
    });
    for (at, frame) in of_flow.take(SHOWN) {
        let _ = writeln!(text, "of the flow, at {at}, {} octets: {}", frame.len(), hex(&frame[..frame.len().min(200)]));
    }
    text
}

fn key_of(record: &[u8]) -> Option<FlowKey> {
    match *record.first()? {
        kind if kind == Kind::Delta as u8 => read_record::<Delta>(record).map(|delta| delta.key),
        kind if kind == Kind::Sample as u8 => read_record::<SampleHead>(record).map(|head| head.key),
        _ => None,
    }
}

fn show(record: &[u8]) -> String {
    fn pretty<T: auscult_ebpf::record::Plain + Debug>(record: &[u8]) -> String {
        read_record::<T>(record).map_or_else(|| "too short".into(), |record| format!("{record:#?}"))
    }
    match record.first() {
        None => "none".into(),
        Some(&kind) if kind == Kind::Delta as u8 => pretty::<Delta>(record),
        Some(&kind) if kind == Kind::Mark as u8 => pretty::<Mark>(record),
        Some(&kind) if kind == Kind::TunnelPath as u8 => pretty::<TunnelPath>(record),
        Some(&kind) if kind == Kind::Sample as u8 => {
            let payload = record.get(size_of::<SampleHead>()..).unwrap_or_default();
            format!("{}\npayload {}", pretty::<SampleHead>(record), hex(payload))
        }
        Some(kind) => format!("kind {kind}, {} octets", record.len()),
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() { walk(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

/// Every Ethernet frame of every capture, one file after the other.
fn corpus(pair: &mut Pair, folder: &Path) -> Result<usize> {
    let mut files = Vec::new();
    walk(folder, &mut files)?;
    files.sort();
    for file in &files {
        capture(pair, file).with_context(|| file.display().to_string())?;
    }
    Ok(files.len())
}

/// Time goes on over all files: by what it goes on inside a file, never backwards.
fn capture(pair: &mut Pair, file: &Path) -> Result<()> {
    let mut replay = Replay::open(&[file.into()])?;
    let (mut before, mut at) = (None, pair.at);
    loop {
        match replay.next_frame() {
            Ok(Some(frame)) if frame.link_type == ETHERNET => {
                let step = frame.at.saturating_sub(before.unwrap_or(frame.at));
                before = Some(frame.at.max(before.unwrap_or(0)));
                at += step.min(STEP_MAX);
                pair.frame(at, frame.octets)?;
            }
            Ok(Some(_)) => {}
            Ok(None) => return Ok(()),
            // What is wrong with a file is another test's matter; its whole frames were compared.
            Err(_) => {}
        }
    }
}

/// Corpus and generated frames through one program.
fn compare(hook: Hook, settings: Settings, cpu: usize) -> Result<()> {
    if !harness::root() {
        return Ok(());
    }
    let mut pair = Pair::new(hook, settings, cpu % cpus()?)?;
    let mut traffic = Traffic::new(u64::from(settings.sets_mask) ^ 0xd1ff);
    for _ in 0..GENERATED {
        let (at, frame) = traffic.draw();
        pair.frame(at, &frame)?;
    }
    pair.sweep_all(pair.at, SWEEP_FLUSH)?;
    println!("{hook:?}, generated: {:?} {:?}", pair.tally, pair.reached);
    ensure!(pair.reached.everything(), "generated frames miss something: {:?}", pair.reached);
    let left_out = pair.tally.refused + pair.tally.short;
    ensure!(pair.tally.frames + left_out == GENERATED && left_out < GENERATED / 20, "too many were left out: {:?}", pair.tally);
    pair.tally = Tally::default();
    if let Some(folder) = harness::corpus() {
        let files = corpus(&mut pair, &folder)?;
        pair.sweep_all(pair.at, SWEEP_FLUSH)?;
        println!("{hook:?}, {files} captures: {:?}", pair.tally);
        ensure!(pair.tally.frames > 0, "no frames in the corpus");
    }
    Ok(())
}

fn cpus() -> Result<usize> {
    aya::util::nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))
}

/// Few sets: an eviction at nearly every new flow.
fn settings() -> Settings {
    let flags = FLAG_TIME_IN_METADATA | FLAG_SAMPLES | FLAG_COPIES_METERED;
    Settings { sets_mask: 255, flags, copy_units: 20, ..Settings::plain() }
}

#[test]
fn live_xdp_equals_native() -> Result<()> {
    compare(Hook::Xdp, settings(), 0)
}

#[test]
fn live_xdp_frags_equals_native() -> Result<()> {
    let plain = settings();
    let flags = plain.flags | FLAG_VLAN_IN_KEY;
    compare(Hook::XdpFrags, Settings { sets_mask: 4095, flags, observation_point: 3, ..plain }, 1)
}

#[test]
fn live_tcx_equals_native() -> Result<()> {
    let plain = settings();
    // Shares so small that samples are shed.
    let sample_shares = plain.sample_shares.map(|share| share / 64);
    compare(Hook::Tcx, Settings { sets_mask: 511, super_frame_octets: 1514, sample_shares, ..plain }, 0)
}

/// Frames as long as the kernel makes them, until the octets of one delta would not fit their sum.
#[test]
fn live_octet_sums_do_not_overflow() -> Result<()> {
    if !harness::root() {
        return Ok(());
    }
    let mut pair = Pair::new(Hook::XdpFrags, settings(), 1 % cpus()?)?;
    pair.least_linear = None;
    let mut frame = [[2; 12].as_slice(), &[0x88, 0x8e], &[7; 60_000]].concat();
    frame[11] = 3;
    for count in 0..u64::from(DELTA_PACKETS_MAX) + 10_000 {
        frame.resize(69_000 + count as usize % 1000, 7);
        pair.frame(count * 1000, &frame)?;
    }
    pair.sweep_all(pair.at, SWEEP_FLUSH)?;
    println!("octet sums: {:?}", pair.tally);
    ensure!(pair.reached.full_octets == 1 && pair.reached.full == 0, "{:?}", pair.reached);
    Ok(())
}
