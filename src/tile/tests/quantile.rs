//! approx_percentile depends on the multiset alone, and its ranks are right.

use proptest::prelude::*;

use super::super::quantile::Quantile;
use super::*;

fn state(numbers: &[f64]) -> Quantile {
    let mut quantile = Quantile::default();
    numbers.iter().for_each(|x| quantile.update(*x));
    quantile
}

/// How far `value` is from the fraction `p` of the sorted `numbers`.
fn rank_error(numbers: &[f64], value: f64, p: f64) -> f64 {
    let below = numbers.partition_point(|x| *x < value) as f64 / numbers.len() as f64;
    let up_to = numbers.partition_point(|x| *x <= value) as f64 / numbers.len() as f64;
    if p < below { below - p } else { (p - up_to).max(0.0) }
}

/// Deterministic, evenly spread over [0, 1).
fn random(seed: u64, count: usize) -> impl Iterator<Item = f64> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    })
    .take(count)
}

fn distributions() -> Vec<(&'static str, Vec<f64>)> {
    let uniform = |count| random(1, count).collect::<Vec<f64>>();
    let normal = |seed| {
        let pairs = random(seed, 40_000).zip(random(seed + 1, 40_000));
        pairs.map(|(a, b)| (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos())
    };
    let cents = |x: f64| (x * 100.0).round() / 100.0;
    vec![
        ("uniform", uniform(60_000)),
        ("normal", normal(3).collect()),
        ("far from zero", normal(5).map(|x| 1e6 + x).collect()),
        ("lognormal", normal(7).map(|x| (2.0 * x).exp()).collect()),
        ("integers", uniform(60_000).iter().map(|x| (x * 20_000.0 - 10_000.0).round()).collect()),
        (
            "prices, a third of them 99.99",
            uniform(30_000).iter().flat_map(|x| [cents(x * 200.0), cents(x * 130.0), 99.99]).collect(),
        ),
        ("mostly zero", uniform(50_000).iter().map(|x| if *x < 0.8 { 0.0 } else { 1e-310 * x }).collect()),
        ("two far values", (0..10_000).map(|x| if x % 2 == 0 { 1e-300 } else { 1e300 }).collect()),
    ]
}

#[test]
fn ranks_are_within_the_promise() {
    for (name, mut numbers) in distributions() {
        let quantile = state(&numbers);
        numbers.sort_by(f64::total_cmp);
        for p in [0.0, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.6, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0] {
            let value = quantile.percentile(p).unwrap();
            let error = rank_error(&numbers, value, p);
            assert!(error <= 0.01, "{name}: p = {p} gives {value}, off by {error}");
        }
    }
}

#[test]
fn a_state_is_a_function_of_the_multiset() {
    // few mantissa bits vary in some, many in others, so that octaves are coarsened to different degrees
    let number = (0..4u32, any::<u64>()).prop_map(|(width, bits)| {
        let mantissa = bits & ((1 << 52) - 1) & !((1 << (13 * (3 - width))) - 1);
        f64::from_bits((bits & 1 << 63) | (1022 + (bits >> 62 & 1)) << 52 | mantissa)
    });
    let strategy = (prop::collection::vec(number, 0..9000), any::<u64>());
    check(60, strategy, |(numbers, seed)| {
        let whole = state(&numbers);
        let mut parts = [const { Vec::new() }; 4];
        for (x, choice) in numbers.iter().zip(random(seed, numbers.len())) {
            // parts of very different size
            parts[(choice * choice * 4.0) as usize].push(*x);
        }
        let [a, b, c, d] = [0, 1, 2, 3].map(|part: usize| state(&parts[part]));
        let merged = |order: &[&Quantile]| {
            let mut merged = Quantile::default();
            order.iter().for_each(|part| merged.merge(part));
            merged
        };
        let right = merged(&[&c, &d]);
        prop_assert!(merged(&[&a, &b, &c, &d]) == whole);
        prop_assert!(merged(&[&right, &merged(&[&b, &a])]) == whole);
        let mut bytes = Vec::new();
        whole.encode(&mut bytes);
        let mut reader = crate::row::Reader::new(&bytes);
        prop_assert!(Quantile::decode(&mut reader).unwrap() == whole);
        prop_assert!(reader.is_empty());
        Ok(())
    });
}

#[test]
fn few_values_are_exact() {
    let quantile = state(&[3.0, 1.0, f64::NAN, 2.0, f64::INFINITY, 10.0, f64::NEG_INFINITY]);
    assert_eq!(quantile.percentile(0.5), Some(2.5));
    assert_eq!(quantile.percentile(0.0), Some(1.0));
    assert_eq!(quantile.percentile(1.0), Some(10.0));
    assert_eq!(state(&[f64::NAN]).percentile(0.5), None);
    assert_eq!(state(&[f64::MIN, f64::MAX]).percentile(0.5), Some(0.0));
    assert_eq!(state(&[-0.0]).percentile(0.5).unwrap().to_bits(), 0);
}
