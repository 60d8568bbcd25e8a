//! Rows of the lake for the commands that list them.

use super::{Column, Listing, PipelineError, Selection};
use crate::{
    flow::Address,
    lake::{self, Query, TableName},
};

/// Columns shown in a table of flows.
const FLOWS_SHOWN: [&str; 12] = [
    "flow_start",
    "flow_end",
    "initiator_address",
    "initiator_port",
    "responder_address",
    "responder_port",
    "protocol",
    "forward_packets",
    "reverse_packets",
    "forward_octets",
    "reverse_octets",
    "end_reason",
];

/// Columns shown in a table of coverage.
const COVERAGE_SHOWN: [&str; 11] = [
    "minute",
    "observation_point",
    "scope",
    "vlan_id",
    "seen_packets",
    "metered_packets",
    "resident_packets",
    "imbalance_packets",
    "tcp_two_sided_flows",
    "tcp_one_sided_flows",
    "tcp_undecided_flows",
];

/// Flow rows, newest first.
///
/// # Errors
/// When the lake cannot be read.
pub fn flows(selection: &Selection) -> Result<Listing, PipelineError> {
    list(selection, TableName::Flows, &FLOWS_SHOWN)
}

/// Coverage rows, newest first.
///
/// # Errors
/// When the lake cannot be read.
pub fn coverage(selection: &Selection) -> Result<Listing, PipelineError> {
    list(selection, TableName::Coverage, &COVERAGE_SHOWN)
}

/// The data dictionary, as Markdown.
///
/// # Errors
/// Never; the signature is that of the other listings.
pub fn dictionary() -> Result<String, PipelineError> {
    Ok(lake::dictionary())
}

fn list(selection: &Selection, table: TableName, shown: &[&str]) -> Result<Listing, PipelineError> {
    let query = Query {
        since: selection.since,
        until: selection.until,
        address: selection.address.map(address_text),
        port: selection.port,
        limit: Some(selection.limit.saturating_add(1)),
        ..Query::all(table)
    };
    let mut rows = lake::read::rows(&selection.data, &query).map_err(PipelineError::stage)?;
    let more = rows.len() > selection.limit;
    rows.truncate(selection.limit);
    let columns = lake::read::columns(table)
        .into_iter()
        .map(|name| Column { in_table: shown.contains(&name.as_str()), name })
        .collect::<Vec<_>>();
    let rows = rows
        .into_iter()
        .map(|mut row| columns.iter().map(|column| row.remove(&column.name).unwrap_or_default()).collect())
        .collect();
    Ok(Listing { columns, rows, more })
}

fn address_text(address: Address) -> String {
    match address {
        Address::Link(Some(mac)) => mac.to_string(),
        Address::Link(None) => String::new(),
        Address::V4(ip) => ip.to_string(),
        Address::V6(ip) => ip.to_string(),
    }
}
