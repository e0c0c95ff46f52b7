//! The least or greatest item of ranges whose ends ascend: a queue of the items that can still win. min, max, bool_and,
//! bool_or, and with another column's value arg_min and arg_max.

use std::collections::VecDeque;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float64Array, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};

use super::codes::Codes;
use super::output::Slots;
use super::ranges::Ranges;
use super::{ItemForm, index};
use crate::error::{Error, Result};
use crate::row::canonical_bits;

/// Values as integers in the order of the values.
#[derive(Debug)]
enum Ranks {
    Narrow(Vec<i64>),
    Wide(Vec<i128>),
}

#[derive(Debug)]
pub(super) struct Extremes {
    /// what the winner answers
    values: ArrayRef,
    ranks: Ranks,
    /// items that are not compared
    nulls: Option<NullBuffer>,
    /// which of equals wins
    latest_wins: bool,
}

impl Extremes {
    /// The extreme of a column; of tiles, the column of their extremes.
    pub fn new(values: &ArrayRef, greatest: bool) -> Result<Extremes> {
        Ok(Extremes {
            values: canonical(values),
            ranks: Ranks::of(values, greatest)?,
            nulls: values.logical_nulls(),
            latest_wins: false,
        })
    }

    /// What stands beside the extreme of a column. `columns` are value and by; of tiles by, time, arrival and value.
    pub fn beside(form: ItemForm, columns: &[ArrayRef], greatest: bool) -> Result<Extremes> {
        let (values, by) = match (form, columns) {
            (ItemForm::Rows, [value, by]) => (value, by),
            (ItemForm::Tiles, [by, _, _, value]) => (value, by),
            _ => return Err(Error::internal("an arg_max or arg_min lacks a column")),
        };
        Ok(Extremes {
            values: ArrayRef::clone(values),
            ranks: Ranks::of(by, greatest)?,
            nulls: NullBuffer::union(values.logical_nulls().as_ref(), by.logical_nulls().as_ref()),
            latest_wins: true,
        })
    }

    pub fn values(&self, ranges: &Ranges<'_>) -> Result<ArrayRef> {
        let winners = match (&self.ranks, self.latest_wins) {
            (Ranks::Narrow(ranks), false) => self.winners(ranks, ranges, |last, next| last < next),
            (Ranks::Narrow(ranks), true) => self.winners(ranks, ranges, |last, next| last <= next),
            (Ranks::Wide(ranks), false) => self.winners(ranks, ranges, |last, next| last < next),
            (Ranks::Wide(ranks), true) => self.winners(ranks, ranges, |last, next| last <= next),
        };
        winners.take_from(&self.values)
    }

    /// The greatest item of each range. `is_beaten`: whether an item can no longer win once a later one is there.
    fn winners<T: Copy>(&self, ranks: &[T], ranges: &Ranges<'_>, is_beaten: impl Fn(T, T) -> bool) -> Slots<u32> {
        let mut winners = Slots::new(ranges.len());
        // items that no later one beats, ranks descending
        let mut queue: VecDeque<u32> = VecDeque::new();
        for run in ranges.runs {
            queue.clear();
            let mut next = run.items.start;
            for row in run.asked.clone() {
                let range = ranges.at(row);
                if range.is_empty() {
                    continue;
                }
                next = next.max(range.start);
                for item in next..range.end {
                    if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(item)) {
                        continue;
                    }
                    while queue.back().is_some_and(|last| is_beaten(ranks[*last as usize], ranks[item])) {
                        queue.pop_back();
                    }
                    queue.push_back(index(item));
                }
                next = next.max(range.end);
                while queue.front().is_some_and(|first| (*first as usize) < range.start) {
                    queue.pop_front();
                }
                if let Some(first) = queue.front() {
                    winners.set(row, *first);
                }
            }
        }
        winners
    }
}

impl Ranks {
    fn of(values: &ArrayRef, greatest: bool) -> Result<Ranks> {
        // the least is the greatest of what is negated
        let narrow =
            |ranks: Vec<i64>| Ranks::Narrow(if greatest { ranks } else { ranks.iter().map(|rank| !rank).collect() });
        Ok(match values.data_type() {
            DataType::Boolean => narrow(values.as_boolean().values().iter().map(i64::from).collect()),
            DataType::Int16 => narrow(integers::<Int16Type>(values)),
            DataType::Int32 => narrow(integers::<Int32Type>(values)),
            DataType::Date32 => narrow(integers::<Date32Type>(values)),
            DataType::Int64 => narrow(integers::<Int64Type>(values)),
            DataType::Time64(TimeUnit::Microsecond) => narrow(integers::<Time64MicrosecondType>(values)),
            DataType::Timestamp(TimeUnit::Microsecond, _) => narrow(integers::<TimestampMicrosecondType>(values)),
            DataType::Float32 => {
                let floats = values.as_primitive::<Float32Type>().values();
                narrow(floats.iter().map(|value| float_rank((*value).into())).collect())
            }
            DataType::Float64 => {
                narrow(values.as_primitive::<Float64Type>().values().iter().map(|value| float_rank(*value)).collect())
            }
            DataType::Decimal128(_, _) => {
                let ranks = values.as_primitive::<Decimal128Type>().values().iter();
                Ranks::Wide(ranks.map(|value| if greatest { *value } else { !*value }).collect())
            }
            _ => narrow(Codes::of(values)?.codes.into_iter().map(i64::from).collect()),
        })
    }
}

fn integers<T: ArrowPrimitiveType>(array: &ArrayRef) -> Vec<i64>
where
    T::Native: Into<i64>,
{
    array.as_primitive::<T>().values().iter().map(|value| (*value).into()).collect()
}

/// PostgreSQL's order: NaN above everything, -0 equal to 0.
pub(super) fn float_rank(value: f64) -> i64 {
    let bits = canonical_bits(value) as i64;
    // the sign bit apart, floats are ordered as their bits
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

/// Floats with one NaN and one zero.
pub(super) fn canonical(values: &ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Float64 => {
            let floats = values.as_primitive::<Float64Type>();
            let canonical: Float64Array = floats.unary(|value| f64::from_bits(canonical_bits(value)));
            std::sync::Arc::new(canonical)
        }
        DataType::Float32 => {
            let floats: &PrimitiveArray<Float32Type> = values.as_primitive();
            let canonical: Float32Array = floats.unary(|value| f64::from_bits(canonical_bits(value.into())) as f32);
            std::sync::Arc::new(canonical)
        }
        _ => std::sync::Arc::clone(values),
    }
}
