//! The table of one shard: deltas and Marks in, epochs out. What a message leaves to do is a [`Turn`].

use auscult_ebpf::{
    limit::TICK_SHIFT,
    record::{Delta, FORM_FRAGMENT},
};
use hashbrown::HashTable;

use super::{
    ACTIVE_TIMEOUT_MAX_NANOS, BiflowSettings, Epoch, HELD_MAX, IDLE_TIMEOUT_MIN_NANOS, Part, SETTLE_TICKS, Statistics,
    entry::{Boundary, Entry},
    export::{export, row_end, unix},
    fragment::FragmentLinks,
    hold::Hold,
    identity::{KeyHash, flow_id, site_number},
    place::{Place, tag},
    ring::{self, RingClock},
    slab::Slab,
    tick_of,
    tunnel::TunnelPaths,
    turn::{Leaving, PLACES_MAX, Then, Turn},
    wheel::Wheel,
};
use crate::{
    batch::{Message, Ring, RingMark},
    flow::{Flow, FlowEndReason},
    limit::{BATCH_DELTAS, EPOCH_ROWS},
};

/// Deltas whose entries are looked up together, so that the memory accesses overlap.
const LOOKAHEAD: usize = 16;
/// Expiring entries fetched ahead.
const PREFETCH: usize = 4;
/// No entry.
const NONE: u32 = u32::MAX;
/// Timers looked at to find a flow to evict.
const EVICTION_TRIES: usize = 16;

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
    settled: u64,
    era: u32,
    span: u32,
    finished: Vec<Flow>,
    turn: Option<Turn>,
    statistics: Statistics,
}

impl Table {
    /// An empty table.
    pub fn new(settings: BiflowSettings) -> Self {
        let idle_nanos = settings.idle_timeout_nanos.max(IDLE_TIMEOUT_MIN_NANOS);
        let clock = RingClock { mark: None, utc_offset: 0, open: true };
        Self {
            idle_nanos,
            active_ticks: settings.active_timeout_nanos.min(ACTIVE_TIMEOUT_MAX_NANOS).div_ceil(1 << TICK_SHIFT).max(1),
            max_flows: settings.max_flows.clamp(1, PLACES_MAX) as usize,
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
            settled: 0,
            era: 0,
            span: 0,
            finished: Vec::new(),
            turn: None,
            statistics: Statistics::default(),
        }
    }

    /// Takes what capture sends; an epoch, or its first part, when there is one. [`Self::more`] gives the others.
    pub fn message(&mut self, message: &Message) -> Option<Epoch> {
        match message {
            Message::Deltas { ring, deltas } => self.deltas(*ring, deltas),
            Message::TunnelPath(path) => {
                self.paths.learn(path);
                None
            }
            Message::Mark(mark) => self.mark(*mark),
            Message::Span => self.end_span(),
            Message::ClockStep => self.clock_step(),
            Message::Close { ring } => self.close(*ring),
        }
    }

    /// Takes deltas of one ring, in ring order; rows when more are finished than can wait.
    pub fn deltas(&mut self, ring: Ring, deltas: &[Delta]) -> Option<Epoch> {
        let Some(hold) = &mut self.hold else {
            let early = (self.finished.len() + deltas.len() > EPOCH_ROWS).then(|| self.early());
            self.absorb(deltas.iter().map(|delta| (ring, delta)));
            return early;
        };
        for delta in deltas {
            hold.push(ring, delta);
        }
        if hold.len() <= HELD_MAX {
            return None;
        }
        self.begin(u64::MAX, Then::Hurry)
    }

    /// Takes a Mark; an epoch when it advances the watermark. A ring that is unknown or closed is ignored.
    pub fn mark(&mut self, mark: RingMark) -> Option<Epoch> {
        let ring = self.rings.get_mut(usize::from(mark.ring)).filter(|ring| ring.open)?;
        ring.mark = ring.mark.max(Some(mark.at));
        ring.utc_offset = mark.utc_offset;
        self.advance()
    }

    /// Ends a span of deltas without a Mark: of a single ring, what is finished by now is an epoch.
    pub fn end_span(&mut self) -> Option<Epoch> {
        if self.hold.is_some() {
            return None;
        }
        self.span += 1;
        let rows = std::mem::take(&mut self.finished);
        Some(Epoch { span: self.span, ..self.part(rows, Part::Last, self.watermark.unwrap_or(0), self.settled) })
    }

