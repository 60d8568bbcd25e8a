//! The scene, as an independent dissector reads it: nothing malformed, no wrong checksum, every protocol recognised.

use std::{collections::BTreeMap, fs::File, io::BufWriter, process::Command};

use anyhow::Context;
use auscult::scene::{Scene, SceneSize};

/// What the default scene must contain, by tshark's names.
const PROTOCOLS: &[&str] = &[
    "arp",
    "bacapp",
    "cdp",
    "dhcp",
    "dicom",
    "dns",
    "hl7",
    "http",
    "icmp",
    "icmpv6",
    "ieee8021ad",
    "igmp",
    "ip",
    "ipp",
    "ipv6",
    "json",
    "ldap",
    "lldp",
    "llmnr",
    "lpd",
    "mdns",
    "modbus",
    "mqtt",
    "nbns",
    "ntp",
    "rtp",
    "rtsp",
    "sip",
    "smb2",
    "snmp",
    "ssdp",
    "stp",
    "syslog",
    "tcp",
    "tls",
    "udp",
    "vlan",
];

/// tshark's severity of an expert message that says "error".
const SEVERITY_ERROR: &str = "8388608";

fn read(scene: &Scene, fields: &[&str]) -> anyhow::Result<Option<Vec<Vec<String>>>> {
    if Command::new("tshark").arg("--version").output().is_err() {
        harness::skip("tshark is not installed");
        return Ok(None);
    }
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("scene.pcap");
    let count = scene.write_pcap(BufWriter::new(File::create(&path)?))?;
    let mut tshark = Command::new("tshark");
    tshark.arg("-n").arg("-r").arg(&path).args(["-T", "fields", "-E", "separator=/t"]);
    for preference in ["ip.check_checksum:TRUE", "tcp.check_checksum:TRUE", "udp.check_checksum:TRUE"] {
        tshark.args(["-o", preference]);
    }
    fields.iter().for_each(|field| {
        tshark.args(["-e", field]);
    });
    let output = tshark.output().context("run tshark")?;
    anyhow::ensure!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let rows: Vec<Vec<String>> = text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect();
    assert_eq!(rows.len() as u64, count);
    Ok(Some(rows))
}

#[test]
fn nothing_is_malformed_and_every_protocol_is_recognised() -> anyhow::Result<()> {
    let scene = Scene::new(1, SceneSize::default());
    let fields = [
        "frame.protocols",
        "_ws.malformed",
        "_ws.expert.severity",
        "ip.checksum.status",
        "tcp.checksum.status",
        "udp.checksum.status",
    ];
    let Some(rows) = read(&scene, &fields)? else { return Ok(()) };
    let mut counts = BTreeMap::<&str, usize>::new();
    for (n, row) in rows.iter().enumerate() {
        assert!(!row[0].contains("_ws") && row[1].is_empty(), "frame {}: {row:?}", n + 1);
        assert!(!row[2].split(',').any(|severity| severity == SEVERITY_ERROR), "frame {}: {row:?}", n + 1);
        for status in &row[3..] {
            // 0 is bad; 1 good; 2 not looked at, as in fragments. Quoted packets in ICMP errors count too.
            assert!(!status.split(',').any(|status| status == "0"), "frame {}: {row:?}", n + 1);
        }
        let mut names: Vec<&str> = row[0].split(':').collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().for_each(|name| *counts.entry(name).or_default() += 1);
    }
    let missing: Vec<&&str> = PROTOCOLS.iter().filter(|name| !counts.contains_key(**name)).collect();
    assert!(missing.is_empty(), "{missing:?} not in {counts:?}");
    println!("{counts:?}");
    Ok(())
}

#[test]
fn conversations_have_what_the_meter_is_tested_for() -> anyhow::Result<()> {
    let scene = Scene::new(1, SceneSize { jumbo: true, ..SceneSize::default() });
    let fields = [
        "tcp.analysis.retransmission",
        "tcp.analysis.out_of_order",
        "tcp.analysis.zero_window",
        "tcp.analysis.keep_alive",
        "tcp.connection.rst",
        "ip.flags.mf",
        "ipv6.fraghdr.more",
        "tls.handshake.extensions_server_name",
        "dhcp.option.vendor_class_id",
        "dicom.assoc.ae.calling",
    ];
    let Some(rows) = read(&scene, &fields)? else { return Ok(()) };
    for (n, field) in fields.iter().enumerate() {
        let count = rows.iter().filter(|row| !matches!(row[n].as_str(), "" | "0" | "False")).count();
        assert!(count >= 3, "{field}: {count} frames");
    }
    assert_eq!(scene.frames().map(|frame| frame.octets.len()).max(), Some(9018));
    Ok(())
}
