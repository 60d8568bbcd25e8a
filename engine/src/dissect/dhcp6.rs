//! DHCPv6 (RFC 8415): what a client says of itself, which addresses it gets, and who gives them. What relays wrap is unwrapped.

use std::net::{IpAddr, Ipv6Addr};

use super::{
    Packet, Say, Who,
    dhcp::{labels, numbers},
    reader::{Reader, hex},
};
use crate::{
    flow::Mac,
    observation::{Field, Grammar, Protocol},
};

const ADVERTISE: u8 = 2;
const REPLY: u8 = 7;
const RECONFIGURE: u8 = 10;
const INFORMATION_REQUEST: u8 = 11;
const RELAY_FORWARD: u8 = 12;
const RELAY_REPLY: u8 = 13;
const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
const IA_NA: u16 = 3;
const IA_TA: u16 = 4;
const IA_ADDRESS: u16 = 5;
const OPTION_REQUEST: u16 = 6;
const RELAY_MESSAGE: u16 = 9;
const VENDOR_CLASS: u16 = 16;
const FQDN: u16 = 39;
/// Link-layer address of a client that a relay saw (RFC 6939).
const CLIENT_LINK_ADDRESS: u16 = 79;
/// Relays that may stand between client and server. The standard lets 8 (§7.6); a message of more is not unwrapped.
const RELAYS_MAX: usize = 4;
const OPTIONS_MAX: usize = 128;
/// Octets of a DUID, with its type (§11.1).
const DUID_MAX: usize = 130;

type Options<'a> = Vec<(u16, &'a [u8])>;

/// Reads a datagram. Its options must follow one another without a gap and hold an identifier, so that no port is needed.
pub fn read(packet: &Packet<'_>, say: &mut Say<'_>) -> bool {
    let (mut octets, mut relayed) = (packet.payload, None);
    for _ in 0..=RELAYS_MAX {
        let Some(kind) = octets.first() else { return false };
        if !matches!(*kind, RELAY_FORWARD | RELAY_REPLY) {
            return message(octets, relayed, packet.whole, say).is_some();
        }
        let Some((client, inner)) = unwrapped(octets, packet.whole) else { return false };
        relayed = Some(client);
        octets = inner;
    }
    false
}

/// Whom a relay speaks of, and the message that it wraps (§9).
fn unwrapped(octets: &[u8], whole: bool) -> Option<(Who, &[u8])> {
    let mut reader = Reader::new(octets);
    let (_kind, _hops, _link) = (reader.u8()?, reader.u8()?, reader.array::<16>()?);
    let client = IpAddr::V6(Ipv6Addr::from(reader.array::<16>()?));
    let options = options(reader.rest(), whole)?;
    let inner = value(&options, RELAY_MESSAGE)?;
    // Hardware type Ethernet, then the address.
    let mac =
        value(&options, CLIENT_LINK_ADDRESS).and_then(|value| value.strip_prefix(&[0, 1])).and_then(|mac| mac.try_into().ok());
    Some((mac.map_or(Who::Ip(client), |mac| Who::Both(Mac(mac), client)), inner))
}

fn message(octets: &[u8], relayed: Option<Who>, whole: bool, say: &mut Say<'_>) -> Option<()> {
    let mut reader = Reader::new(octets);
    let kind = reader.u8().filter(|kind| (1..=INFORMATION_REQUEST).contains(kind))?;
    let _transaction = reader.u24()?;
    let options = options(reader.rest(), whole)?;
    let duid = value(&options, CLIENT_ID);
    if !(duid.is_some_and(is_duid) || value(&options, SERVER_ID).is_some_and(is_duid)) {
        return None;
    }
    if matches!(kind, ADVERTISE | REPLY | RECONFIGURE) {
        say.word(Who::Sender, Field::Dhcp6Server, "yes");
        say.serves(say.sender(), Protocol::Dhcp6);
        if kind == REPLY {
            let who = relayed.unwrap_or(Who::Receiver);
            options.iter().filter(|(code, _)| matches!(*code, IA_NA | IA_TA)).for_each(|(code, value)| {
                given(*code, value, who, say);
            });
        }
    } else {
        asked(relayed.unwrap_or(Who::Sender), duid, &options, say);
    }
    Some(())
}

