//! One row of a record batch as JSON, under the names of the columns.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{
        DataType, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type,
    },
};
use serde_json::Value;

use super::read::JsonRow;

/// The row at `row`; `site` comes from the file's path.
pub fn row_of(batch: &RecordBatch, row: usize, site: &str) -> JsonRow {
    let schema = batch.schema_ref();
    let mut out: JsonRow = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| (field.name().clone(), value_of(column, row)))
        .collect();
    out.insert("site".to_owned(), Value::from(site));
    out
}

fn value_of(column: &ArrayRef, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Boolean => Value::from(column.as_boolean().value(row)),
        DataType::UInt8 => Value::from(column.as_primitive::<UInt8Type>().value(row)),
        DataType::UInt16 => Value::from(column.as_primitive::<UInt16Type>().value(row)),
        DataType::UInt32 => Value::from(column.as_primitive::<UInt32Type>().value(row)),
        DataType::Int32 => Value::from(column.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => Value::from(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Value::from(column.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => Value::from(column.as_string::<i32>().value(row)),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let nanos = column.as_primitive::<TimestampNanosecondType>().value(row);
            jiff::Timestamp::from_nanosecond(nanos.into()).map_or(Value::Null, |time| Value::from(time.to_string()))
        }
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            (0..items.len()).map(|item| value_of(&items, item)).collect()
        }
        // A later version's column, or another program's, of a type that this one does not know.
        _ => Value::Null,
    }
}
