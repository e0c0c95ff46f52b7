//! The byte format of values inside stored rows and partial aggregates.
//!
//! Self-describing, one tag byte a value, big-endian; readers check every length, since bytes may come from a
//! damaged file. Changing a tag's meaning needs a new format tag in whatever stores these bytes.

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

/// A value as it is stored: nothing is copied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueRef<'a> {
    Bool(bool),
    Int(i64),
    Float(f64),
    Decimal(i128),
    Text(&'a str),
    Bytes(&'a [u8]),
    /// its items' bytes: a count and that many values
    List(&'a [u8]),
}

impl ValueRef<'_> {
    pub fn to_value(self) -> Result<Value> {
        Ok(match self {
            ValueRef::Bool(value) => Value::Bool(value),
            ValueRef::Int(value) => Value::Int(value),
            ValueRef::Float(value) => Value::Float(value),
            ValueRef::Decimal(value) => Value::Decimal(value),
            ValueRef::Text(text) => Value::Text(text.into()),
            ValueRef::Bytes(bytes) => Value::Bytes(bytes.into()),
            ValueRef::List(items) => Value::List(Reader::new(items).items()?.into()),
        })
    }
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

    /// How many bytes are still to be read.
    pub fn n_left(&self) -> usize {
        self.rest.len()
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
        self.value_ref()?.map(ValueRef::to_value).transpose()
    }

    /// Appends where each of the coming values begins, counted from here, and where the last one ends.
    pub fn places(&mut self, places: &mut Vec<u32>) -> Result<()> {
        let whole = self.rest.len();
        let count = self.length()?;
        let place = |rest: &[u8]| u32::try_from(whole - rest.len()).map_err(|_| damaged());
        for _ in 0..count {
            places.push(place(self.rest)?);
            self.skip(0)?;
        }
        places.push(place(self.rest)?);
        Ok(())
    }

    pub fn values(&mut self) -> Result<Vec<Option<Value>>> {
        let count = self.length()?;
        (0..count).map(|_| self.value()).collect()
    }

    /// Values that are no lists: stored lists hold scalars, deeper nesting is damage.
    fn items(&mut self) -> Result<Vec<Option<Value>>> {
        let count = self.length()?;
        let item = |_| match self.value_ref()? {
            Some(ValueRef::List(_)) => Err(damaged()),
            item => item.map(ValueRef::to_value).transpose(),
        };
        (0..count).map(item).collect()
    }

    pub fn value_ref(&mut self) -> Result<Option<ValueRef<'a>>> {
        Ok(Some(match self.u8()? {
            NULL => return Ok(None),
            FALSE => ValueRef::Bool(false),
            TRUE => ValueRef::Bool(true),
            INT => ValueRef::Int(self.i64()?),
            FLOAT => ValueRef::Float(self.f64()?),
            DECIMAL => ValueRef::Decimal(self.i128()?),
            TEXT => {
                let length = self.length()?;
                ValueRef::Text(std::str::from_utf8(self.take(length)?).map_err(|_| damaged())?)
            }
            BYTES => {
                let length = self.length()?;
                ValueRef::Bytes(self.take(length)?)
            }
            LIST => {
                let items = self.rest;
                self.skip_items()?;
                ValueRef::List(&items[..items.len() - self.rest.len()])
            }
            _ => return Err(damaged()),
        }))
    }

    fn skip(&mut self, depth: usize) -> Result<()> {
        let bytes = match self.u8()? {
            NULL | FALSE | TRUE => 0,
            INT | FLOAT => 8,
            DECIMAL => 16,
            TEXT | BYTES => self.length()?,
            LIST if depth == 0 => return self.skip_items(),
            _ => return Err(damaged()),
        };
        self.take(bytes).map(|_| ())
    }

    fn skip_items(&mut self) -> Result<()> {
        let count = self.length()?;
        (0..count).try_for_each(|_| self.skip(1))
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
        let mut places = Vec::new();
        Reader::new(&bytes).places(&mut places).expect("reads");
        for (value, place) in values.iter().zip(places.windows(2)) {
            let mut own = Vec::new();
            put_value(&mut own, value.as_ref());
            assert_eq!(own, bytes[place[0] as usize..place[1] as usize]);
        }
        for end in 0..bytes.len() {
            assert!(Reader::new(&bytes[..end]).values().is_err(), "cut at {end}");
            assert!(Reader::new(&bytes[..end]).places(&mut places).is_err(), "cut at {end}");
        }
        let nested = [&[0, 0, 0, 1, LIST, 0, 0, 0, 1, LIST, 0, 0, 0, 0][..]].concat();
        assert!(Reader::new(&nested).values().is_err());
    }
}
