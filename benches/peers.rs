//! The same captures through nfpcapd, softflowd, argus, ndpiReader, NFStream, tcpdump and our replay, in turns: packets per second, CPU,
//! memory, and what came out.
//!
//! `cargo xtask bench peers [--json] [--markdown] [-- --rounds N --packets N]`
//!
//! Every program runs with its defaults. Each writes files, but softflowd, whose datagrams go to a socket that is read, and tcpdump, which
//! copies to nowhere. A run counts only when the program says, or what it wrote proves, that it did all packets ([`workload::peer`]). A
//! program with a run that does not count is left out of that capture, and named with the reason, as is what is not installed.

use std::{
    net::UdpSocket,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use auscult::capture::replay::Replay;
use auscult_ebpf::{
    frame::Slice,
    parse::{self, Start},
    record::FORM_ETHERNET,
};
use serde_json::{Value, json};
use workload::{
    capture::{self, Source, Workload},
    measure::{self, Ended, median, quartiles},
    peer::{Done, Peer, Task},
};

/// The captures and what they are called.
const CAPTURES: [(Source, &str); 2] = [(Source::Corpus, "mix of captures"), (Source::Hospital, "many small flows")];

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

    /// What came since the last call.
    fn take(&self) -> u64 {
        self.octets.swap(0, Ordering::Relaxed)
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
    done: Done,
    /// Why none of its runs count.
    failed: Option<String>,
}

struct Options {
    json: bool,
    rounds: usize,
    packets: u64,
}

fn main() -> Result<()> {
    if capture::made_on_request()? {
        return Ok(());
    }
    let options = options()?;
    let (mut programs, mut missing) = (Vec::new(), Vec::new());
    for peer in Peer::ALL {
        match peer.program() {
            Ok(program) => programs.push((peer, peer.version(&program), program)),
            Err(error) => missing.push(json!({ "program": peer.name(), "reason": format!("{error:#}") })),
        }
    }
    let before = measure::load();
    let mut captures = Vec::new();
    for (source, name) in CAPTURES {
        let workload = capture::workload_of(source, options.packets)?;
        let task = task(&workload)?;
        let entry = |(peer, version, program): &(Peer, String, PathBuf)| Entry {
            peer: *peer,
            program: program.clone(),
            version: version.clone(),
            runs: Vec::new(),
            done: Done::default(),
            failed: None,
        };
        let mut entries: Vec<_> = programs.iter().map(entry).collect();
        measure_all(&mut entries, name, &task, options.rounds)?;
        let reason = |entry: &Entry| {
            Some(json!({ "program": entry.peer.name(), "version": entry.version, "reason": entry.failed.as_ref()? }))
        };
        let failed: Vec<_> = entries.iter().filter_map(reason).collect();
        entries.retain(|entry| entry.failed.is_none());
        captures.push(json!({
            "name": name, "workload": workload.figures, "ip_packets": task.ip_packets, "programs": figures(&entries, &task),
            "failed": failed,
        }));
    }
    let out = json!({
        "machine": measure::machine(), "rounds": options.rounds, "load_before": before, "captures": captures, "missing": missing,
    });
    if options.json {
        println!("{out:#}")
    } else {
        print(&out)
    }
    Ok(())
}

fn options() -> Result<Options> {
    let mut options = Options { json: false, rounds: 7, packets: capture::PACKETS };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "--json" => options.json = true,
            "--rounds" => options.rounds = value()?.parse::<usize>()?.max(1),
            "--packets" => options.packets = value()?.parse()?,
            _ => {}
        }
    }
    Ok(options)
}

/// What is to be done: the file, read once by ourselves. It is then in the page cache, so that the first is not the one that reads from disk.
fn task(workload: &Workload) -> Result<Task> {
    let mut replay = Replay::open(std::slice::from_ref(&workload.path))?;
    let mut task = Task { path: workload.path.clone(), packets: 0, ip_packets: 0, end: 0.0 };
    let mut packet = parse::Packet::default();
    while let Some(frame) = replay.next_frame()? {
        task.packets += 1;
        task.end = frame.at as f64 / 1e9;
        let slice = Slice::new(frame.octets, frame.wire_octets);
        let parsed = parse::parse(&slice, Start::Ethernet, false, &mut packet);
        task.ip_packets += u64::from(parsed.is_ok() && packet.form != FORM_ETHERNET);
    }
    ensure!(task.packets == workload.packets, "{} packets in {}", task.packets, workload.path.display());
    Ok(task)
}

