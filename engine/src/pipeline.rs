//! Wires the stages: capture → biflow shards → merge → lake, with the books (ledger, coverage, metrics) beside them.
//!
//! Read [`Stages::start`] top to bottom: it is the data path in data order. Every edge is a bounded channel with a name in
//! [`crate::telemetry::metric::EDGES`]; a full one holds up its sender, and a live meter counts what its ring then has no room for.

mod books;
pub mod devices;
mod dissect;
mod keeper;
mod listing;
mod live;
mod memory;
mod offline;
mod presence;
mod resume;
mod samples;
mod shard;
mod sides;
mod store;
mod types;

pub use self::{
    listing::{coverage, dictionary, flows},
    live::{demo, run, run_by_clock, run_inside},
    memory::{memory_of_replay, memory_of_run},
    offline::replay,
    types::{Column, DemoRequest, Listing, Outcome, PipelineError, ReplayRequest, Selection},
};

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock, atomic::AtomicU64},
    thread::{self, JoinHandle},
};

use auscult_ebpf::{
    limit::{COPY_UNIT_SHIFT, COPY_UNITS_MAX},
    settings::{FLAG_CLOCK_PER_POLL, FLAG_COPIES_METERED, FLAG_SAMPLES, FLAG_VLAN_IN_KEY, Settings},
};
use crossbeam::channel::{Receiver, Sender, bounded};

use self::{
    books::{Books, Closed, PointCounters},
    dissect::Dissect,
    keeper::{Keeper, KeeperOutlet, Kept, ToKeeper},
    presence::Presences,
    resume::{Inheritance, Resumed},
    samples::{FromRing, SampleBatch, SampleOutlet},
    store::{RowsWaiting, Store, Stored},
};
use crate::{
    batch::Ring,
    biflow::{BiflowSettings, Table},
    capture::{native::SampleSink, outlets::Outlets},
    config::{Clock, Config, Duplicates},
    dissect::Dissector,
    flow::ObservationPoint,
    lake::{LakeSettings, Writer},
    ledger::{Count, Ledger, UserLost},
    limit::{BATCH_DELTAS, BATCHES_MAX, COVERAGE_MAX, EPOCHS_MAX, KEEPER_MESSAGES_MAX, LEDGERS_MAX, SAMPLE_BATCHES_MAX},
    progress::Progress,
    serve::health::{Condition, Health},
    summary::{MemoryBound, Summary, Totals},
    telemetry::{
        Telemetry,
        metric::{EDGES, Metric},
        peak_memory_bytes,
    },
    time,
};

/// The observation points so far, in index order: replay meets them as it reads.
type Points = Arc<RwLock<Vec<ObservationPoint>>>;

/// What the stages share with whoever watches them.
#[derive(Clone)]
struct Watched {
    progress: Arc<Progress>,
    telemetry: Option<Arc<Telemetry>>,
    health: Arc<Health>,
    points: Points,
    counters: Arc<Vec<PointCounters>>,
}

/// The running stages behind capture.
struct Stages {
    outlets: Outlets,
    shards: Vec<JoinHandle<()>>,
    samples: SampleWay,
    dissect: JoinHandle<()>,
    keeper: JoinHandle<Kept>,
    books: JoinHandle<Closed>,
    store: JoinHandle<Stored>,
    /// Of a live engine.
    resumed: Option<Resumed>,
    /// The books of taps have counted what could not be written.
    live: bool,
    memory: MemoryBound,
    began: u64,
}

/// Where the frames come from.
struct Intake<'a> {
    source: &'a str,
    rings: u16,
    /// For each observation point.
    rings_per_point: u16,
    /// From taps, whose books are kept.
    live: bool,
}

