//! Flow key to Community ID, version 1 with seed 0 (the published Community ID flow hashing specification).

use auscult_ebpf::record::{FORM_FRAGMENT, FORM_IPV4, FORM_IPV6, FORM_PORTLESS, FlowKey, ICMP_REPLY, ICMP_REQUEST};
use base64::Engine as _;
use sha1::{Digest, Sha1};

/// Protocol number of ICMP.
const ICMP: u8 = 1;
/// Protocol number of ICMPv6.
const ICMP6: u8 = 58;

/// ICMP request and reply types that belong together.
const PAIRS: [(u16, u16); 5] = [(8, 0), (10, 9), (13, 14), (15, 16), (17, 18)];
/// ICMPv6 request and reply types that belong together.
const PAIRS6: [(u16, u16); 6] = [(128, 129), (130, 131), (133, 134), (135, 136), (139, 140), (144, 145)];

/// What `FlowKey::port` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ports {
    /// Transport ports.
    Transport,
    /// ICMP type and code of one-way messages.
    OneWay,
    /// ICMP request and reply type.
    Pair,
    /// Nothing, or nothing that belongs to an IP flow.
    None,
}

impl Ports {
    pub(super) fn of(key: &FlowKey) -> Self {
        let icmp = |pairs: &[(u16, u16)]| {
            if pairs.contains(&(key.port[0], key.port[1])) { Self::Pair } else { Self::OneWay }
        };
        match (key.form, key.protocol) {
            (FORM_IPV4 | FORM_IPV6, 6 | 17 | 33 | 132 | 136) => Self::Transport,
            (FORM_IPV4, ICMP) => icmp(&PAIRS),
            (FORM_IPV6, ICMP6) => icmp(&PAIRS6),
            _ => Self::None,
        }
    }
}

/// The 20 octets of the Community ID; `None` for flows that are not IP.
///
/// `initiator` is the direction index of the initiator, `control_bits` those of the two directions: for ICMP pairs they say who
/// asked ([`ICMP_REQUEST`], [`ICMP_REPLY`]), otherwise the initiator is taken to have asked.
pub(super) fn community_id(key: &FlowKey, initiator: usize, control_bits: [u8; 2]) -> Option<[u8; 20]> {
    let length = match key.form & !(FORM_FRAGMENT | FORM_PORTLESS) {
        FORM_IPV4 => 4,
        FORM_IPV6 => 16,
        _ => return None,
    };
    // Ports of the source and the target of a packet in the direction `from`.
    let (from, ports) = match Ports::of(key) {
        // The specification hashes ports of TCP, UDP and SCTP only.
        Ports::Transport if !matches!(key.protocol, 33 | 136) => (0, Some(key.port)),
        Ports::OneWay => (initiator, Some(key.port)),
        Ports::Pair => (asker(initiator, control_bits), Some(key.port)),
        Ports::Transport | Ports::None => (0, None),
    };
    let (mut source, mut target) = (&key.address[from][..length], &key.address[1 - from][..length]);
    let mut ports = ports;
    if Ports::of(key) != Ports::OneWay && (source, ports.map(|p| p[0])) > (target, ports.map(|p| p[1])) {
        (source, target) = (target, source);
        ports = ports.map(|[a, b]| [b, a]);
    }
    // Seed, addresses, protocol, padding, ports: 40 octets at most.
    let mut octets = [0; 40];
    let mut end = 2;
    for part in [source, target] {
        octets[end..end + length].copy_from_slice(part);
        end += length;
    }
    octets[end] = key.protocol;
    end += 2;
    for port in ports.into_iter().flatten() {
        octets[end..end + 2].copy_from_slice(&port.to_be_bytes());
        end += 2;
    }
    Some(Sha1::digest(&octets[..end]).into())
}

/// Which direction sent the requests.
fn asker(initiator: usize, control_bits: [u8; 2]) -> usize {
    let asked = |d: usize| control_bits[d] & ICMP_REQUEST != 0 || control_bits[1 - d] & ICMP_REPLY != 0;
    if !asked(initiator) && asked(1 - initiator) { 1 - initiator } else { initiator }
}

