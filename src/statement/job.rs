//! `CANCEL JOB`, `RETRY JOB` and `WAIT FOR JOB`; and jobs that are asked for and left to the scheduler.

use std::sync::Arc;
use std::time::Duration;

use granary_catalog::{FeatureView, Job, JobError, JobId, JobState, JobWork, Outcome};
use granary_sql::interval::format_interval;
use granary_sql::statement::{CancelJob, RetryJob, WaitForJob};

use super::context::StatementContext;
use super::feature_view::DEFAULT_MAX_ATTEMPTS;
use crate::error::{Error, Kind, Result};
use crate::materialize;
use crate::warehouse::Warehouse;

/// Asks a running job to stop; one that waits has ended at once.
pub fn cancel(context: &StatementContext, cancel: &CancelJob) -> Result<()> {
    cancel_job(&context.warehouse, JobId(cancel.job))
}

/// Errors: 42704, and 55000 for one that has ended.
pub fn cancel_job(warehouse: &Warehouse, job: JobId) -> Result<()> {
    let ledger = warehouse.catalog.ledger();
    let known = ledger.get(job)?;
    if warehouse.jobs.cancel(job) {
        return Ok(());
    }
    if known.state != JobState::Queued || !known.request.managed {
        let message = format!("job {job} is not running: it is {}", known.state);
        return Err(Error::new(Kind::ObjectNotInPrerequisiteState, message));
    }
    let ended = ledger.finish(job, Outcome::Cancelled, warehouse.clock.now_us());
    // it may have begun meanwhile
    warehouse.jobs.cancel(job);
    ended?;
    warehouse.jobs.has_changed();
    Ok(())
}

/// Puts a job that failed or was cancelled back in the queue, or one that waits to its head.
pub fn retry(context: &StatementContext, retry: &RetryJob) -> Result<()> {
    retry_job(&context.warehouse, JobId(retry.job))
}

/// Errors: 42704, 55000 for a job that cannot be tried again, 55006 while another works on its range.
pub fn retry_job(warehouse: &Warehouse, job: JobId) -> Result<()> {
    let ledger = warehouse.catalog.ledger();
    let known = ledger.get(job)?;
    let again = match &known.request.work {
        JobWork::Refresh(_) | JobWork::Maintenance(_) => None,
        JobWork::Dataset(_) => Some("its statement made a dataset: type that again"),
        JobWork::Optimize(_) => Some("type OPTIMIZE again"),
        JobWork::Forget(_) => Some("the keys that it was to forget are not written down: type its DELETE again"),
    };
    if let Some(hint) = again {
        let message = format!("job {job} cannot be tried again");
        return Err(Error::new(Kind::ObjectNotInPrerequisiteState, message).with_hint(hint));
    }
    ledger.retry(job, groups_now(warehouse, &known), known.request.max_attempts.max(DEFAULT_MAX_ATTEMPTS))?;
    warehouse.jobs.has_changed();
    Ok(())
}

/// The groups of columns that the view of a refresh has by now: its range is done again for what the view is.
fn groups_now(warehouse: &Warehouse, job: &Job) -> Option<Vec<u64>> {
    let snapshot = warehouse.catalog.snapshot();
    let view = snapshot.get_as::<FeatureView>(job.request.work.refresh()?.view)?;
    Some(materialize::groups_to_note(view.group_numbers()))
}

/// Comes back when the job has ended, with its error if it has one. Errors: 57014 when the time is over.
pub async fn wait(context: &StatementContext, wait: &WaitForJob) -> Result<()> {
    let warehouse = &context.warehouse;
    let ended = wait_for(warehouse, JobId(wait.job));
    let Some(timeout) = &wait.timeout else { return outcome_of(&ended.await?) };
    let longest = Duration::from_micros(u64::try_from(timeout.microseconds).unwrap_or(0));
    match tokio::time::timeout(longest, ended).await {
        Ok(ended) => outcome_of(&ended?),
        Err(_) => {
            let state = warehouse.catalog.ledger().get(JobId(wait.job))?.state;
            let message = format!(
                "job {} has not ended within {}: it is {state}",
                wait.job,
                format_interval(timeout.microseconds)
            );
            Err(Error::new(Kind::QueryCanceled, message))
        }
    }
}

async fn wait_for(warehouse: &Arc<Warehouse>, job: JobId) -> Result<Job> {
    let mut changes = warehouse.jobs.listen();
    loop {
        let known = warehouse.catalog.ledger().get(job)?;
        if known.state.has_ended() {
            return Ok(known);
        }
        changes.changed().await.map_err(|error| Error::internal("nobody tells of jobs").with_source(error))?;
    }
}

fn outcome_of(job: &Job) -> Result<()> {
    let detail = format!("Job {} ended as {}.", job.id, job.state);
    match (job.state, &job.error) {
        (JobState::Succeeded, _) => Ok(()),
        (JobState::Failed, Some(JobError { sqlstate, message })) => {
            let kind = Kind::of_sqlstate(sqlstate).unwrap_or(Kind::ObjectNotInPrerequisiteState);
            Err(Error::new(kind, message.clone()).with_detail(detail))
        }
        _ => Err(materialize::cancelled().with_detail(detail)),
    }
}
