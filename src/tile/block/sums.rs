//! Counts and exact sums from prefix sums.
//!
//! Sums are kept as 128-bit integers, which add and subtract without rounding; what wraps around in a prefix cancels
//! in the difference. Floats are integers too, once an entity's values are written as multiples of one power of two:
//! their sum is then exact, and rounded once, as [`FloatSum`] does. Entities whose values lie too far apart for that,
//! or are not finite, are folded into a [`FloatSum`].

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
};

use super::output::Slots;
use super::pivot;
use super::ranges::Ranges;
use super::{ItemForm, Run};
use crate::error::{Error, Kind, Result};
use crate::tile::AggregateFunction;
use crate::tile::exact_sum::{FloatSum, IntegerSum};
use crate::tile::pyramid::Folding;
use crate::tile::spec::PartialSpec;

/// How many rows are in a range of items.
#[derive(Debug)]
pub(super) enum Counts {
    /// an item is a row, and none is NULL
    Items,
    /// rows before each item
    Rows(Vec<u32>),
    /// the same, of tiles
    Tiles(Vec<i64>),
}

impl Counts {
    /// Of a count's own columns.
    pub fn new(form: ItemForm, columns: &[ArrayRef]) -> Result<Counts> {
        match form {
            ItemForm::Rows => Ok(Counts::of_rows(first(columns)?.as_ref())),
            ItemForm::Tiles => Counts::of_tiles(first(columns)?),
        }
    }

    fn of_rows(array: &dyn Array) -> Counts {
        present_before(array).map_or(Counts::Items, Counts::Rows)
    }

    fn of_tiles(array: &ArrayRef) -> Result<Counts> {
        let counts = array.as_primitive_opt::<Int64Type>().ok_or_else(|| unexpected(array))?;
        let mut total: i64 = 0;
        let mut before = Vec::with_capacity(counts.len() + 1);
        before.push(total);
        for count in counts.values() {
            total = total.wrapping_add(*count);
            before.push(total);
        }
        Ok(Counts::Tiles(before))
    }

    fn over(&self, range: &Range<usize>) -> i64 {
        match self {
            Counts::Items => (range.end - range.start) as i64,
            Counts::Rows(before) => i64::from(before[range.end] - before[range.start]),
            Counts::Tiles(before) => before[range.end].wrapping_sub(before[range.start]),
        }
    }

    pub fn values(&self, ranges: &Ranges<'_>) -> ArrayRef {
        ranges.counts((0..ranges.len()).map(|row| self.over(&ranges.at(row))).collect())
    }
}

/// Sums of integers, and of decimals by their unscaled numbers.
#[derive(Debug)]
pub(super) struct IntegerSums {
    counts: Counts,
    before: Vec<i128>,
}

impl IntegerSums {
    /// `None` where a sum could leave 128 bits.
    pub fn new(form: ItemForm, columns: &[ArrayRef]) -> Result<Option<IntegerSums>> {
        let values = first(columns)?;
        if form == ItemForm::Rows {
            let before = match values.data_type() {
                DataType::Int16 => running::<Int16Type>(values),
                DataType::Int32 => running::<Int32Type>(values),
                DataType::Int64 => running::<Int64Type>(values),
                DataType::Decimal128(_, _) if may_overflow(values) => return Ok(None),
                DataType::Decimal128(_, _) => running::<Decimal128Type>(values),
                _ => return Err(unexpected(values)),
            };
            return Ok(Some(IntegerSums { counts: Counts::of_rows(values.as_ref()), before }));
        }
        let sums = columns.get(1).ok_or_else(|| Error::internal("a sum's tiles lack the sum"))?;
        let overflows = columns.get(2).and_then(|overflows| overflows.as_primitive_opt::<Int64Type>());
        let has_overflows = overflows.is_some_and(|overflows| overflows.values().iter().any(|count| *count != 0));
        if !matches!(sums.data_type(), DataType::Decimal128(_, _)) || has_overflows || may_overflow(sums) {
            return Ok(None);
        }
        Ok(Some(IntegerSums { counts: Counts::of_tiles(values)?, before: running::<Decimal128Type>(sums) }))
    }

