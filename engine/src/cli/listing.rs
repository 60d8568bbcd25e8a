//! Rows become JSON or an aligned table.

use std::io::{self, Write};

use serde_json::Value;

use crate::pipeline::Listing;

/// An array of objects, one per line, so that a large one need not be held as text.
pub fn write_json(listing: &Listing, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"[")?;
    for (i, row) in listing.rows.iter().enumerate() {
        out.write_all(if i == 0 { b"\n" } else { b",\n" })?;
        for (j, (column, value)) in listing.columns.iter().zip(row).enumerate() {
            let lead = if j == 0 { "{" } else { "," };
            write!(out, "{lead}{}:{value}", Value::from(column.name.as_str()))?;
        }
        out.write_all(b"}")?;
    }
    out.write_all(if listing.rows.is_empty() { b"]\n" } else { b"\n]\n" })
}

/// A table: numbers to the right, the rest to the left, `-` for what is unknown.
pub fn write_table(listing: &Listing, out: &mut dyn Write) -> io::Result<()> {
    let shown: Vec<usize> = (0..listing.columns.len()).filter(|i| listing.columns[*i].in_table).collect();
    let cell = |value: Option<&Value>| match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        Some(other) => other.to_string(),
    };
    let rows: Vec<Vec<String>> = listing.rows.iter().map(|row| shown.iter().map(|i| cell(row.get(*i))).collect()).collect();
    let heads: Vec<String> = shown.iter().map(|i| listing.columns[*i].name.to_owned()).collect();
    let width = |j: usize| rows.iter().chain([&heads]).map(|row| row[j].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..shown.len()).map(width).collect();
    let right: Vec<bool> = shown
        .iter()
        .map(|i| {
            let mut values = listing.rows.iter().filter_map(|row| row.get(*i)).filter(|value| !value.is_null()).peekable();
            values.peek().is_some() && values.all(Value::is_number)
        })
        .collect();
    for row in [&heads].into_iter().chain(&rows) {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .zip(&right)
            .map(|((cell, width), right)| if *right { format!("{cell:>width$}") } else { format!("{cell:<width$}") })
            .collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
