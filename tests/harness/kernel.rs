//! The kernel object and settings → frames metered one by one by test runs of its programs, and the records they leave in the ring.
//!
//! A test run executes the program in the calling thread, so everything happens on the one CPU that the thread is pinned to.

use std::{fs, io, os::fd::AsFd as _, path::PathBuf};

use anyhow::{Context, Result, ensure};
use auscult::capture::live::ring;
use auscult_ebpf::{
    record::{SweepArguments, octets_of},
    settings::{FLAG_TIME_IN_METADATA, Settings},
};
use aya::{
    Ebpf, EbpfLoader,
    maps::{ArrayOfMaps, Map, MapData, RingBuf},
    programs::{ProgramError, SchedClassifier, TestRun, TestRunOptions, Xdp},
    util::nr_cpus,
};

/// Names another object than the committed one.
pub const OBJECT: &str = "AUSCULT_BPF_OBJECT";

/// Octets of a ring unless asked otherwise.
pub const RING_OCTETS: u32 = 16 << 20;
/// What a page has room for besides head room and tail room, on any kernel: a frame as long as this is linear.
const PAGE_ROOM: usize = 3000;
/// Octets of an Ethernet header: a test frame has one.
const ETHERNET_OCTETS: usize = 14;
/// Octets that stand in front of an XDP test frame: its time.
const METADATA_OCTETS: usize = 8;
/// Offset of `tstamp` in `struct __sk_buff`, and the structure's octets.
const SKB_TSTAMP: usize = 152;
const SKB_OCTETS: usize = 192;

/// `Settings` as the loader wants its globals.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Global(Settings);
// SAFETY: `Settings` is `Plain`: integers without padding.
unsafe impl aya::Pod for Global {}

/// Which program meters the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// XDP, linear frames.
    Xdp,
    /// XDP, frames in several buffers.
    XdpFrags,
    /// TCX ingress.
    Tcx,
}

impl Hook {
    /// The program's name in the object.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Xdp => "tap_xdp",
            Self::XdpFrags => "tap_xdp_frags",
            Self::Tcx => "tap_tcx",
        }
    }
}

/// What the kernel did with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// It ran the program, which returned this.
    Returned(u32),
    /// It makes no such test frames; nothing ran.
    Refused,
}

/// The object that tests load: the one that [`OBJECT`] names, else the committed one.
///
/// # Errors
/// It cannot be read.
pub fn object() -> Result<Vec<u8>> {
    let committed = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../engine-ebpf/object/auscult-tap.bpf.o"));
    let path = std::env::var_os(OBJECT).map_or_else(committed, PathBuf::from);
    fs::read(&path).with_context(|| format!("cannot read the kernel object {}", path.display()))
}

/// Loads the maps of an object and gives each CPU a ring.
///
/// # Errors
/// The kernel refuses a map, or the object lacks one.
pub fn load(object: &[u8], settings: Settings, ring_octets: u32) -> Result<(Ebpf, Vec<MapData>)> {
    let (mut ebpf, rings) = load_without_rings(object, settings, ring_octets)?;
    for (cpu, ring) in rings.iter().enumerate() {
        give_ring(&mut ebpf, cpu, ring)?;
    }
    Ok((ebpf, rings))
}

fn give_ring(ebpf: &mut Ebpf, cpu: usize, ring: &MapData) -> Result<()> {
    let mut table = ArrayOfMaps::try_from(ebpf.map_mut("RINGS").context("the object has no RINGS")?)?;
    Ok(table.set(cpu as u32, ring, 0)?)
}

/// Loads the maps, and makes a ring for each CPU, which does not have it yet.
fn load_without_rings(object: &[u8], settings: Settings, ring_octets: u32) -> Result<(Ebpf, Vec<MapData>)> {
    let settings = Settings { ring_octets, ..settings };
    let ebpf = EbpfLoader::new()
        .override_global("SETTINGS", &Global(settings), true)
        .map_max_entries("SETS", settings.sets_mask + 1)
        .load(object)
        .context("cannot load the kernel object (root is needed)")?;
    let cpus = nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))?;
    let mut rings = Vec::new();
    for _ in 0..cpus {
        rings.push(MapData::from_fd(ring::create(ring_octets).context("cannot create a ring")?)?);
    }
    Ok((ebpf, rings))
}

/// Pins the calling thread to a CPU.
///
/// # Errors
/// There is no such CPU, or it is not ours.
pub fn pin(cpu: usize) -> Result<()> {
    // SAFETY: a zeroed set is a valid empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set lives during the call.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: as above.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    ensure!(result == 0, "cannot pin to CPU {cpu}: {}", io::Error::last_os_error());
    Ok(())
}

/// The tap of one CPU, fed by test runs.
pub struct KernelTap {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    /// The same ring, for the programs.
    given: MapData,
    hook: Hook,
    linear: Option<usize>,
    buffer: Vec<u8>,
}

impl KernelTap {
    /// Loads `object` for one hook and pins the calling thread to `cpu`, whose ring is the one that is read. Settings must take
    /// the time from metadata.
    ///
    /// # Errors
    /// The kernel refuses a part, or the CPU does not exist.
    pub fn load(object: &[u8], settings: Settings, hook: Hook, cpu: usize) -> Result<Self> {
        Self::with_ring(object, settings, hook, cpu, RING_OCTETS)
    }

    /// The same with a ring of some size (a power of two, at least a page).
    ///
    /// # Errors
    /// As [`KernelTap::load`].
    pub fn with_ring(object: &[u8], settings: Settings, hook: Hook, cpu: usize, ring_octets: u32) -> Result<Self> {
        let mut tap = Self::without_ring(object, settings, hook, cpu, ring_octets)?;
        tap.give_ring(cpu)?;
        Ok(tap)
    }

