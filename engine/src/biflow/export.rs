//! A live flow to a flow record.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use auscult_ebpf::{
    limit::FIRST_PACKETS,
    record::{FORM_FRAGMENT, FORM_IPV4, FORM_IPV6, FORM_PORTLESS, FlowKey},
};

use super::{
    community_id::{Ports, community_id},
    entry::Entry,
    side::{HAS_ACK, HAS_MACS, HAS_SYN, SPLIT, SYN_IS_ACK, SideState},
    sidedness::sidedness,
};
use crate::flow::{
    Address, Both, Direction, Endpoint, FirstPacket, Flow, FlowEndReason, Intervals, Mac, Side, TcpOpening, TcpSide, Tunnels,
    UnixNanos,
};

/// VLAN identifier in a tag's control information.
const VLAN_ID: u16 = 0x0fff;

/// Observation time to Unix time.
pub(super) const fn unix(at: u64, utc_offset: i64) -> UnixNanos {
    (at as i64).wrapping_add(utc_offset)
}

/// End of the row of a flow's current segment.
pub(super) fn row_end(entry: &Entry, utc_offset: i64) -> UnixNanos {
    let seen = entry.side.iter().filter(|side| side.packets > 0);
    unix(seen.map(|side| side.last).max().unwrap_or(entry.last), utc_offset)
}

/// The row of a flow's current segment. `flow_id`, `fragment_of` (zero: none) and `tunnels` were found by the table.
pub(super) fn export(
    entry: &Entry,
    reason: FlowEndReason,
    utc_offset: i64,
    flow_id: u64,
    fragment_of: u64,
    mut tunnels: [Option<Arc<Tunnels>>; 2],
) -> Flow {
    let (initiator, initiator_by) = entry.initiator();
    let forward = usize::from(initiator);
    let key = &entry.key;
    let ports = Ports::of(key);
    let is_ip = base_form(key) != 0;
    let sides = [&entry.side[forward], &entry.side[1 - forward]];
    let [responder_rtt, initiator_rtt] = handshake(sides);
    let seen = || sides.into_iter().filter(|side| side.packets > 0);
    Flow {
        flow_id,
        segment: entry.segment,
        start: unix(seen().map(|side| side.first).min().unwrap_or(entry.start), utc_offset),
        end: row_end(entry, utc_offset),
        end_reason: reason,
        initiator_by,
        sidedness: sidedness(entry),
        endpoint: Both([endpoint(entry, forward), endpoint(entry, 1 - forward)]),
        protocol: is_ip.then_some(key.protocol),
        ethertype: ethertype(key),
        icmp_type: matches!(ports, Ports::OneWay | Ports::Pair).then_some(key.port[0] as u8),
        icmp_code: match ports {
            Ports::OneWay => Some(key.port[1] as u8),
            Ports::Pair => Some(0),
            Ports::Transport | Ports::None => None,
        },
        is_fragment: key.form & FORM_FRAGMENT != 0,
        fragment_of: (fragment_of != 0).then_some(fragment_of),
        community_id: community_id(key, forward, entry.side.map(|side| side.control_bits)),
        parse_stop: entry.stop,
        side: Both([
            side_row(sides[0], is_ip, entry.is_tcp(), utc_offset, tunnels[forward].take()),
            side_row(sides[1], is_ip, entry.is_tcp(), utc_offset, tunnels[1 - forward].take()),
        ]),
        handshake_rtt_responder: responder_rtt,
        handshake_rtt_initiator: initiator_rtt,
        first_packets: first_packets(entry, forward, utc_offset),
    }
}

/// `form` without its flag bits.
fn base_form(key: &FlowKey) -> u8 {
    key.form & !(FORM_FRAGMENT | FORM_PORTLESS)
}

fn ethertype(key: &FlowKey) -> Option<u16> {
    match base_form(key) {
        FORM_IPV4 => Some(0x0800),
        FORM_IPV6 => Some(0x86dd),
        _ => (key.scope != 0).then_some(key.scope),
    }
}

fn endpoint(entry: &Entry, d: usize) -> Endpoint {
    let key = &entry.key;
    let [own, other] = [&entry.side[d], &entry.side[1 - d]];
    let mac = if own.packets > 0 {
        own.is(HAS_MACS).then_some(own.link.source)
    } else {
        // Cooked links carry the sender's MAC only and leave the target zero, which no host's is.
        let carried = other.link.target != [0; 6];
        (other.packets > 0 && other.is(HAS_MACS) && carried).then_some(other.link.target)
    };
    let octets = key.address[d];
    let address = match base_form(key) {
        FORM_IPV4 => Address::V4(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3])),
        FORM_IPV6 => Address::V6(Ipv6Addr::from(octets)),
        _ => {
            let link = [octets[0], octets[1], octets[2], octets[3], octets[4], octets[5]];
            Address::Link((mac.is_some() || link != [0; 6]).then_some(Mac(link)))
        }
    };
    let port = (Ports::of(key) == Ports::Transport).then_some(key.port[d]);
    Endpoint { address, port, mac: mac.map(Mac) }
}

