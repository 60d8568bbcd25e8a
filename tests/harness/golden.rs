//! Frames with tunnels, and for each flow of them the row that a meter must write, stated from how the frames were built.
//!
//! Every case has addresses and MACs of its own, so that its row is told apart by them. [`sound`] are frames as they come in networks:
//! each kind of encapsulation with everything that it carries, and every pair of kinds; [`odd()`] are those that are cut, malformed, too
//! deep, not opened, or claim more than they have.

mod odd;

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr},
};

use auscult::{
    lake::read::JsonRow,
    scene::frame::{self, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ip, Link, Pair, Tag, Tcp, control},
};
pub use odd::odd;
use serde_json::{Value, json};

use crate::tunnel::{Built, Family, Inside, Layer, Shim, VXLAN, VXLAN_BEFORE, build, link, turned};

/// Level of the innermost packet's addresses and of the outermost link header's MACs, in numbering hosts.
const INNERMOST: u8 = 9;
/// Octets of an Ethernet header.
const ETHERNET_OCTETS: usize = 14;
/// Hop limit and traffic class of the innermost packet, by the end that sends.
const HOPS: [u8; 2] = [64, 128];
const CLASS: [u8; 2] = [10 << 2, 0];
/// Octets of data, by the end that sends.
const DATA: [usize; 2] = [120, 31];
const ARP_OCTETS: usize = 28;
/// First labels of pseudowires with and without control word: numbers are added.
pub const PSEUDOWIRE_LABELS: [u32; 2] = [0x8_0000, 0x9_0000];

/// One frame and how many octets it had on the wire.
#[derive(Clone, Debug)]
pub struct Framed {
    /// What was captured.
    pub octets: Vec<u8>,
    /// Octets on the wire.
    pub wire: usize,
}

/// Frames of one flow, and its row.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is about.
    pub name: String,
    /// In order of time.
    pub frames: Vec<Framed>,
    /// The columns that follow from how the frames were built.
    pub expect: JsonRow,
    /// Names and identifiers of the encapsulations, if a dissector should see them as we do.
    pub layers: Option<Vec<(&'static str, Option<u32>)>>,
}

/// What is innermost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A TCP segment over IPv4.
    Tcp,
    /// A UDP datagram over IPv6.
    Udp,
    /// ARP, asked and answered.
    Arp,
}

impl Content {
    const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Arp];

    const fn ethertype(self) -> u16 {
        match self {
            Self::Tcp => ETHERTYPE_IPV4,
            Self::Udp => ETHERTYPE_IPV6,
            Self::Arp => ETHERTYPE_ARP,
        }
    }

    const fn pair(self, number: u16) -> Option<Pair> {
        match self {
            Self::Tcp => Some(Family::V4.hosts(INNERMOST, number)),
            Self::Udp => Some(Family::V6.hosts(INNERMOST, number)),
            Self::Arp => None,
        }
    }

    /// Octets of network and transport header.
    const fn headers(self) -> usize {
        match self {
            Self::Tcp => 40,
            Self::Udp => 48,
            Self::Arp => 0,
        }
    }

    const fn octets(self, way: usize) -> usize {
        if matches!(self, Self::Arp) { ARP_OCTETS } else { self.headers() + DATA[way] }
    }

    /// The packet that the end `way` sends.
    fn packet(self, number: u16, way: usize) -> Inside {
        let data = vec![b'd'; DATA[way]];
        let Some(pair) = self.pair(number).map(|pair| turned(pair, way)) else {
            let link = link(INNERMOST, number, Vec::new());
            let ends = [(link.source, Ipv4Addr::new(10, 0, 0, 1)), (link.target, Ipv4Addr::new(10, 0, 0, 2))];
            return Inside::Packet(ETHERTYPE_ARP, frame::arp(way as u16 + 1, ends[way], ends[1 - way]));
        };
        let mut ports = self.ports();
        if way == 1 {
            ports.reverse();
        }
        let segment = match self {
            Self::Tcp => {
                let sequence = [1000, 7_000_000][way];
                let header = Tcp { ports, sequence, control_bits: control::ACK | control::PSH, window: 500, ..Tcp::default() };
                frame::tcp(pair, &header, &data)
            }
            _ => frame::udp(pair, ports, &data),
        };
        let ip = Ip { hops: HOPS[way], class: CLASS[way], ..Ip::new(pair, self.protocol()) };
        Inside::Packet(self.ethertype(), frame::packets(&ip, &segment, usize::from(u16::MAX)).swap_remove(0))
    }

    const fn protocol(self) -> u8 {
        if matches!(self, Self::Tcp) { frame::TCP } else { frame::UDP }
    }

    const fn ports(self) -> [u16; 2] {
        if matches!(self, Self::Tcp) { [40_001, 443] } else { [40_002, 5_000] }
    }
}

