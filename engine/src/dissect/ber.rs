//! BER (X.690) as SNMP uses it: definite lengths, single-octet tags, object identifiers of 32-bit arcs.

use std::fmt::Write;

use super::reader::Reader;

/// Tag of an integer.
pub const INTEGER: u8 = 0x02;
/// Tag of an octet string.
pub const OCTETS: u8 = 0x04;
/// Tag of an object identifier.
pub const OID: u8 = 0x06;
/// Tag of a sequence.
pub const SEQUENCE: u8 = 0x30;

/// Arcs of an object identifier that are kept; RFC 3416 allows 128, the fields need fewer.
const ARCS_MAX: usize = 40;

/// Elements that are read one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Ber<'a> {
    octets: Reader<'a>,
    /// Nothing was cut off behind the octets.
    whole: bool,
}

impl<'a> Ber<'a> {
    /// At the start of `octets`, which may be cut off when not `whole`.
    pub const fn new(octets: &'a [u8], whole: bool) -> Self {
        Self { octets: Reader::new(octets), whole }
    }

    /// Tag of the next element.
    pub fn tag(&self) -> Option<u8> {
        self.octets.rest().first().copied()
    }

    fn length(&mut self) -> Option<usize> {
        match self.octets.u8()? {
            short @ 0..=0x7f => Some(short.into()),
            long @ 0x81..=0x84 => {
                let octets = self.octets.take(usize::from(long & 0x7f))?;
                Some(octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)))
            }
            _ => None,
        }
    }

    /// The next element, complete: its tag and content.
    pub fn element(&mut self) -> Option<(u8, &'a [u8])> {
        let tag = self.octets.u8()?;
        let length = self.length()?;
        Some((tag, self.octets.take(length)?))
    }

    /// The content of the next element, if its tag is `tag`.
    pub fn content(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.tag()? != tag {
            return None;
        }
        self.element().map(|(_, content)| content)
    }

    /// The elements inside the next one, if its tag is `tag`. What was cut off may be missing at its end.
    pub fn inside(&mut self, tag: u8) -> Option<Self> {
        if self.tag()? != tag {
            return None;
        }
        self.octets.u8()?;
        let length = self.length()?;
        let fits = length <= self.octets.len();
        if !fits && self.whole {
            return None;
        }
        Some(Self { octets: Reader::new(self.octets.take_up_to(length)), whole: fits })
    }

    /// A small integer that is not negative.
    pub fn number(&mut self) -> Option<u32> {
        let octets = self.content(INTEGER)?;
        let octets = if octets.len() == 5 { octets.strip_prefix(&[0])? } else { octets };
        if octets.is_empty() || octets.len() > 4 {
            return None;
        }
        Some(octets.iter().fold(0, |number, octet| number << 8 | u32::from(*octet)))
    }
}

/// An object identifier.
#[derive(Clone, Copy, Debug)]
pub struct Oid {
    arcs: [u32; ARCS_MAX],
    count: usize,
}

impl Oid {
    /// The content of an element; `None` when an arc is open, padded or wider than 32 bits, or there are too many.
    pub fn read(content: &[u8]) -> Option<Self> {
        let mut oid = Self { arcs: [0; ARCS_MAX], count: 0 };
        let mut arc: u32 = 0;
        let mut is_open = false;
        for octet in content {
            if !is_open && *octet == 0x80 {
                return None;
            }
            arc = arc.checked_mul(128)?.checked_add(u32::from(octet & 0x7f))?;
            is_open = octet & 0x80 != 0;
            if is_open {
                continue;
            }
            if oid.count == 0 {
                let first = (arc / 40).min(2);
                oid.push(first)?;
                arc -= 40 * first;
            }
            oid.push(arc)?;
            arc = 0;
        }
        (!is_open && oid.count > 0).then_some(oid)
    }

    fn push(&mut self, arc: u32) -> Option<()> {
        *self.arcs.get_mut(self.count)? = arc;
        self.count += 1;
        Some(())
    }

    /// Its arcs.
    pub fn arcs(&self) -> &[u32] {
        self.arcs.get(..self.count).unwrap_or_default()
    }

    /// The arc behind iso.org.dod.internet.private.enterprises.
    pub fn enterprise(&self) -> Option<u32> {
        self.arcs().strip_prefix(&[1, 3, 6, 1, 4, 1])?.first().copied()
    }

    /// Its arcs in decimal, joined by dots.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (place, arc) in self.arcs().iter().enumerate() {
            let dot = if place == 0 { "" } else { "." };
            // Writing to a string cannot fail.
            let _ = write!(text, "{dot}{arc}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_in_every_form_of_length() {
        let mut ber = Ber::new(&[0x02, 0x01, 5, 0x02, 0x81, 1, 6, 0x02, 0x84, 0, 0, 0, 1, 7, 0x02, 0x80], true);
        assert_eq!([ber.number(), ber.number(), ber.number(), ber.number()], [Some(5), Some(6), Some(7), None]);
        assert_eq!(Ber::new(&[0x04, 3, 1, 2], true).content(OCTETS), None);
        assert!(Ber::new(&[0x30, 3, 1, 2], true).inside(SEQUENCE).is_none());
        assert_eq!(Ber::new(&[0x30, 3, 1, 2], false).inside(SEQUENCE).and_then(|inside| inside.tag()), Some(1));
        assert_eq!(Ber::new(&[0x02, 5, 0, 0xff, 0xff, 0xff, 0xff], true).number(), Some(u32::MAX));
    }

    #[test]
    fn object_identifiers_are_strict() {
        let oid = Oid::read(&[0x2b, 6, 1, 4, 1, 0x82, 0x37, 1]).expect("good");
        assert_eq!((oid.text().as_str(), oid.enterprise()), ("1.3.6.1.4.1.311.1", Some(311)));
        for bad in [&[][..], &[0x2b, 0x82], &[0x2b, 0x80, 1], &[0x2b, 0x9f, 0xff, 0xff, 0xff, 0xff, 1], &[1; 64]] {
            assert!(Oid::read(bad).is_none(), "{bad:?}");
        }
    }
}
