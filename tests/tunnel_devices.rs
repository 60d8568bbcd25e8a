//! Conversations of the kernel's own ICMP and TCP through tunnels over a link, live: every row is of what is inside, and says what
//! it was in. The same frames, recorded at the tap, replayed: the same rows; and the reference computes them as well.
//!
//! Two series. Devices: every tunnel that the kernel itself makes (`ip link add type …`, routes with an encapsulation); kernels are built with
//! some of them, the others are named. Headers: every kind, the frame builder's headers around what TUN and TAP devices give.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use auscult::{
    config::{Config, Disposition},
    lake::read::JsonRow,
    scene::{
        SceneFrame,
        frame::{ETHERTYPE_IPV4, ETHERTYPE_IPV6},
    },
};
use harness::{
    compare,
    golden::{self, Kind},
    rows::{self, Tally},
    stage,
    tap::TapSocket,
    underlay::{ECHO_OCTETS, ECHOES, ENDS, IPV4, IPV6, OCTETS, PORT, Underlay, inner, ip},
};
use serde_json::{Value, json};

/// How long the tap may be silent before everything has come.
const QUIET: Duration = Duration::from_millis(300);
/// Frames at most of one series.
const FRAMES_MAX: usize = 1 << 20;

/// What the rows of one conversation must say.
struct Expected {
    name: String,
    ends: [IpAddr; 2],
    kind: &'static str,
    /// Source and target of the outer header, each way.
    outer: Option<[[IpAddr; 2]; 2]>,
    id: Option<u32>,
}