/// A way to encapsulate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One label, an IP packet.
    Mpls,
    /// As many labels as are read.
    MplsDeep,
    /// A pseudowire with control word.
    Pseudowire,
    /// A pseudowire without.
    PseudowireBare,
    /// PPPoE.
    Pppoe,
    /// IP in IP.
    Ip,
    /// GRE without optional fields, an IP packet or MPLS.
    Gre,
    /// GRE with all optional fields.
    GreFull,
    /// GRE with a key, a frame.
    GreBridge,
    /// ERSPAN type I.
    Erspan1,
    /// Type II.
    Erspan2,
    /// Type III.
    Erspan3,
    /// Type III with subheader.
    Erspan3Full,
    /// Type III, an IP packet.
    Erspan3Ip,
    /// VXLAN.
    Vxlan,
    /// VXLAN at the port that Linux had before.
    VxlanBefore,
    /// GENEVE, a frame.
    Geneve,
    /// GENEVE with the most options there can be, an IP packet.
    GeneveFull,
    /// Teredo.
    Teredo,
    /// Teredo with an origin indication.
    TeredoOrigin,
}

impl Kind {
    /// All.
    pub const ALL: [Self; 20] = [
        Self::Mpls,
        Self::MplsDeep,
        Self::Pseudowire,
        Self::PseudowireBare,
        Self::Pppoe,
        Self::Ip,
        Self::Gre,
        Self::GreFull,
        Self::GreBridge,
        Self::Erspan1,
        Self::Erspan2,
        Self::Erspan3,
        Self::Erspan3Full,
        Self::Erspan3Ip,
        Self::Vxlan,
        Self::VxlanBefore,
        Self::Geneve,
        Self::GeneveFull,
        Self::Teredo,
        Self::TeredoOrigin,
    ];

    fn shim(self, number: u16) -> Shim {
        let network = 0x00ab_0000 | u32::from(number);
        let session = number & 0x3ff;
        match self {
            Self::Mpls => Shim::Mpls { labels: vec![16 + u32::from(number)], control_word: false },
            Self::MplsDeep => {
                Shim::Mpls { labels: (0..8).map(|i| 0xf_0000 + u32::from(number) + i).collect(), control_word: false }
            }
            Self::Pseudowire => Shim::Mpls { labels: vec![500, PSEUDOWIRE_LABELS[0] + u32::from(number)], control_word: true },
            Self::PseudowireBare => {
                Shim::Mpls { labels: vec![501, PSEUDOWIRE_LABELS[1] + u32::from(number)], control_word: false }
            }
            Self::Pppoe => Shim::Pppoe(0x1000 + number),
            Self::Ip => Shim::Ip,
            Self::Gre => Shim::Gre { checksum: false, key: None, sequence: false },
            Self::GreFull => Shim::Gre { checksum: true, key: Some(0xfeed_0000 | u32::from(number)), sequence: true },
            Self::GreBridge => Shim::Gre { checksum: false, key: Some(u32::from(number)), sequence: false },
            Self::Erspan1 => Shim::Erspan1,
            Self::Erspan2 => Shim::Erspan2(session),
            Self::Erspan3 | Self::Erspan3Ip => Shim::Erspan3 { session, subheader: false },
            Self::Erspan3Full => Shim::Erspan3 { session, subheader: true },
            Self::Vxlan => Shim::Vxlan { network, port: VXLAN },
            Self::VxlanBefore => Shim::Vxlan { network, port: VXLAN_BEFORE },
            Self::Geneve => Shim::Geneve { network, options: 0 },
            Self::GeneveFull => Shim::Geneve { network, options: 252 },
            Self::Teredo => Shim::Teredo { origin: false },
            Self::TeredoOrigin => Shim::Teredo { origin: true },
        }
    }

    /// Whether a frame is inside, and not a packet.
    pub const fn carries_frames(self) -> bool {
        match self {
            Self::Mpls | Self::MplsDeep | Self::Pppoe | Self::Ip | Self::Gre | Self::GreFull => false,
            Self::Erspan3Ip | Self::GeneveFull | Self::Teredo | Self::TeredoOrigin => false,
            Self::Pseudowire | Self::PseudowireBare | Self::GreBridge | Self::Erspan1 | Self::Erspan2 => true,
            Self::Erspan3 | Self::Erspan3Full | Self::Vxlan | Self::VxlanBefore | Self::Geneve => true,
        }
    }

