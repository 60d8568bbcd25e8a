//! Rows into columns: growing, dense, typed columns in arrival order, without a place for nulls. Sorting and Parquet come later
//! ([`super::encode`]).
//!
//! A value's Rust type decides the column's type, so that a table entry cannot say one thing and store another.

use std::{
    hash::{BuildHasher, Hasher},
    sync::Arc,
};

use arrow::datatypes::{DataType, Field, TimeUnit};
use auscult_ebpf::record::Tunnel;
use hashbrown::HashTable;
use sha1::{Digest, Sha1};

use crate::flow::{Address, Mac, ObservationPoint};

/// Most items of a list value.
pub const LIST_MAX: usize = 8;

/// A UTC time, ns since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub i64);

/// A short list held by value.
#[derive(Clone, Copy, Debug, Default)]
pub struct List<T> {
    /// Items in use.
    pub length: usize,
    /// The items; those behind `length` are ignored.
    pub items: [T; LIST_MAX],
}

/// A string that many rows share. It is turned into text once per row group, not once per row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// A name known when this was compiled.
    Fixed(&'static str),
    /// A name known when the engine started.
    Shared(Arc<str>),
    /// An IP or MAC address.
    Address(Address),
    /// A MAC address.
    Mac(Mac),
    /// TCP option kinds, four bits each.
    Options(u64),
    /// Index of an observation point.
    Point(u32),
    /// Kinds of encapsulations, the outermost first.
    Tunnels(Tunnel, Option<Tunnel>),
}

impl Name {
    /// What tells this name from others of its column.
    fn key(&self) -> NameKey {
        let mac = |mac: &Mac| {
            let [a, b, c, d, e, f] = mac.0;
            u64::from_be_bytes([0, 0, a, b, c, d, e, f])
        };
        match self {
            Self::Fixed(text) => [0, text.as_ptr() as u64, text.len() as u64],
            Self::Shared(text) => {
                let digest = Sha1::digest(text.as_bytes());
                let word = |from: usize| digest[from..from + 8].iter().fold(0, |word, &octet| word << 8 | u64::from(octet));
                [1, word(0), word(8)]
            }
            Self::Address(Address::Link(address)) => [2, u64::from(address.is_some()), address.as_ref().map_or(0, mac)],
            Self::Address(Address::V4(ip)) => [4, 0, u64::from(ip.to_bits())],
            Self::Address(Address::V6(ip)) => {
                let bits = ip.to_bits();
                [6, (bits >> 64) as u64, bits as u64]
            }
            Self::Mac(address) => [2, 1, mac(address)],
            Self::Options(options) => [3, 0, *options],
            Self::Point(index) => [5, 0, u64::from(*index)],
            Self::Tunnels(outer, inner) => [7, *outer as u64, inner.map_or(0, |inner| inner as u64)],
        }
    }

    fn text(&self, points: &[ObservationPoint]) -> String {
        match self {
            Self::Fixed(text) => (*text).to_owned(),
            Self::Shared(text) => text.to_string(),
            Self::Address(Address::Link(None)) => String::new(),
            Self::Address(Address::Link(Some(mac))) | Self::Mac(mac) => mac.to_string(),
            Self::Address(Address::V4(ip)) => ip.to_string(),
            Self::Address(Address::V6(ip)) => ip.to_string(),
            Self::Options(options) => options_text(*options),
            Self::Point(index) => match points.get(*index as usize) {
                Some(point) => point.name.to_string(),
                None => format!("point{index}"),
            },
            Self::Tunnels(outer, None) => outer.name().to_owned(),
            Self::Tunnels(outer, Some(inner)) => format!("{}/{}", outer.name(), inner.name()),
        }
    }
}

/// Option kinds in the order of the header, `2-4-8-1-3`; empty for none.
fn options_text(mut options: u64) -> String {
    let mut kinds = Vec::new();
    while options != 0 {
        kinds.push((options & 15).to_string());
        options >>= 4;
    }
    kinds.join("-")
}

/// Kind of a name and two words.
type NameKey = [u64; 3];

/// Longest text of a name that the network chooses (an IPv6 address, option kinds), as the allocator rounds it.
pub const NAME_TEXT_BYTES: usize = 48;
/// Memory of a distinct name at most, bytes: an entry in each of two hash tables (a power of two of places), the string and its text.
pub const NAME_BYTES: usize =
    2 * (size_of::<(NameKey, u32)>() + 1 + size_of::<u32>() + 1) + size_of::<String>() + NAME_TEXT_BYTES;

