//! The rows of a feature view: what its query gives, as keys, time, arrival and the inputs of its features.
//!
//! Arrival is the row's place in the order in which the query gives rows; plans made here must run in the engine's
//! ordered state, whose single partition keeps the order of the files.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::datasource::{TableProvider, provider_as_source, source_as_provider};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::functions_aggregate::expr_fn::{count, max};
use datafusion::functions_window::row_number::row_number;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, SortExpr, cast, lit, when};
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::TryStreamExt;
use granary_catalog::ObjectId;
use sqlparser::ast;

use super::column_groups::{GroupRows, merged_plan};
use super::functions::bucket_expr;
use super::query::QueryPlanner;
use super::relation::{ARRIVAL, BoundView, Input, InputSql, KNOWN_AT, RowLayout, time_type};
use super::tables::stored::offline_table;
use crate::error::{Error, Kind, Result};
use crate::row::{Value, normalize_type, value_at};

/// The number of a row before it is the arrival.
const ARRIVAL_NUMBER: &str = "_arrival_number";

/// Which of a view's rows a plan gives.
#[derive(Debug, Clone, Copy)]
pub enum RowsRequest {
    Everything,
    /// Rows with `start_us <= time < end_us`; their sources are filtered to the same range, unless the view says
    /// `unfiltered`.
    Range {
        start_us: i64,
        end_us: i64,
    },
}

/// The plan of a view's own query, before any feature.
pub async fn query_plan(planner: &QueryPlanner, view: &BoundView, sql: &str) -> Result<LogicalPlan> {
    let plan = match planner.scope.snapshot.get(ObjectId(view.id)) {
        Some(object) => planner.plan_nested(sql, &object.header().owner, object.depends_on()).await?,
        None => Box::pin(planner.nested()?.plan_query_text(sql)).await?,
    };
    check_names(&plan)?;
    Ok(plan)
}

/// Refuses a query whose result has two columns of one name.
pub fn check_names(plan: &LogicalPlan) -> Result<()> {
    check_distinct(plan.schema().fields().iter().map(|field| field.name().as_str()).collect())
}

pub fn check_distinct(mut names: Vec<&str>) -> Result<()> {
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => {
            Err(Error::new(Kind::DuplicateColumn, format!("column \"{}\" specified more than once", pair[0]))
                .with_hint("give the columns of the query different names with AS"))
        }
        None => Ok(()),
    }
}

/// The rows of `view`, in the columns of `row_schema(RowLayout::Events)`.
pub async fn rows_plan(planner: &QueryPlanner, view: &BoundView, request: RowsRequest) -> Result<LogicalPlan> {
    let rows = rows_without_arrival(planner, view, request).await?;
    let mut columns: Vec<Expr> = rows.schema().fields().iter().map(|field| column(field.name())).collect();
    let number = column(ARRIVAL_NUMBER);
    let arrival = cast(number, datafusion::arrow::datatypes::DataType::Int64).alias(ARRIVAL);
    columns.insert(view.keys.len() + usize::from(view.secondary.is_some()) + 1, arrival);
    let numbered = LogicalPlanBuilder::from(rows).window([row_number().alias(ARRIVAL_NUMBER)])?;
    Ok(numbered.project(columns)?.build()?)
}

/// Whether a plan gives its rows one for one, in the order of what it reads: then it may be run in parts, whose order
/// is that of the whole.
pub fn is_row_by_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => match source_as_provider(&scan.source) {
            // what stands behind a view is a plan of its own
            Ok(provider) => provider.get_logical_plan().is_none_or(|plan| is_row_by_row(&plan)),
            Err(_) => false,
        },
        LogicalPlan::Projection(projection) => is_row_by_row(&projection.input),
        LogicalPlan::Filter(filter) => is_row_by_row(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => is_row_by_row(&alias.input),
        _ => false,
    }
}

