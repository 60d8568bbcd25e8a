//! Where the index of a table says that an entry is.

/// An entry's place in the slab, and bits of its hash that rule most other entries out without a look at them.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) tag: u32,
    pub(super) index: u32,
}

/// Bits of the hash that the hash table itself does not look at in one group.
pub(super) const fn tag(hash: u64) -> u32 {
    (hash >> 25) as u32
}

impl Place {
    /// Most memory of an index of that many entries while it grows, bytes: a power of two of places, seven in eight of them in use, an
    /// octet of control each, and the index before.
    pub(super) const fn index_bound(entries: usize) -> usize {
        let places = (entries * 8 / 7 + 1).next_power_of_two();
        places * (size_of::<Self>() + 1) * 3 / 2
    }
}
