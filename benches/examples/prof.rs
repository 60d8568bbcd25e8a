#![allow(missing_docs, clippy::all, unused)]
use auscult_ebpf::settings::Settings;
use std::os::fd::{AsFd, AsRawFd};
use workload::kernel::{Kernel, NoStats, pin};
fn main() -> anyhow::Result<()> {
    let a: Vec<String> = std::env::args().collect();
    let object = std::fs::read(&a[1])?;
    let name = &a[2];
    let flows: u64 = a[3].parse()?;
    let _s = NoStats::new();
    pin(0);
    let mut k = Kernel::load(&object, Settings::plain())?;
    k.load_program("bench_empty")?;
    k.load_program(name.split(',').next().unwrap())?;
    let fd = k.raw_fd(name.split(',').next().unwrap())?;
    let mut info = vec![0u8; 256];
    let mut code = vec![0u8; 1 << 20];
    info[16..20].copy_from_slice(&(code.len() as u32).to_ne_bytes());
    info[24..32].copy_from_slice(&(code.as_mut_ptr() as u64).to_ne_bytes());
    #[repr(C)] struct Attr { fd: u32, len: u32, info: u64 }
    let attr = Attr { fd: fd as u32, len: 256, info: info.as_mut_ptr() as u64 };
    let r = unsafe { libc::syscall(libc::SYS_bpf, 15, &attr, 16) };
    let len = u32::from_ne_bytes(info[16..20].try_into()?) as usize;
    std::fs::write("/tmp/jit.bin", &code[..len])?;
    let frame = {
        let mut f = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x08, 0, 0x45, 0, 0, 50, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 200, 0, 2];
        f.extend([0xc0, 0x01, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0x20, 0, 0, 0, 0, 0]);
        f.resize(64, 0x55); f[15] = flows.trailing_zeros() as u8;
        f
    };
    let names: Vec<&str> = name.split(',').collect();
    for n in &names { if *n != names[0] { k.load_program(n)?; } k.time(n, &frame, (flows as u32 * 3).max(200000))?; }
    let mut v = vec![vec![]; names.len()];
    let mut r = vec![vec![]; names.len()];
    let rep: u32 = std::env::var("REP").map_or(200_000, |r| r.parse().unwrap());
    for _ in 0..a.get(4).map_or(21, |n| n.parse().unwrap()) {
        let e = k.time("bench_empty", &frame, rep)?;
        for (i, n) in names.iter().enumerate() { v[i].push((k.time(n, &frame, rep)? - e)); r[i].push(v[i].last().unwrap() / v[0].last().unwrap()); }
    }
    for (i, n) in names.iter().enumerate() {
        v[i].sort_by(f64::total_cmp); r[i].sort_by(f64::total_cmp);
        print!("{n} {flows}: min {} p10 {} q1 {} median {} ratio to first q1 {:.3} med {:.3} q3 {:.3} (inverse {:.3}) |", v[i][0], v[i][v[i].len()/10], v[i][v[i].len()/4], v[i][v[i].len()/2], r[i][r[i].len()/4], r[i][r[i].len()/2], r[i][r[i].len()*3/4], 1.0 / r[i][r[i].len()/2]);
    }
    println!();
    Ok(())
}
