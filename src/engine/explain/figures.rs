//! What operators measured, in words.

use datafusion::common::stats::Precision;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::{MetricValue, MetricsSet};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};

use super::tree::Property;
use super::words::title;

/// What an operator gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Actual {
    pub rows: u64,
    /// What the operator itself computed, in all of its tasks together, without its inputs.
    pub time_ms: Option<f64>,
}

/// An operator's metrics.
#[derive(Debug)]
pub struct Figures {
    pub actual: Option<Actual>,
    pub properties: Vec<(String, Property)>,
}

/// Metrics that are shown of every operator, if they are not zero.
const SHOWN: [(&str, &str); 10] = [
    ("build_mem_used", "Memory"),
    ("mem_used", "Memory"),
    ("peak_mem_used", "Peak Memory"),
    ("spill_count", "Spills"),
    ("spilled_bytes", "Disk"),
    ("spilled_rows", "Rows Spilled"),
    ("bytes_scanned", "Bytes Read"),
    ("build_input_rows", "Rows Hashed"),
    ("row_groups_pruned_dynamic_filter", "Row Groups Pruned by Dynamic Filter"),
    ("pushdown_rows_pruned", "Rows Removed while Reading"),
];

/// What is tested before it is read: the metric's name, what it counts, and by what it is left out.
const PRUNED: [(&str, &str, &str); 6] = [
    ("files_ranges_pruned_statistics", "Files", "Statistics"),
    ("row_groups_pruned_statistics", "Row Groups", "Statistics"),
    ("row_groups_pruned_bloom_filter", "Row Groups", "Bloom Filter"),
    ("limit_pruned_row_groups", "Row Groups", "Limit"),
    ("page_index_pages_pruned", "Pages", "Page Index"),
    ("page_index_rows_pruned", "Rows", "Page Index"),
];

/// Figures that `Actual` has, or that say nothing of a plan.
const QUIET: [&str; 4] = ["output_rows", "elapsed_compute", "start_timestamp", "end_timestamp"];

/// The figures of an operator; `all` of them, or those that every reader understands.
pub fn of(plan: &dyn ExecutionPlan, all: bool) -> Figures {
    let Some(metrics) = plan.metrics() else { return Figures { actual: None, properties: Vec::new() } };
    let metrics = metrics.aggregate_by_name();
    let rows = metrics.output_rows();
    let nanoseconds = metrics.elapsed_compute();
    let actual = rows.map(|rows| Actual {
        rows: rows as u64,
        time_ms: nanoseconds.map(|nanoseconds| nanoseconds as f64 / 1_000_000.0),
    });
    Figures { actual, properties: properties(&metrics, all) }
}

fn properties(metrics: &MetricsSet, all: bool) -> Vec<(String, Property)> {
    let mut properties = Vec::new();
    for metric in metrics.iter() {
        let value = metric.value();
        let name = value.name();
        if QUIET.contains(&name) {
            continue;
        }
        if let MetricValue::PruningMetrics { pruning_metrics, .. } = value {
            let pruned = pruning_metrics.pruned();
            if pruned == 0 && !all {
                continue;
            }
            let (what, by) = match PRUNED.iter().find(|(known, ..)| *known == name) {
                Some((_, what, by)) => ((*what).to_owned(), format!(" by {by}")),
                None => (title(name), String::new()),
            };
            properties.push((format!("{what} Pruned{by}"), Property::Count(pruned as u64)));
            continue;
        }
        let shown = SHOWN.iter().find(|(known, _)| *known == name).map(|(_, word)| (*word).to_owned());
        if value.as_usize() == 0 || !all && shown.is_none() {
            continue;
        }
        properties.push((shown.unwrap_or_else(|| title(name)), property(value)));
    }
    properties.sort_by(|(one, _), (other, _)| one.cmp(other));
    properties
}

fn property(value: &MetricValue) -> Property {
    let number = value.as_usize() as u64;
    match value {
        MetricValue::Time { .. } => Property::Milliseconds(number as f64 / 1_000_000.0),
        MetricValue::SpilledBytes(_)
        | MetricValue::OutputBytes(_)
        | MetricValue::CurrentMemoryUsage(_)
        | MetricValue::PeakMemoryUsage { .. } => Property::Bytes(number),
        MetricValue::Count { name, .. } | MetricValue::Gauge { name, .. }
            if name.contains("bytes") || name.contains("mem_used") =>
        {
            Property::Bytes(number)
        }
        MetricValue::Ratio { .. } | MetricValue::Custom { .. } => Property::Text(value.to_string()),
        _ => Property::Count(number),
    }
}

/// How many rows the operator's inputs let expect.
pub fn estimated_rows(plan: &dyn ExecutionPlan) -> Option<u64> {
    match StatisticsContext::new().compute(plan, &StatisticsArgs::new()).ok()?.num_rows {
        Precision::Exact(rows) | Precision::Inexact(rows) => Some(rows as u64),
        Precision::Absent => None,
    }
}
