//! Claims of many sources → what is known of an attribute, and how surely.
//!
//! Sources are independent when they are of different protocols. Of one protocol the strongest claim counts, protocols add up as
//! independent witnesses do: 1 − Π(1 − w). What contradicts takes away from it. Below [`DECIDED`] a category is not decided, and what
//! supports it is kept as a conflict. ID-1: one protocol alone never makes a device on which a life hangs.

use std::collections::{BTreeMap, BTreeSet};

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
/// From this on something specific is claimed.
const SPECIFIC: f32 = 0.4;
/// Letters of a model that may be a part of another one.
const MODEL_MIN: usize = 3;
/// Letters of a model beyond which it is a description.
const MODEL_MAX: usize = 32;

/// Support of one value.
#[derive(Default)]
struct Support {
    /// Strongest claim of each source.
    sources: BTreeMap<Source, f32>,
    /// Protocols that it was said in, and whether the address is registered to who makes such.
    witnesses: BTreeSet<Source>,
    /// Makers that were claimed together with it.
    makers: BTreeSet<String>,
    /// The form in which the strongest source writes it.
    written: Box<str>,
    strongest: f32,
    newest: i64,
}

impl Support {
    fn add(&mut self, source: Source, witness: Source, weight: f32) {
        let known = self.sources.entry(source).or_insert(0.0);
        *known = known.max(weight);
        self.witnesses.insert(witness);
    }

    /// A longer form of the same: what supports the shorter one supports it.
    fn absorb(&mut self, other: &Self) {
        for (source, weight) in &other.sources {
            let known = self.sources.entry(*source).or_insert(0.0);
            *known = known.max(*weight);
        }
        self.witnesses.extend(&other.witnesses);
        self.newest = self.newest.max(other.newest);
    }

    /// As independent witnesses add up.
    fn sum(&self) -> f32 {
        1.0 - self.sources.values().map(|weight| 1.0 - weight.clamp(0.0, 0.99)).product::<f32>()
    }
}

/// Who says it. Serving a protocol and what is said in it are one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Protocol(Protocol),
    /// Who made it, and what such makers make: however often a maker is named, it is one thing that is known.
    Maker,
}

impl Source {
    fn of(evidence: &Evidence) -> Self {
        match evidence.field {
            Field::Oui => Self::Maker,
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
        Some(Category::Server | Category::Workstation | Category::Laptop | Category::IotHub | Category::Sensor)
    )
}

type Values = BTreeMap<String, Support>;

/// What all evidence of a device says of each attribute.
pub fn fuse<'a>(evidence: impl Iterator<Item = &'a Evidence>) -> BTreeMap<Attribute, Known> {
    let mut supports: BTreeMap<Attribute, Values> = BTreeMap::new();
    for piece in evidence {
        let witness = Source::of(piece);
        for claim in &piece.supports {
            let of_rule =
                |attribute| piece.supports.iter().filter(move |its| its.attribute == attribute && its.rule == claim.rule);
            let makers: Vec<String> = of_rule(Attribute::Manufacturer).map(|its| maker(&its.value)).collect();
            // A rule that knows the maker and no model knows what such makers make.
            let by_maker =
                claim.attribute == Attribute::Category && !makers.is_empty() && of_rule(Attribute::Model).next().is_none();
            let source = if by_maker { Source::Maker } else { witness };
            let support = supports.entry(claim.attribute).or_default().entry(normal(claim.attribute, &claim.value)).or_default();
            support.add(source, witness, claim.weight);
            support.makers.extend(makers);
            if claim.weight > support.strongest || (claim.weight == support.strongest && *claim.value < *support.written) {
                support.strongest = claim.weight;
                support.written = claim.value.clone();
            }
            support.newest = support.newest.max(piece.last_seen);
        }
    }
    witness_makers(&mut supports);
    supports.into_iter().filter_map(|(attribute, values)| Some((attribute, decide(attribute, values)?))).collect()
}

/// Whoever names the maker that was claimed together with a category is a witness of it, too.
fn witness_makers(supports: &mut BTreeMap<Attribute, Values>) {
    let named: Vec<(String, BTreeSet<Source>)> = supports
        .get(&Attribute::Manufacturer)
        .into_iter()
        .flatten()
        .map(|(name, support)| (name.clone(), support.witnesses.clone()))
        .collect();
    for support in supports.get_mut(&Attribute::Category).into_iter().flat_map(BTreeMap::values_mut) {
        for (_, witnesses) in named.iter().filter(|(name, _)| support.makers.contains(name)) {
            support.witnesses.extend(witnesses);
        }
    }
}

/// One form for what is the same: case and blanks tell nothing, nor does a domain behind a host name.
fn normal(attribute: Attribute, value: &str) -> String {
    match attribute {
        Attribute::Hostname => value.split('.').next().unwrap_or(value).to_ascii_lowercase(),
        Attribute::Manufacturer => maker(value),
        _ => value.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase(),
    }
}

