//! `cargo xtask demo`: from a fresh clone to the engine at work, in one command.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, ensure};

use crate::install::{self, Purpose};
use crate::{process, workspace};

/// How the demo is run.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Installs nothing; what is missing is missing
    #[arg(long)]
    no_install: bool,
    /// What `auscult demo` gets
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Says which path the scene will take, builds the engine, runs `auscult demo` and ends as it ends.
pub fn run(options: &Options) -> Result<ExitCode> {
    match live_path() {
        Ok(()) => {
            println!("root and BPF are there: the scene plays through the real eBPF path");
            if !options.no_install
                && let Err(error) = install::install(&[Purpose::Demo])
            {
                // `auscult demo` looks for itself and replays the scene when it cannot play it.
                println!("{error:#}");
            }
        }
        Err(reason) => println!("{reason}: the scene is replayed instead"),
    }
    process::run(&mut process::cargo(&["build", "--release", "--locked", "--package", "auscult", "--bin", "auscult"]))?;
    let engine = workspace::target().join("release/auscult");
    ensure!(engine.is_file(), "the build left no {}; is another target selected in a cargo configuration?", engine.display());
    let status = process::status(process::command(engine).arg("demo").args(&options.arguments))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Why the scene cannot play live, if it cannot. `auscult demo` decides for itself; this is for what to install and to say.
fn live_path() -> std::result::Result<(), String> {
    if !workspace::is_root() {
        return Err("not root".into());
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Err("this kernel has no BTF".into());
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    match kernel_version(&release) {
        Some(version) if version >= KERNEL_MIN => Ok(()),
        _ => Err(format!("kernel {} is older than {}.{}", release.trim(), KERNEL_MIN.0, KERNEL_MIN.1)),
    }
}

/// The oldest kernel the live path runs on: TCX, and test runs with bottom halves disabled.
const KERNEL_MIN: (u32, u32) = (6, 6);

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_are_read() {
        assert_eq!(kernel_version("6.18.44-fc-v657\n"), Some((6, 18)));
        assert_eq!(kernel_version("6.6.0"), Some((6, 6)));
        assert_eq!(kernel_version("linux"), None);
        assert!(kernel_version("5.15.0-generic") < Some(KERNEL_MIN));
    }
}
