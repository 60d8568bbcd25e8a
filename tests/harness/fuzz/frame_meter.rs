//! Octets to frames, frames through parser, meter and sweep; every delta, sample and ledger is checked.

use std::collections::{BTreeMap, BTreeSet};

use auscult::{
    batch::Message,
    biflow::{BiflowSettings, Table},
    capture::{
        native::{DropSamples, NativeMeter},
        outlets::{Batches, Outlets},
        replay::{RawFrame, limit::WIRE_OCTETS_MAX, link},
    },
    ledger::{Count, Ledger, LedgerAtMark},
};
use auscult_ebpf::{
    discard::{Discard, Lost, ParseStop},
    frame::{Frame, Slice},
    hash,
    limit::{
        COPY_BUCKETS, COPY_UNIT_SHIFT, COPY_UNITS_MAX, COPY_WAYS, DIGEST_OCTETS_MAX, FIRST_PACKETS, SAMPLE_LARGE, TUNNELS_MAX,
        VLAN_TAGS_MAX,
    },
    meter::{self, FlowCache, Recent, Sets, Sink, group, tick},
    parse::{self, Packet},
    record::{
        ABI, Core, Delta, FORM_ETHERNET, FORM_IPV4, FORM_IPV6, FlowKey, Kind, Mark, SampleHead, Set, Tunnel, TunnelPath, Volume,
        octets_of, read_record,
    },
    sample::Class,
    settings::{FLAG_COPIES_METERED, FLAG_SAMPLES, FLAG_VLAN_IN_KEY, Settings},
};

use super::{Octets, STEPS};

/// Link types of frames: those with a start, and one without.
const LINKS: [u32; 10] = [1, 0, 101, 113, 276, 228, 229, 108, 12, 147];
/// When the first frame comes: at the clock's start, in an ordinary year, at the end of a tick, shortly before time ends.
const EPOCHS: [u64; 4] = [0, 1_767_600_000_000_000_000, (1 << 60) - 1, i64::MAX as u64 - (1 << 40)];
/// Frames of one input.
const FRAMES_MAX: usize = 512;

/// One frame of an input: link, step, wire length, captured length (two octets), then the captured octets.
struct Step<'a> {
    link_type: u32,
    /// Low four bits: [`STEPS`]; 0x10 sweep before it; 0x20 flush; 0x40 tag beside the frame; 0x80 backwards (native meter only).
    step: u8,
    octets: &'a [u8],
    wire_octets: u32,
}

impl<'a> Step<'a> {
    fn read(from: &mut Octets<'a>) -> Self {
        let (link, step, wire) = (from.u8(), from.u8(), from.u8());
        let length = from.u16();
        let octets = from.take(usize::from(length));
        let captured = octets.len() as u32;
        let wire_octets = match wire {
            0..=0x7f => captured + u32::from(wire) * 16,
            0x80..=0xef => captured + (u32::from(wire & 0x7f) << 12),
            0xf0..=0xfe => 1 << 16 << (wire & 0x0f),
            0xff => WIRE_OCTETS_MAX,
        };
        let link_type = LINKS[usize::from(link) % LINKS.len()];
        Self { link_type, step, octets, wire_octets: wire_octets.max(captured).min(WIRE_OCTETS_MAX) }
    }

    fn nanos(&self) -> u64 {
        STEPS[usize::from(self.step & 15)]
    }
}

