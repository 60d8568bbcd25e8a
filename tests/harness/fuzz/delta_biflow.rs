//! Octets to deltas and Marks of several rings, tame or hostile, through the biflow table: packets in are packets in rows.

use auscult::{
    batch::RingMark,
    biflow::{BiflowSettings, Epoch, Merge, Table},
    flow::Flow,
};
use auscult_ebpf::record::{
    ABI, Delta, FORM_FRAGMENT, FORM_IPV4, FORM_IPV6, FORM_PORTLESS, FlowKey, Header, Kind, Stack, Volume, octets_of, read_record,
};

use super::{Octets, STEPS};

/// Steps of one input.
const STEPS_MAX: usize = 400;
/// First times: an ordinary one, the clock's start, and (of hostile inputs) the end of time.
const EPOCHS: [u64; 4] = [1_767_600_000_000_000_000, 0, i64::MAX as u64 - (1 << 40), u64::MAX - (1 << 31)];

/// The first octets say how the table is set and whether the deltas are tame: such as a meter can make. Then each step has an
/// octet that says what it is.
pub fn delta_biflow(octets: &[u8]) {
    let mut from = Octets(octets);
    let (how, limits) = (from.u8(), from.u8());
    let rings = u16::from(how & 3) + 1;
    let hostile = how & 4 != 0;
    let mut bench = Bench::new(rings, limits, hostile);
    let mut at = EPOCHS[usize::from(how >> 3 & if hostile { 3 } else { 1 })];
    for _ in 0..STEPS_MAX {
        if from.is_empty() {
            break;
        }
        let step = from.u8();
        let ring = u16::from(step >> 3 & 3) % (rings + u16::from(hostile));
        match step & 7 {
            0..=3 => {
                let delta = tame(&mut from, &mut at, step);
                bench.delta(ring, &delta);
            }
            4 if hostile => {
                let delta = hostile_delta(&mut from, at);
                bench.delta(ring, &delta);
            }
            4 | 5 => bench.mark(RingMark { ring, at: at.saturating_sub(STEPS[usize::from(step >> 5)]), utc_offset: 0 }),
            6 if step >> 5 == 7 => bench.close(ring),
            6 => at = at.saturating_add(STEPS[usize::from(from.u8() & 15)]),
            _ if step >> 5 == 7 => bench.clock_step(),
            _ => {}
        }
        if !hostile {
            at = at.min(i64::MAX as u64);
        }
    }
    bench.end();
}

struct Bench {
    table: Table,
    merge: Merge,
    rings: u16,
    hostile: bool,
    packets: u64,
    octets: u64,
    rows: [u64; 2],
}

impl Bench {
    fn new(rings: u16, limits: u8, hostile: bool) -> Self {
        let table = Table::new(BiflowSettings {
            idle_timeout_nanos: [5_000_000_000, 120_000_000_000, 0, u64::MAX][usize::from(limits & 3)],
            active_timeout_nanos: [1_800_000_000_000, 1, 60_000_000_000, u64::MAX][usize::from(limits >> 2 & 3)],
            max_flows: [1, 2, 4, 1_000][usize::from(limits >> 4 & 3)],
            rings,
            site: "fuzz".into(),
            seed: u64::from(limits),
        });
        Self { table, merge: Merge::new(1), rings, hostile, packets: 0, octets: 0, rows: [0; 2] }
    }

    fn delta(&mut self, ring: u16, delta: &Delta) {
        self.packets += delta.header.packets.iter().copied().map(u64::from).sum::<u64>();
        // What a direction without packets has in its sums is nobody's.
        let counted = delta.side.iter().map(|side| &side.volume).zip(delta.header.packets).filter(|(_, packets)| *packets > 0);
        self.octets += counted.map(|(volume, _)| u64::from(volume.layer2_octets)).sum::<u64>();
        let epoch = self.table.deltas(ring, std::slice::from_ref(delta));
        self.take(epoch);
    }

