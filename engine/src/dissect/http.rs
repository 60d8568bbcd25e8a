//! HTTP/1 (RFC 9110, 9112) on any port: requests and responses in; names, products, realms, path templates and what
//! descriptions say out.
//!
//! Header lines are read one by one, however segments cut them. Bodies are left out by their length or chunks; what
//! [`body_reader`] knows is looked at where it is held. Queries, credentials, cookies and every header that is not listed
//! here stay unread (PRIVACY-2).

mod body;
mod path;

use std::{collections::VecDeque, net::IpAddr};

pub use self::body::body_reader;
use self::body::{BODY_MAX, ReadBody};
use super::{Conversation, Lead, Opening, Say, Step, Who, reader::header, tls::Tls};
use crate::observation::{Field, Protocol};

/// Requests that may wait for their responses.
const ASKED_MAX: usize = 32;
/// Longest line that is waited for, octets.
const LINE_MAX: usize = 8 << 10;
/// Longest method (RFC 9110 section 9; the longest registered one has 17).
const METHOD_MAX: usize = 17;

/// Whether an opening is a request line or a status line.
pub fn open(lead: &Lead<'_>) -> Opening {
    let is_whole = match lead.octets.iter().position(|octet| *octet == b'\n') {
        Some(end) => start(&lead.octets[..end]).is_some(),
        None if !may_start(lead.octets) => false,
        None if lead.last => target_of(lead.octets).is_some_and(|(_, target)| target.starts_with(b"/")),
        None => return lead.more(),
    };
    if is_whole { Opening::Yes(Box::new(Http::default())) } else { Opening::No }
}

/// What a message begins with.
enum Start<'a> {
    /// Method and target.
    Request(&'a [u8], &'a [u8]),
    /// Status.
    Response(u16),
}

fn start(line: &[u8]) -> Option<Start<'_>> {
    let line = line.trim_ascii_end();
    if let Some(rest) = line.strip_prefix(b"HTTP/1.") {
        let status = rest.get(1..)?.trim_ascii_start();
        let digits = std::str::from_utf8(status.get(..3)?).ok()?;
        return digits.parse().ok().filter(|status| (100..1000).contains(status)).map(Start::Response);
    }
    let (method, rest) = target_of(line)?;
    let version = rest.iter().rposition(|octet| *octet == b' ')?;
    rest[version..].starts_with(b" HTTP/1.").then(|| Start::Request(method, rest[..version].trim_ascii()))
}

/// A method, and what is behind it.
fn target_of(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = line.iter().position(|octet| *octet == b' ').filter(|end| (1..=METHOD_MAX).contains(end))?;
    let (method, rest) = line.split_at(end);
    method.iter().all(is_of_method).then(|| (method, rest.trim_ascii_start()))
}

const fn is_of_method(octet: &u8) -> bool {
    octet.is_ascii_uppercase() || matches!(*octet, b'-' | b'_')
}

/// A line may begin so whose end has not come.
fn may_start(octets: &[u8]) -> bool {
    let status = b"HTTP/1.";
    let is_status = octets.iter().zip(status).all(|(a, b)| a == b);
    is_status || target_of(octets).is_some() || (octets.len() <= METHOD_MAX && octets.iter().all(is_of_method))
}

/// A request whose response has not come.
struct Asked {
    is_head: bool,
    is_connect: bool,
    template: Option<String>,
}

/// What the headers of the message at hand said.
#[derive(Default)]
struct Message {
    status: Option<u16>,
    /// The response is to HEAD or CONNECT.
    asked: Option<Asked>,
    length: Option<u64>,
    is_chunked: bool,
    is_coded: bool,
    reader: Option<ReadBody>,
    /// The server is a proxy: its client asks another one.
    for_another: bool,
}

/// Where in its messages a direction is.
#[derive(Default)]
enum Place {
    /// Before a start line.
    #[default]
    Start,
    /// Before a header line.
    Headers,
    /// In a body with so many octets left; `None`: to the end of the connection. The reader has seen so many octets.
    Body(Option<u64>, Option<ReadBody>, usize),
    /// Before the line of a chunk. The reader has seen so many octets.
    Chunk(Option<ReadBody>, usize),
    /// In a chunk, with so many octets left, its line end counted.
    InChunk(u64),
    /// Before a line of the trailer.
    Trailer,
}

