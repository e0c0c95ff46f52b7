//! Arrays that are carried as their texts, as lists: for clients that take Arrow.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, RecordBatchOptions, StringArray};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use granary_postgres::types::{self as t, Type};
use granary_postgres::{Value as Pg, text};

use super::carry;
use crate::engine::catalog_query::{converted, world::UTC};
use crate::error::{Error, Result};

/// A schema in which such arrays are lists.
pub fn with_lists(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match listed_as(field) {
        Some(data_type) => Arc::new(field.as_ref().clone().with_data_type(carry::stored(&data_type))),
        None => Arc::clone(field),
    });
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

/// The same of rows. Errors: 0A000 for an array of several dimensions, which is no list.
pub fn rows_with_lists(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(batch.schema_ref().fields()).zip(schema.fields());
    let columns = columns.map(|((array, field), wanted)| match (listed_as(field), wanted.data_type()) {
        (Some(data_type), DataType::List(item)) => list(array, &data_type, item),
        _ => Ok(Arc::clone(array)),
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

fn listed_as(field: &Field) -> Option<Type> {
    let name = field.metadata().get("pg.type").filter(|_| *field.data_type() == DataType::Utf8)?;
    let data_type = Type::of(t::type_named(name.trim_matches('"'))?.oid);
    data_type.element().map(|_| data_type)
}

fn list(array: &ArrayRef, data_type: &Type, item: &Arc<Field>) -> Result<ArrayRef> {
    let texts = array.as_string_opt::<i32>().ok_or_else(|| Error::internal("an array is no text"))?;
    let element = data_type.element().unwrap_or(Type::of(t::TEXT));
    let mut items: Vec<Option<String>> = Vec::new();
    let mut lengths = Vec::with_capacity(texts.len());
    for shown in texts {
        let before = items.len();
        if let Some(shown) = shown
            && let Pg::Array(array) = text::parse(shown, data_type, UTC).map_err(|error| converted(error, ""))?
        {
            if array.dimensions.len() > 1 {
                return Err(Error::not_supported("an array of several dimensions in Arrow"));
            }
            items.extend(array.items.iter().map(|item| text::format(item, &element, UTC)));
        }
        lengths.push(items.len() - before);
    }
    let items: ArrayRef = Arc::new(StringArray::from(items));
    let items = cast_with_options(&items, item.data_type(), &CastOptions { safe: false, ..CastOptions::default() })?;
    let nulls = NullBuffer::from_iter((0..texts.len()).map(|row| texts.is_valid(row)));
    Ok(Arc::new(ListArray::try_new(Arc::clone(item), OffsetBuffer::from_lengths(lengths), items, Some(nulls))?))
}
