//! The same capture through nfpcapd, softflowd, tcpdump and our replay, in turns: packets per second, CPU, memory.
//!
//! `cargo xtask bench peers [--json] [--rounds N] [--packets N]`
//!
//! Every program runs with its defaults. nfpcapd writes its files, softflowd sends its datagrams to a socket that is read, tcpdump
//! copies to nowhere, and ours writes Parquet. A run counts only when the program says that it did all packets. What is not
//! installed is named.

use std::{
    net::UdpSocket,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use workload::{
    capture::{self, Workload},
    measure::{self, Ended, median},
};

/// Names the binary of our own, when it is not the one beside the bench.
const BINARY: &str = "AUSCULT_BINARY";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Auscult,
    Nfpcapd,
    Softflowd,
    Tcpdump,
}

impl Peer {
    const ALL: [Self; 4] = [Self::Auscult, Self::Nfpcapd, Self::Softflowd, Self::Tcpdump];

    fn name(self) -> &'static str {
        match self {
            Self::Auscult => "auscult",
            Self::Nfpcapd => "nfpcapd",
            Self::Softflowd => "softflowd",
            Self::Tcpdump => "tcpdump",
        }
    }

    /// The program, when it is there.
    fn program(self) -> Option<PathBuf> {
        if self == Self::Auscult {
            let beside = || capture::target().ok().map(|target| target.join("release/auscult"));
            return std::env::var_os(BINARY).map(PathBuf::from).or_else(beside).filter(|path| path.is_file());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
        folders.map(|folder| folder.join(self.name())).find(|path| path.is_file())
    }

    /// What it says of its version.
    fn version(self, program: &Path) -> String {
        let flag = match self {
            Self::Nfpcapd => "-V",
            Self::Softflowd => "-h",
            Self::Auscult | Self::Tcpdump => "--version",
        };
        let Ok(said) = measure::run(Command::new(program).arg(flag)) else { return String::from("unknown") };
        let said = said.output + &said.errors;
        let line = said.lines().find(|line| line.to_lowercase().contains("version") || line.starts_with("auscult"));
        let words = line.unwrap_or("").split_whitespace();
        let number = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
        words.map(|word| word.trim_end_matches("usage")).find(number).unwrap_or("unknown").trim_end_matches([',', '.']).to_owned()
    }

    fn command(self, program: &Path, file: &Path, directory: &Path, port: u16) -> Command {
        let mut command = Command::new(program);
        match self {
            Self::Auscult => command.arg("replay").arg(file).arg("--data").arg(directory).arg("--json"),
            Self::Nfpcapd => command.arg("-r").arg(file).arg("-w").arg(directory),
            Self::Softflowd => command
                .arg("-d")
                .arg("-r")
                .arg(file)
                .args(["-n", &format!("127.0.0.1:{port}"), "-c", "none"])
                .arg("-p")
                .arg(directory.join("pid")),
            Self::Tcpdump => command.arg("-r").arg(file).args(["-w", "/dev/null"]),
        };
        command
    }

    /// Packets that the program says it has done; `None` when it says nothing about them.
    fn packets(self, ended: &Ended) -> Result<Option<u64>> {
        let all = format!("{}\n{}", ended.output, ended.errors);
        let number = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
        let behind =
            |mark: &str| all.lines().filter_map(|line| line.split_once(mark)).filter_map(|(_, rest)| number(rest)).next_back();
        Ok(match self {
            Self::Auscult => {
                let summary: Value = serde_json::from_str(&ended.output).context("no summary")?;
                ensure!(summary["imbalance"]["packets"] == 0, "the ledger does not close: {summary}");
                summary["packets_seen"].as_u64()
            }
            Self::Nfpcapd => behind("Total: Processed: "),
            // What it cannot key, IPv6 among it, it reads and ignores.
            Self::Softflowd => {
                ensure!(all.contains("Shutting down after pcap EOF"), "it did not reach the end: {all}");
                let ignored = all.lines().find_map(|line| number(line.strip_prefix("Ignored packets: ")?.split_once('(')?.1));
                behind("Packets processed: ").zip(ignored).map(|(keyed, ignored): (u64, u64)| keyed + ignored)
            }
            Self::Tcpdump => None,
        })
    }
}

