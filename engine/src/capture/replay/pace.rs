//! Paced replay: how long to wait before a frame so that time passes as it did in the capture, or N times as fast.
//!
//! The one place of replay that reads a clock; what is recorded never depends on it.
#![expect(clippy::disallowed_methods, reason = "`--speed` waits as long as the capture did; no record has this time")]

use std::time::{Duration, Instant};

/// A pace, started by the first frame.
#[derive(Clone, Debug)]
pub struct Pace {
    speed: f64,
    start: Option<(u64, Instant)>,
}

impl Pace {
    /// A pace of `speed` capture seconds per second; `None` unless that is a positive, finite number.
    pub fn new(speed: f64) -> Option<Self> {
        (speed.is_finite() && speed > 0.0).then_some(Self { speed, start: None })
    }

    /// How long to wait until a frame of that time (Unix nanoseconds) is due; zero when it is late.
    pub fn wait(&mut self, at: u64) -> Duration {
        self.wait_at(at, Instant::now())
    }

    fn wait_at(&mut self, at: u64, now: Instant) -> Duration {
        let (first, start) = *self.start.get_or_insert((at, now));
        let due = Duration::try_from_secs_f64(at.saturating_sub(first) as f64 / 1e9 / self.speed).unwrap_or(Duration::MAX);
        due.saturating_sub(now.saturating_duration_since(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_wait_for_their_time() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let second = 1_000_000_000;
        let mut pace = Pace::new(2.0).expect("a positive speed");
        assert_eq!(pace.wait_at(5 * second, start), Duration::ZERO);
        assert_eq!(pace.wait_at(6 * second, after(100)), Duration::from_millis(400));
        assert_eq!(pace.wait_at(6 * second, after(500)), Duration::ZERO);
        assert_eq!(pace.wait_at(6 * second, after(900)), Duration::ZERO, "late");
        assert_eq!(pace.wait_at(second, after(900)), Duration::ZERO, "before the first frame");
        assert_eq!(pace.wait_at(9 * second, after(1000)), Duration::from_secs(1));
    }

    #[test]
    fn odd_speeds_are_refused_and_odd_times_survived() {
        for speed in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Pace::new(speed).is_none(), "{speed}");
        }
        let mut pace = Pace::new(f64::MIN_POSITIVE).expect("a positive speed");
        let now = Instant::now();
        assert_eq!(pace.wait_at(0, now), Duration::ZERO);
        assert_eq!(pace.wait_at(u64::MAX, now), Duration::MAX);
    }
}
