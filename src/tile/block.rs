//! Many entities at once, column by column: the fast way to the values that [`super::evaluate_aggregates`] gives.
//!
//! Phase A resolves each window to a range of items for every asked time, by pointers that only move forward. Phase B
//! computes feature by feature over those ranges: sums and counts from prefix sums, extremes from a queue of
//! candidates, first and last by position. What has no such form is evaluated entity by entity from partial states.
//! The results are the same bit for bit; tests hold the two against each other.

mod extremes;
mod known;
mod positions;
mod sums;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, UInt32Array, new_empty_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field};

use super::evaluate::features_by_partial;
use super::items::{AggregateItems, RawRows, raw_items, tile_rows};
use super::plan::{OutputColumn, ViewPlan};
use super::spec::{PartialSpec, StateKind};
use super::{AggregateFunction, Bounds, ViewKind, Window, evaluate_aggregates, states_from_arrays};
use crate::error::{Error, Result};
use crate::row::{Value, array_of, integers_of, values_of};
use extremes::Extremes;
use positions::Positions;
use sums::{Counts, FloatSums, IntegerSums};
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

/// For every asked time, the items of one window: `[start, end)`, and whether it is not before the feature start.
#[derive(Debug, Clone)]
struct Ranges {
    start: Vec<u32>,
    end: Vec<u32>,
    after_start: Option<NullBuffer>,
}

impl Ranges {
    fn len(&self) -> usize {
        self.start.len()
    }

