//! Hashes of flow keys.

use crate::record::FlowKey;

/// Keyed hash of the whole key, for the flow cache: NH (the universal hash of UMAC, RFC 4418 §5.2) over five words, then a
/// bijective finish. The multiplications do not depend on each other.
#[inline(always)]
pub fn keyed(words: &[u64; 5], keys: &[u64; 5]) -> u64 {
    let mut sum = nh(words[0], keys[0]);
    sum = sum.wrapping_add(nh(words[1], keys[1]));
    sum = sum.wrapping_add(nh(words[2], keys[2]));
    sum = sum.wrapping_add(nh(words[3], keys[3]));
    sum = sum.wrapping_add(nh(words[4], keys[4]));
    sum ^= sum >> 32;
    sum = sum.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    sum ^ (sum >> 29)
}

#[inline(always)]
fn nh(word: u64, key: u64) -> u64 {
    let low = (word as u32).wrapping_add(key as u32);
    let high = ((word >> 32) as u32).wrapping_add((key >> 32) as u32);
    u64::from(low).wrapping_mul(u64::from(high))
}

/// A bijection that brings upper bits down and lower bits up.
#[inline(always)]
pub const fn stir(value: u64) -> u64 {
    let value = (value ^ (value >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    value ^ (value >> 29)
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
