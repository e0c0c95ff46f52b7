//! Items that readers see already and that the file does not have yet, so that many small writes become one commit of it.
//!
//! They lie in layers. The last layer takes new items; whoever settles closes it, writes what it has into the file, and
//! takes it off in the moment in which readers get the commit. A reader holds the layers that there were with the commit
//! that it reads, and the number of the last write that it sees: so it finds every item once, whatever is settled meanwhile.
//!
//! A crash forgets them, as it forgets commits since the last sync: whoever syncs settles first.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use super::tables::{KeyedItem, Tables};
use crate::error::Result;
use crate::online::Item;
use crate::online::spans::SpanPlan;
use crate::row::Key;

/// A layer with so many items, or bytes in them, or items of one key, is to be settled at once.
const ITEMS_TO_SETTLE: usize = 4_000;
const BYTES_TO_SETTLE: usize = 4 << 20;
const ITEMS_OF_KEY_TO_SETTLE: usize = 64;
/// While a layer has so many, writers settle it themselves and wait for that.
const MOST_ITEMS: usize = 50_000;
const MOST_BYTES: usize = 64 << 20;
/// What is no payload of an item, about.
const ITEM_BYTES: usize = 200;

/// The layers as writers know them.
#[derive(Debug, Default)]
pub struct Front {
    /// in the order of their making
    layers: Vec<Arc<Layer>>,
    /// Whether the last one takes items.
    is_open: bool,
    n_items: usize,
    n_bytes: usize,
    most_of_key: usize,
    /// of the last write, counted since the start
    written: u64,
}

/// Items by view and key, each in the order of their writes.
#[derive(Debug, Default)]
pub struct Layer(RwLock<HashMap<u64, OfView>>);

#[derive(Debug, Default)]
struct OfView {
    /// those that are kept of the items
    spans: Option<SpanPlan>,
    keys: HashMap<Key, Vec<FrontItem>>,
}

#[derive(Debug)]
struct FrontItem {
    written: u64,
    item: KeyedItem,
}

impl Front {
    pub fn layers(&self) -> Vec<Arc<Layer>> {
        self.layers.clone()
    }

    pub fn written(&self) -> u64 {
        self.written
    }

    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.n_items >= MOST_ITEMS || self.n_bytes >= MOST_BYTES
    }

    pub fn should_settle(&self) -> bool {
        self.n_items >= ITEMS_TO_SETTLE || self.n_bytes >= BYTES_TO_SETTLE || self.most_of_key >= ITEMS_OF_KEY_TO_SETTLE
    }

    pub fn put(&mut self, view: u64, items: Vec<KeyedItem>, spans: Option<&SpanPlan>) {
        let has_other_spans = |layer: &Arc<Layer>| {
            let views = layer.0.read().unwrap_or_else(PoisonError::into_inner);
            views.get(&view).is_some_and(|of_view| of_view.spans.as_ref() != spans)
        };
        if !self.is_open || self.layers.last().is_some_and(has_other_spans) {
            self.layers.push(Arc::default());
            self.is_open = true;
        }
        let Some(layer) = self.layers.last() else { return };
        self.written += 1;
        self.n_items += items.len();
        let mut views = layer.0.write().unwrap_or_else(PoisonError::into_inner);
        let of_view = views.entry(view).or_insert_with(|| OfView { spans: spans.cloned(), ..OfView::default() });
        for item in items {
            self.n_bytes += item.1.payload.len() + ITEM_BYTES;
            let front_item = FrontItem { written: self.written, item };
            let key = &front_item.item.1.key;
            let known = match of_view.keys.get_mut(key) {
                Some(known) => known,
                None => of_view.keys.entry(key.clone()).or_default(),
            };
            known.push(front_item);
            self.most_of_key = self.most_of_key.max(known.len());
        }
    }

    /// The layers that there are, of which none takes items any more.
    pub fn close(&mut self) -> Vec<Arc<Layer>> {
        *self = Front { layers: std::mem::take(&mut self.layers), written: self.written, ..Front::default() };
        self.layers.clone()
    }

    /// Takes off the oldest layers, which the file has.
    pub fn take_off(&mut self, count: usize) {
        self.layers.drain(..count);
    }
}

impl Layer {
    /// Writes all items; `tables` are of the shard that this is a layer of.
    pub fn settle(&self, tables: &mut Tables<'_>) -> Result<()> {
        let views = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for (view, OfView { spans, keys }) in views.iter() {
            let mut items: Vec<&KeyedItem> = keys.values().flatten().map(|front_item| &front_item.item).collect();
            // stable, so that of two with the same row the later one stays
            items.sort_by(|a, b| a.0.cmp(&b.0));
            for of_key in items.chunk_by(|a, b| a.1.key == b.1.key) {
                tables.put_items(*view, of_key, spans.as_ref())?;
                // between keys, who waits for the core goes first
                std::thread::yield_now();
            }
        }
        Ok(())
    }

    /// Adds the items of a key that were written up to `written`, with a time in `times`, by the keys of their rows.
    pub fn add_items(
        &self,
        (view, key): (u64, &Key),
        written: u64,
        times: &Range<i64>,
        out: &mut Vec<(Vec<u8>, Item)>,
    ) {
        let views = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(of_key) = views.get(&view).and_then(|of_view| of_view.keys.get(key)) else { return };
        for front_item in of_key.iter().take_while(|front_item| front_item.written <= written) {
            let (row_key, row) = &front_item.item;
            if times.contains(&row.time_us) {
                let (secondary, payload) = (row.secondary.clone(), row.payload.clone());
                let item = Item { time_us: row.time_us, sequence: row.sequence, secondary, payload };
                out.push((row_key.clone(), item));
            }
        }
    }

    /// Adds the times of the items of a key that were written up to `written`.
    pub fn add_times(&self, (view, key): (u64, &Key), written: u64, out: &mut Vec<i64>) {
        let views = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(of_key) = views.get(&view).and_then(|of_view| of_view.keys.get(key)) else { return };
        let seen = of_key.iter().take_while(|front_item| front_item.written <= written);
        out.extend(seen.map(|front_item| front_item.item.1.time_us));
    }

    pub fn has(&self, view: u64, key: &Key, written: u64) -> bool {
        let views = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let of_key = views.get(&view).and_then(|of_view| of_view.keys.get(key));
        of_key.and_then(|items| items.first()).is_some_and(|first| first.written <= written)
    }

    /// Adds the keys of a view that had items by `written` and that `wanted` takes.
    pub fn add_keys(&self, view: u64, written: u64, wanted: impl Fn(&Key) -> bool, out: &mut Vec<Key>) {
        let views = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(of_view) = views.get(&view) else { return };
        for (key, items) in &of_view.keys {
            if items.first().is_some_and(|first| first.written <= written) && wanted(key) {
                out.push(key.clone());
            }
        }
    }
}
