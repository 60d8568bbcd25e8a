//! A small invented hospital: seed and size → labelled devices and their traffic, frame by frame in time order.
//!
//! The scene is what the demo plays, what tests know the truth about, and a load generator. The same seed and size give the
//! same octets on every machine. Stories ([`story`]) say what happens; each occurrence is played when its time comes, so memory
//! is bounded by what overlaps, whatever the length. The tap's position: a mirror of what enters the ports of an access switch whose
//! router sits inside, so each packet is seen once, in its sender's VLAN. Everything in it is invented; there are no people in it.

mod device;
pub mod frame;
mod payload;
mod random;
mod stage;
mod story;
mod talk;

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io::{self, Write},
    sync::Arc,
};

pub use device::{BRIDGE_PORTS, SceneDevice};
use random::Random;
use stage::{MICRO, SECOND, Stage};
use story::STORIES;

/// When the scene starts: 2026-01-05T08:00:00Z, in nanoseconds since 1970.
pub const SCENE_START_UNIX_NANOS: u64 = 1_767_600_000 * SECOND;

/// Longest frame of a scene without jumbo frames: MTU, Ethernet header and two tags.
pub const FRAME_OCTETS_MAX: usize = 1500 + 14 + 8;

/// Longest frame of a scene with jumbo frames.
pub const JUMBO_FRAME_OCTETS_MAX: usize = 9000 + 14 + 8;

/// How long and how busy a scene is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SceneSize {
    /// Length in seconds of scene time.
    pub seconds: u32,
    /// How often each story plays beside itself: the packet rate grows in proportion.
    pub load: u16,
    /// The storage network uses an MTU of 9,000.
    pub jumbo: bool,
}

impl SceneSize {
    /// Twenty seconds, some 8,000 frames: nearly every story has begun.
    pub const SHORT: Self = Self { seconds: 20, load: 1, jumbo: false };
}

/// Ninety seconds, some 33,000 frames, every story at least once.
impl Default for SceneSize {
    fn default() -> Self {
        Self { seconds: 90, load: 1, jumbo: false }
    }
}

/// One frame of the scene.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SceneFrame {
    /// Time since the scene's start, nanoseconds.
    pub at_nanos: u64,
    /// The frame without its check sequence.
    pub octets: Vec<u8>,
    /// Port of the switch by which it enters, below [`BRIDGE_PORTS`].
    pub port: usize,
}

/// A scene: its devices, and from them its frames.
#[derive(Clone, Debug)]
pub struct Scene {
    seed: u64,
    size: SceneSize,
    devices: Arc<[SceneDevice]>,
}

impl Scene {
    /// The scene of a seed and a size.
    pub fn new(seed: u64, size: SceneSize) -> Self {
        Self { seed, size, devices: device::inventory().into() }
    }

    /// The labelled devices. They do not depend on the seed.
    pub fn devices(&self) -> &[SceneDevice] {
        &self.devices
    }

    /// The size the scene was made with.
    pub const fn size(&self) -> SceneSize {
        self.size
    }

    /// The frames in time order.
    pub fn frames(&self) -> Frames {
        Frames::new(self)
    }

    /// Writes the scene as a pcap file with nanosecond times; returns the number of frames.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write_pcap(&self, mut to: impl Write) -> io::Result<u64> {
        let snap_octets = JUMBO_FRAME_OCTETS_MAX as u32;
        to.write_all(&0xa1b2_3c4d_u32.to_le_bytes())?;
        to.write_all(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
        to.write_all(&snap_octets.to_le_bytes())?;
        to.write_all(&1u32.to_le_bytes())?;
        let mut count = 0;
        for frame in self.frames() {
            let at = SCENE_START_UNIX_NANOS + frame.at_nanos;
            let length = frame.octets.len() as u32;
            for value in [(at / SECOND) as u32, (at % SECOND) as u32, length, length] {
                to.write_all(&value.to_le_bytes())?;
            }
            to.write_all(&frame.octets)?;
            count += 1;
        }
        to.flush()?;
        Ok(count)
    }
}

/// A story's next occurrence, ordered by time, then by place in the table.
type Turn = Reverse<(u64, usize, u16, u32)>;

/// A frame that waits for its time, ordered by time, then by when it was made.
struct Waiting {
    order: (u64, u64),
    frame: SceneFrame,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Waiting {}
impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.order.cmp(&self.order)
    }
}

/// The frames of a scene in time order.
pub struct Frames {
    scene: Scene,
    end: u64,
    turns: BinaryHeap<Turn>,
    waiting: BinaryHeap<Waiting>,
    made: u64,
    next_port: u16,
    played: Vec<SceneFrame>,
}

