//! What an engine must know of those before it: the books of one data directory, from the first attachment to a stop that closes them.
//!
//! The kernel's counters say what was seen since a tap was attached, also when the engines that read the rings were killed. What they
//! made visible is counted here, durably, file by file ([`crate::lake`] keeps it). The difference was in their memory and is lost:
//! `metered = rows + lost(write) + lost(crash)`, exact as soon as each ring has had a Mark. When the kernel's counters are gone, too
//! (the machine was restarted, or nothing could be pinned), the newest ledger that was kept stands for them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use auscult_ebpf::record::{ABI, Counters, octets_of, read_record};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::ledger::{Count, Ledger, UserLost};

/// The books.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Layout of counters and of what is pinned.
    pub abi: u8,
    /// Observation domain.
    pub site: String,
    /// Random name of these books; part of the pin path.
    pub id: String,
    /// Keys of the flow hash: the kernel's slots are found by them, so they live as long as the slots.
    pub hash_keys: [u64; 5],
    /// Every tap that these books have had, the present ones first.
    pub taps: Vec<TapAccount>,
    /// The file that was about to become visible.
    pub pending: Option<Pending>,
}

/// One tap in the books.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TapAccount {
    /// Interface.
    pub name: String,
    /// Number of the attachment whose counters the kernel has.
    pub attachment: u32,
    /// Attachments before that one.
    #[serde(serialize_with = "write_ledger", deserialize_with = "read_ledger")]
    pub closed: Ledger,
    /// Everything, at the newest Mark that was kept.
    #[serde(serialize_with = "write_ledger", deserialize_with = "read_ledger")]
    pub ledger: Ledger,
    /// In visible flow rows.
    pub rows: Count,
    /// In flow rows that could not be written.
    pub write: Count,
    /// In visible coverage rows.
    #[serde(serialize_with = "write_ledger", deserialize_with = "read_ledger")]
    pub told: Ledger,
}

/// A file of rows, by the taps of [`Account::taps`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    /// Path in the data directory.
    pub path: String,
    /// In its flow rows.
    pub rows: Vec<Count>,
    /// In visible coverage rows, once this file is one of them; empty when it holds none.
    pub told: Vec<Told>,
}

/// A [`TapAccount::told`] to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told(#[serde(serialize_with = "write_ledger", deserialize_with = "read_ledger")] pub Ledger);

/// A ledger as numbers: the counters in the order of their record, then pairs of packets and octets.
#[derive(Serialize, Deserialize)]
struct Numbers {
    counters: Vec<u64>,
    metered: Count,
    resident: Count,
    lost: Vec<Count>,
}

fn write_ledger<S: Serializer>(ledger: &Ledger, serializer: S) -> Result<S::Ok, S::Error> {
    let word = |octets: &[u8]| {
        let mut word = [0; 8];
        word.copy_from_slice(octets);
        u64::from_ne_bytes(word)
    };
    let counters = octets_of(&ledger.counters).chunks_exact(8).map(word).collect();
    Numbers { counters, metered: ledger.metered, resident: ledger.resident, lost: ledger.user_lost.to_vec() }
        .serialize(serializer)
}

fn read_ledger<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Ledger, D::Error> {
    let numbers = Numbers::deserialize(deserializer)?;
    let octets: Vec<u8> = numbers.counters.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let counters = read_record::<Counters>(&octets).filter(|_| octets.len() == size_of::<Counters>());
    let counters = counters.ok_or_else(|| D::Error::custom("another number of counters"))?;
    let user_lost = numbers.lost.try_into().map_err(|_| D::Error::custom("another number of places of loss"))?;
    Ok(Ledger { counters, metered: numbers.metered, earlier: Count::default(), resident: numbers.resident, user_lost })
}

impl Account {
    /// Books with nothing in them.
    pub fn open(site: &str, id: String, hash_keys: [u64; 5]) -> Self {
        Self { abi: ABI, site: site.to_owned(), id, hash_keys, taps: Vec::new(), pending: None }
    }

    /// Puts the taps `names` first, in that order; new ones have nothing in them.
    pub fn arrange(&mut self, names: &[impl AsRef<str>]) {
        let mut rest = std::mem::take(&mut self.taps);
        for name in names.iter().map(AsRef::as_ref) {
            let known = rest.iter().position(|tap| tap.name == name);
            let tap = known.map(|at| rest.remove(at));
            self.taps.push(tap.unwrap_or_else(|| TapAccount { name: name.to_owned(), ..TapAccount::default() }));
        }
        self.taps.append(&mut rest);
    }