/// What a client says.
fn asked(who: Who, duid: Option<&[u8]>, options: &Options<'_>, say: &mut Say<'_>) {
    if let Some(duid) = duid.filter(|duid| 2 * duid.len() <= Grammar::Token.octets_max()) {
        say.text(who, Field::Dhcp6Duid, hex(duid).as_bytes());
    }
    for (code, value) in options {
        let mut reader = Reader::new(value);
        match *code {
            OPTION_REQUEST => {
                let codes = value.as_chunks().0.iter().map(|code| u16::from_be_bytes(*code));
                say.text(who, Field::Dhcp6Options, numbers(codes).as_bytes());
            }
            VENDOR_CLASS => {
                let Some(enterprise) = reader.u32() else { continue };
                say.number(who, Field::Dhcp6Enterprise, enterprise.into());
                while let Some(class) = reader.u16().and_then(|octets| reader.take(octets.into())) {
                    say.text(who, Field::Dhcp6VendorClass, class);
                }
            }
            FQDN => {
                // One octet of flags comes first (RFC 4704 §4).
                if let Some(name) = reader.u8().and_then(|_| labels(reader.rest())) {
                    say.text(who, Field::Dhcp6Fqdn, &name);
                }
            }
            _ => {}
        }
    }
}

/// Says the addresses of an identity association that are valid.
fn given(code: u16, value: &[u8], who: Who, say: &mut Say<'_>) -> Option<()> {
    let mut reader = Reader::new(value);
    // Identifier, and of non-temporary addresses two times.
    reader.skip(if code == IA_NA { 12 } else { 4 })?;
    for (code, value) in options(reader.rest(), true)? {
        if code == IA_ADDRESS {
            let mut reader = Reader::new(value);
            let (ip, _preferred, valid) = (Ipv6Addr::from(reader.array::<16>()?), reader.u32()?, reader.u32()?);
            if valid > 0 && !ip.is_unspecified() {
                say.address(who, Field::Dhcp6Address, ip.into());
            }
        }
    }
    Some(())
}

/// All options; `None` when they do not fill the message, unless it was cut.
fn options(octets: &[u8], whole: bool) -> Option<Options<'_>> {
    let (mut reader, mut options) = (Reader::new(octets), Vec::new());
    while !reader.is_empty() && options.len() < OPTIONS_MAX {
        let next = reader.u16().zip(reader.u16()).and_then(|(code, octets)| Some((code, reader.take(octets.into())?)));
        match next {
            Some(option) => options.push(option),
            None if whole => return None,
            None => break,
        }
    }
    Some(options)
}

fn value<'a>(options: &Options<'a>, code: u16) -> Option<&'a [u8]> {
    options.iter().find(|(there, _)| *there == code).map(|(_, value)| *value)
}

