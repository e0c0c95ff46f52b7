//! Everything of some keys out of both stores, as a job: the right to be forgotten.
//!
//! Online first, so that nothing is served any more; then the events of a stream, which other views lose, too; then the
//! stored rows, and the spans folded from them. Each step is
//! final and finds nothing when it is done once more: killed anywhere and run again, it ends the same. The ledger lets no
//! refresh of the view run meanwhile, and a feature table takes no writes.

use std::collections::HashSet;
use std::sync::Arc;

use granary_catalog::{Author, ForgetWork, Job, JobWork, NewJob, ObjectId};
use tokio_util::sync::CancellationToken;

use super::job::{cancelled, run_job};
use crate::engine::BoundView;
use crate::error::{Error, Result};
use crate::priority::blocking;
use crate::row::Key;
use crate::warehouse::Warehouse;

/// What is to be forgotten, and who asked for it.
pub struct Forgetting {
    pub view: Arc<BoundView>,
    pub workspace: ObjectId,
    pub keys: HashSet<Key>,
    /// its statement must not name the keys: the ledger keeps it
    pub author: Author,
}

/// Registers the job and runs it in a task of its own. Gives how many of the keys had anything. Errors: `ObjectInUse`
/// while another job of the view runs; the job's own.
pub async fn forget(warehouse: &Arc<Warehouse>, forgetting: Forgetting, cancel: CancellationToken) -> Result<u64> {
    let Forgetting { view, workspace, keys, author } = forgetting;
    let work = ForgetWork { view: ObjectId(view.id), view_name: view.name.clone(), keys: keys.len() as u64 };
    let job = warehouse.catalog.ledger().create_job(NewJob::new(JobWork::Forget(work), workspace, author))?;
    let warehouse = Arc::clone(warehouse);
    let task = tokio::spawn(async move {
        let work = remove(&warehouse, &job, &view, keys, &cancel);
        run_job(&warehouse, &job, &cancel, work).await
    });
    task.await.map_err(|error| Error::internal("a job's task died").with_source(error))?
}

async fn remove(
    warehouse: &Arc<Warehouse>,
    job: &Job,
    view: &Arc<BoundView>,
    keys: HashSet<Key>,
    cancel: &CancellationToken,
) -> Result<u64> {
    let writing = warehouse.writing(view.id);
    let _no_writes = tokio::select! {
        guard = writing.lock() => guard,
        () = cancel.cancelled() => return Err(cancelled()),
    };
    let (online, id) = (Arc::clone(&warehouse.online), view.id);
    let removed = blocking(move || {
        // one that is longer than the store takes is not there
        let storable = keys.iter().filter(|key| key.length().is_ok());
        let found: HashSet<Key> = online.remove_keys(id, storable)?.into_iter().cloned().collect();
        online.sync()?;
        Ok((keys, found))
    })
    .await;
    // also where some could not be removed
    warehouse.keys_are_forgotten();
    let (keys, mut found) = removed?;
    let mut rows = 0;
    if view.kind().is_stream() && view.query.is_some() {
        found.extend(warehouse.ingest.forget(view, &keys, cancel).await?);
    }
    for table in warehouse.tables_of_rows(view)? {
        let removed = warehouse.offline.remove_keys(&table, &keys, cancel).await?;
        rows += removed.rows;
        found.extend(removed.keys);
        warehouse.catalog.ledger().progress(job.id, rows, rows)?;
        // at once, whoever else may read them: only versions that a query of this server holds keep their files
        warehouse.offline.vacuum(&table, i64::MAX).await?;
    }
    Ok(found.len() as u64)
}
