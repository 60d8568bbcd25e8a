//! An engine that is killed at any moment loses nothing that was committed.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use super::{Batch, Inventory, sample};
use crate::device::DeviceId;

const CHILD: &str = "AUSCULT_INVENTORY_CRASH";
const NAME: &str = "inventory::crash_tests::what_was_committed_survives_every_kill";
const EVIDENCE_PER_BATCH: u64 = 5;

/// Writes numbered batches until killed, and says each number once it is committed.
fn write_for_ever(directory: &Path) {
    let mut inventory = Inventory::open(directory).unwrap();
    let first = inventory.load(|_| {}).unwrap().newest.map_or(0, |newest| newest + 1);
    for number in first.. {
        let mut device = sample::device(u32::try_from(number % 50).unwrap());
        device.last_seen = number;
        let base = number.cast_unsigned() * EVIDENCE_PER_BATCH;
        let evidence: Vec<_> = (base..base + EVIDENCE_PER_BATCH).map(|n| (device.device_id, sample::evidence(n))).collect();
        let changes = [sample::change(device.device_id, number, "vlan", None, Some("7"))];
        let devices = [device];
        let newest = Some(number);
        inventory
            .write(&Batch { devices: &devices, evidence: &evidence, changes: &changes, newest, ..Batch::default() })
            .unwrap();
        println!("committed {number}");
    }
}

#[test]
fn what_was_committed_survives_every_kill() {
    if let Some(directory) = std::env::var_os(CHILD) {
        return write_for_ever(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let mut random = sample::Random(11);
    let (mut said, mut kills_while_writing) = (-1, 0);
    for _ in 0..30 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([NAME, "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            lines
                .lines()
                .map_while(Result::ok)
                .filter_map(|line| Some(line.rsplit_once("committed ")?.1.parse::<i64>().unwrap()))
                .last()
        });
        std::thread::sleep(Duration::from_micros(1_000 + random.below(400_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        let last = reader.join().unwrap();
        said = last.unwrap_or(said).max(said);
        kills_while_writing += u32::from(last.is_some());
        check(directory.path(), said);
    }
    assert!(kills_while_writing > 5, "the children were killed before they wrote: {kills_while_writing}");
}

/// All batches up to the newest are whole, and `said` is among them.
fn check(directory: &Path, said: i64) {
    // A killed engine's file can be read before anyone opens it for writing.
    let beside = super::store::NAME;
    let read = directory.join(beside).exists().then(|| Inventory::read(directory).unwrap().load(|_| {}).unwrap());
    let inventory = Inventory::open(directory).unwrap();
    let (mut pieces, mut newest_device) = (Vec::new(), -1);
    let loaded = inventory.load(|stored| {
        newest_device = newest_device.max(stored.device.last_seen);
        pieces.extend(stored.evidence.iter().map(|piece| piece.evidence_id));
    });
    let loaded = loaded.unwrap();
    assert!(read.is_none_or(|read| read == loaded));
    let newest = loaded.newest.unwrap_or(-1);
    assert!(newest >= said, "{said} was committed, and {newest} is the newest");
    assert_eq!(newest_device, newest);
    pieces.sort_unstable();
    let expected = (newest + 1).cast_unsigned() * EVIDENCE_PER_BATCH;
    assert!(pieces.iter().copied().eq(0..expected), "{} of {expected} pieces", pieces.len());
    let mut changes = 0;
    let count = |change: crate::device::Change| {
        assert_eq!((change.at, change.device_id != DeviceId(1)), (changes, true));
        changes += 1;
        std::ops::ControlFlow::Continue(())
    };
    inventory.changes(i64::MIN, i64::MAX, count).unwrap();
    assert_eq!(changes, newest + 1);
}
