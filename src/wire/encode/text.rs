//! The text format: what `psql` shows, byte for byte as PostgreSQL 15 writes it with `DateStyle` ISO,
//! `IntervalStyle` postgres, `bytea_output` hex, and `extra_float_digits` 1.

use std::fmt::Write;

use arrow::array::ListArray;
use bytes::{BufMut, BytesMut};
use granary_postgres::datetime::{Zone, format_offset};

use super::calendar::{MICROS_PER_DAY, civil_from_days};
use super::{Cells, List, ListStyle, Values};
use crate::error::{Error, Kind, Result};

/// Writes a value that is not null.
pub(super) fn put(values: &Values, row: usize, out: &mut BytesMut) -> Result<()> {
    match values {
        Values::Null => unreachable!("a null is written by its length alone"),
        Values::Bool(values) => out.put_u8(if values.value(row) { b't' } else { b'f' }),
        Values::Int2(values) => put_integer(out, values.value(row)),
        Values::Int4(values) => put_integer(out, values.value(row)),
        Values::Int8(values) => put_integer(out, values.value(row)),
        Values::Oid(values) => put_integer(out, values.value(row)),
        Values::Float4(values) => put_float4(out, values.value(row)),
        Values::Float8(values) => put_float8(out, values.value(row)),
        Values::Decimal(values) => put_decimal(out, &Digits::of(values.value(row)), values.scale()),
        Values::WideDecimal(values) => put_decimal(out, &Digits::of(values.value(row)), values.scale()),
        Values::Text(values)
        | Values::Uuid(values)
        | Values::JsonText { values, .. }
        | Values::Printed { values, .. }
        | Values::Named { names: values, .. } => {
            out.put_slice(values.value(row).as_bytes());
        }
        Values::LargeText(values) => out.put_slice(values.value(row).as_bytes()),
        Values::TextView(values) => out.put_slice(values.value(row).as_bytes()),
        Values::Bytes(values) => put_hex(out, values.value(row)),
        Values::LargeBytes(values) => put_hex(out, values.value(row)),
        Values::BytesView(values) => put_hex(out, values.value(row)),
        Values::Date(values) => put_date(out, values.value(row)),
        Values::Time(values) => put_time(out, checked_time(values.value(row))?),
        Values::Timestamp { values, zone } => put_timestamp(out, values.value(row), *zone),
        Values::Interval(values) => {
            let value = values.value(row);
            put_interval(out, value.months, value.days, value.nanoseconds / 1_000);
        }
        Values::Duration(values) => put_interval(out, 0, 0, values.value(row)),
        Values::List(list) => put_list(list, row, out)?,
        Values::Json { node, .. } => node.put(row, out)?,
    }
    Ok(())
}

pub(super) fn put_integer(out: &mut BytesMut, value: impl itoa::Integer) {
    out.put_slice(itoa::Buffer::new().format(value).as_bytes());
}

pub(super) fn put_hex(out: &mut BytesMut, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(2 + 2 * bytes.len());
    out.put_slice(b"\\x");
    for byte in bytes {
        out.put_u8(DIGITS[usize::from(byte >> 4)]);
        out.put_u8(DIGITS[usize::from(byte & 15)]);
    }
}

/// An integer's decimal digits without its sign: at least one, no leading zero but the number 0 itself.
pub(super) struct Digits {
    pub negative: bool,
    short: Short,
}

impl Digits {
    pub fn of(value: impl std::fmt::Display) -> Self {
        let mut short = Short::new();
        write!(short, "{value}").expect("no integer here has more than 77 digits");
        let negative = short.bytes[0] == b'-';
        Digits { negative, short }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.short.bytes[usize::from(self.negative)..self.short.length]
    }
}

pub(super) fn put_decimal(out: &mut BytesMut, digits: &Digits, scale: i8) {
    if digits.negative {
        out.put_u8(b'-');
    }
    let text = digits.as_bytes();
    let Ok(scale) = usize::try_from(scale) else {
        out.put_slice(text);
        if text != b"0" {
            out.put_bytes(b'0', usize::from(scale.unsigned_abs()));
        }
        return;
    };
    if text.len() > scale {
        out.put_slice(&text[..text.len() - scale]);
    } else {
        out.put_u8(b'0');
    }
    if scale > 0 {
        out.put_u8(b'.');
        out.put_bytes(b'0', scale.saturating_sub(text.len()));
        out.put_slice(&text[text.len().saturating_sub(scale)..]);
    }
}

/// A short text on the stack.
struct Short {
    bytes: [u8; 80],
    length: usize,
}

impl Write for Short {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

impl Short {
    fn new() -> Self {
        Short { bytes: [0; 80], length: 0 }
    }

