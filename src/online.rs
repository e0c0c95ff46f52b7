//! The online store: what a lookup needs, by entity key, in N redb files.
//!
//! A key lives in the shard that its stable hash picks; all rows of all views of one key are neighbours there, so
//! a feature vector is one range scan. Knows keys, views by number, times and bytes; of features no more than how the items
//! of a view are folded into spans of time ([`spans`]), which is told with every change of items.
//! All calls block: call them from a thread that may. One of the few modules that may use `redb`.

mod cache;
mod codec;
mod errors;
mod shard;
mod spans;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result, io_error};
use crate::metrics;
use crate::row::{Key, Value, bucket_of};
use crate::store_file::FileImage;
use cache::RowCache;
use shard::{BATCH_ROWS, Doom, Settler, Shard, Snapshot, Wanted};
pub use spans::SpanPlan;

/// Items with such a sequence or a greater one came by themselves: no replacement takes them away.
pub const FIRST_PUSHED: i64 = 1 << 62;
pub const DEFAULT_SHARDS: u32 = 4;
const MAX_SHARDS: u32 = 1024;
const META_FILE: &str = "store.json";
/// Of the files as a whole. Format 1 had no spans; a server that knows none would leave them as they are when it writes items.
const FORMAT: u32 = 2;
const FIRST_FORMAT: u32 = 1;
/// Below this a thread per shard costs more than it wins.
const PARALLEL_ROWS: usize = 1_000;

/// The newest row of a key in a view that serves attributes.
#[derive(Debug, Clone, PartialEq)]
pub struct LatestRow {
    pub key: Key,
    pub ts_us: i64,
    pub arrival: i64,
    pub effective_us: i64,
    pub values: Vec<Option<Value>>,
}

/// One tile or raw event of a key.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemRow {
    pub key: Key,
    pub time_us: i64,
    /// 0 for tiles; the arrival for raw events.
    pub sequence: i64,
    /// A scalar.
    pub secondary: Option<Value>,
    pub payload: Vec<u8>,
}

/// A [`LatestRow`] without its key, as read.
#[derive(Debug, Clone, PartialEq)]
pub struct Latest {
    pub ts_us: i64,
    pub arrival: i64,
    pub effective_us: i64,
    pub values: Vec<Option<Value>>,
}

/// An [`ItemRow`] without its key, as read.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub time_us: i64,
    pub sequence: i64,
    pub secondary: Option<Value>,
    pub payload: Vec<u8>,
}

/// One state of a span of a key's items, as read.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    pub start_us: i64,
    /// Of views that have one: `None` says that there are items, and no more.
    pub secondary: Option<Value>,
    pub payload: Vec<u8>,
}

/// The shards. Share it by reference: writers to one shard wait for each other, readers never wait.
#[derive(Debug)]
pub struct OnlineStore {
    shards: Vec<Arc<Shard>>,
    /// held for its end
    _settler: Settler,
}

/// A time in the life of a store, by shard.
#[derive(Debug, Clone)]
pub struct Generation(Vec<u64>);

/// One committed state of every shard. Holding it keeps the pages it needs on disk, so do not keep it for long.
#[derive(Debug, Clone)]
pub struct OnlineReader {
    shards: Vec<Arc<Snapshot>>,
}

/// One state of the store. Holding it keeps the pages that it needs on disk.
pub struct OnlineImage {
    shards: Vec<FileImage>,
}

impl OnlineImage {
    /// Makes a store of it in an empty folder. Reads and writes all rows.
    pub fn write_to(&self, dir: &Path) -> Result<()> {
        for (number, shard) in self.shards.iter().enumerate() {
            shard.write_to(&shard_path(dir, number as u32))?;
        }
        let shards = u32::try_from(self.shards.len()).expect("a store has few shards");
        write_meta(dir, &Meta { format: FORMAT, shards })
    }
}

