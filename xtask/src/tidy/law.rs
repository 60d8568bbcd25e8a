//! Laws: `engine/ARCHITECTURE.md` numbers them, code cites the numbers. Each citation has its law, each law is cited.

use std::collections::BTreeMap;

use super::source::{line_of, words};
use super::{Document, Violation};

/// Where the laws are written down, each as `**NAME-1**`.
const LAWS: &str = "engine/ARCHITECTURE.md";

/// Numbers that are cited and not written down, and laws that nothing cites.
pub fn citations(documents: &[Document], violations: &mut Vec<Violation>) {
    let Some(page) = documents.iter().find(|document| document.path == LAWS) else { return };
    let marked = |at: usize, law: &str| page.text[..at].ends_with("**") && page.text[at + law.len()..].starts_with("**");
    let mut laws: BTreeMap<&str, (usize, usize)> =
        numbered(&page.text).filter(|(at, law)| marked(*at, law)).map(|(at, law)| (law, (at, 0))).collect();
    let families: Vec<_> = laws.keys().filter_map(|law| law.split('-').next()).collect();
    for document in documents.iter().filter(|document| document.path.ends_with(".rs")) {
        for (at, number) in numbered(&document.text) {
            if let Some((_, citations)) = laws.get_mut(number) {
                *citations += 1;
            } else if number.split('-').next().is_some_and(|family| families.contains(&family)) {
                let (path, line) = (document.path.clone(), line_of(&document.text, at));
                let what = format!("`{number}` is no law of {LAWS}");
                violations.push(Violation { path, line, what, remedy: "cite the law that is meant, or write it down" });
            }
        }
    }
    for (law, (at, _)) in laws.iter().filter(|(_, (_, citations))| *citations == 0) {
        let (path, line) = (page.path.clone(), line_of(&page.text, *at));
        let what = format!("no code cites `{law}`");
        violations.push(Violation { path, line, what, remedy: "cite it where it is upheld, or strike it" });
    }
}

/// Capitals, a hyphen and digits, such as a law's number.
fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    words(text).filter_map(|(at, word)| {
        let digits = text[at + word.len()..].strip_prefix('-')?;
        let count = digits.find(|character: char| !character.is_ascii_digit()).unwrap_or(digits.len());
        let is_name = word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_uppercase());
        (is_name && count > 0).then(|| (at, &text[at..at + word.len() + 1 + count]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn citations_and_laws_belong_together() {
        let page = "* **SUM-1** All adds up.\n* **SUM-2** See SUM-1.\n";
        let code = "//! SUM-1 holds; UTF-8 is none, but SUM-3 would be.\n";
        let document = |path: &str, text: &str| Document { path: path.into(), text: text.into() };
        let mut violations = Vec::new();
        citations(&[document(LAWS, page), document("a.rs", code)], &mut violations);
        let found: Vec<_> = violations.iter().map(|violation| (violation.line, violation.what.as_str())).collect();
        assert_eq!(found, [(1, "`SUM-3` is no law of engine/ARCHITECTURE.md"), (2, "no code cites `SUM-2`")]);
    }
}