/// The rows of `view` in the columns of `row_schema(RowLayout::Events)` but for the arrival, which is their order.
pub async fn rows_without_arrival(
    planner: &QueryPlanner,
    view: &BoundView,
    request: RowsRequest,
) -> Result<LogicalPlan> {
    let (base, filter) = query_in_range(planner, view, request).await?;
    let (filter, outputs) = row_columns(planner, view, base.schema(), filter)?;
    Ok(LogicalPlanBuilder::from(base).filter(filter)?.project(outputs)?.build()?)
}

/// What the rows of a view are of its query: which of its rows, and their columns but for the arrival.
pub(super) fn row_columns(
    planner: &QueryPlanner,
    view: &BoundView,
    schema: &DFSchema,
    mut filter: Expr,
) -> Result<(Expr, Vec<Expr>)> {
    for key in view.keys.iter().chain(&view.secondary) {
        filter = filter.and(column(&key.name).is_not_null());
    }
    // what is not known yet is like what is not there yet
    let known = view.known_at.as_ref().map(|known_at| cast(column(known_at), time_type()));
    if let Some(known) = &known {
        filter = filter.and(known.clone().is_not_null());
    }
    let mut outputs: Vec<Expr> = Vec::new();
    for key in view.keys.iter().chain(&view.secondary) {
        outputs.push(cast(column(&key.name), key.data_type.clone()).alias(&key.name));
    }
    outputs.push(time_of(view).alias(&view.timestamp));
    outputs.extend(known.map(|known| known.alias(KNOWN_AT)));
    for input in &view.inputs {
        outputs.push(input_expr(planner, input, schema)?.alias(&input.name));
    }
    Ok((filter, outputs))
}

/// The view's query as it is, not aggregated: its own columns, of the rows that have a time, and one in the range.
pub async fn transformation_plan(
    planner: &QueryPlanner,
    view: &BoundView,
    request: RowsRequest,
) -> Result<LogicalPlan> {
    let (base, filter) = query_in_range(planner, view, request).await?;
    Ok(LogicalPlanBuilder::from(base).filter(filter)?.build()?)
}

/// The view's query over its sources, and the condition that leaves the rows of the request.
pub(super) async fn query_in_range(
    planner: &QueryPlanner,
    view: &BoundView,
    request: RowsRequest,
) -> Result<(LogicalPlan, Expr)> {
    let Some(query) = &view.query else {
        return Err(Error::not_supported("computing a feature table from a source"));
    };
    let range = match request {
        RowsRequest::Everything => None,
        RowsRequest::Range { start_us, end_us } => Some((start_us, end_us)),
    };
    let planner = planner.clone().with_source_range(range.filter(|_| !view.unfiltered));
    let base = query_plan(&planner, view, query).await?;
    let time = time_of(view);
    let has_time = time.clone().is_not_null();
    let filter = match range {
        None => has_time,
        Some((start_us, end_us)) => has_time.and(in_range(time, start_us, end_us)),
    };
    Ok((base, filter))
}

fn time_of(view: &BoundView) -> Expr {
    cast(column(&view.timestamp), time_type())
}

/// `start_us <= time < end_us`; `i64::MIN` and `i64::MAX` are no limit.
pub fn in_range(time: Expr, start_us: i64, end_us: i64) -> Expr {
    let at = |us: i64| lit(ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into())));
    let mut filter = lit(true);
    if start_us != i64::MIN {
        filter = filter.and(time.clone().gt_eq(at(start_us)));
    }
    if end_us != i64::MAX {
        filter = filter.and(time.lt(at(end_us)));
    }
    filter
}

fn input_expr(planner: &QueryPlanner, input: &Input, schema: &DFSchema) -> Result<Expr> {
    if !input.is_live {
        return Ok(cast(lit(ScalarValue::Null), input.data_type.clone()));
    }
    let (sql, filter, counted) = match &input.sql {
        InputSql::Column(column) => {
            return Ok(cast(Expr::Column(Column::from_name(column)), input.data_type.clone()));
        }
        InputSql::Argument { sql, filter, counted } => (sql, filter, *counted),
    };
    let argument = sql.as_ref().map(|sql| argument_expr(planner, sql, schema)).transpose()?;
    let filter = filter.as_ref().map(|sql| argument_expr(planner, sql, schema)).transpose()?;
    if !counted {
        let argument = argument.ok_or_else(|| Error::internal("an aggregate other than count without argument"))?;
        let argument = cast(argument, input.data_type.clone());
        return Ok(match filter {
            None => argument,
            Some(filter) => when(filter, argument).end()?,
        });
    }
    let condition = match (argument.map(Expr::is_not_null), filter) {
        (None, None) => return Ok(lit(true)),
        (Some(condition), None) | (None, Some(condition)) => condition,
        (Some(present), Some(filter)) => present.and(filter),
    };
    Ok(when(condition, lit(true)).end()?)
}

