//! Hellos and certificates made by hand → what is said of both ends.

use super::*;
use crate::dissect::talk::{expect, hides, talk};

const PORTS: [u16; 2] = [50000, 8443];

fn vector8(octets: &[u8]) -> Vec<u8> {
    [&[octets.len() as u8][..], octets].concat()
}

fn vector16(octets: &[u8]) -> Vec<u8> {
    [&(octets.len() as u16).to_be_bytes()[..], octets].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector16(body)].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (body.len() as u32).to_be_bytes();
    [&[kind, a, b, c][..], body].concat()
}

/// Handshake messages in records of at most `size` octets.
fn records(messages: &[u8], size: usize) -> Vec<u8> {
    messages.chunks(size).flat_map(|part| [&[22, 3, 1][..], &vector16(part)].concat()).collect()
}

fn client_hello() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend_from_slice(&[7; 32]);
    body.extend_from_slice(&vector8(&[1; 32]));
    body.extend_from_slice(&vector16(&[0x2a, 0x2a, 0x13, 0x01, 0xc0, 0x2f]));
    body.extend_from_slice(&vector8(&[0]));
    let name = vector16(&[&[0][..], &vector16(b"pacs.example")].concat());
    let extensions = [
        extension(0x0a0a, b""),
        extension(0, &name),
        extension(16, &vector16(&[vector8(b"h2"), vector8(b"http/1.1")].concat())),
        extension(13, &vector16(&[4, 3, 8, 4])),
        extension(43, &vector8(&[0x3a, 0x3a, 3, 4, 3, 3])),
    ];
    body.extend_from_slice(&vector16(&extensions.concat()));
    message(CLIENT_HELLO, &body)
}

fn server_hello(extensions: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend_from_slice(&[9; 32]);
    body.extend_from_slice(&[0, 0x13, 0x01, 0]);
    if !extensions.is_empty() {
        body.extend_from_slice(&vector16(extensions));
    }
    message(SERVER_HELLO, &body)
}

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length: &[u8] = &[0x82, (body.len() >> 8) as u8, body.len() as u8];
    [&[tag][..], if body.len() < 128 { &length[2..] } else { length }, &body].concat()
}

fn name(attributes: &[(u8, &str)]) -> Vec<u8> {
    let sets: Vec<Vec<u8>> = attributes
        .iter()
        .map(|(kind, text)| der(0x31, &[&der(0x30, &[&der(6, &[&[0x55, 4, *kind]]), &der(12, &[text.as_bytes()])])]))
        .collect();
    der(0x30, &sets.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// A certificate; its key and signature are zeros.
fn certificate() -> Vec<u8> {
    let algorithm = der(0x30, &[&der(6, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]])]);
    let validity = der(0x30, &[&der(23, &[b"200101000000Z"]), &der(23, &[b"300101000000Z"])]);
    let key = der(0x30, &[&algorithm, &der(3, &[&[0; 33]])]);
    let to_be_signed = der(
        0x30,
        &[
            &der(0xa0, &[&der(2, &[&[2]])]),
            &der(2, &[&[5]]),
            &algorithm,
            &name(&[(3, "Root 1")]),
            &validity,
            &name(&[(10, "Acme Imaging"), (3, "ct-5.example")]),
            &key,
        ],
    );
    der(0x30, &[&to_be_signed, &algorithm, &der(3, &[&[0; 65]])])
}

const HELLO: [(usize, Field, &str); 4] = [
    (0, Field::TlsServerName, "pacs.example"),
    (1, Field::TlsServedName, "pacs.example"),
    (0, Field::TlsAlpn, "h2"),
    (0, Field::TlsJa4, "t13d0204h2_c1929292aa6b_ef5f37ab036a"),
];

