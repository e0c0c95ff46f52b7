//! A year of schedules: the scheduler's core and the real ledger, with a clock and work that are made up. What came of it
//! is read from the ledger.
//!
//! 50 views, some hourly, most daily, some with years behind them; one attempt in twenty fails; the server stops at
//! random, sometimes for days, and takes what runs with it; clocks go back. In the end every period has succeeded in
//! exactly one job, and the jobs began in the order that is promised.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use granary::scheduler::{Limits, ScheduledView, Turns, next_attempt_us, next_jobs, wait_us};
use granary_catalog::{
    Author, Catalog, Interval, IntervalSet, Job, JobAttempt, JobError, JobFilter, JobId, JobState, JobTrigger, JobWork,
    NewJob, ObjectId, Outcome, RefreshWork, StoreKind,
};

use crate::random::Random;

const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// 2024-01-01
const NEW_YEAR: i64 = 1_704_067_200_000_000;
const MAX_ATTEMPTS: u32 = 10;
const LIMITS: Limits = Limits { total: 4, per_view: 2 };

/// What is made up.
struct Plan {
    days: i64,
    n_views: u64,
    /// one in so many views is hourly
    hourly_in: u64,
    stops: u64,
    fails_percent: u64,
}

struct World {
    random: Random,
    path: PathBuf,
    catalog: Catalog,
    views: Vec<ScheduledView>,
    turns: Turns,
    now_us: i64,
    /// when work that runs will be done, and whether it fails
    running: BTreeMap<(i64, JobId), bool>,
    /// when the server stopped
    stops: Vec<i64>,
    fails_percent: u64,
    /// no period counts as complete later
    end_us: i64,
}

/// A folder in memory, if there is one: commits need no disk here.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let in_memory = memory.is_dir().then(|| tempfile::tempdir_in(memory).ok()).flatten();
    in_memory.unwrap_or_else(|| tempfile::tempdir().expect("a temporary folder"))
}

fn view(number: u64, plan: &Plan, random: &mut Random) -> ScheduledView {
    let is_stream = number % 10 == 3;
    let is_hourly = number % plan.hourly_in == 1;
    let day = |from, to, random: &mut Random| NEW_YEAR + DAY * random.between(from, to);
    let first_us = match number % 5 {
        0 => i64::MIN,
        1 => day(-20, 0, random),
        2 => day(-700, -30, random),
        _ => day(-100, plan.days / 2, random),
    };
    ScheduledView {
        id: ObjectId(100 + number),
        is_stream,
        period_us: if is_hourly { HOUR } else { DAY },
        delay_us: if is_stream { 0 } else { [0, 10 * MINUTE, 3 * HOUR][number as usize % 3] },
        first_us: if is_stream { first_us.min(NEW_YEAR - DAY) } else { first_us },
        until_us: if is_stream { NEW_YEAR - 5 * HOUR } else { i64::MAX },
        online: number % 4 != 0,
        offline: number % 7 != 0 || number % 4 == 0,
        max_backfill_us: (number % 6 == 0).then_some(7 * DAY),
        is_scheduled: true,
        is_paused: false,
        done_online: IntervalSet::default(),
        done_offline: IntervalSet::default(),
        given_up: IntervalSet::default(),
        reached_us: None,
    }
}

impl World {
    fn new(folder: &Path, plan: &Plan, seed: u64) -> World {
        let mut random = Random::new(seed);
        let path = folder.join("catalog.redb");
        World {
            views: (0..plan.n_views).map(|number| view(number, plan, &mut random)).collect(),
            random,
            catalog: Catalog::open(&path).expect("opens"),
            path,
            turns: Turns::default(),
            now_us: NEW_YEAR,
            running: BTreeMap::new(),
            stops: Vec::new(),
            fails_percent: plan.fails_percent,
            end_us: NEW_YEAR + plan.days * DAY,
        }
    }

