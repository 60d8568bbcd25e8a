//! The reference: flow records straight from lists of packets.

use auscult_ebpf::{
    meter::size_bin,
    record::{FORM_ETHERNET, FORM_IPV4, FlowKey, ICMP_REPLY},
};

use super::{
    super::{
        LINGER_TICKS, SETTLE_TICKS, TICK_SHIFT,
        community_id::community_id,
        identity::{flow_id, site_number},
        tick_of,
    },
    meter::{Tracker, Verdict},
    scene::{ACK, FIN, Packet, RST, SYN, Scene},
};
use crate::{
    flow::{
        Address, Both, Direction, Endpoint, FirstPacket, Flow, FlowEndReason, InitiatorBy, Intervals, Mac, Side, TcpOpening,
        TcpSide,
    },
    sidedness::Sidedness,
};

pub const IDLE: u64 = 6_000_000_000;
pub const ACTIVE: u64 = 20_000_000_000;
pub const SITE: &str = "test";
/// Offset of Unix time in all tests.
pub const OFFSET: i64 = 1_000_000;

/// A packet and what the direction's tracker said of it.
type Seen = (Packet, Verdict);

/// Rows of a scene after a last Mark at `end`, by `(end, flow_id, segment)`.
pub fn rows(scene: &Scene, end: u64) -> Vec<Flow> {
    let mut rows = Vec::new();
    for (flow, key) in scene.keys.iter().enumerate() {
        let packets: Vec<Packet> = scene.packets.iter().filter(|packet| packet.flow == flow).copied().collect();
        flow_rows(key, &packets, end, &mut rows);
    }
    rows.sort_by_key(|row| (row.end, row.flow_id, row.segment));
    rows
}

fn closing(ended: [bool; 3]) -> bool {
    ended[2] || ended[0] && ended[1]
}

fn flow_rows(key: &FlowKey, packets: &[Packet], end: u64, rows: &mut Vec<Flow>) {
    let active_ticks = ACTIVE.div_ceil(1 << TICK_SHIFT);
    let patience = |ended| if closing(ended) { LINGER_TICKS << TICK_SHIFT } else { IDLE };
    let own_reason = |ended, other| if closing(ended) { FlowEndReason::EndOfFlowDetected } else { other };
    let mut rest = packets;
    let mut before: Option<(u64, u16)> = None;
    while let Some(first) = rest.first() {
        let start = first.at;
        let twin = before.filter(|(at, _)| *at == start).map_or(0, |(_, twin)| twin + 1);
        before = Some((start, twin));
        let mut flow = Segments { key: *key, start, twin, initiator: None, segment: 0, seen: [false; 2], proven: false };
        let (mut ended, mut last, mut segment_tick) = ([false; 3], start, tick_of(start));
        let (mut trackers, mut segment) = ([Tracker::default(); 2], Vec::<Seen>::new());
        let mut taken = 0;
        let mut reason = None;
        for packet in rest {
            if packet.at - last > patience(ended) {
                reason = Some(own_reason(ended, FlowEndReason::IdleTimeout));
                break;
            }
            if packet.opens() && ended.contains(&true) {
                reason = Some(FlowEndReason::EndOfFlowDetected);
                break;
            }
            if tick_of(packet.at) >= segment_tick + active_ticks {
                rows.push(flow.row(&segment, FlowEndReason::ActiveTimeout));
                segment.clear();
                segment_tick = tick_of(packet.at);
            }
            ended[packet.direction] |= packet.bits & FIN != 0;
            ended[2] |= packet.bits & RST != 0;
            let verdict = match packet.length() {
                0 => Verdict::New,
                length => trackers[packet.direction].segment(packet.sequence, length),
            };
            segment.push((*packet, verdict));
            last = packet.at;
            taken += 1;
        }
        let expired = tick_of(last + patience(ended)) < tick_of(end) - SETTLE_TICKS;
        let at_end = own_reason(ended, if expired { FlowEndReason::IdleTimeout } else { FlowEndReason::ForcedEnd });
        rows.push(flow.row(&segment, reason.unwrap_or(at_end)));
        rest = &rest[taken..];
    }
}

struct Segments {
    key: FlowKey,
    start: u64,
    twin: u16,
    initiator: Option<(usize, InitiatorBy)>,
    segment: u32,
    seen: [bool; 2],
    proven: bool,
}

fn unix(at: u64) -> i64 {
    at as i64 + OFFSET
}

