//! Attachments that no engine can go on with, read out to their end: what their slots and rings hold is metered, and their ledger
//! is closed.

use std::{sync::Mutex, time::Duration};

use auscult_ebpf::record::Counters;

use super::{
    Live, LiveReport, LiveSettings, Origin, Pins, SinkOf, host, meter_of, object,
    object::rings_entries,
    pin::TapPins,
    share, sorters_of,
    sweep::{Objects, Sweeper},
};
use crate::{
    capture::{live::LiveError, outlets::Outlets},
    ledger::{Count, Ledger},
};

/// An attachment that was read out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Why it could not be gone on with.
    pub reason: String,
    /// The tap's ledger at its end; nothing is resident.
    pub ledger: Ledger,
}

/// Reads out what is pinned in `origin` and does not fit the settings; by tap. Nothing meters into it any more, and a capture must
/// not begin with it.
///
/// # Errors
/// The kernel does not give out what is pinned.
pub fn close(
    settings: &LiveSettings,
    object: &[u8],
    outlets: &Outlets,
    sinks: SinkOf<'_>,
    origin: Origin<'_>,
) -> Result<Vec<Option<Closed>>, LiveError> {
    settings.check()?;
    host::check_kernel()?;
    host::check_privileges()?;
    let cpus = host::online_cpus()?;
    let mut all = Vec::new();
    for (point, tap) in settings.taps.iter().enumerate() {
        let found = origin.tap(point, &tap.name).filter(TapPins::whole);
        let unfit = found.and_then(|pins| Some((misfit(&pins, settings, &cpus)?, pins)));
        let closed = unfit.map(|(reason, pins)| {
            let ledger = read_out(settings, object, outlets, &mut *sinks, origin, point, &pins, &cpus)?;
            Ok(Closed { reason, ledger })
        });
        all.push(closed.transpose()?);
    }
    Ok(all)
}

/// Why pinned maps do not fit the settings.
fn misfit(pins: &TapPins, settings: &LiveSettings, cpus: &[u32]) -> Option<String> {
    let sets = settings.meter.sets_mask + 1;
    let pinned_sets = pins.entries(&pins.map("SETS"));
    if pinned_sets != Some(sets) {
        return Some(format!("its cache has {} sets instead of {sets}", pinned_sets.unwrap_or(0)));
    }
    if pins.cpus() != cpus || pins.entries(&pins.map("RINGS")) != Some(rings_entries(cpus)) {
        return Some(format!("it has rings for {} cpus, and {} others are online", pins.cpus().len(), cpus.len()));
    }
    let octets = cpus.iter().map(|cpu| pins.entries(&pins.ring(*cpu)).unwrap_or(0)).find(|octets| *octets != settings.ring_bytes);
    octets.map(|octets| format!("its rings have {octets} octets instead of {}", settings.ring_bytes))
}

#[expect(clippy::too_many_arguments, reason = "all that a start has, and what was found")]
fn read_out(
    settings: &LiveSettings,
    object: &[u8],
    outlets: &Outlets,
    sinks: SinkOf<'_>,
    origin: Origin<'_>,
    point: usize,
    pins: &TapPins,
    online: &[u32],
) -> Result<Ledger, LiveError> {
    pins.detach();
    let name = &settings.taps[point].name;
    let cpus = pins.cpus();
    let sets = pins.entries(&pins.map("SETS")).unwrap_or(settings.meter.sets_mask + 1);
    let ring_bytes = cpus.first().and_then(|cpu| pins.entries(&pins.ring(*cpu))).unwrap_or(settings.ring_bytes);
    let mut meter = meter_of(settings, point, 0);
    meter.sets_mask = sets - 1;
    let loaded = object::load(object, name, &meter, &cpus, ring_bytes, Some(pins))?;
    let rings = vec![share(point, &cpus, online, loaded.rings, origin.utc_offset())?];
    let carried = origin.carried(point);
    let mut sorters = sorters_of(&rings[0], point, &carried, true, outlets, sinks);
    sorters.iter_mut().for_each(super::Sorter::go_on);
    let objects: Objects = vec![Mutex::new(loaded.ebpf)].into();
    let mut live = Live::over(Vec::new(), &rings, objects);
    live.start_drains(settings.drain_threads, online.len(), sorters)?;
    let interval = Duration::from_millis(u64::from(settings.mark_millis));
    live.start_sweeper(Sweeper::new(live.objects.clone(), &rings, sets, interval, origin.utc_offset()))?;
    let report = live.stop();
    Ok(end(&report, pins, carried.before))
}

/// The ledger at the end. What a CPU's sweep could not bring out (it is offline) counts as taken by the dead engine.
fn end(report: &LiveReport, pins: &TapPins, before: Ledger) -> Ledger {
    let mut received = Count::default();
    report.rings.iter().for_each(|ring| received.add(ring.received));
    let mut last = Ledger { counters: sum(&pins.counters().unwrap_or_default()), ..Ledger::default() };
    last.metered = last.handed_over();
    last.earlier = last.metered.less(received);
    let mut ledger = before;
    ledger.add(&last);
    ledger
}

fn sum(counters: &[Counters]) -> Counters {
    let mut sum = Ledger::default();
    for counters in counters {
        sum.add(&Ledger { counters: *counters, ..Ledger::default() });
    }
    sum.counters
}

/// The kernel's counters of an attachment, over all CPUs; `None` when they are gone.
pub fn counters(pins: &Pins, name: &str, attachment: u32) -> Option<Counters> {
    let pins = pins.tap(name, attachment);
    pins.whole().then(|| pins.counters().map(|all| sum(&all))).flatten()
}
