//! Every column is documented, and filled from the right field.

use std::{collections::HashSet, sync::Arc};

use serde_json::{Value, json};

use super::{batch, full, lonely, points, writer};
use crate::{
    coverage::{CoverageRow, LedgerMinute, Scope},
    flow::{Address, Flow},
    lake::{
        LakeSettings, Query, TableName, coverage_table, dictionary, flow_table,
        read::{JsonRow, rows},
        schema::{KEY_SCHEMA_VERSION, KEY_SITE, SCHEMA_VERSION},
    },
    ledger::{Count, Ledger},
    sidedness::{SideCounts, Sides},
};

fn through_a_file(flow: Flow) -> JsonRow {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path(), &LakeSettings::default());
    writer.flows(&batch(vec![flow], 0), &points()).unwrap();
    writer.close().1.unwrap();
    let mut rows = rows(directory.path(), &Query::all(TableName::Flows)).unwrap();
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

/// Every key of `row` is expected, every expectation is met.
fn check(row: &JsonRow, expected: Value) {
    let Value::Object(expected) = expected else { panic!("an object") };
    for (name, value) in row {
        assert_eq!(Some(value), expected.get(name), "{name}");
    }
    assert_eq!(row.len(), expected.len());
}

fn expected_side(prefix: &str, base: u64, n: u64, options: &str) -> JsonRow {
    let side = json!({
        "packets": base + 1, "octets": base + 2, "layer2_octets": base + 3, "payload_octets": base + 4,
        "size_min": base + 6, "size_max": base + 7, "size_std": base as f64 + 8.0625,
        "size_histogram": (0..8).map(|bin| base + 9 + bin).collect::<Vec<_>>(),
        "starts_after_nanos": base * 10, "duration_nanos": base + 5,
        "interval_min_nanos": base + 20, "interval_max_nanos": base + 21, "interval_std_nanos": base as f64 + 22.25,
        "is_split": n == 1, "ttl_min": 30 + n, "ttl_max": 32 + n, "dscp": 34 + n, "traffic_class_union": 36 + n,
        "vlan_id": base + 49, "inner_vlan_id": base + 50, "observation_point": format!("tap{}", 1 + n),
        "tunnel_types": "erspan2/vxlan", "tunnel_source_address": "192.0.2.1",
        "tunnel_destination_address": format!("192.0.2.{}", 2 + n), "tunnel_id": base + 51,
        "inner_tunnel_source_address": "203.0.113.1", "inner_tunnel_destination_address": "::1", "inner_tunnel_id": base + 52,
        "tcp_control_bits": 38 + n, "tcp_syn_packets": base + 40, "tcp_fin_packets": base + 41, "tcp_rst_packets": base + 42,
        "tcp_retransmitted_packets": base + 43, "tcp_out_of_order_packets": base + 44, "tcp_zero_window_packets": base + 45,
        "tcp_sequence_exact": n == 0, "tcp_syn_window": base + 46, "tcp_syn_mss": base + 47, "tcp_syn_scale": 48 + n,
        "tcp_syn_options": options,
    });
    let Value::Object(side) = side else { panic!("an object") };
    side.into_iter().map(|(name, value)| (format!("{prefix}_{name}"), value)).collect()
}

#[test]
fn every_flow_column_is_filled_from_its_field() {
    let mut expected = json!({
        "site": "ward-3", "flow_id": 0xfedc_ba98_7654_3210_u64.cast_signed(), "segment": 3,
        "flow_start": "2026-03-02T08:00:00Z", "flow_end": "2026-03-02T08:01:30.000000001Z",
        "end_reason": "active_timeout", "initiator_by": "syn_ack", "sidedness": "one_sided", "protocol": 6, "ethertype": 0x86dd, "icmp_type": 51, "icmp_code": 52,
        "is_fragment": true, "fragment_of": 53, "community_id": "1:AAECAwQFBgcICQoLDA0ODxAREhM=", "parse_stop": "transport_truncated",
        "initiator_address": "10.0.0.5", "initiator_port": 50_001, "initiator_mac": "02:00:00:00:00:0a",
        "responder_address": "2001:db8::7", "responder_port": 104, "responder_mac": "02:00:00:00:00:0b",
        "handshake_rtt_responder_nanos": 54, "handshake_rtt_initiator_nanos": 55,
        "first_packet_sizes": [61, -62, 63], "first_packet_gaps_nanos": [70, 101],
    });
    let object = expected.as_object_mut().unwrap();
    object.extend(expected_side("forward", 1000, 0, "2-4-8-1-3"));
    object.extend(expected_side("reverse", 2000, 1, "2-15"));
    assert_eq!(object.len(), flow_table::table().columns.len() + 1, "every column and the site");
    check(&through_a_file(full()), expected);
}

