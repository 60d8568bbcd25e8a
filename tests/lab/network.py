"""A hospital's cables: namespaces, two bridged segments, a router, a far site, and a SPAN port → a tap interface.

What enters any port of the two segments leaves by the SPAN port once; what is behind the router's third leg is not mirrored, so of its
hosts only routed packets are seen. Every namespace has the prefix of this laboratory, and all of them can be found and removed by it.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

PREFIX = "auscult-hospital-"
SWITCH = PREFIX + "switch"
FAR = PREFIX + "far"
TAP = PREFIX + "tap"
NETNS = Path("/run/netns")
MTU = 1500
FEATURES = "tx off rx off sg off tso off gso off gro off rxvlan off txvlan off".split()


def call(*words, check=True):
    """Runs a command; what it said is the error."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, words))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def ip(namespace, *words, check=True):
    """`ip` inside of a namespace."""
    return call("ip", "-n", namespace, *words, check=check)


def inside(namespace, *words):
    """The words that run something in the network of a namespace, with all else as it is here."""
    return ["nsenter", f"--net={NETNS / namespace}", *map(str, words)]


def namespace_of(device):
    """Name of a device's namespace."""
    return PREFIX + device.lower()


def add_namespace(name):
    """Adds a namespace in which IPv6 is off on every interface to come."""
    call("ip", "netns", "add", name)
    for scope in ("all", "default"):
        call(*inside(name, "sysctl", "-qw", f"net.ipv6.conf.{scope}.disable_ipv6=1"), check=False)
    ip(name, "link", "set", "lo", "up")


def silence(namespace, interface):
    """Switches off what changes frames on the way."""
    call(*inside(namespace, "ethtool", "-K", interface, *FEATURES))


def raise_port(namespace, interface):
    """Brings an end up that has no address of its own."""
    silence(namespace, interface)
    ip(namespace, "link", "set", interface, "addrgenmode", "none", "arp", "off", "up")


def mirror(interface):
    """Copies what enters a port of the switch to the SPAN port."""
    call("tc", "-n", SWITCH, "qdisc", "add", "dev", interface, "clsact")
    action = ["action", "mirred", "egress", "mirror", "dev", "span0"]
    begin = ["tc", "-n", SWITCH, "filter", "add", "dev", interface, "ingress", "protocol", "all"]
    try:
        call(*begin, "matchall", *action)
    except RuntimeError:
        # Kernels differ in the classifiers they have; each frame has four octets behind its link header.
        call(*begin, "u32", "match", "u32", "0", "0", *action)


def add_bridge(namespace, name):
    """A switch that neither speaks nor listens itself. Multicast goes to all ports."""
    ip(namespace, "link", "add", name, "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
    ip(namespace, "link", "set", name, "addrgenmode", "none", "arp", "off", "up")
    # Bridges keep LLDP frames to themselves unless told to pass them on.
    mask = Path(f"/sys/class/net/{name}/bridge/group_fwd_mask")
    script = f"mount -t sysfs none /sys && echo 0x4000 > {mask}"
    call(*inside(namespace, "unshare", "--mount", "sh", "-c", script), check=False)


def plug(namespace, interface, mac, bridge, port):
    """A cable from a device to a port of a bridge; a port of the switch is mirrored."""
    home = FAR if bridge == "far" else SWITCH
    ip(
        home,
        "link",
        "add",
        port,
        "mtu",
        MTU,
        "type",
        "veth",
        "peer",
        "name",
        interface,
        "mtu",
        MTU,
        "address",
        mac,
        "netns",
        namespace,
    )
    if home == SWITCH:
        mirror(port)
    silence(namespace, interface)
    ip(home, "link", "set", port, "master", bridge)
    raise_port(home, port)
    ip(namespace, "link", "set", interface, "up")


def build(hospital):
    """All namespaces, bridges and cables of a hospital; addresses of hosts come later."""
    remove()
    for name in (SWITCH, FAR, TAP):
        add_namespace(name)
    ip(SWITCH, "link", "add", "span0", "mtu", MTU, "type", "veth", "peer", "name", "tap0", "mtu", MTU, "netns", TAP)
    raise_port(TAP, "tap0")
    raise_port(SWITCH, "span0")
    for segment in hospital["segment"]:
        add_bridge(FAR if segment == "far" else SWITCH, segment)
    for number, device in enumerate(hospital["device"]):
        name = namespace_of(device["name"])
        add_namespace(name)
        for index, leg in enumerate(legs(device)):
            plug(name, f"eth{index}", leg["mac"], leg["segment"], f"p{number}x{index}")
            if "address" in leg:
                prefix = hospital["segment"][leg["segment"]]["prefix"]
                ip(name, "addr", "add", f"{leg['address']}/{prefix}", "dev", f"eth{index}")
        if device.get("forwards"):
            call(*inside(name, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.send_redirects=0"))
        elif "address" in device:
            ip(name, "route", "add", "default", "via", hospital["segment"][device["segment"]]["gateway"])


def legs(device):
    """Interfaces of a device: of most, one."""
    return device.get("leg") or [{key: device[key] for key in ("mac", "segment", "address") if key in device}]


def holders(name):
    """Processes whose network is that namespace."""
    try:
        wanted = (NETNS / name).stat().st_ino
    except OSError:
        return []
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "ns/net").stat().st_ino == wanted:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def remove():
    """Removes every namespace of a laboratory and the processes in them."""
    names = [entry.name for entry in NETNS.iterdir() if entry.name.startswith(PREFIX)] if NETNS.is_dir() else []
    for name in names:
        for process in holders(name):
            if process != os.getpid():
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    pass
    deadline = time.monotonic() + 5
    while any(holders(name) for name in names) and time.monotonic() < deadline:
        time.sleep(0.05)
    for name in names:
        call("ip", "netns", "del", name)
    return len(names)
