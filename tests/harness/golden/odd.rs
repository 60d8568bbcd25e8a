//! Frames that end too early, nest too deep, have impossible headers, carry what is not opened, or claim more than is there.

use std::ops::Range;

use auscult::{
    lake::read::JsonRow,
    scene::frame::{self, ETHERTYPE_ARP, ETHERTYPE_IPV4, Ip, Link, Pair, Tag},
};
use serde_json::json;

use super::{ARP_OCTETS, Case, Content, ETHERNET_OCTETS, Framed, INNERMOST, Kind, Plan, Row, Side, framed};
use crate::tunnel::{
    Built, ETHERTYPE_MPLS, ETHERTYPE_PPPOE, Family, GENEVE, Layer, OUTER_CLASS, OUTER_HOPS, Shim, TEREDO, VXLAN, VXLAN_BEFORE,
    link,
};

/// Cases, numbered in order of their making.
struct Sheet {
    cases: Vec<Case>,
    number: u16,
}

/// Octets of an IP header without options.
const fn ip_octets(pair: Pair) -> usize {
    if matches!(pair, Pair::V4(..)) { 20 } else { 40 }
}

impl Plan {
    /// Where the own header of the outermost encapsulation starts and ends in a frame.
    fn shim(&self, built: &Built) -> Range<usize> {
        let layer = &self.layers[0];
        let start = self.content_at() + layer.outer.map_or(0, |pair| ip_octets(pair) + if in_udp(&layer.shim) { 8 } else { 0 });
        let tags = layer.link.as_ref().map_or(0, |link| ETHERNET_OCTETS + 4 * link.tags.len());
        let [inner, outer] = [1, 0].map(|i| built.levels[built.levels.len() - 1 - i].octets().len());
        // What is inside is the last that is inside the outermost layer.
        start..self.content_at() + outer - inner - tags
    }

    /// Where what is behind the outermost link header starts.
    fn content_at(&self) -> usize {
        ETHERNET_OCTETS + 4 * self.link.tags.len()
    }

    /// The row of one frame's packet that is a layer's own, for want of something better inside.
    fn of_layer(&self, index: usize, built: &Built, stop: &'static str) -> Row {
        let layer = &self.layers[index];
        let octets = built.levels[self.layers.len() - index].octets().len();
        let link = self.layers[..index].iter().rev().find_map(|layer| layer.link.as_ref()).unwrap_or(&self.link).clone();
        let tunnels = self.tunnels(index);
        let Some(pair) = layer.outer else {
            let ethertype = if matches!(layer.shim, Shim::Pppoe(_)) { ETHERTYPE_PPPOE } else { ETHERTYPE_MPLS };
            return of_link(link, ethertype, octets, tunnels, stop);
        };
        let (protocol, ports) = match &layer.shim {
            Shim::Vxlan { port, .. } => (frame::UDP, Some([50_000, *port])),
            Shim::Geneve { .. } => (frame::UDP, Some([50_000, GENEVE])),
            Shim::Teredo { .. } => (frame::UDP, Some([50_000, TEREDO])),
            Shim::Ip if self.inside(index) == ETHERTYPE_IPV4 => (4, None),
            Shim::Ip => (41, None),
            _ => (47, None),
        };
        let payload = octets - ip_octets(pair) - if ports.is_some() { 8 } else { 0 };
        let side = Side { octets, payload, hops: Some(OUTER_HOPS), class: Some(OUTER_CLASS) };
        Row {
            pair: Some(pair),
            ports,
            protocol: Some(protocol),
            ethertype: pair.ethertype(),
            link,
            sides: vec![side],
            tunnels,
            stop,
        }
    }

