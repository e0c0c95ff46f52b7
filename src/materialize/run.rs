//! The job itself.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use granary_catalog::{Author, Interval, Job, JobWork, NewJob, ObjectId, RefreshWork};
use tokio_util::sync::CancellationToken;

use super::fill::{completes, fills};
use super::job::{cancelled, run_job};
use super::online::{Mode, Useful, write_rows};
use super::quality::Watch;
use super::range::ResolvedRange;
use super::spans::write_spans;
use crate::engine::{
    BoundView, QueryPlanner, RowGroups, RowLayout, RowsRequest, query_rows, stored_rows, stream_of, tile_batches,
};
use crate::error::{Error, Result};
use crate::offline::{BatchStream, Layout, Write, WriteKind};
use crate::warehouse::Warehouse;

/// What one job is to do.
#[derive(Clone)]
pub struct Materialization {
    pub view: Arc<BoundView>,
    pub workspace: ObjectId,
    pub range: ResolvedRange,
    pub online: bool,
    pub offline: bool,
    pub overwrite: bool,
    pub author: Author,
}

/// Puts the job into the ledger, where it is before anything is written. Errors: `ObjectNotInPrerequisiteState` for a
/// range that is done already, `ObjectInUse` while another job works on it.
pub fn register(warehouse: &Warehouse, work: &Materialization) -> Result<Job> {
    let numbers = work.view.group_numbers();
    Ok(warehouse.catalog.ledger().create_job(NewJob {
        work: JobWork::Refresh(RefreshWork {
            view: ObjectId(work.view.id),
            view_name: work.view.name.clone(),
            range: Interval::new(work.range.start_us, work.range.end_us),
            online: work.online,
            offline: work.offline,
            overwrite: work.overwrite,
            groups: if numbers == [0] { Vec::new() } else { numbers },
        }),
        workspace: work.workspace,
        author: work.author.clone(),
    })?)
}

/// Runs a registered job to its end. Errors: the job's own.
pub async fn run(
    warehouse: &Arc<Warehouse>,
    planner: QueryPlanner,
    work: Materialization,
    job: Job,
    cancel: CancellationToken,
) -> Result<()> {
    let both = async {
        tokio::select! {
            result = write_both(warehouse, &planner, &work, &job, &cancel) => result,
            () = cancel.cancelled() => Err(cancelled()),
        }
    };
    run_job(warehouse, &job, &cancel, both).await
}

async fn write_both(
    warehouse: &Arc<Warehouse>,
    planner: &QueryPlanner,
    work: &Materialization,
    job: &Job,
    cancel: &CancellationToken,
) -> Result<()> {
    let ledger = warehouse.catalog.ledger();
    let fills = fills(ledger, work);
    for (fill, part) in fills.iter().flat_map(|fill| fill.parts.iter().map(move |part| (fill, part))) {
        ledger.unfold(fill.view.group_id(), *part)?;
    }
    if let Some(stream) = stream_of(planner, &work.view) {
        // from here on its events are held against the rows of the mirror, which are read now
        warehouse.ingest.claim_mirror(stream).await?;
    }
    let mut rows = 0;
    for fill in &fills {
        for (number, part) in fill.parts.iter().enumerate() {
            let watch = Watch::of(warehouse, planner, work, job)?;
            rows += write_offline(warehouse, planner, &fill.view, (job, number, *part), watch, cancel).await?;
            ledger.progress(job.id, rows, rows)?;
        }
        warehouse.vacuum(&fill.view.offline_table()).await;
        for part in &fill.parts {
            write_spans(warehouse, planner, &fill.view, job, *part, cancel).await?;
        }
    }
    if work.online {
        write_online(warehouse, planner, work, job, completes(&fills, work)).await?;
    }
    Ok(())
}

