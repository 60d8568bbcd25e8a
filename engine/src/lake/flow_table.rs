//! The table `flows`: one row per flow record.

use std::sync::LazyLock;

use auscult_ebpf::discard::ParseStop;

use super::{
    column::{Item, List, Name, Time},
    schema::{Column, Table},
};
use crate::flow::{Address, Direction, FirstPacket, Flow, Side, TcpOpening, TcpSide};

const NOT_IP: &str = "the flow is not IP";
const NO_PACKETS: &str = "the direction has no packets";
const NO_ORDER: &str = "the direction has fewer than two packets, or its packets' order is not known (`_is_split`)";
const NOT_TCP: &str = "not TCP, or the direction has no packets";
const NO_SYN: &str = "not TCP, or the direction's SYN or SYN/ACK was not seen";
const NO_RTT: &str = "not TCP, or not both segments were seen, once each";

/// The table.
pub fn table() -> &'static Table<Flow> {
    static TABLE: LazyLock<Table<Flow>> = LazyLock::new(|| {
        let mut columns = Vec::new();
        record(&mut columns);
        ends(&mut columns);
        opening(&mut columns);
        for direction in Direction::BOTH {
            volume(&mut columns, direction);
            times(&mut columns, direction);
            network(&mut columns, direction);
            transport(&mut columns, direction);
        }
        Table {
            name: "flows",
            definition: "One biflow (RFC 5103), or one segment of a long one. `forward_` is from the initiator to the responder.",
            columns,
            // Flows to one responder resemble each other. Bench `lake`, hospital mix, bytes per row: 96.1 so, 107.5 by initiator and
            // start, 112.6 by start alone.
            sort: ["responder_address", "flow_start"],
            filed_by: "flow_end",
        }
    });
    &TABLE
}

type Columns = Vec<Column<Flow>>;

fn record(out: &mut Columns) {
    out.push(Column::required(
        "flow_id",
        "",
        "Id of the biflow, the same in all its segments; stable over replays.",
        |f: &Flow| f.flow_id.cast_signed(),
    ));
    out.push(Column::required("segment", "", "0 for the first segment of a biflow, then counting.", |f: &Flow| f.segment));
    out.push(Column::required("flow_start", "ns", "Time of the first packet of the segment.", |f: &Flow| Time(f.start)));
    out.push(Column::required("flow_end", "ns", "Time of the last packet of the segment.", |f: &Flow| Time(f.end)));
    let reasons = "Why the record was written (IE flowEndReason): idle_timeout, active_timeout, end_of_flow_detected, forced_end, lack_of_resources.";
    out.push(Column::required("end_reason", "", reasons, |f: &Flow| Name::Fixed(f.end_reason.name())));
    let found = "How the initiator was found: syn, syn_ack, first_packet, tie.";
    out.push(Column::required("initiator_by", "", found, |f: &Flow| Name::Fixed(f.initiator_by.name())));
    out.push(Column::nullable("protocol", "", NOT_IP, "IP protocol number.", |f: &Flow| f.protocol));
    let ethertype = "Ethertype; 2048 and 34525 for IP.";
    out.push(Column::nullable("ethertype", "", "the frame is 802.3", ethertype, |f: &Flow| f.ethertype));
    let icmp = "the flow is not ICMP or ICMPv6";
    let kind = "Type of the first packet's kind: the request type of request and reply.";
    out.push(Column::nullable("icmp_type", "", icmp, kind, |f: &Flow| f.icmp_type));
    out.push(Column::nullable("icmp_code", "", icmp, "Code; 0 for request and reply.", |f: &Flow| f.icmp_code));
    let fragment = "The record counts non-first fragments, which have no ports.";
    out.push(Column::required("is_fragment", "", fragment, |f: &Flow| f.is_fragment));
    let whose = "not fragments, or their first one was not seen or is no longer remembered";
    let owner = "`flow_id` of the flow whose first fragment these belong to.";
    out.push(Column::nullable("fragment_of", "", whose, owner, |f: &Flow| f.fragment_of.map(u64::cast_signed)));
    out.push(Column::nullable("community_id", "", NOT_IP, "Community ID, version 1, seed 0.", |f: &Flow| f.community_id));
    let stop = "How far the least complete parse of any packet came; complete: every header was read.";
    out.push(Column::required("parse_stop", "", stop, |f: &Flow| {
        Name::Fixed(ParseStop::from_number(f.parse_stop).map_or("unknown", ParseStop::name))
    }));
}

