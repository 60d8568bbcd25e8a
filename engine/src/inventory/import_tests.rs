//! Tables of what people say.

use super::*;
use crate::inventory::sample;

fn devices() -> Vec<Device> {
    (0..6).map(sample::device).collect()
}

fn check(table: &str, expect: &[(u32, usize, &[Setting])], unmatched: &[u32]) {
    let devices = devices();
    let plan = plan(table.as_bytes(), &devices);
    let rows = expect.iter().map(|(line, device, settings)| (*line, devices[*device].device_id, settings.to_vec()));
    assert_eq!((plan.rows, plan.errors), (rows.collect(), Vec::new()), "{table}");
    assert_eq!(plan.unmatched.iter().map(|row| row.line).collect::<Vec<_>>(), unmatched, "{table}");
}

fn refused(table: &[u8], line: u32, why: &str) {
    let plan = plan(table, &devices());
    let found = plan.errors.iter().any(|row| row.line == line && row.why.contains(why));
    assert!(found, "{}: {:?}", String::from_utf8_lossy(table), plan.errors);
}

#[test]
fn the_first_that_a_device_answers_to_tells_which_it_is() {
    let owner = |owner: &str| Setting::Owner(Some(owner.into()));
    let serial = Setting::Attribute(Attribute::Serial, Some("SN00000003".into()));
    check("owner,mac\nicu,02-00-00-00-00-02\n", &[(2, 2, &[owner("icu")])], &[]);
    check("ip,owner\r\n10.0.0.4,\"a, b\"\r\n10.9.9.9,x\r\n", &[(2, 4, &[owner("a, b")])], &[3]);
    check("serial,owner\nSN00000003,x\nSN9,y", &[(2, 3, &[owner("x")])], &[3]);
    check("mac,serial\n02:00:00:00:00:01,SN00000003", &[(2, 1, &[serial])], &[]);
    // A MAC that nobody has: the address tells.
    check("mac,ip,owner\n02:00:00:00:99:01,10.0.0.1,x", &[(2, 1, &[owner("x")])], &[]);
    let id = sample::device(5).device_id;
    check(&format!("device_id,ip,owner\n{id},10.0.0.1,x\n"), &[(2, 5, &[owner("x")])], &[]);
    check("ip,owner,place\n10.0.0.1,,\n,x,y\n", &[(2, 1, &[])], &[3]);
    let all = "ip,owner,place,tags,lifecycle,category,manufacturer,model,hostname\n10.0.0.1,o,p, a ;b;;c,in_service,ct,m,n,h\n";
    let value = |attribute, value: &str| Setting::Attribute(attribute, Some(value.into()));
    let settings = [
        owner("o"),
        Setting::Place(Some("p".into())),
        Setting::Tags(vec!["a".into(), "b".into(), "c".into()]),
        Setting::Lifecycle(Lifecycle::InService),
        value(Attribute::Category, "ct"),
        value(Attribute::Manufacturer, "m"),
        value(Attribute::Model, "n"),
        value(Attribute::Hostname, "h"),
    ];
    check(all, &[(2, 1, &settings)], &[]);
}

#[test]
fn what_is_wrong_with_a_table_is_told_by_line() {
    refused(b"", 1, "empty");
    refused(b"ip,colour\n", 1, "unknown column `colour`; known are device_id");
    refused(b"ip,owner,owner\n", 1, "twice");
    refused(b"owner,place\nx,y\n", 1, "no column tells the devices");
    refused(b"ip,owner\n10.0.0.1\n", 2, "1 cells where the first row has 2");
    refused(b"ip,owner\n10.0.0.1,x\n10.0.0.1,y\n", 3, "same device as line 2");
    refused(b"ip\n10.0.0.1\n10.0.0\n", 3, "not an address");
    refused(b"mac\n\n02:00:00:00:00\n", 3, "six pairs");
    refused(b"device_id\nd12\n", 2, "16 hexadecimal digits");
    refused(b"ip,lifecycle\n10.0.0.1,old\n", 2, "none of seen, onboarding");
    refused(b"ip,owner\n10.0.0.1,\"x\n", 2, "not closed");
    refused(b"ip,owner\n10.0.0.1,x\n10.0.0.2,\xe9\n", 3, "UTF-8");
    refused(&vec![b'x'; TABLE_OCTETS_MAX + 1], 1, "64 MiB");
    let many = format!("ip\n{}", "x\n".repeat(REPORTED_MAX + 50));
    assert_eq!(plan(many.as_bytes(), &devices()).errors.len(), REPORTED_MAX);
}

