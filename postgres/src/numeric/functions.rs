//! Roots, powers, exponentials and logarithms, with as many digits as PostgreSQL shows.

use bigdecimal::num_bigint::{BigInt, Sign};
use bigdecimal::{BigDecimal, One, Signed, ToPrimitive, Zero};

use super::{MAX_SCALE, MIN_SIGNIFICANT_DIGITS, Numeric, division_by_zero, leading_group};
use crate::error::{Error, Result};

/// Digits that are computed besides those which are shown.
const GUARD: i64 = 12;
/// Larger exponents of e overflow.
const MOST_EXPONENT: f64 = 6000.0;
const LOG10_E: f64 = std::f64::consts::LOG10_E;

fn overflow() -> Error {
    Error::new("22003", "value overflows numeric format")
}

fn power_of_ten(n: i64) -> BigInt {
    BigInt::from(10).pow(u32::try_from(n.max(0)).unwrap_or(u32::MAX))
}

/// A number as a whole one of units of so many digits.
fn fixed(number: &BigDecimal, digits: i64) -> BigInt {
    let (unscaled, scale) = number.as_bigint_and_exponent();
    if scale <= digits { unscaled * power_of_ten(digits - scale) } else { unscaled / power_of_ten(scale - digits) }
}

fn numeric(fixed: BigInt, digits: i64, scale: i64) -> Numeric {
    Numeric::Finite(BigDecimal::new(fixed, digits)).rounded(scale)
}

fn clamped(scale: i64) -> i64 {
    scale.clamp(0, MAX_SCALE)
}

/// e to the power of it, both in units of so many digits.
fn fixed_exp(exponent: &BigInt, digits: i64) -> BigInt {
    // smaller by powers of two, and back by squares
    let size = exponent.abs() / power_of_ten(digits);
    let halvings = 8 + i64::try_from(size.bits()).unwrap_or(0);
    let more = halvings + size.to_i64().unwrap_or(0);
    let digits_now = digits + more;
    let unit = power_of_ten(digits_now);
    let small: BigInt = (exponent * power_of_ten(more)) >> halvings;
    let (mut sum, mut term, mut n) = (unit.clone(), unit.clone(), 1);
    loop {
        term = &term * &small / &unit / n;
        if term.is_zero() || term == BigInt::from(-1) {
            break;
        }
        sum += &term;
        n += 1;
    }
    for _ in 0..halvings {
        sum = &sum * &sum / &unit;
    }
    sum / power_of_ten(more)
}

/// The natural logarithm of a number above zero, in units of so many digits.
fn fixed_ln(number: &BigDecimal, digits: i64) -> BigInt {
    let digits_now = digits + 10;
    let (unscaled, scale) = number.as_bigint_and_exponent();
    let length = i64::try_from(unscaled.magnitude().to_string().len()).unwrap_or(0);
    // a power of ten and what is between a third and three
    let mut exponent = length - scale;
    let mut mantissa = fixed(&BigDecimal::new(unscaled.clone(), length), digits_now);
    if mantissa < power_of_ten(digits_now) / 3 {
        exponent -= 1;
        mantissa = fixed(&BigDecimal::new(unscaled, length - 1), digits_now);
    }
    let own = near_one_ln(&mantissa, digits_now);
    let tens = if exponent == 0 {
        BigInt::zero()
    } else {
        let unit = power_of_ten(digits_now);
        // ln 10 = 2 ln 3 + ln (10/9)
        let three = near_one_ln(&(&unit * 3), digits_now);
        let rest = near_one_ln(&(&unit * 10 / 9), digits_now);
        (three * 2 + rest) * exponent
    };
    (own + tens) / power_of_ten(10)
}

fn near_one_ln(number: &BigInt, digits: i64) -> BigInt {
    let unit = power_of_ten(digits);
    let ratio = (number - &unit) * &unit / (number + &unit);
    let square = &ratio * &ratio / &unit;
    let (mut sum, mut power, mut n) = (ratio.clone(), ratio, 1);
    loop {
        power = &power * &square / &unit;
        if power.is_zero() || power == BigInt::from(-1) {
            break;
        }
        n += 2;
        sum += &power / n;
    }
    sum * 2
}

