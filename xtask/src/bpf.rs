//! `cargo xtask bpf`: sources under `engine-ebpf/` → the committed BPF objects and their provenance.
//!
//! The objects are committed so that building engine and benches takes nothing but stable Rust. Their provenance says which
//! sources and which tools they came from; `--check` fails when either no longer tells the truth.

mod image;
mod provenance;
mod toolchain;
mod verifier;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::{process, workspace};
use image::Image;
use provenance::Provenance;
use toolchain::Toolchain;

/// The package the objects are built from, the binaries in it, the profile they are built with.
const PACKAGE: &str = "auscult-ebpf";
/// What the engine loads.
const TAP: &str = "auscult-tap";
/// What only `cargo xtask bench kernel` loads.
const BENCH: &str = "auscult-bench";
const BINARIES: [&str; 2] = [TAP, BENCH];
const PROFILE: &str = "bpf";
const TARGET: &str = "bpfel-unknown-none";
/// Where the committed objects and their provenance are.
const FOLDER: &str = "engine-ebpf/object";
const PROVENANCE: &str = "provenance.toml";

/// The file of a binary's object.
fn file_of(binary: &str) -> String {
    format!("{binary}.bpf.o")
}

/// What to do with the objects.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Changes nothing; fails when a committed object is not what its sources make
    #[arg(long)]
    check: bool,
}

/// What a check found.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The committed objects are what their sources make.
    Current,
    /// Sources and provenance agree, but the objects could not be built again here.
    NotRebuilt(String),
    /// A committed object is not what its sources make.
    Stale(String),
}

