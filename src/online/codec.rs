//! The bytes of the online store. Format 1:
//!
//! ```text
//! rows:  length(key) u16 | key | view | kind = 0                              -> 1 | ts i64 | arrival i64 | effective i64 | values
//!        length(key) u16 | key | view | kind = 1 | time | sequence | secondary -> 1 | generation | payload
//! keys:  view | key                                                            -> ()
//! ```
//!
//! The length in front keeps a key from being the beginning of another; view, time, sequence and generation are
//! integers of one to nine bytes that sort like their values, so no such field is the beginning of another either.

use super::errors::damaged;
use super::{Item, ItemRow, Latest, LatestRow};
use crate::error::{Error, Result};
use crate::row::{Key, Reader, Value, put_values};
use arrow::datatypes::DataType;

pub(super) const FORMAT: u8 = 1;
const LATEST: u8 = 0;
const ITEM: u8 = 1;
/// Where the values of a latest row begin.
pub(super) const LATEST_VALUES: usize = 1 + 3 * size_of::<i64>();
/// Greater than every kind.
const KIND_END: u8 = 0xFF;

/// What begins every row of `key` in `view`.
pub(super) fn prefix(view: u64, key: &Key) -> Result<Vec<u8>> {
    let bytes = key.as_bytes();
    let mut out = Vec::with_capacity(bytes.len() + 40);
    out.extend_from_slice(&key.length()?.to_be_bytes());
    out.extend_from_slice(bytes);
    put_unsigned(&mut out, view);
    Ok(out)
}

/// All rows of one prefix, `[start, end)`.
pub(super) fn prefix_bounds(prefix: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    let mut end = prefix.clone();
    end.push(KIND_END);
    (prefix, end)
}

pub(super) fn latest_key(mut prefix: Vec<u8>) -> Vec<u8> {
    prefix.push(LATEST);
    prefix
}

/// The items of one prefix with a time in `[start_us, end_us)`.
pub(super) fn item_bounds(prefix: Vec<u8>, start_us: i64, end_us: i64) -> (Vec<u8>, Vec<u8>) {
    let mut start = prefix;
    start.push(ITEM);
    let mut end = start.clone();
    put_signed(&mut start, start_us);
    put_signed(&mut end, end_us);
    (start, end)
}

pub(super) fn item_key(view: u64, row: &ItemRow) -> Result<Vec<u8>> {
    let mut out = prefix(view, &row.key)?;
    out.push(ITEM);
    put_signed(&mut out, row.time_us);
    put_signed(&mut out, row.sequence);
    if let Some(secondary) = &row.secondary {
        out.push(type_tag(secondary)?);
        let encoded = Key::encode([Some(secondary)]).expect("a present value is not NULL");
        out.extend_from_slice(encoded.as_bytes());
    }
    Ok(out)
}

/// Is `row_key`, which begins with `prefix`, the one of a latest row?
pub(super) fn is_latest(prefix: &[u8], row_key: &[u8]) -> bool {
    row_key.get(prefix.len()) == Some(&LATEST)
}

pub(super) fn latest_value(row: &LatestRow) -> Vec<u8> {
    let mut out = Vec::with_capacity(32 + row.values.len() * 9);
    out.push(FORMAT);
    out.extend_from_slice(&row.ts_us.to_be_bytes());
    out.extend_from_slice(&row.arrival.to_be_bytes());
    out.extend_from_slice(&row.effective_us.to_be_bytes());
    put_values(&mut out, &row.values);
    out
}

/// `(ts, arrival)` of a stored latest row.
pub(super) fn latest_order(value: &[u8]) -> Result<(i64, i64)> {
    let mut reader = reader_of(value)?;
    Ok((reader.i64()?, reader.i64()?))
}

pub(super) fn read_latest(value: &[u8]) -> Result<Latest> {
    let mut reader = reader_of(value)?;
    let latest =
        Latest { ts_us: reader.i64()?, arrival: reader.i64()?, effective_us: reader.i64()?, values: reader.values()? };
    if reader.is_empty() { Ok(latest) } else { Err(damaged("latest row")) }
}

pub(super) fn item_value(generation: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 4);
    out.push(FORMAT);
    put_unsigned(&mut out, generation);
    out.extend_from_slice(payload);
    out
}