/// The place of the first digit of a logarithm, as far as doubles tell.
fn logarithm_weight(number: &Numeric) -> i64 {
    let Some(finite) = number.finite() else { return 0 };
    if finite.is_zero() || finite.is_negative() {
        return 0;
    }
    let tenth = |n: i64| BigDecimal::new(BigInt::from(n), 1);
    if *finite >= tenth(9) && *finite <= tenth(11) {
        let rest = Numeric::Finite(finite - BigDecimal::one());
        if rest.is_zero() {
            return 0;
        }
        let (weight, group) = leading_group(&rest);
        return weight * 4 + (group as f64).log10() as i64;
    }
    ln_f64(finite).abs().log10() as i64
}

fn ln_f64(number: &BigDecimal) -> f64 {
    let (unscaled, scale) = number.as_bigint_and_exponent();
    let text = unscaled.magnitude().to_string();
    let kept = text.len().min(17);
    let digits: f64 = text[..kept].parse().unwrap_or(1.0);
    let exponent = i64::try_from(text.len() - kept).unwrap_or(0) - scale;
    digits.ln() + exponent as f64 * std::f64::consts::LN_10
}

fn positive(number: &Numeric) -> Result<Option<&BigDecimal>> {
    if number.is_zero() {
        return Err(Error::new("2201E", "cannot take logarithm of zero"));
    }
    if number.is_negative() {
        return Err(Error::new("2201E", "cannot take logarithm of a negative number"));
    }
    Ok(number.finite())
}

impl Numeric {
    /// Errors: 2201F.
    pub fn square_root(&self) -> Result<Numeric> {
        if self.is_negative() {
            return Err(Error::new("2201F", "cannot take square root of a negative number"));
        }
        let Some(finite) = self.finite() else { return Ok(self.clone()) };
        let (weight, _) = leading_group(self);
        let scale = clamped((MIN_SIGNIFICANT_DIGITS - ((weight + 1) * 2 - 1)).max(self.scale()));
        Ok(self.root_of(finite, scale))
    }

    fn root_of(&self, finite: &BigDecimal, scale: i64) -> Numeric {
        let digits = scale + 2;
        let root = (fixed(finite, digits) * power_of_ten(digits)).sqrt();
        numeric(root, digits, scale)
    }

    /// The root with so many digits behind the point.
    pub fn square_root_with_scale(&self, scale: i64) -> Numeric {
        self.finite().map_or_else(|| self.clone(), |finite| self.root_of(finite, scale))
    }

    /// Errors: 22003.
    pub fn exponential(&self) -> Result<Numeric> {
        let Some(finite) = self.finite() else {
            return Ok(if matches!(self, Numeric::NegativeInfinity) { Numeric::from(0_i64) } else { self.clone() });
        };
        let size = self.to_f64();
        let scale = MIN_SIGNIFICANT_DIGITS - (size * LOG10_E).clamp(-2000.0, 2000.0) as i64;
        let scale = clamped(scale.max(self.scale()));
        if size.abs() >= MOST_EXPONENT {
            return if size > 0.0 { Err(overflow()) } else { Ok(Numeric::from(0_i64).rounded(scale)) };
        }
        let digits = scale + GUARD + ((size * LOG10_E).max(0.0) as i64);
        Ok(numeric(fixed_exp(&fixed(finite, digits), digits), digits, scale))
    }

    /// Errors: 2201E.
    pub fn natural_logarithm(&self) -> Result<Numeric> {
        let Some(finite) = positive(self)? else { return Ok(self.clone()) };
        let scale = clamped((MIN_SIGNIFICANT_DIGITS - logarithm_weight(self)).max(self.scale()));
        let digits = scale + GUARD;
        Ok(numeric(fixed_ln(finite, digits), digits, scale))
    }