fn ends(out: &mut Columns) {
    for (end, direction) in [("initiator", Direction::Forward), ("responder", Direction::Reverse)] {
        let none = "the flow is not IP and its frames do not carry this address";
        let address = "IPv4 or IPv6 address; the MAC address when the flow is not IP.";
        out.push(Column::nullable(format!("{end}_address"), "", none, address, move |f: &Flow| {
            match f.endpoint[direction].address {
                Address::Link(None) => None,
                address => Some(Name::Address(address)),
            }
        }));
        let none = "the protocol has no ports, the record counts fragments, or the transport header was truncated";
        out.push(Column::nullable(format!("{end}_port"), "", none, "Transport port.", move |f: &Flow| {
            f.endpoint[direction].port
        }));
        let mac = "MAC that frames from this end carried as source (a router's, for routed hosts), or frames to it as target.";
        out.push(Column::nullable(format!("{end}_mac"), "", "the link's frames do not carry it", mac, move |f: &Flow| {
            f.endpoint[direction].mac.map(Name::Mac)
        }));
    }
}

fn opening(out: &mut Columns) {
    let rtt = "SYN to SYN/ACK: round trip to the responder and its answering time.";
    out.push(Column::nullable("handshake_rtt_responder_nanos", "ns", NO_RTT, rtt, |f: &Flow| {
        f.handshake_rtt_responder.map(u64::cast_signed)
    }));
    let rtt = "SYN/ACK to the initiator's ACK: round trip to the initiator and its answering time.";
    out.push(Column::nullable("handshake_rtt_initiator_nanos", "ns", NO_RTT, rtt, |f: &Flow| {
        f.handshake_rtt_initiator.map(u64::cast_signed)
    }));
    let sizes = "Sizes of the first packets in time order (as in `_octets`), at most 8; negative in the reverse direction.";
    out.push(Column::required("first_packet_sizes", "octets", sizes, |f: &Flow| {
        first_packets(f, |packet| match packet.direction {
            Direction::Forward => i32::from(packet.size),
            Direction::Reverse => -i32::from(packet.size),
        })
    }));
    let gaps = "Time from each of the first packets to the next, in the order of `first_packet_sizes`; one less than those.";
    out.push(Column::required("first_packet_gaps_nanos", "ns", gaps, |f: &Flow| {
        let mut gaps = List::default();
        let times = f.first_packets.iter().flatten().map(|packet| packet.at);
        for (from, to) in times.clone().zip(times.skip(1)) {
            gaps.items[gaps.length] = to - from;
            gaps.length += 1;
        }
        gaps
    }));
}

fn first_packets<T: Copy + Default>(flow: &Flow, value: impl Fn(&FirstPacket) -> T) -> List<T> {
    let mut list = List::default();
    for packet in flow.first_packets.iter().flatten() {
        list.items[list.length] = value(packet);
        list.length += 1;
    }
    list
}

fn name(direction: Direction, what: &str) -> String {
    match direction {
        Direction::Forward => format!("forward_{what}"),
        Direction::Reverse => format!("reverse_{what}"),
    }
}

fn count(octets: u64) -> i64 {
    i64::try_from(octets).unwrap_or(i64::MAX)
}

/// A real number with its lowest bits rounded off: 31 are left behind the point, an error of at most 2^-32 of the value, which is a
/// quarter of what 1e-9 allows. Random bits are what files are made of: this saves two octets per number.
fn shortened(value: f64) -> f64 {
    const CUT: u32 = 52 - 31;
    if !value.is_finite() {
        return value;
    }
    // Rounding up may carry into the exponent, which is right.
    f64::from_bits((value.to_bits() + (1 << (CUT - 1))) & !((1 << CUT) - 1))
}

/// A feature that exists when the direction has packets.
fn seen<T>(flow: &Flow, direction: Direction, value: impl FnOnce(&Side) -> T) -> Option<T> {
    let side = &flow.side[direction];
    (side.packets > 0).then(|| value(side))
}

