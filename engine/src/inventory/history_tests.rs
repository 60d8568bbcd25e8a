//! States of the past are what they were.

use super::*;
use crate::inventory::{Batch, sample};

const VALUES: [&str; 5] = ["a", "b,c", "\\", "", "d\\,e"];

/// Any of a few values.
fn any(random: &mut sample::Random) -> Box<str> {
    VALUES[random.below(VALUES.len() as u64) as usize].into()
}

fn some(random: &mut sample::Random) -> Vec<Box<str>> {
    (0..random.below(4)).map(|_| any(random)).collect()
}

/// Changes something of a device.
fn turn(random: &mut sample::Random, device: &mut Device) {
    let octet = random.below(200) as u8;
    match random.below(11) {
        0 => device.macs = (0..random.below(3)).map(|n| Mac([2, 0, 0, 0, n as u8, octet])).collect(),
        1 => device.ips = (0..random.below(3)).map(|n| IpAddr::from([10, 0, n as u8, octet])).collect(),
        2 => device.ips.insert(0, IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, u16::from(octet)])),
        3 => device.vlan = (octet > 100).then_some(u16::from(octet)),
        4 => device.hostnames = some(random),
        5 => device.tags = some(random),
        6 => device.owner = (octet > 60).then(|| any(random)),
        7 => device.place = (octet > 60).then(|| any(random)),
        8 => device.lifecycle = Lifecycle::ALL[random.below(6) as usize],
        9 => device.merged_into = (octet > 100).then_some(DeviceId(u64::from(octet))),
        _ => {
            let attribute = Attribute::ALL[random.below(Attribute::COUNT as u64) as usize];
            let confidence = f32::from(octet) / 200.0;
            match octet > 50 {
                true => device.attributes.insert(attribute, Known { value: any(random), confidence, ..Known::default() }),
                false => device.attributes.remove(&attribute),
            };
        }
    }
}

