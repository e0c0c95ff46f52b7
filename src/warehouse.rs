//! The handles of one warehouse in one struct: what every action takes first. It opens and holds; it decides nothing.

mod channels;
mod gauges;
mod jobs;
mod locks;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use granary_catalog::{Catalog, FeatureTable, FeatureView, GroupId, Job, ObjectId, Stream};

use crate::access::Asker;
use crate::alerts::AlertStore;
use crate::audit::Audit;
use crate::engine::{
    Activity, BoundView, Engine, EngineConfig, Expiry, KeyIndexes, LateRows, NameScope, QueryPlanner, ReadStores,
    Samples, alert_samples, events_table, is_named_by_objects, is_of_joined_view, samples, served_from_us, tables_of,
    view_of_table,
};
use crate::error::{Error, Kind, Result, io_error};
use crate::ingest::Ingest;
use crate::metrics::Sample;
use crate::monitor::MonitorStore;
use crate::offline::OfflineStore;
use crate::online::OnlineStore;
use crate::openlineage::{Moment, Note, Outbox};
use crate::request_log::{LOG, RequestLog};
use crate::time::Clock;
pub use channels::{Channels, Listener, Notification};
use gauges::StoreSizes;
pub use jobs::RunningJobs;
pub use locks::{LockHolder, LockMode, TableLocks};

/// Where a warehouse lives and what it may use.
#[derive(Debug, Clone)]
pub struct WarehouseConfig {
    pub data_folder: PathBuf,
    pub memory_limit_bytes: usize,
    pub parallelism: usize,
    pub online_shards: u32,
    pub online_cache_bytes: usize,
    pub clock: Clock,
    /// jobs are made by themselves
    pub schedules: bool,
}

/// Everything that an action needs.
pub struct Warehouse {
    pub catalog: Arc<Catalog>,
    pub offline: Arc<OfflineStore>,
    pub online: Arc<OnlineStore>,
    pub engine: Arc<Engine>,
    pub ingest: Arc<Ingest>,
    /// profiles of runs
    pub monitor: Arc<MonitorStore>,
    /// what alerts have found and told
    pub alerts: Arc<AlertStore>,
    /// feature vectors that were served and are to be logged
    pub requests: Arc<RequestLog>,
    pub clock: Clock,
    pub activity: Arc<Activity>,
    pub expiry: Arc<Expiry>,
    pub late: Arc<LateRows>,
    pub locks: Arc<TableLocks>,
    pub channels: Arc<Channels>,
    pub audit: Audit,
    /// of tables with unique keys
    pub key_indexes: Arc<KeyIndexes>,
    pub jobs: Arc<RunningJobs>,
    store_sizes: StoreSizes,
    /// held while a backup is taken
    pub backing_up: tokio::sync::Mutex<()>,
    /// jobs are made by themselves
    pub schedules: bool,
    /// who is told of jobs; none, unless the server has somebody
    pub lineage: OnceLock<Outbox>,
    stores: ReadStores,
    /// held, by view, while its spans are folded
    folding: Mutex<HashMap<u64, Arc<tokio::sync::Mutex<()>>>>,
    /// held, by feature table, while rows are written to it
    writing: Mutex<HashMap<u64, Writing>>,
    n_forgotten: AtomicU64,
    /// stored tables that a crash has left without a name
    nameless: Vec<String>,
}

/// The lock of a feature table's writes. It holds the arrival of the last row; None if nobody knows whether the online
/// store has all rows of the offline one.
pub type Writing = Arc<tokio::sync::Mutex<Option<i64>>>;

/// Begins the name of a stored table whose rows wait for a COMMIT.
pub const STAGED: &str = "staged-";

impl std::fmt::Debug for Warehouse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Warehouse").finish_non_exhaustive()
    }
}

impl Warehouse {
    /// Opens the data folder, or makes it. Errors: `ObjectInUse` if another process has it open.
    pub fn open(config: &WarehouseConfig) -> Result<Warehouse> {
        let folder = &config.data_folder;
        create_folder(folder)?;
        let spill_folder = folder.join("spill");
        create_folder(&spill_folder)?;
        // The catalog first: it is the lock that keeps a second server out.
        let catalog = Catalog::open(&folder.join("catalog.redb"))?;
        let online = OnlineStore::open(&folder.join("online"), config.online_shards, config.online_cache_bytes)?;
        let offline = OfflineStore::open(&folder.join("offline"))?;
        let nameless = nameless_tables(&catalog, &folder.join("offline"))?;
        forget_groups_that_are_gone(&catalog)?;
        let catalog = Arc::new(catalog);
        let engine = Engine::new(&EngineConfig {
            memory_limit_bytes: config.memory_limit_bytes,
            spill_folder,
            parallelism: config.parallelism,
        })?;
        let stores = ReadStores {
            engine: Arc::new(engine),
            catalog,
            offline: Arc::new(offline),
            online: Arc::new(online),
            requests: Arc::default(),
            monitor: Arc::new(MonitorStore::open(&folder.join("monitor.redb"))?),
            tails: Arc::default(),
        };
        let audit = Audit::start(Arc::clone(&stores.catalog), config.clock.clone())?;
        Ok(Warehouse {
            catalog: Arc::clone(&stores.catalog),
            offline: Arc::clone(&stores.offline),
            online: Arc::clone(&stores.online),
            engine: Arc::clone(&stores.engine),
            monitor: Arc::clone(&stores.monitor),
            alerts: Arc::new(AlertStore::open(&folder.join("alerts.redb"))?),
            requests: Arc::clone(&stores.requests),
            ingest: Arc::new(Ingest::new(stores.clone(), config.clock.clone(), folder.join("ingest"))),
            stores,
            clock: config.clock.clone(),
            activity: Arc::default(),
            expiry: Arc::default(),
            late: Arc::default(),
            locks: Arc::default(),
            channels: Arc::default(),
            audit,
            key_indexes: Arc::default(),
            jobs: Arc::default(),
            store_sizes: StoreSizes::default(),
            backing_up: tokio::sync::Mutex::default(),
            schedules: config.schedules,
            lineage: OnceLock::new(),
            folding: Mutex::default(),
            writing: Mutex::default(),
            n_forgotten: AtomicU64::default(),
            nameless,
        })
    }

