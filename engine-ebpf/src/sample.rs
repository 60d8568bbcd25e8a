//! Sampler: which payload is worth carrying to userspace, and how much of it.
//!
//! A flow has a class by its first packet and a budget per direction; each class has a share of the ring's octets per tick and CPU that
//! no other class can use up. TCP gives nothing before an observed SYN, so what is sampled is the start of a conversation; on clinical
//! ports, an association or a message that begins a run will do, because a flood evicts slots that have seen the SYN.

use crate::{
    frame::Frame,
    limit::{SAMPLE_LARGE, SAMPLE_MEDIUM, SAMPLE_SMALL},
    parse::Packet,
    record::{FORM_ETHERNET, FORM_FRAGMENT, FORM_PORTLESS, Sample},
};

/// What a conversation's leading payload may tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Class {
    /// Not sampled.
    #[default]
    None = 0,
    /// ARP, LLDP, CDP, EAPOL, STP, PROFINET and other link-level announcements.
    Link = 1,
    /// DHCPv4, DHCPv6, BOOTP, ICMPv6 router and neighbour discovery.
    Address = 2,
    /// DNS, mDNS, LLMNR, NetBIOS names.
    Name = 3,
    /// SSDP, WS-Discovery, SNMP, BACnet, CoAP, syslog, NTP and other announcing or managing datagrams.
    Announce = 4,
    /// TCP conversations on the registered ports of DICOM and HL7/MLLP, or whose leading octets are theirs.
    Clinical = 5,
    /// Other TCP conversations whose SYN was seen.
    Stream = 6,
    /// Other UDP conversations.
    Datagram = 7,
}

impl Class {
    /// All classes, in counter order.
    pub const ALL: [Self; 8] =
        [Self::None, Self::Link, Self::Address, Self::Name, Self::Announce, Self::Clinical, Self::Stream, Self::Datagram];
    /// Counter cells in [`crate::record::Counters`].
    pub const CELLS: usize = 8;

    /// Whether the class of this number takes what no other does, so that a flood can have any number of its samples.
    #[inline(always)]
    pub const fn is_bulk(number: usize) -> bool {
        number >= Self::Stream as usize
    }

    /// The class's name in metrics, summaries and the lake.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Link => "link",
            Self::Address => "address",
            Self::Name => "name",
            Self::Announce => "announce",
            Self::Clinical => "clinical",
            Self::Stream => "stream",
            Self::Datagram => "datagram",
        }
    }
}

/// Octets of the ring for samples per tick and CPU, by class: what a flood of one class cannot take from the others.
pub const SHARES_DEFAULT: [u32; Class::CELLS] = [0, 64 << 10, 128 << 10, 256 << 10, 256 << 10, 1 << 20, 1 << 20, 256 << 10];

/// Octets that one run of a flow may give per direction, by class. All clients that have no address yet ask for one in one flow: there
/// the share alone is the bound. An association of DICOM with all its contexts takes up to 15 KiB before the first data.
const BUDGETS: [u16; Class::CELLS] = [0, 1504, UNOPENED - 1, 4096, 4096, 20_480, 4096, 1504];

/// What is left of the shares in the current tick. One per CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Shares {
    /// The tick after the one that they are of; zero: they are of none yet.
    pub after: u64,
    /// Octets of the ring left, by [`Class`].
    pub left: [u32; Class::CELLS],
}

impl Class {
    /// Octets per direction that a run of this class may give.
    #[inline(always)]
    pub const fn budget(self) -> u16 {
        BUDGETS[self as usize]
    }
}

/// Octets of the ring that a sample of `octets` octets takes: a share counts them, or a flood of samples of one octet each would take
/// many times its class's share. Without branches, each of which the verifier would follow through all that comes after.
#[inline(always)]
pub const fn ring_octets(octets: u32) -> u32 {
    const HEADER: u32 = 8;
    const SIZES: [u32; 3] = [
        size_of::<Sample<SAMPLE_SMALL>>() as u32,
        size_of::<Sample<SAMPLE_MEDIUM>>() as u32,
        size_of::<Sample<SAMPLE_LARGE>>() as u32,
    ];
    let beyond_small = (SAMPLE_SMALL as u32).wrapping_sub(octets) >> 31;
    let beyond_medium = (SAMPLE_MEDIUM as u32).wrapping_sub(octets) >> 31;
    HEADER + SIZES[0] + beyond_small * (SIZES[1] - SIZES[0]) + beyond_medium * (SIZES[2] - SIZES[1])
}

/// Class of a flow by its first packet. Ports only choose the share; they say nothing about what a device is.
#[inline(always)]
pub fn class_of(packet: &Packet) -> Class {
    if packet.form == FORM_ETHERNET {
        return Class::Link;
    }
    if packet.form & (FORM_FRAGMENT | FORM_PORTLESS) != 0 {
        return Class::None;
    }
    let (low, high) = (packet.key[4] as u16, (packet.key[4] >> 16) as u16);
    match packet.protocol {
        TCP if is_clinical(low) || is_clinical(high) => Class::Clinical,
        TCP => Class::Stream,
        UDP => by_udp_port(low, high),
        ICMPV6 if matches!(low, 133..=137) => Class::Address,
        _ => Class::None,
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// DICOM (104, 11112, 2761, 2762) and HL7/MLLP (2575, and 6661, the usual default of interface engines).
#[inline(always)]
const fn is_clinical(port: u16) -> bool {
    matches!(port, 104 | 11112 | 2761 | 2762 | 2575 | 6661)
}

#[inline(always)]
const fn by_udp_port(low: u16, high: u16) -> Class {
    match (udp_class(low), udp_class(high)) {
        (Class::Datagram, class) | (class, _) => class,
    }
}

/// Class by registered port: DHCP; names; SSDP, WS-Discovery, SNMP, BACnet, CoAP, syslog, NTP, TFTP, Philips data export, SIP.
#[inline(always)]
const fn udp_class(port: u16) -> Class {
    match port {
        67 | 68 | 546 | 547 => Class::Address,
        53 | 137 | 138 | 5353 | 5355 => Class::Name,
        69 | 123 | 161 | 162 | 514 | 1900 | 3702 | 5060 | 5683 | 24105 | 47808 => Class::Announce,
        _ => Class::Datagram,
    }
}

/// Octets that a direction may still give once its leading payload is DICOM's A-ASSOCIATE or MLLP's start block.
pub const CLINICAL_BUDGET: u16 = BUDGETS[Class::Clinical as usize];

/// What a direction may give of which nothing but a beginning counts: [`opens_clinical`] decides at its first payload.
pub const UNOPENED: u16 = u16::MAX;

/// The leading octets of a TCP payload are a DICOM A-ASSOCIATE-RQ or -AC (PS3.8 §9.3.2: type 1 or 2, protocol version 1) or an
/// HL7 message in MLLP framing (0x0b, `MSH`).
#[inline(always)]
pub fn opens_clinical<F: Frame>(frame: &F, offset: u32) -> bool {
    let Some(lead) = frame.read::<8>(offset) else { return false };
    let mllp = lead[0] == 0x0b && lead[1] == b'M' && lead[2] == b'S' && lead[3] == b'H';
    let dicom = (lead[0] == 1 || lead[0] == 2) && lead[1] == 0 && lead[2] == 0 && lead[6] == 0 && lead[7] == 1;
    mllp || dicom
}
