//! The table `flows`: one row per flow record.

use std::sync::LazyLock;

use auscult_ebpf::discard::ParseStop;

use super::{
    column::{List, Name, Time},
    schema::{self, Group, Table},
};
use crate::flow::{Address, Direction, FirstPacket, Flow, Intervals, Side, TcpOpening, TcpSide, TunnelEnds, Tunnels};

const NOT_IP: &str = "the flow is not IP";
const NO_PACKETS: &str = "the direction has no packets";
const NO_ORDER: &str = "the direction has fewer than two packets, or its packets' order is not known (`_is_split`)";
const NOT_TCP: &str = "not TCP, or the direction has no packets";
const NO_SYN: &str = "not TCP, or the direction's SYN or SYN/ACK was not seen";
const NO_RTT: &str = "not TCP, or not both segments were seen, once each";

/// Names in one row that the network chooses, so that every row may have others: addresses, MAC addresses and SYN options of both ends, and
/// the ends of two tunnels around each direction.
pub const CHOSEN_NAMES: usize = 14;

/// The table.
pub fn table() -> &'static Table<Flow> {
    static TABLE: LazyLock<Table<Flow>> = LazyLock::new(|| {
        let mut columns = Columns::default();
        record(&mut columns);
        ends(&mut columns);
        opening(&mut columns);
        Direction::BOTH.into_iter().for_each(|d| direction(&mut columns, d));
        // Flows to one responder resemble each other. Bench `lake`, hospital mix, bytes per row: 96.1 so, 107.5 by initiator and
        // start, 112.6 by start alone.
        let sort = ["responder_address", "flow_start"];
        let row = "One biflow (RFC 5103), or one segment of a long one. `forward_` is from the initiator to the responder.";
        columns.table("flows", row, sort, "flow_end")
    });
    &TABLE
}

type Columns = schema::Columns<Flow>;

fn record(out: &mut Columns) {
    out.add(Group::ALWAYS, "flow_id", "", "Id of the biflow, the same in all its segments; stable over replays.", |f: &Flow| {
        f.flow_id.cast_signed()
    });
    out.add(Group::ALWAYS, "segment", "", "0 for the first segment of a biflow, then counting.", |f: &Flow| f.segment);
    out.add(Group::ALWAYS, "flow_start", "ns", "Time of the first packet of the segment.", |f: &Flow| Time(f.start));
    out.add(Group::ALWAYS, "flow_end", "ns", "Time of the last packet of the segment.", |f: &Flow| Time(f.end));
    let reasons = "Why the record was written (IE flowEndReason): idle_timeout, active_timeout, end_of_flow_detected, forced_end, lack_of_resources.";
    out.add(Group::ALWAYS, "end_reason", "", reasons, |f: &Flow| Name::Fixed(f.end_reason.name()));
    let found = "How the initiator was found: syn, syn_ack, first_packet, tie.";
    out.add(Group::ALWAYS, "initiator_by", "", found, |f: &Flow| Name::Fixed(f.initiator_by.name()));
    let sides = "Whether both directions were seen up to the end of the segment: two_sided; one_sided (one was, and it proves that the other \
                 end spoke, as by acknowledging: the tap missed it); undecided (one was, and proves nothing).";
    out.add(Group::ALWAYS, "sidedness", "", sides, |f: &Flow| Name::Fixed(f.sidedness.name()));
    let ip = out.group(NOT_IP, |f: &Flow| f.protocol.is_some());
    out.add(ip, "protocol", "", "IP protocol number.", |f: &Flow| f.protocol.unwrap_or_default());
    let ethertype = "Ethertype; 2048 and 34525 for IP.";
    out.optional("ethertype", "", "the frame is 802.3", ethertype, |f: &Flow| f.ethertype);
    let icmp = "the flow is not ICMP or ICMPv6";
    let kind = "Type of the first packet's kind: the request type of request and reply.";
    out.optional("icmp_type", "", icmp, kind, |f: &Flow| f.icmp_type);
    out.optional("icmp_code", "", icmp, "Code; 0 for request and reply.", |f: &Flow| f.icmp_code);
    let fragment = "The record counts non-first fragments, which have no ports.";
    out.add(Group::ALWAYS, "is_fragment", "", fragment, |f: &Flow| f.is_fragment);
    let whose = "not fragments, or their first one was not seen or is no longer remembered";
    let owner = "`flow_id` of the flow whose first fragment these belong to.";
    out.optional("fragment_of", "", whose, owner, |f: &Flow| f.fragment_of.map(u64::cast_signed));
    out.optional("community_id", "", NOT_IP, "Community ID, version 1, seed 0.", |f: &Flow| f.community_id);
    let stop = "How far the least complete parse of any packet came; complete: every header was read.";
    out.add(Group::ALWAYS, "parse_stop", "", stop, |f: &Flow| {
        Name::Fixed(ParseStop::from_number(f.parse_stop).map_or("unknown", ParseStop::name))
    });
}

