//! A look at what has come too late: rows of ranges that are materialized already, which their jobs have not seen. Each
//! job notes how many rows its range had; now they are counted again.
//!
//! It counts, and compares no rows: what came and what went away may balance. Only recent ranges are looked at, once a
//! period of the view and no more often than once an hour.

use std::sync::Arc;

use granary_catalog::{FeatureView, IntervalSet, Job, JobFilter, JobState, Trigger};

use crate::access::Asker;
use crate::engine::{BoundView, LateRange, Looked, RowsRequest, count_rows};
use crate::error::{Error, Result};
use crate::warehouse::Warehouse;

const HOUR_US: i64 = 3600 * 1_000_000;
/// Ranges that ended longer ago are not looked at, if these are enough periods.
const LOOKED_BACK_US: i64 = 7 * 24 * HOUR_US;
const LOOKED_BACK_PERIODS: i64 = 7;
/// Jobs of a view that are looked at, at most.
const MOST_JOBS: usize = 100;

/// Looks if it is time to.
pub async fn look(warehouse: &Arc<Warehouse>, view: &FeatureView) -> Result<()> {
    let now_us = warehouse.clock.now_us();
    let Some(period_us) = view.schedule_us.filter(|_| view.kind.is_batch() && view.trigger == Trigger::Scheduled)
    else {
        return Ok(());
    };
    let last_us = warehouse.late.of(view.header.id).map(|looked| looked.at_us);
    if last_us.is_some_and(|last_us| now_us < last_us.saturating_add(period_us.max(HOUR_US))) {
        return Ok(());
    }
    let workspace = view.header.home.workspace().ok_or_else(|| Error::internal("a view is in no workspace"))?;
    let bound = BoundView::of_feature_view(view)?;
    let planner = warehouse.planner(warehouse.scope(workspace, Vec::new(), Asker::Server), now_us);
    let since_us = now_us.saturating_sub(LOOKED_BACK_US.max(period_us.saturating_mul(LOOKED_BACK_PERIODS)));
    let mut ranges = Vec::new();
    for (job, rows_then) in recent(warehouse, view, since_us)? {
        let Some(refresh) = job.request.work.refresh() else { continue };
        let range = RowsRequest::Range { start_us: refresh.range.start_us, end_us: refresh.range.end_us };
        let rows_now = count_rows(&planner, &bound, range).await?;
        if rows_now != rows_then {
            ranges.push(LateRange { range: refresh.range, rows_then, rows_now });
        }
    }
    warehouse.late.note(view.header.id, Looked { at_us: now_us, ranges });
    Ok(())
}

/// The jobs that were the last to write their ranges, newest first, with how many rows these had.
fn recent(warehouse: &Warehouse, view: &FeatureView, since_us: i64) -> Result<Vec<(Job, u64)>> {
    let filter = JobFilter { view: Some(view.header.id), limit: MOST_JOBS, ..JobFilter::default() };
    let mut jobs = warehouse.catalog.ledger().list(&filter)?;
    // one that was retried has ended later than its number says
    jobs.sort_by_key(|job| std::cmp::Reverse(job.finished_at_us));
    let mut written = IntervalSet::default();
    let mut recent = Vec::new();
    for job in jobs.into_iter().filter(|job| job.state == JobState::Succeeded) {
        let Some(range) = job.request.work.refresh().map(|refresh| refresh.range) else { continue };
        // one that has not counted has filled new features alone: the others are as the jobs before have made them
        let Some(rows) = job.source_rows else { continue };
        let is_last = written.first_overlap(&range).is_none();
        written.insert(range);
        if is_last && range.end_us > since_us {
            recent.push((job, rows));
        }
    }
    Ok(recent)
}
