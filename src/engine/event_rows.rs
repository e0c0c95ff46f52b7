//! The rows that feature views make of pushed events: each has its arrival from its event's offset, so that it is the
//! same row whenever and with whichever others it is computed, online and offline. Where that does not hold, since other
//! relations decide, too, `joined_rows` has the rows as they were made once; only the plan that makes them is here.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType};
use datafusion::datasource::source_as_provider;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::functions::core::expr_fn::{coalesce, greatest};
use datafusion::functions_nested::length::array_length;
use datafusion::functions_nested::range::range;
use datafusion::logical_expr::{Expr, Filter, Join, LogicalPlan, LogicalPlanBuilder, Unnest, cast, lit};
use datafusion::physical_plan::execute_stream;
use futures::TryStreamExt;
use granary_catalog::{ObjectId, Stream};

use super::error::into_datafusion;
use super::joined_rows::joined_rows_plan;
use super::query::QueryPlanner;
use super::relation::{ARRIVAL, BoundView};
use super::rows::{RowsRequest, column, query_in_range, row_columns};
use super::tables::events::{EventTable, OFFSET, StreamRows, event_schema, events_of, offsets_of};
use crate::error::{Error, Kind, Result};
use crate::online::FIRST_PUSHED;

/// The arrival of an event is this, and its offset times [`ARRIVALS_OF_EVENT`]: behind that of every row of a backfill,
/// which are counted from one.
pub const FIRST_EVENT_ARRIVAL: i64 = FIRST_PUSHED;
/// Room for the rows that a query may make of one event, out of its lists.
pub(super) const ARRIVALS_OF_EVENT: i64 = 1 << 16;

/// The offset of the event that a row with this arrival is of.
pub fn offset_of_arrival(arrival: i64) -> i64 {
    (arrival - FIRST_EVENT_ARRIVAL).div_euclid(ARRIVALS_OF_EVENT)
}

/// The arrival of the first row of an event with this offset.
pub fn first_arrival_of(offset: i64) -> Result<i64> {
    let arrival = offset.checked_mul(ARRIVALS_OF_EVENT).and_then(|behind| behind.checked_add(FIRST_EVENT_ARRIVAL));
    arrival.ok_or_else(|| Error::internal("arrivals have run out"))
}

/// The arrivals of rows of which each is the first of its event.
pub fn first_arrivals(events: &RecordBatch) -> Result<ArrayRef> {
    let arrivals = offsets_of(events)?.values().iter().map(|offset| first_arrival_of(*offset));
    Ok(Arc::new(Int64Array::from(arrivals.collect::<Result<Vec<i64>>>()?)))
}

/// The place of a row among those of its event.
const PLACE: &str = "_offset place";

/// How a query makes rows of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventForm {
    /// of each by itself, so that they are the same whenever they are computed
    ByEvent,
    /// of each with rows of other relations, as these are then
    Joined,
}

/// The form of a view's query. Errors: 0A000 if it has neither, as where it groups events.
pub async fn event_form(planner: &QueryPlanner, view: &BoundView, stream: &Stream) -> Result<EventForm> {
    let given = StreamRows::Given(stream.header.id, RecordBatch::new_empty(event_schema(stream)));
    let (base, _) = query_in_range(&planner.clone().with_stream_rows(given), view, RowsRequest::Everything).await?;
    match with_offset(base.clone(), Beside::Nothing) {
        Ok(_) => return Ok(EventForm::ByEvent),
        Err(error) if error.kind() == Kind::FeatureNotSupported => {}
        Err(error) => return Err(error),
    }
    let joined = with_offset(base, Beside::EventsOf(stream.header.id));
    joined.map(|_| EventForm::Joined).map_err(|error| refused(view, error))
}

fn refused(view: &BoundView, error: Error) -> Error {
    if error.kind() != Kind::FeatureNotSupported {
        return error;
    }
    let what = "a stream's events in feature view";
    Error::not_supported(format!("{what} \"{}\", whose query does not go event by event", view.name))
        .with_detail(format!("In it {}.", error.message()))
        .with_hint(
            "its query may choose, filter, compute, unnest lists of an event, and join or look up other relations; \
             what it groups is for FEATURES",
        )
}

