//! Servers that greet with `220` (FTP, SMTP): the greeting out; of all that is said later nothing but that TLS begins.

use super::{
    Conversation, Say, Step, Who,
    tls::{self, Tls},
};
use crate::observation::{Field, Protocol};

/// Longest line, octets.
const LINE_MAX: usize = 1024;
/// Lines of one end behind which TLS does not begin any more.
const LINES_MAX: usize = 64;

/// Days of the week, as a date begins.
const DAYS: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];

/// A conversation whose server greets.
pub struct Greeting {
    protocol: Protocol,
    field: Field,
    server: usize,
    /// The greeting was read.
    greeted: bool,
    lines: [usize; 2],
    tls: Tls,
}

impl Greeting {
    /// The end `server` greets, or has greeted.
    pub fn new(protocol: Protocol, field: Field, server: usize) -> Self {
        Self { protocol, field, server, greeted: false, lines: [0; 2], tls: Tls::default() }
    }

    fn greeting(&mut self, line: &[u8], say: &mut Say<'_>) {
        self.greeted = true;
        let Some(text) = line.strip_prefix(b"220") else { return };
        say.serves(self.server, self.protocol);
        say.label(Who::End(self.server), self.field, without_date(text.strip_prefix(b"-").unwrap_or(text)));
    }
}

impl Conversation for Greeting {
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        match tls::begins(octets) {
            Some(false) if !self.tls.has_begun(from) => {}
            None if !self.tls.has_begun(from) => return Step::Read(0),
            _ => return self.tls.read(from, octets, say),
        }
        let lines = &mut self.lines[from & 1];
        let Some(end) = octets.iter().position(|octet| *octet == b'\n') else {
            return if octets.len() > LINE_MAX { Step::Enough } else { Step::Read(0) };
        };
        *lines += 1;
        if *lines > LINES_MAX {
            return Step::Enough;
        }
        // Lines that say nothing, and the rest of a greeting of many lines, are left out.
        let line = octets[..end].trim_ascii_end();
        if from == self.server && !self.greeted && line.get(4..).is_some_and(|text| text.iter().any(u8::is_ascii_alphanumeric)) {
            self.greeting(line, say);
        }
        Step::Read(end + 1)
    }
}

/// A greeting without the date (RFC 5322 section 3.3) at its end, which would make each one another.
fn without_date(text: &[u8]) -> &[u8] {
    let is_date = |window: &[u8]| DAYS.iter().any(|day| window.starts_with(day)) && window[3..] == *b", ";
    let end = text.windows(5).position(is_date).unwrap_or(text.len());
    let text = text[..end].trim_ascii();
    text.strip_suffix(b";").unwrap_or(text).trim_ascii()
}

/// The first line, if it is there and greets.
pub fn line_of(octets: &[u8]) -> Option<&[u8]> {
    let end = octets.iter().position(|octet| *octet == b'\n')?;
    octets[..end].starts_with(b"220").then(|| octets[..end].trim_ascii_end())
}

/// A greeting may begin so.
pub fn may_begin(octets: &[u8]) -> bool {
    octets.iter().zip(b"220").all(|(a, b)| a == b)
        && octets.get(3).is_none_or(|octet| matches!(octet, b' ' | b'-' | b'\r' | b'\n'))
}

/// One of `words` is in the line, in any case.
pub fn names(line: &[u8], words: &[&str]) -> bool {
    words.iter().any(|word| line.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes())))
}
