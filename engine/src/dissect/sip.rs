//! SIP (RFC 3261) over UDP and TCP: software of user agents and registrars. Who calls whom stays inside.

use super::{
    Conversation, Lead, Opening, Packet, Say, Step, Who,
    heads::{Head, Way},
};
use crate::observation::{Field, Protocol};

const VERSION: &[u8] = b"SIP/2.0";
/// Longest start line by which a conversation is recognised.
const START_MAX: usize = 480;

/// Reads a datagram.
pub fn read(packet: &Packet<'_>, say: &mut Say<'_>) -> bool {
    if !is_start(packet.payload) {
        return false;
    }
    message(&Head::of_part(packet.payload, packet.whole), say);
    true
}

/// Whether an opening is SIP.
pub fn open(lead: &Lead<'_>) -> Opening {
    let octets = lead.octets.trim_ascii_start();
    if is_start(octets) {
        return Opening::Yes(Box::<Sip>::default());
    }
    let is_text = octets.iter().all(|octet| (0x20..0x7f).contains(octet) || *octet == b'\r');
    let is_method = octets.iter().position(|octet| *octet == b' ').map_or(octets.len() < METHOD_MAX, |blank| {
        let uri = octets.get(blank + 1..).unwrap_or_default();
        [&b"sip:"[..], b"sips:", b"tel:"].iter().any(|scheme| uri.starts_with(scheme) || scheme.starts_with(uri))
    });
    if is_text && octets.len() < START_MAX && (is_method || VERSION.starts_with(octets)) { lead.more() } else { Opening::No }
}

/// Longest method name.
const METHOD_MAX: usize = 16;

/// A status line, or a request line with a method in capitals.
fn is_start(octets: &[u8]) -> bool {
    let Some(end) = octets.iter().take(START_MAX).position(|octet| *octet == b'\r') else { return false };
    let line = octets.get(..end).unwrap_or_default();
    if let Some(status) = line.strip_prefix(VERSION) {
        return matches!(status, [b' ', b'1'..=b'6', b'0'..=b'9', b'0'..=b'9', ..]);
    }
    let method = line.iter().position(|octet| *octet == b' ').and_then(|blank| line.get(..blank)).unwrap_or_default();
    let is_method = (1..=METHOD_MAX).contains(&method.len()) && method.iter().all(u8::is_ascii_uppercase);
    is_method && line.strip_suffix(VERSION).is_some_and(|rest| rest.ends_with(b" "))
}

fn message(head: &Head<'_>, say: &mut Say<'_>) {
    let sequence = head.value("CSeq").unwrap_or_default();
    let is_registration = sequence.trim_ascii_end().ends_with(b" REGISTER");
    let status = head.start.strip_prefix(VERSION);
    let routes = ["Via", "v"].into_iter().flat_map(|name| head.values(name));
    let hops: usize = routes.map(|value| value.iter().filter(|octet| **octet == b',').count() + 1).sum();
    // What a proxy passes on names somebody else's software: a request with a second hop, an answer that came by a recorded
    // route.
    let is_own = match status {
        None => hops == 1,
        Some(_) => is_registration || hops > 1 || head.value("Record-Route").is_none(),
    };
    if is_own {
        for (name, field) in [("User-Agent", Field::SipUserAgent), ("Server", Field::SipServer)] {
            if let Some(value) = head.value(name) {
                say.label(Who::Sender, field, value);
            }
        }
    }
    match status {
        None if head.start.starts_with(b"REGISTER ") && is_own => say.word(Who::Sender, Field::Uses, Protocol::Sip.name()),
        Some([b' ', b'2', ..]) if is_registration => say.serves(say.sender(), Protocol::Sip),
        _ => {}
    }
}

#[derive(Default)]
struct Sip {
    ways: [Way; 2],
}

impl Conversation for Sip {
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        let Some(way) = self.ways.get_mut(from & 1) else { return Step::Enough };
        let body = way.body(octets);
        if body > 0 {
            return Step::Read(body);
        }
        // Empty lines between messages keep a connection alive (RFC 5626 section 4.4.1).
        let blank = octets.len() - octets.trim_ascii_start().len();
        if blank > 0 {
            return Step::Read(blank);
        }
        match Head::read(octets) {
            Ok(None) => Step::Read(0),
            Ok(Some((head, length))) if is_start(octets) => {
                message(&head, say);
                way.expect(head.body_octets("l"));
                Step::Read(length)
            }
            _ => Step::Enough,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::probe, *};

    const REGISTER: &[u8] = b"REGISTER sip:pbx.example SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1\r\nFrom: <sip:doe@pbx>\r\n\
        CSeq: 1 REGISTER\r\nUser-Agent: Bedside Phone 3\r\nContent-Length: 0\r\n\r\n";
    const OK: &[u8] = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.1\r\nCSeq: 1 REGISTER\r\nServer: Exchange 9\r\nl: 3\r\n\r\nabc";
    const REGISTERED: [(usize, Field, &str); 5] = [
        (0, Field::SipUserAgent, "Bedside Phone 3"),
        (0, Field::Uses, "sip"),
        (1, Field::SipServer, "Exchange 9"),
        (1, Field::Serves, "sip"),
        (0, Field::Uses, "sip"),
    ];

    #[test]
    fn a_registration_tells_both_ends() {
        let whole = |from, octets| probe::datagram(read, from, [5060, 5060], octets, true).expect("known");
        let said = [whole(0, REGISTER), whole(1, OK)].concat();
        assert_eq!(said, REGISTERED.map(|(end, field, text)| (end, field, text.to_owned())));
        for length in 0..REGISTER.len() {
            for (_, field, text) in probe::datagram(read, 0, [5060, 5060], &REGISTER[..length], false).unwrap_or_default() {
                assert!(field == Field::Uses || text == "Bedside Phone 3", "{text} when cut at {length}");
            }
        }
    }

    #[test]
    fn a_stream_is_read_message_by_message() {
        probe::holds_when_cut(open, [5060, 40000], &[(0, b"\r\n\r\n"), (0, REGISTER), (1, OK)], &REGISTERED);
        let again = [(0, REGISTER), (1, OK), (1, OK)];
        assert_eq!(probe::stream(open, [5060, 40000], &again, 5).map(|said| said.len()), Some(8));
    }

    #[test]
    fn what_a_proxy_passes_on_is_not_its_own() {
        let passed = b"INVITE sip:x@y SIP/2.0\r\nVia: a\r\nVia: b\r\nUser-Agent: Phone\r\n\r\n";
        assert_eq!(probe::datagram(read, 0, [5060, 5060], passed, true), Some(Vec::new()));
        let passed = b"SIP/2.0 200 OK\r\nVia: a\r\nRecord-Route: p\r\nCSeq: 2 INVITE\r\nServer: Phone\r\n\r\n";
        assert_eq!(probe::datagram(read, 0, [5060, 5060], passed, true), Some(Vec::new()));
    }

    #[test]
    fn other_text_is_not_sip() {
        for other in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"SIP/2.0 x\r\n\r\n", b"NOTIFY * HTTP/1.1\r\n\r\n", b"\r\n\r\n", b""] {
            assert!(probe::datagram(read, 0, [5060, 5060], other, true).is_none());
            assert!(probe::stream(open, [5060, 40000], &[(0, other)], 3).is_none());
        }
    }
}
