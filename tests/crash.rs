//! The end of an engine at any time, and of what it stands on: `kill -9`, power, disk, interface. Afterwards no visible file is
//! unreadable, nothing temporary is left after the next start, no row is there twice, and every packet is in a row or in a named bucket:
//! `seen (kernel, since the tap was attached) = rows in files + duplicate + discarded + lost (crash included) + resident`.
//!
//! `AUSCULT_CRASH_FULL` asks for 500 kills and 100 power cuts; without it there are a few of each.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use auscult::{
    config::Config,
    lab::{Lab, MTU, Pace, Player},
    lake::{self, Query, TableName},
    pipeline,
    progress::Progress,
    scene::{
        Scene, SceneFrame, SceneSize,
        frame::{self, Ip, Link, Pair},
    },
    time,
};
use harness::{
    disk::Disk,
    engine::{self, Ended, Engine},
    random::Random,
    stage,
};
use parquet::file::reader::{FileReader, SerializedFileReader};

/// Frames a second past the tap.
const RATE: u64 = 4_000;
/// The engine says so when frames are metered.
const READY: &str = "is metered by";
/// Tables so small that rows come out all the time, and files every second.
const BUSY: &str = "[biflow]\nidle_timeout_secs = 5\nactive_timeout_secs = 60\nmax_flows = 1024\nshards = 2\n\
                    [lake]\nrotate_rows = 1000\nrotate_secs = 1\n[meter]\nmark_millis = 50\nring_bytes = 8388608\n";

/// How many of a thing to do.
fn count(few: u64, all: u64) -> u64 {
    if std::env::var_os("AUSCULT_CRASH_FULL").is_some() { all } else { few }
}

/// Frames without end, of ever new flows and of a hospital's.
fn traffic(seed: u64) -> impl Iterator<Item = SceneFrame> + Send {
    let fits = |frame: &SceneFrame| frame.octets.len() <= MTU as usize + 14;
    let scene: Vec<SceneFrame> = Scene::new(seed, SceneSize::SHORT).frames().filter(fits).collect();
    let template = datagram();
    (0..u64::MAX).map(move |number| {
        let mut octets = if number.is_multiple_of(4) {
            scene[(number / 4) as usize % scene.len()].octets.clone()
        } else {
            let mut octets = template.clone();
            // Identification: no frame is another's copy. Source address and port: three packets of one flow, some apart.
            octets[18..20].copy_from_slice(&(number as u16).to_be_bytes());
            octets[28..30].copy_from_slice(&((number / 12) as u16).to_be_bytes());
            octets[34..36].copy_from_slice(&((number % 4 * 7919) as u16).to_be_bytes());
            octets
        };
        octets.truncate(MTU as usize + 14);
        SceneFrame { at_nanos: number * (1_000_000_000 / RATE), octets, port: number as usize % 2 }
    })
}

/// A small UDP datagram.
fn datagram() -> Vec<u8> {
    let pair = Pair::V4([10, 1, 0, 1].into(), [10, 2, 0, 2].into());
    let link = Link { target: [2, 0, 0, 0, 0, 2], source: [2, 0, 0, 0, 0, 1], tags: Vec::new() };
    let packet = &frame::packets(&Ip::new(pair, frame::UDP), &frame::udp(pair, [1, 4000], &[7; 18]), 1500)[0];
    frame::ethernet(&link, frame::ETHERTYPE_IPV4, packet)
}

/// An engine's surroundings: a lab, a folder for its output, a lake somewhere.
struct Ward {
    program: PathBuf,
    lab: Arc<Lab>,
    folder: tempfile::TempDir,
    site: String,
    data: PathBuf,
    config: String,
    taps: Vec<String>,
    generation: u64,
}

impl Ward {
    /// `None` after it was said why there can be none. `name` is part of the site, so that no two have the same pins.
    fn new(name: &str, taps: usize, config: &str) -> Result<Option<Self>> {
        let (true, Some(program)) = (harness::root(), engine::program()) else { return Ok(None) };
        let lab = if taps == 1 { Lab::pair(MTU)? } else { Lab::two_taps(MTU)? };
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        let site = format!("crash-{name}-{}", std::process::id());
        let taps = lab.taps().to_vec();
        let config = config.to_owned();
        Ok(Some(Self { program, lab: Arc::new(lab), folder, site, data, config, taps, generation: 0 }))
    }

    fn line(&self) -> Result<Vec<OsString>> {
        let config = self.folder.path().join("config.toml");
        fs::write(&config, format!("site = \"{}\"\n{}", self.site, self.config))?;
        let mut line = vec![self.program.clone().into_os_string()];
        line.extend(["run", "--json", "--listen", "off", "--interface"].map(OsString::from));
        line.extend([self.taps.join(",").into(), "--data".into(), self.data.clone().into(), "--config".into(), config.into()]);
        Ok(line)
    }

