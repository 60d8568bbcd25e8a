//! Octets to a capture as some writer would write it: any format, byte order, clock, option and section. What the reader lends is what
//! was written, frame by frame.

use auscult::capture::replay::{
    Replay,
    limit::{INTERFACE_NAME_OCTETS_MAX, WIRE_OCTETS_MAX},
};
use std::io::Cursor;

use super::Octets;

/// Blocks or frames of one input.
const STEPS_MAX: usize = 100;
/// Link types of frames: Ethernet, raw IP, cooked, USB.
const LINKS: [u16; 4] = [1, 101, 276, 249];

/// The first octet says the format.
pub fn capture_written(octets: &[u8]) {
    let mut from = Octets(octets);
    let how = from.u8();
    let mut paper = Paper { big: how & 8 != 0, ..Paper::default() };
    match how & 7 {
        0..=4 => pcap(&mut paper, &mut from, usize::from(how & 7)),
        5 => snoop(&mut paper, &mut from),
        _ => PcapNg::new(&mut paper).write(&mut from),
    }
    paper.check();
}

/// A frame as the reader must lend it.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    at: u64,
    octets: Vec<u8>,
    wire_octets: u32,
    link_type: u32,
    interface: String,
}

/// The file and the frames in it.
#[derive(Default)]
struct Paper {
    big: bool,
    octets: Vec<u8>,
    frames: Vec<Frame>,
}

impl Paper {
    fn two(&mut self, value: u16) {
        self.octets.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
    }

    fn four(&mut self, value: u32) {
        self.octets.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
    }

    fn eight(&mut self, value: u64) {
        self.octets.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
    }

    fn pad(&mut self) {
        self.octets.resize(self.octets.len().next_multiple_of(4), 0);
    }

    fn check(self) {
        let length = self.octets.len() as u64;
        let mut replay = Replay::from_reader("the-file", Cursor::new(self.octets));
        for expect in &self.frames {
            let met = match replay.next_frame() {
                Ok(Some(frame)) => frame,
                other => panic!("{other:?} instead of {expect:?}"),
            };
            let (at, octets, wire_octets, link_type, interface) =
                (met.at, met.octets.to_vec(), met.wire_octets, met.link_type, met.interface as usize);
            let interface = replay.interfaces()[interface].name.to_string();
            assert_eq!(&Frame { at, octets, wire_octets, link_type, interface }, expect);
        }
        assert_eq!(replay.next_frame().map_err(|error| error.to_string()), Ok(None));
        assert_eq!(replay.progress().octets_read(), length);
    }
}

/// Captured octets and the length on the wire.
fn frame(from: &mut Octets<'_>) -> (Vec<u8>, u32) {
    let (length, more) = (from.u8(), from.u8());
    let octets = from.take(length.into()).to_vec();
    let more = if more == 255 { u32::MAX - 255 } else { u32::from(more) };
    let original = octets.len() as u32 + more;
    (octets, original)
}

fn pcap(paper: &mut Paper, from: &mut Octets<'_>, kind: usize) {
    let (magic, unit, extra, record) = [
        (0xa1b2_c3d4, 1000, 0, 0),
        (0xa1b2_3c4d, 1, 0, 0),
        (0xa1b2_cd34, 1000, 0, 8),
        (0x1c00_01ac, 1, 4, 0),
        (0x1c00_01ab, 1000, 4, 0),
    ][kind];
    let (link, version) = (LINKS[usize::from(from.u8() & 3)], from.u8() & 7);
    let (major, minor) = if version == 7 { (543, 0) } else { (2, u16::from(version).min(4)) };
    paper.four(magic);
    paper.two(major);
    paper.two(minor);
    paper.octets.extend([0; 8]);
    paper.four(65_535);
    paper.four(u32::from(link) | 0xf400_0000);
    paper.octets.extend(vec![0; extra]);
    for _ in 0..STEPS_MAX {
        if from.is_empty() {
            break;
        }
        let (seconds, fraction) = (from.u32(), from.u32());
        let (octets, original) = frame(from);
        paper.four(seconds);
        paper.four(fraction);
        let lengths = [octets.len() as u32, original];
        // Version 2.3 was written both ways.
        let swapped = minor < 3 || minor == 3 && fraction & 1 != 0;
        paper.four(lengths[usize::from(swapped)]);
        paper.four(lengths[usize::from(!swapped)]);
        paper.octets.extend(vec![0xbb; record]);
        paper.octets.extend(&octets);
        paper.frames.push(Frame {
            at: u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * unit,
            octets,
            wire_octets: original.min(WIRE_OCTETS_MAX),
            link_type: link.into(),
            interface: "if0".into(),
        });
    }
}

