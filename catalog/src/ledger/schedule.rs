//! What the scheduler asks of the ledger: many jobs at once, and to take back those that it has not begun.

use super::{Job, JobError, JobId, JobState, Ledger, NewJob};
use crate::error::Error;
use crate::store::{Batch, Number, Table};

impl Ledger {
    /// Puts jobs in the queue, all in one commit. Those that are refused, also because of others of the list, are left
    /// out.
    pub fn create_jobs(&self, requests: Vec<NewJob>) -> Result<Vec<Job>, Error> {
        let _writer = self.writer();
        let mut next_job = self.state().next_job;
        let mut jobs: Vec<Job> = Vec::new();
        for request in requests {
            let is_refused = self.state().admit(&request.work, |_| false).is_err();
            if is_refused || jobs.iter().any(|job| job.is_in_the_way_of(&request.work)) {
                continue;
            }
            jobs.push(Job::queued(next_job, request));
            next_job = JobId(next_job.0 + 1);
        }
        if jobs.is_empty() {
            return Ok(jobs);
        }
        let mut batch = self.store.batch();
        batch.set(Number::NextJob, next_job.0);
        for job in &jobs {
            batch.put(Table::Jobs, &[job.id.0], job)?;
        }
        batch.commit()?;
        self.change(|state| {
            state.next_job = next_job;
            state.active.extend(jobs.iter().map(|job| (job.id, job.clone())));
        });
        Ok(jobs)
    }

    /// Takes back a job that the scheduler starts, and that waits: whatever it was for, it counts as never made.
    pub fn take_back(&self, job: JobId, why: &str, at_us: i64) -> Result<(), Error> {
        let _writer = self.writer();
        let job = self.active_job(job)?;
        if !job.request.managed || job.state != JobState::Queued {
            return Err(job.wrong_state());
        }
        let mut batch = self.store.batch();
        let gone = self.withdraw(&mut batch, &[job.id], why, at_us)?;
        batch.commit()?;
        self.change(|state| gone.iter().for_each(|job| drop(state.active.remove(job))));
        Ok(())
    }

    /// Ends queued jobs as cancelled without a word of what they leave undone. Gives those that are no longer active once
    /// the batch is committed.
    pub(super) fn withdraw(
        &self,
        batch: &mut Batch<'_>,
        jobs: &[JobId],
        why: &str,
        at_us: i64,
    ) -> Result<Vec<JobId>, Error> {
        for job in jobs {
            let mut job = self.active_job(*job)?;
            job.state = JobState::Cancelled;
            job.finished_at_us = Some(at_us);
            job.next_attempt_at_us = None;
            // query_canceled
            job.error = Some(JobError { sqlstate: "57014".to_owned(), message: why.to_owned() });
            batch.put(Table::Jobs, &[job.id.0], &job)?;
        }
        Ok(jobs.to_vec())
    }
}
