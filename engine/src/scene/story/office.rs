//! Offices: names, records over TLS, files, printing; and what goes wrong there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::scene::{
    payload::{
        name::{self, Record, kind},
        service, tls,
    },
    stage::{Family, Id, MILLI, SECOND, Stage, broadcast_of},
    talk::{Setting, Side, Talk, Trouble, USUAL},
};

const LLMNR_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 252));
const LLMNR_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 3));
const MDNS_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251));
const MDNS_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb));

/// Client, server, port.
type Ends = (Id, Id, u16);

/// A TLS 1.3 conversation that carries so many octets each way.
pub(super) fn secure_modern(stage: &mut Stage<'_>, at: u64, ends: Ends, host: &str, setting: Setting, octets: [usize; 2]) {
    let session = stage.random.octets(32);
    let hello = tls::client_hello(&mut stage.random, host, true, &session);
    let flight = tls::modern_flight(&mut stage.random, &session);
    let finish = tls::modern_finish(&mut stage.random);
    let [ask, answer] = octets.map(|octets| tls::cipher_text(&mut stage.random, octets));
    let mut talk = Talk::open(stage, at, ends.0, ends.1, ends.2, setting);
    talk.exchange(&hello, 2 * MILLI, &flight);
    talk.send(Side::Client, &finish);
    talk.exchange(&ask, 8 * MILLI, &answer);
    talk.pause(30 * MILLI);
    talk.close(Side::Client);
}

/// A TLS 1.2 conversation that carries so many octets each way.
pub(super) fn secure_old(stage: &mut Stage<'_>, at: u64, ends: Ends, host: &str, octets: [usize; 2]) {
    let maker = stage.device(ends.1).manufacturer;
    let hello = tls::client_hello(&mut stage.random, host, false, &[]);
    let flight = tls::server_flight(&mut stage.random, host, maker);
    let (client_finish, server_finish) = (tls::client_finish(&mut stage.random), tls::finish(&mut stage.random));
    let [ask, answer] = octets.map(|octets| tls::cipher_text(&mut stage.random, octets));
    let mut talk = Talk::open(stage, at, ends.0, ends.1, ends.2, USUAL);
    talk.exchange(&hello, 3 * MILLI, &flight);
    talk.exchange(&client_finish, MILLI, &server_finish);
    talk.exchange(&ask, 20 * MILLI, &answer);
    talk.close(Side::Server);
}

/// DNS questions of both families; one name does not exist.
pub(super) fn lookups(stage: &mut Stage<'_>, at: u64, turn: u32) {
    let server = stage.named("dns-1");
    let clients = ["ws-101", "ws-102", "ws-103", "laptop-1", "laptop-2", "ct-1", "pump-301", "viewer-1", "nvr-1", "ecg-301"];
    let hosts = ["ehr-1", "pacs-1", "nas-1", "engine-1", "pump-server"];
    for n in 0..4 {
        let client = stage.named(clients[(turn as usize * 4 + n) % clients.len()]);
        let target = stage.named(hosts[(turn as usize + n) % hosts.len()]);
        let host = format!("{}.north.example", stage.device(target).name);
        let family = if n == 3 { Family::V6 } else { Family::V4 };
        let (id, port, start) = (stage.random.next() as u16, stage.port(), at + n as u64 * 120 * MILLI);
        let [a, b, c, d] = stage.device(target).v4().octets();
        let reverse = format!("{d}.{c}.{b}.{a}.in-addr.arpa");
        let (text, kind, records) = match (turn as usize + n) % 5 {
            0 => (host.clone(), kind::AAAA, vec![Record::aaaa(&host, stage.device(target).v6())]),
            1 => ("wpad.north.example".into(), kind::A, vec![]),
            2 => (reverse.clone(), kind::PTR, vec![Record::ptr(&reverse, &host)]),
            3 => {
                let service = "_ldap._tcp.dc._msdcs.north.example".to_string();
                (service.clone(), kind::SRV, vec![Record::srv(&service, 389, "dc-1.north.example")])
            }
            _ => (host.clone(), kind::A, vec![Record::a(&host, stage.device(target).v4())]),
        };
        stage.udp(start, client, server, family, [port, 53], &name::query(id, &text, kind));
        stage.udp(start + MILLI, server, client, family, [53, port], &name::answer(id, &text, kind, &records));
    }
}

