"""Frames into packets: what one frame contributes to its flow, by the definitions of parser, key and flow record."""

import struct

IPV4, IPV6 = 0x0800, 0x86DD
VLAN = (0x8100, 0x88A8, 0x9100)
TCP, UDP, DCCP, SCTP, UDP_LITE = 6, 17, 33, 132, 136
EXTENSIONS = (0, 43, 44, 51, 60, 135, 139, 140)
#: Deepest offset at which a header is read.
DEEPEST = 1023
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
)
#: Requests and replies of ICMP (RFC 792, 950, 1256) and ICMPv6 (RFC 4443, 2710, 4861, 4620, 6275).
PAIRS = {IPV4: [(8, 0), (10, 9), (13, 14), (15, 16), (17, 18)]}
PAIRS[IPV6] = [(128, 129), (130, 131), (133, 134), (135, 136), (139, 140), (144, 145)]


class Discarded(Exception):
    """Nothing in the frame can be a key."""


class Packet:
    """One packet. Addresses are octets: 4, 16, or the 6 of a MAC."""

    def __init__(self, frame):
        self.point, self.wire = frame.point, frame.wire
        self.smac = self.dmac = None
        self.tags, self.stop = [], 0
        self.ethertype = None
        self.ip = self.protocol = None
        self.ttl = self.traffic_class = None
        self.ports = self.icmp = self.asks = None
        self.fragment = None
        self.first_fragment = self.later_fragment = self.portless = False
        self.tcp = None


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


def whole(octets, place, length):
    """`length` octets at `place`, or `None`."""
    if place > DEEPEST or place + length > len(octets):
        return None
    return octets[place : place + length]


def network_start(frame, packet):
    """Ethertype and offset of what follows the link header."""
    octets, link = frame.octets, frame.link
    if link == 1:
        if len(octets) < 14:
            raise Discarded
        packet.smac = octets[6:12]
        # A target of zero is no host's.
        packet.dmac = octets[:6] if any(octets[:6]) else None
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
    """The packet of a frame; raises `Discarded`."""
    packet = Packet(frame)
    ethertype, offset = network_start(frame, packet)
    octets = frame.octets
    while ethertype in VLAN and len(packet.tags) < 3:
        tag = whole(octets, offset, 4)
        if tag is None:
            packet.stop = 1
            break
        packet.tags.append(struct.unpack_from(">H", tag)[0] & 0x0FFF)
        ethertype = struct.unpack_from(">H", tag, 2)[0]
        offset += 4
    if ethertype in VLAN and packet.stop == 0:
        packet.stop = 2
    if ethertype == IPV4 and ipv4(octets, offset, packet):
        return packet
    if ethertype == IPV6 and ipv6(octets, offset, packet):
        return packet
    link_flow(octets, ethertype, offset, packet)
    return packet


def link_flow(octets, ethertype, offset, packet):
    """A frame that is not IP: MACs, ethertype, or the LLC of 802.3."""
    if packet.smac is None:
        raise Discarded
    packet.source, packet.target = packet.smac, packet.dmac if packet.dmac is not None else bytes(6)
    packet.ethertype, packet.llc = ethertype or None, (0, 0)
    header = offset
    if ethertype < 0x0600 and packet.stop == 0:
        packet.ethertype = None
        llc = whole(octets, offset, 8)
        if llc is not None:
            packet.llc, header = (llc[0] << 8 | llc[1], 0), offset + 3
            if llc[:2] == b"\xaa\xaa":
                packet.llc, header = (0xAAAA, llc[6] << 8 | llc[7]), offset + 8
    packet.octets = max(0, packet.wire - offset)
    packet.payload = max(0, packet.wire - header)


def ipv4(octets, offset, packet):
    header = whole(octets, offset, 20)
    if header is None:
        packet.stop = 3
        return False
    length = (header[0] & 15) * 4
    if header[0] >> 4 != 4 or length < 20:
        packet.stop = 4
        return False
    total, identification, fragment = struct.unpack_from(">HHH", header, 2)
    room = max(0, packet.wire - offset)
    malformed = 0 < total < length or room < length
    packet.octets = room if total == 0 or total > room or malformed else total
    packet.ip = packet.ethertype = IPV4
    packet.traffic_class, packet.ttl, packet.protocol = header[1], header[8], header[9]
    packet.source, packet.target = header[12:16], header[16:20]
    if fragment & 0x3FFF:
        packet.fragment = identification
        packet.first_fragment, packet.later_fragment = fragment & 0x1FFF == 0, fragment & 0x1FFF != 0
    packet.payload = max(0, packet.octets - length)
    if malformed:
        packet.stop, packet.portless, packet.later_fragment = 4, True, False
    elif not packet.later_fragment:
        transport(octets, offset + length, packet)
    return True


def ipv6(octets, offset, packet):
    header = whole(octets, offset, 40)
    if header is None:
        packet.stop = 3
        return False
    if header[0] >> 4 != 6:
        packet.stop = 4
        return False
    length = struct.unpack_from(">H", header, 4)[0]
    room = max(0, packet.wire - offset)
    packet.octets = room if length == 0 or length + 40 > room else length + 40
    packet.ip = packet.ethertype = IPV6
    packet.traffic_class, packet.ttl = struct.unpack_from(">H", header)[0] >> 4 & 255, header[7]
    packet.source, packet.target = header[8:24], header[24:40]
    packet.payload = max(0, packet.octets - 40)
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
    if protocol == TCP:
        packet.tcp = Tcp(header, packet.payload)
        if packet.tcp.bits & 2:
            packet.tcp.walk(octets[place + 20 : min(place + length, DEEPEST + 1)])
