//! One redb file: a writer at a time, any number of readers on the snapshot that the last commit left, and few items in
//! front of it (`front`), which readers see with it.
//!
//! Two tables. `rows` is entity-major, for lookups. `keys` lists (view, key): without it, listing, expiring or
//! replacing one view would read the rows of all views. It costs one small entry per key and view, and one more
//! probe per key of a batch. A third, `meta`, has the generation counter.

mod claims;
mod front;
mod image;
mod settler;
mod snapshot;
mod stored;
mod tables;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use redb::{Database, Durability, ReadableDatabase, TableDefinition};

use super::cache::{LastWrites, RowCache};
use super::codec;
use super::errors::storage_error;
use super::spans::SpanPlan;
use super::{ItemRow, LatestRow};
use crate::error::Result;
use crate::row::Key;
use front::Front;
pub(super) use settler::{Settler, Wanted};
pub(super) use snapshot::Snapshot;
use stored::Stored;
pub(super) use tables::Doom;
use tables::{KeyedItem, Tables, Touched};

const ROWS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("rows");
const KEYS: TableDefinition<&[u8], ()> = TableDefinition::new("keys");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const GENERATION: &str = "generation";

/// Rows in one commit; more hold the writer, and its memory, for too long.
pub(super) const BATCH_ROWS: usize = 10_000;
/// So many items of a shard, put at once, are written into its file at once.
const ITEMS_INTO_FILE: usize = 2_000;
/// Keys whose spans are made in one commit, of which each may have any number of items.
const KEYS_AT_ONCE: usize = 100;

#[derive(Debug)]
pub(super) struct Shard {
    path: PathBuf,
    // before the database, so that it is closed first
    snapshot: RwLock<Arc<Snapshot>>,
    writer: Mutex<Writer>,
    /// Locked behind the writer, and whenever the snapshot is replaced.
    front: Mutex<Front>,
    wanted: Arc<Wanted>,
    cache: Arc<RowCache>,
    last_writes: Arc<LastWrites>,
    database: Database,
}

#[derive(Debug)]
struct Writer {
    /// Whether there are commits that a crash would roll back.
    dirty: bool,
    /// Stamped on every item; see [`Shard::next_generation`].
    generation: u64,
    /// of the last commit, counted since the start
    version: u64,
}

