//! The records that cross from the meter to userspace, and the cache slot, which has the layout of a delta.
//!
//! Every record is `repr(C)`, has no padding (asserted below), starts with a [`Header`] and carries the [`ABI`] version.
//! Integers are in host order unless a field says otherwise. Times are nanoseconds of the observation clock
//! (`CLOCK_MONOTONIC` live, capture time in replay); a [`Mark`] ties them to a ledger state.

mod tunnel;

pub use tunnel::{Tunnel, TunnelLayer, TunnelPath};

use crate::{
    discard::{Discard, Lost},
    limit::{FIRST_PACKETS, PATHS_KEPT, SAMPLE_LARGE, SIZE_BINS, VLAN_IDS_KEPT, WAYS},
    parse::Packet,
    sample::{Class, Shares},
};

/// Layout version of all records and of the slot. Part of every pin path.
pub const ABI: u8 = 3;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A [`Delta`].
    Delta = 1,
    /// A [`Mark`].
    Mark = 2,
    /// A [`Sample`].
    Sample = 3,
    /// A [`TunnelPath`].
    TunnelPath = 4,
}

/// First eight octets of every record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Header {
    /// A [`Kind`] as number.
    pub kind: u8,
    /// [`ABI`].
    pub abi: u8,
    /// CPU whose ring the record is in.
    pub cpu: u16,
    /// Delta: packets per direction, `[low→high, high→low]`. Kept here so that summing residents reads one cache line a slot.
    pub packets: [u16; 2],
}

/// `form` of a key: the flow is of link addresses and an ethertype.
pub const FORM_ETHERNET: u8 = 0;
/// `form` of a key: IPv4.
pub const FORM_IPV4: u8 = 4;
/// `form` of a key: IPv6.
pub const FORM_IPV6: u8 = 6;
/// Bit of `form`: non-first fragments; no ports.
pub const FORM_FRAGMENT: u8 = 0x80;
/// Bit of `form`: the transport header was truncated or malformed; no ports.
pub const FORM_PORTLESS: u8 = 0x40;

/// Canonical biflow key: the lower (address, port) first, so that both directions have one key.
///
/// * IPv4 addresses occupy the first four octets, MAC addresses the first six; the rest is zero.
/// * `port`: TCP, UDP, UDP-Lite, SCTP, DCCP ports. ICMP and ICMPv6: `[type, code]` of one-way messages, and for request/reply pairs
///   `[request type, reply type]`, in that order whatever the addresses' order. Ethernet: `[DSAP<<8|SSAP, SNAP protocol]`
///   of 802.3 frames. Otherwise zero.
/// * `scope`: the ethertype of Ethernet flows (zero for 802.3 frames); for IP flows the outermost VLAN identifier when VLANs are
///   part of the key, else zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C, align(8))]
pub struct FlowKey {
    /// Low and high address.
    pub address: [[u8; 16]; 2],
    /// Low and high port.
    pub port: [u16; 2],
    /// IP protocol number; zero for Ethernet flows.
    pub protocol: u8,
    /// `FORM_*`.
    pub form: u8,
    /// Ethertype or VLAN, see above.
    pub scope: u16,
}

impl FlowKey {
    /// The key as five words, as hashed and compared.
    #[inline(always)]
    pub const fn words(&self) -> &[u64; 5] {
        // SAFETY: same size and alignment (asserted below), no padding, every bit pattern is a value of both.
        unsafe { &*core::ptr::from_ref(self).cast() }
    }

    /// The key of five words.
    #[inline(always)]
    pub const fn from_words(words: [u64; 5]) -> Self {
        // SAFETY: as above.
        unsafe { core::mem::transmute(words) }
    }
}

#[cfg(target_endian = "big")]
compile_error!("record layouts and the kernel object are little-endian");

/// What is added up per packet in one direction. 64 octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Volume {
    /// Sum of squared packet sizes.
    pub octets_squared: u64,
    /// Sum of squared inter-arrival times, ns². Their sum is `last - first`, so this cannot overflow.
    pub interval_squared: u64,
    /// IP total length (payload of the link for other frames), summed.
    pub octets: u32,
    /// Frame octets on the wire, summed.
    pub layer2_octets: u32,
    /// Transport payload octets, summed.
    pub payload_octets: u32,
    /// First packet, ns after the delta's `base`.
    pub first: u32,
    /// Last packet, ns after the delta's `base`.
    pub last: u32,
    /// Smallest inter-arrival time, ns; meaningful from two packets on.
    pub interval_min: u32,
    /// Largest inter-arrival time, ns; meaningful from two packets on.
    pub interval_max: u32,
    /// Smallest packet size (saturating at 65,535).
    pub size_min: u16,
    /// Largest packet size (saturating at 65,535).
    pub size_max: u16,
    /// Packets by size.
    pub histogram: [u16; SIZE_BINS],
}

