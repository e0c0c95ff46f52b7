//! How the keys of a point-in-time join are divided: rows of one part are answered together, and no key is in two.

use super::keys::{KeyIndex, NO_KEY};
use crate::error::{Error, Result};

/// A few of these rows fit the processor's cache.
const KEYS_OF_PART: usize = 512;
const MOST_PARTS: usize = 256;

/// A key has a number in the join, and a smaller one in its part.
#[derive(Debug)]
pub enum Parts {
    /// key `n` is in part `n % count`
    Modulo { count: u32 },
    /// as stored rows lie; in a part keys ascend as they do in files
    Buckets {
        count: u32,
        /// by the key's number
        part: Vec<u32>,
        in_part: Vec<u32>,
        /// by part
        n_keys: Vec<usize>,
    },
}

impl Parts {
    /// As many as are good for so many keys.
    pub fn of_keys(n_keys: usize, parallelism: usize) -> Parts {
        let count = (n_keys / KEYS_OF_PART).next_power_of_two().clamp(parallelism, MOST_PARTS);
        Parts::Modulo { count: u32::try_from(count.min(n_keys)).unwrap_or(1).max(1) }
    }

    /// By the buckets that the index has kept, `count` in all.
    pub fn of_buckets(keys: &KeyIndex, count: u32) -> Result<Parts> {
        let part = keys.buckets().ok_or_else(|| Error::internal("the buckets of keys were not kept"))?.to_vec();
        let mut in_part = vec![0; part.len()];
        let mut next = vec![0_u32; count as usize];
        for number in keys.in_order() {
            let next = &mut next[part[number as usize] as usize];
            in_part[number as usize] = *next;
            *next += 1;
        }
        Ok(Parts::Buckets { count, part, in_part, n_keys: next.into_iter().map(|keys| keys as usize).collect() })
    }

    /// Whether the parts are the buckets of a table that has so many.
    pub fn are_buckets(&self, buckets: u32) -> bool {
        matches!(self, Parts::Buckets { count, .. } if *count == buckets)
    }

    pub fn count(&self) -> usize {
        match self {
            Parts::Modulo { count } | Parts::Buckets { count, .. } => *count as usize,
        }
    }

    /// Rows without a key are in the first part.
    pub fn part_of(&self, number: u32) -> usize {
        match self {
            _ if number == NO_KEY => 0,
            Parts::Modulo { count } => (number % count) as usize,
            Parts::Buckets { part, .. } => part[number as usize] as usize,
        }
    }

    /// The number of a key in its part; without a key, the number behind all others.
    pub fn in_part(&self, part: usize, number: u32, n_keys: usize) -> u32 {
        match self {
            _ if number == NO_KEY => u32::try_from(self.n_keys(part, n_keys)).unwrap_or(NO_KEY),
            Parts::Modulo { count } => number / count,
            Parts::Buckets { in_part, .. } => in_part[number as usize],
        }
    }

    /// How many keys a part has, of `n_keys` altogether.
    pub fn n_keys(&self, part: usize, n_keys: usize) -> usize {
        match self {
            Parts::Modulo { count } => (n_keys + *count as usize - 1 - part) / *count as usize,
            Parts::Buckets { n_keys, .. } => n_keys[part],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_in_one_part_under_a_number_of_its_own() {
        for (count, n_keys) in [(1, 0), (1, 5), (4, 3), (4, 4), (7, 100)] {
            let parts = Parts::Modulo { count };
            let mut seen = std::collections::HashSet::new();
            for number in 0..n_keys {
                let part = parts.part_of(number);
                let in_part = parts.in_part(part, number, n_keys as usize);
                assert!((in_part as usize) < parts.n_keys(part, n_keys as usize));
                assert!(seen.insert((part, in_part)));
            }
            let all: usize = (0..parts.count()).map(|part| parts.n_keys(part, n_keys as usize)).sum();
            assert_eq!(all, n_keys as usize);
        }
    }
}
