//! Of when the newest event of a stream is, and when it came: noted as events are taken in, kept by each flush.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::{cast, max};
use arrow::datatypes::TimestampMicrosecondType;
use granary_catalog::{ObjectId, Stream};

use super::{Ingest, planner};
use crate::engine::{StreamFigures, events_table, newest_event_time, time_type};
use crate::error::{Error, Result};

/// The numbers that the online store keeps of them; without figures none.
pub fn marks(stream: ObjectId, figures: Option<&StreamFigures>) -> [(String, Option<u64>); 2] {
    let time = |time_us: Option<i64>| time_us.map(i64::cast_unsigned);
    let (event, arrival) =
        figures.map_or((None, None), |figures| (figures.newest_event.time_us(), figures.newest_arrival_us));
    [(mark(stream, "newest_event"), time(event)), (mark(stream, "newest_arrival"), time(arrival))]
}

fn mark(stream: ObjectId, name: &str) -> String {
    format!("{}/{name}", events_table(stream))
}

impl Ingest {
    /// Notes what flushes up to offset `flushed` have kept. If the online store was lost, the offline one knows the event.
    pub(super) async fn recall_newest(&self, stream: &Stream, flushed: u64) -> Result<()> {
        let id = stream.header.id;
        let time =
            |name| -> Result<Option<i64>> { Ok(self.stores.online.mark(&mark(id, name))?.map(u64::cast_signed)) };
        let (mut event_us, arrival_us) = (time("newest_event")?, time("newest_arrival")?);
        if event_us.is_none() && flushed > 0 {
            let snapshot = self.stores.catalog.snapshot();
            let planner = planner(&self.stores, &snapshot, stream, self.clock.now_us())?;
            event_us = newest_event_time(&planner, stream).await?;
        }
        self.stores.tails.note(id, |figures| {
            event_us.into_iter().for_each(|event_us| figures.newest_event.saw(event_us));
            figures.newest_arrival_us = figures.newest_arrival_us.max(arrival_us);
        });
        Ok(())
    }
}

/// The latest time of events up to `now_us`.
pub fn newest_until(stream: &Stream, events: &RecordBatch, now_us: i64) -> Result<Option<i64>> {
    let times = events.column_by_name(&stream.timestamp);
    let times = times.ok_or_else(|| Error::internal("events have no time"))?;
    let times = match times.data_type() == &time_type() {
        true => Arc::clone(times),
        false => {
            cast(times, &time_type()).map_err(|error| Error::internal("the times of events").with_source(error))?
        }
    };
    let times = times.as_primitive::<TimestampMicrosecondType>();
    match max(times) {
        Some(newest_us) if newest_us > now_us => Ok(times.iter().flatten().filter(|time_us| *time_us <= now_us).max()),
        newest_us => Ok(newest_us),
    }
}
