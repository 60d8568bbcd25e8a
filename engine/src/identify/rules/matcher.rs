//! Matchers: whether a value is what a rule looks for. All are blind to the case of ASCII letters.

use regex_lite::{Regex, RegexBuilder};

use super::raw::RawMatcher;

/// Longest pattern, octets: regular expressions are for versions and models, not for lists of words.
const PATTERN_OCTETS_MAX: usize = 240;

/// What a value must be.
#[derive(Debug)]
pub(super) enum Matcher {
    /// Anything.
    Any,
    /// One of these.
    Equals(Vec<Box<str>>),
    /// Begins with one of these.
    Prefix(Vec<Box<str>>),
    /// Ends with one of these.
    Suffix(Vec<Box<str>>),
    /// Is one of these domains, or in it.
    Domain(Vec<Box<str>>),
    /// Contains one of these, wherever.
    Contains(Vec<Box<str>>),
    /// Contains one of these as whole words.
    Words(Words),
    /// Fits a regular expression.
    Pattern(Box<Pattern>),
}

/// A value, made ready to be asked often.
pub(super) struct Text<'a> {
    /// As observed.
    pub value: &'a str,
    /// In lower case.
    pub lower: String,
    /// In lower case, with every separator of words a blank.
    pub spaced: String,
}

impl<'a> Text<'a> {
    /// Of a value.
    pub fn of(value: &'a str) -> Self {
        let lower = value.to_ascii_lowercase();
        let spaced = spaced(&lower);
        Self { value, lower, spaced }
    }
}

/// What a match found.
pub(super) enum Found<'a> {
    /// That it matches.
    Whole,
    /// The words, as the rule writes them.
    Words(&'a str),
    /// Groups of a pattern.
    Groups(Vec<Option<&'a str>>),
}

impl Matcher {
    /// From what a rule says; `is_name`: the field holds host or domain names.
    pub fn new(raw: &RawMatcher<'_>, is_name: bool) -> Result<Self, String> {
        let lists = raw.lists.iter().filter_map(|(name, list)| Some((*name, (*list)?)));
        let written = lists.clone().count() + usize::from(raw.any.is_some()) + usize::from(raw.pattern.is_some());
        if written != 1 {
            return Err(format!("{written} matchers: write one of any, equals, prefix, suffix, contains, words, pattern"));
        }
        if let Some(pattern) = raw.pattern {
            return Pattern::new(pattern).map(|pattern| Self::Pattern(Box::new(pattern)));
        }
        let Some((name, list)) = lists.last() else {
            return if raw.any == Some(true) { Ok(Self::Any) } else { Err("`any` is `true` or left out".into()) };
        };
        if list.is_empty() || list.iter().any(|text| text.trim().is_empty()) {
            return Err(format!("`{name}` has nothing to look for: give it at least one text, and no empty one"));
        }
        let lower = || list.iter().map(|text| text.to_ascii_lowercase().into_boxed_str()).collect();
        Ok(match name {
            "equals" => Self::Equals(lower()),
            "prefix" => Self::Prefix(lower()),
            "suffix" if is_name => Self::Domain(lower()),
            "suffix" => Self::Suffix(lower()),
            "contains" => Self::Contains(lower()),
            _ => Self::Words(Words::new(list)?),
        })
    }

    /// Whether the value matches, and what was found.
    pub fn find<'a>(&'a self, text: &'a Text<'_>) -> Option<Found<'a>> {
        let whole = |is: bool| is.then_some(Found::Whole);
        let lower = text.lower.as_str();
        match self {
            Self::Any => Some(Found::Whole),
            Self::Equals(list) => whole(list.iter().any(|one| **one == *lower)),
            Self::Prefix(list) => whole(list.iter().any(|one| lower.starts_with(&**one))),
            Self::Suffix(list) => whole(list.iter().any(|one| lower.ends_with(&**one))),
            Self::Domain(list) => whole(domains(lower).any(|domain| list.iter().any(|one| **one == *domain))),
            Self::Contains(list) => whole(list.iter().any(|one| lower.contains(&**one))),
            Self::Words(words) => words.find(&text.spaced).map(Found::Words),
            Self::Pattern(pattern) => pattern.find(text),
        }
    }

    /// Whether the value matches.
    pub fn is_match(&self, value: &str) -> bool {
        self.find(&Text::of(value)).is_some()
    }
}

