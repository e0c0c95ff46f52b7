//! The distribution of a column of numbers: exact while few values are distinct, else a histogram of fixed buckets.
//!
//! A bucket has 1/64 of the width of an octave (the floats of one sign and exponent), the same one everywhere and always.
//! So the state is a function of the multiset of values, but for the rounding of mean and deviation and for which rare values
//! [`Frequencies`] keeps; how many values are at or below the end of a bucket is exact; and a quantile is wrong by no more
//! than 1/64 of itself. NaN and infinities are counted and else left out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::distinct::Distinct;
use super::exact;
use super::frequencies::{Frequencies, LIMIT};
use crate::error::Result;
use crate::tile::{Moments, Place, float_of, ordinal};

/// The low bits of a float that its bucket does not know: all but 6 of its mantissa.
const DROPPED_BITS: u32 = 46;

/// Values by their ordinals, which ascend with them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    count: u64,
    zeros: u64,
    non_finite: u64,
    least: Option<i64>,
    greatest: Option<i64>,
    #[serde(with = "exact")]
    mean: f64,
    /// the sum of the squared differences from the mean
    #[serde(with = "exact")]
    m2: f64,
    frequencies: Frequencies<i64>,
    /// by bucket, and the distinct values: once there are too many to be counted one by one
    #[serde(default, skip_serializing_if = "Option::is_none")]
    coarse: Option<Coarse>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Coarse {
    buckets: Buckets,
    distinct: Distinct,
}

/// Counts by bucket, ascending.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<(i64, u64)>", into = "Vec<(i64, u64)>")]
struct Buckets(BTreeMap<i64, u64>);

impl From<Vec<(i64, u64)>> for Buckets {
    fn from(pairs: Vec<(i64, u64)>) -> Self {
        Buckets(pairs.into_iter().collect())
    }
}

impl From<Buckets> for Vec<(i64, u64)> {
    fn from(buckets: Buckets) -> Self {
        buckets.0.into_iter().collect()
    }
}

impl Numbers {
    pub fn add(&mut self, values: impl Iterator<Item = f64> + Clone) -> Result<()> {
        let finite = values.clone().filter(|value| value.is_finite());
        let (n_values, sum) = finite.clone().fold((0_u64, 0.0), |(count, sum), value| (count + 1, sum + value));
        self.non_finite += values.count() as u64 - n_values;
        if n_values == 0 {
            return Ok(());
        }
        let mean = mean_of(finite.clone(), n_values, sum);
        let m2 = finite.clone().map(|value| (value - mean) * (value - mean)).sum();
        self.merge_moments(n_values, mean, m2);
        let (mut least, mut greatest) = (i64::MAX, i64::MIN);
        for value in finite {
            let ordinal = ordinal(value);
            (least, greatest) = (least.min(ordinal), greatest.max(ordinal));
            self.zeros += u64::from(ordinal == 0);
            self.frequencies.add(ordinal, 1);
            if let Some(coarse) = &mut self.coarse {
                coarse.add(ordinal, 1)?;
            } else {
                self.coarsen_if_many()?;
            }
        }
        self.widen(least, greatest);
        Ok(())
    }

    pub fn merge(&mut self, other: &Numbers) -> Result<()> {
        self.zeros += other.zeros;
        self.non_finite += other.non_finite;
        self.merge_moments(other.count, other.mean, other.m2);
        if let (Some(least), Some(greatest)) = (other.least, other.greatest) {
            self.widen(least, greatest);
        }
        match (&mut self.coarse, &other.coarse) {
            (Some(coarse), Some(theirs)) => coarse.merge(theirs)?,
            (Some(coarse), None) => coarse.merge(&Coarse::of(&other.frequencies)?)?,
            (None, Some(theirs)) => {
                let mut coarse = Coarse::of(&self.frequencies)?;
                coarse.merge(theirs)?;
                self.coarse = Some(coarse);
            }
            (None, None) => {
                // before values are forgotten
                let mut both = Coarse::default();
                if self.frequencies.len_with(&other.frequencies) > LIMIT {
                    both.merge(&Coarse::of(&self.frequencies)?)?;
                    both.merge(&Coarse::of(&other.frequencies)?)?;
                    self.coarse = Some(both);
                }
            }
        }
        self.frequencies.merge(&other.frequencies);
        Ok(())
    }

    fn merge_moments(&mut self, count: u64, mean: f64, m2: f64) {
        let moments = |count: u64, mean, m2| Moments { count: count.cast_signed(), mean, m2, m3: 0.0, m4: 0.0 };
        let mut both = moments(self.count, self.mean, self.m2);
        both.merge(&moments(count, mean, m2), false);
        (self.count, self.mean, self.m2) = (both.count.unsigned_abs(), both.mean, both.m2);
    }

    fn widen(&mut self, least: i64, greatest: i64) {
        self.least = Some(self.least.map_or(least, |known| known.min(least)));
        self.greatest = Some(self.greatest.map_or(greatest, |known| known.max(greatest)));
    }

