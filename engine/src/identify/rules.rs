//! Rules: an observation → claims of what its device is, and how sure each is by itself.
//!
//! Rules are data: `engine/rules/*.toml`, embedded; `engine/rules/README.md` tells their form. Each looks at one field (or
//! a set of fields that say the same kind of thing), has values that it must match and values that it must not, and does
//! not load unless it does so. What is looked for is found by hashing wherever it can be: a value is compared with the few
//! rules that may match it, however many there are.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, OnceLock},
};

use crate::{
    device::{Attribute, Claim},
    observation::Field,
};

mod check;
mod matcher;
mod raw;

use self::{
    check::fill,
    matcher::{Found, Matcher, Text, Words, domains, is_word_at, runs},
    raw::RawFile,
};

/// Version of the format.
const FORMAT: u32 = 1;
/// Longest value that is looked at, octets: no grammar lets a longer one pass.
const VALUE_OCTETS_MAX: usize = 256;

macro_rules! embedded {
    ($($name:literal)*) => {
        /// The files in the engine.
        const FILES: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../rules/", $name))),)*];
    };
}

embedded! {
    "attributes.toml" "building.toml" "clinical.toml" "computers.toml" "imaging.toml"
    "lab.toml" "network.toml" "printing.toml" "things.toml" "voice_video.toml"
}

/// Why rules do not load.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The text is not a file of rules.
    #[error("{file}: {what}")]
    File {
        /// Its name.
        file: String,
        /// What is wrong, and what to do.
        what: String,
    },
    /// A rule cannot be used.
    #[error("{file}: rule `{rule}`: {what}")]
    Rule {
        /// The file's name.
        file: String,
        /// The rule's id.
        rule: String,
        /// What is wrong, and what to do.
        what: String,
    },
}

/// What is known of a device, for rules that need more than one thing.
pub trait Facts {
    /// Whether a value of that field passes the test. Every value is asked once, until one passes.
    fn any(&self, field: Field, test: &mut dyn FnMut(&str) -> bool) -> bool;
}

/// No facts: rules that need others do not match.
impl Facts for () {
    fn any(&self, _: Field, _: &mut dyn FnMut(&str) -> bool) -> bool {
        false
    }
}

/// A rule.
#[derive(Debug)]
pub struct Rule {
    id: Box<str>,
    fields: Vec<Field>,
    matcher: Matcher,
    unless: Words,
    also: Vec<Condition>,
    without: Vec<Condition>,
    claims: Vec<Draft>,
    learnt_from: Vec<Box<str>>,
}

/// Something else that the device must have, or must not.
#[derive(Debug)]
struct Condition {
    field: Field,
    matcher: Matcher,
    at_least: u32,
}

/// A claim whose value is filled in from the match.
#[derive(Debug)]
struct Draft {
    attribute: Attribute,
    template: Box<str>,
    weight: f32,
}

/// Whether something holds, or what is wrong.
type Set = Result<(), String>;

impl Rule {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The fields it looks at.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// It needs other facts, or their absence: what it claims may change when they come.
    pub fn depends_on_facts(&self) -> bool {
        !self.also.is_empty() || !self.without.is_empty()
    }

    /// Devices of the corpus that it was learnt from.
    pub fn learnt_from(&self) -> &[Box<str>] {
        &self.learnt_from
    }

    fn find<'a>(&'a self, text: &'a Text<'_>) -> Option<Found<'a>> {
        let found = self.matcher.find(text)?;
        self.unless.find(&text.spaced).is_none().then_some(found)
    }

    fn holds(&self, facts: &dyn Facts) -> bool {
        self.also.iter().all(|condition| condition.holds(facts)) && !self.without.iter().any(|condition| condition.holds(facts))
    }
}

impl Condition {
    fn holds(&self, facts: &dyn Facts) -> bool {
        let mut missing = self.at_least;
        facts.any(self.field, &mut |value| {
            missing = missing.saturating_sub(u32::from(self.matcher.is_match(value)));
            missing == 0
        })
    }
}

/// Which rules may match a value of one field.
#[derive(Debug, Default)]
struct Index {
    equals: HashMap<Box<str>, Vec<usize>>,
    domains: HashMap<Box<str>, Vec<usize>>,
    /// By the first run of letters or digits of a word: rule and number of the word.
    words: HashMap<Box<str>, Vec<(usize, usize)>>,
    /// All others.
    others: Vec<usize>,
}

/// All rules.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    by_field: HashMap<Field, Index>,
}

impl Rules {
    /// The rules in the engine, loaded once.
    pub fn embedded() -> Result<Arc<Self>, RulesError> {
        static RULES: OnceLock<Arc<Rules>> = OnceLock::new();
        if let Some(rules) = RULES.get() {
            return Ok(rules.clone());
        }
        let loaded = Arc::new(Self::load(FILES)?);
        Ok(RULES.get_or_init(|| loaded).clone())
    }

