//! Which device has which address now.
//!
//! A MAC is a device's own unless its frames carry other hosts' packets: a router's. Whether a packet came through one is told by its
//! hop limit, which is what hosts begin with only on their own link, and by what ARP, neighbour discovery and DHCP say, which count more.
//! ID-2: a host behind a router has no MAC of its own here, and nothing is concluded from the router's.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use crate::{
    device::DeviceId,
    flow::{Mac, UnixNanos},
    observation::Subject,
};

/// Hop limits that hosts begin with.
const INITIAL_HOPS: [u8; 3] = [255, 128, 64];
/// Up to this a hop limit tells nothing: hosts begin with it when they speak to groups, and it is what a traceroute leaves.
const HOPS_UNTOLD: u8 = 32;
/// For so long a claimed address stays with who claimed it, whoever else sends from it.
const CLAIM_NANOS: i64 = 60_000_000_000;
/// Addresses that one MAC may have because its packets look like it.
const SEEN_MAX: u32 = 16;
/// Hosts behind one router that are remembered as such.
const ROUTED_MAX: usize = 4096;
/// Routers that are remembered.
const ROUTERS_MAX: usize = 256;

/// How it is known whose an address is, the surest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sure {
    /// Its packets came through a router.
    Routed,
    /// Its packets came with a host's first hop limit.
    Seen,
    /// ARP, neighbour discovery or DHCP said so.
    Claimed,
}

/// Whose an address is.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// The device.
    pub device: DeviceId,
    /// Its MAC; `None` behind a router.
    pub mac: Option<Mac>,
    /// How that is known.
    pub sure: Sure,
    /// Since when, or when it was last said.
    pub at: UnixNanos,
}

/// What an observation's subject comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// That device, known by this address.
    Device(DeviceId),
    /// The device of that MAC; the IP address, if there is one, is its own from now on.
    OnLink(Mac, Option<(IpAddr, Sure)>),
    /// The host of that address, which is behind the router of that MAC.
    Routed(IpAddr, Option<Mac>),
    /// Nobody who can be told: it has not sent anything itself.
    Unknown,
}

/// All addresses.
#[derive(Default)]
pub struct Bindings {
    by_mac: HashMap<Mac, DeviceId>,
    by_ip: HashMap<IpAddr, Binding>,
    /// MACs that other hosts' packets come from, and whose.
    routers: HashMap<Mac, HashSet<IpAddr>>,
    /// Addresses that a MAC was given for its packets' sake.
    seen: HashMap<Mac, u32>,
}

impl Bindings {
    /// The device of a MAC.
    pub fn of_mac(&self, mac: Mac) -> Option<DeviceId> {
        self.by_mac.get(&mac).copied()
    }

    /// Who has an address.
    pub fn of_ip(&self, ip: IpAddr) -> Option<Binding> {
        self.by_ip.get(&ip).copied()
    }

    /// Gives a MAC to a device.
    pub fn set_mac(&mut self, mac: Mac, device: DeviceId) {
        self.by_mac.insert(mac, device);
    }

    /// Gives an address to a device; who had it before, if that was another one.
    pub fn set_ip(&mut self, ip: IpAddr, binding: Binding) -> Option<Binding> {
        if let Some(mac) = binding.mac {
            self.routers.values_mut().for_each(|behind| {
                behind.remove(&ip);
            });
            let behind_itself = self.routers.get(&mac).is_some_and(HashSet::is_empty);
            if behind_itself {
                self.routers.remove(&mac);
            }
        }
        let before = self.by_ip.insert(ip, binding);
        if let Some(mac) = binding.mac
            && binding.sure == Sure::Seen
            && before.is_none_or(|before| before.mac != binding.mac)
        {
            *self.seen.entry(mac).or_default() += 1;
        }
        before.filter(|before| before.device != binding.device)
    }

    /// Takes an address from whoever has it.
    pub fn forget_ip(&mut self, ip: IpAddr) {
        self.by_ip.remove(&ip);
    }

    /// All that belonged to `from` belongs to `into`.
    pub fn merge(&mut self, from: DeviceId, into: DeviceId) {
        self.by_mac.values_mut().chain(self.by_ip.values_mut().map(|binding| &mut binding.device)).for_each(|device| {
            if *device == from {
                *device = into;
            }
        });
    }

    /// A host is behind a router.
    pub fn note_routed(&mut self, ip: IpAddr, router: Mac) {
        if self.routers.len() >= ROUTERS_MAX && !self.routers.contains_key(&router) {
            return;
        }
        let behind = self.routers.entry(router).or_default();
        if behind.len() < ROUTED_MAX {
            behind.insert(ip);
        }
    }

    /// Whom a packet's subject is.
    pub fn find(&self, subject: &Subject, at: UnixNanos) -> Found {
        let Subject { mac, ip, ttl, own_mac, .. } = *subject;
        match (mac, ip) {
            (None, None) => Found::Unknown,
            (Some(mac), None) => Found::OnLink(mac, None),
            (Some(mac), Some(ip)) if own_mac => self.claim(mac, ip),
            (mac, Some(ip)) => self.find_by_packet(mac, ip, ttl, at),
        }
    }

