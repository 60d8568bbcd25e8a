//! Sidedness, as the table `coverage` has it and as the rows of `flows` add up to.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;
use auscult::lake::{self, read::JsonRow};

/// Minute, observation point, VLAN.
pub type Place = (String, String, Option<u64>);
/// `[transport][kind]`: flows and packets; TCP first; two-sided, one-sided, undecided.
pub type Counts = [[[u64; 2]; 3]; 2];

const TRANSPORTS: [&str; 2] = ["tcp", "other"];
const KINDS: [&str; 3] = ["two_sided", "one_sided", "undecided"];
const WHATS: [&str; 2] = ["flows", "packets"];

fn add(sum: &mut Counts, other: &Counts) {
    for (sum, other) in sum.as_flattened_mut().as_flattened_mut().iter_mut().zip(other.as_flattened().as_flattened()) {
        *sum += other;
    }
}

/// The counts of a scope (`port` or `vlan`), rows of one place added up.
///
/// # Errors
/// The lake cannot be read.
pub fn of_coverage(data: &Path, scope: &str) -> Result<BTreeMap<Place, Counts>> {
    let mut places = BTreeMap::<Place, Counts>::new();
    lake::read::scan(data, &lake::Query::all(lake::TableName::Coverage), |row| {
        if row["scope"] != scope || row["tcp_two_sided_flows"].is_null() {
            return;
        }
        let text = |column: &str| row[column].as_str().unwrap_or_default().to_owned();
        let mut counts = Counts::default();
        for (transport, part) in TRANSPORTS.iter().zip(&mut counts) {
            for (kind, pair) in KINDS.iter().zip(part) {
                *pair = WHATS.map(|what| row[&format!("{transport}_{kind}_{what}")].as_u64().unwrap_or(u64::MAX));
            }
        }
        add(places.entry((text("minute"), text("observation_point"), row["vlan_id"].as_u64())).or_default(), &counts);
    })?;
    Ok(places)
}

/// What the flow rows say: each in the minute of its end, for the point and VLAN of its first packet.
pub fn of_rows(rows: &[JsonRow]) -> BTreeMap<Place, Counts> {
    let mut places = BTreeMap::<Place, Counts>::new();
    for row in rows {
        let of = |direction: &str, what: &str| &row[&format!("{direction}_{what}")];
        let after = |direction| of(direction, "starts_after_nanos").as_u64().unwrap_or(u64::MAX);
        let first = if after("reverse") < after("forward") { "reverse" } else { "forward" };
        let minute = row["flow_end"].as_str().map(|end| format!("{}:00Z", &end[..16])).unwrap_or_default();
        let point = of(first, "observation_point").as_str().unwrap_or_default().to_owned();
        let is_tcp = ["forward", "reverse"].iter().any(|direction| !of(direction, "tcp_control_bits").is_null());
        let kind = KINDS.iter().position(|kind| row["sidedness"] == *kind);
        let packets = ["forward", "reverse"].iter().filter_map(|direction| of(direction, "packets").as_u64()).sum::<u64>();
        let mut counts = Counts::default();
        counts[usize::from(!is_tcp)][kind.unwrap_or(KINDS.len())] = [u64::from(row["segment"] == 0), packets];
        add(places.entry((minute, point, of(first, "vlan_id").as_u64())).or_default(), &counts);
    }
    places
}

/// Sums by what `key` makes of a place.
pub fn by<K: Ord>(places: &BTreeMap<Place, Counts>, key: impl Fn(&Place) -> K) -> BTreeMap<K, Counts> {
    let mut sums = BTreeMap::<K, Counts>::new();
    for (place, counts) in places {
        add(sums.entry(key(place)).or_default(), counts);
    }
    sums
}