    /// The row of the frame inside of the one layer, of whose packet nothing can be said.
    fn of_frame_inside(&self, stop: &'static str) -> Row {
        let link = self.innermost_link().clone();
        let (ethertype, tags) = link
            .tags
            .first()
            .filter(|_| stop == "vlan_truncated")
            .map_or_else(|| (self.content.ethertype(), 0), |tag| (tag.protocol, 4 * link.tags.len()));
        let link = Link { tags: if tags > 0 { Vec::new() } else { link.tags.clone() }, ..link };
        of_link(link, ethertype, self.content.octets(0) + tags, self.tunnels(1), stop)
    }
}

const fn in_udp(shim: &Shim) -> bool {
    matches!(shim, Shim::Vxlan { .. } | Shim::Geneve { .. } | Shim::Teredo { .. })
}

fn of_link(link: Link, ethertype: u16, octets: usize, tunnels: Vec<super::Shown>, stop: &'static str) -> Row {
    let side = Side { octets, payload: octets, hops: None, class: None };
    Row { pair: None, ports: None, protocol: None, ethertype, link, sides: vec![side], tunnels, stop }
}

impl Sheet {
    fn number(&mut self) -> u16 {
        self.number += 1;
        self.number
    }

    fn plan(&mut self, kind: Kind, outer: Option<Family>, content: Content) -> Plan {
        let number = self.number();
        Plan::new(number, vec![kind.layer(outer, 0, number)], content)
    }

    fn add(&mut self, name: String, frame: Framed, row: &Row) {
        let frames = vec![frame];
        let expect = row.columns(&frames);
        self.cases.push(Case { name, frames, expect, layers: None });
    }

    /// Frames of end 0 only: the innermost packet's row.
    fn add_innermost(&mut self, name: String, plan: &Plan, octets: Vec<u8>, change: impl FnOnce(&mut Row)) {
        let mut row = plan.innermost("complete");
        row.sides.truncate(1);
        change(&mut row);
        self.add(name, framed(octets), &row);
    }
}

/// All of them. Numbers go on behind those of [`super::sound`].
pub fn odd() -> Vec<Case> {
    let mut sheet = Sheet { cases: Vec::new(), number: 4000 };
    too_deep(&mut sheet);
    cut_short(&mut sheet);
    malformed(&mut sheet);
    not_opened(&mut sheet);
    not_opened_of_udp(&mut sheet);
    bounds(&mut sheet);
    ends_inside(&mut sheet);
    fragments(&mut sheet);
    trains(&mut sheet);
    sheet.cases
}

/// Three encapsulations: the row is of the third's own packet.
fn too_deep(sheet: &mut Sheet) {
    let third = |kind: Kind| kind.outers()[0];
    let chains = [
        [Kind::Vxlan, Kind::Geneve, Kind::Vxlan],
        [Kind::Vxlan, Kind::Vxlan, Kind::Pseudowire],
        [Kind::Erspan2, Kind::Vxlan, Kind::Pppoe],
        [Kind::Mpls, Kind::Gre, Kind::Ip],
        [Kind::Pppoe, Kind::Ip, Kind::GreFull],
        [Kind::Gre, Kind::Ip, Kind::Geneve],
        [Kind::GreBridge, Kind::Erspan3, Kind::Erspan1],
        [Kind::Geneve, Kind::Mpls, Kind::Teredo],
        [Kind::Ip, Kind::Ip, Kind::Ip],
        [Kind::Pseudowire, Kind::Erspan3Ip, Kind::Erspan2],
    ];
    for kinds in chains {
        let number = sheet.number();
        let layers = kinds.iter().zip(0u8..).map(|(kind, level)| kind.layer(third(*kind), level, number)).collect();
        let content = if kinds[2].carries(ETHERTYPE_IPV4) { Content::Tcp } else { Content::Udp };
        let plan = Plan::new(number, layers, content);
        let built = plan.build(0);
        let row = plan.of_layer(2, &built, "tunnels_too_deep");
        sheet.add(format!("three: {kinds:?}"), framed(built.octets), &row);
    }
    // A fourth is as deep as a third.
    let number = sheet.number();
    let layers = (0..4).map(|level| Kind::Vxlan.layer(Some(Family::V4), level, number)).collect();
    let plan = Plan::new(number, layers, Content::Tcp);
    let built = plan.build(0);
    let row = plan.of_layer(2, &built, "tunnels_too_deep");
    sheet.add("four VXLANs".into(), framed(built.octets), &row);
}

