//! Every configuration key once: its rule, its default and what it means. The reference text, the checks and `auscult check`
//! all read this table; a test holds the defaults against those of the code.

use std::{net::SocketAddr, path::Path};

use auscult_ebpf::limit::{COPY_UNIT_SHIFT, COPY_UNITS_MAX, SETS_DEFAULT, SETS_MAX};
use toml::Value;

use super::choice::{Clock, DispositionChoice, Duplicates, Hook, LogFormat, LogLevel};
use crate::limit::{INTERFACE_OCTETS_MAX, INTERFACES_MAX, SHARDS_MAX, SITE_OCTETS_MAX};

/// Longest window for copies, ms.
const COPY_WINDOW_MILLIS_MAX: i64 = ((COPY_UNITS_MAX as i64) << COPY_UNIT_SHIFT) / 1_000_000;

/// What values a key takes.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// A whole number with both bounds possible, and its unit.
    Integer {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
        /// Unit.
        unit: &'static str,
    },
    /// A power of two with both bounds possible, and its unit.
    PowerOfTwo {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
        /// Unit.
        unit: &'static str,
    },
    /// `"auto"` or a whole number from one to this.
    AutoOr {
        /// Largest value.
        max: i64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Switch,
    /// A site name.
    Site,
    /// A list of interface names.
    Interfaces,
    /// A path.
    Directory,
    /// `IP:PORT` or `"off"`.
    Listen,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Dotted name.
    pub name: &'static str,
    /// What it takes.
    pub rule: Rule,
    /// Default as TOML; `None` when the key is unset by default.
    pub default: Option<&'static str>,
    /// The flag that overrides it.
    pub flag: Option<&'static str>,
    /// What it does.
    pub help: &'static str,
}

const fn key(name: &'static str, rule: Rule, default: &'static str, help: &'static str) -> Key {
    Key { name, rule, default: Some(default), flag: None, help }
}

const fn flagged(flag: &'static str, key: Key) -> Key {
    Key { flag: Some(flag), ..key }
}

const OCTETS_PER_TICK: Rule = Rule::Integer { min: 0, max: 1 << 26, unit: "octets per tick" };

