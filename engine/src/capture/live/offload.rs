//! Offloads of an interface that join or alter frames before the tap sees them: found by name, switched off, restored.

use std::io;

use super::netdev::NetDevice;

const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
const ETHTOOL_SFEATURES: u32 = 0x3b;
const ETH_SS_FEATURES: u32 = 4;
const NAME_OCTETS: usize = 32;
/// Features that a kernel may have; above this the answer is taken for nonsense.
const FEATURES_MAX: u32 = 1024;

/// What must be off: segments joined to super-frames (`rx-gro*`, `rx-lro`), and VLAN tags taken out of the frame
/// (`rx-vlan-*hw-parse`).
const UNWANTED: [&str; 6] = ["rx-gro", "rx-lro", "rx-gro-hw", "rx-gro-list", "rx-udp-gro-forwarding", "rx-vlan-hw-parse"];
const UNWANTED_STAG: &str = "rx-vlan-stag-hw-parse";

/// One block of 32 features, as the kernel answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Block {
    available: u32,
    active: u32,
    never_changed: u32,
}

/// What is to be done about the unwanted features.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// Positions to switch off.
    off: Vec<usize>,
    /// Names that are on and cannot be switched.
    fixed: Vec<String>,
}

/// Features that were switched off and are still to be restored.
#[derive(Debug)]
pub(super) struct SwitchedOff {
    blocks: usize,
    positions: Vec<usize>,
    /// Names that were switched off.
    pub(super) names: Vec<String>,
    /// Names that are on and stay on.
    pub(super) fixed: Vec<String>,
}

/// Switches the unwanted offloads of `device` off.
pub(super) fn switch_off(device: &NetDevice) -> io::Result<SwitchedOff> {
    let names = feature_names(device)?;
    let plan = plan(&names, &features(device, names.len())?);
    let blocks = names.len().div_ceil(32);
    set(device, blocks, &plan.off, false)?;
    let left = self::plan(&names, &features(device, names.len())?);
    let name = |position: &usize| names.get(*position).cloned().unwrap_or_default();
    let mut fixed = plan.fixed;
    fixed.extend(left.off.iter().map(name));
    let positions: Vec<usize> = plan.off.into_iter().filter(|position| !left.off.contains(position)).collect();
    Ok(SwitchedOff { blocks, names: positions.iter().map(name).collect(), positions, fixed })
}

impl SwitchedOff {
    /// Switches on again what was switched off.
    pub(super) fn restore(&self, device: &NetDevice) -> io::Result<()> {
        set(device, self.blocks, &self.positions, true)
    }
}

fn plan(names: &[String], blocks: &[Block]) -> Plan {
    let mut plan = Plan::default();
    for (position, name) in names.iter().enumerate() {
        let (Some(block), bit) = (blocks.get(position / 32), 1 << (position % 32)) else { break };
        let unwanted = UNWANTED.contains(&name.as_str()) || name == UNWANTED_STAG;
        if !unwanted || block.active & bit == 0 {
            continue;
        }
        if block.available & bit != 0 && block.never_changed & bit == 0 {
            plan.off.push(position);
        } else {
            plan.fixed.push(name.clone());
        }
    }
    plan
}

fn feature_names(device: &NetDevice) -> io::Result<Vec<String>> {
    // command, reserved, mask of string sets (64 bits), length of the one set asked for
    let mut command = [ETHTOOL_GSSET_INFO, 0, 0, 0, 0];
    command[2..4].copy_from_slice(&words(1_u64 << ETH_SS_FEATURES));
    device.ethtool(&mut command)?;
    let count = command[4];
    if count > FEATURES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too many features"));
    }
    // command, string set, count, names of 32 octets
    let mut command = vec![0; 3 + count as usize * NAME_OCTETS / 4];
    command[..3].copy_from_slice(&[ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count]);
    device.ethtool(&mut command)?;
    let octets: Vec<u8> = command[3..].iter().flat_map(|word| word.to_ne_bytes()).collect();
    Ok(octets.chunks_exact(NAME_OCTETS).map(name_of).collect())
}

fn name_of(octets: &[u8]) -> String {
    let end = octets.iter().position(|&octet| octet == 0).unwrap_or(octets.len());
    String::from_utf8_lossy(&octets[..end]).into_owned()
}

fn features(device: &NetDevice, count: usize) -> io::Result<Vec<Block>> {
    let blocks = count.div_ceil(32);
    // command, count of blocks, blocks of (available, requested, active, never changed)
    let mut command = vec![0; 2 + 4 * blocks];
    command[..2].copy_from_slice(&[ETHTOOL_GFEATURES, blocks as u32]);
    device.ethtool(&mut command)?;
    let block = |words: &[u32]| Block { available: words[0], active: words[2], never_changed: words[3] };
    Ok(command[2..].chunks_exact(4).map(block).collect())
}

fn set(device: &NetDevice, blocks: usize, positions: &[usize], on: bool) -> io::Result<()> {
    if positions.is_empty() {
        return Ok(());
    }
    // command, count of blocks, blocks of (valid, requested)
    let mut command = vec![0; 2 + 2 * blocks];
    command[..2].copy_from_slice(&[ETHTOOL_SFEATURES, blocks as u32]);
    for position in positions {
        let (block, bit) = (2 + 2 * (position / 32), 1 << (position % 32));
        command[block] |= bit;
        command[block + 1] |= if on { bit } else { 0 };
    }
    device.ethtool(&mut command).map(drop)
}

fn words(long: u64) -> [u32; 2] {
    let octets = long.to_ne_bytes();
    let word = |at: usize| u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
    [word(0), word(4)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_on_and_can_change_is_switched() {
        let mut names: Vec<String> = (0..40).map(|number| format!("feature-{number}")).collect();
        for (position, name) in
            [(0, "rx-gro"), (1, "rx-lro"), (2, "rx-gro-hw"), (33, "rx-vlan-hw-parse"), (34, "rx-vlan-stag-hw-parse")]
        {
            names[position] = name.to_owned();
        }
        let blocks = [
            // gro on; lro off; gro-hw on but not available; feature-3 on
            Block { available: 0b1011, active: 0b1101, never_changed: 0 },
            // vlan on; stag on but never to change
            Block { available: 0b110, active: 0b110, never_changed: 0b100 },
        ];
        assert_eq!(
            plan(&names, &blocks),
            Plan { off: vec![0, 33], fixed: vec!["rx-gro-hw".to_owned(), "rx-vlan-stag-hw-parse".to_owned()] }
        );
        assert_eq!(plan(&names, &blocks[..1]).off, [0], "names without a block are left out");
    }

    #[test]
    fn the_loopback_interface_has_named_features() {
        let loopback = NetDevice::open("lo").expect("sockets").expect("lo exists");
        let names = feature_names(&loopback).expect("names");
        assert!(names.iter().any(|name| name == "rx-gro"), "{names:?}");
        assert_eq!(features(&loopback, names.len()).expect("features").len(), names.len().div_ceil(32));
    }
}
