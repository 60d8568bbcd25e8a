//! A kernel object loaded for test runs: rings per CPU with a consumer, settings, and timed runs of its programs.

use std::{
    fs,
    os::fd::{FromRawFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use anyhow::{Context, Result, bail};
use auscult_ebpf::settings::Settings;
use aya::{
    Ebpf, EbpfLoader,
    maps::{ArrayOfMaps, Map, MapData, PerCpuArray, PerCpuValues, RingBuf},
    programs::{TestRun, TestRunOptions, Xdp, XdpMode},
    util::nr_cpus,
};

/// `Settings` as the loader wants its globals.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Global(Settings);
// SAFETY: `Settings` is `Plain`: integers without padding.
unsafe impl aya::Pod for Global {}

/// A loaded object.
pub struct Kernel {
    ebpf: Ebpf,
    stop: Arc<AtomicBool>,
    records: Arc<AtomicU64>,
    drain: Option<JoinHandle<()>>,
}

const RING_OCTETS: u32 = 16 << 20;
const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_TYPE_RINGBUF: u32 = 27;

/// The leading fields of `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    rest: [u32; 14],
}

fn create_ring() -> Result<MapData> {
    let attributes = MapCreate { map_type: BPF_MAP_TYPE_RINGBUF, max_entries: RING_OCTETS, ..MapCreate::default() };
    // SAFETY: the attributes are a zero-extended prefix of `union bpf_attr`, alive during the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_CREATE, &raw const attributes, size_of::<MapCreate>()) };
    if fd < 0 {
        bail!("cannot create a ring: {}", std::io::Error::last_os_error());
    }
    // SAFETY: the system call returned a new descriptor that nothing else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    MapData::from_fd(fd).context("cannot read back the ring's map")
}

impl Kernel {
    /// Loads an object with one ring per CPU and starts a thread that drains them all, pinned to the last CPU.
    pub fn load(object: &[u8], settings: Settings) -> Result<Self> {
        let mut ebpf = EbpfLoader::new()
            .override_global("SETTINGS", &Global(settings), true)
            .map_max_entries("SETS", settings.sets_mask + 1)
            .load(object)
            .context("cannot load the kernel object (root is needed)")?;
        let cpus = nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))?;
        let mut rings = Vec::new();
        let mut table = ArrayOfMaps::try_from(ebpf.map_mut("RINGS").context("the object has no RINGS")?)?;
        for cpu in 0..cpus {
            let ring = create_ring()?;
            table.set(cpu as u32, &ring, 0)?;
            rings.push(RingBuf::try_from(Map::RingBuf(ring))?);
        }
        let (stop, records) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop_2, records_2) = (stop.clone(), records.clone());
        let drain = std::thread::spawn(move || {
            pin(cpus - 1);
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

/// Pins the calling thread to a CPU.
pub fn pin(cpu: usize) {
    // SAFETY: a zeroed set is a valid empty set; the set lives during the call.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
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