    /// The message says whose the address is. A router that answers for hosts behind it (proxy ARP) does not become them.
    fn claim(&self, mac: Mac, ip: IpAddr) -> Found {
        let is_behind = self.by_ip.get(&ip).is_some_and(|binding| binding.sure == Sure::Routed)
            && self.routers.get(&mac).is_some_and(|behind| behind.contains(&ip) && behind.len() > 1);
        if is_behind { Found::OnLink(mac, None) } else { Found::OnLink(mac, Some((ip, Sure::Claimed))) }
    }

    fn find_by_packet(&self, mac: Option<Mac>, ip: IpAddr, ttl: Option<u8>, at: UnixNanos) -> Found {
        // A few addresses may be a router's own; more are those of hosts behind something that does not count hops.
        let has_few = |mac| self.seen.get(&mac).is_none_or(|seen| *seen < SEEN_MAX);
        let on_link = ttl.is_some_and(|ttl| INITIAL_HOPS.contains(&ttl)) && mac.is_some_and(has_few);
        let Some(binding) = self.by_ip.get(&ip) else {
            return match (mac, ttl) {
                (Some(mac), _) if is_link_local(ip) => Found::OnLink(mac, Some((ip, Sure::Seen))),
                (Some(mac), Some(_)) if on_link => Found::OnLink(mac, Some((ip, Sure::Seen))),
                (Some(mac), Some(hops)) if hops <= HOPS_UNTOLD => Found::OnLink(mac, None),
                (mac, Some(_)) if is_inside(ip) => Found::Routed(ip, mac),
                _ => Found::Unknown,
            };
        };
        let moves = match binding.sure {
            Sure::Routed | Sure::Seen => true,
            Sure::Claimed => at.saturating_sub(binding.at) > CLAIM_NANOS,
        };
        match mac {
            // What came through that router before does not become the router's.
            Some(mac) if self.routers.get(&mac).is_some_and(|behind| behind.contains(&ip)) => Found::Device(binding.device),
            Some(mac) if binding.mac != Some(mac) && on_link && moves => Found::OnLink(mac, Some((ip, Sure::Seen))),
            _ => Found::Device(binding.device),
        }
    }
}

/// The address is of a network that somebody keeps to himself (RFC 1918, 6598, 4193). A host elsewhere on the internet is no device of ours.
pub fn is_inside(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || matches!(ip.octets(), [100, 64..=127, ..]),
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

/// The address never comes through a router.
pub fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Mac = Mac([0, 0, 0, 0, 0, 1]);
    const ROUTER: Mac = Mac([0, 0, 0, 0, 0, 2]);

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn packet(mac: Mac, last: u8, ttl: u8) -> Subject {
        Subject { mac: Some(mac), ip: Some(ip(last)), ttl: Some(ttl), ..Subject::default() }
    }

    #[test]
    fn hop_limits_tell_who_is_behind_a_router() {
        let mut bindings = Bindings::default();
        assert_eq!(bindings.find(&packet(HOST, 1, 64), 0), Found::OnLink(HOST, Some((ip(1), Sure::Seen))));
        assert_eq!(bindings.find(&packet(ROUTER, 2, 63), 0), Found::Routed(ip(2), Some(ROUTER)));
        bindings.note_routed(ip(2), ROUTER);
        let traced = Subject { ttl: Some(1), ..packet(ROUTER, 2, 1) };
        bindings.set_ip(ip(2), Binding { device: DeviceId(2), mac: None, sure: Sure::Routed, at: 0 });
        for hops in [1, 32, 64] {
            assert_eq!(
                bindings.find(&Subject { ttl: Some(hops), ..traced }, 0),
                Found::Device(DeviceId(2)),
                "a traceroute merges nobody"
            );
        }
        // What a router says itself.
        assert_eq!(bindings.find(&packet(ROUTER, 3, 64), 0), Found::OnLink(ROUTER, Some((ip(3), Sure::Seen))));
        let outside = Subject { ip: Some([8, 8, 8, 8].into()), ..packet(ROUTER, 0, 57) };
        assert_eq!(bindings.find(&outside, 0), Found::Unknown);
        let told = Subject { ttl: None, ..packet(HOST, 9, 0) };
        assert_eq!(bindings.find(&told, 0), Found::Unknown);
    }

    #[test]
    fn claims_count_more_than_what_is_seen_and_routers_do_not_become_their_hosts() {
        let mut bindings = Bindings::default();
        let of_host = Binding { device: DeviceId(1), mac: Some(HOST), sure: Sure::Claimed, at: 0 };
        bindings.set_ip(ip(1), of_host);
        // The same packet behind the router, and a spoofed one.
        assert_eq!(bindings.find(&packet(ROUTER, 1, 63), 0), Found::Device(DeviceId(1)));
        assert_eq!(bindings.find(&packet(Mac([0, 0, 0, 0, 0, 3]), 1, 64), 1), Found::Device(DeviceId(1)));
        for last in [5, 6] {
            bindings.set_ip(ip(last), Binding { device: DeviceId(u64::from(last)), mac: None, sure: Sure::Routed, at: 0 });
            bindings.note_routed(ip(last), ROUTER);
        }
        let proxy = Subject { mac: Some(ROUTER), ip: Some(ip(5)), own_mac: true, ..Subject::default() };
        assert_eq!(bindings.find(&proxy, 0), Found::OnLink(ROUTER, None));
    }
}
