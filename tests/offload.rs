//! Frames that offloads merged: real TCP over a link with segmentation offload, metered where it arrives; and captures of such frames.

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use auscult::{
    config::{Config, Disposition, Hook},
    lab::{Lab, MTU, Namespace},
    lake::read::JsonRow,
    pipeline::{self, Outcome},
    progress::Progress,
    scene::{
        SceneFrame,
        frame::{self, Ip, Link, Pair, Tcp},
    },
};
use harness::stage;

/// Octets that the client sends.
const SENT: usize = 8 << 20;
const PORT: u16 = 5001;
const CLIENT: [u8; 4] = [10, 8, 0, 1];
const SERVER: [u8; 4] = [10, 8, 0, 2];
/// How long an end waits for the other.
const PATIENCE: Duration = Duration::from_secs(60);
/// Maximum segment size with which merged frames are still shorter than the MTU allows.
const SMALL_SEGMENT: libc::c_int = 100;
/// Octets of a write that makes such a frame.
const SMALL_WRITE: usize = 800;

fn tool(command: &str) -> Result<()> {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap_or_default()).args(words).output().context("cannot run a tool")?;
    ensure!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Gives an end of the link an address and all offloads.
fn host(namespace: &Namespace, interface: &str, address: [u8; 4]) -> Result<()> {
    let name = namespace.name();
    let [a, b, c, d] = address;
    tool(&format!("ip netns exec {name} ethtool -K {interface} tx on rx on sg on tso on gso on gro on"))?;
    tool(&format!("ip -n {name} addr add {a}.{b}.{c}.{d}/24 dev {interface}"))?;
    tool(&format!("ip -n {name} link set {interface} arp on up"))
}

/// What the client does with its connection.
type Send = fn(&mut TcpStream) -> Result<usize>;
/// What the interface itself counts as received: octets, packets.
type Received = [u64; 2];

fn received(namespace: &Namespace) -> Result<Received> {
    let text = namespace.run(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("tap0:")).context("no tap0")?;
    let mut numbers = line.split_whitespace().map(str::parse);
    Ok([numbers.next().context("no octets")??, numbers.next().context("no packets")??])
}

/// Meters a connection at the server's end of a link with offloads.
fn metered(segment: Option<libc::c_int>, send: Send) -> Result<(Outcome, Vec<JsonRow>, usize)> {
    let lab = Lab::pair(MTU)?;
    host(lab.site(), "host0", CLIENT)?;
    host(lab.tap(), "tap0", SERVER)?;
    let mut config = Config { interfaces: vec!["tap0".into()], ..stage::config() };
    config.meter.hook = Hook::Tcx;
    config.meter.disposition = Disposition::Pass;
    let folder = tempfile::tempdir()?;
    let (up, over) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let talk = scope.spawn(|| {
            let sent = talk(&lab, &up, segment, send);
            // The last acknowledgements.
            thread::sleep(Duration::from_millis(300));
            over.store(true, Ordering::Relaxed);
            sent
        });
        let outcome = pipeline::run_inside(&config, folder.path(), lab.tap(), &Arc::new(Progress::new()), || {
            up.store(true, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(100));
            over.load(Ordering::Relaxed)
        });
        // An engine that never came up lets the talk end.
        up.store(true, Ordering::Relaxed);
        let sent = talk.join().map_err(|_| anyhow!("the talk died"))??;
        ensure!(outcome.error.is_none(), "{:?}", outcome.error);
        stage::closes(&outcome, folder.path())?;
        let seen = [outcome.summary.layer2_octets, outcome.summary.packets_seen];
        assert_eq!(seen, received(lab.tap())?, "octets and packets, as the interface counts them");
        Ok((outcome, stage::rows(folder.path())?, sent))
    })
}

fn talk(lab: &Lab, up: &AtomicBool, segment: Option<libc::c_int>, send: Send) -> Result<usize> {
    while !up.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(20));
    }
    let to = SocketAddr::from((SERVER, PORT));
    let listener = lab.tap().run(|| TcpListener::bind(to))??;
    if let Some(octets) = segment {
        // The server tells the client in its SYN/ACK.
        let (level, name, length) = (libc::IPPROTO_TCP, libc::TCP_MAXSEG, size_of_val(&octets) as libc::socklen_t);
        // SAFETY: the value outlives the call and the length is its own.
        let set = unsafe { libc::setsockopt(listener.as_raw_fd(), level, name, (&raw const octets).cast(), length) };
        ensure!(set == 0, "TCP_MAXSEG: {}", io::Error::last_os_error());
    }
    thread::scope(|scope| {
        let server = scope.spawn(|| -> Result<usize> {
            let (mut stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut received = Vec::new();
            stream.read_to_end(&mut received)?;
            Ok(received.len())
        });
        let mut client = lab.site().run(|| TcpStream::connect_timeout(&to, PATIENCE))??;
        client.set_write_timeout(Some(PATIENCE))?;
        let sent = send(&mut client)?;
        drop(client);
        let received = server.join().map_err(|_| anyhow!("the server died"))??;
        ensure!(received == sent, "{received} of {sent} octets arrived");
        Ok(sent)
    })
}

