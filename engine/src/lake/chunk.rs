//! Pages into a column chunk in memory: compression, headers, bounds, and the indexes that let readers skip pages.

use std::io;

use bytes::Bytes;
use parquet::{
    basic::{BoundaryOrder, Compression, Encoding, EncodingMask, PageType, Type, ZstdLevel},
    column::{
        page::{CompressedPage, Page, PageWriteSpec, PageWriter},
        writer::ColumnCloseResult,
    },
    data_type::ByteArray,
    errors::{ParquetError, Result},
    file::{
        metadata::{ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats},
        statistics::Statistics,
        writer::{SerializedPageWriter, TrackedWrite},
    },
    schema::types::ColumnDescPtr,
};
use zstd::{bulk::Compressor, zstd_safe::compress_bound};

/// A value that bounds others.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub enum Bound {
    /// A flag.
    Flag(bool),
    /// An unsigned integer of 8, 16 or 32 bits.
    Unsigned(u32),
    /// A signed integer of 64 bits, or a time.
    Signed(i64),
    /// A real number, not NaN.
    Real(f64),
    /// A string, by octet.
    Text(String),
}

impl Bound {
    /// As it stands in the column index: PLAIN, strings without their length.
    fn octets(&self) -> Vec<u8> {
        match self {
            Self::Flag(flag) => vec![u8::from(*flag)],
            Self::Unsigned(number) => number.to_le_bytes().to_vec(),
            Self::Signed(number) => number.to_le_bytes().to_vec(),
            Self::Real(number) => number.to_le_bytes().to_vec(),
            Self::Text(text) => text.as_bytes().to_vec(),
        }
    }
}

/// Least and greatest value of a page or chunk. Bounds of one column are of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    least: Bound,
    greatest: Bound,
}

impl Bounds {
    /// From the least and the greatest value.
    pub fn new<T>((least, greatest): (T, T), bound: impl Fn(T) -> Bound) -> Self {
        Self { least: bound(least), greatest: bound(greatest) }
    }

    /// Of real numbers. A zero bounds zeros of either sign, as the format wants it.
    pub fn real(least: f64, greatest: f64) -> Self {
        let zero = |number: f64, zero: f64| if number == 0.0 { zero } else { number };
        Self::new((zero(least, -0.0), zero(greatest, 0.0)), Bound::Real)
    }

    /// Widens the bounds to those of more values.
    fn widen(&mut self, more: &Self) {
        if more.least < self.least {
            self.least = more.least.clone();
        }
        if more.greatest > self.greatest {
            self.greatest = more.greatest.clone();
        }
    }

    /// Neither bound is before that of the page before.
    fn follow(&self, before: &Self) -> bool {
        self.least >= before.least && self.greatest >= before.greatest
    }

    fn statistics(&self, nulls: u64) -> Option<Statistics> {
        let nulls = Some(nulls);
        Some(match (&self.least, &self.greatest) {
            (Bound::Flag(a), Bound::Flag(b)) => Statistics::boolean(Some(*a), Some(*b), None, nulls, false),
            (Bound::Unsigned(a), Bound::Unsigned(b)) => {
                Statistics::int32(Some(a.cast_signed()), Some(b.cast_signed()), None, nulls, false)
            }
            (Bound::Signed(a), Bound::Signed(b)) => Statistics::int64(Some(*a), Some(*b), None, nulls, false),
            (Bound::Real(a), Bound::Real(b)) => Statistics::double(Some(*a), Some(*b), None, nulls, false),
            (Bound::Text(a), Bound::Text(b)) => {
                let text = |text: &str| Some(ByteArray::from(text.as_bytes().to_vec()));
                Statistics::byte_array(text(a), text(b), None, nulls, false)
            }
            _ => return None,
        })
    }
}

/// What a data page says of itself.
pub struct PageFacts {
    /// Layout of the values.
    pub encoding: Encoding,
    /// Rows.
    pub rows: usize,
    /// Values, nulls and empty lists counted as one each.
    pub values: usize,
    /// Values that are null.
    pub nulls: usize,
    /// Bounds of those that are not, in a column that has an order.
    pub bounds: Option<Bounds>,
}

/// zstd with a context and a buffer that are used again.
pub struct Press {
    compressor: Compressor<'static>,
    pressed: Vec<u8>,
}

impl Press {
    /// At that level.
    pub fn new(level: i32) -> io::Result<Self> {
        Ok(Self { compressor: Compressor::new(level)?, pressed: Vec::new() })
    }

    fn press(&mut self, octets: &[u8]) -> io::Result<Bytes> {
        self.pressed.clear();
        self.pressed.reserve(compress_bound(octets.len()));
        self.compressor.compress_to_buffer(octets, &mut self.pressed)?;
        Ok(Bytes::copy_from_slice(&self.pressed))
    }
}

/// A whole column chunk in memory, before it has its place in the file.
pub struct Chunk {
    /// Its pages with their headers.
    pub octets: Bytes,
    /// What the file says of it.
    pub closed: ColumnCloseResult,
}

/// A column chunk in the making.
pub struct ChunkWriter<'a> {
    column: &'a ColumnDescPtr,
    press: &'a mut Press,
    sink: TrackedWrite<Vec<u8>>,
    uncompressed: usize,
    dictionary_at: Option<i64>,
    data_at: Option<i64>,
    values: usize,
    nulls: usize,
    rows: usize,
    encodings: Vec<PageEncodingStats>,
    bounds: Option<Bounds>,
    before: Option<Bounds>,
    ascending: bool,
    columns: Option<ColumnIndexBuilder>,
    offsets: OffsetIndexBuilder,
}

