//! Adding one packet to its slot.

use super::{ACK, FIN, RST, SYN, Sink, group, size_bin, tick};
use crate::{
    frame::Frame,
    limit::{DELTA_OCTETS_MAX, DELTA_PACKETS_MAX, FIRST_PACKETS, SAMPLE_LARGE, SAMPLE_MEDIUM, SAMPLE_SMALL, TCP_OPTIONS_MAX},
    parse::{LINK_SOURCE, LINK_TARGET, Packet},
    record::{
        ABI, Core, DELTA_CONTINUES, DELTA_FULL, DELTA_HAS_MACS, DELTA_ONLY_SYN, Delta, FlowKey, Header, Kind, SEEN_ACK, SEEN_GAP,
        SEEN_LOW, SEEN_SEQUENCE, SEEN_SYN, SEEN_SYN_ACK, SampleHead, Side, Stack, Volume,
    },
    sample::{CLINICAL_BUDGET, Class, UNOPENED, class_of, opens_clinical, ring_octets},
    settings::{FLAG_SAMPLES, Settings},
};

/// Takes a slot over for a new run of the packet's flow.
#[inline(always)]
pub fn claim(slot: &mut Delta, packet: &Packet, at: u64, cpu: u16) {
    clear::<{ size_of::<Delta>() / 8 }>(core::ptr::from_mut(slot).cast());
    slot.header = Header { kind: Kind::Delta as u8, abi: ABI, cpu, packets: [0, 0] };
    slot.hash = packet.hash;
    slot.key = FlowKey::from_words(packet.key);
    slot.base = at;
    slot.flags = DELTA_ONLY_SYN;
    let class = class_of(packet);
    slot.class = class as u8;
    // TCP gives samples from an observed SYN on: see `tcp`. A flood evicts the slot that saw it, so what a run on a clinical port begins
    // with may still be the beginning.
    if !packet.is_tcp() {
        slot.sample_left = [class.budget(), class.budget()];
    } else if class as u8 == Class::Clinical as u8 {
        slot.sample_left = [UNOPENED, UNOPENED];
    }
}

/// Starts the next delta of a run that was handed over: counts from zero, sequence state and first packets go on.
#[inline(always)]
pub fn restart(slot: &mut Delta, at: u64) {
    slot.base = at;
    restart_side(&mut slot.side[0]);
    restart_side(&mut slot.side[1]);
    slot.first_sent = slot.first_count;
    slot.flags = slot.flags & DELTA_ONLY_SYN | DELTA_CONTINUES;
    slot.tag_counts = 0;
    slot.stop = 0;
    slot.fragment = 0;
    slot.tunnels = [0, 0];
}

#[inline(always)]
fn restart_side(side: &mut Side) {
    clear::<{ size_of::<Volume>() / 8 }>(core::ptr::from_mut(&mut side.volume).cast());
    let stack = &mut side.stack;
    let (next, gap_start, gap_end) = (stack.sequence_next, stack.gap_start, stack.gap_end);
    let seen = stack.seen & (SEEN_SEQUENCE | SEEN_GAP);
    clear::<{ size_of::<Stack>() / 8 }>(core::ptr::from_mut(stack).cast());
    stack.sequence_next = next;
    stack.gap_start = gap_start;
    stack.gap_end = gap_end;
    stack.seen = seen;
}

/// Zeroes `WORDS` words. Volatile, because a `memset` is a call in BPF, byte by byte.
#[inline(always)]
fn clear<const WORDS: usize>(words: *mut u64) {
    let mut i = 0;
    while i < WORDS {
        // SAFETY: the callers pass a pointer to a `repr(C)`, 8-aligned value of at least `WORDS` words that they borrow mutably;
        // all-zero is a value of each.
        unsafe { words.add(i).write_volatile(0) };
        i += 1;
    }
}

