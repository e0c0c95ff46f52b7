//! `numeric`: decimal numbers of any length, with the number of digits that PostgreSQL shows behind the point.

mod functions;

use std::cmp::Ordering;
use std::fmt::{self, Display};
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use bigdecimal::num_bigint::{BigInt, Sign};
use bigdecimal::{BigDecimal, RoundingMode, Signed, ToPrimitive, Zero};

use crate::error::{Error, Result};

#[derive(Debug, Clone)]
pub enum Numeric {
    NegativeInfinity,
    Finite(BigDecimal),
    Infinity,
    NaN,
}

/// Digits that a quotient has at least, and that any number has at most behind the point.
const MIN_SIGNIFICANT_DIGITS: i64 = 16;
const MAX_SCALE: i64 = 1000;
const MAX_DIGITS_BEFORE_POINT: u64 = 131_072;

impl Numeric {
    pub fn of_float(number: f64, digits: usize) -> Numeric {
        if number.is_nan() {
            return Numeric::NaN;
        }
        if number.is_infinite() {
            return if number > 0.0 { Numeric::Infinity } else { Numeric::NegativeInfinity };
        }
        let text = format!("{number:.*e}", digits - 1);
        let number: BigDecimal = text.parse().expect("a float is a number");
        Numeric::Finite(shown(number.normalized()))
    }

    /// `unscaled` over so many tens.
    pub fn scaled(unscaled: i128, scale: i64) -> Numeric {
        Numeric::Finite(BigDecimal::new(BigInt::from(unscaled), scale))
    }

    /// The number times so many tens, halves away from zero; None if 128 bits do not hold it.
    pub fn unscaled(&self, scale: i64) -> Option<i128> {
        self.finite()?.with_scale_round(scale, RoundingMode::HalfUp).into_bigint_and_exponent().0.to_i128()
    }

    /// Without zeros at the end behind the point.
    pub fn trimmed(&self) -> Numeric {
        match self {
            Numeric::Finite(number) => Numeric::Finite(shown(number.normalized())),
            other => other.clone(),
        }
    }

    /// Bytes whose order is that of numbers, and which are the same for equal ones.
    pub fn sort_key(&self) -> Vec<u8> {
        let number = match self {
            Numeric::NegativeInfinity => return vec![0],
            Numeric::Infinity => return vec![4],
            Numeric::NaN => return vec![5],
            Numeric::Finite(number) => number.normalized(),
        };
        let (digits, scale) = number.into_bigint_and_exponent();
        let (sign, digits) = (digits.sign(), digits.magnitude().to_string());
        let exponent = i64::try_from(digits.len()).unwrap_or(i64::MAX).saturating_sub(scale);
        let exponent = (exponent.cast_unsigned() ^ (1 << 63)).to_be_bytes();
        let size = exponent.into_iter().chain(digits.into_bytes());
        match sign {
            Sign::NoSign => vec![2],
            Sign::Plus => std::iter::once(3).chain(size).collect(),
            // what is longer is smaller
            Sign::Minus => std::iter::once(1).chain(size.map(|byte| !byte)).chain(std::iter::once(u8::MAX)).collect(),
        }
    }

    pub fn finite(&self) -> Option<&BigDecimal> {
        match self {
            Numeric::Finite(number) => Some(number),
            _ => None,
        }
    }

    pub fn to_f64(&self) -> f64 {
        match self {
            Numeric::NegativeInfinity => f64::NEG_INFINITY,
            Numeric::Finite(number) => number.to_string().parse().unwrap_or(f64::NAN),
            Numeric::Infinity => f64::INFINITY,
            Numeric::NaN => f64::NAN,
        }
    }

    /// The nearest whole number, halves away from zero; None if it is not one of 64 bits.
    pub fn to_i64(&self) -> Option<i64> {
        self.finite()?.with_scale_round(0, RoundingMode::HalfUp).to_i64()
    }

    pub fn scale(&self) -> i64 {
        self.finite().map_or(0, |number| number.fractional_digit_count().max(0))
    }

    pub fn is_zero(&self) -> bool {
        self.finite().is_some_and(Zero::is_zero)
    }

    pub fn is_negative(&self) -> bool {
        match self {
            Numeric::NegativeInfinity => true,
            Numeric::Finite(number) => number.is_negative(),
            _ => false,
        }
    }