/// The rows of `view` that come from pushed events, in the columns of `row_schema(RowLayout::Events)`; None if its
/// stream never had any. Errors: 0A000 for a query that does not go event by event.
pub async fn event_rows_plan(planner: &QueryPlanner, view: &BoundView) -> Result<Option<LogicalPlan>> {
    let Some(stream) = stream_of(planner, view) else { return Ok(None) };
    if view.joins {
        return joined_rows_plan(planner, view, stream).await;
    }
    let planner = match planner.stream_rows {
        StreamRows::Given(..) => planner.clone(),
        _ => planner.clone().with_stream_rows(StreamRows::Events),
    };
    if events_of(&planner, stream).await?.is_none() {
        return Ok(None);
    }
    let (base, filter, mut outputs) = query_with_offset(&planner, view, Beside::Nothing).await?;
    let mut arrival = lit(FIRST_EVENT_ARRIVAL) + column(OFFSET) * lit(ARRIVALS_OF_EVENT);
    if base.schema().has_column_with_unqualified_name(PLACE) {
        // a list for which there is no room fails
        arrival = arrival + cast(cast(column(PLACE), DataType::UInt16), DataType::Int64);
    }
    outputs.insert(view.keys.len() + usize::from(view.secondary.is_some()) + 1, arrival.alias(ARRIVAL));
    Ok(Some(LogicalPlanBuilder::from(base).filter(filter)?.project(outputs)?.build()?))
}

/// The rows that the query of a joined view makes of given events now: in the columns of
/// `row_schema(RowLayout::Events)` but for the arrival, then the offset, and the place where there is one.
pub(super) async fn made_rows_plan(planner: &QueryPlanner, view: &BoundView, stream: &Stream) -> Result<LogicalPlan> {
    let (base, filter, mut outputs) = query_with_offset(planner, view, Beside::EventsOf(stream.header.id)).await?;
    outputs.push(column(OFFSET));
    if base.schema().has_column_with_unqualified_name(PLACE) {
        outputs.push(cast(column(PLACE), DataType::Int64));
    }
    Ok(LogicalPlanBuilder::from(base).filter(filter)?.project(outputs)?.build()?)
}

/// The view's query over events with their offsets, which of its rows count, and their columns.
async fn query_with_offset(
    planner: &QueryPlanner,
    view: &BoundView,
    beside: Beside,
) -> Result<(LogicalPlan, Expr, Vec<Expr>)> {
    let (base, filter) = query_in_range(planner, view, RowsRequest::Everything).await?;
    let (filter, outputs) = row_columns(planner, view, base.schema(), filter)?;
    let base = with_offset(base, beside).map_err(|error| refused(view, error))?;
    Ok((base, filter, outputs))
}

/// The stream that a stream view reads.
pub fn stream_of<'a>(planner: &'a QueryPlanner, view: &BoundView) -> Option<&'a Stream> {
    planner.scope.snapshot.stream_among(&view.depends_on)
}

/// What a query may read beside events.
#[derive(Debug, Clone, Copy)]
enum Beside {
    Nothing,
    /// anything but the events of this stream once more
    EventsOf(ObjectId),
}

/// A plan over events, with their offsets through to its rows.
fn with_offset(plan: LogicalPlan, beside: Beside) -> Result<LogicalPlan> {
    for expr in plan.expressions() {
        check_subqueries(&expr, beside)?;
    }
    Ok(match plan {
        LogicalPlan::TableScan(scan) => {
            if scan.projected_schema.has_column_with_unqualified_name(OFFSET) {
                return Ok(LogicalPlan::TableScan(scan));
            }
            let provider = source_as_provider(&scan.source)?;
            let behind = provider.get_logical_plan().map(Cow::into_owned);
            let behind = behind.ok_or_else(|| Error::not_supported("events beside another relation"))?;
            LogicalPlanBuilder::from(with_offset(behind, beside)?).alias(scan.table_name)?.build()?
        }
        LogicalPlan::Projection(projection) => {
            let input = with_offset(Arc::unwrap_or_clone(projection.input), beside)?;
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
            let input = with_offset(Arc::unwrap_or_clone(filter.input), beside)?;
            LogicalPlan::Filter(Filter::try_new(filter.predicate, Arc::new(input))?)
        }
        LogicalPlan::SubqueryAlias(alias) => {
            LogicalPlanBuilder::from(with_offset(Arc::unwrap_or_clone(alias.input), beside)?)
                .alias(alias.alias)?
                .build()?
        }
        LogicalPlan::Unnest(unnest) => with_places(unnest, beside)?,
        LogicalPlan::Join(join) => match beside {
            Beside::Nothing => return Err(Error::not_supported("a join over events")),
            Beside::EventsOf(stream) => joined_with_offset(join, stream)?,
        },
        LogicalPlan::Aggregate(_) => return Err(Error::not_supported("a GROUP BY or aggregate over events")),
        LogicalPlan::Distinct(_) => return Err(Error::not_supported("DISTINCT over events")),
        LogicalPlan::Window(_) => return Err(Error::not_supported("a window function over events")),
        LogicalPlan::Sort(_) => return Err(Error::not_supported("ORDER BY over events")),
        LogicalPlan::Limit(_) => return Err(Error::not_supported("LIMIT over events")),
        LogicalPlan::Union(_) => return Err(Error::not_supported("a set operation over events")),
        _ => return Err(Error::not_supported("a query that does not go event by event")),
    })
}

