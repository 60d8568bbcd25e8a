//! Network services: DHCP (RFC 2131), NTP (RFC 5905), SNMP (RFC 3416), syslog (RFC 3164), SSDP, neighbour discovery options.

use std::net::Ipv4Addr;

use super::{Put, element, integer, nest};
use crate::scene::SCENE_START_UNIX_NANOS;

/// What a DHCP client says about itself.
#[derive(Clone, Copy)]
pub(in super::super) struct Lease<'a> {
    pub(in super::super) transaction: u32,
    pub(in super::super) mac: [u8; 6],
    pub(in super::super) host: &'a str,
    /// Option 60.
    pub(in super::super) vendor_class: &'a str,
    /// Option 55.
    pub(in super::super) parameters: &'a [u8],
    pub(in super::super) address: Ipv4Addr,
    pub(in super::super) server: Ipv4Addr,
    pub(in super::super) router: Ipv4Addr,
}

/// A DHCP message: 1 discover, 2 offer, 3 request, 5 acknowledgement.
pub(in super::super) fn dhcp(kind: u8, lease: &Lease<'_>) -> Vec<u8> {
    let answers = matches!(kind, 2 | 5);
    let mut out = vec![if answers { 2 } else { 1 }, 1, 6, 0];
    out.u32(lease.transaction).u16(0).u16(0x8000).u32(0);
    out.all(if answers { lease.address.octets() } else { [0; 4] });
    out.all(if answers { lease.server.octets() } else { [0; 4] });
    out.u32(0).all(lease.mac).all([0; 10]).all([0; 192]).u32(0x6382_5363).all([53, 1, kind]);
    if answers {
        out.all([54, 4]).all(lease.server.octets()).all([51, 4]).u32(86_400).all([1, 4, 255, 255, 255, 0]);
        out.all([3, 4]).all(lease.router.octets()).all([6, 4]).all(lease.server.octets());
        out.all([15, 13]).all(b"north.example");
    } else {
        out.all([61, 7, 1]).all(lease.mac);
        if kind == 3 {
            out.all([50, 4]).all(lease.address.octets()).all([54, 4]).all(lease.server.octets());
        }
        for (option, text) in [(12, lease.host.as_bytes()), (60, lease.vendor_class.as_bytes()), (55, lease.parameters)] {
            out.all([option, text.len() as u8]).all(text);
        }
    }
    out.u8(255);
    if out.len() < 300 {
        out.resize(300, 0);
    }
    out
}

/// The scene's start in seconds since 1900.
const NTP_START: u64 = SCENE_START_UNIX_NANOS / 1_000_000_000 + 2_208_988_800;

/// An NTP packet: mode 3 asks, 4 answers. `at` is in the scene's time.
pub(in super::super) fn ntp(mode: u8, at: u64) -> Vec<u8> {
    let stamp = |at: u64| ((NTP_START + at / 1_000_000_000) << 32) | (((at % 1_000_000_000) << 32) / 1_000_000_000);
    let mut out = vec![4 << 3 | mode, if mode == 4 { 2 } else { 0 }, 6, 0xec];
    out.u32(0x100).u32(0x200).all([10, 20, 1, 1]);
    for time in [0, at, at, at] {
        let octets = if mode == 4 { stamp(time.saturating_sub(1_000_000)) } else { 0 };
        out.all(octets.to_be_bytes());
    }
    let end = out.len();
    out[end - 8..].copy_from_slice(&stamp(at).to_be_bytes());
    out
}

/// `1.3.6.1.2.1.1.n.0`: sysDescr is 1, sysUpTime 3, sysName 5.
fn system_oid(n: u8) -> Vec<u8> {
    element(6, &[0x2b, 6, 1, 2, 1, 1, n, 0])
}

fn snmp(kind: u8, request: u32, bindings: &[Vec<u8>]) -> Vec<u8> {
    let body = nest(kind, &[integer(request), integer(0), integer(0), nest(0x30, bindings)]);
    nest(0x30, &[integer(1), element(4, b"public"), body])
}

/// SNMPv2c get of sysDescr and sysName, and its response.
pub(in super::super) fn snmp_get(request: u32, description: &str, name: &str) -> [Vec<u8>; 2] {
    let ask = [1, 5].map(|n| nest(0x30, &[system_oid(n), element(5, &[])]));
    let tell = [(1, description), (5, name)].map(|(n, text)| nest(0x30, &[system_oid(n), element(4, text.as_bytes())]));
    [snmp(0xa0, request, &ask), snmp(0xa2, request, &tell)]
}

/// SNMPv2c trap: cold start of a device.
pub(in super::super) fn snmp_trap(request: u32, ticks: u32) -> Vec<u8> {
    let mut up = integer(ticks);
    up[0] = 0x43;
    let trap = element(6, &[0x2b, 6, 1, 6, 3, 1, 1, 4, 1, 0]);
    let cold_start = element(6, &[0x2b, 6, 1, 6, 3, 1, 1, 5, 1]);
    snmp(0xa7, request, &[nest(0x30, &[system_oid(3), up]), nest(0x30, &[trap, cold_start])])
}

/// A syslog message.
pub(in super::super) fn syslog(priority: u8, at: u64, host: &str, text: &str) -> Vec<u8> {
    let seconds = at / 1_000_000_000;
    let (hour, minute, second) = (8 + seconds / 3600 % 16, seconds / 60 % 60, seconds % 60);
    format!("<{priority}>Jan  5 {hour:02}:{minute:02}:{second:02} {host} {text}").into_bytes()
}

/// An SSDP announcement.
pub(in super::super) fn ssdp_notify(host: Ipv4Addr, server: &str, uuid: u64) -> Vec<u8> {
    format!(
        "NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nCACHE-CONTROL: max-age=1800\r\nLOCATION: http://{host}:49152/description.xml\r\n\
         NT: upnp:rootdevice\r\nNTS: ssdp:alive\r\nSERVER: {server}\r\nUSN: uuid:0a1b2c3d-0000-4000-8000-{uuid:012x}::upnp:rootdevice\r\n\r\n"
    )
    .into_bytes()
}

/// An SSDP search.
pub(in super::super) fn ssdp_search() -> Vec<u8> {
    b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 2\r\nST: ssdp:all\r\n\r\n".to_vec()
}

/// A neighbour discovery option with a link address: kind 1 the sender's, 2 the target's.
pub(in super::super) fn link_address_option(kind: u8, mac: [u8; 6]) -> Vec<u8> {
    [&[kind, 1][..], &mac].concat()
}

/// A prefix information option: /64, on-link, autonomous.
pub(in super::super) fn prefix_option(prefix: [u8; 16]) -> Vec<u8> {
    let mut out = vec![3, 4, 64, 0xc0];
    out.u32(86_400).u32(14_400).u32(0).all(prefix);
    out
}
