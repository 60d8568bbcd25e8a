//! Messages of a start line, header lines and a body of `Content-Length` octets, as SIP (RFC 3261) and RTSP (RFC 2326) send them.

use super::reader::{self, Reader};

/// Longest start line and header lines together.
const HEAD_MAX: usize = 8 << 10;

/// Start line and header lines of a message.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The first line.
    pub start: &'a [u8],
    lines: &'a [u8],
}

impl<'a> Head<'a> {
    /// The head that `octets` begin with and its length, empty line included; `None` while that has not come. `Err`: it never
    /// will.
    pub fn read(octets: &'a [u8]) -> Result<Option<(Self, usize)>, ()> {
        let end = octets.get(..octets.len().min(HEAD_MAX)).and_then(|head| reader::find(head, b"\r\n\r\n"));
        match end {
            Some(end) => Ok(octets.get(..end).map(|head| (Self::of(head), end + 4))),
            None if octets.len() >= HEAD_MAX => Err(()),
            None => Ok(None),
        }
    }

    /// All complete lines of `octets` up to an empty one, whether that is there or not.
    pub fn of_part(octets: &'a [u8], whole: bool) -> Self {
        let end = match reader::find(octets, b"\r\n\r\n") {
            Some(end) => end,
            None if whole => octets.len(),
            None => octets.windows(2).rposition(|pair| pair == b"\r\n").unwrap_or(0),
        };
        Self::of(octets.get(..end).unwrap_or_default())
    }

    fn of(head: &'a [u8]) -> Self {
        let mut lines = Reader::new(head);
        Self { start: lines.line().unwrap_or_default(), lines: lines.rest() }
    }

    /// Values of the headers of that name, in order.
    pub fn values<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let mut lines = Reader::new(self.lines);
        std::iter::from_fn(move || lines.line()).filter_map(move |line| reader::header(line, name))
    }

    /// Value of the first header of that name.
    pub fn value(&self, name: &str) -> Option<&'a [u8]> {
        self.values(name).next()
    }

    /// Octets of the body.
    pub fn body_octets(&self, short_name: &str) -> usize {
        let value = self.value("Content-Length").or_else(|| self.value(short_name));
        value.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).unwrap_or(0)
    }
}

/// The octets of one direction: heads to read, bodies to leave out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Way {
    body_left: usize,
}

impl Way {
    /// How much of `octets` is still a body and is to be left out; zero when a head comes next.
    pub fn body(&mut self, octets: &[u8]) -> usize {
        let count = self.body_left.min(octets.len());
        self.body_left -= count;
        count
    }

    /// A body of so many octets follows.
    pub const fn expect(&mut self, octets: usize) {
        self.body_left = octets;
    }
}

/// The quoted `realm` of an authentication challenge.
pub fn realm(challenge: &[u8]) -> Option<&[u8]> {
    let from = reader::find(challenge, b"realm=\"")? + b"realm=\"".len();
    Reader::new(challenge.get(from..)?).until(b'"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_end_with_an_empty_line() {
        let message = b"A b C/1\r\nX: 1\r\nx: 2\r\nl: 3\r\n\r\nabc";
        let (head, octets) = Head::read(message).expect("may come").expect("is there");
        assert_eq!((head.start, octets, head.body_octets("l")), (&b"A b C/1"[..], message.len() - 3, 3));
        assert_eq!(head.values("x").collect::<Vec<_>>(), [b"1", b"2"]);
        assert!(Head::read(&message[..20]).expect("may come").is_none());
        assert!(Head::read(&[b'a'; HEAD_MAX]).is_err());
        assert_eq!(Head::of_part(b"A\r\nX: 1\r\nY: 2", false).value("Y"), None);
        assert_eq!(Head::of_part(b"A\r\nX: 1\r\nY: 2", true).value("Y"), Some(&b"2"[..]));
    }

    #[test]
    fn realms_are_quoted() {
        assert_eq!(realm(b"Digest realm=\"Cam 1\", nonce=\"x\""), Some(&b"Cam 1"[..]));
        assert_eq!(realm(b"Digest realm=\"Cam"), None);
        assert_eq!(realm(b"Basic"), None);
    }
}
