//! Flow rows in, minutes of sidedness out: per observation point and VLAN, of how many flows the tap saw one direction only.
//!
//! A row counts in the minute of its last packet and for the point and VLAN of its first; as a flow when it is a biflow's first
//! segment, with its packets in any case. A minute is given out when the watermark says that no flow can end in it any more. All of
//! it follows from the rows and the watermarks, so it is the same in every replay and for any number of shards.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    coverage::{CoverageRow, MINUTE_NANOS, Scope, minute_of},
    flow::{Direction, Flow, FlowBatch, ObservationPoint, UnixNanos},
    limit::SIDED_SCOPES_MAX,
    sidedness::SideCounts,
    summary::{Sided, SidedScope},
};

/// A place: observation point, and outermost VLAN.
type Place = (Option<u32>, Option<u16>);

/// Counts of the minutes that are open, and of everything.
pub struct SideBooks {
    open: BTreeMap<UnixNanos, BTreeMap<Place, SideCounts>>,
    places_open: usize,
    idle_nanos: i64,
    total: BTreeMap<Place, SideCounts>,
    rest: SideCounts,
}

impl SideBooks {
    /// Books for flows that end when they were idle for so long.
    pub fn new(idle_nanos: i64) -> Self {
        Self { open: BTreeMap::new(), places_open: 0, idle_nanos, total: BTreeMap::new(), rest: SideCounts::default() }
    }

    /// Counts rows; the minutes that have ended with them.
    pub fn take(&mut self, batch: &FlowBatch, points: &[ObservationPoint]) -> Vec<CoverageRow> {
        let mut rows = Vec::new();
        for flow in batch.rows() {
            self.count(flow);
            if self.places_open > SIDED_SCOPES_MAX {
                // Rows of one minute add up: closing it early loses nothing.
                self.close_first(points, &mut rows);
            }
        }
        let settled = batch.watermark().saturating_sub(self.idle_nanos).saturating_sub(MINUTE_NANOS);
        while self.open.first_key_value().is_some_and(|(minute, _)| *minute <= settled) {
            self.close_first(points, &mut rows);
        }
        rows
    }

    /// The minutes that are left, and the sums.
    pub fn finish(mut self, points: &[ObservationPoint]) -> (Vec<CoverageRow>, Sided) {
        let mut rows = Vec::new();
        while !self.open.is_empty() {
            self.close_first(points, &mut rows);
        }
        let scopes = by_name(self.total, points).into_iter();
        let scopes = scopes.map(|((point, vlan), sides)| SidedScope { observation_point: point.to_string(), vlan, sides });
        (rows, Sided::new(scopes.collect(), self.rest))
    }

    /// Sums by observation point so far.
    pub fn by_point(&self) -> BTreeMap<Option<u32>, SideCounts> {
        let mut sums = BTreeMap::<_, SideCounts>::new();
        for ((point, _), sides) in &self.total {
            sums.entry(*point).or_default().add(sides);
        }
        sums
    }

    fn count(&mut self, flow: &Flow) {
        let seen = |direction: &Direction| flow.side[*direction].packets > 0;
        let first = Direction::BOTH.into_iter().filter(seen).min_by_key(|direction| flow.side[*direction].first);
        let first = &flow.side[first.unwrap_or(Direction::Forward)];
        let place = (first.observation_point, first.vlan_id);
        let packets = flow.side.0.iter().map(|side| side.packets).sum();
        let add = |sides: &mut SideCounts| {
            let part = if flow.is_tcp() { &mut sides.tcp } else { &mut sides.other };
            part.count(flow.sidedness, flow.segment == 0, packets);
        };
        let minute = self.open.entry(minute_of(flow.end)).or_default();
        let before = minute.len();
        add(minute.entry(place).or_default());
        self.places_open += minute.len() - before;
        let room = self.total.len() < SIDED_SCOPES_MAX || self.total.contains_key(&place);
        add(if room { self.total.entry(place).or_default() } else { &mut self.rest });
    }

    /// Rows of the oldest open minute: each port, then its VLANs.
    fn close_first(&mut self, points: &[ObservationPoint], rows: &mut Vec<CoverageRow>) {
        let Some((minute, places)) = self.open.pop_first() else { return };
        self.places_open -= places.len();
        let mut ports = BTreeMap::<Arc<str>, SideCounts>::new();
        let places = by_name(places, points);
        for ((point, _), sides) in &places {
            ports.entry(point.clone()).or_default().add(sides);
        }
        rows.extend(ports.into_iter().map(|(point, sides)| CoverageRow::of_sides(minute, point, Scope::Port, sides)));
        let vlans = places.into_iter();
        rows.extend(vlans.map(|((point, vlan), sides)| CoverageRow::of_sides(minute, point, Scope::Vlan(vlan), sides)));
    }
}

/// Places by the names of their points; those of one name are one.
fn by_name(places: BTreeMap<Place, SideCounts>, points: &[ObservationPoint]) -> BTreeMap<(Arc<str>, Option<u16>), SideCounts> {
    let mut named = BTreeMap::<_, SideCounts>::new();
    for ((point, vlan), sides) in places {
        let index = point.unwrap_or(u32::MAX);
        let name = points.get(index as usize).map_or_else(|| format!("point{index}").into(), |point| point.name.clone());
        named.entry((name, vlan)).or_default().add(&sides);
    }
    named
}
