//! ARP (RFC 826, 5227): who has which IPv4 address, and whom it asks for.
//!
//! The binding is what the sender says of itself, so that an address belongs to the MAC in the message, not to that of the frame.
//! A probe claims nothing yet (RFC 5227 §2.1.1).

use std::net::Ipv4Addr;

use super::{Packet, Say, Who, reader::Reader};
use crate::{flow::Mac, observation::Field};

const ETHERTYPE: u16 = 0x0806;
/// Hardware type Ethernet, protocol type IPv4, and the lengths of their addresses.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// Reads a frame.
pub fn read(packet: &Packet<'_>, say: &mut Say<'_>) -> bool {
    packet.ethertype == ETHERTYPE && message(packet.payload, say).is_some()
}

fn message(octets: &[u8], say: &mut Say<'_>) -> Option<()> {
    let mut reader = Reader::new(octets);
    let kind = (reader.array()? == ETHERNET_IPV4).then(|| reader.u16())??;
    let mac = Mac(reader.array()?);
    let ip = Ipv4Addr::from(reader.array::<4>()?);
    let _target_mac = reader.array::<6>()?;
    let asked = Ipv4Addr::from(reader.array::<4>()?);
    if !matches!(kind, REQUEST | REPLY) {
        return None;
    }
    let is_host = |ip: Ipv4Addr| !(ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast() || ip.is_loopback());
    if is_host(ip) {
        say.address(Who::Both(mac, ip.into()), Field::ArpAddress, ip.into());
        // Who asks for its own address announces it (RFC 5227 §3).
        if kind == REQUEST && asked != ip && is_host(asked) {
            say.address(Who::Both(mac, ip.into()), Field::ArpGateway, asked.into());
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::trial::Trial;

    const FRAME: Trial = Trial::frame(ETHERTYPE);

    fn arp(kind: u8, ip: [u8; 4], asked: [u8; 4]) -> Vec<u8> {
        let mut octets = ETHERNET_IPV4.to_vec();
        octets.extend([0, kind, 2, 0, 0, 0, 0, 7]);
        octets.extend(ip);
        octets.extend([0; 6]);
        octets.extend(asked);
        octets.extend([0; 18]);
        octets
    }

    #[test]
    fn a_request_binds_its_sender_and_tells_whom_it_asks_for() {
        let expect = ["02:00:00:00:00:07 10.0.0.7 arp.address 10.0.0.7", "02:00:00:00:00:07 10.0.0.7 arp.gateway_asked 10.0.0.1"];
        FRAME.says(read, &arp(1, [10, 0, 0, 7], [10, 0, 0, 1]), &expect);
    }

    #[test]
    fn answers_and_announcements_bind_and_ask_for_nobody() {
        let expect = ["02:00:00:00:00:07 10.0.0.7 arp.address 10.0.0.7"];
        FRAME.says(read, &arp(2, [10, 0, 0, 7], [10, 0, 0, 1]), &expect);
        FRAME.says(read, &arp(1, [10, 0, 0, 7], [10, 0, 0, 7]), &expect);
    }

    #[test]
    fn a_probe_claims_nothing() {
        FRAME.says(read, &arp(1, [0; 4], [10, 0, 0, 7]), &[]);
    }

    #[test]
    fn what_is_not_arp_of_ipv4_over_ethernet_is_refused() {
        FRAME.refuses(read, &arp(3, [10, 0, 0, 7], [10, 0, 0, 1]));
        Trial::frame(0x8035).refuses(read, &arp(1, [10, 0, 0, 7], [10, 0, 0, 1]));
        let mut other = arp(1, [10, 0, 0, 7], [10, 0, 0, 1]);
        other[1] = 6;
        FRAME.refuses(read, &other);
    }
}
