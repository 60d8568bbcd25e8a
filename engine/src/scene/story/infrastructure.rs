//! The network itself: addresses, neighbours, time, monitoring, logs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::scene::{
    device::{ROUTER, Stack},
    frame::{self, ETHERTYPE_ARP, ETHERTYPE_LLDP, Ip, Link, Pair},
    payload::{link, network},
    stage::{Family, Id, MICRO, MILLI, Message, SECOND, Stage, broadcast_of, group_mac},
};

const BROADCAST: [u8; 6] = [0xff; 6];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const LISTENERS_V2: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

/// The router's address in a device's network.
fn gateway(stage: &Stage<'_>, near: Id) -> Ipv4Addr {
    let [a, b, c, _] = stage.device(near).v4().octets();
    Ipv4Addr::new(a, b, c, 1)
}

/// A frame of the router in a device's VLAN.
fn from_router(stage: &mut Stage<'_>, at: u64, near: Id, target: [u8; 6], ethertype: u16, packet: &[u8]) {
    let router = stage.named(ROUTER);
    let link = Link { target, source: stage.device(router).mac.0, tags: stage.device(near).tags() };
    stage.put(at, router, frame::ethernet(&link, ethertype, packet));
}

/// Vendor class and parameter request list per kind of machine.
fn fingerprint(category: &str, stack: Stack) -> (&'static str, &'static [u8]) {
    match (category, stack) {
        ("infusion_pump", _) => ("NorthlakeRill7", &[1, 3, 6, 42]),
        ("patient_monitor", _) => ("AureliaVista", &[1, 3, 6, 12, 15, 42, 66]),
        ("voip_phone", _) => ("VantryV20", &[1, 2, 3, 6, 12, 15, 42, 66, 150]),
        ("printer" | "label_printer", _) => ("Papermill Printer", &[1, 3, 6, 15, 44, 12, 81]),
        ("ip_camera", _) => ("Oculine Dome", &[1, 3, 6, 12, 28, 42]),
        (_, Stack::Windows) => ("MSFT 5.0", &[1, 3, 6, 15, 31, 33, 43, 44, 46, 47, 119, 121, 249, 252]),
        (_, Stack::Linux) => ("udhcp 1.36.1", &[1, 3, 6, 12, 15, 28, 42]),
        (_, Stack::Embedded) => ("lwIP", &[1, 3, 28, 6]),
    }
}

