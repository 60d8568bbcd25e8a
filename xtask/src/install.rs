//! `cargo xtask install`: the programs that suites, benches and the BPF build call, each with its reason.
//!
//! What is there already is left alone and not spoken of. Where there is no root or no apt, the missing ones are named.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::{process, workspace};

/// What needs a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `cargo xtask bpf`: compiler, standard library and linker for the BPF target.
    Bpf,
    /// `cargo xtask demo`: namespaces and the software SPAN port.
    Demo,
    /// `cargo xtask test`: independent readers that tests compare with.
    Tests,
    /// `cargo xtask bench peers`: the programs Auscult is measured against.
    Peers,
    /// `cargo xtask lab`: the programs that devices of a hospital run.
    Lab,
    /// `cargo xtask test --with-deny`: licences, bans and sources of dependencies.
    Deny,
}

/// A Debian package: its name, a path by which it shows that it is installed, what needs it, and why.
struct Package {
    name: &'static str,
    shows: &'static str,
    purposes: &'static [Purpose],
    reason: &'static str,
}

const fn package(name: &'static str, shows: &'static str, purposes: &'static [Purpose], reason: &'static str) -> Package {
    Package { name, shows, purposes, reason }
}

/// The LLVM release that both the packaged compiler and our build of bpf-linker are made with.
const LLVM: &str = "/usr/lib/llvm-22";

const PACKAGES: &[Package] = &[
    package("rustc-web", "/usr/bin/rustc", &[Purpose::Bpf], "a compiler whose standard library is packaged for the BPF target"),
    package("cargo-web", "/usr/bin/cargo", &[Purpose::Bpf], "the cargo that belongs to it"),
    package("libstd-rust-web-dev-bpf", "/usr/lib/rustlib/bpfel-unknown-none", &[Purpose::Bpf], "core for the BPF target"),
    package("llvm-22-dev", "/usr/lib/llvm-22/include/llvm", &[Purpose::Bpf], "what bpf-linker is built on, and llvm-strip"),
    package("libpolly-22-dev", "/usr/lib/llvm-22/lib/libPolly.a", &[Purpose::Bpf], "llvm-config names it to the linker"),
    package("libzstd-dev", "/usr/include/zstd.h", &[Purpose::Bpf], "LLVM links it"),
    package("zlib1g-dev", "/usr/include/zlib.h", &[Purpose::Bpf], "LLVM links it"),
    package("libxml2-dev", "/usr/include/libxml2", &[Purpose::Bpf], "LLVM links it"),
    package("g++", "g++", &[Purpose::Tests], "builds libFuzzer"),
    package("iproute2", "ip", &[Purpose::Demo, Purpose::Tests, Purpose::Lab], "namespaces, veth pairs, bridges, tc mirred"),
    package("ethtool", "ethtool", &[Purpose::Demo, Purpose::Tests, Purpose::Lab], "offloads of the interfaces a test makes"),
    package("tshark", "tshark", &[Purpose::Tests], "conversations and fields, counted by another program"),
    package("wireshark-common", "capinfos", &[Purpose::Tests], "capinfos: packets in a capture"),
    package(
        "tcpdump",
        "tcpdump",
        &[Purpose::Tests, Purpose::Peers, Purpose::Lab],
        "reads what the generator writes; the fastest reader to aim at",
    ),
    package("tcpreplay", "tcpreplay", &[Purpose::Tests], "plays captures into a live tap"),
    package(
        "dcmtk",
        "dcmdump",
        &[Purpose::Tests, Purpose::Lab],
        "reads DICOM objects and associations; modalities of the laboratory",
    ),
    package(
        "python3-venv",
        "/usr/share/doc/python3-venv",
        &[Purpose::Tests, Purpose::Peers, Purpose::Lab],
        "the independent readers below live in an environment",
    ),
    package("orthanc", "/usr/sbin/Orthanc", &[Purpose::Lab], "archive of images"),
    package("dnsmasq-base", "/usr/sbin/dnsmasq", &[Purpose::Lab], "addresses and names"),
    package("udhcpc", "/usr/sbin/udhcpc", &[Purpose::Lab], "a DHCP client, as devices have it"),
    package("isc-dhcp-client", "/usr/sbin/dhclient", &[Purpose::Lab], "a DHCP client, as computers have it"),
    package("snmpd", "/usr/sbin/snmpd", &[Purpose::Lab], "agents of printers, switches and power supplies"),
    package("snmp", "snmpget", &[Purpose::Lab], "their management"),
    package("avahi-daemon", "/usr/sbin/avahi-daemon", &[Purpose::Lab], "multicast DNS"),
    package("dbus-daemon", "dbus-daemon", &[Purpose::Lab], "by which printers reach Avahi"),
    package("cups-ipp-utils", "/usr/sbin/ippeveprinter", &[Purpose::Lab], "IPP printers and their clients"),
    package("samba", "/usr/sbin/smbd", &[Purpose::Lab], "file shares and NetBIOS names"),
    package("smbclient", "smbclient", &[Purpose::Lab], "who uses them"),
    package("nginx-light", "/usr/sbin/nginx", &[Purpose::Lab], "web pages and certificates"),
    package("openssh-server", "/usr/sbin/sshd", &[Purpose::Lab], "SSH"),
    package("mosquitto", "/usr/sbin/mosquitto", &[Purpose::Lab], "MQTT broker"),
    package("mosquitto-clients", "mosquitto_pub", &[Purpose::Lab], "MQTT sensors"),
    package("lldpd", "/usr/sbin/lldpd", &[Purpose::Lab], "LLDP and LLDP-MED"),
    package("sip-tester", "sipp", &[Purpose::Lab], "telephones"),
    package("kamailio", "/usr/sbin/kamailio", &[Purpose::Lab], "their exchange"),
    package("chrony", "/usr/sbin/chronyd", &[Purpose::Lab], "time server"),
    package("ntpsec-ntpdate", "/usr/sbin/ntpdate", &[Purpose::Lab], "who asks it"),
    package("rsyslog", "/usr/sbin/rsyslogd", &[Purpose::Lab], "takes messages"),
    package("vsftpd", "/usr/sbin/vsftpd", &[Purpose::Lab], "FTP"),
    package("busybox", "busybox", &[Purpose::Lab], "Telnet client"),
    package("inetutils-telnetd", "/usr/sbin/telnetd", &[Purpose::Lab], "Telnet"),
    package("wsdd", "wsdd", &[Purpose::Lab], "a computer in the network folder"),
    package("minidlna", "/usr/sbin/minidlnad", &[Purpose::Lab], "a media server of a file store"),
    package("ffmpeg", "ffmpeg", &[Purpose::Lab], "a recorder of cameras"),
    package("python3-gi", "/usr/lib/python3/dist-packages/gi", &[Purpose::Lab], "bindings of the cameras' RTSP server"),
    package(
        "gir1.2-gst-rtsp-server-1.0",
        "/usr/share/doc/gir1.2-gst-rtsp-server-1.0",
        &[Purpose::Lab],
        "the cameras' RTSP server",
    ),
    package("gstreamer1.0-plugins-base", "/usr/share/doc/gstreamer1.0-plugins-base", &[Purpose::Lab], "their test picture"),
    package("gstreamer1.0-plugins-good", "/usr/share/doc/gstreamer1.0-plugins-good", &[Purpose::Lab], "its coding"),
    package("iputils-ping", "ping", &[Purpose::Lab], "reachability checks"),
    package("curl", "curl", &[Purpose::Lab], "web clients"),
    package("openssl", "openssl", &[Purpose::Lab], "certificates of the web servers"),
    package("nfdump", "nfpcapd", &[Purpose::Peers], "the peer nfpcapd"),
    package("softflowd", "softflowd", &[Purpose::Peers], "the peer softflowd"),
    package("argus-server", "argus", &[Purpose::Peers], "the peer argus"),
    package("argus-client", "racount", &[Purpose::Peers], "tells what argus wrote"),
    package("libndpi-bin", "ndpiReader", &[Purpose::Peers], "the peer ndpiReader"),
];

