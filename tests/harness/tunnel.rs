//! A packet and the encapsulations around it → a frame, built from the inside out with right lengths and checksums.
//!
//! What is built is written down layer by layer ([`Built`]), so that a test can say from it what a meter must find. Hosts, MACs and
//! ports follow from a number and a level; nothing here knows the parser.

use std::net::{Ipv4Addr, Ipv6Addr};

use auscult::scene::frame::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ip, Link, Pair, Tag, checksum};

/// Ethertype of MPLS with downstream-assigned labels (RFC 5332).
pub const ETHERTYPE_MPLS: u16 = 0x8847;
/// Ethertype of MPLS with upstream-assigned labels.
pub const ETHERTYPE_MPLS_UPSTREAM: u16 = 0x8848;
/// Ethertype of PPPoE sessions (RFC 2516).
pub const ETHERTYPE_PPPOE: u16 = 0x8864;
/// Protocol type of a bridged Ethernet frame in GRE and GENEVE.
pub const PROTOCOL_ETHERNET: u16 = 0x6558;
/// UDP port of VXLAN (RFC 7348).
pub const VXLAN: u16 = 4789;
/// UDP port of VXLAN before one was assigned.
pub const VXLAN_BEFORE: u16 = 8472;
/// UDP port of GENEVE (RFC 8926).
pub const GENEVE: u16 = 6081;
/// UDP port of Teredo (RFC 4380).
pub const TEREDO: u16 = 3544;
/// Hop limit and traffic class of outer IP headers.
pub const OUTER_HOPS: u8 = 200;
/// See [`OUTER_HOPS`]: DSCP 46.
pub const OUTER_CLASS: u8 = 46 << 2;

/// The family of an IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The two ends of a number at a level.
    pub const fn hosts(self, level: u8, number: u16) -> Pair {
        let [high, low] = number.to_be_bytes();
        match self {
            Self::V4 => Pair::V4(Ipv4Addr::new(10 + level, high, low, 1), Ipv4Addr::new(10 + level, high, low, 2)),
            Self::V6 => {
                let net = (level as u16, number);
                Pair::V6(Ipv6Addr::new(0xfd00, net.0, net.1, 0, 0, 0, 0, 1), Ipv6Addr::new(0xfd00, net.0, net.1, 0, 0, 0, 0, 2))
            }
        }
    }
}

/// The pair of addresses as the end `way` sends.
pub const fn turned(pair: Pair, way: usize) -> Pair {
    match (pair, way) {
        (pair, 0) => pair,
        (Pair::V4(a, b), _) => Pair::V4(b, a),
        (Pair::V6(a, b), _) => Pair::V6(b, a),
    }
}

/// The link header between the two ends of a number at a level.
pub const fn link(level: u8, number: u16, tags: Vec<Tag>) -> Link {
    let [high, low] = number.to_be_bytes();
    Link { target: [2, level, high, low, 0, 2], source: [2, level, high, low, 0, 1], tags }
}

/// The link header as the end `way` sends.
pub fn link_turned(link: &Link, way: usize) -> Link {
    let Link { target, source, tags } = link.clone();
    if way == 0 { Link { target, source, tags } } else { Link { target: source, source: target, tags } }
}

/// What is inside an encapsulation or behind the outermost link header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inside {
    /// A packet of an ethertype.
    Packet(u16, Vec<u8>),
    /// An Ethernet frame.
    Frame(Vec<u8>),
}

impl Inside {
    /// Its octets.
    pub fn octets(&self) -> &[u8] {
        match self {
            Self::Packet(_, octets) | Self::Frame(octets) => octets,
        }
    }
}

/// An encapsulation's own header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shim {
    /// Labels from top to bottom; a control word before a frame.
    Mpls {
        /// From top to bottom.
        labels: Vec<u32>,
        /// Four octets of zero behind the stack.
        control_word: bool,
    },
    /// A session.
    Pppoe(u16),
    /// IP in IP, of either family in either.
    Ip,
    /// GRE with its optional fields.
    Gre {
        /// With a checksum.
        checksum: bool,
        /// With a key.
        key: Option<u32>,
        /// With a sequence number.
        sequence: bool,
    },
    /// ERSPAN type I.
    Erspan1,
    /// ERSPAN type II of a session.
    Erspan2(u16),
    /// ERSPAN type III.
    Erspan3 {
        /// The session.
        session: u16,
        /// With the platform-specific subheader.
        subheader: bool,
    },
    /// VXLAN.
    Vxlan {
        /// The network.
        network: u32,
        /// The UDP port.
        port: u16,
    },
    /// GENEVE.
    Geneve {
        /// The network.
        network: u32,
        /// Octets of options, a multiple of four.
        options: usize,
    },
    /// Teredo.
    Teredo {
        /// With an origin indication.
        origin: bool,
    },
}