/// The first octet says how the meter is set, the second which deltas find no room and how long a packet that comes again is a copy;
/// frames follow.
pub fn frame_meter(octets: &[u8]) {
    let mut from = Octets(octets);
    let (how, refuse) = (from.u8(), from.u8());
    let mut settings = Settings { sets_mask: (1 << (how & 3)) - 1, ..Settings::plain() };
    settings.flags = if how & 4 != 0 { FLAG_SAMPLES } else { 0 } | if how & 8 != 0 { FLAG_VLAN_IN_KEY } else { 0 };
    settings.super_frame_octets = 1514;
    settings.copy_units = [0, 1, 23, COPY_UNITS_MAX][usize::from(refuse >> 4 & 3)];
    settings.flags |= if refuse & 0x40 != 0 { FLAG_COPIES_METERED } else { 0 };
    let at = EPOCHS[usize::from(how >> 4 & 3)];
    if how & 0x80 != 0 {
        return native(&settings, at, from);
    }
    let mut bench = Bench::new(settings, refuse, how & 0x40 != 0);
    let mut at = at;
    for _ in 0..FRAMES_MAX {
        if from.is_empty() {
            break;
        }
        let step = Step::read(&mut from);
        at = at.saturating_add(step.nanos()).min(i64::MAX as u64);
        if step.step & 0x10 != 0 {
            bench.sweep(at, step.step & 0x20 != 0);
        }
        bench.frame(&step, at);
        bench.check_ledger(at);
    }
    bench.sweep(at, true);
    bench.close();
}

/// Packets and octets of one flow, by direction.
type Tally = BTreeMap<FlowKey, [[u64; 4]; 2]>;

/// Sets in memory; where there are fewer than the mask says, some flows find no slot.
struct Memory(Vec<Set>);

impl Sets for &mut Memory {
    fn set(&mut self, index: u32) -> Option<&mut Set> {
        self.0.get_mut(index as usize)
    }
}

/// The table of recent packets; it is made when it is first used.
#[derive(Default)]
struct Table64(Vec<u64>);

impl Table64 {
    fn table(&mut self) -> &mut [u64] {
        if self.0.is_empty() {
            self.0 = vec![0; COPY_BUCKETS * COPY_WAYS];
        }
        &mut self.0
    }
}

impl Recent for Table64 {
    fn cells(&mut self, first: usize) -> [u64; COPY_WAYS] {
        *self.table()[first..].first_chunk().expect("a bucket of the table")
    }

    fn exchange(&mut self, cell: usize, value: u64) -> u64 {
        std::mem::replace(&mut self.table()[cell], value)
    }
}

const ETHERTYPE_ARP: u16 = 0x0806;

/// What copies of a packet have in common.
#[derive(Debug, PartialEq, Eq)]
struct Written {
    key: FlowKey,
    direction: u32,
    octets: u32,
    identification: u32,
    sequence: u32,
    control_bits: u8,
    payload: Vec<u8>,
}

impl Written {
    fn of(packet: &Packet, octets: &[u8]) -> Self {
        // Of a frame without IP only what is never padding counts.
        let most = if packet.form == FORM_ETHERNET { 28 } else { DIGEST_OCTETS_MAX };
        let is_arp = packet.form == FORM_ETHERNET && packet.flow_key().scope == ETHERTYPE_ARP;
        let payload = octets.get(packet.payload_offset as usize..).unwrap_or_default();
        let length = payload.len().min(packet.payload_octets.min(most) as usize);
        // TCP's options count as payload, and shorten what is looked at of a very long one.
        let length = if packet.is_tcp() { length.min(1400) } else { length };
        // What was cut off counts like zeros.
        let length = payload[..length].iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
        Self {
            key: packet.flow_key(),
            direction: packet.direction,
            octets: if is_arp { packet.octets.min(28) } else { packet.octets },
            identification: packet.identification,
            sequence: packet.sequence,
            control_bits: packet.control_bits,
            payload: payload[..length].to_vec(),
        }
    }
}

/// A ring that has no room for some deltas.
struct Ring {
    refuse: u8,
    offered: u8,
    metered: Count,
    out: Tally,
    hash_keys: [u64; 5],
    frame_octets: u32,
    /// Tunnel paths that were handed over or found no room.
    paths: BTreeSet<u64>,
}

impl Sink for Ring {
    fn cpu(&self) -> u16 {
        0
    }

