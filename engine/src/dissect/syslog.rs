//! Syslog (RFC 5424 §6, RFC 3164 §4): who writes, by the header alone. The message itself is never looked at.

use std::net::IpAddr;

use super::{Packet, Say, Who, reader::Reader};
use crate::observation::Field;

/// Largest PRI: facility 23, severity 7.
const PRIORITY_MAX: u16 = 191;
const MONTHS: [&[u8]; 12] = [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
/// Longest HOSTNAME and APP-NAME (RFC 5424 §6).
const HOSTNAME_MAX: usize = 255;
const APPLICATION_MAX: usize = 48;
const PORT: u16 = 514;

/// Reads a datagram.
pub fn read(packet: &Packet<'_>, say: &mut Say<'_>) -> bool {
    let mut reader = Reader::new(packet.payload);
    if !priority(&mut reader) {
        return false;
    }
    if reader.rest().starts_with(b"1 ") {
        return structured(&mut reader, say).is_some() || packet.is_on(&[PORT]);
    }
    // A header without a time is told from other text by the port alone, and says nothing.
    traditional(&mut reader, say).is_some() || packet.is_on(&[PORT])
}

/// `<PRI>`: one to three digits.
fn priority(reader: &mut Reader<'_>) -> bool {
    if reader.u8() != Some(b'<') {
        return false;
    }
    let Some(digits) = reader.until(b'>') else { return false };
    let is_number = (1..=3).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    is_number && digits.iter().fold(0, |sum, digit| 10 * sum + u16::from(digit - b'0')) <= PRIORITY_MAX
}

/// RFC 5424: VERSION TIMESTAMP HOSTNAME APP-NAME PROCID MSGID.
fn structured(reader: &mut Reader<'_>, say: &mut Say<'_>) -> Option<()> {
    reader.skip(2)?;
    let time = reader.until(b' ')?;
    if time != b"-" && !is_time(time) {
        return None;
    }
    let (host, application) = (reader.until(b' ')?, reader.until(b' ')?);
    say_host(host, say);
    say_application(application, say);
    Some(())
}

/// RFC 3164: TIMESTAMP HOSTNAME TAG. A name counts only when what must follow it
/// does, or a word of the message could pass for it.
fn traditional(reader: &mut Reader<'_>, say: &mut Say<'_>) -> Option<()> {
    if !skip_date(reader) {
        is_time(reader.until(b' ')?).then_some(())?;
    }
    let first = reader.until(b' ')?;
    if let Some(tag) = tag(first) {
        say_application(tag, say);
        return Some(());
    }
    let rest = reader.rest();
    let word = rest.iter().position(|octet| *octet == b' ').map_or(rest, |end| &rest[..end]);
    if let Some(tag) = tag(word) {
        say_host(first, say);
        say_application(tag, say);
    }
    Some(())
}

/// `Mmm dd hh:mm:ss `, or the same with a year before the time or a colon behind it.
fn skip_date(reader: &mut Reader<'_>) -> bool {
    let mut at = *reader;
    let day = at.take(3).filter(|month| MONTHS.contains(month)).and_then(|_| at.array());
    let Some([b' ', b' ' | b'0'..=b'3', b'0'..=b'9', b' ']) = day else { return false };
    if let Some([a, b, c, d, b' ']) = at.rest().first_chunk()
        && [a, b, c, d].iter().all(|octet| octet.is_ascii_digit())
    {
        at.take_up_to(5);
    }
    let Some(time) = at.until(b' ') else { return false };
    let is_clock = time.len() >= 8 && time.iter().all(|octet| octet.is_ascii_digit() || b":.,".contains(octet));
    if is_clock {
        *reader = at;
    }
    is_clock
}

/// A date and time of RFC 3339.
fn is_time(octets: &[u8]) -> bool {
    octets.len() >= 19
        && octets.get(4) == Some(&b'-')
        && octets.get(10) == Some(&b'T')
        && octets.iter().all(|octet| octet.is_ascii_digit() || b"-T:.+Z".contains(octet))
}

/// The name of a TAG, `name:` or `name[process]:`.
fn tag(word: &[u8]) -> Option<&[u8]> {
    let name = word.strip_suffix(b":")?;
    let name = match name.strip_suffix(b"]") {
        Some(name) => &name[..name.iter().position(|octet| *octet == b'[')?],
        None => name,
    };
    (!name.is_empty() && name.len() <= APPLICATION_MAX).then_some(name)
}

fn say_host(host: &[u8], say: &mut Say<'_>) {
    // An address is no name.
    let is_address = std::str::from_utf8(host).is_ok_and(|host| host.parse::<IpAddr>().is_ok());
    if host != b"-" && host.len() <= HOSTNAME_MAX && !is_address {
        say.text(Who::Sender, Field::SyslogHostname, host);
    }
}

fn say_application(application: &[u8], say: &mut Say<'_>) {
    if application != b"-" && application.len() <= APPLICATION_MAX {
        say.text(Who::Sender, Field::SyslogApplication, application);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::trial::Trial;

    const ANY: Trial = Trial::datagram(40000, 40001);

    fn check(text: &str, expect: &[&str]) {
        let expect: Vec<String> = expect.iter().map(|line| format!("02:00:00:00:00:01 10.0.0.1 syslog.{line}")).collect();
        ANY.says(read, text.as_bytes(), &expect.iter().map(String::as_str).collect::<Vec<_>>());
    }

    #[test]
    fn headers_of_both_forms_are_read() {
        check(
            "<165>1 2003-10-11T22:14:15.003Z pump.example evntslog - ID47 - Jane Doe",
            &["hostname pump.example", "application evntslog"],
        );
        check("<34>Oct 11 22:14:15 gw su[230]: failed for jane", &["hostname gw", "application su"]);
        check("<34>Oct  1 22:14:15 gw su: failed for jane", &["hostname gw", "application su"]);
        check("<34>2003-10-11T22:14:15+02:00 gw su: failed", &["hostname gw", "application su"]);
        check("<34>Oct 11 2003 22:14:15 10.0.0.1 su: failed", &["application su"]);
        check("<34>Oct 11 22:14:15 su[230]: failed for jane", &["application su"]);
    }

    #[test]
    fn words_of_the_message_never_pass_for_a_name() {
        check("<34>Oct 11 22:14:15 Patient Doe arrived", &[]);
        check("<34>1 - - - - - Doe", &[]);
        Trial::datagram(40000, PORT).says(read, b"<34>Jane: Doe arrived", &[]);
    }

    #[test]
    fn other_text_is_refused() {
        for text in
            ["<192>1 - a b - - x", "<>Oct 11 22:14:15 a b: c", "<xml>", "<34>hello", "hello", "<1234>Oct 11 22:14:15 a b: c"]
        {
            ANY.refuses(read, text.as_bytes());
        }
    }
}
