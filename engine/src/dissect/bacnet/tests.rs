//! BACnet datagrams made by hand → what is said of devices.

use super::{super::probe, *};

const PORTS: [u16; 2] = [47808, 47808];

fn frame(function: u8, rest: &[u8]) -> Vec<u8> {
    [&[0x81, function, 0, rest.len() as u8 + 4], rest].concat()
}

fn string(text: &str) -> Vec<u8> {
    [&[0x75, text.len() as u8 + 1, 0], text.as_bytes()].concat()
}

const I_AM: [u8; 14] = [0x10, 0, 0xc4, 2, 0, 0x04, 0xd2, 0x22, 5, 0xc4, 0x91, 0, 0x21, 36];

fn i_am_of(network: &[u8]) -> Vec<u8> {
    [network, &I_AM].concat()
}

#[test]
fn i_am_gives_instance_and_vendor() {
    let expect = [(0, Field::Serves, "bacnet"), (0, Field::BacnetInstance, "1234"), (0, Field::BacnetVendorId, "36")];
    probe::says(read, 0, PORTS, &frame(0x0b, &i_am_of(&[1, 0x20, 0xff, 0xff, 0, 0xff])), &expect);
    let forwarded = [&[10, 0, 0, 2, 0xba, 0xc0][..], &i_am_of(&[1, 0])].concat();
    probe::says(read, 0, PORTS, &frame(4, &forwarded), &expect.map(|(_, field, text)| (1, field, text)));
}

#[test]
fn whoever_is_behind_a_router_is_not_the_router() {
    probe::says(read, 0, PORTS, &frame(0x0b, &i_am_of(&[1, 8, 0, 5, 1, 9])), &[]);
    let routed = frame(0x0b, &i_am_of(&[1, 8, 0, 5, 6, 10, 0, 0, 2, 0xba, 0xc0]));
    let expect = [(1, Field::Serves, "bacnet"), (1, Field::BacnetInstance, "1234"), (1, Field::BacnetVendorId, "36")];
    probe::says(read, 0, PORTS, &routed, &expect);
}

#[test]
fn i_have_names_the_device_object_only() {
    let have = |object: [u8; 5]| frame(0x0b, &[&[1, 0, 0x10, 1, 0xc4, 2, 0, 0x04, 0xd2][..], &object, &string("AHU-1")].concat());
    let expect = [(0, Field::Serves, "bacnet"), (0, Field::BacnetInstance, "1234"), (0, Field::BacnetObjectName, "AHU-1")];
    probe::says(read, 0, PORTS, &have([0xc4, 2, 0, 0x04, 0xd2]), &expect);
    probe::says(read, 0, PORTS, &have([0xc4, 0, 0, 0, 1]), &expect[..2]);
}

#[test]
fn properties_of_the_device_object_are_read() {
    let one = [&[1, 0, 0x30, 7, 12, 0x0c, 2, 0, 0x04, 0xd2, 0x1a, 1, 0x74, 0x3e][..], &string("SN-5"), &[0x3f]].concat();
    let serves = [(0, Field::Serves, "bacnet"), (1, Field::Uses, "bacnet"), (0, Field::BacnetInstance, "1234")];
    probe::says(read, 0, PORTS, &frame(0x0a, &one), &[&serves[..], &[(0, Field::BacnetSerial, "SN-5")]].concat());
    let mut many = vec![1, 0, 0x30, 7, 14, 0x0c, 0, 0, 0, 1, 0x1e, 0x29, 77, 0x4e];
    many.extend(
        [&string("Room of J. Doe")[..], &[0x4f, 0x1f, 0x0c, 2, 0, 0x04, 0xd2, 0x1e, 0x29, 70, 0x4e], &string("AC-9")].concat(),
    );
    many.extend([0x4f, 0x29, 44, 0x5e, 0x91, 2, 0x91, 32, 0x5f, 0x29, 121, 0x4e]);
    many.extend([0x75, 7, 4, 0, b'A', 0, b'c', 0, b'e', 0x4f, 0x29, 120, 0x4e, 0x21, 36, 0x4f, 0x1f]);
    let expect = [(0, Field::BacnetModel, "AC-9"), (0, Field::BacnetVendorName, "Ace"), (0, Field::BacnetVendorId, "36")];
    probe::says(read, 0, PORTS, &frame(0x0a, &many), &[&serves[..], &expect].concat());
}

#[test]
fn other_datagrams_are_not_bacnet() {
    for other in [&[0x81, 0x0b, 0, 9, 1, 0][..], &[0x81, 0x0c, 0, 4], &[0x81, 0x0a, 0, 6, 2, 0], &[0x82, 0, 0, 4], b"", &[0x81]] {
        assert!(probe::datagram(read, 0, PORTS, other, true).is_none(), "{other:?}");
    }
    assert_eq!(probe::datagram(read, 0, PORTS, &frame(0x0a, &[1, 0, 0, 5, 1, 12]), true), Some(Vec::new()));
}
