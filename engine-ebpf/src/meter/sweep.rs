//! The sweep: what lies in slots leaves them even when no packet comes.

use super::{Sink, hand_over, tick};
use crate::record::{Counters, Delta};

/// Hands a slot over if its delta began in an earlier tick than `at`, or in any case with `flush`. The slot keeps its key and its
/// run; the next packet restarts it.
#[inline(always)]
pub fn sweep_slot<K: Sink>(slot: &mut Delta, at: u64, flush: bool, counters: &mut Counters, sink: &mut K) {
    if !slot.dirty() || !(flush || tick(slot.base) != tick(at)) {
        return;
    }
    if hand_over(slot, counters, sink).is_err() {
        // The run has a hole now: the next packet of the flow starts a fresh one.
        slot.header.abi = 0;
    }
    slot.header.packets = [0, 0];
}

/// Packets and frame octets that a slot holds.
#[inline(always)]
pub fn resident(slot: &Delta) -> (u64, u64) {
    if !slot.dirty() {
        return (0, 0);
    }
    let [forward, back] = slot.header.packets;
    (
        u64::from(forward) + u64::from(back),
        u64::from(slot.side[0].volume.layer2_octets) + u64::from(slot.side[1].volume.layer2_octets),
    )
}
