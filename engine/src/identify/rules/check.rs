//! From what a file says to a rule that may be used: every name known, every weight in range, every vector met.

use std::collections::BTreeMap;

use super::{
    Condition, Draft, Rule, Set,
    matcher::{Found, Matcher, Text, Words},
    raw::{RawCondition, RawRule, RawVector},
};
use crate::{
    device::{Attribute, Category},
    observation::{Field, Grammar},
};

/// Most sure that one thing may make us.
const WEIGHT_MAX: f32 = 0.99;
/// Most sure that a port alone, without anything that the other end said, may make us.
const PORT_WEIGHT_MAX: f32 = 0.5;

/// A rule, checked; or what is wrong with it and what to do.
pub(super) fn rule(raw: &RawRule, sets: &BTreeMap<Box<str>, Vec<Field>>) -> Result<Rule, String> {
    let is_kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if raw.id.is_empty() || !raw.id.chars().all(is_kebab) {
        return Err("the id is not in kebab-case: write it of a-z, 0-9 and `-`".into());
    }
    let fields = fields(raw, sets)?;
    let is_name = fields.iter().all(|field| field.grammar() == Grammar::Name);
    let matcher = Matcher::new(&raw.matcher(), is_name)?;
    let unless = if raw.unless.is_empty() { Words::default() } else { Words::new(&raw.unless)? };
    let also = raw.also.iter().map(condition).collect::<Result<_, _>>()?;
    let without = raw.without.iter().map(condition).collect::<Result<_, _>>()?;
    let claims = claims(raw, &fields, &matcher)?;
    let learnt_from = raw.learnt_from.clone();
    let rule = Rule { id: raw.id.clone(), fields, matcher, unless, also, without, claims, learnt_from };
    vectors(raw, &rule)?;
    Ok(rule)
}

/// The field of that name.
pub(super) fn field(name: &str) -> Result<Field, String> {
    Field::named(name).ok_or_else(|| format!("no field is called `{name}`: take a name of the field table"))
}

fn fields(raw: &RawRule, sets: &BTreeMap<Box<str>, Vec<Field>>) -> Result<Vec<Field>, String> {
    match (&raw.field, &raw.fields) {
        (Some(name), None) => Ok(vec![field(name)?]),
        (None, Some(set)) => {
            sets.get(set).cloned().ok_or_else(|| format!("no set of fields is called `{set}`: define it under [sets]"))
        }
        _ => Err("write either `field`, or `fields` with the name of a set".into()),
    }
}

fn condition(raw: &RawCondition) -> Result<Condition, String> {
    let field = field(&raw.field)?;
    let matcher = Matcher::new(&raw.matcher(), field.grammar() == Grammar::Name)?;
    let at_least = raw.at_least.unwrap_or(1);
    if at_least == 0 {
        return Err("`at_least = 0` asks for nothing: leave the condition out".into());
    }
    Ok(Condition { field, matcher, at_least })
}

fn claims(raw: &RawRule, fields: &[Field], matcher: &Matcher) -> Result<Vec<Draft>, String> {
    if raw.claims.is_empty() {
        return Err("no claims: say what a match makes of the device".into());
    }
    if let Some(name) = raw.weights.iter().flatten().map(|(name, _)| name).find(|name| !raw.claims.contains_key(*name)) {
        return Err(format!("weight of `{name}`, which is not claimed: claim it, or leave the weight off"));
    }
    if raw.weight.is_some() == raw.weights.is_some() {
        return Err("write either `weight`, or `weights` with one for each claim".into());
    }
    let is_port = raw.also.is_empty() && fields.iter().any(|field| matches!(field, Field::Serves | Field::Uses));
    let draft = |(name, value): (&Box<str>, &Box<str>)| {
        let attribute = Attribute::named(name).ok_or_else(|| format!("no attribute is called `{name}`: see the taxonomy"))?;
        if attribute == Attribute::Category && Category::named(value).is_none_or(|category| category == Category::Unknown) {
            return Err(format!("no category is called `{value}`: take one of the taxonomy"));
        }
        let weight = raw.weights.as_ref().map_or(raw.weight, |weights| weights.get(name).copied());
        let weight = weight.ok_or_else(|| format!("`{name}` has no weight: add it to `weights`"))?;
        let most = if is_port && attribute == Attribute::Category { PORT_WEIGHT_MAX } else { WEIGHT_MAX };
        if !(weight > 0.0 && weight <= most) {
            return Err(format!("weight {weight} of `{name}` is out of range: keep it above 0 and at most {most}"));
        }
        let template = value.clone();
        if let Some(group) = highest_group(&template).filter(|group| *group > groups(matcher)) {
            return Err(format!("`{name}` takes ${group}, which the matcher does not give: add a group to the pattern"));
        }
        Ok(Draft { attribute, template, weight })
    };
    raw.claims.iter().map(draft).collect()
}

