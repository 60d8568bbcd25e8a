//! Multicast DNS and DNS-SD (RFC 6762, 6763): a host's name, the services it offers with what their TXT records say of the
//! product, and the services it looks for.
//!
//! Whoever repeats others' records from another link gives addresses that are not its own: what it says is about those.

use std::net::IpAddr;

use super::{
    Packet, Say, Who,
    dns_name::{Message, Name, Record, Section, TYPE_A, TYPE_AAAA, TYPE_PTR, TYPE_SRV, TYPE_TXT},
    reader::{Reader, find},
};
use crate::observation::Field;

const PORT: u16 = 5353;
/// PTR records of this name list service types (RFC 6763 §9).
const SERVICES: &str = "_services._dns-sd._udp.local";
const LOCAL: &str = ".local";
/// Strings of a TXT record that are looked at.
const STRINGS_MAX: usize = 64;
/// Keys of TXT records that may be read. `md` of audio receivers lists metadata and no model.
const KEYS: [(&str, Field); 19] = [
    ("usb_mfg", Field::MdnsManufacturer),
    ("manufacturer", Field::MdnsManufacturer),
    ("mfr", Field::MdnsManufacturer),
    ("vendor", Field::MdnsManufacturer),
    ("ty", Field::MdnsModel),
    ("md", Field::MdnsModel),
    ("model", Field::MdnsModel),
    ("usb_mdl", Field::MdnsModel),
    ("am", Field::MdnsModel),
    ("product", Field::MdnsModel),
    ("sn", Field::MdnsSerial),
    ("serial", Field::MdnsSerial),
    ("serialnumber", Field::MdnsSerial),
    ("fv", Field::MdnsVersion),
    ("fw", Field::MdnsVersion),
    ("vs", Field::MdnsVersion),
    ("version", Field::MdnsVersion),
    ("srcvers", Field::MdnsVersion),
    ("os", Field::MdnsVersion),
];

/// Reads a datagram. The form is that of DNS, so that one of the ports must be mDNS's.
pub fn read(packet: &Packet<'_>, say: &mut Say<'_>) -> bool {
    if !packet.is_on(&[PORT]) {
        return false;
    }
    let Some(message) = Message::read(packet.payload) else { return false };
    if message.operation() != 0 {
        return false;
    }
    let sender = say.ip(say.sender());
    if message.is_answer() {
        let who = owner(&message, sender);
        for (_, record) in message.records.iter().filter(|(_, record)| record.seconds > 0) {
            take(&message, record, who, say);
        }
    } else {
        for question in &message.questions {
            if let Some(service) = service_type(question.name.text()).filter(|_| question.kind == TYPE_PTR) {
                say.text(Who::Sender, Field::MdnsQuery, service);
            }
        }
        // A probe proposes records of its own in the authority section; its answers are others' (RFC 6762 §8.2, §7.1).
        for (_, record) in message.records.iter().filter(|(section, _)| *section == Section::Authority) {
            take(&message, record, Who::Sender, say);
        }
    }
    true
}

/// Whom the records are about: the sender, unless all addresses of its family and scope are another's.
fn owner(message: &Message<'_>, sender: Option<IpAddr>) -> Who {
    let Some(sender) = sender else { return Who::Sender };
    let mut others = None;
    for ip in message.records.iter().filter_map(|(_, record)| message.address(record)) {
        if ip == sender {
            return Who::Sender;
        }
        if is_alike(ip, sender) {
            others = others.or(Some(ip));
        }
    }
    others.map_or(Who::Sender, Who::Ip)
}

/// Both are IPv4, but for addresses that a host gives itself, or both link-local IPv6.
fn is_alike(ip: IpAddr, sender: IpAddr) -> bool {
    match (ip, sender) {
        (IpAddr::V4(ip), IpAddr::V4(_)) => !ip.is_link_local() && !ip.is_loopback(),
        (IpAddr::V6(ip), IpAddr::V6(sender)) => ip.is_unicast_link_local() && sender.is_unicast_link_local(),
        _ => false,
    }
}

fn take(message: &Message<'_>, record: &Record, who: Who, say: &mut Say<'_>) {
    let name = &record.name;
    match record.kind {
        TYPE_A | TYPE_AAAA => say_host(name, who, say),
        TYPE_PTR => {
            let Some(target) = message.target(record) else { return };
            if name.without(SERVICES).is_some_and(<[u8]>::is_empty) {
                if let Some(service) = service_type(target.text()) {
                    say.text(who, Field::MdnsService, service);
                }
            } else if let Some(service) = service_type(name.text()) {
                say.text(who, Field::MdnsService, service);
                say_instance(&target, who, say);
            }
        }
        TYPE_SRV => {
            if let Some(service) = service_type(name.rest()) {
                say.text(who, Field::MdnsService, service);
                say_instance(name, who, say);
            }
            if let Some(target) = message.target(record) {
                say_host(&target, who, say);
            }
        }
        TYPE_TXT => describe(message.data(record), service_type(name.rest()).unwrap_or_default(), who, say),
        _ => {}
    }
}

