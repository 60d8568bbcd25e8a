#!/usr/bin/env python3
"""Flow rows of a capture, computed a second time: plain Python, from the written definitions, packet by packet.

Usage: features.py [--site NAME] [--idle SECONDS] [--active SECONDS] [--with-tunnels] CAPTURE...

Writes one JSON object per flow row, with the column names of the table `flows`, and an empty line behind each capture. The engine adds up deltas as packets come;
here each flow keeps its packets, and every feature is computed from the whole list at the end. Where the table has one id in
`fragment_of`, here is the list of all that are right. With `--with-tunnels`: only the paths of the captures that have encapsulated
packets, a line each.
"""

import argparse
import base64
import hashlib
import ipaddress
import itertools
import json
import math
import struct
from datetime import datetime, timezone

import capture
import packet as parser
from packet import IPV4, IPV6, SCTP, TCP, UDP

TICK = 29
#: Ticks that a closed connection waits for late segments, and ticks by which the table trails the clock.
LINGER, SETTLE = 8, 2
#: A frame stamped up to this much (ns) before its predecessor is late; beyond, the clock was set back.
STEP = 5 * 10**9
FIRST_PACKETS = 8
BORDERS = (64, 128, 256, 512, 1024, 1344, 1536)
FIN, SYN, RST, ACK = 1, 2, 4, 16


def main():
    arguments = argparse.ArgumentParser(description="flow rows of a capture, as JSON lines")
    arguments.add_argument("--site", default="default")
    arguments.add_argument("--idle", type=int, default=120)
    arguments.add_argument("--active", type=int, default=1800)
    arguments.add_argument("--with-tunnels", action="store_true")
    arguments.add_argument("captures", nargs="+", metavar="CAPTURE")
    given = arguments.parse_args()
    for path in given.captures:
        if given.with_tunnels:
            if any(map(is_encapsulated, capture.frames(path))):
                print(path)
            continue
        table = Table(given.site, given.idle * 10**9, given.active * 10**9)
        for frame in capture.frames(path):
            table.frame(frame)
        table.end_era()
        for row in table.rows:
            print(json.dumps(row))
        print()


def is_encapsulated(frame):
    try:
        return bool(parser.read(frame).tunnels)
    except parser.Discarded:
        return False


def little(octets):
    """An address as the key orders it: little-endian words, the first one counts most."""
    words = octets.ljust(16, b"\0")
    return struct.unpack("<QQ", words)


def sip(octets):
    """SipHash-2-4 under the key of flow ids."""
    mask = (1 << 64) - 1
    key = (0x61757363756C745F, 0x666C6F775F69645F)
    v = [key[0] ^ 0x736F6D6570736575, key[1] ^ 0x646F72616E646F6D, key[0] ^ 0x6C7967656E657261, key[1] ^ 0x7465646279746573]

    def turn(word, bits):
        return (word << bits | word >> 64 - bits) & mask

    def rounds(count):
        for _ in range(count):
            v[0] = v[0] + v[1] & mask
            v[2] = v[2] + v[3] & mask
            v[1], v[3] = turn(v[1], 13) ^ v[0], turn(v[3], 16) ^ v[2]
            v[0] = turn(v[0], 32)
            v[2] = v[2] + v[1] & mask
            v[0] = v[0] + v[3] & mask
            v[1], v[3] = turn(v[1], 17) ^ v[2], turn(v[3], 21) ^ v[0]
            v[2] = turn(v[2], 32)

    padded = octets + bytes(7 - len(octets) % 8) + bytes([len(octets) & 255])
    for (word,) in struct.iter_unpack("<Q", padded):
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


