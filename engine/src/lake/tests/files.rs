//! Cutting, naming, locking, recovery, failure, and reading back.

use std::{fs, process::Command};

use super::{SECOND, T, batch, lonely, points, tree, writer};
use crate::{
    flow::{Address, Flow},
    lake::{
        LakeError, LakeSettings, Query, TableName, Writer,
        read::{Sums, rows, scan},
        sum_packets,
    },
};

fn small(rows: usize) -> LakeSettings {
    LakeSettings { rotate_rows: rows, row_group_rows: 3, ..LakeSettings::default() }
}

/// `count` flows a second apart, to four responders.
fn flows(count: i64) -> Vec<Flow> {
    (0..count)
        .map(|n| {
            let mut flow = lonely(n as u64, n * SECOND);
            flow.endpoint.0[1].address = Address::V4([10, 0, 0, (n % 4) as u8 * 7].into());
            flow
        })
        .collect()
}

fn write(directory: &std::path::Path, settings: &LakeSettings, batches: &[(i64, i64)]) -> crate::lake::Totals {
    let mut writer = writer(directory, settings);
    for &(from, to) in batches {
        let rows = flows(to).split_off(from as usize);
        writer.flows(&batch(rows, to * SECOND), &points()).unwrap();
    }
    let (totals, outcome) = writer.close();
    outcome.unwrap();
    totals
}

#[test]
fn the_same_batches_give_the_same_files_and_a_second_run_adds_none() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let batches = [(0, 9), (9, 10), (10, 25)];
    let first = write(one.path(), &small(10), &batches);
    assert_eq!((first.rows, first.packets, first.octets, first.files, first.files_present), (25, 25, 25 * 94, 3, 0));
    write(two.path(), &small(10), &batches);
    let files = tree(&one.path().join("lake"));
    assert_eq!(files.len(), 3);
    assert_eq!(files, tree(&two.path().join("lake")));
    for file in &files {
        let read = |root: &std::path::Path| fs::read(root.join("lake").join(file)).unwrap();
        assert_eq!(read(one.path()), read(two.path()), "{}", file.display());
    }
    let again = write(one.path(), &small(10), &batches);
    assert_eq!((again.rows, again.files, again.files_present), (25, 0, 3));
    assert_eq!(tree(&one.path().join("lake")), files);
    assert_eq!(sum_packets(one.path(), None).unwrap(), Sums { rows: 25, packets: 25, octets: 25 * 94 });
}

#[test]
fn another_source_or_site_is_another_file() {
    let directory = tempfile::tempdir().unwrap();
    for (site, source) in [("a", "x"), ("a", "y"), ("b", "x")] {
        let mut writer = Writer::open(directory.path(), site, &LakeSettings::default(), source).unwrap();
        writer.flows(&batch(flows(1), 0), &points()).unwrap();
        writer.close().1.unwrap();
    }
    assert_eq!(tree(&directory.path().join("lake")).len(), 3);
    assert_eq!(sum_packets(directory.path(), Some("a")).unwrap().rows, 2);
}

#[test]
fn files_end_after_their_time_and_rows_are_filed_by_the_hour_of_their_end() {
    let directory = tempfile::tempdir().unwrap();
    let settings = LakeSettings { rotate_secs: 60, ..LakeSettings::default() };
    let totals = write(directory.path(), &settings, &[(0, 30), (30, 130), (130, 130), (3599, 3601)]);
    // 0..60, 60..120, 120..130, and one on each side of nine o'clock.
    assert_eq!(totals.files, 5);
    let hours: Vec<String> =
        tree(&directory.path().join("lake/flows")).iter().map(|path| path.parent().unwrap().display().to_string()).collect();
    let hour = |hour| format!("site=ward-3/date=2026-03-02/hour={hour}");
    assert_eq!(hours, [hour("08"), hour("08"), hour("08"), hour("08"), hour("09")]);
}

#[test]
fn rows_that_come_long_after_their_time_share_files_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path(), &LakeSettings { rotate_secs: 60, ..LakeSettings::default() });
    for ten in 0..6 {
        let rows = flows(10 * (ten + 1)).split_off(10 * ten as usize);
        writer.flows(&batch(rows, (10 * ten + 600) * SECOND), &points()).unwrap();
    }
    let (totals, outcome) = writer.close();
    outcome.unwrap();
    assert_eq!((totals.rows, totals.files), (60, 1));
}

#[test]
fn rows_of_a_file_are_sorted_by_address_then_start() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &LakeSettings::default(), &[(0, 12)]);
    let mut seen = Vec::new();
    scan(directory.path(), &Query::all(TableName::Flows), |row| {
        seen.push((row["responder_address"].as_str().unwrap().to_owned(), row["flow_start"].as_str().unwrap().to_owned()));
    })
    .unwrap();
    assert_eq!(seen.len(), 12);
    assert!(seen.is_sorted(), "{seen:?}");
    assert_eq!(seen[3].0, "10.0.0.14", "byte order: .0 .14 .21 .7");
}

