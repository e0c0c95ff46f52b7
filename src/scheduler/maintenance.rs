//! What keeps the stores in order, as jobs: to merge files where that pays, to remove those that were given up, rows that
//! have expired; and the ledger itself, which lets old jobs go.
//!
//! Only what has done something is a job that can be seen. To look is cheap: the logs of tables, no rows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use granary_catalog::{
    Author, Job, JobTrigger, JobWork, LogLevel, MaintenanceTask, MaintenanceWork, NewJob, Object, ObjectId, Outcome,
};
use tokio_util::sync::CancellationToken;

use super::late;
use crate::error::{Error, Result};
use crate::materialize::{self, Wait};
use crate::statement::{DEFAULT_MAX_ATTEMPTS, merge_all, stored_of, superfluous_files};
use crate::warehouse::{LONGEST_READ_US, Warehouse};

/// Files are merged where there are so many more than there need to be.
const SUPERFLUOUS_FILES: usize = 32;
/// What expires of a view is told once in so long.
const EXPIRY_TOLD_US: i64 = 24 * 3600 * 1_000_000;
/// Ended jobs stay listed for so long.
const JOBS_KEPT_US: i64 = 90 * 24 * 3600 * 1_000_000;
/// So many old jobs go in one commit.
const PRUNED_AT_ONCE: u64 = 1000;

/// What was told of a view's expiry: when, and how many rows since the start.
type Told = HashMap<ObjectId, (i64, u64)>;

/// Looks again and again, until `shutdown`.
pub async fn keep(warehouse: Arc<Warehouse>, interval: Duration, shutdown: CancellationToken) {
    let mut told = Told::new();
    while shutdown.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
        if !warehouse.schedules {
            continue;
        }
        if shutdown.run_until_cancelled(look(&warehouse, &mut told)).await.is_none() {
            return;
        }
    }
}

async fn look(warehouse: &Arc<Warehouse>, told: &mut Told) {
    let snapshot = warehouse.catalog.snapshot();
    for object in snapshot.objects() {
        let is_kept = matches!(object.as_ref(), Object::FeatureView(_) | Object::FeatureTable(_));
        if !is_kept || !snapshot.is_live(object.home().workspace()) {
            continue;
        }
        if let Object::FeatureView(view) = object.as_ref()
            && let Err(error) = late::look(warehouse, view).await
        {
            tracing::warn!(view = object.name(), %error, "whether rows came too late could not be seen");
        }
        if let Err(error) = tend(warehouse, object, told).await {
            tracing::warn!(view = object.name(), %error, "what a view has stored could not be tended");
        }
    }
    if let Err(error) = prune(warehouse) {
        tracing::warn!(%error, "old jobs could not be removed");
    }
}

async fn tend(warehouse: &Arc<Warehouse>, object: &Arc<Object>, told: &mut Told) -> Result<()> {
    let Some(stored) = stored_of(warehouse, object)? else { return Ok(()) };
    let mut removed = 0;
    for table in &stored.tables {
        removed += warehouse.remove_files(table, LONGEST_READ_US).await?;
    }
    if removed > 0 {
        record(warehouse, object, MaintenanceTask::Vacuum, removed as u64, "files removed")?;
    }
    let now_us = warehouse.clock.now_us();
    if let Some(expired) = warehouse.expiry.of(object.id()) {
        let (at_us, rows) = told.get(&object.id()).copied().unwrap_or((i64::MIN, 0));
        if expired.rows_total > rows && at_us.saturating_add(EXPIRY_TOLD_US) <= now_us {
            let rows = expired.rows_total - rows;
            record(warehouse, object, MaintenanceTask::Expire, rows, "rows removed from the online store")?;
            told.insert(object.id(), (now_us, expired.rows_total));
        }
    }
    if superfluous_files(warehouse, &stored.tables).await? >= SUPERFLUOUS_FILES {
        let request = request(warehouse, object, MaintenanceTask::Optimize)?;
        let request = NewJob { managed: true, max_attempts: DEFAULT_MAX_ATTEMPTS, ..request };
        // refused while there is one already
        warehouse.catalog.ledger().create_jobs(vec![request])?;
        warehouse.jobs.has_changed();
    }
    Ok(())
}

fn prune(warehouse: &Warehouse) -> Result<()> {
    let before_us = warehouse.clock.now_us().saturating_sub(JOBS_KEPT_US);
    while warehouse.catalog.ledger().prune(before_us, PRUNED_AT_ONCE)? == PRUNED_AT_ONCE {}
    Ok(())
}

fn request(warehouse: &Warehouse, object: &Object, task: MaintenanceTask) -> Result<NewJob> {
    let header = object.header();
    let workspace = object.home().workspace().ok_or_else(|| Error::internal("a view is in no workspace"))?;
    let work = MaintenanceWork { task, view: object.id(), view_name: header.name.clone() };
    let statement = match task {
        MaintenanceTask::Optimize => format!("OPTIMIZE {}", header.name),
        MaintenanceTask::Vacuum => format!("VACUUM {}", header.name),
        MaintenanceTask::Expire => String::new(),
    };
    let author = Author { role: header.owner.clone(), at_us: warehouse.clock.now_us(), statement };
    Ok(NewJob { trigger: JobTrigger::Maintenance, ..NewJob::new(JobWork::Maintenance(work), workspace, author) })
}

/// A job for what has been done just now.
fn record(warehouse: &Warehouse, object: &Object, task: MaintenanceTask, count: u64, what: &str) -> Result<()> {
    let ledger = warehouse.catalog.ledger();
    let job = ledger.create_job(request(warehouse, object, task)?)?;
    let now_us = warehouse.clock.now_us();
    ledger.start_attempt(job.id, now_us)?;
    ledger.log(job.id, now_us, LogLevel::Info, format!("{count} {what}"))?;
    ledger.finish(job.id, Outcome::Succeeded, now_us)?;
    warehouse.jobs.has_changed();
    Ok(())
}

/// One attempt of a job that merges files. Errors: the job's own.
pub async fn run(warehouse: &Arc<Warehouse>, job: Job, cancel: CancellationToken, wait_us: Wait) -> Result<()> {
    let work = async {
        let JobWork::Maintenance(MaintenanceWork { task: MaintenanceTask::Optimize, view, .. }) = &job.request.work
        else {
            return Err(Error::internal(format!("job {} does not merge files", job.id)));
        };
        let snapshot = warehouse.catalog.snapshot();
        // nothing is to be done for one that is gone
        let Some(object) = snapshot.get(*view) else { return Ok(()) };
        let Some(stored) = stored_of(warehouse, object)? else { return Ok(()) };
        let merged = merge_all(warehouse, &stored.tables, &cancel).await?;
        let told = format!("{} files became {}", merged.from, merged.to);
        materialize::log(warehouse, &job, LogLevel::Info, told);
        Ok(())
    };
    let stoppable = async {
        tokio::select! {
            result = work => result,
            () = cancel.cancelled() => Err(materialize::cancelled()),
        }
    };
    materialize::attempt(warehouse, &job, &cancel, Some(wait_us), stoppable).await
}