    /// What the driver does when it wakes; gives when it wants to be woken.
    fn wake(&mut self) -> Option<i64> {
        let ledger = self.catalog.ledger();
        for view in &mut self.views {
            view.done_online = ledger.ranges(view.id, StoreKind::Online);
            view.done_offline = ledger.ranges(view.id, StoreKind::Offline);
            view.given_up = ledger.given_up(view.id);
        }
        let active = ledger.active();
        let active: Vec<&Job> = active.iter().collect();
        let time_us = self.now_us.min(self.end_us);
        let mut wanted = Vec::new();
        for view in &self.views {
            wanted.extend(view.owed(time_us, &active).into_iter().map(|owed| {
                let work = JobWork::Refresh(RefreshWork {
                    view: view.id,
                    view_name: view.id.to_string(),
                    range: owed.range,
                    online: owed.online,
                    offline: owed.offline,
                    overwrite: false,
                    groups: Vec::new(),
                });
                let author = Author { role: "granary".to_owned(), at_us: self.now_us, statement: String::new() };
                let job = NewJob::new(work, ObjectId(1), author);
                NewJob { trigger: owed.trigger, managed: true, max_attempts: MAX_ATTEMPTS, ..job }
            }));
        }
        let n_wanted = wanted.len();
        assert_eq!(ledger.create_jobs(wanted).expect("creates").len(), n_wanted, "nothing that is owed is refused");

        let active = ledger.active();
        let active: Vec<&Job> = active.iter().collect();
        let views = self.views.iter().map(|view| (view.id, view.clone())).collect();
        for job in next_jobs(self.now_us, &views, &active, &mut self.turns, LIMITS, true) {
            ledger.start_attempt(job, self.now_us).expect("starts");
            let takes_us = self.random.between(MINUTE / 6, 20 * MINUTE);
            let fails = self.random.chance(self.fails_percent);
            self.running.insert((self.now_us + takes_us, job), fails);
        }
        let due = self.views.iter().filter_map(|view| view.next_complete_us(self.now_us));
        let due = due.filter(|at_us| *at_us <= self.end_us);
        due.chain(next_attempt_us(self.now_us, &active)).min()
    }

    /// Ends the work that is done by now.
    fn end_work(&mut self) {
        let ledger = self.catalog.ledger();
        while let Some(entry) = self.running.first_entry().filter(|entry| entry.key().0 <= self.now_us) {
            let ((at_us, job), fails) = entry.remove_entry();
            let error = JobError { sqlstate: "58030".to_owned(), message: "injected".to_owned() };
            let known = ledger.get(job).expect("a job");
            match fails {
                false => drop(ledger.finish(job, Outcome::Succeeded, at_us).expect("succeeds")),
                true if known.failures + 1 >= known.request.max_attempts => {
                    drop(ledger.finish(job, Outcome::Failed(error), at_us).expect("fails"));
                }
                true => {
                    let again_us = at_us + wait_us(job, known.failures + 1);
                    drop(ledger.fail_attempt(job, error, at_us, again_us).expect("fails"));
                }
            }
        }
    }

    /// The server is gone at once, and back after a while.
    fn stop(&mut self, for_us: i64) {
        self.stops.push(self.now_us);
        self.running.clear();
        self.turns = Turns::default();
        self.now_us += for_us;
        // the file is closed before it is opened again
        let elsewhere = tempfile::tempdir().expect("a temporary folder");
        drop(std::mem::replace(&mut self.catalog, Catalog::open(&elsewhere.path().join("none")).expect("opens")));
        self.catalog = Catalog::open(&self.path).expect("opens again");
        assert!(self.catalog.ledger().interrupted_at_open().is_empty(), "the scheduler's jobs are not failed");
    }

    fn run(&mut self, plan: &Plan) {
        let minutes = plan.days * DAY / MINUTE;
        let mut stops: Vec<i64> =
            (0..plan.stops).map(|_| NEW_YEAR + self.random.between(0, minutes - 1) * MINUTE).collect();
        stops.sort_unstable_by_key(|at_us| std::cmp::Reverse(*at_us));
        loop {
            self.end_work();
            let wake_us = self.wake();
            // what waits when the year is over is still done
            if self.now_us >= self.end_us && self.catalog.ledger().active().is_empty() {
                return;
            }
            let done_us = self.running.keys().next().map(|(at_us, _)| *at_us);
            let next_us = wake_us.into_iter().chain(done_us).min().expect("something is under way");
            match stops.last().copied() {
                Some(stop_us) if stop_us <= next_us => {
                    stops.pop();
                    self.now_us = self.now_us.max(stop_us);
                    let for_us = if self.random.chance(25) { DAY * 5 / 2 } else { MINUTE };
                    self.stop(for_us);
                    if self.random.chance(33) {
                        self.look_at_a_clock_that_went_back();
                    }
                }
                _ => self.now_us = next_us,
            }
        }
    }

    /// Nothing is owed then that is not owed without it: it makes no jobs and begins none twice.
    fn look_at_a_clock_that_went_back(&mut self) {
        let now_us = self.now_us;
        let jobs_before = self.catalog.ledger().list(&JobFilter { limit: 1, ..JobFilter::default() }).expect("reads");
        let active = self.catalog.ledger().active();
        let active: Vec<&Job> = active.iter().collect();
        for back_us in [HOUR, 40 * DAY] {
            for view in &self.views {
                let ahead = view.owed(now_us, &active);
                for owed in view.owed(now_us - back_us, &active) {
                    let is_known = ahead.iter().any(|known| known.range.intersection(&owed.range).is_some());
                    assert!(is_known, "{owed:?} of {:?} is owed only in the past", view.id);
                }
            }
        }
        let jobs = self.catalog.ledger().list(&JobFilter { limit: 1, ..JobFilter::default() }).expect("reads");
        assert_eq!(jobs_before, jobs);
    }
}

