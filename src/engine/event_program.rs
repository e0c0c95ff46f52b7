//! The query of a view over events, compiled: filters and expressions that are evaluated on batches of events as they
//! come, without a plan and a task for each. What it gives is what [`rows_of_events`] gives.
//!
//! [`rows_of_events`]: super::event_rows::rows_of_events

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{DataType, FieldRef, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::logical_expr::{LogicalPlan, Volatility};
use datafusion::physical_expr::expressions::{Column, IsNotNullExpr, Literal};
use datafusion::physical_expr::split_conjunction;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};

use super::event_rows::{event_rows_plan, first_arrivals, stream_of};
use super::functions::user::volatility;
use super::query::QueryPlanner;
use super::relation::{ARRIVAL, BoundView};
use super::tables::events::{StreamRows, event_schema};
use crate::error::{Error, Result};

/// See the module.
#[derive(Debug)]
pub struct EventProgram {
    steps: Vec<Step>,
    schema: SchemaRef,
    picked: Option<Picked>,
}

/// What a program gives that computes nothing but arrivals.
#[derive(Debug)]
struct Picked {
    /// an event with NULL in one of these columns makes no row
    required: Vec<usize>,
    columns: Vec<PickedColumn>,
}

/// What a column of rows is.
#[derive(Debug, Clone)]
enum PickedColumn {
    /// this one of the events
    OfEvents(usize),
    Arrival,
    Constant(ScalarValue),
}

#[derive(Debug)]
enum Step {
    /// of the batch, these columns
    Columns(Vec<usize>),
    Filter(Arc<dyn PhysicalExpr>),
    Compute(Vec<Arc<dyn PhysicalExpr>>, SchemaRef),
}

impl EventProgram {
    /// `None` for a query whose plan has another form, or whose values other relations or the time of its planning decide,
    /// too.
    pub async fn compile(planner: &QueryPlanner, view: &BoundView) -> Result<Option<EventProgram>> {
        let Some(stream) = stream_of(planner, view).filter(|_| !view.joins) else { return Ok(None) };
        let events = event_schema(stream);
        let n_columns = events.fields().len();
        let none = RecordBatch::new_empty(events);
        let planner = planner.clone().with_stream_rows(StreamRows::Given(stream.header.id, none));
        let Some(plan) = event_rows_plan(&planner, view).await? else { return Ok(None) };
        if !is_timeless(&plan)? {
            return Ok(None);
        }
        let plan = planner.engine.ordered_state(planner.now_us).create_physical_plan(&plan).await?;
        let mut steps = Vec::new();
        if !add_steps(plan.as_ref(), &mut steps) {
            return Ok(None);
        }
        let picked = Picked::of(&steps, n_columns);
        Ok(Some(EventProgram { steps, schema: plan.schema(), picked }))
    }

    /// The rows that come of events, which are in the columns of [`event_schema`].
    pub fn run(&self, events: &RecordBatch) -> Result<RecordBatch> {
        if let Some(columns) = self.picked.as_ref().map(|picked| picked.columns_of(events)).transpose()?.flatten() {
            return RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(columns_changed);
        }
        let mut batch = events.clone();
        for step in &self.steps {
            batch = match step {
                Step::Columns(columns) => batch.project(columns).map_err(columns_changed)?,
                Step::Filter(predicate) => {
                    let fits = predicate.evaluate(&batch)?.into_array(batch.num_rows())?;
                    let fits = fits.as_boolean_opt().ok_or_else(|| Error::internal("a filter is no boolean"))?;
                    filter_record_batch(&batch, fits).map_err(columns_changed)?
                }
                // there is nothing to compute, nor to fail
                Step::Compute(_, schema) if batch.num_rows() == 0 => RecordBatch::new_empty(Arc::clone(schema)),
                Step::Compute(expressions, schema) => {
                    let value = |expression: &Arc<dyn PhysicalExpr>| -> Result<ArrayRef> {
                        Ok(expression.evaluate(&batch)?.into_array(batch.num_rows())?)
                    };
                    let columns = expressions.iter().map(value).collect::<Result<Vec<_>>>()?;
                    RecordBatch::try_new(Arc::clone(schema), columns).map_err(columns_changed)?
                }
            };
        }
        RecordBatch::try_new(Arc::clone(&self.schema), batch.columns().to_vec()).map_err(columns_changed)
    }
}