/// Frames captured up to every octet of tunnel header, inner link header and inner network header.
fn cut_short(sheet: &mut Sheet) {
    for kind in Kind::ALL {
        let content = if kind.carries(ETHERTYPE_IPV4) { Content::Tcp } else { Content::Udp };
        for &outer in kind.outers() {
            let number = sheet.number();
            let sample = Plan::new(number, vec![kind.layer(outer, 0, number)], content);
            let shim = sample.shim(&sample.build(0));
            let link = if kind.carries_frames() { ETHERNET_OCTETS } else { 0 };
            let network = content.headers() - if content == Content::Tcp { 20 } else { 8 };
            for at in shim.start..shim.end + link + network + 8 {
                let plan = sheet.plan(kind, outer, content);
                let built = plan.build(0);
                let is_teredo = matches!(kind, Kind::Teredo | Kind::TeredoOrigin);
                let row = if is_teredo && at < shim.end + 8 {
                    // Nothing says that it is Teredo but the IPv6 header.
                    plan.of_layer(0, &built, "complete")
                } else if kind == Kind::PseudowireBare && (shim.end + 1..shim.end + link).contains(&at) {
                    // Nothing says that it is a frame but the ethertype.
                    plan.of_layer(0, &built, "complete")
                } else if at < shim.end + link || at == shim.end && outer.is_none() && kind != Kind::Pppoe {
                    // Behind a label stack the IP version is needed, too.
                    plan.of_layer(0, &built, "tunnel_truncated")
                } else if kind == Kind::Erspan3Ip && at == shim.end {
                    plan.of_layer(0, &built, "tunnel_truncated")
                } else if at < shim.end + link + network {
                    let stop = "network_truncated";
                    if link > 0 { plan.of_frame_inside(stop) } else { plan.of_layer(0, &built, stop) }
                } else {
                    cut_transport(&plan)
                };
                let frame = Framed { wire: built.octets.len(), octets: built.octets[..at].to_vec() };
                sheet.add(format!("{kind:?} over {outer:?}, {at} octets captured"), frame, &row);
            }
        }
    }
    for captured in 0..4 {
        let mut plan = sheet.plan(Kind::Vxlan, Some(Family::V4), Content::Tcp);
        let tagged = |link: Link| Link { tags: vec![Tag::customer(9)], ..link };
        plan.layers[0].link = plan.layers[0].link.clone().map(tagged);
        let built = plan.build(0);
        let at = plan.shim(&built).end + ETHERNET_OCTETS + captured;
        let frame = Framed { wire: built.octets.len(), octets: built.octets[..at].to_vec() };
        sheet.add(format!("{captured} octets of an inner tag"), frame, &plan.of_frame_inside("vlan_truncated"));
    }
}

/// The row of a packet whose transport header is cut.
fn cut_transport(plan: &Plan) -> Row {
    let mut row = plan.innermost("transport_truncated");
    row.ports = None;
    row.sides.truncate(1);
    row.sides[0].payload = row.sides[0].octets - if plan.content == Content::Tcp { 20 } else { 40 };
    // UDP's eight octets are whole where TCP's twenty are not.
    row
}

