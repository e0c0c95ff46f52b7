//! One sink: from its position to the end of the view's stream, and on.
//!
//! Whatever fails, it begins anew at its position. What the brokers or the disk refuse now is tried again; nothing is
//! skipped.

use std::sync::Arc;
use std::time::Duration;

use granary_catalog::{FeatureView, Object, Sink, Snapshot, Stream};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::message;
use crate::access::Asker;
use crate::engine::{AskedRow, ServiceLookup, SinkState};
use crate::error::{Error, Result};
use crate::kafka::{Problem, Sender};
use crate::statement::sink_options;
use crate::warehouse::Warehouse;

/// So many events are looked at together, at most.
const BATCH_EVENTS: u64 = 4096;
/// So many keys are looked up together, at most.
const LOOKUP_KEYS: usize = 256;
/// How long it waits before it looks for new events, or whether it is to stop.
const WAIT: Duration = Duration::from_millis(50);
/// Between two attempts after something failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub struct Worker {
    warehouse: Arc<Warehouse>,
    sink: Arc<Sink>,
    stop: CancellationToken,
    runtime: Handle,
}

/// Why a sink begins anew.
enum Trouble {
    Topic(Problem),
    Ours(Error),
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Trouble {
        Trouble::Topic(problem)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Ours(error)
    }
}

/// What a sink sends, as a version of the catalog has it.
struct Bound {
    snapshot: Arc<Snapshot>,
    stream: Stream,
    lookup: ServiceLookup,
}

impl Worker {
    /// To be made where there is a runtime.
    pub fn new(warehouse: Arc<Warehouse>, sink: Arc<Sink>, stop: CancellationToken) -> Worker {
        Worker { warehouse, sink, stop, runtime: Handle::current() }
    }

    /// Sends until it is stopped. Blocks.
    pub fn run(self) {
        let mut told = String::new();
        while !self.stop.is_cancelled() {
            let trouble = match self.send() {
                Ok(()) => break,
                Err(trouble) => trouble,
            };
            let (state, text) = match trouble {
                Trouble::Topic(Problem::Away(text)) => (SinkState::Reconnecting, text),
                Trouble::Topic(Problem::Failed(text)) => (SinkState::Failing, text),
                Trouble::Ours(error) => (SinkState::Failing, error.to_string()),
            };
            if told != text {
                tracing::warn!(sink = self.sink.header.name, error = text, "a sink cannot send, and tries again");
                told.clone_from(&text);
            }
            self.note(state, Some(text));
            let stopped = self.stop.cancelled();
            // the time passes or somebody stops it
            let _ = self.runtime.block_on(async { tokio::time::timeout(RETRY_AFTER, stopped).await });
        }
        self.warehouse.ingest.close_sink(self.sink.header.id);
    }

    fn send(&self) -> Result<(), Trouble> {
        let ingest = &self.warehouse.ingest;
        let mut bound = self.bind()?;
        let mut position = ingest.sink_position(&self.sink, &bound.stream)?;
        let sender = Sender::open(&sink_options(&self.sink.target)?)?;
        while !self.stop.is_cancelled() {
            let end = ingest.end(bound.stream.header.id).min(position + BATCH_EVENTS);
            if position >= end {
                sender.listen();
                self.note_problem(sender.problem());
                self.pause();
                continue;
            }
            if !Arc::ptr_eq(&bound.snapshot, &self.warehouse.catalog.snapshot()) {
                let before = bound.stream.header.id;
                bound = self.bind()?;
                if bound.stream.header.id != before {
                    position = ingest.sink_position(&self.sink, &bound.stream)?;
                    continue;
                }
            }
            let Some(messages) = self.send_changes(&sender, &bound, (position, end))? else { break };
            position = end;
            ingest.keep_sink_position(&self.sink, &bound.stream, position, messages)?;
            self.note(SinkState::Sending, None);
        }
        Ok(())
    }

    /// The view and its stream as they are by now.
    fn bind(&self) -> Result<Bound> {
        let snapshot = self.warehouse.catalog.snapshot();
        let object = snapshot.get(self.sink.view).cloned();
        let object = object.ok_or_else(|| Error::internal("the view of a sink is gone"))?;
        let stream = object.downcast::<FeatureView>().filter(|view| view.kind.is_stream());
        let stream = stream.and_then(|view| snapshot.stream_among(&view.depends_on));
        let stream = stream.ok_or_else(|| Error::not_supported("a sink of a view that no longer reads a stream"))?;
        let stream = stream.clone();
        let lookup = self.runtime.block_on(self.lookup(&object))?;
        Ok(Bound { snapshot, stream, lookup })
    }

    async fn lookup(&self, object: &Object) -> Result<ServiceLookup> {
        let workspace = object.home().workspace().ok_or_else(|| Error::internal("a view is in no workspace"))?;
        let scope = self.warehouse.scope(workspace, Vec::new(), Asker::Server);
        let planner = self.warehouse.planner(scope, self.warehouse.clock.now_us());
        ServiceLookup::bind(&planner, object).await
    }

    /// Sends what the events from one offset to another have changed; gives how many messages brokers have acknowledged,
    /// or None if it was stopped before they had.
    fn send_changes(&self, sender: &Sender, bound: &Bound, range: (u64, u64)) -> Result<Option<u64>, Trouble> {
        let changed = self.warehouse.ingest.changed_keys(&bound.snapshot, &bound.stream, self.sink.view, range);
        let keys = self.runtime.block_on(changed)?;
        let mut count = 0;
        for keys in keys.chunks(LOOKUP_KEYS) {
            let asked: Vec<AskedRow> =
                keys.iter().map(|keys| AskedRow { keys: keys.clone(), request: Vec::new() }).collect();
            let now_us = self.warehouse.clock.now_us();
            let rows = bound.lookup.answer(&asked, now_us.into())?;
            for (row, asked) in asked.iter().enumerate() {
                let columns = &bound.lookup.keys;
                let own = columns.iter().zip(&asked.keys);
                let own = own.map(|(column, value)| (column.name.as_str(), &column.data_type, value.as_ref()));
                let features = bound
                    .lookup
                    .features
                    .iter()
                    .zip(&rows.columns)
                    .map(|(feature, values)| (feature.feature.as_str(), &feature.data_type, values[row].as_ref()));
                let payload = message::payload(own.chain(features), now_us);
                let key = message::key(columns, &asked.keys);
                while !sender.send(&key, &payload)? {
                    if self.stop.is_cancelled() {
                        return Ok(None);
                    }
                    self.note_problem(sender.problem());
                }
                count += 1;
            }
        }
        while !sender.is_delivered(WAIT)? {
            if self.stop.is_cancelled() {
                return Ok(None);
            }
            self.note_problem(sender.problem());
        }
        Ok(Some(count))
    }

    fn note_problem(&self, problem: Option<Problem>) {
        match problem {
            None => self.note(SinkState::Sending, None),
            Some(Problem::Away(text)) => self.note(SinkState::Reconnecting, Some(text)),
            Some(Problem::Failed(text)) => self.note(SinkState::Failing, Some(text)),
        }
    }

    fn note(&self, state: SinkState, error: Option<String>) {
        self.warehouse.ingest.note_sink(self.sink.header.id, state, error);
    }

    fn pause(&self) {
        let stopped = self.stop.cancelled();
        // the time passes or somebody stops it
        let _ = self.runtime.block_on(async { tokio::time::timeout(WAIT, stopped).await });
    }
}
