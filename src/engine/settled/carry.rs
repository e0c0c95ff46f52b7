//! Values between Arrow arrays and `granary_postgres`: which Arrow type carries a type of PostgreSQL while a plan runs.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, ListArray};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use granary_postgres::numeric::Numeric;
use granary_postgres::types::{self as t, Type};
use granary_postgres::value::Interval;
use granary_postgres::{Error, Result, Value as Pg, World, text};

use crate::engine::catalog_query::{arrays, world::UTC};

/// The digits of a column that was declared as `numeric` and no more; those behind the point that say nothing are not
/// shown.
pub const ANY_NUMERIC: DataType = DataType::Decimal128(38, 10);

/// The Arrow type in which values of a type are made.
pub fn carrier(data_type: &Type) -> DataType {
    arrays::data_type(granary_postgres::resolve::base_type(data_type.oid))
}

/// The Arrow type in which a table keeps values of a type.
pub fn stored(data_type: &Type) -> DataType {
    if let Some(item) = data_type.element() {
        return DataType::new_list(stored(&item), true);
    }
    match (data_type.oid, t::numeric_digits(data_type.modifier)) {
        (t::NUMERIC, Some((precision, scale))) if (1..=38).contains(&precision) && (0..=precision).contains(&scale) => {
            DataType::Decimal128(precision as u8, scale as i8)
        }
        (t::NUMERIC, _) => ANY_NUMERIC,
        (oid, _) if t::REG_TYPES.contains(&oid) => DataType::Utf8,
        // as it is printed
        (t::INTERVAL, _) => DataType::Utf8,
        _ => carrier(data_type),
    }
}

/// Whether the text of a value is the value itself.
pub fn is_text(oid: u32) -> bool {
    matches!(oid, t::TEXT | t::VARCHAR | t::NAME | t::BPCHAR | t::CHAR | t::UNKNOWN | t::JSON)
}

/// The length of a `char(n)`, whose values are kept without the blanks behind them.
pub fn padded_length(data_type: &Type) -> Option<usize> {
    let length = data_type.modifier.checked_sub(4).and_then(|length| usize::try_from(length).ok());
    length.filter(|length| data_type.oid == t::BPCHAR && *length > 0)
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::new("XX000", format!("an array: {error}"))
}

/// The values of an array whose column is of the type.
pub fn values(array: &ArrayRef, data_type: &Type) -> Result<Vec<Pg>> {
    let oid = granary_postgres::resolve::base_type(data_type.oid);
    let as_type = |wanted: &DataType| cast(array, wanted).map_err(failed);
    let given = |make: &mut dyn FnMut(usize) -> Result<Pg>| -> Result<Vec<Pg>> {
        (0..array.len()).map(|row| if array.is_null(row) { Ok(Pg::Null) } else { make(row) }).collect()
    };
    match array.data_type() {
        DataType::Null => Ok(vec![Pg::Null; array.len()]),
        DataType::Boolean => {
            let array = array.as_boolean();
            given(&mut |row| Ok(Pg::Bool(array.value(row))))
        }
        integer if integer.is_integer() && *integer != DataType::UInt64 => {
            let array = as_type(&DataType::Int64)?;
            let array = array.as_primitive::<Int64Type>();
            given(&mut |row| {
                Ok(match oid {
                    t::NUMERIC => Pg::Numeric(array.value(row).into()),
                    t::FLOAT4 | t::FLOAT8 => Pg::Float(array.value(row) as f64),
                    _ => Pg::Int(array.value(row)),
                })
            })
        }
        float if float.is_floating() => {
            let array = as_type(&DataType::Float64)?;
            let array = array.as_primitive::<Float64Type>();
            given(&mut |row| Ok(Pg::Float(array.value(row))))
        }
        decimal if decimal.is_decimal() || *decimal == DataType::UInt64 => {
            let scale = match decimal {
                DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale) => {
                    *scale
                }
                _ => 0,
            };
            let array = as_type(&DataType::Decimal128(38, scale))?;
            let array = array.as_primitive::<Decimal128Type>();
            let is_any = *decimal == ANY_NUMERIC;
            given(&mut |row| {
                let number = Numeric::scaled(array.value(row), i64::from(scale));
                Ok(Pg::Numeric(if is_any { number.trimmed() } else { number }))
            })
        }
        string if string.is_string() => {
            let array = as_type(&DataType::Utf8)?;
            let array = array.as_string::<i32>();
            let length = padded_length(data_type).unwrap_or(0);
            given(&mut |row| match array.value(row) {
                text if length > 0 => Ok(Pg::text(format!("{text:<length$}"))),
                text if is_text(oid) => Ok(Pg::text(text)),
                text => text::parse(text, data_type, UTC),
            })
        }
        binary if binary.is_binary() || matches!(binary, DataType::FixedSizeBinary(_)) => {
            let array = as_type(&DataType::Binary)?;
            let array = array.as_binary::<i32>();
            given(&mut |row| Ok(Pg::Bytes(array.value(row).into())))
        }
        DataType::Date32 | DataType::Date64 => {
            let array = as_type(&DataType::Date32)?;
            let array = array.as_primitive::<Date32Type>();
            given(&mut |row| Ok(Pg::Date(array.value(row))))
        }
        DataType::Time32(_) | DataType::Time64(_) => {
            let array = as_type(&DataType::Time64(TimeUnit::Microsecond))?;
            let array = array.as_primitive::<Time64MicrosecondType>();
            given(&mut |row| Ok(Pg::Time(array.value(row))))
        }
        DataType::Timestamp(_, zone) => {
            let array = as_type(&DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
            let array = array.as_primitive::<TimestampMicrosecondType>();
            given(&mut |row| Ok(Pg::Timestamp(array.value(row))))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let array = array.as_primitive::<IntervalMonthDayNanoType>();
            given(&mut |row| {
                let interval = array.value(row);
                let microseconds = interval.nanoseconds / 1000;
                Ok(Pg::Interval(Interval { months: interval.months, days: interval.days, microseconds }))
            })
        }
        DataType::Interval(_) | DataType::Duration(_) => {
            values(&as_type(&DataType::Interval(IntervalUnit::MonthDayNano))?, data_type)
        }
        DataType::Dictionary(_, value) => values(&as_type(value)?, data_type),
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            let item = data_type.element().unwrap_or(Type::of(t::TEXT));
            let items = values(lists.values(), &item)?;
            let offsets = lists.value_offsets();
            given(&mut |row| Ok(Pg::array(items[offsets[row] as usize..offsets[row + 1] as usize].to_vec())))
        }
        // a `reg…` number and its name
        DataType::Struct(_) => values(array.as_struct().column(0), data_type),
        other => Err(Error::not_supported(format!("values of the Arrow type {other}"))),
    }
}

