//! One entry per column: name, type, unit, null rule, definition and where its value comes from. The Arrow schema, the
//! Parquet settings, the rows and the data dictionary are all made from these entries.

use std::{
    collections::HashMap,
    fmt::Write,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use arrow::datatypes::{Field, Schema};
use parquet::{
    arrow::add_encoded_arrow_schema_to_metadata,
    file::{
        metadata::{KeyValue, SortingColumn},
        properties::WriterProperties,
    },
};

use super::{
    column::{Item, Values, Waiting},
    coverage_table,
    encode::{Arrangement, threads},
    flow_table,
};
use crate::flow::ObservationPoint;

/// Version of the tables: additive changes only within one number before the point.
pub const SCHEMA_VERSION: &str = "2.0";
/// Metadata key of [`SCHEMA_VERSION`].
pub const KEY_SCHEMA_VERSION: &str = "auscult.schema_version";
/// Metadata key of the engine's version.
pub const KEY_VERSION: &str = "auscult.version";
/// Metadata key of the site.
pub const KEY_SITE: &str = "auscult.site";
/// Metadata key of the table.
pub const KEY_TABLE: &str = "auscult.table";
/// Metadata key of the source, as given to the writer.
pub const KEY_SOURCE: &str = "auscult.source";

type Fill<R> = Box<dyn Fn(&[&R], &[ObservationPoint], &mut Values) + Send + Sync>;

/// One column of a table whose rows are made from `R`.
pub struct Column<R> {
    /// Name.
    pub name: String,
    /// Unit; empty for names, numbers of protocols and flags.
    pub unit: &'static str,
    /// When the value is null; `None`: never.
    pub null: Option<&'static str>,
    /// What the value is.
    pub definition: &'static str,
    group: Group,
    empty: fn() -> Values,
    fill: Fill<R>,
}

/// Columns that are null in the same rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group(usize);

impl Group {
    /// Columns that are never null.
    pub const ALWAYS: Self = Self(0);
}

/// Whether the columns of a group have a value in a row, and why not.
struct NullRule<R> {
    null: Option<&'static str>,
    is_present: Box<dyn Fn(&R) -> bool + Send + Sync>,
}

/// Columns in the making.
pub struct Columns<R> {
    groups: Vec<NullRule<R>>,
    columns: Vec<Column<R>>,
}

impl<R> Default for Columns<R> {
    fn default() -> Self {
        Self { groups: vec![NullRule { null: None, is_present: Box::new(|_| true) }], columns: Vec::new() }
    }
}

impl<R: 'static> Columns<R> {
    /// Columns that have values in the rows that `is_present` names, and are null in others for the reason `null`.
    pub fn group(&mut self, null: &'static str, is_present: impl Fn(&R) -> bool + Send + Sync + 'static) -> Group {
        self.groups.push(NullRule { null: Some(null), is_present: Box::new(is_present) });
        Group(self.groups.len() - 1)
    }

    /// Appends a column of a group. `get` is asked for rows of the group only.
    pub fn add<T: Item>(
        &mut self,
        group: Group,
        name: impl Into<String>,
        unit: &'static str,
        definition: &'static str,
        get: impl Fn(&R) -> T + Send + Sync + 'static,
    ) {
        let fill = move |rows: &[&R], points: &[ObservationPoint], values: &mut Values| {
            T::append(values, rows.iter().map(|row| get(row)), points);
        };
        let null = self.groups[group.0].null;
        let column = Column { name: name.into(), unit, null, definition, group, empty: T::empty, fill: Box::new(fill) };
        self.columns.push(column);
    }

    /// Appends a column that is null when `get` finds nothing.
    pub fn optional<T: Item + Default>(
        &mut self,
        name: impl Into<String>,
        unit: &'static str,
        null: &'static str,
        definition: &'static str,
        get: impl Fn(&R) -> Option<T> + Copy + Send + Sync + 'static,
    ) {
        let group = self.group(null, move |row| get(row).is_some());
        self.add(group, name, unit, definition, move |row| get(row).unwrap_or_default());
    }

    /// The table of these columns.
    pub fn table(
        self,
        name: &'static str,
        definition: &'static str,
        sort: [&'static str; 2],
        filed_by: &'static str,
    ) -> Table<R> {
        Table { name, definition, columns: self.columns, groups: self.groups, sort, filed_by }
    }
}

impl<R: 'static> Column<R> {
    fn field(&self) -> Field {
        let mut about = HashMap::from([("description".to_owned(), self.definition.to_owned())]);
        about.insert("unit".to_owned(), self.unit.to_owned());
        about.insert("null".to_owned(), self.null.unwrap_or("never").to_owned());
        Field::new(&self.name, (self.empty)().data_type(), self.null.is_some()).with_metadata(about)
    }
}

