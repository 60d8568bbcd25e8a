//! Office services: HTTP, SMB2 negotiation, LDAP root query, printing (LPD, IPP, raw), SIP with SDP, RTSP, RTP.

use std::net::Ipv4Addr;

use super::{Put, element, integer, nest, with_u16};

/// An HTTP request without body.
pub(in super::super) fn http_get(host: &str, path: &str, agent: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nAccept: */*\r\n\r\n").into_bytes()
}

/// An HTTP response.
pub(in super::super) fn http_ok(server: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nServer: {server}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn smb2(answers: bool, command: u16, message: u64, body: &[u8]) -> Vec<u8> {
    let mut out = b"\xfeSMB".to_vec();
    out.extend(64u16.to_le_bytes());
    out.extend([0; 6]);
    out.extend(command.to_le_bytes());
    out.extend(1u16.to_le_bytes());
    out.extend(u32::from(answers).to_le_bytes());
    out.extend([0; 4]);
    out.extend(message.to_le_bytes());
    out.extend([0; 32]);
    out.extend(body);
    [&(out.len() as u32).to_be_bytes()[..], &out].concat()
}

/// SMB2 NEGOTIATE request and response (MS-SMB2 §2.2.3, §2.2.4).
pub(in super::super) fn smb_negotiate(client: &[u8], server: &[u8]) -> [Vec<u8>; 2] {
    let mut ask = Vec::new();
    for value in [36u16, 4, 1, 0] {
        ask.extend(value.to_le_bytes());
    }
    ask.extend(0x2fu32.to_le_bytes());
    ask.all(&client[..16]).all([0; 8]);
    for dialect in [0x0202u16, 0x0210, 0x0300, 0x0302] {
        ask.extend(dialect.to_le_bytes());
    }
    let mut answer = Vec::new();
    for value in [65u16, 1, 0x0302, 0] {
        answer.extend(value.to_le_bytes());
    }
    answer.all(&server[..16]);
    for value in [0x2fu32, 0x0080_0000, 0x0080_0000, 0x0080_0000] {
        answer.extend(value.to_le_bytes());
    }
    answer.extend(134_120_448_000_000_000u64.to_le_bytes());
    answer.all([0; 8]);
    answer.extend(128u16.to_le_bytes());
    answer.all([0; 6]);
    [smb2(false, 0, 0, &ask), smb2(true, 0, 0, &answer)]
}

/// SMB2 ECHO request and response, as idle sessions send them.
pub(in super::super) fn smb_echo(message: u64) -> [Vec<u8>; 2] {
    [false, true].map(|answers| smb2(answers, 13, message, &[4, 0, 0, 0]))
}

/// LDAP search of the root entry, and its answer.
pub(in super::super) fn ldap_root(message: u32) -> [Vec<u8>; 2] {
    let text = |text: &str| element(4, text.as_bytes());
    let search = [
        text(""),
        element(10, &[0]),
        element(10, &[0]),
        integer(0),
        integer(0),
        element(1, &[0]),
        element(0x87, b"objectClass"),
        nest(0x30, &[text("defaultNamingContext"), text("dnsHostName")]),
    ];
    let attribute = |name: &str, value: &str| nest(0x30, &[text(name), nest(0x31, &[text(value)])]);
    let attributes =
        nest(0x30, &[attribute("defaultNamingContext", "DC=north,DC=example"), attribute("dnsHostName", "dc-1.north.example")]);
    let entry = nest(0x30, &[integer(message), nest(0x64, &[text(""), attributes])]);
    let done = nest(0x30, &[integer(message), nest(0x65, &[element(10, &[0]), text(""), text("")])]);
    [nest(0x30, &[integer(message), nest(0x63, &search)]), [entry, done].concat()]
}

/// The client's side of a line-printer job (RFC 1179), part by part; each part is answered with a zero octet.
pub(in super::super) fn lpd_job(job: u32, host: &str, page: &[u8]) -> Vec<Vec<u8>> {
    let control = format!("H{host}\nPward\nldfA{job:03}{host}\nNsheet\n");
    vec![
        b"\x02lp\n".to_vec(),
        format!("\x02{} cfA{job:03}{host}\n", control.len()).into_bytes(),
        [control.as_bytes(), &[0]].concat(),
        format!("\x03{} dfA{job:03}{host}\n", page.len()).into_bytes(),
        [page, &[0]].concat(),
    ]
}

fn ipp_attribute(tag: u8, name: &str, value: &str) -> Vec<u8> {
    [&[tag][..], &with_u16(name.as_bytes()), &with_u16(value.as_bytes())].concat()
}

/// IPP Get-Printer-Attributes over HTTP (RFC 8010), and its answer.
pub(in super::super) fn ipp(host: &str, model: &str, request: u32) -> [Vec<u8>; 2] {
    let start = |code: u16| {
        let mut out = vec![1, 1];
        out.u16(code).u32(request).u8(1).all(ipp_attribute(0x47, "attributes-charset", "utf-8"));
        out.all(ipp_attribute(0x48, "attributes-natural-language", "en"));
        out
    };
    let mut ask = start(0x000b);
    ask.all(ipp_attribute(0x45, "printer-uri", &format!("ipp://{host}/ipp/print"))).u8(3);
    let mut answer = start(0);
    answer.u8(4).all(ipp_attribute(0x41, "printer-make-and-model", model)).all(ipp_attribute(0x42, "printer-name", host)).u8(3);
    let head = format!(
        "POST /ipp/print HTTP/1.1\r\nHost: {host}:631\r\nContent-Type: application/ipp\r\nContent-Length: {}\r\n\r\n",
        ask.len()
    );
    [[head.as_bytes(), &ask].concat(), http_ok("Papermill-IPP/2", "application/ipp", &answer)]
}

/// Who calls whom in a SIP dialogue.
pub(in super::super) struct Call {
    pub(in super::super) id: u64,
    pub(in super::super) from: (&'static str, Ipv4Addr),
    pub(in super::super) to: (&'static str, Ipv4Addr),
    pub(in super::super) media_port: u16,
}

impl Call {
    fn fields(&self, method: &str, sequence: u32, answered: bool) -> String {
        let Self { id, from, to, .. } = self;
        let tag = if answered { ";tag=b7" } else { "" };
        format!(
            "Via: SIP/2.0/UDP {}:5060;branch=z9hG4bK{id:x}{sequence}\r\nMax-Forwards: 70\r\nFrom: <sip:{}@north.example>;tag=a1\r\n\
             To: <sip:{}@north.example>{tag}\r\nCall-ID: {id:x}@{}\r\nCSeq: {sequence} {method}\r\nContact: <sip:{}@{}:5060>\r\n",
            from.1, from.0, to.0, from.1, from.0, from.1
        )
    }

    /// A request; INVITE carries a session description.
    pub(in super::super) fn request(&self, method: &str, sequence: u32) -> Vec<u8> {
        let body = if method == "INVITE" { session(self.from.1, self.media_port) } else { String::new() };
        let target = if method == "REGISTER" { "north.example".into() } else { format!("{}@north.example", self.to.0) };
        self.finish(&format!("{method} sip:{target} SIP/2.0\r\n"), method, sequence, method == "ACK" || method == "BYE", &body)
    }

    /// A response.
    pub(in super::super) fn response(&self, status: &str, method: &str, sequence: u32) -> Vec<u8> {
        let body =
            if status.starts_with("200") && method == "INVITE" { session(self.to.1, self.media_port) } else { String::new() };
        self.finish(&format!("SIP/2.0 {status}\r\n"), method, sequence, true, &body)
    }

    fn finish(&self, first: &str, method: &str, sequence: u32, answered: bool, body: &str) -> Vec<u8> {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let fields = self.fields(method, sequence, answered);
        format!("{first}{fields}User-Agent: Vantry V20/3.1\r\n{kind}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }
}

fn session(ip: Ipv4Addr, port: u16) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=call\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\n"
    )
}

/// The RTSP dialogue that starts a camera's stream to a UDP port: pairs of request and response.
pub(in super::super) fn rtsp_start(camera: Ipv4Addr, port: u16, server: &str) -> Vec<[Vec<u8>; 2]> {
    let url = format!("rtsp://{camera}/stream1");
    let description = format!(
        "v=0\r\no=- 1 1 IN IP4 {camera}\r\ns=stream1\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:trackID=1\r\n"
    );
    let ports = format!("Transport: RTP/AVP;unicast;client_port={port}-{}", port + 1);
    let steps = [
        ("OPTIONS", "", String::new(), "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n".into(), ""),
        ("DESCRIBE", "", "Accept: application/sdp\r\n".into(), "Content-Type: application/sdp\r\n".into(), description.as_str()),
        ("SETUP", "/trackID=1", format!("{ports}\r\n"), format!("{ports};server_port=6970-6971\r\nSession: 5A31\r\n"), ""),
        ("PLAY", "", "Session: 5A31\r\nRange: npt=0.000-\r\n".into(), "Session: 5A31\r\n".into(), ""),
    ];
    let pair = |(n, (method, path, ask, answer, body)): (usize, (&str, &str, String, String, &str))| {
        let n = n + 1;
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        [
            format!("{method} {url}{path} RTSP/1.0\r\nCSeq: {n}\r\nUser-Agent: Oculine Recorder\r\n{ask}\r\n").into_bytes(),
            format!("RTSP/1.0 200 OK\r\nCSeq: {n}\r\nServer: {server}\r\n{answer}{length}\r\n{body}").into_bytes(),
        ]
    };
    steps.into_iter().enumerate().map(pair).collect()
}

/// An RTP packet (RFC 3550).
pub(in super::super) fn rtp(kind: u8, marker: bool, sequence: u16, stamp: u32, source: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80, kind | if marker { 0x80 } else { 0 }];
    out.u16(sequence).u32(stamp).u32(source).all(payload);
    out
}
