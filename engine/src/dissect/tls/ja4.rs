//! JA4: a client hello in; its fingerprint out, after the published description of the method (FoxIO, BSD 3-Clause).
//!
//! Three parts, joined by `_`: what can be read off (transport, version, whether a name is asked for, numbers of cipher
//! suites and extensions, first application protocol), the hash of the sorted suites, and the hash of the sorted
//! extensions with the signature algorithms as they came. QUIC is not read here: the first letter is always `t`.

use sha2::{Digest, Sha256};

use super::hello::ClientHello;
use crate::dissect::reader::hex;

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
/// Stands for a list without elements.
const NOTHING: &str = "000000000000";

/// The fingerprint of a hello.
pub fn fingerprint(hello: &ClientHello<'_>) -> String {
    let version = match hello.version {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        _ => "00",
    };
    let name = if hello.extensions.contains(&SERVER_NAME) { 'd' } else { 'i' };
    let (ciphers, extensions) = (hello.ciphers.len().min(99), hello.extensions.len().min(99));
    let [first, last] = ends(hello.alpn.unwrap_or_default());

    let suites = list(hello.ciphers.iter().copied(), true);
    let mut third = list(hello.extensions.iter().copied().filter(|kind| !matches!(*kind, SERVER_NAME | ALPN)), true);
    if !third.is_empty() && !hello.signatures.is_empty() {
        third.push('_');
        third.push_str(&list(hello.signatures.iter().copied(), false));
    }
    format!("t{version}{name}{ciphers:02}{extensions:02}{first}{last}_{}_{}", digest(&suites), digest(&third))
}

/// First and last character of an application protocol, or of its hexadecimal digits when one of them is no letter or digit.
fn ends(alpn: &[u8]) -> [char; 2] {
    let (Some(first), Some(last)) = (alpn.first(), alpn.last()) else { return ['0', '0'] };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [(*first).into(), (*last).into()];
    }
    let digit = |digit: u8| char::from_digit(digit.into(), 16).unwrap_or('0');
    [digit(first >> 4), digit(last & 15)]
}

fn list(numbers: impl Iterator<Item = u16>, is_sorted: bool) -> String {
    let mut numbers: Vec<u16> = numbers.collect();
    if is_sorted {
        numbers.sort_unstable();
    }
    numbers.iter().map(|number| format!("{number:04x}")).collect::<Vec<_>>().join(",")
}

fn digest(text: &str) -> String {
    if text.is_empty() {
        return NOTHING.to_owned();
    }
    Sha256::digest(text).get(..6).map_or_else(|| NOTHING.to_owned(), hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the method's description: Chrome 110 with TLS 1.3 and HTTP/2.
    #[test]
    fn the_published_example_has_its_fingerprint() {
        let mut hello = ClientHello {
            version: 0x0304,
            ciphers: vec![
                0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f,
                0x0035,
            ],
            extensions: vec![
                0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012, 0x002b, 0xff01, 0x000b,
                0x000a, 0x0015,
            ],
            signatures: vec![0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601],
            server_name: None,
            alpn: Some(b"h2"),
            is_whole: true,
        };
        assert_eq!(fingerprint(&hello), "t13d1516h2_8daaf6152771_e5627efa2ab1");
        hello.extensions.reverse();
        hello.ciphers.reverse();
        assert_eq!(fingerprint(&hello), "t13d1516h2_8daaf6152771_e5627efa2ab1");
        hello.alpn = Some(b"\xabx\xcd");
        assert!(fingerprint(&hello).starts_with("t13d1516ad_"));
        hello.alpn = Some(b"x");
        assert!(fingerprint(&hello).starts_with("t13d1516xx_"));
    }

    #[test]
    fn what_is_not_there_is_zero() {
        let hello = ClientHello { version: 0x0301, ..ClientHello::default() };
        assert_eq!(fingerprint(&hello), "t10i000000_000000000000_000000000000");
    }
}
