//! Latest rows as they were last read or written, so that those asked for often are found without walking a tree of
//! pages.
//!
//! What is kept of a row has the number of the commit that it is of, and is the row of every later one too: a commit
//! that writes or removes a row puts that here before any reader sees the commit, and whoever reads a row from the store
//! keeps it only if no later commit has written to the row. Whether one has is noted by group of keys, before what the
//! commit wrote is put here; both happens under the lock of the row's part. A reader of an earlier commit than a row's
//! goes to the store.

mod ring;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use self::ring::{Ring, RowId};
use crate::row::Key;

/// Groups of keys in a shard.
const GROUPS: usize = 1 << 14;
/// So many parts for every processor, so that readers seldom wait for each other.
const PARTS_OF_A_PROCESSOR: usize = 4;
const MAX_PARTS: usize = 256;

/// The rows of all shards, within a bound of memory.
#[derive(Debug)]
pub(super) struct RowCache {
    /// a power of two of them; a key's hash picks one
    parts: Box<[Mutex<Ring>]>,
}

/// By group of keys, the last commit that wrote to one of them.
#[derive(Debug)]
pub(super) struct LastWrites(Box<[AtomicU64]>);

impl RowCache {
    /// Memory is taken as rows come, up to `bytes` and what it takes to find them, some 20 bytes a row.
    pub(super) fn new(bytes: usize) -> std::io::Result<RowCache> {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let count = (processors * PARTS_OF_A_PROCESSOR).next_power_of_two().min(MAX_PARTS);
        let parts = (0..count).map(|_| Ring::new(bytes / count).map(Mutex::new)).collect::<std::io::Result<_>>()?;
        Ok(RowCache { parts })
    }

    /// Appends the latest row as of the commit `version` of its shard to `out`, if it is kept. `Some(false)`: it is known
    /// that there is none.
    pub(super) fn get(&self, view: u64, key: &Key, version: u64, out: &mut Vec<u8>) -> Option<bool> {
        let hash = key.stable_hash();
        let id = row_id(view, key, hash);
        let mut part = self.part(hash);
        let kept = part.get(&id).filter(|kept| kept.version <= version)?;
        out.extend_from_slice(kept.row.unwrap_or_default());
        Some(kept.row.is_some())
    }

    /// Makes ready for [`RowCache::get`] of keys of views: to wait for memory one row after the other is most of what it takes.
    pub(super) fn warm<'a>(&self, rows: impl Iterator<Item = (u64, &'a Key)>) {
        let hashes = |(view, key): (u64, &'a Key)| {
            let hash = key.stable_hash();
            (self.part_of(hash), row_id(view, key, hash).hash)
        };
        let mut hashes: Vec<(usize, u64)> = rows.map(hashes).collect();
        hashes.sort_unstable();
        let mut places = Vec::with_capacity(hashes.len());
        for of_part in hashes.chunk_by(|a, b| a.0 == b.0) {
            self.numbered(of_part[0].0).warm(of_part.iter().map(|(_, hash)| *hash), &mut places);
        }
    }

    /// Keeps the latest row that the commit `version` has written, of which no reader knows yet; `None`: it was removed.
    pub(super) fn put(&self, view: u64, key: &Key, version: u64, row: Option<&[u8]>) {
        let hash = key.stable_hash();
        self.part(hash).put(&row_id(view, key, hash), version, row);
    }

    /// Keeps the latest row as of the commit `version`, as it was read; `None`: there is none.
    pub(super) fn put_read(&self, view: u64, key: &Key, version: u64, writes: &LastWrites, row: Option<&[u8]>) {
        let hash = key.stable_hash();
        let id = row_id(view, key, hash);
        let mut part = self.part(hash);
        if writes.last(hash) <= version {
            part.put(&id, version, row);
        }
    }

    pub(super) fn clear(&self) {
        (0..self.parts.len()).for_each(|number| self.numbered(number).clear());
    }

    /// Of a key's hash: the rows that a lookup of several views reads of it are together.
    fn part(&self, hash: u64) -> MutexGuard<'_, Ring> {
        self.numbered(self.part_of(hash))
    }

    fn part_of(&self, hash: u64) -> usize {
        // the highest bits: lower ones pick the shard and the group
        (hash >> 48) as usize & (self.parts.len() - 1)
    }

    fn numbered(&self, number: usize) -> MutexGuard<'_, Ring> {
        // what a panic has left is thrown away, not shown
        self.parts[number].lock().unwrap_or_else(|poisoned| {
            self.parts[number].clear_poison();
            let mut ring = poisoned.into_inner();
            ring.clear();
            ring
        })
    }
}

fn row_id(view: u64, key: &Key, hash: u64) -> RowId<'_> {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mixed = (hash ^ view.wrapping_mul(ODD)).wrapping_mul(ODD);
    RowId { view, key: key.as_bytes(), hash: mixed ^ (mixed >> 32) }
}

impl LastWrites {
    pub(super) fn none() -> LastWrites {
        LastWrites((0..GROUPS).map(|_| AtomicU64::new(0)).collect())
    }

    fn last(&self, hash: u64) -> u64 {
        self.0[group_of(hash)].load(Ordering::Acquire)
    }

    pub(super) fn note<'a>(&self, keys: impl Iterator<Item = &'a Key>, version: u64) {
        keys.for_each(|key| self.0[group_of(key.stable_hash())].store(version, Ordering::Release));
    }
}

fn group_of(hash: u64) -> usize {
    // the lowest bits pick the shard
    (hash >> 32) as usize % GROUPS
}
