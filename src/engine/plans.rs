//! Small operations on logical plans that statements need: parameters, casts, running.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ParamValues;
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{DmlStatement, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, WriteOp, cast};
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::error::into_datafusion;
use super::functions::user::user_function;
use super::relation::{FeatureRelation, RowsOrigin};
use super::tables::stored::version_of;
use super::threads::QueryThreads;
use crate::error::{Error, Kind, Result};
use crate::row::{Value, array_of};

/// The types of `$1, $2, …`: those declared, else as DataFusion infers them, else text.
pub fn parameter_types(plan: &LogicalPlan, declared: &[Option<DataType>]) -> Result<Vec<DataType>> {
    let mut inferred: HashMap<String, Option<DataType>> = plan.get_parameter_types()?;
    for (name, data_type) in typed_parameters(plan)? {
        inferred.insert(name, Some(data_type));
    }
    let mut count = declared.len();
    for name in inferred.keys() {
        let number: usize = name
            .trim_start_matches('$')
            .parse()
            .map_err(|_| Error::new(Kind::UndefinedParameter, format!("parameter {name} is not a number")))?;
        count = count.max(number);
    }
    Ok((0..count)
        .map(|index| {
            let declared = declared.get(index).cloned().flatten();
            let inferred = || inferred.get(&format!("${}", index + 1)).cloned().flatten();
            declared.or_else(inferred).unwrap_or(DataType::Utf8)
        })
        .collect())
}

