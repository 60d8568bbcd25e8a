//! pcapng: blocks. Sections may differ in byte order; each describes its interfaces, which may differ in link type and clock.
//!
//! Frames come from enhanced, simple and (obsolete) packet blocks; every block that is not needed is passed over. A simple
//! packet block has no time: its frame gets the time of the frame before it.

use std::sync::Arc;

use super::{
    fault::Fault,
    head::{Head, Points},
    limit::{BLOCK_OCTETS_MAX, INTERFACE_NAME_OCTETS_MAX, OPTION_OCTETS_MAX, frame_octets_max},
    stamp::Clock,
    window::{Window, u16_at, u32_at},
};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

const OPTION_END: u16 = 0;
const OPTION_IF_NAME: u16 = 2;
const OPTION_IF_TSRESOL: u16 = 9;
const OPTION_IF_TSOFFSET: u16 = 14;

/// Octets of a block's frame of type and two lengths.
const BLOCK_FRAME: u32 = 12;
/// Octets before the frame in an enhanced or obsolete packet block.
const PACKET_HEADER: u32 = 28;
/// Octets before the frame in a simple packet block.
const SIMPLE_HEADER: u32 = 12;

/// An interface of the current section.
#[derive(Debug)]
struct Interface {
    index: u32,
    link_type: u32,
    snap: u32,
    clock: Clock,
}

/// One pcapng file.
#[derive(Debug)]
pub(super) struct PcapNg {
    big: bool,
    interfaces: Vec<Interface>,
    /// Octets between the frame that was lent last and the next block.
    behind: usize,
    latest: u64,
}

impl PcapNg {
    /// Whether the file is a pcapng by its first twelve octets.
    pub(super) fn is(start: &[u8]) -> bool {
        u32_at(start, 0, false) == SECTION_HEADER
            && (u32_at(start, 8, false) == BYTE_ORDER_MAGIC || u32_at(start, 8, true) == BYTE_ORDER_MAGIC)
    }

    /// Whether a file this short may have been meant as a pcapng.
    pub(super) fn may_be(start: &[u8]) -> bool {
        start.len() >= 4 && u32_at(start, 0, false) == SECTION_HEADER
    }

    /// A file of which nothing was read yet.
    pub(super) fn open() -> Self {
        Self { big: false, interfaces: Vec::new(), behind: 0, latest: 0 }
    }

    /// The next frame; blocks on the way to it are taken in.
    #[inline(always)]
    pub(super) fn advance(&mut self, window: &mut Window, points: &mut Points<'_>) -> Result<Option<Head>, Fault> {
        window.pass(std::mem::take(&mut self.behind));
        loop {
            if !window.want(8)? {
                let rest = window.ready().is_empty();
                return if rest { Ok(None) } else { Err(Fault::Truncated(window.offset(), "block header")) };
            }
            match u32_at(window.ready(), 0, self.big) {
                ENHANCED_PACKET => return self.packet(window, false).map(Some),
                PACKET => return self.packet(window, true).map(Some),
                SIMPLE_PACKET => return self.simple_packet(window).map(Some),
                SECTION_HEADER => self.section(window)?,
                INTERFACE_DESCRIPTION => self.interface(window, points)?,
                _ => {
                    let total = self.total(window, BLOCK_FRAME, "block")?;
                    self.leave(window, total)?;
                }
            }
        }
    }

    /// The block's length, rounded up to the boundary of four that some writers forget.
    #[inline(always)]
    fn total(&self, window: &Window, least: u32, what: &str) -> Result<u32, Fault> {
        let total = u32_at(window.ready(), 4, self.big);
        if total < least || total > BLOCK_OCTETS_MAX {
            let what = format!("a {what} of {total} octets, where {least} to {BLOCK_OCTETS_MAX} are possible");
            return Err(Fault::Damaged(window.offset(), what));
        }
        Ok(total.next_multiple_of(4))
    }

    /// Holds the whole block in the window and compares its two lengths.
    #[inline(always)]
    fn whole(&self, window: &mut Window, total: u32) -> Result<(), Fault> {
        if !window.want(total as usize)? {
            return Err(Fault::Truncated(window.offset(), "block"));
        }
        self.agree(window.offset(), u32_at(window.ready(), 4, self.big), u32_at(window.ready(), total as usize - 4, self.big))
    }

    #[inline(always)]
    fn agree(&self, offset: u64, first: u32, last: u32) -> Result<(), Fault> {
        if first == last {
            return Ok(());
        }
        Err(Fault::Damaged(offset, format!("the block's two lengths differ ({first} and {last})")))
    }

    /// Passes over the block without holding it.
    fn leave(&self, window: &mut Window, total: u32) -> Result<(), Fault> {
        let offset = window.offset();
        let first = u32_at(window.ready(), 4, self.big);
        if !window.skip(u64::from(total) - 4)? || !window.want(4)? {
            return Err(Fault::Truncated(offset, "block"));
        }
        let last = u32_at(window.ready(), 0, self.big);
        window.pass(4);
        self.agree(offset, first, last)
    }

    /// Holds as much of the block as may carry its options, and says how much that is.
    fn beginning(&self, window: &mut Window, total: u32) -> Result<usize, Fault> {
        let held = total.min(OPTION_OCTETS_MAX);
        if !window.want(held as usize)? {
            return Err(Fault::Truncated(window.offset(), "block"));
        }
        Ok((held.min(total - 4)) as usize)
    }