    fn mark(&mut self, mark: RingMark) {
        let epoch = self.table.mark(mark);
        self.take(epoch);
    }

    fn close(&mut self, ring: u16) {
        // The last ring stays open, so that the end is the end.
        if ring + 1 < self.rings {
            let epoch = self.table.close(ring);
            self.take(epoch);
        }
    }

    fn clock_step(&mut self) {
        let epoch = self.table.clock_step();
        self.take(epoch);
    }

    fn take(&mut self, epoch: Option<Epoch>) {
        let parts = epoch.into_iter().chain(std::iter::from_fn(|| self.table.more()));
        for part in parts {
            self.merge.push(0, part);
        }
        while let Some(batch) = self.merge.next_batch() {
            let order = |row: &Flow| (row.end, row.flow_id, row.segment);
            assert!(batch.rows().is_sorted_by_key(order));
            for row in batch.rows() {
                self.row(row);
            }
        }
    }

    fn row(&mut self, row: &Flow) {
        for side in &row.side.0 {
            self.rows[0] += side.packets;
            self.rows[1] += side.layer2_octets;
            assert!(side.size_std >= 0.0 && side.size_mean >= 0.0, "{row:?}");
            if self.hostile || side.packets == 0 {
                continue;
            }
            assert!(side.first <= side.last && row.start <= side.first && side.last <= row.end, "{row:?}");
            assert!(side.size_min <= side.size_max, "{row:?}");
            if let Some(intervals) = side.intervals {
                assert!(intervals.min <= intervals.max, "{row:?}");
                assert!(
                    intervals.min as f64 <= intervals.mean * 1.000_001 && intervals.mean <= intervals.max as f64 * 1.000_001,
                    "{row:?}"
                );
            }
        }
        assert!(row.flow_id > 0 && row.flow_id <= i64::MAX as u64, "{row:?}");
        let first: Vec<_> = row.first_packets.iter().map_while(Option::as_ref).collect();
        assert!(self.hostile || first.is_sorted_by_key(|packet| packet.at), "{row:?}");
    }

    fn end(mut self) {
        for ring in 0..self.rings {
            let epoch = self.table.close(ring);
            self.take(epoch);
        }
        let statistics = self.table.statistics();
        assert_eq!((statistics.live, statistics.held, self.merge.waiting()), (0, 0, 0), "{statistics:?}");
        assert_eq!(statistics.packets, self.packets);
        assert_eq!(self.rows, [self.packets, self.octets]);
    }
}

/// One of a few keys, so that deltas meet.
fn key(choice: u8) -> FlowKey {
    let form = [FORM_IPV4, FORM_IPV6, 0, FORM_IPV4 | FORM_FRAGMENT, FORM_IPV4 | FORM_PORTLESS][usize::from(choice & 7) % 5];
    let protocol = if form == 0 { 0 } else { [6, 17, 1, 58, 132, 6, 6, 47][usize::from(choice >> 3 & 7)] };
    let mut address = [[0; 16]; 2];
    address[0][..4].copy_from_slice(&[10, 0, 0, 1]);
    address[1][..4].copy_from_slice(&[10, 0, 0, 2 + (choice >> 6)]);
    let port = match protocol {
        6 | 17 | 132 if form == FORM_IPV4 || form == FORM_IPV6 => [104, 40_000],
        1 => [8, 0],
        58 => [128, 129],
        _ => [0, 0],
    };
    FlowKey { address, port, protocol, form, scope: 0 }
}

