//! Of how many flows a tap sees one direction only: captures of which one direction of known flows is taken away, a mirror port that
//! copies the ingress of one port, and what must be null in such rows.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use auscult::{
    capture::replay::Replay,
    lab::{Lab, MTU, Pace, Player},
    lake::{self, TableName, read::JsonRow},
    scene::{
        Scene, SceneFrame, SceneSize,
        frame::{self, Ip, Link, Pair, Tag, Tcp},
    },
};
use harness::{
    packet::{self, Headers, headers},
    random::Random,
    replay::{manifest, spread},
    sides::{self, Counts},
    stage,
};

const LINKTYPE_ETHERNET: u32 = 1;
/// Which columns of `flows` are of the flow as a whole and need one direction only.
const OF_EITHER_DIRECTION: [&str; 24] = [
    "site",
    "flow_id",
    "segment",
    "flow_start",
    "flow_end",
    "end_reason",
    "initiator_by",
    "sidedness",
    "protocol",
    "ethertype",
    "icmp_type",
    "icmp_code",
    "is_fragment",
    "fragment_of",
    "community_id",
    "parse_stop",
    "initiator_address",
    "initiator_port",
    "initiator_mac",
    "responder_address",
    "responder_port",
    "responder_mac",
    "first_packet_sizes",
    "first_packet_gaps_nanos",
];
/// Which need both.
const OF_BOTH_DIRECTIONS: [&str; 2] = ["handshake_rtt_responder_nanos", "handshake_rtt_initiator_nanos"];
/// Sums of a direction, zero without packets.
const SUMS: [&str; 4] = ["packets", "octets", "layer2_octets", "payload_octets"];

/// A conversation: capture and both ends.
type Conversation = (usize, [(IpAddr, u16); 2]);

/// Captures as lists of frames.
struct Captures {
    frames: Vec<Vec<SceneFrame>>,
}

/// What is known of a conversation: VLAN of its first frame, packets by direction, whether a direction acknowledges; and whether it is
/// several flows: something follows its end, or a long silence.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    vlan: Option<u16>,
    packets: [u64; 2],
    acknowledges: [bool; 2],
    last: u64,
    finished: [bool; 2],
    is_reset: bool,
    is_several: bool,
}

impl Known {
    const fn is_two_sided(&self) -> bool {
        self.packets[0] > 0 && self.packets[1] > 0
    }

    /// One direction, which acknowledges.
    const fn is_one_sided(&self) -> bool {
        !self.is_two_sided() && (self.acknowledges[0] || self.acknowledges[1])
    }
}

/// TCP conversations of the frames.
fn conversations(frames: &[SceneFrame], number: usize, known: &mut BTreeMap<Conversation, Known>) {
    for frame in frames {
        let Some(found) = headers(&frame.octets).filter(|found| found.protocol == packet::TCP) else { continue };
        let (pair, up) = found.pair();
        let first = Known { vlan: found.vlan, last: frame.at_nanos, ..Known::default() };
        let entry = known.entry((number, pair)).or_insert(first);
        let (side, bits) = (usize::from(!up), found.control_bits);
        let silence = frame.at_nanos.saturating_sub(entry.last);
        let [one, other] = entry.finished;
        entry.is_several |= silence >= stage::config().biflow.idle_timeout.as_nanos() as u64
            || (entry.is_reset || one && other) && silence > LATE_SEGMENTS
            || (entry.is_reset || one || other) && bits & (packet::SYN | packet::ACK) == packet::SYN;
        entry.last = frame.at_nanos;
        entry.packets[side] += 1;
        entry.acknowledges[side] |= found.acknowledges();
        entry.finished[side] |= bits & packet::FIN != 0;
        entry.is_reset |= bits & packet::RST != 0;
    }
}

impl Captures {
    fn conversations(&self) -> BTreeMap<Conversation, Known> {
        let mut known = BTreeMap::new();
        for (number, frames) in self.frames.iter().enumerate() {
            conversations(frames, number, &mut known);
        }
        known
    }

