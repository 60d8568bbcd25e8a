//! Octets to conversations of every sample class, through parser and meter, beside a plain account of what may be sampled: each
//! sample is the leading payload and nothing else, budgets and shares hold, and no class lives on another's share.

use std::{collections::BTreeMap, mem::MaybeUninit};

use auscult_ebpf::{
    discard::Lost,
    frame::{Frame, Slice},
    limit::{SAMPLE_LARGE, SAMPLE_MEDIUM, SAMPLE_SMALL, TICK_SHIFT},
    meter::{self, FlowCache, Sets, Sink, group, tick},
    parse::{self, Packet, Start},
    record::{ABI, Core, DELTA_CONTINUES, Delta, FlowKey, Kind, SampleHead, Set, TunnelPath},
    sample::Class,
    settings::{FLAG_SAMPLES, Settings},
};

use super::{Octets, STEPS};

/// Packets of one input.
const PACKETS_MAX: usize = 400;
/// Longest payload; more than one sample holds.
const PAYLOAD_MAX: usize = 2000;
/// Follows the payload in the frame and is nobody's to carry.
const TRAILER: u8 = 0xee;
/// Shares that matter: none, less than a packet, about one, some, the usual, no bound.
const SHARES: [u32; 8] = [0, 1, 100, 1504, 3008, 1 << 14, 1 << 20, u32::MAX];

/// What a conversation is.
#[derive(Clone, Copy)]
enum Sort {
    Tcp(u16),
    Udp(u16),
    Icmp6(u8),
    Icmp,
    Fragment,
    Arp,
}

/// Sorts and the class that RFCs and registered ports give them (`sample.rs` says which).
const SORTS: [(Sort, Class); 16] = [
    (Sort::Tcp(104), Class::Clinical),
    (Sort::Tcp(2575), Class::Clinical),
    (Sort::Tcp(80), Class::Stream),
    (Sort::Tcp(445), Class::Stream),
    (Sort::Udp(67), Class::Address),
    (Sort::Udp(547), Class::Address),
    (Sort::Udp(53), Class::Name),
    (Sort::Udp(5353), Class::Name),
    (Sort::Udp(161), Class::Announce),
    (Sort::Udp(47808), Class::Announce),
    (Sort::Udp(9999), Class::Datagram),
    (Sort::Icmp6(134), Class::Address),
    (Sort::Icmp6(128), Class::None),
    (Sort::Icmp, Class::None),
    (Sort::Fragment, Class::None),
    (Sort::Arp, Class::Link),
];

/// Octets that a run may give in one direction.
const fn budget(class: Class) -> u32 {
    match class {
        Class::None => 0,
        Class::Link => 1504,
        Class::Address => 65_534,
        Class::Name | Class::Announce | Class::Stream => 4096,
        Class::Clinical => 20_480,
        Class::Datagram => 1504,
    }
}

/// The first octets say how the sampler is set; packets follow.
pub fn sampler(octets: &[u8]) {
    let mut from = Octets(octets);
    let how = from.u8();
    let mut settings = Settings { sets_mask: [0, 3, 63, 255][usize::from(how & 3)], ..Settings::plain() };
    settings.flags = if how & 4 != 0 { 0 } else { FLAG_SAMPLES };
    if how & 8 != 0 {
        settings.sample_shares = std::array::from_fn(|_| SHARES[usize::from(from.u8() & 7)]);
    }
    let mut bench = Bench::new(settings);
    let mut at = if how & 16 != 0 { 1_767_600_000_000_000_000 } else { 1 << TICK_SHIFT };
    for _ in 0..PACKETS_MAX {
        if from.is_empty() {
            break;
        }
        let step = Step::read(&mut from);
        at += STEPS[usize::from(step.pause & 15)].min(1 << 34);
        if step.pause & 16 != 0 {
            bench.sweep(at, step.pause & 32 != 0);
        }
        bench.packet(&step, at);
    }
    bench.close();
}

/// One packet of an input: sort, flags, pause, lead and trailer, payload length, octets cut off.
struct Step {
    sort: Sort,
    class: Class,
    /// 1: from the other side; 2: IPv6; 4, 8, 16, 32: SYN, ACK, FIN, RST; 64: no room in the ring; 128: another host.
    flags: u8,
    pause: u8,
    /// Low two bits: what the payload begins with; 4: octets are cut off; 8: no room for bulk; high four bits: octets of trailer.
    lead: u8,
    payload: usize,
    cut: usize,
}

