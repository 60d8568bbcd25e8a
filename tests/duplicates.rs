//! Packets that were mirrored twice: captures whose single copy is known are doubled in every way that mirrors double, and metered;
//! and packets that look like copies and are none, which must all be kept.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use auscult::{
    capture::replay::Replay,
    config::{Config, Duplicates, Hook},
    lab::{JUMBO_MTU, Lab, Pace, Player},
    lake,
    pipeline::Outcome,
    scene::{
        Scene, SceneFrame, SceneSize,
        frame::{self, Ip, Link, Pair},
    },
};
use harness::{
    copies::{self, Copy, SKEW_NANOS, WINDOW_NANOS},
    lossy, packet,
    random::Random,
    replay::{manifest, spread},
    stage,
};

const LINKTYPE_ETHERNET: u32 = 1;
/// Names of the two observation points.
const POINTS: [&str; 2] = ["tap0", "tap1"];
/// Captures of each set of the corpus.
const CAPTURES_PER_SET: usize = 10;
/// By how much octets may be off: one in a thousand.
const OCTETS_TOLERANCE: f64 = 0.001;
/// By how much the ratio of copies may be off.
const RATIO_TOLERANCE: f64 = 0.005;
/// Which part of what is no copy must be kept.
const KEPT: f64 = 0.99;
/// The same of retransmissions without identification on a path that takes no time.
const KEPT_UNNUMBERED: f64 = 0.85;

fn config(duplicates: Duplicates) -> Config {
    let mut config = stage::config();
    config.meter.duplicates = duplicates;
    config
}

/// What a run has metered and recognised.
#[derive(Clone, Copy, Debug, Default)]
struct Metered {
    seen: u64,
    packets: u64,
    octets: u64,
    duplicates: u64,
    recognised: u64,
}

impl Metered {
    fn of(outcome: &Outcome, data: &Path) -> Result<Self> {
        stage::closes(outcome, data)?;
        let summary = &outcome.summary;
        let (mut octets, mut packets) = (0, 0);
        for row in stage::rows(data)? {
            for direction in ["forward", "reverse"] {
                octets += row[&format!("{direction}_octets")].as_u64().unwrap_or(0);
                packets += row[&format!("{direction}_packets")].as_u64().unwrap_or(0);
            }
        }
        assert_eq!(packets, summary.packets_metered);
        assert_eq!(summary.duplicate_ratio, summary.duplicates_recognised as f64 / summary.packets_seen.max(1) as f64);
        let (duplicates, recognised) = (summary.packets_duplicate, summary.duplicates_recognised);
        Ok(Self { seen: summary.packets_seen, packets, octets, duplicates, recognised })
    }

    fn add(&mut self, other: Self) {
        self.seen += other.seen;
        self.packets += other.packets;
        self.octets += other.octets;
        self.duplicates += other.duplicates;
        self.recognised += other.recognised;
    }

    fn ratio(&self) -> f64 {
        self.recognised as f64 / self.seen.max(1) as f64
    }
}

/// Replays frames, by their ports.
fn replayed(frames: &[SceneFrame], duplicates: Duplicates) -> Result<Metered> {
    let folder = tempfile::tempdir()?;
    let (capture, data) = (folder.path().join("frames.pcapng"), folder.path().join("data"));
    stage::write_pcapng(&capture, &POINTS.map(str::to_owned), frames, |frame| frame.port)?;
    let outcome = stage::replay(&config(duplicates), &[capture], &data, None)?;
    Metered::of(&outcome, &data)
}

/// What goes wrong when frames are doubled: nothing, or a line.
fn faults(what: &str, single: Metered, doubled: Metered, copies: u64) -> Vec<String> {
    let octets = (doubled.octets as f64 - single.octets as f64).abs() / single.octets.max(1) as f64;
    let ratio = (doubled.ratio() - copies as f64 / doubled.seen as f64).abs();
    let kept = doubled.packets as f64 / single.packets as f64;
    println!(
        "{what}: {} packets, {copies} copies; octets off by {:.3} %, ratio by {:.3} %, kept {:.2} %",
        single.packets,
        octets * 100.0,
        ratio * 100.0,
        kept * 100.0
    );
    let mut faults = Vec::new();
    for (is_fault, fault) in [
        (octets > OCTETS_TOLERANCE, "octets"),
        (ratio > RATIO_TOLERANCE, "ratio"),
        (kept < KEPT, "kept"),
        (doubled.duplicates != doubled.recognised, "what is recognised is removed"),
    ] {
        if is_fault {
            faults.push(format!("{what}: {fault}: {single:?} {doubled:?}, {copies} copies"));
        }
    }
    faults
}

