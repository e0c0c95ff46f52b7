//! Jobs from the queue to their end, and the ranges they leave behind.

use std::collections::{BTreeMap, BTreeSet};

use granary_catalog::*;

use crate::fixture::*;
use crate::random::Random;

fn request(start_us: i64, end_us: i64) -> NewJob {
    job(refresh(start_us, end_us))
}

fn job(refresh: RefreshWork) -> NewJob {
    let author = author("REFRESH FEATURE VIEW user_spend");
    NewJob::new(JobWork::Refresh(refresh), WORKSPACE, author)
}

fn refresh(start_us: i64, end_us: i64) -> RefreshWork {
    RefreshWork {
        view: SPEND,
        view_name: "user_spend".to_owned(),
        range: Interval::new(start_us, end_us),
        online: true,
        offline: true,
        overwrite: false,
        groups: Vec::new(),
    }
}

fn dataset(name: &str, version: u64) -> NewJob {
    let work = JobWork::Dataset(DatasetWork { schema: SCHEMA, name: name.to_owned(), version });
    NewJob::new(work, WORKSPACE, author("CREATE DATASET …"))
}

fn failure(message: &str) -> JobError {
    JobError { sqlstate: "58030".to_owned(), message: message.to_owned() }
}

fn run(ledger: &Ledger, request: NewJob) -> Job {
    let job = ledger.create_job(request).unwrap().id;
    ledger.start_attempt(job, 10).unwrap();
    ledger.finish(job, Outcome::Succeeded, 20).unwrap()
}

fn ranges(ledger: &Ledger, store: StoreKind) -> Vec<Interval> {
    ledger.ranges(SPEND, store).iter().collect()
}

#[test]
fn a_job_goes_from_the_queue_to_its_end() {
    let (place, catalog) = shop_catalog();
    let ledger = catalog.ledger();
    let job = ledger.create_job(request(0, 10)).unwrap();
    assert_eq!((job.id, job.state), (JobId(1), JobState::Queued));
    assert_eq!(job.created_at_us(), 1_700_000_000_000_000);
    let attempt = ledger.start_attempt(job.id, 100).unwrap();
    assert_eq!((attempt.attempt, attempt.state), (1, JobState::Running));
    ledger.progress(job.id, 7, 5).unwrap();
    assert_eq!(ledger.get(job.id).unwrap().rows_read, 7);
    assert_eq!(ledger.list(&JobFilter::default()).unwrap()[0].rows_written, 5);
    assert_eq!(ledger.active().len(), 1);
    assert!(ranges(ledger, StoreKind::Offline).is_empty());
    let job = ledger.finish(job.id, Outcome::Succeeded, 200).unwrap();
    assert_eq!(ranges(ledger, StoreKind::Offline), [Interval::new(0, 10)]);
    assert_eq!(ranges(ledger, StoreKind::Online), [Interval::new(0, 10)]);
    assert!(ledger.active().is_empty());

    drop(catalog);
    let catalog = Catalog::open(&place.path).unwrap();
    let ledger = catalog.ledger();
    assert_eq!(ledger.get(job.id).unwrap(), job);
    assert_eq!((job.started_at_us, job.finished_at_us), (Some(100), Some(200)));
    assert_eq!((job.rows_read, job.rows_written), (7, 5));
    let attempts = ledger.attempts(job.id).unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!((attempts[0].state, attempts[0].finished_at_us), (JobState::Succeeded, Some(200)));
    assert_eq!(ranges(ledger, StoreKind::Offline), [Interval::new(0, 10)]);
    assert!(ledger.interrupted_at_open().is_empty());
}

