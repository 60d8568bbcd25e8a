//! A door to hostile octets: every read says whether there was something to read, and none can leave the slice.

/// Octets that are being read, first to last.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// At the start of `octets`.
    pub const fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    /// What is left.
    pub const fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Octets left.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `count` octets.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// The next `count` octets, or as many as there are.
    pub fn take_up_to(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// The next octets as an array.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    /// Leaves out `count` octets.
    pub fn skip(&mut self, count: usize) -> Option<()> {
        self.take(count).map(|_| ())
    }

    /// One octet.
    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[octet]| octet)
    }

    /// Two octets, network order.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// Two octets, little endian.
    pub fn u16_le(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Three octets, network order.
    pub fn u24(&mut self) -> Option<u32> {
        self.array().map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// Four octets, network order.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Four octets, little endian.
    pub fn u32_le(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// A reader of the next `count` octets; this one goes on behind them.
    pub fn part(&mut self, count: usize) -> Option<Self> {
        self.take(count).map(Self)
    }

    /// The octets up to `end`, which is left out, too; `None` when it does not come.
    pub fn until(&mut self, end: u8) -> Option<&'a [u8]> {
        let at = self.0.iter().position(|octet| *octet == end)?;
        let taken = &self.0[..at];
        self.0 = &self.0[at + 1..];
        Some(taken)
    }

    /// A line without its LF or CR LF; the last one may lack them.
    pub fn line(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let line = match self.until(b'\n') {
            Some(line) => line,
            None => self.take_up_to(usize::MAX),
        };
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

/// Digits of octets in lower-case hexadecimal.
pub fn hex(octets: &[u8]) -> String {
    octets.iter().flat_map(|octet| [octet >> 4, octet & 15]).filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// The value of a `name: value` line whose name is `name`, in any case, without blanks around it.
pub fn header<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let (head, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    head.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
}

/// Where `what` first is in `octets`.
pub fn find(octets: &[u8], what: &[u8]) -> Option<usize> {
    octets.windows(what.len().max(1)).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_behind_the_end() {
        let mut reader = Reader::new(&[1, 2, 3, 4, 5]);
        assert_eq!(reader.u16(), Some(0x0102));
        assert_eq!(reader.u32(), None);
        assert_eq!(reader.u24(), Some(0x03_0405));
        assert!(reader.is_empty() && reader.u8().is_none() && reader.take(1).is_none() && reader.line().is_none());
    }

    #[test]
    fn lines_end_as_they_like() {
        let mut reader = Reader::new(b"a\r\nb\n\nc");
        let lines: Vec<&[u8]> = std::iter::from_fn(|| reader.line()).collect();
        assert_eq!(lines, [&b"a"[..], b"b", b"", b"c"]);
        assert_eq!(header(b"sErver:  x ", "Server"), Some(&b"x"[..]));
        assert_eq!(header(b"Servers: x", "Server"), None);
    }
}
