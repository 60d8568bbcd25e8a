//! Application messages of the scene, as octets that parsers of the protocols accept. Names and values are invented.

pub(super) mod dicom;
pub(super) mod health;
pub(super) mod link;
pub(super) mod name;
pub(super) mod network;
pub(super) mod service;
pub(super) mod thing;
pub(super) mod tls;

/// Big-endian writing.
pub(super) trait Put {
    fn u8(&mut self, value: u8) -> &mut Self;
    fn u16(&mut self, value: u16) -> &mut Self;
    fn u32(&mut self, value: u32) -> &mut Self;
    fn all(&mut self, octets: impl AsRef<[u8]>) -> &mut Self;
}

impl Put for Vec<u8> {
    fn u8(&mut self, value: u8) -> &mut Self {
        self.push(value);
        self
    }
    fn u16(&mut self, value: u16) -> &mut Self {
        self.extend(value.to_be_bytes());
        self
    }
    fn u32(&mut self, value: u32) -> &mut Self {
        self.extend(value.to_be_bytes());
        self
    }
    fn all(&mut self, octets: impl AsRef<[u8]>) -> &mut Self {
        self.extend_from_slice(octets.as_ref());
        self
    }
}

/// Octets behind their length in two octets.
fn with_u16(octets: &[u8]) -> Vec<u8> {
    [&(octets.len() as u16).to_be_bytes(), octets].concat()
}

/// Octets behind their length in three octets.
fn with_u24(octets: &[u8]) -> Vec<u8> {
    [&(octets.len() as u32).to_be_bytes()[1..], octets].concat()
}

/// A BER/DER element (X.690 §8.1) of definite length.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        short @ 0..0x80 => out.push(short as u8),
        medium @ 0x80..0x100 => out.extend([0x81, medium as u8]),
        long => out.extend([0x82, (long >> 8) as u8, long as u8]),
    }
    out.extend(content);
    out
}

/// A BER/DER element of other elements.
fn nest(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    element(tag, &parts.concat())
}

/// A non-negative INTEGER.
fn integer(value: u32) -> Vec<u8> {
    let octets = value.to_be_bytes();
    let skip = octets.iter().take(3).take_while(|octet| **octet == 0).count();
    let lead: &[u8] = if octets[skip] >= 0x80 { &[0] } else { &[] };
    element(2, &[lead, &octets[skip..]].concat())
}