    fn scientific(value: impl std::fmt::LowerExp, precision: Option<usize>) -> Self {
        let mut short = Short::new();
        match precision {
            None => write!(short, "{value:e}"),
            Some(precision) => write!(short, "{value:.precision$e}"),
        }
        .expect("no float has so many significant digits");
        short
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).expect("digits")
    }

    /// Digits without the point, and the exponent of the first one.
    fn parts(&self) -> ([u8; 20], usize, i32) {
        let (mantissa, exponent) = self.text().split_once('e').expect("scientific notation has an e");
        let mut digits = [0; 20];
        let mut count = 0;
        for digit in mantissa.bytes().filter(u8::is_ascii_digit) {
            digits[count] = digit;
            count += 1;
        }
        while count > 1 && digits[count - 1] == b'0' {
            count -= 1;
        }
        (digits, count, exponent.parse().expect("an exponent is a number"))
    }
}

pub(super) fn put_float8(out: &mut BytesMut, value: f64) {
    if put_special(out, value) {
        return;
    }
    let size = value.abs();
    if put_few_decimals(out, size) {
        return;
    }
    let float = Float {
        fraction_bits: fraction_bits(u64::from(f64::MANTISSA_DIGITS), size.to_bits(), 1023),
        neighbours: (TWO_POW_53..TWO_POW_80)
            .contains(&size)
            .then(|| [size.next_down() as u128, size as u128, size.next_up() as u128]),
        is_whole: size >= TWO_POW_53,
        write: |precision| Short::scientific(size, precision),
        reads_back: |text: &str| text.parse() == Ok(size),
    };
    put_scientific(out, &float.shortest(), 15);
}

/// Writes a float that has at most four decimals and fifteen digits, as most amounts have; false for any other. No two
/// decimals of up to fifteen digits are one float, so if the float is that of such a decimal, no shorter one is.
fn put_few_decimals(out: &mut BytesMut, size: f64) -> bool {
    const SHIFT: f64 = 1e4;
    let shifted = (size * SHIFT).round();
    // both are whole numbers without rounding, so their quotient is the float nearest to the decimal
    if shifted >= 1e15 || shifted / SHIFT != size {
        return false;
    }
    let shifted = shifted as u64;
    let (whole, mut decimals) = (shifted / 10_000, shifted % 10_000);
    put_integer(out, whole);
    if decimals > 0 {
        let mut digits = [b'.', 0, 0, 0, 0];
        for digit in digits[1..].iter_mut().rev() {
            *digit = b'0' + (decimals % 10) as u8;
            decimals /= 10;
        }
        let end = digits.iter().rposition(|digit| *digit != b'0').expect("it has the point");
        out.put_slice(&digits[..=end]);
    }
    true
}

pub(super) fn put_float4(out: &mut BytesMut, value: f32) {
    if put_special(out, value.into()) {
        return;
    }
    let size = value.abs();
    let float = Float {
        fraction_bits: fraction_bits(u64::from(f32::MANTISSA_DIGITS), size.to_bits().into(), 127),
        neighbours: (TWO_POW_24..TWO_POW_40)
            .contains(&size)
            .then(|| [size.next_down() as u128, size as u128, size.next_up() as u128]),
        is_whole: size >= TWO_POW_24,
        write: |precision| Short::scientific(size, precision),
        reads_back: |text: &str| text.parse() == Ok(size),
    };
    put_scientific(out, &float.shortest(), 6);
}

/// How many bits a float has after its point: as many decimals as its exact value.
fn fraction_bits(mantissa_bits: u64, bits: u64, bias: i64) -> i64 {
    let stored = mantissa_bits - 1;
    let (biased, fraction) = ((bits >> stored) as i64, bits & ((1 << stored) - 1));
    let (exponent, mantissa) = if biased == 0 { (1 - bias, fraction) } else { (biased - bias, fraction | 1 << stored) };
    stored as i64 - exponent - i64::from(mantissa.trailing_zeros())
}

/// A positive float, and what is needed to write it as PostgreSQL's Ryu does where Rust's shortest decimal differs.
struct Float<W, R> {
    fraction_bits: i64,
    /// itself between the next smaller and greater one, where all three are whole
    neighbours: Option<[u128; 3]>,
    is_whole: bool,
    write: W,
    reads_back: R,
}

