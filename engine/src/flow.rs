//! The flow record: one biflow (RFC 5103), or one segment of a long one, as it leaves the biflow table.
//!
//! Everything per direction is an array indexed by [`Direction`], so that there is one body of code for both. What the tap
//! could not see is `None`, never zero: see the field notes.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::{Index, IndexMut},
    sync::Arc,
};

use auscult_ebpf::{
    limit::{FIRST_PACKETS, SIZE_BINS},
    record::Tunnel,
};

use serde::{Deserialize, Serialize};

use crate::sidedness::Sidedness;

/// Nanoseconds since 1970-01-01T00:00:00Z.
pub type UnixNanos = i64;

/// Direction of a packet within its biflow: forward is from the initiator to the responder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Initiator to responder.
    Forward = 0,
    /// Responder to initiator.
    Reverse = 1,
}

impl Direction {
    /// Both, forward first.
    pub const BOTH: [Self; 2] = [Self::Forward, Self::Reverse];
    /// The other one.
    pub const fn reversed(self) -> Self {
        match self {
            Self::Forward => Self::Reverse,
            Self::Reverse => Self::Forward,
        }
    }
}

/// A pair indexed by [`Direction`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Both<T>(pub [T; 2]);

impl<T> Index<Direction> for Both<T> {
    type Output = T;
    fn index(&self, direction: Direction) -> &T {
        &self.0[direction as usize]
    }
}

impl<T> IndexMut<Direction> for Both<T> {
    fn index_mut(&mut self, direction: Direction) -> &mut T {
        &mut self.0[direction as usize]
    }
}

/// A MAC address (IEEE 802 EUI-48).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mac(pub [u8; 6]);

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What the flow's endpoints are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// The flow is not IP: MAC address. `None` on links whose frames do not carry this end's address.
    Link(Option<Mac>),
    /// IPv4.
    V4(Ipv4Addr),
    /// IPv6.
    V6(Ipv6Addr),
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::V4(ip),
            IpAddr::V6(ip) => Self::V6(ip),
        }
    }
}

impl Address {
    /// The IP address of an IP flow.
    pub const fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Link(_) => None,
            Self::V4(ip) => Some(IpAddr::V4(ip)),
            Self::V6(ip) => Some(IpAddr::V6(ip)),
        }
    }
}

/// One end of a biflow; `endpoint[Direction::Forward]` is the initiator (source of forward packets).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Network address, or MAC of a flow that is not IP.
    pub address: Address,
    /// Transport port; `None` for protocols without ports, fragments and truncated transport headers.
    pub port: Option<u16>,
    /// MAC that frames from this end carried as source (a router's, for routed hosts); taken from the first frame it sent, or,
    /// when it sent none, the target MAC of the first frame sent to it. `None` on links without MACs, and when that target is zero.
    pub mac: Option<Mac>,
}

/// RFC 5102 flowEndReason (IE 136), same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum FlowEndReason {
    /// No packet for the idle timeout.
    IdleTimeout = 1,
    /// Open longer than the active timeout; the next segment has the same `flow_id`.
    ActiveTimeout = 2,
    /// TCP: FIN in both directions, or RST.
    EndOfFlowDetected = 3,
    /// Closed because capture ended or its clock stepped back.
    ForcedEnd = 4,
    /// The table was full.
    LackOfResources = 5,
}

impl FlowEndReason {
    /// All, in numeric order.
    pub const ALL: [Self; 5] =
        [Self::IdleTimeout, Self::ActiveTimeout, Self::EndOfFlowDetected, Self::ForcedEnd, Self::LackOfResources];
    /// Name in the lake and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::IdleTimeout => "idle_timeout",
            Self::ActiveTimeout => "active_timeout",
            Self::EndOfFlowDetected => "end_of_flow_detected",
            Self::ForcedEnd => "forced_end",
            Self::LackOfResources => "lack_of_resources",
        }
    }
}

/// How the initiator was found (RFC 5103 §6.2 biflowDirection, said more exactly).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum InitiatorBy {
    /// It sent the SYN.
    Syn = 1,
    /// The other end sent a SYN/ACK.
    SynAck = 2,
    /// It sent the first packet that was seen.
    FirstPacket = 3,
    /// Both ends' first packets have one time: the end with the higher port, else the higher address.
    Tie = 4,
}

