//! Sampler.

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
