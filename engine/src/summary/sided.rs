//! Sidedness in the summary: sums, and where the one-sided flows are.

use serde::Serialize;

use crate::{
    limit::SIDED_SCOPES_LISTED,
    sidedness::{SideCounts, Sides},
};

/// One VLAN of one observation point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SidedScope {
    /// Name of the observation point.
    pub observation_point: String,
    /// Outermost VLAN identifier; null: untagged.
    pub vlan: Option<u16>,
    /// Its flows.
    #[serde(flatten)]
    pub sides: SideCounts,
}

/// Flows of all scopes, and the scopes with most one-sided ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sided {
    /// TCP flows.
    pub tcp: Sides,
    /// All other flows.
    pub other: Sides,
    /// The scopes with most one-sided TCP flows first; the first few.
    pub scopes: Vec<SidedScope>,
    /// Scopes that are not listed.
    pub scopes_unlisted: u64,
}

impl Sided {
    /// The sums of all scopes and of `rest`, and the list.
    pub fn new(mut scopes: Vec<SidedScope>, rest: SideCounts) -> Self {
        let mut sum = rest;
        scopes.iter().for_each(|scope| sum.add(&scope.sides));
        scopes.sort_by_key(|scope| {
            let one_sided = [scope.sides.tcp.one_sided_flows, scope.sides.other.one_sided_flows].map(std::cmp::Reverse);
            (one_sided, scope.observation_point.clone(), scope.vlan)
        });
        let scopes_unlisted = scopes.len().saturating_sub(SIDED_SCOPES_LISTED) as u64 + u64::from(rest != SideCounts::default());
        scopes.truncate(SIDED_SCOPES_LISTED);
        Self { tcp: sum.tcp, other: sum.other, scopes, scopes_unlisted }
    }
}