#[test]
fn what_was_not_seen_is_null_and_sums_are_zero() {
    let row = through_a_file(lonely(1, 0));
    for (name, value) in row.iter().filter(|(name, _)| name.starts_with("reverse_")) {
        let sum =
            ["reverse_packets", "reverse_octets", "reverse_layer2_octets", "reverse_payload_octets"].contains(&name.as_str());
        assert_eq!(value, &if sum { json!(0) } else { Value::Null }, "{name}");
    }
    let tcp: Vec<_> = row.iter().filter(|(name, _)| name.contains("_tcp_")).collect();
    assert_eq!(tcp.len(), 24);
    assert!(tcp.iter().all(|(_, value)| value.is_null()), "UDP has no TCP features");
    assert_eq!(row["forward_interval_min_nanos"], Value::Null, "one packet has no interval");
    assert_eq!(row["first_packet_gaps_nanos"], json!([]));
    assert_eq!(row["first_packet_sizes"], json!([80]));
}

#[test]
fn a_flow_that_is_not_ip_has_macs_for_addresses() {
    let mut flow = lonely(1, 0);
    (flow.protocol, flow.community_id, flow.ethertype) = (None, None, Some(0x0806));
    for end in &mut flow.endpoint.0 {
        (end.address, end.port) = (Address::Link(end.mac), None);
    }
    flow.endpoint.0[1].address = Address::Link(None);
    for side in &mut flow.side.0 {
        (side.ttl_min, side.ttl_max, side.dscp, side.traffic_class_union) = (None, None, None, None);
    }
    let row = through_a_file(flow);
    assert_eq!(row["initiator_address"], "02:00:00:00:00:0a");
    for name in
        ["responder_address", "initiator_port", "responder_port", "protocol", "community_id", "forward_ttl_min", "forward_dscp"]
    {
        assert_eq!(row[name], Value::Null, "{name}");
    }
    assert_eq!(row["ethertype"], 0x0806);
}

#[test]
fn real_numbers_keep_nine_digits() {
    for value in [0.0, 1.0 / 3.0, 1e-9, 12_345.678_901_234, 9.87e17] {
        let mut flow = full();
        flow.side.0[0].size_std = value;
        let row = through_a_file(flow);
        let stored = row["forward_size_std"].as_f64().unwrap();
        assert!((stored - value).abs() <= value * 2.4e-10, "{value} became {stored}");
    }
}

fn coverage_row() -> CoverageRow {
    let mut ledger = Ledger::default();
    let counters = &mut ledger.counters;
    (counters.seen_packets, counters.seen_octets, counters.duplicate_packets, counters.duplicate_octets) = (1, 2, 3, 4);
    counters.discarded_packets = std::array::from_fn(|cell| 10 + cell as u64);
    counters.discarded_octets = std::array::from_fn(|cell| 20 + cell as u64);
    counters.lost_packets = std::array::from_fn(|cell| 30 + cell as u64);
    counters.lost_octets = std::array::from_fn(|cell| 40 + cell as u64);
    (counters.deltas, counters.super_frames, counters.truncated_frames) = (50, 51, 52);
    (counters.copies_packets, counters.copies_octets, counters.tunnelled_packets) = (53, 54, 55);
    (counters.tunnel_paths, counters.tunnel_paths_lost) = (56, 57);
    counters.samples = std::array::from_fn(|class| 60 + class as u64);
    counters.samples_shed = std::array::from_fn(|class| 70 + class as u64);
    counters.samples_lost = std::array::from_fn(|class| 80 + class as u64);
    ledger.metered = Count { packets: 90, octets: 91 };
    ledger.resident = Count { packets: 92, octets: 93 };
    ledger.user_lost = [(94, 95), (96, 97), (98, 99)].map(|(packets, octets)| Count { packets, octets });
    let kept = LedgerMinute { ledger, imbalance: (-98, 99), nic_dropped: Some(100), tx_packets: None };
    CoverageRow { minute: super::T, observation_point: Arc::from("tap0"), scope: Scope::Port, ledger: Some(kept), sides: None }
}

