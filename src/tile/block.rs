//! Many entities at once, column by column: the fast way to the values that [`super::evaluate_aggregates`] gives.
//!
//! Phase A resolves each window to a range of items for every asked time, by pointers that only move forward. Phase B
//! computes feature by feature over those ranges, each kind of state in its own way: sums and counts from prefix sums,
//! extremes from a queue of candidates, first and last by position, counts of values by putting in what comes into a
//! window and taking out what leaves it, states whose merging rounds by spans of time, and all others from two halves
//! on both sides of a pivot. The results are the same bit for bit; tests hold the two against each other.

mod by_key;
mod codes;
mod distinct_rows;
mod extremes;
mod flat;
mod histograms;
mod kernel;
mod known;
mod merged;
mod output;
mod percentiles;
mod pivot;
mod positions;
mod ranges;
mod sums;
mod tallies;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::buffer::NullBuffer;

use super::evaluate::features_by_partial;
use super::plan::ViewPlan;
use super::window::spans;
use super::{AggregateFunction, ViewKind, Window};
use crate::error::{Error, Result};
use crate::row::integers_of;
use kernel::{KernelInput, Kernels};
use output::{as_type, series, take_rows};
use ranges::{Edges, resolve_attributes};
pub(super) use sums::{bigint_out_of_range, numeric_out_of_range};

/// What the columns of an [`ItemBlock`] hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemForm {
    /// a row each: the inputs of every partial
    Rows,
    /// a tile each: the states of every partial, as [`PartialSpec::state_fields`] says
    Tiles,
}

/// Items of many entities, one entity after the other, each ascending by (time, arrival).
#[derive(Debug, Clone)]
pub struct ItemBlock<'a> {
    pub form: ItemForm,
    /// event times of rows, anchors of tiles; microseconds
    pub times: &'a [i64],
    /// of rows; breaks ties of time
    pub arrivals: &'a [i64],
    /// of rows in a bitemporal view: since when each is known, and seen
    pub known_at: Option<ArrayRef>,
    /// with a secondary key, that of each item
    pub secondary: Option<ArrayRef>,
    /// by the plan's partial (of attributes: by attribute, one column each), as long as `times`
    pub columns: Vec<Vec<ArrayRef>>,
}

/// One entity that is asked for: which of the asked times are about it, and which items it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub asked: Range<usize>,
    pub items: Range<usize>,
}

/// The questions put to a block. Every asked time is in exactly one run, and ascends inside of it; runs ascend.
#[derive(Debug, Clone, Copy)]
pub struct AskedBlock<'a> {
    /// microseconds; what stands where `known` is false does not matter
    pub times: &'a [i64],
    /// false where no time is asked: the answer is that of empty windows
    pub known: Option<&'a NullBuffer>,
    pub runs: &'a [Run],
}

impl AskedBlock<'_> {
    pub fn len(&self) -> usize {
        self.times.len()
    }

    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    fn is_known(&self, row: usize) -> bool {
        self.known.is_none_or(|known| known.is_valid(row))
    }
}

/// The answers of a block, a row for every asked time.
#[derive(Debug)]
pub struct BlockAnswers {
    /// by [`ViewPlan::output_columns`], or by attribute
    pub columns: Vec<ArrayRef>,
    /// whether there is data: an item in some window, or a row
    pub present: Vec<bool>,
    /// of attributes, the item that answers
    pub chosen: Option<UInt32Array>,
}

/// The features (or attributes) of `plan` for all that is asked. Errors: `NumericValueOutOfRange` where a sum does not
/// fit its type, `DataCorrupted` for states that cannot be.
pub fn evaluate_block(plan: &ViewPlan, items: &ItemBlock<'_>, asked: &AskedBlock<'_>) -> Result<BlockAnswers> {
    debug_assert!(asked.runs.iter().map(|run| run.asked.len()).sum::<usize>() == asked.len());
    if let Some(known_at) = &items.known_at {
        return known::evaluate(plan, items, &integers_of(known_at.as_ref())?, asked);
    }
    if plan.timing.kind.has_aggregates() { aggregates(plan, items, asked) } else { attributes(plan, items, asked) }
}

