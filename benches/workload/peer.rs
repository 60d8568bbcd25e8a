//! The programs that replay is measured against: how each is called with its defaults, and what proves that it did the whole capture.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{
    capture,
    measure::{self, Ended},
};

/// Names the binary of our own, when it is not the one beside the bench.
const BINARY: &str = "AUSCULT_BINARY";
/// What NFStream is asked for: its defaults, rows to a file.
const NFSTREAM: &str =
    "import sys; from nfstream import NFStreamer; print(NFStreamer(source=sys.argv[1]).to_csv(path=sys.argv[2]))";
/// A program that says nothing about packets has done the capture when its last flow ends this close to the capture's end, seconds.
const END_SECONDS: f64 = 1.0;

/// A program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Ours.
    Auscult,
    /// Of nfdump.
    Nfpcapd,
    /// A NetFlow probe.
    Softflowd,
    /// Of QoSient.
    Argus,
    /// Of nDPI.
    NdpiReader,
    /// Python, on nDPI.
    Nfstream,
    /// A reader without flows: what is there to aim at.
    Tcpdump,
}

/// The capture that is to be done.
#[derive(Clone, Debug)]
pub struct Task {
    /// The file.
    pub path: PathBuf,
    /// Packets in it.
    pub packets: u64,
    /// Of those, IP packets.
    pub ip_packets: u64,
    /// Time of the last one, seconds since 1970.
    pub end: f64,
}

/// What a run left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Packets that its rows account for; `None` of a program without rows.
    pub accounted: Option<u64>,
    /// Rows written or sent.
    pub rows: Option<u64>,
    /// Bytes written or sent.
    pub bytes: Option<u64>,
}

impl Peer {
    /// All of them, ours first.
    pub const ALL: [Self; 7] =
        [Self::Auscult, Self::Nfpcapd, Self::Softflowd, Self::Argus, Self::NdpiReader, Self::Nfstream, Self::Tcpdump];