/// `Stack::seen` bit: a SYN (or SYN/ACK) set `syn_at`, `window`, `mss`, `scale`, `options`.
pub const SEEN_SYN: u8 = 1;
/// `Stack::seen` bit: `ack_at` is set.
pub const SEEN_ACK: u8 = 2;
/// `Stack::seen` bit: the sequence fields are valid in this run.
pub const SEEN_SEQUENCE: u8 = 4;
/// `Stack::seen` bit: `sequence_low` is valid in this delta.
pub const SEEN_LOW: u8 = 8;
/// `Stack::seen` bit: the SYN was a SYN/ACK.
pub const SEEN_SYN_ACK: u8 = 16;
/// `Stack::seen` bit: the gap fields hold an unfilled gap.
pub const SEEN_GAP: u8 = 32;

/// Network- and transport-layer state of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Stack {
    /// TCP option kinds of the SYN in order, four bits each, first in the lowest bits, 15 for kinds above 14.
    pub options: u64,
    /// Highest sequence number seen plus one (end of the furthest segment) in this run.
    pub sequence_next: u32,
    /// Lowest segment start of this delta.
    pub sequence_low: u32,
    /// Start of the newest unfilled gap.
    pub gap_start: u32,
    /// End (exclusive) of the newest unfilled gap.
    pub gap_end: u32,
    /// First SYN or SYN/ACK, ns after `base`.
    pub syn_at: u32,
    /// First segment with ACK and without SYN, ns after `base`.
    pub ack_at: u32,
    /// Segments with SYN.
    pub syn: u16,
    /// Segments with FIN.
    pub fin: u16,
    /// Segments with RST.
    pub rst: u16,
    /// Segments that start below `sequence_next` and do not lie in the newest gap.
    pub retransmissions: u16,
    /// Segments that lie in the newest gap.
    pub out_of_order: u16,
    /// Segments with a zero window and no RST.
    pub zero_windows: u16,
    /// Window of the SYN.
    pub window: u16,
    /// MSS option of the SYN; zero without.
    pub mss: u16,
    /// Union of the control bits.
    pub control_bits: u8,
    /// Window-scale option of the SYN, plus one; zero without.
    pub scale: u8,
    /// Lowest TTL or hop limit.
    pub ttl_min: u8,
    /// Highest TTL or hop limit.
    pub ttl_max: u8,
    /// Traffic class (DSCP and ECN) of the first packet.
    pub class_first: u8,
    /// Union of all traffic classes.
    pub class_union: u8,
    /// `SEEN_*`.
    pub seen: u8,
    /// `FRAGMENT_*`
    pub fragments: u8,
}

/// `Stack::fragments` bit: a first fragment was seen (its IP identification is in [`Delta::fragment`]).
pub const FRAGMENT_FIRST: u8 = 1;
/// `Stack::fragments` bit: a later fragment was seen.
pub const FRAGMENT_LATER: u8 = 2;

/// `Stack::control_bits` bit of ICMP and ICMPv6 flows whose key is a request/reply pair: this direction sent a request.
pub const ICMP_REQUEST: u8 = 1;
/// `Stack::control_bits` bit of ICMP and ICMPv6 flows whose key is a request/reply pair: this direction sent a reply.
pub const ICMP_REPLY: u8 = 2;

/// Link-layer addresses of the first packet of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(2))]
pub struct Link {
    /// Source MAC.
    pub source: [u8; 6],
    /// Destination MAC.
    pub target: [u8; 6],
    /// Outermost VLAN tags' control information (PCP, DEI, VID), outermost first.
    pub tags: [u16; VLAN_IDS_KEPT],
}

/// `Delta::flags` bit: link addresses are valid (a link without MACs leaves them unset).
pub const DELTA_HAS_MACS: u8 = 1;
/// `Delta::flags` bit: the run goes on from an earlier delta of the same slot, nothing in between was lost.
pub const DELTA_CONTINUES: u8 = 2;
/// `Delta::flags` bit: the first packet is a SYN without ACK, FIN and RST.
pub const DELTA_OPENS: u8 = 4;
/// `Delta::flags` bit: a count is so high that the next packet could overflow it, so the delta ended here.
pub const DELTA_FULL: u8 = 8;
/// `Delta::flags` bit: the packets of the delta so far are all SYN without ACK, FIN and RST.
pub const DELTA_ONLY_SYN: u8 = 16;

/// What one direction sent. In one piece, so that one address leads to all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Side {
    /// Packets and times.
    pub volume: Volume,
    /// Network and transport layer.
    pub stack: Stack,
    /// Link addresses.
    pub link: Link,
}