/// Written last when a store is made; its format number covers the shard files too.
#[derive(Debug, Serialize, Deserialize)]
struct Meta {
    format: u32,
    shards: u32,
}

impl OnlineStore {
    /// Opens or makes the store in folder `dir`. The number of shards is fixed when it is made: for an existing
    /// store the argument is ignored. One half of `cache_bytes` is for pages of the files, shared out among the shards,
    /// the other for rows.
    ///
    /// Fails with [`Kind::ObjectInUse`] if another process has it open.
    pub fn open(dir: &Path, shards: u32, cache_bytes: usize) -> Result<OnlineStore> {
        fs::create_dir_all(dir).map_err(|error| io_error("create the folder", dir, error))?;
        let meta = read_meta(dir)?;
        let count = meta.as_ref().map_or(shards, |meta| meta.shards);
        if count == 0 || count > MAX_SHARDS {
            return Err(Error::new(
                Kind::InvalidParameterValue,
                format!("an online store has 1 to {MAX_SHARDS} shards, not {count}"),
            ));
        }
        let create = meta.is_none();
        let rows = RowCache::new(cache_bytes / 2);
        let rows = Arc::new(rows.map_err(|error| io_error("reserve memory for the rows of", dir, error))?);
        let of_pages = cache_bytes / 2 / count as usize;
        let wanted = Arc::new(Wanted::default());
        let open = |number| {
            let (rows, wanted) = (Arc::clone(&rows), Arc::clone(&wanted));
            Shard::open(shard_path(dir, number), create, of_pages, rows, wanted).map(Arc::new)
        };
        let shards = (0..count).map(open).collect::<Result<Vec<Arc<Shard>>>>()?;
        if create {
            // the shards come first: a store without this file is one whose making was cut short, and empty
            for shard in &shards {
                if !shard.snapshot().stored.is_empty()? {
                    let missing = dir.join(META_FILE);
                    return Err(Error::new(
                        Kind::DataCorrupted,
                        format!("\"{}\" is missing, but its store has rows", missing.display()),
                    )
                    .with_hint(
                        "write {\"format\":1,\"shards\":N} into it, N being the number of shard files beside it",
                    ));
                }
            }
        }
        if meta.is_none_or(|meta| meta.format != FORMAT) {
            write_meta(dir, &Meta { format: FORMAT, shards: count })?;
        }
        let settler = Settler::start(shards.clone(), wanted);
        let settler = settler.map_err(|error| io_error("start a thread for", dir, error))?;
        Ok(OnlineStore { shards, _settler: settler })
    }

    /// Per key: replaces the stored row unless its `(ts, arrival)` is newer. Visible at return, durable after
    /// [`OnlineStore::sync`].
    pub fn put_latest(&self, view: u64, rows: Vec<LatestRow>) -> Result<()> {
        self.spread(rows, |row| &row.key, |shard, rows| shard.put_latest(view, rows, false))
    }

    /// Afterwards the view's latest rows are `rows`, one a key, older or newer than before; a reader finds of each key
    /// the old or the new one, never a gap. Items stay. Remembers the keys while it runs. Killed and run again it ends
    /// the same.
    pub fn replace_latest(&self, view: u64, rows: impl IntoIterator<Item = Result<LatestRow>>) -> Result<()> {
        let mut kept = HashSet::new();
        let mut batch: Vec<LatestRow> = Vec::new();
        let put =
            |batch| self.spread(batch, |row: &LatestRow| &row.key, |shard, rows| shard.put_latest(view, rows, true));
        for row in rows {
            let row = row?;
            kept.insert(row.key.clone());
            batch.push(row);
            if batch.len() >= BATCH_ROWS * self.shards.len() {
                put(std::mem::take(&mut batch))?;
            }
        }
        put(batch)?;
        for key in self.reader()?.keys(view)? {
            let key = key?;
            if !kept.contains(&key) {
                self.shards[self.shard_of(&key)].remove_latest(view, &key)?;
            }
        }
        Ok(())
    }