impl<W: Fn(Option<usize>) -> Short, R: Fn(&str) -> bool> Float<W, R> {
    fn shortest(&self) -> Short {
        let mut short = (self.write)(None);
        let (_, count, exponent) = short.parts();
        let decimals = count as i64 - 1 - i64::from(exponent);
        // exactly between two decimals of this length Ryu takes the even one, Rust the greater one
        if self.is_whole || self.fraction_bits == decimals + 1 {
            let even = (self.write)(Some(count - 1));
            if (self.reads_back)(even.text()) {
                short = even;
            }
        }
        // a decimal exactly between two floats is none for Ryu: 9.999999999999999e+22 and not 1e+23
        if let Some(neighbours) = self.neighbours
            && is_midpoint(&short, neighbours)
        {
            short = (count..17)
                .map(|precision| (self.write)(Some(precision)))
                .find(|longer| (self.reads_back)(longer.text()) && !is_midpoint(longer, neighbours))
                .expect("seventeen digits always read back");
        }
        short
    }
}

const TWO_POW_24: f32 = 16_777_216.0;
const TWO_POW_40: f32 = 1_099_511_627_776.0;
const TWO_POW_53: f64 = 9_007_199_254_740_992.0;
const TWO_POW_80: f64 = 1_208_925_819_614_629_174_706_176.0;

/// NaN, the infinities and the sign.
fn put_special(out: &mut BytesMut, value: f64) -> bool {
    if value.is_nan() {
        out.put_slice(b"NaN");
        return true;
    }
    if value.is_sign_negative() {
        out.put_u8(b'-');
    }
    if value.is_infinite() {
        out.put_slice(b"Infinity");
        return true;
    }
    false
}

/// Only whole numbers up to 2^80 can be decimals that lie exactly between two floats and are shorter than both.
fn is_midpoint(short: &Short, [below, exact, above]: [u128; 3]) -> bool {
    let (digits, count, exponent) = short.parts();
    let Ok(zeros) = u32::try_from(exponent + 1 - count as i32) else { return false };
    let Some(power) = 10_u128.checked_pow(zeros) else { return false };
    let whole = digits[..count].iter().fold(0_u128, |whole, digit| whole * 10 + u128::from(digit - b'0'));
    let twice = whole * power * 2;
    twice == below + exact || twice == exact + above
}

