"""Offices: printers (IPP, ZPL, PJL), file shares, and the workstations that use them."""

import socket
import subprocess
import time

from roles import attributes, role
from roles.laboratory import serve_forever
from roles.names import samba


def ipp_texts(spec, play):
    """What its attributes say."""
    maker, model, serial, version = attributes(spec, play, "manufacturer", "model", "serial", "software_version")
    return [
        ("mdns TXT ty, usb_MFG, usb_MDL", f"{maker} {model}"),
        ("ipp.make_and_model", f"{maker} {model}"),
        ("ipp.device_id", f"MFG:{maker};MDL:{model};SN:{serial};"),
        ("ipp.firmware", version),
        ("ipp.name", play.get("name", "")),
    ]


@role("ipp_printer", ipp_texts)
def ipp_printer(device, play):
    """ippeveprinter of CUPS."""
    maker, model, serial, version = attributes(device.spec, play, "manufacturer", "model", "serial", "software_version")
    name = f"{device.hostname}.{device.hospital['domain']}".lower()
    # It answers by the name it is given alone, and listens at that name's addresses: at all of them.
    device.write("hosts", f"127.0.0.1 localhost\n0.0.0.0 {name}\n:: {name}\n")
    words = ["ippeveprinter", "-n", name, "-p", play.get("port", 631)]
    conf = (
        f'ATTR text printer-make-and-model "{maker} {model}"\n'
        f'ATTR text printer-device-id "MFG:{maker};MDL:{model};SN:{serial};CMD:PJL,PCLXL,POSTSCRIPT;"\n'
        f'ATTR text printer-firmware-string-version "{version}"\nATTR text printer-firmware-name "firmware"\n'
        "ATTR mimeMediaType document-format-supported application/octet-stream,text/plain\n"
        f'ATTR text printer-location "{play.get("location", "Ward 1")}"\nATTR text printer-info "{play.get("name", device.name)}"\n'
    )
    if play.get("attributes", True):
        words += ["-a", device.write("printer.conf", conf)]
    else:
        words += ["-M", maker, "-m", model]

    def serve():
        # It publishes itself, and ends when Avahi is not ready yet.
        for _ in range(10):
            try:
                device.serve(*words, play.get("name", device.name)).wait(2)
            except subprocess.TimeoutExpired:
                return
            time.sleep(0.5)

    device.thread(serve)


@role("ipp_client")
def ipp_client(device, play):
    """ipptool asks for attributes and prints a page."""
    test = (
        "{\nOPERATION Get-Printer-Attributes\nGROUP operation-attributes-tag\nATTR charset attributes-charset utf-8\n"
        "ATTR language attributes-natural-language en\nATTR uri printer-uri $uri\nATTR keyword requested-attributes all\n}\n"
        "{\nOPERATION Print-Job\nGROUP operation-attributes-tag\nATTR charset attributes-charset utf-8\n"
        "ATTR language attributes-natural-language en\nATTR uri printer-uri $uri\nATTR name requesting-user-name ZZMARKERUSER\n"
        'ATTR name job-name "ZZMARKER letter"\nATTR mimeMediaType document-format application/octet-stream\nFILE $filename\n}\n'
    )
    path, page = device.write("attributes.test", test), device.write("page.txt", "ZZMARKER discharge letter\n" * 30)
    url = f"ipp://{device.host(play['to'])}:{play.get('port', 631)}/ipp/print"
    device.every(play.get("every", 30), lambda: device.run("ipptool", "-T", "6", "-f", page, url, path))


@role("raw_printer", lambda spec, play: [("answer on port 9100", text) for text in play.get("answers", {}).values()])
def raw_printer(device, play):
    """A printer's port 9100 (ours): it takes jobs, and answers the questions that the hospital file lists."""

    def converse(line):
        while octets := line.recv(8192):
            for question, answer in play.get("answers", {}).items():
                if question.encode() in octets:
                    line.sendall(answer.encode())

    serve_forever(device, play.get("port", 9100), converse)


@role("raw_client")
def raw_client(device, play):
    """Sends a job, and asks a question first."""

    def send():
        with socket.create_connection((device.host(play["to"]), play.get("port", 9100)), 4) as line:
            line.settimeout(3)
            line.sendall(play.get("question", "~HI").encode())
            try:
                line.recv(1024)
            except TimeoutError:
                pass
            line.sendall(play.get("job", "^XA^FO50,50^ADN,36,20^FDZZMARKER LABEL^FS^XZ").encode())

    device.every(play.get("every", 20), send)


@role(
    "file_server",
    lambda spec, play: [("smb.ntlm_host", spec.get("hostname", spec["name"])), ("smb comment", play.get("text", ""))],
)
def file_server(device, play):
    """Samba's smbd with a share that anyone may read."""
    share = device.folder / "share"
    share.mkdir(exist_ok=True)
    (share / "ZZMARKER list.txt").write_text("ZZMARKER\n" * 100, encoding="utf-8")
    share.chmod(0o755)
    conf = samba(device, play) + f"[data]\npath = {share}\nguest ok = yes\nread only = yes\nforce user = root\n"
    device.serve("smbd", "-F", "--no-process-group", "-s", device.write("smb.conf", conf))


@role("file_client", lambda spec, play: [("smb.ntlm_host", spec.get("hostname", spec["name"]))])
def file_client(device, play):
    """smbclient signs in with NTLM, lists, and reads a file."""
    conf = device.write(
        "client.conf", f"[global]\nnetbios name = {device.hostname.upper()[:15]}\nworkgroup = {play.get('group', 'HOSPITAL')}\n"
    )
    words = [
        "smbclient",
        f"//{device.host(play['to'])}/data",
        "-s",
        conf,
        "-U",
        "ZZMARKERUSER%ZZMARKERSECRET",
        "-m",
        play.get("most", "SMB3"),
    ]
    device.every(play.get("every", 25), lambda: device.run(*words, "-c", 'ls; get "ZZMARKER list.txt" /dev/null'))


@role(
    "upnp_media",
    lambda spec, play: [
        ("ssdp.friendly_name", play.get("friendly", "")),
        ("ssdp.model", play.get("model", "")),
        ("ssdp.serial", spec.get("serial", "")),
    ],
)
def upnp_media(device, play):
    """MiniDLNA, with the model and serial number of the product."""
    folder = device.folder / "media"
    folder.mkdir(exist_ok=True)
    conf = (
        f"media_dir={folder}\nfriendly_name={play.get('friendly', device.name)}\ndb_dir={folder}\nlog_dir={folder}\nport=8200\n"
        f"network_interface=eth0\nserial={device.spec.get('serial', '')}\nmodel_number={play.get('number', '1')}\n"
        f"model_name={play.get('model', '')}\nnotify_interval=30\ninotify=no\n"
    )
    device.serve("minidlnad", "-S", "-P", device.folder / "minidlna.pid", "-f", device.write("minidlna.conf", conf))