impl InitiatorBy {
    /// All, in numeric order.
    pub const ALL: [Self; 4] = [Self::Syn, Self::SynAck, Self::FirstPacket, Self::Tie];
    /// Name in the lake.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Syn => "syn",
            Self::SynAck => "syn_ack",
            Self::FirstPacket => "first_packet",
            Self::Tie => "tie",
        }
    }
}

/// Inter-arrival times of one direction, nanoseconds. Defined from two packets on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Intervals {
    /// Smallest.
    pub min: u64,
    /// Largest.
    pub max: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Population standard deviation.
    pub std: f64,
}

/// TCP features of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpSide {
    /// Union of the control bits (IE tcpControlBits).
    pub control_bits: u8,
    /// Segments with SYN.
    pub syn: u32,
    /// Segments with FIN.
    pub fin: u32,
    /// Segments with RST.
    pub rst: u32,
    /// Segments that repeat sequence space; a lower bound when `sequence_exact` is false.
    pub retransmissions: u32,
    /// Segments that fill the newest gap; a lower bound when `sequence_exact` is false.
    pub out_of_order: u32,
    /// The two counts above are exact: nothing was split where it could hide a repeat.
    pub sequence_exact: bool,
    /// Segments with a zero window and no RST.
    pub zero_windows: u32,
    /// From the SYN or SYN/ACK, `None` when it was not seen.
    pub handshake: Option<TcpOpening>,
}

/// What a SYN or SYN/ACK said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpOpening {
    /// Window, unscaled.
    pub window: u16,
    /// MSS option.
    pub mss: Option<u16>,
    /// Window-scale option.
    pub scale: Option<u8>,
    /// Option kinds in order, four bits each, first in the lowest bits (15: kinds above 14).
    pub options: u64,
}

/// One direction of a flow. All of it is null in the lake, but `packets` and the octet sums, when the direction has no packets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Side {
    /// Packets.
    pub packets: u64,
    /// IP total length (payload of the link for other frames), summed.
    pub octets: u64,
    /// Frame octets on the wire, outer headers included, summed.
    pub layer2_octets: u64,
    /// Transport payload octets, summed.
    pub payload_octets: u64,
    /// First packet. Meaningless without packets.
    pub first: UnixNanos,
    /// Last packet. Meaningless without packets.
    pub last: UnixNanos,
    /// Smallest packet (as in `octets`).
    pub size_min: u16,
    /// Largest packet.
    pub size_max: u16,
    /// Mean packet size.
    pub size_mean: f64,
    /// Population standard deviation of the packet size.
    pub size_std: f64,
    /// Packets by size: borders in [`auscult_ebpf::meter::size_bin`].
    pub histogram: [u32; SIZE_BINS],
    /// Inter-arrival times; `None` below two packets, or when the direction was split over CPUs or rings so that its packets' order
    /// is not known (`split`).
    pub intervals: Option<Intervals>,
    /// The direction came over several CPUs or taps at overlapping times.
    pub split: bool,
    /// Lowest TTL or hop limit; `None` for flows that are not IP.
    pub ttl_min: Option<u8>,
    /// Highest TTL or hop limit.
    pub ttl_max: Option<u8>,
    /// DSCP (RFC 2474) of the first packet.
    pub dscp: Option<u8>,
    /// Union of all traffic-class octets (DSCP and ECN).
    pub traffic_class_union: Option<u8>,
    /// TCP features; `None` for other protocols.
    pub tcp: Option<TcpSide>,
    /// Outermost VLAN identifier of the first packet.
    pub vlan_id: Option<u16>,
    /// Second VLAN identifier of the first packet.
    pub inner_vlan_id: Option<u16>,
    /// Observation point of the first packet (index into the engine's list).
    pub observation_point: Option<u32>,
    /// What the first packet was encapsulated in.
    pub tunnels: Option<Arc<Tunnels>>,
}

/// The encapsulations of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnels {
    /// The outermost.
    pub outer: TunnelEnds,
    /// The one in it.
    pub inner: Option<TunnelEnds>,
}

impl Tunnels {
    /// Memory of one that is shared, with its two counts.
    pub const SHARED_BYTES: usize = size_of::<Self>() + 2 * size_of::<usize>();
}

/// One encapsulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelEnds {
    /// Its kind.
    pub kind: Tunnel,
    /// Source and destination address of the IP header that it is in; `None` when it is in none, or when that is not known.
    pub addresses: Option<[IpAddr; 2]>,
    /// Network, session, key or label.
    pub id: Option<u32>,
}