/// Every client that is no server gets its address from the DHCP server, through the router as relay-less broadcast.
pub(super) fn leases(stage: &mut Stage<'_>, at: u64, _: u32) {
    let server = stage.named("dhcp-1");
    let server_ip = stage.device(server).v4();
    let clients: Vec<Id> = (0..stage.devices.len()).map(Id).filter(|id| stage.device(*id).vlan.unwrap_or(1) >= 20).collect();
    for (n, client) in clients.into_iter().enumerate() {
        let device = stage.device(client).clone();
        let (vendor_class, parameters) = fingerprint(device.category, device.stack);
        let router = gateway(stage, client);
        let lease = network::Lease {
            transaction: stage.random.next() as u32,
            mac: device.mac.0,
            host: device.name,
            vendor_class,
            parameters,
            address: device.v4(),
            server: server_ip,
            router,
        };
        let start = at + n as u64 * 7 * MILLI;
        for (step, kind) in [1, 2, 3, 5].into_iter().enumerate() {
            let time = start + step as u64 * 900 * MICRO;
            let message = network::dhcp(kind, &lease);
            if step % 2 == 0 {
                let pair = Pair::V4(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
                let ip = Ip { hops: device.hops(), ..Ip::new(pair, frame::UDP) };
                stage.segment(time, client, BROADCAST, &ip, &frame::udp(pair, [68, 67], &message), 1500);
            } else {
                let pair = Pair::V4(router, Ipv4Addr::BROADCAST);
                let packet = frame::packets(&Ip::new(pair, frame::UDP), &frame::udp(pair, [67, 68], &message), 1500).remove(0);
                from_router(stage, time, client, BROADCAST, frame::ETHERTYPE_IPV4, &packet);
            }
        }
        let own = device.v4();
        stage.link(start + 5 * MILLI, client, BROADCAST, ETHERTYPE_ARP, &frame::arp(1, (device.mac.0, own), ([0; 6], own)));
    }
}

/// IPv6 comes up: duplicate address detection, listener reports, router solicitation and advertisement.
pub(super) fn neighbours(stage: &mut Stage<'_>, at: u64, _: u32) {
    let hosts: Vec<Id> = (0..stage.devices.len()).map(Id).filter(|id| stage.device(*id).stack != Stack::Embedded).collect();
    for (n, id) in hosts.into_iter().enumerate() {
        let device = stage.device(id).clone();
        let start = at + n as u64 * 11 * MILLI;
        let local = device.link_local();
        let low = local.octets();
        let solicited = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(low[13]), u16::from_be_bytes([low[14], low[15]]));
        let solicited_mac = group_mac(IpAddr::V6(solicited));
        let report = [&[4, 0, 0, 0][..], &solicited.octets()].concat();
        let message = Message { kind: 143, rest: [0, 0, 0, 1], payload: &report };
        stage.icmpv6(start, id, [local, LISTENERS_V2], group_mac(IpAddr::V6(LISTENERS_V2)), 1, message);
        let message = Message { kind: 135, rest: [0; 4], payload: &low };
        stage.icmpv6(start + MILLI, id, [Ipv6Addr::UNSPECIFIED, solicited], solicited_mac, 255, message);
        let source = network::link_address_option(1, device.mac.0);
        let message = Message { kind: 133, rest: [0; 4], payload: &source };
        stage.icmpv6(start + 2 * MILLI, id, [local, ALL_ROUTERS], group_mac(IpAddr::V6(ALL_ROUTERS)), 255, message);
        let mut prefix = device.v6().octets();
        prefix[8..].fill(0);
        let router = stage.device(stage.named(ROUTER)).clone();
        let mut advertisement = vec![0; 8];
        advertisement.extend(network::link_address_option(1, router.mac.0));
        advertisement.extend(network::prefix_option(prefix));
        let pair = (router.link_local(), ALL_NODES);
        let segment = frame::icmpv6(pair.0, pair.1, 134, 0, [64, 0, 7, 8], &advertisement);
        let ip = Ip { hops: 255, ..Ip::new(Pair::V6(pair.0, pair.1), frame::ICMPV6) };
        let packet = frame::packets(&ip, &segment, 1500).remove(0);
        from_router(stage, start + 3 * MILLI, id, group_mac(IpAddr::V6(ALL_NODES)), frame::ETHERTYPE_IPV6, &packet);
        if let Some(peer) = neighbour_of(stage, id) {
            resolve_v6(stage, start + 5 * MILLI, id, peer);
        }
    }
}

fn neighbour_of(stage: &Stage<'_>, id: Id) -> Option<Id> {
    let me = stage.device(id);
    let same = |other: &Id| {
        let other = stage.device(*other);
        other.vlan == me.vlan && other.service_vlan == me.service_vlan && other.mac != me.mac && other.name != ROUTER
    };
    (0..stage.devices.len()).map(Id).find(same)
}

fn resolve_v6(stage: &mut Stage<'_>, at: u64, asks: Id, answers: Id) {
    let (a, b) = (stage.device(asks).clone(), stage.device(answers).clone());
    let low = b.v6().octets();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(low[13]), u16::from_be_bytes([low[14], low[15]]));
    let payload = [&low[..], &network::link_address_option(1, a.mac.0)].concat();
    let message = Message { kind: 135, rest: [0; 4], payload: &payload };
    stage.icmpv6(at, asks, [a.v6(), group], group_mac(IpAddr::V6(group)), 255, message);
    let payload = [&low[..], &network::link_address_option(2, b.mac.0)].concat();
    let message = Message { kind: 136, rest: [0x60, 0, 0, 0], payload: &payload };
    stage.icmpv6(at + 300 * MICRO, answers, [b.v6(), a.v6()], a.mac.0, 255, message);
}

