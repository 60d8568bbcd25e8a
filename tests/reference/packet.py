"""Frames into packets: what one frame contributes to its flow, by the definitions of parser, key and flow record."""

import struct

IPV4, IPV6 = 0x0800, 0x86DD
VLAN = (0x8100, 0x88A8, 0x9100)
MPLS, PPPOE = (0x8847, 0x8848), 0x8864
#: "Transparent Ethernet bridging" as protocol of GRE and GENEVE.
BRIDGED = 0x6558
TCP, UDP, DCCP, SCTP, UDP_LITE = 6, 17, 33, 132, 136
IPV4_INSIDE, IPV6_INSIDE, GRE = 4, 41, 47
EXTENSIONS = (0, 43, 44, 51, 60, 135, 139, 140)
#: Deepest offset at which a header is read.
DEEPEST = 1023
#: Encapsulations that are opened one behind the other, and labels of an MPLS stack.
ENCAPSULATIONS_MAX, LABELS_MAX = 2, 8
STOPS = (
    "complete",
    "vlan_truncated",
    "vlan_tags_too_many",
    "network_truncated",
    "network_malformed",
    "extension_headers_too_many",
    "extension_header_truncated",
    "transport_truncated",
    "transport_malformed",
    "tunnel_truncated",
    "mpls_labels_too_many",
    "tunnel_fragmented",
    "tunnels_too_deep",
)
NETWORK_TRUNCATED, NETWORK_MALFORMED, TUNNEL_TRUNCATED = map(STOPS.index, ("network_truncated", "network_malformed", "tunnel_truncated"))
LABELS_TOO_MANY, FRAGMENTED, TOO_DEEP = map(STOPS.index, ("mpls_labels_too_many", "tunnel_fragmented", "tunnels_too_deep"))
#: Requests and replies of ICMP (RFC 792, 950, 1256) and ICMPv6 (RFC 4443, 2710, 4861, 4620, 6275).
PAIRS = {IPV4: [(8, 0), (10, 9), (13, 14), (15, 16), (17, 18)]}
PAIRS[IPV6] = [(128, 129), (130, 131), (133, 134), (135, 136), (139, 140), (144, 145)]


class Discarded(Exception):
    """Nothing in the frame can be a key."""


class Packet:
    """One packet. Addresses are octets: 4, 16, or the 6 of a MAC.

    `tunnels` are the encapsulations around it, outermost first. `place` is where what it carries starts, `end` where its own length
    field or what is around it says that it ends; a header that is beyond `end` is not there.
    """

    def __init__(self, frame, end, tunnels=()):
        self.point, self.wire = frame.point, frame.wire
        self.end, self.tunnels = end, list(tunnels)
        self.smac = self.dmac = None
        self.tags, self.stop = [], 0
        self.ethertype = self.place = None
        self.ip = self.protocol = None
        self.ttl = self.traffic_class = None
        self.ports = self.icmp = self.asks = None
        self.fragment = None
        self.first_fragment = self.later_fragment = self.portless = False
        self.tcp = None


class Tunnel:
    """An encapsulation: its name, the addresses of its IP header, its identifier."""

    def __init__(self, kind, outer, identifier=None):
        self.kind, self.id = kind, identifier
        self.source, self.target = (outer.source, outer.target) if outer and outer.ip else (None, None)


class Cut(Exception):
    """The frame, or what is around a tunnel's header, ends inside of it; or its label stack goes on for too long."""

    def __init__(self, stop=TUNNEL_TRUNCATED):
        super().__init__()
        self.stop = stop


class Tcp:
    """A TCP header."""

    def __init__(self, octets, data):
        self.sequence = struct.unpack_from(">I", octets, 4)[0]
        self.bits, self.window, self.data = octets[13], struct.unpack_from(">H", octets, 14)[0], data
        self.mss = self.scale = None
        self.options = []

    def walk(self, octets):
        """Takes in the options, at most twelve; the end-of-options mark is not one."""
        place = walked = 0
        while place < len(octets) and walked < 12 and octets[place] != 0:
            kind = octets[place]
            self.options.append(min(kind, 15))
            walked += 1
            if kind == 1:
                place += 1
                continue
            if place + 1 >= len(octets) or octets[place + 1] < 2:
                return
            length = octets[place + 1]
            value = octets[place + 2 : place + length]
            if kind == 2 and length == 4 and len(value) == 2:
                self.mss = struct.unpack(">H", value)[0] or None
            if kind == 3 and length == 3 and len(value) == 1:
                self.scale = value[0]
            place += length


