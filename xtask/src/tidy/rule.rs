//! Rules on a single file: its length, its functions, its names, its words.

use super::source::{Source, is_test_file, line_of, words};
use super::{Document, Violation};

/// Longer files have more than one subject.
const FILE_LINES_MAX: usize = 500;
/// Longer functions do not fit a screen.
const FUNCTION_LINES_MAX: usize = 70;
/// Words that say nothing about a type.
const EMPTY_NAMES: &[&str] = &["Manager", "Handler", "Helper", "Helpers", "Util", "Utils", "Data", "Info"];

/// Folders of one machine. Split, so that this list does not break the rule.
const MACHINE_FOLDERS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/t", "mp/")];
/// Marks of what is not done. Split, so that this list does not break the rule.
const MARKS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
/// Macros that stand for what is not done.
const UNDONE: &[&str] = &["todo", "unimplemented"];

/// Documents whose words are not ours.
fn is_foreign(path: &str) -> bool {
    path.ends_with(".lock") || path.contains("LICENSE") || path.starts_with("tests/fuzz/corpus/")
}

/// Rules on every text file: no folder of one machine, no mark of what is not done.
pub fn text(document: &Document, violations: &mut Vec<Violation>) {
    if is_foreign(&document.path) {
        return;
    }
    let mut report = |at, what, remedy| {
        violations.push(Violation { path: document.path.clone(), line: line_of(&document.text, at), what, remedy });
    };
    for folder in MACHINE_FOLDERS {
        for (at, _) in document.text.match_indices(folder) {
            let before = document.text[..at].chars().next_back();
            let is_start = !before.is_some_and(|character| character.is_alphanumeric() || "._-}*/$~".contains(character));
            if is_start {
                report(
                    at,
                    format!("names `{folder}`, a folder of one machine"),
                    "take the path from an argument, or from `tempfile` in tests",
                );
            }
        }
    }
    for (at, word) in words(&document.text) {
        if MARKS.contains(&word) {
            report(at, format!("`{word}`"), "do it, or open an issue");
        }
    }
}

/// Rules on every Rust file: module documentation, lengths, names, nothing undone.
pub fn rust(source: &Source, violations: &mut Vec<Violation>) {
    let mut report =
        |at, what, remedy| violations.push(Violation { path: source.path.into(), line: source.line(at), what, remedy });
    if !has_module_docs(source.text) {
        report(0, "no module documentation".into(), "say in `//!` what turns into what");
    }
    let (lines, test_lines) = source.line_counts();
    for (count, kind) in [(lines, "lines"), (test_lines, "lines of tests")] {
        if count > FILE_LINES_MAX && !is_test_file(source.path) {
            report(0, format!("{count} {kind}, more than {FILE_LINES_MAX}"), "split it by subject");
        }
    }
    for (name, range) in source.functions() {
        let count = source.line(range.end) - source.line(range.start) + 1;
        if count > FUNCTION_LINES_MAX && !source.is_test(range.start) {
            report(
                range.start,
                format!("`{name}` has {count} lines, more than {FUNCTION_LINES_MAX}"),
                "name its parts and call them",
            );
        }
    }
    let mut before = "";
    for (at, word) in source.words() {
        let names_type = matches!(before, "struct" | "enum" | "trait" | "type" | "union");
        if names_type && let Some(empty) = camel_words(word).into_iter().find(|part| EMPTY_NAMES.contains(part)) {
            report(at, format!("`{word}`: \"{empty}\" says nothing about a type"), "name what it is");
        }
        if UNDONE.contains(&word) && source.code[at + word.len()..].starts_with('!') {
            report(at, format!("`{word}!`"), "do it, or open an issue");
        }
        before = word;
    }
}

/// Whether the first thing in a file, but for attributes, is its documentation.
fn has_module_docs(text: &str) -> bool {
    let is_attribute = |line: &&str| line.is_empty() || line.starts_with("#!") && !line.starts_with("#![doc");
    let first = text.lines().map(str::trim).find(|line| !is_attribute(line));
    first.is_some_and(|line| line.starts_with("//!") || line.starts_with("#![doc"))
}

/// The words of a name in camel case.
fn camel_words(name: &str) -> Vec<&str> {
    let mut starts: Vec<_> = name.match_indices(|character: char| character.is_ascii_uppercase()).map(|(at, _)| at).collect();
    starts.push(name.len());
    starts.windows(2).map(|pair| &name[pair[0]..pair[1]]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, contents: &str) -> Vec<String> {
        let document = Document { path: path.into(), text: contents.into() };
        let mut violations = Vec::new();
        text(&document, &mut violations);
        rust(&Source::new(&document), &mut violations);
        violations.iter().map(|violation| format!("{}: {}", violation.line, violation.what)).collect()
    }

    #[test]
    fn module_docs_may_follow_attributes() {
        assert_eq!(found("a.rs", "#![no_std]\n\n//! Docs.\n"), [""; 0]);
        assert_eq!(found("a.rs", "#![doc = include_str!(\"../A.md\")]\n"), [""; 0]);
        assert_eq!(found("a.rs", "use a;\n//! Docs.\n"), ["1: no module documentation"]);
    }

    #[test]
    fn long_files_and_functions_are_found_but_not_in_tests() {
        let body = "    a;\n".repeat(FUNCTION_LINES_MAX - 1);
        assert_eq!(found("engine/src/a.rs", &format!("//! D.\nfn f() {{\n{body}}}\n")), ["2: `f` has 71 lines, more than 70"]);
        assert_eq!(found("engine/src/a.rs", &format!("//! D.\nfn f() {{\n{}}}\n", &body[7..])), [""; 0]);
        assert_eq!(found("engine/src/a.rs", &format!("//! D.\n#[cfg(test)]\nmod tests {{ fn f() {{\n{body}}} }}\n")), [""; 0]);
        let long = format!("//! D.\n{}", "use a;\n".repeat(FILE_LINES_MAX));
        assert_eq!(found("engine/src/a.rs", &long), ["1: 501 lines, more than 500"]);
        assert_eq!(found("tests/a.rs", &long), [""; 0]);
    }

    #[test]
    fn empty_type_names_are_found() {
        let text = "//! D.\nstruct FlowInfo;\nenum Metadata {}\ntype Database = u8;\ntrait DataSource {}\n";
        let expected =
            ["2: `FlowInfo`: \"Info\" says nothing about a type", "5: `DataSource`: \"Data\" says nothing about a type"];
        assert_eq!(found("a.rs", text), expected);
    }

    #[test]
    fn what_is_undone_is_found() {
        let text = format!("//! D.\n// {}: later\nfn f() {{ {}!() }}\nfn todo() {{}}\n", MARKS[0], UNDONE[0]);
        assert_eq!(found("a.rs", &text), [format!("2: `{}`", MARKS[0]), "3: `todo!`".into()]);
    }

    #[test]
    fn folders_of_one_machine_are_found() {
        let text =
            format!("//! D.\nconst A: &str = \"{}a\";\nconst B: &str = \"target{}a\";\n", MACHINE_FOLDERS[0], MACHINE_FOLDERS[3]);
        assert_eq!(found("a.rs", &text), [format!("2: names `{}`, a folder of one machine", MACHINE_FOLDERS[0])]);
        assert_eq!(found("Cargo.lock", &format!("//! {}", MACHINE_FOLDERS[0])), [""; 0]);
    }
}
