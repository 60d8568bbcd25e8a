//! Bedside, laboratory and records: pumps, monitors, HL7.

use std::net::{IpAddr, Ipv4Addr};

use super::office::{secure_modern, secure_old};
use crate::scene::{
    payload::health,
    stage::{Family, Id, MILLI, SECOND, Stage},
    talk::{Setting, Side, Talk, Trouble, USUAL},
};

const PUMP_PORT: u16 = 3613;
const MONITOR_PORT: u16 = 24_105;
const HL7_PORT: u16 = 2575;

/// Pumps keep one session each to their server for the whole scene; the fourth pump's began before.
pub(super) fn pump_sessions(stage: &mut Stage<'_>, at: u64, _: u32) {
    let server = stage.named("pump-server");
    for (n, pump) in stage.of("infusion_pump").into_iter().enumerate() {
        let (end, start, name) = (stage.end, at + n as u64 * 340 * MILLI, stage.device(pump).name);
        let rate = 25 + stage.random.below(900) as u32;
        let mut talk = match n {
            3 => Talk::midway(stage, start, pump, server, PUMP_PORT, USUAL),
            _ => Talk::open(stage, start, pump, server, PUMP_PORT, USUAL),
        };
        let mut sequence = 0;
        while talk.at < end {
            let status = health::pump_status(name, sequence, rate, sequence * rate / 600);
            talk.exchange(&status, 3 * MILLI, &health::pump_answer(sequence));
            talk.pause(2 * SECOND);
            if sequence % 5 == 4 {
                talk.keep_alive(Side::Server);
            }
            sequence += 1;
        }
    }
}

/// Five seconds of waveforms from every monitor to the gateway.
pub(super) fn vitals(stage: &mut Stage<'_>, at: u64, turn: u32) {
    let gateway = stage.named("monitor-gateway");
    for (n, monitor) in stage.of("patient_monitor").into_iter().enumerate() {
        for quarter in 0..20 {
            let start = at + n as u64 * 17 * MILLI + quarter * 250 * MILLI;
            let samples = stage.random.octets(256);
            let message = health::vitals(301 + n as u16, turn * 20 + quarter as u32, &samples);
            stage.udp_marked(start, monitor, gateway, 34, [MONITOR_PORT, MONITOR_PORT], &message);
        }
        let ready = health::pump_answer(turn);
        stage.udp(at + n as u64 * 17 * MILLI + 600 * MILLI, gateway, monitor, Family::V4, [MONITOR_PORT, MONITOR_PORT], &ready);
    }
}

/// Monitors tell a multicast group who they are.
pub(super) fn discovery(stage: &mut Stage<'_>, at: u64, turn: u32) {
    for (n, monitor) in stage.of("patient_monitor").into_iter().enumerate() {
        let text = format!("AURM-HELLO bed=30{} model={} fw=M.04.{turn}", n + 1, stage.device(monitor).model);
        let group = IpAddr::V4(Ipv4Addr::new(239, 20, 0, 1));
        stage.cast(at + n as u64 * 70 * MILLI, monitor, group, 8, [MONITOR_PORT, MONITOR_PORT + 1], text.as_bytes());
    }
}

/// The monitor gateway's long HL7 session: a result every six seconds.
pub(super) fn vital_results(stage: &mut Stage<'_>, at: u64, _: u32) {
    let (gateway, engine, end) = (stage.named("monitor-gateway"), stage.named("engine-1"), stage.end);
    let mut talk = Talk::open(stage, at, gateway, engine, HL7_PORT, USUAL);
    let mut control = 1000;
    while talk.at < end {
        let rate = 65 + talk.stage.random.below(30) as u32;
        let values = [("8867-4", "Heart rate", rate, "/min"), ("59408-5", "SpO2", 97, "%"), ("9279-1", "Resp rate", 14, "/min")];
        let result = health::result("MONGW", talk.at, control, &values);
        let answer = health::acknowledgement("MONGW", talk.at, control);
        talk.exchange(&result, 9 * MILLI, &answer);
        talk.pause(6 * SECOND);
        control += 1;
    }
}

fn message(stage: &mut Stage<'_>, at: u64, ends: (Id, Id, u16), octets: &[u8], answer: &[u8]) {
    let mut talk = Talk::open(stage, at, ends.0, ends.1, ends.2, USUAL);
    talk.exchange(octets, 12 * MILLI, answer);
    talk.pause(5 * MILLI);
    talk.close(Side::Client);
}

