//! What becomes of events once they are in the log: the rows of every view go online, and the events into the tail that
//! queries read. Whatever is given twice is the same rows under the same keys.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use granary_catalog::{ObjectId, Snapshot, Stream};
use tokio::sync::Notify;

use super::TAIL_BYTES;
use super::newest::newest_until;
use super::online::item_rows;
use super::payload::Events;
use super::repeats::first_ones;
use super::views::Compiled;
use crate::engine::{DeadLetter, ReadStores, taken_schema};
use crate::error::Result;
use crate::ingest_log::Entry;
use crate::time::Clock;

pub struct Consumer {
    pub stores: ReadStores,
    pub clock: Clock,
    pub stream: ObjectId,
    pub compiled: Arc<Compiled>,
    pub wants_flush: Arc<Notify>,
    pub taking: Arc<Mutex<()>>,
}

impl Consumer {
    /// Blocks, on a thread that is none of a runtime's.
    pub fn take(&self, entries: &[Entry]) -> Result<()> {
        let _taking = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.stores.catalog.snapshot();
        // of a stream that is being dropped nobody reads
        let Some(stream) = snapshot.get_as::<Stream>(self.stream) else { return Ok(()) };
        let Some(last) = entries.last() else { return Ok(()) };
        let (events, letters) = self.events(stream, entries)?;
        let newest_us = newest_until(stream, &events, last.appended_us)?;
        let came = events.num_rows() as u64;
        let events = first_ones(&self.stores.online, stream, events)?;
        if events.num_rows() > 0 {
            self.stores.engine.threads().block_on(self.put_online(&snapshot, stream, &events))?;
        }
        let tails = &self.stores.tails;
        tails.push_letters(self.stream, letters, last.end_offset());
        tails.push(self.stream, &events, last.end_offset())?;
        if came > 0 {
            tails.note(self.stream, |figures| figures.came(came, last.appended_us, newest_us));
        }
        if tails.bytes(self.stream) > TAIL_BYTES {
            self.wants_flush.notify_one();
        }
        Ok(())
    }

    /// The events of entries, and the dead letters that are not known yet.
    fn events(&self, stream: &Stream, entries: &[Entry]) -> Result<(RecordBatch, Vec<DeadLetter>)> {
        let known = self.stores.tails.dead_letters_end(self.stream);
        let (mut events, mut letters) = (Events::new(taken_schema(stream)), Vec::new());
        for entry in entries {
            let read = events.add(&entry.payload, entry.offset, entry.events.get())?;
            if entry.end_offset() > known {
                letters.extend(read.into_iter().flat_map(|read| read.letters));
            }
        }
        Ok((events.finish()?, letters))
    }

    async fn put_online(&self, snapshot: &Arc<Snapshot>, stream: &Stream, events: &RecordBatch) -> Result<()> {
        let now_us = self.clock.now_us();
        let views = self.compiled.of(&self.stores, snapshot, stream, now_us).await?;
        for view in views.views.iter().filter(|view| view.is_online) {
            for rows in views.rows(&self.stores, view, events, now_us).await? {
                self.stores.online.put_items(view.view.id, item_rows(&view.view, &rows)?, view.spans.as_ref())?;
            }
        }
        Ok(())
    }
}
