//! The events of streams as rows: those that were flushed to the offline store, and behind them the tail, which waits
//! for that in memory. Who appends and flushes is not known here.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use async_trait::async_trait;
use datafusion::arrow::array::{AsArray, Int64Array, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use granary_catalog::{ObjectId, Stream};

use super::figures::StreamFigures;
use super::reading::DeadLetters;
use super::sinks::SinkFigures;
use super::stored::version_table;
use crate::engine::leading_edge::NewestEvent;
use crate::engine::query::QueryPlanner;
use crate::error::{Error, Result};

/// The place of an event in its stream, beside its columns.
pub const OFFSET: &str = "_offset";

/// The rows that views have made of an event as it came, in what the log and the tail have of it.
pub const ROWS: &str = "_offset rows";

const EVENTS: &str = "stream-";

/// The name of a stream's events in the offline store, and of the application that writes them.
pub fn events_table(stream: ObjectId) -> String {
    format!("{EVENTS}{}", stream.0)
}

/// The stream whose events have that name.
pub fn stream_of_table(name: &str) -> Option<ObjectId> {
    name.strip_prefix(EVENTS)?.parse().ok().map(ObjectId)
}

/// A stream's columns and [`OFFSET`].
pub fn event_schema(stream: &Stream) -> SchemaRef {
    let field = |column: &granary_catalog::Column| Field::new(&column.name, column.data_type.clone(), true);
    let mut fields: Vec<Field> = stream.columns.iter().map(field).collect();
    fields.push(Field::new(OFFSET, DataType::Int64, false));
    Arc::new(Schema::new(fields))
}

/// [`event_schema`] and [`ROWS`].
pub fn taken_schema(stream: &Stream) -> SchemaRef {
    let mut fields = event_schema(stream).fields().to_vec();
    fields.push(Arc::new(rows_field()));
    Arc::new(Schema::new(fields))
}

/// Bytes as `joined_rows` writes them; NULL if no view has made any.
pub fn rows_field() -> Field {
    Field::new(ROWS, DataType::Binary, true)
}

/// Events without [`ROWS`].
pub fn plain_events(events: &RecordBatch) -> Result<RecordBatch> {
    let mut events = events.clone();
    if let Ok(place) = events.schema_ref().index_of(ROWS) {
        events.remove_column(place);
    }
    Ok(events)
}

/// Which rows the relation of a stream has.
#[derive(Clone, Default)]
pub enum StreamRows {
    /// the mirror's before the cut-over, then the events
    #[default]
    All,
    /// what a backfill materializes
    Mirror,
    /// those that were pushed, with their offsets
    Events,
    /// the same of one stream, of these events
    Given(ObjectId, RecordBatch),
}

/// Events that were taken in and may not be in the offline store yet, ascending by offset; in the columns of
/// [`taken_schema`].
#[derive(Debug, Clone, Default)]
pub struct Tail {
    pub batches: Vec<RecordBatch>,
    /// the offset behind the last of them
    pub end: u64,
    pub bytes: usize,
}

/// The tails of all streams that have any events; what is known of streams and sinks.
#[derive(Debug, Default)]
pub struct EventTails(
    RwLock<HashMap<u64, Tail>>,
    Mutex<HashMap<u64, StreamFigures>>,
    pub(super) Mutex<HashMap<u64, DeadLetters>>,
    pub(super) Mutex<HashMap<u64, SinkFigures>>,
);

impl EventTails {
    pub fn of(&self, stream: ObjectId) -> Option<Tail> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&stream.0).cloned()
    }

    /// The offset behind the last event that queries see.
    pub fn end(&self, stream: ObjectId) -> u64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&stream.0).map_or(0, |tail| tail.end)
    }

    pub fn bytes(&self, stream: ObjectId) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&stream.0).map_or(0, |tail| tail.bytes)
    }

    /// From now on the stream has events, from offset `end` on.
    pub fn open(&self, stream: ObjectId, end: u64) {
        let tail = Tail { end, ..Tail::default() };
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(stream.0, tail);
    }

    pub fn newest_event(&self, stream: ObjectId) -> Arc<NewestEvent> {
        let mut figures = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&figures.entry(stream.0).or_default().newest_event)
    }

    pub fn figures(&self, stream: ObjectId) -> Option<StreamFigures> {
        self.1.lock().unwrap_or_else(PoisonError::into_inner).get(&stream.0).cloned()
    }

    pub fn note(&self, stream: ObjectId, change: impl FnOnce(&mut StreamFigures)) {
        change(self.1.lock().unwrap_or_else(PoisonError::into_inner).entry(stream.0).or_default());
    }

    pub fn close(&self, stream: ObjectId) {
        self.close_letters(stream);
        self.1.lock().unwrap_or_else(PoisonError::into_inner).remove(&stream.0);
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&stream.0);
    }

    /// Adds events up to `end`. Those that it has are left out.
    pub fn push(&self, stream: ObjectId, batch: &RecordBatch, end: u64) -> Result<()> {
        let mut tails = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let tail = tails.entry(stream.0).or_default();
        let mut newest = from_offset(batch, tail.end)?;
        tail.end = tail.end.max(end);
        if newest.num_rows() == 0 {
            return Ok(());
        }
        tail.bytes += newest.get_array_memory_size();
        // few batches, and each row is copied into a longer one no more than once for each doubling
        while let Some(before) = tail.batches.pop_if(|before| before.num_rows() <= newest.num_rows()) {
            newest = concat_batches(&newest.schema(), [&before, &newest])
                .map_err(|error| Error::internal("events do not join").with_source(error))?;
        }
        tail.batches.push(newest);
        Ok(())
    }

    /// Gives up the events before `offset`.
    pub fn trim(&self, stream: ObjectId, offset: u64) -> Result<()> {
        let mut tails = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(tail) = tails.get_mut(&stream.0) else { return Ok(()) };
        let kept = tail.batches.iter().map(|batch| from_offset(batch, offset)).collect::<Result<Vec<_>>>()?;
        tail.batches = kept.into_iter().filter(|batch| batch.num_rows() > 0).collect();
        tail.bytes = tail.batches.iter().map(RecordBatch::get_array_memory_size).sum();
        Ok(())
    }
}

