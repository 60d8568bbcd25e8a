//! The keeper of the inventory: observations, presences and flow rows in the order of record time in; devices, evidence and changes out,
//! durably.
//!
//! What comes from the dissectors and from the shards is held until every source has passed its time, and then taken in order, so that the
//! same packets give the same devices on any number of threads.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    time::Duration,
};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};

use super::{PipelineError, Watched};
use crate::{
    batch::Ring,
    config::Config,
    device::{Attribute, Category, Change, Device, DeviceId, Evidence},
    flow::UnixNanos,
    identify::{FlowName, Harvest, Identify, rules::Rules},
    inventory::{self, Batch, Inventory, InventoryError, Merge, Overrides},
    limit::HELD_MAX,
    observation::{Observation, Presence},
    serve::health::Condition,
    telemetry::metric::Metric,
    time,
};

const PATIENCE: Duration = Duration::from_millis(250);
/// Record time between two harvests of a live engine: what a kill may lose.
pub const HARVEST_LIVE_NANOS: i64 = 1_000_000_000;
/// The same of a replay.
pub const HARVEST_REPLAY_NANOS: i64 = 60_000_000_000;
/// A replay's harvests are written at most so often.
const REPLAY_WRITE_NANOS: u64 = 2_000_000_000;
/// Live, nothing is held longer than this for a source that is silent: a CPU or an interface may be gone.
const LAG_NANOS: u64 = 3_000_000_000;
/// Who changes what is observed.
const ENGINE: &str = "engine";

/// What the keeper is told.
pub enum ToKeeper {
    /// By the dissectors, in their order.
    Observations(Vec<Observation>),
    /// By a shard.
    Present(Vec<Presence>),
    /// The dissectors have read every sample of that ring from before `at`.
    Sampled {
        /// The ring.
        ring: Ring,
        /// Observation time.
        at: u64,
        /// Unix nanoseconds minus observation time.
        utc_offset: i64,
    },
    /// A shard has taken every delta of that ring from before `at`.
    Counted {
        /// The shard.
        shard: usize,
        /// The ring.
        ring: Ring,
        /// Observation time.
        at: u64,
    },
    /// Rows that are over.
    Flows(Vec<FlowName>),
    /// The clock was set back.
    ClockStep,
}

/// The way to the keeper. Live, what comes from the data path does not wait for it: whoever sends is told again.
#[derive(Clone)]
pub struct KeeperOutlet {
    /// The way.
    pub to: Sender<ToKeeper>,
    /// A full way is waited for.
    pub waits: bool,
}

impl KeeperOutlet {
    /// Sends, or leaves it. A keeper that is gone has said why.
    pub fn send(&self, message: ToKeeper) {
        if self.waits {
            drop(self.to.send(message));
        } else {
            drop(self.to.try_send(message));
        }
    }
}

/// Something that is held until its time.
enum Held {
    Present(Presence),
    Observed(Box<Observation>),
}

/// Place in the order of record time.
type Place = (u64, u8, u64, u64);

/// What the keeper has kept.
#[derive(Default)]
pub struct Kept {
    /// Devices in the inventory.
    pub devices: u64,
    /// The first error.
    pub error: Option<PipelineError>,
}

/// The keeper.
pub struct Keeper {
    identify: Identify,
    inventory: Inventory,
    overrides: HashMap<DeviceId, Overrides>,
    /// Devices as the inventory holds them.
    published: HashMap<DeviceId, Device>,
    waiting: Waiting,
    held: Vec<(Place, Held)>,
    flows: Vec<FlowName>,
    arrived: u64,
    /// How far each source has come: rings, then rings of each shard.
    passed: Vec<u64>,
    rings: usize,
    newest: u64,
    utc_offset: i64,
    harvest_nanos: i64,
    next_harvest: Option<UnixNanos>,
    written_at: u64,
    live: bool,
    watched: Watched,
    kept: Kept,
}

/// What is to be written.
#[derive(Default)]
struct Waiting {
    devices: BTreeMap<DeviceId, Device>,
    evidence: BTreeMap<(DeviceId, u64), Evidence>,
    changes: Vec<Change>,
    merges: Vec<Merge>,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.devices.is_empty() && self.evidence.is_empty() && self.changes.is_empty() && self.merges.is_empty()
    }
}

