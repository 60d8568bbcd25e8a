//! What the meter is told at load time. In the kernel this is one read-only global, so that unused branches are dead code.

use crate::{record::Plain, sample::Class};

/// `Settings::flags`: the observation time is the `u64` in front of the frame (XDP metadata). Test runs only.
pub const FLAG_TIME_IN_METADATA: u32 = 1;
/// `Settings::flags`: one clock reading per NAPI poll instead of one per packet.
pub const FLAG_CLOCK_PER_POLL: u32 = 2;
/// `Settings::flags`: the outermost VLAN identifier is part of the key of IP flows.
pub const FLAG_VLAN_IN_KEY: u32 = 4;
/// `Settings::flags`: samples are taken.
pub const FLAG_SAMPLES: u32 = 8;

/// `Settings::flags`: copies are counted as such and metered all the same.
pub const FLAG_COPIES_METERED: u32 = 16;

/// Settings of one meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// Keys of the flow hash, five words of 64 random bits: without them an attacker cannot aim at one set.
    pub hash_keys: [u64; 5],
    /// Sets per CPU, minus one; sets are a power of two.
    pub sets_mask: u32,
    /// `FLAG_*`.
    pub flags: u32,
    /// Index of the interface in the engine's list of observation points.
    pub observation_point: u32,
    /// What XDP ends with: 1 drop, 2 pass (`enum xdp_action`). TCX: 1 → `TC_ACT_SHOT`, 2 → `TC_ACT_UNSPEC`.
    pub disposition: u32,
    /// Frames of more octets are counted as super-frames (GRO/LRO); zero: none are.
    pub super_frame_octets: u32,
    /// A packet that comes again within this time is a copy, in units of 2^[`crate::limit::COPY_UNIT_SHIFT`] ns; zero: none is looked for.
    pub copy_units: u32,
    /// Octets of each CPU's ring. The loader sets it.
    pub ring_octets: u32,
    /// Reserved, zero.
    pub reserved: u32,
    /// Octets of samples per tick and CPU, by [`Class`].
    pub sample_shares: [u32; Class::CELLS],
}

// SAFETY: repr(C), integers only; the size is asserted below to leave no padding.
unsafe impl Plain for Settings {}
const _: () = assert!(size_of::<Settings>() == 5 * 8 + 8 * 4 + 4 * Class::CELLS);

impl Settings {
    /// Settings that every part can run with: exact clock, samples on, copies counted, default sets, fixed hash keys (tests and benches; the engine
    /// draws random ones).
    pub const fn plain() -> Self {
        Self {
            hash_keys: [
                0x243f_6a88_85a3_08d3,
                0x1319_8a2e_0370_7345,
                0xa409_3822_299f_31d1,
                0x082e_fa98_ec4e_6c89,
                0x4528_21e6_38d0_1377,
            ],
            sets_mask: crate::limit::SETS_DEFAULT - 1,
            flags: FLAG_SAMPLES | FLAG_COPIES_METERED,
            observation_point: 0,
            disposition: 2,
            super_frame_octets: 0,
            copy_units: 23,
            ring_octets: 0,
            reserved: 0,
            sample_shares: crate::sample::SHARES_DEFAULT,
        }
    }

    /// Whether a `FLAG_*` is set.
    #[inline(always)]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}
