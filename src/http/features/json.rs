//! Feature values as the JSON that feature server clients read: 64-bit integers and the floats that JSON has no words for
//! are strings, times are ISO 8601 in UTC.

use std::io::Write;

use arrow::datatypes::DataType;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use granary_sql::timestamp::civil_from_days;
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::row::{Value, text_of};

/// The type of a feature in the words of the feature server. What it has no word for is a string.
pub fn type_json(data_type: &DataType) -> Json {
    match data_type {
        DataType::Boolean => json!({"type": "boolean"}),
        DataType::Int16 | DataType::Int32 | DataType::Int64 => json!({"type": "int64"}),
        DataType::Float32 => json!({"type": "float32"}),
        DataType::Float64 => json!({"type": "float64"}),
        DataType::Timestamp(..) => json!({"type": "timestamp"}),
        DataType::List(field) => json!({"type": "array", "elementType": type_json(field.data_type())}),
        _ => json!({"type": "string"}),
    }
}

/// A value of a type that features have.
pub fn put_value(out: &mut Vec<u8>, value: Option<&Value>, data_type: &DataType) {
    let Some(value) = value else { return out.extend_from_slice(b"null") };
    match (value, data_type) {
        (Value::Bool(value), _) => put(out, format_args!("{value}")),
        // the shortest digits that mean this very number, which are not those of it as a float64
        (Value::Float(value), DataType::Float32) if value.is_finite() => put(out, format_args!("{:?}", *value as f32)),
        (Value::Float(value), _) if value.is_finite() => put(out, format_args!("{value:?}")),
        (Value::Float(value), _) => put_word(out, *value),
        (Value::Text(text), _) => put_json(out, &**text),
        (Value::Bytes(bytes), _) => put_json(out, &STANDARD.encode(bytes)),
        (Value::Int(days), DataType::Date32) => {
            let (year, month, day) = civil_from_days(*days);
            put(out, format_args!("\"{year:04}-{month:02}-{day:02}\""));
        }
        (Value::Int(time_us), DataType::Time64(_)) => {
            out.push(b'"');
            put_time_of_day(out, *time_us);
            out.push(b'"');
        }
        (Value::Int(time_us), DataType::Timestamp(..)) => put_timestamp(out, *time_us),
        (Value::Int(value), _) => put(out, format_args!("\"{value}\"")),
        (Value::List(items), DataType::List(field)) => {
            put_list(out, items.iter(), |out, item| put_value(out, item.as_ref(), field.data_type()));
        }
        (Value::Decimal(_) | Value::List(_), data_type) => put_json(out, &text_of(value, data_type)),
    }
}

pub fn put_list<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, mut put: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (number, item) in items.into_iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        put(out, item);
    }
    out.push(b']');
}

fn put(out: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    out.write_fmt(what).expect("memory takes any text");
}

/// A float that is not a number of JSON.
fn put_word(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(match value {
        _ if value.is_nan() => b"\"NaN\"",
        _ if value > 0.0 => b"\"Infinity\"",
        _ => b"\"-Infinity\"",
    });
}

pub fn put_json(out: &mut Vec<u8>, json: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(out, json).expect("memory takes any text");
}

const SECOND_US: i64 = 1_000_000;
const DAY_US: i64 = 86_400 * SECOND_US;

/// In quotes: `2024-01-31T10:00:00Z`, with three or six digits of a fraction if there is one.
pub fn put_timestamp(out: &mut Vec<u8>, time_us: i64) {
    match time_us {
        i64::MAX => return out.extend_from_slice(b"\"infinity\""),
        i64::MIN => return out.extend_from_slice(b"\"-infinity\""),
        _ => {}
    }
    let (year, month, day) = civil_from_days(time_us.div_euclid(DAY_US));
    put(out, format_args!("\"{year:04}-{month:02}-{day:02}T"));
    put_time_of_day(out, time_us.rem_euclid(DAY_US));
    out.extend_from_slice(b"Z\"");
}

fn put_time_of_day(out: &mut Vec<u8>, time_us: i64) {
    let seconds = time_us / SECOND_US;
    put(out, format_args!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60));
    match time_us % SECOND_US {
        0 => {}
        fraction if fraction % 1_000 == 0 => put(out, format_args!(".{:03}", fraction / 1_000)),
        fraction => put(out, format_args!(".{fraction:06}")),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    fn shown(data_type: &DataType, value: Option<Value>) -> String {
        let mut out = Vec::new();
        put_value(&mut out, value.as_ref(), data_type);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_type_is_json() {
        let timestamp = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
        let list = DataType::new_list(DataType::Int64, true);
        let cases = [
            (DataType::Boolean, Value::Bool(true), "true"),
            (DataType::Int16, Value::Int(-1), "\"-1\""),
            (DataType::Int64, Value::Int(i64::MAX), "\"9223372036854775807\""),
            (DataType::Float64, Value::Float(1.0), "1.0"),
            (DataType::Float64, Value::Float(0.1), "0.1"),
            (DataType::Float64, Value::Float(1e300), "1e300"),
            (DataType::Float64, Value::Float(f64::NAN), "\"NaN\""),
            (DataType::Float64, Value::Float(f64::INFINITY), "\"Infinity\""),
            (DataType::Float32, Value::Float(f64::from(0.1_f32)), "0.1"),
            (DataType::Float32, Value::Float(f64::NEG_INFINITY), "\"-Infinity\""),
            (DataType::Decimal128(10, 2), Value::Decimal(-1250), "\"-12.50\""),
            (DataType::Utf8, Value::Text("a\"\n".into()), "\"a\\\"\\n\""),
            (DataType::Binary, Value::Bytes(vec![0, 1].into()), "\"AAE=\""),
            (DataType::Date32, Value::Int(-1), "\"1969-12-31\""),
            (DataType::Time64(TimeUnit::Microsecond), Value::Int(3_723_000_001), "\"01:02:03.000001\""),
            (timestamp(Some("UTC")), Value::Int(1_500_000), "\"1970-01-01T00:00:01.500Z\""),
            (timestamp(None), Value::Int(-1), "\"1969-12-31T23:59:59.999999Z\""),
            (timestamp(None), Value::Int(0), "\"1970-01-01T00:00:00Z\""),
            (list.clone(), Value::List(vec![Some(Value::Int(1)), None].into()), "[\"1\",null]"),
            (list.clone(), Value::List(Vec::new().into()), "[]"),
        ];
        for (data_type, value, expected) in cases {
            let written = shown(&data_type, Some(value));
            assert_eq!(written, expected, "{data_type}");
            serde_json::from_str::<Json>(&written).unwrap();
        }
        assert_eq!(shown(&list, None), "null");
        assert_eq!(type_json(&list), json!({"type": "array", "elementType": {"type": "int64"}}));
    }

    #[test]
    fn items_of_later_rows_are_found() {
        let list = |items: &[i64]| Value::List(items.iter().map(|item| Some(Value::Int(*item))).collect());
        let rows = [list(&[1, 2]), list(&[3])];
        let shown = rows.map(|row| shown(&DataType::new_list(DataType::Int64, true), Some(row)));
        assert_eq!(shown, [r#"["1","2"]"#, r#"["3"]"#]);
    }
}