impl Segments {
    fn initiator(&self, packets: &[Seen]) -> (usize, InitiatorBy) {
        let opening = packets.iter().filter(|(packet, _)| packet.opens());
        if let Some((packet, _)) = opening.min_by_key(|(packet, _)| (packet.at, packet.direction)) {
            return (packet.direction, InitiatorBy::Syn);
        }
        let answer = packets.iter().filter(|(packet, _)| packet.bits & SYN != 0);
        if let Some((packet, _)) = answer.min_by_key(|(packet, _)| (packet.at, 1 - packet.direction)) {
            return (1 - packet.direction, InitiatorBy::SynAck);
        }
        let first = |d| packets.iter().find(|(packet, _)| packet.direction == d).map(|(packet, _)| packet.at);
        match (first(0), first(1)) {
            // The higher end has the higher port, or the ports are equal or none and it has the higher address; the exception
            // are keys whose lower address has the higher port.
            (Some(a), Some(b)) if a == b => {
                let low = matches!(self.key.protocol, 6 | 17) && self.key.port[0] > self.key.port[1];
                (usize::from(!low), InitiatorBy::Tie)
            }
            (Some(a), Some(b)) => (usize::from(b < a), InitiatorBy::FirstPacket),
            (Some(_), None) => (0, InitiatorBy::FirstPacket),
            _ => (1, InitiatorBy::FirstPacket),
        }
    }

    fn sidedness(&mut self, packets: &[Seen]) -> Sidedness {
        for d in 0..2 {
            let of = |wanted: fn(&Packet) -> bool| packets.iter().filter(|(p, _)| p.direction == d && wanted(p)).count();
            let all = of(|_| true);
            self.seen[d] |= all > 0;
            let opening = packets.iter().find(|(p, _)| p.direction == d && p.bits & SYN != 0);
            let answers = opening.is_some_and(|(p, _)| p.bits & ACK != 0);
            let speaks = all > of(|p| p.bits & SYN != 0) + of(|p| p.bits & RST != 0);
            self.proven |= match self.key.protocol {
                6 => of(|p| p.bits & ACK != 0) > 0 && (answers || speaks),
                1 => of(|p| p.bits & ICMP_REPLY != 0) > 0,
                _ => false,
            };
        }
        match (self.seen, self.proven) {
            ([true, true], _) => Sidedness::TwoSided,
            (_, true) => Sidedness::OneSided,
            (_, false) => Sidedness::Undecided,
        }
    }

    fn row(&mut self, packets: &[Seen], end_reason: FlowEndReason) -> Flow {
        let (initiator, initiator_by) = *self.initiator.get_or_insert(self.initiator(packets));
        let sidedness = self.sidedness(packets);
        let key = &self.key;
        let segment = self.segment;
        self.segment += 1;
        let of = |d: usize| packets.iter().filter(|(packet, _)| packet.direction == d).copied().collect::<Vec<Seen>>();
        let sides = [of(initiator), of(1 - initiator)];
        let is_ip = key.form != FORM_ETHERNET;
        let bits = |d: usize| of(d).iter().fold(0, |bits, (packet, _)| bits | packet.bits);
        let [responder, initiator_rtt] = handshake(&sides);
        let mut first_packets = [None; 8];
        for (place, (packet, _)) in first_packets.iter_mut().zip(packets).filter(|_| segment == 0) {
            let direction = if packet.direction == initiator { Direction::Forward } else { Direction::Reverse };
            *place = Some(FirstPacket { at: unix(packet.at), size: packet.octets, direction });
        }
        Flow {
            flow_id: flow_id(key, unix(self.start), site_number(SITE), self.twin),
            segment,
            start: unix(packets[0].0.at),
            end: unix(packets[packets.len() - 1].0.at),
            end_reason,
            initiator_by,
            sidedness,
            endpoint: Both([initiator, 1 - initiator].map(|d| endpoint(key, packets, d))),
            protocol: is_ip.then_some(key.protocol),
            ethertype: Some(if !is_ip {
                key.scope
            } else if key.form == FORM_IPV4 {
                0x0800
            } else {
                0x86dd
            }),
            icmp_type: (key.protocol == 1).then_some(8),
            icmp_code: (key.protocol == 1).then_some(0),
            is_fragment: false,
            fragment_of: None,
            community_id: community_id(key, initiator, [bits(0), bits(1)]),
            parse_stop: packets.iter().map(|(packet, _)| packet.stop).max().unwrap_or(0),
            side: Both(sides.map(|packets| side(key, &packets))),
            handshake_rtt_responder: responder,
            handshake_rtt_initiator: initiator_rtt,
            first_packets,
        }
    }
}

