//! What one packet costs in the kernel: `cargo xtask bench kernel [--json]`.
//!
//! `BPF_PROG_TEST_RUN` on CPU 0 while a thread on the last CPU drains the rings; nanoseconds net of an empty program. All programs
//! take turns within each round and the median over rounds is reported, so that a noisy machine moves them together.
//! The consumer is the product's: its ring, batch and pause; a round in which a packet was lost is not counted.
//! `ratio_to_lru` compares with the same meter over `BPF_MAP_TYPE_LRU_HASH`, without recognition of copies: only the `Slots`
//! implementation differs. What recognition costs is the difference to the same meter with it, no packet being a copy.

use anyhow::{Result, ensure};
use auscult_ebpf::settings::Settings;
use serde_json::json;
use workload::kernel::{Kernel, NoStats, pin};

static OBJECT: &[u8] = aya::include_bytes_aligned!("../engine-ebpf/object/auscult-bench.bpf.o");

const ROUNDS: usize = 21;
const REPEAT: u32 = 200_000;
/// Flow counts of the comparison, as powers of two.
const SPREADS: [(&str, u8); 3] = [("hot", 0), ("64k", 16), ("1m", 20)];
const GROUPS: [&str; 7] = ["sizes", "intervals", "first_packets", "network", "tcp", "link", "samples"];

fn main() -> Result<()> {
    let as_json = std::env::args().any(|argument| argument == "--json");
    let _stats = NoStats::new();
    pin(0);
    let mut plain = Kernel::load(OBJECT, Settings { copy_units: 0, ..Settings::plain() })?;
    let mut recognising = Kernel::load(OBJECT, Settings::plain())?;
    for name in ["bench_empty", "bench_cache", "bench_reference"] {
        plain.load_program(name)?;
    }
    recognising.load_program("bench_cache")?;
    for group in GROUPS {
        plain.load_program(&format!("without_{group}"))?;
    }
    let kernels = Kernels { plain, recognising };
    let ratios = compare(&kernels)?;
    let frames = by_frame(&kernels)?;
    let groups = by_group(&kernels.plain)?;
    if as_json {
        let ratio: serde_json::Map<_, _> = ratios.iter().map(|r| (r.name.to_owned(), json!(r.ratio))).collect();
        let rows: Vec<_> = ratios
            .iter()
            .map(|r| {
                json!({"flows": r.name, "cache_ns": r.cache, "lru_ns": r.reference, "copies_ns": r.copies, "spoilt_rounds": r.spoilt})
            })
            .collect();
        let frames: Vec<_> = frames
            .iter()
            .map(|f| json!({"frame": f.name, "ns": f.whole, "copies_ns": f.copies, "mpps_per_core": 1e3 / f.whole}))
            .collect();
        let groups: Vec<_> = groups.iter().map(|(name, ns)| json!({"group": name, "ns": ns})).collect();
        println!("{}", json!({"ratio_to_lru": ratio, "flows": rows, "frames": frames, "groups": groups}));
        return Ok(());
    }
    println!("flows    cache ns  LRU_HASH ns  ratio  copies ns  spoilt rounds");
    for r in &ratios {
        println!("{:<8} {:>8.1}  {:>11.1}  {:>5.2}  {:>9.1}  {:>6}", r.name, r.cache, r.reference, r.ratio, r.copies, r.spoilt);
    }
    println!("\nframe            ns/packet  of it copies  Mpps per core");
    for f in &frames {
        println!("{:<16} {:>9.1}  {:>12.1}  {:>13.2}", f.name, f.whole, f.copies, 1e3 / f.whole);
    }
    println!("\nfeature group    ns/packet (whole meter minus the meter without it)");
    for (name, ns) in &groups {
        println!("{name:<16} {ns:>9.1}");
    }
    Ok(())
}

/// The same object with two settings.
struct Kernels {
    /// No copies are looked for.
    plain: Kernel,
    /// Every packet is looked up among the recent ones.
    recognising: Kernel,
}

struct Ratio {
    name: &'static str,
    cache: f64,
    reference: f64,
    ratio: f64,
    copies: f64,
    spoilt: usize,
}