fn side_row(side: &SideState, is_ip: bool, is_tcp: bool, utc_offset: i64, tunnels: Option<Arc<Tunnels>>) -> Side {
    if side.packets == 0 {
        return Side::default();
    }
    let (size_mean, size_std) = moments(side.packets, side.octets, side.octets_squared.get());
    let intervals = (side.packets > 1 && !side.is(SPLIT)).then(|| {
        let (mean, std) = moments(side.packets - 1, side.last - side.first, side.interval_squared.get());
        Intervals { min: side.interval_min.get(), max: side.interval_max.get(), mean, std }
    });
    let vlan = |i: usize| (usize::from(side.tag_count) > i).then_some(side.link.tags[i] & VLAN_ID);
    Side {
        packets: side.packets,
        octets: side.octets,
        layer2_octets: side.layer2_octets,
        payload_octets: side.payload_octets,
        first: unix(side.first, utc_offset),
        last: unix(side.last, utc_offset),
        size_min: side.size_min,
        size_max: side.size_max,
        size_mean,
        size_std,
        histogram: side.histogram,
        intervals,
        split: side.is(SPLIT),
        ttl_min: is_ip.then_some(side.ttl_min),
        ttl_max: is_ip.then_some(side.ttl_max),
        dscp: is_ip.then_some(side.class_first >> 2),
        traffic_class_union: is_ip.then_some(side.class_union),
        tcp: is_tcp.then(|| tcp_row(side)),
        vlan_id: vlan(0),
        inner_vlan_id: vlan(1),
        observation_point: Some(side.observation_point),
        tunnels,
    }
}

fn tcp_row(side: &SideState) -> TcpSide {
    TcpSide {
        control_bits: side.control_bits,
        syn: side.syn,
        fin: side.fin,
        rst: side.rst,
        retransmissions: side.sequence.retransmissions,
        out_of_order: side.sequence.out_of_order,
        sequence_exact: !side.sequence.inexact,
        zero_windows: side.zero_windows,
        handshake: side.is(HAS_SYN).then(|| TcpOpening {
            window: side.window,
            mss: (side.mss != 0).then_some(side.mss),
            scale: side.scale.checked_sub(1),
            options: side.options,
        }),
    }
}

/// SYN to SYN/ACK and SYN/ACK to ACK, where each of the two was seen once and the times are in that order.
fn handshake([forward, reverse]: [&SideState; 2]) -> [Option<u64>; 2] {
    let once = forward.syn == 1
        && reverse.syn == 1
        && forward.is(HAS_SYN)
        && !forward.is(SYN_IS_ACK)
        && reverse.is(HAS_SYN | SYN_IS_ACK);
    if !once || reverse.syn_at < forward.syn_at {
        return [None; 2];
    }
    let acknowledged = if forward.is(HAS_ACK) { forward.ack_at.checked_sub(reverse.syn_at) } else { None };
    [Some(reverse.syn_at - forward.syn_at), acknowledged]
}

fn first_packets(entry: &Entry, forward: usize, utc_offset: i64) -> [Option<FirstPacket>; FIRST_PACKETS] {
    std::array::from_fn(|i| {
        let direction = usize::from(entry.first_direction >> i & 1);
        (i < usize::from(entry.first_count)).then(|| FirstPacket {
            at: unix(entry.first_at(i), utc_offset),
            size: entry.first_size[i],
            direction: if direction == forward { Direction::Forward } else { Direction::Reverse },
        })
    })
}

/// Mean and population standard deviation of `count` values with that sum and sum of squares. The variance is formed in integers
/// (`n·Σx² − (Σx)²`), so nothing cancels.
pub(super) fn moments(count: u64, sum: u64, squares: u128) -> (f64, f64) {
    let n = count as f64;
    let spread = u128::from(count)
        .checked_mul(squares)
        .map(|scaled| scaled.saturating_sub(u128::from(sum) * u128::from(sum)) as f64)
        .unwrap_or_else(|| (n * squares as f64 - sum as f64 * sum as f64).max(0.0));
    (sum as f64 / n, spread.sqrt() / n)
}

#[cfg(test)]
mod tests {
    use super::moments;

    #[test]
    fn moments_do_not_cancel() {
        assert_eq!(moments(3, 6, 14), (2.0, 6.0f64.sqrt() / 3.0));
        assert_eq!(moments(1, 9, 81), (9.0, 0.0));
        // Two values that differ by two, far from zero: the deviation is exactly one.
        let (a, b) = (3_600_000_000_000u64, 3_600_000_000_002u64);
        let squares = u128::from(a).pow(2) + u128::from(b).pow(2);
        assert_eq!(moments(2, a + b, squares), (3_600_000_000_001.0, 1.0));
    }
}
