//! Latest rows as they were last read or written, so that those asked for often are found without walking a tree of
//! pages.
//!
//! What is kept of a row has the number of the commit that it is of. A shard notes beside each group of keys the last
//! commit that wrote to one of them, before readers see that commit: what is kept is the row of a reader's state if
//! nothing was written to its group behind the older one of the two. So nobody has to be told of writes.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};

use crate::row::Key;

/// Groups of keys in a shard.
const GROUPS: usize = 1 << 14;
/// What a row takes beside its bytes, about.
const OVERHEAD_BYTES: u64 = 96;
/// How long keys and rows together are thought to be.
const EXPECTED_ROW_BYTES: usize = 256;

/// The rows of all shards, within a bound of memory.
#[derive(Debug)]
pub(super) struct RowCache(Cache<RowId, CachedRow, ByBytes>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct RowId {
    view: u64,
    key: Key,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RowRef<'a> {
    view: u64,
    key: &'a Key,
}

/// A row of a shard as of one of its commits; `None`: there is none.
#[derive(Debug, Clone)]
struct CachedRow {
    version: u64,
    bytes: Option<Arc<[u8]>>,
}

/// By group of keys, the last commit that wrote to one of them.
#[derive(Debug)]
pub(super) struct LastWrites(Box<[AtomicU64]>);

#[derive(Debug, Clone)]
struct ByBytes;

impl RowCache {
    pub(super) fn new(bytes: usize) -> RowCache {
        RowCache(Cache::with_weighter(bytes / EXPECTED_ROW_BYTES, bytes as u64, ByBytes))
    }

    /// The latest row as of the commit `version` of its shard, if it is kept.
    pub(super) fn get(&self, view: u64, key: &Key, version: u64, writes: &LastWrites) -> Option<Option<Arc<[u8]>>> {
        let cached = self.0.get(&RowRef { view, key })?;
        // looked at behind the row: who put a newer one there saw the commit, which was noted before
        let holds = writes.last(key) <= cached.version.min(version);
        holds.then_some(cached.bytes)
    }

    /// Keeps the latest row as of the commit `version`.
    pub(super) fn put(&self, view: u64, key: Key, version: u64, bytes: Option<Arc<[u8]>>) {
        self.0.insert(RowId { view, key }, CachedRow { version, bytes });
    }
}

impl LastWrites {
    pub(super) fn none() -> LastWrites {
        LastWrites((0..GROUPS).map(|_| AtomicU64::new(0)).collect())
    }

    fn last(&self, key: &Key) -> u64 {
        self.0[group_of(key)].load(Ordering::Acquire)
    }

    /// `groups`: those of [`group_of`].
    pub(super) fn note(&self, groups: &[usize], version: u64) {
        for group in groups {
            self.0[*group].store(version, Ordering::Release);
        }
    }
}

pub(super) fn group_of(key: &Key) -> usize {
    // the lowest bits pick the shard
    (key.stable_hash() >> 32) as usize % GROUPS
}

impl Weighter<RowId, CachedRow> for ByBytes {
    fn weight(&self, id: &RowId, row: &CachedRow) -> u64 {
        let bytes = id.key.as_bytes().len() + row.bytes.as_ref().map_or(0, |bytes| bytes.len());
        bytes as u64 + OVERHEAD_BYTES
    }
}

impl Hash for RowId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        RowRef { view: self.view, key: &self.key }.hash(state);
    }
}

impl Hash for RowRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.view);
        state.write(self.key.as_bytes());
    }
}

impl Equivalent<RowId> for RowRef<'_> {
    fn equivalent(&self, id: &RowId) -> bool {
        self.view == id.view && self.key == &id.key
    }
}
