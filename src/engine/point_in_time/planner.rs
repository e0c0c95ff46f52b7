//! From the node, or a scan with constants, to operators: the spine with its bindings behind it, the view's rows
//! sorted beside it, and one of the two joins on top.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNode};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, PlanProperties};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use granary_catalog::IntervalSet;

use super::answer::{Answerer, Wanted};
use super::exec::{PointInTimeExec, Read, RowsInput, Spine};
use super::lookup::{Lookup, OnlineLookupExec};
use super::node::{PointInTimeJoin, RelationRead};
use super::row_states::RowStates;
use super::share::{RowByRow, share};
use super::spans::SpanInput;
use super::stored::StoredInput;
use crate::engine::column_groups::absent;
use crate::engine::relation::{
    ARRIVAL, Bindings, ChosenRows, FeatureRelation, KNOWN_AT, ReadMode, RowLayout, RowsOrigin, time_type,
};
use crate::engine::rows::is_row_by_row;
use crate::engine::sealed::sealed;
use crate::engine::tables::stored::StoredRows;
use crate::error::{Error, Kind, Result};

/// How many keys a list of constants may ask for at once.
pub const MAX_CONSTANT_KEYS: usize = 1_000_000;

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
        Ok(Some(join(&node.reads, spine, schema, session.config().target_partitions()).await?))
    }
}

/// A column of a schema as an expression, and its name.
fn column_of(schema: &SchemaRef, index: usize) -> (Arc<dyn PhysicalExpr>, String) {
    let name = schema.field(index).name();
    (Arc::new(datafusion::physical_expr::expressions::Column::new(name, index)), name.clone())
}

/// The spine with the values of its bindings as further columns.
fn bound_spine(
    input: Arc<dyn ExecutionPlan>,
    bindings: Vec<Arc<dyn PhysicalExpr>>,
) -> DataFusionResult<(Arc<dyn ExecutionPlan>, usize)> {
    let schema = input.schema();
    let width = schema.fields().len();
    let mut exprs: Vec<_> = (0..width).map(|index| column_of(&schema, index)).collect();
    for (index, binding) in bindings.into_iter().enumerate() {
        exprs.push((binding, format!("_binding_{index}")));
    }
    Ok((Arc::new(ProjectionExec::try_new(exprs, input)?), width))
}

async fn join(
    reads: &[RelationRead],
    (spine, width): (Arc<dyn ExecutionPlan>, usize),
    schema: SchemaRef,
    partitions: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(RelationRead { relation, columns }) = reads.first() else {
        return Err(Error::internal("a point-in-time join without a relation"));
    };
    if let Some(lookup) = Lookup::of(relation, columns) {
        return Ok(Arc::new(OnlineLookupExec::new(Some((spine, width)), lookup, relation.now_us, schema)));
    }
    let spine = with_time(spine, width + relation.view.keys.len(), relation)?;
    let (inputs, of_views) = inputs_of(reads).await?;
    Ok(Arc::new(PointInTimeExec::new(Spine::Rows { input: spine, width }, inputs, of_views, schema, partitions)))
}

/// A spine that is read as of now gets the statement's time as its last column.
fn with_time(spine: Arc<dyn ExecutionPlan>, at: usize, relation: &FeatureRelation) -> Result<Arc<dyn ExecutionPlan>> {
    if relation.mode != ReadMode::Now {
        return Ok(spine);
    }
    debug_assert_eq!(spine.schema().fields().len(), at);
    let now = ScalarValue::TimestampMicrosecond(Some(relation.now_us), Some("UTC".into()));
    let schema = spine.schema();
    let mut exprs: Vec<_> = (0..at).map(|index| column_of(&schema, index)).collect();
    exprs.push((datafusion::physical_expr::expressions::lit(now), "_now".into()));
    Ok(Arc::new(ProjectionExec::try_new(exprs, spine)?))
}

