//! Sums of floats and integers are exact, in any order and any grouping.

use proptest::prelude::*;

use super::super::exact_sum::{FloatSum, IntegerSum};
use super::*;

/// The sum of floats, bit by bit: `bits[i]` counts how often 2^(i - 1074) is in it.
pub fn sum(numbers: &[f64]) -> f64 {
    let plain: f64 = numbers.iter().sum();
    if numbers.iter().any(|x| !x.is_finite()) {
        return plain;
    }
    let mut bits = vec![0_i64; 2300];
    for x in numbers {
        let (fraction, exponent) = (x.to_bits() & ((1 << 52) - 1), (x.to_bits() >> 52 & 2047) as usize);
        let mantissa = if exponent == 0 { fraction } else { fraction | 1 << 52 };
        for bit in 0..53 {
            if mantissa >> bit & 1 == 1 {
                bits[bit + exponent.max(1) - 1] += if *x < 0.0 { -1 } else { 1 };
            }
        }
    }
    let negative = bits.iter().rposition(|bit| *bit != 0).is_some_and(|_| carry(&mut bits.clone()) < 0);
    if negative {
        bits.iter_mut().for_each(|bit| *bit = -*bit);
    }
    carry(&mut bits);
    let magnitude = round(&bits);
    if negative { -magnitude } else { magnitude }
}

/// Makes every place 0 or 1; gives what is carried out of the top: -1 for a negative number, else 0.
fn carry(bits: &mut [i64]) -> i64 {
    let mut carried = 0;
    for bit in bits {
        let value = *bit + carried;
        *bit = value.rem_euclid(2);
        carried = value.div_euclid(2);
    }
    carried
}

fn round(bits: &[i64]) -> f64 {
    let Some(top) = bits.iter().rposition(|bit| *bit == 1) else { return 0.0 };
    let lowest = top.saturating_sub(52);
    let mut mantissa: u64 = (lowest..=top).rev().fold(0, |mantissa, bit| mantissa << 1 | bits[bit] as u64);
    let half = lowest > 0 && bits[lowest - 1] == 1;
    let beyond_half = lowest > 1 && bits[..lowest - 1].contains(&1);
    if half && (beyond_half || mantissa & 1 == 1) {
        mantissa += 1;
    }
    // in exact steps, since 2^(lowest - 1074) alone may not be a normal number; the last may reach infinity
    let power = |exponent: usize| 2f64.powi(exponent as i32);
    mantissa as f64 * 2f64.powi(-537) * power(lowest / 2) * 2f64.powi(-537) * power(lowest - lowest / 2)
}

fn exact(numbers: &[f64]) -> FloatSum {
    let mut sum = FloatSum::default();
    numbers.iter().for_each(|x| sum.update(*x));
    sum
}

fn any_finite() -> impl Strategy<Value = f64> {
    let edges =
        [0.0, -0.0, 1.0, -1.0, 0.1, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, -5e-324, 1e16, 2f64.powi(970)];
    let bits = any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |x| x.is_finite());
    let great = (1u64 << 52..=2046u64 << 52 | ((1 << 52) - 1), any::<bool>())
        .prop_map(|(bits, negative)| f64::from_bits(bits | u64::from(negative) << 63 | 0x7F0 << 52))
        .prop_filter("finite", |x| x.is_finite());
    prop_oneof![3 => bits, 2 => -100.0..100.0, 2 => prop::sample::select(edges.to_vec()), 3 => great]
}

#[test]
fn the_brute_force_adds() {
    assert_eq!(sum(&[0.1, 0.2]), 0.1 + 0.2);
    assert_eq!(sum(&[1e100, 1.0, -1e100]), 1.0);
    assert_eq!(sum(&[f64::MAX, f64::MAX]), f64::INFINITY);
    assert_eq!(sum(&[5e-324, 5e-324]), 1e-323);
    assert_eq!(sum(&[-3.5, 1.25]), -2.25);
    assert_eq!(sum(&[f64::MIN_POSITIVE, -5e-324]), f64::MIN_POSITIVE - 5e-324);
}

