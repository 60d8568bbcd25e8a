//! A seed → frames of every kind that the parser knows, many of them damaged, with times: what no capture has enough of.

use std::net::{Ipv4Addr, Ipv6Addr};

use auscult::scene::{
    Scene, SceneSize,
    frame::{self, Ip, Link, Pair, Tag, Tcp, control},
};

use crate::{golden, nesting, random::Random, tunnel::turned};

/// Frames of one flow within one tick: more than a 16-bit count with a sign bit to spare holds.
const BURST: u32 = 60_000;
/// Frames between bursts.
const BURST_EVERY: u64 = 250_000;
/// Octets of a generated frame, at most.
const FRAME_OCTETS_MAX: usize = 1600;
/// Hosts that generated flows are between: few, so that flows have many packets.
const HOSTS: u64 = 6;

/// One end's sequence numbers, and the ports of a TCP conversation.
#[derive(Clone, Debug)]
struct Talk {
    pair: Pair,
    ports: [u16; 2],
    next: [u32; 2],
    /// Segments that were left out and may come later.
    held: Vec<(usize, u32, u32)>,
}

/// An endless mixture of frames.
#[derive(Debug)]
pub struct Traffic {
    random: Random,
    scene: Vec<Vec<u8>>,
    golden: Vec<Vec<u8>>,
    talks: Vec<Talk>,
    at: u64,
    count: u64,
    burst: Option<(u32, [Vec<u8>; 2])>,
}

impl Traffic {
    /// The mixture of a seed.
    pub fn new(seed: u64) -> Self {
        let scene =
            Scene::new(seed, SceneSize { jumbo: true, ..SceneSize::default() }).frames().map(|frame| frame.octets).collect();
        let cases = [golden::sound(), golden::odd()].concat();
        let golden = cases.into_iter().flat_map(|case| case.frames).map(|frame| frame.octets).collect();
        let mut random = Random::new(seed);
        let talks = (0..24).map(|_| talk(&mut random)).collect();
        Self { random, scene, golden, talks, at: 1 << 40, count: 0, burst: None }
    }

    /// The next frame and its time, which never runs backwards.
    pub fn draw(&mut self) -> (u64, Vec<u8>) {
        self.count += 1;
        if self.count.is_multiple_of(BURST_EVERY) {
            self.start_burst();
        }
        if let Some((left, frames)) = &mut self.burst
            && *left > 0
        {
            *left -= 1;
            self.at += 1000;
            return (self.at, frames[usize::from(*left % 3 == 0)].clone());
        }
        let r = &mut self.random;
        self.at += match r.below(4000) {
            0 => r.below(5_000_000_000),
            1..100 => 0,
            100..200 => r.below(20_000_000),
            _ => r.below(60_000),
        };
        let kind = r.below(20);
        let mut frame = match kind {
            0..4 => self.scene[r.index(self.scene.len())].clone(),
            4..9 => {
                let i = r.index(self.talks.len());
                segment(r, &mut self.talks[i])
            }
            9..14 => packet(r),
            14 => link_frame(r),
            15 => {
                let octets = 14 + r.index(200);
                r.octets(octets)
            }
            16 => self.golden[r.index(self.golden.len())].clone(),
            _ => {
                let innermost = match r.below(4) {
                    0 => link_frame(r),
                    1 => packet(r),
                    _ => {
                        let i = r.index(self.talks.len());
                        segment(r, &mut self.talks[i])
                    }
                };
                let link = any_link(r);
                nesting::around(r, &link, innermost)
            }
        };
        // Headers in tunnels are deeper.
        let front = if kind > 15 { 300 } else { 100 };
        if self.random.once_in(3) {
            damage(&mut self.random, &mut frame, front);
        }
        (self.at, frame)
    }

    /// The next frames are all of one conversation, inside one tick.
    fn start_burst(&mut self) {
        // To the start of the next tick.
        self.at = ((self.at >> 29) + 1) << 29;
        let talk = talk(&mut self.random);
        let payload = self.random.octets(30);
        let frames = [0, 1].map(|way| segment_of(&talk, way, control::ACK, talk.next[way], 500, &[], &payload));
        let link = |way: usize| Link { target: mac(1 - way as u8), source: mac(way as u8), tags: Vec::new() };
        let frames = [0, 1].map(|way| wrap(&link(way), &talk, way, &frames[way]));
        self.burst = Some((BURST, frames));
    }
}

