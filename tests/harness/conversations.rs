//! TCP and UDP conversations: packets and frame octets by addresses and ports, from flow rows and from `tshark`.
//!
//! `tshark` is held to what the engine does: it reassembles nothing, and every protocol but links, VLAN tags, IP, TCP, UDP and the
//! encapsulations that the engine opens is off (profile of [`Tshark::new`]), so that it does not look into other tunnels, into ICMP
//! errors, or for IP in other payload. What it prints for `-z conv` is rounded above 10,000 octets; the exact octets come from the
//! same run, frame by frame.
//!
//! Of a frame with tunnels `tshark` prints every packet in it; the engine's rows are of one (`Packets`). What `tshark` prints is
//! held against all packets of its own list of each frame's protocols, the rows against the one of them that is metered.
//!
//! Both count packets only, not other records of a file, and both take an IP length of zero, which segmentation offload leaves
//! there, as the rest of the frame. The ends of a conversation are the addresses of the IP header, as in RFC 7011's flow keys;
//! `tshark` prints those of the whole way (`Addresses`).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::{AddAssign, Range},
    path::Path,
    process::{Command, Stdio},
    str::FromStr,
};

use anyhow::{Context, Result, ensure};
use auscult::lake::read::JsonRow;
use auscult_ebpf::limit::HEADER_OFFSET_MAX;
use serde_json::Value;
use tempfile::TempDir;

/// What stays on.
const PROTOCOLS: [&str; 37] = [
    "ah",
    "data",
    "erspan",
    "eth",
    "ethertype",
    "frame",
    "geneve",
    "gre",
    "hip",
    "ip",
    "ipv6",
    "ipv6.dstopts",
    "ipv6.fraghdr",
    "ipv6.hopopts",
    "ipv6.routing",
    "ipv6.routing.type.crh",
    "ipv6.routing.type.mipv6",
    "ipv6.routing.type.rt0",
    "ipv6.routing.type.srh",
    "mipv6",
    "mpls",
    "null",
    "pkt_comment",
    "ppp",
    "pppoes",
    "pwethcw",
    "pwethheuristic",
    "pwethnocw",
    "raw",
    "shim6",
    "sll",
    "tcp",
    "teredo",
    "udp",
    "udplite",
    "vlan",
    "vxlan",
];
/// Encapsulations that the engine opens one behind the other, and what they are in `tshark`'s list of a frame's protocols; GRE and the
/// ERSPAN in it are one. IP in IP has no name there.
const ENCAPSULATIONS_MAX: usize = 2;
const SHIMS: [&str; 6] = ["geneve", "gre", "mpls", "pppoes", "teredo", "vxlan"];
/// The port of VXLAN before one was assigned; `tshark` is told of it.
const VXLAN_BEFORE: &str = "8472";
/// Ports at which `tshark` opens tunnels and the engine does not: GRE in UDP (RFC 8086), VXLAN GPE, MPLS in UDP (RFC 7510).
const OTHER_TUNNELS: [u16; 3] = [4754, 4790, 6635];
/// Per frame: link (of packets only), octets, protocols, whether fragments follow, what is not opened, addresses, addresses further on the way, streams,
/// ports, what went wrong.
const FIELDS: [&str; 32] = [
    "frame.encap_type",
    "frame.len",
    "frame.protocols",
    "ip.flags.mf",
    "ipv6.fraghdr.more",
    "geneve.flags.oam",
    "teredo.auth",
    "vxlan.flags",
    "vxlan.gbp",
    "vxlan.reserved8",
    "ipv6.hopopts.len_oct",
    "ipv6.dstopts.len_oct",
    "ip.src",
    "ip.dst",
    "ipv6.src",
    "ipv6.dst",
    "ip.cur_rt",
    "ipv6.opt.mipv6.home_address",
    "ipv6.routing.segleft",
    "ipv6.routing.src.addr",
    "ipv6.routing.mipv6.home_address",
    "tcp.stream",
    "udp.stream",
    "tcp.srcport",
    "tcp.dstport",
    "udp.srcport",
    "udp.dstport",
    "udp.length",
    "ip.proto",
    "ipv6.hopopts.nxt",
    "ipv6.dstopts.nxt",
    "_ws.malformed",
];
/// The last of them, from the addresses on.
const OF_PACKET: usize = 20;
/// What `tshark` says where it gave up inside a header with options.
const OPTIONS_MALFORMED: [&str; 3] =
    ["[Malformed Packet: IPv4]", "[Malformed Packet: IPv6 Hop-by-Hop]", "[Malformed Packet: IPv6 Destination]"];