/// What one cache slot gathered between two emissions: a piece of a biflow. The slot itself has this layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Delta {
    /// Kind, ABI, CPU, packets per direction.
    pub header: Header,
    /// Keyed hash of `key` ([`crate::hash`]); userspace shards by [`crate::hash::shard`] instead.
    pub hash: u64,
    /// The biflow.
    pub key: FlowKey,
    /// Observation time that the offsets are relative to: the first packet of the delta.
    pub base: u64,
    /// What each direction sent, low→high first.
    pub side: [Side; 2],
    /// Times of the first packets, ns after `base` of the delta that carries them.
    pub first_at: [u32; FIRST_PACKETS],
    /// Sizes of the first packets (saturating at 65,535).
    pub first_size: [u16; FIRST_PACKETS],
    /// Directions of the first packets, bit i for packet i.
    pub first_direction: u8,
    /// First packets gathered in this run so far.
    pub first_count: u8,
    /// Of those, how many an earlier delta of this run has carried.
    pub first_sent: u8,
    /// Least complete [`crate::discard::ParseStop`] of any packet, as number (the highest).
    pub stop: u8,
    /// `DELTA_*`.
    pub flags: u8,
    /// VLAN tags of the first packet of each direction, four bits each.
    pub tag_counts: u8,
    /// Sample class of the flow, as number.
    pub class: u8,
    /// Reserved, zero.
    pub reserved: u8,
    /// IP identification of the newest fragment.
    pub fragment: u32,
    /// Octets of payload that may still be sampled, per direction.
    pub sample_left: [u16; 2],
    /// Interface the first packet of each direction came in by (index into the engine's list of observation points).
    pub observation_points: [u32; 2],
    /// [`TunnelPath::reference`] of the first packet of each direction; zero: it was not encapsulated.
    pub tunnels: [u64; 2],
}

/// One set of the flow cache.
pub type Set = [Delta; WAYS];

/// Everything one CPU counts. All values only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Counters {
    /// Frames that reached the program.
    pub seen_packets: u64,
    /// Their octets on the wire.
    pub seen_octets: u64,
    /// Frames that a duplicate check left out.
    pub duplicate_packets: u64,
    /// Their octets.
    pub duplicate_octets: u64,
    /// Frames refused, by [`Discard`].
    pub discarded_packets: [u64; Discard::CELLS],
    /// Their octets.
    pub discarded_octets: [u64; Discard::CELLS],
    /// Packets of deltas that could not be handed over, by [`Lost`].
    pub lost_packets: [u64; Lost::CELLS],
    /// Their octets.
    pub lost_octets: [u64; Lost::CELLS],
    /// Deltas handed over.
    pub deltas: u64,
    /// Samples handed over, by [`Class`].
    pub samples: [u64; Class::CELLS],
    /// Samples left out because their class had used its share, by [`Class`].
    pub samples_shed: [u64; Class::CELLS],
    /// Samples left out because the ring had no room, by [`Class`].
    pub samples_lost: [u64; Class::CELLS],
    /// Frames longer than an MTU can make them, or marked by the kernel as several (GRO/LRO/TSO super-frames).
    pub super_frames: u64,
    /// Frames that the capture cut short of their length on the wire.
    pub truncated_frames: u64,
    /// Frames that were recognised as copies, whether they were left out or not.
    pub copies_packets: u64,
    /// Their octets.
    pub copies_octets: u64,
    /// Packets that were encapsulated.
    pub tunnelled_packets: u64,
    /// Tunnel paths handed over.
    pub tunnel_paths: u64,
    /// Tunnel paths that found no room in the ring; each is tried again with the next delta that refers to it.
    pub tunnel_paths_lost: u64,
}

/// What one CPU keeps besides its slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Core {
    /// Counters.
    pub counters: Counters,
    /// What is left of the sample shares.
    pub shares: Shares,
    /// Scratch of [`crate::frame::Frame::blur`].
    pub blur: u32,
    /// Jiffy of the clock reading of this NAPI poll.
    pub poll_jiffy: u32,
    /// Clock reading of this NAPI poll; zero: none yet.
    pub poll_at: u64,
    /// Tunnel paths handed over of late, by some bits of their reference: the reference and when, mixed.
    pub paths_sent: [u64; PATHS_KEPT],
    /// Where a tunnel path is put together.
    pub path: TunnelPath,
}

/// The value of the kernel's `CORE` map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct CpuMemory {
    /// Counters and shares.
    pub core: Core,
    /// The packet between parser and meter. Through memory, because the verifier would otherwise walk the meter once for every
    /// path through the parser.
    pub packet: Packet,
}

/// Arguments of one sweep run, in the test frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct SweepArguments {
    /// First set.
    pub first: u32,
    /// Number of sets, at most [`crate::limit::SWEEP_SETS_MAX`].
    pub count: u32,
    /// `SWEEP_*`.
    pub flags: u32,
    /// Reserved, zero.
    pub reserved: u32,
    /// Observation time, when the settings say that time is in metadata.
    pub at: u64,
}