/// A maker is known by the beginning of its name.
fn maker(name: &str) -> String {
    const KEPT: usize = 6;
    let name = name.to_lowercase().replace('\u{e4}', "ae").replace('\u{f6}', "oe").replace('\u{fc}', "ue");
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty() && *word != "the");
    words.collect::<String>().chars().take(KEPT).collect()
}

fn decide(attribute: Attribute, mut values: Values) -> Option<Known> {
    let is_category = attribute == Attribute::Category;
    if attribute == Attribute::Model {
        prefer_longer(&mut values);
    }
    let mut ranked: Vec<(f32, f32, i64, Box<str>)> = values
        .into_values()
        .map(|support| {
            let score = score(&support, is_category);
            // Of what a device is, many hints make much; of what it is called, the best source counts.
            (if is_category { score } else { support.strongest }, score, support.newest, support.written)
        })
        .collect();
    if is_category && ranked.iter().any(|(_, score, _, value)| *score >= SPECIFIC && !is_general(value)) {
        ranked.iter_mut().filter(|(.., value)| is_general(value)).for_each(|(rank, ..)| *rank *= GENERAL);
    }
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1)).then(b.2.cmp(&a.2)).then(a.3.cmp(&b.3)));
    let mut ranked = ranked.into_iter();
    let (_, best, _, value) = ranked.next()?;
    let conflicts: Vec<(Box<str>, f32)> = ranked.take(CONFLICTS_KEPT).map(|(_, score, _, value)| (value, score)).collect();
    // That a PACS is a server, too, does not speak against it.
    let contradicts = |other: &&(Box<str>, f32)| !is_category || is_general(&value) || !is_general(&other.0);
    let against = conflicts.iter().find(contradicts).map_or(0.0, |(_, score)| *score);
    let contradiction = if is_category { CONTRADICTION } else { CONTRADICTION / 2.0 };
    Some(Known { confidence: best * (1.0 - contradiction * against), value, set_by_hand: false, conflicts })
}

/// `DS-7608NI` and `DS-7608NI-K2` are one model, said more or less exactly.
fn prefer_longer(values: &mut Values) {
    let names: Vec<String> = values.keys().cloned().collect();
    for short in &names {
        let longer =
            names.iter().filter(|long| long.len() > short.len() && short.len() >= MODEL_MIN && long.contains(short.as_str()));
        let longer = longer
            .filter(|long| long.len() <= MODEL_MAX && values.get(*long).is_some_and(|support| support.strongest >= DECIDED));
        let Some(long) = longer.max_by_key(|long| long.len()).cloned() else { continue };
        let Some(absorbed) = values.remove(short) else { continue };
        if let Some(support) = values.get_mut(&long) {
            support.absorb(&absorbed);
            support.strongest = support.strongest.max(absorbed.strongest);
        }
    }
}

fn score(support: &Support, is_category: bool) -> f32 {
    let score = support.sum();
    // ID-1: a life hangs on it, and nobody has proved who it is.
    let needs_two = is_category && Category::named(&support.written).is_some_and(Category::is_life_sustaining);
    if needs_two && support.witnesses.len() < 2 { score.min(ALONE_MAX) } else { score }
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
        assert!(value == "pacs" && (confidence - 0.7).abs() < 1e-6, "{value} {confidence}");
    }

    #[test]
    fn a_maker_that_the_address_is_registered_to_is_a_witness() {
        let claims = [
            (Attribute::Category, "ventilator", 0.85),
            (Attribute::Manufacturer, "Dräger", 0.85),
            (Attribute::Model, "Evita", 0.7),
        ];
        let said = piece(Field::Hl7SoftwareProduct, "Evita", &claims);
        let other = piece(Field::Oui, "Other", &[(Attribute::Manufacturer, "Other", 0.4)]);
        assert!(category(&[said.clone(), other]).1 < DECIDED);
        let registered = piece(Field::Oui, "Draeger", &[(Attribute::Manufacturer, "Draeger Medical", 0.4)]);
        let (value, confidence) = category(&[said, registered]);
        assert!(value == "ventilator" && confidence > 0.8, "{confidence}");
    }

    #[test]
    fn a_maker_that_is_named_often_is_known_once() {
        let brand =
            |field| piece(field, "x", &[(Attribute::Category, "ip_camera", 0.6), (Attribute::Manufacturer, "Hikvision", 0.8)]);
        let (_, confidence) = category(&[brand(Field::HttpServer), brand(Field::SsdpServer), brand(Field::DnsQuery)]);
        assert!((confidence - 0.6).abs() < 1e-6, "{confidence}");
    }

    #[test]
    fn models_are_taken_from_the_best_source_in_their_longest_form() {
        let model = |field, value: &str, weight| piece(field, value, &[(Attribute::Model, value, weight)]);
        let pieces = [
            model(Field::HttpServer, "Recorder", 0.7),
            model(Field::SsdpServer, "Recorder", 0.7),
            model(Field::SsdpModel, "DS-7608NI-K2", 0.8),
            model(Field::SsdpFriendlyName, "DS-7608NI", 0.85),
        ];
        let known = fuse(pieces.iter());
        assert_eq!(&*known[&Attribute::Model].value, "DS-7608NI-K2");
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
