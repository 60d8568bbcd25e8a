//! Devices and evidence for tests.

use std::net::{IpAddr, Ipv4Addr};

use crate::{
    device::{Attribute, Change, Device, DeviceId, Evidence, Known, Lifecycle, Support},
    flow::Mac,
    observation::Field,
};

/// Numbers from a seed (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }
}

pub fn fnv(octets: &[u8]) -> u64 {
    octets.iter().fold(0xcbf2_9ce4_8422_2325, |hash, octet| (hash ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3))
}

fn known(value: String, confidence: f32) -> Known {
    Known { value: value.into(), confidence, set_by_hand: false, conflicts: vec![("other".into(), 0.25)] }
}

/// A device with something of everything.
pub fn device(number: u32) -> Device {
    let [_, a, b, c] = number.to_be_bytes();
    let attributes = Attribute::ALL.iter().map(|attribute| match attribute {
        Attribute::Category => (*attribute, known("infusion_pump".to_owned(), 0.75)),
        Attribute::Serial => (*attribute, known(format!("SN{number:08}"), 0.5)),
        other => (*other, known(format!("{} of {number}", other.name()), 0.5)),
    });
    Device {
        device_id: DeviceId(u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        macs: vec![Mac([2, 0, 0, a, b, c])],
        ips: vec![IpAddr::V4(Ipv4Addr::new(10, a, b, c))],
        hostnames: vec![format!("host-{number}").into()],
        vlan: Some(7),
        first_seen: 1_000,
        last_seen: 2_000 + i64::from(number),
        attributes: attributes.collect(),
        roles: vec!["http server".into()],
        lifecycle: Lifecycle::Seen,
        ..Device::default()
    }
}

pub fn evidence(number: u64) -> Evidence {
    let support = Support { rule: "rule-12".into(), attribute: Attribute::Model, value: "Model 7".into(), weight: 0.5 };
    Evidence {
        evidence_id: number,
        field: Field::DhcpHostname,
        value: format!("host-of-evidence-{number}").into(),
        peer: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        first_seen: 1,
        last_seen: 2,
        count: 3,
        flow_id: Some(number),
        supports: vec![support],
    }
}

pub fn change(device_id: DeviceId, at: i64, what: &str, before: Option<&str>, after: Option<&str>) -> Change {
    let (before, after) = (before.map(Into::into), after.map(Into::into));
    Change { device_id, at, what: what.into(), before, after, confidence: None, evidence: Vec::new(), by: "engine".into() }
}