#[derive(Default)]
struct Way {
    place: Place,
    message: Message,
}

/// A connection.
#[derive(Default)]
struct Http {
    ways: [Way; 2],
    asked: VecDeque<Asked>,
    /// What a proxy carries for its client.
    tunnel: Option<Tls>,
}

impl Conversation for Http {
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        if let Some(tunnel) = &mut self.tunnel {
            return tunnel.read(from, octets, say);
        }
        let way = &mut self.ways[from & 1];
        match &mut way.place {
            Place::Start | Place::Headers | Place::Trailer => self.line(from, octets, say),
            Place::Body(left, reader, seen) => {
                let there = left.map_or(octets.len(), |left| usize::try_from(left).unwrap_or(usize::MAX).min(octets.len()));
                if let Some(read) = *reader {
                    let is_all = there >= BODY_MAX || *left == Some(there as u64);
                    if there > *seen {
                        read(&octets[..there.min(BODY_MAX)], from, say);
                        *seen = there;
                    }
                    if !is_all {
                        return Step::Read(0);
                    }
                    *reader = None;
                }
                let Some(left) = left else { return Step::Enough };
                *left -= there as u64;
                if *left == 0 {
                    way.place = Place::Start;
                }
                Step::Read(there)
            }
            Place::Chunk(reader, seen) => {
                if let Some(read) = *reader {
                    let (body, is_all) = body::unchunk(octets);
                    if body.len() > *seen {
                        read(&body, from, say);
                        *seen = body.len();
                    }
                    if !is_all && octets.len() < 2 * BODY_MAX {
                        return Step::Read(0);
                    }
                    *reader = None;
                }
                let Some((line, octets)) = line_of(octets) else { return more(octets) };
                let Some(size) = body::chunk_size(line) else { return Step::Enough };
                way.place = if size == 0 { Place::Trailer } else { Place::InChunk(size.saturating_add(2)) };
                Step::Read(octets)
            }
            Place::InChunk(left) => {
                let there = usize::try_from(*left).unwrap_or(usize::MAX).min(octets.len());
                *left -= there as u64;
                if *left == 0 {
                    way.place = Place::Chunk(None, 0);
                }
                Step::Read(there)
            }
        }
    }

    fn gap(&mut self, from: usize, octets: u32) -> bool {
        let octets = u64::from(octets);
        let way = &mut self.ways[from & 1];
        let (next, left) = match &mut way.place {
            Place::Body(Some(left), reader, _) => {
                *reader = None;
                (Place::Start, left)
            }
            Place::InChunk(left) => (Place::Chunk(None, 0), left),
            _ => return false,
        };
        if octets > *left || self.tunnel.is_some() {
            return false;
        }
        *left -= octets;
        if *left == 0 {
            way.place = next;
        }
        true
    }
}

impl Http {
    fn line(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        let Some((line, read)) = line_of(octets) else { return more(octets) };
        let way = &mut self.ways[from & 1];
        match way.place {
            // Empty lines may come before a start line (RFC 9112 section 2.2).
            Place::Start if line.is_empty() => {}
            Place::Start => {
                let is_message = self.begin(from, line, say);
                return if is_message { Step::Read(read) } else { Step::Enough };
            }
            Place::Trailer if line.is_empty() => way.place = Place::Start,
            _ if line.is_empty() => return self.end_of_headers(from, read),
            Place::Headers => way.message.header(from, line, say),
            _ => {}
        }
        Step::Read(read)
    }

    /// Reads a start line; whether it is one.
    fn begin(&mut self, from: usize, line: &[u8], say: &mut Say<'_>) -> bool {
        let mut message = Message::default();
        match start(line) {
            None => return false,
            Some(Start::Request(method, target)) => {
                if self.asked.len() >= ASKED_MAX {
                    return false;
                }
                let is_connect = method == b"CONNECT";
                let template = if is_connect { None } else { path::template(target) };
                message.for_another = template.is_none() && target != b"*";
                self.asked.push_back(Asked { is_head: method == b"HEAD", is_connect, template });
            }
            Some(Start::Response(status)) => {
                message.status = Some(status);
                say.serves(from, Protocol::Http);
                // An interim response (RFC 9110 section 15.2) is followed by the one that was asked for.
                if status >= 200 || status == 101 {
                    message.asked = self.asked.pop_front();
                }
                let template = message.asked.as_ref().and_then(|asked| asked.template.as_deref());
                if let (Some(template), false) = (template, matches!(status, 404 | 410 | 501)) {
                    say.text(Who::End(from), Field::HttpPath, template.as_bytes());
                }
            }
        }
        self.ways[from & 1] = Way { place: Place::Headers, message };
        true
    }

