//! Test data that no test names: nobody would notice if it were wrong.

use std::collections::BTreeSet;

use super::{Document, Violation};

/// Files of these kinds name test data; they are not test data.
const NAMING: &[&str] = &[".rs", ".py", ".sh", ".toml"];

/// Every file under a folder of tests must be named by code: itself, its stem, or a folder it is in.
pub fn dead(documents: &[Document], others: &[String], violations: &mut Vec<Violation>) {
    let mut named = BTreeSet::new();
    for document in documents.iter().filter(|document| is_naming(&document.path)) {
        let is_part = |character: char| character.is_alphanumeric() || "_-.".contains(character);
        for word in document.text.split(|character| !is_part(character)).map(|word| word.trim_matches('.')) {
            named.insert(word);
        }
    }
    let paths = documents.iter().map(|document| document.path.as_str()).chain(others.iter().map(String::as_str));
    for path in paths.filter(|path| is_test_data(path)) {
        if !names_of(path).iter().any(|name| named.contains(name)) {
            let what = "no code names this test data".to_owned();
            violations.push(Violation { path: path.into(), line: 1, what, remedy: "use it in a test or delete it" });
        }
    }
}

fn is_naming(path: &str) -> bool {
    NAMING.iter().any(|kind| path.ends_with(kind))
}

fn is_test_data(path: &str) -> bool {
    let is_in_tests = path.starts_with("tests/") || path.contains("/tests/");
    is_in_tests && !is_naming(path) && !path.ends_with(".md") && !path.ends_with("/.gitignore") && !path.ends_with(".lock")
}

/// Names by which code may reach a file: file name, stem, last part of a snapshot's stem, folders below `tests`.
fn names_of(path: &str) -> Vec<&str> {
    let inside = path.rsplit_once("tests/").map_or(path, |(_, inside)| inside);
    let (folders, file) = inside.rsplit_once('/').unwrap_or(("", inside));
    let stem = file.split('.').next().unwrap_or(file);
    let last = stem.rsplit("__").next().unwrap_or(stem);
    let mut names = vec![file, stem, last];
    // `snapshots` is where every snapshot is, so it says nothing about one.
    names.extend(folders.split('/').filter(|folder| !folder.is_empty() && *folder != "snapshots"));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_code_names_in_any_way_are_alive() {
        let code =
            Document { path: "tests/replay.rs".into(), text: "open(\"a.pcap\"); folder(\"corpus\"); assert(\"summary\")".into() };
        let others: Vec<String> = [
            "tests/a.pcap",
            "tests/corpus/1",
            "tests/snapshots/replay__summary.snap",
            "tests/b.pcap",
            "tests/snapshots/replay__old.snap",
            "c.pcap",
        ]
        .map(String::from)
        .into();
        let mut violations = Vec::new();
        dead(&[code], &others, &mut violations);
        let dead: Vec<_> = violations.iter().map(|violation| violation.path.as_str()).collect();
        assert_eq!(dead, ["tests/b.pcap", "tests/snapshots/replay__old.snap"]);
    }
}