/// A delta such as a meter can make, but for its stack state, whose counts are within bounds and else arbitrary.
fn tame(from: &mut Octets<'_>, at: &mut u64, step: u8) -> Delta {
    // Bits 5 to 7 of the step: how far time goes on before it.
    let base = at.saturating_add(STEPS[usize::from(step >> 5)]).min(u64::MAX - (1 << 30));
    *at = base;
    let left = (1 << 29) - 1 - (base & ((1 << 29) - 1)) as u32;
    let (choice, flags) = (from.u8(), from.u8());
    let mut delta = Delta {
        header: Header { kind: Kind::Delta as u8, abi: ABI, cpu: 0, packets: [0, 0] },
        key: key(choice),
        base,
        flags: flags & 0x1f,
        tag_counts: from.u8() & 0x33,
        fragment: u32::from(from.u8()),
        ..Delta::default()
    };
    let way = usize::from(flags >> 5 & 1);
    for d in [way, 1 - way] {
        let packets = from.u8();
        if packets == 0 && !(d != way && delta.header.packets[way] == 0) {
            continue;
        }
        let packets = u16::from(packets).max(1);
        delta.header.packets[d] = packets;
        let early = if d == way { 0 } else { u32::from(from.u16()).min(left) };
        delta.side[d].volume = volume(packets, early, (u32::from(from.u16()) << 12).min(left - early), from);
        delta.side[d].stack = stack(packets, from);
    }
    if delta.header.packets[way] == 0 {
        // The first packet is at the base.
        let span = delta.side[1 - way].volume.last - delta.side[1 - way].volume.first;
        (delta.side[1 - way].volume.first, delta.side[1 - way].volume.last) = (0, span);
    }
    delta.first_count = 1;
    delta.first_sent = u8::from(delta.flags & auscult_ebpf::record::DELTA_CONTINUES != 0);
    delta.first_direction = u8::from(delta.side[1].volume.last > 0 && delta.header.packets[0] == 0);
    delta
}

fn volume(packets: u16, first: u32, span: u32, from: &mut Octets<'_>) -> Volume {
    let (n, size) = (u32::from(packets), from.u16());
    let span = if n == 1 { 0 } else { span };
    let octets = n * u32::from(size);
    let mut volume = Volume {
        octets_squared: u64::from(n) * u64::from(size) * u64::from(size),
        octets,
        layer2_octets: octets + n * 14,
        payload_octets: octets / 2,
        first,
        last: first + span,
        size_min: size,
        size_max: size,
        ..Volume::default()
    };
    volume.histogram[auscult_ebpf::meter::size_bin(size)] = packets;
    if n > 1 {
        volume.interval_min = span / (n - 1);
        volume.interval_max = span.div_ceil(n - 1);
        volume.interval_squared = u64::from(span).pow(2).div_ceil(u64::from(n) - 1);
    }
    volume
}

fn stack(packets: u16, from: &mut Octets<'_>) -> Stack {
    let wild: [u8; size_of::<Stack>()] = from.array();
    let mut stack: Stack = read_record::<Wild<Stack>>(&wild).map(|wild| wild.0).unwrap_or_default();
    for count in [&mut stack.syn, &mut stack.fin, &mut stack.rst, &mut stack.zero_windows] {
        *count = (*count).min(packets);
    }
    stack.retransmissions = stack.retransmissions.min(packets);
    stack.out_of_order = stack.out_of_order.min(packets - stack.retransmissions);
    stack
}

/// A record part that has every bit pattern as a value.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Wild<T>(T);

// SAFETY: transparent over a type that is repr(C), integers only, and without padding (its size is asserted where it is defined).
unsafe impl auscult_ebpf::record::Plain for Wild<Stack> {}

/// A delta of arbitrary octets, but near in time and of a key that others have, unless its first octet says not even that.
fn hostile_delta(from: &mut Octets<'_>, at: u64) -> Delta {
    let choice = from.u8();
    let wild: [u8; size_of::<Delta>()] = from.array();
    let mut delta: Delta = read_record(&wild).unwrap_or_default();
    debug_assert_eq!(octets_of(&delta).len(), wild.len());
    if choice & 1 == 0 {
        delta.key = key(choice);
    }
    if choice & 2 == 0 {
        delta.base = at.wrapping_add(delta.base & 0xffff_ffff);
    }
    delta
}