#[test]
fn every_attempt_is_kept() {
    let (_place, catalog) = shop_catalog();
    let ledger = catalog.ledger();
    let job = ledger.create_job(request(0, 10)).unwrap().id;
    ledger.start_attempt(job, 1).unwrap();
    let queued = ledger.fail_attempt(job, failure("disk full"), 2, 3).unwrap();
    assert_eq!((queued.state, queued.finished_at_us), (JobState::Queued, None));
    ledger.start_attempt(job, 3).unwrap();
    let failed = ledger.finish(job, Outcome::Failed(failure("still full")), 4).unwrap();
    assert_eq!(failed.error, Some(failure("still full")));
    assert_eq!(failed.started_at_us, Some(1));
    let queued = ledger.retry(job, None, 1).unwrap();
    assert_eq!((queued.state, queued.finished_at_us), (JobState::Queued, None));
    ledger.start_attempt(job, 5).unwrap();
    let done = ledger.finish(job, Outcome::Succeeded, 6).unwrap();
    assert_eq!((done.attempts, done.error), (3, None));
    let attempts = ledger.attempts(job).unwrap();
    let told: Vec<_> = attempts.iter().map(|attempt| (attempt.attempt, attempt.state, attempt.error.clone())).collect();
    let expected = [
        (1, JobState::Failed, Some(failure("disk full"))),
        (2, JobState::Failed, Some(failure("still full"))),
        (3, JobState::Succeeded, None),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_step_out_of_turn_is_refused() {
    let (_place, catalog) = shop_catalog();
    let ledger = catalog.ledger();
    let job = ledger.create_job(request(0, 10)).unwrap().id;
    let refused = |result: Result<(), Error>, expected: JobState| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::JobState { state, .. } if state == expected), "{error:?}");
    };
    refused(ledger.finish(job, Outcome::Succeeded, 1).map(drop), JobState::Queued);
    refused(ledger.fail_attempt(job, failure("…"), 1, 2).map(drop), JobState::Queued);
    refused(ledger.progress(job, 1, 1), JobState::Queued);
    refused(ledger.retry(job, None, 1).map(drop), JobState::Queued);
    ledger.start_attempt(job, 1).unwrap();
    refused(ledger.start_attempt(job, 1).map(drop), JobState::Running);
    ledger.finish(job, Outcome::Cancelled, 2).unwrap();
    refused(ledger.finish(job, Outcome::Succeeded, 3).map(drop), JobState::Cancelled);
    refused(ledger.progress(job, 1, 1), JobState::Cancelled);
    refused(ledger.start_attempt(job, 3).map(drop), JobState::Cancelled);
    assert!(ranges(ledger, StoreKind::Offline).is_empty());
    assert!(matches!(ledger.get(JobId(9)), Err(Error::UndefinedJob { job: JobId(9) })));
    assert!(matches!(ledger.progress(JobId(9), 0, 0), Err(Error::UndefinedJob { .. })));
    assert!(matches!(ledger.create_job(request(5, 5)), Err(Error::EmptyRange { .. })));
}

#[test]
fn what_is_materialized_is_not_done_twice_unless_asked_to() {
    let (_place, catalog) = shop_catalog();
    let ledger = catalog.ledger();
    run(ledger, job(RefreshWork { online: false, ..refresh(0, 10) }));
    let error = ledger.create_job(request(5, 15)).unwrap_err();
    let Error::AlreadyMaterialized { store, overlap } = error else { panic!("{error:?}") };
    assert_eq!((store, overlap), (StoreKind::Offline, Interval::new(5, 10)));
    run(ledger, job(RefreshWork { offline: false, ..refresh(5, 15) }));
    run(ledger, job(RefreshWork { overwrite: true, ..refresh(5, 15) }));
    assert_eq!(ranges(ledger, StoreKind::Offline), [Interval::new(0, 15)]);
    assert_eq!(ranges(ledger, StoreKind::Online), [Interval::new(5, 15)]);
    run(ledger, job(RefreshWork { view: SERVICE, ..refresh(0, 10) }));
}

#[test]
fn two_jobs_do_not_work_on_the_same_range() {
    let (_place, catalog) = shop_catalog();
    let ledger = catalog.ledger();
    let first = ledger.create_job(request(i64::MIN, 10)).unwrap().id;
    let overwrite = job(RefreshWork { overwrite: true, ..refresh(9, 20) });
    assert!(matches!(ledger.create_job(overwrite.clone()), Err(Error::JobConflict { job }) if job == first));
    ledger.create_job(request(10, 20)).unwrap();
    ledger.finish(first, Outcome::Cancelled, 1).unwrap();
    assert!(matches!(ledger.create_job(overwrite), Err(Error::JobConflict { job: JobId(2) })));
    ledger.retry(first, None, 1).unwrap();
    assert!(matches!(ledger.create_job(request(0, 5)), Err(Error::JobConflict { job }) if job == first));
}

