//! Rows of the table `flows` against those of `reference/features.py`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use auscult::{config::Config, lake::read::JsonRow};
use serde_json::Value;

use crate::replay::on_two_threads;

/// Columns by which rows are told apart, beside the two ends.
const KEY: [&str; 8] = ["protocol", "ethertype", "icmp_type", "icmp_code", "is_fragment", "parse_stop", "flow_start", "segment"];
/// Relative error of real numbers.
const TOLERANCE: f64 = 1e-9;

/// What was compared.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Captures.
    pub captures: usize,
    /// Rows.
    pub rows: usize,
    /// Values.
    pub values: usize,
    /// Values that were null on both sides.
    pub nulls: usize,
    /// Directions whose repeats and reordering are lower bounds.
    pub lower_bounds: usize,
    /// Flows of fragments that could have been linked and were not.
    pub unlinked: usize,
    /// Columns.
    pub columns: BTreeSet<String>,
    /// What the rows have in them, by name.
    pub traits: BTreeMap<&'static str, usize>,
}

impl Tally {
    /// Adds another tally.
    pub fn add(&mut self, other: Self) {
        self.captures += other.captures;
        self.rows += other.rows;
        self.values += other.values;
        self.nulls += other.nulls;
        self.lower_bounds += other.lower_bounds;
        self.unlinked += other.unlinked;
        self.columns.extend(other.columns);
        for (name, rows) in other.traits {
            *self.traits.entry(name).or_default() += rows;
        }
    }
}

/// Those of some captures that have encapsulated packets, as the reference reads them.
///
/// # Errors
/// When Python cannot run it.
pub fn with_tunnels(captures: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let halves: Vec<_> = captures.chunks(captures.len().div_ceil(2).max(1)).collect();
    let found = on_two_threads(&halves, |half| reference(&["--with-tunnels"], half));
    let found: String = found.into_iter().collect::<Result<_>>()?;
    Ok(found.lines().map(PathBuf::from).collect())
}

