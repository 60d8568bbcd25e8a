//! IPv6 neighbour discovery (RFC 4861): who has which IPv6 address, and who is a router.
//!
//! A message with a hop limit below 255 has crossed a router and is not believed (§6.1, §7.1). The source of a solicitation
//! that detects duplicates is unspecified: it claims nothing yet (RFC 4862 §5.4.2).

use std::net::{IpAddr, Ipv6Addr};

use super::{Packet, Say, Who, reader::Reader};
use crate::{flow::Mac, observation::Field};

const ROUTER_SOLICITATION: u16 = 133;
const ROUTER_ADVERTISEMENT: u16 = 134;
const NEIGHBOUR_SOLICITATION: u16 = 135;
const NEIGHBOUR_ADVERTISEMENT: u16 = 136;
const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;
/// A message has at most so many options that count.
const OPTIONS_MAX: usize = 32;

/// Reads an ICMPv6 message, from behind its checksum.
pub fn read(packet: &Packet<'_>, say: &mut Say<'_>) -> bool {
    say.ttl() == 255 && message(packet.source_port, packet.payload, say).is_some()
}

fn message(kind: u16, octets: &[u8], say: &mut Say<'_>) -> Option<()> {
    let mut reader = Reader::new(octets);
    match kind {
        ROUTER_SOLICITATION => {
            reader.skip(4)?;
            bound_sender(&mut reader, say);
        }
        ROUTER_ADVERTISEMENT => {
            reader.skip(12)?;
            say.word(Who::Sender, Field::NdRouter, "yes");
            bound_sender(&mut reader, say);
        }
        NEIGHBOUR_SOLICITATION => {
            reader.skip(4)?;
            target(&mut reader)?;
            bound_sender(&mut reader, say);
        }
        NEIGHBOUR_ADVERTISEMENT => {
            reader.skip(4)?;
            let ip = IpAddr::V6(target(&mut reader)?);
            match link_address(&mut reader, TARGET_LINK_ADDRESS) {
                Some(mac) => say.address(Who::Both(mac, ip), Field::NdAddress, ip),
                None if say.ip(say.sender()) == Some(ip) => say.address(Who::Sender, Field::NdAddress, ip),
                None => {}
            }
        }
        _ => return None,
    }
    Some(())
}

fn target(reader: &mut Reader<'_>) -> Option<Ipv6Addr> {
    reader.array::<16>().map(Ipv6Addr::from).filter(|ip| !ip.is_multicast() && !ip.is_unspecified())
}

/// The sender's address is that of the source link-layer address option.
fn bound_sender(reader: &mut Reader<'_>, say: &mut Say<'_>) {
    let Some(ip) = say.ip(say.sender()).filter(|ip| !ip.is_unspecified()) else { return };
    if let Some(mac) = link_address(reader, SOURCE_LINK_ADDRESS) {
        say.address(Who::Both(mac, ip), Field::NdAddress, ip);
    }
}

fn link_address(reader: &mut Reader<'_>, wanted: u8) -> Option<Mac> {
    for _ in 0..OPTIONS_MAX {
        let (kind, eights) = (reader.u8()?, usize::from(reader.u8()?));
        let mut option = reader.part((8 * eights).checked_sub(2)?)?;
        if kind == wanted && eights == 1 {
            return option.array().map(Mac);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::trial::Trial;

    const ROUTER: &str = "fe80::1";
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

    const fn from(ip: &'static str, kind: u16) -> Trial {
        Trial { ips: Some([ip, "ff02::1"]), ports: [kind, 0], ethertype: 0 }
    }

    fn neighbour(target: &str, option: u8) -> Vec<u8> {
        let mut octets = vec![0; 4];
        octets.extend(target.parse::<Ipv6Addr>().expect("an address").octets());
        octets.extend([14, 1, 0, 0, 0, 0, 0, 0, option, 1]);
        octets.extend(MAC);
        octets
    }

    #[test]
    fn a_router_says_that_it_is_one() {
        let mut octets = vec![64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, SOURCE_LINK_ADDRESS, 1];
        octets.extend(MAC);
        let expect = ["02:00:00:00:00:01 fe80::1 nd.router yes", "02:00:00:00:00:09 fe80::1 nd.address fe80::1"];
        from(ROUTER, ROUTER_ADVERTISEMENT).says(read, &octets, &expect);
    }

    #[test]
    fn a_solicitation_binds_its_sender_unless_it_detects_duplicates() {
        let octets = neighbour("fe80::5", SOURCE_LINK_ADDRESS);
        let expect = ["02:00:00:00:00:09 fe80::2 nd.address fe80::2"];
        from("fe80::2", NEIGHBOUR_SOLICITATION).says(read, &octets, &expect);
        from("::", NEIGHBOUR_SOLICITATION).says(read, &octets, &[]);
    }

    #[test]
    fn an_advertisement_binds_its_target() {
        let octets = neighbour("2001:db8::5", TARGET_LINK_ADDRESS);
        from("fe80::2", NEIGHBOUR_ADVERTISEMENT).says(read, &octets, &["02:00:00:00:00:09 2001:db8::5 nd.address 2001:db8::5"]);
        let without = &neighbour("fe80::2", TARGET_LINK_ADDRESS)[..20];
        from("fe80::2", NEIGHBOUR_ADVERTISEMENT).says(read, without, &["02:00:00:00:00:01 fe80::2 nd.address fe80::2"]);
        from("fe80::3", NEIGHBOUR_ADVERTISEMENT).says(read, without, &[]);
    }

    #[test]
    fn other_messages_and_targets_that_are_groups_are_refused() {
        from(ROUTER, 128).refuses(read, &neighbour("fe80::5", 1));
        from(ROUTER, NEIGHBOUR_SOLICITATION).refuses(read, &neighbour("ff02::5", 1));
    }
}
