//! Entries in chunks that never move, so that a table that grows does not copy.

use super::{bound::grown, entry::Entry};

const CHUNK_SHIFT: u32 = 10;

/// Entries by index; freed places are used again, newest first.
#[derive(Default)]
pub(super) struct Slab {
    chunks: Vec<Vec<Entry>>,
    free: Vec<u32>,
    length: u32,
}

impl Slab {
    /// Most memory of that many entries at a time, bytes.
    pub(super) const fn bound(entries: usize) -> usize {
        entries.next_multiple_of(1 << CHUNK_SHIFT) * size_of::<Entry>() + grown(entries) * size_of::<u32>()
    }

    /// Live entries.
    pub(super) fn live(&self) -> usize {
        self.length as usize - self.free.len()
    }

    /// Puts an entry in and gives its index.
    pub(super) fn insert(&mut self, entry: Entry) -> u32 {
        if let Some(index) = self.free.pop() {
            *self.get_mut(index) = entry;
            return index;
        }
        if self.length as usize == self.chunks.len() << CHUNK_SHIFT {
            self.chunks.push(Vec::with_capacity(1 << CHUNK_SHIFT));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(entry);
        }
        self.length += 1;
        self.length - 1
    }

    /// Frees a place.
    pub(super) fn remove(&mut self, index: u32) {
        self.get_mut(index).flags = 0;
        self.free.push(index);
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> &Entry {
        &self.chunks[(index >> CHUNK_SHIFT) as usize][(index & ((1 << CHUNK_SHIFT) - 1)) as usize]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> &mut Entry {
        &mut self.chunks[(index >> CHUNK_SHIFT) as usize][(index & ((1 << CHUNK_SHIFT) - 1)) as usize]
    }

    /// Asks for the entry's memory, which will be used soon. Does nothing where there is no such instruction.
    #[inline]
    pub(super) fn prefetch(&self, index: u32) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let start = std::ptr::from_ref(self.get(index)).cast::<i8>();
            for line in (0..size_of::<Entry>()).step_by(64) {
                // SAFETY: the address lies in the entry; a prefetch reads nothing that the program can see and cannot fault.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(start.add(line)) };
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = index;
    }

    /// Where all live entries are.
    pub(super) fn live_indexes(&self) -> impl Iterator<Item = u32> {
        let numbered = (0..).zip(self.chunks.iter().flatten());
        numbered.filter(|(_, entry)| entry.is_live()).map(|(index, _)| index)
    }

    /// Forgets all entries.
    pub(super) fn clear(&mut self) {
        self.free.clear();
        self.length = 0;
        self.chunks.clear();
    }

    /// Memory, bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        (self.chunks.len() << CHUNK_SHIFT) * size_of::<Entry>() + self.free.capacity() * 4
    }
}
