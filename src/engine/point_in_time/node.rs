//! The logical node: a spine, feature relations that it reads by the same keys and time, and the expressions over the
//! spine that bind those.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::common::DFSchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::engine::relation::FeatureRelation;

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