#[test]
fn a_gap_is_told_where_it_begins() {
    let (_place, catalog) = shop_catalog();
    let ledger = catalog.ledger();
    run(ledger, request(i64::MIN, 10));
    run(ledger, request(20, 30));
    let covers = |start_us, end_us| ledger.covers(SPEND, StoreKind::Online, Interval::new(start_us, end_us));
    assert_eq!(covers(-99, 10), Ok(()));
    assert_eq!(covers(5, 25), Err(Gap { start_us: 10, end_us: 20 }));
    assert_eq!(covers(12, 15), Err(Gap { start_us: 12, end_us: 15 }));
    assert_eq!(covers(15, 15), Ok(()));
    let unknown = ledger.covers(SERVICE, StoreKind::Online, Interval::new(1, 2));
    assert_eq!(unknown, Err(Gap { start_us: 1, end_us: 2 }));
    assert_eq!(ledger.overlaps(SPEND, StoreKind::Online, Interval::new(5, 25)), Some(Interval::new(5, 10)));
    assert_eq!(ledger.overlaps(SPEND, StoreKind::Online, Interval::new(10, 20)), None);
}

#[test]
fn jobs_in_flight_are_failed_when_the_catalog_opens_again() {
    let (place, catalog) = shop_catalog();
    let ledger = catalog.ledger();
    run(ledger, request(0, 10));
    ledger.create_job(request(10, 20)).unwrap();
    let running = ledger.create_job(request(20, 30)).unwrap().id;
    ledger.start_attempt(running, 5).unwrap();
    drop(catalog);

    let catalog = Catalog::open(&place.path).unwrap();
    let ledger = catalog.ledger();
    let told: Vec<_> = ledger.interrupted_at_open().iter().map(|job| (job.id, job.state)).collect();
    assert_eq!(told, [(JobId(2), JobState::Failed), (JobId(3), JobState::Failed)]);
    let job = ledger.get(running).unwrap();
    assert_eq!(job.error.as_ref().unwrap().message, "interrupted by a restart");
    assert_eq!(job.finished_at_us, None);
    assert_eq!(ledger.attempts(running).unwrap()[0].state, JobState::Failed);
    assert!(ledger.active().is_empty());
    ledger.retry(running, None, 1).unwrap();
    assert_eq!(ledger.start_attempt(running, 6).unwrap().attempt, 2);
    drop(catalog);
    // one that was retried is the scheduler's
    let catalog = Catalog::open(&place.path).unwrap();
    let ledger = catalog.ledger();
    assert!(ledger.interrupted_at_open().is_empty());
    let job = ledger.get(running).unwrap();
    assert_eq!((job.state, job.attempts, job.failures), (JobState::Queued, 2, 0));
    assert_eq!(ledger.active(), [job]);
    assert!(ledger.was_tried(SPEND, Interval::new(25, 26)) && !ledger.was_tried(SPEND, Interval::new(10, 20)));
}

#[test]
fn one_job_at_a_time_makes_a_dataset_and_ends_as_the_catalog_says() {
    let (place, catalog) = shop_catalog();
    let ledger = catalog.ledger();
    let kept = ledger.create_job(dataset("kept", 1)).unwrap().id;
    ledger.start_attempt(kept, 5).unwrap();
    assert!(matches!(ledger.create_job(dataset("kept", 1)), Err(Error::JobConflict { job }) if job == kept));
    let lost = ledger.create_job(dataset("lost", 1)).unwrap().id;
    ledger.start_attempt(lost, 5).unwrap();
    let made = ledger.create_job(dataset("made", 3)).unwrap().id;
    ledger.start_attempt(made, 5).unwrap();
    ledger.progress(made, 7, 7).unwrap();
    let made = ledger.finish(made, Outcome::Succeeded, 6).unwrap();
    assert_eq!(made.rows_written, 7);
    let version = DatasetVersion {
        number: 1,
        query: "SELECT 1".to_owned(),
        columns: Vec::new(),
        storage_id: 1,
        rows: 9,
        bytes: 0,
        made_at: Version(1),
        created_at_us: 8,
        created_by: "ada".to_owned(),
        job: Some(kept),
        settings: Vec::new(),
        inputs: Vec::new(),
    };
    let object = Dataset { header: header(NEXT, PUBLIC, "kept"), newest: version, earlier: Vec::new() };
    catalog.commit(Version(1), &author("CREATE DATASET kept …"), vec![Change::put(object)]).unwrap();
    drop(catalog);

    let catalog = Catalog::open(&place.path).unwrap();
    let ledger = catalog.ledger();
    assert_eq!(ledger.get(made.id).unwrap(), made);
    let job = ledger.get(kept).unwrap();
    assert_eq!((job.state, job.rows_written, job.finished_at_us), (JobState::Succeeded, 9, Some(8)));
    assert_eq!(ledger.attempts(kept).unwrap()[0].state, JobState::Succeeded);
    assert_eq!(ledger.get(lost).unwrap().state, JobState::Failed);
    assert_eq!(ledger.interrupted_at_open().iter().map(|job| job.id).collect::<Vec<_>>(), [lost]);
}

