//! Dissect: samples → observations.
//!
//! Each protocol is recognised by what it says as well as by its port, and says only what [`crate::observation::Field`] lists. The parsers
//! take hostile octets: they read through [`reader::Reader`], allocate nothing but what passed a grammar, and cannot fail.

mod astm;
mod dicom;
mod hl7;
mod intellivue;
mod poct1a;
pub mod reader;
mod repeat;
mod say;
mod stream;
#[cfg(test)]
mod talk;

use std::hash::RandomState;

use auscult_ebpf::record::{FORM_ETHERNET, SampleHead};

pub use self::{
    say::{Say, Who},
    stream::{Conversation, Lead, Opening, Step, StreamCounts, Streams},
};
use self::repeat::Repeats;
use crate::observation::{Observation, Protocol};

/// A datagram, an ICMPv6 message or the payload of a frame that is not IP.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Behind the UDP header, behind the ICMPv6 header's four octets of type, code and checksum, or behind the ethertype (of 802.3 frames: from LLC on).
    pub payload: &'a [u8],
    /// All of the payload is there.
    pub whole: bool,
    /// Source port, or ICMPv6 type.
    pub source_port: u16,
    /// Target port, or ICMPv6 code.
    pub target_port: u16,
    /// Ethertype of frames that are not IP; zero for 802.3 frames.
    pub ethertype: u16,
}

impl Packet<'_> {
    /// One of the ports is one of those.
    pub fn is_on(&self, ports: &[u16]) -> bool {
        ports.contains(&self.source_port) || ports.contains(&self.target_port)
    }
}

/// Reads a datagram, if it is the protocol's; whether it is.
type ReadPacket = fn(&Packet<'_>, &mut Say<'_>) -> bool;
/// Says whether an opening is the protocol's.
type OpenStream = fn(&Lead<'_>) -> Opening;

/// Protocols over UDP, in the order in which they are asked: those that a content test tells for certain come first.
const DATAGRAMS: &[(Protocol, ReadPacket)] = &[(Protocol::Intellivue, intellivue::read)];
/// Protocols in frames that are not IP.
const FRAMES: &[(Protocol, ReadPacket)] = &[];
/// Protocols over TCP, in the order in which they are asked.
const STREAMS: &[(Protocol, OpenStream)] = &[
    (Protocol::Dicom, dicom::open),
    (Protocol::Hl7, hl7::open),
    (Protocol::Astm, astm::open),
    (Protocol::Poct, poct1a::open),
];

/// All dissectors and what they remember.
pub struct Dissector {
    streams: Streams,
    salt: RandomState,
    repeats: Repeats,
    recognised: [u64; Protocol::ALL.len()],
    unknown: u64,
}

impl Default for Dissector {
    fn default() -> Self {
        Self::new(RandomState::new())
    }
}

impl Dissector {
    /// Nothing was met yet. `salt` hashes identifiers that must not be known.
    pub fn new(salt: RandomState) -> Self {
        Self { streams: Streams::default(), salt, repeats: Repeats::default(), recognised: [0; Protocol::ALL.len()], unknown: 0 }
    }

    /// Samples by the protocol that they were recognised as.
    pub fn recognised(&self) -> impl Iterator<Item = (Protocol, u64)> {
        Protocol::ALL.iter().copied().zip(self.recognised)
    }

    /// Samples that no protocol knew.
    pub const fn unknown(&self) -> u64 {
        self.unknown
    }

    /// What the assembler did.
    pub const fn streams(&self) -> StreamCounts {
        self.streams.counts()
    }

    /// Reads a sample; appends what it says to `out`, but for what was said a moment ago.
    pub fn take(&mut self, head: &SampleHead, payload: &[u8], out: &mut Vec<Observation>) {
        let from = out.len();
        let known = self.read(head, payload, out);
        match known {
            Some(protocol) => self.recognised[protocol as usize] += 1,
            None => self.unknown += 1,
        }
        self.repeats.leave_out(out, from);
    }

    fn read(&mut self, head: &SampleHead, payload: &[u8], out: &mut Vec<Observation>) -> Option<Protocol> {
        let mut say = Say::new(head, &self.salt, out);
        if head.key.protocol == TCP {
            return self.streams.take(head, payload, &mut say);
        }
        let sender = say.sender();
        // The key of ICMPv6 has type and code in place of ports, whichever end sent it.
        let ports = if head.key.protocol == ICMPV6 { [0, 1] } else { [sender, 1 - sender] };
        let packet = Packet {
            payload,
            whole: usize::from(head.payload_octets) == payload.len(),
            source_port: head.key.port[ports[0]],
            target_port: head.key.port[ports[1]],
            ethertype: if head.key.form == FORM_ETHERNET { head.key.scope } else { 0 },
        };
        let readers = if head.key.form == FORM_ETHERNET { FRAMES } else { DATAGRAMS };
        readers.iter().find(|(_, read)| read(&packet, &mut say)).map(|(protocol, _)| *protocol)
    }
}

const TCP: u8 = 6;
const ICMPV6: u8 = 58;
