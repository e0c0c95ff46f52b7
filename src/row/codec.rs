//! The byte format of values inside stored rows and partial aggregates.
//!
//! Self-describing, one tag byte a value, big-endian; readers check every length, since bytes may come from a
//! damaged file. Changing a tag's meaning needs a new format tag in whatever stores these bytes.

use std::sync::Arc;

use super::Value;
use crate::error::{Error, Kind, Result};

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const FLOAT: u8 = 4;
const DECIMAL: u8 = 5;
const TEXT: u8 = 6;
const BYTES: u8 = 7;
const LIST: u8 = 8;

/// Appends one value.
pub fn put_value(out: &mut Vec<u8>, value: Option<&Value>) {
    match value {
        None => out.push(NULL),
        Some(Value::Bool(false)) => out.push(FALSE),
        Some(Value::Bool(true)) => out.push(TRUE),
        Some(Value::Int(value)) => put(out, INT, &value.to_be_bytes()),
        Some(Value::Float(value)) => put(out, FLOAT, &value.to_be_bytes()),
        Some(Value::Decimal(value)) => put(out, DECIMAL, &value.to_be_bytes()),
        Some(Value::Text(value)) => put_bytes(out, TEXT, value.as_bytes()),
        Some(Value::Bytes(value)) => put_bytes(out, BYTES, value),
        Some(Value::List(values)) => {
            out.push(LIST);
            put_values(out, values);
        }
    }
}

/// Appends a count and that many values.
pub fn put_values(out: &mut Vec<u8>, values: &[Option<Value>]) {
    out.extend_from_slice(&length_of(values.len()).to_be_bytes());
    for value in values {
        put_value(out, value.as_ref());
    }
}

fn put(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    out.extend_from_slice(bytes);
}

fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    out.extend_from_slice(&length_of(bytes.len()).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn length_of(length: usize) -> u32 {
    u32::try_from(length).expect("a value longer than 4 GiB cannot have come over the wire")
}

/// Reads what the `put_` functions wrote; any damage is an error, never a panic.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or_else(damaged)?;
        self.rest = rest;
        Ok(head)
    }

    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub fn i128(&mut self) -> Result<i128> {
        Ok(i128::from_be_bytes(self.array()?))
    }

    pub fn f64(&mut self) -> Result<f64> {
        Ok(f64::from_be_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("take gives the length asked for"))
    }

    /// A length or count, checked against what is left, so that damage cannot make us allocate.
    pub fn length(&mut self) -> Result<usize> {
        let length = self.u32()? as usize;
        if length > self.rest.len() {
            return Err(damaged());
        }
        Ok(length)
    }

    pub fn value(&mut self) -> Result<Option<Value>> {
        self.nested_value(0)
    }

    fn nested_value(&mut self, depth: usize) -> Result<Option<Value>> {
        Ok(Some(match self.u8()? {
            NULL => return Ok(None),
            FALSE => Value::Bool(false),
            TRUE => Value::Bool(true),
            INT => Value::Int(self.i64()?),
            FLOAT => Value::Float(self.f64()?),
            DECIMAL => Value::Decimal(self.i128()?),
            TEXT => {
                let length = self.length()?;
                let text = std::str::from_utf8(self.take(length)?).map_err(|_| damaged())?;
                Value::Text(text.into())
            }
            BYTES => {
                let length = self.length()?;
                Value::Bytes(self.take(length)?.into())
            }
            // stored lists hold scalars: deeper nesting is damage
            LIST if depth == 0 => Value::List(Arc::from(self.nested_values(depth + 1)?)),
            _ => return Err(damaged()),
        }))
    }

    pub fn values(&mut self) -> Result<Vec<Option<Value>>> {
        self.nested_values(0)
    }

    fn nested_values(&mut self, depth: usize) -> Result<Vec<Option<Value>>> {
        let count = self.length()?;
        (0..count).map(|_| self.nested_value(depth)).collect()
    }
}

fn damaged() -> Error {
    Error::new(Kind::DataCorrupted, "a stored row is damaged")
        .with_hint("restore the data folder from a backup, or rebuild the view with REFRESH FEATURE VIEW … OVERWRITE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_damage_is_an_error() {
        let values = vec![
            None,
            Some(Value::Bool(true)),
            Some(Value::Bool(false)),
            Some(Value::Int(i64::MIN)),
            Some(Value::Float(1.5)),
            Some(Value::Decimal(i128::MAX)),
            Some(Value::Text("häh".into())),
            Some(Value::Bytes(vec![1, 2].into())),
            Some(Value::List(vec![None, Some(Value::Text("a".into()))].into())),
        ];
        let mut bytes = Vec::new();
        put_values(&mut bytes, &values);
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.values().expect("reads"), values);
        assert!(reader.is_empty());
        for end in 0..bytes.len() {
            assert!(Reader::new(&bytes[..end]).values().is_err(), "cut at {end}");
        }
    }
}
