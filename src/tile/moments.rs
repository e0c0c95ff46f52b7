//! Mean and central moments, updated and merged stably.
//!
//! Formulas: Chan, Golub & LeVeque (1979) for two, P. Pébay, "Formulas for Robust, One-Pass Parallel Computation of
//! Covariances and Arbitrary-Order Statistical Moments" (SAND2008-6212) for three and four. A row is merged as a
//! state of one row, so that folding rows and merging tiles are one and the same arithmetic.
//!
//! Limits: magnitudes whose second (for the shape: fourth) power leaves the range of a float, beyond about 1e150 (1e75),
//! give infinities or NaN, as do differences so small that the power is zero.

use crate::row::canonical_bits;

#[derive(Debug, Clone, Copy, Default)]
pub struct Moments {
    pub count: i64,
    pub mean: f64,
    /// Sums of the second, third and fourth powers of the differences from the mean.
    pub m2: f64,
    pub m3: f64,
    pub m4: f64,
}

impl Moments {
    /// NaN and infinities make every moment NaN, as in PostgreSQL.
    pub fn of(value: f64) -> Moments {
        let rest = if value.is_finite() { 0.0 } else { f64::NAN };
        Moments { count: 1, mean: value + rest, m2: rest, m3: rest, m4: rest }
    }

    /// `shape`: whether the third and fourth moment are wanted; else they stay zero.
    pub fn merge(&mut self, other: &Moments, shape: bool) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            if !shape {
                (self.m3, self.m4) = (0.0, 0.0);
            }
            return;
        }
        let (a, b) = (*self, *other);
        let (a_count, b_count) = (a.count as f64, b.count as f64);
        let count = a_count + b_count;
        let delta = b.mean - a.mean;
        let step = delta / count;
        self.count = a.count.saturating_add(b.count);
        self.mean = a.mean + step * b_count;
        self.m2 = a.m2 + b.m2 + delta * step * a_count * b_count;
        if !shape {
            return;
        }
        self.m3 = a.m3
            + b.m3
            + delta * step * step * a_count * b_count * (a_count - b_count)
            + 3.0 * step * (a_count * b.m2 - b_count * a.m2);
        self.m4 = a.m4
            + b.m4
            + delta
                * step
                * step
                * step
                * a_count
                * b_count
                * (a_count * a_count - a_count * b_count + b_count * b_count)
            + 6.0 * step * step * (a_count * a_count * b.m2 + b_count * b_count * a.m2)
            + 4.0 * step * (a_count * b.m3 - b_count * a.m3);
    }

    pub fn variance_population(&self) -> Option<f64> {
        (self.count >= 1).then(|| self.m2 / self.count as f64)
    }

    pub fn variance_sample(&self) -> Option<f64> {
        (self.count >= 2).then(|| self.m2 / (self.count - 1) as f64)
    }

    /// Population skewness, sqrt(n) m3 / m2^1.5. `None` where all values are equal.
    pub fn skewness(&self) -> Option<f64> {
        (self.m2 != 0.0).then(|| {
            let count = self.count as f64;
            self.m3 / count / (self.m2 / count) / (self.m2 / count).sqrt()
        })
    }

    /// Excess kurtosis, n m4 / m2^2 - 3. `None` where all values are equal.
    pub fn kurtosis(&self) -> Option<f64> {
        (self.m2 != 0.0).then(|| self.m4 / self.m2 / self.m2 * self.count as f64 - 3.0)
    }
}

/// NaN equals NaN.
impl PartialEq for Moments {
    fn eq(&self, other: &Self) -> bool {
        let bits = |moments: &Moments| [moments.mean, moments.m2, moments.m3, moments.m4].map(canonical_bits);
        self.count == other.count && bits(self) == bits(other)
    }
}
