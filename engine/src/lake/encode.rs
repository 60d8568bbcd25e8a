//! Columns in arrival order into one sorted Parquet row group.
//!
//! The layout of a column follows from its type: names go as numbers into a dictionary, times as differences, all other numbers
//! split by octet, which zstd packs smaller than a dictionary's numbers and faster than those are found.

use std::{
    io::{self, Write},
    num::NonZero,
    sync::{
        LazyLock, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use parquet::{
    basic::Encoding,
    errors::{ParquetError, Result},
    file::writer::SerializedFileWriter,
    schema::types::ColumnDescPtr,
};

use super::{
    LakeSettings,
    chunk::{Bound, Bounds, Chunk, ChunkWriter, PageFacts, Press},
    column::{LIST_MAX, Names, Values, Waiting},
    layout::{self, Bits},
    presence::{Presence, level_block},
};

/// `1:` and 28 characters of base64.
const COMMUNITY_ID_TEXT: usize = 30;

/// Memory of one thread that is used again for every column.
pub struct Scratch {
    press: Press,
    page: Vec<u8>,
    words: Vec<u32>,
    long_words: Vec<u64>,
    definition: Bits,
    repetition: Bits,
}

impl Scratch {
    fn new(zstd_level: i32) -> io::Result<Self> {
        Ok(Self {
            press: Press::new(zstd_level)?,
            page: Vec::new(),
            words: Vec::new(),
            long_words: Vec::new(),
            definition: Bits::default(),
            repetition: Bits::default(),
        })
    }
}

/// Most memory for one row group in the making besides its rows, which have `row_octets` octets each, bytes: the chunks, should
/// nothing in them be pressed, what puts rows in order, and the pages and zstd contexts of all threads.
pub fn bound(settings: &LakeSettings, row_octets: usize) -> usize {
    const ORDER: usize = size_of::<(u32, i64, u32)>() + 3 * size_of::<u32>();
    const PAGE_VALUE_OCTETS: usize = 64;
    let level = usize::try_from(settings.zstd_level).unwrap_or(0);
    let scratch = 4 * settings.page_rows * PAGE_VALUE_OCTETS + ((1 + level) << 20);
    settings.row_group_rows * (ORDER + row_octets) + THREADS_MAX * scratch
}

/// How a table's columns belong together.
#[derive(Clone, Debug)]
pub struct Arrangement {
    /// By column its group.
    pub group_of: Vec<usize>,
    /// The columns that rows are sorted by: names, then times that are never null.
    pub sort: [usize; 2],
}

/// The order of rows by the sort columns: byte order of a name, null first, then a time, then arrival.
fn order(waiting: &Waiting, arrangement: &Arrangement) -> Vec<u32> {
    let [name, time] = arrangement.sort;
    let (Values::Name { numbers, names }, Values::Time(times)) = (&waiting.values[name], &waiting.values[time]) else {
        unreachable!("tables are sorted by a string and a time")
    };
    let ranks = names.ranks();
    let present = &waiting.present[arrangement.group_of[name]];
    let mut numbers = numbers.iter();
    let rank = |row: usize| {
        let named = present.get(row).is_none_or(|present| *present);
        if named { numbers.next().map_or(0, |&number| ranks[number as usize] + 1) } else { 0 }
    };
    let ranks = (0..waiting.rows).map(rank);
    let mut keys: Vec<(u32, i64, u32)> =
        ranks.zip(times).enumerate().map(|(row, (rank, &time))| (rank, time, row as u32)).collect();
    keys.sort_unstable();
    keys.into_iter().map(|(_, _, row)| row).collect()
}

/// Fewer rows than this are not worth a thread.
const ROWS_PER_THREAD: usize = 1024;
/// Most threads of one row group.
const THREADS_MAX: usize = 4;

/// Columns of one row group that threads take one by one. What a chunk holds does not depend on who made it.
struct Job<'a> {
    waiting: &'a Waiting,
    group_of: &'a [usize],
    order: Vec<u32>,
    page_rows: usize,
    /// By group, found by the thread that takes it or needs it first.
    presences: Vec<OnceLock<Presence>>,
    columns: &'a [ColumnDescPtr],
    next_group: AtomicUsize,
    next_column: AtomicUsize,
}

/// Writes the waiting rows, sorted, as one row group. Columns are encoded side by side, by as many threads as there are CPUs (each
/// with a `scratch` of its own), and put into the file in their order.
pub fn write_row_group<W: Write + Send>(
    file: &mut SerializedFileWriter<W>,
    waiting: &Waiting,
    arrangement: &Arrangement,
    settings: &LakeSettings,
    scratch: &mut Vec<Scratch>,
) -> Result<()> {
    let order = order(waiting, arrangement);
    let threads = threads(order.len());
    let job = Job {
        waiting,
        group_of: &arrangement.group_of,
        order,
        page_rows: settings.page_rows,
        presences: waiting.present.iter().map(|_| OnceLock::new()).collect(),
        columns: file.schema_descr().columns(),
        next_group: AtomicUsize::new(0),
        next_column: AtomicUsize::new(0),
    };
    while scratch.len() < threads {
        scratch.push(Scratch::new(settings.zstd_level)?);
    }
    let chunks = job.run(&mut scratch[..threads])?;
    drop(job);
    let mut group = file.next_row_group()?;
    for Chunk { octets, closed } in chunks {
        group.append_column(&octets, closed)?;
    }
    group.close()?;
    Ok(())
}

/// How many threads so many rows are worth.
pub fn threads(rows: usize) -> usize {
    // The answer costs a look at many files.
    static CPUS: LazyLock<usize> = LazyLock::new(|| thread::available_parallelism().map_or(1, NonZero::get));
    CPUS.min(THREADS_MAX).min(rows / ROWS_PER_THREAD).max(1)
}

impl Job<'_> {
    /// All chunks, in file order.
    fn run(&self, scratch: &mut [Scratch]) -> Result<Vec<Chunk>> {
        let Some((own, others)) = scratch.split_first_mut() else { return Ok(Vec::new()) };
        let mut made = thread::scope(|scope| {
            // A thread that cannot be had leaves its part to the others.
            let spawn =
                |scratch| thread::Builder::new().name("encode".to_owned()).spawn_scoped(scope, || self.work(scratch)).ok();
            let threads: Vec<_> = others.iter_mut().filter_map(spawn).collect();
            let mut made = self.work(own)?;
            for thread in threads {
                made.extend(thread.join().map_err(|_| ParquetError::General("a thread died".to_owned()))??);
            }
            Ok::<_, ParquetError>(made)
        })?;
        made.sort_unstable_by_key(|(column, _)| *column);
        Ok(made.into_iter().map(|(_, chunk)| chunk).collect())
    }

    /// Finds presences, then encodes columns, until none is left.
    fn work(&self, scratch: &mut Scratch) -> Result<Vec<(usize, Chunk)>> {
        while self.presence(self.next_group.fetch_add(1, Ordering::Relaxed)).is_some() {}
        let mut made = Vec::new();
        loop {
            let column = self.next_column.fetch_add(1, Ordering::Relaxed);
            let Some(values) = self.waiting.values.get(column) else { return Ok(made) };
            let Some(presence) = self.presence(self.group_of[column]) else {
                return Err(ParquetError::General("a column of no group".to_owned()));
            };
            made.push((column, self.chunk(column, values, presence, scratch)?));
        }
    }

    /// Which rows of a group have values.
    fn presence(&self, group: usize) -> Option<&Presence> {
        let present = self.waiting.present.get(group)?;
        Some(self.presences[group].get_or_init(|| Presence::of_group(present, &self.order, self.page_rows)))
    }

    fn chunk(&self, column: usize, values: &Values, presence: &Presence, scratch: &mut Scratch) -> Result<Chunk> {
        let Scratch { press, page, words, long_words, definition, repetition } = scratch;
        let writer = ChunkWriter::new(&self.columns[column], values.is_ordered(), press);
        let flat = Flat { presence, page, writer };
        let split = Encoding::BYTE_STREAM_SPLIT;
        match values {
            Values::Flag(values) => flat.pages(Encoding::PLAIN, |places, out| flags(values, places, out)),
            Values::U8(values) => flat.pages(split, |places, out| unsigned(values, places, words, out)),
            Values::U16(values) => flat.pages(split, |places, out| unsigned(values, places, words, out)),
            Values::U32(values) => flat.pages(split, |places, out| unsigned(values, places, words, out)),
            Values::I64(values) => flat.pages(split, |places, out| signed(values, places, long_words, out)),
            Values::F64(values) => flat.pages(split, |places, out| real(values, places, long_words, out)),
            Values::Time(values) => flat.pages(Encoding::DELTA_BINARY_PACKED, |places, out| times(values, places, out)),
            Values::Name { numbers, names } => flat.names(numbers, names),
            Values::CommunityId(ids) => {
                flat.pages(Encoding::DELTA_LENGTH_BYTE_ARRAY, |places, out| community_ids(ids, places, out))
            }
            Values::ListU32 { ends, items } => Lists { flat, definition, repetition }.pages(ends, items, 4, words, |item| item),
            Values::ListI32 { ends, items } => {
                Lists { flat, definition, repetition }.pages(ends, items, 4, words, i32::cast_unsigned)
            }
            Values::ListI64 { ends, items } => {
                Lists { flat, definition, repetition }.pages(ends, items, 8, long_words, i64::cast_unsigned)
            }
        }
    }
}

