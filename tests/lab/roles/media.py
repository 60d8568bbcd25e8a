"""Pictures and voices: RTSP cameras and recorders, SIP phones and their registrar, UPnP screens."""

import http.server
import socket
import struct
import threading
import time
from pathlib import Path

from roles import attributes, role
from roles.base import wait_for_address
from roles.laboratory import serve_forever


@role(
    "rtsp_server",
    lambda spec, play: [("rtsp.server", play.get("server", "GStreamer RTSP server")), ("rtsp.realm", play.get("realm", ""))],
)
def rtsp_server(device, play):
    """GStreamer's server; or, for cameras with another name or a realm, one of ours that asks for a password."""
    if "server" not in play and "realm" not in play:
        script = str(Path(__file__).with_name("rtsp.py"))
        device.serve("/usr/bin/python3", script, play.get("port", 554), play.get("path", "/stream"))
        return

    def converse(line):
        while request := line.recv(4096).decode(errors="replace"):
            number = next((row.split(":")[1].strip() for row in request.split("\r\n") if row.lower().startswith("cseq:")), "1")
            name = f"Server: {play['server']}\r\n" if play.get("server") else ""
            if request.startswith("OPTIONS"):
                answer = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{name}Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n\r\n"
            else:
                challenge = (
                    f'WWW-Authenticate: Digest realm="{play.get("realm", "Login")}", nonce="{device.random.randrange(10**9)}"\r\n'
                )
                answer = f"RTSP/1.0 401 Unauthorized\r\nCSeq: {number}\r\n{name}{challenge}\r\n"
            line.sendall(answer.encode())

    serve_forever(device, play.get("port", 554), converse)


@role("rtsp_client")
def rtsp_client(device, play):
    """ffmpeg records for a few seconds from each camera, into nothing."""

    def record(name):
        server = next(one for one in device.other(name)["does"] if one["role"] == "rtsp_server")
        url = f"rtsp://{device.host(name)}:{server.get('port', 554)}{server.get('path', '/stream')}"
        transport = ["-rtsp_transport", play.get("transport", "tcp")]
        device.run(
            "timeout", "6", "ffmpeg", "-loglevel", "error", "-nostdin", *transport, "-i", url, "-t", "4", "-f", "null", "-"
        )

    for name in play["cameras"]:
        device.every(play.get("every", 30), lambda name=name: record(name))


KAMAILIO = """#!KAMAILIO
debug=0
log_stderror=yes
fork=no
children=1
disable_tcp=yes
auto_aliases=no
server_header="Server: {server}"
user_agent_header="User-Agent: {server}"
listen=udp:{address}:5060
mpath="/usr/lib/x86_64-linux-gnu/kamailio/modules/"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
request_route {{
  if (is_method("REGISTER")) {{ save("location"); exit; }}
  if (is_method("OPTIONS")) {{ sl_send_reply("200", "OK"); exit; }}
  if (is_method("INVITE")) {{ sl_send_reply("486", "Busy Here"); exit; }}
  if (is_method("ACK")) {{ exit; }}
  sl_send_reply("405", "Method Not Allowed");
}}
"""

SIPP = """<?xml version="1.0" encoding="ISO-8859-1"?>
<scenario name="phone">
{steps}
</scenario>
"""

STEP = """<send retrans="500"><![CDATA[
{method} sip:[remote_ip] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:{user}@[remote_ip]>;tag=[call_number]{method}
To: <sip:{user}@[remote_ip]>
Call-ID: [call_id]
CSeq: 1 {method}
Contact: <sip:{user}@[local_ip]:[local_port]>
Max-Forwards: 70
User-Agent: {agent}
Expires: 120
Content-Length: 0

]]></send>
<recv response="200" timeout="3000"></recv>"""


@role("sip_server", lambda spec, play: [("sip.server", play["server"])])
def sip_server(device, play):
    """Kamailio, which names itself as the product."""
    conf = KAMAILIO.format(server=play["server"], address=device.address())
    device.serve("kamailio", "-DD", "-E", "-w", device.folder, "-Y", device.folder, "-f", device.write("kamailio.cfg", conf))


@role("sip_phone", lambda spec, play: [("sip.user_agent", play["agent"])])
def sip_phone(device, play):
    """SIPp registers and asks for options, with the user agent of a phone."""
    user = play.get("number", "1000")
    scenarios = [
        device.write(f"{method}.xml", SIPP.format(steps=STEP.format(method=method, user=user, agent=play["agent"])))
        for method in ("REGISTER", "OPTIONS")
    ]

    def register():
        address = device.address()
        server = socket.gethostbyname(device.host(play["to"]))
        if address:
            for scenario in scenarios:
                device.run(
                    "sipp",
                    "-sf",
                    scenario,
                    "-m",
                    "1",
                    "-i",
                    address,
                    "-p",
                    "5060",
                    f"{server}:5060",
                    "-nostdin",
                    "-timeout",
                    "6",
                    "-timeout_error",
                )

    device.every(play.get("every", 20), register)


