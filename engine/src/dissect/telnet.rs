//! Telnet (RFC 854, 855): the first line that a server greets with out; commands are left out, and with the first octet
//! that a client types nothing more is read (PRIVACY-2).

use zeroize::Zeroizing;

use super::{Conversation, Lead, Opening, Say, Step, Who, reader::Reader};
use crate::observation::{Field, Grammar, Protocol};

const PORTS: &[u16] = &[23, 2323];
/// Interpret as command; what is behind it is one of 240 to 254, or 255 itself.
const IAC: u8 = 255;
const SUBNEGOTIATION: u8 = 250;
const END_OF_IT: u8 = 240;
const ESCAPE: u8 = 0x1b;
/// Options on any port: those that are registered up to this one.
const OPTION_MAX: u8 = 49;
/// Longest subnegotiation that is waited for, octets.
const SUBNEGOTIATION_MAX: usize = 512;

/// Whether an opening is a negotiation of options, or text of a server on Telnet's port.
pub fn open(lead: &Lead<'_>) -> Opening {
    let server = lead.ports.iter().position(|port| PORTS.contains(port)).unwrap_or_else(|| lead.likely_server());
    let is_telnet = match lead.octets {
        [IAC, SUBNEGOTIATION..=254, ..] if lead.is_on(PORTS) => true,
        [IAC, 251..=254, option, ..] => *option <= OPTION_MAX,
        [] | [IAC] | [IAC, 251..=254] => return lead.more(),
        [first, ..] => lead.from == server && lead.is_on(PORTS) && is_text(*first),
    };
    if is_telnet { Opening::Yes(Box::new(Telnet { server, line: Zeroizing::default(), is_over: false })) } else { Opening::No }
}

struct Telnet {
    server: usize,
    line: Zeroizing<Vec<u8>>,
    /// The line was said, or the client has typed something.
    is_over: bool,
}

impl Conversation for Telnet {
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        if self.is_over {
            return Step::Enough;
        }
        match octets {
            [IAC | ESCAPE, ..] => match command(octets) {
                Some(length) => Step::Read(length),
                None if octets.len() > SUBNEGOTIATION_MAX => Step::Enough,
                None => Step::Read(0),
            },
            // What is not text is not a banner.
            [first, ..] if from == self.server && !is_text(*first) => {
                self.is_over = true;
                Step::Enough
            }
            [first, ..] if from == self.server => {
                if matches!(first, b'\r' | b'\n') {
                    self.end(say);
                } else if first.is_ascii_graphic() || (*first == b' ' && !self.line.is_empty()) {
                    self.push(*first);
                }
                Step::Read(1)
            }
            _ => {
                self.end(say);
                self.is_over = true;
                Step::Enough
            }
        }
    }

    fn gap(&mut self, _from: usize, _octets: u32) -> bool {
        // A client may have typed something in it.
        self.is_over = true;
        false
    }
}

impl Telnet {
    fn push(&mut self, octet: u8) {
        if self.line.capacity() == 0 {
            self.line.reserve_exact(Grammar::Label.octets_max());
        }
        if self.line.len() < Grammar::Label.octets_max() {
            self.line.push(octet);
        }
    }

    /// Says the line, if there is something to read in it.
    fn end(&mut self, say: &mut Say<'_>) {
        if self.line.iter().any(u8::is_ascii_alphanumeric) {
            say.serves(self.server, Protocol::Telnet);
            say.text(Who::End(self.server), Field::TelnetBanner, &self.line);
            self.is_over = true;
        }
        self.line.clear();
    }
}

/// An octet of a text: printable, or a NUL, BEL, BS or blank of the terminal's (RFC 854).
const fn is_text(octet: u8) -> bool {
    matches!(octet, 0x20..0x7f | 0 | 7..=13)
}

/// Octets of the command or terminal sequence (ECMA-48 section 5.4) that comes first; `None`: it has not ended.
fn command(octets: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(octets);
    if reader.u8()? == ESCAPE {
        if reader.u8()? != b'[' {
            return Some(2);
        }
        let end = reader.rest().iter().position(|octet| (0x40..0x7f).contains(octet))?;
        return Some(end + 3);
    }
    match reader.u8()? {
        SUBNEGOTIATION => {
            let end = reader.rest().windows(2).position(|window| window == [IAC, END_OF_IT])?;
            Some(end + 4)
        }
        251..=254 => reader.u8().map(|_| 3),
        _ => Some(2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::talk::{expect, hides, talk};

    #[test]
    fn the_first_line_before_the_client_types_leaves() {
        let said = talk(
            [50023, 23],
            &[
                (1, b"\xff\xfd\x18\xff\xfd\x20"),
                (0, b"\xff\xfb\x18\xff\xfa\x18\x00MUSTERMANN\xff\xf0"),
                (1, b"\xff\xfb\x03\x1b[2J\r\n\r\n *** \r\n  ACME Switch\xff\xf1 5\r\nlogin: "),
                (0, b"MUSTERMANN\r\n"),
                (1, b"MUSTERMANN\r\nWelcome MUSTERMANN\r\n"),
            ],
        );
        expect(&said, &[(1, Field::TelnetBanner, "ACME Switch 5"), (1, Field::Serves, "telnet"), (0, Field::Uses, "telnet")]);
        hides(&said, &["MUSTERMANN"]);
    }

    #[test]
    fn a_prompt_is_a_line_when_the_client_types_and_nothing_is_after_it() {
        let said = talk([23, 50023], &[(0, b"vxWorks login: "), (1, b"MUSTERMANN\r\n"), (0, b"MUSTERMANN\r\n")]);
        expect(&said, &[(0, Field::TelnetBanner, "vxWorks login:"), (0, Field::Serves, "telnet"), (1, Field::Uses, "telnet")]);
        let said = talk([23, 50023], &[(0, b"\r\n"), (1, b"MUSTERMANN\r\n"), (0, b"Hello MUSTERMANN\r\n")]);
        expect(&said, &[]);
    }

    #[test]
    fn other_octets_are_not_telnet() {
        expect(&talk([4000, 50023], &[(0, b"login\r\n"), (1, b"\xff\x00x\r\n")]), &[]);
        expect(&talk([4000, 50023], &[(0, b"\xff\xfb\x99x\r\n")]), &[]);
        expect(&talk([23, 50023], &[(0, b"ab\xc3\x28x\r\nMUSTERMANN\r\n")]), &[]);
        expect(&talk([23, 50023], &[(1, b"text of a client\r\n"), (0, b"\x00\x01\r\n")]), &[]);
    }
}