    /// Ends a ring. When it was the last, all flows end (`forced_end`) and the last epoch is given; before, the watermark no longer
    /// waits for it.
    pub fn close(&mut self, ring: Ring) -> Option<Epoch> {
        self.rings.get_mut(usize::from(ring)).filter(|ring| ring.open)?.open = false;
        if self.rings.iter().any(|ring| ring.open) {
            return self.advance();
        }
        self.end_era(false)
    }

    /// Ends every ring: capture is gone, in order or not.
    pub fn close_all(&mut self) -> Option<Epoch> {
        if ring::close_all(&mut self.rings) { self.end_era(false) } else { None }
    }

    /// The capture's clock stepped back: all flows end (`forced_end`), and the watermark begins anew.
    pub fn clock_step(&mut self) -> Option<Epoch> {
        self.end_era(true)
    }

    fn end_era(&mut self, step: bool) -> Option<Epoch> {
        self.begin(u64::MAX, Then::EndEra { step })
    }

    /// The next rows that the last message finished. To be asked until there are none, and before the next message.
    pub fn more(&mut self) -> Option<Epoch> {
        let mut turn = self.turn.take()?;
        if self.release(&mut turn) {
            self.turn = Some(turn);
            return Some(self.early());
        }
        match turn.then {
            Then::Hurry => None,
            Then::Advance { watermark, settled } => {
                let due = self.due(settled);
                self.leave(due, Leaving::idle(watermark, settled << TICK_SHIFT))
            }
            Then::EndEra { step } => {
                let due = self.slab.live_indexes().collect();
                self.leave(due, Leaving::forced(self.watermark.unwrap_or(self.settled), step))
            }
            Then::Leave(leaving) => self.next_part(leaving),
        }
    }

    fn begin(&mut self, limit: u64, then: Then) -> Option<Epoch> {
        self.turn = Some(Turn::new(limit, then));
        self.more()
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
            + self.turn.as_ref().map_or(0, Turn::memory_bytes)
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
        self.begin(settled, Then::Advance { watermark, settled })
    }

    fn part(&self, rows: Vec<Flow>, part: Part, watermark: u64, settled: u64) -> Epoch {
        let utc_offset = self.rings.first().map_or(0, |ring| ring.utc_offset);
        Epoch { rows, part, era: self.era, watermark, span: 0, settled: unix(settled, utc_offset) }
    }

    /// What is finished by now, ahead of its epoch.
    fn early(&mut self) -> Epoch {
        let rows = std::mem::take(&mut self.finished);
        self.part(rows, Part::Early, self.watermark.unwrap_or(0), self.settled)
    }

    /// Merges waiting deltas of the turn's ticks, oldest tick first; whether it stopped because more rows are finished than can wait.
    fn release(&mut self, turn: &mut Turn) -> bool {
        loop {
            while turn.left() > 0 {
                if self.finished.len() + turn.left().min(BATCH_DELTAS) > EPOCH_ROWS {
                    return true;
                }
                self.absorb(turn.next_deltas(BATCH_DELTAS));
                turn.done(BATCH_DELTAS);
            }
            let Some(hold) = &mut self.hold else { return false };
            let hurries = matches!(turn.then, Then::Hurry);
            if hurries && hold.len() <= HELD_MAX {
                return false;
            }
            let Some(deltas) = hold.pop_before(turn.limit) else { return false };
            self.statistics.hurried += if hurries { deltas.len() as u64 } else { 0 };
            turn.take(deltas);
        }
    }

    /// Ends the flows `due`: at once when all rows fit one epoch, else part by part in order of their rows.
    fn leave(&mut self, due: Vec<u32>, mut leaving: Leaving) -> Option<Epoch> {
        if self.finished.len() + due.len() > EPOCH_ROWS {
            let finished = std::mem::take(&mut self.finished);
            let key = |index: u32| {
                let entry = self.slab.get(index);
                ((row_end(entry, self.utc_offset(entry.ring)), self.flow_id(entry), entry.segment), index)
            };
            leaving.fill(due.into_iter().map(key), finished);
            return self.next_part(leaving);
        }
        self.finished.reserve(due.len());
        for (nth, &index) in due.iter().enumerate() {
            if let Some(soon) = due.get(nth + PREFETCH) {
                self.slab.prefetch(*soon);
            }
            self.remove(index, leaving.reason);
        }
        self.due = due;
        self.end_epoch(&leaving)
    }

