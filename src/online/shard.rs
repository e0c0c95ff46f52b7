//! One redb file: a writer at a time, any number of readers on the snapshot that the last commit left.
//!
//! Two tables. `rows` is entity-major, for lookups. `keys` lists (view, key): without it, listing, expiring or
//! replacing one view would read the rows of all views. It costs one small entry per key and view, and one more
//! probe per key of a batch. A third, `meta`, has the generation counter.

mod claims;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use redb::{
    Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table, TableDefinition,
};

use super::cache::{LastWrites, RowCache};
use super::codec;
use super::errors::{damaged, storage_error};
use super::spans::{DIVIDED, SpanPlan, SpanWriter, Written, clear, clear_before};
use super::{FIRST_PUSHED, ItemRow, LatestRow};
use crate::error::Result;
use crate::row::Key;

const ROWS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("rows");
const KEYS: TableDefinition<&[u8], ()> = TableDefinition::new("keys");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const GENERATION: &str = "generation";

/// Rows in one commit; more hold the writer, and its memory, for too long.
pub(super) const BATCH_ROWS: usize = 10_000;
/// Keys whose spans are made in one commit, of which each may have any number of items.
const KEYS_AT_ONCE: usize = 100;

#[derive(Debug)]
pub(super) struct Shard {
    path: PathBuf,
    // before the database, so that it is closed first
    snapshot: RwLock<Arc<Snapshot>>,
    writer: Mutex<Writer>,
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

/// One committed state of a shard.
pub(super) struct Snapshot {
    path: PathBuf,
    rows: ReadOnlyTable<&'static [u8], &'static [u8]>,
    keys: ReadOnlyTable<&'static [u8], ()>,
    version: u64,
    cache: Arc<RowCache>,
    last_writes: Arc<LastWrites>,
}

/// The tables of a shard inside a write transaction.
struct Tables<'txn> {
    path: &'txn Path,
    rows: Table<'txn, &'static [u8], &'static [u8]>,
    keys: Table<'txn, &'static [u8], ()>,
    generation: u64,
    touched: Touched,
}

/// The latest rows that a commit has written, or, where they have no bytes, removed.
type Touched = Vec<(u64, Key, Option<Vec<u8>>)>;

/// Which rows of a (view, key) shall go.
#[derive(Debug, Clone)]
pub(super) enum Doom {
    /// Items in `[start_us, end_us)`.
    Items {
        start_us: i64,
        end_us: i64,
    },
    /// Of those the ones of a generation before `before`; only those that were pushed, or only the others.
    Replaced {
        start_us: i64,
        end_us: i64,
        before: u64,
        pushed: bool,
    },
    /// Items with an earlier time, and the latest row if its `ts` is earlier.
    OlderThan {
        bound_us: i64,
    },
    /// Items that a later one with a time before `before_us` has taken the place of.
    Superseded {
        before_us: i64,
    },
    /// The latest row.
    Latest,
    Everything,
}

