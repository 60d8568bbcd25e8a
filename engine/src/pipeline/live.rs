//! Live capture from taps, and the demo that brings its own.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, RwLock, atomic::Ordering},
    time::Duration,
};

use super::{
    DemoRequest, Intake, Outcome, PipelineError, ReplayRequest, Stages, Watched, books::PointCounters, memory_of_run,
    meter_settings, replay,
};
use crate::{
    capture::live::{self, Hook, HookChoice, Live, LiveReport, LiveSettings, OBJECT, Origin, TapSettings, UtcOffset},
    config::{self, Config},
    flow::ObservationPoint,
    lab::{self, Lab, LabError, Namespace, Pace, Player},
    limit::FLUSH_SLACK_SECS,
    progress::Progress,
    scene::{Scene, SceneSize},
    serve::{
        Server,
        health::{Condition, Health},
    },
    shutdown::Shutdown,
    summary::Summary,
    telemetry::{Telemetry, metric::Metric},
};

/// How often the taps' own counters are read and capture is looked after.
const LOOK: Duration = Duration::from_millis(500);
/// Scene time that passes per second in the demo.
const DEMO_SPEED: f64 = 6.0;
/// Looks without a new frame at the tap after which the demo gives up waiting for more.
const DEMO_PATIENCE_LOOKS: u32 = 20;

/// Meters the configuration's interfaces until the token is set.
pub fn run(config: &Config, data: &Path, shutdown: &Shutdown, progress: &Arc<Progress>) -> Outcome {
    run_until(config, data, Place::default(), progress, |_| shutdown.wait(LOOK)).unwrap_or_else(|error| nothing(config, error))
}

/// Meters the configuration's interfaces, which are in `inside`, until `stop` says so; it is asked from when capture stands, again
/// and again, and does the waiting.
pub fn run_inside(
    config: &Config,
    data: &Path,
    inside: &Namespace,
    progress: &Arc<Progress>,
    mut stop: impl FnMut() -> bool,
) -> Outcome {
    let place = Place { inside: Some(inside), utc_offset: None };
    run_until(config, data, place, progress, |_| stop()).unwrap_or_else(|error| nothing(config, error))
}

/// The same by another clock than the host's: `utc_offset` is asked at each Mark.
pub fn run_by_clock(
    config: &Config,
    data: &Path,
    inside: &Namespace,
    utc_offset: UtcOffset,
    progress: &Arc<Progress>,
    mut stop: impl FnMut() -> bool,
) -> Outcome {
    let place = Place { inside: Some(inside), utc_offset: Some(utc_offset) };
    run_until(config, data, place, progress, |_| stop()).unwrap_or_else(|error| nothing(config, error))
}

/// Where the interfaces are, and what time it is there.
#[derive(Clone, Copy, Default)]
struct Place<'a> {
    /// Their network namespace, when it is not the process's.
    inside: Option<&'a Namespace>,
    /// What ties Marks to UTC, when it is not the host's clocks.
    utc_offset: Option<UtcOffset>,
}

fn nothing(config: &Config, error: PipelineError) -> Outcome {
    Outcome { summary: Summary::of_nothing(&config.site), error: Some(error) }
}