#[test]
fn queries_find_the_newest_by_time_address_and_port() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &small(7), &[(0, 40)]);
    let ask = |query: Query| -> Vec<i64> {
        rows(directory.path(), &query).unwrap().iter().map(|row| row["flow_id"].as_i64().unwrap()).collect()
    };
    let all = || Query::all(TableName::Flows);
    assert_eq!(ask(Query { limit: Some(3), ..all() }), [39, 38, 37]);
    assert_eq!(ask(all()), (0..40).rev().collect::<Vec<_>>());
    assert_eq!(ask(Query { since: Some(T + 36 * SECOND), until: Some(T + 38 * SECOND), ..all() }), [38, 37, 36]);
    assert_eq!(ask(Query { address: Some("10.0.0.21".into()), limit: Some(2), ..all() }), [39, 35]);
    assert_eq!(ask(Query { address: Some("10.0.0.5".into()), ..all() }).len(), 40);
    assert_eq!(ask(Query { address: Some("10.0.0.99".into()), ..all() }), [0; 0]);
    assert_eq!(ask(Query { port: Some(104), limit: Some(1), ..all() }), [39]);
    assert_eq!(ask(Query { port: Some(105), ..all() }), [0; 0]);
    assert_eq!(ask(Query { site: Some("elsewhere".into()), ..all() }), [0; 0]);
    assert_eq!(rows(directory.path(), &Query::all(TableName::Coverage)).unwrap().len(), 0, "a table without files is empty");
}

#[test]
fn leftovers_go_and_foreign_files_stay() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &LakeSettings::default(), &[(0, 3)]);
    let hour = directory.path().join("lake/flows/site=ward-3/date=2026-03-02/hour=08");
    fs::write(hour.join(".tmp-flows-7"), b"half a file").unwrap();
    fs::write(hour.join("broken.parquet"), b"PAR1 and no end").unwrap();
    fs::write(hour.join("notes.txt"), b"hello").unwrap();
    let writer = writer(directory.path(), &LakeSettings::default());
    let found = writer.recovered();
    assert_eq!((found.removed, found.removed_bytes, found.files, found.foreign_count), (1, 11, 1, 2));
    assert_eq!(found.foreign, [hour.join("broken.parquet"), hour.join("notes.txt")]);
    assert!(!hour.join(".tmp-flows-7").exists() && hour.join("broken.parquet").exists());
    assert_eq!(sum_packets(directory.path(), None).unwrap().rows, 3);
}

#[test]
fn a_directory_has_one_writer() {
    let directory = tempfile::tempdir().unwrap();
    let first = writer(directory.path(), &LakeSettings::default());
    let second = Writer::open(directory.path(), "ward-3", &LakeSettings::default(), "test").err().unwrap();
    let text = second.to_string();
    assert!(matches!(second, LakeError::Locked { .. }), "{text}");
    assert!(text.contains(&format!("in use by process {}", std::process::id())), "{text}");
    drop(first);
    writer(directory.path(), &LakeSettings::default());
}

#[test]
fn what_cannot_begin_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let open = |path: &str, site: &str| {
        Writer::open(&directory.path().join(path), site, &LakeSettings::default(), "test").err().unwrap().to_string()
    };
    let missing = open("no/such", "a");
    assert!(missing.starts_with("cannot create ") && missing.contains("check that the directory exists"), "{missing}");
    fs::write(directory.path().join("file"), b"").unwrap();
    assert!(open("file", "a").contains("Not a directory"));
    for site in ["", "a/b", "..", "a b", "ä"] {
        assert!(open("", site).starts_with(&format!("site `{site}` is not a name")));
    }
}

#[test]
fn rows_that_cannot_be_written_are_counted_and_the_rest_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path(), &LakeSettings::default());
    // A file where the first hour's directory would be.
    let date = directory.path().join("lake/flows/site=ward-3/date=2026-03-02");
    fs::create_dir_all(&date).unwrap();
    fs::write(date.join("hour=08"), b"").unwrap();
    let mut rows = flows(5);
    rows.push(lonely(99, 3600 * SECOND));
    writer.flows(&batch(rows, 0), &points()).unwrap();
    let (totals, outcome) = writer.close();
    let LakeError::Write { rows, packets, octets, path, .. } = outcome.unwrap_err() else { panic!("a write error") };
    assert_eq!((rows, packets, octets, path), (5, 5, 5 * 94, date.join("hour=08")));
    assert_eq!((totals.rows, totals.packets), (1, 1));
    assert_eq!(sum_packets(directory.path(), None).unwrap().rows, 1);
}

/// A file system of 128 KiB, which only root can make.
#[test]
fn a_full_disk_damages_nothing_that_is_visible() {
    let directory = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=128k", "tmpfs"]).arg(directory.path()).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("skipped: not allowed to mount a small file system");
        return;
    }
    let settings = LakeSettings { rotate_rows: 4, ..LakeSettings::default() };
    let mut writer = writer(directory.path(), &settings);
    let mut lost = 0;
    for n in 0..10 {
        let rows = flows(4 * n + 4).split_off(4 * n as usize);
        match writer.flows(&batch(rows, 0), &points()) {
            Ok(()) => {}
            Err(LakeError::Write { rows, packets, source, .. }) => {
                assert!(source.to_string().contains("No space left"), "{source}");
                assert_eq!(rows, packets);
                lost += rows;
            }
            Err(other) => panic!("{other}"),
        }
    }
    let (totals, outcome) = writer.close();
    let sums = sum_packets(directory.path(), None);
    let leftovers = tree(&directory.path().join("lake")).iter().filter(|path| path.to_string_lossy().contains(".tmp-")).count();
    Command::new("umount").arg("-l").arg(directory.path()).status().unwrap();
    outcome.unwrap();
    assert!(lost > 0 && totals.rows > 0);
    assert_eq!(totals.rows + lost, 40, "written or counted");
    assert_eq!(sums.unwrap().rows, totals.rows);
    assert_eq!(leftovers, 0, "a file that could not be completed is gone");
}