/// One commit of an offline table: the rows of a part of the job's range, instead of whatever was there.
async fn write_offline(
    warehouse: &Arc<Warehouse>,
    planner: &QueryPlanner,
    view: &Arc<BoundView>,
    (job, number, part): (&Job, usize, Interval),
    watch: Option<Watch>,
    cancel: &CancellationToken,
) -> Result<u64> {
    let layout = view.stored_layout();
    let table = view.offline_table();
    warehouse.offline.create_table(&table, view.row_schema(layout), keyed(view, layout)).await?;
    let range = RowsRequest::Range { start_us: part.start_us, end_us: part.end_us };
    let rows = Watch::over(watch.as_ref(), query_rows(planner, view, range).await?);
    let batches: BatchStream = match layout {
        RowLayout::Events => rows.map_err(Error::from).boxed(),
        RowLayout::Tiles => tile_batches(view, rows)?,
    };
    let batches = Watch::gate(watch, batches);
    let kind = WriteKind::ReplaceRange { start_us: part.start_us, end_us: part.end_us };
    let version = i64::try_from(job.id.0).map_err(|_| Error::internal("job numbers have run out"))?;
    let transaction = if number == 0 { "granary-job".to_owned() } else { format!("granary-job-{number}") };
    let write = Write::new(kind, batches).with_transaction(&transaction, version).with_cancel(cancel.clone());
    Ok(warehouse.offline.write(&table, write).await?.rows_written)
}

/// How rows of a view lie in the offline store.
pub fn keyed(view: &BoundView, layout: RowLayout) -> Layout {
    Layout::Keyed {
        time_column: view.time_column(layout).to_owned(),
        bucket_count: view.buckets,
        key_columns: view.keys.iter().map(|key| key.name.clone()).collect(),
    }
}

/// Reads the range back from the offline tables, so that both stores hold the same, and writes it online. `completes`:
/// rows that are there already are to have more values.
async fn write_online(
    warehouse: &Arc<Warehouse>,
    planner: &QueryPlanner,
    work: &Materialization,
    job: &Job,
    completes: bool,
) -> Result<()> {
    let view = &work.view;
    let now_us = warehouse.clock.now_us();
    let useful = Useful { from_us: useful_from_us(view, warehouse.served_from_us(view, now_us)), now_us };
    let mut range = (work.range.start_us.max(useful.from_us), work.range.end_us);
    let mut mode = Mode::Add;
    if work.overwrite || completes || was_tried_before(warehouse, work, job)? {
        if !view.is_kept_as_items() {
            // The newest row of a key may be gone now, and an older one be its newest: take them all again.
            range = (i64::MIN, i64::MAX);
        }
        mode = Mode::Replace { start_us: range.0, end_us: range.1 };
    }
    if range.0 < range.1 {
        let groups = RowGroups::new(&view.key_types(), stored_rows(planner, view, range).await?)?;
        write_rows(Arc::clone(&warehouse.online), view, groups, useful, mode).await?;
    }
    if work.overwrite && view.kind().is_stream() {
        warehouse.ingest.rebuild(view).await?;
    }
    let online = Arc::clone(&warehouse.online);
    let id = view.id;
    run_blocking(move || {
        if useful.from_us != i64::MIN {
            online.expire(id, useful.from_us)?;
        }
        online.sync()
    })
    .await
}

/// Runs what blocks on a thread where it may.
pub async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("a blocking task died").with_source(error))?
}

/// Rows of earlier times can never be served again: they are older than every window, or than the TTL.
pub fn useful_from_us(view: &BoundView, now_us: i64) -> i64 {
    match view.plan.required_range([now_us]) {
        Some((start_us, _)) => start_us,
        None => i64::MIN,
    }
}

/// Whether an earlier job that did not succeed may have left rows of this range behind.
fn was_tried_before(warehouse: &Warehouse, work: &Materialization, job: &Job) -> Result<bool> {
    use granary_catalog::{JobFilter, JobState};
    let filter = JobFilter { view: Some(ObjectId(work.view.id)), ..JobFilter::default() };
    let range = Interval::new(work.range.start_us, work.range.end_us);
    Ok(warehouse.catalog.ledger().list(&filter)?.iter().any(|earlier| {
        earlier.id != job.id
            && matches!(earlier.state, JobState::Failed | JobState::Cancelled)
            && earlier.request.work.refresh().is_some_and(|earlier| earlier.range.intersection(&range).is_some())
    }))
}