/// The most octets that `tshark` says of a frame.
const TSHARK_OCTETS_MAX: u64 = (1 << 31) - 1;
/// IP protocol numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Protocol and both ends in order.
pub type Conversation = (u8, [(IpAddr, u16); 2]);
/// Protocol and both addresses in order.
pub type Pair = (u8, [IpAddr; 2]);

/// Packets and frame octets, both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Packets.
    pub packets: u64,
    /// Frame octets on the wire.
    pub octets: u64,
}

impl AddAssign for Volume {
    fn add_assign(&mut self, more: Self) {
        self.packets += more.packets;
        self.octets += more.octets;
    }
}

/// Conversations by their ends.
#[derive(Clone, Debug, Default)]
pub struct Conversations {
    /// Those with ports.
    pub whole: BTreeMap<Conversation, Volume>,
    /// Packets whose transport header was cut or malformed, so that they have no ports.
    pub portless: BTreeMap<Pair, Volume>,
    /// Addresses of the outermost encapsulation that conversations with ports are in (of rows).
    tunnels: BTreeMap<Conversation, Pair>,
    /// Packets that were read (from `tshark`).
    pub frames: u64,
    /// What else `tshark` shows of packets.
    shown: Shown,
}

/// What `tshark` shows of packets and does not count, or counts with fewer octets than they had.
#[derive(Clone, Debug, Default)]
struct Shown {
    /// UDP packets with a length of zero.
    length_zero: BTreeMap<Conversation, Volume>,
    /// Packets with IP options that it did not get through.
    options_malformed: BTreeMap<Pair, Volume>,
    /// Packets of [`TSHARK_OCTETS_MAX`].
    longest: BTreeMap<Conversation, u64>,
}

fn conversation(protocol: u8, mut ends: [(IpAddr, u16); 2]) -> Conversation {
    ends.sort();
    (protocol, ends)
}

fn pair((protocol, ends): &Conversation) -> Pair {
    (*protocol, ends.map(|(address, _)| address))
}

impl Conversations {
    /// Of flow rows.
    pub fn of_rows(rows: &[JsonRow]) -> Self {
        let mut all = Self::default();
        for row in rows {
            let number = |name: &str| row.get(name).and_then(Value::as_u64);
            let address = |name: &str| row.get(name).and_then(Value::as_str).and_then(|text| text.parse::<IpAddr>().ok());
            let sum = |what: &str| ["forward", "reverse"].iter().filter_map(|d| number(&format!("{d}_{what}"))).sum();
            let Some(protocol) = number("protocol").and_then(|protocol| u8::try_from(protocol).ok()) else { continue };
            let (Some(a), Some(b)) = (address("initiator_address"), address("responder_address")) else { continue };
            if !matches!(protocol, TCP | UDP) || row.get("is_fragment") == Some(&Value::Bool(true)) {
                continue;
            }
            let volume = Volume { packets: sum("packets"), octets: sum("layer2_octets") };
            match (number("initiator_port"), number("responder_port")) {
                (Some(p), Some(q)) => {
                    let key = conversation(protocol, [(a, p as u16), (b, q as u16)]);
                    *all.whole.entry(key).or_default() += volume;
                    let outer = ["source", "destination"].map(|end| address(&format!("forward_tunnel_{end}_address")));
                    if let [Some(a), Some(b)] = outer {
                        all.tunnels.insert(key, (UDP, [a.min(b), a.max(b)]));
                    }
                }
                _ => *all.portless.entry((protocol, [a.min(b), a.max(b)])).or_default() += volume,
            }
        }
        all
    }

