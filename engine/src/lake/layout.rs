//! How values lie inside a Parquet page (Apache Parquet format, `Encodings.md`): numbers in, octets out.
//!
//! Nothing here knows columns, nulls or files. A reader is told the encoding by the page header ([`super::chunk`]).

/// Values of one block of [`differences`].
const BLOCK: usize = 128;
/// Values packed with one width.
const MINIBLOCK: usize = 32;
/// Values of one group of [`hybrid`]; a run of fewer equal values is not worth a run of its own.
const GROUP: usize = 8;

/// Appends a number in groups of seven bits, lowest first (ULEB128).
fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Small magnitudes of both signs to small numbers.
const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

/// Bits that `greatest` needs.
pub const fn width(greatest: u64) -> u32 {
    u64::BITS - greatest.leading_zeros()
}

/// Bits one after another, lowest first.
#[derive(Default)]
pub struct Bits {
    octets: Vec<u8>,
    word: u64,
    filled: u32,
}

impl Bits {
    /// Forgets all, keeps the memory.
    pub fn clear(&mut self) {
        self.octets.clear();
        (self.word, self.filled) = (0, 0);
    }

    /// Appends the lowest `count` bits of `bits`, at most 32; the others must be zero.
    #[inline(always)]
    pub fn push(&mut self, bits: u32, count: u32) {
        self.word |= u64::from(bits) << self.filled;
        self.filled += count;
        if self.filled >= 32 {
            self.octets.extend_from_slice(&(self.word as u32).to_le_bytes());
            self.word >>= 32;
            self.filled -= 32;
        }
    }

    /// Appends the bits so far to `out`, filled up with zeros to whole octets.
    pub fn finish(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.octets);
        out.extend_from_slice(&self.word.to_le_bytes()[..self.filled.div_ceil(8) as usize]);
    }
}

/// Appends `values` of `width` bits packed without a gap, filled up with zeros to `count` values.
fn pack(values: impl Iterator<Item = u64>, width: u32, count: usize, out: &mut Vec<u8>) {
    let end = out.len() + (count * width as usize).div_ceil(8);
    let (mut word, mut filled) = (0u128, 0);
    for value in values {
        word |= u128::from(value) << filled;
        filled += width;
        while filled >= 64 {
            out.extend_from_slice(&(word as u64).to_le_bytes());
            word >>= 64;
            filled -= 64;
        }
    }
    out.extend_from_slice(&word.to_le_bytes()[..filled.div_ceil(8) as usize]);
    out.resize(end, 0);
}

/// RLE: runs of equal values, and groups of eight packed ones between them. For levels and dictionary numbers.
pub fn hybrid(values: &[u32], width: u32, out: &mut Vec<u8>) {
    let packed = |from: usize, to: usize, out: &mut Vec<u8>| {
        if from < to {
            let groups = (to - from).div_ceil(GROUP);
            varint((groups as u64) << 1 | 1, out);
            pack(values[from..to].iter().map(|&value| value.into()), width, groups * GROUP, out);
        }
    };
    // What waits to be packed begins at `from`.
    let (mut from, mut at) = (0, 0);
    while let Some(&value) = values.get(at) {
        let run = values[at..].iter().take_while(|other| **other == value).count();
        // A run begins at the border of a group; what it lends to the group before is not its own.
        let lent = (GROUP - (at - from) % GROUP) % GROUP;
        if run >= lent + GROUP {
            packed(from, at + lent, out);
            repeat(value, run - lent, width, out);
            from = at + run;
        }
        at += run;
    }
    packed(from, values.len(), out);
}

/// RLE: one value `count` times.
pub fn repeat(value: u32, count: usize, width: u32, out: &mut Vec<u8>) {
    varint((count as u64) << 1, out);
    out.extend_from_slice(&value.to_le_bytes()[..width.div_ceil(8) as usize]);
}

/// RLE: `count` values that are packed already.
pub fn packed(bits: &Bits, count: usize, width: u32, out: &mut Vec<u8>) {
    let groups = count.div_ceil(GROUP);
    varint((groups as u64) << 1 | 1, out);
    let end = out.len() + groups * width as usize;
    bits.finish(out);
    out.resize(end, 0);
}

/// PLAIN booleans: a bit each.
pub fn flags(values: impl Iterator<Item = bool>, count: usize, out: &mut Vec<u8>) {
    pack(values.map(u64::from), 1, count, out);
}