/// A column with one value a row, or none.
struct Flat<'a> {
    presence: &'a Presence,
    page: &'a mut Vec<u8>,
    writer: ChunkWriter<'a>,
}

impl Flat<'_> {
    /// A page after the other; `values` appends those at some places and says what bounds them.
    fn pages(mut self, encoding: Encoding, mut values: impl FnMut(&[u32], &mut Vec<u8>) -> Option<Bounds>) -> Result<Chunk> {
        for part in self.presence.pages() {
            self.page.clear();
            self.page.extend_from_slice(part.levels);
            let bounds = values(part.places, self.page);
            let nulls = part.rows - part.places.len();
            self.writer.page(self.page, PageFacts { encoding, rows: part.rows, values: part.rows, nulls, bounds })?;
        }
        self.writer.close()
    }

    /// Names by number. The dictionary has them in the order in which the file's rows do.
    fn names(mut self, numbers: &[u32], names: &Names) -> Result<Chunk> {
        let texts = names.texts();
        let mut index_of = vec![u32::MAX; texts.len()];
        let mut dictionary: Vec<&str> = Vec::new();
        let indices = self.presence.places().iter().map(|&place| {
            let number = numbers[place as usize] as usize;
            if index_of[number] == u32::MAX {
                index_of[number] = dictionary.len() as u32;
                dictionary.push(&texts[number]);
            }
            index_of[number]
        });
        let indices: Vec<u32> = indices.collect();
        if dictionary.is_empty() {
            return self.pages(Encoding::PLAIN, |_, _| None);
        }
        self.page.clear();
        for text in &dictionary {
            self.page.extend_from_slice(&(text.len() as u32).to_le_bytes());
            self.page.extend_from_slice(text.as_bytes());
        }
        self.writer.dictionary(self.page, dictionary.len())?;
        let width = layout::width(dictionary.len() as u64 - 1);
        let mut rest = &indices[..];
        let mut met = vec![false; dictionary.len()];
        self.pages(Encoding::RLE_DICTIONARY, |places, out| {
            let (indices, behind) = rest.split_at(places.len());
            rest = behind;
            out.push(width as u8);
            layout::hybrid(indices, width, out);
            met.fill(false);
            indices.iter().for_each(|&index| met[index as usize] = true);
            let texts = || dictionary.iter().zip(&met).filter_map(|(text, met)| met.then_some(*text));
            Some(Bounds::new((texts().min()?, texts().max()?), |text| Bound::Text(text.to_owned())))
        })
    }
}