/// One of the first packets of a biflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstPacket {
    /// Time.
    pub at: UnixNanos,
    /// Size (as in `octets`).
    pub size: u16,
    /// Direction.
    pub direction: Direction,
}

impl Flow {
    /// Most memory of one: its tunnels may be nobody else's.
    pub const BYTES_MAX: usize = size_of::<Self>() + 2 * Tunnels::SHARED_BYTES;
}

/// A flow record.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// One id for all segments of a biflow: keyed by flow key, first packet's time and site; not secret, stable over replays.
    pub flow_id: u64,
    /// 0 for the first segment, then counting.
    pub segment: u32,
    /// First packet of the segment.
    pub start: UnixNanos,
    /// Last packet of the segment.
    pub end: UnixNanos,
    /// Why the record was written.
    pub end_reason: FlowEndReason,
    /// How the initiator was found.
    pub initiator_by: InitiatorBy,
    /// Whether both directions were seen, in this segment or an earlier one.
    pub sidedness: Sidedness,
    /// Initiator (`Forward`) and responder (`Reverse`).
    pub endpoint: Both<Endpoint>,
    /// IP protocol number; `None` for flows that are not IP.
    pub protocol: Option<u8>,
    /// Ethertype; 0x0800 and 0x86dd for IP flows, `None` for 802.3 frames.
    pub ethertype: Option<u16>,
    /// ICMP or ICMPv6 type of the first packet's kind (request type for request/reply pairs).
    pub icmp_type: Option<u8>,
    /// ICMP code; zero for request/reply pairs.
    pub icmp_code: Option<u8>,
    /// The record counts non-first fragments.
    pub is_fragment: bool,
    /// `flow_id` of the flow whose first fragment these belong to.
    pub fragment_of: Option<u64>,
    /// Community ID v1 with seed 0 (20 octets of SHA-1); `None` for flows that are not IP.
    pub community_id: Option<[u8; 20]>,
    /// Name of the least complete parse of any packet ([`auscult_ebpf::discard::ParseStop`]).
    pub parse_stop: u8,
    /// Features per direction.
    pub side: Both<Side>,
    /// SYN to SYN/ACK, ns: network and responder. `None` unless both were seen, once each.
    pub handshake_rtt_responder: Option<u64>,
    /// SYN/ACK to the initiator's ACK, ns: network and initiator. As above.
    pub handshake_rtt_initiator: Option<u64>,
    /// The first packets in time order, at most [`FIRST_PACKETS`].
    pub first_packets: [Option<FirstPacket>; FIRST_PACKETS],
}

impl Flow {
    /// What rows of one epoch are ordered by, whichever shard they come from.
    pub const fn sort_key(&self) -> (UnixNanos, u64, u32) {
        (self.end, self.flow_id, self.segment)
    }

    /// The flow is TCP, and its header could be read.
    pub fn is_tcp(&self) -> bool {
        self.side.0.iter().any(|side| side.tcp.is_some())
    }
}

/// Rows of one epoch or of a part of it, and the watermark the epoch is complete up to.
#[derive(Clone, Debug, Default)]
pub struct FlowBatch {
    rows: Vec<Flow>,
    order: Vec<u32>,
    watermark: UnixNanos,
}

impl FlowBatch {
    /// Rows in any order; they stay where they are, for they are large.
    pub fn new(rows: Vec<Flow>, watermark: UnixNanos) -> Self {
        let key = |(place, row): (u32, &Flow)| (row.sort_key(), place);
        let mut keys: Vec<_> = (0..).zip(&rows).map(key).collect();
        keys.sort_unstable();
        let order = keys.into_iter().map(|(_, place)| place).collect();
        Self { rows, order, watermark }
    }

    /// The rows by `(end, flow_id, segment)`.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &Flow> + Clone {
        self.order.iter().map(|&place| &self.rows[place as usize])
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// No batch of a later watermark carries a flow that ended by idle timeout before this, less the longest timeout.
    pub fn watermark(&self) -> UnixNanos {
        self.watermark
    }
}

/// Where frames are seen: an interface, or an interface of a capture file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservationPoint {
    /// Interface name live; in replay the pcapng interface name if there is one, else `if<N>`.
    pub name: Arc<str>,
}