    pub fn values(&self, spec: &PartialSpec, function: &AggregateFunction, ranges: &Ranges<'_>) -> Result<ArrayRef> {
        let rows = ranges.len();
        let scale = match spec.input_type() {
            DataType::Decimal128(_, scale) => Some(*scale),
            _ => None,
        };
        match (function, scale) {
            (AggregateFunction::Avg, scale) => {
                let mut averages = Slots::new(rows);
                for (row, count, sum) in self.sums(ranges) {
                    if let Some(average) = average(count, sum, scale.unwrap_or(0)) {
                        averages.set(row, average);
                    }
                }
                Ok(averages.into_floats())
            }
            (AggregateFunction::Sum, None) => {
                let mut sums: Slots<i64> = Slots::new(rows);
                for (row, _, sum) in self.sums(ranges) {
                    sums.set(row, i64::try_from(sum).map_err(|_| bigint_out_of_range())?);
                }
                Ok(sums.into_integers())
            }
            (AggregateFunction::Sum, Some(scale)) => {
                let mut sums: Slots<i128> = Slots::new(rows);
                for (row, _, sum) in self.sums(ranges) {
                    if sum.abs() >= BASE {
                        return Err(numeric_out_of_range());
                    }
                    sums.set(row, sum);
                }
                sums.into_decimals(scale)
            }
            _ => Err(Error::internal(format!("{} is no function of a sum", function.name()))),
        }
    }

    /// The rows whose window has any, with how many and their sum.
    fn sums(&self, ranges: &Ranges<'_>) -> impl Iterator<Item = (usize, i64, i128)> {
        (0..ranges.len()).filter_map(|row| {
            let range = ranges.at(row);
            let count = self.counts.over(&range);
            (count > 0).then(|| (row, count, self.before[range.end].wrapping_sub(self.before[range.start])))
        })
    }
}

/// 10^38.
const BASE: i128 = 10_i128.pow(38);

pub(in crate::tile) fn bigint_out_of_range() -> Error {
    Error::new(Kind::NumericValueOutOfRange, "bigint out of range")
        .with_hint("sum a wider type, such as sum(x::numeric) or sum(x::float8)")
}

pub(in crate::tile) fn numeric_out_of_range() -> Error {
    Error::new(Kind::NumericValueOutOfRange, "numeric sum has more than 38 digits")
}

fn average(count: i64, sum: i128, scale: i8) -> Option<f64> {
    IntegerSum {
        count,
        overflows: sum.signum() as i64 * (sum.unsigned_abs() / BASE.unsigned_abs()) as i64,
        low: sum % BASE,
    }
    .average(scale)
}

/// Whether a sum of any of these decimals might not fit.
fn may_overflow(array: &ArrayRef) -> bool {
    let Some(values) = array.as_primitive_opt::<Decimal128Type>() else { return true };
    let greatest = values.iter().flatten().map(i128::unsigned_abs).max().unwrap_or(0);
    greatest.checked_mul(array.len() as u128).is_none_or(|bound| bound > i128::MAX.unsigned_abs())
}

/// Sums before each item, NULLs as zero.
fn running<T: ArrowPrimitiveType>(array: &ArrayRef) -> Vec<i128>
where
    T::Native: Into<i128>,
{
    let array = array.as_primitive::<T>();
    let mut total: i128 = 0;
    let mut before = Vec::with_capacity(array.len() + 1);
    before.push(total);
    let mut add = |value: i128| {
        total = total.wrapping_add(value);
        before.push(total);
    };
    if array.null_count() == 0 {
        array.values().iter().for_each(|value| add((*value).into()));
    } else {
        array.iter().for_each(|value| add(value.map_or(0, Into::into)));
    }
    before
}

/// Sums of floats.
#[derive(Debug)]
pub(super) struct FloatSums {
    counts: Counts,
    /// sums before each item; differences inside of a run are in units of 2^exponent
    before: Vec<i128>,
    /// by run; `None` where the values have no common unit
    exponents: Vec<Option<i32>>,
    /// the items themselves, for the runs without one
    parts: Parts,
}