class Key:
    """What tells flows apart. `low` and `high` are (address, port); a packet goes from low to high or back."""

    def __init__(self, packet):
        ends = [(packet.source, 0), (packet.target, 0)]
        if packet.ports:
            ends = [(packet.source, packet.ports[0]), (packet.target, packet.ports[1])]
        self.back = (little(ends[0][0]), ends[0][1]) > (little(ends[1][0]), ends[1][1])
        self.low, self.high = ends[::-1] if self.back else ends
        self.form = {IPV4: 4, IPV6: 6}.get(packet.ip, 0)
        self.form |= 0x80 if packet.later_fragment else 0x40 if packet.portless else 0
        self.protocol, self.icmp, self.has_ports = packet.protocol, packet.icmp, packet.ports is not None
        self.pair = packet.asks is not None
        self.ip, self.ethertype = packet.ip, packet.ethertype
        self.two = packet.icmp or (None if packet.ip else packet.llc)
        self.is_tcp = packet.tcp is not None
        self.tuple = (self.low, self.high, self.form, self.protocol, self.two, None if packet.ip else packet.ethertype)

    def flow_id(self, start, site, twin):
        """SipHash over addresses, ports, protocol, form, scope, first time, site and twin; positive and not zero."""
        ports = self.two or (self.low[1], self.high[1])
        octets = self.low[0].ljust(16, b"\0") + self.high[0].ljust(16, b"\0")
        octets += struct.pack("<HHBBH", *ports, self.protocol or 0, self.form, 0 if self.ip else self.ethertype or 0)
        octets += struct.pack("<QQHxxxxxx", start, site, twin)
        return max(1, sip(octets) & (1 << 63) - 1)


class Flow:
    """One biflow: the packets of its current segment as (time, direction, packet), 0 from low to high."""

    def __init__(self, key, at, twin):
        self.key, self.start, self.twin = key, at, twin
        self.last, self.segment, self.segment_tick = at, 0, at >> TICK
        self.packets, self.initiator = [], None
        self.finished = [False, False]
        self.reset = False
        self.trackers = [Tracker(), Tracker()]
        self.identifications = []
        self.seen, self.proven = [False, False], False

    def closing(self):
        return self.reset or all(self.finished)

    def patience(self, idle):
        return LINGER << TICK if self.closing() else idle


class Tracker:
    """Sequence space of one direction (RFC 9293 §3.4 arithmetic): what repeats, and what fills the newest gap."""

    def __init__(self):
        self.next = self.gap = None
        self.repeats = self.fills = 0

    def segment(self, start, octets):
        end = start + octets & 0xFFFFFFFF
        if self.next is None or not before(start, self.next):
            if self.next is not None and start != self.next:
                self.gap = [self.next, start]
            self.next = end
        elif self.gap and not before(start, self.gap[0]) and not before(self.gap[1], end):
            self.fills += 1
            if end == self.gap[1] and start != self.gap[0]:
                self.gap[1] = start
            else:
                self.gap[0] = end
            if self.gap[0] == self.gap[1]:
                self.gap = None
        else:
            self.repeats += 1
            if before(self.next, end):
                self.next = end


def before(a, b):
    return (a - b & 0xFFFFFFFF) >> 31 == 1


