//! Which rows of a row group hold a value. Many columns are null in the same rows (those without packets in one direction, those
//! that are not TCP), so this is found once for all of them.

use super::{column::Store, layout};

/// The rows with a value, in file order and by page.
pub struct Presence {
    rows: Vec<u32>,
    pages: Vec<PagePresence>,
}

/// One page of [`Presence`].
struct PagePresence {
    /// Where the page's rows with a value end in all of them.
    end: usize,
    /// Rows with and without a value.
    rows: usize,
    /// Definition levels as they stand in the page; nothing when the column is never null.
    levels: Vec<u8>,
}

/// A page of a column.
pub struct Page<'a> {
    /// Arrival numbers of the rows that hold a value, in file order.
    pub present: &'a [u32],
    /// Rows with and without a value.
    pub rows: usize,
    /// Definition levels as they stand in the page.
    pub levels: &'a [u8],
}

impl Presence {
    /// Of a column with that null map (`None`: never null), rows in `order`, so many to a page.
    fn new(valid: Option<&[bool]>, order: &[u32], page_rows: usize) -> Self {
        let mut presence = Self { rows: Vec::with_capacity(order.len()), pages: Vec::new() };
        let mut defined = Vec::with_capacity(page_rows.min(order.len()));
        for rows in order.chunks(page_rows) {
            let mut levels = Vec::new();
            if let Some(valid) = valid {
                defined.clear();
                defined.extend(rows.iter().map(|&row| u32::from(valid[row as usize])));
                presence.rows.extend(rows.iter().filter(|row| valid[**row as usize]));
                level_block(&mut levels, |out| layout::hybrid(&defined, 1, out));
            } else {
                presence.rows.extend_from_slice(rows);
            }
            presence.pages.push(PagePresence { end: presence.rows.len(), rows: rows.len(), levels });
        }
        presence
    }

    /// All rows with a value.
    pub fn present(&self) -> &[u32] {
        &self.rows
    }

    /// The pages in order.
    pub fn pages(&self) -> impl Iterator<Item = Page<'_>> {
        let mut start = 0;
        self.pages.iter().map(move |page| {
            let present = &self.rows[start..page.end];
            start = page.end;
            Page { present, rows: page.rows, levels: &page.levels }
        })
    }
}

/// Appends levels with their length before them, as data pages of version 1 have them.
pub fn level_block(out: &mut Vec<u8>, levels: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    levels(out);
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// The distinct presences of some columns.
pub struct Presences {
    distinct: Vec<Presence>,
    /// By column.
    which: Vec<usize>,
}

impl Presences {
    /// Finds columns with the same nulls.
    pub fn of(stores: &[Store], order: &[u32], page_rows: usize) -> Self {
        let mut maps: Vec<Option<&[bool]>> = Vec::new();
        let mut distinct = Vec::new();
        let which = stores.iter().map(|store| {
            let valid = store.valid.as_deref();
            maps.iter().position(|known| *known == valid).unwrap_or_else(|| {
                maps.push(valid);
                distinct.push(Presence::new(valid, order, page_rows));
                maps.len() - 1
            })
        });
        let which = which.collect();
        Self { distinct, which }
    }

    /// That of a column.
    pub fn of_column(&self, column: usize) -> &Presence {
        &self.distinct[self.which[column]]
    }
}
