//! Claims of many sources → what is known of an attribute, and how surely.
//!
//! Sources are independent when they are of different protocols. Of one protocol the strongest claim counts, protocols add up as
//! independent witnesses do: 1 − Π(1 − w). What contradicts takes away from it. Below [`DECIDED`] a category is not decided, and what
//! supports it is kept as a conflict. ID-1: one protocol alone never makes a device on which a life hangs.

use std::collections::BTreeMap;

use crate::{
    device::{Attribute, Category, Evidence, Known},
    observation::{Field, Protocol},
};

/// From this confidence on a category is decided.
pub const DECIDED: f32 = 0.5;
/// Most that one protocol alone can make of a device on which a life hangs.
const ALONE_MAX: f32 = 0.45;
/// Conflicting values that are kept.
const CONFLICTS_KEPT: usize = 4;
/// Part of a contradicting value's weight that is taken away.
const CONTRADICTION: f32 = 0.45;
/// What a general category loses when something specific is claimed, too: a server that is a PACS is a PACS.
const GENERAL: f32 = 0.7;

/// Support of one value, by source.
#[derive(Default)]
struct Support {
    sources: BTreeMap<Source, f32>,
    /// The form in which the strongest source writes it.
    written: Box<str>,
    strongest: f32,
    newest: i64,
}

/// Who says it. Serving a protocol and what is said in it are one source.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Protocol(Protocol),
    /// The address's registration.
    Oui,
}

impl Source {
    fn of(evidence: &Evidence) -> Self {
        match evidence.field {
            Field::Oui => Self::Oui,
            Field::Serves | Field::Uses => Self::Protocol(
                Protocol::ALL.iter().copied().find(|protocol| protocol.name() == &*evidence.value).unwrap_or(Protocol::Link),
            ),
            field => Self::Protocol(field.protocol()),
        }
    }
}

/// Categories that say little: what a device is beside them counts more.
fn is_general(category: &str) -> bool {
    matches!(
        Category::named(category),
        Some(Category::Server | Category::Workstation | Category::Laptop | Category::IotHub | Category::Sensor | Category::DicomWorkstation)
    )
}

/// What all evidence of a device says of each attribute.
pub fn fuse<'a>(evidence: impl Iterator<Item = &'a Evidence>) -> BTreeMap<Attribute, Known> {
    let mut supports: BTreeMap<Attribute, BTreeMap<String, Support>> = BTreeMap::new();
    for piece in evidence {
        for claim in &piece.supports {
            let values = supports.entry(claim.attribute).or_default();
            let support = values.entry(normal(claim.attribute, &claim.value)).or_default();
            let weight = support.sources.entry(Source::of(piece)).or_insert(0.0);
            *weight = weight.max(claim.weight);
            if claim.weight > support.strongest || (claim.weight == support.strongest && *claim.value < *support.written) {
                support.strongest = claim.weight;
                support.written = claim.value.clone();
            }
            support.newest = support.newest.max(piece.last_seen);
        }
    }
    supports.into_iter().filter_map(|(attribute, values)| Some((attribute, decide(attribute, values)?))).collect()
}

/// One form for what is the same: case and blanks tell nothing, nor does a domain behind a host name.
fn normal(attribute: Attribute, value: &str) -> String {
    match attribute {
        Attribute::Hostname => value.split('.').next().unwrap_or(value).to_ascii_lowercase(),
        _ => value.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase(),
    }
}

fn decide(attribute: Attribute, values: BTreeMap<String, Support>) -> Option<Known> {
    let is_category = attribute == Attribute::Category;
    let mut ranked: Vec<(f32, i64, Box<str>)> = values.into_values().map(|support| (score(&support, is_category), support.newest, support.written)).collect();
    if is_category && ranked.iter().any(|(score, _, value)| *score >= DECIDED && !is_general(value)) {
        ranked.iter_mut().filter(|(_, _, value)| is_general(value)).for_each(|(score, ..)| *score *= GENERAL);
    }
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)).then(a.2.cmp(&b.2)));
    let mut ranked = ranked.into_iter();
    let (best, _, value) = ranked.next()?;
    let conflicts: Vec<(Box<str>, f32)> = ranked.take(CONFLICTS_KEPT).map(|(score, _, value)| (value, score)).collect();
    let against = conflicts.first().map_or(0.0, |(_, score)| *score);
    let confidence = if is_category { best * (1.0 - CONTRADICTION * against) } else { best * (1.0 - CONTRADICTION * against / 2.0) };
    Some(Known { value, confidence, set_by_hand: false, conflicts })
}