    fn start(&mut self) -> Result<Engine> {
        let line = self.line()?;
        self.start_line(&line)
    }

    fn start_line(&mut self, line: &[OsString]) -> Result<Engine> {
        self.generation += 1;
        let line: Vec<&OsStr> = line.iter().map(OsString::as_os_str).collect();
        Engine::start(Some(self.lab.tap()), self.folder.path(), &line)
    }

    fn ready(&mut self) -> Result<Engine> {
        let mut engine = self.start()?;
        engine.wait_for(READY)?;
        Ok(engine)
    }

    fn play(&self, seed: u64, limit: u64) -> Result<Player> {
        Ok(Player::start(&self.lab, traffic(seed), Pace::Speed(1.0), limit, None)?)
    }

    fn received(&self) -> Result<u64> {
        stage::received(&self.lab)
    }

    /// Waits until the engine has written its books twice: they hold what it received.
    fn books_move_on(&self) -> Result<()> {
        let written = || fs::metadata(self.data.join("books.json")).and_then(|books| books.modified());
        let (mut last, mut times) = (written()?, 0);
        for _ in 0..3000 {
            let now = written()?;
            times += u32::from(now != last);
            last = now;
            if times == 2 {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        anyhow::bail!("the books do not move on")
    }

    /// Plays so many frames and waits until the taps have heard them.
    fn played(&self, seed: u64, frames: u64) -> Result<()> {
        let before = self.received()?;
        let played = self.play(seed, frames)?.join()?;
        ensure!(played.frames == frames);
        for _ in 0..500 {
            if self.received()? >= before + frames {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        anyhow::bail!("the taps heard {} of {frames} frames", self.received()? - before)
    }

    /// Everything that must hold when an engine has stopped in order after others did not; `seen` frames have passed attached taps.
    fn check(&self, ended: &Ended, seen: u64) -> Result<Sums> {
        let sums = law(ended, &self.data)?;
        assert_eq!(ended.number(&["packets_seen"]), seen, "the kernel's count since attach, over all engines: {}", ended.log);
        assert_eq!(leftovers(&self.data, &self.site), Vec::<PathBuf>::new());
        for tap in self.lab.taps() {
            assert_eq!(self.lab.tap_traffic(tap)?.transmitted, 0, "{tap} has transmitted");
        }
        Ok(sums)
    }
}

/// What the lake's files hold.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    rows: u64,
    packets: u64,
    octets: u64,
    crash: u64,
}

/// Rows re-read from the files, each there once, and the summary: the law, in packets and in octets. Coverage adds up to the same.
fn law(ended: &Ended, data: &Path) -> Result<Sums> {
    let mut sums = Sums::default();
    let mut rows = BTreeSet::new();
    lake::read::scan(data, &Query::all(TableName::Flows), |row| {
        let number = |name: &str| row[name].as_u64().unwrap_or(0);
        sums.rows += 1;
        sums.packets += number("forward_packets") + number("reverse_packets");
        sums.octets += number("forward_layer2_octets") + number("reverse_layer2_octets");
        let key = ["flow_id", "segment", "flow_start", "flow_end", "forward_packets", "reverse_packets"];
        assert!(rows.insert(key.map(|name| row[name].to_string())), "a row is there twice: {row:?}");
    })?;
    let of = |name: &str| ended.number(&[name]);
    sums.crash = ended.number(&["lost", "crash"]);
    assert_eq!(ended.summary["imbalance"]["packets"], 0, "{}", ended.log);
    assert_eq!(ended.summary["imbalance"]["octets"], 0, "{}", ended.log);
    assert_eq!(of("resident"), 0);
    let (lost, discarded) = (ended.total("lost"), ended.total("discarded"));
    assert_eq!(
        of("packets_seen"),
        sums.packets + of("packets_duplicate") + discarded + lost,
        "seen = rows + named: {}\n{}",
        ended.summary,
        ended.log
    );
    assert_eq!((of("packets_metered"), of("octets_metered")), (sums.packets, sums.octets), "{}", ended.log);
    let mut told = BTreeMap::<&str, i64>::new();
    lake::read::scan(data, &Query::all(TableName::Coverage), |row| {
        for name in ["seen_packets", "seen_octets", "lost_crash_packets", "imbalance_packets", "imbalance_octets"] {
            *told.entry(name).or_default() += row[name].as_i64().unwrap_or(0);
        }
    })?;
    let expect = [
        ("imbalance_octets", 0),
        ("imbalance_packets", 0),
        ("lost_crash_packets", sums.crash as i64),
        ("seen_octets", of("layer2_octets") as i64),
        ("seen_packets", of("packets_seen") as i64),
    ];
    assert_eq!(told, expect.into(), "coverage of all engines");
    Ok(sums)
}

/// What must not be there when an engine has stopped in order.
fn leftovers(data: &Path, site: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(data, &mut |path| {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        if name.starts_with(".tmp-") || name.starts_with("books.json") {
            found.push(path.to_owned());
        }
    });
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for place in mounts.lines().filter(|line| line.contains(" bpf ")).filter_map(|line| line.split(' ').nth(1)) {
        walk(&Path::new(place).join("auscult").join(site), &mut |path| found.push(path.to_owned()));
    }
    found
}

fn walk(directory: &Path, each: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { walk(&path, each) } else { each(&path) }
    }
}

/// Visible files that have not been looked at yet, read from end to end; gives how many there are.
fn read_new(data: &Path, known: &mut BTreeSet<PathBuf>) -> Result<usize> {
    let mut paths = Vec::new();
    walk(&data.join("lake"), &mut |path| {
        if path.extension().is_some_and(|extension| extension == "parquet") && !known.contains(path) {
            paths.push(path.to_owned());
        }
    });
    for path in &paths {
        let file = SerializedFileReader::new(File::open(path)?).with_context(|| path.display().to_string())?;
        let expect = file.metadata().file_metadata().num_rows();
        let mut rows = 0;
        for row in file.get_row_iter(None)? {
            row.with_context(|| path.display().to_string())?;
            rows += 1;
        }
        ensure!(rows == expect, "{} has {rows} of {expect} rows", path.display());
    }
    known.extend(paths);
    Ok(known.len())
}

/// Some time: most are within the start of an engine, some let it make files, and a few let it do so for long.
fn lifetime(random: &mut Random) -> Duration {
    // Of few lives more must be long.
    let long = count(16, 19);
    Duration::from_millis(match random.below(20) {
        0..6 => random.below(600),
        part if part < long => 500 + random.below(1500),
        _ => 2000 + random.below(4000),
    })
}

#[test]
fn live_crash_run_is_killed() -> Result<()> {
    let Some(mut ward) = Ward::new("kill", 1, BUSY)? else { return Ok(()) };
    let mut random = Random::new(1);
    let mut known = BTreeSet::new();
    let mut files = 0;
    let first = ward.ready()?;
    let before = ward.received()?;
    let player = ward.play(1, u64::MAX)?;
    thread::sleep(Duration::from_secs(2));
    assert!(first.kill()?);
    let kills = count(10, 400);
    for kill in 1..kills {
        let engine = ward.start()?;
        thread::sleep(lifetime(&mut random));
        assert!(engine.kill()?, "kill {kill}: it ended by itself");
        files = read_new(&ward.data, &mut known)?;
    }
    let last = ward.ready()?;
    player.stop();
    player.join()?;
    thread::sleep(Duration::from_millis(500));
    let seen = ward.received()? - before;
    let ended = last.stop()?;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let sums = ward.check(&ended, seen)?;
    println!("{kills} kills, {files} files before the last, {seen} frames: {sums:?}, lost {}", ended.summary["lost"]);
    assert!(sums.crash > 0 && sums.rows > 1000 && files > 3, "kills hit an engine that was at work");
    Ok(())
}

/// A capture that takes a while to replay: many flows, many files.
fn capture(folder: &Path, frames: usize) -> Result<PathBuf> {
    let path = folder.join("sent.pcapng");
    let frames: Vec<SceneFrame> = traffic(3).take(frames).collect();
    stage::write_pcapng(&path, &["tap0".to_owned()], &frames, |_| 0)?;
    Ok(path)
}

fn replay_line(program: &Path, config: &Path, capture: &Path, data: &Path) -> Vec<OsString> {
    let mut line = vec![program.as_os_str().to_owned()];
    line.extend(["replay", "--json", "--config"].map(OsString::from));
    line.extend([config.into(), "--data".into(), data.into(), capture.into()]);
    line
}

/// Names and octets of every file of a lake.
fn content(data: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut paths = Vec::new();
    walk(data, &mut |path| paths.push(path.to_owned()));
    // The inventory is one file that is written again and again: its devices are compared elsewhere.
    paths.retain(|path| !["lock", "inventory.redb"].map(OsStr::new).map(Some).contains(&path.file_name()));
    paths.into_iter().map(|path| Ok((path.strip_prefix(data)?.to_owned(), fs::read(&path)?))).collect()
}

/// A replay and its undisturbed result.
struct Replays {
    folder: tempfile::TempDir,
    program: PathBuf,
    config: PathBuf,
    capture: PathBuf,
    expect: BTreeMap<PathBuf, Vec<u8>>,
    /// How long it takes.
    takes: Duration,
}

impl Replays {
    fn new(frames: usize) -> Result<Option<Self>> {
        let Some(program) = engine::program() else { return Ok(None) };
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("config.toml");
        fs::write(&config, BUSY)?;
        let capture = capture(folder.path(), frames)?;
        let mut replays = Self { folder, program, config, capture, expect: BTreeMap::new(), takes: Duration::ZERO };
        let data = replays.folder.path().join("undisturbed");
        let ended = replays.start(&data)?.end()?;
        assert_eq!((ended.code, ended.number(&["packets_seen"])), (Some(0), frames as u64), "{}", ended.log);
        replays.takes = Duration::from_secs_f64(ended.summary["elapsed_seconds"].as_f64().context("elapsed")?);
        replays.expect = content(&data)?;
        assert!(replays.expect.len() > 20, "{} files", replays.expect.len());
        Ok(Some(replays))
    }

    fn start(&self, data: &Path) -> Result<Engine> {
        let line = replay_line(&self.program, &self.config, &self.capture, data);
        let line: Vec<&OsStr> = line.iter().map(OsString::as_os_str).collect();
        Engine::start(None, self.folder.path(), &line)
    }

    /// Replays to the end; the lake is that of the undisturbed replay, octet by octet, and nothing else is there.
    fn complete(&self, data: &Path) -> Result<()> {
        let ended = self.start(data)?.end()?;
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        let content = content(data)?;
        let names = |map: &BTreeMap<PathBuf, Vec<u8>>| map.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&content), names(&self.expect));
        assert!(content == self.expect, "a file has other octets");
        Ok(())
    }
}