/// The floats of each item.
#[derive(Debug)]
enum Parts {
    Narrow(PrimitiveArray<Float32Type>),
    Wide(PrimitiveArray<Float64Type>),
    /// of tiles: how many rows, the numbers whose exact sum it is, and overflows of 2^1024
    Tiles {
        counts: Int64Array,
        offsets: Vec<usize>,
        components: PrimitiveArray<Float64Type>,
        overflows: Int64Array,
    },
}

impl Parts {
    fn new(form: ItemForm, columns: &[ArrayRef]) -> Result<Parts> {
        let values = first(columns)?;
        if form == ItemForm::Rows {
            return match values.data_type() {
                DataType::Float32 => Ok(Parts::Narrow(values.as_primitive().clone())),
                DataType::Float64 => Ok(Parts::Wide(values.as_primitive().clone())),
                _ => Err(unexpected(values)),
            };
        }
        let [counts, sums, overflows] = columns else {
            return Err(Error::internal("the tiles of a float sum have three columns"));
        };
        let lists = sums.as_list_opt::<i32>().ok_or_else(|| unexpected(sums))?;
        let components = lists.values();
        Ok(Parts::Tiles {
            counts: counts.as_primitive_opt::<Int64Type>().ok_or_else(|| unexpected(counts))?.clone(),
            offsets: lists.value_offsets().iter().map(|offset| *offset as usize).collect(),
            components: components.as_primitive_opt::<Float64Type>().ok_or_else(|| unexpected(components))?.clone(),
            overflows: overflows.as_primitive_opt::<Int64Type>().ok_or_else(|| unexpected(overflows))?.clone(),
        })
    }

    fn len(&self) -> usize {
        match self {
            Parts::Narrow(values) => values.len(),
            Parts::Wide(values) => values.len(),
            Parts::Tiles { counts, .. } => counts.len(),
        }
    }

    fn each(&self, item: usize, mut use_value: impl FnMut(f64)) {
        match self {
            Parts::Narrow(values) if values.is_valid(item) => use_value(values.value(item).into()),
            Parts::Wide(values) if values.is_valid(item) => use_value(values.value(item)),
            Parts::Narrow(_) | Parts::Wide(_) => {}
            Parts::Tiles { offsets, components, .. } => {
                components.values()[offsets[item]..offsets[item + 1]].iter().for_each(|value| use_value(*value));
            }
        }
    }

    /// The common unit of the items of a range: an exponent such that each is a whole multiple of 2^exponent, and no
    /// sum of them leaves 126 bits.
    fn unit(&self, range: &Range<usize>) -> Option<i32> {
        let (mut lowest, mut highest, mut finite) = (i32::MAX, i32::MIN, true);
        let mut parts: usize = 0;
        let mut look = |value: f64| {
            parts += 1;
            finite &= value.is_finite();
            if value != 0.0 {
                let (mantissa, exponent) = split(value);
                lowest = lowest.min(exponent + mantissa.trailing_zeros() as i32);
                highest = highest.max(exponent + 64 - mantissa.leading_zeros() as i32);
            }
        };
        range.clone().for_each(|item| self.each(item, &mut look));
        if let Parts::Tiles { overflows, .. } = self
            && overflows.values()[range.clone()].iter().any(|overflows| *overflows != 0)
        {
            return None;
        }
        if lowest == i32::MAX {
            return finite.then_some(0);
        }
        let bits = i64::from(highest) - i64::from(lowest) + i64::from(usize::BITS - parts.leading_zeros());
        // a sum down to the least float, or above the greatest, would round twice
        let in_range = lowest >= -1022 && highest < 900;
        (finite && bits <= 126 && in_range).then_some(lowest)
    }
}

/// `|value| = mantissa * 2^exponent`, of a finite number.
fn split(value: f64) -> (u64, i32) {
    let bits = value.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    match (bits >> 52) & 0x7ff {
        0 => (fraction, -1074),
        biased => (fraction | 1 << 52, biased as i32 - 1075),
    }
}

