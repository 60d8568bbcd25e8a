//! What is set by hand stands over what is observed, and comes off again.

use super::*;
use crate::inventory::sample;

fn model(value: &str) -> Setting {
    Setting::Attribute(Attribute::Model, Some(value.into()))
}

#[test]
fn a_value_by_hand_stays_until_it_is_taken_back_and_then_the_newest_observation_counts() {
    let (mut device, mut overrides) = (sample::device(1), Overrides::default());
    let observed = device.clone();
    let changes = overrides.set(&mut device, &model(" Pump 9 "), "anna", 5).unwrap();
    let [change] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((&*change.what, change.before.as_deref(), change.after.as_deref()), ("model", Some("model of 1"), Some("Pump 9")));
    assert_eq!((&*change.by, change.at, change.confidence), ("anna", 5, Some(1.0)));
    let known = device.known(Attribute::Model).unwrap().clone();
    assert_eq!((&*known.value, known.confidence, known.set_by_hand), ("Pump 9", 1.0, true));
    assert_eq!(known.conflicts, [("model of 1".into(), 0.5), ("other".into(), 0.25)]);
    // The engine sees something else: the value stays, the conflict is new.
    let newer = Known { value: "Pump 8".into(), confidence: 0.75, ..Known::default() };
    overrides.observe(&mut device, Attribute::Model, Some(newer.clone()));
    assert_eq!(device.value(Attribute::Model), Some("Pump 9"));
    assert_eq!(device.known(Attribute::Model).unwrap().conflicts, [("Pump 8".into(), 0.75)]);
    // The same again is no news; another value is.
    assert_eq!(overrides.set(&mut device, &model("Pump 9"), "bert", 6).unwrap(), []);
    assert_eq!(&*overrides.attributes[&Attribute::Model].by_hand.by, "anna");
    assert_eq!(overrides.set(&mut device, &model("Pump 10"), "bert", 7).unwrap().len(), 1);
    let back = overrides.set(&mut device, &Setting::Attribute(Attribute::Model, None), "bert", 8).unwrap();
    assert_eq!((back[0].before.as_deref(), back[0].after.as_deref()), (Some("Pump 10"), Some("Pump 8")));
    assert_eq!(device.known(Attribute::Model), Some(&newer));
    assert!(overrides.is_empty());
    // What was never set cannot be taken back.
    assert_eq!(overrides.set(&mut device, &Setting::Attribute(Attribute::Os, None), "bert", 9).unwrap(), []);
    assert_eq!(device.known(Attribute::Os), observed.known(Attribute::Os));
    // Without an observation, nothing is left.
    overrides.observe(&mut device, Attribute::Model, None);
    overrides.set(&mut device, &model("Pump 11"), "bert", 10).unwrap();
    overrides.set(&mut device, &Setting::Attribute(Attribute::Model, None), "bert", 11).unwrap();
    assert_eq!(device.known(Attribute::Model), None);
}

#[test]
fn all_that_was_set_is_put_over_a_device_that_is_made_anew() {
    let (mut device, mut overrides) = (sample::device(1), Overrides::default());
    let settings = [
        model("Pump 9"),
        Setting::Owner(Some("Médecine".into())),
        Setting::Place(Some("ward 3".into())),
        Setting::Tags(vec!["loan".into(), "loan".into(), "old one".into()]),
        Setting::Lifecycle(Lifecycle::InService),
    ];
    for setting in &settings {
        assert_eq!(overrides.set(&mut device, setting, "anna", 5).unwrap().len(), 1, "{setting:?}");
    }
    assert_eq!(device.tags, ["loan".into(), "old one".into()]);
    let mut anew = sample::device(1);
    overrides.apply(&mut anew);
    assert_eq!(anew, device);
    // Over itself it changes nothing, and the observation is not forgotten.
    overrides.apply(&mut anew);
    assert_eq!(anew, device);
    assert_eq!(&*overrides.attributes[&Attribute::Model].observed.as_ref().unwrap().value, "model of 1");
    for setting in
        [Setting::Owner(None), Setting::Place(None), Setting::Tags(Vec::new()), Setting::Attribute(Attribute::Model, None)]
    {
        assert_eq!(overrides.set(&mut device, &setting, "anna", 6).unwrap().len(), 1, "{setting:?}");
    }
    assert_eq!(device, Device { lifecycle: Lifecycle::InService, ..sample::device(1) });
    assert!(!overrides.is_empty());
}

