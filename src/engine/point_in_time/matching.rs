//! Finds of an input's rows those that are asked for: with a key of the spine, and a time that some window reaches.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{BooleanArray, RecordBatch};
use datafusion::arrow::buffer::BooleanBuffer;

use super::exec::Figures;
use super::kept::{Kept, times_of};
use super::keys::{KeyIndex, NO_KEY};
use super::parts::Parts;
use crate::error::Result;

/// What is asked of one input.
pub struct Matching {
    pub keys: Arc<KeyIndex>,
    pub n_keys: usize,
    pub parts: Arc<Parts>,
    /// how many columns the keys have: the first ones
    pub n_columns: usize,
    /// the column of the time
    pub time: usize,
    pub reach: Range<i64>,
    pub kept: Arc<Kept>,
    pub figures: Figures,
}

/// Rows of a batch in kept form, and which of them are asked for; all, without saying.
pub struct Matched {
    pub rows: RecordBatch,
    pub wanted: Option<BooleanArray>,
}

impl Matching {
    /// `renumber` is applied to the numbers of keys; rows without one are never wanted. `None` if no row is.
    pub fn find(&self, batch: &RecordBatch, renumber: impl Fn(u32) -> u32) -> Result<Option<Matched>> {
        self.figures.rows_read.add(batch.num_rows());
        let _timer = self.figures.match_time.timer();
        let mut numbers = self.keys.find(&batch.columns()[..self.n_columns])?;
        let times = times_of(batch, self.time);
        let is_wanted = |row: usize| numbers[row] != NO_KEY && self.reach.contains(&times[row]);
        let wanted = BooleanBuffer::collect_bool(batch.num_rows(), is_wanted);
        let n_wanted = wanted.count_set_bits();
        self.figures.rows_kept.add(n_wanted);
        if n_wanted == 0 {
            return Ok(None);
        }
        for number in numbers.iter_mut().filter(|number| **number != NO_KEY) {
            *number = renumber(*number);
        }
        let all = n_wanted == batch.num_rows();
        let rows = self.kept.keep(batch, numbers, times)?;
        Ok(Some(Matched { rows, wanted: (!all).then(|| BooleanArray::new(wanted, None)) }))
    }

    /// The number that a key has in a part.
    pub fn in_part(&self, part: usize, number: u32) -> u32 {
        self.parts.in_part(part, number, self.n_keys)
    }
}
