//! Bitemporal views: a row is not there for who asks about a time before it was known.
//!
//! Mostly all rows within an asked time's reach were known by then, and it is answered with all others. The rest is
//! answered over copies of the rows that were known, so that there is one algebra for both.

use std::collections::VecDeque;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::interleave;

use super::ranges::advance;
use super::{AskedBlock, BlockAnswers, ItemBlock, Run, evaluate_block, index, rows_chosen, take_rows};
use crate::error::{Error, Result};
use crate::tile::Bounds;
use crate::tile::plan::ViewPlan;

/// How many rows are copied at once, unless one asked time needs more.
const COPIED_ROWS: usize = 256 * 1024;

/// The answers of [`evaluate_block`] where item `i` exists from `known_at[i]` on, inclusive.
pub(super) fn evaluate(
    plan: &ViewPlan,
    items: &ItemBlock<'_>,
    known_at: &[i64],
    asked: &AskedBlock<'_>,
) -> Result<BlockAnswers> {
    if plan.timing.kind.has_aggregates() {
        aggregates(plan, items, known_at, asked)
    } else {
        attributes(plan, items, known_at, asked)
    }
}

/// The newest row that is in reach and known; an older one only while a newer one is not known.
fn attributes(
    plan: &ViewPlan,
    items: &ItemBlock<'_>,
    known_at: &[i64],
    asked: &AskedBlock<'_>,
) -> Result<BlockAnswers> {
    let mut chosen: Vec<Option<u32>> = vec![None; asked.len()];
    for run in asked.runs {
        for row in run.asked.clone().filter(|row| asked.is_known(*row)) {
            let time_us = asked.times[row];
            let reach = reach(items, run, plan.timing.attribute_bounds(time_us), run.items.start..run.items.start);
            chosen[row] = reach.rev().find(|item| known_at[*item] <= time_us).map(index);
        }
    }
    rows_chosen(items, UInt32Array::from(chosen))
}

fn aggregates(
    plan: &ViewPlan,
    items: &ItemBlock<'_>,
    known_at: &[i64],
    asked: &AskedBlock<'_>,
) -> Result<BlockAnswers> {
    let partly_known = partly_known(plan, items, known_at, asked);
    let whole = ItemBlock { known_at: None, ..items.clone() };
    if partly_known.is_empty() {
        return evaluate_block(plan, &whole, asked);
    }
    let mut answered_together: Vec<bool> = (0..asked.len()).map(|row| asked.is_known(row)).collect();
    partly_known.iter().for_each(|asked| answered_together[asked.row] = false);
    let answered_together = NullBuffer::from(answered_together);
    let mut parts = vec![evaluate_block(plan, &whole, &AskedBlock { known: Some(&answered_together), ..*asked })?];
    // by asked row: which part has its answer, and where
    let mut places: Vec<(usize, usize)> = (0..asked.len()).map(|row| (0, row)).collect();
    let mut rest = partly_known.as_slice();
    while !rest.is_empty() {
        let (copy, n_copied) = CopiedRows::of(&whole, known_at, asked.times, rest);
        for (place, asked) in rest[..n_copied].iter().enumerate() {
            places[asked.row] = (parts.len(), place);
        }
        parts.push(copy.evaluate(plan, &whole)?);
        rest = &rest[n_copied..];
    }
    joined(&parts, &places)
}

/// An asked row, and the items in its reach.
struct Reach {
    row: usize,
    items: std::ops::Range<usize>,
}

