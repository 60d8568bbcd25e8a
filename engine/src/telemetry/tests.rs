//! The exposition as a scraper reads it.

use std::collections::BTreeSet;

use super::{metric::metrics_table, *};
use crate::ledger::Count;

const TAPS: [&str; 2] = ["tap0", "tap1"];

fn telemetry() -> Telemetry {
    Telemetry::new(&TAPS).expect("the table is valid")
}

/// Value of a series, as it stands in the text.
fn value(text: &str, series: &str) -> Option<String> {
    text.lines().find_map(|line| Some(line.strip_prefix(series)?.strip_prefix(' ')?.to_owned()))
}

/// Line grammar of text format 0.0.4; returns the family names with samples.
fn check_grammar(text: &str) -> BTreeSet<String> {
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'_')
    };
    let (mut families, mut typed) = (BTreeSet::new(), BTreeSet::new());
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').expect("name and help");
            assert!(is_name(name) && !words.is_empty(), "{line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("name and type");
            assert!(is_name(name) && ["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(typed.insert(name.to_owned()), "typed twice: {line}");
        } else {
            let (series, value) = line.rsplit_once(' ').expect("series and value");
            value.parse::<f64>().expect("a number");
            let (name, labels) =
                series.split_once('{').map_or((series, ""), |(name, rest)| (name, rest.strip_suffix('}').expect("closed")));
            assert!(typed.contains(name), "sample before its type: {line}");
            for pair in labels.split(',').filter(|pair| !pair.is_empty()) {
                let (label, text) = pair.split_once('=').expect("label and value");
                assert!(is_name(label) && text.len() > 2 && text.starts_with('"') && text.ends_with('"'), "{line}");
            }
            families.insert(name.to_owned());
        }
    }
    families
}

#[test]
fn every_metric_is_there_from_the_start() {
    let text = telemetry().text();
    let families = check_grammar(&text);
    let mut expect: BTreeSet<String> = Metric::ALL.iter().map(|metric| metric.name().to_owned()).collect();
    expect.extend(PROCESS.iter().map(|(name, ..)| (*name).to_owned()));
    assert_eq!(families, expect);
    for series in [
        "auscult_capture_seen_packets_total",
        "auscult_capture_lost_packets_total{place=\"ring_full\"}",
        "auscult_capture_lost_packets_total{place=\"no_ring\"}",
        "auscult_capture_lost_packets_total{place=\"bad_record\"}",
        "auscult_capture_lost_packets_total{place=\"write\"}",
        "auscult_capture_discarded_packets_total{reason=\"frame_too_short\"}",
        "auscult_capture_samples_total{class=\"clinical\",outcome=\"shed\"}",
        "auscult_capture_tap_transmitted_packets_total{interface=\"tap1\"}",
        "auscult_biflow_flows_exported_total{reason=\"lack_of_resources\"}",
        "auscult_lake_write_errors_total",
        "auscult_capture_mode_info{hook=\"tcx\"}",
    ] {
        assert_eq!(value(&text, series).as_deref(), Some("0"), "{series}");
    }
    let build = format!("auscult_process_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(value(&text, &build).as_deref(), Some("1"));
}

#[test]
fn names_follow_the_contract() {
    let mut names = BTreeSet::new();
    for metric in Metric::ALL {
        let name = metric.name();
        assert!(names.insert(name), "{name} is in the table twice");
        let stage = name.strip_prefix("auscult_").and_then(|rest| rest.split('_').next());
        assert!(matches!(stage, Some("capture" | "biflow" | "dissect" | "inventory" | "lake" | "serve" | "process")), "{name}");
        assert_eq!(metric.kind() == Kind::Counter, name.ends_with("_total"), "{name}");
        assert!(metric.help().ends_with('.'), "{name}");
        assert!(metrics_table().contains(&format!("| `{name}` | ")), "{name}");
    }
}

#[test]
fn the_number_of_series_has_a_hard_cap() {
    let taps: Vec<String> = (0..INTERFACES_MAX).map(|i| format!("tap{i}")).collect();
    let telemetry = Telemetry::new(&taps).expect("as many as allowed");
    let lines = telemetry.text().lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(lines, telemetry.series() + PROCESS.len());
    assert!(lines <= SERIES_MAX, "{lines} series");
    for i in 0..10_000 {
        telemetry.add(Metric::CaptureLostPackets, &[&format!("10.0.0.{i}")], 1);
    }
    assert_eq!(telemetry.text().lines().filter(|line| !line.starts_with('#')).count(), lines);
    assert_eq!(telemetry.refused(), 10_000);
    let taps: Vec<String> = (0..=INTERFACES_MAX).map(|i| format!("tap{i}")).collect();
    assert!(matches!(Telemetry::new(&taps), Err(TelemetryError::Interfaces(n)) if n == INTERFACES_MAX + 1));
}

#[test]
fn ledger_states_are_followed_and_never_go_backwards() {
    let telemetry = telemetry();
    let mut ledger = Ledger::default();
    ledger.counters.seen_packets = 100;
    ledger.counters.seen_octets = 6_400;
    ledger.metered = Count { packets: 90, octets: 5_760 };
    ledger.counters.discarded_packets[Discard::NotIp as usize] = 3;
    ledger.counters.lost_packets[Lost::RingFull as usize] = 2;
    ledger.user_lost[UserLost::Write as usize].packets = 7;
    ledger.counters.samples_shed[Class::Name as usize] = 4;
    ledger.resident = Count { packets: 4, octets: 256 };
    telemetry.record_ledger(&ledger);
    let newest = telemetry.text();
    for (series, expect) in [
        ("auscult_capture_seen_packets_total", "100"),
        ("auscult_capture_seen_octets_total", "6400"),
        ("auscult_capture_metered_packets_total", "90"),
        ("auscult_capture_discarded_packets_total{reason=\"not_ip\"}", "3"),
        ("auscult_capture_lost_packets_total{place=\"ring_full\"}", "2"),
        ("auscult_capture_lost_packets_total{place=\"write\"}", "7"),
        ("auscult_capture_samples_total{class=\"name\",outcome=\"shed\"}", "4"),
        ("auscult_capture_resident_packets", "4"),
        ("auscult_capture_ledger_imbalance_packets", "1"),
        ("auscult_capture_ledger_imbalance_octets", "384"),
    ] {
        assert_eq!(value(&newest, series).as_deref(), Some(expect), "{series}");
    }
    let mut older = ledger;
    older.counters.seen_packets = 50;
    older.counters.discarded_packets[Discard::NotIp as usize] = 0;
    telemetry.record_ledger(&older);
    let text = telemetry.text();
    assert_eq!(value(&text, "auscult_capture_seen_packets_total").as_deref(), Some("100"));
    assert_eq!(value(&text, "auscult_capture_discarded_packets_total{reason=\"not_ip\"}").as_deref(), Some("3"));
    telemetry.record_ledger(&ledger);
    assert_eq!(value(&telemetry.text(), "auscult_capture_seen_packets_total").as_deref(), Some("100"));
}

#[test]
fn marks_carry_their_time() {
    let telemetry = telemetry();
    telemetry.record_mark(&RingMark { ring: 3, at: 5_000_000_000, utc_offset: 1_700_000_000_900_000_000 });
    let text = telemetry.text();
    assert_eq!(value(&text, "auscult_capture_marks_total").as_deref(), Some("1"));
    assert_eq!(value(&text, "auscult_capture_last_mark_timestamp_seconds").as_deref(), Some("1700000005"));
}

#[test]
fn peak_memory_is_read() {
    assert!(peak_memory_bytes().expect("the kernel tells it") > 1 << 20);
}
