"""HL7 v2 over MLLP, with the package hl7: pumps, monitors, ventilators, nurse call, gateways, interface engine, EHR. Patients are
synthetic, and every name and identifier begins with the marker."""

import time

from roles import attributes, role

START, END = b"\x0b", b"\x1c\x0d"


def stamp():
    """Now, as HL7 writes it."""
    return time.strftime("%Y%m%d%H%M%S")


def header(device, play, kind, profile=""):
    """MSH of a message of that kind."""
    control = f"{device.name}{device.random.randrange(10**7)}"
    sender = play["application"] + (f"^{play['eui64']}^EUI-64" if play.get("eui64") else "")
    receiver = play.get("receiver", "")
    return (
        f"MSH|^~\\&|{sender}|{play.get('facility', 'HOSP')}|{receiver}|{play.get('facility', 'HOSP')}|{stamp()}||{kind}|{control}|P|"
        f"{play.get('version', '2.6')}|||AL|NE||||{'||' + profile if profile else ''}"
    ).rstrip("|")


def patient(device, number):
    """PID and PV1 of a person who is not."""
    return [
        f"PID|||ZZMARKERID{number}^^^HOSP^MR||ZZMARKER^{device.name}^{number}^^^^L||19700101|O|||ZZMARKER STREET 1",
        f"PV1||I|ICU^^BED{number % 20}|||||ZZMARKERDOC^ZZMARKER^DOCTOR",
    ]


def equipment(play):
    """OBX-18: EUI-64, then the UDI if it is told."""
    parts = [
        (
            f"{play['equipment']}^{play['application']}^{play['eui64']}^EUI-64"
            if play.get("eui64")
            else f"{play['equipment']}^{play['application']}"
        )
    ]
    if play.get("udi"):
        parts.append(f"{play['udi']}^^2.16.840.1.113883.3.3719^ISO")
    return "~".join(parts)


def software(spec, play):
    """SFT: who made the software, its version and name."""
    maker, version, model = attributes(spec, play, "manufacturer", "software_version", "model")
    return f"SFT|{maker}|{version}|{model}|{version}"


VALUES = {
    "infusion_pump": [
        ("NM", "158014^MDC_FLOW_FLUID_PUMP_CURRENT^MDC", "1.1.1.1", "265266^MDC_DIM_MILLI_L_PER_HR^MDC"),
        ("NM", "157864^MDC_VOL_FLUID_TBI_REMAIN^MDC", "1.1.1.2", "263762^MDC_DIM_MILLI_L^MDC"),
    ],
    "patient_monitor": [
        ("NM", "147842^MDC_ECG_HEART_RATE^MDC", "1.1.1.1", "264864^MDC_DIM_BEAT_PER_MIN^MDC"),
        ("NM", "150456^MDC_PULS_OXIM_SAT_O2^MDC", "1.2.1.1", "262688^MDC_DIM_PERCENT^MDC"),
        ("NM", "149546^MDC_PULS_RATE_NON_INV^MDC", "1.2.1.2", "264864^MDC_DIM_BEAT_PER_MIN^MDC"),
    ],
    "ventilator": [
        ("NM", "151586^MDC_VENT_RESP_RATE^MDC", "1.1.1.1", "264928^MDC_DIM_RESP_PER_MIN^MDC"),
        ("NM", "151980^MDC_VENT_VOL_TIDAL^MDC", "1.1.1.2", "263762^MDC_DIM_MILLI_L^MDC"),
        ("NM", "152080^MDC_VENT_CONC_AWAY_O2_INSP^MDC", "1.1.1.3", "262688^MDC_DIM_PERCENT^MDC"),
    ],
}
SYSTEMS = {
    "infusion_pump": "69985^MDC_DEV_PUMP_INFUS_MDS^MDC",
    "patient_monitor": "69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC",
    "ventilator": "69993^MDC_DEV_SYS_PT_VENT_MDS^MDC",
}


def device_report(device, play, spec=None):
    """ORU^R01 of the profile PCD-01: what a device measures, and which device it is."""
    spec = spec or device.spec
    kind, number = play.get("kind", spec["category"]), device.random.randrange(1000)
    profile = "IHE_PCD_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO"
    lines = [header(device, play, "ORU^R01^ORU_R01", profile)]
    if play.get("sft"):
        lines.append(software(spec, play))
    lines += patient(device, number)
    lines.append(f"OBR|1|{number}^{play['application']}|{number}^{play['application']}|{SYSTEMS[kind]}|||{stamp()}")
    lines.append(f"OBX|1||{SYSTEMS[kind]}|1.0.0.0|||||||X|||||||{equipment(play)}")
    if play.get("attributes"):
        maker, model, serial, version = attributes(spec, play, "manufacturer", "model", "serial", "software_version")
        for code, value in (
            ("531970^MDC_ID_MODEL_MANUFACTURER", maker),
            ("531969^MDC_ID_MODEL_NUMBER", model),
            ("531972^MDC_ID_PROD_SPEC_SERIAL", serial),
            ("531975^MDC_ID_PROD_SPEC_SW", version),
        ):
            lines.append(f"OBX|{len(lines)}|ST|{code}^MDC|1.0.0.0|{value}||||||R")
    for form, code, place, unit in VALUES[kind]:
        lines.append(
            f"OBX|{len(lines)}|{form}|{code}|{place}|{device.random.randrange(20, 120)}|{unit}|||||R|||{stamp()}||||{equipment(play)}"
        )
    return "\r".join(lines) + "\r"


