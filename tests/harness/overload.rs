//! What overloads an engine: disks that fill or stand still, threads that hardly run, floods that no capture has; and a fresh measure of
//! resident memory for each.
#![expect(clippy::disallowed_methods, reason = "a deadline bounds how long a thread is waited for")]

use std::{
    ffi::CString,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use auscult::{
    pipeline::Outcome,
    scene::frame::{self, Ip, Link, Pair, Tag, Tcp, control},
};
use tempfile::TempDir;

/// Forgets the largest resident memory so far, and gives back what earlier work has freed.
///
/// # Errors
/// The kernel refuses.
pub fn forget_peak() -> Result<()> {
    // SAFETY: no memory is passed.
    unsafe { libc::malloc_trim(0) };
    fs::write("/proc/self/clear_refs", "5").context("cannot forget the peak of resident memory")
}

/// Checks that the engine kept to what it said, and says both.
///
/// # Panics
/// When it did not.
pub fn within_bound(name: &str, outcome: &Outcome) {
    let (peak, bound) = (outcome.summary.peak_memory_bytes.unwrap_or(u64::MAX), outcome.summary.memory_bound_bytes);
    println!("{name}: {} MiB resident of at most {} MiB", peak >> 20, bound >> 20);
    assert!(peak <= bound, "{name}: {peak} bytes resident, at most {bound} were promised");
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("cannot run {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}", arguments.join(" "), said.trim());
    Ok(())
}

/// A file system of its own, gone with the value.
#[derive(Debug)]
pub struct Disk {
    folder: TempDir,
    frozen: AtomicBool,
}

impl Disk {
    /// In memory, of that many KiB.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn small(kibibytes: u32) -> Result<Self> {
        let disk = Self { folder: TempDir::new()?, frozen: AtomicBool::new(false) };
        let (point, size) = (disk.point()?, format!("size={kibibytes}k"));
        run("mount", &["-t", "tmpfs", "-o", &size, "auscult-test", &point])?;
        Ok(disk)
    }

    /// One that can be frozen: ext4 in a file of 256 MiB.
    ///
    /// # Errors
    /// It cannot be made or mounted.
    pub fn freezable() -> Result<Self> {
        let disk = Self { folder: TempDir::new()?, frozen: AtomicBool::new(false) };
        let image = disk.folder.path().join("image").display().to_string();
        File::create(&image)?.set_len(256 << 20)?;
        run("mkfs.ext4", &["-q", "-F", &image])?;
        run("mount", &["-o", "loop", &image, &disk.point()?])?;
        Ok(disk)
    }

    fn point(&self) -> Result<String> {
        let point = self.folder.path().join("mounted");
        fs::create_dir_all(&point)?;
        Ok(point.display().to_string())
    }

    /// Where a data directory may be made.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("mounted/data")
    }

    /// Lets every write wait, or go on.
    ///
    /// # Errors
    /// The file system cannot be frozen.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        if self.frozen.swap(frozen, Ordering::Relaxed) != frozen {
            let point = self.folder.path().join("mounted").display().to_string();
            run("fsfreeze", &[if frozen { "--freeze" } else { "--unfreeze" }, &point])?;
        }
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.freeze(false);
        let point = self.folder.path().join("mounted").display().to_string();
        let _ = run("umount", &["--lazy", &point]);
    }
}

/// Threads of this process whose name begins so; waits until there are some.
fn threads(prefix: &str) -> Result<Vec<i32>> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        let mut found = Vec::new();
        for task in fs::read_dir("/proc/self/task")? {
            let path = task?.path();
            // A thread may end meanwhile.
            let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
            if name.starts_with(prefix) {
                found.extend(path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<i32>().ok()));
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
        thread::sleep(Duration::from_millis(1));
    }
    anyhow::bail!("no thread {prefix}* came up")
}

fn schedule(thread: i32, policy: libc::c_int, cpu: Option<usize>) {
    // SAFETY: a zeroed parameter and an empty set are valid; both outlive the calls. A thread that has ended is refused, which is fine.
    unsafe {
        let parameter: libc::sched_param = std::mem::zeroed();
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        match cpu {
            Some(cpu) => libc::CPU_SET(cpu, &mut set),
            None => (0..libc::CPU_SETSIZE as usize).for_each(|cpu| libc::CPU_SET(cpu, &mut set)),
        }
        libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &raw const set);
        libc::sched_setscheduler(thread, policy, &raw const parameter);
    }
}

/// Lets the engine's threads `prefix*` have only what another thread leaves of the first CPU, which is next to nothing, for that long.
///
/// # Errors
/// There are no such threads.
pub fn starve(prefix: &str, time: Duration) -> Result<()> {
    let starved = threads(prefix)?;
    starved.iter().for_each(|thread| schedule(*thread, libc::SCHED_IDLE, Some(0)));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            schedule(0, libc::SCHED_OTHER, Some(0));
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
    });
    starved.iter().for_each(|thread| schedule(*thread, libc::SCHED_OTHER, None));
    Ok(())
}

