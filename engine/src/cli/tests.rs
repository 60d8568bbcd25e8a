//! Command lines in, requests or one clear line out.

use clap::{CommandFactory, Parser};
use serde_json::json;

use super::*;
use crate::{
    flow::{Address, Mac},
    pipeline::Column,
};

/// Exit code, stdout, stderr.
fn auscult(line: &str) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = execute(std::iter::once("auscult").chain(line.split_whitespace()), &mut out, &mut err);
    (code, String::from_utf8(out).expect("text"), String::from_utf8(err).expect("text"))
}

fn parse(line: &str) -> Command {
    let args = std::iter::once("auscult").chain(line.split_whitespace());
    Cli::try_parse_from(args).unwrap_or_else(|error| panic!("{line}: {error}")).command
}

#[test]
fn clap_finds_no_contradictions() {
    Cli::command().debug_assert();
}

#[test]
fn run_and_its_overrides() {
    let Command::Run(args) = parse("run --interface eth1,eth2 --data d --shards 3 --listen 0.0.0.0:9000") else { panic!("run") };
    let overrides = args.common.overrides(args.interface.as_ref(), &LogArgs { log: Some("debug".to_owned()), log_format: None });
    let config = config::load(None, &overrides).expect("valid").config;
    assert_eq!(config.interfaces().expect("given"), ["eth1".into(), "eth2".into()]);
    assert_eq!(config.data_directory().expect("given"), Path::new("d"));
    assert_eq!(config.biflow.shards, 3);
    assert_eq!(config.listen, Some("0.0.0.0:9000".parse().expect("an address")));
    assert_eq!(config.log.level, config::LogLevel::Debug);
}

#[test]
fn replay_listens_only_when_asked() {
    let request = |line| {
        let Command::Replay(args) = parse(line) else { panic!("replay") };
        let config = config::load(None, &args.common.overrides(None, &LogArgs::default())).expect("valid").config;
        replay_request(&args, &config)
    };
    let expect = ReplayRequest { inputs: vec!["a.pcap".into(), "-".into()], data: "d".into(), speed: Some(2.5), listen: None };
    assert_eq!(request("replay a.pcap - --data d --speed 2.5").expect("complete"), expect);
    let listen = request("replay a.pcap --data d --listen 127.0.0.1:0").expect("complete").listen;
    assert_eq!(listen, Some("127.0.0.1:0".parse().expect("an address")));
    assert_eq!(request("replay a.pcap --data d --listen off").expect("complete").listen, None);
    let error = request("replay a.pcap").expect_err("no data directory");
    assert_eq!(error.to_string(), "no data directory: give --data DIR, or set data_directory in the file given with --config");
}

#[test]
fn selections() {
    let Command::Flows(args) =
        parse("flows --data d --address 10.0.0.1 --port 104 --since 2026-11-22 --until 2026-11-22T01:00:00Z --limit 5")
    else {
        panic!("flows")
    };
    assert_eq!(args.address, Some(Address::V4([10, 0, 0, 1].into())));
    let expect = Selection {
        data: "d".into(),
        limit: 5,
        address: None,
        port: None,
        since: Some(1_795_305_600_000_000_000),
        until: Some(1_795_309_200_000_000_000),
    };
    assert_eq!((selection(&args.list), args.port), (expect, Some(104)));
    let address = |text: &str| match parse(&format!("flows --data d --address {text}")) {
        Command::Flows(args) => args.address,
        _ => None,
    };
    assert_eq!(address("2001:db8::1"), Some(Address::V6("2001:db8::1".parse().expect("an address"))));
    assert_eq!(address("00:00:5E:00:53:01"), Some(Address::Link(Some(Mac([0, 0, 0x5e, 0, 0x53, 1])))));
    assert_eq!(address("00-00-5e-00-53-01"), address("00:00:5e:00:53:01"));
    let Command::Demo(args) = parse("demo --keep here") else { panic!("demo") };
    assert_eq!((args.seed, args.keep), (1, Some("here".into())));
}