    /// Rules of files: name and text of each.
    pub fn load(files: &[(&str, &str)]) -> Result<Self, RulesError> {
        let mut rules = Self::default();
        let mut ids = HashSet::new();
        for (file, text) in files {
            let wrong = |what: String| RulesError::File { file: (*file).into(), what };
            let raw: RawFile = toml::from_str(text).map_err(|error| wrong(format!("{error}; mend the text")))?;
            if raw.version != FORMAT {
                return Err(wrong(format!("version {} of the format: write version = {FORMAT}", raw.version)));
            }
            let mut sets = BTreeMap::new();
            for (name, fields) in &raw.sets {
                let fields: Result<Vec<Field>, String> = fields.iter().map(|name| check::field(name)).collect();
                sets.insert(name.clone(), fields.map_err(|what| wrong(format!("set `{name}`: {what}")))?);
            }
            for raw in &raw.rule {
                let is_new = ids.insert(raw.id.clone());
                let rule = if is_new { check::rule(raw, &sets) } else { Err("the id is taken: choose another".into()) };
                let rule = rule.map_err(|what| RulesError::Rule { file: (*file).into(), rule: raw.id.to_string(), what })?;
                rules.add(rule);
            }
        }
        Ok(rules)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rule of that number, as [`Self::matches`] gives it.
    ///
    /// # Panics
    ///
    /// When there is none: numbers come from [`Self::matches`] of the same rules.
    pub fn rule(&self, number: usize) -> &Rule {
        &self.rules[number]
    }

    /// All rules.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// Rules that a value of the field meets, with what each claims. `left_out`: rules learnt from that device do not count.
    pub fn matches(&self, field: Field, value: &str, facts: &dyn Facts, left_out: Option<&str>) -> Vec<(usize, Vec<Claim>)> {
        let Some(index) = self.by_field.get(&field).filter(|_| value.len() <= VALUE_OCTETS_MAX) else { return Vec::new() };
        let text = Text::of(value);
        let mut found = Vec::new();
        for (number, found_there) in self.candidates(index, &text) {
            let rule = self.rule(number);
            let is_left_out = left_out.is_some_and(|name| rule.learnt_from.iter().any(|learnt| **learnt == *name));
            if is_left_out || rule.unless.find(&text.spaced).is_some() || !rule.holds(facts) {
                continue;
            }
            let claim = |draft: &Draft| {
                let value = fill(&draft.template, text.value, &found_there)?;
                Some(Claim { attribute: draft.attribute, value, weight: draft.weight })
            };
            let claims: Vec<Claim> = rule.claims.iter().filter_map(claim).collect();
            if !claims.is_empty() {
                found.push((number, claims));
            }
        }
        found
    }

    /// Rules whose matcher the value meets, in order, each once.
    fn candidates<'a>(&'a self, index: &'a Index, text: &'a Text<'_>) -> Vec<(usize, Found<'a>)> {
        let mut found: Vec<(usize, Found<'_>)> = Vec::new();
        let mut add = |numbers: Option<&Vec<usize>>| found.extend(numbers.into_iter().flatten().map(|n| (*n, Found::Whole)));
        add(index.equals.get(text.lower.as_str()));
        if !index.domains.is_empty() {
            domains(&text.lower).for_each(|domain| add(index.domains.get(domain)));
        }
        for (at, run) in runs(&text.spaced) {
            for (number, word) in index.words.get(run).into_iter().flatten() {
                let Matcher::Words(words) = &self.rule(*number).matcher else { continue };
                let is_there = words.each().nth(*word).is_some_and(|(_, word)| is_word_at(&text.spaced, at, word));
                if let Some(written) = words.written(*word).filter(|_| is_there) {
                    found.push((*number, Found::Words(written)));
                }
            }
        }
        found.extend(index.others.iter().filter_map(|number| Some((*number, self.rule(*number).matcher.find(text)?))));
        found.sort_by_key(|(number, _)| *number);
        found.dedup_by_key(|(number, _)| *number);
        found
    }

    fn add(&mut self, rule: Rule) {
        let number = self.rules.len();
        for field in &rule.fields {
            let index = self.by_field.entry(*field).or_default();
            match &rule.matcher {
                Matcher::Equals(list) => list.iter().for_each(|text| index.equals.entry(text.clone()).or_default().push(number)),
                Matcher::Domain(list) => list.iter().for_each(|text| index.domains.entry(text.clone()).or_default().push(number)),
                Matcher::Words(words) => {
                    for (which, word) in words.each() {
                        let Some((_, run)) = runs(word).next() else { continue };
                        index.words.entry(run.into()).or_default().push((number, which));
                    }
                }
                _ => index.others.push(number),
            }
        }
        self.rules.push(rule);
    }
}

#[cfg(test)]
#[path = "rules/rules_tests.rs"]
mod tests;
