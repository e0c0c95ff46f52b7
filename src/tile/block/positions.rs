//! The first or last rows of ranges, by their position alone, since items stand in order of time and arrival.

use arrow::array::{ArrayRef, UInt32Array};

use super::flat::Flat;
use super::output::{Lists, Slots, take_rows};
use super::ranges::Ranges;
use super::sums::present_before;
use super::{ItemForm, index};
use crate::error::Result;
use crate::tile::AggregateFunction;
use crate::tile::ordered::{End, Keep};

#[derive(Debug)]
pub(super) struct Positions {
    flat: Flat,
    keep: Keep,
    /// the rows that are not NULL, and how many of them there are before each row; `None` where none is NULL
    present: Option<(Vec<u32>, Vec<u32>)>,
}

impl Positions {
    pub fn new(form: ItemForm, column: &ArrayRef, keep: Keep) -> Result<Positions> {
        let flat = match form {
            ItemForm::Rows => Flat::of_rows(column),
            // the entries of tiles stand in the order of time, as the tiles do
            ItemForm::Tiles => Flat::of_fields(column, 2)?,
        };
        let present = present_before(flat.values.as_ref()).map(|before| {
            let rows = before.windows(2).enumerate().filter(|(_, pair)| pair[0] < pair[1]);
            (rows.map(|(row, _)| index(row)).collect(), before)
        });
        Ok(Positions { flat, keep, present })
    }

    pub fn values(&self, function: &AggregateFunction, ranges: &Ranges<'_>) -> Result<ArrayRef> {
        let is_list = matches!(function, AggregateFunction::LastN { .. } | AggregateFunction::FirstN { .. });
        if !is_list {
            let mut chosen = Slots::new(ranges.len());
            for row in 0..ranges.len() {
                if let Some(place) = self.kept(ranges, row).next() {
                    chosen.set(row, place);
                }
            }
            return chosen.take_from(&self.flat.values);
        }
        let mut lists = Lists::new(ranges.len());
        for row in 0..ranges.len() {
            lists.push(self.kept(ranges, row))?;
        }
        lists.finish(|places| take_rows(&self.flat.values, &UInt32Array::from(places)), ranges.after_start.clone())
    }

    /// The rows of a range that the function keeps, ascending.
    fn kept(&self, ranges: &Ranges<'_>, row: usize) -> impl Iterator<Item = u32> {
        let range = self.flat.of(ranges.at(row));
        // as places among the rows that are not NULL
        let (mut start, mut end) = match &self.present {
            None => (index(range.start), index(range.end)),
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
