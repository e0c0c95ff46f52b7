//! approx_count_distinct depends on the set of values alone, and counts within its promise.

use proptest::prelude::*;

use super::super::sketch::Sketch;
use super::*;

fn state(values: impl IntoIterator<Item = i64>, precision: u8) -> Sketch {
    let mut sketch = Sketch::default();
    values.into_iter().for_each(|value| sketch.update(&Value::Int(value), precision).unwrap());
    sketch
}

#[test]
fn estimates_are_a_function_of_the_set() {
    let strategy = (4..=16u8, prop_oneof![0..20usize, 0..400usize, 0..6000usize], any::<i64>(), 1..12usize);
    check(400, strategy, |(precision, count, first, parts)| {
        let values: Vec<i64> = (0..count as i64).map(|value| first.wrapping_add(value)).collect();
        let whole = state(values.iter().copied(), precision);
        let estimate = whole.estimate();
        // backwards, with repeats
        let reversed = state(values.iter().rev().chain(&values).copied(), precision);
        prop_assert_eq!(reversed.estimate(), estimate);
        // dealt out in turn, each part also having its neighbour's values
        let part = |part: usize| {
            let of_part =
                values.iter().enumerate().filter(move |(index, _)| index % parts == part || index % parts == part + 1);
            state(of_part.map(|(_, value)| *value), precision)
        };
        let mut forwards = Sketch::default();
        (0..parts).for_each(|index| forwards.merge(&part(index), precision).unwrap());
        let mut backwards = Sketch::default();
        (0..parts).rev().for_each(|index| {
            let stored = Sketch::from_bytes(&part(index).to_bytes(), precision).unwrap();
            backwards.merge(&stored, precision).unwrap();
        });
        prop_assert_eq!(forwards.estimate(), estimate);
        prop_assert_eq!(backwards.estimate(), estimate);
        prop_assert_eq!(&forwards, &whole);
        prop_assert_eq!(Sketch::from_bytes(&forwards.to_bytes(), precision).unwrap(), whole);
        Ok(())
    });
}

#[test]
fn counts_are_within_the_promise() {
    for precision in 4..=16 {
        let mut sketch = Sketch::default();
        let standard_error = 1.04 / f64::from(1u32 << precision).sqrt();
        for count in 1..=30_000_i64 {
            sketch.update(&text(&format!("N{count}")), precision).unwrap();
            if count < 100 || count % 97 == 0 {
                let allowed = (4.0 * standard_error * count as f64).max(2.0);
                let estimate = sketch.estimate();
                assert!((estimate - count).abs() as f64 <= allowed, "{count} at precision {precision}: {estimate}");
            }
        }
    }
}

#[test]
fn equal_values_count_once() {
    let mut sketch = Sketch::default();
    for float in [0.0, -0.0, f64::NAN, -f64::NAN] {
        sketch.update(&Value::Float(float), 8).unwrap();
    }
    assert_eq!(sketch.estimate(), 2);
    assert_eq!(Sketch::default().estimate(), 0);
}
