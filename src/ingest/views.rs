//! The views over a stream, with their queries compiled: once for a state of the catalog, for all events that come.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use granary_catalog::{ObjectId, Snapshot, Stream};

use super::online::views_of;
use super::planner;
use crate::engine::{BoundView, EventProgram, ReadStores, event_schema, plain_events, rows_as_made, rows_of_events};
use crate::error::Result;
use crate::online::SpanPlan;

/// A view over a stream.
pub struct StreamView {
    pub view: Arc<BoundView>,
    pub is_online: bool,
    /// those that are kept beside its items
    pub spans: Option<SpanPlan>,
    /// `None`: its query is planned for each batch of events
    program: Option<EventProgram>,
}

/// See the module.
pub struct StreamViews {
    snapshot: Arc<Snapshot>,
    stream: Stream,
    /// of its events
    pub schema: SchemaRef,
    pub views: Vec<StreamView>,
}

impl StreamViews {
    /// The rows that a view makes of events, or has made of them if it joins: then none of those that it came after.
    pub async fn rows(
        &self,
        stores: &ReadStores,
        view: &StreamView,
        events: &RecordBatch,
        now_us: i64,
    ) -> Result<Vec<RecordBatch>> {
        if view.view.joins {
            return Ok(vec![rows_as_made(&view.view, events)?.rows]);
        }
        let events = &plain_events(events)?;
        match &view.program {
            Some(program) => Ok(vec![program.run(events)?]),
            None => {
                let planner = planner(stores, &self.snapshot, &self.stream, now_us)?;
                rows_of_events(&planner, &view.view, events.clone()).await
            }
        }
    }
}

/// What was compiled last, by stream.
#[derive(Default)]
pub struct Compiled(Mutex<HashMap<u64, Arc<StreamViews>>>);

impl Compiled {
    /// The views over a stream as this snapshot has them.
    pub async fn of(
        &self,
        stores: &ReadStores,
        snapshot: &Arc<Snapshot>,
        stream: &Stream,
        now_us: i64,
    ) -> Result<Arc<StreamViews>> {
        let id = stream.header.id.0;
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        // the very same: a transaction has snapshots of its own
        if let Some(known) = known.filter(|known| Arc::ptr_eq(&known.snapshot, snapshot)) {
            return Ok(known);
        }
        let planner = planner(stores, snapshot, stream, now_us)?;
        let mut views = Vec::new();
        for (view, is_online) in views_of(snapshot, stream)? {
            let program = EventProgram::compile(&planner, &view).await?;
            let spans = view.item_spans();
            views.push(StreamView { view, is_online, spans, program });
        }
        let (snapshot, schema) = (Arc::clone(snapshot), event_schema(stream));
        let compiled = Arc::new(StreamViews { snapshot, stream: stream.clone(), schema, views });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&compiled));
        Ok(compiled)
    }

    /// Whether events of the stream need no planner, as this snapshot has its views.
    pub fn is_ready(&self, snapshot: &Arc<Snapshot>, stream: ObjectId) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&stream.0).is_some_and(|known| {
            Arc::ptr_eq(&known.snapshot, snapshot) && known.views.iter().all(|view| view.program.is_some())
        })
    }

    pub fn forget(&self, stream: ObjectId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&stream.0);
    }
}
