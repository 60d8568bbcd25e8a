//! Which compiler can build for the BPF target here: a distribution's, with the target's `core`, or nightly Rust with sources.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::{process, workspace};

/// Compiler flags of every build, in provenance word for word.
pub const FLAGS: &[&str] = &[
    "-Clinker=bpf-linker",
    "-Cdebuginfo=2",
    "-Clink-arg=--btf",
    "--cfg=bpf_target_arch=\"x86_64\"",
    // Frames are read at any offset; the kernel allows it where the machine does.
    "-Ctarget-feature=+allows-misaligned-mem-access",
];

/// Where the packaged compiler is, and the standard library that makes it one for BPF.
const PACKAGED_RUSTC: &str = "/usr/bin/rustc";
const PACKAGED_CARGO: &str = "/usr/bin/cargo";
const PACKAGED_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none/lib";

/// A way to build for BPF.
#[derive(Debug)]
pub struct Toolchain {
    kind: Kind,
    linker: PathBuf,
    /// `llvm-strip`: removes debugging sections.
    pub strip: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The distribution's compiler, with `core` built for the target.
    Packaged,
    /// `rustup`'s nightly, which builds `core` from its sources.
    Nightly,
}

/// The versions of the tools an object was built with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Versions {
    rustc: String,
    cargo: String,
    linker: String,
    strip: String,
}

impl fmt::Display for Versions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, {}, {}, {}", self.rustc, self.cargo, self.linker, self.strip)
    }
}

impl Toolchain {
    /// The way to build for BPF here, or what is missing and how to get it.
    pub fn find() -> Result<Self, String> {
        let kind = if Path::new(PACKAGED_RUSTC).exists() && Path::new(PACKAGED_CORE).exists() {
            Kind::Packaged
        } else if nightly_sources().is_some_and(|sources| sources.join("core").is_dir()) {
            Kind::Nightly
        } else {
            return Err("no compiler for the BPF target; run `cargo xtask install`, or \
                        `rustup toolchain install nightly --component rust-src`"
                .into());
        };
        let linker = workspace::find_tool("bpf-linker").ok_or("there is no bpf-linker; run `cargo xtask install`")?;
        let packaged = Path::new("/usr/lib/llvm-22/bin/llvm-strip");
        let strip = Some(packaged.to_path_buf())
            .filter(|strip| strip.exists())
            .or_else(|| workspace::find_tool("llvm-strip"))
            .ok_or("there is no llvm-strip; run `cargo xtask install`")?;
        Ok(Self { kind, linker, strip })
    }

    /// What is used, for people.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Packaged => "the distribution's compiler and its core for BPF",
            Kind::Nightly => "nightly Rust and core from its sources",
        }
    }

    /// Cargo, set up to build for BPF and to leave no path of this machine in what it builds.
    pub fn cargo(&self) -> Command {
        let mut cargo = match self.kind {
            Kind::Packaged => process::command(PACKAGED_CARGO),
            Kind::Nightly => process::command("rustup"),
        };
        process::strip_cargo_environment(&mut cargo);
        for name in
            ["RUSTFLAGS", "RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTC", "CARGO_TARGET_DIR", "CARGO"]
        {
            cargo.env_remove(name);
        }
        match self.kind {
            Kind::Packaged => cargo.env("RUSTC", PACKAGED_RUSTC).env("RUSTC_BOOTSTRAP", "1"),
            Kind::Nightly => cargo.args(["run", "nightly", "cargo", "-Zbuild-std=core"]),
        };
        // The linker is called by name: its path would make the crates' hashes differ from machine to machine.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = self.linker.parent().map(Path::to_path_buf).into_iter().chain(std::env::split_paths(&path));
        if let Ok(path) = std::env::join_paths(folders) {
            cargo.env("PATH", path);
        }
        let mut flags: Vec<_> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
        flags.extend(remapped().iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())));
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
        cargo
    }

    /// The versions of the tools it uses.
    pub fn versions(&self) -> Result<Versions> {
        let version = |program: &Path| process::output(process::command(program).arg("--version"));
        let (rustc, cargo) = match self.kind {
            Kind::Packaged => (version(Path::new(PACKAGED_RUSTC))?, version(Path::new(PACKAGED_CARGO))?),
            Kind::Nightly => (nightly(&["rustc", "--version"])?, nightly(&["cargo", "--version"])?),
        };
        let strip = version(&self.strip)?;
        let strip = strip.lines().find(|line| line.contains("version")).context("llvm-strip tells no version")?;
        Ok(Versions { rustc, cargo, linker: version(&self.linker)?, strip: format!("llvm-strip, {}", strip.trim()) })
    }
}

/// Folders of this machine and what stands for them in the object.
fn remapped() -> BTreeMap<PathBuf, &'static str> {
    let mut folders = BTreeMap::new();
    if let Some(home) = workspace::cargo_home() {
        let registries = fs::read_dir(home.join("registry/src")).into_iter().flatten().flatten();
        folders.extend(registries.map(|registry| (registry.path(), "registry")));
        folders.insert(home, "cargo");
    }
    folders.extend(nightly_sources().map(|sources| (sources, "rust")));
    folders.insert(workspace::target(), "target");
    folders.insert(workspace::root(), "auscult");
    folders
}

/// The sources of nightly's standard library, where they would be.
fn nightly_sources() -> Option<PathBuf> {
    workspace::find_tool("rustup")?;
    let sysroot = nightly(&["rustc", "--print", "sysroot"]).ok()?;
    Some(Path::new(&sysroot).join("lib/rustlib/src/rust/library"))
}

fn nightly(arguments: &[&str]) -> Result<String> {
    process::output(process::command("rustup").args(["run", "nightly"]).args(arguments))
}