impl Keeper {
    /// Opens the inventory of a data directory, and knows whom it holds.
    pub fn open(data: &Path, config: &Config, rings: u16, live: bool, watched: Watched) -> Result<Self, PipelineError> {
        let rules = Rules::embedded().map_err(PipelineError::stage)?;
        let inventory = Inventory::open(data).map_err(PipelineError::stage)?;
        let mut identify = Identify::new(&config.site, rules);
        if let Some(name) = &config.left_out {
            identify.leave_out(name);
        }
        let (mut overrides, mut published) = (HashMap::new(), HashMap::new());
        inventory
            .load(|stored| {
                let id = stored.device.device_id;
                let mut observed = stored.device.clone();
                for (attribute, set) in &stored.overrides.attributes {
                    observed.attributes.remove(attribute);
                    observed.attributes.extend(set.observed.clone().map(|known| (*attribute, known)));
                }
                identify.restore(observed, stored.evidence);
                published.insert(id, stored.device);
                if !stored.overrides.is_empty() {
                    overrides.insert(id, stored.overrides);
                }
            })
            .map_err(PipelineError::stage)?;
        let rings = usize::from(rings);
        let harvest_nanos = if live { HARVEST_LIVE_NANOS } else { HARVEST_REPLAY_NANOS };
        Ok(Self {
            identify,
            inventory,
            overrides,
            published,
            waiting: Waiting::default(),
            held: Vec::new(),
            flows: Vec::new(),
            arrived: 0,
            passed: vec![0; rings * (1 + config.biflow.shards)],
            rings,
            newest: 0,
            utc_offset: if live { time::utc_offset() } else { 0 },
            harvest_nanos,
            next_harvest: None,
            written_at: time::monotonic(),
            live,
            watched,
            kept: Kept::default(),
        })
    }

