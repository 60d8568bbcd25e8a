//! Live capture through links that are really made, against replay of the same frames; and the ledger at the highest rate that the
//! machine makes. That no tap transmits is checked in every one of these tests (`harness::stage::run`).

use std::{path::Path, sync::Arc, thread, time::Duration};

use anyhow::Result;
use auscult::{
    capture::replay::Replay,
    config::Config,
    lab::{Flood, JUMBO_MTU, Lab, MTU},
    pipeline::Outcome,
    scene::{
        BRIDGE_PORTS, Scene, SceneFrame, SceneSize,
        frame::{self, Ip, Link, Pair},
    },
    shutdown::Shutdown,
};
use harness::{
    compare::{self, Compared},
    stage,
};

const LINKTYPE_ETHERNET: u32 = 1;
/// Shortest frame that a mirror is asked to carry: its filter looks at four octets behind link header and tag.
const MIRRORED_OCTETS_MIN: usize = 22;
/// Longest frame of a link with [`JUMBO_MTU`].
const JUMBO_OCTETS_MAX: usize = JUMBO_MTU as usize + 14;
/// Frames of the ledger test.
const MANY: u64 = 10_000_000;
/// Frames of one call of the flood.
const FLOOD_FRAMES: u32 = 500_000;
/// Time for an engine to come up.
const UP_WITHIN: Duration = Duration::from_secs(30);

/// Meters the frames live and replays them, and compares the lakes' rows. `point` says which tap hears a frame.
fn live_equals_replay(lab: Lab, frames: Vec<SceneFrame>, point: impl Fn(&SceneFrame) -> usize) -> Result<Compared> {
    let (lab, frames, config) = (Arc::new(lab), Arc::from(frames), stage::config());
    let folder = tempfile::tempdir()?;
    let (live, replayed, capture) = (folder.path().join("live"), folder.path().join("replay"), folder.path().join("sent.pcapng"));
    let sent = stage::meter(&lab, &config, &live, &frames)?;
    stage::write_pcapng(&capture, lab.taps(), &sent, point)?;
    let outcome = stage::replay(&config, &[capture], &replayed, None)?;
    stage::closes(&outcome, &replayed)?;
    assert_eq!(outcome.summary.packets_seen, sent.len() as u64);
    let compared = compare::same(&stage::rows(&live)?, &stage::rows(&replayed)?);
    println!("{} frames, {compared:?}", sent.len());
    Ok(compared)
}

/// All Ethernet frames of the corpus' set `devices`, one capture after the other, over all ports; and how many do not fit a mirror.
fn devices(corpus: &Path) -> Result<(Vec<SceneFrame>, [u64; 2])> {
    let manifest = std::fs::read_to_string(corpus.join("manifest.tsv"))?;
    let (mut frames, mut left_out) = (Vec::new(), [0, 0]);
    for line in manifest.lines() {
        let mut fields = line.split('\t');
        let (Some(path), Some("devices")) = (fields.next(), fields.next()) else { continue };
        let mut replay = Replay::open(&[corpus.join(path)])?;
        while let Some(frame) = replay.next_frame()? {
            let octets = frame.octets.len();
            if frame.link_type != LINKTYPE_ETHERNET || octets < MIRRORED_OCTETS_MIN {
                left_out[0] += 1;
            } else if octets > JUMBO_OCTETS_MAX {
                left_out[1] += 1;
            } else {
                let port = usize::from(frame.octets[11]) % BRIDGE_PORTS;
                frames.push(SceneFrame { at_nanos: 0, octets: frame.octets.to_vec(), port });
            }
        }
    }
    Ok((frames, left_out))
}

#[test]
fn live_devices_set_equals_replay() -> Result<()> {
    let (true, Some(corpus)) = (harness::root(), harness::corpus()) else { return Ok(()) };
    let (frames, [foreign, giant]) = devices(&corpus)?;
    println!(
        "left out: {foreign} frames that are no Ethernet or below {MIRRORED_OCTETS_MIN} octets, {giant} above {JUMBO_OCTETS_MAX}"
    );
    assert!(frames.len() > 100_000);
    assert!((foreign + giant) * 20 < frames.len() as u64, "hardly any frame is left out");
    let compared = live_equals_replay(Lab::span(JUMBO_MTU)?, frames, |_| 0)?;
    assert!(compared.rows > 5000 && compared.tcp > 1000, "{compared:?}");
    assert!(compared.exact * 10 >= compared.tcp * 9, "most repeats are compared: {compared:?}");
    Ok(())
}

/// VLAN, QinQ, IPv6, fragments.
#[test]
fn live_scene_equals_replay() -> Result<()> {
    if !harness::root() {
        return Ok(());
    }
    let frames: Vec<SceneFrame> = Scene::new(11, SceneSize::default()).frames().collect();
    let compared = live_equals_replay(Lab::span(MTU)?, frames, |_| 0)?;
    assert!(compared.rows > 300 && compared.exact * 10 >= compared.tcp * 9, "{compared:?}");
    Ok(())
}