/// Inner IP headers of another version or an impossible length.
fn malformed(sheet: &mut Sheet) {
    for kind in Kind::ALL {
        let content = if kind.carries(ETHERTYPE_IPV4) { Content::Tcp } else { Content::Udp };
        for &outer in kind.outers() {
            // Where the IP version says that there is IP, another version is something else (see `not_opened`).
            let by_version = matches!(kind, Kind::Mpls | Kind::MplsDeep | Kind::Erspan3Ip | Kind::Teredo | Kind::TeredoOrigin);
            let starts: &[u8] = match (content, by_version) {
                (Content::Tcp, true) => &[0x43],
                (Content::Tcp, false) => &[0x43, 0x75, 0x65],
                (_, true) => &[],
                (_, false) => &[0x70],
            };
            for start in starts {
                let plan = sheet.plan(kind, outer, content);
                let mut built = plan.build(0);
                let at = plan.shim(&built).end + if kind.carries_frames() { ETHERNET_OCTETS } else { 0 };
                built.octets[at] = *start;
                let stop = "network_malformed";
                let row = if kind.carries_frames() { plan.of_frame_inside(stop) } else { plan.of_layer(0, &built, stop) };
                sheet.add(format!("{kind:?} over {outer:?}, inner header starts with {start:#x}"), framed(built.octets), &row);
            }
        }
    }
    // A total length below the header's: the packet has addresses all the same.
    for kind in [Kind::Ip, Kind::Vxlan, Kind::Pppoe] {
        let plan = sheet.plan(kind, kind.outers()[0], Content::Tcp);
        let mut built = plan.build(0);
        let at = plan.shim(&built).end + if kind.carries_frames() { ETHERNET_OCTETS } else { 0 };
        built.octets[at + 2..at + 4].copy_from_slice(&[0, 19]);
        sheet.add_innermost(format!("{kind:?}, inner total length 19"), &plan, built.octets, |row| {
            row.stop = "network_malformed";
            row.ports = None;
            row.sides[0].payload = row.sides[0].octets - 20;
        });
    }
}