    /// Differences to what `tshark` found: those that a rule explains, by rule, and the others. The rules:
    ///
    /// * `transport_header_not_whole`: `tshark` takes ports from any four octets (if it then prints the packet depends on what
    ///   else it makes of it), the engine from whole headers only. The conversation may have more packets there, at most as many
    ///   as the engine has without ports between those addresses.
    /// * `udp_length_zero`: a length of zero means all that follows (RFC 2675 §4), and is what segmentation offload leaves over
    ///   IPv4 too. There `tshark` shows the ports and does not count the packet; the engine does. The conversation must have
    ///   exactly these packets and octets more here.
    /// * `tunnel_in_udp_of_length_zero`: nor does `tshark` look into it. A conversation that it has nothing of must have exactly the
    ///   packets and octets that there are with a length of zero between the ends of its tunnel, and to a tunnel's port.
    /// * `ip_options_malformed`: `tshark` gives up at an option that is shorter than its definition or longer than its header; the
    ///   engine reads no options and goes on where the header's length says (RFC 791 §3.1, RFC 8200 §4.3 and §4.6). Between the
    ///   addresses there must be exactly these packets and octets more here; nobody else has read their ports.
    /// * `longer_than_tshark_says`: `tshark` shows at most 2^31 - 1 octets of a frame, the engine at most 2^31. Each such packet
    ///   may have one octet more here.
    pub fn differences(&self, theirs: &Self) -> (BTreeMap<&'static str, u64>, Vec<String>) {
        let (mut rules, mut unexplained) = (BTreeMap::new(), Vec::new());
        let keys: BTreeSet<_> = self.whole.keys().chain(theirs.whole.keys()).collect();
        for key in keys {
            let (here, there) = (self.volume(key), theirs.volume(key));
            if here == there {
                continue;
            }
            match self.rule(theirs, key) {
                Some(rule) => *rules.entry(rule).or_default() += 1,
                None => unexplained.push(format!("{key:?}: {here:?}, tshark has {there:?}")),
            }
        }
        (rules, unexplained)
    }

    /// The rule that explains a conversation's difference.
    fn rule(&self, theirs: &Self, key: &Conversation) -> Option<&'static str> {
        let (here, mut there) = (self.volume(key), theirs.volume(key));
        if let Some(outer) = self.tunnels.get(key).filter(|_| there == Volume::default()) {
            let of_tunnel = |(key, _): &(&Conversation, &Volume)| {
                pair(key) == *outer && key.1.iter().any(|(_, port)| matches!(port, 4789 | 6081 | 8472))
            };
            let mut sum = Volume::default();
            theirs.shown.length_zero.iter().filter(of_tunnel).for_each(|(_, volume)| sum += *volume);
            return (here == sum).then_some("tunnel_in_udp_of_length_zero");
        }
        let (shown, pair) = (&theirs.shown, pair(key));
        if there.packets > here.packets {
            let portless = self.portless.get(&pair).copied().unwrap_or_default();
            return (there.packets - here.packets <= portless.packets).then_some("transport_header_not_whole");
        }
        if here.packets == there.packets {
            let longest = shown.longest.get(key).copied().unwrap_or_default();
            return (there.octets..=there.octets + longest).contains(&here.octets).then_some("longer_than_tshark_says");
        }
        if let Some(volume) = shown.options_malformed.get(&pair) {
            let mut theirs = theirs.between(&pair);
            theirs += *volume;
            return (self.between(&pair) == theirs).then_some("ip_options_malformed");
        }
        there += *shown.length_zero.get(key)?;
        (here == there).then_some("udp_length_zero")
    }

    fn volume(&self, key: &Conversation) -> Volume {
        self.whole.get(key).copied().unwrap_or_default()
    }

    /// All that went between two addresses.
    fn between(&self, addresses: &Pair) -> Volume {
        let mut sum = self.portless.get(addresses).copied().unwrap_or_default();
        self.whole.iter().filter(|(key, _)| pair(key) == *addresses).for_each(|(_, volume)| sum += *volume);
        sum
    }
}

/// `tshark` with its profile.
#[derive(Debug)]
pub struct Tshark {
    profile: TempDir,
}

impl Tshark {
    /// Makes the profile.
    ///
    /// # Errors
    /// When `tshark` cannot run.
    pub fn new() -> Result<Self> {
        let profile = TempDir::new()?;
        let output = Command::new("tshark").args(["-G", "protocols"]).stderr(Stdio::null()).output();
        let output = output.context("cannot run tshark; install Wireshark's command-line tools (tshark)")?;
        let listed = String::from_utf8_lossy(&output.stdout);
        let names = listed.lines().filter_map(|line| line.split('\t').nth(2));
        let off: Vec<_> = names.filter(|name| !PROTOCOLS.contains(name) && !name.starts_with("_ws.")).collect();
        ensure!(off.len() > 1000, "tshark lists {} protocols to switch off", off.len());
        std::fs::write(profile.path().join("disabled_protos"), off.join("\n") + "\n")?;
        Ok(Self { profile })
    }