impl Stages {
    /// Starts everything behind capture.
    fn start(
        config: &Config,
        data: &Path,
        intake: &Intake<'_>,
        memory: MemoryBound,
        watched: &Watched,
    ) -> Result<Self, PipelineError> {
        if intake.live {
            tracing::info!("{memory}");
        }
        if let Some(telemetry) = &watched.telemetry {
            telemetry.set(Metric::ProcessMemoryBound, &[], i64::try_from(memory.resident_bytes).unwrap_or(i64::MAX));
        }
        if let Some(telemetry) = &watched.telemetry {
            let shards = config.biflow.shards;
            let rooms =
                [shards * BATCHES_MAX, shards * EPOCHS_MAX, LEDGERS_MAX, COVERAGE_MAX, SAMPLE_BATCHES_MAX, KEEPER_MESSAGES_MAX];
            let edges = EDGES.iter().zip(rooms);
            edges.for_each(|(edge, room)| telemetry.set(Metric::ProcessChannelCapacity, &[edge], room as i64));
        }
        let began = time::monotonic();
        let settings = lake_settings(config);
        let &Intake { source, rings, rings_per_point, live } = intake;
        let mut writer = Writer::open(data, &config.site, &settings, source).map_err(PipelineError::stage)?;
        let recovered = writer.recovered();
        if recovered.removed > 0 {
            tracing::info!("{} unfinished files of an earlier engine are removed", recovered.removed);
        }
        let resumed = if live { Some(Resumed::open(config, &mut writer)?) } else { None };
        let inheritance = resumed.as_ref().map_or_else(Inheritance::default, Resumed::inheritance);
        watched.health.holds(Condition::Lake);

        let (coverage, from_books) = bounded(COVERAGE_MAX);
        let (to_books, from_capture) = bounded(LEDGERS_MAX);
        let (give_back, recycled) = bounded(BATCHES_MAX);
        let (mut inlets, mut shards, mut from_shards) = (Vec::new(), Vec::new(), Vec::new());
        let keeper = Keeper::open(data, config, rings, live, watched.clone())?;
        watched.health.holds(Condition::Inventory);
        let (to_keeper, from_all) = bounded(KEEPER_MESSAGES_MAX);
        let keeper = spawn("inventory".to_owned(), move || keeper.run(&from_all))?;
        let (samples, dissect) = SampleWay::start(to_keeper.clone(), live, watched)?;
        let to_keeper = KeeperOutlet { to: to_keeper, waits: !live };
        for number in 0..config.biflow.shards {
            let (inlet, deltas) = bounded(BATCHES_MAX);
            inlets.push(inlet);
            let table = Table::new(biflow_settings(config, rings));
            let (to, epochs) = bounded(EPOCHS_MAX);
            from_shards.push(epochs);
            let (give_back, rows) = (give_back.clone(), RowsWaiting::default());
            let presences = Presences::default();
            let to_keeper = to_keeper.clone();
            let shard = shard::Shard { number, table, from: deltas, give_back, to, rows, presences, to_keeper };
            let watched = watched.clone();
            shards.push(spawn(format!("biflow-{number}"), move || shard.run(&watched))?);
        }
        let books = Books::new(rings, rings_per_point, inheritance, watched.clone(), coverage);
        let books = spawn("books".to_owned(), move || books.run(&from_capture))?;
        let idle_nanos = i64::try_from(config.biflow.idle_timeout.as_nanos()).unwrap_or(i64::MAX);
        let store = Store::new(writer, config.biflow.shards, idle_nanos, watched.clone(), to_keeper);
        let store = spawn("store".to_owned(), move || store.run(from_shards, from_books))?;
        let outlets = Outlets { shards: inlets, ledger: to_books, recycled, batch_deltas: BATCH_DELTAS };
        Ok(Self { outlets, shards, samples, dissect, keeper, books, store, resumed, live, memory, began })
    }

    /// Lets every stage end, in data order, and adds up what was done. `ledger` is capture's own last state; the books of taps know more,
    /// and are closed if capture was `complete`: it has handed over everything.
    fn finish(self, ledger: Option<Ledger>, complete: bool, watched: &Watched) -> Finished {
        let Self { outlets, shards, samples, dissect, keeper, books, store, resumed, live, memory, began } = self;
        drop((outlets, samples));
        let mut dead = Vec::new();
        for (number, shard) in shards.into_iter().enumerate() {
            if shard.join().is_err() {
                dead.push(format!("biflow-{number}"));
            }
        }
        let closed = books.join().unwrap_or_else(|_| {
            dead.push("books".to_owned());
            Closed::default()
        });
        let stored = store.join().unwrap_or_else(|_| {
            dead.push("store".to_owned());
            Stored::default()
        });
        if dissect.join().is_err() {
            dead.push("dissect".to_owned());
        }
        let kept = keeper.join().unwrap_or_else(|_| {
            dead.push("inventory".to_owned());
            Kept::default()
        });
        let mut ledger = ledger.unwrap_or_else(|| closed.ledger());
        if !live {
            ledger.user_lost[UserLost::Write as usize].add(stored.lost);
        }
        if let Some(telemetry) = &watched.telemetry {
            telemetry.record_ledger(&ledger);
        }
        let totals = Totals {
            flows_by_end_reason: stored.by_reason,
            sided: stored.sided,
            marks: closed.marks,
            unbalanced_marks: closed.unbalanced,
            hurried_deltas: stored.hurried,
            devices: kept.devices,
            files_written: stored.totals.files,
            bytes_written: stored.totals.bytes,
            elapsed_seconds: time::monotonic().saturating_sub(began) as f64 / 1e9,
            peak_memory_bytes: peak_memory_bytes(),
            memory_bound: memory,
            ..Totals::default()
        };
        let error = stored.error.or(kept.error).or_else(|| dead.first().map(|name| PipelineError::Died(name.clone())));
        // Of dead threads nobody knows what they held: the next engine finds it out.
        let unclosed = resumed.filter(|_| complete && dead.is_empty()).and_then(Resumed::finish);
        let error = error.or(unclosed);
        Finished { ledger, totals, error }
    }
}