impl Shard {
    /// `create`: make the file if it does not exist; otherwise that is an error.
    /// `cache_bytes`: of pages; `cache`: of rows.
    pub(super) fn open(path: PathBuf, create: bool, cache_bytes: usize, cache: Arc<RowCache>) -> Result<Shard> {
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes);
        let database = if create { builder.create(&path) } else { builder.open(&path) };
        let database = database.map_err(|error| storage_error(&path, error))?;
        let generation = prepare(&database).map_err(|error| storage_error(&path, error))?;
        let last_writes = Arc::new(LastWrites::none());
        let snapshot = Snapshot::take(&path, &database, 0, &cache, &last_writes)?;
        Ok(Shard {
            path,
            snapshot: RwLock::new(Arc::new(snapshot)),
            writer: Mutex::new(Writer { dirty: false, generation, version: 0 }),
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
            self.write(|tables| {
                for of_key in batch.chunk_by(|a, b| a.key == b.key) {
                    tables.put_latest(view, of_key, always)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    pub(super) fn put_items(&self, view: u64, rows: Vec<ItemRow>, spans: Option<&SpanPlan>) -> Result<()> {
        let mut rows = rows
            .into_iter()
            .map(|row| Ok((codec::item_key(view, &row)?, row)))
            .collect::<Result<Vec<(Vec<u8>, ItemRow)>>>()?;
        // stable, so that of two rows with the same key the later one stays
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        for batch in rows.chunks(BATCH_ROWS) {
            self.write(|tables| {
                for of_key in batch.chunk_by(|a, b| a.1.key == b.1.key) {
                    tables.put_items(view, of_key, spans)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// From now on items are stamped with a new number, which is returned. An item with a lesser stamp was written
    /// before this call: that is how a replacement finds what it did not write, without remembering what it did.
    pub(super) fn next_generation(&self) -> Result<u64> {
        let mut writer = self.lock();
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
        let mut removed = 0;
        let mut after = None;
        loop {
            let snapshot = self.snapshot();
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
        self.write(|tables| tables.remove(view, key, &Doom::Latest, None)).map(|_| ())
    }

    pub(super) fn remove_key(&self, view: u64, key: &Key) -> Result<()> {
        self.write(|tables| tables.remove(view, key, &Doom::Everything, None)).map(|_| ())
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
        let mut after = None;
        loop {
            let snapshot = self.snapshot();
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
        self.publish(&mut writer, Touched::default())
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

    fn write<T>(&self, work: impl FnOnce(&mut Tables<'_>) -> Result<T>) -> Result<T> {
        let mut writer = self.lock();
        let generation = writer.generation;
        self.commit(&mut writer, |transaction| {
            let mut tables = Tables {
                path: &self.path,
                rows: transaction.open_table(ROWS).map_err(|error| storage_error(&self.path, error))?,
                keys: transaction.open_table(KEYS).map_err(|error| storage_error(&self.path, error))?,
                generation,
                touched: Touched::default(),
            };
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
        let begin = || -> Result<redb::WriteTransaction, redb::Error> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(Durability::None)?;
            Ok(transaction)
        };
        let transaction = begin().map_err(|error| storage_error(&self.path, error))?;
        let (result, touched) = work(&transaction)?;
        writer.dirty = true;
        transaction.commit().map_err(|error| storage_error(&self.path, error))?;
        self.publish(writer, touched)?;
        Ok(result)
    }

    fn publish(&self, writer: &mut MutexGuard<'_, Writer>, touched: Touched) -> Result<()> {
        writer.version += 1;
        // all of it is there before readers see the commit: see the cache
        self.last_writes.note(touched.iter().map(|(_, key, _)| key), writer.version);
        for (view, key, bytes) in touched {
            self.cache.put(view, &key, writer.version, bytes.as_deref());
        }
        let snapshot = Snapshot::take(&self.path, &self.database, writer.version, &self.cache, &self.last_writes)?;
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
        Ok(())
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

impl Snapshot {
    fn take(
        path: &Path,
        database: &Database,
        version: u64,
        cache: &Arc<RowCache>,
        last_writes: &Arc<LastWrites>,
    ) -> Result<Snapshot> {
        let open = || -> Result<_, redb::Error> {
            let transaction = database.begin_read()?;
            Ok((transaction.open_table(ROWS)?, transaction.open_table(KEYS)?))
        };
        let (rows, keys) = open().map_err(|error| storage_error(path, error))?;
        let (cache, last_writes) = (Arc::clone(cache), Arc::clone(last_writes));
        Ok(Snapshot { path: path.to_path_buf(), rows, keys, version, cache, last_writes })
    }

    pub(super) fn is_empty(&self) -> Result<bool> {
        self.rows.is_empty().map_err(|error| storage_error(&self.path, error))
    }

    /// Appends the bytes of the latest row of a key to `out`; whether there is one.
    pub(super) fn latest(&self, view: u64, key: &Key, out: &mut Vec<u8>) -> Result<bool> {
        if let Some(is_there) = self.cache.get(view, key, self.version, out) {
            return Ok(is_there);
        }
        let row_key = codec::latest_key(codec::prefix(view, key)?);
        let stored = self.rows.get(row_key.as_slice()).map_err(|error| storage_error(&self.path, error))?;
        let bytes = stored.as_ref().map(|value| value.value());
        self.cache.put_read(view, key, self.version, &self.last_writes, bytes);
        out.extend_from_slice(bytes.unwrap_or_default());
        Ok(bytes.is_some())
    }

    /// Calls `visit` with key and value of the last row in `[start, end)`, if there is one.
    pub(super) fn last<T>(
        &self,
        (start, end): (Vec<u8>, Vec<u8>),
        visit: impl FnOnce(&[u8], &[u8]) -> Result<T>,
    ) -> Result<Option<T>> {
        if start >= end {
            return Ok(None);
        }
        let fail = |error| storage_error(&self.path, error);
        let mut rows = self.rows.range(start.as_slice()..end.as_slice()).map_err(fail)?;
        let Some(last) = rows.next_back() else { return Ok(None) };
        let (row_key, value) = last.map_err(|error| storage_error(&self.path, error))?;
        visit(row_key.value(), value.value()).map(Some)
    }

    /// The form of the spans that are kept of a key's items, if some are.
    pub(super) fn spans_form(&self, view: u64, key: &Key) -> Result<Option<u64>> {
        spans_form(&self.rows, &self.path, &codec::prefix(view, key)?)
    }

    /// Whether spans are to be kept of the key's items.
    fn has_many_items(&self, view: u64, key: &Key) -> Result<bool> {
        let (start, end) = codec::item_bounds(codec::prefix(view, key)?, i64::MIN, i64::MAX);
        let items = self.rows.range(start.as_slice()..end.as_slice());
        let items = items.map_err(|error| storage_error(&self.path, error))?;
        Ok(items.take(DIVIDED).count() == DIVIDED)
    }

    pub(super) fn has(&self, view: u64, key: &Key) -> Result<bool> {
        let listed = codec::listing_key(view, key);
        Ok(self.keys.get(listed.as_slice()).map_err(|error| storage_error(&self.path, error))?.is_some())
    }

    /// Calls `visit` with key and value of every row in `[start, end)`.
    pub(super) fn scan(
        &self,
        (start, end): (Vec<u8>, Vec<u8>),
        visit: impl FnMut(&[u8], &[u8]) -> Result<()>,
    ) -> Result<()> {
        scan(&self.rows, &self.path, &start, &end, visit)
    }

    /// The keys of a view, ascending, from behind `after`.
    pub(super) fn keys(&self, view: u64, after: Option<&Key>) -> Result<impl Iterator<Item = Result<Key>> + use<>> {
        let prefix = codec::listing_prefix(view);
        let mut start = prefix.clone();
        if let Some(after) = after {
            start = codec::listing_key(view, after);
            // the next possible byte string
            start.push(0);
        }
        self.listed(start, prefix, 0)
    }

    /// Those that begin with `leading`, ascending.
    pub(super) fn keys_that_begin(
        &self,
        view: u64,
        leading: &Key,
    ) -> Result<impl Iterator<Item = Result<Key>> + use<>> {
        let prefix = codec::listing_key(view, leading);
        self.listed(prefix.clone(), prefix, leading.as_bytes().len())
    }

    /// The listed keys from `start` on, as long as they begin with `prefix`, whose last `of_key` bytes are the key's.
    fn listed(
        &self,
        start: Vec<u8>,
        prefix: Vec<u8>,
        of_key: usize,
    ) -> Result<impl Iterator<Item = Result<Key>> + use<>> {
        let path = self.path.clone();
        let range = self.keys.range(start.as_slice()..).map_err(|error| storage_error(&path, error))?;
        let begin = prefix.len() - of_key;
        Ok(range
            .map(move |entry| match entry {
                Err(error) => Err(storage_error(&path, error)),
                Ok((listed, _)) => {
                    let listed = listed.value();
                    Ok(listed.starts_with(&prefix).then(|| Key::from_bytes(&listed[begin..])))
                }
            })
            .map_while(Result::transpose))
    }

    fn doomed(&self, view: u64, key: &Key, doom: &Doom) -> Result<Vec<Vec<u8>>> {
        doomed(&self.rows, &self.path, view, key, doom)
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Tables<'_> {
    /// `rows` are of one key.
    fn put_latest(&mut self, view: u64, rows: &[LatestRow], always: bool) -> Result<()> {
        let fail = |error| storage_error(self.path, error);
        let Some(newest) = rows
            .iter()
            .reduce(|best, row| if (row.ts_us, row.arrival) >= (best.ts_us, best.arrival) { row } else { best })
        else {
            return Ok(());
        };
        let row_key = codec::latest_key(codec::prefix(view, &newest.key)?);
        let stored = self.rows.get(row_key.as_slice()).map_err(fail)?.map(|value| codec::latest_order(value.value()));
        match stored.transpose()? {
            Some(stored) if !always && stored > (newest.ts_us, newest.arrival) => return Ok(()),
            Some(_) => {}
            None => self.list(view, &newest.key)?,
        }
        let value = codec::latest_value(newest);
        self.rows.insert(row_key.as_slice(), value.as_slice()).map_err(|error| storage_error(self.path, error))?;
        self.touched.push((view, newest.key.clone(), Some(value)));
        Ok(())
    }

    /// `rows` are of one key, in the order of their row keys.
    fn put_items(&mut self, view: u64, rows: &[(Vec<u8>, ItemRow)], spans: Option<&SpanPlan>) -> Result<()> {
        let Some((_, ItemRow { key, .. })) = rows.first() else { return Ok(()) };
        self.list(view, key)?;
        let mut written = Vec::new();
        for (row_key, row) in rows {
            let value = codec::item_value(self.generation, &row.payload);
            let before = self.rows.insert(row_key.as_slice(), value.as_slice());
            let before = before.map_err(|error| storage_error(self.path, error))?;
            if spans.is_none() {
                continue;
            }
            match before {
                Some(before) if codec::read_item_value(before.value()).is_ok_and(|(_, known)| known == row.payload) => {
                }
                before => written.push(Written::new(row_key, row, before.is_none())),
            }
        }
        let prefix = codec::prefix(view, key)?;
        match spans {
            Some(plan) => SpanWriter::new(&mut self.rows, self.path, &prefix, plan).note(&written),
            // none that would be wrong
            None => match spans_form(&self.rows, self.path, &prefix)? {
                Some(_) => clear(&mut self.rows, self.path, &prefix),
                None => Ok(()),
            },
        }
    }

    fn make_spans(&mut self, view: u64, key: &Key, spans: Option<&SpanPlan>) -> Result<()> {
        let prefix = codec::prefix(view, key)?;
        match spans {
            Some(plan) => SpanWriter::new(&mut self.rows, self.path, &prefix, plan).make_anew(),
            None => clear(&mut self.rows, self.path, &prefix),
        }
    }

    /// Notes that the view has something of the key.
    fn list(&mut self, view: u64, key: &Key) -> Result<()> {
        let listed = codec::listing_key(view, key);
        let known = self.keys.get(listed.as_slice()).map_err(|error| storage_error(self.path, error))?.is_some();
        if !known {
            self.keys.insert(listed.as_slice(), ()).map_err(|error| storage_error(self.path, error))?;
        }
        Ok(())
    }

    fn remove(&mut self, view: u64, key: &Key, doom: &Doom, spans: Option<&SpanPlan>) -> Result<u64> {
        let fail = |error| storage_error(self.path, error);
        let prefix = codec::prefix(view, key)?;
        let doomed = doomed(&self.rows, self.path, view, key, doom)?;
        for row_key in &doomed {
            self.rows.remove(row_key.as_slice()).map_err(fail)?;
            if codec::is_latest(&prefix, row_key) {
                self.touched.push((view, key.clone(), None));
            }
        }
        let (start, end) = codec::without_spans_bounds(&prefix);
        let left = self.rows.range(start.as_slice()..end.as_slice()).map_err(fail)?.next().is_some();
        if !left {
            self.keys.remove(codec::listing_key(view, key).as_slice()).map_err(fail)?;
        }
        if !doomed.is_empty() && spans_form(&self.rows, self.path, &prefix)?.is_some() {
            match (doom, spans) {
                _ if !left => clear(&mut self.rows, self.path, &prefix)?,
                (Doom::Latest, _) => {}
                (Doom::OlderThan { bound_us }, _) => clear_before(&mut self.rows, self.path, &prefix, *bound_us)?,
                (_, Some(plan)) => {
                    SpanWriter::new(&mut self.rows, self.path, &prefix, plan).make_anew()?;
                }
                (_, None) => clear(&mut self.rows, self.path, &prefix)?,
            }
        }
        Ok(doomed.len() as u64)
    }
}

/// The form of the spans that are kept of a key's items, if some are.
fn spans_form(
    rows: &impl ReadableTable<&'static [u8], &'static [u8]>,
    path: &Path,
    prefix: &[u8],
) -> Result<Option<u64>> {
    let root = rows.get(codec::root_key(prefix).as_slice()).map_err(|error| storage_error(path, error))?;
    root.map(|root| Ok(codec::read_root(root.value())?.form)).transpose()
}

/// The row keys of `key` in `view` that shall go; spans are not among them.
fn doomed(
    rows: &impl ReadableTable<&'static [u8], &'static [u8]>,
    path: &Path,
    view: u64,
    key: &Key,
    doom: &Doom,
) -> Result<Vec<Vec<u8>>> {
    let prefix = codec::prefix(view, key)?;
    let prefix_length = prefix.len();
    let mut found = Vec::new();
    match doom {
        Doom::Latest => {
            let row_key = codec::latest_key(prefix);
            if rows.get(row_key.as_slice()).map_err(|error| storage_error(path, error))?.is_some() {
                found.push(row_key);
            }
        }
        Doom::Everything => {
            let (start, end) = codec::without_spans_bounds(&prefix);
            scan(rows, path, &start, &end, |row_key, _| {
                found.push(row_key.to_vec());
                Ok(())
            })?;
        }
        Doom::Items { start_us, end_us } => {
            let (start, end) = codec::item_bounds(prefix, *start_us, *end_us);
            scan(rows, path, &start, &end, |row_key, _| {
                found.push(row_key.to_vec());
                Ok(())
            })?;
        }
        Doom::Replaced { start_us, end_us, before, pushed } => {
            let (start, end) = codec::item_bounds(prefix, *start_us, *end_us);
            scan(rows, path, &start, &end, |row_key, value| {
                let is_old = codec::read_item_value(value)?.0 < *before;
                if is_old && (codec::read_sequence(prefix_length, row_key)? >= FIRST_PUSHED) == *pushed {
                    found.push(row_key.to_vec());
                }
                Ok(())
            })?;
        }
        Doom::Superseded { before_us } => {
            let (start, end) = codec::item_bounds(prefix, i64::MIN, *before_us);
            scan(rows, path, &start, &end, |row_key, _| {
                found.push(row_key.to_vec());
                Ok(())
            })?;
            // the last one holds on
            found.pop();
        }
        Doom::OlderThan { bound_us } => {
            let (_, end) = codec::item_bounds(prefix.clone(), *bound_us, *bound_us);
            scan(rows, path, &prefix, &end, |row_key, value| {
                if !codec::is_latest(&prefix, row_key) || codec::latest_order(value)?.0 < *bound_us {
                    found.push(row_key.to_vec());
                }
                Ok(())
            })?;
        }
    }
    Ok(found)
}

fn scan(
    rows: &impl ReadableTable<&'static [u8], &'static [u8]>,
    path: &Path,
    start: &[u8],
    end: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<()>,
) -> Result<()> {
    if start >= end {
        return Ok(());
    }
    for entry in rows.range(start..end).map_err(|error| storage_error(path, error))? {
        let (row_key, value) = entry.map_err(|error| storage_error(path, error))?;
        if row_key.value().len() < 2 {
            return Err(damaged("row"));
        }
        visit(row_key.value(), value.value())?;
    }
    Ok(())
}