DESCRIPTION = """<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>0</minor></specVersion><device>
<deviceType>{kind}</deviceType><friendlyName>{friendly}</friendlyName><manufacturer>{maker}</manufacturer>
<modelName>{model}</modelName><modelNumber>{number}</modelNumber><serialNumber>{serial}</serialNumber><UDN>uuid:{uuid}</UDN>
</device></root>
"""


def upnp_texts(spec, play):
    """What announcements and the description say."""
    maker, model, serial = attributes(spec, play, "manufacturer", "model", "serial")
    return [
        ("ssdp.server", play["server"]),
        ("ssdp.manufacturer", maker),
        ("ssdp.model", model),
        ("ssdp.serial", serial if play.get("tell_serial", True) else ""),
        ("ssdp.friendly_name", play.get("friendly", "")),
    ]


@role("upnp_device", upnp_texts)
def upnp_device(device, play):
    """Announces itself by SSDP, answers searches, and serves its description (ours)."""
    maker, model, serial = attributes(device.spec, play, "manufacturer", "model", "serial")
    kind, uuid = play.get("kind", "urn:schemas-upnp-org:device:MediaRenderer:1"), f"0000-{device.random.randrange(16**12):012x}"
    text = DESCRIPTION.format(
        kind=kind,
        friendly=play.get("friendly", model),
        maker=maker,
        model=model,
        number=play.get("number", model),
        serial=serial if play.get("tell_serial", True) else "",
        uuid=uuid,
    )

    class Describe(http.server.BaseHTTPRequestHandler):
        server_version, sys_version = play["server"], ""

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *words):
            pass

    server = http.server.ThreadingHTTPServer(("", play.get("port", 1900)), Describe)
    device.thread(server.serve_forever)

    def headers(address, first, target):
        place = f"LOCATION: http://{address}:{play.get('port', 1900)}/description.xml\r\nSERVER: {play['server']}\r\n"
        name = f"uuid:{uuid}::{target}" if target != f"uuid:{uuid}" else target
        return f"{first}\r\nCACHE-CONTROL: max-age=1800\r\n{place}USN: {name}\r\n"

    def announce():
        address = device.address()
        if not address:
            return
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 2)
            line.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
            for target in ("upnp:rootdevice", kind):
                first = "NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900"
                line.sendto(
                    f"{headers(address, first, target)}NT: {target}\r\nNTS: ssdp:alive\r\n\r\n".encode(),
                    ("239.255.255.250", 1900),
                )

    def answer():
        wait_for_address(device)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            line.bind(("", 1900))
            index = socket.if_nametoindex("eth0")
            group = struct.pack("4s4si", socket.inet_aton("239.255.255.250"), b"\0\0\0\0", index)
            line.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
            while True:
                request, peer = line.recvfrom(2048)
                if request.startswith(b"M-SEARCH"):
                    text = f"{headers(device.address(), 'HTTP/1.1 200 OK', kind)}ST: {kind}\r\nEXT:\r\n\r\n"
                    line.sendto(text.encode(), peer)

    device.thread(answer)
    device.every(play.get("every", 25), announce, first=6)


@role("upnp_client")
def upnp_client(device, play):
    """Searches, and fetches the descriptions that it hears of."""

    def search():
        address = device.address()
        if not address:
            return
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.settimeout(2)
            line.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
            target = play.get("target", "ssdp:all")
            agent = f"USER-AGENT: {play['agent']}\r\n" if play.get("agent") else ""
            text = f'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nMX: 1\r\nST: {target}\r\n{agent}\r\n'
            line.sendto(text.encode(), ("239.255.255.250", 1900))
            places, deadline = set(), time.monotonic() + 2
            while time.monotonic() < deadline:
                try:
                    answer = line.recv(2048).decode(errors="replace")
                except TimeoutError:
                    break
                places |= {row.split(":", 1)[1].strip() for row in answer.split("\r\n") if row.lower().startswith("location:")}
        for place in places:
            device.run("curl", "-s", "-m", "4", place)

    device.every(play.get("every", 35), search, first=12)


@role("rtp_talk")
def rtp_talk(device, play):
    """A short call's voice: RTP of silence to another phone (ours)."""

    def talk():
        peer = (device.host(play["to"]), play.get("port", 16384))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.bind(("", play.get("port", 16384)))
            for number in range(100):
                line.sendto(struct.pack(">BBHII", 0x80, 0, number, number * 160, 0x5A5A) + b"\xff" * 160, peer)
                time.sleep(0.02)

    device.every(
        play.get("every", 40), lambda: threading.Thread(target=device.guard, args=(talk,), daemon=True).start(), first=15
    )
