//! Certificates (RFC 5280): the first of a server's chain in; whose it is, who issued it and until when out.

use x509_parser::{certificate::X509Certificate, prelude::FromDer, x509::X509Name};

use crate::{
    dissect::{Say, Who, reader::Reader},
    observation::Field,
};

/// The first certificate of a certificate message of TLS 1.2 or older (RFC 5246 section 7.4.2), if it is whole.
pub fn first(message: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(message);
    reader.skip(3)?;
    let length = reader.u24()?;
    reader.take(length as usize)
}

/// Says what a certificate of the end `server` says.
pub fn tell(certificate: &[u8], server: usize, say: &mut Say<'_>) {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return };
    let who = Who::End(server);
    let subject = certificate.subject();
    if let Some(organization) = organization(subject) {
        say.text(who, Field::TlsOrganization, organization);
    }
    if let Some(name) = common_name(subject) {
        say.text(who, Field::TlsCommonName, name);
    }
    if let Some(issuer) = organization(certificate.issuer()).or_else(|| common_name(certificate.issuer())) {
        say.text(who, Field::TlsIssuer, issuer);
    }
    if let Ok(end) = u64::try_from(certificate.validity().not_after.timestamp()) {
        say.number(who, Field::TlsNotAfter, end);
    }
}

fn organization<'a>(name: &'a X509Name<'_>) -> Option<&'a [u8]> {
    name.iter_organization().next().and_then(|attribute| attribute.as_str().ok()).map(str::as_bytes)
}

fn common_name<'a>(name: &'a X509Name<'_>) -> Option<&'a [u8]> {
    name.iter_common_name().next().and_then(|attribute| attribute.as_str().ok()).map(str::as_bytes)
}
