//! The scheduler at work: wakes when something is due, makes the jobs that are owed, and runs attempts on the threads of
//! queries, which leave the cores to whoever serves.
//!
//! Everything that it goes by is in the ledger and in the catalog. What runs when the server stops is begun again at the
//! next start.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use granary_catalog::{
    Author, FeatureView, GroupId, Interval, IntervalSet, Job, JobError, JobId, JobState, JobWork, Ledger, NewJob,
    ObjectId, Outcome, RefreshWork, Snapshot, StoreKind, Trigger, ViewKind,
};
use granary_sql::name::canonical;
use granary_sql::timestamp::format_timestamp;
use sqlparser::ast::{Ident, ObjectName};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::due::{OwedJob, ScheduledView};
use super::maintenance;
use super::queue::{Limits, Turns, next_attempt_us, next_jobs, wait_us};
use super::steady::SteadyTime;
use crate::engine::BoundView;
use crate::error::{Error, Result};
use crate::materialize;
use crate::statement::DEFAULT_MAX_ATTEMPTS;
use crate::time::{Stopwatch, floor_us, until};
use crate::warehouse::Warehouse;

/// So often it looks, if nobody tells it anything: also at a clock that was set.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// Runs until `shutdown`; what runs then is given up, to be begun again at the next start.
pub async fn run(warehouse: Arc<Warehouse>, limits: Limits, shutdown: CancellationToken) {
    let stopwatch = Stopwatch::start();
    let mut changes = warehouse.jobs.listen();
    let mut scheduler = Scheduler {
        time: SteadyTime::new(warehouse.clock.now_us(), stopwatch.elapsed()),
        views: Views::default(),
        turns: Turns::default(),
        attempts: JoinSet::new(),
        running: HashMap::new(),
        limits,
        warehouse,
    };
    loop {
        changes.borrow_and_update();
        let now_us = scheduler.time.believe(scheduler.warehouse.clock.now_us(), stopwatch.elapsed());
        let wait = match scheduler.step(now_us) {
            Ok(wake_us) => until(now_us, wake_us, LOOK_INTERVAL),
            Err(error) => {
                tracing::error!(%error, "the scheduler cannot make or begin jobs, and tries again");
                LOOK_INTERVAL
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(ended) = scheduler.attempts.join_next_with_id(), if !scheduler.attempts.is_empty() => {
                scheduler.note_end(ended);
            }
            heard = changes.changed() => {
                if heard.is_err() {
                    break;
                }
            }
            () = tokio::time::sleep(wait) => {}
        }
    }
    scheduler.attempts.shutdown().await;
}

struct Scheduler {
    warehouse: Arc<Warehouse>,
    limits: Limits,
    time: SteadyTime,
    views: Views,
    turns: Turns,
    attempts: JoinSet<()>,
    running: HashMap<tokio::task::Id, JobId>,
}

impl Scheduler {
    /// Makes and begins what is due; gives when something else will be.
    fn step(&mut self, now_us: i64) -> Result<Option<i64>> {
        let warehouse = Arc::clone(&self.warehouse);
        let ledger = warehouse.catalog.ledger();
        let views = self.views.now(&warehouse);
        let mut wake_us = None;
        if warehouse.schedules {
            let active = ledger.active();
            let active: Vec<&Job> = active.iter().collect();
            let mut wanted = Vec::new();
            for view in views.values() {
                let owed = view.owed(now_us, &active).into_iter();
                wanted.extend(owed.filter_map(|owed| self.views.request(view.id, owed, now_us)));
            }
            if !wanted.is_empty() {
                ledger.create_jobs(wanted)?;
            }
            wake_us = views.values().filter_map(|view| view.next_complete_us(now_us)).min();
        }
        let active = ledger.active();
        let jobs: Vec<&Job> = active.iter().collect();
        for job in next_jobs(now_us, &views, &jobs, &mut self.turns, self.limits, warehouse.schedules) {
            self.begin(job)?;
        }
        Ok(wake_us.into_iter().chain(next_attempt_us(now_us, &jobs)).min())
    }

    fn begin(&mut self, id: JobId) -> Result<()> {
        let warehouse = Arc::clone(&self.warehouse);
        let ledger = warehouse.catalog.ledger();
        // somebody may have taken it back meanwhile
        let job = ledger.get(id)?;
        if job.state != JobState::Queued {
            return Ok(());
        }
        let cancel = CancellationToken::new();
        let running = Arc::clone(&warehouse);
        let attempt: BoxFuture<'static, Result<()>> = match &job.request.work {
            JobWork::Refresh(_) => match materialize::work_of(&warehouse, &job) {
                Ok(Ok(work)) => {
                    async move { materialize::run_again(&running, work, job, cancel, wait_us).await }.boxed()
                }
                Ok(Err(why)) => return Ok(ledger.take_back(id, why, warehouse.clock.now_us())?),
                Err(error) => return self.refuse(id, &error),
            },
            JobWork::Maintenance(_) => async move { maintenance::run(&running, job, cancel, wait_us).await }.boxed(),
            JobWork::Dataset(_) | JobWork::Forget(_) | JobWork::Optimize(_) => {
                let what = format!("a {} by the scheduler", job.request.work.kind());
                return self.refuse(id, &Error::not_supported(what));
            }
        };
        let attempt = async move {
            if let Err(error) = attempt.await {
                tracing::warn!(job = %id, %error, "a job's attempt has not succeeded");
            }
        };
        let task = self.attempts.spawn_on(attempt, warehouse.engine.threads());
        self.running.insert(task.id(), id);
        Ok(())
    }

    /// An attempt that fails before it does anything.
    fn refuse(&self, job: JobId, error: &Error) -> Result<()> {
        self.warehouse.catalog.ledger().start_attempt(job, self.warehouse.clock.now_us())?;
        self.fail(job, error.sqlstate(), error.message())
    }

    /// An attempt that has died is one that has failed.
    fn note_end(&mut self, ended: std::result::Result<(Id, ()), JoinError>) {
        let task = match &ended {
            Ok((task, ())) => *task,
            Err(error) => error.id(),
        };
        let Some(job) = self.running.remove(&task) else { return };
        if ended.is_err()
            && let Err(error) = self.fail(job, "XX000", "the task of the attempt died")
        {
            tracing::error!(%job, %error, "the end of an attempt could not be noted");
        }
    }

    fn fail(&self, job: JobId, sqlstate: &str, message: &str) -> Result<()> {
        let ledger = self.warehouse.catalog.ledger();
        let now_us = self.warehouse.clock.now_us();
        let job = ledger.get(job)?;
        if job.state == JobState::Running {
            let error = JobError { sqlstate: sqlstate.to_owned(), message: message.to_owned() };
            let failures = job.failures + 1;
            match failures < job.request.max_attempts {
                true => ledger.fail_attempt(job.id, error, now_us, now_us.saturating_add(wait_us(job.id, failures)))?,
                false => ledger.finish(job.id, Outcome::Failed(error), now_us)?,
            };
        }
        self.warehouse.jobs.ended(job.id);
        Ok(())
    }
}

