//! The offline store: Delta tables in a folder, written by us and readable by everybody.
//!
//! A table is a folder of Parquet files and a Delta log that names them: a file is invisible until the commit that
//! adds it, so a reader sees one version, whole. Tables know columns, time and buckets; they know nothing of
//! feature views, of the catalog or of the query engine. The only module that may use `deltalake`.

mod copy;
mod durable;
mod errors;
mod folder;
mod log;
mod places;
mod read_versions;
mod reader;
mod removal;
mod schema;
mod statistics;
#[cfg(test)]
mod tests;
mod write;
mod writer;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use futures::FutureExt as _;
use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::error::{Error, Kind, Result, io_error};
use crate::row::Key;
use crate::time::Clock;
use crate::trace;
pub use copy::local_store;
use log::Snapshot;
pub use places::{Places, RowNumbers, changed_meanwhile};
pub use read_versions::ReadVersions;
pub use removal::Removed;
pub use schema::{BUCKET_COLUMN, MONTH_COLUMN};
pub use writer::ROW_GROUP_ROWS;

/// Rows on their way into a table.
pub type BatchStream = BoxStream<'static, Result<RecordBatch>>;

/// How the rows of a table lie in its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// No order but that of arrival: files are listed in the order of their commits.
    Plain,
    /// Partitioned by `_bucket` and `_month`, each file sorted by (`key_columns`, `time_column`).
    Keyed { time_column: String, bucket_count: u32, key_columns: Vec<String> },
}

/// What becomes of the rows that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteKind {
    Append,
    /// Rows whose time is in `[start_us, end_us)` go. Keyed tables only.
    ReplaceRange {
        start_us: i64,
        end_us: i64,
    },
    ReplaceAll,
}

/// Files that are to be written anew, as fewer or in better order. No row changes.
pub struct Rewrite {
    /// Of a keyed table all in one bucket and month; of a plain one its last files.
    pub files: Vec<PathBuf>,
    /// All rows of these files, in the order that the table keeps, with its columns as in [`Write::batches`].
    pub batches: BatchStream,
    /// Cancelling before the commit leaves the table as it was.
    pub cancel: CancellationToken,
}

/// One atomic change of a table's rows.
pub struct Write {
    pub kind: WriteKind,
    /// Batches with the table's columns, matched by name. For a keyed table the rows come sorted by
    /// (`_bucket`, keys, time); a column `_bucket` (Int32) beside the table's own is used instead of hashing the
    /// keys again.
    pub batches: BatchStream,
    /// Delta application transaction `(app_id, version)`: if the table has already recorded this version of
    /// `app_id`, or a later one, nothing is read or written.
    pub transaction: Option<(String, i64)>,
    /// Rows of a plain table that go, in the same commit.
    pub removed: Places,
    /// Cancelling before the commit leaves the table as it was.
    pub cancel: CancellationToken,
}

impl Write {
    pub fn new(kind: WriteKind, batches: BatchStream) -> Write {
        Write { kind, batches, transaction: None, removed: Places::new(), cancel: CancellationToken::new() }
    }

    #[must_use]
    pub fn without(mut self, removed: Places) -> Write {
        self.removed = removed;
        self
    }

    #[must_use]
    pub fn with_transaction(mut self, app_id: impl Into<String>, version: i64) -> Write {
        self.transaction = Some((app_id.into(), version));
        self
    }

