//! How long an inventory of 50,000 devices takes: `cargo test --release measure -- --ignored --nocapture`.

use super::{Batch, Inventory, created, sample};

const DEVICES: u32 = 50_000;
const EVIDENCE: u64 = 10;

fn resident(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Seconds that this process had a processor: other processes do not make them more.
fn busy_secs() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let busy = |thread: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
        text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
    };
    threads.map(busy).sum()
}

#[test]
#[ignore = "takes long; measures"]
fn fifty_thousand_devices() {
    let clock = crate::time::monotonic;
    let since = |begun: u64| (clock() - begun) as f64 / 1e9;
    let directory = tempfile::tempdir_in(std::env::var_os("MEASURE_IN").unwrap_or("/tmp".into())).unwrap();
    let mut inventory = Inventory::open(directory.path()).unwrap();
    let (mut spent, mut slowest, mut octets) = (0.0, 0.0_f64, 0);
    for first in (0..DEVICES).step_by(1000) {
        let devices: Vec<_> = (first..first + 1000).map(sample::device).collect();
        let ids = devices.iter().map(|device| device.device_id);
        let evidence: Vec<_> = ids.flat_map(|id| (0..EVIDENCE).map(move |n| (id, sample::evidence(n)))).collect();
        let changes: Vec<_> =
            devices.iter().flat_map(|device| created(device, 1_000, "engine", |_| vec![1, 2])).take(2000).collect();
        octets += devices.iter().map(|device| super::row::encode(device).unwrap().len()).sum::<usize>();
        octets += evidence.iter().map(|(_, piece)| super::row::encode(piece).unwrap().len()).sum::<usize>();
        let begun = clock();
        inventory.write(&Batch { devices: &devices, evidence: &evidence, changes: &changes, ..Batch::default() }).unwrap();
        let took = since(begun);
        spent += took;
        slowest = slowest.max(took);
    }
    println!(
        "written: {spent:.2} s in 50 batches of 1000 devices, slowest {slowest:.3} s; {} octets a device",
        octets / DEVICES as usize
    );
    for changed in [1, 100, 5000] {
        let devices: Vec<_> = (0..changed).map(|n| sample::device(n * 7)).collect();
        let begun = clock();
        inventory.write(&Batch { devices: &devices, ..Batch::default() }).unwrap();
        println!("batch of {changed} devices: {:.1} ms", since(begun) * 1000.0);
    }
    println!("file: {} MiB, resident {} MiB", std::fs::metadata(inventory.path()).unwrap().len() >> 20, resident("VmRSS"));
    drop(inventory);
    let (begun, busy_before) = (clock(), busy_secs());
    let inventory = Inventory::open(directory.path()).unwrap();
    let opened = since(begun);
    let loaded = inventory.load(|stored| assert_eq!(stored.evidence.len(), 10)).unwrap();
    let (took, busy) = (since(begun), busy_secs() - busy_before);
    println!("open {opened:.2} s, open and load {took:.2} s (busy {busy:.2} s), resident {} MiB", resident("VmRSS"));
    assert_eq!((loaded.devices, loaded.evidence), (u64::from(DEVICES), u64::from(DEVICES) * EVIDENCE));
    let begun = clock();
    assert_eq!(inventory.as_of(999).unwrap().len(), as_of_expected(&inventory));
    println!("as_of before everything: {:.2} s, resident {} MiB", since(begun), resident("VmRSS"));
    let begun = clock();
    let to = directory.path().join("backup");
    inventory.backup(&to).unwrap();
    let backed = since(begun);
    drop(inventory);
    let other = tempfile::tempdir().unwrap();
    super::restore(&to, other.path()).unwrap();
    let size = std::fs::metadata(&to).unwrap().len() >> 20;
    println!("backup {backed:.2} s, {size} MiB; with restoration {:.2} s", since(begun));
    println!("peak {} MiB", resident("VmHWM"));
}

fn as_of_expected(inventory: &Inventory) -> usize {
    let mut created = 0;
    let count = |change: crate::device::Change| {
        created += usize::from(&*change.what == "created");
        std::ops::ControlFlow::Continue(())
    };
    inventory.changes(i64::MIN, i64::MAX, count).unwrap();
    DEVICES as usize - created
}
