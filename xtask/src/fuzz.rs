//! `cargo xtask fuzz`: the fuzz targets of `tests/fuzz` under libFuzzer, for a bounded time, from the kept inputs.
//!
//! What `cargo fuzz` does is done here with plain cargo: coverage counters come from LLVM's own pass, which the stable compiler runs when
//! asked to, and the crate `libfuzzer-sys` builds libFuzzer from its sources. So a stable compiler and a C++ compiler are all it takes. Only
//! our own packages are built for it (`tests/fuzz/instrument`); their dependencies are those of every release build. The address sanitizer
//! alone is not stable: `--address` has the compiler allow it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use anyhow::{Context, Result, bail, ensure};

use crate::{process, workspace};

/// Each target's time in a run of all suites.
pub const SECONDS_OF_TEST: u32 = 10;
/// Memory after which an input counts as a failure: the largest buffers that the bodies can ask for are a tenth of it.
const MEMORY_MIB: u32 = 2048;
/// Seconds after which one input counts as a failure: a thousand times what the slowest kept one takes.
const INPUT_SECONDS: u32 = 25;
/// Longest input, octets: some dozens of frames.
const INPUT_OCTETS: u32 = 4096;

/// What to fuzz, and for how long.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Targets; all when none is named
    targets: Vec<String>,
    /// Time per target
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    seconds: u32,
    /// Watches every access to memory, too, at half the speed
    #[arg(long)]
    address: bool,
    /// Afterwards keeps the fewest inputs, old and found, that reach all that was reached
    #[arg(long)]
    keep: bool,
}

/// Where the parts of one target are.
struct Target {
    name: String,
    binary: PathBuf,
    kept: PathBuf,
    crashes: PathBuf,
    found: PathBuf,
}

impl Target {
    fn command(&self) -> std::process::Command {
        let mut command = process::command(&self.binary);
        command.env("FUZZ_TARGET", &self.name);
        command
    }
}