/// Plans the SQL text of a feature's argument or filter.
pub fn argument_expr(planner: &QueryPlanner, sql: &str, schema: &DFSchema) -> Result<Expr> {
    planner.plan_expression(parse_expression(sql)?, schema, sql)
}

fn parse_expression(sql: &str) -> Result<ast::Expr> {
    let parsed = granary_sql::parse(&format!("SELECT {sql}"))?;
    let only = parsed.into_iter().next().map(|parsed| parsed.statement);
    if let Some(granary_sql::Statement::Query(query)) = only
        && let ast::SetExpr::Select(select) = *query.ast.body
        && let Some(ast::SelectItem::UnnamedExpr(expr)) = select.projection.into_iter().next()
    {
        return Ok(expr);
    }
    Err(Error::internal("a stored expression does not parse").with_detail(sql))
}

/// The type of an argument as it is stored. Errors: 0A000 for a type that cannot be.
pub fn argument_type(
    planner: &QueryPlanner,
    sql: &str,
    schema: &DFSchema,
) -> Result<datafusion::arrow::datatypes::DataType> {
    let expr = argument_expr(planner, sql, schema)?;
    let data_type = coerced_type(planner, expr, schema)?;
    normalize_type(&data_type)
        .ok_or_else(|| Error::not_supported(format!("a feature over a value of type {data_type}")))
}

/// The type of an expression once DataFusion has inserted its casts.
fn coerced_type(
    planner: &QueryPlanner,
    expr: Expr,
    schema: &DFSchema,
) -> Result<datafusion::arrow::datatypes::DataType> {
    let context = datafusion::logical_expr::simplify::SimplifyContext::builder()
        .with_schema(Arc::new(schema.clone()))
        .with_config_options(Arc::clone(planner.state().config_options()))
        .build();
    let simplifier = datafusion::optimizer::simplify_expressions::ExprSimplifier::new(context);
    Ok(simplifier.coerce(expr, schema)?.get_type(schema)?)
}

/// The rows that the one offline table of `view` holds, in the columns of its stored layout.
pub async fn stored_plan(planner: &QueryPlanner, view: &BoundView) -> Result<LogicalPlan> {
    let layout: RowLayout = view.stored_layout();
    let table = offline_table(planner, &view.offline_table(), view.row_schema(layout)).await?;
    Ok(LogicalPlanBuilder::scan(view.offline_table(), provider_as_source(table), None)?.build()?)
}

/// The rows of a view that its offline tables hold with a time in a range, in the columns of its stored layout.
pub async fn stored_rows_plan(
    planner: &QueryPlanner,
    view: &BoundView,
    (start_us, end_us): (i64, i64),
) -> Result<LogicalPlan> {
    let time = view.time_column(view.stored_layout());
    let mut groups = Vec::with_capacity(view.groups.len());
    for group in view.by_group() {
        let rows = LogicalPlanBuilder::from(stored_plan(planner, &group).await?);
        let plan = rows.filter(in_range(column(time), start_us, end_us))?.build()?;
        groups.push(GroupRows { view: Arc::new(group), plan });
    }
    merged_plan(&Arc::new(view.stored()), &groups, planner.engine.ordered_state(planner.now_us))
}

/// The bucket of a row's key, beside the columns of its layout.
pub const BUCKET: &str = "_bucket";

/// Runs [`sorted_rows_plan`].
pub async fn query_rows(
    planner: &QueryPlanner,
    view: &BoundView,
    request: RowsRequest,
) -> Result<SendableRecordBatchStream> {
    let plan = sorted_rows_plan(planner, view, request).await?;
    run_ordered(planner, &plan).await
}

