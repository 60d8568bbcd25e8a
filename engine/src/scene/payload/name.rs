//! Names: DNS messages (RFC 1035, also for mDNS and LLMNR) and NetBIOS names (RFC 1002).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Put;

/// Record types.
pub(in super::super) mod kind {
    pub(in super::super::super) const A: u16 = 1;
    pub(in super::super::super) const PTR: u16 = 12;
    pub(in super::super::super) const TXT: u16 = 16;
    pub(in super::super::super) const AAAA: u16 = 28;
    pub(in super::super::super) const SRV: u16 = 33;
}

/// A resource record.
pub(in super::super) struct Record {
    owner: String,
    kind: u16,
    octets: Vec<u8>,
}

impl Record {
    pub(in super::super) fn a(owner: &str, ip: Ipv4Addr) -> Self {
        Self { owner: owner.into(), kind: kind::A, octets: ip.octets().to_vec() }
    }
    pub(in super::super) fn aaaa(owner: &str, ip: Ipv6Addr) -> Self {
        Self { owner: owner.into(), kind: kind::AAAA, octets: ip.octets().to_vec() }
    }
    pub(in super::super) fn ptr(owner: &str, target: &str) -> Self {
        Self { owner: owner.into(), kind: kind::PTR, octets: name(target) }
    }
    pub(in super::super) fn srv(owner: &str, port: u16, target: &str) -> Self {
        let mut octets = Vec::new();
        octets.u16(0).u16(100).u16(port).all(name(target));
        Self { owner: owner.into(), kind: kind::SRV, octets }
    }
    pub(in super::super) fn txt(owner: &str, texts: &[String]) -> Self {
        let octets = texts.iter().flat_map(|text| [&[text.len() as u8], text.as_bytes()].concat()).collect();
        Self { owner: owner.into(), kind: kind::TXT, octets }
    }
}

fn name(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in text.split('.') {
        out.u8(label.len() as u8).all(label);
    }
    out.u8(0);
    out
}

fn question(text: &str, kind: u16) -> Vec<u8> {
    let mut out = name(text);
    out.u16(kind).u16(1);
    out
}

/// A message: identifier, flags, an optional question, answers.
pub(in super::super) fn message(id: u16, flags: u16, asked: Option<(&str, u16)>, answers: &[Record]) -> Vec<u8> {
    let mut out = Vec::new();
    out.u16(id).u16(flags).u16(u16::from(asked.is_some())).u16(answers.len() as u16).u16(0).u16(0);
    if let Some((text, kind)) = asked {
        out.all(question(text, kind));
    }
    for record in answers {
        out.all(name(&record.owner)).u16(record.kind).u16(1).u32(300).all(super::with_u16(&record.octets));
    }
    out
}

/// A recursive query.
pub(in super::super) fn query(id: u16, text: &str, kind: u16) -> Vec<u8> {
    message(id, 0x0100, Some((text, kind)), &[])
}

/// The answer to a recursive query; no records mean that the name does not exist.
pub(in super::super) fn answer(id: u16, text: &str, kind: u16, records: &[Record]) -> Vec<u8> {
    message(id, if records.is_empty() { 0x8183 } else { 0x8180 }, Some((text, kind)), records)
}

fn netbios(host: &str, suffix: u8) -> Vec<u8> {
    let mut plain = [b' '; 16];
    plain.iter_mut().zip(host.to_ascii_uppercase().bytes().take(15)).for_each(|(to, from)| *to = from);
    plain[15] = suffix;
    let mut out = vec![32];
    for octet in plain {
        out.all([b'A' + (octet >> 4), b'A' + (octet & 15)]);
    }
    out.u8(0);
    out
}

/// A broadcast NetBIOS name query.
pub(in super::super) fn netbios_query(id: u16, host: &str) -> Vec<u8> {
    let mut out = Vec::new();
    out.u16(id).u16(0x0110).u16(1).u16(0).u16(0).u16(0).all(netbios(host, 0)).u16(0x20).u16(1);
    out
}

/// A broadcast NetBIOS name registration.
pub(in super::super) fn netbios_registration(id: u16, host: &str, ip: Ipv4Addr) -> Vec<u8> {
    let mut out = Vec::new();
    out.u16(id).u16(0x2910).u16(1).u16(0).u16(0).u16(1).all(netbios(host, 0)).u16(0x20).u16(1);
    out.all([0xc0, 0x0c]).u16(0x20).u16(1).u32(300_000).u16(6).u16(0).all(ip.octets());
    out
}
