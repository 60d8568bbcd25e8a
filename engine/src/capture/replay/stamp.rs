//! pcapng time stamps: units of the interface's clock since its offset, to nanoseconds since 1970.

/// Times after this (in 2262) become this: the latest that a signed count of nanoseconds holds.
const LATEST: u64 = i64::MAX as u64;

/// How units become nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// A whole number of nanoseconds.
    Nanoseconds(u64),
    /// So many units per nanosecond.
    PerNanosecond(u64),
    /// 2^-n seconds.
    Binary(u32),
    /// Too fine for any time since 1970 to be told from it.
    Nothing,
}

/// An interface's clock (`if_tsresol`, `if_tsoffset`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    unit: Unit,
    offset: i128,
}

impl Clock {
    /// A clock with the resolution octet (negative power of 10, or of 2 when the top bit is set) and offset in seconds.
    pub(super) fn new(resolution: u8, offset_seconds: i64) -> Self {
        let exponent = u32::from(resolution & 0x7f);
        let unit = match (resolution & 0x80 != 0, exponent) {
            (true, exponent) => Unit::Binary(exponent),
            (false, 0..=9) => Unit::Nanoseconds(10u64.pow(9 - exponent)),
            (false, 10..=28) => Unit::PerNanosecond(10u64.pow(exponent - 9)),
            (false, _) => Unit::Nothing,
        };
        Self { unit, offset: i128::from(offset_seconds) * 1_000_000_000 }
    }

    /// Nanoseconds since 1970, at least 0 and at most the end of the signed count.
    #[inline(always)]
    pub(super) fn unix_nanos(&self, stamp: u64) -> u64 {
        let nanos = match self.unit {
            Unit::Nanoseconds(each) => stamp.saturating_mul(each),
            Unit::PerNanosecond(each) => stamp / each,
            Unit::Binary(exponent) => {
                let nanos = (u128::from(stamp) * 1_000_000_000) >> exponent;
                u64::try_from(nanos).unwrap_or(LATEST)
            }
            Unit::Nothing => 0,
        };
        if self.offset == 0 { nanos.min(LATEST) } else { self.moved(stamp) }
    }

    /// The same with an offset: a time that no count holds may become one that is.
    #[cold]
    fn moved(&self, stamp: u64) -> u64 {
        let stamp = i128::from(stamp);
        let nanos = match self.unit {
            Unit::Nanoseconds(each) => stamp * i128::from(each),
            Unit::PerNanosecond(each) => stamp / i128::from(each),
            Unit::Binary(exponent) => (stamp * 1_000_000_000) >> exponent,
            Unit::Nothing => 0,
        };
        (nanos + self.offset).clamp(0, i128::from(LATEST)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolutions() {
        for (resolution, offset, stamp, expect) in [
            (6, 0, 1_700_000_000_123_456, 1_700_000_000_123_456_000),
            (9, 0, 1_700_000_000_123_456_789, 1_700_000_000_123_456_789),
            (0, 0, 1_700_000_000, 1_700_000_000_000_000_000),
            (12, 0, 1_700_000_000_123_456_789, 1_700_000_000_123_456),
            (28, 0, u64::MAX, 1),
            (29, 0, u64::MAX, 0),
            (127, 0, u64::MAX, 0),
            (0x80, 0, 3, 3_000_000_000),
            (0x80 + 10, 0, 1_700_000_000 * 1024 + 512, 1_700_000_000_500_000_000),
            (0x80 + 127, 0, u64::MAX, 0),
            (6, 10, 5, 10_000_005_000),
            (6, -10, 5, 0),
            (6, i64::MIN, 5, 0),
            (6, i64::MAX, 5, LATEST),
            (0, 0, u64::MAX, LATEST),
            (0x80, 0, u64::MAX, LATEST),
            (0, -20_000_000_000, 20_000_000_007, 7_000_000_000),
            (0x80, -20_000_000_000, 20_000_000_007, 7_000_000_000),
        ] {
            assert_eq!(Clock::new(resolution, offset).unix_nanos(stamp), expect, "resolution {resolution} offset {offset}");
        }
    }
}
