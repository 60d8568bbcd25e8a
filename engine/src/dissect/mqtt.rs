//! MQTT 3.1, 3.1.1 and 5 (OASIS): version and client identifier of a CONNECT packet. User names, passwords, wills, topics and
//! messages are not read: nothing behind the first packet of either end is.

use super::{Conversation, Lead, Opening, Say, Step, Who, reader::Reader};
use crate::observation::{Field, Protocol};

/// Whether an opening is MQTT: a CONNECT packet comes first.
pub fn open(lead: &Lead<'_>) -> Opening {
    match lead.octets.first() {
        Some(0x10) => match connect(lead.octets) {
            Ok(Some(_)) => Opening::Yes(Box::new(Mqtt { client: lead.from })),
            Ok(None) => lead.more(),
            Err(()) => Opening::No,
        },
        _ => Opening::No,
    }
}

struct Mqtt {
    client: usize,
}

impl Conversation for Mqtt {
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        if from != self.client {
            let is_ack = match octets {
                [0x20, 2..=0x7f, 0 | 1, ..] => true,
                [0x20] | [0x20, _] => return Step::Read(0),
                _ => false,
            };
            if is_ack {
                say.serves(from, Protocol::Mqtt);
            }
            return Step::Enough;
        }
        let Ok(connect) = connect(octets) else { return Step::Enough };
        let Some(Connect { version, level, mut rest }) = connect else { return Step::Read(0) };
        let Some(id) = client_id(level, &mut rest) else { return Step::Read(0) };
        say.word(Who::End(from), Field::MqttVersion, version);
        say.text(Who::End(from), Field::MqttClientId, id);
        Step::Enough
    }
}

/// The begin of a CONNECT packet.
struct Connect<'a> {
    version: &'static str,
    level: u8,
    rest: Reader<'a>,
}

/// Fixed and variable header up to the keep-alive; `Ok(None)` while more must come, `Err` when it is another packet.
fn connect(octets: &[u8]) -> Result<Option<Connect<'_>>, ()> {
    let mut reader = Reader::new(octets);
    if reader.u8() != Some(0x10) {
        return Err(());
    }
    let Some(length) = variable(&mut reader)? else { return Ok(None) };
    let name: &[u8] = match reader.rest() {
        [0, 4, ..] => b"\0\x04MQTT",
        [0, 6, ..] => b"\0\x06MQIsdp",
        [] | [0] => return Ok(None),
        _ => return Err(()),
    };
    let begins = reader.rest().iter().zip(name).all(|(octet, expected)| octet == expected);
    if !begins || (length as usize) < name.len() + 6 {
        return Err(());
    }
    let (Some(_), Some(level), Some(flags), Some(_)) = (reader.skip(name.len()), reader.u8(), reader.u8(), reader.u16()) else {
        return Ok(None);
    };
    // Bridges set the highest bit of the level; the lowest bit of the flags is reserved.
    let level = level & 0x7f;
    let version = match (name, level) {
        (b"\0\x06MQIsdp", 3) => "3.1",
        (b"\0\x04MQTT", 4) => "3.1.1",
        (b"\0\x04MQTT", 5) => "5",
        _ => return Err(()),
    };
    if flags & 1 != 0 {
        return Err(());
    }
    Ok(Some(Connect { version, level, rest: reader }))
}

fn client_id<'a>(level: u8, rest: &mut Reader<'a>) -> Option<&'a [u8]> {
    if level == 5 {
        let properties = variable(rest).ok()??;
        rest.skip(properties as usize)?;
    }
    let octets = rest.u16()?;
    rest.take(octets.into())
}

/// An integer of one to four octets, seven bits each (1.5.5); `Ok(None)` while it has not ended.
fn variable(reader: &mut Reader<'_>) -> Result<Option<u32>, ()> {
    let mut number = 0;
    for shift in [0, 7, 14, 21] {
        let Some(octet) = reader.u8() else { return Ok(None) };
        number |= u32::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return Ok(Some(number));
        }
    }
    Err(())
}

#[cfg(test)]
mod tests {
    use super::{super::probe, *};

    fn connect(name: &str, level: u8, properties: &[u8]) -> Vec<u8> {
        let tail = [&[0xc2, 0, 60][..], properties, b"\0\x06pump-7\0\x04jdoe\0\x06secret"].concat();
        let rest = [&[0, name.len() as u8][..], name.as_bytes(), &[level], &tail].concat();
        [&[0x10, rest.len() as u8], &rest[..]].concat()
    }

    #[test]
    fn a_client_gives_version_and_identifier() {
        let all = [("MQTT", 4, &[][..], "3.1.1"), ("MQTT", 5, &[2, 0x21, 0], "5"), ("MQIsdp", 3, &[], "3.1")];
        for (name, level, properties, version) in all {
            let turns = [(0, &connect(name, level, properties)[..]), (1, &[0x20, 2, 0, 0][..]), (0, b"0\x0e\0\x07ward/doe")];
            let expect = [
                (0, Field::MqttVersion, version),
                (0, Field::MqttClientId, "pump-7"),
                (1, Field::Serves, "mqtt"),
                (0, Field::Uses, "mqtt"),
            ];
            probe::holds_when_cut(open, [40000, 1883], &turns, &expect);
        }
    }

    #[test]
    fn other_octets_are_not_mqtt() {
        let publish = b"0\x0e\0\x07ward/doe";
        for other in [
            &publish[..],
            b"\x10\x80\x80\x80\x80\x01",
            b"\x10\x02\0\x04MQTT\x04",
            b"\x10\x20\0\x04MQTX",
            b"\x10\x20\0\x04MQTT\x09\0\0\x3c",
        ] {
            assert!(probe::stream(open, [40000, 1883], &[(0, other)], 2).is_none(), "{other:?}");
        }
    }
}
