//! Access to the octets of one frame.

use core::mem::MaybeUninit;

use crate::limit::{DIGEST_BLOCK, DIGEST_OCTETS_MAX, HEADER_OFFSET_MAX};

/// One frame: the only door to packet octets. A missing octet is a value, never an index.
pub trait Frame {
    /// The `N` octets at `offset`; `None` when the frame (as captured) is shorter, or the offset is beyond
    /// [`HEADER_OFFSET_MAX`].
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;

    /// The same of what is cheap to reach: `None` also when the octets lie beyond the linear part of the frame.
    #[inline(always)]
    fn read_near<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.read(offset)
    }

    /// Octets on the wire, which may be more than were captured.
    fn wire_octets(&self) -> u32;

    /// Octets that can be read.
    fn captured_octets(&self) -> u32;

    /// The kernel says that this is several frames that an offload merged, whatever its length.
    fn is_merged(&self) -> bool {
        false
    }

    /// The same number, but no longer a constant in the verifier's eyes, so that program paths merge. Identity natively.
    fn blur(&self, offset: u32) -> u32 {
        offset
    }

    /// VLAN tag that the NIC or its driver took out of the frame and holds beside it.
    fn offloaded_tag(&self) -> Option<u16> {
        None
    }

    /// Keyed digest of `length` octets from `offset` on (at most [`crate::limit::DIGEST_OCTETS_MAX`]), or of as many as were captured.
    fn digest(&self, offset: u32, length: u32, keys: &[u64; 5]) -> u64;

    /// Copies `length` octets (at most `N`) from `offset` to `into`; false when they are not there. Octets of `into` behind
    /// `length` are left as they are.
    fn copy<const N: usize>(&self, offset: u32, length: u32, into: &mut [MaybeUninit<u8>; N]) -> bool;
}

/// Octets by the word: what a digest is made of.
pub trait Words {
    /// The `N` little-endian words at `offset`; `None` when they are not all there.
    fn words<const N: usize>(&self, offset: u32) -> Option<[u64; N]>;
}

/// Words of one step of a digest.
const BLOCK_WORDS: usize = DIGEST_BLOCK as usize / 8;
/// Most steps.
const BLOCKS_MAX: u32 = DIGEST_OCTETS_MAX / DIGEST_BLOCK;

/// Keyed digest of `length` octets from `offset` on, of which all are there, and eight octets or more before them. What is left behind whole
/// blocks is read from its end, so that all reads are of whole words: some octets count twice then, and so the length counts, too.
#[inline(always)]
pub fn digest<W: Words>(octets: &W, offset: u32, length: u32, keys: &[u64; 5]) -> u64 {
    let mut lanes = Lanes::new(keys);
    let end = offset + length;
    let blocks = length / DIGEST_BLOCK;
    for block in 0..BLOCKS_MAX {
        if block >= blocks {
            break;
        }
        let Some([a, b, c, d, e, f, g, h]) = octets.words::<BLOCK_WORDS>(offset + block * DIGEST_BLOCK) else { break };
        lanes.add([a, b, c, d]);
        lanes.add([e, f, g, h]);
    }
    if !length.is_multiple_of(DIGEST_BLOCK) {
        if length > 32 {
            let from = if length > DIGEST_BLOCK { end - DIGEST_BLOCK } else { offset };
            lanes.add(octets.words(from).unwrap_or_default());
            lanes.add(octets.words(end - 32).unwrap_or_default());
        } else if length >= 16 {
            let ([a, b], [c, d]) = (octets.words(offset).unwrap_or_default(), octets.words(end - 16).unwrap_or_default());
            lanes.add([a, b, c, d]);
        } else {
            let [last] = octets.words(end.wrapping_sub(8)).unwrap_or_default();
            if length >= 8 {
                let [first] = octets.words(offset).unwrap_or_default();
                lanes.add([first, last, 0, 0]);
            } else {
                lanes.add([last >> (64 - 8 * length), 0, 0, 0]);
            }
        }
    }
    lanes.finish().wrapping_add(u64::from(length))
}

/// Four sums that do not wait for each other.
#[derive(Clone, Copy)]
struct Lanes {
    sums: [u64; 4],
    factor: u64,
}

impl Lanes {
    #[inline(always)]
    const fn new(keys: &[u64; 5]) -> Self {
        Self { sums: [keys[0], keys[1], keys[2], keys[3]], factor: keys[4] | 1 }
    }

    #[inline(always)]
    const fn add(&mut self, words: [u64; 4]) {
        let [a, b, c, d] = &mut self.sums;
        *a = (*a ^ words[0]).wrapping_mul(self.factor);
        *b = (*b ^ words[1]).wrapping_mul(self.factor);
        *c = (*c ^ words[2]).wrapping_mul(self.factor);
        *d = (*d ^ words[3]).wrapping_mul(self.factor);
        // Without this, changes of two words' top bits would cancel.
        *a ^= *a >> 29;
        *b ^= *b >> 29;
        *c ^= *c >> 29;
        *d ^= *d >> 29;
    }

    /// The sums with weights: of changes that are alike in two of them nothing cancels. Not stirred.
    #[inline(always)]
    const fn finish(&self) -> u64 {
        let [a, b, c, d] = self.sums;
        let ab = a.wrapping_add(b.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let cd = c.wrapping_mul(0xc2b2_ae3d_27d4_eb4f).wrapping_add(d.wrapping_mul(0x1656_67b1_9e37_79f9));
        ab.wrapping_add(cd)
    }
}

/// A frame in memory.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a> {
    octets: &'a [u8],
    wire_octets: u32,
}

impl<'a> Slice<'a> {
    /// A frame of which `octets` were captured and that had `wire_octets` on the wire (at least as many).
    pub fn new(octets: &'a [u8], wire_octets: u32) -> Self {
        debug_assert!(octets.len() <= wire_octets as usize, "captured more than was there");
        Self { octets, wire_octets }
    }
}

impl Words for Slice<'_> {
    #[inline(always)]
    fn words<const N: usize>(&self, offset: u32) -> Option<[u64; N]> {
        let octets = self.octets.get(offset as usize..)?;
        let (words, _) = octets.as_chunks::<8>();
        Some(words.first_chunk::<N>()?.map(u64::from_le_bytes))
    }
}

impl Frame for Slice<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        if offset > HEADER_OFFSET_MAX {
            return None;
        }
        let start = offset as usize;
        self.octets.get(start..start + N)?.try_into().ok()
    }

    #[inline(always)]
    fn wire_octets(&self) -> u32 {
        self.wire_octets
    }

    #[inline(always)]
    fn captured_octets(&self) -> u32 {
        self.octets.len() as u32
    }

    #[inline]
    fn digest(&self, offset: u32, length: u32, keys: &[u64; 5]) -> u64 {
        let left = self.captured_octets().saturating_sub(offset);
        digest(self, offset, length.min(left), keys)
    }

    fn copy<const N: usize>(&self, offset: u32, length: u32, into: &mut [MaybeUninit<u8>; N]) -> bool {
        let start = offset as usize;
        let from = self.octets.get(start..start + length as usize);
        let (Some(from), Some(into)) = (from, into.get_mut(..length as usize)) else { return false };
        into.write_copy_of_slice(from);
        true
    }
}