    const fn carries(self, ethertype: u16) -> bool {
        match (self, ethertype) {
            (Self::Teredo | Self::TeredoOrigin, ethertype) => ethertype == ETHERTYPE_IPV6,
            (_, ETHERTYPE_IPV4 | ETHERTYPE_IPV6) => true,
            (Self::Gre | Self::GreFull, ethertype) => ethertype == crate::tunnel::ETHERTYPE_MPLS,
            // A frame that nothing announces is known by few ethertypes.
            (Self::PseudowireBare, ethertype) => ethertype == ETHERTYPE_ARP,
            _ => self.carries_frames(),
        }
    }

    /// The IP headers that it can be behind; `None` stands for a link header.
    pub const fn outers(self) -> &'static [Option<Family>] {
        match self {
            Self::Mpls | Self::MplsDeep | Self::Pseudowire | Self::PseudowireBare | Self::Pppoe => &[None],
            Self::Teredo | Self::TeredoOrigin => &[Some(Family::V4)],
            _ => &[Some(Family::V4), Some(Family::V6)],
        }
    }

    /// The ethertype of its packet.
    const fn ethertype(self, outer: Option<Family>) -> u16 {
        match (self, outer) {
            (Self::Pppoe, _) => crate::tunnel::ETHERTYPE_PPPOE,
            (_, None) => crate::tunnel::ETHERTYPE_MPLS,
            (_, Some(Family::V4)) => ETHERTYPE_IPV4,
            (_, Some(Family::V6)) => ETHERTYPE_IPV6,
        }
    }

    /// The encapsulation at a level.
    pub fn layer(self, outer: Option<Family>, level: u8, number: u16) -> Layer {
        let outer = outer.map(|family| family.hosts(level, number));
        if !self.carries_frames() {
            return Layer::of_packets(self.shim(number), outer);
        }
        let mut link = link(level, number, Vec::new());
        if self == Self::PseudowireBare {
            // Behind a label stack, a MAC that starts like an IP version would be taken for one, and by `tshark` one that starts like a control word.
            link.source[0] = 0x92;
            link.target[0] = 0x92;
        }
        Layer::of_frames(self.shim(number), outer, link)
    }
}

/// How frames of a case are built.
#[derive(Clone, Debug)]
struct Plan {
    number: u16,
    link: Link,
    layers: Vec<Layer>,
    content: Content,
}

impl Plan {
    fn new(number: u16, layers: Vec<Layer>, content: Content) -> Self {
        Self { number, link: link(INNERMOST, number, Vec::new()), layers, content }
    }

    fn build(&self, way: usize) -> Built {
        build(&self.link, &self.layers, &self.content.packet(self.number, way), way)
    }

    /// The link header that the innermost packet is behind.
    fn innermost_link(&self) -> &Link {
        self.layers.iter().rev().find_map(|layer| layer.link.as_ref()).unwrap_or(&self.link)
    }

    /// Ethertype of what is inside of a layer.
    fn inside(&self, index: usize) -> u16 {
        match self.layers.get(index + 1) {
            None => self.content.ethertype(),
            Some(layer) => match (&layer.shim, layer.outer) {
                (Shim::Pppoe(_), _) => crate::tunnel::ETHERTYPE_PPPOE,
                (_, None) => crate::tunnel::ETHERTYPE_MPLS,
                (_, Some(pair)) => pair.ethertype(),
            },
        }
    }

    /// The first encapsulations as a row shows them.
    fn tunnels(&self, count: usize) -> Vec<Shown> {
        let shown = |(i, layer): (usize, &Layer)| Shown { name: layer.name(self.inside(i)), outer: layer.outer, id: layer.id() };
        self.layers.iter().enumerate().take(count).map(shown).collect()
    }

    /// The row of the innermost packet, both ends of which were heard.
    fn innermost(&self, stop: &'static str) -> Row {
        let content = self.content;
        let side = |way| Side {
            octets: content.octets(way),
            payload: content.octets(way) - content.headers(),
            hops: content.pair(self.number).map(|_| HOPS[way]),
            class: content.pair(self.number).map(|_| CLASS[way]),
        };
        Row {
            pair: content.pair(self.number),
            ports: content.pair(self.number).map(|_| content.ports()),
            protocol: content.pair(self.number).map(|_| content.protocol()),
            ethertype: content.ethertype(),
            link: self.innermost_link().clone(),
            sides: vec![side(0), side(1)],
            tunnels: self.tunnels(self.layers.len()),
            stop,
        }
    }

