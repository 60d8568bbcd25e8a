//! SSH (RFC 4253 section 4.2): identification lines of both ends in; what they run out.

use super::{Conversation, Lead, Opening, Say, Step, Who};
use crate::observation::{Field, Protocol};

/// Longest identification line (RFC 4253 section 4.2), octets.
const LINE_MAX: usize = 255;
const PORT: u16 = 22;

/// Whether an opening is an identification.
pub fn open(lead: &Lead<'_>) -> Opening {
    let (start, octets) = (b"SSH-", lead.octets);
    if octets.iter().zip(start).any(|(a, b)| a != b) {
        return Opening::No;
    }
    if octets.len() < start.len() {
        return lead.more();
    }
    // Either end may speak first.
    let server = lead.ports.iter().position(|port| *port == PORT).unwrap_or_else(|| lead.likely_server());
    Opening::Yes(Box::new(Ssh { server }))
}

struct Ssh {
    server: usize,
}

impl Conversation for Ssh {
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        let Some(end) = octets.iter().position(|octet| *octet == b'\n') else {
            return if octets.len() > LINE_MAX { Step::Enough } else { Step::Read(0) };
        };
        let line = octets[..end].trim_ascii_end();
        let Some(banner) = line.strip_prefix(b"SSH-") else {
            // A server may say other lines first.
            return if from == self.server && end <= LINE_MAX { Step::Read(end + 1) } else { Step::Enough };
        };
        if let Some(version_end) = banner.iter().position(|octet| *octet == b'-') {
            say.text(Who::End(from), Field::SshBanner, &banner[version_end + 1..]);
            if from == self.server {
                say.serves(from, Protocol::Ssh);
            }
        }
        Step::Enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::talk::{expect, talk};

    #[test]
    fn both_ends_say_what_they_run() {
        let turns: [(usize, &[u8]); 4] = [
            (0, b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
            (1, b"SSH-1.99-Cisco-1.25\n"),
            (0, b"\0\0\x05\xdcMUSTERMANN\n"),
            (1, b"SSH-2.0-MUSTERMANN\n"),
        ];
        let banners = [(0, Field::SshBanner, "OpenSSH_9.2p1 Debian-2"), (1, Field::SshBanner, "Cisco-1.25")];
        expect(&talk([50022, 22], &turns), &[banners[0], banners[1], (1, Field::Serves, "ssh"), (0, Field::Uses, "ssh")]);
        expect(&talk([2222, 50022], &turns), &[banners[0], banners[1], (0, Field::Serves, "ssh"), (1, Field::Uses, "ssh")]);
    }

    #[test]
    fn other_text_is_not_ssh() {
        expect(&talk([22, 50022], &[(0, b"SSX-2.0-x\r\n"), (1, b"S\r\n")]), &[]);
        expect(&talk([22, 50022], &[(0, b"SSH-2.0\r\n"), (1, b"x\r\n")]), &[]);
    }
}
