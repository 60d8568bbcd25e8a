//! Link-layer announcements: LLDP (802.1AB), CDP, and RSTP (802.1D-2004).

use super::Put;
use crate::scene::frame::checksum;

fn tlv(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.u16(kind << 9 | value.len() as u16).all(value);
    out
}

/// An LLDP data unit.
pub(in super::super) fn lldp(mac: [u8; 6], port: &str, name: &str, description: &str, address: [u8; 4]) -> Vec<u8> {
    [
        tlv(1, &[&[4][..], &mac].concat()),
        tlv(2, &[&[5][..], port.as_bytes()].concat()),
        tlv(3, &[0, 120]),
        tlv(4, b"uplink"),
        tlv(5, name.as_bytes()),
        tlv(6, description.as_bytes()),
        tlv(7, &[0, 0x14, 0, 0x04]),
        tlv(8, &[&[5, 1][..], &address, &[2, 0, 0, 0, 1, 0]].concat()),
        tlv(0, &[]),
    ]
    .concat()
}

/// A CDP packet behind its SNAP header.
pub(in super::super) fn cdp(name: &str, port: &str, version: &str, platform: &str, address: [u8; 4]) -> Vec<u8> {
    let tlv = |kind: u16, value: &[u8]| {
        let mut out = Vec::new();
        out.u16(kind).u16(value.len() as u16 + 4).all(value);
        out
    };
    let mut packet = vec![2, 180, 0, 0];
    packet.all(tlv(1, name.as_bytes()));
    packet.all(tlv(2, &[&[0, 0, 0, 1, 1, 1, 0xcc, 0, 4][..], &address].concat()));
    packet.all(tlv(3, port.as_bytes())).all(tlv(4, &[0, 0, 0, 0x28]));
    packet.all(tlv(5, version.as_bytes())).all(tlv(6, platform.as_bytes()));
    if packet.len() % 2 == 1 {
        // An even length spares the reader the odd-octet rule on which implementations differ.
        packet.all(tlv(0x0b, &[1]));
    }
    let sum = checksum(&packet);
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    [&[0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0][..], &packet].concat()
}

/// A rapid spanning tree data unit of the root bridge, behind its LLC header.
pub(in super::super) fn rstp(bridge: [u8; 6], port: u16) -> Vec<u8> {
    let mut out = vec![0x42, 0x42, 3, 0, 0, 2, 2, 0x3c];
    out.u16(0x1000).all(bridge).u32(0).u16(0x1000).all(bridge).u16(0x8000 | port);
    for time in [0u16, 20, 2, 15] {
        out.u16(time << 8);
    }
    out.u8(0);
    out
}
