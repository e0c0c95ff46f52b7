//! Values as small numbers in the order of the values: equal ones have one number, so that what counts and compares
//! them never looks at the values again.

use std::collections::HashMap;
use std::hash::Hash;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};

use super::extremes::{canonical, float_rank};
use super::index;
use super::output::take_rows;
use crate::error::{Error, Result};

/// The code of NULL.
pub(super) const NO_CODE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Codes {
    /// by row
    pub codes: Vec<u32>,
    /// by code: the values, ascending, each once and in its canonical form
    pub dictionary: ArrayRef,
}

impl Codes {
    /// Of a column of scalars.
    pub fn of(values: &ArrayRef) -> Result<Codes> {
        fn integers<T: ArrowPrimitiveType>(values: &ArrayRef) -> (Vec<u32>, Vec<u32>)
        where
            T::Native: Into<i128>,
        {
            let array = values.as_primitive::<T>();
            encode(array.iter().map(|value| value.map(Into::into)))
        }
        let (codes, firsts) = match values.data_type() {
            DataType::Boolean => encode(values.as_boolean().iter()),
            DataType::Int16 => integers::<Int16Type>(values),
            DataType::Int32 => integers::<Int32Type>(values),
            DataType::Date32 => integers::<Date32Type>(values),
            DataType::Int64 => encode(values.as_primitive::<Int64Type>().iter()),
            DataType::Time64(TimeUnit::Microsecond) => encode(values.as_primitive::<Time64MicrosecondType>().iter()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                encode(values.as_primitive::<TimestampMicrosecondType>().iter())
            }
            DataType::Float32 => encode(
                values.as_primitive::<Float32Type>().iter().map(|value| value.map(|value| float_rank(value.into()))),
            ),
            DataType::Float64 => encode(values.as_primitive::<Float64Type>().iter().map(|value| value.map(float_rank))),
            DataType::Decimal128(_, _) => integers::<Decimal128Type>(values),
            DataType::Utf8 => encode(values.as_string::<i32>().iter()),
            DataType::Binary => encode(values.as_binary::<i32>().iter()),
            other => return Err(Error::internal(format!("values of type {other} have no order"))),
        };
        let dictionary = canonical(&take_rows(values, &UInt32Array::from(firsts))?);
        Ok(Codes { codes, dictionary })
    }
}

/// The code of each value, and for each code the first row that has it.
fn encode<T: Copy + Ord + Hash>(values: impl Iterator<Item = Option<T>>) -> (Vec<u32>, Vec<u32>) {
    let mut seen: HashMap<T, u32> = HashMap::new();
    let mut distinct: Vec<(T, u32)> = Vec::new();
    let mut codes = Vec::with_capacity(values.size_hint().0);
    for (row, value) in values.enumerate() {
        codes.push(match value {
            None => NO_CODE,
            Some(value) => *seen.entry(value).or_insert_with(|| {
                distinct.push((value, index(row)));
                index(distinct.len() - 1)
            }),
        });
    }
    // numbered as they were found; now in their order
    let mut order: Vec<u32> = (0..index(distinct.len())).collect();
    order.sort_unstable_by_key(|found| distinct[*found as usize].0);
    let mut ranks = vec![0; order.len()];
    for (rank, found) in order.iter().enumerate() {
        ranks[*found as usize] = index(rank);
    }
    for code in &mut codes {
        if *code != NO_CODE {
            *code = ranks[*code as usize];
        }
    }
    (codes, order.into_iter().map(|found| distinct[found as usize].1).collect())
}
