//! The laboratory, really made: what is played comes out at the tap, each frame once, octet by octet; and nothing stays behind.
#![expect(clippy::disallowed_methods, reason = "a deadline bounds how long a test waits")]

use std::{
    panic,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use auscult::{
    lab::{JUMBO_MTU, Lab, MTU, Pace, Played, Player, sweep},
    scene::{Scene, SceneFrame, SceneSize, frame},
};
use harness::tap::TapSocket;

/// How long the tap may be silent before the rest counts as missing.
const PATIENCE: Duration = Duration::from_secs(5);

fn is_possible() -> bool {
    let possible = harness::root();
    if !possible {
        harness::skip("network namespaces need root");
    }
    possible
}

fn open(lab: &Lab, tap: &str) -> anyhow::Result<TapSocket> {
    lab.tap().run(|| TapSocket::open(tap))?
}

/// Plays a scene and checks that the tap hears all of it, in order, and nothing else.
fn check(lab: &Lab, scene: &Scene) -> anyhow::Result<Played> {
    let mut tap = open(lab, "tap0")?;
    let sent: Vec<SceneFrame> = scene.frames().collect();
    let player = Player::start(lab, sent.clone(), Pace::Unpaced, u64::MAX, Some(0))?;
    let heard = tap.frames(sent.len(), PATIENCE)?;
    let played = player.join()?;
    assert_eq!(played.frames, sent.len() as u64);
    assert_eq!(played.octets, sent.iter().map(|frame| frame.octets.len() as u64).sum::<u64>());
    assert_eq!(tap.dropped()?, 0);
    assert_eq!(heard.len(), sent.len());
    let differs = sent.iter().zip(&heard).position(|(sent, heard)| sent.octets != *heard);
    assert_eq!(differs, None, "first frame that differs");
    assert!(tap.frames(1, Duration::from_millis(100))?.is_empty());
    assert_eq!(tap.outgoing, 0);
    let traffic = lab.tap_traffic("tap0")?;
    assert_eq!((traffic.received, traffic.transmitted), (played.frames, 0));
    println!("{} frames, {:.0} a second", played.frames, played.frames as f64 / played.elapsed.as_secs_f64());
    Ok(played)
}

#[test]
fn the_mirror_shows_every_frame_once() -> anyhow::Result<()> {
    if !is_possible() {
        return Ok(());
    }
    let scene = Scene::new(5, SceneSize::SHORT);
    assert!(scene.frames().any(|frame| frame.octets[12..14] == [0x88, 0xa8]));
    assert!(scene.frames().any(|frame| frame.octets[12..14] == [0x81, 0x00]));
    check(&Lab::span(MTU)?, &scene)?;
    Ok(())
}

#[test]
fn the_mirror_carries_jumbo_frames() -> anyhow::Result<()> {
    if !is_possible() {
        return Ok(());
    }
    let scene = Scene::new(5, SceneSize { jumbo: true, ..SceneSize::SHORT });
    assert_eq!(scene.frames().map(|frame| frame.octets.len()).max(), Some(9018));
    check(&Lab::span(JUMBO_MTU)?, &scene)?;
    Ok(())
}

#[test]
fn one_link_shows_every_frame_once() -> anyhow::Result<()> {
    if !is_possible() {
        return Ok(());
    }
    check(&Lab::pair(MTU)?, &Scene::new(6, SceneSize { seconds: 40, load: 2, jumbo: false }))?;
    Ok(())
}

#[test]
fn two_taps_hear_one_direction_each() -> anyhow::Result<()> {
    if !is_possible() {
        return Ok(());
    }
    let lab = Lab::two_taps(MTU)?;
    let frames = Scene::new(7, SceneSize::SHORT).frames();
    let sent: Vec<SceneFrame> = frames.map(|sent| SceneFrame { port: frame::direction(&sent.octets), ..sent }).collect();
    let mut taps = [open(&lab, "tap0")?, open(&lab, "tap1")?];
    Player::start(&lab, sent.clone(), Pace::Unpaced, u64::MAX, Some(0))?.join()?;
    for (port, tap) in taps.iter_mut().enumerate() {
        let expected: Vec<&[u8]> = sent.iter().filter(|frame| frame.port == port).map(|frame| &*frame.octets).collect();
        assert!(expected.len() > 1000);
        assert_eq!(tap.frames(expected.len(), PATIENCE)?, expected);
        assert_eq!(lab.tap_traffic(&lab.taps()[port])?.received, expected.len() as u64);
    }
    Ok(())
}

#[test]
fn pace_limit_and_stop() -> anyhow::Result<()> {
    if !is_possible() {
        return Ok(());
    }
    let lab = Lab::pair(MTU)?;
    let sent: Vec<SceneFrame> = Scene::new(8, SceneSize::SHORT).frames().take(2000).collect();
    let last = Duration::from_nanos(sent[1999].at_nanos);
    let played = Player::start(&lab, sent.clone(), Pace::Speed(10.0), 2000, None)?.join()?;
    assert_eq!(played.frames, 2000);
    assert!(played.elapsed >= last / 10, "{:?} for {last:?}", played.elapsed);
    let played = Player::start(&lab, sent.clone(), Pace::Unpaced, 123, None)?.join()?;
    assert_eq!(played.frames, 123);
    let endless = Player::start(&lab, sent.into_iter().cycle(), Pace::Unpaced, u64::MAX, None)?;
    let deadline = Instant::now() + PATIENCE;
    while endless.frames() < 5000 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    endless.stop();
    let played = endless.join()?;
    assert!(played.frames >= 5000);
    assert_eq!(lab.tap_traffic("tap0")?.received, 2000 + 123 + played.frames);
    Ok(())
}

#[test]
fn nothing_stays_behind() -> anyhow::Result<()> {
    if !is_possible() {
        return Ok(());
    }
    let paths = |lab: &Lab| [lab.site().path(), lab.tap().path()];
    let lab = Lab::pair(MTU)?;
    let made = paths(&lab);
    assert!(made.iter().all(|path| path.exists()));
    drop(lab);
    assert!(made.iter().all(|path| !path.exists()));
    let mut made: Option<[PathBuf; 2]> = None;
    let panicked = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        let lab = Lab::pair(MTU);
        made = lab.as_ref().ok().map(paths);
        assert!(lab.is_err(), "as intended");
    }));
    assert!(panicked.is_err());
    assert!(made.is_some_and(|paths| paths.iter().all(|path| !path.exists())));
    Ok(())
}

#[test]
fn leftovers_of_the_dead_are_swept() -> anyhow::Result<()> {
    if !is_possible() {
        return Ok(());
    }
    let mut child = Command::new("true").spawn()?;
    let dead = child.id();
    child.wait()?;
    let name = format!("auscult-lab-{dead}-0");
    anyhow::ensure!(Command::new("ip").args(["netns", "add", &name]).status()?.success());
    sweep()?;
    assert!(!PathBuf::from("/run/netns").join(name).exists());
    Ok(())
}

#[test]
fn a_frame_beyond_the_mtu_is_an_error() -> anyhow::Result<()> {
    if !is_possible() {
        return Ok(());
    }
    let lab = Lab::pair(MTU)?;
    let giant = SceneFrame { at_nanos: 0, octets: vec![0; 3000], port: 0 };
    let error = Player::start(&lab, [giant], Pace::Unpaced, 1, None)?.join();
    assert!(error.is_err_and(|error| error.to_string().starts_with("cannot send a frame of 3000 octets")));
    Ok(())
}
