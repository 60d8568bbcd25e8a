//! Octets as the books of a data directory: never a panic, what cannot be used is put aside as it is and said, and what can be used is
//! the same when it is opened again.

use std::fs;

use auscult::{
    account::{Account, settle},
    lake::journal::{Journal, Opening},
    ledger::Ledger,
};
use auscult_ebpf::record::ABI;

use super::in_memory;

/// Taps of the engine that opens them.
const TAPS: [&str; 2] = ["tap0", "tap1"];
const KEYS: [u64; 5] = [1, 2, 3, 4, 5];

/// The input is the file.
pub fn books_json(octets: &[u8]) {
    let directory = in_memory();
    let (file, aside) = (directory.path().join("books.json"), directory.path().join("books.json.unusable"));
    fs::write(&file, octets).expect("writable");
    let open = || Journal::open(directory.path(), "fuzz", &TAPS, ("new".into(), KEYS)).expect("a directory that can be written");
    let (journal, opening) = open();
    let account = journal.account().clone();
    match opening {
        Opening::New => panic!("there were books"),
        Opening::Unusable(why) => {
            assert!(why.contains("books.json") && why.lines().count() == 1, "{why}");
            assert_eq!(fs::read(&aside).expect("put aside"), octets);
            assert!(account.is_blank() && account.id == "new" && account.hash_keys == KEYS && account.taps.len() == TAPS.len());
        }
        Opening::Resumed => assert!(!aside.exists()),
    }
    assert_eq!((account.abi, account.site.as_str(), &account.pending), (ABI, "fuzz", &None));
    assert!(account.taps.iter().zip(TAPS).all(|(tap, name)| tap.name == name), "{account:?}");
    drop(journal);
    let (journal, opening) = open();
    assert_eq!((journal.account(), opening), (&account, Opening::Resumed));
    go_on(&account);
    journal.close().expect("removable");
    assert!(!file.exists());
}

/// What an engine makes of the books when the kernel's counters are gone: what was metered is in rows, or named as lost.
fn go_on(account: &Account) {
    let mut ledgers: Vec<Ledger> = account.taps.iter().map(|tap| tap.end()).collect();
    settle(&mut ledgers, &account.kept());
    for (ledger, tap) in ledgers.iter().zip(&account.taps) {
        assert!(ledger.metered.packets >= tap.rows.packets && ledger.metered.octets >= tap.rows.octets, "{tap:?}");
    }
}

/// Books as the product writes them: new ones, and ones with a file that was about to become visible.
pub fn written() -> Vec<Vec<u8>> {
    let directory = in_memory();
    let (mut journal, _) = Journal::open(directory.path(), "fuzz", &TAPS, ("old".into(), KEYS)).expect("an empty directory");
    let read = || fs::read(directory.path().join("books.json")).expect("books");
    let new = read();
    let change = |account: &mut Account| {
        for (n, tap) in (1..).zip(&mut account.taps) {
            tap.attachment = 2;
            tap.ledger.counters.seen_packets = 100 * n;
            tap.ledger.counters.seen_octets = 6400 * n;
            (tap.ledger.metered.packets, tap.ledger.metered.octets) = (90 * n, 6000 * n);
            (tap.ledger.resident.packets, tap.ledger.resident.octets) = (10 * n, 400 * n);
            (tap.rows.packets, tap.rows.octets) = (80 * n, 5000 * n);
        }
        account.pending =
            Some(auscult::account::Pending { path: "lake/a".into(), rows: vec![account.taps[0].rows; 2], told: Vec::new() });
    };
    journal.change(change).expect("writable");
    vec![new, read()]
}
