//! Observations made by hand → devices: who is whom over leases, routers and mergers.

use std::net::IpAddr;

use auscult_ebpf::record::{FORM_IPV4, FlowKey};

use super::{Identify, rules::Rules};
use crate::{
    device::{Attribute, Category, Device},
    flow::{Address, Both, Endpoint, Flow, FlowEndReason, InitiatorBy, Mac},
    observation::{Field, Observation, Presence, Subject, Value},
    sidedness::Sidedness,
};

const SECOND: u64 = 1_000_000_000;
/// Registered to a maker of infusion pumps, of network devices, and to nobody.
const PUMP: Mac = Mac([0x00, 0x03, 0xb1, 1, 2, 3]);
const ROUTER: Mac = Mac([0x00, 0x00, 0x0c, 1, 2, 3]);
const LAPTOP: Mac = Mac([0x02, 0xff, 0xff, 1, 2, 3]);

fn ip(last: u8) -> IpAddr {
    [10, 7, 0, last].into()
}

fn key(low: u8, high: u8) -> FlowKey {
    let mut key = FlowKey { port: [104, 40_000], protocol: 6, form: FORM_IPV4, ..FlowKey::default() };
    key.address[0][..4].copy_from_slice(&[10, 7, 0, low]);
    key.address[1][..4].copy_from_slice(&[10, 7, 0, high]);
    key
}

fn new() -> Identify {
    Identify::new("test", Rules::embedded().unwrap_or_else(|error| panic!("{error}")))
}

fn packet(mac: Mac, last: u8, ttl: u8) -> Subject {
    Subject { mac: Some(mac), ip: Some(ip(last)), ttl: Some(ttl), ..Subject::default() }
}

fn claimed(mac: Mac, last: u8) -> Subject {
    Subject { mac: Some(mac), ip: Some(ip(last)), own_mac: true, ..Subject::default() }
}

fn present(identify: &mut Identify, at: u64, subject: Subject) {
    identify.present(&Presence { at: at * SECOND, subject, key: key(1, 2) }, 0);
}

fn say(identify: &mut Identify, at: u64, subject: Subject, field: Field, value: &str) {
    let value = value.parse().map_or_else(|_| Value::Text(value.into()), Value::Ip);
    identify.observe(Observation { at: at * SECOND, subject, peer: None, field, value, key: key(1, 2), point: 0 }, 0);
}

fn of_mac(identify: &Identify, mac: Mac) -> &Device {
    identify.devices().find(|device| device.macs.contains(&mac)).expect("a device of that MAC")
}

#[test]
fn a_device_stays_one_over_leases_and_gives_up_old_addresses() {
    let mut identify = new();
    for (n, last) in [20, 21, 22, 23, 24, 25].into_iter().enumerate() {
        let at = n as u64 * 60;
        say(&mut identify, at, claimed(PUMP, last), Field::DhcpAddress, &ip(last).to_string());
        say(&mut identify, at, Subject { mac: Some(PUMP), own_mac: true, ..Subject::default() }, Field::DhcpHostname, "pump-7");
        present(&mut identify, at + 1, packet(PUMP, last, 64));
    }
    assert_eq!(identify.devices().count(), 1);
    let device = of_mac(&identify, PUMP);
    assert_eq!((device.ips.as_slice(), device.value(Attribute::Hostname)), (&[ip(25)][..], Some("pump-7")));
}

#[test]
fn a_host_behind_a_router_has_nothing_of_the_routers() {
    let mut identify = new();
    present(&mut identify, 1, packet(ROUTER, 1, 255));
    for last in 30..34 {
        present(&mut identify, 2, packet(ROUTER, last, 63));
    }
    assert_eq!(identify.devices().count(), 5);
    assert_eq!(of_mac(&identify, ROUTER).value(Attribute::Manufacturer), Some("Cisco"));
    let routed: Vec<&Device> = identify.devices().filter(|device| device.routed).collect();
    assert!(routed.len() == 4 && routed.iter().all(|device| device.macs.is_empty() && device.attributes.is_empty()));
}

#[test]
fn who_gets_an_address_is_not_who_had_it() {
    let mut identify = new();
    say(&mut identify, 1, packet(ROUTER, 40, 63), Field::SnmpSysName, "pump-9");
    let days = 3 * 86_400;
    say(&mut identify, days, claimed(LAPTOP, 40), Field::DhcpAddress, &ip(40).to_string());
    let device = of_mac(&identify, LAPTOP);
    assert_eq!((device.ips.as_slice(), device.hostnames.len()), (&[ip(40)][..], 0));
    // The same host, heard on its own link a moment later, is the same.
    let mut identify = new();
    say(&mut identify, 1, packet(ROUTER, 41, 63), Field::SnmpSysName, "pump-9");
    present(&mut identify, 2, packet(PUMP, 41, 64));
    assert_eq!(of_mac(&identify, PUMP).value(Attribute::Hostname), Some("pump-9"));
    assert_eq!((identify.devices().count(), identify.harvest().merged.len()), (1, 1));
}

#[test]
fn evidence_gets_the_number_of_its_flow_and_keeps_it() {
    let mut identify = new();
    say(&mut identify, 10, packet(PUMP, 1, 64), Field::DicomAeTitle, "PUMP");
    let endpoint = |last: u8, port| Endpoint { address: Address::from(ip(last)), port: Some(port), mac: None };
    let mut flow = Flow {
        flow_id: 77,
        segment: 0,
        start: 9 * SECOND as i64,
        end: 12 * SECOND as i64,
        end_reason: FlowEndReason::IdleTimeout,
        initiator_by: InitiatorBy::Syn,
        sidedness: Sidedness::TwoSided,
        endpoint: Both([endpoint(2, 40_000), endpoint(1, 104)]),
        protocol: Some(6),
        ethertype: Some(0x0800),
        icmp_type: None,
        icmp_code: None,
        is_fragment: false,
        fragment_of: None,
        community_id: None,
        parse_stop: 0,
        side: Both::default(),
        handshake_rtt_responder: None,
        handshake_rtt_initiator: None,
        first_packets: [None; 8],
    };
    identify.flow(&super::FlowName::from(&flow));
    flow.flow_id = 78;
    identify.flow(&super::FlowName::from(&flow));
    let id = of_mac(&identify, PUMP).device_id;
    let title = identify.evidence(id).find(|piece| piece.field == Field::DicomAeTitle).expect("the title");
    assert_eq!(title.flow_id, Some(77));
}

#[test]
fn a_port_alone_decides_nothing_and_a_maker_alone_makes_no_pump() {
    let mut identify = new();
    let subject = packet(PUMP, 1, 64);
    present(&mut identify, 1, subject);
    assert_eq!(of_mac(&identify, PUMP).category(), Category::Unknown);
    let serves = Observation {
        at: SECOND,
        subject: packet(LAPTOP, 2, 64),
        peer: None,
        field: Field::Serves,
        value: Value::Word("http"),
        key: key(1, 2),
        point: 0,
    };
    identify.observe(serves, 0);
    assert_eq!(of_mac(&identify, LAPTOP).category(), Category::Unknown);
    say(&mut identify, 2, subject, Field::Hl7SoftwareProduct, "Plum 360");
    assert_eq!(of_mac(&identify, PUMP).category(), Category::InfusionPump);
}