/// A table of the lake.
pub struct Table<R> {
    /// Name of the table and its directory.
    pub name: &'static str,
    /// What one row is.
    pub definition: &'static str,
    /// The columns in file order.
    pub columns: Vec<Column<R>>,
    groups: Vec<NullRule<R>>,
    /// Names of the columns that rows of a row group are sorted by: a string column and a time column.
    pub sort: [&'static str; 2],
    /// The time column by whose hour rows are filed.
    pub filed_by: &'static str,
}

impl<R: 'static> Table<R> {
    /// Place of a column.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The Arrow schema, with definition, unit and null rule on every field.
    pub fn arrow_schema(&self) -> Schema {
        Schema::new(self.columns.iter().map(Column::field).collect::<Vec<_>>())
    }

    /// How the columns belong together.
    pub fn arrangement(&self) -> Arrangement {
        let group_of = self.columns.iter().map(|column| column.group.0).collect();
        Arrangement { group_of, sort: self.sort.map(|name| self.position(name).unwrap_or_default()) }
    }

    /// No rows.
    pub fn no_rows(&self) -> Waiting {
        let values = self.columns.iter().map(|column| (column.empty)()).collect();
        Waiting { rows: 0, present: self.groups.iter().map(|_| Vec::new()).collect(), values }
    }

    /// Memory of one waiting row at most, bytes, without its names.
    pub fn row_bytes(&self) -> usize {
        let Waiting { present, values, .. } = self.no_rows();
        present.len() + values.iter().map(Values::row_bytes).sum::<usize>()
    }