def whole(octets, place, length, end=None):
    """`length` octets at `place`, or `None`."""
    if place > DEEPEST or place + length > len(octets) or (end is not None and place + length > end):
        return None
    return octets[place : place + length]


def tunnel_header(octets, place, length, end):
    """The same for a header of a tunnel, which must be there."""
    header = whole(octets, place, length, end)
    if header is None:
        raise Cut
    return header


def network_start(frame, packet):
    """Ethertype and offset of what follows the link header."""
    octets, link = frame.octets, frame.link
    if link == 1:
        if len(octets) < 14:
            raise Discarded
        ethernet(octets[:14], packet)
        return struct.unpack_from(">H", octets, 12)[0], 14
    if link in (228, 229):
        return (IPV4 if link == 228 else IPV6), 0
    if link in (12, 14, 101):
        if not octets or octets[0] >> 4 not in (4, 6):
            raise Discarded
        return (IPV4 if octets[0] >> 4 == 4 else IPV6), 0
    if link in (0, 108):
        if len(octets) < 4:
            raise Discarded
        family = min(struct.unpack_from("<I", octets)[0], struct.unpack_from(">I", octets)[0])
        ethertype = struct.unpack_from(">H", octets, 2)[0]
        if family not in (2, 10, 24, 28, 30) and ethertype < 0x0600:
            raise Discarded
        return {2: IPV4, 10: IPV6, 24: IPV6, 28: IPV6, 30: IPV6}.get(family, ethertype), 4
    if link not in (113, 276):
        raise Discarded
    offset = 16 if link == 113 else 20
    if len(octets) < offset:
        raise Discarded
    if link == 113:
        hardware, length, protocol = struct.unpack_from(">2xHH8xH", octets)
        mac = octets[6:12]
    else:
        protocol, hardware, length = struct.unpack_from(">H6xHxB", octets)
        mac = octets[12:18]
    if hardware in (770, 801, 802, 803, 824):
        raise Discarded
    if length == 6:
        packet.smac = mac
    if protocol == 4 and octets[offset : offset + 6] == b"\xaa\xaa\x03\0\0\0" and len(octets) >= offset + 8:
        return struct.unpack_from(">H", octets, offset + 6)[0], offset + 8
    return (protocol if protocol >= 0x0600 else 0), offset


def read(frame):
    """The innermost packet of a frame; raises `Discarded`."""
    packet = Packet(frame, frame.wire)
    ethertype, offset = network_start(frame, packet)
    link_layer(frame.octets, ethertype, offset, packet)
    while inner := opened(frame, packet):
        packet = inner
    if not packet.ip and packet.smac is None:
        raise Discarded
    return packet


def link_layer(octets, ethertype, offset, packet):
    """VLAN tags and what follows them: IP, or nothing that is."""
    while ethertype in VLAN and len(packet.tags) < 3:
        tag = whole(octets, offset, 4, packet.end)
        if tag is None:
            packet.stop = 1
            break
        packet.tags.append(struct.unpack_from(">H", tag)[0] & 0x0FFF)
        ethertype = struct.unpack_from(">H", tag, 2)[0]
        offset += 4
    if ethertype in VLAN and packet.stop == 0:
        packet.stop = 2
    if not network(octets, ethertype, offset, packet):
        link_flow(octets, ethertype, offset, packet)


def network(octets, ethertype, offset, packet):
    """An IP packet; false, with the reason in `packet.stop`, if the fixed header is not one."""
    if ethertype == IPV4:
        return ipv4(octets, offset, packet)
    return ethertype == IPV6 and ipv6(octets, offset, packet)


