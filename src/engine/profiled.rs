//! Which columns of a view's rows are profiled, under which names, and rows looked at as they pass.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::TryStreamExt;

use super::error::into_datafusion;
use super::relation::{BoundView, Input, InputSql, RowLayout};
use crate::error::Result;
use crate::monitor::{Class, Profiled};

/// The features of a view of attributes; of one of aggregates what they are made of: the arguments of its functions, by
/// their text. A FILTER is part of it, and what only counts rows is not among them.
pub fn profiled_columns(view: &BoundView) -> Vec<Profiled> {
    let schema = view.row_schema(RowLayout::Events);
    let mut columns: Vec<Profiled> = Vec::new();
    for input in &view.inputs {
        let Some((name, class)) = shown(input) else { continue };
        let Ok(index) = schema.index_of(&input.name) else { continue };
        if columns.iter().all(|known| known.name != name) {
            columns.push(Profiled { name, index, class });
        }
    }
    columns
}

fn shown(input: &Input) -> Option<(String, Class)> {
    match &input.sql {
        InputSql::Column(column) => Some((column.clone(), Class::of(&input.data_type))),
        InputSql::Argument { sql: None, .. } => None,
        InputSql::Argument { sql: Some(sql), filter, counted } => {
            let argument = unquoted(sql);
            let name = match (counted, filter) {
                (false, None) => argument,
                (false, Some(filter)) => format!("{argument} FILTER (WHERE {filter})"),
                (true, None) => format!("count({argument})"),
                (true, Some(filter)) => format!("count({argument}) FILTER (WHERE {filter})"),
            };
            // of what is counted only whether it is NULL is known
            Some((name, if *counted { Class::Opaque } else { Class::of(&input.data_type) }))
        }
    }
}

/// The name of a column that a text is, else the text.
fn unquoted(sql: &str) -> String {
    let inner = sql.strip_prefix('"').and_then(|sql| sql.strip_suffix('"'));
    match inner {
        Some(inner) if !inner.replace("\"\"", "").contains('"') => inner.replace("\"\"", "\""),
        _ => sql.to_owned(),
    }
}

/// The same rows; an error of `look` is one of theirs.
pub fn inspected(
    rows: SendableRecordBatchStream,
    mut look: impl FnMut(&RecordBatch) -> Result<()> + Send + 'static,
) -> SendableRecordBatchStream {
    let schema = rows.schema();
    let looked_at = rows.and_then(move |batch| {
        let looked = look(&batch).map_err(into_datafusion);
        async move { looked.map(|()| batch) }
    });
    Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), looked_at))
}