/// The generation and the payload of a stored item.
pub(super) fn read_item_value(value: &[u8]) -> Result<(u64, &[u8])> {
    let (&format, mut rest) = value.split_first().ok_or_else(|| damaged("item"))?;
    if format != FORMAT {
        return Err(damaged("item"));
    }
    let generation = take_unsigned(&mut rest).ok_or_else(|| damaged("item"))?;
    Ok((generation, rest))
}

/// An item from its row; `row_key` begins with the `prefix` that was looked for.
pub(super) fn read_item(prefix_length: usize, row_key: &[u8], value: &[u8]) -> Result<Item> {
    let read_key = || -> Option<(i64, i64, &[u8])> {
        let (&kind, mut rest) = row_key.get(prefix_length..)?.split_first()?;
        let time_us = take_signed(&mut rest)?;
        let sequence = take_signed(&mut rest)?;
        (kind == ITEM).then_some((time_us, sequence, rest))
    };
    let (time_us, sequence, secondary) = read_key().ok_or_else(|| damaged("item"))?;
    let secondary = match secondary.split_first() {
        None => None,
        Some((&tag, bytes)) => {
            let data_type = type_of_tag(tag).ok_or_else(|| damaged("secondary key"))?;
            Key::from_bytes(bytes).decode(&[data_type])?.pop()
        }
    };
    let (_, payload) = read_item_value(value)?;
    Ok(Item { time_us, sequence, secondary, payload: payload.to_vec() })
}

/// The sequence of an item out of the key of its row.
pub(super) fn read_sequence(prefix_length: usize, row_key: &[u8]) -> Result<i64> {
    let read = || -> Option<i64> {
        let mut rest = row_key.get(prefix_length + 1..)?;
        take_signed(&mut rest)?;
        take_signed(&mut rest)
    };
    read().ok_or_else(|| damaged("item"))
}

/// The entry of the key listing.
pub(super) fn listing_key(view: u64, key: &Key) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.as_bytes().len() + 9);
    put_unsigned(&mut out, view);
    out.extend_from_slice(key.as_bytes());
    out
}

/// What begins every listing entry of `view`.
pub(super) fn listing_prefix(view: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(9);
    put_unsigned(&mut out, view);
    out
}

fn reader_of(value: &[u8]) -> Result<Reader<'_>> {
    let mut reader = Reader::new(value);
    if reader.u8()? == FORMAT { Ok(reader) } else { Err(damaged("latest row")) }
}

fn type_tag(value: &Value) -> Result<u8> {
    Ok(match value {
        Value::Bool(_) => 1,
        Value::Int(_) => 2,
        Value::Float(_) => 3,
        Value::Decimal(_) => 4,
        Value::Text(_) => 5,
        Value::Bytes(_) => 6,
        Value::List(_) => return Err(Error::not_supported("a list as secondary key")),
    })
}

/// A type whose ordered form is that of all values with this tag.
fn type_of_tag(tag: u8) -> Option<DataType> {
    Some(match tag {
        1 => DataType::Boolean,
        2 => DataType::Int64,
        3 => DataType::Float64,
        4 => DataType::Decimal128(38, 0),
        5 => DataType::Utf8,
        6 => DataType::Binary,
        _ => return None,
    })
}

/// One byte with the number of significant bytes, then those.
fn put_unsigned(out: &mut Vec<u8>, value: u64) {
    let count = significant_bytes(value);
    out.push(count as u8);
    out.extend_from_slice(&value.to_be_bytes()[8 - count..]);
}

fn take_unsigned(rest: &mut &[u8]) -> Option<u64> {
    let (&count, tail) = rest.split_first()?;
    take_bytes(tail, usize::from(count), rest)
}

/// Like [`put_unsigned`] with 0x80 added for `value >= 0`; below zero all of it counts down.
fn put_signed(out: &mut Vec<u8>, value: i64) {
    let magnitude = (if value < 0 { !value } else { value }).cast_unsigned();
    let count = significant_bytes(magnitude);
    if value < 0 {
        out.push(0x7F - count as u8);
        out.extend_from_slice(&(!magnitude).to_be_bytes()[8 - count..]);
    } else {
        out.push(0x80 + count as u8);
        out.extend_from_slice(&magnitude.to_be_bytes()[8 - count..]);
    }
}

