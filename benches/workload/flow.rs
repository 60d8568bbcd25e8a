//! Flow records of a hospital: a few hundred devices that keep talking to the same servers, name lookups of one packet each way,
//! TCP sessions with every feature filled, announcements that nobody answers, frames that are not IP.

use std::net::{Ipv4Addr, Ipv6Addr};

use auscult::{
    flow::{
        Address, Both, Direction, Endpoint, FirstPacket, Flow, FlowBatch, FlowEndReason, InitiatorBy, Intervals, Mac, Side,
        TcpOpening, TcpSide,
    },
    sidedness::Sidedness,
};
use auscult_ebpf::limit::{FIRST_PACKETS, SIZE_BINS};

use crate::Dice;

/// 2026-03-02T08:00:00Z.
pub const START: i64 = 1_772_438_400_000_000_000;
const DEVICES: u64 = 600;
const SERVERS: [(u8, u16); 8] = [(10, 104), (11, 2575), (12, 443), (13, 445), (14, 80), (15, 11112), (16, 1433), (17, 8080)];

/// What share of the flows is of which kind, in percent; the rest is TCP.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Name in results.
    pub name: &'static str,
    /// Name lookups, one packet each way.
    pub dns: u64,
    /// Announcements without an answer.
    pub announcement: u64,
    /// ICMP echo.
    pub echo: u64,
    /// ARP and the like.
    pub link: u64,
    /// UDP exchanges of several packets.
    pub datagram: u64,
}

/// A ward's usual traffic.
pub const HOSPITAL: Mix = Mix { name: "hospital", dns: 38, announcement: 12, echo: 4, link: 4, datagram: 7 };
/// Nothing but two-sided TCP: every column of every row is filled.
pub const TCP: Mix = Mix { name: "tcp", dns: 0, announcement: 0, echo: 0, link: 0, datagram: 0 };

/// Makes flow records in end order, `per_second` of them.
#[derive(Debug)]
pub struct Flows {
    dice: Dice,
    mix: Mix,
    now: i64,
    step: f64,
}

struct Packet {
    at: i64,
    size: u16,
    direction: Direction,
}

impl Flows {
    /// From a seed.
    pub fn new(seed: u64, mix: Mix, per_second: u32) -> Self {
        Self { dice: Dice::new(seed), mix, now: START, step: 1e9 / f64::from(per_second) }
    }

    /// The next epoch of `rows` rows.
    pub fn batch(&mut self, rows: usize) -> FlowBatch {
        let rows = (0..rows).map(|_| self.flow()).collect();
        FlowBatch::new(rows, self.now)
    }

    fn flow(&mut self) -> Flow {
        self.now += self.dice.around(self.step) as i64;
        let Mix { dns, announcement, echo, link, datagram, .. } = self.mix;
        let draw = self.dice.below(100);
        let device = self.dice.below(DEVICES);
        let end = self.now;
        if draw < dns {
            let packets = self.exchange(end, 1, 1, 76, 180, 9e6);
            self.ip(device, 17, 53, 5, &packets, false)
        } else if draw < dns + announcement {
            let packets = self.exchange(end, 1, 0, 220, 0, 0.0);
            let port = self.dice.pick(&[137, 1900, 5353, 67]);
            self.ip(device, 17, port, 255, &packets, false)
        } else if draw < dns + announcement + echo {
            let packets = self.exchange(end, 4, 4, 84, 84, 4e8);
            self.ip(device, 1, 0, 12, &packets, false)
        } else if draw < dns + announcement + echo + link {
            self.link(device, end)
        } else if draw < dns + announcement + echo + link + datagram {
            let several = 2 + self.dice.below(6);
            let packets = self.exchange(end, several, several, 90, 130, 2e8);
            let port = self.dice.pick(&[161, 123, 5060]);
            self.ip(device, 17, port, 18, &packets, false)
        } else {
            let (server, port) = self.dice.pick(&SERVERS);
            let forward = 5 + self.dice.around(14.0) as u64;
            let reverse = 4 + self.dice.around(16.0) as u64;
            let packets = self.exchange(end, forward, reverse, 180, 700, 2e7);
            let mut flow = self.ip(device, 6, port, server, &packets, true);
            self.tcp(&mut flow);
            flow
        }
    }