    fn coarsen_if_many(&mut self) -> Result<()> {
        if !self.frequencies.is_exact() {
            self.coarse = Some(Coarse::of(&self.frequencies)?);
        }
        Ok(())
    }

    /// Finite values.
    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn zeros(&self) -> u64 {
        self.zeros
    }

    pub fn non_finite(&self) -> u64 {
        self.non_finite
    }

    pub fn min(&self) -> Option<f64> {
        self.least.map(float_of)
    }

    pub fn max(&self) -> Option<f64> {
        self.greatest.map(float_of)
    }

    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// Of a sample.
    pub fn stddev(&self) -> Option<f64> {
        (self.count > 1).then(|| (self.m2 / (self.count - 1) as f64).sqrt())
    }

    /// How many finite values are distinct, and whether that is exact.
    pub fn distinct(&self) -> (u64, bool) {
        match &self.coarse {
            None => (self.frequencies.len() as u64, true),
            Some(coarse) => (coarse.distinct.count(), coarse.distinct.is_exact()),
        }
    }

    /// The most frequent values and by how much their counts may be too low.
    pub fn top(&self, k: usize) -> (Vec<(f64, u64)>, u64) {
        let top = self.frequencies.top(k).into_iter().map(|(value, count)| (float_of(*value), count));
        (top.collect(), self.frequencies.lost())
    }

    pub fn is_exact(&self) -> bool {
        self.coarse.is_none()
    }

    /// The value below which the fraction `p` (0 to 1) lies, interpolated as percentile_cont does.
    pub fn quantile(&self, p: f64) -> Option<f64> {
        let steps = self.steps(!self.is_exact());
        let (least, greatest) = (self.min()?, self.max()?);
        let place = Place::of(p, self.count.cast_signed())?;
        Some(place.between(|rank| {
            let rank = rank.unsigned_abs();
            let index = steps.partition_point(|step| step.up_to <= rank).min(steps.len() - 1);
            let before = if index == 0 { 0 } else { steps[index - 1].up_to };
            let step = &steps[index];
            let (from, to) = (float_of(step.first).max(least), float_of(step.last).min(greatest));
            let n_values = step.up_to - before;
            // spread evenly over the bucket
            let place = (rank.saturating_sub(before) as f64 + 0.5) / n_values as f64;
            if step.first == step.last { from } else { from + (to - from) * place }
        }))
    }

    /// Ascending: single values, or the buckets of them.
    pub(super) fn steps(&self, coarse: bool) -> Vec<Step> {
        let mut up_to = 0;
        let mut step = |first, last, count| {
            up_to += count;
            Step { first, last, up_to }
        };
        let of_buckets = |buckets: &Buckets, step: &mut dyn FnMut(i64, i64, u64) -> Step| {
            let ends = |bucket: i64| (bucket << DROPPED_BITS, (bucket << DROPPED_BITS) | ((1 << DROPPED_BITS) - 1));
            let steps = buckets.0.iter().map(|(bucket, count)| {
                let (first, last) = ends(*bucket);
                step(first, last, *count)
            });
            steps.collect()
        };
        match &self.coarse {
            Some(known) => of_buckets(&known.buckets, &mut step),
            None if coarse => of_buckets(&buckets_of(&self.frequencies), &mut step),
            None => {
                self.frequencies.ascending().into_iter().map(|(value, count)| step(*value, *value, count)).collect()
            }
        }
    }
}

/// Values with neighbouring ordinals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    pub first: i64,
    pub last: i64,
    /// how many values there are up to its last one
    pub up_to: u64,
}

impl Coarse {
    fn of(frequencies: &Frequencies<i64>) -> Result<Coarse> {
        let mut coarse = Coarse { buckets: buckets_of(frequencies), distinct: Distinct::default() };
        coarse.distinct.estimate_from_here()?;
        for (value, _) in frequencies.ascending() {
            coarse.distinct.add(spread(*value))?;
        }
        Ok(coarse)
    }

    fn add(&mut self, ordinal: i64, count: u64) -> Result<()> {
        *self.buckets.0.entry(ordinal >> DROPPED_BITS).or_insert(0) += count;
        self.distinct.add(spread(ordinal))
    }

    fn merge(&mut self, other: &Coarse) -> Result<()> {
        for (bucket, count) in &other.buckets.0 {
            *self.buckets.0.entry(*bucket).or_insert(0) += count;
        }
        self.distinct.merge(&other.distinct)
    }
}

fn buckets_of(frequencies: &Frequencies<i64>) -> Buckets {
    let mut buckets = Buckets::default();
    for (value, count) in frequencies.ascending() {
        *buckets.0.entry(value >> DROPPED_BITS).or_insert(0) += count;
    }
    buckets
}

