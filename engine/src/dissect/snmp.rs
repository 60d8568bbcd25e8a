//! SNMP v1, v2c and v3 (RFC 1157, 1901, 3412, 3414, 3416): what an agent's answers and notifications say of it.
//!
//! A value is chosen by the object identifier that it is bound to: system group (RFC 3418), ENTITY-MIB (RFC 6933), Printer-MIB
//! (RFC 3805), Host Resources (RFC 2790) and UPS-MIB (RFC 1628). Community strings, user names and context names are stepped
//! over.

use std::net::{IpAddr, Ipv4Addr};

use super::{
    Packet, Say, Who,
    ber::{Ber, INTEGER, OCTETS, OID, Oid, SEQUENCE},
    reader,
};
use crate::observation::{Field, Protocol};

/// Bindings of a message that are read.
const BINDINGS_MAX: usize = 128;
/// Indices under which agents keep the whole of a device in entPhysicalTable; others are its parts.
const CHASSIS: &[u32] = &[1, 149, 1000, 1001];

const RESPONSE: u8 = 0xa2;
const TRAP_1: u8 = 0xa4;
const INFORM: u8 = 0xa6;
const TRAP_2: u8 = 0xa7;
const REPORT: u8 = 0xa8;

/// snmpTrapOID.0 and snmpTrapEnterprise.0 (RFC 3418).
const TRAP_OIDS: [&[u32]; 2] = [&[1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0], &[1, 3, 6, 1, 6, 3, 1, 1, 4, 3, 0]];

/// Reads a datagram.
pub fn read(packet: &Packet<'_>, say: &mut Say<'_>) -> bool {
    message(packet, say).is_some()
}

fn message(packet: &Packet<'_>, say: &mut Say<'_>) -> Option<()> {
    let mut message = Ber::new(packet.payload, packet.whole).inside(SEQUENCE)?;
    let version = match message.number()? {
        0 => "1",
        1 => "2c",
        3 => return message_3(message, packet, say),
        _ => return None,
    };
    message.content(OCTETS)?;
    let tag = message.tag().filter(|tag| (0xa0..=REPORT).contains(tag))?;
    let mut pdu = message.inside(tag)?;
    if matches!(tag, RESPONSE | TRAP_1 | INFORM | TRAP_2 | REPORT) {
        say.word(Who::Sender, Field::SnmpVersion, version);
    }
    body(tag, &mut pdu, say);
    Some(())
}

/// The rest of a message of version 3: header, security parameters, and a scoped PDU unless that is encrypted.
fn message_3(mut message: Ber<'_>, packet: &Packet<'_>, say: &mut Say<'_>) -> Option<()> {
    let mut header = message.inside(SEQUENCE)?;
    header.number()?;
    header.number()?;
    let [flags] = *header.content(OCTETS)? else { return None };
    let model = header.number()?;
    let security = message.content(OCTETS)?;
    let engine = if model == USM { Ber::new(security, true).inside(SEQUENCE)?.content(OCTETS)? } else { &[] };
    let clear = message.inside(SEQUENCE).and_then(|mut scoped| {
        scoped.content(OCTETS)?;
        scoped.content(OCTETS)?;
        let tag = scoped.tag()?;
        Some((tag, scoped.inside(tag)?))
    });
    // Answers, reports and traps need no report; whoever sends them is the authoritative engine (RFC 3412 section 6.4).
    let by_agent = match clear {
        Some((tag, _)) => matches!(tag, RESPONSE | TRAP_2 | REPORT),
        None => flags & REPORTABLE == 0,
    };
    if by_agent {
        say.word(Who::Sender, Field::SnmpVersion, "3");
        engine_id(engine, say);
    }
    match clear {
        Some((tag, mut pdu)) => body(tag, &mut pdu, say),
        None if by_agent && packet.source_port == 161 => say.serves(say.sender(), Protocol::Snmp),
        None => {}
    }
    Some(())
}

/// User-based security model (RFC 3414).
const USM: u32 = 3;
/// Bit of the flags of version 3: a report may be sent if the message fails.
const REPORTABLE: u8 = 4;

fn engine_id(engine: &[u8], say: &mut Say<'_>) {
    // RFC 3411 SnmpEngineID: 5 to 32 octets, the first four the enterprise number; their highest bit tells the form.
    let Some((number, _)) = engine.split_first_chunk::<4>().filter(|_| (5..=32).contains(&engine.len())) else { return };
    say.text(Who::Sender, Field::SnmpEngineId, reader::hex(engine).as_bytes());
    enterprise(u32::from_be_bytes(*number) & 0x7fff_ffff, Who::Sender, say);
}

fn enterprise(number: u32, who: Who, say: &mut Say<'_>) {
    if number != 0 {
        say.number(who, Field::SnmpEnterprise, number.into());
    }
}

