//! Turns every join with a feature relation, bound on all keys (and its time), into the one node; with a composite
//! one, into the nodes of the views behind it.
//!
//! It runs after DataFusion's own rules of a pass, when equality conditions of ON and WHERE alike have become join
//! keys and constants have been pushed into the scan. Since the relation is total over bound keys, inner and left
//! joins to it keep the same rows; what a join's condition says beyond the binding filters an inner join and blanks
//! the features of a left one.

use std::any::Any;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, JoinType, TableReference};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, Operator, TableScan, cast, lit, when,
};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::node::{RelationRead, read_over};
use super::share::replace_columns;
use crate::engine::into_datafusion;
use crate::engine::relation::{Bindings, CompositeRelation, FeatureRelation, ReadMode, column_of};
use crate::error::Error;

#[derive(Debug)]
pub struct PointInTimeRule;

impl OptimizerRule for PointInTimeRule {
    fn name(&self) -> &str {
        "point_in_time_join"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(join) = plan else { return Ok(Transformed::no(plan)) };
        for relation_on_left in [false, true] {
            let fits = match join.join_type {
                JoinType::Inner => true,
                JoinType::Left => !relation_on_left,
                JoinType::Right => relation_on_left,
                _ => false,
            };
            if fits && let Some(plan) = point_in_time_join(&join, relation_on_left)? {
                return Ok(Transformed::yes(plan));
            }
        }
        Ok(Transformed::no(LogicalPlan::Join(join)))
    }
}

/// A relation that a join can bind.
enum Bindable {
    View(Arc<FeatureRelation>),
    Composite(Arc<CompositeRelation>),
}

impl Bindable {
    fn of(scan: &TableScan) -> Option<Bindable> {
        let provider = source_as_provider(&scan.source).ok()? as Arc<dyn Any + Send + Sync>;
        match provider.downcast::<FeatureRelation>() {
            // A history is a relation like any other: its rows are joined on their validity.
            Ok(relation) if matches!(relation.mode, ReadMode::History { .. }) => None,
            Ok(relation) => Some(Bindable::View(relation)),
            Err(provider) => provider.downcast().ok().map(Bindable::Composite),
        }
    }

    /// What must be bound, in the order of a join's bindings.
    fn columns(&self) -> Vec<&str> {
        match self {
            Bindable::View(view) => {
                view.view.keys.iter().map(|key| key.name.as_str()).chain(view.as_of_column()).collect()
            }
            Bindable::Composite(composite) => composite.bindable_columns().collect(),
        }
    }

    fn column_type(&self, name: &str) -> Option<DataType> {
        match self {
            Bindable::View(view) => view.bindable_type(name),
            Bindable::Composite(composite) => composite.bindable_type(name),
        }
    }

    fn constants(&self, filters: &[Expr]) -> Bindings {
        match self {
            Bindable::View(view) => Bindings::of(filters, |name| view.bindable_type(name)),
            Bindable::Composite(composite) => composite.constants(filters),
        }
    }

    /// The error of a join that leaves columns open; None if other rows are meant then.
    fn unbound(&self, columns: &[&str]) -> Option<Error> {
        match self {
            Bindable::View(view) => view.as_of_column().map(|_| view.unbound_time()),
            Bindable::Composite(composite) => composite.unbound_in_join(columns),
        }
    }

    /// A plan with a row for every row of the spine, the spine's columns among its own; and over that plan, what each
    /// column of the scan is.
    fn read_over(&self, spine: LogicalPlan, scan: &TableScan, bindings: Vec<Expr>) -> Result<(LogicalPlan, Vec<Expr>)> {
        let columns = scan_columns(scan);
        let view = match self {
            Bindable::View(view) => view,
            Bindable::Composite(composite) => return composite.join(spine, &bindings, &columns),
        };
        let (plan, qualifier) = read_over(spine, RelationRead { relation: Arc::clone(view), columns }, bindings)?;
        let column = |(_, field): (_, &FieldRef)| Expr::Column(Column::new(Some(qualifier.clone()), field.name()));
        let values = scan.projected_schema.iter().map(column).collect();
        Ok((plan, values))
    }
}

