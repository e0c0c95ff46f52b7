//! About how many rows a plan reads, as far as the files that it reads say so.

use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};

use super::query::QueryPlanner;

/// The rows of all that the plan reads, before any condition; `None` if something does not say how many it has.
pub async fn estimated_rows(planner: &QueryPlanner, plan: &LogicalPlan) -> Option<u64> {
    let mut state = planner.state();
    state.config_mut().options_mut().execution.collect_statistics = true;
    let plan = state.create_physical_plan(plan).await.ok()?;
    read_by(plan.as_ref())
}

fn read_by(plan: &dyn ExecutionPlan) -> Option<u64> {
    let children = plan.children();
    if children.is_empty() {
        let rows = StatisticsContext::new().compute(plan, &StatisticsArgs::default()).ok()?.num_rows;
        return rows.get_value().and_then(|rows| u64::try_from(*rows).ok());
    }
    children.into_iter().map(|child| read_by(child.as_ref())).sum()
}
