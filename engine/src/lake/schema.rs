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
    column::{Item, Store, Values},
    coverage_table,
    encode::threads,
    flow_table,
};
use crate::flow::ObservationPoint;

/// Version of the tables: additive changes only within one number before the point.
pub const SCHEMA_VERSION: &str = "1.0";
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

type Fill<R> = Box<dyn Fn(&[R], &[ObservationPoint], &mut Store) + Send + Sync>;

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
    empty: fn() -> Values,
    fill: Fill<R>,
}

impl<R: 'static> Column<R> {
    /// A column that is never null.
    pub fn required<T: Item>(
        name: impl Into<String>,
        unit: &'static str,
        definition: &'static str,
        get: impl Fn(&R) -> T + Send + Sync + 'static,
    ) -> Self {
        let fill = move |rows: &[R], points: &[ObservationPoint], store: &mut Store| {
            store.extend(rows.iter().map(&get), points);
        };
        Self { name: name.into(), unit, null: None, definition, empty: T::empty, fill: Box::new(fill) }
    }

    /// A column that is null when `null` says so.
    pub fn nullable<T: Item + Default>(
        name: impl Into<String>,
        unit: &'static str,
        null: &'static str,
        definition: &'static str,
        get: impl Fn(&R) -> Option<T> + Send + Sync + 'static,
    ) -> Self {
        let fill = move |rows: &[R], points: &[ObservationPoint], store: &mut Store| {
            store.extend_nullable(rows.iter().map(&get), points);
        };
        Self { name: name.into(), unit, null: Some(null), definition, empty: T::empty, fill: Box::new(fill) }
    }

    /// An empty column.
    pub fn store(&self) -> Store {
        Store { valid: self.null.map(|_| Vec::new()), values: (self.empty)() }
    }

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

    /// Empty columns.
    pub fn stores(&self) -> Vec<Store> {
        self.columns.iter().map(Column::store).collect()
    }

    /// Appends rows to all columns: a long batch by several threads, each with columns of its own.
    pub fn fill(&self, rows: &[R], points: &[ObservationPoint], stores: &mut [Store])
    where
        R: Sync,
    {
        let threads = threads(rows.len());
        if threads == 1 {
            return fill(&self.columns, rows, points, stores);
        }
        let shares = Mutex::new(self.columns.chunks(COLUMNS_AT_ONCE).zip(stores.chunks_mut(COLUMNS_AT_ONCE)));
        let next = || shares.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            while let Some((columns, stores)) = next() {
                fill(columns, rows, points, stores);
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

/// Few rows at a time pass all columns, so that they stay in the cache.
fn fill<R>(columns: &[Column<R>], rows: &[R], points: &[ObservationPoint], stores: &mut [Store]) {
    const ROWS_AT_ONCE: usize = 32;
    for rows in rows.chunks(ROWS_AT_ONCE) {
        for (column, store) in columns.iter().zip(&mut *stores) {
            (column.fill)(rows, points, store);
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
