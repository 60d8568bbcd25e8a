//! `cargo xtask docs`: writes the tables between `<!-- generated: NAME -->` and `<!-- end: NAME -->` again.
//!
//! Tables of `xtask` itself are rendered here. References of the engine (metrics, configuration, columns) come from the engine,
//! which prints each as Markdown by a command of its own; so `xtask` never has to be built with it. The table of peers is rendered from
//! the figures that `cargo xtask bench peers --markdown` has kept.

mod peers;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::{process, workspace};

/// What to do with the tables.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Changes nothing; fails when a table differs from what it would be
    #[arg(long)]
    pub check: bool,
}

/// Where a table's rows come from.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// A function here.
    Own(fn() -> Result<String>),
    /// The engine: what `auscult COMMAND` prints.
    Engine(&'static str),
}

/// A generated table: its name in the markers, the document it stands in, its source.
struct Table {
    name: &'static str,
    document: &'static str,
    source: Source,
}

/// Every generated table.
const TABLES: &[Table] = &[
    Table { name: "xtask", document: "README.md", source: Source::Own(commands) },
    Table { name: "peers", document: "README.md", source: Source::Own(peers::table) },
    Table { name: "metrics", document: "engine/reference/metrics.md", source: Source::Engine("metrics-table") },
    Table { name: "configuration", document: "engine/reference/configuration.md", source: Source::Engine("config-table") },
    Table { name: "dictionary", document: "engine/reference/dictionary.md", source: Source::Engine("dictionary") },
];

/// Writes every table again, or checks that none would change.
pub fn run(options: &Options) -> Result<ExitCode> {
    let mut stale = 0;
    for table in TABLES {
        if !refresh(table, &render(table)?, options.check)? {
            stale += 1;
            eprintln!("{}: the table `{}` is not up to date; run `cargo xtask docs`", table.document, table.name);
        }
    }
    Ok(if stale == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Tables rendered here that are not up to date, as (document, name): what `tidy` can tell without building the engine.
pub fn stale_tables() -> Result<Vec<(&'static str, &'static str)>> {
    let mut stale = Vec::new();
    for table in TABLES {
        if let Source::Own(rows) = table.source
            && !refresh(table, &rows()?, true)?
        {
            stale.push((table.document, table.name));
        }
    }
    Ok(stale)
}

/// Keeps the figures of a run of the peers' bench and writes the table from them, which is returned.
pub fn keep_peers(figures: &str) -> Result<String> {
    peers::keep(figures)?;
    for table in TABLES.iter().filter(|table| table.name == "peers") {
        refresh(table, &render(table)?, false)?;
    }
    peers::table()
}

fn render(table: &Table) -> Result<String> {
    match table.source {
        Source::Own(rows) => rows(),
        Source::Engine(command) => {
            let engine = ["run", "--quiet", "--release", "--locked", "--package", "auscult", "--bin", "auscult", "--"];
            process::output(process::cargo(&engine).arg(command)).map(|rows| rows + "\n")
        }
    }
}

/// Whether the document holds those rows; writes them when it does not and that is not just a check.
fn refresh(table: &Table, rows: &str, check: bool) -> Result<bool> {
    let path = workspace::root().join(table.document);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", table.document))?;
    let written = replace(&text, table.name, rows)
        .with_context(|| format!("{} has no pair of markers for the table `{}`", table.document, table.name))?;
    if written == text {
        return Ok(true);
    }
    if !check {
        fs::write(&path, written).with_context(|| format!("cannot write {}", table.document))?;
    }
    Ok(!check)
}

/// The text with those rows between the markers of that name; `None` when it has no such pair of markers.
fn replace(text: &str, name: &str, rows: &str) -> Option<String> {
    let (start, end) = (format!("<!-- generated: {name} -->\n"), format!("<!-- end: {name} -->"));
    let (before, rest) = text.split_once(&start)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{start}{rows}{end}{after}"))
}

/// The commands of `xtask`, from their own documentation.
fn commands() -> Result<String> {
    let mut rows = String::from("| command | does |\n|---|---|\n");
    for command in crate::Arguments::command().get_subcommands() {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        rows.push_str(&format!("| `cargo xtask {}` | {} |\n", command.get_name(), about.replace('|', "\\|")));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_between_the_markers_of_their_name() {
        let text = "a\n<!-- generated: x -->\nold\n<!-- end: x -->\nb\n";
        assert_eq!(replace(text, "x", "new\n").as_deref(), Some("a\n<!-- generated: x -->\nnew\n<!-- end: x -->\nb\n"));
        assert_eq!(replace(text, "y", "new\n"), None);
    }

    #[test]
    fn each_command_has_a_row() {
        let rows = commands().expect("rows");
        for name in ["demo", "test", "fuzz", "bpf", "bench", "eval", "tidy", "docs", "install", "ci"] {
            assert!(rows.contains(&format!("| `cargo xtask {name}` | ")), "{name} in\n{rows}");
        }
    }
}
