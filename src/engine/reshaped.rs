//! Sorted rows that become others on their way: tiles of them, or the rows of several tables as those of one. All of it
//! is one table and one operator, in one partition, since it goes by the order of the rows.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::context::SessionState;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::TryStreamExt;

use super::point_in_time::single_partition;
use super::sealed::sealed;

/// What sorted rows become.
pub trait Reshape: fmt::Debug + Send + Sync {
    /// Of the operator.
    fn name(&self) -> &'static str;

    /// As EXPLAIN shows the operator.
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// Of what the rows become.
    fn schema(&self) -> SchemaRef;

    fn stream(self: Arc<Self>, rows: SendableRecordBatchStream) -> DataFusionResult<SendableRecordBatchStream>;
}

/// What a plan's rows become, as a table.
pub struct ReshapedTable {
    reshape: Arc<dyn Reshape>,
    /// sorted
    rows: LogicalPlan,
    /// in which the order of the rows is kept
    state: SessionState,
}

impl ReshapedTable {
    pub fn new(reshape: Arc<dyn Reshape>, rows: LogicalPlan, state: SessionState) -> ReshapedTable {
        ReshapedTable { reshape, rows, state }
    }
}

impl fmt::Debug for ReshapedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReshapedTable({:?})", self.reshape)
    }
}

#[async_trait]
impl TableProvider for ReshapedTable {
    fn schema(&self) -> SchemaRef {
        self.reshape.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let rows = sealed(self.state.create_physical_plan(&self.rows).await?);
        let projection = projection.cloned().unwrap_or_else(|| (0..self.schema().fields().len()).collect());
        Ok(Arc::new(ReshapedExec::new(Arc::clone(&self.reshape), rows, projection)?))
    }
}

#[derive(Debug)]
struct ReshapedExec {
    reshape: Arc<dyn Reshape>,
    rows: Arc<dyn ExecutionPlan>,
    projection: Vec<usize>,
    properties: Arc<PlanProperties>,
}

impl ReshapedExec {
    fn new(
        reshape: Arc<dyn Reshape>,
        rows: Arc<dyn ExecutionPlan>,
        projection: Vec<usize>,
    ) -> DataFusionResult<ReshapedExec> {
        let schema = Arc::new(reshape.schema().project(&projection)?);
        Ok(ReshapedExec { reshape, rows, projection, properties: Arc::new(single_partition(schema)) })
    }
}

impl DisplayAs for ReshapedExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reshape.fmt_as(format, f)
    }
}

impl ExecutionPlan for ReshapedExec {
    fn name(&self) -> &str {
        self.reshape.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.rows]
    }

    // Rows come sorted, in one partition.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(rows), true) => {
                Ok(Arc::new(ReshapedExec::new(Arc::clone(&self.reshape), rows, self.projection.clone())?))
            }
            _ => Err(DataFusionError::Internal(format!("{} has one input", self.reshape.name()))),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DataFusionResult<SendableRecordBatchStream> {
        let rows = Arc::clone(&self.reshape).stream(self.rows.execute(partition, context)?)?;
        let projection = self.projection.clone();
        let batches = rows
            .and_then(move |batch| futures::future::ready(batch.project(&projection).map_err(DataFusionError::from)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}