class Table:
    """All flows of a capture."""

    def __init__(self, site, idle, active):
        self.site, self.idle = sip(site.encode()), idle
        self.active = max(1, -(-active >> TICK))
        self.flows, self.rows, self.links = {}, [], {}
        self.clock = 0

    def frame(self, frame):
        at = frame.at
        if at < self.clock:
            if self.clock - at <= STEP:
                at = self.clock
            else:
                self.end_era()
        self.clock = at
        try:
            packet = parser.read(frame)
        except parser.Discarded:
            return
        key = Key(packet)
        flow = self.flows.get(key.tuple)
        if flow:
            flow = self.cut(flow, packet, at)
        if not flow:
            twin = 0
            old = self.flows.get(key.tuple)
            if old and old.start == at:
                twin = old.twin + 1
            flow = self.flows[key.tuple] = Flow(key, at, twin)
        self.add(flow, packet, at, int(key.back))

    def cut(self, flow, packet, at):
        """Ends what ends before the packet; the flow that goes on, if it does."""
        opens = packet.tcp and packet.tcp.bits & (SYN | ACK | FIN | RST) == SYN
        if at - flow.last > flow.patience(self.idle):
            self.finish(flow, "end_of_flow_detected" if flow.closing() else "idle_timeout")
            return None
        if opens and (flow.reset or any(flow.finished)):
            self.finish(flow, "end_of_flow_detected")
            return None
        if at >> TICK >= flow.segment_tick + self.active:
            self.finish(flow, "active_timeout")
            flow.initiator = self.initiator(flow)
            flow.segment, flow.segment_tick, flow.packets = flow.segment + 1, at >> TICK, []
            for tracker in flow.trackers:
                tracker.repeats = tracker.fills = 0
        return flow

    def add(self, flow, packet, at, back):
        flow.packets.append((at, back, packet))
        flow.last = at
        if packet.tcp:
            bits = packet.tcp.bits
            flow.finished[back] |= bits & FIN != 0
            flow.reset |= bits & RST != 0
            octets = packet.payload + (bits & SYN != 0) + (bits & FIN != 0)
            if not bits & RST and octets:
                flow.trackers[back].segment(packet.tcp.sequence, octets)
        link = (flow.key.low[0], flow.key.high[0], flow.key.protocol, packet.fragment)
        if packet.later_fragment:
            flow.identifications.append(link)
        elif packet.first_fragment:
            self.links[link] = flow.key.flow_id(flow.start, self.site, flow.twin)

    def end_era(self):
        """The capture ended, or its clock was set back. What had been idle for long enough had ended before."""
        settled = max(0, (self.clock >> TICK) - SETTLE)
        for flow in self.flows.values():
            over = flow.last + flow.patience(self.idle) >> TICK < settled
            reason = "end_of_flow_detected" if flow.closing() else "idle_timeout" if over else "forced_end"
            self.finish(flow, reason)
        self.flows, self.links = {}, {}

    def initiator(self, flow):
        """Direction of forward packets, and how it was found."""
        if flow.initiator:
            return flow.initiator
        syns = [(at, d) for at, d, p in flow.packets if p.tcp and p.tcp.bits & (SYN | ACK) == SYN]
        if syns:
            return min(syns)[1], "syn"
        openings = [next(((at, d, p) for at, d, p in flow.packets if d == back and p.tcp and p.tcp.bits & SYN), None) for back in (0, 1)]
        answers = [(at, -d, d) for at, d, _ in filter(None, openings)]
        if answers:
            # Of two SYN/ACKs of one time, that of the high end counts.
            return 1 - min(answers)[2], "syn_ack"
        first = [next((at for at, d, _ in flow.packets if d == back), None) for back in (0, 1)]
        if first[0] == first[1]:
            ends = [(end[1] if flow.key.has_ports else 0, end[0]) for end in (flow.key.low, flow.key.high)]
            return int(ends[1] > ends[0]), "tie"
        return flow.packets[0][1], "first_packet"

    def finish(self, flow, reason):
        key = flow.key
        forward, found = self.initiator(flow)
        ends = [key.low, key.high]
        sides = [[(at, p) for at, d, p in flow.packets if d == side] for side in (forward, 1 - forward)]
        start, end = flow.packets[0][0], flow.packets[-1][0]
        row = {
            "flow_id": key.flow_id(flow.start, self.site, flow.twin),
            "segment": flow.segment,
            "flow_start": time_text(start),
            "flow_end": time_text(end),
            "end_reason": reason,
            "initiator_by": found,
            "sidedness": sidedness(flow),
            "protocol": key.protocol,
            "ethertype": key.ethertype,
            "icmp_type": key.icmp and key.icmp[0],
            "icmp_code": key.icmp and (0 if key.pair else key.icmp[1]),
            "is_fragment": bool(key.form & 0x80),
            "fragment_of": self.fragment_of(flow),
            "community_id": community_id(flow, forward),
            "parse_stop": parser.STOPS[max(p.stop for _, _, p in flow.packets)],
        }
        for name, own, other, direction in (("initiator", *sides, forward), ("responder", *sides[::-1], 1 - forward)):
            mac = own[0][1].smac if own else other[0][1].dmac
            carried = key.ip or mac is not None or any(ends[direction][0])
            row[f"{name}_address"] = address_text(ends[direction][0]) if carried else None
            row[f"{name}_port"] = ends[direction][1] if key.has_ports else None
            row[f"{name}_mac"] = mac and address_text(mac)
        row["handshake_rtt_responder_nanos"], row["handshake_rtt_initiator_nanos"] = handshake(sides)
        first = flow.packets[:FIRST_PACKETS] if flow.segment == 0 else []
        row["first_packet_sizes"] = [size(p) if d == forward else -size(p) for _, d, p in first]
        row["first_packet_gaps_nanos"] = [b[0] - a[0] for a, b in itertools.pairwise(first)]
        for name, side, tracker in zip(("forward", "reverse"), sides, (flow.trackers[forward], flow.trackers[1 - forward])):
            row |= {f"{name}_{column}": value for column, value in side_columns(key, side, start, tracker).items()}
        self.rows.append(row)

    def fragment_of(self, flow):
        """Ids of the flows whose first fragments were seen; a list with `None` when the newest one's was not."""
        if not flow.key.form & 0x80:
            return None
        known = [self.links.get(link) for link in flow.identifications]
        owners = {owner for owner in known if owner}
        return [*sorted(owners), *([None] if known[-1] is None else [])] if owners else None


