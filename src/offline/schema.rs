//! The columns of a table, three ways: as asked for, as they lie in Parquet files, as Delta describes them.
//!
//! They differ only where Delta has no type: a time of day lies in files as an int8 of microseconds. What was asked
//! for, and the layout, is kept in the table's properties.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use deltalake::kernel::StructField;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use serde::{Deserialize, Serialize};

use super::Layout;
use super::errors::damaged;
use crate::error::{Error, Kind, Result};

/// Partition column: the stable hash bucket of the keys.
pub const BUCKET_COLUMN: &str = "_bucket";
/// Partition column: the first day of the month of the time column.
pub const MONTH_COLUMN: &str = "_month";

const FORMAT: &str = "1";
const FORMAT_PROPERTY: &str = "granary.format";
const SCHEMA_PROPERTY: &str = "granary.schema";
const LAYOUT_PROPERTY: &str = "granary.layout";

/// A column in [`SCHEMA_PROPERTY`].
#[derive(Debug, Serialize, Deserialize)]
struct StoredField {
    name: String,
    #[serde(rename = "type")]
    data_type: StoredType,
    nullable: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StoredType {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric { precision: u8, scale: i8 },
    Text,
    Bytea,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    List(Box<StoredField>),
    Struct(Vec<StoredField>),
}

/// [`LAYOUT_PROPERTY`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StoredLayout {
    Plain,
    Keyed { time_column: String, bucket_count: u32, key_columns: Vec<String> },
}

/// The columns as they lie in files; an error if the table cannot be made.
pub(super) fn file_schema(schema: &Schema, layout: &Layout) -> Result<SchemaRef> {
    let mut names = HashSet::new();
    for field in schema.fields() {
        let name = field.name();
        if [BUCKET_COLUMN, MONTH_COLUMN].contains(&name.to_lowercase().as_str()) {
            return Err(invalid(format!("column name \"{name}\" is taken by the offline store")));
        }
        // Spark does not read columns of such names; the owner of an ordinary table may want them all the same
        if name.is_empty()
            || *layout != Layout::Plain && name.contains([' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='])
        {
            return Err(Error::new(Kind::InvalidName, format!("column name \"{name}\" cannot be stored offline"))
                .with_hint("rename it without spaces and any of , ; { } ( ) ="));
        }
        if !names.insert(name.to_lowercase()) {
            return Err(Error::new(Kind::DuplicateColumn, format!("column \"{name}\" exists twice"))
                .with_detail("offline, columns cannot differ in case only"));
        }
    }
    if let Layout::Keyed { time_column, bucket_count, key_columns } = layout {
        let time = column(schema, time_column)?;
        if !matches!(time.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _)) {
            let message = format!("column \"{time_column}\" is not a timestamp");
            return Err(Error::new(Kind::DatatypeMismatch, message));
        }
        if *bucket_count == 0 || key_columns.is_empty() {
            return Err(Error::internal("a keyed table has at least one bucket and one key column"));
        }
        for key in key_columns {
            let key = column(schema, key)?;
            if matches!(key.data_type(), DataType::List(_) | DataType::Struct(_)) {
                return Err(invalid(format!("key column \"{}\" is not a scalar", key.name())));
            }
        }
    }
    file_fields(schema.fields()).map(|fields| Arc::new(Schema::new(fields)))
}

fn column<'a>(schema: &'a Schema, name: &str) -> Result<&'a Field> {
    schema
        .field_with_name(name)
        .map_err(|_| Error::new(Kind::UndefinedColumn, format!("column \"{name}\" does not exist")))
}

fn invalid(message: String) -> Error {
    Error::new(Kind::InvalidObjectDefinition, message)
}

fn file_fields(fields: &Fields) -> Result<Fields> {
    fields
        .iter()
        .map(|field| {
            let data_type = StoredType::of(field)?.in_files();
            Ok(Field::new(field.name(), data_type, field.is_nullable()))
        })
        .collect()
}

impl StoredField {
    fn of(field: &Field) -> Result<StoredField> {
        let data_type = StoredType::of(field)?;
        Ok(StoredField { name: field.name().clone(), data_type, nullable: field.is_nullable() })
    }

    fn asked(&self) -> Field {
        Field::new(&self.name, self.data_type.asked(), self.nullable)
    }

    fn in_files(&self) -> Field {
        Field::new(&self.name, self.data_type.in_files(), self.nullable)
    }
}

