//! The job ledger: which background work was asked for, how it went, and which ranges of which views are materialized
//! because of it. It runs nothing and has no clock; callers tell it what happened and when.

mod interval;
mod job;

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use serde::{Deserialize, Serialize};

pub use interval::{Interval, IntervalSet};
pub use job::{Job, JobAttempt, JobError, JobFilter, JobKind, JobState, NewJob, Outcome, StoreKind};

use crate::error::Error;
use crate::id::{JobId, ObjectId};
use crate::store::{Batch, Number, Order, Store, Table};

pub struct Ledger {
    store: Arc<Store>,
    /// Held by the one change at a time, its fsync included. Readers never take it.
    writer: Mutex<()>,
    state: RwLock<State>,
    interrupted: Vec<Job>,
}

/// What is asked often: kept in memory, always as durable as the file, but for the progress of running jobs.
struct State {
    next_job: JobId,
    /// The jobs that have not ended.
    active: BTreeMap<JobId, Job>,
    ranges: BTreeMap<(ObjectId, StoreKind), IntervalSet>,
}

/// The first stretch of a range that is not materialized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    pub start_us: i64,
    pub end_us: i64,
}

/// The materialized ranges of one view in one store, as stored.
#[derive(Serialize, Deserialize)]
struct RangesRecord {
    view: ObjectId,
    store: StoreKind,
    intervals: IntervalSet,
}

impl Ledger {
    pub(crate) const FIRST_JOB: JobId = JobId(1);

    pub(crate) fn open(store: Arc<Store>) -> Result<Ledger, Error> {
        let next_job = JobId(store.required_number(Number::NextJob)?);
        let ranges: Vec<RangesRecord> = store.all(Table::Ranges)?;
        let interrupted = fail_interrupted(&store)?;
        let state = State {
            next_job,
            active: BTreeMap::new(),
            ranges: ranges.into_iter().map(|record| ((record.view, record.store), record.intervals)).collect(),
        };
        Ok(Ledger { store, writer: Mutex::new(()), state: RwLock::new(state), interrupted })
    }

    /// The jobs that a crash or a stop had ended, in order. They are failed now; nobody saw when they ended.
    pub fn interrupted_at_open(&self) -> &[Job] {
        &self.interrupted
    }

    /// Puts a job in the queue.
    ///
    /// Refused if a job of the view that has not ended covers part of the range, or if part of it is materialized
    /// already in a store the job would write to and the job may not overwrite.
    pub fn create_job(&self, request: NewJob) -> Result<Job, Error> {
        let _writer = self.writer();
        let job = {
            let state = self.state();
            state.admit(&request)?;
            Job {
                id: state.next_job,
                request,
                state: JobState::Queued,
                started_at_us: None,
                finished_at_us: None,
                rows_read: 0,
                rows_written: 0,
                error: None,
                attempts: 0,
            }
        };
        let next_job = JobId(job.id.0 + 1);
        let mut batch = self.store.batch();
        batch.set(Number::NextJob, next_job.0);
        self.write_job(batch, &job)?;
        self.change(|state| state.next_job = next_job);
        Ok(job)
    }

    /// Starts to work on a queued job.
    pub fn start_attempt(&self, job: JobId, at_us: i64) -> Result<JobAttempt, Error> {
        let _writer = self.writer();
        let mut job = self.active_job(job)?;
        if job.state != JobState::Queued {
            return Err(job.wrong_state());
        }
        job.state = JobState::Running;
        job.attempts += 1;
        job.started_at_us = job.started_at_us.or(Some(at_us));
        job.error = None;
        (job.rows_read, job.rows_written) = (0, 0);
        let attempt = JobAttempt {
            job: job.id,
            attempt: job.attempts,
            started_at_us: at_us,
            finished_at_us: None,
            state: JobState::Running,
            error: None,
        };
        let mut batch = self.store.batch();
        attempt.put(&mut batch)?;
        self.write_job(batch, &job)?;
        Ok(attempt)
    }

