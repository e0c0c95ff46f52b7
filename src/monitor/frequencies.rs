//! How often there is each value: exact while there are few, else of the most frequent ones with a known error.
//!
//! Past the limit this is the summary of Misra and Gries in its mergeable form (Agarwal et al., "Mergeable Summaries",
//! PODS 2012): what is most frequent stays, and a count is too low by no more than `lost`, which is at most the number
//! of values divided by [`LIMIT`] + 1. Whether the counts are exact depends on the multiset of values alone; which of the rare
//! values are left of an inexact one may depend on the order in which they came.

use std::hash::Hash;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

/// So many distinct values are counted exactly.
pub const LIMIT: usize = 512;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    from = "Stored<K>",
    into = "Stored<K>",
    bound(deserialize = "K: Ord + Hash + Deserialize<'de>", serialize = "K: Ord + Hash + Clone + Serialize")
)]
pub struct Frequencies<K: Ord + Hash + Clone> {
    counts: HashMap<K, u64>,
    /// the most by which a count may be too low
    lost: u64,
    exact: bool,
}

impl<K: Ord + Hash + Clone> Default for Frequencies<K> {
    fn default() -> Self {
        Frequencies { counts: HashMap::new(), lost: 0, exact: true }
    }
}

impl<K: Ord + Hash + Clone> Frequencies<K> {
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// The most by which a count may be too low.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// How many distinct values are kept: all of them while this is exact.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// The same once `other` is merged, before anything is forgotten.
    pub fn len_with(&self, other: &Self) -> usize {
        self.len() + other.counts.keys().filter(|value| !self.counts.contains_key(*value)).count()
    }

    pub fn add(&mut self, value: K, count: u64) {
        *self.counts.entry(value).or_insert(0) += count;
        self.keep_within();
    }

    /// The same without a key of its own for a value that is known.
    pub fn add_borrowed<Q>(&mut self, value: &Q)
    where
        Q: Hash + hashbrown::Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        match self.counts.get_mut(value) {
            Some(count) => *count += 1,
            None => self.add(value.to_owned(), 1),
        }
    }

    pub fn merge(&mut self, other: &Self) {
        for (value, count) in &other.counts {
            *self.counts.entry(value.clone()).or_insert(0) += count;
        }
        self.lost += other.lost;
        self.exact &= other.exact;
        self.exact &= self.counts.len() <= LIMIT;
        self.keep_within();
    }

    /// All values that are kept, ascending.
    pub fn ascending(&self) -> Vec<(&K, u64)> {
        let mut counts: Vec<(&K, u64)> = self.counts.iter().map(|(value, count)| (value, *count)).collect();
        counts.sort_unstable_by(|a, b| a.0.cmp(b.0));
        counts
    }

    /// The most frequent values, equally frequent ones ascending.
    pub fn top(&self, k: usize) -> Vec<(&K, u64)> {
        let mut counts = self.ascending();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts.truncate(k);
        counts
    }

    pub fn count(&self, value: &K) -> u64 {
        self.counts.get(value).copied().unwrap_or(0)
    }

    fn keep_within(&mut self) {
        if self.counts.len() > LIMIT {
            self.exact = false;
        }
        // seldom, since each costs a look at all of them
        if self.counts.len() > 2 * LIMIT {
            self.prune();
        }
    }

    /// Takes as much from every count as leaves no more than the limit.
    fn prune(&mut self) {
        if self.counts.len() <= LIMIT {
            return;
        }
        let mut counts: Vec<u64> = self.counts.values().copied().collect();
        let (_, first_beyond, _) = counts.select_nth_unstable_by(LIMIT, |a, b| b.cmp(a));
        let taken = *first_beyond;
        self.lost += taken;
        self.counts.retain(|_, count| {
            *count = count.saturating_sub(taken);
            *count > 0
        });
    }
}

/// As stored: ascending, so that equal states are equal bytes.
#[derive(Clone, Serialize, Deserialize)]
struct Stored<K> {
    counts: Vec<(K, u64)>,
    #[serde(default, skip_serializing_if = "is_zero")]
    lost: u64,
    exact: bool,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl<K: Ord + Hash + Clone> From<Frequencies<K>> for Stored<K> {
    fn from(mut frequencies: Frequencies<K>) -> Self {
        frequencies.prune();
        let Frequencies { counts, lost, exact } = frequencies;
        let mut counts: Vec<(K, u64)> = counts.into_iter().collect();
        counts.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Stored { counts, lost, exact }
    }
}

impl<K: Ord + Hash + Clone> From<Stored<K>> for Frequencies<K> {
    fn from(stored: Stored<K>) -> Self {
        Frequencies { counts: stored.counts.into_iter().collect(), lost: stored.lost, exact: stored.exact }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_are_exact_or_too_low_by_what_is_said(
            parts in prop::collection::vec(prop::collection::vec(0_i64..3_000, 0..2_500), 1..4),
        ) {
            let mut brute: BTreeMap<i64, u64> = BTreeMap::new();
            let mut whole = Frequencies::default();
            for part in &parts {
                let mut frequencies = Frequencies::default();
                for value in part {
                    // a third of all is one of three values
                    let value = if value % 3 == 0 { value % 9 } else { *value };
                    *brute.entry(value).or_insert(0) += 1;
                    frequencies.add(value, 1);
                }
                whole.merge(&frequencies);
            }
            let stored = serde_json::to_string(&whole).unwrap();
            let back: Frequencies<i64> = serde_json::from_str(&stored).unwrap();
            let total: u64 = brute.values().sum();
            prop_assert_eq!(back.is_exact(), brute.len() <= LIMIT);
            prop_assert!(back.len() <= LIMIT);
            prop_assert!(back.lost() <= total / (LIMIT as u64 + 1));
            for (value, count) in &brute {
                let kept = back.count(value);
                prop_assert!(kept <= *count && *count <= kept + back.lost(), "{} of {}: {}", kept, count, back.lost());
            }
        }
    }
}
