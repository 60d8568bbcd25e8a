//! Replay: captures through the native meter.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    thread,
    time::Duration,
};

use auscult_ebpf::settings::Settings;

use super::{Finished, Intake, Outcome, PipelineError, ReplayRequest, Stages, Watched, memory_of_replay, meter_settings};
use crate::{
    capture::{
        native::NativeMeter,
        outlets::{Batches, Gone},
        replay::{Pace, Replay, ReplayError},
    },
    config::Config,
    limit::REPLAYED_FRAME_OCTETS_MAX,
    progress::Progress,
    serve::{
        Server,
        health::{Condition, Health},
    },
    shutdown::Shutdown,
    summary::{InputError, Summary},
    telemetry::{Telemetry, metric::Metric},
};

/// Frames between two looks at the stop token and updates of progress.
const FRAMES_PER_LOOK: u64 = 8192;
/// Longest nap of a paced replay, so that a signal is heard.
const NAP: Duration = Duration::from_millis(200);

/// Meters captures.
pub fn replay(config: &Config, request: &ReplayRequest, shutdown: &Shutdown, progress: &Arc<Progress>) -> Outcome {
    match try_replay(config, request, shutdown, progress) {
        Ok(outcome) => outcome,
        Err(error) => Outcome { summary: Summary::of_nothing(&config.site), error: Some(error) },
    }
}

fn try_replay(
    config: &Config,
    request: &ReplayRequest,
    shutdown: &Shutdown,
    progress: &Arc<Progress>,
) -> Result<Outcome, PipelineError> {
    let replay = Replay::open(&request.inputs).map_err(PipelineError::stage)?;
    let (watched, _server) = watch(request, progress)?;
    let mut reading = Reading { replay, watched, faults: Vec::new() };
    reading.meter(config, request, shutdown)
}

/// What is shared with whoever watches, and the metrics server when one is asked for.
fn watch(request: &ReplayRequest, progress: &Arc<Progress>) -> Result<(Watched, Option<Server>), PipelineError> {
    let mut watched = Watched {
        progress: progress.clone(),
        telemetry: None,
        health: Arc::new(Health::new()),
        points: Arc::default(),
        counters: Arc::default(),
    };
    let Some(address) = request.listen else { return Ok((watched, None)) };
    let telemetry = Arc::new(Telemetry::new::<&str>(&[]).map_err(PipelineError::stage)?);
    telemetry.set(Metric::CaptureModeInfo, &["replay"], 1);
    let server = Server::start(address, telemetry.clone(), watched.health.clone()).map_err(PipelineError::stage)?;
    tracing::info!("metrics at http://{}/metrics", server.address());
    watched.telemetry = Some(telemetry);
    Ok((watched, Some(server)))
}

/// Captures that are being read.
struct Reading {
    replay: Replay,
    watched: Watched,
    faults: Vec<ReplayError>,
}

impl Reading {
    fn meter(&mut self, config: &Config, request: &ReplayRequest, shutdown: &Shutdown) -> Result<Outcome, PipelineError> {
        let memory = memory_of_replay(config, &request.inputs);
        let intake = Intake { source: "replay", rings: 1, rings_per_point: 1, live: false };
        let stages = Stages::start(config, &request.data, &intake, memory, &self.watched)?;
        self.watched.health.holds(Condition::Capture);
        let batches = Batches::new(0, stages.outlets.clone());
        // Fixed hash keys: which flows share a set must not change from run to run.
        let settings = meter_settings(config, Settings::plain().hash_keys);
        let settings = Settings { super_frame_octets: REPLAYED_FRAME_OCTETS_MAX, ..settings };
        let mut meter = NativeMeter::new(settings, batches, stages.samples.outlet(0));
        let mut pace = request.speed.and_then(Pace::new);
        let read = self.frames(&mut meter, pace.as_mut(), shutdown);
        let closed = meter.finish();
        let ledger = closed.ok().flatten().map(|at_mark| at_mark.ledger);
        let finished = stages.finish(ledger, true, &self.watched);
        Ok(self.outcome(config, finished, read))
    }

    /// Reads and meters every frame. A fault ends the file it is in; the others go on.
    fn frames(&mut self, meter: &mut NativeMeter, mut pace: Option<&mut Pace>, shutdown: &Shutdown) -> Result<(), Gone> {
        let reading = self.replay.progress();
        let (mut frames, mut met) = (0u64, 0);
        loop {
            let frame = match self.replay.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(fault) => {
                    tracing::debug!("{fault}");
                    self.faults.push(fault);
                    continue;
                }
            };
            if let Some(pace) = pace.as_deref_mut() {
                nap(pace.wait(frame.at), shutdown);
            }
            let interface = frame.interface as usize;
            meter.frame(&frame)?;
            frames += 1;
            if interface >= met {
                // Before the next frame can push a delta with this interface out: rows need its name.
                met = self.meet_interfaces();
            }
            if frames.is_multiple_of(FRAMES_PER_LOOK) || pace.is_some() {
                let progress = &self.watched.progress;
                progress.packets.store(frames, Ordering::Relaxed);
                progress.bytes_read.store(reading.octets_read(), Ordering::Relaxed);
                progress.bytes_total.store(reading.octets_total().unwrap_or(0), Ordering::Relaxed);
                if shutdown.requested() {
                    break;
                }
            }
        }
        self.watched.progress.packets.store(frames, Ordering::Relaxed);
        self.meet_interfaces();
        Ok(())
    }

    /// Makes the interfaces so far known to the store; how many there are.
    fn meet_interfaces(&self) -> usize {
        let known = self.replay.interfaces();
        let mut points = self.watched.points.write().unwrap_or_else(PoisonError::into_inner);
        let met = points.len();
        if let Some(new) = known.get(met..) {
            points.extend_from_slice(new);
        }
        points.len()
    }

    fn outcome(&self, config: &Config, finished: Finished, read: Result<(), Gone>) -> Outcome {
        let input_errors: Vec<InputError> =
            self.faults.iter().map(|fault| InputError { input: fault.input(), error: fault.to_string() }).collect();
        let first = input_errors.first().map(|fault| fault.error.clone());
        let others = input_errors.len().saturating_sub(1);
        let summary = finished.summary(&config.site, input_errors);
        let stopped = read.err().map(|Gone| PipelineError::Died("biflow".to_owned()));
        let error = finished.error.or(stopped).or_else(|| first.map(|first| PipelineError::Inputs { first, others }));
        Outcome { summary, error }
    }
}

fn nap(mut left: Duration, shutdown: &Shutdown) {
    while !left.is_zero() && !shutdown.requested() {
        let now = left.min(NAP);
        thread::sleep(now);
        left -= now;
    }
}
