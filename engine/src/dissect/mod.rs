//! Dissect: samples → observations.
//!
//! Each protocol is recognised by what it says as well as by its port, and says only what [`crate::observation::Field`] lists. The parsers
//! take hostile octets: they read through [`reader::Reader`], allocate nothing but what passed a grammar, and cannot fail.

mod arp;
mod asn1;
mod astm;
mod bacnet;
mod ber;
mod cdp;
mod coap;
mod dhcp;
mod dhcp6;
mod dhcp_vendor;
mod dicom;
mod dnp3;
mod dns;
mod dns_name;
mod enip;
mod ftp;
mod greeting;
mod heads;
mod hl7;
mod http;
mod intellivue;
mod ipp;
mod kerberos;
mod ldap;
mod lldp;
mod llmnr;
mod mdns;
mod modbus;
mod mqtt;
mod nd;
mod netbios;
mod ntp;
mod opcua;
mod pjl;
mod poct1a;
#[cfg(test)]
mod probe;
mod rdp;
pub mod reader;
mod repeat;
mod rtsp;
mod s7;
mod say;
mod sip;
mod skinny;
mod smb;
mod smtp;
mod snmp;
mod sql;
mod ssdp;
mod ssh;
mod stp;
mod stream;
mod syslog;
#[cfg(test)]
mod talk;
mod telnet;
mod tls;
#[cfg(test)]
mod trace;
#[cfg(test)]
mod trial;
mod wsd;

use std::hash::RandomState;

use auscult_ebpf::record::{FORM_ETHERNET, ICMP_REPLY, SampleHead};

use self::repeat::Repeats;
pub use self::{
    say::{Say, Who},
    stream::{Conversation, Lead, Opening, Step, StreamCounts, Streams, memory_bound},
};
use crate::observation::{Observation, Protocol};

/// A datagram, an ICMPv6 message or the payload of a frame that is not IP.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Behind the UDP header, behind the ICMPv6 header's four octets of type, code and checksum, or behind the ethertype (of 802.3
    /// frames: behind LLC or SNAP).
    pub payload: &'a [u8],
    /// All of the payload is there.
    pub whole: bool,
    /// Source port, ICMPv6 type, or the service access points of LLC.
    pub source_port: u16,
    /// Target port, ICMPv6 code (of paired types the other one), or the protocol identifier of SNAP.
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
const DATAGRAMS: &[(Protocol, ReadPacket)] = &[
    (Protocol::Dhcp, dhcp::read),
    (Protocol::Ssdp, ssdp::read),
    (Protocol::Wsd, wsd::read),
    (Protocol::Netbios, netbios::read),
    (Protocol::Mdns, mdns::read),
    (Protocol::Llmnr, llmnr::read),
    (Protocol::Bacnet, bacnet::read),
    (Protocol::Snmp, snmp::read),
    (Protocol::Sip, sip::read),
    (Protocol::Intellivue, intellivue::read),
    (Protocol::Enip, enip::read),
    (Protocol::Coap, coap::read),
    (Protocol::Kerberos, kerberos::read),
    (Protocol::Dnp3, dnp3::read),
    (Protocol::Ntp, ntp::read),
    (Protocol::Syslog, syslog::read),
    (Protocol::Dhcp6, dhcp6::read),
    (Protocol::Dns, dns::read),
];
/// Protocols over ICMPv6.
const MESSAGES: &[(Protocol, ReadPacket)] = &[(Protocol::Nd, nd::read)];
/// Protocols in frames that are not IP.
const FRAMES: &[(Protocol, ReadPacket)] =
    &[(Protocol::Arp, arp::read), (Protocol::Lldp, lldp::read), (Protocol::Cdp, cdp::read), (Protocol::Stp, stp::read)];
/// Protocols over TCP, in the order in which they are asked.
const STREAMS: &[(Protocol, OpenStream)] = &[
    (Protocol::Dicom, dicom::open),
    (Protocol::Hl7, hl7::open),
    (Protocol::Tls, tls::open),
    (Protocol::Http, http::open),
    (Protocol::Ssh, ssh::open),
    (Protocol::Smb, smb::open),
    (Protocol::Rdp, rdp::open),
    (Protocol::Ldap, ldap::open),
    (Protocol::Kerberos, kerberos::open),
    (Protocol::Sql, sql::open),
    (Protocol::Sip, sip::open),
    (Protocol::Rtsp, rtsp::open),
    (Protocol::Pjl, pjl::open),
    (Protocol::Zpl, pjl::open_label),
    (Protocol::Mqtt, mqtt::open),
    (Protocol::OpcUa, opcua::open),
    (Protocol::Dnp3, dnp3::open),
    (Protocol::S7, s7::open),
    (Protocol::Enip, enip::open),
    (Protocol::Skinny, skinny::open),
    (Protocol::Telnet, telnet::open),
    (Protocol::Ftp, ftp::open),
    (Protocol::Smtp, smtp::open),
    (Protocol::Modbus, modbus::open),
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

    /// The clock was set back: what is held belongs to another time.
    pub fn clock_step(&mut self) {
        self.streams.clear();
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
        let (is_frame, is_message) = (head.key.form == FORM_ETHERNET, head.key.protocol == ICMPV6);
        let [source_port, target_port] = match head.key.port {
            // The key of a pair of ICMPv6 types has the request's first, whichever this is.
            [request, reply] if is_message && head.control_bits & ICMP_REPLY != 0 => [reply, request],
            ports if is_frame || is_message || say.sender() == 0 => ports,
            [low, high] => [high, low],
        };
        let packet = Packet {
            payload,
            whole: usize::from(head.payload_octets) == payload.len(),
            source_port,
            target_port,
            ethertype: if is_frame { head.key.scope } else { 0 },
        };
        let readers = match head.key.protocol {
            _ if is_frame => FRAMES,
            ICMPV6 => MESSAGES,
            _ => DATAGRAMS,
        };
        readers.iter().find(|(_, read)| read(&packet, &mut say)).map(|(protocol, _)| *protocol)
    }
}

const TCP: u8 = 6;
const ICMPV6: u8 = 58;