/// The usual text of a Community ID: `1:` and base64.
pub fn community_id_text(octets: &[u8; 20]) -> String {
    let mut text = String::from("1:");
    base64::engine::general_purpose::STANDARD.encode_string(octets, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    /// The key of a packet, as the parser makes it, and the direction of the packet.
    fn key(source: &str, target: &str, protocol: u8, ports: [u16; 2]) -> (FlowKey, usize) {
        let octets = |text: &str| match text.parse::<IpAddr>().unwrap() {
            IpAddr::V4(ip) => {
                let mut octets = [0; 16];
                octets[..4].copy_from_slice(&ip.octets());
                (octets, FORM_IPV4)
            }
            IpAddr::V6(ip) => (ip.octets(), FORM_IPV6),
        };
        let ((a, form), (b, _)) = (octets(source), octets(target));
        if protocol == ICMP || protocol == ICMP6 {
            let swap = a > b;
            return (FlowKey { address: if swap { [b, a] } else { [a, b] }, port: ports, protocol, form, scope: 0 }, swap.into());
        }
        let swap = (a, ports[0]) > (b, ports[1]);
        let (address, port) = if swap { ([b, a], [ports[1], ports[0]]) } else { ([a, b], ports) };
        (FlowKey { address, port, protocol, form, scope: 0 }, swap.into())
    }

    fn check(source: &str, target: &str, protocol: u8, ports: [u16; 2], expect: &str) {
        for (from, to, ports) in [(source, target, ports), (target, source, [ports[1], ports[0]])] {
            let (key, initiator) = key(from, to, protocol, ports);
            assert_eq!(community_id_text(&community_id(&key, initiator, [0, 0]).unwrap()), expect);
        }
    }

    #[test]
    fn published_vectors_with_ports() {
        check("128.232.110.120", "66.35.250.204", 6, [34855, 80], "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
        check("192.168.1.52", "8.8.8.8", 17, [54585, 53], "1:d/FP5EW3wiY1vCndhwleRRKHowQ=");
        check("192.168.170.8", "192.168.170.56", 132, [7, 7], "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs=");
        let (a, b) = ("2001:470:e5bf:dead:4957:2174:e82c:4887", "2607:f8b0:400c:c03::1a");
        check(a, b, 6, [63943, 25], "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4=");
    }

    fn check_icmp(source: &str, target: &str, protocol: u8, ports: [u16; 2], sent: u8, expect: &str) {
        let (key, initiator) = key(source, target, protocol, ports);
        let mut control_bits = [0; 2];
        control_bits[initiator] = sent;
        assert_eq!(community_id_text(&community_id(&key, initiator, control_bits).unwrap()), expect);
    }

    #[test]
    fn published_vectors_of_icmp() {
        // Echo: request type 8, reply type 0, seen from either side.
        let echo = "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=";
        check_icmp("192.168.0.89", "192.168.0.1", ICMP, [8, 0], ICMP_REQUEST, echo);
        check_icmp("192.168.0.89", "192.168.0.1", ICMP, [8, 0], 0, echo);
        check_icmp("192.168.0.1", "192.168.0.89", ICMP, [8, 0], ICMP_REPLY, echo);
        // A router advertisement that nobody asked for.
        let advertisement = "1:pkvHqCL88/tg1k4cPigmZXUtL00=";
        check_icmp("fe80::260:97ff:fe07:69ea", "ff02::1", ICMP6, [133, 134], ICMP_REPLY, advertisement);
    }

    #[test]
    fn published_vectors_of_one_way_icmp() {
        check_icmp("192.168.0.89", "192.168.0.1", ICMP, [20, 0], 0, "1:3o2RFccXzUgjl7zDpqmY7yJi8rI=");
        check_icmp("192.168.0.89", "192.168.0.1", ICMP, [20, 1], 0, "1:tz/fHIDUHs19NkixVVoOZywde+I=");
        let (a, b) = ("3ffe:507:0:1:200:86ff:fe05:80da", "3ffe:501:0:1802:260:97ff:feb6:7ff0");
        check_icmp(b, a, ICMP6, [3, 0], 0, "1:bnQKq8A2r//dWnkRW2EYcMhShjc=");
        check_icmp(a, "3ffe:507:0:1:260:97ff:fe07:69ea", ICMP6, [3, 0], 0, "1:/OGBt9BN1ofenrmSPWYicpij2Vc=");
        let (a, b) = ("fe80::200:86ff:fe05:80da", "fe80::260:97ff:fe07:69ea");
        check_icmp(a, b, ICMP6, [135, 136], ICMP_REQUEST, "1:dGHyGvjMfljg6Bppwm3bg0LO8TY=");
    }

    #[test]
    fn other_protocols_have_no_ports_and_other_links_no_id() {
        check("1.2.3.4", "5.6.7.8", 46, [0, 0], "1:ikv3kmf89luf73WPz1jOs49S768=");
        let (plain, _) = key("10.0.0.1", "10.0.0.2", 47, [0, 0]);
        let (back, _) = key("10.0.0.2", "10.0.0.1", 47, [0, 0]);
        assert_eq!(community_id(&plain, 0, [0; 2]), community_id(&back, 1, [0; 2]));
        let fragment = FlowKey { protocol: 17, form: FORM_IPV4 | FORM_FRAGMENT, ..plain };
        let mut octets = [0u8; 12];
        octets[2..10].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        octets[10] = 17;
        assert_eq!(community_id(&fragment, 0, [0; 2]), Some(Sha1::digest(octets).into()));
        assert_eq!(community_id(&FlowKey::default(), 0, [0; 2]), None);
    }
}
