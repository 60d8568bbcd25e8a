//! One direction of a live flow: what the deltas have added up so far.

use auscult_ebpf::{
    limit::SIZE_BINS,
    record::{DELTA_CONTINUES, DELTA_HAS_MACS, Delta, Link, SEEN_ACK, SEEN_SYN, SEEN_SYN_ACK, Stack, Volume},
};

use super::{
    compact::{Nanos48, Sum96},
    sequence::{Piece, Sequence},
    tick_of,
};
use crate::batch::Ring;

/// Times of two deltas of this direction overlap.
pub(super) const SPLIT: u8 = 1;
/// `link` holds MACs.
pub(super) const HAS_MACS: u8 = 2;
/// `syn_at` and what the SYN said are known.
pub(super) const HAS_SYN: u8 = 4;
/// The first SYN was a SYN/ACK.
pub(super) const SYN_IS_ACK: u8 = 8;
/// `ack_at` is known.
pub(super) const HAS_ACK: u8 = 16;

/// Sums of one direction over one segment; meaningless but zero sums while `packets` is zero. Times are observation clock, ns.
#[derive(Clone, Copy, Default)]
pub(super) struct SideState {
    pub(super) packets: u64,
    pub(super) octets: u64,
    pub(super) layer2_octets: u64,
    pub(super) payload_octets: u64,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) octets_squared: Sum96,
    pub(super) interval_squared: Sum96,
    pub(super) interval_min: Nanos48,
    pub(super) interval_max: Nanos48,
    pub(super) histogram: [u32; SIZE_BINS],
    pub(super) size_min: u16,
    pub(super) size_max: u16,
    pub(super) ttl_min: u8,
    pub(super) ttl_max: u8,
    pub(super) class_first: u8,
    pub(super) class_union: u8,
    pub(super) link: Link,
    pub(super) observation_point: u32,
    /// Reference of a tunnel path; zero: none.
    pub(super) tunnels: u64,
    pub(super) tag_count: u8,
    pub(super) control_bits: u8,
    pub(super) scale: u8,
    /// Bits of this module.
    pub(super) flags: u8,
    pub(super) syn: u32,
    pub(super) fin: u32,
    pub(super) rst: u32,
    pub(super) zero_windows: u32,
    pub(super) syn_at: u64,
    /// First segment with ACK and without SYN.
    pub(super) ack_at: u64,
    pub(super) options: u64,
    pub(super) window: u16,
    pub(super) mss: u16,
    pub(super) sequence: Sequence,
}

impl SideState {
    /// What the next segment of the flow begins with.
    pub(super) fn next_segment(&self) -> Self {
        Self { sequence: self.sequence.next_segment(), ..Self::default() }
    }

    pub(super) fn is(&self, bits: u8) -> bool {
        self.flags & bits == bits
    }

    /// Adds direction `d` of a delta, which has packets in it.
    #[inline]
    // MERGE-1: the functions below and `sequence.rs` hold one rule for every field of a delta.
    pub(super) fn merge(&mut self, ring: Ring, delta: &Delta, d: usize) {
        let (volume, stack) = (&delta.side[d].volume, &delta.side[d].stack);
        let packets = delta.header.packets[d];
        let in_order = self.merge_times(delta, d);
        self.merge_sums(volume);
        let new = self.packets == 0;
        self.packets += u64::from(packets);
        self.size_min = if new { volume.size_min } else { self.size_min.min(volume.size_min) };
        self.size_max = self.size_max.max(volume.size_max);
        self.ttl_min = if new { stack.ttl_min } else { self.ttl_min.min(stack.ttl_min) };
        self.ttl_max = self.ttl_max.max(stack.ttl_max);
        self.class_union |= stack.class_union;
        self.control_bits |= stack.control_bits;
        if delta.key.protocol == 6 {
            self.merge_tcp(delta.base, stack);
            self.sequence.merge(&Piece {
                stack,
                ring,
                continues: delta.flags & DELTA_CONTINUES != 0,
                tick: tick_of(delta.base) as u32,
                in_order,
                occupies: volume.payload_octets > 0 || stack.syn > 0 || stack.fin > 0,
            });
        }
    }

