//! Sinks: one for each that the catalog has in live workspaces, for as long as it has it. They come and go as the catalog
//! changes.
//!
//! A sink has a thread of its own, since librdkafka's calls block. It follows the events of the view's stream: for those
//! behind its position it asks which keys the view has of them, looks these up as anybody would, sends what it finds, and
//! moves on when brokers have acknowledged it (`worker`). So what is sent was durable before, and is in the view; and what
//! is sent again after a crash is what a lookup gives then.

mod message;
mod worker;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use granary_catalog::{ObjectId, Sink, Snapshot, Workspace};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::warehouse::Warehouse;
use worker::Worker;

/// So often the catalog is looked at, if nobody says that it has changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

struct Running {
    sink: Arc<Sink>,
    stop: CancellationToken,
    ended: JoinHandle<()>,
}

impl Running {
    async fn end(self) {
        self.stop.cancel();
        if let Err(error) = self.ended.await {
            tracing::error!(sink = self.sink.header.name, %error, "a sink died");
        }
    }
}

/// Keeps sinks running until `shutdown`; then ends when they have.
pub async fn run(warehouse: Arc<Warehouse>, shutdown: CancellationToken) {
    let mut running: HashMap<ObjectId, Running> = HashMap::new();
    let changed = Arc::clone(&warehouse.ingest.sinks_changed);
    loop {
        let snapshot = warehouse.catalog.snapshot();
        let wanted = wanted(&snapshot);
        let is_wanted = |running: &Running| {
            let same = |sink: &&Sink| **sink == *running.sink;
            !running.ended.is_finished() && wanted.get(&running.sink.header.id).is_some_and(same)
        };
        let ending: Vec<ObjectId> =
            running.iter().filter(|(_, running)| !is_wanted(running)).map(|(id, _)| *id).collect();
        for id in ending {
            if let Some(running) = running.remove(&id) {
                running.end().await;
            }
        }
        for (id, sink) in wanted {
            running.entry(id).or_insert_with(|| start(&warehouse, sink));
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = changed.notified() => {}
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
    }
    running.values().for_each(|running| running.stop.cancel());
    for (_, running) in running {
        running.end().await;
    }
}

fn wanted(snapshot: &Snapshot) -> HashMap<ObjectId, &Sink> {
    let is_live = |sink: &&Sink| {
        let workspace = sink.header.home.workspace().and_then(|id| snapshot.get_as::<Workspace>(id));
        workspace.is_some_and(|workspace| workspace.live)
    };
    snapshot.all::<Sink>().into_iter().filter(is_live).map(|sink| (sink.header.id, sink)).collect()
}

fn start(warehouse: &Arc<Warehouse>, sink: &Sink) -> Running {
    let stop = CancellationToken::new();
    let sink = Arc::new(sink.clone());
    let worker = Worker::new(Arc::clone(warehouse), Arc::clone(&sink), stop.clone());
    let ended = tokio::task::spawn_blocking(move || worker.run());
    Running { sink, stop, ended }
}
