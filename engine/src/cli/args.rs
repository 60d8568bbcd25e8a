//! The command line as clap reads it. Values are checked here as far as their form goes; the configuration checks the rest.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{
    config::Overrides,
    device::{Attribute, Lifecycle},
    flow::{Address, Mac, UnixNanos},
    inventory::Setting,
    limit::{LISTING_ROWS_DEFAULT, LISTING_ROWS_MAX},
    pipeline::devices::Condition,
    time,
};

/// Passive flow analysis for hospital networks.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "auscult",
    version,
    about = "Listens to a hospital network from a tap: exact flows, into Parquet and Prometheus",
    after_help = "Examples:\n  auscult demo\n  auscult replay office.pcapng --data ./data --json\n  auscult flows --data ./data --address 10.4.0.17\n  sudo auscult run --interface eth1 --data /var/lib/auscult"
)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
    /// Logging
    #[command(flatten)]
    pub log: LogArgs,
}

/// Log flags, understood by every command.
#[derive(Clone, Debug, Default, Args)]
pub struct LogArgs {
    /// Least severe log lines to write to stderr: error, warn, info, debug, trace
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log: Option<String>,
    /// Form of the log lines: text, json
    #[arg(long, global = true, value_name = "FORM")]
    pub log_format: Option<String>,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Meter the traffic of tap interfaces until SIGINT or SIGTERM
    Run(RunArgs),
    /// Meter capture files (pcap, pcapng, gzip and zstd too), without privileges
    Replay(ReplayArgs),
    /// Generate a small hospital's traffic and meter it
    Demo(DemoArgs),
    /// List flows
    Flows(FlowsArgs),
    /// List how whole the tap was: the ledger by minute
    Coverage(ListArgs),
    /// List devices: what each is, who made it, where it is, how sure that is
    Devices(DevicesArgs),
    /// Say why the inventory says what it says of a device, with the evidence
    Why(WhyArgs),
    /// Say something of a device by hand, or take it back
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Write the inventory into one file, or make one of such a file
    #[command(subcommand)]
    Inventory(InventoryCommand),
    /// Check a configuration file and print every value in effect
    Check(CheckArgs),
    /// Print the data dictionary: every column of every table
    Dictionary,
    /// Print the reference of the metrics, as Markdown
    MetricsTable,
    /// Print the reference of the configuration keys, as Markdown
    ConfigTable,
}

/// `run`
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  sudo auscult run --interface eth1 --data /var/lib/auscult\n  sudo auscult run --config /etc/auscult.toml"
)]
pub struct RunArgs {
    /// Tap interfaces, separated by commas or repeated
    #[arg(long, value_name = "IF", value_delimiter = ',')]
    pub interface: Option<Vec<String>>,
    /// Values that the configuration file may give, too
    #[command(flatten)]
    pub common: CommonArgs,
}

/// `replay`
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  auscult replay monday.pcap tuesday.pcap.gz --data ./data\n  zcat big.pcap.gz | auscult replay - --data ./data --json\n\nReplaying a capture twice into one directory adds no rows."
)]
pub struct ReplayArgs {
    /// Captures, read in time order; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub inputs: Vec<PathBuf>,
    /// Replay at N times the speed of the capture instead of as fast as possible
    #[arg(long, value_name = "N", value_parser = parse_speed)]
    pub speed: Option<f64>,
    /// Values that the configuration file may give, too
    #[command(flatten)]
    pub common: CommonArgs,
}

/// What `run` and `replay` share.
#[derive(Clone, Debug, Default, Args)]
pub struct CommonArgs {
    /// Directory for the lake and the engine's state
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Configuration file (TOML); flags override it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
    /// Threads that hold flow tables, or auto
    #[arg(long, value_name = "N")]
    pub shards: Option<String>,
    /// Name of the site: a-z, 0-9, _ and -
    #[arg(long, value_name = "S")]
    pub site: Option<String>,
    /// Serve metrics and health here (IP:PORT or off); replay serves only when this is given
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
}

/// `demo`
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Seed of the scene: one seed, one scene
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Leave the lake in this directory
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

/// `flows`
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  auscult flows --data ./data --port 104 --since 2026-11-22\n  auscult flows --data ./data --address 00:00:5e:00:53:01 --json"
)]
pub struct FlowsArgs {
    /// Rows in common
    #[command(flatten)]
    pub list: ListArgs,
    /// Only flows with this IP or MAC address at either end
    #[arg(long, value_name = "A", value_parser = parse_address)]
    pub address: Option<Address>,
    /// Only flows with this port at either end
    #[arg(long, value_name = "P")]
    pub port: Option<u16>,
}

/// What listing commands share.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// Data directory
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Print JSON: an array of objects
    #[arg(long)]
    pub json: bool,
    /// Rows at most
    #[arg(long, value_name = "N", default_value_t = LISTING_ROWS_DEFAULT, value_parser = parse_limit)]
    pub limit: usize,
    /// Only rows that end at or after this time (RFC 3339, or a date)
    #[arg(long, value_name = "T", value_parser = time::parse)]
    pub since: Option<UnixNanos>,
    /// Only rows that start before this time (RFC 3339, or a date)
    #[arg(long, value_name = "T", value_parser = time::parse)]
    pub until: Option<UnixNanos>,
}

/// `devices`
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  auscult devices --data ./data --where category=infusion_pump\n  auscult devices --data ./data --where manufacturer~siemens --where vlan=20 --json\n  auscult devices --data ./data --as-of 2026-11-22"
)]
pub struct DevicesArgs {
    /// Data directory
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Print JSON: an array of objects
    #[arg(long)]
    pub json: bool,
    /// Devices at most
    #[arg(long, value_name = "N", default_value_t = LISTING_ROWS_MAX, value_parser = parse_limit)]
    pub limit: usize,
    /// Only devices of which this holds: column=value, column!=value, column~part; repeated, all must hold
    #[arg(long = "where", value_name = "CONDITION")]
    pub conditions: Vec<Condition>,
    /// As they were then (RFC 3339, or a date)
    #[arg(long, value_name = "T", value_parser = time::parse)]
    pub as_of: Option<UnixNanos>,
}

