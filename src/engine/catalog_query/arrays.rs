//! Values of `granary_postgres` as Arrow arrays, and parameters the other way. What Arrow has no type for is its text, with
//! PostgreSQL's type in the field's metadata.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    IntervalMonthDayNanoArray, RecordBatch, RecordBatchOptions, StringArray, StructArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, IntervalMonthDayNano, IntervalUnit, SchemaRef, TimeUnit};
use granary_postgres::functions::casts;
use granary_postgres::plan::Output;
use granary_postgres::types::{self as t, Type};
use granary_postgres::{Row, Value as Pg, World, resolve};

use crate::error::{Error, Result};
use crate::row::Value;

/// The metadata that makes the wire show another type than the Arrow type's natural one.
const SHOWN_AS: &str = "pg.type";
const MODIFIER: &str = "pg.modifier";
const TABLE_OID: &str = "pg.table_oid";
const COLUMN: &str = "pg.column";

/// The Arrow type that keeps a type's values.
pub fn data_type(oid: u32) -> DataType {
    match oid {
        t::BOOL => DataType::Boolean,
        t::INT2 => DataType::Int16,
        t::INT4 => DataType::Int32,
        t::INT8 | t::OID | t::XID | t::CID => DataType::Int64,
        t::FLOAT4 => DataType::Float32,
        t::FLOAT8 => DataType::Float64,
        t::BYTEA => DataType::Binary,
        t::DATE => DataType::Date32,
        t::TIME => DataType::Time64(TimeUnit::Microsecond),
        t::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        t::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        t::INTERVAL => DataType::Interval(IntervalUnit::MonthDayNano),
        oid if t::REG_TYPES.contains(&oid) => DataType::Struct(
            vec![Field::new("number", DataType::Int64, true), Field::new("name", DataType::Utf8, true)].into(),
        ),
        _ => DataType::Utf8,
    }
}

pub fn field(output: &Output) -> Field {
    let oid = resolve::base_type(output.data_type.oid);
    let arrow = data_type(oid);
    let name = t::type_row(oid).map_or("text", |row| row.name.as_str());
    let mut metadata = Vec::new();
    if (arrow == DataType::Utf8 && oid != t::TEXT)
        || matches!(oid, t::OID | t::XID | t::CID)
        || t::REG_TYPES.contains(&oid)
    {
        metadata.push((SHOWN_AS.to_owned(), name.to_owned()));
    }
    if output.data_type.modifier >= 0 {
        metadata.push((MODIFIER.to_owned(), output.data_type.modifier.to_string()));
    }
    if output.relation != 0 {
        metadata.push((TABLE_OID.to_owned(), output.relation.to_string()));
        metadata.push((COLUMN.to_owned(), output.number.to_string()));
    }
    Field::new(&output.name, arrow, true).with_metadata(metadata.into_iter().collect())
}

pub fn batch(schema: &SchemaRef, columns: &[Output], rows: &[Row], world: &dyn World) -> Result<RecordBatch> {
    let arrays: Vec<ArrayRef> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| array(&column.data_type, rows.iter().map(|row| &row[index]), world))
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)
        .map_err(|error| Error::internal("rows of a catalog query").with_source(error))
}

/// Rows in the columns of a system relation, whose types Arrow has.
pub fn as_columns(schema: &SchemaRef, columns: &[Output], rows: &[Row], world: &dyn World) -> Result<RecordBatch> {
    let failed = |error| Error::internal("rows of a system view").with_source(error);
    let arrays = columns.iter().enumerate().zip(schema.fields()).map(|((index, column), field)| {
        let values = rows.iter().map(|row| &row[index]);
        match field.data_type() {
            DataType::List(_) => {
                let element = column.data_type.element().unwrap_or(Type::of(t::TEXT));
                let items: Vec<Option<Value>> = values.map(|value| list_of(value, &element, world)).collect();
                crate::row::array_of(field.data_type(), items.iter().map(Option::as_ref))
            }
            DataType::Utf8 if t::REG_TYPES.contains(&column.data_type.oid) => {
                let named: StringArray =
                    values.map(|value| casts::shown(world, value, &column.data_type, world.clock())).collect();
                Ok(Arc::new(named) as ArrayRef)
            }
            wanted => {
                let made = array(&column.data_type, values, world);
                datafusion::arrow::compute::cast(&made, wanted).map_err(failed)
            }
        }
    });
    let arrays = arrays.collect::<Result<Vec<ArrayRef>>>()?;
    RecordBatch::try_new(Arc::clone(schema), arrays).map_err(failed)
}