fn mac(host: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, host]
}

fn hosts(r: &mut Random) -> Pair {
    let (a, b) = (r.below(HOSTS) as u8, r.below(HOSTS) as u8);
    if r.once_in(3) {
        let host = |n: u8| Ipv6Addr::new(0xfd00, 0, 0, u16::from(n & 1), 0, 0, 0, u16::from(n));
        Pair::V6(host(a), host(b))
    } else {
        Pair::V4(Ipv4Addr::new(10, 0, 0, a), Ipv4Addr::new(10, 0, 0, b))
    }
}

fn tags(r: &mut Random) -> Vec<Tag> {
    let count = if r.once_in(2) { 0 } else { r.index(6) };
    let tag = |r: &mut Random| Tag { protocol: r.of(&[0x8100, 0x88a8, 0x9100]), control: (r.draw() as u16) & 0xf007 };
    (0..count).map(|_| tag(r)).collect()
}

fn any_link(r: &mut Random) -> Link {
    let tags = tags(r);
    Link { target: mac(r.below(HOSTS) as u8), source: mac(r.below(HOSTS) as u8), tags }
}

fn port(r: &mut Random) -> u16 {
    match r.below(8) {
        0 => r.draw() as u16,
        1..4 => r.of(&[
            53, 67, 68, 69, 104, 123, 137, 161, 514, 546, 547, 1900, 2575, 2761, 2762, 3702, 5060, 5353, 5683, 6661, 11112, 47808,
        ]),
        _ => 40_000 + r.below(4) as u16,
    }
}

fn payload(r: &mut Random) -> Vec<u8> {
    let octets = match r.below(8) {
        0 => 0,
        1 => r.index(8),
        2 => 120 + r.index(16),
        3 => 506 + r.index(12),
        4 => 1400 + r.index(110),
        _ => r.index(400),
    };
    let mut payload = r.octets(octets);
    let lead: &[u8] = match r.below(12) {
        0 => &[1, 0, 0, 0, 0, 0xcd, 0, 1],
        1 => &[2, 0, 0, 0, 0, 0xb8, 0, 1],
        2 => b"\x0bMSH|^~\\&",
        _ => &[],
    };
    for (octet, lead) in payload.iter_mut().zip(lead) {
        *octet = *lead;
    }
    payload
}

fn talk(r: &mut Random) -> Talk {
    let ports = [port(r), port(r)];
    Talk { pair: hosts(r), ports, next: [r.draw() as u32, r.of(&[0, u32::MAX - 300, r.clone().draw() as u32])], held: Vec::new() }
}

fn options(r: &mut Random) -> Vec<u8> {
    match r.below(4) {
        0 => Vec::new(),
        1 => vec![2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, r.octet()],
        2 => {
            let octets = r.index(41);
            r.octets(octets)
        }
        _ => {
            let mut options = Vec::new();
            while options.len() < 36 && !r.once_in(9) {
                let kind = r.of(&[0, 1, 1, 1, 2, 3, 4, 5, 8, 14, 15, 30, 254]);
                let length = if r.once_in(5) { r.octet() % 12 } else { [1, 1, 4, 3, 2][usize::from(kind).min(4)] };
                options.push(kind);
                if kind > 1 {
                    options.push(length);
                    options.extend(r.octets(usize::from(length.saturating_sub(2))));
                }
            }
            options.truncate(40);
            options
        }
    }
}

fn segment_of(talk: &Talk, way: usize, bits: u8, sequence: u32, window: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let ports = if way == 0 { talk.ports } else { [talk.ports[1], talk.ports[0]] };
    let header = Tcp { ports, sequence, acknowledgement: talk.next[1 - way], control_bits: bits, window, options };
    frame::tcp(turned(talk.pair, way), &header, payload)
}

