//! The program and what goes wrong in operation: one line on stderr that says what, where and what to do next, an exit code, and
//! everything that could be read before is in the lake and in the summary.
//!
//! The program is `AUSCULT_BIN`, else the one next to the test's own folder (`cargo build` puts it there).

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use auscult::{
    lake::lock::DirectoryLock,
    scene::{Scene, SceneSize},
};
use serde_json::Value;
use tempfile::TempDir;

/// User and group `nobody`.
const NOBODY: u32 = 65_534;
/// Frames of the captures below.
const FRAMES: usize = 5;

/// A folder of files to read and a place for lakes.
struct Bench {
    program: PathBuf,
    folder: TempDir,
}

/// What a run has left.
struct Ran {
    code: i32,
    stdout: String,
    /// Log lines of stderr.
    log: Vec<String>,
    /// The others.
    said: Vec<String>,
}

impl Bench {
    fn new() -> Option<Self> {
        let program = harness::engine::program()?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        // For those who are nobody.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("own folder");
        Some(Self { program, folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, octets: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, octets).expect("own folder");
        path
    }

    /// A capture of the scene's first frames, and where its last record starts.
    fn capture(&self) -> (Vec<u8>, usize) {
        let mut whole = Vec::new();
        Scene::new(1, SceneSize::SHORT).write_pcap(&mut whole).expect("memory takes everything");
        let mut end = 24;
        let mut last = 0;
        for _ in 0..FRAMES {
            let length: [u8; 4] = whole[end + 8..end + 12].try_into().expect("four octets");
            last = end;
            end += 16 + u32::from_le_bytes(length) as usize;
        }
        whole.truncate(end);
        (whole, last)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(self.folder.path()).env_remove("RUST_LOG");
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.finish(&mut self.command(arguments))
    }

    /// As a user who may do nothing; the program is copied to where everybody may run it.
    fn run_as_nobody(&self, arguments: &[&str]) -> Ran {
        let copy = self.path("auscult");
        if !copy.exists() {
            fs::copy(&self.program, &copy).expect("room for the program");
        }
        let mut command = Command::new(copy);
        command.args(arguments).current_dir(self.folder.path()).uid(NOBODY).gid(NOBODY);
        self.finish(&mut command)
    }

    fn finish(&self, command: &mut Command) -> Ran {
        let output = command.output().expect("the program starts");
        // The folder has another name in every run.
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).replace(&self.folder.path().display().to_string(), "DIR");
        let is_log = |line: &String| line.starts_with(|first: char| first.is_ascii_digit());
        let (log, said) = text(&output.stderr).lines().map(str::to_owned).partition(is_log);
        Ran { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), log, said }
    }

    /// Rows of `flows`.
    fn flows(&self, data: &str) -> Vec<Value> {
        let ran = self.run(&["flows", "--data", data, "--json"]);
        assert_eq!((ran.code, ran.said), (0, vec![]));
        serde_json::from_str(&ran.stdout).expect("an array")
    }
}

impl Ran {
    /// The exit code and the one line.
    #[track_caller]
    fn says(&self, code: i32, line: &str) {
        assert_eq!(self.said, [format!("auscult: {line}")]);
        assert_eq!(self.code, code);
    }

    /// Frames that the summary counts; its ledger closes.
    #[track_caller]
    fn seen(&self) -> u64 {
        let summary: Value = serde_json::from_str(&self.stdout).expect("a summary");
        assert_eq!(summary["imbalance"]["packets"], 0, "{summary}");
        assert_eq!(summary["packets_seen"], summary["packets_metered"], "{summary}");
        summary["packets_seen"].as_u64().expect("a count")
    }
}

/// What is said at the end is not logged as well.
#[track_caller]
fn nothing_logged(ran: &Ran) {
    assert!(ran.log.is_empty(), "{:?}", ran.log);
}

#[test]
fn a_capture_cut_short_is_read_up_to_the_cut() {
    let Some(bench) = Bench::new() else { return };
    let (capture, last) = bench.capture();
    bench.file("cut.pcap", &capture[..capture.len() - 1]);
    let ran = bench.run(&["replay", "cut.pcap", "--data", "data", "--json"]);
    ran.says(
        1,
        &format!(
            "cut.pcap is cut short: it ends within the record at octet {last}; frames before it were read, copy the file again if the \
             rest is needed"
        ),
    );
    nothing_logged(&ran);
    assert_eq!(ran.seen(), FRAMES as u64 - 1);
    let packets = |row: &Value| row["forward_packets"].as_u64().unwrap_or(0) + row["reverse_packets"].as_u64().unwrap_or(0);
    assert_eq!(bench.flows("data").iter().map(packets).sum::<u64>(), FRAMES as u64 - 1);
}

