//! Sources and streams as tables.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{Column, JoinType, NullEquality};
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::{TableProvider, ViewTable, provider_as_source};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::functions::core::expr_fn::nullif;
use datafusion::functions_aggregate::expr_fn::{max, min};
use datafusion::functions_window::row_number::row_number;
use datafusion::logical_expr::{Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, cast, col, lit};
use futures::TryStreamExt;
use granary_catalog::{Backfill, FileFormat, Source, SourceDefinition, Stream};

use super::events::{EventTable, OFFSET, StreamRows, event_schema, events_of};
use super::files;
use crate::engine::plans::run;
use crate::engine::query::QueryPlanner;
use crate::engine::relation::time_type;
use crate::engine::rows::in_range;
use crate::error::{Error, Result};
use crate::row::{Value, value_at};

/// A batch source. While a job runs it gives only the rows of the job's range.
pub async fn source_table(planner: &QueryPlanner, source: &Source) -> Result<Arc<dyn TableProvider>> {
    let plan = source_plan(planner, source).await?;
    let plan = match (planner.source_range, &source.timestamp) {
        (Some((start_us, end_us)), Some(timestamp)) => {
            let time = cast(Expr::Column(Column::from_name(timestamp)), time_type());
            LogicalPlanBuilder::from(plan).filter(in_range(time, start_us, end_us))?.build()?
        }
        _ => plan,
    };
    Ok(Arc::new(ViewTable::new(plan, None)))
}

async fn source_plan(planner: &QueryPlanner, source: &Source) -> Result<LogicalPlan> {
    if let Some(rows) = planner.made_up(&source.clone().into())? {
        return Ok(LogicalPlanBuilder::scan(source.header.name.as_str(), provider_as_source(rows), None)?.build()?);
    }
    match &source.definition {
        SourceDefinition::Files { format, paths, format_options, declared } => {
            let request = files::FileSourceRequest {
                format: *format,
                paths: paths.clone(),
                options: format_options.clone(),
                declared: declared.then(|| source.columns.clone()),
                timestamp: source.timestamp.clone(),
            };
            if *format == FileFormat::Csv
                && let Some((_, null)) = format_options.iter().find(|(name, _)| *name == "null")
            {
                return with_null_text(planner, source, &request, null);
            }
            let table = files::listing_table(&planner.state(), &request, &source.columns)?;
            Ok(LogicalPlanBuilder::scan(source.header.name.as_str(), provider_as_source(table), None)?.build()?)
        }
        SourceDefinition::Query { sql } => {
            // Its own sources are read whole: only the query's own time says what belongs to a job's range.
            let read = source.depends_on.clone();
            planner.clone().with_source_range(None).plan_nested(sql, &source.header.owner, read).await
        }
        SourceDefinition::Postgres { .. } => Err(Error::not_supported("reading a source FROM POSTGRES")),
    }
}

/// A CSV source with a text of its own for NULL, which DataFusion's reader does not know: the columns are read as
/// text, and cast when the NULLs are out.
fn with_null_text(
    planner: &QueryPlanner,
    source: &Source,
    request: &files::FileSourceRequest,
    null: &str,
) -> Result<LogicalPlan> {
    let texts: Vec<_> =
        source.columns.iter().map(|column| granary_catalog::Column::new(&column.name, DataType::Utf8, true)).collect();
    let table = files::listing_table(&planner.state(), request, &texts)?;
    let columns = source.columns.iter().map(|column| {
        let text = nullif(Expr::Column(Column::from_name(&column.name)), lit(null));
        cast(text, column.data_type.clone()).alias(&column.name)
    });
    let scan = LogicalPlanBuilder::scan(source.header.name.as_str(), provider_as_source(table), None)?;
    Ok(scan.project(columns)?.build()?)
}

/// A stream's rows: those of its mirror before the cut-over, in the stream's columns, once each; then its events.
pub async fn stream_table(planner: &QueryPlanner, stream: &Stream) -> Result<Arc<dyn TableProvider>> {
    let (has_events, is_whole) = match planner.stream_rows {
        StreamRows::Mirror => (false, true),
        StreamRows::All => (true, true),
        StreamRows::Events => (true, false),
        // another stream is looked up as any relation is
        StreamRows::Given(given, _) => (true, given != stream.header.id),
    };
    let events = if has_events { events_of(planner, stream).await? } else { None };
    let events = match events {
        Some(events) => Some(counted_events(planner, stream, events, !is_whole)?),
        None if is_whole => None,
        None => return Ok(Arc::new(EmptyTable::new(event_schema(stream)))),
    };
    let mirror = match &stream.backfill {
        Some(backfill) if is_whole => Some(mirror_plan(planner, stream, backfill).await?),
        _ => None,
    };
    let plan = match (mirror, events) {
        (Some(mirror), Some(events)) => LogicalPlanBuilder::from(mirror).union(events)?.build()?,
        (Some(plan), None) | (None, Some(plan)) => plan,
        (None, None) => {
            let field =
                |column: &granary_catalog::Column| Field::new(&column.name, column.data_type.clone(), column.nullable);
            let fields: Vec<Field> = stream.columns.iter().map(field).collect();
            return Ok(Arc::new(EmptyTable::new(Arc::new(Schema::new(fields)))));
        }
    };
    Ok(Arc::new(ViewTable::new(plan, None)))
}