    /// To a base. Errors: 2201E, 22012.
    pub fn logarithm(&self, base: &Numeric) -> Result<Numeric> {
        if matches!(self, Numeric::NaN) || matches!(base, Numeric::NaN) {
            return Ok(Numeric::NaN);
        }
        let (base_finite, own) = (positive(base)?, positive(self)?);
        let (Some(base_finite), Some(own)) = (base_finite, own) else {
            return Ok(match (base_finite, own) {
                (None, None) => Numeric::NaN,
                (None, _) => Numeric::from(0_i64),
                _ => Numeric::Infinity,
            });
        };
        let weight = logarithm_weight(self) - logarithm_weight(base);
        let scale = clamped((MIN_SIGNIFICANT_DIGITS - weight).max(self.scale()).max(base.scale()));
        let digits = scale + GUARD + 8;
        let divisor = fixed_ln(base_finite, digits);
        if divisor.is_zero() {
            return Err(division_by_zero());
        }
        let quotient = fixed_ln(own, digits) * power_of_ten(digits) / divisor;
        Ok(numeric(quotient, digits, scale))
    }

    /// Errors: 2201F, 22003.
    pub fn power(&self, exponent: &Numeric) -> Result<Numeric> {
        let one = Numeric::from(1_i64);
        if exponent.is_zero() || *self == one && exponent.finite().is_none() {
            let is_plain = self.finite().is_some() && exponent.finite().is_some();
            return Ok(if is_plain { one.rounded(MIN_SIGNIFICANT_DIGITS.max(self.scale())) } else { one });
        }
        let is_whole = exponent.finite().is_some_and(|finite| (finite % BigDecimal::one()).is_zero());
        if self.is_zero() && exponent.is_negative() {
            return Err(Error::new("2201F", "zero raised to a negative power is undefined"));
        }
        if self.is_negative() && exponent.finite().is_some() && !is_whole {
            return Err(Error::new("2201F", "a negative number raised to a non-integer power yields a complex result"));
        }
        let (Some(base), Some(by)) = (self.finite(), exponent.finite()) else {
            return Ok(self.endless_power(exponent));
        };
        if is_whole && let Some(times) = by.to_i64().filter(|times| i32::try_from(*times).is_ok()) {
            return self.whole_power(base, times);
        }
        if self.is_zero() {
            return Ok(self.rounded(MIN_SIGNIFICANT_DIGITS));
        }
        let size = ln_f64(&base.abs()) * exponent.to_f64();
        if size.abs() > MOST_EXPONENT * 1.003 {
            return if size > 0.0 { Err(overflow()) } else { Ok(Numeric::from(0_i64).rounded(MAX_SCALE)) };
        }
        let scale = MIN_SIGNIFICANT_DIGITS - (size * LOG10_E) as i64;
        let scale = clamped(scale.max(self.scale()).max(exponent.scale()));
        let whole_digits = (size * LOG10_E).max(0.0) as i64;
        let digits = scale + GUARD + whole_digits + 8;
        let by_digits = i64::try_from(by.digits()).unwrap_or(0);
        let ln = fixed_ln(&base.abs(), digits + by_digits);
        let (unscaled, by_scale) = by.as_bigint_and_exponent();
        let product = BigDecimal::new(ln * unscaled, digits + by_digits + by_scale);
        Ok(numeric(fixed_exp(&fixed(&product, digits), digits), digits, scale))
    }

    fn endless_power(&self, exponent: &Numeric) -> Numeric {
        if matches!(self, Numeric::NaN) || matches!(exponent, Numeric::NaN) {
            return Numeric::NaN;
        }
        let zero = || Numeric::from(0_i64);
        if exponent.finite().is_none() {
            let size = if self.is_negative() { self.negated() } else { self.clone() };
            let one = Numeric::from(1_i64);
            return match (size.cmp(&one), exponent.is_negative()) {
                (std::cmp::Ordering::Equal, _) => one,
                (std::cmp::Ordering::Greater, false) | (std::cmp::Ordering::Less, true) => Numeric::Infinity,
                _ => zero(),
            };
        }
        let is_odd = exponent.finite().is_some_and(|by| !(by % BigDecimal::from(2)).is_zero());
        match (exponent.is_negative(), self.is_negative() && is_odd) {
            (true, _) => zero(),
            (false, true) => Numeric::NegativeInfinity,
            (false, false) => Numeric::Infinity,
        }
    }