/// Payload octets: each that was sent once, or more where the row has retransmissions.
fn carries(row: &JsonRow, sent: usize) -> u64 {
    let payload = row["forward_payload_octets"].as_u64().unwrap_or(0);
    let repeats = row["forward_tcp_retransmitted_packets"].as_u64().unwrap_or(0);
    assert!(payload == sent as u64 || payload > sent as u64 && repeats > 0, "{payload} of {sent}, {repeats} sent again");
    payload
}

/// The row of the connection.
fn row(rows: &[JsonRow]) -> Result<&JsonRow> {
    rows.iter().find(|row| row["responder_port"] == PORT).context("no row of the connection")
}

#[test]
fn live_long_frames_are_counted_and_named() -> Result<()> {
    if !harness::root() {
        return Ok(());
    }
    let (outcome, rows, sent) = metered(None, |stream| {
        stream.write_all(&vec![7; SENT])?;
        Ok(SENT)
    })?;
    let (summary, row) = (&outcome.summary, row(&rows)?);
    println!("{} frames, {} of them merged; {row:?}", summary.packets_seen, summary.super_frames);
    assert!(summary.super_frames > 50, "{}", summary.super_frames);
    assert!(row["forward_size_max"].as_u64() > Some(2000));
    // Checksums that offload leaves unfilled are no errors.
    assert_eq!(row["parse_stop"], "complete");
    let payload = carries(row, sent);
    let headers = row["forward_octets"].as_u64().unwrap_or(0) - payload;
    let packets = row["forward_packets"].as_u64().unwrap_or(0);
    assert!((40 * packets..=60 * packets).contains(&headers), "one header per frame as it arrived: {headers} for {packets}");
    let text = summary.to_string();
    assert!(text.contains("frames are several that an offload merged") && text.contains("ethtool -K"), "{text}");
    Ok(())
}

/// Frames that the kernel marks as several, though they are no longer than others.
#[test]
fn live_short_merged_frames_are_counted() -> Result<()> {
    if !harness::root() {
        return Ok(());
    }
    let (outcome, rows, sent) = metered(Some(SMALL_SEGMENT), |stream| {
        stream.set_nodelay(true)?;
        for _ in 0..200 {
            stream.write_all(&[9; SMALL_WRITE])?;
            thread::sleep(Duration::from_millis(2));
        }
        Ok(200 * SMALL_WRITE)
    })?;
    let (summary, row) = (&outcome.summary, row(&rows)?);
    println!("{} frames, {} of them merged; {row:?}", summary.packets_seen, summary.super_frames);
    assert!(row["forward_size_max"].as_u64() <= Some(u64::from(MTU)), "none is long");
    assert!(row["forward_size_max"].as_u64() > Some(2 * SMALL_SEGMENT as u64), "but merged");
    assert!(summary.super_frames >= 100, "{}", summary.super_frames);
    carries(row, sent);
    Ok(())
}

/// Captures taken on a host have frames as the host's stack handed them over: longer than any link carries, and of 64 KiB or more with no
/// length in the IP header (RFC 791's is 16 bits).
#[test]
fn merged_frames_of_captures_are_counted() -> Result<()> {
    let pair = Pair::V4(CLIENT.into(), SERVER.into());
    let link = Link { target: [2, 0, 0, 0, 0, 2], source: [2, 0, 0, 0, 0, 1], tags: Vec::new() };
    let mut sequence = 1;
    let mut segment = |octets: usize, at: u64, total: Option<u16>| {
        let header = Tcp { ports: [50_000, PORT], sequence, acknowledgement: 1, control_bits: 16, window: 500, options: &[] };
        sequence += octets as u32;
        let mut packet = frame::packets(&Ip::new(pair, frame::TCP), &frame::tcp(pair, &header, &[]), 1500).swap_remove(0);
        packet.resize(packet.len() + octets, 5);
        let length = total.unwrap_or(packet.len() as u16);
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        SceneFrame { at_nanos: at * 1_000_000, octets: frame::ethernet(&link, frame::ETHERTYPE_IPV4, &packet), port: 0 }
    };
    let frames = [
        segment(1448, 1, None),
        segment(8960, 2, None),
        segment(20_000, 3, None),
        segment(60_000, 4, None),
        segment(100_000, 5, Some(0)),
    ];
    let folder = tempfile::tempdir()?;
    let (capture, data) = (folder.path().join("host.pcapng"), folder.path().join("data"));
    stage::write_pcapng(&capture, &["eth0".to_owned()], &frames, |_| 0)?;
    let outcome = stage::replay(&stage::config(), &[capture], &data, None)?;
    stage::closes(&outcome, &data)?;
    assert_eq!(outcome.summary.super_frames, 3, "jumbo frames are none");
    let rows = stage::rows(&data)?;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["forward_payload_octets"], 1448 + 8960 + 20_000 + 60_000 + 100_000);
    assert_eq!(rows[0]["parse_stop"], "complete");
    Ok(())
}
