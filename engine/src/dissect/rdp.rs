//! RDP (MS-RDPBCGR section 2.2.1, over TPKT, RFC 1006): that a connection request was confirmed, and the TLS behind it, out.
//!
//! The cookie and the routing token of a request name a user: they are passed over (PRIVACY-2).

use super::{
    Conversation, Lead, Opening, Say, Step,
    reader::Reader,
    tls::{self, Tls},
};
use crate::observation::Protocol;

const PORT: u16 = 3389;
const REQUEST: u8 = 0xe0;
const CONFIRM: u8 = 0xd0;
/// TPKT header and the fixed part of a request or confirm.
const FIXED: usize = 11;
/// Type octets of the negotiation that follows: of a request, an answer, a failure; each has eight octets.
const NEGOTIATION: [u8; 3] = [1, 2, 3];

/// Kind of the connection PDU that octets begin with, and what follows its fixed part; `Err`: more must come first.
fn pdu(octets: &[u8]) -> Result<Option<(u8, &[u8])>, ()> {
    let start = [3, 0];
    if octets.iter().zip(start).any(|(a, b)| *a != b) {
        return Ok(None);
    }
    let mut reader = Reader::new(octets);
    let fixed = reader.array::<FIXED>().ok_or(())?;
    let length = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    let is_pdu =
        matches!(fixed[5], REQUEST | CONFIRM) && length >= FIXED && usize::from(fixed[4]) + 5 == length && fixed[10] == 0;
    if !is_pdu {
        return Ok(None);
    }
    reader.take(length - FIXED).map(|rest| Some((fixed[5], rest))).ok_or(())
}

/// Whether an opening is a connection request or confirm of RDP: others use the same PDU, with other parameters.
pub fn open(lead: &Lead<'_>) -> Opening {
    let Ok(pdu) = pdu(lead.octets) else { return lead.more() };
    let Some((_, rest)) = pdu else { return Opening::No };
    let has_negotiation = rest.last_chunk::<8>().is_some_and(|last| NEGOTIATION.contains(&last[0]) && last[2..4] == [8, 0]);
    let is_rdp = has_negotiation || rest.starts_with(b"Cookie: mst") || (rest.is_empty() && lead.is_on(&[PORT]));
    if is_rdp { Opening::Yes(Box::new(Rdp::default())) } else { Opening::No }
}

#[derive(Default)]
struct Rdp {
    /// The direction's connection PDU was read.
    opened: [bool; 2],
    tls: Tls,
}

impl Conversation for Rdp {
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        if self.opened[from & 1] {
            return match tls::begins(octets) {
                Some(false) if !self.tls.has_begun(from) => Step::Enough,
                None if !self.tls.has_begun(from) => Step::Read(0),
                _ => self.tls.read(from, octets, say),
            };
        }
        let Ok(pdu) = pdu(octets) else { return Step::Read(0) };
        let Some((kind, rest)) = pdu else { return Step::Enough };
        self.opened[from & 1] = true;
        if kind == CONFIRM {
            say.serves(from, Protocol::Rdp);
        }
        Step::Read(FIXED + rest.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dissect::talk::{expect, hides, talk},
        observation::Field,
    };

    fn pdu_of(kind: u8, rest: &[u8]) -> Vec<u8> {
        let mut octets = vec![3, 0, 0, (FIXED + rest.len()) as u8, (FIXED + rest.len() - 5) as u8, kind, 0, 0, 0x12, 0x34, 0];
        octets.extend_from_slice(rest);
        octets
    }

    #[test]
    fn a_confirmed_request_is_rdp_and_its_cookie_stays() {
        let request = pdu_of(REQUEST, b"Cookie: mstshash=MUSTERMANN\r\n\x01\x00\x08\x00\x03\x00\x00\x00");
        let confirm = pdu_of(CONFIRM, b"\x02\x00\x08\x00\x01\x00\x00\x00");
        let said = talk([50000, 4000], &[(0, &request), (1, &confirm), (0, b"MUSTERMANN"), (1, b"MUSTERMANN")]);
        expect(&said, &[(1, Field::Serves, "rdp"), (0, Field::Uses, "rdp")]);
        hides(&said, &["MUSTERMANN"]);
        expect(
            &talk([3389, 50000], &[(1, &pdu_of(REQUEST, b"")), (0, &pdu_of(CONFIRM, b""))]),
            &[(0, Field::Serves, "rdp"), (1, Field::Uses, "rdp")],
        );
    }

    #[test]
    fn the_same_pdu_with_other_parameters_is_not_rdp() {
        let request = pdu_of(REQUEST, &[0xc0, 1, 10, 0xc1, 2, 1, 0, 0xc2, 2, 1, 2]);
        let confirm = pdu_of(CONFIRM, &[0xc0, 1, 10, 0xc1, 2, 1, 0, 0xc2, 2, 1, 2]);
        expect(&talk([102, 50000], &[(1, &request), (0, &confirm)]), &[]);
    }
}
