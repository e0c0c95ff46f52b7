//! The bytes of the online store. Format 1:
//!
//! ```text
//! rows:  length(key) u16 | key | view | kind = 0                              -> 1 | ts i64 | arrival i64 | effective i64 | values
//!        length(key) u16 | key | view | kind = 1 | time | sequence | secondary -> 1 | generation | payload
//!        length(key) u16 | key | view | kind = 2 | 0                           -> 1 | form u64 | expired i64 | widths
//!        length(key) u16 | key | view | kind = 2 | width | start | secondary   -> 1 | items | payload
//! keys:  view | key                                                            -> ()
//! ```
//!
//! The length in front keeps a key from being the beginning of another; view, time, sequence, generation, width, start and
//! items are integers of one to nine bytes that sort like their values, so no such field is the beginning of another
//! either. A row of kind 2 with width 0 says that the others of its kind, spans of the items, are kept ([`super::spans`]).

use super::errors::damaged;
use super::{Item, ItemRow, Latest, LatestRow};
use crate::error::{Error, Result};
use crate::row::{Key, Reader, Value, put_values};
use arrow::datatypes::DataType;

pub(super) const FORMAT: u8 = 1;
const LATEST: u8 = 0;
const ITEM: u8 = 1;
const SPAN: u8 = 2;
/// Where the values of a latest row begin.
pub(super) const LATEST_VALUES: usize = 1 + 3 * size_of::<i64>();

/// What begins every row of `key` in `view`.
pub(super) fn prefix(view: u64, key: &Key) -> Result<Vec<u8>> {
    let bytes = key.as_bytes();
    let mut out = Vec::with_capacity(bytes.len() + 40);
    out.extend_from_slice(&key.length()?.to_be_bytes());
    out.extend_from_slice(bytes);
    put_unsigned(&mut out, view);
    Ok(out)
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
    put_secondary(&mut out, row.secondary.as_ref())?;
    Ok(out)
}

/// All spans of one prefix, and the row that says that they are kept.
pub(super) fn all_spans_bounds(prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
    ([prefix, &[SPAN]].concat(), [prefix, &[SPAN + 1]].concat())
}

/// Everything of one prefix but the spans.
pub(super) fn without_spans_bounds(prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
    (prefix.to_vec(), [prefix, &[SPAN]].concat())
}

pub(super) fn root_key(prefix: &[u8]) -> Vec<u8> {
    span_key_of_width(prefix, 0)
}

/// What is said of all spans of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Root {
    pub form: u64,
    /// Items before this have expired, with the spans that began before it.
    pub expired_us: i64,
    pub widths_us: Vec<i64>,
}

pub(super) fn root_value(root: &Root) -> Vec<u8> {
    let mut out = vec![FORMAT];
    out.extend_from_slice(&root.form.to_be_bytes());
    out.extend_from_slice(&root.expired_us.to_be_bytes());
    root.widths_us.iter().for_each(|width_us| put_unsigned(&mut out, width_us.cast_unsigned()));
    out
}

pub(super) fn read_root(value: &[u8]) -> Result<Root> {
    let mut reader = reader_of(value)?;
    let (form, expired_us) = (reader.i64()?.cast_unsigned(), reader.i64()?);
    let mut rest = reader.take(reader.n_left())?;
    let mut widths_us = Vec::new();
    while !rest.is_empty() {
        let width_us = take_unsigned(&mut rest).ok_or_else(|| damaged("list of spans"))?;
        widths_us.push(width_us.cast_signed());
    }
    Ok(Root { form, expired_us, widths_us })
}

/// The spans of one width that start in `[start_us, end_us)`.
pub(super) fn span_bounds(prefix: &[u8], width_us: i64, start_us: i64, end_us: i64) -> (Vec<u8>, Vec<u8>) {
    let mut start = span_key_of_width(prefix, width_us);
    let mut end = start.clone();
    put_signed(&mut start, start_us);
    put_signed(&mut end, end_us);
    (start, end)
}

pub(super) fn span_key(prefix: &[u8], width_us: i64, start_us: i64, secondary: Option<&Value>) -> Result<Vec<u8>> {
    let mut out = span_key_of_width(prefix, width_us);
    put_signed(&mut out, start_us);
    put_secondary(&mut out, secondary)?;
    Ok(out)
}