fn wrap(link: &Link, talk: &Talk, way: usize, segment: &[u8]) -> Vec<u8> {
    let ip = Ip::new(turned(talk.pair, way), frame::TCP);
    let packet = frame::packets(&ip, segment, usize::from(u16::MAX)).swap_remove(0);
    frame::ethernet(link, talk.pair.ethertype(), &packet)
}

/// The next segment of a conversation: in order, again, ahead of a gap, or late into one.
fn segment(r: &mut Random, talk: &mut Talk) -> Vec<u8> {
    let way = r.index(2);
    let window = if r.once_in(12) { 0 } else { r.draw() as u16 };
    let data = payload(r);
    let octets = data.len() as u32;
    let (bits, sequence, data) = match r.below(24) {
        0 => (control::SYN, talk.next[way], if r.once_in(8) { data } else { Vec::new() }),
        1 => (control::SYN | control::ACK, talk.next[way], Vec::new()),
        2 => (control::FIN | control::ACK, talk.next[way], data),
        3 => (r.of(&[control::RST, control::RST | control::ACK]), talk.next[way], Vec::new()),
        4..7 => (control::ACK, talk.next[way].wrapping_sub(r.below(3000) as u32), data),
        7..10 => {
            talk.held.push((way, talk.next[way], octets));
            talk.next[way] = talk.next[way].wrapping_add(octets);
            (control::ACK, talk.next[way], data)
        }
        10..13 if !talk.held.is_empty() => {
            let (way, sequence, octets) = talk.held.swap_remove(r.index(talk.held.len()));
            let part = r.of(&[1, 1, 2]);
            let data = r.octets(octets as usize / part);
            let bits = control::ACK | r.of(&[0, control::PSH]);
            let segment = segment_of(talk, way, bits, sequence, window, &[], &data);
            return wrap(&any_link(r), talk, way, &segment);
        }
        13 => (r.octet(), r.draw() as u32, data),
        _ => (control::ACK, talk.next[way], data),
    };
    if matches!(bits & (control::SYN | control::FIN | control::RST), 0 | control::SYN | control::FIN)
        && sequence == talk.next[way]
    {
        let flags = u32::from(bits & (control::SYN | control::FIN) != 0);
        talk.next[way] = talk.next[way].wrapping_add(data.len() as u32 + flags);
    }
    talk.held.truncate(16);
    let options = if bits & control::SYN != 0 || r.once_in(6) { options(r) } else { Vec::new() };
    let segment = segment_of(talk, way, bits, sequence, window, &options, &data);
    wrap(&any_link(r), talk, way, &segment)
}

/// An IP packet of any protocol, perhaps a fragment, perhaps with options or extension headers.
fn packet(r: &mut Random) -> Vec<u8> {
    let pair = hosts(r);
    let protocol = r.of(&[17, 17, 17, 6, 1, 58, 132, 33, 136, 2, 47, 50, 112, r.clone().octet()]);
    let data = payload(r);
    let ports = [port(r), port(r)];
    let segment = match (protocol, pair) {
        (17 | 136, _) => frame::udp(pair, ports, &data),
        (6, _) => {
            let options = options(r);
            let header = Tcp {
                ports,
                sequence: r.draw() as u32,
                control_bits: r.octet(),
                window: 9,
                options: &options,
                acknowledgement: 0,
            };
            frame::tcp(pair, &header, &data)
        }
        (1, _) | (58, Pair::V4(..)) => frame::icmp(r.octet() % 44, r.octet() % 4, [0, 1, 0, 2], &data),
        (58, Pair::V6(a, b)) => frame::icmpv6(a, b, 126 + r.octet() % 32, 0, [0; 4], &data),
        (132 | 33, _) => {
            let head = [ports[0].to_be_bytes(), ports[1].to_be_bytes()];
            [head.as_flattened(), &r.octets(8), &data].concat()
        }
        _ => data,
    };
    let ip = Ip {
        pair,
        protocol,
        hops: r.octet(),
        class: r.octet(),
        id: r.draw() as u32,
        dont_fragment: r.once_in(4),
        router_alert: r.once_in(12),
    };
    let mtu = if r.once_in(4) { 68 + r.index(600) } else { usize::from(u16::MAX) };
    let mut packets = frame::packets(&ip, &segment, mtu);
    let mut packet = packets.swap_remove(r.index(packets.len()));
    match pair {
        Pair::V4(..) if r.once_in(6) => with_options(r, &mut packet),
        Pair::V6(..) if r.once_in(2) => with_extensions(r, &mut packet),
        _ => {}
    }
    frame::ethernet(&any_link(r), pair.ethertype(), &packet)
}

