//! Keeps the spans of one key as its items change, inside of the transaction that changes them.

use std::cell::OnceCell;
use std::collections::btree_map::Entry;
use std::path::Path;

use redb::{ReadableTable, Table};

use super::fold::{Folder, Span};
use super::{DIVIDED, Folded, LEAST, SpanPlan, start_of};
use crate::error::Result;
use crate::online::ItemRow;
use crate::online::codec;
use crate::online::errors::storage_error;
use crate::tile::Partial;

/// So many items are in memory at once while spans are made from them.
const ITEMS_AT_ONCE: usize = 8192;

/// The spans of one key.
pub struct SpanWriter<'a, 'txn> {
    rows: &'a mut Table<'txn, &'static [u8], &'static [u8]>,
    path: &'a Path,
    prefix: &'a [u8],
    plan: &'a SpanPlan,
    /// Spans that begin before this are gone, and are not made again.
    expired_us: i64,
}

/// An item that a batch has written.
pub struct Written<'a> {
    row_key: &'a [u8],
    row: &'a ItemRow,
    /// else it has taken the place of another
    is_new: bool,
    states: OnceCell<Vec<Partial>>,
}

impl<'a> Written<'a> {
    pub fn new(row_key: &'a [u8], row: &'a ItemRow, is_new: bool) -> Written<'a> {
        Written { row_key, row, is_new, states: OnceCell::new() }
    }

    fn states(&self, plan: &SpanPlan) -> Result<&[Partial]> {
        if let Some(states) = self.states.get() {
            return Ok(states);
        }
        let states = plan.states_of_item(self.row.time_us, self.row.sequence, &self.row.payload)?;
        Ok(self.states.get_or_init(|| states))
    }
}

/// A span's place: its level, and from when to when.
#[derive(Debug, Clone, Copy)]
struct Place {
    level: usize,
    start_us: i64,
    end_us: i64,
}

impl<'a, 'txn> SpanWriter<'a, 'txn> {
    /// `prefix`: of the key's rows.
    pub fn new(
        rows: &'a mut Table<'txn, &'static [u8], &'static [u8]>,
        path: &'a Path,
        prefix: &'a [u8],
        plan: &'a SpanPlan,
    ) -> SpanWriter<'a, 'txn> {
        SpanWriter { rows, path, prefix, plan, expired_us: i64::MIN }
    }