fn body(tag: u8, pdu: &mut Ber<'_>, say: &mut Say<'_>) {
    let mut who = Who::Sender;
    match tag {
        TRAP_1 => {
            let Some(from) = trap_1(pdu, say) else { return };
            who = from;
        }
        RESPONSE | INFORM | TRAP_2 | REPORT => {
            if [INTEGER; 3].into_iter().any(|tag| pdu.content(tag).is_none()) {
                return;
            }
            if matches!(tag, RESPONSE | REPORT) {
                say.serves(say.sender(), Protocol::Snmp);
            }
        }
        _ => return,
    }
    let Some(mut bindings) = pdu.inside(SEQUENCE) else { return };
    for _ in 0..BINDINGS_MAX {
        let Some(mut binding) = bindings.inside(SEQUENCE) else { break };
        let Some(name) = binding.content(OID).and_then(Oid::read) else { continue };
        let Some((tag, value)) = binding.element() else { break };
        bound(name.arcs(), tag, value, who, say);
    }
}

/// A trap of version 1 up to its bindings: whom it is about.
fn trap_1(pdu: &mut Ber<'_>, say: &mut Say<'_>) -> Option<Who> {
    let kind = Oid::read(pdu.content(OID)?)?;
    let agent: [u8; 4] = pdu.content(IP_ADDRESS)?.try_into().ok()?;
    pdu.content(INTEGER)?;
    pdu.content(INTEGER)?;
    pdu.content(TIME_TICKS)?;
    let agent = IpAddr::V4(Ipv4Addr::from(agent));
    // Traps that somebody passes on are about the agent they name.
    let is_own = agent.is_unspecified() || say.ip(say.sender()) == Some(agent);
    let who = if is_own { Who::Sender } else { Who::Ip(agent) };
    if let Some(number) = kind.enterprise() {
        enterprise(number, who, say);
    }
    Some(who)
}

const IP_ADDRESS: u8 = 0x40;
const TIME_TICKS: u8 = 0x43;

fn bound(name: &[u32], tag: u8, value: &[u8], who: Who, say: &mut Say<'_>) {
    if tag == OID {
        let Some(value) = Oid::read(value) else { return };
        if name == [1, 3, 6, 1, 2, 1, 1, 2, 0] {
            say.text(who, Field::SnmpSysObjectId, value.text().as_bytes());
        } else if TRAP_OIDS.contains(&name)
            && let Some(number) = value.enterprise()
        {
            enterprise(number, who, say);
        }
        return;
    }
    // Agents that have nothing to say fill in a dash.
    if tag != OCTETS || !value.iter().any(u8::is_ascii_alphanumeric) {
        return;
    }
    let Some(field) = field_of(name) else { return };
    if matches!(field, Field::SnmpSysName | Field::SnmpSerial) {
        say.text(who, field, value);
    } else {
        say.label(who, field, value);
    }
}

/// What the text of an object says, by the standard's tree (MIB-2) or a maker's.
fn field_of(name: &[u32]) -> Option<Field> {
    if let Some(maker) = name.strip_prefix(&[1, 3, 6, 1, 4, 1]) {
        // PowerNet-MIB, XUPS-MIB, JUNIPER-MIB: where their makers' devices keep what the Entity MIB would.
        return match *maker {
            [318, 1, 1, 1, 1, 2, 3, 0] | [705, 1, 1, 7, 0] | [2636, 3, 1, 3, 0] => Some(Field::SnmpSerial),
            [318, 1, 1, 1, 1, 1, 1, 0] | [534, 1, 1, 2, 0] | [2636, 3, 1, 2, 0] => Some(Field::SnmpModel),
            [318, 1, 1, 1, 1, 2, 1, 0] | [534, 1, 1, 3, 0] => Some(Field::SnmpSoftware),
            [534, 1, 1, 1, 0] => Some(Field::SnmpManufacturer),
            _ => None,
        };
    }
    let mib = name.strip_prefix(&[1, 3, 6, 1, 2, 1])?;
    Some(match *mib {
        [1, 1, 0] => Field::SnmpSysDescr,
        [1, 5, 0] => Field::SnmpSysName,
        [1, 6, 0] => Field::SnmpSysLocation,
        [47, 1, 1, 1, 1, column, part] if CHASSIS.contains(&part) => match column {
            9 | 10 => Field::SnmpSoftware,
            11 => Field::SnmpSerial,
            12 => Field::SnmpManufacturer,
            13 => Field::SnmpModel,
            _ => return None,
        },
        [43, 5, 1, 1, 17, 1] => Field::SnmpSerial,
        // Other indices are processors, disks and interfaces.
        [25, 3, 2, 1, 3, 1] => Field::SnmpModel,
        [33, 1, 1, 1, 0] => Field::SnmpManufacturer,
        [33, 1, 1, 2, 0] => Field::SnmpModel,
        [33, 1, 1, 3 | 4, 0] => Field::SnmpSoftware,
        _ => return None,
    })
}

#[cfg(test)]
#[path = "snmp_tests.rs"]
mod tests;
