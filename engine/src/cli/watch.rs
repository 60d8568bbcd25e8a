//! Draws progress on a terminal, from a thread of its own; elsewhere it draws nothing.

use std::{
    io::IsTerminal,
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::progress::Progress;

const REDRAW: Duration = Duration::from_millis(100);

/// A bar that disappears when dropped.
#[derive(Debug)]
pub struct Watch {
    progress: Arc<Progress>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts drawing if stderr is a terminal.
    pub fn start(progress: &Arc<Progress>) -> Self {
        let progress = progress.clone();
        let thread = if std::io::stderr().is_terminal() {
            let watched = progress.clone();
            thread::Builder::new().name("watch".to_owned()).spawn(move || draw(&watched)).ok()
        } else {
            None
        };
        Self { progress, thread }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.progress.finish();
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}

fn draw(progress: &Progress) {
    let bar = ProgressBar::no_length();
    let sized = "{wide_bar} {bytes}/{total_bytes} {msg} {eta}";
    let unsized_ = "{spinner} {msg} {elapsed}";
    let style = |template| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style(unsized_));
    let mut has_length = false;
    while !progress.finished() {
        let total = progress.bytes_total.load(Ordering::Relaxed);
        if total > 0 && !has_length {
            has_length = true;
            bar.set_style(style(sized));
        }
        if has_length {
            bar.set_length(total);
            bar.set_position(progress.bytes_read.load(Ordering::Relaxed));
        }
        bar.set_message(message(progress));
        bar.tick();
        thread::park_timeout(REDRAW);
    }
    bar.finish_and_clear();
}

fn message(progress: &Progress) -> String {
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let lost = match read(&progress.lost) {
        0 => String::new(),
        lost => format!(", {lost} LOST"),
    };
    format!("{} packets, {} flows{lost}", read(&progress.packets), read(&progress.flows))
}
