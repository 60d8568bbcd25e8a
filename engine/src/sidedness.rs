//! Whether both directions of a biflow were seen, counted over flows.
//!
//! A mirror that copies one direction only leaves flows that look like floods without answers. They are told from those by what
//! the direction that is there says: who acknowledges has heard something. What proves that is in `biflow/sidedness.rs`.

use serde::Serialize;

/// Which directions of a biflow have packets, over all its segments so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Sidedness {
    /// Both.
    TwoSided = 0,
    /// One, and it proves that the other end spoke, too: the tap missed it.
    OneSided = 1,
    /// One, which proves nothing: unanswered, a scan, one-way by nature, or one half of what cannot be told.
    Undecided = 2,
}

impl Sidedness {
    /// All.
    pub const ALL: [Self; 3] = [Self::TwoSided, Self::OneSided, Self::Undecided];

    /// Name in the lake and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TwoSided => "two_sided",
            Self::OneSided => "one_sided",
            Self::Undecided => "undecided",
        }
    }
}

/// Flows and packets by [`Sidedness`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sides {
    /// Biflows with both directions.
    pub two_sided_flows: u64,
    /// Their packets.
    pub two_sided_packets: u64,
    /// Biflows of which the tap missed a direction.
    pub one_sided_flows: u64,
    /// Their packets.
    pub one_sided_packets: u64,
    /// Biflows with one direction that proves nothing.
    pub undecided_flows: u64,
    /// Their packets.
    pub undecided_packets: u64,
}

impl Sides {
    /// Flows and packets of one kind.
    pub const fn of(&self, sidedness: Sidedness) -> (u64, u64) {
        match sidedness {
            Sidedness::TwoSided => (self.two_sided_flows, self.two_sided_packets),
            Sidedness::OneSided => (self.one_sided_flows, self.one_sided_packets),
            Sidedness::Undecided => (self.undecided_flows, self.undecided_packets),
        }
    }

    /// Counts a row: as a biflow when it is one's first segment, and its packets.
    pub fn count(&mut self, sidedness: Sidedness, is_first: bool, packets: u64) {
        let (flows, sum) = match sidedness {
            Sidedness::TwoSided => (&mut self.two_sided_flows, &mut self.two_sided_packets),
            Sidedness::OneSided => (&mut self.one_sided_flows, &mut self.one_sided_packets),
            Sidedness::Undecided => (&mut self.undecided_flows, &mut self.undecided_packets),
        };
        *flows += u64::from(is_first);
        *sum += packets;
    }

    /// Adds other counts.
    pub fn add(&mut self, other: &Self) {
        self.two_sided_flows += other.two_sided_flows;
        self.two_sided_packets += other.two_sided_packets;
        self.one_sided_flows += other.one_sided_flows;
        self.one_sided_packets += other.one_sided_packets;
        self.undecided_flows += other.undecided_flows;
        self.undecided_packets += other.undecided_packets;
    }

    /// Biflows of which it is known whether the tap saw both directions.
    pub const fn decided_flows(&self) -> u64 {
        self.two_sided_flows + self.one_sided_flows
    }
}

/// [`Sides`] of TCP, where every conversation says whether the other end was heard, and of all else, where few do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SideCounts {
    /// TCP flows with a readable header.
    pub tcp: Sides,
    /// All others.
    pub other: Sides,
}

/// What [`SideCounts`] tells apart, as metrics and the lake name it.
pub const TRANSPORTS: [&str; 2] = ["tcp", "other"];

impl SideCounts {
    /// The two parts, in the order of [`TRANSPORTS`].
    pub const fn parts(&self) -> [&Sides; 2] {
        [&self.tcp, &self.other]
    }

    /// Adds other counts.
    pub fn add(&mut self, other: &Self) {
        self.tcp.add(&other.tcp);
        self.other.add(&other.other);
    }
}
