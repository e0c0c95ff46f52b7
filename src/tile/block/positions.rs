//! The first or last rows of ranges, by their position alone, since items stand in order of time and arrival.

use arrow::array::{ArrayRef, UInt32Array};
use arrow::buffer::OffsetBuffer;

use super::{Ranges, index, list_of, present_before, take_rows};
use crate::error::{Error, Result};
use crate::tile::AggregateFunction;
use crate::tile::ordered::{End, Keep};

#[derive(Debug, Clone)]
pub(super) struct Positions {
    values: ArrayRef,
    keep: Keep,
    /// the rows that are not NULL, and how many of them there are before each row; `None` where none is NULL
    present: Option<(Vec<u32>, Vec<u32>)>,
}

impl Positions {
    pub fn new(columns: &[ArrayRef], keep: Keep) -> Result<Positions> {
        let values = columns.first().ok_or_else(|| Error::internal("an aggregate has no column"))?;
        let present = present_before(values.as_ref()).map(|before| {
            let rows = before.windows(2).enumerate().filter(|(_, pair)| pair[0] < pair[1]);
            (rows.map(|(row, _)| index(row)).collect(), before)
        });
        Ok(Positions { values: values.clone(), keep, present })
    }

    pub fn values(&self, function: &AggregateFunction, ranges: &Ranges) -> Result<ArrayRef> {
        let is_list = matches!(function, AggregateFunction::LastN { .. } | AggregateFunction::FirstN { .. });
        let is_null = |row: usize| ranges.after_start.as_ref().is_some_and(|known| known.is_null(row));
        if !is_list {
            let chosen: UInt32Array =
                (0..ranges.len()).map(|row| if is_null(row) { None } else { self.kept(ranges, row).next() }).collect();
            return take_rows(&self.values, &chosen);
        }
        let mut chosen: Vec<u32> = Vec::new();
        let mut lengths = Vec::with_capacity(ranges.len());
        for row in 0..ranges.len() {
            let before = chosen.len();
            if !is_null(row) {
                chosen.extend(self.kept(ranges, row));
            }
            lengths.push(chosen.len() - before);
        }
        let items = take_rows(&self.values, &UInt32Array::from(chosen))?;
        list_of(items, OffsetBuffer::from_lengths(lengths), ranges.after_start.clone())
    }

    /// The rows of a range that the function keeps, ascending.
    fn kept(&self, ranges: &Ranges, row: usize) -> impl Iterator<Item = u32> {
        let range = ranges.at(row);
        // as places among the rows that are not NULL
        let (mut start, mut end) = match &self.present {
            None => (ranges.start[row], ranges.end[row]),
            Some((_, before)) => (before[range.start], before[range.end]),
        };
        match self.keep.end {
            End::Latest => start = start.max(end.saturating_sub(self.keep.limit)),
            End::Earliest => end = end.min(start.saturating_add(self.keep.limit)),
        }
        (start..end).map(move |place| match &self.present {
            None => place,
            Some((rows, _)) => rows[place as usize],
        })
    }
}