    #[must_use]
    pub fn with_cancel(mut self, cancel: CancellationToken) -> Write {
        self.cancel = cancel;
        self
    }
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteOutcome {
    /// The table's version after it.
    pub version: i64,
    /// False if the application transaction had been recorded before.
    pub applied: bool,
    /// Rows that came in (not those that were copied because they shared a file with replaced ones).
    pub rows_written: u64,
    pub files_added: usize,
    pub files_removed: usize,
}

/// A change whose files are on disk, and which waits for its commit. Whoever holds it is the table's only writer; dropped,
/// its files are gone, and the table is as it was.
pub struct PreparedWrite {
    slot: Arc<Slot>,
    snapshot: Snapshot,
    /// None: its application transaction had been recorded before, or the commit has begun
    prepared: Option<write::Prepared>,
    _writing: tokio::sync::OwnedMutexGuard<()>,
}

impl Drop for PreparedWrite {
    fn drop(&mut self) {
        for file in self.prepared.iter().flat_map(|prepared| &prepared.change.add) {
            // what cannot be removed is an orphan, which the next start sweeps
            let _ = fs::remove_file(self.snapshot.table.path.join(&file.path));
        }
    }
}

/// One version of a table. Its files stay on disk as long as it is held, and then until [`OfflineStore::vacuum`].
#[derive(Debug)]
pub struct OfflineTable {
    pub id: String,
    /// The columns as created, without `_bucket` and `_month`.
    pub schema: SchemaRef,
    /// The columns as they lie in the files: [`OfflineTable::schema`] with what Parquet and Delta have no type for
    /// (time of day) as int8. Cast to `schema` after reading.
    pub file_schema: SchemaRef,
    pub layout: Layout,
    /// Keyed: by (bucket, month, path). Plain: in the order of their commits.
    pub files: Vec<DataFile>,
    pub version: i64,
    /// The folder of the table.
    pub path: PathBuf,
    folder: Arc<folder::Folder>,
}

#[cfg(test)]
impl OfflineTable {
    /// One that is nowhere.
    pub fn of_files(schema: SchemaRef, file_schema: SchemaRef, layout: Layout, files: Vec<DataFile>) -> OfflineTable {
        let path = PathBuf::from("/t");
        let folder = folder::Folder::new(&path);
        OfflineTable { id: "t".into(), schema, file_schema, layout, files, version: 1, path, folder }
    }
}

/// One Parquet file of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// Absolute.
    pub path: PathBuf,
    pub size_bytes: u64,
    pub rows: u64,
    pub bucket: Option<u32>,
    /// First day of the month of all its rows, in days since 1970.
    pub month: Option<i32>,
    /// Smallest and greatest time of its rows: exact if `sorted`, else bounds that may be a millisecond wide of it,
    /// or unknown. `None` for plain tables.
    pub min_time_us: Option<i64>,
    pub max_time_us: Option<i64>,
    /// Whether its rows are sorted by (keys, time): false for plain tables and for files that others rewrote.
    pub sorted: bool,
}

/// All offline tables of a warehouse, each a folder below `root`.
#[derive(Debug)]
pub struct OfflineStore {
    root: PathBuf,
    opened_at_us: i64,
    tables: Mutex<HashMap<String, Arc<Slot>>>,
    readers: Arc<read_versions::Readers>,
}

/// What the process knows of one table.
#[derive(Default)]
struct Slot {
    /// Held from the first look at the table to the commit.
    writer: Arc<tokio::sync::Mutex<()>>,
    /// Held while the log is read, so that many readers read it once.
    loader: tokio::sync::Mutex<()>,
    newest: RwLock<Option<Snapshot>>,
    /// Versions that somebody may still read, the newest among them.
    versions: Mutex<Vec<Weak<OfflineTable>>>,
}

/// Begins the name of a folder whose table was dropped.
const DROPPED: &str = ".dropped-";

/// Refuses columns that no table can have.
pub fn check_columns(schema: &Schema, layout: &Layout) -> Result<()> {
    let file_schema = schema::file_schema(&*schema::plain_schema(schema)?, layout)?;
    schema::delta_columns(&file_schema, layout).map(drop)
}

impl OfflineStore {
    /// Opens or makes the folder. One process may write to it.
    pub fn open(root: &Path) -> Result<OfflineStore> {
        fs::create_dir_all(root).map_err(|error| io_error("create the folder", root, error))?;
        let root = root.canonicalize().map_err(|error| io_error("open the folder", root, error))?;
        let entries = fs::read_dir(&root).map_err(|error| io_error("list the folder", &root, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| io_error("list the folder", &root, error))?;
            if entry.file_name().to_string_lossy().starts_with(DROPPED) {
                let path = entry.path();
                fs::remove_dir_all(&path).map_err(|error| io_error("remove", &path, error))?;
            }
        }
        // the machine's clock, since it is compared with times of files
        Ok(OfflineStore {
            root,
            opened_at_us: Clock::system().now_us(),
            tables: Mutex::default(),
            readers: Arc::default(),
        })
    }

    /// Makes an empty table. If `id` exists with an equal schema and layout, nothing happens; if they differ,
    /// the error is [`Kind::DuplicateTable`].
    ///
    /// `id` becomes a folder's name: letters, digits, `_`, `-` and, not in front, `.`.
    pub async fn create_table(&self, id: &str, schema: SchemaRef, layout: Layout) -> Result<()> {
        let path = self.path(id)?;
        let slot = self.slot(id);
        let _writing = slot.writer.lock().await;
        let schema = schema::plain_schema(&schema)?;
        match self.newest(id, &slot).await? {
            None => log::create(id, &path, &schema, &layout).boxed().await,
            Some(found) if found.table.schema == schema && found.table.layout == layout => Ok(()),
            Some(_) => Err(Error::new(
                Kind::DuplicateTable,
                format!("offline table \"{id}\" exists with other columns or another layout"),
            )),
        }
    }

