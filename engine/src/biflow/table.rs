//! The table of one shard: deltas and Marks in, epochs out.

use auscult_ebpf::{
    limit::TICK_SHIFT,
    record::{Delta, FORM_FRAGMENT},
};
use hashbrown::HashTable;

use super::{
    BiflowSettings, Epoch, HELD_MAX, IDLE_TIMEOUT_MIN_NANOS, SETTLE_TICKS, Statistics,
    entry::{Boundary, Entry},
    export::{export, unix},
    fragment::FragmentLinks,
    hold::Hold,
    identity::{KeyHash, flow_id, site_number},
    slab::Slab,
    tick_of,
    tunnel::TunnelPaths,
    wheel::Wheel,
};
use crate::{
    batch::{Message, Ring, RingMark},
    flow::{Flow, FlowEndReason},
};

/// Deltas whose entries are looked up together, so that the memory accesses overlap.
const LOOKAHEAD: usize = 16;
/// Expiring entries fetched ahead.
const PREFETCH: usize = 4;
/// No entry.
const NONE: u32 = u32::MAX;
/// Timers looked at to find a flow to evict.
const EVICTION_TRIES: usize = 16;

/// An entry's place in the slab, and bits of its hash that rule most other entries out without a look at them.
#[derive(Clone, Copy)]
struct Place {
    tag: u32,
    index: u32,
}

/// Bits of the hash that the hash table itself does not look at in one group.
const fn tag(hash: u64) -> u32 {
    (hash >> 25) as u32
}

#[derive(Clone, Copy)]
struct RingClock {
    mark: Option<u64>,
    utc_offset: i64,
    open: bool,
}

/// The biflows of one shard. See the [module text](super).
pub struct Table {
    idle_nanos: u64,
    active_ticks: u64,
    max_flows: usize,
    site: u64,
    hash: KeyHash,
    index: HashTable<Place>,
    slab: Slab,
    wheel: Wheel,
    due: Vec<u32>,
    hold: Option<Hold>,
    links: FragmentLinks,
    paths: TunnelPaths,
    rings: Vec<RingClock>,
    watermark: Option<u64>,
    era: u32,
    finished: Vec<Flow>,
    statistics: Statistics,
}

impl Table {
    /// An empty table.
    pub fn new(settings: BiflowSettings) -> Self {
        let idle_nanos = settings.idle_timeout_nanos.max(IDLE_TIMEOUT_MIN_NANOS);
        let clock = RingClock { mark: None, utc_offset: 0, open: true };
        Self {
            idle_nanos,
            active_ticks: settings.active_timeout_nanos.div_ceil(1 << TICK_SHIFT).max(1),
            max_flows: settings.max_flows.clamp(1, NONE - 1) as usize,
            site: site_number(&settings.site),
            hash: KeyHash::new(settings.seed),
            index: HashTable::new(),
            slab: Slab::default(),
            wheel: Wheel::new(tick_of(idle_nanos).saturating_mul(2)),
            due: Vec::new(),
            hold: (settings.rings > 1).then(Hold::default),
            links: FragmentLinks::new(),
            paths: TunnelPaths::default(),
            rings: vec![clock; usize::from(settings.rings)],
            watermark: None,
            era: 0,
            finished: Vec::new(),
            statistics: Statistics::default(),
        }
    }

    /// Takes what capture sends; an epoch when it completes one.
    pub fn message(&mut self, message: &Message) -> Option<Epoch> {
        match message {
            Message::Deltas { ring, deltas } => {
                self.deltas(*ring, deltas);
                None
            }
            Message::TunnelPath(path) => {
                self.paths.learn(path);
                None
            }
            Message::Mark(mark) => self.mark(*mark),
            Message::ClockStep => Some(self.clock_step()),
            Message::Close { ring } => self.close(*ring),
        }
    }

