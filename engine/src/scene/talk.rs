//! A TCP conversation: what each side says → segments with handshake, acknowledgements, options and, on demand, trouble.

use super::{
    device::Stack,
    frame::{self, Ip, Tcp, control::*},
    stage::{Family, Id, MICRO, MILLI, Stage},
};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client = 0,
    Server = 1,
}

use Side::{Client, Server};

impl Side {
    const fn other(self) -> Self {
        match self {
            Client => Server,
            Server => Client,
        }
    }
}

/// What goes wrong while some octets are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing.
    None,
    /// The second segment is sent again after a time-out.
    Retransmission,
    /// The second and third segment change places.
    OutOfOrder,
    /// The receiver closes its window half way, then opens it.
    ZeroWindow,
}

/// How a conversation is set up, beside its ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) family: Family,
    /// Which sides the tap hears.
    pub(super) heard: [bool; 2],
    /// Largest segment, with its headers.
    pub(super) mtu: usize,
}

/// The usual: IPv4, both sides heard, Ethernet's MTU.
pub(super) const USUAL: Setting = Setting { family: Family::V4, heard: [true, true], mtu: 1500 };

#[derive(Clone, Copy, Debug)]
struct End {
    id: Id,
    port: u16,
    stack: Stack,
    next: u32,
    ip_id: u16,
    window: u16,
}

/// A TCP conversation in progress.
pub(super) struct Talk<'s, 'a> {
    pub(super) stage: &'s mut Stage<'a>,
    ends: [End; 2],
    setting: Setting,
    /// Now, in the scene's time.
    pub(super) at: u64,
    /// One way through the network and the peer's stack.
    delay: u64,
    timestamps: bool,
    clock: [u32; 2],
    mss: usize,
}