/// What is another version, or carries something else.
fn not_opened(sheet: &mut Sheet) {
    // (what it is, the kind, which octets of its header, what they are instead)
    let changes: [(&str, Kind, usize, &[u8]); 24] = [
        ("MPLS with nothing known inside", Kind::Mpls, 4, &[0x50]),
        ("PPPoE of type 2", Kind::Pppoe, 0, &[0x12]),
        ("PPPoE discovery's code", Kind::Pppoe, 1, &[0xa7]),
        ("PPP link control", Kind::Pppoe, 6, &[0xc0, 0x21]),
        ("GRE version 1", Kind::Gre, 1, &[1]),
        ("GRE with routing", Kind::Gre, 0, &[0x40]),
        ("GRE of keep-alives", Kind::Gre, 2, &[0, 0]),
        ("GRE of LLDP", Kind::GreFull, 2, &[0x88, 0xcc]),
        ("GRE of ARP", Kind::Gre, 2, &[0x08, 0x06]),
        ("ERSPAN II of another version", Kind::Erspan2, 8, &[0x20]),
        ("ERSPAN III of another version", Kind::Erspan3, 8, &[0x10]),
        ("ERSPAN III of another frame type", Kind::Erspan3, 18, &[0x04]),
        ("ERSPAN III of another frame type, with subheader", Kind::Erspan3Full, 18, &[0x7c]),
        ("ERSPAN III with IP of no version", Kind::Erspan3Ip, 20, &[0x55]),
        ("VXLAN without network", Kind::Vxlan, 0, &[0]),
        ("VXLAN of another protocol", Kind::Vxlan, 0, &[0x04]),
        ("OTV's flags", Kind::VxlanBefore, 0, &[0x0c]),
        ("reserved octets", Kind::VxlanBefore, 2, &[1]),
        ("the last reserved octet", Kind::VxlanBefore, 7, &[1]),
        ("GENEVE version 1", Kind::Geneve, 0, &[0x40]),
        ("GENEVE control", Kind::GeneveFull, 1, &[0x80]),
        ("GENEVE of ARP", Kind::Geneve, 2, &[0x08, 0x06]),
        ("Teredo's length", Kind::Teredo, 4, &[0, 200]),
        ("Teredo with authentication", Kind::TeredoOrigin, 1, &[1]),
    ];
    for (name, kind, at, octets) in changes {
        for &outer in kind.outers() {
            let content = if kind.carries(ETHERTYPE_IPV4) { Content::Tcp } else { Content::Udp };
            let plan = sheet.plan(kind, outer, content);
            let mut built = plan.build(0);
            let at = plan.shim(&built).start + at;
            built.octets[at..at + octets.len()].copy_from_slice(octets);
            let row = plan.of_layer(0, &built, "complete");
            sheet.add(format!("{name}, over {outer:?}"), framed(built.octets), &row);
        }
    }
    for (name, stop, count) in
        [("a stack of nine labels", "mpls_labels_too_many", 9), ("a stack of fifty", "mpls_labels_too_many", 50)]
    {
        let mut plan = sheet.plan(Kind::Mpls, None, Content::Tcp);
        plan.layers[0].shim = Shim::Mpls { labels: vec![99; count], control_word: false };
        let built = plan.build(0);
        let row = plan.of_layer(0, &built, stop);
        sheet.add(name.into(), framed(built.octets), &row);
    }
    let number = sheet.number();
    let layers = vec![Kind::PseudowireBare.layer(None, 0, number), Kind::Mpls.layer(None, 1, number)];
    let plan = Plan::new(number, layers, Content::Tcp);
    let built = plan.build(0);
    let row = plan.of_layer(0, &built, "complete");
    sheet.add("a pseudowire's frame of MPLS, which nothing announces".into(), framed(built.octets), &row);
    // GRE that carries MPLS that is not opened: GRE's own packet is innermost.
    let number = sheet.number();
    let layers = vec![Kind::Gre.layer(Some(Family::V4), 0, number), Kind::Mpls.layer(None, 1, number)];
    let plan = Plan::new(number, layers, Content::Tcp);
    let mut built = plan.build(0);
    let at = ETHERNET_OCTETS + 20 + 4 + 4;
    built.octets[at] = 0x50;
    let row = plan.of_layer(0, &built, "complete");
    sheet.add("GRE of MPLS with nothing known inside".into(), framed(built.octets), &row);
}

/// UDP that only resembles a tunnel.
fn not_opened_of_udp(sheet: &mut Sheet) {
    let looks = |shim: Shim, pair: Pair, link: Link| match Layer::of_frames(shim, Some(pair), link.clone())
        .wrap(&Content::Tcp.packet(0, 0), 0)
    {
        crate::tunnel::Inside::Packet(_, packet) => packet[ip_octets(pair) + 8..].to_vec(),
        crate::tunnel::Inside::Frame(frame) => frame,
    };
    let udp = |sheet: &mut Sheet, name: &str, family: Family, protocol: u8, ports: [u16; 2], payload: &[u8]| {
        let number = sheet.number();
        let (pair, link) = (family.hosts(INNERMOST, number), link(INNERMOST, number, Vec::new()));
        let ip = Ip::new(pair, protocol);
        let packet = frame::packets(&ip, &frame::udp(pair, ports, payload), usize::from(u16::MAX)).swap_remove(0);
        let side = Side { octets: packet.len(), payload: payload.len(), hops: Some(64), class: Some(0) };
        let octets = frame::ethernet(&link, pair.ethertype(), &packet);
        let (ports, protocol) = (Some(ports), Some(protocol));
        let sides = vec![side];
        let row = Row {
            pair: Some(pair),
            ports,
            protocol,
            ethertype: pair.ethertype(),
            link,
            sides,
            tunnels: Vec::new(),
            stop: "complete",
        };
        sheet.add(name.into(), framed(octets), &row);
    };
    let (pair, inner) = (Family::V4.hosts(1, 1), link(1, 1, Vec::new()));
    let vxlan = looks(Shim::Vxlan { network: 5, port: VXLAN }, pair, inner.clone());
    let geneve = looks(Shim::Geneve { network: 5, options: 0 }, pair, inner);
    udp(sheet, "from VXLAN's port", Family::V4, frame::UDP, [VXLAN, 700], &vxlan);
    udp(sheet, "from VXLAN's earlier port", Family::V6, frame::UDP, [VXLAN_BEFORE, 700], &vxlan);
    udp(sheet, "from GENEVE's port", Family::V4, frame::UDP, [GENEVE, 700], &geneve);
    udp(sheet, "UDP-Lite to VXLAN's port", Family::V4, 136, [700, VXLAN], &vxlan);
    let [v4, v6] = [Content::Tcp, Content::Udp].map(|content| content.packet(1, 0).octets().to_vec());
    udp(sheet, "IPv6 to Teredo's port over IPv6", Family::V6, frame::UDP, [700, TEREDO], &v6);
    udp(sheet, "IPv4 to Teredo's port", Family::V4, frame::UDP, [700, TEREDO], &v4);
    udp(sheet, "IPv6 and an octet to Teredo's port", Family::V4, frame::UDP, [700, TEREDO], &[&v6[..], &[0]].concat());
    udp(sheet, "nothing to Teredo's port", Family::V4, frame::UDP, [700, TEREDO], &[]);
    udp(sheet, "an origin and nothing from Teredo's port", Family::V4, frame::UDP, [TEREDO, 700], &[0; 8]);
}

