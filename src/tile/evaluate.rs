//! From the items of one entity and asked times to feature values. Every path that answers a feature ends here.
//!
//! Phase A resolves each distinct window to ranges of item indices, once for all features that use it. Phase B goes
//! feature by feature over those ranges: [`Fold`] merges the states of a range in the order of [`super::pyramid`].

use std::collections::BTreeMap;
use std::ops::Range;

use super::items::AggregateItems;
use super::partial::Partial;
use super::plan::{OutputColumn, ViewPlan};
use super::pyramid::{Folding, Part, Pyramid, Spans};
use super::spec::{PartialSpec, empty_value};
use super::{AggregateFunction, Bounds, Window};
use crate::error::{Error, Result};
use crate::row::Value;

/// The values of one output column, by asked time.
type Column = Vec<Option<Value>>;

/// The features of one entity at `times` (any order, repeats allowed), by [`ViewPlan::output_columns`], then by asked
/// time. Without items it answers for an unknown key.
pub fn evaluate_aggregates(plan: &ViewPlan, items: &AggregateItems, times: &[i64]) -> Result<Vec<Column>> {
    if items.partials.len() != plan.partials.len() && !items.times.is_empty() {
        return Err(Error::internal("the items of an entity are not those of its view's plan"));
    }
    debug_assert!(items.times.is_sorted(), "items ascend by time");
    if plan.secondary_key.is_some() { by_secondary_key(plan, items, times) } else { by_window(plan, items, times) }
}

/// The index of the row, among an entity's rows of times `row_times` (ascending by time, then arrival), that answers
/// at each of `times`; `None` where there is none, or where the newest has outlived its TTL.
pub fn evaluate_attributes(plan: &ViewPlan, row_times: &[i64], times: &[i64]) -> Vec<Option<usize>> {
    debug_assert!(row_times.is_sorted(), "rows ascend by time");
    let choose = |asked_us: &i64| {
        // effective times ascend with event times
        let visible = row_times.partition_point(|ts_us| plan.timing.effective(*ts_us) <= *asked_us);
        let newest = visible.checked_sub(1)?;
        attributes_hold(plan, row_times[newest], *asked_us).then_some(newest)
    };
    times.iter().map(choose).collect()
}

/// Whether the row of this time is the answer at another, if no later row is.
pub fn attributes_hold(plan: &ViewPlan, ts_us: i64, asked_us: i64) -> bool {
    let timing = &plan.timing;
    timing.start_us.is_none_or(|start_us| ts_us >= start_us)
        && timing.effective(ts_us) <= asked_us
        && !timing.is_expired(ts_us, asked_us)
}

/// What is answered where no time or no key is given: every empty window's value. (At a known time before the feature
/// start time even an unknown key has only NULL: ask [`evaluate_aggregates`] without items.)
pub fn empty_row(plan: &ViewPlan) -> Vec<Option<Value>> {
    if !plan.attributes.is_empty() {
        return vec![None; plan.attributes.len()];
    }
    let empty_list = || Some(Value::List([].into()));
    let value = |column: OutputColumn| match column {
        OutputColumn::Keys { .. } => empty_list(),
        OutputColumn::Feature { .. } if plan.secondary_key.is_some() => empty_list(),
        OutputColumn::Feature { index } => {
            let feature = &plan.features[index];
            match windows_per_time(&feature.window) {
                Some(count) => Some(Value::List(vec![empty_value(&feature.function); count].into())),
                None => empty_value(&feature.function),
            }
        }
    };
    plan.output_columns().into_iter().map(value).collect()
}

/// Of a series, how many windows it has.
fn windows_per_time(window: &Window) -> Option<usize> {
    matches!(window, Window::Series { .. })
        .then(|| usize::try_from(window.series_len()).expect("limited when the plan is made"))
}

/// A window at an asked time: from when to when, and the items in between.
struct Placed {
    bounds: Bounds,
    items: Range<usize>,
}