/// The array of a wanted type of values of the type. Errors: 22003 for a number that the wanted type has no room for.
pub fn array(wanted: &DataType, data_type: &Type, values: &[Pg], world: &dyn World) -> Result<ArrayRef> {
    if *wanted == carrier(data_type) {
        return Ok(arrays::array(data_type, values.iter(), world));
    }
    match wanted {
        DataType::Decimal128(precision, scale) => {
            let numbers = values.iter().map(|value| match value {
                Pg::Numeric(number) => number.unscaled(i64::from(*scale)).map(Some).ok_or_else(out_of_range),
                Pg::Int(number) => {
                    Numeric::from(*number).unscaled(i64::from(*scale)).map(Some).ok_or_else(out_of_range)
                }
                _ => Ok(None),
            });
            let numbers: Decimal128Array = numbers.collect::<Result<Vec<Option<i128>>>>()?.into();
            let numbers = numbers.with_precision_and_scale(*precision, *scale).map_err(failed)?;
            numbers.validate_decimal_precision(*precision).map_err(|_| out_of_range())?;
            Ok(Arc::new(numbers))
        }
        DataType::List(field) => {
            let item = data_type.element().unwrap_or(Type::of(t::TEXT));
            let mut items = Vec::new();
            let mut lengths = Vec::with_capacity(values.len());
            for value in values {
                match value {
                    Pg::Array(array) if array.dimensions.len() > 1 => {
                        return Err(Error::not_supported("arrays of several dimensions in a table"));
                    }
                    Pg::Array(array) if array.dimensions.iter().any(|(_, first)| *first != 1) => {
                        return Err(Error::not_supported("an array in a table that does not begin at 1"));
                    }
                    Pg::Array(array) => {
                        items.extend(array.items.iter().cloned());
                        lengths.push(array.items.len());
                    }
                    _ => lengths.push(0),
                }
            }
            let items = self::array(field.data_type(), &item, &items, world)?;
            let nulls = NullBuffer::from_iter(values.iter().map(|value| !value.is_null()));
            let lists = ListArray::try_new(Arc::clone(field), OffsetBuffer::from_lengths(lengths), items, Some(nulls));
            Ok(Arc::new(lists.map_err(failed)?))
        }
        DataType::Utf8 => {
            let shown = values
                .iter()
                .map(|value| granary_postgres::functions::casts::shown(world, value, data_type, world.clock()));
            Ok(Arc::new(shown.collect::<datafusion::arrow::array::StringArray>()))
        }
        other => cast(&arrays::array(data_type, values.iter(), world), other).map_err(failed),
    }
}

fn out_of_range() -> Error {
    Error::new("22003", "numeric field overflow").with_detail("A stored number has at most 38 digits.")
}
