"""Laboratory and bedside analysers: ASTM E1381/E1394 (CLSI LIS1, LIS2) and POCT1-A over TCP. Both ends are ours: no packaged program
speaks as an instrument."""

import socket
import socketserver
import time

from roles import attributes, role

ENQ, ACK, STX, ETX, EOT = b"\x05", b"\x06", b"\x02", b"\x03", b"\x04"


def serve_forever(device, port, converse):
    """A TCP server, a thread for each connection."""

    class Converse(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.settimeout(60)
            try:
                converse(self.request)
            except OSError:
                pass

    socketserver.ThreadingTCPServer.allow_reuse_address = True
    server = socketserver.ThreadingTCPServer(("", port), Converse)
    server.daemon_threads = True
    device.thread(server.serve_forever)


def astm_records(device, play):
    """A result as records H, P, O, R, L."""
    maker, model, serial, version = attributes(device.spec, play, "manufacturer", "model", "serial", "software_version")
    sender = play.get("sender", "{model}^{version}^{serial}").format(maker=maker, model=model, serial=serial, version=version)
    number, now = device.random.randrange(1000), time.strftime("%Y%m%d%H%M%S")
    return [
        f"H|\\^&|||{sender}|||||LIS||P|1|{now}",
        f"P|1|ZZMARKERID{number}|||ZZMARKER^{device.name}^{number}||19700101|M",
        f"O|1|ZZMARKERSAMPLE{number}||^^^GLU\\^^^NA|R||||||N||||SERUM",
        f"R|1|^^^GLU|{device.random.randrange(60, 160)}|mg/dL||N||F||ZZMARKEROP|{now}",
        f"R|2|^^^NA|{device.random.randrange(130, 150)}|mmol/L||N||F||ZZMARKEROP|{now}",
        "L|1|N",
    ]


def astm_texts(spec, play):
    """What the header says of the instrument."""
    maker, model, serial, version = attributes(spec, play, "manufacturer", "model", "serial", "software_version")
    text = play.get("sender", "{model}^{version}^{serial}").format(maker=maker, model=model, serial=serial, version=version)
    return [("astm.sender (H-5)", text)]


@role("astm_analyser", astm_texts)
def astm_analyser(device, play):
    """An instrument that connects to the laboratory's system and sends results, frame by frame."""

    def send():
        with socket.create_connection((device.host(play["to"]), play.get("port", 12000)), 5) as line:
            line.settimeout(5)
            line.sendall(ENQ)
            if line.recv(1) != ACK:
                return
            for number, record in enumerate(astm_records(device, play), 1):
                body = str(number % 8).encode() + record.encode() + b"\r" + ETX
                line.sendall(STX + body + f"{sum(body) % 256:02X}".encode() + b"\r\n")
                if line.recv(1) != ACK:
                    return
            line.sendall(EOT)

    device.every(play.get("every", 15), send)


@role("astm_host")
def astm_host(device, play):
    """The laboratory's system: it acknowledges what it hears."""

    def converse(line):
        while octets := line.recv(4096):
            if octets != EOT:
                line.sendall(ACK)

    serve_forever(device, play.get("port", 12000), converse)


def poct_texts(spec, play):
    """What the hello says of the instrument."""
    maker, model, serial, version = attributes(spec, play, "manufacturer", "model", "serial", "software_version")
    return [
        ("poct1a.manufacturer (DEV.manufacturer_name)", maker),
        ("poct1a.model (DEV.model_id)", model),
        ("poct1a.serial (DEV.serial_id)", serial),
        ("poct1a.software (DEV.sw_version)", version),
        ("poct1a.device_name (DEV.device_name)", play.get("device_name", "")),
    ]


def poct_messages(device, play):
    """Hello, status and one observation, as XML."""
    maker, model, serial, version = attributes(device.spec, play, "manufacturer", "model", "serial", "software_version")
    now, number = time.strftime("%Y-%m-%dT%H:%M:%S-00:00"), device.random.randrange(1000)

    def message(count, kind, body):
        head = f'<HDR><HDR.control_id V="{count}"/><HDR.version_id V="POCT1"/><HDR.creation_dttm V="{now}"/></HDR>'
        return f'<?xml version="1.0" encoding="utf-8"?><{kind}>{head}{body}</{kind}>'

    about = (
        f'<DEV><DEV.device_id V="{play["eui64"]}"/><DEV.vendor_id V="{play.get("vendor_id", maker[:5].upper())}"/><DEV.model_id V="{model}"/>'
        f'<DEV.serial_id V="{serial}"/><DEV.manufacturer_name V="{maker}"/><DEV.hw_version V="1.0"/><DEV.sw_version V="{version}"/>'
        f'<DEV.device_name V="{play.get("device_name", device.name)}"/>'
        '<DCP><DCP.application_timeout V="60"/></DCP><DSC><DSC.connection_profile_cd V="SA"/></DSC></DEV>'
    )
    status = f'<DST><DST.status_dttm V="{now}"/><DST.new_observations_qty V="1"/><DST.condition_cd V="R"/></DST>'
    result = (
        f'<SVC><SVC.role_cd V="OBS"/><SVC.observation_dttm V="{now}"/><PT><PT.patient_id V="ZZMARKERID{number}"/>'
        f'<PT.name V="ZZMARKER {device.name}"/><OBS><OBS.observation_id V="2345-7"/><OBS.value V="{device.random.randrange(60, 160)}" U="mg/dL"/>'
        '<OBS.method_cd V="M"/></OBS></PT><OPR><OPR.operator_id V="ZZMARKEROP"/></OPR></SVC>'
    )
    return [message(1, "HEL.R01", about), message(2, "DST.R01", status), message(3, "OBS.R01", result)]


@role("poct_analyser", poct_texts)
def poct_analyser(device, play):
    """An instrument that says hello to its data manager and sends a result."""

    def send():
        with socket.create_connection((device.host(play["to"]), play.get("port", 3001)), 5) as line:
            line.settimeout(5)
            for message in poct_messages(device, play):
                line.sendall(message.encode())
                line.recv(4096)

    device.every(play.get("every", 16), send)


@role("poct_manager")
def poct_manager(device, play):
    """The data manager: an acknowledgement for each message."""

    def converse(line):
        count = 1
        while line.recv(8192):
            answer = (
                f'<?xml version="1.0" encoding="utf-8"?><ACK.R01><HDR><HDR.control_id V="{count}"/><HDR.version_id V="POCT1"/></HDR>'
                f'<ACK><ACK.type_cd V="AA"/><ACK.ack_control_id V="{count}"/></ACK></ACK.R01>'
            )
            line.sendall(answer.encode())
            count += 1

    serve_forever(device, play.get("port", 3001), converse)
