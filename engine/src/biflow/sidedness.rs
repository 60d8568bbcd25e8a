//! What the packets of one direction prove of the other one.

use auscult_ebpf::record::ICMP_REPLY;

use super::{
    community_id::Ports,
    entry::Entry,
    side::{HAS_SYN, SYN_IS_ACK, SideState},
};
use crate::sidedness::Sidedness;

/// Direction 0 had packets (shift by the direction).
const SEEN: u8 = 1;
/// A direction proves that the other one spoke.
const PROVEN: u8 = 4;

/// TCP control bit (RFC 9293 §3.1).
const ACK: u8 = 16;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;
/// ICMP requests whose reply is never sent unasked: echo, timestamp, information (RFC 792).
const ASKED_FOR: [u16; 3] = [8, 13, 15];
/// The same of ICMPv6: echo (RFC 4443), home agent address discovery (RFC 6275). Advertisements and reports come unasked as well.
const ASKED_FOR_6: [u16; 2] = [128, 144];
/// Port that DNS servers answer from (RFC 1035 §4.2.1).
const DNS: u16 = 53;
/// Octets of a DNS header, which every answer has.
const DNS_HEADER: u64 = 12;
/// Below are ports of services: what comes from such a port to such a port may go either way.
const PORTS_OF_CLIENTS: u16 = 1024;

/// What is known after the current segment, for the segments behind it.
pub(super) fn shown(entry: &Entry) -> u8 {
    let mut shown = entry.shown;
    for (d, side) in entry.side.iter().enumerate().filter(|(_, side)| side.packets > 0) {
        shown |= SEEN << d;
        if proves(entry, d, side) {
            shown |= PROVEN;
        }
    }
    shown
}

/// Of a flow up to the end of its current segment.
pub(super) fn sidedness(entry: &Entry) -> Sidedness {
    let shown = shown(entry);
    if shown & (SEEN | SEEN << 1) == SEEN | SEEN << 1 {
        Sidedness::TwoSided
    } else if shown & PROVEN != 0 {
        Sidedness::OneSided
    } else {
        Sidedness::Undecided
    }
}

/// Whether direction `d` can only be what it is because the other end spoke.
fn proves(entry: &Entry, d: usize, side: &SideState) -> bool {
    let key = &entry.key;
    if entry.is_tcp() {
        // A SYN acknowledges nothing, and an RST is also sent by those that answer for others. Every other segment acknowledges.
        let others = side.packets > u64::from(side.syn) + u64::from(side.rst);
        return side.control_bits & ACK != 0 && (others || side.is(HAS_SYN | SYN_IS_ACK));
    }
    match (Ports::of(key), key.protocol) {
        (Ports::Pair, ICMP) => side.control_bits & ICMP_REPLY != 0 && ASKED_FOR.contains(&key.port[0]),
        (Ports::Pair, ICMP6) => side.control_bits & ICMP_REPLY != 0 && ASKED_FOR_6.contains(&key.port[0]),
        (Ports::Transport, UDP) => {
            let answers = key.port[d] == DNS && key.port[1 - d] >= PORTS_OF_CLIENTS;
            answers && side.payload_octets >= DNS_HEADER * side.packets
        }
        _ => false,
    }
}