    fn delta(&mut self, delta: &Delta) -> Result<(), Lost> {
        check_delta(delta, &self.hash_keys);
        assert!(delta.tunnels.iter().all(|path| *path == 0 || self.paths.contains(path)), "{delta:?}");
        let copy: Option<Delta> = read_record(octets_of(delta));
        assert_eq!(copy.as_ref(), Some(delta));
        add(&mut self.out, delta);
        self.offered = self.offered.wrapping_add(1);
        if self.refuse != 0 && self.offered.is_multiple_of(self.refuse) {
            return Err(Lost::RingFull);
        }
        self.metered.add(count(delta));
        Ok(())
    }

    fn path(&mut self, path: &TunnelPath) -> Result<(), Lost> {
        let [outer, inner] = path.layers;
        assert_eq!((path.header.kind, path.header.abi), (Kind::TunnelPath as u8, ABI));
        assert!(Tunnel::from_number(outer.kind).is_some(), "{path:?}");
        assert!(inner.kind == 0 || Tunnel::from_number(inner.kind).is_some(), "{path:?}");
        assert_eq!(path.reference & 0xff, u64::from(outer.kind | inner.kind << 4));
        self.paths.insert(path.reference);
        if self.refuse & 2 != 0 { Err(Lost::RingFull) } else { Ok(()) }
    }

    fn sample<F: Frame, const N: usize>(&mut self, head: &SampleHead, frame: &F, offset: u32) -> Result<(), Lost> {
        assert!(head.length > 0 && usize::from(head.length) <= N && N <= SAMPLE_LARGE, "{head:?} in {N}");
        assert!(head.length <= head.payload_octets, "{head:?}");
        assert!(u32::from(head.length) <= self.frame_octets, "{head:?}");
        assert_eq!((head.header.kind, head.header.abi), (Kind::Sample as u8, ABI));
        let [way, class] = head.header.packets;
        assert!(way < 2 && usize::from(class) < Class::ALL.len() && class != Class::None as u16, "{head:?}");
        let mut into = [const { std::mem::MaybeUninit::uninit() }; N];
        assert!(frame.copy::<N>(offset, u32::from(head.length), &mut into), "{head:?} at {offset}");
        if self.refuse & 1 != 0 { Err(Lost::RingFull) } else { Ok(()) }
    }
}

/// A frame with or without a tag that the NIC took out.
struct Tapped<'a> {
    slice: Slice<'a>,
    tag: Option<u16>,
}

impl Frame for Tapped<'_> {
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.slice.read(offset)
    }
    fn wire_octets(&self) -> u32 {
        self.slice.wire_octets()
    }
    fn captured_octets(&self) -> u32 {
        self.slice.captured_octets()
    }
    fn offloaded_tag(&self) -> Option<u16> {
        self.tag
    }
    fn digest(&self, offset: u32, length: u32, keys: &[u64; 5]) -> u64 {
        self.slice.digest(offset, length, keys)
    }
    fn copy<const N: usize>(&self, offset: u32, length: u32, into: &mut [std::mem::MaybeUninit<u8>; N]) -> bool {
        self.slice.copy(offset, length, into)
    }
}

/// The meter as the kernel runs it: sweeps at any time, a ring that may be full, sets that may be missing.
struct Bench {
    settings: Settings,
    memory: Memory,
    core: Core,
    packet: Packet,
    ring: Ring,
    parsed: Tally,
    recent: Table64,
    earlier: Vec<(u64, Written)>,
}

impl Bench {
    fn new(settings: Settings, refuse: u8, few_sets: bool) -> Self {
        let sets = settings.sets_mask as usize + 1;
        let sets = if few_sets { sets / 2 } else { sets };
        let ring = Ring {
            refuse,
            offered: 0,
            metered: Count::default(),
            out: Tally::new(),
            hash_keys: settings.hash_keys,
            frame_octets: 0,
            paths: BTreeSet::new(),
        };
        Self {
            settings,
            memory: Memory(vec![Set::default(); sets]),
            core: Core::default(),
            packet: Packet::default(),
            ring,
            parsed: Tally::new(),
            recent: Table64::default(),
            earlier: Vec::new(),
        }
    }

