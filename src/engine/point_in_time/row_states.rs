//! Rows as states, one a row, so that they can stand beside spans of time that were folded.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties};
use futures::TryStreamExt;

use crate::error::{Error, Result};
use crate::row::integers_of;
use crate::tile::{RawRows, ViewPlan, raw_items, states_to_arrays};

/// How rows become states.
#[derive(Debug, Clone)]
pub struct RowStates {
    pub plan: ViewPlan,
    /// how many columns the keys have: the first ones
    pub n_keys: usize,
    pub time: usize,
    pub arrival: usize,
    pub secondary: Option<usize>,
    /// by partial of the plan, the columns that it reads
    pub inputs: Vec<Vec<usize>>,
    /// of the states: keys, time, secondary key, states
    pub schema: SchemaRef,
}

impl RowStates {
    fn states_of(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let column = |index: usize| Arc::clone(batch.column(index));
        let rows = RawRows {
            times: integers_of(column(self.time).as_ref())?,
            arrivals: integers_of(column(self.arrival).as_ref())?,
            secondary: None,
            inputs: self.inputs.iter().map(|inputs| inputs.iter().map(|index| column(*index)).collect()).collect(),
        };
        let items = raw_items(&self.plan, &rows)?;
        let mut arrays: Vec<ArrayRef> = (0..self.n_keys).map(column).collect();
        arrays.push(column(self.time));
        arrays.extend(self.secondary.map(column));
        for (spec, states) in self.plan.partials.iter().zip(&items.partials) {
            arrays.extend(states_to_arrays(spec, states)?);
        }
        RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .map_err(|error| Error::internal("states of rows do not fit their schema").with_source(error))
    }
}

/// Makes states of the rows of its input, in their order.
#[derive(Debug)]
pub struct RowStatesExec {
    input: Arc<dyn ExecutionPlan>,
    states: Arc<RowStates>,
    properties: Arc<PlanProperties>,
}

impl RowStatesExec {
    pub fn new(input: Arc<dyn ExecutionPlan>, states: Arc<RowStates>) -> RowStatesExec {
        let of_input = input.properties();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&states.schema)),
            input.output_partitioning().clone(),
            of_input.emission_type,
            of_input.boundedness,
        );
        RowStatesExec { input, states, properties: Arc::new(properties) }
    }
}

impl DisplayAs for RowStatesExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RowStatesExec")
    }
}

impl ExecutionPlan for RowStatesExec {
    fn name(&self) -> &str {
        "RowStatesExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
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
            (Some(input), true) => Ok(Arc::new(RowStatesExec::new(input, Arc::clone(&self.states)))),
            _ => Err(DataFusionError::Internal("states have one input".into())),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DataFusionResult<SendableRecordBatchStream> {
        let states = Arc::clone(&self.states);
        let rows = self.input.execute(partition, context)?;
        let batches =
            rows.and_then(move |batch| futures::future::ready(states.states_of(&batch).map_err(DataFusionError::from)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}
