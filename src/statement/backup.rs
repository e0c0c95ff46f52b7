//! `BACKUP TO`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use granary_sql::statement::Backup;
use granary_sql::timestamp::format_timestamp;
use tokio_util::sync::CancellationToken;

use super::context::StatementContext;
use crate::backup::{Target, take};
use crate::engine::time_type;
use crate::error::{Error, Result};

/// The columns of the answer.
pub fn backup_schema() -> SchemaRef {
    let count = |name| Field::new(name, DataType::Int64, false);
    Arc::new(Schema::new(vec![
        Field::new("backup", DataType::Utf8, false),
        Field::new("taken_at", time_type(), false),
        count("files"),
        count("bytes"),
        count("new_files"),
        count("new_bytes"),
        count("removed_backups"),
    ]))
}

/// Takes a backup; gives what it is in one row.
pub async fn backup(
    context: &mut StatementContext,
    statement: &Backup,
    cancel: &CancellationToken,
) -> Result<RecordBatch> {
    let target = Target::open(&statement.to)?;
    let keep = statement.keep.map(|keep| usize::try_from(keep).unwrap_or(usize::MAX));
    let taken = take(&context.warehouse, &target, keep, cancel).await?;
    tracing::info!(
        backup = taken.id,
        taken_at = format_timestamp(taken.taken_us),
        files = taken.files,
        new_bytes = taken.new_bytes,
        "a backup was taken"
    );
    let count =
        |number: u64| -> ArrayRef { Arc::new(Int64Array::from(vec![i64::try_from(number).unwrap_or(i64::MAX)])) };
    let columns = vec![
        Arc::new(StringArray::from(vec![taken.id])) as ArrayRef,
        Arc::new(TimestampMicrosecondArray::from(vec![taken.taken_us]).with_data_type(time_type())),
        count(taken.files as u64),
        count(taken.bytes),
        count(taken.new_files as u64),
        count(taken.new_bytes),
        count(taken.removed as u64),
    ];
    RecordBatch::try_new(backup_schema(), columns)
        .map_err(|error| Error::internal("a backup as a row").with_source(error))
}
