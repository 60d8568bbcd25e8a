//! What an engine before this one left: its books, and what it pinned in the kernel. Here both are found and brought together, before
//! anything runs; and at the end, when everything is accounted for, both are closed.

use std::sync::{Arc, MutexGuard, PoisonError};

use super::{PipelineError, random_words};
use crate::{
    account::{Account, Kept, Standing, TapAccount},
    capture::{
        live::{self, Carried, Closed, Origin, Pins},
        native::DropSamples,
    },
    config::Config,
    lake::{
        Writer,
        journal::{Journal, Opening},
        writer::SharedJournal,
    },
    ledger::{Count, Ledger},
};

/// The books of a live engine, and its pins.
pub struct Resumed {
    journal: SharedJournal,
    pins: Option<Pins>,
    taps: usize,
}

/// What the keeper of the ledgers has to know of engines before this one, by tap of the books.
#[derive(Default)]
pub struct Inheritance {
    /// Shared with the lake; `None` when no books are kept.
    pub standing: Option<Arc<Standing>>,
    /// What earlier engines have accounted for.
    pub kept: Vec<Kept>,
    /// What coverage rows have told.
    pub told: Vec<Ledger>,
    /// Taps that are no longer configured: name and last ledger.
    pub departed: Vec<(Arc<str>, Ledger)>,
}

impl Resumed {
    /// Opens the books and finds the pins of the configuration's interfaces.
    pub fn open(config: &Config, writer: &mut Writer) -> Result<Self, PipelineError> {
        let [id, hash_keys @ ..] = random_words::<6>();
        let new = (format!("{id:016x}"), hash_keys);
        let opened = writer.keep_books(&config.site, &config.interfaces, new).map_err(PipelineError::stage)?;
        let (journal, opening) = opened;
        let id = held(&journal).account().id.clone();
        if let Some(error) = held(&journal).unsaved() {
            tracing::warn!("{error}: until there is room, a crash loses what is in no file and is not counted");
        }
        let pins = Pins::open(&config.site, &id);
        if let Err(why) = &pins {
            tracing::warn!("{why}: should this engine be killed, what the kernel holds is lost with it");
        }
        let resumed = Self { journal, pins: pins.ok(), taps: config.interfaces.len() };
        for line in resumed.pins.iter().flat_map(Pins::remove_stale) {
            tracing::warn!("{line}");
        }
        match opening {
            Opening::New => {}
            Opening::Resumed => {
                tracing::warn!("the engine before this one did not stop in order: its books {id} are gone on with");
                // The books in memory are right, and they are written again and again.
                if let Err(error) = resumed.find() {
                    tracing::warn!("{error}: they are as they were until there is room");
                }
            }
            Opening::Unusable(why) => tracing::warn!("{why}: what the engine before this one lost is not known"),
        }
        Ok(resumed)
    }

    /// Closes attachments whose counters are gone, or which are no longer configured.
    fn find(&self) -> Result<(), PipelineError> {
        let present = self.taps;
        let ends: Vec<Option<Ledger>> = {
            let journal = held(&self.journal);
            let taps = journal.account().taps.iter().enumerate();
            taps.map(|(at, tap)| self.end_of(tap, at < present)).collect()
        };
        self.change(|account| {
            for (tap, end) in account.taps.iter_mut().zip(ends) {
                close(tap, end);
            }
        })
    }

