//! How far two distributions of a column are apart. `sql/reference/drift.md` has the formulas in words.
//!
//! Numbers fall into bins between the deciles of the baseline, categories into one bin for each of the most frequent of
//! either side and one for the rest; NULLs are a bin of their own, NaN and infinities another.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::column::{Body, ColumnProfile};
use super::exact;
use super::numbers::{Numbers, Step};

/// Least share of a bin in the population stability index, which has the logarithm of it.
const LEAST_SHARE: f64 = 1e-4;
/// So many categories of either side have bins of their own.
const CATEGORIES: usize = 20;
const QUANTILE_BINS: u64 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// population stability index
    #[serde(with = "exact")]
    pub psi: f64,
    /// Jensen-Shannon distance, 0 to 1
    #[serde(with = "exact")]
    pub js: f64,
    /// Kolmogorov-Smirnov statistic, of numbers
    #[serde(with = "exact::option")]
    pub ks: Option<f64>,
    /// the greatest difference of the shares of a bin
    #[serde(with = "exact::option")]
    pub share_change: Option<f64>,
}

/// `None` if either has no rows, or they are of different types.
pub fn drift(baseline: &ColumnProfile, current: &ColumnProfile) -> Option<Drift> {
    if baseline.rows == 0 || current.rows == 0 {
        return None;
    }
    let mut bins: Vec<(u64, u64)> = vec![(baseline.nulls, current.nulls)];
    let mut ks = None;
    match (&baseline.body, &current.body) {
        (Body::Numbers(base), Body::Numbers(now)) => {
            bins.push((base.non_finite(), now.non_finite()));
            let coarse = !base.is_exact() || !now.is_exact();
            let (base_steps, now_steps) = (base.steps(coarse), now.steps(coarse));
            bins.extend(bins_of_numbers(&base_steps, &now_steps));
            ks = kolmogorov_smirnov((base, &base_steps), (now, &now_steps));
        }
        (Body::Categories { frequencies: base, .. }, Body::Categories { frequencies: now, .. }) => {
            let top: BTreeSet<&String> =
                base.top(CATEGORIES).into_iter().chain(now.top(CATEGORIES)).map(|(value, _)| value).collect();
            let (mut base_rest, mut now_rest) = (baseline.rows - baseline.nulls, current.rows - current.nulls);
            for value in top {
                let (base, now) = (base.count(value), now.count(value));
                base_rest -= base;
                now_rest -= now;
                bins.push((base, now));
            }
            bins.push((base_rest, now_rest));
        }
        (Body::Lengths(base), Body::Lengths(now)) => {
            bins.push((base.empty, now.empty));
            bins.push((base.count - base.empty, now.count - now.empty));
        }
        (Body::Opaque, Body::Opaque) => bins.push((baseline.rows - baseline.nulls, current.rows - current.nulls)),
        _ => return None,
    }
    let shares: Vec<(f64, f64)> = bins
        .into_iter()
        // of no meaning where neither has any
        .filter(|bin| *bin != (0, 0))
        .map(|(base, now)| (base as f64 / baseline.rows as f64, now as f64 / current.rows as f64))
        .collect();
    let share_change = shares.iter().map(|(base, now)| (base - now).abs()).reduce(f64::max);
    Some(Drift { psi: stability_index(&shares), js: jensen_shannon(&shares), ks, share_change })
}

/// Sum of (q - p) ln(q / p), with no share below [`LEAST_SHARE`].
fn stability_index(shares: &[(f64, f64)]) -> f64 {
    let of_bin = |(base, now): &(f64, f64)| {
        let (base, now) = (base.max(LEAST_SHARE), now.max(LEAST_SHARE));
        (now - base) * (now / base).ln()
    };
    shares.iter().map(of_bin).sum()
}

/// The root of the divergence to base 2: the mean divergence of both from their middle.
fn jensen_shannon(shares: &[(f64, f64)]) -> f64 {
    let part = |share: f64, middle: f64| if share > 0.0 { share * (share / middle).log2() } else { 0.0 };
    let of_bin = |(base, now): &(f64, f64)| {
        let middle = (base + now) / 2.0;
        (part(*base, middle) + part(*now, middle)) / 2.0
    };
    let divergence: f64 = shares.iter().map(of_bin).sum();
    divergence.clamp(0.0, 1.0).sqrt()
}

