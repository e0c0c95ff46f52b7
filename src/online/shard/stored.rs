//! What one commit has left in the file of a shard.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTableMetadata};

use super::tables::{Doom, doomed, scan, spans_form};
use super::{KEYS, ROWS};
use crate::error::Result;
use crate::online::cache::{LastWrites, RowCache};
use crate::online::codec;
use crate::online::errors::storage_error;
use crate::online::spans::DIVIDED;
use crate::row::Key;

/// One committed state of a shard's file.
pub struct Stored {
    path: PathBuf,
    rows: ReadOnlyTable<&'static [u8], &'static [u8]>,
    keys: ReadOnlyTable<&'static [u8], ()>,
    version: u64,
    cache: Arc<RowCache>,
    last_writes: Arc<LastWrites>,
}

impl Stored {
    pub fn take(
        path: &Path,
        database: &Database,
        version: u64,
        cache: &Arc<RowCache>,
        last_writes: &Arc<LastWrites>,
    ) -> Result<Stored> {
        let open = || -> Result<_, redb::Error> {
            let transaction = database.begin_read()?;
            Ok((transaction.open_table(ROWS)?, transaction.open_table(KEYS)?))
        };
        let (rows, keys) = open().map_err(|error| storage_error(path, error))?;
        let (cache, last_writes) = (Arc::clone(cache), Arc::clone(last_writes));
        Ok(Stored { path: path.to_path_buf(), rows, keys, version, cache, last_writes })
    }

    pub fn is_empty(&self) -> Result<bool> {
        self.rows.is_empty().map_err(|error| storage_error(&self.path, error))
    }

    /// Makes ready for [`Stored::latest`] of keys of views, of any shard.
    pub fn warm<'a>(&self, rows: impl Iterator<Item = (u64, &'a Key)>) {
        self.cache.warm(rows);
    }

    /// Appends the bytes of the latest row of a key to `out`; whether there is one.
    pub fn latest(&self, view: u64, key: &Key, out: &mut Vec<u8>) -> Result<bool> {
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
    pub fn last<T>(
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
    pub fn spans_form(&self, view: u64, key: &Key) -> Result<Option<u64>> {
        spans_form(&self.rows, &self.path, &codec::prefix(view, key)?)
    }

    /// Whether spans are to be kept of the key's items.
    pub fn has_many_items(&self, view: u64, key: &Key) -> Result<bool> {
        let (start, end) = codec::item_bounds(codec::prefix(view, key)?, i64::MIN, i64::MAX);
        let items = self.rows.range(start.as_slice()..end.as_slice());
        let items = items.map_err(|error| storage_error(&self.path, error))?;
        Ok(items.take(DIVIDED).count() == DIVIDED)
    }

    pub fn has(&self, view: u64, key: &Key) -> Result<bool> {
        let listed = codec::listing_key(view, key);
        Ok(self.keys.get(listed.as_slice()).map_err(|error| storage_error(&self.path, error))?.is_some())
    }

    /// Calls `visit` with key and value of every row in `[start, end)`.
    pub fn scan(&self, (start, end): (Vec<u8>, Vec<u8>), visit: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        scan(&self.rows, &self.path, &start, &end, visit)
    }

    /// The keys of a view, ascending, from behind `after`.
    pub fn keys(&self, view: u64, after: Option<&Key>) -> Result<impl Iterator<Item = Result<Key>> + use<>> {
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
    pub fn keys_that_begin(&self, view: u64, leading: &Key) -> Result<impl Iterator<Item = Result<Key>> + use<>> {
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

    pub fn doomed(&self, view: u64, key: &Key, doom: &Doom) -> Result<Vec<Vec<u8>>> {
        doomed(&self.rows, &self.path, view, key, doom)
    }
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored").field("path", &self.path).finish_non_exhaustive()
    }
}