/// The side of a join that is nothing but a feature relation under projections, aliases and filters.
struct RelationSide {
    relation: Bindable,
    scan: TableScan,
    /// the side's output columns as expressions over the scan's, or the plan that has read it
    outputs: Vec<(Option<TableReference>, String, Expr)>,
    /// over the same
    filters: Vec<Expr>,
}

fn relation_side(plan: &LogicalPlan) -> Result<Option<RelationSide>> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let Some(relation) = Bindable::of(scan) else { return Ok(None) };
            let outputs = outputs_of(&scan.projected_schema, Expr::Column);
            Ok(Some(RelationSide { relation, scan: scan.clone(), outputs, filters: Vec::new() }))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let Some(mut side) = relation_side(&alias.input)? else { return Ok(None) };
            for output in &mut side.outputs {
                output.0 = Some(alias.alias.clone());
            }
            Ok(Some(side))
        }
        LogicalPlan::Filter(filter) => {
            let Some(mut side) = relation_side(&filter.input)? else { return Ok(None) };
            let predicate = side.below(&filter.predicate)?;
            side.filters.push(predicate);
            Ok(Some(side))
        }
        LogicalPlan::Projection(projection) => {
            let Some(mut side) = relation_side(&projection.input)? else { return Ok(None) };
            let exprs = projection.expr.iter().map(|expr| side.below(expr)).collect::<Result<Vec<_>>>()?;
            side.outputs = projection
                .schema
                .iter()
                .zip(exprs)
                .map(|((qualifier, field), expr)| (qualifier.cloned(), field.name().clone(), expr.unalias()))
                .collect();
            Ok(Some(side))
        }
        _ => Ok(None),
    }
}

fn outputs_of(schema: &DFSchema, expr_of: impl Fn(Column) -> Expr) -> Vec<(Option<TableReference>, String, Expr)> {
    schema
        .iter()
        .map(|(qualifier, field)| {
            let column = Column::new(qualifier.cloned(), field.name());
            (qualifier.cloned(), field.name().clone(), expr_of(column))
        })
        .collect()
}

impl RelationSide {
    /// An expression over the side's output, as one over what its outputs are over.
    fn below(&self, expr: &Expr) -> Result<Expr> {
        let outputs = self.outputs.iter();
        let by_column = outputs.map(|(qualifier, name, expr)| (Column::new(qualifier.clone(), name), expr.clone()));
        replace_columns(expr, &by_column.collect())
    }

    /// The side with its outputs and filters over the plan that has read the relation: `values` are the scan's columns.
    fn over(mut self, values: Vec<Expr>) -> Result<RelationSide> {
        let columns = self.scan.projected_schema.columns();
        let by_column = columns.into_iter().zip(values).collect();
        for (_, _, expr) in &mut self.outputs {
            *expr = replace_columns(expr, &by_column)?;
        }
        for filter in &mut self.filters {
            *filter = replace_columns(filter, &by_column)?;
        }
        Ok(self)
    }

    /// What binds each of the relation's columns. `pairs` are (over the spine, over the side).
    fn bind(&self, pairs: &[(Expr, Expr)], spine: &DFSchema) -> Result<Bound> {
        let constants = self.relation.constants(&self.scan.filters);
        let over_scan = pairs.iter().map(|(_, side)| self.below(side)).collect::<Result<Vec<_>>>()?;
        let mut bound = Bound { by_column: Vec::new(), rest: Vec::new() };
        let mut used = vec![false; pairs.len()];
        for name in self.relation.columns() {
            let place = over_scan.iter().position(|side| column_of(side).is_some_and(|column| column.name == name));
            let constant = constants.get(name).map(Vec::as_slice);
            bound.by_column.push(match (place, constant, self.relation.column_type(name)) {
                (Some(place), _, Some(data_type)) => {
                    used[place] = true;
                    let expr = pairs[place].0.clone();
                    let is_of_type = expr.get_type(spine).is_ok_and(|own| own == data_type);
                    Some(if is_of_type { expr } else { cast(expr, data_type) })
                }
                (None, Some([only]), _) => Some(lit(only.clone())),
                _ => None,
            });
        }
        // Said twice is said once: a NULL key keeps its row.
        let is_used = |pair: &(Expr, Expr)| pairs.iter().zip(&used).any(|(other, used)| *used && other == pair);
        let unused = pairs.iter().filter(|pair| !is_used(pair));
        bound.rest.extend(unused.map(|(spine, side)| spine.clone().eq(side.clone())));
        Ok(bound)
    }
}

