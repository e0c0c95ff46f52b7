//! A sequence as a relation: the one row that says where it is.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::{MemTable, TableProvider};
use granary_catalog::{Catalog, Column, Sequence};

use crate::error::Result;

pub fn columns() -> Vec<Column> {
    let column = |name: &str, data_type| Column::new(name, data_type, false);
    vec![
        column("last_value", DataType::Int64),
        column("log_cnt", DataType::Int64),
        column("is_called", DataType::Boolean),
    ]
}

pub fn table(catalog: &Catalog, sequence: &Sequence) -> Result<Arc<dyn TableProvider>> {
    let state = catalog.sequences().state(sequence)?;
    let fields = columns().into_iter().map(|column| Field::new(column.name, column.data_type, false));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let values: [ArrayRef; 3] = [
        Arc::new(Int64Array::from(vec![state.last_value])),
        // how many numbers the log is ahead is told by nobody
        Arc::new(Int64Array::from(vec![0])),
        Arc::new(BooleanArray::from(vec![state.is_called])),
    ];
    let rows = RecordBatch::try_new(Arc::clone(&schema), values.to_vec())?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![rows]])?))
}