    /// Packets of both directions in time order, the last one at `end`.
    fn exchange(&mut self, end: i64, forward: u64, reverse: u64, ask: u64, answer: u64, gap: f64) -> Vec<Packet> {
        let mut left = [forward, reverse];
        let mut packets = Vec::new();
        let mut before = 0;
        while left[0] + left[1] > 0 {
            let turn = usize::from(packets.len() % 2 == 1);
            let side = if left[turn] > 0 { turn } else { 1 - turn };
            left[side] -= 1;
            let mean = if side == 0 { ask } else { answer };
            let size = match self.dice.below(3) {
                0 => 52,
                1 => 40 + self.dice.around(mean as f64) as u64,
                _ => mean + self.dice.below(24),
            };
            packets.push(Packet {
                at: before,
                size: size.clamp(40, 1500) as u16,
                direction: if side == 0 { Direction::Forward } else { Direction::Reverse },
            });
            before += self.gap(gap);
        }
        let last = packets.last().map_or(0, |packet| packet.at);
        packets.iter_mut().for_each(|packet| packet.at += end - last);
        packets
    }

    /// Time to the next packet: within a burst, a round trip, or a pause of `pause` on average.
    fn gap(&mut self, pause: f64) -> i64 {
        300 + match self.dice.below(10) {
            0..=4 => self.dice.around(20_000.0) as i64,
            5..=7 => self.dice.around(400_000.0) as i64,
            _ => self.dice.around(pause) as i64,
        }
    }

    fn ip(&mut self, device: u64, protocol: u8, port: u16, server: u8, packets: &[Packet], tcp: bool) -> Flow {
        let v6 = device.is_multiple_of(11);
        let vlan = 100 + (device / 40) as u16;
        let host = |net: u8, host: u8| {
            if v6 {
                Address::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, net.into(), 0, 0, 0, host.into()))
            } else {
                Address::V4(Ipv4Addr::new(10, 20, net, host))
            }
        };
        let mut flow = self.blank(packets);
        let responder_mac = Mac([0, 0x1b, 0x21, 0, 0, if server == 255 { 255 } else { 1 }]);
        flow.endpoint = Both([
            Endpoint {
                address: host((device / 200) as u8, (device % 200) as u8 + 20),
                port: (protocol != 1).then(|| 32768 + self.dice.below(28_000) as u16),
                mac: Some(mac_of(device)),
            },
            Endpoint { address: host(200, server), port: (protocol != 1).then_some(port), mac: Some(responder_mac) },
        ]);
        flow.protocol = Some(protocol);
        flow.ethertype = Some(if v6 { 0x86dd } else { 0x0800 });
        (flow.icmp_type, flow.icmp_code) = if protocol == 1 { (Some(8), Some(0)) } else { (None, None) };
        let mut community = [0; 20];
        for chunk in community.chunks_mut(8) {
            chunk.copy_from_slice(&self.dice.roll().to_le_bytes()[..chunk.len()]);
        }
        flow.community_id = Some(community);
        for direction in Direction::BOTH {
            let side = &mut flow.side[direction];
            let ttl = if direction == Direction::Forward { [64, 128, 255][(device % 3) as usize] } else { 63 };
            (side.ttl_min, side.ttl_max, side.dscp, side.traffic_class_union) = (Some(ttl), Some(ttl), Some(0), Some(0));
            side.vlan_id = Some(vlan);
            side.payload_octets = side.octets - side.packets * if tcp { 32 } else { 28 };
        }
        flow
    }

    fn link(&mut self, device: u64, end: i64) -> Flow {
        let packets = [Packet { at: end, size: 46, direction: Direction::Forward }];
        let mut flow = self.blank(&packets);
        let mac = mac_of(device);
        flow.endpoint =
            Both([mac, Mac([255; 6])].map(|mac| Endpoint { address: Address::Link(Some(mac)), port: None, mac: Some(mac) }));
        flow.ethertype = Some(0x0806);
        flow
    }

    fn blank(&mut self, packets: &[Packet]) -> Flow {
        let mut first_packets = [None; FIRST_PACKETS];
        for (slot, packet) in first_packets.iter_mut().zip(packets) {
            *slot = Some(FirstPacket { at: packet.at, size: packet.size, direction: packet.direction });
        }
        let both = packets.iter().any(|packet| packet.direction == Direction::Reverse);
        let nowhere = Endpoint { address: Address::Link(None), port: None, mac: None };
        Flow {
            flow_id: self.dice.roll(),
            segment: 0,
            start: packets[0].at,
            end: packets[packets.len() - 1].at,
            end_reason: FlowEndReason::IdleTimeout,
            initiator_by: InitiatorBy::FirstPacket,
            sidedness: if both { Sidedness::TwoSided } else { Sidedness::Undecided },
            endpoint: Both([nowhere; 2]),
            protocol: None,
            ethertype: None,
            icmp_type: None,
            icmp_code: None,
            is_fragment: false,
            fragment_of: None,
            community_id: None,
            parse_stop: 0,
            side: Both(Direction::BOTH.map(|direction| side(packets, direction))),
            handshake_rtt_responder: None,
            handshake_rtt_initiator: None,
            first_packets,
        }
    }

    fn tcp(&mut self, flow: &mut Flow) {
        flow.end_reason = FlowEndReason::EndOfFlowDetected;
        flow.initiator_by = InitiatorBy::Syn;
        flow.handshake_rtt_responder = Some(150_000 + self.dice.around(200_000.0) as u64);
        flow.handshake_rtt_initiator = Some(50_000 + self.dice.around(80_000.0) as u64);
        for direction in Direction::BOTH {
            let forward = direction == Direction::Forward;
            let repeats = if self.dice.chance(5) { 1 + self.dice.below(3) as u32 } else { 0 };
            flow.side[direction].tcp = Some(TcpSide {
                control_bits: 0x1b,
                syn: 1,
                fin: 1,
                rst: 0,
                retransmissions: repeats,
                out_of_order: 0,
                sequence_exact: true,
                zero_windows: 0,
                handshake: Some(TcpOpening {
                    window: if forward { 64_240 } else { 65_160 },
                    mss: Some(1460),
                    scale: Some(if forward { 8 } else { 7 }),
                    options: if forward { 0x3_1842 } else { 0x3_1412 },
                }),
            });
        }
    }
}

