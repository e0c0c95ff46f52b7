//! Numbers from their text and from `numeric`'s binary form.

use std::ops::RangeInclusive;

use arrow::datatypes::DataType;
use bytes::{Buf, Bytes};

use super::{invalid_syntax, need, wrong_length};
use crate::error::{Error, Kind, Result};
use crate::row::Value;

fn trim(text: &str) -> &str {
    text.trim_matches(|character: char| character.is_ascii_whitespace() || character == '\x0b')
}

pub fn integer(text: &str, type_name: &str, range: RangeInclusive<i64>) -> Result<i64> {
    let trimmed = trim(text);
    let digits = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid_syntax(type_name, text));
    }
    trimmed.parse().ok().filter(|value| range.contains(value)).ok_or_else(|| {
        let message = format!("value \"{text}\" is out of range for type {type_name}");
        Error::new(Kind::NumericValueOutOfRange, message)
    })
}

pub fn float8(text: &str) -> Result<f64> {
    float(text, "double precision", f64::is_infinite, |value| *value == 0.0)
}

pub fn float4(text: &str) -> Result<f32> {
    float(text, "real", f32::is_infinite, |value| *value == 0.0)
}

/// A number too great or too small is an error, not an infinity or a zero.
fn float<T: std::str::FromStr + Copy>(
    text: &str,
    type_name: &str,
    is_infinite: impl Fn(T) -> bool,
    is_zero: impl Fn(&T) -> bool,
) -> Result<T> {
    let trimmed = trim(text);
    let value: T = trimmed.parse().map_err(|_| invalid_syntax(type_name, text))?;
    let mantissa = trimmed.split(['e', 'E']).next().unwrap_or_default();
    let is_number = trimmed.bytes().any(|byte| byte.is_ascii_digit());
    let is_nonzero = mantissa.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
    if is_number && (is_infinite(value) || is_zero(&value) && is_nonzero) {
        let message = format!("\"{trimmed}\" is out of range for type {type_name}");
        return Err(Error::new(Kind::NumericValueOutOfRange, message));
    }
    Ok(value)
}

/// A decimal number: `unscaled` / 10^`scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numeric {
    pub unscaled: i128,
    pub scale: u8,
}

const MOST_DIGITS: u8 = 38;
const LIMIT: u128 = 10_u128.pow(MOST_DIGITS as u32);

impl Numeric {
    /// The number at the planned scale if that loses nothing, else at its own.
    pub fn fit(self, planned: &DataType) -> (DataType, Value) {
        if let DataType::Decimal128(_, scale) = planned
            && let Ok(scale) = u8::try_from(*scale)
            && let Some(unscaled) = self.at_scale(scale)
        {
            return (DataType::Decimal128(MOST_DIGITS, scale as i8), Value::Decimal(unscaled));
        }
        (DataType::Decimal128(MOST_DIGITS, self.scale as i8), Value::Decimal(self.unscaled))
    }

    /// The unscaled number at another scale, if it is the same number and fits.
    pub fn at_scale(self, scale: u8) -> Option<i128> {
        let power = 10_i128.checked_pow(u32::from(scale.abs_diff(self.scale)))?;
        let unscaled = if scale >= self.scale {
            self.unscaled.checked_mul(power)?
        } else if self.unscaled % power == 0 {
            self.unscaled / power
        } else {
            return None;
        };
        (unscaled.unsigned_abs() < LIMIT).then_some(unscaled)
    }

    /// `digits` · 10^`exponent`, each digit 0 to 9; zeros after the point that say nothing are dropped when they do
    /// not fit.
    fn of_digits(negative: bool, digits: &[u8], exponent: i64) -> Option<Numeric> {
        let first = digits.iter().position(|digit| *digit != 0).unwrap_or(digits.len());
        let mut digits = &digits[first..];
        let mut exponent = exponent;
        while exponent < 0 && digits.last() == Some(&0) && (digits.len() > 38 || exponent < -38) {
            digits = &digits[..digits.len() - 1];
            exponent += 1;
        }
        if digits.is_empty() {
            let scale = (-exponent).clamp(0, MOST_DIGITS.into()) as u8;
            return Some(Numeric { unscaled: 0, scale });
        }
        let zeros = exponent.max(0);
        if digits.len() as i64 + zeros > MOST_DIGITS.into() || exponent < -i64::from(MOST_DIGITS) {
            return None;
        }
        let whole = digits.iter().fold(0_i128, |whole, digit| whole * 10 + i128::from(*digit));
        let unscaled = whole * 10_i128.pow(zeros as u32);
        Some(Numeric { unscaled: if negative { -unscaled } else { unscaled }, scale: (-exponent).max(0) as u8 })
    }
}

fn too_long(shown: &str) -> Error {
    let message = format!("value \"{shown}\" is out of range for type numeric");
    Error::new(Kind::NumericValueOutOfRange, message).with_detail(format!("at most {MOST_DIGITS} digits can be held"))
}

fn not_finite() -> Error {
    Error::not_supported("NaN or infinity as a numeric")
}

pub fn numeric_of_text(text: &str) -> Result<Numeric> {
    let invalid = || invalid_syntax("numeric", text);
    let trimmed = trim(text);
    let unsigned = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    if ["nan", "inf", "infinity"].iter().any(|word| unsigned.eq_ignore_ascii_case(word)) {
        return Err(not_finite());
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        None => (unsigned, 0),
        Some((mantissa, exponent)) => {
            let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(invalid());
            }
            (mantissa, exponent.parse::<i32>().map_err(|_| too_long(text))?)
        }
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).map(|byte| byte.wrapping_sub(b'0')).collect();
    if digits.is_empty() || digits.iter().any(|digit| *digit > 9) {
        return Err(invalid());
    }
    let exponent = i64::from(exponent) - fraction.len() as i64;
    Numeric::of_digits(trimmed.starts_with('-'), &digits, exponent).ok_or_else(|| too_long(text))
}

/// As numeric_recv() in PostgreSQL.
pub fn numeric_of_binary(mut bytes: Bytes, number: usize) -> Result<Numeric> {
    let invalid = |what: &str| {
        Error::new(Kind::InvalidBinaryRepresentation, format!("invalid {what} in external \"numeric\" value"))
    };
    let header = need(&mut bytes, 8)?;
    let (count, weight) = (header.get_u16(), header.get_i16());
    let (sign, shown_scale) = (header.get_u16(), header.get_u16());
    if matches!(sign, 0xc000 | 0xd000 | 0xf000) {
        return Err(not_finite());
    }
    if !matches!(sign, 0 | 0x4000) {
        return Err(invalid("sign"));
    }
    if shown_scale > 0x3fff {
        return Err(invalid("scale"));
    }
    let count = usize::from(count);
    need(&mut bytes, 2 * count)?;
    let mut digits = Vec::with_capacity(4 * count);
    for _ in 0..count {
        let group = bytes.get_i16();
        if !(0..10_000).contains(&group) {
            return Err(invalid("digit"));
        }
        digits.extend([group / 1000, group / 100 % 10, group / 10 % 10, group % 10].map(|digit| digit as u8));
    }
    if bytes.has_remaining() {
        return Err(wrong_length(number));
    }
    let mut exponent = 4 * (i64::from(weight) - count as i64 + 1);
    // the last group may be longer than the scale that is shown
    while !digits.is_empty() && exponent < -i64::from(shown_scale) {
        digits.pop();
        exponent += 1;
    }
    if digits.is_empty() {
        exponent = 0;
    }
    Numeric::of_digits(sign == 0x4000, &digits, exponent).ok_or_else(|| too_long("numeric"))
}