/// Meters what `talk` does over a fresh link, and checks what holds for every series; the rows.
fn metered(talk: impl FnOnce(&Underlay) -> Result<Vec<Expected>> + Send) -> Result<()> {
    let underlay = Underlay::new()?;
    let (lab, folder) = (underlay.lab.clone(), tempfile::tempdir()?);
    let [live, again, capture] = ["live", "again", "tap.pcapng"].map(|name| folder.path().join(name));
    // The tap's own recording sees what the engine lets pass.
    let mut config: Config = stage::config();
    config.meter.disposition = Disposition::Pass;
    let tap = lab.taps()[0].clone();
    let mut recorder = lab.tap().run(|| TapSocket::open(&tap))??;
    let (go, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let (outcome, expected, frames) = thread::scope(|scope| {
        let talker = scope.spawn(|| {
            while !go.load(Ordering::Relaxed) {
                thread::sleep(QUIET / 10);
            }
            // Hosts with IPv6 speak unasked; what they say while there is no engine is not to be heard.
            let expected = underlay.mirror().and_then(|()| talk(&underlay)).and_then(|expected| {
                underlay.silence()?;
                Ok(expected)
            });
            over.store(true, Ordering::Relaxed);
            expected
        });
        let recorder = scope.spawn(|| {
            let mut frames = Vec::new();
            while !over.load(Ordering::Relaxed) {
                frames.extend(recorder.frames(FRAMES_MAX, QUIET)?);
            }
            frames.extend(recorder.frames(FRAMES_MAX, QUIET)?);
            ensure!(recorder.dropped()? == 0, "the recording is not whole");
            anyhow::Ok(frames)
        });
        let outcome = stage::run(&lab, &config, &live, || {
            go.store(true, Ordering::Relaxed);
            thread::sleep(QUIET / 10);
            talker.is_finished() && recorder.is_finished()
        });
        let died = |_| anyhow::anyhow!("a thread died");
        anyhow::Ok((outcome?, talker.join().map_err(died)??, recorder.join().map_err(died)??))
    })?;
    assert_eq!(outcome.summary.packets_seen, frames.len() as u64, "the engine and the recording");
    let of_live = stage::rows(&live)?;
    let differences: Vec<_> = expected.iter().flat_map(|expected| expected.check(&of_live)).collect();
    ensure!(differences.is_empty(), "{}", differences.join("\n"));

    let frames: Vec<_> = (1..).zip(frames).map(|(n, octets)| SceneFrame { at_nanos: n * 1_000_000, octets, port: 0 }).collect();
    stage::write_pcapng(&capture, lab.taps(), &frames, |_| 0)?;
    stage::closes(&stage::replay(&config, std::slice::from_ref(&capture), &again, None)?, &again)?;
    let replayed = stage::rows(&again)?;
    let compared = compare::same(&of_live, &replayed);
    let theirs = rows::of_reference(std::slice::from_ref(&capture), &config)?.swap_remove(0);
    let mut tally = Tally::default();
    let differences = rows::compare(&capture, &replayed, &theirs, &mut tally);
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    println!("{} conversations in {} frames; {compared:?}; {} values", expected.len(), frames.len(), tally.values);
    Ok(())
}

impl Expected {
    /// The echo requests' row and the connection's.
    fn check(&self, rows: &[JsonRow]) -> Vec<String> {
        let ends = self.ends.map(|end| Value::from(end.to_string()));
        let [echo, tcp] = if self.ends[0].is_ipv4() { [1, 6] } else { [58, 6] };
        let mut differences = Vec::new();
        for protocol in [echo, tcp] {
            let is_it = |row: &&JsonRow| {
                [&row["initiator_address"], &row["responder_address"]] == [&ends[0], &ends[1]]
                    && row["protocol"] == protocol
                    && (protocol == tcp || row["icmp_type"] == if protocol == 1 { 8 } else { 128 })
            };
            let found: Vec<_> = rows.iter().filter(is_it).collect();
            let [row] = found.as_slice() else {
                differences.push(format!("{}: {} rows of protocol {protocol} between {ends:?}", self.name, found.len()));
                continue;
            };
            let mut wanted = self.tunnel();
            if protocol == tcp {
                wanted.push(("responder_port".into(), json!(PORT)));
                wanted.extend(self.payload(row));
            } else {
                let octets = usize::from(ECHOES) * (if protocol == 1 { 28 } else { 48 } + ECHO_OCTETS);
                for way in ["forward", "reverse"] {
                    wanted.push((format!("{way}_packets"), json!(ECHOES)));
                    wanted.push((format!("{way}_octets"), json!(octets)));
                }
            }
            let differs = wanted.iter().filter(|(column, value)| row.get(column) != Some(value));
            differences.extend(differs.map(|(column, value)| {
                format!("{}, protocol {protocol}, {column}: {:?}, not {value}", self.name, row.get(column))
            }));
        }
        differences
    }

    fn tunnel(&self) -> Vec<(String, Value)> {
        let mut columns = Vec::new();
        for (way, direction) in ["forward", "reverse"].into_iter().enumerate() {
            let outer = self.outer.map(|ways| ways[way].map(|end| end.to_string()));
            columns.extend([
                (format!("{direction}_tunnel_types"), json!(self.kind)),
                (format!("{direction}_tunnel_source_address"), json!(outer.as_ref().map(|ends| &ends[0]))),
                (format!("{direction}_tunnel_destination_address"), json!(outer.as_ref().map(|ends| &ends[1]))),
                (format!("{direction}_tunnel_id"), json!(self.id)),
                (format!("{direction}_inner_tunnel_id"), Value::Null),
            ]);
        }
        columns
    }

    /// Where nothing was repeated, the payload is what was sent, to the octet; where something was, or may have been, it is more.
    fn payload(&self, row: &JsonRow) -> Vec<(String, Value)> {
        let of_way = |(way, octets): (&str, usize)| {
            let column = format!("{way}_payload_octets");
            let found = row[&column].as_u64().unwrap_or(0);
            let again = row[&format!("{way}_tcp_retransmitted_packets")].as_u64();
            let is_exact = row[&format!("{way}_tcp_sequence_exact")] == true;
            let is_right = if again == Some(0) && is_exact { found == octets as u64 } else { found >= octets as u64 };
            (column, if is_right { json!(found) } else { json!(octets) })
        };
        ["forward", "reverse"].into_iter().zip(OCTETS).map(of_way).collect()
    }
}

/// A tunnel that the kernel makes itself.
struct Device {
    name: &'static str,
    /// What is behind `ip link add NAME type`, for an end whose address is L and whose peer's is R.
    link: &'static str,
    over_v6: bool,
    /// The families of what can be inside.
    inside: &'static [bool],
    /// What a row says of one with IPv4 inside and one with IPv6.
    kinds: [&'static str; 2],
    id: Option<u32>,
}

const BOTH: &[bool] = &[false, true];

const fn device(name: &'static str, link: &'static str, over_v6: bool, kind: &'static str, id: u32) -> Device {
    Device { name, link, over_v6, inside: BOTH, kinds: [kind; 2], id: Some(id) }
}

const DEVICES: [Device; 19] = [
    device("vxlan4", "vxlan id 1001 dstport 4789 local L remote R dev D", false, "vxlan", 1001),
    device("vxlan6", "vxlan id 1002 dstport 4789 local L remote R dev D udp6zerocsumrx", true, "vxlan", 1002),
    device("vxold", "vxlan id 1003 dstport 8472 local L remote R dev D", false, "vxlan", 1003),
    device("geneve4", "geneve id 1004 remote R", false, "geneve", 1004),
    device("geneve6", "geneve id 1005 remote R", true, "geneve", 1005),
    device("gre4", "gre local L remote R key 1006 csum seq", false, "gre", 1006),
    Device { id: None, ..device("gre4bare", "gre local L remote R", false, "gre", 0) },
    device("gretap4", "gretap local L remote R key 1007", false, "gre", 1007),
    device("gre6", "ip6gre local L remote R key 1008", true, "gre", 1008),
    device("gretap6", "ip6gretap local L remote R key 1009", true, "gre", 1009),
    Device { id: None, ..device("erspan1", "erspan local L remote R erspan_ver 0", false, "erspan1", 0) },
    device("erspan2", "erspan seq key 12 local L remote R erspan_ver 1 erspan 123", false, "erspan2", 12),
    device("erspan3", "erspan seq key 13 local L remote R erspan_ver 2 erspan_dir ingress erspan_hwid 17", false, "erspan3", 13),
    device("erspan2six", "ip6erspan seq key 14 local L remote R erspan_ver 1 erspan 124", true, "erspan2", 14),
    device(
        "erspan3six",
        "ip6erspan seq key 15 local L remote R erspan_ver 2 erspan_dir egress erspan_hwid 3",
        true,
        "erspan3",
        15,
    ),
    Device { id: None, inside: &[false], ..device("ipip", "ipip local L remote R", false, "ipip", 0) },
    Device { id: None, inside: &[true], ..device("sit", "sit local L remote R", false, "6in4", 0) },
    Device {
        id: None,
        inside: &[false],
        ..device("ip4in6", "ip6tnl mode ipip6 local L remote R encaplimit none", true, "4in6", 0)
    },
    Device { id: None, inside: &[true], ..device("ip6in6", "ip6tnl mode ip6ip6 local L remote R", true, "6in6", 0) },
];

fn outer(over_v6: bool) -> [IpAddr; 2] {
    if over_v6 { IPV6.map(IpAddr::V6) } else { IPV4.map(IpAddr::V4) }
}

fn both_ways([a, b]: [IpAddr; 2]) -> [[IpAddr; 2]; 2] {
    [[a, b], [b, a]]
}

/// Makes a device at both ends; the kernel's answer, if it has none of the type.
fn make(underlay: &Underlay, device: &Device, net: u8) -> Result<Option<String>> {
    let addresses = outer(device.over_v6);
    for end in 0..2 {
        let words = device.link.split(' ').map(|word| match word {
            "L" => addresses[end].to_string(),
            "R" => addresses[1 - end].to_string(),
            "D" => ENDS[end].to_owned(),
            word => word.to_owned(),
        });
        let what = words.collect::<Vec<_>>().join(" ");
        match ip(&format!("-n {} link add {} type {what}", underlay.host(end).name(), device.name)) {
            Err(error) if error.to_string().contains("Unknown device type") => return Ok(Some(error.to_string())),
            result => result?,
        }
        let has_mac = !matches!(device.name, "gre4" | "gre4bare" | "gre6" | "ipip" | "sit" | "ip4in6" | "ip6in6");
        underlay.raise(end, device.name, net, has_mac)?;
    }
    Ok(None)
}

fn devices(underlay: &Underlay) -> Result<Vec<Expected>> {
    let (mut expected, mut missing) = (Vec::new(), Vec::new());
    for (device, net) in DEVICES.iter().zip(1..) {
        if make(underlay, device, net)?.is_some() {
            missing.push(device.name);
            continue;
        }
        for &is_v6 in device.inside {
            let ends = inner(net, is_v6);
            underlay.talk(ends).with_context(|| format!("{} to {}", device.name, ends[1]))?;
            let kind = device.kinds[usize::from(is_v6)];
            expected.push(Expected {
                name: device.name.into(),
                ends,
                kind,
                outer: Some(both_ways(outer(device.over_v6))),
                id: device.id,
            });
        }
    }
    println!("devices that this kernel does not make: {missing:?}");
    expected.extend(segment_routes(underlay)?);
    expected.extend(labels(underlay)?);
    Ok(expected)
}

/// The segment at which an end takes out packets of a family.
const fn segment(end: usize, is_v6: bool) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x5e9, end as u16 + 1, is_v6 as u16, 0, 0, 0, 1)
}

