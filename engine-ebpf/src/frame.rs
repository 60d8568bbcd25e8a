//! Access to the octets of one frame.

use core::mem::MaybeUninit;

use crate::limit::HEADER_OFFSET_MAX;

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

    /// The same number, but no longer a constant in the verifier's eyes, so that program paths merge. Identity natively.
    fn blur(&self, offset: u32) -> u32 {
        offset
    }

    /// VLAN tag that the NIC or its driver took out of the frame and holds beside it.
    fn offloaded_tag(&self) -> Option<u16> {
        None
    }

    /// Copies `length` octets (at most `N`) from `offset` to `into`; false when they are not there. Octets of `into` behind
    /// `length` are left as they are.
    fn copy<const N: usize>(&self, offset: u32, length: u32, into: &mut [MaybeUninit<u8>; N]) -> bool;
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

    fn copy<const N: usize>(&self, offset: u32, length: u32, into: &mut [MaybeUninit<u8>; N]) -> bool {
        let start = offset as usize;
        let from = self.octets.get(start..start + length as usize);
        let (Some(from), Some(into)) = (from, into.get_mut(..length as usize)) else { return false };
        into.write_copy_of_slice(from);
        true
    }
}