/// The Ethernet frames of captures that are whole and have no tunnels, each without the copies it already has.
fn corpus(folder: &Path) -> Result<Vec<(PathBuf, Vec<SceneFrame>)>> {
    let mut captures = manifest(folder)?;
    captures.retain(|capture| capture.set != "malformed" && (100..=20_000).contains(&capture.packets));
    let mut all = Vec::new();
    for capture in spread(&captures, CAPTURES_PER_SET) {
        if let Some(frames) = whole(&capture.path)? {
            all.push((capture.path.clone(), copies::single(&frames, WINDOW_NANOS)));
        }
    }
    println!("{} captures", all.len());
    assert!(all.len() >= 20);
    Ok(all)
}

/// The frames of a capture, by time; `None` when it is not Ethernet, or cut, or its clock stepped back, or has tunnels.
fn whole(path: &Path) -> Result<Option<Vec<SceneFrame>>> {
    let mut frames: Vec<SceneFrame> = Vec::new();
    let mut replay = Replay::open(&[path.to_owned()])?;
    while let Ok(Some(frame)) = replay.next_frame() {
        let is_whole = frame.link_type == LINKTYPE_ETHERNET && frame.octets.len() as u64 == u64::from(frame.wire_octets);
        let in_order = frames.last().is_none_or(|last| last.at_nanos <= frame.at);
        if !is_whole || !in_order || packet::is_tunnel(frame.octets) {
            return Ok(None);
        }
        frames.push(SceneFrame { at_nanos: frame.at, octets: frame.octets.to_vec(), port: 0 });
    }
    Ok((!frames.is_empty()).then_some(frames))
}

/// A scene without copies; its routed packets are seen once.
fn scene(seed: u64) -> Vec<SceneFrame> {
    let frames: Vec<_> = Scene::new(seed, SceneSize::default()).frames().map(|frame| SceneFrame { port: 0, ..frame }).collect();
    copies::single(&frames, WINDOW_NANOS)
}

/// Doubles by every kind alone and by all in turn.
fn every_kind() -> Vec<(String, Vec<Copy>)> {
    let alone = Copy::ALL.iter().map(|kind| (format!("{kind:?}"), vec![*kind]));
    alone.chain([("all in turn".to_owned(), Copy::ALL.to_vec())]).collect()
}

