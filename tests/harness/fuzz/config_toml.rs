//! Octets as a configuration file and flags: never a panic, every problem in one line of the file, and what is valid says itself.

use std::path::PathBuf;

use auscult::{
    config::{self, ConfigError, Overrides},
    limit::SHARDS_MAX,
};

/// The file's text, then up to four flags, each behind a zero octet.
pub fn config_toml(octets: &[u8]) {
    let mut parts = octets.split(|octet| *octet == 0).map(|part| String::from_utf8_lossy(part).into_owned());
    let text = parts.next().unwrap_or_default();
    let overrides = Overrides {
        site: parts.next(),
        shards: parts.next(),
        listen: parts.next(),
        log_level: parts.next(),
        ..Overrides::default()
    };
    match config::parse(PathBuf::from("the-file"), &text, &overrides) {
        Ok(loaded) => {
            let config = &loaded.config;
            assert!(config.biflow.active_timeout >= config.biflow.idle_timeout, "{config:?}");
            assert!((1..=SHARDS_MAX).contains(&config.biflow.shards), "{config:?}");
            assert!(config.meter.sets.is_power_of_two() && config.meter.ring_bytes.is_power_of_two(), "{config:?}");
            let stated: String = loaded
                .settings
                .iter()
                .filter(|setting| !setting.value.is_empty())
                .map(|setting| format!("{} = {}\n", setting.key.name, setting.value))
                .collect();
            let again = config::parse(PathBuf::new(), &stated, &Overrides::default());
            assert_eq!(again.map(|loaded| loaded.config).map_err(|error| error.to_string()), Ok(loaded.config), "{stated}");
        }
        Err(ConfigError::Invalid(problems)) => {
            assert!(!problems.is_empty());
            let lines = text.bytes().filter(|octet| *octet == b'\n').count() + 1;
            for problem in &problems {
                assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{problem:?}");
                assert!(!problem.what.is_empty(), "{problem:?}");
            }
        }
        Err(error) => panic!("{error}"),
    }
}
