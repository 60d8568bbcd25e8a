//! The host to what a capture may rely on: kernel version, privileges, interfaces, online CPUs, clocks.

use std::{fs, io};

use super::error::LiveError;

/// Least kernel version: TCX, and test runs with bottom halves off.
const KERNEL_FLOOR: (u32, u32) = (6, 6);
const KERNEL_FLOOR_TEXT: &str = "6.6";

const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Refuses kernels below the floor and real-time kernels.
pub(super) fn check_kernel() -> Result<(), LiveError> {
    let release = proc_line("/proc/sys/kernel/osrelease", "kernel release")?;
    let version = proc_line("/proc/sys/kernel/version", "kernel version")?;
    judge_kernel(&release, &version)
}

fn judge_kernel(release: &str, version: &str) -> Result<(), LiveError> {
    if parse_release(release).is_none_or(|found| found < KERNEL_FLOOR) {
        return Err(LiveError::Kernel { found: release.to_owned(), floor: KERNEL_FLOOR_TEXT });
    }
    if version.contains("PREEMPT_RT") {
        return Err(LiveError::Realtime { found: release.to_owned() });
    }
    Ok(())
}

/// Major and minor number of a kernel release such as `6.12.4-amd64`.
fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?;
    let digits = minor.find(|c: char| !c.is_ascii_digit()).unwrap_or(minor.len());
    Some((major, minor[..digits].parse().ok()?))
}

/// Refuses when this thread lacks a capability that the capture needs.
pub(super) fn check_privileges() -> Result<(), LiveError> {
    let status = read("/proc/thread-self/status", "capabilities of this thread")?;
    let effective = parse_capabilities(&status).ok_or_else(|| LiveError::Host {
        what: "capabilities of this thread",
        source: io::Error::new(io::ErrorKind::InvalidData, "no CapEff line"),
    })?;
    let missing = missing_capabilities(effective);
    if missing.is_empty() { Ok(()) } else { Err(LiveError::Privileges { missing: missing.join(" ") }) }
}

fn parse_capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn missing_capabilities(effective: u64) -> Vec<&'static str> {
    let has = |capability: u32| effective & (1 << capability) != 0;
    let every = [
        (has(CAP_NET_ADMIN), "CAP_NET_ADMIN"),
        (has(CAP_NET_RAW), "CAP_NET_RAW"),
        (has(CAP_BPF) || has(CAP_SYS_ADMIN), "CAP_BPF"),
        (has(CAP_PERFMON) || has(CAP_SYS_ADMIN), "CAP_PERFMON"),
    ];
    every.into_iter().filter_map(|(has, name)| (!has).then_some(name)).collect()
}

/// What an operator should know about this host; capture works all the same.
pub(super) fn warnings() -> Vec<String> {
    let mut warnings = Vec::new();
    if read("/proc/sys/kernel/bpf_stats_enabled", "").is_ok_and(|text| text.trim() == "1") {
        warnings.push(
            "kernel.bpf_stats_enabled is 1, which costs every packet two clock reads; set it to 0 when nobody needs it"
                .to_owned(),
        );
    }
    if read("/proc/sys/net/core/bpf_jit_enable", "").is_ok_and(|text| text.trim() == "0") {
        warnings.push("net.core.bpf_jit_enable is 0, so the tap program is interpreted; set it to 1".to_owned());
    }
    warnings
}

/// CPUs that are online, in order.
pub(super) fn online_cpus() -> Result<Vec<u32>, LiveError> {
    const WHAT: &str = "list of online cpus";
    let text = read("/sys/devices/system/cpu/online", WHAT)?;
    parse_cpus(text.trim()).ok_or_else(|| LiveError::Host {
        what: WHAT,
        source: io::Error::new(io::ErrorKind::InvalidData, format!("{:?} is no cpu list", text.trim())),
    })
}

/// CPUs of a list such as `0-3,6`.
fn parse_cpus(list: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cpus.extend(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?);
    }
    Some(cpus)
}