/// Values at `places` as words.
fn gather<V: Copy, W>(values: &[V], places: &[u32], words: &mut Vec<W>, word: impl Fn(V) -> W) {
    words.clear();
    words.extend(places.iter().map(|&place| word(values[place as usize])));
}

/// Least and greatest of `values`.
fn extremes<T: Copy + PartialOrd>(mut values: impl Iterator<Item = T>) -> Option<(T, T)> {
    let first = values.next()?;
    let wider = |(least, greatest): (T, T), value: T| {
        (if value < least { value } else { least }, if value > greatest { value } else { greatest })
    };
    Some(values.fold((first, first), wider))
}

fn flags(values: &[bool], places: &[u32], out: &mut Vec<u8>) -> Option<Bounds> {
    let at = || places.iter().map(|&place| values[place as usize]);
    layout::flags(at(), places.len(), out);
    Some(Bounds::new(extremes(at())?, Bound::Flag))
}

fn unsigned<V: Copy + Into<u32>>(values: &[V], places: &[u32], words: &mut Vec<u32>, out: &mut Vec<u8>) -> Option<Bounds> {
    gather(values, places, words, V::into);
    layout::split(words, 4, out);
    Some(Bounds::new(extremes(words.iter().copied())?, Bound::Unsigned))
}

fn signed(values: &[i64], places: &[u32], words: &mut Vec<u64>, out: &mut Vec<u8>) -> Option<Bounds> {
    gather(values, places, words, i64::cast_unsigned);
    layout::split(words, 8, out);
    Some(Bounds::new(extremes(words.iter().map(|word| word.cast_signed()))?, Bound::Signed))
}