/// The name and every domain it is in, longest first.
pub(super) fn domains(name: &str) -> impl Iterator<Item = &str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    std::iter::successors(Some(name), |name| name.split_once('.').map(|(_, domain)| domain))
}

/// Words to look for.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// As the rule writes them, the longest first.
    written: Vec<Box<str>>,
    /// As they are compared.
    compared: Vec<Box<str>>,
}

impl Words {
    /// From a rule.
    pub fn new(list: &[Box<str>]) -> Result<Self, String> {
        let ends_well = |text: &str| text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if let Some(text) = list.iter().find(|text| !ends_well(text)) {
            return Err(format!("word `{text}` begins with neither letter nor digit: leave off what is before it"));
        }
        let mut written = list.to_vec();
        written.sort_by_key(|text| std::cmp::Reverse(text.len()));
        let compared = written.iter().map(|text| spaced(&text.to_ascii_lowercase()).into_boxed_str()).collect();
        Ok(Self { written, compared })
    }

    /// No words at all.
    pub fn is_empty(&self) -> bool {
        self.compared.is_empty()
    }

    /// Each with its number.
    pub fn each(&self) -> impl Iterator<Item = (usize, &str)> {
        self.compared.iter().map(|word| &**word).enumerate()
    }

    /// How the rule writes that one.
    pub fn written(&self, number: usize) -> Option<&str> {
        self.written.get(number).map(|word| &**word)
    }

    /// The first that the spaced text has as whole words; the longest of those that begin there.
    pub fn find(&self, spaced: &str) -> Option<&str> {
        let there = |(at, _): (usize, &str)| self.each().find(|(_, word)| is_word_at(spaced, at, word));
        let (number, _) = if self.is_empty() { None } else { runs(spaced).find_map(there) }?;
        self.written(number)
    }
}

/// Whether the word stands there and ends there; that it begins there is known.
pub(super) fn is_word_at(spaced: &str, at: usize, word: &str) -> bool {
    let Some(rest) = spaced.get(at..).and_then(|rest| rest.strip_prefix(word)) else { return false };
    let (last, next) = (word.chars().next_back(), rest.chars().next());
    match (last, next) {
        (Some(last), Some(next)) => kind(next).is_none() || kind(last) != kind(next),
        _ => true,
    }
}

/// Runs of letters and runs of digits, each with where it begins: a word may end where digits begin (`ct01`).
pub(super) fn runs(spaced: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = spaced.get(at..)?;
        let begin = at + rest.find(|c| kind(c).is_some())?;
        let run = spaced.get(begin..)?;
        let first = run.chars().next().and_then(kind);
        let length = run.find(|c| kind(c) != first).unwrap_or(run.len());
        at = begin + length;
        Some((begin, run.get(..length)?))
    })
}

/// Letter or digit, or neither.
fn kind(c: char) -> Option<bool> {
    if c.is_ascii_digit() { Some(true) } else { c.is_alphabetic().then_some(false) }
}

/// With every separator of words a blank, so that `i-STAT`, `i_stat` and `I STAT` are one.
fn spaced(lower: &str) -> String {
    lower.chars().map(|c| if matches!(c, '-' | '_' | '.' | '/' | ',' | ':') { ' ' } else { c }).collect()
}

/// A regular expression, and a text without which it cannot match.
#[derive(Debug)]
pub(super) struct Pattern {
    regex: Regex,
    needs: Box<str>,
}