    /// What follows the headers: a body (RFC 9112 section 6.3), the next message, or something else.
    fn end_of_headers(&mut self, from: usize, read: usize) -> Step {
        let way = &mut self.ways[from & 1];
        let message = std::mem::take(&mut way.message);
        let is_for = |test: fn(&Asked) -> bool| message.asked.as_ref().is_some_and(test);
        let reader = message.reader.filter(|_| !message.is_coded);
        way.place = match message.status {
            Some(101) => return Step::Enough,
            Some(200..=299) if is_for(|asked| asked.is_connect) => {
                self.tunnel = Some(Tls::for_another());
                Place::Start
            }
            Some(100..=199 | 204 | 304) => Place::Start,
            Some(_) if is_for(|asked| asked.is_head) => Place::Start,
            _ if message.is_chunked => Place::Chunk(reader, 0),
            _ if message.length == Some(0) => Place::Start,
            None if message.length.is_none() => Place::Start,
            _ => Place::Body(message.length, reader, 0),
        };
        Step::Read(read)
    }
}

impl Message {
    /// Reads a header line.
    fn header(&mut self, from: usize, line: &[u8], say: &mut Say<'_>) {
        if let Some(value) = header(line, "Content-Length") {
            self.length = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
        } else if let Some(value) = header(line, "Transfer-Encoding") {
            self.is_chunked = value.len() >= 7 && value[value.len() - 7..].eq_ignore_ascii_case(b"chunked");
        } else if let Some(value) = header(line, "Content-Encoding") {
            self.is_coded = !value.eq_ignore_ascii_case(b"identity");
        } else if let Some(value) = header(line, "Content-Type") {
            self.reader = body_reader(value);
        } else if self.status.is_some() {
            if let Some(value) = header(line, "Server") {
                say.label(Who::End(from), Field::HttpServer, value);
            } else if let Some(realm) = header(line, "WWW-Authenticate").and_then(realm) {
                say.text(Who::End(from), Field::HttpRealm, realm);
            }
        } else if let Some(value) = header(line, "User-Agent") {
            say.label(Who::End(from), Field::HttpUserAgent, value);
        } else if let Some(host) = header(line, "Host").map(without_port) {
            let is_said = say.text(Who::End(from), Field::HttpAsked, host);
            if is_said && !self.for_another && !is_address(host) {
                say.text(Who::End(1 - from), Field::HttpHost, host);
            }
        }
    }
}

/// The first line without blanks behind it, and its octets with its end; `None` before its end has come.
fn line_of(octets: &[u8]) -> Option<(&[u8], usize)> {
    let end = octets.iter().position(|octet| *octet == b'\n')?;
    Some((octets[..end].trim_ascii_end(), end + 1))
}

/// What to do about a line that has not ended.
const fn more(octets: &[u8]) -> Step {
    if octets.len() > LINE_MAX { Step::Enough } else { Step::Read(0) }
}

fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|octet| *octet == b':') {
        Some(at) if host[at + 1..].iter().all(u8::is_ascii_digit) => &host[..at],
        _ => host,
    }
}

fn is_address(host: &[u8]) -> bool {
    std::str::from_utf8(host).is_ok_and(|host| host.parse::<IpAddr>().is_ok())
}

/// The realm of a challenge (RFC 9110 section 11.5).
fn realm(challenge: &[u8]) -> Option<&[u8]> {
    let at = challenge.windows(6).position(|window| window.eq_ignore_ascii_case(b"realm="))?;
    let value = &challenge[at + 6..];
    match value.strip_prefix(b"\"") {
        Some(quoted) => quoted.split(|octet| *octet == b'"').next(),
        None => value.split(|octet| matches!(octet, b',' | b' ')).next(),
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
