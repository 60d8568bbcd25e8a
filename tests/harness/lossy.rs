//! Real TCP over a path that loses: two hosts' kernels in namespaces of their own, and between them a relay that hears every frame, drops
//! some and lets the others through, late. What it hears are retransmissions as a stack makes them.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{IpAddr, Shutdown, TcpListener, TcpStream},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use auscult::{
    lab::{Lab, MTU, Namespace},
    scene::SceneFrame,
    time,
};

use crate::{packet, random::Random, tap::TapSocket};

/// How long a host waits for the other.
const PATIENCE: Duration = Duration::from_secs(60);
/// Frames read from one side before the other has its turn.
const TURN: usize = 32;
const PORT: u16 = 5000;

/// A path and what goes over it.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// IPv6.
    pub is_v6: bool,
    /// Segments with payload of which so many in a hundred are lost.
    pub loss_percent: u64,
    /// One way.
    pub delay: Duration,
    /// Octets sent each way, on each connection.
    pub octets: usize,
    /// Connections, one after the other.
    pub connections: usize,
}

fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip").args(arguments.split(' ')).output().context("cannot run ip")?;
    ensure!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn address(is_v6: bool, host: u8) -> Result<IpAddr> {
    Ok(if is_v6 { format!("fd09::{host}").parse()? } else { format!("10.9.0.{host}").parse()? })
}

/// Lets two hosts talk; every frame that either sent, by time.
///
/// # Errors
/// No privileges, or a host gave up.
pub fn talk(path: Path, seed: u64) -> Result<Vec<SceneFrame>> {
    // The first host is where the two links begin, the second one is moved to a place of its own.
    let (lab, elsewhere) = (Lab::two_taps(MTU)?, Lab::pair(MTU)?);
    let (one, two) = (lab.site(), elsewhere.site());
    ip(&format!("-n {} link set host0 down", two.name()))?;
    ip(&format!("-n {} link set host0 name unused", two.name()))?;
    ip(&format!("-n {} link set host1 netns {}", one.name(), two.name()))?;
    for (namespace, interface, host) in [(one, "host0", 1), (two, "host1", 2)] {
        let name = namespace.name();
        let (prefix, nodad) = if path.is_v6 { (64, " nodad") } else { (24, "") };
        // First of all, because an address that comes while neighbours are not asked for is one that none is told.
        ip(&format!("-n {name} link set {interface} arp on up"))?;
        namespace.run(|| std::fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "0"))??;
        ip(&format!("-n {name} addr add {}/{prefix} dev {interface}{nodad}", address(path.is_v6, host)?))?;
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let relayed = scope.spawn(|| lab.tap().run(|| relay(path, seed, &done))?);
        let talked = hosts(path, one, two);
        done.store(true, Ordering::Relaxed);
        let frames = relayed.join().map_err(|_| anyhow!("the relay died"))?;
        talked?;
        frames
    })
}

/// Every connection sends as much each way.
fn hosts(path: Path, one: &Namespace, two: &Namespace) -> Result<()> {
    let to = (address(path.is_v6, 2)?, PORT);
    let listener = two.run(|| TcpListener::bind(to))??;
    thread::scope(|scope| {
        let server = scope.spawn(|| -> Result<()> {
            for _ in 0..path.connections {
                exchange(&accept(&listener)?, path.octets)?;
            }
            Ok(())
        });
        for _ in 0..path.connections {
            let client = one.run(|| TcpStream::connect_timeout(&to.into(), PATIENCE))??;
            exchange(&client, path.octets)?;
        }
        server.join().map_err(|_| anyhow!("the server died"))?
    })
}

/// The next connection, if there is one before patience ends: a client that failed would be waited for without end.
fn accept(listener: &TcpListener) -> Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let until = time::monotonic().saturating_add(PATIENCE.as_nanos() as u64);
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && time::monotonic() < until => {
                thread::sleep(Duration::from_millis(2));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn exchange(stream: &TcpStream, octets: usize) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    thread::scope(|scope| {
        let mut sink = stream;
        let sent = scope.spawn(move || -> Result<()> {
            sink.write_all(&Random::new(octets as u64).octets(octets))?;
            Ok(sink.shutdown(Shutdown::Write)?)
        });
        let mut received = Vec::new();
        let mut source = stream;
        source.read_to_end(&mut received)?;
        ensure!(received.len() == octets, "{} of {octets} octets arrived", received.len());
        sent.join().map_err(|_| anyhow!("the sender died"))?
    })
}

/// Between the two links, until it is told to stop.
fn relay(path: Path, seed: u64, done: &AtomicBool) -> Result<Vec<SceneFrame>> {
    let mut sockets = [TapSocket::open("tap0")?, TapSocket::open("tap1")?];
    let (mut random, mut heard, mut late) = (Random::new(seed), Vec::new(), VecDeque::new());
    let delay = path.delay.as_nanos() as u64;
    while !done.load(Ordering::Relaxed) {
        for (side, socket) in sockets.iter_mut().enumerate() {
            for octets in socket.frames(TURN, Duration::ZERO)? {
                let at = time::monotonic();
                let has_payload = packet::headers(&octets).is_some_and(|found| found.payload < found.end);
                if !has_payload || random.below(100) >= path.loss_percent {
                    late.push_back((at + delay, 1 - side, octets.clone()));
                }
                heard.push(SceneFrame { at_nanos: at, octets, port: 0 });
            }
        }
        while late.front().is_some_and(|(due, ..)| *due <= time::monotonic()) {
            let Some((_, side, octets)) = late.pop_front() else { break };
            sockets[side].send(&octets)?;
        }
        thread::yield_now();
    }
    ensure!(sockets[0].dropped()? + sockets[1].dropped()? == 0, "the relay fell behind");
    Ok(heard)
}

/// Segments of each direction that begin below the end of one before.
pub fn retransmissions(frames: &[SceneFrame]) -> u64 {
    let mut ends = std::collections::BTreeMap::new();
    let mut count = 0;
    for frame in frames {
        let Some(found) = packet::headers(&frame.octets).filter(|found| found.protocol == packet::TCP) else { continue };
        let at = found.transport + 4;
        let sequence = frame.octets[at..at + 4].iter().fold(0u32, |word, octet| word << 8 | u32::from(*octet));
        let payload = (found.end - found.payload) as u32;
        let end = sequence.wrapping_add(payload);
        let known = ends.entry(found.ends).or_insert(sequence);
        count += u64::from(payload > 0 && (sequence.wrapping_sub(*known) as i32) < 0);
        if end.wrapping_sub(*known) as i32 > 0 {
            *known = end;
        }
    }
    count
}
