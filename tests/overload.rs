//! Rings, tables, channels, disks and threads overfilled on purpose, live and in replay. Whatever is overfilled: the ledger closes at every
//! Mark, what is lost is lost in the place that was overfilled and in no other, the rows read back from Parquet hold exactly the rest, and
//! resident memory keeps to what the engine said at its start.
#![expect(clippy::disallowed_methods, reason = "what disturbs an engine is paced by a clock")]

use std::{
    collections::BTreeMap,
    fs::File,
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use auscult::{
    batch::{Message, RingMark},
    biflow::{BiflowSettings, Table},
    capture::{
        native::{DropSamples, NativeMeter},
        outlets::{Batches, Outlets},
        replay::RawFrame,
    },
    config::Config,
    lab::{Flood, Lab, MTU, Place},
    lake,
    ledger::{Count, Ledger},
    pipeline::{self, Outcome, ReplayRequest},
    progress::Progress,
    scene::{Scene, SceneSize},
    shutdown::Shutdown,
};
use auscult_ebpf::{
    discard::Lost,
    frame::Slice,
    hash,
    limit::{BULK_SAMPLES_PART, SWEEP_SETS_MAX},
    meter,
    parse::{self, Packet, Start},
    record::{Delta, Kind, Mark, SWEEP_FLUSH, SWEEP_MARK, SampleHead, SweepArguments, read_record},
    sample::{self, Class},
    settings::{FLAG_SAMPLES, FLAG_TIME_IN_METADATA, Settings},
};
use harness::{
    kernel::{self, Hook, KernelTap},
    overload::{Disk, Kind as FloodKind, forget_peak, named_pipe, starve, template, vary, within_bound, write_pcap},
    stage,
};

/// Time for an engine to come up.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// Frames of one call of a flood.
const FLOOD_FRAMES: u32 = 50_000;
/// How long a disk stands still, or threads hardly run.
const TROUBLE: Duration = Duration::from_secs(3);
/// Spoofed flows, unless [`FLOWS`] says otherwise.
const FLOWS_DEFAULT: u64 = 1_000_000;
/// The variable that sets how many spoofed flows there are.
const FLOWS: &str = "AUSCULT_OVERLOAD_FLOWS";
/// Most bytes that a live flow may cost.
const FLOW_BYTES_MAX: u64 = 700;

/// One at a time: resident memory is the whole process's.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What disturbs the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    /// The data directory is on a disk of so many KiB.
    DiskFull(u32),
    /// The data directory's disk stands still for [`TROUBLE`].
    DiskFrozen,
    /// Threads whose names begin so hardly run for [`TROUBLE`].
    Starved(&'static str),
}

/// What must come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// Packets lost there, and nowhere else.
    Lost(&'static str),
    /// Packets may be lost there, by how fast the machine is.
    MayLose(&'static str),
    /// Rows that end so.
    Ends(&'static str),
    /// Deltas merged early.
    Hurried,
    /// Samples of this class shed or lost.
    Shed(Class),
    /// No sample of this class shed or lost.
    Whole(Class),
    /// The engine ends with an error.
    Error,
}
use Sign::*;

struct Case {
    name: &'static str,
    frames: u64,
    kind: FloodKind,
    trouble: Trouble,
    change: fn(&mut Config),
    signs: &'static [Sign],
}

const fn case(name: &'static str, frames: u64, kind: FloodKind, change: fn(&mut Config), signs: &'static [Sign]) -> Case {
    Case { name, frames, kind, trouble: Trouble::None, change, signs }
}

impl Case {
    const fn with(self, trouble: Trouble) -> Self {
        Self { trouble, ..self }
    }

    /// Where the lake goes; a disk of its own when that is the trouble.
    fn disk(&self) -> Result<Option<Disk>> {
        match self.trouble {
            Trouble::DiskFull(kibibytes) => Disk::small(kibibytes).map(Some),
            Trouble::DiskFrozen => Disk::freezable().map(Some),
            _ => Ok(None),
        }
    }

    /// Makes the trouble, for as long as it lasts.
    fn disturb(&self, disk: Option<&Disk>) -> Result<()> {
        match (self.trouble, disk) {
            (Trouble::DiskFrozen, Some(disk)) => {
                disk.freeze(true)?;
                thread::sleep(TROUBLE);
                disk.freeze(false)
            }
            (Trouble::Starved(threads), _) => starve(threads, TROUBLE),
            _ => Ok(()),
        }
    }

    fn check(&self, outcome: &Outcome, data: &Path) -> Result<()> {
        let Self { name, signs, .. } = self;
        let summary = &outcome.summary;
        let has = |sign: Sign| signs.contains(&sign);
        println!("{name}: {} seen, {} metered, lost {:?}", summary.packets_seen, summary.packets_metered, summary.lost.0);
        assert_eq!(outcome.error.is_some(), has(Error), "{name}: {:?}", outcome.error);
        if has(Error) {
            closes_without_rows(outcome, data)?
        } else {
            stage::closes(outcome, data)?
        }
        assert!(
            summary.marks > 0 && summary.unbalanced_marks == 0,
            "{name}: {} of {} Marks",
            summary.unbalanced_marks,
            summary.marks
        );
        for (place, lost) in &summary.lost.0 {
            let expected = if has(Lost(place)) { *lost > 0 } else { *lost == 0 || has(MayLose(place)) };
            assert!(expected, "{name}: {lost} packets lost by {place}");
        }
        assert_eq!(summary.discarded.total(), 0, "{name}");
        for sign in *signs {
            match sign {
                Ends(reason) => assert!(summary.flows_by_end_reason.get(reason) > Some(0), "{name}: no row ends by {reason}"),
                Hurried => assert!(summary.hurried_deltas > 0, "{name}"),
                Shed(class) => assert!(summary.samples_shed.get(class.name()) > Some(0), "{name}: {:?}", summary.samples_shed),
                Whole(class) => assert_eq!(summary.samples_shed.get(class.name()), Some(0), "{name}: {:?}", summary.samples_shed),
                Lost(_) | MayLose(_) | Error => {}
            }
        }
        if !has(Ends("lack_of_resources")) {
            assert_eq!(summary.flows_by_end_reason.get("lack_of_resources"), Some(0), "{name}");
        }
        // A live flood of no bounded rate may have more deltas wait than may, by how fast the machine is.
        if !has(Hurried) && !has(Lost("ring_full")) && !has(MayLose("ring_full")) {
            assert_eq!(summary.hurried_deltas, 0, "{name}");
        }
        let (mut seen, mut minutes) = (0, 0);
        if !has(Error) {
            lake::read::scan(data, &lake::Query::all(lake::TableName::Coverage), |row| {
                let Some(of_minute) = row["seen_packets"].as_u64() else { return };
                seen += of_minute;
                minutes += 1;
                assert_eq!((&row["imbalance_packets"], &row["imbalance_octets"]), (&0.into(), &0.into()), "{name}: {row:?}");
            })?;
            assert!(minutes > 0 && seen == summary.packets_seen, "{name}: coverage has {seen} in {minutes} rows");
        }
        within_bound(name, outcome);
        Ok(())
    }
}

/// The law where rows could not be written: the summary counts them as rows, and their packets as lost.
fn closes_without_rows(outcome: &Outcome, data: &Path) -> Result<()> {
    let summary = &outcome.summary;
    let sums = lake::sum_packets(data, None)?;
    assert!(summary.balanced(), "{:?}", summary.imbalance);
    assert_eq!((sums.packets, sums.octets), (summary.packets_metered, summary.octets_metered), "lake and ledger");
    assert_eq!(summary.packets_seen, sums.packets + summary.lost.total(), "seen = lake + lost");
    assert!(sums.rows < summary.flows);
    Ok(())
}

fn places(of: &[(u16, u16)]) -> Vec<Place> {
    of.iter().map(|&(offset, mask)| Place { offset, mask }).collect()
}

/// Floods a tap inside an engine's run; the trouble begins with the flood.
fn live(case: &Case) -> Result<()> {
    let mut config = stage::config();
    (case.change)(&mut config);
    let lab = Lab::pair(MTU)?;
    config.interfaces = lab.taps().iter().map(|name| Arc::from(name.as_str())).collect();
    let (frame, varied) = template(case.kind);
    let flood = Flood::varied(&lab, 0, &frame, &places(&varied))?;
    let disk = case.disk()?;
    let folder = tempfile::tempdir()?;
    let data = disk.as_ref().map_or_else(|| folder.path().join("data"), Disk::data);
    let go = Shutdown::new();
    forget_peak()?;
    let outcome = thread::scope(|scope| -> Result<Outcome> {
        let play = || -> Result<()> {
            ensure!(go.wait(UP_WITHIN), "{}: the engine never came up", case.name);
            let mut sent = 0;
            while sent < case.frames {
                flood.play(FLOOD_FRAMES)?;
                sent += u64::from(FLOOD_FRAMES);
            }
            Ok(())
        };
        let player = scope.spawn(play);
        let disturber = scope.spawn(|| {
            ensure!(go.wait(UP_WITHIN), "{}: the engine never came up", case.name);
            case.disturb(disk.as_ref())
        });
        let (mut last, mut quiet) = (0, 0);
        let outcome = pipeline::run_inside(&config, &data, lab.tap(), &Arc::new(Progress::new()), || {
            go.request();
            thread::sleep(Duration::from_millis(20));
            let received = stage::received(&lab).unwrap_or(0);
            let is_over = player.is_finished() && disturber.is_finished() && received == last;
            quiet = if is_over { quiet + 1 } else { 0 };
            last = received;
            quiet > 10
        });
        go.request();
        for thread in [player, disturber] {
            thread.join().map_err(|_| anyhow::anyhow!("{}: a thread died", case.name))??;
        }
        Ok(outcome)
    })?;
    assert_eq!(outcome.summary.packets_seen, stage::received(&lab)?, "{}: the meter's count and the tap's", case.name);
    assert!(outcome.summary.packets_seen > case.frames / 2, "{}: the flood hardly arrived", case.name);
    case.check(&outcome, &data)
}

/// Frames of a flood, one each `step` ns.
fn spoofed(kind: FloodKind, frames: u64, step: u64) -> impl Iterator<Item = (u64, Vec<u8>)> {
    let (frame, varied) = template(kind);
    (0..frames).map(move |n| {
        let mut copy = frame.clone();
        vary(&mut copy, &varied, n);
        (1_700_000_000_000_000_000 + n * step, copy)
    })
}

/// Replays what is written into a pipe meanwhile.
fn replayed(config: &Config, data: &Path, frames: impl Iterator<Item = (u64, Vec<u8>)> + Send) -> Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let pipe = named_pipe(folder.path())?;
    let request = ReplayRequest { inputs: vec![pipe.clone()], data: data.to_owned(), speed: None, listen: None };
    thread::scope(|scope| {
        let writer = scope.spawn(move || write_pcap(File::options().write(true).open(pipe)?, frames));
        let outcome = pipeline::replay(config, &request, &Shutdown::new(), &Arc::new(Progress::new()));
        writer.join().map_err(|_| anyhow::anyhow!("the writer died"))??;
        Ok(outcome)
    })
}

fn in_replay(case: &Case, step: u64) -> Result<()> {
    let mut config = stage::config();
    (case.change)(&mut config);
    let disk = case.disk()?;
    let folder = tempfile::tempdir()?;
    let data = disk.as_ref().map_or_else(|| folder.path().join("data"), Disk::data);
    forget_peak()?;
    let outcome = thread::scope(|scope| {
        let disturber = scope.spawn(|| {
            if case.trouble != Trouble::None {
                // The engine is at work when there are shards.
                starve("biflow-", Duration::from_millis(1))?;
            }
            case.disturb(disk.as_ref())
        });
        let outcome = replayed(&config, &data, spoofed(case.kind, case.frames, step))?;
        disturber.join().map_err(|_| anyhow::anyhow!("the disturber died"))??;
        Ok::<_, anyhow::Error>(outcome)
    })?;
    assert_eq!(outcome.summary.packets_seen, case.frames, "{}", case.name);
    case.check(&outcome, &data)
}

/// Runs every case, also behind one that fails.
fn all<T>(cases: &[T], name: impl Fn(&T) -> &'static str, run: impl Fn(&T) -> Result<()>) {
    let failed: Vec<_> = cases
        .iter()
        .filter(|case| match panic::catch_unwind(AssertUnwindSafe(|| run(case))) {
            Ok(Err(error)) => {
                println!("{}: {error:#}", name(case));
                true
            }
            Ok(Ok(())) => false,
            Err(_) => true,
        })
        .map(&name)
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
}

fn small_ring(config: &mut Config) {
    config.meter.ring_bytes = 64 << 10;
}

/// So large that it holds everything that a case sends.
fn large_ring(config: &mut Config) {
    config.meter.ring_bytes = 64 << 20;
}

#[test]
fn live_matrix() -> Result<()> {
    if !harness::root() {
        return Ok(());
    }
    let _alone = alone();
    const RING: Sign = Lost("ring_full");
    let cases = [
        case("live, ring too small", 1_000_000, FloodKind::Udp, small_ring, &[RING, Shed(Class::Datagram)]),
        case(
            "live, 16 sets",
            100_000,
            FloodKind::Udp,
            |config| {
                large_ring(config);
                config.meter.sets = 16;
            },
            &[],
        ),
        case(
            "live, table full",
            100_000,
            FloodKind::Udp,
            |config| {
                large_ring(config);
                config.biflow.max_flows = 1024;
            },
            &[Ends("lack_of_resources")],
        ),
        case(
            "live, more deltas than may wait",
            1_500_000,
            FloodKind::Udp,
            |config| {
                config.meter.ring_bytes = 512 << 20;
                config.biflow.shards = 1;
                config.meter.mark_interval = Duration::from_millis(900);
            },
            &[Hurried, Ends("lack_of_resources"), MayLose("ring_full")],
        ),
        case("live, disk stands still", 2_000_000, FloodKind::Udp, small_ring, &[RING]).with(Trouble::DiskFrozen),
        case(
            "live, disk full",
            400_000,
            FloodKind::Udp,
            |config| config.lake.rotate_rows = 10_000,
            &[Lost("write"), MayLose("ring_full"), Error],
        )
        .with(Trouble::DiskFull(1024)),
        case("live, shards starved", 1_000_000, FloodKind::Udp, small_ring, &[RING]).with(Trouble::Starved("biflow-")),
        case("live, one shard starved", 1_000_000, FloodKind::Udp, small_ring, &[RING]).with(Trouble::Starved("biflow-1")),
        case("live, drains starved", 1_000_000, FloodKind::Udp, small_ring, &[RING]).with(Trouble::Starved("drain-")),
        case("live, store starved", 1_000_000, FloodKind::Udp, small_ring, &[RING]).with(Trouble::Starved("store")),
        case("live, books starved", 300_000, FloodKind::Udp, large_ring, &[MayLose("ring_full")]).with(Trouble::Starved("books")),
        case("live, sweep starved", 1_000_000, FloodKind::OnePair, small_ring, &[RING]).with(Trouble::Starved("sweep")),
        case("live, all work is one shard's", 1_000_000, FloodKind::OnePair, small_ring, &[RING]),
        case("live, spoofed SYNs", 1_000_000, FloodKind::Syn, small_ring, &[RING, Whole(Class::Stream)]),
        case("live, spoofed datagrams", 1_000_000, FloodKind::Udp, |_| (), &[MayLose("ring_full"), Whole(Class::Address)]),
        case("live, later fragments", 500_000, FloodKind::Fragments, |_| (), &[MayLose("ring_full")]),
        case("live, first fragments", 500_000, FloodKind::FirstFragments, |_| (), &[MayLose("ring_full")]),
        case("live, many VLANs", 500_000, FloodKind::Vlan, |config| config.meter.vlan_in_key = true, &[MayLose("ring_full")]),
        case(
            "live, share of names used up",
            200_000,
            FloodKind::Dns,
            |config| {
                large_ring(config);
                config.samples.share_octets_per_tick[Class::Name as usize] = 4096;
            },
            &[Shed(Class::Name), Whole(Class::Address), Whole(Class::Clinical), Whole(Class::Datagram)],
        ),
    ];
    all(&cases, |case| case.name, live);
    Ok(())
}

#[test]
fn replay_matrix() -> Result<()> {
    if !harness::root() {
        return Ok(());
    }
    let _alone = alone();
    let few_flows: fn(&mut Config) = |config| config.biflow.max_flows = 1024;
    let short_files: fn(&mut Config) = |config| config.lake.rotate_rows = 1000;
    let cases = [
        // Ten frames a microsecond: hundreds of thousands of rows end within one tick.
        (case("replay, table full", 1_000_000, FloodKind::Udp, few_flows, &[Ends("lack_of_resources")]), 100),
        (case("replay, 16 sets", 300_000, FloodKind::Udp, |config| config.meter.sets = 16, &[]), 1000),
        (case("replay, spoofed SYNs", 500_000, FloodKind::Syn, |_| (), &[]), 100),
        (case("replay, fragments", 300_000, FloodKind::FirstFragments, |_| (), &[]), 1000),
        (case("replay, many VLANs", 300_000, FloodKind::Vlan, |config| config.meter.vlan_in_key = true, &[]), 1000),
        (case("replay, one shard of eight", 300_000, FloodKind::OnePair, |config| config.biflow.shards = 8, &[]), 1000),
        (case("replay, shares used up", 300_000, FloodKind::Dns, |_| (), &[Shed(Class::Name), Whole(Class::Address)]), 1000),
        (
            case("replay, disk full", 300_000, FloodKind::Udp, short_files, &[Lost("write"), Error])
                .with(Trouble::DiskFull(1024)),
            1000,
        ),
        // A replay waits for what is slow and loses nothing.
        (case("replay, disk stands still", 500_000, FloodKind::Udp, short_files, &[]).with(Trouble::DiskFrozen), 1000),
        (case("replay, one shard starved", 600_000, FloodKind::Udp, |_| (), &[]).with(Trouble::Starved("biflow-0")), 1000),
        (case("replay, store starved", 600_000, FloodKind::Udp, |_| (), &[]).with(Trouble::Starved("store")), 1000),
        (
            case(
                "replay, books starved",
                20_000,
                FloodKind::Udp,
                |config| config.biflow.idle_timeout = Duration::from_secs(120),
                &[],
            )
            .with(Trouble::Starved("books")),
            500_000_000,
        ),
        // A file for every hour.
        (
            case(
                "replay, many hours",
                100_000,
                FloodKind::Udp,
                |config| {
                    config.lake.rotate_after = Duration::from_secs(3600);
                    config.biflow.idle_timeout = Duration::from_secs(120);
                },
                &[Ends("idle_timeout")],
            ),
            600_000_000,
        ),
    ];
    all(&cases, |(case, _)| case.name, |(case, step)| in_replay(case, *step));
    Ok(())
}

/// Settings of the tests that run the kernel's programs frame by frame.
const SETTINGS: Settings =
    Settings { sets_mask: SWEEP_SETS_MAX - 1, flags: FLAG_TIME_IN_METADATA | FLAG_SAMPLES, copy_units: 0, ..Settings::plain() };

/// What a ring holds.
#[derive(Debug, Default)]
struct Held {
    metered: Count,
    /// Octets of the ring before each sample, by whether its class is one that a flood can have any number of.
    samples: [Vec<u64>; 2],
    /// Octets before each delta.
    deltas: Vec<u64>,
    octets: u64,
    ledgers: Vec<Ledger>,
}

impl Held {
    fn take(&mut self, record: &[u8]) -> Result<()> {
        let kind = *record.first().context("an empty record")?;
        if kind == Kind::Delta as u8 {
            let (packets, octets) = meter::resident(&read_record::<Delta>(record).context("a short delta")?);
            self.metered.add(Count { packets, octets });
            self.deltas.push(self.octets);
        } else if kind == Kind::Sample as u8 {
            let head: SampleHead = read_record(record).context("a short sample")?;
            self.samples[usize::from(Class::is_bulk(head.header.packets[1].into()))].push(self.octets);
        } else {
            let mark: Mark = read_record(record).context("a short Mark")?;
            self.ledgers.push(Ledger::at_mark(&mark, self.metered));
        }
        self.octets += (record.len() as u64 + 8).next_multiple_of(8);
        Ok(())
    }
}

/// Sweeps everything out and leaves a Mark.
fn sweep_out(tap: &mut KernelTap, at: u64, held: &mut Held) -> Result<()> {
    for first in (0..SWEEP_SETS_MAX).step_by(16) {
        let arguments = SweepArguments { first, count: 16, flags: SWEEP_FLUSH, at, ..SweepArguments::default() };
        ensure!(tap.sweep(&arguments)? == 0);
        tap.drain(|record| held.take(record))?;
    }
    ensure!(tap.sweep(&SweepArguments { flags: SWEEP_MARK, at, ..SweepArguments::default() })? == 0);
    tap.drain(|record| held.take(record))
}

/// Nobody reads the ring: samples that a flood can have go first, then deltas, and a Mark and samples of the other classes still find room.
#[test]
fn samples_of_floods_go_before_deltas_and_the_others_after() -> Result<()> {
    if !harness::root() {
        return Ok(());
    }
    const RING: u32 = 128 << 10;
    let mut tap = KernelTap::with_ring(&kernel::object()?, SETTINGS, Hook::Xdp, 0, RING)?;
    let at = |n: u64| (1 << 40) + n * 1000;
    for (n, (_, frame)) in (0..).zip(spoofed(FloodKind::Udp, 2000, 0)) {
        tap.frame(at(n), &frame)?;
    }
    // Every delta from here on is lost; names are asked for all the same, and the ledger is closed.
    for (n, (_, frame)) in (2000..).zip(spoofed(FloodKind::Dns, 8, 0)) {
        tap.frame(at(n), &frame)?;
    }
    ensure!(
        tap.sweep(&SweepArguments { flags: SWEEP_MARK, at: at(2008), ..SweepArguments::default() })? == 0,
        "no room for a Mark"
    );
    let mut held = Held::default();
    tap.drain(|record| held.take(record))?;
    let pressed = held.ledgers.first().copied().context("no Mark")?;
    let [others, bulk] = &held.samples;
    let (newest_bulk, newest_delta) = (*bulk.last().context("no sample")?, *held.deltas.last().context("no delta")?);
    println!("{} samples of floods, {} others, {} deltas in the ring", bulk.len(), others.len(), held.deltas.len());
    assert!(newest_bulk <= u64::from(RING / BULK_SAMPLES_PART), "a sample of the flood behind half of the ring: {newest_bulk}");
    assert!(newest_delta > newest_bulk && held.deltas.len() > 50, "deltas came after the last of those samples");
    assert_eq!(others.len(), 8, "all names are there");
    assert!(others.iter().all(|before| *before > newest_delta), "behind the last delta");
    assert!(
        pressed.counters.samples_lost[Class::Datagram as usize] > 0 && pressed.counters.samples_lost[Class::Name as usize] == 0
    );
    assert!(pressed.lost_by(Lost::RingFull).packets > 500);
    sweep_out(&mut tap, at(2009), &mut held)?;
    assert_eq!(held.ledgers.len(), 2);
    assert!(held.ledgers.iter().all(|ledger| ledger.imbalance() == (0, 0)), "{:?}", held.ledgers);
    Ok(())
}

/// A CPU that came online after the start has no ring: what its cache has no room for is lost by that name.
#[test]
fn a_cpu_without_a_ring_names_what_it_loses() -> Result<()> {
    if !harness::root() {
        return Ok(());
    }
    let mut tap = KernelTap::without_ring(&kernel::object()?, SETTINGS, Hook::Xdp, 0, 1 << 20)?;
    for (n, (_, frame)) in (0..).zip(spoofed(FloodKind::Udp, 5000, 0)) {
        tap.frame((1 << 40) + n * 1000, &frame)?;
    }
    tap.give_ring(0)?;
    let mut held = Held::default();
    sweep_out(&mut tap, (1 << 40) + 5_000_000, &mut held)?;
    let ledger = held.ledgers.last().context("no Mark")?;
    let lost = ledger.lost_by(Lost::NoRing);
    println!("{lost:?} of 5000 packets lost for want of a ring");
    assert!(lost.packets > 4000);
    assert_eq!(ledger.lost(), lost, "and nothing by another name");
    assert_eq!((ledger.imbalance(), ledger.resident.packets), ((0, 0), 0));
    assert_eq!(held.metered.packets + lost.packets, 5000);
    Ok(())
}

/// How many deltas a native meter makes of `rounds` times the same frames, all of one tick, and its ledger.
fn natively(frames: &[Vec<u8>], rounds: u64, settings: Settings) -> Result<(u64, Ledger)> {
    let (sender, shard) = crossbeam::channel::unbounded();
    let (ledger, _ledgers) = crossbeam::channel::unbounded();
    let outlets = Outlets { shards: vec![sender], ledger, recycled: crossbeam::channel::never(), batch_deltas: 512 };
    let settings = Settings { copy_units: 0, ..settings };
    let mut meter = NativeMeter::new(settings, Batches::new(0, outlets), Box::new(DropSamples));
    for (frame, nth) in (0..rounds).flat_map(|_| frames).zip(0..) {
        let at = (1 << 40) + nth;
        let raw = RawFrame { octets: frame, wire_octets: frame.len() as u32, at, interface: 0, link_type: 1 };
        meter.frame(&raw).map_err(|_| anyhow::anyhow!("the receivers are there"))?;
    }
    let last = meter.finish().map_err(|_| anyhow::anyhow!("the receivers are there"))?.context("no Mark")?;
    let length = |message| if let Message::Deltas { deltas, .. } = message { deltas.len() as u64 } else { 0 };
    Ok((shard.try_iter().map(length).sum(), last.ledger))
}

/// Packets chosen so that all their flows share one set under a key that is known evict each other every time; under another key they
/// spread like any others. The engine draws its key at random.
#[test]
fn a_flood_cannot_aim_at_one_set() -> Result<()> {
    const FLOWS: usize = 1024;
    const ROUNDS: u64 = 20;
    let known = Settings::plain();
    let mut packet = Packet::default();
    let (mut aimed, mut others) = (Vec::new(), Vec::new());
    for (_, frame) in spoofed(FloodKind::Udp, u64::MAX, 0) {
        let slice = Slice::new(&frame, frame.len() as u32);
        ensure!(parse::parse(&slice, Start::Ethernet, false, &mut packet).is_ok());
        if hash::keyed(&packet.key, &known.hash_keys) as u32 & known.sets_mask == 7 {
            aimed.push(frame);
        } else if others.len() < FLOWS {
            others.push(frame);
        }
        if aimed.len() == FLOWS {
            break;
        }
    }
    let packets = FLOWS as u64 * ROUNDS;
    let rate = |frames: &[Vec<u8>], hash_keys| -> Result<f64> {
        let (deltas, _) = natively(frames, ROUNDS, Settings { hash_keys, ..Settings::plain() })?;
        Ok(deltas as f64 / packets as f64)
    };
    let aimed_at_known = rate(&aimed, known.hash_keys)?;
    assert!(aimed_at_known > 0.99, "the flows do not share a set: {aimed_at_known}");
    for seed in 1..=3u64 {
        let mut draw = harness::random::Random::new(seed);
        let keys = std::array::from_fn(|_| draw.draw());
        let (aimed, others) = (rate(&aimed, keys)?, rate(&others, keys)?);
        println!("deltas per packet: known key {aimed_at_known:.3}, another key {aimed:.3}, other flows {others:.3}");
        assert!(aimed < others + 0.15 && aimed < 0.4, "{aimed} where other flows have {others}");
    }
    Ok(())
}

/// Place, protocol and ports of an IPv4 packet behind any VLAN tags, when it has no options and is no fragment.
fn ports(frame: &[u8]) -> Option<(usize, u8, [u16; 2])> {
    let mut at = 12;
    while matches!(frame.get(at..at + 2)?, [0x81, 0x00] | [0x88, 0xa8]) {
        at += 4;
    }
    let (kind, packet) = (frame.get(at..at + 2)?, frame.get(at + 2..)?);
    let is_plain = kind == [0x08, 0x00] && *packet.first()? == 0x45 && packet.get(6)? & 0x3f == 0 && *packet.get(7)? == 0;
    let port = |at: usize| Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?));
    Some((at + 2, *packet.get(9)?, [port(20)?, port(22)?])).filter(|_| is_plain)
}

