"""Building controls and things: BACnet/IP (bacpypes3), Modbus/TCP (pymodbus), MQTT (mosquitto)."""

import asyncio
import json

from roles import attributes, role
from roles.base import wait_for_address


def bacnet_texts(spec, play):
    """What the device object says when asked."""
    maker, model, serial, version = attributes(spec, play, "manufacturer", "model", "serial", "software_version")
    return [
        ("bacnet.vendor_name", maker),
        ("bacnet.model", model),
        ("bacnet.firmware", version),
        ("bacnet.serial", serial if play.get("tell_serial", True) else ""),
        ("bacnet.object_name", play.get("object_name", spec["name"])),
    ]


def application(device, play, prefix):
    """A BACnet device of bacpypes3."""
    from bacpypes3.app import Application
    from bacpypes3.local.device import DeviceObject
    from bacpypes3.local.networkport import NetworkPortObject

    maker, model, serial, version = attributes(device.spec, play, "manufacturer", "model", "serial", "software_version")
    told = {"serialNumber": serial} if serial and play.get("tell_serial", True) else {}
    this = DeviceObject(
        objectIdentifier=("device", play["instance"]),
        objectName=play.get("object_name", device.name),
        vendorIdentifier=play["vendor_id"],
        vendorName=maker,
        modelName=model,
        firmwareRevision=version,
        applicationSoftwareVersion=play.get("application", version),
        location=play.get("location", "Plant room"),
        description=play.get("description", ""),
        **told,
    )
    port = NetworkPortObject(
        f"{wait_for_address(device)}/{prefix}", objectIdentifier=("network-port", 1), objectName="NetworkPort-1"
    )
    return Application.from_object_list([this, port])


@role("bacnet_controller", bacnet_texts)
def bacnet_controller(device, play):
    """Answers Who-Is and reads."""

    async def serve():
        from bacpypes3.local.analog import AnalogValueObject

        one = application(device, play, device.hospital["segment"][device.spec["segment"]]["prefix"])
        for number, name in enumerate(("Supply air temperature", "Room temperature", "Valve position")):
            one.add_object(
                AnalogValueObject(objectIdentifier=("analogValue", number), objectName=name, presentValue=20.5 + number)
            )
        while True:
            await asyncio.sleep(device.random.uniform(20, 30))
            one.i_am()

    device.thread(lambda: asyncio.run(serve()))


@role("bacnet_client")
def bacnet_client(device, play):
    """Looks for all devices of the segment, reads their properties and values."""

    async def serve():
        one = application(device, play, device.hospital["segment"][device.spec["segment"]]["prefix"])
        names = (
            "object-name",
            "vendor-name",
            "model-name",
            "firmware-revision",
            "application-software-version",
            "serial-number",
            "description",
            "location",
        )
        while True:
            await asyncio.sleep(play.get("every", 20))
            for found in await one.who_is():
                for name in names:
                    await read(one, found.pduSource, found.iAmDeviceIdentifier, name)
                for number in range(3):
                    await read(one, found.pduSource, f"analog-value,{number}", "present-value")

    async def read(one, address, thing, name):
        try:
            await asyncio.wait_for(one.read_property(address, thing, name), 3)
        except BaseException as error:  # Refusals of bacpypes3 are no Exception.
            device.say(f"{address} {thing} {name}: {error!r}")

    device.thread(lambda: asyncio.run(serve()))


def modbus_texts(spec, play):
    """What device identification says."""
    maker, model, version = attributes(spec, play, "manufacturer", "model", "software_version")
    return [
        ("modbus.vendor (0x00)", maker),
        ("modbus.product_code (0x01)", play.get("product_code", model)),
        ("modbus.revision (0x02)", version),
        ("modbus.model (0x05)", model),
    ]


@role("modbus_server", modbus_texts)
def modbus_server(device, play):
    """Registers, coils and device identification."""

    async def serve():
        from pymodbus import ModbusDeviceIdentification
        from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext
        from pymodbus.server import StartAsyncTcpServer

        try:
            from pymodbus.datastore import ModbusDeviceContext as Context
        except ImportError:
            from pymodbus.datastore import ModbusSlaveContext as Context
        maker, model, version = attributes(device.spec, play, "manufacturer", "model", "software_version")
        about = ModbusDeviceIdentification(
            info_name={
                "VendorName": maker,
                "ProductCode": play.get("product_code", model),
                "MajorMinorRevision": version,
                "ProductName": play.get("product_name", model),
                "ModelName": model,
            }
        )
        block = lambda: ModbusSequentialDataBlock(1, [17] * 100)
        context = ModbusServerContext(Context(di=block(), co=block(), hr=block(), ir=block()), single=True)
        await StartAsyncTcpServer(context=context, identity=about, address=("0.0.0.0", play.get("port", 502)))

    device.thread(lambda: asyncio.run(serve()))


@role("modbus_client")
def modbus_client(device, play):
    """Reads registers, writes one, and asks who it is."""
    from pymodbus.client import ModbusTcpClient

    def poll():
        client = ModbusTcpClient(device.host(play["to"]), port=play.get("port", 502), timeout=3)
        client.connect()
        client.read_holding_registers(1, count=10)
        client.read_coils(1, count=8)
        client.write_register(5, device.random.randrange(1000))
        for level in (1, 2):
            client.read_device_information(read_code=level, object_id=0)
        client.close()

    device.every(play.get("every", 12), poll)


@role("mqtt_broker")
def mqtt_broker(device, play):
    """mosquitto."""
    conf = f"listener {play.get('port', 1883)}\nallow_anonymous true\npersistence false\nuser root\nlog_dest stderr\n"
    device.serve("mosquitto", "-c", device.write("mosquitto.conf", conf))


@role(
    "mqtt_sensor", lambda spec, play: [("mqtt.client_id", play["client_id"]), ("mqtt payload", json.dumps(play.get("about", {})))]
)
def mqtt_sensor(device, play):
    """mosquitto_pub with the client identifier of a product."""
    version = play.get("version", "mqttv311")

    def publish():
        value = {"temperature": round(device.random.uniform(18, 25), 1), **play.get("about", {})}
        device.run(
            "mosquitto_pub",
            "-h",
            device.host(play["to"]),
            "-p",
            play.get("port", 1883),
            "-i",
            play["client_id"],
            "-V",
            version,
            "-t",
            play["topic"],
            "-m",
            json.dumps(value),
        )

    device.every(play.get("every", 8), publish)


@role("mqtt_reader", lambda spec, play: [("mqtt.client_id", play["client_id"])])
def mqtt_reader(device, play):
    """mosquitto_sub, which stays."""
    device.every(
        30,
        lambda: device.run(
            "mosquitto_sub", "-h", device.host(play["to"]), "-i", play["client_id"], "-t", "#", "-W", "25", timeout=30
        ),
    )
