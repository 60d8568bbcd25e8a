//! DHCPv4 (RFC 2131, 2132): what a client says of itself, which address it gets, and who gives it.
//!
//! What a client says is about the MAC in the message, whoever sent the frame: a relay may stand between. What a lease names is
//! about the addresses that it names.

use std::net::{IpAddr, Ipv4Addr};

use super::{
    Packet, Say, Who, dhcp_vendor,
    reader::{Reader, hex},
};
use crate::{
    flow::Mac,
    observation::{Field, Grammar, Protocol},
};

const BOOT_REQUEST: u8 = 1;
const BOOT_REPLY: u8 = 2;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const PAD: u8 = 0;
const ROUTER: u8 = 3;
const NAME_SERVER: u8 = 6;
const HOSTNAME: u8 = 12;
const DOMAIN: u8 = 15;
const VENDOR_SPECIFIC: u8 = 43;
const REQUESTED: u8 = 50;
const OVERLOAD: u8 = 52;
const MESSAGE_TYPE: u8 = 53;
const SERVER: u8 = 54;
const PARAMETERS: u8 = 55;
const VENDOR_CLASS: u8 = 60;
const CLIENT_ID: u8 = 61;
const USER_CLASS: u8 = 77;
const FQDN: u8 = 81;
const RELAY: u8 = 82;
const VENDOR_CLASSES: u8 = 124;
const VENDOR_OPTIONS: u8 = 125;
const USAGE_URL: u8 = 161;
const END: u8 = 255;
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const TYPE_MAX: u8 = 18;
/// Options of a message that are looked at.
const OPTIONS_MAX: usize = 128;
/// Addresses of a list that are looked at.
const ADDRESSES_MAX: usize = 8;
const PORT_SERVER: u16 = 67;

/// The fixed part (RFC 2131 §2).
struct Header<'a> {
    operation: u8,
    /// Of an Ethernet client.
    mac: Option<Mac>,
    client: Ipv4Addr,
    yours: Ipv4Addr,
    relay: Ipv4Addr,
    server_name: &'a [u8],
    file: &'a [u8],
}

/// Code and value, in order; a value that is spread over several options (RFC 3396) comes in its parts.
type Options<'a> = Vec<(u8, &'a [u8])>;

/// Reads a datagram. The cookie tells DHCP, so that no port is needed.
pub fn read(packet: &Packet<'_>, say: &mut Say<'_>) -> bool {
    let mut reader = Reader::new(packet.payload);
    let Some(header) = header(&mut reader) else { return false };
    let options = options(&header, reader.rest());
    let kind = value(&options, MESSAGE_TYPE).and_then(|value| value.first().copied());
    if kind.is_some_and(|kind| !(1..=TYPE_MAX).contains(&kind)) {
        return false;
    }
    let Some(mac) = header.mac else { return true };
    if header.operation == BOOT_REQUEST {
        asked(mac, kind, &options, say);
    } else {
        answered(&header, mac, kind, &options, packet, say);
    }
    if let Some(relay) = value(&options, RELAY) {
        relayed(mac, relay, say);
    }
    true
}

fn header<'a>(reader: &mut Reader<'a>) -> Option<Header<'a>> {
    let [operation, hardware, octets, _hops] = reader.array()?;
    // Transaction, seconds, flags.
    reader.skip(8)?;
    let mut address = || reader.array::<4>().map(Ipv4Addr::from);
    let (client, yours, _next, relay) = (address()?, address()?, address()?, address()?);
    let mac = Mac(reader.array()?);
    reader.skip(10)?;
    let (server_name, file) = (reader.take(64)?, reader.take(128)?);
    let is_dhcp = matches!(operation, BOOT_REQUEST | BOOT_REPLY) && octets <= 16 && reader.array()? == COOKIE;
    let mac = (hardware == 1 && octets == 6).then_some(mac);
    is_dhcp.then_some(Header { operation, mac, client, yours, relay, server_name, file })
}

/// All options, those that overload other places (option 52) behind the others, in the order in which they are to be read.
fn options<'a>(header: &Header<'a>, octets: &'a [u8]) -> Options<'a> {
    let mut options = Vec::new();
    append(octets, &mut options);
    let overload = value(&options, OVERLOAD).and_then(|value| value.first().copied()).unwrap_or(0);
    if overload & 1 != 0 {
        append(header.file, &mut options);
    }
    if overload & 2 != 0 {
        append(header.server_name, &mut options);
    }
    options
}

fn append<'a>(octets: &'a [u8], options: &mut Options<'a>) {
    let mut reader = Reader::new(octets);
    while options.len() < OPTIONS_MAX {
        match reader.u8() {
            Some(PAD) => {}
            None | Some(END) => break,
            Some(code) => {
                let Some(value) = reader.u8().and_then(|octets| reader.take(octets.into())) else { break };
                options.push((code, value));
            }
        }
    }
}

fn value<'a>(options: &Options<'a>, code: u8) -> Option<&'a [u8]> {
    options.iter().find(|(there, _)| *there == code).map(|(_, value)| *value)
}

