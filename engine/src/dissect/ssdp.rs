//! SSDP (UPnP Device Architecture 2.0 §1): what a device announces, what it answers and what it looks for.

use super::{
    Packet, Say, Who,
    reader::{Reader, header},
};
use crate::observation::{Field, Protocol};

/// Header lines that are looked at.
const LINES_MAX: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Notify,
    Search,
    Answer,
}

/// What the headers say.
#[derive(Default)]
struct Headers<'a> {
    server: Option<&'a [u8]>,
    user_agent: Option<&'a [u8]>,
    /// NT or ST.
    target: Option<&'a [u8]>,
    usn: bool,
    discover: bool,
    nts: Option<&'a [u8]>,
}

/// Reads a datagram.
pub fn read(packet: &Packet<'_>, say: &mut Say<'_>) -> bool {
    let mut reader = Reader::new(packet.payload);
    let Some(kind) = reader.line().and_then(start) else { return false };
    let headers = headers(reader.rest(), packet.whole);
    let is_ssdp = match kind {
        Kind::Notify => headers.nts.is_some_and(|nts| nts.starts_with(b"ssdp:") || nts.starts_with(b"upnp:")),
        Kind::Search => headers.discover,
        Kind::Answer => headers.target.is_some() && headers.usn,
    };
    if !is_ssdp {
        return false;
    }
    let is_gone = headers.nts == Some(b"ssdp:byebye");
    if let Some(server) = headers.server {
        say.label(Who::Sender, Field::SsdpServer, server);
    }
    if let Some(agent) = headers.user_agent {
        say.label(Who::Sender, Field::SsdpUserAgent, agent);
    }
    let field = if kind == Kind::Search { Field::SsdpSearch } else { Field::SsdpType };
    // A UUID names one device and no type.
    if let Some(target) = headers.target.filter(|target| !is_gone && !target.starts_with(b"uuid:")) {
        say.text(Who::Sender, field, target);
    }
    if kind == Kind::Answer {
        say.serves(say.sender(), Protocol::Ssdp);
    }
    true
}

fn start(line: &[u8]) -> Option<Kind> {
    match line.trim_ascii_end() {
        b"NOTIFY * HTTP/1.1" | b"NOTIFY * HTTP/1.0" => Some(Kind::Notify),
        b"M-SEARCH * HTTP/1.1" | b"M-SEARCH * HTTP/1.0" => Some(Kind::Search),
        line if line.starts_with(b"HTTP/1.1 200") || line.starts_with(b"HTTP/1.0 200") => Some(Kind::Answer),
        _ => None,
    }
}

fn headers(octets: &[u8], whole: bool) -> Headers<'_> {
    let (mut reader, mut headers) = (Reader::new(octets), Headers::default());
    for _ in 0..LINES_MAX {
        let Some(line) = reader.line() else { break };
        // The last line of what was cut may be cut, too.
        let is_cut = reader.is_empty() && !whole;
        if line.is_empty() || is_cut {
            break;
        }
        if let Some(value) = header(line, "SERVER") {
            headers.server = Some(value);
        } else if let Some(value) = header(line, "USER-AGENT") {
            headers.user_agent = Some(value);
        } else if let Some(value) = header(line, "NT").or_else(|| header(line, "ST")) {
            headers.target = Some(value);
        } else if let Some(value) = header(line, "NTS") {
            headers.nts = Some(value);
        } else if let Some(value) = header(line, "MAN") {
            headers.discover = matches!(value, b"\"ssdp:discover\"" | b"ssdp:discover");
        } else if header(line, "USN").is_some() {
            headers.usn = true;
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::trial::Trial;

    const ANY: Trial = Trial::datagram(40000, 40001);
    const SENDER: &str = "02:00:00:00:00:01 10.0.0.1";

    fn check(text: &str, expect: &[&str]) {
        let expect: Vec<String> = expect.iter().map(|line| format!("{SENDER} {line}")).collect();
        ANY.says(read, text.as_bytes(), &expect.iter().map(String::as_str).collect::<Vec<_>>());
    }

    #[test]
    fn an_announcement_tells_server_and_type_in_any_order() {
        let text = "NOTIFY * HTTP/1.1 \r\nNTS: ssdp:alive\r\nserver:  Linux/3 UPnP/1.0 Hub/2\r\n\
                    USN: uuid:1::x\r\nNT:urn:x:device:Basic:1\r\n\r\n";
        check(text, &["ssdp.server Linux/3 UPnP/1.0 Hub/2", "ssdp.type urn:x:device:Basic:1"]);
        let gone = "NOTIFY * HTTP/1.1\r\nNT: upnp:rootdevice\r\nNTS: ssdp:byebye\r\nUSN: uuid:1\r\n\r\n";
        ANY.says(read, gone.as_bytes(), &[]);
    }

    #[test]
    fn a_search_tells_what_is_looked_for() {
        let text = "M-SEARCH * HTTP/1.1\nST: ssdp:all\nMAN: \"ssdp:discover\"\nUSER-AGENT: Chrome/1\n\n";
        check(text, &["ssdp.user_agent Chrome/1", "ssdp.search ssdp:all"]);
    }

    #[test]
    fn an_answer_makes_a_server() {
        let text = "HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\nEXT:\r\nUSN: uuid:1\r\nSERVER: S\r\n\r\n";
        let expect = [
            "02:00:00:00:00:01 10.0.0.1 ssdp.server S",
            "02:00:00:00:00:01 10.0.0.1 ssdp.type upnp:rootdevice",
            "02:00:00:00:00:01 10.0.0.1 link.serves ssdp",
            "02:00:00:00:00:02 10.0.0.2 link.uses ssdp",
        ];
        ANY.says(read, text.as_bytes(), &expect);
    }

    #[test]
    fn other_http_is_refused() {
        ANY.refuses(read, b"HTTP/1.1 200 OK\r\nServer: S\r\n\r\n");
        ANY.refuses(read, b"NOTIFY * HTTP/1.1\r\nServer: S\r\n\r\n");
        ANY.refuses(read, b"GET / HTTP/1.1\r\nST: a\r\nUSN: b\r\n\r\n");
    }
}
