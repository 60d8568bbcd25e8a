//! Skinny (SCCP) over TCP, port 2000: the device name of a phone that registers, and who serves it. Calls are not read.

use super::{Conversation, Lead, Opening, Say, Step, Who, reader::Reader};
use crate::observation::{Field, Protocol};

const PORT: u16 = 2000;
const REGISTER: u32 = 1;
/// Octets of length, version and message id.
const HEAD: usize = 12;

/// Whether an opening is Skinny.
pub fn open(lead: &Lead<'_>) -> Opening {
    let Some(server) = lead.ports.iter().position(|port| *port == PORT) else { return Opening::No };
    match head(lead.octets) {
        Some(_) => Opening::Yes(Box::new(Skinny { server })),
        None if lead.octets.len() < HEAD && lead.octets.get(2..).unwrap_or_default().iter().take(2).all(|octet| *octet == 0) => {
            lead.more()
        }
        None => Opening::No,
    }
}

/// Length behind the version, and message id.
fn head(octets: &[u8]) -> Option<(usize, u32)> {
    let mut reader = Reader::new(octets);
    let (length, version, message) = (reader.u32_le()?, reader.u32_le()?, reader.u32_le()?);
    // The version is zero, or that of the protocol in phones since release 8.
    let is_head = (4..=4096).contains(&length) && (version == 0 || (10..=32).contains(&version)) && message <= 0x200;
    is_head.then_some((length as usize, message))
}

struct Skinny {
    server: usize,
}

impl Conversation for Skinny {
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        if octets.len() < HEAD {
            return Step::Read(0);
        }
        let Some((length, message)) = head(octets) else { return Step::Enough };
        if from == self.server {
            say.serves(from, Protocol::Skinny);
            return Step::Enough;
        }
        let Some(body) = octets.get(HEAD..length + 8) else { return Step::Read(0) };
        if message == REGISTER {
            let name = body.first_chunk::<16>().and_then(|name| Reader::new(name).until(0));
            if let Some(name) = name {
                say.text(Who::End(from), Field::SkinnyDevice, name);
            }
            return Step::Enough;
        }
        Step::Read(length + 8)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::probe, *};

    fn message(id: u8, body: &[u8]) -> Vec<u8> {
        [&[body.len() as u8 + 4, 0, 0, 0, 0, 0, 0, 0, id, 0, 0, 0], body].concat()
    }

    #[test]
    fn a_phone_registers() {
        let ask = [message(0, &[]), message(1, b"SEP001122334455\0\0\0\0\0")].concat();
        let expect = [(0, Field::SkinnyDevice, "SEP001122334455"), (1, Field::Serves, "skinny"), (0, Field::Uses, "skinny")];
        probe::holds_when_cut(open, [40000, PORT], &[(0, &ask), (1, &message(0x81, &[1, 2]))], &expect);
        for other in [&b"GET / HTTP/1.1\r\n"[..], &[4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], &[0; 12]] {
            assert!(probe::stream(open, [40000, PORT], &[(0, other)], 5).is_none(), "{other:?}");
        }
    }
}
