//! Rows of one input of the point-in-time join, in memory, found by the number of their key.
//!
//! Rows are kept as they come, in chunks of one size; what is sorted is their numbers: by key at once, by time key by
//! key when a block of keys is taken out.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array, new_empty_array};
use datafusion::arrow::compute::{BatchCoalescer, interleave, take};
use datafusion::arrow::datatypes::SchemaRef;

use super::keys::{NO_KEY, UNUSED};
use crate::error::{Error, Result};

const CHUNK_BITS: u32 = 17;
const CHUNK_ROWS: usize = 1 << CHUNK_BITS;

/// Rows with the numbers of their keys and their times, in the order in which they came.
#[derive(Debug)]
pub struct RowStoreBuilder {
    schema: SchemaRef,
    chunks: BatchCoalescer,
    done: Vec<RecordBatch>,
    keys: Vec<u32>,
    times: Vec<i64>,
}

impl RowStoreBuilder {
    pub fn new(schema: SchemaRef) -> RowStoreBuilder {
        RowStoreBuilder {
            chunks: BatchCoalescer::new(Arc::clone(&schema), CHUNK_ROWS),
            schema,
            done: Vec::new(),
            keys: Vec::new(),
            times: Vec::new(),
        }
    }

    pub fn push(&mut self, batch: RecordBatch, keys: &[u32], times: &[i64]) -> Result<()> {
        self.keys.extend_from_slice(keys);
        self.times.extend_from_slice(times);
        self.chunks.push_batch(batch).map_err(could_not)?;
        self.keep_full_chunks();
        Ok(())
    }

    /// The rows again, in batches, with their keys.
    pub fn into_chunks(mut self) -> Result<impl Iterator<Item = (RecordBatch, Vec<u32>)>> {
        self.end_chunk()?;
        let mut first = 0;
        let keys = self.keys;
        Ok(self.done.into_iter().map(move |chunk| {
            let of_chunk = keys[first..first + chunk.num_rows()].to_vec();
            first += CHUNK_ROWS;
            (chunk, of_chunk)
        }))
    }

    /// Adds all rows of `other` behind these.
    pub fn append(&mut self, mut other: RowStoreBuilder) -> Result<()> {
        self.end_chunk()?;
        other.end_chunk()?;
        // the place of a row is that of its chunk and that in it, so a short chunk leaves numbers unused
        let padded = self.done.len() * CHUNK_ROWS;
        self.keys.resize(padded, UNUSED);
        self.times.resize(padded, 0);
        self.keys.append(&mut other.keys);
        self.times.append(&mut other.times);
        self.done.append(&mut other.done);
        Ok(())
    }

    fn end_chunk(&mut self) -> Result<()> {
        self.chunks.finish_buffered_batch().map_err(could_not)?;
        self.keep_full_chunks();
        Ok(())
    }

    fn keep_full_chunks(&mut self) {
        while let Some(chunk) = self.chunks.next_completed_batch() {
            self.done.push(chunk);
        }
    }

    /// The rows, grouped by keys numbered below `n_keys`; behind those, rows without a key as if they had one.
    pub fn finish(mut self, n_keys: usize) -> Result<RowStore> {
        self.end_chunk()?;
        let without_key = u32::try_from(n_keys).map_err(|_| Error::internal("too many keys"))?;
        self.keys.iter_mut().filter(|key| **key == NO_KEY).for_each(|key| *key = without_key);
        let (starts, order) = group_by_key(&self.keys, n_keys + 1)?;
        Ok(RowStore { schema: self.schema, chunks: self.done, times: self.times, starts, order })
    }
}