#[test]
fn sums_are_rounded_once() {
    let strategy = (prop::collection::vec(any_finite(), 1..40), any::<prop::sample::Index>());
    check(4000, strategy, |(mut numbers, cut)| {
        // sums that cancel are the hard ones
        let negated: Vec<f64> = numbers[..cut.index(numbers.len())].iter().map(|x| -x).collect();
        numbers.extend(negated);
        let whole = exact(&numbers);
        prop_assert_eq!(whole.sum().unwrap().to_bits(), (sum(&numbers) + 0.0).to_bits());
        let (left, right) = numbers.split_at(cut.index(numbers.len()));
        for (first, second) in [(left, right), (right, left)] {
            let mut merged = exact(first);
            merged.merge(&exact(second));
            prop_assert_eq!(merged.sum().unwrap().to_bits(), whole.sum().unwrap().to_bits());
            let average = merged.average().unwrap();
            prop_assert!(average.is_finite());
            let (merged, whole) = (merged.canonical(), whole.canonical());
            prop_assert_eq!(merged.overflows, whole.overflows);
            prop_assert!(merged.components().eq(whole.components()));
            prop_assert!(merged.components().count() <= 42);
            let back = FloatSum::from_parts(merged.count, merged.overflows, merged.components());
            prop_assert_eq!(&back, &whole);
        }
        Ok(())
    });
}

#[test]
fn intermediate_overflow_does_not_show() {
    let max = f64::MAX;
    assert_eq!(exact(&[max, max, -max]).sum(), Some(max));
    assert_eq!(exact(&[max, max, -max, -max, 1.0]).sum(), Some(1.0));
    assert_eq!(exact(&[-max, -max]).sum(), Some(f64::NEG_INFINITY));
    assert_eq!(exact(&[max, max]).average(), Some(max));
    assert_eq!(exact(&[max, max, max, max]).average(), Some(max));
    // half a unit in the last place more than MAX is a tie, and goes to infinity; a little less does not
    let half = 2f64.powi(970);
    assert_eq!(exact(&[max, half]).sum(), Some(f64::INFINITY));
    assert_eq!(exact(&[max, half, -5e-324]).sum(), Some(max));
    assert_eq!(exact(&[max, half, 5e-324]).sum(), Some(f64::INFINITY));
}

#[test]
fn values_that_are_not_finite_follow_ieee() {
    let (infinity, nan) = (f64::INFINITY, f64::NAN);
    assert_eq!(exact(&[1.0, infinity, f64::MAX]).sum(), Some(infinity));
    assert_eq!(exact(&[1.0, -infinity]).average(), Some(-infinity));
    assert!(exact(&[infinity, -infinity]).sum().unwrap().is_nan());
    assert!(exact(&[nan, 1.0]).average().unwrap().is_nan());
    assert_eq!(exact(&[]).sum(), None);
    assert_eq!(exact(&[-0.0]).sum().unwrap().to_bits(), 0);
}

#[test]
fn integers_beyond_38_digits_come_back_into_range() {
    let greatest = 10_i128.pow(38) - 1;
    let strategy =
        prop::collection::vec(prop_oneof![-greatest..=greatest, Just(greatest), Just(-greatest), -5..5_i128], 0..30);
    check(1000, strategy, |numbers| {
        let mut whole = IntegerSum::default();
        numbers.iter().for_each(|x| whole.update(*x));
        prop_assert!(whole.is_sound());
        // take everything but the last away again
        let mut rest = whole.clone();
        numbers.iter().skip(1).for_each(|x| rest.update(-*x));
        prop_assert_eq!(rest.sum(), Some(numbers.first().copied().unwrap_or(0)));
        let mut merged = IntegerSum::default();
        for part in numbers.rchunks(3) {
            let mut sum = IntegerSum::default();
            part.iter().for_each(|x| sum.update(*x));
            merged.merge(&sum);
        }
        prop_assert_eq!(merged, whole);
        Ok(())
    });
}
