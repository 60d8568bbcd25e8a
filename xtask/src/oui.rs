//! `cargo xtask oui`: the IEEE's assignments of MAC prefixes, as an npm package has them → the table that the engine embeds.
//!
//! The table's form is told where it is read, in `engine/src/identify/oui.rs`. The same package gives the same octets.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::{process, workspace};

/// The package, which has all three registries in one file.
const PACKAGE: &str = "oui-data";
/// Its version.
const VERSION: &str = "2.1.9";
/// zstd's level: the table is written once and read often.
const LEVEL: i32 = 19;
/// Hexadecimal digits of the prefixes of MA-L, MA-M and MA-S.
const DIGITS: [usize; 3] = [6, 7, 9];

/// Where the package comes from and the table goes.
#[derive(Debug, Args)]
pub struct Options {
    /// The package's tarball; without it, `npm pack` fetches it
    #[arg(long)]
    package: Option<PathBuf>,
    /// Folder of the table
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// Fetches the package, writes the table and what it is made of.
pub fn run(options: &Options) -> Result<ExitCode> {
    let folder = options.folder.clone().unwrap_or_else(|| workspace::root().join("engine/rules"));
    let work = workspace::target().join("oui");
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let package = match &options.package {
        Some(package) => package.clone(),
        None => fetch(&work)?,
    };
    process::run(process::command("tar").arg("-xzf").arg(&package).arg("-C").arg(&work))?;
    let index = work.join("package/index.json");
    let text = fs::read_to_string(&index).with_context(|| format!("cannot read {}", index.display()))?;
    let assignments: BTreeMap<String, String> = serde_json::from_str(&text).context("the package's index is no map of texts")?;
    let table = table(&assignments)?;
    let packed = zstd::bulk::compress(&table, LEVEL).context("cannot compress the table")?;
    fs::write(folder.join("oui.zst"), &packed).context("cannot write the table")?;
    fs::write(folder.join("oui.md"), provenance(&assignments, packed.len())).context("cannot write what the table is made of")?;
    println!("{} assignments, {} octets", assignments.len(), packed.len());
    Ok(ExitCode::SUCCESS)
}

/// `npm pack` into the folder; the tarball.
fn fetch(folder: &Path) -> Result<PathBuf> {
    let name = format!("{PACKAGE}@{VERSION}");
    process::run(process::command("npm").args(["pack", &name, "--pack-destination"]).arg(folder))?;
    Ok(folder.join(format!("{PACKAGE}-{VERSION}.tgz")))
}

/// The table, not compressed.
fn table(assignments: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let mut table = Vec::new();
    let mut known: HashMap<&str, u64> = HashMap::new();
    let mut names = String::new();
    let mut taken = 0;
    for digits in DIGITS {
        let kind: Vec<(&String, &str)> =
            assignments.iter().filter(|(prefix, _)| prefix.len() == digits).map(|(prefix, text)| (prefix, name(text))).collect();
        ensure!(!kind.is_empty(), "no prefixes of {digits} digits: the package is not what it was");
        taken += kind.len();
        number(&mut table, u64::try_from(kind.len())?);
        let mut last = 0;
        for (prefix, _) in &kind {
            let value = u64::from_str_radix(prefix, 16).with_context(|| format!("`{prefix}` is no prefix"))?;
            number(&mut table, value - last);
            last = value;
        }
        for (_, name) in &kind {
            let met = u64::try_from(known.len())?;
            let place = *known.entry(name).or_insert(met);
            number(&mut table, met - place);
            if place == met {
                writeln!(names, "{name}")?;
            }
        }
    }
    ensure!(taken == assignments.len(), "{} prefixes are of no registry", assignments.len() - taken);
    table.extend(names.into_bytes());
    Ok(table)
}

/// First line of an assignment: who holds it.
fn name(text: &str) -> &str {
    let name = text.lines().next().unwrap_or_default().trim();
    if name.is_empty() { "Private" } else { name }
}

/// Appends a LEB128 number.
fn number(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn provenance(assignments: &BTreeMap<String, String>, octets: usize) -> String {
    let count = |digits: usize| assignments.keys().filter(|prefix| prefix.len() == digits).count();
    let [large, medium, small] = DIGITS.map(count);
    format!(
        "# Organisations by MAC prefix\n\n\
         `oui.zst` is written by `cargo xtask oui` from the npm package `{PACKAGE}` {VERSION} (BSD-2-Clause, silverwind), which \
         collects the public listings of the IEEE Registration Authority. Names are the holders' as the IEEE lists them, without \
         their addresses; the table's form is told in `engine/src/identify/oui.rs`.\n\n\
         | registry | prefixes |\n|---|---|\n| MA-L (24 bits) | {large} |\n| MA-M (28 bits) | {medium} |\n\
         | MA-S (36 bits) | {small} |\n\n\
         {octets} octets, zstd level {LEVEL}.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_prefixes_then_names_by_first_use() {
        let assignments = [("000001", "A\nx"), ("000003", "B"), ("000004", "A"), ("0000050", "C"), ("000006001", "")]
            .map(|(prefix, text)| (prefix.to_owned(), text.to_owned()));
        let table = table(&assignments.into()).expect("a table");
        let expect = [3, 1, 2, 1, 0, 0, 2, 1, 0x50, 0, 1, 0x81, 0xc0, 0x01, 0];
        assert_eq!(table[..expect.len()], expect);
        assert_eq!(&table[expect.len()..], b"A\nB\nC\nPrivate\n");
    }

    #[test]
    fn a_prefix_of_no_registry_is_an_error() {
        let assignments = [("000001", "A"), ("0000020", "B"), ("000003000", "C"), ("00", "D")];
        assert!(table(&assignments.map(|(prefix, text)| (prefix.to_owned(), text.to_owned())).into()).is_err());
    }
}