def opened(frame, packet):
    """The packet inside of the tunnel that `packet` carries; `None`, with a reason in `packet.stop`, if it is the innermost."""
    octets = frame.octets
    if packet.stop or packet.later_fragment:
        return None
    try:
        found = carried(octets, packet)
    except Cut as cut:
        packet.stop = cut.stop
        return None
    if found is None:
        return None
    new, content, place, end = found
    if packet.first_fragment:
        packet.stop = FRAGMENTED
        return None
    if len(packet.tunnels) + len(new) > ENCAPSULATIONS_MAX:
        packet.stop = TOO_DEEP
        return None
    inner = Packet(frame, end, packet.tunnels + new)
    if content == BRIDGED:
        header = whole(octets, place, 14, end)
        if header is None:
            packet.stop = TUNNEL_TRUNCATED
            return None
        ethernet(header, inner)
        link_layer(octets, struct.unpack_from(">H", header, 12)[0], place + 14, inner)
        return inner
    inner.smac, inner.dmac, inner.tags = packet.smac, packet.dmac, packet.tags
    if network(octets, content, place, inner):
        return inner
    packet.stop = inner.stop
    return None


def carried(octets, packet):
    """What a packet carries: its tunnels, the ethertype of what is inside, where that starts and ends. `None`: no tunnel."""
    place, end = packet.place, packet.end
    if packet.ip is None:
        if packet.ethertype in MPLS:
            return mpls(octets, place, end, [])
        return pppoe(octets, place, end) if packet.ethertype == PPPOE else None
    over = {IPV4: "4", IPV6: "6"}[packet.ip]
    if packet.protocol == IPV4_INSIDE:
        return [Tunnel({"4": "ipip", "6": "4in6"}[over], packet)], IPV4, place, end
    if packet.protocol == IPV6_INSIDE:
        return [Tunnel("6in" + over, packet)], IPV6, place, end
    if packet.protocol == GRE:
        return gre(octets, packet)
    if packet.protocol != UDP or not packet.ports or packet.ports[0] < 1024:
        return None
    if packet.ports[1] in (4789, 8472):
        return vxlan(octets, packet)
    if packet.ports[1] == 6081:
        return geneve(octets, packet)
    return teredo(octets, packet) if 3544 in packet.ports and packet.ip == IPV4 else None


def mpls(octets, place, end, tunnels):
    """A label stack (RFC 3032) behind a link header or GRE; IP, or a pseudowire with or without control word (RFC 4385, 4448)."""
    for _ in range(LABELS_MAX):
        entry = int.from_bytes(tunnel_header(octets, place, 4, end))
        place += 4
        if entry >> 8 & 1:
            break
    else:
        raise Cut(LABELS_TOO_MANY)
    nibble = tunnel_header(octets, place, 1, end)[0] >> 4

    def is_frame(at):
        ethertype = whole(octets, at + 12, 2, end)
        return bool(ethertype) and int.from_bytes(ethertype) in (IPV4, IPV6, 0x0806, 0x8100, 0x88A8)

    if nibble in (4, 6):
        content = {4: IPV4, 6: IPV6}[nibble]
    elif nibble == 0 and (is_frame(place + 4) or not is_frame(place)):
        content, place = BRIDGED, place + 4
    elif is_frame(place):
        content = BRIDGED
    else:
        return None
    return [*tunnels, Tunnel("mpls", None, entry >> 12)], content, place, end


def pppoe(octets, place, end):
    """A PPPoE session (RFC 2516) with IP in PPP."""
    kind, code, session, length = struct.unpack(">BBHH", tunnel_header(octets, place, 8, end)[:6])
    content = {0x0021: IPV4, 0x0057: IPV6}.get(int.from_bytes(octets[place + 6 : place + 8]))
    if (kind, code) != (0x11, 0) or content is None:
        return None
    end = min(end, place + 6 + length)
    tunnel_header(octets, place, 8, end)
    return [Tunnel("pppoe", None, session)], content, place + 8, end


def gre(octets, packet):
    """GRE (RFC 2784, 2890), and the mirrors that use it."""
    place, end = packet.place, packet.end
    flags, protocol = struct.unpack(">HH", tunnel_header(octets, place, 4, end))
    mirror = protocol in (0x88BE, 0x22EB)
    if flags & 0x4007 or not (mirror or protocol in (IPV4, IPV6, BRIDGED, *MPLS)):
        return None
    fields = {bit: (flags & bit != 0) for bit in (0x8000, 0x2000, 0x1000)}
    size = 4 + 4 * sum(fields.values())
    header = tunnel_header(octets, place, size, end)
    if mirror:
        return erspan(octets, protocol, fields[0x1000], place + size, packet)
    at = 8 if fields[0x8000] else 4
    tunnel = Tunnel("gre", packet, int.from_bytes(header[at : at + 4]) if fields[0x2000] else None)
    if protocol in MPLS:
        return mpls(octets, place + size, end, [tunnel])
    return [tunnel], protocol, place + size, end