/// LLDP and CDP of switches, access points and phones; multicast membership reports.
pub(super) fn announcements(stage: &mut Stage<'_>, at: u64, _: u32) {
    let speakers = [stage.of("network_switch"), stage.of("access_point"), stage.of("router"), stage.of("voip_phone")].concat();
    for (n, id) in speakers.into_iter().enumerate() {
        let device = stage.device(id).clone();
        let start = at + n as u64 * 60 * MILLI;
        let description = format!("{} {} software 12.4.1", device.manufacturer, device.model);
        let unit = link::lldp(device.mac.0, "ge-0/0/1", device.name, &description, device.v4().octets());
        stage.link(start, id, [1, 0x80, 0xc2, 0, 0, 0x0e], ETHERTYPE_LLDP, &unit);
        if device.category == "network_switch" {
            let packet = link::cdp(device.name, "GigabitEthernet0/1", &description, device.model, device.v4().octets());
            let header = Link { target: [1, 0, 0x0c, 0xcc, 0xcc, 0xcc], source: device.mac.0, tags: device.tags() };
            stage.put(start + 4 * MILLI, id, frame::ieee_802_3(&header, &packet));
        }
    }
    for (n, id) in stage.of("patient_monitor").into_iter().enumerate() {
        let group = Ipv4Addr::new(239, 20, 0, 1);
        let pair = Pair::V4(stage.device(id).v4(), group);
        let ip = Ip { hops: 1, router_alert: true, ..Ip::new(pair, frame::IGMP) };
        let report = frame::icmp(0x16, 0, group.octets(), &[]);
        stage.segment(at + (500 + n as u64 * 9) * MILLI, id, group_mac(IpAddr::V4(group)), &ip, &report, 1500);
    }
}

/// Spanning tree hellos.
pub(super) fn spanning_tree(stage: &mut Stage<'_>, at: u64, _: u32) {
    let switch = stage.named("switch-core");
    let source = stage.device(switch).mac.0;
    let link = Link { target: [1, 0x80, 0xc2, 0, 0, 0], source, tags: Vec::new() };
    stage.put(at, switch, frame::ieee_802_3(&link, &link::rstp(source, 1)));
}

/// Hosts refresh the router's link address, and one another's.
pub(super) fn address_resolution(stage: &mut Stage<'_>, at: u64, _: u32) {
    let router_mac = stage.device(stage.named(ROUTER)).mac.0;
    for index in 1..stage.devices.len() {
        let id = Id(index);
        let (mac, ip) = (stage.device(id).mac.0, stage.device(id).v4());
        let start = at + index as u64 * 90 * MILLI;
        let hop = gateway(stage, id);
        stage.link(start, id, BROADCAST, ETHERTYPE_ARP, &frame::arp(1, (mac, ip), ([0; 6], hop)));
        from_router(stage, start + 200 * MICRO, id, mac, ETHERTYPE_ARP, &frame::arp(2, (router_mac, hop), (mac, ip)));
        if let Some(peer) = neighbour_of(stage, id).filter(|_| index % 3 == 0) {
            let (peer_mac, peer_ip) = (stage.device(peer).mac.0, stage.device(peer).v4());
            stage.link(start + MILLI, id, BROADCAST, ETHERTYPE_ARP, &frame::arp(1, (mac, ip), ([0; 6], peer_ip)));
            stage.link(start + 2 * MILLI, peer, mac, ETHERTYPE_ARP, &frame::arp(2, (peer_mac, peer_ip), (mac, ip)));
        }
    }
}

fn ping(stage: &mut Stage<'_>, at: u64, from: Id, to: Id, number: u32, octets: usize) {
    let rest = [0, 1 + from.0 as u8, (number >> 8) as u8, number as u8];
    let payload: Vec<u8> = (0..octets).map(|n| n as u8).collect();
    stage.icmp(at, from, to, [8, 0], rest, &payload);
    stage.icmp(at + 450 * MICRO, to, from, [0, 0], rest, &payload);
}

/// The log server pings what it watches; the clinic's two machines ping each other; somebody hits a closed UDP port.
pub(super) fn pings(stage: &mut Stage<'_>, at: u64, turn: u32) {
    let log = stage.named("log-1");
    for (n, name) in ["ups-1", "switch-core", "monitor-301", "pacs-1", "pump-301", "bms-1"].into_iter().enumerate() {
        let target = stage.named(name);
        ping(stage, at + n as u64 * 40 * MILLI, log, target, turn, 56);
    }
    let (scanner, desk) = (stage.named("clinic-us"), stage.named("clinic-ws"));
    ping(stage, at + 300 * MILLI, desk, scanner, turn, 32);
    let (from, to) = (stage.named("ws-103"), stage.named("ehr-1"));
    let (a, b) = (stage.device(from).v4(), stage.device(to).v4());
    let port = stage.port();
    stage.udp(at + 400 * MILLI, from, to, Family::V4, [port, 33_434], &[0; 12]);
    let pair = Pair::V4(a, b);
    let ip = Ip { hops: 128, ..Ip::new(pair, frame::UDP) };
    let original = frame::packets(&ip, &frame::udp(pair, [port, 33_434], &[0; 12]), 1500).remove(0);
    stage.icmp(at + 401 * MILLI, to, from, [3, 3], [0; 4], &original[..28]);
    let (v6_from, v6_to) = (stage.named("ws-101"), stage.named("dns-1"));
    ping_v6(stage, at + 500 * MILLI, v6_from, v6_to, turn, 56);
}