def alarm(device, play):
    """ORU^R40 of the profile PCD-04: an alarm or a call."""
    number = device.random.randrange(1000)
    lines = [header(device, play, "ORU^R40^ORU_R40", "IHE_PCD_ACM_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.4.1^ISO")]
    if play.get("sft"):
        lines.append(software(device.spec, play))
    lines += patient(device, number)
    lines += [
        f"OBR|1|{number}^{play['application']}|{number}^{play['application']}|196616^MDC_EVT_ALARM^MDC|||{stamp()}",
        f"OBX|1|ST|196616^MDC_EVT_ALARM^MDC|1.0.0.0.1|Nurse call ZZMARKER|||||||R|||{stamp()}||||{equipment(play)}",
    ]
    return "\r".join(lines) + "\r"


def admission(device, play):
    """ADT^A01 or A08 of an EHR."""
    kind, number = device.random.choice(["A01", "A08", "A03"]), device.random.randrange(1000)
    lines = [header(device, play, f"ADT^{kind}^ADT_A01")]
    if play.get("sft"):
        lines.append(software(device.spec, play))
    lines += [f"EVN|{kind}|{stamp()}", *patient(device, number)]
    return "\r".join(lines) + "\r"


def order(device, play):
    """ORM^O01 of an EHR."""
    number = device.random.randrange(1000)
    lines = [
        header(device, play, "ORM^O01^ORM_O01"),
        *patient(device, number),
        f"ORC|NW|{number}",
        f"OBR|1|{number}||CBC^ZZMARKER blood count",
    ]
    return "\r".join(lines) + "\r"


MESSAGES = {"report": device_report, "alarm": alarm, "admission": admission, "order": order}


def hl7_texts(spec, play):
    """What messages say of their sender."""
    texts = [
        ("hl7.application (MSH-3)", play["application"]),
        ("hl7.equipment (OBX-18)", f"{play.get('equipment', '')} {play.get('udi', '')}"),
    ]
    if play.get("sft"):
        maker, version, model = attributes(spec, play, "manufacturer", "software_version", "model")
        texts += [
            ("hl7.software_vendor (SFT-1)", maker),
            ("hl7.software_version (SFT-2)", version),
            ("hl7.software_product (SFT-3)", model),
        ]
    if play.get("attributes"):
        maker, model, serial, version = attributes(spec, play, "manufacturer", "model", "serial", "software_version")
        texts += [
            ("hl7 OBX MDC_ID_MODEL_MANUFACTURER", maker),
            ("hl7 OBX MDC_ID_MODEL_NUMBER", model),
            ("hl7 OBX MDC_ID_PROD_SPEC_SERIAL", serial),
            ("hl7 OBX MDC_ID_PROD_SPEC_SW", version),
        ]
    return texts


@role("hl7_sender", hl7_texts)
def hl7_sender(device, play):
    """Sends messages of its kinds, each over a connection that stays for a while."""
    from hl7.client import MLLPClient

    def send():
        with MLLPClient(device.host(play["to"]), play.get("port", 2575)) as client:
            client.socket.settimeout(5)
            for kind in play.get("sends", ["report"]):
                client.send_message(MESSAGES[kind](device, play).encode())

    device.every(play.get("every", 10), send)


@role("hl7_receiver", lambda spec, play: [("hl7.application (MSH-3 of the acknowledgement)", play.get("application", ""))])
def hl7_receiver(device, play):
    """Takes messages, acknowledges them, and forwards what the hospital file says, under its own name."""
    import asyncio

    import hl7
    from hl7.client import MLLPClient
    from hl7.mllp import start_hl7_server

    def forward(text):
        try:
            with MLLPClient(device.host(play["forward"]), play.get("forward_port", 2575)) as client:
                client.socket.settimeout(5)
                lines = text.split("\r")
                fields = lines[0].split("|")
                fields[2] = play["application"]
                client.send_message("\r".join(["|".join(fields), *lines[1:]]).encode())
        except OSError as error:
            device.say(f"forwarding: {error}")

    async def converse(reader, writer):
        try:
            while not writer.is_closing():
                message = await reader.readmessage()
                answer = message.create_ack(application=play.get("application"), facility=play.get("facility", "HOSP"))
                writer.writemessage(answer)
                await writer.drain()
                if play.get("forward"):
                    asyncio.get_running_loop().run_in_executor(None, forward, str(message))
        except (asyncio.IncompleteReadError, ConnectionError, hl7.HL7Exception):
            pass
        writer.close()

    async def serve():
        server = await start_hl7_server(converse, host="0.0.0.0", port=play.get("port", 2575))
        async with server:
            await server.serve_forever()

    device.thread(lambda: asyncio.run(serve()))
