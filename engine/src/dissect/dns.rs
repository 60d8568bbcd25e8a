//! DNS (RFC 1035): what a host asks for, who answers, and which names addresses have.

use super::{
    Packet, Say, Who,
    dns_name::{Message, TYPE_A, TYPE_AAAA, TYPE_ANY, TYPE_PTR, TYPE_SRV},
};
use crate::observation::{Field, Protocol};

const PORT: u16 = 53;
/// Ports of protocols of the same form, which are not DNS.
const OTHER_PORTS: [u16; 3] = [137, 5353, 5355];
const TYPE_CNAME: u16 = 5;
const TYPE_MX: u16 = 15;
const TYPE_SVCB: u16 = 64;
const TYPE_HTTPS: u16 = 65;
const QUERY: u16 = 0;
/// Largest assigned operation code (RFC 8490).
const OPERATION_MAX: u16 = 6;
/// Reserved (RFC 1035 §4.1.1).
const FLAG_ZERO: u16 = 0x0040;

/// Reads a datagram.
pub fn read(packet: &Packet<'_>, say: &mut Say<'_>) -> bool {
    if packet.is_on(&OTHER_PORTS) {
        return false;
    }
    let Some(message) = Message::read(packet.payload) else { return false };
    // Twelve octets of flags and counts say little: off its port the message must be nothing but DNS.
    let is_plain = message.questions.len() == 1 && message.operation() == QUERY && message.flags & FLAG_ZERO == 0;
    let is_dns =
        if packet.is_on(&[PORT]) { message.operation() <= OPERATION_MAX } else { packet.whole && message.exact && is_plain };
    if !is_dns {
        return false;
    }
    if message.is_answer() {
        answer(&message, say);
    } else if message.operation() == QUERY {
        for question in message.questions.iter().filter(|question| asks_for_host(question.kind)) {
            say.text(Who::Sender, Field::DnsQuery, question.name.text());
        }
    }
    true
}

const fn asks_for_host(kind: u16) -> bool {
    matches!(kind, TYPE_A | TYPE_AAAA | TYPE_CNAME | TYPE_MX | TYPE_SRV | TYPE_SVCB | TYPE_HTTPS | TYPE_ANY)
}

fn answer(message: &Message<'_>, say: &mut Say<'_>) {
    say.word(Who::Sender, Field::DnsServer, "yes");
    say.serves(say.sender(), Protocol::Dns);
    for (_, record) in &message.records {
        if let Some(ip) = message.address(record) {
            say.text(Who::Ip(ip), Field::DnsName, record.name.text());
        } else if record.kind == TYPE_PTR
            && let (Some(ip), Some(name)) = (record.name.reversed_address(), message.target(record))
        {
            say.text(Who::Ip(ip), Field::DnsName, name.text());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::{
        dns_name::made::{message, name, question, record},
        trial::Trial,
    };

    const ASKS: Trial = Trial::datagram(40000, PORT);
    const ANSWERS: Trial = Trial::datagram(PORT, 40000);
    const SERVER: [&str; 3] = [
        "02:00:00:00:00:01 10.0.0.1 dns.server yes",
        "02:00:00:00:00:01 10.0.0.1 link.serves dns",
        "02:00:00:00:00:02 10.0.0.2 link.uses dns",
    ];

    #[test]
    fn a_query_tells_what_its_sender_asks_for() {
        let octets = message(0x0100, [1, 0, 0, 0], &[question("pacs.example", TYPE_A)]);
        ASKS.says(read, &octets, &["02:00:00:00:00:01 10.0.0.1 dns.query pacs.example"]);
        Trial::datagram(40000, 40001).says(read, &octets, &["02:00:00:00:00:01 10.0.0.1 dns.query pacs.example"]);
        ASKS.says(read, &message(0x0100, [1, 0, 0, 0], &[question("1.0.0.10.in-addr.arpa", TYPE_PTR)]), &[]);
    }

    #[test]
    fn an_answer_names_addresses_and_its_server() {
        let entries = [
            question("pacs.example", TYPE_A),
            record("pacs.example", TYPE_CNAME, &name("store.example")),
            record("store.example", TYPE_A, &[10, 0, 0, 9]),
            record("9.0.0.10.in-addr.arpa", TYPE_PTR, &name("store-9.example")),
        ];
        let names = ["- 10.0.0.9 dns.name store.example", "- 10.0.0.9 dns.name store-9.example"];
        ANSWERS.says(read, &message(0x8180, [1, 3, 0, 0], &entries), &[&SERVER[..], &names].concat());
    }

    #[test]
    fn other_messages_are_refused() {
        let query = message(0x0100, [1, 0, 0, 0], &[question("a.local", TYPE_A)]);
        Trial::datagram(5353, 5353).refuses(read, &query);
        Trial::datagram(40000, 40001).refuses(read, &[&query[..], &[0]].concat());
        Trial::datagram(40000, 40001).refuses(read, &message(0x0140, [1, 0, 0, 0], &[question("a.local", TYPE_A)]));
        ASKS.refuses(read, &message(0x7800, [1, 0, 0, 0], &[question("a.local", TYPE_A)]));
        ASKS.refuses(read, &query[..11]);
    }
}
