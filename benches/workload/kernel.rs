//! A kernel object loaded for test runs: rings per CPU with a consumer, settings, and timed runs of its programs.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use anyhow::{Context, Result};
use auscult_ebpf::settings::Settings;
use aya::{
    Ebpf,
    maps::{PerCpuArray, PerCpuValues},
    programs::{TestRun, TestRunOptions, Xdp},
    util::nr_cpus,
};
use harness::kernel;

/// A loaded object.
pub struct Kernel {
    ebpf: Ebpf,
    stop: Arc<AtomicBool>,
    records: Arc<AtomicU64>,
    drain: Option<JoinHandle<()>>,
}

impl Kernel {
    /// Loads an object with one ring per CPU and starts a thread that drains them all, pinned to the last CPU.
    pub fn load(object: &[u8], settings: Settings) -> Result<Self> {
        let (ebpf, mut rings) = kernel::load(object, settings, kernel::RING_OCTETS)?;
        let last = rings.len().saturating_sub(1);
        let (stop, records) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop_2, records_2) = (stop.clone(), records.clone());
        let drain = std::thread::spawn(move || {
            pin(last);
            while !stop_2.load(Ordering::Relaxed) {
                let mut count = 0;
                for ring in &mut rings {
                    while ring.next().is_some() {
                        count += 1;
                    }
                }
                records_2.fetch_add(count, Ordering::Relaxed);
                if count == 0 {
                    std::thread::yield_now();
                }
            }
        });
        Ok(Self { ebpf, stop, records, drain: Some(drain) })
    }

    /// Records drained so far.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Lets the bench programs make `flows` (a power of two) flows of one frame.
    pub fn spread(&mut self, flows: u64) -> Result<()> {
        let cpus = nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))?;
        let map = self.ebpf.map_mut("SPREAD").context("the object has no SPREAD")?;
        let mut spread: PerCpuArray<_, [u64; 2]> = PerCpuArray::try_from(map)?;
        spread.set(0, PerCpuValues::try_from(vec![[flows - 1, 1]; cpus])?, 0)?;
        Ok(())
    }

    /// Loads a program into the kernel.
    pub fn load_program(&mut self, name: &str) -> Result<()> {
        let program: &mut Xdp = self.ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?;
        program.load().with_context(|| format!("the kernel refuses {name}"))
    }

    /// Mean nanoseconds per run over `repeat` runs of one frame.
    pub fn time(&self, name: &str, frame: &[u8], repeat: u32) -> Result<f64> {
        let program: &Xdp = self.ebpf.program(name).with_context(|| format!("no program {name}"))?.try_into()?;
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        Ok(program.test_run(options)?.duration.as_nanos() as f64)
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(drain) = self.drain.take() {
            let _ = drain.join();
        }
    }
}

/// Pins the calling thread to a CPU; without that CPU the figures are of any.
pub fn pin(cpu: usize) {
    if let Err(error) = kernel::pin(cpu) {
        eprintln!("{error:#}");
    }
}

/// Keeps `kernel.bpf_stats_enabled` at 0, whose clocks would count into every run; restores it.
pub struct NoStats(String);

impl NoStats {
    const PATH: &str = "/proc/sys/kernel/bpf_stats_enabled";

    /// Switches the statistics off.
    pub fn new() -> Self {
        let before = fs::read_to_string(Self::PATH).unwrap_or_default();
        let _ = fs::write(Self::PATH, "0");
        Self(before)
    }
}

impl Default for NoStats {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for NoStats {
    fn drop(&mut self) {
        if !self.0.trim().is_empty() {
            let _ = fs::write(Self::PATH, self.0.trim());
        }
    }
}
