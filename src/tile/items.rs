//! The rows of one entity as partial states: one a row, or folded into tiles.

use std::collections::BTreeMap;

use arrow::array::ArrayRef;

use super::ordered::Order;
use super::partial::Partial;
use super::plan::ViewPlan;
use super::window::floor;
use crate::error::Result;
use crate::row::{Value, value_at};

/// What the evaluators read of ONE entity key, ascending by time, then by arrival. An item is a row in continuous
/// views, else a tile; with a secondary key there are several tiles of one anchor.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AggregateItems {
    /// Event times of rows, anchors of tiles; microseconds.
    pub times: Vec<i64>,
    /// With a secondary key, that of each item.
    pub secondary: Option<Vec<Option<Value>>>,
    /// By the plan's partial, then by item.
    pub partials: Vec<Vec<Partial>>,
}

impl AggregateItems {
    /// No items of a plan.
    pub fn none(plan: &ViewPlan) -> AggregateItems {
        AggregateItems {
            times: Vec::new(),
            secondary: plan.secondary_key.as_ref().map(|_| Vec::new()),
            partials: vec![Vec::new(); plan.partials.len()],
        }
    }

    /// Puts items of the same plan behind these.
    pub fn append(&mut self, items: AggregateItems) {
        self.times.extend(items.times);
        if let (Some(keys), Some(more)) = (&mut self.secondary, items.secondary) {
            keys.extend(more);
        }
        self.partials.iter_mut().zip(items.partials).for_each(|(states, more)| states.extend(more));
    }

    /// Takes away those before `time_us`.
    pub fn take_before(&mut self, time_us: i64) -> AggregateItems {
        let n_before = self.times.partition_point(|time| *time < time_us);
        let mut before = AggregateItems {
            times: self.times.split_off(n_before),
            secondary: self.secondary.as_mut().map(|keys| keys.split_off(n_before)),
            partials: self.partials.iter_mut().map(|states| states.split_off(n_before)).collect(),
        };
        std::mem::swap(self, &mut before);
        before
    }
}

/// Rows of ONE entity key, ascending by (time, arrival).
#[derive(Debug, Clone, Default)]
pub struct RawRows {
    /// Event times, microseconds.
    pub times: Vec<i64>,
    pub arrivals: Vec<i64>,
    pub secondary: Option<Vec<Option<Value>>>,
    /// The inputs of each of the plan's partials, as long as `times`.
    pub inputs: Vec<Vec<ArrayRef>>,
}

/// One item a row: what continuous views are evaluated on.
pub fn raw_items(plan: &ViewPlan, rows: &RawRows) -> Result<AggregateItems> {
    let each_row = (0..rows.times.len()).map(|row| vec![row]).collect::<Vec<_>>();
    Ok(AggregateItems {
        times: rows.times.clone(),
        secondary: rows.secondary.clone(),
        partials: fold_rows(plan, rows, &each_row)?,
    })
}

/// Folds rows into tiles: one for each tile and secondary key that has rows. NULL secondary keys are dropped.
pub fn tile_rows(plan: &ViewPlan, rows: &RawRows) -> Result<AggregateItems> {
    let anchor = |time_us: i64| plan.timing.tile_anchor(time_us);
    let tiles = Tiles::of(anchor, &rows.times, rows.secondary.as_deref());
    let partials = fold_rows(plan, rows, &tiles.members)?;
    Ok(AggregateItems { times: tiles.anchors, secondary: tiles.secondary, partials })
}

/// Folds rows into the spans of width `level_us`, the finest of the timing's levels. NULL secondary keys are dropped.
pub fn level_rows(plan: &ViewPlan, rows: &RawRows, level_us: i64) -> Result<AggregateItems> {
    let spans = Tiles::of(|time_us| floor(time_us, level_us), &rows.times, rows.secondary.as_deref());
    let partials = fold_rows(plan, rows, &spans.members)?;
    Ok(AggregateItems { times: spans.anchors, secondary: spans.secondary, partials })
}

