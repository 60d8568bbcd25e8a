//! NTLM messages (MS-NLMP section 2.2): wherever they are in a session setup in; names of machines and versions out.
//!
//! Of an answer the workstation alone is read: user and domain name a person, and what proves the password comes after them.

use zeroize::Zeroizing;

use crate::{
    dissect::{
        Say, Who,
        reader::{Reader, find},
    },
    observation::Field,
};

const SIGNATURE: &[u8] = b"NTLMSSP\0";
const NEGOTIATE: u32 = 1;
const CHALLENGE: u32 = 2;
const AUTHENTICATE: u32 = 3;
const HAS_UNICODE: u32 = 1;
const HAS_VERSION: u32 = 0x0200_0000;
/// Attributes of a challenge (section 2.2.2.1).
const COMPUTER: u16 = 1;
const DOMAIN: u16 = 2;
const DNS_COMPUTER: u16 = 3;
const ATTRIBUTES_MAX: usize = 16;
/// Longest name, octets of UTF-16.
const NAME_MAX: usize = 512;

/// Says what the NTLM message in `octets`, sent by that end, says.
pub fn tell(octets: &[u8], from: usize, say: &mut Say<'_>) {
    if let Some(message) = find(octets, SIGNATURE).and_then(|at| octets.get(at..)) {
        read(message, from, say);
    }
}

fn read(message: &[u8], from: usize, say: &mut Say<'_>) -> Option<()> {
    match number(message, 8)? {
        NEGOTIATE => version(message, 12, 32, from, say),
        CHALLENGE => {
            version(message, 20, 48, from, say);
            attributes(part(message, 40)?, from, say)
        }
        AUTHENTICATE => {
            version(message, 60, 64, from, say);
            let is_unicode = number(message, 60).is_none_or(|flags| flags & HAS_UNICODE != 0);
            let name = part(message, 44)?;
            if is_unicode {
                say.text(Who::End(from), Field::NtlmHost, &narrow(name)?);
            } else {
                say.text(Who::End(from), Field::NtlmHost, name);
            }
            Some(())
        }
        _ => None,
    }
}

fn attributes(list: &[u8], from: usize, say: &mut Say<'_>) -> Option<()> {
    let mut reader = Reader::new(list);
    for _ in 0..ATTRIBUTES_MAX {
        let (kind, length) = (reader.u16_le()?, reader.u16_le()?);
        let value = reader.take(length.into())?;
        let field = match kind {
            0 => break,
            COMPUTER => Field::NtlmHost,
            DOMAIN => Field::NtlmDomain,
            DNS_COMPUTER => Field::NtlmDnsHost,
            _ => continue,
        };
        if let Some(name) = narrow(value) {
            say.text(Who::End(from), field, &name);
        }
    }
    Some(())
}

/// Says the version (section 2.2.2.10) at `at`, if the flags at `flags` say that there is one.
fn version(message: &[u8], flags: usize, at: usize, from: usize, say: &mut Say<'_>) -> Option<()> {
    let mut reader = Reader::new(message.get(at..)?);
    let (major, minor, build) = (reader.u8()?, reader.u8()?, reader.u16_le()?);
    if number(message, flags)? & HAS_VERSION != 0 && major != 0 {
        say.text(Who::End(from), Field::NtlmVersion, format!("{major}.{minor}.{build}").as_bytes());
    }
    Some(())
}

fn number(message: &[u8], at: usize) -> Option<u32> {
    Reader::new(message.get(at..)?).u32_le()
}

/// The octets that length and offset at `at` point to.
fn part(message: &[u8], at: usize) -> Option<&[u8]> {
    let mut reader = Reader::new(message.get(at..)?);
    let length = usize::from(reader.u16_le()?);
    reader.skip(2)?;
    let offset = usize::try_from(reader.u32_le()?).ok()?;
    message.get(offset..)?.get(..length)
}

/// Little-endian UTF-16 as ASCII; `None` when something else is in it, or too much.
pub fn narrow(octets: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if octets.len() > NAME_MAX || !octets.len().is_multiple_of(2) {
        return None;
    }
    let mut text = Zeroizing::new(Vec::with_capacity(octets.len() / 2));
    for pair in octets.chunks_exact(2) {
        let [low @ 0x20..0x7f, 0] = *pair else { return None };
        text.push(low);
    }
    Some(text)
}
