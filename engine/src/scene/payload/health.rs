//! HL7 v2.5 over MLLP, ASTM E1394 records in E1381 frames, and the telegrams of invented pumps and monitors.

use super::Put;

fn mllp(segments: &[String]) -> Vec<u8> {
    let mut out = vec![0x0b];
    for segment in segments {
        out.all(segment).u8(b'\r');
    }
    out.all([0x1c, b'\r']);
    out
}

/// The time field of a message so many seconds into the scene, which starts at eight.
pub(in super::super) fn clock(at: u64) -> String {
    let seconds = at / 1_000_000_000;
    format!("20260105{:02}{:02}{:02}", 8 + seconds / 3600 % 16, seconds / 60 % 60, seconds % 60)
}

/// A header segment.
fn msh(sender: &str, receiver: &str, at: u64, kind: &str, control: u32) -> String {
    format!("MSH|^~\\&|{sender}|NORTH|{receiver}|NORTH|{}||{kind}|SYN{control:08}|P|2.5", clock(at))
}

fn person(n: u32) -> String {
    format!("PID|1||SYN{n:06}^^^NORTH^MR||SAMPLE{n:03}^SYNTHETIC||19000101|U")
}

/// ORU^R01 with vital signs or results: (LOINC-like code, name, value, unit).
pub(in super::super) fn result(sender: &str, at: u64, control: u32, values: &[(&str, &str, u32, &str)]) -> Vec<u8> {
    let mut segments = vec![msh(sender, "ENGINE", at, "ORU^R01^ORU_R01", control), person(control % 40)];
    segments.push("PV1|1|I|ICU^301^1".into());
    segments.push(format!("OBR|1|||PANEL^Panel^L|||{}", clock(at)));
    for (n, (code, name, value, unit)) in values.iter().enumerate() {
        segments.push(format!("OBX|{}|NM|{code}^{name}^LN||{value}|{unit}|||||F", n + 1));
    }
    mllp(&segments)
}

/// ADT of a kind, such as `A01`.
pub(in super::super) fn admission(at: u64, control: u32, event: &str) -> Vec<u8> {
    let kind = format!("ADT^{event}^ADT_{event}");
    let event = format!("EVN|{event}|{}", clock(at));
    mllp(&[msh("EHR", "ENGINE", at, &kind, control), event, person(control % 40), "PV1|1|I|W3^12^1".into()])
}

/// The acknowledgement of a message.
pub(in super::super) fn acknowledgement(receiver: &str, at: u64, control: u32) -> Vec<u8> {
    mllp(&[msh("ENGINE", receiver, at, "ACK", control), format!("MSA|AA|SYN{control:08}")])
}

/// An ASTM transmission: enquiry, framed records with checksums, end.
pub(in super::super) fn astm(at: u64, sample: u32, value: u32) -> Vec<Vec<u8>> {
    let records = [
        format!("H|\\^&|||HEMA5^2.4.0|||||||P|1|{}", clock(at)),
        "P|1".into(),
        format!("O|1|SYN{sample:06}||^^^HGB"),
        format!("R|1|^^^HGB|{}.{}|g/dL||N||F", value / 10, value % 10),
        "L|1|N".into(),
    ];
    let mut out = vec![vec![5]];
    for (n, record) in records.iter().enumerate() {
        let body = format!("{}{record}\r\x03", (n + 1) % 8);
        let sum = body.bytes().fold(0u8, u8::wrapping_add);
        out.push(format!("\x02{body}{sum:02X}\r\n").into_bytes());
    }
    out.push(vec![4]);
    out
}

/// Status telegram of the invented infusion pump: length, magic, kind, sequence, then named values.
pub(in super::super) fn pump_status(name: &str, sequence: u32, rate: u32, infused: u32) -> Vec<u8> {
    let text = format!("dev={name};model=Rill 7;fw=7.3.2;state=RUN;rate_ml_h={}.{};vtbi_ml={infused}", rate / 10, rate % 10);
    let mut out = Vec::new();
    out.u16(text.len() as u16 + 8).all(b"NLI1").u32(sequence).all(text);
    out
}

/// The server's answer to a status telegram.
pub(in super::super) fn pump_answer(sequence: u32) -> Vec<u8> {
    let mut out = Vec::new();
    out.u16(10).all(b"NLI1").u32(sequence).all(b"OK");
    out
}

/// One quarter second of two waveforms and four numbers of the invented patient monitor.
pub(in super::super) fn vitals(bed: u16, sequence: u32, samples: &[u8]) -> Vec<u8> {
    let mut out = b"AURM".to_vec();
    out.u16(2).u16(bed).u32(sequence).u16(samples.len() as u16).all(samples);
    for (kind, value) in [(1, 72 + sequence % 9), (2, 97), (3, 118 + sequence % 5), (4, 14)] {
        out.u16(kind).u16(value as u16);
    }
    out
}
