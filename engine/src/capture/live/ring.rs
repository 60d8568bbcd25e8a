//! One BPF ring buffer to records, without copies and without a system call.
//!
//! The kernel maps a ring as a consumer page, a producer page and its data pages twice in a row, so that no record wraps. A
//! record is an eight-octet header (length with a busy and a discard bit, then a page offset) and its octets, padded to eight.
//! A batch of records is lent to the caller in place and given back by one store of the consumer position: what the caller
//! counted is counted before the kernel may overwrite it.
//!
//! Public for benches, whose consumer is then the product's.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

const BUSY: u32 = 1 << 31;
const DISCARD: u32 = 1 << 30;
const HEADER: u64 = 8;

/// The shared memory of one ring.
#[derive(Debug)]
pub struct RingMemory {
    consumer: NonNull<AtomicU64>,
    producer: NonNull<AtomicU64>,
    /// `2 * size` octets, the second half showing the first again.
    records: NonNull<u8>,
    size: u64,
    mappings: [Option<Mapping>; 2],
}

// SAFETY: positions are only reached as atomics; record octets are read by the one `RingReader` and only between the consumer
// and producer positions, where the kernel does not write.
unsafe impl Send for RingMemory {}
// SAFETY: as above.
unsafe impl Sync for RingMemory {}

impl RingMemory {
    /// Maps the ring behind a map descriptor; `size` is the map's size in octets.
    ///
    /// # Errors
    /// The descriptor is no ring of that size, or there is no memory.
    pub fn map(ring: BorrowedFd<'_>, size: u32) -> io::Result<Self> {
        let page = page_octets();
        let consumer = Mapping::new(ring, 0, page, libc::PROT_READ | libc::PROT_WRITE)?;
        let producer = Mapping::new(ring, page, page + 2 * size as usize, libc::PROT_READ)?;
        // SAFETY: the producer mapping is one page and twice the ring.
        let records = unsafe { producer.start.add(page) };
        Ok(Self {
            consumer: consumer.start.cast(),
            producer: producer.start.cast(),
            records,
            size: u64::from(size),
            mappings: [Some(consumer), Some(producer)],
        })
    }

    fn consumer(&self) -> &AtomicU64 {
        // SAFETY: the pointer is valid and aligned while `self` holds the mapping.
        unsafe { self.consumer.as_ref() }
    }

    fn producer(&self) -> &AtomicU64 {
        // SAFETY: as above.
        unsafe { self.producer.as_ref() }
    }

    /// Where the kernel puts the next record.
    pub(super) fn end(&self) -> u64 {
        self.producer().load(Ordering::Acquire)
    }

    /// Octets between consumer and producer.
    pub(super) fn used(&self) -> u64 {
        let consumer = self.consumer().load(Ordering::Acquire);
        self.producer().load(Ordering::Acquire).wrapping_sub(consumer)
    }

    /// Octets that the kernel can still reserve.
    pub(super) fn free(&self) -> u64 {
        self.size.saturating_sub(self.used())
    }

    /// Octets of the ring.
    pub(super) fn size(&self) -> u64 {
        self.size
    }
}

/// What one drain of a ring came upon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Records lent.
    pub records: usize,
    /// Times that the ring's own framing was impossible and everything up to the producer was given up.
    pub broken: usize,
}

/// The one consumer of a ring.
#[derive(Debug)]
pub struct RingReader<'a> {
    memory: &'a RingMemory,
    position: u64,
}

impl<'a> RingReader<'a> {
    /// Goes on where the last consumer stopped.
    pub fn new(memory: &'a RingMemory) -> Self {
        Self { memory, position: memory.consumer().load(Ordering::Acquire) }
    }

    /// Lends up to `most` records to `take`, oldest first, then gives all of them back at once.
    pub fn drain(&mut self, most: usize, mut take: impl FnMut(&[u8])) -> Drained {
        self.drain_while(most, |record| {
            take(record);
            true
        })
    }

    /// The same, but a record for which `take` says false is the last one.
    pub fn drain_while(&mut self, most: usize, mut take: impl FnMut(&[u8]) -> bool) -> Drained {
        let mut drained = Drained::default();
        let start = self.position;
        let producer = self.memory.producer().load(Ordering::Acquire);
        let mut more = true;
        while more && drained.records < most && self.position != producer {
            let left = producer.wrapping_sub(self.position);
            let offset = self.position & (self.memory.size - 1);
            // SAFETY: the offset is inside the ring and a multiple of eight, so the header is whole and aligned.
            let header = unsafe { &*self.memory.records.add(offset as usize).as_ptr().cast::<AtomicU32>() };
            let header = header.load(Ordering::Acquire);
            if header & BUSY != 0 {
                break;
            }
            let octets = u64::from(header & !DISCARD);
            let whole = (HEADER + octets).next_multiple_of(8);
            if whole > left || left > self.memory.size {
                drained.broken += 1;
                self.position = producer;
                break;
            }
            if header & DISCARD == 0 {
                // SAFETY: header and record lie between consumer and producer, hence inside the doubled mapping, and the
                // kernel does not write there until the consumer position moves, which happens after `take` returns.
                let record = unsafe {
                    std::slice::from_raw_parts(self.memory.records.add((offset + HEADER) as usize).as_ptr(), octets as usize)
                };
                more = take(record);
                drained.records += 1;
            }
            self.position = self.position.wrapping_add(whole);
        }
        if self.position != start {
            self.memory.consumer().store(self.position, Ordering::Release);
        }
        drained
    }

    /// Whether the record lent last lies behind a position that [`RingMemory::end`] gave.
    pub(super) fn is_behind(&self, end: u64) -> bool {
        self.position.wrapping_sub(end).cast_signed() > 0
    }

    /// Whether nothing is waiting.
    pub(super) fn is_empty(&self) -> bool {
        self.memory.producer().load(Ordering::Acquire) == self.position
    }
}

#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    octets: usize,
}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, offset: usize, octets: usize, protection: libc::c_int) -> io::Result<Self> {
        // SAFETY: a new shared mapping at an address of the kernel's choice; nothing else is touched.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), octets, protection, libc::MAP_SHARED, fd.as_raw_fd(), offset as libc::off_t)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(start.cast()).map(|start| Self { start, octets }).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this start and length and is unmapped once.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.octets) };
    }
}

impl Drop for RingMemory {
    fn drop(&mut self) {
        self.mappings = [None, None];
    }
}

/// Octets of a memory page.
pub(super) fn page_octets() -> usize {
    // SAFETY: no pointers.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Makes a ring of `octets` (a power of two of at least a page) and returns its map descriptor.
///
/// # Errors
/// The kernel refuses.
pub fn create(octets: u32) -> io::Result<OwnedFd> {
    const MAP_CREATE: libc::c_int = 0;
    const TYPE_RINGBUF: u32 = 27;
    /// The leading members of `union bpf_attr` for `BPF_MAP_CREATE`.
    #[repr(C)]
    struct MapCreate {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        map_flags: u32,
        inner_map_fd: u32,
        numa_node: u32,
        map_name: [u8; 16],
    }
    let mut attributes = MapCreate {
        map_type: TYPE_RINGBUF,
        key_size: 0,
        value_size: 0,
        max_entries: octets,
        map_flags: 0,
        inner_map_fd: 0,
        numa_node: 0,
        map_name: *b"AUSCULT_RING\0\0\0\0",
    };
    // SAFETY: the attributes live through the call and their size is given; unnamed members count as zero.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, MAP_CREATE, &raw mut attributes, size_of::<MapCreate>()) };
    let fd = i32::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
