//! TCP and UDP conversations: packets and frame octets by addresses and ports, from flow rows and from `tshark`.
//!
//! `tshark` is held to what the engine does: it reassembles nothing, and every protocol but links, VLAN tags, IP, TCP and UDP is off
//! (profile of [`Tshark::new`]), so that it does not look into tunnels, into ICMP errors, or for IP in other payload. What it
//! prints for `-z conv` is rounded above 10,000 octets; the exact octets come from the same run, frame by frame.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use auscult::lake::read::JsonRow;
use serde_json::Value;
use tempfile::TempDir;

/// What stays on.
const PROTOCOLS: [&str; 26] = [
    "ah",
    "data",
    "eth",
    "ethertype",
    "frame",
    "hip",
    "ip",
    "ipv6",
    "ipv6.dstopts",
    "ipv6.fraghdr",
    "ipv6.hopopts",
    "ipv6.routing",
    "ipv6.routing.type.crh",
    "ipv6.routing.type.mipv6",
    "ipv6.routing.type.rt0",
    "ipv6.routing.type.srh",
    "mipv6",
    "null",
    "pkt_comment",
    "raw",
    "shim6",
    "sll",
    "tcp",
    "udp",
    "udplite",
    "vlan",
];
/// Per frame: octets, addresses, streams, ports.
const FIELDS: [&str; 11] = [
    "frame.len",
    "ip.src",
    "ip.dst",
    "ipv6.src",
    "ipv6.dst",
    "tcp.stream",
    "udp.stream",
    "tcp.srcport",
    "tcp.dstport",
    "udp.srcport",
    "udp.dstport",
];
/// IP protocol numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Protocol and both ends in order.
pub type Conversation = (u8, [(IpAddr, u16); 2]);
/// Protocol and both addresses in order.
pub type Pair = (u8, [IpAddr; 2]);

/// Packets and frame octets, both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Packets.
    pub packets: u64,
    /// Frame octets on the wire.
    pub octets: u64,
}

/// Conversations by their ends.
#[derive(Clone, Debug, Default)]
pub struct Conversations {
    /// Those with ports.
    pub whole: BTreeMap<Conversation, Volume>,
    /// Packets whose transport header was cut or malformed, so that they have no ports.
    pub portless: BTreeMap<Pair, u64>,
    /// Frames that were read (from `tshark`).
    pub frames: u64,
}

impl Conversations {
    fn add(&mut self, protocol: u8, mut ends: [(IpAddr, u16); 2], packets: u64, octets: u64) {
        ends.sort();
        let volume = self.whole.entry((protocol, ends)).or_default();
        volume.packets += packets;
        volume.octets += octets;
    }

    /// Of flow rows.
    pub fn of_rows(rows: &[JsonRow]) -> Self {
        let mut all = Self::default();
        for row in rows {
            let number = |name: &str| row.get(name).and_then(Value::as_u64);
            let address = |name: &str| row.get(name).and_then(Value::as_str).and_then(|text| text.parse::<IpAddr>().ok());
            let sum = |what: &str| ["forward", "reverse"].iter().filter_map(|d| number(&format!("{d}_{what}"))).sum();
            let Some(protocol) = number("protocol").and_then(|protocol| u8::try_from(protocol).ok()) else { continue };
            let (Some(a), Some(b)) = (address("initiator_address"), address("responder_address")) else { continue };
            if !matches!(protocol, TCP | UDP) || row.get("is_fragment") == Some(&Value::Bool(true)) {
                continue;
            }
            match (number("initiator_port"), number("responder_port")) {
                (Some(p), Some(q)) => all.add(protocol, [(a, p as u16), (b, q as u16)], sum("packets"), sum("layer2_octets")),
                _ => *all.portless.entry((protocol, [a.min(b), a.max(b)])).or_default() += sum("packets"),
            }
        }
        all
    }

    /// Differences to what `tshark` found: those that a rule explains, by rule, and the others.
    ///
    /// Rule `transport_header_not_whole`: `tshark` takes ports from any four octets (if it then prints the packet depends on what
    /// else it makes of it), the engine from whole headers only. The conversation may have more packets there, at most as many as
    /// the engine has without ports between those addresses.
    pub fn differences(&self, theirs: &Self) -> (BTreeMap<&'static str, u64>, Vec<String>) {
        let (mut rules, mut unexplained) = (BTreeMap::new(), Vec::new());
        let keys: std::collections::BTreeSet<_> = self.whole.keys().chain(theirs.whole.keys()).collect();
        for key in keys {
            let volume = |all: &Self| all.whole.get(key).copied().unwrap_or_default();
            let (ours, theirs) = (volume(self), volume(theirs));
            let (protocol, ends) = key;
            let portless = self.portless.get(&(*protocol, [ends[0].0, ends[1].0])).copied().unwrap_or(0);
            if ours == theirs {
                continue;
            }
            if theirs.packets > ours.packets && theirs.packets - ours.packets <= portless {
                *rules.entry("transport_header_not_whole").or_default() += 1;
            } else {
                unexplained.push(format!("{key:?}: {ours:?}, tshark has {theirs:?}"));
            }
        }
        (rules, unexplained)
    }
}