#[test]
fn what_cannot_be_kept_is_refused_and_changes_nothing() {
    let (mut device, mut overrides) = (sample::device(1), Overrides::default());
    let mut refused = |setting: Setting, by: &str, why: &str| {
        let error = overrides.set(&mut device, &setting, by, 5).unwrap_err().to_string();
        assert!(error.contains(why), "{setting:?}: {error}");
        assert!(device == sample::device(1) && overrides.is_empty(), "{setting:?}");
    };
    refused(model(""), "anna", "is empty");
    refused(model("  "), "anna", "is empty");
    refused(model(&"x".repeat(TEXT_OCTETS_MAX + 1)), "anna", "at most 128 octets");
    refused(model("a\u{1b}[2Jb"), "anna", "cannot be seen");
    refused(model("a\u{202e}b"), "anna", "cannot be seen");
    refused(model("a"), "", "user `` is empty");
    refused(Setting::Attribute(Attribute::Category, Some("toaster".into())), "anna", "category `toaster` is not in the taxonomy");
    refused(Setting::Owner(Some("a\nb".into())), "anna", "owner `a b` has characters");
    refused(Setting::Place(Some(String::new().into())), "anna", "place");
    refused(Setting::Tags(vec!["a,b".into()]), "anna", "comma");
    refused(Setting::Tags(vec!["a;b".into()]), "anna", "semicolon");
    refused(Setting::Tags((0..=TAGS_MAX).map(|n| n.to_string().into()).collect()), "anna", "too many");
    refused(Setting::Lifecycle(Lifecycle::Maintenance), "anna", "choose onboarding or in_service or quarantined or retired");
    device.lifecycle = Lifecycle::Retired;
    let error = overrides.set(&mut device, &Setting::Lifecycle(Lifecycle::Seen), "anna", 5).unwrap_err().to_string();
    assert!(error.ends_with("is retired and cannot become seen; choose onboarding"), "{error}");
    device.merged_into = Some(DeviceId(3));
    let error = overrides.set(&mut device, &model("x"), "anna", 5).unwrap_err().to_string();
    assert!(error.contains("was merged into d0000000000000003"), "{error}");
    let longest = "x".repeat(TEXT_OCTETS_MAX);
    device.merged_into = None;
    assert!(overrides.set(&mut device, &model(&longest), "anna", 5).is_ok());
    let category = Setting::Attribute(Attribute::Category, Some("ventilator".into()));
    assert!(overrides.set(&mut device, &category, "anna", 5).is_ok());
    assert_eq!(device.category(), Category::Ventilator);
}

#[test]
fn settings_of_one_call_are_kept_all_or_none() {
    let directory = tempfile::tempdir().unwrap();
    let mut inventory = Inventory::open(directory.path()).unwrap();
    let device = sample::device(1);
    let (id, devices) = (device.device_id, [device]);
    inventory.write(&Batch { devices: &devices, ..Batch::default() }).unwrap();
    let settings = [model("Pump 9"), Setting::Lifecycle(Lifecycle::Maintenance)];
    assert!(matches!(inventory.set(id, &settings, "anna", 5), Err(InventoryError::Lifecycle { .. })));
    assert_eq!(inventory.device(id).unwrap().unwrap().device, sample::device(1));
    assert_eq!(inventory.changes_of(id, 9).unwrap(), []);
    let settings = [model("Pump 9"), Setting::Lifecycle(Lifecycle::InService), Setting::Lifecycle(Lifecycle::Maintenance)];
    let changes = inventory.set(id, &settings, "anna", 5).unwrap();
    assert_eq!(changes.len(), 3);
    drop(inventory);
    let mut inventory = Inventory::open(directory.path()).unwrap();
    let stored = inventory.device(id).unwrap().unwrap();
    assert_eq!((stored.device.lifecycle, stored.device.value(Attribute::Model)), (Lifecycle::Maintenance, Some("Pump 9")));
    assert_eq!(inventory.changes_of(id, 9).unwrap(), changes);
    assert!(matches!(inventory.set(DeviceId(77), &settings, "anna", 5), Err(InventoryError::NoDevice(DeviceId(77)))));
}
