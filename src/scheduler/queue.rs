//! Which of the jobs that wait are begun now: who goes first, and how many at a time. Pure, too.
//!
//! What somebody asked for goes before backfills of streams, these before new periods, these before the past, and that
//! before maintenance. Among equals the view goes first that has the fewest running, then the one whose turn is longest
//! ago. Of one view new periods go in the order of time, and the past the other way round.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use granary_catalog::{Job, JobId, JobState, JobTrigger, ObjectId};

use super::due::ScheduledView;

/// The wait after the first failure; it doubles with each.
const FIRST_WAIT_US: i64 = 5 * 60 * 1_000_000;
const LONGEST_WAIT_US: i64 = 6 * 3600 * 1_000_000;
/// A wait is longer by up to this part of it, so that what has failed together is not tried together.
const JITTER_PARTS: u64 = 10;

/// How many jobs run at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub total: usize,
    pub per_view: usize,
}

/// When each view had its last turn.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    next: u64,
    last: BTreeMap<ObjectId, u64>,
}

impl Turns {
    fn of(&self, view: Option<ObjectId>) -> u64 {
        view.and_then(|view| self.last.get(&view).copied()).unwrap_or(0)
    }

    fn take(&mut self, view: Option<ObjectId>) {
        self.next += 1;
        self.last.extend(view.map(|view| (view, self.next)));
    }
}

/// How long a job waits that has failed so many times, at least once.
pub fn wait_us(job: JobId, failures: u32) -> i64 {
    let doublings = failures.saturating_sub(1).min(10);
    let wait_us = (FIRST_WAIT_US << doublings).min(LONGEST_WAIT_US);
    let mixed = (job.0.wrapping_mul(31).wrapping_add(u64::from(failures))).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let jitter_us = wait_us.unsigned_abs() / JITTER_PARTS * (mixed % 1000) / 1000;
    wait_us + i64::try_from(jitter_us).unwrap_or(0)
}

/// When a queued job may be begun. A wait that is longer than any is of a clock that has gone back since.
fn may_begin(job: &Job, now_us: i64) -> bool {
    let longest_us = LONGEST_WAIT_US + LONGEST_WAIT_US / 10;
    job.next_attempt_at_us.is_none_or(|at_us| at_us <= now_us || at_us > now_us.saturating_add(longest_us))
}

/// The jobs to begin now, in order. `jobs`: those that have not ended; `views`: those of live workspaces.
/// `automatic`: jobs that nobody asked for are begun, too.
pub fn next_jobs(
    now_us: i64,
    views: &BTreeMap<ObjectId, ScheduledView>,
    jobs: &[&Job],
    turns: &mut Turns,
    limits: Limits,
    automatic: bool,
) -> Vec<JobId> {
    let mut running = Running::default();
    let managed = || jobs.iter().copied().filter(|job| job.request.managed);
    managed().filter(|job| job.state == JobState::Running).for_each(|job| running.add(job));
    let view_of = |job: &Job| job.request.work.view().and_then(|(view, _)| views.get(&view));
    let is_wanted = |job: &&Job| {
        let is_asked_for = job.request.trigger == JobTrigger::Manual;
        is_asked_for || (automatic && view_of(job).is_none_or(|view| !view.is_paused))
    };
    let mut waiting: Vec<&Job> =
        managed().filter(|job| job.state == JobState::Queued && may_begin(job, now_us)).filter(is_wanted).collect();
    let mut begun = Vec::new();
    loop {
        let fits = |job: &&&Job| running.has_room_for(job, limits);
        let class = |job: &Job| class(job, view_of(job).is_some_and(|view| view.is_stream));
        let next = waiting.iter().filter(fits).min_by_key(|job| {
            let view = id_of(job);
            (class(job), running.of(view), turns.of(view), place(job), job.id)
        });
        let Some(next) = next.copied() else { return begun };
        running.add(next);
        turns.take(id_of(next));
        begun.push(next.id);
        waiting.retain(|job| job.id != next.id);
    }
}

/// When the next job that waits for another attempt may be begun.
pub fn next_attempt_us(now_us: i64, jobs: &[&Job]) -> Option<i64> {
    let queued = jobs.iter().filter(|job| job.request.managed && job.state == JobState::Queued);
    queued.filter_map(|job| job.next_attempt_at_us).filter(|at_us| *at_us > now_us).min()
}

/// Who goes first.
fn class(job: &Job, of_stream: bool) -> u8 {
    match job.request.trigger {
        JobTrigger::Manual => 0,
        JobTrigger::Scheduled | JobTrigger::Backfill if of_stream => 1,
        JobTrigger::Scheduled => 2,
        JobTrigger::Backfill => 3,
        JobTrigger::Maintenance => 4,
    }
}

fn id_of(job: &Job) -> Option<ObjectId> {
    job.request.work.view().map(|(view, _)| view)
}

/// The order of jobs of one view.
fn place(job: &Job) -> (Reverse<i64>, i64) {
    match job.request.work.refresh() {
        Some(refresh) if job.request.trigger == JobTrigger::Backfill => (Reverse(refresh.range.end_us), 0),
        Some(refresh) => (Reverse(i64::MAX), refresh.range.start_us),
        None => (Reverse(i64::MAX), i64::MAX),
    }
}

#[derive(Debug, Default)]
struct Running {
    total: usize,
    /// of the past and maintenance
    patient: usize,
    by_view: BTreeMap<ObjectId, usize>,
}

impl Running {
    fn is_patient(job: &Job) -> bool {
        matches!(job.request.trigger, JobTrigger::Backfill | JobTrigger::Maintenance)
    }

    fn add(&mut self, job: &Job) {
        self.total += 1;
        self.patient += usize::from(Running::is_patient(job));
        if let Some(view) = id_of(job) {
            *self.by_view.entry(view).or_default() += 1;
        }
    }

    fn of(&self, view: Option<ObjectId>) -> usize {
        view.and_then(|view| self.by_view.get(&view).copied()).unwrap_or(0)
    }

    /// One place is kept for what cannot wait, where there are several.
    fn has_room_for(&self, job: &Job, limits: Limits) -> bool {
        let kept = usize::from(Running::is_patient(job) && limits.total > 1);
        self.total < limits.total
            && (kept == 0 || self.patient < limits.total - kept)
            && self.of(id_of(job)) < limits.per_view
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_six_hours() {
        const MINUTE: i64 = 60_000_000;
        for (failures, minutes) in [(1, 5), (2, 10), (3, 20), (4, 40), (7, 320), (8, 360), (9, 360), (90, 360)] {
            for job in 0..200 {
                let wait_us = wait_us(JobId(job), failures);
                assert!((minutes * MINUTE..=minutes * MINUTE * 11 / 10).contains(&wait_us), "{failures} {wait_us}");
            }
        }
        assert_ne!(wait_us(JobId(1), 1), wait_us(JobId(2), 1));
        assert_eq!(wait_us(JobId(1), 1), wait_us(JobId(1), 1));
    }
}