/// A DUID of a known type (§11, RFC 6355).
fn is_duid(octets: &[u8]) -> bool {
    octets.len() <= DUID_MAX
        && match octets {
            [0, 1, rest @ ..] => rest.len() > 6,
            [0, 2, rest @ ..] => rest.len() > 4,
            [0, 3, rest @ ..] => rest.len() > 2,
            [0, 4, rest @ ..] => rest.len() == 16,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::trial::Trial;

    const ASKS: Trial = Trial { ips: Some(["fe80::7", "ff02::1:2"]), ports: [546, 547], ethertype: 0 };
    const ANSWERS: Trial = Trial { ips: Some(["fe80::1", "fe80::7"]), ports: [547, 546], ethertype: 0 };
    const DUID: [u8; 10] = [0, 3, 0, 1, 2, 0, 0, 0, 0, 7];

    fn written(options: &[(u16, &[u8])]) -> Vec<u8> {
        options
            .iter()
            .flat_map(|(code, value)| [&code.to_be_bytes()[..], &(value.len() as u16).to_be_bytes(), value].concat())
            .collect()
    }

    fn dhcp6(kind: u8, options: &[(u16, &[u8])]) -> Vec<u8> {
        [&[kind, 1, 2, 3], &written(options)[..]].concat()
    }

    fn solicit() -> Vec<u8> {
        let class = b"\0\0\x01\x37\0\x04MSFT";
        dhcp6(1, &[(CLIENT_ID, &DUID), (OPTION_REQUEST, &[0, 24, 0, 23]), (VENDOR_CLASS, class), (FQDN, b"\0\x06pump-7")])
    }

    const SAID: [&str; 5] = [
        "dhcp6.duid 00030001020000000007",
        "dhcp6.options 24,23",
        "dhcp6.enterprise 311",
        "dhcp6.vendor_class MSFT",
        "dhcp6.fqdn pump-7",
    ];

    fn said_by(who: &str) -> Vec<String> {
        SAID.iter().map(|line| format!("{who} {line}")).collect()
    }

    #[test]
    fn a_client_tells_of_itself() {
        let said = said_by("02:00:00:00:00:01 fe80::7");
        ASKS.says(read, &solicit(), &said.iter().map(String::as_str).collect::<Vec<_>>());
    }

    #[test]
    fn what_a_relay_wraps_is_about_the_client_behind_it() {
        let wrap = |inner: &[u8], peer: u8, options: &[(u16, &[u8])]| {
            let mut address = [0; 16];
            address[..2].copy_from_slice(&[0xfe, 0x80]);
            address[15] = peer;
            [&[RELAY_FORWARD, 0][..], &[0; 16], &address, &written(&[(RELAY_MESSAGE, inner)]), &written(options)].concat()
        };
        let once = wrap(&solicit(), 7, &[(CLIENT_LINK_ADDRESS, &[0, 1, 2, 0, 0, 0, 0, 7])]);
        assert_eq!(ASKS.hear(read, &wrap(&once, 9, &[]), true), (true, said_by("02:00:00:00:00:07 fe80::7")));
        let mut deep = once;
        for _ in 0..RELAYS_MAX {
            deep = wrap(&deep, 9, &[]);
        }
        ASKS.refuses(read, &deep);
    }

    #[test]
    fn a_reply_gives_addresses_and_makes_a_server() {
        let mut association = vec![0; 12];
        let ip: Ipv6Addr = "2001:db8::7".parse().expect("an address");
        association.extend(written(&[(IA_ADDRESS, &[&ip.octets()[..], &[0, 0, 1, 0, 0, 0, 1, 0]].concat())]));
        let octets = dhcp6(REPLY, &[(SERVER_ID, &DUID), (CLIENT_ID, &DUID), (IA_NA, &association)]);
        let expect = [
            "02:00:00:00:00:01 fe80::1 dhcp6.server yes",
            "02:00:00:00:00:01 fe80::1 link.serves dhcp6",
            "02:00:00:00:00:02 fe80::7 link.uses dhcp6",
            "02:00:00:00:00:02 fe80::7 dhcp6.address 2001:db8::7",
        ];
        ANSWERS.says(read, &octets, &expect);
    }

    #[test]
    fn other_datagrams_are_refused() {
        ASKS.refuses(read, &dhcp6(14, &[(CLIENT_ID, &DUID)]));
        ASKS.refuses(read, &dhcp6(1, &[(CLIENT_ID, &DUID[..4])]));
        ASKS.refuses(read, &[&solicit()[..], &[0]].concat());
        ASKS.refuses(read, &dhcp6(1, &[]));
    }
}
