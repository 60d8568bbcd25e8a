//! Voice, cameras, building control and things.

use std::net::{IpAddr, Ipv4Addr};

use super::office::secure_old;
use crate::scene::{
    payload::{network, service, thing},
    stage::{Family, Id, MILLI, SECOND, Stage, broadcast_of},
    talk::{Side, Talk, USUAL},
};

const SIP: [u16; 2] = [5060, 5060];
const BACNET: [u16; 2] = [47_808, 47_808];
const SSDP_GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 255, 255, 250));
/// DSCP of voice, RFC 4594: expedited forwarding.
const DSCP_VOICE: u8 = 46;
/// DSCP of broadcast video.
const DSCP_VIDEO: u8 = 26;

fn party(stage: &Stage<'_>, id: Id) -> (&'static str, Ipv4Addr) {
    (stage.device(id).name, stage.device(id).v4())
}

/// Phones register.
pub(super) fn registrations(stage: &mut Stage<'_>, at: u64, _: u32) {
    let exchange = stage.named("pbx-1");
    for (n, phone) in stage.of("voip_phone").into_iter().enumerate() {
        let me = party(stage, phone);
        let call = service::Call { id: stage.random.next(), from: me, to: me, media_port: 0 };
        let start = at + n as u64 * 130 * MILLI;
        stage.udp(start, phone, exchange, Family::V4, SIP, &call.request("REGISTER", 1));
        stage.udp(start + 3 * MILLI, exchange, phone, Family::V4, SIP, &call.response("200 OK", "REGISTER", 1));
    }
}

/// A call between two phones through signalling, with twelve seconds of voice both ways.
pub(super) fn call(stage: &mut Stage<'_>, at: u64, turn: u32) {
    let phones = stage.of("voip_phone");
    let (caller, callee) = (phones[turn as usize % 3], phones[(turn as usize + 1) % 3]);
    let media_port = 10_000 + (stage.random.below(2000) * 2) as u16;
    let call = service::Call { id: stage.random.next(), from: party(stage, caller), to: party(stage, callee), media_port };
    stage.udp(at, caller, callee, Family::V4, SIP, &call.request("INVITE", 1));
    for (wait, status) in [(5, "100 Trying"), (40, "180 Ringing"), (2_000, "200 OK")] {
        stage.udp(at + wait * MILLI, callee, caller, Family::V4, SIP, &call.response(status, "INVITE", 1));
    }
    stage.udp(at + 2_010 * MILLI, caller, callee, Family::V4, SIP, &call.request("ACK", 1));
    let sources = [stage.random.next() as u32, stage.random.next() as u32];
    for n in 0..600u32 {
        let start = at + 2_020 * MILLI + u64::from(n) * 20 * MILLI;
        for (side, (from, to)) in [(caller, callee), (callee, caller)].into_iter().enumerate() {
            let voice = stage.random.octets(160);
            let packet = service::rtp(0, n == 0, n as u16, n * 160, sources[side], &voice);
            let jitter = stage.random.below(900_000) + side as u64 * 7 * MILLI;
            stage.udp_marked(start + jitter, from, to, DSCP_VOICE, [media_port; 2], &packet);
        }
    }
    let end = at + 14_100 * MILLI;
    stage.udp(end, caller, callee, Family::V4, SIP, &call.request("BYE", 2));
    stage.udp(end + 2 * MILLI, callee, caller, Family::V4, SIP, &call.response("200 OK", "BYE", 2));
}

fn media_port(camera: usize) -> u16 {
    20_000 + camera as u16 * 2
}

/// The recorder starts the cameras' streams.
pub(super) fn camera_sessions(stage: &mut Stage<'_>, at: u64, _: u32) {
    let (recorder, end) = (stage.named("nvr-1"), stage.end);
    for (n, camera) in stage.of("ip_camera").into_iter().enumerate() {
        let ip = stage.device(camera).v4();
        let mut talk = Talk::open(stage, at + n as u64 * 90 * MILLI, recorder, camera, 554, USUAL);
        for [ask, answer] in service::rtsp_start(ip, media_port(n), "Oculine/4.0") {
            talk.exchange(&ask, 4 * MILLI, &answer);
        }
        while talk.at < end {
            talk.pause(20 * SECOND);
            talk.keep_alive(Side::Client);
        }
    }
}