impl Picked {
    /// Of events with so many columns, the last of which is their offset.
    fn of(steps: &[Step], n_columns: usize) -> Option<Picked> {
        let (mut columns, mut required) = (Vec::from_iter((0..n_columns).map(PickedColumn::OfEvents)), Vec::new());
        for (number, step) in steps.iter().enumerate() {
            let known = |expression: &Arc<dyn PhysicalExpr>| match expression.downcast_ref::<Column>() {
                Some(column) => columns.get(column.index()).cloned(),
                None => {
                    expression.downcast_ref().map(|constant: &Literal| PickedColumn::Constant(constant.value().clone()))
                }
            };
            match step {
                Step::Columns(places) => columns = places.iter().map(|place| columns[*place].clone()).collect(),
                Step::Filter(predicate) => {
                    for condition in split_conjunction(predicate) {
                        let tested = condition.downcast_ref::<IsNotNullExpr>().map(IsNotNullExpr::arg);
                        let Some(PickedColumn::OfEvents(column)) = tested.and_then(known) else { return None };
                        required.push(column);
                    }
                }
                Step::Compute(expressions, schema) => {
                    let is_last = number + 1 == steps.len();
                    let column = |(expression, field): (&Arc<dyn PhysicalExpr>, &FieldRef)| match known(expression) {
                        None if is_last && field.name() == ARRIVAL => Some(PickedColumn::Arrival),
                        known => known,
                    };
                    columns = expressions.iter().zip(schema.fields()).map(column).collect::<Option<_>>()?;
                }
            }
        }
        Some(Picked { required, columns })
    }

    /// `None` if some events make no row.
    fn columns_of(&self, events: &RecordBatch) -> Result<Option<Vec<ArrayRef>>> {
        if self.required.iter().any(|column| events.column(*column).null_count() > 0) {
            return Ok(None);
        }
        let column = |column: &PickedColumn| match column {
            PickedColumn::OfEvents(column) => Ok(Arc::clone(events.column(*column))),
            PickedColumn::Arrival => first_arrivals(events),
            PickedColumn::Constant(value) => Ok(value.to_array_of_size(events.num_rows())?),
        };
        self.columns.iter().map(column).collect::<Result<_>>().map(Some)
    }
}

fn columns_changed(error: datafusion::arrow::error::ArrowError) -> Error {
    Error::internal("events have other columns than their view was compiled with").with_source(error)
}

/// Whether all functions of a plan, those of users as well, give the same whenever they are called.
fn is_timeless(plan: &LogicalPlan) -> Result<bool> {
    let mut timeless = true;
    plan.apply_with_subqueries(|node| {
        for expr in node.expressions() {
            timeless &= volatility(&expr) == Volatility::Immutable;
        }
        Ok(if timeless { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(timeless)
}

/// Adds the steps from the events up to this operator; false for one that is not known here.
fn add_steps(plan: &dyn ExecutionPlan, steps: &mut Vec<Step>) -> bool {
    if let Some(project) = plan.downcast_ref::<ProjectionExec>() {
        let expressions = project.expr().iter().map(|projected| Arc::clone(&projected.expr)).collect();
        let is_known = add_steps(project.input().as_ref(), steps);
        steps.push(Step::Compute(expressions, project.schema()));
        return is_known;
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let is_known = filter.fetch().is_none()
            && matches!(filter.predicate().data_type(&filter.input().schema()), Ok(DataType::Boolean))
            && add_steps(filter.input().as_ref(), steps);
        steps.push(Step::Filter(Arc::clone(filter.predicate())));
        steps.extend(filter.projection().iter().map(|columns| Step::Columns(columns.to_vec())));
        return is_known;
    }
    let source = plan.downcast_ref::<DataSourceExec>();
    let Some(source) = source.and_then(|source| source.data_source().downcast_ref::<MemorySourceConfig>()) else {
        return false;
    };
    steps.extend(source.projection().iter().map(|columns| Step::Columns(columns.clone())));
    true
}