fn endpoint(key: &FlowKey, packets: &[Seen], d: usize) -> Endpoint {
    let octets = key.address[d];
    let address = match key.form {
        FORM_ETHERNET => Address::Link(Some(Mac([octets[0], octets[1], octets[2], octets[3], octets[4], octets[5]]))),
        FORM_IPV4 => Address::V4([octets[0], octets[1], octets[2], octets[3]].into()),
        _ => Address::V6(octets.into()),
    };
    let sent = packets.iter().find(|(packet, _)| packet.direction == d).map(|(packet, _)| packet.link.source);
    let mac = sent.unwrap_or(packets[0].0.link.target);
    Endpoint { address, port: matches!(key.protocol, 6 | 17).then_some(key.port[d]), mac: Some(Mac(mac)) }
}

fn handshake([forward, reverse]: &[Vec<Seen>; 2]) -> [Option<u64>; 2] {
    let syns =
        |side: &[Seen]| side.iter().filter(|(packet, _)| packet.bits & SYN != 0).map(|(packet, _)| *packet).collect::<Vec<_>>();
    let (syn, answer) = (syns(forward), syns(reverse));
    let ([syn], [answer]) = (&syn[..], &answer[..]) else { return [None; 2] };
    if !syn.opens() || answer.opens() || answer.at < syn.at {
        return [None; 2];
    }
    let ack = forward.iter().find(|(packet, _)| packet.bits & (ACK | SYN) == ACK);
    [Some(answer.at - syn.at), ack.and_then(|(ack, _)| ack.at.checked_sub(answer.at))]
}

/// Mean and population deviation by two passes.
fn moments(values: &[u64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<u64>() as f64 / n;
    (mean, (values.iter().map(|value| (*value as f64 - mean).powi(2)).sum::<f64>() / n).sqrt())
}

fn side(key: &FlowKey, seen: &[Seen]) -> Side {
    let packets: Vec<Packet> = seen.iter().map(|(packet, _)| *packet).collect();
    let (Some(first), Some(last)) = (packets.first(), packets.last()) else { return Side::default() };
    let sum = |of: fn(&Packet) -> u64| packets.iter().map(of).sum();
    let sizes: Vec<u64> = packets.iter().map(|packet| packet.octets.into()).collect();
    let gaps: Vec<u64> = packets.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    let (size_mean, size_std) = moments(&sizes);
    let mut histogram = [0; 8];
    for packet in &packets {
        histogram[size_bin(packet.octets)] += 1;
    }
    let is_ip = key.form != FORM_ETHERNET;
    Side {
        packets: packets.len() as u64,
        octets: sum(|packet| packet.octets.into()),
        layer2_octets: sum(|packet| packet.layer2_octets().into()),
        payload_octets: sum(|packet| packet.payload.into()),
        first: unix(first.at),
        last: unix(last.at),
        size_min: packets.iter().map(|packet| packet.octets).min().unwrap_or(0),
        size_max: packets.iter().map(|packet| packet.octets).max().unwrap_or(0),
        size_mean,
        size_std,
        histogram,
        intervals: gaps.iter().min().zip(gaps.iter().max()).map(|(min, max)| {
            let (mean, std) = moments(&gaps);
            Intervals { min: *min, max: *max, mean, std }
        }),
        split: false,
        ttl_min: packets.iter().map(|packet| packet.ttl).min().filter(|_| is_ip),
        ttl_max: packets.iter().map(|packet| packet.ttl).max().filter(|_| is_ip),
        dscp: is_ip.then_some(first.class >> 2),
        traffic_class_union: is_ip.then_some(packets.iter().fold(0, |union, packet| union | packet.class)),
        tcp: (key.protocol == 6).then(|| tcp(seen)),
        vlan_id: (first.tags > 0).then_some(first.link.tags[0] & 0xfff),
        inner_vlan_id: (first.tags > 1).then_some(first.link.tags[1] & 0xfff),
        observation_point: Some(first.ring.into()),
        tunnels: None,
    }
}

fn tcp(seen: &[Seen]) -> TcpSide {
    let with = |bit: u8| seen.iter().filter(|(packet, _)| packet.bits & bit != 0).count() as u32;
    let judged = |verdict| seen.iter().filter(|(_, other)| *other == verdict).count() as u32;
    TcpSide {
        control_bits: seen.iter().fold(0, |bits, (packet, _)| bits | packet.bits),
        syn: with(SYN),
        fin: with(FIN),
        rst: with(RST),
        retransmissions: judged(Verdict::Repeat),
        out_of_order: judged(Verdict::FillsGap),
        sequence_exact: true,
        zero_windows: seen.iter().filter(|(packet, _)| packet.window == 0 && packet.bits & RST == 0).count() as u32,
        handshake: seen.iter().find(|(packet, _)| packet.bits & SYN != 0).map(|(packet, _)| TcpOpening {
            window: packet.window,
            mss: Some((packet.options % 3) as u16).filter(|mss| *mss > 0),
            scale: ((packet.options % 5) as u8).checked_sub(1),
            options: packet.options,
        }),
    }
}
