//! Where the committed objects came from: their sources' hash, the tools, the flags; of each its hash and what is in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::image::{Image, MapSize};
use super::toolchain::{FLAGS, Toolchain, Versions};
use super::{PACKAGE, PROFILE, TARGET};
use crate::workspace;

const HEADER: &str = "# Written by `cargo xtask bpf`; `cargo xtask bpf --check` holds it against the sources.\n\n";

/// The origin of the objects, which are built together.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// What they were built from.
    pub source: SourceHash,
    /// What they were built with.
    pub tools: Versions,
    /// How they were built.
    pub build: Build,
    /// The objects themselves.
    pub object: Vec<BuiltObject>,
}

/// One object.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuiltObject {
    file: String,
    /// SHA-256, hexadecimal.
    sha256: String,
    bytes: usize,
    /// Instructions by section.
    instructions: BTreeMap<String, usize>,
    /// Its maps.
    maps: BTreeMap<String, MapSize>,
}

/// What an object was built from.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceHash {
    /// SHA-256 over sources, manifest, profile and locked dependencies; hexadecimal.
    pub sha256: String,
}

/// How an object was built.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    target: String,
    profile: String,
    rustflags: Vec<String>,
}

impl Provenance {
    /// The provenance of objects (file name, bytes) that were just built from the sources here.
    pub fn of(objects: &[(String, Vec<u8>)], toolchain: &Toolchain) -> Result<Self> {
        Ok(Self {
            source: SourceHash { sha256: source_hash()? },
            tools: toolchain.versions()?,
            build: Build {
                target: TARGET.into(),
                profile: PROFILE.into(),
                rustflags: FLAGS.iter().map(ToString::to_string).collect(),
            },
            object: objects.iter().map(|(file, bytes)| BuiltObject::of(file, bytes)).collect::<Result<_>>()?,
        })
    }

    /// The hash of the object with that file name.
    pub fn hash_of(&self, file: &str) -> Option<&String> {
        self.object.iter().find(|object| object.file == file).map(|object| &object.sha256)
    }

    /// Reads it.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("cannot understand {}", path.display()))
    }

    /// Writes it.
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, HEADER.to_owned() + &toml::to_string(self)?).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl BuiltObject {
    fn of(file: &str, bytes: &[u8]) -> Result<Self> {
        let image = Image::read(bytes)?;
        Ok(Self {
            file: file.into(),
            sha256: sha256(bytes),
            bytes: bytes.len(),
            instructions: image.code_sections().map(|(name, size)| (name.to_owned(), size / 8)).collect(),
            maps: image.maps,
        })
    }
}

/// SHA-256, hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash of everything in the repository that the object depends on: sources, manifest, profile, locked dependencies.
pub fn source_hash() -> Result<String> {
    let root = workspace::root();
    let mut parts = BTreeMap::new();
    for path in rust_files(&root.join("engine-ebpf/src"))?.into_iter().chain([root.join("engine-ebpf/Cargo.toml")]) {
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        parts.insert(path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().into_owned(), text);
    }
    let table = |name: &str| -> Result<toml::Table> {
        fs::read_to_string(root.join(name))?.parse().with_context(|| format!("cannot understand {name}"))
    };
    let manifest = table("Cargo.toml")?;
    let profile = |name: &str| manifest.get("profile").and_then(|profiles| profiles.get(name)).cloned();
    for name in [PROFILE, "release"] {
        let profile = profile(name).with_context(|| format!("Cargo.toml has no profile `{name}`"))?;
        parts.insert(format!("profile {name}"), profile.to_string().into_bytes());
    }
    parts.insert("dependencies".into(), locked(&table("Cargo.lock")?, PACKAGE)?.join("\n").into_bytes());
    let mut hash = Sha256::new();
    for (name, bytes) in &parts {
        for part in [name.as_bytes(), bytes] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

/// Each package that one depends on, with version and checksum, from a lock file; sorted.
fn locked(lock: &toml::Table, package: &str) -> Result<Vec<String>> {
    let packages = lock.get("package").and_then(toml::Value::as_array).context("Cargo.lock has no packages")?;
    let text = |package: &toml::Value, key: &str| package.get(key).and_then(toml::Value::as_str).unwrap_or_default().to_owned();
    let mut reached = BTreeMap::new();
    let mut wanted = vec![package.to_owned()];
    while let Some(dependency) = wanted.pop() {
        // A dependency is written as its name, with the version only where the name alone would not do.
        let (name, version) = dependency.split_once(' ').unwrap_or((&dependency, ""));
        let is_it = |package: &&toml::Value| {
            text(package, "name") == name && (version.is_empty() || version.split(' ').next() == Some(&text(package, "version")))
        };
        let found = packages.iter().find(is_it).with_context(|| format!("Cargo.lock has no package {dependency}"))?;
        let line = format!("{name} {} {}", text(found, "version"), text(found, "checksum"));
        if reached.insert(line, ()).is_none() {
            let dependencies = found.get("dependencies").and_then(toml::Value::as_array).into_iter().flatten();
            wanted.extend(dependencies.filter_map(toml::Value::as_str).map(str::to_owned));
        }
    }
    Ok(reached.into_keys().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_reached_counts() -> Result<()> {
        let lock = "[[package]]\nname='a'\nversion='1'\ndependencies=['b 2.0','c']\n[[package]]\nname='b'\nversion='1.0'\nchecksum='x'\n\
                    [[package]]\nname='b'\nversion='2.0'\nchecksum='y'\n[[package]]\nname='c'\nversion='3'\ndependencies=['a']\n\
                    [[package]]\nname='d'\nversion='4'\n";
        assert_eq!(locked(&lock.parse()?, "a")?, ["a 1 ", "b 2.0 y", "c 3 "]);
        assert!(locked(&lock.parse()?, "e").is_err());
        Ok(())
    }

    #[test]
    fn hashes_are_sha256() {
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
