//! Numbers that are not rounded to a power of two: a table of a million flows holds each of them millions of times.

/// Times within one segment, ns: up to 78 hours, which is more than [`ACTIVE_TIMEOUT_MAX_NANOS`](super::ACTIVE_TIMEOUT_MAX_NANOS).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Nanos48([u16; 3]);

impl Nanos48 {
    const MAX: u64 = (1 << 48) - 1;
    /// What an offset of zero is stored as.
    const MIDDLE: u64 = 1 << 47;

    /// That many ns, or as many as there is room for.
    #[inline]
    pub(super) fn new(nanos: u64) -> Self {
        let nanos = nanos.min(Self::MAX);
        Self([nanos as u16, (nanos >> 16) as u16, (nanos >> 32) as u16])
    }

    #[inline]
    pub(super) fn get(self) -> u64 {
        u64::from(self.0[0]) | u64::from(self.0[1]) << 16 | u64::from(self.0[2]) << 32
    }

    /// `at` as seen from `origin`, before or after it.
    #[inline]
    pub(super) fn offset(at: u64, origin: u64) -> Self {
        let back = origin.saturating_sub(at).min(Self::MIDDLE);
        Self::new(Self::MIDDLE.saturating_add(at.saturating_sub(origin)) - back)
    }

    /// The time whose [`Self::offset`] from `origin` this is.
    #[inline]
    pub(super) fn after_origin(self, origin: u64) -> u64 {
        origin.saturating_add(self.get()).saturating_sub(Self::MIDDLE)
    }
}

/// A sum of squares of sizes or intervals: those of one segment add up to less than the square of its length, which has 94 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum96([u32; 3]);

impl Sum96 {
    const MAX: u128 = (1 << 96) - 1;

    #[inline]
    pub(super) fn get(self) -> u128 {
        u128::from(self.0[0]) | u128::from(self.0[1]) << 32 | u128::from(self.0[2]) << 64
    }

    #[inline]
    pub(super) fn add(&mut self, more: u128) {
        let sum = self.get().saturating_add(more).min(Self::MAX);
        self.0 = [sum as u32, (sum >> 32) as u32, (sum >> 64) as u32];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::ACTIVE_TIMEOUT_MAX_NANOS, Nanos48, Sum96};

    proptest! {
        #[test]
        fn times_of_a_segment_come_back(origin: u64, nanos in 0..=ACTIVE_TIMEOUT_MAX_NANOS) {
            prop_assert_eq!(Nanos48::new(nanos).get(), nanos);
            for at in [origin.saturating_add(nanos).min(u64::MAX - (1 << 48)), origin.saturating_sub(nanos)] {
                let origin = origin.min(u64::MAX - (1 << 48));
                prop_assert_eq!(Nanos48::offset(at.min(origin + nanos), origin).after_origin(origin), at.min(origin + nanos));
            }
        }

        #[test]
        fn offsets_keep_their_order(origin: u64, a: u64, b: u64) {
            let (a, b) = (a.min(b), a.max(b));
            prop_assert!(Nanos48::offset(a, origin).get() <= Nanos48::offset(b, origin).get());
        }

        #[test]
        fn squares_add_up(parts in prop::collection::vec(0..u64::from(u32::MAX), 0..20)) {
            let mut sum = Sum96::default();
            parts.iter().for_each(|part| sum.add(u128::from(*part).pow(2)));
            prop_assert_eq!(sum.get(), parts.iter().map(|part| u128::from(*part).pow(2)).sum::<u128>());
        }
    }

    #[test]
    fn what_has_no_room_stays_at_the_edge() {
        assert_eq!(Nanos48::new(u64::MAX).get(), (1 << 48) - 1);
        let mut sum = Sum96::default();
        (0..2).for_each(|_| sum.add(u128::MAX));
        assert_eq!(sum.get(), (1 << 96) - 1);
    }
}