/// The distinct strings of one column of one row group, numbered as they come.
#[derive(Debug, Default)]
pub struct Names {
    index: HashTable<(NameKey, u32)>,
    /// Several keys may have one text: every capture file has an interface of its own that is called `if0`.
    by_text: HashTable<u32>,
    texts: Vec<String>,
    seed: Option<u64>,
    last: Option<(NameKey, u32)>,
}

impl Names {
    /// Number of `name`. The hash is seeded: addresses are chosen by whoever sends. Numbers do not depend on the seed.
    fn number(&mut self, name: &Name, points: &[ObservationPoint]) -> u32 {
        let key = name.key();
        if let Some((last, number)) = self.last
            && last == key
        {
            return number;
        }
        let seed = *self.seed.get_or_insert_with(|| std::hash::RandomState::new().hash_one(0));
        let hash = |&[kind, a, b]: &NameKey| {
            let wide = u128::from(a ^ seed) * u128::from(b ^ seed.rotate_left(32) | 1);
            let folded = (wide as u64) ^ ((wide >> 64) as u64) ^ b ^ kind << 56;
            folded.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
        };
        let number = match self.index.find(hash(&key), |(known, _)| *known == key) {
            Some(&(_, number)) => number,
            None => {
                let number = self.number_of_text(name.text(points), seed);
                self.index.insert_unique(hash(&key), (key, number), |(known, _)| hash(known));
                number
            }
        };
        self.last = Some((key, number));
        number
    }

    /// Number of a text: equal texts have one.
    fn number_of_text(&mut self, text: String, seed: u64) -> u32 {
        let hash = |text: &str| hash_of(seed, text);
        if let Some(&number) = self.by_text.find(hash(&text), |&number| self.texts[number as usize] == text) {
            return number;
        }
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        let texts = &self.texts;
        self.by_text.insert_unique(hash(&text), number, |&number| hash(&texts[number as usize]));
        self.texts.push(text);
        number
    }

    /// The texts by number.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// For each number, its place in byte order of the texts.
    pub fn ranks(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.texts.len() as u32).collect();
        order.sort_unstable_by_key(|&n| &self.texts[n as usize]);
        let mut ranks = vec![0; order.len()];
        for (rank, number) in order.into_iter().enumerate() {
            ranks[number as usize] = rank as u32;
        }
        ranks
    }

    fn clear(&mut self) {
        self.index.clear();
        self.by_text.clear();
        self.texts.clear();
        self.last = None;
    }
}

/// Seeded hash of a text.
fn hash_of(seed: u64, text: &str) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write_u64(seed);
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// What a column stores, with its values.
#[derive(Debug)]
#[expect(missing_docs, reason = "each is a vector of what it is called")]
pub enum Values {
    Flag(Vec<bool>),
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
    I64(Vec<i64>),
    F64(Vec<f64>),
    Time(Vec<i64>),
    Name { numbers: Vec<u32>, names: Names },
    CommunityId(Vec<[u8; 20]>),
    ListU32 { ends: Vec<u32>, items: Vec<u32> },
    ListI32 { ends: Vec<u32>, items: Vec<i32> },
    ListI64 { ends: Vec<u32>, items: Vec<i64> },
}

impl Values {
    fn clear(&mut self) {
        match self {
            Self::Flag(values) => values.clear(),
            Self::U8(values) => values.clear(),
            Self::U16(values) => values.clear(),
            Self::U32(values) => values.clear(),
            Self::I64(values) | Self::Time(values) => values.clear(),
            Self::F64(values) => values.clear(),
            Self::Name { numbers, names } => {
                numbers.clear();
                names.clear();
            }
            Self::CommunityId(values) => values.clear(),
            Self::ListU32 { ends, items } => (ends.clear(), items.clear()).0,
            Self::ListI32 { ends, items } => (ends.clear(), items.clear()).0,
            Self::ListI64 { ends, items } => (ends.clear(), items.clear()).0,
        }
    }

