//! Heads of ASN.1 values in BER (X.690 section 8.1), as LDAP and Kerberos begin with them: octets in; tag and length out.

use super::reader::Reader;

/// SEQUENCE.
pub const SEQUENCE: u8 = 0x30;
/// INTEGER.
pub const INTEGER: u8 = 0x02;

/// Tag and length of the next value. Tags of more than one octet and lengths without end are refused.
pub fn head(reader: &mut Reader<'_>) -> Option<(u8, usize)> {
    let tag = reader.u8()?;
    let length = match reader.u8()? {
        short @ 0..=0x7f => usize::from(short),
        0x81 => usize::from(reader.u8()?),
        0x82 => usize::from(reader.u16()?),
        0x83 => reader.u24()? as usize,
        0x84 => reader.u32()? as usize,
        _ => return None,
    };
    (tag & 0x1f != 0x1f).then_some((tag, length))
}

/// The next value's length, if its tag is `tag`.
pub fn expect(reader: &mut Reader<'_>, tag: u8) -> Option<usize> {
    head(reader).filter(|(there, _)| *there == tag).map(|(_, length)| length)
}

/// The next value, if it is a number that fits.
pub fn number(reader: &mut Reader<'_>) -> Option<u32> {
    let length = expect(reader, INTEGER).filter(|length| (1..=4).contains(length))?;
    reader.take(length)?.iter().try_fold(0u32, |number, octet| Some(number << 8 | u32::from(*octet)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_have_short_and_long_lengths() {
        let check = |octets: &[u8], expect: Option<(u8, usize)>| assert_eq!(head(&mut Reader::new(octets)), expect, "{octets:?}");
        check(&[0x30, 5], Some((0x30, 5)));
        check(&[0x30, 0x84, 0, 1, 0, 0], Some((0x30, 65536)));
        check(&[0x30, 0x84, 0, 1, 0], None);
        check(&[0x30, 0x80], None);
        check(&[0x1f, 5], None);
        assert_eq!(number(&mut Reader::new(&[2, 2, 1, 5])), Some(261));
        assert_eq!(number(&mut Reader::new(&[2, 5, 0, 0, 0, 0, 1])), None);
        assert_eq!(number(&mut Reader::new(&[4, 1, 1])), None);
    }
}
