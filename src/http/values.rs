//! JSON that a client sends, as values of the types that join keys and request columns have.

use arrow::datatypes::DataType;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use crate::error::{Error, Kind, Result};
use crate::row::{Value, type_name};
use crate::wire::value_of_text;

/// Integers come as numbers or as texts, since JSON's numbers lose digits in many clients; the floats that JSON has no
/// words for, times and exact numbers come as texts. Errors: 22P02 and others of PostgreSQL's for such texts, 42804.
pub fn value_of(json: &Json, data_type: &DataType) -> Result<Option<Value>> {
    let value = match (json, data_type) {
        (Json::Null, _) => return Ok(None),
        (Json::Bool(value), DataType::Boolean) => Value::Bool(*value),
        (Json::Number(number), DataType::Float64) => match number.as_f64() {
            Some(value) => Value::Float(value),
            None => return Err(mismatch(json, data_type)),
        },
        (
            Json::Number(number),
            DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Float32 | DataType::Decimal128(..),
        ) => value_of_text(&number.to_string(), data_type)?,
        (Json::String(text), DataType::Binary) => {
            let bytes = STANDARD.decode(text).map_err(|error| {
                Error::new(Kind::InvalidTextRepresentation, format!("bytes are not in base64: {error}"))
            })?;
            Value::Bytes(bytes.into())
        }
        (Json::String(text), data_type) if !matches!(data_type, DataType::List(_)) => value_of_text(text, data_type)?,
        (Json::Array(items), DataType::List(field)) => {
            Value::List(items.iter().map(|item| value_of(item, field.data_type())).collect::<Result<_>>()?)
        }
        _ => return Err(mismatch(json, data_type)),
    };
    Ok(Some(value))
}

fn mismatch(json: &Json, data_type: &DataType) -> Error {
    let given = match json {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    };
    Error::new(Kind::DatatypeMismatch, format!("it is of type {}, not {given}", type_name(data_type)))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_read_by_the_type_that_is_wanted() {
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let list = DataType::new_list(DataType::Int64, true);
        let cases = [
            (json!(7), DataType::Int64, Value::Int(7)),
            (json!("9223372036854775807"), DataType::Int64, Value::Int(i64::MAX)),
            (json!("7"), DataType::Utf8, Value::Text("7".into())),
            (json!(0.5), DataType::Float64, Value::Float(0.5)),
            (json!(0.1), DataType::Float32, Value::Float(f64::from(0.1_f32))),
            (json!(-1e300), DataType::Float64, Value::Float(-1e300)),
            (json!(2), DataType::Float64, Value::Float(2.0)),
            (json!("-Infinity"), DataType::Float64, Value::Float(f64::NEG_INFINITY)),
            (json!("NaN"), DataType::Float32, Value::Float(f64::NAN)),
            (json!(true), DataType::Boolean, Value::Bool(true)),
            (json!("12.50"), DataType::Decimal128(10, 2), Value::Decimal(1250)),
            (json!("1970-01-01T00:00:01Z"), zoned, Value::Int(1_000_000)),
            (json!("1970-01-02"), DataType::Date32, Value::Int(1)),
            (json!("AAE="), DataType::Binary, Value::Bytes(vec![0, 1].into())),
            (json!(["1", null]), list, Value::List(vec![Some(Value::Int(1)), None].into())),
        ];
        for (json, data_type, expected) in cases {
            assert_eq!(value_of(&json, &data_type).unwrap(), Some(expected), "{json}");
        }
        assert_eq!(value_of(&Json::Null, &DataType::Int64).unwrap(), None);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let list = DataType::new_list(DataType::Int64, true);
        let cases = [
            (json!("x"), DataType::Int64, "22P02"),
            (json!(1.5), DataType::Int64, "22P02"),
            (json!(70_000), DataType::Int16, "22003"),
            (json!(1e300), DataType::Float32, "22003"),
            (json!(1e-300), DataType::Float32, "22003"),
            (json!(7), DataType::Utf8, "42804"),
            (json!({}), DataType::Utf8, "42804"),
            (json!(1), DataType::Boolean, "42804"),
            (json!("1"), list.clone(), "42804"),
            (json!([[1]]), list, "42804"),
            (json!("?"), DataType::Binary, "22P02"),
            (json!("1.234"), DataType::Decimal128(4, 2), "22003"),
            (json!("123.4"), DataType::Decimal128(4, 2), "22003"),
            (json!("a\0b"), DataType::Utf8, "22021"),
        ];
        for (json, data_type, sqlstate) in cases {
            assert_eq!(value_of(&json, &data_type).unwrap_err().sqlstate(), sqlstate, "{json}");
        }
    }
}
