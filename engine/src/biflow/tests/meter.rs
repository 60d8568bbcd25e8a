//! A meter for tests: packets of one ring to deltas, cut as the meter promises and wherever the dice say.

use std::collections::BTreeMap;

use auscult_ebpf::{
    limit::FIRST_PACKETS,
    meter::size_bin,
    record::{
        DELTA_CONTINUES, DELTA_HAS_MACS, DELTA_ONLY_SYN, DELTA_OPENS, Delta, FlowKey, SEEN_ACK, SEEN_GAP, SEEN_LOW,
        SEEN_SEQUENCE, SEEN_SYN, SEEN_SYN_ACK, Stack,
    },
};

use super::{
    super::{LINGER_TICKS, tick_of},
    scene::{ACK, Dice, FIN, Packet, RST, SECOND, SYN, Scene, Spread},
};

/// What a tracker makes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    New,
    Repeat,
    FillsGap,
}

/// Sequence state of one direction: the highest end and the newest gap.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracker {
    pub next: Option<u32>,
    pub gap: Option<(u32, u32)>,
}

impl Tracker {
    pub fn segment(&mut self, start: u32, length: u32) -> Verdict {
        let end = start.wrapping_add(length);
        let Some(next) = self.next else {
            self.next = Some(end);
            return Verdict::New;
        };
        let ahead = start.wrapping_sub(next) as i32;
        if ahead >= 0 {
            if ahead > 0 {
                self.gap = Some((next, start));
            }
            self.next = Some(end);
            return Verdict::New;
        }
        if (end.wrapping_sub(next) as i32) > 0 {
            self.next = Some(end);
        }
        match self.gap {
            Some((from, to)) if (start.wrapping_sub(from) as i32) >= 0 && (to.wrapping_sub(end) as i32) >= 0 => {
                self.gap = if start == from { (end != to).then_some((end, to)) } else { Some((from, start)) };
                Verdict::FillsGap
            }
            _ => Verdict::Repeat,
        }
    }
}

#[derive(Clone, Default)]
struct Slot {
    delta: Delta,
    filled: bool,
    tracker: [Tracker; 2],
    last: [u64; 2],
    /// All packets of the run are SYNs without ACK, FIN and RST.
    only_syn: bool,
    tick: u64,
}

/// What a ring holds.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are deltas")]
pub enum Record {
    Delta(Delta),
    Mark(u64),
}

/// One ring's meter.
#[derive(Default)]
pub struct Meter {
    slots: BTreeMap<FlowKey, Slot>,
    pub ring: Vec<Record>,
}

impl Meter {
    fn emit(&mut self, key: &FlowKey, keep: bool) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if std::mem::take(&mut slot.filled) {
            self.ring.push(Record::Delta(slot.delta));
        }
        if !keep {
            self.slots.remove(key);
        }
    }

    pub fn packet(&mut self, key: FlowKey, packet: &Packet, evict: bool) {
        let tick = tick_of(packet.at);
        if let Some(slot) = self.slots.get(&key) {
            let stale = tick - slot.tick >= LINGER_TICKS;
            let reopened = packet.opens() && !slot.only_syn;
            if evict || stale || reopened {
                self.emit(&key, false);
            } else if tick != slot.tick {
                self.emit(&key, true);
            }
        }
        let fresh = !self.slots.contains_key(&key);
        let slot = self.slots.entry(key).or_insert_with(|| Slot { only_syn: true, ..Slot::default() });
        slot.only_syn &= packet.opens();
        slot.tick = tick;
        if !slot.filled {
            slot.begin(key, packet, fresh);
        }
        slot.add(packet);
    }

    /// Emits all slots of earlier ticks.
    pub fn sweep(&mut self, at: u64) {
        let stale: Vec<_> = self.slots.iter().filter(|(_, slot)| slot.tick < tick_of(at)).map(|(key, _)| *key).collect();
        for key in stale {
            self.emit(&key, true);
        }
    }

    pub fn flush(&mut self) {
        let keys: Vec<_> = self.slots.keys().copied().collect();
        for key in keys {
            self.emit(&key, false);
        }
    }
}

impl Slot {
    fn begin(&mut self, key: FlowKey, packet: &Packet, fresh: bool) {
        let old = self.delta;
        self.filled = true;
        self.delta = Delta { key, base: packet.at, observation_points: [packet.ring.into(); 2], ..Delta::default() };
        let delta = &mut self.delta;
        delta.flags = DELTA_HAS_MACS | DELTA_ONLY_SYN;
        if packet.opens() {
            delta.flags |= DELTA_OPENS;
        }
        if !fresh {
            delta.flags |= DELTA_CONTINUES;
            // Stale entries stay where they are.
            (delta.first_at, delta.first_size, delta.first_direction) = (old.first_at, old.first_size, old.first_direction);
            (delta.first_count, delta.first_sent) = (old.first_count, old.first_count);
        }
    }