impl Step {
    fn read(from: &mut Octets<'_>) -> Self {
        let (sort, class) = SORTS[usize::from(from.u8() & 15)];
        let (flags, pause, lead) = (from.u8(), from.u8(), from.u8());
        let payload = usize::from(from.u16()) % (PAYLOAD_MAX + 1);
        let cut = if lead & 4 != 0 { usize::from(from.u16()) } else { 0 };
        Self { sort, class, flags, pause, lead, payload, cut }
    }

    fn bit(&self, bit: u8) -> bool {
        self.flags & bit != 0
    }

    fn has_bulk_room(&self) -> bool {
        self.lead & 8 == 0
    }

    fn is_tcp(&self) -> bool {
        matches!(self.sort, Sort::Tcp(_))
    }

    /// The payload: a lead, then octets that tell their place.
    fn payload(&self) -> Vec<u8> {
        let mut octets: Vec<u8> = (0..self.payload).map(|n| (n * 7 % 199) as u8 | 0x10).collect();
        let lead: &[u8] = match self.lead & 3 {
            1 => b"\x0bMSH|^~\\",
            2 => &[1, 0, 0, 0, 0, 9, 0, 1],
            3 => &[2, 0, 0, 0, 0, 9, 0, 1],
            _ => &[],
        };
        let whole = lead.len().min(octets.len());
        octets[..whole].copy_from_slice(&lead[..whole]);
        octets
    }

    /// Everything from the link header on, and where the payload starts.
    fn frame(&self) -> (Vec<u8>, usize) {
        let is_ipv6 = match self.sort {
            Sort::Icmp6(_) => true,
            Sort::Icmp | Sort::Fragment | Sort::Arp => false,
            Sort::Tcp(_) | Sort::Udp(_) => self.bit(2),
        };
        let transport = self.transport();
        let octets = transport.len() + self.payload;
        let hosts = if self.bit(1) { [9, 1 + (self.flags >> 7)] } else { [1 + (self.flags >> 7), 9] };
        let mut frame = vec![2, 0, 0, 0, 0, hosts[1], 2, 0, 0, 0, 0, hosts[0]];
        match self.sort {
            Sort::Arp => frame.extend([8, 6]),
            _ if is_ipv6 => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend((octets as u16).to_be_bytes());
                frame.extend([self.protocol(), 64]);
                hosts.iter().for_each(|host| frame.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, *host]));
            }
            _ => {
                frame.extend([8, 0, 0x45, 0]);
                frame.extend((octets as u16 + 20).to_be_bytes());
                frame.extend([0, 7, 0, if matches!(self.sort, Sort::Fragment) { 3 } else { 0 }, 64, self.protocol(), 0, 0]);
                hosts.iter().for_each(|host| frame.extend([10, 0, 0, *host]));
            }
        }
        frame.extend(transport);
        let start = frame.len();
        frame.extend(self.payload());
        // All that follows the link header of a frame without IP is its payload.
        let trailer = if matches!(self.sort, Sort::Arp) { 0 } else { self.lead >> 4 };
        frame.extend(std::iter::repeat_n(TRAILER, trailer.into()));
        (frame, start)
    }

    fn protocol(&self) -> u8 {
        match self.sort {
            Sort::Tcp(_) => 6,
            Sort::Udp(_) | Sort::Fragment => 17,
            Sort::Icmp6(_) => 58,
            Sort::Icmp => 1,
            Sort::Arp => 0,
        }
    }

    fn transport(&self) -> Vec<u8> {
        let ports = |service: u16| {
            let client = 50_000_u16;
            let [from, to] = if self.bit(1) { [service, client] } else { [client, service] };
            [from.to_be_bytes(), to.to_be_bytes()].concat()
        };
        match self.sort {
            Sort::Tcp(port) => {
                let bits = (self.flags >> 1 & 2) | (self.flags << 1 & 16) | (self.flags >> 4 & 1) | (self.flags >> 3 & 4);
                [&ports(port)[..], &[0, 0, 1, 0, 0, 0, 0, 0, 0x50, bits, 1, 0, 0, 0, 0, 0]].concat()
            }
            Sort::Udp(port) => [&ports(port)[..], &(self.payload as u16 + 8).to_be_bytes(), &[0, 0]].concat(),
            Sort::Icmp6(kind) => vec![kind, 0, 0, 0],
            Sort::Icmp => vec![3, 1, 0, 0],
            Sort::Fragment | Sort::Arp => Vec::new(),
        }
    }
}

