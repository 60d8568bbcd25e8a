//! The table of peers, from the figures that the bench has kept.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::workspace;

/// Load below which programs had the machine to themselves.
const QUIET_LOAD: f64 = 0.5;
/// Where the figures are.
const FIGURES: &str = "benches/peers.json";

#[derive(Deserialize)]
struct Figures {
    machine: String,
    rounds: u32,
    load_before: Option<f64>,
    captures: Vec<Capture>,
    missing: Vec<Missing>,
}

#[derive(Deserialize)]
struct Capture {
    name: String,
    workload: Workload,
    ip_packets: u64,
    programs: Vec<Program>,
    failed: Vec<Failed>,
}

#[derive(Deserialize)]
struct Failed {
    program: String,
    version: String,
    reason: String,
}

#[derive(Deserialize)]
struct Workload {
    packets: u64,
    octets: u64,
    flow_keys: u64,
}

#[derive(Deserialize)]
struct Program {
    program: String,
    version: String,
    product: String,
    packets_per_second: f64,
    seconds_quartiles: [f64; 3],
    user_seconds: f64,
    system_seconds: f64,
    peak_bytes: f64,
    times_our_seconds: Option<f64>,
    times_our_cpu: Option<f64>,
    packets_accounted: Option<u64>,
    rows: Option<u64>,
    bytes: Option<u64>,
}

#[derive(Deserialize)]
struct Missing {
    program: String,
    reason: String,
}

/// Least rounds of figures that are kept.
const ROUNDS_MIN: u32 = 3;

/// Keeps figures, once a table can be made of them, unless they say little.
pub fn keep(figures: &str) -> Result<()> {
    render(figures)?;
    let Figures { rounds, load_before, .. } = serde_json::from_str(figures)?;
    let is_quiet = load_before.is_none_or(|load| load < QUIET_LOAD);
    ensure!(
        is_quiet && rounds >= ROUNDS_MIN,
        "not kept: {rounds} rounds, load {:.1} before the first; measure {ROUNDS_MIN} rounds or more on a machine that does nothing else",
        load_before.unwrap_or(0.0)
    );
    let path = workspace::root().join(FIGURES);
    fs::write(&path, figures).with_context(|| format!("cannot write {FIGURES}"))
}

/// The table of the kept figures.
pub fn table() -> Result<String> {
    let figures = fs::read_to_string(workspace::root().join(FIGURES)).with_context(|| format!("cannot read {FIGURES}"))?;
    render(&figures)
}

fn render(figures: &str) -> Result<String> {
    let figures: Figures =
        serde_json::from_str(figures).with_context(|| format!("{FIGURES} is not what `cargo xtask bench peers` prints"))?;
    let mut text = format!("{}; medians of {} interleaved rounds", figures.machine, figures.rounds);
    if let Some(load) = figures.load_before {
        text.push_str(&format!("; load {load:.1} before the first"));
    }
    text.push_str(".\n");
    if figures.load_before.is_some_and(|load| load >= QUIET_LOAD) {
        text.push_str("Other work ran meanwhile: wall times and packets per second say little, CPU seconds more.\n");
    }
    for capture in &figures.captures {
        let Workload { packets, octets, flow_keys } = capture.workload;
        text.push_str(&format!(
            "\n**{}**: {} packets ({} of IP), {} bytes on the wire, {} flow keys.\n\n",
            sentence(&capture.name),
            grouped(packets),
            grouped(capture.ip_packets),
            grouped(octets),
            grouped(flow_keys)
        ));
        text.push_str("| program | packets/s | wall s (quartiles) | × ours | CPU s | × ours | peak MiB | packets in its rows | rows | bytes out | makes |\n");
        text.push_str("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|\n");
        for program in &capture.programs {
            text.push_str(&row(program, packets));
        }
        for Failed { program, version, reason } in &capture.failed {
            text.push_str(&format!("\n{program} {version} did not do this capture: {reason}.\n"));
        }
    }
    for Missing { program, reason } in &figures.missing {
        text.push_str(&format!("\n{program} was not measured: {reason}.\n"));
    }
    Ok(text)
}

fn row(program: &Program, packets: u64) -> String {
    let [low, middle, high] = program.seconds_quartiles;
    let ratio = |times: Option<f64>| times.map_or_else(String::new, |times| format!("{times:.2}"));
    let count = |count: Option<u64>| count.map_or_else(|| "–".to_owned(), grouped);
    let share = program.packets_accounted.map_or_else(
        || "–".to_owned(),
        |accounted| format!("{} ({:.2} %)", grouped(accounted), accounted as f64 / packets as f64 * 100.0),
    );
    format!(
        "| {} {} | {} | {middle:.2} ({low:.2}–{high:.2}) | {} | {:.2} | {} | {:.0} | {share} | {} | {} | {} |\n",
        program.program,
        program.version,
        grouped(program.packets_per_second as u64),
        ratio(program.times_our_seconds),
        program.user_seconds + program.system_seconds,
        ratio(program.times_our_cpu),
        program.peak_bytes / f64::from(1 << 20),
        count(program.rows),
        count(program.bytes),
        program.product.replace('|', "\\|"),
    )
}

fn sentence(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A count with commas.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let parts: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIGURES: &str = r#"{
        "machine": "2 CPUs", "rounds": 3, "load_before": 0.25,
        "captures": [{
            "name": "many small flows", "ip_packets": 900, "workload": { "packets": 1200, "octets": 100000, "flow_keys": 12 },
            "programs": [{
                "program": "argus", "version": "3", "product": "biflows", "packets_per_second": 1234567.8,
                "seconds_quartiles": [0.5, 1.0, 1.5], "user_seconds": 0.75, "system_seconds": 0.125, "peak_bytes": 2097152.0,
                "times_our_seconds": 2.5, "times_our_cpu": null, "packets_accounted": 600, "rows": 7, "bytes": null
            }],
            "failed": [{ "program": "other", "version": "1", "reason": "it crashed" }]
        }],
        "missing": [{ "program": "nfstream", "reason": "no Python" }]
    }"#;

    #[test]
    fn figures_become_rows() {
        let text = render(FIGURES).expect("a table");
        assert!(text.starts_with("2 CPUs; medians of 3 interleaved rounds; load 0.2 before the first.\n"), "{text}");
        assert!(
            text.contains("\n**Many small flows**: 1,200 packets (900 of IP), 100,000 bytes on the wire, 12 flow keys.\n"),
            "{text}"
        );
        let row = "| argus 3 | 1,234,567 | 1.00 (0.50–1.50) | 2.50 | 0.88 |  | 2 | 600 (50.00 %) | 7 | – | biflows |\n";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("\nother 1 did not do this capture: it crashed.\n"), "{text}");
        assert!(text.ends_with("\nnfstream was not measured: no Python.\n"), "{text}");
    }

    #[test]
    fn a_busy_machine_is_said() {
        assert!(!render(FIGURES).expect("a table").contains("Other work"));
        let busy = FIGURES.replace("0.25", "3.5");
        assert!(render(&busy).expect("a table").contains("\nOther work ran meanwhile"));
    }

    #[test]
    fn what_is_not_figures_is_refused() {
        assert!(render("{}").is_err());
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
