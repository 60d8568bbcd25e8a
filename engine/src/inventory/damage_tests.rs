//! Whatever is done to the file, opening and reading it gives devices or an error, never a panic, and never deletes it.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use redb::{Database, TableDefinition};

use super::{Batch, Inventory, InventoryError, created, row, sample, store};

fn filled(directory: &Path) -> Vec<u8> {
    let mut inventory = Inventory::open(directory).unwrap();
    let devices: Vec<_> = (0..40).map(sample::device).collect();
    let evidence: Vec<_> = devices.iter().flat_map(|device| (0..5).map(|n| (device.device_id, sample::evidence(n)))).collect();
    let changes: Vec<_> = devices.iter().flat_map(|device| created(device, 5, "engine", |_| vec![1])).collect();
    inventory.write(&Batch { devices: &devices, evidence: &evidence, changes: &changes, ..Batch::default() }).unwrap();
    drop(inventory);
    fs::read(directory.join(store::NAME)).unwrap()
}

/// All that can be asked of an inventory.
fn use_all(inventory: &Inventory) -> Result<u64, InventoryError> {
    let loaded = inventory.load(|_| {})?;
    inventory.as_of(4)?;
    inventory.changes(i64::MIN, i64::MAX, |_| std::ops::ControlFlow::Continue(()))?;
    Ok(loaded.devices)
}

/// What becomes of a file of these octets: the number of devices, or the error.
fn outcome(octets: &[u8], what: &str) -> [Result<u64, InventoryError>; 2] {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(store::NAME);
    let attempt = |open: fn(&Path) -> Result<Inventory, InventoryError>| {
        fs::write(&path, octets).unwrap();
        let body = || open(directory.path()).and_then(|inventory| use_all(&inventory));
        let done = catch_unwind(AssertUnwindSafe(body));
        assert!(path.exists(), "{what}: the file is gone");
        done.unwrap_or_else(|_| panic!("{what}: it panicked"))
    };
    [attempt(Inventory::read), attempt(Inventory::open)]
}

#[test]
fn a_file_cut_anywhere_is_refused_or_whole() {
    let directory = tempfile::tempdir().unwrap();
    let whole = filled(directory.path());
    let mut refused = 0;
    let cuts = (0..40).chain((40..whole.len()).step_by(whole.len() / 40)).chain([4095, 4096, 4097, whole.len() - 1]);
    for cut in cuts {
        for result in outcome(&whole[..cut], &format!("cut at {cut}")) {
            match result {
                Ok(devices) => assert_eq!(devices, 40, "cut at {cut}"),
                Err(InventoryError::Damaged { .. } | InventoryError::Io { .. } | InventoryError::Interrupted(_)) => refused += 1,
                Err(other) => panic!("cut at {cut}: {other}"),
            }
        }
    }
    assert!(refused > 80, "{refused}");
}

#[test]
fn a_file_with_octets_changed_is_refused_or_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let whole = filled(directory.path());
    let mut random = sample::Random(3);
    let mut refused = 0;
    for round in 0..150 {
        let mut octets = whole.clone();
        // Much of the file is free pages: half of the changes go to the header and the first pages.
        let within = if round % 2 == 0 { octets.len() as u64 } else { [64, 512, 4096, 65_536][round / 2 % 4] };
        for _ in 0..=random.below(4) {
            let at = random.below(within) as usize;
            octets[at] ^= 1 << random.below(8);
        }
        let [read, opened] = outcome(&octets, &format!("round {round}"));
        // Pages that the check covers are as they were, or the file is refused.
        match opened {
            Ok(devices) => assert_eq!(devices, 40, "round {round}"),
            Err(error) => {
                refused += 1;
                assert!(error.to_string().contains("; "), "{error}");
            }
        }
        let _ = read;
    }
    assert!(refused > 10, "{refused}");
}

#[test]
fn what_is_no_inventory_is_named_and_left_alone() {
    let refuse = |prepare: &dyn Fn(&Path), why: &str| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(store::NAME);
        prepare(&path);
        let before = fs::read(&path).ok();
        for opened in [Inventory::open(directory.path()), Inventory::read(directory.path())] {
            let error = opened.unwrap_err().to_string();
            assert!(error.contains(why) && error.contains(store::NAME) && error.contains("; "), "{why}: {error}");
        }
        let after = fs::read(&path).ok();
        assert!(
            fs::symlink_metadata(&path).is_ok() && before.map(|octets| octets.len()) == after.map(|octets| octets.len()),
            "{why}"
        );
    };
    refuse(&|path| fs::create_dir(path).unwrap(), "not a file");
    refuse(&|path| fs::write(path, "").unwrap(), "ends within its first octets");
    refuse(&|path| fs::write(path, "PAR1 and more than nine octets").unwrap(), "does not begin as one");
    refuse(&|path| std::os::unix::fs::symlink("/nowhere/at/all", path).unwrap(), "cannot open");
    refuse(
        &|path| {
            let base = Database::create(path).unwrap();
            let transaction = base.begin_write().unwrap();
            transaction.open_table(TableDefinition::<u64, u64>::new("other")).unwrap().insert(1, 1).unwrap();
            transaction.commit().unwrap();
        },
        "without the schema of an inventory",
    );
    refuse(
        &|path| {
            let mut inventory = Inventory::open(path.parent().unwrap()).unwrap();
            let newer = (row::SCHEMA + 1).to_le_bytes();
            inventory.transact(|t| Ok(t.open_table(row::META)?.insert(row::META_SCHEMA, &newer[..]).map(drop)?)).unwrap();
        },
        "is of schema 2, and this program knows up to 1",
    );
}

#[test]
fn a_directory_that_cannot_be_written_or_is_not_there_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let error = Inventory::read(directory.path()).unwrap_err();
    assert!(matches!(error, InventoryError::Absent(_)) && error.to_string().contains("run the engine"), "{error}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    // /proc takes no files, whoever asks.
    for closed in [&directory.path().join("none"), Path::new("/proc"), Path::new("/dev/null")] {
        let error = Inventory::open(closed).unwrap_err();
        assert!(matches!(error, InventoryError::Io { .. }), "{}: {error}", closed.display());
        assert!(error.to_string().contains("check that the directory exists, is writable"), "{error}");
    }
    // What a creation that was killed left is no hindrance.
    fs::write(directory.path().join(store::UNFINISHED), "half").unwrap();
    drop(Inventory::open(directory.path()).unwrap());
    assert!(!directory.path().join(store::UNFINISHED).exists());
}