/// Octets that a sample takes of the ring: a header, the head of the sample, and the smallest of three sizes that holds it.
fn ring_octets(length: usize) -> u64 {
    let size = if length <= SAMPLE_SMALL {
        SAMPLE_SMALL
    } else if length <= SAMPLE_MEDIUM {
        SAMPLE_MEDIUM
    } else {
        SAMPLE_LARGE
    };
    (8 + size_of::<SampleHead>() + size) as u64
}

/// What a direction may give of which nothing but an opening counts.
const UNOPENED: u32 = u32::MAX;

/// HL7 in MLLP framing, or DICOM's A-ASSOCIATE (request or answer) of protocol version 1.
fn opens_clinical(octets: &[u8]) -> bool {
    matches!(octets, [0x0b, b'M', b'S', b'H', _, _, _, _, ..] | [1 | 2, 0, 0, _, _, _, 0, 1, ..])
}

/// What one run of a flow may still give.
struct Account {
    left: [u32; 2],
    class: Class,
}

/// A sample as the ring was asked to take it.
struct Offered {
    head: SampleHead,
    record: usize,
    octets: Vec<u8>,
}

/// A ring that takes every delta, and samples when it has room.
#[derive(Default)]
struct Ring {
    has_room: bool,
    has_bulk_room: bool,
    offered: Vec<Offered>,
}

impl Sink for Ring {
    fn cpu(&self) -> u16 {
        0
    }

    fn delta(&mut self, _: &Delta) -> Result<(), Lost> {
        Ok(())
    }

    fn has_bulk_room(&self) -> bool {
        self.has_bulk_room
    }

    fn path(&mut self, path: &TunnelPath) -> Result<(), Lost> {
        panic!("nothing here is encapsulated: {path:?}")
    }

    fn sample<F: Frame, const N: usize>(&mut self, head: &SampleHead, frame: &F, offset: u32) -> Result<(), Lost> {
        let mut into = [const { MaybeUninit::uninit() }; N];
        assert!(frame.copy::<N>(offset, head.length.into(), &mut into), "{head:?} is not in the frame");
        // SAFETY: `copy` has written as many octets as it was asked for.
        let octets = into[..usize::from(head.length)].iter().map(|octet| unsafe { octet.assume_init() }).collect();
        self.offered.push(Offered { head: *head, record: N, octets });
        if self.has_room { Ok(()) } else { Err(Lost::RingFull) }
    }
}

struct Memory(Vec<Set>);

impl Sets for &mut Memory {
    fn set(&mut self, index: u32) -> Option<&mut Set> {
        self.0.get_mut(index as usize)
    }
}

struct Bench {
    settings: Settings,
    memory: Memory,
    core: Core,
    packet: Packet,
    ring: Ring,
    accounts: BTreeMap<FlowKey, Account>,
    tick: Option<u64>,
    /// Octets of the ring used in this tick, by class.
    used: [u64; Class::CELLS],
    /// What the counters must say: samples, lost, shed.
    counted: [[u64; Class::CELLS]; 3],
}

impl Bench {
    fn new(settings: Settings) -> Self {
        Self {
            settings,
            memory: Memory(vec![Set::default(); settings.sets_mask as usize + 1]),
            core: Core::default(),
            packet: Packet::default(),
            ring: Ring::default(),
            accounts: BTreeMap::new(),
            tick: None,
            used: [0; Class::CELLS],
            counted: [[0; Class::CELLS]; 3],
        }
    }

    fn sweep(&mut self, at: u64, flush: bool) {
        for slot in self.memory.0.iter_mut().flatten() {
            meter::sweep_slot(slot, at, flush, &mut self.core.counters, &mut self.ring);
        }
        assert!(self.ring.offered.is_empty(), "a sweep has no payload");
    }

    fn packet(&mut self, step: &Step, at: u64) {
        let (octets, start) = step.frame();
        // Never within the network header: without it the flow is one of link addresses.
        let least = start - step.transport().len();
        let captured = &octets[..octets.len().saturating_sub(step.cut).max(least)];
        let frame = Slice::new(captured, octets.len() as u32);
        (self.ring.has_room, self.ring.has_bulk_room) = (!step.bit(64), step.has_bulk_room());
        if parse::parse(&frame, Start::Ethernet, false, &mut self.packet).is_err() {
            return;
        }
        let Self { settings, memory, core, packet, ring, .. } = self;
        let mut slots = FlowCache { sets: memory, mask: settings.sets_mask };
        meter::meter::<{ group::ALL }, _, _, _>(&frame, packet, at, settings, &mut slots, core, ring);
        let offered = std::mem::take(&mut self.ring.offered);
        assert!(offered.len() <= 1, "one packet, one sample");
        let expect = self.expect(step, captured, start, at);
        match (offered.first(), expect) {
            (None, None) => {}
            (Some(sample), Some((class, length))) => self.check(step, sample, class, &captured[start..start + length], at),
            (sample, expect) => panic!("{:?} where {expect:?} (class, octets) was due", sample.map(|sample| sample.head)),
        }
    }