    /// The conversations of a capture, as far as `tshark` reads it.
    ///
    /// # Errors
    /// When `tshark` contradicts itself.
    pub fn read(&self, capture: &Path) -> Result<Conversations> {
        let mut tshark = Command::new("tshark");
        tshark.env("WIRESHARK_CONFIG_DIR", self.profile.path()).stderr(Stdio::null()).arg("-n").arg("-r").arg(capture);
        tshark.args(["-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE", "-o", "tcp.desegment_tcp_streams:FALSE"]);
        tshark.args(["-o", "ip.tso_support:TRUE", "-o", "ipv6.tso_support:TRUE"]);
        tshark.args(["-z", "conv,tcp", "-z", "conv,udp"]);
        tshark.args(["-d", &format!("udp.port=={VXLAN_BEFORE},vxlan")]);
        for port in OTHER_TUNNELS {
            tshark.args(["-d", &format!("udp.port=={port},data")]);
        }
        tshark.args(["-T", "fields", "-E", "separator=|", "-E", "occurrence=a"]);
        for field in FIELDS {
            tshark.args(["-e", field]);
        }
        let output = tshark.output().context("cannot run tshark")?;
        let (mut all, mut far, mut printed, mut protocol) = (Conversations::default(), BTreeMap::new(), BTreeMap::new(), 0);
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let fields: Vec<_> = line.split('|').collect();
            if let Ok(fields) = fields.as_slice().try_into() {
                for (conversation, volume) in all.frame(fields)? {
                    *far.entry(conversation).or_insert_with(Volume::default) += volume;
                }
            } else if line.starts_with("TCP Conv") {
                protocol = TCP;
            } else if line.starts_with("UDP Conv") {
                protocol = UDP;
            } else if let Some((conversation, frames, octets, unit)) = printed_line(protocol, line) {
                let sum: &mut (u64, u64, u64) = printed.entry(conversation).or_default();
                *sum = (sum.0 + frames, sum.1 + octets, sum.2 + if unit > 1 { unit } else { 0 });
            }
        }
        // A segment whose header is not whole has a stream, but is not in the table.
        for (conversation, (frames, octets, error)) in printed {
            let volume = far.get(&conversation).copied().unwrap_or_default();
            let agrees = frames < volume.packets || frames == volume.packets && octets.abs_diff(volume.octets) <= error;
            ensure!(agrees, "tshark prints {frames} frames, {octets} octets of {conversation:?} and has {volume:?}");
        }
        Ok(all)
    }
}

impl Conversations {
    /// Takes in one frame's [`FIELDS`]; gives the conversations that `tshark` prints it in.
    fn frame(&mut self, fields: &[&str; FIELDS.len()]) -> Result<Vec<(Conversation, Volume)>> {
        // A record of another kind, such as pcapng's custom block, is no packet.
        if fields[0].is_empty() {
            return Ok(Vec::new());
        }
        self.frames += 1;
        let packets = Packets::of(fields);
        let mut printed = Vec::new();
        for (i, place) in packets.places.iter().enumerate() {
            printed.extend(self.packet(&packets.fields(fields, place), packets.metered == Some(i))?);
        }
        Ok(printed)
    }

    /// Takes in one packet's [`FIELDS`] if it is the metered one of its frame; gives the conversation that `tshark` prints it in.
    fn packet(&mut self, fields: &[&str; FIELDS.len()], metered: bool) -> Result<Option<(Conversation, Volume)>> {
        let octets = named(fields, "frame.len");
        let [addresses @ .., tcp, udp, tcp_from, tcp_to, udp_from, udp_to, udp_length, next4, hop_next6, next6, fault] =
            of_packet(fields);
        let addresses = Addresses::of(addresses);
        let gave_up = OPTIONS_MALFORMED.iter().any(|fault_there| fault.starts_with(fault_there));
        let (protocol, [from, to]) = match (*tcp, *udp, *udp_length) {
            ("", "", "0") => (UDP, [udp_from, udp_to]),
            ("", "", _) if gave_up && addresses.is_ok() => (last_of(&[next6, hop_next6, next4])?, [&"0"; 2]),
            ("", "", _) => return Ok(None),
            (_, "", _) => (TCP, [tcp_from, tcp_to]),
            _ => (UDP, [udp_from, udp_to]),
        };
        let (ports, addresses) = ([from.parse()?, to.parse()?], addresses?);
        let key = |[from, to]: [IpAddr; 2]| conversation(protocol, [(from, ports[0]), (to, ports[1])]);
        let header = key(addresses.of_header);
        let volume = Volume { packets: 1, octets: octets.parse()? };
        let is_printed = !matches!((*tcp, *udp), ("", ""));
        if metered && is_printed {
            *self.whole.entry(header).or_default() += volume;
            *self.shown.longest.entry(header).or_default() += u64::from(volume.octets == TSHARK_OCTETS_MAX);
        } else if metered && *udp_length == "0" {
            *self.shown.length_zero.entry(header).or_default() += volume;
        } else if metered {
            *self.shown.options_malformed.entry(pair(&header)).or_default() += volume;
        }
        Ok(is_printed.then(|| (key(addresses.of_way), volume)))
    }
}

