//! Turns every join with a feature relation, bound on all keys (and its time), into the one node.
//!
//! It runs after DataFusion's own rules of a pass, when equality conditions of ON and WHERE alike have become join
//! keys and constants have been pushed into the scan. Since the relation is total over bound keys, inner and left
//! joins to it keep the same rows; what a join's condition says beyond the binding filters an inner join and blanks
//! the features of a left one.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, JoinType, TableReference};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Expr, Extension, Join, LogicalPlan, LogicalPlanBuilder, Operator, TableScan, cast, lit, when,
};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::node::{PointInTimeJoin, RelationRead};
use super::share::{projected, replace_columns};
use crate::engine::into_datafusion;
use crate::engine::relation::{Bindings, FeatureRelation, ReadMode, RowsOrigin, column_of};
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

/// The side of a join that is nothing but a feature relation under projections, aliases and filters.
struct RelationSide {
    relation: Arc<FeatureRelation>,
    scan: TableScan,
    /// the side's output columns as expressions over the scan's
    outputs: Vec<(Option<TableReference>, String, Expr)>,
    /// over the scan's columns
    filters: Vec<Expr>,
}

fn relation_side(plan: &LogicalPlan) -> Result<Option<RelationSide>> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let Ok(provider) = source_as_provider(&scan.source) else { return Ok(None) };
            let Ok(relation) = (provider as Arc<dyn std::any::Any + Send + Sync>).downcast::<FeatureRelation>() else {
                return Ok(None);
            };
            // A history is a relation like any other: its rows are joined on their validity.
            if matches!(relation.mode, ReadMode::History { .. }) {
                return Ok(None);
            }
            let outputs = outputs_of(&scan.projected_schema, |column| Expr::Column(column));
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
            let predicate = side.over_scan(&filter.predicate)?;
            side.filters.push(predicate);
            Ok(Some(side))
        }
        LogicalPlan::Projection(projection) => {
            let Some(mut side) = relation_side(&projection.input)? else { return Ok(None) };
            let exprs = projection.expr.iter().map(|expr| side.over_scan(expr)).collect::<Result<Vec<_>>>()?;
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
    /// An expression over the side's output, as one over the scan's columns.
    fn over_scan(&self, expr: &Expr) -> Result<Expr> {
        let outputs = self.outputs.iter();
        let by_column = outputs.map(|(qualifier, name, expr)| (Column::new(qualifier.clone(), name), expr.clone()));
        replace_columns(expr, &by_column.collect())
    }

    /// For each key, then the time: what binds it. `pairs` are (over the spine, over the side).
    fn bind(&self, pairs: &[(Expr, Expr)]) -> Result<Option<Vec<Expr>>> {
        let relation = &self.relation;
        let constants = Bindings::of(&self.scan.filters, |name| relation.bindable_type(name));
        let mut over_scan = Vec::with_capacity(pairs.len());
        for (spine, side) in pairs {
            over_scan.push((spine, self.over_scan(side)?));
        }
        let bound = |name: &str| {
            let data_type = relation.bindable_type(name)?;
            let by_join = over_scan.iter().find(|(_, side)| column_of(side).is_some_and(|column| column.name == name));
            if let Some((spine, _)) = by_join {
                return Some(cast((*spine).clone(), data_type));
            }
            match constants.get(name)?.as_slice() {
                [only] => Some(lit(only.clone())),
                _ => None,
            }
        };
        let names = relation.view.keys.iter().map(|key| key.name.as_str()).chain(relation.as_of_column());
        Ok(names.map(bound).collect())
    }
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
    let Some(bindings) = side.bind(&pairs)? else {
        if side.relation.as_of_column().is_some() {
            return Err(into_datafusion(side.relation.unbound_time()));
        }
        return Ok(None);
    };
    let columns = scan_columns(&side.scan);
    let read = RelationRead { relation: Arc::clone(&side.relation), columns };
    let plan = match joined_before(spine, &read, &bindings, &side.scan.projected_schema)? {
        Some(plan) => plan,
        None => {
            let schema = Arc::new(spine.schema().join(&side.scan.projected_schema)?);
            extension(PointInTimeJoin { spine: spine.as_ref().clone(), reads: vec![read], bindings, schema })
        }
    };
    let join = Join { filter, ..join.clone() };
    finish(&join, relation_on_left, &side, plan).map(Some)
}

fn extension(node: PointInTimeJoin) -> LogicalPlan {
    LogicalPlan::Extension(Extension { node: Arc::new(node) })
}

/// If the spine is itself a join by the same keys and time, adds the relation to that, so that all are read in one
/// pass over the spine.
fn joined_before(
    spine: &LogicalPlan,
    read: &RelationRead,
    bindings: &[Expr],
    columns: &DFSchema,
) -> Result<Option<LogicalPlan>> {
    // what the spine's columns are, over the inner join
    let mut outputs = outputs_of(spine.schema(), Expr::Column);
    let mut inner = spine;
    while let LogicalPlan::Projection(projection) = inner {
        let by_column = projected(projection);
        for (_, _, expr) in &mut outputs {
            *expr = replace_columns(expr, &by_column)?;
        }
        inner = &projection.input;
    }
    let LogicalPlan::Extension(inner) = inner else { return Ok(None) };
    let Some(inner) = inner.node.as_any().downcast_ref::<PointInTimeJoin>() else { return Ok(None) };
    let is_of_the_past = |read: &RelationRead| !matches!(read.relation.origin, RowsOrigin::Online(_));
    if !inner.reads.iter().chain([read]).all(is_of_the_past) {
        return Ok(None);
    }
    let by_column: HashMap<Column, Expr> =
        outputs.iter().map(|(qualifier, name, expr)| (Column::new(qualifier.clone(), name), expr.clone())).collect();
    let bindings = bindings.iter().map(|expr| replace_columns(expr, &by_column)).collect::<Result<Vec<_>>>()?;
    if bindings != inner.bindings {
        return Ok(None);
    }
    let schema = Arc::new(inner.schema.join(columns)?);
    let reads = inner.reads.iter().chain([read]).cloned().collect();
    let joined = extension(PointInTimeJoin { reads, schema, ..inner.clone() });
    let new = outputs_of(columns, Expr::Column);
    let exprs = outputs.into_iter().chain(new).map(|(qualifier, name, expr)| match expr {
        Expr::Column(column) if column.relation == qualifier && column.name == name => Expr::Column(column),
        expr => expr.alias_qualified(qualifier, name),
    });
    LogicalPlanBuilder::from(joined).project(exprs.collect::<Vec<_>>())?.build().map(Some)
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
fn finish(join: &Join, relation_on_left: bool, side: &RelationSide, plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut conditions = side.filters.clone();
    if let Some(filter) = &join.filter {
        conditions.push(side.over_scan(filter)?);
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