/// What a version of the catalog says of its feature views.
#[derive(Default)]
struct Views {
    snapshot: Option<Arc<Snapshot>>,
    views: BTreeMap<ObjectId, Known>,
}

struct Known {
    view: ScheduledView,
    workspace: ObjectId,
    owner: String,
    name: String,
    schema: String,
    max_attempts: u32,
    groups: Vec<u64>,
}

impl Views {
    /// The views of live workspaces with what is materialized of them by now.
    fn now(&mut self, warehouse: &Warehouse) -> BTreeMap<ObjectId, ScheduledView> {
        let snapshot = warehouse.catalog.snapshot();
        if self.snapshot.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &snapshot)) {
            let views = snapshot.all::<FeatureView>().into_iter();
            self.views = views.filter_map(|view| Some((view.header.id, known(&snapshot, view)?))).collect();
            self.snapshot = Some(snapshot);
        }
        let ledger = warehouse.catalog.ledger();
        let now = |(id, known): (&ObjectId, &Known)| {
            let view = ScheduledView {
                done_online: ledger.ranges_of_all(*id, &known.groups, StoreKind::Online),
                done_offline: ledger.ranges_of_all(*id, &known.groups, StoreKind::Offline),
                given_up: ledger.given_up(*id),
                reached_us: known.reached_us(ledger),
                ..known.view.clone()
            };
            (*id, view)
        };
        self.views.iter().map(now).collect()
    }

    fn request(&self, view: ObjectId, owed: OwedJob, now_us: i64) -> Option<NewJob> {
        let known = self.views.get(&view)?;
        let work = JobWork::Refresh(RefreshWork {
            view,
            view_name: known.name.clone(),
            range: owed.range,
            online: owed.online,
            offline: owed.offline,
            overwrite: false,
            groups: materialize::groups_to_note(known.groups.clone()),
        });
        let author = Author { role: known.owner.clone(), at_us: now_us, statement: known.statement(owed) };
        let job = NewJob::new(work, known.workspace, author);
        Some(NewJob { trigger: owed.trigger, managed: true, max_attempts: known.max_attempts, ..job })
    }
}

