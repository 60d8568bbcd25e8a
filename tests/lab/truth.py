"""A hospital file, the leases its devices had and the recording of the tap → `truth.json`: what each device is, and what of that the wire
carries.

What a device is comes from the hospital file alone. An attribute is carried where a role writes its value into a field and the recording
has these octets in a frame of that device; the second look is a search for octets, with no parser of any protocol.
"""

import asyncio
import json
import struct
from collections import defaultdict

import network
import roles

ATTRIBUTES = ("manufacturer", "model", "serial", "software_version", "os", "hostname")


def frames(path):
    """`(seconds, octets)` of each frame of a pcap file."""
    with open(path, "rb") as file:
        head = file.read(24)
        order, scale = {b"\xd4\xc3\xb2\xa1": ("<", 1e6), b"\x4d\x3c\xb2\xa1": ("<", 1e9)}[head[:4]]
        while len(record := file.read(16)) == 16:
            seconds, part, kept, _ = struct.unpack(order + "IIII", record)
            yield seconds + part / scale, file.read(kept)


def sender_address(frame):
    """The IPv4 address that a frame says it is from."""
    kind = frame[12:14]
    if kind == b"\x08\x00" and len(frame) >= 34:
        octets = frame[26:30]
    elif kind == b"\x08\x06" and len(frame) >= 42:
        octets = frame[28:32]
    else:
        return None
    address = ".".join(map(str, octets))
    return None if address == "0.0.0.0" else address


class Heard:
    """What the recording has of one device."""

    def __init__(self):
        self.first, self.last, self.count, self.octets, self.addresses = None, None, 0, [], {}

    def take(self, at, frame, address):
        """One of its frames."""
        self.first = at if self.first is None else self.first
        self.last, self.count = at, self.count + 1
        self.octets.append(frame[14:].lower())
        if address:
            first, _, number = self.addresses.get(address, (at, at, 0))
            self.addresses[address] = (first, at, number + 1)


def listen(hospital, path):
    """The recording, by device."""
    by_mac, by_address, own, heard = {}, {}, defaultdict(set), defaultdict(Heard)
    for device in hospital["device"]:
        for leg in network.legs(device):
            by_mac[bytes.fromhex(leg["mac"].replace(":", ""))] = device["name"]
            if "address" in leg:
                own[device["name"]].add(leg["address"])
                if leg["segment"] == "far" and not device.get("forwards"):
                    by_address[leg["address"]] = device["name"]
    routers = {device["name"] for device in hospital["device"] if device.get("forwards")}
    total = 0
    for at, frame in frames(path):
        total += 1
        address = sender_address(frame)
        name = by_mac.get(frame[6:12])
        if name in routers and address not in own[name] and address is not None:
            # A router's frame with another's address is a packet of that other.
            name = by_address.get(address)
        if name:
            heard[name].take(at, frame, address)
    return heard, total


def organisations(hospital):
    """Whom the MACs of a hospital are registered to."""
    import aiooui

    asyncio.run(aiooui.async_load())
    return {leg["mac"]: aiooui.get_vendor(leg["mac"]) or "" for device in hospital["device"] for leg in network.legs(device)}


def texts_of(device, registered):
    """Everything a device writes about itself: `(protocol and field, text)`."""
    texts = [("link.oui", registered[leg["mac"]]) for leg in network.legs(device) if leg["segment"] != "far"]
    for play in device.get("does", []):
        texts += [(where, str(text)) for where, text in roles.ROLES[play["role"]].texts(device, play) if text]
    return texts


def carried(device, heard, registered):
    """By attribute: the fields that carry it, as far as its octets were recorded; and those whose octets were not."""
    if not heard.count:
        return {}, {}
    octets = b"\n".join(heard.octets)
    found, missing = defaultdict(list), defaultdict(list)
    for attribute in ATTRIBUTES:
        value = device.get("hostname", device["name"]) if attribute == "hostname" else device.get(attribute)
        if not value:
            continue
        forms = [value, *device.get(f"{attribute}_also", [])]
        for where, text in texts_of(device, registered):
            stands = [form for form in forms if form.casefold() in text.casefold()]
            if not stands and not (
                where == "link.oui" and attribute == "manufacturer" and first_word(forms) & first_word([text])
            ):
                continue
            needles = [encoded for form in stands for encoded in (form.lower().encode(), form.lower().encode("utf-16-le"))]
            known = where == "link.oui" or any(needle in octets for needle in needles)
            (found if known else missing)[attribute].append(where)
        for where in [device.get("carries", {}).get(attribute)]:
            if where:
                found[attribute].append(where)
    return {key: sorted(set(value)) for key, value in found.items()}, {key: sorted(set(value)) for key, value in missing.items()}