/// All keys, in the order of the reference.
pub const KEYS: &[Key] = &[
    flagged("--site", key("site", Rule::Site, "\"default\"", "Name of the observation domain; a directory level of the lake.")),
    flagged("--interface", key("interfaces", Rule::Interfaces, "[]", "Tap interfaces that `run` meters.")),
    Key {
        name: "data_directory",
        rule: Rule::Directory,
        default: None,
        flag: Some("--data"),
        help: "Where the lake and the engine's state are written. One engine at a time per directory.",
    },
    flagged(
        "--listen",
        key(
            "listen",
            Rule::Listen,
            "\"127.0.0.1:9477\"",
            "Address of `/metrics`, `/healthz` and `/readyz` while `run` works; `replay` listens only when the flag is given. Port 0 takes any free port.",
        ),
    ),
    key(
        "biflow.idle_timeout_secs",
        Rule::Integer { min: 5, max: 86_400, unit: "seconds" },
        "120",
        "A flow without packets for this long has ended (`idle_timeout`).",
    ),
    key(
        "biflow.active_timeout_secs",
        Rule::Integer { min: 60, max: 86_400, unit: "seconds" },
        "1800",
        "A flow open for this long is written as a segment (`active_timeout`) and goes on; not shorter than the idle timeout.",
    ),
    key(
        "biflow.max_flows",
        Rule::Integer { min: 1_024, max: 100_000_000, unit: "flows" },
        "1000000",
        "Open flows of all shards together; the oldest leave (`lack_of_resources`) when there would be more.",
    ),
    flagged(
        "--shards",
        key(
            "biflow.shards",
            Rule::AutoOr { max: SHARDS_MAX as i64 },
            "\"auto\"",
            "Threads that hold flow tables; `auto` is one less than the CPUs, at least one. The rows do not depend on it.",
        ),
    ),
    key(
        "meter.clock",
        Rule::Choice(Clock::NAMES),
        "\"exact\"",
        "Time stamps: `exact` reads the clock per packet, `poll` once per receive poll (faster, late by at most one poll).",
    ),
    key(
        "meter.sets",
        Rule::PowerOfTwo { min: 16, max: SETS_MAX as i64, unit: "sets" },
        "2048",
        "Two-slot sets of the flow cache, per CPU.",
    ),
    key("meter.vlan_in_key", Rule::Switch, "false", "Tell flows apart by their outermost VLAN, for sites that reuse addresses."),
    key(
        "meter.duplicates",
        Rule::Choice(Duplicates::NAMES),
        "\"remove\"",
        "Packets that were mirrored twice (ingress and egress, two VLANs, before and behind a router, two ports, bare and in a tunnel): `remove` counts them and leaves them out, `count` meters them all the same, `off` does not look.",
    ),
    key(
        "meter.duplicate_window_millis",
        Rule::Integer { min: 1, max: COPY_WINDOW_MILLIS_MAX, unit: "milliseconds" },
        "3",
        "How much later the same packet is a second copy; beyond it, it was sent again.",
    ),
    key(
        "meter.dedicated",
        Rule::Switch,
        "false",
        "The tap interfaces carry nothing but mirrored traffic, so that the network stack need not see it.",
    ),
    key(
        "meter.disposition",
        Rule::Choice(DispositionChoice::NAMES),
        "\"auto\"",
        "What becomes of a metered frame: `pass` hands it on to the network stack, `drop` ends it and needs `dedicated = true`; `auto` drops on dedicated interfaces and passes on shared ones.",
    ),
    key(
        "meter.hook",
        Rule::Choice(Hook::NAMES),
        "\"auto\"",
        "Where the program attaches; `auto` takes the first that works in this order: xdp_native, xdp_generic, tcx.",
    ),
    key(
        "meter.ring_bytes",
        Rule::PowerOfTwo { min: 1 << 16, max: 1 << 30, unit: "bytes" },
        "16777216",
        "Ring buffer from the kernel, per CPU. A power of two from 64 KiB on is a multiple of every page size. Samples of streams and datagrams fill its first half at most, deltas all but its last eighth.",
    ),
    key(
        "meter.mark_millis",
        Rule::Integer { min: 50, max: 1_000, unit: "milliseconds" },
        "400",
        "Time between two Marks: the resident counts leave the cache and the ledger is closed this often.",
    ),
    key("samples.enabled", Rule::Switch, "true", "Take the leading octets of conversations that tell what a device is."),
    key(
        "samples.link_octets_per_tick",
        OCTETS_PER_TICK,
        "65536",
        "Share of link-level announcements, as octets of the ring. A tick is 0.54 s; shares are per CPU.",
    ),
    key("samples.address_octets_per_tick", OCTETS_PER_TICK, "131072", "Share of address assignment (DHCP, neighbour discovery)."),
    key("samples.name_octets_per_tick", OCTETS_PER_TICK, "262144", "Share of name resolution."),
    key("samples.announce_octets_per_tick", OCTETS_PER_TICK, "262144", "Share of announcing and managing datagrams."),
    key("samples.clinical_octets_per_tick", OCTETS_PER_TICK, "1048576", "Share of DICOM and HL7 conversations."),
    key("samples.stream_octets_per_tick", OCTETS_PER_TICK, "1048576", "Share of other TCP conversations."),
    key("samples.datagram_octets_per_tick", OCTETS_PER_TICK, "262144", "Share of other UDP conversations."),
    key(
        "lake.rotate_rows",
        Rule::Integer { min: 1_000, max: 10_000_000, unit: "rows" },
        "1000000",
        "A Parquet file is closed when it holds this many rows …",
    ),
    key(
        "lake.rotate_secs",
        Rule::Integer { min: 1, max: 3_600, unit: "seconds" },
        "300",
        "… or when its oldest row has waited this long; what waits is lost in a power cut.",
    ),
    key("lake.zstd_level", Rule::Integer { min: 1, max: 19, unit: "level" }, "1", "Zstandard level of Parquet pages."),
    flagged(
        "--log",
        key("log.level", Rule::Choice(LogLevel::NAMES), "\"info\"", "Least severe log lines that are written to stderr."),
    ),
    flagged("--log-format", key("log.format", Rule::Choice(LogFormat::NAMES), "\"text\"", "Form of the log lines.")),
];

