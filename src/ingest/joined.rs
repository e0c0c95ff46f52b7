//! Views whose query joins other relations: their rows of an event are made as it is appended, are in the log beside it,
//! and go to the offline store in a table of the view, before the event does and under the same offsets. So what an event
//! has made is decided once, whatever becomes of the other relations.
//!
//! The application transaction of a view's table says up to which offset it has rows of all events. Events that were there
//! before the view have none: whoever flushes makes them, by the other relations as they are then, before any reader sees
//! rows of the view. A crash leaves a table that lacks them, and then the next start makes them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use futures::{StreamExt, TryStreamExt};
use granary_catalog::{Snapshot, Stream};

use super::online::{events_mark, views_of};
use super::{Ingest, Since, StreamLog, planner_of_view};
use crate::engine::{
    BoundView, Doing, QueryPlanner, ROWS, RowLayout, Tail, events_between, few_at_once, from_offset, made_rows,
    plain_events, rows_as_made, with_made_rows,
};
use crate::error::{Error, Result};
use crate::offline::{BatchStream, Layout, Write, WriteKind};

impl Ingest {
    /// Events, in the stream's columns, with the rows that its joined views make of them; as they are if it has none.
    /// `known` says of a view what was made of each just before.
    pub(super) async fn with_rows(
        &self,
        snapshot: &Arc<Snapshot>,
        stream: &Stream,
        events: RecordBatch,
        known: impl Fn(&BoundView) -> Option<Vec<Vec<u8>>>,
    ) -> Result<RecordBatch> {
        let now_us = self.clock.now_us();
        let views = self.compiled.of(&self.stores, snapshot, stream, now_us).await?;
        let mut made = Vec::new();
        for view in views.views.iter().filter(|view| view.view.joins) {
            let rows = match known(&view.view) {
                Some(rows) => rows,
                None => {
                    let planner = planner_of_view(&self.stores, snapshot, stream, &view.view, now_us)?;
                    made_rows(&planner, &view.view, &events).await?.rows
                }
            };
            made.push((Arc::clone(&view.view), rows));
        }
        if made.is_empty() { Ok(events) } else { with_made_rows(&events, &made) }
    }

    /// Makes the rows of events that were there before their joined view, if there are any. Errors: the query's, as where
    /// what it reads is gone; then the events wait in the tail.
    pub(super) async fn complete_rows(&self, log: &StreamLog, stream: &Stream) -> Result<()> {
        let snapshot = self.stores.catalog.snapshot();
        if !views_of(&snapshot, stream)?.iter().any(|(view, _)| view.joins) {
            return Ok(());
        }
        // who has begun to append by a catalog without the view is done afterwards
        drop(log.appending.write().await);
        let _flushing = log.flushing.lock().await;
        let flushed = self.flush_locked(log).await;
        self.note_outcome(log.id, Doing::Flushing, flushed.as_ref().err());
        flushed
    }

    /// The same at the start, where an error must not keep the server from it: it is told, tried again by each flush, and
    /// until then the view's rows cannot be read.
    pub(super) async fn complete_rows_at_start(&self, log: &StreamLog, stream: &Stream) -> Result<()> {
        match self.complete_rows(log, stream).await {
            Ok(()) => self.bring_joined_online(log).await,
            Err(error) => {
                tracing::warn!(stream = log.id.0, %error, "rows of events of joined views could not be made");
                Ok(())
            }
        }
    }

    /// Brings the rows of joined views online of which that is not known, as after a start that could not.
    pub(super) async fn bring_joined_online(&self, log: &StreamLog) -> Result<()> {
        let snapshot = self.stores.catalog.snapshot();
        let Some(stream) = snapshot.get_as::<Stream>(log.id) else { return Ok(()) };
        let mut waiting = Vec::new();
        for (view, _) in views_of(&snapshot, stream)?.into_iter().filter(|(view, is_online)| view.joins && *is_online) {
            if self.stores.online.mark(&events_mark(&view))?.is_none() {
                waiting.push(view);
            }
        }
        if waiting.is_empty() {
            return Ok(());
        }
        self.complete_rows(log, stream).await?;
        for view in waiting {
            self.bring_online(log, stream, &view, Since::Mark).await?;
        }
        Ok(())
    }