/// How many rows [`query_rows`] would give.
pub async fn count_rows(planner: &QueryPlanner, view: &BoundView, request: RowsRequest) -> Result<u64> {
    let rows = rows_without_arrival(planner, view, request).await?;
    let plan = LogicalPlanBuilder::from(rows).aggregate(Vec::<Expr>::new(), [count(lit(1))])?.build()?;
    let batches: Vec<_> = run_ordered(planner, &plan).await?.try_collect().await?;
    let counted = batches.iter().find(|batch| batch.num_rows() > 0);
    match counted.map(|batch| value_at(batch.column(0).as_ref(), 0)).transpose()?.flatten() {
        Some(Value::Int(count)) => u64::try_from(count).map_err(|_| Error::internal("a count below zero")),
        _ => Err(Error::internal("a count is no number")),
    }
}

/// The same rows; how many have come by is added to `count`.
pub fn counted(rows: SendableRecordBatchStream, count: Arc<AtomicU64>) -> SendableRecordBatchStream {
    let schema = rows.schema();
    let counted = rows.inspect_ok(move |batch| {
        count.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, counted))
}

/// The view's rows, sorted by (bucket, keys, time, arrival), in the columns of `row_schema(RowLayout::Events)` and the
/// bucket.
pub async fn sorted_rows_plan(planner: &QueryPlanner, view: &BoundView, request: RowsRequest) -> Result<LogicalPlan> {
    sorted_plan(view, rows_plan(planner, view, request).await?)
}

/// The rows of `plan`, which are in the columns of `row_schema(RowLayout::Events)`, with the bucket, sorted.
pub fn sorted_plan(view: &BoundView, plan: LogicalPlan) -> Result<LogicalPlan> {
    let schema = view.row_schema(RowLayout::Events);
    let mut columns: Vec<Expr> = schema.fields().iter().map(|field| column(field.name())).collect();
    let keys: Vec<Expr> = view.keys.iter().map(|key| column(&key.name)).collect();
    columns.push(bucket_expr(view.buckets, keys).alias(BUCKET));
    let sorted = LogicalPlanBuilder::from(plan).project(columns)?.sort(row_order(view, &view.timestamp, true))?;
    Ok(sorted.build()?)
}

/// The stored rows of a range, sorted by (keys, time, arrival), in the columns of the view's stored layout.
pub async fn stored_rows(
    planner: &QueryPlanner,
    view: &BoundView,
    (start_us, end_us): (i64, i64),
) -> Result<SendableRecordBatchStream> {
    let layout = view.stored_layout();
    let time = view.time_column(layout);
    let order: Vec<SortExpr> = row_order(view, time, layout == RowLayout::Events).into_iter().skip(1).collect();
    let rows = stored_rows_plan(planner, view, (start_us, end_us)).await?;
    let plan = LogicalPlanBuilder::from(rows).sort(order)?.build()?;
    run_ordered(planner, &plan).await
}

/// All stored rows of a view in the columns of `kept`, which has some of its columns, and the bucket: sorted by (bucket,
/// keys, time, arrival).
pub async fn sorted_stored_rows(
    planner: &QueryPlanner,
    view: &BoundView,
    kept: &BoundView,
) -> Result<SendableRecordBatchStream> {
    let layout = kept.stored_layout();
    let rows = LogicalPlanBuilder::from(stored_rows_plan(planner, view, (i64::MIN, i64::MAX)).await?);
    let mut columns: Vec<Expr> = kept.row_schema(layout).fields().iter().map(|field| column(field.name())).collect();
    let keys: Vec<Expr> = kept.keys.iter().map(|key| column(&key.name)).collect();
    columns.push(bucket_expr(kept.buckets, keys).alias(BUCKET));
    let order = row_order(kept, kept.time_column(layout), layout == RowLayout::Events);
    run_ordered(planner, &rows.project(columns)?.sort(order)?.build()?).await
}