/// `why`
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  auscult why 10.4.0.17 --data ./data\n  auscult why ct-1 --data ./data --json")]
pub struct WhyArgs {
    /// Number, MAC, IP address or host name of a device
    #[arg(value_name = "DEVICE")]
    pub device: String,
    /// Data directory
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Print JSON: one object
    #[arg(long)]
    pub json: bool,
}

/// `device`
#[derive(Clone, Debug, Subcommand)]
pub enum DeviceCommand {
    /// Set what is known better, or take it back
    Set(DeviceSetArgs),
    /// Set owner, place, tags and more of many devices from a CSV file
    Import(DeviceImportArgs),
}

/// `device set`
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  auscult device set 10.4.0.17 category=ct owner=radiology --data ./data\n  auscult device set d0123456789abcdef lifecycle=in_service tags=loan,level-2 --data ./data\n  auscult device set ct-1 category= --data ./data\n\nAn empty value takes back what was set. Keys: owner, place, tags, lifecycle, and the attributes that `why` shows."
)]
pub struct DeviceSetArgs {
    /// Number, MAC, IP address or host name of a device
    #[arg(value_name = "DEVICE")]
    pub device: String,
    /// What to set
    #[arg(value_name = "KEY=VALUE", required = true, value_parser = parse_setting)]
    pub settings: Vec<Setting>,
    /// Who says so
    #[arg(long, value_name = "NAME", env = "USER", default_value = "operator")]
    pub by: String,
    /// Data directory
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
}

/// `device import`
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "The first line names the columns: device_id, mac, ip or serial say which device; owner, place, tags (joined by ;), lifecycle, category, manufacturer, model, hostname are set.\n\nExamples:\n  auscult device import biomed.csv --data ./data --dry-run"
)]
pub struct DeviceImportArgs {
    /// CSV file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Say what would be set, and set nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Who says so
    #[arg(long, value_name = "NAME", env = "USER", default_value = "operator")]
    pub by: String,
    /// Data directory
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
}

/// `inventory`
#[derive(Clone, Debug, Subcommand)]
pub enum InventoryCommand {
    /// Write devices, evidence, changes and what was set by hand into one file
    Backup(InventoryFileArgs),
    /// Make an inventory of a backup, where there is none
    Restore(InventoryFileArgs),
}

/// `inventory backup`, `inventory restore`
#[derive(Clone, Debug, Args)]
pub struct InventoryFileArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Data directory
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
}

/// `check`
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Configuration file
    #[arg(value_name = "CONFIG")]
    pub file: PathBuf,
}

impl CommonArgs {
    /// The flags as overrides of the file.
    pub fn overrides(&self, interfaces: Option<&Vec<String>>, log: &LogArgs) -> Overrides {
        Overrides {
            site: self.site.clone(),
            interfaces: interfaces.cloned(),
            data_directory: self.data.clone(),
            listen: self.listen.clone(),
            shards: self.shards.clone(),
            log_level: log.log.clone(),
            log_format: log.log_format.clone(),
        }
    }
}

fn parse_speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed > 0.0 && speed <= 1e6 => Ok(speed),
        _ => Err("expected a number above 0, at most 1000000".to_owned()),
    }
}

fn parse_limit(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(rows) if (1..=LISTING_ROWS_MAX).contains(&rows) => Ok(rows),
        _ => Err(format!("expected an integer from 1 to {LISTING_ROWS_MAX}")),
    }
}

/// `key=value`; an empty value takes back what was set.
fn parse_setting(text: &str) -> Result<Setting, String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is no setting: write key=value"))?;
    let value = value.trim();
    let given = (!value.is_empty()).then(|| Box::from(value));
    match key.trim() {
        "owner" => Ok(Setting::Owner(given)),
        "place" => Ok(Setting::Place(given)),
        "tags" => Ok(Setting::Tags(value.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(Box::from).collect())),
        "lifecycle" => Lifecycle::named(value)
            .map(Setting::Lifecycle)
            .ok_or_else(|| format!("{value:?} is no state: choose one of {}", Lifecycle::ALL.map(Lifecycle::name).join(", "))),
        key => match Attribute::named(key) {
            Some(attribute) => Ok(Setting::Attribute(attribute, given)),
            None => {
                let attributes: Vec<&str> = Attribute::ALL.iter().map(|attribute| attribute.name()).collect();
                Err(format!("{key:?} cannot be set: choose owner, place, tags, lifecycle, {}", attributes.join(", ")))
            }
        },
    }
}

fn parse_address(text: &str) -> Result<Address, String> {
    if let Ok(ip) = text.parse() {
        return Ok(Address::V4(ip));
    }
    if let Ok(ip) = text.parse() {
        return Ok(Address::V6(ip));
    }
    let wrong = || "expected an IPv4, IPv6 or MAC address (as 00:00:5e:00:53:01)".to_owned();
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let parts: [&str; 6] = parts.try_into().map_err(|_| wrong())?;
    let mut mac = [0; 6];
    for (octet, part) in mac.iter_mut().zip(parts) {
        let digits = (1..=2).contains(&part.len()) && part.bytes().all(|digit| digit.is_ascii_hexdigit());
        *octet = u8::from_str_radix(part, 16).ok().filter(|_| digits).ok_or_else(wrong)?;
    }
    Ok(Address::Link(Some(Mac(mac))))
}
