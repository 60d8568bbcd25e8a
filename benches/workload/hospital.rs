//! Frames of a hospital's small talk: some three thousand devices that look names up, announce themselves, are polled, ask the time and
//! send a message now and then. Conversations of four packets on average, so that flows are what a meter has most to do with.
//!
//! Everything is invented. Frames come in the order of time, [`FLOWS_PER_SECOND`] conversations a second.

use std::{cmp::Reverse, collections::BinaryHeap, net::Ipv4Addr};

use auscult::scene::frame::{self, Ip, Link, Pair, Tcp, control};

use crate::Dice;

/// Conversations that begin per second.
pub const FLOWS_PER_SECOND: u64 = 500;
const DEVICES: u64 = 3000;
const SERVERS: u64 = 24;

/// The generator; it never ends.
#[derive(Debug)]
pub struct Hospital {
    dice: Dice,
    /// When the next conversation begins, µs.
    next: u64,
    made: u64,
    waiting: BinaryHeap<Reverse<(u64, u64, Vec<u8>)>>,
}

/// Who talks: link and network address.
#[derive(Clone, Copy)]
struct Host {
    mac: [u8; 6],
    address: Ipv4Addr,
}

impl Host {
    fn device(number: u64) -> Self {
        let [.., high, low] = number.to_be_bytes();
        Self { mac: [2, 0x10, 0, 0, high, low], address: Ipv4Addr::new(10, 40 + high, low, 7) }
    }

    fn server(number: u64) -> Self {
        let low = number as u8;
        Self { mac: [2, 0x20, 0, 0, 0, low], address: Ipv4Addr::new(10, 1, 0, 10 + low) }
    }

    fn group(last: u8) -> Self {
        Self { mac: [1, 0, 0x5e, 0, 0, last], address: Ipv4Addr::new(224, 0, 0, last) }
    }
}

