//! Fuzz targets: arbitrary octets in, a panic when a law of the product is broken.
//!
//! The bodies are here so that libFuzzer (`tests/fuzz`) and the replay of kept inputs (`tests/fuzz_corpus.rs`) run the very same
//! code. Each body reads its input with [`Octets`], which never ends: past the end everything is zero.

use tempfile::TempDir;

mod books;
mod capture;
mod capture_written;
mod config_toml;
mod delta_biflow;
mod dissect;
mod frame_meter;
mod lake;
mod ring;
mod sampler;
pub mod seed;

pub use books::books_json;
pub use capture::{capture_gzip_zstd, capture_reader};
pub use capture_written::capture_written;
pub use config_toml::config_toml;
pub use delta_biflow::delta_biflow;
pub use dissect::dissect;
pub use frame_meter::frame_meter;
pub use lake::lake_files;
pub use ring::ring_records;
pub use sampler::sampler;

/// One target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of the libFuzzer binary and of the folders of kept inputs.
    pub name: &'static str,
    /// Its body.
    pub body: fn(&[u8]),
    /// Mutated inputs that the ordinary test tries.
    pub executions: u32,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "frame_meter", body: frame_meter, executions: 80_000 },
    Target { name: "sampler", body: sampler, executions: 20_000 },
    Target { name: "ring_records", body: ring_records, executions: 10_000 },
    Target { name: "capture_reader", body: capture_reader, executions: 80_000 },
    Target { name: "capture_written", body: capture_written, executions: 20_000 },
    Target { name: "capture_gzip_zstd", body: capture_gzip_zstd, executions: 5_000 },
    Target { name: "delta_biflow", body: delta_biflow, executions: 8_000 },
    Target { name: "config_toml", body: config_toml, executions: 30_000 },
    Target { name: "dissect", body: dissect, executions: 20_000 },
    Target { name: "lake_files", body: lake_files, executions: 1_000 },
    Target { name: "books_json", body: books_json, executions: 5_000 },
];

/// A directory in memory where there is one for that: what is synced there waits for no disk.
pub(crate) fn in_memory() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).expect("a temporary directory")
}

/// Octets that are taken from the front.
#[derive(Clone, Copy, Debug)]
pub struct Octets<'a>(pub &'a [u8]);

impl<'a> Octets<'a> {
    /// Whether all were taken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As many as there are of `count`.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// The next `N`, zero past the end.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.take(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    /// One octet.
    pub fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    /// Two octets.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// Four octets.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }
}

/// Steps of time that matter to a meter or a table, nanoseconds: within a tick, at its border, at timeouts.
pub(crate) const STEPS: [u64; 16] = [
    0,
    1,
    40,
    1_000,
    100_000,
    5_000_000,
    100_000_000,
    (1 << 29) - 1,
    1 << 29,
    (1 << 29) + 1,
    1_000_000_000,
    5_000_000_000,
    5_000_000_001,
    120_000_000_001,
    1_800_000_000_000,
    1 << 50,
];