/// What came of the stages.
struct Finished {
    ledger: Ledger,
    totals: Totals,
    error: Option<PipelineError>,
}

impl Finished {
    /// The summary; `input_errors` are those of capture.
    fn summary(&self, site: &str, input_errors: Vec<crate::summary::InputError>) -> Summary {
        let totals = Totals { site: site.to_owned(), input_errors, ..self.totals.clone() };
        Summary::new(&self.ledger, totals)
    }
}

/// The way of samples from capture to the dissectors.
struct SampleWay {
    to: Sender<FromRing>,
    recycled: Receiver<SampleBatch>,
    waits: bool,
    shed: Arc<AtomicU64>,
}

impl SampleWay {
    /// Starts the dissectors at its end. Live, a full way is not waited for.
    fn start(to_keeper: Sender<ToKeeper>, live: bool, watched: &Watched) -> Result<(Self, JoinHandle<()>), PipelineError> {
        let (to, from) = bounded(SAMPLE_BATCHES_MAX);
        let (give_back, recycled) = bounded(SAMPLE_BATCHES_MAX);
        let shed = Arc::new(AtomicU64::new(0));
        let dissect = Dissect { dissector: Dissector::default(), from, give_back, to: to_keeper, shed: shed.clone() };
        let watched = watched.clone();
        let thread = spawn("dissect".to_owned(), move || dissect.run(&watched))?;
        Ok((Self { to, recycled, waits: !live, shed }, thread))
    }

    /// The end of one ring.
    fn outlet(&self, ring: Ring) -> Box<dyn SampleSink> {
        let (to, recycled, shed) = (self.to.clone(), self.recycled.clone(), self.shed.clone());
        Box::new(SampleOutlet::new(ring, to, recycled, self.waits, shed))
    }
}

fn lake_settings(config: &Config) -> LakeSettings {
    LakeSettings {
        rotate_rows: config.lake.rotate_rows,
        rotate_secs: config.lake.rotate_after.as_secs().try_into().unwrap_or(u32::MAX),
        zstd_level: config.lake.zstd_level,
        ..LakeSettings::default()
    }
}

fn biflow_settings(config: &Config, rings: u16) -> BiflowSettings {
    let nanos = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    BiflowSettings {
        idle_timeout_nanos: nanos(config.biflow.idle_timeout),
        active_timeout_nanos: nanos(config.biflow.active_timeout),
        max_flows: u32::try_from(config.biflow.max_flows / config.biflow.shards.max(1)).unwrap_or(u32::MAX).max(1),
        rings,
        site: config.site.clone(),
        seed: random_words::<1>()[0],
    }
}

/// What the configuration says of the meter.
fn meter_settings(config: &Config, hash_keys: [u64; 5]) -> Settings {
    let mut settings = Settings { hash_keys, sets_mask: config.meter.sets - 1, flags: 0, ..Settings::plain() };
    for (wanted, flag) in [
        (config.samples.enabled, FLAG_SAMPLES),
        (config.meter.vlan_in_key, FLAG_VLAN_IN_KEY),
        (config.meter.clock == Clock::Poll, FLAG_CLOCK_PER_POLL),
        (config.meter.duplicates == Duplicates::Count, FLAG_COPIES_METERED),
    ] {
        settings.flags |= if wanted { flag } else { 0 };
    }
    let window = config.meter.duplicate_window.as_nanos().div_ceil(1 << COPY_UNIT_SHIFT);
    settings.copy_units = match config.meter.duplicates {
        Duplicates::Off => 0,
        Duplicates::Count | Duplicates::Remove => u32::try_from(window).unwrap_or(u32::MAX).clamp(1, COPY_UNITS_MAX),
    };
    settings.sample_shares = config.samples.share_octets_per_tick.map(|share| u32::try_from(share).unwrap_or(u32::MAX));
    settings
}

/// Random words for keyed hashes; results do not depend on them.
fn random_words<const N: usize>() -> [u64; N] {
    let mut words = [0u64; N];
    // SAFETY: the buffer is `N` words long and alive during the call; a short or failed read leaves zeros, which still work.
    unsafe { libc::getrandom(words.as_mut_ptr().cast(), size_of_val(&words), 0) };
    words
}

fn spawn<T: Send + 'static>(name: String, body: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>, PipelineError> {
    let at = name.clone();
    thread::Builder::new().name(name).spawn(body).map_err(|source| PipelineError::Thread { name: at, source })
}

/// The points as they are now.
fn points_now(points: &Points) -> Vec<ObservationPoint> {
    points.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Packets and octets, for the ledger of what was lost behind capture.
fn count(packets: u64, octets: u64) -> Count {
    Count { packets, octets }
}