/// Python packages, with the versions that the suites were written against: Parquet read by other engines than the one that wrote it.
const PYTHON_PACKAGES: &[(&str, &str)] = &[
    ("duckdb==2.0.0", "the SQL engine that analysts point at the lake"),
    ("polars==2.1.0", "a second, independent Parquet reader"),
    ("pyarrow==26.0.1", "a third; also reads statistics and metadata"),
    ("pandas==3.1.1", "what notebooks use"),
];

/// The peer that is a Python package. An environment of its own: what it needs is not what the readers need.
const PYTHON_PEERS: &[(&str, &str)] = &[("nfstream==6.6.0", "the peer NFStream")];

/// What devices of the laboratory are made of, where no Debian package speaks as they do. An environment of its own, as above.
const PYTHON_LAB: &[(&str, &str)] = &[
    ("pynetdicom==3.0.4", "DICOM modalities and printers that name their own implementation"),
    ("pydicom==3.0.2", "synthetic images"),
    ("hl7==0.4.5", "HL7 clients and servers"),
    ("pymodbus==3.16.1", "Modbus/TCP with device identification"),
    ("bacpypes3==0.0.110", "BACnet/IP controllers"),
    ("zeroconf==0.154.0", "who looks for multicast DNS services"),
    ("WSDiscovery==2.1.2", "cameras that are discovered"),
    ("aiooui==0.1.11", "whom MACs are registered to, for the truth"),
];

/// The linker of BPF objects, built against the packaged LLVM.
const BPF_LINKER_VERSION: &str = "0.13.0";
/// The checker of licences, bans and sources.
const CARGO_DENY_VERSION: &str = "0.20.2";

/// What to install.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The programs Auscult is measured against, too
    #[arg(long)]
    peers: bool,
    /// The checker of licences, too; it takes minutes to build
    #[arg(long)]
    deny: bool,
}