#[test]
fn usage_errors_are_one_line_with_code_2() {
    let cases = [
        (
            "replay --data d",
            "auscult: the following required arguments were not provided: <FILE>... (`auscult --help` explains)\n",
        ),
        (
            "flows --data d --since noon",
            "auscult: invalid value 'noon' for '--since <T>': \"noon\" is no time: write RFC 3339 with an offset, as 2026-11-22T14:05:00Z, or a date, as 2026-11-22 (midnight UTC) (`auscult --help` explains)\n",
        ),
        (
            "flows --data d --address nobody",
            "auscult: invalid value 'nobody' for '--address <A>': expected an IPv4, IPv6 or MAC address (as 00:00:5e:00:53:01) (`auscult --help` explains)\n",
        ),
        (
            "flows --data d --address +1:0:0:0:0:0",
            "auscult: invalid value '+1:0:0:0:0:0' for '--address <A>': expected an IPv4, IPv6 or MAC address (as 00:00:5e:00:53:01) (`auscult --help` explains)\n",
        ),
        (
            "replay a --data d --speed 0",
            "auscult: invalid value '0' for '--speed <N>': expected a number above 0, at most 1000000 (`auscult --help` explains)\n",
        ),
        (
            "flows --data d --limit 0",
            "auscult: invalid value '0' for '--limit <N>': expected an integer from 1 to 1000000 (`auscult --help` explains)\n",
        ),
    ];
    for (line, expect) in cases {
        let (code, out, err) = auscult(line);
        assert_eq!((code, out.as_str(), err.as_str()), (USAGE, "", expect), "{line}");
    }
    let (code, out, err) = auscult("replay a --data d --sped 2");
    assert_eq!((code, out.as_str(), err.lines().count()), (USAGE, "", 1));
    assert!(err.starts_with("auscult: unexpected argument '--sped' found; tip: a similar argument exists: '--speed'"), "{err}");
}

#[test]
fn help_and_version_are_results() {
    let (code, out, err) = auscult("--version");
    assert_eq!((code, out, err.as_str()), (DONE, format!("auscult {}\n", env!("CARGO_PKG_VERSION")), ""));
    for command in ["", "run", "replay", "demo", "flows", "coverage", "check"] {
        let (code, out, err) = auscult(&format!("{command} --help"));
        assert_eq!((code, err.as_str()), (DONE, ""), "{command}");
        assert!(out.contains("Usage: auscult"), "{command}");
    }
    assert!(auscult("replay --help").1.contains("zcat big.pcap.gz | auscult replay - --data ./data --json"));
}

#[test]
fn a_failure_still_prints_the_summary_of_what_was_done() {
    let (code, out, err) = auscult("replay a.pcap --json --site north");
    assert_eq!(code, FAILED);
    assert_eq!(err, "auscult: no data directory: give --data DIR, or set data_directory in the file given with --config\n");
    let summary: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&summary["packets_seen"], &summary["site"]), (&json!(0), &json!("north")));
    let (code, out, err) = auscult("run --interface not/a/name --data d");
    assert_eq!(code, FAILED);
    assert!(err.starts_with("auscult: --interface [\"not/a/name\"]: expected a list of at most 16"), "{err}");
    assert!(out.starts_with("packets at site default\n"), "{out}");
}

#[test]
fn outcomes_become_exit_codes() {
    let summary = || Summary::of_nothing("s");
    let conclude = |outcome| {
        let mut out = Vec::new();
        let result = conclude(outcome, true, None, &mut out);
        (result.map_err(|error| (error.code(), error.to_string())), out.is_empty())
    };
    assert_eq!(conclude(Ok(Outcome { summary: summary(), error: None })), (Ok(()), false));
    let stage: Box<dyn Error + Send + Sync> = "cannot read b.pcap: cut short: copy it again".into();
    let failed = Outcome { summary: summary(), error: Some(PipelineError::Stage(stage)) };
    assert_eq!(conclude(Ok(failed)), (Err((FAILED, "cannot read b.pcap: cut short: copy it again".to_owned())), false));
    let mut unbalanced = summary();
    unbalanced.imbalance.packets = 3;
    let (result, _) = conclude(Ok(Outcome { summary: unbalanced, error: None }));
    let (code, text) = result.expect_err("an imbalance is a failure");
    assert_eq!(code, FAILED);
    assert!(text.starts_with("the ledger does not close: 3 packets and 0 octets"), "{text}");
    assert_eq!(CliError::Interrupted.code(), INTERRUPTED);
}

