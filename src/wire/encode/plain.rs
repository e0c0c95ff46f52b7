//! Single values, not out of an array: what a lookup of a few rows found. Types that are seldom looked up go through
//! arrays like all others.

use arrow::datatypes::{DataType, TimeUnit};
use bytes::{BufMut, BytesMut};

use super::binary;
use super::text::{self, Digits};
use super::{Form, Format, ShownType};
use crate::error::{Error, Result};
use crate::row::Value;

/// The values of one column.
pub struct Plain {
    values: Vec<Option<Value>>,
    form: Form,
    /// of decimals
    scale: i8,
}

impl Plain {
    /// Gives the values back where they need arrays.
    pub fn of(
        values: Vec<Option<Value>>,
        data_type: &DataType,
        shown: ShownType,
    ) -> std::result::Result<Plain, Vec<Option<Value>>> {
        let scale = match data_type {
            DataType::Decimal128(_, scale) => *scale,
            _ => 0,
        };
        let is_plain = match (shown.item.form, data_type) {
            _ if shown.is_array => false,
            (Form::Bool, DataType::Boolean)
            | (Form::Int2, DataType::Int16)
            | (Form::Int4, DataType::Int32)
            | (Form::Int8, DataType::Int64)
            | (Form::Float4, DataType::Float32)
            | (Form::Float8, DataType::Float64)
            | (Form::Numeric, DataType::Decimal128(..))
            | (Form::Text, DataType::Utf8)
            | (Form::TimestampZoned, DataType::Timestamp(TimeUnit::Microsecond, Some(_))) => true,
            _ => false,
        };
        if is_plain { Ok(Plain { values, form: shown.item.form, scale }) } else { Err(values) }
    }

    pub fn is_null(&self, row: usize) -> bool {
        self.values[row].is_none()
    }

    pub fn put(&self, row: usize, format: Format, out: &mut BytesMut) -> Result<()> {
        let Some(value) = &self.values[row] else { return Err(Error::internal("a NULL has no bytes")) };
        match format {
            Format::Text => self.put_text(value, out),
            Format::Binary => self.put_binary(value, out),
        }
    }

    fn put_text(&self, value: &Value, out: &mut BytesMut) -> Result<()> {
        match (self.form, value) {
            (Form::Bool, Value::Bool(value)) => out.put_u8(if *value { b't' } else { b'f' }),
            (Form::Int2 | Form::Int4 | Form::Int8, Value::Int(value)) => text::put_display(out, value),
            (Form::Float4, Value::Float(value)) => text::put_float4(out, *value as f32),
            (Form::Float8, Value::Float(value)) => text::put_float8(out, *value),
            (Form::Numeric, Value::Decimal(value)) => text::put_decimal(out, &Digits::of(*value), self.scale),
            (Form::Text, Value::Text(value)) => out.put_slice(value.as_bytes()),
            (Form::TimestampZoned, Value::Int(value)) => text::put_timestamp(out, *value, ' ', Some("+00")),
            _ => return Err(wrong()),
        }
        Ok(())
    }

    fn put_binary(&self, value: &Value, out: &mut BytesMut) -> Result<()> {
        match (self.form, value) {
            (Form::Bool, Value::Bool(value)) => out.put_u8((*value).into()),
            (Form::Int2, Value::Int(value)) => out.put_i16(i16::try_from(*value).map_err(|_| wrong())?),
            (Form::Int4, Value::Int(value)) => out.put_i32(i32::try_from(*value).map_err(|_| wrong())?),
            (Form::Int8, Value::Int(value)) => out.put_i64(*value),
            (Form::Float4, Value::Float(value)) => out.put_f32(*value as f32),
            (Form::Float8, Value::Float(value)) => out.put_f64(*value),
            (Form::Numeric, Value::Decimal(value)) => binary::put_numeric(out, &Digits::of(*value), self.scale),
            (Form::Text, Value::Text(value)) => out.put_slice(value.as_bytes()),
            (Form::TimestampZoned, Value::Int(value)) => binary::put_timestamp(out, *value)?,
            _ => return Err(wrong()),
        }
        Ok(())
    }
}

fn wrong() -> Error {
    Error::internal("a value is not of its column's type")
}
