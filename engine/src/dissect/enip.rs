//! EtherNet/IP (CIP volume 2, chapter 2): the identity that a device answers to ListIdentity with. Other commands only show who
//! serves.

use super::{Conversation, Lead, Opening, Packet, Say, Step, Who, reader::Reader};
use crate::observation::{Field, Protocol};

const PORT: u16 = 44818;
const LIST_IDENTITY: u16 = 0x63;
const REGISTER_SESSION: u16 = 0x65;
/// Items of a list that are read.
const ITEMS_MAX: usize = 8;
/// Longest message that is waited for.
const MESSAGE_MAX: u16 = 4 << 10;

/// The encapsulation head.
#[derive(Clone, Copy)]
struct Head {
    command: u16,
    length: u16,
    session: u32,
    status: u32,
}

/// Octets of the head.
const HEAD: usize = 24;

impl Head {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let (command, length, session, status) = (reader.u16_le()?, reader.u16_le()?, reader.u32_le()?, reader.u32_le()?);
        reader.skip(8)?;
        let options = reader.u32_le()?;
        let is_command = matches!(command, 0 | 0x04 | LIST_IDENTITY | 0x64 | REGISTER_SESSION | 0x66 | 0x6f | 0x70);
        // Status codes are below 0x70 (table 2-3.3); options are zero.
        (is_command && options == 0 && status <= 0xff).then_some(Self { command, length, session, status })
    }
}

/// Reads a datagram on the port of EtherNet/IP.
pub fn read(packet: &Packet<'_>, say: &mut Say<'_>) -> bool {
    let mut reader = Reader::new(packet.payload);
    let Some(head) = Head::read(&mut reader).filter(|_| packet.is_on(&[PORT])) else { return false };
    let length = usize::from(head.length);
    if length < reader.len() || (packet.whole && length != reader.len()) {
        return false;
    }
    if packet.source_port == PORT && length > 0 {
        answer(head, &mut reader, say.sender(), say);
    }
    true
}

/// Whether an opening is EtherNet/IP: a message head on its port, or a session registered elsewhere.
pub fn open(lead: &Lead<'_>) -> Opening {
    // The lower octet of every command is below 0x71, the higher one zero.
    if lead.octets.first().is_none_or(|octet| *octet > 0x70) || lead.octets.get(1).is_some_and(|octet| *octet != 0) {
        return Opening::No;
    }
    if lead.octets.len() < HEAD {
        let may_be = lead.is_on(&[PORT]) || lead.octets.iter().zip([0x65, 0, 4, 0]).all(|(octet, start)| *octet == start);
        return if may_be { lead.more() } else { Opening::No };
    }
    let Some(head) = Head::read(&mut Reader::new(lead.octets)) else { return Opening::No };
    let on_port = lead.ports.iter().position(|port| *port == PORT);
    let registers = head.command == REGISTER_SESSION && head.length == 4 && head.status == 0;
    match on_port {
        Some(server) => Opening::Yes(Box::new(Enip { server })),
        None if registers => Opening::Yes(Box::new(Enip { server: if head.session == 0 { 1 - lead.from } else { lead.from } })),
        None => Opening::No,
    }
}

struct Enip {
    server: usize,
}

impl Conversation for Enip {
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        if from != self.server {
            return Step::Enough;
        }
        if octets.len() < HEAD {
            return Step::Read(0);
        }
        let mut reader = Reader::new(octets);
        let Some(head) = Head::read(&mut reader).filter(|head| head.length <= MESSAGE_MAX) else { return Step::Enough };
        let Some(mut content) = reader.part(head.length.into()) else { return Step::Read(0) };
        answer(head, &mut content, from, say);
        Step::Read(HEAD + usize::from(head.length))
    }

    fn gap(&mut self, _from: usize, _octets: u32) -> bool {
        // A segment begins with a message: what does not, ends the conversation.
        true
    }
}

