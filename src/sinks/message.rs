//! A feature vector as a message: the entity's key, and an object in JSON with its keys, its features and `_time`.
//!
//! A text, a time, a decimal are texts, as PostgreSQL prints them; numbers are numbers, but for those that JSON has no
//! words for. So a stream FROM KAFKA reads them back.

use std::io::Write;

use arrow::datatypes::DataType;
use granary_catalog::Column;

use crate::row::{Value, text_of};

/// One key alone is its own text, as a stream's option `key` reads it; several are an array.
pub fn key(columns: &[Column], values: &[Option<Value>]) -> Vec<u8> {
    if let ([column], [Some(value)]) = (columns, values) {
        return text_of(value, &column.data_type).into_bytes();
    }
    let mut out = vec![b'['];
    for (number, (column, value)) in columns.iter().zip(values).enumerate() {
        if number > 0 {
            out.push(b',');
        }
        put_value(&mut out, value.as_ref(), &column.data_type);
    }
    out.push(b']');
    out
}

/// Its fields by name: as they were looked up at `time_us`.
pub fn payload<'a>(fields: impl Iterator<Item = (&'a str, &'a DataType, Option<&'a Value>)>, time_us: i64) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (name, data_type, value) in fields {
        put_json(&mut out, name);
        out.push(b':');
        put_value(&mut out, value, data_type);
        out.push(b',');
    }
    out.extend_from_slice(b"\"_time\":");
    put_json(&mut out, &granary_sql::timestamp::format_timestamp(time_us));
    out.push(b'}');
    out
}

fn put_value(out: &mut Vec<u8>, value: Option<&Value>, data_type: &DataType) {
    let Some(value) = value else { return out.extend_from_slice(b"null") };
    match (value, data_type) {
        (Value::Bool(value), _) => put(out, format_args!("{value}")),
        (Value::Int(value), DataType::Int16 | DataType::Int32 | DataType::Int64) => put(out, format_args!("{value}")),
        // the shortest digits that mean this very number, which are not those of it as a float64
        (Value::Float(value), DataType::Float32) if value.is_finite() => put(out, format_args!("{:?}", *value as f32)),
        (Value::Float(value), _) if value.is_finite() => put(out, format_args!("{value:?}")),
        (Value::Text(text), _) => put_json(out, text),
        (Value::List(items), DataType::List(field)) => {
            out.push(b'[');
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    out.push(b',');
                }
                put_value(out, item.as_ref(), field.data_type());
            }
            out.push(b']');
        }
        (value, data_type) => put_json(out, &text_of(value, data_type)),
    }
}

fn put(out: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    out.write_fmt(what).expect("memory takes any text");
}

fn put_json(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("memory takes any text");
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn values_are_json() {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let list = DataType::new_list(DataType::Float64, true);
        let fields = [
            ("k", DataType::Utf8, Some(Value::Text("ä\"".into()))),
            ("n", DataType::Int64, Some(Value::Int(i64::MAX))),
            ("x", DataType::Float64, Some(Value::Float(0.1))),
            ("y", DataType::Float32, Some(Value::Float(f64::from(0.1_f32)))),
            ("z", DataType::Float64, Some(Value::Float(f64::NAN))),
            ("d", DataType::Decimal128(10, 2), Some(Value::Decimal(-1250))),
            ("t", time, Some(Value::Int(0))),
            ("b", DataType::Boolean, Some(Value::Bool(true))),
            ("l", list, Some(Value::List(vec![Some(Value::Float(1.0)), None].into()))),
            ("none", DataType::Int64, None),
        ];
        let fields = fields.iter().map(|(name, data_type, value)| (*name, data_type, value.as_ref()));
        let payload = String::from_utf8(payload(fields, 1_500_000)).expect("text");
        let expected = r#"{"k":"ä\"","n":9223372036854775807,"x":0.1,"y":0.1,"z":"NaN","d":"-12.50","t":"1970-01-01 00:00:00+00","b":true,"l":[1.0,null],"none":null,"_time":"1970-01-01 00:00:01.5+00"}"#;
        assert_eq!(payload, expected);
        serde_json::from_str::<serde_json::Value>(&payload).expect("is JSON");
    }

    #[test]
    fn one_key_is_its_text() {
        let column = |name: &str, data_type| Column::new(name, data_type, false);
        let (text, number) = (Some(Value::Text("a\"".into())), Some(Value::Int(7)));
        assert_eq!(key(&[column("k", DataType::Utf8)], &[text.clone()]), b"a\"");
        assert_eq!(key(&[column("n", DataType::Int64)], &[number.clone()]), b"7");
        let both = [column("k", DataType::Utf8), column("n", DataType::Int64)];
        assert_eq!(key(&both, &[text, number]), br#"["a\"",7]"#);
    }
}
