//! The request to stop, as a token that every thread polls: SIGINT or SIGTERM becomes a flush of everything.
//!
//! The first signal sets the token; the second ends the process at once with `128 + signal`.

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::signal::unix::{SignalKind, signal};

/// A token that is set once and stays set. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(Arc<State>);

#[derive(Debug, Default)]
struct State {
    requested: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Shutdown {
    /// A token that nothing has set.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that SIGINT and SIGTERM set. Call it once, before data flows.
    ///
    /// # Errors
    /// When the signal handlers or their thread cannot be had.
    pub fn on_signals() -> io::Result<Self> {
        let token = Self::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut interrupt, mut terminate) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let setter = token.clone();
        thread::Builder::new().name("signal".to_owned()).spawn(move || {
            runtime.block_on(async {
                loop {
                    let number = tokio::select! {
                        _ = interrupt.recv() => libc::SIGINT,
                        _ = terminate.recv() => libc::SIGTERM,
                    };
                    if setter.requested() {
                        std::process::exit(128 + number);
                    }
                    tracing::info!("stopping: everything received is being written; a second signal ends at once");
                    setter.request();
                }
            });
        })?;
        Ok(token)
    }

    /// Sets the token and wakes those who wait.
    pub fn request(&self) {
        let _held = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.requested.store(true, Ordering::Release);
        self.0.changed.notify_all();
    }

    /// Whether to stop. One load: cheap enough for every batch.
    pub fn requested(&self) -> bool {
        self.0.requested.load(Ordering::Acquire)
    }

    /// Sleeps until the token is set, at most `timeout`. True when it is set.
    pub fn wait(&self, timeout: Duration) -> bool {
        let held = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.changed.wait_timeout_while(held, timeout, |()| !self.requested());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.requested()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reaches_clones_and_waiters() {
        let token = Shutdown::new();
        assert!(!token.requested());
        assert!(!token.wait(Duration::ZERO));
        let waiter = thread::spawn({
            let token = token.clone();
            move || token.wait(Duration::from_secs(600))
        });
        token.request();
        assert!(waiter.join().expect("the waiter returns"));
        assert!(token.clone().requested());
    }

    #[test]
    fn the_first_signal_sets_the_token() {
        let token = Shutdown::on_signals().expect("handlers can be installed");
        assert!(!token.requested());
        // SAFETY: raising a signal whose handler is installed.
        let failed = unsafe { libc::raise(libc::SIGTERM) };
        assert_eq!(failed, 0);
        assert!(token.wait(Duration::from_secs(60)), "the signal did not set the token");
    }
}
