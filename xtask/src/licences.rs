//! `deny.toml` held against all dependencies: by cargo-deny where it is installed, else by what their manifests declare.
//!
//! The second way reads no licence texts. It checks what can be checked anywhere: licences that are declared, crates that are banned,
//! registries that crates come from.

use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{process, workspace};

const RULES: &str = "deny.toml";

#[derive(Deserialize)]
struct Rules {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
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

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

/// Checks every dependency of the work space.
pub fn check() -> Result<()> {
    if let Some(deny) = workspace::find_tool("cargo-deny") {
        let arguments = ["--locked", "--offline", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"];
        return process::run(process::command(deny).args(arguments));
    }
    let text = fs::read_to_string(workspace::root().join(RULES)).with_context(|| format!("cannot read {RULES}"))?;
    let rules: Rules = toml::from_str(&text).with_context(|| format!("{RULES} is not what cargo-deny reads"))?;
    let mut command = process::cargo(&["metadata", "--locked", "--format-version", "1", "--all-features"]);
    for target in &rules.graph.targets {
        command.args(["--filter-platform", target]);
    }
    let output = process::output(&mut command)?;
    let metadata: Metadata = serde_json::from_str(&output).context("cargo metadata does not print what it did")?;
    let complaints: Vec<String> = metadata.packages.iter().filter_map(|package| complaint(package, &rules)).collect();
    for line in &complaints {
        eprintln!("{line}");
    }
    anyhow::ensure!(complaints.is_empty(), "{} of {} packages break {RULES}", complaints.len(), metadata.packages.len());
    println!(
        "{} packages declare licences that {RULES} allows; cargo-deny, which reads their texts, is not installed",
        metadata.packages.len()
    );
    Ok(())
}

/// What is wrong with a package.
fn complaint(package: &Package, rules: &Rules) -> Option<String> {
    let Package { name, version, .. } = package;
    if let Some(ban) = rules.bans.deny.iter().find(|ban| ban.package == *name) {
        return Some(format!("{name} {version} is banned: {}", ban.reason));
    }
    if let Some(source) = &package.source
        && !rules.sources.allow_registry.iter().any(|registry| source.strip_prefix("registry+") == Some(registry))
    {
        return Some(format!("{name} {version} comes from {source}"));
    }
    let exceptions = rules.licenses.exceptions.iter().filter(|exception| exception.package == *name);
    let allowed: Vec<&String> = rules.licenses.allow.iter().chain(exceptions.flat_map(|exception| &exception.allow)).collect();
    let declared = package.license.as_deref().unwrap_or("nothing");
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
            sources = { allow-registry = ["https://crates"] }
            "#,
        )
        .unwrap();
        let package = |name: &str, license: &str, source: Option<&str>| Package {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            license: Some(license.to_owned()),
            source: source.map(str::to_owned),
        };
        let complaint = |package: Package| complaint(&package, &rules);
        assert_eq!(complaint(package("a", "MIT", Some("registry+https://crates"))), None);
        assert_eq!(complaint(package("fuzzer", "NCSA", None)), None);
        assert_eq!(complaint(package("a", "NCSA", None)).unwrap(), "a 1.0.0 declares NCSA");
        assert_eq!(complaint(package("openssl-sys", "MIT", None)).unwrap(), "openssl-sys 1.0.0 is banned: no C");
        assert_eq!(complaint(package("a", "MIT", Some("git+https://x"))).unwrap(), "a 1.0.0 comes from git+https://x");
    }
}