    /// Memory of one row at most, bytes; that of its name, should no other row have had it, is [`NAME_BYTES`].
    pub fn row_bytes(&self) -> usize {
        match self {
            Self::Flag(_) | Self::U8(_) => 1,
            Self::U16(_) => 2,
            Self::U32(_) | Self::Name { .. } => 4,
            Self::I64(_) | Self::Time(_) | Self::F64(_) => 8,
            Self::CommunityId(_) => 20,
            Self::ListU32 { .. } | Self::ListI32 { .. } => 4 + 4 * LIST_MAX,
            Self::ListI64 { .. } => 4 + 8 * LIST_MAX,
        }
    }

    /// Whether least and greatest value say anything: not those of digests and of lists' items.
    pub fn is_ordered(&self) -> bool {
        !matches!(self, Self::CommunityId(_) | Self::ListU32 { .. } | Self::ListI32 { .. } | Self::ListI64 { .. })
    }

    /// Arrow's name for the type.
    pub fn data_type(&self) -> DataType {
        let list = |item| DataType::List(Arc::new(Field::new("element", item, false)));
        match self {
            Self::Flag(_) => DataType::Boolean,
            Self::U8(_) => DataType::UInt8,
            Self::U16(_) => DataType::UInt16,
            Self::U32(_) => DataType::UInt32,
            Self::I64(_) => DataType::Int64,
            Self::F64(_) => DataType::Float64,
            Self::Time(_) => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
            Self::Name { .. } | Self::CommunityId(_) => DataType::Utf8,
            Self::ListU32 { .. } => list(DataType::UInt32),
            Self::ListI32 { .. } => list(DataType::Int32),
            Self::ListI64 { .. } => list(DataType::Int64),
        }
    }
}

/// Rows that wait to be written, as columns in arrival order.
#[derive(Debug)]
pub struct Waiting {
    /// How many.
    pub rows: usize,
    /// For each group of columns, which rows have values in them; empty for columns that always have.
    pub present: Vec<Vec<bool>>,
    /// For each column its values: those of the rows that have one.
    pub values: Vec<Values>,
}

impl Waiting {
    /// Forgets the rows, keeps the memory.
    pub fn clear(&mut self) {
        self.rows = 0;
        self.present.iter_mut().for_each(Vec::clear);
        self.values.iter_mut().for_each(Values::clear);
    }
}

/// A value that a column can hold.
pub trait Item: Sized {
    /// An empty column of this type.
    fn empty() -> Values;
    /// Appends to a column of this type.
    fn append(values: &mut Values, items: impl Iterator<Item = Self>, points: &[ObservationPoint]);
}

macro_rules! plain_items {
    ($($item:ty => $variant:ident),*) => {$(
        impl Item for $item {
            fn empty() -> Values {
                Values::$variant(Vec::new())
            }
            fn append(values: &mut Values, items: impl Iterator<Item = Self>, _: &[ObservationPoint]) {
                let Values::$variant(values) = values else { unreachable!("a column keeps its type") };
                values.extend(items);
            }
        }
    )*};
}

plain_items!(bool => Flag, u8 => U8, u16 => U16, u32 => U32, i64 => I64, f64 => F64, [u8; 20] => CommunityId);

macro_rules! list_items {
    ($($item:ty => $variant:ident),*) => {$(
        impl Item for List<$item> {
            fn empty() -> Values {
                Values::$variant { ends: Vec::new(), items: Vec::new() }
            }
            fn append(values: &mut Values, lists: impl Iterator<Item = Self>, _: &[ObservationPoint]) {
                let Values::$variant { ends, items } = values else { unreachable!("a column keeps its type") };
                for list in lists {
                    items.extend_from_slice(&list.items[..list.length]);
                    ends.push(items.len() as u32);
                }
            }
        }
    )*};
}

list_items!(u32 => ListU32, i32 => ListI32, i64 => ListI64);

impl Item for Time {
    fn empty() -> Values {
        Values::Time(Vec::new())
    }
    fn append(values: &mut Values, items: impl Iterator<Item = Self>, _: &[ObservationPoint]) {
        let Values::Time(values) = values else { unreachable!("a column keeps its type") };
        values.extend(items.map(|time| time.0));
    }
}

impl Default for Name {
    fn default() -> Self {
        Self::Fixed("")
    }
}

impl Item for Name {
    fn empty() -> Values {
        Values::Name { numbers: Vec::new(), names: Names::default() }
    }
    fn append(values: &mut Values, items: impl Iterator<Item = Self>, points: &[ObservationPoint]) {
        let Values::Name { numbers, names } = values else { unreachable!("a column keeps its type") };
        numbers.extend(items.map(|name| names.number(&name, points)));
    }
}
