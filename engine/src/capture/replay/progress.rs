//! How far a replay has come: stored octets read, and a bar of them on a terminal.

use std::{
    io::{IsTerminal, stderr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Stored octets read of all files. Of compressed files the compressed ones count.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    pub(super) read: Arc<AtomicU64>,
    pub(super) total: Option<u64>,
}

impl Progress {
    /// Octets read. Reading is ahead of the frames by up to a window, and by some buffers where files are compressed.
    pub fn octets_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Octets that there are; `None` when some of them come from a pipe.
    pub fn octets_total(&self) -> Option<u64> {
        self.total
    }
}

/// A bar of a [`Progress`] on standard error.
#[derive(Debug)]
pub struct Bar {
    progress: Progress,
    bar: ProgressBar,
}

impl Bar {
    /// A bar; `None` when standard error is no terminal.
    pub fn on_terminal(progress: &Progress) -> Option<Self> {
        stderr().is_terminal().then(|| Self::to(progress, ProgressDrawTarget::stderr()))
    }

    fn to(progress: &Progress, target: ProgressDrawTarget) -> Self {
        let bar = ProgressBar::with_draw_target(progress.total, target);
        let template = match progress.total {
            Some(_) => "{bar:30} {percent:>3}% of {total_bytes}, {binary_bytes_per_sec}, {eta} left, {msg}",
            None => "{spinner} {bytes} read, {binary_bytes_per_sec}, {msg}",
        };
        // A template is fixed text: should it ever be refused, indicatif's own bar is as good.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { progress: progress.clone(), bar }
    }

    /// Draws the state after `frames` frames. Cheap enough to be called every some thousand frames; redraws are limited.
    pub fn show(&self, frames: u64) {
        self.bar.set_message(format!("{frames} frames"));
        self.bar.set_position(self.progress.octets_read());
    }

    /// Removes the bar.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_follows_the_octets() {
        let progress = Progress { read: Arc::default(), total: Some(100) };
        let bar = Bar::to(&progress, ProgressDrawTarget::hidden());
        progress.read.store(40, Ordering::Relaxed);
        bar.show(7);
        assert_eq!((bar.bar.position(), bar.bar.length(), bar.bar.message().as_str()), (40, Some(100), "7 frames"));
    }
}