/// Lengths of what is inside end where what is outside ends.
fn bounds(sheet: &mut Sheet) {
    for kind in Kind::ALL {
        let content = if kind.carries(ETHERTYPE_IPV4) { Content::Tcp } else { Content::Udp };
        let ends = kind.outers()[0].is_some() || kind == Kind::Pppoe;
        // The packet inside claims a hundred octets more than there are; behind the outer packet the frame goes on.
        if !matches!(kind, Kind::Teredo | Kind::TeredoOrigin) {
            let plan = sheet.plan(kind, kind.outers()[0], content);
            let mut built = plan.build(0);
            let at = plan.shim(&built).end + if kind.carries_frames() { ETHERNET_OCTETS } else { 0 };
            let (place, header) = if content == Content::Tcp { (at + 2, 0) } else { (at + 4, 40) };
            let claim = (content.octets(0) - header + 100) as u16;
            built.octets[place..place + 2].copy_from_slice(&claim.to_be_bytes());
            let trailer = if ends { 50 } else { 0 };
            built.octets.extend(vec![0xee; trailer]);
            sheet.add_innermost(format!("{kind:?}: the packet inside claims more than there is"), &plan, built.octets, |_| {});
        }
        // The packet inside is shorter than the room it has.
        if !matches!(kind, Kind::Teredo | Kind::TeredoOrigin) && content == Content::Tcp {
            let plan = sheet.plan(kind, kind.outers()[0], content);
            let mut built = plan.build(0);
            let at = plan.shim(&built).end + if kind.carries_frames() { ETHERNET_OCTETS } else { 0 };
            built.octets[at + 2..at + 4].copy_from_slice(&[0, 50]);
            sheet.add_innermost(format!("{kind:?}: the packet inside is padded"), &plan, built.octets, |row| {
                row.sides[0].octets = 50;
                row.sides[0].payload = 10;
            });
        }
        // What follows an inner link header has no length of its own.
        if kind.carries(ETHERTYPE_ARP) && ends {
            let plan = sheet.plan(kind, kind.outers()[0], Content::Arp);
            let mut octets = plan.build(0).octets;
            octets.extend([0xee; 33]);
            sheet.add_innermost(format!("{kind:?} of ARP, padding behind the outer packet"), &plan, octets, |_| {});
        }
    }
    udp_and_pppoe_bounds(sheet);
}

