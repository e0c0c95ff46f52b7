//! Entity keys as bytes whose order is the order of the key columns: `memcmp` on them sorts like SQL does
//! (ascending; keys that are stored are never NULL). Also the stable hash that picks buckets and shards.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use twox_hash::XxHash64;

use super::{Value, values_of};
use crate::error::{Error, Kind, Result};

/// The encoded join keys of one entity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Vec<u8>);

impl Key {
    /// `None` if any key column is NULL: a NULL key binds nothing.
    pub fn encode<'a>(values: impl IntoIterator<Item = Option<&'a Value>>) -> Option<Key> {
        let mut bytes = Vec::with_capacity(16);
        for value in values {
            put_ordered(&mut bytes, value?);
        }
        Some(Key(bytes))
    }

    /// The key columns back; `types` are those of [`super::normalize_type`].
    pub fn decode(&self, types: &[DataType]) -> Result<Vec<Value>> {
        let mut rest = self.0.as_slice();
        let values = types.iter().map(|data_type| take_ordered(&mut rest, data_type)).collect::<Result<_>>()?;
        if rest.is_empty() { Ok(values) } else { Err(damaged()) }
    }

    /// The length in bytes, which the online store keeps in two. Errors: `StringTooLong`.
    pub fn length(&self) -> Result<u16> {
        let length = self.0.len();
        u16::try_from(length).map_err(|_| {
            Error::new(Kind::StringTooLong, format!("a join key of {length} bytes is too long"))
                .with_detail("the join keys of one entity may take 65535 bytes together")
        })
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn from_bytes(bytes: &[u8]) -> Key {
        Key(bytes.to_vec())
    }

    /// A hash that never changes between versions or machines: files and shards are named after it.
    pub fn stable_hash(&self) -> u64 {
        XxHash64::oneshot(0, &self.0)
    }
}

/// Refuses keys, given by their columns, that are too long. Errors: `StringTooLong`.
pub fn check_key_lengths(columns: &[&ArrayRef]) -> Result<()> {
    let most: usize = columns.iter().map(|column| most_bytes(column)).sum();
    if most <= u16::MAX.into() {
        return Ok(());
    }
    let values = columns.iter().map(|column| values_of(column.as_ref())).collect::<Result<Vec<_>>>()?;
    for row in 0..columns.first().map_or(0, |column| column.len()) {
        if let Some(key) = Key::encode(values.iter().map(|values| values[row].as_ref())) {
            key.length()?;
        }
    }
    Ok(())
}

/// No value of the column takes more bytes in a key.
fn most_bytes(column: &ArrayRef) -> usize {
    let longest = |offsets: &[i32]| offsets.windows(2).map(|ends| (ends[1] - ends[0]) as usize).max().unwrap_or(0);
    match column.data_type() {
        DataType::Utf8 => 2 * longest(column.as_string::<i32>().value_offsets()) + 2,
        DataType::Binary => 2 * longest(column.as_binary::<i32>().value_offsets()) + 2,
        _ => 16,
    }
}

/// The bucket, of `buckets` > 0, that a key belongs to.
pub fn bucket_of(key: &Key, buckets: u32) -> u32 {
    u32::try_from(key.stable_hash() % u64::from(buckets)).expect("smaller than a u32")
}

const SIGN: u64 = 1 << 63;

fn put_ordered(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Bool(value) => out.push(u8::from(*value)),
        Value::Int(value) => out.extend_from_slice(&(value.cast_unsigned() ^ SIGN).to_be_bytes()),
        Value::Float(value) => {
            let bits = super::canonical_bits(*value);
            let ordered = if bits & SIGN == 0 { bits | SIGN } else { !bits };
            out.extend_from_slice(&ordered.to_be_bytes());
        }
        Value::Decimal(value) => out.extend_from_slice(&(value.cast_unsigned() ^ (1 << 127)).to_be_bytes()),
        Value::Text(value) => put_terminated(out, value.as_bytes()),
        Value::Bytes(value) => put_terminated(out, value),
        Value::List(_) => unreachable!("a list is refused as a join key when its entity is created"),
    }
}

/// Bytes ended by 00 00; a 00 inside becomes 00 FF, which keeps the order.
fn put_terminated(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xFF);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

fn take_ordered(rest: &mut &[u8], data_type: &DataType) -> Result<Value> {
    Ok(match data_type {
        DataType::Boolean => Value::Bool(take::<1>(rest)?[0] != 0),
        DataType::Float32 | DataType::Float64 => {
            let ordered = u64::from_be_bytes(take(rest)?);
            let bits = if ordered & SIGN == 0 { !ordered } else { ordered ^ SIGN };
            Value::Float(f64::from_bits(bits))
        }
        DataType::Decimal128(_, _) => Value::Decimal((u128::from_be_bytes(take(rest)?) ^ (1 << 127)).cast_signed()),
        DataType::Utf8 => {
            let text = String::from_utf8(take_terminated(rest)?).map_err(|_| damaged())?;
            Value::Text(text.into())
        }
        DataType::Binary => Value::Bytes(take_terminated(rest)?.into()),
        _ => Value::Int((u64::from_be_bytes(take(rest)?) ^ SIGN).cast_signed()),
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or_else(damaged)?;
    *rest = tail;
    Ok(*head)
}

fn take_terminated(rest: &mut &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        match take::<1>(rest)?[0] {
            0 => match take::<1>(rest)?[0] {
                0 => return Ok(bytes),
                0xFF => bytes.push(0),
                _ => return Err(damaged()),
            },
            byte => bytes.push(byte),
        }
    }
}

fn damaged() -> Error {
    Error::new(Kind::DataCorrupted, "a stored key is damaged")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(value: Value) -> Key {
        Key::encode([Some(&value)]).expect("not null")
    }

    #[test]
    fn bytes_sort_like_values_and_come_back() {
        let floats = [f64::NEG_INFINITY, -1.5, -0.0, 1e-300, 2.0, f64::INFINITY, f64::NAN].map(Value::Float);
        let ints = [i64::MIN, -1, 0, 1, i64::MAX].map(Value::Int);
        let decimals = [i128::MIN, -1, 0, i128::MAX].map(Value::Decimal);
        let texts = ["", "\0", "\0a", "a", "a\0", "a\0b", "aa", "b"].map(|text| Value::Text(text.into()));
        for (data_type, values) in [
            (DataType::Float64, floats.to_vec()),
            (DataType::Int64, ints.to_vec()),
            (DataType::Decimal128(38, 0), decimals.to_vec()),
            (DataType::Utf8, texts.to_vec()),
        ] {
            for pair in values.windows(2) {
                assert!(key(pair[0].clone()) < key(pair[1].clone()), "{pair:?}");
            }
            for value in values {
                assert_eq!(key(value.clone()).decode(std::slice::from_ref(&data_type)).expect("decodes"), [value]);
            }
        }
    }

    #[test]
    fn null_keys_bind_nothing() {
        assert!(Key::encode([Some(&Value::Int(1)), None]).is_none());
    }

    #[test]
    fn the_stable_hash_is_stable() {
        assert_eq!(key(Value::Text("N14228".into())).stable_hash(), key(Value::Text("N14228".into())).stable_hash());
        assert_eq!(bucket_of(&key(Value::Int(1)), 16), EXPECTED_BUCKET_OF_1);
    }

    // A golden number: another one would lose every stored row.
    const EXPECTED_BUCKET_OF_1: u32 = 15;
}