impl Pattern {
    fn new(pattern: &str) -> Result<Self, String> {
        if pattern.len() > PATTERN_OCTETS_MAX {
            return Err(format!("pattern of {} octets: write at most {PATTERN_OCTETS_MAX}, or use words", pattern.len()));
        }
        let regex = RegexBuilder::new(pattern).case_insensitive(true).build();
        let regex = regex.map_err(|error| format!("bad pattern `{pattern}`: {error}; mend it"))?;
        Ok(Self { regex, needs: needed(pattern).to_ascii_lowercase().into() })
    }

    /// How many groups it has, without the whole.
    pub fn groups(&self) -> usize {
        self.regex.captures_len() - 1
    }

    fn find<'a>(&'a self, text: &'a Text<'_>) -> Option<Found<'a>> {
        if !text.lower.contains(&*self.needs) {
            return None;
        }
        let captures = self.regex.captures(text.value)?;
        Some(Found::Groups((1..captures.len()).map(|group| captures.get(group).map(|found| found.as_str())).collect()))
    }
}

/// The longest text that whatever fits the pattern must contain: a run of plain characters outside of groups, classes and alternatives.
fn needed(pattern: &str) -> String {
    let (mut best, mut run) = (String::new(), String::new());
    let (mut depth, mut in_class) = (0_u32, false);
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        let is_plain = match c {
            '|' if depth == 0 && !in_class => return String::new(),
            '\\' => {
                characters.next();
                false
            }
            ']' if in_class => {
                in_class = false;
                false
            }
            '[' => {
                in_class = true;
                false
            }
            '(' if !in_class => {
                depth += 1;
                false
            }
            ')' if !in_class => {
                depth = depth.saturating_sub(1);
                false
            }
            '?' | '*' | '{' if depth == 0 && !in_class => {
                run.pop();
                false
            }
            _ => depth == 0 && !in_class && (c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '/' | '_' | ',' | ':')),
        };
        if is_plain {
            run.push(c);
        } else {
            best = if run.len() > best.len() { std::mem::take(&mut run) } else { best };
            run.clear();
        }
        // What is counted out in braces is no text.
        if c == '{' && depth == 0 && !in_class {
            characters.by_ref().find(|c| *c == '}');
        }
    }
    if run.len() > best.len() { run } else { best }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Words {
        Words::new(&list.iter().map(|word| (*word).into()).collect::<Vec<_>>()).expect("words")
    }

    #[test]
    fn words_are_whole_and_may_end_at_digits() {
        let check = |list: &[&str], value: &str, expect: Option<&str>| {
            assert_eq!(words(list).find(&Text::of(value).spaced), expect, "{value}");
        };
        check(&["ct"], "CT01-RAD", Some("ct"));
        check(&["ct"], "rad_ct", Some("ct"));
        check(&["ct"], "direct", None);
        check(&["ct"], "ctrl", None);
        check(&["i-STAT"], "Abbott I STAT 1", Some("i-STAT"));
        check(&["Plum 360"], "icu plum-360", Some("Plum 360"));
        check(&["Plum 360"], "plum 3600", None);
        check(&["980"], "PB980", Some("980"));
        check(&["mr", "ct"], "ct", Some("ct"));
        assert!(Words::new(&["-x".into()]).is_err());
    }

    #[test]
    fn patterns_know_what_they_need() {
        let check = |pattern: &str, expect: &str| assert_eq!(needed(pattern), expect, "{pattern}");
        check("^Cisco IOS Software, .*Version ([0-9]+)", "Cisco IOS Software, ");
        check("a|bcd", "");
        check("colou?r (x|yz)", "colo");
        check(r"\d+abc", "abc");
        check("ab{3}cd", "cd");
        check("(abc)?", "");
        check("x[abc]+yz", "yz");
    }

    #[test]
    fn domains_hold_their_hosts_and_no_namesakes() {
        let matcher = Matcher::Domain(vec!["example.com".into()]);
        for (name, expect) in [("example.com", true), ("a.b.Example.com", true), ("badexample.com", false), ("com", false)] {
            assert_eq!(matcher.is_match(name), expect, "{name}");
        }
    }
}
