//! Sums without rounding: the value depends on the rows alone, not on their order or on how tiles cut them.
//!
//! Floats are kept as a non-overlapping expansion (J. R. Shewchuk, "Adaptive Precision Floating-Point Arithmetic and
//! Fast Robust Geometric Predicates", 1997, as in Python's `math.fsum`), rounded once, correctly, at the end.
//! Integers, and decimals by their unscaled numbers, are kept in base 10^38.

/// 2^1023; twice that is where float components overflow.
const HALF_OVERFLOW: f64 = f64::from_bits(2046 << 52);
/// 2^970: half a unit in the last place of `f64::MAX`. A sum this close to 2^1024 rounds to infinity.
const HALF_LAST_PLACE: f64 = f64::from_bits(1993 << 52);

/// The exact sum of a multiset of floats. The exact value is the sum of all components plus `overflows` * 2^1024.
#[derive(Debug, Clone, Default)]
pub(super) struct FloatSum {
    pub count: i64,
    pub specials: Specials,
    /// How often the components went over 2^1024 (less how often under -2^1024).
    pub overflows: i64,
    /// The component of greatest magnitude: apart, so that most sums need no memory of their own.
    greatest: f64,
    // The others: not zero, not overlapping, by increasing magnitude.
    lower: Vec<f64>,
}

/// Which values that are not finite were seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Specials {
    pub nan: bool,
    pub positive_infinity: bool,
    pub negative_infinity: bool,
}

impl Specials {
    /// The IEEE sum of what was seen, if anything was.
    fn value(self) -> Option<f64> {
        match (self.nan, self.positive_infinity, self.negative_infinity) {
            (false, false, false) => None,
            (false, true, false) => Some(f64::INFINITY),
            (false, false, true) => Some(f64::NEG_INFINITY),
            _ => Some(f64::NAN),
        }
    }

    /// One value of each sort that was seen.
    pub fn values(self) -> impl Iterator<Item = f64> {
        let seen = [
            (self.nan, f64::NAN),
            (self.positive_infinity, f64::INFINITY),
            (self.negative_infinity, f64::NEG_INFINITY),
        ];
        seen.into_iter().filter_map(|(seen, value)| seen.then_some(value))
    }

    fn note(&mut self, value: f64) {
        self.nan |= value.is_nan();
        self.positive_infinity |= value == f64::INFINITY;
        self.negative_infinity |= value == f64::NEG_INFINITY;
    }
}

impl FloatSum {
    /// The sum of `components` (and what is not finite among them) and `overflows` * 2^1024 over `count` rows.
    pub fn from_parts(count: i64, overflows: i64, components: impl IntoIterator<Item = f64>) -> FloatSum {
        let mut sum = FloatSum { count, overflows, ..FloatSum::default() };
        components.into_iter().for_each(|component| sum.add(component));
        sum
    }

    /// Counts and adds one row's value.
    pub fn update(&mut self, value: f64) {
        self.count = self.count.saturating_add(1);
        self.add(value);
    }

    pub fn merge(&mut self, other: &FloatSum) {
        self.count = self.count.saturating_add(other.count);
        self.specials.nan |= other.specials.nan;
        self.specials.positive_infinity |= other.specials.positive_infinity;
        self.specials.negative_infinity |= other.specials.negative_infinity;
        self.overflows = self.overflows.saturating_add(other.overflows);
        for component in &other.lower {
            self.add_finite(*component);
        }
        self.add_finite(other.greatest);
    }

    /// `None` of no rows.
    pub fn sum(&self) -> Option<f64> {
        (self.count > 0).then(|| self.specials.value().unwrap_or_else(|| self.rounded()))
    }