fn snoop(paper: &mut Paper, from: &mut Octets<'_>) {
    paper.big = true;
    paper.octets.extend(b"snoop\0\0\0");
    paper.four(2 + u32::from(from.u8() & 3));
    let (datalink, link_type) = [(0, 1), (4, 1), (8, 10), (26, 242)][usize::from(from.u8() & 3)];
    paper.four(datalink);
    for _ in 0..STEPS_MAX {
        if from.is_empty() {
            break;
        }
        let (seconds, micros, padding) = (from.u32(), from.u32(), from.u8());
        let (octets, original) = frame(from);
        // The format's own frames are short.
        let original = original.min(octets.len() as u32 + 254);
        let captured = octets.len() as u32;
        for word in [original, captured, 24 + captured + u32::from(padding), 0, seconds, micros] {
            paper.four(word);
        }
        paper.octets.extend(&octets);
        paper.octets.extend(vec![0xcc; padding.into()]);
        paper.frames.push(Frame {
            at: u64::from(seconds) * 1_000_000_000 + u64::from(micros) * 1000,
            octets,
            wire_octets: original,
            link_type,
            interface: "if0".into(),
        });
    }
}

/// An interface of the running section.
#[derive(Clone)]
struct Interface {
    link_type: u16,
    snap: u32,
    resolution: u8,
    offset: i64,
    name: String,
}

struct PcapNg<'a> {
    paper: &'a mut Paper,
    interfaces: Vec<Interface>,
    latest: u64,
}

impl<'a> PcapNg<'a> {
    fn new(paper: &'a mut Paper) -> Self {
        Self { paper, interfaces: Vec::new(), latest: 0 }
    }

    fn write(mut self, from: &mut Octets<'_>) {
        self.section(from);
        for _ in 0..STEPS_MAX {
            if from.is_empty() {
                break;
            }
            match from.u8() {
                0..=31 => self.section(from),
                32..=79 => self.interface(from),
                80..=159 => self.packet(from, 6),
                160..=191 => self.packet(from, 2),
                192..=223 => self.simple(from),
                // Name resolution, statistics, journal, secrets, custom, and what nobody knows.
                kind => {
                    let kind = [4, 5, 9, 10, 0xbad, 0x4000_0bad, 0x7f, 0x8000_0001][usize::from(kind & 7)];
                    let octets = value(from);
                    self.block(kind, |paper| paper.octets.extend(octets));
                }
            }
        }
    }

    /// A block: type, length, what `body` writes, padding, length.
    fn block(&mut self, kind: u32, body: impl FnOnce(&mut Paper)) {
        let start = self.paper.octets.len();
        self.paper.four(kind);
        self.paper.four(0);
        body(self.paper);
        self.paper.pad();
        let total = (self.paper.octets.len() - start + 4) as u32;
        self.paper.four(total);
        let total = if self.paper.big { total.to_be_bytes() } else { total.to_le_bytes() };
        self.paper.octets[start + 4..start + 8].copy_from_slice(&total);
    }

    /// The first octet: byte order, options, and whether the section says its length.
    fn section(&mut self, from: &mut Octets<'_>) {
        let how = from.u8();
        self.paper.big = how & 1 != 0;
        self.interfaces.clear();
        let options = options(from, usize::from(how >> 5));
        self.block(0x0a0d_0d0a, |paper| {
            paper.four(0x1a2b_3c4d);
            paper.two(1);
            paper.two(if how & 2 != 0 { 2 } else { 0 });
            paper.eight(if how & 4 != 0 { u64::MAX } else { 0 });
            write_options(paper, &options, how & 8 != 0);
        });
    }

