//! The rows that feature views make of pushed events: each has its arrival from its event's offset, so that it is the
//! same row whenever and with whichever others it is computed, online and offline.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Int64Type, SchemaRef};
use datafusion::common::Column;
use datafusion::common::tree_node::TreeNode;
use datafusion::datasource::source_as_provider;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::functions::core::expr_fn::{coalesce, greatest};
use datafusion::functions_nested::length::array_length;
use datafusion::functions_nested::range::range;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, LogicalPlanBuilder, Unnest, cast, lit};
use datafusion::physical_plan::execute_stream;
use futures::TryStreamExt;
use granary_catalog::Stream;

use super::query::QueryPlanner;
use super::relation::{ARRIVAL, BoundView};
use super::rows::{RowsRequest, column, query_in_range, row_columns};
use super::tables::events::{OFFSET, StreamRows, events_of};
use crate::error::{Error, Kind, Result};
use crate::online::FIRST_PUSHED;

/// The arrival of an event is this, and its offset times [`ARRIVALS_OF_EVENT`]: behind that of every row of a backfill,
/// which are counted from one.
pub const FIRST_EVENT_ARRIVAL: i64 = FIRST_PUSHED;
/// Room for the rows that a query may make of one event, out of its lists.
const ARRIVALS_OF_EVENT: i64 = 1 << 16;

/// The arrivals of rows of which each is the first of its event.
pub fn arrivals_of(events: &RecordBatch) -> Result<ArrayRef> {
    let offsets = events.column_by_name(OFFSET).and_then(|offsets| offsets.as_primitive_opt::<Int64Type>());
    let offsets = offsets.ok_or_else(|| Error::internal("events have no offsets"))?;
    let arrival = |offset: i64| offset.checked_mul(ARRIVALS_OF_EVENT)?.checked_add(FIRST_EVENT_ARRIVAL);
    let arrivals = offsets.values().iter().map(|offset| arrival(*offset)).collect::<Option<Vec<i64>>>();
    let arrivals = arrivals.ok_or_else(|| Error::internal("arrivals have run out"))?;
    Ok(Arc::new(Int64Array::from(arrivals)))
}

/// The offset of the event that a row with this arrival is of.
pub fn offset_of_arrival(arrival: i64) -> i64 {
    (arrival - FIRST_EVENT_ARRIVAL).div_euclid(ARRIVALS_OF_EVENT)
}

/// The place of a row among those of its event.
const PLACE: &str = "_offset place";

/// The rows of `view` that come from pushed events, in the columns of `row_schema(RowLayout::Events)`; None if its
/// stream never had any. Errors: 0A000 for a query that does not go event by event.
pub async fn event_rows_plan(planner: &QueryPlanner, view: &BoundView) -> Result<Option<LogicalPlan>> {
    let Some(stream) = stream_of(planner, view) else { return Ok(None) };
    let planner = match planner.stream_rows {
        StreamRows::Given(..) => planner.clone(),
        _ => planner.clone().with_stream_rows(StreamRows::Events),
    };
    if events_of(&planner, stream).await?.is_none() {
        return Ok(None);
    }
    let (base, filter) = query_in_range(&planner, view, RowsRequest::Everything).await?;
    let (filter, mut outputs) = row_columns(&planner, view, base.schema(), filter)?;
    let base = with_offset(base).map_err(|error| match error.kind() {
        Kind::FeatureNotSupported => Error::not_supported(format!(
            "a stream's events in feature view \"{}\", whose query does not go event by event",
            view.name
        ))
        .with_hint("its query may only choose, filter, compute and unnest lists of an event"),
        _ => error,
    })?;
    let mut arrival = lit(FIRST_EVENT_ARRIVAL) + column(OFFSET) * lit(ARRIVALS_OF_EVENT);
    if base.schema().has_column_with_unqualified_name(PLACE) {
        // a list for which there is no room fails
        arrival = arrival + cast(cast(column(PLACE), DataType::UInt16), DataType::Int64);
    }
    outputs.insert(view.keys.len() + usize::from(view.secondary.is_some()) + 1, arrival.alias(ARRIVAL));
    Ok(Some(LogicalPlanBuilder::from(base).filter(filter)?.project(outputs)?.build()?))
}

/// The stream that a stream view reads.
pub fn stream_of<'a>(planner: &'a QueryPlanner, view: &BoundView) -> Option<&'a Stream> {
    planner.scope.snapshot.stream_among(&view.depends_on)
}