#: ICMP and ICMPv6 requests without which their reply is never sent.
ASKED_FOR = {IPV4: {(8, 0), (13, 14), (15, 16)}, IPV6: {(128, 129), (144, 145)}}


def sidedness(flow):
    """Whether both directions were seen so far, or the one that was proves the other."""
    for side in (0, 1):
        packets = [p for _, d, p in flow.packets if d == side]
        flow.seen[side] |= bool(packets)
        flow.proven |= bool(packets) and proves(flow.key, side, packets)
    return "two_sided" if all(flow.seen) else "one_sided" if flow.proven else "undecided"


def proves(key, side, packets):
    if key.is_tcp:
        bits = [p.tcp.bits for p in packets]
        syns = [b for b in bits if b & SYN]
        beyond = len(bits) > len(syns) + sum(b & RST != 0 for b in bits)
        return any(b & ACK for b in bits) and (beyond or bool(syns and syns[0] & ACK))
    if key.pair:
        return key.two in ASKED_FOR[key.ip] and any(p.asks is False for p in packets)
    if key.protocol == UDP and key.has_ports:
        ports = (key.low[1], key.high[1])
        return ports[side] == 53 and ports[1 - side] >= 1024 and sum(p.payload for p in packets) >= 12 * len(packets)
    return False


def size(packet):
    return min(packet.octets, 0xFFFF)


def side_columns(key, side, start, tracker):
    """Columns of one direction; `side` is its packets with their times."""
    packets = [p for _, p in side]
    out = {"packets": len(side)}
    out["octets"] = sum(p.octets for p in packets)
    out["layer2_octets"] = sum(p.wire for p in packets)
    out["payload_octets"] = sum(p.payload for p in packets)
    out |= dict.fromkeys(SIDE_COLUMNS)
    if not side:
        return out
    sizes = [size(p) for p in packets]
    out["size_min"], out["size_max"] = min(sizes), max(sizes)
    out["size_std"] = deviation([p.octets for p in packets])
    out["size_histogram"] = [0] * (len(BORDERS) + 1)
    for octets in sizes:
        out["size_histogram"][sum(octets >= border for border in BORDERS)] += 1
    times = [at for at, _ in side]
    out["starts_after_nanos"], out["duration_nanos"] = times[0] - start, times[-1] - times[0]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    if gaps:
        out["interval_min_nanos"], out["interval_max_nanos"] = min(gaps), max(gaps)
        out["interval_std_nanos"] = deviation(gaps)
    out["is_split"] = False
    tags = packets[0].tags
    out["vlan_id"], out["inner_vlan_id"] = (tags + [None, None])[:2]
    out["observation_point"] = packets[0].point
    tunnel_columns(packets[0].tunnels, out)
    if key.ip:
        ttls = [p.ttl for p in packets]
        out["ttl_min"], out["ttl_max"], out["dscp"] = min(ttls), max(ttls), packets[0].traffic_class >> 2
        out["traffic_class_union"] = union(p.traffic_class for p in packets)
    if key.is_tcp:
        tcp_columns([p.tcp for p in packets], tracker, out)
    return out


def tunnel_columns(tunnels, out):
    """The encapsulations of a direction's first packet."""
    if tunnels:
        out["tunnel_types"] = "/".join(tunnel.kind for tunnel in tunnels)
    for prefix, tunnel in zip(("", "inner_"), tunnels):
        out[prefix + "tunnel_source_address"] = tunnel.source and address_text(tunnel.source)
        out[prefix + "tunnel_destination_address"] = tunnel.target and address_text(tunnel.target)
        out[prefix + "tunnel_id"] = tunnel.id


