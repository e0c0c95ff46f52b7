//! Rows of a view's query folded into tiles: on their way into its offline table, and as a table of their own for
//! those who want to see them.

use std::fmt;
use std::ops::Add;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::{TableProvider, TableType, provider_as_source};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::context::SessionState;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{StreamExt, TryStreamExt};

use super::event_rows::{event_rows_plan, together};
use super::folding::{Fold, folded, folded_schema};
use super::into_datafusion;
use super::point_in_time::{check_materialized, single_partition};
use super::query::QueryPlanner;
use super::relation::{BoundView, RowLayout, TILE, in_layout, is_on_demand, materialized};
use super::rows::{RowsRequest, in_range, rows_plan, sorted_plan, sorted_rows_plan, stored_rows_plan};
use super::sealed::sealed;
use super::tables::events::StreamRows;
use crate::error::{Error, Kind, Result};
use crate::offline::BatchStream;
use crate::tile::ViewKind;
use crate::time::ceil_us;

/// The tiles of rows as [`super::query_rows`] gives them: in the columns of `row_schema(RowLayout::Tiles)` and the
/// bucket.
pub fn tile_batches(view: &Arc<BoundView>, rows: SendableRecordBatchStream) -> DataFusionResult<BatchStream> {
    let tiles = folded(view, Fold::Tiles, rows)?;
    Ok(tiles.map_ok(|tiles| tiles.states).boxed())
}

/// The tiles of a view out of a plan of its rows, as a table.
pub struct TileTable {
    view: Arc<BoundView>,
    /// [`super::rows::sorted_rows_plan`]
    rows: LogicalPlan,
    /// in which the order of the rows is kept
    state: SessionState,
    schema: SchemaRef,
}

impl TileTable {
    pub fn new(view: Arc<BoundView>, rows: LogicalPlan, state: SessionState) -> TileTable {
        TileTable { schema: folded_schema(&view), view, rows, state }
    }
}

impl fmt::Debug for TileTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TileTable({})", self.view.name)
    }
}

#[async_trait]
impl TableProvider for TileTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
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
        let projection = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        Ok(Arc::new(TileExec::new(Arc::clone(&self.view), rows, projection)?))
    }
}

/// Folds the sorted rows of a view into tiles.
#[derive(Debug)]
struct TileExec {
    view: Arc<BoundView>,
    rows: Arc<dyn ExecutionPlan>,
    projection: Vec<usize>,
    properties: Arc<PlanProperties>,
}

impl TileExec {
    fn new(view: Arc<BoundView>, rows: Arc<dyn ExecutionPlan>, projection: Vec<usize>) -> DataFusionResult<TileExec> {
        let schema = Arc::new(folded_schema(&view).project(&projection)?);
        Ok(TileExec { view, rows, projection, properties: Arc::new(single_partition(schema)) })
    }
}

impl DisplayAs for TileExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TileExec: {} from source", self.view.name)
    }
}

