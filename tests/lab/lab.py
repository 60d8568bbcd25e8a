#!/usr/bin/env python3
"""A hospital in network namespaces: real programs behind a real SPAN port, and the ground truth.

    lab.py run SECONDS --hospital FILE --out DIR   builds, drives, records tap.pcap, writes truth.json, removes everything
    lab.py up --hospital FILE                      builds the network and leaves it there
    lab.py down                                    removes every namespace and process of a laboratory
    lab.py truth --hospital FILE --out DIR         writes truth.json again, from a recording that is there

`run` leaves nothing behind, also after Ctrl-C or a failure. No packet leaves its namespaces: none has a way out.
"""

import argparse
import ctypes
import fcntl
import json
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import network
import truth

HERE = Path(__file__).resolve().parent
PR_SET_PDEATHSIG = 1
# There is one laboratory on a machine: all have the same names.
LOCK = "/run/auscult-hospital.lock"
# Before the first device speaks: tcpdump and the engine have to listen.
READY_SECONDS = 20
BESIDE_SECONDS = 4
# How long a program may take to end before it is killed.
END_SECONDS = 90


def main():
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["run", "up", "down", "truth"])
    parser.add_argument("seconds", nargs="?", type=float, default=150)
    parser.add_argument("--hospital", type=Path, default=HERE / "hospital_a.toml")
    parser.add_argument("--out", type=Path, default=Path("lab-out"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--beside", help="a command that runs in the network of the tap from before the first frame to after the last"
    )
    parser.add_argument("--only", nargs="*", help="plays these devices alone")
    options = parser.parse_args()
    lock = open(LOCK, "w", encoding="utf-8")
    if options.command != "truth":
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit("another laboratory is at work on this machine") from None
    if options.command == "down":
        print(f"removed {network.remove()} namespaces")
        return 0
    hospital = tomllib.loads(options.hospital.read_text(encoding="utf-8"))
    check(hospital)
    if options.command == "up":
        network.build(hospital)
        print(f"{len(hospital['device'])} devices; the tap is tap0 in the namespace {network.TAP}")
        return 0
    if options.command == "run":
        # Shells start what runs beside them with this signal ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
        run(hospital, options)
    written = truth.write(hospital, options.out, options.seed)
    print(truth.summary(written))
    return 0


def check(hospital):
    """Names and addresses that stand twice make no hospital."""
    for what in ("name", "mac", "address"):
        values = [
            leg[what]
            for device in hospital["device"]
            for leg in ([device] if what == "name" else network.legs(device))
            if what in leg
        ]
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise SystemExit(f"{what} stands twice: {', '.join(twice)}")


def start(words, **options):
    """A program that ends when this one does, however it does."""
    last_word = lambda: ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    return subprocess.Popen([str(word) for word in words], preexec_fn=last_word, start_new_session=True, **options)


def stop(process, how=signal.SIGTERM):
    """Ends a program and waits for it; gives its exit code."""
    if process.poll() is None:
        process.send_signal(how)
    try:
        return process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def record(out):
    """tcpdump on the tap, once it listens."""
    words = network.inside(
        network.TAP, "tcpdump", "-i", "tap0", "-s", "0", "-U", "-B", "65536", "-Z", "root", "-w", out / "tap.pcap"
    )
    with open(out / "tcpdump.log", "w", encoding="utf-8") as log:
        process = start(words, stderr=log)
    deadline = time.monotonic() + READY_SECONDS
    while "listening" not in (out / "tcpdump.log").read_text(encoding="utf-8"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError((out / "tcpdump.log").read_text(encoding="utf-8"))
        time.sleep(0.1)
    return process


def start_device(hospital, name, options, folder):
    """One device: its own network, host name, files and processes."""
    home = folder / name
    home.mkdir()
    home.chmod(0o755)
    agent = [sys.executable, HERE / "agent.py", folder / "hospital.json", name, options.seed, home]
    space = ["unshare", "--uts", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", *agent]
    with open(home / "errors", "w", encoding="utf-8") as errors:
        return start(network.inside(network.namespace_of(name), *space), stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)


def run(hospital, options):
    """Builds, plays for the seconds asked for, and takes all down again."""
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    folder = out / "devices"
    network.call("rm", "-rf", folder)
    folder.mkdir()
    (folder / "hospital.json").write_text(json.dumps(hospital), encoding="utf-8")
    names = [device["name"] for device in hospital["device"] if not options.only or device["name"] in options.only]
    devices, beside, recorder = {}, None, None
    try:
        network.build(hospital)
        recorder = record(out)
        if options.beside:
            with open(out / "beside.log", "w", encoding="utf-8") as log:
                beside = start(network.inside(network.TAP, *shlex.split(options.beside)), stdout=log, stderr=log)
            time.sleep(BESIDE_SECONDS)
            if beside.poll() is not None:
                raise RuntimeError(f"{options.beside} ended: {(out / 'beside.log').read_text(encoding='utf-8')}")
        times = {"started": time.time()}
        for name in names:
            devices[name] = start_device(hospital, name, options, folder)
            time.sleep(0.05)
        end = time.monotonic() + options.seconds
        while time.monotonic() < end:
            time.sleep(0.5)
            for name, process in devices.items():
                if process.poll() is not None:
                    raise RuntimeError(f"{name} ended: {(folder / name / 'errors').read_text(encoding='utf-8')}")
        for process in devices.values():
            process.send_signal(signal.SIGKILL)
        times["ended"] = time.time()
        time.sleep(2)
        (out / "times.json").write_text(json.dumps(times), encoding="utf-8")
        if beside:
            code = stop(beside, signal.SIGINT)
            if code != 0:
                raise RuntimeError(f"{options.beside} ended with {code}: {(out / 'beside.log').read_text(encoding='utf-8')}")
    finally:
        # Ctrl-C again must not leave anything behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for process in devices.values():
            process.kill()
        for process in filter(None, (beside, recorder)):
            stop(process)
        for process in devices.values():
            process.wait()
        network.remove()


if __name__ == "__main__":
    sys.exit(main())