    /// The captures without what `is_left_out` names.
    fn without(&self, is_left_out: impl Fn(usize, &Headers) -> bool) -> Self {
        let kept = |number: usize, frame: &SceneFrame| !headers(&frame.octets).is_some_and(|found| is_left_out(number, &found));
        let frames = self.frames.iter().enumerate();
        let frames = frames.map(|(number, frames)| frames.iter().filter(|frame| kept(number, frame)).cloned().collect());
        Self { frames: frames.collect() }
    }

    /// Replays each by itself; TCP flows `[two-sided, one-sided, undecided]` by VLAN. Checks coverage against the rows.
    fn replayed(&self) -> Result<BTreeMap<Option<u64>, [u64; 3]>> {
        let mut sums = BTreeMap::<_, [u64; 3]>::new();
        for frames in self.frames.iter().filter(|frames| !frames.is_empty()) {
            let folder = tempfile::tempdir()?;
            let (capture, data) = (folder.path().join("frames.pcapng"), folder.path().join("data"));
            stage::write_pcapng(&capture, &["tap0".to_owned()], frames, |_| 0)?;
            let outcome = stage::replay(&stage::config(), &[capture], &data, None)?;
            stage::closes(&outcome, &data)?;
            let by_vlan = checked(&data)?;
            let mut total = [0; 3];
            for (vlan, counts) in by_vlan {
                for (kind, [flows, _]) in counts[0].into_iter().enumerate() {
                    sums.entry(vlan).or_default()[kind] += flows;
                    total[kind] += flows;
                }
            }
            let told = &outcome.summary.sidedness.tcp;
            assert_eq!(total, [told.two_sided_flows, told.one_sided_flows, told.undecided_flows], "summary and coverage");
        }
        Ok(sums)
    }
}

/// Sidedness by VLAN from a lake, after a check that coverage says what the flow rows say, for VLANs and ports, and that rows of
/// one-sided flows have nothing that takes both sides.
fn checked(data: &Path) -> Result<BTreeMap<Option<u64>, Counts>> {
    let rows = stage::rows(data)?;
    let (by_rows, vlans, ports) = (sides::of_rows(&rows), sides::of_coverage(data, "vlan")?, sides::of_coverage(data, "port")?);
    assert_eq!(by_rows, vlans, "coverage by VLAN and the rows of flows");
    assert_eq!(sides::by(&vlans, |(minute, point, _)| (minute.clone(), point.clone(), None)), ports, "VLANs and ports");
    rows.iter().for_each(nothing_of_both);
    Ok(sides::by(&vlans, |(.., vlan)| *vlan))
}

/// No feature of a direction that was not seen, and none that takes both.
fn nothing_of_both(row: &JsonRow) {
    for missing in ["forward", "reverse"].into_iter().filter(|direction| row[&format!("{direction}_packets")] == 0) {
        for (column, value) in row {
            if let Some(feature) = column.strip_prefix(missing).and_then(|rest| rest.strip_prefix('_')) {
                let is_sum = SUMS.contains(&feature);
                assert!(if is_sum { value == 0 } else { value.is_null() }, "{column} is {value} without {missing} packets");
            }
            assert!(!OF_BOTH_DIRECTIONS.contains(&column.as_str()) || value.is_null(), "{column} is {value} for one direction");
        }
        assert!(row["segment"] != 0 || row["sidedness"] != "two_sided", "{row:?}");
    }
}

/// Every column is of one direction, of either or of both: whoever adds one has to say which.
#[test]
fn every_feature_says_whose_it_is() {
    for column in lake::read::columns(TableName::Flows) {
        let either = OF_EITHER_DIRECTION.contains(&column.as_str());
        let one = column.starts_with("forward_") || column.starts_with("reverse_");
        assert!(either || one || OF_BOTH_DIRECTIONS.contains(&column.as_str()), "{column} is of no list in this suite");
    }
}

