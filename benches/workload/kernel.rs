//! A kernel object loaded for test runs: rings per CPU with a consumer, settings, and timed runs of its programs.

use std::{
    fs,
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use anyhow::{Context, Result};
use auscult::{
    capture::live::{
        LEND_MOST, PAUSE_LEAST,
        ring::{RingMemory, RingReader},
    },
    config::Config,
};
use auscult_ebpf::{record::CpuMemory, settings::Settings};
use aya::{
    Ebpf,
    maps::PerCpuArray,
    programs::{TestRun, TestRunOptions, Xdp, XdpMode},
};
use harness::kernel;

/// What the programs keep per CPU, as maps hold it.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Memory(CpuMemory);
// SAFETY: `CpuMemory` is `Plain`: integers without padding.
unsafe impl aya::Pod for Memory {}

/// A loaded object.
pub struct Kernel {
    ebpf: Ebpf,
    stop: Arc<AtomicBool>,
    drain: Option<JoinHandle<()>>,
}

impl Kernel {
    /// Loads an object with one ring per CPU and starts a thread that drains them all, pinned to the last CPU.
    pub fn load(object: &[u8], settings: Settings) -> Result<Self> {
        let ring_bytes = Config::default().meter.ring_bytes;
        let (ebpf, rings) = kernel::load(object, settings, ring_bytes)?;
        let memories = rings.iter().map(|ring| RingMemory::map(ring.fd().as_fd(), ring_bytes)).collect::<Result<Vec<_>, _>>()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stop_2 = stop.clone();
        let drain = std::thread::spawn(move || {
            pin(memories.len().saturating_sub(1));
            let mut readers: Vec<_> = memories.iter().map(RingReader::new).collect();
            let mut copy = Vec::new();
            while !stop_2.load(Ordering::Relaxed) {
                for reader in &mut readers {
                    while drain(reader, &mut copy) == LEND_MOST {}
                }
                std::thread::sleep(PAUSE_LEAST);
            }
        });
        Ok(Self { ebpf, stop, drain: Some(drain) })
    }

    /// Packets that the programs could not hand over so far: what they did then is not what is to be timed.
    pub fn lost(&self) -> Result<u64> {
        let map = self.ebpf.map("CORE").context("the object has no CORE")?;
        let memories: PerCpuArray<_, Memory> = PerCpuArray::try_from(map)?;
        let cpus = memories.get(&0, 0)?;
        Ok(cpus.iter().map(|memory| memory.0.core.counters.lost_packets.iter().sum::<u64>()).sum())
    }

    /// Loads a program into the kernel.
    pub fn load_program(&mut self, name: &str) -> Result<()> {
        let program: &mut Xdp = self.ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?;
        program.load().with_context(|| format!("the kernel refuses {name}"))
    }

    /// Attaches a loaded program to an interface of the calling thread's namespace, natively, as long as this value lives.
    pub fn attach(&mut self, name: &str, interface: &str) -> Result<()> {
        let program: &mut Xdp = self.ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?;
        program.attach(interface, XdpMode::Driver).with_context(|| format!("cannot attach {name} to {interface}"))?;
        Ok(())
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

/// Copies records out as the product's drain does, so many at a time, and returns their number.
fn drain(reader: &mut RingReader<'_>, copy: &mut Vec<u8>) -> usize {
    copy.clear();
    let drained = reader.drain(LEND_MOST, |record| copy.extend_from_slice(record)).records;
    std::hint::black_box(&copy);
    drained
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