/// Desks work in the record system; the third over IPv6.
pub(super) fn records(stage: &mut Stage<'_>, at: u64, turn: u32) {
    let server = stage.named("ehr-1");
    for (n, desk) in stage.of("workstation").into_iter().enumerate() {
        let family = if n == 2 { Family::V6 } else { Family::V4 };
        let answer = 6_000 + stage.random.below(60_000) as usize;
        let start = at + n as u64 * 450 * MILLI;
        secure_modern(stage, start, (desk, server, 443), "ehr-1.north.example", Setting { family, ..USUAL }, [1_800, answer]);
    }
    if turn % 3 == 1 {
        let (laptop, gateway) = (stage.named("laptop-1"), stage.named("monitor-gateway"));
        secure_old(stage, at + 3 * SECOND, (laptop, gateway, 8443), "gateway.north.example", [700, 12_000]);
    }
}

/// Plain HTTP inside the house; the tap hears only the server's half of one conversation.
pub(super) fn intranet(stage: &mut Stage<'_>, at: u64, turn: u32) {
    let (desk, printer, bms) = (stage.any("workstation"), stage.named("printer-1"), stage.named("bms-1"));
    let laptop = stage.named("laptop-1");
    let page = format!("<html><head><title>Folio 400</title></head><body>{}</body></html>", "<p>Toner 63 %</p>".repeat(180));
    let mut talk = Talk::open(stage, at, desk, printer, 80, USUAL);
    talk.send(Side::Client, &service::http_get("printer-1.north.example", "/status.html", "Mozilla/5.0 (X11; Desk)"));
    talk.pause(4 * MILLI);
    let trouble = if turn.is_multiple_of(2) { Trouble::OutOfOrder } else { Trouble::ZeroWindow };
    talk.send_with(Side::Server, &service::http_ok("Papermill-Web/1.4", "text/html", page.as_bytes()), trouble);
    talk.close(Side::Server);
    let heard = [false, true];
    let mut talk = Talk::open(stage, at + SECOND, laptop, bms, 80, Setting { heard, ..USUAL });
    let body = b"{\"plant\":\"AirPlant\",\"supply_c\":18.5,\"return_c\":23.1}";
    let ask = service::http_get("bms-1.north.example", "/api/points", "curl/8.5.0");
    talk.exchange(&ask, 5 * MILLI, &service::http_ok("Grovetech/3.2", "application/json", body));
    talk.close(Side::Client);
}

/// File service and directory: SMB negotiation with echoes, an LDAP root query.
pub(super) fn files(stage: &mut Stage<'_>, at: u64, turn: u32) {
    let (desk, storage, directory) = (stage.any("workstation"), stage.named("nas-1"), stage.named("dc-1"));
    let guids = [stage.random.octets(16), stage.random.octets(16)];
    let mut talk = Talk::open(stage, at, desk, storage, 445, USUAL);
    let [ask, answer] = service::smb_negotiate(&guids[0], &guids[1]);
    talk.exchange(&ask, MILLI, &answer);
    for message in 1..4 {
        let [ask, answer] = service::smb_echo(message);
        talk.pause(400 * MILLI);
        talk.exchange(&ask, MILLI, &answer);
    }
    talk.reset(Side::Client);
    let mut talk = Talk::open(stage, at + 2 * SECOND, desk, directory, 389, USUAL);
    let [ask, answer] = service::ldap_root(turn + 1);
    talk.exchange(&ask, 2 * MILLI, &answer);
    talk.close(Side::Client);
}

/// Print jobs by LPD, IPP and the raw port.
pub(super) fn printing(stage: &mut Stage<'_>, at: u64, turn: u32) {
    let (desk, first, second) = (stage.any("workstation"), stage.named("printer-1"), stage.named("printer-2"));
    let page = "\x1bE\x1b&l0OWard round list\r\n".repeat(300);
    let host = stage.device(desk).name;
    let mut talk = Talk::open(stage, at, desk, first, 515, USUAL);
    for part in service::lpd_job(turn % 1000, host, page.as_bytes()) {
        talk.exchange(&part, 2 * MILLI, &[0]);
    }
    talk.close(Side::Client);
    let mut talk = Talk::open(stage, at + SECOND, desk, second, 631, USUAL);
    let [ask, answer] = service::ipp("printer-2.north.example", "Papermill Folio 700", turn + 1);
    talk.exchange(&ask, 6 * MILLI, &answer);
    talk.close(Side::Client);
    let mut talk = Talk::open(stage, at + 2 * SECOND, desk, second, 9100, USUAL);
    talk.send_with(
        Side::Client,
        format!("\x1b%-12345X@PJL JOB\r\n{page}\x1b%-12345X@PJL EOJ\r\n").as_bytes(),
        Trouble::ZeroWindow,
    );
    talk.close(Side::Client);
}