    /// The last ledger of a tap that cannot be gone on with.
    fn end_of(&self, tap: &TapAccount, present: bool) -> Option<Ledger> {
        let counters = self.pins.as_ref().and_then(|pins| live::counters(pins, &tap.name, tap.attachment));
        match (counters, present) {
            (Some(_), true) => None,
            (Some(counters), false) => {
                tracing::warn!("interface {} is no longer configured: what its rings held is lost", tap.name);
                Some(tap.end_at(&counters))
            }
            (None, _) => {
                let end = tap.end();
                let unfinished = tap.ledger.metered != tap.closed.metered || end != tap.ledger;
                if present && unfinished {
                    tracing::warn!(
                        "the kernel's counters of {} are gone (a restart of the machine, or nothing was pinned): they are known up to \
                         the last books, {} packets; what came in the seconds after is not",
                        tap.name,
                        end.seen().packets
                    );
                }
                unfinished.then_some(end)
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Account)) -> Result<(), PipelineError> {
        held(&self.journal).change(change).map_err(PipelineError::stage)
    }

    /// What the keeper of the ledgers has to know.
    pub fn inheritance(&self) -> Inheritance {
        let journal = held(&self.journal);
        let account = journal.account();
        let departed = account.taps.iter().skip(self.taps).map(|tap| (Arc::from(tap.name.as_str()), tap.before()));
        Inheritance {
            standing: Some(Arc::clone(journal.standing())),
            kept: account.kept(),
            told: account.taps.iter().map(|tap| tap.told).collect(),
            departed: departed.collect(),
        }
    }

    /// Keys of the flow hash.
    pub fn hash_keys(&self) -> [u64; 5] {
        held(&self.journal).account().hash_keys
    }

    /// Where programs and maps outlive the engine.
    pub fn pins(&self) -> Option<&Pins> {
        self.pins.as_ref()
    }

    /// What each tap goes on from.
    pub fn carried(&self) -> Vec<Carried> {
        let journal = held(&self.journal);
        let taps = journal.account().taps.iter().take(self.taps);
        taps.map(|tap| Carried { attachment: tap.attachment, before: tap.before() }).collect()
    }

    /// Reads out attachments that do not fit the settings. What each tap then goes on from.
    pub fn fit(
        &self,
        settings: &live::LiveSettings,
        outlets: &crate::capture::outlets::Outlets,
    ) -> Result<Vec<Carried>, PipelineError> {
        let mut carried = self.carried();
        let origin = Origin { pins: self.pins(), carried: &carried, ..Origin::default() };
        let closed = live::close(settings, live::OBJECT, outlets, &mut |_| Box::new(DropSamples), origin);
        let closed = closed.map_err(PipelineError::stage)?;
        for ((carried, closed), tap) in carried.iter_mut().zip(&closed).zip(&settings.taps) {
            if let Some(Closed { reason, ledger }) = closed {
                tracing::warn!("what was attached to {} is read out and attached anew, because {reason}", tap.name);
                *carried = Carried { attachment: carried.attachment + 1, before: *ledger };
            }
        }
        if closed.iter().any(Option::is_some) {
            self.change(|account| {
                for (tap, closed) in account.taps.iter_mut().zip(closed) {
                    close(tap, closed.map(|closed| closed.ledger));
                }
            })?;
        }
        self.remove_closed();
        Ok(carried)
    }

    fn remove_closed(&self) {
        let Some(pins) = &self.pins else { return };
        let journal = held(&self.journal);
        let taps = journal.account().taps.iter().take(self.taps);
        let kept: Vec<(&str, u32)> = taps.map(|tap| (tap.name.as_str(), tap.attachment)).collect();
        for line in pins.remove_others(&kept) {
            tracing::info!("{line}");
        }
    }

    /// The capture did not start: what holds nothing is not kept. Books may be blank while the kernel has counted for seconds.
    pub fn abandon(self) {
        let has_counted = |pins: &Pins| {
            let journal = held(&self.journal);
            let mut taps = journal.account().taps.iter();
            taps.any(|tap| live::counters(pins, &tap.name, tap.attachment).is_some_and(|counters| counters.seen_packets > 0))
        };
        if held(&self.journal).account().is_blank() && !self.pins.as_ref().is_some_and(has_counted) {
            self.finish();
        }
    }

    /// Everything is accounted for: the books are closed, and nothing stays in the kernel.
    pub fn finish(self) -> Option<PipelineError> {
        let error = held(&self.journal).close().err();
        // As long as there are books, what the kernel counted stays with them.
        if let Some(pins) = self.pins.filter(|_| error.is_none()) {
            pins.remove();
        }
        error.map(PipelineError::stage)
    }
}

/// Ends the attachment of a tap with a ledger; the next one has another number.
fn close(tap: &mut TapAccount, end: Option<Ledger>) {
    let Some(end) = end else { return };
    tap.closed = Ledger { earlier: Count::default(), ..end };
    tap.ledger = tap.closed;
    tap.attachment += 1;
}

fn held(journal: &SharedJournal) -> MutexGuard<'_, Journal> {
    journal.lock().unwrap_or_else(PoisonError::into_inner)
}