impl<'a> ChunkWriter<'a> {
    /// An empty chunk. Only a column that is `ordered` has bounds.
    pub fn new(column: &'a ColumnDescPtr, ordered: bool, press: &'a mut Press) -> Self {
        Self {
            column,
            press,
            sink: TrackedWrite::new(Vec::new()),
            uncompressed: 0,
            dictionary_at: None,
            data_at: None,
            values: 0,
            nulls: 0,
            rows: 0,
            encodings: Vec::new(),
            bounds: None,
            before: None,
            ascending: true,
            columns: ordered.then(|| ColumnIndexBuilder::new(column.physical_type())),
            offsets: OffsetIndexBuilder::new(),
        }
    }

    /// The dictionary page, before any data page: PLAIN values.
    pub fn dictionary(&mut self, octets: &[u8], values: usize) -> Result<()> {
        let buf = self.press.press(octets)?;
        let page = Page::DictionaryPage { buf, num_values: values as u32, encoding: Encoding::PLAIN, is_sorted: false };
        let written = self.write(page, octets.len())?;
        self.dictionary_at = Some(written.offset as i64);
        self.note(PageType::DICTIONARY_PAGE, Encoding::PLAIN);
        Ok(())
    }

    /// A data page of version 1: levels and values in `octets`.
    pub fn page(&mut self, octets: &[u8], facts: PageFacts) -> Result<()> {
        let PageFacts { encoding, rows, values, nulls, bounds } = facts;
        let buf = self.press.press(octets)?;
        let page = Page::DataPage {
            buf,
            num_values: values as u32,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let written = self.write(page, octets.len())?;
        self.data_at.get_or_insert(written.offset as i64);
        self.note(PageType::DATA_PAGE, encoding);
        self.offsets.append_row_count(rows as i64);
        self.offsets.append_offset_and_size(written.offset as i64, written.compressed_size as i32);
        self.rows += rows;
        self.values += values;
        self.nulls += nulls;
        self.index(bounds, nulls, nulls == values);
        Ok(())
    }

    /// Notes the bounds of a page. A page that has values and no bounds (NaN) leaves the chunk without an index of them.
    fn index(&mut self, bounds: Option<Bounds>, nulls: usize, empty: bool) {
        let Some(columns) = &mut self.columns else { return };
        match bounds {
            Some(bounds) => {
                columns.append(false, bounds.least.octets(), bounds.greatest.octets(), nulls as i64);
                self.ascending &= self.before.as_ref().is_none_or(|before| bounds.follow(before));
                self.bounds.get_or_insert_with(|| bounds.clone()).widen(&bounds);
                self.before = Some(bounds);
            }
            None if empty => columns.append(true, Vec::new(), Vec::new(), nulls as i64),
            None => columns.to_invalid(),
        }
    }

    fn write(&mut self, page: Page, octets: usize) -> Result<PageWriteSpec> {
        let written = SerializedPageWriter::new(&mut self.sink).write_page(CompressedPage::new(page, octets))?;
        self.uncompressed += written.uncompressed_size;
        Ok(written)
    }

    fn note(&mut self, page_type: PageType, encoding: Encoding) {
        let same = |known: &&mut PageEncodingStats| known.page_type == page_type && known.encoding == encoding;
        match self.encodings.iter_mut().find(same) {
            Some(known) => known.count += 1,
            None => self.encodings.push(PageEncodingStats { page_type, encoding, count: 1 }),
        }
    }

    /// The chunk with all its pages.
    pub fn close(self) -> Result<Chunk> {
        let octets = Bytes::from(self.sink.into_inner()?);
        let encodings = self.encodings.iter().map(|known| &known.encoding).chain([&Encoding::RLE]);
        let mut metadata = ColumnChunkMetaData::builder(self.column.clone())
            // The file says zstd; its level is nobody's business.
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_encodings_mask(EncodingMask::new_from_encodings(encodings))
            .set_page_encoding_stats(self.encodings.clone())
            .set_total_compressed_size(octets.len() as i64)
            .set_total_uncompressed_size(self.uncompressed as i64)
            .set_num_values(self.values as i64)
            .set_data_page_offset(self.data_at.unwrap_or(0))
            .set_dictionary_page_offset(self.dictionary_at);
        let mut column_index = None;
        if let Some(mut columns) = self.columns {
            let nulls = self.nulls as u64;
            metadata = metadata.set_statistics(match self.bounds.and_then(|bounds| bounds.statistics(nulls)) {
                Some(statistics) => statistics,
                None => no_bounds(self.column.physical_type(), nulls)?,
            });
            columns.set_boundary_order(if self.ascending { BoundaryOrder::ASCENDING } else { BoundaryOrder::UNORDERED });
            column_index = if columns.valid() { Some(columns.build()?) } else { None };
        }
        let closed = ColumnCloseResult {
            bytes_written: octets.len() as u64,
            rows_written: self.rows as u64,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index,
            offset_index: Some(self.offsets.build()),
        };
        Ok(Chunk { octets, closed })
    }
}

/// Statistics of a chunk without values.
fn no_bounds(physical: Type, nulls: u64) -> Result<Statistics> {
    let nulls = Some(nulls);
    Ok(match physical {
        Type::BOOLEAN => Statistics::boolean(None, None, None, nulls, false),
        Type::INT32 => Statistics::int32(None, None, None, nulls, false),
        Type::INT64 => Statistics::int64(None, None, None, nulls, false),
        Type::DOUBLE => Statistics::double(None, None, None, nulls, false),
        Type::BYTE_ARRAY => Statistics::byte_array(None, None, None, nulls, false),
        other => return Err(ParquetError::General(format!("no column is stored as {other}"))),
    })
}
