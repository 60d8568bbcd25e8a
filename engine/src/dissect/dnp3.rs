//! DNP3 (IEEE 1815) over TCP and UDP: which end is the outstation. Nothing behind the link head is read.

use super::{Conversation, Lead, Opening, Packet, Say, Step};
use crate::observation::Protocol;

/// Octets of the link head, its check included.
const HEAD: usize = 10;
const START: [u8; 2] = [0x05, 0x64];
/// The frame was sent by a master.
const FROM_MASTER: u8 = 0x80;

/// Reads a datagram.
pub fn read(packet: &Packet<'_>, say: &mut Say<'_>) -> bool {
    let Some(control) = head(packet.payload) else { return false };
    if control & FROM_MASTER == 0 {
        say.serves(say.sender(), Protocol::Dnp3);
    }
    true
}

/// Whether an opening is DNP3: a link head with a right check.
pub fn open(lead: &Lead<'_>) -> Opening {
    if !lead.octets.iter().zip(START).all(|(octet, start)| *octet == start) {
        return Opening::No;
    }
    match head(lead.octets) {
        Some(control) => {
            Opening::Yes(Box::new(Dnp3 { outstation: if control & FROM_MASTER == 0 { lead.from } else { 1 - lead.from } }))
        }
        None if lead.octets.len() < HEAD => lead.more(),
        None => Opening::No,
    }
}

/// The control octet of a link head whose check is right.
fn head(octets: &[u8]) -> Option<u8> {
    let head = octets.first_chunk::<HEAD>()?;
    let [start_0, start_1, length, control, .., check_low, check_high] = *head;
    let is_head = [start_0, start_1] == START
        && length >= 5
        && check(head.first_chunk::<8>()?) == u16::from_le_bytes([check_low, check_high]);
    is_head.then_some(control)
}

/// The cyclic check of clause 9.2.5: polynomial 0x3D65, reflected, inverted.
fn check(octets: &[u8; 8]) -> u16 {
    !octets.iter().fold(0_u16, |check, octet| {
        (0..8).fold(check ^ u16::from(*octet), |check, _| if check & 1 == 1 { check >> 1 ^ 0xa6bc } else { check >> 1 })
    })
}

struct Dnp3 {
    outstation: usize,
}

impl Conversation for Dnp3 {
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        if from == self.outstation {
            if octets.len() < HEAD {
                return Step::Read(0);
            }
            if head(octets).is_some() {
                say.serves(from, Protocol::Dnp3);
            }
        }
        Step::Enough
    }
}

#[cfg(test)]
mod tests {
    use super::{super::probe, *};
    use crate::observation::Field;

    fn frame(control: u8) -> Vec<u8> {
        let head = [0x05, 0x64, 5, control, 1, 0, 2, 0];
        [&head[..], &check(&head).to_le_bytes()].concat()
    }

    #[test]
    fn the_outstation_is_told_by_the_direction_bit() {
        // A link reset of station 1 by master 1024.
        assert_eq!(check(&[0x05, 0x64, 0x05, 0xc0, 0x01, 0x00, 0x00, 0x04]), u16::from_le_bytes([0xe9, 0x21]));
        let expect = [(1, Field::Serves, "dnp3"), (0, Field::Uses, "dnp3")];
        probe::says(read, 1, [40000, 20000], &frame(0x44), &expect);
        probe::says(read, 0, [40000, 20000], &frame(0xc4), &[]);
        probe::holds_when_cut(open, [40000, 20000], &[(0, &frame(0xc4)), (1, &frame(0x44))], &expect);
    }

    #[test]
    fn a_wrong_check_is_another_protocol() {
        let mut wrong = frame(0x44);
        wrong[9] ^= 1;
        assert!(probe::datagram(read, 1, [40000, 20000], &wrong, true).is_none());
        assert!(probe::stream(open, [40000, 20000], &[(1, &wrong)], 4).is_none());
    }
}