    /// The case of both ends' frames and their innermost packets.
    fn case(&self, name: String) -> Case {
        let frames: Vec<_> = (0..2).map(|way| framed(self.build(way).octets)).collect();
        let expect = self.innermost("complete").columns(&frames);
        let of_packets = |layer: &Layer| matches!(layer.shim, Shim::Erspan3 { .. }) && layer.link.is_none();
        let shown = || self.tunnels(usize::MAX).into_iter().map(|shown| (shown.name, shown.id)).collect();
        let layers = (!self.layers.iter().any(of_packets)).then(shown);
        Case { name, frames, expect, layers }
    }
}

fn framed(octets: Vec<u8>) -> Framed {
    Framed { wire: octets.len(), octets }
}

/// An encapsulation as a row shows it.
#[derive(Clone, Debug)]
struct Shown {
    name: &'static str,
    outer: Option<Pair>,
    id: Option<u32>,
}

/// What the one packet of a direction has.
#[derive(Clone, Debug)]
struct Side {
    octets: usize,
    payload: usize,
    hops: Option<u8>,
    class: Option<u8>,
}

/// A row, as far as it follows from how frames were built.
#[derive(Clone, Debug)]
struct Row {
    /// IP addresses; without them, the row is of the link's MACs.
    pair: Option<Pair>,
    ports: Option<[u16; 2]>,
    protocol: Option<u8>,
    ethertype: u16,
    link: Link,
    /// Of the initiator, and of the responder, if it answered.
    sides: Vec<Side>,
    tunnels: Vec<Shown>,
    stop: &'static str,
}

impl Row {
    /// Its columns; `frames` are one of each side.
    fn columns(&self, frames: &[Framed]) -> JsonRow {
        let mut row = JsonRow::new();
        let mut set = |name: &str, value: Value| drop(row.insert(name.to_owned(), value));
        let macs = [mac(self.link.source), mac(self.link.target)];
        for (i, end) in ["initiator", "responder"].into_iter().enumerate() {
            set(&format!("{end}_address"), json!(self.pair.map_or_else(|| macs[i].clone(), |pair| addresses(pair)[i].clone())));
            set(&format!("{end}_port"), json!(self.ports.map(|ports| ports[i])));
            set(&format!("{end}_mac"), json!(macs[i]));
        }
        set("protocol", json!(self.protocol));
        set("ethertype", json!(self.ethertype));
        set("parse_stop", json!(self.stop));
        for (way, direction) in ["forward", "reverse"].into_iter().enumerate() {
            let side = self.sides.get(way);
            let tags = side.map(|_| self.link.tags.iter().map(|tag| tag.control & 0xfff).collect::<Vec<_>>()).unwrap_or_default();
            let dscp = side.and_then(|side| side.class).map(|class| class >> 2);
            let octets = |of: fn(&Side) -> usize| json!(side.map_or(0, of));
            let mut set = |name: &str, value: Value| set(&format!("{direction}_{name}"), value);
            set("packets", json!(usize::from(side.is_some())));
            set("layer2_octets", json!(side.map_or(0, |_| frames[way].wire)));
            set("octets", octets(|side| side.octets));
            set("payload_octets", octets(|side| side.payload));
            set("ttl_min", json!(side.and_then(|side| side.hops)));
            set("ttl_max", json!(side.and_then(|side| side.hops)));
            set("dscp", json!(dscp));
            set("vlan_id", json!(tags.first()));
            set("inner_vlan_id", json!(tags.get(1)));
            let tunnels = if side.is_some() { self.tunnels.as_slice() } else { &[] };
            let names: Vec<_> = tunnels.iter().map(|tunnel| tunnel.name).collect();
            set("tunnel_types", if names.is_empty() { Value::Null } else { json!(names.join("/")) });
            for (i, prefix) in ["", "inner_"].into_iter().enumerate() {
                let tunnel = tunnels.get(i);
                let ends = tunnel.and_then(|tunnel| tunnel.outer).map(|pair| addresses(turned(pair, way)));
                set(&format!("{prefix}tunnel_source_address"), json!(ends.as_ref().map(|ends| &ends[0])));
                set(&format!("{prefix}tunnel_destination_address"), json!(ends.as_ref().map(|ends| &ends[1])));
                set(&format!("{prefix}tunnel_id"), json!(tunnel.and_then(|tunnel| tunnel.id)));
            }
        }
        row
    }
}