impl ExecutionPlan for TileExec {
    fn name(&self) -> &str {
        "TileExec"
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
            (Some(rows), true) => Ok(Arc::new(TileExec::new(Arc::clone(&self.view), rows, self.projection.clone())?)),
            _ => Err(DataFusionError::Internal("tiles have one input".into())),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DataFusionResult<SendableRecordBatchStream> {
        let tiles = tile_batches(&self.view, self.rows.execute(partition, context)?)?;
        let projection = self.projection.clone();
        let batches = tiles
            .map_err(into_datafusion)
            .and_then(move |batch| futures::future::ready(batch.project(&projection).map_err(DataFusionError::from)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

/// When a tile begins, and where the next one does.
const INTERVAL_START: &str = "_interval_start_time";
const INTERVAL_END: &str = "_interval_end_time";

/// The tiles of a view that begin in a range: from its offline store or from its source, as the session reads features.
/// Without a range only the columns matter. Errors: 22023 for a view without tiles, 55000 for what is not materialized.
pub async fn partial_aggregates_plan(
    planner: &QueryPlanner,
    view: &Arc<BoundView>,
    request: Option<RowsRequest>,
) -> Result<LogicalPlan> {
    check_has_tiles(view)?;
    // without states that no feature is made of any more
    let view = &Arc::new(view.in_use());
    let interval_us = view.plan.timing.interval_us;
    let (start_us, end_us) = match request {
        Some(RowsRequest::Range { start_us, end_us }) => (ceil_us(start_us, interval_us), ceil_us(end_us, interval_us)),
        Some(RowsRequest::Everything) => (i64::MIN, i64::MAX),
        None => (0, 0),
    };
    let tiles = if request.is_none() {
        table_plan(Arc::new(EmptyTable::new(view.row_schema(RowLayout::Tiles))), view)?
    } else if is_on_demand(planner)? {
        // what a joined view has made of events is not computed again
        let events = if view.joins { event_rows_plan(planner, view).await? } else { None };
        let rows = match events {
            None => sorted_rows_plan(planner, view, RowsRequest::Range { start_us, end_us }).await?,
            Some(events) => {
                let mirror = planner.clone().with_stream_rows(StreamRows::Mirror);
                let mirror = rows_plan(&mirror, view, RowsRequest::Range { start_us, end_us }).await?;
                let events = LogicalPlanBuilder::from(events);
                let events = events.filter(in_range(column(&view.timestamp), start_us, end_us))?.build()?;
                sorted_plan(view, together(mirror, events, &view.row_schema(RowLayout::Events))?)?
            }
        };
        let state = planner.engine.ordered_state(planner.now_us);
        table_plan(Arc::new(TileTable::new(Arc::clone(view), rows, state)), view)?
    } else {
        check_materialized(view, &materialized(planner, view, &view.group_numbers()), (start_us, end_us))?;
        let mut tiles = stored_rows_plan(planner, view, (start_us, end_us)).await?;
        if let Some(events) = event_rows_plan(planner, view).await? {
            // where a backfill ends inside of a tile there are two of it: its own part, and that of the events
            let ordered = planner.engine.ordered_state(planner.now_us);
            tiles = together(tiles, in_layout(view, events, ordered)?, &view.row_schema(RowLayout::Tiles))?;
        }
        LogicalPlanBuilder::from(tiles).filter(in_range(column(TILE), start_us, end_us))?.build()?
    };
    let mut columns: Vec<Expr> = view.keys.iter().chain(&view.secondary).map(|key| column(&key.name)).collect();
    let width = lit(ScalarValue::DurationMicrosecond(Some(interval_us)));
    columns.push(column(TILE).alias(INTERVAL_START));
    columns.push(column(TILE).add(width).alias(INTERVAL_END));
    for (spec, name) in view.plan.partials.iter().zip(&view.partial_names) {
        columns.extend(spec.state_fields(name).iter().map(|field| column(field.name())));
    }
    Ok(LogicalPlanBuilder::from(tiles).project(columns)?.build()?)
}

fn table_plan(table: Arc<dyn TableProvider>, view: &BoundView) -> Result<LogicalPlan> {
    Ok(LogicalPlanBuilder::scan(view.name.as_str(), provider_as_source(table), None)?.build()?)
}

fn check_has_tiles(view: &BoundView) -> Result<()> {
    let why = match view.kind() {
        ViewKind::BatchAttributes | ViewKind::StreamAttributes => "it has attributes",
        ViewKind::StreamContinuous => "its windows are continuous",
        ViewKind::BatchAggregates | ViewKind::StreamTiled if view.known_at.is_some() => {
            "with known_at, what a tile holds depends on the time that is asked for"
        }
        ViewKind::BatchAggregates | ViewKind::StreamTiled => return Ok(()),
    };
    let message = format!("feature view \"{}\" has no partial aggregates: {why}", view.name);
    let hint = format!("see its rows: SELECT * FROM transformation('{}', start, end)", view.name);
    Err(Error::new(Kind::InvalidParameterValue, message).with_hint(hint))
}

fn column(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}