/// The packets of one frame, by `tshark`'s list of the protocols in it.
struct Packets<'a> {
    path: Vec<&'a str>,
    /// Of each, from the outermost on: which part of the list it is.
    places: Vec<Range<usize>>,
    /// The one that the engine meters, if it is one with addresses: the innermost, but
    /// * behind [`ENCAPSULATIONS_MAX`] encapsulations, none is opened;
    /// * none is opened in the first fragment of a packet;
    /// * PPP is opened in PPPoE only, IPv4's authentication header (RFC 4302) and bare frames in IP (RFC 8986) never;
    /// * nothing is read behind [`HEADER_OFFSET_MAX`], such as options of two thousand octets;
    /// * VXLAN and GENEVE are what goes to their port (RFC 7348 §5, RFC 8926 §3.3), not what comes from it; and at VXLAN's
    ///   former port, what sets no bit but the one that says that there is a network;
    /// * GENEVE's control packets and Teredo's authentication (RFC 4380 §5.1.1), which is of its own messages, are not opened;
    /// * an IP header that is not whole is none, and what it is in is a packet of its own, or a frame without addresses.
    metered: Option<usize>,
}

impl<'a> Packets<'a> {
    fn of(fields: &[&'a str; FIELDS.len()]) -> Self {
        let path: Vec<_> = fields[2].split(':').collect();
        let is_network = |at: &usize| matches!(path.get(*at), Some(&"ip" | &"ipv6"));
        let mut starts: Vec<_> = (0..path.len()).filter(is_network).collect();
        if starts.is_empty() {
            starts.push(0);
        }
        let ends = starts.iter().skip(1).copied().chain([path.len()]);
        let places = starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect();
        let mut packets = Self { path, places, metered: None };
        packets.metered = packets.innermost(fields);
        packets
    }

    fn innermost(&self, fields: &[&'a str; FIELDS.len()]) -> Option<usize> {
        let mut opened = self.shims(0..self.places.first()?.start);
        for (i, place) in self.places.iter().enumerate() {
            let own = self.fields(fields, place);
            let inside = self.path.get(place.clone()).unwrap_or_default();
            let shims = self.shims(place.clone());
            let has_next = i + 1 < self.places.len();
            let encapsulations = if has_next { shims.max(1) } else { shims };
            let has = |name: &str| inside.contains(&name);
            let is_set = |name: &str| !matches!(named(&own, name), "" | "0" | "False");
            let is_odd = ["ip.flags.mf", "ipv6.fraghdr.more", "geneve.flags.oam", "teredo.auth"].into_iter().any(is_set);
            let towards = named(&own, "udp.dstport");
            let is_exact = named(&own, "vxlan.flags") == "0x0800" && !is_set("vxlan.gbp") && !is_set("vxlan.reserved8");
            let is_vxlan = towards == "4789" || towards == VXLAN_BEFORE && is_exact;
            let is_answer = has("vxlan") && !is_vxlan || has("geneve") && towards != "6081";
            let options = ["ipv6.hopopts.len_oct", "ipv6.dstopts.len_oct"].map(|name| named(&own, name));
            let is_deep = options.iter().any(|octets| octets.parse::<u32>().is_ok_and(|octets| octets > HEADER_OFFSET_MAX));
            let is_foreign = has("ppp") && !has("pppoes") || has("eth") && shims == 0 || inside.starts_with(&["ip", "ah"]);
            if is_odd || is_foreign || is_answer || is_deep || opened + encapsulations > ENCAPSULATIONS_MAX {
                return Some(i);
            }
            opened += encapsulations;
            if !has_next {
                // A frame inside that is not IP has MACs only; one whose header is not whole is none.
                let frame = inside.iter().rposition(|name| *name == "eth");
                return frame.is_none_or(|at| at + 1 == inside.len()).then_some(i);
            }
            let next = self.fields(fields, &self.places[i + 1]);
            let [addresses @ .., _, _, _, _, _, _, _, _, _, _, _] = of_packet(&next);
            if Addresses::of(addresses).is_err() {
                return (!has("eth")).then_some(i);
            }
        }
        None
    }

    /// Encapsulations with names.
    fn shims(&self, place: Range<usize>) -> usize {
        self.path.get(place).unwrap_or_default().iter().filter(|name| SHIMS.contains(name)).count()
    }

    /// The [`FIELDS`] of one packet: of those that a header has, that header's.
    fn fields(&self, fields: &[&'a str; FIELDS.len()], place: &Range<usize>) -> [&'a str; FIELDS.len()] {
        let count = |range: Range<usize>, owner: &str| {
            self.path.get(range).unwrap_or_default().iter().filter(|name| is_of(name, owner)).count()
        };
        let mut own = *fields;
        for (name, value) in FIELDS.iter().zip(&mut own) {
            let owner = name.rsplit_once('.').map_or(*name, |(owner, _)| owner);
            let all = count(0..self.path.len(), owner);
            if matches!(owner, "frame" | "_ws") || all == 0 {
                continue;
            }
            *value = match (count(place.clone(), owner), all) {
                (0, _) => "",
                (_, 1) => *value,
                _ => value.split(',').nth(count(0..place.start, owner)).unwrap_or_default(),
            };
        }
        own
    }
}

/// A field by its name.
fn named<'a>(fields: &[&'a str; FIELDS.len()], name: &str) -> &'a str {
    FIELDS.iter().position(|known| *known == name).map_or("", |at| fields[at])
}