/// Where a span starts, and its secondary key.
pub(super) fn read_span_key(prefix_length: usize, row_key: &[u8]) -> Result<(i64, Option<Value>)> {
    let read = || -> Option<(i64, &[u8])> {
        let (&kind, mut rest) = row_key.get(prefix_length..)?.split_first()?;
        take_unsigned(&mut rest)?;
        let start_us = take_signed(&mut rest)?;
        (kind == SPAN).then_some((start_us, rest))
    };
    let (start_us, secondary) = read().ok_or_else(|| damaged("span"))?;
    Ok((start_us, read_secondary(secondary)?))
}

pub(super) fn span_value(items: u64, payload: &[u8]) -> Vec<u8> {
    item_value(items, payload)
}

/// How many items a span is of, and its states.
pub(super) fn read_span_value(value: &[u8]) -> Result<(u64, &[u8])> {
    read_item_value(value)
}

fn span_key_of_width(prefix: &[u8], width_us: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(prefix.len() + 24);
    out.extend_from_slice(prefix);
    out.push(SPAN);
    put_unsigned(&mut out, width_us.cast_unsigned());
    out
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
    let secondary = read_secondary(secondary)?;
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

fn put_secondary(out: &mut Vec<u8>, secondary: Option<&Value>) -> Result<()> {
    if let Some(secondary) = secondary {
        out.push(type_tag(secondary)?);
        let encoded = Key::encode([Some(secondary)]).expect("a present value is not NULL");
        out.extend_from_slice(encoded.as_bytes());
    }
    Ok(())
}

fn read_secondary(bytes: &[u8]) -> Result<Option<Value>> {
    let Some((&tag, bytes)) = bytes.split_first() else { return Ok(None) };
    let data_type = type_of_tag(tag).ok_or_else(|| damaged("secondary key"))?;
    Ok(Key::from_bytes(bytes).decode(&[data_type])?.pop())
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
    fn stored_bytes_of_spans_are_those_of_format_1() {
        let key = Key::encode([Some(&Value::Text("a".into()))]).expect("not null");
        let prefix = prefix(7, &key).expect("fits");
        let begin = [0, 3, b'a', 0, 0, 1, 7, 2];
        assert_eq!(root_key(&prefix), [&begin[..], &[0]].concat());
        let root = Root { form: 0x0102_0304_0506_0708, expired_us: -2, widths_us: vec![20_000, 1_000_000] };
        let bytes = root_value(&root);
        let (form, expired) = ([1, 2, 3, 4, 5, 6, 7, 8], [255, 255, 255, 255, 255, 255, 255, 254]);
        assert_eq!(bytes, [&[1][..], &form, &expired, &[2, 0x4E, 0x20, 3, 0x0F, 0x42, 0x40]].concat());
        assert_eq!(read_root(&bytes).expect("reads"), root);
        let whole = span_key(&prefix, 20_000, -20_000, None).expect("encodes");
        assert_eq!(whole, [&begin[..], &[2, 0x4E, 0x20, 0x7D, 0xB1, 0xE0]].concat());
        let secondary = Some(Value::Bool(true));
        let of_key = span_key(&prefix, 20_000, -20_000, secondary.as_ref()).expect("encodes");
        assert!(of_key.starts_with(&whole));
        assert_eq!(read_span_key(prefix.len(), &of_key).expect("reads"), (-20_000, secondary));
        let (start, end) = span_bounds(&prefix, 20_000, -20_000, 0);
        assert!(start <= whole && whole < of_key && of_key < end);
        assert_eq!(span_value(300, &[9]), [1, 2, 1, 44, 9]);
        for end in prefix.len()..whole.len() {
            assert_eq!(read_span_key(prefix.len(), &whole[..end]).expect_err("damaged").kind(), Kind::DataCorrupted);
        }
        for bad in [&bytes[..8], &bytes[..18], &[2]] {
            assert_eq!(read_root(bad).expect_err("damaged").kind(), Kind::DataCorrupted);
        }
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