/// How many groups the matcher gives.
fn groups(matcher: &Matcher) -> usize {
    match matcher {
        Matcher::Words(_) => 1,
        Matcher::Pattern(pattern) => pattern.groups(),
        _ => 0,
    }
}

fn highest_group(template: &str) -> Option<usize> {
    let digits = template.split('$').skip(1).filter_map(|rest| rest.chars().next()?.to_digit(10));
    digits.max().and_then(|digit| usize::try_from(digit).ok())
}

fn vectors(raw: &RawRule, rule: &Rule) -> Set {
    let mut told: Vec<Attribute> = Vec::new();
    for vector in &raw.vectors {
        let (value, expect) = match vector {
            RawVector::Value(value) => (value, None),
            RawVector::Claims(table) => (table.get("value").ok_or("a vector has no `value`: add it")?, Some(table)),
        };
        let text = Text::of(value);
        let found = rule.find(&text).ok_or_else(|| format!("vector `{value}` does not match: mend the matcher"))?;
        for (name, expected) in expect.into_iter().flatten().filter(|(name, _)| &***name != "value") {
            let attribute = Attribute::named(name).ok_or_else(|| format!("a vector names `{name}`, which is no attribute"))?;
            let draft = rule.claims.iter().find(|draft| draft.attribute == attribute);
            let draft = draft.ok_or_else(|| format!("a vector expects `{name}`, which is not claimed"))?;
            let is = fill(&draft.template, value, &found);
            if is.as_deref() != Some(&**expected) {
                let is = is.unwrap_or_default();
                return Err(format!("vector `{value}` gives {name} `{is}`, not `{expected}`: mend the matcher"));
            }
            told.push(attribute);
        }
    }
    if raw.vectors.is_empty() {
        return Err("no vector: add a value that must match".into());
    }
    let is_captured = |draft: &&Draft| highest_group(&draft.template).is_some_and(|group| group > 0);
    if let Some(draft) = rule.claims.iter().filter(is_captured).find(|draft| !told.contains(&draft.attribute)) {
        return Err(format!("no vector says what {} it captures: write one as a table", draft.attribute.name()));
    }
    if raw.refuses.is_empty() && !(matches!(rule.matcher, Matcher::Any) && rule.unless.is_empty()) {
        return Err("nothing in `refuses`: add a value that must not match".into());
    }
    match raw.refuses.iter().find(|value| rule.find(&Text::of(value)).is_some()) {
        Some(value) => Err(format!("`{value}` matches, and must not: narrow the matcher")),
        None => Ok(()),
    }
}

/// A template with what was found put in; `None` when a group that it takes is empty.
pub(super) fn fill(template: &str, value: &str, found: &Found<'_>) -> Option<Box<str>> {
    let mut parts = template.split('$');
    let mut filled = String::from(parts.next()?);
    for part in parts {
        let digit = part.chars().next().and_then(|c| c.to_digit(10)).and_then(|digit| usize::try_from(digit).ok());
        let Some(digit) = digit else {
            filled.push('$');
            filled.push_str(part);
            continue;
        };
        let group = match (digit, found) {
            (0, _) => Some(value),
            (1, Found::Words(words)) => Some(*words),
            (_, Found::Groups(groups)) => groups.get(digit - 1).copied().flatten(),
            _ => None,
        };
        filled.push_str(group.filter(|text| !text.trim().is_empty())?.trim());
        filled.push_str(part.get(1..).unwrap_or_default());
    }
    Some(filled.into())
}
