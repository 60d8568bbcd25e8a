//! Log lines to stderr, and the limit that keeps one place in the code from flooding them.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tracing::{Event, Level, Metadata, callsite::Identifier};
use tracing_subscriber::{
    Layer,
    filter::LevelFilter,
    layer::{Context, Filter, SubscriberExt},
    util::{SubscriberInitExt, TryInitError},
};

use crate::{
    config::{Log, LogFormat, LogLevel},
    limit::{LOG_LINES_PER_WINDOW, LOG_WINDOW_SECS},
    time,
};

static SUPPRESSED: AtomicU64 = AtomicU64::new(0);

/// Lines left out since the start.
pub fn suppressed() -> u64 {
    SUPPRESSED.load(Ordering::Relaxed)
}

/// Starts logging to stderr. Lines of level info and above are limited per call site; debug and trace, which somebody asked
/// for, are not.
///
/// # Errors
/// When logging was started before.
pub fn start(log: Log) -> Result<(), TryInitError> {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = match log.format {
        LogFormat::Json => lines.json().flatten_event(true).with_filter(Limit::default()).boxed(),
        LogFormat::Text => {
            lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).with_filter(Limit::default()).boxed()
        }
    };
    tracing_subscriber::registry().with(level_filter(log.level)).with(lines).try_init()
}

fn level_filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

impl<S> Filter<S> for Limit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let line = event.metadata();
        let admitted = *line.level() > Level::INFO || self.admit(line.callsite(), time::monotonic());
        SUPPRESSED.fetch_add(u64::from(!admitted), Ordering::Relaxed);
        admitted
    }
}

/// Lines per call site and window. Bounded by the number of call sites in the binary.
#[derive(Debug, Default)]
struct Limit(Mutex<HashMap<Identifier, Window>>);

#[derive(Debug, Default)]
struct Window {
    start: u64,
    lines: u32,
}

impl Limit {
    /// Whether one more line of this call site may be written at this monotonic time.
    fn admit(&self, site: Identifier, now: u64) -> bool {
        let mut sites = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let window = sites.entry(site).or_insert(Window { start: now, lines: 0 });
        if now.saturating_sub(window.start) >= LOG_WINDOW_SECS * 1_000_000_000 {
            *window = Window { start: now, lines: 0 };
        }
        window.lines = window.lines.saturating_add(1);
        window.lines <= LOG_LINES_PER_WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::callsite::Callsite;

    /// Its identity is its address, so it must not be of size zero.
    struct Site(#[expect(dead_code, reason = "gives the type a size")] u8);
    impl Callsite for Site {
        fn set_interest(&self, _: tracing::subscriber::Interest) {}
        fn metadata(&self) -> &Metadata<'_> {
            unreachable!("the limit asks for the identity only")
        }
    }
    static SITES: [Site; 2] = [Site(0), Site(1)];

    #[test]
    fn a_call_site_that_repeats_is_cut_off_for_the_window() {
        let limit = Limit::default();
        let (site, other) = (Identifier(&SITES[0]), Identifier(&SITES[1]));
        let second = 1_000_000_000;
        let admitted = (0..1_000).filter(|_| limit.admit(site.clone(), second)).count();
        assert_eq!(admitted, LOG_LINES_PER_WINDOW as usize);
        assert!(limit.admit(other, second), "another place has its own lines");
        assert!(!limit.admit(site.clone(), second * LOG_WINDOW_SECS));
        assert!(limit.admit(site, second * (LOG_WINDOW_SECS + 1)));
    }
}