/// `SweepArguments::flags`: hand over every dirty slot, also of the current tick.
pub const SWEEP_FLUSH: u32 = 1;
/// `SweepArguments::flags`: sum the residents of all sets and append a [`Mark`].
pub const SWEEP_MARK: u32 = 2;

/// End of one sweep pass of one CPU: everything the counters include stands before it in the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Mark {
    /// Kind, ABI, CPU.
    pub header: Header,
    /// Observation time.
    pub at: u64,
    /// The CPU's counters.
    pub counters: Counters,
    /// Packets still in slots, summed from the slots.
    pub resident_packets: u64,
    /// Their octets on the wire, summed from the slots.
    pub resident_octets: u64,
}

/// Fixed part of a sample; the payload follows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct SampleHead {
    /// Kind, ABI, CPU. `packets[0]` is the direction (0 low→high, 1 high→low), `packets[1]` the class.
    pub header: Header,
    /// Keyed hash of `key`.
    pub hash: u64,
    /// The biflow.
    pub key: FlowKey,
    /// Observation time of the packet.
    pub at: u64,
    /// TCP sequence number of the first payload octet, else zero.
    pub sequence: u32,
    /// Octets of payload in this record.
    pub length: u16,
    /// Octets of payload the packet had on the wire (saturating).
    pub payload_octets: u16,
    /// Source and target MAC, outermost tags.
    pub link: Link,
    /// Interface the packet came in by.
    pub observation_point: u32,
    /// TCP control bits.
    pub control_bits: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// `DELTA_HAS_MACS` if `link` is valid.
    pub flags: u8,
    /// Reserved, zero.
    pub reserved: u8,
}

/// A sample as userspace keeps it: the head and up to [`SAMPLE_LARGE`] octets. Octets behind `length` are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Sample<const N: usize = SAMPLE_LARGE> {
    /// The fixed part.
    pub head: SampleHead,
    /// The payload.
    pub payload: [u8; N],
}

/// A record may be read from and written to raw memory.
///
/// # Safety
/// The type is `repr(C)`, has no padding, and every bit pattern is a value.
pub unsafe trait Plain: Copy {}
// SAFETY: repr(C), integers only, sizes asserted below to leave no padding.
unsafe impl Plain for Header {}
// SAFETY: as above.
unsafe impl Plain for Delta {}
// SAFETY: as above.
unsafe impl Plain for Mark {}
// SAFETY: as above.
unsafe impl Plain for Counters {}
// SAFETY: as above.
unsafe impl Plain for CpuMemory {}
// SAFETY: as above.
unsafe impl Plain for SweepArguments {}
// SAFETY: as above.
unsafe impl Plain for SampleHead {}
// SAFETY: as above.
unsafe impl<const N: usize> Plain for Sample<N> {}

/// The octets of a record.
pub fn octets_of<T: Plain>(record: &T) -> &[u8] {
    // SAFETY: `Plain` says that every octet of the value is initialised; the slice borrows the value.
    unsafe { core::slice::from_raw_parts(core::ptr::from_ref(record).cast(), size_of::<T>()) }
}

/// Reads a record from the start of `octets`; `None` when they are too few.
pub fn read_record<T: Plain>(octets: &[u8]) -> Option<T> {
    if octets.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: the length was checked; `Plain` says every bit pattern is a value; the read is unaligned.
    Some(unsafe { octets.as_ptr().cast::<T>().read_unaligned() })
}

const _: () = assert!(size_of::<Header>() == 8);
const _: () = assert!(size_of::<FlowKey>() == 40);
const _: () = assert!(size_of::<Volume>() == 64);
const _: () = assert!(size_of::<Stack>() == 56);
const _: () = assert!(size_of::<Link>() == 16);
const _: () = assert!(size_of::<Side>() == 136);
const _: () = assert!(size_of::<Delta>() == 64 + 2 * 136 + 32 + 16 + 8 + 16 + 16);
const _: () = assert!(size_of::<SampleHead>() == 96);
const _: () = assert!(size_of::<Sample<SAMPLE_LARGE>>() == 96 + SAMPLE_LARGE);
const _: () = assert!(size_of::<Counters>() == 8 * (4 + 2 * Discard::CELLS + 2 * Lost::CELLS + 1 + 3 * Class::CELLS + 7));
const _: () =
    assert!(size_of::<Core>() == size_of::<Counters>() + size_of::<Shares>() + 16 + 8 * PATHS_KEPT + size_of::<TunnelPath>());
const _: () = assert!(size_of::<CpuMemory>() == size_of::<Core>() + size_of::<Packet>());
const _: () = assert!(size_of::<SweepArguments>() == 24);
const _: () = assert!(size_of::<Mark>() == 16 + size_of::<Counters>() + 16);