/// Puts IPv4 options behind the fixed header; the lengths agree.
fn with_options(r: &mut Random, packet: &mut Vec<u8>) {
    let words = 1 + r.index(10);
    if packet[0] & 15 != 5 {
        return;
    }
    packet.splice(20..20, r.octets(words * 4));
    packet[0] += words as u8;
    let total = (packet.len() as u16).to_be_bytes();
    packet[2..4].copy_from_slice(&total);
}

/// Puts IPv6 extension headers behind the fixed header: up to two more than are walked.
fn with_extensions(r: &mut Random, packet: &mut Vec<u8>) {
    let mut next = packet[6];
    for _ in 0..r.index(10) {
        let kind = r.of(&[0, 43, 44, 51, 60, 135, 139, 140]);
        let units = r.index(4);
        let (length, octets) = match kind {
            44 => (r.octet(), 8),
            51 => (2 * units as u8 + if r.once_in(4) { 1 } else { 0 }, 8 + 8 * units),
            _ => (units as u8, 8 + 8 * units),
        };
        let mut header = r.octets(octets);
        header[0] = next;
        header[1] = length;
        if kind == 44 {
            header[2..4].copy_from_slice(&r.of(&[[0, 0], [0, 1], [0, 9], [5, 0]]));
        }
        packet.splice(40..40, header);
        next = kind;
    }
    packet[6] = next;
    let length = ((packet.len() - 40) as u16).to_be_bytes();
    packet[4..6].copy_from_slice(&length);
}

/// ARP, LLC, SNAP, or any ethertype.
fn link_frame(r: &mut Random) -> Vec<u8> {
    let link = any_link(r);
    let data = payload(r);
    match r.below(5) {
        0 => {
            let host = |n: u8| (mac(n), Ipv4Addr::new(10, 0, 0, n));
            let arp = frame::arp(1 + r.below(2) as u16, host(r.below(HOSTS) as u8), host(r.below(HOSTS) as u8));
            frame::ethernet(&link, frame::ETHERTYPE_ARP, &arp)
        }
        1 => frame::ieee_802_3(&link, &[&[0x42, 0x42, 3], &data[..]].concat()),
        2 => frame::ieee_802_3(&link, &[&[0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0], &data[..]].concat()),
        3 => frame::ethernet(&link, r.of(&[0x88cc, 0x888e, 0x8892, 0x8847, 0x05ff, 0x0600]), &data),
        _ => frame::ethernet(&link, r.draw() as u16, &data),
    }
}

/// Flips octets, sets length fields to edges, cuts the frame short, or adds a trailer; most often in its `front`.
fn damage(r: &mut Random, frame: &mut Vec<u8>, front: usize) {
    match r.below(6) {
        0..3 => {
            let front = if r.once_in(3) { frame.len() } else { frame.len().min(front) };
            for _ in 0..1 + r.below(6) {
                let at = r.index(front);
                frame[at] = if r.once_in(2) { r.octet() } else { frame[at] ^ 1 << r.below(8) };
            }
        }
        3 => {
            let at = 12 + r.index(frame.len().min(front) - 12);
            let edge = r.of(&[0u16, 1, 7, 8, 19, 20, 40, 0x3fff, 0x7fff, 0xffff]);
            for (octet, edge) in frame[at..].iter_mut().zip(edge.to_be_bytes()) {
                *octet = edge;
            }
        }
        4 => {
            let least = if r.once_in(20) { 6 } else { 14 };
            let near = if r.once_in(2) { frame.len().min(front) } else { frame.len() };
            frame.truncate(least + r.index(near - least + 1));
        }
        _ => {
            let trailer = r.index(64);
            frame.extend(r.octets(trailer));
        }
    }
    frame.truncate(FRAME_OCTETS_MAX.max(9100));
}