    /// Upserts by (key, time, sequence, secondary), and keeps `spans` of them; of a view whose items have none they go.
    /// Visible at return, durable after [`OnlineStore::sync`].
    pub fn put_items(&self, view: u64, rows: Vec<ItemRow>, spans: Option<&SpanPlan>) -> Result<()> {
        self.spread(rows, |row| &row.key, |shard, rows| shard.put_items(view, rows, spans))
    }

    /// Sees to it that all items of a view that were ever put have these spans.
    pub fn keep_spans(&self, view: u64, spans: Option<&SpanPlan>) -> Result<()> {
        self.on_each(|_, shard| shard.keep_spans(view, spans, false)).map(|_| ())
    }

    /// Removes the view's items with a time in `range`, of all keys, and returns how many.
    pub fn remove_items(&self, view: u64, range: Range<i64>, spans: Option<&SpanPlan>) -> Result<u64> {
        let doom = Doom::Items { start_us: range.start, end_us: range.end };
        Ok(self.on_each(|_, shard| shard.remove(view, &doom, spans))?.into_iter().sum())
    }

    /// Afterwards the view's items with a time in `range` are `rows`, those that others put meanwhile, and those from
    /// [`FIRST_PUSHED`] on.
    ///
    /// Rows may come in any order and number. New ones are written over old ones first, what is left of the old
    /// ones goes last: at any moment a reader finds of each item the old or the new state, never a gap. Killed and
    /// run again it ends in the same state. Rows outside of `range` are an error. Two replacements of one range of
    /// one view must not run at the same time.
    pub fn replace_items(
        &self,
        view: u64,
        range: Range<i64>,
        rows: impl IntoIterator<Item = Result<ItemRow>>,
        spans: Option<&SpanPlan>,
    ) -> Result<()> {
        let Generation(generations) = self.next_generation()?;
        let mut batch = Vec::new();
        for row in rows {
            let row = row?;
            if !range.contains(&row.time_us) {
                return Err(Error::internal(format!("an item at {} is outside of {range:?}", row.time_us)));
            }
            batch.push(row);
            if batch.len() >= BATCH_ROWS * self.shards.len() {
                self.put_items(view, std::mem::take(&mut batch), spans)?;
            }
        }
        self.put_items(view, batch, spans)?;
        self.on_each(|number, shard| {
            let (start_us, end_us, before) = (range.start, range.end, generations[number]);
            shard.remove(view, &Doom::Replaced { start_us, end_us, before, pushed: false }, spans)
        })?;
        Ok(())
    }

    /// From now on items are new, for [`OnlineStore::remove_old_pushed`].
    pub fn next_generation(&self) -> Result<Generation> {
        self.shards.iter().map(|shard| shard.next_generation()).collect::<Result<_>>().map(Generation)
    }

    /// Removes the items from [`FIRST_PUSHED`] on that nobody has put since then, and makes all spans anew.
    pub fn remove_old_pushed(&self, view: u64, since: &Generation, spans: Option<&SpanPlan>) -> Result<()> {
        self.on_each(|number, shard| {
            let (start_us, end_us, before) = (i64::MIN, i64::MAX, since.0[number]);
            shard.remove(view, &Doom::Replaced { start_us, end_us, before, pushed: true }, None)?;
            shard.keep_spans(view, spans, true)
        })?;
        Ok(())
    }

    /// Removes everything of a view.
    pub fn remove_view(&self, view: u64) -> Result<()> {
        self.remove(view, &Doom::Everything).map(|_| ())
    }

    /// Removes everything of one key in a view.
    pub fn remove_key(&self, view: u64, key: &Key) -> Result<()> {
        self.shards[self.shard_of(key)].remove_key(view, key)
    }