    fn frame(&mut self, step: &Step<'_>, at: u64) {
        let tag = (step.step & 0x40 != 0).then_some(0x2000 | u16::from(step.step));
        let frame = Tapped { slice: Slice::new(step.octets, step.wire_octets), tag };
        self.ring.frame_octets = frame.captured_octets();
        let counters = &mut self.core.counters;
        meter::seen(&frame, &self.settings, counters);
        let packet = &mut self.packet;
        if let Err(reason) = parsed(&frame, step, self.settings.has(FLAG_VLAN_IN_KEY), packet) {
            assert!(Discard::ALL.contains(&reason));
            return meter::discarded(&frame, reason, counters);
        }
        check_packet(packet);
        let copies = self.core.counters.copies_packets;
        let left_out = meter::left_out(&frame, packet, at, &self.settings, &mut self.core, &mut self.recent);
        let written = Written::of(packet, step.octets);
        if self.core.counters.copies_packets != copies {
            // One unit for the time of each, and some by which a clock may be ahead.
            let window = u64::from(self.settings.copy_units + 5) << COPY_UNIT_SHIFT;
            let is_known = |(before, other): &(u64, Written)| at - before <= window && *other == written;
            assert!(self.earlier.iter().rev().any(is_known), "a copy of nothing at {at}: {written:?}");
        }
        assert_eq!(left_out, self.core.counters.copies_packets != copies && !self.settings.has(FLAG_COPIES_METERED));
        self.earlier.push((at, written));
        if left_out {
            return;
        }
        let packet = &mut self.packet;
        let lost = self.core.counters.lost_packets[Lost::NoSlot as usize];
        let mut slots = FlowCache { sets: &mut self.memory, mask: self.settings.sets_mask };
        meter::meter::<{ group::ALL }, _, _, _>(&frame, packet, at, &self.settings, &mut slots, &mut self.core, &mut self.ring);
        if self.core.counters.lost_packets[Lost::NoSlot as usize] == lost {
            let sums = &mut self.parsed.entry(packet.flow_key()).or_default()[packet.direction as usize];
            let parts = [1, packet.octets, packet.layer2_octets, packet.payload_octets];
            sums.iter_mut().zip(parts).for_each(|(sum, part)| *sum += u64::from(part));
        }
    }

    fn sweep(&mut self, at: u64, flush: bool) {
        for slot in self.memory.0.iter_mut().flatten() {
            meter::sweep_slot(slot, at, flush, &mut self.core.counters, &mut self.ring);
            assert!(!slot.dirty() || !flush && tick(slot.base) == tick(at), "left behind: {slot:?}");
        }
        self.check_ledger(at);
    }

    /// LEDGER-1, with residents summed from the slots and `metered` recounted from the deltas.
    fn check_ledger(&self, at: u64) {
        let mut mark = Mark { at, counters: self.core.counters, ..Mark::default() };
        for slot in self.memory.0.iter().flatten() {
            let (packets, octets) = meter::resident(slot);
            mark.resident_packets += packets;
            mark.resident_octets += octets;
            if slot.dirty() {
                check_delta(slot, &self.settings.hash_keys);
            }
        }
        assert_eq!(Ledger::at_mark(&mark, self.ring.metered).imbalance(), (0, 0), "{mark:?}");
    }

    /// What left the cache is, flow by flow and direction by direction, what was parsed.
    fn close(self) {
        assert_eq!(self.ring.out, self.parsed);
    }
}

fn add(tally: &mut Tally, delta: &Delta) {
    let sums = tally.entry(delta.key).or_default();
    for (d, volume) in delta.side.iter().map(|side| &side.volume).enumerate() {
        let parts = [u32::from(delta.header.packets[d]), volume.octets, volume.layer2_octets, volume.payload_octets];
        sums[d].iter_mut().zip(parts).for_each(|(sum, part)| *sum += u64::from(part));
    }
}

fn count(delta: &Delta) -> Count {
    Count {
        packets: delta.header.packets.iter().copied().map(u64::from).sum(),
        octets: delta.side.iter().map(|side| u64::from(side.volume.layer2_octets)).sum(),
    }
}