fn by_window(plan: &ViewPlan, items: &AggregateItems, times: &[i64]) -> Result<Vec<Column>> {
    let mut columns: Vec<Column> = vec![Vec::new(); plan.features.len()];
    let spans = ItemSpans::new(plan, &items.times);
    let mut folds = spans.folds(plan, |partial| items.partials.get(partial).into_iter().flatten().collect());
    for window in plan.windows() {
        let asked: Vec<Option<Vec<Placed>>> =
            times.iter().map(|asked_us| resolve(plan, &window, &items.times, *asked_us)).collect();
        for (partial, features) in features_by_partial(plan, &window) {
            let functions: Vec<&AggregateFunction> =
                features.iter().map(|feature| &plan.features[*feature].function).collect();
            let is_series = windows_per_time(&window).is_some();
            for placed in &asked {
                let row = folds[partial].row(&functions, placed.as_deref(), is_series)?;
                for (feature, value) in features.iter().zip(row) {
                    columns[*feature].push(value);
                }
            }
        }
    }
    Ok(columns)
}

/// The spans by which the items of one entity are merged.
struct ItemSpans {
    /// of states whose merging rounds
    levels: Spans,
    /// without levels: of states that are the same in whatever order they are merged
    none: Spans,
}

impl ItemSpans {
    fn new(plan: &ViewPlan, times: &[i64]) -> ItemSpans {
        let of = |widths: Vec<i64>| Spans::new(widths, times, std::iter::once(0..times.len()));
        let is_rounded = plan.partials.iter().any(PartialSpec::is_rounded);
        let levels = if is_rounded { plan.timing.levels().collect() } else { Vec::new() };
        ItemSpans { levels: of(levels), none: of(Vec::new()) }
    }

    /// One for each partial of the plan. `states` gives those of the items.
    fn folds<'a>(&'a self, plan: &'a ViewPlan, states: impl Fn(usize) -> Vec<&'a Partial>) -> Vec<Fold<'a>> {
        let fold = |(partial, spec): (usize, &'a PartialSpec)| {
            let spans = if spec.is_rounded() { &self.levels } else { &self.none };
            let pyramid = Pyramid::new(spans, States { spec, items: states(partial) });
            Fold { spec, spans, pyramid, parts: Vec::new() }
        };
        plan.partials.iter().enumerate().map(fold).collect()
    }
}

/// The items inside `window` (inside each of its windows, of a series) at `asked_us`; `None` before the feature start
/// time.
fn resolve(plan: &ViewPlan, window: &Window, item_times: &[i64], asked_us: i64) -> Option<Vec<Placed>> {
    if plan.timing.is_before_start(asked_us) {
        return None;
    }
    let placed = |bounds: Bounds| {
        let start = item_times.partition_point(|time_us| *time_us < bounds.start_us);
        let end = item_times.partition_point(|time_us| *time_us < bounds.end_us);
        Placed { bounds, items: start..end.max(start) }
    };
    Some(plan.timing.sub_bounds(window, asked_us).map(placed).collect())
}

/// The features that use `window`, grouped by the state they share.
pub(super) fn features_by_partial(plan: &ViewPlan, window: &Window) -> BTreeMap<usize, Vec<usize>> {
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, feature) in plan.features.iter().enumerate() {
        if feature.window == *window {
            groups.entry(feature.partial).or_default().push(index);
        }
    }
    groups
}

/// One secondary key's items.
struct KeyItems<'a> {
    key: &'a Value,
    items: Vec<usize>,
    times: Vec<i64>,
}