    /// The same, without a ring until [`KernelTap::give_ring`].
    ///
    /// # Errors
    /// As [`KernelTap::load`].
    pub fn without_ring(object: &[u8], settings: Settings, hook: Hook, cpu: usize, ring_octets: u32) -> Result<Self> {
        ensure!(settings.has(FLAG_TIME_IN_METADATA), "a test run has no clock of its own");
        pin(cpu)?;
        let (mut ebpf, mut rings) = load_without_rings(object, settings, ring_octets)?;
        ensure!(cpu < rings.len(), "there is no CPU {cpu}");
        let kept = rings.swap_remove(cpu);
        let given = MapData::from_fd(kept.fd().as_fd().try_clone_to_owned()?)?;
        let ring = RingBuf::try_from(Map::RingBuf(kept))?;
        xdp_mut(&mut ebpf, "sweep")?.load().context("the kernel refuses sweep")?;
        let name = hook.program();
        match hook {
            Hook::Tcx => {
                let program: &mut SchedClassifier = ebpf.program_mut(name).context("no program tap_tcx")?.try_into()?;
                program.load()
            }
            Hook::Xdp | Hook::XdpFrags => xdp_mut(&mut ebpf, name)?.load(),
        }
        .with_context(|| format!("the kernel refuses {name}"))?;
        Ok(Self { ebpf, ring, given, hook, linear: None, buffer: Vec::new() })
    }

    /// Gives the CPU its ring.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn give_ring(&mut self, cpu: usize) -> Result<()> {
        give_ring(&mut self.ebpf, cpu, &self.given)
    }

    /// Octets of the frames from here on that are in the linear part, the rest in fragments; `None`: as many as fit a page. XDP
    /// only: few kernels make such frames for TCX.
    pub fn set_linear(&mut self, octets: Option<usize>) {
        self.linear = octets;
    }

    /// Meters a frame at a time.
    ///
    /// These and no other frames may be refused: one shorter than an Ethernet header; one longer than a page has room for, where
    /// frames have no fragments or too few; and at TCX, one that ends inside the IP header that its ethertype announces.
    ///
    /// # Errors
    /// The kernel refuses another frame.
    pub fn frame(&mut self, at: u64, octets: &[u8]) -> Result<Ran> {
        if self.hook == Hook::Xdp && octets.len() > PAGE_ROOM {
            // The test run makes fragments for a program that knows none, which no driver does.
            return Ok(Ran::Refused);
        }
        let result = match self.hook {
            Hook::Tcx => self.run_tcx(at, octets),
            Hook::Xdp | Hook::XdpFrags => self.run_xdp(at, octets),
        };
        match result {
            Ok(returned) => Ok(Ran::Returned(returned)),
            Err(_) if octets.len() > PAGE_ROOM || octets.len() < ETHERNET_OCTETS => Ok(Ran::Refused),
            Err(_) if self.hook == Hook::Tcx && octets.len() < ETHERNET_OCTETS + ip_octets(octets) => Ok(Ran::Refused),
            Err(error) => Err(error).with_context(|| format!("the kernel refuses a test frame of {} octets", octets.len())),
        }
    }

    fn run_xdp(&mut self, at: u64, octets: &[u8]) -> Result<u32> {
        self.buffer.clear();
        self.buffer.extend(at.to_ne_bytes());
        self.buffer.extend(octets);
        let end = self.linear.map_or(self.buffer.len(), |linear| (linear + METADATA_OCTETS).min(self.buffer.len()));
        // `struct xdp_md`: data, data_end, data_meta, interface, queue, egress interface.
        let context = [METADATA_OCTETS as u32, end as u32, 0, 0, 0, 0].map(u32::to_ne_bytes);
        let program: &Xdp = self.ebpf.program(self.hook.program()).context("no such program")?.try_into()?;
        let options =
            TestRunOptions { data_in: Some(&self.buffer), ctx_in: Some(context.as_flattened()), ..TestRunOptions::default() };
        Ok(program.test_run(options)?.return_value)
    }

    fn run_tcx(&mut self, at: u64, octets: &[u8]) -> Result<u32> {
        let mut context = [0; SKB_OCTETS];
        context[SKB_TSTAMP..SKB_TSTAMP + 8].copy_from_slice(&at.to_ne_bytes());
        let program: &SchedClassifier = self.ebpf.program(self.hook.program()).context("no such program")?.try_into()?;
        let options = TestRunOptions { data_in: Some(octets), ctx_in: Some(&context), ..TestRunOptions::default() };
        Ok(program.test_run(options)?.return_value)
    }

    /// Runs the sweep program and returns what it returned.
    ///
    /// # Errors
    /// The kernel refuses to run it.
    pub fn sweep(&self, arguments: &SweepArguments) -> Result<u32, ProgramError> {
        let mut packet = [0; 64];
        packet[..size_of::<SweepArguments>()].copy_from_slice(octets_of(arguments));
        let program: &Xdp = self.ebpf.program("sweep").ok_or(ProgramError::NotLoaded)?.try_into()?;
        let options = TestRunOptions { data_in: Some(&packet), ..TestRunOptions::default() };
        Ok(program.test_run(options)?.return_value)
    }

    /// Takes all records out of the ring, oldest first.
    ///
    /// # Errors
    /// What `take` says.
    pub fn drain(&mut self, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        while let Some(record) = self.ring.next() {
            take(&record)?;
        }
        Ok(())
    }
}

/// Octets of the fixed IP header that the ethertype announces.
fn ip_octets(frame: &[u8]) -> usize {
    match frame.get(12..14) {
        Some([0x08, 0x00]) => 20,
        Some([0x86, 0xdd]) => 40,
        _ => 0,
    }
}

fn xdp_mut<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
    Ok(program.try_into()?)
}