impl Frames {
    fn new(scene: &Scene) -> Self {
        let load = scene.size.load.max(1);
        let turns =
            (0..STORIES.len()).flat_map(|story| (0..load).map(move |copy| Reverse((start(story, copy, load), story, copy, 0))));
        let end = u64::from(scene.size.seconds) * SECOND;
        let turns = turns.filter(|Reverse((at, ..))| *at < end).collect();
        let scene = scene.clone();
        Self { scene, end, turns, waiting: BinaryHeap::new(), made: 0, next_port: 49_152, played: Vec::new() }
    }

    fn play(&mut self, (at, story, copy, turn): (u64, usize, u16, u32)) {
        let mix = self.scene.seed ^ (story as u64) << 48 ^ u64::from(copy) << 32 ^ u64::from(turn);
        let mut stage = Stage {
            devices: &self.scene.devices,
            random: Random::new(Random::new(mix).next()),
            end: self.end,
            storage_mtu: if self.scene.size.jumbo { 9000 } else { 1500 },
            next_port: &mut self.next_port,
            out: &mut self.played,
        };
        (STORIES[story].play)(&mut stage, at, turn);
        for frame in self.played.drain(..) {
            self.waiting.push(Waiting { order: (frame.at_nanos, self.made), frame });
            self.made += 1;
        }
        let every = STORIES[story].every;
        if every != 0 && at + every < self.end {
            self.turns.push(Reverse((at + every, story, copy, turn + 1)));
        }
    }
}

/// When a copy of a story first plays: copies share out the time between occurrences.
fn start(story: usize, copy: u16, load: u16) -> u64 {
    let Some(story) = STORIES.get(story) else { return u64::MAX };
    let spread = if story.every == 0 { u64::from(load) * 1700 * MICRO } else { story.every };
    story.first + spread * u64::from(copy) / u64::from(load)
}

impl Iterator for Frames {
    type Item = SceneFrame;

    fn next(&mut self) -> Option<SceneFrame> {
        // A story makes no frame before its own time, so what waits is final up to the next turn.
        while let Some(&Reverse(turn)) = self.turns.peek() {
            if self.waiting.peek().is_some_and(|waiting| waiting.order.0 < turn.0) {
                break;
            }
            self.turns.pop();
            self.play(turn);
        }
        self.waiting.pop().map(|waiting| waiting.frame)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// FNV-1a over times, ports and octets.
    fn digest(scene: &Scene) -> (u64, u64) {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut count = 0;
        for frame in scene.frames() {
            let head = [frame.at_nanos.to_le_bytes(), (frame.port as u64).to_le_bytes()].concat();
            for octet in head.iter().chain(&frame.octets) {
                hash = (hash ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3);
            }
            count += 1;
        }
        (hash, count)
    }

    #[test]
    fn same_seed_same_octets_other_seed_other_octets() {
        let one = digest(&Scene::new(1, SceneSize::SHORT));
        assert_eq!(one, digest(&Scene::new(1, SceneSize::SHORT)));
        assert_ne!(one.0, digest(&Scene::new(2, SceneSize::SHORT)).0);
    }

    #[test]
    fn frames_are_sound_in_order_and_on_a_port() {
        let scene = Scene::new(7, SceneSize::default());
        let (mut last, mut count, mut tags) = (0, 0, HashSet::new());
        for frame in scene.frames() {
            assert!(frame.at_nanos >= last && frame.at_nanos < 90 * SECOND);
            assert!(frame.port < BRIDGE_PORTS);
            assert!((frame::FRAME_OCTETS_MIN..=FRAME_OCTETS_MAX).contains(&frame.octets.len()));
            assert!(frame::is_sound(&frame.octets), "frame {count}: {:02x?}", frame.octets);
            tags.insert([frame.octets[12], frame.octets[13], frame.octets[16], frame.octets[17]]);
            last = frame.at_nanos;
            count += 1;
        }
        assert!((20_000..60_000).contains(&count), "{count} frames");
        assert!(tags.contains(&[0x88, 0xa8, 0x81, 0x00]));
    }

    #[test]
    fn every_device_but_none_unknown_speaks() {
        let scene = Scene::new(7, SceneSize::default());
        assert!(scene.devices().len() >= 40);
        let speakers: HashSet<[u8; 6]> = scene.frames().filter_map(|frame| frame.octets[6..12].try_into().ok()).collect();
        let known: HashSet<[u8; 6]> = scene.devices().iter().map(|device| device.mac.0).collect();
        assert_eq!(speakers, known);
    }

    #[test]
    fn load_multiplies_and_jumbo_is_long() {
        let size = SceneSize { seconds: 30, load: 1, jumbo: true };
        let one = Scene::new(3, size).frames().count();
        let three = Scene::new(3, SceneSize { load: 3, ..size });
        let many = three.frames().count();
        assert!(many > 2 * one && many < 4 * one, "{one} and {many}");
        assert_eq!(three.frames().map(|frame| frame.octets.len()).max(), Some(9014 + 4));
    }
}