fn measure_all(entries: &mut [Entry], name: &str, task: &Task, rounds: usize) -> Result<()> {
    let drain = Drain::open()?;
    for round in 0..rounds {
        for nth in 0..entries.len() {
            // Each round begins with another.
            let at = (nth + round) % entries.len();
            let entry = &mut entries[at];
            if entry.failed.is_some() {
                continue;
            }
            eprintln!("{name}, round {} of {rounds}: {}", round + 1, entry.peer.name());
            if let Err(error) = one(entry, task, &drain) {
                ensure!(entry.peer != Peer::Auscult, "our own run: {error:#}");
                eprintln!("{}: {error:#}", entry.peer.name());
                entry.failed = Some(format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" "));
            }
        }
    }
    Ok(())
}

/// One run, and that it did the whole capture; ours also with the result that it had before.
fn one(entry: &mut Entry, task: &Task, drain: &Drain) -> Result<()> {
    let directory = tempfile::tempdir_in(capture::target()?)?;
    drain.take();
    let ended = measure::run(&mut entry.peer.command(&entry.program, task, directory.path(), drain.port))?;
    let done = entry.peer.done(&ended, task, directory.path(), drain.take())?;
    ensure!(
        entry.peer != Peer::Auscult
            || entry.runs.is_empty()
            || (done.accounted, done.rows) == (entry.done.accounted, entry.done.rows),
        "it did {done:?}, and before {:?}",
        entry.done
    );
    entry.done = done;
    entry.runs.push(ended);
    Ok(())
}

fn figures(entries: &[Entry], task: &Task) -> Vec<Value> {
    let ours = entries.iter().find(|entry| entry.peer == Peer::Auscult);
    let cpu = |run: &Ended| run.user_seconds + run.system_seconds;
    let lines = entries.iter().map(|entry| {
        let middle = |of: fn(&Ended) -> f64| median(entry.runs.iter().map(of));
        let seconds = quartiles(entry.runs.iter().map(|run| run.seconds));
        // How many times as long this one took as ours, round by round.
        let times = |of: fn(&Ended) -> f64| {
            ours.map(|ours| median(ours.runs.iter().zip(&entry.runs).map(|(ours, peer)| of(peer) / of(ours))))
        };
        json!({
            "program": entry.peer.name(), "version": entry.version, "product": entry.peer.product(),
            "packets_per_second": task.packets as f64 / seconds[1],
            "seconds_quartiles": seconds, "user_seconds": middle(|run| run.user_seconds),
            "system_seconds": middle(|run| run.system_seconds), "peak_bytes": middle(|run| run.peak_bytes as f64),
            "times_our_seconds": times(|run| run.seconds), "times_our_cpu": times(|run| run.user_seconds + run.system_seconds),
            "packets_accounted": entry.done.accounted, "rows": entry.done.rows, "bytes": entry.done.bytes,
            "all_seconds": entry.runs.iter().map(|run| run.seconds).collect::<Vec<_>>(),
            "all_cpu_seconds": entry.runs.iter().map(cpu).collect::<Vec<_>>(),
        })
    });
    lines.collect()
}

fn print(out: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    println!("{}; load before: {}", text(&out["machine"]), out["load_before"]);
    for capture in out["captures"].as_array().into_iter().flatten() {
        println!("{}: {}", text(&capture["name"]), capture["workload"]);
        println!(
            "program    version    packets/s   wall s (quartiles)     CPU s  peak MiB  × our wall  × our CPU    packets in rows       rows"
        );
        for line in capture["programs"].as_array().into_iter().flatten() {
            let number = |name: &str| line[name].as_f64().unwrap_or(f64::NAN);
            let quartile = |n: usize| line["seconds_quartiles"][n].as_f64().unwrap_or(f64::NAN);
            println!(
                "{:10} {:8} {:11.0} {:8.3} ({:.3} to {:.3}) {:8.3} {:9.0} {:11.2} {:10.2} {:>18} {:>10}",
                text(&line["program"]),
                text(&line["version"]),
                number("packets_per_second"),
                quartile(1),
                quartile(0),
                quartile(2),
                number("user_seconds") + number("system_seconds"),
                number("peak_bytes") / f64::from(1 << 20),
                number("times_our_seconds"),
                number("times_our_cpu"),
                line["packets_accounted"],
                line["rows"],
            );
        }
        for failed in capture["failed"].as_array().into_iter().flatten() {
            println!("{} {}: no run counts: {}", text(&failed["program"]), text(&failed["version"]), text(&failed["reason"]));
        }
    }
    for missing in out["missing"].as_array().into_iter().flatten() {
        println!("{}: not measured: {}", text(&missing["program"]), text(&missing["reason"]));
    }
}