impl StoredType {
    fn of(field: &Field) -> Result<StoredType> {
        Ok(match field.data_type() {
            DataType::Boolean => StoredType::Bool,
            DataType::Int16 => StoredType::Int2,
            DataType::Int32 => StoredType::Int4,
            DataType::Int64 => StoredType::Int8,
            DataType::Float32 => StoredType::Float4,
            DataType::Float64 => StoredType::Float8,
            // Delta's decimals have no negative scale
            DataType::Decimal128(precision, scale) if *scale >= 0 => {
                StoredType::Numeric { precision: *precision, scale: *scale }
            }
            DataType::Utf8 => StoredType::Text,
            DataType::Binary => StoredType::Bytea,
            DataType::Date32 => StoredType::Date,
            DataType::Time64(TimeUnit::Microsecond) => StoredType::Time,
            DataType::Timestamp(TimeUnit::Microsecond, None) => StoredType::Timestamp,
            DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => StoredType::Timestamptz,
            DataType::List(item) => StoredType::List(Box::new(StoredField::of(item)?)),
            DataType::Struct(fields) if !fields.is_empty() => {
                StoredType::Struct(fields.iter().map(|field| StoredField::of(field)).collect::<Result<_>>()?)
            }
            other => {
                let message = format!("column \"{}\" of type {other} cannot be stored offline", field.name());
                return Err(Error::new(Kind::FeatureNotSupported, message));
            }
        })
    }

    fn asked(&self) -> DataType {
        match self {
            StoredType::Time => DataType::Time64(TimeUnit::Microsecond),
            StoredType::List(item) => DataType::List(Arc::new(item.asked())),
            StoredType::Struct(fields) => DataType::Struct(fields.iter().map(StoredField::asked).collect()),
            other => other.in_files(),
        }
    }

    fn in_files(&self) -> DataType {
        match self {
            StoredType::Bool => DataType::Boolean,
            StoredType::Int2 => DataType::Int16,
            StoredType::Int4 => DataType::Int32,
            StoredType::Int8 | StoredType::Time => DataType::Int64,
            StoredType::Float4 => DataType::Float32,
            StoredType::Float8 => DataType::Float64,
            StoredType::Numeric { precision, scale } => DataType::Decimal128(*precision, *scale),
            StoredType::Text => DataType::Utf8,
            StoredType::Bytea => DataType::Binary,
            StoredType::Date => DataType::Date32,
            StoredType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            StoredType::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            StoredType::List(item) => DataType::List(Arc::new(item.in_files())),
            StoredType::Struct(fields) => DataType::Struct(fields.iter().map(StoredField::in_files).collect()),
        }
    }
}