/// One encapsulation.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Its own header.
    pub shim: Shim,
    /// Addresses of its IP header as end 0 sends; none for MPLS and PPPoE.
    pub outer: Option<Pair>,
    /// The link header that what is inside gets; without one, a packet is inside.
    pub link: Option<Link>,
    /// Length of the IP packets that the outer IP header is cut into, if it is not one.
    pub mtu: usize,
}

impl Layer {
    /// An encapsulation without link header inside.
    pub const fn of_packets(shim: Shim, outer: Option<Pair>) -> Self {
        Self { shim, outer, link: None, mtu: u16::MAX as usize }
    }

    /// One with a link header inside.
    pub const fn of_frames(shim: Shim, outer: Option<Pair>, link: Link) -> Self {
        Self { shim, outer, link: Some(link), mtu: u16::MAX as usize }
    }

    /// Its name, by what is inside.
    pub const fn name(&self, inside: u16) -> &'static str {
        match (&self.shim, self.outer) {
            (Shim::Mpls { .. }, _) => "mpls",
            (Shim::Pppoe(_), _) => "pppoe",
            (Shim::Ip, Some(Pair::V4(..))) if inside == ETHERTYPE_IPV4 => "ipip",
            (Shim::Ip, Some(Pair::V4(..))) => "6in4",
            (Shim::Ip, _) if inside == ETHERTYPE_IPV4 => "4in6",
            (Shim::Ip, _) => "6in6",
            (Shim::Gre { .. }, _) => "gre",
            (Shim::Erspan1, _) => "erspan1",
            (Shim::Erspan2(_), _) => "erspan2",
            (Shim::Erspan3 { .. }, _) => "erspan3",
            (Shim::Vxlan { .. }, _) => "vxlan",
            (Shim::Geneve { .. }, _) => "geneve",
            (Shim::Teredo { .. }, _) => "teredo",
        }
    }

    /// The identifier that a row shows.
    pub fn id(&self) -> Option<u32> {
        match &self.shim {
            Shim::Mpls { labels, .. } => labels.last().copied(),
            Shim::Gre { key, .. } => *key,
            Shim::Pppoe(id) | Shim::Erspan2(id) | Shim::Erspan3 { session: id, .. } => Some((*id).into()),
            Shim::Vxlan { network, .. } | Shim::Geneve { network, .. } => Some(*network),
            Shim::Ip | Shim::Erspan1 | Shim::Teredo { .. } => None,
        }
    }

    /// Puts it around something, sent by the end `way`.
    ///
    /// # Panics
    /// When it cannot carry that.
    pub fn wrap(&self, inside: &Inside, way: usize) -> Inside {
        let framed = match (&self.link, inside) {
            (Some(link), Inside::Packet(ethertype, octets)) => Inside::Frame(bare(&link_turned(link, way), *ethertype, octets)),
            _ => inside.clone(),
        };
        let (ethertype, octets) = match &framed {
            Inside::Packet(ethertype, octets) => (*ethertype, octets.as_slice()),
            Inside::Frame(octets) => (PROTOCOL_ETHERNET, octets.as_slice()),
        };
        let (protocol, payload) = match &self.shim {
            Shim::Mpls { labels, control_word } => {
                return Inside::Packet(ETHERTYPE_MPLS, [&stack(labels), zeros(*control_word, 4), octets].concat());
            }
            Shim::Pppoe(session) => return Inside::Packet(ETHERTYPE_PPPOE, pppoe(*session, ethertype, octets)),
            Shim::Ip => (protocol_of(ethertype), octets.to_vec()),
            Shim::Gre { checksum, key, sequence } => (47, gre(*checksum, *key, *sequence, ethertype, octets)),
            Shim::Erspan1 => (47, gre(false, None, false, 0x88be, octets)),
            Shim::Erspan2(session) => {
                let header = [&[0x10, 7], session.to_be_bytes().as_slice(), &[0, 0, 0, 9]].concat();
                (47, gre(false, None, true, 0x88be, &[&header, octets].concat()))
            }
            Shim::Erspan3 { session, subheader } => {
                let what = if ethertype == PROTOCOL_ETHERNET { 0u16 } else { 2 };
                let word = what << 10 | 5 << 4 | u16::from(*subheader);
                let header = [&[0x20, 7], session.to_be_bytes().as_slice(), &[1, 2, 3, 4, 0, 5], &word.to_be_bytes()].concat();
                (47, gre(false, None, true, 0x22eb, &[&header, zeros(*subheader, 8), octets].concat()))
            }
            Shim::Vxlan { network, port } => {
                let header = [[8, 0, 0, 0], (network << 8).to_be_bytes()];
                (17, self.udp(way, *port, &[header.as_flattened(), octets].concat()))
            }
            Shim::Geneve { network, options } => {
                let [high, low] = ethertype.to_be_bytes();
                let header = [[(options / 4) as u8, 0, high, low], (network << 8).to_be_bytes()];
                (17, self.udp(way, GENEVE, &[header.as_flattened(), &geneve_options(*options), octets].concat()))
            }
            Shim::Teredo { origin } => {
                let origin: &[u8] = if *origin { &[0, 0, 0x12, 0x34, 0xf5, 0xff, 0xff, 0xfe] } else { &[] };
                (17, self.udp(way, TEREDO, &[origin, octets].concat()))
            }
        };
        self.ip(way, protocol, &payload)
    }

    fn udp(&self, way: usize, port: u16, payload: &[u8]) -> Vec<u8> {
        let pair = self.outer.expect("an encapsulation in UDP has addresses");
        // Teredo's server or relay answers from its port; the others' source port spreads flows and is any.
        let ports = if port == TEREDO && way == 1 { [port, 50_000] } else { [50_000 + way as u16, port] };
        frame::udp(turned(pair, way), ports, payload)
    }

    fn ip(&self, way: usize, protocol: u8, payload: &[u8]) -> Inside {
        let pair = turned(self.outer.expect("an encapsulation in IP has addresses"), way);
        let ip = Ip { hops: OUTER_HOPS, class: OUTER_CLASS, id: 0x4242, ..Ip::new(pair, protocol) };
        Inside::Packet(pair.ethertype(), frame::packets(&ip, payload, self.mtu).swap_remove(0))
    }
}

