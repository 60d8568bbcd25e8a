//! `cargo xtask bpf`: sources under `engine-ebpf/` → the committed BPF object and its provenance.
//!
//! The object is committed so that building the engine takes nothing but stable Rust. Its provenance says which sources and
//! which tools it came from; `--check` fails when either no longer tells the truth.

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

/// The package the object is built from, the binary in it, the profile it is built with.
const PACKAGE: &str = "auscult-ebpf";
const BINARY: &str = "auscult-tap";
const PROFILE: &str = "bpf";
const TARGET: &str = "bpfel-unknown-none";
/// Where the committed object and its provenance are.
const FOLDER: &str = "engine-ebpf/object";
const OBJECT: &str = "auscult-tap.bpf.o";
const PROVENANCE: &str = "provenance.toml";

/// What to do with the object.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Changes nothing; fails when the committed object is not what its sources make
    #[arg(long)]
    check: bool,
}

/// What a check found.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The committed object is what its sources make.
    Current,
    /// Sources and provenance agree, but the object could not be built again here.
    NotRebuilt(String),
    /// The committed object is not what its sources make.
    Stale(String),
}

/// Builds the object into the repository, or checks the one that is there.
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
    for name in [OBJECT, PROVENANCE] {
        fs::copy(built.join(name), folder.join(name)).with_context(|| format!("cannot write {FOLDER}/{name}"))?;
    }
    println!("wrote {FOLDER}/{OBJECT} and {FOLDER}/{PROVENANCE}");
    report(&fs::read(folder.join(OBJECT))?)?;
    Ok(ExitCode::SUCCESS)
}

/// Holds the committed object against its provenance, its sources and a rebuild.
pub fn check() -> Result<Verdict> {
    let folder = workspace::root().join(FOLDER);
    let stale = |what: String| Ok(Verdict::Stale(format!("{what}; run `cargo xtask bpf` and commit {FOLDER}")));
    let Ok(committed) = fs::read(folder.join(OBJECT)) else { return stale(format!("there is no {FOLDER}/{OBJECT}")) };
    let provenance = match Provenance::read(&folder.join(PROVENANCE)) {
        Ok(provenance) => provenance,
        Err(error) => return stale(format!("{error:#}")),
    };
    if provenance.object.sha256 != provenance::sha256(&committed) {
        return stale("the committed object is not the one its provenance speaks of".into());
    }
    if provenance.source.sha256 != provenance::source_hash()? {
        return stale("the sources have changed since the object was built".into());
    }
    println!("the object's provenance names these sources");
    report(&committed)?;
    let toolchain = match Toolchain::find() {
        Ok(toolchain) => toolchain,
        Err(reason) => return Ok(Verdict::NotRebuilt(reason)),
    };
    let rebuilt = fs::read(build(&toolchain)?.join(OBJECT))?;
    if rebuilt == committed {
        println!("the rebuilt object is the committed one, byte for byte");
        return Ok(Verdict::Current);
    }
    let differing = Image::read(&committed)?.differing_sections(&Image::read(&rebuilt)?);
    let versions = toolchain.versions()?;
    if provenance.tools != versions {
        println!("other tools built the committed object; sections that differ: {}", differing.join(" "));
        println!("  committed: {}\n  here:      {}", provenance.tools, versions);
        return Ok(Verdict::Current);
    }
    if differing.is_empty() {
        println!("the rebuilt object differs in names only, not in code, data or maps");
        return Ok(Verdict::Current);
    }
    stale(format!("the same tools build other code from these sources, in {}", differing.join(" ")))
}

/// The object that the last build here left, if these are still the sources it was built from.
pub fn rebuilt() -> Option<PathBuf> {
    let folder = build_folder();
    let provenance = Provenance::read(&folder.join(PROVENANCE)).ok()?;
    let is_current = provenance::source_hash().is_ok_and(|hash| hash == provenance.source.sha256);
    Some(folder.join(OBJECT)).filter(|object| is_current && object.is_file())
}

fn build_folder() -> PathBuf {
    workspace::target().join("bpf")
}

/// Builds the object and its provenance into the build folder, which it returns.
fn build(toolchain: &Toolchain) -> Result<PathBuf> {
    println!("building the BPF object with {}", toolchain.name());
    let folder = build_folder();
    let mut cargo = toolchain.cargo();
    cargo.args(["build", "--locked", "--profile", PROFILE, "--target", TARGET]);
    cargo.args(["--package", PACKAGE, "--bin", BINARY, "--features", "bpf"]);
    process::run(cargo.arg("--target-dir").arg(&folder))?;
    let linked = folder.join(TARGET).join(PROFILE).join(BINARY);
    ensure!(linked.is_file(), "the build left no {}", linked.display());
    let object = folder.join(OBJECT);
    // Debugging sections hold nothing the kernel reads: BTF is what stays.
    process::run(process::command(&toolchain.strip).arg("--strip-debug").arg("-o").arg(&object).arg(&linked))?;
    let bytes = fs::read(&object)?;
    ensure_no_machine_path(&bytes)?;
    Provenance::of(&bytes, toolchain)?.write(&folder.join(PROVENANCE))?;
    Ok(folder)
}

/// An object that names a folder of this machine would not be the same elsewhere.
fn ensure_no_machine_path(object: &[u8]) -> Result<()> {
    let folders = [Some(workspace::root()), Some(workspace::target()), workspace::cargo_home()];
    for folder in folders.iter().flatten().map(PathBuf::as_path).filter(|folder| *folder != Path::new("/")) {
        let name = folder.as_os_str().as_encoded_bytes();
        let found = object.windows(name.len()).any(|window| window == name);
        ensure!(!found, "the object names {}: a path is not remapped", folder.display());
    }
    Ok(())
}

/// Shows what each program takes: instructions, and as root what the kernel's verifier says about it.
fn report(object: &[u8]) -> Result<()> {
    let image = Image::read(object)?;
    println!("{OBJECT}: {} bytes, BTF {} bytes", object.len(), image.size_of(".BTF"));
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
