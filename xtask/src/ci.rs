//! `cargo xtask ci`: `test` with the rules of continuous integration, where a skipped suite is a failure.

use std::process::ExitCode;

use anyhow::Result;

use crate::test;

/// Runs every step of `test`; nothing may be skipped.
pub fn run(options: &test::Options) -> Result<ExitCode> {
    test::run_with(options, test::Skips::Fail)
}