fn attributes(plan: &ViewPlan, items: &ItemBlock<'_>, asked: &AskedBlock<'_>) -> Result<BlockAnswers> {
    rows_chosen(items, resolve_attributes(&plan.timing, items.times, asked).collect())
}

/// The attributes of the rows that answer.
fn rows_chosen(items: &ItemBlock<'_>, chosen: UInt32Array) -> Result<BlockAnswers> {
    let columns = items
        .columns
        .iter()
        .map(|column| take_rows(column.first().ok_or_else(|| Error::internal("an attribute has no column"))?, &chosen))
        .collect::<Result<_>>()?;
    let present = (0..chosen.len()).map(|row| chosen.is_valid(row)).collect();
    Ok(BlockAnswers { columns, present, chosen: Some(chosen) })
}

fn aggregates(plan: &ViewPlan, items: &ItemBlock<'_>, asked: &AskedBlock<'_>) -> Result<BlockAnswers> {
    let anchors = anchors(plan, items);
    let edges = Edges::new(&plan.timing, asked);
    let mut present = vec![false; asked.len()];
    let columns = match &items.secondary {
        Some(secondary) if plan.secondary_key.is_some() => {
            by_key::features(plan, items, &anchors, secondary, &edges, &mut present)?
        }
        _ if plan.secondary_key.is_some() => return Err(Error::internal("items lack their secondary key")),
        _ => features(plan, items, &anchors, &edges, &mut present)?,
    };
    let types = plan.output_types();
    let columns = columns
        .into_iter()
        .zip(&types)
        .map(|(column, data_type)| match column {
            Some(column) => as_type(column, data_type),
            None => Err(Error::internal("a feature was not evaluated")),
        })
        .collect::<Result<_>>()?;
    Ok(BlockAnswers { columns, present, chosen: None })
}

/// By output column.
fn features(
    plan: &ViewPlan,
    items: &ItemBlock<'_>,
    anchors: &[i64],
    edges: &Edges<'_>,
    present: &mut [bool],
) -> Result<Vec<Option<ArrayRef>>> {
    let input = KernelInput { form: items.form, times: items.times, runs: edges.asked.runs };
    let mut kernels = Kernels::new(plan, &input, &items.columns)?;
    let mut columns = vec![None; plan.features.len()];
    for window in plan.windows() {
        let groups = features_by_partial(plan, &window);
        if !matches!(window, Window::Series { .. }) {
            let ranges = edges.resolve(anchors, window.span());
            ranges.note_present(present);
            for (partial, features) in &groups {
                let values = kernels.values(plan, *partial, &functions_of(plan, features), &ranges)?;
                features.iter().zip(values).for_each(|(feature, values)| columns[*feature] = Some(values));
            }
            continue;
        }
        let mut of_features: BTreeMap<usize, Vec<ArrayRef>> = BTreeMap::new();
        edges.note_present(anchors, &window, present);
        for span in spans(&window) {
            let ranges = edges.resolve(anchors, span);
            for (partial, features) in &groups {
                let values = kernels.values(plan, *partial, &functions_of(plan, features), &ranges)?;
                for (feature, values) in features.iter().zip(values) {
                    of_features.entry(*feature).or_default().push(values);
                }
            }
        }
        for feature in groups.into_values().flatten() {
            let values = of_features.remove(&feature).unwrap_or_default();
            columns[feature] = Some(series(&values, &plan.features[feature].data_type, edges)?);
        }
    }
    Ok(columns)
}

fn functions_of<'a>(plan: &'a ViewPlan, features: &[usize]) -> Vec<&'a AggregateFunction> {
    features.iter().map(|feature| &plan.features[*feature].function).collect()
}

/// Where items stand in time: rows of tiled views at the anchor of their tile.
fn anchors<'a>(plan: &ViewPlan, items: &ItemBlock<'a>) -> Cow<'a, [i64]> {
    match (items.form, plan.timing.kind) {
        (ItemForm::Rows, ViewKind::BatchAggregates | ViewKind::StreamTiled) => {
            Cow::Owned(items.times.iter().map(|time_us| plan.timing.tile_anchor(*time_us)).collect())
        }
        _ => Cow::Borrowed(items.times),
    }
}

fn index(position: usize) -> u32 {
    u32::try_from(position).expect("a block has fewer than 2^32 items")
}
