//! The job ledger: which background work was asked for, how it went, and which ranges of which views are materialized
//! because of it. It runs nothing and has no clock; callers tell it what happened and when.

mod folded;
mod groups;
mod interval;
mod job;
mod log;
mod open;
mod schedule;
mod unfinished;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use serde::{Deserialize, Serialize};

pub use folded::FoldedSpans;
pub use groups::GroupId;
pub use interval::{Interval, IntervalSet};
pub use job::{
    DatasetWork, ForgetWork, Job, JobAttempt, JobError, JobFilter, JobState, JobTrigger, JobWork, MaintenanceTask,
    MaintenanceWork, NewJob, OptimizeWork, Outcome, RefreshWork, StoreKind,
};
pub use log::{JobLog, LogLevel};
use unfinished::Unfinished;

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
    unfinished: BTreeMap<ObjectId, Unfinished>,
    /// How many lines the running attempts have logged.
    lines: BTreeMap<JobId, u64>,
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
        let open::Opened { active, interrupted, unfinished } = open::open(&store, made)?;
        let state = State {
            next_job,
            active,
            ranges: ranges.into_iter().map(|record| ((record.group(), record.store), record.intervals)).collect(),
            folded: folded.into_iter().map(|spans| (GroupId::new(spans.view, spans.group), spans)).collect(),
            unfinished,
            lines: BTreeMap::new(),
        };
        Ok(Ledger { store, writer: Mutex::new(()), state: RwLock::new(state), interrupted })
    }

    /// The jobs that a crash or a stop had ended, in order. They are failed now; nobody saw when they ended. Those that
    /// the scheduler starts are in the queue again.
    pub fn interrupted_at_open(&self) -> &[Job] {
        &self.interrupted
    }

    /// Puts a job in the queue.
    ///
    /// A refresh is refused if a job of the view that has not ended covers part of the range, or if part of it is
    /// materialized already in a store the job would write to and the job may not overwrite. A dataset is refused if
    /// another job that has not ended makes one of the same name. To forget keys is refused while any other job of the
    /// view has not ended, and so is a refresh meanwhile: it would bring rows back. Jobs of the scheduler that have not
    /// begun are in nobody's way: they are cancelled, and what is missing of them then the scheduler makes anew.
    pub fn create_job(&self, request: NewJob) -> Result<Job, Error> {
        let _writer = self.writer();
        let (job, superseded) = {
            let state = self.state();
            let gives_way = |job: &Job| !request.is_scheduled() && job.gives_way();
            let superseded: Vec<JobId> = state.admit(&request.work, gives_way)?;
            (Job::queued(state.next_job, request), superseded)
        };
        let next_job = JobId(job.id.0 + 1);
        let mut batch = self.store.batch();
        batch.set(Number::NextJob, next_job.0);
        let at_us = job.created_at_us();
        let gone = self.withdraw(&mut batch, &superseded, &format!("job {} is to do its work", job.id), at_us)?;
        self.write_job(batch, &job)?;
        self.change(|state| {
            state.next_job = next_job;
            gone.iter().for_each(|job| drop(state.active.remove(job)));
        });
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
        job.next_attempt_at_us = None;
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
        let line = JobLog::new(&job, at_us, LogLevel::Info, format!("attempt {} has begun", job.attempts));
        batch.put(Table::JobLogs, &log::key(&job, 0), &line)?;
        self.write_job(batch, &job)?;
        self.change(|state| {
            state.lines.insert(job.id, 1);
        });
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

    /// Sets how many rows the view's query has had in the range of a running refresh; kept as [`Ledger::progress`] is.
    pub fn note_source_rows(&self, job: JobId, rows: u64) {
        self.change(|state| {
            if let Some(job) = state.active.get_mut(&job) {
                job.source_rows = Some(rows);
            }
        });
    }

    /// Ends the running attempt and puts the job back in the queue, to be tried again at `again_at_us`.
    pub fn fail_attempt(&self, job: JobId, error: JobError, at_us: i64, again_at_us: i64) -> Result<Job, Error> {
        let _writer = self.writer();
        let mut job = self.active_job(job)?;
        if job.state != JobState::Running {
            return Err(job.wrong_state());
        }
        job.state = JobState::Queued;
        job.error = Some(error);
        job.failures += 1;
        job.next_attempt_at_us = Some(again_at_us);
        let mut batch = self.store.batch();
        self.end_attempt(&mut batch, &job, JobState::Failed, at_us)?;
        let unfinished = self.note_unfinished(&mut batch, &job)?;
        self.write_job(batch, &job)?;
        self.change(|state| state.unfinished.extend(unfinished));
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
        job.next_attempt_at_us = None;
        job.failures += u32::from(was_running && job.state == JobState::Failed);
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
        let unfinished = self.note_unfinished(&mut batch, &job)?;
        batch.put(Table::Jobs, &[job.id.0], &job)?;
        batch.commit()?;
        self.change(|state| {
            state.active.remove(&job.id);
            state.lines.remove(&job.id);
            state.unfinished.extend(unfinished);
            let grown = grown.into_iter().map(|record| ((record.group(), record.store), record.intervals));
            state.ranges.extend(grown);
        });
        Ok(job)
    }

    /// Puts a failed or cancelled job back in the queue, under the conditions of [`Ledger::create_job`]; one that waits
    /// for its next attempt waits no longer. Its failures are forgotten. From here on the scheduler starts its attempts.
    /// `groups`: those that its view has by now, of a refresh.
    pub fn retry(&self, job: JobId, groups: Option<Vec<u64>>, max_attempts: u32) -> Result<Job, Error> {
        let _writer = self.writer();
        let mut job = self.get(job)?;
        match job.state {
            JobState::Failed | JobState::Cancelled => {
                let superseded = self.state().admit(&job.request.work, |_| false)?;
                assert!(superseded.is_empty(), "no job was to give way");
            }
            JobState::Queued if job.request.managed => {}
            JobState::Queued | JobState::Running | JobState::Succeeded => {
                return Err(job.wrong_state());
            }
        }
        if let (JobWork::Refresh(refresh), Some(groups)) = (&mut job.request.work, groups) {
            refresh.groups = groups;
        }
        job.state = JobState::Queued;
        job.finished_at_us = None;
        job.next_attempt_at_us = None;
        job.failures = 0;
        job.request.managed = true;
        job.request.max_attempts = max_attempts;
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

    /// Whether a job is known, and has succeeded.
    pub fn has_succeeded(&self, job: JobId) -> bool {
        self.get(job).is_ok_and(|job| job.state == JobState::Succeeded)
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
    /// Refused while a job of the view has not ended: it would bring a range back. Those that the scheduler has not begun
    /// are cancelled.
    pub fn forget(&self, view: ObjectId, at_us: i64) -> Result<(), Error> {
        let _writer = self.writer();
        let queued = |job: &&Job| job.request.managed && job.state == JobState::Queued;
        let of_view = self.active().into_iter().filter(|job| job.works_on(view));
        let (queued, others): (Vec<Job>, Vec<Job>) = of_view.partition(|job| queued(&job));
        if let Some(job) = others.first() {
            return Err(Error::JobConflict { job: job.id });
        }
        let groups: BTreeSet<GroupId> = {
            let state = self.state();
            let all = state.ranges.keys().map(|(group, _)| *group).chain(state.folded.keys().copied());
            all.filter(|group| group.view == view).collect()
        };
        let mut batch = self.store.batch();
        let queued: Vec<JobId> = queued.iter().map(|job| job.id).collect();
        let gone = self.withdraw(&mut batch, &queued, "the view is another now, or gone", at_us)?;
        batch.delete(Table::Unfinished, &[view.0]);
        groups.iter().for_each(|group| groups::delete_group(&mut batch, *group));
        batch.commit()?;
        self.change(|state| {
            state.ranges.retain(|(group, _), _| group.view != view);
            state.folded.retain(|group, _| group.view != view);
            state.unfinished.remove(&view);
            gone.iter().for_each(|job| drop(state.active.remove(job)));
        });
        Ok(())
    }

    /// Deletes ended jobs made before this time, their attempts and logs; tells how many jobs, the oldest first and so many
    /// at most. Ranges stay.
    pub fn prune(&self, created_before_us: i64, most: u64) -> Result<u64, Error> {
        let _writer = self.writer();
        let mut pruned = 0;
        let mut batch = self.store.batch();
        self.store.scan(Table::Jobs, (Bound::Unbounded, Bound::Unbounded), Order::Ascending, |job: Job| {
            if pruned >= most {
                return ControlFlow::Break(());
            }
            if job.state.has_ended() && job.created_at_us() < created_before_us {
                pruned += 1;
                batch.delete(Table::Jobs, &[job.id.0]);
                for attempt in 1..=u64::from(job.attempts) {
                    batch.delete(Table::Attempts, &[job.id.0, attempt]);
                    (0..log::MOST_LINES).for_each(|line| batch.delete(Table::JobLogs, &[job.id.0, attempt, line]));
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
        let (level, message) = match (state, &job.error) {
            (JobState::Succeeded, _) => (LogLevel::Info, format!("attempt {} has succeeded", job.attempts)),
            (_, Some(error)) => (LogLevel::Error, format!("{} (SQLSTATE {})", error.message, error.sqlstate)),
            _ => (LogLevel::Warning, format!("attempt {} was cancelled", job.attempts)),
        };
        let line = JobLog::new(job, at_us, level, message);
        batch.put(Table::JobLogs, &log::key(job, self.state().lines.get(&job.id).copied().unwrap_or(1)), &line)?;
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

    /// Which jobs of those that give way are in the way of this work; the error of one that does not.
    fn admit(&self, work: &JobWork, gives_way: impl Fn(&Job) -> bool) -> Result<Vec<JobId>, Error> {
        let conflicts: Vec<&Job> = self.active.values().filter(|job| job.is_in_the_way_of(work)).collect();
        if let Some(job) = conflicts.iter().find(|job| !gives_way(job)) {
            return Err(Error::JobConflict { job: job.id });
        }
        if let JobWork::Refresh(refresh) = work {
            self.admit_range(refresh)?;
        }
        Ok(conflicts.iter().map(|job| job.id).collect())
    }

    fn admit_range(&self, refresh: &RefreshWork) -> Result<(), Error> {
        let range = refresh.range;
        if range.is_empty() {
            return Err(Error::EmptyRange { range });
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
    /// As it is when it is made.
    pub fn queued(id: JobId, request: NewJob) -> Job {
        Job {
            id,
            request,
            state: JobState::Queued,
            started_at_us: None,
            finished_at_us: None,
            rows_read: 0,
            rows_written: 0,
            error: None,
            attempts: 0,
            failures: 0,
            next_attempt_at_us: None,
            source_rows: None,
        }
    }

    /// Whether that work cannot be begun before this job has ended.
    fn is_in_the_way_of(&self, work: &JobWork) -> bool {
        match (&self.request.work, work) {
            (JobWork::Maintenance(own), JobWork::Maintenance(work)) => (own.task, own.view) == (work.task, work.view),
            (JobWork::Maintenance(_), _) | (_, JobWork::Maintenance(_)) => false,
            (JobWork::Dataset(own), JobWork::Dataset(work)) => (own.schema, &own.name) == (work.schema, &work.name),
            (JobWork::Refresh(own), JobWork::Refresh(work)) => {
                own.view == work.view && own.range.intersection(&work.range).is_some()
            }
            // a job of the view that has no range works on all of it
            (_, work) => work.view().is_some_and(|(view, _)| self.works_on(view)),
        }
    }

    fn wrong_state(&self) -> Error {
        Error::JobState { job: self.id, state: self.state }
    }
}

impl JobAttempt {
    fn put(&self, batch: &mut Batch<'_>) -> Result<(), Error> {
        batch.put(Table::Attempts, &[self.job.0, u64::from(self.attempt)], self)
    }
}
