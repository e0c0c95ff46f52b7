//! Parameters of a Bind message into values: text and binary, by the type that the client declared or the statement
//! inferred, refused in PostgreSQL's own words.

mod array;
mod datetime;
mod number;

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use bytes::{Buf, Bytes};

use super::encode::{EPOCH_DAYS, EPOCH_US, Format, MICROS_PER_DAY};
use super::frontend::{invalid_text, utf8};
use super::types::{Form, ShownType};
use granary_postgres::text::parse_uuid;

use crate::engine::{PRINTED, check_printed, printed_value};
use crate::error::{Error, Kind, Result};
use crate::row::{Value, type_name};
use crate::session::Parameter;

/// One parameter of one Bind message.
pub struct Raw {
    /// from 1, for messages
    pub number: usize,
    pub format: Format,
    pub bytes: Option<Bytes>,
}

/// `planned`: the type with which the statement was planned; a numeric takes its scale where that loses nothing.
pub fn decode(raw: Raw, shown: ShownType, planned: &DataType) -> Result<Parameter> {
    let Some(bytes) = raw.bytes else {
        return Ok((planned.clone(), None));
    };
    if planned == &PRINTED {
        let value = match raw.format {
            Format::Text => {
                let text = checked_text(&bytes)?;
                check_printed(text, shown.oid(), shown.zone)?;
                text.into()
            }
            Format::Binary => printed_value(&bytes, shown.oid())?.into(),
        };
        return Ok((PRINTED, Some(Value::Text(value))));
    }
    if shown.is_array {
        return array::decode(bytes, shown, raw.format, raw.number);
    }
    let form = shown.item.form;
    if form == Form::Numeric {
        let number = match raw.format {
            Format::Text => number::numeric_of_text(utf8(&bytes)?)?,
            Format::Binary => number::numeric_of_binary(bytes, raw.number)?,
        };
        let (data_type, value) = number.fit(planned);
        return Ok((data_type, Some(value)));
    }
    let value = match raw.format {
        Format::Text => of_text(shown, checked_text(&bytes)?)?,
        Format::Binary => of_binary(form, bytes, raw.number)?,
    };
    Ok((data_type_of(form), Some(value)))
}

/// A text as a value of exactly this type, as a parameter in text format is read.
pub fn value_of_text(text: &str, data_type: &DataType) -> Result<Value> {
    let raw = Raw { number: 1, format: Format::Text, bytes: Some(Bytes::copy_from_slice(text.as_bytes())) };
    let (own, value) = decode(raw, ShownType::of_data_type(data_type)?, data_type)?;
    let fits = match (&value, &own, data_type) {
        // a numeric comes in its own type, which has the wanted scale where that loses nothing
        (Some(Value::Decimal(unscaled)), DataType::Decimal128(_, own), DataType::Decimal128(precision, scale)) => {
            own == scale && 10_u128.checked_pow((*precision).into()).is_none_or(|limit| unscaled.unsigned_abs() < limit)
        }
        (_, own, wanted) => own == wanted,
    };
    match value.filter(|_| fits) {
        Some(value) => Ok(value),
        None => Err(Error::new(Kind::NumericValueOutOfRange, format!("{text} does not fit {}", type_name(data_type)))),
    }
}

/// The Arrow type in which values of a form come out of here.
fn data_type_of(form: Form) -> DataType {
    match form {
        Form::Bool => DataType::Boolean,
        Form::Int2 => DataType::Int16,
        Form::Int4 => DataType::Int32,
        Form::Int8 | Form::Oid => DataType::Int64,
        Form::Float4 => DataType::Float32,
        Form::Float8 => DataType::Float64,
        Form::Numeric => unreachable!("a numeric has a type of its own"),
        Form::Text | Form::TextOnly | Form::Json | Form::Jsonb | Form::Uuid | Form::Vector { .. } => DataType::Utf8,
        Form::Bytes => DataType::Binary,
        Form::Date => DataType::Date32,
        Form::Time => DataType::Time64(TimeUnit::Microsecond),
        Form::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        Form::TimestampZoned => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Form::Interval => DataType::Duration(TimeUnit::Microsecond),
    }
}

