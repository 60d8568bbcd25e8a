//! Rust text → the same text with comments and literals blanked out, so that rules see code only, in place.
//!
//! Not a parser: braces, words and lines are all that the rules need.

use std::ops::Range;

use super::Document;

/// A Rust file, and where its tests are.
pub struct Source<'a> {
    /// Its path from the root, with `/`.
    pub path: &'a str,
    /// What it holds.
    pub text: &'a str,
    /// As `text`, byte for byte, with every byte of a comment or literal but line ends a space.
    pub code: String,
    /// Byte ranges of items under `#[cfg(test)]`.
    tests: Vec<Range<usize>>,
}

impl<'a> Source<'a> {
    /// Blanks out what is not code and finds the tests.
    pub fn new(document: &'a Document) -> Self {
        let code = blank(&document.text);
        let tests = code.match_indices("#[cfg(test)]").filter_map(|(start, _)| Some(start..item_end(&code, start)?)).collect();
        Self { path: &document.path, text: &document.text, code, tests }
    }

    /// The line of a byte, from 1.
    pub fn line(&self, at: usize) -> usize {
        line_of(self.text, at)
    }

    /// Whether that byte belongs to a test: of a test module, or of a file that is nothing else.
    pub fn is_test(&self, at: usize) -> bool {
        is_test_file(self.path) || self.tests.iter().any(|range| range.contains(&at))
    }

    /// Lines outside of tests, and lines of tests.
    pub fn line_counts(&self) -> (usize, usize) {
        let tests = self.tests.iter().map(|range| self.line(range.end) - self.line(range.start) + 1).sum();
        (self.text.lines().count().saturating_sub(tests), tests)
    }

    /// Where each word of the code stands, with the word.
    pub fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        words(&self.code)
    }

    /// Each function with a body: its name, where `fn` stands, where its last brace stands.
    pub fn functions(&self) -> Vec<(&str, Range<usize>)> {
        let mut words = self.words().peekable();
        let mut functions = Vec::new();
        while let Some((start, word)) = words.next() {
            if word == "fn"
                && let Some(&(at, name)) = words.peek()
                && self.code[start + 2..at].trim().is_empty()
                && let Some(end) = item_end(&self.code, start)
                && self.code.as_bytes().get(end) == Some(&b'}')
            {
                functions.push((name, start..end));
            }
        }
        functions
    }
}

/// Whether a file is nothing but tests.
pub fn is_test_file(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// The line of a byte, from 1.
pub fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Words (identifiers, keywords, numbers) and where they stand.
pub fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let start = text.as_ptr() as usize;
    text.split(move |character| !is_word(character))
        .filter(|word| !word.is_empty())
        .map(move |word| (word.as_ptr() as usize - start, word))
}

/// Where the item that starts at a byte ends: its closing brace, or its semicolon; brackets in between are skipped.
fn item_end(code: &str, start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut braces = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'{' => braces += 1,
            b'}' => {
                braces = braces.checked_sub(1)?;
                if braces == 0 && depth == 0 {
                    return Some(at);
                }
            }
            b';' if braces == 0 && depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

/// The text with comments and literals blanked out.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = at + literal_length(&bytes[at..], at.checked_sub(1).map(|before| bytes[before])).max(1);
        if end > at + 1 {
            let end = end.min(bytes.len());
            code[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        }
        at = end;
    }
    // Only whole literals and comments were replaced, so what is left is UTF-8 still.
    String::from_utf8(code).unwrap_or_default()
}

/// The length of the comment or literal that starts here, 0 when none does.
fn literal_length(rest: &[u8], before: Option<u8>) -> usize {
    let in_word = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment_length(rest),
        [b'"', ..] => 1 + quoted_length(&rest[1..]),
        [b'b' | b'c', b'"', ..] if !in_word => 2 + quoted_length(&rest[2..]),
        [b'r', ..] if !in_word => raw_length(rest, 1),
        [b'b' | b'c', b'r', ..] if !in_word => raw_length(rest, 2),
        [b'\'', b'\\', ..] => 3 + rest.iter().skip(3).position(|byte| *byte == b'\'').map_or(0, |length| length + 1),
        // A character is closed within its own length; a lifetime never is.
        [b'\'', ..] => (2..=5)
            .find(|length| rest.get(*length) == Some(&b'\'') && is_one_character(&rest[1..*length]))
            .map_or(0, |length| length + 1),
        _ => 0,
    }
}

fn is_one_character(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| text.chars().count() == 1)
}

fn block_comment_length(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at + 1 < rest.len() {
        match (rest[at], rest[at + 1]) {
            (b'/', b'*') => depth += 1,
            (b'*', b'/') if depth == 1 => return at + 2,
            (b'*', b'/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
    }
    rest.len()
}

fn quoted_length(rest: &[u8]) -> usize {
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of a raw literal whose `#`s start at that byte; 0 when it is a raw identifier or just a word.
fn raw_length(rest: &[u8], start: usize) -> usize {
    let hashes = rest[start..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(start + hashes) != Some(&b'"') {
        return 0;
    }
    let body = start + hashes + 1;
    let closes = |at: &usize| rest[*at] == b'"' && rest[at + 1..].iter().take_while(|byte| **byte == b'#').count() >= hashes;
    (body..rest.len()).find(closes).map_or(rest.len(), |at| at + 1 + hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_in_place() {
        let cases = [
            ("let a = \"x{\\\"\"; // {\nb", "let a = ; b"),
            ("let a = r#\"{\"\"#; r#type", "let a = ; r#type"),
            ("a /* { /* } */\n { */ b", "a b"),
            ("'{' 'a T b'\\n' '\\'' '\\u{7b}' 'é' c", "'a T b c"),
            ("for r in b { c(b\"{\", br\"{\", b'{') }", "for r in b { c( , , b ) }"),
        ];
        for (text, expected) in cases {
            let code = blank(text);
            assert_eq!(code.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{text}");
            assert_eq!(code.len(), text.len(), "{text}");
            assert_eq!(code.lines().count(), text.lines().count(), "{text}");
        }
    }

    #[test]
    fn functions_and_tests_are_found() {
        let text = "trait T { fn a(); }\nfn b(x: [u8; 3]) -> T where X: Fn() {\n  if x { y }\n}\n#[cfg(test)]\nmod tests {\n  fn c() {}\n}\n";
        let document = Document { path: "engine/src/x.rs".into(), text: text.into() };
        let source = Source::new(&document);
        let functions: Vec<_> =
            source.functions().iter().map(|(name, range)| (*name, source.line(range.start), source.line(range.end))).collect();
        assert_eq!(functions, [("b", 2, 4), ("c", 7, 7)]);
        assert!(source.is_test(text.find("fn c").unwrap_or_default()));
        assert!(!source.is_test(text.find("fn b").unwrap_or_default()));
        assert_eq!(source.line_counts(), (4, 4));
    }
}
