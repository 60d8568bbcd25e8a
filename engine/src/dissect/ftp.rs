//! FTP (RFC 959): the greeting out; users, passwords and names of files stay unread (PRIVACY-2).

use super::{
    Lead, Opening,
    greeting::{Greeting, line_of, may_begin, names},
};
use crate::observation::{Field, Protocol};

const PORTS: &[u16] = &[21, 2121];

/// Whether an opening is a greeting of FTP.
pub fn open(lead: &Lead<'_>) -> Opening {
    if !may_begin(lead.octets) {
        return Opening::No;
    }
    match line_of(lead.octets) {
        Some(line) if names(line, &["FTP"]) || lead.is_on(PORTS) => {
            Opening::Yes(Box::new(Greeting::new(Protocol::Ftp, Field::FtpBanner, lead.from)))
        }
        Some(_) => Opening::No,
        None => lead.more(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::talk::{expect, hides, talk};

    #[test]
    fn the_greeting_alone_leaves() {
        let said = talk(
            [50021, 21],
            &[
                (1, b"220-\r\n220-ProFTPD 1.3.8 Server\r\n220 MUSTERMANN\r\n"),
                (0, b"USER MUSTERMANN\r\n"),
                (1, b"331 Password required for MUSTERMANN\r\n"),
                (0, b"PASS MUSTERMANN\r\nSTOR MUSTERMANN.pdf\r\n"),
                (1, b"220 MUSTERMANN\r\n"),
            ],
        );
        expect(&said, &[(1, Field::FtpBanner, "ProFTPD 1.3.8 Server"), (1, Field::Serves, "ftp"), (0, Field::Uses, "ftp")]);
        hides(&said, &["MUSTERMANN"]);
        let elsewhere = talk([40000, 50021], &[(0, b"220 Printer FTP 2.1 ready.\r\n"), (1, b"QUIT\r\n")]);
        expect(
            &elsewhere,
            &[(0, Field::FtpBanner, "Printer FTP 2.1 ready."), (0, Field::Serves, "ftp"), (1, Field::Uses, "ftp")],
        );
    }

    #[test]
    fn other_text_is_not_ftp() {
        expect(&talk([40000, 50021], &[(0, b"220 ready\r\n"), (1, b"2200 x\r\n")]), &[]);
    }
}