/// Adds the packet to a slot that holds its key.
#[inline(always)]
pub fn packet<const GROUPS: u32, F: Frame>(frame: &F, packet: &Packet, way: usize, at: u64, slot: &mut Delta) {
    let since = at.wrapping_sub(slot.base) as u32;
    let size = if packet.octets > 0xffff { u16::MAX } else { packet.octets as u16 };
    let count = slot.header.packets[way];
    slot.header.packets[way] = count + 1;
    if count == 0 {
        first_of_direction::<GROUPS, F>(frame, packet, since, size, slot, way);
    } else {
        another_of_direction::<GROUPS>(packet, since, size, count, &mut slot.side[way]);
    }
    let Side { volume, stack, .. } = &mut slot.side[way];
    volume.last = since;
    volume.octets += packet.octets;
    volume.layer2_octets += packet.layer2_octets;
    volume.payload_octets += packet.payload_octets;
    if GROUPS & group::SIZES != 0 {
        volume.octets_squared += u64::from(packet.octets) * u64::from(packet.octets);
        volume.histogram[size_bin(size)] += 1;
    }
    if GROUPS & group::NETWORK != 0 {
        stack.class_union |= packet.class;
        stack.control_bits |= packet.control_bits;
    }
    if count >= DELTA_PACKETS_MAX - 1 || volume.layer2_octets >= DELTA_OCTETS_MAX {
        slot.flags |= DELTA_FULL;
    }
    if GROUPS & group::FIRST_PACKETS != 0 && slot.first_count < FIRST_PACKETS as u8 {
        let i = slot.first_count as usize & (FIRST_PACKETS - 1);
        slot.first_at[i] = since;
        slot.first_size[i] = size;
        slot.first_direction |= (way as u8) << i;
        slot.first_count += 1;
    }
    if packet.stop | packet.fragments != 0 {
        unusual::<GROUPS>(packet, slot, way);
    }
    if GROUPS & group::TCP != 0 && packet.is_tcp() {
        tcp(frame, packet, since, slot, way);
    }
}

/// Parse stops and fragments.
#[inline(always)]
fn unusual<const GROUPS: u32>(packet: &Packet, slot: &mut Delta, way: usize) {
    if packet.stop > slot.stop {
        slot.stop = packet.stop;
    }
    if GROUPS & group::NETWORK != 0 && packet.fragments != 0 {
        slot.side[way].stack.fragments |= packet.fragments;
        slot.fragment = packet.identification;
    }
}

/// What the first packet of a direction alone tells, and where extremes start.
#[inline(always)]
fn first_of_direction<const GROUPS: u32, F: Frame>(
    frame: &F,
    packet: &Packet,
    since: u32,
    size: u16,
    slot: &mut Delta,
    way: usize,
) {
    slot.observation_points[way] = packet.observation_point;
    let Side { volume, stack, .. } = &mut slot.side[way];
    volume.first = since;
    if GROUPS & group::SIZES != 0 {
        volume.size_min = size;
        volume.size_max = size;
    }
    if GROUPS & group::NETWORK != 0 {
        stack.ttl_min = packet.ttl;
        stack.ttl_max = packet.ttl;
        stack.class_first = packet.class;
    }
    if GROUPS & group::LINK != 0 {
        link(frame, packet, slot, way);
    }
}

/// Extremes and intervals of the second and each later packet of a direction.
#[inline(always)]
fn another_of_direction<const GROUPS: u32>(packet: &Packet, since: u32, size: u16, count: u16, side: &mut Side) {
    let Side { volume, stack, .. } = side;
    if GROUPS & group::SIZES != 0 {
        if size < volume.size_min {
            volume.size_min = size;
        } else if size > volume.size_max {
            volume.size_max = size;
        }
    }
    if GROUPS & group::INTERVALS != 0 {
        let interval = since.wrapping_sub(volume.last);
        if interval < volume.interval_min || count == 1 {
            volume.interval_min = interval;
        }
        if interval > volume.interval_max {
            volume.interval_max = interval;
        }
        volume.interval_squared += u64::from(interval) * u64::from(interval);
    }
    if GROUPS & group::NETWORK != 0 {
        if packet.ttl < stack.ttl_min {
            stack.ttl_min = packet.ttl;
        } else if packet.ttl > stack.ttl_max {
            stack.ttl_max = packet.ttl;
        }
    }
}

#[inline(always)]
fn link<F: Frame>(frame: &F, packet: &Packet, slot: &mut Delta, way: usize) {
    let link = &mut slot.side[way].link;
    let at = u32::from(packet.source_mac);
    let target = if packet.link & LINK_TARGET != 0 { frame.read::<6>(at - 6) } else { None };
    link.target = target.unwrap_or_default();
    let source = if packet.link & LINK_SOURCE != 0 { frame.read::<6>(at) } else { None };
    link.source = source.unwrap_or_default();
    if source.is_some() {
        slot.flags |= DELTA_HAS_MACS;
    }
    link.tags = packet.tags;
    let shift = way as u8 * 4;
    slot.tag_counts = slot.tag_counts & !(15 << shift) | packet.tag_count << shift;
}