/// NaN has no place in an order.
fn real(values: &[f64], places: &[u32], words: &mut Vec<u64>, out: &mut Vec<u8>) -> Option<Bounds> {
    gather(values, places, words, f64::to_bits);
    layout::split(words, 8, out);
    let numbers = words.iter().map(|&word| f64::from_bits(word));
    let (least, greatest) = extremes(numbers.filter(|number| !number.is_nan()))?;
    Some(Bounds::real(least, greatest))
}

fn times(values: &[i64], places: &[u32], out: &mut Vec<u8>) -> Option<Bounds> {
    let times: Vec<i64> = places.iter().map(|&place| values[place as usize]).collect();
    layout::differences(&times, out);
    Some(Bounds::new(extremes(times.into_iter())?, Bound::Signed))
}

/// Texts of one length: the lengths, then `1:` and base64 for every id. Digests have no bounds worth saying.
fn community_ids(ids: &[[u8; 20]], places: &[u32], out: &mut Vec<u8>) -> Option<Bounds> {
    layout::differences(&vec![COMMUNITY_ID_TEXT as i64; places.len()], out);
    let start = out.len();
    out.resize(start + places.len() * COMMUNITY_ID_TEXT, 0);
    for (&place, text) in places.iter().zip(out[start..].chunks_exact_mut(COMMUNITY_ID_TEXT)) {
        let (version, base64) = text.split_at_mut(2);
        version.copy_from_slice(b"1:");
        // 20 octets are always 28 characters.
        let written = STANDARD.encode_slice(ids[place as usize], base64);
        debug_assert_eq!(written, Ok(base64.len()));
    }
    None
}

/// A column with a list of values a row, or none. Their items have no bounds.
struct Lists<'a> {
    flat: Flat<'a>,
    definition: &'a mut Bits,
    repetition: &'a mut Bits,
}

/// Levels of so many items are put together in one word.
const _: () = assert!(LIST_MAX <= 8);

impl Lists<'_> {
    /// Lists of at most [`LIST_MAX`] items, each of `octets` octets.
    fn pages<V: Copy, W: Copy + Into<u64>>(
        self,
        ends: &[u32],
        items: &[V],
        octets: u32,
        words: &mut Vec<W>,
        word: impl Fn(V) -> W,
    ) -> Result<Chunk> {
        let Flat { presence, page, mut writer } = self.flat;
        // Levels count one more where the list itself may be null: then 0 is null, 1 empty, 2 an item.
        let (empty, width) = if presence.is_nullable() { (1, 2) } else { (0, 1) };
        // Definition levels of eight items.
        let item_levels = if presence.is_nullable() { 0b1010_1010_1010_1010 } else { 0b1111_1111 };
        for part in presence.pages() {
            words.clear();
            self.definition.clear();
            self.repetition.clear();
            let (mut values, mut nulls) = (0, 0);
            for place in part.by_row() {
                let list = place.map(|place| {
                    let start = if place == 0 { 0 } else { ends[place as usize - 1] };
                    &items[start as usize..ends[place as usize] as usize]
                });
                let Some(list) = list.filter(|list| !list.is_empty()) else {
                    self.definition.push(if list.is_some() { empty } else { 0 }, width);
                    self.repetition.push(0, 1);
                    values += 1;
                    nulls += 1;
                    continue;
                };
                let count = list.len() as u32;
                words.extend(list.iter().map(|&item| word(item)));
                self.definition.push(item_levels & ((1 << (count * width)) - 1), count * width);
                // All items but the first go on with the list.
                self.repetition.push((1 << count) - 2, count);
                values += list.len();
            }
            page.clear();
            level_block(page, |out| layout::packed(self.repetition, values, 1, out));
            level_block(page, |out| {
                if nulls == 0 {
                    layout::repeat(empty + 1, values, width, out);
                } else {
                    layout::packed(self.definition, values, width, out);
                }
            });
            layout::split(words, octets, page);
            let encoding = Encoding::BYTE_STREAM_SPLIT;
            writer.page(page, PageFacts { encoding, rows: part.rows, values, nulls, bounds: None })?;
        }
        writer.close()
    }
}