    /// Sets how far the running attempt is. Kept in memory and made durable when the attempt ends, so it never waits
    /// for the disk.
    pub fn progress(&self, job: JobId, rows_read: u64, rows_written: u64) -> Result<(), Error> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = state.active.get_mut(&job)
            && running.state == JobState::Running
        {
            (running.rows_read, running.rows_written) = (rows_read, rows_written);
            return Ok(());
        }
        drop(state);
        Err(self.get(job)?.wrong_state())
    }

    /// Ends the running attempt and puts the job back in the queue, to be tried again.
    pub fn fail_attempt(&self, job: JobId, error: JobError, at_us: i64) -> Result<Job, Error> {
        let _writer = self.writer();
        let mut job = self.active_job(job)?;
        if job.state != JobState::Running {
            return Err(job.wrong_state());
        }
        job.state = JobState::Queued;
        job.error = Some(error);
        let mut batch = self.store.batch();
        self.end_attempt(&mut batch, &job, JobState::Failed, at_us)?;
        self.write_job(batch, &job)?;
        Ok(job)
    }

    /// Ends a job. If it succeeded, its range counts as materialized from the same instant on.
    ///
    /// A queued job can fail or be cancelled; only a running one can succeed.
    pub fn finish(&self, job: JobId, outcome: Outcome, at_us: i64) -> Result<Job, Error> {
        let _writer = self.writer();
        let mut job = self.active_job(job)?;
        let was_running = job.state == JobState::Running;
        if outcome == Outcome::Succeeded && !was_running {
            return Err(job.wrong_state());
        }
        job.state = outcome.state();
        job.error = outcome.error();
        job.finished_at_us = Some(at_us);
        let mut batch = self.store.batch();
        if was_running {
            self.end_attempt(&mut batch, &job, job.state, at_us)?;
        }
        let mut grown = Vec::new();
        if job.state == JobState::Succeeded {
            for store in job.request.stores() {
                let mut intervals = self.ranges(job.request.view, store);
                intervals.insert(job.request.range);
                grown.push(RangesRecord { view: job.request.view, store, intervals });
            }
        }
        for record in &grown {
            batch.put(Table::Ranges, &ranges_key(record.view, record.store), record)?;
        }
        batch.put(Table::Jobs, &[job.id.0], &job)?;
        batch.commit()?;
        self.change(|state| {
            state.active.remove(&job.id);
            let grown = grown.into_iter().map(|record| ((record.view, record.store), record.intervals));
            state.ranges.extend(grown);
        });
        Ok(job)
    }

    /// Puts a failed or cancelled job back in the queue, under the conditions of [`Ledger::create_job`].
    pub fn retry(&self, job: JobId) -> Result<Job, Error> {
        let _writer = self.writer();
        let mut job = self.get(job)?;
        match job.state {
            JobState::Failed | JobState::Cancelled => {}
            JobState::Queued | JobState::Running | JobState::Succeeded => {
                return Err(job.wrong_state());
            }
        }
        self.state().admit(&job.request)?;
        job.state = JobState::Queued;
        job.finished_at_us = None;
        self.write_job(self.store.batch(), &job)?;
        Ok(job)
    }

    pub fn get(&self, job: JobId) -> Result<Job, Error> {
        if let Some(job) = self.state().active.get(&job) {
            return Ok(job.clone());
        }
        let stored = self.store.get(Table::Jobs, &[job.0])?;
        stored.ok_or(Error::UndefinedJob { job })
    }

    /// Jobs, newest first.
    pub fn list(&self, filter: &JobFilter) -> Result<Vec<Job>, Error> {
        let mut jobs = Vec::new();
        if filter.limit == 0 {
            return Ok(jobs);
        }
        // Taken before the scan: a job that ends meanwhile is told as running or as ended, and never left out.
        let active = self.state().active.clone();
        let before = filter.before.map(|job| [job.0]);
        let end = before.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_slice()));
        self.store.scan(Table::Jobs, (Bound::Unbounded, end), Order::Descending, |stored: Job| {
            let job = match active.get(&stored.id) {
                Some(running) if !stored.state.has_ended() => running.clone(),
                _ => stored,
            };
            if filter.admits(&job) {
                jobs.push(job);
            }
            if jobs.len() >= filter.limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(jobs)
    }

    /// The jobs that have not ended, oldest first. No I/O.
    pub fn active(&self) -> Vec<Job> {
        self.state().active.values().cloned().collect()
    }

    /// The attempts of a job, in order.
    pub fn attempts(&self, job: JobId) -> Result<Vec<JobAttempt>, Error> {
        let mut attempts = Vec::new();
        let (first, last) = ([job.0, 0], [job.0, u64::MAX]);
        let range = (Bound::Included(first.as_slice()), Bound::Included(last.as_slice()));
        self.store.scan(Table::Attempts, range, Order::Ascending, |attempt| {
            attempts.push(attempt);
            ControlFlow::Continue(())
        })?;
        Ok(attempts)
    }

    /// What is materialized of the view in the store.
    pub fn ranges(&self, view: ObjectId, store: StoreKind) -> IntervalSet {
        self.state().ranges.get(&(view, store)).cloned().unwrap_or_default()
    }

    /// Whether all of the range is materialized; if not, what is missing first.
    pub fn covers(&self, view: ObjectId, store: StoreKind, range: Interval) -> Result<(), Gap> {
        let gap = match self.state().ranges.get(&(view, store)) {
            Some(ranges) => ranges.first_gap(&range),
            None => (!range.is_empty()).then_some(range),
        };
        match gap {
            Some(Interval { start_us, end_us }) => Err(Gap { start_us, end_us }),
            None => Ok(()),
        }
    }

    /// The first stretch of the range that is materialized.
    pub fn overlaps(&self, view: ObjectId, store: StoreKind, range: Interval) -> Option<Interval> {
        self.state().ranges.get(&(view, store))?.first_overlap(&range)
    }

    /// Forgets what is materialized of a view, because the view or its stored rows are gone. Its jobs stay listed.
    ///
    /// Refused while a job of the view has not ended: it would bring a range back.
    pub fn forget(&self, view: ObjectId) -> Result<(), Error> {
        let _writer = self.writer();
        if let Some(job) = self.state().active.values().find(|job| job.request.view == view) {
            return Err(Error::JobConflict { job: job.id });
        }
        let mut batch = self.store.batch();
        for store in StoreKind::ALL {
            batch.delete(Table::Ranges, &ranges_key(view, store));
        }
        batch.commit()?;
        self.change(|state| state.ranges.retain(|&(of, _), _| of != view));
        Ok(())
    }

    /// Deletes ended jobs made before this time, and their attempts; tells how many jobs. Ranges stay.
    pub fn prune(&self, created_before_us: i64) -> Result<u64, Error> {
        let _writer = self.writer();
        let mut pruned = 0;
        let mut batch = self.store.batch();
        self.store.scan(Table::Jobs, (Bound::Unbounded, Bound::Unbounded), Order::Ascending, |job: Job| {
            if job.state.has_ended() && job.created_at_us() < created_before_us {
                pruned += 1;
                batch.delete(Table::Jobs, &[job.id.0]);
                for attempt in 1..=job.attempts {
                    batch.delete(Table::Attempts, &[job.id.0, u64::from(attempt)]);
                }
            }
            ControlFlow::Continue(())
        })?;
        if pruned > 0 {
            batch.commit()?;
        }
        Ok(pruned)
    }

    /// The job, which must not have ended.
    fn active_job(&self, job: JobId) -> Result<Job, Error> {
        let job = self.get(job)?;
        if job.state.has_ended() { Err(job.wrong_state()) } else { Ok(job) }
    }

    fn end_attempt(&self, batch: &mut Batch<'_>, job: &Job, state: JobState, at_us: i64) -> Result<(), Error> {
        let key = [job.id.0, u64::from(job.attempts)];
        let attempt: Option<JobAttempt> = self.store.get(Table::Attempts, &key)?;
        let mut attempt = attempt.ok_or_else(|| self.store.damaged(format!("job {} has no attempt", job.id)))?;
        attempt.state = state;
        attempt.error.clone_from(&job.error);
        attempt.finished_at_us = Some(at_us);
        attempt.put(batch)
    }

    /// Makes a job that has not ended durable, then visible.
    fn write_job(&self, mut batch: Batch<'_>, job: &Job) -> Result<(), Error> {
        batch.put(Table::Jobs, &[job.id.0], job)?;
        batch.commit()?;
        self.change(|state| {
            state.active.insert(job.id, job.clone());
        });
        Ok(())
    }

    fn writer(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, edit: impl FnOnce(&mut State)) {
        edit(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl State {
    fn admit(&self, request: &NewJob) -> Result<(), Error> {
        let range = request.range;
        if range.is_empty() {
            return Err(Error::EmptyRange { range });
        }
        let mut of_view = self.active.values().filter(|job| job.request.view == request.view);
        if let Some(job) = of_view.find(|job| job.request.range.intersection(&range).is_some()) {
            return Err(Error::JobConflict { job: job.id });
        }
        if request.overwrite {
            return Ok(());
        }
        for store in request.stores() {
            let done = self.ranges.get(&(request.view, store));
            if let Some(overlap) = done.and_then(|ranges| ranges.first_overlap(&range)) {
                return Err(Error::AlreadyMaterialized { store, overlap });
            }
        }
        Ok(())
    }
}

impl Job {
    fn wrong_state(&self) -> Error {
        Error::JobState { job: self.id, state: self.state }
    }
}

impl JobAttempt {
    fn put(&self, batch: &mut Batch<'_>) -> Result<(), Error> {
        batch.put(Table::Attempts, &[self.job.0, u64::from(self.attempt)], self)
    }
}

fn ranges_key(view: ObjectId, store: StoreKind) -> [u64; 2] {
    let store = match store {
        StoreKind::Offline => 0,
        StoreKind::Online => 1,
    };
    [view.0, store]
}

/// Fails the jobs that were queued or running when the process that knew of them went away.
fn fail_interrupted(store: &Store) -> Result<Vec<Job>, Error> {
    let error = JobError {
        // crash_shutdown
        sqlstate: "57P02".to_owned(),
        message: "interrupted by a restart".to_owned(),
    };
    let mut interrupted: Vec<Job> = Vec::new();
    store.scan(Table::Jobs, (Bound::Unbounded, Bound::Unbounded), Order::Ascending, |job: Job| {
        if !job.state.has_ended() {
            interrupted.push(job);
        }
        ControlFlow::Continue(())
    })?;
    if interrupted.is_empty() {
        return Ok(interrupted);
    }
    let mut batch = store.batch();
    for job in &mut interrupted {
        if job.state == JobState::Running {
            let key = [job.id.0, u64::from(job.attempts)];
            if let Some(mut attempt) = store.get::<JobAttempt>(Table::Attempts, &key)? {
                attempt.state = JobState::Failed;
                attempt.error = Some(error.clone());
                attempt.put(&mut batch)?;
            }
        }
        job.state = JobState::Failed;
        job.error = Some(error.clone());
        batch.put(Table::Jobs, &[job.id.0], job)?;
    }
    batch.commit()?;
    Ok(interrupted)
}
