//! Events out of the tail into the offline store: one commit, with the offset behind them as the version of an
//! application transaction. So whoever reads the table knows which events it has, and no event is written twice.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt;
use granary_catalog::{ObjectId, Stream};

use super::online::{events_mark, views_of};
use super::repeats::claims_mark;
use super::{Ingest, StreamLog, blocking, newest};
use crate::engine::{Doing, event_schema, events_table, plain_events};
use crate::error::{Error, Result};
use crate::offline::{Layout, Write, WriteKind};

impl Ingest {
    /// Flushes every stream. One that fails is told in the log, and keeps its events for the next time.
    pub async fn flush(&self) {
        for log in self.all_opened() {
            let flushed = match self.flush_log(&log).await {
                Ok(()) => self.bring_joined_online(&log).await,
                failed => failed,
            };
            if let Err(error) = &flushed {
                tracing::warn!(stream = log.id.0, %error, "events could not be written to the offline store");
            }
            self.note(&log);
            self.note_outcome(log.id, Doing::Flushing, flushed.as_ref().err());
        }
    }

    async fn flush_log(&self, log: &StreamLog) -> Result<()> {
        let _flushing = log.flushing.lock().await;
        self.flush_locked(log).await
    }

    /// For who holds the lock.
    pub(super) async fn flush_locked(&self, log: &StreamLog) -> Result<()> {
        let snapshot = self.stores.catalog.snapshot();
        let Some(stream) = snapshot.get_as::<Stream>(log.id) else { return Ok(()) };
        let Some(tail) = self.stores.tails.of(log.id) else { return Ok(()) };
        self.flush_rows(log, &snapshot, stream, &tail).await?;
        if tail.end <= log.flushed.load(Ordering::Acquire) {
            return Ok(());
        }
        // what the log lets go of must be durable online, too; the rows of the tail are there already
        let mut marks = Vec::new();
        for (view, is_online) in views_of(&snapshot, stream)? {
            let mark = events_mark(&view);
            if is_online && self.stores.online.mark(&mark)?.is_some() {
                marks.push((mark, Some(tail.end)));
            }
        }
        if !stream.deduplicate_by.is_empty() {
            marks.push((claims_mark(log.id), Some(tail.end)));
        }
        marks.extend(newest::marks(log.id, self.stores.tails.figures(log.id).as_ref()));
        let online = Arc::clone(&self.stores.online);
        blocking(move || online.sync()).await?;
        self.keep_letters(log).await?;
        let name = events_table(log.id);
        // Plain, since the order of its files is that of the offsets
        self.stores.offline.create_table(&name, event_schema(stream), Layout::Plain).await?;
        let end = i64::try_from(tail.end).map_err(|_| Error::internal("offsets have run out"))?;
        let events: Vec<_> = tail.batches.iter().map(plain_events).collect();
        let batches = futures::stream::iter(events).boxed();
        let write = Write::new(WriteKind::Append, batches).with_transaction(name.clone(), end);
        self.stores.offline.write(&name, write).await?;
        log.flushed.store(tail.end, Ordering::Release);
        self.stores.tails.trim(log.id, tail.end)?;
        let online = Arc::clone(&self.stores.online);
        blocking(move || {
            online.set_marks(&marks)?;
            online.sync()
        })
        .await
    }

    /// Lets the logs go of what is flushed.
    pub async fn shorten(&self) -> Result<()> {
        let logs = self.all_opened();
        let shortened = logs.clone();
        let remove = move || {
            logs.iter().try_for_each(|log| {
                log.log.remove_before(log.flushed.load(Ordering::Acquire).min(log.kept_from.load(Ordering::Acquire)))
            })
        };
        let removed = blocking(remove).await;
        shortened.iter().for_each(|log| self.note(log));
        removed
    }

    /// Notes for those who look how far a log is.
    pub(super) fn note(&self, log: &StreamLog) {
        self.stores.tails.note(log.id, |figures| {
            figures.first_offset = log.log.first();
            figures.end_offset = log.log.end();
            figures.flushed_offset = log.flushed.load(Ordering::Acquire);
            figures.log_bytes = log.log.size_bytes();
        });
    }

    /// Notes for those who look whether something was done.
    pub(super) fn note_outcome(&self, stream: ObjectId, doing: Doing, error: Option<&Error>) {
        let now_us = self.clock.now_us();
        let error = error.map(ToString::to_string);
        self.stores.tails.note(stream, |figures| figures.troubles.note(doing, now_us, error));
    }
}