/// `tshark` with its profile.
#[derive(Debug)]
pub struct Tshark {
    profile: TempDir,
}

impl Tshark {
    /// Makes the profile.
    ///
    /// # Errors
    /// When `tshark` cannot run.
    pub fn new() -> Result<Self> {
        let profile = TempDir::new()?;
        let output = Command::new("tshark").args(["-G", "protocols"]).stderr(Stdio::null()).output();
        let output = output.context("cannot run tshark; install Wireshark's command-line tools (tshark)")?;
        let listed = String::from_utf8_lossy(&output.stdout);
        let names = listed.lines().filter_map(|line| line.split('\t').nth(2));
        let off: Vec<_> = names.filter(|name| !PROTOCOLS.contains(name) && !name.starts_with("_ws.")).collect();
        ensure!(off.len() > 1000, "tshark lists {} protocols to switch off", off.len());
        std::fs::write(profile.path().join("disabled_protos"), off.join("\n") + "\n")?;
        Ok(Self { profile })
    }

    /// The conversations of a capture, as far as `tshark` reads it.
    ///
    /// # Errors
    /// When `tshark` contradicts itself.
    pub fn read(&self, capture: &Path) -> Result<Conversations> {
        let mut tshark = Command::new("tshark");
        tshark.env("WIRESHARK_CONFIG_DIR", self.profile.path()).stderr(Stdio::null()).arg("-n").arg("-r").arg(capture);
        tshark.args(["-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE", "-o", "tcp.desegment_tcp_streams:FALSE"]);
        tshark.args(["-d", "ip.proto==4,data", "-d", "ip.proto==41,data", "-z", "conv,tcp", "-z", "conv,udp"]);
        tshark.args(["-T", "fields", "-E", "separator=|", "-E", "occurrence=f"]);
        for field in FIELDS {
            tshark.args(["-e", field]);
        }
        let output = tshark.output().context("cannot run tshark")?;
        let (mut all, mut printed, mut protocol) = (Conversations::default(), BTreeMap::new(), 0);
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let fields: Vec<_> = line.split('|').collect();
            if fields.len() == FIELDS.len() {
                all.frame(&fields)?;
            } else if line.starts_with("TCP Conv") {
                protocol = TCP;
            } else if line.starts_with("UDP Conv") {
                protocol = UDP;
            } else if let Some((conversation, frames, octets, unit)) = printed_line(protocol, line) {
                let sum: &mut (u64, u64, u64) = printed.entry(conversation).or_default();
                *sum = (sum.0 + frames, sum.1 + octets, sum.2 + if unit > 1 { unit } else { 0 });
            }
        }
        // A segment whose header is not whole has a stream, but is not in the table.
        for (conversation, (frames, octets, error)) in printed {
            let volume = all.whole.get(&conversation).copied().unwrap_or_default();
            let agrees = frames < volume.packets || frames == volume.packets && octets.abs_diff(volume.octets) <= error;
            ensure!(agrees, "tshark prints {frames} frames, {octets} octets of {conversation:?} and has {volume:?}");
        }
        Ok(all)
    }
}

impl Conversations {
    /// Takes in one frame's [`FIELDS`].
    fn frame(&mut self, fields: &[&str]) -> Result<()> {
        self.frames += 1;
        let &[octets, from4, to4, from6, to6, tcp, udp, tcp_from, tcp_to, udp_from, udp_to] = fields else { return Ok(()) };
        let (protocol, from_port, to_port) = match (tcp, udp) {
            ("", "") => return Ok(()),
            (_, "") => (TCP, tcp_from, tcp_to),
            _ => (UDP, udp_from, udp_to),
        };
        let (from, to) = if from4.is_empty() { (from6, to6) } else { (from4, to4) };
        let ends = [(from.parse()?, from_port.parse()?), (to.parse()?, to_port.parse()?)];
        self.add(protocol, ends, 1, octets.parse()?);
        Ok(())
    }
}

/// A line of `-z conv`: ends, frames, octets and the unit they are rounded to.
fn printed_line(protocol: u8, line: &str) -> Option<(Conversation, u64, u64, u64)> {
    let (from, rest) = line.split_once("<->")?;
    let words: Vec<_> = rest.split_whitespace().collect();
    let &[to, _, _, _, _, _, _, frames, octets, unit, ..] = words.as_slice() else { return None };
    let end = |text: &str| -> Option<(IpAddr, u16)> {
        let (address, port) = text.trim().rsplit_once(':')?;
        Some((address.parse().ok()?, port.parse().ok()?))
    };
    let mut ends = [end(from)?, end(to)?];
    ends.sort();
    let unit = match unit {
        "bytes" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        _ => return None,
    };
    Some(((protocol, ends), frames.parse().ok()?, octets.parse::<u64>().ok()? * unit, unit))
}