/// The asked rows in whose reach there is an item that was not known yet.
fn partly_known(plan: &ViewPlan, items: &ItemBlock<'_>, known_at: &[i64], asked: &AskedBlock<'_>) -> Vec<Reach> {
    let windows = plan.windows();
    let bounds = |time_us: i64| {
        let bounds = windows.iter().map(|window| plan.timing.bounds(window, time_us));
        let none = Bounds { start_us: i64::MAX, end_us: i64::MIN };
        bounds.fold(none, |all, one| Bounds {
            start_us: all.start_us.min(one.start_us),
            end_us: all.end_us.max(one.end_us),
        })
    };
    let mut found = Vec::new();
    // items in reach of which no later one was known later, so that the first is the last to be known
    let mut last_known: VecDeque<usize> = VecDeque::new();
    for run in asked.runs {
        last_known.clear();
        let mut so_far = run.items.start..run.items.start;
        for row in run.asked.clone().filter(|row| asked.is_known(*row)) {
            let time_us = asked.times[row];
            let in_reach = reach(items, run, bounds(time_us), so_far.clone());
            for item in so_far.end..in_reach.end {
                while last_known.back().is_some_and(|back| known_at[*back] <= known_at[item]) {
                    last_known.pop_back();
                }
                last_known.push_back(item);
            }
            while last_known.front().is_some_and(|front| *front < in_reach.start) {
                last_known.pop_front();
            }
            if last_known.front().is_some_and(|front| known_at[*front] > time_us) {
                found.push(Reach { row, items: in_reach.clone() });
            }
            so_far = in_reach;
        }
    }
    found
}

/// The items of a run within bounds that are not before those of `earlier`.
fn reach(items: &ItemBlock<'_>, run: &Run, bounds: Bounds, earlier: std::ops::Range<usize>) -> std::ops::Range<usize> {
    let start = advance(items.times, earlier.start, run.items.end, bounds.start_us);
    let end = advance(items.times, earlier.end.max(start), run.items.end, bounds.end_us);
    start..end
}

/// Items that were known, once for every asked row that needs them.
struct CopiedRows {
    items: Vec<u32>,
    times: Vec<i64>,
    runs: Vec<Run>,
}

impl CopiedRows {
    /// For as many of `asked` as make a block, and how many those are.
    fn of(items: &ItemBlock<'_>, known_at: &[i64], times: &[i64], asked: &[Reach]) -> (CopiedRows, usize) {
        debug_assert_eq!(items.times.len(), known_at.len());
        let mut copy = CopiedRows { items: Vec::new(), times: Vec::new(), runs: Vec::new() };
        for reach in asked {
            if !copy.runs.is_empty() && copy.items.len() + reach.items.len() > COPIED_ROWS {
                break;
            }
            let time_us = times[reach.row];
            let (row, first) = (copy.runs.len(), copy.items.len());
            copy.items.extend(reach.items.clone().filter(|item| known_at[*item] <= time_us).map(index));
            copy.times.push(time_us);
            copy.runs.push(Run { asked: row..row + 1, items: first..copy.items.len() });
        }
        let n_asked = copy.runs.len();
        (copy, n_asked)
    }

    fn evaluate(&self, plan: &ViewPlan, items: &ItemBlock<'_>) -> Result<BlockAnswers> {
        let rows = UInt32Array::from(self.items.clone());
        let copied = |values: &[i64]| self.items.iter().map(|item| values[*item as usize]).collect::<Vec<i64>>();
        let (times, arrivals) = (copied(items.times), copied(items.arrivals));
        let taken = |column: &ArrayRef| take_rows(column, &rows);
        let copy = ItemBlock {
            form: items.form,
            times: &times,
            arrivals: &arrivals,
            known_at: None,
            secondary: items.secondary.as_ref().map(taken).transpose()?,
            columns: items
                .columns
                .iter()
                .map(|columns| columns.iter().map(taken).collect::<Result<_>>())
                .collect::<Result<_>>()?,
        };
        evaluate_block(plan, &copy, &AskedBlock { times: &self.times, known: None, runs: &self.runs })
    }
}

/// The answers of several blocks as those of one.
fn joined(parts: &[BlockAnswers], places: &[(usize, usize)]) -> Result<BlockAnswers> {
    let n_columns = parts.first().map_or(0, |part| part.columns.len());
    let columns = (0..n_columns).map(|column| {
        let arrays: Vec<&dyn Array> = parts.iter().map(|part| part.columns[column].as_ref()).collect();
        interleave(&arrays, places).map_err(|error| Error::internal("answers do not join").with_source(error))
    });
    Ok(BlockAnswers {
        columns: columns.collect::<Result<_>>()?,
        present: places.iter().map(|(part, row)| parts[*part].present[*row]).collect(),
        chosen: None,
    })
}