/// Without what Arrow's equality looks at and a table does not keep: metadata of fields.
pub(super) fn plain_schema(schema: &Schema) -> Result<SchemaRef> {
    let fields = schema.fields().iter().map(|field| Ok(StoredField::of(field)?.asked())).collect::<Result<Fields>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

pub(super) fn partition_columns(layout: &Layout) -> Vec<String> {
    match layout {
        Layout::Plain => Vec::new(),
        Layout::Keyed { .. } => vec![BUCKET_COLUMN.to_owned(), MONTH_COLUMN.to_owned()],
    }
}

/// The columns in Delta's terms, partition columns last.
pub(super) fn delta_columns(file_schema: &Schema, layout: &Layout) -> Result<Vec<StructField>> {
    let mut fields: Vec<Field> = file_schema.fields().iter().map(|field| field.as_ref().clone()).collect();
    if let Layout::Keyed { .. } = layout {
        fields.push(Field::new(BUCKET_COLUMN, DataType::Int32, true));
        fields.push(Field::new(MONTH_COLUMN, DataType::Date32, true));
    }
    let convert =
        |field: &Field| -> std::result::Result<StructField, arrow::error::ArrowError> { field.try_into_kernel() };
    fields
        .iter()
        .map(|field| {
            let message = format!("column \"{}\" of type {} cannot be stored offline", field.name(), field.data_type());
            convert(field).map_err(|error| Error::new(Kind::FeatureNotSupported, message).with_source(error))
        })
        .collect()
}

/// What the table's properties keep of it.
pub(super) fn properties(schema: &Schema, layout: &Layout) -> Result<Vec<(String, Option<String>)>> {
    let fields = schema.fields().iter().map(|field| StoredField::of(field)).collect::<Result<Vec<_>>>()?;
    let layout = match layout.clone() {
        Layout::Plain => StoredLayout::Plain,
        Layout::Keyed { time_column, bucket_count, key_columns } => {
            StoredLayout::Keyed { time_column, bucket_count, key_columns }
        }
    };
    Ok(vec![
        (FORMAT_PROPERTY.to_owned(), Some(FORMAT.to_owned())),
        (SCHEMA_PROPERTY.to_owned(), Some(to_json(&fields))),
        (LAYOUT_PROPERTY.to_owned(), Some(to_json(&layout))),
    ])
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("names and numbers are JSON")
}

/// The inverse of [`properties`].
pub(super) fn read_properties(path: &Path, properties: &HashMap<String, String>) -> Result<(SchemaRef, Layout)> {
    let property = |name: &str| {
        properties
            .get(name)
            .ok_or_else(|| damaged(path, format!("it is not one of Granary's: property \"{name}\" is missing")))
    };
    let format = property(FORMAT_PROPERTY)?;
    if format != FORMAT {
        let what = format!("it has format {format}, this server reads format {FORMAT}");
        return Err(damaged(path, what).with_hint("use a newer server"));
    }
    let fields: Vec<StoredField> = from_json(path, property(SCHEMA_PROPERTY)?)?;
    let fields: Fields = fields.iter().map(StoredField::asked).collect();
    let layout = match from_json(path, property(LAYOUT_PROPERTY)?)? {
        StoredLayout::Plain => Layout::Plain,
        StoredLayout::Keyed { time_column, bucket_count, key_columns } => {
            Layout::Keyed { time_column, bucket_count, key_columns }
        }
    };
    Ok((Arc::new(Schema::new(fields)), layout))
}

fn from_json<T: for<'de> Deserialize<'de>>(path: &Path, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| damaged(path, format!("a property is {text}")).with_source(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyed() -> Layout {
        Layout::Keyed { time_column: "ts".into(), bucket_count: 4, key_columns: vec!["k".into()] }
    }

    fn timestamp(name: &str) -> Field {
        Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false)
    }

    #[test]
    fn properties_are_those_of_format_1() {
        let schema = Schema::new(vec![
            Field::new("k", DataType::Utf8, false),
            timestamp("ts"),
            Field::new("t", DataType::new_list(DataType::Time64(TimeUnit::Microsecond), true), true),
            Field::new("d", DataType::Decimal128(10, 2), true),
        ]);
        let stored = properties(&schema, &keyed()).expect("stored");
        let expected = [
            ("granary.format", "1"),
            (
                "granary.schema",
                r#"[{"name":"k","type":"text","nullable":false},{"name":"ts","type":"timestamptz","nullable":false},{"name":"t","type":{"list":{"name":"item","type":"time","nullable":true}},"nullable":true},{"name":"d","type":{"numeric":{"precision":10,"scale":2}},"nullable":true}]"#,
            ),
            ("granary.layout", r#"{"keyed":{"time_column":"ts","bucket_count":4,"key_columns":["k"]}}"#),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), Some(value.to_owned())));
        assert_eq!(stored, expected);
        let map = stored.into_iter().map(|(name, value)| (name, value.expect("set"))).collect();
        assert_eq!(read_properties(Path::new("/t"), &map).expect("reads"), (Arc::new(schema), keyed()));
        let foreign = read_properties(Path::new("/t"), &HashMap::new()).expect_err("foreign");
        assert_eq!(foreign.kind(), Kind::DataCorrupted);
    }

    #[test]
    fn impossible_tables_are_refused() {
        let key = || Field::new("k", DataType::Int64, false);
        let refused = |fields: Vec<Field>, layout: Layout| {
            file_schema(&Schema::new(fields), &layout).expect_err("refused").kind()
        };
        assert_eq!(
            refused(vec![Field::new("_Bucket", DataType::Int32, true)], Layout::Plain),
            Kind::InvalidObjectDefinition
        );
        assert_eq!(
            refused(vec![key(), timestamp("ts"), Field::new("a b", DataType::Int32, true)], keyed()),
            Kind::InvalidName
        );
        assert_eq!(refused(vec![key(), Field::new("K", DataType::Int64, true)], Layout::Plain), Kind::DuplicateColumn);
        assert_eq!(refused(vec![Field::new("u", DataType::UInt64, true)], Layout::Plain), Kind::FeatureNotSupported);
        assert_eq!(refused(vec![key()], keyed()), Kind::UndefinedColumn);
        assert_eq!(refused(vec![key(), Field::new("ts", DataType::Int64, false)], keyed()), Kind::DatatypeMismatch);
        let list = Field::new("k", DataType::new_list(DataType::Int64, true), false);
        assert_eq!(refused(vec![list, timestamp("ts")], keyed()), Kind::InvalidObjectDefinition);
    }
}