/// Parses a frame behind the one before, which may shorten it, and anew: the same packet.
fn parsed(frame: &Tapped<'_>, step: &Step<'_>, vlan_in_key: bool, packet: &mut Packet) -> Result<(), Discard> {
    let mut fresh = Packet::default();
    let start = link::start(step.link_type, step.octets)?;
    let anew = parse::parse(frame, start, vlan_in_key, &mut fresh);
    let behind = parse::parse(frame, start, vlan_in_key, packet);
    assert_eq!(anew, behind);
    if anew.is_ok() {
        let kept = Packet { hash: 0, hashed: 0, observation_point: 0, ..*packet };
        assert_eq!(told(fresh), told(kept));
    }
    behind
}

/// A packet without what only means something in some.
fn told(packet: Packet) -> Packet {
    let mut told = Packet { wire_addresses: 0, wire_ports: 0, ..packet };
    for depth in usize::from(packet.tunnels)..TUNNELS_MAX {
        (told.tunnel_network[depth], told.tunnel_id[depth]) = (0, 0);
    }
    told
}

fn check_packet(packet: &Packet) {
    let key = packet.flow_key();
    assert!(packet.direction < 2, "{packet:?}");
    assert!(packet.payload_octets <= packet.octets && packet.octets <= packet.layer2_octets, "{packet:?}");
    assert!(ParseStop::from_number(packet.stop).is_some(), "{packet:?}");
    assert!(usize::from(packet.tag_count) <= VLAN_TAGS_MAX, "{packet:?}");
    let words = key.words();
    let (low, high) = ([words[0], words[1]], [words[2], words[3]]);
    let has_ports = matches!(key.form, FORM_IPV4 | FORM_IPV6) && matches!(key.protocol, 6 | 17 | 33 | 132 | 136);
    assert!(low <= high, "{packet:?}");
    assert!(!(low == high && has_ports) || key.port[0] <= key.port[1], "{packet:?}");
}

/// What holds for every delta, and for every slot that holds packets.
fn check_delta(delta: &Delta, hash_keys: &[u64; 5]) {
    assert_eq!((delta.header.kind, delta.header.abi), (Kind::Delta as u8, ABI));
    assert!(delta.dirty());
    assert_eq!(delta.hash, hash::keyed(delta.key.words(), hash_keys));
    assert!(ParseStop::from_number(delta.stop).is_some() && usize::from(delta.class) < Class::ALL.len(), "{delta:?}");
    assert!(delta.tag_counts & 15 <= VLAN_TAGS_MAX as u8 && delta.tag_counts >> 4 <= VLAN_TAGS_MAX as u8, "{delta:?}");
    let mut first = u32::MAX;
    let mut last = 0;
    for d in 0..2 {
        let packets = delta.header.packets[d];
        if packets == 0 {
            assert_eq!(delta.side[d].volume, Volume::default(), "{delta:?}");
            continue;
        }
        check_side(delta, d, packets);
        first = first.min(delta.side[d].volume.first);
        last = last.max(delta.side[d].volume.last);
    }
    assert_eq!(first, 0, "{delta:?}");
    assert!(last < 1 << 29 && tick(delta.base) == tick(delta.base + u64::from(last)), "{delta:?}");
    let (sent, gathered) = (usize::from(delta.first_sent), usize::from(delta.first_count));
    assert!(sent <= gathered && gathered <= FIRST_PACKETS, "{delta:?}");
    let packets: usize = delta.header.packets.iter().copied().map(usize::from).sum();
    assert_eq!(gathered - sent, packets.min(FIRST_PACKETS - sent), "{delta:?}");
    assert!(
        delta.first_at[sent..gathered].is_sorted() && delta.first_at[sent..gathered].iter().all(|at| *at <= last),
        "{delta:?}"
    );
}

