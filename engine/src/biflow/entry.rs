//! One live biflow: both directions, what belongs to the pair, and where one flow or segment ends and the next begins.

use auscult_ebpf::{
    limit::{FIRST_PACKETS, TICK_SHIFT},
    record::{
        DELTA_CONTINUES, DELTA_OPENS, Delta, FORM_FRAGMENT, FORM_PORTLESS, FRAGMENT_FIRST, FlowKey, SEEN_SYN, SEEN_SYN_ACK,
    },
};

use super::{
    LINGER_TICKS,
    community_id::Ports,
    compact::Nanos48,
    side::{HAS_SYN, SYN_IS_ACK, SideState},
    sidedness, tick_of,
};
use crate::{
    batch::Ring,
    flow::{FlowEndReason, InitiatorBy},
};

/// The entry is in use.
pub(super) const LIVE: u8 = 1;
/// FIN was seen in direction 0 (shift by the direction).
const FIN: u8 = 2;
/// RST was seen.
const RST: u8 = 8;
/// `opened_at` is known.
const OPENED: u8 = 16;
/// The direction that sent the earliest SYN.
const OPENED_BY: u8 = 32;

/// What ends before a delta can be merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Boundary {
    /// Nothing.
    None,
    /// The segment; the flow goes on in the next one.
    Segment,
    /// The flow.
    Flow(FlowEndReason),
}

/// See the module text. Times are observation clock, ns.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: FlowKey,
    /// First packet of the biflow.
    pub(super) start: u64,
    /// Last packet of either direction.
    pub(super) last: u64,
    segment_tick: u64,
    /// Earliest SYN without ACK of a TCP flow; of a flow of fragments, the flow that these belong to (zero: unknown).
    opened_at_or_fragment_of: u64,
    /// Zero until it is fixed by the first row or link.
    pub(super) flow_id: u64,
    pub(super) segment: u32,
    /// IP identification of the newest fragment.
    pub(super) fragment: u32,
    /// Ring of the first delta.
    pub(super) ring: Ring,
    /// How many flows of this key began at the same time before this one.
    pub(super) twin: u16,
    pub(super) flags: u8,
    pub(super) stop: u8,
    /// What earlier segments showed of the two directions: bits of `sidedness.rs`.
    pub(super) shown: u8,
    /// Initiator fixed by an earlier segment.
    initiator: Option<(u8, InitiatorBy)>,
    pub(super) first_direction: u8,
    pub(super) first_count: u8,
    /// From the start of `segment_tick`.
    first_at: [Nanos48; FIRST_PACKETS],
    pub(super) first_size: [u16; FIRST_PACKETS],
    pub(super) side: [SideState; 2],
}