fn answer(head: Head, reader: &mut Reader<'_>, from: usize, say: &mut Say<'_>) {
    say.serves(from, Protocol::Enip);
    if head.command != LIST_IDENTITY || head.status != 0 {
        return;
    }
    let items = reader.u16_le().unwrap_or(0);
    for _ in 0..usize::from(items).min(ITEMS_MAX) {
        let (Some(kind), Some(octets)) = (reader.u16_le(), reader.u16_le()) else { return };
        let Some(mut item) = reader.part(octets.into()) else { return };
        if kind == IDENTITY {
            identity(&mut item, from, say);
        }
    }
}

/// Type of the item that is an identity.
const IDENTITY: u16 = 0x0c;

/// Encapsulation version, socket address, then attributes 1 to 7 of the Identity object (CIP volume 1, section 5-2).
fn identity(item: &mut Reader<'_>, from: usize, say: &mut Say<'_>) -> Option<()> {
    item.skip(2 + 16)?;
    let (vendor, kind, product) = (item.u16_le()?, item.u16_le()?, item.u16_le()?);
    let [major, minor] = item.array()?;
    item.skip(2)?;
    let serial = item.u32_le()?;
    let octets = item.u8()?;
    let name = item.take(octets.into())?;
    let who = Who::End(from);
    say.number(who, Field::EnipVendorId, vendor.into());
    say.number(who, Field::EnipDeviceType, kind.into());
    say.number(who, Field::EnipProductCode, product.into());
    say.text(who, Field::EnipRevision, format!("{major}.{minor}").as_bytes());
    if serial != 0 {
        say.text(who, Field::EnipSerial, format!("{serial:08x}").as_bytes());
    }
    say.label(who, Field::EnipProductName, name);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{super::probe, *};

    fn message(command: u16, session: u8, content: &[u8]) -> Vec<u8> {
        let mut octets = vec![0; HEAD];
        octets[..2].copy_from_slice(&command.to_le_bytes());
        octets[2] = content.len() as u8;
        octets[4] = session;
        octets.extend_from_slice(content);
        octets
    }

    fn identity_item() -> Vec<u8> {
        let attributes =
            [&[1, 0][..], &[0; 16], &[36, 0, 14, 0, 5, 0, 20, 11, 0, 0, 0xef, 0xbe, 0, 0xc0, 5], b"AC-9x", &[3]].concat();
        [&[1, 0, 0x0c, 0, attributes.len() as u8, 0][..], &attributes].concat()
    }

    const SAID: [(usize, Field, &str); 8] = [
        (1, Field::Serves, "enip"),
        (0, Field::Uses, "enip"),
        (1, Field::EnipVendorId, "36"),
        (1, Field::EnipDeviceType, "14"),
        (1, Field::EnipProductCode, "5"),
        (1, Field::EnipRevision, "20.11"),
        (1, Field::EnipSerial, "c000beef"),
        (1, Field::EnipProductName, "AC-9x"),
    ];

    #[test]
    fn an_identity_is_read_from_datagram_and_stream() {
        let answer = message(LIST_IDENTITY, 0, &identity_item());
        probe::says(read, 1, [40000, PORT], &answer, &SAID);
        probe::holds_when_cut(open, [40000, PORT], &[(0, &message(LIST_IDENTITY, 0, &[])), (1, &answer)], &SAID);
        assert_eq!(probe::datagram(read, 0, [40000, PORT], &message(LIST_IDENTITY, 0, &[]), true), Some(Vec::new()));
    }

    #[test]
    fn a_registered_session_tells_the_server_on_any_port() {
        let turns =
            [(0, &message(REGISTER_SESSION, 0, &[1, 0, 0, 0])[..]), (1, &message(REGISTER_SESSION, 7, &[1, 0, 0, 0])[..])];
        probe::holds_when_cut(open, [40000, 50000], &turns, &SAID[..2]);
    }

    #[test]
    fn other_octets_are_not_enip() {
        for other in [&message(0x63, 0, &[1, 2])[..HEAD + 1], &[0x99; 30], &[0x63], &message(0x71, 0, &[])] {
            assert!(probe::datagram(read, 1, [40000, PORT], other, true).is_none());
        }
        assert!(probe::stream(open, [40000, PORT], &[(0, b"GET / HTTP/1.1\r\nHost: somebody\r\n\r\n")], 5).is_none());
    }
}