    fn whole_power(&self, base: &BigDecimal, times: i64) -> Result<Numeric> {
        let scale = MIN_SIGNIFICANT_DIGITS.max(self.scale()).min(MAX_SCALE);
        if self.is_zero() {
            return Ok(self.rounded(scale));
        }
        let weight = ln_f64(&base.abs()) * LOG10_E * times as f64;
        if weight > 131_072.0 {
            return Err(overflow());
        }
        if weight < -(scale as f64) - 2.0 {
            return Ok(Numeric::from(0_i64).rounded(scale));
        }
        // squares of so many significant digits as the result and its rounding need
        let significant = scale + weight.max(0.0) as i64 + GUARD + 10;
        let precision =
            std::num::NonZeroU64::new(u64::try_from(significant).unwrap_or(1)).unwrap_or(std::num::NonZeroU64::MIN);
        let (mut result, mut square, mut rest) = (BigDecimal::one(), base.clone(), times.unsigned_abs());
        while rest > 0 {
            if rest & 1 == 1 {
                result = (&result * &square).with_precision_round(precision, bigdecimal::RoundingMode::HalfUp);
            }
            rest >>= 1;
            if rest > 0 {
                square = square.square().with_precision_round(precision, bigdecimal::RoundingMode::HalfUp);
            }
        }
        if times < 0 {
            let (unscaled, own_scale) = result.as_bigint_and_exponent();
            let digits = scale + GUARD;
            let shift = digits + own_scale;
            let quotient = if shift >= 0 { power_of_ten(shift) / unscaled } else { BigInt::zero() };
            return Ok(numeric(quotient, digits, scale));
        }
        Ok(Numeric::Finite(result).rounded(scale))
    }

    /// The greatest common divisor, never negative.
    pub fn greatest_divisor(&self, other: &Numeric) -> Numeric {
        let (Some(left), Some(right)) = (self.finite(), other.finite()) else { return Numeric::NaN };
        let scale = self.scale().max(other.scale());
        let (mut left, mut right) = (fixed(left, scale).abs(), fixed(right, scale).abs());
        while !right.is_zero() {
            (left, right) = (right.clone(), left % right);
        }
        numeric(left, scale, scale)
    }

    /// The least common multiple. Errors: 22003.
    pub fn least_multiple(&self, other: &Numeric) -> Result<Numeric> {
        let (Some(left), Some(right)) = (self.finite(), other.finite()) else { return Ok(Numeric::NaN) };
        let scale = self.scale().max(other.scale());
        let (left, right) = (fixed(left, scale), fixed(right, scale));
        if left.is_zero() || right.is_zero() {
            return Ok(Numeric::from(0_i64).rounded(scale));
        }
        let divisor = fixed(self.greatest_divisor(other).finite().unwrap_or(&BigDecimal::one()), scale);
        Ok(numeric((left / divisor * right).abs(), scale, scale))
    }

    /// 1 for the first of so many equal parts of a range, 0 below it, one more than there are above.
    pub fn bucket(&self, low: &Numeric, high: &Numeric, count: i64) -> Option<i64> {
        let (own, low, high) = (self.finite()?, low.finite()?, high.finite()?);
        let scale = [own, low, high].iter().map(|number| number.fractional_digit_count()).max().unwrap_or(0).max(0);
        let (own, low, high) = (fixed(own, scale), fixed(low, scale), fixed(high, scale));
        let is_turned = low > high;
        let (from, size) = if is_turned { (&low - &own, &low - &high) } else { (&own - &low, &high - &low) };
        if from.sign() == Sign::Minus {
            return Some(0);
        }
        if from >= size {
            return Some(count + 1);
        }
        (from * count / size).to_i64().map(|place| place + 1)
    }
}
