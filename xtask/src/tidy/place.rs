//! Rules on where things may stand: which module may name which, and who may read a clock.

use super::Violation;
use super::source::{Source, words};

/// Stages. A stage imports nouns and never another stage.
const VERBS: &[&str] =
    &["capture", "biflow", "dissect", "identify", "detect", "utilize", "inventory", "lake", "notify", "serve", "doctor"];

/// Who may name several stages, and why.
const WIRING: &[(&str, &str)] = &[
    ("engine/src/pipeline.rs", "wires the stages, top to bottom in data order"),
    ("engine/src/pipeline/", "its parts"),
    ("engine/src/cli.rs", "its commands call stages"),
    ("engine/src/cli/", "its commands call stages"),
    ("engine/src/main.rs", "hands the command line on"),
    ("engine/src/lib.rs", "declares the modules"),
    ("engine/src/scene.rs", "the demo's scene plays through the whole engine"),
    ("engine/src/scene/", "the demo's scene plays through the whole engine"),
    ("engine/src/demo.rs", "shows the whole engine"),
    ("engine/src/demo/", "shows the whole engine"),
];

/// Who may read a clock, and why. Everything else takes time from the records.
const CLOCKS: &[(&str, &str)] = &[
    ("xtask/", "times its steps"),
    ("benches/", "measures time"),
    ("tests/", "bounds how long a test may wait"),
    ("engine/src/time.rs", "the one place that reads a clock: monotonic to UTC offset"),
    ("engine/src/cli/", "elapsed seconds in the summary, the progress bar"),
    ("engine/src/pipeline.rs", "elapsed seconds in the summary"),
    ("engine/src/pipeline/", "elapsed seconds in the summary"),
    ("engine/src/capture/live", "paces sweeps of the kernel's cache"),
    ("engine/src/capture/replay/pace.rs", "`--speed`: waits as long as the capture did"),
    ("engine/src/lab/player.rs", "plays frames at the scene's pace"),
    ("engine/src/serve/", "answers say how old they are"),
    ("engine/src/demo/", "live progress"),
];
/// Methods that read a clock: the type's last segment and the method.
const CLOCK_READS: &[(&str, &str)] =
    &[("Instant", "now"), ("SystemTime", "now"), ("Timestamp", "now"), ("Zoned", "now"), ("Utc", "now"), ("Local", "now")];

/// No stage names another; a noun names at most one.
pub fn imports(source: &Source, violations: &mut Vec<Violation>) {
    let Some(inside) = source.path.strip_prefix("engine/src/") else { return };
    if is_listed(WIRING, source.path) {
        return;
    }
    let own = inside.split(['/', '.']).next().unwrap_or_default();
    let is_verb = VERBS.contains(&own);
    let mut first_named = None;
    for (at, name) in crate_names(&source.code) {
        if !VERBS.contains(&name) || name == own || source.is_test(at) {
            continue;
        }
        if is_verb || *first_named.get_or_insert(name) != name {
            let what = format!("`{own}` names the stage `{name}`");
            let remedy = "move what both need to a noun at the root, or wire it in pipeline.rs";
            violations.push(Violation { path: source.path.into(), line: source.line(at), what, remedy });
        }
    }
}

/// No clock is read where time is data.
pub fn clocks(source: &Source, violations: &mut Vec<Violation>) {
    if is_listed(CLOCKS, source.path) {
        return;
    }
    let mut before = (0, "");
    for (at, word) in source.words() {
        let joined = source.code.get(before.0 + before.1.len()..at) == Some("::");
        if joined && CLOCK_READS.contains(&(before.1, word)) && !source.is_test(at) {
            let what = format!("`{}::{word}` reads a clock", before.1);
            let remedy = "take the time from the records, or add the file and its reason to CLOCKS in xtask/src/tidy/place.rs";
            violations.push(Violation { path: source.path.into(), line: source.line(at), what, remedy });
        }
        before = (at, word);
    }
}

fn is_listed(list: &[(&str, &str)], path: &str) -> bool {
    list.iter().any(|(prefix, _)| path.starts_with(prefix))
}

/// What stands directly under `crate::` (or the library's own name), alone or in a group.
fn crate_names(code: &str) -> Vec<(usize, &str)> {
    let mut names = Vec::new();
    for (root, at) in ["crate::", "auscult::"].iter().flat_map(|root| code.match_indices(root).map(move |(at, _)| (root, at))) {
        let in_word = code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
        let start = at + root.len();
        if in_word {
            continue;
        }
        match code[start..].strip_prefix('{') {
            Some(group) => names.extend(group_heads(group).into_iter().map(|(offset, name)| (start + 1 + offset, name))),
            None => names.extend(words(&code[start..]).next().map(|(offset, name)| (start + offset, name))),
        }
    }
    names.sort_unstable();
    names
}

/// The first word of each entry of a group of imports, whose opening brace is already read.
fn group_heads(group: &str) -> Vec<(usize, &str)> {
    let mut heads = Vec::new();
    let (mut depth, mut is_head) = (0_usize, true);
    for (at, byte) in group.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => break,
            b'}' => depth -= 1,
            b',' if depth == 0 => is_head = true,
            _ if byte.is_ascii_alphabetic() && is_head => {
                heads.extend(words(&group[at..]).next().map(|(offset, name)| (at + offset, name)));
                is_head = false;
            }
            _ => {}
        }
    }
    heads
}

#[cfg(test)]
mod tests {
    use super::super::Document;
    use super::*;

    fn found(path: &str, text: &str, rule: fn(&Source, &mut Vec<Violation>)) -> Vec<String> {
        let document = Document { path: path.into(), text: text.into() };
        let mut violations = Vec::new();
        rule(&Source::new(&document), &mut violations);
        violations.iter().map(|violation| format!("{}: {}", violation.line, violation.what)).collect()
    }

    #[test]
    fn a_stage_names_no_other_stage() {
        let text =
            "use crate::lake::Writer;\nuse crate::{flow, biflow::Table,\n  detect::{self, capture}};\nuse crate::capture::x;\n";
        let expected = [
            "1: `capture` names the stage `lake`",
            "2: `capture` names the stage `biflow`",
            "3: `capture` names the stage `detect`",
        ];
        assert_eq!(found("engine/src/capture/live.rs", text, imports), expected);
        assert_eq!(found("engine/src/pipeline.rs", text, imports), [""; 0]);
        assert_eq!(found("engine/src/cli/run.rs", text, imports), [""; 0]);
        assert_eq!(found("benches/lake.rs", text, imports), [""; 0]);
    }

    #[test]
    fn a_noun_names_at_most_one_stage() {
        assert_eq!(found("engine/src/config.rs", "use crate::lake::A;\nuse crate::lake::B;\n", imports), [""; 0]);
        let expected = ["2: `config` names the stage `serve`"];
        assert_eq!(found("engine/src/config.rs", "use crate::lake::A;\nuse crate::serve::B;\n", imports), expected);
    }

    #[test]
    fn clocks_are_read_where_it_is_allowed() {
        let text = "use std::time::Instant;\nfn f() { let a = std::time::Instant::now(); }\n// Instant::now\n#[cfg(test)]\nmod tests { fn g() { SystemTime::now(); } }\n";
        assert_eq!(found("engine/src/biflow/table.rs", text, clocks), ["2: `Instant::now` reads a clock"]);
        assert_eq!(found("benches/lake.rs", text, clocks), [""; 0]);
    }
}
