//! What the threads say of themselves becomes two answers: is the process alive, and is it doing its work.
//!
//! A thread counts its rounds in a [`Beat`]; it reads no clock. Whoever asks for health compares the counts with those of the
//! last time: a thread whose count stood still for [`STALL_SECS`] is stalled, one that panicked is dead. Threads that wait poll
//! often enough to count on.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
};

use serde::Serialize;

use crate::limit::{STALL_SECS, THREADS_MAX};

/// What must be so before the engine does its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Every tap is attached, or inputs are being read.
    Capture = 0,
    /// The data directory is locked by this engine and takes files.
    Lake = 1,
    /// The inventory is open and takes changes.
    Inventory = 2,
}

impl Condition {
    /// All.
    pub const ALL: [Self; 3] = [Self::Capture, Self::Lake, Self::Inventory];

    /// Name in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Lake => "lake",
            Self::Inventory => "inventory",
        }
    }
}

/// An answer, as its JSON body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Nothing is wrong.
    pub ok: bool,
    /// What is wrong, by thread or condition.
    pub reasons: BTreeMap<String, String>,
}

impl Report {
    fn of(reasons: BTreeMap<String, String>) -> Self {
        Self { ok: reasons.is_empty(), reasons }
    }
}

const RUNNING: u8 = 0;
const FINISHED: u8 = 1;
const DEAD: u8 = 2;

#[derive(Debug, Default)]
struct Pulse {
    rounds: AtomicU64,
    state: AtomicU8,
}

/// A thread's sign of life. Dropping it says that the thread has finished, or died if it is panicking.
#[derive(Debug)]
pub struct Beat(Arc<Pulse>);

impl Beat {
    /// One more round. One relaxed addition: cheap enough for every batch.
    pub fn tick(&self) {
        self.0.rounds.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.0.state.store(if std::thread::panicking() { DEAD } else { FINISHED }, Ordering::Release);
    }
}

#[derive(Debug)]
struct Watched {
    pulse: Arc<Pulse>,
    rounds: u64,
    /// Monotonic time at which `rounds` was first read; `None` before the first question.
    since: Option<u64>,
}

#[derive(Debug)]
struct State {
    threads: BTreeMap<String, Watched>,
    /// Why a condition does not hold; `None` when it does.
    conditions: [Option<String>; Condition::ALL.len()],
}

/// Shared by all threads of an engine.
#[derive(Debug)]
pub struct Health(Mutex<State>);

impl Default for Health {
    fn default() -> Self {
        let conditions = [(); Condition::ALL.len()].map(|()| Some("not started".to_owned()));
        Self(Mutex::new(State { threads: BTreeMap::new(), conditions }))
    }
}

impl Health {
    /// No threads; no condition holds.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches a thread. Names are the engine's own, as `biflow_3`; a name used again replaces its forerunner. Beyond
    /// [`THREADS_MAX`] a thread is not watched.
    pub fn watch(&self, thread: &str) -> Beat {
        let pulse = Arc::new(Pulse::default());
        let mut state = self.state();
        if state.threads.len() < THREADS_MAX || state.threads.contains_key(thread) {
            state.threads.insert(thread.to_owned(), Watched { pulse: pulse.clone(), rounds: 0, since: None });
        }
        Beat(pulse)
    }

    /// The condition holds.
    pub fn holds(&self, condition: Condition) {
        self.state().conditions[condition as usize] = None;
    }

    /// The condition does not hold, and why.
    pub fn fails(&self, condition: Condition, why: impl Into<String>) {
        self.state().conditions[condition as usize] = Some(why.into());
    }

    /// Whether every thread moves, at this monotonic time.
    pub fn live(&self, now: u64) -> Report {
        let mut reasons = BTreeMap::new();
        for (name, watched) in &mut self.state().threads {
            let rounds = watched.pulse.rounds.load(Ordering::Relaxed);
            match watched.pulse.state.load(Ordering::Acquire) {
                FINISHED => continue,
                DEAD => drop(reasons.insert(name.clone(), "died".to_owned())),
                RUNNING.. => match watched.since {
                    Some(since) if rounds == watched.rounds => {
                        let seconds = now.saturating_sub(since) / 1_000_000_000;
                        if seconds >= STALL_SECS {
                            reasons.insert(name.clone(), format!("has not moved for {seconds} s"));
                        }
                    }
                    _ => (watched.rounds, watched.since) = (rounds, Some(now)),
                },
            }
        }
        Report::of(reasons)
    }

    /// Whether every condition holds.
    pub fn ready(&self) -> Report {
        let state = self.state();
        let failing = Condition::ALL.iter().zip(&state.conditions);
        Report::of(failing.filter_map(|(condition, why)| Some((condition.name().to_owned(), why.clone()?))).collect())
    }
}