/// Columns of sidedness, from `first` on.
fn expected_sides(first: u64) -> JsonRow {
    let names = ["tcp", "other"].into_iter().flat_map(|transport| {
        ["two_sided", "one_sided", "undecided"]
            .into_iter()
            .flat_map(move |kind| ["flows", "packets"].map(|what| format!("{transport}_{kind}_{what}")))
    });
    names.zip(first..).map(|(name, value)| (name, json!(value))).collect()
}

#[test]
fn rows_of_sidedness_have_no_ledger() {
    let sides = |first: u64| Sides {
        two_sided_flows: first,
        two_sided_packets: first + 1,
        one_sided_flows: first + 2,
        one_sided_packets: first + 3,
        undecided_flows: first + 4,
        undecided_packets: first + 5,
    };
    let counts = SideCounts { tcp: sides(100), other: sides(106) };
    let scopes = [Scope::Port, Scope::Vlan(None), Scope::Vlan(Some(4094))];
    let written: Vec<_> =
        scopes.iter().map(|scope| CoverageRow::of_sides(super::T + 1, Arc::from("tap0"), *scope, counts)).collect();
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path(), &LakeSettings::default());
    writer.coverage(&written).unwrap();
    let (totals, outcome) = writer.close();
    outcome.unwrap();
    assert_eq!(totals.coverage_rows, 3);
    let rows = rows(directory.path(), &Query::all(TableName::Coverage)).unwrap();
    let mut seen: Vec<_> = rows.iter().map(|row| (row["scope"].clone(), row["vlan_id"].clone())).collect();
    seen.sort_by_key(|pair| format!("{pair:?}"));
    assert_eq!(seen, [(json!("port"), json!(null)), (json!("vlan"), json!(null)), (json!("vlan"), json!(4094))]);
    let expected = expected_sides(100);
    for (name, value) in rows.iter().flatten() {
        match name.as_str() {
            "site" => assert_eq!(value, "ward-3"),
            "minute" => assert_eq!(value, "2026-03-02T08:00:00Z"),
            "observation_point" => assert_eq!(value, "tap0"),
            "scope" | "vlan_id" => {}
            name => assert_eq!(value, expected.get(name).unwrap_or(&Value::Null), "{name}"),
        }
    }
}