    /// With so many digits behind the point.
    pub fn rounded(&self, scale: i64) -> Numeric {
        match self.finite() {
            Some(number) => Numeric::Finite(shown(
                number.with_scale_round(scale.clamp(-MAX_SCALE * 2, MAX_SCALE), RoundingMode::HalfUp),
            )),
            None => self.clone(),
        }
    }

    pub fn truncated(&self, scale: i64) -> Numeric {
        match self.finite() {
            Some(number) => Numeric::Finite(shown(
                number.with_scale_round(scale.clamp(-MAX_SCALE * 2, MAX_SCALE), RoundingMode::Down),
            )),
            None => self.clone(),
        }
    }

    pub fn whole(&self, mode: RoundingMode) -> Numeric {
        match self.finite() {
            Some(number) => Numeric::Finite(number.with_scale_round(0, mode)),
            None => self.clone(),
        }
    }

    pub fn negated(&self) -> Numeric {
        match self {
            Numeric::NegativeInfinity => Numeric::Infinity,
            Numeric::Finite(number) => Numeric::Finite(-number.clone()),
            Numeric::Infinity => Numeric::NegativeInfinity,
            Numeric::NaN => Numeric::NaN,
        }
    }

    fn by_floats(&self, other: &Numeric, operation: fn(f64, f64) -> f64) -> Numeric {
        // at least one is no number: what floats do, NaN and infinities do
        let small = |number: &Numeric| match number {
            Numeric::Finite(number) if number.is_zero() => 0.0,
            Numeric::Finite(number) => {
                if number.is_negative() {
                    -1.0
                } else {
                    1.0
                }
            }
            other => other.to_f64(),
        };
        Numeric::of_float(operation(small(self), small(other)), 15)
    }

    pub fn add(&self, other: &Numeric) -> Result<Numeric> {
        match (self.finite(), other.finite()) {
            (Some(left), Some(right)) => checked(left + right, self.scale().max(other.scale())),
            _ => Ok(self.by_floats(other, |left, right| left + right)),
        }
    }

    pub fn subtract(&self, other: &Numeric) -> Result<Numeric> {
        self.add(&other.negated())
    }

    pub fn multiply(&self, other: &Numeric) -> Result<Numeric> {
        match (self.finite(), other.finite()) {
            (Some(left), Some(right)) => checked(left * right, (self.scale() + other.scale()).min(16_383)),
            _ => Ok(self.by_floats(other, |left, right| left * right)),
        }
    }

    /// Errors: 22012.
    pub fn divide(&self, other: &Numeric) -> Result<Numeric> {
        let (left, right) = match (self.finite(), other.finite()) {
            (_, Some(right)) if right.is_zero() && !matches!(self, Numeric::NaN) => return Err(division_by_zero()),
            (Some(left), Some(right)) => (left, right),
            (Some(_), None) if !matches!(other, Numeric::NaN) => return Ok(Numeric::from(0_i64)),
            _ => return Ok(self.by_floats(other, |left, right| left / right)),
        };
        let scale = self.quotient_scale(other);
        let quotient = exact_quotient(left, right, scale + 3);
        checked(quotient, scale)
    }

    /// How many digits a quotient has behind the point: at least 16 significant ones. Rule: `select_div_scale` of
    /// PostgreSQL, which counts in groups of four digits.
    fn quotient_scale(&self, other: &Numeric) -> i64 {
        let ((left_weight, left_first), (right_weight, right_first)) = (leading_group(self), leading_group(other));
        let mut weight = left_weight - right_weight;
        if left_first <= right_first {
            weight -= 1;
        }
        let scale = MIN_SIGNIFICANT_DIGITS - weight * 4;
        scale.max(self.scale()).max(other.scale()).clamp(0, MAX_SCALE)
    }

    pub fn remainder(&self, other: &Numeric) -> Result<Numeric> {
        match (self.finite(), other.finite()) {
            (Some(_), Some(right)) if right.is_zero() => Err(division_by_zero()),
            (Some(left), Some(right)) => {
                let scale = self.scale().max(other.scale());
                let whole = exact_quotient(left, right, 0).with_scale_round(0, RoundingMode::Down);
                checked(left - right * whole, scale)
            }
            (Some(_), None) if !matches!(other, Numeric::NaN) => Ok(self.clone()),
            _ => Ok(Numeric::NaN),
        }
    }