fn ends(out: &mut Columns) {
    for (end, direction) in [("initiator", Direction::Forward), ("responder", Direction::Reverse)] {
        let none = "the flow is not IP and its frames do not carry this address";
        let address = "IPv4 or IPv6 address; the MAC address when the flow is not IP.";
        out.optional(format!("{end}_address"), "", none, address, move |f: &Flow| match f.endpoint[direction].address {
            Address::Link(None) => None,
            address => Some(Name::Address(address)),
        });
        let none = "the protocol has no ports, the record counts fragments, or the transport header was truncated";
        out.optional(format!("{end}_port"), "", none, "Transport port.", move |f: &Flow| f.endpoint[direction].port);
        let mac = "MAC that frames from this end carried as source (a router's, for routed hosts), or frames to it as target.";
        out.optional(format!("{end}_mac"), "", "the link's frames do not carry it", mac, move |f: &Flow| {
            f.endpoint[direction].mac.map(Name::Mac)
        });
    }
}

fn opening(out: &mut Columns) {
    let rtt = "SYN to SYN/ACK: round trip to the responder and its answering time.";
    out.optional("handshake_rtt_responder_nanos", "ns", NO_RTT, rtt, |f: &Flow| f.handshake_rtt_responder.map(u64::cast_signed));
    let rtt = "SYN/ACK to the initiator's ACK: round trip to the initiator and its answering time.";
    out.optional("handshake_rtt_initiator_nanos", "ns", NO_RTT, rtt, |f: &Flow| f.handshake_rtt_initiator.map(u64::cast_signed));
    let sizes = "Sizes of the first packets in time order (as in `_octets`), at most 8; negative in the reverse direction.";
    out.add(Group::ALWAYS, "first_packet_sizes", "octets", sizes, |f: &Flow| {
        first_packets(f, |packet| match packet.direction {
            Direction::Forward => i32::from(packet.size),
            Direction::Reverse => -i32::from(packet.size),
        })
    });
    let gaps = "Time from each of the first packets to the next, in the order of `first_packet_sizes`; one less than those.";
    out.add(Group::ALWAYS, "first_packet_gaps_nanos", "ns", gaps, |f: &Flow| {
        let mut gaps = List::default();
        let times = f.first_packets.iter().flatten().map(|packet| packet.at);
        for (from, to) in times.clone().zip(times.skip(1)) {
            gaps.items[gaps.length] = to - from;
            gaps.length += 1;
        }
        gaps
    });
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

/// The columns of one direction.
fn direction(out: &mut Columns, d: Direction) {
    let seen = out.group(NO_PACKETS, move |f: &Flow| f.side[d].packets > 0);
    volume(out, d, seen);
    times(out, d, seen);
    network(out, d);
    tunnels(out, d);
    transport(out, d);
}

fn volume(out: &mut Columns, d: Direction, seen: Group) {
    let sum = "IP total length (payload of the link for other frames), summed.";
    let frames = "Frame octets on the wire, outer headers included, summed.";
    out.add(Group::ALWAYS, name(d, "packets"), "packets", "Packets.", move |f: &Flow| count(f.side[d].packets));
    out.add(Group::ALWAYS, name(d, "octets"), "octets", sum, move |f: &Flow| count(f.side[d].octets));
    out.add(Group::ALWAYS, name(d, "layer2_octets"), "octets", frames, move |f: &Flow| count(f.side[d].layer2_octets));
    let payload = "Transport payload, summed.";
    out.add(Group::ALWAYS, name(d, "payload_octets"), "octets", payload, move |f: &Flow| count(f.side[d].payload_octets));
    let smallest = "Smallest packet (as in `_octets`; 65535: that or more).";
    out.add(seen, name(d, "size_min"), "octets", smallest, move |f: &Flow| f.side[d].size_min);
    let largest = "Largest packet (65535: that or more).";
    out.add(seen, name(d, "size_max"), "octets", largest, move |f: &Flow| f.side[d].size_max);
    let spread = "Population standard deviation of the packet size, to 31 bits; 0 for one packet; the mean is octets / packets.";
    out.add(seen, name(d, "size_std"), "octets", spread, move |f: &Flow| shortened(f.side[d].size_std));
    let bins = "Packets by size, 8 bins; their borders are those of the meter.";
    out.add(seen, name(d, "size_histogram"), "packets", bins, move |f: &Flow| {
        let items = f.side[d].histogram;
        List { length: items.len(), items }
    });
}

fn times(out: &mut Columns, d: Direction, seen: Group) {
    let first = "From `flow_start` to the direction's first packet.";
    out.add(seen, name(d, "starts_after_nanos"), "ns", first, move |f: &Flow| f.side[d].first - f.start);
    let duration = "From the direction's first packet to its last.";
    out.add(seen, name(d, "duration_nanos"), "ns", duration, move |f: &Flow| f.side[d].last - f.side[d].first);
    let ordered = out.group(NO_ORDER, move |f: &Flow| f.side[d].packets > 0 && f.side[d].intervals.is_some());
    let mut interval = |what: &str, definition: &'static str, get: fn(&Intervals) -> i64| {
        let value = move |f: &Flow| f.side[d].intervals.as_ref().map(get).unwrap_or_default();
        out.add(ordered, name(d, what), "ns", definition, value);
    };
    interval("interval_min_nanos", "Shortest time between two packets of the direction.", |interval| count(interval.min));
    interval("interval_max_nanos", "Longest time between two packets.", |interval| count(interval.max));
    let spread =
        "Population standard deviation of those times, to 31 bits; 0 for two packets; the mean is duration / (packets - 1).";
    out.add(ordered, name(d, "interval_std_nanos"), "ns", spread, move |f: &Flow| {
        f.side[d].intervals.as_ref().map(|interval| shortened(interval.std)).unwrap_or_default()
    });
    let split = "The direction came over several CPUs or taps at overlapping times, so that its packets' order is not known.";
    out.add(seen, name(d, "is_split"), "", split, move |f: &Flow| f.side[d].split);
}