struct Bound {
    /// over the spine; None for a column that is left open
    by_column: Vec<Option<Expr>>,
    /// over the join: its equalities that bind nothing
    rest: Vec<Expr>,
}

fn point_in_time_join(join: &Join, relation_on_left: bool) -> Result<Option<LogicalPlan>> {
    let (side, spine) = if relation_on_left { (&join.left, &join.right) } else { (&join.right, &join.left) };
    let Some(side) = relation_side(side)? else { return Ok(None) };
    // What WHERE binds is pushed into the join's filter, and becomes a join key in a later pass only.
    let (equalities, filter) = equalities(join);
    let pairs: Vec<(Expr, Expr)> = join
        .on
        .iter()
        .chain(&equalities)
        .map(
            |(left, right)| {
                if relation_on_left { (right.clone(), left.clone()) } else { (left.clone(), right.clone()) }
            },
        )
        .collect();
    let Bound { by_column, rest } = side.bind(&pairs, spine.schema())?;
    let columns = side.relation.columns();
    let open: Vec<&str> =
        columns.iter().zip(&by_column).filter(|(_, bound)| bound.is_none()).map(|(name, _)| *name).collect();
    if !open.is_empty() {
        return side.relation.unbound(&open).map_or(Ok(None), |error| Err(into_datafusion(error)));
    }
    let bindings = by_column.into_iter().flatten().collect();
    let (plan, values) = side.relation.read_over(spine.as_ref().clone(), &side.scan, bindings)?;
    let join = Join { filter: conjunction(filter.into_iter().chain(rest)), ..join.clone() };
    finish(&join, relation_on_left, side.over(values)?, plan).map(Some)
}

/// The conditions `left = right` of a join's filter, as (left, right), and what else the filter says.
fn equalities(join: &Join) -> (Vec<(Expr, Expr)>, Option<Expr>) {
    let within = |expr: &Expr, side: &LogicalPlan| {
        let columns = expr.column_refs();
        !columns.is_empty() && columns.into_iter().all(|column| side.schema().has_column(column))
    };
    let mut pairs = Vec::new();
    let mut rest = Vec::new();
    for part in join.filter.clone().map_or_else(Vec::new, split_conjunction_owned) {
        match part {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right })
                if within(&left, &join.left) && within(&right, &join.right) =>
            {
                pairs.push((*left, *right));
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right })
                if within(&right, &join.left) && within(&left, &join.right) =>
            {
                pairs.push((*right, *left));
            }
            other => rest.push(other),
        }
    }
    (pairs, conjunction(rest))
}

fn scan_columns(scan: &TableScan) -> Vec<usize> {
    match &scan.projection {
        Some(columns) => columns.clone(),
        None => (0..scan.source.schema().fields().len()).collect(),
    }
}

/// Applies what the join said beyond the binding, and gives the columns the names and order of the join.
fn finish(join: &Join, relation_on_left: bool, side: RelationSide, plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut conditions = side.filters.clone();
    if let Some(filter) = &join.filter {
        conditions.push(side.below(filter)?);
    }
    let condition = conditions.into_iter().reduce(Expr::and);
    let is_inner = join.join_type == JoinType::Inner;
    let (plan, blank) = match condition {
        None => (plan, None),
        Some(condition) if is_inner => (LogicalPlanBuilder::from(plan).filter(condition)?.build()?, None),
        Some(condition) => (plan, Some(condition)),
    };
    let mut features = Vec::with_capacity(side.outputs.len());
    for (qualifier, name, expr) in &side.outputs {
        let expr = match &blank {
            None => expr.clone(),
            Some(condition) => when(condition.clone(), expr.clone()).end()?,
        };
        features.push(expr.alias_qualified(qualifier.clone(), name));
    }
    let spine = if relation_on_left { &join.right } else { &join.left };
    let spine = outputs_of(spine.schema(), Expr::Column).into_iter().map(|(_, _, expr)| expr);
    let exprs: Vec<Expr> =
        if relation_on_left { features.into_iter().chain(spine).collect() } else { spine.chain(features).collect() };
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}

impl From<Error> for datafusion::error::DataFusionError {
    fn from(error: Error) -> Self {
        into_datafusion(error)
    }
}