/// Builds the objects into the repository, or checks those that are there.
pub fn run(options: &Options) -> Result<ExitCode> {
    if options.check {
        return Ok(match check()? {
            Verdict::Current => ExitCode::SUCCESS,
            Verdict::NotRebuilt(reason) => {
                println!("SKIPPED: the rebuild: {reason}");
                if workspace::is_ci() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
            }
            Verdict::Stale(reason) => {
                eprintln!("error: {reason}");
                ExitCode::FAILURE
            }
        });
    }
    let toolchain = Toolchain::find().map_err(anyhow::Error::msg)?;
    let built = build(&toolchain)?;
    let folder = workspace::root().join(FOLDER);
    fs::create_dir_all(&folder)?;
    for name in BINARIES.map(file_of).iter().map(String::as_str).chain([PROVENANCE]) {
        fs::copy(built.join(name), folder.join(name)).with_context(|| format!("cannot write {FOLDER}/{name}"))?;
        println!("wrote {FOLDER}/{name}");
    }
    for binary in BINARIES {
        report(binary, &fs::read(folder.join(file_of(binary)))?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Holds the committed objects against their provenance, their sources and a rebuild.
pub fn check() -> Result<Verdict> {
    let folder = workspace::root().join(FOLDER);
    let stale = |what: String| Ok(Verdict::Stale(format!("{what}; run `cargo xtask bpf` and commit {FOLDER}")));
    let provenance = match Provenance::read(&folder.join(PROVENANCE)) {
        Ok(provenance) => provenance,
        Err(error) => return stale(format!("{error:#}")),
    };
    if provenance.source.sha256 != provenance::source_hash()? {
        return stale("the sources have changed since the objects were built".into());
    }
    let mut committed = Vec::new();
    for binary in BINARIES {
        let file = file_of(binary);
        let Ok(bytes) = fs::read(folder.join(&file)) else { return stale(format!("there is no {FOLDER}/{file}")) };
        if provenance.hash_of(&file) != Some(&provenance::sha256(&bytes)) {
            return stale(format!("{FOLDER}/{file} is not the object its provenance speaks of"));
        }
        report(binary, &bytes)?;
        committed.push((file, bytes));
    }
    println!("the objects' provenance names these sources");
    let toolchain = match Toolchain::find() {
        Ok(toolchain) => toolchain,
        Err(reason) => return Ok(Verdict::NotRebuilt(reason)),
    };
    let built = build(&toolchain)?;
    let versions = toolchain.versions()?;
    for (file, committed) in &committed {
        let rebuilt = fs::read(built.join(file))?;
        if rebuilt == *committed {
            println!("{file}: the rebuilt object is the committed one, byte for byte");
            continue;
        }
        let differing = Image::read(committed)?.differing_sections(&Image::read(&rebuilt)?);
        if provenance.tools != versions {
            println!("{file}: other tools built the committed object; sections that differ: {}", differing.join(" "));
            println!("  committed: {}\n  here:      {}", provenance.tools, versions);
        } else if differing.is_empty() {
            println!("{file}: the rebuilt object differs in names only, not in code, data or maps");
        } else {
            return stale(format!("{file}: the same tools build other code from these sources, in {}", differing.join(" ")));
        }
    }
    Ok(Verdict::Current)
}

/// The engine's object that the last build here left, if these are still the sources it was built from.
pub fn rebuilt() -> Option<PathBuf> {
    let folder = build_folder();
    let provenance = Provenance::read(&folder.join(PROVENANCE)).ok()?;
    let is_current = provenance::source_hash().is_ok_and(|hash| hash == provenance.source.sha256);
    Some(folder.join(file_of(TAP))).filter(|object| is_current && object.is_file())
}

fn build_folder() -> PathBuf {
    workspace::target().join("bpf")
}

/// Builds the objects and their provenance into the build folder, which it returns.
fn build(toolchain: &Toolchain) -> Result<PathBuf> {
    println!("building the BPF objects with {}", toolchain.name());
    let folder = build_folder();
    let mut cargo = toolchain.cargo();
    cargo.args(["build", "--locked", "--profile", PROFILE, "--target", TARGET, "--package", PACKAGE, "--features", "bpf"]);
    cargo.args(BINARIES.iter().flat_map(|binary| ["--bin", binary]));
    process::run(cargo.arg("--target-dir").arg(&folder))?;
    let mut objects = Vec::new();
    for binary in BINARIES {
        let linked = folder.join(TARGET).join(PROFILE).join(binary);
        ensure!(linked.is_file(), "the build left no {}", linked.display());
        let file = file_of(binary);
        // Debugging sections hold nothing the kernel reads: BTF is what stays.
        let mut strip = process::command(&toolchain.strip);
        process::run(strip.arg("--strip-debug").arg("-o").arg(folder.join(&file)).arg(&linked))?;
        let bytes = fs::read(folder.join(&file))?;
        ensure_no_machine_path(&file, &bytes)?;
        objects.push((file, bytes));
    }
    Provenance::of(&objects, toolchain)?.write(&folder.join(PROVENANCE))?;
    Ok(folder)
}

/// An object that names a folder of this machine would not be the same elsewhere.
fn ensure_no_machine_path(file: &str, object: &[u8]) -> Result<()> {
    let folders = [Some(workspace::root()), Some(workspace::target()), workspace::cargo_home()];
    for folder in folders.iter().flatten().map(PathBuf::as_path).filter(|folder| *folder != Path::new("/")) {
        let name = folder.as_os_str().as_encoded_bytes();
        let found = object.windows(name.len()).any(|window| window == name);
        ensure!(!found, "{file} names {}: a path is not remapped", folder.display());
    }
    Ok(())
}

/// Shows what each program takes: instructions, and as root what the kernel's verifier says about it.
fn report(binary: &str, object: &[u8]) -> Result<()> {
    let image = Image::read(object)?;
    println!("{}: {} bytes, BTF {} bytes", file_of(binary), object.len(), image.size_of(".BTF"));
    for (name, size) in image.code_sections() {
        println!("  section {name}: {} instructions", size / 8);
    }
    for (name, map) in &image.maps {
        println!("  map {name}: {map}");
    }
    if !workspace::is_root() {
        println!("  not root: what the verifier says is not known");
        return Ok(());
    }
    for program in verifier::verify(object)? {
        println!("  program {program}");
    }
    Ok(())
}
