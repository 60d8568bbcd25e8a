//! Tags of BACnet's encoding (ASHRAE 135 clause 20.2).

use super::super::reader::Reader;

/// What a tag begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag<'a> {
    /// A value of an application type.
    Application(u8, &'a [u8]),
    /// A value whose type its place tells.
    Context(u8, &'a [u8]),
    /// The begin of a list.
    Opening(u8),
    /// The end of a list.
    Closing(u8),
}

/// The application type of an unsigned integer.
pub const UNSIGNED: u8 = 2;
/// The application type of a character string.
pub const TEXT: u8 = 7;
/// The application type of an enumeration.
pub const ENUMERATED: u8 = 9;
/// The application type of an object identifier.
pub const OBJECT: u8 = 12;

/// Reads a tag and, unless it is a list's, its value.
pub fn next<'a>(reader: &mut Reader<'a>) -> Option<Tag<'a>> {
    let first = reader.u8()?;
    let number = if first >> 4 == 15 { reader.u8()? } else { first >> 4 };
    let is_context = first & 8 != 0;
    let octets = match (first & 7, is_context) {
        (6, true) => return Some(Tag::Opening(number)),
        (7, true) => return Some(Tag::Closing(number)),
        (6 | 7, false) => return None,
        // The value of a boolean is in the place of its length.
        (_, false) if number == 1 => 0,
        (5, _) => match reader.u8()? {
            254 => reader.u16()?.into(),
            255 => reader.u32()? as usize,
            octets => octets.into(),
        },
        (octets, _) => octets.into(),
    };
    let value = reader.take(octets)?;
    Some(if is_context { Tag::Context(number, value) } else { Tag::Application(number, value) })
}

/// The next value, if its context is `number`.
pub fn context<'a>(reader: &mut Reader<'a>, number: u8) -> Option<&'a [u8]> {
    let mut ahead = *reader;
    let Some(Tag::Context(found, value)) = next(&mut ahead) else { return None };
    *reader = ahead;
    (found == number).then_some(value)
}

/// The next value, if its application type is `number`.
pub fn application<'a>(reader: &mut Reader<'a>, number: u8) -> Option<&'a [u8]> {
    match next(reader)? {
        Tag::Application(found, value) if found == number => Some(value),
        _ => None,
    }
}

/// An unsigned integer of one to four octets.
pub fn unsigned(value: &[u8]) -> Option<u32> {
    let fits = (1..=4).contains(&value.len());
    fits.then(|| value.iter().fold(0, |number, octet| number << 8 | u32::from(*octet)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_have_numbers_and_lengths_of_every_form() {
        let mut reader = Reader::new(&[0x21, 5, 0x0a, 1, 2, 0x3e, 0x3f, 0x75, 2, 0, b'x', 0xfe, 20, 0x11, 0x75, 254, 0, 1, 9]);
        let tags: Vec<Tag<'_>> = std::iter::from_fn(|| next(&mut reader)).collect();
        let expect = [
            Tag::Application(UNSIGNED, &[5][..]),
            Tag::Context(0, &[1, 2]),
            Tag::Opening(3),
            Tag::Closing(3),
            Tag::Application(TEXT, &[0, b'x']),
            Tag::Opening(20),
            Tag::Application(1, &[]),
            Tag::Application(TEXT, &[9]),
        ];
        assert_eq!(tags, expect);
        assert_eq!(next(&mut Reader::new(&[0x75, 9, 1])), None);
        assert_eq!((unsigned(&[1, 0]), unsigned(&[]), unsigned(&[0; 5])), (Some(256), None, None));
    }
}
