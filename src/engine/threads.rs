//! The threads that queries run on. Clients are listened to, and lookups answered, on others, which go first: a query
//! that keeps every core busy must not keep them waiting.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SessionState;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::error::into_datafusion;
use crate::error::{Error, Result};
use crate::priority::{Threads, take_what_is_left};

/// Batches that wait for who asked.
const BATCHES_AHEAD: usize = 2;

/// See the module.
#[derive(Debug)]
pub struct QueryThreads(Threads);

impl QueryThreads {
    pub fn new(count: usize) -> Result<QueryThreads> {
        Threads::new("granary-query", count, take_what_is_left).map(QueryThreads)
    }

    pub fn handle(&self) -> &Handle {
        self.0.handle()
    }

    /// Does work here, in the span of who asks. It is told to stop when the future is dropped; a panic goes on in who waits.
    pub async fn work<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T> {
        let mut tasks = JoinSet::new();
        tasks.spawn_on(work.in_current_span(), self.handle());
        match tasks.join_next().await {
            Some(Ok(done)) => Ok(done),
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            _ => Err(Error::internal("the threads for queries have ended")),
        }
    }

    /// Runs a plan on the threads of its state; its rows come to whoever polls the stream, and it stops when that is
    /// dropped.
    pub fn run(state: &SessionState, plan: Arc<dyn ExecutionPlan>) -> Result<SendableRecordBatchStream> {
        let threads = state.config().get_extension::<QueryThreads>();
        let threads = threads.ok_or_else(|| Error::internal("a query without threads to run on"))?;
        let (schema, context) = (plan.schema(), state.task_ctx());
        Ok(threads.spawn_rows(schema, move || execute_stream(plan, context)))
    }

    /// As [`QueryThreads::run`], of rows that come from elsewhere.
    pub fn stream(
        &self,
        schema: SchemaRef,
        rows: BoxStream<'static, Result<RecordBatch>>,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let begin = move || Ok(rows.map_err(into_datafusion));
        self.spawn_rows(schema, begin).map_err(Error::from).boxed()
    }

    fn spawn_rows<S>(
        &self,
        schema: SchemaRef,
        begin: impl FnOnce() -> DataFusionResult<S> + Send + 'static,
    ) -> SendableRecordBatchStream
    where
        S: Stream<Item = DataFusionResult<RecordBatch>> + Send + Unpin + 'static,
    {
        let mut builder = RecordBatchReceiverStream::builder(schema, BATCHES_AHEAD);
        let sender = builder.tx();
        let work = async move {
            let mut rows = begin()?;
            while let Some(batch) = rows.next().await {
                let is_last = batch.is_err();
                if sender.send(batch).await.is_err() || is_last {
                    break;
                }
            }
            DataFusionResult::Ok(())
        };
        builder.spawn_on(work.in_current_span(), self.handle());
        builder.build()
    }
}
