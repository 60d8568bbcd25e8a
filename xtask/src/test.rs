//! `cargo xtask test`: the steps of continuous integration, in order, each timed; the first failure ends them.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::install::{self, Purpose};
use crate::{bpf, docs, fuzz, licences, process, tidy, workspace};

/// Which steps to run.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Installs nothing; what is missing is missing
    #[arg(long)]
    no_install: bool,
    /// Checks licences with cargo-deny, which reads their texts, even if it has to be built first, which takes minutes
    #[arg(long)]
    with_deny: bool,
    /// Only the steps whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// What a step that cannot run here means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skips {
    /// It is said, and the next step runs.
    Show,
    /// It is a failure.
    Fail,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Passed,
    Skipped(String),
    Failed(String),
}

/// What steps share: how they are run, and the test runner's own summary once it has run.
struct Course<'a> {
    options: &'a Options,
    skips: Skips,
    summary: Vec<String>,
}

type Step = fn(&mut Course) -> Result<Outcome>;

/// Every step, in order: cheap ones first, so that a slip costs seconds.
const STEPS: &[(&str, Step)] = &[
    ("install", install),
    ("format", |_| cargo(&["fmt", "--all", "--check"])),
    ("tidy", |_| Ok(if tidy::run()? == ExitCode::SUCCESS { Outcome::Passed } else { Outcome::Failed("see above".into()) })),
    ("clippy", |_| cargo(&["clippy", "--release", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"])),
    ("bpf objects", bpf_objects),
    ("build", |_| cargo(&["build", "--release", "--locked", "--workspace", "--bins"])),
    ("doc tests", doc_tests),
    ("tests", tests),
    ("fuzz", |_| fuzz::short().map(|()| Outcome::Passed)),
    ("documentation", documentation),
    ("generated tables", |_| {
        let current = docs::run(&docs::Options { check: true })? == ExitCode::SUCCESS;
        Ok(if current { Outcome::Passed } else { Outcome::Failed("see above".into()) })
    }),
    ("licences", licences),
];

/// Runs the steps; in continuous integration a step or test that cannot run is a failure.
pub fn run(options: &Options) -> Result<ExitCode> {
    run_with(options, if workspace::is_ci() { Skips::Fail } else { Skips::Show })
}

/// Runs the steps, shows what ran and how long it took, and ends with the test runner's own summary.
pub fn run_with(options: &Options, skips: Skips) -> Result<ExitCode> {
    let mut course = Course { options, skips, summary: Vec::new() };
    let mut results = Vec::new();
    let wanted = |name: &str| options.only.as_deref().is_none_or(|text| name.contains(text));
    for (name, step) in STEPS.iter().filter(|(name, _)| wanted(name)) {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let outcome = match step(&mut course).unwrap_or_else(|error| Outcome::Failed(format!("{error:#}"))) {
            Outcome::Skipped(reason) if skips == Skips::Fail => Outcome::Failed(format!("must not be skipped here: {reason}")),
            outcome => outcome,
        };
        let failed = matches!(outcome, Outcome::Failed(_));
        results.push((*name, start.elapsed(), outcome));
        if failed {
            break;
        }
    }
    ensure!(!results.is_empty(), "no step has {:?} in its name", options.only.as_deref().unwrap_or_default());
    print!("{}", closing(&results, STEPS.iter().filter(|(name, _)| wanted(name)).count(), &course.summary));
    let failed = results.iter().any(|(_, _, outcome)| matches!(outcome, Outcome::Failed(_)));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The closing table: each step that ran, how many did not, and the test runner's own last lines.
fn closing(results: &[(&str, Duration, Outcome)], steps: usize, summary: &[String]) -> String {
    let mut text = String::from("\n");
    for (name, elapsed, outcome) in results {
        let (word, reason) = match outcome {
            Outcome::Passed => ("passed", String::new()),
            Outcome::Skipped(reason) => ("SKIPPED", format!("  {reason}")),
            Outcome::Failed(reason) => ("FAILED", format!("  {reason}")),
        };
        text.push_str(&format!("{:>8.1} s  {word:<8} {name}{reason}\n", elapsed.as_secs_f64()));
    }
    let total: Duration = results.iter().map(|(_, elapsed, _)| *elapsed).sum();
    text.push_str(&format!("{:>8.1} s  {} of {steps} steps ran\n", total.as_secs_f64(), results.len()));
    for line in summary {
        text.push_str(line);
        text.push('\n');
    }
    text
}

fn cargo(arguments: &[&str]) -> Result<Outcome> {
    process::run(&mut process::cargo(arguments)).map(|()| Outcome::Passed)
}

fn install(course: &mut Course) -> Result<Outcome> {
    if course.options.no_install {
        return Ok(Outcome::Passed);
    }
    match install::install(&[Purpose::Bpf, Purpose::Demo, Purpose::Tests]) {
        Ok(()) => Ok(Outcome::Passed),
        Err(error) => Ok(Outcome::Skipped(format!("{error:#}"))),
    }
}

fn bpf_objects(_: &mut Course) -> Result<Outcome> {
    Ok(match bpf::check()? {
        bpf::Verdict::Current => Outcome::Passed,
        bpf::Verdict::NotRebuilt(reason) => Outcome::Skipped(reason),
        bpf::Verdict::Stale(reason) => Outcome::Failed(reason),
    })
}

fn tests(course: &mut Course) -> Result<Outcome> {
    let mut command = if workspace::find_tool("cargo-nextest").is_some() {
        process::cargo(&["nextest", "run", "--release", "--locked", "--workspace", "--no-tests=pass"])
    } else {
        // Without groups of tests, live ones take turns only if all do. Benches are no tests, whatever `--all-targets` thinks.
        let mut cargo = process::cargo(&["test", "--release", "--locked", "--workspace", "--tests", "--no-fail-fast"]);
        cargo.env("RUST_TEST_THREADS", "1");
        cargo
    };
    run_suites(course, &mut command)
}

fn doc_tests(course: &mut Course) -> Result<Outcome> {
    run_suites(course, &mut process::cargo(&["test", "--release", "--locked", "--workspace", "--doc"]))
}

/// Runs test suites with what they ask their environment for, and keeps the runner's own summary.
fn run_suites(course: &mut Course, command: &mut Command) -> Result<Outcome> {
    command.env("AUSCULT_BIN", workspace::target().join("release/auscult"));
    if let Some(corpus) = workspace::corpus() {
        command.env("AUSCULT_CORPUS", corpus);
    }
    if let Some(python) = install::python() {
        command.env("AUSCULT_PYTHON", python);
    }
    if let Some(object) = bpf::rebuilt() {
        command.env("AUSCULT_BPF_OBJECT", object);
    }
    if course.skips == Skips::Fail {
        command.env("AUSCULT_REQUIRE_ALL", "1").env("CI", "true").env("INSTA_UPDATE", "no");
    }
    let (status, kept) = process::run_keeping(command, |line| is_summary(line) || line.starts_with("SKIPPED:"))?;
    let (skipped, summary): (Vec<_>, Vec<_>) = kept.into_iter().partition(|line| line.starts_with("SKIPPED:"));
    course.summary.extend(combined(&summary));
    if !status.success() {
        bail!("{} ended with {status}", process::show(command));
    }
    match skipped.first() {
        Some(first) if course.skips == Skips::Fail => bail!("{} tests were skipped, the first: {first}", skipped.len()),
        _ => Ok(Outcome::Passed),
    }
}

/// Whether a line is the summary of a whole run (nextest) or of one of its binaries (cargo test).
fn is_summary(line: &str) -> bool {
    line.trim_start().starts_with("Summary [") || line.starts_with("test result: ")
}

/// One summary for the many that `cargo test` prints, one per binary; nextest's own is left as it is.
fn combined(lines: &[String]) -> Vec<String> {
    let (results, mut summary): (Vec<_>, Vec<_>) = lines.iter().cloned().partition(|line| line.starts_with("test result: "));
    if !results.is_empty() {
        let count = |word: &str| results.iter().filter_map(|line| count_of(line, word)).sum::<u64>();
        let (passed, failed, ignored) = (count("passed"), count("failed"), count("ignored"));
        let word = if failed == 0 { "ok" } else { "FAILED" };
        summary.push(format!(
            "test result: {word}. {passed} passed; {failed} failed; {ignored} ignored; {} binaries",
            results.len()
        ));
    }
    summary
}

fn count_of(line: &str, word: &str) -> Option<u64> {
    line.split(['.', ';']).find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok())
}

fn documentation(_: &mut Course) -> Result<Outcome> {
    // With private items: these pages are for those who work on the code, and every link in it is checked.
    let arguments = ["doc", "--release", "--locked", "--workspace", "--no-deps", "--document-private-items"];
    let flags = "-D warnings -A rustdoc::private-intra-doc-links";
    process::run(process::cargo(&arguments).env("RUSTDOCFLAGS", flags)).map(|()| Outcome::Passed)
}

fn licences(course: &mut Course) -> Result<Outcome> {
    if course.options.with_deny {
        install::install(&[Purpose::Deny])?;
    }
    licences::check().map(|()| Outcome::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_table_says_what_ran_and_what_did_not() {
        let results = [
            ("format", Duration::from_millis(1_500), Outcome::Passed),
            ("tests", Duration::from_secs(60), Outcome::Failed("two of them".into())),
        ];
        let expected =
            "\n     1.5 s  passed   format\n    60.0 s  FAILED   tests  two of them\n    61.5 s  2 of 9 steps ran\n7 tests\n";
        assert_eq!(closing(&results, 9, &["7 tests".into()]), expected);
    }

    #[test]
    fn many_summaries_become_one() {
        let lines = [
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s".to_owned(),
            "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s".to_owned(),
        ];
        assert_eq!(combined(&lines), ["test result: FAILED. 7 passed; 2 failed; 1 ignored; 2 binaries"]);
        let nextest = ["     Summary [   0.013s] 5 tests run: 5 passed, 0 skipped".to_owned()];
        assert!(is_summary(&nextest[0]));
        assert_eq!(combined(&nextest), nextest);
    }
}