fn list_of(value: &Pg, element: &Type, world: &dyn World) -> Option<Value> {
    let Pg::Array(array) = value else { return None };
    let item = |item: &Pg| match item {
        Pg::Int(number) => Some(Value::Int(*number)),
        other => casts::shown(world, other, element, world.clock()).map(|text| Value::Text(text.into())),
    };
    Some(Value::List(array.items.iter().map(item).collect()))
}

pub fn array<'v>(pg_type: &Type, values: impl Iterator<Item = &'v Pg>, world: &dyn World) -> ArrayRef {
    let oid = resolve::base_type(pg_type.oid);
    let int = |value: &Pg| value.as_int();
    match oid {
        t::BOOL => Arc::new(BooleanArray::from_iter(values.map(Pg::as_bool))),
        t::INT2 => Arc::new(Int16Array::from_iter(
            values.map(|value| int(value).and_then(|number| i16::try_from(number).ok())),
        )),
        t::INT4 => Arc::new(Int32Array::from_iter(
            values.map(|value| int(value).and_then(|number| i32::try_from(number).ok())),
        )),
        t::INT8 | t::OID | t::XID | t::CID => Arc::new(Int64Array::from_iter(values.map(int))),
        t::FLOAT4 => Arc::new(Float32Array::from_iter(values.map(|value| float(value).map(|number| number as f32)))),
        t::FLOAT8 => Arc::new(Float64Array::from_iter(values.map(float))),
        t::BYTEA => Arc::new(BinaryArray::from_iter(values.map(|value| match value {
            Pg::Bytes(bytes) => Some(bytes.as_ref()),
            _ => None,
        }))),
        t::DATE => Arc::new(Date32Array::from_iter(values.map(|value| match value {
            Pg::Date(days) => Some(*days),
            _ => None,
        }))),
        t::TIME => Arc::new(Time64MicrosecondArray::from_iter(values.map(|value| match value {
            Pg::Time(time) => Some(*time),
            _ => None,
        }))),
        t::TIMESTAMP => Arc::new(TimestampMicrosecondArray::from_iter(values.map(moment))),
        t::TIMESTAMPTZ => Arc::new(TimestampMicrosecondArray::from_iter(values.map(moment)).with_timezone("UTC")),
        t::INTERVAL => Arc::new(IntervalMonthDayNanoArray::from_iter(values.map(|value| match value {
            Pg::Interval(interval) => {
                let nanoseconds = interval.microseconds.saturating_mul(1000);
                Some(IntervalMonthDayNano::new(interval.months, interval.days, nanoseconds))
            }
            _ => None,
        }))),
        oid if t::REG_TYPES.contains(&oid) => {
            let numbers: Vec<Option<i64>> = values.map(int).collect();
            let names = numbers.iter().map(|number| number.map(|number| casts::reg_name(world, number, oid)));
            let nulls = datafusion::arrow::buffer::NullBuffer::from_iter(numbers.iter().map(Option::is_some));
            let fields = match data_type(oid) {
                DataType::Struct(fields) => fields,
                _ => unreachable!("names are kept beside their numbers"),
            };
            let arrays: Vec<ArrayRef> =
                vec![Arc::new(Int64Array::from(numbers.clone())), Arc::new(StringArray::from_iter(names))];
            Arc::new(StructArray::new(fields, arrays, Some(nulls)))
        }
        _ => Arc::new(StringArray::from_iter(values.map(|value| casts::shown(world, value, pg_type, world.clock())))),
    }
}

fn float(value: &Pg) -> Option<f64> {
    match value {
        Pg::Float(number) => Some(*number),
        _ => None,
    }
}

fn moment(value: &Pg) -> Option<i64> {
    match value {
        Pg::Timestamp(time) => Some(*time),
        _ => None,
    }
}