/// What was built: `[0]` is the innermost packet; each further one is what is around the one before.
#[derive(Clone, Debug)]
pub struct Built {
    /// From the inside out.
    pub levels: Vec<Inside>,
    /// The whole frame.
    pub octets: Vec<u8>,
}

/// Builds a frame: `layers` from the outermost to the innermost around `innermost`, behind `outer`, sent by the end `way`.
///
/// # Panics
/// When a layer cannot carry what is inside of it, or the outermost is a frame itself.
pub fn build(outer: &Link, layers: &[Layer], innermost: &Inside, way: usize) -> Built {
    let mut levels = vec![innermost.clone()];
    for layer in layers.iter().rev() {
        levels.push(layer.wrap(&levels[levels.len() - 1], way));
    }
    let Some(Inside::Packet(ethertype, octets)) = levels.last() else { panic!("a frame behind a link header") };
    let octets = frame::ethernet(&link_turned(outer, way), *ethertype, octets);
    Built { levels, octets }
}

/// An Ethernet frame without padding, as tunnels carry them.
pub fn bare(link: &Link, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut octets = [link.target, link.source].concat();
    for tag in &link.tags {
        octets.extend([tag.protocol.to_be_bytes(), tag.control.to_be_bytes()].as_flattened());
    }
    octets.extend(ethertype.to_be_bytes());
    octets.extend(payload);
    octets
}

/// An MPLS label stack (RFC 3032): TTL 64, the bottom marked.
pub fn stack(labels: &[u32]) -> Vec<u8> {
    let entry = |(i, label): (usize, &u32)| (label << 12 | u32::from(i + 1 == labels.len()) << 8 | 64).to_be_bytes();
    labels.iter().enumerate().flat_map(entry).collect()
}

/// A PPPoE session packet (RFC 2516) with one PPP packet.
pub fn pppoe(session: u16, ethertype: u16, packet: &[u8]) -> Vec<u8> {
    let protocol: u16 = match ethertype {
        ETHERTYPE_IPV4 => 0x0021,
        ETHERTYPE_IPV6 => 0x0057,
        other => other,
    };
    let fields = [0x1100, session, packet.len() as u16 + 2, protocol].map(u16::to_be_bytes);
    [fields.as_flattened(), packet].concat()
}

/// A GRE header (RFC 2784, RFC 2890) and its payload.
pub fn gre(with_checksum: bool, key: Option<u32>, sequence: bool, protocol: u16, payload: &[u8]) -> Vec<u8> {
    let flags = u16::from(with_checksum) << 15 | u16::from(key.is_some()) << 13 | u16::from(sequence) << 12;
    let mut octets = [flags.to_be_bytes(), protocol.to_be_bytes()].concat();
    octets.extend(zeros(with_checksum, 4));
    octets.extend(key.map(u32::to_be_bytes).iter().flatten());
    octets.extend(if sequence { &[0, 0, 0, 77][..] } else { &[] });
    octets.extend(payload);
    if with_checksum {
        let sum = checksum(&octets);
        octets[4..6].copy_from_slice(&sum.to_be_bytes());
    }
    octets
}

/// Options of an experimental class (RFC 8926 §3.5), together so many octets.
fn geneve_options(mut octets: usize) -> Vec<u8> {
    let mut options = Vec::new();
    while octets >= 4 {
        let value = (octets - 4).min(124);
        options.extend([0xff, 0xff, 1, (value / 4) as u8]);
        options.resize(options.len() + value, 7);
        octets -= 4 + value;
    }
    options
}

const fn zeros(present: bool, octets: usize) -> &'static [u8] {
    if present { [0; 8].as_slice().split_at(octets).0 } else { &[] }
}

fn protocol_of(ethertype: u16) -> u8 {
    match ethertype {
        ETHERTYPE_IPV4 => 4,
        ETHERTYPE_IPV6 => 41,
        other => panic!("IP does not carry {other:#06x}"),
    }
}
