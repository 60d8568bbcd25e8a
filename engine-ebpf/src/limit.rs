//! Every bound of the kernel side, with its reason, and the relations between them asserted at compile time.

/// VLAN tags that are read one behind the other. QinQ needs two; a third is seen where a provider tag wraps QinQ.
pub const VLAN_TAGS_MAX: usize = 3;
/// VLAN identifiers kept per direction (the two outermost).
pub const VLAN_IDS_KEPT: usize = 2;
/// Encapsulations that are opened one in the other: a mirror's (ERSPAN) around an overlay's (VXLAN). All are kept.
pub const TUNNELS_MAX: usize = 2;
/// Tunnel paths that a CPU remembers having handed over: as many pairs of peers as talk to each other in a second.
pub const PATHS_KEPT: usize = 32;
/// Ticks after which a tunnel path is handed over anew (2^5 are 17 s), so that an engine that starts later learns it.
pub const PATH_TICKS_SHIFT: u32 = 5;
/// Payload octets that tell copies from other packets: a full Ethernet frame's. Of longer packets the rest is not looked at.
pub const DIGEST_OCTETS_MAX: u32 = 1536;
/// Octets digested per step.
pub const DIGEST_BLOCK: u32 = 64;
/// Places for recent packets that one digest can be in. When as many younger ones have come in one, a copy is no longer known.
pub const COPY_WAYS: usize = 4;
/// Buckets of recent packets: 512 KiB in all. At a million packets a second and copies 3 ms late, one in 25,000 is missed.
pub const COPY_BUCKETS: usize = 1 << 14;
/// Unit of the times in the table of recent packets: 2^17 ns (131 us).
pub const COPY_UNIT_SHIFT: u32 = 17;
/// Longest window for copies in those units (67 ms): beyond it, retransmissions would be taken for copies.
pub const COPY_UNITS_MAX: u32 = 511;
/// MPLS labels read up to the bottom of the stack. Service, transport and two protection or entropy pairs need six.
pub const MPLS_LABELS_MAX: usize = 8;
/// IPv6 extension headers walked before the transport header (RFC 8200 §4.1 lists seven, each at most once).
pub const EXTENSION_HEADERS_MAX: usize = 7;
/// TCP options walked on a SYN: 40 octets hold at most 40, real stacks send five to seven.
pub const TCP_OPTIONS_MAX: usize = 12;
/// Deepest octet offset of a header that is read. Keeps packet offsets small enough for the verifier.
pub const HEADER_OFFSET_MAX: u32 = 1023;
/// First packets of a biflow whose sizes, directions and times travel in the delta.
pub const FIRST_PACKETS: usize = 8;
/// Bins of the packet-size histogram; borders in [`crate::meter::size_bin`].
pub const SIZE_BINS: usize = 8;
/// Ways per set: two, so that two colliding heavy flows do not evict each other on every packet.
pub const WAYS: usize = 2;
/// Sets per CPU unless configured. 2,048 sets of two slots are 1.6 MiB: they fit a second-level cache share and a flood
/// costs sequential ring writes, not cache misses.
pub const SETS_DEFAULT: u32 = 2048;
/// Most sets per CPU that the object is built for.
pub const SETS_MAX: u32 = 1 << 16;
/// A tick is 2^29 ns (0.537 s). No delta spans two ticks, so times inside a delta fit 32 bits and cuts by active timeout do
/// not depend on evictions.
pub const TICK_SHIFT: u32 = 29;
/// A packet this many ticks after the slot's last one starts a fresh run: whatever ended meanwhile must not be continued.
pub const RUN_IDLE_TICKS: u64 = 8;
/// Packets of one direction at which a delta is closed, so that 16-bit counts and 32-bit octet sums cannot overflow.
pub const DELTA_PACKETS_MAX: u16 = 0x7fff;
/// Layer-2 octets of one direction at which a delta is closed (see [`DELTA_PACKETS_MAX`]).
pub const DELTA_OCTETS_MAX: u32 = 1 << 31;
/// Sets that one sweep run may walk: the tap of that CPU waits as long as the run takes.
pub const SWEEP_SETS_MAX: u32 = 256;
/// CPUs that the object has room for.
pub const CPUS_MAX: u32 = 256;
/// Octets of a sample record's three sizes. The kernel reserves the smallest that holds the payload.
pub const SAMPLE_SMALL: usize = 128;
/// See [`SAMPLE_SMALL`].
pub const SAMPLE_MEDIUM: usize = 512;
/// See [`SAMPLE_SMALL`]. One full Ethernet payload.
pub const SAMPLE_LARGE: usize = 1504;
/// Samples of classes that a flood can have in any number find room in a ring that is used up to one part in this many and no
/// further, so that they go before any delta does.
pub const BULK_SAMPLES_PART: u32 = 2;
/// Deltas and tunnel paths leave one part of the ring in this many to Marks and to samples of the other classes, which tell what devices are and whose
/// shares are small.
pub const RING_RESERVE_PART: u32 = 8;

const _: () = assert!(BULK_SAMPLES_PART < RING_RESERVE_PART);
const _: () = assert!(TICK_SHIFT < 32, "times inside a delta are 32-bit nanoseconds");
const _: () = assert!(SETS_DEFAULT.is_power_of_two() && SETS_MAX.is_power_of_two());
const _: () = assert!(SETS_DEFAULT <= SETS_MAX);
const _: () = assert!(FIRST_PACKETS <= 8, "directions of the first packets are one octet");
const _: () = assert!(COPY_BUCKETS.is_power_of_two() && COPY_WAYS.is_power_of_two());
const _: () = assert!(DIGEST_OCTETS_MAX.is_multiple_of(DIGEST_BLOCK));
const _: () = assert!(PATHS_KEPT.is_power_of_two());
const _: () = assert!(VLAN_IDS_KEPT <= VLAN_TAGS_MAX);
