//! TCP conversations: samples of both directions in, leading octets in order out to the protocol that knows them.
//!
//! The assembler is bounded in conversations, octets and time; a gap is told to the protocol, which may go on behind it. Octets are
//! zeroed as soon as they are read (PRIVACY-1).

use std::collections::HashMap;

use auscult_ebpf::record::SampleHead;
use zeroize::Zeroize;

use super::{STREAMS, Say};
use crate::observation::Protocol;

/// Conversations that are followed at a time. With nothing held a conversation takes some 300 octets.
pub const STREAMS_MAX: usize = 1 << 16;
/// Octets of one direction that wait to be read: the budget of the sampler fits.
pub const HELD_MAX: usize = 16 << 10;
/// Octets of all conversations that wait to be read.
pub const HELD_SUM_MAX: usize = 64 << 20;
/// Segments of a direction that wait for one before them.
const EARLY_MAX: usize = 8;
/// A conversation that was silent for so long is forgotten (ns).
const SILENT_NANOS: u64 = 120_000_000_000;
/// A segment so far from where its direction is belongs to another connection.
const ANOTHER: i32 = 1 << 24;
/// Octets after which an unknown opening stays unknown.
const OPENING_MAX: usize = 512;

/// Memory of all conversations.
pub const fn memory_bound() -> u64 {
    (HELD_SUM_MAX + STREAMS_MAX * (2 * size_of::<Stream>() + CONVERSATION_BYTES)) as u64
}

/// What a protocol remembers of a conversation, as a rule.
const CONVERSATION_BYTES: usize = 512;

/// What a conversation needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many of the octets are read, and are not shown again. Zero: more must come first.
    Read(usize),
    /// Nothing more is to be learnt from this direction.
    Enough,
}

/// A protocol's half of a conversation: it remembers what it needs, and reads each direction in order.
pub trait Conversation: Send {
    /// Reads what the end `from` (0: low, 1: high) has said and is not read yet. Called again as long as it reads something.
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step;

    /// The next `octets` octets of that direction are lost; what is not read of it goes with them. Whether the protocol can go on behind them.
    fn gap(&mut self, _from: usize, _octets: u32) -> bool {
        false
    }
}

/// Whether an opening is a protocol's.
pub enum Opening {
    /// It is not.
    No,
    /// More octets must come first.
    More,
    /// It is.
    Yes(Box<dyn Conversation>),
}

/// What an opening is recognised by: the first octets that an end sent.
#[derive(Clone, Copy, Debug)]
pub struct Lead<'a> {
    /// Them.
    pub octets: &'a [u8],
    /// The end (0: low, 1: high) that sent them.
    pub from: usize,
    /// Ports of both ends.
    pub ports: [u16; 2],
    /// Nothing more will come before the protocol must be known.
    pub last: bool,
}

impl Lead<'_> {
    /// One of the ends has one of those ports.
    pub fn is_on(&self, ports: &[u16]) -> bool {
        self.ports.iter().any(|port| ports.contains(port))
    }

    /// The end that is likelier the server: it has the lower port.
    pub const fn likely_server(&self) -> usize {
        if self.ports[1] < self.ports[0] { 1 } else { 0 }
    }

    /// [`Opening::More`] while more may come, otherwise [`Opening::No`].
    pub const fn more(&self) -> Opening {
        if self.last { Opening::No } else { Opening::More }
    }
}

/// How far a conversation is known.
enum Known {
    /// Not yet.
    No,
    /// By that protocol.
    As(Protocol, Box<dyn Conversation>),
    /// It will stay unknown, or nothing more is to be learnt: only its being there is kept, so that it is not begun anew amid.
    Never,
}

#[derive(Default)]
struct Way {
    /// Sequence number behind what is held; `None` before the first segment.
    next: Option<u32>,
    /// In order, not read yet.
    held: Vec<u8>,
    /// Behind a gap: sequence number and octets.
    early: Vec<(u32, Vec<u8>)>,
    /// Something of this direction was read.
    read: bool,
    enough: bool,
}

impl Way {
    fn octets(&self) -> usize {
        self.held.len() + self.early.iter().map(|(_, octets)| octets.len()).sum::<usize>()
    }

    fn wipe(&mut self) -> usize {
        let octets = self.octets();
        self.held.zeroize();
        // Its room is not counted as held.
        self.held = Vec::new();
        self.early.iter_mut().for_each(|(_, octets)| octets.zeroize());
        self.early.clear();
        octets
    }
}

struct Stream {
    known: Known,
    ways: [Way; 2],
    last_at: u64,
}

