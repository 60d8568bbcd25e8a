//! SMTP (RFC 5321): the greeting out; envelopes, messages and credentials stay unread (PRIVACY-2).

use super::{
    Lead, Opening,
    greeting::{Greeting, line_of, may_begin, names},
};
use crate::observation::{Field, Protocol};

const PORTS: &[u16] = &[25, 587, 2525];

/// Whether an opening is a greeting of SMTP, or a client's.
pub fn open(lead: &Lead<'_>) -> Opening {
    let greeting = |server| Opening::Yes(Box::new(Greeting::new(Protocol::Smtp, Field::SmtpBanner, server)));
    let hello = lead.octets.get(..5).unwrap_or(lead.octets);
    if [b"EHLO ", b"HELO "]
        .iter()
        .any(|start| start.len().min(hello.len()) > 0 && start[..hello.len()].eq_ignore_ascii_case(hello))
    {
        return if hello.len() == 5 { greeting(1 - lead.from) } else { lead.more() };
    }
    if !may_begin(lead.octets) {
        return Opening::No;
    }
    match line_of(lead.octets) {
        Some(line) if names(line, &["SMTP"]) || lead.is_on(PORTS) => greeting(lead.from),
        // The client's hello may tell.
        Some(_) | None => lead.more(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::talk::{expect, hides, talk};

    #[test]
    fn the_greeting_alone_leaves() {
        let said = talk(
            [25, 50025],
            &[
                (0, b"220 mail.example ESMTP Postfix (Debian); Mon, 29 Jul 2019 19:01:46 +0200\r\n"),
                (1, b"EHLO MUSTERMANN\r\n"),
                (0, b"250-mail.example Hello MUSTERMANN\r\n250 AUTH PLAIN\r\n"),
                (1, b"AUTH PLAIN TVVTVEVSTUFOTg==\r\nMAIL FROM:<MUSTERMANN@example>\r\nDATA\r\nSubject: MUSTERMANN\r\n.\r\n"),
                (0, b"220 MUSTERMANN\r\n"),
            ],
        );
        expect(
            &said,
            &[
                (0, Field::SmtpBanner, "mail.example ESMTP Postfix (Debian)"),
                (0, Field::Serves, "smtp"),
                (1, Field::Uses, "smtp"),
            ],
        );
        hides(&said, &["MUSTERMANN", "TVVTVEVSTUFOTg"]);
    }

    #[test]
    fn a_hello_tells_on_any_port() {
        let said = talk([40000, 50025], &[(0, b"220 ready\r\n"), (1, b"ehlo x\r\n"), (0, b"250 x\r\n")]);
        expect(&said, &[(0, Field::SmtpBanner, "ready"), (0, Field::Serves, "smtp"), (1, Field::Uses, "smtp")]);
        expect(&talk([40000, 50025], &[(0, b"220 ready\r\n"), (1, b"HELP x\r\n")]), &[]);
    }
}