/// Source and target.
pub fn ends(pair: Pair) -> [IpAddr; 2] {
    match pair {
        Pair::V4(a, b) => [a.into(), b.into()],
        Pair::V6(a, b) => [a.into(), b.into()],
    }
}

fn addresses(pair: Pair) -> [String; 2] {
    ends(pair).map(|end| end.to_string())
}

fn mac(octets: [u8; 6]) -> String {
    octets.map(|octet| format!("{octet:02x}")).join(":")
}

/// Every kind with all that it carries, over all that it can be over, with and without VLAN tags; and all pairs of kinds.
pub fn sound() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut number = 0;
    let mut next = || {
        number += 1;
        number
    };
    for kind in Kind::ALL {
        for &outer in kind.outers() {
            for content in Content::ALL.into_iter().filter(|content| kind.carries(content.ethertype())) {
                let number = next();
                let layer = kind.layer(outer, 0, number);
                cases.push(Plan::new(number, vec![layer], content).case(format!("{kind:?} over {outer:?}, {content:?}")));
            }
            // Tags outside of every kind; inside, where there is a link header.
            let content = if kind.carries(ETHERTYPE_IPV4) { Content::Tcp } else { Content::Udp };
            let [outside, inside] = [vec![Tag::service(7), Tag::customer(70)], vec![Tag::customer(100), Tag::customer(101)]];
            for count in 1..=2 {
                let number = next();
                let mut plan = Plan::new(number, vec![kind.layer(outer, 0, number)], content);
                plan.link.tags = outside[..count].to_vec();
                if let Some(link) = &mut plan.layers[0].link {
                    link.tags = inside[..count].to_vec();
                }
                cases.push(plan.case(format!("{kind:?} over {outer:?}, {count} tags outside and where there is a link header")));
            }
        }
    }
    for (first, second) in Kind::ALL.into_iter().flat_map(|first| Kind::ALL.map(|second| (first, second))) {
        let fits = |outer: &&Option<Family>| first.carries(second.ethertype(**outer));
        for &outer in second.outers().iter().filter(fits) {
            let number = next();
            let layers = vec![first.layer(first.outers()[0], 0, number), second.layer(outer, 1, number)];
            let content = if second.carries(ETHERTYPE_IPV4) { Content::Tcp } else { Content::Udp };
            cases.push(Plan::new(number, layers, content).case(format!("{first:?} / {second:?} over {outer:?}")));
        }
    }
    cases
}

/// The sound frames of IP outermost, without their link header; MACs and tags outside of tunnels, which they do not have, are left
/// open.
pub fn bare() -> Vec<Case> {
    let mut cases = sound();
    cases.retain_mut(|case| {
        let is_ip = |frame: &Framed| matches!(frame.octets[12..14], [0x08, 0x00] | [0x86, 0xdd]);
        let has_own_link =
            case.expect["initiator_mac"].as_str().is_some_and(|mac| !mac.starts_with(&format!("02:{INNERMOST:02x}")));
        for (frame, direction) in case.frames.iter_mut().zip(["forward", "reverse"]) {
            if !is_ip(frame) {
                return false;
            }
            frame.octets.drain(..ETHERNET_OCTETS);
            frame.wire -= ETHERNET_OCTETS;
            case.expect.insert(format!("{direction}_layer2_octets"), json!(frame.wire));
        }
        if !has_own_link {
            case.expect.insert("initiator_mac".into(), Value::Null);
            case.expect.insert("responder_mac".into(), Value::Null);
        }
        true
    });
    cases
}

/// LINKTYPE of Ethernet.
pub const ETHERNET: u32 = 1;
/// LINKTYPE of IP packets without link header.
pub const RAW: u32 = 101;

/// A pcap file (nanoseconds) of all frames, a microsecond apart; in order of the cases.
///
/// # Errors
/// `to` cannot be written.
pub fn write_pcap(cases: &[Case], link_type: u32, mut to: impl Write) -> io::Result<()> {
    let head: [u32; 6] = [0xa1b2_3c4d, 0x0004_0002, 0, 0, 1 << 18, link_type];
    to.write_all(head.map(u32::to_le_bytes).as_flattened())?;
    for (i, frame) in (0u32..).zip(cases.iter().flat_map(|case| &case.frames)) {
        let record = [1_700_000_000, i * 1000, frame.octets.len() as u32, frame.wire as u32];
        to.write_all(record.map(u32::to_le_bytes).as_flattened())?;
        to.write_all(&frame.octets)?;
    }
    to.flush()
}
