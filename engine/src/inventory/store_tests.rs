//! What is written is read back.

use std::ops::ControlFlow;

use super::*;
use crate::inventory::{Batch, ByHand, sample};

fn open() -> (tempfile::TempDir, Inventory) {
    let directory = tempfile::tempdir().unwrap();
    let inventory = Inventory::open(directory.path()).unwrap();
    (directory, inventory)
}

fn all(inventory: &Inventory) -> (Vec<Stored>, Loaded) {
    let mut all = Vec::new();
    let loaded = inventory.load(|stored| all.push(stored)).unwrap();
    (all, loaded)
}

#[test]
fn all_of_a_batch_is_there_after_the_next_opening() {
    let (directory, mut inventory) = open();
    assert_eq!(all(&inventory), (Vec::new(), Loaded::default()));
    // More than two blocks, and evidence for every third device only.
    let devices: Vec<_> = (0..600).map(sample::device).collect();
    let third = devices.iter().step_by(3).map(|device| device.device_id);
    let mut evidence: Vec<_> = third.flat_map(|id| (0..4).map(move |n| (id, sample::evidence(n)))).collect();
    evidence.push((DeviceId(12345), sample::evidence(9)));
    let hand = ByHand { value: "radiology".into(), by: "anna".into(), at: 5 };
    let overrides = [(devices[7].device_id, Overrides { owner: Some(hand), ..Overrides::default() })];
    let merge = Merge { from: devices[1].device_id, into: devices[2].device_id, at: 4, by: "engine".into(), evidence: vec![1] };
    let changes = [sample::change(devices[0].device_id, 40, "vlan", None, Some("7"))];
    let merges = [merge.clone()];
    let batch = Batch {
        devices: &devices,
        evidence: &evidence,
        overrides: &overrides,
        merges: &merges,
        changes: &changes,
        newest: Some(30),
        ..Batch::default()
    };
    inventory.write(&batch).unwrap();
    drop(inventory);
    let mut inventory = Inventory::open(directory.path()).unwrap();
    let (stored, loaded) = all(&inventory);
    let merges = vec![merge];
    assert_eq!(loaded, Loaded { devices: 600, evidence: 800, evidence_not_understood: 0, merges, newest: Some(40) });
    assert!(stored.is_sorted_by_key(|stored| stored.device.device_id));
    for (number, device) in devices.iter().enumerate() {
        let found = stored.iter().find(|stored| stored.device.device_id == device.device_id).unwrap();
        let pieces: Vec<_> = if number % 3 == 0 { (0..4).map(sample::evidence).collect() } else { Vec::new() };
        assert_eq!((&found.device, &found.evidence), (device, &pieces));
        assert_eq!(found.overrides.is_empty(), number != 7);
        assert_eq!(inventory.device(device.device_id).unwrap().as_ref(), Some(found));
    }
    assert_eq!((inventory.device(DeviceId(1)).unwrap(), inventory.count().unwrap()), (None, 600));
    // What is removed is gone, and the newest time does not go back.
    let removed = [(devices[0].device_id, 2)];
    let (overrides, splits) = ([(devices[7].device_id, Overrides::default())], [devices[1].device_id]);
    let batch = Batch { removed_evidence: &removed, overrides: &overrides, splits: &splits, newest: Some(3), ..Batch::default() };
    inventory.write(&batch).unwrap();
    let (stored, loaded) = all(&inventory);
    assert_eq!((loaded.evidence, loaded.merges.len(), loaded.newest), (799, 0, Some(40)));
    assert!(stored.iter().all(|stored| stored.overrides.is_empty()));
}

