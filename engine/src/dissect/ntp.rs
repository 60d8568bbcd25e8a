//! NTP (RFC 5905 §7.3): who serves time, and at which stratum.
//!
//! The header says little that other datagrams could not say too, so that one of the ports must be NTP's.

use super::{Packet, Say, Who, reader::Reader};
use crate::observation::{Field, Protocol};

const PORT: u16 = 123;
/// Octets of the header without extension fields.
const HEADER: usize = 48;
const SYMMETRIC_ACTIVE: u8 = 1;
const CLIENT: u8 = 3;
const SERVER: u8 = 4;
const BROADCAST: u8 = 5;
const CONTROL: u8 = 6;
const PRIVATE: u8 = 7;
/// A clock of stratum 16 has no time to give; zero refuses (§7.4).
const STRATUM_MAX: u8 = 15;

/// Reads a datagram.
pub fn read(packet: &Packet<'_>, say: &mut Say<'_>) -> bool {
    packet.is_on(&[PORT]) && message(packet.payload, say).is_some()
}

fn message(octets: &[u8], say: &mut Say<'_>) -> Option<()> {
    let mut reader = Reader::new(octets);
    let (first, stratum) = (reader.u8()?, reader.u8()?);
    let (version, mode) = (first >> 3 & 7, first & 7);
    if !(1..=4).contains(&version) {
        return None;
    }
    match mode {
        SERVER | BROADCAST if octets.len() >= HEADER && stratum <= 16 => {
            if (1..=STRATUM_MAX).contains(&stratum) {
                say.number(Who::Sender, Field::NtpStratum, stratum.into());
            }
            if mode == SERVER {
                say.serves(say.sender(), Protocol::Ntp);
            }
        }
        SYMMETRIC_ACTIVE..=CLIENT if octets.len() >= HEADER && stratum <= 16 => {}
        CONTROL | PRIVATE if octets.len() >= 8 => {}
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::trial::Trial;

    const ANSWER: Trial = Trial::datagram(PORT, 40000);

    fn ntp(first: u8, stratum: u8) -> [u8; HEADER] {
        let mut octets = [7; HEADER];
        octets[..2].copy_from_slice(&[first, stratum]);
        octets
    }

    #[test]
    fn an_answer_tells_who_serves_time() {
        let serves = ["02:00:00:00:00:01 10.0.0.1 link.serves ntp", "02:00:00:00:00:02 10.0.0.2 link.uses ntp"];
        let stratum = "02:00:00:00:00:01 10.0.0.1 ntp.stratum 2";
        ANSWER.says(read, &ntp(0x24, 2), &[stratum, serves[0], serves[1]]);
        ANSWER.says(read, &ntp(0xe4, 0), &serves);
        ANSWER.says(read, &ntp(0x25, 2), &[stratum]);
    }

    #[test]
    fn a_request_says_nothing_of_anyone() {
        Trial::datagram(40000, PORT).says(read, &ntp(0x23, 0), &[]);
    }

    #[test]
    fn what_is_not_ntp_is_refused() {
        Trial::datagram(40000, 40001).refuses(read, &ntp(0x24, 2));
        ANSWER.refuses(read, &ntp(0x24, 17));
        ANSWER.refuses(read, &ntp(0x3c, 2));
        ANSWER.refuses(read, &ntp(0x24, 2)[..47]);
    }
}
