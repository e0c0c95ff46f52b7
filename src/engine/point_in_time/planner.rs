//! From the node, or a scan with constants, to operators: the spine with its bindings behind it, the view's rows
//! sorted beside it, and one of the two joins on top.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNode};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};

use super::answer::{Answerer, Wanted};
use super::join::{PointInTimeExec, Spine};
use super::lookup::OnlineLookupExec;
use super::node::PointInTimeJoin;
use crate::engine::relation::{
    ARRIVAL, Bindings, BoundView, FeatureRelation, ReadMode, RowLayout, RowsOrigin, time_type,
};
use crate::error::{Error, Kind, Result};
use crate::tile::ViewKind;

/// How many keys a list of constants may ask for at once.
const MAX_CONSTANT_KEYS: usize = 1_000_000;

#[derive(Debug)]
pub struct PointInTimePlanner;

#[async_trait]
impl ExtensionPlanner for PointInTimePlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> DataFusionResult<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<PointInTimeJoin>() else { return Ok(None) };
        let (Some(spine), Some(input)) = (logical_inputs.first(), physical_inputs.first()) else {
            return Err(Error::internal("a point-in-time join without a spine").into());
        };
        let bindings = node
            .bindings
            .iter()
            .map(|expr: &Expr| planner.create_physical_expr(expr, spine.schema(), session, context))
            .collect::<DataFusionResult<Vec<_>>>()?;
        let spine = bound_spine(Arc::clone(input), bindings)?;
        let schema = Arc::new(node.schema.as_arrow().clone());
        Ok(Some(join(&node.relation, &node.columns, spine, schema).await?))
    }
}

/// The spine with the values of its bindings as further columns.
fn bound_spine(
    input: Arc<dyn ExecutionPlan>,
    bindings: Vec<Arc<dyn PhysicalExpr>>,
) -> DataFusionResult<(Arc<dyn ExecutionPlan>, usize)> {
    let schema = input.schema();
    let width = schema.fields().len();
    let mut exprs: Vec<(Arc<dyn PhysicalExpr>, String)> = Vec::with_capacity(width + bindings.len());
    for (index, field) in schema.fields().iter().enumerate() {
        let column = datafusion::physical_expr::expressions::Column::new(field.name(), index);
        exprs.push((Arc::new(column), field.name().clone()));
    }
    for (index, binding) in bindings.into_iter().enumerate() {
        exprs.push((binding, format!("_binding_{index}")));
    }
    Ok((Arc::new(ProjectionExec::try_new(exprs, input)?), width))
}

async fn join(
    relation: &FeatureRelation,
    columns: &[usize],
    (spine, width): (Arc<dyn ExecutionPlan>, usize),
    schema: SchemaRef,
) -> Result<Arc<dyn ExecutionPlan>> {
    let wanted: Vec<Wanted> = columns.iter().map(|&column| relation.wanted(column)).collect();
    let answerer = Arc::new(Answerer::new(&relation.view, &wanted));
    match &relation.origin {
        RowsOrigin::Online(store) => {
            let exec = OnlineLookupExec::new(spine, width, Arc::clone(store), answerer, relation, schema);
            Ok(Arc::new(exec))
        }
        RowsOrigin::Plan { plan, layout, state, materialized } => {
            let n_keys = relation.view.keys.len();
            let spine = with_time(spine, width + n_keys, relation)?;
            let spine = sorted(spine, &(width..=width + n_keys).collect::<Vec<_>>())?;
            let rows = sorted_rows(&relation.view, plan, *layout, state, &answerer).await?;
            let spine = Spine::Rows { input: spine, width };
            let exec = PointInTimeExec::new(spine, rows, *layout, answerer, relation, materialized.clone(), schema);
            Ok(Arc::new(exec))
        }
    }
}

/// A spine that is read as of now gets the statement's time as its last column.
fn with_time(spine: Arc<dyn ExecutionPlan>, at: usize, relation: &FeatureRelation) -> Result<Arc<dyn ExecutionPlan>> {
    if relation.mode != ReadMode::Now {
        return Ok(spine);
    }
    debug_assert_eq!(spine.schema().fields().len(), at);
    let now = ScalarValue::TimestampMicrosecond(Some(relation.now_us), Some("UTC".into()));
    let schema = spine.schema();
    let mut exprs: Vec<(Arc<dyn PhysicalExpr>, String)> = Vec::new();
    for (index, field) in schema.fields().iter().enumerate() {
        let column = datafusion::physical_expr::expressions::Column::new(field.name(), index);
        exprs.push((Arc::new(column), field.name().clone()));
    }
    exprs.push((datafusion::physical_expr::expressions::lit(now), "_now".into()));
    Ok(Arc::new(ProjectionExec::try_new(exprs, spine)?))
}

