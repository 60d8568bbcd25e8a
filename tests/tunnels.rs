//! Tunnels: frames whose rows are known from how they were built, through replay, the reference, `tshark` and the kernel's programs;
//! and conversations of the kernel's own protocols through real tunnels.

use std::{
    collections::BTreeMap,
    fs::File,
    io::BufWriter,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use auscult::lake::read::JsonRow;
use harness::{
    golden::{self, Case},
    replay::{Replayed, every_packet},
    rows::{self, Tally},
    tunnel::VXLAN_BEFORE,
};

/// Differences printed.
const SHOWN: usize = 40;
/// Labels that `tshark` is told of.
const LABELS: u32 = 1024;
/// Per frame: what it is, what is wrong with it, checksums, innermost addresses and ports, identifiers.
const FIELDS: [&str; 24] = [
    "erspan.ft",
    "frame.protocols",
    "_ws.malformed",
    "ip.checksum.status",
    "tcp.checksum.status",
    "udp.checksum.status",
    "gre.checksum.status",
    "ip.src",
    "ip.dst",
    "ipv6.src",
    "ipv6.dst",
    "arp.src.hw_mac",
    "arp.dst.hw_mac",
    "tcp.srcport",
    "tcp.dstport",
    "udp.srcport",
    "udp.dstport",
    "mpls.label",
    "pppoe.session_id",
    "gre.key",
    "erspan.spanid",
    "vxlan.vni",
    "geneve.vni",
    "eth.src",
];

fn capture(folder: &Path, cases: &[Case]) -> Result<PathBuf> {
    let path = folder.join("golden.pcap");
    golden::write_pcap(cases, golden::ETHERNET, BufWriter::new(File::create(&path)?))?;
    Ok(path)
}

/// Holds rows against what the cases expect: each case has one row, each row one case.
fn check(cases: &[Case], rows: &[JsonRow]) -> Vec<String> {
    let ends = |row: &JsonRow| ["initiator_address", "responder_address"].map(|end| row[end].as_str().unwrap_or("?").to_owned());
    let mut by_ends: BTreeMap<_, Vec<&JsonRow>> = BTreeMap::new();
    for row in rows {
        by_ends.entry(ends(row)).or_default().push(row);
    }
    let mut differences = Vec::new();
    for case in cases {
        let Case { name, expect, .. } = case;
        let found = by_ends.remove(&ends(expect)).unwrap_or_default();
        let [row] = found.as_slice() else {
            differences.push(format!("{name}: {} rows between {:?}", found.len(), ends(expect)));
            continue;
        };
        let differs = expect.iter().filter(|(column, value)| row.get(*column) != Some(value));
        for (column, value) in differs {
            let found = row.get(column).map_or_else(|| "no such column".to_owned(), ToString::to_string);
            differences.push(format!("{name}, {column}: {found}, not {value}"));
        }
    }
    differences.extend(by_ends.into_values().flatten().map(|row| format!("a row of no case: {row:?}")));
    differences
}

fn none(differences: &[String]) -> Result<()> {
    ensure!(
        differences.is_empty(),
        "{} differences\n{}",
        differences.len(),
        differences.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n")
    );
    Ok(())
}

fn all_cases() -> Vec<Case> {
    [golden::sound(), golden::odd()].concat()
}

#[test]
fn replayed_frames_give_the_rows_they_were_built_for() -> Result<()> {
    let (folder, cases) = (tempfile::tempdir()?, all_cases());
    let replayed = Replayed::of(&[capture(folder.path(), &cases)?], &every_packet())?;
    let rows = replayed.rows()?;
    none(&check(&cases, &rows))?;
    println!("{} cases, {} frames", cases.len(), replayed.outcome.summary.packets_metered);
    Ok(())
}

/// The reference computes the same rows, and in every column the engine's.
#[test]
fn reference_gives_the_rows_that_frames_were_built_for() -> Result<()> {
    let (folder, cases) = (tempfile::tempdir()?, all_cases());
    let capture = capture(folder.path(), &cases)?;
    let theirs = rows::of_reference(std::slice::from_ref(&capture), &every_packet())?.swap_remove(0);
    none(&check(&cases, &theirs))?;
    let ours = Replayed::of(std::slice::from_ref(&capture), &every_packet())?.rows()?;
    let mut tally = Tally::default();
    none(&rows::compare(&capture, &ours, &theirs, &mut tally))?;
    println!("{} rows, {} values", tally.rows, tally.values);
    Ok(())
}

/// The same packets from a link without header.
#[test]
fn packets_without_link_header_give_the_same_rows() -> Result<()> {
    let (folder, cases) = (tempfile::tempdir()?, golden::bare());
    let path = folder.path().join("bare.pcap");
    golden::write_pcap(&cases, golden::RAW, BufWriter::new(File::create(&path)?))?;
    none(&check(&cases, &Replayed::of(std::slice::from_ref(&path), &every_packet())?.rows()?))?;
    none(&check(&cases, &rows::of_reference(std::slice::from_ref(&path), &every_packet())?.swap_remove(0)))?;
    ensure!(cases.len() > 200, "{} cases", cases.len());
    Ok(())
}

/// Our frames are what an independent dissector takes them for: nothing malformed, checksums right, and the same encapsulations,
/// identifiers and innermost addresses.
#[test]
fn sound_frames_are_read_by_tshark() -> Result<()> {
    let (folder, cases) = (tempfile::tempdir()?, golden::sound());
    let mut tshark = Command::new("tshark");
    tshark.arg("-n").arg("-r").arg(capture(folder.path(), &cases)?).args(["-T", "fields", "-E", "separator=|"]);
    let [control_word, bare] = golden::PSEUDOWIRE_LABELS;
    for known in [
        format!("udp.port=={VXLAN_BEFORE},vxlan"),
        format!("mpls.label=={control_word}:{LABELS},pwethcw"),
        format!("mpls.label=={bare}:{LABELS},pwethnocw"),
    ] {
        tshark.args(["-d", &known]);
    }
    for layer in ["ip", "tcp", "udp"] {
        tshark.args(["-o", &format!("{layer}.check_checksum:TRUE")]);
    }
    for field in FIELDS {
        tshark.args(["-e", field]);
    }
    let Ok(output) = tshark.output() else {
        harness::skip("tshark is not installed");
        return Ok(());
    };
    ensure!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let mut lines = text.lines();
    let mut differences = Vec::new();
    for case in &cases {
        for way in 0..case.frames.len() {
            let line = lines.next().context("tshark reads fewer frames")?;
            let fields: BTreeMap<_, _> = FIELDS.into_iter().zip(line.split('|')).collect();
            if let Err(error) = dissected(case, way, &fields) {
                differences.push(format!("{}, way {way}: {error}: {line}", case.name));
            }
        }
    }
    ensure!(lines.next().is_none(), "tshark reads more frames");
    none(&differences)
}

/// Whether one frame's fields are those of its case.
fn dissected(case: &Case, way: usize, fields: &BTreeMap<&str, &str>) -> Result<()> {
    ensure!(fields["_ws.malformed"].is_empty(), "malformed");
    for status in fields.iter().filter(|(name, _)| name.ends_with("checksum.status")).flat_map(|(_, value)| value.split(',')) {
        ensure!(matches!(status, "" | "1"), "a wrong checksum");
    }
    let Some(layers) = &case.layers else {
        // ERSPAN III of a packet and not a frame is octets to it.
        let named = ["erspan:data", "erspan.ft"];
        ensure!(
            fields["frame.protocols"].ends_with(named[0]) && fields[named[1]].split(',').any(|kind| kind == "2"),
            "no packet"
        );
        return Ok(());
    };
    let last = |name: &str| fields[name].rsplit(',').next().unwrap_or_default().to_owned();
    let is = |column: &str, value: &str| {
        let expected = case.expect[column].as_str().map_or_else(|| case.expect[column].to_string(), str::to_owned);
        ensure!(expected == value, "{column} is {value}, not {expected}");
        Ok(())
    };
    let protocols: Vec<_> = fields["frame.protocols"].split(':').collect();
    let network = protocols.iter().rfind(|name| matches!(**name, "ip" | "ipv6" | "arp")).copied().unwrap_or_default();
    let transport = protocols.iter().rfind(|name| matches!(**name, "tcp" | "udp")).copied().unwrap_or_default();
    ensure!(!network.is_empty() && (network == "arp" || !transport.is_empty()), "no packet");
    let mut ends = match network {
        "arp" => ["arp.src.hw_mac", "arp.dst.hw_mac"].map(last),
        name => ["src", "dst"].map(|end| last(&format!("{name}.{end}"))),
    };
    let mut ports = ["srcport", "dstport"]
        .map(|port| if network == "arp" { "null".to_owned() } else { last(&format!("{transport}.{port}")) });
    if way == 1 {
        ends.reverse();
        ports.reverse();
    }
    if network != "arp" {
        is("initiator_address", &ends[0])?;
        is("responder_address", &ends[1])?;
    }
    is("initiator_port", &ports[0])?;
    is("responder_port", &ports[1])?;
    let source = ["initiator_mac", "responder_mac"][way];
    is(source, &last("eth.src"))?;
    for (kind, field) in [
        ("mpls", "mpls.label"),
        ("pppoe", "pppoe.session_id"),
        ("gre", "gre.key"),
        ("erspan", "erspan.spanid"),
        ("vxlan", "vxlan.vni"),
        ("geneve", "geneve.vni"),
    ] {
        let expected: Vec<_> =
            layers.iter().filter(|(name, _)| name.trim_end_matches(char::is_numeric) == kind).filter_map(|(_, id)| *id).collect();
        let found: Vec<_> = fields[field].split(',').filter(|text| !text.is_empty()).map(number).collect::<Result<_>>()?;
        // Of a label stack all labels are shown.
        let same = if kind == "mpls" { expected.iter().all(|id| found.contains(id)) } else { expected == found };
        ensure!(same, "{field} {found:x?}, not {expected:x?}");
    }
    let shown = |names: &[&str]| protocols.iter().filter(|name| names.contains(name)).count();
    let ours = |names: &[&str]| layers.iter().filter(|(name, _)| names.contains(name)).count();
    for names in [
        (&["mpls"][..], &["mpls"][..]),
        (&["pppoes"], &["pppoe"]),
        (&["gre"], &["gre", "erspan1", "erspan2", "erspan3"]),
        (&["erspan"], &["erspan1", "erspan2", "erspan3"]),
        (&["vxlan"], &["vxlan"]),
        (&["geneve"], &["geneve"]),
        (&["teredo"], &["teredo"]),
    ] {
        ensure!(shown(names.0) == ours(names.1), "{} of {:?}", shown(names.0), names.0);
    }
    Ok(())
}

fn number(text: &str) -> Result<u32> {
    let hex = text.strip_prefix("0x");
    hex.map_or_else(|| text.parse(), |digits| u32::from_str_radix(digits, 16)).with_context(|| format!("{text} is no number"))
}
