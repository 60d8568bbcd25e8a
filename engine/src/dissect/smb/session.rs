//! Session setup of SMB1 (MS-CIFS section 2.2.4.53, MS-SMB section 2.2.4.6): native system and LAN manager of both ends out.

use super::ntlm::narrow;
use crate::{
    dissect::{Say, Who, reader::Reader},
    observation::Field,
};

/// Flags 2: texts are UTF-16, at even octets of the message.
const HAS_UNICODE: u16 = 0x8000;

/// Says what a session setup says of the end that sent it.
pub fn tell(message: &[u8], is_answer: bool, from: usize, say: &mut Say<'_>) -> Option<()> {
    let mut reader = Reader::new(message);
    reader.skip(10)?;
    let is_unicode = reader.u16_le()? & HAS_UNICODE != 0;
    reader.skip(20)?;
    let words = usize::from(reader.u8()?);
    let mut parameters = reader.part(2 * words)?;
    // Passwords or a token come first; in the oldest form then user and domain, which stay where they are.
    let (token, names) = match (is_answer, words) {
        (true, 3) => (0, 0),
        (true, 4) => {
            parameters.skip(6)?;
            (usize::from(parameters.u16_le()?), 0)
        }
        (false, 12) => {
            parameters.skip(14)?;
            (usize::from(parameters.u16_le()?), 0)
        }
        (false, 13) => {
            parameters.skip(14)?;
            (usize::from(parameters.u16_le()?) + usize::from(parameters.u16_le()?), 2)
        }
        _ => return None,
    };
    let octets = usize::from(reader.u16_le()?);
    let start = 32 + 1 + 2 * words + 2;
    let mut texts = Reader::new(reader.take_up_to(octets));
    texts.skip(token)?;
    if is_unicode && !(start + token).is_multiple_of(2) {
        texts.skip(1)?;
    }
    for _ in 0..names {
        text(&mut texts, is_unicode)?;
    }
    for field in [Field::SmbNativeOs, Field::SmbNativeLanManager] {
        let text = text(&mut texts, is_unicode)?;
        if is_unicode {
            say.text(Who::End(from), field, &narrow(text)?);
        } else {
            say.text(Who::End(from), field, text);
        }
    }
    Some(())
}

/// A text up to the zero that ends it.
fn text<'a>(reader: &mut Reader<'a>, is_unicode: bool) -> Option<&'a [u8]> {
    if !is_unicode {
        return reader.until(0);
    }
    let length = 2 * reader.rest().chunks_exact(2).position(|pair| pair == [0, 0])?;
    let text = reader.take(length)?;
    reader.skip(2)?;
    Some(text)
}