/// Segment routing (RFC 8986): packets in IPv6 with a routing header.
fn segment_routes(underlay: &Underlay) -> Result<Vec<Expected>> {
    let (net, mut expected) = (200, Vec::new());
    for end in 0..2 {
        let host = underlay.host(end).name().to_owned();
        for scope in ["all", ENDS[end]] {
            let path = format!("/proc/sys/net/ipv6/conf/{scope}/seg6_enabled");
            underlay.host(end).run(|| std::fs::write(&path, "1"))?.with_context(|| format!("no segment routing: {path}"))?;
        }
        for (is_v6, action) in [(false, "End.DX4 nh4 0.0.0.0"), (true, "End.DT6 table 255")] {
            let [own, peer] = [end, 1 - end].map(|end| inner(net, is_v6)[end]);
            let length = if is_v6 { 128 } else { 32 };
            // One segment each: the peer takes out what is addressed to it.
            let [here, there] = [end, 1 - end].map(|end| segment(end, is_v6));
            ip(&format!("-n {host} addr add {own}/{length} dev lo"))?;
            let device = ENDS[end];
            ip(&format!("-n {host} -6 route add {here}/128 encap seg6local action {action} dev {device}"))?;
            ip(&format!("-n {host} -6 route add {there}/128 via {} dev {device}", IPV6[1 - end]))?;
            ip(&format!("-n {host} route add {peer}/{length} encap seg6 mode encap segs {there} dev {device} src {own}"))?;
        }
        ip(&format!("-n {host} sr tunsrc set {}", IPV6[end]))?;
    }
    for (is_v6, kind) in [(false, "4in6"), (true, "6in6")] {
        let ends = inner(net, is_v6);
        underlay.talk(ends).with_context(|| format!("segment routing to {}", ends[1]))?;
        let outer = [0, 1].map(|end| [IpAddr::V6(IPV6[end]), IpAddr::V6(segment(1 - end, is_v6))]);
        expected.push(Expected { name: format!("segment routing, {kind}"), ends, kind, outer: Some(outer), id: None });
    }
    Ok(expected)
}

