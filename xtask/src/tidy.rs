//! `cargo xtask tidy`: house rules that neither the compiler nor clippy knows, as checks.
//!
//! Each violation says where, what, and what to do. Rules look at the files git knows or would add, never at what a build made.

mod law;
mod place;
mod rule;
mod source;
mod testdata;

use std::fmt;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::{docs, process, workspace};
use source::Source;

/// A broken rule: where, what, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation {
    path: String,
    line: usize,
    what: String,
    remedy: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}; {}", self.path, self.line, self.what, self.remedy)
    }
}

/// A text file of the repository.
pub struct Document {
    /// Its path from the root, with `/`.
    pub path: String,
    /// What it holds.
    pub text: String,
}

/// Checks every rule and shows each violation.
pub fn run() -> Result<ExitCode> {
    let (documents, others) = read_repository()?;
    let mut violations = check(&documents, &others);
    for (document, name) in docs::stale_tables()? {
        let what = format!("the table `{name}` is not up to date");
        violations.push(Violation { path: document.into(), line: 1, what, remedy: "run `cargo xtask docs`" });
    }
    for violation in &violations {
        println!("{violation}");
    }
    println!("tidy: {} text files, {} violations", documents.len(), violations.len());
    Ok(if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every violation in those documents; `others` are the paths of files that are not text.
fn check(documents: &[Document], others: &[String]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for document in documents {
        rule::text(document, &mut violations);
        if document.path.ends_with(".rs") {
            let source = Source::new(document);
            rule::rust(&source, &mut violations);
            place::imports(&source, &mut violations);
            place::clocks(&source, &mut violations);
        }
    }
    law::citations(documents, &mut violations);
    testdata::dead(documents, others, &mut violations);
    violations.sort_by(|one, other| (&one.path, one.line).cmp(&(&other.path, other.line)));
    violations
}

fn read_repository() -> Result<(Vec<Document>, Vec<String>)> {
    let list = process::output(process::command("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))
        .context("tidy asks git which files belong to the repository")?;
    let (mut documents, mut others) = (Vec::new(), Vec::new());
    for path in list.split('\0').filter(|path| !path.is_empty()) {
        match std::fs::read(workspace::root().join(path)).map(String::from_utf8) {
            Ok(Ok(text)) if !text.contains('\0') => documents.push(Document { path: path.into(), text }),
            Ok(_) => others.push(path.into()),
            // Deleted, but git has not been told yet.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {path}")),
        }
    }
    Ok((documents, others))
}
