//! The configuration as an operator meets it: defaults, overrides, and every kind of mistake.

use std::collections::BTreeSet;

use super::{source::nearest, *};

fn load_text(text: &str) -> Result<Config, Vec<String>> {
    match parse("a.toml".into(), text, &Overrides::default()) {
        Ok(loaded) => Ok(loaded.config),
        Err(ConfigError::Invalid(problems)) => Err(problems.iter().map(ToString::to_string).collect()),
        Err(other) => panic!("{other}"),
    }
}

fn one_problem(text: &str) -> String {
    let problems = load_text(text).expect_err("the text has a fault");
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].clone()
}

#[test]
fn the_empty_file_is_the_default() {
    let config = load_text("").expect("valid");
    assert_eq!(config, Config::default());
    assert_eq!(&*config.site, "default");
    assert_eq!(config.listen, Some("127.0.0.1:9477".parse().expect("address")));
    assert_eq!(config.biflow.idle_timeout, Duration::from_secs(120));
    assert_eq!(config.biflow.active_timeout, Duration::from_secs(1_800));
    assert_eq!(config.biflow.max_flows, 1_000_000);
    assert!((1..=SHARDS_MAX).contains(&config.biflow.shards));
    assert_eq!(config.meter.disposition, Disposition::Pass);
    assert_eq!(config.meter.mark_interval, Duration::from_millis(400));
    assert_eq!(config.data_directory, None);
}

#[test]
fn documented_defaults_are_those_of_the_code() {
    let values = flatten(&Raw::default());
    let mut documented = BTreeSet::new();
    for key in KEYS {
        assert!(documented.insert(key.name.to_owned()), "{} is in the table twice", key.name);
        let from_code = values.get(key.name).map(ToString::to_string);
        assert_eq!(key.default.map(str::to_owned), from_code, "{}", key.name);
        if let Some(value) = values.get(key.name) {
            assert!(key.rule.accepts(value), "the default of {} breaks its own rule", key.name);
        }
    }
    let all = Raw { data_directory: Some("x".to_owned()), ..Raw::default() };
    assert_eq!(flatten(&all).into_keys().collect::<BTreeSet<_>>(), documented, "keys of the code and of the table");
}

#[test]
fn the_documented_defaults_written_out_are_a_valid_file() {
    let mut text = String::new();
    for Key { name, default, .. } in KEYS {
        if let Some(literal) = default {
            text.push_str(&format!("{name} = {literal}\n"));
        }
    }
    assert_eq!(load_text(&text).expect("valid"), Config::default());
    let reference = key::config_table();
    assert_eq!(reference.lines().count(), KEYS.len() + 2);
    for key in KEYS {
        assert!(reference.contains(&format!("| `{}` | {} |", key.name, key.rule.words())), "{}", key.name);
    }
}

#[test]
fn unknown_keys_are_named_with_line_and_neighbour() {
    let cases = [
        (
            "site = \"a\"\n[biflow]\nidle_timeout_sec = 3",
            "a.toml:3: unknown key biflow.idle_timeout_sec: did you mean biflow.idle_timeout_secs?",
        ),
        ("[biflow]\nidle_timeout = \"2m\"", "a.toml:2: unknown key biflow.idle_timeout: did you mean biflow.idle_timeout_secs?"),
        ("idle_timeout_secs = 3", "a.toml:1: unknown key idle_timeout_secs: did you mean biflow.idle_timeout_secs?"),
        ("\n\n[bilfow]\nmax_flows = 3", "a.toml:3: unknown key bilfow: did you mean biflow?"),
        ("interface = [\"eth0\"]", "a.toml:1: unknown key interface: did you mean interfaces?"),
        ("[lake]\ncolour = 1", "a.toml:2: unknown key lake.colour: remove it (`auscult config-table` lists the keys)"),
        ("meter.ring-bytes = 1", "a.toml:1: unknown key meter.ring-bytes: did you mean meter.ring_bytes?"),
        ("biflow = 3", "a.toml:1: biflow is a section: write [biflow] and its keys below"),
    ];
    for (text, expect) in cases {
        assert_eq!(one_problem(text), expect);
    }
    assert_eq!(nearest("Listen"), Some("listen"));
    assert_eq!(nearest("quux"), None);
}

