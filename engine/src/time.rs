//! Time at the edges: the only file that reads clocks, and the text form of times (RFC 3339, UTC).
//!
//! TIME-1: stages never call the clock functions for what they compute about packets: they learn time from records. The clocks here
//! serve to tie the monotonic clock to UTC at a Mark, to measure how long the engine took, and to see that threads move.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use crate::flow::UnixNanos;

/// A time that a person gave could not be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Neither form fits.
    #[error("{0:?} is no time: write RFC 3339 with an offset, as 2026-11-22T14:05:00Z, or a date, as 2026-11-22 (midnight UTC)")]
    Form(String),
    /// It fits no 64-bit count of nanoseconds.
    #[error("{0:?} is too far from 1970: times from 1678 to 2262 are possible")]
    Range(String),
}

/// RFC 3339 in UTC with as many fraction digits as needed: `2026-11-22T14:05:00.25Z`.
pub fn format(at: UnixNanos) -> String {
    Timestamp::from_nanosecond(i128::from(at)).map_or_else(|_| format!("{at} ns"), |at| at.to_string())
}

/// Reads RFC 3339 (any offset), or a date alone, which means its midnight UTC.
pub fn parse(text: &str) -> Result<UnixNanos, TimeError> {
    let form = || TimeError::Form(text.to_owned());
    let at = match text.parse::<Timestamp>() {
        Ok(at) => at,
        Err(_) if text.len() == "2026-11-22".len() => {
            text.parse::<Date>().and_then(|date| date.to_zoned(TimeZone::UTC)).map_err(|_| form())?.timestamp()
        }
        Err(_) => return Err(form()),
    };
    UnixNanos::try_from(at.as_nanosecond()).map_err(|_| TimeError::Range(text.to_owned()))
}

/// `CLOCK_MONOTONIC` in nanoseconds: the clock that the kernel program stamps records with.
pub fn monotonic() -> u64 {
    u64::try_from(clock(libc::CLOCK_MONOTONIC)).unwrap_or(0)
}

/// Unix nanoseconds now.
pub fn unix_now() -> UnixNanos {
    clock(libc::CLOCK_REALTIME)
}

/// Unix time minus monotonic time, nanoseconds: added to a record's time it gives UTC.
///
/// UTC is read between two monotonic readings; of a few tries the one with the closest readings counts, so that being
/// scheduled away in between costs accuracy in no more than a try.
pub fn utc_offset() -> i64 {
    const TRIES: usize = 5;
    let mut best = (u64::MAX, 0);
    for _ in 0..TRIES {
        let before = monotonic();
        let utc = unix_now();
        let gap = monotonic().saturating_sub(before);
        if gap < best.0 {
            let middle = i64::try_from(before + gap / 2).unwrap_or(i64::MAX);
            best = (gap, utc.saturating_sub(middle));
        }
    }
    best.1
}

fn clock(id: libc::clockid_t) -> i64 {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `at` is a valid timespec that lives through the call; both clock ids exist on every Linux.
    let failed = unsafe { libc::clock_gettime(id, &raw mut at) } != 0;
    debug_assert!(!failed, "clock_gettime cannot fail with a valid id and pointer");
    at.tv_sec.saturating_mul(1_000_000_000).saturating_add(at.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_forms() {
        let cases = [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-22T14:05:00.25Z", 1_795_356_300_250_000_000),
            ("2026-11-22T15:05:00.250+01:00", 1_795_356_300_250_000_000),
            ("2026-11-22", 1_795_305_600_000_000_000),
            ("1969-12-31T23:59:59.999999999Z", -1),
        ];
        for (text, nanos) in cases {
            assert_eq!(parse(text), Ok(nanos), "{text}");
        }
        assert_eq!(format(1_795_356_300_250_000_000), "2026-11-22T14:05:00.25Z");
        assert_eq!(format(i64::MIN), "1677-09-21T00:12:43.145224192Z");
        for text in ["", "yesterday", "2026-11-22T14:05:00", "2026-13-01", "14:05", "2026-1-1"] {
            assert_eq!(parse(text), Err(TimeError::Form(text.to_owned())));
        }
        assert_eq!(parse("9999-01-01T00:00:00Z"), Err(TimeError::Range("9999-01-01T00:00:00Z".to_owned())));
    }

    #[test]
    fn offset_ties_the_clocks() {
        let offset = utc_offset();
        let (utc, monotonic) = (unix_now(), i64::try_from(monotonic()).expect("monotonic time fits"));
        let error = (utc - monotonic - offset).abs();
        assert!(error < 1_000_000_000, "offset is {error} ns from a second reading");
    }

    proptest! {
        #[test]
        fn parse_inverts_format(at: i64) {
            prop_assert_eq!(parse(&format(at)), Ok(at));
        }
    }
}
