//! The job itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, TryStreamExt};
use granary_catalog::{
    Author, FeatureView, Interval, Job, JobTrigger, JobWork, LogLevel, NewJob, ObjectId, RefreshWork, Trigger,
};
use granary_sql::timestamp::format_timestamp;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::fill::{completes, fills};
use super::job::{Wait, attempt, cancelled, log};
use super::online::{Mode, Useful, write_rows};
use super::quality::Watch;
use super::range::ResolvedRange;
use super::spans::write_spans;
use crate::access::Asker;
use crate::engine::{
    BoundView, QueryPlanner, RowGroups, RowLayout, RowsRequest, SendableRecordBatchStream, StreamRows, counted,
    query_rows, stored_rows, stream_of, tile_batches,
};
use crate::error::{Error, Kind, Result};
use crate::offline::{BatchStream, Layout, PreparedWrite, Write, WriteKind};
use crate::priority::blocking;
use crate::time::floor_us;
use crate::trace;
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
    let refresh = RefreshWork {
        view: ObjectId(work.view.id),
        view_name: work.view.name.clone(),
        range: Interval::new(work.range.start_us, work.range.end_us),
        online: work.online,
        offline: work.offline,
        overwrite: work.overwrite,
        groups: groups_to_note(work.view.group_numbers()),
    };
    let request = NewJob::new(JobWork::Refresh(refresh), work.workspace, work.author.clone());
    Ok(warehouse.catalog.ledger().create_job(request)?)
}

/// Runs a registered job to its end. Errors: the job's own.
pub async fn run(
    warehouse: &Arc<Warehouse>,
    planner: QueryPlanner,
    work: Materialization,
    job: Job,
    cancel: CancellationToken,
) -> Result<()> {
    attempt_work(warehouse, planner, work, job, cancel, None).await
}

/// One attempt of a job that is tried again if it fails.
pub async fn run_again(
    warehouse: &Arc<Warehouse>,
    (planner, work): (QueryPlanner, Materialization),
    job: Job,
    cancel: CancellationToken,
    wait_us: Wait,
) -> Result<()> {
    attempt_work(warehouse, planner, work, job, cancel, Some(wait_us)).await
}

async fn attempt_work(
    warehouse: &Arc<Warehouse>,
    planner: QueryPlanner,
    work: Materialization,
    job: Job,
    cancel: CancellationToken,
    again: Option<Wait>,
) -> Result<()> {
    let both = async {
        tokio::select! {
            result = write_both(warehouse, &planner, &work, &job, &cancel) => result,
            () = cancel.cancelled() => Err(cancelled()),
        }
    };
    attempt(warehouse, &job, &cancel, again, both).await
}

/// What a registered refresh is to do by what its view is now, in the server's own name. An `Err` inside says why there
/// is nothing to be done any more.
pub fn work_of(
    warehouse: &Arc<Warehouse>,
    job: &Job,
) -> Result<std::result::Result<(QueryPlanner, Materialization), &'static str>> {
    let Some(refresh) = job.request.work.refresh() else {
        return Err(Error::internal(format!("job {} is no refresh", job.id)));
    };
    let snapshot = warehouse.catalog.snapshot();
    let Some(view) = snapshot.get_as::<FeatureView>(refresh.view) else { return Ok(Err("the view is gone")) };
    if view.trigger == Trigger::None {
        return Ok(Err("the view is not materialized any more"));
    }
    let (online, offline) = (refresh.online && view.online, refresh.offline && view.offline);
    if !online && !offline {
        return Ok(Err("the view is not kept in that store any more"));
    }
    let bound = Arc::new(BoundView::of_feature_view(view)?);
    let now = bound.group_numbers();
    let is_stale = job.request.trigger != JobTrigger::Manual && now != refresh.groups();
    if is_stale || !refresh.groups().iter().all(|group| now.contains(group)) {
        return Ok(Err("the view has other columns now"));
    }
    let is_aligned = |at_us: i64| at_us == i64::MIN || floor_us(at_us, unit_us(&bound)) == at_us;
    if !is_aligned(refresh.range.start_us) || !is_aligned(refresh.range.end_us) {
        return Ok(Err("the view has other periods now"));
    }
    let scope = warehouse.scope(job.request.workspace, Vec::new(), Asker::Server);
    let planner = warehouse.planner(scope, warehouse.clock.now_us());
    let planner = if view.kind.is_stream() { planner.with_stream_rows(StreamRows::Mirror) } else { planner };
    let work = Materialization {
        view: bound,
        workspace: job.request.workspace,
        range: ResolvedRange { start_us: refresh.range.start_us, end_us: refresh.range.end_us, notice: None },
        online,
        offline,
        overwrite: refresh.overwrite,
        author: job.request.author.clone(),
    };
    Ok(Ok((planner, work)))
}