/// A direction, when it has packets.
fn side(flow: &Flow, direction: Direction) -> Option<&Side> {
    Some(&flow.side[direction]).filter(|side| side.packets > 0)
}

fn network(out: &mut Columns, d: Direction) {
    let null = "the flow is not IP, or the direction has no packets";
    let ip = out.group(null, move |f: &Flow| side(f, d).is_some_and(|side| side.ttl_min.is_some()));
    let mut number = |what: &str, definition: &'static str, get: fn(&Side) -> Option<u8>| {
        out.add(ip, name(d, what), "", definition, move |f: &Flow| get(&f.side[d]).unwrap_or_default());
    };
    number("ttl_min", "Lowest TTL or hop limit.", |side| side.ttl_min);
    number("ttl_max", "Highest TTL or hop limit.", |side| side.ttl_max);
    number("dscp", "DSCP (RFC 2474) of the first packet.", |side| side.dscp);
    number("traffic_class_union", "Union of all traffic-class octets (DSCP and ECN).", |side| side.traffic_class_union);
    let untagged = "the first packet has no VLAN tag, or the direction has no packets";
    let vlan = "Outermost VLAN identifier of the first packet.";
    out.optional(name(d, "vlan_id"), "", untagged, vlan, move |f: &Flow| side(f, d)?.vlan_id);
    let single = "the first packet has fewer than two VLAN tags, or the direction has no packets";
    let vlan = "Second VLAN identifier of the first packet.";
    out.optional(name(d, "inner_vlan_id"), "", single, vlan, move |f: &Flow| side(f, d)?.inner_vlan_id);
    let point = "Observation point (interface) of the first packet.";
    out.optional(name(d, "observation_point"), "", NO_PACKETS, point, move |f: &Flow| {
        side(f, d)?.observation_point.map(Name::Point)
    });
}

/// What is said of one encapsulation.
struct TunnelTexts {
    column: &'static str,
    source: &'static str,
    destination: &'static str,
    id: &'static str,
    no_addresses: &'static str,
    no_id: &'static str,
}

const TUNNEL_TYPES: &str = "Encapsulations of the first packet, outermost first, joined by `/`: mpls, pppoe, gre, erspan1, erspan2, erspan3, vxlan, geneve, ipip, 4in6, 6in4, 6in6, teredo.";

const OUTER_TUNNEL: TunnelTexts = TunnelTexts {
    column: "tunnel",
    source: "Source address of the IP header that the outermost encapsulation is in.",
    destination: "Destination address of the IP header that the outermost encapsulation is in.",
    id: "Identifier of the outermost encapsulation: VNI, GRE key, ERSPAN session, bottom MPLS label, PPPoE session.",
    no_addresses: "the first packet is not encapsulated, or in MPLS or PPPoE, or the addresses were forgotten",
    no_id: "the first packet is not encapsulated, or that has no identifier, or it was forgotten",
};

const INNER_TUNNEL: TunnelTexts = TunnelTexts {
    column: "inner_tunnel",
    source: "Source address of the IP header that the second encapsulation is in.",
    destination: "Destination address of the IP header that the second encapsulation is in.",
    id: "Identifier of the second encapsulation.",
    no_addresses: "there is no second encapsulation, or it is MPLS, or the addresses were forgotten",
    no_id: "there is no second encapsulation, or it has no identifier, or it was forgotten",
};

