"""Capture files, read a second time: frames of pcap and pcapng, plain or gzipped, as the reader's module texts define them.

A fault ends the file after its last whole frame, as it does for the engine.
"""

import gzip
import struct

LATEST = (1 << 63) - 1
FRAME_MAX = 256 << 10
BLOCK_MAX = 16 << 20
# Octets on the wire that a frame may claim; no medium carries as many.
WIRE_OCTETS_MAX = 1 << 31


class Frame:
    """One frame: time (ns since 1970), octets, octets on the wire, link type, name of the observation point."""

    __slots__ = ("at", "octets", "wire", "link", "point")

    def __init__(self, at, octets, wire, link, point):
        self.at, self.octets, self.link, self.point = at, octets, link, point
        self.wire = min(wire, WIRE_OCTETS_MAX)


def frames(path):
    """The frames of a file, in file order."""
    with open(path, "rb") as file:
        octets = file.read()
    if octets[:2] == b"\x1f\x8b":
        octets = gzip.decompress(octets)
    if octets[:4] == b"\x0a\x0d\x0d\x0a":
        return pcapng(octets)
    return pcap(octets)


def pcap(octets):
    layouts = {0xA1B2C3D4: (1000, 16), 0xA1B23C4D: (1, 16), 0xA1B2CD34: (1000, 24)}
    for order in "<>":
        if len(octets) >= 24 and struct.unpack_from(order + "I", octets)[0] in layouts:
            break
    else:
        return
    magic, major, minor = struct.unpack_from(order + "IHH", octets)
    unit, header = layouts[magic]
    if major < 2:
        return
    link = struct.unpack_from(order + "I", octets, 20)[0] & 0xFFFF
    place = 24
    while place + header <= len(octets):
        seconds, fraction, captured, original = struct.unpack_from(order + "4I", octets, place)
        swapped = (major == 2 and minor <= 2) or major == 543
        if swapped or (major == 2 and minor == 3 and captured > original):
            captured, original = original, captured
        if captured > FRAME_MAX or place + header + captured > len(octets):
            return
        place += header
        yield Frame(seconds * 10**9 + fraction * unit, octets[place : place + captured], max(original, captured), link, "if0")
        place += captured


def clock(resolution, offset):
    """The clock of an interface: a function from its stamps to ns since 1970."""
    exponent = resolution & 0x7F

    def nanos(stamp):
        if resolution & 0x80:
            at = stamp * 10**9 >> exponent
        elif exponent <= 9:
            at = stamp * 10 ** (9 - exponent)
        else:
            at = stamp // 10 ** (exponent - 9)
        return max(0, min(at, LATEST) + offset * 10**9) if offset == 0 else max(0, min(at + offset * 10**9, LATEST))

    return nanos


def interface(order, body, number):
    """What a description block says: link type, longest capture, name, clock."""
    link, _, snap = struct.unpack_from(order + "HHI", body)
    name, resolution, offset = f"if{number}", 6, 0
    place = 8
    while place + 4 <= len(body):
        code, length = struct.unpack_from(order + "HH", body, place)
        value = body[place + 4 : place + 4 + length]
        if code == 0 or len(value) < length:
            break
        if code == 2:
            name = value.split(b"\0")[0][:255].decode("utf-8", "replace") or f"if{number}"
        elif code == 9 and length == 1:
            resolution = value[0]
        elif code == 14 and length == 8:
            offset = struct.unpack(order + "q", value)[0]
        place += 4 + (length + 3 & ~3)
    return link, snap, name, clock(resolution, offset)


def pcapng(octets):
    order, interfaces, latest, place = "<", [], 0, 0
    while place + 12 <= len(octets):
        kind = struct.unpack_from(order + "I", octets, place)[0]
        if kind == 0x0A0D0D0A:
            order = {0x1A2B3C4D: "<", 0x4D3C2B1A: ">"}.get(struct.unpack_from("<I", octets, place + 8)[0])
            if order is None:
                return
            if struct.unpack_from(order + "HH", octets, place + 12) not in ((1, 0), (1, 2)):
                return
            interfaces = []
        total = struct.unpack_from(order + "I", octets, place + 4)[0]
        whole = total + 3 & ~3
        if total < 12 or total > BLOCK_MAX or place + whole > len(octets):
            return
        if struct.unpack_from(order + "I", octets, place + whole - 4)[0] != total:
            return
        body = octets[place + 8 : place + whole - 4]
        place += whole
        if kind == 1:
            interfaces.append(interface(order, body, len(interfaces)))
        elif kind in (2, 6):
            number = struct.unpack_from(order + ("H" if kind == 2 else "I"), body)[0]
            high, low, captured, original = struct.unpack_from(order + "4I", body, 4)
            if number >= len(interfaces) or captured > min(len(body) - 20, FRAME_MAX):
                return
            link, _, name, nanos = interfaces[number]
            latest = nanos(high << 32 | low)
            yield Frame(latest, body[20 : 20 + captured], max(original, captured), link, name)
        elif kind == 3:
            original = struct.unpack_from(order + "I", body)[0]
            if not interfaces:
                return
            link, snap, name, _ = interfaces[0]
            captured = min(original, snap) if snap else original
            if captured > min(len(body) - 4, FRAME_MAX):
                return
            yield Frame(latest, body[4 : 4 + captured], original, link, name)
