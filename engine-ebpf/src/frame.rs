//! Access to the octets of one frame.

use core::mem::MaybeUninit;

use crate::{
    hash,
    limit::{DIGEST_BLOCK, HEADER_OFFSET_MAX},
};

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

/// Digest of octets that are read in blocks of four words: four sums that do not wait for each other.
#[derive(Clone, Copy)]
pub struct Lanes([u64; 4]);

/// Words of a block.
pub const BLOCK_WORDS: usize = DIGEST_BLOCK as usize / 8;

impl Lanes {
    /// Nothing digested yet.
    #[inline(always)]
    pub const fn new(keys: &[u64; 5]) -> Self {
        Self([keys[0], keys[1], keys[2], keys[3]])
    }

    /// One more block; words behind the last octet are zero.
    #[inline(always)]
    pub const fn add(&mut self, block: &[u64; BLOCK_WORDS], keys: &[u64; 5]) {
        let factor = keys[4] | 1;
        let [a, b, c, d] = &mut self.0;
        *a = (*a ^ block[0]).wrapping_mul(factor);
        *b = (*b ^ block[1]).wrapping_mul(factor);
        *c = (*c ^ block[2]).wrapping_mul(factor);
        *d = (*d ^ block[3]).wrapping_mul(factor);
        // Without this, changes of two words' top bits would cancel. By another number than `stir` shifts by first, which would undo it.
        *a ^= *a >> 29;
        *b ^= *b >> 29;
        *c ^= *c >> 29;
        *d ^= *d >> 29;
    }

    /// The digest.
    #[inline(always)]
    pub const fn finish(&self) -> u64 {
        let [a, b, c, d] = self.0;
        hash::stir(hash::stir(hash::stir(a) ^ b) ^ hash::stir(c ^ d.rotate_left(32)))
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
        let from = self.octets.get(offset as usize..).unwrap_or_default();
        let (blocks, rest) = from[..from.len().min(length as usize)].as_chunks::<{ DIGEST_BLOCK as usize }>();
        let mut lanes = Lanes::new(keys);
        let words = |block: &[u8; DIGEST_BLOCK as usize]| -> [u64; BLOCK_WORDS] {
            // SAFETY: as many octets, every bit pattern is a value.
            unsafe { core::mem::transmute(*block) }
        };
        for block in blocks {
            lanes.add(&words(block), keys);
        }
        if !rest.is_empty() {
            let mut block = [0; DIGEST_BLOCK as usize];
            block[..rest.len()].copy_from_slice(rest);
            lanes.add(&words(&block), keys);
        }
        lanes.finish()
    }

    fn copy<const N: usize>(&self, offset: u32, length: u32, into: &mut [MaybeUninit<u8>; N]) -> bool {
        let start = offset as usize;
        let from = self.octets.get(start..start + length as usize);
        let (Some(from), Some(into)) = (from, into.get_mut(..length as usize)) else { return false };
        into.write_copy_of_slice(from);
        true
    }
}