    /// Class and length of the sample that the packet in `self.packet` must give, by the account kept here.
    fn expect(&mut self, step: &Step, captured: &[u8], start: usize, at: u64) -> Option<(Class, usize)> {
        let key = self.packet.flow_key();
        let way = self.packet.direction as usize;
        let mut held = self.memory.0.iter().flatten().filter(|slot| slot.dirty() && slot.key == key);
        let (Some(slot), None) = (held.next(), held.next()) else { panic!("{key:?} has not one slot") };
        // Whatever cut the transport header off left a flow without ports, which gives nothing.
        let has_header = captured.len() >= start;
        let class = if has_header { step.class } else { Class::None };
        if slot.flags & DELTA_CONTINUES == 0 && slot.header.packets.iter().sum::<u16>() == 1 {
            // Of TCP without a SYN only a clinical port gives something, if it begins with an opening.
            let left = match (step.is_tcp(), class) {
                (true, Class::Clinical) => UNOPENED,
                (true, _) => 0,
                (false, _) => budget(class),
            };
            self.accounts.insert(key, Account { left: [left; 2], class });
        }
        let account = self.accounts.get_mut(&key).expect("a slot without a beginning");
        if step.is_tcp() && has_header && step.bit(4) {
            account.left = [budget(account.class); 2];
        }
        let ready = captured.len().saturating_sub(start).min(step.payload);
        if !self.settings.has(FLAG_SAMPLES) || step.payload == 0 || account.left[way] == 0 {
            return None;
        }
        let may_open = account.class == Class::Stream || account.left[way] == UNOPENED;
        if may_open && opens_clinical(captured.get(start..).unwrap_or_default()) {
            *account = Account { left: [budget(Class::Clinical); 2], class: Class::Clinical };
        }
        if account.left[way] == UNOPENED {
            account.left[way] = 0;
            return None;
        }
        let length = ready.min(account.left[way] as usize).min(SAMPLE_LARGE);
        if length == 0 {
            return None;
        }
        if self.tick != Some(tick(at)) {
            (self.tick, self.used) = (Some(tick(at)), [0; Class::CELLS]);
        }
        let class = account.class;
        let cost = ring_octets(length);
        // A class's own octets alone decide: what others have used does not count.
        if self.used[class as usize] + cost > self.settings.sample_shares[class as usize].into() {
            self.counted[2][class as usize] += 1;
            return None;
        }
        if matches!(class, Class::Stream | Class::Datagram) && !step.has_bulk_room() {
            self.counted[1][class as usize] += 1;
            return None;
        }
        self.used[class as usize] += cost;
        account.left[way] -= length as u32;
        Some((class, length))
    }

    /// The sample says what it is, and is the beginning of the payload in the smallest record that holds it.
    fn check(&mut self, step: &Step, sample: &Offered, class: Class, octets: &[u8], at: u64) {
        let head = &sample.head;
        assert_eq!(sample.octets, octets, "{head:?}");
        assert!(octets.len() <= step.payload && !octets.contains(&TRAILER), "{head:?}");
        assert_eq!((head.header.kind, head.header.abi), (Kind::Sample as u8, ABI));
        assert_eq!(head.header.packets, [self.packet.direction as u16, class as u16]);
        assert_eq!((head.key, head.at, usize::from(head.payload_octets)), (self.packet.flow_key(), at, step.payload));
        let record = [SAMPLE_SMALL, SAMPLE_MEDIUM, SAMPLE_LARGE].into_iter().find(|size| octets.len() <= *size);
        assert_eq!(Some(sample.record), record);
        assert!(self.used[class as usize] <= self.settings.sample_shares[class as usize].into());
        self.counted[usize::from(step.bit(64))][class as usize] += 1;
    }

    fn close(self) {
        let counters = &self.core.counters;
        assert_eq!([counters.samples, counters.samples_lost, counters.samples_shed], self.counted);
    }
}