/// What the reference prints.
fn reference(options: &[&str], captures: &[PathBuf]) -> Result<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("reference/features.py");
    let output = Command::new("python3").arg("-B").arg(script).args(options).args(captures).output();
    let output = output.context("cannot run python3; install Python 3.10 or newer")?;
    ensure!(output.status.success(), "the reference failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Rows that the reference makes of each capture.
///
/// # Errors
/// When Python cannot run it.
pub fn of_reference(captures: &[PathBuf], config: &Config) -> Result<Vec<Vec<JsonRow>>> {
    let [idle, active] = [config.biflow.idle_timeout, config.biflow.active_timeout].map(|time| time.as_secs().to_string());
    let printed = reference(&["--site", &config.site, "--idle", &idle, "--active", &active], captures)?;
    let mut all = Vec::new();
    let mut rows = Vec::new();
    for line in printed.lines() {
        if line.is_empty() {
            all.push(std::mem::take(&mut rows));
        } else {
            rows.push(serde_json::from_str(line)?);
        }
    }
    ensure!(all.len() == captures.len(), "the reference answered for {} of {} captures", all.len(), captures.len());
    Ok(all)
}

/// Compares the rows of one capture; every difference as `file, flow, column, both values`.
pub fn compare(file: &Path, ours: &[JsonRow], theirs: &[JsonRow], tally: &mut Tally) -> Vec<String> {
    let mut differences = Vec::new();
    let (ours, theirs) = (by_key(ours), by_key(theirs));
    tally.captures += 1;
    let keys: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    for key in keys {
        let (a, b) = (ours.get(key).map_or(&[][..], Vec::as_slice), theirs.get(key).map_or(&[][..], Vec::as_slice));
        if a.len() != b.len() {
            differences.push(format!("{}, {key}: {} rows, the reference has {}", file.display(), a.len(), b.len()));
            continue;
        }
        for (a, b) in a.iter().zip(b) {
            tally.rows += 1;
            tally.unlinked += usize::from(a["fragment_of"].is_null() && !b["fragment_of"].is_null());
            observe(a, tally);
            tally.lower_bounds +=
                ["forward", "reverse"].iter().filter(|d| a[&format!("{d}_tcp_sequence_exact")] == false).count();
            for (column, theirs) in b.iter() {
                tally.columns.insert(column.clone());
                tally.values += 1;
                let ours = a.get(column);
                tally.nulls += usize::from(theirs.is_null());
                if !ours.is_some_and(|ours| agree(a, column, ours, theirs)) {
                    let ours = ours.map_or_else(|| "no such column".to_owned(), Value::to_string);
                    differences.push(format!("{}, {key}, {column}: {ours}, the reference has {theirs}", file.display()));
                }
            }
        }
    }
    differences
}

/// Rows by what tells them apart; of one key in order of `flow_id`.
fn by_key(rows: &[JsonRow]) -> BTreeMap<String, Vec<&JsonRow>> {
    let mut map: BTreeMap<String, Vec<&JsonRow>> = BTreeMap::new();
    for row in rows {
        let mut ends =
            ["initiator", "responder"].map(|end| format!("{} {}", row[&format!("{end}_address")], row[&format!("{end}_port")]));
        ends.sort();
        let rest = KEY.map(|column| row[column].to_string()).join(" ");
        map.entry(format!("{} {rest}", ends.join(" "))).or_default().push(row);
    }
    for rows in map.values_mut() {
        // The same packets again, after the clock was set back, are another flow of the same id.
        let order = ["end_reason", "flow_end", "responder_mac", "forward_packets", "first_packet_sizes"];
        rows.sort_by_cached_key(|row| (row["flow_id"].as_i64(), order.map(|name| row[name].to_string())));
    }
    map
}

fn agree(row: &JsonRow, column: &str, ours: &Value, theirs: &Value) -> bool {
    if column == "fragment_of" {
        return theirs.as_array().map_or(ours == theirs, |right| ours.is_null() || right.contains(ours));
    }
    let counted = column.strip_suffix("_tcp_retransmitted_packets").or(column.strip_suffix("_tcp_out_of_order_packets"));
    if let (Some(direction), Some(ours), Some(theirs)) = (counted, ours.as_u64(), theirs.as_u64()) {
        let exact = row.get(&format!("{direction}_tcp_sequence_exact")).and_then(Value::as_bool);
        return if exact == Some(true) { ours == theirs } else { exact.is_some() && ours <= theirs };
    }
    if let (Value::Number(a), Value::Number(b)) = (ours, theirs)
        && (a.is_f64() || b.is_f64())
        && let (Some(a), Some(b)) = (a.as_f64(), b.as_f64())
    {
        return (a - b).abs() <= TOLERANCE * b.abs();
    }
    ours == theirs
}

/// Notes what a row has in it.
fn observe(row: &JsonRow, tally: &mut Tally) {
    let positive = |what: &str| ["forward", "reverse"].iter().any(|d| row[&format!("{d}_{what}")].as_u64() > Some(0));
    let has = |what: &str| ["forward", "reverse"].iter().any(|d| !row[&format!("{d}_{what}")].is_null());
    let traits = [
        ("ipv4", row["ethertype"] == 2048),
        ("ipv6", row["ethertype"] == 34525),
        ("not_ip", row["protocol"].is_null()),
        ("tcp", has("tcp_control_bits")),
        ("icmp", !row["icmp_type"].is_null()),
        ("vlan", has("vlan_id")),
        ("two_vlans", has("inner_vlan_id")),
        ("fragments", row["is_fragment"] == true),
        ("linked_fragments", !row["fragment_of"].is_null()),
        ("one_sided", row["reverse_packets"] == 0 || row["forward_packets"] == 0),
        ("retransmissions", positive("tcp_retransmitted_packets")),
        ("out_of_order", positive("tcp_out_of_order_packets")),
        ("zero_windows", positive("tcp_zero_window_packets")),
        ("handshake", !row["handshake_rtt_initiator_nanos"].is_null()),
        ("no_macs", row["initiator_mac"].is_null()),
        ("segments", row["segment"].as_u64() > Some(0)),
        ("idle_timeout", row["end_reason"] == "idle_timeout"),
        ("end_of_flow_detected", row["end_reason"] == "end_of_flow_detected"),
        ("forced_end", row["end_reason"] == "forced_end"),
        ("parse_stop", row["parse_stop"] != "complete"),
        ("tunnels", has("tunnel_types")),
        ("tunnels_with_ids", has("tunnel_id")),
        (
            "tunnels_in_tunnels",
            ["forward", "reverse"]
                .iter()
                .any(|d| row[&format!("{d}_tunnel_types")].as_str().is_some_and(|types| types.contains('/'))),
        ),
        ("frames_in_tunnels", has("tunnel_types") && row["protocol"].is_null()),
    ];
    for (name, present) in traits {
        *tally.traits.entry(name).or_default() += usize::from(present);
    }
}