#[test]
fn a_doubled_scene_is_metered_once() -> Result<()> {
    let frames = scene(31);
    let single = replayed(&frames, Duplicates::Off)?;
    assert_eq!((single.packets, single.recognised), (frames.len() as u64, 0));
    let mut all = Vec::new();
    for (seed, (name, kinds)) in (0..).zip(every_kind()) {
        let doubled = copies::doubled(&frames, &kinds, seed);
        all.extend(faults(&name, single, replayed(&doubled, Duplicates::Remove)?, frames.len() as u64));
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
    Ok(())
}

#[test]
fn a_doubled_corpus_is_metered_once() -> Result<()> {
    let Some(folder) = harness::corpus() else { return Ok(()) };
    let captures = corpus(&folder)?;
    let mut sums = BTreeMap::<String, (Metered, Metered, u64)>::new();
    let mut all = Vec::new();
    for (number, (path, frames)) in captures.iter().enumerate() {
        let single = replayed(frames, Duplicates::Off)?;
        let (name, kinds) = &every_kind()[number % (Copy::ALL.len() + 1)];
        for (name, kinds) in [(name.as_str(), kinds), ("all in turn", &Copy::ALL.to_vec())] {
            let doubled = replayed(&copies::doubled(frames, kinds, number as u64), Duplicates::Remove)?;
            let (one, two, count) = sums.entry(name.to_owned()).or_default();
            one.add(single);
            two.add(doubled);
            *count += frames.len() as u64;
            let what = format!("{name}, {}", path.strip_prefix(&folder)?.display());
            all.extend(faults(&what, single, doubled, frames.len() as u64));
        }
    }
    println!("in all:");
    for (name, (single, doubled, count)) in &sums {
        all.extend(faults(name, *single, *doubled, *count));
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
    Ok(())
}

/// `count` meters copies and counts them; `off` does neither; and the three agree on what there is.
#[test]
fn the_setting_says_what_becomes_of_copies() -> Result<()> {
    let frames = scene(32);
    let doubled = copies::doubled(&frames, &[Copy::Same, Copy::Routed], 5);
    let remove = replayed(&doubled, Duplicates::Remove)?;
    let count = replayed(&doubled, Duplicates::Count)?;
    let off = replayed(&doubled, Duplicates::Off)?;
    println!("{remove:?}\n{count:?}\n{off:?}");
    assert_eq!((count.packets, count.duplicates), (doubled.len() as u64, 0));
    assert_eq!((off.packets, off.recognised), (doubled.len() as u64, 0));
    assert_eq!(count.recognised, remove.recognised);
    assert_eq!(remove.packets + remove.duplicates, doubled.len() as u64);
    assert_eq!((count.octets, count.octets), (off.octets, 2 * replayed(&frames, Duplicates::Off)?.octets));
    Ok(())
}

/// What comes after the window was sent again.
#[test]
fn packets_sent_again_are_kept() -> Result<()> {
    // Nothing in the scene is so close that what is sent again could meet it.
    let frames = copies::single(&scene(33), 10 * WINDOW_NANOS);
    let mut again: Vec<_> = frames.to_vec();
    again.extend(frames.iter().map(|frame| SceneFrame { at_nanos: frame.at_nanos + 4 * SKEW_NANOS, ..frame.clone() }));
    again.sort_by_key(|frame| frame.at_nanos);
    let metered = replayed(&again, Duplicates::Remove)?;
    println!("{metered:?}");
    assert_eq!((metered.packets, metered.recognised), (again.len() as u64, 0));
    Ok(())
}

/// Ends of the packets below.
const V4: ([u8; 4], [u8; 4]) = ([10, 7, 0, 1], [10, 7, 0, 2]);
const V6: (u128, u128) = (0xfd07 << 112 | 1, 0xfd07 << 112 | 2);
/// Pairs of packets of each kind below.
const PAIRS: usize = 400;

fn pair(is_v6: bool) -> Pair {
    if is_v6 { Pair::V6(V6.0.into(), V6.1.into()) } else { Pair::V4(V4.0.into(), V4.1.into()) }
}

/// A packet without identification: IPv6, or IPv4 that must not be fragmented and whose identification is zero (RFC 6864).
fn bare(is_v6: bool, protocol: u8, segment: &[u8]) -> Vec<u8> {
    let ip = Ip { id: 0, dont_fragment: true, ..Ip::new(pair(is_v6), protocol) };
    let packet = frame::packets(&ip, segment, usize::from(u16::MAX)).swap_remove(0);
    let link = Link { target: [2, 0, 0, 7, 0, 2], source: [2, 0, 0, 7, 0, 1], tags: Vec::new() };
    frame::ethernet(&link, pair(is_v6).ethertype(), &packet)
}

/// How the payloads of two packets differ whose headers are the same.
const DIFFERENCES: [&str; 10] = [
    "first octet",
    "middle octet",
    "last octet",
    "any octet",
    "one bit",
    "octets swapped",
    "words swapped",
    "blocks swapped",
    "top bits of words",
    "top bits of words from the end",
];

/// The payload, changed; never the same.
fn changed(difference: &str, payload: &[u8], random: &mut Random) -> Vec<u8> {
    let mut other = payload.to_vec();
    let (length, other_value) = (payload.len(), 1 + random.below(255) as u8);
    // What products modulo a power of two would not mix: numbers that change their sign.
    if difference.starts_with("top bits") && length >= 16 {
        let words = length / 8;
        let begin = if difference.ends_with("end") { length % 8 } else { 0 };
        let one = random.index(words);
        let two = (one + 1 + random.index(words - 1)) % words;
        [one, two].iter().for_each(|word| other[begin + word * 8 + 7] ^= 0x80);
        return other;
    }
    // Places that are no multiple of each other, aligned as 16-bit words of the checksum are.
    let mut swap = |octets: usize| {
        let words = length / octets;
        if words < 2 {
            other[0] ^= other_value;
            return;
        }
        let (one, two) = (random.index(words / 2), words / 2 + random.index(words - words / 2));
        (0..octets).for_each(|i| other.swap(one * octets + i, two * octets + i));
        if other == payload {
            other[one * octets] ^= other_value;
        }
    };
    match difference {
        "first octet" => other[0] ^= other_value,
        "middle octet" => other[length / 2] ^= other_value,
        "last octet" => other[length - 1] ^= other_value,
        "any octet" => other[random.index(length)] ^= other_value,
        "one bit" => other[random.index(length)] ^= 1 << random.below(8),
        "octets swapped" => swap(1),
        "words swapped" => swap(2),
        _ => swap(32),
    }
    other
}

/// Packets within the window of each other: `[kept, sent]`.
fn kept(packets: impl Iterator<Item = Vec<u8>>, gap_nanos: u64) -> Result<[u64; 2]> {
    let frames: Vec<_> = packets
        .enumerate()
        .map(|(place, octets)| SceneFrame { at_nanos: 1_767_600_000_000_000_000 + place as u64 * gap_nanos, octets, port: 0 })
        .collect();
    let metered = replayed(&frames, Duplicates::Remove)?;
    assert_eq!(metered.seen, frames.len() as u64);
    Ok([metered.packets, metered.seen])
}

#[test]
fn datagrams_that_differ_in_payload_alone_are_kept() -> Result<()> {
    let mut random = Random::new(41);
    let mut lost = Vec::new();
    for is_v6 in [false, true] {
        for octets in [1, 2, 18, 31, 64, 257, 512, 1450, 1472] {
            for difference in DIFFERENCES {
                let mut packets = Vec::new();
                for _ in 0..PAIRS {
                    let payload = random.octets(octets);
                    let other = changed(difference, &payload, &mut random);
                    packets.extend([payload, other].map(|payload| {
                        let mut datagram = frame::udp(pair(is_v6), [4000, 4001], &payload);
                        // Offload leaves checksums unfilled: they tell nothing.
                        datagram[6..8].fill(0);
                        bare(is_v6, frame::UDP, &datagram)
                    }));
                }
                // A payload of one octet has 256 values: those come again outside the window.
                let gap = if octets < 3 { 4 * SKEW_NANOS } else { SKEW_NANOS / 20 };
                let [kept, sent] = kept(packets.into_iter(), gap)?;
                if (kept as f64) < KEPT * sent as f64 {
                    lost.push(format!("{difference}, {octets} octets, IPv6 {is_v6}: {kept} of {sent} kept"));
                }
            }
        }
    }
    assert!(lost.is_empty(), "{}", lost.join("\n"));
    Ok(())
}

/// Packets that differ in one field of their headers, each series within one window.
#[test]
fn packets_that_differ_in_one_field_are_kept() -> Result<()> {
    type Series = fn(bool, u32) -> Vec<u8>;
    const TCP: frame::Tcp<'static> =
        frame::Tcp { ports: [50_000, 104], sequence: 7, acknowledgement: 9, control_bits: 16, window: 500, options: &[] };
    fn tcp(is_v6: bool, header: &frame::Tcp<'_>) -> Vec<u8> {
        bare(is_v6, frame::TCP, &frame::tcp(pair(is_v6), header, &[]))
    }
    fn echo(is_v6: bool, kind: [u8; 2], n: u32) -> Vec<u8> {
        let rest = n.to_be_bytes();
        match pair(is_v6) {
            Pair::V4(..) => bare(is_v6, frame::ICMP, &frame::icmp(kind[0], 0, rest, &[7; 56])),
            Pair::V6(from, to) => bare(is_v6, frame::ICMPV6, &frame::icmpv6(from, to, kind[1], 0, rest, &[7; 56])),
        }
    }
    let series: [(&str, Series); 12] = [
        ("TCP sequence", |v6, n| tcp(v6, &frame::Tcp { sequence: n, ..TCP })),
        ("TCP acknowledgement", |v6, n| tcp(v6, &frame::Tcp { acknowledgement: n, ..TCP })),
        ("TCP window", |v6, n| tcp(v6, &frame::Tcp { window: n as u16, ..TCP })),
        ("TCP control bits", |v6, n| tcp(v6, &frame::Tcp { control_bits: n as u8 & 0x3f, sequence: n >> 6, ..TCP })),
        ("TCP options", |v6, n| {
            let [a, b, c, d] = n.to_be_bytes();
            tcp(v6, &frame::Tcp { options: &[1, 1, 8, 10, a, b, c, d, 0, 0, 0, 9], ..TCP })
        }),
        ("selective acknowledgements", |v6, n| {
            let [a, b, c, d] = n.to_be_bytes();
            tcp(v6, &frame::Tcp { options: &[1, 1, 5, 10, 0, 0, 0, 9, a, b, c, d], ..TCP })
        }),
        ("source port", |v6, n| bare(v6, frame::UDP, &frame::udp(pair(v6), [n as u16, 53], &[7; 30]))),
        ("target port", |v6, n| bare(v6, frame::UDP, &frame::udp(pair(v6), [53, n as u16], &[7; 30]))),
        ("echo requests", |v6, n| echo(v6, [8, 128], n)),
        ("echo replies", |v6, n| echo(v6, [0, 129], n)),
        ("ESP sequence", |v6, n| bare(v6, 50, &[&[0, 0, 0, 5][..], &n.to_be_bytes(), &[9; 64]].concat())),
        ("length", |v6, n| bare(v6, frame::UDP, &frame::udp(pair(v6), [4000, 4001], &vec![0; 1 + n as usize % 1400]))),
    ];
    let mut lost = Vec::new();
    for (name, packet) in series {
        for is_v6 in [false, true] {
            let [kept, sent] = kept((1..=1000).map(|n| packet(is_v6, n)), 1_000)?;
            println!("{name}, IPv6 {is_v6}: {kept} of {sent} kept");
            if (kept as f64) < KEPT * sent as f64 {
                lost.push(format!("{name}, IPv6 {is_v6}: {kept} of {sent} kept"));
            }
        }
    }
    // One IPv4 identification after the other, and nothing else.
    let numbered = |n: u32| {
        let ip = Ip { id: n, ..Ip::new(pair(false), frame::UDP) };
        let packet = frame::packets(&ip, &frame::udp(pair(false), [4000, 4001], &[7; 30]), 1500).swap_remove(0);
        let link = Link { target: [2, 0, 0, 7, 0, 2], source: [2, 0, 0, 7, 0, 1], tags: Vec::new() };
        frame::ethernet(&link, frame::ETHERTYPE_IPV4, &packet)
    };
    let [kept_of, sent] = kept((1..=1000).map(numbered), 1_000)?;
    if kept_of < sent {
        lost.push(format!("identification: {kept_of} of {sent} kept"));
    }
    // Who asks whom: frames that are not IP.
    let asked = |n: u32| frame::arp(1, ([2, 0, 0, 7, 0, 1], V4.0.into()), ([0; 6], std::net::Ipv4Addr::from(0x0a07_0000 + n)));
    let link = Link { target: [255; 6], source: [2, 0, 0, 7, 0, 1], tags: Vec::new() };
    let [kept_of, sent] = kept((1..=1000).map(|n| frame::ethernet(&link, frame::ETHERTYPE_ARP, &asked(n))), 1_000)?;
    if kept_of < sent {
        lost.push(format!("ARP: {kept_of} of {sent} kept"));
    }
    assert!(lost.is_empty(), "{}", lost.join("\n"));
    Ok(())
}

/// Fragments of one datagram, whose payloads repeat.
#[test]
fn fragments_of_equal_payload_are_kept() -> Result<()> {
    for is_v6 in [false, true] {
        let datagram = frame::udp(pair(is_v6), [4000, 4001], &vec![0; 30_000]);
        let ip = Ip { id: 77, ..Ip::new(pair(is_v6), frame::UDP) };
        let link = Link { target: [2, 0, 0, 7, 0, 2], source: [2, 0, 0, 7, 0, 1], tags: Vec::new() };
        let packets = frame::packets(&ip, &datagram, 1500);
        assert!(packets.len() > 20);
        let frames = packets.iter().map(|packet| frame::ethernet(&link, pair(is_v6).ethertype(), packet));
        let [kept, sent] = kept(frames, 1_000)?;
        assert_eq!(kept, sent, "IPv6 {is_v6}");
    }
    Ok(())
}

/// Retransmissions of a real stack, some of them within the window of what they repeat, are no copies; copies of them are. IPv6 gives
/// packets no number, so there one that comes within the window, with every octet the same, is a copy to anybody who looks at frames: it
/// takes a path on which a loss is noticed within a millisecond.
#[test]
fn live_retransmissions_are_kept() -> Result<()> {
    if !harness::root() {
        return Ok(());
    }
    let path = lossy::Path { is_v6: false, loss_percent: 3, delay: Duration::ZERO, octets: 2 << 20, connections: 3 };
    let slow = lossy::Path { delay: Duration::from_millis(2), ..path };
    let mut all = Vec::new();
    let v6 = lossy::Path { is_v6: true, ..path };
    let slow_v6 = lossy::Path { is_v6: true, ..slow };
    for (seed, path) in (51..).zip([path, slow, v6, slow_v6]) {
        let frames = lossy::talk(path, seed)?;
        let repeats = lossy::retransmissions(&frames);
        let metered = replayed(&frames, Duplicates::Remove)?;
        println!("{path:?}: {} frames, {repeats} retransmissions, {} taken for copies", frames.len(), metered.recognised);
        assert!(repeats >= 100, "{repeats} retransmissions");
        let is_unnumbered = path.is_v6 && path.delay.is_zero();
        let kept = if is_unnumbered { KEPT_UNNUMBERED } else { KEPT };
        assert!(metered.recognised as f64 <= (1.0 - kept) * repeats as f64, "{metered:?}");
        if is_unnumbered {
            continue;
        }
        let single = replayed(&frames, Duplicates::Off)?;
        let doubled = replayed(&copies::doubled(&frames, &Copy::ALL, seed), Duplicates::Remove)?;
        all.extend(faults("doubled", single, doubled, frames.len() as u64));
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
    Ok(())
}

/// In captures as they are, what is recognised is what an independent look at their octets says, and no retransmission.
#[test]
fn retransmissions_of_the_corpus_are_kept() -> Result<()> {
    let Some(folder) = harness::corpus() else { return Ok(()) };
    let mut captures = manifest(&folder)?;
    captures.retain(|capture| capture.set != "malformed" && (500..=100_000).contains(&capture.packets));
    let (mut repeats, mut expected, mut recognised, mut more) = (0, 0, 0, 0);
    for capture in spread(&captures, 8 * CAPTURES_PER_SET) {
        let Some(frames) = whole(&capture.path)? else { continue };
        let metered = replayed(&frames, Duplicates::Remove)?;
        let copies = copies::is_copy(&frames, config(Duplicates::Remove).meter.duplicate_window.as_nanos() as u64);
        let copies = copies.iter().filter(|is_copy| **is_copy).count() as u64;
        repeats += lossy::retransmissions(&copies::single(&frames, WINDOW_NANOS));
        expected += copies;
        recognised += metered.recognised;
        let excess = metered.recognised.saturating_sub(copies);
        if metered.recognised != copies {
            let name = capture.path.strip_prefix(&folder)?.display();
            println!("{name}: {} of {} recognised, {copies} equal", metered.recognised, metered.seen);
        }
        more += excess;
    }
    println!("{repeats} retransmissions; {recognised} recognised, {expected} equal but for what routers change");
    assert!(repeats >= 100, "{repeats} retransmissions");
    assert!(more as f64 <= (1.0 - KEPT) * repeats as f64, "{more} packets were taken for copies that are none");
    Ok(())
}

/// Longest window: frames of a live play come as the scheduler lets them.
const LIVE_WINDOW: Duration = Duration::from_millis(60);

/// A scene of which no packet is like another one, whenever it comes.
fn live_frames() -> Vec<SceneFrame> {
    let frames: Vec<_> = Scene::new(34, SceneSize::SHORT).frames().map(|frame| SceneFrame { port: 0, ..frame }).collect();
    copies::single(&frames, u64::MAX)
}

fn live_config() -> Config {
    let mut config = config(Duplicates::Remove);
    config.meter.duplicate_window = LIVE_WINDOW;
    config
}

/// Plays doubled frames past taps.
fn live(lab: Lab, kinds: &[Copy]) -> Result<()> {
    let frames = live_frames();
    let single = replayed(&frames, Duplicates::Off)?;
    let lab = Arc::new(lab);
    let folder = tempfile::tempdir()?;
    let doubled = copies::doubled(&frames, kinds, 61);
    stage::meter(&lab, &live_config(), folder.path(), &doubled.into())?;
    let all = faults(&format!("{kinds:?}"), single, of_lake(folder.path())?, frames.len() as u64);
    assert!(all.is_empty(), "{}", all.join("\n"));
    Ok(())
}

/// What rows and coverage of a lake say.
fn of_lake(data: &Path) -> Result<Metered> {
    let mut metered = Metered::default();
    for row in stage::rows(data)? {
        for direction in ["forward", "reverse"] {
            metered.packets += row[&format!("{direction}_packets")].as_u64().unwrap_or(0);
            metered.octets += row[&format!("{direction}_octets")].as_u64().unwrap_or(0);
        }
    }
    lake::read::scan(data, &lake::Query::all(lake::TableName::Coverage), |row| {
        metered.seen += row["seen_packets"].as_u64().unwrap_or(0);
        metered.duplicates += row["duplicate_packets"].as_u64().unwrap_or(0);
        metered.recognised += row["recognised_duplicate_packets"].as_u64().unwrap_or(0);
    })?;
    assert_eq!(metered.packets + metered.duplicates, metered.seen);
    Ok(metered)
}

#[test]
fn live_copies_at_one_tap() -> Result<()> {
    if !harness::root() {
        return Ok(());
    }
    live(Lab::pair(JUMBO_MTU)?, &[Copy::Same, Copy::TagAdded, Copy::TagChanged, Copy::TagRemoved, Copy::Routed, Copy::Tunnelled])
}

#[test]
fn live_copies_at_two_taps() -> Result<()> {
    if !harness::root() {
        return Ok(());
    }
    live(Lab::two_taps(JUMBO_MTU)?, &[Copy::OtherPort])
}

/// Frames of one of two plays that take turns: neither is further ahead of the other than a few frames.
struct InTurn {
    frames: Arc<[SceneFrame]>,
    own: Arc<AtomicUsize>,
    other: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

/// Frames that a play may be ahead.
const AHEAD: usize = 16;

impl Iterator for InTurn {
    type Item = SceneFrame;

    fn next(&mut self) -> Option<SceneFrame> {
        let place = self.own.load(Ordering::Acquire);
        while place > self.other.load(Ordering::Acquire) + AHEAD {
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            thread::yield_now();
        }
        self.own.store(place + 1, Ordering::Release);
        self.frames.get(place).cloned()
    }
}

/// Both copies at one tap, each put in by another CPU, which is where a tap at TCX meters it.
#[test]
fn live_copies_of_two_cpus() -> Result<()> {
    if !harness::root() {
        return Ok(());
    }
    if thread::available_parallelism()?.get() < 2 {
        harness::skip("needs two CPUs");
        return Ok(());
    }
    let frames: Arc<[SceneFrame]> = live_frames().into();
    let single = replayed(&frames, Duplicates::Off)?;
    let lab = Lab::pair(JUMBO_MTU)?;
    let mut config = live_config();
    config.meter.hook = Hook::Tcx;
    let folder = tempfile::tempdir()?;
    let (one, two, stop) = (Arc::default(), Arc::default(), Arc::new(AtomicBool::new(false)));
    let play = |own: &Arc<AtomicUsize>, other: &Arc<AtomicUsize>, cpu| {
        let frames = InTurn { frames: frames.clone(), own: own.clone(), other: other.clone(), stop: stop.clone() };
        Player::start(&lab, frames, Pace::Unpaced, u64::MAX, Some(cpu))
    };
    let mut players = None;
    let (mut last, mut quiet) = (0, 0);
    let outcome = stage::run(&lab, &config, folder.path(), || {
        let players = players.get_or_insert_with(|| [play(&one, &two, 0), play(&two, &one, 1)]);
        thread::sleep(Duration::from_millis(50));
        let heard = stage::received(&lab).unwrap_or(0);
        let finished = players.iter().all(|player| player.as_ref().map_or(true, Player::is_finished));
        quiet = if finished && heard == last { quiet + 1 } else { 0 };
        last = heard;
        quiet > QUIET_LOOKS
    });
    stop.store(true, Ordering::Relaxed);
    let (outcome, players) = (outcome?, players.context("the engine never came up")?);
    for player in players {
        assert_eq!(player?.join()?.frames, frames.len() as u64);
    }
    assert_eq!(outcome.summary.packets_seen, 2 * frames.len() as u64, "nothing was lost on the way");
    let all = faults("two CPUs", single, of_lake(folder.path())?, frames.len() as u64);
    assert!(all.is_empty(), "{}", all.join("\n"));
    Ok(())
}

/// Looks without a new frame after which nothing is on the way any more.
const QUIET_LOOKS: u32 = 20;