/// The groups of columns as a job names them: none where there is but the first.
pub fn groups_to_note(numbers: Vec<u64>) -> Vec<u64> {
    if numbers == [0] { Vec::new() } else { numbers }
}

/// What stored rows of a view are cut at: its tiles, or its periods where it has none.
fn unit_us(view: &BoundView) -> i64 {
    let timing = &view.plan.timing;
    if timing.interval_us > 0 { timing.interval_us } else { timing.schedule_us.max(1) }
}

async fn write_both(
    warehouse: &Arc<Warehouse>,
    planner: &QueryPlanner,
    work: &Materialization,
    job: &Job,
    cancel: &CancellationToken,
) -> Result<()> {
    check_is_current(warehouse, &work.view)?;
    let range = Interval::new(work.range.start_us, work.range.end_us);
    log(warehouse, job, LogLevel::Info, format!("source range {}", told_range(range)));
    let ledger = warehouse.catalog.ledger();
    let fills = fills(ledger, work);
    for (fill, part) in fills.iter().flat_map(|fill| fill.parts.iter().map(move |part| (fill, part))) {
        ledger.unfold(fill.view.group_id(), *part)?;
    }
    if let Some(stream) = stream_of(planner, &work.view) {
        // from here on its events are held against the rows of the mirror, which are read now
        warehouse.ingest.claim_mirror(stream).await?;
    }
    let completes = completes(&fills, work);
    let watch = Watch::of(warehouse, planner, (work, &fills), job);
    let (mut read, mut rows) = (0, 0);
    let mut waiting = Vec::new();
    for (place, fill) in fills.iter().enumerate() {
        let mut of_group = 0;
        for part in &fill.parts {
            let over = |rows| Watch::over(watch.as_ref(), place, rows);
            let (has_read, write) = write_offline(warehouse, planner, &fill.view, *part, over, cancel).await?;
            of_group += has_read;
            if fill.parts == [range] {
                waiting.push(write);
            } else {
                // nobody asks for what was not there before, until the job has succeeded
                rows += warehouse.offline.commit(write).await?.rows_written;
            }
            ledger.progress(job.id, read + of_group, rows)?;
        }
        read += of_group;
        // each group reads the same rows; of a job that completes others they are not those that the others have seen
        if !completes {
            ledger.note_source_rows(job.id, of_group);
        }
    }
    if let Some(watch) = watch {
        watch.finish().await?;
    }
    for write in waiting {
        rows += warehouse.offline.commit(write).await?.rows_written;
        ledger.progress(job.id, read, rows)?;
    }
    for fill in &fills {
        warehouse.vacuum(&fill.view.offline_table()).await;
        for part in &fill.parts {
            write_spans(warehouse, planner, &fill.view, job, *part, cancel).await?;
        }
    }
    log(warehouse, job, LogLevel::Info, format!("{read} rows read, {rows} written to the offline store"));
    if work.online {
        let rows = write_online(warehouse, planner, work, completes).await?;
        log(warehouse, job, LogLevel::Info, format!("{rows} rows written to the online store"));
    }
    Ok(())
}