fn mac_of(device: u64) -> Mac {
    let maker = [[0, 0x09, 0xfb], [0, 0x1f, 0x5b], [0xac, 0x1f, 0x6b], [0x3c, 0xec, 0xef]][(device % 4) as usize];
    let [a, b, c] = maker;
    let low = device.wrapping_mul(0x9e37_79b9) as u32;
    Mac([a, b, c, (low >> 16) as u8, (low >> 8) as u8, low as u8])
}

/// Features of one direction of `packets`.
fn side(packets: &[Packet], direction: Direction) -> Side {
    let own: Vec<&Packet> = packets.iter().filter(|packet| packet.direction == direction).collect();
    let (Some(first), Some(last)) = (own.first(), own.last()) else { return Side::default() };
    let sizes: Vec<f64> = own.iter().map(|packet| f64::from(packet.size)).collect();
    let octets: u64 = own.iter().map(|packet| u64::from(packet.size)).sum();
    let gaps: Vec<u64> = own.windows(2).map(|pair| (pair[1].at - pair[0].at).unsigned_abs()).collect();
    let mut histogram = [0; SIZE_BINS];
    for packet in &own {
        histogram[(packet.size as usize / 200).min(SIZE_BINS - 1)] += 1;
    }
    let (size_mean, size_std) = mean_and_std(&sizes);
    let (mean, std) = mean_and_std(&gaps.iter().map(|&gap| gap as f64).collect::<Vec<_>>());
    let extremes = gaps.iter().min().zip(gaps.iter().max());
    Side {
        packets: own.len() as u64,
        octets,
        layer2_octets: octets + 18 * own.len() as u64,
        payload_octets: octets,
        first: first.at,
        last: last.at,
        size_min: own.iter().map(|packet| packet.size).min().unwrap_or_default(),
        size_max: own.iter().map(|packet| packet.size).max().unwrap_or_default(),
        size_mean,
        size_std,
        histogram,
        intervals: extremes.map(|(&min, &max)| Intervals { min, max, mean, std }),
        observation_point: Some(0),
        ..Side::default()
    }
}

fn mean_and_std(values: &[f64]) -> (f64, f64) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}