fn compare(kernels: &Kernels) -> Result<Vec<Ratio>> {
    let Kernels { plain, recognising } = kernels;
    let lost = || anyhow::Ok(plain.lost()? + recognising.lost()?);
    let mut rows = Vec::new();
    for (name, bits) in SPREADS {
        let frame = spread(tcp_frame(64, &[], false), bits);
        // All structures hold what they are going to hold before anything is timed.
        let warm = (3 << bits).max(REPEAT);
        plain.time("bench_reference", &frame, warm)?;
        plain.time("bench_cache", &frame, warm)?;
        recognising.time("bench_cache", &frame, warm)?;
        let (mut cache, mut reference, mut ratio, mut copies) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut spoilt = 0;
        while ratio.len() < ROUNDS {
            let before = lost()?;
            let empty = plain.time("bench_empty", &frame, REPEAT)?;
            let a = plain.time("bench_cache", &frame, REPEAT)? - empty;
            let b = plain.time("bench_reference", &frame, REPEAT)? - empty;
            let c = recognising.time("bench_cache", &frame, REPEAT)? - empty;
            if lost()? != before {
                spoilt += 1;
                ensure!(spoilt < 4 * ROUNDS, "{name}: packets were lost again and again, because the rings were not drained");
                continue;
            }
            cache.push(a);
            reference.push(b);
            ratio.push(a / b);
            copies.push(c - a);
        }
        rows.push(Ratio {
            name,
            cache: median(cache),
            reference: median(reference),
            ratio: median(ratio),
            copies: median(copies),
            spoilt,
        });
    }
    Ok(rows)
}

/// What a packet of one kind costs with everything on, and how much of it the recognition of copies does.
struct FrameCost {
    name: &'static str,
    whole: f64,
    copies: f64,
}

fn by_frame(kernels: &Kernels) -> Result<Vec<FrameCost>> {
    let Kernels { plain, recognising } = kernels;
    let frames = [
        // Sixteen flows in turns at random: each packet is parsed whole. In a train all but the first are compared.
        ("tcp_64", spread(tcp_frame(64, &[], false), 4)),
        ("tcp_512", spread(tcp_frame(512, &[], false), 4)),
        ("tcp_1514", spread(tcp_frame(1514, &[], false), 4)),
        ("tcp_64_train", tcp_frame(64, &[], false)),
        ("vlan_tcp_68", tcp_frame(68, &[0x8100], false)),
        ("qinq_tcp_72", tcp_frame(72, &[0x88a8, 0x8100], false)),
        ("ipv6_tcp_74", tcp_frame(74, &[], true)),
    ];
    let mut costs = vec![(Vec::new(), Vec::new()); frames.len()];
    for _ in 0..ROUNDS {
        for ((whole, copies), (_, frame)) in costs.iter_mut().zip(&frames) {
            let empty = plain.time("bench_empty", frame, REPEAT)?;
            let without = plain.time("bench_cache", frame, REPEAT)?;
            let with = recognising.time("bench_cache", frame, REPEAT)?;
            whole.push(with - empty);
            copies.push(with - without);
        }
    }
    let mut rows: Vec<_> = frames
        .iter()
        .zip(costs)
        .map(|(&(name, _), (whole, copies))| FrameCost { name, whole: median(whole), copies: median(copies) })
        .collect();
    // Mean over the sizes of a simple IMIX: 7 × 64, 4 × 512, 1 × 1,514 octets.
    let mixed = |of: fn(&FrameCost) -> f64| (7.0 * of(&rows[0]) + 4.0 * of(&rows[1]) + of(&rows[2])) / 12.0;
    rows.push(FrameCost { name: "mixed", whole: mixed(|f| f.whole), copies: mixed(|f| f.copies) });
    Ok(rows)
}

fn by_group(kernel: &Kernel) -> Result<Vec<(&'static str, f64)>> {
    let frame = tcp_frame(512, &[], false);
    let mut rows: Vec<(&'static str, Vec<f64>)> = GROUPS.iter().map(|name| (*name, Vec::new())).collect();
    for _ in 0..ROUNDS {
        for (name, values) in &mut rows {
            let whole = kernel.time("bench_cache", &frame, REPEAT)?;
            values.push(whole - kernel.time(&format!("without_{name}"), &frame, REPEAT)?);
        }
    }
    Ok(rows.into_iter().map(|(name, values)| (name, median(values))).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Lets the bench programs make 2^`bits` flows of an untagged IPv4 frame: they read the number from its traffic class.
fn spread(mut frame: Vec<u8>, bits: u8) -> Vec<u8> {
    frame[15] = bits;
    frame
}

/// A TCP data segment of `octets` frame octets, with VLAN tags of the given ethertypes, over IPv4 or IPv6.
fn tcp_frame(octets: usize, tags: &[u16], ipv6: bool) -> Vec<u8> {
    let mut frame = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 10]);
    }
    let head = frame.len() + 2;
    let total = (octets - head) as u16;
    if ipv6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend((total - 40).to_be_bytes());
        frame.extend([6, 64]);
        frame.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        frame.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    } else {
        frame.extend([0x08, 0x00, 0x45, 0]);
        frame.extend(total.to_be_bytes());
        frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 200, 0, 2]);
    }
    frame.extend([0xc0, 0x01, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0x20, 0, 0, 0, 0, 0]);
    frame.resize(octets, 0x55);
    frame
}