/// DHCP, DICOM and HL7 of the scene, and the samples by class that they give at least, whatever a flood evicts: of DHCP as many octets as one
/// run of every flow may give, of clinical conversations what opens each of their directions.
fn hospital() -> Result<(Vec<Vec<u8>>, BTreeMap<&'static str, u64>)> {
    let (mut frames, mut begun, mut openings) = (Vec::new(), BTreeMap::new(), 0);
    for frame in Scene::new(21, SceneSize::default()).frames() {
        let Some((packet, protocol, ports)) = ports(&frame.octets) else { continue };
        let is = |numbers: &[u16]| ports.iter().any(|port| numbers.contains(port));
        if protocol == 6 && is(&[104, 11112, 2575]) {
            let payload = packet + 20 + usize::from(frame.octets[packet + 32] >> 4) * 4;
            let opens = sample::opens_clinical(&Slice::new(&frame.octets, frame.octets.len() as u32), payload as u32);
            let (of_way, opened): &mut (usize, bool) =
                begun.entry((ports, frame.octets[packet + 12..packet + 20].to_vec())).or_default();
            openings += u64::from(opens && !std::mem::replace(opened, *opened || opens));
            *of_way += 1;
            // The beginnings of conversations: images say no more.
            if *of_way > 8 && !opens {
                continue;
            }
        } else if protocol != 17 || !is(&[67, 68]) {
            continue;
        }
        frames.push(frame.octets);
    }
    let settings = Settings { sets_mask: auscult_ebpf::limit::SETS_MAX - 1, ..Settings::plain() };
    let (_, ledger) = natively(&frames, 1, settings)?;
    let addresses = ledger.counters.samples[Class::Address as usize];
    Ok((frames, BTreeMap::from([(Class::Address.name(), addresses), (Class::Clinical.name(), openings)])))
}

