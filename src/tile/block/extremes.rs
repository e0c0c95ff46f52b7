//! The least or greatest item of ranges whose ends ascend: a queue of the items that can still win.

use std::collections::VecDeque;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float64Array, PrimitiveArray, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};

use super::{Ranges, Run, index, take_rows};
use crate::error::Result;
use crate::row::canonical_bits;

/// Values as integers in the order of the values.
#[derive(Debug, Clone)]
enum Ranks {
    Narrow(Vec<i64>),
    Wide(Vec<i128>),
}

#[derive(Debug, Clone)]
pub(super) struct Extremes {
    values: ArrayRef,
    ranks: Ranks,
    nulls: Option<NullBuffer>,
}

impl Extremes {
    /// `None` for types that are not ordered as numbers.
    pub fn new(columns: &[ArrayRef], greatest: bool) -> Result<Option<Extremes>> {
        let Some(values) = columns.first() else { return Ok(None) };
        // the least is the greatest of what is negated
        let narrow =
            |ranks: Vec<i64>| Ranks::Narrow(if greatest { ranks } else { ranks.iter().map(|rank| !rank).collect() });
        let ranks = match values.data_type() {
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
            _ => return Ok(None),
        };
        Ok(Some(Extremes { values: canonical(values), ranks, nulls: values.logical_nulls() }))
    }

    pub fn values(&self, ranges: &Ranges, runs: &[Run]) -> Result<ArrayRef> {
        let winners = match &self.ranks {
            Ranks::Narrow(ranks) => self.winners(ranks, ranges, runs),
            Ranks::Wide(ranks) => self.winners(ranks, ranges, runs),
        };
        take_rows(&self.values, &winners)
    }

    /// The greatest item of each range, the earliest of equals.
    fn winners<T: Copy + Ord>(&self, ranks: &[T], ranges: &Ranges, runs: &[Run]) -> UInt32Array {
        let mut winners = vec![0_u32; ranges.len()];
        let mut found = vec![false; ranges.len()];
        // items that no later one beats, ranks descending
        let mut queue: VecDeque<u32> = VecDeque::new();
        for run in runs {
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
                    while queue.back().is_some_and(|last| ranks[*last as usize] < ranks[item]) {
                        queue.pop_back();
                    }
                    queue.push_back(index(item));
                }
                next = next.max(range.end);
                while queue.front().is_some_and(|first| (*first as usize) < range.start) {
                    queue.pop_front();
                }
                if let Some(first) = queue.front() {
                    winners[row] = *first;
                    found[row] = true;
                }
            }
        }
        UInt32Array::new(winners.into(), Some(NullBuffer::from(found)))
    }
}

fn integers<T: ArrowPrimitiveType>(array: &ArrayRef) -> Vec<i64>
where
    T::Native: Into<i64>,
{
    array.as_primitive::<T>().values().iter().map(|value| (*value).into()).collect()
}

/// PostgreSQL's order: NaN above everything, -0 equal to 0.
fn float_rank(value: f64) -> i64 {
    let bits = canonical_bits(value) as i64;
    // the sign bit apart, floats are ordered as their bits
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

/// Floats with one NaN and one zero.
fn canonical(values: &ArrayRef) -> ArrayRef {
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
