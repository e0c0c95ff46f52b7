//! last_distinct and first_distinct over ranges whose ends ascend: the set of those places that are the last (first)
//! ones of their value in the range.

use std::collections::BTreeSet;

use arrow::array::{ArrayRef, UInt32Array};

use super::ItemForm;
use super::codes::{Codes, NO_CODE};
use super::flat::Flat;
use super::output::{Lists, take_rows};
use super::ranges::Ranges;
use super::{Run, index};
use crate::error::Result;
use crate::tile::ordered::{End, Keep};

#[derive(Debug)]
pub(super) struct DistinctRows {
    flat: Flat,
    keep: Keep,
    /// by place among the values: where the same value was before it and is after it in its run, `NO_PLACE` if nowhere
    before: Vec<u32>,
    after: Vec<u32>,
    is_null: Vec<bool>,
}

const NO_PLACE: u32 = u32::MAX;

impl DistinctRows {
    pub fn new(form: ItemForm, column: &ArrayRef, keep: Keep, runs: &[Run]) -> Result<DistinctRows> {
        let flat = match form {
            ItemForm::Rows => Flat::of_rows(column),
            // the entries of tiles stand in the order of time, as the tiles do
            ItemForm::Tiles => Flat::of_fields(column, 2)?,
        };
        let Codes { codes, dictionary } = Codes::of(&flat.values)?;
        let mut last_place = vec![NO_PLACE; dictionary.len()];
        let (mut before, mut after) = (vec![NO_PLACE; codes.len()], vec![NO_PLACE; codes.len()]);
        for run in runs {
            let places = flat.of(run.items.clone());
            for place in places.clone().filter(|place| codes[*place] != NO_CODE) {
                let last = std::mem::replace(&mut last_place[codes[place] as usize], index(place));
                if last != NO_PLACE {
                    before[place] = last;
                    after[last as usize] = index(place);
                }
            }
            for place in places.filter(|place| codes[*place] != NO_CODE) {
                last_place[codes[place] as usize] = NO_PLACE;
            }
        }
        let is_null = codes.iter().map(|code| *code == NO_CODE).collect();
        Ok(DistinctRows { flat, keep, before, after, is_null })
    }

    pub fn values(&self, ranges: &Ranges<'_>) -> Result<ArrayRef> {
        let mut lists = Lists::new(ranges.len());
        let limit = self.keep.limit as usize;
        // the places that count in the present range, ascending
        let mut kept: BTreeSet<u32> = BTreeSet::new();
        for run in ranges.runs {
            kept.clear();
            let (mut low, mut high) = (0, 0);
            for row in run.asked.clone() {
                let range = self.flat.of(ranges.at(row));
                if range.is_empty() {
                    lists.push([])?;
                    continue;
                }
                for left in low..high.min(range.start) {
                    self.leave(&mut kept, left, high);
                }
                low = range.start;
                for entered in high.max(low)..range.end {
                    self.enter(&mut kept, entered, low);
                }
                high = range.end;
                match self.keep.end {
                    End::Earliest => lists.push(kept.iter().take(limit).copied())?,
                    End::Latest => {
                        let first = kept.iter().rev().take(limit).last().copied();
                        lists.push(first.into_iter().flat_map(|first| kept.range(first..).copied()))?;
                    }
                }
            }
        }
        lists.finish(|places| take_rows(&self.flat.values, &UInt32Array::from(places)), ranges.after_start.clone())
    }

    /// `low`: where the range begins.
    fn enter(&self, kept: &mut BTreeSet<u32>, place: usize, low: usize) {
        if self.is_null[place] {
            return;
        }
        let before = self.before[place];
        let is_repeated = before != NO_PLACE && before as usize >= low;
        match self.keep.end {
            End::Latest => {
                if is_repeated {
                    kept.remove(&before);
                }
                kept.insert(index(place));
            }
            End::Earliest if !is_repeated => drop(kept.insert(index(place))),
            End::Earliest => {}
        }
    }

    /// `high`: where the range that it leaves ends.
    fn leave(&self, kept: &mut BTreeSet<u32>, place: usize, high: usize) {
        let was_kept = kept.remove(&index(place));
        let after = self.after[place];
        if was_kept && self.keep.end == End::Earliest && after != NO_PLACE && (after as usize) < high {
            kept.insert(after);
        }
    }
}