/// Text as PostgreSQL can hold it: UTF-8 without NUL.
fn checked_text(bytes: &[u8]) -> Result<&str> {
    let text = utf8(bytes)?;
    if text.contains('\0') {
        return Err(invalid_text("0x00"));
    }
    Ok(text)
}

fn of_text(shown: ShownType, text: &str) -> Result<Value> {
    Ok(match shown.item.form {
        Form::Bool => Value::Bool(bool_of(text)?),
        Form::Int2 => Value::Int(number::integer(text, "smallint", i16::MIN.into()..=i16::MAX.into())?),
        Form::Int4 => Value::Int(number::integer(text, "integer", i32::MIN.into()..=i32::MAX.into())?),
        Form::Int8 => Value::Int(number::integer(text, "bigint", i64::MIN..=i64::MAX)?),
        Form::Oid => Value::Int(number::integer(text, "oid", 0..=u32::MAX.into())?),
        Form::Float4 => Value::Float(number::float4(text)?.into()),
        Form::Float8 => Value::Float(number::float8(text)?),
        Form::Numeric => unreachable!("a numeric is read by its caller"),
        Form::Text | Form::TextOnly | Form::Vector { .. } => Value::Text(text.into()),
        Form::Json | Form::Jsonb => Value::Text(checked_json(text)?.into()),
        Form::Uuid => {
            let bytes = parse_uuid(text).ok_or_else(|| invalid_syntax("uuid", text))?;
            Value::Text(uuid_text(bytes))
        }
        Form::Bytes => Value::Bytes(bytes_of(text)?.into()),
        Form::Date => Value::Int(datetime::date(text)?.into()),
        Form::Time => Value::Int(datetime::time(text)?),
        Form::Timestamp => Value::Int(datetime::timestamp(text, None)?),
        Form::TimestampZoned => Value::Int(datetime::timestamp(text, Some(shown.zone))?),
        Form::Interval => Value::Int(datetime::interval(text)?),
    })
}

fn of_binary(form: Form, mut bytes: Bytes, number: usize) -> Result<Value> {
    let bytes = &mut bytes;
    let value = match form {
        Form::Bool => Value::Bool(need(bytes, 1)?.get_u8() != 0),
        Form::Int2 => Value::Int(need(bytes, 2)?.get_i16().into()),
        Form::Int4 => Value::Int(need(bytes, 4)?.get_i32().into()),
        Form::Int8 => Value::Int(need(bytes, 8)?.get_i64()),
        Form::Oid => Value::Int(need(bytes, 4)?.get_u32().into()),
        Form::Float4 => Value::Float(need(bytes, 4)?.get_f32().into()),
        Form::Float8 => Value::Float(need(bytes, 8)?.get_f64()),
        Form::Numeric => unreachable!("a numeric is read by its caller"),
        Form::Text | Form::TextOnly | Form::Vector { .. } => {
            return Ok(Value::Text(checked_text(bytes)?.into()));
        }
        Form::Json => return Ok(Value::Text(checked_json(checked_text(bytes)?)?.into())),
        Form::Jsonb => {
            let version = need(bytes, 1)?.get_u8();
            if version != 1 {
                return Err(Error::internal(format!("unsupported jsonb version number {version}")));
            }
            return Ok(Value::Text(checked_json(checked_text(bytes)?)?.into()));
        }
        Form::Uuid => {
            let mut uuid = [0; 16];
            need(bytes, 16)?.copy_to_slice(&mut uuid);
            Value::Text(uuid_text(uuid))
        }
        Form::Bytes => return Ok(Value::Bytes(bytes.as_ref().into())),
        Form::Date => Value::Int(datetime::date_of_binary(need(bytes, 4)?.get_i32(), EPOCH_DAYS)?.into()),
        Form::Time => {
            let time_us = need(bytes, 8)?.get_i64();
            if !(0..=MICROS_PER_DAY).contains(&time_us) {
                return Err(Error::new(Kind::DatetimeFieldOverflow, "time out of range"));
            }
            Value::Int(time_us)
        }
        Form::Timestamp | Form::TimestampZoned => {
            Value::Int(datetime::timestamp_of_binary(need(bytes, 8)?.get_i64(), EPOCH_US)?)
        }
        Form::Interval => {
            let bytes = need(bytes, 16)?;
            let (micros, days, months) = (bytes.get_i64(), bytes.get_i32(), bytes.get_i32());
            Value::Int(datetime::interval_of_parts(months, days, micros)?)
        }
    };
    if bytes.has_remaining() {
        return Err(wrong_length(number));
    }
    Ok(value)
}

