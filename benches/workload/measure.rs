//! Children with their wall time, CPU time and peak memory; medians; compressed bytes by column of a lake.

use std::{
    collections::BTreeMap,
    io::Read,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use parquet::file::reader::{FileReader, SerializedFileReader};

/// How a child ended, and what it took.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// Wall time, seconds.
    pub seconds: f64,
    /// User CPU time, seconds.
    pub user_seconds: f64,
    /// System CPU time, seconds.
    pub system_seconds: f64,
    /// Peak resident memory, bytes.
    pub peak_bytes: u64,
    /// Ended by itself with status 0.
    pub success: bool,
    /// What it printed.
    pub output: String,
    /// What it said on standard error.
    pub errors: String,
}

/// Runs a command to its end.
///
/// # Errors
/// When it cannot be started or waited for; how it ends is not an error.
#[expect(clippy::disallowed_methods, reason = "a bench times what it runs")]
pub fn run(command: &mut Command) -> Result<Ended> {
    let begin = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let mut stderr = child.stderr.take().context("no standard error")?;
    let mut stdout = child.stdout.take().context("no standard output")?;
    let errors = thread::spawn(move || read(&mut stderr));
    let output = read(&mut stdout);
    let mut status = 0;
    // SAFETY: zeroed integers are a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live variables of the types that the call fills in; the child is ours and not yet waited for.
    let waited = unsafe { libc::wait4(child.id() as i32, &raw mut status, 0, &raw mut usage) };
    let seconds = begin.elapsed().as_secs_f64();
    if waited < 0 {
        bail!("cannot wait for {}: {}", command.get_program().display(), std::io::Error::last_os_error());
    }
    let seconds_of = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok(Ended {
        seconds,
        user_seconds: seconds_of(usage.ru_utime),
        system_seconds: seconds_of(usage.ru_stime),
        peak_bytes: usage.ru_maxrss.cast_unsigned() * 1024,
        success: libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
        output,
        errors: errors.join().unwrap_or_default(),
    })
}

fn read(from: &mut impl Read) -> String {
    let mut octets = Vec::new();
    let _ = from.read_to_end(&mut octets);
    String::from_utf8_lossy(&octets).into_owned()
}

/// What this thread has run so far: a figure that other work on the machine disturbs less than the wall clock.
pub fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec, which the call fills in.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The middle one; zero of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// First quartile, median and third quartile, by linear interpolation; zeros of none.
pub fn quartiles(values: impl IntoIterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    [0.25, 0.5, 0.75].map(|part| {
        let place = part * values.len().saturating_sub(1) as f64;
        let (low, high) = (place.floor() as usize, place.ceil() as usize);
        let at = |place: usize| values.get(place).copied().unwrap_or(0.0);
        at(low) + (at(high) - at(low)) * (place - place.floor())
    })
}

/// Compressed bytes by column over all Parquet files below `directory`, from their footers.
///
/// # Errors
/// When a file cannot be read.
pub fn by_column(directory: &Path, sums: &mut BTreeMap<String, i64>) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            by_column(&path, sums)?;
            continue;
        }
        let reader = SerializedFileReader::new(std::fs::File::open(&path)?)?;
        for group in reader.metadata().row_groups() {
            for column in group.columns() {
                let name = column.column_path().parts()[0].clone();
                *sums.entry(name).or_default() += column.compressed_size();
            }
        }
    }
    Ok(())
}

/// CPUs, processor, memory and kernel, in one line.
pub fn machine() -> String {
    let cpus = thread::available_parallelism().map_or(0, usize::from);
    let text = |path| std::fs::read_to_string(path).unwrap_or_default();
    let model = text("/proc/cpuinfo");
    let model = model.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("").trim_start_matches([' ', '\t', ':']);
    let memory = text("/proc/meminfo");
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    let memory = memory.map_or_else(String::new, |kib| format!(", {:.0} GiB", kib / f64::from(1 << 20)));
    format!("{cpus} CPUs, {model}{memory}, Linux {}", text("/proc/sys/kernel/osrelease").trim())
}

/// Processes that wanted a CPU, on average over the last minute; `None` where the kernel does not say.
pub fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}