impl Stream {
    fn wipe(&mut self) -> usize {
        self.ways.iter_mut().map(Way::wipe).sum()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// What was done, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounts {
    /// Conversations met.
    pub opened: u64,
    /// Conversations that could not be followed, because there were too many.
    pub refused: u64,
    /// Gaps that were told.
    pub gaps: u64,
}

/// All conversations.
#[derive(Default)]
pub struct Streams {
    /// By the words of the flow key, under a secret hash.
    streams: HashMap<[u64; 5], Stream>,
    held: usize,
    swept_at: u64,
    counts: StreamCounts,
}

impl Streams {
    /// What was done so far.
    pub const fn counts(&self) -> StreamCounts {
        self.counts
    }

    /// Conversations that are followed.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// None is.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Zeroes what is held and forgets every conversation.
    pub fn clear(&mut self) {
        self.streams.clear();
        self.held = 0;
        self.swept_at = 0;
    }

    /// Takes a sample of a TCP conversation. Which protocol it is of, if that is known.
    pub fn take(&mut self, head: &SampleHead, payload: &[u8], say: &mut Say<'_>) -> Option<Protocol> {
        if head.at.saturating_sub(self.swept_at) > SILENT_NANOS / 8 {
            self.sweep(head.at);
        }
        let known = self.streams.get(head.key.words()).map(Stream::held);
        if known.is_none() {
            if self.streams.len() >= STREAMS_MAX || self.held >= HELD_SUM_MAX {
                self.counts.refused += 1;
                return None;
            }
            self.counts.opened += 1;
        }
        let stream = self.streams.entry(*head.key.words()).or_insert_with(|| Stream::new(head.at));
        let gaps = stream.take(head, payload, say);
        self.held = (self.held + stream.held()).saturating_sub(known.unwrap_or(0));
        self.counts.gaps += gaps;
        match &stream.known {
            Known::As(protocol, _) => Some(*protocol),
            Known::No | Known::Never => None,
        }
    }

    /// Forgets what was silent for long.
    fn sweep(&mut self, now: u64) {
        self.swept_at = now;
        let mut freed = 0;
        self.streams.retain(|_, stream| {
            let stays = now.saturating_sub(stream.last_at) <= SILENT_NANOS;
            if !stays {
                freed += stream.wipe();
            }
            stays
        });
        self.held = self.held.saturating_sub(freed);
    }
}

impl Stream {
    fn new(at: u64) -> Self {
        Self { known: Known::No, ways: [Way::default(), Way::default()], last_at: at }
    }

    /// Octets that wait to be read.
    fn held(&self) -> usize {
        self.ways.iter().map(Way::octets).sum()
    }

    /// How many gaps were told.
    fn take(&mut self, head: &SampleHead, payload: &[u8], say: &mut Say<'_>) -> u64 {
        self.last_at = self.last_at.max(head.at);
        let from = usize::from(head.header.packets[0] & 1);
        let next = *self.ways[from].next.get_or_insert(head.sequence);
        let ahead = head.sequence.wrapping_sub(next).cast_signed();
        if !(-ANOTHER..=ANOTHER).contains(&ahead) {
            *self = Self::new(head.at);
            self.ways[from].next = Some(head.sequence);
        }
        if matches!(self.known, Known::Never) || self.ways[from].enough {
            return 0;
        }
        // What the record could not hold is lost: nothing will come in its place.
        let is_cut = head.length < head.payload_octets;
        let mut gaps = 0;
        if self.place(from, head.sequence, payload) {
            gaps += u64::from(self.go_on(from, say));
        }
        if is_cut || self.ways[from].early.len() > EARLY_MAX {
            let lost_to = self.ways[from].early.iter().map(|(sequence, _)| *sequence).min_by_key(|s| s.wrapping_sub(next));
            let end = head.sequence.wrapping_add(u32::from(head.payload_octets));
            gaps += u64::from(self.leap(from, lost_to.unwrap_or(end), say));
        }
        gaps
    }

    /// Puts a segment where it belongs; whether there is more to read now.
    fn place(&mut self, from: usize, sequence: u32, payload: &[u8]) -> bool {
        let way = &mut self.ways[from];
        let Some(next) = way.next else { return false };
        let ahead = sequence.wrapping_sub(next).cast_signed();
        if ahead > 0 {
            if !way.early.iter().any(|(there, octets)| *there == sequence && octets.len() >= payload.len()) {
                way.early.push((sequence, payload.to_vec()));
            }
            return false;
        }
        let known_octets = ahead.unsigned_abs() as usize;
        if known_octets >= payload.len() {
            // Before what came first, though it was sent first.
            let start = next.wrapping_sub(way.held.len() as u32);
            if !way.read && sequence.wrapping_add(payload.len() as u32) == start {
                let mut joined = Vec::with_capacity(payload.len() + way.held.len());
                joined.extend_from_slice(payload);
                joined.extend_from_slice(&way.held);
                way.held.zeroize();
                way.held = joined;
                return true;
            }
            return false;
        }
        let new = &payload[known_octets..];
        push(way, new);
        true
    }

