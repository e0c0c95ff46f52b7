//! Rows of a part that are more than memory, sorted on disk by key, time and arrival.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::{StreamExt, TryStreamExt};

use super::collect::RowsOnDisk;
use super::kept::{Kept, NUMBER, TIME};
use crate::engine::memory::PartOfMemory;
use crate::error::{Error, Result};

/// Without a `tie`, rows of the same key and time stay in the order in which they came.
///
/// The sort has `memory_bytes`, half of it for merging alone, which holds the keys of what is sorted once more.
pub fn sorted(
    rows: &RowsOnDisk,
    part: usize,
    kept: &Kept,
    tie: Option<usize>,
    memory_bytes: usize,
) -> Result<SendableRecordBatchStream> {
    let mut fields = kept.schema().fields().to_vec();
    fields.push(Arc::new(Field::new("_place", DataType::Int64, false)));
    let schema = Arc::new(Schema::new(fields));
    let place = schema.fields().len() - 1;
    let last = tie.map_or(Ok(place), |tie| kept.place(tie))?;
    let ascending = SortOptions { descending: false, nulls_first: true };
    let by = |column: usize| PhysicalSortExpr::new(column_of(&schema, column).0, ascending);
    let order = LexOrdering::new([by(NUMBER), by(TIME), by(last)]);
    let order = order.ok_or_else(|| Error::internal("a sort without an order"))?;
    let unsorted = UnsortedPart { rows: rows.clone(), part, schema: Arc::clone(&schema) };
    let unsorted = StreamingTableExec::try_new(Arc::clone(&schema), vec![Arc::new(unsorted)], None, [], false, None)?;
    let sorted = SortExec::new(order, Arc::new(unsorted));
    let kept_columns = (0..place).map(|column| column_of(&schema, column)).collect::<Vec<_>>();
    let plan = ProjectionExec::try_new(kept_columns, Arc::new(sorted))?;
    let context = &rows.resources().context;
    let config = context.session_config().clone();
    let config = config.with_sort_spill_reservation_bytes(memory_bytes / 2).with_batch_size(rows.rows_at_once(part));
    let whole = context.runtime_env();
    let memory_pool: Arc<dyn MemoryPool> = Arc::new(PartOfMemory::new(&whole.memory_pool, memory_bytes));
    let runtime = Arc::new(RuntimeEnv { memory_pool, ..whole.as_ref().clone() });
    let context = TaskContext::default().with_session_config(config).with_runtime(runtime);
    Ok(plan.execute(0, Arc::new(context))?)
}

fn column_of(schema: &SchemaRef, column: usize) -> (Arc<dyn PhysicalExpr>, String) {
    let name = schema.field(column).name();
    (Arc::new(Column::new(name, column)), name.clone())
}

/// The rows of a part as they came, each with its place.
struct UnsortedPart {
    rows: RowsOnDisk,
    part: usize,
    schema: SchemaRef,
}

impl std::fmt::Debug for UnsortedPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnsortedPart").field("part", &self.part).finish_non_exhaustive()
    }
}

impl PartitionStream for UnsortedPart {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let rows = match self.rows.streams(self.part) {
            Ok(streams) => futures::stream::iter(streams).flatten().left_stream(),
            Err(error) => futures::stream::once(async move { Err(error.into()) }).right_stream(),
        };
        let mut next = 0_i64;
        let with_place = move |batch: RecordBatch| -> DataFusionResult<RecordBatch> {
            let end = next + batch.num_rows() as i64;
            let mut columns = batch.columns().to_vec();
            columns.push(Arc::new(Int64Array::from_iter_values(next..end)) as ArrayRef);
            next = end;
            Ok(RecordBatch::try_new(Arc::clone(&schema), columns)?)
        };
        let rows = rows.map_ok(with_place).map(|batch| batch?);
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows))
    }
}