fn flows_wanted() -> u64 {
    std::env::var(FLOWS).ok().and_then(|text| text.parse().ok()).unwrap_or(FLOWS_DEFAULT)
}

/// What the hospital's samples must look like, whatever a flood does.
fn samples_arrived(name: &str, outcome: &Outcome, least: &BTreeMap<&'static str, u64>) {
    let summary = &outcome.summary;
    for (class, least) in least {
        let taken = summary.samples.get(class).unwrap_or(0);
        println!("{name}: {taken} samples of class {class}, {least} expected at least");
        assert!(*least > 20 && taken >= *least, "{name}: {taken} samples of class {class}, {least} expected");
        assert_eq!(summary.samples_shed.get(class), Some(0), "{name}: of class {class}");
    }
}

#[test]
fn live_spoofed_flows_take_neither_samples_nor_memory() -> Result<()> {
    if !harness::root() {
        return Ok(());
    }
    let _alone = alone();
    let (wanted, (hospital, least)) = (flows_wanted(), hospital()?);
    let lab = Lab::pair(MTU)?;
    let mut config = Config { interfaces: vec![Arc::from("tap0")], ..stage::config() };
    config.biflow.max_flows = 200_000;
    let (frame, varied) = template(FloodKind::Udp);
    let flood = Flood::varied(&lab, 0, &frame, &places(&varied))?;
    let go = Shutdown::new();
    let folder = tempfile::tempdir()?;
    forget_peak()?;
    let outcome = thread::scope(|scope| {
        let play = || -> Result<()> {
            ensure!(go.wait(UP_WITHIN), "the engine never came up");
            let call = u32::try_from(wanted / hospital.len() as u64 + 1)?;
            for frame in &hospital {
                flood.play(call)?;
                Flood::varied(&lab, 0, frame, &[])?.play(1)?;
            }
            Ok(())
        };
        let player = scope.spawn(play);
        let outcome = pipeline::run_inside(&config, folder.path(), lab.tap(), &Arc::new(Progress::new()), || {
            go.request();
            thread::sleep(Duration::from_millis(100));
            player.is_finished()
        });
        player.join().map_err(|_| anyhow::anyhow!("the flood died"))??;
        Ok::<_, anyhow::Error>(outcome)
    })?;
    let summary = &outcome.summary;
    println!(
        "{} seen, {} metered, {} rows, lost {:?}",
        summary.packets_seen, summary.packets_metered, summary.flows, summary.lost.0
    );
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    assert!(summary.packets_seen >= wanted * 9 / 10 && summary.unbalanced_marks == 0);
    stage::closes(&outcome, folder.path())?;
    samples_arrived("live", &outcome, &least);
    within_bound("live, spoofed flows", &outcome);
    Ok(())
}

