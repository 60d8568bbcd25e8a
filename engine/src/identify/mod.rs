//! Identify: observations and presences → devices over time, and what is known of each with the evidence behind it.
//!
//! Who a subject is, is decided first ([`bind`]), then what its observations say ([`rules`]), then what all of them together make likely
//! ([`fuse`]). Time is the records'. The same observations in the same order give the same devices.

mod admission;
mod bind;
mod entry;
mod fuse;
mod known;
mod maker;
pub mod oui;
mod pending;
pub mod rules;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
};

use self::{
    admission::Admission,
    bind::{Binding, Bindings, Found, Sure},
    entry::Entry,
    known::{decided, evidence_number, is_hostname, number, roles, supports, unix},
    pending::{Pending, Waiter},
    rules::Rules,
};
use crate::{
    device::{Device, DeviceId, Evidence},
    flow::{Mac, UnixNanos},
    observation::{Field, Observation, Presence, Subject, Value},
};
use auscult_ebpf::record::FlowKey;

pub use fuse::DECIDED;
pub use pending::FlowName;

/// Devices that are held. What comes beyond is counted, and not known.
pub const DEVICES_MAX: usize = 1 << 16;
/// Pieces of evidence that are held of all of them.
pub const EVIDENCE_SUM_MAX: usize = 3 << 19;
/// Observations about somebody who has not sent anything yet.
const ORPHANS_MAX: usize = 4096;
/// How long they wait.
const ORPHAN_NANOS: i64 = 60_000_000_000;
/// IP addresses of one device.
const IPS_MAX: usize = 32;
/// Host names of one device.
const HOSTNAMES_MAX: usize = 8;
/// `last_seen` is written when it is so much newer than what is written.
const SEEN_NANOS: i64 = 10_000_000_000;
/// A host behind a router is found to be the device of a MAC only if it was heard so shortly before.
const MERGE_NANOS: u64 = 60_000_000_000;
/// Evidence whose flow has not come by then waits for its next observation.
const FLOW_NANOS: i64 = 7_200_000_000_000;

/// What changed since the last harvest.
#[derive(Debug, Default)]
pub struct Harvest {
    /// Devices as they are observed now.
    pub devices: Vec<Device>,
    /// Whose, and what.
    pub evidence: Vec<(DeviceId, Evidence)>,
    /// Of whom it was found that they are the same: the first is now the second.
    pub merged: Vec<(DeviceId, DeviceId)>,
}

impl Harvest {
    /// Nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty() && self.evidence.is_empty() && self.merged.is_empty()
    }
}

/// Memory of all that can be held, bytes. Texts are counted with their usual length.
pub const fn memory_bound() -> u64 {
    const TEXTS: usize = 256;
    let device = 2 * (size_of::<Device>() + 4 * TEXTS) + size_of::<Entry>();
    let evidence = size_of::<Evidence>() + TEXTS;
    (DEVICES_MAX * device + EVIDENCE_SUM_MAX * evidence + pending::BYTES_MAX + ORPHANS_MAX * 512 + RULES_BYTES) as u64
}

/// Memory of the rules and of the table of makers.
const RULES_BYTES: usize = 48 << 20;

/// All devices.
pub struct Identify {
    site: Box<str>,
    rules: Arc<Rules>,
    /// A device of the corpus whose rules do not count (leave-one-out).
    left_out: Option<Box<str>>,
    entries: HashMap<DeviceId, Entry>,
    bindings: Bindings,
    pending: Pending,
    orphans: VecDeque<(UnixNanos, Observation)>,
    dirty: BTreeSet<DeviceId>,
    merged: Vec<(DeviceId, DeviceId)>,
    refused: u64,
    pieces: usize,
    admitted: Admission,
    now: UnixNanos,
}

impl Identify {
    /// Nobody is known yet.
    pub fn new(site: &str, rules: Arc<Rules>) -> Self {
        Self {
            site: site.into(),
            rules,
            left_out: None,
            entries: HashMap::new(),
            bindings: Bindings::default(),
            pending: Pending::default(),
            orphans: VecDeque::new(),
            dirty: BTreeSet::new(),
            merged: Vec::new(),
            refused: 0,
            pieces: 0,
            admitted: Admission::default(),
            now: UnixNanos::MIN,
        }
    }

    /// Rules that were learnt from that device of the corpus do not count.
    pub fn leave_out(&mut self, name: &str) {
        self.left_out = Some(name.into());
    }

