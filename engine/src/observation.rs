//! Observations: what a dissector lets out of a payload about an end of a conversation.
//!
//! [`Field`] is the allow-list: nothing that is not a field of it leaves a parser, and a text leaves only when it fits its field's
//! [`Grammar`]. No field can carry a person: names, identifiers and results of patients have no place here (PRIVACY-2).

use std::{fmt, net::IpAddr};

use auscult_ebpf::record::FlowKey;

use crate::flow::Mac;

mod field;
mod grammar;

pub use field::{Field, Protocol};
pub use grammar::Grammar;

/// What was said. Texts have passed their field's grammar.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// A word of a closed set.
    Word(&'static str),
    /// Text that fits the field's grammar.
    Text(Box<str>),
    /// A number.
    Number(u64),
    /// An IP address.
    Ip(IpAddr),
    /// A MAC address.
    Mac(Mac),
    /// The salted hash of an identifier that must not be known: it counts, and tells nothing.
    Hash(u64),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Mac(mac) => write!(f, "{mac}"),
            Self::Hash(hash) => write!(f, "#{hash:016x}"),
        }
    }
}

/// Whom an observation is about, as far as the packet tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Its MAC; of a host behind a router, that router's.
    pub mac: Option<Mac>,
    /// Its IP address.
    pub ip: Option<IpAddr>,
    /// Outermost VLAN identifier.
    pub vlan: Option<u16>,
    /// TTL or hop limit of its packet; `None` when the packet was not its own.
    pub ttl: Option<u8>,
    /// The message itself says that `mac` is the subject's own (ARP, DHCP), whoever sent the frame.
    pub own_mac: bool,
}

/// One field of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Observation time of the packet that completed it, ns.
    pub at: u64,
    /// About whom.
    pub subject: Subject,
    /// The other end of the conversation.
    pub peer: Option<IpAddr>,
    /// Which field.
    pub field: Field,
    /// What it says.
    pub value: Value,
    /// The biflow that the packet belongs to.
    pub key: FlowKey,
    /// Observation point.
    pub point: u32,
}

/// An end that sent frames, whatever they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Observation time, ns.
    pub at: u64,
    /// Who.
    pub subject: Subject,
    /// A biflow that it sent a packet of.
    pub key: FlowKey,
}