/// A hash of an ordinal.
fn spread(ordinal: i64) -> u64 {
    twox_hash::XxHash64::oneshot(0, &ordinal.to_be_bytes())
}

/// The mean; where the sum is too great for a float, of the values one by one.
fn mean_of(values: impl Iterator<Item = f64>, count: u64, sum: f64) -> f64 {
    if sum.is_finite() {
        return sum / count as f64;
    }
    values.map(|value| value / count as f64).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[f64]) -> Numbers {
        let mut numbers = Numbers::default();
        numbers.add(values.iter().copied()).unwrap();
        numbers
    }

    /// As percentile_cont of PostgreSQL.
    fn brute_quantile(sorted: &[f64], p: f64) -> f64 {
        let place = p * (sorted.len() - 1) as f64;
        let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
        low + (high - low) * (place - place.floor())
    }

    fn close(a: f64, b: f64, relative: f64) -> bool {
        (a - b).abs() <= relative * a.abs().max(b.abs()) + 1e-12
    }

    fn some_values() -> impl Strategy<Value = Vec<f64>> {
        prop_oneof![
            prop::collection::vec((-60_i32..1_300).prop_map(f64::from), 1..900),
            prop::collection::vec(-1e6_f64..1e6, 1..900),
            prop::collection::vec(
                prop_oneof![Just(0.0), Just(-0.0), Just(f64::NAN), Just(f64::INFINITY), -1.0_f64..1.0],
                1..60
            ),
        ]
    }

    proptest! {
        #[test]
        fn figures_are_those_of_all_values(values in some_values()) {
            let numbers = of(&values);
            let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
            sorted.sort_by(f64::total_cmp);
            let n = sorted.len();
            prop_assert_eq!(numbers.count(), n as u64);
            prop_assert_eq!(numbers.non_finite(), (values.len() - n) as u64);
            prop_assert_eq!(numbers.zeros(), sorted.iter().filter(|value| **value == 0.0).count() as u64);
            if n == 0 {
                prop_assert_eq!(numbers.mean(), None);
                prop_assert_eq!(numbers.quantile(0.5), None);
                return Ok(());
            }
            let mean = sorted.iter().sum::<f64>() / n as f64;
            let scale = sorted.iter().map(|value| value.abs()).fold(0.0, f64::max);
            prop_assert!((numbers.mean().unwrap() - mean).abs() <= 1e-12 * scale + 1e-300);
            if n > 1 {
                let m2: f64 = sorted.iter().map(|value| (value - mean).powi(2)).sum();
                prop_assert!((numbers.stddev().unwrap() - (m2 / (n - 1) as f64).sqrt()).abs() <= 1e-9 * scale + 1e-300);
            }
            prop_assert_eq!(numbers.min().unwrap(), sorted[0]);
            prop_assert_eq!(numbers.max().unwrap(), sorted[n - 1]);
            for p in [0.0, 0.01, 0.25, 0.5, 0.9, 1.0] {
                let brute = brute_quantile(&sorted, p);
                let found = numbers.quantile(p).unwrap();
                if numbers.is_exact() {
                    prop_assert!(close(found, brute, 1e-12), "{} {} {}", p, found, brute);
                } else {
                    // between two values the bound holds for the greater of them
                    let place = p * (n - 1) as f64;
                    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
                    let bound = low.abs().max(high.abs()) / 64.0;
                    prop_assert!((found - brute).abs() <= bound + 1e-12, "{} {} {}", p, found, brute);
                }
            }
        }

        #[test]
        fn parts_in_any_order_are_the_whole(parts in prop::collection::vec(some_values(), 1..5)) {
            let whole = of(&parts.concat());
            let mut forth = Numbers::default();
            parts.iter().for_each(|part| forth.merge(&of(part)).unwrap());
            let mut back = Numbers::default();
            parts.iter().rev().for_each(|part| back.merge(&of(part)).unwrap());
            for merged in [&forth, &back] {
                prop_assert_eq!(merged.is_exact(), whole.is_exact());
                prop_assert_eq!(merged.steps(false), whole.steps(false));
                prop_assert_eq!(merged.steps(true), whole.steps(true));
                prop_assert_eq!(merged.distinct(), whole.distinct());
                prop_assert_eq!((merged.min(), merged.max()), (whole.min(), whole.max()));
                prop_assert_eq!((merged.zeros(), merged.count()), (whole.zeros(), whole.count()));
                if let (Some(a), Some(b)) = (merged.mean(), whole.mean()) {
                    let scale = whole.min().unwrap().abs().max(whole.max().unwrap().abs());
                    prop_assert!((a - b).abs() <= 1e-12 * scale + 1e-300);
                }
                let stored: Numbers = serde_json::from_str(&serde_json::to_string(merged).unwrap()).unwrap();
                prop_assert_eq!(stored.steps(false), merged.steps(false));
                prop_assert_eq!(stored.stddev(), merged.stddev());
            }
        }
    }
}