/// The places of rows by key: those of key `k` are `order[starts[k]..starts[k + 1]]`, in the order in which they came.
fn group_by_key(keys: &[u32], n_keys: usize) -> Result<(Vec<u32>, Vec<u32>)> {
    if u32::try_from(keys.len()).is_err() {
        return Err(Error::internal("more than four thousand million rows in one join"));
    }
    let mut starts = vec![0_u32; n_keys + 1];
    let is_used = |key: &u32| (*key as usize) < n_keys;
    for key in keys.iter().filter(|key| is_used(key)) {
        starts[*key as usize + 1] += 1;
    }
    for key in 0..n_keys {
        starts[key + 1] += starts[key];
    }
    let mut next = starts.clone();
    let mut order = vec![0_u32; starts[n_keys] as usize];
    for (row, key) in (0_u32..).zip(keys) {
        if is_used(key) {
            let place = &mut next[*key as usize];
            order[*place as usize] = row;
            *place += 1;
        }
    }
    Ok((starts, order))
}

/// Rows grouped by key.
#[derive(Debug)]
pub struct RowStore {
    schema: SchemaRef,
    chunks: Vec<RecordBatch>,
    times: Vec<i64>,
    starts: Vec<u32>,
    order: Vec<u32>,
}

impl RowStore {
    /// How many rows the keys of a range have.
    pub fn n_rows(&self, keys: &Range<usize>) -> usize {
        (self.starts[keys.end] - self.starts[keys.start]) as usize
    }

    /// The numbers of the rows of `keys`, key by key, each ascending by time, then by `tie`, then as they came; and
    /// where each key begins, with one more at the end.
    pub fn sorted(&self, keys: Range<usize>, tie: Option<usize>) -> Result<(Vec<u32>, Vec<usize>)> {
        let first = self.starts[keys.start];
        let bounds: Vec<usize> =
            self.starts[keys.start..=keys.end].iter().map(|start| (start - first) as usize).collect();
        let mut rows = self.order[first as usize..self.starts[keys.end] as usize].to_vec();
        for key in bounds.windows(2) {
            let rows = &mut rows[key[0]..key[1]];
            if !rows.is_sorted_by_key(|row| self.times[*row as usize]) {
                // stable
                rows.sort_by_key(|row| self.times[*row as usize]);
            }
            if let Some(tie) = tie {
                let same_time = |a: &u32, b: &u32| self.times[*a as usize] == self.times[*b as usize];
                for ties in rows.chunk_by_mut(same_time).filter(|ties| ties.len() > 1) {
                    let arrival = |row: &u32| self.integer(tie, *row);
                    if !ties.is_sorted_by_key(arrival) {
                        ties.sort_by_key(arrival);
                    }
                }
            }
        }
        Ok((rows, bounds))
    }

    fn integer(&self, column: usize, row: u32) -> i64 {
        use datafusion::arrow::array::AsArray;
        use datafusion::arrow::datatypes::Int64Type;
        let (chunk, row) = place(row);
        self.chunks[chunk].column(column).as_primitive::<Int64Type>().value(row)
    }

    pub fn times_of(&self, rows: &[u32]) -> Vec<i64> {
        rows.iter().map(|row| self.times[*row as usize]).collect()
    }

    /// A column's values in the order of `rows`.
    pub fn take(&self, column: usize, rows: &[u32]) -> Result<ArrayRef> {
        match self.chunks.as_slice() {
            [] => Ok(new_empty_array(self.schema.field(column).data_type())),
            [only] => take_rows(only.column(column), rows),
            chunks => {
                let arrays: Vec<&dyn Array> = chunks.iter().map(|chunk| chunk.column(column).as_ref()).collect();
                let places: Vec<(usize, usize)> = rows.iter().map(|row| place(*row)).collect();
                interleave(&arrays, &places).map_err(could_not)
            }
        }
    }
}

/// The values of an array in the order of `rows`.
pub fn take_rows(array: &ArrayRef, rows: &[u32]) -> Result<ArrayRef> {
    take(array.as_ref(), &UInt32Array::from(rows.to_vec()), None).map_err(could_not)
}

fn place(row: u32) -> (usize, usize) {
    ((row >> CHUNK_BITS) as usize, (row as usize) & (CHUNK_ROWS - 1))
}

fn could_not(error: datafusion::arrow::error::ArrowError) -> Error {
    Error::internal("rows could not be put in order").with_source(error)
}