/// A plan over events, with their offsets through to its rows.
fn with_offset(plan: LogicalPlan) -> Result<LogicalPlan> {
    let has_subquery = |expr: &Expr| {
        expr.exists(|expr| {
            Ok(matches!(expr, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)))
        })
    };
    for expr in plan.expressions() {
        if has_subquery(&expr)? {
            return Err(Error::not_supported("a subquery over events"));
        }
    }
    Ok(match plan {
        LogicalPlan::TableScan(scan) => {
            if scan.projected_schema.has_column_with_unqualified_name(OFFSET) {
                return Ok(LogicalPlan::TableScan(scan));
            }
            let provider = source_as_provider(&scan.source)?;
            let behind = provider.get_logical_plan().map(Cow::into_owned);
            let behind = behind.ok_or_else(|| Error::not_supported("events beside another relation"))?;
            LogicalPlanBuilder::from(with_offset(behind)?).alias(scan.table_name)?.build()?
        }
        LogicalPlan::Projection(projection) => {
            let input = with_offset(Arc::unwrap_or_clone(projection.input))?;
            let mut exprs = projection.expr;
            for name in [OFFSET, PLACE] {
                if input.schema().has_column_with_unqualified_name(name)
                    && !projection.schema.has_column_with_unqualified_name(name)
                {
                    exprs.push(column(name));
                }
            }
            LogicalPlanBuilder::from(input).project(exprs)?.build()?
        }
        LogicalPlan::Filter(filter) => {
            let input = with_offset(Arc::unwrap_or_clone(filter.input))?;
            LogicalPlan::Filter(Filter::try_new(filter.predicate, Arc::new(input))?)
        }
        LogicalPlan::SubqueryAlias(alias) => {
            LogicalPlanBuilder::from(with_offset(Arc::unwrap_or_clone(alias.input))?).alias(alias.alias)?.build()?
        }
        LogicalPlan::Unnest(unnest) => with_places(unnest)?,
        _ => return Err(Error::not_supported("a query that does not go event by event")),
    })
}

/// Lists of events, with the places of their items: a list of the places is unnested beside them.
fn with_places(unnest: Unnest) -> Result<LogicalPlan> {
    let input = with_offset(Arc::unwrap_or_clone(unnest.input))?;
    let is_flat =
        unnest.struct_type_columns.is_empty() && unnest.list_type_columns.iter().all(|(_, list)| list.depth == 1);
    if !is_flat || input.schema().has_column_with_unqualified_name(PLACE) {
        return Err(Error::not_supported("lists in lists of events"));
    }
    let length = |list: &Column| cast(array_length(Expr::Column(list.clone())), DataType::Int64);
    let lengths = unnest.exec_columns.iter().map(|list| coalesce(vec![length(list), lit(0_i64)]));
    // the shorter ones of several lists end with NULLs
    let longest = greatest(lengths.collect());
    let places = range(lit(0_i64), longest, lit(1_i64)).alias(PLACE);
    let columns = input.schema().columns().into_iter().map(Expr::Column).chain([places]);
    let input = LogicalPlanBuilder::from(input.clone()).project(columns.collect::<Vec<_>>())?;
    let lists = unnest.exec_columns.into_iter().chain([Column::from_name(PLACE)]).collect();
    Ok(input.unnest_columns_with_options(lists, unnest.options)?.build()?)
}

/// The rows that `view` makes of these events of its stream.
pub async fn rows_of_events(planner: &QueryPlanner, view: &BoundView, events: RecordBatch) -> Result<Vec<RecordBatch>> {
    let Some(stream) = stream_of(planner, view) else { return Ok(Vec::new()) };
    let given = StreamRows::Given(stream.header.id, events);
    match event_rows(&planner.clone().with_stream_rows(given), view).await? {
        Some(rows) => Ok(rows.try_collect().await?),
        None => Ok(Vec::new()),
    }
}

/// Runs [`event_rows_plan`], in any order.
pub async fn event_rows(planner: &QueryPlanner, view: &BoundView) -> Result<Option<SendableRecordBatchStream>> {
    let Some(plan) = event_rows_plan(planner, view).await? else { return Ok(None) };
    let state = planner.engine.ordered_state(planner.now_us);
    let physical = state.create_physical_plan(&plan).await?;
    Ok(Some(execute_stream(physical, state.task_ctx())?))
}

/// Rows of two plans with the same columns, in the columns of `schema`.
pub fn together(first: LogicalPlan, second: LogicalPlan, schema: &SchemaRef) -> Result<LogicalPlan> {
    let columns = || schema.fields().iter().map(|field| column(field.name()));
    let first = LogicalPlanBuilder::from(first).project(columns())?;
    let second = LogicalPlanBuilder::from(second).project(columns())?.build()?;
    Ok(first.union(second)?.build()?)
}
