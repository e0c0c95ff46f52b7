//! Rows that come sorted by key, taken one key at a time. Whoever wants the rows of one key together reads them so:
//! the point-in-time join and materialization.

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::row::{OwnedRow, RowConverter, Rows, SortField};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;

use crate::error::{Error, Result};

/// The rows of `input`, key by key. Its first columns are the keys; equal keys stand together.
pub struct RowGroups {
    input: SendableRecordBatchStream,
    schema: SchemaRef,
    converter: RowConverter,
    n_keys: usize,
    batch: Option<(RecordBatch, Rows)>,
    position: usize,
}

impl RowGroups {
    pub fn new(key_types: &[DataType], input: SendableRecordBatchStream) -> DataFusionResult<RowGroups> {
        Ok(RowGroups {
            schema: input.schema(),
            converter: key_converter(key_types)?,
            n_keys: key_types.len(),
            batch: None,
            position: 0,
            input,
        })
    }

    /// The columns of the rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next key and all columns of its rows.
    pub async fn next(&mut self) -> Result<Option<(OwnedRow, Vec<ArrayRef>)>> {
        let mut key: Option<OwnedRow> = None;
        let mut parts: Vec<RecordBatch> = Vec::new();
        loop {
            if !self.fill().await? {
                break;
            }
            let Some((batch, rows)) = &self.batch else { break };
            let start = self.position;
            match &key {
                Some(key) if rows.row(start) != key.row() => break,
                Some(_) => {}
                None => key = Some(rows.row(start).owned()),
            }
            let end = end_of_run(rows, start);
            parts.push(batch.slice(start, end - start));
            self.position = end;
            if end < batch.num_rows() {
                break;
            }
        }
        let Some(key) = key else { return Ok(None) };
        Ok(Some((key, joined(&parts)?)))
    }

    /// Whether there is a row at the position.
    async fn fill(&mut self) -> Result<bool> {
        while self.batch.as_ref().is_none_or(|(batch, _)| self.position >= batch.num_rows()) {
            let Some(batch) = self.input.try_next().await? else { return Ok(false) };
            let rows = convert(&self.converter, &batch.columns()[..self.n_keys])?;
            self.batch = Some((batch, rows));
            self.position = 0;
        }
        Ok(true)
    }
}

fn joined(parts: &[RecordBatch]) -> Result<Vec<ArrayRef>> {
    if let [only] = parts {
        return Ok(only.columns().to_vec());
    }
    let width = parts.first().map_or(0, RecordBatch::num_columns);
    (0..width)
        .map(|column| {
            let arrays: Vec<&dyn Array> = parts.iter().map(|part| part.column(column).as_ref()).collect();
            concat(&arrays).map_err(|error| Error::internal("rows of a key do not join").with_source(error))
        })
        .collect()
}

/// Compares the join keys of both sides.
pub fn key_converter(key_types: &[DataType]) -> DataFusionResult<RowConverter> {
    Ok(RowConverter::new(key_types.iter().map(|data_type| SortField::new(data_type.clone())).collect())?)
}

pub fn convert(converter: &RowConverter, columns: &[ArrayRef]) -> Result<Rows> {
    converter.convert_columns(columns).map_err(|error| Error::internal("keys cannot be compared").with_source(error))
}

/// One past the last row whose key is that of row `start`.
pub fn end_of_run(rows: &Rows, start: usize) -> usize {
    (start + 1..rows.num_rows()).find(|&row| rows.row(row) != rows.row(start)).unwrap_or(rows.num_rows())
}