impl Known {
    fn reached_us(&self, ledger: &Ledger) -> Option<i64> {
        let groups = self.groups.iter().map(|group| GroupId::new(self.view.id, *group));
        let ranges = groups.flat_map(|group| StoreKind::ALL.map(|store| ledger.ranges(group, store)));
        ranges.filter_map(|ranges| ranges.iter().last().map(|last| last.end_us)).max()
    }

    /// What would do the same by hand.
    fn statement(&self, owed: OwedJob) -> String {
        let part = |name: &str| canonical(&Ident::with_quote('"', name));
        let name = ObjectName::from(vec![part(&self.schema), part(&self.name)]);
        let Interval { start_us, end_us } = owed.range;
        let from = if start_us == i64::MIN { String::new() } else { format!(" FROM '{}'", format_timestamp(start_us)) };
        let store = match (owed.online, owed.offline) {
            (true, false) => " ONLINE",
            (false, true) => " OFFLINE",
            _ => "",
        };
        format!("REFRESH FEATURE VIEW {name}{from} TO '{}'{store}", format_timestamp(end_us))
    }
}

/// None of a view that is not materialized.
fn known(snapshot: &Snapshot, view: &FeatureView) -> Option<Known> {
    let workspace = view.header.home.workspace().filter(|workspace| snapshot.is_live(Some(*workspace)))?;
    let bound = match BoundView::of_feature_view(view) {
        Ok(bound) => bound,
        Err(error) => {
            tracing::warn!(view = view.header.name, %error, "a view whose rows cannot be read is not scheduled");
            return None;
        }
    };
    let timing = &bound.plan.timing;
    let is_stream = view.kind.is_stream();
    let period_us = match view.kind {
        ViewKind::BatchAttributes | ViewKind::BatchAggregates => timing.schedule_us,
        ViewKind::StreamTiled => timing.interval_us,
        ViewKind::StreamAttributes | ViewKind::StreamContinuous => 1,
    };
    let until_us = match is_stream {
        true => snapshot.stream_among(&view.depends_on)?.backfill?.until_us,
        false => i64::MAX,
    };
    let first_us = timing.materialized_from(&bound.plan.windows());
    let schema = view.header.home.schema().and_then(|schema| snapshot.get(schema));
    Some(Known {
        view: ScheduledView {
            id: view.header.id,
            is_stream,
            period_us,
            delay_us: if is_stream { 0 } else { timing.delay_us },
            first_us: first_us.map_or(i64::MIN, |first_us| floor_us(first_us, period_us)),
            until_us,
            online: view.online,
            offline: view.offline,
            max_backfill_us: view.max_backfill_interval_us,
            is_scheduled: view.trigger == Trigger::Scheduled,
            is_paused: view.paused,
            done_online: IntervalSet::default(),
            done_offline: IntervalSet::default(),
            given_up: IntervalSet::default(),
            reached_us: None,
        },
        workspace,
        owner: view.header.owner.clone(),
        name: view.header.name.clone(),
        schema: schema.map_or_else(String::new, |schema| schema.name().to_owned()),
        max_attempts: view.max_attempts.unwrap_or(DEFAULT_MAX_ATTEMPTS),
        groups: view.group_numbers(),
    })
}