impl<'s, 'a> Talk<'s, 'a> {
    fn prepare(stage: &'s mut Stage<'a>, at: u64, client: Id, server: Id, port: u16, setting: Setting) -> Self {
        let end = |stage: &mut Stage<'a>, id: Id, port| {
            let stack = stage.device(id).stack;
            let random = stage.random.next();
            let window = if stack == Stack::Embedded { 8192 } else { 64_240 };
            End { id, port, stack, next: random as u32, ip_id: (random >> 32) as u16, window }
        };
        let client_port = stage.port();
        let ends = [end(stage, client, client_port), end(stage, server, port)];
        let delay = stage.random.between(120, 900) * MICRO;
        let timestamps = ends.iter().all(|end| end.stack == Stack::Linux);
        let clock = [stage.random.next() as u32 >> 1, stage.random.next() as u32 >> 1];
        let headers = if setting.family == Family::V4 { 40 } else { 60 };
        let mss = setting.mtu - headers - if timestamps { 12 } else { 0 };
        Self { stage, ends, setting, at, delay, timestamps, clock, mss }
    }

    /// Connects to a port.
    pub(super) fn open(stage: &'s mut Stage<'a>, at: u64, client: Id, server: Id, port: u16, setting: Setting) -> Self {
        let mut talk = Self::prepare(stage, at, client, server, port, setting);
        talk.emit(Client, SYN, 0, &[]);
        talk.pass();
        talk.emit(Server, SYN | ACK, 0, &[]);
        talk.pass();
        for end in &mut talk.ends {
            end.next = end.next.wrapping_add(1);
            end.window = if end.stack == Stack::Embedded { 8192 } else { 501 + (end.ip_id & 511) };
        }
        talk.emit(Client, ACK, 0, &[]);
        talk
    }

    /// A conversation that began before the scene.
    pub(super) fn midway(stage: &'s mut Stage<'a>, at: u64, client: Id, server: Id, port: u16, setting: Setting) -> Self {
        let mut talk = Self::prepare(stage, at, client, server, port, setting);
        talk.ends[0].window = 1026;
        talk.ends[1].window = 8212;
        talk
    }

    /// Asks a closed port: SYN, and RST in answer.
    pub(super) fn refused(stage: &'s mut Stage<'a>, at: u64, client: Id, server: Id, port: u16) {
        let mut talk = Self::prepare(stage, at, client, server, port, USUAL);
        talk.emit(Client, SYN, 0, &[]);
        talk.pass();
        talk.ends[0].next = talk.ends[0].next.wrapping_add(1);
        (talk.ends[1].next, talk.ends[1].window, talk.timestamps) = (0, 0, false);
        talk.emit(Server, RST | ACK, 0, &[]);
    }

    /// Asks a host that never answers: the SYN is repeated.
    pub(super) fn ignored(stage: &'s mut Stage<'a>, at: u64, client: Id, server: Id, port: u16) {
        let mut talk = Self::prepare(stage, at, client, server, port, USUAL);
        for wait in [1000, 2000, 4000] {
            talk.emit(Client, SYN, 0, &[]);
            talk.at += wait * MILLI;
        }
    }

    fn pass(&mut self) {
        self.at += self.delay;
    }

    /// Lets time go by.
    pub(super) fn pause(&mut self, nanos: u64) {
        self.at += nanos;
    }

    fn options(&self, side: Side, bits: u8) -> Vec<u8> {
        let mut options = Vec::with_capacity(20);
        let [mine, theirs] = [self.clock[side as usize], self.clock[side.other() as usize]];
        let now = (self.at / MILLI) as u32;
        if bits & SYN != 0 {
            let mss = (self.setting.mtu - if self.setting.family == Family::V4 { 40 } else { 60 }) as u16;
            options.extend([2, 4, (mss >> 8) as u8, mss as u8]);
            match self.ends[side as usize].stack {
                Stack::Linux if self.timestamps => {
                    options.extend([4, 2, 8, 10]);
                    options.extend(mine.wrapping_add(now).to_be_bytes());
                    options.extend((if bits & ACK != 0 { theirs.wrapping_add(now) } else { 0 }).to_be_bytes());
                    options.extend([1, 3, 3, 7]);
                }
                Stack::Linux => options.extend([1, 1, 4, 2, 1, 3, 3, 7]),
                Stack::Windows => options.extend([1, 3, 3, 8, 1, 1, 4, 2]),
                Stack::Embedded => {}
            }
        } else if self.timestamps {
            options.extend([1, 1, 8, 10]);
            options.extend(mine.wrapping_add(now).to_be_bytes());
            options.extend(theirs.wrapping_add(now).to_be_bytes());
        }
        options
    }

    /// One segment at `offset` from what this side sends next; nothing moves but the IP identification.
    fn emit(&mut self, side: Side, bits: u8, offset: u32, payload: &[u8]) {
        let (me, peer) = (self.ends[side as usize], self.ends[side.other() as usize]);
        self.ends[side as usize].ip_id = me.ip_id.wrapping_add(1);
        if !self.setting.heard[side as usize] {
            return;
        }
        let options = self.options(side, bits);
        let header = Tcp {
            ports: [me.port, peer.port],
            sequence: me.next.wrapping_add(offset),
            acknowledgement: match bits & (ACK | SYN) {
                0 | SYN => 0,
                ACK => peer.next,
                _ => peer.next.wrapping_add(1),
            },
            control_bits: bits,
            window: me.window,
            options: &options,
        };
        let pair = self.stage.pair(me.id, peer.id, self.setting.family);
        let hops = self.stage.device(me.id).hops();
        let ip = Ip { hops, id: u32::from(me.ip_id), dont_fragment: me.stack != Stack::Embedded, ..Ip::new(pair, frame::TCP) };
        let target = self.stage.next_hop(me.id, peer.id);
        self.stage.segment(self.at, me.id, target, &ip, &frame::tcp(pair, &header, payload), 65_000);
    }

    /// One side sends; the other acknowledges every second segment and the last.
    pub(super) fn send(&mut self, side: Side, octets: &[u8]) {
        self.send_with(side, octets, Trouble::None);
    }

    /// As [`Self::send`], with trouble.
    pub(super) fn send_with(&mut self, side: Side, octets: &[u8], trouble: Trouble) {
        if octets.is_empty() {
            return;
        }
        let mss = self.mss;
        let pieces: Vec<(usize, &[u8])> = octets.chunks(mss).enumerate().collect();
        let last = pieces.len() - 1;
        let mut n = 0;
        while n <= last {
            let bits = if n == last { PSH | ACK } else { ACK };
            if trouble == Trouble::OutOfOrder && n == 1 && n < last {
                let bits = if n + 1 == last { PSH | ACK } else { ACK };
                self.emit(side, bits, mss as u32, pieces[2].1);
                self.at += 40 * MICRO;
                self.emit(side, ACK, 0, pieces[1].1);
                self.advance(side, pieces[1].1.len() + pieces[2].1.len());
                n += 2;
            } else {
                self.emit(side, bits, 0, pieces[n].1);
                if trouble == Trouble::Retransmission && n == 1 {
                    self.at += 210 * MILLI;
                    self.emit(side, bits, 0, pieces[n].1);
                }
                self.advance(side, pieces[n].1.len());
                n += 1;
            }
            self.at += 12 * MICRO;
            if n % 2 == 0 && n <= last {
                self.at += 30 * MICRO;
                self.emit(side.other(), ACK, 0, &[]);
            }
            if trouble == Trouble::ZeroWindow && n == last / 2 + 1 {
                self.stall(side);
            }
        }
        self.pass();
        self.emit(side.other(), ACK, 0, &[]);
        self.at += 20 * MICRO;
    }

    fn stall(&mut self, side: Side) {
        let receiver = side.other();
        let window = std::mem::replace(&mut self.ends[receiver as usize].window, 0);
        self.emit(receiver, ACK, 0, &[]);
        self.at += 350 * MILLI;
        self.ends[receiver as usize].window = window;
        self.emit(receiver, ACK, 0, &[]);
        self.at += 100 * MICRO;
    }

    fn advance(&mut self, side: Side, octets: usize) {
        let end = &mut self.ends[side as usize];
        end.next = end.next.wrapping_add(octets as u32);
    }

    /// One side asks, the other answers after a while.
    pub(super) fn exchange(&mut self, question: &[u8], think: u64, answer: &[u8]) {
        self.send(Client, question);
        self.pause(think);
        self.send(Server, answer);
    }

    /// A keep-alive probe of RFC 9293 §3.8.4 and its answer.
    pub(super) fn keep_alive(&mut self, side: Side) {
        self.emit(side, ACK, u32::MAX, &[]);
        self.pass();
        self.emit(side.other(), ACK, 0, &[]);
    }

    /// The given side closes first.
    pub(super) fn close(mut self, side: Side) {
        self.emit(side, FIN | ACK, 0, &[]);
        self.advance(side, 1);
        self.pass();
        self.emit(side.other(), FIN | ACK, 0, &[]);
        self.advance(side.other(), 1);
        self.pass();
        self.emit(side, ACK, 0, &[]);
    }

    /// The given side gives up.
    pub(super) fn reset(mut self, side: Side) {
        self.ends[side as usize].window = 0;
        self.timestamps = false;
        self.emit(side, RST | ACK, 0, &[]);
    }
}