SIDE_COLUMNS = """size_min size_max size_std size_histogram starts_after_nanos duration_nanos interval_min_nanos interval_max_nanos
interval_std_nanos is_split ttl_min ttl_max dscp traffic_class_union vlan_id inner_vlan_id observation_point tcp_control_bits
tcp_syn_packets tcp_fin_packets tcp_rst_packets tcp_retransmitted_packets tcp_out_of_order_packets tcp_zero_window_packets
tcp_syn_window tcp_syn_mss tcp_syn_scale tcp_syn_options tunnel_types tunnel_source_address tunnel_destination_address tunnel_id
inner_tunnel_source_address inner_tunnel_destination_address inner_tunnel_id""".split()


def tcp_columns(segments, tracker, out):
    out["tcp_control_bits"] = union(s.bits for s in segments)
    for name, bit in (("syn", SYN), ("fin", FIN), ("rst", RST)):
        out[f"tcp_{name}_packets"] = sum(s.bits & bit != 0 for s in segments)
    out["tcp_retransmitted_packets"], out["tcp_out_of_order_packets"] = tracker.repeats, tracker.fills
    out["tcp_zero_window_packets"] = sum(s.window == 0 and not s.bits & RST for s in segments)
    syn = next((s for s in segments if s.bits & SYN), None)
    if syn:
        out["tcp_syn_window"], out["tcp_syn_mss"], out["tcp_syn_scale"] = syn.window, syn.mss, syn.scale
        out["tcp_syn_options"] = "-".join(map(str, syn.options))


def union(values):
    out = 0
    for value in values:
        out |= value
    return out


def deviation(values):
    """Population standard deviation, the variance in whole numbers."""
    count = len(values)
    return math.sqrt(count * sum(v * v for v in values) - sum(values) ** 2) / count


def handshake(sides):
    """SYN to SYN/ACK and SYN/ACK to the initiator's first ACK, where each SYN was seen once."""
    syns = [[(at, p.tcp.bits & ACK != 0) for at, p in side if p.tcp and p.tcp.bits & SYN] for side in sides]
    if [len(side) for side in syns] != [1, 1] or syns[0][0][1] or not syns[1][0][1]:
        return None, None
    asked, answered = syns[0][0][0], syns[1][0][0]
    if answered < asked:
        return None, None
    done = next((at for at, p in sides[0] if p.tcp.bits & (SYN | ACK) == ACK), None)
    return answered - asked, done - answered if done is not None and done >= answered else None


def community_id(flow, forward):
    """Community ID, version 1, seed 0."""
    key = flow.key
    if not key.ip:
        return None
    ends = [key.low, key.high]
    one_way = False
    ports = None
    if key.protocol in (TCP, UDP, SCTP) and key.has_ports:
        source, target, ports = *(end[0] for end in ends), (ends[0][1], ends[1][1])
    elif key.icmp:
        asks = [any(p.asks == (d == side) for _, d, p in flow.packets) for side in (0, 1)] if key.pair else [False, False]
        side = forward if asks[forward] or not asks[1 - forward] else 1 - forward
        source, target, ports, one_way = ends[side][0], ends[1 - side][0], key.icmp, not key.pair
    else:
        source, target = ends[0][0], ends[1][0]
    if not one_way and (source, ports and ports[0] or 0) > (target, ports and ports[1] or 0):
        source, target, ports = target, source, ports and ports[::-1]
    octets = bytes(2) + source + target + bytes([key.protocol, 0])
    if ports:
        octets += struct.pack(">HH", *ports)
    return "1:" + base64.b64encode(hashlib.sha1(octets).digest()).decode()


def address_text(octets):
    if len(octets) == 6:
        return octets.hex(":")
    if len(octets) == 4:
        return ".".join(map(str, octets))
    # Mapped IPv4 addresses have dots in the usual text (RFC 5952 §5).
    address = ipaddress.IPv6Address(octets)
    return f"::ffff:{address.ipv4_mapped}" if address.ipv4_mapped else str(address)


def time_text(nanos):
    """RFC 3339, without trailing zeros."""
    seconds, fraction = divmod(nanos, 10**9)
    text = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    return text + (f".{fraction:09}".rstrip("0") if fraction else "") + "Z"


if __name__ == "__main__":
    main()
