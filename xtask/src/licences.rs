//! `deny.toml` held against all dependencies: by cargo-deny where it is installed, else by what their manifests declare.
//!
//! The second way reads no licence texts. It checks what can be checked anywhere: licences that are declared, crates that are banned,
//! registries that crates come from.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{process, workspace};

const RULES: &str = "deny.toml";

#[derive(Deserialize)]
struct Rules {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    allow: Vec<String>,
    #[serde(rename = "crate")]
    package: String,
}

#[derive(Deserialize)]
struct Bans {
    #[serde(default)]
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    package: String,
    reason: String,
}

/// A line of `cargo tree`: name, version and, unless it is the registry's, where it comes from; and the licence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    license: String,
}

impl Package {
    fn of(line: &str) -> Option<Self> {
        // What stands in the tree already is marked.
        let (package, license) = line.trim_end_matches(" (*)").split_once('|')?;
        let mut words = package.split_whitespace();
        let (name, version) = (words.next()?.to_owned(), words.next()?.to_owned());
        let source = words.find(|word| *word != "(proc-macro)").map(|word| word.trim_matches(['(', ')']).to_owned());
        Some(Self { name, version, source, license: license.to_owned() })
    }
}

/// Checks every dependency of the work space.
pub fn check() -> Result<()> {
    if let Some(deny) = workspace::find_tool("cargo-deny") {
        let arguments = ["--locked", "--offline", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"];
        return process::run(process::command(deny).args(arguments));
    }
    let text = fs::read_to_string(workspace::root().join(RULES)).with_context(|| format!("cannot read {RULES}"))?;
    let rules: Rules = toml::from_str(&text).with_context(|| format!("{RULES} is not what cargo-deny reads"))?;
    // What is built, by target and features: a lock file has more.
    let mut packages = BTreeSet::new();
    for target in &rules.graph.targets {
        let mut command = process::cargo(&["tree", "--locked", "--workspace", "--all-features", "--prefix", "none"]);
        command.args(["--format", "{p}|{l}", "--target", target]);
        packages.extend(process::output(&mut command)?.lines().filter_map(Package::of));
    }
    anyhow::ensure!(packages.len() > 1, "cargo tree names no packages");
    let complaints: Vec<String> = packages.iter().filter_map(|package| complaint(package, &rules)).collect();
    for line in &complaints {
        eprintln!("{line}");
    }
    anyhow::ensure!(complaints.is_empty(), "{} of {} packages break {RULES}", complaints.len(), packages.len());
    println!(
        "{} packages declare licences that {RULES} allows; cargo-deny, which reads their texts, is not installed",
        packages.len()
    );
    Ok(())
}

/// What is wrong with a package.
fn complaint(package: &Package, rules: &Rules) -> Option<String> {
    let Package { name, version, .. } = package;
    if let Some(ban) = rules.bans.deny.iter().find(|ban| ban.package == *name) {
        return Some(format!("{name} {version} is banned: {}", ban.reason));
    }
    // Our own are in folders.
    if let Some(source) = package.source.as_ref().filter(|source| !source.starts_with('/')) {
        return Some(format!("{name} {version} comes from {source}"));
    }
    let exceptions = rules.licenses.exceptions.iter().filter(|exception| exception.package == *name);
    let allowed: Vec<&String> = rules.licenses.allow.iter().chain(exceptions.flat_map(|exception| &exception.allow)).collect();
    let declared = if package.license.is_empty() { "nothing" } else { &package.license };
    let permits = permits(declared, &|licence| allowed.iter().any(|known| known.as_str() == licence));
    (!permits).then(|| format!("{name} {version} declares {declared}"))
}

/// Whether an SPDX expression can be met with allowed licences. What is no expression cannot be.
fn permits(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let permitted = any(&mut rest, allowed);
    permitted == Some(true) && rest.is_empty()
}

/// `a OR b`
fn any(words: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    let mut permitted = all(words, allowed)?;
    while let ["OR", rest @ ..] = *words {
        *words = rest;
        permitted |= all(words, allowed)?;
    }
    Some(permitted)
}

/// `a AND b`
fn all(words: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    let mut permitted = one(words, allowed)?;
    while let ["AND", rest @ ..] = *words {
        *words = rest;
        permitted &= one(words, allowed)?;
    }
    Some(permitted)
}

/// A licence, one with an exception, or an expression in parentheses.
fn one(words: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    match **words {
        ["(", ref rest @ ..] => {
            *words = rest;
            let permitted = any(words, allowed)?;
            let [")", rest @ ..] = *words else { return None };
            *words = rest;
            Some(permitted)
        }
        [licence, "WITH", exception, ref rest @ ..] => {
            *words = rest;
            Some(allowed(&format!("{licence} WITH {exception}")))
        }
        [licence, ref rest @ ..] if !matches!(licence, "OR" | "AND" | "WITH" | ")") => {
            *words = rest;
            Some(allowed(licence))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_met_or_not() {
        let met =
            |expression| permits(expression, &|licence| matches!(licence, "MIT" | "Zlib" | "Apache-2.0 WITH LLVM-exception"));
        for expression in ["MIT", "GPL-3.0 OR MIT", "MIT/GPL-2.0", "(GPL-2.0 OR Zlib) AND MIT", "Apache-2.0 WITH LLVM-exception"]
        {
            assert!(met(expression), "{expression}");
        }
        for expression in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT", "MIT)", "", "nothing", "Apache-2.0", "MIT OR", "Zlib MIT"] {
            assert!(!met(expression), "{expression}");
        }
    }

    #[test]
    fn packages_that_break_a_rule_are_named() {
        let rules: Rules = toml::from_str(
            r#"
            graph = { targets = [] }
            licenses = { allow = ["MIT"], exceptions = [{ allow = ["NCSA"], crate = "fuzzer" }] }
            bans = { deny = [{ crate = "openssl-sys", reason = "no C" }] }
            "#,
        )
        .unwrap();
        let complaint = |line: &str| complaint(&Package::of(line).unwrap(), &rules);
        assert_eq!(complaint("a v1.0.0|MIT"), None);
        assert_eq!(complaint("a v1.0.0 (proc-macro)|MIT"), None);
        assert_eq!(complaint("own v0.1.0 (/src/own)|MIT"), None);
        assert_eq!(complaint("fuzzer v1.0.0|NCSA"), None);
        assert_eq!(complaint("a v1.0.0|NCSA").unwrap(), "a v1.0.0 declares NCSA");
        assert_eq!(complaint("a v1.0.0|").unwrap(), "a v1.0.0 declares nothing");
        assert_eq!(complaint("openssl-sys v1.0.0|MIT").unwrap(), "openssl-sys v1.0.0 is banned: no C");
        assert_eq!(complaint("a v1.0.0 (https://x?rev=1#2)|MIT").unwrap(), "a v1.0.0 comes from https://x?rev=1#2");
    }
}
