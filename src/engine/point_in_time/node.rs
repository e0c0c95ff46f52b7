//! The logical node: a spine, feature relations that it reads by the same keys and time, and the expressions over the
//! spine that bind those. `read_over` is how a plan comes to read one relation more.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::common::{DFSchema, DFSchemaRef, TableReference};
use datafusion::datasource::TableProvider;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNodeCore};

use super::share::{columns_of, projected, replace_columns};
use crate::engine::relation::{FeatureRelation, ReadMode, RowsOrigin};

/// One feature relation of the join.
#[derive(Debug, Clone)]
pub struct RelationRead {
    pub relation: Arc<FeatureRelation>,
    /// the relation's columns that come out, by index
    pub columns: Vec<usize>,
}

/// Output: the spine's columns, then those of each relation.
#[derive(Debug, Clone)]
pub struct PointInTimeJoin {
    pub spine: LogicalPlan,
    /// at least one; with more, all are read from rows of the past
    pub reads: Vec<RelationRead>,
    /// over the spine: one expression a join key, then the time, if the relations are read as of one
    pub bindings: Vec<Expr>,
    pub schema: DFSchemaRef,
}

impl PartialEq for RelationRead {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.relation, &other.relation) && self.columns == other.columns
    }
}

impl Eq for RelationRead {}

impl Hash for RelationRead {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.relation).addr().hash(state);
        self.columns.hash(state);
    }
}

impl PointInTimeJoin {
    fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }

    fn identity(&self) -> (&LogicalPlan, &[RelationRead], &[Expr], &DFSchemaRef) {
        (&self.spine, &self.reads, &self.bindings, &self.schema)
    }
}

impl PartialEq for PointInTimeJoin {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for PointInTimeJoin {}

impl Hash for PointInTimeJoin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl PartialOrd for PointInTimeJoin {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.spine.partial_cmp(&other.spine) {
            Some(Ordering::Equal) if self == other => Some(Ordering::Equal),
            Some(Ordering::Equal) => self.reads.len().partial_cmp(&other.reads.len()).filter(|order| order.is_ne()),
            order => order,
        }
    }
}

impl UserDefinedLogicalNodeCore for PointInTimeJoin {
    fn name(&self) -> &str {
        "PointInTimeJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.spine]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.bindings.clone()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bindings: Vec<String> = self.bindings.iter().map(ToString::to_string).collect();
        let reads: Vec<String> = self
            .reads
            .iter()
            .map(|read| format!("{} from {}", read.relation.view.name, read.relation.origin.name()))
            .collect();
        write!(f, "PointInTimeJoin: {}, bound to {}", reads.join(", "), bindings.join(", "))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let spine = inputs.pop().filter(|_| inputs.is_empty());
        let spine = spine.ok_or_else(|| DataFusionError::Internal("a point-in-time join has one input".into()))?;
        Ok(PointInTimeJoin { spine, bindings: exprs, ..self.clone() })
    }
}

/// The spine with the columns of `read` behind its own, under the qualifier that is given back. A join that the spine
/// is made by, of the same keys and time, reads it along, so that rows of the past are read in one pass over the spine.
/// `bindings` are over the spine: its keys, then the time, if it is read as of one.
pub fn read_over(spine: LogicalPlan, read: RelationRead, bindings: Vec<Expr>) -> Result<(LogicalPlan, TableReference)> {
    let mut number = 0;
    let mut qualifier = TableReference::bare("_read_0");
    while is_qualifier_in(&spine, &qualifier) {
        number += 1;
        qualifier = TableReference::bare(format!("_read_{number}"));
    }
    let schema = read.relation.schema().project(&read.columns)?;
    let columns = DFSchema::try_from_qualified_schema(qualifier.clone(), &schema)?;
    let plan = match read_along(&spine, &read, &bindings, &columns)? {
        Some(plan) => plan,
        None => {
            let schema = Arc::new(spine.schema().join(&columns)?);
            PointInTimeJoin { spine, reads: vec![read], bindings, schema }.into_plan()
        }
    };
    Ok((plan, qualifier))
}

/// Whether columns are qualified so in the plan, or below in what `read_along` may add columns to.
fn is_qualifier_in(plan: &LogicalPlan, qualifier: &TableReference) -> bool {
    let is_here = plan.schema().iter().any(|(known, _)| known == Some(qualifier));
    is_here
        || match plan {
            LogicalPlan::Projection(projection) => is_qualifier_in(&projection.input, qualifier),
            _ => join_of(plan).is_some_and(|join| is_qualifier_in(&join.spine, qualifier)),
        }
}

fn join_of(plan: &LogicalPlan) -> Option<&PointInTimeJoin> {
    let LogicalPlan::Extension(extension) = plan else { return None };
    extension.node.as_any().downcast_ref()
}

/// The plan with `columns` of `read` among its own, read by a join of the same keys and time that it has; None if it
/// has no such join.
fn read_along(
    plan: &LogicalPlan,
    read: &RelationRead,
    bindings: &[Expr],
    columns: &DFSchema,
) -> Result<Option<LogicalPlan>> {
    if let LogicalPlan::Projection(projection) = plan {
        let by_column = projected(projection);
        let bindings = bindings.iter().map(|expr| replace_columns(expr, &by_column)).collect::<Result<Vec<_>>>()?;
        let Some(input) = read_along(&projection.input, read, &bindings, columns)? else { return Ok(None) };
        let exprs: Vec<Expr> = projection.expr.iter().cloned().chain(columns_of(columns)).collect();
        return LogicalPlanBuilder::from(input).project(exprs)?.build().map(Some);
    }
    let Some(join) = join_of(plan) else { return Ok(None) };
    let is_of_the_past = |read: &RelationRead| !matches!(read.relation.origin, RowsOrigin::Online { .. });
    let is_as_of_now = |read: &RelationRead| read.relation.mode == ReadMode::Now;
    let fits = join.bindings == bindings
        && is_of_the_past(read)
        && join.reads.iter().all(|other| is_of_the_past(other) && is_as_of_now(other) == is_as_of_now(read));
    if fits {
        let schema = Arc::new(join.schema.join(columns)?);
        let reads = join.reads.iter().chain([read]).cloned().collect();
        return Ok(Some(PointInTimeJoin { reads, schema, ..join.clone() }.into_plan()));
    }
    let over_spine = |expr: &Expr| expr.column_refs().into_iter().all(|column| join.spine.schema().has_column(column));
    if !bindings.iter().all(over_spine) {
        return Ok(None);
    }
    let Some(spine) = read_along(&join.spine, read, bindings, columns)? else { return Ok(None) };
    let own = join.schema.iter().skip(join.spine.schema().fields().len());
    let own = own.map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field))).collect();
    let own = DFSchema::new_with_metadata(own, join.schema.metadata().clone())?;
    let schema = Arc::new(spine.schema().join(&own)?);
    Ok(Some(PointInTimeJoin { spine, schema, ..join.clone() }.into_plan()))
}