    fn at(&self, row: usize) -> Range<usize> {
        self.start[row] as usize..self.end[row] as usize
    }
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
    let ranges = resolve(items, asked, |time_us| plan.timing.attribute_bounds(time_us), |_| false, items.times);
    let chosen: UInt32Array =
        (0..asked.len()).map(|row| (ranges.start[row] < ranges.end[row]).then(|| ranges.end[row] - 1)).collect();
    rows_chosen(items, chosen)
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
    let mut present = vec![false; asked.len()];
    let output = plan.output_columns();
    let mut columns: Vec<Option<ArrayRef>> = vec![None; output.len()];
    let kernels: Vec<Option<Kernel>> = match plan.secondary_key {
        None => plan
            .partials
            .iter()
            .zip(&items.columns)
            .map(|(spec, arrays)| Kernel::new(spec, items.form, arrays, asked.runs))
            .collect::<Result<_>>()?,
        Some(_) => vec![None; plan.partials.len()],
    };
    for window in plan.windows() {
        let before_start = |time_us| plan.timing.is_before_start(time_us);
        let whole = resolve(items, asked, |time_us| plan.timing.bounds(&window, time_us), before_start, &anchors);
        for (row, present) in present.iter_mut().enumerate() {
            *present |= whole.start[row] < whole.end[row];
        }
        let groups = features_by_partial(plan, &window);
        if groups.keys().all(|partial| kernels[*partial].is_none()) {
            continue;
        }
        let is_series = matches!(window, Window::Series { .. });
        let parts: Vec<Ranges> = if is_series {
            let length = usize::try_from(window.series_len()).expect("limited when the plan is made");
            let part = |index: usize| {
                let bounds = |time_us| nth_bounds(plan, &window, time_us, index);
                resolve(items, asked, bounds, before_start, &anchors)
            };
            (0..length).map(part).collect()
        } else {
            vec![whole.clone()]
        };
        for (partial, features) in groups {
            let Some(kernel) = &kernels[partial] else { continue };
            for feature in features {
                let function = &plan.features[feature].function;
                let values = parts
                    .iter()
                    .map(|ranges| kernel.values(&plan.partials[partial], function, ranges, asked.runs))
                    .collect::<Result<Vec<_>>>()?;
                let value = if is_series {
                    series(&values, &plan.features[feature].data_type, &whole)?
                } else {
                    values.into_iter().next().ok_or_else(|| Error::internal("a window without values"))?
                };
                let place = output.iter().position(|column| *column == OutputColumn::Feature { index: feature });
                columns[place.ok_or_else(|| Error::internal("a feature is no output column"))?] = Some(value);
            }
        }
    }
    by_entity(plan, items, asked, &kernels, &mut columns)?;
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

fn nth_bounds(plan: &ViewPlan, window: &Window, time_us: i64, index: usize) -> Bounds {
    plan.timing.sub_bounds(window, time_us).nth(index).unwrap_or(Bounds { start_us: 0, end_us: 0 })
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

/// Phase A. Bounds ascend with the asked time, so both pointers only move forward inside of a run.
fn resolve(
    items: &ItemBlock<'_>,
    asked: &AskedBlock<'_>,
    bounds: impl Fn(i64) -> Bounds,
    before_start: impl Fn(i64) -> bool,
    anchors: &[i64],
) -> Ranges {
    debug_assert_eq!(items.times.len(), anchors.len());
    let n = asked.len();
    let (mut start, mut end) = (vec![0; n], vec![0; n]);
    let mut after_start = vec![true; n];
    for run in asked.runs {
        let (mut low, mut high) = (run.items.start, run.items.start);
        let limit = run.items.end;
        for row in run.asked.clone() {
            if !asked.is_known(row) {
                continue;
            }
            let time_us = asked.times[row];
            if before_start(time_us) {
                after_start[row] = false;
                continue;
            }
            let bounds = bounds(time_us);
            low = advance(anchors, low, limit, bounds.start_us);
            high = advance(anchors, high.max(low), limit, bounds.end_us);
            start[row] = index(low);
            end[row] = index(high);
        }
    }
    let any_before = after_start.contains(&false);
    Ranges { start, end, after_start: any_before.then(|| NullBuffer::from(after_start)) }
}

/// The first of `times[from..limit]`, ascending, that is not before `bound_us`; `limit` if there is none.
fn advance(times: &[i64], from: usize, limit: usize, bound_us: i64) -> usize {
    let mut step = 1;
    let mut low = from;
    while low < limit && times[low] < bound_us {
        // gallop: asked times may lie far apart
        let next = (low + step).min(limit);
        if next == limit || times[next - 1] >= bound_us {
            return low + 1 + times[low + 1..next].partition_point(|time_us| *time_us < bound_us);
        }
        low = next;
        step *= 2;
    }
    low
}

fn index(position: usize) -> u32 {
    u32::try_from(position).expect("a block has fewer than 2^32 items")
}

/// The columnar form of one partial, good for all windows.
#[derive(Debug, Clone)]
enum Kernel {
    Count(Counts),
    Integer(IntegerSums),
    Float(FloatSums),
    Extreme(Extremes),
    Position(Positions),
}

impl Kernel {
    /// `None` where the state has no columnar form over these columns.
    fn new(spec: &PartialSpec, form: ItemForm, columns: &[ArrayRef], runs: &[Run]) -> Result<Option<Kernel>> {
        Ok(match spec.kind {
            StateKind::Count => Some(Kernel::Count(Counts::new(form, columns)?)),
            StateKind::IntegerSum => IntegerSums::new(form, columns)?.map(Kernel::Integer),
            StateKind::FloatSum => Some(Kernel::Float(FloatSums::new(form, columns, runs)?)),
            StateKind::Extreme { greatest } => Extremes::new(columns, greatest)?.map(Kernel::Extreme),
            StateKind::Ordered(keep) if form == ItemForm::Rows && !keep.distinct => {
                Some(Kernel::Position(Positions::new(columns, keep)?))
            }
            _ => None,
        })
    }

    fn values(
        &self,
        spec: &PartialSpec,
        function: &AggregateFunction,
        ranges: &Ranges,
        runs: &[Run],
    ) -> Result<ArrayRef> {
        match self {
            Kernel::Count(counts) => Ok(counts.values(ranges)),
            Kernel::Integer(sums) => sums.values(spec, function, ranges),
            Kernel::Float(sums) => sums.values(function, ranges, runs),
            Kernel::Extreme(extremes) => extremes.values(ranges, runs),
            Kernel::Position(positions) => positions.values(function, ranges),
        }
    }
}

/// What the kernels leave, from the partial states of one entity after the other.
fn by_entity(
    plan: &ViewPlan,
    items: &ItemBlock<'_>,
    asked: &AskedBlock<'_>,
    kernels: &[Option<Kernel>],
    columns: &mut [Option<ArrayRef>],
) -> Result<()> {
    let rest: Vec<usize> = (0..plan.partials.len()).filter(|partial| kernels[*partial].is_none()).collect();
    if rest.is_empty() {
        return Ok(());
    }
    let mut small = ViewPlan { partials: Vec::new(), features: Vec::new(), ..plan.clone() };
    let mut places = Vec::new();
    for &partial in &rest {
        small.partials.push(plan.partials[partial].clone());
    }
    for (index, feature) in plan.features.iter().enumerate() {
        if let Some(partial) = rest.iter().position(|partial| *partial == feature.partial) {
            let mut feature = feature.clone();
            feature.partial = partial;
            small.features.push(feature);
            places.push(index);
        }
    }
    let output = plan.output_columns();
    let place_of = |column: OutputColumn| {
        let wanted = match column {
            OutputColumn::Feature { index } => OutputColumn::Feature { index: places[index] },
            keys => keys,
        };
        output.iter().position(|column| *column == wanted).expect("the small plan is a part of the plan")
    };
    let small_output = small.output_columns();
    let types = small.output_types();
    let mut values: Vec<Vec<Option<Value>>> = vec![Vec::with_capacity(asked.len()); small_output.len()];
    let empty = super::empty_row(&small);
    for run in asked.runs {
        let entity = entity_items(&small, &rest, items, run.items.clone())?;
        let times: Vec<i64> =
            run.asked.clone().filter(|row| asked.is_known(*row)).map(|row| asked.times[row]).collect();
        let mut answers: Vec<_> =
            evaluate_aggregates(&small, &entity, &times)?.into_iter().map(Vec::into_iter).collect();
        for row in run.asked.clone() {
            for ((values, answers), empty) in values.iter_mut().zip(&mut answers).zip(&empty) {
                values.push(if asked.is_known(row) { answers.next().flatten() } else { empty.clone() });
            }
        }
    }
    for ((column, values), data_type) in small_output.into_iter().zip(&values).zip(&types) {
        columns[place_of(column)] = Some(array_of(data_type, values.iter().map(Option::as_ref))?);
    }
    Ok(())
}

fn entity_items(
    plan: &ViewPlan,
    partials: &[usize],
    items: &ItemBlock<'_>,
    range: Range<usize>,
) -> Result<AggregateItems> {
    let slice = |array: &ArrayRef| array.slice(range.start, range.len());
    let times = items.times[range.clone()].to_vec();
    let secondary = items.secondary.as_ref().map(|keys| values_of(slice(keys).as_ref())).transpose()?;
    let taken = partials.iter().map(|partial| items.columns[*partial].iter().map(slice).collect::<Vec<_>>());
    if items.form == ItemForm::Tiles {
        let states = plan.partials.iter().zip(taken).map(|(spec, arrays)| states_from_arrays(spec, &arrays));
        return Ok(AggregateItems { times, secondary, partials: states.collect::<Result<_>>()? });
    }
    let arrivals = items.arrivals[range.clone()].to_vec();
    let rows = RawRows { times, arrivals, secondary, inputs: taken.collect() };
    if plan.timing.kind == ViewKind::StreamContinuous { raw_items(plan, &rows) } else { tile_rows(plan, &rows) }
}

/// Lists, of the type `data_type`, of one value from each of `values`; NULL before the feature start.
fn series(values: &[ArrayRef], data_type: &DataType, whole: &Ranges) -> Result<ArrayRef> {
    let (rows, valid) = (whole.len(), whole.after_start.clone());
    let arrays: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
    let all = match (arrays.as_slice(), data_type) {
        ([], DataType::List(item)) => new_empty_array(item.data_type()),
        _ => concat(&arrays).map_err(|error| Error::internal("a series could not be joined").with_source(error))?,
    };
    let is_valid = |row: usize| valid.as_ref().is_none_or(|valid| valid.is_valid(row));
    let members = |row: usize| (0..values.len()).map(move |window| index(window * rows + row));
    let order: UInt32Array = (0..rows).filter(|row| is_valid(*row)).flat_map(members).map(Some).collect();
    let lengths = (0..rows).map(|row| if is_valid(row) { values.len() } else { 0 });
    let offsets = OffsetBuffer::from_lengths(lengths);
    let items = take_rows(&all, &order)?;
    list_of(items, offsets, valid)
}

fn list_of(items: ArrayRef, offsets: OffsetBuffer<i32>, valid: Option<NullBuffer>) -> Result<ArrayRef> {
    let field = Arc::new(Field::new_list_field(items.data_type().clone(), true));
    let list = ListArray::try_new(field, offsets, items, valid)
        .map_err(|error| Error::internal("a list could not be built").with_source(error))?;
    Ok(Arc::new(list))
}

fn take_rows(array: &ArrayRef, rows: &UInt32Array) -> Result<ArrayRef> {
    take(array.as_ref(), rows, None).map_err(|error| Error::internal("rows could not be taken").with_source(error))
}

/// Types that say the same, such as a list whose item has another name.
fn as_type(array: ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if array.data_type() == data_type {
        return Ok(array);
    }
    arrow::compute::cast(array.as_ref(), data_type)
        .map_err(|error| Error::internal("a feature has another type than declared").with_source(error))
}

/// How many items before each position are not NULL; `None` where none is NULL.
fn present_before(array: &dyn Array) -> Option<Vec<u32>> {
    if array.null_count() == 0 {
        return None;
    }
    let nulls = array.logical_nulls()?;
    let mut before = Vec::with_capacity(array.len() + 1);
    let mut count = 0;
    before.push(count);
    for valid in nulls.iter() {
        count += u32::from(valid);
        before.push(count);
    }
    Some(before)
}