    /// Its name, which is also the program's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auscult => "auscult",
            Self::Nfpcapd => "nfpcapd",
            Self::Softflowd => "softflowd",
            Self::Argus => "argus",
            Self::NdpiReader => "ndpiReader",
            Self::Nfstream => "nfstream",
            Self::Tcpdump => "tcpdump",
        }
    }

    /// What it makes of a capture, and where that goes here.
    pub fn product(self) -> &'static str {
        match self {
            Self::Auscult => "biflows and coverage, Parquet (zstd)",
            Self::Nfpcapd => "one-way flows, nfdump files",
            Self::Softflowd => "one-way flows, NetFlow v5 over UDP",
            Self::Argus => "biflows, status records every 5 s, argus file",
            Self::NdpiReader => "biflows with application names, CSV",
            Self::Nfstream => "biflows with application names, CSV",
            Self::Tcpdump => "no flows: a copy to nowhere",
        }
    }

    /// The program, or why it is not there.
    ///
    /// # Errors
    /// What to do about it.
    pub fn program(self) -> Result<PathBuf> {
        let target = capture::target()?;
        match self {
            Self::Auscult => {
                let path = std::env::var_os(BINARY).map_or_else(|| target.join("release/auscult"), PathBuf::from);
                ensure!(path.is_file(), "{} is not there: build it with `cargo build --release`", path.display());
                Ok(path)
            }
            Self::Nfstream => {
                let path = target.join("venv-peers/bin/python3");
                ensure!(path.is_file(), "no Python environment has it: `cargo xtask install --peers` makes one, or says why not");
                let ended = measure::run(Command::new(&path).args(["-c", "import nfstream"]))?;
                ensure!(ended.success, "it does not load: {}", ended.errors.lines().last().unwrap_or_default());
                Ok(path)
            }
            _ => find(self.name()),
        }
    }

    /// What it says of its version.
    pub fn version(self, program: &Path) -> String {
        let arguments: &[&str] = match self {
            Self::Nfpcapd => &["-V"],
            Self::Softflowd | Self::NdpiReader | Self::Argus => &["-h"],
            Self::Nfstream => &["-c", "import nfstream; print('version', nfstream.__version__)"],
            Self::Auscult | Self::Tcpdump => &["--version"],
        };
        let Ok(said) = measure::run(Command::new(program).args(arguments)) else { return String::from("unknown") };
        let said = said.output + &said.errors;
        let tells =
            |line: &&str| line.to_lowercase().contains("version") || line.starts_with("auscult") || line.contains("nDPI ");
        let number = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
        let mut words = said.lines().filter(tells).flat_map(str::split_whitespace).map(|word| word.trim_end_matches("usage"));
        words.find(number).unwrap_or("unknown").trim_end_matches([',', '.']).to_owned()
    }

    /// How it is called for a capture; what it writes goes below `directory`, what it sends to `port`.
    pub fn command(self, program: &Path, task: &Task, directory: &Path, port: u16) -> Command {
        let (mut command, file) = (Command::new(program), &task.path);
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
            // Without -X it would also write where the system's configuration says.
            Self::Argus => command.arg("-X").arg("-r").arg(file).arg("-w").arg(directory.join("argus")),
            Self::NdpiReader => command.arg("-i").arg(file).arg("-C").arg(directory.join("csv")),
            Self::Nfstream => command.args(["-c", NFSTREAM]).arg(file).arg(directory.join("csv")),
            Self::Tcpdump => command.arg("-r").arg(file).args(["--count", "-w", "/dev/null"]),
        };
        command
    }

    /// What the run did, from what the program says and from what it wrote. `sent` is what came to the port.
    ///
    /// # Errors
    /// It did not do the whole capture, or nothing shows that it did.
    pub fn done(self, ended: &Ended, task: &Task, directory: &Path, sent: u64) -> Result<Done> {
        let said = Said(format!("{}\n{}", ended.output, ended.errors));
        ensure!(ended.success, "it failed: {}", said.0.trim());
        match self {
            Self::Auscult => ours(&ended.output, task, directory),
            Self::Nfpcapd => {
                all(said.number_behind("Total: Processed: "), task)?;
                let mut nfdump = Command::new(find("nfdump")?);
                let about = Said(measure::run(nfdump.arg("-I").arg("-R").arg(directory))?.output);
                let (rows, accounted) = (about.number_behind("Flows: "), about.number_behind("Packets: "));
                Ok(Done { accounted, rows, bytes: Some(bytes_below(directory)?) })
            }
            Self::Softflowd => {
                ensure!(said.0.contains("Shutting down after pcap EOF"), "it did not reach the end: {}", said.0);
                let keyed = said.number_behind("Packets processed: ");
                // What it cannot key, IPv6 among it, it reads and ignores; what is too short it counts on both sides.
                let ignored = said.0.lines().find_map(|line| number(line.strip_prefix("Ignored packets: ")?.split_once('(')?.1));
                all(keyed.zip(ignored).map(|(keyed, ignored)| keyed + ignored), task)?;
                let rows = said.0.lines().find_map(|line| number(line.strip_prefix("Flows exported: ")?.split_once('(')?.1));
                Ok(Done { accounted: keyed, rows, bytes: Some(sent) })
            }
            Self::Argus => argus(task, &directory.join("argus")),
            Self::NdpiReader => {
                all(said.number_before(" packets total"), task)?;
                let file = directory.join("csv");
                let table = table(&file, &["c_to_s_pkts", "s_to_c_pkts"], "last_seen")?;
                Ok(Done { accounted: Some(table.packets), rows: Some(table.rows), bytes: Some(file.metadata()?.len()) })
            }
            Self::Nfstream => {
                let file = directory.join("csv");
                let table = table(&file, &["bidirectional_packets"], "bidirectional_last_seen_ms")?;
                ensure!(ended.output.trim().parse() == Ok(table.rows), "it wrote {} rows and says: {}", table.rows, said.0);
                reaches_end(table.last / 1000.0, task)?;
                Ok(Done { accounted: Some(table.packets), rows: Some(table.rows), bytes: Some(file.metadata()?.len()) })
            }
            Self::Tcpdump => all(said.number_before(" packets"), task).map(|()| Done::default()),
        }
    }
}

