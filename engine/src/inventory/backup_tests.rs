//! A backup is all of the inventory, and is not believed when it is damaged.

use super::*;
use crate::inventory::{Batch, Loaded, Setting, Stored, created, sample};

fn all(inventory: &Inventory) -> (Vec<Stored>, Loaded, Vec<crate::device::Change>) {
    let (mut all, mut changes) = (Vec::new(), Vec::new());
    let loaded = inventory.load(|stored| all.push(stored)).unwrap();
    let take = |change| {
        changes.push(change);
        std::ops::ControlFlow::Continue(())
    };
    inventory.changes(i64::MIN, i64::MAX, take).unwrap();
    (all, loaded, changes)
}

fn filled(directory: &Path, count: u32) -> Inventory {
    let mut inventory = Inventory::open(directory).unwrap();
    let devices: Vec<_> = (0..count).map(sample::device).collect();
    let evidence: Vec<_> = devices.iter().flat_map(|device| (0..3).map(|n| (device.device_id, sample::evidence(n)))).collect();
    let changes: Vec<_> = devices.iter().flat_map(|device| created(device, 5, "engine", |_| vec![1])).collect();
    inventory.write(&Batch { devices: &devices, evidence: &evidence, changes: &changes, ..Batch::default() }).unwrap();
    inventory.set(devices[0].device_id, &[Setting::Owner(Some("icu".into()))], "anna", 9).unwrap();
    inventory
}

#[test]
fn what_is_restored_is_what_was_backed_up() {
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut inventory = filled(directory.path(), 700);
    let to = other.path().join("inventory.backup");
    let rows = inventory.backup(&to).unwrap();
    let before = all(&inventory);
    assert!(matches!(inventory.backup(&to), Err(InventoryError::Exists(_))));
    let device = [sample::device(9999)];
    inventory.write(&Batch { devices: &device, ..Batch::default() }).unwrap();
    assert_eq!(restore(&to, other.path()).unwrap(), rows);
    let restored = Inventory::open(other.path()).unwrap();
    assert_eq!(all(&restored), before);
    let mut past = inventory.as_of(5).unwrap();
    past.retain(|of| of.device_id != device[0].device_id);
    assert_eq!(restored.as_of(5).unwrap(), past);
    drop(restored);
    let error = restore(&to, other.path()).unwrap_err();
    assert!(matches!(error, InventoryError::NotEmpty { devices: 700, .. }), "{error}");
    // An empty inventory gives way; a second backup of the same is the same, octet for octet.
    let empty = tempfile::tempdir().unwrap();
    drop(Inventory::open(empty.path()).unwrap());
    restore(&to, empty.path()).unwrap();
    let again = empty.path().join("again");
    Inventory::read(empty.path()).unwrap().backup(&again).unwrap();
    assert_eq!(fs::read(&again).unwrap(), fs::read(&to).unwrap());
    let mut names: Vec<_> = fs::read_dir(empty.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["again", NAME]);
}

#[test]
fn a_backup_with_any_octet_changed_or_its_end_missing_is_refused() {
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let inventory = filled(directory.path(), 2);
    let to = directory.path().join("backup");
    inventory.backup(&to).unwrap();
    let whole = fs::read(&to).unwrap();
    let damaged = directory.path().join("damaged");
    let refuse = |octets: &[u8], what: &str| {
        fs::write(&damaged, octets).unwrap();
        let error = restore(&damaged, other.path()).unwrap_err();
        assert!(matches!(error, InventoryError::Backup { .. }), "{what}: {error}");
        assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0, "{what}");
    };
    for at in 0..whole.len() {
        let mut octets = whole.clone();
        octets[at] ^= 1 << (at % 8);
        refuse(&octets, &format!("octet {at}"));
        refuse(&whole[..at], &format!("cut at {at}"));
    }
    refuse(&[&whole[..], &[0]].concat(), "an octet more");
    let missing = restore(&directory.path().join("none"), other.path()).unwrap_err();
    assert!(matches!(missing, InventoryError::Io { action: "open", .. }), "{missing}");
}

/// A backup whose hash is right and whose rows are these octets.
fn forged(schema: u32, rows: &[u8]) -> Vec<u8> {
    let mut to = Hashed::new(Vec::new());
    to.write_all(&[&MAGIC[..], &schema.to_le_bytes(), &zstd::encode_all(rows, 1).unwrap()].concat()).unwrap();
    let hash = to.hash.to_le_bytes();
    [&to.inner[..], &hash].concat()
}

#[test]
fn a_backup_that_is_newer_or_makes_no_sense_is_refused_though_its_hash_is_right() {
    let directory = tempfile::tempdir().unwrap();
    let refuse = |octets: Vec<u8>, why: &str| {
        let (path, to) = (directory.path().join("forged"), tempfile::tempdir().unwrap());
        fs::write(&path, octets).unwrap();
        let error = restore(&path, to.path()).unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0, "{why}");
    };
    let end = |rows: u64| [&[END][..], &rows.to_le_bytes()].concat();
    let row = |table: u8, key: &[u8], value: &[u8]| {
        let mut octets = Vec::new();
        write_row(&mut octets, table, &(key.to_vec(), value.to_vec())).unwrap();
        octets
    };
    refuse(forged(SCHEMA + 1, &end(0)), "is of schema 2");
    refuse(forged(0, &end(0)), "schema is unknown");
    refuse(forged(SCHEMA, &end(1)), "rows are missing");
    refuse(forged(SCHEMA, &[]), "cannot be restored");
    refuse(forged(SCHEMA, &[200]), "unknown table");
    refuse(forged(SCHEMA, &[1, 255, 255, 255, 255, 0, 0, 0, 0]), "too long");
    refuse(forged(SCHEMA, &[&row(0, b"schema", &9_u32.to_le_bytes())[..], &end(1)].concat()), "is of schema 9");
    refuse(forged(SCHEMA, &[&row(1, &[0; 8], &[1, 2, 3])[..], &end(1)].concat()), "a row of devices");
}
