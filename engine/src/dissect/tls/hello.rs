//! Hellos (RFC 8446 section 4.1, RFC 6066 section 3, RFC 7301): octets in; what a client asks for and what a server
//! agreed to out.

use super::ja4;
use crate::{
    dissect::{Say, Who, reader::Reader},
    observation::Field,
};

const SERVER_NAME: u16 = 0;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;

/// A client hello. Values that are there to be ignored (GREASE, RFC 8701) are left out of every list.
#[derive(Debug, Default)]
pub struct ClientHello<'a> {
    /// Newest version that is offered.
    pub version: u16,
    /// Cipher suites, in order.
    pub ciphers: Vec<u16>,
    /// Types of extensions, in order.
    pub extensions: Vec<u16>,
    /// Signature algorithms, in order.
    pub signatures: Vec<u16>,
    /// The name that is asked for.
    pub server_name: Option<&'a [u8]>,
    /// The first application protocol that is offered.
    pub alpn: Option<&'a [u8]>,
    /// All of it is there.
    pub is_whole: bool,
}

impl<'a> ClientHello<'a> {
    /// Reads the body of the message, or what is there of it when it reaches into the extensions. One without any ends behind the
    /// compression methods.
    pub fn read(body: &'a [u8], is_whole: bool) -> Option<Self> {
        let mut reader = Reader::new(body);
        let mut hello = Self { version: reader.u16()?, is_whole, ..Self::default() };
        reader.skip(32)?;
        let session = reader.u8()?;
        reader.skip(session.into())?;
        let ciphers = reader.u16()?;
        hello.ciphers = numbers(reader.part(ciphers.into())?);
        let methods = reader.u8()?;
        reader.skip(methods.into())?;
        let Some(length) = reader.u16() else { return Some(hello) };
        let mut extensions = Reader::new(reader.take_up_to(length.into()));
        while let Some(kind) = extensions.u16() {
            let Some(extension) = extensions.u16().and_then(|length| extensions.part(length.into())) else {
                hello.is_whole = false;
                break;
            };
            if !is_grease(kind) {
                hello.extensions.push(kind);
                hello.extension(kind, extension);
            }
        }
        Some(hello)
    }

    fn extension(&mut self, kind: u16, mut body: Reader<'a>) -> Option<()> {
        match kind {
            SERVER_NAME => {
                // Type 0 of the list's first entry: a host name.
                body.skip(2)?;
                if body.u8()? == 0 {
                    let length = body.u16()?;
                    self.server_name = body.take(length.into());
                }
            }
            ALPN => {
                body.skip(2)?;
                let length = body.u8()?;
                self.alpn = body.take(length.into());
            }
            SIGNATURE_ALGORITHMS => {
                let length = body.u16()?;
                self.signatures = numbers(body.part(length.into())?);
            }
            SUPPORTED_VERSIONS => {
                let length = body.u8()?;
                let newest = numbers(body.part(length.into())?).into_iter().max();
                self.version = newest.unwrap_or(self.version);
            }
            _ => {}
        }
        Some(())
    }

    /// Says what it asks for.
    pub fn tell(&self, from: usize, for_another: bool, say: &mut Say<'_>) {
        if let Some(name) = self.server_name {
            say.text(Who::End(from), Field::TlsServerName, name);
            if !for_another {
                say.text(Who::End(1 - from), Field::TlsServedName, name);
            }
        }
        if let Some(alpn) = self.alpn {
            say.text(Who::End(from), Field::TlsAlpn, alpn);
        }
        if self.is_whole {
            say.text(Who::End(from), Field::TlsJa4, ja4::fingerprint(self).as_bytes());
        }
    }
}

/// A list of numbers of two octets, without those that are to be ignored.
fn numbers(mut list: Reader<'_>) -> Vec<u16> {
    std::iter::from_fn(|| list.u16()).filter(|number| !is_grease(*number)).collect()
}

/// A value of RFC 8701: `0x?a?a` with both digits alike.
const fn is_grease(number: u16) -> bool {
    number & 0x0f0f == 0x0a0a && number >> 8 == number & 0xff
}

/// The version that the body of a server hello agrees to.
pub fn server_version(body: &[u8]) -> Option<&'static str> {
    let mut reader = Reader::new(body);
    let mut version = reader.u16()?;
    reader.skip(32)?;
    let session = reader.u8()?;
    reader.skip(usize::from(session) + 3)?;
    if let Some(length) = reader.u16() {
        let mut extensions = reader.part(length.into())?;
        while let Some(kind) = extensions.u16() {
            let length = extensions.u16()?;
            let mut extension = extensions.part(length.into())?;
            if kind == SUPPORTED_VERSIONS {
                version = extension.u16()?;
            }
        }
    }
    match version {
        0x0300 => Some("ssl3"),
        0x0301 => Some("1.0"),
        0x0302 => Some("1.1"),
        0x0303 => Some("1.2"),
        // Drafts of it.
        0x0304 | 0x7f00..=0x7fff => Some("1.3"),
        _ => None,
    }
}