/// Meters until `stop` says so; it is asked every [`LOOK`] and does the waiting.
fn run_until(
    config: &Config,
    data: &Path,
    place: Place<'_>,
    progress: &Arc<Progress>,
    mut stop: impl FnMut(&Watched) -> bool,
) -> Result<Outcome, PipelineError> {
    let telemetry = Arc::new(Telemetry::new(&config.interfaces).map_err(PipelineError::stage)?);
    let points = config.interfaces.iter().map(|name| ObservationPoint { name: name.clone() }).collect();
    let watched = Watched {
        progress: progress.clone(),
        telemetry: Some(telemetry.clone()),
        health: Arc::new(Health::new()),
        points: Arc::new(RwLock::new(points)),
        counters: Arc::new(config.interfaces.iter().map(|_| PointCounters::default()).collect()),
    };
    let server = config.listen.map(|address| Server::start(address, telemetry, watched.health.clone()));
    let server = server.transpose().map_err(PipelineError::stage)?;
    if let Some(server) = &server {
        tracing::info!("metrics at http://{}/metrics", server.address());
    }
    let per_tap = live::rings_per_tap().map_err(PipelineError::stage)?;
    let rings = per_tap.saturating_mul(u16::try_from(config.interfaces.len()).unwrap_or(u16::MAX));
    let source = format!("live {}", config.interfaces.join(","));
    let intake = Intake { source: &source, rings, rings_per_point: per_tap, live: true };
    let mut stages = Stages::start(config, data, &intake, memory_of_run(config)?, &watched)?;
    let started = start_capture(config, &stages, place);
    let mut live = match started {
        Ok(live) => live,
        Err(error) => {
            if let Some(resumed) = stages.resumed.take() {
                resumed.abandon();
            }
            let finished = stages.finish(None, false, &watched);
            return Ok(Outcome { summary: finished.summary(&config.site, Vec::new()), error: Some(error) });
        }
    };
    announce(&live, config, &watched);
    let mut drained = true;
    while drained && !stop(&watched) {
        tend(&mut live, place.inside, &watched);
        look(&live, &stages, &watched);
        drained = live.is_draining();
    }
    let report = live.stop();
    tell_taps(&report.taps, &watched);
    let finished = stages.finish(None, report.complete(), &watched);
    let error = finished.error.as_ref().is_none().then(|| incomplete(&report, drained)).flatten();
    let mut summary = finished.summary(&config.site, Vec::new());
    summary.flush_interval_seconds = Some(flush_interval(config).as_secs());
    Ok(Outcome { summary, error: finished.error.or(error) })
}

fn start_capture(config: &Config, stages: &Stages, place: Place<'_>) -> Result<Live, PipelineError> {
    let resumed = stages.resumed.as_ref().ok_or_else(|| PipelineError::Died("books".to_owned()))?;
    let settings = live_settings(config, resumed.hash_keys());
    let outlets = &stages.outlets;
    let start = || {
        let carried = resumed.fit(&settings, outlets)?;
        let origin = Origin { pins: resumed.pins(), carried: &carried, utc_offset: place.utc_offset };
        Live::start(&settings, OBJECT, outlets, &mut |ring| stages.samples.outlet(ring), origin).map_err(PipelineError::stage)
    };
    match place.inside {
        Some(namespace) => namespace.run(start).map_err(PipelineError::stage)?,
        None => start(),
    }
}

/// Looks after interfaces that go and come back.
fn tend(live: &mut Live, inside: Option<&Namespace>, watched: &Watched) {
    let said = match inside {
        Some(namespace) => namespace.run(|| live.tend()).unwrap_or_else(|error| vec![error.to_string()]),
        None => live.tend(),
    };
    if said.is_empty() {
        return;
    }
    for line in said {
        tracing::warn!("{line}");
    }
    match live.taps().into_iter().find(|tap| tap.gone) {
        Some(tap) => watched.health.fails(Condition::Capture, format!("interface {} is gone", tap.name)),
        None => watched.health.holds(Condition::Capture),
    }
}

fn incomplete(report: &LiveReport, drained: bool) -> Option<PipelineError> {
    if let Some(name) = report.dead_threads.first() {
        return Some(PipelineError::Died(name.clone()));
    }
    if let Some(tap) = report.taps.iter().find(|tap| tap.gone) {
        return Some(PipelineError::Gone(tap.name.clone()));
    }
    (!drained || !report.complete()).then(|| PipelineError::Died("drain".to_owned()))
}

/// The longest time that a packet is in memory only, and so the most that the end of an engine can lose: its flow's segment ends, its
/// flow is idle, its file is open.
fn flush_interval(config: &Config) -> Duration {
    let timeouts = config.biflow.active_timeout + config.biflow.idle_timeout;
    timeouts + config.lake.rotate_after + Duration::from_secs(FLUSH_SLACK_SECS)
}