    /// Fits it to `numeric(precision, scale)`. Errors: 22003.
    pub fn fitted(&self, precision: i32, scale: i32) -> Result<Numeric> {
        let rounded = match self {
            Numeric::NaN => return Ok(Numeric::NaN),
            Numeric::Finite(_) => self.rounded(i64::from(scale)),
            _ => {
                return Err(overflow().with_detail(format!(
                    "A field with precision {precision}, scale {scale} cannot hold an infinite value."
                )));
            }
        };
        let number = rounded.finite().expect("a finite number stays one when it is rounded");
        let limit = BigDecimal::new(BigInt::from(1), -i64::from(precision - scale));
        if number.abs() >= limit {
            let power = match precision - scale {
                0 => "1".to_owned(),
                digits => format!("10^{digits}"),
            };
            return Err(overflow().with_detail(format!(
                "A field with precision {precision}, scale {scale} must round to an absolute value less than {power}."
            )));
        }
        Ok(rounded)
    }
}

fn overflow() -> Error {
    Error::new("22003", "numeric field overflow")
}

pub fn division_by_zero() -> Error {
    Error::new("22012", "division by zero")
}

/// A quotient cut behind so many digits.
fn exact_quotient(left: &BigDecimal, right: &BigDecimal, scale: i64) -> BigDecimal {
    let (left_digits, left_scale) = left.as_bigint_and_exponent();
    let (right_digits, right_scale) = right.as_bigint_and_exponent();
    let shift = scale - left_scale + right_scale;
    let ten = BigInt::from(10);
    let power = |n: i64| ten.pow(u32::try_from(n).expect("scales are small"));
    let (dividend, divisor) = if shift >= 0 {
        (left_digits * power(shift), right_digits)
    } else {
        (left_digits, right_digits * power(-shift))
    };
    BigDecimal::new(dividend / divisor, scale)
}

/// The weight of a number's first group of four digits, and its value.
fn leading_group(number: &Numeric) -> (i64, i64) {
    let Some(number) = number.finite() else { return (0, 0) };
    if number.is_zero() {
        return (0, 0);
    }
    let (digits, scale) = number.as_bigint_and_exponent();
    let text = digits.magnitude().to_string();
    // the place of the first digit: 0 for units, 1 for tens, -1 for tenths
    let place = i64::try_from(text.len()).unwrap_or(i64::MAX) - 1 - scale;
    let weight = place.div_euclid(4);
    let n_digits = usize::try_from(place.rem_euclid(4) + 1).expect("one to four");
    let group = format!("{text:0<4}")[..n_digits].parse().unwrap_or(0);
    (weight, group)
}

fn checked(number: BigDecimal, scale: i64) -> Result<Numeric> {
    let number = number.with_scale_round(scale, RoundingMode::HalfUp);
    let before_point = i64::try_from(number.digits()).unwrap_or(i64::MAX) - number.fractional_digit_count();
    if before_point > i64::try_from(MAX_DIGITS_BEFORE_POINT).unwrap_or(i64::MAX) {
        return Err(Error::new("22003", "value overflows numeric format"));
    }
    Ok(Numeric::Finite(number))
}

/// Without powers of ten in the place of digits.
fn shown(number: BigDecimal) -> BigDecimal {
    if number.fractional_digit_count() < 0 { number.with_scale(0) } else { number }
}

impl From<i64> for Numeric {
    fn from(number: i64) -> Numeric {
        Numeric::Finite(BigDecimal::from(number))
    }
}

impl From<i128> for Numeric {
    fn from(number: i128) -> Numeric {
        Numeric::Finite(BigDecimal::from(number))
    }
}

impl FromStr for Numeric {
    type Err = Error;

