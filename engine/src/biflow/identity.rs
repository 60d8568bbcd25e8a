//! Flow keys to numbers: the stable flow id, and the seeded hash of the table.

use auscult_ebpf::record::FlowKey;

use crate::flow::UnixNanos;

/// Key of the SipHash that makes flow ids. Part of the format: a change gives every flow another id.
const ID_KEY: [u64; 2] = [0x6175_7363_756c_745f, 0x666c_6f77_5f69_645f];

/// A site's name as it enters flow ids.
pub(super) fn site_number(site: &str) -> u64 {
    sip(site.as_bytes())
}

/// The id of a biflow: SipHash-2-4 over the canonical key (addresses low and high, then ports, protocol, form and scope, little
/// endian), the Unix time of its first packet, the site's number and `twin` (which tells apart flows of one key that begin at
/// one time). The top bit is clear, so that it is positive as a signed number, and it is never zero.
pub(super) fn flow_id(key: &FlowKey, start: UnixNanos, site: u64, twin: u16) -> u64 {
    let mut octets = [0; 64];
    octets[..16].copy_from_slice(&key.address[0]);
    octets[16..32].copy_from_slice(&key.address[1]);
    octets[32..34].copy_from_slice(&key.port[0].to_le_bytes());
    octets[34..36].copy_from_slice(&key.port[1].to_le_bytes());
    octets[36] = key.protocol;
    octets[37] = key.form;
    octets[38..40].copy_from_slice(&key.scope.to_le_bytes());
    octets[40..48].copy_from_slice(&start.to_le_bytes());
    octets[48..56].copy_from_slice(&site.to_le_bytes());
    octets[56..58].copy_from_slice(&twin.to_le_bytes());
    (sip(&octets) & (u64::MAX >> 1)).max(1)
}

/// SipHash-2-4 (Aumasson, Bernstein 2012) under [`ID_KEY`].
pub(super) fn sip(octets: &[u8]) -> u64 {
    sip_keyed(ID_KEY, octets)
}

fn sip_keyed(key: [u64; 2], octets: &[u8]) -> u64 {
    let mut v = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    let (words, rest) = octets.as_chunks::<8>();
    let mut tail = [0; 8];
    tail[..rest.len()].copy_from_slice(rest);
    tail[7] = octets.len() as u8;
    for word in words.iter().chain([&tail]) {
        let word = u64::from_le_bytes(*word);
        v[3] ^= word;
        sip_round(&mut v);
        sip_round(&mut v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    for _ in 0..4 {
        sip_round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[inline(always)]
fn sip_round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

/// Seeded hash of flow keys: every word meets a secret before it is multiplied. `Delta::hash` cannot serve here, because every
/// meter has its own key.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyHash([u64; 6]);

impl KeyHash {
    pub(super) fn new(seed: u64) -> Self {
        let mut state = seed;
        Self(std::array::from_fn(|_| {
            // SplitMix64 (Steele, Lea, Flood 2014).
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let a = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            b ^ (b >> 31)
        }))
    }

    #[inline]
    pub(super) fn of(&self, key: &FlowKey) -> u64 {
        let secret = &self.0;
        let low = u128::from_le_bytes(key.address[0]);
        let high = u128::from_le_bytes(key.address[1]);
        let rest = u64::from(key.port[0])
            | u64::from(key.port[1]) << 16
            | u64::from(key.protocol) << 32
            | u64::from(key.form) << 40
            | u64::from(key.scope) << 48;
        let a = fold(low as u64 ^ secret[0], (low >> 64) as u64 ^ secret[1]);
        let b = fold(high as u64 ^ secret[2], (high >> 64) as u64 ^ secret[3]);
        fold(a ^ b.rotate_left(32) ^ rest ^ secret[4], secret[5] | 1)
    }
}

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of the SipHash paper's reference: key 00..0f, message 00..(n-1).
    #[test]
    fn sip_hash_matches_published_vectors() {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let message: Vec<u8> = (0..15).collect();
        assert_eq!(sip_keyed(key, &message[..0]), 0x726f_db47_dd0e_0e31);
        assert_eq!(sip_keyed(key, &message[..1]), 0x74f8_39c5_93dc_67fd);
        assert_eq!(sip_keyed(key, &message[..8]), 0x93f5_f579_9a93_2462);
        assert_eq!(sip_keyed(key, &message), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn flow_ids_are_positive_and_pinned() {
        let key = FlowKey { port: [80, 40_000], protocol: 6, form: 4, ..FlowKey::default() };
        let id = flow_id(&key, 1, 2, 0);
        assert_eq!(id, flow_id(&key, 1, 2, 0));
        assert!(id > 0 && id < 1 << 63);
        for other in [flow_id(&key, 2, 2, 0), flow_id(&key, 1, 3, 0), flow_id(&key, 1, 2, 1)] {
            assert_ne!(id, other);
        }
    }

    #[test]
    fn key_hash_depends_on_every_octet_and_the_seed() {
        let hash = KeyHash::new(7);
        let key = FlowKey::default();
        let mut seen = std::collections::BTreeSet::from([hash.of(&key), KeyHash::new(8).of(&key)]);
        for i in 0..16 {
            for d in 0..2 {
                let mut other = key;
                other.address[d][i] = 1;
                seen.insert(hash.of(&other));
            }
        }
        seen.insert(hash.of(&FlowKey { port: [1, 0], ..key }));
        seen.insert(hash.of(&FlowKey { port: [0, 1], ..key }));
        seen.insert(hash.of(&FlowKey { protocol: 1, ..key }));
        seen.insert(hash.of(&FlowKey { form: 1, ..key }));
        seen.insert(hash.of(&FlowKey { scope: 1, ..key }));
        assert_eq!(seen.len(), 39);
    }
}