/// One partition, ascending by these columns, NULLs first.
fn sorted(input: Arc<dyn ExecutionPlan>, columns: &[usize]) -> Result<Arc<dyn ExecutionPlan>> {
    let single: Arc<dyn ExecutionPlan> = if input.output_partitioning().partition_count() > 1 {
        Arc::new(CoalescePartitionsExec::new(input))
    } else {
        input
    };
    let schema = single.schema();
    let order = columns.iter().map(|&index| {
        let column = datafusion::physical_expr::expressions::Column::new(schema.field(index).name(), index);
        PhysicalSortExpr { expr: Arc::new(column), options: SortOptions { descending: false, nulls_first: true } }
    });
    match LexOrdering::new(order) {
        Some(order) => Ok(Arc::new(SortExec::new(order, single))),
        None => Ok(single),
    }
}

/// The rows that the answers need, sorted by (keys, time, arrival).
async fn sorted_rows(
    view: &BoundView,
    plan: &LogicalPlan,
    layout: RowLayout,
    state: &SessionState,
    answerer: &Answerer,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = view.row_schema(layout);
    let names: Vec<&str> =
        answerer.row_columns(layout).into_iter().map(|index| schema.field(index).name().as_str()).collect();
    let exprs: Vec<Expr> =
        names.iter().map(|name| Expr::Column(datafusion::common::Column::from_name(*name))).collect();
    let plan = LogicalPlanBuilder::from(plan.clone()).project(exprs)?.build()?;
    let rows = state.create_physical_plan(&plan).await?;
    let mut order: Vec<&str> = view.keys.iter().map(|key| key.name.as_str()).collect();
    order.push(view.time_column(layout));
    if layout == RowLayout::Events {
        order.push(ARRIVAL);
    }
    let rows_schema = rows.schema();
    let mut columns = Vec::with_capacity(order.len());
    for name in order {
        columns.push(
            rows_schema.index_of(name).map_err(|error| Error::internal("a row column is lost").with_source(error))?,
        );
    }
    sorted(rows, &columns)
}

/// A scan of the relation with what its filters bind: by constant keys, or all keys that exist.
pub async fn scan(
    relation: &FeatureRelation,
    columns: &[usize],
    bindings: &Bindings,
) -> Result<Arc<dyn ExecutionPlan>> {
    let fields: Vec<Field> = columns.iter().map(|&column| relation_field(relation, column)).collect();
    let schema = Arc::new(Schema::new(fields));
    if let ReadMode::History { start_us, end_us } = relation.mode {
        return scan_history(relation, columns, (start_us, end_us)).await;
    }
    let time = match relation.as_of_column() {
        None => ScalarValue::TimestampMicrosecond(Some(relation.now_us), Some("UTC".into())),
        Some(column) => match bindings.get(column).map(Vec::as_slice) {
            Some([]) => return empty(schema),
            Some([only]) => only.clone(),
            _ => return Err(relation.unbound_time()),
        },
    };
    let keys: Option<Vec<&Vec<ScalarValue>>> = relation.view.keys.iter().map(|key| bindings.get(&key.name)).collect();
    match keys {
        Some(keys) => {
            let spine = constant_spine(relation, &keys, &time)?;
            join(relation, columns, (spine, 0), schema).await
        }
        None => scan_all(relation, columns, &time, schema).await,
    }
}

fn relation_field(relation: &FeatureRelation, column: usize) -> Field {
    use datafusion::datasource::TableProvider;
    relation.schema().field(column).clone()
}

fn empty(schema: SchemaRef) -> Result<Arc<dyn ExecutionPlan>> {
    Ok(Arc::new(datafusion::physical_plan::empty::EmptyExec::new(schema)))
}

