//! TLS 1.2 and 1.3 records (RFC 5246, RFC 8446): hellos, a certificate (RFC 5280), key exchange and ciphertext. Keys, signatures and
//! ciphertext are noise: the scene has to look right to a passive reader, who cannot check them.

use super::{Put, element, integer, nest, with_u16, with_u24};
use crate::scene::random::Random;

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.u16(0x0303).all(with_u16(body));
    out
}

fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &with_u24(body)].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.u16(kind).all(with_u16(body));
    out
}

fn words(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

/// A ClientHello for a server name, offering TLS 1.3 too if asked, in a record of its own.
pub(in super::super) fn client_hello(random: &mut Random, server: &str, modern: bool, session: &[u8]) -> Vec<u8> {
    let ciphers: &[u16] = if modern {
        &[0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030]
    } else {
        &[0xc02c, 0xc02b, 0xc030, 0xc02f, 0xc028, 0xc027, 0x009d, 0x009c, 0x003d, 0x003c]
    };
    let host = [&[0][..], &with_u16(server.as_bytes())].concat();
    let mut extensions = extension(0, &with_u16(&host));
    extensions.all(extension(10, &with_u16(&words(&[0x001d, 0x0017, 0x0018])))).all(extension(11, &[1, 0]));
    extensions.all(extension(13, &with_u16(&words(&[0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501]))));
    extensions.all(extension(23, &[])).all(extension(16, &with_u16(b"\x02h2\x08http/1.1")));
    if modern {
        let share = [&words(&[0x001d])[..], &with_u16(&random.octets(32))].concat();
        extensions.all(extension(43, &[4, 3, 4, 3, 3])).all(extension(45, &[1, 1])).all(extension(51, &with_u16(&share)));
    } else {
        extensions.all(extension(35, &[]));
    }
    let mut body = vec![3, 3];
    body.all(random.octets(32))
        .u8(session.len() as u8)
        .all(session)
        .all(with_u16(&words(ciphers)))
        .all([1, 0])
        .all(with_u16(&extensions));
    record(22, &handshake(1, &body))
}

fn server_hello(random: &mut Random, cipher: u16, session: &[u8], extensions: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.all(random.octets(32)).u8(session.len() as u8).all(session).u16(cipher).u8(0).all(with_u16(extensions));
    handshake(2, &body)
}

/// The server's first flight of TLS 1.2: hello, certificate, key exchange, done.
pub(in super::super) fn server_flight(random: &mut Random, server: &str, maker: &str) -> Vec<u8> {
    let extensions = [extension(0xff01, &[0]), extension(11, &[1, 0]), extension(23, &[])].concat();
    let session = random.octets(32);
    let hello = server_hello(random, 0xc02f, &session, &extensions);
    let chain = with_u24(&with_u24(&certificate(random, server, maker)));
    let mut exchange = vec![3, 0, 0x1d, 32];
    exchange.all(random.octets(32)).u16(0x0804).all(with_u16(&random.octets(256)));
    let flight = [hello, handshake(11, &chain), handshake(12, &exchange), handshake(14, &[])].concat();
    record(22, &flight)
}

/// The client's second flight of TLS 1.2.
pub(in super::super) fn client_finish(random: &mut Random) -> Vec<u8> {
    let key = [&[32][..], &random.octets(32)].concat();
    [record(22, &handshake(16, &key)), finish(random)].concat()
}

/// Change of cipher, and an encrypted Finished.
pub(in super::super) fn finish(random: &mut Random) -> Vec<u8> {
    [record(20, &[1]), record(22, &[&[0; 8][..], &random.octets(32)].concat())].concat()
}

/// The server's flight of TLS 1.3: hello, change of cipher, encrypted handshake.
pub(in super::super) fn modern_flight(random: &mut Random, session: &[u8]) -> Vec<u8> {
    let share = [&words(&[0x001d])[..], &with_u16(&random.octets(32))].concat();
    let extensions = [extension(43, &[3, 4]), extension(51, &share)].concat();
    let hello = server_hello(random, 0x1301, session, &extensions);
    [record(22, &hello), record(20, &[1]), cipher_text(random, 1290)].concat()
}

/// The client's answer in TLS 1.3.
pub(in super::super) fn modern_finish(random: &mut Random) -> Vec<u8> {
    [record(20, &[1]), cipher_text(random, 53)].concat()
}

/// Records of encrypted application octets.
pub(in super::super) fn cipher_text(random: &mut Random, octets: usize) -> Vec<u8> {
    let noise = random.octets(octets);
    noise.chunks(16_384).flat_map(|chunk| record(23, chunk)).collect()
}

const OID_COMMON_NAME: &[u8] = &[0x55, 4, 3];
const OID_ORGANISATION: &[u8] = &[0x55, 4, 10];
const OID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const OID_RSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
const OID_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 17];

/// A self-signed certificate with an arbitrary modulus and signature.
fn certificate(random: &mut Random, server: &str, maker: &str) -> Vec<u8> {
    const SEQUENCE: u8 = 0x30;
    let algorithm = |oid| nest(SEQUENCE, &[element(6, oid), element(5, &[])]);
    let attribute = |oid, text: &str| nest(0x31, &[nest(SEQUENCE, &[element(6, oid), element(12, text.as_bytes())])]);
    let name = nest(SEQUENCE, &[attribute(OID_ORGANISATION, maker), attribute(OID_COMMON_NAME, server)]);
    let validity = nest(SEQUENCE, &[element(23, b"250101000000Z"), element(23, b"350101000000Z")]);
    let mut modulus = random.octets(256);
    (modulus[0], modulus[255]) = (modulus[0] | 0x80, modulus[255] | 1);
    let rsa = nest(SEQUENCE, &[element(2, &[&[0][..], &modulus].concat()), integer(65_537)]);
    let key = nest(SEQUENCE, &[algorithm(OID_RSA), element(3, &[&[0][..], &rsa].concat())]);
    let alternative = nest(SEQUENCE, &[element(0x82, server.as_bytes())]);
    let extension = nest(SEQUENCE, &[element(6, OID_ALTERNATIVE_NAME), element(4, &alternative)]);
    let body = nest(
        SEQUENCE,
        &[
            nest(0xa0, &[integer(2)]),
            integer(random.next() as u32 >> 1),
            algorithm(OID_RSA_SHA256),
            name.clone(),
            validity,
            name,
            key,
            nest(0xa3, &[nest(SEQUENCE, &[extension])]),
        ],
    );
    let signature = [&[0][..], &random.octets(256)].concat();
    nest(SEQUENCE, &[body, algorithm(OID_RSA_SHA256), element(3, &signature)])
}
