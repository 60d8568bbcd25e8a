//! Requests and responses made by hand → what is said of both ends; no query, body or credential in it.

use super::*;
use crate::dissect::talk::{Turn, expect, hides, talk};

const PORTS: [u16; 2] = [49152, 8080];

#[test]
fn requests_and_responses_are_read_on_one_connection() {
    let said = talk(PORTS, &[
        (0, b"GET /fhir/Patient/MUSTERMANN?name=MUSTERMANN HTTP/1.1\r\nHost: pacs.example:8080  \r\nUser-Agent: Viewer/2.1\t\r\n\
              Authorization: Basic TVVTVEVSTUFOTg==\r\nCookie: user=MUSTERMANN\r\n\r\n"),
        (1, b"HTTP/1.1 401 Unauthorized \r\nServer: nginx/1.24\r\nWWW-Authenticate: Basic realm=\"Ward 3\", charset=x\r\n\
              Content-Length: 32\r\n\r\n\
              HTTP/1.1 200 OK\r\nServer: FALSE\r\n"),
        (0, b"POST /MUSTERMANN/index.html HTTP/1.1\nhost: 10.0.0.2\nContent-Type: text/plain\nContent-Length: 17\n\n\
              GET /x HTTP/1.1\r\n\
              HEAD /status HTTP/1.1\r\n\r\nGET /nothing HTTP/1.1\r\n\r\n"),
        (1, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
              f;x=y\r\nServer: false\r\n\r\n0\r\nServer: false\r\n\r\n\
              HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nHTTP/1.1 404 Not found\r\nServer: last\r\n\r\n"),
    ]);
    expect(
        &said,
        &[
            (0, Field::HttpAsked, "pacs.example"),
            (0, Field::HttpAsked, "10.0.0.2"),
            (0, Field::HttpUserAgent, "Viewer/2.1"),
            (0, Field::Uses, "http"),
            (1, Field::HttpHost, "pacs.example"),
            (1, Field::HttpPath, "/*/index.html"),
            (1, Field::HttpPath, "/fhir/Patient/*"),
            (1, Field::HttpPath, "/status"),
            (1, Field::HttpRealm, "Ward 3"),
            (1, Field::HttpServer, "last"),
            (1, Field::HttpServer, "nginx/1.24"),
            (1, Field::Serves, "http"),
        ],
    );
    hides(&said, &["MUSTERMANN", "TVVTVEVSTUFOTg", "Basic"]);
}

#[test]
fn a_proxy_is_not_whom_its_client_asks() {
    let said = talk(
        PORTS,
        &[
            (0, b"GET http://far.example/MUSTERMANN HTTP/1.1\r\nHost: far.example\r\n\r\n"),
            (1, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
            (0, b"CONNECT far.example:443 HTTP/1.1\r\nHost: far.example:443\r\n\r\n"),
            (1, b"HTTP/1.1 200 OK\r\n\r\n"),
            (0, b"\x00\x01MUSTERMANN"),
        ],
    );
    expect(&said, &[(0, Field::HttpAsked, "far.example"), (0, Field::Uses, "http"), (1, Field::Serves, "http")]);
}

const DESCRIPTION: &[u8] = b"<?xml version=\"1.0\"?>\n<root xmlns=\"urn:schemas-upnp-org:device-1-0\"><device>\
    <deviceType>urn:schemas-upnp-org:device:MediaRenderer:1</deviceType><friendlyName>Wall display</friendlyName>\
    <manufacturer>Acme</manufacturer><modelName>D 5</modelName><modelNumber>5.1</modelNumber><serialNumber>S-77</serialNumber>\
    <deviceList><device><manufacturer>Other</manufacturer></device></deviceList></device></root>";

fn answer(headers: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n").as_bytes(), body].concat()
}

/// What an answer to `GET /` says of the server beside that it is one.
fn told(answer: &[u8]) -> Vec<(Field, String)> {
    let turns: [Turn<'_>; 2] = [(0, b"GET /MUSTERMANN HTTP/1.1\r\n\r\n"), (1, answer)];
    let said = talk(PORTS, &turns);
    hides(&said, &["MUSTERMANN"]);
    said.into_iter()
        .filter(|(_, field, _)| !matches!(field, Field::Serves | Field::Uses | Field::HttpPath))
        .map(|(_, f, v)| (f, v))
        .collect()
}

#[test]
fn descriptions_are_read_with_a_length_in_chunks_and_to_the_end() {
    let expect = [
        (Field::SsdpManufacturer, "Acme".to_owned()),
        (Field::SsdpModel, "D 5".to_owned()),
        (Field::SsdpModelNumber, "5.1".to_owned()),
        (Field::SsdpSerial, "S-77".to_owned()),
        (Field::SsdpDeviceType, "urn:schemas-upnp-org:device:MediaRenderer:1".to_owned()),
        (Field::SsdpFriendlyName, "Wall display".to_owned()),
    ];
    let length = format!("Content-Type: text/xml; charset=utf-8\r\nContent-Length: {}", DESCRIPTION.len());
    assert_eq!(told(&answer(&length, DESCRIPTION)), expect);
    assert_eq!(told(&answer("Content-Type: text/xml", DESCRIPTION)), expect);
    let mut chunks = Vec::new();
    for chunk in DESCRIPTION.chunks(33) {
        chunks.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunks.extend_from_slice(chunk);
        chunks.extend_from_slice(b"\r\n");
    }
    chunks.extend_from_slice(b"0\r\n\r\nHTTP/1.1 200 OK\r\nServer: next\r\n\r\n");
    let mut with_next = expect.to_vec();
    with_next.push((Field::HttpServer, "next".to_owned()));
    assert_eq!(told(&answer("Content-Type: text/xml\r\nTransfer-Encoding: gzip, Chunked", &chunks)), with_next);
    assert_eq!(told(&answer("Content-Type: text/plain", DESCRIPTION)), []);
    assert_eq!(told(&answer("Content-Type: text/xml\r\nContent-Encoding: gzip", DESCRIPTION)), []);
    assert_eq!(
        told(&answer("Content-Type: text/xml", b"<root><device><manufacturer>MUSTERMANN</manufacturer></device></root>")),
        []
    );
}

#[test]
fn long_bodies_are_left_out_behind_what_is_looked_at() {
    for headers in ["Content-Type: application/json\r\nContent-Length: 9000", "Content-Length: 9000"] {
        let mut octets = answer(headers, &[b'x'; 9000]);
        octets.extend_from_slice(b"HTTP/1.0 200\r\nServer: next\r\n\r\n");
        assert_eq!(told(&octets), [(Field::HttpServer, "next".to_owned())]);
    }
}

#[test]
fn of_fhir_capabilities_alone_leave() {
    let fhir = |body: &[u8]| told(&answer("Content-Type: application/fhir+json;charset=UTF-8", body));
    let capability = br#"{"resourceType" : "CapabilityStatement","publisher":"MUSTERMANN",
        "software": {"name":"HAPI FHIR Server","version":"6.2"}}"#;
    assert_eq!(fhir(capability), [(Field::HttpFhir, "HAPI FHIR Server 6.2".to_owned())]);
    assert_eq!(fhir(br#"{"resourceType":"Patient","software":{"name":"MUSTERMANN"}}"#), []);
    assert_eq!(
        fhir(br#"{"resourceType":"Bundle","entry":[{"resourceType":"CapabilityStatement","software":{"name":"MUSTERMANN"}}]}"#),
        []
    );
    assert_eq!(fhir(br#"{"resourceType":"CapabilityStatement","software":{"name":"a\"MUSTERMANN"}}"#), []);
}

#[test]
fn other_text_is_not_http() {
    for other in [
        &b"OPTIONS rtsp://10.0.0.2/ RTSP/1.0\r\n\r\n"[..],
        b"XSH-2.0-x\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"get / HTTP/1.1\r\n\r\n",
        b"\0\0",
    ] {
        expect(&talk(PORTS, &[(0, other), (1, b"HTTP/3\r\n")]), &[]);
    }
}

#[test]
fn readers_are_found_by_media_type() {
    assert!(body_reader(b"Text/XML;charset=x").is_some());
    assert!(body_reader(b"text/xmlish").is_none() && body_reader(b"").is_none());
}