    /// Up to which offset a view's table has rows.
    async fn rows_end(&self, view: &BoundView) -> Result<u64> {
        let name = view.events_table();
        let stored = self.stores.offline.table_since(&name, &name).await?;
        Ok(stored.and_then(|(_, end)| end).and_then(|end| u64::try_from(end).ok()).unwrap_or(0))
    }

    /// Writes the rows of joined views of all events up to the tail's end. For who holds the lock.
    pub(super) async fn flush_rows(
        &self,
        log: &StreamLog,
        snapshot: &Arc<Snapshot>,
        stream: &Stream,
        tail: &Tail,
    ) -> Result<()> {
        let flushed = log.flushed.load(Ordering::Acquire);
        let end = tail.end.max(flushed);
        for (view, _) in views_of(snapshot, stream)?.into_iter().filter(|(view, _)| view.joins) {
            let from = self.rows_end(&view).await?;
            if from >= end {
                continue;
            }
            let planner = planner_of_view(&self.stores, snapshot, stream, &view, self.clock.now_us())?;
            let mut events: BatchStream = futures::stream::empty().boxed();
            if from < flushed
                && let Some(stored) = events_between(&planner, stream, from, flushed).await?
            {
                events = stored.map_err(Error::from).boxed();
            }
            let mut waiting = Vec::new();
            for batch in &tail.batches {
                waiting.extend(few_at_once(&from_offset(batch, from.max(flushed))?).map(Ok));
            }
            let events = events.chain(futures::stream::iter(waiting));
            let (maker, made_of) = (planner.clone(), Arc::clone(&view));
            let rows = events.and_then(move |events| {
                let (planner, view) = (maker.clone(), Arc::clone(&made_of));
                async move { Ok(futures::stream::iter(rows_of(&planner, &view, &events).await?.map(Ok))) }
            });
            let name = view.events_table();
            self.stores.offline.create_table(&name, view.row_schema(RowLayout::Events), Layout::Plain).await?;
            let end = i64::try_from(end).map_err(|_| Error::internal("offsets have run out"))?;
            let write = Write::new(WriteKind::Append, rows.try_flatten().boxed()).with_transaction(name.clone(), end);
            self.stores.offline.write(&name, write).await?;
        }
        Ok(())
    }
}

/// Events in parts, so that the rows which joined views have made of a part are about so many bytes, or of one event.
pub(super) fn parts(events: &RecordBatch, most_bytes: usize) -> Vec<RecordBatch> {
    let Some(rows) = events.column_by_name(ROWS).and_then(|rows| rows.as_binary_opt::<i32>()) else {
        return vec![events.clone()];
    };
    let (mut parts, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (event, rows) in rows.iter().enumerate() {
        bytes += rows.map_or(0, <[u8]>::len);
        if bytes > most_bytes || event + 1 == events.num_rows() {
            parts.push(events.slice(start, event + 1 - start));
            (start, bytes) = (event + 1, 0);
        }
    }
    parts
}

/// The rows of a joined view of events: as they were made, and those that were not, as they are made now.
async fn rows_of(
    planner: &QueryPlanner,
    view: &Arc<BoundView>,
    events: &RecordBatch,
) -> Result<impl Iterator<Item = RecordBatch> + use<>> {
    let made = rows_as_made(view, events)?;
    let mut rows = vec![made.rows];
    if !made.lacking.is_empty() {
        let places = made.lacking.iter().map(|place| u32::try_from(*place));
        let places = places.collect::<Result<Vec<u32>, _>>().map_err(|_| Error::internal("a batch is too long"))?;
        let events = take_record_batch(&plain_events(events)?, &UInt32Array::from(places))
            .map_err(|error| Error::internal("events cannot be taken").with_source(error))?;
        let made = made_rows(planner, view, &events).await?.rows;
        rows.push(rows_as_made(view, &with_made_rows(&events, &[(Arc::clone(view), made)])?)?.rows);
    }
    Ok(rows.into_iter())
}
