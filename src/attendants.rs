//! A thread for each of some objects of the catalog, for as long as it has them as they are. They come and go as it changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use granary_catalog::{Definition, ObjectId, Snapshot};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::warehouse::Warehouse;

/// So often the catalog is looked at, if nobody says that it has changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// Which objects have one, and how it begins.
pub struct Attended<T> {
    /// for the log: what died, if one did
    pub name: &'static str,
    /// told when the catalog has changed
    pub changed: Arc<Notify>,
    /// objects, each with its id
    pub wanted: fn(&Snapshot) -> HashMap<ObjectId, &T>,
    /// It ends when it is told to stop, and is begun again if it ends before.
    pub start: fn(&Arc<Warehouse>, &Snapshot, Arc<T>, CancellationToken) -> JoinHandle<()>,
}

struct Running<T> {
    object: Arc<T>,
    stop: CancellationToken,
    ended: JoinHandle<()>,
}

impl<T> Running<T> {
    async fn end(self, id: ObjectId, name: &str) {
        self.stop.cancel();
        if let Err(error) = self.ended.await {
            tracing::error!(object = id.0, %error, "{name} died");
        }
    }
}

impl<T: Definition + Clone + PartialEq> Attended<T> {
    /// Keeps them running until `shutdown`; then ends when they have.
    pub async fn run(self, warehouse: Arc<Warehouse>, shutdown: CancellationToken) {
        let mut running: HashMap<ObjectId, Running<T>> = HashMap::new();
        loop {
            let snapshot = warehouse.catalog.snapshot();
            let wanted = (self.wanted)(&snapshot);
            let is_wanted = |id: &ObjectId, running: &Running<T>| {
                !running.ended.is_finished() && wanted.get(id).is_some_and(|object| **object == *running.object)
            };
            let ending: Vec<ObjectId> =
                running.iter().filter(|(id, running)| !is_wanted(id, running)).map(|(id, _)| *id).collect();
            for id in ending {
                if let Some(running) = running.remove(&id) {
                    running.end(id, self.name).await;
                }
            }
            for (id, object) in wanted {
                running.entry(id).or_insert_with(|| {
                    let (object, stop) = (Arc::new(object.clone()), CancellationToken::new());
                    let ended = (self.start)(&warehouse, &snapshot, Arc::clone(&object), stop.clone());
                    Running { object, stop, ended }
                });
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.changed.notified() => {}
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
        running.values().for_each(|running| running.stop.cancel());
        for (id, running) in running {
            running.end(id, self.name).await;
        }
    }
}
