//! Every capture of the corpus through the whole engine; of a fixed spread, the conversations too. What must hold and what may
//! differ is written in `harness::meter`.
//!
//! The spread: of every set, in order of the paths, [`PER_SET`] captures at equal distances (all of a smaller set); and every capture
//! with tunnels.
//! `cargo xtask eval meter` compares the conversations of all captures.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use harness::{
    capinfos::walk,
    conversations::Tshark,
    meter::Report,
    replay::{manifest, spread},
    rows,
};

/// Captures per set whose conversations are compared.
const PER_SET: usize = 22;
/// Captures with tunnels that must at least be there.
const TUNNELS_MIN: usize = 70;
/// Captures that must at least be compared.
const COMPARED_MIN: u64 = 135;
/// Complaints printed.
const SHOWN: usize = 40;

#[test]
fn every_capture_is_metered_to_the_packet() -> Result<()> {
    let Some(corpus) = harness::corpus() else { return Ok(()) };
    let captures = manifest(&corpus)?;
    let mut chosen: BTreeSet<_> = spread(&captures, PER_SET).into_iter().map(|capture| capture.path.clone()).collect();
    ensure!(chosen.len() >= 150, "the corpus gives a spread of {} captures", chosen.len());
    let tunnels = rows::with_tunnels(&captures.iter().map(|capture| capture.path.clone()).collect::<Vec<_>>())?;
    ensure!(tunnels.len() >= TUNNELS_MIN, "the corpus has {} captures with tunnels", tunnels.len());
    chosen.extend(tunnels);
    let mut files = Vec::new();
    walk(&corpus, &mut files)?;
    files.sort();
    let report = Report::of(&files, Some(&Tshark::new()?), |capture| chosen.contains(capture))?;
    report.print();
    ensure!(report.complaints.is_empty(), "{}", report.complaints.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n"));
    ensure!(report.compared >= COMPARED_MIN, "conversations of {} captures only were compared", report.compared);
    Ok(())
}