    /// Removes everything of these keys in a view; gives those that had something.
    pub fn remove_keys<'a>(&self, view: u64, keys: impl IntoIterator<Item = &'a Key>) -> Result<Vec<&'a Key>> {
        let mut parts: Vec<Vec<&Key>> = self.shards.iter().map(|_| Vec::new()).collect();
        for key in keys {
            parts[self.shard_of(key)].push(key);
        }
        let mut found = Vec::new();
        for (shard, keys) in self.shards.iter().zip(&parts) {
            for keys in keys.chunks(BATCH_ROWS) {
                found.extend(shard.remove_keys(view, keys)?);
            }
        }
        Ok(found)
    }

    /// Removes items that a later one with a time before `before_us` has taken the place of; returns how many. For views
    /// of which the newest item answers.
    pub fn remove_superseded(&self, view: u64, before_us: i64) -> Result<u64> {
        self.remove(view, &Doom::Superseded { before_us })
    }

    /// Gives keys to the numbers that claim them, each unless another number had it before, or has it earlier in `claims`;
    /// whose they are afterwards, in the order of `claims`. Durable after [`OnlineStore::sync`].
    pub fn claim(&self, owner: u64, claims: Vec<(Key, u64)>) -> Result<Vec<u64>> {
        let places: Vec<usize> = claims.iter().map(|(key, _)| self.shard_of(key)).collect();
        let mut parts: Vec<Vec<(Key, u64)>> = self.shards.iter().map(|_| Vec::new()).collect();
        claims.into_iter().zip(&places).for_each(|(claim, place)| parts[*place].push(claim));
        let mut holders = Vec::with_capacity(parts.len());
        for (shard, part) in self.shards.iter().zip(&parts) {
            let held = if part.is_empty() { Vec::new() } else { shard.claim(owner, part)? };
            holders.push(held.into_iter());
        }
        Ok(places.iter().filter_map(|place| holders[*place].next()).collect())
    }

    /// Forgets all claims of an owner.
    pub fn remove_claims(&self, owner: u64) -> Result<()> {
        self.on_each(|_, shard| shard.remove_claims(owner)).map(|_| ())
    }

    /// A number that was kept under this name by [`OnlineStore::set_marks`].
    pub fn mark(&self, name: &str) -> Result<Option<u64>> {
        self.shards[0].mark(name)
    }

    /// Keeps numbers under names beside the rows, all or none; `None` takes a name away. Durable after
    /// [`OnlineStore::sync`].
    pub fn set_marks(&self, marks: &[(String, Option<u64>)]) -> Result<()> {
        self.shards[0].set_marks(marks)
    }

    /// Removes items with `time < bound_us` and latest rows with `ts < bound_us`; returns how many.
    pub fn expire(&self, view: u64, bound_us: i64) -> Result<u64> {
        self.remove(view, &Doom::OlderThan { bound_us })
    }

    /// Removes items that were put like this, and makes the spans of their keys anew.
    pub fn remove_these_items(&self, view: u64, rows: Vec<ItemRow>, spans: Option<&SpanPlan>) -> Result<()> {
        self.spread(rows, |row| &row.key, |shard, rows| shard.remove_these(view, &rows, spans))
    }

    /// Makes every write that returned before durable, on all shards. A crash undoes, shard by shard, everything
    /// after the last sync.
    pub fn sync(&self) -> Result<()> {
        self.on_each(|_, shard| shard.sync()).map(|_| ())
    }

    /// Writes what was put and is not in the files yet; nobody sees a difference.
    #[cfg(test)]
    fn settle(&self) -> Result<()> {
        self.shards.iter().try_for_each(|shard| shard.settle())
    }

    /// The newest committed state; cheap (one reference count per shard).
    pub fn reader(&self) -> Result<OnlineReader> {
        Ok(OnlineReader { shards: self.shards.iter().map(|shard| shard.snapshot()).collect() })
    }

    /// What the last commit of every shard left, as a crash would leave it. Marks are in the first shard, and its state is
    /// the first that is taken: of what they say nothing is missing in the others.
    pub fn image(&self) -> Result<OnlineImage> {
        Ok(OnlineImage { shards: self.shards.iter().map(|shard| shard.image()).collect::<Result<_>>()? })
    }

    fn remove(&self, view: u64, doom: &Doom) -> Result<u64> {
        Ok(self.on_each(|_, shard| shard.remove(view, doom, None))?.into_iter().sum())
    }

    fn shard_of(&self, key: &Key) -> usize {
        shard_of(key, self.shards.len())
    }

    /// Gives every shard its rows, in parallel if there are many.
    fn spread<R: Send>(
        &self,
        rows: Vec<R>,
        key_of: impl Fn(&R) -> &Key,
        put: impl Fn(&Shard, Vec<R>) -> Result<()> + Sync,
    ) -> Result<()> {
        let parallel = rows.len() >= PARALLEL_ROWS;
        let mut parts: Vec<Vec<R>> = self.shards.iter().map(|_| Vec::new()).collect();
        for row in rows {
            let number = self.shard_of(key_of(&row));
            parts[number].push(row);
        }
        let mut parts = self.shards.iter().zip(parts).filter(|(_, rows)| !rows.is_empty());
        if !parallel {
            return parts.try_for_each(|(shard, rows)| put(shard, rows));
        }
        std::thread::scope(|scope| {
            let put = &put;
            let running: Vec<_> = parts.map(|(shard, rows)| scope.spawn(move || put(shard, rows))).collect();
            running.into_iter().try_for_each(join)
        })
    }

    /// `work` on all shards in parallel.
    fn on_each<T: Send>(&self, work: impl Fn(usize, &Shard) -> Result<T> + Sync) -> Result<Vec<T>> {
        std::thread::scope(|scope| {
            let work = &work;
            let running: Vec<_> = self
                .shards
                .iter()
                .enumerate()
                .map(|(number, shard)| scope.spawn(move || work(number, shard)))
                .collect();
            running.into_iter().map(join).collect()
        })
    }
}

