//! Jobs, their attempts, and what is materialized because of them.

use std::collections::HashMap;

use granary_catalog::{FeatureView, GroupId, Job, JobFilter, JobState, Object, ObjectId, StoreKind};
use granary_sql::name::canonical;
use granary_sql::timestamp::format_timestamp;
use sqlparser::ast::{Ident, ObjectName};

use super::{Rows, SystemContext, row};
use crate::engine::readiness::Readiness;
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

/// How many periods a refresh is of; None where the view is gone or has none, or of a range without a beginning.
fn periods(context: &SystemContext, job: &Job) -> Option<i64> {
    let refresh = job.request.work.refresh()?;
    let view = context.scope.snapshot.get_as::<FeatureView>(refresh.view)?;
    let period_us = if view.kind.is_batch() { view.schedule_us? } else { view.aggregation_interval_us? };
    let length_us = refresh.range.end_us.checked_sub(refresh.range.start_us)?;
    Some(length_us.checked_add(period_us - 1)? / period_us)
}

/// What a period of each view has taken lately: rows, and time. Only of jobs that did it at their first attempt.
fn pace_of_views(context: &SystemContext, jobs: &[Job]) -> HashMap<ObjectId, (f64, f64)> {
    let mut pace = HashMap::new();
    for job in jobs.iter().filter(|job| job.state == JobState::Succeeded && job.attempts == 1) {
        let taken_us = job.started_at_us.zip(job.finished_at_us).map(|(start_us, end_us)| end_us - start_us);
        let known = job.request.work.refresh().zip(periods(context, job)).zip(taken_us);
        let Some(((refresh, periods), taken_us)) = known.filter(|((_, periods), _)| *periods > 0) else { continue };
        // the newest come first
        let a_period = (job.rows_written as f64 / periods as f64, taken_us as f64 / periods as f64);
        pace.entry(refresh.view).or_insert(a_period);
    }
    pace
}

pub fn jobs(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    let jobs = jobs_of(context)?;
    let pace = pace_of_views(context, &jobs);
    for job in jobs {
        let periods = periods(context, &job);
        let is_open = !job.state.has_ended();
        let estimate = job.request.work.view().and_then(|(view, _)| pace.get(&view)).filter(|_| is_open);
        let estimate = estimate.zip(periods).map(|((rows, us), n)| (rows * n as f64, us * n as f64));
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
            trigger: job.request.trigger.as_str(),
            next_attempt_at: job.next_attempt_at_us,
            failures: job.failures,
            max_attempts: job.request.max_attempts,
            periods_total: periods,
            periods_done: periods.map(|periods| if job.state == JobState::Succeeded { periods } else { 0 }),
            estimated_rows: estimate.map(|(rows, _)| rows.round() as i64),
            estimated_duration: estimate.map(|(_, us)| us.round() as i64),
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

pub fn job_logs(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for job in jobs_of(context)? {
        for line in context.catalog.ledger().logs(job.id)? {
            row!(rows,
                job: line.job.0,
                attempt: line.attempt,
                at: line.at_us,
                level: line.level.as_str(),
                message: &line.message,
            );
        }
    }
    Ok(())
}

/// Up to when views and services answer with all that there is.
pub fn ready(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    let readiness =
        Readiness { snapshot: &context.scope.snapshot, ledger: context.catalog.ledger(), now_us: context.now_us };
    for object in context.objects() {
        let Some(ready) = readiness.of(object)? else { continue };
        row!(rows,
            schema: context.schema_of(object.header()),
            name: object.name(),
            kind: object.kind().as_str(),
            online_ready_until: ready.online_us,
            offline_ready_until: ready.offline_us,
        );
    }
    Ok(())
}

/// Ranges whose rows are others now than when their job ran, and what would bring them in.
pub fn late_rows(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for object in context.objects() {
        let Some(looked) = context.facts.late.of(object.id()) else { continue };
        let part = |name: &str| canonical(&Ident::with_quote('"', name));
        let schema = context.schema_of(object.header());
        let name = ObjectName::from(vec![part(&schema), part(object.name())]);
        for late in looked.ranges {
            let from = bounded(late.range.start_us).map(|us| format!(" FROM '{}'", format_timestamp(us)));
            let from = from.unwrap_or_default();
            let to = format_timestamp(late.range.end_us);
            row!(rows,
                schema: schema.clone(),
                view: object.name(),
                range_start: bounded(late.range.start_us),
                range_end: late.range.end_us,
                rows_then: late.rows_then,
                rows_now: late.rows_now,
                late_rows: i64::try_from(late.rows_now).unwrap_or(i64::MAX)
                    - i64::try_from(late.rows_then).unwrap_or(i64::MAX),
                checked_at: looked.at_us,
                statement: format!("REFRESH FEATURE VIEW {name}{from} TO '{to}' OVERWRITE"),
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
