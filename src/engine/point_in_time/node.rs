//! The logical node: a spine, a feature relation, and the expressions over the spine that bind its keys and time.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::common::DFSchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::engine::relation::FeatureRelation;

/// Output: the spine's columns, then columns of the relation.
#[derive(Debug, Clone)]
pub struct PointInTimeJoin {
    pub spine: LogicalPlan,
    pub relation: Arc<FeatureRelation>,
    /// over the spine: one expression a join key, then the time, if the relation is read as of one
    pub bindings: Vec<Expr>,
    /// the relation's columns that come out, by index
    pub columns: Vec<usize>,
    pub schema: DFSchemaRef,
}

impl PointInTimeJoin {
    fn identity(&self) -> (&LogicalPlan, usize, &[Expr], &[usize], &DFSchemaRef) {
        let relation = Arc::as_ptr(&self.relation).addr();
        (&self.spine, relation, &self.bindings, &self.columns, &self.schema)
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
            Some(Ordering::Equal) => self.columns.partial_cmp(&other.columns).filter(|order| order.is_ne()),
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
        write!(
            f,
            "PointInTimeJoin: {} from {}, bound to {}",
            self.relation.view.name,
            self.relation.origin.name(),
            bindings.join(", ")
        )
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let spine = inputs.pop().filter(|_| inputs.is_empty());
        let spine = spine.ok_or_else(|| DataFusionError::Internal("a point-in-time join has one input".into()))?;
        Ok(PointInTimeJoin { spine, bindings: exprs, ..self.clone() })
    }
}
