//! Readers: one for each stream that reads a topic or captures a table, in live workspaces. They come and go as the catalog changes.
//!
//! A reader has a thread of its own, since librdkafka's calls block. It reads a batch (`topic`, `table`), makes rows of the
//! messages (`rows`, `images`), lets every view try the events, and appends what is good with what is not (`reader`). While
//! the log takes a batch no other is read: what is held ahead is bounded, and then no more is asked for.

mod images;
mod reader;
mod rows;
mod table;
mod topic;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use granary_catalog::{ObjectId, Snapshot, Stream, StreamIngest, Workspace};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::warehouse::Warehouse;
use reader::Reader;

/// So often the catalog is looked at, if nobody says that it has changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

struct Running {
    stream: Arc<Stream>,
    stop: CancellationToken,
    ended: JoinHandle<()>,
}

impl Running {
    async fn end(self) {
        self.stop.cancel();
        if let Err(error) = self.ended.await {
            tracing::error!(stream = self.stream.header.name, %error, "the reader of a stream died");
        }
    }
}

/// Keeps readers running until `shutdown`; then ends when they have.
pub async fn run(warehouse: Arc<Warehouse>, shutdown: CancellationToken) {
    let mut running: HashMap<ObjectId, Running> = HashMap::new();
    let changed = Arc::clone(&warehouse.ingest.changed);
    loop {
        let snapshot = warehouse.catalog.snapshot();
        let wanted = wanted(&snapshot);
        let is_wanted = |running: &Running| {
            let same = |stream: &&Stream| **stream == *running.stream;
            !running.ended.is_finished() && wanted.get(&running.stream.header.id).is_some_and(same)
        };
        let ending: Vec<ObjectId> =
            running.iter().filter(|(_, running)| !is_wanted(running)).map(|(id, _)| *id).collect();
        for id in ending {
            if let Some(running) = running.remove(&id) {
                running.end().await;
            }
        }
        for (id, stream) in wanted {
            running.entry(id).or_insert_with(|| start(&warehouse, &snapshot, stream));
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

/// The streams that are to be read.
fn wanted(snapshot: &Snapshot) -> HashMap<ObjectId, &Stream> {
    let is_live = |stream: &&Stream| {
        let workspace = stream.header.home.workspace().and_then(|id| snapshot.get_as::<Workspace>(id));
        workspace.is_some_and(|workspace| workspace.live)
    };
    let reads = |stream: &&Stream| !matches!(stream.ingest, StreamIngest::Push);
    let streams = snapshot.all::<Stream>().into_iter().filter(reads).filter(is_live);
    streams.map(|stream| (stream.header.id, stream)).collect()
}

fn start(warehouse: &Arc<Warehouse>, snapshot: &Snapshot, stream: &Stream) -> Running {
    let stop = CancellationToken::new();
    let workspace = stream.header.home.workspace().and_then(|id| snapshot.get_as::<Workspace>(id));
    let workspace = workspace.map_or_else(String::new, |workspace| workspace.header.name.clone());
    let stream = Arc::new(stream.clone());
    let reader = Reader::new(Arc::clone(warehouse), Arc::clone(&stream), workspace, stop.clone());
    let ended = tokio::task::spawn_blocking(move || reader.run());
    Running { stream, stop, ended }
}
