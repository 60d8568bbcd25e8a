//! Building and things: BACnet/IP (ASHRAE 135 annex J), Modbus/TCP, MQTT 3.1.1.

use super::Put;

fn bvlc(function: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0x81, function];
    out.u16(body.len() as u16 + 4).all(body);
    out
}

/// Global Who-Is.
pub(in super::super) fn who_is() -> Vec<u8> {
    bvlc(0x0b, &[1, 0x20, 0xff, 0xff, 0, 0xff, 0x10, 8])
}

/// I-Am of a device instance and vendor.
pub(in super::super) fn i_am(instance: u32, vendor: u16) -> Vec<u8> {
    let mut body = vec![1, 0x20, 0xff, 0xff, 0, 0xff, 0x10, 0, 0xc4];
    body.u32(8 << 22 | instance).all([0x22, 5, 0xc4, 0x91, 3, 0x22]).u16(vendor);
    bvlc(0x0b, &body)
}

/// ReadProperty of the device's model name, and its answer.
pub(in super::super) fn read_model(invoke: u8, instance: u32, model: &str) -> [Vec<u8>; 2] {
    let object = |out: &mut Vec<u8>| {
        out.u8(0x0c).u32(8 << 22 | instance).all([0x19, 70]);
    };
    let mut ask = vec![1, 4, 0, 5, invoke, 12];
    object(&mut ask);
    let mut answer = vec![1, 0, 0x30, invoke, 12];
    object(&mut answer);
    answer.all([0x3e, 0x75, model.len() as u8 + 1, 0]).all(model).u8(0x3f);
    [bvlc(0x0a, &ask), bvlc(0x0a, &answer)]
}

/// Modbus read of holding registers, and its answer.
pub(in super::super) fn modbus_read(transaction: u16, unit: u8, values: &[u16]) -> [Vec<u8>; 2] {
    let frame = |body: &[u8]| {
        let mut out = Vec::new();
        out.u16(transaction).u16(0).u16(body.len() as u16 + 1).u8(unit).all(body);
        out
    };
    let mut answer = vec![3, values.len() as u8 * 2];
    for value in values {
        answer.u16(*value);
    }
    [frame(&[3, 0, 16, 0, values.len() as u8]), frame(&answer)]
}

fn mqtt(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut left = body.len();
    loop {
        let more = left >= 0x80;
        out.push(left as u8 & 0x7f | if more { 0x80 } else { 0 });
        left >>= 7;
        if !more {
            break;
        }
    }
    out.all(body);
    out
}

/// MQTT CONNECT and CONNACK.
pub(in super::super) fn mqtt_connect(client: &str) -> [Vec<u8>; 2] {
    let body = [&[0, 4][..], b"MQTT", &[4, 2, 0, 30], &super::with_u16(client.as_bytes())].concat();
    [mqtt(0x10, &body), mqtt(0x20, &[0, 0])]
}

/// MQTT PUBLISH at quality of service 0.
pub(in super::super) fn mqtt_publish(topic: &str, text: &str) -> Vec<u8> {
    mqtt(0x30, &[&super::with_u16(topic.as_bytes())[..], text.as_bytes()].concat())
}

/// MQTT PINGREQ and PINGRESP.
pub(in super::super) fn mqtt_ping() -> [Vec<u8>; 2] {
    [mqtt(0xc0, &[]), mqtt(0xd0, &[])]
}
