//! Columns in arrival order into one sorted Parquet row group.
//!
//! Numbers go to the column writers directly, values and levels side by side; strings go as dictionary arrays.

use std::{
    io::Write,
    num::NonZero,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use arrow::{
    array::{ArrayRef, DictionaryArray, Int32Array, StringArray},
    buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer},
    datatypes::{Field, Int32Type as ArrowInt32},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use parquet::{
    arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves},
    column::writer::{ColumnCloseResult, ColumnWriter, get_column_writer, get_typed_column_writer_mut},
    data_type::{BoolType, DataType, DoubleType, Int32Type, Int64Type},
    errors::{ParquetError, Result},
    file::{
        properties::WriterPropertiesPtr,
        writer::{SerializedFileWriter, SerializedPageWriter, TrackedWrite},
    },
    schema::types::ColumnDescPtr,
};

use super::{
    column::{LIST_MAX, Store, Values},
    schema::SharedSchema,
};

/// Rows handed to a string column at a time.
const TEXT_ROWS: usize = 8192;
/// `1:` and 28 characters of base64.
const COMMUNITY_ID_TEXT: usize = 30;

/// Memory of one thread that is used again for every column.
#[derive(Default)]
pub struct Scratch {
    definition: Vec<i16>,
    repetition: Vec<i16>,
    i32s: Vec<i32>,
    i64s: Vec<i64>,
    f64s: Vec<f64>,
    flags: Vec<bool>,
}

/// The order of rows by the sort columns: byte order of a string column, then a time column, then arrival.
pub fn order(text: &Store, time: &Store) -> Vec<u32> {
    let (Values::Name { numbers, names }, Values::Time(times)) = (&text.values, &time.values) else {
        unreachable!("tables are sorted by a string and a time")
    };
    let ranks = names.ranks();
    let valid = |row: usize| text.valid.as_ref().is_none_or(|valid| valid[row]);
    let mut keys: Vec<(u32, i64, u32)> = numbers
        .iter()
        .zip(times)
        .enumerate()
        .map(|(row, (&number, &time))| (if valid(row) { ranks[number as usize] + 1 } else { 0 }, time, row as u32))
        .collect();
    keys.sort_unstable();
    keys.into_iter().map(|(_, _, row)| row).collect()
}

/// Fewer rows than this are not worth a thread.
const ROWS_PER_THREAD: usize = 1024;
/// Most threads of one row group.
const THREADS_MAX: usize = 4;

/// A column chunk in memory, before it has its place in the file.
enum Chunk {
    Numbers(Bytes, ColumnCloseResult),
    Text(ArrowColumnChunk),
}

/// Columns of one row group that threads take one by one. What a chunk holds does not depend on who made it.
struct Job<'a> {
    stores: &'a [Store],
    schema: &'a SharedSchema,
    order: &'a [u32],
    columns: &'a [ColumnDescPtr],
    properties: &'a WriterPropertiesPtr,
    text_writers: Vec<Mutex<Option<ArrowColumnWriter>>>,
    next: AtomicUsize,
}

/// Writes the rows of `stores`, in `order`, as one row group. Columns are encoded side by side, by as many threads as there are CPUs
/// (each with a `scratch` of its own), and put into the file in their order.
pub fn write_row_group<W: Write + Send>(
    file: &mut SerializedFileWriter<W>,
    schema: &SharedSchema,
    stores: &[Store],
    order: &[u32],
    scratch: &mut Vec<Scratch>,
) -> Result<()> {
    let factory = ArrowRowGroupWriterFactory::new(file, Arc::clone(schema));
    let text_writers = factory.create_column_writers(file.flushed_row_groups().len())?;
    let job = Job {
        stores,
        schema,
        order,
        columns: file.schema_descr().columns(),
        properties: file.properties(),
        text_writers: text_writers.into_iter().map(|writer| Mutex::new(Some(writer))).collect(),
        next: AtomicUsize::new(0),
    };
    let threads = threads(order.len());
    if scratch.len() < threads {
        scratch.resize_with(threads, Scratch::default);
    }
    let chunks = job.run(&mut scratch[..threads])?;
    drop(job);
    let mut group = file.next_row_group()?;
    for chunk in chunks {
        match chunk {
            Chunk::Numbers(octets, closed) => group.append_column(&octets, closed)?,
            Chunk::Text(chunk) => chunk.append_to_row_group(&mut group)?,
        }
    }
    group.close()?;
    Ok(())
}

