//! What becomes of events once they are in the log: the rows of every view go online, and the events into the tail that
//! queries read. Whatever is given twice is the same rows under the same keys.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use granary_catalog::{ObjectId, Snapshot, Stream};
use tokio::sync::Notify;

use super::online::{item_rows, views_of};
use super::{TAIL_BYTES, payload, planner};
use crate::engine::{DeadLetter, ReadStores, event_schema, rows_of_events};
use crate::error::{Error, Result};
use crate::ingest_log::Entry;
use crate::time::Clock;

pub struct Consumer {
    pub stores: ReadStores,
    pub clock: Clock,
    pub stream: ObjectId,
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
        if events.num_rows() > 0 {
            self.stores.engine.threads().block_on(self.put_online(&snapshot, stream, &events))?;
        }
        let tails = &self.stores.tails;
        tails.push_letters(self.stream, letters, last.end_offset());
        tails.push(self.stream, &events, last.end_offset())?;
        if tails.bytes(self.stream) > TAIL_BYTES {
            self.wants_flush.notify_one();
        }
        Ok(())
    }

    fn events(&self, stream: &Stream, entries: &[Entry]) -> Result<(RecordBatch, Vec<DeadLetter>)> {
        let schema = event_schema(stream);
        let known = self.stores.tails.dead_letters_end(self.stream);
        let (mut batches, mut letters) = (Vec::with_capacity(entries.len()), Vec::new());
        for entry in entries {
            let decoded = payload::decode(&entry.payload, entry.offset, entry.events.get(), &schema)?;
            batches.push(decoded.events);
            if entry.end_offset() > known {
                letters.extend(decoded.letters);
            }
        }
        let events = concat_batches(&schema, &batches)
            .map_err(|error| Error::internal("events do not join").with_source(error))?;
        Ok((events, letters))
    }

    async fn put_online(&self, snapshot: &Arc<Snapshot>, stream: &Stream, events: &RecordBatch) -> Result<()> {
        let planner = planner(&self.stores, snapshot, stream, self.clock.now_us())?;
        for (view, is_online) in views_of(snapshot, stream)? {
            if !is_online {
                continue;
            }
            for rows in rows_of_events(&planner, &view, events.clone()).await? {
                self.stores.online.put_items(view.id, item_rows(&view, &rows)?)?;
            }
        }
        Ok(())
    }
}