fn score(support: &Support, is_category: bool) -> f32 {
    let doubt: f32 = support.sources.values().map(|weight| 1.0 - weight.clamp(0.0, 0.99)).product();
    let score = 1.0 - doubt;
    // ID-1: a life hangs on it, and nobody has proved who it is.
    let needs_two = is_category && Category::named(&support.written).is_some_and(Category::is_life_sustaining);
    if needs_two && support.sources.len() < 2 { score.min(ALONE_MAX) } else { score }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Support as Claimed;

    fn piece(field: Field, value: &str, claims: &[(Attribute, &str, f32)]) -> Evidence {
        let supports = claims.iter().map(|(attribute, value, weight)| Claimed {
            rule: "test".into(),
            attribute: *attribute,
            value: (*value).into(),
            weight: *weight,
        });
        Evidence {
            evidence_id: 0,
            field,
            value: value.into(),
            peer: None,
            first_seen: 0,
            last_seen: 0,
            count: 1,
            flow_id: None,
            supports: supports.collect(),
        }
    }

    fn category(pieces: &[Evidence]) -> (String, f32) {
        let known = fuse(pieces.iter());
        known.get(&Attribute::Category).map_or_else(|| ("none".into(), 0.0), |known| (known.value.to_string(), known.confidence))
    }

    #[test]
    fn protocols_add_up_and_one_protocol_does_not() {
        let ct = |field, weight| piece(field, "x", &[(Attribute::Category, "ct", weight)]);
        let one = category(&[ct(Field::DicomModality, 0.6), ct(Field::DicomSopClass, 0.5)]);
        assert_eq!(one, ("ct".into(), 0.6));
        let (value, confidence) = category(&[ct(Field::DicomModality, 0.6), ct(Field::DhcpHostname, 0.5)]);
        assert!(value == "ct" && (confidence - 0.8).abs() < 1e-6, "{confidence}");
    }

    #[test]
    fn one_protocol_never_makes_a_ventilator() {
        let vent = |field| piece(field, "x", &[(Attribute::Category, "ventilator", 0.95)]);
        let (_, alone) = category(&[vent(Field::Hl7Application), vent(Field::Hl7Equipment)]);
        assert!(alone < DECIDED, "{alone}");
        let (value, two) = category(&[vent(Field::Hl7Application), vent(Field::Oui)]);
        assert!(value == "ventilator" && two > 0.9, "{two}");
    }

    #[test]
    fn contradictions_lower_and_the_specific_goes_before_the_general() {
        let pieces = [
            piece(Field::Serves, "dicom", &[(Attribute::Category, "pacs", 0.7)]),
            piece(Field::SshBanner, "x", &[(Attribute::Category, "server", 0.75)]),
        ];
        let (value, confidence) = category(&pieces);
        assert!(value == "pacs" && confidence > 0.5 && confidence < 0.7, "{value} {confidence}");
    }

    #[test]
    fn host_names_agree_beyond_case_and_domain() {
        let pieces = [
            piece(Field::DhcpHostname, "CT-1", &[(Attribute::Hostname, "CT-1", 0.85)]),
            piece(Field::DnsName, "ct-1.rad.example", &[(Attribute::Hostname, "ct-1.rad.example", 0.6)]),
        ];
        let known = fuse(pieces.iter());
        let hostname = &known[&Attribute::Hostname];
        assert_eq!((&*hostname.value, hostname.conflicts.len()), ("CT-1", 0));
        assert!(hostname.confidence > 0.9);
    }
}
