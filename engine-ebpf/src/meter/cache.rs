//! The flow cache: two-way sets of slots, found by hash.

use crate::{
    limit::WAYS,
    record::{Delta, Set},
};

/// A slot for a key.
pub struct Found<'a> {
    /// The slot.
    pub slot: &'a mut Delta,
    /// It holds the key already. If not, what it holds must be handed over before the slot is claimed.
    pub hit: bool,
}

/// Finds the slot of a key.
pub trait Slots {
    /// The slot that holds the key, or the one that it may take over; `None` when there is none at all.
    fn find(&mut self, hash: u64, key: &[u64; 5]) -> Option<Found<'_>>;
}

/// Sets by index.
pub trait Sets {
    /// The set; indices beyond the last wrap or are `None`.
    fn set(&mut self, index: u32) -> Option<&mut Set>;
}

/// The flow cache over any storage of sets.
pub struct FlowCache<T> {
    /// Where the sets are.
    pub sets: T,
    /// Number of sets minus one.
    pub mask: u32,
}

impl<T: Sets> Slots for FlowCache<T> {
    #[inline(always)]
    fn find(&mut self, hash: u64, key: &[u64; 5]) -> Option<Found<'_>> {
        let set = self.sets.set(hash as u32 & self.mask)?;
        let [first, second] = set;
        if first.holds(key) {
            return Some(Found { slot: first, hit: true });
        }
        if second.holds(key) {
            return Some(Found { slot: second, hit: true });
        }
        let slot = if first.staler(second) { first } else { second };
        Some(Found { slot, hit: false })
    }
}

const _: () = assert!(WAYS == 2, "find() reads two ways");

impl Delta {
    /// The slot holds packets that have not been handed over.
    #[inline(always)]
    pub const fn dirty(&self) -> bool {
        self.header.packets[0] | self.header.packets[1] != 0
    }

    /// The slot is of this key, with packets or without.
    #[inline(always)]
    pub fn holds(&self, key: &[u64; 5]) -> bool {
        let own = self.key.words();
        // An unused slot has ABI 0 and must not match an all-zero key.
        (own[0] ^ key[0]) | (own[1] ^ key[1]) | (own[2] ^ key[2]) | (own[3] ^ key[3]) | (own[4] ^ key[4]) == 0
            && self.header.abi != 0
    }

    /// This slot is the better one to take over: it is clean, or its delta began earlier.
    #[inline(always)]
    const fn staler(&self, other: &Self) -> bool {
        if !self.dirty() {
            return !other.dirty() && self.base <= other.base || other.dirty();
        }
        other.dirty() && self.base <= other.base
    }
}