#[test]
fn crash_replay_is_killed() -> Result<()> {
    let Some(replays) = Replays::new(150_000)? else { return Ok(()) };
    let mut random = Random::new(2);
    let (kills, mut killed, mut partial, mut series) = (count(12, 100), 0, 0, 0);
    while killed < kills {
        let data = replays.folder.path().join(format!("killed-{series}"));
        let mut known = BTreeSet::new();
        for _ in 0..4 {
            let engine = replays.start(&data)?;
            thread::sleep(Duration::from_micros(random.below(replays.takes.as_micros() as u64 * 5 / 4 + 1)));
            killed += u64::from(engine.kill()?);
            let files = read_new(&data, &mut known)?;
            partial += u64::from(files > 0 && files < replays.expect.len());
        }
        replays.complete(&data)?;
        fs::remove_dir_all(&data)?;
        series += 1;
    }
    println!(
        "{killed} replays killed, {partial} times with some of {} files; one takes {:?}",
        replays.expect.len(),
        replays.takes
    );
    assert!(partial > 0, "kills hit replays that were at work");
    Ok(())
}

#[test]
fn crash_replay_loses_its_power() -> Result<()> {
    if !harness::root() {
        return Ok(());
    }
    let Some(replays) = Replays::new(150_000)? else { return Ok(()) };
    let mut random = Random::new(4);
    let (cuts, mut done, mut partial) = (count(4, 60), 0, 0);
    while done < cuts {
        let folder = tempfile::tempdir()?;
        let disk = Disk::make(folder.path(), 128)?;
        let data = disk.path().join("data");
        let mut known = BTreeSet::new();
        for _ in 0..2 {
            let engine = replays.start(&data)?;
            thread::sleep(Duration::from_micros(random.below(replays.takes.as_micros() as u64 * 3 / 2 + 1)));
            disk.cut()?;
            engine.kill()?;
            disk.restore()?;
            let files = read_new(&data, &mut known)?;
            partial += u64::from(files > 0 && files < replays.expect.len());
            done += 1;
        }
        replays.complete(&data)?;
    }
    println!(
        "{done} power cuts, {partial} times with some of {} files; a replay takes {:?}",
        replays.expect.len(),
        replays.takes
    );
    assert!(partial > 0, "cuts hit replays that were at work");
    Ok(())
}

