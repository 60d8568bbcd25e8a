//! What a capture is told, and what of it cannot work.

use auscult_ebpf::{limit::SETS_MAX, settings::Settings};

use super::{TapSettings, error::LiveError, ring, sweep};

/// Least pause between passes over one cache.
const MARK_MILLIS_LEAST: u32 = 20;
/// Longest pause: resident micro-flows leave within a second.
const MARK_MILLIS_MOST: u32 = 900;
const RING_BYTES_MOST: u32 = 1 << 30;

/// What to capture, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveSettings {
    /// Taps; the position of each is its observation point.
    pub taps: Vec<TapSettings>,
    /// The meter. `observation_point`, `disposition` and (when zero) `super_frame_octets` are set per tap.
    pub meter: Settings,
    /// Octets of each ring, a power of two from 32 KiB.
    pub ring_bytes: u32,
    /// Time between two Marks of one CPU.
    pub mark_millis: u32,
    /// Drain threads; zero: one per ring, but no more than CPUs.
    pub drain_threads: usize,
}

impl LiveSettings {
    /// Dedicated taps on `interfaces`, everything else as usual.
    pub fn dedicated(interfaces: &[&str], meter: Settings) -> Self {
        Self {
            taps: interfaces.iter().map(|name| TapSettings::dedicated(name)).collect(),
            meter,
            ring_bytes: 4 << 20,
            mark_millis: 400,
            drain_threads: 0,
        }
    }

    pub(super) fn check(&self) -> Result<(), LiveError> {
        let refuse =
            |setting, value: u32, expected: String| Err(LiveError::Setting { setting, value: value.to_string(), expected });
        let least = u32::try_from(ring::page_octets()).unwrap_or(4096).max(sweep::RING_BYTES_LEAST);
        if !self.ring_bytes.is_power_of_two() || !(least..=RING_BYTES_MOST).contains(&self.ring_bytes) {
            let expected = format!("a power of two from {least} to {RING_BYTES_MOST} is needed");
            return refuse("ring_bytes", self.ring_bytes, expected);
        }
        if !(MARK_MILLIS_LEAST..=MARK_MILLIS_MOST).contains(&self.mark_millis) {
            let expected = format!("{MARK_MILLIS_LEAST} to {MARK_MILLIS_MOST} are possible");
            return refuse("mark_millis", self.mark_millis, expected);
        }
        let sets = self.meter.sets_mask.wrapping_add(1);
        if !sets.is_power_of_two() || sets > SETS_MAX {
            return refuse("sets", sets, format!("a power of two up to {SETS_MAX} is needed"));
        }
        for (position, tap) in self.taps.iter().enumerate() {
            if self.taps[..position].iter().any(|other| other.name == tap.name) {
                return Err(LiveError::Twice { name: tap.name.clone() });
            }
        }
        if self.taps.is_empty() {
            return refuse("interfaces", 0, "name at least one interface".to_owned());
        }
        Ok(())
    }
}