/// Names that are shouted: NetBIOS, LLMNR of both families, mDNS of both families.
pub(super) fn local_names(stage: &mut Stage<'_>, at: u64, _: u32) {
    for (n, desk) in stage.of("workstation").into_iter().enumerate() {
        let (host, ip) = (stage.device(desk).name, stage.device(desk).v4());
        let (start, everybody) = (at + n as u64 * 150 * MILLI, broadcast_of(ip));
        let (id, port) = (stage.random.next() as u16, stage.port());
        stage.cast(start, desk, everybody, 128, [137, 137], &name::netbios_registration(id, host, ip));
        stage.cast(start + 9 * MILLI, desk, everybody, 128, [137, 137], &name::netbios_query(id.wrapping_add(1), "fileserver"));
        for (step, group) in [LLMNR_V4, LLMNR_V6].into_iter().enumerate() {
            let query = name::message(id.wrapping_add(2), 0, Some(("fileserver", kind::A)), &[]);
            stage.cast(start + (20 + step as u64) * MILLI, desk, group, 1, [port, 5355], &query);
        }
    }
    let printers = [stage.of("printer"), stage.of("smart_tv")].concat();
    for (n, printer) in printers.into_iter().enumerate() {
        let device = stage.device(printer).clone();
        let (kind_name, port) = if device.category == "printer" { ("_ipp._tcp.local", 631) } else { ("_cast._tcp.local", 8009) };
        let (instance, host) = (format!("{}.{kind_name}", device.model), format!("{}.local", device.name));
        let texts = [format!("ty={} {}", device.manufacturer, device.model), "rp=ipp/print".to_string()];
        let records = [
            Record::ptr(kind_name, &instance),
            Record::srv(&instance, port, &host),
            Record::txt(&instance, &texts),
            Record::a(&host, device.v4()),
        ];
        let start = at + (700 + n as u64 * 80) * MILLI;
        stage.cast(start, printer, MDNS_V4, 255, [5353, 5353], &name::message(0, 0x8400, None, &records));
        stage.cast(start + 5 * MILLI, printer, MDNS_V6, 255, [5353, 5353], &name::message(0, 0x8400, None, &records));
    }
    let laptop = stage.named("laptop-2");
    let query = name::message(0, 0, Some(("_ipp._tcp.local", kind::PTR)), &[]);
    stage.cast(at + 650 * MILLI, laptop, MDNS_V4, 255, [5353, 5353], &query);
}

/// A download that its reader gives up.
pub(super) fn aborted_download(stage: &mut Stage<'_>, at: u64, _: u32) {
    let (laptop, storage) = (stage.named("laptop-2"), stage.named("nas-1"));
    let body = stage.random.octets(120_000);
    let whole = service::http_ok("vault/8", "application/octet-stream", &body);
    let mut talk = Talk::open(stage, at, laptop, storage, 8080, USUAL);
    talk.send(Side::Client, &service::http_get("nas-1.north.example", "/public/update.bin", "Wget/1.21"));
    talk.send_with(Side::Server, &whole[..90_000], Trouble::Retransmission);
    talk.reset(Side::Client);
}

/// A laptop looks for services where there are none: refused ports on servers, silence elsewhere.
pub(super) fn curious_laptop(stage: &mut Stage<'_>, at: u64, _: u32) {
    let (laptop, records, pump) = (stage.named("laptop-2"), stage.named("ehr-1"), stage.named("pump-303"));
    for (n, port) in [21, 22, 23, 25, 80, 110, 135, 139, 1433, 3306, 3389, 5432, 5900, 8080, 8443].into_iter().enumerate() {
        Talk::refused(stage, at + n as u64 * 45 * MILLI, laptop, records, port);
    }
    for (n, port) in [22, 23, 80, 443].into_iter().enumerate() {
        Talk::ignored(stage, at + 900 * MILLI + n as u64 * 30 * MILLI, laptop, pump, port);
    }
}

/// Sessions older than the scene that only keep each other alive.
pub(super) fn idle_sessions(stage: &mut Stage<'_>, at: u64, _: u32) {
    let (directory, end) = (stage.named("dc-1"), stage.end);
    for (n, desk) in stage.of("workstation").into_iter().enumerate() {
        let mut talk = Talk::midway(stage, at + n as u64 * 210 * MILLI, desk, directory, 49_672, USUAL);
        while talk.at < end {
            talk.keep_alive(Side::Client);
            talk.pause(15 * SECOND);
        }
    }
}