    /// A planner of queries that sees `scope` at `now_us`.
    pub fn planner(&self, scope: NameScope, now_us: i64) -> QueryPlanner {
        QueryPlanner::new(self.stores.clone(), scope, now_us)
    }

    /// The parts that reading needs.
    pub fn stores(&self) -> &ReadStores {
        &self.stores
    }

    /// Leaves a note of an attempt for OpenLineage, if anybody wants to know. It takes no time.
    pub fn tell_lineage(&self, job: &Job, attempt: u32, moment: Moment) {
        if let Some(outbox) = self.lineage.get() {
            let (at_us, snapshot) = (self.clock.now_us(), self.catalog.snapshot());
            outbox.tell(Note { job: job.clone(), attempt, moment, at_us, snapshot });
        }
    }

    /// What the stores say of streams, views and alerts, and what there is of the server at this moment, as metrics.
    pub fn samples(&self) -> Vec<Sample> {
        let mut samples = samples(&self.catalog, &self.stores.tails, self.clock.now_us());
        samples.extend(alert_samples(&self.catalog.snapshot(), &self.alerts));
        samples.extend(self.gauges());
        samples
    }

    /// The same for who asks later.
    pub fn samples_reader(self: &Arc<Self>) -> Samples {
        let warehouse = Arc::clone(self);
        Arc::new(move || warehouse.samples())
    }

    /// The names of a workspace's newest objects, for what `asker` wants of them.
    pub fn scope(&self, workspace: ObjectId, search_path: Vec<String>, asker: Asker) -> NameScope {
        let (snapshot, meant) = (self.catalog.snapshot(), Vec::new());
        NameScope { snapshot, workspace, search_path, process_id: 0, meant, asker }
    }

    /// The earliest time that a view is served as of at `now_us` or later: before now, if its windows end at the newest event.
    pub fn served_from_us(&self, view: &BoundView, now_us: i64) -> i64 {
        let snapshot = self.catalog.snapshot();
        let stream = snapshot.stream_among(&view.depends_on).map(|stream| stream.header.id);
        served_from_us(view, stream, &self.stores.tails, now_us)
    }

    /// How often, since the start, keys have left the online store for good. Who keeps answers of the store asks before
    /// reading it, and drops what was kept at another number.
    pub fn n_forgotten(&self) -> u64 {
        self.n_forgotten.load(Ordering::SeqCst)
    }

    /// To be said when the keys are out of the online store.
    pub fn keys_are_forgotten(&self) {
        self.n_forgotten.fetch_add(1, Ordering::SeqCst);
    }

    /// PostgreSQL's text of a role's SCRAM-SHA-256 verifier, if it has a password. Whether it may log in is said to
    /// those who know the password.
    pub fn is_superuser(&self, role: &str) -> bool {
        self.catalog.snapshot().role(role).is_some_and(|role| role.superuser)
    }

    pub fn scram_verifier(&self, role: &str) -> Option<String> {
        let snapshot = self.catalog.snapshot();
        let role = snapshot.role(role)?;
        role.scram_verifier.as_ref().map(|verifier| verifier.expose().to_owned())
    }

    /// Unlinks files that a table has given up, once no reader can be left. A failure only leaves them for the next time.
    pub async fn vacuum(&self, table: &str) {
        if let Err(error) = self.remove_files(table, LONGEST_READ_US).await {
            tracing::warn!(table, error = %error, "files that are no longer needed could not be removed");
        }
    }

    /// Unlinks files that a table has given up for `retain_us`, and that no reader here holds. Returns how many.
    pub async fn remove_files(&self, table: &str, retain_us: i64) -> Result<usize> {
        // the machine's clock, since the log has its times
        let older_than_us = Clock::system().now_us().saturating_sub(retain_us);
        self.offline.vacuum(table, older_than_us).await
    }

