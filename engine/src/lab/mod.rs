//! The laboratory: a switch with a mirror port made of network namespaces, and a player of frames into it.
//!
//! Nothing leaves the namespaces, which go with the value that made them, also on panic; [`sweep`] removes those of killed
//! processes. Needs root, and the tools `ip`, `tc` and `ethtool`. Links carry frames as they are: every offload that joins, cuts or
//! untags frames is off. One namespace holds the hosts' ends and the switch, another nothing but the tap, so that an engine can be started
//! in it: with `nsenter --net=/run/netns/NAME`, which keeps the file systems (`ip netns exec` mounts its own /sys).

mod command;
mod flood;
mod namespace;
mod player;

use std::{fs, io};

use command::run;
pub use flood::{FLOOD_FLOWS_MAX, Flood, Place};
pub use namespace::{Namespace, sweep};
pub use player::{BATCH_FRAMES, Pace, Played, Player};

use crate::scene::BRIDGE_PORTS;

/// Link MTU for scenes without jumbo frames. Two service tags count as payload, because a packet socket sends no more than MTU and header.
pub const MTU: u32 = 1508;

/// Link MTU for scenes with jumbo frames.
pub const JUMBO_MTU: u32 = 9008;

/// Why there is no laboratory, or no player.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A tool is missing.
    #[error("{tool} not found: install iproute2 and ethtool")]
    NoTool {
        /// The tool.
        tool: &'static str,
    },
    /// A tool refused.
    #[error("`{command}` failed: {said}: run as root on a kernel with veth, bridge, clsact and mirred")]
    Tool {
        /// What was run.
        command: String,
        /// What it printed.
        said: String,
    },
    /// A frame was refused.
    #[error("cannot send a frame of {octets} octets: {source}: make the laboratory with a larger mtu")]
    Send {
        /// Its length.
        octets: usize,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A system call refused.
    #[error("cannot {what}: {source}: run as root")]
    System {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Packets of one interface, as the kernel counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Received.
    pub received: u64,
    /// Transmitted.
    pub transmitted: u64,
}

/// A laboratory. Fields are dropped in order, the inside first.
#[derive(Debug)]
pub struct Lab {
    site: Namespace,
    tap: Namespace,
    hosts: Vec<String>,
    taps: Vec<String>,
}

impl Lab {
    /// A switch with [`BRIDGE_PORTS`] ports whose ingress is mirrored, each frame once, to `tap0`.
    ///
    /// # Errors
    /// No privileges, no tools, or a kernel without what it takes; nothing is left behind.
    pub fn span(mtu: u32) -> Result<Self, LabError> {
        Self::span_of(mtu, |_| true)
    }

    /// As [`Self::span`], but only those ports are mirrored that `is_mirrored` names, by their numbers: of what enters by the others
    /// `tap0` hears nothing.
    ///
    /// # Errors
    /// As [`Self::span`].
    pub fn span_of(mtu: u32, is_mirrored: impl Fn(usize) -> bool) -> Result<Self, LabError> {
        let mut lab = Self::empty()?;
        let name = lab.site.name().to_owned();
        run("ip", &format!("-n {name} link add bridge0 type bridge stp_state 0 mcast_snooping 0"))?;
        run("ip", &format!("-n {name} link set bridge0 mtu {mtu} arp off up"))?;
        lab.tap_link("span0", "tap0", mtu)?;
        for port in 0..BRIDGE_PORTS {
            let (host, inner) = (format!("host{port}"), format!("port{port}"));
            run("ip", &format!("-n {name} link add {host} mtu {mtu} type veth peer name {inner} mtu {mtu}"))?;
            run("ip", &format!("-n {name} link set {inner} master bridge0"))?;
            run("tc", &format!("-n {name} qdisc add dev {inner} clsact"))?;
            if is_mirrored(port) {
                mirror(&name, &inner)?;
            }
            raise(&lab.site, &inner)?;
            raise(&lab.site, &host)?;
            lab.hosts.push(host);
        }
        Ok(lab)
    }

    /// One link: frames put in at `host0` come out at `tap0`.
    ///
    /// # Errors
    /// As [`Self::span`].
    pub fn pair(mtu: u32) -> Result<Self, LabError> {
        Self::links(1, mtu)
    }

    /// Two links, for taps that each hear one direction: port 0 leads to `tap0`, port 1 to `tap1`.
    ///
    /// # Errors
    /// As [`Self::span`].
    pub fn two_taps(mtu: u32) -> Result<Self, LabError> {
        Self::links(2, mtu)
    }

    fn links(count: usize, mtu: u32) -> Result<Self, LabError> {
        let mut lab = Self::empty()?;
        for n in 0..count {
            let host = format!("host{n}");
            lab.tap_link(&host, &format!("tap{n}"), mtu)?;
            lab.hosts.push(host);
        }
        Ok(lab)
    }

    fn empty() -> Result<Self, LabError> {
        sweep()?;
        Ok(Self { site: Namespace::make()?, tap: Namespace::make()?, hosts: Vec::new(), taps: Vec::new() })
    }

    fn tap_link(&mut self, near: &str, tap: &str, mtu: u32) -> Result<(), LabError> {
        let (here, there) = (self.site.name(), self.tap.name());
        run("ip", &format!("-n {here} link add {near} mtu {mtu} type veth peer name {tap} mtu {mtu} netns {there}"))?;
        raise(&self.tap, tap)?;
        raise(&self.site, near)?;
        self.taps.push(tap.to_owned());
        Ok(())
    }

    /// Where frames are put in: namespace of the hosts' ends.
    pub const fn site(&self) -> &Namespace {
        &self.site
    }

    /// Where the engine listens: namespace of the taps.
    pub const fn tap(&self) -> &Namespace {
        &self.tap
    }

    /// Names of the hosts' ends, by port.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// Names of the tap interfaces.
    pub fn taps(&self) -> &[String] {
        &self.taps
    }

    /// The kernel's counts for a tap interface; zeros when there is none of that name.
    ///
    /// # Errors
    /// The namespace is gone.
    pub fn tap_traffic(&self, name: &str) -> Result<Traffic, LabError> {
        // The path of the thread, because /proc/net is the main thread's.
        let text = self.tap.run(|| fs::read_to_string("/proc/thread-self/net/dev"))?;
        let text = text.map_err(|source| LabError::System { what: "read the interface counters", source })?;
        Ok(traffic_of(&text, name).unwrap_or_default())
    }
}

/// Copies what enters an interface to `span0`. Kernels differ in the classifiers they have; the first that is there and takes every frame
/// is used. (`u32` looks at four octets behind the link header, which each frame of a switch has.)
fn mirror(namespace: &str, interface: &str) -> Result<(), LabError> {
    let add = |classifier: &str| {
        let filter =
            format!("filter add dev {interface} ingress protocol all {classifier} action mirred egress mirror dev span0");
        run("tc", &format!("-n {namespace} {filter}"))
    };
    add("matchall").or_else(|_| add("u32 match u32 0 0")).or_else(|_| add("flower"))
}

/// Switches off what changes frames on the way, then brings an interface up.
fn raise(namespace: &Namespace, interface: &str) -> Result<(), LabError> {
    let name = namespace.name();
    let features =
        "tx off rx off sg off tso off gso off gro off rxvlan off txvlan off rx-vlan-stag-hw-parse off tx-vlan-stag-hw-insert off";
    run("ip", &format!("netns exec {name} ethtool -K {interface} {features}"))?;
    run("ip", &format!("-n {name} link set {interface} addrgenmode none arp off up"))
}

/// One interface's line of `/proc/net/dev`.
fn traffic_of(text: &str, interface: &str) -> Option<Traffic> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'))?;
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    Some(Traffic { received: *numbers.get(1)?, transmitted: *numbers.get(9)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_an_interface() {
        let text = "Inter-|   Receive\n face |bytes    packets errs drop\n  lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\ntap01: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n tap0: 100 20 3 4 5 6 7 8 900 10 11 12 13 14 15 16\n";
        assert_eq!(traffic_of(text, "tap0"), Some(Traffic { received: 20, transmitted: 10 }));
        assert_eq!(traffic_of(text, "tap1"), None);
    }
}
