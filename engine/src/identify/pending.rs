//! Evidence that waits for the number of its flow: a sample comes while its flow is open, the flow's row when it is over.

use std::{collections::HashMap, net::IpAddr};

use auscult_ebpf::record::{FORM_ETHERNET, FORM_IPV4, FlowKey};

use crate::{
    device::DeviceId,
    flow::{Address, Flow, Mac, UnixNanos},
};

/// Conversations that are waited for at a time. Evidence that finds no place waits for its next observation.
const WAITING_MAX: usize = 1 << 16;
/// Pieces of evidence of one conversation that wait.
const PER_CONVERSATION_MAX: usize = 32;
/// Memory of all that can wait.
pub const BYTES_MAX: usize = WAITING_MAX * 128 + WAITING_MAX * 4 * size_of::<Waiter>();
/// How far a row's times and an observation's may be apart: the clocks are tied anew at every Mark.
const SLACK_NANOS: i64 = 2_000_000_000;

/// One end: address and, where the protocol has ports, port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum End {
    Link(Mac),
    Ip(IpAddr, u16),
}

/// What a flow key and a flow row have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Conversation {
    ends: [End; 2],
    /// IP protocol, or ethertype.
    protocol: u16,
}

impl Conversation {
    fn new(mut ends: [End; 2], protocol: u16) -> Self {
        ends.sort_unstable();
        Self { ends, protocol }
    }

    fn of_key(key: &FlowKey) -> Self {
        let has_ports = matches!(key.protocol, TCP | UDP);
        let end = |end: usize| {
            let octets = key.address[end];
            let [a, b, c, d, e, f, ..] = octets;
            match key.form & 0x3f {
                FORM_ETHERNET => End::Link(Mac([a, b, c, d, e, f])),
                FORM_IPV4 => End::Ip([a, b, c, d].into(), if has_ports { key.port[end] } else { 0 }),
                _ => End::Ip(octets.into(), if has_ports { key.port[end] } else { 0 }),
            }
        };
        Self::new([end(0), end(1)], if key.form == FORM_ETHERNET { key.scope } else { key.protocol.into() })
    }

    fn of_flow(flow: &Flow) -> Self {
        let has_ports = matches!(flow.protocol, Some(TCP | UDP));
        let ends = flow.endpoint.0.map(|end| match end.address {
            Address::Link(mac) => End::Link(mac.unwrap_or_default()),
            Address::V4(ip) => End::Ip(ip.into(), end.port.filter(|_| has_ports).unwrap_or(0)),
            Address::V6(ip) => End::Ip(ip.into(), end.port.filter(|_| has_ports).unwrap_or(0)),
        });
        Self::new(ends, flow.protocol.map_or_else(|| flow.ethertype.unwrap_or(0), u16::from))
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;

/// What of a flow row tells which observations came from it.
#[derive(Clone, Copy, Debug)]
pub struct FlowName {
    conversation: Conversation,
    start: UnixNanos,
    end: UnixNanos,
    flow_id: u64,
}

impl FlowName {
    /// The number.
    pub const fn flow_id(&self) -> u64 {
        self.flow_id
    }

    /// Last packet.
    pub const fn end(&self) -> UnixNanos {
        self.end
    }
}

impl From<&Flow> for FlowName {
    fn from(flow: &Flow) -> Self {
        Self { conversation: Conversation::of_flow(flow), start: flow.start, end: flow.end, flow_id: flow.flow_id }
    }
}

/// A piece of evidence, by device and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// Whose.
    pub device: DeviceId,
    /// Which.
    pub evidence: u64,
    /// When it was observed.
    pub at: UnixNanos,
}

/// All that wait.
#[derive(Default)]
pub struct Pending {
    waiting: HashMap<Conversation, Vec<Waiter>>,
}

impl Pending {
    /// Lets a piece of evidence wait for the row of its conversation; whether it found a place.
    pub fn wait(&mut self, key: &FlowKey, waiter: Waiter) -> bool {
        let conversation = Conversation::of_key(key);
        if self.waiting.len() >= WAITING_MAX && !self.waiting.contains_key(&conversation) {
            return false;
        }
        let waiters = self.waiting.entry(conversation).or_default();
        if waiters.len() >= PER_CONVERSATION_MAX {
            return false;
        }
        waiters.push(waiter);
        true
    }

    /// What waited for this row. Evidence of before the row is given up with it: its row will not come any more.
    pub fn arrived(&mut self, flow: &FlowName) -> Vec<Waiter> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let conversation = flow.conversation;
        let Some(waiters) = self.waiting.get_mut(&conversation) else { return Vec::new() };
        let of_row = |waiter: &Waiter| waiter.at >= flow.start - SLACK_NANOS && waiter.at <= flow.end + SLACK_NANOS;
        let arrived = waiters.iter().copied().filter(of_row).collect();
        waiters.retain(|waiter| waiter.at > flow.end + SLACK_NANOS);
        if waiters.is_empty() {
            self.waiting.remove(&conversation);
        }
        arrived
    }

    /// Forgets what has waited since before `limit`: its row was lost.
    pub fn forget(&mut self, limit: UnixNanos) -> Vec<Waiter> {
        let mut forgotten = Vec::new();
        self.waiting.retain(|_, waiters| {
            forgotten.extend(waiters.extract_if(.., |waiter| waiter.at < limit));
            !waiters.is_empty()
        });
        forgotten
    }
}