/// Every combination of the constant keys, as a spine without columns of its own.
fn constant_spine(
    relation: &FeatureRelation,
    keys: &[&Vec<ScalarValue>],
    time: &ScalarValue,
) -> Result<Arc<dyn ExecutionPlan>> {
    let rows = keys.iter().try_fold(1usize, |product, key| product.checked_mul(key.len()));
    let rows = rows.filter(|&rows| rows <= MAX_CONSTANT_KEYS).ok_or_else(|| {
        Error::new(Kind::ConfigurationLimitExceeded, format!("more than {MAX_CONSTANT_KEYS} keys are asked for"))
            .with_hint("put the keys into a table and join it")
    })?;
    let mut fields = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    let mut repeat = 1;
    for (key, values) in relation.view.keys.iter().zip(keys) {
        let period = repeat;
        let column = (0..rows).map(|row| values[(row / period) % values.len()].clone());
        repeat *= values.len();
        fields.push(Field::new(&key.name, key.data_type.clone(), true));
        let array = if rows == 0 {
            datafusion::arrow::array::new_empty_array(&key.data_type)
        } else {
            ScalarValue::iter_to_array(column)?
        };
        arrays.push(array);
    }
    if relation.mode != ReadMode::Now {
        fields.push(Field::new("_as_of", time_type(), true));
        arrays.push(time.cast_to(&time_type())?.to_array_of_size(rows)?);
    }
    let schema = Arc::new(Schema::new(fields));
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), arrays, &options)
        .map_err(|error| Error::internal("constant keys do not make a batch").with_source(error))?;
    Ok(MemorySourceConfig::try_new_exec(&[vec![batch]], schema, None)?)
}

async fn scan_all(
    relation: &FeatureRelation,
    columns: &[usize],
    time: &ScalarValue,
    schema: SchemaRef,
) -> Result<Arc<dyn ExecutionPlan>> {
    let wanted: Vec<Wanted> = columns.iter().map(|&column| relation.wanted(column)).collect();
    let answerer = Arc::new(Answerer::new(&relation.view, &wanted));
    match &relation.origin {
        RowsOrigin::Online(store) => {
            Ok(Arc::new(OnlineLookupExec::over_all_keys(Arc::clone(store), answerer, relation, schema)))
        }
        RowsOrigin::Plan { .. } => {
            let ScalarValue::TimestampMicrosecond(Some(time_us), _) = time.cast_to(&time_type())? else {
                return empty(schema);
            };
            scan_every_key(relation, columns, Spine::AllKeys { time_us }, schema).await
        }
    }
}

/// A history is made of all features, whichever are asked for: they say which stretches are one row.
async fn scan_history(
    relation: &FeatureRelation,
    columns: &[usize],
    (start_us, end_us): (i64, i64),
) -> Result<Arc<dyn ExecutionPlan>> {
    use datafusion::datasource::TableProvider;
    let schema = relation.schema();
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    let history = scan_every_key(relation, &all, Spine::History { start_us, end_us }, Arc::clone(&schema)).await?;
    let exprs: Vec<(Arc<dyn PhysicalExpr>, String)> = columns
        .iter()
        .map(|&index| {
            let name = schema.field(index).name();
            let column = datafusion::physical_expr::expressions::Column::new(name, index);
            (Arc::new(column) as Arc<dyn PhysicalExpr>, name.clone())
        })
        .collect();
    Ok(Arc::new(ProjectionExec::try_new(exprs, history)?))
}

/// The relation's rows for every key, without asking for any.
async fn scan_every_key(
    relation: &FeatureRelation,
    columns: &[usize],
    spine: Spine,
    schema: SchemaRef,
) -> Result<Arc<dyn ExecutionPlan>> {
    let RowsOrigin::Plan { plan, layout, state, materialized } = &relation.origin else {
        return Err(Error::internal("the online store has no history"));
    };
    let wanted: Vec<Wanted> = columns.iter().map(|&column| relation.wanted(column)).collect();
    let answerer = Arc::new(Answerer::new(&relation.view, &wanted));
    let rows = sorted_rows(&relation.view, plan, *layout, state, &answerer).await?;
    Ok(Arc::new(PointInTimeExec::new(spine, rows, *layout, answerer, relation, materialized.clone(), schema)))
}

/// Continuous windows and attributes of streams see rows up to the asked time itself.
pub fn sees_whole_time(kind: ViewKind) -> bool {
    matches!(kind, ViewKind::StreamContinuous | ViewKind::StreamAttributes)
}
