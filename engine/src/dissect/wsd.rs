//! WS-Discovery (OASIS WS-Discovery 1.1 and its draft of 2005): the types and scopes that a device offers.
//!
//! Of the envelope only the text of `Types` and `Scopes` is looked at, and of scopes only those of ONVIF that tell a product
//! (ONVIF Core §7.3.2).

use super::{Packet, Say, Who, reader::find};
use crate::observation::{Field, Protocol};

/// Namespaces of the two versions, up to where they differ no more.
const NAMESPACES: [&[u8]; 2] = [b"schemas.xmlsoap.org/ws/2005/04/discovery", b"docs.oasis-open.org/ws-dd/ns/discovery/2009/01"];
const ONVIF: &[u8] = b"onvif://www.onvif.org/";
/// Scopes that tell a product.
const SCOPES: [&[u8]; 4] = [b"hardware/", b"name/", b"manufacturer/", b"mfr/"];
/// Elements of one name, and words in them, that are looked at.
const ELEMENTS_MAX: usize = 16;
const WORDS_MAX: usize = 64;

/// Reads a datagram.
pub fn read(packet: &Packet<'_>, say: &mut Say<'_>) -> bool {
    let octets = packet.payload;
    let is_xml = octets.trim_ascii_start().starts_with(b"<") || octets.starts_with(b"\xef\xbb\xbf<");
    if !is_xml || !NAMESPACES.iter().any(|namespace| find(octets, namespace).is_some()) {
        return false;
    }
    let Some(action) =
        texts(octets, b"Action").next().and_then(|action| action.trim_ascii().rsplit(|octet| *octet == b'/').next())
    else {
        // What comes before the action is cut off, or is no message.
        return false;
    };
    let (offers, answers) = match action {
        b"Hello" => (true, false),
        b"ProbeMatches" | b"ResolveMatches" => (true, true),
        b"Probe" | b"Resolve" | b"Bye" => (false, false),
        _ => return false,
    };
    if offers {
        for word in texts(octets, b"Types").flat_map(words) {
            let name = word.rsplit(|octet| *octet == b':').next().unwrap_or(word);
            say.text(Who::Sender, Field::WsdType, name);
        }
        for word in texts(octets, b"Scopes").flat_map(words) {
            say_scope(word, say);
        }
    }
    if answers {
        say.serves(say.sender(), Protocol::Wsd);
    }
    true
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).take(WORDS_MAX)
}

/// The texts of the elements of a local name, whatever their prefix, that are closed.
fn texts<'a>(octets: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = octets;
    std::iter::from_fn(move || {
        loop {
            let start = find(rest, b"<")? + 1;
            rest = rest.get(start..)?;
            let end = rest.iter().position(|octet| *octet == b'>')?;
            let (tag, behind) = (rest.get(..end)?, rest.get(end + 1..)?);
            let qualified = tag.split(|octet| octet.is_ascii_whitespace()).next().unwrap_or(tag);
            let local = qualified.rsplit(|octet| *octet == b':').next().unwrap_or(qualified);
            if local == name && tag.first() != Some(&b'/') && tag.last() != Some(&b'/') {
                let text = behind.get(..find(behind, b"</")?)?;
                rest = behind;
                return Some(text);
            }
        }
    })
    .take(ELEMENTS_MAX)
}

/// Says a scope such as `hardware/Model-9`, percent-encoded blanks as `_`.
fn say_scope(scope: &[u8], say: &mut Say<'_>) {
    let Some(path) = scope.strip_prefix(ONVIF) else { return };
    if !SCOPES.iter().any(|kind| path.len() > kind.len() && path.starts_with(kind)) {
        return;
    }
    let mut text = Vec::with_capacity(path.len());
    let mut parts = path.split(|octet| *octet == b'%');
    text.extend_from_slice(parts.next().unwrap_or_default());
    for part in parts {
        let Some((digits, rest)) = part.split_at_checked(2) else { return };
        let Some(octet) = std::str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok()) else { return };
        text.push(if octet == b' ' { b'_' } else { octet });
        text.extend_from_slice(rest);
    }
    say.text(Who::Sender, Field::WsdScope, &text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::trial::Trial;

    const ANY: Trial = Trial::datagram(40000, 40001);

    fn envelope(action: &str, body: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?><s:Envelope xmlns:d=\"http://schemas.xmlsoap.org/ws/2005/04/discovery\"><s:Header>\
             <a:Action s:mustUnderstand=\"1\">http://schemas.xmlsoap.org/ws/2005/04/discovery/{action}</a:Action></s:Header>\
             <s:Body>{body}</s:Body></s:Envelope>"
        )
    }

    #[test]
    fn an_offer_tells_types_and_the_scopes_of_its_product() {
        let body = "<d:Types>dn:NetworkVideoTransmitter tds:Device</d:Types><d:Scopes>onvif://www.onvif.org/name/Camera%209 \
                    onvif://www.onvif.org/hardware/C-9 onvif://www.onvif.org/location/ward http://other</d:Scopes>";
        let expect = ["type NetworkVideoTransmitter", "type Device", "scope name/Camera_9", "scope hardware/C-9"]
            .map(|line| format!("02:00:00:00:00:01 10.0.0.1 wsd.{line}"));
        ANY.says(read, envelope("Hello", body).as_bytes(), &expect.each_ref().map(String::as_str));
    }

    #[test]
    fn an_answer_makes_a_server_and_a_probe_offers_nothing() {
        let expect = ["02:00:00:00:00:01 10.0.0.1 link.serves wsd", "02:00:00:00:00:02 10.0.0.2 link.uses wsd"];
        ANY.says(read, envelope("ProbeMatches", "<d:Types/>").as_bytes(), &expect);
        ANY.says(read, envelope("Probe", "<d:Types>wsdp:Device</d:Types>").as_bytes(), &[]);
    }

    #[test]
    fn other_envelopes_are_refused() {
        ANY.refuses(read, envelope("Get", "").as_bytes());
        ANY.refuses(read, b"<a>docs.oasis-open.org/ws-dd/ns/discovery/2009/01</a>");
        ANY.refuses(read, b"Hello");
    }
}