def server_of(hospital):
    """Name of the device that answers DNS queries."""
    return next(device["name"] for device in hospital["device"] if device.get("address") == hospital["name_server"])


def dns_name(device, domain):
    """A device's name as DNS messages have it."""
    labels = [device.get("hostname", device["name"]).lower(), *domain.split(".")]
    return b"".join(bytes([len(label)]) + label.encode() for label in labels)


def first_word(texts):
    """First words, as makers are told apart by."""
    return {text.casefold().replace(",", " ").split()[0] for text in texts if text.split()}


def lease_log(out, name):
    """`(seconds, address)` for each lease that a device took; renewals of the same address are none."""
    path = out / "devices" / name / "leases.jsonl"
    changes = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        lease = json.loads(line)
        if not changes or changes[-1][1] != lease["address"]:
            changes.append((lease["at"], lease["address"]))
    return changes


def write(hospital, out, seed):
    """Writes truth.json; gives what it says."""
    heard, total = listen(hospital, out / "tap.pcap")
    registered = organisations(hospital)
    answers = b"\n".join(heard[server_of(hospital)].octets)
    devices = []
    for device in hospital["device"]:
        name = device["name"]
        mine, leases = heard[name], lease_log(out, name)
        by, unheard = carried(device, mine, registered)
        if dns_name(device, hospital["domain"]) in answers:
            by.setdefault("hostname", []).append("dns.name (an answer)")
        devices.append(
            {
                "name": name,
                "hostname": device.get("hostname", name),
                "macs": [leg["mac"] for leg in network.legs(device) if leg["segment"] != "far"],
                "ips": [
                    {"ip": ip, "first": first, "last": last, "frames": count}
                    for ip, (first, last, count) in mine.addresses.items()
                ],
                "leases": [{"at": at, "ip": ip} for at, ip in leases],
                "dhcp": any(play["role"] == "dhcp" for play in device["does"]),
                "segments": [leg["segment"] for leg in network.legs(device)],
                "mirrored": any(leg["segment"] != "far" for leg in network.legs(device)),
                "first_frame": mine.first,
                "last_frame": mine.last,
                "frames": mine.count,
                "protocols": [play["role"] for play in device["does"]],
                **{
                    key: device.get(key)
                    for key in ("category", "manufacturer", "model", "serial", "software_version", "os", "role")
                },
                **{key: value for key, value in device.items() if key.endswith("_also")},
                "carried": by,
                "not_heard": unheard,
            }
        )
    times = json.loads((out / "times.json").read_text(encoding="utf-8")) if (out / "times.json").is_file() else {}
    truth = {
        "hospital": hospital["name"],
        "domain": hospital["domain"],
        "seed": seed,
        **times,
        "frames": total,
        "devices": devices,
    }
    (out / "truth.json").write_text(json.dumps(truth, indent=1, ensure_ascii=False), encoding="utf-8")
    return truth


def summary(truth):
    """Which devices spoke, and what of their roles was not heard."""
    devices = truth["devices"]
    lines = [f"{'device':<10} {'category':<22} {'frames':>7} {'first':>6} {'addresses':>9}  carried"]
    for device in devices:
        at = f"{device['first_frame'] - truth.get('started', device['first_frame']):.1f}" if device["first_frame"] else "-"
        missing = f"  NOT HEARD: {device['not_heard']}" if device["not_heard"] else ""
        lines.append(
            f"{device['name']:<10} {device['category']:<22} {device['frames']:>7} {at:>6} {len(device['ips']):>9}  "
            f"{' '.join(sorted(device['carried']))}{missing}"
        )
    silent = [device["name"] for device in devices if not device["frames"]]
    changes = [len(device["leases"]) for device in devices if device["dhcp"]]
    lines.append(
        f"{truth['frames']} frames; {len(devices) - len(silent)} of {len(devices)} devices spoke, of "
        f"{len({device['category'] for device in devices})} categories; addresses taken by each of {len(changes)} DHCP devices: "
        f"{min(changes, default=0)} to {max(changes, default=0)}{'; silent: ' + ' '.join(silent) if silent else ''}"
    )
    return "\n".join(lines)