fn forget(view: ObjectId) -> NewJob {
    let work = JobWork::Forget(ForgetWork { view, view_name: "user_spend".to_owned(), keys: 3 });
    NewJob::new(work, WORKSPACE, author("DELETE FROM user_spend WHERE … (3 keys)"))
}

#[test]
fn keys_are_forgotten_while_nothing_else_works_on_the_view() {
    let (place, catalog) = shop_catalog();
    let ledger = catalog.ledger();
    let refreshing = ledger.create_job(request(0, 10)).unwrap().id;
    assert!(matches!(ledger.create_job(forget(SPEND)), Err(Error::JobConflict { job }) if job == refreshing));
    ledger.finish(refreshing, Outcome::Cancelled, 20).unwrap();
    let forgetting = ledger.create_job(forget(SPEND)).unwrap().id;
    ledger.start_attempt(forgetting, 30).unwrap();
    for other in [request(100, 110), forget(SPEND)] {
        assert!(matches!(ledger.create_job(other), Err(Error::JobConflict { job }) if job == forgetting));
    }
    assert!(matches!(ledger.forget(SPEND, 50), Err(Error::JobConflict { job }) if job == forgetting));
    // jobs of others go on
    ledger.create_job(dataset("fraud", 1)).unwrap();
    let of_view = JobFilter { view: Some(SPEND), ..JobFilter::default() };
    let jobs: Vec<JobId> = ledger.list(&of_view).unwrap().iter().map(|job| job.id).collect();
    assert_eq!(jobs, [forgetting, refreshing]);
    drop(catalog);
    // a crash ends it, and it can be asked for again
    let catalog = Catalog::open(&place.path).unwrap();
    let ledger = catalog.ledger();
    let job = ledger.get(forgetting).unwrap();
    assert_eq!((job.state, job.request.work.kind()), (JobState::Failed, "forget"));
    run(ledger, forget(SPEND));
    assert_eq!(ranges(ledger, StoreKind::Offline), []);
    run(ledger, request(0, 10));
}

#[test]
fn a_forgotten_view_can_be_materialized_again() {
    let (place, catalog) = shop_catalog();
    let ledger = catalog.ledger();
    run(ledger, request(0, 10));
    run(ledger, job(RefreshWork { view: SERVICE, ..refresh(0, 10) }));
    let job = ledger.create_job(request(10, 20)).unwrap().id;
    assert!(matches!(ledger.forget(SPEND, 50), Err(Error::JobConflict { .. })));
    ledger.finish(job, Outcome::Cancelled, 1).unwrap();
    ledger.forget(SPEND, 50).unwrap();
    assert!(ranges(ledger, StoreKind::Offline).is_empty());
    drop(catalog);
    let catalog = Catalog::open(&place.path).unwrap();
    let ledger = catalog.ledger();
    assert!(ranges(ledger, StoreKind::Offline).is_empty());
    assert!(!ledger.ranges(SERVICE, StoreKind::Offline).is_empty());
    run(ledger, request(0, 10));
}

#[test]
fn lists_are_newest_first_filtered_and_paged() {
    let (_place, catalog) = shop_catalog();
    let ledger = catalog.ledger();
    for n in 0..3 {
        run(ledger, request(n, n + 1));
    }
    ledger.create_job(job(RefreshWork { view: SERVICE, ..refresh(0, 1) })).unwrap();
    let ids = |filter: JobFilter| -> Vec<u64> { ledger.list(&filter).unwrap().iter().map(|job| job.id.0).collect() };
    let all = JobFilter::default();
    assert_eq!(ids(all), [4, 3, 2, 1]);
    assert_eq!(ids(JobFilter { view: Some(SPEND), limit: 2, ..all }), [3, 2]);
    assert_eq!(ids(JobFilter { view: Some(SPEND), before: Some(JobId(2)), ..all }), [1]);
    assert_eq!(ids(JobFilter { state: Some(JobState::Queued), ..all }), [4]);
    assert!(ids(JobFilter { workspace: Some(ObjectId(99)), ..all }).is_empty());
    assert!(ids(JobFilter { limit: 0, ..all }).is_empty());
}