/// The events that count: without DEDUPLICATE BY only the mirror does before the cut-over.
fn counted_events(
    planner: &QueryPlanner,
    stream: &Stream,
    events: Arc<EventTable>,
    with_offsets: bool,
) -> Result<LogicalPlan> {
    let (start_us, end_us) = planner.source_range.unwrap_or((i64::MIN, i64::MAX));
    let cut_us = match &stream.backfill {
        Some(backfill) if stream.deduplicate_by.is_empty() => backfill.until_us,
        _ => i64::MIN,
    };
    let time = cast(Expr::Column(Column::from_name(&stream.timestamp)), time_type());
    let mut columns = columns_of(stream);
    columns.extend(with_offsets.then(|| Expr::Column(Column::from_name(OFFSET))));
    let scan = scan_events(stream, events)?;
    Ok(scan.filter(in_range(time, start_us.max(cut_us), end_us))?.project(columns)?.build()?)
}

fn scan_events(stream: &Stream, events: Arc<EventTable>) -> Result<LogicalPlanBuilder> {
    Ok(LogicalPlanBuilder::scan(stream.header.name.as_str(), provider_as_source(events), None)?)
}

fn columns_of(stream: &Stream) -> Vec<Expr> {
    stream.columns.iter().map(|column| Expr::Column(Column::from_name(&column.name))).collect()
}

async fn mirror_plan(planner: &QueryPlanner, stream: &Stream, backfill: &Backfill) -> Result<LogicalPlan> {
    let mirror = planner.scope.snapshot.get_as::<Source>(backfill.source);
    let mirror = mirror.ok_or_else(|| Error::internal("a stream's backfill source is gone from the catalog"))?;
    let plan = source_plan(planner, mirror).await?;
    let columns = stream.columns.iter().map(|column| {
        cast(Expr::Column(Column::from_name(&column.name)), column.data_type.clone()).alias(&column.name)
    });
    let time = cast(Expr::Column(Column::from_name(&stream.timestamp)), time_type());
    let (start_us, end_us) = planner.source_range.unwrap_or((i64::MIN, i64::MAX));
    let mirror = LogicalPlanBuilder::from(plan).project(columns)?;
    let in_time = in_range(time.clone(), start_us, end_us.min(backfill.until_us));
    if stream.deduplicate_by.is_empty() {
        return Ok(mirror.filter(in_time)?.build()?);
    }
    // which row is the first of its kind does not hang on what a job reads
    let counted = mirror.filter(in_range(time.clone(), i64::MIN, backfill.until_us))?;
    let firsts = first_of_each(counted, stream, time)?.filter(in_time)?;
    // an event that is stored came before its row of the mirror: else it had been left out
    let left = match events_of(planner, stream).await? {
        Some(events) => without_events(firsts, stream, events)?,
        None => firsts,
    };
    Ok(left.build()?)
}

/// Leaves out the rows that agree with an event in the DEDUPLICATE BY columns.
fn without_events(mirror: LogicalPlanBuilder, stream: &Stream, events: Arc<EventTable>) -> Result<LogicalPlanBuilder> {
    let known = |name: &String| Expr::Column(Column::from_name(name)).alias(format!("{REPEAT}{name}"));
    let events = scan_events(stream, events)?;
    let events = events.project(stream.deduplicate_by.iter().map(known))?.build()?;
    let of_mirror: Vec<Column> = stream.deduplicate_by.iter().map(Column::from_name).collect();
    let of_events: Vec<Column> =
        stream.deduplicate_by.iter().map(|name| Column::from_name(format!("{REPEAT}{name}"))).collect();
    let equal = NullEquality::NullEqualsNull;
    Ok(mirror.join_detailed(events, JoinType::LeftAnti, (of_mirror, of_events), None, equal)?)
}

