//! A configuration file's text: which line sets which key, and which keys nobody knows.

use std::{collections::BTreeMap, ops::Range, path::PathBuf};

use toml::de::{DeTable, DeValue};

use super::{
    Problem,
    key::{KEYS, Key},
};

/// A parsed file.
pub(super) struct Source<'a> {
    /// Where it was read from.
    pub file: PathBuf,
    /// Line of every key it sets, from one.
    pub lines: BTreeMap<&'static str, usize>,
    /// What is wrong with its keys and their types.
    pub problems: Vec<Problem>,
    text: &'a str,
}

impl<'a> Source<'a> {
    /// Reads the text's keys. Syntax errors are the only problem of a text that has one.
    pub fn parse(file: PathBuf, text: &'a str) -> Self {
        let mut source = Self { file, lines: BTreeMap::new(), problems: Vec::new(), text };
        match DeTable::parse(text) {
            Ok(table) => source.walk("", table.get_ref()),
            Err(error) => source.problem(error.span().unwrap_or_default(), one_line(error.message())),
        }
        source.problems.sort_by_key(|problem| problem.line);
        source
    }

    /// Records a problem at a place in the text.
    pub fn problem(&mut self, at: Range<usize>, what: String) {
        let line = self.line(at);
        self.problems.push(Problem { file: Some(self.file.clone()), line: Some(line), what });
    }

    fn line(&self, at: Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..at.start).unwrap_or(self.text.as_bytes());
        before.iter().filter(|octet| **octet == b'\n').count() + 1
    }

    fn walk(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table.iter() {
            let path = format!("{prefix}{}", name.get_ref());
            let section = format!("{path}.");
            let is_section = KEYS.iter().any(|key| key.name.starts_with(&section));
            match (Key::find(&path), value.get_ref()) {
                (Some(key), value_found) => {
                    self.lines.insert(key.name, self.line(name.span()));
                    let found = value_found.type_str();
                    if !key.rule.kinds().contains(&found) {
                        self.problem(
                            value.span(),
                            format!("{path}: expected {}, found {} {found}", key.rule.words(), article(found)),
                        );
                    }
                }
                (None, DeValue::Table(inner)) if is_section => self.walk(&section, inner),
                (None, _) if is_section => {
                    self.problem(name.span(), format!("{path} is a section: write [{path}] and its keys below"))
                }
                (None, _) => self.problem(name.span(), unknown(&path)),
            }
        }
    }
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

fn unknown(path: &str) -> String {
    match nearest(path) {
        Some(known) => format!("unknown key {path}: did you mean {known}?"),
        None => format!("unknown key {path}: remove it (`auscult config-table` lists the keys)"),
    }
}

/// The known key or section that a name most likely means.
pub(super) fn nearest(path: &str) -> Option<&'static str> {
    let sections = KEYS.iter().filter_map(|key| Some(key.name.split_once('.')?.0));
    KEYS.iter()
        .map(|key| key.name)
        .chain(sections)
        .filter_map(|known| {
            let tail = likeness(last(path), last(known)).map(|far| far + 1);
            Some(([likeness(path, known), tail].into_iter().flatten().min()?, known))
        })
        .min_by_key(|(far, _)| *far)
        .map(|(_, known)| known)
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Edit distance of two names that are near enough to be meant for each other. Leaving the unit off counts one.
fn likeness(written: &str, known: &str) -> Option<usize> {
    let (written, known) = (written.to_ascii_lowercase().replace('-', "_"), known.to_owned());
    let rest = known.strip_prefix(&written).or_else(|| written.strip_prefix(&known));
    if let Some(rest) = rest.filter(|rest| written.len() >= 4 && !rest.contains('.')) {
        return Some(usize::from(!rest.is_empty()));
    }
    let far = distance(written.as_bytes(), known.as_bytes());
    (far <= (known.len() / 3).max(1)).then_some(far)
}

/// Levenshtein distance.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

/// An error text without line breaks.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