    /// Takes deltas of one ring, in ring order.
    pub fn deltas(&mut self, ring: Ring, deltas: &[Delta]) {
        let Some(hold) = &mut self.hold else { return self.absorb(deltas.iter().map(|delta| (ring, delta))) };
        for delta in deltas {
            hold.push(ring, delta);
        }
        while self.hold.as_ref().is_some_and(|hold| hold.len() > HELD_MAX) {
            let merged = self.release(u64::MAX, 1);
            self.statistics.hurried += merged;
        }
    }

    /// Takes a Mark; an epoch when it advances the watermark. A ring that is unknown or closed is ignored.
    pub fn mark(&mut self, mark: RingMark) -> Option<Epoch> {
        let ring = self.rings.get_mut(usize::from(mark.ring)).filter(|ring| ring.open)?;
        ring.mark = ring.mark.max(Some(mark.at));
        ring.utc_offset = mark.utc_offset;
        self.advance()
    }

    /// Ends a ring. When it was the last, all flows end (`forced_end`) and the last epoch is given; before, the watermark no longer
    /// waits for it.
    pub fn close(&mut self, ring: Ring) -> Option<Epoch> {
        self.rings.get_mut(usize::from(ring)).filter(|ring| ring.open)?.open = false;
        if self.rings.iter().any(|ring| ring.open) {
            return self.advance();
        }
        Some(self.end_era())
    }

    /// The capture's clock stepped back: all flows end (`forced_end`), and the watermark begins anew.
    pub fn clock_step(&mut self) -> Epoch {
        let epoch = self.end_era();
        self.era += 1;
        self.watermark = None;
        for ring in &mut self.rings {
            ring.mark = None;
        }
        epoch
    }

    /// What the table has done and holds.
    pub fn statistics(&self) -> Statistics {
        let held = self.hold.as_ref().map_or((0, 0), |hold| (hold.len(), hold.memory_bytes()));
        let memory = self.slab.memory_bytes()
            + self.index.allocation_size()
            + self.wheel.memory_bytes()
            + self.links.memory_bytes()
            + self.paths.memory_bytes()
            + held.1
            + self.finished.capacity() * size_of::<Flow>();
        Statistics { live: self.slab.live() as u64, held: held.0 as u64, memory_bytes: memory as u64, ..self.statistics }
    }

    /// Whether a ring is known and not closed.
    #[cfg(test)]
    pub(super) fn rings_open(&self, ring: usize) -> bool {
        self.rings.get(ring).is_some_and(|ring| ring.open)
    }

    fn advance(&mut self) -> Option<Epoch> {
        let open = || self.rings.iter().filter(|ring| ring.open);
        // `None` is less than any mark: a ring without one holds the watermark.
        let watermark = open().map(|ring| ring.mark).min().flatten()?;
        if self.watermark.is_some_and(|old| watermark <= old) {
            return None;
        }
        self.watermark = Some(watermark);
        let settled = tick_of(watermark).saturating_sub(SETTLE_TICKS);
        self.release(settled, usize::MAX);
        self.expire(settled);
        Some(self.epoch(watermark, settled << TICK_SHIFT))
    }

    fn epoch(&mut self, watermark: u64, settled: u64) -> Epoch {
        let utc_offset = self.rings.first().map_or(0, |ring| ring.utc_offset);
        Epoch { rows: std::mem::take(&mut self.finished), era: self.era, watermark, settled: unix(settled, utc_offset) }
    }

    fn end_era(&mut self) -> Epoch {
        self.release(u64::MAX, usize::MAX);
        let slab = std::mem::take(&mut self.slab);
        let mut end = 0;
        for entry in slab.iter() {
            end = end.max(entry.last);
            self.finish(entry, entry.reason(FlowEndReason::ForcedEnd));
        }
        self.slab = slab;
        self.slab.clear();
        self.index.clear();
        self.wheel.clear();
        self.links.clear();
        self.epoch(u64::MAX, end.max(self.watermark.unwrap_or(0)))
    }

