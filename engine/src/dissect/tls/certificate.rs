//! Certificates (RFC 5280 section 4.1): the first of a server's chain in; whose it is, who issued it and until when out.
//!
//! Only the fields up to the subject are read, so that a certificate may be cut behind it.

use x509_parser::{certificate::Validity, prelude::FromDer, x509::X509Name};

use crate::{
    dissect::{Say, Who, asn1, reader::Reader},
    observation::Field,
};

/// Tag of the version, which may lack.
const VERSION: u8 = 0xa0;

/// What is there of the first certificate of a certificate message of TLS 1.2 or older (RFC 5246 section 7.4.2).
pub fn first(message: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(message);
    reader.skip(3)?;
    let length = reader.u24()?;
    Some(reader.take_up_to(length as usize))
}

/// Says what a certificate of the end `server` says; `None`: what says so is not there, or is no certificate.
pub fn tell(certificate: &[u8], server: usize, say: &mut Say<'_>) -> Option<()> {
    let mut reader = Reader::new(certificate);
    asn1::expect(&mut reader, asn1::SEQUENCE)?;
    asn1::expect(&mut reader, asn1::SEQUENCE)?;
    if reader.rest().first() == Some(&VERSION) {
        let (_, length) = asn1::head(&mut reader)?;
        reader.skip(length)?;
    }
    // Serial number and algorithm.
    for tag in [asn1::INTEGER, asn1::SEQUENCE] {
        let length = asn1::expect(&mut reader, tag)?;
        reader.skip(length)?;
    }
    let (rest, issuer) = X509Name::from_der(reader.rest()).ok()?;
    let (rest, validity) = Validity::from_der(rest).ok()?;
    let (_, subject) = X509Name::from_der(rest).ok()?;

    let who = Who::End(server);
    if let Some(organization) = organization(&subject) {
        say.text(who, Field::TlsOrganization, organization);
    }
    if let Some(name) = common_name(&subject) {
        say.text(who, Field::TlsCommonName, name);
    }
    if let Some(issuer) = organization(&issuer).or_else(|| common_name(&issuer)) {
        say.text(who, Field::TlsIssuer, issuer);
    }
    if let Ok(end) = u64::try_from(validity.not_after.timestamp()) {
        say.number(who, Field::TlsNotAfter, end);
    }
    Some(())
}

fn organization<'a>(name: &'a X509Name<'_>) -> Option<&'a [u8]> {
    name.iter_organization().next().and_then(|attribute| attribute.as_str().ok()).map(str::as_bytes)
}

fn common_name<'a>(name: &'a X509Name<'_>) -> Option<&'a [u8]> {
    name.iter_common_name().next().and_then(|attribute| attribute.as_str().ok()).map(str::as_bytes)
}