    fn add(&mut self, packet: &Packet) {
        let delta = &mut self.delta;
        let d = packet.direction;
        let at = (packet.at - delta.base) as u32;
        delta.stop = delta.stop.max(packet.stop);
        if usize::from(delta.first_count) < FIRST_PACKETS {
            let i = usize::from(delta.first_count);
            (delta.first_at[i], delta.first_size[i]) = (at, packet.octets);
            delta.first_direction = delta.first_direction & !(1 << i) | (d as u8) << i;
            delta.first_count += 1;
        }
        let (volume, stack) = (&mut delta.side[d].volume, &mut delta.side[d].stack);
        if delta.header.packets[d] == 0 {
            (volume.first, volume.size_min, stack.ttl_min) = (at, packet.octets, packet.ttl);
            stack.class_first = packet.class;
            delta.side[d].link = packet.link;
            delta.tag_counts |= packet.tags << (4 * d);
        } else {
            let interval = packet.at - self.last[d];
            let first = delta.header.packets[d] == 1;
            volume.interval_min = if first { interval as u32 } else { volume.interval_min.min(interval as u32) };
            volume.interval_max = volume.interval_max.max(interval as u32);
            volume.interval_squared += interval * interval;
        }
        self.last[d] = packet.at;
        delta.header.packets[d] += 1;
        volume.last = at;
        volume.octets += u32::from(packet.octets);
        volume.octets_squared += u64::from(packet.octets).pow(2);
        volume.layer2_octets += packet.layer2_octets();
        volume.payload_octets += u32::from(packet.payload);
        volume.size_min = volume.size_min.min(packet.octets);
        volume.size_max = volume.size_max.max(packet.octets);
        volume.histogram[size_bin(packet.octets)] += 1;
        stack.ttl_min = stack.ttl_min.min(packet.ttl);
        stack.ttl_max = stack.ttl_max.max(packet.ttl);
        stack.class_union |= packet.class;
        if !packet.opens() {
            delta.flags &= !DELTA_ONLY_SYN;
        }
        if delta.key.protocol == 6 {
            add_tcp(stack, &mut self.tracker[d], packet, at);
        }
    }
}

fn add_tcp(stack: &mut Stack, tracker: &mut Tracker, packet: &Packet, at: u32) {
    let bits = packet.bits;
    stack.control_bits |= bits;
    if bits & SYN != 0 {
        if stack.syn == 0 {
            stack.seen |= SEEN_SYN | if bits & ACK != 0 { SEEN_SYN_ACK } else { 0 };
            (stack.syn_at, stack.window, stack.options) = (at, packet.window, packet.options);
            (stack.mss, stack.scale) = ((packet.options % 3) as u16, (packet.options % 5) as u8);
        }
        stack.syn += 1;
    } else if bits & ACK != 0 && stack.seen & SEEN_ACK == 0 {
        stack.seen |= SEEN_ACK;
        stack.ack_at = at;
    }
    stack.fin += u16::from(bits & FIN != 0);
    stack.rst += u16::from(bits & RST != 0);
    stack.zero_windows += u16::from(packet.window == 0 && bits & RST == 0);
    if packet.length() > 0 {
        let low = if stack.seen & SEEN_LOW == 0 { packet.sequence } else { stack.sequence_low };
        let lower = (packet.sequence.wrapping_sub(low) as i32) < 0;
        stack.sequence_low = if lower { packet.sequence } else { low };
        stack.seen |= SEEN_LOW;
        match tracker.segment(packet.sequence, packet.length()) {
            Verdict::New => {}
            Verdict::Repeat => stack.retransmissions += 1,
            Verdict::FillsGap => stack.out_of_order += 1,
        }
    }
    if let Some(next) = tracker.next {
        stack.seen |= SEEN_SEQUENCE;
        stack.sequence_next = next;
    }
    stack.seen &= !SEEN_GAP;
    if let Some((start, end)) = tracker.gap {
        stack.seen |= SEEN_GAP;
        (stack.gap_start, stack.gap_end) = (start, end);
    }
}

/// All rings of a scene, Marks every second, closed by a Mark `rest` after the last packet.
/// One packet in `evictions` finds its slot taken; zero for never.
pub fn rings(scene: &Scene, spread: Spread, seed: u64, evictions: u64, rest: u64) -> Vec<Vec<Record>> {
    let mut dice = Dice(seed | 1 << 62);
    let mut meters: Vec<Meter> = (0..spread.rings()).map(|_| Meter::default()).collect();
    let mut mark_at = scene.packets.first().map_or(0, |packet| packet.at);
    for packet in &scene.packets {
        while mark_at <= packet.at {
            for meter in &mut meters {
                meter.sweep(mark_at);
                meter.ring.push(Record::Mark(mark_at));
            }
            mark_at += SECOND;
        }
        let evict = evictions > 0 && dice.one_in(evictions);
        if evictions > 0 && dice.one_in(evictions * 2) {
            meters[dice.roll(spread.rings().into()) as usize].sweep(packet.at);
        }
        meters[usize::from(packet.ring)].packet(scene.keys[packet.flow], packet, evict);
    }
    let end = scene.packets.last().map_or(0, |packet| packet.at) + rest;
    for meter in &mut meters {
        meter.flush();
        meter.ring.push(Record::Mark(end));
    }
    meters.into_iter().map(|meter| meter.ring).collect()
}