    /// `None` of no rows. Finite for finite rows, even where their sum is not.
    pub fn average(&self) -> Option<f64> {
        let sum = self.sum()?;
        let count = self.count as f64;
        if self.specials.value().is_some() || sum.is_finite() {
            return Some(sum / count);
        }
        let canonical = self.canonical();
        let halved = canonical.overflows as f64 * (HALF_OVERFLOW / count) + canonical.greatest / 2.0 / count;
        Some((halved * 2.0).clamp(f64::MIN, f64::MAX))
    }

    /// Adds a value without counting a row.
    fn add(&mut self, value: f64) {
        if value.is_finite() {
            self.add_finite(value);
        } else {
            self.specials.note(value);
        }
    }

    fn add_finite(&mut self, value: f64) {
        let mut carried = value;
        let mut kept = 0;
        for index in 0..self.lower.len() {
            let (sum, error) = add_exactly(carried, self.lower[index], &mut self.overflows);
            if error != 0.0 {
                self.lower[kept] = error;
                kept += 1;
            }
            carried = sum;
        }
        self.lower.truncate(kept);
        let (sum, error) = add_exactly(carried, self.greatest, &mut self.overflows);
        if error != 0.0 {
            self.lower.push(error);
        }
        self.greatest = if sum == 0.0 { self.lower.pop().unwrap_or(0.0) } else { sum };
    }

    /// The exact sum of the finite rows, rounded to nearest, ties to even; infinite only if that is out of range.
    fn rounded(&self) -> f64 {
        match self.overflows {
            0 => self.rounded_components(),
            1 if self.greatest < 0.0 => self.rounded_below_overflow(1.0),
            -1 if self.greatest > 0.0 => self.rounded_below_overflow(-1.0),
            overflows if overflows > 0 => f64::INFINITY,
            _ => f64::NEG_INFINITY,
        }
    }

    /// `sign` * 2^1024 and components of the other sign.
    fn rounded_below_overflow(&self, sign: f64) -> f64 {
        let mut components = FloatSum { overflows: 0, ..self.clone() };
        let mut against_limit = components.clone();
        against_limit.add_finite(sign * HALF_LAST_PLACE);
        // 2^1024 - 2^970 itself is a tie, and the even neighbour is the infinite one
        if against_limit.greatest * sign >= 0.0 {
            return sign * f64::INFINITY;
        }
        components.add_finite(sign * HALF_OVERFLOW);
        components.add_finite(sign * HALF_OVERFLOW);
        if components.overflows == 0 { components.rounded_components() } else { sign * f64::MAX }
    }

    /// The final step of Python's `math.fsum`.
    fn rounded_components(&self) -> f64 {
        let mut high = self.greatest;
        let mut rest = self.lower.iter().rev();
        while let Some(&component) = rest.next() {
            let sum = high + component;
            let low = component - (sum - high);
            high = sum;
            if low == 0.0 {
                continue;
            }
            // `high` may be a tie that a lower component of the same sign decides the other way
            if let Some(&next) = rest.next()
                && (low < 0.0) == (next < 0.0)
            {
                let doubled = low * 2.0;
                let rounded_away = high + doubled;
                if rounded_away - high == doubled {
                    high = rounded_away;
                }
            }
            break;
        }
        high
    }

    /// The components of the finite part, greatest first, in the one form that depends only on the exact sum (as
    /// long as that is in range): each is the rest, rounded. What is stored.
    pub fn canonical(&self) -> FloatSum {
        let mut rest = FloatSum { count: 0, specials: Specials::default(), ..self.clone() };
        let out_of_range = rest.rounded().is_infinite();
        let mut overflows = 0;
        if out_of_range {
            overflows = std::mem::take(&mut rest.overflows);
            if rest.greatest.abs() > HALF_OVERFLOW {
                let sign = rest.greatest.signum();
                rest.add_finite(-sign * HALF_OVERFLOW);
                rest.add_finite(-sign * HALF_OVERFLOW);
                overflows = overflows.saturating_add(if sign > 0.0 { 1 } else { -1 });
            }
        }
        let mut components = Vec::new();
        loop {
            let component = rest.rounded();
            if component == 0.0 || component.is_infinite() {
                break;
            }
            components.push(component);
            rest.add_finite(-component);
        }
        let greatest = components.first().copied().unwrap_or(0.0);
        let lower = components.into_iter().skip(1).rev().collect();
        FloatSum { count: self.count, specials: self.specials, overflows, greatest, lower }
    }