fn volume(out: &mut Columns, d: Direction) {
    let sum = "IP total length (payload of the link for other frames), summed.";
    let frames = "Frame octets on the wire, outer headers included, summed.";
    out.push(Column::required(name(d, "packets"), "packets", "Packets.", move |f: &Flow| count(f.side[d].packets)));
    out.push(Column::required(name(d, "octets"), "octets", sum, move |f: &Flow| count(f.side[d].octets)));
    out.push(Column::required(name(d, "layer2_octets"), "octets", frames, move |f: &Flow| count(f.side[d].layer2_octets)));
    let payload = "Transport payload, summed.";
    out.push(Column::required(name(d, "payload_octets"), "octets", payload, move |f: &Flow| count(f.side[d].payload_octets)));
    let smallest = "Smallest packet (as in `_octets`; 65535: that or more).";
    out.push(Column::nullable(name(d, "size_min"), "octets", NO_PACKETS, smallest, move |f: &Flow| {
        seen(f, d, |side| side.size_min)
    }));
    let largest = "Largest packet (65535: that or more).";
    out.push(Column::nullable(name(d, "size_max"), "octets", NO_PACKETS, largest, move |f: &Flow| {
        seen(f, d, |side| side.size_max)
    }));
    let spread = "Population standard deviation of the packet size, to 31 bits; 0 for one packet; the mean is octets / packets.";
    out.push(Column::nullable(name(d, "size_std"), "octets", NO_PACKETS, spread, move |f: &Flow| {
        seen(f, d, |side| shortened(side.size_std))
    }));
    let bins = "Packets by size, 8 bins; their borders are those of the meter.";
    out.push(Column::nullable(name(d, "size_histogram"), "packets", NO_PACKETS, bins, move |f: &Flow| {
        seen(f, d, |side| List { length: side.histogram.len(), items: side.histogram })
    }));
}

fn times(out: &mut Columns, d: Direction) {
    let first = "From `flow_start` to the direction's first packet.";
    out.push(Column::nullable(name(d, "starts_after_nanos"), "ns", NO_PACKETS, first, move |f: &Flow| {
        seen(f, d, |side| side.first - f.start)
    }));
    let duration = "From the direction's first packet to its last.";
    out.push(Column::nullable(name(d, "duration_nanos"), "ns", NO_PACKETS, duration, move |f: &Flow| {
        seen(f, d, |side| side.last - side.first)
    }));
    let interval = move |f: &Flow| {
        let side = &f.side[d];
        if side.packets > 0 { side.intervals } else { None }
    };
    let (shortest, longest) = ("Shortest time between two packets of the direction.", "Longest time between two packets.");
    out.push(Column::nullable(name(d, "interval_min_nanos"), "ns", NO_ORDER, shortest, move |f: &Flow| {
        interval(f).map(|interval| count(interval.min))
    }));
    out.push(Column::nullable(name(d, "interval_max_nanos"), "ns", NO_ORDER, longest, move |f: &Flow| {
        interval(f).map(|interval| count(interval.max))
    }));
    let spread =
        "Population standard deviation of those times, to 31 bits; 0 for two packets; the mean is duration / (packets - 1).";
    out.push(Column::nullable(name(d, "interval_std_nanos"), "ns", NO_ORDER, spread, move |f: &Flow| {
        interval(f).map(|interval| shortened(interval.std))
    }));
    let split = "The direction came over several CPUs or taps at overlapping times, so that its packets' order is not known.";
    out.push(Column::nullable(name(d, "is_split"), "", NO_PACKETS, split, move |f: &Flow| seen(f, d, |side| side.split)));
}

/// Appends a column of numbers that may be missing though the direction has packets.
fn number<T: Item + Default>(
    (out, d): (&mut Columns, Direction),
    what: &str,
    null: &'static str,
    definition: &'static str,
    get: impl Fn(&Side) -> Option<T> + Send + Sync + 'static,
) {
    let value = move |f: &Flow| seen(f, d, &get).flatten();
    out.push(Column::nullable(name(d, what), "", null, definition, value));
}