/// Names of the interfaces of this thread's network namespace.
pub(super) fn interfaces() -> Vec<String> {
    let mut names = Vec::new();
    // SAFETY: no arguments; the result is null or an array that ends with a zero index and is freed below.
    let list = unsafe { libc::if_nameindex() };
    if list.is_null() {
        return names;
    }
    let mut entry = list;
    // SAFETY: the array ends with an entry of index zero, before which every name is a C string.
    unsafe {
        while (*entry).if_index != 0 {
            names.push(std::ffi::CStr::from_ptr((*entry).if_name).to_string_lossy().into_owned());
            entry = entry.add(1);
        }
        libc::if_freenameindex(list);
    }
    names
}

/// Nanoseconds of `clock`.
pub(super) fn clock(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec that lives through the call; a failure leaves it zero.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Unix nanoseconds minus the observation clock (`CLOCK_MONOTONIC`): the reading with the least doubt of three.
pub(super) fn utc_offset() -> i64 {
    let reading = || {
        let before = clock(libc::CLOCK_MONOTONIC);
        let utc = clock(libc::CLOCK_REALTIME);
        let after = clock(libc::CLOCK_MONOTONIC);
        (after - before, utc - before - (after - before) / 2)
    };
    [reading(), reading(), reading()].into_iter().min().map_or(0, |(_, offset)| offset)
}

/// Binds the calling thread to one CPU.
pub(super) fn pin_to(cpu: u32) -> io::Result<()> {
    // SAFETY: an all-zero set is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    if cpu as usize >= 8 * size_of::<libc::cpu_set_t>() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: `cpu` is within the set, as checked.
    unsafe { libc::CPU_SET(cpu as usize, &mut set) };
    // SAFETY: the set lives through the call; 0 is the calling thread.
    match unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn proc_line(path: &str, what: &'static str) -> Result<String, LiveError> {
    Ok(read(path, what)?.trim().to_owned())
}

fn read(path: &str, what: &'static str) -> Result<String, LiveError> {
    fs::read_to_string(path).map_err(|source| LiveError::Host { what, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        let cases = [
            ("6.6.0", Some((6, 6))),
            ("6.12.4-amd64", Some((6, 12))),
            ("6.1-rc3", Some((6, 1))),
            ("7.0+", Some((7, 0))),
            ("5.15.0-1.fc", Some((5, 15))),
            ("linux", None),
            ("6", None),
            ("6.x", None),
        ];
        for (release, expect) in cases {
            assert_eq!(parse_release(release), expect, "{release}");
        }
    }

    #[test]
    fn old_and_realtime_kernels_are_refused() {
        assert!(judge_kernel("6.6.1", "#1 SMP PREEMPT_DYNAMIC").is_ok());
        assert!(judge_kernel("10.0.1", "#1 SMP").is_ok());
        let old = judge_kernel("6.5.13-generic", "#1 SMP").expect_err("6.5 is below the floor");
        assert_eq!(
            old.to_string(),
            "linux 6.5.13-generic is too old for live capture, which needs 6.6 or newer; boot a newer kernel or use `replay`"
        );
        assert!(matches!(judge_kernel("6.12.0-rt1", "#1 SMP PREEMPT_RT"), Err(LiveError::Realtime { .. })));
    }

    #[test]
    fn capabilities() {
        assert_eq!(parse_capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n"), Some(0x1ff_ffff_ffff));
        assert_eq!(parse_capabilities("Name:\tx\n"), None);
        assert_eq!(missing_capabilities(0x1ff_ffff_ffff), Vec::<&str>::new());
        assert_eq!(missing_capabilities(0), ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF", "CAP_PERFMON"]);
        assert_eq!(missing_capabilities(1 << CAP_NET_ADMIN | 1 << CAP_SYS_ADMIN), ["CAP_NET_RAW"]);
    }

    #[test]
    fn cpu_lists() {
        assert_eq!(parse_cpus("0"), Some(vec![0]));
        assert_eq!(parse_cpus("0-3,6,8-9"), Some(vec![0, 1, 2, 3, 6, 8, 9]));
        assert_eq!(parse_cpus(""), None);
        assert_eq!(parse_cpus("a-b"), None);
    }

    #[test]
    fn offset_is_that_of_the_clocks() {
        let expect = clock(libc::CLOCK_REALTIME) - clock(libc::CLOCK_MONOTONIC);
        assert!((utc_offset() - expect).abs() < 1_000_000_000, "within a second of a naive reading");
    }
}
