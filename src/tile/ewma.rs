//! Exponentially weighted moving average: sum of x * 2^-((ref - ts) / half life) over the sum of the weights.
//!
//! The quotient does not depend on the reference time, so a state takes its latest row's. The numerator is kept as
//! the quotient itself, which cannot overflow.

use crate::row::canonical_bits;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ewma {
    /// Time of the latest row, microseconds.
    pub reference_us: i64,
    /// The weighted mean.
    pub mean: f64,
    /// The sum of the weights at `reference_us`: 0 without rows, else at least 1.
    pub weight: f64,
}

impl Ewma {
    pub fn of(value: f64, ts_us: i64) -> Ewma {
        Ewma { reference_us: ts_us, mean: value, weight: 1.0 }
    }

    pub fn merge(&mut self, other: &Ewma, half_life_us: i64) {
        if other.weight == 0.0 {
            return;
        }
        if self.weight == 0.0 {
            *self = *other;
            return;
        }
        let reference_us = self.reference_us.max(other.reference_us);
        let own_weight = self.weight * decay(self.reference_us, reference_us, half_life_us);
        let other_weight = other.weight * decay(other.reference_us, reference_us, half_life_us);
        let weight = own_weight + other_weight;
        self.mean = weighted_mean(self.mean, own_weight / weight, other.mean, other_weight / weight);
        self.weight = weight;
        self.reference_us = reference_us;
    }

    /// Whether the weight can be one; false only of damaged bytes.
    pub fn is_sound(&self) -> bool {
        self.weight == 0.0 || (self.weight >= 1.0 && self.weight.is_finite())
    }

    /// `None` of no rows.
    pub fn value(&self) -> Option<f64> {
        (self.weight > 0.0).then_some(self.mean)
    }
}

/// The weight that a row of `ts_us` has at `reference_us`: 1 down to 0, never NaN.
fn decay(ts_us: i64, reference_us: i64, half_life_us: i64) -> f64 {
    let age_us = i128::from(reference_us) - i128::from(ts_us);
    (-(age_us as f64) / half_life_us as f64).exp2()
}

fn weighted_mean(a: f64, a_share: f64, b: f64, b_share: f64) -> f64 {
    if !a.is_finite() || !b.is_finite() {
        // a share is positive, however small
        return a + b;
    }
    let difference = b - a;
    if difference.is_finite() { a + difference * b_share } else { a * a_share + b * b_share }
}

/// NaN equals NaN.
impl PartialEq for Ewma {
    fn eq(&self, other: &Self) -> bool {
        self.reference_us == other.reference_us
            && canonical_bits(self.mean) == canonical_bits(other.mean)
            && self.weight == other.weight
    }
}