/// The DEDUPLICATE BY columns of a stream's mirror, as far as it counts; None if it has no mirror.
pub async fn mirror_ids(planner: &QueryPlanner, stream: &Stream) -> Result<Option<SendableRecordBatchStream>> {
    let Some(backfill) = &stream.backfill else { return Ok(None) };
    let plan = mirror_plan(planner, stream, backfill).await?;
    let columns = stream.deduplicate_by.iter().map(|name| Expr::Column(Column::from_name(name)));
    let plan = LogicalPlanBuilder::from(plan).project(columns)?.build()?;
    Ok(Some(run(&planner.state(), &plan).await?))
}

/// The DEDUPLICATE BY columns of a stream's events and their offsets, of those from offset `from` on.
pub async fn event_ids(
    planner: &QueryPlanner,
    stream: &Stream,
    from: u64,
) -> Result<Option<SendableRecordBatchStream>> {
    let Some(events) = events_of(planner, stream).await? else { return Ok(None) };
    let from = i64::try_from(from).map_err(|_| Error::internal("offsets have run out"))?;
    let columns = stream.deduplicate_by.iter().map(String::as_str).chain([OFFSET]);
    let columns: Vec<Expr> = columns.map(|name| Expr::Column(Column::from_name(name))).collect();
    let scan = scan_events(stream, events)?;
    let plan = scan.filter(Expr::Column(Column::from_name(OFFSET)).gt_eq(lit(from)))?.project(columns)?.build()?;
    Ok(Some(run(&planner.state(), &plan).await?))
}

/// The time of a stream's newest event up to now, by all that it has.
pub async fn newest_event_time(planner: &QueryPlanner, stream: &Stream) -> Result<Option<i64>> {
    let Some(events) = events_of(planner, stream).await? else { return Ok(None) };
    let time = cast(Expr::Column(Column::from_name(&stream.timestamp)), time_type());
    let past = in_range(time.clone(), i64::MIN, planner.now_us.saturating_add(1));
    let plan = scan_events(stream, events)?.filter(past)?.aggregate(Vec::<Expr>::new(), [max(time)])?.build()?;
    first_integer(planner, &plan).await
}

async fn first_integer(planner: &QueryPlanner, plan: &LogicalPlan) -> Result<Option<i64>> {
    let batches: Vec<_> = run(&planner.state(), plan).await?.try_collect().await?;
    match batches.iter().find(|batch| batch.num_rows() > 0) {
        Some(batch) => match value_at(batch.column(0).as_ref(), 0)? {
            Some(Value::Int(number)) => Ok(Some(number)),
            _ => Ok(None),
        },
        None => Ok(None),
    }
}

/// A stream's events with offsets in `[start, end)`, in the columns of [`event_schema`].
pub async fn events_between(
    planner: &QueryPlanner,
    stream: &Stream,
    start: u64,
    end: u64,
) -> Result<Option<SendableRecordBatchStream>> {
    let Some(events) = events_of(planner, stream).await? else { return Ok(None) };
    let bound = |offset: u64| i64::try_from(offset).map(lit).map_err(|_| Error::internal("offsets have run out"));
    let offset = || Expr::Column(Column::from_name(OFFSET));
    let mut columns = columns_of(stream);
    columns.push(offset());
    let scan = scan_events(stream, events)?;
    let within = offset().gt_eq(bound(start)?).and(offset().lt(bound(end)?));
    let plan = scan.filter(within)?.project(columns)?.build()?;
    Ok(Some(run(&planner.state(), &plan).await?))
}

/// The offset of the first event of this time or later; None if there is none.
pub async fn first_offset_since(planner: &QueryPlanner, stream: &Stream, time_us: i64) -> Result<Option<i64>> {
    let Some(events) = events_of(planner, stream).await? else { return Ok(None) };
    let time = cast(Expr::Column(Column::from_name(&stream.timestamp)), time_type());
    let first = min(Expr::Column(Column::from_name(OFFSET)));
    let scan = scan_events(stream, events)?.filter(in_range(time, time_us, i64::MAX))?;
    let plan = scan.aggregate(Vec::<Expr>::new(), [first])?.build()?;
    first_integer(planner, &plan).await
}

const REPEAT: &str = "_repeat";

/// Keeps the first event of those that agree in the DEDUPLICATE BY columns.
fn first_of_each(builder: LogicalPlanBuilder, stream: &Stream, time: Expr) -> Result<LogicalPlanBuilder> {
    let by = stream.deduplicate_by.iter().map(|name| Expr::Column(Column::from_name(name))).collect();
    let number = row_number().partition_by(by).order_by(vec![time.sort(true, false)]).build()?.alias(REPEAT);
    Ok(builder.window([number])?.filter(col(REPEAT).eq(lit(1u64)))?.project(columns_of(stream))?)
}
