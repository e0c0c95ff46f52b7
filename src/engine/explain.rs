//! `EXPLAIN`: a physical plan as a tree in the words of PostgreSQL, with what its execution measured.
//!
//! `words` names operators and their properties, `figures` reads their metrics, `scans` tells whose files are read;
//! `tree` puts them together into nodes, which `text` and `json` print. A new operator needs a line in `words` at most:
//! it is shown with its own display text and all of its metrics.

mod figures;
mod json;
mod scans;
mod text;
mod tree;
mod words;

use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use futures::TryStreamExt;

use super::query::QueryPlanner;
use crate::error::Result;
use crate::time::Stopwatch;

/// How a plan is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExplainOptions {
    /// run it, and show what it took
    pub analyze: bool,
    /// show operators that only pass rows on, the columns that come out, and every metric
    pub verbose: bool,
    /// show estimated numbers of rows
    pub costs: bool,
    /// with `analyze`: show times of operators
    pub timing: bool,
    /// show times of planning and, with `analyze`, of execution
    pub summary: bool,
    pub json: bool,
}

/// Times of a statement as a whole, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Summary {
    planning_ms: Option<f64>,
    execution_ms: Option<f64>,
}

/// The plan as EXPLAIN shows it: lines of text, or one JSON document. `since` runs since planning began.
pub async fn explain(
    planner: &QueryPlanner,
    plan: &LogicalPlan,
    options: ExplainOptions,
    since: Stopwatch,
) -> Result<Vec<String>> {
    let state = planner.state();
    let physical = state.create_physical_plan(plan).await?;
    let mut summary = Summary::default();
    if options.summary {
        summary.planning_ms = Some(milliseconds(since));
    }
    if options.analyze {
        let watch = Stopwatch::start();
        let mut rows = execute_stream(Arc::clone(&physical), state.task_ctx())?;
        while rows.try_next().await?.is_some() {}
        if options.summary {
            summary.execution_ms = Some(milliseconds(watch));
        }
    }
    let names = scans::Names::of(planner)?;
    let tree = tree::Tree { options, names: &names }.of(physical.as_ref());
    Ok(if options.json { vec![json::print(&tree, summary)] } else { text::print(&tree, summary) })
}

fn milliseconds(watch: Stopwatch) -> f64 {
    watch.elapsed().as_secs_f64() * 1000.0
}