/// The ledger closes over all packets, and the files are there.
fn ours(output: &str, task: &Task, directory: &Path) -> Result<Done> {
    let summary: Value = serde_json::from_str(output).context("no summary")?;
    ensure!(summary["imbalance"]["packets"] == 0, "the ledger does not close: {summary}");
    all(summary["packets_seen"].as_u64(), task)?;
    let lake = directory.join("lake");
    Ok(Done { accounted: summary["packets_metered"].as_u64(), rows: summary["flows"].as_u64(), bytes: Some(bytes_below(&lake)?) })
}

/// Its own readers say what is in the file.
fn argus(task: &Task, file: &Path) -> Result<Done> {
    let sums = measure::run(Command::new(find("racount")?).arg("-r").arg(file))?.output;
    let sums = sums.lines().find_map(|line| line.trim_start().strip_prefix("sum")).context("racount says no sums")?;
    let mut sums = sums.split_whitespace().map(number);
    let (rows, accounted) = (sums.next().flatten(), sums.next().flatten());
    let times =
        measure::run(Command::new(find("ra")?).args(["-n", "-u", "-r"]).arg(file).args(["-s", "ltime", "-", "not", "man"]))?;
    let last = times.output.lines().filter_map(|line| line.trim().parse::<f64>().ok()).fold(0.0, f64::max);
    reaches_end(last, task)?;
    Ok(Done { accounted, rows, bytes: Some(file.metadata()?.len()) })
}

fn find(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = folders.find_map(|folder| Some(folder.join(name)).filter(|path| path.is_file()));
    found.with_context(|| format!("{name} is not installed: `cargo xtask install --peers`"))
}

fn all(packets: Option<u64>, task: &Task) -> Result<()> {
    match packets {
        Some(packets) if packets == task.packets => Ok(()),
        Some(packets) => bail!("{packets} packets instead of {}", task.packets),
        None => bail!("it does not say how many packets it did"),
    }
}

fn reaches_end(last: f64, task: &Task) -> Result<()> {
    ensure!((last - task.end).abs() <= END_SECONDS, "its last flow ends at {last} s, the capture at {} s", task.end);
    Ok(())
}

fn number(text: &str) -> Option<u64> {
    let digits: String = text.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// What a program printed.
struct Said(String);

impl Said {
    /// The last number that stands behind those words at a line's beginning or within it.
    fn number_behind(&self, words: &str) -> Option<u64> {
        self.0.lines().filter_map(|line| number(line.split_once(words)?.1)).next_back()
    }

    /// The last number in front of those words.
    fn number_before(&self, words: &str) -> Option<u64> {
        let word = |line: &str| line.split_once(words)?.0.split_whitespace().next_back()?.parse().ok();
        self.0.lines().filter_map(word).next_back()
    }
}

/// What a CSV of flows holds.
struct Table {
    rows: u64,
    packets: u64,
    last: f64,
}

/// Sums over a CSV with a line of names. Fields with commas are quoted; none has a line break.
fn table(file: &Path, packets: &[&str], last: &str) -> Result<Table> {
    let mut lines = BufReader::new(File::open(file)?).split(b'\n');
    let names = lines.next().context("no line of names")??;
    let names = fields(&String::from_utf8_lossy(&names));
    let place = |name: &&str| {
        names.iter().position(|known| known.trim_start_matches('#') == *name).with_context(|| format!("no column {name}"))
    };
    let (packets, last) = (packets.iter().map(place).collect::<Result<Vec<_>>>()?, place(&last)?);
    let mut table = Table { rows: 0, packets: 0, last: 0.0 };
    for line in lines {
        let fields = fields(&String::from_utf8_lossy(&line?));
        let number = |place: usize| fields.get(place).and_then(|field| field.parse::<f64>().ok());
        // A name with a line break in it continues a row.
        let Some(at) = number(last) else { continue };
        table.rows += 1;
        table.packets += packets.iter().filter_map(|place| number(*place)).sum::<f64>() as u64;
        table.last = table.last.max(at);
    }
    Ok(table)
}

fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    for c in line.trim_end_matches('\r').chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => fields.last_mut().into_iter().for_each(|field| field.push(c)),
        }
    }
    fields
}

/// Bytes of all files below a directory.
fn bytes_below(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory).with_context(|| format!("it wrote no {}", directory.display()))? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { bytes_below(&entry.path())? } else { entry.metadata()?.len() };
    }
    ensure!(bytes > 0, "it wrote nothing");
    Ok(bytes)
}