#[test]
fn replayed_spoofed_flows_take_neither_samples_nor_memory() -> Result<()> {
    let _alone = alone();
    let (wanted, (hospital, least)) = (flows_wanted(), hospital()?);
    let mut config = stage::config();
    config.biflow.max_flows = 200_000;
    config.lake.rotate_rows = 1_000_000;
    let folder = tempfile::tempdir()?;
    let every = wanted / (hospital.len() as u64 + 1);
    let mut calls = hospital.iter();
    let frames = spoofed(FloodKind::Udp, wanted, 300).flat_map(|(at, frame)| {
        let turn = (at / 300).is_multiple_of(every).then(|| calls.next()).flatten();
        [Some((at, frame)), turn.map(|frame| (at, frame.clone()))].into_iter().flatten()
    });
    let frames: Box<dyn Iterator<Item = (u64, Vec<u8>)> + Send + '_> = Box::new(frames);
    forget_peak()?;
    let outcome = replayed(&config, folder.path(), frames)?;
    let summary = &outcome.summary;
    println!("{} seen, {} rows, {:?}", summary.packets_seen, summary.flows, summary.flows_by_end_reason.0);
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    assert_eq!((summary.lost.total(), summary.unbalanced_marks), (0, 0));
    assert!(summary.flows >= wanted, "every flow is a row");
    stage::closes(&outcome, folder.path())?;
    samples_arrived("replay", &outcome, &least);
    within_bound("replay, spoofed flows", &outcome);
    Ok(())
}

