//! The job ledger: which background work was asked for, how it went, and which ranges of which views are materialized
//! because of it. It runs nothing and has no clock; callers tell it what happened and when.

mod folded;
mod groups;
mod interval;
mod job;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use serde::{Deserialize, Serialize};

pub use folded::FoldedSpans;
pub use groups::GroupId;
pub use interval::{Interval, IntervalSet};
pub use job::{
    DatasetWork, ForgetWork, Job, JobAttempt, JobError, JobFilter, JobState, JobWork, NewJob, OptimizeWork, Outcome,
    RefreshWork, StoreKind,
};

use crate::error::Error;
use crate::id::{JobId, ObjectId};
use crate::object::DatasetVersion;
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
    ranges: BTreeMap<(GroupId, StoreKind), IntervalSet>,
    folded: BTreeMap<GroupId, FoldedSpans>,
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
    #[serde(default, skip_serializing_if = "is_first")]
    group: u64,
    intervals: IntervalSet,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
fn is_first(group: &u64) -> bool {
    *group == 0
}

impl RangesRecord {
    fn new(group: GroupId, store: StoreKind, intervals: &IntervalSet) -> RangesRecord {
        RangesRecord { view: group.view, store, group: group.group, intervals: intervals.clone() }
    }

    fn group(&self) -> GroupId {
        GroupId::new(self.view, self.group)
    }
}

impl Ledger {
    pub(crate) const FIRST_JOB: JobId = JobId(1);

    /// `made`: the datasets' versions in the catalog, by the jobs that made them.
    pub(crate) fn open(store: Arc<Store>, made: &BTreeMap<JobId, &DatasetVersion>) -> Result<Ledger, Error> {
        let next_job = JobId(store.required_number(Number::NextJob)?);
        let ranges: Vec<RangesRecord> = store.all(Table::Ranges)?;
        let folded: Vec<FoldedSpans> = store.all(Table::Folded)?;
        let interrupted = end_interrupted(&store, made)?;
        let state = State {
            next_job,
            active: BTreeMap::new(),
            ranges: ranges.into_iter().map(|record| ((record.group(), record.store), record.intervals)).collect(),
            folded: folded.into_iter().map(|spans| (GroupId::new(spans.view, spans.group), spans)).collect(),
        };
        Ok(Ledger { store, writer: Mutex::new(()), state: RwLock::new(state), interrupted })
    }

    /// The jobs that a crash or a stop had ended, in order. They are failed now; nobody saw when they ended.
    pub fn interrupted_at_open(&self) -> &[Job] {
        &self.interrupted
    }