impl OnlineReader {
    pub fn latest(&self, view: u64, key: &Key) -> Result<Option<Latest>> {
        metrics::read_from_store(1);
        let mut bytes = Vec::new();
        self.shard(key).stored.latest(view, key, &mut bytes)?.then(|| codec::read_latest(&bytes)).transpose()
    }

    /// Appends the latest row to `out` as it is stored; gives its ts and where in `out` its values begin.
    pub fn latest_bytes(&self, view: u64, key: &Key, out: &mut Vec<u8>) -> Result<Option<(i64, usize)>> {
        metrics::read_from_store(1);
        let start = out.len();
        if !self.shard(key).stored.latest(view, key, out)? {
            return Ok(None);
        }
        let (ts_us, _) = codec::latest_order(&out[start..])?;
        Ok(Some((ts_us, start + codec::LATEST_VALUES)))
    }

    /// Makes ready for the latest rows of keys of views, of which there should be some and not too many.
    pub fn warm<'a>(&self, rows: impl Iterator<Item = (u64, &'a Key)>) {
        // all shards share the memory for rows
        if let Some(shard) = self.shards.first() {
            shard.stored.warm(rows);
        }
    }

    /// Items with a time in `times`, ascending by (time, sequence, secondary).
    pub fn items(&self, view: u64, key: &Key, times: Range<i64>) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        self.visit_items(view, key, times, |item| {
            items.push(item);
            Ok(())
        })?;
        Ok(items)
    }

    /// The last item with a time in `times`.
    pub fn newest_item(&self, view: u64, key: &Key, times: Range<i64>) -> Result<Option<Item>> {
        metrics::read_from_store(1);
        self.shard(key).newest_item(view, key, times)
    }

    /// Whether there is anything of the key in the view.
    pub fn has(&self, view: u64, key: &Key) -> Result<bool> {
        self.shard(key).has(view, key)
    }

    /// Like [`OnlineReader::items`] without collecting them.
    pub fn visit_items(
        &self,
        view: u64,
        key: &Key,
        times: Range<i64>,
        visit: impl FnMut(Item) -> Result<()>,
    ) -> Result<()> {
        metrics::read_from_store(1);
        self.shard(key).visit_items(view, key, times, visit)
    }

    /// The form of the spans that are kept of a key's items; `None` if there are none, as of few items.
    pub fn spans_form(&self, view: u64, key: &Key) -> Result<Option<u64>> {
        self.shard(key).stored.spans_form(view, key)
    }

    /// The times of the items of a key that its spans do not have, though they begin before and end behind them; ascending.
    pub fn times_without_spans(&self, view: u64, key: &Key) -> Vec<i64> {
        self.shard(key).fresh_times(view, key)
    }

    /// The spans of this width that start in `starts`, ascending by (start, secondary), those without one first. Only spans
    /// of many items are kept: what lies between them is few. One that a time of [`OnlineReader::times_without_spans`] lies
    /// in lacks an item.
    pub fn visit_spans(
        &self,
        view: u64,
        key: &Key,
        (width_us, starts): (i64, Range<i64>),
        mut visit: impl FnMut(Span) -> Result<()>,
    ) -> Result<()> {
        let prefix = codec::prefix(view, key)?;
        let bounds = codec::span_bounds(&prefix, width_us, starts.start, starts.end);
        self.shard(key).stored.scan(bounds, |row_key, value| {
            let (start_us, secondary) = codec::read_span_key(prefix.len(), row_key)?;
            visit(Span { start_us, secondary, payload: codec::read_span_value(value)?.1.to_vec() })
        })
    }

    /// Every key that has something in the view, each once; ascending within a shard, not over all.
    pub fn keys(&self, view: u64) -> Result<impl Iterator<Item = Result<Key>> + use<>> {
        let shards = self.shards.iter().map(|shard| shard.keys(view)).collect::<Result<Vec<_>>>()?;
        Ok(shards.into_iter().flatten())
    }

    /// Those keys of the view whose bytes begin with `leading`, which has the first of their values.
    pub fn keys_that_begin(&self, view: u64, leading: &Key) -> Result<impl Iterator<Item = Result<Key>> + use<>> {
        let shards = self.shards.iter().map(|shard| shard.keys_that_begin(view, leading));
        Ok(shards.collect::<Result<Vec<_>>>()?.into_iter().flatten())
    }

    fn shard(&self, key: &Key) -> &Snapshot {
        &self.shards[shard_of(key, self.shards.len())]
    }
}