fn announce(live: &Live, config: &Config, watched: &Watched) {
    tracing::info!(
        "every packet is in a file within {} s; a crash loses no more, and it is counted",
        flush_interval(config).as_secs()
    );
    for warning in live.warnings() {
        tracing::warn!("{warning}");
    }
    for tap in live.taps() {
        let how = if tap.adopted { ", taken over without a gap" } else { "" };
        tracing::info!("{} is metered by {}{how}", tap.name, tap.hook.name());
        if let Some(why) = &tap.unpinned {
            tracing::warn!("{}: the program cannot be pinned ({why}): nothing is metered between two engines", tap.name);
        }
        for refused in &tap.refused {
            tracing::info!("{}: {refused}", tap.name);
        }
        for warning in &tap.warnings {
            tracing::warn!("{}: {warning}", tap.name);
        }
        if let Some(telemetry) = &watched.telemetry {
            telemetry.set(Metric::CaptureModeInfo, &[metric_hook(tap.hook)], 1);
        }
    }
    watched.health.holds(Condition::Capture);
}

/// The hook as a label: with and without multi-buffer frames is one hook.
fn metric_hook(hook: Hook) -> &'static str {
    hook.name().trim_end_matches("_frags")
}

fn look(live: &Live, stages: &Stages, watched: &Watched) {
    tell_taps(&live.taps(), watched);
    let Some(telemetry) = &watched.telemetry else { return };
    let depth: usize = stages.outlets.shards.iter().map(crossbeam::channel::Sender::len).sum();
    telemetry.set(Metric::ProcessChannelDepth, &["capture_biflow"], i64::try_from(depth).unwrap_or(i64::MAX));
    telemetry.set(
        Metric::ProcessChannelDepth,
        &["capture_coverage"],
        i64::try_from(stages.outlets.ledger.len()).unwrap_or(i64::MAX),
    );
}

fn tell_taps(taps: &[live::TapState], watched: &Watched) {
    for (tap, kept) in taps.iter().zip(watched.counters.iter()) {
        let Some(counters) = &tap.counters else { continue };
        let dropped = counters.dropped + counters.missed + counters.fifo;
        kept.dropped.store(dropped, Ordering::Relaxed);
        kept.transmitted.store(counters.transmitted, Ordering::Relaxed);
        if let Some(telemetry) = &watched.telemetry {
            telemetry.follow(Metric::CaptureNicDroppedPackets, &[&tap.name], dropped);
            telemetry.follow(Metric::CaptureTapTransmittedPackets, &[&tap.name], counters.transmitted);
        }
    }
}

fn live_settings(config: &Config, hash_keys: [u64; 5]) -> LiveSettings {
    let hook = match config.meter.hook {
        config::Hook::Auto => HookChoice::Auto,
        config::Hook::XdpNative => HookChoice::Native,
        config::Hook::XdpGeneric => HookChoice::Generic,
        config::Hook::Tcx => HookChoice::Tcx,
    };
    let dedicated = config.meter.disposition == config::Disposition::Drop;
    let tap = |name: &Arc<str>| TapSettings { hook, dedicated, ..TapSettings::dedicated(name) };
    LiveSettings {
        taps: config.interfaces.iter().map(tap).collect(),
        meter: meter_settings(config, hash_keys),
        ring_bytes: config.meter.ring_bytes,
        mark_millis: u32::try_from(config.meter.mark_interval.as_millis()).unwrap_or(u32::MAX),
        drain_threads: 0,
    }
}

/// Plays the generated scene through a software SPAN port and meters it live; where that cannot be, replays the same scene.
pub fn demo(config: &Config, request: &DemoRequest, shutdown: &Shutdown, progress: &Arc<Progress>) -> Outcome {
    // A name of its own: nobody else's directory is ever written to or removed.
    let own = || std::env::temp_dir().join(format!("auscult-demo-{}", std::process::id()));
    let data = request.keep.clone().unwrap_or_else(own);
    let scene = Scene::new(request.seed, SceneSize::default());
    let outcome = match Lab::span(lab::MTU) {
        Ok(lab) => live_demo(config, &scene, &lab, &data, shutdown, progress),
        Err(why) => {
            eprintln!("no live capture here ({why}): the same scene is replayed instead");
            replay_demo(config, &scene, &data, shutdown, progress)
        }
    };
    outcome.unwrap_or_else(|error| nothing(config, error))
}