/// A socket whose datagrams are read and counted.
struct Drain {
    port: u16,
    stop: Arc<AtomicBool>,
    octets: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Drain {
    fn open() -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let port = socket.local_addr()?.port();
        let (stop, octets) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop_2, octets_2) = (Arc::clone(&stop), Arc::clone(&octets));
        let thread = thread::spawn(move || {
            let mut datagram = [0; 65536];
            while !stop_2.load(Ordering::Relaxed) {
                if let Ok(length) = socket.recv(&mut datagram) {
                    octets_2.fetch_add(length as u64, Ordering::Relaxed);
                }
            }
        });
        Ok(Self { port, stop, octets, thread: Some(thread) })
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A program with what its runs took.
struct Entry {
    peer: Peer,
    program: PathBuf,
    version: String,
    runs: Vec<Ended>,
}

fn main() -> Result<()> {
    if capture::made_on_request()? {
        return Ok(());
    }
    let (mut json, mut rounds, mut packets) = (false, 7usize, capture::PACKETS);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "--json" => json = true,
            "--rounds" => rounds = value()?.parse::<usize>()?.max(1),
            "--packets" => packets = value()?.parse()?,
            _ => {}
        }
    }
    let workload = capture::workload(packets)?;
    let (mut entries, mut missing) = (Vec::new(), Vec::new());
    for peer in Peer::ALL {
        match peer.program() {
            Some(program) => entries.push(Entry { peer, version: peer.version(&program), program, runs: Vec::new() }),
            None => missing.push(peer.name()),
        }
    }
    let drain = Drain::open()?;
    // Into the page cache, so that the first is not the one that reads from disk.
    std::io::copy(&mut std::fs::File::open(&workload.path)?, &mut std::io::sink())?;
    for round in 0..rounds {
        for nth in 0..entries.len() {
            // Each round begins with another.
            let at = (nth + round) % entries.len();
            let entry = &mut entries[at];
            eprintln!("round {} of {rounds}: {}", round + 1, entry.peer.name());
            let run = one(entry, &workload, drain.port).with_context(|| entry.peer.name())?;
            entry.runs.push(run);
        }
    }
    report(json, &workload, &entries, &missing, drain.octets.load(Ordering::Relaxed));
    Ok(())
}

fn one(entry: &Entry, workload: &Workload, port: u16) -> Result<Ended> {
    let directory = tempfile::tempdir_in(capture::target()?)?;
    let ended = measure::run(&mut entry.peer.command(&entry.program, &workload.path, directory.path(), port))?;
    ensure!(ended.success, "it failed: {}{}", ended.output, ended.errors);
    match entry.peer.packets(&ended)? {
        Some(packets) if packets != workload.packets => bail!("{packets} packets instead of {}", workload.packets),
        _ => {}
    }
    if entry.peer == Peer::Nfpcapd {
        ensure!(std::fs::read_dir(directory.path())?.count() > 0, "it wrote no file");
    }
    Ok(ended)
}

fn report(json: bool, workload: &Workload, entries: &[Entry], missing: &[&str], drained: u64) {
    let ours = entries.iter().find(|entry| entry.peer == Peer::Auscult);
    let lines: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let middle = |of: fn(&Ended) -> f64| median(entry.runs.iter().map(of));
            let seconds = middle(|run| run.seconds);
            // How many times our packets per second are those of this one, round by round.
            let ratio =
                ours.map(|ours| median(ours.runs.iter().zip(&entry.runs).map(|(ours, peer)| peer.seconds / ours.seconds)));
            json!({
                "program": entry.peer.name(), "version": entry.version, "seconds": seconds,
                "packets_per_second": workload.packets as f64 / seconds,
                "user_seconds": middle(|run| run.user_seconds), "system_seconds": middle(|run| run.system_seconds),
                "peak_bytes": middle(|run| run.peak_bytes as f64), "auscult_times_faster": ratio,
                "all_seconds": entry.runs.iter().map(|run| run.seconds).collect::<Vec<_>>(),
            })
        })
        .collect();
    if json {
        let out = json!({
            "machine": measure::machine(), "workload": workload.figures, "programs": lines, "missing": missing,
            "softflowd_octets_received": drained,
        });
        println!("{out:#}");
        return;
    }
    println!("{}\nworkload: {}", measure::machine(), workload.figures);
    println!("program    version    packets/s   wall s   user s    sys s  peak MiB  auscult is");
    for line in &lines {
        let number = |name: &str| line[name].as_f64().unwrap_or(f64::NAN);
        println!(
            "{:10} {:8} {:11.0} {:8.3} {:8.3} {:8.3} {:9.0} {:10.2} x",
            line["program"].as_str().unwrap_or_default(),
            line["version"].as_str().unwrap_or_default(),
            number("packets_per_second"),
            number("seconds"),
            number("user_seconds"),
            number("system_seconds"),
            number("peak_bytes") / f64::from(1 << 20),
            number("auscult_times_faster"),
        );
    }
    for name in missing {
        println!("{name}: missing, not measured");
    }
}