#[test]
fn a_damaged_capture_does_not_keep_the_others_from_being_read() {
    let Some(bench) = Bench::new() else { return };
    let (capture, last) = bench.capture();
    bench.file("whole.pcap", &capture);
    let mut damaged = capture;
    damaged[last + 8..last + 12].fill(0xff);
    bench.file("damaged.pcap", damaged);
    // Both have the same packets.
    bench.file("count.toml", "[meter]\nduplicates = \"count\"\n");
    let ran = bench.run(&["replay", "damaged.pcap", "whole.pcap", "--data", "data", "--config", "count.toml", "--json"]);
    ran.says(
        1,
        &format!(
            "damaged.pcap is damaged at octet {last}: a frame of 4294967295 octets, more than the 262144 that there can be; frames before \
             it were read, capture or copy the file again if the rest is needed"
        ),
    );
    nothing_logged(&ran);
    assert_eq!(ran.seen(), 2 * FRAMES as u64 - 1);
}

#[test]
fn what_is_no_capture_is_said() {
    let Some(bench) = Bench::new() else { return };
    bench.file("empty.pcap", "");
    bench.file("text.pcap", "hello");
    fs::create_dir(bench.path("folder")).expect("own folder");
    let known = "known are pcap, pcapng and snoop, also compressed with gzip or zstd; what another tool can read, `editcap -F pcapng` \
                 converts";
    for (input, line) in [
        ("missing.pcap", "missing.pcap: no such file; check the path".to_owned()),
        ("folder", "folder is a directory; name the capture files in it, for example folder/*.pcap".to_owned()),
        ("empty.pcap", format!("empty.pcap is not a capture file (it is empty); {known}")),
        ("text.pcap", format!("text.pcap is not a capture file (it starts with 68 65 6c 6c); {known}")),
    ] {
        let ran = bench.run(&["replay", input, "--data", "data", "--json"]);
        ran.says(1, &line);
        nothing_logged(&ran);
        assert_eq!(ran.seen(), 0);
    }
}

#[test]
fn a_wrong_configuration_names_key_file_and_line() {
    let Some(bench) = Bench::new() else { return };
    bench.file("good.pcap", bench.capture().0);
    for (text, line) in [
        (
            "site = \"a\"\n\n[biflow]\nidle_timeot_secs = 5\n",
            "a.toml:4: unknown key biflow.idle_timeot_secs: did you mean biflow.idle_timeout_secs?",
        ),
        (
            "[biflow]\nidle_timeout_secs = 3\n",
            "a.toml:2: biflow.idle_timeout_secs = 3: expected an integer from 5 to 86400 (seconds)",
        ),
        (
            "[biflow]\nidle_timeout_secs = \"5m\"\n",
            "a.toml:2: biflow.idle_timeout_secs: expected an integer from 5 to 86400 (seconds), found a string",
        ),
        (
            "colour = 1\nsite = \"A b\"\n[meter]\nsets = 3.5\n",
            "a.toml:1: unknown key colour: remove it (`auscult config-table` lists the keys) (and 1 more: `auscult check` lists them)",
        ),
    ] {
        bench.file("a.toml", text);
        let ran = bench.run(&["replay", "good.pcap", "--config", "a.toml", "--data", "data", "--json"]);
        ran.says(1, line);
        assert_eq!((ran.log, bench.path("data").exists()), (vec![], false));
    }
    let ran = bench.run(&["replay", "good.pcap", "--config", "b.toml", "--data", "data"]);
    ran.says(
        1,
        "cannot read the configuration b.toml: No such file or directory (os error 2): check the path given with --config",
    );
    bench
        .run(&["replay", "good.pcap"])
        .says(1, "no data directory: give --data DIR, or set data_directory in the file given with --config");
}

