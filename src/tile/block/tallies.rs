//! How often each value is in ranges whose ends ascend: what comes in is added, what leaves is taken out again.
//! count_distinct, mode, entropy and top_k.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{ArrayRef, AsArray, UInt32Array};
use arrow::datatypes::Int64Type;

use super::ItemForm;
use super::codes::{Codes, NO_CODE};
use super::flat::Flat;
use super::output::{Lists, Slots, take_rows};
use super::ranges::Ranges;
use crate::error::{Error, Result};
use crate::tile::AggregateFunction;
use crate::tile::codec::damaged;
use crate::tile::distinct::entropy_of;

#[derive(Debug)]
pub(super) struct Tallies {
    flat: Flat,
    codes: Codes,
    /// how often a tile has each of its values; in rows, once
    counts: Option<Vec<i64>>,
}

impl Tallies {
    /// Of rows, or of tiles that only know which values they have.
    pub fn of_values(form: ItemForm, column: &ArrayRef) -> Result<Tallies> {
        let flat = match form {
            ItemForm::Rows => Flat::of_rows(column),
            ItemForm::Tiles => Flat::of_lists(column)?,
        };
        Ok(Tallies { codes: Codes::of(&flat.values)?, flat, counts: None })
    }

    /// Of rows, or of tiles that know how often they have each value.
    pub fn of_counts(form: ItemForm, column: &ArrayRef) -> Result<Tallies> {
        if form == ItemForm::Rows {
            return Tallies::of_values(form, column);
        }
        let counts = Flat::of_fields(column, 1)?.values;
        let counts = counts.as_primitive_opt::<Int64Type>().ok_or_else(damaged)?.values().to_vec();
        if counts.iter().any(|count| *count <= 0) {
            return Err(damaged());
        }
        let flat = Flat::of_fields(column, 0)?;
        Ok(Tallies { codes: Codes::of(&flat.values)?, flat, counts: Some(counts) })
    }

    pub fn values(&self, functions: &[&AggregateFunction], ranges: &Ranges<'_>) -> Result<Vec<ArrayRef>> {
        let mut outputs = functions.iter().map(|function| Output::new(function, ranges)).collect::<Result<Vec<_>>>()?;
        let mut tally = Tally::new(self.codes.dictionary.len(), &outputs);
        let empty = Tally::new(0, &outputs);
        for run in ranges.runs {
            let (mut low, mut high) = (run.items.start, run.items.start);
            for row in run.asked.clone() {
                let range = ranges.at(row);
                if range.is_empty() {
                    outputs.iter_mut().try_for_each(|output| output.push(row, &empty, ranges))?;
                    continue;
                }
                for left in low..high.min(range.start) {
                    self.change(&mut tally, left, -1);
                }
                low = range.start;
                for entered in high.max(low)..range.end {
                    self.change(&mut tally, entered, 1);
                }
                high = range.end;
                outputs.iter_mut().try_for_each(|output| output.push(row, &tally, ranges))?;
            }
            for left in low..high {
                self.change(&mut tally, left, -1);
            }
        }
        outputs.into_iter().map(|output| output.finish(self, ranges)).collect()
    }

    fn change(&self, tally: &mut Tally, item: usize, sign: i64) {
        for place in self.flat.of(item..item + 1) {
            let code = self.codes.codes[place];
            if code != NO_CODE {
                let count = self.counts.as_ref().map_or(1, |counts| counts[place]);
                tally.change(code, count.wrapping_mul(sign));
            }
        }
    }
}

/// The values of one window.
#[derive(Debug)]
struct Tally {
    /// by code
    counts: Vec<i64>,
    total: i64,
    n_distinct: i64,
    /// the most frequent first, equally frequent ones ascending
    ranked: Option<BTreeSet<(Reverse<i64>, u32)>>,
    /// how many values there are of each count
    spectrum: Option<BTreeMap<i64, i64>>,
}

impl Tally {
    fn new(n_codes: usize, outputs: &[Output]) -> Tally {
        let is_ranked = |output: &Output| matches!(output, Output::Mode(_) | Output::Top { .. });
        let is_spectrum = |output: &Output| matches!(output, Output::Entropy(_));
        Tally {
            counts: vec![0; n_codes],
            total: 0,
            n_distinct: 0,
            ranked: outputs.iter().any(is_ranked).then(BTreeSet::new),
            spectrum: outputs.iter().any(is_spectrum).then(BTreeMap::new),
        }
    }

    fn change(&mut self, code: u32, by: i64) {
        let before = self.counts[code as usize];
        let after = before.wrapping_add(by);
        self.counts[code as usize] = after;
        self.total = self.total.wrapping_add(by);
        self.n_distinct += i64::from(after > 0) - i64::from(before > 0);
        if let Some(ranked) = &mut self.ranked {
            if before > 0 {
                ranked.remove(&(Reverse(before), code));
            }
            if after > 0 {
                ranked.insert((Reverse(after), code));
            }
        }
        if let Some(spectrum) = &mut self.spectrum {
            if before > 0
                && let Some(values) = spectrum.get_mut(&before)
            {
                *values -= 1;
                if *values == 0 {
                    spectrum.remove(&before);
                }
            }
            if after > 0 {
                *spectrum.entry(after).or_insert(0) += 1;
            }
        }
    }
}

/// A function's answers under construction.
#[derive(Debug)]
enum Output {
    Distinct(Vec<i64>),
    Mode(Slots<u32>),
    Entropy(Slots<f64>),
    Top { k: usize, lists: Lists<u32> },
}

impl Output {
    fn new(function: &AggregateFunction, ranges: &Ranges<'_>) -> Result<Output> {
        let rows = ranges.len();
        Ok(match function {
            AggregateFunction::CountDistinct => Output::Distinct(Vec::with_capacity(rows)),
            AggregateFunction::Mode => Output::Mode(Slots::new(rows)),
            AggregateFunction::Entropy => Output::Entropy(Slots::new(rows)),
            AggregateFunction::TopK { k } => Output::Top { k: *k as usize, lists: Lists::new(rows) },
            _ => return Err(Error::internal(format!("{} is no function of counts", function.name()))),
        })
    }

    /// The next row's answer; rows come in order.
    fn push(&mut self, row: usize, tally: &Tally, ranges: &Ranges<'_>) -> Result<()> {
        let ranked = || tally.ranked.iter().flatten().map(|(_, code)| *code);
        match self {
            Output::Distinct(counts) => counts.push(tally.n_distinct),
            Output::Mode(slots) => ranked().take(1).for_each(|code| slots.set(row, code)),
            Output::Entropy(slots) => {
                let spectrum = tally.spectrum.iter().flatten().map(|(count, values)| (*count, *values));
                if let Some(entropy) = entropy_of(spectrum, tally.total) {
                    slots.set(row, entropy);
                }
            }
            Output::Top { k, lists } => {
                let k = if ranges.is_before_start(row) { 0 } else { *k };
                lists.push(ranked().take(k))?;
            }
        }
        Ok(())
    }

    fn finish(self, tallies: &Tallies, ranges: &Ranges<'_>) -> Result<ArrayRef> {
        let dictionary = &tallies.codes.dictionary;
        match self {
            Output::Distinct(counts) => Ok(ranges.counts(counts)),
            Output::Mode(slots) => slots.take_from(dictionary),
            Output::Entropy(slots) => Ok(slots.into_floats()),
            Output::Top { lists, .. } => {
                lists.finish(|codes| take_rows(dictionary, &UInt32Array::from(codes)), ranges.after_start.clone())
            }
        }
    }
}