/// Lengths of UDP and PPPoE, and an outer total length of zero.
fn udp_and_pppoe_bounds(sheet: &mut Sheet) {
    for kind in [Kind::Vxlan, Kind::VxlanBefore, Kind::Geneve] {
        let plan = sheet.plan(kind, Some(Family::V4), Content::Arp);
        let mut built = plan.build(0);
        // Five octets behind the datagram, inside the packet.
        let start = plan.shim(&built).start;
        let total = u16::from_be_bytes([built.octets[16], built.octets[17]]);
        built.octets.truncate(ETHERNET_OCTETS + usize::from(total));
        built.octets.extend([0xee; 5]);
        built.octets[16..18].copy_from_slice(&(total + 5).to_be_bytes());
        assert_eq!(start, ETHERNET_OCTETS + 28);
        sheet.add_innermost(format!("{kind:?} of ARP, octets behind the datagram"), &plan, built.octets, |_| {});
    }
    for content in [Content::Tcp, Content::Udp] {
        let plan = sheet.plan(Kind::Pppoe, None, content);
        let mut built = plan.build(0);
        let length = u16::from_be_bytes([built.octets[18], built.octets[19]]);
        built.octets[18..20].copy_from_slice(&(length - 9).to_be_bytes());
        sheet.add_innermost(format!("PPPoE that ends nine octets before its {content:?}"), &plan, built.octets, |row| {
            row.sides[0].octets -= 9;
            row.sides[0].payload -= 9;
        });
    }
    for kind in [Kind::Ip, Kind::GreBridge, Kind::Erspan2, Kind::Vxlan] {
        let plan = sheet.plan(kind, Some(Family::V4), Content::Tcp);
        let mut built = plan.build(0);
        built.octets[16..18].fill(0);
        sheet.add_innermost(format!("{kind:?} in a packet of length zero, as offload leaves it"), &plan, built.octets, |_| {});
    }
}

/// The outer packet ends inside a header whose octets the frame has all the same.
fn ends_inside(sheet: &mut Sheet) {
    let mut ended = |kind: Kind, outer: Family, shim_octets: usize, stop: &'static str| {
        let plan = sheet.plan(kind, Some(outer), Content::Tcp);
        let mut built = plan.build(0);
        let start = plan.shim(&built).start;
        let total = start + shim_octets - ETHERNET_OCTETS;
        let (place, length) = if outer == Family::V4 { (16, total) } else { (18, total - 40) };
        built.octets[place..place + 2].copy_from_slice(&(length as u16).to_be_bytes());
        let mut row = plan.of_layer(0, &built, stop);
        row.sides[0].octets = total;
        row.sides[0].payload = shim_octets;
        if kind.carries_frames() && stop == "network_truncated" {
            row = plan.of_frame_inside(stop);
            row.sides[0].octets = shim_octets - (plan.shim(&built).len() + ETHERNET_OCTETS);
            row.sides[0].payload = row.sides[0].octets;
        }
        sheet.add(format!("{kind:?} whose packet over {outer:?} ends after {shim_octets} octets"), framed(built.octets), &row);
    };
    for outer in Family::ALL {
        for (kind, header) in
            [(Kind::Gre, 4), (Kind::GreFull, 16), (Kind::GreBridge, 8), (Kind::Erspan2, 16), (Kind::Erspan3Full, 28)]
        {
            // Over IPv6 a length of zero is none.
            for octets in [usize::from(outer == Family::V6), 2, 3, header - 1] {
                ended(kind, outer, octets, "tunnel_truncated");
            }
        }
        for octets in [0, 7] {
            ended(Kind::Vxlan, outer, octets, "tunnel_truncated");
            ended(Kind::Geneve, outer, octets, "tunnel_truncated");
        }
        ended(Kind::GeneveFull, outer, 259, "tunnel_truncated");
        ended(Kind::Vxlan, outer, 8 + 13, "tunnel_truncated");
        ended(Kind::Erspan1, outer, 4 + 13, "tunnel_truncated");
        ended(Kind::Vxlan, outer, 8 + 14 + 19, "network_truncated");
        ended(Kind::Ip, outer, 19, "network_truncated");
        ended(Kind::Gre, outer, 4 + 10, "network_truncated");
    }
    let plan = sheet.plan(Kind::Pppoe, None, Content::Tcp);
    let mut built = plan.build(0);
    built.octets[18..20].copy_from_slice(&[0, 1]);
    let row = plan.of_layer(0, &built, "tunnel_truncated");
    sheet.add("PPPoE that ends inside the protocol".into(), framed(built.octets), &row);
}