/// A scene of several hundred TCP conversations in all its VLANs.
fn scene() -> Captures {
    let frames: Vec<_> = Scene::new(21, SceneSize { load: 6, ..SceneSize::default() }).frames().collect();
    Captures { frames: vec![frames] }
}

/// Captures of the corpus, evenly spread over its sets; every third gets one of four VLANs as outermost tag, some have tags of their own.
fn corpus(folder: &Path) -> Result<Captures> {
    let mut captures = manifest(folder)?;
    captures.retain(|capture| !matches!(&*capture.set, "malformed") && (50..=20_000).contains(&capture.packets));
    let paths: Vec<PathBuf> = spread(&captures, CAPTURES_PER_SET).into_iter().map(|capture| capture.path.clone()).collect();
    let mut all = Vec::new();
    for (number, path) in paths.iter().enumerate() {
        let mut frames = Vec::new();
        let mut replay = Replay::open(std::slice::from_ref(path))?;
        // A capture that is damaged somewhere gives what is before it.
        while let Ok(Some(frame)) = replay.next_frame() {
            if frame.link_type != LINKTYPE_ETHERNET {
                continue;
            }
            let mut octets = frame.octets.to_vec();
            if number % 3 == 0 && octets.len() > 14 {
                packet::push_tag(&mut octets, 100 + (number % 4) as u16);
            }
            frames.push(SceneFrame { at_nanos: frame.at, octets, port: 0 });
        }
        let mut known = BTreeMap::new();
        conversations(&frames, 0, &mut known);
        // Ends and conversations are counted; where these use their ports again and again, that says nothing of flows.
        if known.values().filter(|known| known.is_several).count() * 50 <= known.len() {
            all.push(frames);
        }
    }
    println!("{} captures, of {}", all.len(), paths.len());
    assert!(all.len() * 10 >= paths.len() * 8);
    Ok(Captures { frames: all })
}

/// How long segments may come late behind the end of a connection without being taken for another one.
const LATE_SEGMENTS: u64 = 4_000_000_000;
/// Captures of each set.
const CAPTURES_PER_SET: usize = 24;
/// Percent of the flows of which a direction is taken away, and how far off the report may be.
const SHARE: u64 = 30;
const TOLERANCE: f64 = 2.0;
/// A VLAN with fewer conversations says nothing about percents.
const CONVERSATIONS_MIN: u64 = 50;

/// Which direction of a chosen conversation is taken away.
#[derive(Clone, Copy, Debug)]
enum Removed {
    Client,
    Server,
    Either,
}