fn ping_v6(stage: &mut Stage<'_>, at: u64, from: Id, to: Id, number: u32, octets: usize) {
    let rest = [0, 9, (number >> 8) as u8, number as u8];
    let payload: Vec<u8> = (0..octets).map(|n| n as u8).collect();
    for (kind, a, b, time) in [(128, from, to, at), (129, to, from, at + 600 * MICRO)] {
        let addresses = [stage.device(a).v6(), stage.device(b).v6()];
        let target = stage.next_hop(a, b);
        stage.icmpv6(time, a, addresses, target, 64, Message { kind, rest, payload: &payload });
    }
}

/// Pings that need fragments, of both families.
pub(super) fn large_pings(stage: &mut Stage<'_>, at: u64, turn: u32) {
    let (log, nas, dns) = (stage.named("log-1"), stage.named("nas-1"), stage.named("dns-1"));
    let camera = stage.named("cam-1");
    ping(stage, at, log, nas, 1000 + turn, 4000);
    ping(stage, at + 20 * MILLI, log, camera, 2000 + turn, 2000);
    ping_v6(stage, at + 40 * MILLI, log, dns, 3000 + turn, 3600);
}

/// Clocks are set.
pub(super) fn time(stage: &mut Stage<'_>, at: u64, _: u32) {
    let server = stage.named("dc-1");
    for (n, category) in ["patient_monitor", "ct", "ip_camera", "bms_controller", "infusion_pump"].into_iter().enumerate() {
        for (m, client) in stage.of(category).into_iter().enumerate() {
            let start = at + (n * 200 + m * 30) as u64 * MILLI;
            stage.udp(start, client, server, Family::V4, [123, 123], &network::ntp(3, start));
            let answer = start + 700 * MICRO;
            stage.udp(answer, server, client, Family::V4, [123, 123], &network::ntp(4, answer));
        }
    }
}

/// SNMP polling of what has an agent.
pub(super) fn polling(stage: &mut Stage<'_>, at: u64, turn: u32) {
    let log = stage.named("log-1");
    for (n, category) in ["network_switch", "ups", "pdu", "printer", "access_point"].into_iter().enumerate() {
        for (m, agent) in stage.of(category).into_iter().enumerate() {
            let device = stage.device(agent);
            let description = format!("{} {} V2.7.{}", device.manufacturer, device.model, m + 1);
            let [ask, answer] = network::snmp_get(turn * 100 + (n * 10 + m) as u32 + 1, &description, device.name);
            let (start, port) = (at + (n * 50 + m * 9) as u64 * MILLI, stage.port());
            stage.udp(start, log, agent, Family::V4, [port, 161], &ask);
            stage.udp(start + 2 * MILLI, agent, log, Family::V4, [161, port], &answer);
        }
    }
}

/// Syslog: the log server is heard one-sided by nature; every eighth message is long and comes in fragments.
pub(super) fn logs(stage: &mut Stage<'_>, at: u64, turn: u32) {
    let log = stage.named("log-1");
    for (n, name) in ["switch-core", "switch-ward-3", "core-router", "nas-1", "engine-1", "nvr-1"].into_iter().enumerate() {
        let from = stage.named(name);
        let start = at + n as u64 * 35 * MILLI;
        let text = if (turn as usize + n) % 8 == 7 {
            format!("audit[{}]: {}", turn + 100, "configuration line unchanged; ".repeat(110))
        } else {
            format!("link[{}]: port {} state up", turn + 100, n + 1)
        };
        stage.udp(start, from, log, Family::V4, [514, 514], &network::syslog(134, start, name, &text));
    }
}

/// The UPS comes back, and says so; it also broadcasts its presence.
pub(super) fn trap(stage: &mut Stage<'_>, at: u64, turn: u32) {
    let (ups, log) = (stage.named("ups-1"), stage.named("log-1"));
    let port = stage.port();
    stage.udp(at, ups, log, Family::V4, [port, 162], &network::snmp_trap(turn + 1, 512));
    let everybody = broadcast_of(stage.device(ups).v4());
    stage.cast(at + SECOND, ups, everybody, 64, [port, 7_117], b"MPWR Sentry 3000 load=31 battery=100");
}