/// The encapsulations of the direction's first packet.
fn tunnels(out: &mut Columns, d: Direction) {
    let of = move |f: &Flow| -> Option<Tunnels> { side(f, d)?.tunnels.as_deref().copied() };
    let bare = "the first packet is not encapsulated, or the direction has no packets";
    out.optional(name(d, "tunnel_types"), "", bare, TUNNEL_TYPES, move |f: &Flow| {
        of(f).map(|tunnels| Name::Tunnels(tunnels.outer.kind, tunnels.inner.map(|inner| inner.kind)))
    });
    tunnel(out, d, &OUTER_TUNNEL, move |f: &Flow| of(f).map(|tunnels| tunnels.outer));
    tunnel(out, d, &INNER_TUNNEL, move |f: &Flow| of(f)?.inner);
}

fn tunnel(
    out: &mut Columns,
    d: Direction,
    texts: &TunnelTexts,
    get: impl Fn(&Flow) -> Option<TunnelEnds> + Copy + Send + Sync + 'static,
) {
    let mut address = |end: &str, definition, index: usize| {
        out.optional(name(d, &format!("{}_{end}_address", texts.column)), "", texts.no_addresses, definition, move |f: &Flow| {
            get(f)?.addresses.map(|addresses| Name::Address(addresses[index].into()))
        });
    };
    address("source", texts.source, 0);
    address("destination", texts.destination, 1);
    out.optional(name(d, &format!("{}_id", texts.column)), "", texts.no_id, texts.id, move |f: &Flow| get(f)?.id.map(i64::from));
}

/// A direction's TCP features, where they are.
fn tcp(flow: &Flow, direction: Direction) -> Option<&TcpSide> {
    side(flow, direction)?.tcp.as_ref()
}

fn transport(out: &mut Columns, d: Direction) {
    let is_tcp = out.group(NOT_TCP, move |f: &Flow| tcp(f, d).is_some());
    let bits = "Union of the TCP control bits (IE tcpControlBits).";
    out.add(is_tcp, name(d, "tcp_control_bits"), "", bits, move |f: &Flow| tcp(f, d).map_or(0, |side| side.control_bits));
    let mut segments = |what: &str, definition: &'static str, get: fn(&TcpSide) -> u32| {
        out.add(is_tcp, name(d, what), "packets", definition, move |f: &Flow| tcp(f, d).map_or(0, get));
    };
    segments("tcp_syn_packets", "Segments with SYN.", |side| side.syn);
    segments("tcp_fin_packets", "Segments with FIN.", |side| side.fin);
    segments("tcp_rst_packets", "Segments with RST.", |side| side.rst);
    let repeats = "Segments that repeat sequence space; a lower bound unless `_tcp_sequence_exact`.";
    segments("tcp_retransmitted_packets", repeats, |side| side.retransmissions);
    let late = "Segments that fill the newest gap; a lower bound unless `_tcp_sequence_exact`.";
    segments("tcp_out_of_order_packets", late, |side| side.out_of_order);
    segments("tcp_zero_window_packets", "Segments with a zero window and no RST.", |side| side.zero_windows);
    let exact = "The counts of repeats and reordering are exact.";
    out.add(is_tcp, name(d, "tcp_sequence_exact"), "", exact, move |f: &Flow| tcp(f, d).is_some_and(|side| side.sequence_exact));
    let syn = move |f: &Flow| -> Option<TcpOpening> { tcp(f, d)?.handshake };
    let opened = out.group(NO_SYN, move |f: &Flow| syn(f).is_some());
    let window = "Window of the SYN, unscaled.";
    out.add(opened, name(d, "tcp_syn_window"), "octets", window, move |f: &Flow| syn(f).map_or(0, |syn| syn.window));
    let without = "no SYN was seen, or it has no such option";
    out.optional(name(d, "tcp_syn_mss"), "octets", without, "MSS option of the SYN.", move |f: &Flow| syn(f)?.mss);
    let scale = "Window-scale option of the SYN.";
    out.optional(name(d, "tcp_syn_scale"), "", without, scale, move |f: &Flow| syn(f)?.scale);
    let kinds = "Option kinds of the SYN in order, `2-4-8-1-3`; 15 for kinds above 14; empty for none.";
    out.add(opened, name(d, "tcp_syn_options"), "", kinds, move |f: &Flow| Name::Options(syn(f).map_or(0, |syn| syn.options)));
}

#[cfg(test)]
mod tests {
    use auscult_ebpf::record::Tunnel;

    use super::TUNNEL_TYPES;

    #[test]
    fn every_encapsulation_is_in_the_dictionary() {
        for kind in Tunnel::ALL {
            assert!(TUNNEL_TYPES.contains(&format!(" {}", kind.name())), "{kind:?}");
        }
    }
}