fn take_signed(rest: &mut &[u8]) -> Option<i64> {
    let (&first, tail) = rest.split_first()?;
    if first >= 0x80 {
        Some(take_bytes(tail, usize::from(first - 0x80), rest)?.cast_signed())
    } else {
        let count = usize::from(0x7F - first);
        let bytes = take_bytes(tail, count, rest)?;
        let mask = if count == 0 { 0 } else { u64::MAX >> (64 - 8 * count) };
        Some(!(!bytes & mask).cast_signed())
    }
}

fn take_bytes<'a>(tail: &'a [u8], count: usize, rest: &mut &'a [u8]) -> Option<u64> {
    if count > 8 {
        return None;
    }
    let (head, tail) = tail.split_at_checked(count)?;
    *rest = tail;
    let mut bytes = [0; 8];
    bytes[8 - count..].copy_from_slice(head);
    Some(u64::from_be_bytes(bytes))
}

fn significant_bytes(value: u64) -> usize {
    8 - value.leading_zeros() as usize / 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn integers_sort_like_their_values_and_come_back() {
        let mut values = vec![i64::MIN, i64::MAX, 0, -1];
        for shift in 0..63 {
            for delta in [-1, 0, 1] {
                values.push((1_i64 << shift) + delta);
                values.push(-(1_i64 << shift) + delta);
            }
        }
        values.sort_unstable();
        values.dedup();
        let encoded: Vec<Vec<u8>> = values
            .iter()
            .map(|value| {
                let mut out = Vec::new();
                put_signed(&mut out, *value);
                let mut rest = out.as_slice();
                assert_eq!(take_signed(&mut rest), Some(*value));
                assert!(rest.is_empty());
                out
            })
            .collect();
        assert!(encoded.is_sorted());
        for value in [0, 1, 255, 256, u64::MAX] {
            let mut out = Vec::new();
            put_unsigned(&mut out, value);
            assert_eq!(take_unsigned(&mut out.as_slice()), Some(value));
        }
    }

    #[test]
    fn stored_bytes_are_those_of_format_1() {
        let key = Key::encode([Some(&Value::Text("a\0b".into()))]).expect("not null");
        let row = ItemRow {
            key: key.clone(),
            time_us: -1,
            sequence: 0,
            secondary: Some(Value::Bool(true)),
            payload: vec![9],
        };
        let expected = [&[0, 6, b'a', 0, 255, b'b', 0, 0, 1, 7, 1, 0x7F, 0x80, 1, 1][..]].concat();
        assert_eq!(item_key(7, &row).expect("encodes"), expected);
        assert_eq!(item_value(300, &row.payload), [1, 2, 1, 44, 9]);
        let latest =
            LatestRow { key, ts_us: 1, arrival: 2, effective_us: 3, values: vec![Some(Value::Bool(true)), None] };
        assert_eq!(
            latest_value(&latest),
            [1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 2, 2, 0]
        );
    }

    #[test]
    fn damage_is_an_error() {
        let key = Key::encode([Some(&Value::Int(1))]).expect("not null");
        let row =
            ItemRow { key: key.clone(), time_us: 5, sequence: 6, secondary: Some(Value::Int(1)), payload: vec![] };
        let prefix_length = prefix(1, &key).expect("fits").len();
        let (row_key, value) = (item_key(1, &row).expect("encodes"), item_value(1, &[]));
        assert!(read_item(prefix_length, &row_key, &value).is_ok());
        for end in prefix_length..row_key.len() {
            let cut = read_item(prefix_length, &row_key[..end], &value);
            // without its last field it is a well-formed item that has no secondary key
            assert!(cut.is_err() || cut.is_ok_and(|item| item.secondary.is_none()));
        }
        for bad in [&[][..], &[2], &[1], &[1, 9], &[1, 2, 0]] {
            assert_eq!(read_item_value(bad).expect_err("damaged").kind(), Kind::DataCorrupted);
            assert_eq!(read_latest(bad).expect_err("damaged").kind(), Kind::DataCorrupted);
        }
    }
}