/// Counts between the deciles of the baseline: above one, up to and with the next.
fn bins_of_numbers(base: &[Step], now: &[Step]) -> Vec<(u64, u64)> {
    let Some(total) = base.last().map(|step| step.up_to) else {
        let of_now = now.last().map_or(0, |step| step.up_to);
        return vec![(0, of_now)];
    };
    // the least value with at least this share of all at or below it
    let decile = |number: u64| {
        let rank = (number * total).div_ceil(QUANTILE_BINS).max(1);
        base[base.partition_point(|step| step.up_to < rank)].last
    };
    let ends: BTreeSet<i64> = (1..QUANTILE_BINS).map(decile).collect();
    let ends = ends.into_iter().map(Some).chain([None]);
    let mut before = (0, 0);
    ends.map(|end| {
        let up_to = (up_to(base, end), up_to(now, end));
        let bin = (up_to.0 - before.0, up_to.1 - before.1);
        before = up_to;
        bin
    })
    .collect()
}

/// How many values are at or below an end of a step; of all without one.
fn up_to(steps: &[Step], end: Option<i64>) -> u64 {
    let index = end.map_or(steps.len(), |end| steps.partition_point(|step| step.last <= end));
    if index == 0 { 0 } else { steps[index - 1].up_to }
}

/// The greatest difference of the shares of the values that are at or below the same one.
fn kolmogorov_smirnov((base, base_steps): (&Numbers, &[Step]), (now, now_steps): (&Numbers, &[Step])) -> Option<f64> {
    if base.count() == 0 || now.count() == 0 {
        return None;
    }
    let ends = base_steps.iter().chain(now_steps).map(|step| step.last).collect::<BTreeSet<i64>>();
    let difference = |end: i64| {
        let share = |steps: &[Step], count: u64| up_to(steps, Some(end)) as f64 / count as f64;
        (share(base_steps, base.count()) - share(now_steps, now.count())).abs()
    };
    ends.into_iter().map(difference).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, StringArray};
    use proptest::prelude::*;

    use super::*;
    use crate::monitor::values::{Class, Values};

    fn of(array: &ArrayRef) -> ColumnProfile {
        let mut profile = ColumnProfile::new(Class::of(array.data_type()));
        profile.add(&Values::of(array, Class::of(array.data_type())).unwrap(), 0..array.len()).unwrap();
        profile
    }

    fn numbers(values: &[Option<f64>]) -> ColumnProfile {
        of(&(Arc::new(Float64Array::from(values.to_vec())) as ArrayRef))
    }

    /// The definition, value by value.
    fn brute(base: &[Option<f64>], now: &[Option<f64>]) -> (f64, f64, Option<f64>) {
        let sorted = |values: &[Option<f64>]| {
            let mut sorted: Vec<f64> = values.iter().flatten().copied().collect();
            sorted.sort_by(f64::total_cmp);
            sorted
        };
        let (a, b) = (sorted(base), sorted(now));
        let mut edges: Vec<f64> =
            (1..10).filter_map(|number| a.get((number * a.len()).div_ceil(10).max(1) - 1).copied()).collect();
        edges.dedup();
        let count = |values: &[f64], bin: usize| {
            let low = if bin == 0 { f64::NEG_INFINITY } else { edges[bin - 1] };
            let high = edges.get(bin).copied().unwrap_or(f64::INFINITY);
            values.iter().filter(|value| low < **value && **value <= high).count()
        };
        let mut bins: Vec<(usize, usize)> = (0..=edges.len()).map(|bin| (count(&a, bin), count(&b, bin))).collect();
        bins.push((base.len() - a.len(), now.len() - b.len()));
        let (mut psi, mut js) = (0.0, 0.0);
        for (p, q) in bins.into_iter().filter(|bin| *bin != (0, 0)) {
            let (p, q) = (p as f64 / base.len() as f64, q as f64 / now.len() as f64);
            let (p_least, q_least) = (p.max(1e-4), q.max(1e-4));
            psi += (q_least - p_least) * (q_least / p_least).ln();
            let m = (p + q) / 2.0;
            js += [p, q].iter().filter(|x| **x > 0.0).map(|x| x * (x / m).log2() / 2.0).sum::<f64>();
        }
        let below =
            |values: &[f64], at: f64| values.iter().filter(|value| **value <= at).count() as f64 / values.len() as f64;
        let ks = a.iter().chain(&b).map(|at| (below(&a, *at) - below(&b, *at)).abs()).reduce(f64::max);
        (psi, js.max(0.0).sqrt(), ks.filter(|_| !a.is_empty() && !b.is_empty()))
    }

    fn some_numbers() -> impl Strategy<Value = Vec<Option<f64>>> {
        prop::collection::vec(prop::option::weighted(0.9, (-30_i32..60).prop_map(f64::from)), 1..300)
    }

    proptest! {
        #[test]
        fn few_distinct_values_drift_as_defined(base in some_numbers(), now in some_numbers()) {
            let found = drift(&numbers(&base), &numbers(&now)).unwrap();
            let (psi, js, ks) = brute(&base, &now);
            prop_assert!((found.psi - psi).abs() < 1e-9, "{} {}", found.psi, psi);
            // the root of a rounded zero
            prop_assert!((found.js - js).abs() < 1e-6, "{} {}", found.js, js);
            prop_assert_eq!(found.ks.is_some(), ks.is_some());
            if let (Some(found), Some(ks)) = (found.ks, ks) {
                prop_assert!((found - ks).abs() < 1e-12);
            }
        }

        #[test]
        fn many_distinct_values_differ_by_a_bucket(shift in 0.0_f64..50.0, seed in 0_u64..1_000) {
            let random = |seed: u64| {
                let mut bits = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
                std::iter::repeat_with(move || {
                    bits ^= bits << 13;
                    bits ^= bits >> 7;
                    bits ^= bits << 17;
                    (bits >> 11) as f64 / (1_u64 << 53) as f64 * 100.0
                })
            };
            let base: Vec<Option<f64>> = random(seed).take(2_000).map(Some).collect();
            let now: Vec<Option<f64>> = random(seed + 7).take(2_000).map(|value| Some(value + shift)).collect();
            let found = drift(&numbers(&base), &numbers(&now)).unwrap();
            let (_, _, ks) = brute(&base, &now);
            prop_assert!((found.ks.unwrap() - ks.unwrap()).abs() < 0.03, "{:?} {:?}", found.ks, ks);
        }
    }

    #[test]
    fn a_distribution_does_not_differ_from_itself() {
        let values: Vec<Option<f64>> =
            (0..5_000).map(|number| (number % 7 != 0).then_some(f64::from(number).sqrt())).collect();
        let found = drift(&numbers(&values), &numbers(&values)).unwrap();
        assert_eq!(found, Drift { psi: 0.0, js: 0.0, ks: Some(0.0), share_change: Some(0.0) });
        assert_eq!(drift(&numbers(&[]), &numbers(&values)), None);
    }

    #[test]
    fn categories_are_counted_by_hand() {
        let texts = |values: &[&str]| of(&(Arc::new(StringArray::from(values.to_vec())) as ArrayRef));
        let found = drift(&texts(&["a", "a", "a", "b"]), &texts(&["a", "b", "c", "c"])).unwrap();
        let psi: f64 =
            [(0.75, 0.25), (0.25, 0.25), (1e-4, 0.5)].iter().map(|(p, q): &(f64, f64)| (q - p) * (q / p).ln()).sum();
        assert!((found.psi - psi).abs() < 1e-12);
        assert_eq!((found.ks, found.share_change), (None, Some(0.5)));
        // nothing in common
        let apart = drift(&texts(&["a"]), &texts(&["b"])).unwrap();
        assert_eq!((apart.js, apart.share_change), (1.0, Some(1.0)));
    }
}