/// Takes one direction of `share(vlan)` percent of the two-sided TCP conversations of each VLAN away and compares what is reported.
fn remove(captures: &Captures, removed: Removed, seed: u64, share: impl Fn(Option<u16>) -> u64) -> Result<()> {
    let known = captures.conversations();
    let mut by_vlan = BTreeMap::<Option<u16>, Vec<Conversation>>::new();
    let mut two_sided = BTreeMap::<Option<u16>, u64>::new();
    for (conversation, known) in known.iter().filter(|(_, known)| known.is_two_sided()) {
        *two_sided.entry(known.vlan).or_default() += 1;
        // One direction of a refused connection is a SYN or an RST: unanswered, and not one-sided.
        if !known.acknowledges.contains(&false) {
            by_vlan.entry(known.vlan).or_default().push(*conversation);
        }
    }
    let mut random = Random::new(seed);
    // Conversation → whether the direction from its lower end is taken away.
    let mut chosen = BTreeMap::<Conversation, bool>::new();
    for (vlan, conversations) in &mut by_vlan {
        let count = ((two_sided[vlan] * share(*vlan)).div_ceil(100) as usize).min(conversations.len());
        for place in 0..count {
            let pick = place + random.index(conversations.len() - place);
            conversations.swap(place, pick);
        }
        for conversation in &conversations[..count] {
            // Servers have the lower port.
            let low_is_server = conversation.1[0].1 < conversation.1[1].1;
            let server = match removed {
                Removed::Client => false,
                Removed::Server => true,
                Removed::Either => random.once_in(2),
            };
            chosen.insert(*conversation, low_is_server == server);
        }
    }
    let left = captures.without(|number, found| {
        let (pair, up) = found.pair();
        found.protocol == packet::TCP && chosen.get(&(number, pair)).is_some_and(|low| *low == up)
    });
    // What is left decides in which VLAN a conversation counts: `[two-sided, a direction taken away, one-sided as it was]`.
    let mut truth = BTreeMap::<Option<u64>, [u64; 3]>::new();
    for (conversation, known) in left.conversations() {
        let kind = match known {
            _ if chosen.contains_key(&conversation) => 1,
            known if known.is_two_sided() => 0,
            known if known.is_one_sided() => 2,
            _ => continue,
        };
        truth.entry(known.vlan.map(u64::from)).or_default()[kind] += 1;
    }
    let (mut sums, mut reports, mut compared) = ([0; 3], [0; 2], 0);
    let reported = left.replayed()?;
    for (vlan, expected) in truth {
        let [two, one, _] = reported.get(&vlan).copied().unwrap_or_default();
        sums.iter_mut().zip(expected).for_each(|(sum, part)| *sum += part);
        reports.iter_mut().zip([two, one]).for_each(|(sum, part)| *sum += part);
        if expected[0] + expected[1] >= CONVERSATIONS_MIN {
            agree(&format!("{removed:?}, VLAN {vlan:?}"), expected, [two, one]);
            compared += 1;
        }
    }
    agree(&format!("{removed:?}, {compared} VLANs and others"), sums, reports);
    assert!(compared > 0);
    Ok(())
}

/// Of what a direction was taken away from, and of everything that is one-sided, the share reported is the share that is.
fn agree(what: &str, [two, taken, before]: [u64; 3], [reported_two, reported_one]: [u64; 2]) {
    let percent = |one: u64, two: u64| 100.0 * one as f64 / (one + two) as f64;
    let [is, should] = [percent(reported_one, reported_two), percent(taken + before, two)];
    let [is_taken, should_be_taken] = [percent(reported_one.saturating_sub(before), reported_two), percent(taken, two)];
    println!(
        "{what}: {reported_one} one-sided of {}: {is:.1} %, expected {should:.1} %; without the {before} that were: {is_taken:.1} %, \
         taken away {should_be_taken:.1} %",
        reported_one + reported_two
    );
    assert!((is - should).abs() <= TOLERANCE, "{what}");
    assert!((is_taken - should_be_taken).abs() <= TOLERANCE, "{what}");
}

#[test]
fn a_third_of_the_scene_loses_a_side() -> Result<()> {
    let captures = scene();
    for (seed, removed) in [(1, Removed::Server), (2, Removed::Client), (3, Removed::Either)] {
        remove(&captures, removed, seed, |_| SHARE)?;
    }
    Ok(())
}

#[test]
fn vlans_lose_different_shares() -> Result<()> {
    let captures = scene();
    let vlans: BTreeSet<_> = captures.conversations().into_values().map(|known| known.vlan).collect();
    let place = |vlan| vlans.iter().position(|known| *known == vlan).unwrap_or(0);
    remove(&captures, Removed::Server, 4, |vlan| [0, 15, 30, 60, 100][place(vlan) % 5])
}

#[test]
fn a_third_of_the_corpus_loses_a_side() -> Result<()> {
    let Some(folder) = harness::corpus() else { return Ok(()) };
    let captures = corpus(&folder)?;
    for (seed, removed) in [(5, Removed::Server), (6, Removed::Client), (7, Removed::Either)] {
        remove(&captures, removed, seed, |_| SHARE)?;
    }
    Ok(())
}

