//! Rules as the files write them: what serde reads, before anything is checked.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A file of rules.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFile {
    /// Of the format.
    pub version: u32,
    /// Fields that rules name together.
    #[serde(default)]
    pub sets: BTreeMap<Box<str>, Vec<Box<str>>>,
    /// The rules.
    #[serde(default)]
    pub rule: Vec<RawRule>,
}

/// A rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    pub id: Box<str>,
    pub field: Option<Box<str>>,
    pub fields: Option<Box<str>>,
    pub any: Option<bool>,
    pub equals: Option<Vec<Box<str>>>,
    pub prefix: Option<Vec<Box<str>>>,
    pub suffix: Option<Vec<Box<str>>>,
    pub contains: Option<Vec<Box<str>>>,
    pub words: Option<Vec<Box<str>>>,
    pub pattern: Option<Box<str>>,
    #[serde(default)]
    pub unless: Vec<Box<str>>,
    #[serde(default)]
    pub also: Vec<RawCondition>,
    #[serde(default)]
    pub without: Vec<RawCondition>,
    pub claims: BTreeMap<Box<str>, Box<str>>,
    pub weight: Option<f32>,
    pub weights: Option<BTreeMap<Box<str>, f32>>,
    #[serde(default)]
    pub learnt_from: Vec<Box<str>>,
    pub vectors: Vec<RawVector>,
    #[serde(default)]
    pub refuses: Vec<Box<str>>,
}

/// Another fact of the same device.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCondition {
    pub field: Box<str>,
    pub any: Option<bool>,
    pub equals: Option<Vec<Box<str>>>,
    pub prefix: Option<Vec<Box<str>>>,
    pub suffix: Option<Vec<Box<str>>>,
    pub contains: Option<Vec<Box<str>>>,
    pub words: Option<Vec<Box<str>>>,
    pub pattern: Option<Box<str>>,
    /// So many different values.
    pub at_least: Option<u32>,
}

/// A value that must match, with what it must claim.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum RawVector {
    Value(Box<str>),
    Claims(BTreeMap<Box<str>, Box<str>>),
}

/// The matcher of a rule or a condition, as written.
pub(super) struct RawMatcher<'a> {
    pub any: Option<bool>,
    pub lists: [(&'static str, Option<&'a [Box<str>]>); 5],
    pub pattern: Option<&'a str>,
}

macro_rules! matcher_of {
    ($($name:ident)*) => {$(
        impl $name {
            /// What it says of the value.
            pub fn matcher(&self) -> RawMatcher<'_> {
                RawMatcher {
                    any: self.any,
                    lists: [
                        ("equals", self.equals.as_deref()),
                        ("prefix", self.prefix.as_deref()),
                        ("suffix", self.suffix.as_deref()),
                        ("contains", self.contains.as_deref()),
                        ("words", self.words.as_deref()),
                    ],
                    pattern: self.pattern.as_deref(),
                }
            }
        }
    )*};
}

matcher_of! { RawRule RawCondition }