/// Of events, in their order.
pub fn offsets_of(events: &RecordBatch) -> Result<&Int64Array> {
    let offsets = events.column_by_name(OFFSET).and_then(|offsets| offsets.as_primitive_opt());
    offsets.ok_or_else(|| Error::internal("events have no offsets"))
}

/// The events of a batch, which are ascending by offset, from one on.
pub fn from_offset(batch: &RecordBatch, offset: u64) -> Result<RecordBatch> {
    let offsets = offsets_of(batch)?;
    let first = offsets.values().partition_point(|known| known.cast_unsigned() < offset);
    Ok(batch.slice(first, offsets.len() - first))
}

/// What a statement has found of each stream.
#[derive(Default)]
pub struct SeenEvents(Mutex<HashMap<u64, Option<Arc<EventTable>>>>);

/// The events of a stream as of one moment, each once; None if it never had any.
pub async fn events_of(planner: &QueryPlanner, stream: &Stream) -> Result<Option<Arc<EventTable>>> {
    let id = stream.header.id;
    if let StreamRows::Given(given, batch) = &planner.stream_rows
        && *given == id
    {
        return Ok(Some(Arc::new(EventTable::of_events(id, event_schema(stream), None, vec![batch.clone()])?)));
    }
    // those of a test are its mirror
    if planner.is_made_up() {
        return Ok(None);
    }
    let seen = || planner.seen_events.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = seen().get(&id.0) {
        return Ok(known.clone());
    }
    let found = look(planner, stream).await?;
    // who was first decides, for all mentions alike
    Ok(seen().entry(id.0).or_insert(found).clone())
}

async fn look(planner: &QueryPlanner, stream: &Stream) -> Result<Option<Arc<EventTable>>> {
    let id = stream.header.id;
    // the tail first: what leaves it has been stored before
    let Some(tail) = planner.tails.of(id) else { return Ok(None) };
    let (name, schema) = (events_table(id), event_schema(stream));
    let stored = planner.offline.table_since(&name, &name).await?;
    let end = stored.as_ref().and_then(|(_, end)| *end).and_then(|end| u64::try_from(end).ok()).unwrap_or(0);
    if tail.end == 0 && end == 0 {
        return Ok(None);
    }
    let tail_end = tail.end;
    let tail = tail.batches.iter().map(|batch| from_offset(batch, end)).collect::<Result<Vec<_>>>()?;
    let stored = stored.map(|(table, _)| version_table(&name, Arc::clone(&schema), table));
    let table = EventTable::of_events(id, schema, stored, tail)?;
    Ok(Some(Arc::new(EventTable { flushed: end, end: tail_end.max(end), ..table })))
}

/// A stream's events with their offsets, or rows that were made of them: those that are stored, then the tail's.
pub struct EventTable {
    stream: ObjectId,
    schema: SchemaRef,
    stored: Option<Arc<dyn TableProvider>>,
    tail: Vec<RecordBatch>,
    /// the tail with [`ROWS`]
    pub taken: Vec<RecordBatch>,
    /// up to which offset events are stored
    pub flushed: u64,
    /// the offset behind the last event
    pub end: u64,
}

impl EventTable {
    fn of_events(
        stream: ObjectId,
        schema: SchemaRef,
        stored: Option<Arc<dyn TableProvider>>,
        taken: Vec<RecordBatch>,
    ) -> Result<EventTable> {
        let tail = taken.iter().map(plain_events).collect::<Result<_>>()?;
        Ok(EventTable { stream, schema, stored, tail, taken, flushed: 0, end: 0 })
    }

    /// Rows in the columns of `schema`.
    pub fn of_rows(
        stream: ObjectId,
        schema: SchemaRef,
        stored: Option<Arc<dyn TableProvider>>,
        tail: Vec<RecordBatch>,
    ) -> EventTable {
        EventTable { stream, schema, stored, tail, taken: Vec::new(), flushed: 0, end: 0 }
    }

    pub fn stream(&self) -> ObjectId {
        self.stream
    }
}

impl fmt::Debug for EventTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventTable").finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for EventTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let mut parts = Vec::new();
        if let Some(stored) = &self.stored {
            parts.push(stored.scan(state, projection, filters, None).await?);
        }
        let tail = std::slice::from_ref(&self.tail);
        parts.push(MemorySourceConfig::try_new_exec(tail, self.schema(), projection.cloned())?);
        match parts.len() {
            1 => Ok(parts.remove(0)),
            _ => UnionExec::try_new(parts),
        }
    }
}
