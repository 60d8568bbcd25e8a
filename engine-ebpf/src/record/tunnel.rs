//! Encapsulations around packets, as records.

use super::{Header, Plain};
use crate::limit::TUNNELS_MAX;

/// A kind of encapsulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tunnel {
    /// MPLS; identified by the label at the bottom of the stack.
    Mpls = 1,
    /// PPPoE session.
    Pppoe = 2,
    /// GRE; identified by its key, if it has one.
    Gre = 3,
    /// ERSPAN type I, which has no identifier.
    Erspan1 = 4,
    /// ERSPAN type II; identified by its session.
    Erspan2 = 5,
    /// ERSPAN type III; identified by its session.
    Erspan3 = 6,
    /// VXLAN; identified by its network.
    Vxlan = 7,
    /// GENEVE; identified by its network.
    Geneve = 8,
    /// IPv4 in IPv4.
    Ipv4InIpv4 = 9,
    /// IPv4 in IPv6.
    Ipv4InIpv6 = 10,
    /// IPv6 in IPv4.
    Ipv6InIpv4 = 11,
    /// IPv6 in IPv6.
    Ipv6InIpv6 = 12,
    /// IPv6 in UDP over IPv4.
    Teredo = 13,
}

impl Tunnel {
    /// All kinds, in numeric order.
    pub const ALL: [Self; 13] = [
        Self::Mpls,
        Self::Pppoe,
        Self::Gre,
        Self::Erspan1,
        Self::Erspan2,
        Self::Erspan3,
        Self::Vxlan,
        Self::Geneve,
        Self::Ipv4InIpv4,
        Self::Ipv4InIpv6,
        Self::Ipv6InIpv4,
        Self::Ipv6InIpv6,
        Self::Teredo,
    ];

    /// The kind's name in the lake.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mpls => "mpls",
            Self::Pppoe => "pppoe",
            Self::Gre => "gre",
            Self::Erspan1 => "erspan1",
            Self::Erspan2 => "erspan2",
            Self::Erspan3 => "erspan3",
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::Ipv4InIpv4 => "ipip",
            Self::Ipv4InIpv6 => "4in6",
            Self::Ipv6InIpv4 => "6in4",
            Self::Ipv6InIpv6 => "6in6",
            Self::Teredo => "teredo",
        }
    }

    /// The kind of a number from a record; an unknown number is `None`.
    pub const fn from_number(number: u8) -> Option<Self> {
        if number == 0 || number as usize > Self::ALL.len() { None } else { Some(Self::ALL[number as usize - 1]) }
    }
}

/// One encapsulation around a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C, align(8))]
pub struct TunnelLayer {
    /// Source address of the IP header that it is in; IPv4 in the first four octets. Zero when it is in none.
    pub source: [u8; 16],
    /// Target address.
    pub target: [u8; 16],
    /// Identifier.
    pub id: u32,
    /// [`Tunnel`] as number; zero: no encapsulation.
    pub kind: u8,
    /// [`super::FORM_IPV4`] or [`super::FORM_IPV6`], of the addresses; zero: it is in no IP header.
    pub form: u8,
    /// 1: `id` is one.
    pub has_id: u8,
    /// Reserved, zero.
    pub reserved: u8,
}

impl TunnelLayer {
    /// The layer as five words, as hashed.
    #[inline(always)]
    pub const fn words(&self) -> &[u64; 5] {
        // SAFETY: same size and alignment (asserted below), no padding, every bit pattern is a value of both.
        unsafe { &*core::ptr::from_ref(self).cast() }
    }
}

/// The encapsulations of packets, which deltas refer to. It stands in the ring before the first delta that does, and again from time
/// to time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct TunnelPath {
    /// Kind, ABI, CPU.
    pub header: Header,
    /// What deltas refer to it by: a keyed hash of `layers`, with their kinds (four bits each, outermost lowest) in the low octet.
    pub reference: u64,
    /// Outermost first.
    pub layers: [TunnelLayer; TUNNELS_MAX],
}

// SAFETY: repr(C), integers only, sizes asserted below to leave no padding.
unsafe impl Plain for TunnelPath {}
const _: () = assert!(size_of::<TunnelLayer>() == 40);
const _: () = assert!(size_of::<TunnelPath>() == 16 + TUNNELS_MAX * 40);