    /// All components, greatest magnitude first; none for zero.
    pub fn components(&self) -> impl Iterator<Item = f64> {
        std::iter::once(self.greatest).chain(self.lower.iter().rev().copied()).filter(|component| *component != 0.0)
    }
}

/// Equal as exact sums.
impl PartialEq for FloatSum {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (self.canonical(), other.canonical());
        a.count == b.count
            && a.specials == b.specials
            && a.overflows == b.overflows
            && a.greatest == b.greatest
            && a.lower == b.lower
    }
}

/// The rounded sum of two finite floats and its error, so that `a + b = sum + error` exactly, less the 2^1024 that
/// goes to `overflows` where the sum would not be finite.
fn add_exactly(a: f64, b: f64, overflows: &mut i64) -> (f64, f64) {
    let (mut large, small) = if a.abs() >= b.abs() { (a, b) } else { (b, a) };
    let sum = large + small;
    if sum.is_infinite() {
        // |large| is at least 2^1023 and both have one sign, so these steps are exact and stay in range
        let sign = large.signum();
        *overflows = overflows.saturating_add(if sign > 0.0 { 1 } else { -1 });
        large = large - sign * HALF_OVERFLOW - sign * HALF_OVERFLOW;
        return add_exactly(large, small, overflows);
    }
    let error = small - (sum - large);
    (sum, error)
}

/// 10^38: one more than the greatest 38-digit number.
const BASE: i128 = 10_i128.pow(38);

/// The exact sum of integers: `low + overflows * 10^38`, where |low| < 10^38 and the two have no opposite signs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct IntegerSum {
    pub count: i64,
    pub overflows: i64,
    pub low: i128,
}

impl IntegerSum {
    pub fn update(&mut self, value: i128) {
        self.count = self.count.saturating_add(1);
        self.add(value);
    }

    pub fn merge(&mut self, other: &IntegerSum) {
        self.count = self.count.saturating_add(other.count);
        self.overflows = self.overflows.saturating_add(other.overflows);
        self.add(other.low);
    }

    fn add(&mut self, value: i128) {
        let (sum, mut carry) = match self.low.checked_add(value) {
            Some(sum) => (sum, 0),
            // both have the same sign, so that taking one base away first makes room
            None => (self.low - value.signum() * BASE + value, value.signum()),
        };
        carry += sum / BASE;
        self.low = sum % BASE;
        self.overflows = self.overflows.saturating_add(i64::try_from(carry).expect("two numbers below 2 * 10^38"));
        if self.overflows > 0 && self.low < 0 {
            self.overflows -= 1;
            self.low += BASE;
        } else if self.overflows < 0 && self.low > 0 {
            self.overflows += 1;
            self.low -= BASE;
        }
    }

    /// Whether the fields keep what is said above; false only of damaged bytes.
    pub fn is_sound(&self) -> bool {
        let opposite = self.overflows.signum() * i64::try_from(self.low.signum()).unwrap_or(0) < 0;
        self.count >= 0 && self.low > -BASE && self.low < BASE && !opposite
    }

    /// `None` if it has more than 38 digits.
    pub fn sum(&self) -> Option<i128> {
        (self.overflows == 0).then_some(self.low)
    }

    /// `scale`: how many of the digits are after the decimal point. `None` of no rows.
    pub fn average(&self, scale: i8) -> Option<f64> {
        let total = self.overflows as f64 * 1e38 + self.low as f64;
        (self.count > 0).then(|| total / 10f64.powi(scale.into()) / self.count as f64)
    }
}