#[test]
fn pruning_keeps_ranges_and_jobs_in_flight() {
    let (_place, catalog) = shop_catalog();
    let ledger = catalog.ledger();
    let old = NewJob { author: Author { at_us: 1, ..author("…") }, ..request(0, 10) };
    let done = run(ledger, old.clone()).id;
    let waiting = ledger.create_job(NewJob { author: old.author, ..request(10, 20) }).unwrap().id;
    let recent = run(ledger, request(20, 30)).id;
    assert_eq!(ledger.prune(2, 1000).unwrap(), 1);
    assert!(matches!(ledger.get(done), Err(Error::UndefinedJob { .. })));
    assert!(ledger.attempts(done).unwrap().is_empty());
    assert!(ledger.get(waiting).is_ok() && ledger.get(recent).is_ok());
    assert_eq!(ranges(ledger, StoreKind::Offline), [Interval::new(0, 10), Interval::new(20, 30)]);
    assert_eq!(ledger.prune(2, 1000).unwrap(), 0);
}

/// Random jobs against sets of points.
#[test]
fn ranges_are_those_of_the_jobs_that_succeeded() {
    let mut random = Random::new(3);
    let (place, mut catalog) = shop_catalog();
    let mut done: BTreeMap<StoreKind, BTreeSet<i64>> = BTreeMap::new();
    for _ in 0..120 {
        let start_us = random.between(-15, 14);
        let range = Interval::new(start_us, start_us + random.between(1, 6));
        let points: BTreeSet<i64> = (range.start_us..range.end_us).collect();
        let (online, offline) = [(true, true), (true, false), (false, true)][random.below(3)];
        let overwrite = random.one_in(2);
        let refresh = RefreshWork { online, offline, overwrite, ..refresh(range.start_us, range.end_us) };
        let stores: Vec<StoreKind> = refresh.stores().collect();
        let ledger = catalog.ledger();
        let is_done = stores.iter().any(|store| done.get(store).is_some_and(|done| !done.is_disjoint(&points)));
        match ledger.create_job(job(refresh)) {
            Ok(job) => {
                assert!(overwrite || !is_done);
                ledger.start_attempt(job.id, 1).unwrap();
                let outcome = if random.one_in(4) { Outcome::Failed(failure("…")) } else { Outcome::Succeeded };
                if outcome == Outcome::Succeeded {
                    for store in stores {
                        done.entry(store).or_default().extend(&points);
                    }
                }
                ledger.finish(job.id, outcome, 2).unwrap();
            }
            Err(Error::AlreadyMaterialized { .. }) => assert!(!overwrite && is_done),
            Err(error) => panic!("{error:?}"),
        }
        for (&store, done) in &done {
            let members = catalog.ledger().ranges(SPEND, store);
            let members = members.iter().flat_map(|interval| interval.start_us..interval.end_us);
            assert_eq!(members.collect::<BTreeSet<_>>(), *done);
        }
        if random.one_in(20) {
            drop(catalog);
            catalog = Catalog::open(&place.path).unwrap();
        }
    }
}

fn spans(intervals: &[(i64, i64)]) -> IntervalSet {
    intervals.iter().map(|(start_us, end_us)| Interval::new(*start_us, *end_us)).collect()
}