fn network(out: &mut Columns, d: Direction) {
    let null = "the flow is not IP, or the direction has no packets";
    number((out, d), "ttl_min", null, "Lowest TTL or hop limit.", |side| side.ttl_min);
    number((out, d), "ttl_max", null, "Highest TTL or hop limit.", |side| side.ttl_max);
    number((out, d), "dscp", null, "DSCP (RFC 2474) of the first packet.", |side| side.dscp);
    let union = "Union of all traffic-class octets (DSCP and ECN).";
    number((out, d), "traffic_class_union", null, union, |side| side.traffic_class_union);
    let untagged = "the first packet has no VLAN tag, or the direction has no packets";
    number((out, d), "vlan_id", untagged, "Outermost VLAN identifier of the first packet.", |side| side.vlan_id);
    let single = "the first packet has fewer than two VLAN tags, or the direction has no packets";
    number((out, d), "inner_vlan_id", single, "Second VLAN identifier of the first packet.", |side| side.inner_vlan_id);
    let point = "Observation point (interface) of the first packet.";
    out.push(Column::nullable(name(d, "observation_point"), "", NO_PACKETS, point, move |f: &Flow| {
        seen(f, d, |side| side.observation_point).flatten().map(Name::Point)
    }));
}

/// A direction's TCP features, where they are.
fn tcp(flow: &Flow, direction: Direction) -> Option<&TcpSide> {
    let side = &flow.side[direction];
    if side.packets > 0 { side.tcp.as_ref() } else { None }
}

/// Appends a column of one direction's TCP features.
fn segments<T: Item + Default>(
    (out, d): (&mut Columns, Direction),
    what: &str,
    definition: &'static str,
    get: impl Fn(&TcpSide) -> T + Send + Sync + 'static,
) {
    let value = move |f: &Flow| tcp(f, d).map(&get);
    out.push(Column::nullable(name(d, what), "packets", NOT_TCP, definition, value));
}

fn transport(out: &mut Columns, d: Direction) {
    let bits = "Union of the TCP control bits (IE tcpControlBits).";
    out.push(Column::nullable(name(d, "tcp_control_bits"), "", NOT_TCP, bits, move |f: &Flow| {
        tcp(f, d).map(|side| side.control_bits)
    }));
    segments((out, d), "tcp_syn_packets", "Segments with SYN.", |side| side.syn);
    segments((out, d), "tcp_fin_packets", "Segments with FIN.", |side| side.fin);
    segments((out, d), "tcp_rst_packets", "Segments with RST.", |side| side.rst);
    let repeats = "Segments that repeat sequence space; a lower bound unless `_tcp_sequence_exact`.";
    segments((out, d), "tcp_retransmitted_packets", repeats, |side| side.retransmissions);
    let late = "Segments that fill the newest gap; a lower bound unless `_tcp_sequence_exact`.";
    segments((out, d), "tcp_out_of_order_packets", late, |side| side.out_of_order);
    segments((out, d), "tcp_zero_window_packets", "Segments with a zero window and no RST.", |side| side.zero_windows);
    let exact = "The counts of repeats and reordering are exact.";
    out.push(Column::nullable(name(d, "tcp_sequence_exact"), "", NOT_TCP, exact, move |f: &Flow| {
        tcp(f, d).map(|side| side.sequence_exact)
    }));
    let syn = move |f: &Flow| -> Option<TcpOpening> { tcp(f, d)?.handshake };
    out.push(Column::nullable(name(d, "tcp_syn_window"), "octets", NO_SYN, "Window of the SYN, unscaled.", move |f: &Flow| {
        syn(f).map(|syn| syn.window)
    }));
    let without = "no SYN was seen, or it has no such option";
    out.push(Column::nullable(name(d, "tcp_syn_mss"), "octets", without, "MSS option of the SYN.", move |f: &Flow| syn(f)?.mss));
    out.push(Column::nullable(name(d, "tcp_syn_scale"), "", without, "Window-scale option of the SYN.", move |f: &Flow| {
        syn(f)?.scale
    }));
    let kinds = "Option kinds of the SYN in order, `2-4-8-1-3`; 15 for kinds above 14; empty for none.";
    out.push(Column::nullable(name(d, "tcp_syn_options"), "", NO_SYN, kinds, move |f: &Flow| {
        syn(f).map(|syn| Name::Options(syn.options))
    }));
}