    /// Settles the file that was about to become visible: it is (`visible`), or what was in it is lost.
    pub fn resolve(&mut self, visible: bool) {
        let Some(pending) = self.pending.take().filter(|_| visible) else { return };
        for (tap, rows) in self.taps.iter_mut().zip(pending.rows) {
            tap.rows.add(rows);
        }
        for (tap, told) in self.taps.iter_mut().zip(pending.told) {
            tap.told = told.0;
        }
    }

    /// Whether anything was ever counted.
    pub fn is_blank(&self) -> bool {
        self.taps.iter().all(|tap| tap.ledger.seen() == Count::default() && tap.rows == Count::default())
    }

    /// What earlier engines have accounted for, by tap.
    pub fn kept(&self) -> Vec<Kept> {
        self.taps.iter().map(|tap| Kept { rows: tap.rows, write: tap.write }).collect()
    }
}

impl TapAccount {
    /// What a new attachment's ledger begins with: the attachments before it.
    pub fn before(&self) -> Ledger {
        Ledger { earlier: self.closed.metered, ..self.closed }
    }

    /// The last ledger of an attachment whose counters are gone. What was in slots is lost with them; rows that are visible were
    /// metered, even if no Mark was kept behind them.
    pub fn end(&self) -> Ledger {
        let mut ledger = self.ledger;
        ledger.metered.add(std::mem::take(&mut ledger.resident));
        let mut known = self.rows;
        known.add(self.write);
        let unknown = known.less(ledger.metered);
        ledger.counters.seen_packets += unknown.packets;
        ledger.counters.seen_octets += unknown.octets;
        ledger.metered.add(unknown);
        Ledger { earlier: ledger.metered, user_lost: Default::default(), ..ledger }
    }

    /// The last ledger of an attachment that nobody will read any more: everything but its other buckets was handed over, or would
    /// have been.
    pub fn end_at(&self, counters: &Counters) -> Ledger {
        let mut ledger = self.before();
        let mut last = Ledger { counters: *counters, ..Ledger::default() };
        last.metered = last.handed_over();
        last.earlier = last.metered;
        ledger.add(&last);
        ledger
    }
}

/// What earlier engines have accounted for of what they took out of a tap's rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// In visible rows.
    pub rows: Count,
    /// Lost on writing.
    pub write: Count,
}

/// Names what earlier engines took and did not account for: `lost{crash}`. A row says one tap for each direction; when two taps saw
/// packets of one, the other has too many rows, and the difference is made up among the taps: the sum is exact.
pub fn settle(ledgers: &mut [Ledger], kept: &[Kept]) {
    let mut over = Count::default();
    let mut missing: Vec<Count> = Vec::with_capacity(ledgers.len());
    for (ledger, kept) in ledgers.iter_mut().zip(kept) {
        ledger.user_lost[UserLost::Write as usize].add(kept.write);
        let mut known = kept.rows;
        known.add(kept.write);
        missing.push(ledger.earlier.less(known));
        over.add(known.less(ledger.earlier));
    }
    for (ledger, missing) in ledgers.iter_mut().zip(missing) {
        ledger.user_lost[UserLost::Crash as usize] = missing.less(over);
        over = over.less(missing);
    }
}

/// What the keeper of the ledgers and the lake tell each other while they run.
#[derive(Debug, Default)]
pub struct Standing {
    ledgers: Mutex<Vec<Option<Ledger>>>,
    write: Mutex<Vec<Count>>,
}

impl Standing {
    /// For that many taps.
    pub fn new(taps: usize) -> Self {
        Self { ledgers: Mutex::new(vec![None; taps]), write: Mutex::new(vec![Count::default(); taps]) }
    }

    /// The ledger of a tap at its newest Mark.
    pub fn stand(&self, tap: usize, ledger: &Ledger) {
        if let Some(newest) = held(&self.ledgers).get_mut(tap) {
            *newest = Some(*ledger);
        }
    }

    /// The newest ledgers; `None`: not all rings of the tap have had a Mark.
    pub fn ledgers(&self) -> Vec<Option<Ledger>> {
        held(&self.ledgers).clone()
    }

    /// Rows of a tap could not be written.
    pub fn lose(&self, tap: usize, count: Count) {
        if let Some(lost) = held(&self.write).get_mut(tap) {
            lost.add(count);
        }
    }

    /// What could not be written by this engine, by tap.
    pub fn written_off(&self) -> Vec<Count> {
        held(&self.write).clone()
    }
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
