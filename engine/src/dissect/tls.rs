//! TLS (RFC 8446, 5246, 6066): hellos and certificates in; names, versions, fingerprints and who certified whom out.
//!
//! Handshake messages are put together across records and segments. Of the client its hello alone is read, so that no
//! certificate of a person is; of the server its hello, and up to TLS 1.2 the first certificate of its chain, as soon as
//! its subject is there.

mod certificate;
mod hello;
mod ja4;

use zeroize::Zeroize;

use self::hello::{ClientHello, server_version};
use super::{Conversation, Lead, Opening, Say, Step, Who, reader::Reader};
use crate::observation::{Field, Protocol};

/// Longest handshake message that is read, octets.
const MESSAGE_MAX: usize = 12 << 10;
/// Longest record (RFC 5246 section 6.2.3), octets.
const RECORD_MAX: u16 = (1 << 14) + 2048;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const CERTIFICATE: u8 = 11;
const SERVER_HELLO_DONE: u8 = 14;
const HANDSHAKE: u8 = 22;

/// Whether an opening is a record with a hello.
pub fn open(lead: &Lead<'_>) -> Opening {
    match begins(lead.octets) {
        Some(true) => Opening::Yes(Box::new(Tls::default())),
        Some(false) => Opening::No,
        None => lead.more(),
    }
}

/// Whether octets begin with a hello's record; `None`: more must come first.
pub fn begins(octets: &[u8]) -> Option<bool> {
    let mut reader = Reader::new(octets);
    let is_record = |kind: u8, major: u8| kind == HANDSHAKE && major == 3;
    let (Some(kind), Some(major)) = (reader.u8(), reader.u8()) else {
        return octets.iter().zip([HANDSHAKE, 3]).any(|(a, b)| *a != b).then_some(false);
    };
    if !is_record(kind, major) {
        return Some(false);
    }
    let minor = reader.u8()?;
    let length = reader.u16()?;
    let is_hello = matches!(reader.u8()?, CLIENT_HELLO | SERVER_HELLO);
    Some(minor <= 4 && (4..=RECORD_MAX).contains(&length) && is_hello)
}

/// One direction.
#[derive(Default)]
struct Way {
    has_begun: bool,
    /// Octets of the record at hand that are to come.
    record_left: usize,
    /// Octets of the message at hand that are left out.
    skip: usize,
    /// What is there of the message at hand.
    message: Vec<u8>,
}

impl Drop for Way {
    fn drop(&mut self) {
        self.message.zeroize();
    }
}

/// A connection.
#[derive(Default)]
pub struct Tls {
    ways: [Way; 2],
    /// A proxy carries it: the end that answers is not who is asked.
    for_another: bool,
    version: Option<&'static str>,
}

impl Tls {
    /// A connection that a proxy carries for its client.
    pub fn for_another() -> Self {
        Self { for_another: true, ..Self::default() }
    }

    /// A record of that direction was met.
    pub fn has_begun(&self, from: usize) -> bool {
        self.ways[from & 1].has_begun
    }
}

impl Conversation for Tls {
    fn read(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> Step {
        let way = &mut self.ways[from & 1];
        if way.record_left == 0 {
            let mut reader = Reader::new(octets);
            let (Some(kind), Some(version), Some(length)) = (reader.u8(), reader.u16(), reader.u16()) else {
                return Step::Read(0);
            };
            // What is behind the hellos is encrypted, or about to be.
            if kind != HANDSHAKE || version >> 8 != 3 || length > RECORD_MAX {
                return Step::Enough;
            }
            way.has_begun = true;
            way.record_left = length.into();
            return Step::Read(5);
        }
        let there = way.record_left.min(octets.len());
        way.record_left -= there;
        if self.messages(from, &octets[..there], say) { Step::Read(there) } else { Step::Enough }
    }
}

impl Tls {
    /// Takes octets of handshake messages; whether more of them tell something.
    fn messages(&mut self, from: usize, octets: &[u8], say: &mut Say<'_>) -> bool {
        let way = &mut self.ways[from & 1];
        let mut reader = Reader::new(octets);
        way.skip -= reader.take_up_to(way.skip).len();
        let rest = reader.rest();
        if way.message.len() + rest.len() > MESSAGE_MAX {
            return false;
        }
        append(&mut way.message, rest);
        loop {
            let way = &mut self.ways[from & 1];
            let mut reader = Reader::new(&way.message);
            let (Some(kind), Some(length)) = (reader.u8(), reader.u24()) else { return true };
            let length = length as usize;
            let is_whole = reader.len() >= length;
            let octets = 4 + length;
            let body = reader.take_up_to(length);
            match kind {
                // A sample may cut it: what it asks for is said as soon as that is there.
                CLIENT_HELLO => {
                    if let Some(hello) = ClientHello::read(body, is_whole) {
                        hello.tell(from, self.for_another, say);
                    }
                    return !is_whole && length < MESSAGE_MAX;
                }
                SERVER_HELLO if is_whole => {
                    self.version = server_version(body);
                    if !self.for_another {
                        say.serves(from, Protocol::Tls);
                        if let Some(version) = self.version {
                            say.word(Who::End(from), Field::TlsVersion, version);
                        }
                    }
                    if matches!(self.version, None | Some("1.3")) || self.for_another {
                        return false;
                    }
                }
                CERTIFICATE if self.version.is_none() => return false,
                CERTIFICATE => {
                    let certificate = certificate::first(body).unwrap_or_default();
                    if certificate::tell(certificate, from, say).is_some() {
                        return false;
                    }
                    return !is_whole;
                }
                SERVER_HELLO => return length < MESSAGE_MAX,
                SERVER_HELLO_DONE => return false,
                _ => {}
            }
            let way = &mut self.ways[from & 1];
            let read = octets.min(way.message.len());
            way.skip = octets - read;
            let mut rest = way.message.split_off(read);
            way.message.zeroize();
            std::mem::swap(&mut way.message, &mut rest);
        }
    }
}

/// Appends; what a vector leaves behind when it grows is zeroed.
fn append(octets: &mut Vec<u8>, more: &[u8]) {
    if octets.capacity() < octets.len() + more.len() {
        let mut larger = Vec::with_capacity((octets.len() + more.len()).next_power_of_two());
        larger.extend_from_slice(octets);
        octets.zeroize();
        *octets = larger;
    }
    octets.extend_from_slice(more);
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
