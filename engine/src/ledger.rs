//! The ledger, the first law: `seen = metered + duplicate + Σ discarded + Σ lost + resident`, exact at every Mark.
//!
//! `seen`, `discarded`, `lost` are the meter's counters; `metered` is recounted from the deltas that arrived; `resident` is summed
//! from the cache slots. Three independent counts, so a record that vanishes shows.

use auscult_ebpf::{
    discard::{Discard, Lost},
    record::{Counters, Mark},
};

use serde::{Deserialize, Serialize};

use crate::batch::RingMark;

/// Packets and frame octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Frame octets on the wire.
    pub octets: u64,
}

impl Count {
    /// Adds another count.
    pub fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.octets += other.octets;
    }

    /// What is left without another count; nothing, where that is more.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self { packets: self.packets.saturating_sub(other.packets), octets: self.octets.saturating_sub(other.octets) }
    }
}

/// State of the ledger of one ring at one Mark, or summed over rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The meter's counters.
    pub counters: Counters,
    /// Recounted from deltas, and `earlier`.
    pub metered: Count,
    /// The part of `metered` that engines before this one took out of the ring: what the meter has handed over and this engine did
    /// not receive. What of it is in no row is lost by their end ([`crate::account::settle`]).
    pub earlier: Count,
    /// Summed from slots.
    pub resident: Count,
    /// Lost in userspace, by place, after the deltas were counted as metered: see [`UserLost`].
    pub user_lost: [Count; UserLost::ALL.len()],
}

/// Where userspace can lose what it has received. None of them happens silently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum UserLost {
    /// A record that could not be read (foreign ABI or kind).
    BadRecord = 0,
    /// Rows that could not be written to disk.
    Write = 1,
    /// What an engine that was killed (or its machine) held in memory.
    Crash = 2,
}

impl UserLost {
    /// All places.
    pub const ALL: [Self; 3] = [Self::BadRecord, Self::Write, Self::Crash];
    /// Name in metrics, summaries and the lake.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRecord => "bad_record",
            Self::Write => "write",
            Self::Crash => "crash",
        }
    }
}

impl Ledger {
    /// The state at a Mark, given what was recounted from the deltas before it in the same ring.
    pub fn at_mark(mark: &Mark, metered: Count) -> Self {
        Self {
            counters: mark.counters,
            metered,
            earlier: Count::default(),
            resident: Count { packets: mark.resident_packets, octets: mark.resident_octets },
            user_lost: Default::default(),
        }
    }

    /// Frames that reached the meter.
    pub fn seen(&self) -> Count {
        Count { packets: self.counters.seen_packets, octets: self.counters.seen_octets }
    }

    /// Frames refused, over all reasons.
    pub fn discarded(&self) -> Count {
        Count { packets: self.counters.discarded_packets.iter().sum(), octets: self.counters.discarded_octets.iter().sum() }
    }

    /// Packets lost in the kernel, over all places.
    pub fn lost(&self) -> Count {
        Count { packets: self.counters.lost_packets.iter().sum(), octets: self.counters.lost_octets.iter().sum() }
    }

    /// What has left the cache for the ring: seen, but neither resident nor in one of the meter's other buckets.
    pub fn handed_over(&self) -> Count {
        let duplicate = Count { packets: self.counters.duplicate_packets, octets: self.counters.duplicate_octets };
        [duplicate, self.discarded(), self.lost(), self.resident].into_iter().fold(self.seen(), Count::less)
    }

    /// Refused frames by reason.
    pub fn discarded_by(&self, reason: Discard) -> Count {
        let i = reason as usize;
        Count { packets: self.counters.discarded_packets[i], octets: self.counters.discarded_octets[i] }
    }

    /// Packets lost in the kernel by place.
    pub fn lost_by(&self, place: Lost) -> Count {
        let i = place as usize;
        Count { packets: self.counters.lost_packets[i], octets: self.counters.lost_octets[i] }
    }

    /// `seen − (metered + duplicate + discarded + lost + resident)` in packets and octets: zero, or the law is broken.
    /// `user_lost` is part of `metered` and therefore not in this sum.
    pub fn imbalance(&self) -> (i64, i64) {
        let parts = |seen: u64, metered: u64, duplicate: u64, discarded: u64, lost: u64, resident: u64| {
            let known = metered + duplicate + discarded + lost + resident;
            i64::try_from(i128::from(seen) - i128::from(known)).unwrap_or(i64::MAX)
        };
        let (seen, discarded, lost) = (self.seen(), self.discarded(), self.lost());
        let counters = &self.counters;
        (
            parts(
                seen.packets,
                self.metered.packets,
                counters.duplicate_packets,
                discarded.packets,
                lost.packets,
                self.resident.packets,
            ),
            parts(
                seen.octets,
                self.metered.octets,
                counters.duplicate_octets,
                discarded.octets,
                lost.octets,
                self.resident.octets,
            ),
        )
    }

    /// Adds another ring's ledger.
    pub fn add(&mut self, other: &Self) {
        add_counters(&mut self.counters, &other.counters);
        self.metered.add(other.metered);
        self.earlier.add(other.earlier);
        self.resident.add(other.resident);
        for (sum, part) in self.user_lost.iter_mut().zip(other.user_lost) {
            sum.add(part);
        }
    }
}

/// Adds every counter. The fields are listed so that a new one cannot be forgotten.
fn add_counters(sum: &mut Counters, part: &Counters) {
    let Counters {
        seen_packets,
        seen_octets,
        duplicate_packets,
        duplicate_octets,
        discarded_packets,
        discarded_octets,
        lost_packets,
        lost_octets,
        deltas,
        samples,
        samples_shed,
        samples_lost,
        super_frames,
        truncated_frames,
        copies_packets,
        copies_octets,
        tunnelled_packets,
        tunnel_paths,
        tunnel_paths_lost,
    } = part;
    sum.seen_packets += seen_packets;
    sum.seen_octets += seen_octets;
    sum.duplicate_packets += duplicate_packets;
    sum.duplicate_octets += duplicate_octets;
    add_cells(&mut sum.discarded_packets, discarded_packets);
    add_cells(&mut sum.discarded_octets, discarded_octets);
    add_cells(&mut sum.lost_packets, lost_packets);
    add_cells(&mut sum.lost_octets, lost_octets);
    sum.deltas += deltas;
    add_cells(&mut sum.samples, samples);
    add_cells(&mut sum.samples_shed, samples_shed);
    add_cells(&mut sum.samples_lost, samples_lost);
    sum.super_frames += super_frames;
    sum.truncated_frames += truncated_frames;
    sum.copies_packets += copies_packets;
    sum.copies_octets += copies_octets;
    sum.tunnelled_packets += tunnelled_packets;
    sum.tunnel_paths += tunnel_paths;
    sum.tunnel_paths_lost += tunnel_paths_lost;
}

fn add_cells<const N: usize>(sum: &mut [u64; N], part: &[u64; N]) {
    for (sum, part) in sum.iter_mut().zip(part) {
        *sum += part;
    }
}

/// The ledger of one ring as it stood at one Mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerAtMark {
    /// Ring, observation time and UTC offset of the Mark.
    pub mark: RingMark,
    /// Number of the attachment that the ring is of: the ledgers of another one's rings say nothing beside this.
    pub attachment: u32,
    /// Everything up to it, from the start of the capture.
    pub ledger: Ledger,
}