/// Of a whole scene only that is one-sided which its stories leave one-sided.
#[test]
fn a_whole_scene_has_two_sides() -> Result<()> {
    let captures = scene();
    let known = captures.conversations();
    let count = |is: fn(&Known) -> bool| known.values().filter(|known| is(known)).count() as u64;
    let expected = [count(Known::is_two_sided), count(Known::is_one_sided)];
    let flows =
        captures.replayed()?.into_values().fold([0; 3], |sum, flows| [0, 1, 2].map(|kind: usize| sum[kind] + flows[kind]));
    println!("two-sided, one-sided, undecided: {flows:?}");
    assert_eq!(flows[..2], expected);
    assert_eq!(flows.iter().sum::<u64>(), known.len() as u64);
    assert!(flows[0] > 500 && flows[1] > 0 && flows[2] > 0, "the scene has all kinds");
    Ok(())
}

/// A mirror of what enters by one port: conversations with other ports have one side, those within the port two.
#[test]
fn live_mirror_of_one_port() -> Result<()> {
    if !harness::root() {
        return Ok(());
    }
    let frames: Vec<SceneFrame> = Scene::new(22, SceneSize { load: 2, ..SceneSize::SHORT }).frames().collect();
    let all = Captures { frames: vec![frames.clone()] }.conversations();
    // Conversations `[two-sided, one-sided]` of what enters by a port, of those that have two sides at the switch.
    let heard = |port: usize| {
        let frames = frames.iter().filter(|frame| frame.port == port).cloned().collect();
        let mut counts = [0u64; 2];
        for (conversation, known) in (Captures { frames: vec![frames] }).conversations() {
            if all[&conversation].is_two_sided() || known.is_one_sided() {
                counts[usize::from(!known.is_two_sided())] += 1;
            }
        }
        counts
    };
    let mirrored = (0..auscult::scene::BRIDGE_PORTS).max_by_key(|port| heard(*port)[1]).context("no port")?;
    let [within, across] = heard(mirrored);
    let lab = Arc::new(Lab::span_of(MTU, |port| port == mirrored)?);
    let folder = tempfile::tempdir()?;
    let mut player = None;
    let (mut last, mut quiet) = (0, 0);
    let outcome = stage::run(&lab, &stage::config(), folder.path(), || {
        let player = player.get_or_insert_with(|| Player::start(&lab, frames.clone(), Pace::Speed(LIVE_SPEED), u64::MAX, None));
        thread::sleep(Duration::from_millis(50));
        let heard = stage::received(&lab).unwrap_or(0);
        quiet = if player.as_ref().map_or(true, Player::is_finished) && heard == last { quiet + 1 } else { 0 };
        last = heard;
        quiet > QUIET_LOOKS
    })?;
    let played = player.context("the engine never came up")??.join()?;
    assert_eq!(played.frames, frames.len() as u64);
    let expected = frames.iter().filter(|frame| frame.port == mirrored).count() as u64;
    assert_eq!(outcome.summary.packets_seen, expected, "what entered by port {mirrored}");
    let flows = checked(folder.path())?
        .into_values()
        .fold([0; 3], |sum, counts| [0, 1, 2].map(|kind: usize| sum[kind] + counts[0][kind][0]));
    println!("port {mirrored}: {within} conversations within, {across} across; reported {flows:?}");
    assert!(across >= 20, "{across} conversations with other ports");
    assert_eq!(flows[0], within, "two-sided");
    // A connection that was refused, or never answered, proves nothing.
    assert!(flows[1] <= across && (across - flows[1]) * 50 <= across, "{} of {across} one-sided", flows[1]);
    let text = outcome.summary.to_string();
    assert!(text.contains("are one-sided: the mirror misses a direction"), "{text}");
    assert!(text.contains(" TCP conversations on tap0 "), "{text}");
    Ok(())
}

/// Scene seconds in a second.
const LIVE_SPEED: f64 = 5.0;
/// Looks without a new frame after which nothing is on the way any more.
const QUIET_LOOKS: u32 = 20;

