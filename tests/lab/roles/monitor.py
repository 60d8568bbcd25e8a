"""Patient monitors that speak the Philips IntelliVue data export protocol over UDP (its Programming Guide's association, MDS create and
single polls). Both ends are ours: no packaged program speaks it."""

import socket
import struct
import time

from roles import attributes, role

ANNOUNCE_PORT, EXPORT_PORT = 24005, 24105
SESSION = bytes.fromhex("0508130100160102800014020002")
ABSTRACT = bytes.fromhex("060c2a8648ce140201000000")
REQUEST_HEAD = bytes.fromhex(
    "3180a080800101000000a280a003000001a480308002010106045201000130800602510100000000308002010206"
    "0c2a8648ce14020100000001013080060c2a8648ce1402010000000201000000000000"
    "6180308002010 1a0806080a180060c2a8648ce14020100000003010000be80288006 0c2a8648ce1402010000000101020102 81".replace(" ", "")
)
RESPONSE_HEAD = bytes.fromhex(
    "3180a080800101000000a280a003000001a5803080800100810251010000308080010081 0c2a8648ce14020100000002010000000061803080"
    "020101a0806180a18006 0c2a8648ce140201000000030100 00a203020100a305a103020100be8028800201 0281".replace(" ", "")
)
TAIL = bytes(16)
MDS_USER = struct.pack(">IIIIII", 0x80000000, 0x40000000, 0, 0x80000000, 0x20000000, 0)
POLL_PROFILE = bytes.fromhex("000100240001001c80000000000003e800000 5780000 057800000000ffffffff60000000".replace(" ", ""))
SESSION_DATA = bytes.fromhex("e1000002")


def association(first, head):
    """An association request (13) or response (14)."""
    user = MDS_USER + POLL_PROFILE
    presentation = head + bytes([len(user)]) + user + TAIL
    presentation = b"\xc1" + length_of(presentation) + presentation
    session = SESSION + presentation
    return bytes([first]) + length_of(session) + session


def length_of(octets):
    """A session length: one octet, or 255 and two."""
    return bytes([len(octets)]) if len(octets) < 255 else b"\xff" + struct.pack(">H", len(octets))


def attribute(number, value):
    """One attribute value assertion."""
    return struct.pack(">HH", number, len(value)) + value


def label(text):
    """A VariableLabel: its length, its text with a final zero, padded to an even length."""
    octets = text.encode() + b"\0"
    octets += b"\0" * (len(octets) % 2)
    return struct.pack(">H", len(octets)) + octets


def attributes_of(device, play):
    """The MDS object's attributes: model, production specification, bed label."""
    maker, model, serial, version = attributes(device.spec, play, "manufacturer", "model", "serial", "software_version")
    entries = [struct.pack(">HH", kind, component) + label(text) for kind, component, text in ((1, 1, serial), (5, 1, version))]
    body = b"".join(entries)
    found = [
        attribute(0x0928, label(play.get("vendor", maker)) + label(model)),
        attribute(0x092D, struct.pack(">HH", len(entries), len(body)) + body),
        attribute(0x091E, label(play.get("bed", "BED1"))),
    ]
    octets = b"".join(found)
    return struct.pack(">HH", len(found), len(octets)) + octets


def create_event(device, play, invoke):
    """The confirmed MDS create event."""
    info = struct.pack(">HHH", 33, 0, 0) + attributes_of(device, play)
    event = struct.pack(">HHHIHH", 33, 0, 0, int(time.monotonic() * 8000) & 0xFFFFFFFF, 3334, len(info)) + info
    command = struct.pack(">HHH", invoke, 1, len(event)) + event
    return SESSION_DATA + struct.pack(">HH", 1, len(command)) + command


def poll_request(invoke):
    """A single poll of all numerics."""
    poll = struct.pack(">HHHH", invoke, 1, 6, 0)
    action = struct.pack(">HHHIHH", 33, 0, 0, 0, 3094, len(poll)) + poll
    command = struct.pack(">HHH", invoke, 7, len(action)) + action
    return SESSION_DATA + struct.pack(">HH", 1, len(command)) + command


def poll_result(invoke, count):
    """An answer without objects: there is nobody to measure."""
    info = struct.pack(
        ">HIQHHHH", count, int(time.monotonic() * 8000) & 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF, 1, 6, 0, 0
    ) + struct.pack(">HH", 0, 0)
    result = struct.pack(">HHHHH", 33, 0, 0, 3094, len(info)) + info
    command = struct.pack(">HHH", invoke, 7, len(result)) + result
    return SESSION_DATA + struct.pack(">HH", 2, len(command)) + command


def intellivue_texts(spec, play):
    """What the MDS object says."""
    maker, model, serial, version = attributes(spec, play, "manufacturer", "model", "serial", "software_version")
    return [
        ("intellivue.model (NOM_ATTR_ID_MODEL)", play.get("vendor", maker)),
        ("intellivue.model (NOM_ATTR_ID_MODEL)", model),
        ("intellivue.serial (NOM_ATTR_ID_PROD_SPECN)", serial),
        ("intellivue.software (NOM_ATTR_ID_PROD_SPECN)", version),
    ]


@role("intellivue_monitor", intellivue_texts)
def intellivue_monitor(device, play):
    """A monitor that announces itself and exports to whoever associates."""

    def serve():
        door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        door.bind(("", EXPORT_PORT))
        invoke = 1
        while True:
            octets, peer = door.recvfrom(2048)
            if octets[:1] == b"\x0d":
                door.sendto(association(0x0E, RESPONSE_HEAD), peer)
                door.sendto(create_event(device, play, invoke), peer)
            elif octets[:6] == SESSION_DATA + b"\0\1":
                door.sendto(poll_result(struct.unpack(">H", octets[8:10])[0], invoke & 0xFFFF), peer)
            elif octets[:1] == b"\x09":
                door.sendto(bytes.fromhex("0a18c1160604a0800101005a06048000010000000000").ljust(26, b"\0"), peer)
            invoke += 1

    device.thread(serve)


@role("intellivue_client")
def intellivue_client(device, play):
    """A gateway that associates with each monitor, polls it a few times, and releases."""

    def visit(name):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.settimeout(2)
            peer = (device.host(name), EXPORT_PORT)
            line.sendto(association(0x0D, REQUEST_HEAD), peer)
            line.recv(2048)
            created = line.recv(2048)
            done = struct.pack(">HHHIHH", 33, 0, 0, 0, 3334, 0)
            line.sendto(
                SESSION_DATA
                + struct.pack(">HHHHH", 2, 6 + len(done), struct.unpack(">H", created[8:10])[0], 1, len(done))
                + done,
                peer,
            )
            for invoke in range(2, 6):
                line.sendto(poll_request(invoke), peer)
                line.recv(2048)
                time.sleep(0.3)

    for name in play["monitors"]:
        device.every(play.get("every", 20), lambda name=name: visit(name))