    /// After `written`, the items of a batch that are not as they were, ascending. Also sees to it that a key with many
    /// items has spans, and those of the plan.
    pub fn note(&mut self, written: &[Written<'_>]) -> Result<()> {
        let root = match self.rows.get(codec::root_key(self.prefix).as_slice()).map_err(|error| self.fail(error))? {
            Some(root) => Some(codec::read_root(root.value())?),
            None => None,
        };
        match root {
            Some(root) if root.form == self.plan.form => {
                self.expired_us = root.expired_us;
                self.add(self.longest(), written)
            }
            Some(_) => self.make_anew(),
            None if self.has_items(i64::MIN, i64::MAX, DIVIDED)? => self.make_all(),
            None => Ok(()),
        }
    }

    /// Forgets the spans that there are, and makes those of the items.
    pub fn make_anew(&mut self) -> Result<()> {
        clear(self.rows, self.path, self.prefix)?;
        if self.has_items(i64::MIN, i64::MAX, DIVIDED)? { self.make_all() } else { Ok(()) }
    }

    fn make_all(&mut self) -> Result<()> {
        let widths_us = self.plan.widths_us.clone();
        let root = codec::Root { form: self.plan.form, expired_us: i64::MIN, widths_us };
        self.insert(codec::root_key(self.prefix), &codec::root_value(&root))?;
        self.make(self.longest(), i64::MIN, i64::MAX)
    }

    fn longest(&self) -> usize {
        self.plan.widths_us.len() - 1
    }

    fn place(&self, level: usize, time_us: i64) -> Option<Place> {
        let width_us = self.plan.widths_us[level];
        start_of(time_us, width_us).map(|start_us| Place { level, start_us, end_us: start_us + width_us })
    }

    /// Adds items to the spans of a level, and to those inside of them.
    fn add(&mut self, level: usize, written: &[Written<'_>]) -> Result<()> {
        let start = |written: &Written<'_>| start_of(written.row.time_us, self.plan.widths_us[level]);
        for written in written.chunk_by(|a, b| start(a) == start(b)) {
            // at the ends of time items stand for themselves
            let Some(place) = self.place(level, written[0].row.time_us) else { continue };
            let Some(before) = self.items_of(place)? else {
                if place.start_us < self.expired_us {
                    // the shorter ones in its rest have stayed
                    level.checked_sub(1).map_or(Ok(()), |shorter| self.add(shorter, written))?;
                } else if self.has_items(place.start_us, place.end_us, LEAST)? {
                    self.make(level, place.start_us, place.end_us)?;
                }
                continue;
            };
            let after = before + written.iter().filter(|written| written.is_new).count() as u64;
            let is_divided = |items: u64| items >= DIVIDED as u64;
            if level > 0 && is_divided(after) && !is_divided(before) {
                self.make(level, place.start_us, place.end_us)?;
                continue;
            }
            if level > 0 && is_divided(before) {
                self.add(level - 1, written)?;
            }
            self.update(place, written, after)?;
        }
        Ok(())
    }

    /// How many items a span is of, if it is there.
    fn items_of(&self, place: Place) -> Result<Option<u64>> {
        let row_key = self.key_of(place, None)?;
        let stored = self.rows.get(row_key.as_slice()).map_err(|error| self.fail(error))?;
        stored.map(|value| Ok(codec::read_span_value(value.value())?.0)).transpose()
    }

    /// Brings a span up to date; those inside of it are so already.
    fn update(&mut self, place: Place, written: &[Written<'_>], items: u64) -> Result<()> {
        let is_added = written.iter().all(|written| written.is_new);
        let in_any_order = is_added && !self.plan.is_rounded();
        if !in_any_order && !(is_added && place.level == 0 && self.come_last(place, written)?) {
            let span = self.folded_anew(place)?;
            return span.map_or(Ok(()), |span| self.put(&span));
        }
        let mut folded = Folded::default();
        for written in written {
            let secondary = &written.row.secondary;
            if secondary.is_some() == self.plan.has_secondary
                && let Entry::Vacant(vacant) = folded.states.entry(secondary.clone())
            {
                let row_key =
                    codec::span_key(self.prefix, self.plan.widths_us[place.level], place.start_us, secondary.as_ref())?;
                let stored = self.rows.get(row_key.as_slice()).map_err(|error| storage_error(self.path, error))?;
                if let Some(value) = stored {
                    vacant.insert(self.plan.read_states(codec::read_span_value(value.value())?.1)?);
                }
            }
            folded.add(self.plan, secondary, written.states(self.plan)?)?;
        }
        folded.items = items;
        self.put(&Span { level: place.level, start_us: place.start_us, folded })
    }

    /// Whether these are the last items of the span.
    fn come_last(&self, place: Place, written: &[Written<'_>]) -> Result<bool> {
        let (start, end) = codec::item_bounds(self.prefix.to_vec(), place.start_us, place.end_us);
        let range = self.rows.range(start.as_slice()..end.as_slice()).map_err(|error| self.fail(error))?;
        for (stored, written) in range.rev().zip(written.iter().rev()) {
            let (row_key, _) = stored.map_err(|error| self.fail(error))?;
            if row_key.value() != written.row_key {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A span out of the next shorter ones, and the items that are in none of these.
    fn folded_anew(&self, place: Place) -> Result<Option<Span>> {
        let mut folder = Folder::new(self.plan, place.level, false);
        let mut reached_us = place.start_us;
        if let Some(shorter) = place.level.checked_sub(1) {
            for (start_us, folded) in self.spans_in(shorter, place.start_us, place.end_us)? {
                self.fold_items(&mut folder, reached_us, start_us)?;
                folder.add(start_us, folded)?;
                reached_us = start_us + self.plan.widths_us[shorter];
            }
        }
        self.fold_items(&mut folder, reached_us, place.end_us)?;
        Ok(folder.finish()?.pop())
    }

    /// The spans of a level that start in `[start_us, end_us)`, ascending.
    fn spans_in(&self, level: usize, start_us: i64, end_us: i64) -> Result<Vec<(i64, Folded)>> {
        let (start, end) = codec::span_bounds(self.prefix, self.plan.widths_us[level], start_us, end_us);
        let mut spans: Vec<(i64, Folded)> = Vec::new();
        for stored in self.rows.range(start.as_slice()..end.as_slice()).map_err(|error| self.fail(error))? {
            let (row_key, value) = stored.map_err(|error| self.fail(error))?;
            let (start_us, secondary) = codec::read_span_key(self.prefix.len(), row_key.value())?;
            let (items, payload) = codec::read_span_value(value.value())?;
            if secondary.is_none() {
                spans.push((start_us, Folded { items, ..Folded::default() }));
            }
            if secondary.is_some() == self.plan.has_secondary
                && let Some((_, folded)) = spans.last_mut()
            {
                folded.states.insert(secondary, self.plan.read_states(payload)?);
            }
        }
        Ok(spans)
    }

    fn fold_items(&self, folder: &mut Folder<'_>, start_us: i64, end_us: i64) -> Result<()> {
        let (start, end) = codec::item_bounds(self.prefix.to_vec(), start_us, end_us);
        if start >= end {
            return Ok(());
        }
        for stored in self.rows.range(start.as_slice()..end.as_slice()).map_err(|error| self.fail(error))? {
            let (row_key, value) = stored.map_err(|error| self.fail(error))?;
            let (time_us, folded) = self.read(row_key.value(), value.value())?;
            folder.add(time_us, folded)?;
        }
        Ok(())
    }

    fn read(&self, row_key: &[u8], value: &[u8]) -> Result<(i64, Folded)> {
        let item = codec::read_item(self.prefix.len(), row_key, value)?;
        let states = self.plan.states_of_item(item.time_us, item.sequence, &item.payload)?;
        Ok((item.time_us, Folded::of_item(self.plan, item.secondary, states)))
    }

    /// Writes the spans of a level, and those inside of them, of the items in `[start_us, end_us)`.
    fn make(&mut self, level: usize, start_us: i64, end_us: i64) -> Result<()> {
        let mut folder = Folder::new(self.plan, level, true);
        let (mut start, end) = codec::item_bounds(self.prefix.to_vec(), start_us, end_us);
        loop {
            let mut n_read = 0;
            for stored in self.rows.range(start.as_slice()..end.as_slice()).map_err(|error| self.fail(error))? {
                let (row_key, value) = stored.map_err(|error| self.fail(error))?;
                let (time_us, folded) = self.read(row_key.value(), value.value())?;
                if self.place(self.longest(), time_us).is_some() {
                    folder.add(time_us, folded)?;
                }
                n_read += 1;
                if n_read == ITEMS_AT_ONCE {
                    // the next possible key
                    start = [row_key.value(), &[0]].concat();
                    break;
                }
            }
            for span in folder.take() {
                self.put(&span)?;
            }
            if n_read < ITEMS_AT_ONCE {
                break;
            }
        }
        for span in folder.finish()? {
            self.put(&span)?;
        }
        Ok(())
    }

    /// Writes the states that it has; of other secondary keys they stay.
    fn put(&mut self, span: &Span) -> Result<()> {
        let place = Place { level: span.level, start_us: span.start_us, end_us: span.start_us };
        let mut payload = Vec::new();
        if self.plan.has_secondary {
            self.insert(self.key_of(place, None)?, &codec::span_value(span.folded.items, &[]))?;
        }
        for (secondary, states) in &span.folded.states {
            payload.clear();
            self.plan.put_states(states, &mut payload);
            let row_key =
                codec::span_key(self.prefix, self.plan.widths_us[span.level], span.start_us, secondary.as_ref())?;
            self.insert(row_key, &codec::span_value(span.folded.items, &payload))?;
        }
        Ok(())
    }

    fn insert(&mut self, row_key: Vec<u8>, value: &[u8]) -> Result<()> {
        self.rows.insert(row_key.as_slice(), value).map_err(|error| storage_error(self.path, error))?;
        Ok(())
    }

    fn key_of(&self, place: Place, secondary: Option<&crate::row::Value>) -> Result<Vec<u8>> {
        codec::span_key(self.prefix, self.plan.widths_us[place.level], place.start_us, secondary)
    }

    /// Whether there are at least so many items.
    fn has_items(&self, start_us: i64, end_us: i64, least: usize) -> Result<bool> {
        let (start, end) = codec::item_bounds(self.prefix.to_vec(), start_us, end_us);
        let items = self.rows.range(start.as_slice()..end.as_slice()).map_err(|error| self.fail(error))?;
        Ok(items.take(least).count() == least)
    }

    fn fail(&self, error: redb::StorageError) -> crate::error::Error {
        storage_error(self.path, error)
    }
}

/// Removes all spans of a key.
pub fn clear(rows: &mut Table<'_, &'static [u8], &'static [u8]>, path: &Path, prefix: &[u8]) -> Result<()> {
    let (start, end) = codec::all_spans_bounds(prefix);
    remove_range(rows, path, start, end)
}

/// Removes the spans of a key that have items before `bound_us`.
pub fn clear_before(
    rows: &mut Table<'_, &'static [u8], &'static [u8]>,
    path: &Path,
    prefix: &[u8],
    bound_us: i64,
) -> Result<()> {
    let root_key = codec::root_key(prefix);
    let root = rows.get(root_key.as_slice()).map_err(|error| storage_error(path, error))?;
    let Some(root) = root.map(|root| codec::read_root(root.value())) else { return Ok(()) };
    let mut root = root?;
    for width_us in &root.widths_us {
        let (start, end) = codec::span_bounds(prefix, *width_us, i64::MIN, bound_us);
        remove_range(rows, path, start, end)?;
    }
    root.expired_us = root.expired_us.max(bound_us);
    let value = codec::root_value(&root);
    rows.insert(root_key.as_slice(), value.as_slice()).map_err(|error| storage_error(path, error))?;
    Ok(())
}

fn remove_range(
    rows: &mut Table<'_, &'static [u8], &'static [u8]>,
    path: &Path,
    start: Vec<u8>,
    end: Vec<u8>,
) -> Result<()> {
    rows.retain_in(start.as_slice()..end.as_slice(), |_, _| false).map_err(|error| storage_error(path, error))
}
