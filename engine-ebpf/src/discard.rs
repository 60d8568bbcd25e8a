//! Why a frame could not be metered, and why parsing stopped early on one that was.

/// Why a frame was refused: nothing in it can be a flow key. Each reason is a counter of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Discard {
    /// Fewer octets than a link header needs.
    FrameTooShort = 0,
    /// The capture's link type is none that carries addresses we know (replay only).
    LinkType = 1,
    /// A link without addresses carries something that is not IP.
    NotIp = 2,
}

impl Discard {
    /// All reasons, in counter order.
    pub const ALL: [Self; 3] = [Self::FrameTooShort, Self::LinkType, Self::NotIp];
    /// Counter cells reserved for reasons in [`crate::record::Counters`].
    pub const CELLS: usize = 8;

    /// The reason's name in metrics, summaries and the lake.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FrameTooShort => "frame_too_short",
            Self::LinkType => "link_type",
            Self::NotIp => "not_ip",
        }
    }
}

/// How far parsing came. The packet is metered at the deepest whole layer in every case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ParseStop {
    /// Every header that the protocol has was read.
    #[default]
    Complete = 0,
    /// The frame ends inside a VLAN tag.
    VlanTruncated = 1,
    /// More VLAN tags than [`crate::limit::VLAN_TAGS_MAX`].
    VlanTagsTooMany = 2,
    /// The frame ends inside the network header.
    NetworkTruncated = 3,
    /// The network header's version or header length is impossible.
    NetworkMalformed = 4,
    /// More IPv6 extension headers than [`crate::limit::EXTENSION_HEADERS_MAX`].
    ExtensionHeadersTooMany = 5,
    /// The frame ends inside an IPv6 extension header.
    ExtensionHeaderTruncated = 6,
    /// The frame ends inside the transport header.
    TransportTruncated = 7,
    /// The transport header's length field is impossible.
    TransportMalformed = 8,
    /// The frame ends inside an encapsulation's header, or before the packet in it begins.
    TunnelTruncated = 9,
    /// More MPLS labels than [`crate::limit::MPLS_LABELS_MAX`].
    MplsLabelsTooMany = 10,
    /// A first fragment carries an encapsulation, whose packet is not whole in it.
    TunnelFragmented = 11,
    /// More encapsulations than [`crate::limit::TUNNELS_MAX`].
    TunnelsTooDeep = 12,
}

impl ParseStop {
    /// All values, in numeric order.
    pub const ALL: [Self; 13] = [
        Self::Complete,
        Self::VlanTruncated,
        Self::VlanTagsTooMany,
        Self::NetworkTruncated,
        Self::NetworkMalformed,
        Self::ExtensionHeadersTooMany,
        Self::ExtensionHeaderTruncated,
        Self::TransportTruncated,
        Self::TransportMalformed,
        Self::TunnelTruncated,
        Self::MplsLabelsTooMany,
        Self::TunnelFragmented,
        Self::TunnelsTooDeep,
    ];

    /// The value's name in the lake.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::VlanTruncated => "vlan_truncated",
            Self::VlanTagsTooMany => "vlan_tags_too_many",
            Self::NetworkTruncated => "network_truncated",
            Self::NetworkMalformed => "network_malformed",
            Self::ExtensionHeadersTooMany => "extension_headers_too_many",
            Self::ExtensionHeaderTruncated => "extension_header_truncated",
            Self::TransportTruncated => "transport_truncated",
            Self::TransportMalformed => "transport_malformed",
            Self::TunnelTruncated => "tunnel_truncated",
            Self::MplsLabelsTooMany => "mpls_labels_too_many",
            Self::TunnelFragmented => "tunnel_fragmented",
            Self::TunnelsTooDeep => "tunnels_too_deep",
        }
    }

    /// The value of a number from a record; an unknown number is `None`.
    pub const fn from_number(number: u8) -> Option<Self> {
        if (number as usize) < Self::ALL.len() { Some(Self::ALL[number as usize]) } else { None }
    }
}

/// Where metered packets can be lost in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Lost {
    /// The CPU's ring had no room for the delta.
    RingFull = 0,
    /// The CPU has no ring (it came online after the start).
    NoRing = 1,
    /// The meter has no slots.
    NoSlot = 2,
}

impl Lost {
    /// All places, in counter order.
    pub const ALL: [Self; 3] = [Self::RingFull, Self::NoRing, Self::NoSlot];
    /// Counter cells reserved for places in [`crate::record::Counters`].
    pub const CELLS: usize = 4;

    /// The place's name in metrics, summaries and the lake.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::NoRing => "no_ring",
            Self::NoSlot => "no_slot",
        }
    }
}
