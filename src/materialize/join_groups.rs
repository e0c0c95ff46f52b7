//! The groups of columns of a view's stored rows into one, as a job: one table has what several had, without the columns
//! that no feature needs any more. Rows of the online store stay as they are.
//!
//! The new table is complete, and the ledger says so, before the commit that gives it to the view. Of a crash before that
//! commit the next start finds a table and ranges of no view, and removes them; after it, those of the old groups.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use granary_catalog::{
    Author, Change, ColumnGroup, FeatureView, GroupId, Interval, Job, JobWork, NewJob, ObjectId, OptimizeWork, Step,
    StoreKind, Version, ViewStorage,
};
use tokio_util::sync::CancellationToken;

use super::job::{cancelled, run_job};
use super::run::keyed;
use super::spans::write_spans;
use crate::engine::{BoundView, QueryPlanner, fingerprint_of, sorted_stored_rows};
use crate::error::{Error, Kind, Result};
use crate::offline::{BatchStream, Write, WriteKind};
use crate::warehouse::Warehouse;

/// What is to be joined, and who asked for it.
pub struct Joining {
    pub view: FeatureView,
    pub storage: ViewStorage,
    /// what the statement saw
    pub base: Version,
    pub planner: QueryPlanner,
    pub workspace: ObjectId,
    pub author: Author,
}

/// Registers the job and runs it. Gives the catalog before and after its commit. Errors: `ObjectInUse` while another job of
/// the view runs; 55000 while a group lacks rows that others have; the job's own.
pub async fn join_groups(warehouse: &Arc<Warehouse>, joining: Joining, cancel: &CancellationToken) -> Result<Step> {
    let bound = BoundView::of_feature_view(&joining.view)?;
    check_filled(warehouse, &bound, &bound.group_numbers())?;
    let header = &joining.view.header;
    let work = OptimizeWork { view: header.id, view_name: header.name.clone() };
    let (workspace, author) = (joining.workspace, joining.author.clone());
    let job = warehouse.catalog.ledger().create_job(NewJob::new(JobWork::Optimize(work), workspace, author))?;
    let work = async {
        tokio::select! {
            result = join(warehouse, &joining, &job, cancel) => result,
            () = cancel.cancelled() => Err(cancelled()),
        }
    };
    run_job(warehouse, &job, cancel, work).await
}

async fn join(warehouse: &Arc<Warehouse>, joining: &Joining, job: &Job, cancel: &CancellationToken) -> Result<Step> {
    let (ledger, offline) = (warehouse.catalog.ledger(), &warehouse.offline);
    let view = BoundView::of_feature_view(&joining.view)?;
    let numbers = view.group_numbers();
    check_filled(warehouse, &view, &numbers)?;
    let joined = FeatureView { storage: Some(joined_storage(joining)?), ..joining.view.clone() };
    let group = Arc::new(BoundView::of_feature_view(&joined)?.stored());
    let (id, table, layout) = (group.group_id(), group.offline_table(), group.stored_layout());
    // whatever an attempt before has left
    ledger.forget_group(id)?;
    for table in warehouse.tables_of_rows(&group)? {
        offline.drop_table(&table).await?;
    }
    offline.create_table(&table, group.row_schema(layout), keyed(&group, layout)).await?;
    let rows = sorted_stored_rows(&joining.planner, &view, &group).await?;
    let rows: BatchStream = rows.map_err(Error::from).boxed();
    let write = Write::new(WriteKind::Append, rows).with_cancel(cancel.clone());
    let written = offline.write(&table, write).await?.rows_written;
    ledger.progress(job.id, written, written)?;
    ledger.take_over(id, &numbers)?;
    for range in ledger.ranges(id, StoreKind::Offline).iter().collect::<Vec<Interval>>() {
        write_spans(warehouse, &joining.planner, &group, job, range, cancel).await?;
    }
    Ok(warehouse.catalog.commit_step(joining.base, &joining.author, vec![Change::put(joined)])?)
}

/// The new table must say of every range either that it has it or that it has not.
fn check_filled(warehouse: &Warehouse, view: &BoundView, numbers: &[u64]) -> Result<()> {
    let ledger = warehouse.catalog.ledger();
    let of = |group: u64, store| ledger.ranges(GroupId::new(ObjectId(view.id), group), store);
    let is_same = |store| numbers.windows(2).all(|pair| of(pair[0], store) == of(pair[1], store));
    if StoreKind::ALL.into_iter().all(is_same) {
        return Ok(());
    }
    let message = format!("features of \"{}\" are not stored yet for ranges that others are stored for", view.name);
    Err(Error::new(Kind::ObjectNotInPrerequisiteState, message)
        .with_hint(format!("first REFRESH FEATURE VIEW {}", view.name)))
}

fn joined_storage(joining: &Joining) -> Result<ViewStorage> {
    let mut storage = joining.storage.clone();
    let number = storage.next_group;
    storage.next_group += 1;
    storage.groups = vec![ColumnGroup { number, fingerprint: fingerprint_of(&joining.view, number)? }];
    for column in &mut storage.columns {
        column.group = column.group.filter(|_| !column.dropped).map(|_| number);
    }
    Ok(storage)
}
