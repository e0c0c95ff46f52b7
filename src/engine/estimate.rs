//! About how many rows a plan reads, as far as the files that it reads say so.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use object_store::ObjectStoreExt as _;

use super::query::QueryPlanner;

/// So much of a file of lines is looked at.
const SAMPLE_BYTES: u64 = 256 << 10;

/// The rows of all that the plan reads, before any condition; `None` if something does not say how many it has. Files of
/// lines do not: those at the beginning of the largest say how long a line is.
pub async fn estimated_rows(planner: &QueryPlanner, plan: &LogicalPlan) -> Option<u64> {
    let mut state = planner.state();
    state.config_mut().options_mut().execution.collect_statistics = true;
    let plan = state.create_physical_plan(plan).await.ok()?;
    let mut rows = 0;
    for leaf in leaves(plan) {
        let known = StatisticsContext::new().compute(leaf.as_ref(), &StatisticsArgs::default()).ok()?.num_rows;
        rows += match known.get_value() {
            Some(known) => u64::try_from(*known).ok()?,
            None => lines(&state, leaf.as_ref()).await?,
        };
    }
    Some(rows)
}

fn leaves(plan: Arc<dyn ExecutionPlan>) -> Vec<Arc<dyn ExecutionPlan>> {
    let children: Vec<Arc<dyn ExecutionPlan>> = plan.children().into_iter().cloned().collect();
    if children.is_empty() { vec![plan] } else { children.into_iter().flat_map(leaves).collect() }
}

/// About how many lines the files of a scan have, but for headings. `None` of files that are not made of lines.
async fn lines(state: &SessionState, scan: &dyn ExecutionPlan) -> Option<u64> {
    let scan = scan.downcast_ref::<DataSourceExec>()?.data_source();
    let scan = scan.downcast_ref::<FileScanConfig>()?;
    let headings = match scan.file_source().file_type() {
        "csv" => 1,
        "json" => 0,
        _ => return None,
    };
    if scan.file_compression_type != FileCompressionType::UNCOMPRESSED {
        return None;
    }
    // a large file may be in several parts
    let files = scan.file_groups.iter().flat_map(|group| group.files());
    let sizes: BTreeMap<_, _> = files.map(|file| (&file.object_meta.location, file.object_meta.size)).collect();
    let (n_files, total) = (sizes.len() as u64, sizes.values().sum::<u64>());
    let Some((largest, size)) = sizes.into_iter().max_by_key(|(_, size)| *size).filter(|(_, size)| *size > 0) else {
        return Some(0);
    };
    let store = state.runtime_env().object_store(&scan.object_store_url).ok()?;
    let sample = store.get_range(largest, 0..size.min(SAMPLE_BYTES)).await.ok()?;
    let n_sampled = sample.iter().filter(|byte| **byte == b'\n').count().max(1);
    let n_lines = (total as f64 / sample.len() as f64 * n_sampled as f64).round() as u64;
    Some(n_lines.saturating_sub(headings * n_files))
}