/// A finite number in units of 2^exponent, of which it is a whole multiple.
fn in_units(value: f64, unit: i32) -> i128 {
    let (mantissa, exponent) = split(value);
    let shift = exponent - unit;
    let units =
        if shift >= 0 { i128::from(mantissa) << shift } else { i128::from(mantissa >> shift.unsigned_abs().min(63)) };
    if value < 0.0 { -units } else { units }
}

impl FloatSums {
    pub fn new(form: ItemForm, columns: &[ArrayRef], runs: &[Run]) -> Result<FloatSums> {
        let parts = Parts::new(form, columns)?;
        let counts = match form {
            ItemForm::Rows => Counts::of_rows(first(columns)?.as_ref()),
            ItemForm::Tiles => Counts::of_tiles(first(columns)?)?,
        };
        let mut before = vec![0_i128; parts.len() + 1];
        let mut exponents = Vec::with_capacity(runs.len());
        // goes on from run to run, since the end of one is the start of the next; only differences inside of one count
        let mut total: i128 = 0;
        for run in runs {
            let exponent = parts.unit(&run.items);
            exponents.push(exponent);
            before[run.items.start] = total;
            let Some(exponent) = exponent else { continue };
            for item in run.items.clone() {
                parts.each(item, |value| total = total.wrapping_add(in_units(value, exponent)));
                before[item + 1] = total;
            }
        }
        Ok(FloatSums { counts, before, exponents, parts })
    }

    pub fn values(&self, functions: &[&AggregateFunction], ranges: &Ranges<'_>) -> Result<Vec<ArrayRef>> {
        let is_average = |function: &&AggregateFunction| match function {
            AggregateFunction::Sum => Ok(false),
            AggregateFunction::Avg => Ok(true),
            _ => Err(Error::internal(format!("{} is no function of a sum", function.name()))),
        };
        let averages = functions.iter().map(is_average).collect::<Result<Vec<bool>>>()?;
        let mut outputs: Vec<Slots<f64>> = functions.iter().map(|_| Slots::new(ranges.len())).collect();
        for (run, exponent) in ranges.runs.iter().zip(&self.exponents) {
            let Some(exponent) = exponent else {
                pivot::fold(&self.parts, &ranges.windows(run), |rows, sum| {
                    for (output, is_average) in outputs.iter_mut().zip(&averages) {
                        output.set_all(rows.clone(), if *is_average { sum.average() } else { sum.sum() });
                    }
                    Ok(())
                })?;
                continue;
            };
            let unit = power_of_two(*exponent);
            for (output, is_average) in outputs.iter_mut().zip(&averages) {
                for row in run.asked.clone() {
                    let range = ranges.at(row);
                    let count = self.counts.over(&range);
                    if count > 0 {
                        let units = self.before[range.end].wrapping_sub(self.before[range.start]);
                        let sum = units as f64 * unit;
                        output.set(row, if *is_average { sum / count as f64 } else { sum });
                    }
                }
            }
        }
        Ok(outputs.into_iter().map(Slots::into_floats).collect())
    }
}

/// For the runs whose values have no common unit.
impl Folding for Parts {
    type State = FloatSum;

    fn empty(&self) -> FloatSum {
        FloatSum::default()
    }

    fn add(&self, sum: &mut FloatSum, item: usize) -> Result<()> {
        match self {
            Parts::Tiles { counts, offsets, components, overflows } => {
                let parts = components.values()[offsets[item]..offsets[item + 1]].iter().copied();
                sum.merge(&FloatSum::from_parts(counts.value(item), overflows.value(item), parts));
            }
            _ => self.each(item, |value| sum.update(value)),
        }
        Ok(())
    }

    fn merge(&self, sum: &mut FloatSum, other: &FloatSum) -> Result<()> {
        sum.merge(other);
        Ok(())
    }
}

/// 2^exponent, for exponents of normal numbers.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

fn first(columns: &[ArrayRef]) -> Result<&ArrayRef> {
    columns.first().ok_or_else(|| Error::internal("an aggregate has no column"))
}

fn unexpected(array: &ArrayRef) -> Error {
    Error::internal(format!("an aggregate's column has the type {}", array.data_type()))
}

/// How many items before each position are not NULL; `None` where none is NULL.
pub(super) fn present_before(array: &dyn Array) -> Option<Vec<u32>> {
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
