//! The rows of several files as one stream, in the order that the table keeps: what compaction writes, and what spans
//! are folded from.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, lit};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr, conjunction_opt};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, execute_stream};
use futures::TryStreamExt;

use super::reach::Reach;
use super::rows::StoredRows;
use super::scan::Scan;
use crate::engine::Engine;
use crate::engine::relation::ARRIVAL;
use crate::error::{Error, Result};
use crate::offline::{BUCKET_COLUMN, DataFile, Layout, OfflineTable};

/// The rows of `files`: of a plain table one file after the other; of a keyed one, whose files are all of one bucket
/// and month, by (keys, time, arrival), with the bucket beside the table's columns.
pub fn merged_rows(
    engine: &Engine,
    table: &Arc<OfflineTable>,
    files: &[&DataFile],
) -> Result<SendableRecordBatchStream> {
    let state = engine.ordered_state(0);
    let scan = |groups: Vec<Vec<&DataFile>>| {
        let columns: Vec<usize> = (0..table.schema.fields().len()).collect();
        let scan = Scan {
            table,
            schema: &table.schema,
            columns: &columns,
            groups,
            shared: false,
            predicate: None,
            row_by_row: false,
            limit: None,
        };
        scan.plan(state.runtime_env())
    };
    let Layout::Keyed { time_column, key_columns, .. } = &table.layout else {
        return Ok(execute_stream(scan(vec![files.to_vec()])?, state.task_ctx())?);
    };
    let order = row_order(&table.schema, key_columns, time_column)?;
    let (sorted, unsorted): (Vec<&DataFile>, Vec<&DataFile>) = files.iter().partition(|file| file.sorted);
    let mut parts = Vec::new();
    if !sorted.is_empty() {
        parts.push(scan(sorted.into_iter().map(|file| vec![file]).collect())?);
    }
    if !unsorted.is_empty() {
        parts.push(Arc::new(SortExec::new(order.clone(), scan(vec![unsorted])?)));
    }
    let parts = if parts.len() == 1 { parts.remove(0) } else { UnionExec::try_new(parts)? };
    // equal rows stay in the order of their files
    let merged = SortPreservingMergeExec::new(order, parts).with_round_robin_repartition(false);
    let bucket =
        files.first().and_then(|file| file.bucket).ok_or_else(|| Error::internal("a file without a bucket"))?;
    Ok(execute_stream(with_bucket(Arc::new(merged), bucket)?, state.task_ctx())?)
}

/// The rows of a view with a time in the range, or of its spans: by (bucket, keys, time, arrival), with the bucket
/// behind their columns. Their files are in order.
pub fn sorted_rows(engine: &Engine, rows: &StoredRows, times: Range<i64>) -> Result<SendableRecordBatchStream> {
    let state = engine.ordered_state(0);
    let plans =
        (0..rows.bucket_count()).map(|bucket| bucket_in_order(rows, bucket, &times)).collect::<Result<Vec<_>>>()?;
    let first = plans.first().ok_or_else(|| Error::internal("a keyed table without buckets"))?;
    let schema = first.schema();
    let streams = futures::stream::iter(plans.into_iter().map(move |plan| execute_stream(plan, state.task_ctx())));
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, streams.try_flatten())))
}

fn bucket_in_order(rows: &StoredRows, bucket: u32, times: &Range<i64>) -> Result<Arc<dyn ExecutionPlan>> {
    let columns: Vec<usize> = (0..rows.schema().fields().len()).collect();
    let reach = Reach { times: times.clone(), bucket: Some(bucket), ..Reach::EVERYTHING };
    let (files, _) = rows.files_in_order(&columns, &reach)?;
    let Some(table) = rows.version().filter(|_| files.output_partitioning().partition_count() > 0) else {
        return with_bucket(Arc::new(EmptyExec::new(files.schema())), bucket);
    };
    let Layout::Keyed { time_column, key_columns, .. } = &table.layout else {
        return Err(Error::internal("rows of a view are not keyed"));
    };
    let order = row_order(&rows.schema(), key_columns, time_column)?;
    let wanted = within(files, time_column, times)?;
    let merged = SortPreservingMergeExec::new(order, wanted).with_round_robin_repartition(false);
    with_bucket(Arc::new(merged), bucket)
}

/// Just the rows with a time in the range.
pub(super) fn within(
    rows: Arc<dyn ExecutionPlan>,
    time_column: &str,
    times: &Range<i64>,
) -> Result<Arc<dyn ExecutionPlan>> {
    if *times == (i64::MIN..i64::MAX) {
        return Ok(rows);
    }
    let time: Arc<dyn PhysicalExpr> = Arc::new(Column::new_with_schema(time_column, &rows.schema())?);
    let at = |time_us: i64| lit(ScalarValue::TimestampMicrosecond(Some(time_us), Some("UTC".into())));
    let bounds = [(Operator::GtEq, times.start, i64::MIN), (Operator::Lt, times.end, i64::MAX)];
    let conjuncts = bounds.into_iter().filter(|(_, bound, none)| bound != none).map(|(operator, bound, _)| {
        Arc::new(BinaryExpr::new(Arc::clone(&time), operator, at(bound))) as Arc<dyn PhysicalExpr>
    });
    match conjunction_opt(conjuncts) {
        Some(predicate) => Ok(Arc::new(FilterExec::try_new(predicate, rows)?)),
        None => Ok(rows),
    }
}

fn row_order(schema: &Schema, key_columns: &[String], time_column: &String) -> Result<LexOrdering> {
    let arrival = schema.field_with_name(ARRIVAL).is_ok().then(|| ARRIVAL.to_owned());
    let names = key_columns.iter().chain([time_column]).chain(&arrival);
    let ascending = SortOptions { descending: false, nulls_first: true };
    let exprs =
        names.map(|name| Ok(PhysicalSortExpr::new(Arc::new(Column::new_with_schema(name, schema)?), ascending)));
    let exprs = exprs.collect::<DataFusionResult<Vec<_>>>()?;
    LexOrdering::new(exprs).ok_or_else(|| Error::internal("a keyed table without keys"))
}

fn with_bucket(rows: Arc<dyn ExecutionPlan>, bucket: u32) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = rows.schema();
    let column = |(index, field): (usize, &Arc<Field>)| -> (Arc<dyn PhysicalExpr>, String) {
        (Arc::new(Column::new(field.name(), index)), field.name().clone())
    };
    let mut exprs: Vec<_> = schema.fields().iter().enumerate().map(column).collect();
    let bucket = ScalarValue::UInt32(Some(bucket)).cast_to(&DataType::Int32)?;
    exprs.push((lit(bucket), BUCKET_COLUMN.to_owned()));
    Ok(Arc::new(ProjectionExec::try_new(exprs, rows)?))
}