/// Label switching, if the kernel routes labels.
fn labels(underlay: &Underlay) -> Result<Vec<Expected>> {
    let path = "/proc/sys/net/mpls/platform_labels";
    if underlay.host(0).run(|| !std::path::Path::new(path).exists())? {
        println!("this kernel routes no MPLS labels");
        return Ok(Vec::new());
    }
    let net = 201;
    for end in 0..2 {
        let (host, device) = (underlay.host(end), ENDS[end]);
        host.run(|| {
            std::fs::write(path, "1000")?;
            std::fs::write(format!("/proc/sys/net/mpls/conf/{device}/input"), "1")
        })??;
        let [own, peer] = [end, 1 - end].map(|end| inner(net, false)[end]);
        let name = host.name();
        ip(&format!("-n {name} addr add {own}/32 dev lo"))?;
        ip(&format!("-n {name} -f mpls route add 100 dev lo"))?;
        ip(&format!("-n {name} route add {peer}/32 encap mpls 100 via {} dev {device} src {own}", IPV4[1 - end]))?;
    }
    let ends = inner(net, false);
    underlay.talk(ends).context("label switching")?;
    Ok(vec![Expected { name: "label switching".into(), ends, kind: "mpls", outer: None, id: Some(100) }])
}

/// Every kind over everything that it can be over, by the frame builder's headers.
fn headers(underlay: &Underlay) -> Result<Vec<Expected>> {
    let mut expected = Vec::new();
    let mut net = 0;
    for kind in Kind::ALL {
        for &outer in kind.outers() {
            net += 1;
            let layer = kind.layer(outer, 0, net.into());
            let name = format!("{kind:?} over {outer:?}");
            let families: &[bool] = if matches!(kind, Kind::Teredo | Kind::TeredoOrigin) { &[true] } else { BOTH };
            let talk = || families.iter().try_for_each(|is_v6| underlay.talk(inner(net, *is_v6)));
            underlay.tunnelled(&layer, &format!("tun{net}"), net, talk).with_context(|| name.clone())?;
            for &is_v6 in families {
                let ethertype = if is_v6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
                let outer = layer.outer.map(|pair| both_ways(golden::ends(pair)));
                let kind = layer.name(ethertype);
                expected.push(Expected { name: name.clone(), ends: inner(net, is_v6), kind, outer, id: layer.id() });
            }
        }
    }
    Ok(expected)
}

#[test]
fn live_tunnels_of_the_kernel() -> Result<()> {
    if !harness::root() {
        return Ok(());
    }
    metered(devices)
}

#[test]
fn live_tunnels_of_every_kind() -> Result<()> {
    if !harness::root() {
        return Ok(());
    }
    metered(headers)
}