#[test]
fn a_wrong_command_line_is_code_two() {
    let Some(bench) = Bench::new() else { return };
    for (arguments, line) in [
        (
            &["replay", "a.pcap", "--bogus"][..],
            "unexpected argument '--bogus' found; tip: to pass '--bogus' as a value, use '-- --bogus' (`auscult --help` explains)",
        ),
        (
            &["replay", "a.pcap", "--dta", "x"],
            "unexpected argument '--dta' found; tip: a similar argument exists: '--data' (`auscult --help` explains)",
        ),
        (&["replay"], "the following required arguments were not provided: <FILE>... (`auscult --help` explains)"),
        (&[], "no command was given (`auscult --help` lists them)"),
    ] {
        let ran = bench.run(arguments);
        ran.says(2, line);
        assert_eq!((ran.stdout.as_str(), ran.log), ("", vec![]));
    }
}

#[test]
fn a_directory_in_use_names_the_process() {
    let Some(bench) = Bench::new() else { return };
    bench.file("good.pcap", bench.capture().0);
    fs::create_dir(bench.path("data")).expect("own folder");
    let lock = DirectoryLock::take(&bench.path("data")).expect("nobody else");
    let ran = bench.run(&["replay", "good.pcap", "--data", "data", "--json"]);
    let me = std::process::id();
    ran.says(
        1,
        &format!("data directory data is in use by process {me}; stop that engine or choose another directory with --data"),
    );
    assert_eq!(ran.seen(), 0);
    drop(lock);
    let ran = bench.run(&["replay", "good.pcap", "--data", "data", "--json"]);
    assert_eq!((ran.code, ran.seen(), ran.said), (0, FRAMES as u64, vec![]));
}

#[test]
fn an_address_in_use_is_said_before_anything_is_read() {
    let Some(bench) = Bench::new() else { return };
    bench.file("good.pcap", bench.capture().0);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let ran = bench.run(&["replay", "good.pcap", "--data", "data", "--listen", &address, "--json"]);
    ran.says(
        1,
        &format!(
            "cannot listen on {address} for metrics: Address already in use (os error 98): free the address, or choose another with \
             --listen or the key listen (\"off\" for none)"
        ),
    );
    assert_eq!(ran.seen(), 0);
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named() {
    let Some(bench) = Bench::new() else { return };
    if !harness::root() {
        return;
    }
    bench.file("good.pcap", bench.capture().0);
    fs::create_dir(bench.path("data")).expect("own folder");
    let ran = bench.run_as_nobody(&["replay", "good.pcap", "--data", "data", "--json"]);
    ran.says(
        1,
        "cannot create data/lake: Permission denied (os error 13); check that the directory exists, is writable and has free space",
    );
    assert!(is_empty(&bench.path("data")));
}

#[test]
fn a_capture_that_may_not_be_read_is_named() {
    let Some(bench) = Bench::new() else { return };
    if !harness::root() {
        return;
    }
    let path = bench.file("secret.pcap", bench.capture().0);
    fs::set_permissions(path, Permissions::from_mode(0o600)).expect("own file");
    let ran = bench.run_as_nobody(&["replay", "secret.pcap", "--data", "data"]);
    ran.says(1, "cannot open secret.pcap: Permission denied (os error 13); check that this user may read it");
}

mod live {
    use super::*;

    #[test]
    fn an_interface_that_is_not_there_is_named() {
        let Some(bench) = Bench::new() else { return };
        if !harness::root() {
            return;
        }
        let ran = bench.run(&["run", "--interface", "nosuch0", "--data", "data", "--listen", "off", "--json"]);
        let said = ran.said.concat();
        let (line, present) = said.split_once("; interfaces here: ").unwrap_or((&said, ""));
        assert_eq!((line, ran.code, ran.said.len()), ("auscult: interface nosuch0 does not exist", 1, 1));
        assert!(present.split(", ").any(|name| name == "lo"), "{said}");
    }

    #[test]
    fn without_privileges_the_missing_ones_are_named() {
        let Some(bench) = Bench::new() else { return };
        if !harness::root() {
            return;
        }
        fs::create_dir(bench.path("data")).expect("own folder");
        fs::set_permissions(bench.path("data"), Permissions::from_mode(0o777)).expect("own folder");
        let ran = bench.run_as_nobody(&["run", "--interface", "lo", "--data", "data", "--listen", "off", "--json"]);
        let missing = "CAP_NET_ADMIN CAP_NET_RAW CAP_BPF CAP_PERFMON";
        ran.says(
            1,
            &format!(
                "live capture lacks {missing}; run as root, or grant them in the service unit (AmbientCapabilities={missing}) or by \
                 `setcap`"
            ),
        );
        assert_eq!(ran.seen(), 0);
    }
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}