impl Entry {
    /// A flow that begins with `delta`, which is still to be merged.
    pub(super) fn new(ring: Ring, delta: &Delta, twin: u16) -> Self {
        Self {
            key: delta.key,
            start: delta.base,
            last: delta.base,
            segment_tick: tick_of(delta.base),
            opened_at_or_fragment_of: 0,
            flow_id: 0,
            segment: 0,
            fragment: 0,
            ring,
            twin,
            flags: LIVE,
            stop: 0,
            shown: 0,
            initiator: None,
            first_direction: 0,
            first_count: 0,
            first_at: [Nanos48::default(); FIRST_PACKETS],
            first_size: [0; FIRST_PACKETS],
            side: [SideState::default(); 2],
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.flags & LIVE != 0
    }

    /// FIN in both directions or RST was seen.
    pub(super) fn is_closing(&self) -> bool {
        self.flags & RST != 0 || self.flags & (FIN | FIN << 1) == FIN | FIN << 1
    }

    /// The transport header of a TCP flow was readable.
    pub(super) fn is_tcp(&self) -> bool {
        self.key.protocol == 6 && self.key.form & (FORM_FRAGMENT | FORM_PORTLESS) == 0
    }

    /// Last tick in which the flow can still be added to.
    pub(super) fn deadline_tick(&self, idle_nanos: u64) -> u64 {
        tick_of(self.last.saturating_add(self.patience(idle_nanos)))
    }

    fn patience(&self, idle_nanos: u64) -> u64 {
        if self.is_closing() { LINGER_TICKS << TICK_SHIFT } else { idle_nanos }
    }

    /// The reason for which the flow ends when something else than its own end does it.
    pub(super) fn reason(&self, other: FlowEndReason) -> FlowEndReason {
        if self.is_closing() { FlowEndReason::EndOfFlowDetected } else { other }
    }

    /// What ends before `delta`.
    #[inline]
    pub(super) fn boundary(&self, delta: &Delta, idle_nanos: u64, active_ticks: u64) -> Boundary {
        if delta.base.saturating_sub(self.last) > self.patience(idle_nanos) {
            return Boundary::Flow(self.reason(FlowEndReason::IdleTimeout));
        }
        if delta.flags & DELTA_OPENS != 0 && self.flags & (FIN | FIN << 1 | RST) != 0 {
            return Boundary::Flow(FlowEndReason::EndOfFlowDetected);
        }
        if tick_of(delta.base) >= self.segment_tick.saturating_add(active_ticks) {
            return Boundary::Segment;
        }
        Boundary::None
    }

    /// Begins the next segment at `delta`. The id and the initiator are those of the segment that was written.
    pub(super) fn next_segment(&mut self, delta: &Delta, flow_id: u64) {
        self.flow_id = flow_id;
        self.initiator = Some(self.initiator());
        self.shown = sidedness::shown(self);
        self.segment += 1;
        self.segment_tick = tick_of(delta.base);
        self.stop = 0;
        self.first_count = 0;
        self.side = self.side.map(|side| side.next_segment());
    }

    /// Adds a delta.
    #[inline]
    pub(super) fn merge(&mut self, ring: Ring, delta: &Delta) {
        let mut last = 0;
        for d in 0..2 {
            if delta.header.packets[d] > 0 {
                self.side[d].merge(ring, delta, d);
                last = last.max(delta.side[d].volume.last).max(delta.side[d].volume.first);
            } else if delta.flags & DELTA_CONTINUES == 0 {
                self.side[d].sequence.restart(ring);
            }
        }
        self.start = if self.segment == 0 { self.start.min(delta.base) } else { self.start };
        self.last = self.last.max(delta.base.saturating_add(last.into()));
        self.stop = self.stop.max(delta.stop);
        self.merge_first_packets(delta);
        if self.is_tcp() {
            self.merge_ends(delta);
        }
        if (delta.side[0].stack.fragments | delta.side[1].stack.fragments) != 0 {
            self.fragment = delta.fragment;
        }
    }

    /// The flow that fragments belong to; zero: not fragments, or unknown.
    pub(super) fn fragment_of(&self) -> u64 {
        if self.key.form & FORM_FRAGMENT != 0 { self.opened_at_or_fragment_of } else { 0 }
    }

    /// Links a flow of fragments.
    pub(super) fn link_to(&mut self, flow_id: u64) {
        if self.key.form & FORM_FRAGMENT != 0 {
            self.opened_at_or_fragment_of = flow_id;
        }
    }

    /// Time of the `i`-th of the first packets.
    pub(super) fn first_at(&self, i: usize) -> u64 {
        self.first_at[i].after_origin(self.segment_tick << TICK_SHIFT)
    }

    /// Whether `delta` carries the first fragment of a datagram.
    pub(super) fn starts_fragments(delta: &Delta) -> bool {
        (delta.side[0].stack.fragments | delta.side[1].stack.fragments) & FRAGMENT_FIRST != 0
    }

    fn merge_ends(&mut self, delta: &Delta) {
        for (d, stack) in delta.side.iter().map(|side| &side.stack).enumerate() {
            if stack.fin > 0 {
                self.flags |= FIN << d;
            }
            if stack.rst > 0 {
                self.flags |= RST;
            }
            if stack.syn > 0 && stack.seen & (SEEN_SYN | SEEN_SYN_ACK) == SEEN_SYN {
                let at = delta.base.saturating_add(stack.syn_at.into());
                // Of SYNs of one time that of direction 0 counts, whatever came first.
                let earlier = (at, d == 1) < (self.opened_at_or_fragment_of, self.flags & OPENED_BY != 0);
                if self.flags & OPENED == 0 || earlier {
                    self.opened_at_or_fragment_of = at;
                    self.flags = self.flags & !OPENED_BY | OPENED | if d == 1 { OPENED_BY } else { 0 };
                }
            }
        }
    }

    /// Keeps the earliest first packets; of equal times the one that came first. (Each run carries its own first packets, so the
    /// union over all deltas holds those of the flow.) Only the first segment has them.
    fn merge_first_packets(&mut self, delta: &Delta) {
        if self.segment > 0 {
            return;
        }
        for i in usize::from(delta.first_sent)..usize::from(delta.first_count).min(FIRST_PACKETS) {
            let at = delta.base.saturating_add(delta.first_at[i].into());
            let at = Nanos48::offset(at, self.segment_tick << TICK_SHIFT);
            let not_after = |other: &Nanos48| other.get() <= at.get();
            let count = usize::from(self.first_count);
            let in_order = self.first_at[..count].last().is_none_or(not_after);
            let place = if in_order { count } else { self.first_at[..count].partition_point(not_after) };
            if place == FIRST_PACKETS {
                return;
            }
            if in_order {
                (self.first_at[place], self.first_size[place]) = (at, delta.first_size[i]);
                self.first_direction = self.first_direction & !(1 << place) | (delta.first_direction >> i & 1) << place;
                self.first_count += 1;
                continue;
            }
            let end = count.min(FIRST_PACKETS - 1);
            self.first_at.copy_within(place..end, place + 1);
            self.first_size.copy_within(place..end, place + 1);
            self.first_at[place] = at;
            self.first_size[place] = delta.first_size[i];
            let below = self.first_direction & ((1 << place) - 1);
            let above = (self.first_direction >> place << place) << 1;
            self.first_direction = below | above | (delta.first_direction >> i & 1) << place;
            self.first_count = (count + 1).min(FIRST_PACKETS) as u8;
        }
    }

    /// Direction index of the initiator, and how it was found.
    pub(super) fn initiator(&self) -> (u8, InitiatorBy) {
        if let Some(known) = self.initiator {
            return known;
        }
        if self.flags & OPENED != 0 {
            return (u8::from(self.flags & OPENED_BY != 0), InitiatorBy::Syn);
        }
        let [low, high] = &self.side;
        match [low, high].map(|side| side.is(HAS_SYN | SYN_IS_ACK)) {
            [true, true] => return (u8::from(low.syn_at < high.syn_at), InitiatorBy::SynAck),
            [true, false] => return (1, InitiatorBy::SynAck),
            [false, true] => return (0, InitiatorBy::SynAck),
            [false, false] => {}
        }
        match (low.packets > 0, high.packets > 0) {
            (true, true) if low.first == high.first => {
                let ports = if Ports::of(&self.key) == Ports::Transport { self.key.port } else { [0, 0] };
                (u8::from((ports[1], self.key.address[1]) > (ports[0], self.key.address[0])), InitiatorBy::Tie)
            }
            (true, true) => (u8::from(high.first < low.first), InitiatorBy::FirstPacket),
            (low, _) => (u8::from(!low), InitiatorBy::FirstPacket),
        }
    }
}

/// With its place in the index and its timer (some 32 bytes), a flow has at most 700 bytes.
const _: () = assert!(size_of::<Entry>() <= 664);
