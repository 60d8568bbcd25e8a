"""One device: a process tree in namespaces of its own that plays the roles a hospital file gives it.

Started as the first process of a process namespace, so that everything it started ends with it. Files below `/run` and `/var` that
programs keep are its own, too. What it does is scheduled by the seed of the run and its name.
"""

import ctypes
import heapq
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import roles

PR_SET_PDEATHSIG = 1
# Folders that programs write to; each device has its own.
PRIVATE = ["/run", "/tmp", "/var/lib/samba", "/var/cache/samba", "/var/log", "/var/spool", "/etc/avahi/services"]


class Device:
    """What roles are given: who they are, whom they speak with, how to run programs and when."""

    def __init__(self, hospital, name, seed, folder):
        self.hospital = hospital
        self.spec = next(device for device in hospital["device"] if device["name"] == name)
        self.name = name
        self.hostname = self.spec.get("hostname", name.lower())
        self.folder = folder
        self.random = random.Random(f"{seed}/{name}")
        self.log = open(folder / "log", "a", buffering=1, encoding="utf-8")
        self.queue = []
        self.count = 0
        self.children = []

    def other(self, name):
        """Specification of another device."""
        return next(device for device in self.hospital["device"] if device["name"] == name)

    def host(self, name):
        """How to reach another device: its name in the DNS."""
        return f"{self.other(name).get('hostname', name.lower())}.{self.hospital['domain']}".lower()

    def address(self):
        """Its present IPv4 address."""
        words = subprocess.run(
            ["ip", "-4", "-br", "addr", "show", "eth0"], capture_output=True, text=True, check=False
        ).stdout.split()
        return words[2].split("/")[0] if len(words) > 2 else None

    def write(self, name, text):
        """A file of its own; gives the path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return str(path)

    def serve(self, *words, **options):
        """Starts a program that stays."""
        self.say(f"serve {' '.join(map(str, words))}")
        child = subprocess.Popen(list(map(str, words)), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, **options)
        self.children.append((child, words[0]))
        return child

    def serve_on(self, line, *words):
        """Starts a program that speaks over a connection."""
        self.children.append((subprocess.Popen(list(words), stdin=line, stdout=line, stderr=self.log), words[0]))

    def run(self, *words, timeout=15, text=None):
        """Runs a program to its end."""
        done = subprocess.run(
            list(map(str, words)), input=text, capture_output=True, text=True, timeout=timeout, check=False, errors="replace"
        )
        if done.returncode != 0:
            self.say(
                f"{' '.join(map(str, words))[:200]} ended with {done.returncode}: {(done.stdout + done.stderr).strip()[-300:]}"
            )
        return done

    def wait_for(self, path, seconds=10):
        """Waits until another program has made a file."""
        deadline = time.monotonic() + seconds
        while not Path(path).exists() and time.monotonic() < deadline:
            time.sleep(0.1)

    def thread(self, function, *arguments):
        """Runs something beside the schedule."""
        threading.Thread(target=self.guard, args=(function, *arguments), daemon=True).start()

    def every(self, seconds, action, first=None):
        """Does something again and again, from a time on that the seed gives."""
        first = self.random.uniform(0.1, min(seconds, 8)) if first is None else first
        self.count += 1
        heapq.heappush(self.queue, (time.monotonic() + first, self.count, seconds, action))

    def guard(self, function, *arguments):
        """Calls something whose failure is written down."""
        try:
            function(*arguments)
        except Exception:
            self.say(traceback.format_exc())

    def say(self, text):
        """Writes a line into the log."""
        self.log.write(f"{time.time():.3f} {text}\n")

    def loop(self):
        """Does what is due, for good."""
        while True:
            now = time.monotonic()
            for child, program in list(self.children):
                if child.poll() is not None:
                    self.say(f"{program} ended with {child.returncode}")
                    self.children.remove((child, program))
            if not self.queue or self.queue[0][0] > now:
                time.sleep(min(0.2, self.queue[0][0] - now if self.queue else 0.2))
                continue
            _, count, seconds, action = heapq.heappop(self.queue)
            self.guard(action)
            heapq.heappush(self.queue, (time.monotonic() + seconds, count, seconds, action))


def settle(device):
    """Makes the folders and the host name its own."""
    mount = lambda *words: subprocess.run(["mount", *words], check=True)
    mount("--make-rprivate", "/")
    mount("-t", "sysfs", "none", "/sys")
    for folder in PRIVATE:
        if Path(folder).is_dir():
            # The laboratory's own folder may be in one of them.
            keep = str(device.folder).startswith(folder + "/")
            if not keep:
                mount("-t", "tmpfs", "-o", "mode=755" if folder != "/tmp" else "mode=1777", "none", folder)
    for folder in (
        "/run/sshd",
        "/run/lldpd",
        "/run/avahi-daemon",
        "/run/samba",
        "/var/log/samba",
        "/var/log/nginx",
        "/var/lib/samba/private",
    ):
        if Path(folder).parent.is_dir():
            os.makedirs(folder, exist_ok=True)
    server = device.hospital.get("name_server")
    resolv = device.write(
        "resolv.conf", f"search {device.hospital['domain']}\nnameserver {server}\noptions timeout:1 attempts:2\n"
    )
    hosts = device.write("hosts", f"127.0.0.1 localhost\n127.0.1.1 {device.hostname}\n")
    mount("--bind", resolv, "/etc/resolv.conf")
    mount("--bind", hosts, "/etc/hosts")
    socket.sethostname(device.hostname)
    if device.spec.get("ipv6"):
        # Off until now, so that it says nothing before the tap is listened to.
        for scope in ("all", "default", "eth0"):
            Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text("0", encoding="utf-8")


def main():
    """Plays one device: ARGUMENTS are the hospital as JSON, the device's name, the seed, the folder."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    hospital = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    device = Device(hospital, sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    settle(device)
    for play in device.spec.get("does", []):
        device.guard(roles.ROLES[play["role"]].play, device, play)
    device.say("plays")
    device.loop()


if __name__ == "__main__":
    main()