/// The stored rows of a feature table that arrived after a number, in the order and the columns of [`stored_rows`].
pub async fn stored_rows_after(
    planner: &QueryPlanner,
    view: &BoundView,
    arrival: i64,
) -> Result<SendableRecordBatchStream> {
    let order: Vec<SortExpr> = row_order(view, &view.timestamp, true).into_iter().skip(1).collect();
    let plan = LogicalPlanBuilder::from(stored_plan(planner, view).await?)
        .filter(column(ARRIVAL).gt(lit(arrival)))?
        .sort(order)?
        .build()?;
    run_ordered(planner, &plan).await
}

/// The greatest arrival among the stored rows of a feature table.
pub async fn newest_arrival(planner: &QueryPlanner, view: &BoundView) -> Result<Option<i64>> {
    let plan = LogicalPlanBuilder::from(stored_plan(planner, view).await?)
        .aggregate(Vec::<Expr>::new(), [max(column(ARRIVAL))])?
        .build()?;
    let batches: Vec<_> = run_ordered(planner, &plan).await?.try_collect().await?;
    let newest = batches.iter().find(|batch| batch.num_rows() > 0);
    match newest.map(|batch| value_at(batch.column(0).as_ref(), 0)).transpose()?.flatten() {
        None => Ok(None),
        Some(Value::Int(arrival)) => Ok(Some(arrival)),
        Some(_) => Err(Error::internal("an arrival has another type")),
    }
}

/// The rows that users have written to a feature table, given by `written` in its declared columns, as they are stored:
/// in the columns of `row_schema(RowLayout::Events)` and the bucket, sorted by (bucket, keys, time, arrival).
pub fn written_rows_plan(view: &BoundView, written: Arc<dyn TableProvider>, first_arrival: i64) -> Result<LogicalPlan> {
    let scan = LogicalPlanBuilder::scan("written", provider_as_source(written), None)?;
    let mut columns: Vec<Expr> = Vec::new();
    for key in &view.keys {
        columns.push(cast(column(&key.name), key.data_type.clone()).alias(&key.name));
    }
    columns.push(time_of(view).alias(&view.timestamp));
    let number = cast(column(ARRIVAL_NUMBER), datafusion::arrow::datatypes::DataType::Int64);
    columns.push((number + lit(first_arrival - 1)).alias(ARRIVAL));
    for input in &view.inputs {
        columns.push(cast(column(&input.name), input.data_type.clone()).alias(&input.name));
    }
    let keys: Vec<Expr> = view.keys.iter().map(|key| column(&key.name)).collect();
    columns.push(bucket_expr(view.buckets, keys).alias(BUCKET));
    let numbered = scan.window([row_number().alias(ARRIVAL_NUMBER)])?;
    Ok(numbered.project(columns)?.sort(row_order(view, &view.timestamp, true))?.build()?)
}

/// Whether the view's query gives any row before `end_us`. Reads as far as the first, and no features of it.
pub async fn has_rows_before(planner: &QueryPlanner, view: &BoundView, end_us: i64) -> Result<bool> {
    let rows = rows_without_arrival(planner, view, RowsRequest::Range { start_us: i64::MIN, end_us }).await?;
    let plan = LogicalPlanBuilder::from(rows).project([column(&view.timestamp)])?.limit(0, Some(1))?.build()?;
    let batches: Vec<_> = run_ordered(planner, &plan).await?.try_collect().await?;
    Ok(batches.iter().any(|batch| batch.num_rows() > 0))
}

pub(super) fn column(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}

fn row_order(view: &BoundView, time: &str, with_arrival: bool) -> Vec<SortExpr> {
    let mut order = vec![column(BUCKET)];
    order.extend(view.keys.iter().map(|key| column(&key.name)));
    order.push(column(time));
    if with_arrival {
        order.push(column(ARRIVAL));
    }
    order.into_iter().map(|expr| expr.sort(true, true)).collect()
}

async fn run_ordered(planner: &QueryPlanner, plan: &LogicalPlan) -> Result<SendableRecordBatchStream> {
    let state = planner.engine.ordered_state(planner.now_us);
    let physical = state.create_physical_plan(plan).await?;
    Ok(execute_stream(physical, state.task_ctx())?)
}