#[test]
fn who_shares_an_address_is_ambiguous_and_parts_answer_as_the_whole() {
    let mut devices = devices();
    devices[2].ips = devices[1].ips.clone();
    let errors = plan(b"ip,owner\n10.0.0.1,x\n", &devices).errors;
    assert!(errors[0].line == 2 && errors[0].why.contains("ambiguous"), "{errors:?}");
    devices[2].merged_into = Some(devices[1].device_id);
    assert_eq!(plan(b"ip,owner\n10.0.0.1,x\n", &devices).rows[0].1, devices[1].device_id);
    let table = format!("device_id,owner\n{},x\n", devices[2].device_id);
    assert_eq!(plan(table.as_bytes(), &devices).rows[0].1, devices[1].device_id);
    // Whoever goes round in circles answers to nobody.
    devices[1].merged_into = Some(devices[2].device_id);
    assert_eq!(plan(table.as_bytes(), &devices).unmatched.len(), 1);
}

#[test]
fn an_import_is_whole_or_nothing_and_a_rehearsal_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut inventory = Inventory::open(directory.path()).unwrap();
    let devices = devices();
    inventory.write(&Batch { devices: &devices, ..Batch::default() }).unwrap();
    let good = b"ip,owner,tags,lifecycle\n10.0.0.1,icu,a;b,in_service\n10.0.0.77,x,,\n10.0.0.2,er,,\n";
    let bad = b"ip,owner,lifecycle,category\n10.0.0.1,icu,in_service,\n10.0.0.2,er,maintenance,\n10.0.0.3,,,toaster\n";
    let report = inventory.import(bad, "anna", 9, false).unwrap();
    assert_eq!(report.errors.iter().map(|row| row.line).collect::<Vec<_>>(), [3, 4]);
    assert!(report.errors[0].why.contains("choose onboarding") && report.errors[1].why.contains("taxonomy") && !report.written);
    let rehearsed = inventory.import(good, "anna", 9, true).unwrap();
    assert!(!rehearsed.written);
    assert_eq!(inventory.devices().unwrap().len(), 6);
    assert!(inventory.devices().unwrap().iter().all(|device| devices.contains(device)));
    let report = inventory.import(good, "anna", 9, false).unwrap();
    assert_eq!(report, Report { written: true, ..rehearsed });
    let applied: Vec<_> = report.applied.iter().map(|row| (row.line, row.device_id, row.changes)).collect();
    assert_eq!(applied, [(2, devices[1].device_id, 3), (4, devices[2].device_id, 1)]);
    assert_eq!(report.unmatched.iter().map(|row| row.line).collect::<Vec<_>>(), [3]);
    let stored = inventory.device(devices[1].device_id).unwrap().unwrap();
    assert_eq!((stored.device.owner.as_deref(), stored.device.lifecycle), (Some("icu"), Lifecycle::InService));
    assert_eq!(stored.overrides.owner.unwrap().by, "anna".into());
    // The same table again changes nothing.
    let again = inventory.import(good, "bert", 10, false).unwrap();
    assert!(again.written && again.applied.iter().all(|row| row.changes == 0));
    assert_eq!(inventory.changes_of(devices[1].device_id, 99).unwrap().len(), 3);
}