#[inline(always)]
fn tcp<F: Frame>(frame: &F, packet: &Packet, since: u32, slot: &mut Delta, way: usize) {
    let bits = packet.control_bits;
    let mut octets = packet.payload_octets;
    if bits & (SYN | FIN | RST) != 0 {
        octets = control(frame, packet, since, slot, way);
    }
    let stack = &mut slot.side[way].stack;
    if packet.window == 0 && bits & RST == 0 {
        stack.zero_windows += 1;
    }
    if stack.seen & SEEN_ACK == 0 && bits & (ACK | SYN) == ACK {
        stack.seen |= SEEN_ACK;
        stack.ack_at = since;
    }
    if octets != 0 {
        sequence(stack, packet.sequence, octets);
    }
}

/// Segments that open or close. Returns the octets of sequence space that the segment occupies.
#[inline(always)]
fn control<F: Frame>(frame: &F, packet: &Packet, since: u32, slot: &mut Delta, way: usize) -> u32 {
    let bits = packet.control_bits;
    let stack = &mut slot.side[way].stack;
    stack.syn += u16::from(bits & SYN != 0);
    stack.fin += u16::from(bits & FIN != 0);
    stack.rst += u16::from(bits & RST != 0);
    if bits & SYN != 0 {
        if stack.seen & SEEN_SYN == 0 {
            opening(frame, packet, since, stack);
        }
        let class = slot.class & (Class::CELLS as u8 - 1);
        let budget = if class == Class::Clinical as u8 { CLINICAL_BUDGET } else { Class::Stream.budget() };
        slot.sample_left = [budget, budget];
    }
    if bits & RST != 0 {
        return 0;
    }
    packet.payload_octets + u32::from(bits & SYN != 0) + u32::from(bits & FIN != 0)
}

/// Sequence space: see the fields of [`Stack`]. Comparisons are modulo 2^32 (RFC 9293 §3.4).
#[inline(always)]
fn sequence(stack: &mut Stack, start: u32, octets: u32) {
    let end = start.wrapping_add(octets);
    if start == stack.sequence_next && stack.seen & (SEEN_LOW | SEEN_SEQUENCE) == SEEN_LOW | SEEN_SEQUENCE {
        stack.sequence_next = end;
        return;
    }
    if stack.seen & SEEN_LOW == 0 || (start.wrapping_sub(stack.sequence_low) as i32) < 0 {
        stack.seen |= SEEN_LOW;
        stack.sequence_low = start;
    }
    if stack.seen & SEEN_SEQUENCE == 0 {
        stack.seen |= SEEN_SEQUENCE;
        stack.sequence_next = end;
        return;
    }
    let ahead = start.wrapping_sub(stack.sequence_next) as i32;
    if ahead >= 0 {
        if ahead > 0 {
            stack.seen |= SEEN_GAP;
            stack.gap_start = stack.sequence_next;
            stack.gap_end = start;
        }
        stack.sequence_next = end;
        return;
    }
    let in_gap = stack.seen & SEEN_GAP != 0
        && start.wrapping_sub(stack.gap_start) as i32 >= 0
        && stack.gap_end.wrapping_sub(end) as i32 >= 0;
    if in_gap {
        stack.out_of_order += 1;
        if start == stack.gap_start {
            stack.gap_start = end;
        } else if end == stack.gap_end {
            stack.gap_end = start;
        } else {
            stack.gap_start = end;
        }
        if stack.gap_start == stack.gap_end {
            stack.seen &= !SEEN_GAP;
        }
        return;
    }
    stack.retransmissions += 1;
    if end.wrapping_sub(stack.sequence_next) as i32 > 0 {
        stack.sequence_next = end;
    }
}

