//! For tests: a reader is asked about octets made by hand, between two ends that every test knows.

use std::{hash::RandomState, net::IpAddr};

use auscult_ebpf::record::{DELTA_HAS_MACS, FORM_ETHERNET, FORM_IPV4, FORM_IPV6, FlowKey, Header, Link, SampleHead};

use super::{Packet, ReadPacket, Say};

/// A packet from 02:00:00:00:00:01 to 02:00:00:00:00:02.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// Source and target address; `None`: the frame is not IP.
    pub ips: Option<[&'static str; 2]>,
    /// Source and target port.
    pub ports: [u16; 2],
    /// Of frames that are not IP.
    pub ethertype: u16,
}

impl Trial {
    /// A datagram from 10.0.0.1 to 10.0.0.2.
    pub const fn datagram(source: u16, target: u16) -> Self {
        Self { ips: Some(["10.0.0.1", "10.0.0.2"]), ports: [source, target], ethertype: 0 }
    }

    /// A frame that is not IP.
    pub const fn frame(ethertype: u16) -> Self {
        Self { ips: None, ports: [0, 0], ethertype }
    }

    fn head(&self) -> SampleHead {
        let mut key = FlowKey { port: self.ports, form: FORM_ETHERNET, scope: self.ethertype, ..FlowKey::default() };
        for (place, ip) in self.ips.iter().flatten().enumerate() {
            match ip.parse().expect("an address") {
                IpAddr::V4(ip) => {
                    key.form = FORM_IPV4;
                    key.address[place][..4].copy_from_slice(&ip.octets());
                }
                IpAddr::V6(ip) => {
                    key.form = FORM_IPV6;
                    key.address[place] = ip.octets();
                }
            }
        }
        let link = Link { source: [2, 0, 0, 0, 0, 1], target: [2, 0, 0, 0, 0, 2], ..Link::default() };
        SampleHead { header: Header::default(), key, at: 1, link, ttl: 255, flags: DELTA_HAS_MACS, ..SampleHead::default() }
    }

    /// Whether `read` takes the payload, and what it says: `MAC IP field value`, a dash for what is not known.
    pub fn hear(&self, read: ReadPacket, payload: &[u8], whole: bool) -> (bool, Vec<String>) {
        let (salt, mut out) = (RandomState::new(), Vec::new());
        let packet = Packet { payload, whole, source_port: self.ports[0], target_port: self.ports[1], ethertype: self.ethertype };
        let known = read(&packet, &mut Say::new(&self.head(), &salt, &mut out));
        let line = |o: &crate::observation::Observation| {
            let mac = o.subject.mac.map_or_else(|| "-".to_owned(), |mac| mac.to_string());
            let ip = o.subject.ip.map_or_else(|| "-".to_owned(), |ip| ip.to_string());
            format!("{mac} {ip} {} {}", o.field.name(), o.value)
        };
        (known, out.iter().map(line).collect())
    }

    /// The reader takes the payload and says exactly that; of a payload that is cut anywhere it says nothing else.
    pub fn says(&self, read: ReadPacket, payload: &[u8], expect: &[&str]) {
        let (known, said) = self.hear(read, payload, true);
        assert!(known, "not taken");
        assert_eq!(said, expect);
        for end in 0..payload.len() {
            let (_, part) = self.hear(read, &payload[..end], false);
            let lie = part.iter().find(|line| !said.contains(line));
            assert_eq!(lie, None, "cut at {end}");
        }
    }

    /// The reader does not take the payload, and says nothing.
    pub fn refuses(&self, read: ReadPacket, payload: &[u8]) {
        assert_eq!(self.hear(read, payload, true), (false, Vec::new()));
    }
}