    /// Merges waiting deltas of at most `ticks` ticks before `limit`; how many.
    fn release(&mut self, limit: u64, ticks: usize) -> u64 {
        let mut merged = 0;
        for _ in 0..ticks {
            let Some(deltas) = self.hold.as_mut().and_then(|hold| hold.pop_before(limit)) else { break };
            let order = Hold::order(&deltas);
            self.absorb(order.iter().map(|i| {
                let (ring, delta) = &deltas[*i as usize];
                (*ring, delta)
            }));
            merged += deltas.len() as u64;
        }
        merged
    }

    /// Merges deltas in the order given. Entries are looked up and fetched [`LOOKAHEAD`] at a time.
    fn absorb<'a>(&mut self, deltas: impl Iterator<Item = (Ring, &'a Delta)>) {
        let mut deltas = deltas.fuse();
        loop {
            let mut batch = [None; LOOKAHEAD];
            let mut length = 0;
            for (place, (ring, delta)) in batch.iter_mut().zip(&mut deltas) {
                let hash = self.hash.of(&delta.key);
                // Most likely the one; the key is compared when it has arrived.
                let index = self.index.find(hash, |place| place.tag == tag(hash)).map_or(NONE, |place| place.index);
                if index != NONE {
                    self.slab.prefetch(index);
                }
                *place = Some((ring, delta, hash, index));
                length += 1;
            }
            for &(ring, delta, hash, index) in batch.iter().flatten() {
                self.one(ring, delta, hash, index);
            }
            if length < LOOKAHEAD {
                return;
            }
        }
    }

    fn find(&self, hash: u64, delta: &Delta) -> u32 {
        let same = |place: &Place| place.tag == tag(hash) && self.slab.get(place.index).key == delta.key;
        self.index.find(hash, same).map_or(NONE, |place| place.index)
    }

    /// Merges one delta. `index` is where its entry probably is.
    fn one(&mut self, ring: Ring, delta: &Delta, hash: u64, index: u32) {
        self.statistics.deltas += 1;
        self.statistics.packets += u64::from(delta.header.packets[0]) + u64::from(delta.header.packets[1]);
        let known = |index: u32| {
            let entry = self.slab.get(index);
            entry.is_live() && entry.key == delta.key
        };
        let index = if index != NONE && known(index) { index } else { self.find(hash, delta) };
        let index = if index == NONE { self.open(ring, delta, hash) } else { self.cut(index, ring, delta) };
        let entry = self.slab.get_mut(index);
        let closing = entry.is_closing();
        entry.merge(ring, delta);
        if !closing && entry.is_closing() {
            let deadline = entry.deadline_tick(self.idle_nanos);
            self.wheel.arm(index, deadline, tick_of(delta.base));
        }
        if delta.fragment != 0 || (delta.side[0].stack.fragments | delta.side[1].stack.fragments) != 0 {
            self.link_fragments(index, delta);
        }
    }

    /// Opens a flow for a delta whose key is not in the table.
    fn open(&mut self, ring: Ring, delta: &Delta, hash: u64) -> u32 {
        if self.slab.live() >= self.max_flows {
            self.evict();
        }
        let entry = Entry::new(ring, delta, hash, 0);
        let deadline = entry.deadline_tick(self.idle_nanos);
        let index = self.slab.insert(entry);
        let slab = &self.slab;
        self.index.insert_unique(hash, Place { tag: tag(hash), index }, |place| slab.get(place.index).hash);
        self.wheel.arm(index, deadline, tick_of(delta.base));
        index
    }

    /// Ends what has to end before `delta` joins the flow at `index`.
    fn cut(&mut self, index: u32, ring: Ring, delta: &Delta) -> u32 {
        let entry = self.slab.get(index);
        match entry.boundary(delta, self.idle_nanos, self.active_ticks) {
            Boundary::None => {}
            Boundary::Segment => {
                let mut entry = entry.clone();
                let flow_id = self.finish(&entry, FlowEndReason::ActiveTimeout);
                entry.next_segment(delta, flow_id);
                *self.slab.get_mut(index) = entry;
            }
            Boundary::Flow(reason) => {
                let entry = entry.clone();
                self.finish(&entry, reason);
                let twin = if entry.start == delta.base { entry.twin.wrapping_add(1) } else { 0 };
                let entry = Entry::new(ring, delta, entry.hash, twin);
                let deadline = entry.deadline_tick(self.idle_nanos);
                *self.slab.get_mut(index) = entry;
                self.wheel.arm(index, deadline, tick_of(delta.base));
            }
        }
        index
    }

    /// Writes a flow's row; its id.
    fn finish(&mut self, entry: &Entry, reason: FlowEndReason) -> u64 {
        let utc_offset = self.utc_offset(entry.ring);
        let flow_id = self.flow_id(entry);
        let mut fragment_of = entry.fragment_of;
        if fragment_of == 0 && entry.key.form & FORM_FRAGMENT != 0 {
            fragment_of = self.links.find(&entry.key, entry.fragment).unwrap_or(0);
        }
        let tunnels = entry.side.each_ref().map(|side| self.paths.find(side.tunnels));
        self.finished.push(export(entry, reason, utc_offset, flow_id, fragment_of, tunnels));
        self.statistics.exported[reason as usize - 1] += 1;
        flow_id
    }

    fn flow_id(&self, entry: &Entry) -> u64 {
        if entry.flow_id != 0 {
            return entry.flow_id;
        }
        flow_id(&entry.key, unix(entry.start, self.utc_offset(entry.ring)), self.site, entry.twin)
    }

    fn utc_offset(&self, ring: Ring) -> i64 {
        self.rings.get(usize::from(ring)).map_or(0, |ring| ring.utc_offset)
    }

    fn link_fragments(&mut self, index: u32, delta: &Delta) {
        let entry = self.slab.get(index);
        if entry.key.form & FORM_FRAGMENT != 0 {
            if entry.fragment_of == 0 {
                let link = self.links.find(&delta.key, delta.fragment).unwrap_or(0);
                self.slab.get_mut(index).fragment_of = link;
            }
        } else if Entry::starts_fragments(delta) {
            let flow_id = self.flow_id(entry);
            self.links.remember(&delta.key, delta.fragment, flow_id);
            self.slab.get_mut(index).flow_id = flow_id;
        }
    }

    /// Ends the flows whose last possible tick is before `settled`.
    fn expire(&mut self, settled: u64) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.take_before(settled, &mut due);
        self.finished.reserve(due.len());
        for (nth, &index) in due.iter().enumerate() {
            if let Some(soon) = due.get(nth + PREFETCH) {
                self.slab.prefetch(*soon);
            }
            let entry = self.slab.get(index);
            let deadline = entry.deadline_tick(self.idle_nanos);
            if deadline >= settled {
                self.wheel.arm(index, deadline, settled);
            } else {
                let reason = entry.reason(FlowEndReason::IdleTimeout);
                self.remove(index, reason);
            }
        }
        due.clear();
        self.due = due;
    }

    /// Ends the flow that has been without packets longest, as far as a few timers tell.
    fn evict(&mut self) {
        let mut victim = None;
        for _ in 0..EVICTION_TRIES {
            let Some((index, armed)) = self.wheel.earliest() else { break };
            victim = Some(index);
            let deadline = self.slab.get(index).deadline_tick(self.idle_nanos);
            if deadline <= armed {
                break;
            }
            self.wheel.arm(index, deadline, 0);
        }
        if let Some(index) = victim {
            let reason = self.slab.get(index).reason(FlowEndReason::LackOfResources);
            self.statistics.evicted += 1;
            self.remove(index, reason);
        }
    }

    fn remove(&mut self, index: u32, reason: FlowEndReason) {
        // The entry stays where it is until the place is used again, so it can be read while the row is written.
        let slab = std::mem::take(&mut self.slab);
        let entry = slab.get(index);
        self.finish(entry, reason);
        if let Ok(found) = self.index.find_entry(entry.hash, |place| place.index == index) {
            found.remove();
        }
        self.slab = slab;
        self.slab.remove(index);
        self.wheel.disarm(index);
    }
}