#[test]
fn wrong_types_and_values_say_what_was_expected() {
    let cases = [
        (
            "[biflow]\nidle_timeout_secs = \"120s\"",
            "a.toml:2: biflow.idle_timeout_secs: expected an integer from 5 to 86400 (seconds), found a string",
        ),
        (
            "[biflow]\nidle_timeout_secs = 4",
            "a.toml:2: biflow.idle_timeout_secs = 4: expected an integer from 5 to 86400 (seconds)",
        ),
        ("[biflow]\nmax_flows = -1", "a.toml:2: biflow.max_flows = -1: expected an integer from 1024 to 100000000 (flows)"),
        ("[biflow]\nshards = 0", "a.toml:2: biflow.shards = 0: expected \"auto\" or an integer from 1 to 64"),
        ("[biflow]\nshards = \"many\"", "a.toml:2: biflow.shards = \"many\": expected \"auto\" or an integer from 1 to 64"),
        ("[meter]\nsets = 1000", "a.toml:2: meter.sets = 1000: expected a power of two from 16 to 65536 (sets)"),
        ("[meter]\nclock = \"fast\"", "a.toml:2: meter.clock = \"fast\": expected one of \"exact\", \"poll\""),
        ("[meter]\nvlan_in_key = 1", "a.toml:2: meter.vlan_in_key: expected true or false, found an integer"),
        ("site = \"North Wing\"", "a.toml:1: site = \"North Wing\": expected 1 to 64 of the characters a-z, 0-9, _ and -"),
        ("listen = \"localhost\"", "a.toml:1: listen = \"localhost\": expected \"IP:PORT\" or \"off\""),
        (
            "interfaces = [\"eth0\", \"eth0\"]",
            "a.toml:1: interfaces = [\"eth0\", \"eth0\"]: expected a list of at most 16 different interface names of 1 to 15 characters without '/', ':' and spaces",
        ),
        (
            "[biflow]\nidle_timeout_secs = 600\nactive_timeout_secs = 300",
            "a.toml:3: biflow.active_timeout_secs = 300: expected at least biflow.idle_timeout_secs, which is 600",
        ),
        (
            "[meter]\nring_bytes = 65536",
            "a.toml:2: meter.ring_bytes = 65536: expected at least twice the sum of the sample shares, which is 3080192, so that samples cannot crowd out flow counts",
        ),
    ];
    for (text, expect) in cases {
        assert_eq!(one_problem(text), expect);
    }
    let drop = one_problem("[meter]\ndisposition = \"drop\"");
    assert!(drop.starts_with("a.toml:2: meter.disposition = \"drop\": the host would no longer hear"), "{drop}");
    let syntax = one_problem("site = \"a\"\nlisten = ");
    assert!(syntax.starts_with("a.toml:2: ") && !syntax.contains('\n'), "{syntax}");
    let huge = one_problem("[biflow]\nmax_flows = 99999999999999999999");
    assert!(huge.starts_with("a.toml:2: ") && !huge.contains('\n'), "{huge}");
}

#[test]
fn all_problems_are_found_at_once() {
    let problems = load_text("sit = \"a\"\n[biflow]\nshard = 1\nmax_flows = \"x\"").expect_err("three faults");
    assert_eq!(problems.len(), 3);
    assert!(
        problems[0].starts_with("a.toml:1: ") && problems[1].starts_with("a.toml:3: ") && problems[2].starts_with("a.toml:4: ")
    );
    let problems = load_text("[biflow]\nshards = 0\nmax_flows = 1").expect_err("two faults");
    assert_eq!(problems.len(), 2);
}

#[test]
fn dedicated_ports_drop_unless_told_otherwise() {
    let disposition = |text: &str| load_text(text).expect("valid").meter.disposition;
    assert_eq!(disposition("[meter]\ndedicated = true"), Disposition::Drop);
    assert_eq!(disposition("[meter]\ndedicated = true\ndisposition = \"pass\""), Disposition::Pass);
    assert_eq!(disposition("[meter]\ndedicated = true\ndisposition = \"drop\""), Disposition::Drop);
}

#[test]
fn every_choice_of_the_table_is_understood() {
    for key in KEYS {
        let key::Rule::Choice(names) = key.rule else { continue };
        for name in names {
            let text = format!("meter.dedicated = true\n{} = \"{name}\"", key.name);
            let config = load_text(&text).expect("valid");
            let taken = match key.name {
                "meter.clock" => config.meter.clock.name(),
                "meter.hook" => config.meter.hook.name(),
                "log.level" => config.log.level.name(),
                "log.format" => config.log.format.name(),
                "meter.duplicates" => config.meter.duplicates.name(),
                "meter.disposition" => name,
                other => panic!("{other} is not tested"),
            };
            assert_eq!(taken, *name);
        }
    }
}

#[test]
fn flags_override_the_file_and_faults_name_the_flag() {
    let text = "site = \"north\"\ninterfaces = [\"eth0\"]\n[biflow]\nshards = 2";
    let overrides = Overrides {
        site: Some("south".to_owned()),
        shards: Some("4".to_owned()),
        data_directory: Some("lake".into()),
        listen: Some("off".to_owned()),
        ..Overrides::default()
    };
    let loaded = parse("a.toml".into(), text, &overrides).expect("valid");
    assert_eq!(&*loaded.config.site, "south");
    assert_eq!(loaded.config.biflow.shards, 4);
    assert_eq!(loaded.config.listen, None);
    assert_eq!(loaded.config.data_directory().expect("set"), Path::new("lake"));
    assert_eq!(loaded.config.interfaces().expect("set"), ["eth0".into()]);
    let origin = |name| loaded.settings.iter().find(|setting| setting.key.name == name).map(|setting| setting.origin.clone());
    assert_eq!(origin("site"), Some(Origin::Flag("--site")));
    assert_eq!(origin("interfaces"), Some(Origin::Line(2)));
    assert_eq!(origin("lake.zstd_level"), Some(Origin::Default));

    let overrides = Overrides { shards: Some("x".to_owned()), ..Overrides::default() };
    let error = parse("a.toml".into(), text, &overrides).expect_err("no number");
    assert_eq!(error.to_string(), "--shards \"x\": expected \"auto\" or an integer from 1 to 64");
}

#[test]
fn what_a_command_needs_and_nothing_sets() {
    let config = Config::default();
    assert_eq!(
        config.data_directory().expect_err("unset").to_string(),
        "no data directory: give --data DIR, or set data_directory in the file given with --config"
    );
    assert_eq!(
        config.interfaces().expect_err("unset").to_string(),
        "no tap interface: give --interface IF, or set interfaces in the file given with --config"
    );
    let error = load(Some(Path::new("no-such.toml")), &Overrides::default()).expect_err("missing");
    assert!(error.to_string().starts_with("cannot read the configuration no-such.toml: No such file"), "{error}");
}