/// Resident memory now, bytes.
fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.split_whitespace().next().context("no number")?.parse::<u64>()? * 1024)
}

/// A million two-sided TCP flows in one table: everything that they cost, by resident memory.
#[test]
fn a_million_live_flows_are_small() -> Result<()> {
    const LIVE: u32 = 1_000_000;
    let _alone = alone();
    forget_peak()?;
    let settings = BiflowSettings {
        idle_timeout_nanos: 120_000_000_000,
        active_timeout_nanos: 1_800_000_000_000,
        max_flows: LIVE,
        rings: 1,
        site: Arc::from("test"),
        seed: 1,
    };
    let bound = auscult::biflow::MemoryBound::new(&settings);
    let before = resident()?;
    let mut table = Table::new(settings);
    for first in (0..LIVE).step_by(512) {
        let deltas: Vec<Delta> = (first..LIVE.min(first + 512)).map(two_sided).collect();
        assert!(table.message(&Message::Deltas { ring: 0, deltas }).is_none());
    }
    assert!(table.mark(RingMark { ring: 0, at: 1 << 41, utc_offset: 0 }).is_some_and(|epoch| epoch.rows.is_empty()));
    let grown = resident()? - before;
    let statistics = table.statistics();
    assert_eq!(statistics.live, u64::from(LIVE));
    println!(
        "{} bytes of resident memory per live flow, {} by the table's own count, {} at most",
        grown / u64::from(LIVE),
        statistics.memory_bytes / u64::from(LIVE),
        bound.flows / u64::from(LIVE)
    );
    assert!(grown <= FLOW_BYTES_MAX * u64::from(LIVE), "{grown} bytes for {LIVE} flows");
    assert!(grown <= bound.flows, "more than the table says it holds at most");
    // And they all leave, in parts of bounded length.
    let (mut rows, mut parts) = (0, 0);
    let mut epoch = table.close(0);
    while let Some(part) = epoch {
        assert!(part.rows.len() <= auscult::limit::EPOCH_ROWS);
        (rows, parts) = (rows + part.rows.len(), parts + 1);
        epoch = table.more();
    }
    assert_eq!(rows, LIVE as usize);
    assert!(parts > 200);
    Ok(())
}

/// A delta of a TCP flow with packets in both directions.
fn two_sided(flow: u32) -> Delta {
    let mut delta = Delta { base: (1 << 41) - 1_000_000, ..Delta::default() };
    delta.key.address[0][..4].copy_from_slice(&(0x0a00_0000 + flow / 50_000).to_be_bytes());
    delta.key.address[1][..4].copy_from_slice(&(0x0b00_0000 + flow).to_be_bytes());
    delta.key.port = [443, 1024 + (flow % 60_000) as u16];
    (delta.key.protocol, delta.key.form) = (6, auscult_ebpf::record::FORM_IPV4);
    delta.header.packets = [6, 4];
    delta.first_count = 8;
    for side in &mut delta.side {
        side.volume.octets = 5000;
        side.volume.layer2_octets = 5140;
        side.volume.histogram = [2, 0, 0, 1, 0, 0, 1, 0];
    }
    delta
}
