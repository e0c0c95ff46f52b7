//! What there is of a warehouse at a moment, as metrics: clients, jobs, bytes of stores, memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Warehouse;
use crate::config::resident_bytes;
use crate::metrics::{self, Metric, Sample};
use crate::time::Stopwatch;

static CONNECTIONS: Metric =
    Metric { name: "granary_connections", kind: "gauge", help: "Clients of SQL that are connected, by state." };
static JOBS: Metric =
    Metric { name: "granary_jobs", kind: "gauge", help: "Jobs that have not ended, by kind and state." };
static STORE_BYTES: Metric = Metric {
    name: "granary_store_bytes",
    kind: "gauge",
    help: "What the data folder's parts take on disk, looked at once a minute, by part.",
};
static QUERY_MEMORY: Metric =
    Metric { name: "granary_query_memory_bytes", kind: "gauge", help: "Memory that queries and jobs hold." };
static QUERY_MEMORY_LIMIT: Metric = Metric {
    name: "granary_query_memory_limit_bytes",
    kind: "gauge",
    help: "Memory that queries and jobs may hold before they spill.",
};
static PROCESS_START: Metric = Metric {
    name: "process_start_time_seconds",
    kind: "gauge",
    help: "When the server was started, in seconds since 1970, by the machine's clock.",
};
static PROCESS_MEMORY: Metric =
    Metric { name: "process_resident_memory_bytes", kind: "gauge", help: "Memory of the process." };

/// The parts of a data folder: files and folders of it.
const PARTS: [(&str, &str); 7] = [
    ("catalog", "catalog.redb"),
    ("monitor", "monitor.redb"),
    ("alerts", "alerts.redb"),
    ("online", "online"),
    ("offline", "offline"),
    ("ingest", "ingest"),
    ("spill", "spill"),
];
/// To walk over the folder of a large store takes a while.
const STORES_LOOKED_AT_EVERY: Duration = Duration::from_secs(60);

/// Parts, and their bytes.
type Sizes = Vec<(&'static str, u64)>;

/// The bytes of parts, and when they were looked at.
#[derive(Debug, Default)]
pub struct StoreSizes(Mutex<Option<(Stopwatch, Sizes)>>);

impl Warehouse {
    /// Clients, jobs, stores and memory, all of the server as a whole.
    pub fn gauges(&self) -> Vec<Sample> {
        let mut samples = Vec::new();
        let mut by_state: BTreeMap<&str, u64> =
            ["active", "idle", "idle in transaction"].map(|state| (state, 0)).into();
        for (_, client) in self.activity.all() {
            *by_state.entry(client.state).or_default() += 1;
        }
        for (state, count) in by_state {
            samples.push(metrics::sample(&CONNECTIONS, None, vec![("state", state.to_owned())], count as f64));
        }
        let mut jobs: BTreeMap<(&str, String), u64> = BTreeMap::new();
        for job in self.catalog.ledger().active() {
            *jobs.entry((job.request.work.kind(), job.state.to_string())).or_default() += 1;
        }
        for ((kind, state), count) in jobs {
            let labels = vec![("kind", kind.to_owned()), ("state", state)];
            samples.push(metrics::sample(&JOBS, None, labels, count as f64));
        }
        for (part, bytes) in self.store_bytes() {
            samples.push(metrics::sample(&STORE_BYTES, None, vec![("part", part.to_owned())], bytes as f64));
        }
        let (held, limit) = self.engine.memory();
        samples.push(metrics::sample(&QUERY_MEMORY, None, Vec::new(), held as f64));
        samples.push(metrics::sample(&QUERY_MEMORY_LIMIT, None, Vec::new(), limit as f64));
        let started = self.offline.opened_at_us() as f64 / 1e6;
        samples.push(metrics::sample(&PROCESS_START, None, Vec::new(), started));
        samples.extend(resident_bytes().map(|bytes| metrics::sample(&PROCESS_MEMORY, None, Vec::new(), bytes as f64)));
        samples
    }

    fn store_bytes(&self) -> Sizes {
        let mut known = self.store_sizes.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((looked_at, sizes)) = known.as_ref()
            && looked_at.elapsed() < STORES_LOOKED_AT_EVERY
        {
            return sizes.clone();
        }
        let Some(folder) = self.offline.root().parent() else { return Vec::new() };
        let sizes: Sizes = PARTS.iter().map(|(part, place)| (*part, bytes_of(&folder.join(place)))).collect();
        *known = Some((Stopwatch::start(), sizes.clone()));
        sizes
    }
}

/// Of a file, or of all files below a folder. What goes meanwhile, or is not there, is nothing.
fn bytes_of(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    entries.flatten().map(|entry| bytes_of(&entry.path())).sum()
}
