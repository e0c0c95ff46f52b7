//! The ledger as a stop or a crash has left it: what was under way ends, or goes back into the queue.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use super::unfinished::{Unfinished, noted};
use super::{Job, JobAttempt, JobError, JobLog, JobState, LogLevel, log};
use crate::error::Error;
use crate::id::{JobId, ObjectId};
use crate::object::DatasetVersion;
use crate::store::{Batch, Order, Store, Table};

/// So many stops a job of the scheduler outlives; then it may be the job that ends the server.
const MOST_INTERRUPTIONS: u32 = 100;

pub(super) struct Opened {
    pub active: BTreeMap<JobId, Job>,
    /// failed now
    pub interrupted: Vec<Job>,
    pub unfinished: BTreeMap<ObjectId, Unfinished>,
}

/// Ends the jobs that were queued or running when the process that knew of them went away. Those whose dataset is in
/// the catalog had done their work; those of the scheduler are in the queue again; the others are failed and given back.
pub(super) fn open(store: &Store, made: &BTreeMap<JobId, &DatasetVersion>) -> Result<Opened, Error> {
    let stored: Vec<Unfinished> = store.all(Table::Unfinished)?;
    let known: Vec<ObjectId> = stored.iter().map(|unfinished| unfinished.view).collect();
    let mut unfinished: BTreeMap<ObjectId, Unfinished> = stored.into_iter().map(|known| (known.view, known)).collect();
    let mut left: Vec<Job> = Vec::new();
    store.scan(Table::Jobs, (Bound::Unbounded, Bound::Unbounded), Order::Ascending, |job: Job| {
        if !job.state.has_ended() {
            left.push(job);
        } else if let Some((view, _)) = job.request.work.view().filter(|(view, _)| !known.contains(view)) {
            // by jobs of before there were such records
            let after = noted(unfinished.get(&view), &job);
            unfinished.extend(after.map(|after| (view, after)));
        }
        ControlFlow::Continue(())
    })?;
    let mut opened = Opened { active: BTreeMap::new(), interrupted: Vec::new(), unfinished };
    if left.is_empty() {
        return Ok(opened);
    }
    let mut batch = store.batch();
    for mut job in left {
        let was_running = job.state == JobState::Running;
        if let Some(version) = made.get(&job.id) {
            job.state = JobState::Succeeded;
            (job.rows_read, job.rows_written) = (version.rows, version.rows);
            job.finished_at_us = Some(version.created_at_us);
        } else if job.request.managed && job.attempts - job.failures.min(job.attempts) < MOST_INTERRUPTIONS {
            job.state = JobState::Queued;
            if was_running {
                job.error = Some(interrupted());
            }
        } else {
            job.state = JobState::Failed;
            job.error = Some(interrupted());
        }
        if was_running {
            end_attempt(store, &mut batch, &job)?;
        }
        let view = job.request.work.view().map(|(view, _)| view);
        if let Some((view, after)) = view.and_then(|view| Some((view, noted(opened.unfinished.get(&view), &job)?))) {
            after.put(&mut batch)?;
            opened.unfinished.insert(view, after);
        }
        batch.put(Table::Jobs, &[job.id.0], &job)?;
        match job.state {
            JobState::Queued => drop(opened.active.insert(job.id, job)),
            JobState::Failed => opened.interrupted.push(job),
            _ => {}
        }
    }
    batch.commit()?;
    Ok(opened)
}

fn interrupted() -> JobError {
    // crash_shutdown
    JobError { sqlstate: "57P02".to_owned(), message: "interrupted by a restart".to_owned() }
}

fn end_attempt(store: &Store, batch: &mut Batch<'_>, job: &Job) -> Result<(), Error> {
    let key = [job.id.0, u64::from(job.attempts)];
    let Some(mut attempt) = store.get::<JobAttempt>(Table::Attempts, &key)? else { return Ok(()) };
    attempt.state = if job.state == JobState::Succeeded { JobState::Succeeded } else { JobState::Failed };
    attempt.finished_at_us = job.finished_at_us;
    attempt.error.clone_from(&job.error);
    if let Some(error) = &job.error {
        // nobody saw when
        let line = JobLog::new(job, attempt.started_at_us, LogLevel::Error, error.message.clone());
        batch.put(Table::JobLogs, &log::key(job, u64::MAX), &line)?;
    }
    attempt.put(batch)
}