    /// The newest version of table `id`, or `None` if there is no such table. Never waits for a writer.
    pub async fn table(&self, id: &str) -> Result<Option<Arc<OfflineTable>>> {
        self.path(id)?;
        Ok(self.newest(id, &self.slot(id)).await?.map(|newest| newest.table))
    }

    /// The same, and the newest version of the application transaction `app_id` that it has seen.
    pub async fn table_since(&self, id: &str, app_id: &str) -> Result<Option<(Arc<OfflineTable>, Option<i64>)>> {
        self.path(id)?;
        let Some(newest) = self.newest(id, &self.slot(id)).await? else { return Ok(None) };
        let version = newest.transaction_version(app_id).boxed().await?;
        Ok(Some((newest.table, version)))
    }

    /// The tables whose names begin so, in order.
    pub fn tables_beginning(&self, start: &str) -> Result<Vec<String>> {
        let failed = |error| io_error("list the folder", &self.root, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            if name.starts_with(start) {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Unlinks the table's folder. Dropping what does not exist is fine.
    pub async fn drop_table(&self, id: &str) -> Result<()> {
        let path = self.path(id)?;
        let slot = self.slot(id);
        let _writing = slot.writer.lock().await;
        let _loading = slot.loader.lock().await;
        let dropped = folder::take_away(&path).map_err(|error| io_error("drop", &path, error))?;
        slot.publish(None);
        let Some(dropped) = dropped else { return Ok(()) };
        let removed = tokio::task::spawn_blocking(move || {
            fs::remove_dir_all(&dropped).map_err(|error| io_error("remove", &dropped, error))
        });
        removed.await.map_err(|error| Error::internal("removing a folder panicked").with_source(error))?
    }

    /// As [`OfflineStore::drop_table`], of a table whose name nobody will give again: its files stay until nobody reads
    /// it any more. A crash before leaves what the next start removes.
    pub async fn retire_table(&self, id: &str) -> Result<()> {
        let slot = self.slot(id);
        let _writing = slot.writer.lock().await;
        let Some(newest) = self.newest(id, &slot).await? else { return Ok(()) };
        self.readers.changing(&newest.table, || slot.publish(None));
        newest.table.folder.doom();
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        Ok(())
    }

    /// One atomic commit: [`OfflineStore::prepare`] and [`OfflineStore::commit`].
    pub async fn write(&self, id: &str, write: Write) -> Result<WriteOutcome> {
        let prepared = self.prepare(id, write).await?;
        self.commit(prepared).await
    }

    /// Writes the files of a change, which is not to be seen before its commit. Writes to one table wait for each other,
    /// from here to the commit; those to different tables do not.
    ///
    /// If it fails, or its future or what it gives is dropped, the table is as it was; files already written are
    /// removed, or left for [`OfflineStore::sweep_orphans`] after the next start.
    pub async fn prepare(&self, id: &str, write: Write) -> Result<PreparedWrite> {
        self.path(id)?;
        let slot = self.slot(id);
        let writing = Arc::clone(&slot.writer).lock_owned().await;
        let snapshot = self.newest(id, &slot).await?.ok_or_else(|| unknown(id))?;
        let span = trace::store("offline write", || id.to_owned());
        let prepared = write::prepare(&snapshot, write, writer::LIMITS).boxed().instrument(span).await?;
        Ok(PreparedWrite { slot, snapshot, prepared, _writing: writing })
    }

    /// One atomic commit that changes no row: other files in place of some. `None`, and nothing is done, if the newest
    /// version has not all of them any more, or if they are not the last ones of a plain table.
    pub async fn rewrite(&self, id: &str, rewrite: Rewrite) -> Result<Option<WriteOutcome>> {
        self.path(id)?;
        let slot = self.slot(id);
        let writing = Arc::clone(&slot.writer).lock_owned().await;
        let snapshot = self.newest(id, &slot).await?.ok_or_else(|| unknown(id))?;
        let prepared = write::prepare_rewrite(&snapshot, rewrite, writer::LIMITS).boxed().await?;
        if prepared.is_none() {
            return Ok(None);
        }
        self.commit(PreparedWrite { slot, snapshot, prepared, _writing: writing }).await.map(Some)
    }

    /// One atomic commit without the rows of `keys`. The files that had them stay on disk until
    /// [`OfflineStore::vacuum`]. Cancelling before the commit leaves the table as it was. Nothing is done if there is no
    /// such table.
    pub async fn remove_keys(&self, id: &str, keys: &HashSet<Key>, cancel: &CancellationToken) -> Result<Removed> {
        self.path(id)?;
        let slot = self.slot(id);
        let writing = Arc::clone(&slot.writer).lock_owned().await;
        let Some(snapshot) = self.newest(id, &slot).await? else { return Ok(Removed::default()) };
        let (prepared, removed) = removal::prepare_removal(&snapshot, keys, cancel, writer::LIMITS).boxed().await?;
        self.commit(PreparedWrite { slot, snapshot, prepared, _writing: writing }).await.map(|_| removed)
    }

    /// Unlinks files that no commit names and that are older than this store's opening: what a crash left behind.
    /// Returns how many.
    pub async fn sweep_orphans(&self, id: &str) -> Result<usize> {
        let slot = self.slot(id);
        let _writing = slot.writer.lock().await;
        let Some(snapshot) = self.reload(id, &slot).await? else { return Ok(0) };
        write::sweep_orphans(&snapshot, self.opened_at_us, &slot.files_in_use()).boxed().await
    }

    /// Unlinks files that were removed from the table before `older_than_us`, except those of a version that somebody
    /// holds. Other programs' readers are not known here: the time is for them. Returns how many.
    pub async fn vacuum(&self, id: &str, older_than_us: i64) -> Result<usize> {
        let slot = self.slot(id);
        let _writing = slot.writer.lock().await;
        let Some(snapshot) = self.reload(id, &slot).await? else { return Ok(0) };
        write::vacuum(&snapshot, older_than_us, &slot.files_in_use()).boxed().await
    }

    /// Makes the files count. In a task of its own: once begun, it must end with the new version in place even if nobody
    /// waits for it.
    pub async fn commit(&self, mut write: PreparedWrite) -> Result<WriteOutcome> {
        let table = Arc::clone(&write.snapshot.table);
        let Some(prepared) = write.prepared.take() else {
            let version = table.version;
            return Ok(WriteOutcome { version, applied: false, rows_written: 0, files_added: 0, files_removed: 0 });
        };
        let readers = Arc::clone(&self.readers);
        let span = trace::store("offline commit", || table.id.clone());
        let committing = async move {
            let outcome = write::commit(&write.snapshot, prepared).await;
            // after a failure nobody knows whether the log took it: load it anew
            let after = outcome.as_ref().ok().and_then(|(_, after)| after.clone());
            readers.changing(&table, || write.slot.publish(after));
            drop(write);
            outcome.map(|(outcome, _)| outcome)
        };
        tokio::spawn(committing.instrument(span))
            .await
            .map_err(|error| Error::internal("an offline commit panicked").with_source(error))?
    }

    async fn newest(&self, id: &str, slot: &Slot) -> Result<Option<Snapshot>> {
        if let Some(newest) = slot.newest() {
            return Ok(Some(newest));
        }
        let _loading = slot.loader.lock().await;
        if let Some(newest) = slot.newest() {
            return Ok(Some(newest));
        }
        // the log's futures are large: whoever looks at a table need not hold them in its own
        let path = self.path(id)?;
        let loaded = Snapshot::load(id, &path).boxed().await?;
        slot.publish(loaded.clone());
        Ok(loaded)
    }

    /// What the log says now, also if another program has written to it.
    async fn reload(&self, id: &str, slot: &Slot) -> Result<Option<Snapshot>> {
        slot.publish(None);
        self.newest(id, slot).await
    }

    fn slot(&self, id: &str) -> Arc<Slot> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tables.entry(id.to_owned()).or_default())
    }

    fn path(&self, id: &str) -> Result<PathBuf> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if id.is_empty() || id.len() > 200 || id.starts_with('.') || !id.bytes().all(allowed) {
            return Err(Error::new(Kind::InvalidName, format!("\"{id}\" cannot name an offline table")));
        }
        Ok(self.root.join(id))
    }
}

impl Slot {
    fn newest(&self) -> Option<Snapshot> {
        self.newest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn publish(&self, snapshot: Option<Snapshot>) {
        if let Some(snapshot) = &snapshot {
            let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
            versions.retain(|version| version.strong_count() > 0);
            versions.push(Arc::downgrade(&snapshot.table));
        }
        *self.newest.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }

    fn files_in_use(&self) -> HashSet<PathBuf> {
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let held = versions.iter().filter_map(Weak::upgrade);
        held.flat_map(|version| version.files.iter().map(|file| file.path.clone()).collect::<Vec<_>>()).collect()
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let version = self.newest().map(|newest| newest.table.version);
        f.debug_struct("Slot").field("version", &version).finish_non_exhaustive()
    }
}

fn unknown(id: &str) -> Error {
    Error::new(Kind::UndefinedTable, format!("offline table \"{id}\" does not exist"))
}