/// The parameters in `x = ANY($1)`, which DataFusion plans as `array_has($1, x)` without a type for them, and those that
/// are arguments of functions of users.
fn typed_parameters(plan: &LogicalPlan) -> Result<Vec<(String, DataType)>> {
    let mut found = Vec::new();
    plan.apply_with_subqueries(|node| {
        let schema = scope_of(node);
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarFunction(call) = expr
                    && let Some(function) = user_function(&call.func)
                {
                    found.extend(call.args.iter().enumerate().filter_map(|(index, argument)| match argument {
                        Expr::Placeholder(placeholder) if placeholder.field.is_none() => {
                            Some((placeholder.id.clone(), function.argument_type(index)?.clone()))
                        }
                        _ => None,
                    }));
                }
                if let Expr::ScalarFunction(call) = expr
                    && call.func.name() == "array_has"
                    && let [Expr::Placeholder(placeholder), item] = call.args.as_slice()
                    && placeholder.field.is_none()
                    && let Ok(item) = item.get_type(&schema)
                {
                    found.push((placeholder.id.clone(), DataType::new_list(item, true)));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// OIDs of the types of parameters, as far as a plan says them; 0 for the others, in so many places.
pub fn parameter_oids(plan: &LogicalPlan, count: usize) -> Result<Vec<u32>> {
    let mut found = vec![0; count];
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::Placeholder(placeholder) = expr
                    && let Some(name) = placeholder.field.as_ref().and_then(|field| field.metadata().get("pg.type"))
                    && let Some(row) = granary_postgres::types::type_named(name.trim_matches('"'))
                    && let Ok(number) = placeholder.id.trim_start_matches('$').parse::<usize>()
                    && let Some(place) = found.get_mut(number.wrapping_sub(1))
                {
                    *place = row.oid;
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// The columns that a node's expressions can name.
pub fn scope_of(node: &LogicalPlan) -> DFSchema {
    match node.inputs().as_slice() {
        [] => node.schema().as_ref().clone(),
        inputs => merge_schema(inputs),
    }
}

/// The plan with values for its parameters.
pub fn bind_parameters(plan: LogicalPlan, values: &[(DataType, Option<Value>)]) -> Result<LogicalPlan> {
    if values.is_empty() {
        return Ok(plan);
    }
    let scalars = values
        .iter()
        .map(|(data_type, value)| {
            let array = array_of(data_type, [value.as_ref()])?;
            Ok(ScalarAndMetadata::from(ScalarValue::try_from_array(&array, 0)?))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(plan.with_param_values(ParamValues::List(scalars))?)
}

/// The columns of a plan's rows.
pub fn output_schema(plan: &LogicalPlan) -> SchemaRef {
    Arc::new(plan.schema().as_arrow().clone())
}

/// The plan's columns, in order, in the names and types of `schema`.
pub fn cast_batches(plan: LogicalPlan, schema: &SchemaRef) -> Result<LogicalPlan> {
    let exprs: Vec<Expr> = plan
        .schema()
        .iter()
        .zip(schema.fields())
        .map(|((qualifier, field), target)| {
            let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
            cast(column, target.data_type().clone()).alias(target.name())
        })
        .collect();
    if plan.schema().fields().len() != schema.fields().len() {
        return Err(Error::internal("a query has other columns than its table"));
    }
    Ok(LogicalPlanBuilder::from(plan).project(exprs)?.build()?)
}

/// A planned INSERT of all columns of a table: those that the plan gives, by number, and NULL for the others.
pub fn inserted(plan: LogicalPlan, given: &[Option<usize>], schema: &SchemaRef) -> Result<LogicalPlan> {
    let columns: Vec<Column> = plan.schema().columns();
    let exprs = given.iter().zip(schema.fields()).map(|(given, field)| -> Result<Expr> {
        Ok(match given {
            Some(number) => Expr::Column(columns[*number].clone()).alias(field.name()),
            None => Expr::Literal(ScalarValue::try_from(field.data_type())?, None).alias(field.name()),
        })
    });
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    let input = LogicalPlanBuilder::from(plan).project(exprs)?.build()?;
    let table = provider_as_source(Arc::new(EmptyTable::new(Arc::clone(schema))));
    let operation = WriteOp::Insert(InsertOp::Append);
    Ok(LogicalPlan::Dml(DmlStatement::new("written".into(), table, operation, Arc::new(input))))
}

/// The query of a planned INSERT: one column for every column of the table.
pub fn insert_input(plan: LogicalPlan) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Dml(dml) if matches!(dml.op, WriteOp::Insert(_)) => Ok(Arc::unwrap_or_clone(dml.input)),
        other => Err(Error::internal(format!("an INSERT was planned as {}", other.display()))),
    }
}

/// The stored tables that a plan reads, through feature relations too, each with its version in the store.
pub fn versions_read(plan: &LogicalPlan) -> Result<BTreeMap<String, u64>> {
    let mut found = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Ok(provider) = source_as_provider(&scan.source)
        {
            found.extend(version_of(provider.as_ref()));
            let relation = provider.downcast_ref::<FeatureRelation>();
            let plans: Vec<&LogicalPlan> = match relation.map(|relation| &relation.origin) {
                Some(RowsOrigin::Plan { plan, .. }) => vec![plan.as_ref()],
                Some(RowsOrigin::Groups(groups)) => groups.plans().collect(),
                Some(RowsOrigin::Online { .. }) | None => Vec::new(),
            };
            for plan in plans {
                found.extend(versions_read(plan).map_err(into_datafusion)?);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// Runs a plan on the threads for queries; its rows come as one stream, in the plan's order if it has one.
pub async fn run(state: &SessionState, plan: &LogicalPlan) -> Result<SendableRecordBatchStream> {
    let physical = state.create_physical_plan(plan).await?;
    let n_partitions = physical.output_partitioning().partition_count();
    let physical = match physical.output_ordering() {
        // what merges partitions by default takes them as they come
        Some(order) if n_partitions > 1 => {
            Arc::new(SortPreservingMergeExec::new(order.clone(), Arc::clone(&physical))) as Arc<dyn ExecutionPlan>
        }
        _ => physical,
    };
    QueryThreads::run(state, physical)
}

/// The values of constant expressions, each in a type.
pub async fn constant_values(
    planner: &super::QueryPlanner,
    constants: Vec<(sqlparser::ast::Expr, DataType)>,
) -> Result<Vec<Option<Value>>> {
    use futures::TryStreamExt;
    let schema = datafusion::common::DFSchema::empty();
    let values = constants.into_iter().enumerate().map(|(index, (expr, data_type))| {
        Ok(cast(planner.plan_expression(expr, &schema, "")?, data_type).alias(index.to_string()))
    });
    let values: Vec<Expr> = values.collect::<Result<_>>()?;
    let plan = LogicalPlanBuilder::empty(true).project(values)?.build()?;
    let batches: Vec<_> = run(&planner.state(), &plan).await?.try_collect().await?;
    let batch = batches.first().ok_or_else(|| Error::internal("constants without a row"))?;
    batch.columns().iter().map(|column| crate::row::value_at(column.as_ref(), 0)).collect()
}

/// The value of a constant expression as a time, microseconds.
pub async fn constant_time(
    planner: &super::QueryPlanner,
    expr: &granary_sql::SqlText<sqlparser::ast::Expr>,
) -> Result<i64> {
    match time_value(planner, &expr.ast, &expr.text).await? {
        Some(time_us) => Ok(time_us),
        None => Err(Error::new(Kind::InvalidDatetimeFormat, format!("{expr} is not a time"))),
    }
}

/// The same of an expression in `text`, in which the planner's parameters have their values. NULL is None.
pub async fn time_value(planner: &super::QueryPlanner, expr: &sqlparser::ast::Expr, text: &str) -> Result<Option<i64>> {
    use futures::TryStreamExt;
    let schema = datafusion::common::DFSchema::empty();
    let value = cast(planner.plan_expression(expr.clone(), &schema, text)?, super::time_type());
    let plan = LogicalPlanBuilder::empty(true).project([value])?.build()?;
    let plan = bind_parameters(plan, &planner.parameter_values)?;
    let batches: Vec<_> = run(&planner.state(), &plan).await?.try_collect().await?;
    let value = match batches.first() {
        Some(batch) if batch.num_rows() == 1 => crate::row::value_at(batch.column(0).as_ref(), 0)?,
        _ => None,
    };
    match value {
        None => Ok(None),
        Some(Value::Int(time_us)) => Ok(Some(time_us)),
        Some(_) => Err(Error::internal("a time has another type")),
    }
}
