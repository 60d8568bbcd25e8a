//! Comma-separated values (RFC 4180) into records, each with the line that it begins on.

use std::{iter::Peekable, str::Chars};

/// Most cells of a record.
const CELLS_MAX: usize = 64;
/// Longest cell, octets.
const CELL_OCTETS_MAX: usize = 4096;

/// One record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Line that it begins on, from 1.
    pub(super) line: u32,
    /// Its cells, without quotes.
    pub(super) cells: Vec<String>,
}

/// What no record can be made of, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    /// Line that the record begins on.
    pub(super) line: u32,
    /// What is wrong with it.
    pub(super) why: &'static str,
}

/// Reads records; ends after the first that is malformed, for what follows cannot be told. Empty lines are no records.
pub(super) struct Records<'t> {
    chars: Peekable<Chars<'t>>,
    line: u32,
}

impl<'t> Records<'t> {
    /// Of a text, with or without a byte order mark.
    pub(super) fn new(text: &'t str) -> Self {
        Self { chars: text.strip_prefix('\u{feff}').unwrap_or(text).chars().peekable(), line: 1 }
    }

    /// The next character; CR LF is one line feed.
    fn next_char(&mut self) -> Option<char> {
        let mut char = self.chars.next();
        if char == Some('\r') && self.chars.peek() == Some(&'\n') {
            char = self.chars.next();
        }
        self.line += u32::from(char == Some('\n'));
        char
    }

    /// A cell, and whether another follows it in its record.
    fn cell(&mut self) -> Result<(String, bool), &'static str> {
        let mut cell = String::new();
        let quoted = self.chars.next_if_eq(&'"').is_some();
        let mut open = quoted;
        loop {
            match self.next_char() {
                Some('"') if open && self.chars.next_if_eq(&'"').is_some() => cell.push('"'),
                Some('"') if open => open = false,
                Some(char) if open => cell.push(char),
                None if open => return Err("a quote is not closed"),
                Some(',') => return Ok((cell, true)),
                Some('\n') | None => return Ok((cell, false)),
                Some('"') => return Err("a quote within a cell; put the cell in quotes and double those within"),
                Some(_) if quoted => return Err("text after a closing quote"),
                Some(char) => cell.push(char),
            }
            if cell.len() > CELL_OCTETS_MAX {
                return Err("a cell is longer than 4096 octets");
            }
        }
    }

    fn record(&mut self) -> Result<Vec<String>, &'static str> {
        let mut cells = Vec::new();
        loop {
            let (cell, more) = self.cell()?;
            cells.push(cell);
            match more {
                false => return Ok(cells),
                true if cells.len() == CELLS_MAX => return Err("more than 64 cells"),
                true => {}
            }
        }
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        while matches!(self.chars.peek(), Some('\n' | '\r')) {
            self.next_char();
        }
        self.chars.peek()?;
        let line = self.line;
        match self.record() {
            Ok(cells) => Some(Ok(Record { line, cells })),
            Err(why) => {
                self.chars = "".chars().peekable();
                Some(Err(Malformed { line, why }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[(u32, &[&str])]) {
        let records: Result<Vec<_>, _> = Records::new(text).collect();
        let expect =
            expect.iter().map(|(line, cells)| Record { line: *line, cells: cells.iter().map(|c| (*c).to_owned()).collect() });
        assert_eq!(records, Ok(expect.collect()), "{text:?}");
    }

    #[test]
    fn records_are_read_as_rfc_4180_has_them() {
        check("", &[]);
        check("\u{feff}a,b\r\n1,2\r\n", &[(1, &["a", "b"]), (2, &["1", "2"])]);
        check("a,b\n\n\r\n1,\n,", &[(1, &["a", "b"]), (4, &["1", ""]), (5, &["", ""])]);
        check("\"a\"\"b\",\"c,\r\nd\"\ne", &[(1, &["a\"b", "c,\nd"]), (3, &["e"])]);
        check("\"\",x", &[(1, &["", "x"])]);
        check(" a , b", &[(1, &[" a ", " b"])]);
    }

    #[test]
    fn what_is_malformed_is_named_by_its_line_and_ends_the_reading() {
        let refused = |text: &str, line, why: &str| {
            let mut records = Records::new(text).skip_while(Result::is_ok);
            let malformed = records.next().unwrap().unwrap_err();
            assert!(malformed.line == line && malformed.why.contains(why), "{text:?}: {malformed:?}");
            assert_eq!(records.next(), None);
        };
        refused("a\n\"b\nc\n", 2, "not closed");
        refused("a\nb\"c\nd", 2, "within a cell");
        refused("\"a\"b\nc", 1, "closing quote");
        refused(&"x".repeat(CELL_OCTETS_MAX + 1), 1, "4096");
        refused(&",".repeat(CELLS_MAX), 1, "64");
        assert!(Records::new(&",".repeat(CELLS_MAX - 1)).all(|record| record.unwrap().cells.len() == CELLS_MAX));
    }

    #[test]
    fn a_text_that_ends_anywhere_is_read_or_refused() {
        let text = "device_id,tags\r\n\"d1\",\"a;\"\"b\"\"\"\r\nd2,c";
        let whole = Records::new(text).count();
        for cut in 0..text.len() {
            assert!(Records::new(&text[..cut]).count() <= whole, "{cut}");
        }
    }
}