fn need(bytes: &mut Bytes, count: usize) -> Result<&mut Bytes> {
    if bytes.remaining() < count {
        return Err(Error::new(Kind::ProtocolViolation, "insufficient data left in message"));
    }
    Ok(bytes)
}

/// Bytes were left over.
fn wrong_length(number: usize) -> Error {
    let message = format!("incorrect binary data format in bind parameter {number}");
    Error::new(Kind::InvalidBinaryRepresentation, message)
}

fn invalid_syntax(type_name: &str, text: &str) -> Error {
    Error::new(Kind::InvalidTextRepresentation, format!("invalid input syntax for type {type_name}: \"{text}\""))
}

/// Any unambiguous beginning of a word, as boolin() takes it.
fn bool_of(text: &str) -> Result<bool> {
    let word = text.trim_matches(|character: char| character.is_ascii_whitespace()).to_ascii_lowercase();
    let begins = |whole: &str, least: usize| word.len() >= least && whole.starts_with(&word);
    if begins("true", 1) || begins("yes", 1) || word == "on" || word == "1" {
        Ok(true)
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || word == "0" {
        Ok(false)
    } else {
        Err(invalid_syntax("boolean", text))
    }
}

/// `jsonb` complains of `json` too, as in PostgreSQL.
fn checked_json(text: &str) -> Result<&str> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).map(|_| text).map_err(|error| {
        let message = "invalid input syntax for type json";
        Error::new(Kind::InvalidTextRepresentation, message).with_detail(error.to_string())
    })
}

fn uuid_text(uuid: [u8; 16]) -> Arc<str> {
    let hex = format!("{:032x}", u128::from_be_bytes(uuid));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]).into()
}

/// `\x` and hexadecimal digits, else PostgreSQL's old escape format.
fn bytes_of(text: &str) -> Result<Vec<u8>> {
    match text.strip_prefix("\\x") {
        Some(digits) => bytes_of_hex(digits),
        None => bytes_of_escapes(text.as_bytes())
            .ok_or_else(|| Error::new(Kind::InvalidTextRepresentation, "invalid input syntax for type bytea")),
    }
}

fn bytes_of_hex(text: &str) -> Result<Vec<u8>> {
    let mut digits = Vec::with_capacity(text.len());
    for character in text.chars().filter(|character| !character.is_ascii_whitespace()) {
        let digit = character.to_digit(16).ok_or_else(|| {
            Error::new(Kind::InvalidParameterValue, format!("invalid hexadecimal digit: \"{character}\""))
        })?;
        digits.push(digit as u8);
    }
    if digits.len() % 2 != 0 {
        return Err(Error::new(Kind::InvalidParameterValue, "invalid hexadecimal data: odd number of digits"));
    }
    Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn bytes_of_escapes(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    while let [first, rest @ ..] = text {
        if *first != b'\\' {
            bytes.push(*first);
            text = rest;
        } else if let [b'\\', rest @ ..] = rest {
            bytes.push(b'\\');
            text = rest;
        } else if let [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..] = rest {
            bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            text = rest;
        } else {
            return None;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