const _: () = assert!(SETS_DEFAULT == 2048, "the default of meter.sets above is that of the kernel side");

impl Key {
    /// The key of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }
}

impl Rule {
    /// TOML type that a value has.
    pub fn kinds(self) -> &'static [&'static str] {
        match self {
            Self::Integer { .. } | Self::PowerOfTwo { .. } => &["integer"],
            Self::AutoOr { .. } => &["integer", "string"],
            Self::Switch => &["boolean"],
            Self::Interfaces => &["array"],
            Self::Choice(_) | Self::Site | Self::Directory | Self::Listen => &["string"],
        }
    }

    /// The rule in words, as it follows "expected".
    pub fn words(self) -> String {
        match self {
            Self::Integer { min, max, unit } => format!("an integer from {min} to {max} ({unit})"),
            Self::PowerOfTwo { min, max, unit } => format!("a power of two from {min} to {max} ({unit})"),
            Self::AutoOr { max } => format!("\"auto\" or an integer from 1 to {max}"),
            Self::Choice(names) => {
                let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
                format!("one of {}", quoted.join(", "))
            }
            Self::Switch => "true or false".to_owned(),
            Self::Site => format!("1 to {SITE_OCTETS_MAX} of the characters a-z, 0-9, _ and -"),
            Self::Interfaces => format!(
                "a list of at most {INTERFACES_MAX} different interface names of 1 to {INTERFACE_OCTETS_MAX} characters without '/', ':' and spaces"
            ),
            Self::Directory => "a path that is not empty".to_owned(),
            Self::Listen => "\"IP:PORT\" or \"off\"".to_owned(),
        }
    }

    /// Whether a value keeps the rule.
    pub fn accepts(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Integer { min, max, .. }, Value::Integer(n)) => (min..=max).contains(n),
            (Self::PowerOfTwo { min, max, .. }, Value::Integer(n)) => (min..=max).contains(n) && n.count_ones() == 1,
            (Self::AutoOr { max }, Value::Integer(n)) => (1..=max).contains(n),
            (Self::AutoOr { .. }, Value::String(text)) => text == "auto",
            (Self::Choice(names), Value::String(text)) => names.contains(&text.as_str()),
            (Self::Switch, Value::Boolean(_)) => true,
            (Self::Site, Value::String(text)) => is_site(text),
            (Self::Interfaces, Value::Array(names)) => are_interfaces(names),
            (Self::Directory, Value::String(text)) => !text.is_empty() && !text.contains('\0'),
            (Self::Listen, Value::String(text)) => text == "off" || text.parse::<SocketAddr>().is_ok(),
            _ => false,
        }
    }
}

/// Grammar of a site name: `[a-z0-9_-]{1,64}`.
pub fn is_site(text: &str) -> bool {
    (1..=SITE_OCTETS_MAX).contains(&text.len())
        && text.bytes().all(|octet| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

fn are_interfaces(names: &[Value]) -> bool {
    let is_interface = |name: &str| {
        (1..=INTERFACE_OCTETS_MAX).contains(&name.len())
            && Path::new(name) != Path::new(".")
            && name != ".."
            && name.bytes().all(|octet| octet.is_ascii_graphic() && !matches!(octet, b'/' | b':'))
    };
    let unique = names.iter().enumerate().all(|(i, name)| !names[..i].contains(name));
    unique && names.len() <= INTERFACES_MAX && names.iter().all(|name| name.as_str().is_some_and(is_interface))
}

/// The reference of all keys, as Markdown.
pub fn config_table() -> String {
    let mut text = String::from("| key | value | default | flag | meaning |\n|---|---|---|---|---|\n");
    for Key { name, rule, default, flag, help } in KEYS {
        let default = default.map_or_else(|| "unset".to_owned(), |literal| format!("`{literal}`"));
        let flag = flag.map(|flag| format!("`{flag}`")).unwrap_or_default();
        text.push_str(&format!("| `{name}` | {} | {default} | {flag} | {help} |\n", rule.words()));
    }
    text
}