/// What a flood is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UDP datagrams with a payload.
    Udp,
    /// UDP datagrams to the DNS port.
    Dns,
    /// SYN segments.
    Syn,
    /// Later fragments, each of another datagram, whose first was never seen.
    Fragments,
    /// First fragments, each of another datagram.
    FirstFragments,
    /// UDP datagrams behind a VLAN tag.
    Vlan,
    /// UDP datagrams between one pair of hosts.
    OnePair,
}

/// The frame that a flood is made of, and where each copy differs: offset and random bits of 16-bit fields.
pub fn template(kind: Kind) -> (Vec<u8>, Vec<(u16, u16)>) {
    const SOURCE_ADDRESS: [(u16, u16); 2] = [(26, 0x7fff), (28, 0xffff)];
    const TARGET_ADDRESS: (u16, u16) = (32, 0xffff);
    const SOURCE_PORT: (u16, u16) = (34, 0xffff);
    const IDENTIFICATION: (u16, u16) = (18, 0xffff);
    let pair = Pair::V4([10, 1, 0, 1].into(), [10, 2, 0, 2].into());
    let mut link = Link { target: [2, 0, 0, 0, 0, 2], source: [2, 0, 0, 0, 0, 1], tags: Vec::new() };
    // No port of a class of samples.
    let udp = |port: u16| (frame::UDP, frame::udp(pair, [40_000, port], &[7; 18]));
    let from_anywhere = [SOURCE_ADDRESS[0], SOURCE_ADDRESS[1], TARGET_ADDRESS].to_vec();
    let ((protocol, segment), places) = match kind {
        Kind::Udp => (udp(4000), from_anywhere),
        Kind::Dns => (udp(53), from_anywhere),
        Kind::OnePair => (udp(4000), vec![SOURCE_PORT]),
        Kind::Syn => {
            let header = Tcp {
                ports: [40_000, 443],
                sequence: 1,
                acknowledgement: 0,
                control_bits: control::SYN,
                window: 64_240,
                options: &[],
            };
            ((frame::TCP, frame::tcp(pair, &header, &[])), from_anywhere)
        }
        Kind::Fragments | Kind::FirstFragments => (udp(4000), vec![SOURCE_ADDRESS[0], SOURCE_ADDRESS[1], IDENTIFICATION]),
        Kind::Vlan => {
            link.tags = vec![Tag { protocol: 0x8100, control: 1 }];
            let behind_tag = from_anywhere.iter().map(|(offset, mask)| (offset + 4, *mask));
            (udp(4000), behind_tag.chain([(14, 0x0fff)]).collect())
        }
    };
    let mut packet = frame::packets(&Ip::new(pair, protocol), &segment, 1500).swap_remove(0);
    match kind {
        Kind::Fragments => packet[6..8].copy_from_slice(&[0, 40]),
        Kind::FirstFragments => packet[6..8].copy_from_slice(&[0x20, 0]),
        _ => {}
    }
    (frame::ethernet(&link, frame::ETHERTYPE_IPV4, &packet), places)
}

/// The `n`-th copy: its random fields are a bijection of `n` as far as they have bits.
pub fn vary(copy: &mut [u8], places: &[(u16, u16)], n: u64) {
    let mut bits = n;
    for (offset, mask) in places.iter().rev() {
        let at = usize::from(*offset);
        copy[at..at + 2].copy_from_slice(&(bits as u16 & mask).to_be_bytes());
        bits >>= mask.count_ones();
    }
}

/// Writes a pcap with nanosecond times.
///
/// # Errors
/// The file cannot be written.
pub fn write_pcap(to: impl Write, frames: impl Iterator<Item = (u64, Vec<u8>)>) -> io::Result<()> {
    let mut to = BufWriter::with_capacity(1 << 16, to);
    for word in [0xa1b2_3c4d_u32, 2 | 4 << 16, 0, 0, 262_144, 1] {
        to.write_all(&word.to_le_bytes())?;
    }
    for (at, octets) in frames {
        let length = octets.len() as u32;
        for word in [(at / 1_000_000_000) as u32, (at % 1_000_000_000) as u32, length, length] {
            to.write_all(&word.to_le_bytes())?;
        }
        to.write_all(&octets)?;
    }
    to.flush()
}

/// A pipe with a name, which a capture is written into while it is read.
///
/// # Errors
/// It cannot be made.
pub fn named_pipe(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("capture.pcap");
    let text = CString::new(path.as_os_str().as_encoded_bytes())?;
    // SAFETY: a string that outlives the call.
    ensure!(unsafe { libc::mkfifo(text.as_ptr(), 0o600) } == 0, "mkfifo: {}", io::Error::last_os_error());
    Ok(path)
}