/// As the machine's power goes: the disk's unsynced pages and, `wholly`, the kernel's counters.
#[test]
fn live_crash_run_loses_its_power() -> Result<()> {
    let Some(mut ward) = Ward::new("power", 1, BUSY)? else { return Ok(()) };
    let mut random = Random::new(5);
    let (cuts, mut done, mut crash, mut rows) = (count(4, 40), 0, 0, 0);
    for wholly in [false, true] {
        let folder = tempfile::tempdir()?;
        let disk = Disk::make(folder.path(), 256)?;
        ward.data = disk.path().join("data");
        let mut known = BTreeSet::new();
        let first = ward.ready()?;
        let before = ward.received()?;
        let player = ward.play(6, u64::MAX)?;
        let mut engine = Some(first);
        for _ in 0..cuts / 2 {
            let victim = match engine.take() {
                Some(first) => first,
                // Of counters that go before an engine has them in its books, the next one knows nothing.
                None if wholly => ward.ready()?,
                None => ward.start()?,
            };
            if wholly {
                ward.books_move_on()?;
            }
            thread::sleep(Duration::from_millis(700 + random.below(3000)));
            disk.cut()?;
            victim.kill()?;
            disk.restore()?;
            if wholly {
                unpin(&ward.site);
            }
            read_new(&ward.data, &mut known)?;
            done += 1;
        }
        let last = ward.ready()?;
        player.stop();
        player.join()?;
        thread::sleep(Duration::from_millis(500));
        let seen = ward.received()? - before;
        let ended = last.stop()?;
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        let known_to_be_seen = ended.number(&["packets_seen"]);
        let sums = ward.check(&ended, known_to_be_seen)?;
        if wholly {
            // What came after the last books is not known.
            assert!(known_to_be_seen > 0 && known_to_be_seen < seen, "{known_to_be_seen} of {seen}");
            assert!(ended.log.contains("counters of tap0 are gone"), "{}", ended.log);
        } else {
            assert_eq!(known_to_be_seen, seen);
        }
        crash += sums.crash;
        rows += sums.rows;
    }
    println!("{done} power cuts, {rows} rows, lost{{crash}} {crash}");
    assert!(crash > 0 && rows > 1000);
    Ok(())
}