/// Fuzzes the targets, one after the other; the first that an input breaks ends it.
pub fn run(options: &Options) -> Result<ExitCode> {
    let all = names()?;
    if let Some(unknown) = options.targets.iter().find(|name| !all.contains(name)) {
        bail!("there is no fuzz target {unknown}; there are {}", all.join(", "));
    }
    let wanted = if options.targets.is_empty() { all } else { options.targets.clone() };
    for target in build(options.address, &wanted)? {
        fuzz(&target, options.seconds)?;
        if options.keep {
            keep(&target)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Every target for the time that it has in a run of all suites.
pub fn short() -> Result<()> {
    run(&Options { targets: Vec::new(), seconds: SECONDS_OF_TEST, address: false, keep: false }).map(drop)
}

fn folder() -> PathBuf {
    workspace::root().join("tests/fuzz")
}

/// The targets, by their kept inputs.
fn names() -> Result<Vec<String>> {
    let entries = fs::read_dir(folder().join("corpus")).context("cannot list tests/fuzz/corpus")?;
    let mut names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn build(address: bool, wanted: &[String]) -> Result<Vec<Target>> {
    let mut cargo = process::cargo(&["build", "--release", "--locked", "--package", "auscult-fuzz", "--features", "libfuzzer"]);
    cargo.env("RUSTC_WORKSPACE_WRAPPER", folder().join("instrument"));
    let built = workspace::target();
    if address {
        cargo.env("AUSCULT_FUZZ_FLAGS", "-Zsanitizer=address").env("RUSTC_BOOTSTRAP", "1");
        cargo.arg("--target-dir").arg(built.join("fuzz-address"));
    }
    process::run(&mut cargo)?;
    let built = if address { built.join("fuzz-address") } else { built };
    let target = |name: &String| Target {
        binary: built.join("release/fuzz"),
        kept: folder().join("corpus").join(name),
        crashes: folder().join("crash").join(name),
        found: built.join("fuzz").join(name),
        name: name.clone(),
    };
    Ok(wanted.iter().map(target).collect())
}

/// One target for so long. An input that breaks it is kept under a name, and is an error.
fn fuzz(target: &Target, seconds: u32) -> Result<()> {
    let artifacts = target.found.with_extension("broken");
    for folder in [&target.found, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut command = target.command();
    command.arg(format!("-max_total_time={seconds}")).args(limits()).arg("-print_final_stats=1").arg("-verbosity=0");
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    // New inputs go into the first folder; the others are only read.
    command.args([&target.found, &target.kept]);
    if target.crashes.is_dir() {
        command.arg(&target.crashes);
    }
    let (status, kept) = process::run_keeping(&mut command, |line| line.starts_with("stat::") || line.contains(" cov: "))?;
    if !status.success() {
        let named = name_broken(target, &artifacts)?;
        bail!(
            "fuzz target {} ended with {status}{}",
            target.name,
            named.map_or_else(String::new, |path| format!(
                "; the input is kept as {}: repair what it broke and say in tests/fuzz/README.md what that was",
                path.strip_prefix(workspace::root()).unwrap_or(&path).display()
            ))
        );
    }
    let executions = executions(&kept).with_context(|| format!("{} does not say how many inputs it tried", target.name))?;
    ensure!(executions > 0, "{} tried no input in {seconds} s", target.name);
    println!("{}: {executions} inputs in {seconds} s, none broke it", target.name);
    Ok(())
}

fn limits() -> [String; 3] {
    [format!("-rss_limit_mb={MEMORY_MIB}"), format!("-timeout={INPUT_SECONDS}"), format!("-max_len={INPUT_OCTETS}")]
}

fn executions(lines: &[String]) -> Option<u64> {
    lines.iter().find_map(|line| line.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok())
}

/// Moves what libFuzzer left of a failure among the kept crashes; `None` when it left nothing.
fn name_broken(target: &Target, artifacts: &Path) -> Result<Option<PathBuf>> {
    let newest = |path: &PathBuf| path.metadata().and_then(|about| about.modified()).ok();
    let left: Vec<PathBuf> = fs::read_dir(artifacts)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    let Some(from) = left.into_iter().max_by_key(newest) else { return Ok(None) };
    fs::create_dir_all(&target.crashes)?;
    let to = target.crashes.join(name_of(&from));
    fs::copy(&from, &to).with_context(|| format!("cannot keep {}", to.display()))?;
    fs::remove_file(&from)?;
    Ok(Some(to))
}

/// A short name from the digest that libFuzzer names a file by: `crash-0123456789…` becomes `found_01234567`.
fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let digest = name.rsplit('-').next().unwrap_or_default();
    format!("found_{}", digest.chars().take(8).collect::<String>())
}

/// Keeps the fewest inputs that reach what the kept and the found ones reach together. Inputs that stay keep their names.
fn keep(target: &Target) -> Result<()> {
    let merged = target.found.with_extension("merged");
    let _ = fs::remove_dir_all(&merged);
    fs::create_dir_all(&merged)?;
    let mut command = target.command();
    command.arg("-merge=1").args(limits()).args([&merged, &target.kept, &target.found]);
    process::run(&mut command)?;
    let before = inputs(&target.kept)?;
    let mut after = inputs(&merged)?;
    ensure!(!after.is_empty(), "no input of {} is left", target.name);
    for (path, octets) in before {
        match after.iter().position(|(_, other)| *other == octets) {
            Some(place) => drop(after.swap_remove(place)),
            None => fs::remove_file(path)?,
        }
    }
    for (path, octets) in after {
        fs::write(target.kept.join(name_of(&path)), octets)?;
    }
    let kept = inputs(&target.kept)?;
    println!(
        "{}: {} inputs kept, {} octets",
        target.name,
        kept.len(),
        kept.iter().map(|(_, octets)| octets.len()).sum::<usize>()
    );
    Ok(())
}

fn inputs(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut inputs = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let octets = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        inputs.push((path, octets));
    }
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_digests() {
        assert_eq!(name_of(Path::new("a/crash-0123456789abcdef")), "found_01234567");
        assert_eq!(name_of(Path::new("a/fedcba9876543210")), "found_fedcba98");
    }

    #[test]
    fn every_folder_of_inputs_is_a_target() {
        let targets = fs::read_to_string(workspace::root().join("tests/harness/fuzz.rs")).expect("readable");
        let names = names().expect("targets");
        assert_eq!(names.len(), targets.matches("Target { name: ").count());
        for name in names {
            assert!(targets.contains(&format!("Target {{ name: \"{name}\"")), "{name} is no target");
            assert!(!inputs(&folder().join("corpus").join(&name)).expect("a folder of inputs").is_empty(), "{name}");
        }
    }

    #[test]
    fn executions_are_read_from_what_libfuzzer_prints() {
        let lines = ["stat::average_exec_per_sec:     14".to_owned(), "stat::number_of_executed_units: 1507".to_owned()];
        assert_eq!(executions(&lines), Some(1507));
    }
}
