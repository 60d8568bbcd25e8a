//! `cargo xtask bench` and `cargo xtask eval`: what is measured, on a release build.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::install::{self, Purpose};
use crate::{docs, process, workspace};

/// A bench, a target of the package `auscult-benches` with the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Bench {
    /// What a packet costs in the kernel, against a map of flows; needs root
    Kernel,
    /// The biflow table: deltas per second, memory per flow
    Biflow,
    /// Parquet: rows per second, bytes per row by column
    Lake,
    /// Replay from a capture to Parquet
    Pipeline,
    /// The live path from frames made in the kernel to Parquet, against a program that only counts; needs root
    Live,
    /// The same captures through nfpcapd, softflowd, argus, ndpiReader, NFStream and tcpdump, interleaved
    Peers,
    /// Each of them, in this order
    All,
}

/// Which bench, and what it gets.
#[derive(Debug, clap::Args)]
pub struct BenchOptions {
    /// What to measure
    #[arg(value_enum)]
    bench: Bench,
    /// Prints figures for machines
    #[arg(long)]
    json: bool,
    /// Of peers: keeps the figures in benches/peers.json, writes the README's table from them, and prints it
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// What the bench gets
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// A meter to be held against ground truth, the binary `eval-<name>` of the package `auscult-tests`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Eval {
    /// Packets, octets and conversations of every capture, against capinfos and tshark
    Meter,
    /// What labelled captures of single devices are taken for; --leave-one-out, --runs N
    Devices,
}

/// Which evaluation, and what it gets.
#[derive(Debug, clap::Args)]
pub struct EvalOptions {
    /// What to evaluate
    #[arg(value_enum)]
    eval: Eval,
    /// What the evaluation gets
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs the bench, or each of them; the first failure ends it.
pub fn run(options: &BenchOptions) -> Result<ExitCode> {
    ensure!(!options.markdown || options.bench == Bench::Peers, "--markdown is for the bench peers alone");
    let benches = Bench::value_variants().iter().copied().filter(|bench| *bench != Bench::All);
    for bench in benches.filter(|bench| options.bench == Bench::All || options.bench == *bench) {
        if bench == Bench::Peers {
            install::peers();
            process::run(&mut process::cargo(&["build", "--release", "--locked", "--package", "auscult"]))?;
        }
        let name = name_of(bench)?;
        let mut cargo = process::cargo(&["bench", "--locked", "--package", "auscult-benches", "--bench", &name, "--"]);
        if options.json || options.markdown {
            cargo.arg("--json");
        }
        let cargo = with_corpus(cargo.args(&options.arguments));
        if options.markdown {
            print!("{}", docs::keep_peers(&process::printed(cargo)?)?);
        } else {
            process::run(cargo)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the evaluation over the corpus.
pub fn eval(options: &EvalOptions) -> Result<ExitCode> {
    install::install(&[Purpose::Tests])?;
    let binary = format!("eval-{}", name_of(options.eval)?);
    let mut cargo = process::cargo(&["run", "--release", "--locked", "--package", "auscult-tests", "--bin", &binary, "--"]);
    process::run(with_corpus(cargo.args(&options.arguments)))?;
    Ok(ExitCode::SUCCESS)
}

fn with_corpus(command: &mut std::process::Command) -> &mut std::process::Command {
    match workspace::corpus() {
        Some(corpus) => command.env("AUSCULT_CORPUS", corpus),
        None => command,
    }
}

fn name_of(value: impl ValueEnum) -> Result<String> {
    Ok(value.to_possible_value().context("a variant without a name")?.get_name().to_owned())
}
