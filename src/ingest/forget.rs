//! Events out of everything, because a feature view makes rows of keys of them that are to be forgotten.
//!
//! First the log is flushed and lets go of all that it has, while nothing is appended, so that events are in the offline
//! store alone. Then their rows leave the online store, those of every view of the stream, then the events the offline
//! store, in one commit, then the rows that joined views have made of them, in one commit a view: those of the view by whose
//! rows they are found last. Each step is final and finds nothing when it is done once more.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int64Type, SchemaRef};
use futures::{StreamExt, TryStreamExt};
use granary_catalog::StreamIngest;
use tokio_util::sync::CancellationToken;

use super::online::{item_rows, views_of};
use super::{Ingest, blocking, planner};
use crate::engine::{
    ARRIVAL, BoundView, OFFSET, RowLayout, event_rows, event_schema, events_table, offset_of_arrival, rows_in_order,
};
use crate::error::{Error, Result};
use crate::offline::{Write, WriteKind};
use crate::online::ItemRow;
use crate::row::Key;

/// Items that are removed in one call of the online store.
const ITEMS_AT_ONCE: usize = 10_000;

impl Ingest {
    /// Removes the events that `view` makes rows of these keys of, and all that any view made of them; gives the keys that
    /// had some. What is appended meanwhile stays, and where a stream is read from elsewhere, so does what is there.
    pub async fn forget(
        &self,
        view: &BoundView,
        keys: &HashSet<Key>,
        cancel: &CancellationToken,
    ) -> Result<HashSet<Key>> {
        let snapshot = self.stores.catalog.snapshot();
        let stream = snapshot.stream_among(&view.depends_on);
        let Some((stream, log)) = stream.and_then(|stream| Some((stream, self.opened(stream.header.id)?))) else {
            return Ok(HashSet::new());
        };
        if log.log.end() == 0 {
            return Ok(HashSet::new());
        }
        let _flushing = log.flushing.lock().await;
        {
            let _no_appends = log.appending.write().await;
            self.flush_locked(&log).await?;
            if stream.ingest != StreamIngest::Push {
                self.keep_positions(&log).await?;
            }
            let log = Arc::clone(&log);
            blocking(move || log.log.remove_before(log.flushed.load(Ordering::Acquire))).await?;
        }
        let planner = planner(&self.stores, &snapshot, stream, self.clock.now_us())?;
        let (mut doomed, mut found) = (BTreeSet::new(), HashSet::new());
        let Some(mut rows) = event_rows(&planner, view).await? else { return Ok(found) };
        while let Some(batch) = rows.try_next().await? {
            for row in item_rows(view, &batch)?.into_iter().filter(|row| keys.contains(&row.key)) {
                doomed.insert(offset_of_arrival(row.sequence));
                found.insert(row.key);
            }
        }
        if doomed.is_empty() {
            return Ok(found);
        }
        for (view, is_online) in views_of(&snapshot, stream)? {
            let Some(mut rows) = event_rows(&planner, &view).await?.filter(|_| is_online) else { continue };
            let mut items = Vec::new();
            while let Some(batch) = rows.try_next().await? {
                items.extend(
                    item_rows(&view, &batch)?
                        .into_iter()
                        .filter(|row| doomed.contains(&offset_of_arrival(row.sequence))),
                );
                if items.len() >= ITEMS_AT_ONCE {
                    self.remove_items(&view, std::mem::take(&mut items)).await?;
                }
            }
            self.remove_items(&view, items).await?;
        }
        let online = Arc::clone(&self.stores.online);
        blocking(move || online.sync()).await?;
        let doomed = Arc::new(doomed);
        let (name, schema) = (events_table(stream.header.id), event_schema(stream));
        self.rewrite_without((&name, schema), OFFSET, &doomed, cancel).await?;
        let mut joined = views_of(&snapshot, stream)?;
        joined.retain(|(other, _)| other.joins);
        joined.sort_by_key(|(other, _)| other.id == view.id);
        for (view, _) in joined {
            let schema = view.row_schema(RowLayout::Events);
            self.rewrite_without((&view.events_table(), schema), ARRIVAL, &doomed, cancel).await?;
        }
        Ok(found)
    }

    async fn remove_items(&self, view: &Arc<BoundView>, items: Vec<ItemRow>) -> Result<()> {
        let (online, view) = (Arc::clone(&self.stores.online), Arc::clone(view));
        blocking(move || online.remove_these_items(view.id, items, view.item_spans().as_ref())).await
    }

    /// Writes a table of the offline store anew, in its order, without the rows of events of these offsets. `by` is the
    /// column that tells the offset: its own, or the arrival.
    async fn rewrite_without(
        &self,
        (name, schema): (&str, SchemaRef),
        by: &'static str,
        doomed: &Arc<BTreeSet<i64>>,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let rows = rows_in_order(&self.stores.engine, &self.stores.offline, (name, &Arc::default()), schema).await?;
        let doomed = Arc::clone(doomed);
        let kept = rows.map_err(Error::from).and_then(move |batch| {
            let kept = without(&batch, by, &doomed);
            async move { kept }
        });
        let write = Write::new(WriteKind::ReplaceAll, kept.boxed()).with_cancel(cancel.clone());
        self.stores.offline.write(name, write).await?;
        // at once, whoever else may read them: only versions that a query of this server holds keep their files
        self.stores.offline.vacuum(name, i64::MAX).await?;
        Ok(())
    }
}

fn without(rows: &RecordBatch, by: &str, doomed: &BTreeSet<i64>) -> Result<RecordBatch> {
    let numbers = rows.column_by_name(by).and_then(|numbers| numbers.as_primitive_opt::<Int64Type>());
    let numbers = numbers.ok_or_else(|| Error::internal(format!("rows have no {by}")))?;
    let offset = |number: &i64| if by == ARRIVAL { offset_of_arrival(*number) } else { *number };
    let stays: BooleanArray = numbers.values().iter().map(|number| Some(!doomed.contains(&offset(number)))).collect();
    filter_record_batch(rows, &stays).map_err(|error| Error::internal("rows cannot be left out").with_source(error))
}
