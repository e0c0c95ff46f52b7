//! A value as PostgreSQL's text of it, for people to compare.

use arrow::datatypes::DataType;
use chrono::{DateTime, NaiveTime};

use super::Value;

/// The text of a value of `data_type`, one that [`super::normalize_type`] gives.
pub fn text_of(value: &Value, data_type: &DataType) -> String {
    match (value, data_type) {
        (Value::Bool(value), _) => value.to_string(),
        (Value::Int(days), DataType::Date32) => match DateTime::from_timestamp(days.saturating_mul(86_400), 0) {
            Some(date) => date.format("%Y-%m-%d").to_string(),
            None => days.to_string(),
        },
        (Value::Int(time_us), DataType::Time64(_)) => {
            let (seconds, micros) = (time_us.div_euclid(1_000_000), time_us.rem_euclid(1_000_000));
            let time = u32::try_from(seconds).ok().zip(u32::try_from(micros * 1_000).ok());
            match time.and_then(|(seconds, nanos)| NaiveTime::from_num_seconds_from_midnight_opt(seconds, nanos)) {
                Some(time) => time.format("%H:%M:%S%.f").to_string(),
                None => time_us.to_string(),
            }
        }
        (Value::Int(time_us), DataType::Timestamp(_, zone)) => {
            let text = granary_sql::timestamp::format_timestamp(*time_us);
            if zone.is_some() { text } else { text.trim_end_matches("+00").to_owned() }
        }
        (Value::Int(value), _) => value.to_string(),
        (Value::Float(value), DataType::Float32) => float_of(*value, &format!("{:e}", *value as f32), 6),
        (Value::Float(value), _) => float_text(*value),
        (Value::Decimal(unscaled), data_type) => decimal_text(*unscaled, scale_of(data_type)),
        (Value::Text(text), _) => text.to_string(),
        (Value::Bytes(bytes), _) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("\\x{digits}")
        }
        (Value::List(items), DataType::List(item)) => list_text(items, item.data_type()),
        (Value::List(items), _) => list_text(items, &DataType::Null),
    }
}

/// The text of double precision: its shortest digits.
pub fn float_text(value: f64) -> String {
    float_of(value, &format!("{value:e}"), 15)
}

/// `scientific` is the value as Rust writes it: `-1.5e-7`. From 1e`largest` on it stays so, and below 1e-4.
fn float_of(value: f64, scientific: &str, largest: i32) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "Infinity".to_owned() } else { "-Infinity".to_owned() };
    }
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific.to_owned() };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..largest).contains(&exponent) {
        return plain(digits, exponent);
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

/// Digits with their point moved: `1.25` and 1 are `12.5`.
fn plain(digits: &str, exponent: i32) -> String {
    let (sign, digits) = if let Some(rest) = digits.strip_prefix('-') { ("-", rest) } else { ("", digits) };
    let digits = digits.replace('.', "");
    let places = usize::try_from(exponent.unsigned_abs()).unwrap_or(usize::MAX);
    if exponent < 0 {
        return format!("{sign}0.{}{digits}", "0".repeat(places.saturating_sub(1)));
    }
    if digits.len() <= places + 1 {
        return format!("{sign}{digits}{}", "0".repeat(places + 1 - digits.len()));
    }
    let (whole, fraction) = digits.split_at(places + 1);
    format!("{sign}{whole}.{fraction}")
}

fn scale_of(data_type: &DataType) -> usize {
    match data_type {
        DataType::Decimal128(_, scale) => usize::try_from(*scale).unwrap_or(0),
        _ => 0,
    }
}

fn decimal_text(unscaled: i128, scale: usize) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

fn list_text(items: &[Option<Value>], item_type: &DataType) -> String {
    let item = |item: &Option<Value>| match item {
        None => "NULL".to_owned(),
        Some(value) => quoted(text_of(value, item_type)),
    };
    format!("{{{}}}", items.iter().map(item).collect::<Vec<_>>().join(","))
}

/// An item in quotes where it would be read as something else without.
fn quoted(item: String) -> String {
    let special = |character: char| character.is_ascii_whitespace() || "{},\"\\".contains(character);
    if !item.is_empty() && !item.eq_ignore_ascii_case("null") && !item.contains(special) {
        return item;
    }
    format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn values_are_written_as_postgresql_does() {
        let us = TimeUnit::Microsecond;
        let texts = |items: &[Option<&str>]| {
            Value::List(items.iter().map(|item| item.map(|text| Value::Text(text.into()))).collect())
        };
        let cases = [
            (Value::Bool(true), DataType::Boolean, "true"),
            (Value::Int(-1), DataType::Date32, "1969-12-31"),
            (Value::Int(3_600_000_001), DataType::Time64(us), "01:00:00.000001"),
            (Value::Int(0), DataType::Timestamp(us, Some("UTC".into())), "1970-01-01 00:00:00+00"),
            (Value::Int(0), DataType::Timestamp(us, None), "1970-01-01 00:00:00"),
            (Value::Float(0.1), DataType::Float64, "0.1"),
            (Value::Float(-123.5), DataType::Float64, "-123.5"),
            (Value::Float(1e14), DataType::Float64, "100000000000000"),
            (Value::Float(1.5e15), DataType::Float64, "1.5e+15"),
            (Value::Float(-0.000015), DataType::Float64, "-1.5e-05"),
            (Value::Float(0.00012), DataType::Float64, "0.00012"),
            (Value::Float(0.1_f32.into()), DataType::Float32, "0.1"),
            (Value::Float(f64::NAN), DataType::Float64, "NaN"),
            (Value::Float(f64::NEG_INFINITY), DataType::Float64, "-Infinity"),
            (Value::Decimal(-5), DataType::Decimal128(10, 2), "-0.05"),
            (Value::Decimal(5), DataType::Decimal128(10, 0), "5"),
            (Value::Bytes([0, 255].as_slice().into()), DataType::Binary, "\\x00ff"),
            (texts(&[Some("a b"), None, Some("null"), Some("c")]), list_of_text(), "{\"a b\",NULL,\"null\",c}"),
            (texts(&[Some("\"\\"), Some("")]), list_of_text(), "{\"\\\"\\\\\",\"\"}"),
        ];
        for (value, data_type, expected) in cases {
            assert_eq!(text_of(&value, &data_type), expected);
        }
    }

    fn list_of_text() -> DataType {
        DataType::new_list(DataType::Utf8, true)
    }
}
