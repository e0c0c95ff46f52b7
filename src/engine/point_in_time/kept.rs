//! Which columns of a plan's rows a join keeps, and the form in which it keeps them: the number of the key, the time,
//! and of the other columns those that something asks for.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use datafusion::arrow::datatypes::{
    DataType, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType, UInt32Type,
};

use crate::error::{Error, Result};

/// The time of a row whose time is NULL: before all others.
pub const NO_TIME: i64 = i64::MIN;

/// Kept rows begin with the number of their key and their time.
pub const NUMBER: usize = 0;
pub const TIME: usize = 1;

/// See the module.
#[derive(Debug)]
pub struct Kept {
    /// of kept rows
    schema: SchemaRef,
    /// by the plan's column: where it is kept
    places: Vec<Option<usize>>,
}

impl Kept {
    /// Of rows of `schema`, whose time is in column `time`, those columns that `wanted` says.
    pub fn of(schema: &SchemaRef, time: usize, wanted: impl Fn(usize) -> bool) -> Kept {
        let mut fields = vec![
            Arc::new(Field::new("_key_number", DataType::UInt32, false)),
            Arc::new(Field::new("_time", DataType::Int64, false)),
        ];
        let mut places = vec![None; schema.fields().len()];
        for (column, place) in places.iter_mut().enumerate().filter(|(column, _)| *column != time && wanted(*column)) {
            *place = Some(fields.len());
            let field = schema.field(column);
            fields.push(Arc::new(Field::new(format!("_{column}"), field.data_type().clone(), true)));
        }
        Kept { schema: Arc::new(Schema::new(fields)), places }
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Where a column of the plan is among the kept ones. The time is none of them: it has its own form.
    pub fn place(&self, column: usize) -> Result<usize> {
        let place = self.places.get(column).copied().flatten();
        place.ok_or_else(|| Error::internal(format!("column {column} of an input was not kept")))
    }

    /// A batch of the plan in its kept form.
    pub fn keep(&self, batch: &RecordBatch, numbers: Vec<u32>, times: Vec<i64>) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt32Array::from(numbers)), Arc::new(Int64Array::from(times))];
        let kept = self.places.iter().zip(batch.columns()).filter(|(place, _)| place.is_some());
        columns.extend(kept.map(|(_, column)| Arc::clone(column)));
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|error| Error::internal("rows have other columns than their plan says").with_source(error))
    }

    /// Kept rows with other numbers.
    pub fn renumbered(&self, kept: &RecordBatch, renumber: impl Fn(u32) -> u32) -> Result<RecordBatch> {
        let mut columns = kept.columns().to_vec();
        columns[NUMBER] =
            Arc::new(numbers_of(kept).iter().map(|number| Some(renumber(*number))).collect::<UInt32Array>());
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|error| Error::internal("rows could not be renumbered").with_source(error))
    }
}

/// The numbers of the keys of kept rows.
pub fn numbers_of(kept: &RecordBatch) -> &[u32] {
    kept.column(NUMBER).as_primitive::<UInt32Type>().values()
}

/// The times of kept rows, microseconds.
pub fn kept_times_of(kept: &RecordBatch) -> &[i64] {
    kept.column(TIME).as_primitive::<Int64Type>().values()
}

/// A column of times as microseconds.
pub fn times_of(batch: &RecordBatch, column: usize) -> Vec<i64> {
    let times = batch.column(column).as_primitive::<TimestampMicrosecondType>();
    if times.null_count() == 0 {
        return times.values().to_vec();
    }
    times.iter().map(|time| time.unwrap_or(NO_TIME)).collect()
}