    /// Unlinks what a crash left behind. It may run beside everything else: only what is older than the opening goes.
    pub async fn sweep(&self) {
        for table in &self.nameless {
            if let Err(error) = self.offline.drop_table(table).await {
                tracing::warn!(table, error = %error, "rows that were never committed could not be removed");
            }
        }
        let snapshot = self.catalog.snapshot();
        if let Err(error) = self.monitor.retain_views(|view| snapshot.get(ObjectId(view)).is_some()) {
            tracing::warn!(error = %error, "profiles of views that are gone could not be removed");
        }
        let views = snapshot.all::<FeatureView>().into_iter().filter_map(|view| BoundView::of_feature_view(view).ok());
        let written = snapshot.all::<FeatureTable>().into_iter();
        let views = views.chain(written.filter_map(|table| BoundView::of_feature_table(table).ok()));
        let streams = snapshot.all::<Stream>().into_iter().map(|stream| events_table(stream.header.id));
        let tables = snapshot.objects().flat_map(|object| tables_of(object)).chain(streams);
        let of_view = |view: BoundView| {
            let mut tables = self.tables_of_rows(&view).unwrap_or_default();
            tables.extend(view.joins.then(|| view.events_table()));
            tables
        };
        for table in views.flat_map(of_view).chain(tables) {
            if let Err(error) = self.offline.sweep_orphans(&table).await {
                tracing::warn!(table, error = %error, "files of unfinished writes could not be removed");
            }
        }
    }

    /// The offline tables that a view's stored rows are in, each with the spans folded from it behind it. They need not
    /// exist yet.
    pub fn tables_of_rows(&self, view: &BoundView) -> Result<Vec<String>> {
        let mut tables = Vec::new();
        for group in view.by_group() {
            tables.push(group.offline_table());
            tables.extend(self.offline.tables_beginning(&group.span_tables())?);
        }
        Ok(tables)
    }

    /// To be locked by who folds spans of a view: one at a time.
    pub fn folding(&self, view: u64) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.folding.lock().unwrap_or_else(PoisonError::into_inner).entry(view).or_default())
    }

    /// To be locked by who changes the stored rows of a feature table: one at a time.
    pub fn writing(&self, table: u64) -> Writing {
        Arc::clone(self.writing.lock().unwrap_or_else(PoisonError::into_inner).entry(table).or_default())
    }
}

/// Files that a commit has given up stay this long for other programs that still read them.
pub const LONGEST_READ_US: i64 = 3_600_000_000;

/// What is materialized of groups of columns that a crash kept from being forgotten with their tables.
fn forget_groups_that_are_gone(catalog: &Catalog) -> Result<()> {
    let snapshot = catalog.snapshot();
    let groups_of = |view| snapshot.get_as::<FeatureView>(view).map(FeatureView::group_numbers);
    let is_known = |group: GroupId| groups_of(group.view).is_some_and(|groups| groups.contains(&group.group));
    Ok(catalog.ledger().keep_groups(is_known)?)
}

/// Stored tables that hold rows of transactions which did not end: no catalog will ever name them, the numbers of
/// tables are drawn. And those of joined views that were dropped while their stream was flushed, those of views that have
/// no such group of columns any more, and the logs of services that are no more.
fn nameless_tables(catalog: &Catalog, offline: &Path) -> Result<Vec<String>> {
    let snapshot = catalog.snapshot();
    let mut named: HashSet<String> = snapshot.objects().flat_map(|object| tables_of(object)).collect();
    for view in snapshot.all::<FeatureView>().into_iter().filter(|view| view.joins) {
        named.insert(BoundView::of_feature_view(view)?.events_table());
    }
    let mut of_views: HashMap<ObjectId, Vec<String>> = HashMap::new();
    for view in snapshot.all::<FeatureView>() {
        let groups = BoundView::of_feature_view(view)?.by_group();
        of_views.insert(view.header.id, groups.iter().map(BoundView::offline_table).collect());
    }
    let is_of_no_group = |name: &str| {
        let tables = view_of_table(name).and_then(|view| of_views.get(&view));
        tables.is_some_and(|tables| !tables.iter().any(|table| name.starts_with(table.as_str())))
    };
    let failed = |error| io_error("list the folder", offline, error);
    let mut nameless = Vec::new();
    for entry in std::fs::read_dir(offline).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        let is_named = is_named_by_objects(&name) || is_of_joined_view(&name);
        let logged = name.strip_prefix(LOG).and_then(|rest| rest.split_once('-')?.0.parse().ok().map(ObjectId));
        let is_old_log = logged.is_some_and(|service| snapshot.get(service).is_none());
        if name.starts_with(STAGED) || is_named && !named.contains(&name) || is_of_no_group(&name) || is_old_log {
            nameless.push(name);
        }
    }
    Ok(nameless)
}

fn create_folder(path: &Path) -> Result<()> {
    if path.exists() && !path.is_dir() {
        let message = format!("\"{}\" is a file, not a folder", path.display());
        return Err(Error::new(Kind::InvalidParameterValue, message).with_hint("name a folder with --data"));
    }
    std::fs::create_dir_all(path).map_err(|error| {
        io_error("create the folder", path, error).with_hint("name a folder that can be written to with --data")
    })
}
