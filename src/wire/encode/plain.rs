//! Single values, not out of an array: what a lookup of a few rows found. Types that are seldom looked up go through
//! arrays like all others.

use arrow::datatypes::{DataType, TimeUnit};
use bytes::{BufMut, BytesMut};
use granary_postgres::datetime::Zone;

use super::binary;
use super::text::{self, Digits};
use super::{Form, Format, ShownType, put_sized};
use crate::error::{Error, Result};
use crate::row::ValueRef;

/// How the values of one column are written.
#[derive(Debug, Clone, Copy)]
pub struct Plain {
    form: Form,
    /// of decimals
    scale: i8,
    format: Format,
    zone: Zone,
}

impl Plain {
    /// `None` for values that need arrays.
    pub fn of(data_type: &DataType, shown: ShownType, format: Format) -> Option<Plain> {
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
        is_plain.then_some(Plain { form: shown.item.form, scale, format, zone: shown.zone })
    }

    /// A length word and the value.
    pub fn put(self, value: Option<ValueRef<'_>>, out: &mut BytesMut) -> Result<()> {
        match (value, self.format) {
            (None, _) => {
                out.put_i32(-1);
                Ok(())
            }
            (Some(value), Format::Text) => put_sized(out, |out| self.put_text(value, out)),
            (Some(value), Format::Binary) => put_sized(out, |out| self.put_binary(value, out)),
        }
    }

    fn put_text(self, value: ValueRef<'_>, out: &mut BytesMut) -> Result<()> {
        match (self.form, value) {
            (Form::Bool, ValueRef::Bool(value)) => out.put_u8(if value { b't' } else { b'f' }),
            (Form::Int2 | Form::Int4 | Form::Int8, ValueRef::Int(value)) => text::put_integer(out, value),
            (Form::Float4, ValueRef::Float(value)) => text::put_float4(out, value as f32),
            (Form::Float8, ValueRef::Float(value)) => text::put_float8(out, value),
            (Form::Numeric, ValueRef::Decimal(value)) => text::put_decimal(out, &Digits::of(value), self.scale),
            (Form::Text, ValueRef::Text(value)) => out.put_slice(value.as_bytes()),
            (Form::TimestampZoned, ValueRef::Int(value)) => text::put_timestamp(out, value, Some(self.zone)),
            _ => return Err(wrong()),
        }
        Ok(())
    }

    fn put_binary(self, value: ValueRef<'_>, out: &mut BytesMut) -> Result<()> {
        match (self.form, value) {
            (Form::Bool, ValueRef::Bool(value)) => out.put_u8(value.into()),
            (Form::Int2, ValueRef::Int(value)) => out.put_i16(i16::try_from(value).map_err(|_| wrong())?),
            (Form::Int4, ValueRef::Int(value)) => out.put_i32(i32::try_from(value).map_err(|_| wrong())?),
            (Form::Int8, ValueRef::Int(value)) => out.put_i64(value),
            (Form::Float4, ValueRef::Float(value)) => out.put_f32(value as f32),
            (Form::Float8, ValueRef::Float(value)) => out.put_f64(value),
            (Form::Numeric, ValueRef::Decimal(value)) => binary::put_numeric(out, &Digits::of(value), self.scale),
            (Form::Text, ValueRef::Text(value)) => out.put_slice(value.as_bytes()),
            (Form::TimestampZoned, ValueRef::Int(value)) => binary::put_timestamp(out, value)?,
            _ => return Err(wrong()),
        }
        Ok(())
    }
}

fn wrong() -> Error {
    Error::internal("a value is not of its column's type")
}