fn live_demo(
    config: &Config,
    scene: &Scene,
    lab: &Lab,
    data: &Path,
    shutdown: &Shutdown,
    progress: &Arc<Progress>,
) -> Result<Outcome, PipelineError> {
    let mut config = config.clone();
    config.interfaces = lab.taps().iter().map(|name| Arc::from(name.as_str())).collect();
    config.meter.disposition = config::Disposition::Drop;
    let tap = lab.taps().first().cloned().unwrap_or_default();
    eprintln!(
        "{} devices behind a software SPAN port, metered at {tap} in namespace {}",
        scene.devices().len(),
        lab.tap().name()
    );
    let mut stage = Playing { lab, tap, scene, player: None, sent: None, last_seen: 0, looks: 0 };
    let place = Place { inside: Some(lab.tap()), utc_offset: None };
    let outcome = run_until(&config, data, place, progress, |watched| {
        let done = stage.step(watched);
        done || shutdown.wait(LOOK)
    })?;
    let sent = stage.sent.unwrap_or(0);
    eprintln!("sent {sent} frames, metered {}", outcome.summary.packets_metered);
    let missing = outcome.error.is_none() && !shutdown.requested() && outcome.summary.packets_seen != sent;
    let error = missing.then(|| PipelineError::Missing { sent, seen: outcome.summary.packets_seen });
    print_next_steps(data, &config);
    Ok(Outcome { error: outcome.error.or(error), ..outcome })
}

/// The scene while it is played.
struct Playing<'a> {
    lab: &'a Lab,
    tap: String,
    scene: &'a Scene,
    player: Option<Player>,
    sent: Option<u64>,
    last_seen: u64,
    looks: u32,
}

impl Playing<'_> {
    /// Starts the player at the first call; true when everything sent has reached the tap, or nothing comes any more.
    fn step(&mut self, watched: &Watched) -> bool {
        let seen = self.lab.tap_traffic(&self.tap).map_or(0, |traffic| traffic.received);
        watched.progress.packets.store(seen, Ordering::Relaxed);
        if self.sent.is_none() {
            return self.play().is_err();
        }
        self.looks = if seen == self.last_seen { self.looks + 1 } else { 0 };
        self.last_seen = seen;
        self.sent.is_some_and(|sent| seen >= sent) || self.looks > DEMO_PATIENCE_LOOKS
    }

    fn play(&mut self) -> Result<(), LabError> {
        match self.player.take() {
            None => {
                let frames = self.scene.frames();
                self.player = Some(Player::start(self.lab, frames, Pace::Speed(DEMO_SPEED), u64::MAX, None)?);
            }
            Some(player) if player.is_finished() => self.sent = Some(player.join()?.frames),
            Some(player) => self.player = Some(player),
        }
        Ok(())
    }
}

fn replay_demo(
    config: &Config,
    scene: &Scene,
    data: &Path,
    shutdown: &Shutdown,
    progress: &Arc<Progress>,
) -> Result<Outcome, PipelineError> {
    let failed = |source| PipelineError::Stage(Box::new(std::io::Error::other(source)));
    std::fs::create_dir_all(data).map_err(failed)?;
    let capture: PathBuf = data.join("scene.pcap");
    let file = std::fs::File::create(&capture).map_err(failed)?;
    scene.write_pcap(std::io::BufWriter::new(file)).map_err(failed)?;
    let request = ReplayRequest { inputs: vec![capture], data: data.to_owned(), speed: None, listen: None };
    let outcome = replay(config, &request, shutdown, progress);
    print_next_steps(data, config);
    Ok(outcome)
}

fn print_next_steps(data: &Path, config: &Config) {
    let data = data.display();
    eprintln!("the lake is in {data}; three queries to try:");
    eprintln!("  auscult flows --data {data} --port 104              # DICOM associations");
    eprintln!("  auscult coverage --data {data}                      # was the tap whole, minute by minute?");
    eprintln!(
        "  duckdb -c \"SELECT responder_address, responder_port, sum(forward_octets + reverse_octets) AS octets \
         FROM '{data}/lake/flows/**/*.parquet' GROUP BY ALL ORDER BY octets DESC LIMIT 10\""
    );
    if let Some(address) = config.listen {
        eprintln!("while an engine runs, its metrics are at http://{address}/metrics");
    }
}