impl Shard {
    /// `create`: make the file if it does not exist; otherwise that is an error.
    /// `cache_bytes`: of pages; `cache`: of rows; `wanted`: of the thread that settles what is in front.
    pub(super) fn open(
        path: PathBuf,
        create: bool,
        cache_bytes: usize,
        cache: Arc<RowCache>,
        wanted: Arc<Wanted>,
    ) -> Result<Shard> {
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes);
        let database = if create { builder.create(&path) } else { builder.open(&path) };
        let database = database.map_err(|error| storage_error(&path, error))?;
        let generation = prepare(&database).map_err(|error| storage_error(&path, error))?;
        let last_writes = Arc::new(LastWrites::none());
        let stored = Arc::new(Stored::take(&path, &database, 0, &cache, &last_writes)?);
        let front = Front::default();
        Ok(Shard {
            path,
            snapshot: RwLock::new(Arc::new(Snapshot::new(stored, front.layers(), front.written()))),
            writer: Mutex::new(Writer { dirty: false, generation, version: 0 }),
            front: Mutex::new(front),
            wanted,
            cache,
            last_writes,
            database,
        })
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// With `always`, also over a newer row.
    pub(super) fn put_latest(&self, view: u64, mut rows: Vec<LatestRow>, always: bool) -> Result<()> {
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        for batch in rows.chunks(BATCH_ROWS) {
            self.write_apart(|tables| {
                for of_key in batch.chunk_by(|a, b| a.key == b.key) {
                    tables.put_latest(view, of_key, always)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Few items are put in front of the file, many into it.
    pub(super) fn put_items(&self, view: u64, rows: Vec<ItemRow>, spans: Option<&SpanPlan>) -> Result<()> {
        let keyed = rows.into_iter().map(|row| Ok((codec::item_key(view, &row)?, row)));
        let mut items = keyed.collect::<Result<Vec<KeyedItem>>>()?;
        if items.len() < ITEMS_INTO_FILE {
            return self.put_in_front(view, items, spans);
        }
        // stable, so that of two with the same key the later one stays
        items.sort_by(|a, b| a.0.cmp(&b.0));
        let items: Vec<&KeyedItem> = items.iter().collect();
        for batch in items.chunks(BATCH_ROWS) {
            self.write(|tables| {
                let mut of_keys = batch.chunk_by(|a, b| a.1.key == b.1.key);
                of_keys.try_for_each(|of_key| tables.put_items(view, of_key, spans))
            })?;
        }
        Ok(())
    }

    fn put_in_front(&self, view: u64, items: Vec<KeyedItem>, spans: Option<&SpanPlan>) -> Result<()> {
        if self.lock_front().is_full() {
            self.settle()?;
        }
        let mut front = self.lock_front();
        front.put(view, items, spans);
        let stored = Arc::clone(&self.snapshot().stored);
        self.show(Snapshot::new(stored, front.layers(), front.written()));
        if front.should_settle() {
            self.wanted.now();
        } else {
            self.wanted.soon();
        }
        Ok(())
    }

    /// Writes what is in front of the file into it.
    pub(super) fn settle(&self) -> Result<()> {
        if self.lock_front().is_empty() { Ok(()) } else { self.write(|_| Ok(())) }
    }

    /// From now on items are stamped with a new number, which is returned. An item with a lesser stamp was written
    /// before this call: that is how a replacement finds what it did not write, without remembering what it did.
    pub(super) fn next_generation(&self) -> Result<u64> {
        let mut writer = self.lock();
        self.settle_before(&mut writer)?;
        let next = writer.generation + 1;
        self.commit(&mut writer, |transaction| {
            let mut meta = transaction.open_table(META).map_err(|error| storage_error(&self.path, error))?;
            meta.insert(GENERATION, next).map_err(|error| storage_error(&self.path, error))?;
            Ok(((), Touched::default()))
        })?;
        writer.generation = next;
        Ok(next)
    }

    /// Removes what is doomed from every key of the view. Looks in snapshots and locks the writer only to remove,
    /// a bounded number of rows at a time (but all of one key together).
    pub(super) fn remove(&self, view: u64, doom: &Doom, spans: Option<&SpanPlan>) -> Result<u64> {
        self.settle()?;
        let mut removed = 0;
        let mut after = None;
        loop {
            let snapshot = Arc::clone(&self.snapshot().stored);
            let mut keys = Vec::new();
            let mut rows = 0;
            let mut looked_at = 0;
            for key in snapshot.keys(view, after.as_ref())? {
                let key = key?;
                let doomed = snapshot.doomed(view, &key, doom)?.len();
                if doomed > 0 {
                    rows += doomed;
                    keys.push(key.clone());
                }
                after = Some(key);
                looked_at += 1;
                // a bounded look keeps the snapshot, and the pages that it pins, young
                if rows >= BATCH_ROWS || looked_at >= 10 * BATCH_ROWS {
                    break;
                }
            }
            drop(snapshot);
            if !keys.is_empty() {
                removed += self.write(|tables| {
                    keys.iter().map(|key| tables.remove(view, key, doom, spans)).sum::<Result<u64>>()
                })?;
            }
            if looked_at == 0 {
                return Ok(removed);
            }
        }
    }

    pub(super) fn remove_latest(&self, view: u64, key: &Key) -> Result<()> {
        self.write_apart(|tables| tables.remove(view, key, &Doom::Latest, None)).map(|_| ())
    }

    pub(super) fn remove_key(&self, view: u64, key: &Key) -> Result<()> {
        self.write(|tables| tables.remove(view, key, &Doom::Everything, None)).map(|_| ())
    }

    /// Removes items that were put like this.
    pub(super) fn remove_these(&self, view: u64, rows: &[ItemRow], spans: Option<&SpanPlan>) -> Result<()> {
        let mut keys: HashMap<&Key, Vec<Vec<u8>>> = HashMap::new();
        for row in rows {
            keys.entry(&row.key).or_default().push(codec::item_key(view, row)?);
        }
        self.write(|tables| {
            for (key, items) in keys {
                tables.remove(view, key, &Doom::These(items), spans)?;
            }
            Ok(())
        })
    }

    /// Removes everything of these keys, in one commit; gives those that had something.
    pub(super) fn remove_keys<'a>(&self, view: u64, keys: &[&'a Key]) -> Result<Vec<&'a Key>> {
        self.write(|tables| {
            let mut found = Vec::new();
            for key in keys {
                if tables.remove(view, key, &Doom::Everything, None)? > 0 {
                    found.push(*key);
                }
            }
            Ok(found)
        })
    }

    /// Sees to it that every key has the spans of the plan; without one, none. `anew`: whatever they are now.
    pub(super) fn keep_spans(&self, view: u64, spans: Option<&SpanPlan>, anew: bool) -> Result<()> {
        self.settle()?;
        let mut after = None;
        loop {
            let snapshot = Arc::clone(&self.snapshot().stored);
            let mut keys = Vec::new();
            for key in snapshot.keys(view, after.as_ref())?.take(BATCH_ROWS) {
                keys.push(key?);
            }
            let Some(last) = keys.last() else { return Ok(()) };
            after = Some(last.clone());
            let mut lacking = Vec::new();
            for key in keys {
                let lacks = match snapshot.spans_form(view, &key)? {
                    None => spans.is_some() && snapshot.has_many_items(view, &key)?,
                    form => anew || form != spans.map(|spans| spans.form),
                };
                if lacks {
                    lacking.push(key);
                }
            }
            drop(snapshot);
            for keys in lacking.chunks(KEYS_AT_ONCE) {
                self.write(|tables| keys.iter().try_for_each(|key| tables.make_spans(view, key, spans)))?;
            }
        }
    }

    /// A number that was kept under this name.
    pub(super) fn mark(&self, name: &str) -> Result<Option<u64>> {
        let read = || -> Result<Option<u64>, redb::Error> {
            let meta = self.database.begin_read()?.open_table(META)?;
            Ok(meta.get(name)?.map(|mark| mark.value()))
        };
        read().map_err(|error| storage_error(&self.path, error))
    }

    /// Keeps numbers under names, all in one commit; `None` takes a name away.
    pub(super) fn set_marks(&self, marks: &[(String, Option<u64>)]) -> Result<()> {
        let mut writer = self.lock();
        self.commit(&mut writer, |transaction| {
            let fail = |error| storage_error(&self.path, error);
            let mut meta = transaction.open_table(META).map_err(|error| storage_error(&self.path, error))?;
            for (name, mark) in marks {
                match mark {
                    Some(mark) => drop(meta.insert(name.as_str(), mark).map_err(fail)?),
                    None => drop(meta.remove(name.as_str()).map_err(fail)?),
                }
            }
            Ok(((), Touched::default()))
        })
    }

    pub(super) fn sync(&self) -> Result<()> {
        let mut writer = self.lock();
        self.settle_before(&mut writer)?;
        if !writer.dirty {
            return Ok(());
        }
        let commit = || -> Result<(), redb::Error> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            transaction.set_quick_repair(true);
            Ok(transaction.commit()?)
        };
        commit().map_err(|error| storage_error(&self.path, error))?;
        writer.dirty = false;
        self.publish(&mut writer, 0, Touched::default())
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(|poisoned| {
            // a panic inside a transaction aborts it and leaves nothing half done; one behind it has perhaps not told the
            // cache of all rows
            self.cache.clear();
            self.writer.clear_poison();
            poisoned.into_inner()
        })
    }

    fn lock_front(&self) -> MutexGuard<'_, Front> {
        self.front.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Settles what is in front, then does `work`, in one commit.
    fn write<T>(&self, work: impl FnOnce(&mut Tables<'_>) -> Result<T>) -> Result<T> {
        let mut writer = self.lock();
        self.write_locked(&mut writer, true, work)
    }

    /// The same without settling, for what has nothing to do with items.
    fn write_apart<T>(&self, work: impl FnOnce(&mut Tables<'_>) -> Result<T>) -> Result<T> {
        let mut writer = self.lock();
        self.write_locked(&mut writer, false, work)
    }

    fn settle_before(&self, writer: &mut MutexGuard<'_, Writer>) -> Result<()> {
        if self.lock_front().is_empty() { Ok(()) } else { self.write_locked(writer, true, |_| Ok(())) }
    }

    fn write_locked<T>(
        &self,
        writer: &mut MutexGuard<'_, Writer>,
        settles: bool,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T>,
    ) -> Result<T> {
        let layers = if settles { self.lock_front().close() } else { Vec::new() };
        let generation = writer.generation;
        self.commit_settled(writer, layers.len(), |transaction| {
            let mut tables = Tables {
                path: &self.path,
                rows: transaction.open_table(ROWS).map_err(|error| storage_error(&self.path, error))?,
                keys: transaction.open_table(KEYS).map_err(|error| storage_error(&self.path, error))?,
                generation,
                touched: Touched::default(),
            };
            layers.iter().try_for_each(|layer| layer.settle(&mut tables))?;
            Ok((work(&mut tables)?, tables.touched))
        })
    }

    /// One commit that readers see when this returns, and that a crash may undo until the next sync. `work` also gives
    /// what it touched.
    fn commit<T>(
        &self,
        writer: &mut MutexGuard<'_, Writer>,
        work: impl FnOnce(&redb::WriteTransaction) -> Result<(T, Touched)>,
    ) -> Result<T> {
        self.commit_settled(writer, 0, work)
    }

    /// Of a commit that has the items of so many layers.
    fn commit_settled<T>(
        &self,
        writer: &mut MutexGuard<'_, Writer>,
        n_layers: usize,
        work: impl FnOnce(&redb::WriteTransaction) -> Result<(T, Touched)>,
    ) -> Result<T> {
        let begin = || -> Result<redb::WriteTransaction, redb::Error> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(Durability::None)?;
            Ok(transaction)
        };
        let transaction = begin().map_err(|error| storage_error(&self.path, error))?;
        let (result, touched) = work(&transaction)?;
        writer.dirty = true;
        transaction.commit().map_err(|error| storage_error(&self.path, error))?;
        self.publish(writer, n_layers, touched)?;
        Ok(result)
    }

    fn publish(&self, writer: &mut MutexGuard<'_, Writer>, n_layers: usize, touched: Touched) -> Result<()> {
        writer.version += 1;
        // all of it is there before readers see the commit: see the cache
        self.last_writes.note(touched.iter().map(|(_, key, _)| key), writer.version);
        for (view, key, bytes) in touched {
            self.cache.put(view, &key, writer.version, bytes.as_deref());
        }
        let stored = Stored::take(&self.path, &self.database, writer.version, &self.cache, &self.last_writes)?;
        let mut front = self.lock_front();
        front.take_off(n_layers);
        self.show(Snapshot::new(Arc::new(stored), front.layers(), front.written()));
        Ok(())
    }

    /// Called under the lock of the front.
    fn show(&self, snapshot: Snapshot) {
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
    }
}

/// Makes the tables of a new file and gives the generation of an old one.
fn prepare(database: &Database) -> Result<u64, redb::Error> {
    let reading = database.begin_read()?;
    match reading.open_table(META) {
        Ok(meta) => return Ok(meta.get(GENERATION)?.map_or(0, |generation| generation.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    transaction.open_table(ROWS)?;
    transaction.open_table(KEYS)?;
    transaction.open_table(META)?;
    transaction.commit()?;
    Ok(0)
}