def erspan(octets, protocol, numbered, place, packet):
    """ERSPAN types I, II and III (draft-foschiano-erspan-03)."""
    end = packet.end
    if protocol == 0x88BE and not numbered:
        return [Tunnel("erspan1", packet)], BRIDGED, place, end
    header = tunnel_header(octets, place, 8, end)
    session = int.from_bytes(header[2:4]) & 0x3FF
    if protocol == 0x88BE:
        return ([Tunnel("erspan2", packet, session)], BRIDGED, place + 8, end) if header[0] >> 4 == 1 else None
    if header[0] >> 4 != 2:
        return None
    word = int.from_bytes(tunnel_header(octets, place, 12, end)[10:])
    size = 20 if word & 1 else 12
    tunnel_header(octets, place, size, end)
    content = {0: BRIDGED, 2: IPV4}.get(word >> 10 & 31)
    if content == IPV4:
        content = {4: IPV4, 6: IPV6}.get(tunnel_header(octets, place + size, 1, end)[0] >> 4)
    return content and ([Tunnel("erspan3", packet, session)], content, place + size, end)


def vxlan(octets, packet):
    """VXLAN (RFC 7348); at the port that Linux had before, only what looks exactly like it."""
    header = tunnel_header(octets, packet.place, 8, packet.end)
    exact = (header[0], any(header[1:4]), header[7]) == (8, False, 0)
    if not header[0] & 8 or packet.ports[1] == 8472 and not exact:
        return None
    return [Tunnel("vxlan", packet, int.from_bytes(header[4:7]))], BRIDGED, packet.place + 8, packet.end


def geneve(octets, packet):
    """GENEVE (RFC 8926)."""
    place, end = packet.place, packet.end
    header = tunnel_header(octets, place, 8, end)
    protocol = int.from_bytes(header[2:4])
    if header[0] >> 6 or header[1] & 0x80 or protocol not in (IPV4, IPV6, BRIDGED):
        return None
    size = 8 + 4 * (header[0] & 63)
    tunnel_header(octets, place, size, end)
    return [Tunnel("geneve", packet, int.from_bytes(header[4:7]))], protocol, place + size, end


def teredo(octets, packet):
    """Teredo (RFC 4380): only a datagram that is an IPv6 packet and nothing else, but for an origin indication."""
    place, end = packet.place, packet.end
    if whole(octets, place, 2, end) == bytes(2):
        place += 8
    header = whole(octets, place, 8, end)
    if header is None or header[0] >> 4 != 6 or place + 40 + int.from_bytes(header[4:6]) != end:
        return None
    return [Tunnel("teredo", packet)], IPV6, place, end


def ethernet(header, packet):
    packet.smac = header[6:12]
    # A target of zero is no host's.
    packet.dmac = header[:6] if any(header[:6]) else None


def link_flow(octets, ethertype, offset, packet):
    """A frame that is not IP: MACs, ethertype, or the LLC of 802.3."""
    packet.source, packet.target = packet.smac, packet.dmac if packet.dmac is not None else bytes(6)
    packet.ethertype, packet.llc = ethertype or None, (0, 0)
    header = offset
    if ethertype < 0x0600 and packet.stop == 0:
        packet.ethertype = None
        llc = whole(octets, offset, 8, packet.end)
        if llc is not None:
            packet.llc, header = (llc[0] << 8 | llc[1], 0), offset + 3
            if llc[:2] == b"\xaa\xaa":
                packet.llc, header = (0xAAAA, llc[6] << 8 | llc[7]), offset + 8
    packet.place = offset
    packet.octets = max(0, packet.end - offset)
    packet.payload = max(0, packet.end - header)