#[test]
fn hellos_and_a_certificate_are_read_across_records() {
    let leaf = certificate();
    let [_, a, b, c] = (leaf.len() as u32).to_be_bytes();
    // The chain says that more certificates follow, and they do not come.
    let chain = [&[0, 0x20, 0][..], &[a, b, c], &leaf].concat();
    let mut flight = server_hello(&[]);
    flight.extend_from_slice(&[&[CERTIFICATE, 0, 0x20, 3][..], &chain].concat());
    let mut expected = HELLO.to_vec();
    expected.extend_from_slice(&[
        (1, Field::Serves, "tls"),
        (0, Field::Uses, "tls"),
        (1, Field::TlsVersion, "1.2"),
        (1, Field::TlsOrganization, "Acme Imaging"),
        (1, Field::TlsCommonName, "ct-5.example"),
        (1, Field::TlsIssuer, "Root 1"),
        (1, Field::TlsNotAfter, "1893456000"),
    ]);
    // The signature of the certificate is cut off.
    let cut = &flight[..flight.len() - 100];
    expect(&talk(PORTS, &[(0, &records(&client_hello(), 900)), (1, &records(cut, 900))]), &expected);
    for size in [16000, 100, 41, 5] {
        let said = talk(
            PORTS,
            &[
                (0, &records(&client_hello(), size)),
                (1, &records(&flight, size)),
                (0, &records(&message(CERTIFICATE, b"MUSTERMANN"), size)),
            ],
        );
        expect(&said, &expected);
        hides(&said, &["MUSTERMANN"]);
    }
}

#[test]
fn the_version_is_what_the_extension_says() {
    let flight = server_hello(&extension(43, &[3, 4]));
    let said =
        talk(PORTS, &[(0, &records(&client_hello(), 900)), (1, &records(&flight, 900)), (1, b"\x17\x03\x03\x00\x05xxxxx")]);
    let mut expected = HELLO.to_vec();
    expected.extend_from_slice(&[(1, Field::Serves, "tls"), (0, Field::Uses, "tls"), (1, Field::TlsVersion, "1.3")]);
    expect(&said, &expected);
}

#[test]
fn behind_a_proxy_the_client_alone_is_known() {
    let said = talk(
        PORTS,
        &[
            (0, b"CONNECT pacs.example:443 HTTP/1.1\r\n\r\n"),
            (1, b"HTTP/1.1 200 Connection established\r\n\r\n"),
            (0, &records(&client_hello(), 900)),
            (1, &records(&server_hello(&[]), 900)),
        ],
    );
    expect(&said, &[HELLO[0], HELLO[2], HELLO[3], (0, Field::Uses, "http"), (1, Field::Serves, "http")]);
}

#[test]
fn a_greeting_or_a_confirm_may_come_before() {
    for (protocol, field, greeting) in
        [("ftp", Field::FtpBanner, "220 ACME FTP\r\n"), ("smtp", Field::SmtpBanner, "220 ACME ESMTP\r\n")]
    {
        let said = talk(
            PORTS,
            &[(1, greeting.as_bytes()), (0, b"STARTTLS\r\n"), (1, b"220 go on\r\n"), (0, &records(&client_hello(), 900))],
        );
        let mut expected = HELLO.to_vec();
        expected.extend_from_slice(&[
            (1, field, greeting[4..].trim_end()),
            (1, Field::Serves, protocol),
            (0, Field::Uses, protocol),
        ]);
        expect(&said, &expected);
    }
    let negotiation = b"\x03\x00\x00\x13\x0e\xe0\0\0\0\0\0\x01\x00\x08\x00\x01\0\0\0";
    let said = talk([50000, 3389], &[(0, negotiation), (0, &records(&client_hello(), 900))]);
    expect(&said, &HELLO);
}

#[test]
fn other_records_are_not_tls() {
    for other in [
        &b"\x16\x02\x01\x00\x40\x01\0\0"[..],
        b"\x16\x03\x01\x00\x40\x05\0\0",
        b"\x17\x03\x03\x00\x40\x01",
        b"\x16\x03\x01\xff\xff\x01",
    ] {
        expect(&talk(PORTS, &[(0, other)]), &[]);
    }
    assert_eq!((begins(b"\x16"), begins(b"\x16\x03\x01"), begins(b"\x17")), (None, None, Some(false)));
}
