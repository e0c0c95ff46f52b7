//! Rows that users have written to a feature table, on their way from a transaction into both stores.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::datasource::TableProvider;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::TryStreamExt;

use super::Engine;
use super::relation::BoundView;
use super::rows::written_rows_plan;
use super::tables::pending::TableWrite;
use super::tables::stored::written_table;
use crate::error::Result;
use crate::offline::OfflineStore;

/// The rows of one write: numbered by arrival and sorted by (bucket, keys, time, arrival), in the columns of the stored
/// layout and the bucket. They can be read more than once, and are the same each time.
pub struct WrittenRows {
    rows: Rows,
    count: u64,
}

enum Rows {
    Held { schema: SchemaRef, batches: Vec<RecordBatch> },
    Staged { engine: Arc<Engine>, view: Arc<BoundView>, table: Arc<dyn TableProvider>, first_arrival: i64 },
}

impl WrittenRows {
    /// `columns` are those that the table declares.
    pub async fn of(
        engine: &Arc<Engine>,
        offline: &OfflineStore,
        view: &Arc<BoundView>,
        (write, columns): (TableWrite, SchemaRef),
        first_arrival: i64,
    ) -> Result<WrittenRows> {
        let held = write.held_rows();
        if write.staged.is_empty() {
            let table = written_table(offline, write, columns).await?;
            let rows = run(engine, view, table, first_arrival).await?;
            let schema = rows.schema();
            let rows = Rows::Held { schema, batches: rows.try_collect().await? };
            return Ok(WrittenRows { rows, count: held });
        }
        let mut count = held;
        for staged in &write.staged {
            let version = offline.table(staged.table()).await?;
            count += version.map_or(0, |version| version.files.iter().map(|file| file.rows).sum());
        }
        let table = written_table(offline, write, columns).await?;
        let (engine, view) = (Arc::clone(engine), Arc::clone(view));
        Ok(WrittenRows { rows: Rows::Staged { engine, view, table, first_arrival }, count })
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.count
    }

    pub async fn read(&self) -> Result<SendableRecordBatchStream> {
        match &self.rows {
            Rows::Held { schema, batches } => {
                let batches = futures::stream::iter(batches.clone().into_iter().map(Ok));
                Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(schema), batches)))
            }
            Rows::Staged { engine, view, table, first_arrival } => {
                run(engine, view, Arc::clone(table), *first_arrival).await
            }
        }
    }
}

async fn run(
    engine: &Engine,
    view: &BoundView,
    table: Arc<dyn TableProvider>,
    first_arrival: i64,
) -> Result<SendableRecordBatchStream> {
    // whose one partition keeps the order in which the rows were written: it is their arrival
    let state = engine.ordered_state(0);
    let physical = state.create_physical_plan(&written_rows_plan(view, table, first_arrival)?).await?;
    Ok(execute_stream(physical, state.task_ctx())?)
}