#[test]
fn check_prints_every_value_or_every_problem() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("a.toml");
    std::fs::write(&file, "site = \"north\"\n[lake]\nzstd_level = 9\n").expect("written");
    let name = file.display().to_string();
    let (code, out, err) = auscult(&format!("check {name}"));
    assert_eq!((code, err.as_str()), (DONE, ""));
    assert_eq!(out.lines().count(), 1 + config::key::KEYS.len() + 1);
    let bound = out.lines().last().unwrap_or_default();
    for part in ["at most ", " kernel_rings ", " flow_tables ", " waiting_deltas ", " batches ", " rows ", " lake ", " process "]
    {
        assert!(bound.contains(part), "{bound}");
    }
    assert!(out.starts_with(&format!("{name}: valid\n  site ")), "{out}");
    let line = |key: &str| {
        let found = out.lines().find(|line| line.split_whitespace().next() == Some(key)).expect("every key is listed");
        found.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("site"), "\"north\" line 1");
    assert_eq!(line("lake.zstd_level"), "9 line 3");
    assert_eq!(line("data_directory"), "(unset) default");
    assert_eq!(line("meter.mark_millis"), "400 default");

    std::fs::write(&file, "sites = 1\nlisten = 3\n").expect("written");
    let (code, out, err) = auscult(&format!("check {name}"));
    assert_eq!(code, FAILED);
    assert_eq!(
        out,
        format!(
            "{name}:1: unknown key sites: did you mean site?\n{name}:2: listen: expected \"IP:PORT\" or \"off\", found an integer\n"
        )
    );
    assert_eq!(
        err,
        format!("auscult: {name}:1: unknown key sites: did you mean site? (and 1 more: `auscult check` lists them)\n")
    );
}

#[test]
fn references_are_printed() {
    assert_eq!(auscult("metrics-table"), (DONE, metrics_table(), String::new()));
    assert_eq!(auscult("config-table"), (DONE, config::key::config_table(), String::new()));
}

#[test]
fn listings() {
    let listing = Listing {
        columns: vec![
            Column { name: "end".to_owned(), in_table: true },
            Column { name: "packets".to_owned(), in_table: true },
            Column { name: "port".to_owned(), in_table: true },
            Column { name: "hidden".to_owned(), in_table: false },
        ],
        rows: vec![
            vec![json!("2026-11-22T00:00:00Z"), json!(5), json!(null), json!([1])],
            vec![json!("x\u{1b}[2J\"y"), json!(12_345), json!(104), json!(null)],
        ],
        more: true,
    };
    let mut out = Vec::new();
    listing::write_table(&listing, &mut out).expect("written");
    let expect = "\
end                   packets  port
2026-11-22T00:00:00Z        5     -
x\u{fffd}[2J\"y                 12345   104
";
    assert_eq!(String::from_utf8(out).expect("text"), expect);
    let mut out = Vec::new();
    listing::write_json(&listing, &mut out).expect("written");
    let read: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
    assert_eq!(
        read,
        json!([
            {"end": "2026-11-22T00:00:00Z", "packets": 5, "port": null, "hidden": [1]},
            {"end": "x\u{1b}[2J\"y", "packets": 12_345, "port": 104, "hidden": null},
        ])
    );
    let mut out = Vec::new();
    listing::write_json(&Listing::default(), &mut out).expect("written");
    assert_eq!(out, b"[]\n");
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut err = Vec::new();
    assert_eq!(execute(["auscult", "metrics-table"], &mut Gone, &mut err), DONE);
    assert!(err.is_empty());
}