/// Window, MSS, window scale and option order of the first SYN or SYN/ACK of a delta.
#[inline(always)]
fn opening<F: Frame>(frame: &F, packet: &Packet, since: u32, stack: &mut Stack) {
    stack.seen |= SEEN_SYN;
    if packet.control_bits & ACK != 0 {
        stack.seen |= SEEN_SYN_ACK;
    }
    stack.syn_at = since;
    stack.window = packet.window;
    let end = packet.payload_offset;
    let mut at = frame.blur(u32::from(packet.transport_offset) + 20);
    let mut options = 0;
    let mut shift = 0;
    for _ in 0..TCP_OPTIONS_MAX {
        if at >= end {
            break;
        }
        let Some([kind]) = frame.read::<1>(at) else { break };
        options |= u64::from(if kind > 14 { 15 } else { kind }) << shift;
        shift += 4;
        if kind == 0 {
            break;
        }
        let mut octets = 1;
        if kind != 1 {
            let Some([_, length]) = frame.read::<2>(at) else { break };
            if length < 2 {
                break;
            }
            octets = u32::from(length);
            if kind == 2 && length == 4 {
                stack.mss = frame.read::<2>(at + 2).map_or(0, u16::from_be_bytes);
            }
            if kind == 3 && length == 3 {
                stack.scale = frame.read::<1>(at + 2).map_or(0, |[scale]| scale.saturating_add(1));
            }
        }
        at = frame.blur(at + octets);
    }
    stack.options = options;
}

/// Takes a sample's octets from its class's share; counts the sample shed or lost when there is none, or no room for bulk.
#[inline(always)]
fn has_share<K: Sink>(class: usize, octets: u32, at: u64, settings: &Settings, core: &mut Core, sink: &K) -> bool {
    let after = tick(at) + 1;
    if core.shares.after != after {
        core.shares.after = after;
        core.shares.left = settings.sample_shares;
    }
    let cost = ring_octets(octets);
    if core.shares.left[class] < cost {
        core.counters.samples_shed[class] += 1;
        return false;
    }
    if Class::is_bulk(class) && !sink.has_bulk_room() {
        core.counters.samples_lost[class] += 1;
        return false;
    }
    core.shares.left[class] -= cost;
    true
}

/// Carries the leading payload to userspace, within the flow's budget and its class's share.
#[inline(always)]
pub fn sample<F: Frame, K: Sink>(
    frame: &F,
    packet: &Packet,
    at: u64,
    settings: &Settings,
    slot: &mut Delta,
    core: &mut Core,
    sink: &mut K,
) {
    if !settings.has(FLAG_SAMPLES) {
        return;
    }
    let way = (packet.direction & 1) as usize;
    let may_open = slot.class == Class::Stream as u8 || slot.sample_left[way] == UNOPENED;
    if may_open && opens_clinical(frame, packet.payload_offset) {
        slot.class = Class::Clinical as u8;
        slot.sample_left = [CLINICAL_BUDGET, CLINICAL_BUDGET];
    }
    if slot.sample_left[way] == UNOPENED {
        slot.sample_left[way] = 0;
        return;
    }
    let class = slot.class as usize & (Class::CELLS - 1);
    let captured = frame.captured_octets().saturating_sub(packet.payload_offset);
    let mut octets = if packet.payload_octets < captured { packet.payload_octets } else { captured };
    let left = u32::from(slot.sample_left[way]);
    octets = if octets < left { octets } else { left };
    octets = if octets < SAMPLE_LARGE as u32 { octets } else { SAMPLE_LARGE as u32 };
    if octets == 0 {
        return;
    }
    if !has_share(class, octets, at, settings, core, sink) {
        return;
    }
    slot.sample_left[way] -= octets as u16;
    let head = SampleHead {
        header: Header { kind: Kind::Sample as u8, abi: ABI, cpu: slot.header.cpu, packets: [way as u16, class as u16] },
        hash: slot.hash,
        key: slot.key,
        at,
        sequence: packet.sequence,
        length: octets as u16,
        payload_octets: if packet.payload_octets > 0xffff { u16::MAX } else { packet.payload_octets as u16 },
        link: slot.side[way].link,
        observation_point: slot.observation_points[way],
        control_bits: packet.control_bits,
        ttl: packet.ttl,
        flags: slot.flags & DELTA_HAS_MACS,
        reserved: 0,
    };
    let sent = if octets <= SAMPLE_SMALL as u32 {
        sink.sample::<F, SAMPLE_SMALL>(&head, frame, packet.payload_offset)
    } else if octets <= SAMPLE_MEDIUM as u32 {
        sink.sample::<F, SAMPLE_MEDIUM>(&head, frame, packet.payload_offset)
    } else {
        sink.sample::<F, SAMPLE_LARGE>(&head, frame, packet.payload_offset)
    };
    match sent {
        Ok(()) => core.counters.samples[class] += 1,
        Err(_) => core.counters.samples_lost[class] += 1,
    }
}