/// What is read of one view, before it is known which input has its rows.
struct ViewRows<'a> {
    relation: &'a FeatureRelation,
    answerer: Arc<Answerer>,
    /// columns of the rows: keys and time first
    names: Vec<String>,
    plan: LogicalPlan,
    layout: RowLayout,
    state: &'a SessionState,
    materialized: Option<IntervalSet>,
    stored: Option<StoredRows>,
}

impl<'a> ViewRows<'a> {
    fn of(relation: &'a FeatureRelation, columns: &[usize]) -> Result<ViewRows<'a>> {
        let wanted: Vec<Wanted> = columns.iter().map(|&column| relation.wanted(column)).collect();
        let (plan, layout, state, materialized, mut stored) = match &relation.origin {
            RowsOrigin::Online { .. } => return Err(Error::internal("the online store has no rows of the past")),
            RowsOrigin::Plan { plan, layout, state, materialized, stored } => {
                (plan.as_ref().clone(), *layout, state.as_ref(), materialized.clone(), stored.clone())
            }
            RowsOrigin::Groups(groups) => {
                // whether a key is known the rows of any group say
                let features = wanted.iter().filter_map(|wanted| match wanted {
                    Wanted::Feature(index) => Some(*index),
                    _ => None,
                });
                let ChosenRows { plan, materialized, stored } =
                    groups.rows_of(&relation.view, &groups.needed_for(&relation.view, features))?;
                (plan, relation.view.stored_layout(), &groups.state, Some(materialized), stored)
            }
        };
        let answerer = Arc::new(Answerer::new(&relation.view, &wanted));
        let mut names = answerer.row_columns(layout);
        let has = |name: &str| plan.schema().has_column_with_unqualified_name(name);
        if !names.iter().all(|name| has(name)) {
            // of other groups, whose features nobody asks for
            stored = None;
        }
        // of files that lie in order of time, the place of a row says when it arrived
        let in_order = stored.as_ref().is_some_and(StoredRows::is_in_order);
        if !in_order && has(ARRIVAL) {
            names.push(ARRIVAL.to_owned());
        }
        let schema = relation.view.row_schema(layout);
        let expr = |name: &String| match has(name) {
            true => Ok(Expr::Column(datafusion::common::Column::from_name(name))),
            false => {
                let field = schema.field_with_name(name).map_err(|error| lost(name).with_source(error))?;
                absent(&relation.view, name, field.data_type())
            }
        };
        let exprs = names.iter().map(expr).collect::<Result<Vec<_>>>()?;
        let plan = LogicalPlanBuilder::from(plan).project(exprs)?.build()?;
        Ok(ViewRows { relation, answerer, names, plan, layout, state, materialized, stored })
    }

    /// The rows over what the view's query reads, if others may read that too.
    fn shareable(&self) -> Result<Option<RowByRow>> {
        if self.materialized.is_some() || !is_row_by_row(&self.plan) {
            return Ok(None);
        }
        Ok(Some(RowByRow::of(&self.plan)?.guarded()?))
    }

    /// `places`: of the columns, in the input.
    fn read(&self, input: usize, places: &[usize], of_view: Option<usize>) -> Result<Read> {
        self.read_as(self.layout, &self.names, input, places, of_view)
    }

    /// The same of rows in any layout, whose columns are `names`.
    fn read_as(
        &self,
        layout: RowLayout,
        names: &[String],
        input: usize,
        places: &[usize],
        of_view: Option<usize>,
    ) -> Result<Read> {
        let place = |name: &str| {
            let known = names.iter().position(|known| known == name);
            known.map(|index| places[index]).ok_or_else(|| lost(name))
        };
        let columns = self.answerer.item_columns(layout);
        let view = &self.relation.view;
        Ok(Read {
            view: Arc::clone(view),
            origin: self.relation.origin.name(),
            answerer: Arc::clone(&self.answerer),
            materialized: self.materialized.clone(),
            input,
            of_view,
            columns: columns
                .iter()
                .map(|columns| columns.iter().map(|name| place(name)).collect::<Result<Vec<_>>>())
                .collect::<Result<Vec<_>>>()?,
            secondary: view.secondary.as_ref().map(|secondary| place(&secondary.name)).transpose()?,
            known_at: view.known_at.as_ref().map(|_| place(KNOWN_AT)).transpose()?,
        })
    }

    async fn input(&self, plan: &LogicalPlan) -> Result<RowsInput> {
        Ok(RowsInput {
            plan: sealed(self.state.create_physical_plan(plan).await?),
            layout: self.layout,
            time: self.relation.view.keys.len(),
            arrival: self.names.iter().position(|name| name == ARRIVAL),
            stored: self.stored_input()?,
            spans: None,
        })
    }

    /// How to read spans in the place of rows, if there are any that may be read.
    fn span_input(&self, input: &RowsInput, number: usize) -> Result<Option<Arc<SpanInput>>> {
        let Some(stored) = self.stored.as_ref().filter(|stored| !stored.spans().is_empty()) else { return Ok(None) };
        if input.stored.is_none() {
            return Ok(None);
        }
        let view = &self.relation.view;
        let Some(tiles) = stored.spans().first().map(|spans| spans.rows.schema()) else { return Ok(None) };
        let places = |schema: &SchemaRef, names: &[String]| -> Result<Vec<usize>> {
            let place = |name: &String| schema.index_of(name).map_err(|error| lost(name).with_source(error));
            names.iter().map(place).collect()
        };
        let names = self.answerer.row_columns(RowLayout::Tiles);
        let span_columns = places(&tiles, &names)?;
        let schema = Arc::new(tiles.project(&span_columns).map_err(datafusion::error::DataFusionError::from)?);
        let (row_columns, as_states) = match self.layout {
            RowLayout::Tiles => (span_columns.clone(), None),
            RowLayout::Events => {
                let mut names = self.answerer.row_columns(RowLayout::Events);
                if !names.iter().any(|name| name == ARRIVAL) {
                    names.push(ARRIVAL.to_owned());
                }
                let place = |name: &str| names.iter().position(|known| known == name).ok_or_else(|| lost(name));
                let inputs = self.answerer.item_columns(RowLayout::Events);
                let states = RowStates {
                    plan: self.answerer.plan().clone(),
                    n_keys: view.keys.len(),
                    time: view.keys.len(),
                    arrival: place(ARRIVAL)?,
                    secondary: view.secondary.as_ref().map(|secondary| place(&secondary.name)).transpose()?,
                    inputs: inputs
                        .iter()
                        .map(|names| names.iter().map(|name| place(name)).collect::<Result<Vec<_>>>())
                        .collect::<Result<_>>()?,
                    schema: Arc::clone(&schema),
                };
                (places(&stored.schema(), &names)?, Some(Arc::new(states)))
            }
        };
        let all: Vec<usize> = (0..names.len()).collect();
        Ok(Some(Arc::new(SpanInput {
            rows: stored.clone(),
            row_columns,
            as_states,
            span_columns,
            read: self.read_as(RowLayout::Tiles, &names, number, &all, None)?,
        })))
    }

    fn stored_input(&self) -> Result<Option<StoredInput>> {
        let Some(stored) = &self.stored else { return Ok(None) };
        let schema = stored.schema();
        let place = |name: &String| {
            schema.index_of(name).map_err(|error| Error::internal("a stored column is lost").with_source(error))
        };
        let columns = self.names.iter().map(place).collect::<Result<_>>()?;
        Ok(StoredInput::of(stored, columns, &self.relation.view))
    }
}

fn lost(name: &str) -> Error {
    Error::internal(format!("rows lack column {name}"))
}

/// The inputs of the relations, each read once, and what is read of them.
async fn inputs_of(reads: &[RelationRead]) -> Result<(Vec<RowsInput>, Vec<Read>)> {
    let mut inputs = Vec::new();
    let mut of_views: Vec<Option<Read>> = reads.iter().map(|_| None).collect();
    let rows = reads.iter().map(|read| ViewRows::of(&read.relation, &read.columns)).collect::<Result<Vec<_>>>()?;
    let shareable = rows.iter().map(ViewRows::shareable).collect::<Result<Vec<_>>>()?;
    for (first, view) in rows.iter().enumerate() {
        if of_views[first].is_some() {
            continue;
        }
        let n_fixed = view.relation.view.keys.len() + 1;
        let goes_along = |other: &usize| match (&shareable[first], &shareable[*other]) {
            (Some(a), Some(b)) => *other > first && of_views[*other].is_none() && a.goes_with(b, n_fixed),
            _ => false,
        };
        let along: Vec<usize> = (0..rows.len()).filter(goes_along).collect();
        if along.is_empty() {
            let all: Vec<usize> = (0..view.names.len()).collect();
            of_views[first] = Some(view.read(inputs.len(), &all, None)?);
            let mut input = view.input(&view.plan).await?;
            input.spans = view.span_input(&input, inputs.len())?;
            inputs.push(input);
            continue;
        }
        let together: Vec<usize> = std::iter::once(first).chain(along).collect();
        let parts: Vec<RowByRow> = together.iter().filter_map(|place| shareable[*place].clone()).collect();
        let shared = share(&parts)?;
        for (place, (columns, of_view)) in together.iter().zip(&shared.places) {
            of_views[*place] = Some(rows[*place].read(inputs.len(), columns, *of_view)?);
        }
        inputs.push(view.input(&shared.plan).await?);
    }
    Ok((inputs, of_views.into_iter().flatten().collect()))
}

/// Properties of an operator that gives one partition in no promised order.
pub fn single_partition(schema: SchemaRef) -> PlanProperties {
    PlanProperties::new(
        EquivalenceProperties::new(schema),
        Partitioning::UnknownPartitioning(1),
        EmissionType::Incremental,
        Boundedness::Bounded,
    )
}

/// A scan of the relation with what its filters bind: by constant keys, or all keys that exist.
pub async fn scan(
    relation: &FeatureRelation,
    columns: &[usize],
    bindings: &Bindings,
    partitions: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    let fields: Vec<Field> = columns.iter().map(|&column| relation_field(relation, column)).collect();
    let schema = Arc::new(Schema::new(fields));
    if let ReadMode::History { start_us, end_us } = relation.mode {
        return scan_history(relation, columns, (start_us, end_us), partitions).await;
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
            let read = RelationRead { relation: Arc::new(relation.clone()), columns: columns.to_vec() };
            join(&[read], (spine, 0), schema, partitions).await
        }
        None => scan_all(relation, columns, &time, schema, partitions).await,
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
    partitions: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(lookup) = Lookup::of(relation, columns) {
        return Ok(Arc::new(OnlineLookupExec::new(None, lookup, relation.now_us, schema)));
    }
    let ScalarValue::TimestampMicrosecond(Some(time_us), _) = time.cast_to(&time_type())? else {
        return empty(schema);
    };
    scan_every_key(relation, columns, Spine::AllKeys { time_us }, schema, partitions).await
}

/// A history is made of all features, whichever are asked for: they say which stretches are one row.
async fn scan_history(
    relation: &FeatureRelation,
    columns: &[usize],
    (start_us, end_us): (i64, i64),
    partitions: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    use datafusion::datasource::TableProvider;
    let schema = relation.schema();
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    let history =
        scan_every_key(relation, &all, Spine::History { start_us, end_us }, Arc::clone(&schema), partitions).await?;
    let exprs: Vec<_> = columns.iter().map(|&index| column_of(&schema, index)).collect();
    Ok(Arc::new(ProjectionExec::try_new(exprs, history)?))
}

/// The relation's rows for every key, without asking for any.
async fn scan_every_key(
    relation: &FeatureRelation,
    columns: &[usize],
    spine: Spine,
    schema: SchemaRef,
    partitions: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    let read = RelationRead { relation: Arc::new(relation.clone()), columns: columns.to_vec() };
    let (inputs, of_views) = inputs_of(&[read]).await?;
    Ok(Arc::new(PointInTimeExec::new(spine, inputs, of_views, schema, partitions)))
}
