//! Rows of a view's query folded into tiles: on their way into its offline table, and as a table of their own for
//! those who want to see them.

use std::fmt;
use std::ops::Add;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
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

use super::into_datafusion;
use super::point_in_time::{RowGroups, check_materialized, single_partition};
use super::query::QueryPlanner;
use super::relation::{ARRIVAL, BoundView, RowLayout, TILE, is_on_demand, materialized, time_type};
use super::rows::{BUCKET, RowsRequest, in_range, sorted_rows_plan, stored_rows_plan};
use super::sealed::sealed;
use crate::error::{Error, Kind, Result};
use crate::offline::BatchStream;
use crate::row::{Value, array_of, integers_of, value_at, values_of};
use crate::tile::{AggregateItems, RawRows, ViewKind, states_to_arrays, tile_rows};
use crate::time::ceil_us;

/// A batch of tiles has about as many rows.
const ROWS_AT_ONCE: usize = 8192;

/// The tiles of rows as [`super::query_rows`] gives them: in the columns of `row_schema(RowLayout::Tiles)` and the
/// bucket.
pub fn tile_batches(view: &Arc<BoundView>, rows: SendableRecordBatchStream) -> DataFusionResult<BatchStream> {
    let groups = RowGroups::new(&view.key_types(), rows)?;
    let builder = TileBuilder::new(Arc::clone(view));
    let batches = futures::stream::try_unfold((builder, groups), |(builder, mut groups)| async move {
        let mut parts: Vec<RecordBatch> = Vec::new();
        let mut rows = 0;
        while rows < ROWS_AT_ONCE {
            let Some((_, columns)) = groups.next().await? else { break };
            let tiles = builder.tiles_of_key(groups.schema(), &columns)?;
            rows += tiles.num_rows();
            if tiles.num_rows() > 0 {
                parts.push(tiles);
            }
        }
        let Some(first) = parts.first() else { return Ok(None) };
        let batch = concat_batches(&first.schema(), &parts)
            .map_err(|error| Error::internal("tiles do not join").with_source(error))?;
        Ok(Some((batch, (builder, groups))))
    });
    Ok(batches.boxed())
}

/// Builds the tiles of one view.
#[derive(Debug)]
struct TileBuilder {
    view: Arc<BoundView>,
    schema: SchemaRef,
}

impl TileBuilder {
    fn new(view: Arc<BoundView>) -> TileBuilder {
        TileBuilder { schema: tile_schema(&view), view }
    }

    /// The tiles of one key, out of its rows in order of time and arrival.
    fn tiles_of_key(&self, schema: &SchemaRef, columns: &[ArrayRef]) -> Result<RecordBatch> {
        let view = &self.view;
        let column = |name: &str| -> Result<&ArrayRef> {
            let index = schema.index_of(name).map_err(|error| lost(name).with_source(error))?;
            Ok(&columns[index])
        };
        let rows = RawRows {
            times: integers_of(column(&view.timestamp)?.as_ref())?,
            arrivals: integers_of(column(ARRIVAL)?.as_ref())?,
            secondary: match &view.secondary {
                Some(secondary) => Some(values_of(column(&secondary.name)?.as_ref())?),
                None => None,
            },
            inputs: view
                .partial_inputs
                .iter()
                .map(|taken| taken.iter().map(|&input| column(&view.inputs[input].name).cloned()).collect())
                .collect::<Result<_>>()?,
        };
        let items = tile_rows(&view.plan, &rows)?;
        self.batch(&items, columns, column(BUCKET)?)
    }

    fn batch(&self, items: &AggregateItems, columns: &[ArrayRef], bucket: &ArrayRef) -> Result<RecordBatch> {
        let view = &self.view;
        let n_tiles = items.times.len();
        let repeated = |array: &ArrayRef, data_type: &DataType| -> Result<ArrayRef> {
            let value = value_at(array.as_ref(), 0)?;
            array_of(data_type, std::iter::repeat_n(value.as_ref(), n_tiles))
        };
        let mut arrays = Vec::with_capacity(self.schema.fields().len());
        for (key, array) in view.keys.iter().zip(columns) {
            arrays.push(repeated(array, &key.data_type)?);
        }
        if let (Some(secondary), Some(values)) = (&view.secondary, &items.secondary) {
            arrays.push(array_of(&secondary.data_type, values.iter().map(Option::as_ref))?);
        }
        let times: Vec<Value> = items.times.iter().map(|&time| Value::Int(time)).collect();
        arrays.push(array_of(&time_type(), times.iter().map(Some))?);
        for (spec, states) in view.plan.partials.iter().zip(&items.partials) {
            arrays.extend(states_to_arrays(spec, states)?);
        }
        arrays.push(repeated(bucket, &DataType::Int32)?);
        RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .map_err(|error| Error::internal("tiles do not fit their schema").with_source(error))
    }
}

fn tile_schema(view: &BoundView) -> SchemaRef {
    let mut fields: Vec<Field> =
        view.row_schema(RowLayout::Tiles).fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(Field::new(BUCKET, DataType::Int32, false));
    Arc::new(Schema::new(fields))
}

fn lost(name: &str) -> Error {
    Error::internal(format!("rows lack column {name}"))
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
        TileTable { schema: tile_schema(&view), view, rows, state }
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
        let schema = Arc::new(tile_schema(&view).project(&projection)?);
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
    let interval_us = view.plan.timing.interval_us;
    let (start_us, end_us) = match request {
        Some(RowsRequest::Range { start_us, end_us }) => (ceil_us(start_us, interval_us), ceil_us(end_us, interval_us)),
        Some(RowsRequest::Everything) => (i64::MIN, i64::MAX),
        None => (0, 0),
    };
    let tiles = if request.is_none() {
        table_plan(Arc::new(EmptyTable::new(view.row_schema(RowLayout::Tiles))), view)?
    } else if is_on_demand(planner)? {
        let rows = sorted_rows_plan(planner, view, RowsRequest::Range { start_us, end_us }).await?;
        let state = planner.engine.ordered_state(planner.now_us);
        table_plan(Arc::new(TileTable::new(Arc::clone(view), rows, state)), view)?
    } else {
        check_materialized(view, &materialized(planner, view), (start_us, end_us))?;
        let tiles = LogicalPlanBuilder::from(stored_rows_plan(planner, view).await?);
        tiles.filter(in_range(column(TILE), start_us, end_us))?.build()?
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
