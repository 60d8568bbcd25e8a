//! Grammars: what a text must look like to leave a parser.

/// The form of a field's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// A word of a closed set, in code.
    Word,
    /// A number.
    Number,
    /// An address.
    Address,
    /// A salted hash.
    Hash,
    /// Labels of letters, digits, `-` and `_`, joined by dots: host and domain names.
    Name,
    /// Letters, digits and `._:,;/+=#*-`: identifiers without blanks, and path templates.
    Token,
    /// Digits and dots: object identifiers.
    Oid,
    /// Printable ASCII: what makers write of their products.
    Label,
}

impl Grammar {
    /// Longest text, octets.
    pub const fn octets_max(self) -> usize {
        match self {
            Self::Word | Self::Number | Self::Address | Self::Hash => 0,
            Self::Name => 253,
            Self::Token => 96,
            Self::Oid => 128,
            Self::Label => 192,
        }
    }

    /// The text without blanks and zeros around it, if it is in this grammar. Nothing is copied.
    pub fn check(self, octets: &[u8]) -> Option<&str> {
        let is_padding = |octet: &u8| matches!(octet, b' ' | b'\t' | b'\r' | b'\n' | 0);
        let first = octets.iter().position(|octet| !is_padding(octet))?;
        let last = octets.iter().rposition(|octet| !is_padding(octet))?;
        let octets = &octets[first..=last];
        let fits = octets.len() <= self.octets_max()
            && match self {
                Self::Word | Self::Number | Self::Address | Self::Hash => false,
                Self::Name => octets.iter().all(|o| o.is_ascii_alphanumeric() || matches!(o, b'.' | b'-' | b'_')),
                Self::Token => octets.iter().all(|o| o.is_ascii_alphanumeric() || b"._:,;/+=#*-".contains(o)),
                Self::Oid => octets.iter().all(|o| o.is_ascii_digit() || *o == b'.'),
                Self::Label => octets.iter().all(|o| (0x20..0x7f).contains(o)),
            };
        if fits { std::str::from_utf8(octets).ok() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammars_let_pass_what_they_describe_and_trim_it() {
        let check =
            |grammar: Grammar, text: &str, expect: Option<&str>| assert_eq!(grammar.check(text.as_bytes()), expect, "{text}");
        check(Grammar::Name, "ct-1.rad.example", Some("ct-1.rad.example"));
        check(Grammar::Name, " ct-1\0\0", Some("ct-1"));
        check(Grammar::Name, "ct 1", None);
        check(Grammar::Token, "1,3,6,15", Some("1,3,6,15"));
        check(Grammar::Token, "a^b", None);
        check(Grammar::Oid, "1.2.840", Some("1.2.840"));
        check(Grammar::Oid, "1.2.x", None);
        check(Grammar::Label, "HP LaserJet 4", Some("HP LaserJet 4"));
        check(Grammar::Label, "a\nb", None);
        check(Grammar::Label, "\u{e9}", None);
        check(Grammar::Label, "  \0", None);
        check(Grammar::Label, &"x".repeat(193), None);
        check(Grammar::Word, "x", None);
    }
}