/// Five seconds of video from every camera.
pub(super) fn camera_media(stage: &mut Stage<'_>, at: u64, turn: u32) {
    let recorder = stage.named("nvr-1");
    for (n, camera) in stage.of("ip_camera").into_iter().enumerate() {
        for tick in 0..150u32 {
            let sequence = turn * 150 + tick;
            let start = at + u64::from(tick) * 33_333_333 + n as u64 * 3 * MILLI;
            let octets = 700 + stage.random.below(600) as usize;
            let mut video = stage.random.octets(octets);
            (video[0], video[1]) = (0x61, 0x9a);
            let packet = service::rtp(96, true, sequence as u16, sequence.wrapping_mul(3000), 0xca30_0000 + n as u32, &video);
            stage.udp_marked(start, camera, recorder, DSCP_VIDEO, [6970, media_port(n)], &packet);
        }
    }
}

/// BACnet discovery and reading, Modbus polling.
pub(super) fn controllers(stage: &mut Stage<'_>, at: u64, turn: u32) {
    let (first, second, plant) = (stage.named("bms-1"), stage.named("bms-2"), stage.named("hvac-1"));
    let everybody = broadcast_of(stage.device(first).v4());
    stage.cast(at, first, everybody, 64, BACNET, &thing::who_is());
    for (n, id) in [first, second, plant].into_iter().enumerate() {
        stage.cast(at + (10 + n as u64 * 6) * MILLI, id, everybody, 64, BACNET, &thing::i_am(800_100 + n as u32, 555));
    }
    let [ask, answer] = thing::read_model(turn as u8, 800_101, stage.device(second).model);
    stage.udp(at + 60 * MILLI, first, second, Family::V4, BACNET, &ask);
    stage.udp(at + 64 * MILLI, second, first, Family::V4, BACNET, &answer);
    let mut talk = Talk::open(stage, at + 200 * MILLI, first, plant, 502, USUAL);
    for n in 0..4u16 {
        let values: Vec<u16> = (0..8).map(|register| 180 + register * 3 + n).collect();
        let [ask, answer] = thing::modbus_read(turn as u16 * 4 + n, 1, &values);
        talk.exchange(&ask, 7 * MILLI, &answer);
        talk.pause(100 * MILLI);
    }
    talk.close(Side::Client);
}

/// A sensor keeps an MQTT session to the hub.
pub(super) fn things(stage: &mut Stage<'_>, at: u64, _: u32) {
    let (sensor, hub, end) = (stage.named("thermo-1"), stage.named("iot-hub-1"), stage.end);
    let mut talk = Talk::open(stage, at, sensor, hub, 1883, USUAL);
    let [ask, answer] = thing::mqtt_connect("coldeye-0417");
    talk.exchange(&ask, 2 * MILLI, &answer);
    let mut n = 0u32;
    while talk.at < end {
        let text = format!("{{\"c\":{}.{},\"n\":{n}}}", 3 + n % 2, n % 10);
        talk.send(Side::Client, &thing::mqtt_publish("north/pharmacy/fridge-2/temperature", &text));
        talk.pause(5 * SECOND);
        if n % 4 == 3 {
            let [ask, answer] = thing::mqtt_ping();
            talk.exchange(&ask, MILLI, &answer);
        }
        n += 1;
    }
}

/// Doors open.
pub(super) fn badges(stage: &mut Stage<'_>, at: u64, _: u32) {
    let (reader, server) = (stage.named("badge-1"), stage.named("iot-hub-1"));
    secure_old(stage, at, (reader, server, 8883), "doors.north.example", [220, 120]);
}

/// The television looks for company.
pub(super) fn television(stage: &mut Stage<'_>, at: u64, turn: u32) {
    let (tv, laptop) = (stage.named("tv-1"), stage.named("laptop-1"));
    let ip = stage.device(tv).v4();
    for n in 0..3 {
        stage.cast(
            at + n * 100 * MILLI,
            tv,
            SSDP_GROUP,
            4,
            [1900, 1900],
            &network::ssdp_notify(ip, "Brightpane/5 UPnP/1.1 Glow/55", u64::from(turn)),
        );
    }
    let port = stage.port();
    stage.cast(at + SECOND, laptop, SSDP_GROUP, 4, [port, 1900], &network::ssdp_search());
}
