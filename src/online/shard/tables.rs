//! The tables of a shard inside of a write transaction, and what goes out of them together.

use std::path::Path;

use redb::{ReadableTable, Table};

use crate::error::Result;
use crate::online::codec;
use crate::online::errors::{damaged, storage_error};
use crate::online::spans::{SpanPlan, SpanWriter, Written, clear, clear_before};
use crate::online::{FIRST_PUSHED, ItemRow, LatestRow};
use crate::row::Key;

/// The tables of a shard inside a write transaction.
pub struct Tables<'txn> {
    pub path: &'txn Path,
    pub rows: Table<'txn, &'static [u8], &'static [u8]>,
    pub keys: Table<'txn, &'static [u8], ()>,
    pub generation: u64,
    pub touched: Touched,
}

/// The latest rows that a commit has written, or, where they have no bytes, removed.
pub type Touched = Vec<(u64, Key, Option<Vec<u8>>)>;

/// An item, behind the key of its row.
pub type KeyedItem = (Vec<u8>, ItemRow);

/// Which rows of a (view, key) shall go.
#[derive(Debug, Clone)]
pub enum Doom {
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
    /// The items with these row keys.
    These(Vec<Vec<u8>>),
    /// The latest row.
    Latest,
    Everything,
}

impl Tables<'_> {
    /// `rows` are of one key.
    pub fn put_latest(&mut self, view: u64, rows: &[LatestRow], always: bool) -> Result<()> {
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
    pub fn put_items(&mut self, view: u64, rows: &[&KeyedItem], spans: Option<&SpanPlan>) -> Result<()> {
        let Some((_, ItemRow { key, .. })) = rows.first().copied() else { return Ok(()) };
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

    pub fn make_spans(&mut self, view: u64, key: &Key, spans: Option<&SpanPlan>) -> Result<()> {
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

    pub fn remove(&mut self, view: u64, key: &Key, doom: &Doom, spans: Option<&SpanPlan>) -> Result<u64> {
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
pub fn spans_form(
    rows: &impl ReadableTable<&'static [u8], &'static [u8]>,
    path: &Path,
    prefix: &[u8],
) -> Result<Option<u64>> {
    let root = rows.get(codec::root_key(prefix).as_slice()).map_err(|error| storage_error(path, error))?;
    root.map(|root| Ok(codec::read_root(root.value())?.form)).transpose()
}

/// The row keys of `key` in `view` that shall go; spans are not among them.
pub fn doomed(
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
        Doom::These(items) => {
            for row_key in items {
                if rows.get(row_key.as_slice()).map_err(|error| storage_error(path, error))?.is_some() {
                    found.push(row_key.clone());
                }
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

pub fn scan(
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
