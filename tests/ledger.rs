//! The ledger against the real kernel object: it closes at every Mark, a delta that vanishes shows as exactly its packets and octets,
//! and what a full ring loses is named.

use anyhow::{Context, Result, ensure};
use auscult::{
    ledger::{Count, Ledger},
    scene::{Scene, SceneSize},
};
use auscult_ebpf::{
    discard::Lost,
    limit::SWEEP_SETS_MAX,
    meter,
    record::{Delta, Kind, Mark, SWEEP_FLUSH, SWEEP_MARK, SweepArguments, read_record},
    settings::{FLAG_SAMPLES, FLAG_TIME_IN_METADATA, Settings},
};
use harness::kernel::{self, Hook, KernelTap};

const SETTINGS: Settings =
    Settings { sets_mask: SWEEP_SETS_MAX - 1, flags: FLAG_TIME_IN_METADATA | FLAG_SAMPLES, ..Settings::plain() };

/// What came out of the ring so far.
#[derive(Debug, Default)]
struct Recount {
    deltas: u64,
    metered: Count,
    /// Number of the delta that is to vanish, and what was in it.
    vanish: Option<u64>,
    vanished: Option<Count>,
    ledgers: Vec<(Ledger, Option<Count>)>,
}

impl Recount {
    fn take(&mut self, record: &[u8]) -> Result<()> {
        let kind = *record.first().context("an empty record")?;
        if kind == Kind::Delta as u8 {
            let delta: Delta = read_record(record).context("a short delta")?;
            let (packets, octets) = meter::resident(&delta);
            let count = Count { packets, octets };
            if self.vanish == Some(self.deltas) {
                self.vanished = Some(count);
            } else {
                self.metered.add(count);
            }
            self.deltas += 1;
        } else if kind == Kind::Mark as u8 {
            let mark: Mark = read_record(record).context("a short Mark")?;
            self.ledgers.push((Ledger::at_mark(&mark, self.metered), self.vanished));
        }
        Ok(())
    }
}

/// A scene through the kernel; a Mark at every tick, and one after everything was handed over. `drained`: the ring is read at every tick.
fn run(vanish: Option<u64>, ring_octets: u32, drained: bool) -> Result<Recount> {
    let mut tap = KernelTap::with_ring(&kernel::object()?, SETTINGS, Hook::Xdp, 0, ring_octets)?;
    let mut recount = Recount { vanish, ..Recount::default() };
    let mut tick = None;
    let mut last = 0;
    for frame in Scene::new(7, SceneSize::SHORT).frames() {
        last = frame.at_nanos;
        if tick.replace(meter::tick(last)).is_some_and(|tick| tick != meter::tick(last)) {
            if drained {
                tap.drain(|record| recount.take(record))?;
            }
            let returned = tap.sweep(&SweepArguments { flags: SWEEP_MARK, at: last, ..SweepArguments::default() })?;
            ensure!(returned == 0 || !drained, "the sweep program returned {returned}");
        }
        tap.frame(last, &frame.octets)?;
    }
    tap.drain(|record| recount.take(record))?;
    // Everything in the cache fits the ring of these tests only when taken by halves.
    for first in (0..SWEEP_SETS_MAX).step_by(64) {
        let arguments = SweepArguments { first, count: 64, flags: SWEEP_FLUSH, at: last, ..SweepArguments::default() };
        ensure!(tap.sweep(&arguments)? == 0);
        if drained {
            tap.drain(|record| recount.take(record))?;
        }
    }
    tap.drain(|record| recount.take(record))?;
    ensure!(tap.sweep(&SweepArguments { flags: SWEEP_MARK, at: last, ..SweepArguments::default() })? == 0);
    tap.drain(|record| recount.take(record))?;
    Ok(recount)
}

#[test]
fn live_ledger_closes_at_every_mark() -> Result<()> {
    if !harness::root() {
        return Ok(());
    }
    let recount = run(None, kernel::RING_OCTETS, true)?;
    assert!(recount.ledgers.len() > 30, "{} Marks", recount.ledgers.len());
    for (ledger, _) in &recount.ledgers {
        assert_eq!(ledger.imbalance(), (0, 0), "{ledger:?}");
    }
    assert!(recount.ledgers.iter().any(|(ledger, _)| ledger.resident.packets > 0), "nothing was ever resident");
    let (last, _) = recount.ledgers.last().context("no Mark")?;
    assert_eq!(last.resident, Count::default(), "everything was handed over");
    assert_eq!(last.counters.deltas, recount.deltas);
    assert_eq!(last.seen().packets, Scene::new(7, SceneSize::SHORT).frames().count() as u64);
    Ok(())
}

#[test]
fn live_ledger_shows_a_vanished_delta() -> Result<()> {
    if !harness::root() {
        return Ok(());
    }
    let deltas = run(None, kernel::RING_OCTETS, true)?.deltas;
    for vanish in [0, deltas / 2, deltas - 1] {
        let recount = run(Some(vanish), kernel::RING_OCTETS, true)?;
        let lost = recount.vanished.context("fewer deltas than that")?;
        assert!(lost.packets > 0 && lost.octets >= 60 * lost.packets, "{lost:?}");
        for (ledger, vanished) in &recount.ledgers {
            let missing = vanished.unwrap_or_default();
            assert_eq!(ledger.imbalance(), (missing.packets as i64, missing.octets as i64));
        }
        assert!(recount.ledgers.last().is_some_and(|(_, vanished)| *vanished == Some(lost)));
    }
    Ok(())
}

#[test]
fn live_ledger_names_what_a_full_ring_loses() -> Result<()> {
    if !harness::root() {
        return Ok(());
    }
    let recount = run(None, 1 << 16, false)?;
    let (last, _) = recount.ledgers.last().context("no Mark")?;
    let lost = last.lost_by(Lost::RingFull);
    assert!(lost.packets > 1000, "{lost:?}");
    assert_eq!(last.lost(), lost);
    assert_eq!(last.imbalance(), (0, 0), "{last:?}");
    assert!(last.counters.samples_lost.iter().sum::<u64>() > 0);
    Ok(())
}
