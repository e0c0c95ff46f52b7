//! What sinks ask of streams: which keys events have changed, and up to which event each sink was. Positions are beside the
//! online rows: a crash may undo the last of them, and then messages are sent again.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use futures::TryStreamExt;
use granary_catalog::{ObjectId, Sink, Snapshot, Stream};

use super::{Ingest, planner};
use crate::engine::{BoundView, SinkState, event_rows_between, event_schema, events_between};
use crate::error::{Error, Result};
use crate::row::{Key, Value, values_of};

/// The values of a view's keys, in their order.
pub type KeyValues = Vec<Option<Value>>;

impl Ingest {
    /// The offset behind the last event of a stream that every reader sees.
    pub fn end(&self, stream: ObjectId) -> u64 {
        self.stores.tails.end(stream)
    }

    /// The keys that a view has rows of, of the events with offsets in `[start, end)`; each once.
    pub async fn changed_keys(
        &self,
        snapshot: &Arc<Snapshot>,
        stream: &Stream,
        view: ObjectId,
        (start, end): (u64, u64),
    ) -> Result<Vec<KeyValues>> {
        let now_us = self.clock.now_us();
        let planner = planner(&self.stores, snapshot, stream, now_us)?;
        let views = self.compiled.of(&self.stores, snapshot, stream, now_us).await?;
        let Some(view) = views.views.iter().find(|known| known.view.id == view.0) else { return Ok(Vec::new()) };
        if view.view.joins {
            return match event_rows_between(&planner, &view.view, (start, end)).await? {
                Some(rows) => distinct_keys(&view.view, &rows.try_collect::<Vec<_>>().await?),
                None => Ok(Vec::new()),
            };
        }
        let Some(events) = events_between(&planner, stream, start, end).await? else { return Ok(Vec::new()) };
        let batches: Vec<RecordBatch> = events.try_collect().await?;
        let failed = |error| Error::internal("events do not join").with_source(error);
        let schema = event_schema(stream);
        let aligned = batches.iter().map(|batch| RecordBatch::try_new(Arc::clone(&schema), batch.columns().to_vec()));
        let batches = aligned.collect::<std::result::Result<Vec<_>, _>>().map_err(failed)?;
        let events = concat_batches(&schema, &batches).map_err(failed)?;
        distinct_keys(&view.view, &views.rows(&self.stores, view, &events, now_us).await?)
    }

    /// Where a sink goes on.
    pub fn sink_position(&self, sink: &Sink, stream: &Stream) -> Result<u64> {
        let kept = self.stores.online.mark(&position_mark(sink, stream))?;
        // a view that reads another stream by now has changed with all of its events
        let first = if stream.header.id == sink.stream { sink.from_offset } else { 0 };
        let position = kept.unwrap_or(first);
        self.stores.tails.note_sink(sink.header.id, |figures| figures.position = Some(position));
        Ok(position)
    }

    /// Keeps that brokers have acknowledged so many more messages, of all events before `position`.
    pub fn keep_sink_position(&self, sink: &Sink, stream: &Stream, position: u64, messages: u64) -> Result<()> {
        self.stores.online.set_marks(&[(position_mark(sink, stream), Some(position))])?;
        self.stores.tails.note_sink(sink.header.id, |figures| {
            figures.position = Some(position);
            figures.messages += messages;
        });
        Ok(())
    }

    /// Notes for those who look what a sink does; without an error all is well.
    pub fn note_sink(&self, sink: ObjectId, state: SinkState, error: Option<String>) {
        let now_us = self.clock.now_us();
        self.stores.tails.note_sink(sink, |figures| {
            figures.state = state;
            let known = figures.last_error.take().filter(|(_, text)| Some(text) == error.as_ref());
            figures.last_error = known.or_else(|| error.map(|error| (now_us, error)));
        });
    }

    pub fn close_sink(&self, sink: ObjectId) {
        self.stores.tails.close_sink(sink);
    }
}

/// The keys of rows, each once.
fn distinct_keys(view: &BoundView, batches: &[RecordBatch]) -> Result<Vec<KeyValues>> {
    let (mut seen, mut keys) = (HashSet::new(), Vec::new());
    for rows in batches {
        let column = |key: &granary_catalog::Column| {
            let column = rows.column_by_name(&key.name);
            values_of(column.ok_or_else(|| Error::internal(format!("rows lack column {}", key.name)))?.as_ref())
        };
        let columns = view.keys.iter().map(column).collect::<Result<Vec<_>>>()?;
        for row in 0..rows.num_rows() {
            let values: KeyValues = columns.iter().map(|values| values[row].clone()).collect();
            let key = Key::encode(values.iter().map(Option::as_ref));
            if key.is_some_and(|key| seen.insert(key)) {
                keys.push(values);
            }
        }
    }
    Ok(keys)
}

/// The name under which the online store keeps where a sink is in a stream.
fn position_mark(sink: &Sink, stream: &Stream) -> String {
    format!("sink-{}/stream-{}", sink.header.id.0, stream.header.id.0)
}
