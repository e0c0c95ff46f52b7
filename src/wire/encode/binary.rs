//! The binary format: what the `*_send` functions of PostgreSQL 15 write. All numbers are big-endian.

use bytes::{BufMut, BytesMut};

use super::text::{self, Digits, checked_time, item_rows};
use super::{Format, List, ListStyle, Values};
use crate::engine::sent_value;
use crate::error::{Error, Kind, Result};

/// PostgreSQL counts from 2000-01-01.
pub const EPOCH_DAYS: i32 = 10_957;
pub const EPOCH_US: i64 = 946_684_800_000_000;

/// Writes a value that is not null.
pub(super) fn put(values: &Values, row: usize, out: &mut BytesMut) -> Result<()> {
    match values {
        Values::Null => unreachable!("a null is written by its length alone"),
        Values::Bool(values) => out.put_u8(values.value(row).into()),
        Values::Int2(values) => out.put_i16(values.value(row)),
        Values::Int4(values) => out.put_i32(values.value(row)),
        Values::Int8(values) => out.put_i64(values.value(row)),
        Values::Oid(values) => out.put_u32(
            u32::try_from(values.value(row))
                .map_err(|_| Error::new(Kind::NumericValueOutOfRange, "OID out of range"))?,
        ),
        Values::Float4(values) => out.put_f32(values.value(row)),
        Values::Float8(values) => out.put_f64(values.value(row)),
        Values::Decimal(values) => put_decimal(out, values.value(row), values.scale()),
        Values::WideDecimal(values) => put_numeric(out, &Digits::of(values.value(row)), values.scale()),
        Values::Text(values) => out.put_slice(values.value(row).as_bytes()),
        Values::LargeText(values) => out.put_slice(values.value(row).as_bytes()),
        Values::TextView(values) => out.put_slice(values.value(row).as_bytes()),
        Values::Uuid(values) => out.put_slice(&uuid_bytes(values.value(row))?),
        Values::Bytes(values) => out.put_slice(values.value(row)),
        Values::LargeBytes(values) => out.put_slice(values.value(row)),
        Values::BytesView(values) => out.put_slice(values.value(row)),
        Values::Date(values) => out.put_i32(date(values.value(row))?),
        Values::Time(values) => out.put_i64(checked_time(values.value(row))?),
        Values::Timestamp { values, .. } => put_timestamp(out, values.value(row))?,
        Values::Interval(values) => {
            let value = values.value(row);
            put_interval(out, value.months, value.days, value.nanoseconds / 1_000);
        }
        Values::Duration(values) => put_interval(out, 0, 0, values.value(row)),
        Values::List(list) => put_list(list, row, out)?,
        Values::Printed { values, oid } => {
            let mut bytes = Vec::new();
            sent_value(values.value(row), *oid, &mut bytes)?;
            out.put_slice(&bytes);
        }
        Values::Named { numbers, .. } => out.put_u32(
            u32::try_from(numbers.value(row))
                .map_err(|_| Error::new(Kind::NumericValueOutOfRange, "OID out of range"))?,
        ),
        Values::Json { version, .. } | Values::JsonText { version, .. } => {
            if *version {
                out.put_u8(1);
            }
            text::put(values, row, out)?;
        }
    }
    Ok(())
}

pub(super) fn put_timestamp(out: &mut BytesMut, micros: i64) -> Result<()> {
    out.put_i64(timestamp(micros)?);
    Ok(())
}

/// Microseconds as PostgreSQL counts them.
pub(super) fn timestamp(micros: i64) -> Result<i64> {
    // infinities are the ends of the range
    if matches!(micros, i64::MIN | i64::MAX) {
        return Ok(micros);
    }
    let micros = micros.checked_sub(EPOCH_US).filter(|micros| *micros != i64::MIN);
    micros.ok_or_else(|| Error::new(Kind::DatetimeFieldOverflow, "timestamp out of range"))
}

/// Days as PostgreSQL counts them.
pub(super) fn date(days: i32) -> Result<i32> {
    if matches!(days, i32::MIN | i32::MAX) {
        return Ok(days);
    }
    let days = days.checked_sub(EPOCH_DAYS).filter(|days| *days != i32::MIN);
    days.ok_or_else(|| Error::new(Kind::DatetimeFieldOverflow, "date out of range"))
}

fn put_interval(out: &mut BytesMut, months: i32, days: i32, micros: i64) {
    out.put_i64(micros);
    out.put_i32(days);
    out.put_i32(months);
}

/// Seventy-seven digits and up to three before them.
const MOST_GROUPS: usize = 20;

