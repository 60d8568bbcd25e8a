//! Rows of two lakes, made of the same frames at different times → where they differ.
//!
//! * Of a column that depends on time (times, durations, intervals, gaps, round trips, and flow ids, which are made of a time) it is
//!   compared whether it is null, and of lists how many values they have. All other columns must be equal.
//! * Repeats and reordering of TCP segments are exact where `_tcp_sequence_exact` says so and lower bounds elsewhere, because a flow that
//!   left the cache between two packets cannot be compared across the cut; when that happens depends on time. They are compared where
//!   both rows say that they are exact.

use std::collections::BTreeMap;

use auscult::lake::read::JsonRow;
use serde_json::Value;

use crate::stage::is_timed;

const SEQUENCE: [&str; 3] = ["tcp_retransmitted_packets", "tcp_out_of_order_packets", "tcp_sequence_exact"];

/// Repeats, reordering and whether they are exact, of both directions.
type Sequences = [(Option<u64>, Option<u64>, Option<bool>); 2];

/// What was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Rows that are equal.
    pub rows: usize,
    /// Rows of TCP flows among them.
    pub tcp: usize,
    /// Of those, rows whose repeats and reordering were exact in both lakes, and equal.
    pub exact: usize,
}

/// Rows by everything that must be equal; beside each the sequence counts.
fn keyed(rows: &[JsonRow]) -> BTreeMap<String, Vec<Sequences>> {
    let mut keyed: BTreeMap<String, Vec<Sequences>> = BTreeMap::new();
    for row in rows {
        let mut key = JsonRow::new();
        for (column, value) in row {
            let is_sequence = SEQUENCE.iter().any(|name| column.ends_with(name));
            if is_sequence {
                continue;
            }
            let kept = match value {
                Value::Array(list) if is_timed(column) => Value::from(list.len()),
                value if is_timed(column) => Value::Bool(!value.is_null()),
                value => value.clone(),
            };
            key.insert(column.clone(), kept);
        }
        let sequences = ["forward", "reverse"].map(|direction| {
            let value = |name: &str| &row[&format!("{direction}_{name}")];
            (value(SEQUENCE[0]).as_u64(), value(SEQUENCE[1]).as_u64(), value(SEQUENCE[2]).as_bool())
        });
        keyed.entry(Value::Object(key).to_string()).or_default().push(sequences);
    }
    keyed
}

/// Compares two lakes' rows as multisets.
///
/// # Panics
/// When they differ, with the first rows that do.
pub fn same(one: &[JsonRow], other: &[JsonRow]) -> Compared {
    let (one, other) = (keyed(one), keyed(other));
    let missing = |from: &BTreeMap<String, Vec<Sequences>>, of: &BTreeMap<String, Vec<Sequences>>| {
        let lacks = |(key, rows): &(&String, &Vec<Sequences>)| of.get(*key).is_none_or(|others| others.len() < rows.len());
        let missing = from.iter().filter(lacks);
        (missing.clone().count(), missing.map(|(key, _)| key.clone()).take(3).collect::<Vec<_>>())
    };
    let (first, second) = (missing(&one, &other), missing(&other, &one));
    assert!(
        first.0 == 0 && second.0 == 0,
        "{} rows only in the first lake, {} only in the second\n\nfirst:\n{}\n\nsecond:\n{}",
        first.0,
        second.0,
        first.1.join("\n"),
        second.1.join("\n")
    );
    let mut compared = Compared::default();
    for ((key, rows), others) in one.iter().zip(other.values()) {
        let (mut rows, mut others) = (rows.clone(), others.clone());
        rows.sort_unstable();
        others.sort_unstable();
        compared.rows += rows.len();
        if !rows.iter().any(is_tcp) {
            assert_eq!(rows, others, "{key}");
            continue;
        }
        compared.tcp += rows.len();
        if rows.iter().chain(&others).all(is_exact) {
            assert_eq!(rows, others, "repeats and reordering of\n{key}");
            compared.exact += rows.len();
        }
    }
    compared
}

fn is_tcp(sequences: &Sequences) -> bool {
    sequences.iter().any(|(.., exact)| exact.is_some())
}

fn is_exact(sequences: &Sequences) -> bool {
    sequences.iter().all(|(.., exact)| *exact != Some(false))
}

/// Whole rows as sorted lines: two lakes are the same when these are.
pub fn lines(rows: &[JsonRow]) -> Vec<String> {
    let mut lines: Vec<String> = rows.iter().map(|row| Value::Object(row.clone()).to_string()).collect();
    lines.sort_unstable();
    lines
}
