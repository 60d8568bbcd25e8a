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

#[cfg(test)]
mod tests {
    use super::*;

    fn count(packets: u64) -> Count {
        Count { packets, octets: packets * 100 }
    }

    fn ledger(seen: u64, metered: u64, resident: u64) -> Ledger {
        let mut ledger = Ledger { metered: count(metered), resident: count(resident), ..Ledger::default() };
        (ledger.counters.seen_packets, ledger.counters.seen_octets) = (seen, seen * 100);
        ledger
    }

    #[test]
    fn books_come_back_as_they_were() {
        let mut account = Account::open("north", "0f".to_owned(), [u64::MAX, 1, 2, 3, 4]);
        account.arrange(&["tap0", "tap1"]);
        let mut full = ledger(7, 5, 2);
        full.counters.lost_octets[3] = u64::MAX;
        full.counters.truncated_frames = 9;
        full.user_lost[UserLost::Crash as usize] = count(3);
        account.taps[1].ledger = full;
        account.pending =
            Some(Pending { path: "lake/x.parquet".to_owned(), rows: vec![count(1); 2], told: vec![Told(full), Told::default()] });
        let text = serde_json::to_string(&account).expect("it can be written");
        assert_eq!(serde_json::from_str::<Account>(&text).expect("it can be read"), account);
        let other = text.replacen("\"counters\":[", "\"counters\":[1,", 1);
        assert!(serde_json::from_str::<Account>(&other).expect_err("one too many").to_string().contains("number of counters"));
    }

    #[test]
    fn a_file_counts_when_it_is_there() {
        let mut account = Account::open("north", String::new(), [0; 5]);
        account.arrange(&["tap0"]);
        let pending = Pending { path: "x".to_owned(), rows: vec![count(4)], told: Vec::new() };
        account.pending = Some(pending.clone());
        account.resolve(false);
        assert_eq!((account.taps[0].rows, &account.pending), (Count::default(), &None));
        account.pending = Some(pending);
        account.resolve(true);
        account.resolve(true);
        assert_eq!(account.taps[0].rows, count(4), "once");
    }

    #[test]
    fn taps_keep_their_accounts_in_another_order() {
        let mut account = Account::open("north", String::new(), [0; 5]);
        account.arrange(&["a", "b"]);
        account.taps[0].rows = count(1);
        account.taps[1].rows = count(2);
        account.arrange(&["c", "b"]);
        let rows: Vec<_> = account.taps.iter().map(|tap| (tap.name.as_str(), tap.rows.packets)).collect();
        assert_eq!(rows, [("c", 0), ("b", 2), ("a", 1)]);
    }

    #[test]
    fn what_earlier_engines_took_and_did_not_keep_is_lost() {
        let tap = |metered, earlier| Ledger { earlier: count(earlier), ..ledger(metered, metered, 0) };
        let kept = |rows, write| Kept { rows: count(rows), write: count(write) };
        let crash = |ledgers: &[Ledger]| -> Vec<u64> {
            ledgers.iter().map(|ledger| ledger.user_lost[UserLost::Crash as usize].packets).collect()
        };
        let mut ledgers = [tap(100, 60)];
        settle(&mut ledgers, &[kept(45, 5)]);
        assert_eq!(crash(&ledgers), [10]);
        assert_eq!(ledgers[0].user_lost[UserLost::Write as usize], count(5));
        // A direction that two taps saw is in rows of one of them.
        let mut ledgers = [tap(100, 60), tap(100, 50), tap(9, 9)];
        settle(&mut ledgers, &[kept(70, 0), kept(20, 0), kept(0, 0)]);
        assert_eq!(crash(&ledgers).iter().sum::<u64>(), 60 + 50 + 9 - 90);
        assert_eq!(crash(&ledgers), [0, 20, 9]);
        // The first Mark of an adopted ring has not come: nothing is known yet.
        let mut ledgers = [tap(0, 0)];
        settle(&mut ledgers, &[kept(70, 0)]);
        assert_eq!(crash(&ledgers), [0]);
    }

    #[test]
    fn an_attachment_whose_counters_are_gone_ends_at_its_last_books() {
        let tap = TapAccount { ledger: ledger(10, 7, 3), rows: count(4), write: count(1), ..TapAccount::default() };
        let end = tap.end();
        assert_eq!((end.seen(), end.metered, end.earlier, end.resident), (count(10), count(10), count(10), Count::default()));
        assert_eq!(end.imbalance(), (0, 0));
        // A file behind the last Mark that was kept: so much was seen at least.
        let tap = TapAccount { rows: count(20), ..tap };
        let end = tap.end();
        assert_eq!((end.seen(), end.metered, end.imbalance()), (count(21), count(21), (0, 0)));
        let again = TapAccount { ledger: end, closed: end, ..tap };
        assert_eq!(again.end().seen(), end.seen(), "ending it twice adds nothing");
    }

    #[test]
    fn an_attachment_that_nobody_reads_ends_at_the_kernels_counters() {
        let mut counters = ledger(50, 0, 0).counters;
        counters.lost_packets[0] = 5;
        counters.lost_octets[0] = 500;
        let tap = TapAccount { closed: ledger(10, 10, 0), ..TapAccount::default() };
        let end = tap.end_at(&counters);
        assert_eq!((end.seen(), end.metered, end.earlier), (count(60), count(55), count(55)));
        assert_eq!(end.imbalance(), (0, 0));
    }
}