/// The tiles from items, which may be rows or tiles of a width that divides the plan's.
pub fn fold_tiles(plan: &ViewPlan, items: &AggregateItems) -> Result<AggregateItems> {
    fold_by(plan, items, |time_us| plan.timing.tile_anchor(time_us))
}

/// The spans of width `level_us`, one of the timing's levels, from the items of the next finer level (of the finest:
/// from the view's own), in the order in which the evaluators merge them.
pub fn fold_level(plan: &ViewPlan, items: &AggregateItems, level_us: i64) -> Result<AggregateItems> {
    fold_by(plan, items, |time_us| floor(time_us, level_us))
}

fn fold_by(plan: &ViewPlan, items: &AggregateItems, anchor: impl Fn(i64) -> i64) -> Result<AggregateItems> {
    let tiles = Tiles::of(anchor, &items.times, items.secondary.as_deref());
    let mut partials = Vec::with_capacity(plan.partials.len());
    for (spec, states) in plan.partials.iter().zip(&items.partials) {
        let mut folded = Vec::with_capacity(tiles.members.len());
        for members in &tiles.members {
            let mut state = spec.empty();
            for member in members {
                state.merge(spec, &states[*member])?;
            }
            folded.push(state);
        }
        partials.push(folded);
    }
    Ok(AggregateItems { times: tiles.anchors, secondary: tiles.secondary, partials })
}

/// By partial, then by group: the state of the group's rows.
fn fold_rows(plan: &ViewPlan, rows: &RawRows, groups: &[Vec<usize>]) -> Result<Vec<Vec<Partial>>> {
    let mut partials = Vec::with_capacity(plan.partials.len());
    for (spec, arrays) in plan.partials.iter().zip(&rows.inputs) {
        let mut inputs: Vec<Option<Value>> = Vec::with_capacity(arrays.len());
        let mut folded = Vec::with_capacity(groups.len());
        for group in groups {
            let mut state = spec.empty();
            for row in group {
                inputs.clear();
                for array in arrays {
                    inputs.push(value_at(array.as_ref(), *row)?);
                }
                let order = Order { ts_us: rows.times[*row], arrival: rows.arrivals[*row] };
                state.update(spec, &inputs, order)?;
            }
            folded.push(state);
        }
        partials.push(folded);
    }
    Ok(partials)
}

/// Which items make up which tile, ascending by (anchor, secondary key).
struct Tiles {
    anchors: Vec<i64>,
    secondary: Option<Vec<Option<Value>>>,
    members: Vec<Vec<usize>>,
}

impl Tiles {
    fn of(anchor: impl Fn(i64) -> i64, times: &[i64], secondary: Option<&[Option<Value>]>) -> Tiles {
        debug_assert!(times.is_sorted(), "items ascend by time");
        let mut tiles = Tiles { anchors: Vec::new(), secondary: secondary.map(|_| Vec::new()), members: Vec::new() };
        let anchor_of = |item: &usize| anchor(times[*item]);
        let items: Vec<usize> = (0..times.len()).collect();
        for same_anchor in items.chunk_by(|a, b| anchor_of(a) == anchor_of(b)) {
            let anchor = anchor_of(&same_anchor[0]);
            let Some(keys) = secondary else {
                tiles.push(anchor, None, same_anchor.to_vec());
                continue;
            };
            let mut by_key: BTreeMap<&Value, Vec<usize>> = BTreeMap::new();
            for item in same_anchor {
                if let Some(key) = &keys[*item] {
                    by_key.entry(key).or_default().push(*item);
                }
            }
            for (key, members) in by_key {
                tiles.push(anchor, Some(key.clone()), members);
            }
        }
        tiles
    }

    fn push(&mut self, anchor: i64, key: Option<Value>, members: Vec<usize>) {
        self.anchors.push(anchor);
        if let Some(keys) = &mut self.secondary {
            keys.push(key);
        }
        self.members.push(members);
    }
}
