//! Small conclusions: which fields are names, what is decided, what numbers stand for.

use std::collections::BTreeMap;

use sha1::{Digest, Sha1};

use super::{entry::Entry, fuse::DECIDED};
use crate::{
    device::{Attribute, Category, Claim, DeviceId, Known, Support},
    flow::UnixNanos,
    observation::Field,
};

/// A category that is not sure enough is `unknown`, with what it may be as conflicts.
pub fn decided(mut known: BTreeMap<Attribute, Known>) -> BTreeMap<Attribute, Known> {
    if let Some(category) = known.get_mut(&Attribute::Category)
        && category.confidence < DECIDED
    {
        let value = std::mem::replace(&mut category.value, Category::Unknown.name().into());
        category.conflicts.insert(0, (value, category.confidence));
        category.confidence = 0.0;
    }
    known
}

/// Claims of all rules that a piece of evidence met, each once. A model that is the maker's name is none.
pub fn supports<'a>(matches: impl Iterator<Item = (&'a str, Vec<Claim>)>) -> Vec<Support> {
    let mut supports: Vec<Support> = Vec::new();
    for (rule, claims) in matches {
        let maker: Option<Box<str>> =
            claims.iter().find(|claim| claim.attribute == Attribute::Manufacturer).map(|claim| claim.value.clone());
        for Claim { attribute, value, weight } in claims {
            let is_maker =
                attribute == Attribute::Model && maker.as_deref().is_some_and(|maker| maker.eq_ignore_ascii_case(&value));
            let is_said = |its: &Support| *its.rule == *rule && its.attribute == attribute && its.value == value;
            if !is_maker && !supports.iter().any(is_said) {
                supports.push(Support { rule: rule.into(), attribute, value, weight });
            }
        }
    }
    supports
}

/// What it serves, by protocol.
pub fn roles(entry: &Entry) -> Vec<Box<str>> {
    let of_serves = entry.evidence.range((Field::Serves, Box::default())..).take_while(|((field, _), _)| *field == Field::Serves);
    of_serves.map(|((_, value), _)| value.clone()).collect()
}

/// Fields by which a device names itself.
pub const fn is_hostname(field: Field) -> bool {
    matches!(
        field,
        Field::DhcpHostname
            | Field::DhcpFqdn
            | Field::Dhcp6Fqdn
            | Field::DnsName
            | Field::MdnsHostname
            | Field::LlmnrName
            | Field::NetbiosName
            | Field::NtlmHost
            | Field::NtlmDnsHost
            | Field::SnmpSysName
            | Field::LldpSystemName
            | Field::SyslogHostname
    )
}

pub fn unix(at: u64, utc_offset: i64) -> UnixNanos {
    i64::try_from(at).unwrap_or(i64::MAX).saturating_add(utc_offset)
}

/// First eight octets of SHA-1 over the parts; never zero.
pub fn number(parts: &[&[u8]]) -> u64 {
    let mut hash = Sha1::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let first = digest.first_chunk::<8>().copied().unwrap_or_default();
    u64::from_le_bytes(first).max(1)
}

pub fn evidence_number(id: DeviceId, field: Field, value: &str) -> u64 {
    number(&[&id.0.to_le_bytes(), field.name().as_bytes(), value.as_bytes()])
}
