//! Tests of the lake: what goes in comes out under the right name, files are whole, named after their content and cut alike.

mod files;
mod pages;
mod vector;

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::Arc,
};

use auscult_ebpf::record::Tunnel;

use super::{LakeSettings, Writer};
use crate::flow::{
    Address, Both, Direction, Endpoint, FirstPacket, Flow, FlowBatch, FlowEndReason, InitiatorBy, Intervals, Mac,
    ObservationPoint, Side, TcpOpening, TcpSide, TunnelEnds, Tunnels,
};
use crate::sidedness::Sidedness;

/// 2026-03-02T08:00:00Z.
pub const T: i64 = 1_772_438_400_000_000_000;
pub const SECOND: i64 = 1_000_000_000;

pub fn points() -> Vec<ObservationPoint> {
    ["tap0", "tap1", "tap2"].map(|name| ObservationPoint { name: Arc::from(name) }).to_vec()
}

/// One direction; every field has a value that no other field of the flow has.
fn side(base: u64, direction: Direction) -> Side {
    Side {
        packets: base + 1,
        octets: base + 2,
        layer2_octets: base + 3,
        payload_octets: base + 4,
        first: T + base as i64 * 10,
        last: T + base as i64 * 10 + base as i64 + 5,
        size_min: base as u16 + 6,
        size_max: base as u16 + 7,
        size_mean: 0.0,
        size_std: base as f64 + 8.0625,
        histogram: std::array::from_fn(|bin| base as u32 + 9 + bin as u32),
        intervals: Some(Intervals { min: base + 20, max: base + 21, mean: 0.0, std: base as f64 + 22.25 }),
        split: direction == Direction::Reverse,
        ttl_min: Some(30 + direction as u8),
        ttl_max: Some(32 + direction as u8),
        dscp: Some(34 + direction as u8),
        traffic_class_union: Some(36 + direction as u8),
        tcp: Some(TcpSide {
            control_bits: 38 + direction as u8,
            syn: base as u32 + 40,
            fin: base as u32 + 41,
            rst: base as u32 + 42,
            retransmissions: base as u32 + 43,
            out_of_order: base as u32 + 44,
            sequence_exact: direction == Direction::Forward,
            zero_windows: base as u32 + 45,
            handshake: Some(TcpOpening {
                window: base as u16 + 46,
                mss: Some(base as u16 + 47),
                scale: Some(48 + direction as u8),
                options: if direction == Direction::Forward { 0x3_1842 } else { 0xf2 },
            }),
        }),
        vlan_id: Some(base as u16 + 49),
        inner_vlan_id: Some(base as u16 + 50),
        observation_point: Some(1 + direction as u32),
        tunnels: Some(Arc::new(Tunnels {
            outer: TunnelEnds {
                kind: Tunnel::Erspan2,
                addresses: Some([[192, 0, 2, 1].into(), [192, 0, 2, 2 + direction as u8].into()]),
                id: Some(base as u32 + 51),
            },
            inner: Some(TunnelEnds {
                kind: Tunnel::Vxlan,
                addresses: Some([[203, 0, 113, 1].into(), Ipv6Addr::LOCALHOST.into()]),
                id: Some(base as u32 + 52),
            }),
        })),
    }
}

/// A TCP flow with every field set, each to a value of its own.
pub fn full() -> Flow {
    let mut first_packets = [None; 8];
    let packet = |at: i64, size, direction| Some(FirstPacket { at: T + at, size, direction });
    first_packets[0] = packet(0, 61, Direction::Forward);
    first_packets[1] = packet(70, 62, Direction::Reverse);
    first_packets[2] = packet(171, 63, Direction::Forward);
    Flow {
        flow_id: 0xfedc_ba98_7654_3210,
        segment: 3,
        start: T,
        end: T + 90 * SECOND + 1,
        end_reason: FlowEndReason::ActiveTimeout,
        initiator_by: InitiatorBy::SynAck,
        sidedness: Sidedness::OneSided,
        endpoint: Both([
            Endpoint {
                address: Address::V4(Ipv4Addr::new(10, 0, 0, 5)),
                port: Some(50_001),
                mac: Some(Mac([2, 0, 0, 0, 0, 0xa])),
            },
            Endpoint {
                address: Address::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7)),
                port: Some(104),
                mac: Some(Mac([2, 0, 0, 0, 0, 0xb])),
            },
        ]),
        protocol: Some(6),
        ethertype: Some(0x86dd),
        icmp_type: Some(51),
        icmp_code: Some(52),
        is_fragment: true,
        fragment_of: Some(53),
        community_id: Some(std::array::from_fn(|octet| octet as u8)),
        parse_stop: 7,
        side: Both([side(1000, Direction::Forward), side(2000, Direction::Reverse)]),
        handshake_rtt_responder: Some(54),
        handshake_rtt_initiator: Some(55),
        first_packets,
    }
}

/// One UDP packet without an answer, `at` after [`T`].
pub fn lonely(id: u64, at: i64) -> Flow {
    let mut flow = full();
    (flow.flow_id, flow.segment, flow.start, flow.end) = (id, 0, T + at, T + at);
    (flow.protocol, flow.icmp_type, flow.icmp_code, flow.fragment_of, flow.is_fragment) = (Some(17), None, None, None, false);
    (flow.handshake_rtt_initiator, flow.handshake_rtt_responder) = (None, None);
    flow.first_packets = [None; 8];
    flow.first_packets[0] = Some(FirstPacket { at: T + at, size: 80, direction: Direction::Forward });
    let forward = &mut flow.side[Direction::Forward];
    (forward.packets, forward.octets, forward.layer2_octets, forward.tcp, forward.intervals) = (1, 80, 94, None, None);
    (forward.first, forward.last) = (T + at, T + at);
    flow.side[Direction::Reverse] = Side::default();
    flow
}

pub fn batch(rows: Vec<Flow>, watermark: i64) -> FlowBatch {
    FlowBatch::new(rows, T + watermark)
}

pub fn writer(directory: &Path, settings: &LakeSettings) -> Writer {
    Writer::open(directory, "ward-3", settings, "test").unwrap()
}

/// Paths of all files below `directory`, relative to it, sorted.
pub fn tree(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { waiting.push(path) } else { found.push(path.strip_prefix(directory).unwrap().to_owned()) }
        }
    }
    found.sort();
    found
}