/// How many threads so many rows are worth.
pub fn threads(rows: usize) -> usize {
    let cpus = thread::available_parallelism().map_or(1, NonZero::get);
    cpus.min(THREADS_MAX).min(rows / ROWS_PER_THREAD).max(1)
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

    /// Encodes columns until none is left.
    fn work(&self, scratch: &mut Scratch) -> Result<Vec<(usize, Chunk)>> {
        let mut made = Vec::new();
        loop {
            let column = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(store) = self.stores.get(column) else { return Ok(made) };
            let chunk = match &store.values {
                Values::Name { .. } | Values::CommunityId(_) => self.text(column, store)?,
                _ => self.numbers(column, store, scratch)?,
            };
            made.push((column, chunk));
        }
    }

    fn text(&self, column: usize, store: &Store) -> Result<Chunk> {
        let writer = self.text_writers[column].lock().ok().and_then(|mut writer| writer.take());
        let Some(writer) = writer else { return Err(ParquetError::General("a column was taken twice".to_owned())) };
        write_text(store, self.schema.field(column), writer, self.order).map(Chunk::Text)
    }

    fn numbers(&self, column: usize, store: &Store, scratch: &mut Scratch) -> Result<Chunk> {
        let mut sink = TrackedWrite::new(Vec::new());
        let pages = Box::new(SerializedPageWriter::new(&mut sink));
        let mut writer = get_column_writer(self.columns[column].clone(), self.properties.clone(), pages);
        write_numbers(&mut writer, store, self.order, scratch)?;
        let closed = writer.close()?;
        Ok(Chunk::Numbers(sink.into_inner()?.into(), closed))
    }
}

fn write_numbers(writer: &mut ColumnWriter<'_>, store: &Store, order: &[u32], scratch: &mut Scratch) -> Result<()> {
    let valid = store.valid.as_deref();
    let Scratch { definition, repetition, i32s, i64s, f64s, flags } = scratch;
    match &store.values {
        Values::Flag(values) => {
            gather(values, valid, order, flags, definition, |value| value);
            write_levels::<BoolType>(writer, flags, valid.map(|_| &**definition), None)
        }
        Values::U8(values) => {
            gather(values, valid, order, i32s, definition, i32::from);
            write_levels::<Int32Type>(writer, i32s, valid.map(|_| &**definition), None)
        }
        Values::U16(values) => {
            gather(values, valid, order, i32s, definition, i32::from);
            write_levels::<Int32Type>(writer, i32s, valid.map(|_| &**definition), None)
        }
        Values::U32(values) => {
            gather(values, valid, order, i32s, definition, u32::cast_signed);
            write_levels::<Int32Type>(writer, i32s, valid.map(|_| &**definition), None)
        }
        Values::I64(values) | Values::Time(values) => {
            gather(values, valid, order, i64s, definition, |value| value);
            write_levels::<Int64Type>(writer, i64s, valid.map(|_| &**definition), None)
        }
        Values::F64(values) => {
            gather(values, valid, order, f64s, definition, |value| value);
            write_levels::<DoubleType>(writer, f64s, valid.map(|_| &**definition), None)
        }
        Values::ListU32 { ends, items } => {
            gather_lists((ends, items), valid, order, i32s, (definition, repetition), u32::cast_signed);
            write_levels::<Int32Type>(writer, i32s, Some(definition), Some(repetition))
        }
        Values::ListI32 { ends, items } => {
            gather_lists((ends, items), valid, order, i32s, (definition, repetition), |item| item);
            write_levels::<Int32Type>(writer, i32s, Some(definition), Some(repetition))
        }
        Values::ListI64 { ends, items } => {
            gather_lists((ends, items), valid, order, i64s, (definition, repetition), |item| item);
            write_levels::<Int64Type>(writer, i64s, Some(definition), Some(repetition))
        }
        Values::Name { .. } | Values::CommunityId(_) => unreachable!("strings have their own way"),
    }
}

fn write_levels<T: DataType>(
    writer: &mut ColumnWriter<'_>,
    values: &[T::T],
    definition: Option<&[i16]>,
    repetition: Option<&[i16]>,
) -> Result<()> {
    get_typed_column_writer_mut::<T>(writer).write_batch(values, definition, repetition)?;
    Ok(())
}

