//! Which rows of a row group hold a value. Many columns are null in the same rows (those without packets in one direction, those
//! that are not TCP), so this is found once for all of them.

use super::layout;

/// The rows with a value, in file order and by page.
pub struct Presence {
    places: Vec<u32>,
    pages: Vec<PagePresence>,
    nullable: bool,
}

/// One page of [`Presence`].
struct PagePresence {
    /// Where the page's values end in all of them.
    end: usize,
    /// Rows with and without a value.
    rows: usize,
    /// By row whether it has a value; nothing when every row has.
    defined: Vec<bool>,
    /// The same as definition levels, as they stand in the page; nothing when the column is never null.
    levels: Vec<u8>,
}

/// A page of a column.
pub struct Page<'a> {
    /// Where in the column's values those of the page are, in file order.
    pub places: &'a [u32],
    /// Rows with and without a value.
    pub rows: usize,
    /// Definition levels as they stand in the page.
    pub levels: &'a [u8],
    defined: &'a [bool],
}

impl Page<'_> {
    /// For each row the place of its value.
    pub fn by_row(&self) -> impl Iterator<Item = Option<u32>> {
        let mut places = self.places.iter().copied();
        (0..self.rows).map(move |row| if self.defined.get(row).is_none_or(|defined| *defined) { places.next() } else { None })
    }
}

impl Presence {
    /// Of columns that are never null.
    fn always(order: &[u32], page_rows: usize) -> Self {
        let mut end = 0;
        let pages = order.chunks(page_rows).map(|rows| {
            end += rows.len();
            PagePresence { end, rows: rows.len(), defined: Vec::new(), levels: Vec::new() }
        });
        Self { pages: pages.collect(), places: order.to_vec(), nullable: false }
    }

    /// Of columns that have values in the `present` rows.
    fn of(present: &[bool], order: &[u32], page_rows: usize) -> Self {
        let mut next = 0;
        let place_of = present.iter().map(|&present| {
            let place = if present { next } else { u32::MAX };
            next += u32::from(present);
            place
        });
        let place_of: Vec<u32> = place_of.collect();
        // Nulls come at random, so a branch on them would be guessed wrong often: every place is noted, and overwritten when there
        // is none. One more takes what follows the last.
        let mut places = vec![0; next as usize + 1];
        let mut end = 0;
        let mut numbers = Vec::with_capacity(page_rows.min(order.len()));
        let pages = order.chunks(page_rows).map(|rows| {
            numbers.clear();
            numbers.extend(rows.iter().map(|&row| {
                let place = place_of[row as usize];
                let defined = place != u32::MAX;
                places[end] = place;
                end += usize::from(defined);
                u32::from(defined)
            }));
            let mut levels = Vec::new();
            level_block(&mut levels, |out| layout::hybrid(&numbers, 1, out));
            PagePresence { end, rows: rows.len(), defined: numbers.iter().map(|&level| level == 1).collect(), levels }
        });
        let pages = pages.collect();
        places.truncate(end);
        Self { places, pages, nullable: true }
    }

    /// Whether a row may have no value.
    pub fn is_nullable(&self) -> bool {
        self.nullable
    }

    /// All places of values, in file order.
    pub fn places(&self) -> &[u32] {
        &self.places
    }

    /// The pages in order.
    pub fn pages(&self) -> impl Iterator<Item = Page<'_>> {
        let mut start = 0;
        self.pages.iter().map(move |page| {
            let places = &self.places[start..page.end];
            start = page.end;
            Page { places, rows: page.rows, levels: &page.levels, defined: &page.defined }
        })
    }

    /// Of a group of columns: which rows have values in them, nothing when all have.
    pub fn of_group(present: &[bool], order: &[u32], page_rows: usize) -> Self {
        if present.is_empty() { Self::always(order, page_rows) } else { Self::of(present, order, page_rows) }
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