fn shard_of(key: &Key, shards: usize) -> usize {
    bucket_of(key, u32::try_from(shards).expect("at most MAX_SHARDS")) as usize
}

fn join<T>(running: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn shard_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("shard-{number:04}.redb"))
}

fn read_meta(dir: &Path) -> Result<Option<Meta>> {
    let path = dir.join(META_FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read", &path, error)),
    };
    let meta: Meta = serde_json::from_slice(&bytes).map_err(|error| {
        Error::new(Kind::DataCorrupted, format!("\"{}\" is damaged: {error}", path.display())).with_source(error)
    })?;
    if (FIRST_FORMAT..=FORMAT).contains(&meta.format) {
        return Ok(Some(meta));
    }
    Err(Error::new(
        Kind::DataCorrupted,
        format!(
            "the online store \"{}\" has format {}, this server reads formats {FIRST_FORMAT} to {FORMAT}",
            dir.display(),
            meta.format,
        ),
    )
    .with_hint("use a newer server"))
}

fn write_meta(dir: &Path, meta: &Meta) -> Result<()> {
    let path = dir.join(META_FILE);
    let temporary = dir.join("store.json.new");
    let text = serde_json::to_vec(meta).expect("two numbers are JSON");
    let write = || {
        let mut file = fs::File::create(&temporary)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        fs::File::open(dir)?.sync_all()
    };
    write().map_err(|error| io_error("write", &path, error))
}