#[test]
fn folded_spans_count_until_their_rows_change() {
    let (place, catalog) = shop_catalog();
    let ledger = catalog.ledger();
    assert_eq!(ledger.folded(SPEND), None);
    let begin = |request: NewJob| {
        let job = ledger.create_job(request).unwrap().id;
        ledger.start_attempt(job, 10).unwrap();
        job
    };
    let first = begin(request(0, 40));
    assert_eq!(ledger.settled(SPEND, first).unwrap(), spans(&[(0, 40)]));
    ledger.fold((first, 0), 7, 10, &spans(&[(0, 40)])).unwrap();
    ledger.finish(first, Outcome::Succeeded, 20).unwrap();

    // what another job works on is not folded, nor is a span of which it has a part
    let (second, third) = (begin(request(40, 60)), begin(request(60, 75)));
    assert_eq!(ledger.settled(SPEND, second).unwrap(), spans(&[(0, 60)]));
    ledger.fold((second, 0), 7, 20, &spans(&[(0, 80)])).unwrap();
    let folded = ledger.folded(SPEND).unwrap();
    assert_eq!(folded.widths, [(10, spans(&[(0, 40)])), (20, spans(&[(0, 60)]))]);
    ledger.finish(second, Outcome::Failed(failure("no")), 20).unwrap();
    ledger.finish(third, Outcome::Cancelled, 20).unwrap();

    ledger.unfold(SPEND, Interval::new(100, 110)).unwrap();
    assert_eq!(ledger.folded(SPEND).unwrap(), folded, "nothing was folded there");
    ledger.unfold(SPEND, Interval::new(11, 12)).unwrap();
    let less = ledger.folded(SPEND).unwrap();
    assert_eq!(less.widths, [(10, spans(&[(0, 10), (20, 40)])), (20, spans(&[(20, 60)]))]);
    assert!(less.revision > folded.revision);

    drop(catalog);
    let catalog = Catalog::open(&place.path).unwrap();
    let ledger = catalog.ledger();
    assert_eq!(ledger.folded(SPEND), Some(less.clone()));

    // states of another form take the place of all
    let job = ledger.create_job(request(75, 80)).unwrap().id;
    ledger.start_attempt(job, 10).unwrap();
    ledger.fold((job, 0), 8, 10, &spans(&[(20, 30)])).unwrap();
    let other = ledger.folded(SPEND).unwrap();
    assert_eq!((other.form, &other.widths), (8, &vec![(10, spans(&[(20, 30)]))]));
    assert!(other.revision > less.revision);
    ledger.finish(job, Outcome::Succeeded, 20).unwrap();
    ledger.forget(SPEND, 50).unwrap();
    assert_eq!(ledger.folded(SPEND), None);
}

fn scheduled(start_us: i64, end_us: i64, trigger: JobTrigger) -> NewJob {
    NewJob { trigger, managed: true, max_attempts: 3, ..request(start_us, end_us) }
}

#[test]
fn jobs_of_the_scheduler_outlive_a_restart() {
    let (place, catalog) = shop_catalog();
    let ledger = catalog.ledger();
    let wanted = vec![
        scheduled(20, 30, JobTrigger::Scheduled),
        scheduled(10, 20, JobTrigger::Backfill),
        // refused because of the one before
        scheduled(15, 18, JobTrigger::Backfill),
        scheduled(0, 10, JobTrigger::Backfill),
    ];
    let jobs: Vec<JobId> = ledger.create_jobs(wanted).unwrap().iter().map(|job| job.id).collect();
    assert_eq!(jobs, [1, 2, 3].map(JobId));
    ledger.start_attempt(jobs[0], 5).unwrap();
    ledger.log(jobs[0], 6, LogLevel::Info, "half of it".to_owned()).unwrap();
    ledger.start_attempt(jobs[1], 5).unwrap();
    ledger.fail_attempt(jobs[1], failure("disk full"), 7, 99).unwrap();
    drop(catalog);

    let catalog = Catalog::open(&place.path).unwrap();
    let ledger = catalog.ledger();
    assert!(ledger.interrupted_at_open().is_empty());
    let told: Vec<_> =
        ledger.active().iter().map(|job| (job.state, job.attempts, job.failures, job.next_attempt_at_us)).collect();
    let queued = JobState::Queued;
    assert_eq!(told, [(queued, 1, 0, None), (queued, 1, 1, Some(99)), (queued, 0, 0, None)]);
    assert_eq!(ledger.attempts(jobs[0]).unwrap()[0].state, JobState::Failed);
    let lines = |job| ledger.logs(job).unwrap().into_iter().map(|line| (line.attempt, line.at_us, line.message));
    let line = |attempt, at_us, message: &str| (attempt, at_us, message.to_owned());
    let expected =
        [line(1, 5, "attempt 1 has begun"), line(1, 6, "half of it"), line(1, 5, "interrupted by a restart")];
    assert_eq!(lines(jobs[0]).collect::<Vec<_>>(), expected);
    let expected = [line(1, 5, "attempt 1 has begun"), line(1, 7, "disk full (SQLSTATE 58030)")];
    assert_eq!(lines(jobs[1]).collect::<Vec<_>>(), expected);
    assert!(ledger.was_tried(SPEND, Interval::new(29, 31)) && !ledger.was_tried(SPEND, Interval::new(0, 10)));
    assert!(ledger.given_up(SPEND).is_empty());
}