    /// Reads as far as there is no gap; whether it met one that no segment will fill.
    fn go_on(&mut self, from: usize, say: &mut Say<'_>) -> bool {
        loop {
            self.read(from, say);
            let way = &mut self.ways[from];
            let Some(next) = way.next else { return false };
            let Some(place) = way.early.iter().position(|(sequence, _)| sequence.wrapping_sub(next).cast_signed() <= 0) else {
                return false;
            };
            let (sequence, mut octets) = way.early.swap_remove(place);
            let known_octets = sequence.wrapping_sub(next).cast_signed().unsigned_abs() as usize;
            if let Some(new) = octets.get(known_octets..) {
                push(way, new);
            }
            octets.zeroize();
        }
    }

    /// Goes on at `to`: what is before it is lost.
    fn leap(&mut self, from: usize, to: u32, say: &mut Say<'_>) -> bool {
        let way = &mut self.ways[from];
        let Some(next) = way.next else { return false };
        let lost = to.wrapping_sub(next);
        if lost.cast_signed() <= 0 {
            return false;
        }
        let unread = way.held.len() as u32;
        way.held.zeroize();
        way.next = Some(to);
        way.read = true;
        let goes_on = match &mut self.known {
            Known::As(_, conversation) => conversation.gap(from, unread.saturating_add(lost)),
            Known::No | Known::Never => false,
        };
        if goes_on {
            self.go_on(from, say);
        } else {
            self.enough(from);
        }
        true
    }

    fn enough(&mut self, from: usize) {
        self.ways[from].wipe();
        self.ways[from].enough = true;
        if self.ways.iter().all(|way| way.enough) {
            self.known = Known::Never;
        }
    }

    fn read(&mut self, from: usize, say: &mut Say<'_>) {
        if matches!(self.known, Known::No) && !self.recognise(say) {
            return;
        }
        // Who spoke before the protocol was known is read first.
        for from in [1 - from, from] {
            self.read_way(from, say);
        }
    }

    fn read_way(&mut self, from: usize, say: &mut Say<'_>) {
        let Known::As(_, conversation) = &mut self.known else { return };
        let way = &mut self.ways[from];
        while !way.held.is_empty() && !way.enough {
            match conversation.read(from, &way.held, say) {
                Step::Read(0) => break,
                Step::Read(octets) => {
                    let octets = octets.min(way.held.len());
                    way.held[..octets].zeroize();
                    way.held.drain(..octets);
                    // What moved to the front is still behind the end.
                    wipe_spare(&mut way.held);
                    if way.held.is_empty() {
                        way.held = Vec::new();
                    }
                    way.read = true;
                }
                Step::Enough => way.enough = true,
            }
        }
        if way.enough || way.held.len() >= HELD_MAX {
            self.enough(from);
        }
    }

    /// Asks every protocol whether the opening is its own; whether one said so.
    fn recognise(&mut self, say: &Say<'_>) -> bool {
        let ports = [say.port(0), say.port(1)];
        let mut may_come = false;
        for from in [say.sender(), 1 - say.sender()] {
            let octets = &self.ways[from].held;
            if octets.is_empty() {
                continue;
            }
            let lead = Lead { octets, from, ports, last: octets.len() >= OPENING_MAX };
            for (protocol, open) in STREAMS {
                match open(&lead) {
                    Opening::No => {}
                    Opening::More => may_come = true,
                    Opening::Yes(conversation) => {
                        self.known = Known::As(*protocol, conversation);
                        return true;
                    }
                }
            }
        }
        if !may_come && self.ways.iter().any(|way| way.held.len() >= OPENING_MAX) {
            self.known = Known::Never;
            self.wipe();
        }
        false
    }
}

/// Appends in order, as far as there is room.
fn push(way: &mut Way, octets: &[u8]) {
    let room = HELD_MAX.saturating_sub(way.held.len());
    if way.held.capacity() < way.held.len() + octets.len() {
        // A vector that grows leaves its octets where they were: they are moved by hand, and zeroed.
        let mut larger = Vec::with_capacity((way.held.len() + octets.len()).next_power_of_two().min(2 * HELD_MAX));
        larger.extend_from_slice(&way.held);
        way.held.zeroize();
        way.held = larger;
    }
    way.held.extend_from_slice(&octets[..octets.len().min(room)]);
    way.next = way.next.map(|next| next.wrapping_add(octets.len() as u32));
}

/// Zeroes what is behind a vector's end.
fn wipe_spare(octets: &mut Vec<u8>) {
    octets.spare_capacity_mut().iter_mut().for_each(|octet| {
        octet.write(0);
    });
}