    /// Appends rows to all columns: a long batch by several threads, each with columns of its own.
    pub fn fill(&self, rows: &[&R], points: &[ObservationPoint], waiting: &mut Waiting)
    where
        R: Sync,
    {
        let Waiting { rows: known, present, values } = waiting;
        for (group, present) in self.groups.iter().zip(&mut *present).filter(|(group, _)| group.null.is_some()) {
            present.extend(rows.iter().map(|row| (group.is_present)(row)));
        }
        // Nothing of a group that is always present.
        let present: Vec<Option<&[bool]>> =
            present.iter().map(|present| present.get(*known..).filter(|new| !new.is_empty())).collect();
        *known += rows.len();
        let threads = threads(rows.len());
        if threads == 1 {
            return fill(&self.columns, &present, rows, points, values);
        }
        let shares = Mutex::new(self.columns.chunks(COLUMNS_AT_ONCE).zip(values.chunks_mut(COLUMNS_AT_ONCE)));
        let next = || shares.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            while let Some((columns, values)) = next() {
                fill(columns, &present, rows, points, values);
            }
        };
        thread::scope(|scope| {
            for _ in 1..threads {
                // A thread that cannot be had leaves its part to the others.
                drop(thread::Builder::new().name("encode".to_owned()).spawn_scoped(scope, work));
            }
            work();
        });
    }

    /// Parquet settings of a file of this table.
    pub fn properties(&self, schema: &Schema, site: &str, source: &str) -> WriterProperties {
        let pair = |key: &str, value: &str| KeyValue::new(key.to_owned(), value.to_owned());
        let about = vec![
            pair(KEY_SCHEMA_VERSION, SCHEMA_VERSION),
            pair(KEY_VERSION, env!("CARGO_PKG_VERSION")),
            pair(KEY_TABLE, self.name),
            pair(KEY_SITE, site),
            pair(KEY_SOURCE, source),
        ];
        let sorting = self.sort.iter().filter_map(|name| self.leaf(name)).map(|column_idx| SortingColumn {
            column_idx,
            descending: false,
            nulls_first: true,
        });
        let builder = WriterProperties::builder()
            .set_created_by(concat!("auscult version ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_sorting_columns(Some(sorting.collect()))
            .set_key_value_metadata(Some(about));
        let mut properties = builder.build();
        add_encoded_arrow_schema_to_metadata(schema, &mut properties);
        properties
    }

    /// Every column is one leaf, lists too.
    fn leaf(&self, name: &str) -> Option<i32> {
        self.position(name).and_then(|position| i32::try_from(position).ok())
    }

    fn describe(&self, out: &mut String) {
        let _ = writeln!(out, "\n## `{}`\n\n{}\n", self.name, self.definition);
        let _ = writeln!(out, "Filed by the hour of `{}`; sorted by `{}`, `{}`.\n", self.filed_by, self.sort[0], self.sort[1]);
        let _ = writeln!(out, "| column | type | unit | null | definition |\n|---|---|---|---|---|");
        for column in &self.columns {
            let kind = type_name(&(column.empty)());
            let null = column.null.unwrap_or("never");
            let _ = writeln!(out, "| `{}` | {kind} | {} | {null} | {} |", column.name, column.unit, column.definition);
        }
    }
}

/// Columns that a thread takes at once.
const COLUMNS_AT_ONCE: usize = 14;

/// Few rows at a time pass all columns, so that they stay in the cache. `present` says by group which of them have values.
fn fill<R>(columns: &[Column<R>], present: &[Option<&[bool]>], rows: &[&R], points: &[ObservationPoint], values: &mut [Values]) {
    const ROWS_AT_ONCE: usize = 32;
    let mut of_groups: Vec<&R> = Vec::with_capacity(ROWS_AT_ONCE * present.len());
    let mut ends = Vec::with_capacity(present.len());
    for (nth, rows) in rows.chunks(ROWS_AT_ONCE).enumerate() {
        of_groups.clear();
        ends.clear();
        for present in present {
            match present {
                Some(present) => {
                    let present = &present[nth * ROWS_AT_ONCE..];
                    of_groups.extend(rows.iter().zip(present).filter(|(_, present)| **present).map(|(row, _)| row));
                }
                None => of_groups.extend(rows),
            }
            ends.push(of_groups.len());
        }
        for (column, values) in columns.iter().zip(&mut *values) {
            let group = column.group.0;
            let start = if group == 0 { 0 } else { ends[group - 1] };
            (column.fill)(&of_groups[start..ends[group]], points, values);
        }
    }
}

fn type_name(values: &Values) -> &'static str {
    match values {
        Values::Flag(_) => "boolean",
        Values::U8(_) => "uint8",
        Values::U16(_) => "uint16",
        Values::U32(_) => "uint32",
        Values::I64(_) => "int64",
        Values::F64(_) => "float64",
        Values::Time(_) => "timestamp[ns, UTC]",
        Values::Name { .. } | Values::CommunityId(_) => "string",
        Values::ListU32 { .. } => "list of uint32",
        Values::ListI32 { .. } => "list of int32",
        Values::ListI64 { .. } => "list of int64",
    }
}

/// The data dictionary of all tables, as Markdown.
pub fn dictionary() -> String {
    let mut out = String::from("# Data dictionary\n\n");
    let _ = writeln!(
        out,
        "Schema version {SCHEMA_VERSION}. Files: `lake/<table>/site=<site>/date=YYYY-MM-DD/hour=HH/<id>.parquet`, UTC."
    );
    flow_table::table().describe(&mut out);
    coverage_table::table().describe(&mut out);
    out
}

/// A schema shared by the files of a table.
pub type SharedSchema = Arc<Schema>;
