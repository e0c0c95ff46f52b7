//! Sinks: a worker for each that the catalog has in live workspaces.
//!
//! A sink has a thread of its own, since librdkafka's calls block. It follows the events of the view's stream: for those
//! behind its position it asks which keys the view has of them, looks these up as anybody would, sends what it finds, and
//! moves on when brokers have acknowledged it (`worker`). So what is sent was durable before, and is in the view; and what
//! is sent again after a crash is what a lookup gives then.

mod message;
mod worker;

use std::collections::HashMap;
use std::sync::Arc;

use granary_catalog::{ObjectId, Sink, Snapshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::attendants::Attended;
use crate::warehouse::Warehouse;
use worker::Worker;

/// Keeps sinks running until `shutdown`; then ends when they have.
pub async fn run(warehouse: Arc<Warehouse>, shutdown: CancellationToken) {
    let changed = Arc::clone(&warehouse.ingest.sinks_changed);
    Attended { name: "a sink", changed, wanted, start }.run(warehouse, shutdown).await;
}

fn wanted(snapshot: &Snapshot) -> HashMap<ObjectId, &Sink> {
    let is_live = |sink: &&Sink| snapshot.is_live(sink.header.home.workspace());
    snapshot.all::<Sink>().into_iter().filter(is_live).map(|sink| (sink.header.id, sink)).collect()
}

fn start(warehouse: &Arc<Warehouse>, _: &Snapshot, sink: Arc<Sink>, stop: CancellationToken) -> JoinHandle<()> {
    let worker = Worker::new(Arc::clone(warehouse), sink, stop);
    tokio::task::spawn_blocking(move || worker.run())
}