/// What a restart of the machine does to pins.
fn unpin(site: &str) {
    let mut paths = leftovers(Path::new("/nonexistent"), site);
    paths.sort_by_key(|path| !path.to_string_lossy().contains("link:"));
    for path in &paths {
        fs::remove_file(path).expect("a pin");
    }
    for path in paths {
        for parent in path.ancestors().skip(1).take(4) {
            let _ = fs::remove_dir(parent);
        }
    }
}

/// What has been in memory for longer than the flush interval is in a file.
#[test]
fn live_crash_loses_no_more_than_the_flush_interval() -> Result<()> {
    let Some(mut ward) = Ward::new("flush", 1, BUSY)? else { return Ok(()) };
    // One packet a flow, and room for all: an idle timeout of 5 s, a file of 1 s and 5 s for the rest bound what can be lost.
    ward.config = BUSY.replace("1024", "100000");
    let engine = ward.ready()?;
    let before = ward.received()?;
    ward.played(7, 2000)?;
    thread::sleep(Duration::from_secs(5 + 1 + 5));
    ward.played(8, 1000)?;
    // Out of the kernel, which would keep them, and not yet idle for long enough to be in a file.
    thread::sleep(Duration::from_secs(2));
    assert!(engine.kill()?);
    let engine = ward.ready()?;
    let ended = engine.stop()?;
    let sums = ward.check(&ended, ward.received()? - before)?;
    println!("of 2000 old and 1000 young packets {} are lost", sums.crash);
    assert!(sums.crash <= 1000, "all that were older are in files: {sums:?}");
    assert!(sums.crash > 0);
    assert_eq!(ended.number(&["flush_interval_seconds"]), 60 + 5 + 1 + 5);
    Ok(())
}

#[test]
fn live_crash_disk_fills_up() -> Result<()> {
    let Some(mut ward) = Ward::new("full", 1, BUSY)? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let disk = Disk::make(folder.path(), 32)?;
    ward.data = disk.path().join("data");
    let mut engine = ward.ready()?;
    let before = ward.received()?;
    let player = ward.play(9, u64::MAX)?;
    thread::sleep(Duration::from_secs(1));
    let filler = disk.fill()?;
    // The inventory says so, too, and sooner.
    engine.wait_for("could not be written to")?;
    fs::remove_file(filler)?;
    engine.wait_for("files can be written again")?;
    disturbed(&ward, engine, player, before)
}

#[test]
fn live_crash_disk_becomes_read_only() -> Result<()> {
    let Some(mut ward) = Ward::new("read-only", 1, BUSY)? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let disk = Disk::make(folder.path(), 64)?;
    // The inventory is open for writing as long as the engine runs, and would keep its disk writable.
    ward.data = folder.path().join("data");
    fs::create_dir(&ward.data)?;
    std::os::unix::fs::symlink(disk.path(), ward.data.join("lake"))?;
    let mut engine = ward.ready()?;
    let before = ward.received()?;
    let player = ward.play(10, u64::MAX)?;
    thread::sleep(Duration::from_secs(1));
    disk.remount("ro")?;
    engine.wait_for("Read-only file system")?;
    disk.remount("rw")?;
    engine.wait_for("files can be written again")?;
    disturbed(&ward, engine, player, before)
}

