//! How many new devices a moment may bring: whoever sends from invented addresses must not fill the inventory.
//!
//! A bucket in record time. A real device that finds no place comes again with its next packet.

use crate::flow::UnixNanos;

/// Devices that may come at once: a capture, or an engine's first minute.
const BURST: i64 = 8192;
/// Record time in which one more may come: 64 a second.
const EVERY_NANOS: i64 = 1_000_000_000 / 64;

/// The bucket.
#[derive(Default)]
pub struct Admission {
    /// Time up to which what came is paid for.
    paid: Option<UnixNanos>,
}

impl Admission {
    /// Whether one more may come now.
    pub fn admits(&mut self, at: UnixNanos) -> bool {
        let earliest = at.saturating_sub(BURST * EVERY_NANOS);
        // A time that is far behind what was paid for is of a clock that was set back, or that one was of the future.
        let known = self.paid.filter(|paid| paid.saturating_sub(at) <= BURST * EVERY_NANOS);
        let paid = known.unwrap_or(earliest).max(earliest);
        if paid >= at {
            return false;
        }
        self.paid = Some(paid.saturating_add(EVERY_NANOS));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_let_in_slowly_and_a_hospital_at_once() {
        let mut admission = Admission::default();
        let at = 1_000_000_000_000_000;
        let at_once = (0..20_000).filter(|_| admission.admits(at)).count();
        assert_eq!(at_once, BURST as usize);
        let in_ten_seconds = (0..10_000).filter(|n| admission.admits(at + n * 1_000_000)).count();
        assert!((600..=640).contains(&in_ten_seconds), "{in_ten_seconds}");
        assert!(admission.admits(at + 86_400_000_000_000), "a frame of the future");
        assert!(admission.admits(at + 20_000_000_000), "and time as it was");
    }
}