fn by_secondary_key(plan: &ViewPlan, items: &AggregateItems, times: &[i64]) -> Result<Vec<Column>> {
    let keys = items_by_key(items);
    let output = plan.output_columns();
    // lists under construction, by output column and asked time; `None` before the feature start time
    let before_start: Vec<bool> = times.iter().map(|asked_us| plan.timing.is_before_start(*asked_us)).collect();
    let mut lists: Vec<Vec<Vec<Option<Value>>>> = vec![vec![Vec::new(); times.len()]; output.len()];
    for key in &keys {
        let spans = ItemSpans::new(plan, &key.times);
        let states = |partial: usize| key.items.iter().map(|item| &items.partials[partial][*item]).collect();
        let mut folds = spans.folds(plan, states);
        for window in plan.windows() {
            let present: Vec<(usize, Vec<Placed>)> = times
                .iter()
                .enumerate()
                .filter_map(|(row, asked_us)| Some((row, resolve(plan, &window, &key.times, *asked_us)?)))
                .filter(|(_, placed)| placed.iter().any(|placed| !placed.items.is_empty()))
                .collect();
            if let Some(column) = output.iter().position(|column| *column == OutputColumn::Keys { window }) {
                present.iter().for_each(|(row, _)| lists[column][*row].push(Some(key.key.clone())));
            }
            for (partial, features) in features_by_partial(plan, &window) {
                let functions: Vec<&AggregateFunction> =
                    features.iter().map(|feature| &plan.features[*feature].function).collect();
                for (row, placed) in &present {
                    let values = folds[partial].row(&functions, Some(placed), false)?;
                    for (feature, value) in features.iter().zip(values) {
                        let column = column_of(&output, *feature);
                        lists[column][*row].push(value);
                    }
                }
            }
        }
    }
    let finish = |column: Vec<Vec<Option<Value>>>| {
        let values = column.into_iter().zip(&before_start);
        values.map(|(list, before_start)| (!before_start).then(|| Value::List(list.into()))).collect()
    };
    Ok(lists.into_iter().map(finish).collect())
}

fn column_of(output: &[OutputColumn], feature: usize) -> usize {
    let is_feature = |column: &OutputColumn| *column == OutputColumn::Feature { index: feature };
    output.iter().position(is_feature).expect("every feature is an output column")
}

/// Ascending by key; NULL keys are left out.
fn items_by_key(items: &AggregateItems) -> Vec<KeyItems<'_>> {
    let mut by_key: BTreeMap<&Value, Vec<usize>> = BTreeMap::new();
    for (item, key) in items.secondary.iter().flatten().enumerate() {
        if let Some(key) = key {
            by_key.entry(key).or_default().push(item);
        }
    }
    by_key
        .into_iter()
        .map(|(key, indices)| {
            let times = indices.iter().map(|item| items.times[*item]).collect();
            KeyItems { key, items: indices, times }
        })
        .collect()
}

/// Partial states that share one spec.
#[derive(Debug)]
struct States<'a> {
    spec: &'a PartialSpec,
    items: Vec<&'a Partial>,
}

impl Folding for States<'_> {
    type State = Partial;

    fn empty(&self) -> Partial {
        self.spec.empty()
    }

    fn add(&self, state: &mut Partial, item: usize) -> Result<()> {
        state.merge(self.spec, self.items[item])
    }

    fn merge(&self, state: &mut Partial, other: &Partial) -> Result<()> {
        state.merge(self.spec, other)
    }
}

/// The values of functions over windows of states.
struct Fold<'a> {
    spec: &'a PartialSpec,
    spans: &'a Spans,
    pyramid: Pyramid<States<'a>>,
    parts: Vec<Part>,
}

impl Fold<'_> {
    /// By function, its value over the one window, or over each of them as a list; NULL without windows.
    fn row(
        &mut self,
        functions: &[&AggregateFunction],
        placed: Option<&[Placed]>,
        as_list: bool,
    ) -> Result<Vec<Option<Value>>> {
        let Some(placed) = placed else { return Ok(vec![None; functions.len()]) };
        if let ([only], false) = (placed, as_list) {
            return self.over(functions, only);
        }
        let mut lists: Vec<Vec<Option<Value>>> = vec![Vec::with_capacity(placed.len()); functions.len()];
        for placed in placed {
            for (list, value) in lists.iter_mut().zip(self.over(functions, placed)?) {
                list.push(value);
            }
        }
        Ok(lists.into_iter().map(|list| Some(Value::List(list.into()))).collect())
    }

    fn over(&mut self, functions: &[&AggregateFunction], placed: &Placed) -> Result<Vec<Option<Value>>> {
        self.spans.parts(0, &placed.bounds, &placed.items, &mut self.parts);
        let state = self.pyramid.state(self.spans, &self.parts)?;
        functions.iter().map(|function| state.finish(self.spec, function)).collect()
    }
}
