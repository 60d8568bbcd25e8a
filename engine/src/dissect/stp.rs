//! Spanning tree (IEEE 802.1D §9.3, 802.1Q §14, and Cisco's PVST+ of the same form): the bridge that sends.

use super::{Packet, Say, Who, reader::Reader};
use crate::{flow::Mac, observation::Field};

/// DSAP and SSAP of the bridge spanning tree protocol.
const LLC: u16 = 0x4242;
/// LLC of SNAP, and the protocol identifier of PVST+.
const SNAP: (u16, u16) = (0xaaaa, 0x010b);
const CONFIGURATION: u8 = 0;
const RAPID: u8 = 2;
const TOPOLOGY_CHANGE: u8 = 0x80;

/// Reads a frame, from behind LLC or SNAP.
pub fn read(packet: &Packet<'_>, say: &mut Say<'_>) -> bool {
    let is_spanning_tree = packet.source_port == LLC || (packet.source_port, packet.target_port) == SNAP;
    packet.ethertype == 0 && is_spanning_tree && unit(packet.payload, say).is_some()
}

fn unit(octets: &[u8], say: &mut Say<'_>) -> Option<()> {
    let mut reader = Reader::new(octets);
    let ([0, 0], version, kind) = (reader.array()?, reader.u8()?, reader.u8()?) else { return None };
    match kind {
        TOPOLOGY_CHANGE if version == 0 => {}
        CONFIGURATION | RAPID if version <= 4 => {
            // Flags, root identifier, cost of the path to it.
            reader.skip(1 + 8 + 4)?;
            let (priority, mac) = (reader.u16()?, Mac(reader.array()?));
            say.text(Who::Sender, Field::StpBridge, format!("{priority:04x}.{mac}").as_bytes());
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::trial::Trial;

    const BRIDGE: Trial = Trial { ips: None, ports: [LLC, 0], ethertype: 0 };

    fn configuration(kind: u8) -> Vec<u8> {
        let mut octets = vec![0, 0, kind, kind, 0];
        octets.extend([0x80, 0, 2, 0, 0, 0, 0, 0xaa, 0, 0, 0, 4]);
        octets.extend([0x80, 1, 2, 0, 0, 0, 0, 0xbb, 0x80, 1, 0, 0, 20, 0, 2, 0, 15, 0, 0]);
        octets
    }

    #[test]
    fn the_bridge_that_sends_is_told_and_not_the_root() {
        let expect = ["02:00:00:00:00:01 - stp.bridge 8001.02:00:00:00:00:bb"];
        BRIDGE.says(read, &configuration(CONFIGURATION), &expect);
        BRIDGE.says(read, &configuration(RAPID), &expect);
        Trial { ports: [SNAP.0, SNAP.1], ..BRIDGE }.says(read, &configuration(RAPID), &expect);
        BRIDGE.says(read, &[0, 0, 0, TOPOLOGY_CHANGE], &[]);
    }

    #[test]
    fn other_units_are_refused() {
        BRIDGE.refuses(read, &configuration(7));
        Trial { ports: [0x0404, 0], ..BRIDGE }.refuses(read, &configuration(0));
        Trial { ports: [SNAP.0, 0x2000], ..BRIDGE }.refuses(read, &configuration(0));
    }
}