/// One attempt, with when it ended: at its end, or when the server stopped.
struct Ran<'a> {
    job: &'a Job,
    attempt: JobAttempt,
    end_us: i64,
}

fn attempts<'a>(world: &World, jobs: &'a [Job]) -> Vec<Ran<'a>> {
    let mut all = Vec::new();
    for job in jobs {
        for attempt in world.catalog.ledger().attempts(job.id).expect("reads") {
            let stopped = || world.stops.iter().copied().filter(|at_us| *at_us >= attempt.started_at_us).min();
            let end_us = attempt.finished_at_us.or_else(stopped).expect("it ended");
            all.push(Ran { job, attempt, end_us });
        }
    }
    all.sort_by_key(|ran| (ran.attempt.started_at_us, ran.job.id));
    all
}

fn id(job: &Job) -> ObjectId {
    job.request.work.view().expect("of a view").0
}

fn of_stream(job: &Job) -> bool {
    (id(job).0 - 100) % 10 == 3
}

fn range(job: &Job) -> Interval {
    job.request.work.refresh().expect("a refresh").range
}

fn check_each_period_once(world: &World, jobs: &[Job]) {
    for view in &world.views {
        let mut done = IntervalSet::default();
        for job in jobs.iter().filter(|job| id(job) == view.id) {
            assert_eq!(job.state, JobState::Succeeded, "{job:?}");
            assert_eq!(done.first_overlap(&range(job)), None, "{job:?} did something twice");
            done.insert(range(job));
        }
        let last_us = view.complete_until_us(world.end_us);
        let ranges: Vec<Interval> = done.iter().collect();
        assert_eq!(ranges.len(), 1, "{:?} has gaps: {ranges:?}", view.id);
        assert_eq!(ranges[0].start_us, view.first_us);
        assert_eq!(ranges[0].end_us, last_us);
        for (store, is_kept) in [(StoreKind::Online, view.online), (StoreKind::Offline, view.offline)] {
            let expected = if is_kept { done.clone() } else { IntervalSet::default() };
            assert_eq!(world.catalog.ledger().ranges(view.id, store), expected);
        }
    }
}

fn check_attempts(world: &World, jobs: &[Job], all: &[Ran]) {
    let mut succeeded: BTreeSet<JobId> = BTreeSet::new();
    let mut failures = 0;
    let mut of_job: BTreeMap<JobId, Vec<&Ran>> = BTreeMap::new();
    for ran in all {
        of_job.entry(ran.job.id).or_default().push(ran);
        let view = world.views.iter().find(|view| id(ran.job) == view.id).expect("a view");
        let complete_us = range(ran.job).end_us + view.delay_us;
        assert!(complete_us <= ran.attempt.started_at_us, "{:?} began before its period was complete", ran.job);
        match ran.attempt.state {
            JobState::Succeeded => assert!(succeeded.insert(ran.job.id), "{:?} succeeded twice", ran.job),
            _ => failures += usize::from(ran.attempt.finished_at_us.is_some()),
        }
    }
    assert_eq!(succeeded.len(), jobs.len());
    assert!(failures * 100 > all.len() && failures * 10 < all.len(), "{failures} of {}", all.len());
    // an attempt begins after the wait that the one before it has earned
    for (job, own) in of_job {
        let mut failures = 0;
        for pair in own.windows(2) {
            if pair[0].attempt.finished_at_us.is_some() {
                failures += 1;
                let again_us = pair[0].end_us + wait_us(job, failures);
                assert!(again_us <= pair[1].attempt.started_at_us, "{job:?} was tried again too soon");
            }
        }
    }
}

