//! Every kept input of the fuzz targets, and a bounded number of mutations of them from a fixed seed, through the targets' bodies.
//!
//! `tests/fuzz/corpus` has inputs that reach all that a target can reach, `tests/fuzz/crash` those that once broke a law; what they
//! broke is in `tests/fuzz/README.md`. The ignored test `write_seeds` writes the first inputs again.

use std::{
    fs,
    path::{Path, PathBuf},
};

use harness::fuzz::{TARGETS, Target, seed::seeds};

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
/// Octets of a mutated input.
const OCTETS_MAX: usize = 4096;

fn folder(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kind).join(target)
}

/// Kept inputs by name; no folder is no inputs.
fn kept(kind: &str, target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder(kind, target)) else { return Vec::new() };
    let mut inputs: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("readable folder").path();
            let octets = fs::read(&path).expect("readable input");
            (path, octets)
        })
        .collect();
    inputs.sort();
    inputs
}

/// Says which input was being tried when a body panics, and leaves it for a look.
struct Trial<'a> {
    target: &'a Target,
    name: String,
    octets: &'a [u8],
}

impl Trial<'_> {
    fn run(&self) {
        (self.target.body)(self.octets);
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{}", self.target.name, self.name));
            let left = fs::write(&path, self.octets).is_ok();
            eprintln!(
                "target {}, input {}{}",
                self.target.name,
                self.name,
                if left { format!(", left as {}", path.display()) } else { String::new() }
            );
        }
    }
}

#[test]
fn kept_inputs_break_nothing() {
    for target in TARGETS {
        let corpus = kept("corpus", target.name);
        assert!(!corpus.is_empty(), "no corpus of {}", target.name);
        for (path, octets) in corpus.iter().chain(&kept("crash", target.name)) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Trial { target, name, octets }.run();
        }
    }
}

#[test]
fn every_crash_is_described() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/README.md")).expect("readable");
    for target in TARGETS {
        for (path, _) in kept("crash", target.name) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            assert!(text.contains(&format!("`{}/{name}`", target.name)), "{} is not described in README.md", path.display());
        }
    }
}

#[test]
fn kept_inputs_are_small() {
    let sizes = TARGETS.iter().flat_map(|target| kept("corpus", target.name)).map(|(_, octets)| octets.len());
    let total: usize = sizes.sum();
    assert!(total < 1_000_000, "{total} octets of kept inputs: `cargo xtask fuzz --keep` minimises them");
}

/// A generator of numbers (xorshift64*), so that a failure can be had again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit.max(1)
    }
}

/// One small change.
fn mutate(octets: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    const TELLING: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, 0x10, 0x45, 0x60];
    let at = random.below(octets.len() + 1);
    let length = random.below(16).min(octets.len() - at);
    match random.below(8) {
        0 => octets.truncate(at),
        1 => drop(octets.splice(at..at + length, [])),
        2 => octets.insert(at, random.next() as u8),
        3 => {
            let start = random.below(other.len() + 1);
            let end = (start + random.below(64)).min(other.len());
            octets.splice(at..at + length, other[start..end].iter().copied());
        }
        4 => {
            let part = octets[at..at + length].to_vec();
            let to = random.below(octets.len() + 1);
            octets.splice(to..to, part);
        }
        change => {
            let Some(octet) = octets.get_mut(at) else { return };
            *octet = match change {
                5 => *octet ^ 1 << random.below(8),
                6 => TELLING[random.below(TELLING.len())],
                _ => random.next() as u8,
            };
        }
    }
    octets.truncate(OCTETS_MAX);
}

fn try_mutations(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let inputs: Vec<_> = kept("corpus", name).into_iter().chain(kept("crash", name)).map(|(_, octets)| octets).collect();
    let mut random = Random(SEED);
    println!("{name}: {} executions, seed {SEED:#x}", target.executions);
    for n in 0..target.executions {
        let mut octets = inputs[random.below(inputs.len())].clone();
        for _ in 0..1 + random.below(6) {
            let other = &inputs[random.below(inputs.len())];
            mutate(&mut octets, other, &mut random);
        }
        Trial { target, name: n.to_string(), octets: &octets }.run();
    }
}

#[test]
fn mutated_frames() {
    try_mutations("frame_meter");
}

#[test]
fn mutated_samples() {
    try_mutations("sampler");
}

#[test]
fn mutated_records() {
    try_mutations("ring_records");
}

#[test]
fn mutated_writers() {
    try_mutations("capture_written");
}

#[test]
fn mutated_lake_files() {
    try_mutations("lake_files");
}

#[test]
fn mutated_books() {
    try_mutations("books_json");
}

#[test]
fn mutated_captures() {
    try_mutations("capture_reader");
}

#[test]
fn mutated_packed_captures() {
    try_mutations("capture_gzip_zstd");
}

#[test]
fn mutated_deltas() {
    try_mutations("delta_biflow");
}

#[test]
fn mutated_conversations() {
    try_mutations("dissect");
}

#[test]
fn mutated_configurations() {
    try_mutations("config_toml");
}

#[test]
#[ignore = "writes the first inputs into the source tree"]
fn write_seeds() {
    for target in TARGETS {
        let folder = folder("corpus", target.name);
        fs::create_dir_all(&folder).expect("writable source tree");
        for (name, octets) in seeds(target.name) {
            fs::write(folder.join(name), octets).expect("writable source tree");
        }
    }
}