/// Plain notation for exponents from -4 up to `plain_below`, else at least two digits of exponent: `1e+20`, `1e-05`.
fn put_scientific(out: &mut BytesMut, short: &Short, plain_below: i32) {
    let (digits, count, exponent) = short.parts();
    let digits = &digits[..count];
    if (-4..0).contains(&exponent) {
        out.put_slice(b"0.");
        out.put_bytes(b'0', (-exponent - 1) as usize);
        out.put_slice(digits);
    } else if (0..plain_below).contains(&exponent) {
        let whole = exponent as usize + 1;
        out.put_slice(&digits[..whole.min(count)]);
        out.put_bytes(b'0', whole.saturating_sub(count));
        if count > whole {
            out.put_u8(b'.');
            out.put_slice(&digits[whole..]);
        }
    } else {
        out.put_u8(digits[0]);
        if count > 1 {
            out.put_u8(b'.');
            out.put_slice(&digits[1..]);
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(out, "e{sign}{:02}", exponent.abs()).expect("a buffer takes any text");
    }
}

fn put_day(out: &mut BytesMut, days: i64) -> bool {
    let civil = civil_from_days(days);
    let is_before_christ = civil.year <= 0;
    let year = if is_before_christ { 1 - civil.year } else { civil.year };
    write!(out, "{year:04}-{:02}-{:02}", civil.month, civil.day).expect("a buffer takes any text");
    is_before_christ
}

pub(super) fn put_date(out: &mut BytesMut, days: i32) {
    match days {
        i32::MAX => return out.put_slice(b"infinity"),
        i32::MIN => return out.put_slice(b"-infinity"),
        _ => {}
    }
    if put_day(out, days.into()) {
        out.put_slice(b" BC");
    }
}

/// `time` runs from 00:00:00 to 24:00:00.
pub(super) fn checked_time(time_us: i64) -> Result<i64> {
    if (0..=MICROS_PER_DAY).contains(&time_us) {
        Ok(time_us)
    } else {
        Err(Error::new(Kind::DatetimeFieldOverflow, "time out of range"))
    }
}

/// Hours, minutes, seconds and what is left of a second, from microseconds that are not negative.
fn put_time(out: &mut BytesMut, time_us: i64) {
    put_clock(out, time_us.unsigned_abs());
}

fn put_clock(out: &mut BytesMut, time_us: u64) {
    let (seconds, mut micros) = (time_us / 1_000_000, time_us % 1_000_000);
    write!(out, "{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
        .expect("a buffer takes any text");
    if micros > 0 {
        let mut width = 6;
        while micros % 10 == 0 {
            micros /= 10;
            width -= 1;
        }
        write!(out, ".{micros:0width$}").expect("a buffer takes any text");
    }
}

pub(super) fn put_timestamp(out: &mut BytesMut, timestamp_us: i64, zone: Option<Zone>) {
    match (timestamp_us, zone) {
        (i64::MAX, _) => out.put_slice(b"infinity"),
        (i64::MIN, _) => out.put_slice(b"-infinity"),
        (_, None) => put_moment(out, timestamp_us, (' ', None)),
        (_, Some(Zone::UTC)) => put_moment(out, timestamp_us, (' ', Some("+00"))),
        (_, Some(zone)) => {
            let offset = format_offset(zone.offset_at(timestamp_us));
            put_moment(out, zone.to_local(timestamp_us), (' ', Some(&offset)));
        }
    }
}

/// `offset`: what stands behind the time of day.
pub(super) fn put_moment(out: &mut BytesMut, timestamp_us: i64, (between, offset): (char, Option<&str>)) {
    let is_before_christ = put_day(out, timestamp_us.div_euclid(MICROS_PER_DAY));
    out.put_u8(between as u8);
    put_time(out, timestamp_us.rem_euclid(MICROS_PER_DAY));
    out.put_slice(offset.unwrap_or_default().as_bytes());
    if is_before_christ {
        out.put_slice(b" BC");
    }
}

/// As EncodeInterval() in PostgreSQL: parts that are zero are left out, and a plus sign follows a negative part.
pub(super) fn put_interval(out: &mut BytesMut, months: i32, days: i32, micros: i64) {
    let (mut is_first, mut after_negative) = (true, false);
    for (value, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if value != 0 {
            let space = if is_first { "" } else { " " };
            let plus = if after_negative && value > 0 { "+" } else { "" };
            let plural = if value == 1 { "" } else { "s" };
            write!(out, "{space}{plus}{value} {unit}{plural}").expect("a buffer takes any text");
            (is_first, after_negative) = (false, value < 0);
        }
    }
    if is_first || micros != 0 {
        if !is_first {
            out.put_u8(b' ');
        }
        match (micros < 0, after_negative) {
            (true, _) => out.put_u8(b'-'),
            (false, true) => out.put_u8(b'+'),
            (false, false) => {}
        }
        put_clock(out, micros.unsigned_abs());
    }
}

/// The rows of a list's items that belong to one of its rows.
pub(super) fn item_rows(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = list.value_offsets();
    offsets[row] as usize..offsets[row + 1] as usize
}

fn put_list(list: &List, row: usize, out: &mut BytesMut) -> Result<()> {
    let rows = item_rows(&list.offsets, row);
    if list.style == ListStyle::Vector {
        for (index, item) in rows.enumerate() {
            if index > 0 {
                out.put_u8(b' ');
            }
            put(&list.items.values, item, out)?;
        }
        return Ok(());
    }
    out.put_u8(b'{');
    let mut scratch = BytesMut::new();
    for (index, item) in rows.enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        put_item(&list.items, item, &mut scratch, out)?;
    }
    out.put_u8(b'}');
    Ok(())
}

/// As array_out() in PostgreSQL: quotes where an item could be taken for something else.
fn put_item(items: &Cells, item: usize, scratch: &mut BytesMut, out: &mut BytesMut) -> Result<()> {
    if items.is_null(item) {
        out.put_slice(b"NULL");
        return Ok(());
    }
    if items.values.is_number() {
        return put(&items.values, item, out);
    }
    scratch.clear();
    put(&items.values, item, scratch)?;
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | b'{' | b'}' | b',' | b' ' | b'\t'..=b'\r');
    if !scratch.is_empty() && !scratch.eq_ignore_ascii_case(b"NULL") && !scratch.iter().any(is_special) {
        out.put_slice(scratch);
        return Ok(());
    }
    out.put_u8(b'"');
    for &byte in scratch.iter() {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(byte);
    }
    out.put_u8(b'"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_of_few_decimals_are_written_as_all_others() {
        let mut bits = 0x9E37_79B9_7F4A_7C15_u64;
        let mut short = 0;
        for step in 0..200_000_u64 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let size = match step % 4 {
                0 => f64::from_bits(bits & (i64::MAX as u64)),
                1 => (bits >> 40) as f64 / [1.0, 10.0, 100.0, 1e3, 1e4, 1e5][(bits % 6) as usize],
                2 => ((bits >> 14) as f64) / 1e4,
                // beside such a decimal
                _ => ((bits >> 30) as f64 / 100.0).next_up(),
            };
            let mut out = BytesMut::new();
            if size.is_finite() && put_few_decimals(&mut out, size) {
                assert_eq!(out, size.to_string().as_bytes(), "{size:e}");
                short += 1;
            }
        }
        assert!(short > 50_000);
    }
}
