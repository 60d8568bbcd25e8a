//! snoop (RFC 1761): big-endian records of a Solaris capture. One link type and one interface per file.

use super::{
    fault::Fault,
    head::{Head, Points},
    limit::FRAME_OCTETS_MAX,
    window::{Window, u32_at},
};

const MAGIC: &[u8] = b"snoop\0\0\0";
const FILE_HEADER: usize = 16;
const RECORD_HEADER: u32 = 24;
/// Stands for datalink types that no LINKTYPE number is known for.
const LINK_TYPE_UNKNOWN: u32 = u32::MAX;

/// One snoop file past its header.
#[derive(Debug)]
pub(super) struct Snoop {
    link_type: u32,
    interface: u32,
}

impl Snoop {
    /// Whether the file is a snoop capture by its first octets.
    pub(super) fn is(start: &[u8]) -> bool {
        start.starts_with(MAGIC)
    }

    /// Reads the file header.
    pub(super) fn open(window: &mut Window, points: &mut Points<'_>) -> Result<Self, Fault> {
        if !window.want(FILE_HEADER)? {
            return Err(Fault::Truncated(0, "snoop file header"));
        }
        let version = u32_at(window.ready(), 8, true);
        if !(2..=5).contains(&version) {
            return Err(Fault::Unsupported(8, format!("snoop version {version}")));
        }
        let link_type = link_type(u32_at(window.ready(), 12, true));
        window.pass(FILE_HEADER);
        let interface = points.add(0, None, link_type).ok_or_else(|| Points::too_many(0))?;
        Ok(Self { link_type, interface })
    }

    /// The next frame.
    pub(super) fn advance(&mut self, window: &mut Window) -> Result<Option<Head>, Fault> {
        if !window.want(RECORD_HEADER as usize)? {
            let rest = window.ready().is_empty();
            return if rest { Ok(None) } else { Err(Fault::Truncated(window.offset(), "record header")) };
        }
        let offset = window.offset();
        let octets = window.ready();
        let [original, captured, record, seconds, micros] = [0, 4, 8, 16, 20].map(|at| u32_at(octets, at, true));
        if original > FRAME_OCTETS_MAX || captured > FRAME_OCTETS_MAX {
            let longest = original.max(captured);
            return Err(Fault::Damaged(offset, format!("a frame of {longest} octets, more than {FRAME_OCTETS_MAX}")));
        }
        let room = record.checked_sub(RECORD_HEADER);
        let Some(padding) = room.and_then(|room| room.checked_sub(captured)).filter(|&padding| padding <= FRAME_OCTETS_MAX)
        else {
            return Err(Fault::Damaged(offset, format!("a frame of {captured} octets in a record of {record}")));
        };
        // The padding belongs to the record: without it the record is not whole.
        if !window.want((RECORD_HEADER + captured + padding) as usize)? {
            return Err(Fault::Truncated(offset, "record"));
        }
        window.pass(RECORD_HEADER as usize);
        let octets = window.pass(captured as usize);
        window.pass(padding as usize);
        Ok(Some(Head {
            at: u64::from(seconds) * 1_000_000_000 + u64::from(micros) * 1000,
            octets,
            wire_octets: original.max(captured),
            link_type: self.link_type,
            interface: self.interface,
        }))
    }
}

/// The LINKTYPE number of a snoop datalink type.
fn link_type(datalink: u32) -> u32 {
    match datalink {
        0 | 4 => 1,
        2 => 6,
        8 => 10,
        16 => 122,
        18 => 123,
        26 => 242,
        0x8000_0005 => 226,
        _ => LINK_TYPE_UNKNOWN,
    }
}