    /// Puts a job in the queue.
    ///
    /// A refresh is refused if a job of the view that has not ended covers part of the range, or if part of it is
    /// materialized already in a store the job would write to and the job may not overwrite. A dataset is refused if
    /// another job that has not ended makes one of the same name. To forget keys is refused while any other job of the
    /// view has not ended, and so is a refresh meanwhile: it would bring rows back.
    pub fn create_job(&self, request: NewJob) -> Result<Job, Error> {
        let _writer = self.writer();
        let job = {
            let state = self.state();
            state.admit(&request.work)?;
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
        if let (JobState::Succeeded, JobWork::Refresh(refresh)) = (job.state, &job.request.work) {
            for group in refresh.groups().iter().map(|group| GroupId::new(refresh.view, *group)) {
                for store in refresh.stores() {
                    let mut intervals = self.ranges(group, store);
                    intervals.insert(refresh.range);
                    grown.push(RangesRecord::new(group, store, &intervals));
                }
            }
        }
        for record in &grown {
            batch.put(Table::Ranges, &record.group().ranges_key(record.store), record)?;
        }
        batch.put(Table::Jobs, &[job.id.0], &job)?;
        batch.commit()?;
        self.change(|state| {
            state.active.remove(&job.id);
            let grown = grown.into_iter().map(|record| ((record.group(), record.store), record.intervals));
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
        self.state().admit(&job.request.work)?;
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

    /// What is materialized of a group of columns in the store.
    pub fn ranges(&self, group: impl Into<GroupId>, store: StoreKind) -> IntervalSet {
        self.state().ranges.get(&(group.into(), store)).cloned().unwrap_or_default()
    }

    /// Whether all of the range is materialized; if not, what is missing first.
    pub fn covers(&self, group: impl Into<GroupId>, store: StoreKind, range: Interval) -> Result<(), Gap> {
        let gap = match self.state().ranges.get(&(group.into(), store)) {
            Some(ranges) => ranges.first_gap(&range),
            None => (!range.is_empty()).then_some(range),
        };
        match gap {
            Some(Interval { start_us, end_us }) => Err(Gap { start_us, end_us }),
            None => Ok(()),
        }
    }

    /// The first stretch of the range that is materialized.
    pub fn overlaps(&self, group: impl Into<GroupId>, store: StoreKind, range: Interval) -> Option<Interval> {
        self.state().ranges.get(&(group.into(), store))?.first_overlap(&range)
    }

    /// Which spans of stored rows are kept folded, too.
    pub fn folded(&self, group: impl Into<GroupId>) -> Option<FoldedSpans> {
        self.state().folded.get(&group.into()).cloned()
    }

    /// Notes that spans of one width of a group's rows are folded now, in states of this form, but for those that have a part of what
    /// another job is working on: it has changed their rows, or is about to.
    pub fn fold(&self, (job, group): (JobId, u64), form: u64, width_us: i64, spans: &IntervalSet) -> Result<(), Error> {
        let _writer = self.writer();
        let job = self.active_job(job)?;
        let Some((view, _)) = job.request.work.view() else { return Err(job.wrong_state()) };
        let mut spans = spans.clone();
        for other in self.state().others_of(view, job.id) {
            spans.remove(other.widened_to(width_us));
        }
        let known = self.folded(GroupId::new(view, group));
        let revision = known.as_ref().map_or(0, |known| known.revision);
        let known = known.filter(|known| known.form == form);
        let mut folded = known.unwrap_or_else(|| FoldedSpans { view, group, form, revision, widths: Vec::new() });
        folded.add(width_us, &spans);
        self.write_folded(folded)
    }

    /// Notes that rows of a range are about to change: what is folded from them counts no longer.
    pub fn unfold(&self, group: impl Into<GroupId>, range: Interval) -> Result<(), Error> {
        let _writer = self.writer();
        let Some(mut folded) = self.folded(group) else { return Ok(()) };
        if folded.remove(range) { self.write_folded(folded) } else { Ok(()) }
    }

    /// Of a group's materialized rows what no other job than this one works on, with this job's own range.
    pub fn settled(&self, group: impl Into<GroupId>, job: JobId) -> Result<IntervalSet, Error> {
        let group = group.into();
        let own = self.active_job(job)?;
        let mut settled = self.ranges(group, StoreKind::Offline);
        settled.extend(own.request.work.refresh().map(|refresh| refresh.range));
        self.state().others_of(group.view, job).for_each(|other| settled.remove(other));
        Ok(settled)
    }

    fn write_folded(&self, folded: FoldedSpans) -> Result<(), Error> {
        let mut batch = self.store.batch();
        let group = GroupId::new(folded.view, folded.group);
        batch.put(Table::Folded, &group.folded_key(), &folded)?;
        batch.commit()?;
        self.change(|state| {
            state.folded.insert(group, folded);
        });
        Ok(())
    }

    /// Forgets what is materialized of a view, because the view or its stored rows are gone. Its jobs stay listed.
    ///
    /// Refused while a job of the view has not ended: it would bring a range back.
    pub fn forget(&self, view: ObjectId) -> Result<(), Error> {
        let _writer = self.writer();
        if let Some(job) = self.state().active.values().find(|job| job.works_on(view)) {
            return Err(Error::JobConflict { job: job.id });
        }
        let groups: BTreeSet<GroupId> = {
            let state = self.state();
            let all = state.ranges.keys().map(|(group, _)| *group).chain(state.folded.keys().copied());
            all.filter(|group| group.view == view).collect()
        };
        let mut batch = self.store.batch();
        groups.iter().for_each(|group| groups::delete_group(&mut batch, *group));
        batch.commit()?;
        self.change(|state| {
            state.ranges.retain(|(group, _), _| group.view != view);
            state.folded.retain(|group, _| group.view != view);
        });
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
    /// The ranges of a view that other jobs work on.
    fn others_of(&self, view: ObjectId, job: JobId) -> impl Iterator<Item = Interval> {
        let others = self.active.values().filter(move |other| other.id != job && other.works_on(view));
        others.filter_map(|other| other.request.work.refresh().map(|refresh| refresh.range))
    }

    fn admit(&self, work: &JobWork) -> Result<(), Error> {
        match work {
            JobWork::Refresh(refresh) => self.admit_refresh(refresh),
            JobWork::Dataset(dataset) => {
                let mut others = self.active.values().filter_map(|job| Some((job.id, job.request.work.dataset()?)));
                let same = |other: &DatasetWork| (other.schema, &other.name) == (dataset.schema, &dataset.name);
                match others.find(|(_, other)| same(other)) {
                    Some((job, _)) => Err(Error::JobConflict { job }),
                    None => Ok(()),
                }
            }
            JobWork::Forget(ForgetWork { view, .. }) | JobWork::Optimize(OptimizeWork { view, .. }) => {
                match self.active.values().find(|job| job.works_on(*view)) {
                    Some(job) => Err(Error::JobConflict { job: job.id }),
                    None => Ok(()),
                }
            }
        }
    }

    fn admit_refresh(&self, refresh: &RefreshWork) -> Result<(), Error> {
        let range = refresh.range;
        if range.is_empty() {
            return Err(Error::EmptyRange { range });
        }
        // a job of the view that has no range works on all of it
        let meets = |other: &&Job| match &other.request.work {
            JobWork::Refresh(other) => other.view == refresh.view && other.range.intersection(&range).is_some(),
            _ => other.works_on(refresh.view),
        };
        if let Some(job) = self.active.values().find(meets) {
            return Err(Error::JobConflict { job: job.id });
        }
        if refresh.overwrite {
            return Ok(());
        }
        for store in refresh.stores() {
            if let Some(overlap) = self.done_before(refresh.view, refresh.groups(), store, range) {
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

/// Ends the jobs that were queued or running when the process that knew of them went away. Those whose dataset is in
/// the catalog had done their work; the others are failed and given back.
fn end_interrupted(store: &Store, made: &BTreeMap<JobId, &DatasetVersion>) -> Result<Vec<Job>, Error> {
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
        let was_running = job.state == JobState::Running;
        match made.get(&job.id) {
            Some(version) => {
                job.state = JobState::Succeeded;
                (job.rows_read, job.rows_written) = (version.rows, version.rows);
                job.finished_at_us = Some(version.created_at_us);
            }
            None => {
                job.state = JobState::Failed;
                job.error = Some(error.clone());
            }
        }
        if was_running {
            let key = [job.id.0, u64::from(job.attempts)];
            if let Some(mut attempt) = store.get::<JobAttempt>(Table::Attempts, &key)? {
                attempt.state = job.state;
                attempt.finished_at_us = job.finished_at_us;
                attempt.error.clone_from(&job.error);
                attempt.put(&mut batch)?;
            }
        }
        batch.put(Table::Jobs, &[job.id.0], job)?;
    }
    batch.commit()?;
    interrupted.retain(|job| job.state == JobState::Failed);
    Ok(interrupted)
}
