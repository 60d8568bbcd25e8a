//! Where stories play: messages between devices → frames with the right link headers, on the port of their sender.
//!
//! The tap mirrors what enters the switch, so a routed packet is seen once: in its sender's VLAN, addressed to the router.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    SceneFrame,
    device::{ROUTER, SceneDevice},
    frame::{self, Ip, Link, Pair},
    random::Random,
};

/// One second in nanoseconds.
pub(super) const SECOND: u64 = 1_000_000_000;
/// One millisecond in nanoseconds.
pub(super) const MILLI: u64 = 1_000_000;
/// One microsecond in nanoseconds.
pub(super) const MICRO: u64 = 1_000;

/// IP family of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// A device by its place in the inventory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(pub(super) usize);

/// What a story needs: the devices, chance, and a place to put frames.
pub(super) struct Stage<'a> {
    pub(super) devices: &'a [SceneDevice],
    pub(super) random: Random,
    /// End of the scene: what would come later is not played.
    pub(super) end: u64,
    /// MTU between storage servers.
    pub(super) storage_mtu: usize,
    pub(super) next_port: &'a mut u16,
    pub(super) out: &'a mut Vec<SceneFrame>,
}

impl Stage<'_> {
    /// The device of that name. The names are in the program, so an unknown one is the router.
    pub(super) fn named(&self, name: &str) -> Id {
        Id(self.devices.iter().position(|device| device.name == name).unwrap_or(0))
    }

    /// All devices of a category.
    pub(super) fn of(&self, category: &str) -> Vec<Id> {
        (0..self.devices.len()).filter(|index| self.devices[*index].category == category).map(Id).collect()
    }

    pub(super) fn device(&self, id: Id) -> &SceneDevice {
        &self.devices[id.0]
    }

    /// Some device of a category.
    pub(super) fn any(&mut self, category: &str) -> Id {
        let all = self.of(category);
        let pick = self.random.below(all.len().max(1) as u64) as usize;
        all.get(pick).copied().unwrap_or(Id(0))
    }

    /// A client port that was not used lately.
    pub(super) fn port(&mut self) -> u16 {
        *self.next_port = if *self.next_port >= 64_999 { 49_152 } else { *self.next_port + 1 };
        *self.next_port
    }

    pub(super) fn pair(&self, from: Id, to: Id, family: Family) -> Pair {
        match family {
            Family::V4 => Pair::V4(self.device(from).v4(), self.device(to).v4()),
            Family::V6 => Pair::V6(self.device(from).v6(), self.device(to).v6()),
        }
    }

    /// Hands a finished frame over, unless the scene has ended.
    pub(super) fn put(&mut self, at: u64, from: Id, octets: Vec<u8>) {
        if at < self.end {
            let port = self.device(from).port;
            self.out.push(SceneFrame { at_nanos: at, octets, port });
        }
    }

    /// A frame to a link address.
    pub(super) fn link(&mut self, at: u64, from: Id, target: [u8; 6], ethertype: u16, payload: &[u8]) {
        let sender = self.device(from);
        let link = Link { target, source: sender.mac.0, tags: sender.tags() };
        self.put(at, from, frame::ethernet(&link, ethertype, payload));
    }

    /// Link address that leads from one device to another: its own in the same VLAN, else the router's.
    pub(super) fn next_hop(&self, from: Id, to: Id) -> [u8; 6] {
        let (a, b) = (self.device(from), self.device(to));
        let local = a.vlan == b.vlan && a.service_vlan == b.service_vlan;
        if local { b.mac.0 } else { self.device(self.named(ROUTER)).mac.0 }
    }

    /// An IP segment, fragmented where the MTU asks for it.
    pub(super) fn segment(&mut self, at: u64, from: Id, target: [u8; 6], ip: &Ip, segment: &[u8], mtu: usize) {
        for (n, packet) in frame::packets(ip, segment, mtu).into_iter().enumerate() {
            self.link(at + n as u64 * 13 * MICRO, from, target, ip.pair.ethertype(), &packet);
        }
    }

    fn header(&mut self, from: Id, pair: Pair, protocol: u8) -> Ip {
        let id = self.random.next() as u32;
        Ip { hops: self.device(from).hops(), id, ..Ip::new(pair, protocol) }
    }

    /// A UDP datagram between devices.
    pub(super) fn udp(&mut self, at: u64, from: Id, to: Id, family: Family, ports: [u16; 2], payload: &[u8]) {
        let pair = self.pair(from, to, family);
        let ip = self.header(from, pair, frame::UDP);
        let target = self.next_hop(from, to);
        self.segment(at, from, target, &ip, &frame::udp(pair, ports, payload), 1500);
    }

    /// As [`Self::udp`] over IPv4, marked with a DSCP.
    pub(super) fn udp_marked(&mut self, at: u64, from: Id, to: Id, dscp: u8, ports: [u16; 2], payload: &[u8]) {
        let pair = self.pair(from, to, Family::V4);
        let ip = Ip { class: dscp << 2, ..self.header(from, pair, frame::UDP) };
        let target = self.next_hop(from, to);
        self.segment(at, from, target, &ip, &frame::udp(pair, ports, payload), 1500);
    }

    /// A UDP datagram to a multicast group or broadcast address.
    pub(super) fn cast(&mut self, at: u64, from: Id, group: IpAddr, hops: u8, ports: [u16; 2], payload: &[u8]) {
        let source = match group {
            IpAddr::V4(_) => IpAddr::V4(self.device(from).v4()),
            IpAddr::V6(_) => IpAddr::V6(self.device(from).link_local()),
        };
        let Some(pair) = Pair::new(source, group) else { return };
        let ip = Ip { hops, ..self.header(from, pair, frame::UDP) };
        self.segment(at, from, group_mac(group), &ip, &frame::udp(pair, ports, payload), 1500);
    }

    /// An ICMP message between devices.
    pub(super) fn icmp(&mut self, at: u64, from: Id, to: Id, kind: [u8; 2], rest: [u8; 4], payload: &[u8]) {
        let pair = self.pair(from, to, Family::V4);
        let ip = self.header(from, pair, frame::ICMP);
        let target = self.next_hop(from, to);
        self.segment(at, from, target, &ip, &frame::icmp(kind[0], kind[1], rest, payload), 1500);
    }

    /// An ICMPv6 message with given addresses; `hops` 255 for neighbour discovery, 1 for listener reports (with router alert).
    pub(super) fn icmpv6(&mut self, at: u64, from: Id, addresses: [Ipv6Addr; 2], to: [u8; 6], hops: u8, message: Message<'_>) {
        let [source, target] = addresses;
        let pair = Pair::V6(source, target);
        let ip = Ip { hops, router_alert: hops == 1, ..self.header(from, pair, frame::ICMPV6) };
        let segment = frame::icmpv6(source, target, message.kind, 0, message.rest, message.payload);
        self.segment(at, from, to, &ip, &segment, 1500);
    }
}

/// An ICMPv6 message.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) kind: u8,
    pub(super) rest: [u8; 4],
    pub(super) payload: &'a [u8],
}

/// Link address of a multicast group (RFC 1112 §6.4, RFC 2464 §7); broadcast for anything else.
pub(super) const fn group_mac(group: IpAddr) -> [u8; 6] {
    match group {
        IpAddr::V4(group) if group.is_multicast() => {
            let [_, b, c, d] = group.octets();
            [1, 0, 0x5e, b & 0x7f, c, d]
        }
        IpAddr::V4(_) => [0xff; 6],
        IpAddr::V6(group) => {
            let octets = group.octets();
            [0x33, 0x33, octets[12], octets[13], octets[14], octets[15]]
        }
    }
}

/// The directed broadcast address of a device's network.
pub(super) const fn broadcast_of(ip: Ipv4Addr) -> IpAddr {
    let [a, b, c, _] = ip.octets();
    IpAddr::V4(Ipv4Addr::new(a, b, c, 255))
}
