//! To come.

/// Bin of a packet size in the histogram: borders at 64, 128, 256, 512, 1024, 1344 and 1536 octets (a bin holds its lower border).
pub const fn size_bin(size: u16) -> usize {
    match size {
        0..64 => 0,
        64..128 => 1,
        128..256 => 2,
        256..512 => 3,
        512..1024 => 4,
        1024..1344 => 5,
        1344..1536 => 6,
        1536.. => 7,
    }
}