#[test]
fn changes_come_in_the_order_of_time_and_of_coming_about() {
    let (_directory, mut inventory) = open();
    let (a, b) = (DeviceId(9), DeviceId(3));
    let mut expected = Vec::new();
    for at in 0..400 {
        // Several of one moment keep their order though the numbers of the devices would turn it.
        let changes: Vec<_> =
            [a, b, a].iter().map(|id| sample::change(*id, at / 2, "vlan", None, Some(&at.to_string()))).collect();
        inventory.write(&Batch { changes: &changes, ..Batch::default() }).unwrap();
        expected.extend(changes);
        if at % 50 == 0 {
            inventory = {
                let path = inventory.path().parent().unwrap().to_owned();
                drop(inventory);
                Inventory::open(&path).unwrap()
            };
        }
    }
    let collect = |first, last, most: usize| {
        let mut found = Vec::new();
        let take = |change| {
            found.push(change);
            if found.len() == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        inventory.changes(first, last, take).unwrap();
        found
    };
    assert_eq!(collect(i64::MIN, i64::MAX, 0), expected);
    assert_eq!(collect(10, 12, 0), expected[60..78]);
    assert_eq!(collect(10, 12, 5), expected[60..65]);
    assert_eq!(collect(12, 10, 0), []);
    let of_b: Vec<_> = expected.iter().filter(|change| change.device_id == b).cloned().collect();
    assert_eq!(inventory.changes_of(b, 1000).unwrap(), of_b);
    assert_eq!(inventory.changes_of(b, 3).unwrap(), of_b[of_b.len() - 3..]);
    assert_eq!(inventory.changes_of(DeviceId(4), 3).unwrap(), []);
}

#[test]
fn listings_read_while_an_engine_writes_and_cannot_write() {
    let (directory, mut inventory) = open();
    let batch = |inventory: &mut Inventory, number| {
        let devices = [sample::device(number)];
        inventory.write(&Batch { devices: &devices, ..Batch::default() })
    };
    batch(&mut inventory, 1).unwrap();
    let mut beside = Inventory::read(directory.path()).unwrap();
    assert_eq!(beside.count().unwrap(), 1);
    batch(&mut inventory, 2).unwrap();
    assert_eq!(beside.count().unwrap(), 2);
    let error = batch(&mut beside, 3).unwrap_err();
    assert!(matches!(error, InventoryError::ReadOnly(_)), "{error}");
    let error = Inventory::open(directory.path()).unwrap_err();
    assert!(matches!(error, InventoryError::InUse(_)) && error.to_string().contains("in use by another process"), "{error}");
    assert_eq!(inventory.count().unwrap(), 2);
}

#[test]
fn evidence_of_a_field_that_is_not_known_is_counted_and_kept() {
    let (_directory, mut inventory) = open();
    let device = sample::device(1);
    let (devices, evidence) =
        ([device.clone()], [(device.device_id, sample::evidence(1)), (device.device_id, sample::evidence(3))]);
    inventory.write(&Batch { devices: &devices, evidence: &evidence, ..Batch::default() }).unwrap();
    let mut octets = crate::inventory::row::encode(&sample::evidence(2)).unwrap();
    let at = octets.windows(4).position(|four| four == b"dhcp").unwrap();
    octets[at] = b'x';
    let key = of_evidence(device.device_id, 2);
    inventory.transact(|transaction| Ok(transaction.open_table(EVIDENCE)?.insert(&key[..], &octets[..]).map(drop)?)).unwrap();
    let (stored, loaded) = all(&inventory);
    assert_eq!((loaded.evidence, loaded.evidence_not_understood), (2, 1));
    assert_eq!(stored[0].evidence, [sample::evidence(1), sample::evidence(3)]);
}

#[test]
fn a_write_that_fails_leaves_what_was_there_and_the_next_one_is_kept() {
    let (_directory, mut inventory) = open();
    let (first, second, third) = ([sample::device(1)], [sample::device(2)], [sample::device(3)]);
    inventory.write(&Batch { devices: &first, ..Batch::default() }).unwrap();
    let full = || redb::Error::Io(std::io::Error::from(std::io::ErrorKind::StorageFull));
    let error = inventory.transact(|transaction| {
        let mut devices = transaction.open_table(DEVICES)?;
        devices.insert(&of_device(second[0].device_id)[..], &[][..])?;
        Err::<(), _>(full())
    });
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("cannot write ") && error.ends_with("free space or check the disk"), "{error}");
    let panicked = inventory.transact(|_| -> Result<(), redb::Error> { panic!("as redb may") });
    assert!(matches!(panicked, Err(InventoryError::Damaged { .. })));
    inventory.write(&Batch { devices: &third, ..Batch::default() }).unwrap();
    let mut expected = [first, third].concat();
    expected.sort_by_key(|device| device.device_id);
    assert_eq!(inventory.devices().unwrap(), expected);
}
