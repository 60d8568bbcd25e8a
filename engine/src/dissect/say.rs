//! What dissectors speak into: each word checked against its field's grammar, then an observation.

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use auscult_ebpf::record::{DELTA_HAS_MACS, FORM_ETHERNET, FORM_IPV4, FORM_IPV6, FlowKey, SampleHead};

use crate::{
    flow::Mac,
    observation::{Field, Grammar, Observation, Protocol, Subject, Value},
};

/// Which end of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Who sent the packet.
    Sender,
    /// To whom it went. Nobody, when that is a group.
    Receiver,
    /// The end of the flow key with that number (0: low, 1: high). What a conversation holds on to.
    End(usize),
    /// Whoever has that IP address.
    Ip(IpAddr),
    /// Whoever has that MAC, says the message itself.
    Mac(Mac),
    /// The device of that MAC that has, or gets, that IP address.
    Both(Mac, IpAddr),
}

/// One end of the packet at hand.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    ip: Option<IpAddr>,
    mac: Option<Mac>,
    port: u16,
}

/// Where observations go, and what is known of the packet they come from.
pub struct Say<'a> {
    at: u64,
    key: FlowKey,
    point: u32,
    vlan: Option<u16>,
    ttl: u8,
    /// Low and high end of the key.
    ends: [End; 2],
    /// The end that sent the packet.
    sender: usize,
    salt: &'a RandomState,
    out: &'a mut Vec<Observation>,
}

impl<'a> Say<'a> {
    /// For one packet. `salt` hashes identifiers that must not be known.
    pub fn new(head: &SampleHead, salt: &'a RandomState, out: &'a mut Vec<Observation>) -> Self {
        let sender = usize::from(head.header.packets[0] & 1);
        let mut ends = [0, 1].map(|end| End { ip: ip_of(&head.key, end), mac: None, port: head.key.port[end] });
        if head.flags & DELTA_HAS_MACS != 0 {
            ends[sender].mac = own(Mac(head.link.source));
            ends[1 - sender].mac = own(Mac(head.link.target));
        }
        let vlan = Some(head.link.tags[0] & 0xfff).filter(|vlan| *vlan != 0);
        Self { at: head.at, key: head.key, point: head.observation_point, vlan, ttl: head.ttl, ends, sender, salt, out }
    }

    /// The end (0: low, 1: high) that sent the packet.
    pub const fn sender(&self) -> usize {
        self.sender
    }

    /// Port of an end.
    pub const fn port(&self, end: usize) -> u16 {
        self.ends[end & 1].port
    }

    /// IP address of an end.
    pub const fn ip(&self, end: usize) -> Option<IpAddr> {
        self.ends[end & 1].ip
    }

    /// TTL or hop limit of the packet.
    pub const fn ttl(&self) -> u8 {
        self.ttl
    }

    /// MAC of the frame's sender.
    pub const fn sender_mac(&self) -> Option<Mac> {
        self.ends[self.sender].mac
    }

    /// Says a text, if it fits the field's grammar; whether it did.
    pub fn text(&mut self, who: Who, field: Field, octets: &[u8]) -> bool {
        let Some(text) = field.grammar().check(octets) else { return false };
        self.value(who, field, Value::Text(text.into()));
        true
    }

    /// Says the first so many octets of a label, as far as it is printable: for descriptions that may be long.
    pub fn label(&mut self, who: Who, field: Field, octets: &[u8]) -> bool {
        let printable = octets.iter().position(|octet| !(0x20..0x7f).contains(octet)).unwrap_or(octets.len());
        self.text(who, field, &octets[..printable.min(Grammar::Label.octets_max())])
    }

    /// Says a word of a closed set.
    pub fn word(&mut self, who: Who, field: Field, word: &'static str) {
        debug_assert_eq!(field.grammar(), Grammar::Word);
        self.value(who, field, Value::Word(word));
    }

    /// Says a number.
    pub fn number(&mut self, who: Who, field: Field, number: u64) {
        debug_assert_eq!(field.grammar(), Grammar::Number);
        self.value(who, field, Value::Number(number));
    }

    /// Says an address.
    pub fn address(&mut self, who: Who, field: Field, ip: IpAddr) {
        debug_assert_eq!(field.grammar(), Grammar::Address);
        self.value(who, field, Value::Ip(ip));
    }

    /// Says that there was an identifier, and not which: its salted hash.
    pub fn hashed(&mut self, who: Who, field: Field, identifier: &[u8]) {
        debug_assert_eq!(field.grammar(), Grammar::Hash);
        self.value(who, field, Value::Hash(self.salt.hash_one(identifier)));
    }

    /// Says that the end `server` serves a protocol to the other one.
    pub fn serves(&mut self, server: usize, protocol: Protocol) {
        self.word(Who::End(server), Field::Serves, protocol.name());
        self.word(Who::End(1 - (server & 1)), Field::Uses, protocol.name());
    }

    fn value(&mut self, who: Who, field: Field, value: Value) {
        let Some((subject, peer)) = self.subject(who) else { return };
        let Self { at, key, point, .. } = *self;
        self.out.push(Observation { at, subject, peer, field, value, key, point });
    }

    fn subject(&self, who: Who) -> Option<(Subject, Option<IpAddr>)> {
        let vlan = self.vlan;
        let end = match who {
            Who::Sender => self.sender,
            Who::Receiver => 1 - self.sender,
            Who::End(end) => end & 1,
            Who::Ip(ip) => return ip_own(ip).map(|ip| (Subject { ip: Some(ip), vlan, ..Subject::default() }, None)),
            Who::Mac(mac) => {
                return own(mac).map(|mac| (Subject { mac: Some(mac), vlan, own_mac: true, ..Subject::default() }, None));
            }
            Who::Both(mac, ip) => {
                let mac = own(mac)?;
                return Some((Subject { mac: Some(mac), ip: ip_own(ip), vlan, ttl: None, own_mac: true }, None));
            }
        };
        let End { ip, mac, .. } = self.ends[end];
        let ip = ip.and_then(ip_own);
        if ip.is_none() && mac.is_none() {
            return None;
        }
        // A group has no device behind it; the frame may have gone to a group's MAC though the address is one host's.
        if self.ends[end].ip.is_some() && ip.is_none() && end != self.sender {
            return None;
        }
        let ttl = (end == self.sender && self.ends[end].ip.is_some()).then_some(self.ttl);
        let peer = self.ends[1 - end].ip.and_then(ip_own);
        Some((Subject { mac, ip, vlan, ttl, own_mac: false }, peer))
    }
}

/// The MAC, if it is one station's.
fn own(mac: Mac) -> Option<Mac> {
    (mac.0[0] & 1 == 0 && mac.0 != [0; 6]).then_some(mac)
}

/// The address, if it is one host's.
fn ip_own(ip: IpAddr) -> Option<IpAddr> {
    let is_host = match ip {
        IpAddr::V4(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() || ip.is_loopback()),
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_loopback()),
    };
    is_host.then_some(ip)
}

/// IP address of an end of a key; `None` when it is not IP's.
fn ip_of(key: &FlowKey, end: usize) -> Option<IpAddr> {
    let octets = key.address[end];
    match key.form & !0xc0 {
        FORM_IPV6 => Some(IpAddr::V6(Ipv6Addr::from(octets))),
        FORM_IPV4 => {
            let [a, b, c, d, ..] = octets;
            Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        }
        FORM_ETHERNET => None,
        _ => None,
    }
}