    /// Joins the delta's span of time to the one covered so far; whether it lies at or behind its end.
    fn merge_times(&mut self, delta: &Delta, d: usize) -> bool {
        let volume = &delta.side[d].volume;
        // A record that contradicts itself may count wrong, but nothing here may overflow by it.
        let first = delta.base.saturating_add(volume.first.into());
        let last = delta.base.saturating_add(volume.last.max(volume.first).into());
        if delta.header.packets[d] > 1 {
            let known = self.packets > 1;
            self.interval_extremes(volume.interval_min.into(), volume.interval_max.into(), known);
            self.interval_squared.add(volume.interval_squared.into());
        }
        if self.packets == 0 {
            (self.first, self.last) = (first, last);
            self.take_first(delta, d);
            return true;
        }
        let known = self.packets > 1 || delta.header.packets[d] > 1;
        if first >= self.last {
            self.border(first - self.last, known);
            self.last = last;
            return true;
        }
        if last <= self.first {
            self.border(self.first - last, known);
        } else {
            self.flags |= SPLIT;
        }
        self.last = self.last.max(last);
        if first < self.first {
            self.first = first;
            self.take_first(delta, d);
        }
        false
    }

    /// The interval between two deltas.
    fn border(&mut self, interval: u64, known: bool) {
        self.interval_extremes(interval, interval, known);
        self.interval_squared.add(u128::from(interval) * u128::from(interval));
    }

    fn interval_extremes(&mut self, min: u64, max: u64, known: bool) {
        self.interval_min = Nanos48::new(if known { self.interval_min.get().min(min) } else { min });
        self.interval_max = Nanos48::new(if known { self.interval_max.get().max(max) } else { max });
    }

    /// What only the first packet of the direction says.
    fn take_first(&mut self, delta: &Delta, d: usize) {
        self.class_first = delta.side[d].stack.class_first;
        self.link = delta.side[d].link;
        self.tag_count = delta.tag_counts >> (4 * d) & 15;
        self.observation_point = delta.observation_points[d];
        self.tunnels = delta.tunnels[d];
        self.flags &= !HAS_MACS;
        if delta.flags & DELTA_HAS_MACS != 0 {
            self.flags |= HAS_MACS;
        }
    }

    fn merge_sums(&mut self, volume: &Volume) {
        self.octets += u64::from(volume.octets);
        self.layer2_octets += u64::from(volume.layer2_octets);
        self.payload_octets += u64::from(volume.payload_octets);
        self.octets_squared.add(volume.octets_squared.into());
        for (sum, part) in self.histogram.iter_mut().zip(volume.histogram) {
            *sum += u32::from(part);
        }
    }

    fn merge_tcp(&mut self, base: u64, stack: &Stack) {
        self.syn += u32::from(stack.syn);
        self.fin += u32::from(stack.fin);
        self.rst += u32::from(stack.rst);
        self.zero_windows += u32::from(stack.zero_windows);
        if stack.seen & SEEN_SYN != 0 && stack.syn > 0 {
            let at = base.saturating_add(stack.syn_at.into());
            if !self.is(HAS_SYN) || at < self.syn_at {
                self.flags = self.flags & !SYN_IS_ACK | HAS_SYN;
                if stack.seen & SEEN_SYN_ACK != 0 {
                    self.flags |= SYN_IS_ACK;
                }
                self.syn_at = at;
                (self.window, self.mss, self.scale, self.options) = (stack.window, stack.mss, stack.scale, stack.options);
            }
        }
        if stack.seen & SEEN_ACK != 0 {
            let at = base.saturating_add(stack.ack_at.into());
            self.ack_at = if self.is(HAS_ACK) { self.ack_at.min(at) } else { at };
            self.flags |= HAS_ACK;
        }
    }
}