#[test]
fn every_coverage_column_is_filled_from_its_field() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path(), &LakeSettings::default());
    writer.coverage(&[coverage_row()]).unwrap();
    let (totals, outcome) = writer.close();
    outcome.unwrap();
    assert_eq!(totals.coverage_rows, 1);
    let rows = rows(directory.path(), &Query::all(TableName::Coverage)).unwrap();
    let mut expected = json!({
        "site": "ward-3", "minute": "2026-03-02T08:00:00Z", "observation_point": "tap0", "scope": "port", "vlan_id": null,
        "seen_packets": 1, "seen_octets": 2, "duplicate_packets": 3, "duplicate_octets": 4,
        "discarded_frame_too_short_packets": 10, "discarded_link_type_packets": 11, "discarded_not_ip_packets": 12,
        "discarded_frame_too_short_octets": 20, "discarded_link_type_octets": 21, "discarded_not_ip_octets": 22,
        "lost_ring_full_packets": 30, "lost_no_ring_packets": 31, "lost_ring_full_octets": 40, "lost_no_ring_octets": 41,
        "lost_no_slot_packets": 32, "lost_no_slot_octets": 42,
        "lost_bad_record_packets": 94, "lost_bad_record_octets": 95, "lost_write_packets": 96, "lost_write_octets": 97,
        "metered_packets": 90, "metered_octets": 91, "resident_packets": 92, "resident_octets": 93,
        "imbalance_packets": -98, "imbalance_octets": 99, "deltas": 50, "super_frames": 51, "truncated_frames": 52,
        "recognised_duplicate_packets": 53, "recognised_duplicate_octets": 54, "tunnelled_packets": 55,
        "tunnel_paths": 56, "tunnel_paths_lost": 57,
        "nic_dropped_packets": 100, "tx_packets": null,
    });
    // The macro's recursion ends here.
    for (name, value) in [("lost_crash_packets", 98), ("lost_crash_octets", 99)] {
        expected[name] = json!(value);
    }
    let classes = ["link", "address", "name", "announce", "clinical", "stream", "datagram"];
    for (number, class) in classes.iter().enumerate() {
        for (what, base) in [("samples", 61), ("samples_shed", 71), ("samples_lost", 81)] {
            expected[format!("{what}_{class}")] = json!(base + number);
        }
    }
    expected.as_object_mut().unwrap().extend(expected_sides(0).into_iter().map(|(name, _)| (name, Value::Null)));
    assert_eq!(expected.as_object().unwrap().len(), coverage_table::table().columns.len() + 1);
    check(&rows[0], expected);
}

#[test]
fn every_column_is_documented() {
    let dictionary = dictionary();
    let schemas = [flow_table::table().arrow_schema(), coverage_table::table().arrow_schema()];
    for schema in schemas {
        let mut names = HashSet::new();
        for field in schema.fields() {
            let name = field.name();
            assert!(names.insert(name.clone()), "{name} twice");
            assert!(name.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'_'), "{name}");
            assert!(field.metadata()["description"].ends_with('.'), "{name} is defined in a sentence");
            assert_eq!(field.is_nullable(), field.metadata()["null"] != "never", "{name}");
            assert!(!field.data_type().to_string().contains("UInt64"), "{name}: Spark has no unsigned 64 bits");
            if ["_octets", "_packets", "_nanos"].iter().any(|unit| name.ends_with(unit)) {
                assert!(!field.metadata()["unit"].is_empty(), "{name}");
            }
            assert!(dictionary.contains(&format!("| `{name}` | ")), "{name} is in the dictionary");
        }
    }
}

#[test]
fn files_say_what_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path(), &LakeSettings::default());
    writer.flows(&batch(vec![full()], 0), &points()).unwrap();
    writer.close().1.unwrap();
    let path = super::tree(&directory.path().join("lake")).remove(0);
    let file = std::fs::File::open(directory.path().join("lake").join(path)).unwrap();
    let builder = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let about = builder.metadata().file_metadata().key_value_metadata().unwrap();
    let value = |key: &str| about.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.clone());
    assert_eq!(value(KEY_SCHEMA_VERSION).as_deref(), Some(SCHEMA_VERSION));
    assert_eq!(value(KEY_SITE).as_deref(), Some("ward-3"));
    let schema = builder.schema();
    let octets = schema.field_with_name("forward_octets").unwrap();
    assert_eq!(octets.metadata()["unit"], "octets");
    let group = builder.metadata().row_group(0);
    let sorted: Vec<_> =
        group.sorting_columns().unwrap().iter().map(|by| schema.field(by.column_idx as usize).name().clone()).collect();
    assert_eq!(sorted, ["responder_address", "flow_start"]);
    // Bounds of digests and of lists' items would rule nothing out.
    let bounded =
        |name: &str| group.columns().iter().find(|c| c.column_path().parts()[0] == name).unwrap().statistics().is_some();
    assert!(
        ["flow_start", "flow_end", "responder_address", "initiator_mac", "end_reason", "protocol", "forward_size_std"]
            .map(bounded)
            .iter()
            .all(|&is| is)
    );
    assert!(!bounded("community_id") && !bounded("forward_size_histogram"));
    assert!(
        group.columns().iter().all(|column| column.offset_index_offset().is_some() && column.bloom_filter_offset().is_none())
    );
}