/// The fields from the addresses on.
fn of_packet<'f, 'a>(fields: &'f [&'a str; FIELDS.len()]) -> &'f [&'a str; OF_PACKET] {
    let (_, of_packet) = fields.split_last_chunk().unwrap_or_else(|| unreachable!("as many are asked for"));
    of_packet
}

/// Whether a field of `owner`, which may be a part of a header, is one of the header `name`.
fn is_of(name: &str, owner: &str) -> bool {
    let header = match owner {
        "geneve.flags" => "geneve",
        "ip.flags" => "ip",
        "ipv6.opt.mipv6" => "ipv6.dstopts",
        "ipv6.routing.src" | "ipv6.routing.mipv6" => "ipv6.routing",
        owner => owner,
    };
    name == header || name == "udplite" && header == "udp"
}

/// Source and target of a packet.
struct Addresses {
    /// Those of the IP header.
    of_header: [IpAddr; 2],
    /// Those of the whole way: from a mobile node's home address (RFC 6275 §6.3), to the last address of IPv4's source route
    /// (RFC 791 §3.1) or of IPv6's routing header (RFC 8200 §4.4, RFC 6275 §6.4).
    of_way: [IpAddr; 2],
}

impl Addresses {
    /// Of the address fields of [`FIELDS`].
    fn of([from4, to4, from6, to6, hop, home, segments_left, route, care]: &[&str; 9]) -> Result<Self> {
        let is_under_way = !matches!(*segments_left, "" | "0");
        let end = if is_under_way { last_of(&[route, care, to6])? } else { last_of(&[to4, to6, hop])? };
        Ok(Self {
            of_header: [last_of(&[from4, from6])?, last_of(&[hop, to4, to6])?],
            of_way: [last_of(&[home, from4, from6])?, end],
        })
    }
}

/// The last value of the first field that has any.
fn last_of<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(fields: &[&str]) -> Result<T> {
    let field = fields.iter().find(|field| !field.is_empty()).context("none of these fields in a packet")?;
    Ok(field.rsplit(',').next().unwrap_or(field).parse()?)
}