#[test]
fn a_job_that_ends_the_server_is_not_started_for_ever() {
    let (place, mut catalog) = shop_catalog();
    let job = catalog.ledger().create_jobs(vec![scheduled(0, 10, JobTrigger::Backfill)]).unwrap()[0].id;
    for attempt in 1..=100 {
        assert_eq!(catalog.ledger().start_attempt(job, 5).unwrap().attempt, attempt);
        drop(catalog);
        catalog = Catalog::open(&place.path).unwrap();
    }
    assert_eq!(catalog.ledger().get(job).unwrap().state, JobState::Failed);
    assert_eq!(catalog.ledger().given_up(SPEND), spans(&[(0, 10)]));
}

#[test]
fn what_was_given_up_stays_so_until_it_is_done() {
    let (place, catalog) = shop_catalog();
    let ledger = catalog.ledger();
    let wanted = (0..4).map(|n| scheduled(n * 10, n * 10 + 10, JobTrigger::Backfill)).collect();
    let jobs: Vec<JobId> = ledger.create_jobs(wanted).unwrap().iter().map(|job| job.id).collect();
    ledger.start_attempt(jobs[0], 5).unwrap();
    ledger.finish(jobs[0], Outcome::Failed(failure("no")), 6).unwrap();
    ledger.finish(jobs[1], Outcome::Cancelled, 6).unwrap();
    ledger.take_back(jobs[2], "not needed", 6).unwrap();
    assert_eq!(ledger.get(jobs[2]).unwrap().state, JobState::Cancelled);
    assert_eq!(ledger.given_up(SPEND), spans(&[(0, 20)]));
    // whoever asks for it themselves leaves no gap to others
    let manual = ledger.create_job(request(50, 60)).unwrap().id;
    ledger.start_attempt(manual, 5).unwrap();
    ledger.finish(manual, Outcome::Cancelled, 6).unwrap();
    assert_eq!(ledger.given_up(SPEND), spans(&[(0, 20)]));
    assert!(ledger.was_tried(SPEND, Interval::new(50, 60)) && !ledger.was_tried(SPEND, Interval::new(10, 20)));
    drop(catalog);
    let catalog = Catalog::open(&place.path).unwrap();
    let ledger = catalog.ledger();
    assert_eq!(ledger.given_up(SPEND), spans(&[(0, 20)]));
    run(ledger, request(5, 15));
    assert_eq!(ledger.given_up(SPEND), spans(&[(0, 5), (15, 20)]));
    ledger.forget(SPEND, 50).unwrap();
    assert!(ledger.given_up(SPEND).is_empty() && ledger.active().is_empty());
    assert_eq!(ledger.get(jobs[3]).unwrap().state, JobState::Cancelled);
}

#[test]
fn a_view_that_is_looked_at_anew_has_nothing_given_up_and_nothing_waiting() {
    let (place, catalog) = shop_catalog();
    let ledger = catalog.ledger();
    let wanted = (0..3).map(|n| scheduled(n * 10, n * 10 + 10, JobTrigger::Backfill)).collect();
    let jobs: Vec<JobId> = ledger.create_jobs(wanted).unwrap().iter().map(|job| job.id).collect();
    ledger.start_attempt(jobs[0], 5).unwrap();
    ledger.finish(jobs[0], Outcome::Failed(failure("no")), 6).unwrap();
    ledger.start_attempt(jobs[1], 5).unwrap();
    ledger.ask_again(SPEND, 7).unwrap();
    assert!(ledger.given_up(SPEND).is_empty());
    assert!(ledger.was_tried(SPEND, Interval::new(0, 10)), "rows may have been left behind");
    assert_eq!(ledger.active().iter().map(|job| job.id).collect::<Vec<_>>(), [jobs[1]]);
    assert_eq!(ledger.get(jobs[2]).unwrap().state, JobState::Cancelled);
    drop(catalog);
    let catalog = Catalog::open(&place.path).unwrap();
    assert!(catalog.ledger().given_up(SPEND).is_empty());
    assert_eq!(catalog.ledger().get(jobs[2]).unwrap().state, JobState::Cancelled);
}

