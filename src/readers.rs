//! Readers: one for each stream that reads a topic or captures a table, in live workspaces.
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

use granary_catalog::{ObjectId, Snapshot, Stream, StreamIngest, Workspace};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::attendants::Attended;
use crate::warehouse::Warehouse;
use reader::Reader;

/// Keeps readers running until `shutdown`; then ends when they have.
pub async fn run(warehouse: Arc<Warehouse>, shutdown: CancellationToken) {
    let changed = Arc::clone(&warehouse.ingest.changed);
    Attended { name: "the reader of a stream", changed, wanted, start }.run(warehouse, shutdown).await;
}

/// The streams that are to be read.
fn wanted(snapshot: &Snapshot) -> HashMap<ObjectId, &Stream> {
    let is_live = |stream: &&Stream| snapshot.is_live(stream.header.home.workspace());
    let reads = |stream: &&Stream| !matches!(stream.ingest, StreamIngest::Push);
    let streams = snapshot.all::<Stream>().into_iter().filter(reads).filter(is_live);
    streams.map(|stream| (stream.header.id, stream)).collect()
}

fn start(
    warehouse: &Arc<Warehouse>,
    snapshot: &Snapshot,
    stream: Arc<Stream>,
    stop: CancellationToken,
) -> JoinHandle<()> {
    let workspace = stream.header.home.workspace().and_then(|id| snapshot.get_as::<Workspace>(id));
    let workspace = workspace.map_or_else(String::new, |workspace| workspace.header.name.clone());
    let reader = Reader::new(Arc::clone(warehouse), stream, workspace, stop);
    tokio::task::spawn_blocking(move || reader.run())
}