/// Frames of one packet each, between a client and a server of VLAN 9; the first number tells who sends.
fn frames_of(packets: &[(usize, Vec<u8>, u8)], gap: u64) -> Vec<SceneFrame> {
    let ends = [[10, 0, 0, 1], [10, 0, 0, 2]];
    let frame = |(place, (from, segment, protocol)): (usize, &(usize, Vec<u8>, u8))| {
        let pair = Pair::V4(ends[*from].into(), ends[1 - *from].into());
        let mac = |end: usize| [2, 0, 0, 0, 0, end as u8];
        let link = Link { target: mac(1 - *from), source: mac(*from), tags: vec![Tag::customer(9)] };
        let octets = frame::ethernet(&link, frame::ETHERTYPE_IPV4, &frame::packets(&Ip::new(pair, *protocol), segment, 1500)[0]);
        SceneFrame { at_nanos: START + place as u64 * gap, octets, port: 0 }
    };
    packets.iter().enumerate().map(frame).collect()
}

/// Some time, in the middle of a minute.
const START: u64 = 1_767_600_030 * SECOND;
const SECOND: u64 = 1_000_000_000;

/// A TCP segment, sent by the client (0) or the server (1) of port 104.
fn segment(from: usize, bits: u8) -> (usize, Vec<u8>, u8) {
    let ports = if from == 0 { [50_000, 104] } else { [104, 50_000] };
    let pair = Pair::V4([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let header = Tcp { ports, sequence: 1, acknowledgement: 1, control_bits: bits, window: 500, options: &[] };
    (from, frame::tcp(pair, &header, &[]), frame::TCP)
}

fn datagram(from: usize, ports: [u16; 2], octets: usize) -> (usize, Vec<u8>, u8) {
    let pair = Pair::V4([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    (from, frame::udp(pair, ports, &vec![7; octets]), frame::UDP)
}

fn echo(from: usize, kind: u8) -> (usize, Vec<u8>, u8) {
    (from, frame::icmp(kind, 0, [0, 1, 0, 1], &[7; 8]), frame::ICMP)
}

#[test]
fn what_proves_the_other_side() -> Result<()> {
    const S: u8 = packet::SYN;
    const A: u8 = packet::ACK;
    const R: u8 = packet::RST;
    const F: u8 = packet::FIN;
    let cases = [
        ("both", vec![segment(0, S), segment(1, S | A), segment(0, A)], "two_sided"),
        ("refused", vec![segment(0, S), segment(1, R | A)], "two_sided"),
        ("unanswered", vec![segment(0, S), segment(0, S), segment(0, S)], "undecided"),
        ("half-open scan without answers", vec![segment(0, S), segment(0, R)], "undecided"),
        ("refusal alone", vec![segment(1, R | A)], "undecided"),
        ("refusals alone", vec![segment(1, R | A), segment(1, R | A)], "undecided"),
        ("given up", vec![segment(0, S), segment(0, R | A)], "undecided"),
        ("FIN scan", vec![segment(0, F)], "undecided"),
        ("client alone", vec![segment(0, S), segment(0, A)], "one_sided"),
        ("client alone, from amid", vec![segment(0, A)], "one_sided"),
        ("client alone, reset", vec![segment(0, S), segment(0, A), segment(0, R)], "one_sided"),
        ("server alone", vec![segment(1, S | A)], "one_sided"),
        ("server alone, reset", vec![segment(1, S | A), segment(1, R)], "one_sided"),
        ("echo", vec![echo(0, 8), echo(1, 0)], "two_sided"),
        ("echo request", vec![echo(0, 8)], "undecided"),
        ("echo reply", vec![echo(1, 0)], "one_sided"),
        ("router solicitation's answer comes unasked, too", vec![echo(1, 9)], "undecided"),
        ("port unreachable", vec![echo(1, 3)], "undecided"),
        ("DNS", vec![datagram(0, [40_000, 53], 30), datagram(1, [53, 40_000], 60)], "two_sided"),
        ("DNS queries", vec![datagram(0, [40_000, 53], 30)], "undecided"),
        ("DNS answer", vec![datagram(1, [53, 40_000], 60)], "one_sided"),
        ("scan that comes from DNS's port", vec![datagram(1, [53, 40_000], 0)], "undecided"),
        ("between servers", vec![datagram(1, [53, 53], 60)], "undecided"),
        ("syslog", vec![datagram(0, [40_000, 514], 60)], "undecided"),
    ];
    for (name, packets, expected) in cases {
        let frames = frames_of(&packets, SECOND / 100);
        let (row, _) = one_flow(&frames, &["tap0"])?;
        assert_eq!(row["sidedness"], expected, "{name}");
        assert_eq!(row["forward_vlan_id"].as_u64().or(row["reverse_vlan_id"].as_u64()), Some(9), "{name}");
    }
    Ok(())
}

/// Replays frames that are one flow; its last row, and the lake.
fn one_flow(frames: &[SceneFrame], points: &[&str]) -> Result<(JsonRow, tempfile::TempDir)> {
    let folder = tempfile::tempdir()?;
    let capture = folder.path().join("frames.pcapng");
    let points: Vec<String> = points.iter().map(|name| (*name).to_owned()).collect();
    stage::write_pcapng(&capture, &points, frames, |frame| frame.port)?;
    let mut config = stage::config();
    config.biflow.idle_timeout = Duration::from_secs(60);
    config.biflow.active_timeout = Duration::from_secs(60);
    stage::replay(&config, &[capture], folder.path(), None)?;
    checked(folder.path())?;
    let mut rows = stage::rows(folder.path())?;
    rows.sort_by_key(|row| row["segment"].as_u64());
    assert!(rows.iter().all(|row| row["flow_id"] == rows[0]["flow_id"]), "one flow");
    Ok((rows.pop().context("no flow")?, folder))
}

/// A long flow counts once, its packets where they are; that it has two sides is not forgotten.
#[test]
fn a_flow_of_many_segments_counts_once() -> Result<()> {
    const A: u8 = packet::ACK;
    let mut packets = vec![segment(0, packet::SYN), segment(1, packet::SYN | A)];
    packets.extend((0..28).map(|_| segment(0, A)));
    let (row, lake) = one_flow(&frames_of(&packets, 10 * SECOND), &["tap0"])?;
    assert!(row["segment"].as_u64() >= Some(3) && row["reverse_packets"] == 0, "{row:?}");
    assert_eq!(row["sidedness"], "two_sided");
    let places = sides::of_coverage(lake.path(), "port")?;
    assert!(places.len() >= 4, "a row for each minute: {places:?}");
    let sums: Vec<_> = sides::by(&places, |(_, point, _)| point.clone()).into_iter().collect();
    assert_eq!(sums, [("tap0".to_owned(), [[[1, 30], [0, 0], [0, 0]], [[0; 2]; 3]])]);
    Ok(())
}

/// Two taps that hear one direction each.
#[test]
fn two_taps_see_two_sides() -> Result<()> {
    const A: u8 = packet::ACK;
    let packets = [segment(0, packet::SYN), segment(1, packet::SYN | A), segment(0, A), segment(1, A)];
    let mut frames = frames_of(&packets, SECOND / 100);
    for (frame, (from, ..)) in frames.iter_mut().zip(&packets) {
        frame.port = 1 - from;
    }
    let (row, lake) = one_flow(&frames, &["tap0", "tap1"])?;
    assert_eq!(row["sidedness"], "two_sided");
    let minute = "2026-01-05T08:00:00Z".to_owned();
    let counts = [[[1, 4], [0, 0], [0, 0]], [[0; 2]; 3]];
    let places: Vec<_> = sides::of_coverage(lake.path(), "vlan")?.into_iter().collect();
    assert_eq!(places, [((minute, "tap1".to_owned(), Some(9)), counts)], "where the first packet was seen");
    Ok(())
}
