//! Hashes of flow keys.

use crate::record::FlowKey;

/// Keyed hash of the whole key, for the flow cache: the sum of each word times a random odd key, modulo 2^64 (multiply-shift hashing,
/// Dietzfelbinger et al. 1997). The highest bits are the hash, lower ones promise less ([`reduce`]). Addresses are folded first, or
/// two that differ in their last octets alone, which are the highest of a word, would move few bits.
#[inline(always)]
pub fn keyed(words: &[u64; 5], keys: &[u64; 5]) -> u64 {
    let low = folded(words[0]).wrapping_mul(keys[0]).wrapping_add(folded(words[1]).wrapping_mul(keys[1]));
    let high = folded(words[2]).wrapping_mul(keys[2]).wrapping_add(folded(words[3]).wrapping_mul(keys[3]));
    low.wrapping_add(high).wrapping_add(words[4].wrapping_mul(keys[4]))
}

/// A bijection that carries the high half of a word into the low one.
#[inline(always)]
const fn folded(word: u64) -> u64 {
    word ^ (word >> 32)
}

/// The hash as a number below `mask + 1`, a power of two: its highest bits.
#[inline(always)]
pub const fn reduce(hash: u64, mask: u32) -> u32 {
    (((hash >> 32) * (mask as u64 + 1)) >> 32) as u32
}

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
