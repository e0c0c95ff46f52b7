//! Jobs, their attempts, and what is materialized because of them.

use granary_catalog::{GroupId, Job, JobFilter, Object, StoreKind};

use super::{Rows, SystemContext, row};
use crate::engine::relation::BoundView;
use crate::error::Result;

/// Newest first.
pub fn jobs_of(context: &SystemContext) -> Result<Vec<Job>> {
    let filter = JobFilter { workspace: Some(context.scope.workspace), ..JobFilter::default() };
    Ok(context.catalog.ledger().list(&filter)?)
}

/// A time that may be "from ever" or "for ever", which is NULL.
pub fn bounded(time_us: i64) -> Option<i64> {
    (time_us != i64::MIN && time_us != i64::MAX).then_some(time_us)
}

pub fn jobs(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for job in jobs_of(context)? {
        let work = &job.request.work;
        let refresh = work.refresh();
        let dataset = work.dataset();
        row!(rows,
            id: job.id.0,
            kind: work.kind(),
            feature_view: work.view().map(|(_, name)| name),
            state: job.state.as_str(),
            range_start: refresh.and_then(|refresh| bounded(refresh.range.start_us)),
            range_end: refresh.and_then(|refresh| bounded(refresh.range.end_us)),
            online: refresh.is_some_and(|refresh| refresh.online),
            offline: refresh.is_some_and(|refresh| refresh.offline),
            overwrite: refresh.is_some_and(|refresh| refresh.overwrite),
            created_at: job.created_at_us(),
            started_at: job.started_at_us,
            finished_at: job.finished_at_us,
            rows_read: job.rows_read,
            rows_written: job.rows_written,
            error_sqlstate: job.error.as_ref().map(|error| &error.sqlstate),
            error_message: job.error.as_ref().map(|error| &error.message),
            attempts: job.attempts,
            role: &job.request.author.role,
            statement: &job.request.author.statement,
            dataset: dataset.map(|dataset| &dataset.name),
            dataset_version: dataset.map(|dataset| dataset.version),
        );
    }
    Ok(())
}

pub fn job_attempts(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for job in jobs_of(context)? {
        for attempt in context.catalog.ledger().attempts(job.id)? {
            row!(rows,
                job: job.id.0,
                attempt: attempt.attempt,
                state: attempt.state.as_str(),
                started_at: attempt.started_at_us,
                finished_at: attempt.finished_at_us,
                error_sqlstate: attempt.error.as_ref().map(|error| &error.sqlstate),
                error_message: attempt.error.as_ref().map(|error| &error.message),
            );
        }
    }
    Ok(())
}

pub fn materialized_ranges(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for object in context.objects() {
        let Object::FeatureView(view) = object else { continue };
        let bound = BoundView::of_feature_view(view)?;
        for group in bound.group_numbers() {
            let of_group = |place: usize| bound.groups_of_feature(place).contains(&group);
            let features = view.features.iter().enumerate().filter(|(place, _)| of_group(*place));
            let features: Vec<String> = features.map(|(_, feature)| feature.name.clone()).collect();
            let id = GroupId::new(object.id(), group);
            for store in StoreKind::ALL {
                for range in context.catalog.ledger().ranges(id, store).iter() {
                    row!(rows,
                        schema: context.schema_of(object.header()),
                        view: object.name(),
                        store: store.as_str(),
                        start: bounded(range.start_us),
                        end: range.end_us,
                        features: features.clone(),
                    );
                }
            }
        }
    }
    Ok(())
}