/// Whoever gives a view's stores up after its definition has changed waits for jobs that the ledger says are running.
/// So one that begins after that must not write: it looks once more at what it is about.
fn check_is_current(warehouse: &Warehouse, view: &BoundView) -> Result<()> {
    let snapshot = warehouse.catalog.snapshot();
    let now = snapshot.get_as::<FeatureView>(ObjectId(view.id)).map(BoundView::of_feature_view).transpose()?;
    if now.is_some_and(|now| view.groups.iter().all(|group| now.groups.contains(group))) {
        return Ok(());
    }
    let message = format!("feature view \"{}\" was changed or dropped meanwhile", view.name);
    Err(Error::new(Kind::ObjectNotInPrerequisiteState, message))
}

fn told_range(range: Interval) -> String {
    let start = match range.start_us {
        i64::MIN => "the beginning".to_owned(),
        start_us => format_timestamp(start_us),
    };
    format!("from {start} to {}", format_timestamp(range.end_us))
}

/// One write of an offline table, up to its commit: the rows of a part of the job's range, instead of whatever was there.
/// Gives how many rows its query had, too. `over` sees them pass.
async fn write_offline(
    warehouse: &Arc<Warehouse>,
    planner: &QueryPlanner,
    view: &Arc<BoundView>,
    part: Interval,
    over: impl FnOnce(SendableRecordBatchStream) -> SendableRecordBatchStream,
    cancel: &CancellationToken,
) -> Result<(u64, PreparedWrite)> {
    let layout = view.stored_layout();
    let table = view.offline_table();
    warehouse.offline.create_table(&table, view.row_schema(layout), keyed(view, layout)).await?;
    let range = RowsRequest::Range { start_us: part.start_us, end_us: part.end_us };
    let read = Arc::new(AtomicU64::new(0));
    let rows = over(counted(query_rows(planner, view, range).await?, Arc::clone(&read)));
    let batches: BatchStream = match layout {
        RowLayout::Events => rows.map_err(Error::from).boxed(),
        RowLayout::Tiles => tile_batches(view, rows)?,
    };
    let kind = WriteKind::ReplaceRange { start_us: part.start_us, end_us: part.end_us };
    // written anew by each attempt: jobs end in any order, so that a version of the table tells of none of them
    let write = Write::new(kind, batches).with_cancel(cancel.clone());
    let prepared = warehouse.offline.prepare(&table, write).await?;
    Ok((read.load(Ordering::Relaxed), prepared))
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
    completes: bool,
) -> Result<u64> {
    let view = &work.view;
    let own = Interval::new(work.range.start_us, work.range.end_us);
    let now_us = warehouse.clock.now_us();
    let useful = Useful { from_us: useful_from_us(view, warehouse.served_from_us(view, now_us)), now_us };
    let mut range = (work.range.start_us.max(useful.from_us), work.range.end_us);
    let mut mode = Mode::Add;
    if work.overwrite || completes || warehouse.catalog.ledger().was_tried(ObjectId(view.id), own) {
        if !view.is_kept_as_items() {
            // The newest row of a key may be gone now, and an older one be its newest: take them all again.
            range = (i64::MIN, i64::MAX);
        }
        mode = Mode::Replace { start_us: range.0, end_us: range.1 };
    }
    // One job of a view at a time: to replace newest rows is to read all of them first, which others must not add to
    // meanwhile.
    let writing = warehouse.writing(view.id);
    let _one_at_a_time = writing.lock().await;
    let mut rows = 0;
    if range.0 < range.1 {
        let groups = RowGroups::new(&view.key_types(), stored_rows(planner, view, range).await?)?;
        let span = trace::store("online write", || view.name.clone());
        rows = write_rows(Arc::clone(&warehouse.online), view, groups, useful, mode).instrument(span).await?;
    }
    if work.overwrite && view.kind().is_stream() {
        warehouse.ingest.rebuild(view).await?;
    }
    let online = Arc::clone(&warehouse.online);
    let id = view.id;
    blocking(move || {
        if useful.from_us != i64::MIN {
            online.expire(id, useful.from_us)?;
        }
        online.sync()
    })
    .await?;
    Ok(rows)
}

/// Rows of earlier times can never be served again: they are older than every window, or than the TTL.
pub fn useful_from_us(view: &BoundView, now_us: i64) -> i64 {
    match view.plan.required_range([now_us]) {
        Some((start_us, _)) => start_us,
        None => i64::MIN,
    }
}
