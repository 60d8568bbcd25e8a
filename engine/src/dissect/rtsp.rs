//! RTSP (RFC 2326, 7826): software of cameras, recorders and their clients. Interleaved media and bodies are left out.

use super::{
    Conversation, Lead, Opening, Say, Step, Who,
    heads::{Head, Way, realm},
};
use crate::observation::{Field, Protocol};

const METHODS: &[&str] = &[
    "OPTIONS",
    "DESCRIBE",
    "SETUP",
    "PLAY",
    "PAUSE",
    "TEARDOWN",
    "ANNOUNCE",
    "RECORD",
    "GET_PARAMETER",
    "SET_PARAMETER",
    "REDIRECT",
];
const ANSWER: &[u8] = b"RTSP/";
/// Longest start line by which a conversation is recognised.
const START_MAX: usize = 480;

/// Whether an opening is RTSP.
pub fn open(lead: &Lead<'_>) -> Opening {
    if is_start(lead.octets) {
        return Opening::Yes(Box::<Rtsp>::default());
    }
    let octets = lead.octets;
    let method = octets.iter().position(|octet| *octet == b' ').and_then(|blank| octets.get(..blank));
    let may_be = method.map_or_else(
        || METHODS.iter().any(|method| method.as_bytes().starts_with(octets)) || ANSWER.starts_with(octets),
        |method| METHODS.iter().any(|known| known.as_bytes() == method),
    );
    if may_be && octets.len() < START_MAX && !octets.contains(&b'\r') { lead.more() } else { Opening::No }
}

/// A status line, or a request line of one of its methods.
fn is_start(octets: &[u8]) -> bool {
    let Some(end) = octets.iter().take(START_MAX).position(|octet| *octet == b'\r') else { return false };
    let line = octets.get(..end).unwrap_or_default();
    let is_version = |text: &[u8]| matches!(text, [b'R', b'T', b'S', b'P', b'/', b'1' | b'2', b'.', b'0']);
    if let Some((version, [b' ', b'1'..=b'5', b'0'..=b'9', b'0'..=b'9', ..])) = line.split_at_checked(8) {
        return is_version(version);
    }
    let mut words = line.split(|octet| *octet == b' ');
    let is_method = words.next().is_some_and(|word| METHODS.iter().any(|method| method.as_bytes() == word));
    is_method && words.next_back().is_some_and(is_version)
}

#[derive(Default)]
struct Rtsp {
    ways: [Way; 2],
}

impl Conversation for Rtsp {
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        let Some(way) = self.ways.get_mut(from & 1) else { return Step::Enough };
        let body = way.body(octets);
        if body > 0 {
            return Step::Read(body);
        }
        if octets.first() == Some(&b'$') {
            // Interleaved media: `$`, channel, length (section 10.12).
            let Some([_, _, high, low]) = octets.first_chunk::<4>() else { return Step::Read(0) };
            way.expect(u16::from_be_bytes([*high, *low]).into());
            return Step::Read(4);
        }
        match Head::read(octets) {
            Ok(None) => Step::Read(0),
            Ok(Some((head, length))) if is_start(octets) => {
                message(from, &head, say);
                way.expect(head.body_octets("l"));
                Step::Read(length)
            }
            _ => Step::Enough,
        }
    }
}

fn message(from: usize, head: &Head<'_>, say: &mut Say<'_>) {
    if head.start.starts_with(ANSWER) {
        say.serves(from, Protocol::Rtsp);
        if let Some(realm) = head.value("WWW-Authenticate").and_then(realm) {
            say.label(Who::Sender, Field::RtspRealm, realm);
        }
    }
    for (name, field) in [("Server", Field::RtspServer), ("User-Agent", Field::RtspUserAgent)] {
        if let Some(value) = head.value(name) {
            say.label(Who::Sender, field, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::probe, *};

    #[test]
    fn camera_and_client_name_their_software() {
        let ask = b"DESCRIBE rtsp://u:p@cam/1 RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: Viewer 2\r\n\r\n";
        let deny =
            b"RTSP/1.0 401 Unauthorized\r\nServer: CamOS 4\r\nWWW-Authenticate: Digest realm=\"Ward cam\", nonce=\"1\"\r\n\r\n";
        let media = b"RTSP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nv=0\n$\0\0\x03abcRTSP/1.0 200 OK\r\nServer: CamOS 5\r\n\r\n";
        let expect = [
            (1, Field::RtspUserAgent, "Viewer 2"),
            (0, Field::Serves, "rtsp"),
            (1, Field::Uses, "rtsp"),
            (0, Field::RtspRealm, "Ward cam"),
            (0, Field::RtspServer, "CamOS 4"),
            (0, Field::Serves, "rtsp"),
            (1, Field::Uses, "rtsp"),
            (0, Field::Serves, "rtsp"),
            (1, Field::Uses, "rtsp"),
            (0, Field::RtspServer, "CamOS 5"),
        ];
        probe::holds_when_cut(open, [554, 40000], &[(1, ask), (0, deny), (0, media)], &expect);
    }

    #[test]
    fn other_text_is_not_rtsp() {
        for other in
            [&b"OPTIONS / HTTP/1.1\r\n\r\n"[..], b"OPTIONS sip:a SIP/2.0\r\n\r\n", b"RTSP/1.0 x\r\n\r\n", b"$\0\0\0", b""]
        {
            assert!(probe::stream(open, [554, 40000], &[(1, other)], 2).is_none());
        }
    }
}