/// What changes cover. A confidence that changes while the value stays makes no change, and is not covered.
fn covered(device: &Device) -> (DeviceId, Option<DeviceId>, Vec<(&'static str, Text)>) {
    (device.device_id, device.merged_into, sides(device))
}

#[test]
fn every_state_of_random_histories_comes_back() {
    for seed in 0..12 {
        let mut random = sample::Random(seed);
        let directory = tempfile::tempdir().unwrap();
        let mut inventory = Inventory::open(directory.path()).unwrap();
        let mut now: BTreeMap<DeviceId, Device> = BTreeMap::new();
        let mut states = vec![(i64::MIN, Vec::new())];
        let mut at = -20;
        for step in 0..40 {
            at += i64::from(random.below(3) > 0);
            let mut changes = Vec::new();
            for _ in 0..=random.below(3) {
                let device_id = DeviceId(random.below(5));
                match now.get_mut(&device_id) {
                    None => {
                        let mut device = Device { device_id, ..Device::default() };
                        turn(&mut random, &mut device);
                        changes.extend(created(&device, at, "engine", |_| vec![step]));
                        now.insert(device_id, device);
                    }
                    Some(device) => {
                        let before = device.clone();
                        turn(&mut random, device);
                        changes.extend(diff(&before, device, at, "engine", |_| vec![step]));
                    }
                }
            }
            let devices: Vec<_> = now.values().cloned().collect();
            inventory.write(&Batch { devices: &devices, changes: &changes, ..Batch::default() }).unwrap();
            states.push((at, devices));
        }
        for (index, (at, devices)) in states.iter().enumerate() {
            // Of one moment, the last state counts.
            if states.get(index + 1).is_none_or(|(next, _)| next > at) {
                let found: Vec<_> = inventory.as_of(*at).unwrap().iter().map(covered).collect();
                assert_eq!(found, devices.iter().map(covered).collect::<Vec<_>>(), "seed {seed}, at {at}");
            }
        }
        assert_eq!(inventory.as_of(i64::MAX).unwrap(), now.into_values().collect::<Vec<_>>());
    }
}

#[test]
fn a_value_of_the_past_has_the_confidence_it_had() {
    let directory = tempfile::tempdir().unwrap();
    let mut inventory = Inventory::open(directory.path()).unwrap();
    let mut device = Device { device_id: DeviceId(1), last_seen: 99, ..Device::default() };
    let mut changes = created(&device, 1, "engine", |_| Vec::new());
    for (at, value, confidence, by) in [(2, "x", 0.5, "engine"), (3, "y", 1.0, "anna"), (4, "z", 0.25, "engine")] {
        let before = device.clone();
        device.attributes.insert(Attribute::Model, Known { value: value.into(), confidence, ..Known::default() });
        changes.extend(diff(&before, &device, at, by, |_| Vec::new()));
    }
    let devices = [device];
    inventory.write(&Batch { devices: &devices, changes: &changes, ..Batch::default() }).unwrap();
    let model = |at| {
        let then = inventory.as_of(at).unwrap().remove(0);
        assert_eq!(then.last_seen, at.min(99));
        then.known(Attribute::Model).map(|known| (known.value.to_string(), known.confidence, known.set_by_hand))
    };
    assert_eq!(inventory.as_of(0).unwrap(), []);
    assert_eq!(model(1), None);
    assert_eq!(model(2), Some(("x".to_owned(), 0.5, false)));
    assert_eq!(model(3), Some(("y".to_owned(), 1.0, true)));
    assert_eq!(model(4), Some(("z".to_owned(), 0.25, false)));
}

#[test]
fn changes_name_what_was_and_what_is_in_one_order() {
    let before = Device { device_id: DeviceId(5), ..Device::default() };
    let mut after = sample::device(3);
    after.device_id = DeviceId(5);
    after.attributes.retain(|attribute, _| *attribute == Attribute::Model);
    after.tags = vec!["x,y".into(), "z\\".into()];
    after.merged_into = Some(DeviceId(6));
    let changes = diff(&before, &after, 8, "engine", |what| vec![what.len() as u64; 20]);
    let whats: Vec<_> = changes.iter().map(|change| (&*change.what, change.after.as_deref().unwrap())).collect();
    let expected = [
        ("merged", "d0000000000000006"),
        ("tags", "x\\,y,z\\\\"),
        ("mac", "02:00:00:00:00:03"),
        ("ip", "10.0.0.3"),
        ("vlan", "7"),
        ("hostnames", "host-3"),
        ("model", "model of 3"),
    ];
    assert_eq!(whats, expected);
    assert!(changes.iter().all(|change| change.before.is_none() && change.at == 8 && &*change.by == "engine"));
    assert!(changes.iter().all(|change| change.evidence == vec![change.what.len() as u64; EVIDENCE_MAX]));
    assert_eq!((changes[6].confidence, changes[4].confidence), (Some(0.5), None));
    assert_eq!(diff(&after, &after, 8, "engine", |_| Vec::new()), []);
    let back = diff(&after, &before, 9, "engine", |_| Vec::new());
    assert_eq!((&*back[0].what, back[0].before.as_deref(), &back[0].after), ("split", Some("d0000000000000006"), &None));
}

#[test]
fn macs_are_read_with_colons_and_hyphens_and_nothing_else() {
    assert_eq!(mac("02:0A:ff:00:01:99"), Some(Mac([2, 10, 255, 0, 1, 0x99])));
    assert_eq!(mac("02-0a-ff-00-01-99"), Some(Mac([2, 10, 255, 0, 1, 0x99])));
    for wrong in ["", "02:0a:ff:00:01", "02:0a:ff:00:01:99:00", "2:0a:ff:00:01:99", "+2:0a:ff:00:01:99", "020aff000199"] {
        assert_eq!(mac(wrong), None, "{wrong}");
    }
}
