//! Features, computed twice: the rows that a replay writes, read back from Parquet, against `reference/features.py`, which
//! computes every column from the packets of each flow, by the written definitions and with code of its own.
//!
//! # Which captures
//! Of every set of the corpus, the captures with 2 to [`PACKETS_MAX`] packets (`manifest.tsv`) in order of their paths, and of
//! these [`PER_SET`], evenly spread; and those with tunnels; then our own scene. With `AUSCULT_FEATURES=all`: every capture. Each is replayed twice, with
//! the default timeouts and with short ones. The test asserts that the rows have in them what must be compared ([`TRAITS`]).
//!
//! # What may differ
//! * Real numbers: 1e-9 of the value.
//! * Repeats and reordering where the row says that they are a lower bound (`_tcp_sequence_exact`): the row must not say more.
//! * `fragment_of` of fragments of several flows' datagrams: any of those flows; and, as only so many datagrams are remembered, in
//!   one row of ten nothing.

use std::{
    fs::File,
    io::{BufWriter, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, ensure};
use auscult::{
    config::Config,
    scene::{Scene, SceneSize},
};
use harness::{
    replay::{Replayed, every_packet, manifest, on_two_threads, spread},
    rows::{self, Tally},
};

/// Captures per set.
const PER_SET: usize = 12;
/// Longest capture, in packets: the reference takes its time.
const PACKETS_MAX: u64 = 3_000;
/// Captures per run of the reference.
const BATCH: usize = 8;
/// The short timeouts: so that flows of short captures end and are cut.
const SHORT_IDLE: Duration = Duration::from_secs(7);
const SHORT_ACTIVE: Duration = Duration::from_secs(11);
/// What must be in the rows.
const TRAITS: [&str; 24] = [
    "ipv4",
    "ipv6",
    "not_ip",
    "tcp",
    "icmp",
    "vlan",
    "two_vlans",
    "fragments",
    "linked_fragments",
    "one_sided",
    "retransmissions",
    "out_of_order",
    "zero_windows",
    "handshake",
    "no_macs",
    "segments",
    "idle_timeout",
    "end_of_flow_detected",
    "forced_end",
    "parse_stop",
    "tunnels",
    "tunnels_with_ids",
    "tunnels_in_tunnels",
    "frames_in_tunnels",
];
/// Columns that only the engine has.
const OWN: [&str; 3] = ["site", "forward_tcp_sequence_exact", "reverse_tcp_sequence_exact"];
/// Differences printed.
const SHOWN: usize = 100;

#[test]
fn rows_are_those_of_an_independent_computation() -> Result<()> {
    let Some(corpus) = harness::corpus() else { return Ok(()) };
    let everything = std::env::var_os("AUSCULT_FEATURES").is_some_and(|value| value == "all");
    let mut captures = manifest(&corpus)?;
    if !everything {
        captures.retain(|capture| (2..=PACKETS_MAX).contains(&capture.packets));
    }
    let per_set = if everything { usize::MAX } else { PER_SET };
    captures.retain(|capture| is_pcap(&capture.path));
    let folder = tempfile::tempdir()?;
    let scene = folder.path().join("scene.pcap");
    Scene::new(7, SceneSize::SHORT).write_pcap(BufWriter::new(File::create(&scene)?))?;
    let mut files: Vec<PathBuf> = spread(&captures, per_set).into_iter().map(|capture| capture.path.clone()).collect();
    let mut tunnels = rows::with_tunnels(&captures.iter().map(|capture| capture.path.clone()).collect::<Vec<_>>())?;
    tunnels.retain(|path| !files.contains(path));
    println!("{} captures with tunnels beside the spread", tunnels.len());
    files.extend(tunnels);
    files.push(scene);
    let batches: Vec<_> = files.chunks(BATCH).collect();
    let results = on_two_threads(&batches, |batch| compare(batch));
    let (mut differences, mut tally) = (Vec::new(), Tally::default());
    for result in results {
        let (found, part) = result?;
        differences.extend(found);
        tally.add(part);
    }
    println!(
        "{} replays, {} rows, {} columns, {} values ({} null); {} directions with lower bounds; {} differences",
        tally.captures,
        tally.rows,
        tally.columns.len(),
        tally.values,
        tally.nulls,
        tally.lower_bounds,
        differences.len()
    );
    println!("rows with: {:?}", tally.traits);
    ensure!(differences.is_empty(), "{}", differences.into_iter().take(SHOWN).collect::<Vec<_>>().join("\n"));
    let linked = tally.traits.get("linked_fragments").copied().unwrap_or_default();
    ensure!(tally.unlinked * 10 <= linked, "{} flows of fragments are not linked, {linked} are", tally.unlinked);
    for name in TRAITS {
        ensure!(tally.traits.get(name).is_some_and(|rows| *rows > 0), "no row has {name}");
    }
    Ok(())
}

/// Whether the reference reads the format: pcap or pcapng, plain or in gzip.
fn is_pcap(path: &Path) -> bool {
    let mut start = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    let magics: [[u8; 4]; 6] = [
        [0xa1, 0xb2, 0xc3, 0xd4],
        [0xd4, 0xc3, 0xb2, 0xa1],
        [0xa1, 0xb2, 0x3c, 0x4d],
        [0x4d, 0x3c, 0xb2, 0xa1],
        [0x0a, 0x0d, 0x0d, 0x0a],
        [0x34, 0xcd, 0xb2, 0xa1],
    ];
    read.is_ok() && (magics.contains(&start) || start[..2] == [0x1f, 0x8b])
}

fn compare(files: &[PathBuf]) -> Result<(Vec<String>, Tally)> {
    let mut short = every_packet();
    short.biflow.idle_timeout = SHORT_IDLE;
    short.biflow.active_timeout = SHORT_ACTIVE;
    let (mut differences, mut tally) = (Vec::new(), Tally::default());
    for config in [every_packet(), short] {
        differences.extend(compare_with(&config, files, &mut tally)?);
    }
    Ok((differences, tally))
}

fn compare_with(config: &Config, files: &[PathBuf], tally: &mut Tally) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    for (file, theirs) in files.iter().zip(rows::of_reference(files, config)?) {
        let ours = Replayed::of(std::slice::from_ref(file), config)?.rows()?;
        if let (Some(a), Some(b)) = (ours.first(), theirs.first()) {
            let missing: Vec<_> = a.keys().filter(|name| !b.contains_key(*name) && !OWN.contains(&name.as_str())).collect();
            ensure!(missing.is_empty(), "the reference has no columns {missing:?}");
        }
        differences.extend(rows::compare(file, &ours, &theirs, tally));
    }
    Ok(differences)
}
