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
use std::time::Duration;

use datafusion::logical_expr::LogicalPlan;
use futures::TryStreamExt;

use super::query::QueryPlanner;
use super::serving::Serving;
use super::threads::QueryThreads;
use crate::error::Result;
use crate::time::Stopwatch;
use tree::{Node, Property};

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
        summary.planning_ms = Some(milliseconds(since.elapsed()));
    }
    if options.analyze {
        let watch = Stopwatch::start();
        let mut rows = QueryThreads::run(&state, Arc::clone(&physical))?;
        while rows.try_next().await?.is_some() {}
        if options.summary {
            summary.execution_ms = Some(milliseconds(watch.elapsed()));
        }
    }
    let names = scans::Names::of(planner)?;
    let tree = tree::Tree { options, names: &names }.of(physical.as_ref());
    Ok(if options.json { vec![json::print(&tree, summary)] } else { text::print(&tree, summary) })
}

/// A lookup that needs no plan, as EXPLAIN shows it. `rows`: how many it gave, if it was to be done, and how long that took.
pub fn explain_lookup(
    lookup: &Serving,
    rows: Option<(usize, Duration)>,
    options: ExplainOptions,
    planning: Duration,
) -> Vec<String> {
    let described = lookup.described();
    let text = |label: &str, text: &str| (label.to_owned(), Property::Text(text.to_owned()));
    let mut properties = vec![text("Keys", &described.asked)];
    if !described.views.is_empty() {
        properties.push(text("Views", &described.views.join(", ")));
    }
    if options.verbose {
        let columns: Vec<&str> = lookup.columns.fields().iter().map(|field| field.name().as_str()).collect();
        properties.push(text("Output", &columns.join(", ")));
    }
    let actual = rows
        .map(|(rows, time)| figures::Actual { rows: rows as u64, time_ms: options.timing.then(|| milliseconds(time)) });
    let node = Node {
        kind: "Direct Lookup".to_owned(),
        relation: Some(scans::Relation { format: None, name: Some(described.relation.clone()), files: 0 }),
        estimated_rows: None,
        actual,
        properties,
        children: Vec::new(),
    };
    let summary = Summary {
        planning_ms: options.summary.then(|| milliseconds(planning)),
        execution_ms: rows.filter(|_| options.summary).map(|(_, time)| milliseconds(time)),
    };
    if options.json { vec![json::print(&node, summary)] } else { text::print(&node, summary) }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
