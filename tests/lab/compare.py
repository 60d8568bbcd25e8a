#!/usr/bin/env python3
"""`auscult devices --json` against `truth.json`: what was carried, what was right, wrong and missing, by attribute; the share of devices
whose category was decided and how many of these were right; devices merged and split; how late they were first seen.

A device is found by its MAC, and one that only a router's packets show by its IP address. The exit code is 1 when a threshold is not met.
"""

import argparse
import json
import sys
import unicodedata
from collections import defaultdict
from datetime import datetime
from pathlib import Path

ATTRIBUTES = ("manufacturer", "model", "serial", "software_version", "os", "hostname")
# Words that say nothing of who a maker is.
LEGAL = {
    "inc",
    "ag",
    "gmbh",
    "co",
    "kg",
    "ltd",
    "corp",
    "corporation",
    "company",
    "the",
    "llc",
    "sa",
    "bv",
    "ab",
    "of",
    "and",
    "kgaa",
}


def words(text):
    """A value as its words, without accents, punctuation and case."""
    plain = unicodedata.normalize("NFKD", str(text)).encode("ascii", "ignore").decode().casefold()
    return [
        "".join(filter(str.isalnum, word))
        for word in plain.replace("/", " ").replace(",", " ").split()
        if any(map(str.isalnum, word))
    ]


def same(attribute, said, forms):
    """Whether what was said is one of the forms of the truth."""
    mine = words(said)
    for form in forms:
        theirs = words(form)
        if attribute == "manufacturer":
            one, two = ([word for word in each if word not in LEGAL] for each in (mine, theirs))
            if one and two and one[0] == two[0]:
                return True
        elif attribute == "hostname":
            if str(said).casefold().split(".")[0][:15] == str(form).casefold().split(".")[0][:15]:
                return True
        elif "".join(mine) == "".join(theirs) or (attribute in ("model", "software_version", "os") and covers(mine, theirs)):
            return True
    return False


def covers(one, two):
    """Whether one value is the other with more words around it: `Axis P3245-LV` and `P3245-LV`."""
    short, long = sorted(("".join(one), "".join(two)), key=len)
    return len(short) >= 3 and short in long


def seconds(value):
    """A time of the engine as seconds: ISO 8601, or a number of seconds or nanoseconds."""
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
        except ValueError:
            return None
    if value is None:
        return None
    return value / 1e9 if value > 1e14 else float(value)


def texts(value):
    """The texts of a field: one, a list, or objects with a value."""
    found = value if isinstance(value, list) else [value]
    found = [one.get("value", one.get("ip", one.get("address"))) if isinstance(one, dict) else one for one in found]
    return [str(one) for one in found if one not in (None, "", "unknown")]


def match(truth, devices):
    """By name of a true device, the devices found that have one of its MACs, or its address where no MAC is its own."""
    by_mac, by_address, found, known = defaultdict(list), defaultdict(list), {}, set()
    behind = {entry["ip"] for one in truth["devices"] if not one["macs"] for entry in one["ips"]}
    for device in devices:
        addresses = {text.split("/")[0] for text in texts(device.get("ips", []))}
        if addresses and addresses <= behind:
            # Should it have a MAC, that is the router's.
            continue
        for mac in texts(device.get("mac")) + texts(device.get("macs", [])):
            by_mac[mac.lower()].append(device)
    for one in truth["devices"]:
        mine = {id(device): device for mac in one["macs"] for device in by_mac[mac]}
        found[one["name"]] = list(mine.values())
        known |= set(mine)
    for device in devices:
        # A device without a MAC, or with a router's for want of its own.
        if id(device) not in known or not texts(device.get("mac")):
            for address in texts(device.get("ips", [])):
                by_address[address.split("/")[0]].append(device)
    for one in truth["devices"]:
        if not one["macs"]:
            found[one["name"]] = [device for lease in one["ips"] for device in by_address[lease["ip"]]]
    return found


def score(truth, found):
    """Counts by attribute, and what to list."""
    counts, listed = defaultdict(lambda: defaultdict(int)), []
    for one in truth["devices"]:
        mine = found[one["name"]]
        for attribute in ATTRIBUTES:
            forms = [form for form in [one.get(attribute), *one.get(f"{attribute}_also", [])] if form]
            # The name that was chosen; where there is no such column, all that were heard.
            said = [text for device in mine for text in texts(device.get(attribute)) or other_names(device, attribute)]
            count = counts[attribute]
            carried = attribute in one["carried"]
            count["carried"] += carried
            if not forms:
                count["said of nothing"] += bool(said)
                continue
            if any(same(attribute, text, forms) for text in said):
                count["right"] += carried
                count["right, not carried"] += not carried
            elif said:
                count["wrong"] += 1
                listed.append(
                    f"wrong    {attribute:<17} {one['name']:<10} {said[0]!r}, not {forms[0]!r}; carried by {by(one, attribute)}"
                )
            elif carried:
                count["missing"] += 1
                listed.append(f"missing  {attribute:<17} {one['name']:<10} {forms[0]!r}; carried by {by(one, attribute)}")
    return counts, listed


def other_names(device, attribute):
    """All names that a device was heard to have, when none was chosen."""
    return [] if attribute != "hostname" or "hostname" in device else texts(device.get("hostnames", []))


def by(one, attribute):
    """The fields that carry an attribute."""
    return ", ".join(one["carried"].get(attribute, [])) or "nothing"


