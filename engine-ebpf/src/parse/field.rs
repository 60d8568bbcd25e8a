//! Header fields by offset. Each is one load: a number put together from octets may be compiled to as many loads.

macro_rules! field {
    ($name:ident, $type:ty, $from:path, $what:literal) => {
        #[doc = $what]
        #[inline(always)]
        pub fn $name<const AT: usize, const N: usize>(header: &[u8; N]) -> $type {
            const { assert!(AT + size_of::<$type>() <= N) };
            // SAFETY: the field lies inside the array, which was just asserted.
            $from(unsafe { header.as_ptr().add(AT).cast::<$type>().read_unaligned() })
        }
    };
}

field!(be16, u16, u16::from_be, "Two octets in network order.");
field!(be32, u32, u32::from_be, "Four octets in network order.");
field!(le32, u32, u32::from_le, "Four octets as a little-endian number: an address as it stands in a key.");
field!(le64, u64, u64::from_le, "Eight octets as a little-endian number: half an address as it stands in a key.");
