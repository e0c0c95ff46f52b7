//! What readers see of a shard: one commit of its file, and the items that were put since.

use std::ops::Range;
use std::sync::Arc;

use super::front::Layer;
use super::stored::Stored;
use crate::error::Result;
use crate::online::Item;
use crate::online::codec;
use crate::row::Key;

/// One state of a shard.
pub struct Snapshot {
    pub stored: Arc<Stored>,
    layers: Vec<Arc<Layer>>,
    /// the last write into the layers that is seen
    written: u64,
}

impl Snapshot {
    pub fn new(stored: Arc<Stored>, layers: Vec<Arc<Layer>>, written: u64) -> Snapshot {
        Snapshot { stored, layers, written }
    }

    /// Calls `visit` with every item of the key with a time in `times`, ascending by (time, sequence, secondary).
    pub fn visit_items(
        &self,
        view: u64,
        key: &Key,
        times: Range<i64>,
        mut visit: impl FnMut(Item) -> Result<()>,
    ) -> Result<()> {
        let prefix = codec::prefix(view, key)?;
        let prefix_length = prefix.len();
        let mut fresh = self.fresh_items(view, key, &times).into_iter().peekable();
        self.stored.scan(codec::item_bounds(prefix, times.start, times.end), |row_key, value| {
            while let Some((_, item)) = fresh.next_if(|(own, _)| own.as_slice() < row_key) {
                visit(item)?;
            }
            match fresh.next_if(|(own, _)| own.as_slice() == row_key) {
                Some((_, item)) => visit(item),
                None => visit(codec::read_item(prefix_length, row_key, value)?),
            }
        })?;
        fresh.try_for_each(|(_, item)| visit(item))
    }

    /// The last item of the key with a time in `times`.
    pub fn newest_item(&self, view: u64, key: &Key, times: Range<i64>) -> Result<Option<Item>> {
        let prefix = codec::prefix(view, key)?;
        let prefix_length = prefix.len();
        let fresh = self.fresh_items(view, key, &times).pop();
        let bounds = codec::item_bounds(prefix, times.start, times.end);
        let stored = self.stored.last(bounds, |row_key, value| match &fresh {
            Some((own, _)) if own.as_slice() >= row_key => Ok(None),
            _ => codec::read_item(prefix_length, row_key, value).map(Some),
        })?;
        Ok(stored.flatten().or(fresh.map(|(_, item)| item)))
    }

    /// The items of the key that the file does not have, or has as they were before; the last one of each row, ascending.
    fn fresh_items(&self, view: u64, key: &Key, times: &Range<i64>) -> Vec<(Vec<u8>, Item)> {
        let mut fresh = Vec::new();
        for layer in &self.layers {
            layer.add_items((view, key), self.written, times, &mut fresh);
        }
        // stable, so that of one row the last write is the last
        fresh.sort_by(|a, b| a.0.cmp(&b.0));
        fresh.reverse();
        fresh.dedup_by(|a, b| a.0 == b.0);
        fresh.reverse();
        fresh
    }

    /// The times of items of the key that no span of the file has, ascending, each once.
    pub fn fresh_times(&self, view: u64, key: &Key) -> Vec<i64> {
        let mut times = Vec::new();
        for layer in &self.layers {
            layer.add_times((view, key), self.written, &mut times);
        }
        times.sort_unstable();
        times.dedup();
        times
    }

    /// Whether there is anything of the key in the view.
    pub fn has(&self, view: u64, key: &Key) -> Result<bool> {
        Ok(self.layers.iter().any(|layer| layer.has(view, key, self.written)) || self.stored.has(view, key)?)
    }

    /// The keys of a view, ascending.
    pub fn keys(&self, view: u64) -> Result<impl Iterator<Item = Result<Key>> + use<>> {
        Ok(merged(self.stored.keys(view, None)?, self.fresh_keys(view, |_| true)))
    }

    /// Those that begin with `leading`, ascending.
    pub fn keys_that_begin(&self, view: u64, leading: &Key) -> Result<impl Iterator<Item = Result<Key>> + use<>> {
        let fresh = self.fresh_keys(view, |key| key.as_bytes().starts_with(leading.as_bytes()));
        Ok(merged(self.stored.keys_that_begin(view, leading)?, fresh))
    }

    fn fresh_keys(&self, view: u64, wanted: impl Fn(&Key) -> bool) -> Vec<Key> {
        let mut keys = Vec::new();
        for layer in &self.layers {
            layer.add_keys(view, self.written, &wanted, &mut keys);
        }
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

/// Two ascending lists as one; what is in both once.
fn merged(stored: impl Iterator<Item = Result<Key>>, fresh: Vec<Key>) -> impl Iterator<Item = Result<Key>> {
    let (mut stored, mut fresh) = (stored.peekable(), fresh.into_iter().peekable());
    std::iter::from_fn(move || match (stored.peek(), fresh.peek()) {
        (Some(Ok(next)), Some(own)) if next > own => fresh.next().map(Ok),
        (Some(Ok(next)), Some(own)) => {
            if next == own {
                fresh.next();
            }
            stored.next()
        }
        (Some(_), _) => stored.next(),
        (None, _) => fresh.next().map(Ok),
    })
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("stored", &self.stored).field("written", &self.written).finish_non_exhaustive()
    }
}