impl Hospital {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed), next: 0, made: 0, waiting: BinaryHeap::new() }
    }

    /// The next frame and its time, µs.
    pub fn frame(&mut self) -> (u64, Vec<u8>) {
        loop {
            match self.waiting.peek() {
                Some(Reverse((at, ..))) if *at <= self.next => {
                    if let Some(Reverse((at, _, octets))) = self.waiting.pop() {
                        return (at, octets);
                    }
                }
                _ => self.conversation(),
            }
        }
    }

    fn conversation(&mut self) {
        let at = self.next;
        self.next += self.dice.around(1e6 / FLOWS_PER_SECOND as f64) as u64 + 1;
        let device = Host::device(self.dice.below(DEVICES));
        let server = Host::server(self.dice.below(SERVERS));
        let port = 49_152 + self.dice.below(16_384) as u16;
        match self.dice.below(100) {
            0..40 => self.lookup(at, device, server, port),
            40..52 => {
                let (service, group) = self.dice.pick(&[(1900, 250), (5353, 251), (5355, 252)]);
                let octets = self.text(b"NOTIFY * HTTP/1.1\r\nNT: upnp:rootdevice\r\nUSN: uuid:");
                self.datagram(at, device, Host::group(group), [port, service], &octets);
            }
            52..62 => {
                for poll in 0..2 {
                    let asked = at + poll * 40_000;
                    let answered = asked + 300 + self.dice.around(900.0) as u64;
                    self.datagram(
                        asked,
                        server,
                        device,
                        [port, 161],
                        &[0x30, 0x26, 2, 1, 1, 4, 6, 112, 117, 98, 108, 105, 99, 0xa0],
                    );
                    self.datagram(
                        answered,
                        device,
                        server,
                        [161, port],
                        &[0x30, 0x52, 2, 1, 1, 4, 6, 112, 117, 98, 108, 105, 99, 0xa2],
                    );
                }
            }
            62..68 => {
                let mut time = [0; 48];
                time[0] = 0x23;
                self.datagram(at, device, server, [port, 123], &time);
                time[0] = 0x24;
                self.datagram(at + 700, server, device, [123, port], &time);
            }
            68..90 => self.message(at, device, server, port),
            90..98 => {
                let ask = frame::arp(1, (device.mac, device.address), ([0; 6], server.address));
                let answer = frame::arp(2, (server.mac, server.address), (device.mac, device.address));
                self.add(at, frame::ethernet(&link([0xff; 6], device.mac), frame::ETHERTYPE_ARP, &ask));
                self.add(at + 200, frame::ethernet(&link(device.mac, server.mac), frame::ETHERTYPE_ARP, &answer));
            }
            _ => {
                for (kind, from, to, after) in [(8, server, device, 0), (0, device, server, 350)] {
                    let echo = frame::icmp(kind, 0, [port as u8, 1, 0, 1], &[0x5a; 56]);
                    self.packet(at + after, from, to, frame::ICMP, &echo);
                }
            }
        }
    }

    /// A question for a name's address, and the answer.
    fn lookup(&mut self, at: u64, device: Host, server: Host, port: u16) {
        let host = format!("host-{:04}", self.dice.below(4000));
        let mut octets = vec![port as u8, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, host.len() as u8];
        octets.extend(host.bytes());
        octets.extend(b"\x04ward\x07example\0\0\x01\0\x01");
        self.datagram(at, device, server, [port, 53], &octets);
        (octets[2], octets[7]) = (0x85, 1);
        octets.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 1, 0, 99]);
        let answered = at + 150 + self.dice.around(2_000.0) as u64;
        self.datagram(answered, server, device, [53, port], &octets);
    }

    /// A connection that carries one HL7 message in MLLP framing and its acknowledgement.
    fn message(&mut self, at: u64, device: Host, server: Host, port: u16) {
        let message = self.text(b"\x0bMSH|^~\\&|MON|WARD|ENGINE|CENTRAL|20260105080000||ORU^R01|1|P|2.6\rOBR|1\r");
        let accepted = b"\x0bMSH|^~\\&|ENGINE|CENTRAL|MON|WARD|20260105080000||ACK^R01|1|P|2.6\rMSA|AA|1\r\x1c\r".to_vec();
        let (sent, answered) = (message.len() as u32, accepted.len() as u32);
        let (first, second) = (self.dice.roll() as u32, self.dice.roll() as u32);
        let mut at = at;
        // Whose turn, control bits, octets sent before by either side, payload.
        let steps: [(usize, u8, [u32; 2], &[u8]); 9] = [
            (0, control::SYN, [0, 0], &[]),
            (1, control::SYN | control::ACK, [1, 0], &[]),
            (0, control::ACK, [1, 1], &[]),
            (0, control::PSH | control::ACK, [1, 1], &message),
            (1, control::PSH | control::ACK, [1 + sent, 1], &accepted),
            (0, control::ACK, [1 + sent, 1 + answered], &[]),
            (0, control::FIN | control::ACK, [1 + sent, 1 + answered], &[]),
            (1, control::FIN | control::ACK, [2 + sent, 1 + answered], &[]),
            (0, control::ACK, [2 + sent, 2 + answered], &[]),
        ];
        for (turn, control_bits, before, payload) in steps {
            let (from, to) = if turn == 0 { (device, server) } else { (server, device) };
            let numbers = [first.wrapping_add(before[0]), second.wrapping_add(before[1])];
            let header = Tcp {
                ports: if turn == 0 { [port, 2575] } else { [2575, port] },
                sequence: numbers[turn],
                acknowledgement: if control_bits == control::SYN { 0 } else { numbers[1 - turn] },
                control_bits,
                window: 64_240,
                options: if control_bits & control::SYN != 0 { &[2, 4, 5, 0xb4, 1, 3, 3, 7] } else { &[] },
            };
            let segment = frame::tcp(pair(from, to), &header, payload);
            self.packet(at, from, to, frame::TCP, &segment);
            at += 120 + self.dice.around(1_500.0) as u64;
        }
    }

    /// A beginning, and as many letters as come.
    fn text(&mut self, begins: &[u8]) -> Vec<u8> {
        let mut octets = begins.to_vec();
        let letters = 40 + self.dice.around(160.0) as usize;
        octets.extend((0..letters.min(1100)).map(|n| b'a' + (n % 26) as u8));
        octets
    }

    fn datagram(&mut self, at: u64, from: Host, to: Host, ports: [u16; 2], payload: &[u8]) {
        let segment = frame::udp(pair(from, to), ports, payload);
        self.packet(at, from, to, frame::UDP, &segment);
    }

    fn packet(&mut self, at: u64, from: Host, to: Host, protocol: u8, segment: &[u8]) {
        for packet in frame::packets(&Ip::new(pair(from, to), protocol), segment, 1500) {
            self.add(at, frame::ethernet(&link(to.mac, from.mac), frame::ETHERTYPE_IPV4, &packet));
        }
    }

    fn add(&mut self, at: u64, octets: Vec<u8>) {
        self.made += 1;
        self.waiting.push(Reverse((at, self.made, octets)));
    }
}

fn pair(from: Host, to: Host) -> Pair {
    Pair::V4(from.address, to.address)
}

fn link(target: [u8; 6], source: [u8; 6]) -> Link {
    Link { target, source, tags: Vec::new() }
}