/// Fragments outside are not opened; fragments inside are like any others.
fn fragments(sheet: &mut Sheet) {
    for kind in [Kind::Ip, Kind::Gre, Kind::Erspan2, Kind::Vxlan, Kind::GeneveFull] {
        for outer in Family::ALL {
            let mut plan = sheet.plan(kind, Some(outer), Content::Tcp);
            plan.layers[0].mtu = 400;
            let whole = plan.build(0).levels[1].octets().len();
            plan.layers[0].mtu = whole - 8;
            let built = plan.build(0);
            let mut row = plan.of_layer(0, &built, "tunnel_fragmented");
            if outer == Family::V6 {
                // The fragment header is no payload.
                row.sides[0].payload -= 8;
            }
            if row.ports.is_some() {
                // The datagram goes on in the fragments to come.
                row.sides[0].payload = built.levels[1].octets().len() - if outer == Family::V4 { 28 } else { 56 };
            }
            sheet.add(format!("{kind:?}, first fragment over {outer:?}"), framed(built.octets), &row);
        }
    }
    for (name, offset, stop) in [("first", [0x20, 0], "complete"), ("later", [0, 9], "complete")] {
        let plan = sheet.plan(Kind::Vxlan, Some(Family::V4), Content::Tcp);
        let mut built = plan.build(0);
        let at = plan.shim(&built).end + ETHERNET_OCTETS;
        built.octets[at + 6..at + 8].copy_from_slice(&offset);
        sheet.add_innermost(format!("a {name} fragment inside"), &plan, built.octets, |row| {
            row.stop = stop;
            if name == "later" {
                row.ports = None;
                row.sides[0].payload = row.sides[0].octets - 20;
            }
        });
    }
}

/// The packets of one conversation, in a tunnel and not: one row, with what its first packet had around it.
fn trains(sheet: &mut Sheet) {
    for kind in [Kind::Vxlan, Kind::Gre, Kind::Mpls] {
        for tunnel_first in [true, false] {
            let plan = sheet.plan(kind, kind.outers()[0], Content::Tcp);
            let mut plain = plan.clone();
            plain.layers.clear();
            let [inside, outside] = [&plan, &plain].map(|plan| framed(plan.build(0).octets));
            let (first, second) = if tunnel_first { (&inside, &outside) } else { (&outside, &inside) };
            let frames: Vec<_> = [first, second, second, first, second].into_iter().cloned().collect();
            let mut row = if tunnel_first { plan.innermost("complete") } else { plain.innermost("complete") };
            row.sides.truncate(1);
            let mut expect: JsonRow = row.columns(&frames);
            for (column, value) in [
                ("packets", 5),
                ("layer2_octets", frames.iter().map(|frame| frame.wire).sum()),
                ("octets", 5 * row.sides[0].octets),
                ("payload_octets", 5 * row.sides[0].payload),
            ] {
                expect.insert(format!("forward_{column}"), json!(value));
            }
            sheet.cases.push(Case {
                name: format!("{kind:?} and plain, tunnel first: {tunnel_first}"),
                frames,
                expect,
                layers: None,
            });
        }
    }
}

const _: () = assert!(ARP_OCTETS == 28);