/// Installs what is missing for everything but the purposes that have to be asked for.
pub fn run(options: &Options) -> Result<ExitCode> {
    let mut purposes = vec![Purpose::Bpf, Purpose::Demo, Purpose::Tests];
    if options.deny {
        purposes.push(Purpose::Deny);
    }
    install(&purposes)?;
    if options.peers {
        peers();
    }
    println!("everything is there");
    Ok(ExitCode::SUCCESS)
}

/// Installs the programs that Auscult is measured against. Without those that cannot be had here the others are measured: they are named.
pub fn peers() {
    if let Err(error) = install(&[Purpose::Peers]) {
        eprintln!("not all peers are installed: {error:#}");
    }
    if let Err(error) = install_python("venv-peers", PYTHON_PEERS) {
        eprintln!("the peer NFStream is not installed: {error:#}");
    }
}

/// Installs what is missing for those purposes; what cannot be installed is an error that names it.
pub fn install(purposes: &[Purpose]) -> Result<()> {
    install_packages(purposes)?;
    if purposes.contains(&Purpose::Tests) {
        install_python("venv", PYTHON_PACKAGES)?;
    }
    if purposes.contains(&Purpose::Lab) {
        install_python("venv-lab", PYTHON_LAB)?;
    }
    if purposes.contains(&Purpose::Bpf) && workspace::find_tool("bpf-linker").is_none() {
        eprintln!("building bpf-linker {BPF_LINKER_VERSION}: it joins the object's parts and writes its BTF");
        let features = ["--no-default-features", "--features", "llvm-22"];
        process::run(cargo_install("bpf-linker", BPF_LINKER_VERSION, &features).env("LLVM_PREFIX", LLVM))?;
    }
    if purposes.contains(&Purpose::Deny) && workspace::find_tool("cargo-deny").is_none() {
        eprintln!("building cargo-deny {CARGO_DENY_VERSION}: it reads the licences of all dependencies");
        process::run(&mut cargo_install("cargo-deny", CARGO_DENY_VERSION, &[]))?;
    }
    Ok(())
}

/// The Python interpreter that has [`PYTHON_PACKAGES`], if it was installed.
pub fn python() -> Option<PathBuf> {
    Some(workspace::target().join("venv/bin/python3")).filter(|python| python.is_file())
}

/// The Python interpreter that has [`PYTHON_LAB`], once it was installed.
pub fn lab_python() -> PathBuf {
    workspace::target().join("venv-lab/bin/python3")
}

fn install_packages(purposes: &[Purpose]) -> Result<()> {
    let wanted = |package: &&Package| package.purposes.iter().any(|purpose| purposes.contains(purpose));
    let missing: Vec<_> = PACKAGES.iter().filter(wanted).filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for package in &missing {
        eprintln!("missing: {} ({})", package.name, package.reason);
    }
    let names: Vec<_> = missing.iter().map(|package| package.name).collect();
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("no apt here; install by your own means what Debian calls {}", names.join(" "));
    }
    if !workspace::is_root() {
        bail!("not root; run: sudo apt-get install --no-install-recommends {}", names.join(" "));
    }
    let arguments = ["install", "--yes", "-qq", "--no-install-recommends"];
    let install = || process::run(apt().args(arguments).args(&names));
    // A fresh machine's lists are empty or old: read them only when the first try says so.
    install().or_else(|_| process::run(apt().args(["update", "-qq"])).and_then(|()| install()))
}

fn apt() -> std::process::Command {
    let mut apt = process::command("apt-get");
    // Services of the laboratory run in its namespaces alone: none is started by being installed.
    apt.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    apt
}

fn is_installed(package: &Package) -> bool {
    if package.shows.starts_with('/') { Path::new(package.shows).exists() } else { workspace::find_tool(package.shows).is_some() }
}

/// A Python environment of that name in the build folder, with those packages.
fn install_python(name: &str, packages: &[(&str, &str)]) -> Result<()> {
    let folder = workspace::target().join(name);
    let stamp = folder.join("packages");
    let names: Vec<_> = packages.iter().map(|(name, _)| *name).collect();
    let wanted = names.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|present| present == wanted) {
        return Ok(());
    }
    for (name, reason) in packages {
        eprintln!("missing: {name} ({reason})");
    }
    process::run(process::command("python3").args(["-m", "venv"]).arg(&folder))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    process::run(process::command(folder.join("bin/python3")).args(pip).args(&names))?;
    std::fs::write(stamp, wanted)?;
    Ok(())
}

fn cargo_install(name: &str, version: &str, features: &[&str]) -> std::process::Command {
    let mut cargo = process::cargo(&["install", name, "--version", version, "--locked"]);
    cargo.args(features).arg("--root").arg(workspace::tools());
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_has_a_purpose_and_a_reason_and_stands_once() {
        for (index, package) in PACKAGES.iter().enumerate() {
            assert!(!package.purposes.is_empty() && !package.reason.is_empty(), "{}", package.name);
            assert!(PACKAGES.iter().skip(index + 1).all(|other| other.name != package.name), "{} stands twice", package.name);
        }
    }
}