    /// Errors: 22P02, 22003.
    fn from_str(text: &str) -> Result<Numeric> {
        let wrong = || Error::new("22P02", format!("invalid input syntax for type numeric: \"{text}\""));
        let trimmed = text.trim_matches(|character: char| character.is_ascii_whitespace());
        match trimmed.to_ascii_lowercase().as_str() {
            "nan" => return Ok(Numeric::NaN),
            "infinity" | "+infinity" | "inf" | "+inf" => return Ok(Numeric::Infinity),
            "-infinity" | "-inf" => return Ok(Numeric::NegativeInfinity),
            _ => {}
        }
        let unsigned = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
        let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
            Some(at) => (&unsigned[..at], unsigned[at + 1..].parse::<i32>().map_err(|_| wrong())?),
            None => (unsigned, 0),
        };
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if (whole.is_empty() && fraction.is_empty()) || !is_digits(whole) || !is_digits(fraction) {
            return Err(wrong());
        }
        if exponent.unsigned_abs() > 131_072 || fraction.len() > 16_383 || whole.len() > 131_072 {
            return Err(Error::new("22003", "value overflows numeric format"));
        }
        let digits: BigInt = format!("{whole}{fraction}").parse().map_err(|_| wrong())?;
        let scale = i64::try_from(fraction.len()).expect("it was counted") - i64::from(exponent);
        let number = BigDecimal::new(if trimmed.starts_with('-') { -digits } else { digits }, scale);
        Ok(Numeric::Finite(shown(number)))
    }
}

impl Display for Numeric {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Numeric::NegativeInfinity => formatter.write_str("-Infinity"),
            Numeric::Finite(number) => {
                let (digits, scale) = number.as_bigint_and_exponent();
                let scale = usize::try_from(scale).unwrap_or(0);
                let text = digits.magnitude().to_string();
                let text = format!("{text:0>width$}", width = scale + 1);
                let (whole, fraction) = text.split_at(text.len() - scale);
                let sign = if digits.sign() == Sign::Minus { "-" } else { "" };
                let point = if scale > 0 { "." } else { "" };
                write!(formatter, "{sign}{whole}{point}{fraction}")
            }
            Numeric::Infinity => formatter.write_str("Infinity"),
            Numeric::NaN => formatter.write_str("NaN"),
        }
    }
}

impl PartialEq for Numeric {
    fn eq(&self, other: &Numeric) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Numeric {}

impl PartialOrd for Numeric {
    fn partial_cmp(&self, other: &Numeric) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// NaN equals itself and is above all others.
impl Ord for Numeric {
    fn cmp(&self, other: &Numeric) -> Ordering {
        let rank = |number: &Numeric| match number {
            Numeric::NegativeInfinity => 0,
            Numeric::Finite(_) => 1,
            Numeric::Infinity => 2,
            Numeric::NaN => 3,
        };
        match (self, other) {
            (Numeric::Finite(left), Numeric::Finite(right)) => left.cmp(right),
            (left, right) => rank(left).cmp(&rank(right)),
        }
    }
}

impl Hash for Numeric {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Numeric::Finite(number) => number.normalized().hash(state),
            other => other.to_string().hash(state),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Numeric {
        text.parse().expect(text)
    }

    #[test]
    fn quotients_have_the_digits_of_postgresql() {
        // as PostgreSQL 15 answers
        for (left, right, quotient) in [
            ("1", "3", "0.33333333333333333333"),
            ("10", "3", "3.3333333333333333"),
            ("100000", "3", "33333.333333333333"),
            ("1.00", "3.0000", "0.33333333333333333333"),
            ("6", "2", "3.0000000000000000"),
            ("0.001", "7", "0.00014285714285714286"),
            ("-7", "2", "-3.5000000000000000"),
            ("12345678901234567890", "7", "1763668414462081127"),
        ] {
            assert_eq!(number(left).divide(&number(right)).expect("no zero").to_string(), quotient, "{left} / {right}");
        }
        assert_eq!(number("1").divide(&number("0")).expect_err("zero").sqlstate, "22012");
    }

    #[test]
    fn texts_keep_their_digits() {
        for (text, shown) in [
            ("1.50", "1.50"),
            ("-0.0", "0.0"),
            ("1e3", "1000"),
            ("1.5e-3", "0.0015"),
            (".5", "0.5"),
            ("5.", "5"),
            ("NaN", "NaN"),
        ] {
            assert_eq!(number(text).to_string(), shown);
        }
        for text in ["", "1.2.3", "e5", "1e", "0x1", "--1"] {
            assert!(Numeric::from_str(text).is_err(), "{text}");
        }
        assert_eq!(number("7.5").remainder(&number("2")).expect("no zero").to_string(), "1.5");
        assert_eq!(number("-7").remainder(&number("3")).expect("no zero").to_string(), "-1");
        assert_eq!(number("123.456").fitted(5, 2).expect("fits").to_string(), "123.46");
        assert_eq!(number("1234.5").fitted(5, 2).expect_err("does not fit").sqlstate, "22003");
    }
}