    /// A device as it was observed, with its evidence.
    pub fn restore(&mut self, device: Device, evidence: Vec<Evidence>) {
        let id = device.device_id;
        if device.merged_into.is_none() {
            let at = device.last_seen;
            for mac in &device.macs {
                self.bindings.set_mac(*mac, id);
            }
            let (mac, sure) = device.macs.last().map_or((None, Sure::Routed), |mac| (Some(*mac), Sure::Seen));
            for ip in &device.ips {
                self.bindings.set_ip(*ip, Binding { device: id, mac, sure, at });
            }
        }
        self.pieces += evidence.len();
        let evidence = evidence.into_iter().map(|piece| ((piece.field, piece.value.clone()), piece)).collect();
        self.now = self.now.max(device.last_seen);
        self.entries.insert(id, Entry { told_seen: device.last_seen, device, evidence, changed: Vec::new() });
    }

    /// Devices that are held, but for those that are another one.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.entries.values().map(|entry| &entry.device).filter(|device| device.merged_into.is_none())
    }

    /// A device.
    pub fn device(&self, id: DeviceId) -> Option<&Device> {
        self.entries.get(&id).map(|entry| &entry.device)
    }

    /// Evidence of a device, by field and value.
    pub fn evidence(&self, id: DeviceId) -> impl Iterator<Item = &Evidence> {
        self.entries.get(&id).into_iter().flat_map(|entry| entry.evidence.values())
    }

    /// Devices that found no place.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Record time of the newest that was told.
    pub const fn now(&self) -> UnixNanos {
        self.now
    }

    /// Somebody sent frames. `utc_offset`: Unix time less observation time.
    pub fn present(&mut self, presence: &Presence, utc_offset: i64) {
        let at = unix(presence.at, utc_offset);
        self.now = self.now.max(at);
        self.resolve(&presence.subject, at, &presence.key);
    }

    /// Something was said about somebody.
    pub fn observe(&mut self, observation: Observation, utc_offset: i64) {
        let at = unix(observation.at, utc_offset);
        self.now = self.now.max(at);
        let Some(id) = self.resolve(&observation.subject, at, &observation.key) else {
            if self.orphans.len() >= ORPHANS_MAX {
                self.orphans.pop_front();
            }
            self.orphans.push_back((at, observation));
            return;
        };
        self.learn(id, &observation, at);
    }

    /// A flow is over: evidence that came from it has its number now.
    pub fn flow(&mut self, flow: &FlowName) {
        for waiter in self.pending.arrived(flow) {
            let Some(entry) = self.entries.get_mut(&waiter.device) else { continue };
            let Some(piece) = entry.evidence.values_mut().find(|piece| piece.evidence_id == waiter.evidence) else { continue };
            if piece.flow_id.is_some() {
                continue;
            }
            piece.flow_id = Some(flow.flow_id());
            let (field, value) = (piece.field, piece.value.clone());
            entry.touch(field, &value);
            self.dirty.insert(waiter.device);
        }
    }

    /// What is to be written since the last harvest.
    pub fn harvest(&mut self) -> Harvest {
        self.retry_orphans();
        self.pending.forget(self.now.saturating_sub(FLOW_NANOS));
        let mut harvest = Harvest { merged: std::mem::take(&mut self.merged), ..Harvest::default() };
        for id in std::mem::take(&mut self.dirty) {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            for key in std::mem::take(&mut entry.changed) {
                harvest.evidence.extend(entry.evidence.get(&key).map(|piece| (id, piece.clone())));
            }
            entry.told_seen = entry.device.last_seen;
            harvest.devices.push(entry.device.clone());
        }
        harvest
    }

    /// Who the subject is. A device that is not known yet is now.
    fn resolve(&mut self, subject: &Subject, at: UnixNanos, key: &FlowKey) -> Option<DeviceId> {
        let id = match self.bindings.find(subject, at) {
            Found::Unknown => return None,
            Found::Device(id) => id,
            Found::OnLink(mac, ip) => {
                let id = self.of_mac(mac, subject, at, key)?;
                if let Some((ip, sure)) = ip {
                    self.bind(id, mac, ip, sure, at);
                }
                id
            }
            Found::Routed(ip, router) => {
                let id = self.of_routed(ip, subject, at)?;
                if let Some(router) = router {
                    self.bindings.note_routed(ip, router);
                }
                self.bindings.set_ip(ip, Binding { device: id, mac: None, sure: Sure::Routed, at });
                id
            }
        };
        self.see(id, subject, at);
        Some(id)
    }

    fn see(&mut self, id: DeviceId, subject: &Subject, at: UnixNanos) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let device = &mut entry.device;
        device.last_seen = device.last_seen.max(at);
        device.first_seen = device.first_seen.min(at);
        // The copy of its packet behind the router is on another VLAN.
        let is_own = subject.ttl.is_some() && subject.mac.is_some_and(|mac| device.macs.contains(&mac));
        let has_moved = is_own && subject.vlan.is_some() && device.vlan != subject.vlan;
        if has_moved {
            device.vlan = subject.vlan;
        }
        let is_news = device.last_seen.saturating_sub(entry.told_seen) > SEEN_NANOS;
        if is_news || has_moved {
            self.mark(id);
        }
    }

    /// The device of a MAC.
    fn of_mac(&mut self, mac: Mac, subject: &Subject, at: UnixNanos, key: &FlowKey) -> Option<DeviceId> {
        if let Some(id) = self.bindings.of_mac(mac) {
            return Some(id);
        }
        let id = self.create(&mac.0, at)?;
        self.bindings.set_mac(mac, id);
        let entry = self.entries.get_mut(&id)?;
        entry.device.macs = vec![mac];
        entry.device.vlan = subject.vlan;
        entry.device.transient = oui::is_randomised(mac.0) || oui::is_virtual(mac.0);
        if let Some(name) = oui::lookup(mac.0) {
            self.keep(id, Field::Oui, name.into(), None, at, key);
        }
        Some(id)
    }

    /// The device of an address behind a router.
    fn of_routed(&mut self, ip: IpAddr, subject: &Subject, at: UnixNanos) -> Option<DeviceId> {
        let octets = match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let id = self.create(&octets, at)?;
        let device = &mut self.entries.get_mut(&id)?.device;
        device.routed = true;
        device.ips = vec![ip];
        device.vlan = subject.vlan;
        Some(id)
    }

    fn create(&mut self, identity: &[u8], at: UnixNanos) -> Option<DeviceId> {
        if self.entries.len() >= DEVICES_MAX || !self.admitted.admits(at) {
            self.refused += 1;
            return None;
        }
        let mut id = number(&[self.site.as_bytes(), identity]);
        // A routed host that got a MAC left its number to a merged device; should it come again it is a new one.
        while self.entries.contains_key(&DeviceId(id)) {
            id = id.wrapping_add(1).max(1);
        }
        let id = DeviceId(id);
        let device = Device { device_id: id, first_seen: at, last_seen: at, ..Device::default() };
        // It was never written: whatever is known of it is news.
        self.entries.insert(id, Entry { device, ..Entry::default() });
        self.mark(id);
        Some(id)
    }

    /// Gives an address to the device of a MAC.
    fn bind(&mut self, id: DeviceId, mac: Mac, ip: IpAddr, sure: Sure, at: UnixNanos) {
        let known = self.bindings.of_ip(ip);
        let sure = known.filter(|known| known.device == id).map_or(sure, |known| sure.max(known.sure));
        let before = self.bindings.set_ip(ip, Binding { device: id, mac: Some(mac), sure, at });
        if let Some(before) = before {
            // Who had the address long ago was somebody else.
            let is_now = self.entries.get(&before.device).is_some_and(|gone| at.abs_diff(gone.device.last_seen) < MERGE_NANOS);
            if before.sure == Sure::Routed && is_now {
                self.merge(before.device, id);
            } else {
                self.take_ip(before.device, ip);
            }
        }
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.device.ips.first() != Some(&ip) && !entry.device.ips.contains(&ip) {
            entry.device.ips.insert(0, ip);
            let surplus: Vec<IpAddr> = entry.device.ips.drain(IPS_MAX.min(entry.device.ips.len())..).collect();
            surplus.into_iter().for_each(|ip| self.bindings.forget_ip(ip));
            self.mark(id);
        }
    }

    fn take_ip(&mut self, id: DeviceId, ip: IpAddr) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.device.ips.retain(|its| *its != ip);
            self.mark(id);
        }
    }

    /// A lease was acknowledged: the device's other addresses of that family are no longer its own.
    fn lease(&mut self, id: DeviceId, ip: IpAddr) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let is_old = |its: &IpAddr| *its != ip && its.is_ipv4() == ip.is_ipv4() && !bind::is_link_local(*its);
        let old: Vec<IpAddr> = entry.device.ips.extract_if(.., |its| is_old(its)).collect();
        if !old.is_empty() {
            old.into_iter().for_each(|ip| self.bindings.forget_ip(ip));
            self.mark(id);
        }
    }

    /// `from` is found to be `into`: what was learnt of it is `into`'s.
    fn merge(&mut self, from: DeviceId, into: DeviceId) {
        if from == into {
            return;
        }
        let Some(gone) = self.entries.get_mut(&from) else { return };
        let evidence = std::mem::take(&mut gone.evidence);
        gone.changed.clear();
        gone.device.merged_into = Some(into);
        let (ips, hostnames) = (std::mem::take(&mut gone.device.ips), std::mem::take(&mut gone.device.hostnames));
        let first_seen = gone.device.first_seen;
        self.bindings.merge(from, into);
        self.merged.push((from, into));
        self.dirty.insert(from);
        let Some(entry) = self.entries.get_mut(&into) else { return };
        entry.device.first_seen = entry.device.first_seen.min(first_seen);
        entry.device.ips.extend(ips);
        entry.device.ips.dedup();
        entry.device.hostnames.extend(hostnames);
        for ((field, value), mut piece) in evidence {
            if entry.has_room(field) && !entry.evidence.contains_key(&(field, value.clone())) {
                piece.evidence_id = evidence_number(into, field, &value);
                entry.evidence.insert((field, value.clone()), piece);
                entry.touch(field, &value);
            }
        }
        self.conclude(into);
    }

    /// Keeps an observation as evidence, and concludes from it.
    fn learn(&mut self, id: DeviceId, observation: &Observation, at: UnixNanos) {
        let Observation { field, value, peer, key, .. } = observation;
        match (field, value) {
            (Field::DicomStudy | Field::DicomInstance, _) => return,
            (Field::DhcpAddress, Value::Ip(ip)) => self.lease(id, *ip),
            _ => {}
        }
        let text: Box<str> = value.to_string().into();
        if is_hostname(*field) {
            self.name(id, &text);
        }
        self.keep(id, *field, text, *peer, at, key);
    }

    fn name(&mut self, id: DeviceId, name: &str) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let names = &mut entry.device.hostnames;
        if names.first().is_some_and(|first| **first == *name) || names.iter().any(|its| **its == *name) {
            return;
        }
        names.insert(0, name.into());
        names.truncate(HOSTNAMES_MAX);
        self.mark(id);
    }

    fn keep(&mut self, id: DeviceId, field: Field, value: Box<str>, peer: Option<IpAddr>, at: UnixNanos, key: &FlowKey) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let evidence_id = evidence_number(id, field, &value);
        let place = (field, value.clone());
        if let Some(piece) = entry.evidence.get_mut(&place) {
            // A capture that is replayed again says nothing new.
            if at > piece.last_seen {
                piece.count = piece.count.saturating_add(1);
                piece.last_seen = at;
            }
            if piece.flow_id.is_none() {
                self.pending.wait(key, Waiter { device: id, evidence: evidence_id, at });
            }
            return;
        }
        if !entry.has_room(field) || self.pieces >= EVIDENCE_SUM_MAX {
            return;
        }
        self.pieces += 1;
        let piece = Evidence {
            evidence_id,
            field,
            value: value.clone(),
            peer,
            first_seen: at,
            last_seen: at,
            count: 1,
            flow_id: None,
            supports: Vec::new(),
        };
        entry.evidence.insert(place, piece);
        entry.touch(field, &value);
        self.pending.wait(key, Waiter { device: id, evidence: evidence_id, at });
        self.conclude(id);
    }

    /// Asks the rules of all evidence, and fuses what they make of it. Rules may need several facts, so a new one may change what others say.
    fn conclude(&mut self, id: DeviceId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let mut news = Vec::new();
        for ((field, value), piece) in &entry.evidence {
            let matches = self.rules.matches(*field, value, &*entry, self.left_out.as_deref());
            let claims = matches.into_iter().map(|(rule, claims)| (self.rules.rule(rule).id(), claims));
            let supports = supports(claims);
            if supports != piece.supports {
                news.push(((*field, value.clone()), supports));
            }
        }
        for ((field, value), supports) in news {
            if let Some(piece) = entry.evidence.get_mut(&(field, value.clone())) {
                piece.supports = supports;
            }
            entry.touch(field, &value);
        }
        let known = fuse::fuse(entry.evidence.values());
        entry.device.attributes = decided(known);
        entry.device.roles = roles(entry);
        self.mark(id);
    }

    fn mark(&mut self, id: DeviceId) {
        self.dirty.insert(id);
    }

    /// Observations about somebody who was not known then.
    fn retry_orphans(&mut self) {
        for (at, observation) in std::mem::take(&mut self.orphans) {
            match self.bindings.find(&observation.subject, at) {
                Found::Device(id) => self.learn(id, &observation, at),
                _ if self.now.saturating_sub(at) < ORPHAN_NANOS => self.orphans.push_back((at, observation)),
                _ => {}
            }
        }
    }
}