/// `BYTE_STREAM_SPLIT`: the lowest octets of all values, then the next, up to `octets` of each.
///
/// Most numbers are far smaller than their type: octets that are zero in all values cost nothing here, and next to nothing in
/// the file.
pub fn split<W: Copy + Into<u64>>(values: &[W], octets: u32, out: &mut Vec<u8>) {
    let used = values.iter().fold(0, |used, &value| used | value.into());
    out.reserve(values.len() * octets as usize);
    for shift in (0..octets).map(|octet| octet * 8) {
        if used >> shift & 0xff == 0 {
            out.resize(out.len() + values.len(), 0);
        } else {
            out.extend(values.iter().map(|&value| (value.into() >> shift) as u8));
        }
    }
}

/// `DELTA_BINARY_PACKED`: the first value, then blocks of differences above the smallest of the block.
pub fn differences(values: &[i64], out: &mut Vec<u8>) {
    varint(BLOCK as u64, out);
    varint((BLOCK / MINIBLOCK) as u64, out);
    varint(values.len() as u64, out);
    varint(zigzag(values.first().copied().unwrap_or(0)), out);
    let mut block = [0; BLOCK];
    let mut pairs = values.iter().zip(values.iter().skip(1)).map(|(before, after)| after.wrapping_sub(*before));
    loop {
        let mut length = 0;
        for (place, difference) in block.iter_mut().zip(&mut pairs) {
            *place = difference;
            length += 1;
        }
        let Some(&least) = block[..length].iter().min() else { return };
        varint(zigzag(least), out);
        let above = |difference: &i64| difference.wrapping_sub(least).cast_unsigned();
        let widths = out.len();
        out.resize(widths + BLOCK / MINIBLOCK, 0);
        for (nth, part) in block[..length].chunks(MINIBLOCK).enumerate() {
            let width = width(part.iter().map(above).fold(0, |all, one| all | one));
            out[widths + nth] = width as u8;
            pack(part.iter().map(above), width, MINIBLOCK, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn made(make: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        make(&mut out);
        out
    }

    #[test]
    fn the_formats_own_example_of_packing() {
        // Encodings.md: 0 to 7 with three bits each.
        let packed = made(|out| hybrid(&[0, 1, 2, 3, 4, 5, 6, 7], 3, out));
        assert_eq!(packed, [0b11, 0b1000_1000, 0b1100_0110, 0b1111_1010]);
    }

    #[test]
    fn runs_begin_at_the_border_of_a_group() {
        // Three values, a run that lends five to their group and keeps eleven, one value more.
        let mut values = vec![1, 0, 1];
        values.extend([3; 16]);
        values.push(2);
        let expect = [1 << 1 | 1, 0b1101_0001, 0b1111_1111, 11 << 1, 3, 1 << 1 | 1, 2, 0];
        assert_eq!(made(|out| hybrid(&values, 2, out)), expect);
        assert_eq!(made(|out| hybrid(&[5; 300], 3, out)), [0xd8, 4, 5]);
        assert_eq!(made(|out| hybrid(&[0; 9], 0, out)), [18]);
        assert!(made(|out| hybrid(&[], 1, out)).is_empty());
    }

    #[test]
    fn the_formats_own_examples_of_differences() {
        // Encodings.md: 1 to 5 (all differences 1), and 7 5 3 1 2 3 4 5 (differences from -2 to 1).
        let header = |count, first| [0x80, 1, 4, count, first];
        let one = made(|out| differences(&[1, 2, 3, 4, 5], out));
        assert_eq!(one, [&header(5, 2)[..], &[2, 0, 0, 0, 0]].concat());
        let other = made(|out| differences(&[7, 5, 3, 1, 2, 3, 4, 5], out));
        assert_eq!(other, [&header(8, 14)[..], &[3, 2, 0, 0, 0, 0b1100_0000, 0b11_1111, 0, 0, 0, 0, 0, 0]].concat());
        assert_eq!(made(|out| differences(&[], out)), header(0, 0));
    }

    #[test]
    fn streams_of_octets() {
        assert_eq!(made(|out| split(&[0x0201u16, 0x0403], 4, out)), [1, 3, 2, 4, 0, 0, 0, 0]);
        assert_eq!(made(|out| flags([true, false, true].into_iter(), 3, out)), [0b101]);
        let mut bits = Bits::default();
        for _ in 0..5 {
            bits.push(0b10, 9);
        }
        assert_eq!(made(|out| packed(&bits, 45, 1, out)), [6 << 1 | 1, 2, 4, 8, 16, 32, 0]);
    }

    /// Reads what this module writes, from the format's text alone.
    struct Octets<'a>(&'a [u8]);

    impl Octets<'_> {
        fn take(&mut self, count: usize) -> &[u8] {
            let (taken, rest) = self.0.split_at(count);
            self.0 = rest;
            taken
        }

        fn varint(&mut self) -> u64 {
            let mut number = 0;
            for shift in (0..64).step_by(7) {
                let octet = self.take(1)[0];
                number |= u64::from(octet & 0x7f) << shift;
                if octet < 0x80 {
                    break;
                }
            }
            number
        }

        fn zigzag(&mut self) -> i64 {
            let number = self.varint();
            (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
        }

        fn packed(&mut self, count: usize, width: u32) -> Vec<u64> {
            let octets = self.take((count * width as usize).div_ceil(8));
            let bit = |at: usize| u64::from(octets[at / 8] >> (at % 8) & 1);
            (0..count).map(|nth| (0..width as usize).fold(0, |value, i| value | bit(nth * width as usize + i) << i)).collect()
        }

        fn hybrid(&mut self, count: usize, width: u32) -> Vec<u32> {
            let mut values = Vec::new();
            while values.len() < count {
                let header = self.varint();
                let run = (header >> 1) as usize;
                if header & 1 == 1 {
                    values.extend(self.packed(run * 8, width).iter().map(|&value| value as u32));
                } else {
                    let mut value = [0; 4];
                    value[..width.div_ceil(8) as usize].copy_from_slice(self.take(width.div_ceil(8) as usize));
                    values.resize(values.len() + run, u32::from_le_bytes(value));
                }
            }
            assert!(values.len() < count + 8);
            values.truncate(count);
            values
        }

        fn differences(&mut self) -> Vec<i64> {
            let (block, miniblocks, count) = (self.varint() as usize, self.varint() as usize, self.varint() as usize);
            let mut values = vec![self.zigzag()];
            while values.len() < count {
                let least = self.zigzag();
                let widths = self.take(miniblocks).to_vec();
                for width in widths {
                    if values.len() < count {
                        for above in self.packed(block / miniblocks, width.into()) {
                            values.push(values[values.len() - 1].wrapping_add(least).wrapping_add(above.cast_signed()));
                        }
                    }
                }
            }
            values.truncate(count);
            values
        }
    }

    /// Runs of equal values between others.
    fn runs(greatest: u32) -> impl Strategy<Value = Vec<u32>> {
        prop::collection::vec((0..=greatest, prop_oneof![4 => 1..3usize, 1 => 1..40usize]), 0..80)
            .prop_map(|runs| runs.into_iter().flat_map(|(value, count)| std::iter::repeat_n(value, count)).collect())
    }

    proptest! {
        #[test]
        fn hybrids_come_back(width in 0..=17u32, seed in runs(u32::MAX)) {
            let values: Vec<u32> = seed.iter().map(|value| value & ((1 << width) - 1)).collect();
            let octets = made(|out| hybrid(&values, width, out));
            let mut read = Octets(&octets);
            prop_assert_eq!(read.hybrid(values.len(), width), values);
            prop_assert!(read.0.is_empty());
        }

        #[test]
        fn differences_come_back(values in prop::collection::vec(prop_oneof![any::<i64>(), 0..9i64], 1..400)) {
            let octets = made(|out| differences(&values, out));
            let mut read = Octets(&octets);
            prop_assert_eq!(read.differences(), values);
            prop_assert!(read.0.is_empty());
        }

        #[test]
        fn streams_come_back(values in prop::collection::vec((any::<u64>(), 0..64u32), 0..100)) {
            let values: Vec<u64> = values.into_iter().map(|(bits, shift)| bits >> shift).collect();
            let octets = made(|out| split(&values, 8, out));
            let octet = |stream: usize, nth: usize| u64::from(octets[stream * values.len() + nth]);
            for (nth, &value) in values.iter().enumerate() {
                prop_assert_eq!((0..8).fold(0, |word, stream| word | octet(stream, nth) << (8 * stream)), value);
            }
        }

        #[test]
        fn bits_come_back(values in prop::collection::vec((any::<u32>(), 0..=32u32), 0..100)) {
            let mut bits = Bits::default();
            let mut expected = Vec::new();
            for (value, count) in values {
                let value = if count == 0 { 0 } else { value >> (32 - count) };
                bits.push(value, count);
                expected.extend((0..count).map(|bit| value >> bit & 1));
            }
            let octets = made(|out| packed(&bits, expected.len(), 1, out));
            prop_assert_eq!(Octets(&octets).hybrid(expected.len(), 1), expected);
        }
    }
}
