//! One capture file: finds out the format at the first call, then lends frame after frame.

use std::{
    io::{self, Read},
    sync::{Arc, atomic::AtomicU64},
};

use super::{
    RawFrame,
    fault::{Fault, ReplayError},
    head::{Head, Known, Points},
    limit::WIRE_OCTETS_MAX,
    pcap::Pcap,
    pcapng::PcapNg,
    snoop::Snoop,
    source::{Counted, Unpack, unpacked},
    window::Window,
};
use crate::flow::ObservationPoint;

/// The formats.
enum Format {
    /// Nothing was read yet.
    Unread(Box<dyn Read + Send>),
    Pcap(Pcap),
    PcapNg(PcapNg),
    Snoop(Snoop),
    /// A fault ended the file.
    Over,
}

/// One file.
pub(super) struct Reader {
    name: Arc<str>,
    window: Window,
    window_octets: usize,
    unpack: Unpack,
    format: Format,
    known: Known,
}

impl Reader {
    /// A file with these stored octets, which are counted in `count` as they are read.
    pub(super) fn new(
        name: Arc<str>,
        input: Box<dyn Read + Send>,
        count: Arc<AtomicU64>,
        window_octets: usize,
        unpack: Unpack,
    ) -> Self {
        let format = Format::Unread(Box::new(Counted { input, count }));
        let window = Window::new(Box::new(io::empty()), 0);
        Self { name, window, window_octets, unpack, format, known: Known::new() }
    }

    /// The next frame's head; its octets can be had from [`Reader::lend`] until the next call.
    #[inline(always)]
    pub(super) fn advance(&mut self, all: &mut Vec<ObservationPoint>) -> Result<Option<Head>, ReplayError> {
        let found = match &mut self.format {
            Format::Pcap(pcap) => pcap.advance(&mut self.window),
            Format::PcapNg(pcapng) => pcapng.advance(&mut self.window, &mut Points { all, known: &mut self.known }),
            Format::Snoop(snoop) => snoop.advance(&mut self.window),
            Format::Unread(_) => self.first(all),
            Format::Over => Ok(None),
        };
        found.map_err(|fault| self.end(fault))
    }

    /// The frame under a head.
    #[inline(always)]
    pub(super) fn lend(&self, head: Head) -> RawFrame<'_> {
        RawFrame {
            at: head.at,
            octets: self.window.lent(head.octets),
            wire_octets: head.wire_octets.min(WIRE_OCTETS_MAX),
            link_type: head.link_type,
            interface: head.interface,
        }
    }

    #[cold]
    fn end(&mut self, fault: Fault) -> ReplayError {
        self.format = Format::Over;
        fault.of(&self.name)
    }

    /// Finds out the format and reads the first frame.
    #[cold]
    fn first(&mut self, all: &mut Vec<ObservationPoint>) -> Result<Option<Head>, Fault> {
        let Format::Unread(input) = std::mem::replace(&mut self.format, Format::Over) else { return Ok(None) };
        let input = unpacked(input, self.unpack).map_err(|error| Fault::Read(0, error))?;
        self.window = Window::new(input, self.window_octets);
        // Enough for the longest magic; a shorter file has what it has.
        let whole = self.window.want(12)?;
        let start = self.window.ready();
        let points = &mut Points { all, known: &mut self.known };
        if Pcap::is(start) {
            let mut pcap = Pcap::open(&mut self.window, points)?;
            let head = pcap.advance(&mut self.window)?;
            self.format = Format::Pcap(pcap);
            Ok(head)
        } else if PcapNg::is(start) {
            let mut pcapng = PcapNg::open();
            let head = pcapng.advance(&mut self.window, points)?;
            self.format = Format::PcapNg(pcapng);
            Ok(head)
        } else if Snoop::is(start) {
            let mut snoop = Snoop::open(&mut self.window, points)?;
            let head = snoop.advance(&mut self.window)?;
            self.format = Format::Snoop(snoop);
            Ok(head)
        } else if !whole && !start.is_empty() && PcapNg::may_be(start) {
            Err(Fault::Truncated(0, "section header"))
        } else {
            Err(Fault::NotCapture(describe(start)))
        }
    }
}

/// What a file that is no capture starts with.
fn describe(start: &[u8]) -> String {
    if start.is_empty() {
        return "it is empty".into();
    }
    let octets: Vec<_> = start.iter().take(4).map(|octet| format!("{octet:02x}")).collect();
    format!("it starts with {}", octets.join(" "))
}
