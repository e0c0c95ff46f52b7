//! `SHOW CREATE …`.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use granary_sql::statement::ShowCreate;

use super::context::StatementContext;
use super::workspace::kind_of;
use crate::error::{Error, Result};

/// One row: the statement that makes the object.
pub fn show_create(context: &StatementContext, show: &ShowCreate) -> Result<RecordBatch> {
    let object = context.find(kind_of(show.kind), &show.name)?;
    text_row("create_statement", &object.header().statement)
}

/// One row of one text column.
pub fn text_row(column: &str, text: &str) -> Result<RecordBatch> {
    text_rows(column, std::iter::once(text))
}

/// Rows of one text column.
pub fn text_rows<'a>(column: &str, texts: impl Iterator<Item = &'a str>) -> Result<RecordBatch> {
    let schema = Arc::new(Schema::new(vec![Field::new(column, DataType::Utf8, false)]));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
    RecordBatch::try_new(schema, vec![texts]).map_err(|error| Error::internal("text rows").with_source(error))
}