/// As [`put_numeric`], without a text of the digits where a machine word holds them.
fn put_decimal(out: &mut BytesMut, value: i128, scale: i8) {
    let shown = u32::try_from(scale).ok().filter(|scale| *scale < 16);
    let word = u64::try_from(value.unsigned_abs()).ok();
    let (Some(shown), Some(word)) = (shown, word.filter(|word| *word <= u64::MAX / 1000)) else {
        return put_numeric(out, &Digits::of(value), scale);
    };
    // so that groups meet at the point
    let mut left = word * 10_u64.pow((4 - shown % 4) % 4);
    // from the least on; the lowest ones that are zero are not written
    let (mut groups, mut count, mut weight) = ([0_u16; 5], 0, -i32::try_from(shown.div_ceil(4)).expect("few"));
    while left > 0 {
        let group = (left % 10_000) as u16;
        left /= 10_000;
        if count > 0 || group > 0 {
            groups[count] = group;
            count += 1;
        }
        weight += 1;
    }
    out.put_u16(count as u16);
    out.put_i16(if count > 0 { (weight - 1) as i16 } else { 0 });
    out.put_u16(if value < 0 { 0x4000 } else { 0 });
    out.put_u16(shown as u16);
    groups[..count].iter().rev().for_each(|group| out.put_u16(*group));
}

/// Groups of four decimal digits around the point: their number, the exponent of the first, sign, digits shown
/// after the point, and the groups without zeros at either end.
pub(super) fn put_numeric(out: &mut BytesMut, digits: &Digits, scale: i8) {
    let text = digits.as_bytes();
    // digits from the one with exponent `top` down; pad so that groups meet at the point
    let top = text.len() as i32 - 1 - i32::from(scale);
    let lead = top.rem_euclid(4);
    let mut groups = [0_u16; MOST_GROUPS];
    for (index, digit) in (3 - lead as usize..).zip(text) {
        groups[index / 4] += u16::from(digit - b'0') * [1000, 100, 10, 1][index % 4];
    }
    let groups = &groups[..(3 - lead as usize + text.len()).div_ceil(4)];
    // only the number 0 starts with zeros
    let significant = groups.iter().rposition(|group| *group != 0).map_or(0, |last| last + 1);
    let groups = &groups[..significant];
    let weight = if groups.is_empty() { 0 } else { top.div_euclid(4) };
    out.put_u16(groups.len() as u16);
    out.put_i16(weight as i16);
    out.put_u16(if digits.negative && !groups.is_empty() { 0x4000 } else { 0 });
    out.put_u16(scale.max(0) as u16);
    groups.iter().for_each(|group| out.put_u16(*group));
}

fn uuid_bytes(text: &str) -> Result<[u8; 16]> {
    granary_postgres::text::parse_uuid(text).ok_or_else(|| {
        Error::new(Kind::InvalidTextRepresentation, format!("invalid input syntax for type uuid: \"{text}\""))
    })
}

/// Dimensions, whether there are nulls, the items' type, then length and first index of the one dimension.
fn put_list(list: &List, row: usize, out: &mut BytesMut) -> Result<()> {
    let rows = item_rows(&list.offsets, row);
    let is_vector = list.style == ListStyle::Vector;
    let has_dimension = is_vector || !rows.is_empty();
    out.put_i32(i32::from(has_dimension));
    out.put_i32(i32::from(rows.clone().any(|item| list.items.is_null(item))));
    out.put_u32(list.item_oid);
    if has_dimension {
        out.put_i32(i32::try_from(rows.len()).expect("lists are counted in 32 bits"));
        out.put_i32(i32::from(!is_vector));
    }
    for item in rows {
        list.items.put(item, Format::Binary, out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_the_same_with_and_without_their_text() {
        let mut values: Vec<i128> = vec![0, i128::MAX, i128::MIN, i128::from(u64::MAX / 1000), i128::from(u64::MAX)];
        values.extend((0..30).map(|power| 10_i128.pow(power)));
        values.extend((0..30).map(|power| 10_i128.pow(power) - 1));
        values.extend((0..60).scan(1_u64, |seed, _| {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            Some(i128::from(*seed >> (*seed % 60)))
        }));
        for value in values.iter().flat_map(|value| [*value, value.wrapping_neg()]) {
            for scale in -3..=20 {
                let (mut word, mut text) = (BytesMut::new(), BytesMut::new());
                put_decimal(&mut word, value, scale);
                put_numeric(&mut text, &Digits::of(value), scale);
                assert_eq!(word, text, "{value} with {scale} digits behind the point");
            }
        }
    }
}
