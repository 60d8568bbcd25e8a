//! The configuration as it is written: every field as TOML has it, nothing checked but the types.

use serde::{Deserialize, Serialize};
use toml::Value;

/// The file.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    pub site: String,
    pub interfaces: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_directory: Option<String>,
    pub listen: String,
    pub biflow: RawBiflow,
    pub meter: RawMeter,
    pub samples: RawSamples,
    pub lake: RawLake,
    pub log: RawLog,
}

/// `[biflow]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawBiflow {
    pub idle_timeout_secs: i64,
    pub active_timeout_secs: i64,
    pub max_flows: i64,
    /// `"auto"` or a number.
    pub shards: Value,
}

/// `[meter]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawMeter {
    pub clock: String,
    pub sets: i64,
    pub vlan_in_key: bool,
    pub duplicates: String,
    pub duplicate_window_millis: i64,
    pub dedicated: bool,
    pub disposition: String,
    pub hook: String,
    pub ring_bytes: i64,
    pub mark_millis: i64,
}

/// `[samples]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawSamples {
    pub enabled: bool,
    pub link_octets_per_tick: i64,
    pub address_octets_per_tick: i64,
    pub name_octets_per_tick: i64,
    pub announce_octets_per_tick: i64,
    pub clinical_octets_per_tick: i64,
    pub stream_octets_per_tick: i64,
    pub datagram_octets_per_tick: i64,
}

/// `[lake]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLake {
    pub rotate_rows: i64,
    pub rotate_secs: i64,
    pub zstd_level: i64,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLog {
    pub level: String,
    pub format: String,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            site: "default".to_owned(),
            interfaces: Vec::new(),
            data_directory: None,
            listen: "127.0.0.1:9477".to_owned(),
            biflow: RawBiflow::default(),
            meter: RawMeter::default(),
            samples: RawSamples::default(),
            lake: RawLake::default(),
            log: RawLog::default(),
        }
    }
}

impl Default for RawBiflow {
    fn default() -> Self {
        Self {
            idle_timeout_secs: 120,
            active_timeout_secs: 1_800,
            max_flows: 1_000_000,
            shards: Value::String("auto".to_owned()),
        }
    }
}

impl Default for RawMeter {
    fn default() -> Self {
        Self {
            clock: "exact".to_owned(),
            sets: i64::from(auscult_ebpf::limit::SETS_DEFAULT),
            vlan_in_key: false,
            duplicates: "remove".to_owned(),
            duplicate_window_millis: 3,
            dedicated: false,
            disposition: "auto".to_owned(),
            hook: "auto".to_owned(),
            ring_bytes: 16 << 20,
            mark_millis: 400,
        }
    }
}

impl Default for RawSamples {
    fn default() -> Self {
        Self {
            enabled: true,
            link_octets_per_tick: 64 << 10,
            address_octets_per_tick: 128 << 10,
            name_octets_per_tick: 256 << 10,
            announce_octets_per_tick: 256 << 10,
            clinical_octets_per_tick: 1 << 20,
            stream_octets_per_tick: 1 << 20,
            datagram_octets_per_tick: 256 << 10,
        }
    }
}

impl Default for RawLake {
    fn default() -> Self {
        Self { rotate_rows: 1_000_000, rotate_secs: 300, zstd_level: 1 }
    }
}

impl Default for RawLog {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: "text".to_owned() }
    }
}