/// What a client says.
fn asked(mac: Mac, kind: Option<u8>, options: &Options<'_>, say: &mut Say<'_>) {
    let who = Who::Mac(mac);
    for (code, value) in options {
        match *code {
            HOSTNAME => {
                say.text(who, Field::DhcpHostname, value);
            }
            REQUESTED => {
                if let Ok(octets) = <[u8; 4]>::try_from(*value) {
                    say.address(who, Field::DhcpRequested, Ipv4Addr::from(octets).into());
                }
            }
            PARAMETERS => {
                say.text(who, Field::DhcpParameters, numbers(value.iter().copied()).as_bytes());
            }
            VENDOR_CLASS => {
                say.text(who, Field::DhcpVendorClass, value);
            }
            CLIENT_ID if 2 * value.len() <= Grammar::Token.octets_max() => {
                say.text(who, Field::DhcpClientId, hex(value).as_bytes());
            }
            USER_CLASS => user_class(who, value, say),
            FQDN => fqdn(who, value, say),
            VENDOR_SPECIFIC => dhcp_vendor::specific(who, value, say),
            VENDOR_CLASSES => dhcp_vendor::classes(who, value, say),
            VENDOR_OPTIONS => dhcp_vendor::options(who, value, say),
            USAGE_URL => dhcp_vendor::usage_url(who, value, say),
            _ => {}
        }
    }
    if matches!(kind, Some(DISCOVER | REQUEST)) {
        say.text(who, Field::DhcpOptions, numbers(options.iter().map(|(code, _)| *code)).as_bytes());
    }
}

/// What a server, or a relay for it, answers.
fn answered(header: &Header<'_>, mac: Mac, kind: Option<u8>, options: &Options<'_>, packet: &Packet<'_>, say: &mut Say<'_>) {
    // An answer to DHCPINFORM gives no address: the client has one (RFC 2131 §4.3.5). BOOTP has no types.
    let address = if header.yours.is_unspecified() { header.client } else { header.yours };
    if matches!(kind, Some(ACK) | None) && !address.is_unspecified() {
        let who = Who::Both(mac, address.into());
        say.address(who, Field::DhcpAddress, address.into());
        if let Some(domain) = value(options, DOMAIN) {
            say.text(who, Field::DhcpDomain, domain);
        }
        if let Some(name) = value(options, HOSTNAME) {
            say.text(who, Field::DhcpHostname, name);
        }
    }
    if matches!(kind, Some(OFFER | ACK) | None) {
        for (code, field) in [(ROUTER, Field::DhcpRouter), (NAME_SERVER, Field::DhcpNameServer)] {
            for ip in value(options, code).unwrap_or_default().as_chunks::<4>().0.iter().take(ADDRESSES_MAX) {
                say.word(Who::Ip(Ipv4Addr::from(*ip).into()), field, "yes");
            }
        }
    }
    let sender = say.ip(say.sender());
    let named = value(options, SERVER).and_then(|value| <[u8; 4]>::try_from(value).ok()).map(|octets| IpAddr::V4(octets.into()));
    // To a client behind a relay it is the relay that sends; to the relay, the server.
    let is_servers = header.relay.is_unspecified() || packet.target_port == PORT_SERVER;
    match named {
        Some(ip) if Some(ip) != sender => say.word(Who::Ip(ip), Field::DhcpServer, "yes"),
        _ if is_servers => say.word(Who::Sender, Field::DhcpServer, "yes"),
        _ => {}
    }
    if is_servers && named.is_none_or(|ip| Some(ip) == sender) {
        say.serves(say.sender(), Protocol::Dhcp);
    }
}

/// Decimal numbers joined by commas, as many as the longest token holds.
pub fn numbers(codes: impl Iterator<Item = impl ToString>) -> String {
    let mut text = String::new();
    for code in codes {
        let number = code.to_string();
        if text.len() + 1 + number.len() > Grammar::Token.octets_max() {
            break;
        }
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&number);
    }
    text
}

/// User classes, each behind its length (RFC 3004), or one without, as many clients write it.
fn user_class(who: Who, value: &[u8], say: &mut Say<'_>) {
    let mut reader = Reader::new(value);
    let mut classes = Vec::new();
    while let Some(class) = reader.u8().and_then(|octets| reader.take(octets.into())).filter(|class| !class.is_empty()) {
        classes.push(class);
    }
    if reader.is_empty() && !classes.is_empty() {
        classes.iter().for_each(|class| {
            say.text(who, Field::DhcpUserClass, class);
        });
    } else {
        say.text(who, Field::DhcpUserClass, value);
    }
}

/// Flags, two codes, then a name as text or, with flag E, as labels (RFC 4702 §2).
fn fqdn(who: Who, value: &[u8], say: &mut Say<'_>) {
    let Some(([flags, _, _], name)) = value.split_first_chunk() else { return };
    if flags & 4 == 0 {
        say.text(who, Field::DhcpFqdn, name);
    } else if let Some(name) = labels(name) {
        say.text(who, Field::DhcpFqdn, &name);
    }
}

/// A name of labels without compression; the root's may be missing (RFC 4702 §2.3.1).
pub fn labels(octets: &[u8]) -> Option<Vec<u8>> {
    let (mut reader, mut name) = (Reader::new(octets), Vec::new());
    while let Some(octets @ 1..) = reader.u8() {
        let label = reader.take(octets.into()).filter(|label| label.len() <= 63)?;
        if !name.is_empty() {
            name.push(b'.');
        }
        name.extend_from_slice(label);
    }
    Some(name)
}

/// What a relay says of the client's circuit (RFC 3046).
fn relayed(mac: Mac, value: &[u8], say: &mut Say<'_>) {
    let mut reader = Reader::new(value);
    while let (Some(code), Some(octets)) = (reader.u8(), reader.u8()) {
        let Some(value) = reader.take(octets.into()) else { break };
        match code {
            1 => {
                say.text(Who::Mac(mac), Field::DhcpRelayCircuit, value);
            }
            2 if 2 * value.len() <= Grammar::Token.octets_max() => {
                say.text(Who::Mac(mac), Field::DhcpRelayRemote, hex(value).as_bytes());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "dhcp_tests.rs"]
mod tests;