/// `_ipp._tcp` of `_ipp._tcp.local` or of a subtype of it; other names are none.
fn service_type(name: &[u8]) -> Option<&[u8]> {
    let labels = name.len().checked_sub(LOCAL.len()).and_then(|end| name.split_at_checked(end))?;
    let service = labels.1.eq_ignore_ascii_case(LOCAL.as_bytes()).then_some(labels.0)?;
    let service = match find(service, b"._sub.") {
        Some(at) => service.get(at + b"._sub.".len()..)?,
        None => service,
    };
    let transport = service.len().checked_sub(b"._tcp".len()).and_then(|at| service.get(at..))?;
    let is_service = transport.eq_ignore_ascii_case(b"._tcp") || transport.eq_ignore_ascii_case(b"._udp");
    let is_plain = service.first() == Some(&b'_') && service.iter().filter(|octet| **octet == b'.').count() == 1;
    (is_service && is_plain).then_some(service)
}

fn say_host(name: &Name, who: Who, say: &mut Say<'_>) {
    if let Some(host) = name.without(LOCAL).filter(|host| !host.contains(&b'.')) {
        say.text(who, Field::MdnsHostname, host);
    }
}

fn say_instance(name: &Name, who: Who, say: &mut Say<'_>) {
    if service_type(name.rest()).is_some() {
        say.text(who, Field::MdnsInstance, name.first());
    }
}

/// Says what the allowed keys of a TXT record (RFC 6763 §6) have as values.
fn describe(data: &[u8], service: &[u8], who: Who, say: &mut Say<'_>) {
    let mut reader = Reader::new(data);
    for _ in 0..STRINGS_MAX {
        let Some(octets) = reader.u8() else { break };
        let Some(mut string) = reader.part(octets.into()) else { break };
        let Some(key) = string.until(b'=') else { continue };
        let Some((_, field)) = KEYS.iter().find(|(known, _)| key.eq_ignore_ascii_case(known.as_bytes())) else { continue };
        if key.eq_ignore_ascii_case(b"md") && service.eq_ignore_ascii_case(b"_raop._tcp") {
            continue;
        }
        let value = string.rest();
        // Printers write their product in brackets.
        let value = value.strip_prefix(b"(").and_then(|value| value.strip_suffix(b")")).unwrap_or(value);
        say.text(who, *field, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::{
        dns_name::made::{message, name, question, record},
        trial::Trial,
    };

    const GROUP: Trial = Trial { ips: Some(["10.0.0.1", "224.0.0.251"]), ports: [PORT, PORT], ethertype: 0 };

    fn strings(strings: &[&str]) -> Vec<u8> {
        strings.iter().flat_map(|string| [&[string.len() as u8], string.as_bytes()].concat()).collect()
    }

    #[test]
    fn a_printer_describes_itself() {
        let instance = "Laser 9._ipp._tcp.local";
        let entries = [
            record("_ipp._tcp.local", TYPE_PTR, &name(instance)),
            record(SERVICES, TYPE_PTR, &name("_http._tcp.local")),
            record(instance, TYPE_SRV, &[&[0, 0, 0, 0, 2, 119][..], &name("laser9.local")].concat()),
            record(
                instance,
                TYPE_TXT,
                &strings(&["txtvers=1", "ty=Maker Laser 9", "product=(Laser 9)", "note=Ward", "UUID=1", "x"]),
            ),
            record("laser9.local", TYPE_A, &[10, 0, 0, 1]),
        ];
        let expect = [
            "service _ipp._tcp",
            "instance Laser 9",
            "service _http._tcp",
            "service _ipp._tcp",
            "instance Laser 9",
            "hostname laser9",
            "model Maker Laser 9",
            "model Laser 9",
            "hostname laser9",
        ]
        .map(|line| format!("02:00:00:00:00:01 10.0.0.1 mdns.{line}"));
        GROUP.says(read, &message(0x8400, [0, 5, 0, 0], &entries), &expect.each_ref().map(String::as_str));
    }

    #[test]
    fn what_a_repeater_says_is_about_another() {
        let entries = [record("laser9.local", TYPE_A, &[10, 9, 9, 9])];
        let (_, said) = GROUP.hear(read, &message(0x8400, [0, 1, 0, 0], &entries), true);
        assert_eq!(said, ["- 10.9.9.9 mdns.hostname laser9"]);
    }

    #[test]
    fn a_query_tells_what_is_looked_for_and_its_known_answers_nothing() {
        let entries =
            [question("_ipp._tcp.local", TYPE_PTR), record("_ipp._tcp.local", TYPE_PTR, &name("Laser 9._ipp._tcp.local"))];
        GROUP.says(read, &message(0, [1, 1, 0, 0], &entries), &["02:00:00:00:00:01 10.0.0.1 mdns.query _ipp._tcp"]);
        let probe = [question("ct.local", 255), record("ct.local", TYPE_A, &[10, 0, 0, 1])];
        GROUP.says(read, &message(0, [1, 0, 1, 0], &probe), &["02:00:00:00:00:01 10.0.0.1 mdns.hostname ct"]);
    }

    #[test]
    fn service_types_are_taken_out_of_their_names() {
        assert_eq!(service_type(b"_printer._sub._ipp._tcp.local"), Some(&b"_ipp._tcp"[..]));
        assert_eq!(service_type(b"host.local"), None);
        assert_eq!(service_type(b"_a._b._tcp.local"), None);
        assert_eq!(service_type(b"_ipp._tcp.example"), None);
    }

    #[test]
    fn other_messages_are_refused() {
        Trial::datagram(40000, 53).refuses(read, &message(0, [1, 0, 0, 0], &[question("_ipp._tcp.local", TYPE_PTR)]));
        GROUP.refuses(read, &message(0x2800, [1, 0, 0, 0], &[question("_ipp._tcp.local", TYPE_PTR)]));
    }
}