    /// Runs until every sender is gone, then writes what there is.
    pub fn run(mut self, from: &Receiver<ToKeeper>) -> Kept {
        let beat = self.watched.health.watch("inventory");
        loop {
            beat.tick();
            match from.recv_timeout(PATIENCE) {
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => self.idle(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.take_all();
        self.harvest();
        self.write();
        self.tell();
        self.kept.devices = self.identify.devices().count() as u64;
        self.kept
    }

    fn take(&mut self, message: ToKeeper) {
        match message {
            ToKeeper::Observations(observations) => {
                for observation in observations {
                    self.arrived += 1;
                    self.newest = self.newest.max(observation.at);
                    self.held.push(((observation.at, 1, self.arrived, 0), Held::Observed(Box::new(observation))));
                }
            }
            ToKeeper::Present(presences) => {
                for presence in presences {
                    self.newest = self.newest.max(presence.at);
                    self.held.push((place_of(&presence), Held::Present(presence)));
                }
            }
            ToKeeper::Sampled { ring, at, utc_offset } => {
                self.utc_offset = utc_offset;
                self.passes(usize::from(ring), at);
            }
            ToKeeper::Counted { shard, ring, at } => self.passes(self.rings * (1 + shard) + usize::from(ring), at),
            ToKeeper::Flows(flows) => self.flows.extend(flows),
            ToKeeper::ClockStep => {
                self.take_all();
                self.passed.fill(0);
                self.newest = 0;
            }
        }
        if self.held.len() > HELD_MAX || self.flows.len() > HELD_MAX {
            self.take_all();
        }
    }

    /// Live, time goes on though nothing comes.
    fn idle(&mut self) {
        if self.live {
            let silent = self.passed.iter().copied().filter(|at| *at != u64::MAX).max();
            self.take_up_to(silent.unwrap_or(0).saturating_sub(LAG_NANOS));
            self.harvest();
            self.write();
            self.tell();
        }
    }

    fn passes(&mut self, source: usize, at: u64) {
        let Some(passed) = self.passed.get_mut(source) else { return };
        *passed = (*passed).max(at);
        let slowest = self.passed.iter().copied().min().unwrap_or(0);
        let furthest = self.passed.iter().copied().filter(|at| *at != u64::MAX).max().unwrap_or(0);
        let least = if self.live { furthest.saturating_sub(LAG_NANOS) } else { 0 };
        self.take_up_to(slowest.max(least));
    }

    /// Takes what is held from before a time, in order.
    fn take_up_to(&mut self, limit: u64) {
        let mut due: Vec<(Place, Held)> = self.held.extract_if(.., |(place, _)| place.0 < limit).collect();
        due.sort_by_key(|(place, _)| *place);
        for ((at, ..), held) in due {
            let unix = i64::try_from(at).unwrap_or(i64::MAX).saturating_add(self.utc_offset);
            self.harvest_before(unix);
            match held {
                Held::Present(presence) => self.identify.present(&presence, self.utc_offset),
                Held::Observed(observation) => self.identify.observe(*observation, self.utc_offset),
            }
        }
        let unix = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(self.utc_offset);
        // What a flow's packets said is taken before the flow's row says that it is over.
        for flow in self.flows.extract_if(.., |flow| flow.end() < unix) {
            self.identify.flow(&flow);
        }
        if self.live && self.next_harvest.is_some_and(|next| unix != i64::MAX && unix >= next) {
            self.harvest_before(unix);
        }
    }

    fn take_all(&mut self) {
        self.take_up_to(u64::MAX);
    }

    /// Harvests when the time of the next harvest is before `unix`.
    fn harvest_before(&mut self, unix: UnixNanos) {
        let next = *self.next_harvest.get_or_insert(unix.saturating_add(self.harvest_nanos));
        if unix < next && unix.saturating_add(2 * self.harvest_nanos) > next {
            return;
        }
        self.next_harvest = Some(unix.saturating_add(self.harvest_nanos));
        self.harvest();
        if self.live || time::monotonic().saturating_sub(self.written_at) > REPLAY_WRITE_NANOS {
            self.write();
            self.tell();
        }
    }

    /// What changed becomes changes.
    fn harvest(&mut self) {
        let Harvest { devices, evidence, merged } = self.identify.harvest();
        let at = self.identify.now();
        for (id, piece) in evidence {
            self.waiting.evidence.insert((id, piece.evidence_id), piece);
        }
        for (from, into) in merged {
            self.waiting.merges.push(Merge { from, into, at, by: ENGINE.into(), evidence: Vec::new() });
        }
        for mut device in devices {
            let id = device.device_id;
            if let Some(overrides) = self.overrides.get_mut(&id) {
                overrides.apply(&mut device);
            } else if let Some(before) = self.published.get(&id) {
                device.lifecycle = before.lifecycle;
            }
            let rests_on = |what: &str| rests_on(&self.identify, id, &device, what);
            let changes = match self.published.get(&id) {
                None => inventory::created(&device, device.first_seen, ENGINE, rests_on),
                Some(before) => inventory::diff(before, &device, at, ENGINE, rests_on),
            };
            self.waiting.changes.extend(changes);
            self.published.insert(id, device.clone());
            self.waiting.devices.insert(id, device);
        }
    }

    /// Writes what waits. What cannot be written waits on.
    fn write(&mut self) {
        self.written_at = time::monotonic();
        if self.waiting.is_empty() {
            return;
        }
        let devices: Vec<Device> = self.waiting.devices.values().cloned().collect();
        let evidence: Vec<(DeviceId, Evidence)> =
            self.waiting.evidence.iter().map(|((id, _), piece)| (*id, piece.clone())).collect();
        let batch = Batch {
            devices: &devices,
            evidence: &evidence,
            changes: &self.waiting.changes,
            merges: &self.waiting.merges,
            newest: Some(self.identify.now()),
            ..Batch::default()
        };
        match self.inventory.write(&batch) {
            Ok(()) => {
                self.waiting = Waiting::default();
                self.watched.health.holds(Condition::Inventory);
            }
            Err(error) => self.failed(error),
        }
    }

    fn failed(&mut self, error: InventoryError) {
        tracing::error!("{error}");
        self.watched.health.fails(Condition::Inventory, error.to_string());
        if let Some(telemetry) = &self.watched.telemetry {
            telemetry.add(Metric::InventoryWriteErrors, &[], 1);
        }
        // A base that failed wants to be opened anew.
        let directory = self.inventory.path().parent().map(Path::to_path_buf);
        if let Some(Ok(again)) = directory.map(|directory| Inventory::open(&directory)) {
            self.inventory = again;
        }
        self.kept.error.get_or_insert_with(|| PipelineError::stage(error));
    }

    fn tell(&self) {
        let Some(telemetry) = &self.watched.telemetry else { return };
        let mut by_category: HashMap<Category, i64> = HashMap::new();
        let devices = self.published.values().filter(|device| device.merged_into.is_none());
        devices.for_each(|device| *by_category.entry(device.category()).or_default() += 1);
        for category in Category::ALL {
            telemetry.set(Metric::InventoryDevices, &[category.name()], by_category.get(category).copied().unwrap_or(0));
        }
        telemetry.follow(Metric::InventoryDevicesRefused, &[], self.identify.refused());
        telemetry.set(Metric::InventoryLastUpdate, &[], self.identify.now().max(0) / 1_000_000_000);
        telemetry.set(Metric::InventoryWaiting, &[], self.waiting.changes.len() as i64);
    }
}

/// Presences of one time in an order that does not depend on threads.
fn place_of(presence: &Presence) -> Place {
    let words = presence.key.words();
    let mix = words.iter().fold(0u64, |mix, word| mix.rotate_left(13) ^ word.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mac = presence.subject.mac.unwrap_or_default().0;
    (presence.at, 0, u64::from_be_bytes([0, 0, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]]), mix)
}

/// The evidence behind a change: what supports the attribute's value.
fn rests_on(identify: &Identify, id: DeviceId, device: &Device, what: &str) -> Vec<u64> {
    let Some(attribute) = Attribute::named(what) else { return Vec::new() };
    let Some(value) = device.value(attribute) else { return Vec::new() };
    let supports = |piece: &&Evidence| piece.supports.iter().any(|claim| claim.attribute == attribute && *claim.value == *value);
    identify.evidence(id).filter(supports).map(|piece| piece.evidence_id).collect()
}