/// A join of events with another relation: each of its rows is of one event.
fn joined_with_offset(join: Join, stream: ObjectId) -> Result<LogicalPlan> {
    let of_left = reads_events(&join.left, stream)?;
    if of_left && reads_events(&join.right, stream)? {
        return Err(Error::not_supported("a join of a stream's events with each other"));
    }
    let keeps_events = match join.join_type {
        JoinType::Inner => true,
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => of_left,
        JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => !of_left,
        JoinType::Full => false,
    };
    if !keeps_events {
        return Err(Error::not_supported("an outer join that keeps rows without an event"));
    }
    let other = if of_left { &join.right } else { &join.left };
    if [OFFSET, PLACE].iter().any(|name| other.schema().has_column_with_unqualified_name(name)) {
        return Err(Error::not_supported(format!("a relation with a column \"{OFFSET}\" beside events")));
    }
    let side = |plan: Arc<LogicalPlan>, is_of_events: bool| match is_of_events {
        true => with_offset(Arc::unwrap_or_clone(plan), Beside::EventsOf(stream)).map(Arc::new),
        false => Ok(plan),
    };
    let (left, right) = (side(join.left, of_left)?, side(join.right, !of_left)?);
    let (on, filter) = (join.on, join.filter);
    let (join_type, constraint, nulls) = (join.join_type, join.join_constraint, join.null_equality);
    Ok(LogicalPlan::Join(Join::try_new(left, right, on, filter, join_type, constraint, nulls, join.null_aware)?))
}

fn check_subqueries(expr: &Expr, beside: Beside) -> Result<()> {
    let mut result = Ok(());
    expr.apply(|expr| {
        let subquery = match expr {
            Expr::ScalarSubquery(subquery) => subquery,
            Expr::InSubquery(within) => &within.subquery,
            Expr::Exists(exists) => &exists.subquery,
            Expr::SetComparison(comparison) => &comparison.subquery,
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        let is_refused = match beside {
            Beside::Nothing => Ok(true),
            Beside::EventsOf(stream) => reads_events(&subquery.subquery, stream),
        };
        result = is_refused.and_then(|is_refused| match is_refused {
            true => Err(Error::not_supported("a subquery over events")),
            false => Ok(()),
        });
        Ok(if result.is_ok() { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    result
}

/// Whether a plan reads the events of a stream anywhere, behind views as well.
fn reads_events(plan: &LogicalPlan, stream: ObjectId) -> Result<bool> {
    let mut reads = false;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let provider = source_as_provider(&scan.source)?;
            let events = provider.downcast_ref::<EventTable>();
            reads |= events.is_some_and(|events| events.stream() == stream);
            if let Some(behind) = provider.get_logical_plan() {
                reads |= reads_events(&behind, stream).map_err(into_datafusion)?;
            }
        }
        Ok(if reads { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(reads)
}

/// Lists of events, with the places of their items: a list of the places is unnested beside them.
fn with_places(unnest: Unnest, beside: Beside) -> Result<LogicalPlan> {
    let input = with_offset(Arc::unwrap_or_clone(unnest.input), beside)?;
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
    run(planner, &plan).await.map(Some)
}

/// The same of the events with offsets in `[start, end)` alone.
pub async fn event_rows_between(
    planner: &QueryPlanner,
    view: &BoundView,
    (start, end): (u64, u64),
) -> Result<Option<SendableRecordBatchStream>> {
    let Some(plan) = event_rows_plan(planner, view).await? else { return Ok(None) };
    let arrival = |offset: u64| match i64::try_from(offset) {
        Ok(offset) => Ok(lit(first_arrival_of(offset)?)),
        Err(_) => Err(Error::internal("offsets have run out")),
    };
    let within = column(ARRIVAL).gt_eq(arrival(start)?).and(column(ARRIVAL).lt(arrival(end)?));
    run(planner, &LogicalPlanBuilder::from(plan).filter(within)?.build()?).await.map(Some)
}

async fn run(planner: &QueryPlanner, plan: &LogicalPlan) -> Result<SendableRecordBatchStream> {
    let state = planner.engine.ordered_state(planner.now_us);
    let physical = state.create_physical_plan(plan).await?;
    Ok(execute_stream(physical, state.task_ctx())?)
}

/// Rows of two plans with the same columns, in the columns of `schema`.
pub fn together(first: LogicalPlan, second: LogicalPlan, schema: &SchemaRef) -> Result<LogicalPlan> {
    let columns = || schema.fields().iter().map(|field| column(field.name()));
    let first = LogicalPlanBuilder::from(first).project(columns())?;
    let second = LogicalPlanBuilder::from(second).project(columns())?.build()?;
    Ok(first.union(second)?.build()?)
}
