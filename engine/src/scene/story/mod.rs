//! The stories of the scene: what happens when, each by a function that plays one occurrence.

mod building;
mod clinical;
mod imaging;
mod infrastructure;
mod office;

use super::stage::{MILLI, SECOND, Stage};

/// Something that happens once or again and again.
pub(super) struct Story {
    /// First occurrence, nanoseconds.
    pub(super) first: u64,
    /// Time between occurrences; zero for a single one.
    pub(super) every: u64,
    /// Plays the occurrence of a number that starts at a time.
    pub(super) play: fn(&mut Stage<'_>, u64, u32),
}

const fn once(first_millis: u64, play: fn(&mut Stage<'_>, u64, u32)) -> Story {
    Story { first: first_millis * MILLI, every: 0, play }
}

const fn every(seconds: u64, first_millis: u64, play: fn(&mut Stage<'_>, u64, u32)) -> Story {
    Story { first: first_millis * MILLI, every: seconds * SECOND, play }
}

/// All stories.
pub(super) const STORIES: &[Story] = &[
    once(5, infrastructure::leases),
    once(700, infrastructure::neighbours),
    every(30, 90, infrastructure::announcements),
    every(2, 30, infrastructure::spanning_tree),
    every(9, 400, infrastructure::address_resolution),
    every(3, 650, infrastructure::pings),
    every(31, 8_500, infrastructure::large_pings),
    every(16, 1_100, infrastructure::time),
    every(10, 1_700, infrastructure::polling),
    every(4, 900, infrastructure::logs),
    every(60, 2_500, infrastructure::trap),
    once(1_500, clinical::pump_sessions),
    every(5, 250, clinical::vitals),
    every(10, 330, clinical::discovery),
    once(2_200, clinical::vital_results),
    every(11, 3_100, clinical::admissions),
    once(2_900, clinical::ventilator),
    every(17, 6_000, clinical::laboratory),
    every(13, 4_400, clinical::point_of_care),
    every(20, 5_200, clinical::cart_and_cabinet),
    every(14, 3_700, imaging::study),
    every(23, 7_300, imaging::clinic_study),
    every(15, 2_600, imaging::worklist),
    every(40, 12_000, imaging::refused_association),
    every(18, 9_100, imaging::archive),
    every(12, 10_500, imaging::reading),
    every(2, 1_300, office::lookups),
    every(7, 1_900, office::records),
    every(9, 2_300, office::intranet),
    every(19, 3_300, office::files),
    every(21, 5_900, office::printing),
    every(12, 2_800, office::local_names),
    every(25, 11_000, office::aborted_download),
    once(21_000, office::curious_laptop),
    once(500, office::idle_sessions),
    once(800, building::registrations),
    every(45, 4_000, building::call),
    once(1_000, building::camera_sessions),
    every(5, 1_400, building::camera_media),
    every(10, 2_100, building::controllers),
    once(1_800, building::things),
    every(6, 3_900, building::badges),
    every(30, 2_700, building::television),
];
