//! Hashes of flow keys.

use crate::record::FlowKey;

/// Hash for sharding: of the addresses and the protocol only, so that fragments and their first fragment meet in one shard. Not
/// keyed: the same flow goes to the same shard in every run.
pub const fn shard(key: &FlowKey) -> u32 {
    let [low, high] = &key.address;
    let mut state = key.protocol as u64;
    state = mix(state ^ word(low, 0));
    state = mix(state ^ word(low, 8));
    state = mix(state ^ word(high, 0));
    state = mix(state ^ word(high, 8));
    (state >> 32) as u32
}

/// Eight octets as a little-endian number.
const fn word(octets: &[u8; 16], at: usize) -> u64 {
    let mut value = 0;
    let mut i = 0;
    while i < 8 {
        value |= (octets[at + i] as u64) << (8 * i);
        i += 1;
    }
    value
}

/// A bijection in which every input bit reaches every output bit: multiplications by odd constants between xor-shifts.
const fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    value = (value ^ (value >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    value ^ (value >> 32)
}
