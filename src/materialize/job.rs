//! What all jobs have in common: from the start of an attempt to the outcome in the ledger.

use std::sync::Arc;

use granary_catalog::{Job, JobError, Outcome};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Kind, Result};
use crate::warehouse::Warehouse;

pub fn cancelled() -> Error {
    Error::new(Kind::QueryCanceled, "the job was cancelled")
}

/// Does the work of a registered job, and tells the ledger how it ended. `cancel` is what CANCEL JOB cancels; to heed
/// it is the work's own part. Errors: the work's own.
pub async fn run_job<T>(
    warehouse: &Arc<Warehouse>,
    job: &Job,
    cancel: &CancellationToken,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let ledger = warehouse.catalog.ledger();
    ledger.start_attempt(job.id, warehouse.clock.now_us())?;
    warehouse.job_started(job.id, cancel.clone());
    let result = work.await;
    warehouse.job_ended(job.id);
    let result = result.map_err(|error| if error.kind() == Kind::QueryCanceled { cancelled() } else { error });
    let outcome = match &result {
        Ok(_) => Outcome::Succeeded,
        Err(error) if error.kind() == Kind::QueryCanceled => Outcome::Cancelled,
        Err(error) => {
            Outcome::Failed(JobError { sqlstate: error.sqlstate().to_owned(), message: error.message().to_owned() })
        }
    };
    let ended = ledger.finish(job.id, outcome, warehouse.clock.now_us())?;
    result.map_err(|error| {
        let detail = format!("Job {} ended as {}.", ended.id, ended.state);
        if error.detail().is_none() { error.with_detail(detail) } else { error }
    })
}