#[test]
fn jobs_of_the_scheduler_make_way_as_long_as_they_have_not_begun() {
    let (_place, catalog) = shop_catalog();
    let ledger = catalog.ledger();
    let wanted = (0..3).map(|n| scheduled(n * 10, n * 10 + 10, JobTrigger::Backfill)).collect();
    let jobs: Vec<JobId> = ledger.create_jobs(wanted).unwrap().iter().map(|job| job.id).collect();
    let manual = ledger.create_job(request(5, 15)).unwrap().id;
    let states: Vec<JobState> = jobs.iter().map(|job| ledger.get(*job).unwrap().state).collect();
    assert_eq!(states, [JobState::Cancelled, JobState::Cancelled, JobState::Queued]);
    assert_eq!(ledger.active().iter().map(|job| job.id).collect::<Vec<_>>(), [jobs[2], manual]);
    assert!(ledger.given_up(SPEND).is_empty());
    ledger.start_attempt(jobs[2], 5).unwrap();
    let error = ledger.create_job(request(15, 25)).unwrap_err();
    assert!(matches!(error, Error::JobConflict { job } if job == jobs[2]), "{error:?}");
    // nor does the scheduler itself take anything away
    ledger.fail_attempt(jobs[2], failure("no"), 6, 7).unwrap();
    assert!(ledger.create_job(scheduled(20, 30, JobTrigger::Backfill)).is_err());
    // one that is asked for again waits no longer
    assert_eq!(ledger.retry(jobs[2], None, 3).unwrap().next_attempt_at_us, None);
}

#[test]
fn logs_are_bounded() {
    let (_place, catalog) = shop_catalog();
    let ledger = catalog.ledger();
    let job = ledger.create_job(request(0, 10)).unwrap().id;
    ledger.start_attempt(job, 1).unwrap();
    for line in 0..100 {
        ledger.log(job, 2, LogLevel::Info, format!("{line} {}", "é".repeat(2000))).unwrap();
    }
    ledger.finish(job, Outcome::Failed(failure("at last")), 3).unwrap();
    let lines = ledger.logs(job).unwrap();
    assert_eq!(lines.len(), 64);
    assert!(lines.iter().all(|line| line.message.len() < 2010), "cut");
    assert_eq!(lines[63].message, "at last (SQLSTATE 58030)");
    assert_eq!(ledger.prune(i64::MAX, 1000).unwrap(), 1);
    assert!(ledger.logs(job).unwrap().is_empty());
}

#[test]
fn groups_of_columns_have_ranges_of_their_own_and_a_job_fills_what_some_lack() {
    let (place, catalog) = shop_catalog();
    let ledger = catalog.ledger();
    let of = |ledger: &Ledger, group: u64| -> Vec<Interval> {
        ledger.ranges(GroupId::new(SPEND, group), StoreKind::Offline).iter().collect()
    };
    run(ledger, request(0, 20));
    let both = |start_us, end_us| job(RefreshWork { groups: vec![0, 3], ..refresh(start_us, end_us) });
    let missing = |range: Interval, group| ledger.missing(GroupId::new(SPEND, group), range).iter().collect::<Vec<_>>();
    assert_eq!(missing(Interval::new(10, 30), 0), [Interval::new(20, 30)]);
    assert_eq!(missing(Interval::new(10, 30), 3), [Interval::new(10, 30)]);
    // the first group has it already, the other has not
    run(ledger, both(10, 30));
    assert_eq!(of(ledger, 0), [Interval::new(0, 30)]);
    assert_eq!(of(ledger, 3), [Interval::new(10, 30)]);
    // what all of them have is not done again
    let error = ledger.create_job(both(15, 25)).unwrap_err();
    assert!(matches!(error, Error::AlreadyMaterialized { overlap, .. } if overlap == Interval::new(15, 25)), "{error}");
    assert_eq!(
        ledger.ranges_of_all(SPEND, &[0, 3], StoreKind::Online).iter().collect::<Vec<_>>(),
        [Interval::new(10, 30)]
    );
    ledger.take_over(GroupId::new(SPEND, 4), &[0, 3]).unwrap();
    assert_eq!(of(ledger, 4), [Interval::new(10, 30)]);
    ledger.forget_group(GroupId::new(SPEND, 4)).unwrap();
    drop(catalog);
    let catalog = Catalog::open(&place.path).unwrap();
    let ledger = catalog.ledger();
    assert_eq!(
        (of(ledger, 0), of(ledger, 3), of(ledger, 4)),
        (vec![Interval::new(0, 30)], vec![Interval::new(10, 30)], vec![])
    );
    ledger.keep_groups(|group| group.group != 3).unwrap();
    assert_eq!((of(ledger, 0), of(ledger, 3)), (vec![Interval::new(0, 30)], vec![]));
    ledger.forget(SPEND, 50).unwrap();
    assert!(of(ledger, 0).is_empty());
}