/// The same through a link that carries frames of several pages.
#[test]
fn live_jumbo_scene_equals_replay() -> Result<()> {
    if !harness::root() {
        return Ok(());
    }
    let frames: Vec<SceneFrame> = Scene::new(12, SceneSize { jumbo: true, ..SceneSize::SHORT }).frames().collect();
    assert_eq!(frames.iter().map(|frame| frame.octets.len()).max(), Some(9018));
    live_equals_replay(Lab::span(JUMBO_MTU)?, frames, |_| 0)?;
    Ok(())
}

#[test]
fn live_two_taps_make_two_sided_flows() -> Result<()> {
    if !harness::root() {
        return Ok(());
    }
    let way = |frame: SceneFrame| SceneFrame { port: frame::direction(&frame.octets), ..frame };
    let frames: Vec<SceneFrame> = Scene::new(13, SceneSize::SHORT).frames().map(way).collect();
    let (lab, config) = (Arc::new(Lab::two_taps(MTU)?), stage::config());
    let folder = tempfile::tempdir()?;
    let (live, replayed, capture) = (folder.path().join("live"), folder.path().join("replay"), folder.path().join("sent.pcapng"));
    let sent = stage::meter(&lab, &config, &live, &frames.into())?;
    stage::write_pcapng(&capture, lab.taps(), &sent, |frame| frame.port)?;
    stage::replay(&config, &[capture], &replayed, None)?;
    let rows = stage::rows(&live)?;
    let compared = compare::same(&rows, &stage::rows(&replayed)?);
    println!("{} frames, {compared:?}", sent.len());
    let mut two_sided = 0;
    for row in &rows {
        let packets = |direction: &str| row[&format!("{direction}_packets")].as_u64().unwrap_or(0);
        if packets("forward") > 0 && packets("reverse") > 0 {
            let point = |direction: &str| row[&format!("{direction}_observation_point")].as_str().unwrap_or("").to_owned();
            let mut points = [point("forward"), point("reverse")];
            points.sort_unstable();
            assert_eq!(points, ["tap0", "tap1"], "each direction at its own tap: {row:?}");
            two_sided += 1;
        }
    }
    println!("{two_sided} of {} rows have two sides", rows.len());
    assert!(two_sided > 100);
    Ok(())
}

/// A small UDP datagram.
fn datagram() -> Vec<u8> {
    let pair = Pair::V4([10, 1, 0, 1].into(), [10, 2, 0, 2].into());
    let link = Link { target: [2, 0, 0, 0, 0, 2], source: [2, 0, 0, 0, 0, 1], tags: Vec::new() };
    let packet = &frame::packets(&Ip::new(pair, frame::UDP), &frame::udp(pair, [1, 4000], &[7; 18]), 1500)[0];
    frame::ethernet(&link, frame::ETHERTYPE_IPV4, packet)
}

/// Floods a tap until it has received at least `frames`.
fn flooded(config: &Config, frames: u64, flows: u32) -> Result<Outcome> {
    let lab = Lab::pair(MTU)?;
    let folder = tempfile::tempdir()?;
    let flood = Flood::new(&lab, 0, &datagram(), flows)?;
    let go = Shutdown::new();
    let outcome = thread::scope(|scope| {
        let play = || -> Result<Duration> {
            let mut elapsed = Duration::ZERO;
            let up = go.wait(UP_WITHIN);
            let calls = if up { 4 * frames / u64::from(FLOOD_FRAMES) } else { 0 };
            for _ in 0..calls {
                if stage::received(&lab)? >= frames {
                    break;
                }
                elapsed += flood.play(FLOOD_FRAMES)?;
            }
            Ok(elapsed)
        };
        let player = scope.spawn(play);
        let (mut last, mut quiet) = (0, 0);
        let outcome = stage::run(&lab, config, folder.path(), || {
            go.request();
            thread::sleep(Duration::from_millis(20));
            let received = stage::received(&lab).unwrap_or(0);
            quiet = if player.is_finished() && received == last { quiet + 1 } else { 0 };
            last = received;
            quiet > 10
        });
        let elapsed = player.join().map_err(|_| anyhow::anyhow!("the flood died"))??;
        println!("{:.2} million frames a second at the tap", last as f64 / elapsed.as_secs_f64() / 1e6);
        outcome
    })?;
    println!(
        "{} seen, {} metered, lost {:?}",
        outcome.summary.packets_seen, outcome.summary.packets_metered, outcome.summary.lost
    );
    assert!(outcome.summary.packets_seen >= frames);
    Ok(outcome)
}

#[test]
fn live_ten_million() -> Result<()> {
    if !harness::root() {
        return Ok(());
    }
    let outcome = flooded(&stage::config(), MANY, 1024)?;
    assert!(outcome.summary.flows >= 1024);
    Ok(())
}

/// Rings too small for what comes: packets are lost, and the ledger says how many and where.
#[test]
fn live_overload_is_named() -> Result<()> {
    if !harness::root() {
        return Ok(());
    }
    let mut config = stage::config();
    config.meter.ring_bytes = 32 << 10;
    let outcome = flooded(&config, 2_000_000, auscult::lab::FLOOD_FLOWS_MAX)?;
    assert!(outcome.summary.lost.get("ring_full").is_some_and(|lost| lost > 0), "{:?}", outcome.summary.lost);
    Ok(())
}