/// A line of `-z conv`: ends, frames, octets and the unit they are rounded to.
fn printed_line(protocol: u8, line: &str) -> Option<(Conversation, u64, u64, u64)> {
    let (from, rest) = line.split_once("<->")?;
    let words: Vec<_> = rest.split_whitespace().collect();
    let &[to, _, _, _, _, _, _, frames, octets, unit, ..] = words.as_slice() else { return None };
    let end = |text: &str| -> Option<(IpAddr, u16)> {
        let (address, port) = text.trim().rsplit_once(':')?;
        Some((address.parse().ok()?, port.parse().ok()?))
    };
    let mut ends = [end(from)?, end(to)?];
    ends.sort();
    let unit = match unit {
        "bytes" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        _ => return None,
    };
    Some(((protocol, ends), frames.parse().ok()?, octets.parse::<u64>().ok()? * unit, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str =
        "frame.encap_type=1;frame.len=60;ip.src=10.0.0.1;ip.dst=10.0.0.2;udp.stream=0;udp.srcport=7;udp.dstport=9";

    /// Takes in a frame of fields by name.
    fn take(all: &mut Conversations, frame: &str) -> Result<Vec<(Conversation, Volume)>> {
        let named: BTreeMap<_, _> = frame.split(';').filter_map(|field| field.split_once('=')).collect();
        all.frame(&FIELDS.map(|name| named.get(name).copied().unwrap_or_default()))
    }

    fn udp(from: &str, to: &str) -> Result<Conversation> {
        Ok(conversation(UDP, [(from.parse()?, 7), (to.parse()?, 9)]))
    }

    /// What is made of frames when the engine has so many packets and octets of the one conversation.
    #[track_caller]
    fn check(frames: &[&str], packets: u64, octets: u64, expect: Option<&'static str>) -> Result<()> {
        let (mut ours, mut theirs) = (Conversations::default(), Conversations::default());
        ours.whole.insert(udp("10.0.0.1", "10.0.0.2")?, Volume { packets, octets });
        for frame in frames {
            take(&mut theirs, frame)?;
        }
        let (rules, unexplained) = ours.differences(&theirs);
        assert_eq!(rules.keys().copied().collect::<Vec<_>>(), expect.as_slice(), "{packets} packets, {octets} octets");
        assert_eq!(unexplained.len(), usize::from(expect.is_none()), "{unexplained:?}");
        Ok(())
    }

    #[test]
    fn packets_that_are_shown_and_not_counted_explain_just_themselves() -> Result<()> {
        let zero = PLAIN.replace("udp.stream=0", "udp.length=0");
        let uncounted = PLAIN.replace("udp.stream=0", "udp.length=7");
        let options =
            "frame.encap_type=1;frame.len=60;ip.src=10.0.0.1;ip.dst=10.0.0.2;ip.proto=17;_ws.malformed=[Malformed Packet: IPv4]";
        let elsewhere = options.replace("10.0.0.1", "10.0.0.3");
        let tcp = options.replace("ip.proto=17", "ip.proto=6");
        let transport = options.replace("IPv4]", "UDP]");
        for (frame, rule) in [(zero.as_str(), "udp_length_zero"), (options, "ip_options_malformed")] {
            check(&[PLAIN, frame], 2, 120, Some(rule))?;
            check(&[frame], 1, 60, Some(rule))?;
            check(&[PLAIN, frame], 2, 121, None)?;
            check(&[PLAIN, frame], 3, 180, None)?;
            check(&[PLAIN, frame, frame], 2, 120, None)?;
        }
        for frame in [&uncounted, &elsewhere, &tcp, &transport] {
            check(&[PLAIN, frame], 2, 120, None)?;
        }
        check(&[PLAIN], 2, 120, None)
    }

    #[test]
    fn only_the_longest_frames_may_be_longer_here() -> Result<()> {
        let longest = PLAIN.replace("=60", "=2147483647");
        check(&[&longest, PLAIN], 2, (1 << 31) + 60, Some("longer_than_tshark_says"))?;
        check(&[&longest, PLAIN], 2, (1 << 31) + 61, None)?;
        check(&[&longest, PLAIN], 2, (1 << 31) + 58, None)?;
        check(&[&longest, PLAIN], 3, 1 << 31, None)?;
        check(&[PLAIN], 1, 61, None)
    }

    #[test]
    fn ends_are_those_of_the_header_and_printed_ones_those_of_the_whole_way() -> Result<()> {
        let routed = PLAIN.replace("ip.dst=10.0.0.2", "ip.cur_rt=10.0.0.2;ip.dst=10.0.0.9");
        let v6 = PLAIN.replace("ip.src=10.0.0.1;ip.dst=10.0.0.2", "ipv6.src=::1;ipv6.dst=::2");
        let route = v6.clone() + ";ipv6.routing.src.addr=::8,::9";
        for (frame, header, way) in [
            (PLAIN, ["10.0.0.1", "10.0.0.2"], ["10.0.0.1", "10.0.0.2"]),
            (&routed, ["10.0.0.1", "10.0.0.2"], ["10.0.0.1", "10.0.0.9"]),
            (&(route.clone() + ";ipv6.routing.segleft=1"), ["::1", "::2"], ["::1", "::9"]),
            (&(route + ";ipv6.routing.segleft=0"), ["::1", "::2"], ["::1", "::2"]),
            (&(v6.clone() + ";ipv6.routing.segleft=1;ipv6.routing.mipv6.home_address=::9"), ["::1", "::2"], ["::1", "::9"]),
            (&(v6 + ";ipv6.opt.mipv6.home_address=::9"), ["::1", "::2"], ["::9", "::2"]),
        ] {
            let mut all = Conversations::default();
            let printed = take(&mut all, frame)?;
            assert_eq!(all.whole.keys().collect::<Vec<_>>(), [&udp(header[0], header[1])?], "{frame}");
            assert_eq!(printed, [(udp(way[0], way[1])?, Volume { packets: 1, octets: 60 })], "{frame}");
        }
        Ok(())
    }

    #[test]
    fn of_a_frame_with_tunnels_one_packet_is_metered_and_all_are_printed() -> Result<()> {
        // Ends of the outer, the next and the innermost datagram are ::1 and ::2, ::3 and ::4, ::5 and ::6.
        let three = "ipv6.src=::1,::3,::5;ipv6.dst=::2,::4,::6;udp.stream=0,1,2";
        let two = "ipv6.src=::1,::3;ipv6.dst=::2,::4;udp.stream=0,1";
        let one = "ipv6.src=::1;ipv6.dst=::2;udp.stream=0";
        let (outer, next, innermost) = (Some(("::1", "::2")), Some(("::3", "::4")), Some(("::5", "::6")));
        let [vxlan, geneve] = ["vxlan:eth:ethertype:ipv6:udp", "geneve:ipv6:udp"];
        for (path, values, ports, metered, printed) in [
            (&format!("ipv6:udp:{vxlan}:{geneve}"), three, "4789,6081,9", innermost, 3),
            (&format!("mpls:ipv6:udp:{vxlan}:{geneve}"), three, "4789,6081,9", next, 3),
            (&format!("ipv6:udp:{vxlan}:vxlan:eth:ethertype:mpls:ipv6:udp"), three, "4789,4789,9", next, 3),
            (&format!("ipv6:udp:{geneve}:ppp:ipv6:udp"), three, "6081,9,9", next, 3),
            (&format!("ipv6:udp:{geneve}"), two, "9,9", outer, 2),
            (&format!("ipv6:udp:{geneve}"), &format!("{two};geneve.flags.oam=1"), "6081,9", outer, 2),
            (&"ipv6:udp:eth:ethertype:ipv6:udp".into(), two, "4789,9", outer, 2),
            (&"ipv6:udp:ipv6:ipv6:udp".into(), "ipv6.src=::1,::8,::3;ipv6.dst=::2,::9,::4;udp.stream=0,1", "9,9", next, 2),
            (&format!("ipv6:udp:{vxlan}:vxlan:eth"), two, "4789,4789", next, 2),
            (&"ipv6:udp:vxlan:eth:ethertype:data".into(), one, "4789", None, 1),
            (&"ipv6:udp:vxlan:eth".into(), one, "4789", outer, 1),
            (&"ipv6:udp:vxlan:eth:ethertype:ipv6".into(), one, "4789", None, 1),
            (&"ipv6:udp:geneve:ipv6".into(), one, "6081", outer, 1),
            (&format!("ipv6:ipv6.fraghdr:udp:{vxlan}"), &format!("{two};ipv6.fraghdr.more=True"), "4789,9", outer, 2),
            (
                &"ipv6:udp:vxlan:eth:ethertype:ipv6:ipv6.fraghdr:udp".into(),
                &format!("{two};ipv6.fraghdr.more=1"),
                "4789,9",
                next,
                2,
            ),
        ] {
            let mut all = Conversations::default();
            let sources = ports.split(',').map(|_| "7").collect::<Vec<_>>().join(",");
            let fields = format!("frame.encap_type=1;frame.len=60;udp.srcport={sources};udp.dstport={ports};{values}");
            let shown = take(&mut all, &format!("{fields};frame.protocols=eth:ethertype:{path}"))?;
            let mut found: Vec<_> = all.whole.keys().flat_map(|(_, ends)| ends.map(|(address, _)| address.to_string())).collect();
            found.sort();
            let expected: Vec<_> = metered.into_iter().flat_map(|(from, to)| [from, to]).collect();
            assert_eq!(found, expected, "{path}, {ports}");
            assert_eq!(shown.len(), printed, "{path}");
        }
        Ok(())
    }

    #[test]
    fn records_that_are_no_packets_are_not_counted() -> Result<()> {
        let mut all = Conversations::default();
        for frame in ["frame.len=24", PLAIN, "frame.encap_type=1;frame.len=60"] {
            take(&mut all, frame)?;
        }
        assert_eq!((all.frames, all.whole.len()), (2, 1));
        Ok(())
    }
}
