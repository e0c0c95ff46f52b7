//! What all jobs have in common: from the start of an attempt to the outcome in the ledger.

use std::sync::Arc;

use granary_catalog::{Job, JobError, JobId, LogLevel, Outcome};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::error::{Error, Kind, Result};
use crate::metrics::{self, Ended};
use crate::openlineage::Moment;
use crate::time::Stopwatch;
use crate::trace;
use crate::warehouse::Warehouse;

pub fn cancelled() -> Error {
    Error::new(Kind::QueryCanceled, "the job was cancelled")
}

/// How long a job waits before it is tried again, by how often it has failed.
pub type Wait = fn(JobId, u32) -> i64;

/// Does the work of a registered job, and tells the ledger how it ended. `cancel` is what CANCEL JOB cancels; to heed
/// it is the work's own part. Errors: the work's own.
pub async fn run_job<T>(
    warehouse: &Arc<Warehouse>,
    job: &Job,
    cancel: &CancellationToken,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    attempt(warehouse, job, cancel, None, work).await
}

/// As [`run_job`]; with `again`, a job that fails is in the queue again as long as it may be tried.
pub async fn attempt<T>(
    warehouse: &Arc<Warehouse>,
    job: &Job,
    cancel: &CancellationToken,
    again: Option<Wait>,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let ledger = warehouse.catalog.ledger();
    let begun = ledger.start_attempt(job.id, warehouse.clock.now_us());
    // whoever waits for a place looks again
    let begun = begun.inspect_err(|_| warehouse.jobs.has_changed())?;
    warehouse.tell_lineage(job, begun.attempt, Moment::Begun);
    warehouse.jobs.started(job.id, cancel.clone());
    let (view, dataset) = (job.request.work.view(), job.request.work.dataset());
    let of = view.map(|(_, name)| name).or(dataset.map(|work| work.name.as_str())).unwrap_or_default();
    let (watch, span) = (Stopwatch::start(), trace::job(job.id.0, job.request.work.kind(), of));
    let result = work.instrument(span.clone()).await;
    trace::ended(&span, &result);
    let result = result.map_err(|error| if error.kind() == Kind::QueryCanceled { cancelled() } else { error });
    let failed = |error: &Error| {
        let detail = error.detail().map_or_else(String::new, |detail| format!(": {detail}"));
        let message = format!("{}{detail}", error.message());
        JobError { sqlstate: error.sqlstate().to_owned(), message }
    };
    let now_us = warehouse.clock.now_us();
    let ended = match &result {
        Ok(_) => ledger.finish(job.id, Outcome::Succeeded, now_us),
        Err(error) if error.kind() == Kind::QueryCanceled => ledger.finish(job.id, Outcome::Cancelled, now_us),
        Err(error) => {
            let failures = ledger.get(job.id).map_or(0, |job| job.failures) + 1;
            match again {
                Some(wait_us) if failures < job.request.max_attempts => {
                    let again_us = now_us.saturating_add(wait_us(job.id, failures));
                    ledger.fail_attempt(job.id, failed(error), now_us, again_us)
                }
                _ => ledger.finish(job.id, Outcome::Failed(failed(error)), now_us),
            }
        }
    };
    warehouse.jobs.ended(job.id);
    let (how, moment) = match &result {
        Ok(_) => (Ended::Succeeded, Moment::Succeeded),
        Err(error) if error.kind() == Kind::QueryCanceled => (Ended::Cancelled, Moment::Cancelled),
        Err(error) => (Ended::Failed, Moment::Failed(failed(error))),
    };
    metrics::attempt_ended(job.request.work.kind(), how, watch.elapsed());
    let ended = ended?;
    metrics::job_moved(ended.rows_read, ended.rows_written);
    warehouse.tell_lineage(&ended, begun.attempt, moment);
    result.map_err(|error| {
        let detail = format!("Job {} ended as {}.", ended.id, ended.state);
        if error.detail().is_none() { error.with_detail(detail) } else { error }
    })
}

/// Adds a line to the log of a running attempt; one that cannot be written only is told the server's.
pub fn log(warehouse: &Warehouse, job: &Job, level: LogLevel, message: String) {
    if let Err(error) = warehouse.catalog.ledger().log(job.id, warehouse.clock.now_us(), level, message) {
        tracing::warn!(job = %job.id, %error, "a line of a job's log could not be kept");
    }
}
