//! Random packets of a few flows, from a seed.

use auscult_ebpf::{
    limit::TICK_SHIFT,
    record::{FORM_ETHERNET, FORM_IPV4, FORM_IPV6, FlowKey, Link},
};

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

pub const SECOND: u64 = 1_000_000_000;

/// Which rings the packets of a flow come over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// All over one.
    One,
    /// Each direction over its own.
    ByDirection,
    /// Each packet over any of three.
    ByPacket,
}

impl Spread {
    pub fn rings(self) -> u16 {
        match self {
            Self::One => 1,
            Self::ByDirection => 2,
            Self::ByPacket => 3,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Packet {
    pub at: u64,
    pub ring: u16,
    pub flow: usize,
    pub direction: usize,
    pub octets: u16,
    pub payload: u16,
    pub ttl: u8,
    pub class: u8,
    pub bits: u8,
    pub sequence: u32,
    pub window: u16,
    pub options: u64,
    pub link: Link,
    pub tags: u8,
    pub stop: u8,
}

impl Packet {
    /// Begins a connection: SYN and nothing that answers or ends one.
    pub fn opens(&self) -> bool {
        self.bits & (SYN | ACK | FIN | RST) == SYN
    }

    pub fn layer2_octets(&self) -> u32 {
        u32::from(self.octets) + 14
    }

    /// Sequence space the segment occupies.
    pub fn length(&self) -> u32 {
        u32::from(self.payload) + u32::from(self.bits & SYN != 0) + u32::from(self.bits & FIN != 0)
    }
}

/// xorshift64*; enough for tests.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }

    pub fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

#[derive(Clone, Debug)]
pub struct Scene {
    pub keys: Vec<FlowKey>,
    pub packets: Vec<Packet>,
}

pub fn key(flow: usize, kind: u64) -> FlowKey {
    let mut key = FlowKey { form: FORM_IPV4, port: [443, 50_000 + flow as u16], ..FlowKey::default() };
    key.address[0][..4].copy_from_slice(&[10, 0, flow as u8, (flow >> 8) as u8]);
    key.address[1][..4].copy_from_slice(&[10, 1, 0, 2]);
    match kind {
        0 => (key.protocol, key.port) = (1, [8, 0]),
        1 => key.protocol = 17,
        2 => (key.form, key.port, key.scope) = (FORM_ETHERNET, [0, 0], 0x88cc),
        3 => (key.form, key.protocol) = (FORM_IPV6, 6),
        _ => key.protocol = 6,
    }
    key
}

fn pause(dice: &mut Dice) -> u64 {
    match dice.roll(40) {
        0..10 => dice.roll(3),
        10..20 => dice.roll(1000),
        20..30 => dice.roll(SECOND / 100),
        30..35 => dice.roll(SECOND / 2),
        35..38 => dice.roll(2 * SECOND),
        38 => dice.roll(9 * SECOND),
        _ => 6 * SECOND - 1 + dice.roll(3),
    }
}

/// Packets in order of time. With several rings, no two packets have one time, and a connection is opened anew only after a
/// pause in which all meters forget.
pub fn scene(seed: u64, spread: Spread, unordered: bool) -> Scene {
    let mut dice = Dice(seed | 1 << 63);
    let mut keys = Vec::new();
    let mut packets: Vec<Packet> = Vec::new();
    for flow in 0..1 + dice.roll(3) as usize {
        keys.push(key(flow, dice.roll(8)));
        let mut at = 100 * SECOND + dice.roll(SECOND);
        let mut next = [u32::MAX - dice.roll(3000) as u32, dice.roll(1 << 31) as u32];
        let busy = dice.roll(2);
        for nth in 0..1 + dice.roll(90) {
            at += if dice.one_in(1 + 3 * busy) { pause(&mut dice) } else { dice.roll(3000) };
            at += u64::from(spread != Spread::One);
            let packet = packet(&mut dice, &keys[flow], nth, &mut next, unordered);
            if packet.opens() && nth > 0 && spread != Spread::One {
                at = ((at >> TICK_SHIFT) + 10) << TICK_SHIFT;
            }
            packets.push(Packet { at, flow, ..packet });
        }
    }
    for packet in &mut packets {
        packet.ring = match spread {
            Spread::One => 0,
            Spread::ByDirection => packet.direction as u16,
            Spread::ByPacket => dice.roll(3) as u16,
        };
    }
    packets.sort_by_key(|packet| packet.at);
    Scene { keys, packets }
}

fn packet(dice: &mut Dice, key: &FlowKey, nth: u64, next: &mut [u32; 2], unordered: bool) -> Packet {
    let mut direction = dice.roll(2) as usize;
    let payload = if dice.one_in(3) { 0 } else { 1 + dice.roll(1400) as u16 };
    let mac = |end: usize| [2, 0, 0, 0, end as u8, dice_free(key)];
    let mut packet = Packet {
        at: 0,
        ring: 0,
        flow: 0,
        direction,
        octets: payload + 40 + dice.roll(2) as u16,
        payload,
        ttl: 60 + dice.roll(5) as u8,
        class: (dice.roll(4) * 4 + dice.roll(3)) as u8,
        bits: 0,
        sequence: 0,
        window: dice.roll(4) as u16,
        options: dice.roll(1 << 20),
        link: Link { source: mac(direction), target: mac(1 - direction), tags: [0x2000 | dice.roll(4095) as u16, 7] },
        tags: dice.roll(4) as u8,
        stop: if dice.one_in(30) { dice.roll(9) as u8 } else { 0 },
    };
    if key.form == FORM_ETHERNET {
        (packet.ttl, packet.class) = (0, 0);
    }
    if key.protocol != 6 {
        return packet;
    }
    packet.bits = match (nth, dice.roll(50)) {
        (0, 0..30) | (_, 0) => SYN,
        (1 | 2, 0..35) => SYN | ACK,
        (_, 1 | 2) => FIN | ACK,
        (_, 3) => RST,
        _ => ACK,
    };
    if nth == 1 && packet.bits & SYN != 0 {
        direction = 1 - direction;
        packet.direction = direction;
    }
    if packet.bits & SYN != 0 {
        packet.payload = 0;
        if nth > 3 {
            next[direction] = next[direction].wrapping_add(dice.roll(1 << 28) as u32).wrapping_sub(1 << 27);
        }
    }
    let jump = if unordered { dice.roll(12) } else { 2 };
    packet.sequence = match jump {
        0 => next[direction].wrapping_sub(dice.roll(4000) as u32),
        1 => next[direction].wrapping_add(dice.roll(4000) as u32),
        _ => next[direction],
    };
    let end = packet.sequence.wrapping_add(packet.length());
    if (end.wrapping_sub(next[direction]) as i32) > 0 {
        next[direction] = end;
    }
    packet
}

fn dice_free(key: &FlowKey) -> u8 {
    key.address[0][2]
}
