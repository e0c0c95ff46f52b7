//! Exact multisets of values: count_distinct (the set), mode, entropy and top_k (value and count).

use std::collections::{BTreeMap, BTreeSet};

use crate::row::{Value, canonical_bits};

/// The one representative of values that are equal: one zero, one NaN.
pub(super) fn canonical(value: &Value) -> Value {
    match value {
        Value::Float(float) => Value::Float(f64::from_bits(canonical_bits(*float))),
        other => other.clone(),
    }
}

/// Distinct values, ascending, in their canonical form.
pub(super) type ValueSet = BTreeSet<Value>;
/// How often each value was seen, ascending by value, in their canonical form.
pub(super) type ValueCounts = BTreeMap<Value, i64>;

pub(super) fn add_count(counts: &mut ValueCounts, value: &Value, count: i64) {
    let seen = counts.entry(canonical(value)).or_insert(0);
    *seen = seen.saturating_add(count);
}

/// The most frequent value; of several the smallest.
pub(super) fn mode(counts: &ValueCounts) -> Option<Value> {
    top(counts, 1).pop()
}

/// The `k` most frequent values, most frequent first, equally frequent ones ascending.
pub(super) fn top(counts: &ValueCounts, k: usize) -> Vec<Value> {
    let mut ranked: Vec<(&Value, i64)> = counts.iter().map(|(value, count)| (value, *count)).collect();
    // stable: the map ascends by value
    ranked.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    ranked.into_iter().take(k).map(|(value, _)| value.clone()).collect()
}

/// Shannon entropy in bits; `None` of no rows.
pub(super) fn entropy(counts: &ValueCounts) -> Option<f64> {
    let mut spectrum: BTreeMap<i64, i64> = BTreeMap::new();
    for count in counts.values() {
        *spectrum.entry(*count).or_insert(0) += 1;
    }
    entropy_of(spectrum.into_iter(), counts.values().fold(0, |total: i64, count| total.wrapping_add(*count)))
}

/// The same from pairs of a count and how many values have it, ascending: so it is the same sum, in the same order,
/// whatever way the counts came about.
pub(super) fn entropy_of(spectrum: impl Iterator<Item = (i64, i64)>, total: i64) -> Option<f64> {
    if total == 0 {
        return None;
    }
    let mut bits = 0.0;
    for (count, values) in spectrum.filter(|(count, _)| *count != total) {
        let share = count as f64 / total as f64;
        bits -= values as f64 * share * share.log2();
    }
    Some(bits)
}