/// Whoever runs at each beginning.
fn check_limits_and_order(all: &[Ran]) {
    let mut running: Vec<&Ran> = Vec::new();
    let scheduled: Vec<&Ran> =
        all.iter().filter(|ran| ran.job.request.trigger == JobTrigger::Scheduled && ran.attempt.attempt == 1).collect();
    for ran in all {
        let at_us = ran.attempt.started_at_us;
        running.retain(|other| other.end_us > at_us);
        running.push(ran);
        assert!(running.len() <= LIMITS.total, "{} at a time", running.len());
        let own = running.iter().filter(|other| id(other.job) == id(ran.job));
        assert!(own.count() <= LIMITS.per_view);
        let of_the_past = running.iter().filter(|other| other.job.request.trigger == JobTrigger::Backfill);
        assert!(of_the_past.count() < LIMITS.total, "no place is left for new periods");
    }
    // no new period waits while the past begins, unless its view has all that it may have
    let is_past = |ran: &&Ran| ran.job.request.trigger == JobTrigger::Backfill && !of_stream(ran.job);
    for ran in all.iter().filter(is_past) {
        let at_us = ran.attempt.started_at_us;
        let waits = |other: &&&Ran| {
            (other.job.created_at_us()..other.attempt.started_at_us).contains(&at_us) && id(other.job) != id(ran.job)
        };
        for other in scheduled.iter().filter(waits) {
            let own = all.iter().filter(|ran| id(ran.job) == id(other.job));
            let own = own.filter(|ran| (ran.attempt.started_at_us..ran.end_us).contains(&at_us)).count();
            assert!(own >= LIMITS.per_view, "{:?} waited for {:?}", other.job, ran.job);
        }
    }
}

/// Of one view: the past newest first, new periods in the order of time.
fn check_order_in_views(world: &World, all: &[Ran]) {
    for view in &world.views {
        let first = |trigger| {
            let is_first = move |ran: &&Ran| ran.job.request.trigger == trigger && ran.attempt.attempt == 1;
            let own = all.iter().filter(|ran| id(ran.job) == view.id).filter(is_first);
            own.map(|ran| (ran.attempt.started_at_us, range(ran.job).end_us))
        };
        let mut past: Vec<(i64, i64)> = first(JobTrigger::Backfill).collect();
        past.sort_by_key(|(at_us, end_us)| (*at_us, std::cmp::Reverse(*end_us)));
        assert!(past.is_sorted_by(|a, b| a.1 > b.1), "{:?}: {past:?}", view.id);
        let new: Vec<(i64, i64)> = first(JobTrigger::Scheduled).collect();
        assert!(new.is_sorted_by(|a, b| a.1 <= b.1), "{:?}", view.id);
    }
}

fn simulate(plan: &Plan, seed: u64) {
    let folder = folder();
    let mut world = World::new(folder.path(), plan, seed);
    world.run(plan);
    let mut jobs = world.catalog.ledger().list(&JobFilter::default()).expect("reads");
    jobs.reverse();
    assert_eq!(world.stops.len() as u64, plan.stops);
    check_each_period_once(&world, &jobs);
    let all = attempts(&world, &jobs);
    check_attempts(&world, &jobs, &all);
    check_limits_and_order(&all);
    check_order_in_views(&world, &all);
}

#[test]
fn a_year_of_schedules_succeeds_period_by_period() {
    simulate(&Plan { days: 366, n_views: 50, hourly_in: 10, stops: 40, fails_percent: 5 }, 1);
}

/// By itself it takes a second.
#[test]
fn a_year_of_one_view_succeeds_day_by_day() {
    simulate(&Plan { days: 366, n_views: 1, hourly_in: 10, stops: 5, fails_percent: 5 }, 7);
}

#[test]
fn short_stretches_with_many_stops() {
    for seed in 2..6 {
        simulate(&Plan { days: 20, n_views: 12, hourly_in: 3, stops: 30, fails_percent: 5 }, seed);
    }
}

/// Views that have the same to do get on at the same pace.
#[test]
fn backfills_of_views_take_turns() {
    let plan = Plan { days: 1, n_views: 0, hourly_in: 1, stops: 0, fails_percent: 0 };
    let folder = folder();
    let mut world = World::new(folder.path(), &plan, 3);
    let template = view(2, &Plan { hourly_in: 10, ..plan }, &mut Random::new(1));
    world.views = (0..5)
        .map(|number| ScheduledView { id: ObjectId(number), first_us: NEW_YEAR - 100 * DAY, ..template.clone() })
        .collect();
    world.wake();
    let mut begun: BTreeMap<ObjectId, usize> = world.views.iter().map(|view| (view.id, 0)).collect();
    let mut seen: BTreeSet<JobId> = BTreeSet::new();
    while !world.catalog.ledger().active().is_empty() {
        for job in world.catalog.ledger().active() {
            let (view, _) = job.request.work.view().expect("a view");
            if job.state == JobState::Running && seen.insert(job.id) {
                *begun.entry(view).or_default() += 1;
            }
        }
        let (fewest, most) = (begun.values().min(), begun.values().max());
        assert!(most.zip(fewest).is_some_and(|(most, fewest)| most - fewest <= 1), "{begun:?}");
        // all take the same time
        world.now_us += MINUTE;
        let running = std::mem::take(&mut world.running);
        world.running = running.into_keys().map(|(_, job)| ((world.now_us, job), false)).collect();
        world.end_work();
        world.wake();
    }
    assert_eq!(begun.values().copied().collect::<Vec<_>>(), [10; 5]);
}
