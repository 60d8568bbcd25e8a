//! Everything a contributor runs: one documented variant per command.
#![expect(clippy::disallowed_methods, reason = "xtask times its own steps; no packet's time passes through it")]

mod bench;
mod bpf;
mod ci;
mod demo;
mod docs;
mod fuzz;
mod install;
mod lab;
mod licences;
mod oui;
mod process;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What a contributor to Auscult runs.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// One variant per command; its first line is also its row in the README.
#[derive(Debug, Subcommand)]
enum Command {
    /// Builds the engine and shows it at work on a small hospital of its own making
    ///
    /// As root on a kernel with BPF, the scene plays in network namespaces through a software SPAN port and the real
    /// eBPF path; otherwise the same scene is replayed. Ends with the exit code of `auscult demo`.
    Demo(demo::Options),
    /// Runs everything CI runs, in order, and stops at the first failure
    Test(test::Options),
    /// Fuzzes parser, meter, sampler, rings, files and configuration from the kept inputs
    ///
    /// Needs a stable compiler and a C++ compiler. An input that breaks a law is kept under `tests/fuzz/crash`.
    Fuzz(fuzz::Options),
    /// Builds the BPF objects and their provenance
    ///
    /// With `--check`, builds them elsewhere and fails when a committed object is stale; prints the instruction count,
    /// verifier work and stack use of every program in them.
    Bpf(bpf::Options),
    /// Runs a bench: kernel, biflow, lake, pipeline, live, peers or all
    Bench(bench::BenchOptions),
    /// Measures the engine against ground truth over the whole corpus
    Eval(bench::EvalOptions),
    /// Plays a hospital of real programs in namespaces past the engine and compares its inventory with the truth
    ///
    /// Needs root. What follows `--` are thresholds of `tests/lab/compare.py`, by which it ends.
    Lab(lab::Options),
    /// Checks the house rules that neither the compiler nor clippy knows
    Tidy,
    /// Writes the generated tables of the documents again
    Docs(docs::Options),
    /// Writes the table of organisations by MAC prefix again
    Oui(oui::Options),
    /// Installs what the suites, the benches and the BPF build need
    Install(install::Options),
    /// What `.ci/run` calls: `test`, where a skipped suite is a failure
    Ci(test::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Bpf(options) => bpf::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Eval(options) => bench::eval(&options),
        Command::Lab(options) => lab::run(&options),
        Command::Tidy => tidy::run(),
        Command::Docs(options) => docs::run(&options),
        Command::Oui(options) => oui::run(&options),
        Command::Install(options) => install::run(&options),
        Command::Ci(options) => ci::run(&options),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