/// A run that could not write for a while: it goes on, says so, counts what was lost, and fails at its end.
fn disturbed(ward: &Ward, engine: Engine, player: Player, before: u64) -> Result<()> {
    player.stop();
    player.join()?;
    thread::sleep(Duration::from_millis(500));
    let seen = ward.received()? - before;
    let ended = engine.stop()?;
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    let said = ended.log.lines().last().unwrap_or_default();
    assert!(said.starts_with("auscult: ") && said.contains("could not be written to"), "{said}");
    let sums = ward.check(&ended, seen)?;
    println!("{said}\n{sums:?}, lost {}", ended.summary["lost"]);
    assert!(ended.number(&["lost", "write"]) > 0 && sums.rows > 0 && sums.crash == 0);
    Ok(())
}

/// Removes a tap's link, or makes it anew.
fn link(lab: &Lab, there: bool) -> Result<()> {
    let (site, tap) = (lab.site().name(), lab.tap().name());
    let lines = if there {
        vec![
            format!("-n {site} link add host0 mtu {MTU} type veth peer name tap0 mtu {MTU} netns {tap}"),
            format!("-n {tap} link set tap0 addrgenmode none arp off up"),
            format!("-n {site} link set host0 addrgenmode none arp off up"),
        ]
    } else {
        vec![format!("-n {site} link del host0")]
    };
    for line in lines {
        let output = Command::new("ip").args(line.split(' ')).output()?;
        ensure!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

#[test]
fn live_crash_interface_goes_and_comes_back() -> Result<()> {
    let Some(mut ward) = Ward::new("gone", 1, BUSY)? else { return Ok(()) };
    let mut engine = ward.ready()?;
    let before = ward.received()?;
    ward.played(11, 3000)?;
    let mut seen = ward.received()? - before;
    link(&ward.lab, false)?;
    engine.wait_for("interface tap0 is gone")?;
    link(&ward.lab, true)?;
    engine.wait_for("interface tap0 is back, metered by")?;
    ward.played(12, 2000)?;
    seen += ward.received()?;
    let ended = engine.stop()?;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let sums = ward.check(&ended, seen)?;
    let named = ended.total("discarded") + ended.number(&["packets_duplicate"]);
    assert_eq!((sums.packets, sums.crash), (seen - named, 0), "nothing that was seen is lost");

    // It goes while no engine lives.
    let engine = ward.ready()?;
    ward.played(13, 1000)?;
    let mut more = 1000;
    assert!(engine.kill()?);
    link(&ward.lab, false)?;
    link(&ward.lab, true)?;
    let mut engine = ward.ready()?;
    ward.played(14, 500)?;
    more += 500;
    // And it stays away.
    link(&ward.lab, false)?;
    engine.wait_for("interface tap0 is gone")?;
    let ended = engine.stop()?;
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    assert!(ended.log.contains("auscult: interface tap0 is gone: nothing was metered there"), "{}", ended.log);
    assert_eq!(ended.number(&["packets_seen"]), more);
    assert_eq!(leftovers(&ward.data, &ward.site), Vec::<PathBuf>::new());
    Ok(())
}

/// Books that the next engine cannot go on with as they are: other caches, rings, hooks, taps.
#[test]
fn live_crash_next_engine_has_other_settings() -> Result<()> {
    let Some(mut ward) = Ward::new("settings", 2, BUSY)? else { return Ok(()) };
    let changes: [(&str, &str, Option<&str>); 3] = [
        ("mark_millis = 50", "mark_millis = 50\nsets = 256", Some("its cache has 2048 sets instead of 256")),
        ("8388608", "16777216", Some("its rings have 8388608 octets instead of 16777216")),
        ("mark_millis = 50", "mark_millis = 50\nhook = \"xdp_generic\"", None),
    ];
    let before = ward.received()?;
    let mut engine = ward.ready()?;
    for (seed, (from, to, reason)) in changes.into_iter().enumerate() {
        ward.played(20 + seed as u64, 1500)?;
        assert!(engine.kill()?);
        // Metered while nobody is there, and held by slots and rings.
        ward.played(30 + seed as u64, 700)?;
        ward.config = ward.config.replace(from, to);
        engine = ward.ready()?;
        let log = engine.log();
        match reason {
            Some(reason) => assert!(log.contains(&format!("tap1 is read out and attached anew, because {reason}")), "{log}"),
            None => assert!(log.contains("tap1 is metered by xdp_generic") && !log.contains("attached anew"), "{log}"),
        }
    }
    ward.played(40, 900)?;
    assert!(engine.kill()?);
    // The order of the taps is another, then there is one less.
    ward.taps.reverse();
    let engine = ward.ready()?;
    ward.played(41, 800)?;
    assert!(engine.kill()?);
    ward.taps.truncate(1);
    let mut engine = ward.ready()?;
    engine.wait_for("interface tap0 is no longer configured")?;
    let heard = |ward: &Ward| Ok::<u64, anyhow::Error>(ward.lab.tap_traffic("tap1")?.received);
    let (so_far, by_tap1) = (ward.received()? - before, heard(&ward)?);
    ward.played(42, 900)?;
    assert!(engine.kill()?);
    // These wait in slots and rings, and nobody has taken any: read out, they all become rows.
    let waiting = heard(&ward)?;
    ward.played(43, 700)?;
    let waiting = heard(&ward)? - waiting;
    ward.config = ward.config.replace("sets = 256", "sets = 512");
    let engine = ward.ready()?;
    assert!(engine.log().contains("tap1 is read out and attached anew"), "{}", engine.log());
    let seen = so_far + heard(&ward)? - by_tap1;
    let ended = engine.stop()?;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let sums = ward.check(&ended, seen)?;
    println!("{seen} frames, {sums:?}, of them {waiting} while no engine lived");
    let named = ended.total("discarded") + ended.number(&["packets_duplicate"]);
    assert!(sums.crash > 0 && sums.packets + named >= waiting && waiting >= 300, "{sums:?}, {named} discarded or duplicate");
    Ok(())
}

/// Pins of another layout, or of a link that is no more, are nobody's.
#[test]
fn live_crash_stale_pins_are_removed() -> Result<()> {
    let Some(mut ward) = Ward::new("stale", 1, BUSY)? else { return Ok(()) };
    let engine = ward.ready()?;
    ward.played(15, 500)?;
    assert!(engine.kill()?);
    link(&ward.lab, false)?;
    link(&ward.lab, true)?;
    let pins = leftovers(Path::new("/nonexistent"), &ward.site);
    // The shared map stands in that directory itself, those of the tap in one below.
    let deepest = pins.iter().max_by_key(|path| path.components().count()).context("nothing is pinned")?;
    let books = deepest.parent().and_then(Path::parent).context("the directory of the books")?.to_owned();
    let other = books.parent().and_then(Path::parent).context("the directory of the site")?.join("1/0123456789abcdef/tap9:0:1");
    fs::create_dir_all(&other)?;
    // Another data directory: nobody will ever go on with these books.
    fs::remove_dir_all(&ward.data)?;
    let engine = ward.ready()?;
    assert!(!books.exists() && !other.exists());
    let log = engine.log();
    assert!(
        log.contains("pins of another version are removed") && log.contains("pins of interfaces that are gone are removed"),
        "{log}"
    );
    let before = ward.received()?;
    ward.played(16, 300)?;
    let ended = engine.stop()?;
    let sums = ward.check(&ended, ward.received()? - before)?;
    assert_eq!((sums.crash, ended.code), (0, Some(0)));
    Ok(())
}

/// Where nothing can be pinned, the engine says so once and works; killed, it loses what the last books do not know.
#[test]
fn live_crash_nothing_can_be_pinned() -> Result<()> {
    let Some(mut ward) = Ward::new("unpinned", 1, BUSY)? else { return Ok(()) };
    let plain = ward.line()?;
    // No BPF file system in this mount namespace, and no right to mount one.
    let hide = "while umount /sys/fs/bpf 2>/dev/null; do :; done; exec setpriv --bounding-set=-sys_admin \"$@\"";
    let mut line: Vec<OsString> = ["unshare", "--mount", "sh", "-c", hide, "sh"].map(OsString::from).into();
    line.extend(plain);
    let mut engine = ward.start_line(&line)?;
    engine.wait_for(READY)?;
    assert_eq!(engine.log().matches("no BPF file system is mounted").count(), 1, "{}", engine.log());
    let before = ward.received()?;
    ward.played(17, 8000)?;
    thread::sleep(Duration::from_secs(2));
    assert!(engine.kill()?);
    ward.played(18, 100)?;
    let mut engine = ward.start_line(&line)?;
    engine.wait_for(READY)?;
    ward.played(19, 1000)?;
    let ended = engine.stop()?;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let seen = ended.number(&["packets_seen"]);
    let sums = ward.check(&ended, seen)?;
    println!("{seen} of {} frames are known, {sums:?}", ward.received()? - before);
    assert!(seen > 1000 && seen <= 9000);
    Ok(())
}

/// Nanoseconds by which the clock of [`live_crash_clock_is_stepped`] is wrong.
static STEP: AtomicI64 = AtomicI64::new(0);

fn stepped() -> i64 {
    time::utc_offset() + STEP.load(Ordering::Relaxed)
}

/// UTC is stepped forth and back between Marks, over hours and days: what is counted does not change, and rows are filed by the time
/// that the clock showed.
#[test]
fn live_crash_clock_is_stepped() -> Result<()> {
    const HOUR: i64 = 3_600_000_000_000;
    const STEPS: [i64; 6] = [0, 2 * HOUR, -5 * HOUR, 24 * HOUR, 24 * HOUR - 3 * HOUR / 2, 0];
    if !harness::root() {
        return Ok(());
    }
    let (lab, folder) = (Arc::new(Lab::pair(MTU)?), tempfile::tempdir()?);
    let mut config = Config { interfaces: vec!["tap0".into()], site: "crash-clock".into(), ..stage::config() };
    config.biflow.max_flows = 1024;
    (config.lake.rotate_rows, config.lake.rotate_after) = (1000, Duration::from_secs(1));
    config.meter.mark_interval = Duration::from_millis(50);
    let (mut player, mut looks) = (None, 0);
    let before = stage::received(&lab)?;
    let stop = || {
        thread::sleep(Duration::from_millis(50));
        let player = player.get_or_insert_with(|| Player::start(&lab, traffic(50), Pace::Speed(1.0), u64::MAX, None));
        STEP.store(STEPS[(looks / 20).min(STEPS.len() - 1)], Ordering::Relaxed);
        looks += 1;
        if let (Ok(player), true) = (player, looks > 20 * STEPS.len()) {
            player.stop();
        }
        looks > 20 * STEPS.len() + 10
    };
    let progress = Arc::new(Progress::new());
    let outcome = pipeline::run_by_clock(&config, folder.path(), lab.tap(), stepped, &progress, stop);
    ensure!(outcome.error.is_none(), "{:?}", outcome.error);
    stage::closes(&outcome, folder.path())?;
    assert_eq!(outcome.summary.packets_seen, stage::received(&lab)? - before);
    assert_eq!(outcome.summary.lost.total(), 0);
    let mut rows = BTreeSet::new();
    lake::read::scan(folder.path(), &Query::all(TableName::Flows), |row| {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        assert!(text("flow_start") <= text("flow_end"), "{row:?}");
        assert!(rows.insert(format!("{} {} {}", row["flow_id"], row["segment"], row["flow_end"])), "twice: {row:?}");
    })?;
    let (mut seen, mut minutes) = (0, BTreeSet::new());
    lake::read::scan(folder.path(), &Query::all(TableName::Coverage), |row| {
        seen += row["seen_packets"].as_u64().unwrap_or(0);
        minutes.insert(row["minute"].to_string());
    })?;
    assert_eq!(seen, outcome.summary.packets_seen, "coverage");
    assert!(minutes.len() >= 5, "each time of the clock has its minutes: {minutes:?}");
    let mut hours = BTreeSet::new();
    walk(&folder.path().join("lake/flows"), &mut |path| {
        hours.insert(path.parent().map(Path::to_owned));
    });
    println!("{} frames, {} rows in {} hours, {} minutes of coverage", seen, rows.len(), hours.len(), minutes.len());
    assert!(hours.len() >= 4, "{hours:?}");
    assert_eq!(leftovers(folder.path(), "crash-clock"), Vec::<PathBuf>::new());
    Ok(())
}

/// A capture whose clock was set forth and back, at last to the very times that were there before.
#[test]
fn crash_capture_clock_is_stepped() -> Result<()> {
    const START: u64 = 1_700_000_000_000_000_000;
    const HOUR: u64 = 3_600_000_000_000;
    let folder = tempfile::tempdir()?;
    let (capture, data) = (folder.path().join("sent.pcapng"), folder.path().join("data"));
    let mut frames = Vec::new();
    for begins in [START, START + 3 * HOUR, START + HOUR, START] {
        frames.extend(traffic(60).take(5000).map(|frame| SceneFrame { at_nanos: begins + frame.at_nanos, ..frame }));
    }
    stage::write_pcapng(&capture, &["tap0".to_owned()], &frames, |_| 0)?;
    let inputs = [capture];
    let outcome = stage::replay(&stage::config(), &inputs, &data, None)?;
    stage::closes(&outcome, &data)?;
    assert_eq!(outcome.summary.packets_seen, frames.len() as u64);
    let once = content(&data)?;
    let again = stage::replay(&stage::config(), &inputs, &data, None)?;
    assert!(content(&data)? == once, "a second replay changes nothing");
    assert_eq!(again.summary.packets_metered, outcome.summary.packets_metered);
    println!("{} rows, {} files", outcome.summary.flows, once.len());
    Ok(())
}
