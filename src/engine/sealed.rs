//! Plans that the optimizer must leave as they are. What they read in order, with ties broken by that order, may stand
//! in a larger plan whose other parts gain from being split anew; inside of these it would mix the rows.
//!
//! A sealed plan hides its inputs until all other rules are done, and then makes way for what it held.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

/// `plan`, which is optimized already, for use inside of a plan that will be.
pub fn sealed(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    Arc::new(SealedExec { plan })
}

#[derive(Debug)]
struct SealedExec {
    plan: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for SealedExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedExec: ")?;
        self.plan.fmt_as(format, f)
    }
}

impl ExecutionPlan for SealedExec {
    fn name(&self) -> &str {
        "SealedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.plan.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.plan.execute(partition, context)
    }
}

/// The last rule of all.
#[derive(Debug)]
pub struct Unseal;

impl PhysicalOptimizerRule for Unseal {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let unsealed = plan.transform_up(|plan| {
            Ok(match plan.downcast_ref::<SealedExec>() {
                Some(sealed) => Transformed::yes(Arc::clone(&sealed.plan)),
                None => Transformed::no(plan),
            })
        })?;
        Ok(unsealed.data)
    }

    fn name(&self) -> &str {
        "unseal"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
