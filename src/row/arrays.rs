//! Between Arrow arrays and values.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder,
    Float64Builder, Int16Builder, Int32Builder, Int64Builder, ListArray, StringBuilder, StringViewBuilder,
    Time64MicrosecondBuilder, TimestampMicrosecondBuilder,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};

use super::Value;
use crate::error::{Error, Kind, Result};

/// The type in which a column of type `data_type` is stored and served, or `None` where Granary cannot hold it.
pub fn normalize_type(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Boolean => DataType::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => DataType::Int16,
        DataType::Int32 | DataType::UInt16 => DataType::Int32,
        DataType::Int64 | DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 | DataType::Float32 => DataType::Float32,
        DataType::Float64 => DataType::Float64,
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) => {
            DataType::Decimal128(*p, *s)
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Date32 | DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(_, Some(_)) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Dictionary(_, value) => normalize_type(value)?,
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            let item = normalize_type(field.data_type())?;
            if matches!(item, DataType::List(_)) {
                return None;
            }
            DataType::new_list(item, true)
        }
        _ => return None,
    })
}

fn unsupported(data_type: &DataType) -> Error {
    Error::new(Kind::FeatureNotSupported, format!("type {data_type} cannot be stored"))
}

/// Row `row` of `array`, whose type is one that [`normalize_type`] gives.
pub fn value_at(array: &dyn Array, row: usize) -> Result<Option<Value>> {
    if array.is_null(row) {
        return Ok(None);
    }
    Ok(Some(match array.data_type() {
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Int16 => Value::Int(array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => Value::Int(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Value::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => Value::Float(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => Value::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, _) => Value::Decimal(array.as_primitive::<Decimal128Type>().value(row)),
        DataType::Utf8 => Value::Text(array.as_string::<i32>().value(row).into()),
        DataType::Utf8View => Value::Text(array.as_string_view().value(row).into()),
        DataType::Binary => Value::Bytes(array.as_binary::<i32>().value(row).into()),
        DataType::Date32 => Value::Int(array.as_primitive::<Date32Type>().value(row).into()),
        DataType::Time64(TimeUnit::Microsecond) => Value::Int(array.as_primitive::<Time64MicrosecondType>().value(row)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Value::Int(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            Value::List(values_of(items.as_ref())?.into())
        }
        other => return Err(unsupported(other)),
    }))
}

/// All rows of `array` as values.
pub fn values_of(array: &dyn Array) -> Result<Vec<Option<Value>>> {
    (0..array.len()).map(|row| value_at(array, row)).collect()
}

/// All rows of an array of integers or times that has no NULL.
pub fn integers_of(array: &dyn Array) -> Result<Vec<i64>> {
    let integer = |value| match value {
        Some(Value::Int(value)) => Ok(value),
        other => Err(Error::internal(format!("a time or arrival is {other:?}"))),
    };
    (0..array.len()).map(|row| value_at(array, row).and_then(integer)).collect()
}

macro_rules! build {
    ($builder:expr, $values:expr, $variant:path, $convert:expr) => {{
        let mut builder = $builder;
        for value in $values {
            match value {
                None => builder.append_null(),
                Some($variant(value)) => builder.append_value($convert(value)?),
                Some(other) => {
                    return Err(Error::internal(format!("value {other:?} does not fit its column's type")));
                }
            }
        }
        Arc::new(builder.finish()) as ArrayRef
    }};
}

fn narrow<T: TryFrom<i64>>(value: &i64) -> Result<T> {
    T::try_from(*value).map_err(|_| Error::new(Kind::NumericValueOutOfRange, format!("{value} is out of range")))
}

fn to_float4(value: &f64) -> Result<f32> {
    Ok(*value as f32)
}

fn same<T: Copy>(value: &T) -> Result<T> {
    Ok(*value)
}

fn shared<T: ?Sized>(value: &Arc<T>) -> Result<Arc<T>> {
    Ok(Arc::clone(value))
}

/// An array of `data_type` (one that [`normalize_type`] gives) from values.
pub fn array_of<'a>(data_type: &DataType, values: impl IntoIterator<Item = Option<&'a Value>>) -> Result<ArrayRef> {
    Ok(match data_type {
        DataType::Boolean => build!(BooleanBuilder::new(), values, Value::Bool, same),
        DataType::Int16 => build!(Int16Builder::new(), values, Value::Int, narrow),
        DataType::Int32 => build!(Int32Builder::new(), values, Value::Int, narrow),
        DataType::Int64 => build!(Int64Builder::new(), values, Value::Int, same),
        DataType::Float32 => build!(Float32Builder::new(), values, Value::Float, to_float4),
        DataType::Float64 => build!(Float64Builder::new(), values, Value::Float, same),
        DataType::Decimal128(precision, scale) => {
            let builder = Decimal128Builder::new()
                .with_precision_and_scale(*precision, *scale)
                .map_err(|error| Error::internal("a stored decimal type is impossible").with_source(error))?;
            build!(builder, values, Value::Decimal, same)
        }
        DataType::Utf8 => build!(StringBuilder::new(), values, Value::Text, shared),
        DataType::Utf8View => build!(StringViewBuilder::new(), values, Value::Text, shared),
        DataType::Binary => build!(BinaryBuilder::new(), values, Value::Bytes, shared),
        DataType::Date32 => build!(Date32Builder::new(), values, Value::Int, narrow),
        DataType::Time64(TimeUnit::Microsecond) => {
            build!(Time64MicrosecondBuilder::new(), values, Value::Int, same)
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let builder = TimestampMicrosecondBuilder::new().with_timezone_opt(zone.clone());
            build!(builder, values, Value::Int, same)
        }
        DataType::List(field) => {
            let mut items: Vec<Option<Value>> = Vec::new();
            let mut lengths = Vec::new();
            let mut valid = Vec::new();
            for value in values {
                match value {
                    None => {
                        lengths.push(0);
                        valid.push(false);
                    }
                    Some(Value::List(list)) => {
                        lengths.push(list.len());
                        valid.push(true);
                        items.extend(list.iter().cloned());
                    }
                    Some(other) => {
                        return Err(Error::internal(format!("value {other:?} is not a list")));
                    }
                }
            }
            let items = array_of(field.data_type(), items.iter().map(Option::as_ref))?;
            let list = ListArray::try_new(
                Arc::clone(field),
                OffsetBuffer::from_lengths(lengths),
                items,
                Some(NullBuffer::from(valid)),
            )
            .map_err(|error| Error::internal("a list could not be built").with_source(error))?;
            Arc::new(list)
        }
        other => return Err(unsupported(other)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(data_type: DataType, values: Vec<Option<Value>>) {
        let array = array_of(&data_type, values.iter().map(Option::as_ref)).expect("builds");
        assert_eq!(array.data_type(), &data_type);
        assert_eq!(values_of(array.as_ref()).expect("reads"), values);
    }

    #[test]
    fn every_stored_type_comes_back() {
        let us = TimeUnit::Microsecond;
        round_trip(DataType::Boolean, vec![Some(Value::Bool(true)), None]);
        for data_type in [DataType::Int16, DataType::Int32, DataType::Int64, DataType::Date32] {
            round_trip(data_type, vec![Some(Value::Int(-7)), None]);
        }
        round_trip(DataType::Time64(us), vec![Some(Value::Int(5)), None]);
        round_trip(DataType::Timestamp(us, None), vec![Some(Value::Int(5)), None]);
        round_trip(DataType::Timestamp(us, Some("UTC".into())), vec![None, Some(Value::Int(-5))]);
        round_trip(DataType::Float32, vec![Some(Value::Float(0.5)), Some(Value::Float(f64::NAN))]);
        round_trip(DataType::Float64, vec![Some(Value::Float(f64::NEG_INFINITY)), None]);
        round_trip(DataType::Decimal128(10, 2), vec![Some(Value::Decimal(-12345)), None]);
        round_trip(DataType::Utf8, vec![Some(Value::Text("x".into())), None]);
        round_trip(DataType::Binary, vec![Some(Value::Bytes(vec![0, 255].into())), None]);
        let list = Value::List(vec![Some(Value::Int(1)), None].into());
        round_trip(DataType::new_list(DataType::Int64, true), vec![Some(list), None]);
    }

    #[test]
    fn narrowing_is_checked() {
        assert!(array_of(&DataType::Int16, [Some(&Value::Int(40_000))]).is_err());
    }
}