def ipv4(octets, offset, packet):
    header = whole(octets, offset, 20, packet.end)
    if header is None:
        packet.stop = NETWORK_TRUNCATED
        return False
    length = (header[0] & 15) * 4
    if header[0] >> 4 != 4 or length < 20:
        packet.stop = NETWORK_MALFORMED
        return False
    total, identification, fragment = struct.unpack_from(">HHH", header, 2)
    room = packet.end - offset
    malformed = 0 < total < length or room < length
    packet.octets = room if total == 0 or total > room or malformed else total
    packet.end = offset + packet.octets
    packet.ip = packet.ethertype = IPV4
    packet.traffic_class, packet.ttl, packet.protocol = header[1], header[8], header[9]
    packet.source, packet.target = header[12:16], header[16:20]
    if fragment & 0x3FFF:
        packet.fragment = identification
        packet.first_fragment, packet.later_fragment = fragment & 0x1FFF == 0, fragment & 0x1FFF != 0
    packet.payload = max(0, packet.octets - length)
    if malformed:
        packet.stop, packet.portless, packet.later_fragment = NETWORK_MALFORMED, True, False
    elif not packet.later_fragment:
        transport(octets, offset + length, packet)
    return True


def ipv6(octets, offset, packet):
    header = whole(octets, offset, 40, packet.end)
    if header is None:
        packet.stop = NETWORK_TRUNCATED
        return False
    if header[0] >> 4 != 6:
        packet.stop = NETWORK_MALFORMED
        return False
    length = struct.unpack_from(">H", header, 4)[0]
    room = packet.end - offset
    packet.octets = room if length == 0 or length + 40 > room else length + 40
    packet.end = offset + packet.octets
    packet.ip = packet.ethertype = IPV6
    packet.traffic_class, packet.ttl = struct.unpack_from(">H", header)[0] >> 4 & 255, header[7]
    packet.source, packet.target = header[8:24], header[24:40]
    packet.payload = packet.octets - 40
    stop = extensions(octets, offset + 40, header[6], packet)
    if stop:
        packet.stop, packet.portless, packet.later_fragment = stop, True, False
    return True


def extensions(octets, place, protocol, packet):
    """Walks extension headers and goes on with the transport header; where that stopped, or 0."""
    left, walked = packet.payload, 0
    while protocol in EXTENSIONS and not packet.later_fragment:
        packet.protocol = protocol
        if walked == 7:
            packet.payload = left
            return 5
        header = whole(octets, place, 8)
        if header is None:
            return 6
        length = (header[1] + 1) * 8
        if protocol == 44:
            length = 8
            fragment = struct.unpack_from(">H", header, 2)[0]
            if fragment & 0xFFF9:
                packet.fragment = struct.unpack_from(">I", header, 4)[0]
                packet.first_fragment, packet.later_fragment = fragment & 0xFFF8 == 0, fragment & 0xFFF8 != 0
        elif protocol == 51:
            length = (header[1] + 2) * 4
        packet.protocol = protocol = header[0]
        if length > left:
            return 4
        place, left, walked = place + length, left - length, walked + 1
    packet.protocol, packet.payload = protocol, left
    if not packet.later_fragment:
        transport(octets, place, packet)
    return 0


def transport(octets, place, packet):
    """Ports, ICMP type, TCP header; `packet.payload` is what the network header leaves for it."""
    room, protocol = packet.payload, packet.protocol
    icmp = (protocol, packet.ip) in ((1, IPV4), (58, IPV6))
    need = {TCP: 20, UDP: 8, UDP_LITE: 8, SCTP: 12, DCCP: 12}.get(protocol, 4 if icmp else 0)
    packet.place = place
    if need == 0:
        return
    header = whole(octets, place, need)
    packet.portless = True
    if header is None:
        packet.stop = 7
        return
    if icmp:
        packet.portless, packet.payload = False, max(0, room - 4)
        packet.icmp = (header[0], header[1])
        for request, reply in PAIRS[packet.ip]:
            if header[0] in (request, reply):
                packet.icmp, packet.asks = (request, reply), header[0] == request
        return
    length = header[12] >> 4 << 2 if protocol == TCP else need
    udp = struct.unpack_from(">H", header, 4)[0] if protocol == UDP else 0
    if length < need or length > room or 0 < udp < 8:
        packet.stop = 8
        return
    packet.portless, packet.ports = False, struct.unpack_from(">HH", header)
    packet.payload = (udp if 0 < udp <= room else room) - length
    packet.place = place + length
    packet.end = packet.place + packet.payload
    if protocol == TCP:
        packet.tcp = Tcp(header, packet.payload)
        if packet.tcp.bits & 2:
            packet.tcp.walk(octets[place + 20 : min(place + length, DEEPEST + 1)])
