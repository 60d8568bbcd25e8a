"""How devices name themselves to their neighbours: LLDP (lldpd), mDNS (Avahi), WS-Discovery (wsdd and the package WSDiscovery), NetBIOS
(Samba's nmbd)."""

import os
from pathlib import Path

from roles import attributes, role
from roles.base import wait_for_address


def lldp_texts(spec, play):
    """System name and description, and the inventory of LLDP-MED."""
    texts = [("lldp.system_name", spec.get("hostname", spec["name"])), ("lldp.system_description", play.get("description", ""))]
    if play.get("med"):
        maker, model, serial, version = attributes(spec, play, "manufacturer", "model", "serial", "software_version")
        texts += [
            ("lldp.manufacturer (MED)", maker),
            ("lldp.model (MED)", model),
            ("lldp.serial (MED)", serial),
            ("lldp.firmware (MED)", version),
        ]
    return texts


@role("lldp", lldp_texts)
def lldp(device, play):
    """lldpd. Its LLDP-MED inventory is what the firmware tables of the machine say: here they are the device's."""
    words = ["lldpd", "-d", "-l", "-S", play.get("description", device.hostname)]
    if play.get("med"):
        maker, model, serial, version = attributes(device.spec, play, "manufacturer", "model", "serial", "software_version")
        words += ["-M", str(play["med"])]
        device.run("mount", "-t", "tmpfs", "none", "/sys/class")
        os.makedirs("/sys/class/dmi/id")
        for name, value in (
            ("sys_vendor", maker),
            ("product_name", model),
            ("product_serial", serial),
            ("bios_version", version),
            ("product_version", play.get("hardware", "1")),
            ("chassis_asset_tag", play.get("asset", "")),
        ):
            Path("/sys/class/dmi/id", name).write_text(value + "\n", encoding="utf-8")
    else:
        words += ["-i"]
    more = "".join(f"configure {line}\n" for line in play.get("configure", []))
    conf = device.write(
        "lldpd.conf", f"configure lldp tx-interval {play.get('every', 15)}\nconfigure system hostname {device.hostname}\n{more}"
    )
    device.serve(*words, "-O", conf, "-u", "/run/lldpd.socket")


def mdns_texts(spec, play):
    """Host name, instance, and the texts of its services."""
    texts = [("mdns.hostname", spec.get("hostname", spec["name"]))]
    for service in play.get("services", []):
        texts += [
            ("mdns.instance", service.get("name", "")),
            *[(f"mdns TXT of {service['type']}", text) for text in service.get("txt", [])],
        ]
    return texts


@role("mdns", mdns_texts)
def mdns(device, play):
    """Avahi with static services."""
    for number, service in enumerate(play.get("services", [])):
        records = "".join(f"<txt-record>{text}</txt-record>" for text in service.get("txt", []))
        text = (
            '<?xml version="1.0" standalone="no"?><!DOCTYPE service-group SYSTEM "avahi-service.dtd"><service-group>'
            f"<name>{service.get('name', device.hostname)}</name><service><type>{service['type']}</type><port>{service['port']}</port>"
            f"{records}</service></service-group>"
        )
        Path(f"/etc/avahi/services/{number}.service").write_text(text, encoding="utf-8")
    conf = (
        f"[server]\nhost-name={device.hostname}\nuse-ipv4=yes\nuse-ipv6={'yes' if device.spec.get('ipv6') else 'no'}\n"
        f"enable-dbus={'yes' if play.get('bus') else 'no'}\n"
        "ratelimit-interval-usec=1000000\nratelimit-burst=1000\n[publish]\npublish-workstation=no\npublish-hinfo=no\n"
    )
    if play.get("bus"):
        # Programs that publish by themselves reach Avahi by a bus of their own.
        os.makedirs("/run/dbus", exist_ok=True)
        device.serve("dbus-daemon", "--system", "--nofork", "--nopidfile")
        device.wait_for("/run/dbus/system_bus_socket")
    device.serve("avahi-daemon", "--no-drop-root", "--no-chroot", "--no-rlimits", "-f", device.write("avahi.conf", conf))


@role("mdns_browser")
def mdns_browser(device, play):
    """Looks for services and reads what they say (the package zeroconf)."""
    from zeroconf import ServiceBrowser, Zeroconf

    class Listener:
        def add_service(self, zero, kind, name):
            zero.get_service_info(kind, name, 2000)

        def update_service(self, *words):
            pass

        remove_service = update_service

    def browse():
        import time

        zero = Zeroconf()
        ServiceBrowser(zero, [kind + ".local." for kind in play["types"]], Listener())
        time.sleep(4)
        zero.close()

    device.every(play.get("every", 40), browse, first=14)


@role("wsd_onvif", lambda spec, play: [("wsd.scope (ONVIF)", " ".join(play["scopes"]).replace("%20", " "))])
def wsd_onvif(device, play):
    """A camera that can be found by WS-Discovery."""

    def publish():
        from wsdiscovery import QName, Scope
        from wsdiscovery.publishing import ThreadedWSPublishing

        address = wait_for_address(device)
        publisher = ThreadedWSPublishing()
        publisher.start()
        without_ipv6(publisher)
        kind = QName("http://www.onvif.org/ver10/network/wsdl", "NetworkVideoTransmitter")
        publisher.publishService(
            types=[kind],
            scopes=[Scope(f"onvif://www.onvif.org/{scope}") for scope in play["scopes"]],
            xAddrs=[f"http://{address}/onvif/device_service"],
        )

    device.thread(publish)


def without_ipv6(one):
    """The package sends by both, and its thread for IPv6 ends over an IPv4 address."""
    one._networkingThread_v6.schedule_stop()
    one._addrsMonitorThread_v6.schedule_stop()
    one._networkingThread_v6 = one._addrsMonitorThread_v6 = None


@role("wsd_client")
def wsd_client(device, play):
    """A recorder that looks for cameras."""

    def search():
        from wsdiscovery import QName
        from wsdiscovery.discovery import ThreadedWSDiscovery

        one = ThreadedWSDiscovery()
        one.start()
        without_ipv6(one)
        one.searchServices(types=[QName("http://www.onvif.org/ver10/network/wsdl", "NetworkVideoTransmitter")], timeout=3)
        one.stop()

    device.every(play.get("every", 40), search, first=12)


@role("wsd_host", lambda spec, play: [("wsd.host", spec.get("hostname", spec["name"]))])
def wsd_host(device, play):
    """wsdd: a computer in Windows' network folder."""

    def serve():
        wait_for_address(device)
        device.serve("wsdd", "-4", "-n", device.hostname.upper(), "-w", play.get("group", "HOSPITAL"), "-i", "eth0")

    device.thread(serve)


@role("netbios", lambda spec, play: [("netbios.name", spec.get("hostname", spec["name"]))])
def netbios(device, play):
    """Samba's nmbd."""
    conf = device.write("nmb.conf", samba(device, play))

    def serve():
        wait_for_address(device)
        device.serve("nmbd", "-F", "--no-process-group", "-s", conf)

    device.thread(serve)


def samba(device, play):
    """The general part of Samba's configuration."""
    return (
        f"[global]\nnetbios name = {device.hostname.upper()[:15]}\nworkgroup = {play.get('group', 'HOSPITAL')}\nserver string = "
        f"{play.get('text', '')}\nmap to guest = Bad User\nlog file = /dev/null\nlogging = file\nload printers = no\nprinting = bsd\n"
        f"server min protocol = {play.get('least', 'SMB2')}\nprivate dir = /var/lib/samba/private\ndisable spoolss = yes\n"
        "os level = 1\nlocal master = no\n"
    )