    /// The first octet: link type, clock and name options, other options.
    fn interface(&mut self, from: &mut Octets<'_>) {
        let how = from.u8();
        let snap = [0, 1, 64, 65_535][usize::from(how >> 2 & 3)];
        let mut interface = Interface {
            link_type: LINKS[usize::from(how & 3)],
            snap,
            resolution: 6,
            offset: 0,
            name: format!("if{}", self.interfaces.len()),
        };
        let mut list = options(from, usize::from(how >> 7));
        if how & 16 != 0 {
            interface.resolution = from.u8();
            list.push((9, vec![interface.resolution]));
        }
        if how & 32 != 0 {
            interface.offset = i64::from_le_bytes(from.array());
            let offset = if self.paper.big { interface.offset.to_be_bytes() } else { interface.offset.to_le_bytes() };
            list.push((14, offset.to_vec()));
        }
        if how & 64 != 0 {
            let octets = value(from);
            if let Some(name) = name_of(&octets) {
                interface.name = name;
            }
            list.push((2, octets));
        }
        list.extend(options(from, usize::from(how >> 7)));
        let link_type = interface.link_type;
        self.block(1, |paper| {
            paper.two(link_type);
            paper.two(0);
            paper.four(snap);
            write_options(paper, &list, how & 4 != 0);
        });
        self.interfaces.push(interface);
    }

    fn packet(&mut self, from: &mut Octets<'_>, kind: u32) {
        if self.interfaces.is_empty() {
            return;
        }
        let number = usize::from(from.u8()) % self.interfaces.len();
        let stamp = u64::from_le_bytes(from.array());
        let (octets, original) = frame(from);
        let options = if kind == 6 { options(from, original as usize % 3) } else { Vec::new() };
        let captured = octets.len() as u32;
        self.block(kind, |paper| {
            if kind == 6 {
                paper.four(number as u32);
            } else {
                paper.two(number as u16);
                paper.two(77);
            }
            for word in [(stamp >> 32) as u32, stamp as u32, captured, original] {
                paper.four(word);
            }
            paper.octets.extend(&octets);
            paper.pad();
            write_options(paper, &options, original & 1 != 0);
        });
        let interface = self.interfaces[number].clone();
        self.latest = unix_nanos(stamp, interface.resolution, interface.offset);
        self.lend(interface, octets, original.min(WIRE_OCTETS_MAX));
    }

    fn simple(&mut self, from: &mut Octets<'_>) {
        let Some(interface) = self.interfaces.first().cloned() else { return };
        let (mut octets, _) = frame(from);
        let original = octets.len() as u32;
        if interface.snap != 0 {
            octets.truncate(interface.snap as usize);
        }
        self.block(3, |paper| {
            paper.four(original);
            paper.octets.extend(&octets);
        });
        self.lend(interface, octets, original);
    }

    fn lend(&mut self, interface: Interface, octets: Vec<u8>, wire_octets: u32) {
        let Interface { link_type, name, .. } = interface;
        self.paper.frames.push(Frame { at: self.latest, octets, wire_octets, link_type: link_type.into(), interface: name });
    }
}

/// An option's or block's octets.
fn value(from: &mut Octets<'_>) -> Vec<u8> {
    let length = from.u8();
    from.take(length.into()).to_vec()
}

/// Options that no reader of frames needs: comments, filters, hardware, custom ones.
fn options(from: &mut Octets<'_>, count: usize) -> Vec<(u16, Vec<u8>)> {
    (0..count).map(|_| ([1, 3, 12, 15, 2988, 19372][usize::from(from.u8()) % 6], value(from))).collect()
}

/// The options one behind the other, then the end of options or nothing: it may be left out.
fn write_options(paper: &mut Paper, options: &[(u16, Vec<u8>)], end: bool) {
    for (code, value) in options {
        paper.two(*code);
        paper.two(value.len() as u16);
        paper.octets.extend(value);
        paper.pad();
    }
    if end {
        paper.four(0);
    }
}

/// The name in an option: up to a zero octet, of bounded length.
fn name_of(octets: &[u8]) -> Option<String> {
    let end = octets.iter().position(|octet| *octet == 0).unwrap_or(octets.len()).min(INTERFACE_NAME_OCTETS_MAX);
    Some(String::from_utf8_lossy(&octets[..end]).into_owned()).filter(|name| !name.is_empty())
}

/// Units of the clock since its offset to nanoseconds since 1970, by the definition: negative powers of 2 or 10 of a second.
fn unix_nanos(stamp: u64, resolution: u8, offset: i64) -> u64 {
    let exponent = u32::from(resolution & 0x7f);
    let scaled = u128::from(stamp) * 1_000_000_000;
    let nanos = if resolution & 0x80 != 0 {
        scaled.checked_shr(exponent)
    } else {
        10_u128.checked_pow(exponent).and_then(|units| scaled.checked_div(units))
    };
    let nanos = nanos.unwrap_or(0) as i128 + i128::from(offset) * 1_000_000_000;
    nanos.clamp(0, i64::MAX.into()) as u64
}