fn check_side(delta: &Delta, d: usize, packets: u16) {
    let (volume, stack) = (&delta.side[d].volume, &delta.side[d].stack);
    let n = u128::from(packets);
    assert!(volume.first <= volume.last, "{delta:?}");
    assert!(volume.payload_octets <= volume.octets && volume.octets <= volume.layer2_octets, "{delta:?}");
    assert_eq!(volume.histogram.iter().copied().map(u32::from).sum::<u32>(), u32::from(packets), "{delta:?}");
    assert!(volume.size_min <= volume.size_max, "{delta:?}");
    // Cauchy and Schwarz: a sum's square is at most as many times the sum of squares, and at least that sum.
    let (sum, squares) = (u128::from(volume.octets), u128::from(volume.octets_squared));
    assert!(squares <= sum * sum && sum * sum <= n * squares, "{delta:?}");
    let span = u128::from(volume.last - volume.first);
    let squares = u128::from(volume.interval_squared);
    assert!(squares <= span * span && span * span <= n.saturating_sub(1) * squares, "{delta:?}");
    if packets > 1 {
        assert!(volume.interval_min <= volume.interval_max && u128::from(volume.interval_max) <= span, "{delta:?}");
    } else {
        assert_eq!((volume.interval_min, volume.interval_max, span), (0, 0, 0), "{delta:?}");
    }
    assert!(stack.ttl_min <= stack.ttl_max, "{delta:?}");
    for segments in [stack.syn, stack.fin, stack.rst, stack.zero_windows] {
        assert!(segments <= packets, "{delta:?}");
    }
    assert!(u128::from(stack.retransmissions) + u128::from(stack.out_of_order) <= n, "{delta:?}");
}

/// The replay's meter into a biflow table, with times that also run backwards.
fn native(settings: &Settings, at: u64, mut from: Octets<'_>) {
    let (shard, messages) = crossbeam::channel::unbounded();
    let (ledger, ledgers) = crossbeam::channel::unbounded();
    let outlets = Outlets { shards: vec![shard], ledger, recycled: crossbeam::channel::never(), batch_deltas: 3 };
    let mut native = NativeMeter::new(*settings, Batches::new(0, outlets), Box::new(DropSamples));
    let mut at = at;
    let mut seen = Count::default();
    for interface in 0..FRAMES_MAX as u32 {
        if from.is_empty() {
            break;
        }
        let step = Step::read(&mut from);
        at = if step.step & 0x80 != 0 { at.saturating_sub(step.nanos()) } else { at.saturating_add(step.nanos()) };
        at = at.min(i64::MAX as u64);
        let Step { link_type, octets, wire_octets, .. } = step;
        seen.add(Count { packets: 1, octets: wire_octets.into() });
        assert_eq!(native.frame(&RawFrame { at, octets, wire_octets, link_type, interface: interface & 3 }), Ok(()));
    }
    let last = native.finish();
    let balanced = |at_mark: &LedgerAtMark| at_mark.ledger.imbalance() == (0, 0);
    assert!(ledgers.try_iter().all(|at_mark| balanced(&at_mark)));
    let Ok(Some(last)) = last else { panic!("no last ledger: {last:?}") };
    assert_eq!((last.ledger.seen(), last.ledger.resident), (seen, Count::default()));
    assert_eq!(rows(messages.try_iter()), last.ledger.metered);
}

/// Packets and octets in the rows of all that a meter has sent.
fn rows(messages: impl Iterator<Item = Message>) -> Count {
    let mut table = Table::new(BiflowSettings {
        idle_timeout_nanos: 120_000_000_000,
        active_timeout_nanos: 1_800_000_000_000,
        max_flows: 16,
        rings: 1,
        site: "fuzz".into(),
        seed: 1,
    });
    let mut sum = Count::default();
    for message in messages {
        for row in table.message(&message).into_iter().flat_map(|epoch| epoch.rows) {
            assert!(row.start <= row.end, "{row:?}");
            for side in &row.side.0 {
                assert!(side.packets == 0 || side.first <= side.last && side.size_min <= side.size_max, "{row:?}");
                sum.add(Count { packets: side.packets, octets: side.layer2_octets });
            }
        }
    }
    assert_eq!(table.statistics().live, 0);
    sum
}
