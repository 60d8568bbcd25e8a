//! Who sends frames: deltas of a shard in, each end of them out, once in a while.

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    net::IpAddr,
};

use auscult_ebpf::record::{DELTA_HAS_MACS, Delta, FORM_ETHERNET, FORM_IPV4};

use crate::{
    flow::Mac,
    observation::{Presence, Subject},
};

/// Ends that are remembered as told. One that another one takes the place of is told again.
const PLACES: usize = 1 << 13;
/// How long an end is not told again (ns): a part of what `last_seen` may lag behind.
const QUIET_NANOS: u64 = 5_000_000_000;

/// The ends of one shard's deltas.
pub struct Presences {
    told: Box<[(u64, u64)]>,
    /// Of one key, so that the same packets tell the same.
    hash: BuildHasherDefault<DefaultHasher>,
}

impl Default for Presences {
    fn default() -> Self {
        Self { told: vec![(0, 0); PLACES].into_boxed_slice(), hash: BuildHasherDefault::default() }
    }
}

impl Presences {
    /// Appends whoever sent a packet of the deltas, and was not told a moment ago.
    pub fn take(&mut self, deltas: &[Delta], out: &mut Vec<Presence>) {
        for delta in deltas {
            for end in 0..2 {
                if delta.header.packets[end] > 0 {
                    self.end(delta, end, out);
                }
            }
        }
    }

    fn end(&mut self, delta: &Delta, end: usize, out: &mut Vec<Presence>) {
        let side = &delta.side[end];
        let mac = (delta.flags & DELTA_HAS_MACS != 0).then_some(Mac(side.link.source));
        let at = delta.base.saturating_add(side.volume.last.into());
        let words = delta.key.words();
        let ip = [words[2 * end], words[2 * end + 1]];
        let key = self.hash.hash_one((side.link.source, ip, side.stack.ttl_max, side.link.tags[0] & 0xfff)) | 1;
        let place = &mut self.told[key as usize / 2 % PLACES];
        if place.0 == key && at.abs_diff(place.1) < QUIET_NANOS {
            return;
        }
        *place = (key, at);
        let octets = delta.key.address[end];
        let ip: Option<IpAddr> = match delta.key.form & 0x3f {
            FORM_ETHERNET => None,
            FORM_IPV4 => octets.first_chunk::<4>().map(|octets| (*octets).into()),
            _ => Some(octets.into()),
        };
        let is_host =
            |ip: &IpAddr| !(ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || *ip == IpAddr::from([255; 4]));
        let vlan = Some(side.link.tags[0] & 0xfff).filter(|vlan| *vlan != 0);
        let ttl = ip.map(|_| side.stack.ttl_max);
        let mac = mac.filter(|mac| mac.0[0] & 1 == 0 && mac.0 != [0; 6]);
        let subject = Subject { mac, ip: ip.filter(is_host), vlan, ttl, own_mac: false };
        if subject.mac.is_some() || subject.ip.is_some() {
            out.push(Presence { at, subject, key: delta.key });
        }
    }
}