/// Values that are not null, in order, and a definition level per row when there can be nulls.
fn gather<V: Copy + PartialEq, T: Copy + Default>(
    values: &[V],
    valid: Option<&[bool]>,
    order: &[u32],
    out: &mut Vec<T>,
    definition: &mut Vec<i16>,
    convert: impl Fn(V) -> T,
) {
    out.clear();
    definition.clear();
    let known = valid.map_or(order.len(), |valid| valid.iter().map(|&valid| usize::from(valid)).sum());
    // Many columns hold one value only; nulls are stored as a default, which is often the same.
    let only = values.first().copied().filter(|first| values.iter().all(|value| value == first));
    if let Some(only) = only {
        out.resize(known, convert(only));
        match valid.filter(|_| known > 0 && known < order.len()) {
            Some(valid) => definition.extend(order.iter().map(|&row| i16::from(valid[row as usize]))),
            None => definition.resize(order.len(), i16::from(known > 0)),
        }
    } else if known == order.len() {
        definition.resize(order.len(), 1);
        out.extend(order.iter().map(|&row| convert(values[row as usize])));
    } else if let Some(valid) = valid.filter(|_| known > 0) {
        // Nulls come at random, so a branch on them would be guessed wrong often: every value is copied, and overwritten when it
        // should not have been. One place more takes what follows the last.
        out.resize(known + 1, T::default());
        let mut place = 0;
        definition.extend(order.iter().map(|&row| {
            let row = row as usize;
            out[place] = convert(values[row]);
            place += usize::from(valid[row]);
            i16::from(valid[row])
        }));
        out.truncate(known);
    } else {
        definition.resize(order.len(), 0);
    }
}

/// Repetition levels of a list: all items but the first go on with it.
const FURTHER: [i16; LIST_MAX] = {
    let mut levels = [1; LIST_MAX];
    levels[0] = 0;
    levels
};

/// Items and levels of lists. Levels count one more where the list itself may be null: then 0 is null, 1 empty, 2 an item.
fn gather_lists<V: Copy, T>(
    (ends, items): (&[u32], &[V]),
    valid: Option<&[bool]>,
    order: &[u32],
    out: &mut Vec<T>,
    (definition, repetition): (&mut Vec<i16>, &mut Vec<i16>),
    convert: impl Fn(V) -> T,
) {
    out.clear();
    definition.clear();
    repetition.clear();
    let empty = i16::from(valid.is_some());
    for &row in order {
        let row = row as usize;
        let start = if row == 0 { 0 } else { ends[row - 1] as usize };
        let list = &items[start..ends[row] as usize];
        if valid.is_some_and(|valid| !valid[row]) {
            definition.push(0);
            repetition.push(0);
        } else if list.is_empty() {
            definition.push(empty);
            repetition.push(0);
        } else {
            out.extend(list.iter().map(|&item| convert(item)));
            definition.resize(definition.len() + list.len(), empty + 1);
            repetition.extend_from_slice(&FURTHER[..list.len()]);
        }
    }
}

fn write_text(store: &Store, field: &Field, mut writer: ArrowColumnWriter, order: &[u32]) -> Result<ArrowColumnChunk> {
    let dictionary: ArrayRef = match &store.values {
        Values::Name { names, .. } => Arc::new(StringArray::from_iter_values(names.texts())),
        _ => Arc::new(StringArray::new_null(0)),
    };
    for rows in order.chunks(TEXT_ROWS) {
        let nulls = store.valid.as_ref().map(|valid| NullBuffer::from_iter(rows.iter().map(|&row| valid[row as usize])));
        let array: ArrayRef = match &store.values {
            Values::Name { numbers, .. } => {
                let keys: Vec<i32> = rows.iter().map(|&row| numbers[row as usize].cast_signed()).collect();
                let keys = Int32Array::new(keys.into(), nulls);
                Arc::new(DictionaryArray::<ArrowInt32>::try_new(keys, Arc::clone(&dictionary))?)
            }
            Values::CommunityId(ids) => Arc::new(community_ids(rows.iter().map(|&row| &ids[row as usize]), nulls)?),
            _ => unreachable!("only strings come here"),
        };
        for leaf in compute_leaves(field, &array)? {
            writer.write(&leaf)?;
        }
    }
    writer.close()
}

/// `1:` and base64 for every id.
fn community_ids<'a>(ids: impl ExactSizeIterator<Item = &'a [u8; 20]>, nulls: Option<NullBuffer>) -> Result<StringArray> {
    let rows = ids.len();
    let mut text = vec![0; rows * COMMUNITY_ID_TEXT];
    for (id, text) in ids.zip(text.chunks_exact_mut(COMMUNITY_ID_TEXT)) {
        let (version, base64) = text.split_at_mut(2);
        version.copy_from_slice(b"1:");
        STANDARD.encode_slice(id, base64).map_err(|error| ParquetError::External(Box::new(error)))?;
    }
    let offsets: Vec<i32> = (0..=rows).map(|row| (row * COMMUNITY_ID_TEXT) as i32).collect();
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    Ok(StringArray::try_new(offsets, Buffer::from_vec(text), nulls)?)
}
