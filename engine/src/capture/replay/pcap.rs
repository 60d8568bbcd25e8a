//! pcap: a file header, then records of a short header and a frame. One link type and one interface per file.
//!
//! Read are both byte orders, microseconds and nanoseconds, the extended header of the 1999 Linux patches (magic `a1b2cd34`),
//! the hardware-capture headers of Ixia (an extra word), and the two length fields in the order of versions before 2.3.

use super::{
    fault::Fault,
    head::{Head, Points},
    limit::frame_octets_max,
    window::{Window, u16_at, u32_at},
};

/// Which of a record's two lengths comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lengths {
    /// Captured, then original: version 2.4.
    CapturedFirst,
    /// Original, then captured: before version 2.3, and 543.0 of DG/UX.
    OriginalFirst,
    /// Version 2.3 was written both ways: the smaller one is captured.
    Smaller,
}

/// One pcap file past its header.
#[derive(Debug)]
pub(super) struct Pcap {
    big: bool,
    /// Nanoseconds of one unit of the fraction field.
    unit: u64,
    header: usize,
    lengths: Lengths,
    link_type: u32,
    frame_max: u32,
    interface: u32,
}

/// Magic numbers: (value, nanoseconds of the fraction's unit, octets of a record header, octets of the file header).
const MAGICS: [(u32, u64, usize, usize); 5] = [
    (0xa1b2_c3d4, 1000, 16, 24),
    (0xa1b2_3c4d, 1, 16, 24),
    (0xa1b2_cd34, 1000, 24, 24),
    (0x1c00_01ac, 1, 16, 28),
    (0x1c00_01ab, 1000, 16, 28),
];

/// The layout that a file's first four octets announce, and whether it is big-endian.
fn layout(start: &[u8]) -> Option<(u64, usize, usize, bool)> {
    let start = start.first_chunk::<4>()?;
    MAGICS.iter().find_map(|&(magic, unit, header, file)| {
        if *start == magic.to_le_bytes() {
            Some((unit, header, file, false))
        } else if *start == magic.to_be_bytes() {
            Some((unit, header, file, true))
        } else {
            None
        }
    })
}

impl Pcap {
    /// Whether the file is a pcap by its first octets.
    pub(super) fn is(start: &[u8]) -> bool {
        layout(start).is_some()
    }

    /// Reads the file header.
    pub(super) fn open(window: &mut Window, points: &mut Points<'_>) -> Result<Self, Fault> {
        let Some((unit, header, file, big)) = layout(window.ready()) else {
            return Err(Fault::NotCapture("no pcap magic".into()));
        };
        if !window.want(file)? {
            return Err(Fault::Truncated(0, "pcap file header"));
        }
        let octets = window.ready();
        let (major, minor) = (u16_at(octets, 4, big), u16_at(octets, 6, big));
        if major < 2 {
            return Err(Fault::Unsupported(4, format!("pcap version {major}.{minor}")));
        }
        let lengths = match (major, minor) {
            (2, 0..=2) | (543, _) => Lengths::OriginalFirst,
            (2, 3) => Lengths::Smaller,
            _ => Lengths::CapturedFirst,
        };
        // The upper half says how long a frame check sequence is; the link type is the lower half.
        let link_type = u32_at(octets, 20, big) & 0xffff;
        window.pass(file);
        let interface = points.add(0, None, link_type).ok_or_else(|| Points::too_many(0))?;
        Ok(Self { big, unit, header, lengths, link_type, frame_max: frame_octets_max(link_type), interface })
    }

    /// The next frame.
    #[inline(always)]
    pub(super) fn advance(&mut self, window: &mut Window) -> Result<Option<Head>, Fault> {
        if !window.want(self.header)? {
            let rest = window.ready().is_empty();
            return if rest { Ok(None) } else { Err(Fault::Truncated(window.offset(), "record header")) };
        }
        let octets = window.ready();
        let seconds = u32_at(octets, 0, self.big);
        let fraction = u32_at(octets, 4, self.big);
        let (mut captured, mut original) = (u32_at(octets, 8, self.big), u32_at(octets, 12, self.big));
        if self.lengths != Lengths::CapturedFirst && (self.lengths == Lengths::OriginalFirst || captured > original) {
            (captured, original) = (original, captured);
        }
        if captured > self.frame_max {
            let what = format!("a frame of {captured} octets, more than the {} that there can be", self.frame_max);
            return Err(Fault::Damaged(window.offset(), what));
        }
        if !window.want(self.header + captured as usize)? {
            return Err(Fault::Truncated(window.offset(), "record"));
        }
        window.pass(self.header);
        Ok(Some(Head {
            at: u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * self.unit,
            octets: window.pass(captured as usize),
            wire_octets: original.max(captured),
            link_type: self.link_type,
            interface: self.interface,
        }))
    }
}
