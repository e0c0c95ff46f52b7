//! The columns of a batch in the few forms that profiles know: converted once, whatever parts of it go where.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};

use crate::error::{Error, Result};

/// What can be said of values of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Number,
    /// a number of seconds since 1970
    Time,
    Boolean,
    Text,
    Length,
    Opaque,
}

impl Class {
    pub fn of(data_type: &DataType) -> Class {
        match data_type {
            data_type if data_type.is_numeric() => Class::Number,
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Class::Time,
            DataType::Boolean => Class::Boolean,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Class::Text,
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) | DataType::Binary => {
                Class::Length
            }
            DataType::Dictionary(_, values) => Class::of(values),
            _ => Class::Opaque,
        }
    }
}

#[derive(Debug)]
pub enum Values {
    Numbers(Float64Array),
    Texts(StringArray),
    Lengths(Int64Array),
    Opaque(ArrayRef),
}

impl Values {
    /// Of an array whose class is this one, or of which only NULLs count.
    pub fn of(array: &ArrayRef, class: Class) -> Result<Values> {
        let cast_to = |array: &ArrayRef, data_type: &DataType| {
            cast(array, data_type).map_err(|error| Error::internal("a column to be profiled").with_source(error))
        };
        Ok(match class {
            Class::Number => Values::Numbers(cast_to(array, &DataType::Float64)?.as_primitive::<Float64Type>().clone()),
            Class::Time => {
                let times = cast_to(array, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
                let us = cast_to(&times, &DataType::Int64)?;
                let seconds = us.as_primitive::<Int64Type>().unary::<_, Float64Type>(|us| us as f64 / 1e6);
                Values::Numbers(seconds)
            }
            Class::Boolean => {
                let texts =
                    array.as_boolean().iter().map(|value| value.map(|value| if value { "true" } else { "false" }));
                Values::Texts(texts.collect())
            }
            Class::Text => Values::Texts(cast_to(array, &DataType::Utf8)?.as_string::<i32>().clone()),
            Class::Length => Values::Lengths(lengths_of(array)?),
            Class::Opaque => Values::Opaque(ArrayRef::clone(array)),
        })
    }

    pub fn nulls(&self, rows: std::ops::Range<usize>) -> usize {
        let nulls = match self {
            Values::Numbers(values) => values.nulls(),
            Values::Texts(values) => values.nulls(),
            Values::Lengths(values) => values.nulls(),
            Values::Opaque(values) if *values.data_type() == DataType::Null => return rows.len(),
            Values::Opaque(values) => values.nulls(),
        };
        nulls.map_or(0, |nulls| nulls.slice(rows.start, rows.len()).null_count())
    }

    /// Hashes of the rows, each mixed into the one that is there.
    pub fn mix_into(&self, hashes: &mut [u64]) -> Result<()> {
        let mix = |hash: &mut u64, bytes: &[u8]| *hash = twox_hash::XxHash64::oneshot(*hash, bytes);
        match self {
            Values::Numbers(values) => {
                let bits = |value: f64| crate::row::canonical_bits(value).to_be_bytes();
                hashes.iter_mut().zip(values).for_each(|(hash, value)| match value {
                    Some(value) => mix(hash, &bits(value)),
                    None => mix(hash, &[]),
                });
            }
            Values::Texts(values) => hashes.iter_mut().zip(values).for_each(|(hash, value)| match value {
                Some(text) => mix(hash, text.as_bytes()),
                None => mix(hash, &[0xff]),
            }),
            Values::Lengths(_) | Values::Opaque(_) => return Err(Error::internal("a key of a type that no key has")),
        }
        Ok(())
    }
}

fn lengths_of(array: &ArrayRef) -> Result<Int64Array> {
    let length = |n_items: usize| i64::try_from(n_items).unwrap_or(i64::MAX);
    let of = |length_at: &dyn Fn(usize) -> usize| -> Int64Array {
        (0..array.len()).map(|row| array.is_valid(row).then(|| length(length_at(row)))).collect()
    };
    Ok(match array.data_type() {
        DataType::List(_) => of(&|row| array.as_list::<i32>().value(row).len()),
        DataType::LargeList(_) => of(&|row| array.as_list::<i64>().value(row).len()),
        DataType::FixedSizeList(_, length) => of(&|_| usize::try_from(*length).unwrap_or(0)),
        DataType::Binary => of(&|row| array.as_binary::<i32>().value(row).len()),
        other => return Err(Error::internal(format!("a length of {other}"))),
    })
}
