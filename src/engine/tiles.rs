//! Rows of a view's query folded into tiles: on their way into its offline table, and as a table of their own for
//! those who want to see them.

use std::fmt;
use std::ops::Add;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::{TableProvider, provider_as_source};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::physical_plan::DisplayFormatType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};

use super::event_rows::{event_rows_plan, together};
use super::folding::{Fold, folded, folded_schema};
use super::into_datafusion;
use super::point_in_time::check_materialized;
use super::query::QueryPlanner;
use super::relation::{BoundView, RowLayout, TILE, in_layout, is_on_demand, materialized};
use super::reshaped::{Reshape, ReshapedTable};
use super::rows::{RowsRequest, in_range, rows_plan, sorted_plan, sorted_rows_plan, stored_rows_plan};
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

/// The tiles of a view out of a plan of its rows ([`super::rows::sorted_rows_plan`]), as a table. The order of the rows is
/// kept in `state`.
pub fn tile_table(view: Arc<BoundView>, rows: LogicalPlan, state: SessionState) -> Arc<dyn TableProvider> {
    Arc::new(ReshapedTable::new(Arc::new(Tiles { view }), rows, state))
}

/// Folds the sorted rows of a view into tiles.
#[derive(Debug)]
struct Tiles {
    view: Arc<BoundView>,
}

impl Reshape for Tiles {
    fn name(&self) -> &'static str {
        "TileExec"
    }

    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TileExec: {} from source", self.view.name)
    }

    fn schema(&self) -> SchemaRef {
        folded_schema(&self.view)
    }

    fn stream(self: Arc<Self>, rows: SendableRecordBatchStream) -> DataFusionResult<SendableRecordBatchStream> {
        let tiles = tile_batches(&self.view, rows)?;
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), tiles.map_err(into_datafusion))))
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
        table_plan(tile_table(Arc::clone(view), rows, state), view)?
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
