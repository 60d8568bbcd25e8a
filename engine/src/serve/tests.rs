//! The endpoints over loopback, and health without a clock.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use super::{health::Condition, *};
use crate::limit::STALL_SECS;

const SECOND: u64 = 1_000_000_000;

/// Status line, headers in lower case, body.
fn request(address: SocketAddr, line: &str) -> (String, String, String) {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket option");
    write!(stream, "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("written");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("answered");
    let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
    let (status, headers) = head.split_once("\r\n").expect("status and headers");
    (status.to_owned(), headers.to_ascii_lowercase(), body.to_owned())
}

fn start() -> (Server, Arc<Telemetry>, Arc<Health>) {
    let telemetry = Arc::new(Telemetry::new::<&str>(&[]).expect("the table is valid"));
    let health = Arc::new(Health::new());
    let address = "127.0.0.1:0".parse().expect("an address");
    (Server::start(address, telemetry.clone(), health.clone()).expect("loopback can be bound"), telemetry, health)
}

#[test]
fn metrics_are_served_as_text() {
    let (server, telemetry, _health) = start();
    telemetry.add(Metric::BiflowDeltas, &[], 42);
    let (status, headers, body) = request(server.address(), "GET /metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(headers.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{headers}");
    assert!(body.lines().any(|line| line == "auscult_biflow_deltas_total 42"));
    assert!(body.lines().any(|line| line == "auscult_serve_requests_total{endpoint=\"metrics\"} 1"));
    assert!(body.lines().any(|line| line.starts_with("auscult_process_resident_memory_bytes ")));
}

#[test]
fn readiness_follows_capture_and_lake() {
    let (server, _telemetry, health) = start();
    let ready = || request(server.address(), "GET /readyz");
    let (status, headers, body) = ready();
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert!(headers.contains("content-type: application/json"));
    assert_eq!(
        body,
        "{\"ok\":false,\"reasons\":{\"capture\":\"not started\",\"inventory\":\"not started\",\"lake\":\"not started\"}}\n"
    );
    health.holds(Condition::Capture);
    health.holds(Condition::Inventory);
    health.fails(Condition::Lake, "no space left");
    assert_eq!(ready().2, "{\"ok\":false,\"reasons\":{\"lake\":\"no space left\"}}\n");
    health.holds(Condition::Lake);
    let (status, _, body) = ready();
    assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", "{\"ok\":true,\"reasons\":{}}\n"));
}

#[test]
fn health_other_paths_and_methods() {
    let (server, _telemetry, health) = start();
    assert_eq!(request(server.address(), "GET /healthz").0, "HTTP/1.1 200 OK");
    let beat = health.watch("biflow_0");
    let died = std::thread::spawn(move || {
        let _beat = beat;
        panic!("a panic that the test makes");
    });
    assert!(died.join().is_err());
    let (status, _, body) = request(server.address(), "GET /healthz");
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert_eq!(body, "{\"ok\":false,\"reasons\":{\"biflow_0\":\"died\"}}\n");
    assert_eq!(request(server.address(), "GET /etc/passwd").0, "HTTP/1.1 404 Not Found");
    assert_eq!(request(server.address(), "POST /metrics").0, "HTTP/1.1 405 Method Not Allowed");
}

#[test]
fn a_thread_that_stands_still_is_named() {
    let health = Health::new();
    let beat = health.watch("drain_0");
    assert!(health.live(SECOND).ok, "the first question has nothing to compare with");
    assert!(health.live(SECOND * STALL_SECS).ok);
    let stalled = health.live(SECOND * (1 + STALL_SECS));
    assert_eq!(stalled.reasons.get("drain_0").map(String::as_str), Some("has not moved for 30 s"));
    beat.tick();
    assert!(health.live(SECOND * (2 + STALL_SECS)).ok, "it moves again");
    drop(beat);
    assert!(health.live(SECOND * 10 * STALL_SECS).ok, "a finished thread need not move");
}

#[test]
fn an_address_in_use_is_named_with_what_to_do() {
    let (server, telemetry, health) = start();
    let error = Server::start(server.address(), telemetry, health).expect_err("the port is taken");
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot listen on {} for metrics: ", server.address())), "{text}");
    assert!(text.ends_with("choose another with --listen or the key listen (\"off\" for none)"), "{text}");
}

#[test]
fn stopping_does_not_wait_for_an_idle_connection() {
    let (server, ..) = start();
    let address = server.address();
    let mut idle = TcpStream::connect(address).expect("the server listens");
    idle.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n").expect("half a request");
    drop(server);
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}