def categories(truth, found):
    """Decided and right categories, and the misses."""
    decided = right = spoke = 0
    listed = []
    for one in truth["devices"]:
        if not one["frames"]:
            continue
        spoke += 1
        said = [text for device in found[one["name"]] for text in texts(device.get("category"))]
        if not said:
            listed.append(f"undecided                  {one['name']:<10} is {one['category']} ({' '.join(one['protocols'])})")
            continue
        decided += 1
        if set(said) & {one["category"], *one.get("category_also", [])}:
            right += 1
        else:
            listed.append(f"wrong    category          {one['name']:<10} {said[0]!r}, not {one['category']!r}")
    return spoke, decided, right, listed


def shapes(truth, found, devices):
    """False merges (one found device is several true ones), false splits (the other way), devices that are none."""
    owners = defaultdict(set)
    for name, mine in found.items():
        for device in mine:
            owners[id(device)].add(name)
    merges = [sorted(names) for names in owners.values() if len(names) > 1]
    splits = [name for name, mine in found.items() if len({id(device) for device in mine}) > 1]
    unseen = [one["name"] for one in truth["devices"] if one["frames"] and not found[one["name"]]]
    none = [device for device in devices if id(device) not in owners]
    return merges, splits, unseen, none


def latencies(truth, found):
    """Seconds from a device's first frame on the tap to its first sight, sorted."""
    late = []
    for one in truth["devices"]:
        times = [seconds(device.get("first_seen")) for device in found[one["name"]]]
        times = [time for time in times if time is not None]
        if times and one["first_frame"]:
            late.append(min(times) - one["first_frame"])
    return sorted(late)


def lease_identity(truth, found):
    """Of the devices that changed their address: how many are one device still, with all their addresses."""
    changed = kept = whole = 0
    for one in truth["devices"]:
        addresses = {entry["ip"] for entry in one["ips"]}
        if one["dhcp"] and len(addresses) > 1:
            changed += 1
            mine = found[one["name"]]
            kept += len(mine) == 1
            whole += len(mine) == 1 and addresses <= {text.split("/")[0] for text in texts(mine[0].get("ips", []))}
    return changed, kept, whole


def main():
    """Compares and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("devices", help="file of `auscult devices --json`, or - for standard input")
    parser.add_argument("truth", type=Path)
    parser.add_argument("--attributes-min", type=float, default=0, help="least share of carried attributes that are right")
    parser.add_argument("--accuracy-min", type=float, default=0, help="least share of decided categories that are right")
    parser.add_argument("--decided-min", type=float, default=0, help="least share of devices whose category is decided")
    parser.add_argument(
        "--latency-max", type=float, default=float("inf"), help="most seconds to the first sight, at the 99th percentile"
    )
    parser.add_argument("--shapes-max", type=int, default=10**6, help="most false merges and splits together")
    parser.add_argument("--wrong-max", type=int, default=10**6, help="most attributes that are wrong")
    options = parser.parse_args()
    truth = json.loads(options.truth.read_text(encoding="utf-8"))
    devices = json.load(sys.stdin) if options.devices == "-" else json.loads(Path(options.devices).read_text(encoding="utf-8"))
    devices = devices.get("devices", devices) if isinstance(devices, dict) else devices
    found = match(truth, devices)
    counts, listed = score(truth, found)
    print(f"{truth['hospital']}: {len(truth['devices'])} devices, {len(devices)} found, {truth['frames']} frames\n")
    columns = ("carried", "right", "wrong", "missing", "right, not carried", "said of nothing")
    print(f"{'attribute':<18}" + "".join(f"{column:>20}" for column in columns))
    for attribute in ATTRIBUTES:
        print(f"{attribute:<18}" + "".join(f"{counts[attribute][column]:>20}" for column in columns))
    spoke, decided, right, missed = categories(truth, found)
    merges, splits, unseen, none = shapes(truth, found, devices)
    carried, good = (sum(count[column] for count in counts.values()) for column in ("carried", "right"))
    wrong = sum(count["wrong"] for count in counts.values())
    share = lambda part, whole: part / whole if whole else 1.0
    changed, kept, whole = lease_identity(truth, found)
    print("\n" + "\n".join(listed + missed))
    print(f"\nattributes: {good} of {carried} carried are right ({share(good, carried):.1%}), {wrong} wrong")
    print(
        f"category: {decided} of {spoke} decided ({share(decided, spoke):.1%}), {right} right ({share(right, decided):.1%} of decided)"
    )
    print(f"merged: {merges or 'none'}; split: {splits or 'none'}; not seen: {unseen or 'none'}")
    print(f"leases: of {changed} devices that changed address {kept} are one device still, {whole} with every address")
    if none:
        print("no true device: " + "; ".join(f"{device.get('mac')} {texts(device.get('ips', []))[:2]}" for device in none[:20]))
    late = latencies(truth, found)
    worst = late[min(len(late) - 1, int(len(late) * 0.99))] if late else None
    if late:
        print(
            f"first sight: median {late[len(late) // 2]:.3f} s, p99 {worst:.3f} s after the first frame, of {len(late)} devices"
        )
    failed = [
        name
        for name, met in (
            ("attributes", share(good, carried) >= options.attributes_min),
            ("accuracy", share(right, decided) >= options.accuracy_min),
            ("decided", share(decided, spoke) >= options.decided_min),
            ("latency", worst is None or worst <= options.latency_max),
            ("merges and splits", len(merges) + len(splits) <= options.shapes_max),
            ("wrong attributes", wrong <= options.wrong_max),
        )
        if not met
    ]
    if failed:
        print("thresholds that are not met: " + ", ".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