    fn section(&mut self, window: &mut Window) -> Result<(), Fault> {
        if !window.want(28)? {
            return Err(Fault::Truncated(window.offset(), "section header"));
        }
        let octets = window.ready();
        self.big = match (u32_at(octets, 8, false), u32_at(octets, 8, true)) {
            (BYTE_ORDER_MAGIC, _) => false,
            (_, BYTE_ORDER_MAGIC) => true,
            (magic, _) => return Err(Fault::Damaged(window.offset(), format!("a section with the byte-order mark {magic:#x}"))),
        };
        let (major, minor) = (u16_at(octets, 12, self.big), u16_at(octets, 14, self.big));
        if major != 1 || !matches!(minor, 0 | 2) {
            return Err(Fault::Unsupported(window.offset(), format!("pcapng version {major}.{minor}")));
        }
        self.interfaces.clear();
        let total = self.total(window, 28, "section header")?;
        self.leave(window, total)
    }

    fn interface(&mut self, window: &mut Window, points: &mut Points<'_>) -> Result<(), Fault> {
        let total = self.total(window, 20, "interface description")?;
        let held = self.beginning(window, total)?;
        let octets = &window.ready()[..held];
        let link_type = u32::from(u16_at(octets, 8, self.big));
        let snap = u32_at(octets, 12, self.big);
        let (name, clock) = self.options(octets.get(16..).unwrap_or_default());
        let local = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        let index = points.add(local, name, link_type).ok_or_else(|| Points::too_many(window.offset()))?;
        self.leave(window, total)?;
        self.interfaces.push(Interface { index, link_type, snap, clock });
        Ok(())
    }

    /// An interface's name and clock. A malformed option ends the list: what was read before it counts.
    fn options(&self, mut octets: &[u8]) -> (Option<Arc<str>>, Clock) {
        let (mut name, mut resolution, mut offset) = (None, 6, 0);
        while octets.len() >= 4 {
            let (code, length) = (u16_at(octets, 0, self.big), usize::from(u16_at(octets, 2, self.big)));
            let Some(value) = octets.get(4..4 + length) else { break };
            match (code, value) {
                (OPTION_END, _) => break,
                (OPTION_IF_NAME, value) => name = text(value),
                (OPTION_IF_TSRESOL, &[value]) => resolution = value,
                (OPTION_IF_TSOFFSET, value) => {
                    if let Ok(field) = <[u8; 8]>::try_from(value) {
                        offset = if self.big { i64::from_be_bytes(field) } else { i64::from_le_bytes(field) };
                    }
                }
                _ => {}
            }
            octets = octets.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
        }
        (name, Clock::new(resolution, offset))
    }

    #[inline(always)]
    fn packet(&mut self, window: &mut Window, obsolete: bool) -> Result<Head, Fault> {
        let total = self.total(window, PACKET_HEADER + 4, "packet block")?;
        self.whole(window, total)?;
        let octets = window.ready();
        let number = if obsolete { u32::from(u16_at(octets, 8, self.big)) } else { u32_at(octets, 8, self.big) };
        let stamp = u64::from(u32_at(octets, 12, self.big)) << 32 | u64::from(u32_at(octets, 16, self.big));
        let (captured, original) = (u32_at(octets, 20, self.big), u32_at(octets, 24, self.big));
        let Some(interface) = self.interfaces.get(number as usize) else {
            return Err(no_interface(window.offset(), number));
        };
        let room = total - PACKET_HEADER - 4;
        if captured > room.min(frame_octets_max(interface.link_type)) {
            return Err(too_long(window.offset(), captured, total));
        }
        self.latest = interface.clock.unix_nanos(stamp);
        window.pass(PACKET_HEADER as usize);
        self.behind = (total - PACKET_HEADER - captured) as usize;
        Ok(Head {
            at: self.latest,
            octets: window.pass(captured as usize),
            wire_octets: original.max(captured),
            link_type: interface.link_type,
            interface: interface.index,
        })
    }

    fn simple_packet(&mut self, window: &mut Window) -> Result<Head, Fault> {
        let total = self.total(window, SIMPLE_HEADER + 4, "simple packet block")?;
        self.whole(window, total)?;
        let original = u32_at(window.ready(), 8, self.big);
        let Some(interface) = self.interfaces.first() else {
            return Err(no_interface(window.offset(), 0));
        };
        let captured = if interface.snap == 0 { original } else { original.min(interface.snap) };
        let room = total - SIMPLE_HEADER - 4;
        if captured > room.min(frame_octets_max(interface.link_type)) {
            return Err(too_long(window.offset(), captured, total));
        }
        window.pass(SIMPLE_HEADER as usize);
        self.behind = (total - SIMPLE_HEADER - captured) as usize;
        Ok(Head {
            at: self.latest,
            octets: window.pass(captured as usize),
            wire_octets: original,
            link_type: interface.link_type,
            interface: interface.index,
        })
    }
}

#[cold]
fn no_interface(offset: u64, number: u32) -> Fault {
    Fault::Damaged(offset, format!("a packet of interface {number}, which its section does not describe"))
}

#[cold]
fn too_long(offset: u64, captured: u32, total: u32) -> Fault {
    Fault::Damaged(offset, format!("a frame of {captured} octets in a packet block of {total}"))
}

/// An option's text without its padding; `None` when there is none.
fn text(value: &[u8]) -> Option<Arc<str>> {
    let value = value.split(|&octet| octet == 0).next().unwrap_or_default();
    let value = &value[..value.len().min(INTERFACE_NAME_OCTETS_MAX)];
    let text = String::from_utf8_lossy(value);
    if text.is_empty() { None } else { Some(text.as_ref().into()) }
}