    fn next_part(&mut self, mut leaving: Leaving) -> Option<Epoch> {
        self.finished.reserve(EPOCH_ROWS);
        while self.finished.len() < EPOCH_ROWS {
            match leaving.pop() {
                Some(Ok(row)) => self.finished.push(row),
                Some(Err(index)) => self.remove(index, leaving.reason),
                None => return self.end_epoch(&leaving),
            }
        }
        if leaving.is_empty() {
            return self.end_epoch(&leaving);
        }
        let rows = std::mem::take(&mut self.finished);
        let part = self.part(rows, Part::Next, leaving.watermark, leaving.settled);
        self.turn = Some(Turn::new(0, Then::Leave(leaving)));
        Some(part)
    }

    /// The last rows of an epoch.
    fn end_epoch(&mut self, leaving: &Leaving) -> Option<Epoch> {
        self.settled = leaving.settled;
        self.span = 0;
        let rows = std::mem::take(&mut self.finished);
        let epoch = self.part(rows, Part::Last, leaving.watermark, self.settled);
        if let Some(step) = leaving.ends_era {
            self.clear();
            if step {
                self.era += 1;
                self.watermark = None;
                self.settled = 0;
                self.rings.iter_mut().for_each(|ring| ring.mark = None);
            }
        }
        Some(epoch)
    }

    fn clear(&mut self) {
        self.slab.clear();
        self.index.clear();
        self.wheel.clear();
        self.links.clear();
        self.due = Vec::new();
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
        let entry = Entry::new(ring, delta, 0);
        let deadline = entry.deadline_tick(self.idle_nanos);
        let index = self.slab.insert(entry);
        let (slab, hasher) = (&self.slab, &self.hash);
        self.index.insert_unique(hash, Place { tag: tag(hash), index }, |place| hasher.of(&slab.get(place.index).key));
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
                let entry = Entry::new(ring, delta, twin);
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
        let mut fragment_of = entry.fragment_of();
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
            if entry.fragment_of() == 0 {
                let link = self.links.find(&delta.key, delta.fragment).unwrap_or(0);
                self.slab.get_mut(index).link_to(link);
            }
        } else if Entry::starts_fragments(delta) {
            let flow_id = self.flow_id(entry);
            self.links.remember(&delta.key, delta.fragment, flow_id);
            self.slab.get_mut(index).flow_id = flow_id;
        }
    }

    /// The flows whose last possible tick is before `settled`.
    fn due(&mut self, settled: u64) -> Vec<u32> {
        let mut due = std::mem::take(&mut self.due);
        due.clear();
        self.wheel.take_before(settled, &mut due);
        let mut kept = 0;
        for nth in 0..due.len() {
            if let Some(soon) = due.get(nth + PREFETCH) {
                self.slab.prefetch(*soon);
            }
            let index = due[nth];
            let deadline = self.slab.get(index).deadline_tick(self.idle_nanos);
            if deadline >= settled {
                self.wheel.arm(index, deadline, settled);
            } else {
                due[kept] = index;
                kept += 1;
            }
        }
        due.truncate(kept);
        due
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
            self.statistics.evicted += 1;
            self.remove(index, FlowEndReason::LackOfResources);
        }
    }

    /// Ends a flow for a reason, unless it has ended by itself.
    fn remove(&mut self, index: u32, other: FlowEndReason) {
        // The entry stays where it is until the place is used again, so it can be read while the row is written.
        let slab = std::mem::take(&mut self.slab);
        let entry = slab.get(index);
        self.finish(entry, entry.reason(other));
        if let Ok(found) = self.index.find_entry(self.hash.of(&entry.key), |place| place.index == index) {
            found.remove();
        }
        self.slab = slab;
        self.slab.remove(index);
        self.wheel.disarm(index);
    }
}