/// The record system tells the interface engine of admissions and transfers, which passes them on to the cabinet's port.
pub(super) fn admissions(stage: &mut Stage<'_>, at: u64, turn: u32) {
    let (records, engine, cabinet) = (stage.named("ehr-1"), stage.named("engine-1"), stage.named("med-cabinet-3"));
    let event = ["A01", "A08", "A02", "A03"][turn as usize % 4];
    let admission = health::admission(at, 5000 + turn, event);
    let answer = health::acknowledgement("EHR", at, 5000 + turn);
    message(stage, at, (records, engine, HL7_PORT), &admission, &answer);
    message(stage, at + 40 * MILLI, (engine, cabinet, 6661), &admission, &answer);
}

/// The ventilator streams to the gateway; the tap hears only the ventilator.
pub(super) fn ventilator(stage: &mut Stage<'_>, at: u64, _: u32) {
    let (ventilator, gateway, end) = (stage.named("vent-301"), stage.named("monitor-gateway"), stage.end);
    let setting = Setting { heard: [true, false], ..USUAL };
    let mut talk = Talk::open(stage, at, ventilator, gateway, 5_700, setting);
    let mut breath = 0u32;
    while talk.at < end {
        let volume = 430 + talk.stage.random.below(60);
        let line = format!("BRW1;n={breath};mode=PCV;vt={volume};peep=5;fio2=40;rr=15\r\n");
        talk.exchange(line.as_bytes(), MILLI, b"+\r\n");
        talk.pause(4 * SECOND);
        breath += 1;
    }
}

/// Analyzers send results: one by HL7, one by ASTM with a frame at a time.
pub(super) fn laboratory(stage: &mut Stage<'_>, at: u64, turn: u32) {
    let (chemistry, hematology, engine) = (stage.named("lab-chem-1"), stage.named("lab-heme-1"), stage.named("engine-1"));
    let values: Vec<(&str, &str, u32, &str)> =
        (0..24).flat_map(|_| [("2951-2", "Sodium", 140, "mmol/L"), ("2823-3", "Potassium", 4, "mmol/L")]).collect();
    let result = health::result("CHEMIA900", at, 7000 + turn, &values);
    let mut talk = Talk::open(stage, at, chemistry, engine, HL7_PORT, USUAL);
    talk.send_with(Side::Client, &result, Trouble::Retransmission);
    talk.pause(15 * MILLI);
    talk.send(Side::Server, &health::acknowledgement("CHEMIA900", at, 7000 + turn));
    talk.close(Side::Client);
    let mut talk = Talk::open(stage, at + 900 * MILLI, hematology, engine, 4_010, USUAL);
    for part in health::astm(at, turn + 1, 130 + turn % 20) {
        let is_end = part == [4];
        talk.send(Side::Client, &part);
        talk.pause(4 * MILLI);
        if !is_end {
            talk.send(Side::Server, &[6]);
        }
    }
    talk.close(Side::Client);
}

/// A blood gas result, and its label.
pub(super) fn point_of_care(stage: &mut Stage<'_>, at: u64, turn: u32) {
    let (analyzer, engine, printer) = (stage.named("poc-1"), stage.named("engine-1"), stage.named("label-1"));
    let values = [("2744-1", "pH", 7, "pH"), ("2019-8", "pCO2", 40, "mm[Hg]")];
    let result = health::result("GASLINE", at, 9000 + turn, &values);
    message(stage, at, (analyzer, engine, HL7_PORT), &result, &health::acknowledgement("GASLINE", at, 9000 + turn));
    let label = format!("^XA^FO40,40^A0N,40,40^FDSYN{turn:06}^FS^FO40,100^BCN,80^FDSYN{turn:06}^FS^XZ\r\n");
    let mut talk = Talk::open(stage, at + 500 * MILLI, analyzer, printer, 9100, USUAL);
    talk.send(Side::Client, label.as_bytes());
    talk.close(Side::Client);
}

/// The ECG cart uploads over TLS 1.2, the cabinet asks the record system over TLS 1.3, the nurse call reports by HL7.
pub(super) fn cart_and_cabinet(stage: &mut Stage<'_>, at: u64, turn: u32) {
    let (cart, cabinet, call) = (stage.named("ecg-301"), stage.named("med-cabinet-3"), stage.named("nurse-call-3"));
    let (records, engine) = (stage.named("ehr-1"), stage.named("engine-1"));
    secure_old(stage, at, (cart, records, 443), "ehr-1.north.example", [38_000, 600]);
    secure_modern(stage, at + 2 * SECOND, (cabinet, records, 443), "meds.ehr-1.north.example", USUAL, [900, 4_200]);
    let values = [("CALL", "Bed call", 1, "1")];
    let result = health::result("BECKON", at, 9500 + turn, &values);
    message(stage, at + 3 * SECOND, (call, engine, HL7_PORT), &result, &health::acknowledgement("BECKON", at, 9500 + turn));
}
