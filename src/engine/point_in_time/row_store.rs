//! Rows of one input of the point-in-time join for one part of the keys, in order: by key, then by time, then by
//! arrival. What is sorted are their places; columns are put in order when they are asked for.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use datafusion::arrow::compute::{concat_batches, take};
use datafusion::arrow::datatypes::Int64Type;

use super::kept::{Kept, kept_times_of, numbers_of};
use crate::error::{Error, Result};

/// See the module.
#[derive(Debug)]
pub struct RowStore {
    kept: Arc<Kept>,
    rows: RecordBatch,
    /// where each key begins, and one more
    starts: Vec<u32>,
    /// places of the rows in order
    order: Vec<u32>,
    /// times in that order
    times: Vec<i64>,
}

impl RowStore {
    /// `in_part` gives the number, below `n_keys`, that a key has here. Rows of the same time are in the order of column
    /// `tie` (arrival), without it in the order in which they stand in `pieces`.
    pub fn of(
        kept: &Arc<Kept>,
        pieces: &[RecordBatch],
        n_keys: usize,
        in_part: impl Fn(u32) -> u32,
        tie: Option<usize>,
    ) -> Result<RowStore> {
        let rows = match pieces {
            [only] => only.clone(),
            pieces => concat_batches(kept.schema(), pieces).map_err(could_not)?,
        };
        let numbers = numbers_of(&rows);
        if u32::try_from(numbers.len()).is_err() {
            return Err(Error::internal("more than four thousand million rows in one part of a join"));
        }
        let in_part: Vec<u32> = numbers.iter().map(|number| in_part(*number)).collect();
        let starts = starts_of(&in_part, n_keys);
        let mut next = starts.clone();
        let mut places = vec![(0_i64, 0_u32); in_part.len()];
        for ((row, key), time_us) in (0_u32..).zip(&in_part).zip(kept_times_of(&rows)) {
            let place = &mut next[*key as usize];
            places[*place as usize] = (*time_us, row);
            *place += 1;
        }
        let tie = tie.map(|tie| kept.place(tie)).transpose()?;
        let arrivals = tie.map(|tie| rows.column(tie).as_primitive::<Int64Type>().values());
        for key in starts.windows(2) {
            let places = &mut places[key[0] as usize..key[1] as usize];
            if !places.is_sorted() {
                // places ascend among equals, so this keeps their order
                places.sort_unstable();
            }
            let Some(arrivals) = arrivals else { continue };
            for ties in places.chunk_by_mut(|a, b| a.0 == b.0).filter(|ties| ties.len() > 1) {
                let arrival = |place: &(i64, u32)| arrivals[place.1 as usize];
                if !ties.is_sorted_by_key(arrival) {
                    ties.sort_by_key(arrival);
                }
            }
        }
        let (times, order) = places.into_iter().unzip();
        Ok(RowStore { kept: Arc::clone(kept), rows, starts, order, times })
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// How many rows the keys of a range have.
    pub fn n_rows(&self, keys: &Range<usize>) -> usize {
        (self.starts[keys.end] - self.starts[keys.start]) as usize
    }

    /// The rows of a range of keys.
    pub fn section(&self, keys: Range<usize>) -> Section<'_> {
        let first = self.starts[keys.start];
        let bounds = self.starts[keys.start..=keys.end].iter().map(|start| (start - first) as usize).collect();
        let places = first as usize..self.starts[keys.end] as usize;
        Section { store: self, order: &self.order[places.clone()], times: &self.times[places], bounds }
    }
}

/// Where each of `n_keys` begins, and one more.
fn starts_of(keys: &[u32], n_keys: usize) -> Vec<u32> {
    let mut starts = vec![0_u32; n_keys + 1];
    for key in keys {
        starts[*key as usize + 1] += 1;
    }
    for key in 0..n_keys {
        starts[key + 1] += starts[key];
    }
    starts
}

/// The rows of some neighbouring keys, in order.
#[derive(Debug, Clone)]
pub struct Section<'a> {
    store: &'a RowStore,
    order: &'a [u32],
    /// microseconds
    pub times: &'a [i64],
    /// where each key begins, and one more
    pub bounds: Vec<usize>,
}

impl Section<'_> {
    /// Of a section of one key, some of its rows.
    pub fn only(self, rows: Range<usize>) -> Self {
        let bounds = vec![0, rows.len()];
        Section { store: self.store, order: &self.order[rows.clone()], times: &self.times[rows], bounds }
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// A column of the plan, in order. Not of the time.
    pub fn column(&self, column: usize) -> Result<ArrayRef> {
        self.take(column, &UInt32Array::from(self.order.to_vec()))
    }

    /// A column of the plan in the order of `rows`, which are places in this section; NULL where there is none.
    pub fn column_at(&self, column: usize, rows: impl Iterator<Item = Option<u32>>) -> Result<ArrayRef> {
        self.take(column, &rows.map(|row| row.map(|row| self.order[row as usize])).collect())
    }

    fn take(&self, column: usize, order: &UInt32Array) -> Result<ArrayRef> {
        take(self.store.rows.column(self.store.kept.place(column)?), order, None).map_err(could_not)
    }

    /// Numbers that tell in which order rows of the same time came.
    pub fn arrivals(&self) -> Vec<i64> {
        self.order.iter().map(|row| i64::from(*row)).collect()
    }
}

/// The values of an array in the order of `rows`.
pub fn take_rows(array: &ArrayRef, rows: &[u32]) -> Result<ArrayRef> {
    take(array.as_ref(), &UInt32Array::from(rows.to_vec()), None).map_err(could_not)
}

fn could_not(error: datafusion::arrow::error::ArrowError) -> Error {
    Error::internal("rows could not be put in order").with_source(error)
}
